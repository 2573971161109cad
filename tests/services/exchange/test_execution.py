"""Ids and the canonical order of events."""

from __future__ import annotations

import re
import uuid

from common.messages import (
    OrderAnswer,
    OrderCanceled,
    OrderMatched,
    OrderPlaced,
    StepCompleted,
    TradeMade,
    TradeSettled,
)
from services.exchange.execution import Counters
from tests.services.exchange.world import YES, World


def test_trade_ids_are_uuids_that_belong_to_the_journal() -> None:
    """Same seed, same ids; another seed, other ids; never twice the same."""
    one, two, other = Counters(seed=5), Counters(seed=5), Counters(seed=6)
    first = [one.next_trade_id() for _ in range(100)]
    assert first == [two.next_trade_id() for _ in range(100)]
    assert not set(first) & {other.next_trade_id() for _ in range(100)}
    assert len(set(first)) == 100
    assert all(str(uuid.UUID(text)) == text for text in first)


def test_quote_ids_look_like_order_ids() -> None:
    """0x and 64 hex digits, one per arrival number."""
    counters = Counters(seed=5)
    assert re.fullmatch(r"0x[0-9a-f]{64}", counters.quote_id(1))
    assert counters.quote_id(1) != counters.quote_id(2)


def test_account_events_are_numbered_without_a_gap() -> None:
    """Every account event has the next number, over steps and kinds; a market print of it has the same one."""
    world = World()
    world.account("alice", "100", "100")
    numbers: list[int] = []

    def note() -> None:
        for event in world.events("account"):
            assert isinstance(event, OrderPlaced | OrderMatched | OrderCanceled | TradeMade | TradeSettled)
            numbers.append(event.account_seq)

    assert isinstance(world.submit("alice", "a", "BUY", YES, "5", "0.50"), OrderAnswer)
    note()
    world.submit("alice", "b", "SELL", YES, "5", "0.50")
    note()
    made = [event for event in world.events() if isinstance(event, TradeMade)]
    assert made[0] == made[1]
    world.submit("alice", "c", "BUY", YES, "5", "0.50")
    note()
    world.cancel("alice", "c")
    note()
    world.pass_time(2)
    note()
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == 8


def test_steps_are_numbered_and_close_the_market_stream() -> None:
    """A step that shows the market nothing has no number."""
    world = World()
    world.account("alice", "100")
    closes = []
    for order_id in ("a", "b"):
        world.submit("alice", order_id, "BUY", YES, "5", "0.50")
        closes.append(world.events("market")[-1])
        world.submit("alice", order_id + "x", "BUY", YES, "5", "0.50", tif="FAK")
        assert world.events("market") == []
    assert closes == [StepCompleted(2, world.wall_ns), StepCompleted(3, world.wall_ns)]
