"""The market channel: subscription frames out, typed events in (protocol sections 5.1 and 5.2).

In: one text frame (object, array or []). Out: events with exact micros and nanoseconds, in the frame's order. An
unknown type, or a known one that cannot be read, becomes an UnknownEvent: a reader must treat an unreadable book or
change as a reason to distrust that token's book. `to_wire` is the way back, for the simulator. Keeps no book.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from common.errors import Refusal
from common.fixed import format_micros
from common.types import Side
from common.venues.polymarket.wire import (
    MILLI_NS,
    UNREADABLE,
    Levels,
    Members,
    decode_json,
    encode_json,
    levels_to_wire,
    micros_text,
    need_micros,
    need_text,
    optional_micros,
    read_flag,
    read_levels,
    read_objects,
    read_rate,
    read_side,
    read_text,
    read_texts,
    read_time_ns,
)

PING: Final = "PING"
PONG: Final = "PONG"


def subscribe_frame(token_ids: Sequence[str], *, custom: bool = True, initial_dump: bool | None = None) -> bytes:
    """The first frame of a connection."""
    frame: dict[str, object] = {"type": "market", "assets_ids": list(token_ids), "custom_feature_enabled": custom}
    if initial_dump is not None:
        frame["initial_dump"] = initial_dump
    return encode_json(frame)


def add_frame(token_ids: Sequence[str], *, custom: bool = True) -> bytes:
    """Subscribe to more tokens on an open connection; naming an active one only sets the custom flag."""
    return encode_json({"operation": "subscribe", "assets_ids": list(token_ids), "custom_feature_enabled": custom})


def remove_frame(token_ids: Sequence[str]) -> bytes:
    return encode_json({"operation": "unsubscribe", "assets_ids": list(token_ids)})


class BookEvent(msgspec.Struct, frozen=True):
    """A whole book; bids ascend and asks descend as the venue sends them, but only their best is defined by value."""

    market: str
    token_id: str
    bids: Levels
    asks: Levels
    timestamp_ns: int
    hash: str = ""
    tick_size: int = 0
    last_trade_price: int | None = None
    min_order_size: int = 0
    neg_risk: bool | None = None

    def to_wire(self) -> dict[str, object]:
        event: dict[str, object] = {
            "event_type": "book",
            "market": self.market,
            "asset_id": self.token_id,
            "timestamp": _millis(self.timestamp_ns),
            "hash": self.hash,
            "bids": levels_to_wire(self.bids),
            "asks": levels_to_wire(self.asks),
        }
        if self.tick_size:
            event["tick_size"] = format_micros(self.tick_size)
        if self.last_trade_price is not None:
            event["last_trade_price"] = format_micros(self.last_trade_price)
        if self.min_order_size:
            event["min_order_size"] = format_micros(self.min_order_size)
        if self.neg_risk is not None:
            event["neg_risk"] = self.neg_risk
        return event


class LevelChange(msgspec.Struct, frozen=True, gc=False):
    """The new total at one price of one token's book; 0 removes the level. `best_*` hold after the change."""

    token_id: str
    side: Side
    price: int
    size: int
    best_bid: int | None = None
    best_ask: int | None = None
    hash: str = ""


class PriceChangeEvent(msgspec.Struct, frozen=True):
    """Level changes of one market; entries for both tokens are listed, so never mirror them again."""

    market: str
    changes: tuple[LevelChange, ...]
    timestamp_ns: int

    def to_wire(self) -> dict[str, object]:
        return {
            "event_type": "price_change",
            "market": self.market,
            "timestamp": _millis(self.timestamp_ns),
            "price_changes": [
                {
                    "asset_id": change.token_id,
                    "price": format_micros(change.price),
                    "size": format_micros(change.size),
                    "side": change.side.value,
                    "hash": change.hash,
                    "best_bid": _text_or_empty(change.best_bid),
                    "best_ask": _text_or_empty(change.best_ask),
                }
                for change in self.changes
            ],
        }


