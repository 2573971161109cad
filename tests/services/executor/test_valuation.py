"""Marks, inventory, profit and loss against a recount from the fills; and nothing is ever unexplained."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import invariant

from common.messages import Mark
from common.types import ONE, Settlement, Side
from services.executor.positions import Holding, Positions, Tally, unexplained
from services.executor.valuation import Valuation, mid
from tests.services.executor.driver import DOWN, UP, Driver
from tests.services.executor.lives import OrderLives

TEN = 10_000_000


def holding(size: int, cost: int, realised: int = 0, fees: int = 0) -> Holding:
    tally = Tally(size, cost, realised, fees)
    return Holding("polymarket", "btc-up", "0xc", "Up", Tally(), tally, [])


@pytest.mark.parametrize(
    ("mark", "price"),
    [
        (Mark(UP, 500_000, 520_000), 510_000),
        (Mark(UP, 500_000, 501_001), 500_500),
        (Mark(UP, 0, 520_000), 520_000),
        (Mark(UP, 500_000, 0), 500_000),
        (Mark(UP, 0, 0), 0),
    ],
)
def test_the_mark_is_between_the_best_prices(mark: Mark, price: int) -> None:
    assert mid(mark) == Valuation([mark]).price(UP) == price


def test_a_token_without_a_mark_is_worth_what_it_cost() -> None:
    valuation = Valuation([Mark(UP, 500_000, 500_000)])

    assert valuation.value(UP, holding(TEN, 5_200_000)) == 5_000_000
    assert valuation.value(DOWN, holding(TEN, 5_200_000)) == 5_200_000
    assert valuation.value(UP, holding(-TEN, -5_200_000)) == -5_000_000


def test_shorts_count_as_inventory_and_not_against_it() -> None:
    positions = Positions([("a", UP, holding(TEN, 5_200_000)), ("a", DOWN, holding(-TEN, -4_000_000))])
    valuation = Valuation([Mark(UP, 500_000, 500_000), Mark(DOWN, 500_000, 500_000)])

    assert valuation.inventory("a", positions) == 10_000_000
    assert valuation.profit("a", positions) == (5_000_000 - 5_200_000) + (-5_000_000 + 4_000_000)
    assert valuation.inventory("b", positions) == valuation.profit("b", positions) == 0


def test_new_marks_replace_all_older_ones() -> None:
    valuation = Valuation([Mark(UP, 500_000, 500_000)])
    positions = Positions([("a", UP, holding(TEN, 5_200_000))])
    assert valuation.inventory("a", positions) == 5_000_000

    valuation.take([Mark(DOWN, 1, 1)])

    assert valuation.inventory("a", positions) == 5_200_000
    assert [mark.token_id for mark in valuation.rows()] == [DOWN]


def test_a_buy_and_a_sell_realise_what_they_made_after_fees() -> None:
    driver = Driver()
    driver.fill(driver.placed(), is_taker=True)
    driver.mark(Mark(UP, 600_000, 600_000))
    before = driver.account()
    sell = driver.placed(side=Side.SELL, price=600_000)
    driver.fill(sell, side=Side.SELL, price=600_000, trade_id="t-2")

    after = driver.account()
    assert (before.realised, before.unrealised, before.inventory) == (0, 800_000, 6_000_000)
    assert before.fees == after.fees == 174_720
    assert (after.realised, after.unrealised, after.inventory) == (800_000, 0, 0)


def test_a_trade_that_fails_on_chain_takes_its_profit_back() -> None:
    driver = Driver()
    place = driver.placed()
    driver.fill(place, settlement=Settlement.MINED)
    driver.mark(Mark(UP, 600_000, 600_000))
    driver.fill(place, settlement=Settlement.FAILED)

    account = driver.account()
    assert (account.realised, account.unrealised, account.inventory) == (0, 0, 0)


class ValueLives(OrderLives):
    """The model: cash in and out of all fills that stand, and what is held at the last marks."""

    @invariant()
    def every_share_and_every_cent_is_explained_by_a_fill(self) -> None:
        assert unexplained(self.driver.core.desk.positions, self.driver.fills()) == []

    @invariant()
    def profit_is_money_out_of_all_fills_plus_what_is_held(self) -> None:
        desk = self.driver.core.desk
        for account in ("default", "other"):
            money: defaultdict[str, int] = defaultdict(int)
            shares: defaultdict[str, int] = defaultdict(int)
            for fill in self.driver.fills():
                if fill.account == account and fill.settlement is not Settlement.FAILED:
                    sign = 1 if fill.side is Side.BUY else -1
                    shares[fill.token_id] += sign * fill.size
                    money[fill.token_id] -= sign * fill.cash + fill.fee
            marked = {token_id: desk.valuation.price(token_id) for token_id in shares}
            if all(marked.values()):
                worth = {token_id: size * marked[token_id] // ONE for token_id, size in shares.items()}
                shown = self.driver.account(account)
                assert shown.realised + shown.unrealised - shown.fees == sum(money.values()) + sum(worth.values())
                assert shown.inventory == sum(map(abs, worth.values()))

    @invariant()
    def a_restart_would_value_it_the_same(self) -> None:
        assert self.driver.restart().account() == self.driver.account()


TestValueLives = ValueLives.TestCase
TestValueLives.settings = hypothesis_settings(max_examples=100, stateful_step_count=60, deadline=None)
