"""The control port with real clients: faults of the feed and of the books, playback, and the truth behind them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
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
from tests.services.polymarket_sim.house import CONDITION, DOWN, UP, House

Http = TestClient[web.Request, web.Application]
DEADLINE_S = 5.0


class Mirror:
    """Who is asked behind the control port: holds, steps, or refuses; the exchange only answers."""

    def __init__(self) -> None:
        self.held = False
        self.asked: list[tuple[str, Message]] = []
        self.away = False

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
                return BalancesReport(body.request_id, body.account, False, 0, {}, {})
        raise AssertionError(body)


@pytest.fixture
def mirror() -> Mirror:
    return Mirror()


@pytest.fixture
async def port(house: House, mirror: Mirror) -> AsyncIterator[Http]:
    playback = PlaybackApi(lambda: house.venue.books, mirror.ask)
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


async def test_slow_frames_keep_their_order(http: Http, port: Http, house: House) -> None:
    ws = await follow(http, UP)
    await switch(port, "slow_drip", ms=50)
    began = asyncio.get_running_loop().time()
    for cents in (44, 43, 42):
        quote(house, cents)
    seen = [(await events(ws))["price_changes"] for _ in range(3)]
    assert asyncio.get_running_loop().time() - began >= 0.15
    assert [row["price"] for rows in seen for row in rows if row["asset_id"] == UP and row["size"] != "0"] == [
        "0.44",
        "0.43",
        "0.42",
    ]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_books_are_refused_as_often_as_asked_for(http: Http, port: Http, status: int) -> None:
    await switch(port, "book_errors", status=status, retry_after_s=7, times=2)
    async with http.get("/book", params={"token_id": UP}) as one, http.post("/books", json=[{"token_id": UP}]) as many:
        assert (one.status, many.status) == (status, status)
        assert one.headers.get("Retry-After") == ("7" if status == 429 else None)
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


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "flying", "on": True}, "name"),
        ({"name": "freeze_token", "on": True, "token": 7}, "token"),
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


async def test_refusals_and_silence_of_the_mirror_are_told(port: Http, mirror: Mirror) -> None:
    status, answer = await post(port, "/playback/step")
    assert (status, answer["error"]["code"], answer["error"]["field"]) == (400, "BAD_REQUEST", "stepped")
    status, answer = await post(port, "/playback", stepped="yes")
    assert (status, answer["error"]["field"]) == (400, "stepped")
    mirror.away = True
    status, answer = await post(port, "/playback", stepped=True)
    assert (status, answer["error"]["code"]) == (400, "VENUE_UNAVAILABLE")


async def test_the_truth_of_a_token_nobody_knows_is_refused(port: Http) -> None:
    status, answer = await get(port, "/truth?token_id=9")
    assert (status, answer["error"]["field"]) == (404, "token_id")