class LastTradeEvent(msgspec.Struct, frozen=True):
    """A trade print; `side` is the taker's. `fee_rate` is micros of a rate."""

    market: str
    token_id: str
    price: int
    size: int
    side: Side
    timestamp_ns: int
    fee_rate: int = 0
    tx_hash: str = ""

    def to_wire(self) -> dict[str, object]:
        event: dict[str, object] = {
            "event_type": "last_trade_price",
            "asset_id": self.token_id,
            "market": self.market,
            "price": format_micros(self.price),
            "size": format_micros(self.size),
            "side": self.side.value,
            "fee_rate_bps": format_micros(self.fee_rate * 10_000),
            "timestamp": _millis(self.timestamp_ns),
        }
        if self.tx_hash:
            event["transaction_hash"] = self.tx_hash
        return event


class TickSizeEvent(msgspec.Struct, frozen=True):
    """The token's tick changed; the local book is void until the next snapshot."""

    market: str
    token_id: str
    old_tick: int
    new_tick: int
    timestamp_ns: int

    def to_wire(self) -> dict[str, object]:
        return {
            "event_type": "tick_size_change",
            "asset_id": self.token_id,
            "market": self.market,
            "old_tick_size": format_micros(self.old_tick),
            "new_tick_size": format_micros(self.new_tick),
            "timestamp": _millis(self.timestamp_ns),
        }


class BestBidAskEvent(msgspec.Struct, frozen=True):
    """The top of one book moved; None is an empty side."""

    market: str
    token_id: str
    best_bid: int | None
    best_ask: int | None
    timestamp_ns: int

    def to_wire(self) -> dict[str, object]:
        spread = "" if self.best_bid is None or self.best_ask is None else _spread(self.best_bid, self.best_ask)
        return {
            "event_type": "best_bid_ask",
            "asset_id": self.token_id,
            "market": self.market,
            "best_bid": _text_or_empty(self.best_bid),
            "best_ask": _text_or_empty(self.best_ask),
            "spread": spread,
            "timestamp": _millis(self.timestamp_ns),
        }


class NewMarketEvent(msgspec.Struct, frozen=True):
    """A market was created somewhere on the venue."""

    market: str
    market_id: str
    question: str
    slug: str
    token_ids: tuple[str, ...]
    outcomes: tuple[str, ...]
    timestamp_ns: int
    tick_size: int = 0
    active: bool = True

    def to_wire(self) -> dict[str, object]:
        return {
            "event_type": "new_market",
            "id": self.market_id,
            "question": self.question,
            "market": self.market,
            "slug": self.slug,
            "description": "",
            "assets_ids": list(self.token_ids),
            "outcomes": list(self.outcomes),
            "event_message": {"id": "", "ticker": "", "slug": self.slug, "title": self.question, "description": ""},
            "timestamp": _millis(self.timestamp_ns),
            "tags": [],
            "condition_id": self.market,
            "active": self.active,
            "clob_token_ids": list(self.token_ids),
            "order_price_min_tick_size": format_micros(self.tick_size),
        }


