"""What a market's kind and venue mean for its prices, sizes, fees and roundings, in one place. Pure.

In: a market or a venue's name, prices and sizes in micros. Out: exact integers. A binary market's prices end below 1
and its taker fee follows the venue's curve; a spot instrument has any price and a plain rate. Orders of Polymarket are
signed as two amounts, orders of every other venue say price and size as they are.
"""

from __future__ import annotations

from typing import Final

from common.fixed import mul_ceil
from common.instruments import PRICE_MAX, SPOT, Market
from common.types import ONE
from common.venues.capabilities import VenueKind, kind_of
from common.venues.polymarket.fees import taker_fee

SIGNED: Final = VenueKind.POLYMARKET.value
"""The venue whose orders are signed amounts, with their roundings."""
SIGNED_DUST: Final = 10_000
"""What it may leave of an order it calls matched (protocol section 5.3): a hundredth of a share."""


def is_signed(venue: str) -> bool:
    return venue == SIGNED


def dust_of(venue: str) -> int:
    """What may be left of an order that the venue calls matched; other venues count exactly."""
    return SIGNED_DUST if venue == SIGNED else 0


def price_ceiling(venue: str, market: Market | None) -> int:
    """No trade was ever made above this price; what claims to be one is no trade."""
    spot = market.kind == SPOT if market is not None else kind_of(venue) is VenueKind.CCXT
    return PRICE_MAX if spot else ONE


def fee_of(market: Market, size: int, price: int) -> int:
    """What the taker of one match pays: by the venue's curve, or a plain rate of the money, rounded up."""
    if market.kind == SPOT:
        return -(-price * size * market.fee_rate // (ONE * ONE))
    return taker_fee(size, price, market.fee_rate, market.fee_exponent)


def buy_cost(price: int, size: int, fee_rate: int, fee_exponent: int, *, post_only: bool) -> int:
    """The most that buying `size` at `price` or better can take out of the wallet. A maker pays no fee."""
    cash = mul_ceil(price, size)
    if post_only or not fee_rate:
        return cash
    # The fee peaks at one half, but as long as the curve is flatter than the price itself, the limit costs the most.
    worst = price if fee_rate * max(1, fee_exponent) <= ONE else min(price, ONE // 2)
    return cash + taker_fee(size, worst, fee_rate, fee_exponent)


def cost_of(market: Market | None, price: int, size: int, *, post_only: bool) -> int:
    """`buy_cost` on a market of any kind; of one that is not known without fees."""
    if market is None:
        return mul_ceil(price, size)
    if market.kind == SPOT:
        return mul_ceil(price, size) + (0 if post_only else fee_of(market, size, price))
    return buy_cost(price, size, market.fee_rate, market.fee_exponent, post_only=post_only)


def short_cost(market: Market, price: int, size: int) -> int:
    """The money at risk in selling what is not held. A spot price has no end: then it is what is sold."""
    if market.kind == SPOT:
        return mul_ceil(price, size)
    return size * (ONE - price) // ONE
