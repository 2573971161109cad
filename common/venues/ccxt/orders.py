"""Orders, trades and balances as ccxt shows them, as ours; and an order of ours as ccxt takes it. Pure.

In: unified structures whose numbers are exact text (the client makes them so). Out: micros. A field that is missing or
cannot be read is a Refusal: the caller treats the whole answer as unreadable, a row is never just left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from common.errors import Refusal
from common.fixed import format_micros, mul_ceil, mul_floor, parse_micros
from common.instruments import Market
from common.messages import VenueFill, VenueOrder
from common.reasons import Reason
from common.types import Settlement, Side, TimeInForce
from common.venues.ccxt.markets import Fields, micros_down, micros_up
from common.venues.plain import PlainOrder

_MS: Final = 1_000_000
_STATUS: Final = {
    "open": "LIVE",
    "canceling": "LIVE",
    "closed": "MATCHED",
    "canceled": "CANCELED",
    "expired": "EXPIRED",
    "rejected": "INVALID",
}
_WORDS: Final = {TimeInForce.GTC: "GTC", TimeInForce.FAK: "IOC", TimeInForce.FOK: "FOK"}


class Ticket(NamedTuple):
    """The arguments of ccxt's createOrder, every number as text."""

    symbol: str
    side: str
    amount: str
    price: str
    params: dict[str, object]


def ticket_of(order: PlainOrder, market: Market) -> Ticket:
    """Every order goes as a limit order: a market order of ours has a worst price, which the venue must hold to.

    Raises Refusal for what the venue would round or not take: nothing is changed on the way.
    """
    word = _WORDS.get(order.tif)
    if word is None:
        text = f"{market.venue} has no orders that end by themselves ({order.tif.value})"
        raise Refusal(Reason.BAD_TIF, text, "tif")
    if order.post_only and not order.tif.rests:
        raise Refusal(Reason.BAD_POST_ONLY, f"a {order.tif.value} order cannot be post-only", "post_only")
    if order.price <= 0 or order.price % market.tick:
        text = f"{format_micros(order.price)} is not a multiple of {format_micros(market.tick)}"
        raise Refusal(Reason.BAD_TICK, text, "price")
    if order.size <= 0 or order.size % market.size_step:
        text = f"{format_micros(order.size)} is not a multiple of {format_micros(market.size_step)}"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    params: dict[str, object] = {"clientOrderId": order.venue_order_id}
    params |= {"postOnly": True} if order.post_only else {"timeInForce": word}
    symbol = market.outcomes[0]
    return Ticket(symbol, order.side.value.lower(), format_micros(order.size), format_micros(order.price), params)


class Executed(NamedTuple):
    """What an order gave and got so far; money rounded against us."""

    making: int
    taking: int


class Seen(NamedTuple):
    """An order as the venue shows it: under our id, and under its own."""

    order: VenueOrder
    venue_key: str
    executed: Executed


def seen_order(fields: Fields, venue: str, symbol: str) -> Seen:
    """Raises Refusal naming the field."""
    rests = _text(fields, "timeInForce", "") not in ("IOC", "FOK")
    filled = parse_micros(_text(fields, "filled"), "filled")
    word = _text(fields, "status")
    # The rest of an order that does not rest is killed; nothing expired.
    status = "CANCELED" if word == "expired" and not rests else _STATUS.get(word, word.upper()[:40])
    order = VenueOrder(
        _text(fields, "clientOrderId"),
        status,
        f"{venue}:{symbol}",
        _side(fields),
        parse_micros(_text(fields, "price", "0"), "price"),
        parse_micros(_text(fields, "amount"), "amount"),
        filled,
        _ns(fields, default=0),
    )
    return Seen(order, _text(fields, "id"), _executed(fields, order.side, filled))


def _executed(fields: Fields, side: Side, filled: int) -> Executed:
    """Money is counted trade by trade where they are told, as the fills will be; else from the sum."""
    rows = fields.get("trades")
    parts = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    worth = mul_ceil if side is Side.BUY else mul_floor
    amounts = [
        (parse_micros(_text(row, "price"), "price"), parse_micros(_text(row, "amount"), "amount")) for row in parts
    ]
    if sum(size for _, size in amounts) == filled:
        money = sum(worth(price, size) for price, size in amounts)
    else:
        cost = _text(fields, "cost", "0")
        money = micros_up(cost, "cost") if side is Side.BUY else micros_down(cost, "cost")
    return Executed(money, filled) if side is Side.BUY else Executed(filled, money)


class OwnTrade(NamedTuple):
    """One own leg; whose order it was is known by the venue's key only."""

    trade_key: str
    order_key: str
    fields: Fields


def own_trade(fields: Fields) -> OwnTrade:
    return OwnTrade(_text(fields, "id"), _text(fields, "order"), fields)


def fill_of(trade: OwnTrade, venue: str, wallet: str, market: Market, venue_order_id: str) -> VenueFill:
    """Trade ids count per symbol there, so ours carry it. What a centralised exchange matched is settled."""
    fields = trade.fields
    side = _side(fields)
    price, size = parse_micros(_text(fields, "price"), "price"), parse_micros(_text(fields, "amount"), "amount")
    worth = mul_ceil if side is Side.BUY else mul_floor
    return VenueFill(
        venue,
        wallet,
        f"{market.outcomes[0]}:{trade.trade_key}",
        venue_order_id,
        market.token_ids[0],
        side,
        size,
        price,
        worth(price, size),
        _text(fields, "takerOrMaker") == "taker",
        Settlement.CONFIRMED,
        "",
        _ns(fields),
    )


def trade_number(trade: OwnTrade) -> int:
    """Trades of one symbol are numbered upwards; the number pages. Raises Refusal when it is none."""
    if not (trade.trade_key.isascii() and trade.trade_key.isdecimal()):
        raise Refusal(Reason.BAD_NUMBER, f"{trade.trade_key[:40]!r} is not a trade number", "id")
    return int(trade.trade_key)


def trade_ms(trade: OwnTrade) -> int:
    return _ns(trade.fields) // _MS


def held_of(balances: Fields, currency: str) -> int:
    """Free and locked together, rounded down; a currency that is not listed is not held."""
    row = balances.get(currency)
    if row is None:
        return 0
    if not isinstance(row, Mapping):
        raise Refusal(Reason.BAD_NUMBER, f"the balance of {currency} cannot be read", currency)
    return micros_down(_text(row, "total"), currency)


def _text(fields: Fields, name: str, default: str | None = None) -> str:
    value = fields.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or not value:
        raise Refusal(Reason.BAD_NUMBER, f"{name} is missing or not text: {str(value)[:40]!r}", name)
    return value


def _side(fields: Fields) -> Side:
    word = _text(fields, "side")
    if word not in ("buy", "sell"):
        raise Refusal(Reason.BAD_REQUEST, f"{word[:40]!r} is neither buy nor sell", "side")
    return Side(word.upper())


def _ns(fields: Fields, default: int | None = None) -> int:
    value = fields.get("timestamp")
    if isinstance(value, int) and value >= 0:
        return value * _MS
    if value is None and default is not None:
        return default
    raise Refusal(Reason.BAD_NUMBER, f"timestamp is missing or not a number: {str(value)[:40]!r}", "timestamp")
