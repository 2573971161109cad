"""REST payloads of the venue as typed values, readable and writable, plus the readers every channel shares.

In: JSON bytes or decoded objects, from the venue or for it. Out: frozen structs with exact micros and nanoseconds, or
the venue's JSON members. Unknown members are ignored, unknown status words become UNKNOWN, "" and null count as absent;
what cannot be read is a Refusal naming the field. `to_wire` gives members in the venue's order for `encode_json`.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from common.errors import Refusal
from common.fixed import MICROS_MAX, format_micros, parse_micros
from common.reasons import Reason
from common.types import ONE, Settlement, Side

Raw = bytes | str | Mapping[str, object]
Members = Mapping[str, object]
WordT = TypeVar("WordT", bound=StrEnum)

START_CURSOR: Final = "MA=="
END_CURSOR: Final = "LTE="
SECOND_NS: Final = 1_000_000_000
MILLI_NS: Final = 1_000_000
_MEMO_MAX = 65_536

UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""Everything the JSON decoder raises for bytes a stranger may send."""

# JSON numbers arrive as their exact text, so no float ever exists.
_decode = msgspec.json.Decoder(float_hook=str).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


# ---- readers -----------------------------------------------------------------------------------------------------


def decode_json(raw: bytes | str) -> object:
    """Any JSON value; numbers with a fraction come back as text."""
    try:
        return _decode(raw)
    except UNREADABLE as error:
        raise Refusal(Reason.BAD_REQUEST, f"unreadable JSON: {error}") from error


def encode_json(value: object) -> bytes:
    """Compact JSON; Decimals become numbers with their exact digits."""
    return _encode(value)


def members_of(raw: Raw) -> Members:
    value = raw if isinstance(raw, Mapping) else decode_json(raw)
    if not isinstance(value, Mapping):
        raise Refusal(Reason.BAD_REQUEST, "expected a JSON object")
    return value


KNOWN_MICROS: Final[dict[str, int]] = {}
"""Micros by venue text, as `micros_text` has read them. Prices and sizes come again and again: the hot path looks here
first. Full means begin anew."""


def micros_text(text: str) -> int:
    """Exact micros of a venue decimal ("0.52", ".48", "100.0000"), remembered; negative numbers are refused."""
    micros = KNOWN_MICROS.get(text)
    if micros is None:
        micros = _parse_venue_decimal(text)
        if len(KNOWN_MICROS) >= _MEMO_MAX:
            KNOWN_MICROS.clear()
        KNOWN_MICROS[text] = micros
    return micros


def _parse_venue_decimal(text: str) -> int:
    whole, _, fraction = text.partition(".")
    if len(fraction) <= 6 and len(whole) <= 12 and text.isascii() and whole.isdigit() and fraction.isdigit():
        return int(whole + (fraction + "000000")[:6])
    micros = _exponent_micros(text) if "e" in text or "E" in text else parse_micros(text)
    if micros < 0:
        raise Refusal(Reason.BAD_NUMBER, f"{text[:40]!r} is negative")
    return micros


def _exponent_micros(text: str) -> int:
    try:
        scaled = Decimal(text[:40]).scaleb(6)
    except InvalidOperation as error:
        raise Refusal(Reason.BAD_NUMBER, f"{text[:40]!r} is not a number") from error
    if not scaled.is_finite() or abs(scaled) > MICROS_MAX or scaled != int(scaled):
        raise Refusal(Reason.BAD_NUMBER, f"{text[:40]!r} is not an exact number of micros")
    return int(scaled)


def read_text(members: Members, name: str, default: str = "") -> str:
    """A text member; null and absent give the default, numbers their digits."""
    value = members.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Refusal(Reason.BAD_REQUEST, f"{name} is not a text", name)


def need_text(members: Members, name: str) -> str:
    value = read_text(members, name)
    if not value:
        raise Refusal(Reason.BAD_REQUEST, f"{name} is missing", name)
    return value


