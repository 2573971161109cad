"""Signed amounts: price and size in, makerAmount and takerAmount out, by exact integers (protocol section 3.3).

All numbers are micros. `maker` is what the order gives, `taker` what it wants: BUY gives cash for shares, SELL the
reverse. Results equal those of the venue's decimal SDK; prices off the grid are refused, never rounded. What was
signed is the truth about an order, so read it back with `signed_price_size`.
"""

from __future__ import annotations

from math import gcd
from typing import Final, NamedTuple

from common.errors import Refusal
from common.fixed import MICROS_MAX, format_micros
from common.reasons import Reason
from common.types import ONE, Side

TICKS: Final = (100_000, 10_000, 5_000, 2_500, 1_000, 100)
FINEST_TICK: Final = 100
SIZE_STEP: Final = 10_000
"""Sizes are signed with two decimals on every tick."""
CENT: Final = 10_000
"""Cash of an immediate BUY is signed with two decimals."""
IMMEDIATE_STEP: Final = 100
"""The wanted side of an immediate order has at most four decimals."""


class Rounding(NamedTuple):
    """Steps in micros of what may be signed on one tick."""

    price: int
    size: int
    amount: int


ROUNDING: Final[dict[int, Rounding]] = {
    100_000: Rounding(100_000, SIZE_STEP, 1_000),
    10_000: Rounding(10_000, SIZE_STEP, 100),
    5_000: Rounding(1_000, SIZE_STEP, 10),
    2_500: Rounding(100, SIZE_STEP, 1),
    1_000: Rounding(1_000, SIZE_STEP, 10),
    100: Rounding(100, SIZE_STEP, 1),
}


class Amounts(NamedTuple):
    maker: int
    taker: int


def check_price(price: int, tick: int) -> None:
    """Refuse a price that is not a multiple of the tick inside [tick, 1 - tick]."""
    if tick not in ROUNDING:
        raise Refusal(Reason.BAD_TICK, f"{format_micros(tick)} is not a tick size of this venue", "tick")
    if not tick <= price <= ONE - tick:
        low, high = format_micros(tick), format_micros(ONE - tick)
        raise Refusal(Reason.BAD_PRICE, f"price {format_micros(price)} is outside [{low}, {high}]", "price")
    if price % tick:
        text = f"price {format_micros(price)} is not a multiple of the tick {format_micros(tick)}"
        raise Refusal(Reason.BAD_TICK, text, "price")


def check_size(size: int, minimum: int = 0) -> None:
    """Refuse a size that rounds to nothing, is below the market's minimum, or cannot be a micros integer."""
    if not SIZE_STEP <= size <= MICROS_MAX:
        text = f"size {format_micros(size)} is not between 0.01 and {format_micros(MICROS_MAX)}"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if size < minimum:
        text = f"size {format_micros(size)} is below the minimum of {format_micros(minimum)}"
        raise Refusal(Reason.SIZE_TOO_SMALL, text, "size")


def limit_amounts(side: Side, price: int, size: int, tick: int) -> Amounts:
    """Amounts of a resting order (GTC, GTD). The size is cut to two decimals; the product is then always exact."""
    if tick not in ROUNDING or price % tick or not tick <= price <= ONE - tick:
        check_price(price, tick)
    if not SIZE_STEP <= size <= MICROS_MAX:
        check_size(size)
    shares = size - size % SIZE_STEP
    cash = shares * price // ONE
    return Amounts(cash, shares) if side == Side.BUY else Amounts(shares, cash)


def market_buy_amounts(cash: int, price: int, tick: int) -> Amounts:
    """Amounts of a market BUY by cash, as the venue's SDK signs it: cash cut to cents, shares rounded down.

    Rounding shares up would put the signed price below an ask at exactly `price`, which then could never match.
    (The SDK first rounds up at four more digits; on grid prices that never changes the result, as a test shows.)
    """
    rounding, price = _market_rounding(price, tick)
    paid = cash - cash % rounding.size
    if paid <= 0:
        raise Refusal(Reason.BAD_SIZE, f"cash {format_micros(cash)} is less than one cent", "cash")
    shares = paid * ONE // price
    return Amounts(paid, shares - shares % rounding.amount)


