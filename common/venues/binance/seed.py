"""What the offline venue starts with: symbols, a trader, and a house whose orders make a book. Pure.

BTCUSDT and ETHUSDT can be traded; PEPEUSDT counts prices finer than 10^-6, so that our side has something to refuse.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from common.venues.binance.spot import Account, SpotVenue, Symbol
from common.venues.binance.wire import UNIT, text_of

TRADER: Final = "trader"
HOUSE: Final = "house"
COMMISSION: Final = UNIT // 1000
LEVELS: Final = 20

BTC: Final = Symbol("BTC", "USDT", tick=UNIT // 100, step=UNIT // 100_000)
ETH: Final = Symbol("ETH", "USDT", tick=UNIT // 100, step=UNIT // 10_000)
PEPE: Final = Symbol("PEPE", "USDT", tick=1, step=UNIT, price_max=UNIT, quantity_max=10**11 * UNIT)
_MIDS: Final = {"BTCUSDT": 60_000 * UNIT, "ETHUSDT": 3_000 * UNIT, "PEPEUSDT": UNIT // 100_000}
_RICH: Final = {"USDT": 10**9 * UNIT, "BTC": 10**5 * UNIT, "ETH": 10**6 * UNIT, "PEPE": 10**11 * UNIT}
_HOLDINGS: Final = {"USDT": 100_000 * UNIT, "BTC": UNIT, "ETH": 10 * UNIT}


def seeded_venue(now_ms: int, *, commission: int = COMMISSION) -> SpotVenue:
    """Each book has LEVELS prices a side, each with orders worth about 10,000 USDT."""
    venue = SpotVenue([BTC, ETH, PEPE])
    venue.open_account(TRADER, _HOLDINGS, commission)
    house = venue.open_account(HOUSE, _RICH)
    for name, mid in _MIDS.items():
        _fill_book(venue, house, name, mid, now_ms)
    return venue


def _fill_book(venue: SpotVenue, house: Account, name: str, mid: int, now_ms: int) -> None:
    symbol = venue.markets[name].symbol
    gap = max(symbol.tick, mid // 10_000 // symbol.tick * symbol.tick)
    quantity = max(symbol.step, 10_000 * UNIT * UNIT // mid // symbol.step * symbol.step)
    for level in range(1, LEVELS + 1):
        for side, price in (("BUY", mid - level * gap), ("SELL", mid + level * gap)):
            if price > 0:
                quote(venue, house, Quote(name, side, price, quantity), now_ms)


class Quote(NamedTuple):
    """A resting order; price and quantity in units of 10^-8."""

    symbol: str
    side: str
    price: int
    quantity: int


def quote(venue: SpotVenue, account: Account, wanted: Quote, now_ms: int) -> dict[str, object]:
    params = {"symbol": wanted.symbol, "side": wanted.side, "type": "LIMIT", "timeInForce": "GTC"}
    amounts = {"price": text_of(wanted.price), "quantity": text_of(wanted.quantity)}
    return venue.new_order(account, params | amounts, now_ms)
