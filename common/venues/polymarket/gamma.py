"""Markets as Gamma, the venue's discovery service, lists them (protocol section 8.1). Pure.

In: one page of GET /markets/keyset (or a bare array). Out: GammaMarkets with exact numbers, and the next cursor.
Outcomes and token ids are texts that hold JSON, matched by index, never by word. A market that cannot be read is left
out and named; Gamma lags the CLOB, so tick, minimum and acceptance are only first values.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from common.errors import Refusal
from common.reasons import Reason
from common.venues.polymarket.wire import (
    Members,
    decode_json,
    need_text,
    read_flag,
    read_micros,
    read_objects,
    read_text,
    read_texts,
    read_time_ns,
)

PAGE_MAX = 100


class GammaMarket(msgspec.Struct, frozen=True):
    """One market as discovered. Times are 0 when Gamma does not say."""

    condition_id: str
    slug: str
    question: str
    outcomes: tuple[str, ...]
    token_ids: tuple[str, ...]
    active: bool = True
    closed: bool = False
    accepting: bool = True
    order_book: bool = True
    neg_risk: bool = False
    tick: int = 0
    min_size: int = 0
    start_ns: int = 0
    end_ns: int = 0
    category: str = ""
    description: str = ""
    placeholder: bool = False
    event_id: str = ""
    """The neg-risk group, else the event; "" when Gamma does not say."""

    @property
    def has_books(self) -> bool:
        """Two outcomes, each with an order book."""
        binary = len(self.outcomes) == len(self.token_ids) == 2 and self.token_ids[0] != self.token_ids[1]
        return binary and self.order_book

    @property
    def is_tradable(self) -> bool:
        """Two outcomes with an order book, open now, and not the placeholder of outcomes to be named later."""
        return self.has_books and self.active and not self.closed and self.accepting and not self.placeholder


class GammaPage(msgspec.Struct, frozen=True):
    """`next_cursor` "" ends the list; `unreadable` says what was wrong with the markets left out."""

    markets: tuple[GammaMarket, ...]
    next_cursor: str = ""
    unreadable: tuple[str, ...] = ()


class SearchPage(msgspec.Struct, frozen=True):
    """What /public-search found: the markets of its events, those that say they are closed left out."""

    condition_ids: tuple[str, ...]
    has_more: bool = False


def parse_search_page(raw: bytes | str) -> SearchPage:
    """Only ids are taken: the markets inside a search result need not be whole."""
    value = decode_json(raw)
    if not isinstance(value, Mapping) or "events" not in value:
        raise Refusal(Reason.BAD_REQUEST, "not a page of search results", "events")
    rows = [row for event in read_objects(value, "events") for row in read_objects(event, "markets")]
    found = [read_text(row, "conditionId") for row in rows if not read_flag(row, "closed")]
    pagination = value.get("pagination")
    has_more = isinstance(pagination, Mapping) and read_flag(pagination, "hasMore")
    return SearchPage(tuple(dict.fromkeys(filter(None, found))), has_more)


def parse_gamma_page(raw: bytes | str) -> GammaPage:
    value = decode_json(raw)
    if isinstance(value, list):
        value = {"markets": value}
    if not isinstance(value, Mapping) or "markets" not in value:
        raise Refusal(Reason.BAD_REQUEST, "not a page of markets", "markets")
    markets: list[GammaMarket] = []
    unreadable: list[str] = []
    for row in read_objects(value, "markets"):
        try:
            markets.append(parse_gamma_market(row))
        except Refusal as refusal:
            unreadable.append(f"{str(row.get('slug'))[:60]}: {refusal.message}")
    return GammaPage(tuple(markets), read_text(value, "next_cursor"), tuple(unreadable))


def parse_gamma_market(members: Members) -> GammaMarket:
    condition_id = need_text(members, "conditionId")
    if not (condition_id.isascii() and condition_id.isalnum()):
        raise Refusal(Reason.BAD_REQUEST, "conditionId is not an id", "conditionId")  # it becomes part of a path
    return GammaMarket(
        condition_id=condition_id,
        slug=need_text(members, "slug"),
        question=read_text(members, "question"),
        outcomes=_texts_in_text(members, "outcomes"),
        token_ids=_texts_in_text(members, "clobTokenIds"),
        active=read_flag(members, "active", True),
        closed=read_flag(members, "closed"),
        accepting=read_flag(members, "acceptingOrders", True),
        order_book=read_flag(members, "enableOrderBook", True),
        neg_risk=read_flag(members, "negRisk"),
        tick=read_micros(members, "orderPriceMinTickSize"),
        min_size=read_micros(members, "orderMinSize"),
        start_ns=read_time_ns(members, "eventStartTime") or read_time_ns(members, "startDate"),
        end_ns=read_time_ns(members, "endDate"),
        category=read_text(members, "category"),
        description=read_text(members, "description"),
        placeholder=read_flag(members, "negRiskOther"),
        event_id=_event_of(members),
    )


def _event_of(members: Members) -> str:
    group = read_text(members, "negRiskMarketID")
    if group:
        return group
    events = read_objects(members, "events")
    return read_text(events[0], "id") if events else ""


def _texts_in_text(members: Members, name: str) -> tuple[str, ...]:
    """A list of texts, plain or wrapped in one JSON text."""
    value = members.get(name)
    if isinstance(value, str):
        value = decode_json(value) if value else []
    return read_texts({name: value}, name)
