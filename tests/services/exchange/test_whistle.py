"""Plans of matches: they change nothing, pass over a named account, and share what a batch uses up."""

from __future__ import annotations

from common.types import Side
from tests.services.exchange.world import NO, YES, World, micros


def quoted() -> World:
    world = World()
    world.account("bob", "100", "100")
    world.account("carol", "100", "0", "100")
    world.submit("bob", "b1", "SELL", YES, "5", "0.50")
    world.submit("carol", "c1", "BUY", NO, "6", "0.50")
    world.submit("bob", "b2", "SELL", YES, "7", "0.52")
    return world


def shown(world: World, size: str, limit: str, **more: object) -> list[tuple[int, list[tuple[str, int]]]]:
    whistle = world.core.engine.router.condition("0xc0")
    matches = whistle.plan(Side.BUY, micros(limit), micros(size), **more)  # type: ignore[arg-type]
    return [(m.price, [(maker.venue_order_id, quantity) for maker, quantity in m.legs]) for m in matches]


def test_a_plan_walks_price_then_time_and_changes_nothing() -> None:
    """The same plan twice; sizes of the last leg are cut."""
    world = quoted()
    expected = [
        (500_000, [("b1", 5_000_000), ("c1", 6_000_000)]),
        (520_000, [("b2", 1_000_000)]),
    ]
    assert shown(world, "12", "0.60") == expected
    assert shown(world, "12", "0.60") == expected
    assert shown(world, "12", "0.51") == expected[:1]
    assert shown(world, "12", "0.49") == []


def test_own_orders_can_be_passed_over() -> None:
    """A level without anybody else is no match."""
    assert shown(quoted(), "12", "0.60", without="bob") == [(500_000, [("c1", 6_000_000)])]


def test_plans_of_one_batch_do_not_use_size_twice() -> None:
    """What the first plan takes is not there for the second."""
    world = quoted()
    taken: dict[int, int] = {}
    assert shown(world, "7", "0.60", taken=taken) == [(500_000, [("b1", 5_000_000), ("c1", 2_000_000)])]
    assert shown(world, "5", "0.60", taken=taken) == [(500_000, [("c1", 4_000_000)]), (520_000, [("b2", 1_000_000)])]


def test_prices_of_the_other_outcome_are_complements() -> None:
    """A match at 0.52 costs a NO taker 0.48."""
    match = quoted().core.engine.router.condition("0xc0").plan(Side.BUY, 520_000, micros("20"))[-1]
    assert (match.taker_price(0), match.taker_price(1)) == (520_000, 480_000)
