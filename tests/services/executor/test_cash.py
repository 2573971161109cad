"""The money of a wallet: the venue's number, moved by our fills as the chain moves it, and what is free of it."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import invariant

from common.messages import Fill, PlaceAnswer, QueryBalances, Refused
from common.reasons import Reason
from common.types import Outcome, Settlement, Side
from services.executor.cash import ON_CHAIN, Purse, Purses, cash_delta
from tests.services.executor.driver import UP, Driver
from tests.services.executor.lives import OrderLives

TEN = 10_000_000
BUY, SELL = Side.BUY, Side.SELL
MATCHED, MINED, CONFIRMED, FAILED, RETRYING = (
    Settlement.MATCHED,
    Settlement.MINED,
    Settlement.CONFIRMED,
    Settlement.FAILED,
    Settlement.RETRYING,
)
FILL = Fill("t-1", "o-1", "0x1", "default", "0xc", UP, "Up", BUY, 520_000, TEN, 5_200_000, 100, True, MATCHED, "", 5)
"""A buy of 5.2 and a fee of 0.0001."""


def known(cash: int = 100_000_000, allowance: int = 10**12) -> Purse:
    purse = Purse("polymarket", "main")
    purse.on_balance(cash, allowance, asked_ns=1)
    return purse


def at(stage: Settlement, fill: Fill = FILL) -> Fill:
    return msgspec.structs.replace(fill, settlement=stage)


def tell(purse: Purse, *stages: Settlement, fill: Fill = FILL) -> None:
    before: Settlement | None = None
    for wall_ns, stage in enumerate(stages, start=10):
        purse.on_fill(at(stage, fill), before, wall_ns)
        before = stage


def test_before_the_venue_was_heard_nothing_is_known() -> None:
    purse = Purse("polymarket", "main")
    tell(purse, MATCHED, MINED)

    assert (purse.cash, purse.spendable(0)) == (None, None)


@pytest.mark.parametrize(
    ("side", "stages", "cash", "spendable"),
    [
        # A matched buy has not moved the balance yet, but the money is spoken for.
        (BUY, [MATCHED], 100_000_000, 94_799_900),
        (BUY, [MATCHED, RETRYING], 100_000_000, 94_799_900),
        (BUY, [MATCHED, MINED], 94_799_900, 94_799_900),
        (BUY, [MATCHED, MINED, CONFIRMED], 94_799_900, 94_799_900),
        (BUY, [CONFIRMED], 94_799_900, 94_799_900),
        (BUY, [MATCHED, FAILED], 100_000_000, 100_000_000),
        (BUY, [MATCHED, MINED, FAILED], 100_000_000, 100_000_000),
        (BUY, [FAILED], 100_000_000, 100_000_000),
        # What a sell brings is only there when it is mined.
        (SELL, [MATCHED], 100_000_000, 100_000_000),
        (SELL, [MATCHED, MINED], 105_199_900, 105_199_900),
        (SELL, [MATCHED, MINED, FAILED], 100_000_000, 100_000_000),
    ],
)
def test_each_stage_of_a_fill_moves_what_it_should(
    side: Side, stages: list[Settlement], cash: int, spendable: int
) -> None:
    purse = known()
    tell(purse, *stages, fill=msgspec.structs.replace(FILL, side=side))

    assert (purse.cash, purse.spendable(0)) == (cash, spendable)
    assert bool(purse.unmined) is (stages[-1] not in ON_CHAIN | {FAILED})


def test_the_legs_of_two_own_orders_in_one_trade_count_each() -> None:
    purse = known()
    tell(purse, MATCHED)
    tell(purse, MATCHED, fill=msgspec.structs.replace(FILL, venue_order_id="0x2"))

    assert purse.spoken_for == 2 * 5_200_100


def test_spendable_is_free_of_reservations_within_the_allowance_and_never_negative() -> None:
    assert known(100, 1_000).spendable(30) == 70
    assert known(100, 80).spendable(30) == 50
    assert known(100).spendable(101) == 0


def test_only_a_newer_question_replaces_the_balance() -> None:
    for asked in permutations([5, 7, 6]):
        purse = Purse("polymarket", "main")
        for asked_ns in asked:
            purse.on_balance(asked_ns, asked_ns, asked_ns)
        assert (purse.cash, purse.allowance, purse.asked_ns) == (7, 7, 7)


def test_every_wallet_has_a_purse_of_its_own() -> None:
    purses = Purses()
    purses.of("polymarket", "main").on_balance(5, 5, 1)

    assert purses.of("polymarket", "other").cash is None
    assert [row.wallet for row in Purses(purses.rows()).rows()] == ["main", "other"]


class CashLives(OrderLives):
    """The model: the last balance that was believed, plus what went on chain since."""

    def __init__(self) -> None:
        super().__init__()
        self.base: int | None = None
        self.allowance = self.asked_ns = 0

    def _fills(self) -> list[Fill]:
        return self.driver.fills()

    def _on_chain(self) -> int:
        return sum(cash_delta(fill) for fill in self._fills() if fill.settlement in ON_CHAIN)

    def on_balance(self, cash: int, allowance: int) -> None:
        purse = self.driver.core.desk.purses.of("polymarket", "main")
        if purse.asked_ns != self.asked_ns:  # else the fills moved: the number was not believed
            self.base, self.allowance, self.asked_ns = cash - self._on_chain(), allowance, purse.asked_ns

    @invariant()
    def cash_is_the_balance_and_what_was_mined_since(self) -> None:
        cash = self.driver.core.desk.purses.of("polymarket", "main").cash

        assert cash == (None if self.base is None else self.base + self._on_chain())

    @invariant()
    def matched_buys_are_spoken_for_until_they_are_mined_or_failed(self) -> None:
        open_buys = [fill for fill in self._fills() if fill.side is BUY and fill.settlement not in ON_CHAIN | {FAILED}]

        assert self.driver.core.desk.purses.of("polymarket", "main").spoken_for == sum(
            fill.cash + fill.fee for fill in open_buys
        )

    @invariant()
    def spendable_is_what_is_left(self) -> None:
        desk = self.driver.core.desk
        purse, reserved = desk.purses.of("polymarket", "main"), desk.commitments.wallet("polymarket", "main").cash
        shown = self.driver.account()
        assert shown.cash == purse.cash
        if purse.cash is None:
            assert shown.spendable is None
        else:
            most = min(purse.cash, self.allowance)
            assert shown.spendable == max(0, most - purse.spoken_for - reserved)


TestCashLives = CashLives.TestCase
TestCashLives.settings = hypothesis_settings(max_examples=100, stateful_step_count=60, deadline=None)


def _asked(driver: Driver) -> QueryBalances:
    driver.reconcile()
    driver.wait(1)
    return driver.one(QueryBalances)


def test_a_buy_the_wallet_cannot_pay_with_its_fee_is_refused_before_it_is_sent() -> None:
    driver = Driver()
    driver.balances(_asked(driver), 5_374_720)

    answer = driver.place()  # 5.2 and at most 0.17472 of fees
    assert isinstance(answer, PlaceAnswer)
    answer = driver.place(size=5_000_000)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.INSUFFICIENT_CASH, "size")
    driver.cancel()
    assert driver.account().spendable == 0  # a cancel that is not proven frees nothing


def test_one_micro_less_is_not_enough() -> None:
    driver = Driver()
    driver.balances(_asked(driver), 5_374_719)

    answer = driver.place()
    assert isinstance(answer, Refused)
    assert answer.code is Reason.INSUFFICIENT_CASH


def test_accounts_of_one_wallet_share_its_money_but_not_their_reservations() -> None:
    driver = Driver()
    driver.balances(_asked(driver), 10_000_000)
    driver.placed(account="other")

    mine, others = driver.account(), driver.account("other")
    assert (mine.reserved, others.reserved) == (0, 5_374_720)
    assert mine.spendable == others.spendable == 4_625_280


def test_an_answer_that_is_none_leaves_the_balance_alone() -> None:
    driver = Driver()
    query = _asked(driver)

    driver.balances(query, 1, outcome=Outcome.UNKNOWN)

    assert (driver.account().cash, driver.account().spendable) == (None, None)
    assert isinstance(driver.place(), PlaceAnswer)  # what we do not know, the venue decides
