"""The gateway process against a venue on loopback that misbehaves on demand; the bus is an in-memory Edge."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest
from aiohttp import web

from common.effects import Origin
from common.messages import (
    Accepted,
    ActionRefused,
    CancelResult,
    Message,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    TradesResult,
    WalletReady,
    decode,
)
from common.reasons import Reason
from common.types import Outcome
from services.gateway.adapters.polymarket import PolymarketAdapter
from services.gateway.door import Gateway
from tests.services.fake_edge import FakeEdge, settings_for
from tests.services.gateway.orders import FAR, TOKEN, cancel, place, wallet

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
NOW = 1_790_000_000 * 10**9


class Venue:
    """Counts what it is asked. `slow` paths wait until `release` is set; `cut` paths lose the connection."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: list[str] = []
        self.orders: dict[str, dict[str, object]] = {}
        self.slow: set[str] = set()
        self.cut: set[str] = set()
        self.status: dict[str, tuple[int, str]] = {}
        self.release = asyncio.Event()
        self.arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.method} {request.path}"
        if request.path != "/time":
            self.asked.append(name)
            self.bodies.append(await request.text())
        text = await request.text()
        self.arrived.set()
        if name in self.slow:
            await self.release.wait()
        if name in self.cut:
            assert request.transport is not None
            request.transport.abort()
        if name in self.status:
            status, text = self.status[name]
            return web.Response(status=status, text=text, content_type="text/html")
        return web.json_response(self._reply(request, text))

    def _reply(self, request: web.Request, text: str) -> object:
        if request.path == "/time":
            return 1_790_000_000
        if request.path.startswith("/data/order/"):
            return self.orders.get(request.path.rsplit("/", 1)[1])
        if request.path in ("/data/orders", "/data/trades"):
            return {"data": list(self.orders.values()), "next_cursor": "LTE="}
        body = json.loads(text)
        if request.method == "DELETE":
            return {"canceled": body if isinstance(body, list) else [body["orderID"]], "not_canceled": {}}
        order_id = next(i for i in ORDER_IDS if ORDER_IDS[i] == body["order"]["salt"])
        return {"success": True, "errorMsg": "", "orderID": order_id, "status": "live"}


ORDER_IDS = {place(salt).venue_order_id: salt for salt in range(1, 8)}


def open_order(venue_order_id: str) -> dict[str, object]:
    return {
        "id": venue_order_id,
        "status": "LIVE",
        "asset_id": TOKEN,
        "side": "BUY",
        "price": "0.52",
        "original_size": "10",
        "size_matched": "0",
    }


class Desk:
    """A running Gateway with its venue and its edge."""

    def __init__(self, venue: Venue, edge: FakeEdge) -> None:
        self.venue = venue
        self.edge = edge
        self.seq = 0

    def act(self, message: Message, *, repeat: bool = False, covers: int | None = None) -> None:
        lane = "actions" if covers is None else "cancels"
        self.seq += 1
        self.edge.lanes[lane](message, Origin("executor", lane, self.seq, covers or 0), repeat)

    @property
    def results(self) -> list[Message]:
        return [body for body in self.edge.bodies("results") if not isinstance(body, WalletReady)]

    async def result(self, count: int = 1) -> Message:
        await self.edge.until(lambda: len(self.results) >= count)
        return self.results[count - 1]

    async def place_result(self, count: int = 1) -> PlaceResult:
        result = await self.result(count)
        assert isinstance(result, PlaceResult)
        return result


@asynccontextmanager
async def desk(timeout_ms: int = 5000, in_flight: int = 8, queue: int = 100) -> AsyncIterator[Desk]:
    venue = Venue()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", venue.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = settings_for(clob_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
    limits = settings.gateway.model_copy(
        update={"request_timeout_ms": timeout_ms, "in_flight_max": in_flight, "queue_max": queue}
    )
    edge = FakeEdge("gateway", settings.model_copy(update={"gateway": limits}))
    adapter = PolymarketAdapter(edge.settings, {"main": wallet()}, counters=edge.counters, wall_ns=lambda: NOW)
    running = Gateway(edge.as_edge(), [(adapter, None)], rng=Random(1), halted=str, wall_ns=lambda: NOW)
    running.start()
    try:
        yield Desk(venue, edge)
        assert edge.errors == []
    finally:
        venue.release.set()
        await edge.close()
        await running.close()
        await runner.cleanup()


async def test_it_is_ready_once_the_venue_answered_and_says_which_wallets_it_holds() -> None:
    async with desk() as d:
        assert d.edge.state[0] == "STARTING"
        await d.edge.until(lambda: d.edge.state == ("READY", ""))
        (ready,) = d.edge.bodies("results")
        assert ready == wallet().ready()
        d.edge.resets["results"]()
        assert d.edge.bodies("results") == [ready, ready]


