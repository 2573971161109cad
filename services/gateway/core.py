"""Which action may run now, and which may not be sent any more. Pure.

In: actions and cancels as they arrive on their lanes, and the ends of what was taken. Out: jobs to run, within the
limits, and answers that need no venue: OVERLOADED, FENCED, the known end of a place asked again. An action that is in
flight is never run a second time, and a place whose outcome stayed open only as a repeat. It knows no venue.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from enum import StrEnum

import msgspec

from common.effects import Origin
from common.messages import (
    BalancesResult,
    Cancel,
    CancelResult,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Timings,
    TradesResult,
)
from common.reasons import Reason
from common.types import Outcome

Action = Place | Cancel | QueryOrder | QueryOpenOrders | QueryTrades | QueryPositions | QueryBalances
Result = PlaceResult | CancelResult | OrderLookup | OpenOrdersResult | TradesResult | PositionsResult | BalancesResult

FINISHED_MAX = 10_000
"""Ends of places remembered for an action that is asked again; the oldest is forgotten first."""
TOMBSTONES_MAX = 100_000
"""Cancelled orders whose place may still arrive; above it the oldest is forgotten (the executor fences as well)."""


class Kind(StrEnum):
    """Each kind has its own queue, its own concurrency and its own connections: cancels never wait for places."""

    PLACE = "place"
    CANCEL = "cancel"
    QUERY = "query"


class Limit(msgspec.Struct, frozen=True):
    in_flight: int
    waiting: int


class Job(msgspec.Struct):
    """One action on its way. `fenced`: a cancel of this order came, nothing may be sent for it any more."""

    action: Action
    seq: int
    repeat: bool
    received_ns: int
    fenced: bool = False


def kind_of(action: Action) -> Kind:
    if isinstance(action, Place):
        return Kind.PLACE
    return Kind.CANCEL if isinstance(action, Cancel) else Kind.QUERY


class Admission:
    """The state: what waits, what runs, what is fenced, what is finished."""

    def __init__(self, limits: dict[Kind, Limit]) -> None:
        self.counters: Counter[str] = Counter()
        self._limits = limits
        self._waiting: dict[Kind, deque[Job]] = {kind: deque() for kind in Kind}
        self._running: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self._open: set[str] = set()
        self._places: dict[str, Job] = {}
        self._finished: OrderedDict[str, PlaceResult] = OrderedDict()
        self._last_seq = 0
        self._tombstones: dict[str, int] = {}
        self._tombstone_ends: deque[tuple[int, str]] = deque()

    def accept(self, action: Action, origin: Origin, repeat: bool, wall_ns: int) -> list[Result]:
        """Queue an action that arrived; returns the results that are known without the venue."""
        known = self._finished.get(action.action_id)
        if known is not None and known.outcome is not Outcome.UNKNOWN:
            self.counters["actions_known"] += 1
            return [known]
        results = self._fence(action, origin.covers) if isinstance(action, Cancel) else []
        if not isinstance(action, Cancel):
            self._arrived(origin.seq)
        if action.action_id in self._open:
            self.counters["actions_in_flight_again"] += 1
            return results
        job = Job(action, origin.seq, repeat or known is not None, wall_ns)
        refused = self._refusal_on_arrival(job)
        if refused is not None:
            return [*results, self._finish(action, refused)]
        self._open.add(action.action_id)
        self._waiting[kind_of(action)].append(job)
        if isinstance(action, Place):
            self._places[action.venue_order_id] = job
        return results

    def take(self, kind: Kind) -> Job | None:
        """The next job of a kind, when its concurrency allows one more."""
        queue = self._waiting[kind]
        if not queue or self._running[kind] >= self._limits[kind].in_flight:
            return None
        self._running[kind] += 1
        return queue.popleft()

    def done(self, job: Job, result: Result) -> Result:
        """A taken job has its result."""
        self._running[kind_of(job.action)] -= 1
        return self._finish(job.action, result)

    def depth(self) -> dict[str, int]:
        """Gauges for the heartbeat."""
        waiting = {f"{kind.value}s_waiting": len(queue) for kind, queue in self._waiting.items()}
        return waiting | {f"{kind.value}s_in_flight": count for kind, count in self._running.items()}

    def _finish(self, action: Action, result: Result) -> Result:
        self._open.discard(action.action_id)
        if isinstance(action, Place):
            self._places.pop(action.venue_order_id, None)
        if isinstance(result, PlaceResult):
            self._finished[action.action_id] = result
            if len(self._finished) > FINISHED_MAX:
                self._finished.popitem(last=False)
        self.counters[f"results_{result.outcome.value.lower()}"] += 1
        return result

    def _refusal_on_arrival(self, job: Job) -> Result | None:
        action = job.action
        if isinstance(action, Place) and action.venue_order_id in self._tombstones:
            self.counters["places_fenced"] += 1
            if not job.repeat:
                return fenced_result(action)
            job.fenced = True
        kind = kind_of(action)
        if len(self._waiting[kind]) >= self._limits[kind].waiting:
            self.counters["actions_overloaded"] += 1
            text = f"more than {self._limits[kind].waiting} {kind.value}s are waiting; nothing was sent"
            # An earlier life may have sent a repeat: only a look-up could say, and there is no room for one.
            outcome = Outcome.UNKNOWN if job.repeat else Outcome.REFUSED
            return result_without_venue(action, outcome, Reason.OVERLOADED, text)
        return None

    # --- fencing (architecture section 6): a cancel overtakes its place ---

    def _fence(self, cancel: Cancel, covers: int) -> list[Result]:
        """Stop the places of these orders that were not sent; remember those still to arrive up to `covers`."""
        results: list[Result] = []
        for order_id in cancel.venue_order_ids:
            job = self._places.get(order_id)
            if job is None:
                if covers > self._last_seq:
                    self._bury(order_id, covers)
            elif job.seq <= covers and not job.fenced:
                job.fenced = True
                self.counters["places_fenced"] += 1
                if not job.repeat and job in self._waiting[Kind.PLACE]:
                    self._waiting[Kind.PLACE].remove(job)
                    results.append(self._finish(job.action, fenced_result(job.action)))
        return results

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
        """The lane is in order: tombstones up to here have nothing left to wait for after this message."""
        while self._tombstone_ends and self._tombstone_ends[0][0] < seq:
            self._forget_first()
        self._last_seq = max(self._last_seq, seq)


def fenced_result(action: Action) -> Result:
    text = "a cancel of this order came before it was sent; nothing was sent"
    return result_without_venue(action, Outcome.REFUSED, Reason.FENCED, text)


def may_send(job: Job, wall_ns: int, halted: str = "") -> tuple[Reason, str] | None:
    """Why a place may not be sent (any more), or None. Checked last before the request is written.

    `halted` is what the durable halt marker says (common/halt.py).
    """
    assert isinstance(job.action, Place)
    if halted:
        return Reason.HALTED, f"trading is halted: {halted}"
    if job.fenced:
        return Reason.FENCED, "a cancel of this order came"
    if wall_ns >= job.action.deadline_ns:
        late_ms = (wall_ns - job.action.deadline_ns) // 1_000_000
        return Reason.DEADLINE_PASSED, f"its deadline passed {late_ms} ms ago"
    return None


def not_sent_result(job: Job, why: tuple[Reason, str]) -> Result:
    """The end of a place that may not be sent. Of a repeat an earlier life may have sent a copy: that stays UNKNOWN."""
    code, text = why
    if job.repeat:
        text = f"{text}; the venue did not have it when asked, an earlier copy may still arrive"
        return result_without_venue(job.action, Outcome.UNKNOWN, code, text, job.received_ns)
    return result_without_venue(job.action, Outcome.REFUSED, code, f"{text}; nothing was sent", job.received_ns)


def result_without_venue(action: Action, outcome: Outcome, code: Reason, text: str, received_ns: int = 0) -> Result:
    """The result of an action the venue was not asked about, in the shape its asker waits for."""
    action_id = action.action_id
    match action:
        case Place():
            timings = Timings(received_ns=received_ns)
            return PlaceResult(action_id, action.venue_order_id, outcome, code, text, timings=timings)
        case Cancel():
            return CancelResult(action_id, outcome, code, text)
        case QueryOrder():
            return OrderLookup(action_id, action.venue_order_id, outcome, code, text, received_ns)
        case QueryOpenOrders():
            return OpenOrdersResult(action_id, outcome, code, text, received_ns, False, [])
        case QueryTrades():
            return TradesResult(action_id, outcome, code, text, received_ns, False, [])
        case QueryPositions():
            return PositionsResult(action_id, outcome, code, text, received_ns, False, [])
        case QueryBalances():
            return BalancesResult(action_id, outcome, code, text, received_ns)
