"""A centralised exchange's order book as levels of ours. Pure.

In: the raw answer, whose prices and sizes are text (ccxt's own reading of a book makes floats of them). Out: levels,
best first. A level that cannot be read is a Refusal: half a book is none.
"""

from __future__ import annotations

from typing import NamedTuple

from common.errors import Refusal
from common.fixed import parse_micros
from common.messages import Level
from common.reasons import Reason


class Sides(NamedTuple):
    bids: list[Level]
    asks: list[Level]


def sides_of(raw: object) -> Sides:
    """Raises Refusal naming the side."""
    if not isinstance(raw, dict):
        raise Refusal(Reason.BAD_REQUEST, "the answer is not a book", "book")
    return Sides(_levels(raw.get("bids"), "bids"), _levels(raw.get("asks"), "asks"))


def _levels(rows: object, field: str) -> list[Level]:
    if not isinstance(rows, list):
        raise Refusal(Reason.BAD_REQUEST, f"the book has no {field}", field)
    return [_level(row, field) for row in rows]


def _level(row: object, field: str) -> Level:
    match row:
        case [str(price), str(size), *_]:
            level = parse_micros(price, field), parse_micros(size, field)
            if min(level) > 0:
                return level
    raise Refusal(Reason.BAD_NUMBER, f"a level cannot be read: {str(row)[:60]}", field)
