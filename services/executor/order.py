"""The life of one order: one transition table, one Order struct, and what clients are shown of it. Pure.

Rules of this file. 1: every change of an order's quantity state goes through `TABLE`; a cell that is not there is
illegal, nothing happens and the caller is told. 2: the table knows two axes: *quantity* (the states below) and
*settlement* (one rank per fill); no event of one axis moves the other. 3: states only move towards stronger proof
(REJECTED < WORKING < CANCELLED < EXPIRED < FILLED), so late, doubled and reordered news end in the same state.
4: specs 3 and 4 name projections of both axes (`status_of`, `lifecycle_of`), never stored.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from common.fixed import MICROS_MAX, SCALE, round_half_even_to
from common.messages import Fill, OrderView
from common.types import Lifecycle, OrderType, Settlement, Side, Status, TimeInForce
from services.executor.terms import is_signed


class State(StrEnum):
    """The quantity axis."""

    PENDING = "PENDING"
    """Journaled, no copy is on its way: it waits for its predecessor to be gone, or for its next try."""
    SUBMITTING = "SUBMITTING"
    """Handed to the gateway, no answer yet."""
    UNKNOWN = "UNKNOWN"
    """The outcome of sending it is open; only proof ends this."""
    RECALLED = "RECALLED"
    """A cancel was journaled before the place was answered: never sent again."""
    WORKING = "WORKING"
    """The venue has it."""
    CANCELLING = "CANCELLING"
    """The venue has it and a cancel is journaled."""
    REJECTED = "REJECTED"
    """Refused, or proven never accepted."""
    CANCELLED = "CANCELLED"
    """What was left is out of the book."""
    EXPIRED = "EXPIRED"
    """What was left is out of the book because its time was up."""
    FILLED = "FILLED"
    """All of it matched."""


class Event(StrEnum):
    """What can happen to the quantity axis."""

    SUBMIT = "SUBMIT"
    """The place leaves for the gateway."""
    DOUBT = "DOUBT"
    """The gateway cannot say whether the venue took it."""
    RETRY = "RETRY"
    """Refused for now, and surely not taken: the same signed bytes go out again after a pause."""
    RESEND = "RESEND"
    """Proven absent and allowed again: the same signed bytes go out once more."""
    LIVE = "LIVE"
    """Proof that the venue has (or had) the order."""
    FILL = "FILL"
    """Part of it matched."""
    ALL_FILLED = "ALL_FILLED"
    """All of it matched."""
    CANCEL = "CANCEL"
    """Our cancel was journaled."""
    GONE = "GONE"
    """The venue took the rest out of the book: cancelled, killed, withdrawn."""
    LAPSED = "LAPSED"
    """The venue took the rest out of the book at its expiry."""
    REFUSED = "REFUSED"
    """The venue or the gateway refused it."""
    GIVE_UP = "GIVE_UP"
    """Asked for until no request could still be on its way: it was never accepted."""


S, E = State, Event

TABLE: dict[State, dict[Event, State]] = {
    S.PENDING: {
        E.SUBMIT: S.SUBMITTING,
        E.CANCEL: S.CANCELLED,  # no copy of it can be anywhere: there is nothing to ask the venue
        E.LIVE: S.WORKING,  # after a RETRY: the refusal was not the whole truth
        E.FILL: S.WORKING,
        E.ALL_FILLED: S.FILLED,
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.REJECTED,
    },
    S.SUBMITTING: {
        E.DOUBT: S.UNKNOWN,
        E.RETRY: S.PENDING,
        E.LIVE: S.WORKING,
        E.FILL: S.WORKING,  # fill before ack: the user channel is faster than the answer to the POST
        E.ALL_FILLED: S.FILLED,
        E.CANCEL: S.RECALLED,
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.REJECTED,
    },
    S.UNKNOWN: {
        E.DOUBT: S.UNKNOWN,
        E.RESEND: S.SUBMITTING,
        E.LIVE: S.WORKING,
        E.FILL: S.WORKING,
        E.ALL_FILLED: S.FILLED,
        E.CANCEL: S.RECALLED,
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.REJECTED,
        E.GIVE_UP: S.REJECTED,
    },
    S.RECALLED: {  # no RESEND: a cancelled order's bytes might be accepted again
        E.DOUBT: S.RECALLED,
        E.LIVE: S.CANCELLING,  # the place won the race against our cancel: it is cancelled again
        E.FILL: S.CANCELLING,
        E.ALL_FILLED: S.FILLED,
        E.CANCEL: S.RECALLED,
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.REJECTED,
        E.GIVE_UP: S.REJECTED,
    },
    S.WORKING: {
        E.DOUBT: S.WORKING,  # the answer was lost, but the user channel has shown the order already
        E.LIVE: S.WORKING,
        E.FILL: S.WORKING,
        E.ALL_FILLED: S.FILLED,
        E.CANCEL: S.CANCELLING,
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.WORKING,  # seen at the venue: a refusal (of a second copy, by a proxy) cannot undo that
    },
    S.CANCELLING: {
        E.DOUBT: S.CANCELLING,
        E.LIVE: S.CANCELLING,
        E.FILL: S.CANCELLING,
        E.ALL_FILLED: S.FILLED,  # the cancel lost the race
        E.CANCEL: S.CANCELLING,
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.CANCELLING,
    },
    S.REJECTED: {  # what the venue shows is stronger than any refusal
        E.DOUBT: S.REJECTED,
        E.LIVE: S.WORKING,
        E.FILL: S.WORKING,
        E.ALL_FILLED: S.FILLED,
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.REJECTED,
    },
    S.CANCELLED: {
        E.DOUBT: S.CANCELLED,
        E.LIVE: S.CANCELLED,  # an older list or event that arrives late
        E.FILL: S.CANCELLED,  # fill after cancel: matched before it, told after it; it counts
        E.ALL_FILLED: S.FILLED,  # the rest matched before the cancel did: nothing was left to cancel
        E.GONE: S.CANCELLED,
        E.LAPSED: S.EXPIRED,  # the venue's own reason is the more exact one
        E.REFUSED: S.CANCELLED,
    },
    S.EXPIRED: {
        E.DOUBT: S.EXPIRED,
        E.LIVE: S.EXPIRED,
        E.FILL: S.EXPIRED,
        E.ALL_FILLED: S.FILLED,
        E.GONE: S.EXPIRED,
        E.LAPSED: S.EXPIRED,
        E.REFUSED: S.EXPIRED,
    },
    S.FILLED: {
        E.DOUBT: S.FILLED,
        E.LIVE: S.FILLED,
        E.FILL: S.FILLED,
        E.ALL_FILLED: S.FILLED,
        E.GONE: S.FILLED,  # a cancellation that overtook the trade which made it pointless
        E.LAPSED: S.FILLED,
        E.REFUSED: S.FILLED,
    },
}

TERMINAL = frozenset({S.REJECTED, S.CANCELLED, S.EXPIRED, S.FILLED})
"""Nothing of the order rests any more, as far as proof goes. Fills may still settle or come late."""
IN_DOUBT = frozenset({S.SUBMITTING, S.UNKNOWN, S.RECALLED})
"""Whether the venue has the order is not known."""

RANK: dict[Settlement, int] = {
    Settlement.UNKNOWN: 0,
    Settlement.MATCHED: 1,
    Settlement.RETRYING: 2,
    Settlement.MINED: 3,
    Settlement.CONFIRMED: 4,
    Settlement.FAILED: 5,  # FAILED after MINED happens; nothing undoes it
}
SETTLED = frozenset({Settlement.CONFIRMED, Settlement.FAILED})


def step(state: State, event: Event) -> State | None:
    """The next quantity state, or None when the event is illegal in this one."""
    return TABLE[state].get(event)


ROUNDING = 100
"""Micros by which the total of a signed order may differ from the sum of its fills; other venues count exactly."""


class Order(msgspec.Struct, array_like=True, gc=False):
    """One order. Field order is the checkpoint format. `_ns` times are wall, `_mono` ones the heart's own clock."""

    number: int
    account: str
    client_order_id: str
    venue: str
    wallet: str
    market: str
    condition_id: str
    token_id: str
    outcome: str
    side: Side
    order_type: OrderType
    tif: TimeInForce
    post_only: bool
    price: int
    size: int
    expire_ns: int
    deadline_ns: int
    deadline_mono: int
    venue_order_id: str
    pinned: bytes
    created_ns: int
    state: State = State.PENDING
    reported: int = 0
    """Matched so far in the venue's own words; fills may come later."""
    fills: dict[str, Fill] = {}
    cancel_asked: bool = False
    may_resend: bool = True
    refused_code: str = ""
    refused_text: str = ""
    gone_code: str = ""
    gone_text: str = ""
    placed_ns: int = 0
    matched_ns: int = 0
    confirmed_ns: int = 0
    sends: int = 0
    sent_ns: int = 0
    heard_ns: int = 0
    """Wall time of the last news about this order."""
    check_mono: int = 0
    """When to ask the venue for this order; 0 is never."""
    checks: int = 0
    absences: int = 0
    give_up_mono: int = 0
    place_action: str = ""
    cancel_action: str = ""
    lookup_action: str = ""
    asked_size: int = 0
    """What was asked for, when a policy capped it."""
    quote: int = 0
    replaces: int = 0
    """The number of the order this one takes the place of, while it still waits for it."""
    successor: int = 0
    predecessor: str = ""
    tries: int = 0
    """How often the venue said `not now`."""
    told: int = 0
    """Shares of all fills, also of those that failed to settle."""
    matched: int = 0
    """Shares that left the book: the larger of our fills (`told`) and the venue's word (`reported`)."""

    @property
    def order_id(self) -> str:
        return f"o-{self.number}"

    @property
    def open(self) -> bool:
        return self.state not in TERMINAL

    def add_fill(self, fill: Fill) -> None:
        """A fill that was not known."""
        self.fills[fill.trade_id] = fill
        self.told += fill.size
        self.matched = max(self.told, self.reported)

    def report(self, quantity: int) -> bool:
        """The venue's own word on how much matched; quantities merge by maximum. True when that is news."""
        before = self.matched
        self.reported = max(self.reported, quantity)
        self.matched = max(self.told, self.reported)
        return self.matched > before

    @property
    def complete(self) -> bool:
        return self.matched >= self.size

    @property
    def fills_missing(self) -> bool:
        """The venue spoke of more than the fills we have, and not only of what its rounding leaves."""
        missing = self.reported - self.told
        return missing > 0 and (missing > ROUNDING or not is_signed(self.venue))

    @property
    def settled(self) -> bool:
        """Over on both axes: nothing more is expected."""
        return (
            self.state in TERMINAL
            and not self.fills_missing
            and all(fill.settlement in SETTLED for fill in self.fills.values())
        )


