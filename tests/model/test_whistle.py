"""The exchange against the naive twin: any stream of commands gives the same answers, trades and books."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.messages import CancelAnswer, OrderAnswer, QuoteLadder, Refused, SetTick, SubmitOrder, TradeMade
from common.types import ONE, Side, TimeInForce
from services.exchange.audit import broken_rules
from services.exchange.core import ExchangeCore
from tests.model.reference_book import Leg, ReferenceBook, Resting
from tests.services.exchange.world import NO, SECOND, START, YES, World

ACCOUNTS = ("alice", "bob", "mm")
TICKS = (100_000, 10_000, 1_000)
UNIT = 1_000_000

Draw = Callable[[int], int]
"""A number from 0 up to, not including, the argument."""


class Pair:
    """Both exchanges side by side; every move is made on both and compared."""

    def __init__(self, *, audit: bool, fee_rate: int = 70_000) -> None:
        self.world = World(audit=audit, fee_rate=fee_rate)
        self.twin = ReferenceBook(10_000)
        self.orders: list[tuple[str, str]] = []
        for name in ACCOUNTS:
            self.world.account(name, "1000000000", "100000000", "100000000", liquidity=name == "mm")

    def play(self, draw: Draw) -> None:
        """One random move. Prices are few, so orders meet."""
        kind = draw(20)
        if kind < 12:
            self.submit(draw)
        elif kind < 15:
            self.cancel(draw)
        elif kind < 18:
            self.quote(draw)
        elif kind < 19:
            self.set_tick(TICKS[draw(3)])
        else:
            self.pass_time(draw(40))
        self.compare_books()

    def submit(self, draw: Draw) -> None:
        tif = ("GTC", "GTC", "GTD", "FAK", "FOK")[draw(5)]
        account, side, no = ACCOUNTS[draw(3)], (Side.BUY, Side.SELL)[draw(2)], draw(2) == 1
        steps = max(1, ONE // self.twin.tick - 1)
        price = self.twin.tick * (1 + min(steps - 1, max(0, steps // 2 - 3 + draw(7))))
        size = (5 + draw(20)) * UNIT + (draw(1000) if draw(4) == 0 else 0)
        order_id = f"order-{draw(3000)}"
        post_only = tif in ("GTC", "GTD") and draw(6) == 0
        until = self.world.wall_ns + (1 + draw(30)) * SECOND if tif == "GTD" else 0
        token = NO if no else YES
        message = SubmitOrder(
            self.world.next_id(), account, order_id, token, side, price, size, TimeInForce(tif), post_only, until
        )
        is_bid, yes_price = (side is Side.BUY) is not no, ONE - price if no else price
        word, legs = self.twin.submit(Resting(order_id, account, is_bid, yes_price, size, no, until), tif, post_only)
        answer = self.world.send(message)
        assert isinstance(answer, OrderAnswer | Refused)
        assert (answer.status if isinstance(answer, OrderAnswer) else answer.code.value) == word
        self.compare_trades(legs)
        self.orders.append((account, order_id))

    def cancel(self, draw: Draw) -> None:
        if self.orders:
            account, order_id = self.orders[draw(len(self.orders))]
            answer = self.world.cancel(account, order_id)
            assert isinstance(answer, CancelAnswer)
            assert (answer.canceled == [order_id]) is self.twin.cancel(account, order_id)

    def quote(self, draw: Draw) -> None:
        steps, middle = ONE // self.twin.tick, ONE // self.twin.tick // 2 - 2 + draw(5)
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for _ in range(draw(8)):
            levels, away = (bids, -1 - draw(4)) if draw(2) else (asks, draw(4))
            if 0 < middle + away < steps:
                levels[(middle + away) * self.twin.tick] = (1 + draw(9)) * UNIT // 2 + draw(3)
        legs = self.twin.quote("mm", bids, asks)
        message = QuoteLadder(self.world.next_id(), "mm", "0xc0", list(bids.items()), list(asks.items()))
        answer = self.world.send(message)
        assert not isinstance(answer, Refused), answer
        self.compare_trades(legs)

    def set_tick(self, tick: int) -> None:
        self.twin.set_tick(tick)
        self.world.send(SetTick(self.world.next_id(), "0xc0", tick))

    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(seconds)
        self.twin.expire(self.world.wall_ns)

    def compare_trades(self, legs: list[Leg]) -> None:
        made = [event.trade for event in self.world.events("market") if isinstance(event, TradeMade)]
        shown = [
            (
                _named(trade.taker_order_id),
                _named(m.venue_order_id),
                m.size,
                m.price if m.token_id == YES else ONE - m.price,
            )
            for trade in made
            for m in trade.makers
        ]
        assert _joined(shown) == _joined(legs)
        for trade in made:
            assert trade.size == sum(maker.size for maker in trade.makers)

    def compare_books(self) -> None:
        levels: dict[tuple[bool, int], list[tuple[str, int]]] = {}
        for order in self.world.core.engine.router.condition("0xc0").ladder.orders():
            key = (order.book_side is Side.BUY, order.book_price)
            levels.setdefault(key, []).append((_named(order.venue_order_id), order.remaining))
        assert _sums(levels) == _sums(self.twin.book())


def _named(order_id: str) -> str:
    return "quote" if order_id.startswith("0x") else order_id


def _joined(legs: Iterable[Leg]) -> list[tuple[str, str, int, int]]:
    """Neighbouring quotes of one level count as one: who of them is filled first nobody can tell."""
    grouped = groupby(legs, key=lambda leg: (leg[0], leg[1], leg[3]))
    return [(taker, maker, price, sum(leg[2] for leg in group)) for (taker, maker, price), group in grouped]


def _sums(levels: dict[tuple[bool, int], list[tuple[str, int]]]) -> dict[tuple[bool, int], list[tuple[str, int]]]:
    return {
        key: [(name, sum(left for _, left in group)) for name, group in groupby(queue, key=lambda row: row[0])]
        for key, queue in levels.items()
    }


@pytest.mark.parametrize("seed", range(8))
def test_seeded_streams_agree(seed: int) -> None:
    """Long streams; every invariant is audited at the end of each hundred moves."""
    generator = random.Random(seed)
    pair = Pair(audit=False)
    for move in range(1, 801):
        pair.play(generator.randrange)
        if move % 100 == 0:
            assert broken_rules(pair.world.core.engine) == []


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_stream_agrees(data: st.DataObject) -> None:
    """Short streams that shrink to a readable failure; audited after every move."""
    pair = Pair(audit=True)
    for _ in range(data.draw(st.integers(1, 25))):
        pair.play(lambda below: data.draw(st.integers(0, below - 1)))


@pytest.mark.parametrize("seed", range(4))
def test_restart_anywhere_goes_on_the_same(seed: int) -> None:
    """A core loaded from a checkpoint in the middle of a stream gives the same effects and the same hash."""
    generator = random.Random(seed)
    pair = Pair(audit=False)
    for _ in range(150):
        pair.play(generator.randrange)
    restored = ExchangeCore()
    restored.load(pair.world.core.dump())
    assert restored.state_hash() == pair.world.core.state_hash()
    original = pair.world.core

    class Both:
        """Handles on both cores, demands equal effects."""

        engine = original.engine

        def handle(self, *inputs: Any) -> Any:
            effects = original.handle(*inputs)
            assert restored.handle(*inputs) == effects
            return effects

        def due_ns(self) -> int | None:
            assert restored.due_ns() == original.due_ns()
            return original.due_ns()

    pair.world.core = Both()  # type: ignore[assignment]
    for _ in range(150):
        pair.play(generator.randrange)
    assert restored.dump() == original.dump()
    assert original.engine.counters.wall_ns >= START