def read_micros(members: Members, name: str, default: int = 0) -> int:
    """Micros of a decimal member; "", null and absent give the default."""
    value = members.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise Refusal(Reason.BAD_NUMBER, f"{name} is not a number", name)
    try:
        return micros_text(value if isinstance(value, str) else str(value))
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{name}: {refusal.message}", name) from refusal


def need_micros(members: Members, name: str) -> int:
    value = read_micros(members, name, -1)
    if value < 0:
        raise Refusal(Reason.BAD_NUMBER, f"{name} is missing", name)
    return value


def read_int(members: Members, name: str, default: int = 0) -> int:
    """A whole number, as number or digits."""
    micros = read_micros(members, name, -1)
    if micros < 0:
        return default
    if micros % ONE:
        raise Refusal(Reason.BAD_NUMBER, f"{name} is not a whole number", name)
    return micros // ONE


def read_flag(members: Members, name: str, default: bool = False) -> bool:
    value = members.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refusal(Reason.BAD_REQUEST, f"{name} is not true or false", name)
    return value


def read_texts(members: Members, name: str) -> tuple[str, ...]:
    """A list of texts; null and absent give none."""
    value = members.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Refusal(Reason.BAD_REQUEST, f"{name} is not a list of texts", name)
    return tuple(value)


def read_objects(members: Members, name: str) -> list[Members]:
    value = members.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise Refusal(Reason.BAD_REQUEST, f"{name} is not a list of objects", name)
    return value


def read_side(members: Members, name: str = "side") -> Side:
    word = read_text(members, name).upper()
    if word not in Side.__members__:
        raise Refusal(Reason.BAD_REQUEST, f"{word[:20]!r} is not a side", name)
    return Side[word]


def read_time_ns(members: Members, name: str) -> int:
    """Nanoseconds of unix seconds, milliseconds or ISO text; "", null and absent give 0."""
    text = read_text(members, name)
    try:
        return time_ns(text)
    except ValueError as error:
        raise Refusal(Reason.BAD_REQUEST, f"{name} is not a time: {text[:40]!r}", name) from error


def time_ns(text: str) -> int:
    """10**11 and more are milliseconds (10**11 seconds would be the year 5138)."""
    if not text:
        return 0
    if text.isdecimal() and len(text) <= 16:
        number = int(text)
        return number * (MILLI_NS if number >= 10**11 else SECOND_NS)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * SECOND_NS + elapsed.microseconds * 1_000


def read_rate(members: Members, name: str = "fee_rate_bps") -> int:
    """Basis points of the wire as micros of a rate: "1000" is 100_000 (10 %)."""
    return read_micros(members, name) // 10_000


def number(micros: int) -> Decimal:
    """A JSON number with exact digits, for `encode_json`."""
    return Decimal(format_micros(micros))


# ---- words -------------------------------------------------------------------------------------------------------


class VenueStatus(StrEnum):
    """Status words of an order at the venue; `CANCELED_OTHER` carries free text beside it."""

    LIVE = "LIVE"
    MATCHED = "MATCHED"
    DELAYED = "DELAYED"
    UNMATCHED = "UNMATCHED"
    CANCELED = "CANCELED"
    CANCELED_MARKET_RESOLVED = "CANCELED_MARKET_RESOLVED"
    CANCELED_NOT_ENOUGH_BALANCE = "CANCELED_NOT_ENOUGH_BALANCE"
    CANCELED_MARKET_NOT_FOUND = "CANCELED_MARKET_NOT_FOUND"
    CANCELED_EXPIRED_ORDER = "CANCELED_EXPIRED_ORDER"
    CANCELED_ORDER_TIMED_OUT = "CANCELED_ORDER_TIMED_OUT"
    CANCELED_OTHER = "CANCELED_OTHER"
    INVALID = "INVALID"
    UNKNOWN = "UNKNOWN"

    @property
    def is_open(self) -> bool:
        return self in (VenueStatus.LIVE, VenueStatus.DELAYED, VenueStatus.UNMATCHED)

    @property
    def is_canceled(self) -> bool:
        return self is VenueStatus.INVALID or self.value.startswith("CANCELED")


