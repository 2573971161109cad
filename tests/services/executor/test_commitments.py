"""What open orders hold back equals a recount of all orders, whatever happened to them."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant

from common.fixed import mul_ceil
from common.messages import PlaceAnswer, Refused
from common.reasons import Reason
from common.types import Side, Status, TimeInForce
from common.venues.polymarket.fees import taker_fee
from services.executor.commitments import NOTHING, Commitments, Reserved
from services.executor.order import TERMINAL
from services.executor.terms import buy_cost
from tests.services.executor.driver import DOWN, MARKET, UP, Driver
from tests.services.executor.lives import OrderLives

TEN = 10_000_000


def row(held: Reserved) -> tuple[int, int, int, int]:
    return held.orders, held.buys, held.sells, held.cash


def recount(driver: Driver) -> dict[object, tuple[int, int, int, int]]:
    """Totals per account, wallet and (account, token) from nothing but the orders."""
    sums: defaultdict[object, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for order in driver.core.desk.oms.rows():
        left = max(0, order.size - order.told)
        if order.state in TERMINAL:
            left = order.reported - order.told if order.fills_missing else 0
            if not left:
                continue
        buys = order.side is Side.BUY
        fees = (MARKET.fee_rate, MARKET.fee_exponent)
        cash = buy_cost(order.price, left, *fees, post_only=order.post_only) if buys else 0
        part = [1, left if buys else 0, 0 if buys else left, cash]
        for key in (order.account, (order.venue, order.wallet), (order.account, order.token_id)):
            sums[key] = [total + more for total, more in zip(sums[key], part, strict=True)]
    return {key: (total[0], total[1], total[2], total[3]) for key, total in sums.items()}


def shown(driver: Driver) -> dict[object, tuple[int, int, int, int]]:
    held = driver.core.desk.commitments
    found: dict[object, tuple[int, int, int, int]] = {}
    for account in ("default", "other"):
        found[account] = row(held.account(account))
        for token_id in (UP, DOWN):
            found[account, token_id] = row(held.token(account, token_id))
    found["polymarket", "main"] = row(held.wallet("polymarket", "main"))
    return {key: total for key, total in found.items() if any(total)}


class CommitmentLives(OrderLives):
    @invariant()
    def totals_equal_a_recount(self) -> None:
        assert shown(self.driver) == recount(self.driver)

    @invariant()
    def no_total_is_negative(self) -> None:
        assert all(value >= 0 for total in shown(self.driver).values() for value in total)


TestCommitmentLives = CommitmentLives.TestCase
TestCommitmentLives.settings = hypothesis_settings(max_examples=100, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize(
    ("price", "post_only", "fee_at"),
    [
        (520_000, False, 520_000),  # at 0.5 the fee is higher by less than the price is lower
        (300_000, False, 300_000),
        (520_000, True, None),
    ],
)
def test_a_buy_holds_back_its_worst_price_and_the_highest_fee(price: int, post_only: bool, fee_at: int | None) -> None:
    fee = taker_fee(TEN, fee_at, MARKET.fee_rate, 1) if fee_at else 0

    assert buy_cost(price, TEN, MARKET.fee_rate, 1, post_only=post_only) == price * 10 + fee


@hypothesis_settings(deadline=None)
@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 10_000), st.integers(0, 2))
def test_no_fill_at_the_limit_or_better_can_cost_more_than_is_held_back(
    limit: int, paid: int, hundredths: int, exponent: int
) -> None:
    price, limit, size = min(paid, limit) * 10_000, limit * 10_000, hundredths * 10_000
    cost = mul_ceil(price, size) + taker_fee(size, price, MARKET.fee_rate, exponent)

    assert cost <= buy_cost(limit, size, MARKET.fee_rate, exponent, post_only=False)


def test_what_matched_is_not_held_back_any_more() -> None:
    driver = Driver()
    place = driver.placed()
    driver.fill(place, 4_000_000)

    assert row(driver.core.desk.commitments.token("default", UP))[:3] == (1, 6_000_000, 0)
    driver.fill(place, 6_000_000, trade_id="t-2")
    assert row(driver.core.desk.commitments.token("default", UP)) == (0, 0, 0, 0)


def test_what_the_venue_says_matched_is_held_back_until_its_fill_is_told() -> None:
    """Or the same money, and the same room under a limit, could be used again in between."""
    driver = Driver(policies=[{"type": "PositionLimit", "max_size": "10"}])
    place = driver.placed(tif=TimeInForce.FAK)
    driver.result(place, status="matched", taking=10_000_000, making=5_200_000)
    assert driver.order().status is Status.FILLED

    second = driver.place(tif=TimeInForce.FAK)

    assert isinstance(second, Refused)
    assert second.code is Reason.POSITION_LIMIT
    assert row(driver.core.desk.commitments.token("default", UP))[1] == 10_000_000
    assert row(driver.restart().core.desk.commitments.token("default", UP))[1] == 10_000_000
    driver.fill(place)
    assert row(driver.core.desk.commitments.token("default", UP)) == (0, 0, 0, 0)


def test_an_order_in_doubt_keeps_what_it_holds_back() -> None:
    driver = Driver()
    place = driver.placed()
    before = row(driver.core.desk.commitments.account("default"))
    driver.unknown(place)

    assert row(driver.core.desk.commitments.account("default")) == before


def test_an_order_left_out_counts_again_when_it_is_put_back() -> None:
    driver = Driver()
    driver.placed()
    desk = driver.core.desk
    order = desk.oms.rows()[0]
    before = row(desk.commitments.account("default"))

    desk.commitments.drop(order)
    desk.commitments.drop(order)
    assert row(desk.commitments.account("default")) == (0, 0, 0, 0)
    desk.commitments.put(order, desk.markets)
    desk.commitments.put(order, desk.markets)
    assert row(desk.commitments.account("default")) == before


def test_reading_what_is_not_there_makes_nothing() -> None:
    commitments = Commitments()

    assert commitments.account("nobody") is commitments.token("nobody", UP) is commitments.wallet("x", "y") is NOTHING
    assert commitments.tokens("nobody") == []


def test_a_refused_replace_leaves_the_totals_as_they_were() -> None:
    driver = Driver(policies=[{"type": "PositionLimit", "max_size": "10"}])
    driver.result(driver.placed())
    before = shown(driver)

    assert not isinstance(driver.replace(size=TEN + 10_000), PlaceAnswer)
    assert shown(driver) == before
    assert isinstance(driver.replace(size=TEN), PlaceAnswer)  # instead of the first, not beside it