class MarketResolvedEvent(msgspec.Struct, frozen=True):
    """A market has its outcome."""

    market: str
    market_id: str
    token_ids: tuple[str, ...]
    winning_token_id: str
    winning_outcome: str
    timestamp_ns: int

    def to_wire(self) -> dict[str, object]:
        return {
            "event_type": "market_resolved",
            "id": self.market_id,
            "market": self.market,
            "assets_ids": list(self.token_ids),
            "winning_asset_id": self.winning_token_id,
            "winning_outcome": self.winning_outcome,
            "timestamp": _millis(self.timestamp_ns),
            "tags": [],
        }


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of unknown type, or (with `problem`) a known one that cannot be read, and the tokens it names."""

    event_type: str
    problem: str = ""
    token_ids: tuple[str, ...] = ()


MarketEvent = (
    BookEvent
    | PriceChangeEvent
    | LastTradeEvent
    | TickSizeEvent
    | BestBidAskEvent
    | NewMarketEvent
    | MarketResolvedEvent
    | UnknownEvent
)


def market_frame(events: Sequence[MarketEvent]) -> bytes:
    """The frame a venue sends for these events: one object, or an array."""
    objects = [event.to_wire() for event in events if not isinstance(event, UnknownEvent)]
    return encode_json(objects[0] if len(objects) == 1 else objects)


# ---- the usual frames, decoded straight into typed rows ----------------------------------------------------------


class _Level(msgspec.Struct, gc=False):
    price: str
    size: str


class _Book(msgspec.Struct, tag_field="event_type", tag="book"):
    asset_id: str
    timestamp: str
    bids: list[_Level]
    asks: list[_Level]
    market: str = ""
    hash: str = ""
    tick_size: str = ""
    last_trade_price: str = ""
    min_order_size: str = ""
    neg_risk: bool | None = None


class _Change(msgspec.Struct, gc=False):
    asset_id: str
    price: str
    size: str
    side: Side
    hash: str = ""
    best_bid: str = ""
    best_ask: str = ""


class _PriceChange(msgspec.Struct, tag_field="event_type", tag="price_change"):
    price_changes: list[_Change]
    timestamp: str
    market: str = ""


_fast_one = msgspec.json.Decoder(_Book | _PriceChange).decode
_fast_many = msgspec.json.Decoder(list[_Book | _PriceChange]).decode


class PriceRow(msgspec.Struct, gc=False):
    """One level change as the venue wrote it: decimal texts, read (wire.micros_text) only where they are needed."""

    asset_id: str
    price: str
    size: str
    side: Side
    best_bid: str = ""
    best_ask: str = ""


class PriceRows(msgspec.Struct, tag_field="event_type", tag="price_change"):
    """A price_change frame, with no more of it decoded than a book needs. `timestamp` in milliseconds, as text."""

    price_changes: list[PriceRow]
    timestamp: str

    @classmethod
    def of(cls, event: PriceChangeEvent) -> PriceRows:
        """The same rows from a frame of an unusual shape."""
        rows = [
            PriceRow(
                change.token_id,
                format_micros(change.price),
                format_micros(change.size),
                change.side,
                _text_or_empty(change.best_bid),
                _text_or_empty(change.best_ask),
            )
            for change in event.changes
        ]
        return cls(rows, _millis(event.timestamp_ns))


read_price_rows: Final = msgspec.json.Decoder(PriceRows).decode
"""A frame that is one price_change of today's shape. Raises wire.UNREADABLE for every other frame: those are for
parse_market_frame. A market that moves sends hardly anything else, so this is the path that must be fast."""


def parse_market_frame(raw: bytes | str) -> list[MarketEvent]:
    """Every event of one frame. A frame that is not JSON raises Refusal; the text PONG and [] give no events."""
    head = raw[:1]
    try:
        if head in (b"{", "{"):
            return [_from_row(_fast_one(raw))]
        return [_from_row(row) for row in _fast_many(raw)]
    except (*UNREADABLE, Refusal):
        # Another type, an unusual spelling or a broken event: read the frame again, slowly, one event at a time.
        return _parse_slowly(raw)


def _from_row(row: _Book | _PriceChange) -> MarketEvent:
    if isinstance(row, _PriceChange):
        return PriceChangeEvent(row.market, tuple(map(_level_change, row.price_changes)), _millis_ns(row.timestamp))
    return BookEvent(
        market=row.market,
        token_id=row.asset_id,
        bids=tuple([(micros_text(level.price), micros_text(level.size)) for level in row.bids]),
        asks=tuple([(micros_text(level.price), micros_text(level.size)) for level in row.asks]),
        timestamp_ns=_millis_ns(row.timestamp),
        hash=row.hash,
        tick_size=micros_text(row.tick_size) if row.tick_size else 0,
        last_trade_price=micros_text(row.last_trade_price) if row.last_trade_price else None,
        min_order_size=micros_text(row.min_order_size) if row.min_order_size else 0,
        neg_risk=row.neg_risk,
    )


def _level_change(row: _Change) -> LevelChange:
    return LevelChange(
        row.asset_id,
        row.side,
        micros_text(row.price),
        micros_text(row.size),
        micros_text(row.best_bid) if row.best_bid else None,
        micros_text(row.best_ask) if row.best_ask else None,
        row.hash,
    )


def _millis_ns(text: str) -> int:
    # 10**11 tells seconds from milliseconds; shorter texts go the slow way.
    if len(text) == 13 and text.isdecimal():
        return int(text) * MILLI_NS
    return read_time_ns({"timestamp": text}, "timestamp")


# ---- everything else ---------------------------------------------------------------------------------------------


def _parse_slowly(raw: bytes | str) -> list[MarketEvent]:
    if raw.strip() in (b"PONG", "PONG"):
        return []
    value = decode_json(raw)
    return [_parse_event(item) for item in (value if isinstance(value, list) else [value])]


def _parse_event(item: object) -> MarketEvent:
    if not isinstance(item, Mapping):
        return UnknownEvent("", "not an object")
    word = item.get("event_type")
    event_type = word if isinstance(word, str) else ""
    reader = _READERS.get(event_type)
    if reader is None:
        return UnknownEvent(event_type, "", _named_tokens(item))
    try:
        return reader(item)
    except Refusal as refusal:
        return UnknownEvent(event_type, refusal.message, _named_tokens(item))


def _named_tokens(item: Members) -> tuple[str, ...]:
    named: list[str] = []
    rows = item.get("price_changes")
    for row in (item, *(rows if isinstance(rows, list) else ())):
        token_id = row.get("asset_id") if isinstance(row, Mapping) else None
        if isinstance(token_id, str) and token_id not in named:
            named.append(token_id)
    return tuple(named)


def _read_book(item: Members) -> BookEvent:
    return BookEvent(
        market=read_text(item, "market"),
        token_id=need_text(item, "asset_id"),
        bids=read_levels(item, "bids"),
        asks=read_levels(item, "asks"),
        timestamp_ns=read_time_ns(item, "timestamp"),
        hash=read_text(item, "hash"),
        tick_size=optional_micros(item, "tick_size") or 0,
        last_trade_price=optional_micros(item, "last_trade_price"),
        min_order_size=optional_micros(item, "min_order_size") or 0,
        neg_risk=read_flag(item, "neg_risk") if item.get("neg_risk") is not None else None,
    )


def _read_price_change(item: Members) -> PriceChangeEvent:
    """The shape of today, or one of the two before 2025-09-15: `changes` of one token, or one flat change."""
    outer = read_text(item, "asset_id")
    if item.get("price_changes") is not None:
        rows = read_objects(item, "price_changes")
    elif item.get("changes") is not None:
        rows = read_objects(item, "changes")
    else:
        rows = [item]
    changes = tuple(
        LevelChange(
            token_id=read_text(row, "asset_id") or outer or need_text(row, "asset_id"),
            side=read_side(row),
            price=need_micros(row, "price"),
            size=need_micros(row, "size"),
            best_bid=optional_micros(row, "best_bid"),
            best_ask=optional_micros(row, "best_ask"),
            hash=read_text(row, "hash"),
        )
        for row in rows
    )
    return PriceChangeEvent(read_text(item, "market"), changes, read_time_ns(item, "timestamp"))


def _read_last_trade(item: Members) -> LastTradeEvent:
    return LastTradeEvent(
        market=read_text(item, "market"),
        token_id=need_text(item, "asset_id"),
        price=need_micros(item, "price"),
        size=need_micros(item, "size"),
        side=read_side(item),
        timestamp_ns=read_time_ns(item, "timestamp"),
        fee_rate=read_rate(item),
        tx_hash=read_text(item, "transaction_hash"),
    )


def _read_tick_size(item: Members) -> TickSizeEvent:
    return TickSizeEvent(
        market=read_text(item, "market"),
        token_id=need_text(item, "asset_id"),
        old_tick=need_micros(item, "old_tick_size"),
        new_tick=need_micros(item, "new_tick_size"),
        timestamp_ns=read_time_ns(item, "timestamp"),
    )


def _read_best(item: Members) -> BestBidAskEvent:
    return BestBidAskEvent(
        market=read_text(item, "market"),
        token_id=need_text(item, "asset_id"),
        best_bid=optional_micros(item, "best_bid"),
        best_ask=optional_micros(item, "best_ask"),
        timestamp_ns=read_time_ns(item, "timestamp"),
    )


def _read_new_market(item: Members) -> NewMarketEvent:
    return NewMarketEvent(
        market=read_text(item, "condition_id") or need_text(item, "market"),
        market_id=read_text(item, "id"),
        question=read_text(item, "question"),
        slug=read_text(item, "slug"),
        token_ids=read_texts(item, "clob_token_ids") or read_texts(item, "assets_ids"),
        outcomes=read_texts(item, "outcomes"),
        timestamp_ns=read_time_ns(item, "timestamp"),
        tick_size=optional_micros(item, "order_price_min_tick_size") or 0,
        active=read_flag(item, "active", True),
    )


def _read_resolved(item: Members) -> MarketResolvedEvent:
    return MarketResolvedEvent(
        market=need_text(item, "market"),
        market_id=read_text(item, "id"),
        token_ids=read_texts(item, "assets_ids"),
        winning_token_id=need_text(item, "winning_asset_id"),
        winning_outcome=read_text(item, "winning_outcome"),
        timestamp_ns=read_time_ns(item, "timestamp"),
    )


KNOWN_FIELDS: Final[dict[str, frozenset[str]]] = {
    word: frozenset(f"event_type {names}".split())
    for word, names in {
        "book": "market asset_id timestamp hash bids asks tick_size last_trade_price min_order_size neg_risk",
        "price_change": "market timestamp price_changes asset_id changes price size side hash best_bid best_ask",
        "last_trade_price": "asset_id market price size side fee_rate_bps timestamp transaction_hash",
        "tick_size_change": "asset_id market old_tick_size new_tick_size timestamp",
        "best_bid_ask": "asset_id market best_bid best_ask spread timestamp",
        "new_market": "id question market slug description assets_ids outcomes event_message timestamp tags "
        "condition_id active clob_token_ids sports_market_type line game_start_time order_price_min_tick_size "
        "group_item_title taker_base_fee fees_enabled fee_schedule",
        "market_resolved": "id market assets_ids winning_asset_id winning_outcome timestamp tags event_message "
        "question slug description outcomes",
    }.items()
}
"""The fields of each event type that are known to exist (protocol section 5.2), also those nobody reads."""


def unknown_fields(raw: bytes) -> list[str]:
    """Names like "price_change.shiny" of fields nobody here has heard of; none for a frame that cannot be read.

    Unknown fields are harmless, but they are how a change of the venue announces itself.
    """
    try:
        value = decode_json(raw)
    except Refusal:
        return []
    names: dict[str, None] = {}
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, Mapping):
            continue
        word = item.get("event_type")
        known = KNOWN_FIELDS.get(word) if isinstance(word, str) else None
        if known is None:
            continue
        rows = item["price_changes"] if isinstance(item.get("price_changes"), list) else ()
        for members in (item, *rows):
            if isinstance(members, Mapping):
                names.update(dict.fromkeys(f"{word}.{name[:60]}" for name in members if name not in known))
    return list(names)


_READERS: Final[dict[str, Callable[[Members], MarketEvent]]] = {
    "book": _read_book,
    "price_change": _read_price_change,
    "last_trade_price": _read_last_trade,
    "tick_size_change": _read_tick_size,
    "best_bid_ask": _read_best,
    "new_market": _read_new_market,
    "market_resolved": _read_resolved,
}


def _millis(timestamp_ns: int) -> str:
    return str(timestamp_ns // MILLI_NS)


def _text_or_empty(micros: int | None) -> str:
    return "" if micros is None else format_micros(micros)


def _spread(bid: int, ask: int) -> str:
    return format_micros(ask - bid)
