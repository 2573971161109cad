"""The L3 book: order of levels and queues, totals, and what changed."""

from __future__ import annotations

import pytest

from common.types import Side, TimeInForce
from services.exchange.ladder import Ladder, Order


def resting(sequence: int, side: Side, price: int, size: int, outcome: int = 0) -> Order:
    return Order(
        sequence, f"o{sequence}", "a", "", "c", outcome, side, price, size, TimeInForce.GTC, False, 0, "0", 1, 1
    )


def test_levels_are_best_first_on_both_sides() -> None:
    """Bids fall, asks rise; an empty side has best 0."""
    ladder = Ladder()
    assert ladder.best(Side.BUY) == ladder.best(Side.SELL) == 0
    for number, (side, price) in enumerate([(Side.BUY, 40), (Side.BUY, 42), (Side.SELL, 60), (Side.SELL, 55)], 1):
        ladder.add(resting(number, side, price, 10))
    assert ladder.totals(Side.BUY) == [(42, 10), (40, 10)]
    assert ladder.totals(Side.SELL) == [(55, 10), (60, 10)]
    assert (ladder.best(Side.BUY), ladder.best(Side.SELL)) == (42, 55)


def test_the_other_outcome_stands_mirrored() -> None:
    """BUY NO at 0.45 is an ask at 0.55."""
    ladder = Ladder()
    ladder.add(resting(1, Side.BUY, 450_000, 10, outcome=1))
    assert ladder.totals(Side.SELL) == [(550_000, 10)]


def test_a_cancel_in_the_middle_keeps_the_queue() -> None:
    """Whoever waited longer is still first."""
    ladder = Ladder()
    orders = [resting(number, Side.BUY, 50, 10) for number in (1, 2, 3)]
    for order in orders:
        ladder.add(order)
    ladder.remove(orders[1])
    assert [order.sequence for order in ladder.orders()] == [1, 3]
    assert ladder.last_in_queue(Side.BUY, 50) is orders[2]
    assert ladder.totals(Side.BUY) == [(50, 20)]


def test_a_filled_order_leaves_with_its_level() -> None:
    """A fill of all empties the level; reachable stops at the limit."""
    ladder = Ladder()
    ask = resting(1, Side.SELL, 50, 10)
    ladder.add(ask)
    ladder.add(resting(2, Side.SELL, 52, 10))
    assert [level.price for level in ladder.reachable(Side.BUY, 51)] == [50]
    ladder.fill(ask, 4)
    assert ladder.totals(Side.SELL) == [(50, 6), (52, 10)]
    ladder.fill(ask, 6)
    assert ladder.totals(Side.SELL) == [(52, 10)]
    assert ladder.last_in_queue(Side.SELL, 50) is None


def test_changes_are_net_and_told_once() -> None:
    """What came and went within a step is no change."""
    ladder = Ladder()
    first, second = resting(1, Side.BUY, 50, 10), resting(2, Side.BUY, 51, 10)
    ladder.add(first)
    ladder.add(second)
    ladder.remove(second)
    assert ladder.take_changes() == ([(50, 10)], [])
    assert ladder.take_changes() == ([], [])
    ladder.resize(first, -3)
    assert ladder.take_changes() == ([(50, 7)], [])
    ladder.remove(first)
    assert ladder.take_changes() == ([(50, 0)], [])


def test_overfilling_is_a_bug() -> None:
    """A fill beyond the remaining size crashes rather than corrupts."""
    ladder = Ladder()
    order = resting(1, Side.BUY, 50, 10)
    ladder.add(order)
    with pytest.raises(AssertionError):
        ladder.fill(order, 11)
    with pytest.raises(AssertionError):
        ladder.resize(order, -10)
