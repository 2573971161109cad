"""The whole server over an exchange in memory: every captured route exists, errors are the venue's, faults work."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient

from common.messages import GetBalances, OpenAccount
from common.types import Side, TimeInForce
from common.venues.polymarket.auth import L2Credentials, l1_headers, l2_headers
from common.venues.polymarket.user import OrderEvent, parse_user_frame
from services.polymarket_sim import sockets
from services.polymarket_sim.wallets import proxy_wallet
from tests.services.polymarket_sim.house import CONDITION, DOWN, UP, House, Person

CAPTURE = Path(__file__).parents[2] / "data" / "polymarket-wire-capture.json"
Http = TestClient[web.Request, web.Application]
DEADLINE_S = 5.0


async def call(http: Http, house: House, person: Person, *request: Any) -> tuple[int, Any]:
    """One private request (method, target, body), signed over the bare path as the clients do."""
    method, target, body = request if len(request) == 3 else (*request, None)
    raw = json.dumps(body, separators=(",", ":")).encode() if body is not None else b""
    creds = L2Credentials(person.key.key, person.key.secret, person.key.passphrase)
    path = target.partition("?")[0]
    headers = l2_headers(person.signer.address, creds, house.venue.now_s, method, path, raw)
    async with http.request(method, target, data=raw or None, headers=headers) as response:
        return response.status, await response.json()


async def public(http: Http, method: str, target: str, body: Any = None) -> tuple[int, Any]:
    async with http.request(method, target, json=body) as response:
        return response.status, await response.json()


def captured() -> list[dict[str, Any]]:
    requests: list[dict[str, Any]] = json.loads(CAPTURE.read_text())["http"]
    return requests


async def test_every_captured_request_of_the_official_clients_has_a_handler(http: Http) -> None:
    assert len(captured()) > 100
    for request in captured():
        body = request["body"].encode()
        async with http.request(request["method"], request["target"], data=body or None) as response:
            answer = await response.json()
        what = f"{request['client']} {request['method']} {request['target']}: {response.status} {answer}"
        assert response.status != 405, what
        assert answer != {"error": "not found"}, what
        if request["auth"] == "L2":
            assert (response.status, answer) == (401, {"error": "Unauthorized/Invalid api key"}), what
        if request["auth"] == "L1":
            assert (response.status, answer) == (401, {"error": "Invalid L1 Request headers"}), what


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (("GET", "/book?token_id=12345", None), 404, "No orderbook exists for the requested token id"),
        (("GET", "/book?token_id=abc", None), 400, "Invalid token id"),
        (("GET", "/book", None), 400, "Invalid token id"),
        (("GET", f"/price?token_id={UP}&side=HOLD", None), 400, "Invalid side"),
        (("GET", "/markets/0x12", None), 404, "market not found"),
        (("GET", "/clob-markets/0x12", None), 404, "market not found"),
        (("POST", "/books", {"token_id": UP}), 400, "Invalid payload"),
        (("POST", "/prices", [{"token_id": UP, "side": "x"}]), 400, "Invalid side"),
        (("POST", "/books", [{"token_id": UP}] * 501), 400, "Payload exceeds the limit"),
        (("GET", "/markets?next_cursor=%21", None), 400, "next_cursor is not a cursor of this venue"),
        (("GET", "/nothing/here", None), 404, "not found"),
        (("GET", "/books", None), 405, "method not allowed"),
        (("GET", "/data/positions", None), 400, "required query param 'user' not provided"),
        (("GET", "/gamma/markets/slug/none", None), 404, "not found"),
        (("GET", "/gamma/markets/keyset?offset=5", None), 422, "offset is not supported: use after_cursor"),
        (("GET", "/gamma/markets?offset=2001", None), 422, "offset must not be above 2000"),
    ],
)
async def test_errors_of_public_reads(http: Http, request_: tuple[str, str, Any], status: int, error: str) -> None:
    found_status, answer = await public(http, *request_)
    assert (found_status, answer["error"]) == (status, error)


async def test_lenient_query_strings_and_missing_sides(http: Http, house: House) -> None:
    assert await public(http, "GET", f"/midpoint?&token_id={UP}") == (200, {"mid": "0.46", "mid_price": "0.46"})
    assert await public(http, "GET", f"/tick-size/{DOWN}") == (200, {"minimum_tick_size": 0.01})
    assert (await public(http, "POST", "/books", [{"token_id": "1"}, {"token_id": UP}]))[1][0]["asset_id"] == UP


async def test_keys_over_http_are_made_once(http: Http, house: House) -> None:
    person = Person(3)
    headers = l1_headers(person.signer, house.venue.now_s, 0, 137)
    for method, target, status in (("GET", "/auth/derive-api-key", 400), ("POST", "/auth/api-key", 200)):
        async with http.request(method, target, headers=headers) as response:
            assert response.status == status
    async with http.post("/auth/api-key", headers=headers) as response:
        assert (response.status, await response.json()) == (400, {"error": "Could not create api key"})
    async with http.get("/auth/derive-api-key", headers=headers) as response:
        assert await response.json() == person.key.to_wire()
    balances = house.core.query(GetBalances("q", person.account), house.now)[0]
    assert (balances.known, balances.cash) == (True, 1_000_000_000)  # type: ignore[attr-defined]


async def test_a_provisioned_key_works_and_its_address_gets_the_grant_once(http: Http, house: House) -> None:
    person = Person(4)
    target = "/balance-allowance?asset_type=COLLATERAL&signature_type=0"
    for _ in range(2):
        status, answer = await call(http, house, person, "GET", target)
        assert (status, answer["balance"]) == (200, "1000000000")
    assert (await call(http, house, person, "GET", "/auth/api-keys"))[1] == {"apiKeys": [person.key.key]}
    assert (await call(http, house, person, "DELETE", "/auth/api-key")) == (200, "OK")
    assert (await call(http, house, person, "GET", target))[0] == 401


async def test_reads_of_a_derived_wallet_by_signature_type(http: Http, house: House) -> None:
    person = Person(5)
    house.send(OpenAccount(house.next_id(), proxy_wallet(person.signer.address).lower(), 77_000_000))
    for signature_type, balance in (("0", "1000000000"), ("1", "77000000"), ("2", "1000000000")):
        target = f"/balance-allowance?asset_type=COLLATERAL&signature_type={signature_type}"
        assert (await call(http, house, person, "GET", target))[1]["balance"] == balance
    assert (await call(http, house, person, "GET", "/balance-allowance?signature_type=9"))[0] == 400


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (None, "Invalid order payload"),
        ([], "Invalid order payload"),
        ({"order": {}}, "Invalid order payload"),
    ],
)
async def test_unreadable_orders(http: Http, house: House, body: Any, error: str) -> None:
    assert await call(http, house, Person(), "POST", "/order", body) == (400, {"error": error})


async def test_orders_for_unknown_tokens_and_old_versions(http: Http, house: House) -> None:
    person = Person()
    stray = person.order(Side.BUY, 4_500_000, 10_000_000, token_id=2**200 + 2**70)
    assert await call(http, house, person, "POST", "/order", person.entry(stray)) == (
        400, {"error": "Invalid token id"},
    )  # fmt: skip
    entry = person.buy(45, 10)
    signed = entry["order"]
    for name in ("timestamp", "metadata", "builder"):
        del signed[name]
    entry["order"] = signed | {"taker": "0x" + "00" * 20, "nonce": "0", "feeRateBps": "0"}
    assert await call(http, house, person, "POST", "/order", entry) == (400, {"error": "order_version_mismatch"})


async def test_an_exchange_that_is_away_leaves_the_order_unknown_and_reads_unavailable(
    http: Http, house: House
) -> None:
    person = Person()
    await call(http, house, person, "GET", "/data/orders")
    house.silent = True
    assert await call(http, house, person, "POST", "/order", person.buy(30, 10)) == (
        500, {"error": "could not insert order"},
    )  # fmt: skip
    assert (await call(http, house, person, "GET", "/data/orders"))[0] == 503
    house.silent = False
    house.account_sink.on_gap()
    assert (await call(http, house, person, "POST", "/order", person.buy(30, 10)))[0] == 425
    house.market_sink.on_gap()
    assert (await public(http, "GET", "/book?token_id=" + UP))[0] == 503


async def test_trades_and_orders_are_paged_with_cursors(
    http: Http, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.polymarket_sim.private.PAGE", 2)
    person = Person()
    for _ in range(5):
        assert (await call(http, house, person, "POST", "/order", person.buy(47, 5)))[1]["status"] == "matched"
        assert (await call(http, house, person, "POST", "/order", person.buy(30, 5)))[1]["status"] == "live"
    for path in ("/data/trades", "/data/orders"):
        seen, cursor = [], "MA=="
        while cursor != "LTE=":
            page = (await call(http, house, person, "GET", f"{path}?next_cursor={cursor}"))[1]
            assert page["count"] == len(page["data"]) <= 2
            seen += [row["id"] for row in page["data"]]
            cursor = page["next_cursor"]
        assert len(set(seen)) == len(seen) == 5
    assert (await call(http, house, person, "GET", "/data/orders?next_cursor=LTE="))[1]["data"] == []
    assert (await call(http, house, person, "GET", "/data/trades?next_cursor=zzz"))[0] == 400


async def test_cancels_of_nothing_or_of_too_much_are_refused(http: Http, house: House) -> None:
    person = Person()
    for method, path, body, error in (
        ("DELETE", "/order", {}, "Invalid orderID"),
        ("DELETE", "/order", {"orderID": 5}, "Invalid orderID"),
        ("DELETE", "/orders", ["a"] * 1001, "Too many orders in payload, max allowed: 1000"),
        ("DELETE", "/orders", {"a": 1}, "Invalid orderID"),
        ("DELETE", "/cancel-market-orders", {"market": "", "asset_id": ""}, "invalid order params payload"),
    ):
        assert await call(http, house, person, method, path, body) == (400, {"error": error})
    unknown = "0x" + "99" * 32
    assert await call(http, house, person, "DELETE", "/order", {"orderID": unknown}) == (
        200, {"canceled": [], "not_canceled": {unknown: "Order not found or already canceled"}},
    )  # fmt: skip


async def test_nobody_sees_or_cancels_orders_of_somebody_else(http: Http, house: House) -> None:
    one, other = Person(1), Person(2)
    placed = (await call(http, house, one, "POST", "/order", one.buy(30, 10)))[1]["orderID"]
    assert (await call(http, house, other, "GET", f"/data/order/{placed}"))[0] == 404
    assert (await call(http, house, other, "DELETE", "/order", {"orderID": placed}))[1]["canceled"] == []
    assert (await call(http, house, other, "DELETE", "/cancel-all"))[1]["canceled"] == []
    assert (await call(http, house, one, "GET", f"/data/order/{placed}"))[1]["status"] == "LIVE"


async def test_silence_after_a_heartbeat_cancels_what_the_key_placed(http: Http, house: House) -> None:
    person, second = Person(1), Person(1, nonce=1)
    mine = (await call(http, house, person, "POST", "/order", person.buy(30, 10)))[1]["orderID"]
    second.salt = 100
    kept = (await call(http, house, second, "POST", "/order", second.buy(30, 10)))[1]["orderID"]
    watch = asyncio.create_task(house.venue.watch_heartbeats())
    beat = (await call(http, house, person, "POST", "/v1/heartbeats", {"heartbeat_id": ""}))[1]["heartbeat_id"]
    assert house.registry.armed_keys() == [person.key.name]
    house.pass_time(9)
    assert (await call(http, house, person, "POST", "/v1/heartbeats", {"heartbeat_id": beat}))[0] == 200
    house.silent = True
    house.pass_time(11)
    house.venue.beaten.set()
    async with asyncio.timeout(DEADLINE_S):
        await house.refused_ask.wait()
        assert house.registry.armed_keys() == [person.key.name]
        house.silent = False
        await house.until(lambda: not house.registry.armed_keys())
    rows = (await call(http, house, person, "GET", "/data/orders"))[1]["data"]
    assert [row["id"] for row in rows] == [kept]
    assert (await call(http, house, person, "GET", f"/data/order/{mine}"))[1]["status"] == "CANCELED"
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)


async def test_delay_and_lost_answers_are_injected(http: Http, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.polymarket_sim.delivery.SILENCE_S", 30.0)
    person, faults = Person(), house.venue.faults
    faults.set("post_order_timeout", True, {"times": 1})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await call(http, house, person, "POST", "/order", person.buy(30, 10))
    assert len((await call(http, house, person, "GET", "/data/orders"))[1]["data"]) == 1
    assert (await call(http, house, person, "POST", "/order", person.buy(30, 10)))[0] == 200
    faults.set("http_delay_ms", True, {"ms": 150, "times": 1})
    began = asyncio.get_running_loop().time()
    await public(http, "GET", "/time")
    assert asyncio.get_running_loop().time() - began >= 0.15


# ---- channels ----


async def text_of(ws: Any) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        message = await ws.receive()
    assert message.type is WSMsgType.TEXT, message
    return message.data


async def is_closed(ws: Any) -> bool:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message = await ws.receive()
            if message.type is not WSMsgType.TEXT:
                return message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR)


def user_frame(person: Person, **changes: Any) -> dict[str, Any]:
    auth = person.key.to_wire() | changes
    return {"type": "user", "auth": auth, "markets": []}


async def test_market_channel_pings_subscribes_later_and_unsubscribes(http: Http, house: House) -> None:
    person = Person()
    async with http.ws_connect("/ws/market") as ws:
        await ws.send_str("PING")
        assert await text_of(ws) == "PONG"
        await ws.send_json({"type": "market", "assets_ids": [UP]})
        (book,) = json.loads(await text_of(ws))
        assert (book["asset_id"], book["bids"][-1]["price"]) == (UP, "0.45")
        await ws.send_json({"operation": "subscribe", "assets_ids": [UP, DOWN], "custom_feature_enabled": True})
        (book,) = json.loads(await text_of(ws))
        assert book["asset_id"] == DOWN
        await call(http, house, person, "POST", "/order", person.buy(46, 10))
        kinds = [json.loads(await text_of(ws))["event_type"] for _ in range(3)]
        assert kinds == ["price_change", "best_bid_ask", "best_bid_ask"]
        await ws.send_json({"operation": "unsubscribe", "assets_ids": [UP, DOWN]})
        await ws.send_str("PING")
        assert await text_of(ws) == "PONG"
        await call(http, house, person, "DELETE", "/cancel-all")
        await ws.send_str("PING")
        assert await text_of(ws) == "PONG"


async def test_market_channel_without_dump_unknown_tokens_and_resync(http: Http, house: House) -> None:
    async with http.ws_connect("/ws/market") as ws:
        await ws.send_json({"type": "market", "assets_ids": ["77"]})
        assert await text_of(ws) == "[]"
    async with http.ws_connect("/ws/market") as ws:
        await ws.send_json({"type": "market", "assets_ids": [UP], "initial_dump": False})
        await ws.send_str("PING")
        assert await text_of(ws) == "PONG"
        house.market_sink.on_gap()
        house.market_sink.on_snapshot(house.core.snapshot("market", house.now))
        assert [row["asset_id"] for row in json.loads(await text_of(ws))] == [UP]


async def test_a_frozen_feed_stays_open_and_says_nothing(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("freeze_market_feed", True, {})
    async with http.ws_connect("/ws/market") as ws:
        await ws.send_json({"type": "market", "assets_ids": [UP], "initial_dump": False})
        await call(http, house, person, "POST", "/order", person.buy(46, 10))
        await ws.send_str("PING")
        assert await text_of(ws) == "PONG"


@pytest.mark.parametrize("frame", ["no json", "[]", '{"type": "user"}', '{"type": "market", "assets_ids": "x"}'])
async def test_unreadable_first_frames_end_the_connection(http: Http, frame: str) -> None:
    for path in ("/ws/market", "/ws/user"):
        async with http.ws_connect(path) as ws:
            await ws.send_str(frame)
            assert await is_closed(ws)


async def test_the_user_channel_needs_the_three_secrets(http: Http, house: House) -> None:
    person, other = Person(1), Person(2)
    for changes in (
        {"secret": other.key.secret}, {"passphrase": other.key.passphrase}, {"apiKey": other.key.key}, {"apiKey": 5},
    ):  # fmt: skip
        async with http.ws_connect("/ws/user") as ws:
            await ws.send_json(user_frame(person, **changes))
            assert await is_closed(ws)
    assert not house.user_hub.connections


async def connected(http: Http, house: House, person: Person, **more: Any) -> Any:
    ws = await http.ws_connect("/ws/user")
    await ws.send_json(user_frame(person) | more)
    await ws.send_str("PING")
    assert await text_of(ws) == "PONG"
    return ws


async def test_user_events_in_order_and_only_ones_own(http: Http, house: House) -> None:
    me, other = Person(1), Person(2)
    mine, theirs = await connected(http, house, me), await connected(http, house, other)
    placed = (await call(http, house, me, "POST", "/order", me.buy(30, 10)))[1]["orderID"]
    await call(http, house, me, "DELETE", "/order", {"orderID": placed})
    killed = await call(http, house, me, "POST", "/order", me.buy(46, 10, TimeInForce.FOK))
    assert killed[0] == 400
    events = [parse_user_frame(await text_of(mine))[0] for _ in range(3)]
    assert all(isinstance(event, OrderEvent) for event in events)
    assert [(e.kind.value, e.venue_order_id) for e in events] == [  # type: ignore[union-attr]
        ("PLACEMENT", placed), ("CANCELLATION", placed), ("CANCELLATION", killed[1]["orderID"]),
    ]  # fmt: skip
    await theirs.send_str("PING")
    assert await text_of(theirs) == "PONG"
    for ws in (mine, theirs):
        await ws.close()


async def test_a_trade_reaches_taker_and_maker_with_every_stage(http: Http, house: House) -> None:
    maker, taker = Person(1), Person(2)
    maker_ws, taker_ws = await connected(http, house, maker), await connected(http, house, taker)
    await call(http, house, maker, "POST", "/order", maker.buy(46, 10))
    down = taker.order(Side.BUY, 5_400_000, 10_000_000, token_id=int(DOWN))
    await call(http, house, taker, "POST", "/order", taker.entry(down, TimeInForce.FOK))
    house.pass_time(0.1)
    house.pass_time(0.1)
    roles = {}
    for name, ws in (("maker", maker_ws), ("taker", taker_ws)):
        trades: list[dict[str, Any]] = []
        while len(trades) < 3:
            event = json.loads(await text_of(ws))
            trades += [event] if event["event_type"] == "trade" else []
        assert [row["status"] for row in trades] == ["MATCHED", "MINED", "CONFIRMED"]
        assert [bool(row["transaction_hash"]) for row in trades] == [False, True, True]
        roles[name] = trades[0]["trader_side"]
        await ws.close()
    assert roles == {"maker": "MAKER", "taker": "TAKER"}


async def test_user_events_follow_the_subscribed_markets(http: Http, house: House) -> None:
    me = Person()
    ws = await connected(http, house, me, markets=["0x" + "00" * 32])
    await call(http, house, me, "POST", "/order", me.buy(30, 10))
    await ws.send_json({"operation": "subscribe", "markets": [CONDITION]})
    await ws.send_str("PING")
    assert await text_of(ws) == "PONG"
    await call(http, house, me, "DELETE", "/cancel-all")
    assert json.loads(await text_of(ws))["type"] == "CANCELLATION"
    await ws.close()


async def test_dropped_user_events_are_counted_and_a_gap_cuts_the_sockets(http: Http, house: House) -> None:
    me = Person()
    ws = await connected(http, house, me)
    house.venue.faults.set("drop_user_events", True, {"times": 1})
    await call(http, house, me, "POST", "/order", me.buy(30, 10))
    await call(http, house, me, "DELETE", "/cancel-all")
    assert json.loads(await text_of(ws))["type"] == "CANCELLATION"
    assert house.counters["user_events_dropped"] == 1
    house.account_sink.on_gap()
    assert await is_closed(ws)
    again = await connected(http, house, me)
    await call(http, house, me, "DELETE", "/auth/api-key")
    assert await is_closed(again)


async def test_a_client_that_does_not_read_is_cut_off_and_others_are_not(
    http: Http, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "QUEUE_FRAMES", 5)
    person = Person()
    async with http.ws_connect("/ws/market") as ws, http.ws_connect("/ws/market") as good:
        for each in (ws, good):
            await each.send_json({"type": "market", "assets_ids": [UP]})
            await text_of(each)
        for number in range(6):
            assert (await call(http, house, person, "POST", "/order", person.buy(20 + number, 10)))[0] == 200
            for each in (ws, good):
                assert json.loads(await text_of(each))["event_type"] == "price_change"
        victim = next(iter(house.market_hub.connections))
        # no turn of the loop in between: its writer cannot send
        assert [victim.send(b"[]") for _ in range(6)] == [True] * 5 + [False]
        ends = [asyncio.create_task(is_closed(each)) for each in (ws, good)]
        done, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
        assert (len(done), len(waiting)) == (1, 1)
        for task in waiting:
            task.cancel()
        assert len(house.market_hub.connections) == 1


# ---- look-ups, dead ids, heartbeats, settlement ----


async def test_a_fresh_order_is_not_found_while_look_ups_lag(http: Http, house: House) -> None:
    person, faults = Person(), house.venue.faults
    faults.set("lagging_lookups", True, {"ms": 2_000})
    placed = (await call(http, house, person, "POST", "/order", person.buy(30, 10)))[1]["orderID"]
    missing = (404, {"error": "Order not found"})
    assert await call(http, house, person, "GET", f"/data/order/{placed}") == missing
    assert len((await call(http, house, person, "GET", "/data/orders"))[1]["data"]) == 1
    faults.set("lagging_lookups", True, {"ms": 2_000, "lists": 1})
    assert (await call(http, house, person, "GET", "/data/orders"))[1]["data"] == []
    house.pass_time(2)
    assert (await call(http, house, person, "GET", f"/data/order/{placed}"))[1]["id"] == placed
    assert len((await call(http, house, person, "GET", "/data/orders"))[1]["data"]) == 1


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("not_found", (404, {"error": "Order not found"})), ("null", (200, None)), ("empty", (200, ""))],
)
async def test_an_order_that_is_over_need_not_be_shown(http: Http, house: House, kind: str, answer: Any) -> None:
    person = Person()
    live, dead = [(await call(http, house, person, "POST", "/order", person.buy(30, 10)))[1]["orderID"] for _ in "12"]
    await call(http, house, person, "DELETE", "/order", {"orderID": dead})
    house.venue.faults.set("dead_lookups", True, {"kind": kind})
    assert await call(http, house, person, "GET", f"/data/order/{dead}") == answer
    assert (await call(http, house, person, "GET", f"/data/order/{live}"))[1]["id"] == live


@pytest.mark.parametrize("end", ["canceled", "matched", "killed"])
async def test_a_venue_that_forgets_takes_a_dead_order_again(http: Http, house: House, end: str) -> None:
    person = Person()
    tif = TimeInForce.FOK if end == "killed" else TimeInForce.GTC
    entry = person.buy(47 if end == "matched" else 30, 10, tif)
    answer = (await call(http, house, person, "POST", "/order", entry))[1]
    order_id = answer["orderID"]
    if end == "canceled":
        await call(http, house, person, "DELETE", "/order", {"orderID": order_id})
    duplicated = (400, {"error": f"order {order_id} is invalid. Duplicated."})
    assert await call(http, house, person, "POST", "/order", entry) == duplicated
    house.venue.faults.set("forget_dead_ids", True, {})
    again = (await call(http, house, person, "POST", "/order", entry))[1]
    assert again == answer | ({"tradeIDs": again.get("tradeIDs")} if end == "matched" else {})


async def test_a_resting_order_is_never_forgotten(http: Http, house: House) -> None:
    person = Person()
    entry = person.buy(30, 10)
    house.venue.faults.set("forget_dead_ids", True, {})
    order_id = (await call(http, house, person, "POST", "/order", entry))[1]["orderID"]
    status, answer = await call(http, house, person, "POST", "/order", entry)
    assert (status, answer["error"]) == (400, f"order {order_id} is invalid. Duplicated.")


async def test_heartbeats_can_be_refused_and_go_on_with_the_id_they_are_given(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("heartbeat_errors", True, {"times": 2})
    ids, given = [], ""
    for _ in range(2):
        status, answer = await call(http, house, person, "POST", "/v1/heartbeats", {"heartbeat_id": given})
        assert (status, answer["error"], answer["error_msg"]) == (400, "Invalid Heartbeat ID", "Invalid Heartbeat ID")
        ids.append(answer["heartbeat_id"])
    assert house.registry.armed_keys() == [], "a refused beat arms nothing"
    status, answer = await call(http, house, person, "POST", "/v1/heartbeats", {"heartbeat_id": ids[-1]})
    assert status == 200
    house.venue.faults.set("heartbeat_errors", True, {"times": 1})
    status, refused = await call(http, house, person, "POST", "/v1/heartbeats", answer)
    assert (status, refused["heartbeat_id"]) == (400, answer["heartbeat_id"])
    assert (await call(http, house, person, "POST", "/v1/heartbeats", answer))[0] == 200


async def test_a_heartbeat_may_fail_or_be_accepted_without_an_answer(
    http: Http, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.polymarket_sim.delivery.SILENCE_S", 0)
    person = Person()
    beat = (await call(http, house, person, "POST", "/v1/heartbeats", {"heartbeat_id": ""}))[1]
    house.venue.faults.set("heartbeat_errors", True, {"kind": "error", "times": 1})
    assert (await call(http, house, person, "POST", "/v1/heartbeats", beat))[0] == 500
    house.venue.faults.set("heartbeat_errors", True, {"kind": "lost", "times": 1})
    assert (await call(http, house, person, "POST", "/v1/heartbeats", beat))[0] == 504
    assert house.venue.log.to_wire()["statuses"]["POST /v1/heartbeats"] == {"200": 1, "500": 1, "lost": 1}  # type: ignore[index]
    status, refused = await call(http, house, person, "POST", "/v1/heartbeats", beat)
    assert status == 400, "the lost beat was accepted: its id is the next one"
    assert (await call(http, house, person, "POST", "/v1/heartbeats", {"heartbeat_id": refused["heartbeat_id"]}))[
        0
    ] == 200


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        ("FAILED", ["FAILED"]),
        ("MINED_FAILED", ["MINED", "RETRYING", "FAILED"]),
        ("RETRYING", ["RETRYING", "MINED", "CONFIRMED"]),
        ("RETRYING_FAILED", ["RETRYING", "FAILED"]),
    ],
)
async def test_the_next_trades_settle_as_the_fault_says(http: Http, house: House, kind: str, stages: list[str]) -> None:
    person = Person()
    ws = await connected(http, house, person)
    house.venue.faults.set("settlement", True, {"kind": kind, "times": 1})
    await house.venue.plan_settlement()
    seen: dict[str, list[str]] = {}
    for _ in range(2):
        await call(http, house, person, "POST", "/order", person.buy(47, 10, TimeInForce.FAK))
    for _ in range(5):
        house.pass_time(0.1)
    while sum(map(len, seen.values())) < 2 + len(stages) + 2:
        event = json.loads(await text_of(ws))
        if event["event_type"] == "trade":
            seen.setdefault(event["id"], []).append(event["status"])
    assert list(seen.values()) == [["MATCHED", *stages], ["MATCHED", "MINED", "CONFIRMED"]]
    assert (house.venue.faults.is_on("settlement"), house.venue.faults.struck["settlement"]) == (False, 1)
    rows = (await call(http, house, person, "GET", "/data/trades"))[1]["data"]
    assert sorted(row["status"] for row in rows) == sorted([stages[-1], "CONFIRMED"])
    held = (await call(http, house, person, "GET", f"/balance-allowance?asset_type=CONDITIONAL&token_id={UP}"))[1]
    assert held["balance"] == ("10000000" if stages[-1] == "FAILED" else "20000000")
    await ws.close()


async def test_a_plan_of_an_earlier_life_of_the_simulator_is_ended(http: Http, house: House) -> None:
    house.venue.faults.set("settlement", True, {"times": 0})
    await house.venue.plan_settlement()
    assert house.core.engine.trades.plan.life
    house.venue.faults.set("settlement", False, {})
    await house.venue.settle_as_usual()
    assert not house.core.engine.trades.plan.life
