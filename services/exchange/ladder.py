"""The L3 book of one market in outcome 0 terms: price levels with FIFO queues, O(1) cancel, changed totals.

In: orders to add, fill, resize and remove. Out: levels best first and what changed since last asked. It keeps
price-time order and totals; it never decides who may trade with whom and never touches money.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from common.messages import Level as Total
from common.types import ONE, Side, TimeInForce

LIVE = "LIVE"
MATCHED = "MATCHED"
CANCELED = "CANCELED"
EXPIRED = "EXPIRED"
KILLED = "KILLED"


class Order(msgspec.Struct, array_like=True, gc=False):
    """One order, in its own token's terms. `base` is how much was filled before it began to rest."""

    sequence: int
    venue_order_id: str
    account: str
    owner: str
    condition_id: str
    outcome: int
    side: Side
    price: int
    size: int
    tif: TimeInForce
    post_only: bool
    expire_ns: int
    expiration: str
    created_ns: int
    updated_ns: int
    filled: int = 0
    base: int = 0
    status: str = LIVE
    reason: str = ""
    quote: bool = False
    trade_ids: list[str] = []

    @property
    def remaining(self) -> int:
        return self.size - self.filled

    @property
    def resting(self) -> bool:
        return self.status == LIVE

    @property
    def book_side(self) -> Side:
        """BUY NO at q stands in the book as SELL YES at 1 - q."""
        return self.side if self.outcome == 0 else self.side.opposite

    @property
    def book_price(self) -> int:
        return self.price if self.outcome == 0 else ONE - self.price


class Level:
    """All resting orders of one price, oldest first, keyed by arrival number."""

    __slots__ = ("price", "queue", "total")

    def __init__(self, price: int) -> None:
        self.price = price
        self.total = 0
        self.queue: OrderedDict[int, Order] = OrderedDict()


class Half:
    """One side of the book. `ranks` ascend towards the best price: a bid ranks by its price, an ask by its negative."""

    __slots__ = ("levels", "ranks", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.levels: dict[int, Level] = {}
        self.ranks: list[int] = []

    def best(self) -> int:
        return self.ranks[-1] * self.sign if self.ranks else 0

    def open(self, price: int) -> Level:
        level = self.levels.get(price)
        if level is None:
            level = self.levels[price] = Level(price)
            insort(self.ranks, price * self.sign)
        return level

    def close(self, price: int) -> None:
        del self.levels[price]
        del self.ranks[bisect_left(self.ranks, price * self.sign)]

    def __iter__(self) -> Iterator[Level]:
        return (self.levels[rank * self.sign] for rank in reversed(self.ranks))


class Ladder:
    """Both sides of one book."""

    def __init__(self) -> None:
        self._halves = {Side.BUY: Half(1), Side.SELL: Half(-1)}
        self._before: dict[tuple[Side, int], int] = {}

    def add(self, order: Order) -> None:
        level = self._touch(order.book_side, order.book_price)
        level.queue[order.sequence] = order
        level.total += order.remaining

    def remove(self, order: Order) -> None:
        """Take a resting order out of its queue, whatever its place in it."""
        level = self._touch(order.book_side, order.book_price)
        del level.queue[order.sequence]
        level.total -= order.remaining
        self._close_if_empty(order, level)

    def fill(self, order: Order, quantity: int) -> None:
        """`quantity` of a resting order was matched; a full order leaves the book."""
        assert 0 < quantity <= order.remaining, "an order cannot be filled beyond its size"
        level = self._touch(order.book_side, order.book_price)
        order.filled += quantity
        level.total -= quantity
        if not order.remaining:
            del level.queue[order.sequence]
            self._close_if_empty(order, level)

    def resize(self, order: Order, change: int) -> None:
        """Change a resting order's size in place; the caller answers for its priority."""
        assert order.remaining + change > 0, "a resting order cannot shrink to nothing"
        order.size += change
        self._touch(order.book_side, order.book_price).total += change

    def best(self, side: Side) -> int:
        """The best price of a side; 0 when it is empty."""
        return self._halves[side].best()

    def last_in_queue(self, side: Side, price: int) -> Order | None:
        level = self._halves[side].levels.get(price)
        return next(reversed(level.queue.values())) if level else None

    def reachable(self, side: Side, limit: int) -> Iterator[Level]:
        """Levels an order of `side` with this limit would meet, best first."""
        half = self._halves[side.opposite]
        bound = limit * half.sign
        for rank in reversed(half.ranks):
            if rank < bound:
                return
            yield half.levels[rank * half.sign]

    def totals(self, side: Side) -> list[Total]:
        """(price, size) of every level, best first."""
        return [(level.price, level.total) for level in self._halves[side]]

    def orders(self) -> Iterator[Order]:
        for side in (Side.BUY, Side.SELL):
            for level in self._halves[side]:
                yield from level.queue.values()

    def take_changes(self) -> tuple[list[Total], list[Total]]:
        """Levels whose total differs from the last call's, with their new totals: (bids, asks), best first."""
        changed: tuple[list[Total], list[Total]] = ([], [])
        for (side, price), before in self._before.items():
            level = self._halves[side].levels.get(price)
            total = level.total if level else 0
            if total != before:
                changed[side is Side.SELL].append((price, total))
        self._before.clear()
        changed[0].sort(reverse=True)
        changed[1].sort()
        return changed

    def _touch(self, side: Side, price: int) -> Level:
        level = self._halves[side].open(price)
        if (side, price) not in self._before:
            self._before[side, price] = level.total
        return level

    def _close_if_empty(self, order: Order, level: Level) -> None:
        if not level.queue:
            assert level.total == 0, "an empty level cannot have a total"
            self._halves[order.book_side].close(level.price)
