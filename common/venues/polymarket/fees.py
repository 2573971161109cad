"""The taker fee of one match, in exact integers (protocol section 6, item 10).

In: shares, price and the market's rate in micros, and its exponent. Out: cash in micros, always a multiple of ten
(five decimals). The venue does not publish its tie rule; half-up is used here, so a fee is never estimated too low.
"""

from __future__ import annotations

from common.errors import Refusal
from common.reasons import Reason
from common.types import ONE

FEE_STEP = 10


def taker_fee(size: int, price: int, rate_micros: int, exponent: int) -> int:
    """size x rate x (price x (1 - price))^exponent; below 0.00001 it is nothing, else rounded half-up to 0.00001."""
    if exponent < 0:
        raise Refusal(Reason.BAD_NUMBER, f"fee exponent {exponent} is negative", "exponent")
    if not 0 <= price <= ONE:
        raise Refusal(Reason.BAD_PRICE, "price is outside [0, 1]", "price")
    if size < 0 or rate_micros < 0:
        raise Refusal(Reason.BAD_NUMBER, "size and fee rate must not be negative", "size" if size < 0 else "rate")
    numerator: int = size * rate_micros * (price * (ONE - price)) ** exponent
    unit: int = FEE_STEP * ONE * (ONE * ONE) ** exponent
    if numerator < unit:
        return 0
    return (2 * numerator + unit) // (2 * unit) * FEE_STEP
