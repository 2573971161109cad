"""The control port with real clients: faults of the feed and of the books, playback, and the truth behind them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from common.messages import (
    Accepted,
    BalancesReport,
    GetBalances,
    HoldPlayback,
    Message,
    PlaybackStepped,
    QuoteLadder,
    Refused,
    ShownBook,
    StepPlayback,
)
from common.reasons import Reason
from common.types import ONE
from services.polymarket_sim.control import Control
from services.polymarket_sim.playback import PlaybackApi
from tests.services.polymarket_sim.house import CONDITION, DOWN, UP, House, Person
from tests.services.polymarket_sim.test_server import user_frame

Http = TestClient[web.Request, web.Application]
DEADLINE_S = 5.0
SYNCED_S = 0.2


class Mirror:
    """Who is asked behind the control port: holds, steps, or refuses; the exchange only answers."""

    def __init__(self) -> None:
        self.held = False
        self.asked: list[tuple[str, Message]] = []
        self.away = False
        self.after_barrier: Callable[[], None] = lambda: None

    async def ask(self, owner: str, body: Message) -> Message:
        self.asked.append((owner, body))
        if self.away:
            raise TimeoutError(f"{owner} did not answer")
        match body:
            case HoldPlayback():
                self.held = body.stepped
                return Accepted(body.command_id)
            case StepPlayback() if self.held:
                return PlaybackStepped(body.command_id, 77, [ShownBook(CONDITION, "up-or-down", 3, 4, 5)], 6)
            case StepPlayback():
                return Refused(body.command_id, Reason.BAD_REQUEST, "playback is running: hold it first", "stepped")
            case GetBalances():
                asyncio.get_running_loop().call_soon(self.after_barrier)
                return BalancesReport(body.request_id, body.account, False, 0, {}, {})
        raise AssertionError(body)


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
async def port(house: House, mirror: Mirror) -> AsyncIterator[Http]:
    playback = PlaybackApi(house.venue, mirror.ask, SYNCED_S)
    control = Control(house.venue, house.market_hub, house.user_hub, house.counters, playback)
    async with TestClient(TestServer(control.app())) as client:
        yield client


async def post(port: Http, path: str, **body: Any) -> tuple[int, Any]:
    async with port.post(path, json=body) as answer:
        return answer.status, await answer.json()


async def get(http: Http, path: str) -> tuple[int, Any]:
    async with http.get(path) as answer:
        return answer.status, await answer.json()


async def switch(port: Http, name: str, on: bool = True, **parameters: Any) -> None:
    status, answer = await post(port, "/faults", name=name, on=on, **parameters)
    assert status == 200, answer


def quote(house: House, bid_cents: int) -> None:
    """A new best bid: one price_change of both tokens."""
    bids, asks = [(bid_cents * 10_000, 100 * ONE)], [(470_000, 100 * ONE)]
    house.send(QuoteLadder(house.next_id(), "mm", CONDITION, bids, asks))


async def heard(ws: ClientWebSocketResponse) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return await ws.receive()


def new_bid(event: Any) -> int:
    """The best bid a price_change states, in cents."""
    prices = [row["price"] for row in event["price_changes"] if row["asset_id"] == UP and row["size"] != "0"]
    return round(float(prices[0]) * 100)


async def struck(port: Http, name: str) -> int:
    """The counter of a fault, once the control port shows it everywhere alike."""
    _, status = await get(port, "/status")
    _, rows = await get(port, "/faults")
    (count,) = {status["struck"][name], *(row["struck"] for row in rows if row["name"] == name)}
    return int(count)


async def events(ws: ClientWebSocketResponse) -> Any:
    message = await heard(ws)
    assert message.type is WSMsgType.TEXT, message
    return json.loads(message.data)


async def follow(http: Http, *tokens: str) -> ClientWebSocketResponse:
    ws = await http.ws_connect("/ws/market")
    await ws.send_json({"type": "market", "assets_ids": list(tokens)})
    assert len(await events(ws)) == len(tokens)
    return ws


async def answers_ping(ws: ClientWebSocketResponse) -> bool:
    await ws.send_str("PING")
    return bool((await heard(ws)).data == "PONG")


async def test_cut_connections_end_abruptly_once(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP)
    await switch(port, "cut_market_connections")
    assert (await heard(ws)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
    assert ws.close_code == 1006
    assert not house.venue.faults.is_on("cut_market_connections")
    again = await follow(http, UP)
    assert await answers_ping(again)


async def test_cut_user_connections_end_and_the_markets_stay(http: Http, port: Http, house: House) -> None:
    market = await follow(http, UP)
    ws = await http.ws_connect("/ws/user")
    await ws.send_json(user_frame(Person(1)))
    assert await answers_ping(ws)
    await switch(port, "cut_user_connections")
    assert (await heard(ws)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
    assert await struck(port, "cut_user_connections") == 1
    assert not house.venue.faults.is_on("cut_user_connections")
    assert await answers_ping(market)


async def test_a_ping_without_an_answer_and_a_feed_that_goes_on(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP)
    await switch(port, "no_pong")
    await ws.send_str("PING")
    quote(house, 44)
    assert (await events(ws))["event_type"] == "price_change"
    await switch(port, "no_pong", on=False)
    assert await answers_ping(ws)


async def test_a_frozen_token_thaws_on_a_connection_made_afterwards(http: Http, port: Http, house: House) -> None:
    before = await follow(http, UP, DOWN)
    await switch(port, "freeze_token", token=UP)
    after = await follow(http, UP, DOWN)
    quote(house, 44)
    assert {row["asset_id"] for row in (await events(before))["price_changes"]} == {DOWN}
    assert {row["asset_id"] for row in (await events(after))["price_changes"]} == {UP, DOWN}


async def test_broken_and_huge_frames_arrive_as_they_are_and_the_connection_lives_on(
    http: Http, port: Http, house: House
) -> None:
    ws = await http.ws_connect("/ws/market", max_msg_size=20_000_000)
    await ws.send_json({"type": "market", "assets_ids": [UP]})
    await events(ws)
    await switch(port, "half_json_frames", every=1, times=1)
    quote(house, 44)
    with pytest.raises(json.JSONDecodeError):
        json.loads((await heard(ws)).data)
    await switch(port, "oversized_frames", mb=9, every=1, times=1)
    quote(house, 43)
    assert (await events(ws))["event_type"] == "price_change"
    assert len((await heard(ws)).data) > 9_000_000
    assert await answers_ping(ws)


@pytest.mark.parametrize(
    ("fault", "cents"),
    [
        ("drop_market_events", [44, 42, 40]),
        ("duplicate_market_events", [44, 43, 43, 42, 41, 41, 40]),
        ("reorder_market_events", [44, 42, 43, 40, 41]),
    ],
)
async def test_every_second_event_is_lost_doubled_or_overtaken(
    http: Http, port: Http, house: House, fault: str, cents: list[int]
) -> None:
    ws = await follow(http, UP)
    await switch(port, fault, every=2, times=2)
    for bid_cents in (44, 43, 42, 41, 40):
        quote(house, bid_cents)
    assert [new_bid(await events(ws)) for _ in cents] == cents
    assert await answers_ping(ws), "and nothing else was sent"
    assert await struck(port, fault) == 2


async def test_the_last_event_kept_back_follows_though_the_fault_is_over(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP)
    await switch(port, "reorder_market_events", every=1, times=1)
    for bid_cents in (44, 43, 42):
        quote(house, bid_cents)
    assert not house.venue.faults.feed_is_faulty
    assert [new_bid(await events(ws)) for _ in range(3)] == [43, 44, 42]


async def test_garbage_takes_the_place_of_an_event_and_the_connection_lives_on(
    http: Http, port: Http, house: House
) -> None:
    ws = await follow(http, UP)
    await switch(port, "garbage_frames", every=1, times=1)
    quote(house, 44)
    message = await heard(ws)
    assert message.type is WSMsgType.TEXT, "a strict client reads it too"
    with pytest.raises(json.JSONDecodeError):
        json.loads(message.data)
    quote(house, 43)
    assert new_bid(await events(ws)) == 43


async def test_a_subscription_waits_in_vain_for_a_first_book_that_is_withheld(
    http: Http, port: Http, house: House
) -> None:
    await switch(port, "withhold_first_book", token=UP, times=1)
    ws = await http.ws_connect("/ws/market")
    await ws.send_json({"type": "market", "assets_ids": [UP, DOWN]})
    assert [book["asset_id"] for book in await events(ws)] == [DOWN]
    quote(house, 44)
    assert {row["asset_id"] for row in (await events(ws))["price_changes"]} == {UP, DOWN}, "events come all the same"
    await ws.send_json({"operation": "unsubscribe", "assets_ids": [UP]})
    await ws.send_json({"operation": "subscribe", "assets_ids": [UP]})
    assert [book["asset_id"] for book in await events(ws)] == [UP], "once"


async def test_books_after_a_gap_of_the_exchange_are_no_first_books(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP, DOWN)
    await switch(port, "withhold_first_book", times=1)
    house.market_sink.on_gap()
    house.market_sink.on_snapshot(house.core.snapshot("market", house.now))
    assert {book["asset_id"] for book in await events(ws)} == {UP, DOWN}
    assert await struck(port, "withhold_first_book") == 0


async def test_a_frozen_token_stays_frozen_after_a_gap_of_the_exchange(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP, DOWN)
    await switch(port, "freeze_token", token=UP)
    house.market_sink.on_gap()
    house.market_sink.on_snapshot(house.core.snapshot("market", house.now))
    assert [book["asset_id"] for book in await events(ws)] == [DOWN]


async def test_a_feed_frozen_whole_says_nothing_and_answers_pings(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP)
    await switch(port, "freeze_market_feed")
    quote(house, 44)
    assert await answers_ping(ws)
    assert await struck(port, "freeze_market_feed") == 1
    await switch(port, "freeze_market_feed", on=False)
    quote(house, 43)
    assert new_bid(await events(ws)) == 43


@pytest.mark.parametrize("path", ["/ws/market", "/ws/user"])
async def test_no_ping_is_answered_before_the_subscription_either(
    http: Http, port: Http, house: House, path: str
) -> None:
    await switch(port, "no_pong")
    ws = await http.ws_connect(path)
    for _ in range(2):
        await ws.send_str("PING")
        await ws.ping()
    await ws.send_json({"type": "market", "assets_ids": [UP]})
    message = await heard(ws)
    assert message.data != "PONG"
    assert await struck(port, "no_pong") == 4
    await ws.close()


async def test_slow_frames_keep_their_order(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP)
    await switch(port, "slow_drip", ms=50)
    began = asyncio.get_running_loop().time()
    for cents in (44, 43, 42):
        quote(house, cents)
    assert [new_bid(await events(ws)) for _ in range(3)] == [44, 43, 42]
    assert asyncio.get_running_loop().time() - began >= 0.15
    assert await struck(port, "slow_drip") == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_books_are_refused_as_often_as_asked_for(http: Http, port: Http, status: int) -> None:
    await switch(port, "book_errors", status=status, retry_after_s=7, times=2)
    async with http.get("/book", params={"token_id": UP}) as one, http.post("/books", json=[{"token_id": UP}]) as many:
        assert (one.status, many.status) == (status, status)
        assert one.headers.get("Retry-After") == ("7" if status == 429 else None)
        if status == 502:
            assert one.content_type == many.content_type == "text/html"
        else:
            assert (await one.json())["error"]
    assert (await get(http, f"/book?token_id={UP}"))[0] == 200


async def test_stale_books_stay_while_the_venue_goes_on(http: Http, port: Http, house: House) -> None:
    await switch(port, "stale_books")
    _, before = await get(http, f"/book?token_id={UP}")
    house.pass_time(1)
    quote(house, 44)
    assert (await get(http, f"/book?token_id={UP}"))[1] == before
    async with http.post("/books", json=[{"token_id": UP}]) as answer:
        assert await answer.json() == [before]
    _, truth = await get(port, f"/truth?token_id={UP}")
    assert (truth["bids"][0]["price"], before["bids"][-1]["price"]) == ("0.44", "0.45")
    await switch(port, "stale_books", on=False)
    assert (await get(http, f"/book?token_id={UP}"))[1]["hash"] == truth["hash"]


async def test_stale_books_end_after_their_times(http: Http, port: Http, house: House) -> None:
    await switch(port, "stale_books", times=2)
    house.pass_time(1)
    quote(house, 44)
    best = [(await get(http, f"/book?token_id={UP}"))[1]["bids"][-1]["price"] for _ in range(3)]
    assert best == ["0.45", "0.45", "0.44"]
    assert await struck(port, "stale_books") == 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "flying", "on": True}, "name"),
        ({"name": "freeze_token", "on": True, "token": 7}, "token"),
        ({"name": "freeze_token", "on": True}, "token"),
        ({"name": "freeze_token", "on": True, "token": f"{UP},12345"}, "token"),
        ({"name": "withhold_first_book", "on": True, "token": "12345"}, "token"),
        ({"name": "book_errors", "on": True, "status": 418}, "status"),
        ({"name": "drop_market_events", "on": True, "every": 0}, "every"),
        ({"name": "no_pong", "on": "yes"}, "on"),
    ],
)
async def test_what_cannot_be_switched_is_refused_by_its_field(port: Http, body: dict[str, Any], field: str) -> None:
    status, answer = await post(port, "/faults", **body)
    assert (status, answer["error"]["field"]) == (400, field)


# --- playback ---


async def test_playback_is_held_stepped_and_released(port: Http, mirror: Mirror, house: House) -> None:
    assert (await post(port, "/playback", stepped=True))[1]["stepped"] is True
    status, step = await post(port, "/playback/step")
    assert (status, step["playback_ns"], step["skipped"]) == (200, 77, 6)
    (row,) = step["shown"]
    replica = house.venue.books.by_condition[CONDITION]
    assert (row["slug"], row["loop"], row["at"], row["recorded_ms"]) == ("up-or-down", 3, 4, 5)
    assert [token["token_id"] for token in row["tokens"]] == [UP, DOWN]
    assert row["tokens"][0]["hash"] == replica.book(0).hash
    assert [owner for owner, _ in mirror.asked] == ["mirror", "mirror", "exchange"], "the barrier comes last"
    assert (await post(port, "/playback", stepped=False))[1]["stepped"] is False
    assert (await get(port, "/playback"))[1] == {"stepped": False, "playback_ns": 77}


async def test_a_step_is_not_answered_before_a_gap_of_the_exchange_is_mended(
    port: Http, mirror: Mirror, house: House
) -> None:
    await post(port, "/playback", stepped=True)
    house.market_sink.on_gap()
    status, answer = await post(port, "/playback/step")
    assert (status, answer["error"]["code"]) == (503, "VENUE_UNAVAILABLE")
    assert "gap" in answer["error"]["message"]
    mirror.after_barrier = lambda: house.market_sink.on_snapshot(house.core.snapshot("market", house.now))
    assert (await post(port, "/playback/step"))[0] == 200
    assert house.venue.books_synced


async def test_a_mirror_that_restarted_is_not_taken_for_held(port: Http, mirror: Mirror) -> None:
    await post(port, "/playback", stepped=True)
    mirror.held = False
    assert (await post(port, "/playback/step"))[0] == 400
    assert (await get(port, "/playback"))[1]["stepped"] is False


async def test_refusals_and_silence_of_the_mirror_are_told(port: Http, mirror: Mirror) -> None:
    status, answer = await post(port, "/playback/step")
    assert (status, answer["error"]["code"], answer["error"]["field"]) == (400, "BAD_REQUEST", "stepped")
    status, answer = await post(port, "/playback", stepped="yes")
    assert (status, answer["error"]["field"]) == (400, "stepped")
    mirror.away = True
    status, answer = await post(port, "/playback", stepped=True)
    assert (status, answer["error"]["code"]) == (503, "VENUE_UNAVAILABLE")


async def test_the_truth_of_a_token_nobody_knows_is_refused(port: Http) -> None:
    status, answer = await get(port, "/truth?token_id=9")
    assert (status, answer["error"]["field"]) == (404, "token_id")


# --- modes, limits, settlement, requests ---


async def test_one_mode_at_a_time_is_shown_with_what_remains(port: Http, house: House) -> None:
    assert (await get(port, "/status"))[1]["mode"] == {"mode": "NORMAL", "remaining_s": None}
    await switch(port, "cancel_only")
    assert (await get(port, "/status"))[1]["mode"] == {"mode": "CANCEL_ONLY", "remaining_s": None}
    await switch(port, "restart", down_s=90, post_only_s=120)
    status = (await get(port, "/status"))[1]
    assert (status["mode"], status["faults"]) == ({"mode": "RESTARTING", "remaining_s": 90}, ["restart"])
    house.pass_time(100)
    assert (await get(port, "/status"))[1]["mode"] == {"mode": "POST_ONLY", "remaining_s": 110}
    house.pass_time(110)
    assert [row["name"] for row in (await get(port, "/faults"))[1] if row["on"]] == []
    await switch(port, "restart")
    await switch(port, "cancel_only", on=False)
    assert (await get(port, "/status"))[1]["mode"]["mode"] == "RESTARTING", "another mode was not on"
    await switch(port, "restart", on=False)
    assert (await get(port, "/status"))[1]["mode"]["mode"] == "NORMAL"


async def test_limits_are_switched_and_go_back_to_the_settings(port: Http, house: House) -> None:
    assert (await get(port, "/status"))[1]["limits"] == {"enforce": False, "tier": "Standard"}
    await switch(port, "rate_limits", tier="Silver")
    assert (await get(port, "/status"))[1]["limits"] == {"enforce": True, "tier": "Silver"}
    await switch(port, "rate_limits", on=False)
    assert (await get(port, "/status"))[1]["limits"] == {"enforce": False, "tier": "Standard"}


async def test_settlement_is_planned_at_the_exchange_or_not_switched_at_all(port: Http, house: House) -> None:
    await switch(port, "settlement", kind="RETRYING", times=3, percent=50, seed=9)
    plan = house.core.engine.trades.plan
    assert (list(plan.life), plan.left, plan.percent, plan.seed) == (["RETRYING", "MINED", "CONFIRMED"], 3, 50, 9)
    await switch(port, "settlement", on=False)
    assert not house.core.engine.trades.plan.life
    house.silent = True
    status, answer = await post(port, "/faults", name="settlement", on=True)
    assert (status, answer["error"]["code"]) == (503, "VENUE_UNAVAILABLE")
    assert (await get(port, "/status"))[1]["faults"] == []


async def test_order_calls_are_listed_after_a_number(port: Http, house: House) -> None:
    for number in range(3):
        log = house.venue.log
        log.answered("DELETE /order", log.arrived("DELETE /order", number, number), 200)
    status, listed = await get(port, "/requests?after=1")
    assert (status, listed["first"], listed["last"]) == (200, 1, 3)
    assert [(row["seq"], row["mono_ns"], row["status"]) for row in listed["requests"]] == [(2, 1, 200), (3, 2, 200)]
    assert len((await get(port, "/requests"))[1]["requests"]) == 3
    assert (await get(port, "/status"))[1]["requests"] == {"DELETE /order": 3}
    status, answer = await get(port, "/requests?after=x")
    assert (status, answer["error"]["field"]) == (400, "after")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "post_order_timeout", "percent": 101}, "percent"),
        ({"name": "post_order_timeout", "endpoints": "POST /nothing"}, "endpoints"),
        ({"name": "post_order_timeout", "endpoints": ""}, "endpoints"),
        ({"name": "error_500", "kind": "other"}, "kind"),
        ({"name": "html_page", "status": 404}, "status"),
        ({"name": "allowance", "spender": "0x1234"}, "spender"),
        ({"name": "rate_limits", "tier": "Wood"}, "tier"),
        ({"name": "restart", "down_s": -1}, "down_s"),
        ({"name": "geoblocked", "country": "Ireland"}, "country"),
    ],
)
async def test_parameters_of_the_rest_faults_are_refused_by_name(port: Http, body: dict[str, Any], field: str) -> None:
    status, answer = await post(port, "/faults", on=True, **body)
    assert (status, answer["error"]["field"]) == (400, field)
    assert (await get(port, "/status"))[1]["faults"] == []
