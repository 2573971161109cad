"""Reads the orders of a place before anybody judges them: every entry with its id, or the refusal it already earns.

In: the body of POST /order or POST /orders. Out: postings. The id is the order's digest and needs only its market; so
an order can be counted and traced whatever becomes of it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from common.errors import Refusal
from common.instruments import Market
from common.venues.polymarket.orders import PostedOrder, order_id, parse_post_batch, parse_post_body
from common.venues.polymarket.wire import decode_json
from services.polymarket_sim.books import Books
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.endpoints import DELETE_ORDER, DELETE_ORDERS, POST_ORDER
from services.polymarket_sim.request_log import NamedOrder
from services.polymarket_sim.translate import BAD_PAYLOAD


class Posting(NamedTuple):
    """One posted order. Without a market it is for a token nobody knows, and its id cannot be told."""

    posted: PostedOrder
    market: Market | None
    order_id: str


class WholeBatch(Denied):
    """The refusal of a call, not of a leg."""


Entry: TypeAlias = Posting | Denied
"""A posting, or why it cannot be read."""


def read_place(endpoint: str, body: bytes, books: Books, chain_id: int) -> list[Entry]:
    """The entries of a place in order; one refusal for a batch that cannot be read as a whole."""
    if endpoint == POST_ORDER:
        return [_entry(body, books, chain_id)]
    try:
        entries = parse_post_batch(body)
    except Refusal as refusal:
        return [WholeBatch(400, refusal.message)]
    return [
        _entry(entry, books, chain_id) if isinstance(entry, dict) else Denied(400, BAD_PAYLOAD) for entry in entries
    ]


def named(entry: Entry) -> NamedOrder:
    """The order as the log of requests shows it."""
    if isinstance(entry, Denied):
        return NamedOrder("", "", False)
    return NamedOrder(entry.order_id, entry.posted.order_type.value, entry.posted.post_only)


def cancelled_ids(endpoint: str, body: bytes) -> list[str]:
    """The ids a cancel names, as far as they can be read."""
    try:
        value = decode_json(body) if endpoint in (DELETE_ORDER, DELETE_ORDERS) else []
    except Refusal:
        return []
    found = [value.get("orderID")] if isinstance(value, Mapping) else value
    return [row for row in found if isinstance(row, str)] if isinstance(found, list) else []


def _entry(raw: bytes | dict[str, object], books: Books, chain_id: int) -> Entry:
    try:
        posted = parse_post_body(raw)
    except Refusal as refusal:
        return Denied(400, refusal.message or BAD_PAYLOAD)
    found = books.token(str(posted.order.token_id))
    if found is None:
        return Posting(posted, None, "")
    market = found[0].market
    try:
        digest = order_id(posted.order, chain_id, market.neg_risk, posted.version)
    except Refusal:
        return Denied(400, BAD_PAYLOAD)
    return Posting(posted, market, digest)
