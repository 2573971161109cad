"""Discovery as the Gamma service shows it (protocol section 8.1): markets and events with filters and pages. Pure.

In: book replicas and query parameters. Out: JSON members. Markets quoted on both sides come first, then the order of
listing. Each market is its own event. Filters this venue has no data for are ignored, as Gamma ignores unknown ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from common.errors import Refusal
from common.fixed import format_micros
from common.venues.polymarket.wire import decode_cursor, encode_cursor, encode_json, number
from services.polymarket_sim.books import BookReplica, market_id_of
from services.polymarket_sim.catalog import base_fee, iso_time, spread
from services.polymarket_sim.denied import Denied

PAGE_DEFAULT: Final = 20
PAGE_MAX: Final = 100
OFFSET_MAX: Final = 2000

Query = Mapping[str, Sequence[str]]
"""Every value given for a name; "a,b" counts as two."""


def market_object(replica: BookReplica, *, with_event: bool = True) -> dict[str, object]:
    market = replica.market
    bid, ask = replica.best(0)
    last = replica.last_trade(0)
    gap = spread(replica, 0)
    prices = [format_micros(replica.display_price(index)) for index in (0, 1)]
    members: dict[str, object] = {
        "id": market_id_of(market.condition_id),
        "version": "v1",
        "conditionId": market.condition_id,
        "questionID": market.condition_id,
        "slug": market.slug,
        "question": market.question,
        "description": market.description,
        "category": market.category,
        "outcomes": _as_text(market.outcomes),
        "outcomePrices": _as_text(prices),
        "clobTokenIds": _as_text(market.token_ids),
        "active": True,
        "closed": False,
        "archived": False,
        "acceptingOrders": market.accepting,
        "enableOrderBook": True,
        "ready": True,
        "restricted": False,
        "orderPriceMinTickSize": number(market.tick),
        "orderMinSize": number(market.min_size),
        "negRisk": market.neg_risk,
        "negRiskOther": False,
        "startDate": iso_time(market.start_ns),
        "endDate": iso_time(market.end_ns),
        "secondsDelay": 0,
        "feesEnabled": bool(market.fee_rate),
        "makerBaseFee": base_fee(replica),
        "takerBaseFee": base_fee(replica),
    }
    if market.fee_rate:
        members["feeSchedule"] = {
            "exponent": market.fee_exponent,
            "rate": number(market.fee_rate),
            "takerOnly": True,
            "rebateRate": 0,
        }
    for name, value in (("bestBid", bid), ("bestAsk", ask), ("spread", gap), ("lastTradePrice", last and last[0])):
        if value is not None:
            members[name] = number(value)
    if with_event:
        members["events"] = [event_reference(replica)]
    return members


def event_reference(replica: BookReplica) -> dict[str, object]:
    market = replica.market
    return {"id": market_id_of(market.condition_id), "slug": market.slug, "title": market.question}


def event_object(replica: BookReplica) -> dict[str, object]:
    market = replica.market
    return {
        **event_reference(replica),
        "version": "v1",
        "ticker": market.slug,
        "description": market.description,
        "category": market.category,
        "startDate": iso_time(market.start_ns),
        "endDate": iso_time(market.end_ns),
        "active": True,
        "closed": False,
        "archived": False,
        "restricted": False,
        "enableOrderBook": True,
        "negRisk": market.neg_risk,
        "markets": [market_object(replica, with_event=False)],
    }


def listed(replicas: Iterable[BookReplica], query: Query) -> list[BookReplica]:
    """The markets a query asks for, two-sided first."""
    found = [replica for replica in replicas if _matches(replica, query)]
    return sorted(found, key=lambda replica: not replica.is_two_sided)


def found_by(replicas: Iterable[BookReplica], *, slug: str = "", market_id: str = "") -> BookReplica:
    """One market (or its event). Denied 404 when there is none."""
    for replica in replicas:
        market = replica.market
        if (slug and market.slug == slug) or (market_id and market_id_of(market.condition_id) == market_id):
            return replica
    raise Denied(404, "not found", type="not found error")


def searched(replicas: Iterable[BookReplica], text: str) -> list[BookReplica]:
    """Markets whose question or slug holds every word."""
    words = text.lower().split()
    found = [r for r in replicas if all(word in f"{r.market.question} {r.market.slug}".lower() for word in words)]
    return sorted(found, key=lambda replica: not replica.is_two_sided)


def keyset_page(found: Sequence[BookReplica], query: Query) -> tuple[list[BookReplica], str | None]:
    """One page and the cursor of the next; `offset` is not part of this kind of paging."""
    if "offset" in query:
        raise Denied(422, "offset is not supported: use after_cursor")
    start, size = cursor_offset(_one(query, "after_cursor")), _size(query)
    following = start + size
    return list(found[start:following]), encode_cursor(following) if following < len(found) else None


def offset_page(found: Sequence[BookReplica], query: Query) -> list[BookReplica]:
    start = _whole(_one(query, "offset"), "offset", 0)
    if start > OFFSET_MAX:
        raise Denied(422, f"offset must not be above {OFFSET_MAX}")
    return list(found[start : start + _size(query)])


def cursor_offset(cursor: str) -> int:
    """Denied 422 for a cursor we never gave."""
    try:
        offset = decode_cursor(cursor)
    except Refusal as refusal:
        raise Denied(422, refusal.message) from None
    return max(offset, 0)


def _size(query: Query) -> int:
    return min(max(_whole(_one(query, "limit"), "limit", PAGE_DEFAULT), 1), PAGE_MAX)


def _matches(replica: BookReplica, query: Query) -> bool:
    market = replica.market
    wanted: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("condition_ids", (market.condition_id,)),
        ("clob_token_ids", market.token_ids),
        ("slug", (market.slug,)),
        ("id", (market_id_of(market.condition_id),)),
        ("version", ("v1",)),
    )
    if any(query.get(name) and not set(query[name]).intersection(values) for name, values in wanted):
        return False
    return _one(query, "closed") != "true" and _one(query, "archived") != "true" and _one(query, "active") != "false"


def _one(query: Query, name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""


def _whole(text: str, name: str, default: int) -> int:
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise Denied(422, f"{name} is not a whole number")
    return int(text)


def _as_text(values: Sequence[str]) -> str:
    """A list as Gamma writes it: JSON inside a text."""
    return encode_json(list(values)).decode()
