"""What a reply of the venue means: done, refused or unknown, why, and what may be tried next (protocol section 3.7).

In: HTTP status (0 = no answer came) and body. Out: one verdict per order or per cancel call. A place is called
REFUSED only where the venue documents that the order did not enter; every timeout, 5xx and unreadable answer is
UNKNOWN and needs a look-up by order id. Error texts with ids and numbers are matched by pattern; new texts fall back
on the status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from common.errors import Refusal
from common.ratelimit import NS_PER_S
from common.reasons import Reason
from common.types import Outcome
from common.venues.polymarket.limits import retry_after_ns
from common.venues.polymarket.wire import (
    CancelResult,
    Members,
    OrderReply,
    decode_json,
    parse_cancel_result,
    parse_order_reply,
    read_text,
)

NO_ANSWER: Final = 0
_ENTERED = frozenset({"live", "matched", "delayed"})
_ACCEPTED = _ENTERED | {""}
_MESSAGE_MAX = 300


class Retry(StrEnum):
    """What may be tried next with this intent."""

    NONE = "NONE"
    """Nothing, or only a new decision."""
    FRESH = "FRESH"
    """A new order (new salt) may be made at once; these bytes are dead."""
    LATER = "LATER"
    """The same request, after a pause (`retry_after_s` when the venue says how long)."""
    REFRESH = "REFRESH"
    """Market data or the exchange version used for signing is out of date: reload, then make a new order."""
    LOOKUP = "LOOKUP"
    """The outcome is open: ask for the order by its id."""


class Meaning(NamedTuple):
    outcome: Outcome
    reason: Reason
    retry: Retry


class PlaceVerdict(msgspec.Struct, frozen=True):
    """What became of one posted order. Amounts are micros, None when the venue did not state them."""

    outcome: Outcome
    reason: Reason
    retry: Retry
    message: str = ""
    status: str = ""
    venue_order_id: str = ""
    making: int | None = None
    taking: int | None = None
    trade_ids: tuple[str, ...] = ()
    tx_hashes: tuple[str, ...] = ()
    retry_after_s: int = 0


class NotCanceled(msgspec.Struct, frozen=True):
    """Why one order was not canceled: INVALID_ORDER_STATE (it is over) or ORDER_NOT_FOUND, with the venue's text."""

    reason: Reason
    message: str


class CancelVerdict(msgspec.Struct, frozen=True):
    """What became of one cancel call. DONE means the venue answered, not that every order is canceled."""

    outcome: Outcome
    reason: Reason
    retry: Retry
    message: str = ""
    canceled: tuple[str, ...] = ()
    not_canceled: dict[str, NotCanceled] = {}
    retry_after_s: int = 0


def _refused(reason: Reason, retry: Retry = Retry.NONE) -> Meaning:
    return Meaning(Outcome.REFUSED, reason, retry)


def _open(reason: Reason = Reason.VENUE_UNKNOWN_OUTCOME) -> Meaning:
    return Meaning(Outcome.UNKNOWN, reason, Retry.LOOKUP)