def order_status(text: str) -> VenueStatus:
    """The typed word; prefixes are cut, letter case is ignored, one L or two in canceled."""
    word = text.strip().removeprefix("ORDER_STATUS_")
    upper = word.upper().replace("CANCELLED", "CANCELED", 1)
    if upper in VenueStatus.__members__:
        return VenueStatus[upper]
    return VenueStatus.CANCELED_OTHER if upper.startswith("CANCELED_") else VenueStatus.UNKNOWN


def trade_status(text: str) -> Settlement:
    """The settlement stage; REST's MATCHED_NOT_BROADCASTED is still MATCHED."""
    word = text.strip().upper().removeprefix("TRADE_STATUS_")
    if word == "MATCHED_NOT_BROADCASTED":
        return Settlement.MATCHED
    return Settlement.__members__.get(word, Settlement.UNKNOWN)


# ---- cursors and pages -------------------------------------------------------------------------------------------


def encode_cursor(offset: int) -> str:
    """Base64 of the decimal offset; -1 is the end."""
    return b64encode(str(offset).encode("ascii")).decode("ascii")


def decode_cursor(cursor: str) -> int:
    """Offset of a cursor; absent means the start, the end marker gives -1."""
    if not cursor:
        return 0
    try:
        digits = b64decode(cursor, validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise Refusal(Reason.BAD_REQUEST, "next_cursor is not a cursor of this venue", "next_cursor") from error
    if digits == "-1":
        return -1
    if not digits.isdecimal() or len(digits) > 12:
        raise Refusal(Reason.BAD_REQUEST, "next_cursor is not a cursor of this venue", "next_cursor")
    return int(digits)


class Page(msgspec.Struct, frozen=True):
    """One page of a list; `next_cursor` is END_CURSOR on the last."""

    data: list[Members]
    next_cursor: str
    limit: int = 0
    count: int = 0

    @property
    def is_last(self) -> bool:
        return self.next_cursor in ("", END_CURSOR)


def parse_page(raw: bytes | str) -> Page:
    """A page, or a bare array (then the only one)."""
    value = decode_json(raw)
    if isinstance(value, list):
        return Page(data=read_objects({"data": value}, "data"), next_cursor=END_CURSOR, count=len(value))
    members = members_of(value) if isinstance(value, Mapping) else members_of(raw)
    if "data" not in members:
        raise Refusal(Reason.BAD_REQUEST, "not a page of a list", "data")  # an error with HTTP 200 is no empty list
    data = read_objects(members, "data")
    cursor = read_text(members, "next_cursor", END_CURSOR) or END_CURSOR
    return Page(data, cursor, read_int(members, "limit"), read_int(members, "count"))


def page_to_wire(data: Sequence[object], offset: int, limit: int, total: int) -> dict[str, object]:
    """The page that starts at `offset` of a list of `total`."""
    following = offset + len(data)
    cursor = encode_cursor(following) if following < total and data else END_CURSOR
    return {"limit": limit, "count": len(data), "next_cursor": cursor, "data": data}


# ---- books and markets -------------------------------------------------------------------------------------------

Levels = tuple[tuple[int, int], ...]


def read_levels(members: Members, name: str) -> Levels:
    return tuple((need_micros(row, "price"), need_micros(row, "size")) for row in read_objects(members, name))


def levels_to_wire(levels: Levels) -> list[dict[str, str]]:
    return [{"price": format_micros(price), "size": format_micros(size)} for price, size in levels]


class BookObject(msgspec.Struct, frozen=True):
    """One token's book as the venue shows it: bids ascend, asks descend, the best level is last in both."""

    market: str
    token_id: str
    timestamp_ms: int
    bids: Levels
    asks: Levels
    min_order_size: int = 0
    tick_size: int = 0
    neg_risk: bool = False
    last_trade_price: int | None = None
    hash: str = ""

    def to_wire(self) -> dict[str, object]:
        """Members in hash order; the hash is computed when it is not given."""
        last = self.last_trade_price
        book: dict[str, object] = {
            "market": self.market,
            "asset_id": self.token_id,
            "timestamp": str(self.timestamp_ms),
            "hash": self.hash,
            "bids": levels_to_wire(self.bids),
            "asks": levels_to_wire(self.asks),
            "min_order_size": format_micros(self.min_order_size),
            "tick_size": format_micros(self.tick_size),
            "neg_risk": self.neg_risk,
            "last_trade_price": "" if last is None else format_micros(last),
        }
        if not self.hash:
            book["hash"] = book_hash(book)
        return book


_HASHED = ("market", "asset_id", "timestamp", "hash", "bids", "asks")
_HASHED_TAIL = ("min_order_size", "tick_size", "neg_risk", "last_trade_price")


def book_hash(book: Members) -> str:
    """SHA-1 of the venue's compact book with an empty hash member; texts are hashed as they are spelled."""
    preimage: dict[str, object] = {name: book.get(name, "") for name in _HASHED + _HASHED_TAIL}
    preimage["hash"] = ""
    return hashlib.sha1(encode_json(preimage), usedforsecurity=False).hexdigest()


def parse_book(raw: Raw) -> BookObject:
    members = members_of(raw)
    return BookObject(
        market=read_text(members, "market"),
        token_id=need_text(members, "asset_id"),
        timestamp_ms=read_int(members, "timestamp"),
        bids=read_levels(members, "bids"),
        asks=read_levels(members, "asks"),
        min_order_size=read_micros(members, "min_order_size"),
        tick_size=read_micros(members, "tick_size"),
        neg_risk=read_flag(members, "neg_risk"),
        last_trade_price=optional_micros(members, "last_trade_price"),
        hash=read_text(members, "hash"),
    )


def parse_books(raw: bytes | str) -> list[BookObject]:
    """The answer of POST /books: in no promised order, unknown tokens missing. Raises Refusal when it is no array."""
    value = decode_json(raw)
    if not isinstance(value, list):
        raise Refusal(Reason.BAD_REQUEST, "not a list of books")
    return [parse_book(item) for item in value]


def optional_micros(members: Members, name: str) -> int | None:
    value = read_micros(members, name, -1)
    return None if value < 0 else value


class CompactMarket(msgspec.Struct, frozen=True):
    """GET /clob-markets/{condition}: what signing and checking an order needs. `fee_rate` is micros, 0 = no fee."""

    condition_id: str
    token_ids: tuple[str, ...]
    outcomes: tuple[str, ...]
    tick_size: int
    min_order_size: int
    neg_risk: bool = False
    fee_rate: int = 0
    fee_exponent: int = 1
    taker_only: bool = True
    accepting_orders: bool = True
    seconds_delay: int = 0
    taker_delay: bool = False

    def to_wire(self) -> dict[str, object]:
        pairs = zip(self.token_ids, self.outcomes, strict=True)
        market: dict[str, object] = {
            "c": self.condition_id,
            "t": [{"t": token_id, "o": outcome} for token_id, outcome in pairs],
            "mts": number(self.tick_size),
            "mos": number(self.min_order_size),
            "nr": self.neg_risk,
            "ao": self.accepting_orders,
            "sd": self.seconds_delay,
            "itode": self.taker_delay,
            "mbf": 1000 if self.fee_rate else 0,
            "tbf": 1000 if self.fee_rate else 0,
        }
        if self.fee_rate:
            market["fd"] = {"r": number(self.fee_rate), "e": self.fee_exponent, "to": self.taker_only}
        return market


def parse_compact_market(raw: Raw) -> CompactMarket:
    members = members_of(raw)
    tokens = read_objects(members, "t")
    fees = members.get("fd")
    fee_members = fees if isinstance(fees, Mapping) else {}
    return CompactMarket(
        condition_id=read_text(members, "c"),
        token_ids=tuple(need_text(token, "t") for token in tokens),
        outcomes=tuple(read_text(token, "o") for token in tokens),
        tick_size=need_micros(members, "mts"),
        min_order_size=read_micros(members, "mos"),
        neg_risk=read_flag(members, "nr"),
        fee_rate=read_micros(fee_members, "r"),
        fee_exponent=read_int(fee_members, "e", 1),
        taker_only=read_flag(fee_members, "to", True),
        accepting_orders=read_flag(members, "ao", True),
        seconds_delay=read_int(members, "sd"),
        taker_delay=read_flag(members, "itode"),
    )


# ---- replies to orders and cancels -------------------------------------------------------------------------------


class OrderReply(msgspec.Struct, frozen=True):
    """What POST /order said with HTTP 200, and each element of POST /orders. Amounts are None when not stated."""

    success: bool
    error: str = ""
    order_id: str = ""
    status: str = ""
    making: int | None = None
    taking: int | None = None
    trade_ids: tuple[str, ...] = ()
    tx_hashes: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, object]:
        reply: dict[str, object] = {
            "success": self.success,
            "errorMsg": self.error,
            "orderID": self.order_id,
            "status": self.status,
            "makingAmount": "" if self.making is None else format_micros(self.making),
            "takingAmount": "" if self.taking is None else format_micros(self.taking),
        }
        if self.trade_ids:
            reply["tradeIDs"] = list(self.trade_ids)
        if self.tx_hashes:
            reply["transactionsHashes"] = list(self.tx_hashes)
        return reply


