"""The language of the template's venue: requests and replies as JSON, and what its error words mean. Pure.

In: typed requests, or the bytes of a reply. Out: bytes, or a typed reply. Numbers are micros, times nanoseconds; what
has decimal texts would read and print them here, exactly (common/fixed.py).
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.errors import Refusal
from common.reasons import Reason
from common.types import Side, TimeInForce


class Request(msgspec.Struct, frozen=True, tag=True):
    """`key` says whose request it is: this venue's only secret."""

    key: str


class PlaceOrder(Request, frozen=True):
    id: str
    item: str
    side: Side
    price: int
    size: int
    tif: TimeInForce
    maker_only: bool = False
    ends_ns: int = 0


class PlaceOrders(Request, frozen=True):
    orders: list[PlaceOrder]


class CancelOrders(Request, frozen=True):
    ids: list[str]


class CancelAll(Request, frozen=True):
    """Everything, or everything of one item."""

    item: str = ""


class GetOrder(Request, frozen=True):
    id: str


class GetOpenOrders(Request, frozen=True):
    pass


class GetTrades(Request, frozen=True):
    after_ns: int


class GetMoney(Request, frozen=True):
    pass


class GetBook(Request, frozen=True):
    item: str


class GetTime(Request, frozen=True):
    pass


AnyRequest = (
    PlaceOrder
    | PlaceOrders
    | CancelOrders
    | CancelAll
    | GetOrder
    | GetOpenOrders
    | GetTrades
    | GetMoney
    | GetBook
    | GetTime
)


class WireOrder(msgspec.Struct, frozen=True):
    """`status`: LIVE, MATCHED, CANCELED."""

    id: str
    item: str
    side: Side
    price: int
    size: int
    filled: int
    paid: int
    status: str
    created_ns: int


class WireTrade(msgspec.Struct, frozen=True):
    id: str
    order_id: str
    item: str
    side: Side
    price: int
    size: int
    at_ns: int


class Reply(msgspec.Struct, frozen=True):
    """One shape for every answer: what was not asked for is empty. `error` is one of ERRORS, or "" for done."""

    error: str = ""
    orders: list[WireOrder] = []
    errors: list[str] = []
    """Of PlaceOrders: one for each order, in its order; `orders` holds one for each, too."""
    trades: list[WireTrade] = []
    canceled: list[str] = []
    not_canceled: dict[str, str] = {}
    cash: int = 0
    held: dict[str, int] = {}
    bids: list[tuple[int, int]] = []
    asks: list[tuple[int, int]] = []
    now_ns: int = 0


ERRORS: Final[dict[str, Reason]] = {
    "bad key": Reason.VENUE_AUTH,
    "bad request": Reason.BAD_REQUEST,
    "no such item": Reason.UNKNOWN_MARKET,
    "off the grid": Reason.BAD_TICK,
    "too small": Reason.SIZE_TOO_SMALL,
    "bad end": Reason.BAD_EXPIRY,
    "not enough money": Reason.INSUFFICIENT_BALANCE,
    "would take": Reason.POST_ONLY_CROSSES,
    "duplicate id": Reason.DUPLICATE_ORDER,
    "not filled": Reason.FAK_NOT_FILLED,
    "not filled whole": Reason.FOK_NOT_FILLED,
    "no such order": Reason.ORDER_NOT_FOUND,
    "order is over": Reason.INVALID_ORDER_STATE,
}
"""Every word this venue refuses with. A word that is not listed proves nothing: the outcome stays open."""

_encoder = msgspec.json.Encoder()
_requests = msgspec.json.Decoder(AnyRequest)
_replies = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    return _encoder.encode(message)


def decode_request(raw: bytes) -> AnyRequest:
    """Raises msgspec.DecodeError."""
    request: AnyRequest = _requests.decode(raw)
    return request


def decode_reply(raw: bytes) -> Reply:
    """Raises Refusal for what is no reply of this venue."""
    try:
        return _replies.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Reason.VENUE_UNKNOWN_OUTCOME, f"unreadable reply: {error}") from error