# First match wins. Texts are matched anywhere, because batch replies and proxies decorate them.
_TEXTS: Final[tuple[tuple[re.Pattern[str], Meaning], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        # An earlier copy of these bytes arrived; whether it filled is open.
        (r"is invalid\. duplicated|order_duplicated|order already exists", _open(Reason.DUPLICATE_ORDER)),
        # These may still enter the book or have entered it; a leg of a batch says them with HTTP 200.
        (r"order match delayed|order_delayed|delaying_order", _open()),
        (r"order timed out", _open()),
        (r"could not insert order|could not run the execution|invalid_order_error|execution_error", _open()),
        (r"there are no matching orders|rounding issues|has a discrepancy", _open()),
        (r"breaks minimum tick size rule", _refused(Reason.BAD_TICK, Retry.REFRESH)),
        (r"lower than the minimum", _refused(Reason.SIZE_TOO_SMALL)),
        (r"for a marketable (buy|sell) order", _refused(Reason.NOTIONAL_TOO_SMALL)),
        (r"invalid amounts", _refused(Reason.BAD_SIZE)),
        (r"crosses (the )?book", _refused(Reason.POST_ONLY_CROSSES, Retry.FRESH)),
        (r"not enough balance|balance is not enough|allowance is not enough", _refused(Reason.INSUFFICIENT_BALANCE)),
        (r"insufficient balance", _refused(Reason.INSUFFICIENT_BALANCE)),
        (r"fok orders are fully filled or killed", _refused(Reason.FOK_NOT_FILLED, Retry.FRESH)),
        (r"fak orders are partially filled or killed", _refused(Reason.FAK_NOT_FILLED, Retry.FRESH)),
        (r"post-only mode", _refused(Reason.VENUE_POST_ONLY, Retry.LATER)),
        (r"cancel-only", _refused(Reason.VENUE_CANCEL_ONLY, Retry.LATER)),
        (r"trading is currently disabled", _refused(Reason.VENUE_DISABLED, Retry.LATER)),
        (r"not yet ready to process new orders", _refused(Reason.VENUE_UNAVAILABLE, Retry.LATER)),
        (r"order_version_mismatch", _refused(Reason.VENUE_REFUSED, Retry.REFRESH)),
        (r"invalid expiration", _refused(Reason.BAD_EXPIRY)),
        (r"owner has to be the owner of the api key", _refused(Reason.VENUE_AUTH)),
        (r"signer address has to be the address of the api key", _refused(Reason.VENUE_AUTH)),
        (r"address banned|closed only mode|maker address not allowed", _refused(Reason.VENUE_AUTH)),
        (r"invalid signature|invalid nonce", _refused(Reason.VENUE_AUTH)),
        (r"unauthorized|invalid api key|invalid l1 request headers", _refused(Reason.VENUE_AUTH)),
        (r"no orderbook exists|market not found|invalid token id", _refused(Reason.UNKNOWN_MARKET, Retry.REFRESH)),
        (r"market (is )?(closed|resolved)|not accepting orders", _refused(Reason.MARKET_CLOSED)),
        (r"canceled in the ctf exchange contract", _refused(Reason.VENUE_REFUSED)),
        (r"too many orders in payload|payload exceeds", _refused(Reason.BAD_REQUEST)),
        (r"invalid (order )?payload|invalid order params|invalid side|invalid orderid", _refused(Reason.BAD_REQUEST)),
        (r"too many requests", _refused(Reason.VENUE_RATE_LIMIT, Retry.LATER)),
    )
)
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
_BLOCKED: Final = frozenset({403, 451})
"""With a page instead of JSON: a proxy or the geo-block answered, the request did not get through."""
# Only these say for certain that a 5xx did not process the request.
_SAFE_503: Final = frozenset(
    {Reason.VENUE_POST_ONLY, Reason.VENUE_CANCEL_ONLY, Reason.VENUE_DISABLED, Reason.VENUE_UNAVAILABLE}
)
_BY_STATUS: Final[Mapping[int, Meaning]] = {
    400: _refused(Reason.VENUE_REFUSED),
    401: _refused(Reason.VENUE_AUTH),
    403: _refused(Reason.VENUE_AUTH),
    404: _refused(Reason.UNKNOWN_MARKET, Retry.REFRESH),
    405: _refused(Reason.BAD_REQUEST),
    411: _refused(Reason.BAD_REQUEST),
    413: _refused(Reason.BAD_REQUEST),
    414: _refused(Reason.BAD_REQUEST),
    415: _refused(Reason.BAD_REQUEST),
    422: _refused(Reason.BAD_REQUEST),
    425: _refused(Reason.VENUE_RESTARTING, Retry.LATER),
    429: _refused(Reason.VENUE_RATE_LIMIT, Retry.LATER),
}


def meaning_of_text(text: str) -> Meaning | None:
    """What a documented error text says about a place, whatever the status; None for texts not in the table."""
    for pattern, meaning in _TEXTS:
        if pattern.search(text):
            return meaning
    return None