async def test_it_is_not_ready_while_the_venue_is_broken_and_says_why() -> None:
    async with desk() as d:
        d.venue.status["GET /time"] = (502, "<html>")
        await d.edge.until(lambda: "HTTP 502" in d.edge.state[1])
        assert d.edge.state[0] == "STARTING"
        d.venue.status.clear()
        await d.edge.until(lambda: d.edge.state == ("READY", ""))


async def test_a_place_is_exactly_one_request() -> None:
    async with desk() as d:
        d.act(place(1))
        result = await d.place_result()
        assert (result.outcome, result.code, result.status) == (Outcome.DONE, Reason.OK, "live")
        assert d.venue.asked == ["POST /order"]
        assert [key for lane, key, body in d.edge.sent if body == result] == ["a1"]


@pytest.mark.parametrize(
    ("trouble", "code"), [("slow", Reason.VENUE_UNKNOWN_OUTCOME), ("cut", Reason.VENUE_UNKNOWN_OUTCOME)]
)
async def test_a_place_without_an_answer_is_unknown_and_not_sent_again(trouble: str, code: Reason) -> None:
    async with desk(timeout_ms=150) as d:
        getattr(d.venue, trouble).add("POST /order")
        d.act(place(1))
        result = await d.place_result()
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, code)
        assert d.venue.asked == ["POST /order"]


@pytest.mark.parametrize(("status", "text"), [(500, "{}"), (502, "<html>bad gateway</html>"), (200, "<html>hi</html>")])
async def test_a_broken_answer_to_a_place_is_unknown(status: int, text: str) -> None:
    async with desk() as d:
        d.venue.status["POST /order"] = (status, text)
        d.act(place(1))
        assert (await d.place_result()).outcome is Outcome.UNKNOWN


async def test_nothing_is_sent_for_a_wrong_digest_a_passed_deadline_or_a_foreign_wallet() -> None:
    async with desk() as d:
        wrong = place(1)
        d.act(Place("x1", wrong.venue, wrong.wallet, place(2).venue_order_id, FAR, wrong.pinned))
        d.act(place(3, deadline_ns=NOW))
        d.act(Place("x2", wrong.venue, "other", wrong.venue_order_id, FAR, wrong.pinned))
        d.act(Place("x3", "elsewhere", "main", wrong.venue_order_id, FAR, wrong.pinned))
        await d.result(4)
        codes = {result.action_id: result.code for result in d.results if isinstance(result, PlaceResult)}
        assert codes == {
            "x1": Reason.DIGEST_MISMATCH,
            "a3": Reason.DEADLINE_PASSED,
            "x2": Reason.WALLET_NOT_READY,
            "x3": Reason.UNKNOWN_VENUE,
        }
        assert all(r.outcome is Outcome.REFUSED for r in d.results if isinstance(r, PlaceResult))
        assert d.venue.asked == []


# --- repeats ---


async def test_a_repeat_of_an_order_the_venue_has_is_adopted_without_sending() -> None:
    async with desk() as d:
        action = place(1, deadline_ns=NOW)
        d.venue.orders[action.venue_order_id] = open_order(action.venue_order_id)
        d.act(action, repeat=True)
        result = await d.place_result()
        assert (result.outcome, result.code, result.status) == (Outcome.DONE, Reason.OK, "live")
        assert d.venue.asked == [f"GET /data/order/{action.venue_order_id}"]


async def test_a_repeat_of_an_absent_order_sends_the_same_bytes() -> None:
    async with desk() as d:
        d.act(place(1), repeat=True)
        await d.result()
        d.act(place(2))
        await d.result(2)
        assert [name for name in d.venue.asked if name.startswith("POST")] == ["POST /order"] * 2
        assert d.venue.asked[0].startswith("GET /data/order/0x")
        assert json.loads(d.venue.bodies[1])["order"]["salt"] == 1


async def test_a_repeat_past_its_deadline_is_only_looked_up() -> None:
    async with desk() as d:
        d.act(place(1, deadline_ns=NOW), repeat=True)
        result = await d.place_result()
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, Reason.DEADLINE_PASSED)
        assert d.venue.asked == [f"GET /data/order/{result.venue_order_id}"]


async def test_a_repeat_whose_look_up_fails_is_not_sent() -> None:
    async with desk() as d:
        action = place(1)
        d.venue.status[f"GET /data/order/{action.venue_order_id}"] = (503, "{}")
        d.act(action, repeat=True)
        result = await d.place_result()
        assert (result.outcome, result.code) == (Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE)
        assert len(d.venue.asked) == 1


# --- cancels ---


