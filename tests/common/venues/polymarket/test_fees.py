"""Taker fees against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.types import ONE
from common.venues.polymarket.fees import taker_fee


@pytest.mark.parametrize(
    ("size", "price", "rate", "exponent", "fee"),
    [
        (100 * ONE, 500_000, 70_000, 1, 1_750_000),
        (100 * ONE, 500_000, 250_000, 2, 1_562_500),
        (10 * ONE, 900_000, 40_000, 1, 36_000),
        (10 * ONE, 520_000, 0, 1, 0),
        (10 * ONE, 0, 70_000, 1, 0),
        (10 * ONE, ONE, 70_000, 1, 0),
        (ONE, 500_000, 60, 1, 20),  # 0.000015 is a tie: up
        (ONE, 500_000, 36, 1, 0),  # 0.000009 is below the smallest fee, although it would round to it
        (ONE, 500_000, 40, 1, 10),
    ],
)
def test_examples(size: int, price: int, rate: int, exponent: int, fee: int) -> None:
    assert taker_fee(size, price, rate, exponent) == fee


@given(
    st.integers(0, 10**12), st.integers(0, 10_000).map(lambda n: n * 100), st.integers(0, 250_000), st.integers(0, 3)
)
def test_equals_the_formula_rounded_half_up_to_five_decimals(size: int, price: int, rate: int, exponent: int) -> None:
    p = Fraction(price, ONE)
    exact = Fraction(size, ONE) * Fraction(rate, ONE) * (p * (1 - p)) ** exponent
    steps = 0 if exact < Fraction(1, 100_000) else int(exact * 100_000 + Fraction(1, 2))
    assert taker_fee(size, price, rate, exponent) == steps * 10


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((1, 500_000, 1, -1), "exponent"),
        ((1, ONE + 1, 1, 1), "price"),
        ((-1, 500_000, 1, 1), "size"),
        ((1, 500_000, -1, 1), "rate"),
    ],
)
def test_impossible_inputs_are_refused(arguments: tuple[int, int, int, int], field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        taker_fee(*arguments)
    assert refusal.value.field == field