def classify_place(status: int, body: bytes, retry_after: str = "") -> PlaceVerdict:
    """The verdict on POST /order. `retry_after` is the header of that name."""
    if status == 200 and (resting := _resting(body)) is not None:
        return resting
    value = _body(body)
    if status == 200:
        return classify_place_entry(value)
    members = value if isinstance(value, Mapping) else {}
    text = _error_text(value, body)
    meaning = _place_meaning(status, text)
    if status in _BLOCKED and _is_page(body):
        meaning, text = _refused(Reason.VENUE_BLOCKED, Retry.LATER), _blocked_text(status)
    if status == 400 and value is None and meaning_of_text(text) is None:
        meaning = _open()  # cut off or not the venue's own words: it may have been "Duplicated" of an accepted copy
    return PlaceVerdict(
        *meaning,
        message=text or f"HTTP {status}" if status else "no answer from the venue",
        venue_order_id=_text(members, "orderID"),
        retry_after_s=_pause(members, retry_after),
    )


class _Resting(msgspec.Struct, forbid_unknown_fields=True):
    """The answer nearly every order gets: it rests and nothing matched."""

    success: bool
    errorMsg: str  # noqa: N815 (the venue's spelling)
    orderID: str  # noqa: N815
    status: Literal["live"]
    makingAmount: Literal["", "0"] = ""  # noqa: N815
    takingAmount: Literal["", "0"] = ""  # noqa: N815


_resting_decoder = msgspec.json.Decoder(_Resting)


def _resting(body: bytes) -> PlaceVerdict | None:
    """The verdict on such an answer without looking at it member by member; None for every other."""
    try:
        reply = _resting_decoder.decode(body)
    except msgspec.DecodeError:
        return None
    if not (reply.success and reply.orderID) or reply.errorMsg:
        return None
    making, taking = (0 if amount else None for amount in (reply.makingAmount, reply.takingAmount))
    return PlaceVerdict(
        Outcome.DONE,
        Reason.OK,
        Retry.NONE,
        status="live",
        venue_order_id=reply.orderID,
        making=making,
        taking=taking,
    )


def classify_place_entry(value: object) -> PlaceVerdict:
    """The verdict on a 200 reply to POST /order, or on one element of the reply to POST /orders."""
    try:
        if not isinstance(value, Mapping):
            raise Refusal(Reason.BAD_REQUEST, "the reply is not an object")
        if isinstance(value.get("error"), str) and "orderID" not in value:
            text = _error_text(value, b"")
            return PlaceVerdict(*_place_meaning(400, text), message=text)
        return _reply_verdict(parse_order_reply(value))
    except Refusal as refusal:
        return PlaceVerdict(*_open(), message=f"unreadable reply: {refusal.message}")


def classify_cancel(status: int, body: bytes, retry_after: str = "") -> CancelVerdict:
    """The verdict on any cancel call. Cancels may always be repeated, so an open outcome is tried again."""
    value = _body(body)
    if status == 200:
        return _cancel_verdict(value)
    text = _error_text(value, body)
    members = value if isinstance(value, Mapping) else {}
    meaning = _cancel_meaning(status, text)
    if status in _BLOCKED and _is_page(body):
        meaning, text = _refused(Reason.VENUE_BLOCKED, Retry.LATER), _blocked_text(status)
    return CancelVerdict(
        *meaning,
        message=text or f"HTTP {status}" if status else "no answer from the venue",
        retry_after_s=_pause(members, retry_after),
    )


def not_canceled_reason(text: str) -> Reason:
    """ORDER_NOT_FOUND where the venue does not know the id, INVALID_ORDER_STATE where the order is over."""
    if re.search(r"already canceled or matched", text, re.IGNORECASE):
        return Reason.INVALID_ORDER_STATE
    if re.search(r"not found|can.?t be found|invalid orderid", text, re.IGNORECASE):
        return Reason.ORDER_NOT_FOUND
    return Reason.VENUE_REFUSED


