"""What a ccxt venue's answers are as results of the gateway. Pure.

In: an action, an order as the venue shows it or the verdict on a failure, and times. Out: the result. A copy that was
sent again never speaks for the first one: its refusal is UNKNOWN.
"""

from __future__ import annotations

import msgspec

from common.errors import Refusal
from common.messages import OrderLookup, Place, PlaceResult, QueryOrder, Timings
from common.reasons import Reason
from common.types import Outcome, RetryClass, TimeInForce
from common.venues.ccxt.answers import TEXT_MAX, Verdict, unknown
from common.venues.ccxt.orders import Seen

_KILLED = {TimeInForce.FAK: Reason.FAK_NOT_FILLED, TimeInForce.FOK: Reason.FOK_NOT_FILLED}


def placed(place: Place, tif: TimeInForce, seen: Seen, timings: Timings) -> PlaceResult:
    """The venue shows the order it made of a place."""
    order = seen.order
    if order.venue_order_id != place.venue_order_id:
        text = f"the venue answered for another order: {order.venue_order_id[:80]!r}"
        return not_placed(place, Verdict(*unknown(), text), timings, resent=False)
    if order.status == "INVALID":
        verdict = Verdict(Outcome.REFUSED, Reason.VENUE_REFUSED, RetryClass.NEVER, "the venue rejected the order")
        return not_placed(place, verdict, timings, resent=False)
    killed = _KILLED.get(tif)
    if killed is not None and order.status != "LIVE" and not order.filled_size:
        verdict = Verdict(Outcome.REFUSED, killed, RetryClass.NEVER, "nothing matched, the order was killed")
        return not_placed(place, verdict, timings, resent=False)
    status = "matched" if killed is not None and order.filled_size else order.status.lower()
    making, taking = seen.executed
    return PlaceResult(
        place.action_id, order.venue_order_id, Outcome.DONE, Reason.OK, "", status, making, taking, timings=timings
    )


def not_placed(place: Place, verdict: Verdict, timings: Timings, *, resent: bool) -> PlaceResult:
    result = PlaceResult(
        place.action_id,
        place.venue_order_id,
        verdict.outcome,
        verdict.code,
        verdict.text,
        retry_after_ms=verdict.retry_after_ms,
        timings=timings,
        retry=verdict.retry,
    )
    if not resent or verdict.outcome is not Outcome.REFUSED:
        return result
    text = f"refused when sent again: {verdict.text}"
    return msgspec.structs.replace(result, outcome=Outcome.UNKNOWN, text=text, retry=RetryClass.LOOK_UP)


def refusal_verdict(refusal: Refusal) -> Verdict:
    """What was refused here, before anything was sent."""
    return Verdict(Outcome.REFUSED, refusal.code, RetryClass.NEVER, refusal.message[:TEXT_MAX])


def looked_up(action: QueryOrder, seen: Seen | None, asked_ns: int) -> OrderLookup:
    if seen is None:
        text = "the venue does not have this order"
        code = Reason.ORDER_NOT_FOUND
        return OrderLookup(action.action_id, action.venue_order_id, Outcome.DONE, code, text, asked_ns)
    done, code = Outcome.DONE, Reason.OK
    return OrderLookup(action.action_id, action.venue_order_id, done, code, "", asked_ns, True, seen.order)


def not_looked_up(action: QueryOrder, verdict: Verdict, asked_ns: int) -> OrderLookup:
    return OrderLookup(action.action_id, action.venue_order_id, verdict.outcome, verdict.code, verdict.text, asked_ns)
