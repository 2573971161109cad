"""Findings of a hostile review, in a running gateway: signers elsewhere, trials, repeats, batches, beats and clocks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Literal

import msgspec
import pytest
from aiohttp import web

from common.effects import Origin
from common.errors import Refusal
from common.messages import (
    PlaceBatch,
    PlaceBatchResult,
    WalletReady,
)
from common.reasons import Reason
from common.types import Outcome
from common.venues.capabilities import Capabilities, DuplicateRefused
from common.venues.polymarket.pinned import PinnedOrder
from common.venues.polymarket.signing import Signer
from services.gateway.actions import Kind
from services.gateway.adapters.polymarket import WARM_CONNECTIONS, PolymarketAdapter
from services.gateway.deadman import INTERVAL_NS, RETRY_NS
from services.gateway.door import BEAT_TIMEOUT_S, Beating, Beats, Gateway
from services.gateway.modes import Mode, VenueModes
from services.gateway.polymarket import BeatAnswer, VenueWallet
from services.gateway.port import Adapter, Health, OrderSigner
from services.gateway.signers import InsideSigner
from tests.services.fake_edge import DEADLINE_S, FakeEdge, settings_for
from tests.services.gateway.orders import CREDS, KEY, cancel, place, wallet
from tests.services.gateway.test_desks import NOW, UNHEARD, Door, S, Stub, at, door
from tests.services.gateway.test_door import Handler, Venue


class Around:
    """What a gateway reads of the world around it."""

    def __init__(self) -> None:
        self.wall_ns = NOW
        self.mono_ns = S
        self.halted = ""


@asynccontextmanager
async def opened(
    *adapters: Adapter,
    around: Around | None = None,
    on_shutdown: Literal["leave", "cancel_all"] = "leave",
    beating: Mapping[str, Beating] = {},
) -> AsyncIterator[Door]:
    """A gateway in a world of the test's own; the test itself may close it."""
    known = around or Around()
    settings = settings_for()
    policy = settings.gateway.model_copy(update={"on_shutdown": on_shutdown})
    edge = FakeEdge("gateway", settings.model_copy(update={"gateway": policy}))
    gateway = Gateway(
        edge.as_edge(),
        [(adapter, None) for adapter in adapters],
        rng=Random(1),
        halted=lambda: known.halted,
        beating=beating,
        wall_ns=lambda: known.wall_ns,
        mono_ns=lambda: known.mono_ns,
    )
    gateway.start()
    try:
        await edge.until(lambda: all(desk.trouble != UNHEARD for desk in gateway.desks.values()))
        yield Door(edge, gateway)
        assert edge.errors == []
    finally:
        await edge.close()
        for adapter in adapters:
            await adapter.close()


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """The URL of a venue on loopback."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await event.wait()


# --- a signer elsewhere ---


class SignerAway:
    """Signs in another process: asked, it takes until `answers` is set; `refusal` is what it says then, if anything."""

    elsewhere = True

    def __init__(self, refusal: Refusal | None = None) -> None:
        self._inside = InsideSigner(Signer(KEY))
        self._refusal = refusal
        self.address = self._inside.address
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    def sign_now(self, pinned: PinnedOrder, venue_order_id: str = "") -> bytes | None:
        return None

    async def sign(self, pinned: PinnedOrder, venue_order_id: str) -> bytes:
        self.asked.set()
        await self.answers.wait()
        if self._refusal is not None:
            raise self._refusal
        return await self._inside.sign(pinned, venue_order_id)

    def close(self) -> None:
        self._inside.close()


def polymarket(url: str, signer: OrderSigner, around: Around) -> PolymarketAdapter:
    own = VenueWallet("main", signer, CREDS, funder="", signature_type=0, chain_id=137)
    settings = settings_for(clob_url=url, data_url=url)
    return PolymarketAdapter(settings, {"main": own}, wall_ns=lambda: around.wall_ns)


@pytest.mark.parametrize("code", [Reason.OK, Reason.FENCED, Reason.HALTED, Reason.DEADLINE_PASSED])
async def test_what_comes_while_a_place_is_signed_elsewhere_still_stops_it(code: Reason) -> None:
    venue, signer, around = Venue(), SignerAway(), Around()
    order = place(1, deadline_ns=NOW + 5 * S)
    async with served(venue.handle) as url, opened(polymarket(url, signer, around), around=around) as d:
        d.act(order)
        await soon(signer.asked)
        if code is Reason.FENCED:
            d.edge.lanes["cancels"](cancel(order.venue_order_id), Origin("executor", "cancels", 1, 1), False)
            await d.result("c1")
        around.halted = "operator" if code is Reason.HALTED else ""
        around.wall_ns += 60 * S if code is Reason.DEADLINE_PASSED else 0
        signer.answers.set()
        assert (await d.place_result("a1")).code is code
    assert venue.asked.count("POST /order") == (code is Reason.OK)


# --- the order that is tried after a restricted mode ---


def begin_trial(d: Door, around: Around, venue: str) -> VenueModes:
    modes = d.gateway.desks[venue].modes
    modes.observe(Reason.VENUE_POST_ONLY, 1000, "", around.mono_ns, began=around.mono_ns, place=True, maker_only=False)
    around.mono_ns += 2 * S
    assert not modes.tick(around.mono_ns)
    assert modes.mode is Mode.NORMAL
    return modes


async def test_a_trial_whose_taker_was_left_behind_by_its_batch_lets_the_next_one_try() -> None:
    around = Around()
    async with opened(Stub("one"), around=around) as d:
        modes = begin_trial(d, around, "one")
        taker = msgspec.structs.replace(at("one", 1), deadline_ns=NOW + S)
        d.act(PlaceBatch("b", "one", "main", [taker, at("one", 2, b"maker")]))
        around.wall_ns += 2 * S  # the deadline of the taker passes before the request is written
        result = await d.result("b")
        assert isinstance(result, PlaceBatchResult)
        assert [leg.code for leg in result.results] == [Reason.DEADLINE_PASSED, Reason.OK]
        assert modes.hold(False, around.mono_ns + 3600 * S) is None


async def test_what_the_signer_refuses_ends_no_trial_of_the_venue() -> None:
    venue, around = Venue(), Around()
    signer = SignerAway(Refusal(Reason.SIGNING_LIMIT, "too much in this minute"))
    signer.answers.set()
    async with served(venue.handle) as url, opened(polymarket(url, signer, around), around=around) as d:
        modes = begin_trial(d, around, "polymarket")
        d.act(place(1))
        assert (await d.place_result("a1")).code is Reason.SIGNING_LIMIT
        assert modes.hold(False, around.mono_ns) is None
        modes.leaves(False)
        assert modes.hold(False, around.mono_ns) is not None, "still one at a time: nothing was learned of the venue"


# --- repeats and batches ---


async def test_a_repeat_for_a_wallet_or_venue_that_is_gone_is_unknown() -> None:
    async with door(Stub("one")) as d:
        d.act(msgspec.structs.replace(at("one", 1), wallet="gone"), repeat=True)
        d.act(msgspec.structs.replace(at("one", 2), venue="gone"), repeat=True)
        results = [await d.place_result(f"one-{n}") for n in (1, 2)]
        assert [(result.outcome, result.code) for result in results] == [
            (Outcome.UNKNOWN, Reason.WALLET_NOT_READY),
            (Outcome.UNKNOWN, Reason.UNKNOWN_VENUE),
        ]


async def test_no_request_has_more_orders_than_the_venue_takes_at_once() -> None:
    stub = Stub("one")
    stub.capabilities = Capabilities(DuplicateRefused.FOREVER, place_batch_max=2, cancel_wallet=True)
    async with door(stub) as d:
        d.act(PlaceBatch("b", "one", "main", [at("one", n) for n in range(5)]))
        result = await d.result("b")
        assert isinstance(result, PlaceBatchResult)
        assert [leg.outcome for leg in result.results] == [Outcome.DONE] * 5
        assert sorted(stub.asked) == ["one-0+one-1", "one-2+one-3", "one-4"]


# --- beats ---


class Stuck:
    """Answers no beat of the wallet `slow`; `passes` is added to the clock while it is waited for."""

    def __init__(self, around: Around, passes: int = 0) -> None:
        self.beats: Counter[str] = Counter()
        self.edge: FakeEdge | None = None
        self._around = around
        self._passes = passes

    async def beat(self, wallet_name: str, heartbeat_id: str) -> BeatAnswer:
        self.beats[wallet_name] += 1
        if self.edge is not None:
            self.edge.poke()
        if wallet_name == "slow":
            self._around.mono_ns += self._passes
            await asyncio.Event().wait()
        return BeatAnswer(True, f"id-{self.beats[wallet_name]}", "", True)


async def test_a_beat_that_gets_no_answer_leaves_time_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.door.BEAT_TIMEOUT_S", 0.01)
    around, counters = Around(), Counter[str]()
    beats = Beats(Stuck(around, passes=int(BEAT_TIMEOUT_S * S)), "slow", counters)
    assert beats.chain.next_beat(0, around.mono_ns) == ""
    beats.chain.accepted("id-1", around.mono_ns)
    around.mono_ns += INTERVAL_NS
    async with asyncio.timeout(DEADLINE_S):
        await beats.keep(0, lambda: around.mono_ns)
    assert counters["beats_failed"] == 1
    around.mono_ns += RETRY_NS
    assert beats.chain.trouble(0, around.mono_ns) == "", "orders live on"
    assert beats.chain.next_beat(0, around.mono_ns) == "id-1"


async def test_beats_of_one_wallet_do_not_wait_for_those_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    class TwoKeys(Stub):
        def wallets(self) -> Sequence[WalletReady]:
            return [WalletReady(self.venue, name, "0x", "0x", 0, 0, name) for name in ("slow", "well")]

    monkeypatch.setattr("services.gateway.door.BEAT_EVERY_S", 0.001)
    monkeypatch.setattr("services.gateway.door.BEAT_TIMEOUT_S", 10 * DEADLINE_S)
    around = Around()
    stuck = Stuck(around)
    async with opened(TwoKeys("one"), around=around, beating={"one": stuck}) as d:
        stuck.edge = d.edge
        d.edge.heard = around.mono_ns
        await d.edge.until(lambda: stuck.beats["well"] == 1)
        around.mono_ns += INTERVAL_NS
        d.edge.heard = around.mono_ns
        await d.edge.until(lambda: stuck.beats["well"] == 2)
        assert stuck.beats["slow"] == 1


# --- clocks ---


async def test_a_slow_connection_is_no_clock_skew() -> None:
    """One of the questions for the venue's time takes two seconds longer than the others; the clocks are one clock."""
    around, arrived, others_answered = Around(), Counter[str](), asyncio.Event()

    class Watched(PolymarketAdapter):
        async def _time(self, kind: Kind) -> Health:
            health = await super()._time(kind)
            arrived["answers"] += 1
            if arrived["answers"] == 2 * WARM_CONNECTIONS - 1:
                others_answered.set()
            return health

    async def tell_time(request: web.Request) -> web.StreamResponse:
        seconds = around.wall_ns // S
        arrived["questions"] += 1
        if arrived["questions"] == 2:
            await soon(others_answered)
            around.wall_ns += 2 * S
        return web.json_response(seconds)

    async with served(tell_time) as url:
        settings = settings_for(clob_url=url, data_url=url)
        adapter = Watched(settings, {"main": wallet()}, wall_ns=lambda: around.wall_ns)
        health = await adapter.health()
        await adapter.close()
    assert health.ok
    assert abs(health.clock_ns - around.wall_ns) <= 600_000_000
