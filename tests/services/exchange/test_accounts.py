"""Balances: reservations add up to what is paid, and every rounded micro has a named place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.types import Side, TimeInForce
from services.exchange.accounts import CASH, Accounts, reserve_of
from services.exchange.audit import broken_rules
from services.exchange.ladder import Order
from tests.services.exchange.world import YES, World


def order(side: Side, price: int, size: int) -> Order:
    return Order(1, "o", "a", "", "c", 0, side, price, size, TimeInForce.GTC, False, 0, "0", 1, 1)


@given(st.integers(1, 999_999), st.lists(st.integers(1, 3_000_000), min_size=1, max_size=8), st.integers(0, 2_000_000))
def test_a_buyer_pays_exactly_what_was_reserved(price: int, fills: list[int], before: int) -> None:
    """However a resting BUY is filled, the payments use up its reservation and are never below the exact amount."""
    accounts = Accounts()
    account = accounts.open("a", 10**12, False)
    bid = order(Side.BUY, price, before + sum(fills))
    bid.filled = before
    accounts.hold(bid, "T")
    held = account.reserved[CASH]
    paid = 0
    for quantity in fills:
        paid += accounts.settle_maker(bid, quantity, "T")
        bid.filled += quantity
        assert account.reserved[CASH] == reserve_of(bid)
    assert (paid, account.reserved[CASH], account.tokens["T"]) == (held, 0, sum(fills))
    assert paid * 1_000_000 >= price * sum(fills)
    accounts.release(bid, "T")
    assert (account.open, account.open_count, account.cash) == ({}, 0, 10**12 - paid)


@given(st.integers(1, 999_999), st.lists(st.integers(1, 3_000_000), min_size=1, max_size=8))
def test_a_seller_never_receives_more_than_the_exact_amount(price: int, fills: list[int]) -> None:
    """Each receipt is cut down to the micro."""
    accounts = Accounts()
    account = accounts.open("a", 0, False)
    accounts.deposit(account, "T", sum(fills))
    ask = order(Side.SELL, price, sum(fills))
    accounts.hold(ask, "T")
    for quantity in fills:
        accounts.settle_maker(ask, quantity, "T")
        ask.filled += quantity
    assert account.cash * 1_000_000 <= price * sum(fills)
    assert account.room("T") == account.tokens["T"] == 0


def test_the_rounding_pot_takes_the_odd_micros() -> None:
    """Three micros of a share at 0.52 cost two micros in all; sold one by one they bring nothing, the pot gets both."""
    world = World(fee_rate=0)
    world.account("mm", "10", liquidity=True)
    world.account("al", "10", "10", liquidity=True)
    world.submit("mm", "m", "BUY", YES, "0.000003", "0.52")
    for number in range(3):
        world.submit("al", f"a{number}", "SELL", YES, "0.000001", "0.52")
    assert world.core.engine.accounts.pots.rounding == 2
    assert (world.balances("mm").cash, world.balances("al").cash) == (9_999_998, 10_000_000)
    assert broken_rules(world.core.engine) == []


def test_a_balance_below_zero_is_a_bug() -> None:
    """Money that is not there crashes the step before anything leaves."""
    accounts = Accounts()
    account = accounts.open("a", 5, False)
    with pytest.raises(AssertionError, match="short of cash"):
        account.credit(CASH, -6)
    with pytest.raises(AssertionError, match="released"):
        account.reserve(CASH, -1)
