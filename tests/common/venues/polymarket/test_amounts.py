"""Amounts equal the vectors and an independent Decimal reference, on every tick; what cannot be signed is refused."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.errors import Refusal
from common.reasons import Reason
from common.types import ONE, Side
from common.venues.polymarket.amounts import (
    CENT,
    FINEST_TICK,
    IMMEDIATE_STEP,
    ROUNDING,
    TICKS,
    Amounts,
    check_price,
    check_size,
    immediate_amounts,
    limit_amounts,
    market_buy_amounts,
    market_sell_amounts,
    quoted_buy_amounts,
    signed_price_size,
)

from .vectors import VECTORS, micros

# price, size and amount decimals per tick, spelled as the clients' tables spell them
REFERENCE = {
    "0.1": (1, 2, 3),
    "0.01": (2, 2, 4),
    "0.005": (3, 2, 5),
    "0.0025": (4, 2, 6),
    "0.001": (3, 2, 5),
    "0.0001": (4, 2, 6),
}
ticks = st.sampled_from(sorted(REFERENCE))
sizes = st.integers(10_000, 10**13)
sides = st.sampled_from(Side)


@st.composite
def grid(draw: st.DrawFn) -> tuple[int, int]:
    tick = micros(draw(ticks))
    return tick, draw(st.integers(1, ONE // tick - 1)) * tick


def reference(kind: str, side: Side, amount: int, price: int, tick: int) -> Amounts:
    """The rounding recipe of protocol section 3.3 in Decimal, written without looking at ours."""
    price_digits, size_digits, amount_digits = REFERENCE[format(Decimal(tick) / ONE, "f")]
    with localcontext() as context:
        context.prec = 60
        p = (Decimal(price) / ONE).quantize(Decimal(1).scaleb(-price_digits), ROUND_FLOOR)
        given = (Decimal(amount) / ONE).quantize(Decimal(1).scaleb(-size_digits), ROUND_FLOOR)
        other = given / p if kind == "market" and side is Side.BUY else given * p
        if -other.normalize().as_tuple().exponent > amount_digits:  # type: ignore[operator]
            other = other.quantize(Decimal(1).scaleb(-amount_digits - 4), ROUND_CEILING)
            other = other.quantize(Decimal(1).scaleb(-amount_digits), ROUND_FLOOR)
        given_micros, other_micros = int(given * ONE), int(other * ONE)
    if kind == "limit" and side is Side.BUY:
        return Amounts(other_micros, given_micros)
    return Amounts(given_micros, other_micros)


def test_the_rounding_table_is_that_of_the_clients() -> None:
    table = VECTORS["amount_rounding"]["rounding_config"]
    assert set(REFERENCE) == set(table)
    assert {micros(tick) for tick in table} == set(TICKS) == set(ROUNDING)
    for tick, digits in table.items():
        steps = ROUNDING[micros(tick)]
        expected = tuple(10 ** (6 - digits[name]) for name in ("price", "size", "amount"))
        assert steps == expected


@pytest.mark.parametrize("row", VECTORS["amount_rounding"]["rows"], ids=lambda row: f"{row['kind']}-{row['tick']}")
def test_every_rounding_row_of_the_vectors(row: dict[str, Any]) -> None:
    """The decimal SDK is the truth; where the old clients' floats agree, theirs equal it."""
    side, price, tick = Side(row["side"]), micros(row["price"]), micros(row["tick"])
    if row["kind"] == "limit":
        ours = limit_amounts(side, price, micros(row["size"]), tick)
    elif side is Side.BUY:
        ours = market_buy_amounts(micros(row["amount"]), price, tick)
    else:
        ours = market_sell_amounts(micros(row["amount"]), price, tick)
    assert list(ours) == row["unified_sdk"]
    if row["float_vs_decimal_equal"]:
        assert ours == (row["makerAmount"], row["takerAmount"])


@pytest.mark.parametrize("row", VECTORS["float_pitfalls"]["limit_size_examples"])
def test_sizes_that_floats_lose_are_kept(row: dict[str, Any]) -> None:
    ours = limit_amounts(Side(row["side"]), micros(row["price"]), micros(row["size"]), 10_000)
    assert list(ours) == row["unified_sdk"]


@given(grid(), sizes, sides)
def test_limit_amounts_equal_the_decimal_reference(place: tuple[int, int], size: int, side: Side) -> None:
    tick, price = place
    assert limit_amounts(side, price, size, tick) == reference("limit", side, size, price, tick)


