"""Finding the markets: Gamma names them, the CLOB says how they trade. One round of reads, no state.

In: two HTTP clients, what is known, and a limit. Out: Markets, and what could not be read. Gamma lags behind the CLOB,
so tick, minimum size, fees and acceptance come from /clob-markets; a market the CLOB does not know (yet) is left for
later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from common.errors import Refusal
from common.http import HttpClient, HttpFailure, HttpReply
from common.instruments import Market, check_market
from common.reasons import Reason
from common.venues.polymarket.gamma import PAGE_MAX, GammaMarket, GammaPage, parse_gamma_page
from common.venues.polymarket.wire import CompactMarket, parse_compact_market

VENUE = "polymarket"
AT_ONCE = 8
PAGES_MAX = 200


class Found(NamedTuple):
    """`trouble` is "" for a round in which everything could be read."""

    markets: list[Market]
    trouble: str = ""


async def discover(gamma: HttpClient, clob: HttpClient, known: Sequence[Market], markets_max: int) -> Found:
    """Read the open markets, the busiest first, at most `markets_max`, and the `known` ones that are not among them."""
    try:
        listed = await _listed(gamma, markets_max)
    except Refusal as refusal:
        return Found([], f"Gamma: {refusal.message}")
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(slug: str, condition_id: str, use: Callable[[HttpReply | HttpFailure], Market]) -> Market | str:
        async with gate:
            reply = await clob.request("GET", f"/clob-markets/{condition_id}")
        try:
            return use(reply)
        except Refusal as refusal:
            return f"{slug}: {refusal.message}"

    named = {market.condition_id for market in listed}
    asks = [ask(m.slug, m.condition_id, partial(_first_seen, m)) for m in listed]
    asks += [ask(m.slug, m.condition_id, partial(_seen_again, m)) for m in known if m.condition_id not in named]
    outcomes = await asyncio.gather(*asks)
    troubles = [outcome for outcome in outcomes if isinstance(outcome, str)]
    return Found([outcome for outcome in outcomes if isinstance(outcome, Market)], "; ".join(troubles[:3]))


def _first_seen(listed: GammaMarket, reply: HttpReply | HttpFailure) -> Market:
    return market_of(listed, parse_compact_market(_body(reply)))


def _seen_again(known: Market, reply: HttpReply | HttpFailure) -> Market:
    """A known market Gamma does not name (any more): closed, or just not among the busiest."""
    if isinstance(reply, HttpReply) and reply.status == 404:
        return msgspec.structs.replace(known, accepting=False)
    compact = parse_compact_market(_body(reply))
    return msgspec.structs.replace(
        known, tick=compact.tick_size, min_size=compact.min_order_size, accepting=compact.accepting_orders
    )


async def _listed(gamma: HttpClient, markets_max: int) -> list[GammaMarket]:
    listed: dict[str, GammaMarket] = {}
    cursor = ""
    for _ in range(PAGES_MAX):
        page = await _page(gamma, cursor)
        for market in page.markets:
            if market.is_tradable:
                listed.setdefault(market.condition_id, market)
        if len(listed) >= markets_max or not page.next_cursor or page.next_cursor == cursor:
            break
        cursor = page.next_cursor
    return list(listed.values())[:markets_max]


async def _page(gamma: HttpClient, cursor: str) -> GammaPage:
    query = [("limit", str(PAGE_MAX)), ("active", "true"), ("closed", "false")]
    query += [("order", "volume24hr"), ("ascending", "false")]
    if cursor:
        query.append(("after_cursor", cursor))
    return parse_gamma_page(_body(await gamma.request("GET", "/markets/keyset", query=query)))


def _body(reply: HttpReply | HttpFailure) -> bytes:
    if isinstance(reply, HttpFailure):
        raise Refusal(Reason.VENUE_UNAVAILABLE, f"{reply.kind.value}: {reply.text}")
    if reply.status != 200:
        raise Refusal(Reason.VENUE_UNAVAILABLE, f"HTTP {reply.status}")
    return reply.body


def market_of(listed: GammaMarket, compact: CompactMarket) -> Market:
    """One Market of what both services say. Raises Refusal when they contradict each other or nobody could trade it."""
    if compact.token_ids != listed.token_ids:
        raise Refusal(Reason.BAD_REQUEST, "Gamma and the CLOB name different tokens", "token_ids")
    first, second = listed.token_ids
    market = Market(
        venue=VENUE,
        condition_id=listed.condition_id,
        slug=listed.slug,
        question=listed.question,
        outcomes=(listed.outcomes[0], listed.outcomes[1]),
        token_ids=(first, second),
        tick=compact.tick_size,
        min_size=compact.min_order_size,
        neg_risk=compact.neg_risk,
        fee_rate=compact.fee_rate,
        fee_exponent=compact.fee_exponent,
        accepting=compact.accepting_orders,
        start_ns=listed.start_ns,
        end_ns=listed.end_ns,
        category=listed.category,
        description=listed.description,
    )
    check_market(market)
    return market
