"""What is remembered of orders at a venue that wants the symbol with every id and has keys of its own. Pure.

In: orders as they are placed and seen. Out: the symbol of an id of ours, and our id for the venue's own key. Bounded:
the longest unused are forgotten, which costs a look-up and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeVar

NAMES_MAX: Final = 100_000
K = TypeVar("K")


class OrderNames:
    def __init__(self, limit: int = NAMES_MAX) -> None:
        self._limit = limit
        self._symbols: OrderedDict[str, str] = OrderedDict()
        self._ids: OrderedDict[tuple[str, str], str] = OrderedDict()

    def learn(self, venue_order_id: str, symbol: str, venue_key: str = "") -> None:
        _put(self._symbols, venue_order_id, symbol, self._limit)
        if venue_key:
            _put(self._ids, (symbol, venue_key), venue_order_id, self._limit)

    def symbol_of(self, venue_order_id: str) -> str:
        """ "" when it is not known."""
        return self._symbols.get(venue_order_id, "")

    def id_of(self, symbol: str, venue_key: str) -> str:
        """Our id of an order the venue names by a key of its own; "" when it is not known."""
        return self._ids.get((symbol, venue_key), "")


def _put(known: OrderedDict[K, str], key: K, value: str, limit: int) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > limit:
        known.popitem(last=False)
