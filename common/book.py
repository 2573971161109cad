"""One token's order book as price levels (L2). Pure.

In: whole books, and new totals of single levels (0 removes one). Out: the best prices, the levels best first, whether
the book is crossed, what changed against another book, and a hash of the state. Sizes are totals, never differences;
it does not judge prices or times.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable

import msgspec

from common.messages import Level
from common.types import Side

_encode = msgspec.msgpack.Encoder().encode


class Ladder:
    """One side: size by price, and the prices ascending. Whoever changes one changes both (`put`)."""

    __slots__ = ("prices", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.prices: list[int] = []

    def replace(self, levels: Iterable[Level]) -> None:
        self.sizes = _totals(levels)
        self.prices = sorted(self.sizes)

    def put(self, price: int, size: int) -> None:
        known = price in self.sizes
        if size > 0:
            self.sizes[price] = size
            if not known:
                insort(self.prices, price)
        elif known:
            del self.sizes[price]
            del self.prices[bisect_left(self.prices, price)]

    def changes_to(self, levels: Iterable[Level]) -> list[Level]:
        wanted = _totals(levels)
        changed = [(price, size) for price, size in wanted.items() if self.sizes.get(price) != size]
        return changed + [(price, 0) for price in self.prices if price not in wanted]


def _totals(levels: Iterable[Level]) -> dict[int, int]:
    return {price: size for price, size in dict(levels).items() if size > 0}


class Book:
    """The levels of one token. Several levels of one price in a snapshot count once, the last one."""

    __slots__ = ("ask_side", "bid_side")

    def __init__(self) -> None:
        self.bid_side = Ladder()
        self.ask_side = Ladder()

    def replace(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Everything known before is void; the order of the levels does not matter."""
        self.bid_side.replace(bids)
        self.ask_side.replace(asks)

    def apply(self, side: Side, price: int, size: int) -> None:
        """The new total at one price; 0 or less removes the level."""
        (self.bid_side if side is Side.BUY else self.ask_side).put(price, size)

    def apply_all(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        for price, size in bids:
            self.bid_side.put(price, size)
        for price, size in asks:
            self.ask_side.put(price, size)

    def best_bid(self) -> Level | None:
        """(price, size) of the highest bid."""
        if not self.bid_side.prices:
            return None
        price = self.bid_side.prices[-1]
        return price, self.bid_side.sizes[price]

    def best_ask(self) -> Level | None:
        """(price, size) of the lowest ask."""
        if not self.ask_side.prices:
            return None
        price = self.ask_side.prices[0]
        return price, self.ask_side.sizes[price]

    @property
    def best_prices(self) -> tuple[int, int]:
        """Prices of the best bid and ask; 0 where that side is empty."""
        bids, asks = self.bid_side.prices, self.ask_side.prices
        return (bids[-1] if bids else 0), (asks[0] if asks else 0)

    @property
    def is_crossed(self) -> bool:
        """A bid at or above an ask: no venue shows that, so something was missed."""
        bid, ask = self.best_prices
        return bool(bid and ask and bid >= ask)

    @property
    def is_two_sided(self) -> bool:
        return bool(self.bid_side.prices and self.ask_side.prices)

    def bids(self, limit: int | None = None) -> list[Level]:
        """Best (highest) first."""
        prices = self.bid_side.prices[::-1]
        return [(price, self.bid_side.sizes[price]) for price in prices[:limit]]

    def asks(self, limit: int | None = None) -> list[Level]:
        """Best (lowest) first."""
        return [(price, self.ask_side.sizes[price]) for price in self.ask_side.prices[:limit]]

    def changes_to(self, bids: Iterable[Level], asks: Iterable[Level]) -> tuple[list[Level], list[Level]]:
        """The level totals that turn this book into the given one; nothing is changed."""
        return self.bid_side.changes_to(bids), self.ask_side.changes_to(asks)

    def state_hash(self) -> str:
        """Equal books have equal hashes, however they came about."""
        return hashlib.blake2b(_encode((self.bids(), self.asks())), digest_size=16).hexdigest()
