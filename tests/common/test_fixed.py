"""Exact decimals: text to micros and back, and roundings that never favour nobody."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.fixed import (
    ceil_to,
    div_ceil,
    div_floor,
    floor_to,
    format_micros,
    mul_ceil,
    mul_floor,
    parse_micros,
    round_half_even_to,
)
from common.reasons import Reason

MICROS = st.integers(min_value=-(10**18), max_value=10**18)
POSITIVE = st.integers(min_value=1, max_value=10**15)
STEP = st.sampled_from([1, 100, 1_000, 2_500, 5_000, 10_000, 100_000])


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0.52", 520_000),
        (".48", 480_000),
        ("10", 10_000_000),
        ("10.", 10_000_000),
        ("0", 0),
        ("-3.5", -3_500_000),
        ("0.29", 290_000),
        ("1234567890123", 1_234_567_890_123_000_000),
        ("0.000001", 1),
        ("1.1000000000", 1_100_000),
        ("007", 7_000_000),
    ],
)
def test_plain_decimals_are_exact(text: str, micros: int) -> None:
    assert parse_micros(text) == micros


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1e3", "1_000", " 1", "1 ", "+1", "0x10", "nan", "inf", "1,5", "0.0000001", "\u0661", "1.2.3", "--1",
     "12345678901234", "1" * 50],
)  # fmt: skip
def test_anything_else_is_refused_with_the_field(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_micros(text, "price")
    assert refused.value.code is Reason.BAD_NUMBER
    assert refused.value.field == "price"


@given(MICROS)
def test_text_and_back_is_the_same_number(micros: int) -> None:
    assert parse_micros(format_micros(micros)) == micros


@given(MICROS)
def test_text_is_the_shortest_exact_decimal(micros: int) -> None:
    text = format_micros(micros)
    assert Decimal(text) == Decimal(micros).scaleb(-6)
    assert "." not in text or not text.endswith(("0", "."))


@given(POSITIVE, POSITIVE)
def test_products_round_as_named(a: int, b: int) -> None:
    exact = Fraction(a * b, 10**6)
    assert mul_floor(a, b) == math.floor(exact)
    assert mul_ceil(a, b) == math.ceil(exact)


@given(POSITIVE, POSITIVE)
def test_ratios_round_as_named(a: int, b: int) -> None:
    assert div_floor(a, b) * b <= a * 10**6 < (div_floor(a, b) + 1) * b
    assert (div_ceil(a, b) - 1) * b < a * 10**6 <= div_ceil(a, b) * b


@given(POSITIVE, STEP)
def test_grids_round_as_named(micros: int, step: int) -> None:
    exact = Decimal(micros) / step
    assert floor_to(micros, step) == exact.to_integral_value(ROUND_FLOOR) * step
    assert ceil_to(micros, step) == exact.to_integral_value(ROUND_CEILING) * step
    assert round_half_even_to(micros, step) == exact.to_integral_value(ROUND_HALF_EVEN) * step