def _place_meaning(status: int, text: str) -> Meaning:
    meaning = meaning_of_text(text)
    if status == 503 and meaning is not None and meaning.reason in _SAFE_503:
        return meaning
    fallback = _BY_STATUS.get(status)
    if fallback is None:
        return _open()
    if status in (425, 429):
        return fallback
    return meaning or fallback


def _reply_verdict(reply: OrderReply) -> PlaceVerdict:
    return PlaceVerdict(
        *_reply_meaning(reply),
        message=reply.error[:_MESSAGE_MAX],
        status=reply.status,
        venue_order_id=reply.order_id,
        making=reply.making,
        taking=reply.taking,
        trade_ids=reply.trade_ids,
        tx_hashes=reply.tx_hashes,
    )


def _reply_meaning(reply: OrderReply) -> Meaning:
    entered = reply.status in _ENTERED or bool(reply.making or reply.taking or reply.trade_ids)
    if reply.error:
        meaning = meaning_of_text(reply.error)
        if meaning is not None and not entered:
            return meaning
        # An unlisted text refuses for sure only when nothing else in the reply speaks of an order.
        return _open() if entered or reply.order_id else _refused(Reason.VENUE_REFUSED)
    if reply.success and reply.order_id and reply.status in _ACCEPTED:
        return Meaning(Outcome.DONE, Reason.OK, Retry.NONE)
    if not reply.success and not reply.order_id and not entered:
        return _refused(Reason.VENUE_REFUSED)
    # "unmatched" may rest or be gone; a new status word or a half-empty reply may be anything.
    return _open()


def _cancel_meaning(status: int, text: str) -> Meaning:
    if status in (425, 429):
        return _BY_STATUS[status]
    if status == 503 and re.search(r"trading is currently disabled", text, re.IGNORECASE):
        return _refused(Reason.VENUE_DISABLED, Retry.LATER)
    if status == 404:
        return _refused(Reason.ORDER_NOT_FOUND)
    fallback = _BY_STATUS.get(status)
    if fallback is None:
        return Meaning(Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LATER)
    meaning = meaning_of_text(text)
    return meaning if meaning is not None and meaning.outcome is Outcome.REFUSED else fallback


def _cancel_verdict(value: object) -> CancelVerdict:
    try:
        if not isinstance(value, Mapping):
            raise Refusal(Reason.BAD_REQUEST, "the reply is not an object")
        result: CancelResult = parse_cancel_result(value)
    except Refusal as refusal:
        unknown = Meaning(Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LATER)
        return CancelVerdict(*unknown, message=f"unreadable reply: {refusal.message}")
    refused = {
        order_id: NotCanceled(not_canceled_reason(text), text[:_MESSAGE_MAX])
        for order_id, text in result.not_canceled.items()
    }
    return CancelVerdict(Outcome.DONE, Reason.OK, Retry.NONE, canceled=result.canceled, not_canceled=refused)


def _body(body: bytes) -> object:
    """Decoded JSON, or None: error pages of proxies are not JSON."""
    try:
        return decode_json(body)
    except Refusal:
        return None


def _is_page(body: bytes) -> bool:
    return _PAGE.match(body) is not None


def _blocked_text(status: int) -> str:
    return f"HTTP {status} with a web page: a proxy or the geo-block refuses us, not the venue"


def _error_text(value: object, body: bytes) -> str:
    if isinstance(value, Mapping):
        for name in ("error", "errorMsg", "error_msg", "message"):
            text = value.get(name)
            if isinstance(text, str) and text:
                return text[:_MESSAGE_MAX]
        return ""
    if isinstance(value, str):
        return value[:_MESSAGE_MAX]
    return body[:_MESSAGE_MAX].decode("utf-8", "replace").strip()


def _text(members: Members, name: str) -> str:
    try:
        return read_text(members, name)
    except Refusal:
        return ""


def _pause(members: Members, header: str) -> int:
    """Seconds the venue asks to wait, begun ones count; 0 when it does not say. A date is the limits' to read."""
    for said in (members.get("retry_after_seconds"), header):
        found = retry_after_ns(str(said)) if said else None
        if found:
            return -(-found // NS_PER_S)
    return 0