def quoted_buy_amounts(cash: int, price: int, tick: int) -> Amounts:
    """The same inside the venue's limits for immediate orders: shares have at most four decimals on every tick.

    The SDK signs up to six on ticks below 0.01, which the venue refuses. The signed price stays inside the finest tick.
    """
    paid, shares = market_buy_amounts(cash, price, tick)
    shares -= shares % IMMEDIATE_STEP
    if not shares or paid * ONE >= (price + FINEST_TICK) * shares:
        raise Refusal(Reason.BAD_SIZE, f"cash {format_micros(cash)} is too little to be signed exactly", "cash")
    return Amounts(paid, shares)


def market_sell_amounts(size: int, price: int, tick: int) -> Amounts:
    """Amounts of a market SELL by shares, as the venue's SDK signs it: shares cut to two decimals."""
    rounding, price = _market_rounding(price, tick)
    check_size(size)
    shares = size - size % rounding.size
    return Amounts(shares, shares * price // ONE)


def immediate_amounts(side: Side, price: int, size: int, tick: int) -> Amounts:
    """Amounts of a FAK or FOK given by limit price and shares, inside the venue's limits for marketable orders.

    BUY: cash = price x size cut to cents, then shares = cash / price cut to four decimals (three on tick 0.1).
    SELL: shares = size cut to two decimals, then cash = shares x price cut to four decimals.
    So a BUY never spends more than price x size, and no order trades more shares than `size` at its limit.
    Cutting leaves the signed ratio at the limit or a hair beyond it, which a level at exactly the limit needs in order
    to match. The hair always stays inside the finest tick: no level worse than the limit can ever be reached, even
    after the market's tick became finer. Sizes so small that the hair would leave it are cut further, to the
    largest size with an exact ratio, and refused when there is none.
    """
    check_price(price, tick)
    check_size(size)
    step = max(IMMEDIATE_STEP, ROUNDING[tick].amount)
    if side == Side.BUY:
        return _immediate_buy(price, size, step)
    return _immediate_sell(price, size, step)


def signed_price_size(side: Side, maker: int, taker: int) -> tuple[int, int]:
    """(price, size) in micros that signed amounts mean, rounded against nobody who pays: BUY down, SELL up."""
    if maker <= 0 or taker <= 0:
        field = "makerAmount" if maker <= 0 else "takerAmount"
        raise Refusal(Reason.BAD_SIZE, "a signed amount is not positive", field)
    if side == Side.BUY:
        return maker * ONE // taker, taker
    return -(-taker * ONE // maker), maker


def _market_rounding(price: int, tick: int) -> tuple[Rounding, int]:
    rounding = ROUNDING.get(tick)
    if rounding is None:
        raise Refusal(Reason.BAD_TICK, f"{format_micros(tick)} is not a tick size of this venue", "tick")
    floored = price - price % rounding.price
    if not tick <= floored <= ONE - tick:
        check_price(floored, tick)
    return rounding, floored


def _immediate_buy(price: int, size: int, step: int) -> Amounts:
    cash = price * size // ONE // CENT * CENT
    if cash:
        shares = cash * ONE // price // step * step
        if shares and cash * ONE < (price + FINEST_TICK) * shares:
            return Amounts(cash, shares)
    return _exact(size, step, price, CENT, buy=True)


def _immediate_sell(price: int, size: int, step: int) -> Amounts:
    shares = size - size % SIZE_STEP
    cash = shares * price // ONE // step * step
    if cash * ONE > (price - FINEST_TICK) * shares:
        return Amounts(shares, cash)
    return _exact(size, SIZE_STEP, price, step, buy=False)


def _exact(size: int, size_step: int, price: int, cash_step: int, *, buy: bool) -> Amounts:
    """The largest size <= `size` on its step whose cash lies exactly on the cash step."""
    unit = cash_step * ONE  # shares x price must be a multiple of this
    whole = unit // gcd(price, unit)
    grid = whole * size_step // gcd(whole, size_step)
    shares = size - size % grid
    if not shares:
        text = f"size {format_micros(size)} at {format_micros(price)} is too small to be signed exactly"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    cash = shares * price // ONE
    return Amounts(cash, shares) if buy else Amounts(shares, cash)