@given(grid(), sizes)
def test_market_amounts_equal_the_decimal_reference(place: tuple[int, int], amount: int) -> None:
    tick, price = place
    assert market_buy_amounts(amount, price, tick) == reference("market", Side.BUY, amount, price, tick)
    assert market_sell_amounts(amount, price, tick) == reference("market", Side.SELL, amount, price, tick)


@given(grid(), sizes)
def test_money_for_an_immediate_order_is_signed_within_the_venues_decimals(place: tuple[int, int], amount: int) -> None:
    """FAK and FOK take at most two decimals of money and four of shares, on every tick (protocol section 3.3)."""
    tick, price = place
    try:
        paid, shares = quoted_buy_amounts(amount, price, tick)
    except Refusal:
        return
    assert (paid % 10_000, shares % IMMEDIATE_STEP) == (0, 0)
    assert paid <= amount
    assert price * shares <= paid * ONE < (price + FINEST_TICK) * shares


def test_five_dollars_on_a_fine_tick_can_be_signed() -> None:
    assert quoted_buy_amounts(5 * ONE, 3_000, 1_000) == (5 * ONE, 1_666_666_600)


@settings(deadline=None)  # the first call imports the SDK
@given(grid(), sizes)
def test_amounts_equal_the_official_sdk(place: tuple[int, int], amount: int) -> None:
    from polymarket._internal.actions.orders.limit import _compute_limit_order_amounts
    from polymarket._internal.actions.orders.market import _compute_market_order_amounts

    tick, price = place
    decimals = {"price": Decimal(price) / ONE, "tick_size": Decimal(tick) / ONE}
    quantity = Decimal(amount) / ONE
    for side in Side:
        theirs = _compute_limit_order_amounts(size=quantity, side=side.value, **decimals)
        assert limit_amounts(side, price, amount, tick) == theirs
    assert market_buy_amounts(amount, price, tick) == _compute_market_order_amounts(
        amount=quantity, side="BUY", **decimals
    )
    assert market_sell_amounts(amount, price, tick) == _compute_market_order_amounts(
        amount=quantity, side="SELL", **decimals
    )


@pytest.mark.parametrize(("price", "tick", "floored"), [(525_000, 10_000, 520_000), (513_999, 1_000, 513_000)])
def test_market_amounts_floor_a_finer_price_as_the_clients_do(price: int, tick: int, floored: int) -> None:
    assert market_buy_amounts(10 * ONE, price, tick) == market_buy_amounts(10 * ONE, floored, tick)
    assert market_sell_amounts(10 * ONE, price, tick) == market_sell_amounts(10 * ONE, floored, tick)


@given(grid(), sizes)
def test_a_limit_order_signs_exactly_its_price(place: tuple[int, int], size: int) -> None:
    tick, price = place
    for side in Side:
        maker, taker = limit_amounts(side, price, size, tick)
        assert signed_price_size(side, maker, taker) == (price, size - size % 10_000)


def _is_refused(side: Side, price: int, size: int, tick: int) -> bool:
    """Only sizes without an exact ratio are refused: 100 shares of any price are whole cents."""
    try:
        immediate_amounts(side, price, size, tick)
    except Refusal as refusal:
        return refusal.code is Reason.BAD_SIZE
    return False


@given(grid(), st.integers(10_000, 10**10), sides)
def test_immediate_orders_fit_the_venue_and_their_limit(place: tuple[int, int], size: int, side: Side) -> None:
    """At most 2 and 4 decimals, never beyond size or price x size, and no level worse than the limit in reach."""
    tick, price = place
    if size < 100 * ONE and _is_refused(side, price, size, tick):
        return
    maker, taker = immediate_amounts(side, price, size, tick)
    assert maker > 0
    assert taker > 0
    assert maker % CENT == 0
    assert taker % 100 == 0
    assert taker % ROUNDING[tick].amount == 0
    limit = Fraction(price, ONE)
    if side is Side.BUY:
        assert limit <= Fraction(maker, taker) < limit + Fraction(FINEST_TICK, ONE)
        assert maker * ONE <= price * size
        assert taker <= size
    else:
        assert limit - Fraction(FINEST_TICK, ONE) < Fraction(taker, maker) <= limit
        assert maker <= size
    signed_price, signed_size = signed_price_size(side, maker, taker)
    assert signed_price // FINEST_TICK * FINEST_TICK == price if side is Side.BUY else signed_price <= price
    assert signed_size <= size


