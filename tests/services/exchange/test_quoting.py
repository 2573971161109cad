"""Ladder plans: least change, newest first, and funds checked to the micro."""

from __future__ import annotations

from common.messages import Accepted, OrderAnswer, QuoteLadder, Refused
from common.reasons import Reason
from services.exchange.quoting import LEVELS_MAX, plan_quotes
from tests.services.exchange.world import NO, YES, World, micros


def quoting_world(cash: str = "1000") -> World:
    world = World(fee_rate=70_000)
    world.account("mm", cash, "1000", liquidity=True)
    world.account("alice", "1000", "1000", "1000")
    return world


def test_an_unchanged_ladder_plans_nothing() -> None:
    """The plan touches only what differs."""
    world = quoting_world()
    world.ladder("mm", [("0.50", "10"), ("0.49", "5")], [("0.55", "7")])
    engine = world.core.engine
    bids, asks = [(500_000, 10_000_000), (490_000, 6_000_000)], [(550_000, 3_000_000)]
    message = QuoteLadder("x", "mm", "0xc0", bids, asks)
    plan = plan_quotes(message, engine.router.condition("0xc0"), engine.accounts.by_name["mm"], 100)
    assert plan.cancels == []
    assert [(order.book_price, cut) for order, cut in plan.cuts] == [(550_000, 4_000_000)]
    assert [(row.price, row.size) for row in plan.additions] == [(490_000, 1_000_000)]


def test_growth_joins_the_own_last_order_and_queues_behind_others() -> None:
    """Growing levels do not pile up orders; behind somebody else a new order is made."""
    world = quoting_world()
    for size in ("10", "11", "12"):
        world.ladder("mm", [("0.50", size)], [])
    assert world.core.counters()["open_orders"] == 1
    world.submit("alice", "a", "BUY", YES, "5", "0.50")
    world.ladder("mm", [("0.50", "13")], [])
    assert world.core.counters()["open_orders"] == 3


def test_a_crossing_bid_needs_its_fee() -> None:
    """5 shares at 0.50 cost 2.5 and 0.0875 of fee: one micro less is refused and changes nothing."""
    for cash, enough in (("2.587499", False), ("2.5875", True)):
        world = quoting_world(cash)
        world.submit("alice", "a", "SELL", YES, "5", "0.50")
        answer = world.ladder("mm", [("0.50", "5")], [])
        assert isinstance(answer, Accepted if enough else Refused)
        assert world.balances("mm").cash == (0 if enough else micros(cash))


def test_money_freed_by_cancels_counts() -> None:
    """All cash moves from one level to another; orders of the account on the other outcome are part of the ladder."""
    world = quoting_world("10")
    assert isinstance(world.ladder("mm", [("0.50", "20")], []), Accepted)
    assert isinstance(world.ladder("mm", [("0.40", "25")], []), Accepted)
    assert isinstance(world.ladder("mm", [("0.40", "15"), ("0.20", "20")], []), Accepted)
    assert world.balances("mm").reserved[""] == micros("10")
    assert isinstance(world.ladder("mm", [("0.40", "24")], []), Accepted)
    assert isinstance(world.submit("mm", "m", "BUY", NO, "1", "0.40"), OrderAnswer)
    assert isinstance(world.ladder("mm", [("0.40", "25")], []), Accepted)
    assert world.balances("mm").reserved[""] == micros("10")
    assert world.order_now("m") is None


def test_limits_of_a_ladder() -> None:
    """Levels and open orders are bounded."""
    world = quoting_world()
    too_long = [(10_000, 1)] * (LEVELS_MAX + 1)
    answer = world.send(QuoteLadder("long", "mm", "0xc0", too_long, []))
    assert world.refusal(answer)[0] is Reason.BAD_REQUEST
    small = World(open_orders_per_account_max=2)
    small.account("mm", "100", liquidity=True)
    three = small.ladder("mm", [("0.50", "1"), ("0.49", "1"), ("0.48", "1")], [])
    assert small.refusal(three) == (Reason.TOO_MANY_ORDERS, "more than 2 open orders", "account")


def test_a_repeated_ladder_is_answered_and_not_applied() -> None:
    """The last ladder of a market is remembered by its command id."""
    world = quoting_world()
    ladder = QuoteLadder("same", "mm", "0xc0", [(500_000, 10_000_000)], [])
    assert world.send(ladder) == Accepted("same")
    world.submit("alice", "a", "SELL", YES, "4", "0.50", tif="FAK")
    assert world.send(ladder) == Accepted("same", duplicate=True)
    assert world.core.engine.router.condition("0xc0").state(0).bids == [(500_000, 6_000_000)]