def parse_order_reply(raw: Raw) -> OrderReply:
    members = members_of(raw)
    if "success" not in members and "orderID" not in members and "errorMsg" not in members:
        raise Refusal(Reason.BAD_REQUEST, "not a reply to an order", "success")
    return OrderReply(
        success=read_flag(members, "success"),
        error=read_text(members, "errorMsg"),
        order_id=read_text(members, "orderID"),
        status=read_text(members, "status").lower(),
        making=optional_micros(members, "makingAmount"),
        taking=optional_micros(members, "takingAmount"),
        trade_ids=read_texts(members, "tradeIDs"),
        tx_hashes=read_texts(members, "transactionsHashes"),
    )


class CancelResult(msgspec.Struct, frozen=True):
    """What any of the cancel calls said; ids the venue did not cancel carry its reason."""

    canceled: tuple[str, ...] = ()
    not_canceled: dict[str, str] = {}

    def to_wire(self) -> dict[str, object]:
        return {"canceled": list(self.canceled), "not_canceled": self.not_canceled}


def parse_cancel_result(raw: Raw) -> CancelResult:
    members = members_of(raw)
    if "canceled" not in members and "not_canceled" not in members:
        raise Refusal(Reason.BAD_REQUEST, "not a cancel result", "canceled")
    refused = members.get("not_canceled")
    if refused is not None and not isinstance(refused, Mapping):
        raise Refusal(Reason.BAD_REQUEST, "not_canceled is not an object", "not_canceled")
    reasons = {str(order_id): str(text) for order_id, text in (refused or {}).items()}
    return CancelResult(read_texts(members, "canceled"), reasons)


