"""Exact decimal text <-> integers of 10**-6, and the named roundings.

In: text from people, JSON and venues. Out: ints. Never floats, never a silent loss of digits: text with more
than six decimals, signs where none may be, exponents, blanks or non-ASCII digits are refused.
"""

from __future__ import annotations

import re

from common.errors import Refusal
from common.reasons import Reason

SCALE = 1_000_000
MICROS_MAX = 2**63 - 1
_DECIMAL = re.compile(r"(-?)([0-9]{1,13})?(?:\.([0-9]{0,18}))?", re.ASCII)


def parse_micros(text: str, field: str = "") -> int:
    """Exact micros of a plain decimal such as "0.52", "10", ".48" or "-3.5".

    Zeros beyond the sixth decimal are accepted (they lose nothing).
    Raises Refusal(BAD_NUMBER) naming `field` for anything else.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match[2] or match[3]):
        raise Refusal(Reason.BAD_NUMBER, f"{text[:40]!r} is not a plain decimal number", field)
    fraction = match[3] or ""
    if fraction[6:].strip("0"):
        raise Refusal(Reason.BAD_NUMBER, f"{text[:40]!r} has more than six decimals", field)
    micros = int(match[2] or "0") * SCALE + int((fraction[:6] or "0").ljust(6, "0"))
    return -micros if match[1] else micros


def format_micros(micros: int) -> str:
    """Shortest exact decimal text: 520_000 -> "0.52", 10_000_000 -> "10", -500_000 -> "-0.5"."""
    whole, fraction = divmod(abs(micros), SCALE)
    sign = "-" if micros < 0 else ""
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:06d}".rstrip("0")


def mul_floor(a: int, b: int) -> int:
    """a*b/10**6 rounded toward minus infinity; price x size -> cash that is received."""
    return a * b // SCALE


def mul_ceil(a: int, b: int) -> int:
    """a*b/10**6 rounded up; price x size -> cash that is paid or reserved."""
    return -(-a * b // SCALE)


def div_floor(numerator: int, denominator: int) -> int:
    """numerator*10**6/denominator rounded down; cash / size -> the highest price that is not above the ratio."""
    return numerator * SCALE // denominator


def div_ceil(numerator: int, denominator: int) -> int:
    """numerator*10**6/denominator rounded up; cash / size -> the lowest price that is not below the ratio."""
    return -(-numerator * SCALE // denominator)


def floor_to(micros: int, step: int) -> int:
    """The largest multiple of `step` that is not above `micros`."""
    return micros // step * step


def ceil_to(micros: int, step: int) -> int:
    """The smallest multiple of `step` that is not below `micros`."""
    return -(-micros // step) * step


def round_half_even_to(micros: int, step: int) -> int:
    """The nearest multiple of `step`; ties go to the even multiple."""
    quotient, remainder = divmod(micros, step)
    twice = 2 * remainder
    if twice > step or (twice == step and quotient % 2):
        quotient += 1
    return quotient * step
