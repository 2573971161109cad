"""Which action may run now, and which may not be sent any more. Pure; one Admission for each venue.

In: actions and cancels as they arrive on their lanes, the ends of what was taken, the time. Out: jobs to run, within
concurrency, budgets and the venue's mode; `out` collects results: of jobs that ended, and answers that need no venue
(OVERLOADED, FENCED, a mode, a passed deadline, the known end of a place asked again). An action that is in flight is
never run a second time, a place whose outcome stayed open only as a repeat, and a cancel never waits behind a place.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice
from typing import Protocol

import msgspec

from common.effects import Origin
from common.errors import Refusal
from common.messages import Cancel, CancelResult, CancelWallet, Place, PlaceBatch, PlaceBatchResult, PlaceResult
from common.reasons import Reason
from common.types import Outcome
from services.gateway.actions import (
    Action,
    Job,
    Kind,
    Result,
    Single,
    SingleResult,
    fenced_result,
    held_result,
    jobs_of,
    kind_of,
    merged,
    not_sent_result,
    refused,
    result_without_venue,
    too_late,
)
from services.gateway.modes import MS, Hold, VenueModes
from services.gateway.port import Prepared

FINISHED_MAX = 10_000
"""Ends of places remembered for an action that is asked again; the oldest is forgotten first."""
TOMBSTONES_MAX = 100_000
"""Cancelled orders whose place may still arrive; above it the oldest is forgotten (the executor fences as well)."""
UNSENT_MAX = 20_000
"""Places stopped before they were sent, remembered for the cancels that name them; a forgotten one is asked about."""
PLURAL = {Kind.PLACE: "places", Kind.CANCEL: "cancels", Kind.QUERY: "queries"}
SWEEP_HOLD_NS = 40 * MS
"""A wallet-wide cancel waits this long for places in flight to be answered: it would not catch them (section 7)."""
SWEEP_FLYING_NS = 250 * MS
"""And this long when cancels by id went ahead of it: what it misses is cancelled by id, and the debt it leaves in the
venue's bucket makes that slow."""
SWEEP_PATIENCE_NS = 1_000 * MS
"""It waits this long for cancels by id that went ahead of it."""
SWEEP_FLIGHT_NS = 500 * MS
"""While a wallet-wide cancel is on its way (at most this long) cancels by id wait: it does their work, and what it
cancels leaves the venue's bucket in a debt that would refuse them."""


class Limit(msgspec.Struct, frozen=True):
    in_flight: int
    waiting: int


class Limiter(Protocol):
    """The budgets of a venue. Waits are nanoseconds; 0 means that it may go and was charged."""

    def take(self, action: Single, count: int, now: int, *, repeat: bool = False) -> int: ...

    def cancels_free(self, wallet: str, now: int) -> int:
        """How many orders one cancel call may name now; 0 when not even one."""
        ...

    def cancelled(self, wallet: str, count: int, now: int) -> None:
        """A wallet-wide cancel was answered: what it cancelled costs afterwards."""
        ...


class NoLimits:
    """A venue without budgets."""

    def take(self, action: Single, count: int, now: int, *, repeat: bool = False) -> int:
        return 0

    def cancels_free(self, wallet: str, now: int) -> int:
        return 1 << 30

    def cancelled(self, wallet: str, count: int, now: int) -> None:
        pass


class Gate(Protocol):
    """Whether the venue takes a place now (modes.VenueModes)."""

    def hold(self, maker_only: bool, now: int) -> Hold | None: ...

    def leaves(self, maker_only: bool) -> None: ...