# ---- orders, trades, balances ------------------------------------------------------------------------------------


class OpenOrder(msgspec.Struct, frozen=True):
    """An order as the private REST calls show it."""

    order_id: str
    status: VenueStatus
    market: str
    token_id: str
    side: Side
    price: int
    original_size: int
    size_matched: int
    order_type: str = ""
    owner: str = ""
    maker_address: str = ""
    outcome: str = ""
    expiration_s: int = 0
    created_ns: int = 0
    associate_trades: tuple[str, ...] = ()
    status_text: str = ""

    def to_wire(self) -> dict[str, object]:
        return {
            "id": self.order_id,
            "status": self.status_text or self.status.value,
            "owner": self.owner,
            "maker_address": self.maker_address,
            "market": self.market,
            "asset_id": self.token_id,
            "side": self.side.value,
            "original_size": format_micros(self.original_size),
            "size_matched": format_micros(self.size_matched),
            "price": format_micros(self.price),
            "outcome": self.outcome,
            "expiration": str(self.expiration_s),
            "order_type": self.order_type,
            "associate_trades": list(self.associate_trades),
            "created_at": self.created_ns // SECOND_NS,
        }


def parse_open_order(raw: Raw) -> OpenOrder:
    members = members_of(raw)
    status = read_text(members, "status")
    return OpenOrder(
        order_id=need_text(members, "id"),
        status=order_status(status),
        market=read_text(members, "market"),
        token_id=need_text(members, "asset_id"),
        side=read_side(members),
        price=read_micros(members, "price"),
        original_size=read_micros(members, "original_size"),
        size_matched=read_micros(members, "size_matched"),
        order_type=read_text(members, "order_type"),
        owner=read_text(members, "owner"),
        maker_address=read_text(members, "maker_address"),
        outcome=read_text(members, "outcome"),
        expiration_s=read_int(members, "expiration"),
        created_ns=read_time_ns(members, "created_at"),
        associate_trades=read_texts(members, "associate_trades"),
        status_text=status,
    )