@given(grid(), st.integers(1, 10_000), sides)
def test_whole_shares_on_ticks_of_a_cent_are_signed_unchanged(place: tuple[int, int], shares: int, side: Side) -> None:
    tick, price = place
    assume(price % 10_000 == 0)
    size = shares * ONE
    assert immediate_amounts(side, price, size, tick) == limit_amounts(side, price, size, tick)


@pytest.mark.parametrize(
    ("side", "price", "size", "tick", "amounts"),
    [
        (Side.BUY, 530_000, 10_500_000, 10_000, (5_560_000, 10_490_500)),
        (Side.BUY, 513_000, 12_000_000, 1_000, (6_150_000, 11_988_300)),
        (Side.BUY, 300_000, 10_000_000, 100_000, (3_000_000, 10_000_000)),
        (Side.SELL, 513_000, 10_550_000, 1_000, (10_550_000, 5_412_100)),
        (Side.SELL, 12_300, 100_000_000, 100, (100_000_000, 1_230_000)),
        # the hair would leave the finest tick: cut to the largest exact size instead
        (Side.SELL, 513_000, 150_000, 1_000, (100_000, 51_300)),
    ],
)
def test_immediate_examples(side: Side, price: int, size: int, tick: int, amounts: tuple[int, int]) -> None:
    assert immediate_amounts(side, price, size, tick) == amounts


def test_an_immediate_buy_worth_less_than_a_cent_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        immediate_amounts(Side.BUY, 100, 50 * ONE, 100)
    assert (refusal.value.code, refusal.value.field) == (Reason.BAD_SIZE, "size")


def test_signed_prices_round_against_nobody_who_pays() -> None:
    assert signed_price_size(Side.BUY, 10_000_000, 19_230_700) == (520_001, 19_230_700)
    assert signed_price_size(Side.SELL, 3_000_000, 1_000_000) == (333_334, 3_000_000)


@pytest.mark.parametrize(
    ("price", "tick", "code", "field"),
    [
        (525_000, 10_000, Reason.BAD_TICK, "price"),
        (513_000, 5_000, Reason.BAD_TICK, "price"),
        (0, 10_000, Reason.BAD_PRICE, "price"),
        (ONE, 10_000, Reason.BAD_PRICE, "price"),
        (-10_000, 10_000, Reason.BAD_PRICE, "price"),
        (950_000, 100_000, Reason.BAD_PRICE, "price"),
        (500_000, 20_000, Reason.BAD_TICK, "tick"),
        (500_000, 0, Reason.BAD_TICK, "tick"),
    ],
)
def test_a_bad_price_is_refused_by_every_amount(price: int, tick: int, code: Reason, field: str) -> None:
    for attempt in (
        check_price,
        lambda price, tick: immediate_amounts(Side.BUY, price, 10 * ONE, tick),
        lambda price, tick: limit_amounts(Side.BUY, price, 10 * ONE, tick),
    ):
        with pytest.raises(Refusal) as refusal:
            attempt(price, tick)
        assert (refusal.value.code, refusal.value.field) == (code, field)


@pytest.mark.parametrize("size", [0, -1, 9_999, 2**63])
def test_a_bad_size_is_refused(size: int) -> None:
    for attempt in (
        lambda: check_size(size),
        lambda: limit_amounts(Side.SELL, 500_000, size, 10_000),
        lambda: market_sell_amounts(size, 500_000, 10_000),
        lambda: immediate_amounts(Side.SELL, 500_000, size, 10_000),
    ):
        with pytest.raises(Refusal) as refusal:
            attempt()
        assert (refusal.value.code, refusal.value.field) == (Reason.BAD_SIZE, "size")


def test_a_size_below_the_minimum_has_its_own_code() -> None:
    check_size(5 * ONE, 5 * ONE)
    with pytest.raises(Refusal) as refusal:
        check_size(4_990_000, 5 * ONE)
    assert refusal.value.code is Reason.SIZE_TOO_SMALL


def test_cash_below_a_cent_is_refused() -> None:
    with pytest.raises(Refusal) as refusal:
        market_buy_amounts(9_999, 500_000, 10_000)
    assert (refusal.value.code, refusal.value.field) == (Reason.BAD_SIZE, "cash")


@pytest.mark.parametrize(("maker", "taker", "field"), [(0, 1, "makerAmount"), (1, 0, "takerAmount")])
def test_empty_signed_amounts_are_refused(maker: int, taker: int, field: str) -> None:
    with pytest.raises(Refusal) as refusal:
        signed_price_size(Side.BUY, maker, taker)
    assert refusal.value.field == field
