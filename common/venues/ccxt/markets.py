"""ccxt's markets as instruments of ours. Pure.

In: a unified market with its numbers as exact text. Out: a Market of kind "spot", whose token, condition and slug are
`<venue>:<symbol>`. An instrument we cannot count exactly (steps finer than 10^-6), that is not spot, or that is paid in
another money than the wallet's is a Refusal naming it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from common.errors import Refusal
from common.fixed import ceil_to, parse_micros
from common.instruments import PRICE_MAX, SPOT, Market, check_market
from common.reasons import Reason

_PLAIN: Final = re.compile(r"([0-9]{1,13})(?:\.([0-9]{0,18}))?", re.ASCII)

Fields = Mapping[str, object]


class Listing(NamedTuple):
    """What may be traded of the configured symbols, by symbol, and why the others may not."""

    markets: dict[str, Market]
    refusals: dict[str, Refusal]


def base_of(symbol: str) -> str:
    """What is traded, of a unified word such as BTC/USDT."""
    return symbol.partition("/")[0]


def quote_of(symbol: str) -> str:
    """What it is paid in."""
    return symbol.partition("/")[2]


def list_markets(venue: str, symbols: Sequence[str], found: Mapping[str, Fields]) -> Listing:
    """One refused symbol does not hold up the others. The first symbol's money is the wallet's."""
    listing = Listing({}, {})
    money = ""
    for symbol in symbols:
        try:
            fields = found.get(symbol)
            if fields is None:
                raise Refusal(Reason.UNKNOWN_MARKET, f"{venue} has no {symbol}: correct ccxt.symbols", "symbols")
            market = market_of(venue, fields)
            money = money or _word(fields, "quote")
            if _word(fields, "quote") != money:
                text = f"{symbol} is not paid in {money}: a wallet counts one money, use another venue entry and wallet"
                raise Refusal(Reason.UNSUPPORTED, text, "symbols")
            listing.markets[symbol] = market
        except Refusal as refusal:
            listing.refusals[symbol] = refusal
    return listing


def market_of(venue: str, fields: Fields) -> Market:
    """Raises Refusal naming the symbol and what of it cannot be used."""
    symbol = _word(fields, "symbol")
    if fields.get("spot") is not True:
        raise Refusal(Reason.UNSUPPORTED, f"{symbol} of {venue} is not a spot market", "symbols")
    tick = _step(fields, "price", "prices")
    size_step = _step(fields, "amount", "sizes")
    min_size = _limit(fields, "amount", "min")
    name = f"{venue}:{symbol}"
    market = Market(
        venue=venue,
        condition_id=name,
        slug=name,
        question=f"{_word(fields, 'base')} paid in {_word(fields, 'quote')}",
        outcomes=(symbol,),
        token_ids=(name,),
        tick=tick,
        min_size=max(ceil_to(min_size, size_step), size_step),
        fee_rate=_rate(fields),
        accepting=fields.get("active") is not False,
        category=SPOT,
        kind=SPOT,
        price_max=min(_limit(fields, "price", "max"), PRICE_MAX),
        size_step=size_step,
        min_notional=_limit(fields, "cost", "min"),
    )
    check_market(market)
    return market


def _step(fields: Fields, name: str, what: str) -> int:
    text = _text_at(fields, "precision", name)
    symbol = _word(fields, "symbol")
    if not text:
        raise Refusal(Reason.BAD_TICK, f"{symbol} states no step for its {what}: it cannot be traded", "symbols")
    try:
        step = parse_micros(text)
    except Refusal:
        fault = f"{symbol} counts {what} in steps of {text[:40]}, which 10^-6 does not count exactly: take it out"
        raise Refusal(Reason.BAD_TICK, fault, "symbols") from None
    if step <= 0:
        raise Refusal(Reason.BAD_TICK, f"{symbol} has a step of {text[:40]} for its {what}: take it out", "symbols")
    return step


def _limit(fields: Fields, name: str, end: str) -> int:
    """A bound of the venue rounded up to micros; 0 where it states none."""
    limits = fields.get("limits")
    text = _text_at(limits, name, end) if isinstance(limits, Mapping) else ""
    return micros_up(text, f"limits.{name}.{end}") if text else 0


def _rate(fields: Fields) -> int:
    text = _word(fields, "taker", "0")
    return micros_up(text, "taker")


def micros_down(text: str, field: str) -> int:
    """Micros of a plain decimal that is not negative; digits beyond the sixth are dropped."""
    match = _PLAIN.fullmatch(text)
    if match is None:
        raise Refusal(Reason.BAD_NUMBER, f"{text[:40]!r} is not a plain decimal number", field)
    return parse_micros(f"{match[1]}.{(match[2] or '')[:6]}", field)


def micros_up(text: str, field: str) -> int:
    """The same, rounded up."""
    return micros_down(text, field) + bool(text.partition(".")[2][6:].strip("0"))


def _text_at(value: object, *path: str) -> str:
    for name in path:
        if not isinstance(value, Mapping):
            return ""
        value = value.get(name)
    return value if isinstance(value, str) else ""


def _word(fields: Fields, name: str, default: str = "") -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and value else default