async def test_a_cancel_overtakes_places_that_hang() -> None:
    async with desk(in_flight=1) as d:
        d.venue.slow.add("POST /order")
        hanging, waiting = place(1), place(2)
        d.act(hanging)
        await asyncio.wait_for(d.venue.arrived.wait(), 5)
        d.act(waiting)
        d.act(cancel(hanging.venue_order_id, waiting.venue_order_id), covers=d.seq)
        await d.result(2)
        fenced, canceled = d.results
        assert isinstance(fenced, PlaceResult)
        assert (fenced.action_id, fenced.code) == ("a2", Reason.FENCED)
        assert isinstance(canceled, CancelResult)
        assert sorted(canceled.canceled) == sorted([hanging.venue_order_id, waiting.venue_order_id])
        assert waiting.venue_order_id not in d.venue.bodies[-1], "it was never sent: nobody has to be asked"
        d.venue.release.set()
        assert (await d.place_result(3)).action_id == "a1"
        assert d.venue.asked.count("POST /order") == 1


async def test_a_full_queue_is_answered_overloaded_at_once() -> None:
    async with desk(in_flight=1, queue=1) as d:
        d.venue.slow.add("POST /order")
        for salt in (1, 2, 3):
            d.act(place(salt))
        result = await d.place_result()
        assert (result.action_id, result.code) == ("a3", Reason.OVERLOADED)


async def test_the_same_action_again_while_in_flight_is_sent_once() -> None:
    async with desk() as d:
        d.venue.slow.add("POST /order")
        d.act(place(1))
        await asyncio.wait_for(d.venue.arrived.wait(), 5)
        d.act(place(1), repeat=True)
        d.venue.release.set()
        await d.result()
        d.act(cancel(place(1).venue_order_id), covers=d.seq)
        await d.result(2)
        assert d.venue.asked.count("POST /order") == 1
        assert len(d.results) == 2


async def test_an_empty_cancel_asks_nobody() -> None:
    async with desk() as d:
        d.act(cancel(), covers=0)
        result = await d.result()
        assert isinstance(result, CancelResult)
        assert (result.outcome, d.venue.asked) == (Outcome.DONE, [])


# --- queries ---


async def test_queries_are_answered_in_their_shape() -> None:
    async with desk() as d:
        order_id = place(1).venue_order_id
        d.venue.orders[order_id] = open_order(order_id)
        d.act(QueryOrder("q1", "polymarket", "main", order_id))
        d.act(QueryOpenOrders("q2", "polymarket", "main"))
        await d.result(2)
        d.venue.orders.clear()
        d.act(QueryTrades("q3", "polymarket", "main", 0))
        await d.result(3)
        by_id = {getattr(result, "action_id", ""): result for result in d.results}
        lookup, orders, trades = by_id["q1"], by_id["q2"], by_id["q3"]
        assert isinstance(lookup, OrderLookup)
        assert (lookup.found, lookup.asked_ns) == (True, NOW)
        assert isinstance(orders, OpenOrdersResult)
        assert (orders.complete, [order.venue_order_id for order in orders.orders]) == (True, [order_id])
        assert isinstance(trades, TradesResult)
        assert (trades.complete, trades.fills) == (True, [])


async def test_a_message_that_is_no_action_is_refused_with_its_kind() -> None:
    async with desk() as d:
        d.act(Accepted("c-1"))
        (refused,) = d.results
        assert isinstance(refused, ActionRefused)
        assert (refused.action_id, refused.outcome, refused.code) == ("c-1", Outcome.REFUSED, Reason.UNKNOWN_MESSAGE)
        assert "Accepted" in refused.text


@pytest.mark.parametrize(
    ("members", "code", "words"),
    [
        (["Frobnicate", "a-7", "polymarket", "main"], Reason.UNKNOWN_MESSAGE, "'Frobnicate'"),
        (["Place", "a-7", "polymarket", "main"], Reason.BAD_REQUEST, "array"),
        (["Cancel", "a-7", "polymarket", "main", 7], Reason.BAD_REQUEST, "array"),
    ],
)
@pytest.mark.parametrize("repeat", [False, True])
async def test_an_action_that_cannot_be_read_is_refused_and_says_what_is_wrong(
    members: list[object], code: Reason, words: str, repeat: bool
) -> None:
    body = msgspec.msgpack.encode(members)
    with pytest.raises(msgspec.DecodeError) as error:
        decode(body)
    async with desk() as d:
        d.edge.unreadable["actions"](body, str(error.value), repeat)
        (refused,) = d.results
        assert isinstance(refused, ActionRefused)
        assert (refused.action_id, refused.code) == ("a-7", code)
        assert refused.outcome is (Outcome.UNKNOWN if repeat else Outcome.REFUSED)
        assert words in refused.text


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x90", msgspec.msgpack.encode(["Place"]), msgspec.msgpack.encode(7)])
async def test_a_body_without_an_id_is_counted(body: bytes) -> None:
    async with desk() as d:
        d.edge.unreadable["actions"](body, "broken", False)
        assert d.edge.counters["actions_unreadable"] == 1
        assert d.results == []


async def test_a_full_results_lane_ends_the_process() -> None:
    async with desk() as d:
        d.edge.lane_room = False
        d.act(place(1))
        with pytest.raises(Exception, match="results lane is full"):
            await d.edge.until(lambda: False)
        d.edge.errors.clear()
