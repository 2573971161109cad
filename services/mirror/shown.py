"""What the exchange shows of one market, and how much of it is ours: so also whether others stand there. Pure.

In: the exchange's books, level changes, trades, and the ladders it acknowledged. Out: our own sizes (None: not known,
a ladder makes them known), and the best price of anybody else's order. It decides nothing.
"""

from __future__ import annotations

from typing import TypeAlias

from common.messages import BookState, LevelsChanged
from common.types import Side
from services.mirror.window import ANYBODY, NOBODY, rank_of

Sizes: TypeAlias = dict[Side, dict[int, int]]


class Shown:
    """One market's book in outcome 0 terms. `own` and `totals` are None while unknown, `asked` while no ladder is
    under way: the exchange shows `own` or, already, `asked`."""

    def __init__(self) -> None:
        self.own: Sizes | None = None
        self.asked: Sizes | None = None
        self.totals: Sizes | None = None

    def forget(self) -> None:
        """Something was missed; the ladder under way may be older than that."""
        self.own = self.asked = self.totals = None

    def ladder_sent(self, sizes: Sizes) -> None:
        self.asked = sizes

    def ladder_taken(self) -> None:
        if self.asked is not None:
            self.own = {side: dict(levels) for side, levels in self.asked.items()}
        self.asked = None

    def ladder_refused(self) -> None:
        self.asked = None

    def on_opened(self) -> None:
        """The market is new: its book is empty."""
        self.totals = {Side.BUY: {}, Side.SELL: {}}

    def on_book(self, book: BookState) -> None:
        self.totals = {Side.BUY: dict(book.bids), Side.SELL: dict(book.asks)}

    def on_levels(self, changed: LevelsChanged) -> None:
        if self.totals is None:
            return
        for side, levels in ((Side.BUY, changed.bids), (Side.SELL, changed.asks)):
            for price, size in levels:
                if size:
                    self.totals[side][price] = size
                else:
                    self.totals[side].pop(price, None)

    def lost(self, side: Side, price: int, size: int) -> int:
        """So much of ours traded at this price; returns how much of it we knew of."""
        if self.own is None:
            return 0
        before = self.own[side].get(price, 0)
        left = max(0, before - size)
        if left:
            self.own[side][price] = left
        else:
            self.own[side].pop(price, None)
        return before - left

    def local_rank(self, side: Side) -> int:
        """The rank of the best order that is not ours; NOBODY when there is none. In doubt there is one."""
        if self.own is None or self.totals is None:
            return ANYBODY
        own, asked = self.own[side], (self.asked or self.own)[side]
        ranks = (
            rank_of(side, price)
            for price, size in self.totals[side].items()
            if size > min(own.get(price, 0), asked.get(price, 0))
        )
        return max(ranks, default=NOBODY)

    def local_ranks(self) -> dict[Side, int]:
        return {side: self.local_rank(side) for side in (Side.BUY, Side.SELL)}

    def best_first(self, side: Side) -> list[int]:
        """The prices of our own levels."""
        return sorted(self.own[side], reverse=side is Side.BUY) if self.own is not None else []
