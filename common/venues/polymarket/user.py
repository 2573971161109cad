"""The user channel: authentication frames out, order and trade events in, and which fills of a trade are ours.

In: one text frame, or a Trade from either channel. Out: typed events, or own fills with exact sizes and cash. Empty
strings, prefixed statuses, seconds or milliseconds, and missing sides are accepted (protocol sections 4.5 and 5.3).
Keeps no state: deduplicate fills by (trade_id, venue_order_id), merge sizes by maximum and settlement by rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from enum import StrEnum
from typing import Final

import msgspec

from common.errors import Refusal
from common.fixed import format_micros
from common.messages import VenueFill
from common.types import ONE, Settlement, Side
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.market import UnknownEvent
from common.venues.polymarket.wire import (
    MILLI_NS,
    SECOND_NS,
    MakerLeg,
    Members,
    Trade,
    VenueStatus,
    decode_json,
    encode_json,
    need_text,
    order_status,
    parse_trade,
    read_int,
    read_micros,
    read_side,
    read_text,
    read_texts,
    read_time_ns,
)

TradeEvent = Trade
"""REST and the user channel show the same trade object."""
TAKER: Final = "TAKER"
MAKER: Final = "MAKER"


def subscribe_frame(creds: L2Credentials, condition_ids: Sequence[str] = ()) -> bytes:
    """The first frame: raw credentials, and condition ids (none means all). Contains the secret: never log it."""
    return encode_json(
        {
            "type": "user",
            "auth": {"apiKey": creds.key, "secret": creds.secret, "passphrase": creds.passphrase},
            "markets": list(condition_ids),
        }
    )


def add_frame(condition_ids: Sequence[str]) -> bytes:
    return encode_json({"operation": "subscribe", "markets": list(condition_ids)})


def remove_frame(condition_ids: Sequence[str]) -> bytes:
    return encode_json({"operation": "unsubscribe", "markets": list(condition_ids)})


class OrderEventKind(StrEnum):
    PLACEMENT = "PLACEMENT"
    UPDATE = "UPDATE"
    CANCELLATION = "CANCELLATION"
    UNKNOWN = "UNKNOWN"


class OrderEvent(msgspec.Struct, frozen=True):
    """An order of ours appeared, filled or went away. `size_matched` is cumulative, 0 where the venue left it empty."""

    kind: OrderEventKind
    venue_order_id: str
    status: VenueStatus
    market: str
    token_id: str
    side: Side
    price: int
    original_size: int
    size_matched: int
    owner: str = ""
    order_owner: str = ""
    maker_address: str = ""
    outcome: str = ""
    order_type: str = ""
    expiration_s: int = 0
    created_ns: int = 0
    event_ns: int = 0
    associate_trades: tuple[str, ...] = ()
    status_text: str = ""

    def to_wire(self) -> dict[str, object]:
        return {
            "event_type": "order",
            "type": self.kind.value,
            "id": self.venue_order_id,
            "owner": self.owner,
            "order_owner": self.order_owner,
            "market": self.market,
            "asset_id": self.token_id,
            "side": self.side.value,
            "price": format_micros(self.price),
            "original_size": format_micros(self.original_size),
            "size_matched": format_micros(self.size_matched),
            "outcome": self.outcome,
            "order_type": self.order_type,
            "expiration": str(self.expiration_s),
            "status": self.status_text or self.status.value,
            "maker_address": self.maker_address,
            "associate_trades": list(self.associate_trades) or None,
            "created_at": str(self.created_ns // SECOND_NS),
            "timestamp": str(self.event_ns // MILLI_NS),
        }


UserEvent = OrderEvent | TradeEvent | UnknownEvent


class OwnFill(msgspec.Struct, frozen=True):
    """What one order of ours got in one trade.

    `cash` is exact up to one micro, rounded against us; `price` is exact when one micros price explains the cash,
    else rounded the same way. `fee_rate` is micros of a rate as the venue displays it, not a fee.
    """

    trade_id: str
    venue_order_id: str
    token_id: str
    side: Side
    size: int
    price: int
    fee_rate: int
    settlement: Settlement
    tx_hash: str
    match_ns: int
    is_taker: bool
    cash: int

    def to_message(self, wallet: str) -> VenueFill:
        """The same on our bus, wherever it came from."""
        return VenueFill(
            "polymarket",
            wallet,
            self.trade_id,
            self.venue_order_id,
            self.token_id,
            self.side,
            self.size,
            self.price,
            self.cash,
            self.is_taker,
            self.settlement,
            self.tx_hash,
            self.match_ns,
        )


def parse_user_frame(raw: bytes | str) -> list[UserEvent]:
    """Every event of one frame. A frame that is not JSON raises Refusal; the text PONG and [] give no events."""
    if raw.strip() in (b"PONG", "PONG"):
        return []
    value = decode_json(raw)
    return [_parse_event(item) for item in (value if isinstance(value, list) else [value])]


def trade_to_wire(trade: TradeEvent) -> dict[str, object]:
    """The trade as the user channel shows it: the REST members and the event's own."""
    return {
        "event_type": "trade",
        "type": "TRADE",
        **trade.to_wire(),
        "trade_owner": trade.trade_owner,
        "timestamp": str(trade.event_ns // MILLI_NS),
    }


def own_fills(trade: TradeEvent, owner_key: str, addresses: Set[str]) -> list[OwnFill]:
    """The fills of this trade that belong to our API key or one of our wallet addresses, one per order of ours.

    A taker's size and cash are the sums over the makers (the top-level price is only an average). In a match across
    the two tokens a maker's price is the other outcome's, so the taker's is its complement.
    """
    ours = frozenset(address.lower() for address in addresses)
    legs: dict[str, list[MakerLeg]] = {}
    for leg in trade.maker_orders:
        if _is_ours(leg.owner, leg.maker_address, owner_key, ours):
            legs.setdefault(leg.order_id, []).append(leg)
    fills = [_maker_fill(trade, own) for own in legs.values()]
    if _took(trade, owner_key, ours, bool(legs)):
        fills.insert(0, _taker_fill(trade))
    return fills


def _is_ours(owner: str, address: str, owner_key: str, ours: frozenset[str]) -> bool:
    return (owner_key != "" and owner == owner_key) or address.lower() in ours


def _took(trade: TradeEvent, owner_key: str, ours: frozenset[str], made: bool) -> bool:
    """Whether the taker is us.

    `owner` names the taker or the viewer, so where the role is not stated it only counts if no maker is ours.
    """
    mine = _is_ours(trade.owner, trade.maker_address, owner_key, ours) or (
        owner_key != "" and trade.trade_owner == owner_key
    )
    if trade.trader_side == TAKER:
        anonymous = not (trade.owner or trade.trade_owner or trade.maker_address)
        return mine or anonymous
    return trade.trader_side != MAKER and mine and not made


def _taker_fill(trade: TradeEvent) -> OwnFill:
    if trade.maker_orders:
        size = sum(leg.size for leg in trade.maker_orders)
        exact = sum(
            leg.size * (leg.price if leg.token_id == trade.token_id else ONE - leg.price) for leg in trade.maker_orders
        )
    else:
        size, exact = trade.size, trade.size * trade.price
    return OwnFill(
        trade_id=trade.trade_id,
        venue_order_id=trade.taker_order_id,
        token_id=trade.token_id,
        side=trade.side,
        size=size,
        price=_against_us(trade.side, exact, size) if size else trade.price,
        fee_rate=trade.fee_rate,
        settlement=trade.settlement,
        tx_hash=trade.tx_hash,
        match_ns=trade.match_ns or trade.event_ns,
        is_taker=True,
        cash=_against_us(trade.side, exact, ONE),
    )


def _maker_fill(trade: TradeEvent, legs: list[MakerLeg]) -> OwnFill:
    first = legs[0]
    size = sum(leg.size for leg in legs)
    exact = sum(leg.size * leg.price for leg in legs)
    return OwnFill(
        trade_id=trade.trade_id,
        venue_order_id=first.order_id,
        token_id=first.token_id,
        side=first.side,
        size=size,
        price=_against_us(first.side, exact, size) if size else first.price,
        fee_rate=first.fee_rate,
        settlement=trade.settlement,
        tx_hash=trade.tx_hash,
        match_ns=trade.match_ns or trade.event_ns,
        is_taker=False,
        cash=_against_us(first.side, exact, ONE),
    )


def _against_us(side: Side, numerator: int, denominator: int) -> int:
    """numerator / denominator rounded up where we pay, down where we receive (the numerator is in 10**-12)."""
    return -(-numerator // denominator) if side == Side.BUY else numerator // denominator


def _parse_event(item: object) -> UserEvent:
    if not isinstance(item, Mapping):
        return UnknownEvent("", "not an object")
    kind = item.get("type")
    word = item.get(
        "event_type",
        "trade" if kind == "TRADE" else "order" if isinstance(kind, str) and kind in OrderEventKind.__members__ else "",
    )
    event_type = word if isinstance(word, str) else ""
    try:
        if event_type == "order":
            return _read_order(item)
        if event_type == "trade":
            return parse_trade(item)
    except Refusal as refusal:
        return UnknownEvent(event_type, refusal.message, _named_token(item))
    return UnknownEvent(event_type, "", _named_token(item))


def _named_token(item: Members) -> tuple[str, ...]:
    token_id = item.get("asset_id")
    return (token_id,) if isinstance(token_id, str) else ()


def _read_order(item: Members) -> OrderEvent:
    status = read_text(item, "status")
    kind = read_text(item, "type").upper()
    return OrderEvent(
        kind=OrderEventKind.__members__.get(kind, OrderEventKind.UNKNOWN),
        venue_order_id=need_text(item, "id"),
        status=order_status(status),
        market=read_text(item, "market"),
        token_id=need_text(item, "asset_id"),
        side=read_side(item),
        price=read_micros(item, "price"),
        original_size=read_micros(item, "original_size"),
        size_matched=read_micros(item, "size_matched"),
        owner=read_text(item, "owner"),
        order_owner=read_text(item, "order_owner"),
        maker_address=read_text(item, "maker_address"),
        outcome=read_text(item, "outcome"),
        order_type=read_text(item, "order_type"),
        expiration_s=read_int(item, "expiration"),
        created_ns=read_time_ns(item, "created_at"),
        event_ns=read_time_ns(item, "timestamp"),
        associate_trades=read_texts(item, "associate_trades"),
        status_text=status,
    )
