"""The live book of one market as the exchange should show it: what is there, less what local orders took. Pure.

In: versions of the live book, public trades, what local orders took, monotonic time. Out: the wanted size of every
level. A trade and the change of the book it caused come in either order: each waits a bounded time for the other, so
that no size leaves twice. It knows no queue, no account and no exchange.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from common.latest import TokenView
from common.messages import Level
from common.types import ONE, Side

WAITING_MAX = 1_000
"""Sizes that wait for their other half, per side; the oldest stop waiting first."""
NOBODY = -ONE
"""The rank of nobody's order: below every price's."""
ANYBODY = ONE
"""The rank when it is not known who is there: above every price's."""


def rank_of(side: Side, price: int) -> int:
    """Prices of one side by how soon they trade: the higher the sooner."""
    return price if side is Side.BUY else -price


class _Wait(NamedTuple):
    until_ns: int
    price: int
    size: int
    venue_ns: int


class Waiting:
    """Sizes by price, each until a deadline; the oldest are matched first."""

    def __init__(self) -> None:
        self._waits: deque[_Wait] = deque(maxlen=WAITING_MAX)

    def add(self, price: int, size: int, until_ns: int, venue_ns: int = 0) -> None:
        if size > 0:
            self._waits.append(_Wait(until_ns, price, size, venue_ns))

    def take(self, price: int, size: int, since_ns: int = 0) -> int:
        """How much of `size` was waiting at this price, not from before `since_ns` (venue); it waits no longer."""
        left = size
        kept: deque[_Wait] = deque(maxlen=WAITING_MAX)
        for wait in self._waits:
            taken = min(left, wait.size) if wait.price == price and wait.venue_ns >= since_ns else 0
            left -= taken
            if taken < wait.size:
                kept.append(wait._replace(size=wait.size - taken))
        self._waits = kept
        return size - left

    def at(self, price: int) -> int:
        return sum(wait.size for wait in self._waits if wait.price == price)

    def drop(self, side: Side, from_rank: int) -> None:
        """Forget everything at this rank or above."""
        self._keep(wait for wait in self._waits if rank_of(side, wait.price) < from_rank)

    def expire(self, now_ns: int) -> None:
        if self._waits and any(wait.until_ns <= now_ns for wait in self._waits):
            self._keep(wait for wait in self._waits if wait.until_ns > now_ns)

    def clear(self) -> None:
        self._waits.clear()

    def due_ns(self) -> int | None:
        return min((wait.until_ns for wait in self._waits), default=None)

    def __iter__(self) -> Iterator[_Wait]:
        return iter(self._waits)

    def _keep(self, waits: Iterable[_Wait]) -> None:
        self._waits = deque(waits, maxlen=WAITING_MAX)


class LiveSide:
    """One side. `levels` are the live ones, best first.

    `held` left the live book at its best price and may be a trade whose print has not come: it still stands here.
    `gone` may be one too, but no local order was there that it could have hit: it left at once. `early` was printed
    and still stands in the live book. `taken` was taken by local orders: it is not there again before the live level
    has shrunk below it, or has grown.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.levels: dict[int, int] = {}
        self.held = Waiting()
        self.gone = Waiting()
        self.early = Waiting()
        self.taken: dict[int, int] = {}

    def replace(self, levels: Iterable[Level]) -> None:
        """The book began anew: what happened in between is not known."""
        for waiting in (self.held, self.gone, self.early):
            waiting.clear()
        self.levels = dict(levels)
        self._cap_taken()

    def change(self, levels: Iterable[Level], local_rank: int, until_ns: int, venue_ns: int) -> None:
        """The next version of the same book. Nothing is held where no local order (the best one's rank) has a place in
        the queue that could be wrong."""
        after = dict(levels)
        can_be_trade = True
        for price, before in self.levels.items():
            size = after.get(price, 0)
            if size < before:
                unexplained = before - size - self.early.take(price, before - size)
                if can_be_trade:
                    waiting = self.held if local_rank >= rank_of(self.side, price) else self.gone
                    waiting.add(price, unexplained, until_ns, venue_ns)
            elif size > before:
                self.held.take(price, size - before)
            can_be_trade = can_be_trade and size == 0  # a trade reaches a level only through all better ones
        self.levels = after
        self._cap_taken()

    def traded(self, price: int, size: int, until_ns: int, venue_ns: int) -> int:
        """A print: the size at this price that traded. Returns how much of it may have met local orders.

        What left in a version older than the trade did not leave by it.
        """
        size -= self.gone.take(price, size, venue_ns)
        rest = size - self.held.take(price, size)
        still_shown = self.levels.get(price, 0) - self.early.at(price)
        self.early.add(price, min(rest, still_shown), until_ns)
        self._cap_taken()
        return size

    def took(self, price: int, size: int) -> None:
        """A local order took so much of what we showed."""
        self.taken[price] = self.taken.get(price, 0) + size
        self._cap_taken()

    def reached(self, other_best: int) -> None:
        """The other side stands at this price: nothing at it or better is still there."""
        self.held.drop(self.side, rank_of(self.side, other_best))
        self._cap_taken()

    def expire(self, now_ns: int) -> None:
        for waiting in (self.held, self.gone, self.early):
            waiting.expire(now_ns)
        self._cap_taken()

    def due_ns(self) -> int | None:
        return min((due for due in (self.held.due_ns(), self.early.due_ns()) if due is not None), default=None)

    def wanted(self) -> dict[int, int]:
        """The sizes to show, by price."""
        sizes = dict(self.levels)
        for wait in self.held:
            sizes[wait.price] = sizes.get(wait.price, 0) + wait.size
        for wait in self.early:
            sizes[wait.price] = sizes.get(wait.price, 0) - wait.size
        for price, size in self.taken.items():
            sizes[price] = sizes.get(price, 0) - size
        return {price: size for price, size in sizes.items() if size > 0}

    def _cap_taken(self) -> None:
        """What is gone cannot be owed."""
        for price in list(self.taken):
            there = self.levels.get(price, 0) + self.held.at(price)
            self.taken[price] = min(self.taken[price], there)
            if not self.taken[price]:
                del self.taken[price]


class LiveBook:
    """Both sides, in outcome 0 terms."""

    def __init__(self) -> None:
        self._sides = {Side.BUY: LiveSide(Side.BUY), Side.SELL: LiveSide(Side.SELL)}

    def __getitem__(self, side: Side) -> LiveSide:
        return self._sides[side]

    def replace(self, view: TokenView) -> None:
        self._sides[Side.BUY].replace(view.bids)
        self._sides[Side.SELL].replace(view.asks)

    def change(self, view: TokenView, local_ranks: dict[Side, int], until_ns: int) -> None:
        """Both sides of the next version; `local_ranks` as in LiveSide.change."""
        for side, levels in ((Side.BUY, view.bids), (Side.SELL, view.asks)):
            self._sides[side].change(levels, local_ranks[side], until_ns, view.venue_ns)
        for side in (Side.BUY, Side.SELL):
            other_best = next(iter(self._sides[side.opposite].levels), None)
            if other_best is not None:
                self._sides[side].reached(other_best)

    def expire(self, now_ns: int) -> None:
        for one in self._sides.values():
            one.expire(now_ns)

    def due_ns(self) -> int | None:
        """When the next wait is over."""
        return min((due for one in self._sides.values() if (due := one.due_ns()) is not None), default=None)

    def wanted(self) -> dict[Side, dict[int, int]]:
        return {side: one.wanted() for side, one in self._sides.items()}
