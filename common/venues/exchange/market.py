"""The exchange's books as its two tokens see them. Pure.

The exchange states levels once, in the terms of outcome 0: a bid for the first token at p is an offer of the second
at 1 - p, and the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.messages import Level
from common.types import ONE

Sides = tuple[list[Level], list[Level]]
"""(bids, asks) of one token."""


def both_tokens(bids: Iterable[Level], asks: Iterable[Level]) -> tuple[Sides, Sides]:
    """Levels in outcome 0 terms for the first and for the second token."""
    first = (list(bids), list(asks))
    return first, (_mirrored(first[1]), _mirrored(first[0]))


def on_grid(levels: Iterable[Level], tick: int) -> list[Level]:
    """The levels a new tick leaves: orders off the new grid are cancelled when it comes."""
    return [(price, size) for price, size in levels if price % tick == 0 and tick <= price <= ONE - tick]


def _mirrored(levels: Iterable[Level]) -> list[Level]:
    return [(ONE - price, size) for price, size in levels]
