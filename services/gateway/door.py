"""The only door to the venues: lanes on one side, a desk for each venue on the other.

In: actions on the lanes "actions" and "cancels". Out: results, wallets and venue modes on lane "results", venue modes
as a stream, and the dead-man beats. It keeps nothing that the executor could not give it again: what is in the action
is all it needs. A venue that cannot be reached leaves the others at work.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol, cast

from common.edge import Edge
from common.effects import Origin
from common.errors import PolyexecError
from common.messages import Message, encode
from common.reasons import Reason
from common.telemetry import TOPIC as TELEMETRY
from services.gateway.actions import KIND_OF, Action, Conditions, unreadable_result
from services.gateway.core import Limiter
from services.gateway.deadman import DeadMan
from services.gateway.desk import VenueDesk, refusal_of
from services.gateway.modes import Mode
from services.gateway.polymarket import BeatAnswer
from services.gateway.port import Adapter

BEAT_TIMEOUT_S = 1.5
"""A beat that is lost must leave time for others: 5 s after the last one there are 5 s left."""
BEAT_EVERY_S = 0.25
"""How often the dead-man chains look at the clock."""
COUNTS_EVERY_S = 0.5
STOP_S = 6.0
"""How long the policy of an orderly end may take; the process has 8 s."""
TOPIC = "venues"
EXECUTOR = "executor"


class Beating(Protocol):
    """A venue with a dead-man switch (protocol section 4.6)."""

    async def beat(self, wallet_name: str, heartbeat_id: str) -> BeatAnswer: ...


class Beats:
    """The dead-man chain of one wallet: asks the pure chain when, and sends."""

    def __init__(self, venue: Beating, wallet: str, counters: Counter[str]) -> None:
        self.chain = DeadMan()
        self._venue = venue
        self._wallet = wallet
        self._counters = counters

    async def keep(self, executor_age_ns: int, mono_ns: Callable[[], int]) -> None:
        """One beat, if one is due."""
        heartbeat_id = self.chain.next_beat(executor_age_ns, mono_ns())
        if heartbeat_id is None:
            return
        try:
            async with asyncio.timeout(BEAT_TIMEOUT_S):
                answer = await self._venue.beat(self._wallet, heartbeat_id)
        except TimeoutError:
            answer = BeatAnswer(False, "", f"no answer within {BEAT_TIMEOUT_S:g} s", False)
        if answer.accepted:
            self._counters["beats_accepted"] += 1
            self.chain.accepted(answer.next_id, mono_ns())
        elif answer.answered:
            self._counters["beats_refused"] += 1
            self.chain.refused(answer.next_id, answer.text, mono_ns())
        else:
            self._counters["beats_failed"] += 1
            self.chain.failed(answer.text, mono_ns())


class Gateway:
    """Everything of one gateway process."""

    def __init__(
        self,
        edge: Edge,
        adapters: Sequence[tuple[Adapter, Limiter | None]],
        *,
        rng: Random,
        halted: Callable[[], str],
        beating: Mapping[str, Beating] = {},
        wall_ns: Callable[[], int] = time.time_ns,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`halted`: why no place may leave now, "" when it may (common/halt.py). `beating`: venues by name."""
        self._edge = edge
        self._halted = halted
        self._mono_ns = mono_ns
        self._heard_ns = 0
        self._stopping = ""
        self.desks: dict[str, VenueDesk] = {}
        self._beats: dict[tuple[str, str], Beats] = {}
        for adapter, limiter in adapters:
            self._open_desk(adapter, limiter, rng, wall_ns)
            if (venue := beating.get(adapter.venue)) is not None:
                self._begin_chains(adapter, venue)

    def _begin_chains(self, adapter: Adapter, venue: Beating) -> None:
        """One chain for each API key: wallets that share one share its beats."""
        chains: dict[str, Beats] = {}
        for ready in adapter.wallets():
            beats = chains.setdefault(ready.api_key, Beats(venue, ready.wallet, self._edge.counters))
            self._beats[adapter.venue, ready.wallet] = beats

    def _open_desk(self, adapter: Adapter, limiter: Limiter | None, rng: Random, wall_ns: Callable[[], int]) -> None:
        self.desks[adapter.venue] = VenueDesk(
            self._edge,
            adapter,
            tell=self._tell,
            conditions=lambda wallet: self._conditions(adapter.venue, wallet),
            rng=rng,
            limiter=limiter,
            on_change=self._show_state,
            wall_ns=wall_ns,
            mono_ns=self._mono_ns,
        )

    def start(self) -> None:
        """Serve the lanes, announce the wallets, and become ready once the venues answer."""
        edge = self._edge
        edge.serve_lane("cancels", self.on_action, self.on_unreadable)
        edge.serve_lane("actions", self.on_action, self.on_unreadable)
        edge.on_lane_reset("results", self.announce)
        edge.serve_snapshots(self.snapshot)
        self._show_state()
        self.announce()
        for desk in self.desks.values():
            edge.spawn(desk.run(), f"desk-{desk.venue}")
        edge.spawn(self._keep_counts(), "counts")
        if self._beats:
            edge.subscribe(EXECUTOR, TELEMETRY, _Unread())
            for beats in set(self._beats.values()):
                edge.spawn(self._keep_beating(beats), "dead-man")

    async def close(self) -> None:
        """Carry out what the settings say of an orderly end, then let go of the venues."""
        if self._edge.settings.gateway.on_shutdown == "cancel_all":
            self._stopping = "the gateway stops and cancels everything"
            await asyncio.gather(*(self._cancel_everything(desk) for desk in self.desks.values()))
        for desk in self.desks.values():
            await desk.adapter.close()

    async def _cancel_everything(self, desk: VenueDesk) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                left = await desk.cancel_everything(self._mono_ns() + int(STOP_S * 0.8e9))
        except TimeoutError:
            left = "not proven in time: look with `polyexec orders`"
        level = self._edge.log.error if left else self._edge.log.info
        level("shutdown_cancel_all", venue=desk.venue, left=left or "nothing is open")

    def announce(self) -> None:
        """Tell the executor (again) what it has to know of every venue."""
        for desk in self.desks.values():
            desk.announce()

    def snapshot(self, topic: str) -> list[Message]:
        return [desk.mode_message() for desk in self.desks.values()] if topic == TOPIC else []

    # --- the lanes ---

    def on_unreadable(self, body: bytes, error: str, repeat: bool) -> None:
        """An executor of another version: it is told, so that the order does not wait for nothing."""
        self._edge.counters["actions_unreadable"] += 1
        self._edge.log.error("unreadable_action", error=error)
        refused = unreadable_result(body, error, repeat)
        if refused is not None:
            self._tell(refused.action_id, refused)

    def on_action(self, message: Message, origin: Origin, repeat: bool) -> None:
        if type(message) not in KIND_OF:
            self.on_unreadable(encode(message), "not an action", repeat)
            return
        action = cast(Action, message)
        self._heard_ns = self._mono_ns()
        desk = self.desks.get(action.venue)
        if desk is None:
            known = ", ".join(self.desks) or "none"
            text = f"this gateway does not trade on {action.venue[:40]!r}; venues with wallets: {known}"
            self._tell(action.action_id, refusal_of(action, Reason.UNKNOWN_VENUE, text, repeat))
            return
        desk.on_action(action, origin, repeat)

    def _tell(self, key: str, body: Message) -> None:
        if not self._edge.send("results", key, body):
            # The executor keeps every action until its result: a new life of ours looks all of them up.
            raise PolyexecError("the results lane is full: the executor takes no results")

    # --- what places meet ---

    def _conditions(self, venue: str, wallet: str) -> Conditions:
        beats = self._beats.get((venue, wallet))
        dead_man = beats.chain.trouble(self._executor_age_ns(), self._mono_ns()) if beats else ""
        return Conditions(self._halted() or self._stopping, self.desks[venue].clock_trouble, dead_man)

    def _executor_age_ns(self) -> int:
        heard = max(self._heard_ns, self._edge.heard_ns(EXECUTOR))
        return self._mono_ns() - heard

    async def _keep_beating(self, beats: Beats) -> None:
        """One chain: another that hangs does not hold it up."""
        while True:
            await beats.keep(self._executor_age_ns(), self._mono_ns)
            await asyncio.sleep(BEAT_EVERY_S)

    async def _keep_counts(self) -> None:
        while True:
            for desk in self.desks.values():
                desk.show_counts()
            await asyncio.sleep(COUNTS_EVERY_S)

    # --- readiness ---

    def _show_state(self) -> None:
        """READY once a venue answered; the detail says which does not, and which is restricted."""
        troubles = [f"{desk.venue} does not answer: {desk.trouble}" for desk in self.desks.values() if desk.trouble]
        troubles += [desk.clock_trouble for desk in self.desks.values() if desk.clock_trouble]
        troubles += [
            f"{desk.venue} is {desk.modes.mode}" for desk in self.desks.values() if desk.modes.mode is not Mode.NORMAL
        ]
        ready = any(desk.answered for desk in self.desks.values())
        self._edge.set_state("READY" if ready else "STARTING", "; ".join(troubles))


class _Unread:
    """The executor's telemetry is followed for its being there; what it says is others' to read."""

    def on_snapshot(self, bodies: list[Message]) -> None: ...

    def on_event(self, body: Message) -> None: ...

    def on_gap(self) -> None: ...