def quantity_event(order: Order) -> Event:
    """What the known quantities prove."""
    if order.complete:
        return Event.ALL_FILLED
    return Event.FILL if order.matched else Event.LIVE


# --- settlement axis ---


def merge_settlement(known: Fill, news: Settlement, tx_hash: str) -> Fill | None:
    """The fill at the higher of both ranks, or None when the news adds nothing.

    A hash seen before CONFIRMED can change: the hash of the higher rank counts, within one rank the first.
    """
    if RANK[news] > RANK[known.settlement]:
        return msgspec.structs.replace(known, settlement=news, tx_hash=tx_hash or known.tx_hash)
    if tx_hash and not known.tx_hash:
        return msgspec.structs.replace(known, tx_hash=tx_hash)
    return None


# --- projections ---


def average_price(cash: int, size: int) -> int:
    """cash / size in micros, half to even: for display only, cash is the exact number."""
    return min(round_half_even_to(cash * SCALE, size) // size, MICROS_MAX) if size else 0


_STATUS: dict[State, Status] = {
    S.PENDING: Status.PENDING,
    S.SUBMITTING: Status.SUBMITTING,
    S.UNKNOWN: Status.UNKNOWN,
    S.RECALLED: Status.CANCELLING,
    S.WORKING: Status.WORKING,
    S.CANCELLING: Status.CANCELLING,
    S.REJECTED: Status.REJECTED,
    S.CANCELLED: Status.CANCELLED,
    S.EXPIRED: Status.EXPIRED,
    S.FILLED: Status.FILLED,
}

_LIFECYCLE: dict[State, Lifecycle] = {
    S.PENDING: Lifecycle.PENDING,
    S.SUBMITTING: Lifecycle.PENDING,
    S.UNKNOWN: Lifecycle.UNKNOWN,
    S.RECALLED: Lifecycle.UNKNOWN,
    S.WORKING: Lifecycle.PLACED,
    S.CANCELLING: Lifecycle.PLACED,
    S.REJECTED: Lifecycle.REJECTED,
    S.CANCELLED: Lifecycle.CANCELLED,
    S.EXPIRED: Lifecycle.EXPIRED,
    S.FILLED: Lifecycle.MATCHED,
}
"""Spec 4's word while nothing matched; with fills see `lifecycle_of`."""


def status_word(state: State) -> str:
    """Spec 3's word of a state without fills."""
    return _STATUS[state].value


def lifecycle_word(state: State) -> str:
    """Spec 4's word of a state without fills."""
    return _LIFECYCLE[state].value


def order_diagram() -> str:
    """The moves of the table as a Mermaid state diagram; what leaves a state as it is, is left out."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state, row in TABLE.items():
        moves: dict[State, list[str]] = {}
        for event, after in row.items():
            if after is not state:
                moves.setdefault(after, []).append(event.value)
        lines += [f"    {state.value} --> {after.value}: {', '.join(events)}" for after, events in moves.items()]
    return "\n".join(lines) + "\n"


def status_of(order: Order) -> Status:
    """Spec 3's word: the quantity axis."""
    if order.state is State.WORKING and order.matched:
        return Status.PARTIALLY_FILLED
    return _STATUS[order.state]


def lifecycle_of(order: Order) -> Lifecycle:
    """Spec 4's word: the quantity axis until the order is done with fills, then the slowest of its fills.

    FAILED once every fill is final and one of them failed; CONFIRMED once every fill is.
    """
    if not order.matched:
        return _LIFECYCLE[order.state]
    if order.state not in TERMINAL:
        return Lifecycle.PARTIAL_FILL
    stages = {fill.settlement for fill in order.fills.values()}
    if order.fills_missing or not stages <= {Settlement.MINED, *SETTLED}:
        return Lifecycle.MATCHED if order.state is State.FILLED else Lifecycle.PARTIAL_FILL
    if Settlement.MINED in stages:
        return Lifecycle.MINED
    return Lifecycle.FAILED if Settlement.FAILED in stages else Lifecycle.CONFIRMED


def reason_of(order: Order) -> tuple[str, str]:
    """Why the order is over, when it did not simply fill."""
    if order.state is State.REJECTED:
        return order.refused_code, order.refused_text
    if order.state in (State.CANCELLED, State.EXPIRED):
        return order.gone_code, order.gone_text
    return "", ""


def view_of(order: Order) -> OrderView:
    """The order as clients see it. Fills in the order of matching; a failed fill is shown but not counted."""
    fills: list[Fill] = []
    failed = cash = 0
    if order.fills:
        fills = sorted(order.fills.values(), key=_fill_order)
        failed = sum(fill.size for fill in fills if fill.settlement is Settlement.FAILED)
        cash = sum(fill.cash for fill in fills if fill.settlement is not Settlement.FAILED)
    code, text = reason_of(order)
    return OrderView(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        account=order.account,
        venue=order.venue,
        market=order.market,
        condition_id=order.condition_id,
        token_id=order.token_id,
        outcome=order.outcome,
        side=order.side,
        order_type=order.order_type,
        tif=order.tif,
        post_only=order.post_only,
        price=order.price,
        size=order.size,
        filled_size=order.matched - failed,
        avg_price=average_price(cash, order.told - failed),
        status=status_of(order),
        lifecycle=lifecycle_of(order),
        reject_reason=code,
        reject_text=text,
        created_ns=order.created_ns,
        placed_ns=order.placed_ns,
        matched_ns=order.matched_ns,
        confirmed_ns=order.confirmed_ns,
        fills=fills,
        asked_size=order.asked_size,
        replaces=order.predecessor,
        quote=order.quote,
    )


def _fill_order(fill: Fill) -> tuple[int, str]:
    return fill.matched_ns, fill.trade_id
