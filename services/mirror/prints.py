"""Public trades of both tokens as trades of one book, each once. Pure.

In: TradePrints of either token. Out: in outcome 0 terms, which side of the book was consumed, where and how much. A
trade of one outcome is a trade of the other one at the complement; a venue may print it under either token or under
both. Equal prints of one moment under both are one trade, so that nothing trades twice (ADR 17).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from common.messages import TradePrint
from common.types import ONE, Side

REMEMBERED_MAX = 1_000
SIZE_MAX = 10**15


class Hit(NamedTuple):
    """`size` that stood on `side` of the book at `price` was traded away, at the venue's time."""

    side: Side
    price: int
    size: int
    venue_ns: int


class PrintsOnce:
    """The prints of one market."""

    def __init__(self, token_ids: tuple[str, ...]) -> None:
        self._token_ids = token_ids
        self._counts: OrderedDict[Hit, list[int]] = OrderedDict()

    def take(self, print_: TradePrint) -> Hit | None:
        """The trade, or None when it was printed under the other token already, or cannot be one."""
        if print_.token_id not in self._token_ids or not 0 < print_.price < ONE or not 0 < print_.size <= SIZE_MAX:
            return None
        outcome = self._token_ids.index(print_.token_id)
        if outcome == 0:
            hit = Hit(print_.side.opposite, print_.price, print_.size, print_.venue_ns)
        else:
            hit = Hit(print_.side, ONE - print_.price, print_.size, print_.venue_ns)
        counts = self._counts.setdefault(hit, [0, 0])
        while len(self._counts) > REMEMBERED_MAX:
            self._counts.popitem(last=False)
        seen = max(counts)
        counts[outcome] += 1
        return hit if counts[outcome] > seen else None
