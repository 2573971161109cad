"""What the Data API says a wallet holds (protocol section 8.2). Pure.

In: pages of `/v2/positions`, or the bare array of the older `/positions`. Out: shares per token in micros and the next
cursor. Sizes are numbers there, on-chain, and lag trades by seconds; digits beyond the sixth decimal are an indexer's
dust and are rounded half to even, which is the only place where a venue's number is not taken exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from common.errors import Refusal
from common.fixed import MICROS_MAX
from common.reasons import Reason
from common.venues.polymarket.wire import Members, decode_json, need_text, read_objects, read_text


class HeldToken(NamedTuple):
    token_id: str
    size: int


class HeldPage(NamedTuple):
    held: tuple[HeldToken, ...]
    next_cursor: str
    """ "" after the last page."""


def parse_holdings(raw: bytes | str) -> HeldPage:
    """One page of either version. Raises Refusal for a page that cannot be trusted to be whole."""
    value = decode_json(raw)
    if isinstance(value, list):
        rows = read_objects({"positions": value}, "positions")
        return HeldPage(tuple(HeldToken(need_text(row, "asset"), _shares(row, "size")) for row in rows), "")
    if not isinstance(value, Mapping) or "data" not in value:
        raise Refusal(Reason.BAD_REQUEST, "not a page of positions", "data")
    rows = read_objects(value, "data")
    pagination = value.get("pagination")
    if not isinstance(pagination, Mapping):
        raise Refusal(Reason.BAD_REQUEST, "a page of positions without pagination", "pagination")
    cursor = read_text(pagination, "next_cursor")
    if bool(pagination.get("has_more")) != bool(cursor):
        raise Refusal(Reason.BAD_REQUEST, "has_more and next_cursor disagree", "pagination")
    return HeldPage(tuple(HeldToken(need_text(row, "token_id"), _shares(row, "current_size")) for row in rows), cursor)


def _shares(row: Members, name: str) -> int:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise Refusal(Reason.BAD_NUMBER, f"{name} is not a number", name)
    try:
        micros = int((Decimal(value) * 1_000_000).to_integral_value(ROUND_HALF_EVEN))
    except (ArithmeticError, ValueError):  # every signal of decimal is an ArithmeticError
        raise Refusal(Reason.BAD_NUMBER, f"{str(value)[:40]!r} is not a number", name) from None
    if not 0 <= micros <= MICROS_MAX:
        raise Refusal(Reason.BAD_NUMBER, f"{name} {str(value)[:40]} is out of range", name)
    return micros
