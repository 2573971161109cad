"""The audit itself: every kind of damage is seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.exchange.audit import broken_rules
from services.exchange.engine import Engine
from tests.services.exchange.world import YES, World


def cash_appears(engine: Engine) -> None:
    engine.accounts.by_name["alice"].cash += 1


def token_vanishes(engine: Engine) -> None:
    engine.accounts.by_name["alice"].tokens[YES] -= 1


def reserve_is_forgotten(engine: Engine) -> None:
    engine.accounts.by_name["alice"].reserved[""] -= 1


def order_is_lost(engine: Engine) -> None:
    order = engine.orders["a"]
    del engine.accounts.by_name["alice"].open[order.condition_id]


def size_grows(engine: Engine) -> None:
    engine.orders["a"].size += 1


def rounding_below_zero(engine: Engine) -> None:
    engine.accounts.pots.rounding = -1


def trade_is_dropped(engine: Engine) -> None:
    engine.trades.records.clear()


DAMAGES = (
    cash_appears,
    token_vanishes,
    reserve_is_forgotten,
    order_is_lost,
    size_grows,
    rounding_below_zero,
    trade_is_dropped,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_seen(damage: Callable[[Engine], None]) -> None:
    """A clean state has no broken rule, a damaged one has."""
    world = World(audit=False)
    world.account("alice", "100", "100")
    world.submit("alice", "a", "BUY", YES, "10", "0.50")
    world.submit("alice", "b", "SELL", YES, "5", "0.50")
    assert broken_rules(world.core.engine) == []
    damage(world.core.engine)
    assert broken_rules(world.core.engine) != []
