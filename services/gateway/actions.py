"""Actions on their way through the gateway, and the results that need no venue. Pure.

In: actions as they arrive, answers of parts. Out: jobs, and results in the shape each asker waits for. Every refusal
made here says that nothing was sent; a place that an earlier life may have sent is UNKNOWN instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from common.errors import Refusal
from common.messages import (
    ActionRefused,
    BalancesResult,
    Cancel,
    CancelResult,
    CancelWallet,
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
    Timings,
    TradesResult,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass
from services.gateway.modes import MS, Hold
from services.gateway.port import Prepared

Cancelling = Cancel | CancelWallet
Query = QueryOrder | QueryOpenOrders | QueryTrades | QueryPositions | QueryBalances
Single = Place | Cancelling | Query
Action = Single | PlaceBatch
SingleResult = (
    PlaceResult | CancelResult | OrderLookup | OpenOrdersResult | TradesResult | PositionsResult | BalancesResult
)
Result = SingleResult | PlaceBatchResult


class Kind(StrEnum):
    """Each kind has its own queues, its own concurrency and its own connections: cancels never wait for places."""

    PLACE = "place"
    CANCEL = "cancel"
    QUERY = "query"


KIND_OF: dict[type, Kind] = {
    Place: Kind.PLACE,
    PlaceBatch: Kind.PLACE,
    Cancel: Kind.CANCEL,
    CancelWallet: Kind.CANCEL,
    QueryOrder: Kind.QUERY,
    QueryOpenOrders: Kind.QUERY,
    QueryTrades: Kind.QUERY,
    QueryPositions: Kind.QUERY,
    QueryBalances: Kind.QUERY,
}
"""Every action there is."""


def kind_of(action: Action) -> Kind:
    return KIND_OF[type(action)]


class Job(msgspec.Struct, eq=False):
    """One action on its way, one leg of a batch, or one request of a cancel (`parent`).

    `fenced`: a cancel of this order came, nothing may be sent for it any more. `waits`: it is in its queue. A Cancel
    is asked in parts, as its budget allows: `left` are the orders not asked about yet, `asking` the parts under way,
    `answers` those that came back.
    """

    action: Single
    seq: int
    repeat: bool
    received_ns: int
    since_ns: int = 0  # monotonic
    prepared: Prepared | None = None
    batch: Batch | None = None
    parent: Job | None = None
    left: list[str] = []
    asking: int = 0
    answers: list[CancelResult] = []
    fenced: bool = False
    waits: bool = False

    @property
    def wallet(self) -> str:
        return self.action.wallet


class Batch:
    """The legs of one PlaceBatch; its result is sent when the last leg has one."""

    def __init__(self, action: PlaceBatch) -> None:
        self.action = action
        self._results: dict[str, PlaceResult] = {}

    def take(self, result: PlaceResult) -> PlaceBatchResult | None:
        self._results[result.action_id] = result
        if len(self._results) < len({place.action_id for place in self.action.places}):
            return None
        results = [self._results[place.action_id] for place in self.action.places]
        return PlaceBatchResult(self.action.action_id, results)


def jobs_of(action: Action, seq: int, repeat: bool, wall_ns: int, now: int) -> list[Job]:
    if isinstance(action, PlaceBatch):
        batch = Batch(action)
        places = list({place.action_id: place for place in action.places}.values())
        return [Job(place, seq, repeat, wall_ns, now, batch=batch) for place in places]
    left = list(dict.fromkeys(action.venue_order_ids)) if isinstance(action, Cancel) else []
    return [Job(action, seq, repeat, wall_ns, now, left=left, answers=[])]


def merged(action_id: str, answers: Sequence[CancelResult]) -> CancelResult:
    """The parts of one cancel as one result: DONE only when each was; the worst gives the code."""
    rank = (Outcome.UNKNOWN, Outcome.REFUSED, Outcome.DONE)
    worst = min(answers, key=lambda answer: rank.index(answer.outcome))
    not_canceled: dict[str, str] = {}
    for answer in answers:
        not_canceled |= answer.not_canceled
    return msgspec.structs.replace(
        worst,
        action_id=action_id,
        canceled=[order_id for answer in answers for order_id in answer.canceled],
        not_canceled=not_canceled,
        retry_after_ms=max(answer.retry_after_ms for answer in answers),
        timings=min((answer.timings for answer in answers), key=lambda times: times.sent_ns or 1 << 63),
    )


def fenced_result(action: Single) -> SingleResult:
    text = "a cancel of this order came before it was sent; nothing was sent"
    return result_without_venue(action, Outcome.REFUSED, Reason.FENCED, text)


def held_result(job: Job, hold: Hold) -> SingleResult:
    """A place the venue would not take now: the same bytes may go later."""
    text = f"{hold.text}; this copy was not sent"
    result = result_without_venue(job.action, Outcome.REFUSED, hold.reason, text, job.received_ns)
    return msgspec.structs.replace(result, retry=RetryClass.AFTER, retry_after_ms=hold.retry_after_ms)


class Conditions(msgspec.Struct, frozen=True):
    """What a place meets outside its queue: the halt marker's words, our clock against the venue's, the dead-man chain.

    Each is "" when nothing is wrong.
    """

    halted: str = ""
    clock: str = ""
    dead_man: str = ""


def may_send(job: Job, wall_ns: int, conditions: Conditions) -> tuple[Reason, str] | None:
    """Why a place may not be sent (any more), or None. Checked last before the request is written."""
    if conditions.halted:
        return Reason.HALTED, f"trading is halted: {conditions.halted}"
    if job.fenced:
        return Reason.FENCED, "a cancel of this order came"
    if isinstance(job.action, Place) and wall_ns >= job.action.deadline_ns:
        return too_late(job, wall_ns)
    if conditions.clock:
        return Reason.CLOCK_SKEW, conditions.clock
    if conditions.dead_man:
        return Reason.DEAD_MAN_UNHEALTHY, conditions.dead_man
    return None


def too_late(job: Job, wall_ns: int) -> tuple[Reason, str]:
    assert isinstance(job.action, Place)
    late_ms = (wall_ns - job.action.deadline_ns) // MS
    return Reason.DEADLINE_PASSED, f"its deadline passed {late_ms} ms ago"


NOT_NOW_MS = 1000
"""When a place refused for our clock or the dead-man chain is worth another try."""


def not_sent_result(job: Job, why: tuple[Reason, str]) -> SingleResult:
    """The end of a place that may not be sent. Of a repeat an earlier life may have sent a copy: that stays UNKNOWN."""
    code, text = why
    if job.repeat:
        text = f"{text}; the venue did not have it when asked, an earlier copy may still arrive"
        return result_without_venue(job.action, Outcome.UNKNOWN, code, text, job.received_ns)
    result = result_without_venue(job.action, Outcome.REFUSED, code, f"{text}; nothing was sent", job.received_ns)
    if code in (Reason.CLOCK_SKEW, Reason.DEAD_MAN_UNHEALTHY):
        return msgspec.structs.replace(result, retry=RetryClass.AFTER, retry_after_ms=NOT_NOW_MS)
    return result


def refused(job: Job, refusal: Refusal) -> SingleResult:
    """Of a repeat an earlier life may have sent a copy, whatever we think of the order now."""
    outcome = Outcome.UNKNOWN if job.repeat else Outcome.REFUSED
    return result_without_venue(job.action, outcome, refusal.code, refusal.message, job.received_ns)


def result_without_venue(
    action: Single, outcome: Outcome, code: Reason, text: str, received_ns: int = 0
) -> SingleResult:
    """The result of an action the venue was not asked about, in the shape its asker waits for."""
    action_id = action.action_id
    retry = RetryClass.LOOK_UP if outcome is Outcome.UNKNOWN else RetryClass.NEVER
    if code is Reason.OVERLOADED:
        retry = RetryClass.LOOK_UP if outcome is Outcome.UNKNOWN else RetryClass.AFTER
    timings = Timings(received_ns=received_ns)
    match action:
        case Place():
            return PlaceResult(action_id, action.venue_order_id, outcome, code, text, timings=timings, retry=retry)
        case Cancel() | CancelWallet():
            return CancelResult(action_id, outcome, code, text, timings=timings, retry=retry)
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


def unreadable_result(body: bytes, error: str, repeat: bool) -> ActionRefused | None:
    """The answer to an action that cannot be decoded; None when not even its id can be read."""
    try:
        members = msgspec.msgpack.decode(body)
    except msgspec.DecodeError:
        return None
    if not (isinstance(members, list) and len(members) > 1 and all(isinstance(row, str) for row in members[:2])):
        return None
    tag, action_id = members[:2]
    known = tag in {kind.__name__ for kind in KIND_OF}
    code = Reason.BAD_REQUEST if known else Reason.UNKNOWN_MESSAGE
    text = f"the {tag[:40]} cannot be read ({error[:200]})" if known else f"{tag[:40]!r} is no action of this gateway"
    outcome = Outcome.UNKNOWN if repeat else Outcome.REFUSED
    return ActionRefused(action_id, outcome, code, f"{text}; nothing was sent")
