"""Actions as requests of our own exchange, and its answers as results. Pure.

In: an action, the account it is for, later the answer. Out: one request of the bus; then the result. A place is REFUSED
only where the exchange says that the order did not enter; anything that may have been processed stays UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from common.errors import Refusal
from common.fixed import MICROS_MAX
from common.messages import (
    BalancesReport,
    CancelAnswer,
    ExchangeOrder,
    ExchangeTrade,
    Message,
    OrderAnswer,
    Place,
    PlaceResult,
    Refused,
    SubmitOrder,
    Timings,
    VenueOrder,
    VenuePosition,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass, Settlement, Side
from common.venues.exchange.names import account_of, bus_id, is_of_exchange
from common.venues.exchange.user import own_fills
from common.venues.plain import PlainOrder, decode_plain, local_id

RETRY_MS: Final = 1_000
NOT_FOUND: Final = "Order not found or already canceled"
ALREADY_DONE: Final = "already canceled or matched"
"""What the exchange says of an order it does not cancel."""

_MAY_HAVE_ENTERED: Final = frozenset({Reason.DUPLICATE_ORDER, Reason.INTERNAL, Reason.UNKNOWN_MESSAGE})
"""Refusals that say nothing about an earlier copy, or come from something that broke half-way."""
_LATER: Final = frozenset({Reason.OVERLOADED, Reason.UNKNOWN_ACCOUNT})
"""Refusals that end by themselves: too much at once, or an account that is opened before the next order."""

Failure = tuple[Outcome, Reason, str]


# --- places ---


def checked_order(place: Place) -> PlainOrder:
    """The pinned order, which must be of this venue and have the id that was journaled. Raises Refusal."""
    order = decode_plain(place.pinned)
    if order.venue_order_id != place.venue_order_id:
        text = f"the pinned order has the id {order.venue_order_id[:80]}, not {place.venue_order_id[:80]}"
        raise Refusal(Reason.DIGEST_MISMATCH, text, "venue_order_id")
    if not is_of_exchange(order.token_id):
        raise Refusal(Reason.BAD_REQUEST, f"the token {order.token_id[:80]!r} is of another venue", "pinned")
    return order


def submit_order(place: Place, order: PlainOrder, attempt: int = 0) -> SubmitOrder:
    """The same action gives the same command, whoever sends it and however often: the exchange does it once.

    `attempt` counts the definite refusals of this action: only behind such a one it is another command.
    """
    account = account_of(place.wallet)
    name = "\0".join((account, place.action_id, str(attempt))).encode() + b"\0" + place.pinned
    return SubmitOrder(
        command_id=blake2b(name, digest_size=16).hexdigest(),
        account=account,
        venue_order_id=order.venue_order_id,
        token_id=local_id(order.token_id),
        side=order.side,
        price=order.price,
        size=order.size,
        tif=order.tif,
        post_only=order.post_only,
        expire_ns=order.expire_ns,
        expiration=str(order.expire_ns // 1_000_000_000),
    )


def place_result(place: Place, answer: Message, timings: Timings) -> PlaceResult:
    """The answer to a submitted order. A repeat gets the first copy's answer, so it speaks for that one too."""
    if isinstance(answer, Refused):
        return _refused(place, answer, timings)
    if not isinstance(answer, OrderAnswer) or answer.venue_order_id != place.venue_order_id:
        return unknown_place(place, f"the exchange answered for something else: {type(answer).__name__}", timings)
    return PlaceResult(
        place.action_id,
        place.venue_order_id,
        Outcome.DONE,
        Reason.OK,
        "",
        status=answer.status,
        making=answer.making,
        taking=answer.taking,
        timings=timings,
    )


def _refused(place: Place, answer: Refused, timings: Timings) -> PlaceResult:
    is_open = answer.code in _MAY_HAVE_ENTERED
    later = answer.code in _LATER
    return PlaceResult(
        place.action_id,
        place.venue_order_id,
        Outcome.UNKNOWN if is_open else Outcome.REFUSED,
        answer.code,
        answer.text,
        retry_after_ms=RETRY_MS if later else 0,
        timings=timings,
        retry=RetryClass.LOOK_UP if is_open else RetryClass.AFTER if later else RetryClass.NEVER,
    )


def unknown_place(place: Place, text: str, timings: Timings) -> PlaceResult:
    """It was sent, and what became of it is not known."""
    return PlaceResult(
        place.action_id,
        place.venue_order_id,
        Outcome.UNKNOWN,
        Reason.VENUE_UNKNOWN_OUTCOME,
        text,
        timings=timings,
        retry=RetryClass.LOOK_UP,
    )


def unsent_place(place: Place, code: Reason, text: str, timings: Timings, *, resent: bool) -> PlaceResult:
    """Nothing was sent now; `resent`: an earlier copy may be there all the same."""
    return PlaceResult(
        place.action_id,
        place.venue_order_id,
        Outcome.UNKNOWN if resent else Outcome.REFUSED,
        code,
        f"nothing was sent: {text}",
        retry_after_ms=0 if resent else RETRY_MS,
        timings=timings,
        retry=RetryClass.LOOK_UP if resent else RetryClass.AFTER,
    )


# --- everything else ---


def failure_of(answer: Message) -> Failure:
    """Why an answer is not the one that was asked for."""
    if isinstance(answer, Refused):
        return Outcome.REFUSED, answer.code, answer.text
    text = f"the exchange answered {type(answer).__name__}"
    return Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text


def not_canceled(answers: Iterable[CancelAnswer]) -> dict[str, str]:
    """A reason word and the exchange's text for each order that was not cancelled."""
    return {
        order_id: f"{_cancel_reason(text).value}: {text}"
        for answer in answers
        for order_id, text in answer.not_canceled.items()
    }


def _cancel_reason(text: str) -> Reason:
    if text == ALREADY_DONE:
        return Reason.INVALID_ORDER_STATE
    return Reason.ORDER_NOT_FOUND if text == NOT_FOUND else Reason.VENUE_REFUSED


def venue_order(order: ExchangeOrder) -> VenueOrder:
    return VenueOrder(
        order.venue_order_id,
        order.status,
        bus_id(order.token_id),
        order.side,
        order.price,
        order.size,
        order.filled_size,
        order.created_ns,
    )


def settled_positions(balances: BalancesReport, trades: Sequence[ExchangeTrade]) -> list[VenuePosition]:
    """What is held on chain: balances move at the match, so what is not mined yet is taken off again. A trade that
    failed was taken back."""
    held = dict(balances.tokens)
    for trade in trades:
        if trade.settlement not in (Settlement.MATCHED, Settlement.RETRYING):
            continue
        for fill in own_fills(trade, balances.account, ""):
            token_id = local_id(fill.token_id)
            held[token_id] = held.get(token_id, 0) + (-fill.size if fill.side is Side.BUY else fill.size)
    return [VenuePosition(bus_id(token_id), min(size, MICROS_MAX)) for token_id, size in held.items() if size > 0]
