"""Trades that fail: everything goes back, whatever the kind of match, and what was spent is not conjured up."""

from __future__ import annotations

import random

import pytest

from common.messages import OrderCanceled, PlanSettlement, TradeSettled
from common.types import Settlement
from tests.model.test_whistle import Pair
from tests.services.exchange.world import NO, YES, World, micros

FAILS = [Settlement.FAILED]


def failing(*, fee_rate: int = 70_000, times: int = 0) -> World:
    world = World(fee_rate=fee_rate)
    world.account("alice", "100", "100", "100")
    world.account("bob", "100", "100", "100")
    world.send(PlanSettlement(world.next_id(), FAILS, times))
    return world


def settled(world: World) -> list[Settlement]:
    """The stages of the trades until nothing is due any more."""
    seen = []
    while world.core.due_ns() is not None:
        world.pass_time(1)
        seen += [event.trade.settlement for event in world.events() if isinstance(event, TradeSettled)]
    return seen


def holdings(world: World, account: str) -> tuple[int, int, int, dict[str, int]]:
    report = world.balances(account)
    return report.cash, report.tokens.get(YES, 0), report.tokens.get(NO, 0), report.reserved


@pytest.mark.parametrize(
    ("maker", "taker"),
    [
        (("BUY", YES, "0.40"), ("SELL", YES, "0.40")),
        (("SELL", YES, "0.40"), ("BUY", YES, "0.45")),
        (("BUY", YES, "0.40"), ("BUY", NO, "0.60")),
        (("SELL", NO, "0.60"), ("SELL", YES, "0.40")),
    ],
    ids=["sold to a bid", "bought from an offer", "minted", "merged"],
)
def test_a_failed_trade_leaves_everybody_as_before(maker: tuple[str, str, str], taker: tuple[str, str, str]) -> None:
    world = failing()
    before = [holdings(world, name) for name in ("alice", "bob")]
    world.submit("alice", "maker", maker[0], maker[1], "10", maker[2])
    world.submit("bob", "taker", taker[0], taker[1], "10", taker[2])
    assert [holdings(world, name) for name in ("alice", "bob")] != before
    assert settled(world) == FAILS
    assert [holdings(world, name) for name in ("alice", "bob")] == before
    pots = world.core.engine.accounts.pots
    assert (pots.fees, pots.rounding, sum(pots.collateral.values())) == (0, 0, 0)


def test_what_was_spent_meanwhile_is_not_taken_back_and_the_trade_is_confirmed() -> None:
    world = failing(times=1)
    world.account("poor", "10")
    world.submit("alice", "offer", "SELL", YES, "10", "0.50")
    world.submit("poor", "bought", "BUY", YES, "10", "0.50", tif="FAK")
    world.submit("bob", "bid", "BUY", YES, "10", "0.50")
    world.submit("poor", "sold", "SELL", YES, "10", "0.50", tif="FAK")
    assert Settlement.FAILED not in settled(world)
    assert holdings(world, "poor")[1] == 0


def test_resting_orders_give_way_newest_first_when_their_cover_goes_back() -> None:
    world = failing(fee_rate=0)
    world.account("poor", "10")
    world.submit("alice", "offer", "SELL", YES, "10", "0.50")
    world.submit("poor", "bought", "BUY", YES, "10", "0.50", tif="FAK")
    for name in ("first", "second"):
        world.submit("poor", name, "SELL", YES, "5", "0.90")
    world.pass_time(1)
    canceled = [event.order for event in world.events() if isinstance(event, OrderCanceled)]
    assert [order.venue_order_id for order in canceled] == ["second", "first"]
    assert {order.reason for order in canceled} == {"not enough balance after a trade failed"}
    assert holdings(world, "poor") == (micros("10"), 0, 0, {})


@pytest.mark.parametrize(("percent", "seed"), [(100, 1), (50, 2)])
def test_a_stream_in_which_trades_fail_keeps_every_rule(percent: int, seed: int) -> None:
    """The audit runs after each step, and the books are those of a twin that knows no settlement."""
    pair = Pair(audit=True)
    pair.world.send(PlanSettlement(pair.world.next_id(), FAILS, 0, percent, seed))
    generator = random.Random(seed)
    for _ in range(150):
        pair.play(generator.randrange)
    assert (set(settled(pair.world)) == set(FAILS)) is (percent == 100)