class _Queue:
    """Waiting jobs: in order for each wallet, wallets in turn, so that one wallet's budget stops no other's."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, deque[Job]] = OrderedDict()
        self.count = 0

    def put(self, job: Job) -> None:
        self._of.setdefault(job.wallet, deque()).append(job)
        job.waits = True
        self.count += 1

    def end(self, job: Job) -> None:
        """It does not wait any more (it runs, or is over); its place in line is given up when its turn comes."""
        if job.waits:
            job.waits = False
            self.count -= 1

    def heads(self) -> list[Job]:
        """The next job of each wallet, the wallet that waited longest first."""
        heads = []
        for wallet in list(self._of):
            jobs = self._of[wallet]
            while jobs and not jobs[0].waits:
                jobs.popleft()
            if jobs:
                heads.append(jobs[0])
            else:
                del self._of[wallet]
        return heads

    def turn(self, wallet: str) -> None:
        """This wallet had its turn."""
        if wallet in self._of:
            self._of.move_to_end(wallet)

    def waiting(self, wallet: str) -> list[Job]:
        return [job for job in self._of.get(wallet, ()) if job.waits]


class Admission:
    """The state: what waits, what runs, what is fenced, what is finished."""

    def __init__(
        self,
        limits: Mapping[Kind, Limit],
        limiter: Limiter | None = None,
        gate: Gate | None = None,
        cancel_batch_max: int = 1000,
        prepare: Callable[[Place], Prepared] | None = None,
        *,
        place_batch_max: int = 15,
    ) -> None:
        """`prepare` reads a pinned order (the adapter's; without one nothing is known to be post-only)."""
        self.counters: Counter[str] = Counter()
        self.out: list[Result] = []
        """Results that are known: whoever calls sends them."""
        self._limits = limits
        self._limiter = limiter or NoLimits()
        self._gate = gate or VenueModes()
        self._cancel_batch_max = cancel_batch_max
        self._place_batch_max = place_batch_max
        self._prepare = prepare
        self._queues: dict[Kind, _Queue] = {kind: _Queue() for kind in Kind}
        self._sweeps = _Queue()
        """Wallet-wide cancels: they go before the cancels by id, of which they save most."""
        self._running: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self._wake: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self._open: set[str] = set()
        self._sweeping: dict[str, int] = {}
        """Wallets with a wallet-wide cancel on its way, and until when that holds the others."""
        self._parts: Counter[str] = Counter()
        """Cancels by id on their way, by wallet."""
        self._part_ns: dict[str, int] = {}
        """When the last of them left."""
        self._places: dict[str, Job] = {}
        self._late: list[tuple[int, int, Job]] = []
        self._numbers = count()
        self._finished: OrderedDict[str, PlaceResult | PlaceBatchResult] = OrderedDict()
        self._last_seq = 0
        self._tombstones: dict[str, int] = {}
        self._tombstone_ends: deque[tuple[int, str]] = deque()
        self._wallet_fences: dict[str, int] = {}
        self._unsent: OrderedDict[str, None] = OrderedDict()

    # --- in ---

    def accept(self, action: Action, origin: Origin, repeat: bool, wall_ns: int, now: int) -> None:
        """Queue an action that arrived. `now` is monotonic, here and below."""
        known = self._finished.get(action.action_id)
        if known is not None and not _is_open_ended(known):
            self.counters["actions_known"] += 1
            self.out.append(known)
            return
        if isinstance(action, Cancel):
            self._fence(action, origin.covers)
        elif isinstance(action, CancelWallet):
            self._fence_wallet(action, origin.covers)
        else:
            self._arrived(origin.seq)
        if action.action_id in self._open:
            self.counters["actions_in_flight_again"] += 1
            return
        jobs = jobs_of(action, origin.seq, repeat or known is not None, wall_ns, now)
        if isinstance(action, PlaceBatch) and not jobs:
            self._end_action(PlaceBatchResult(action.action_id, []))
            return
        if self._has_no_room(kind_of(action), jobs):
            return
        self._open.add(action.action_id)
        for job in jobs:
            self._put(job)

    def _has_no_room(self, kind: Kind, jobs: Sequence[Job]) -> bool:
        limit = self._limits[kind].waiting
        waiting = self._queues[kind].count + (self._sweeps.count if kind is Kind.CANCEL else 0)
        if waiting + len(jobs) <= limit:
            return False
        self.counters["actions_overloaded"] += 1
        text = f"more than {limit} {PLURAL[kind]} are waiting; nothing was sent"
        for job in jobs:
            # An earlier life may have sent a repeat: only a look-up could say, and there is no room for one.
            outcome = Outcome.UNKNOWN if job.repeat else Outcome.REFUSED
            self._finish(job, result_without_venue(job.action, outcome, Reason.OVERLOADED, text))
        return True

    def _put(self, job: Job) -> None:
        action = job.action
        if isinstance(action, Place):
            if not self._is_readable(job, action):
                return
            self._places[action.venue_order_id] = job
            self._unsent.pop(action.venue_order_id, None)
            if self._is_buried(action, job.seq):
                self._stop(job, sent=job.repeat)
                if not job.repeat:
                    return
            heapq.heappush(self._late, (action.deadline_ns, next(self._numbers), job))
        elif isinstance(action, Cancel) and not self._left_to_ask(job):
            return
        self._queue_of(job).put(job)

    def _left_to_ask(self, job: Job) -> bool:
        """Orders that were stopped before they were sent need no request; False when no others are left."""
        stopped = [order_id for order_id in job.left if order_id in self._unsent]
        if stopped:
            job.left = [order_id for order_id in job.left if order_id not in self._unsent]
            text = "stopped before it was sent"
            job.answers.append(CancelResult(job.action.action_id, Outcome.DONE, Reason.OK, text, stopped))
            if not job.left:
                self._finish(job, merged(job.action.action_id, job.answers))
        return bool(job.left) or not stopped

    def _is_readable(self, job: Job, place: Place) -> bool:
        """Read the pinned order; one that cannot be read, or is not what it says, is over."""
        if self._prepare is not None:
            try:
                job.prepared = self._prepare(place)
            except Refusal as refusal:
                self._finish(job, refused(job, refusal))
                return False
        return True

    def _queue_of(self, job: Job) -> _Queue:
        return self._sweeps if isinstance(job.action, CancelWallet) else self._queues[kind_of(job.action)]

    # --- out ---

    def take(self, kind: Kind, wall_ns: int, now: int) -> list[Job]:
        """What may run next: one job, or the legs of a batch that go as one request. Empty when nothing may.

        Every request that is taken ends with one `freed`, every job with one `done`.
        """
        self._wake[kind] = 0
        if not self._waits(kind):
            return []
        if kind is Kind.PLACE:
            self._end_late(wall_ns)
        if self._running[kind] >= self._limits[kind].in_flight:
            return []
        for job in self._heads(kind):
            taken = self._take(job, now)
            if taken:
                self._running[kind] += 1
                self._queue_of(job).turn(job.wallet)
                return taken
        return []

    def _waits(self, kind: Kind) -> bool:
        return self._queues[kind].count > 0 or (kind is Kind.CANCEL and self._sweeps.count > 0)

    def _heads(self, kind: Kind) -> list[Job]:
        sweeps = self._sweeps.heads() if kind is Kind.CANCEL else []
        return sweeps + self._queues[kind].heads()

    def _take(self, job: Job, now: int) -> list[Job]:
        match job.action:
            case Place():
                return self._take_place(job, now)
            case Cancel():
                return self._take_part(job, job.action, now)
            case CancelWallet() if self._waits_for_places(job, now):
                return []
        taken = self._charged([job], now)
        if taken and _is_whole(job.action):
            self._sweeping[job.wallet] = now + SWEEP_FLIGHT_NS
        return taken

    def _take_place(self, job: Job, now: int) -> list[Job]:
        while True:
            legs = self._legs(job)
            maker_only = all(leg.prepared is not None and leg.prepared.maker_only for leg in legs)
            hold = None if job.repeat else self._gate.hold(maker_only, now)
            if hold is None:
                taken = self._charged(legs, now)
                if taken and not job.repeat:
                    self._gate.leaves(maker_only)
                return taken
            for leg in legs:
                self._finish(leg, held_result(leg, hold))
            rest = self._queues[Kind.PLACE].waiting(job.wallet)
            if not rest:
                return []
            job = rest[0]

    def _legs(self, job: Job) -> list[Job]:
        """A leg takes those behind it along as one request; repeats and fenced ones go alone."""
        if job.batch is None or job.repeat or job.fenced:
            return [job]
        waiting = self._queues[Kind.PLACE].waiting(job.wallet)
        legs = (leg for leg in waiting if leg.batch is job.batch and not (leg.repeat or leg.fenced))
        return list(islice(legs, self._place_batch_max))

    def _charged(self, jobs: list[Job], now: int) -> list[Job]:
        """These jobs, taken from their queue, when the budget has room for them."""
        first = jobs[0]
        wait_ns = self._limiter.take(first.action, len(jobs), now, repeat=first.repeat)
        if wait_ns:
            self._wake_at(kind_of(first.action), now + wait_ns)
            return []
        for job in jobs:
            self._queue_of(job).end(job)
        return jobs

    def _take_part(self, job: Job, cancel: Cancel, now: int) -> list[Job]:
        """One request of a cancel: as many orders as budget and venue allow in one call."""
        free = self._limiter.cancels_free(cancel.wallet, now)
        sweep = next((job for job in self._sweeps.waiting(cancel.wallet) if _is_whole(job.action)), None)
        # One that waits for longer than what is in flight has no budget: cancels by id have one of their own.
        if sweep is not None and now < (late := self._held_until(sweep) + MS):
            free -= 1  # which the wallet-wide call needs itself
            if free < 1 or not self._waits_for_places(sweep, now):
                self._wake_at(Kind.CANCEL, late)
                return []  # it does the rest
        if now < (until := self._sweeping.get(cancel.wallet, 0)):
            self._wake_at(Kind.CANCEL, until)
            return []
        size = max(1, min(free, self._cancel_batch_max, len(job.left)))
        wait_ns = self._limiter.take(cancel, size, now)
        if wait_ns:
            self._wake_at(Kind.CANCEL, now + wait_ns)
            return []
        ids, job.left = job.left[:size], job.left[size:]
        job.asking += 1
        self._parts[cancel.wallet] += 1
        self._part_ns[cancel.wallet] = now
        if not job.left:
            self._queues[Kind.CANCEL].end(job)
        part = msgspec.structs.replace(cancel, venue_order_ids=ids)
        return [Job(part, job.seq, job.repeat, job.received_ns, job.since_ns, parent=job)]

    def _waits_for_places(self, job: Job, now: int) -> bool:
        """Requests in flight of this wallet are answered first, for a moment.

        The venue's call would miss the places, and the debt it leaves would refuse cancels that it overtakes.
        """
        until = self._held_until(job)
        if self._parts[job.wallet] and now < until:
            self._wake_at(Kind.CANCEL, until)
            return True
        flying = min(until, job.since_ns + SWEEP_FLYING_NS)
        if now < flying and any(place.wallet == job.wallet and not place.waits for place in self._places.values()):
            self._wake_at(Kind.CANCEL, flying)
            return True
        return False

    def _held_until(self, sweep: Job) -> int:
        """It is held for a moment only, unless cancels by id have gone ahead of it."""
        last = self._part_ns.get(sweep.wallet)
        ahead = last is not None and last > sweep.since_ns - SWEEP_HOLD_NS
        return sweep.since_ns + (SWEEP_PATIENCE_NS if ahead else SWEEP_HOLD_NS)

    def _wake_at(self, kind: Kind, at: int) -> None:
        self._wake[kind] = min(self._wake[kind] or at, at)

    def _end_late(self, wall_ns: int) -> None:
        """Waiting places whose deadline passed are not sent; a repeat is still looked up."""
        while self._late and (self._late[0][0] <= wall_ns or not self._late[0][2].waits):
            job = heapq.heappop(self._late)[2]
            if job.waits and not job.repeat:
                self.counters["places_late"] += 1
                self._finish(job, not_sent_result(job, too_late(job, wall_ns)))

    @property
    def waits(self) -> bool:
        """Whether anything waits, for a budget, a deadline, or its turn."""
        places, cancels, queries = (self._queues[kind].count for kind in Kind)
        return places + cancels + queries + self._sweeps.count > 0

    @property
    def sweeps_wait(self) -> bool:
        """Whether a wallet-wide cancel waits."""
        return self._sweeps.count > 0

    def wake_ns(self, wall_ns: int, now: int) -> int:
        """When `take` may have something new although nothing happens before (monotonic); 0 for never."""
        soonest = 0
        for at in self._wake.values():
            if at and (at < soonest or not soonest):
                soonest = at
        if self._late and self._queues[Kind.PLACE].count:
            late = now + max(MS, self._late[0][0] - wall_ns)
            soonest = min(soonest or late, late)
        return soonest

    # --- ends ---

    def done(self, job: Job, result: SingleResult, now: int) -> None:
        """A taken job has its result."""
        if job.parent is not None:
            assert isinstance(result, CancelResult)
            self._parts[job.wallet] -= 1
            self._part_done(job.parent, result)
            return
        if isinstance(job.action, CancelWallet) and isinstance(result, CancelResult):
            if _is_whole(job.action):
                self._sweeping.pop(job.wallet, None)
            self._limiter.cancelled(job.wallet, len(result.canceled), now)
            self._spare(job.wallet, result)
        self._finish(job, result)

    def freed(self, kind: Kind) -> None:
        """A request is over: there is room for another."""
        self._running[kind] -= 1

    def depth(self) -> dict[str, int]:
        """Gauges for the heartbeat."""
        waiting = {f"{PLURAL[kind]}_waiting": queue.count for kind, queue in self._queues.items()}
        waiting["cancels_waiting"] += self._sweeps.count
        return waiting | {f"{PLURAL[kind]}_in_flight": running for kind, running in self._running.items()}

    def _part_done(self, job: Job, answer: CancelResult) -> None:
        job.asking -= 1
        job.answers.append(answer)
        if not job.asking and not job.left:
            self._finish(job, merged(job.action.action_id, job.answers))

    def _spare(self, wallet: str, result: CancelResult) -> None:
        """What the wallet-wide call cancelled needs no cancel of its own any more."""
        gone = {order_id.lower() for order_id in result.canceled}
        for job in self._queues[Kind.CANCEL].waiting(wallet):
            spared = [order_id for order_id in job.left if order_id.lower() in gone]
            if not spared:
                continue
            job.left = [order_id for order_id in job.left if order_id.lower() not in gone]
            text = "cancelled with everything of the wallet"
            answer = CancelResult(job.action.action_id, Outcome.DONE, Reason.OK, text, spared, timings=result.timings)
            if job.left:
                job.answers.append(answer)
            else:
                self._queues[Kind.CANCEL].end(job)
                job.asking += 1
                self._part_done(job, answer)

    def _finish(self, job: Job, result: SingleResult) -> None:
        self._queue_of(job).end(job)
        if isinstance(job.action, Place) and self._places.get(job.action.venue_order_id) is job:
            del self._places[job.action.venue_order_id]
        self.counters[f"results_{result.outcome.value.lower()}"] += 1
        if job.batch is None:
            self._end_action(result)
        elif isinstance(result, PlaceResult) and (whole := job.batch.take(result)) is not None:
            self._end_action(whole)

    def _end_action(self, result: Result) -> None:
        self._open.discard(result.action_id)
        self.out.append(result)
        if isinstance(result, PlaceResult | PlaceBatchResult):
            self._finished[result.action_id] = result
            if len(self._finished) > FINISHED_MAX:
                self._finished.popitem(last=False)

    # --- fencing (architecture section 6): a cancel overtakes its place ---

    def _fence(self, cancel: Cancel, covers: int) -> None:
        """Stop the places of these orders that were not sent; remember those still to arrive up to `covers`."""
        for order_id in cancel.venue_order_ids:
            job = self._places.get(order_id)
            if job is None:
                if covers > self._last_seq:
                    self._bury(order_id, covers)
            elif job.seq <= covers:
                self._stop(job, sent=job.repeat or not job.waits)

    def _fence_wallet(self, cancel: CancelWallet, covers: int) -> None:
        """Of a whole wallet. In one market only orders named by id are fenced: a place does not say its market."""
        if cancel.condition_id or cancel.token_id:
            return
        if covers > self._last_seq:
            self._wallet_fences[cancel.wallet] = max(covers, self._wallet_fences.get(cancel.wallet, 0))
        for job in list(self._places.values()):
            if job.wallet == cancel.wallet and job.seq <= covers:
                self._stop(job, sent=job.repeat or not job.waits)

    def _stop(self, job: Job, *, sent: bool) -> None:
        """Nothing more is sent for this place; one that was never sent is over at once."""
        if job.fenced:
            return
        job.fenced = True
        self.counters["places_fenced"] += 1
        if not sent:
            assert isinstance(job.action, Place)
            self._unsent[job.action.venue_order_id] = None
            if len(self._unsent) > UNSENT_MAX:
                self._unsent.popitem(last=False)
            self._finish(job, fenced_result(job.action))

    def _is_buried(self, place: Place, seq: int) -> bool:
        return place.venue_order_id in self._tombstones or seq <= self._wallet_fences.get(place.wallet, 0)

    def _bury(self, order_id: str, covers: int) -> None:
        if self._tombstones.get(order_id) == covers:
            return
        self._tombstones[order_id] = covers
        self._tombstone_ends.append((covers, order_id))
        if len(self._tombstone_ends) > TOMBSTONES_MAX:
            self.counters["tombstones_forgotten"] += 1
            self._forget_first()

    def _forget_first(self) -> None:
        covers, order_id = self._tombstone_ends.popleft()
        if self._tombstones.get(order_id) == covers:
            del self._tombstones[order_id]

    def _arrived(self, seq: int) -> None:
        """The lane is in order: fences up to here have nothing left to wait for after this message."""
        while self._tombstone_ends and self._tombstone_ends[0][0] < seq:
            self._forget_first()
        for wallet in [name for name, covers in self._wallet_fences.items() if covers < seq]:
            del self._wallet_fences[wallet]
        self._last_seq = max(self._last_seq, seq)


def _is_whole(action: Single) -> bool:
    return isinstance(action, CancelWallet) and not (action.condition_id or action.token_id)


def _is_open_ended(result: PlaceResult | PlaceBatchResult) -> bool:
    results = [result] if isinstance(result, PlaceResult) else result.results
    return any(row.outcome is Outcome.UNKNOWN for row in results)
