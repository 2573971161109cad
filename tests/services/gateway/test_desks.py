"""Several venues behind one door: each has its own queues, modes and tasks, and none pays for another's trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import msgspec

from common.effects import Origin
from common.messages import (
    BalancesResult,
    Cancel,
    CancelResult,
    CancelWallet,
    Message,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceBatch,
    PlaceBatchResult,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    TradesResult,
    VenueModeChanged,
    WalletReady,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass
from common.venues.capabilities import Capabilities, DuplicateRefused
from services.gateway.door import Gateway
from services.gateway.modes import FAILURES_MAX
from services.gateway.polymarket import BeatAnswer
from services.gateway.port import Health, Prepared
from tests.services.fake_edge import FakeEdge, settings_for
from tests.services.gateway.orders import FAR, place

S = 1_000_000_000
UNHEARD = "not answered yet"
NOW = 1_790_000_000 * S


class Stub:
    """A venue that answers as it is told; `hangs` waits for `release`."""

    def __init__(
        self, venue: str, *, wallet_cancel: bool = True, refused: DuplicateRefused = DuplicateRefused.FOREVER
    ) -> None:
        self.venue = venue
        self.capabilities = Capabilities(refused, place_batch_max=15, cancel_wallet=wallet_cancel)
        self.code = Reason.OK
        self.clock_ns = NOW
        self.hangs = False
        self.healthy = True
        self.release = asyncio.Event()
        self.asked: list[str] = []

    def wallets(self) -> Sequence[WalletReady]:
        return [WalletReady(self.venue, "main", "0x", "0x", 0, 0, "")]

    async def start(self) -> None: ...
    async def close(self) -> None: ...

    async def health(self) -> Health:
        return Health(self.healthy, "" if self.healthy else "no route", self.clock_ns)

    async def probe(self) -> PlaceResult | CancelResult:
        self.asked.append("probe")
        return CancelResult("probe", *self._verdict())

    def prepare(self, place: Place) -> Prepared:
        return Prepared(place, place.pinned == b"maker", 0)

    def _verdict(self) -> tuple[Outcome, Reason, str]:
        if self.code is Reason.OK:
            return Outcome.DONE, Reason.OK, ""
        unknown = self.code is Reason.VENUE_UNKNOWN_OUTCOME
        return Outcome.UNKNOWN if unknown else Outcome.REFUSED, self.code, "as told"

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        self.asked.append(prepared.place.action_id)
        if self.hangs:
            await self.release.wait()
        return PlaceResult(prepared.place.action_id, prepared.place.venue_order_id, *self._verdict())

    async def place_batch(self, batch: Sequence[Prepared], received_ns: int) -> list[PlaceResult]:
        self.asked.append("+".join(row.place.action_id for row in batch))
        return [PlaceResult(row.place.action_id, row.place.venue_order_id, *self._verdict()) for row in batch]

    async def cancel(self, action: Cancel, received_ns: int) -> CancelResult:
        self.asked.append(action.action_id)
        return CancelResult(action.action_id, *self._verdict(), list(action.venue_order_ids))

    async def cancel_wallet(self, action: CancelWallet, received_ns: int) -> CancelResult:
        self.asked.append(action.action_id)
        return CancelResult(action.action_id, *self._verdict())

    async def look_up(self, action: QueryOrder) -> OrderLookup:
        self.asked.append(f"look-up {action.venue_order_id}")
        return OrderLookup(action.action_id, action.venue_order_id, Outcome.DONE, Reason.ORDER_NOT_FOUND, "", NOW)

    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult:
        return OpenOrdersResult(action.action_id, Outcome.DONE, Reason.OK, "", NOW, True, [])

    async def trades(self, action: QueryTrades) -> TradesResult:
        return TradesResult(action.action_id, Outcome.DONE, Reason.OK, "", NOW, True, [])

    async def positions(self, action: QueryPositions) -> PositionsResult:
        return PositionsResult(action.action_id, Outcome.DONE, Reason.OK, "", NOW, True, [])

    async def balances(self, action: QueryBalances) -> BalancesResult:
        return BalancesResult(action.action_id, Outcome.DONE, Reason.OK, "", NOW)


class Door:
    def __init__(self, edge: FakeEdge, gateway: Gateway) -> None:
        self.edge = edge
        self.gateway = gateway
        self.halted = ""
        self.seq = 0

    def act(self, message: Message, *, repeat: bool = False) -> None:
        self.seq += 1
        lane = "cancels" if isinstance(message, Cancel | CancelWallet) else "actions"
        self.edge.lanes[lane](message, Origin("executor", lane, self.seq), repeat)

    async def result(self, action_id: str) -> Message:
        def found() -> list[Message]:
            return [body for _, key, body in self.edge.sent if key == action_id]

        await self.edge.until(lambda: bool(found()))
        return found()[0]

    async def place_result(self, action_id: str) -> PlaceResult:
        result = await self.result(action_id)
        assert isinstance(result, PlaceResult)
        return result

    def modes(self) -> list[str]:
        return [f"{row.venue} {row.mode}" for row in self.edge.bodies("results") if isinstance(row, VenueModeChanged)]


@asynccontextmanager
async def door(*stubs: Stub, in_flight: int = 4) -> AsyncIterator[Door]:
    settings = settings_for()
    limits = settings.gateway.model_copy(update={"in_flight_max": in_flight, "queue_max": 8})
    edge = FakeEdge("gateway", settings.model_copy(update={"gateway": limits}))
    gateway = Gateway(edge.as_edge(), [(stub, None) for stub in stubs], rng=Random(1), halted=str, wall_ns=lambda: NOW)
    gateway.start()
    try:
        await edge.until(lambda: all(desk.trouble != UNHEARD for desk in gateway.desks.values()))
        yield Door(edge, gateway)
        assert edge.errors == []
    finally:
        for stub in stubs:
            stub.release.set()
        await edge.close()
        await gateway.close()


def at(venue: str, n: int, pinned: bytes = b"") -> Place:
    return Place(f"{venue}-{n}", venue, "main", f"{venue}:{n}", FAR, pinned)


async def test_a_venue_that_hangs_or_is_full_slows_no_other() -> None:
    stuck, well = Stub("stuck"), Stub("well")
    stuck.hangs = True
    async with door(stuck, well) as d:
        for n in range(20):
            d.act(at("stuck", n))
        for n in range(20):
            d.act(at("well", n))
            assert (await d.place_result(f"well-{n}")).outcome is Outcome.DONE
        assert (await d.place_result("stuck-19")).code is Reason.OVERLOADED
        assert len([name for name in stuck.asked if name.startswith("stuck")]) == 4


async def test_a_restart_of_one_venue_restricts_only_that_one_and_ends_alone() -> None:
    restarting, well = Stub("a"), Stub("b")
    async with door(restarting, well) as d:
        restarting.code = Reason.VENUE_RESTARTING
        d.act(at("a", 1))
        await d.place_result("a-1")
        d.act(at("a", 2))
        d.act(at("b", 1))
        held = await d.place_result("a-2")
        assert (held.outcome, held.code, held.retry) == (Outcome.REFUSED, Reason.VENUE_RESTARTING, RetryClass.AFTER)
        assert (await d.place_result("b-1")).outcome is Outcome.DONE
        d.act(Cancel("c1", "a", "main", ["x"]))
        await d.result("c1")
        assert "c1" in restarting.asked, "cancels leave in every mode"
        restarting.code = Reason.OK
        await d.edge.until(lambda: d.modes() == ["a RESTARTING", "a POST_ONLY"])
        assert "probe" in restarting.asked
        d.act(at("a", 3))
        assert (await d.place_result("a-3")).code is Reason.VENUE_POST_ONLY
        d.act(at("a", 4, b"maker"))
        assert (await d.place_result("a-4")).outcome is Outcome.DONE
        assert [body for topic, body in d.edge.published if topic == "venues"]


async def test_the_mode_is_told_again_to_an_executor_that_restarted() -> None:
    stub = Stub("a")
    async with door(stub) as d:
        stub.code = Reason.VENUE_DISABLED
        d.act(at("a", 1))
        await d.place_result("a-1")
        d.edge.resets["results"]()
        assert d.modes() == ["a DISABLED", "a DISABLED"]


async def test_missing_answers_degrade_a_venue_and_orders_still_leave() -> None:
    stub = Stub("a")
    stub.code = Reason.VENUE_UNKNOWN_OUTCOME
    async with door(stub) as d:
        for n in range(FAILURES_MAX + 2):
            d.act(at("a", n))
            assert (await d.place_result(f"a-{n}")).outcome is Outcome.UNKNOWN
        assert d.modes() == ["a DEGRADED"]


async def test_a_clock_far_from_the_venues_stops_places_and_not_cancels() -> None:
    stub = Stub("a")
    stub.clock_ns = NOW + 11 * S
    async with door(stub) as d:
        d.act(at("a", 1))
        refused = await d.place_result("a-1")
        assert (refused.outcome, refused.code, refused.retry) == (
            Outcome.REFUSED, Reason.CLOCK_SKEW, RetryClass.AFTER,
        )  # fmt: skip
        assert "11.0 s" in refused.text
        d.act(Cancel("c1", "a", "main", ["x"]))
        assert await d.result("c1")
        assert stub.asked == ["c1"]


async def test_a_batch_is_one_request_with_a_result_for_every_leg() -> None:
    stub = Stub("a")
    async with door(stub) as d:
        d.act(PlaceBatch("b1", "a", "main", [at("a", 1), at("a", 2)]))
        result = await d.result("b1")
        assert isinstance(result, PlaceBatchResult)
        assert [leg.action_id for leg in result.results] == ["a-1", "a-2"]
        assert stub.asked == ["a-1+a-2"]


async def test_a_batch_for_a_wallet_we_do_not_hold_is_refused_leg_by_leg() -> None:
    async with door(Stub("a")) as d:
        d.act(PlaceBatch("b1", "a", "nobody", [msgspec.structs.replace(place(1), venue="a", wallet="nobody")]))
        result = await d.result("b1")
        assert isinstance(result, PlaceBatchResult)
        assert [leg.code for leg in result.results] == [Reason.WALLET_NOT_READY]


class Beaten:
    """Takes every beat and remembers of which wallet and with which id."""

    def __init__(self, edge: FakeEdge) -> None:
        self.beats: list[tuple[str, str]] = []
        self._edge = edge

    async def beat(self, wallet_name: str, heartbeat_id: str) -> BeatAnswer:
        self.beats.append((wallet_name, heartbeat_id))
        self._edge.poke()
        return BeatAnswer(True, f"{wallet_name}-{len(self.beats)}", "", True)


async def test_wallets_of_one_api_key_share_one_chain_of_beats() -> None:
    class Shared(Stub):
        def wallets(self) -> Sequence[WalletReady]:
            keys = {"first": "k1", "second": "k1", "third": "k2"}
            return [WalletReady(self.venue, name, "0x", "0x", 0, 0, key) for name, key in keys.items()]

    edge = FakeEdge("gateway", settings_for())
    beaten = Beaten(edge)
    gateway = Gateway(
        edge.as_edge(), [(Shared("a"), None)], rng=Random(1), halted=str, beating={"a": beaten}, wall_ns=lambda: NOW
    )
    gateway.start()
    edge.heard = time.monotonic_ns()
    await edge.until(lambda: len(beaten.beats) >= 2)
    await edge.close()
    await gateway.close()
    assert sorted(beaten.beats) == [("first", ""), ("third", "")]


async def test_what_a_venue_cannot_do_is_refused_and_names_it() -> None:
    async with door(Stub("a", wallet_cancel=False)) as d:
        d.act(CancelWallet("s1", "a", "main"))
        result = await d.result("s1")
        assert isinstance(result, CancelResult)
        assert (result.outcome, result.code) == (Outcome.REFUSED, Reason.UNSUPPORTED)


async def test_it_is_ready_when_one_venue_answers_and_says_which_does_not() -> None:
    gone, well = Stub("gone"), Stub("well")
    gone.healthy = False
    async with door(gone, well) as d:
        assert d.edge.state[0] == "READY"
        assert "gone does not answer: no route" in d.edge.state[1]
        d.act(at("well", 1))
        assert (await d.place_result("well-1")).outcome is Outcome.DONE


async def test_a_repeat_of_an_absent_order_goes_again_only_where_a_second_copy_is_refused_for_ever() -> None:
    for_ever, while_open = Stub("a"), Stub("b", refused=DuplicateRefused.WHILE_OPEN)
    async with door(for_ever, while_open) as d:
        d.act(at("a", 1), repeat=True)
        d.act(at("b", 1), repeat=True)
        assert (await d.place_result("a-1")).outcome is Outcome.DONE
        kept_open = await d.place_result("b-1")
        assert (kept_open.outcome, kept_open.retry) == (Outcome.UNKNOWN, RetryClass.LOOK_UP)
        assert (for_ever.asked, while_open.asked) == (["look-up a:1", "a-1"], ["look-up b:1"])