def parse_order_lookup(raw: bytes | str) -> OpenOrder | None:
    """GET /data/order/{id}: an order, or None for the ways the venue says there is none (null, "", {} or nothing)."""
    if not raw.strip():
        return None
    value = decode_json(raw)
    if value in (None, "", {}):
        return None
    if not isinstance(value, Mapping):
        raise Refusal(Reason.BAD_REQUEST, "not an order", "order")
    return parse_open_order(value)


class MakerLeg(msgspec.Struct, frozen=True):
    """One maker's part of a trade, in the maker's own token, side and price."""

    order_id: str
    owner: str
    maker_address: str
    token_id: str
    side: Side
    size: int
    price: int
    fee_rate: int = 0
    outcome: str = ""
    outcome_index: int = 0

    def to_wire(self) -> dict[str, object]:
        return {
            "order_id": self.order_id,
            "owner": self.owner,
            "maker_address": self.maker_address,
            "matched_amount": format_micros(self.size),
            "price": format_micros(self.price),
            "fee_rate_bps": format_micros(self.fee_rate * 10_000),
            "asset_id": self.token_id,
            "outcome": self.outcome,
            "outcome_index": self.outcome_index,
            "side": self.side.value,
        }


class Trade(msgspec.Struct, frozen=True):
    """One taker order against one or more makers, as REST and the user channel both show it.

    Top-level token, side, size and price are the taker's. `fee_rate` (micros of a rate) is not a reliable fee.
    """

    trade_id: str
    taker_order_id: str
    market: str
    token_id: str
    side: Side
    size: int
    price: int
    settlement: Settlement
    maker_orders: tuple[MakerLeg, ...] = ()
    trader_side: str = ""
    owner: str = ""
    trade_owner: str = ""
    maker_address: str = ""
    tx_hash: str = ""
    fee_rate: int = 0
    outcome: str = ""
    bucket_index: int = 0
    match_ns: int = 0
    last_update_ns: int = 0
    event_ns: int = 0
    status_text: str = ""

    def to_wire(self) -> dict[str, object]:
        return {
            "id": self.trade_id,
            "taker_order_id": self.taker_order_id,
            "market": self.market,
            "asset_id": self.token_id,
            "side": self.side.value,
            "size": format_micros(self.size),
            "price": format_micros(self.price),
            "fee_rate_bps": format_micros(self.fee_rate * 10_000),
            "status": self.status_text or self.settlement.value,
            "match_time": str(self.match_ns // SECOND_NS),
            "last_update": str(self.last_update_ns // SECOND_NS),
            "outcome": self.outcome,
            "bucket_index": self.bucket_index,
            "owner": self.owner,
            "maker_address": self.maker_address,
            "transaction_hash": self.tx_hash,
            "trader_side": self.trader_side,
            "maker_orders": [leg.to_wire() for leg in self.maker_orders],
        }


def parse_trade(raw: Raw) -> Trade:
    members = members_of(raw)
    token_id, side, status = need_text(members, "asset_id"), read_side(members), read_text(members, "status")
    legs = read_objects(members, "maker_orders")
    return Trade(
        trade_id=need_text(members, "id"),
        taker_order_id=read_text(members, "taker_order_id"),
        market=read_text(members, "market"),
        token_id=token_id,
        side=side,
        size=need_micros(members, "size"),
        price=need_micros(members, "price"),
        settlement=trade_status(status),
        maker_orders=tuple(_parse_leg(leg, token_id, side) for leg in legs),
        trader_side=read_text(members, "trader_side").upper(),
        owner=read_text(members, "owner"),
        trade_owner=read_text(members, "trade_owner"),
        maker_address=read_text(members, "maker_address"),
        tx_hash=read_text(members, "transaction_hash"),
        fee_rate=read_rate(members),
        outcome=read_text(members, "outcome"),
        bucket_index=read_int(members, "bucket_index"),
        match_ns=read_time_ns(members, "match_time") or read_time_ns(members, "matchtime"),
        last_update_ns=read_time_ns(members, "last_update"),
        event_ns=read_time_ns(members, "timestamp"),
        status_text=status,
    )


def _parse_leg(members: Members, taker_token: str, taker_side: Side) -> MakerLeg:
    token_id = read_text(members, "asset_id") or taker_token
    if read_text(members, "side"):
        side = read_side(members)
    else:
        # Old data has no side: a match in the same token is opposite, across the two tokens it is the same side.
        side = taker_side.opposite if token_id == taker_token else taker_side
    return MakerLeg(
        order_id=need_text(members, "order_id"),
        owner=read_text(members, "owner"),
        maker_address=read_text(members, "maker_address"),
        token_id=token_id,
        side=side,
        size=need_micros(members, "matched_amount"),
        price=need_micros(members, "price"),
        fee_rate=read_rate(members),
        outcome=read_text(members, "outcome"),
        outcome_index=read_int(members, "outcome_index"),
    )


class Balance(msgspec.Struct, frozen=True):
    """GET /balance-allowance: base units of six decimals, which are micros."""

    balance: int
    allowances: dict[str, int] = {}

    def to_wire(self) -> dict[str, object]:
        return {
            "balance": str(self.balance),
            "allowances": {spender: str(amount) for spender, amount in self.allowances.items()},
        }


def parse_balance(raw: Raw) -> Balance:
    """Old replies have one `allowance`, kept under the empty spender."""
    members = members_of(raw)
    given = members.get("allowances")
    spenders: Members = given if isinstance(given, Mapping) else {}
    if not spenders and members.get("allowance") not in (None, ""):
        spenders = {"": members["allowance"]}
    allowances = {spender: _base_units({"allowances": amount}, "allowances") for spender, amount in spenders.items()}
    return Balance(_base_units(members, "balance"), allowances)


def _base_units(members: Members, name: str) -> int:
    """Allowances are often 2**256 - 1, so these are plain integers without the micros limit."""
    text = read_text(members, name)
    if not text.isdecimal() or not text.isascii() or len(text) > 78:
        raise Refusal(Reason.BAD_NUMBER, f"{name} is not a whole number of base units", name)
    return int(text)
