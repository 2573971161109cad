"""Discovery: filters, pages, order of listing and Gamma's way of writing lists."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from common.messages import BookState
from common.venues.polymarket.wire import encode_json
from services.polymarket_sim import gamma
from services.polymarket_sim.books import BookReplica
from services.polymarket_sim.catalog import compact_market, full_market, history, simplified_market
from services.polymarket_sim.denied import Denied
from tests.services.polymarket_sim.house import MARKET


def replica(number: int, *, quoted: bool = True, **changes: Any) -> BookReplica:
    market = msgspec.structs.replace(
        MARKET, condition_id=f"0x{number:064x}", slug=f"market-{number}", question=f"Will it be {number}?",
        token_ids=(str(2**250 + number), str(2**251 + number)), **changes,
    )  # fmt: skip
    made = BookReplica(market)
    asks = [(470_000, 1_000_000)] if quoted else []
    made.replace(BookState(market.condition_id, [(450_000, 1_000_000)], asks, market.tick, 440_000, "SELL", 10**18))
    return made


MARKETS = [replica(1, quoted=False), replica(2), replica(3, fee_rate=70_000, end_ns=1_790_000_000 * 10**9)]


def slugs(rows: list[BookReplica]) -> list[str]:
    return [row.market.slug for row in rows]


def test_two_sided_markets_come_first_then_the_order_of_listing() -> None:
    assert slugs(gamma.listed(MARKETS, {})) == ["market-2", "market-3", "market-1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"slug": ["market-1", "market-3"]}, ["market-3", "market-1"]),
        ({"condition_ids": [MARKETS[1].market.condition_id]}, ["market-2"]),
        ({"clob_token_ids": [MARKETS[2].market.token_ids[1]]}, ["market-3"]),
        ({"clob_token_ids": ["5"]}, []),
        ({"closed": ["true"]}, []),
        ({"archived": ["true"]}, []),
        ({"active": ["false"]}, []),
        ({"closed": ["false"], "active": ["true"]}, ["market-2", "market-3", "market-1"]),
        ({"version": ["v2"]}, []),
    ],
)
def test_filters(query: dict[str, list[str]], found: list[str]) -> None:
    assert slugs(gamma.listed(MARKETS, query)) == found


def test_keyset_pages_reach_every_market_once() -> None:
    rows = gamma.listed(MARKETS, {})
    seen: list[str] = []
    query: dict[str, list[str]] = {"limit": ["2"]}
    while True:
        page, cursor = gamma.keyset_page(rows, query)
        seen += slugs(page)
        if cursor is None:
            break
        query = {"limit": ["2"], "after_cursor": [cursor]}
    assert seen == slugs(rows)


@pytest.mark.parametrize("query", [{"offset": ["0"]}, {"after_cursor": ["%"]}, {"limit": ["many"]}])
def test_unusable_paging_is_refused(query: dict[str, list[str]]) -> None:
    with pytest.raises(Denied) as denied:
        gamma.keyset_page(MARKETS, query)
    assert denied.value.status == 422


def test_offset_pages_and_single_markets() -> None:
    assert slugs(gamma.offset_page(MARKETS, {"limit": ["1"], "offset": ["1"]})) == ["market-2"]
    found = gamma.found_by(MARKETS, slug="market-3")
    members = gamma.market_object(found)
    assert gamma.found_by(MARKETS, market_id=str(members["id"])) is found
    with pytest.raises(Denied):
        gamma.found_by(MARKETS, slug="market-9")


def test_search_needs_every_word() -> None:
    assert slugs(gamma.searched(MARKETS, "will BE 3")) == ["market-3"]
    assert gamma.searched(MARKETS, "will not") == []


def test_lists_are_json_in_texts_and_numbers_are_exact() -> None:
    members = json.loads(encode_json(gamma.market_object(MARKETS[2])))
    assert json.loads(members["outcomes"]) == ["Up", "Down"]
    assert json.loads(members["outcomePrices"]) == ["0.46", "0.54"]
    assert json.loads(members["clobTokenIds"]) == list(MARKETS[2].market.token_ids)
    assert (members["bestBid"], members["bestAsk"], members["spread"], members["lastTradePrice"]) == (
        0.45, 0.47, 0.02, 0.44,
    )  # fmt: skip
    assert members["feeSchedule"] == {"exponent": 1, "rate": 0.07, "takerOnly": True, "rebateRate": 0}
    assert members["endDate"] == "2026-09-21T14:13:20Z"
    one_sided = gamma.market_object(MARKETS[0])
    assert "bestAsk" not in one_sided
    assert "feeSchedule" not in one_sided


@pytest.mark.parametrize(
    ("tick", "text"),
    [(100_000, "0.1"), (10_000, "0.01"), (5_000, "0.005"), (2_500, "0.0025"), (1_000, "0.001"), (100, "0.0001")],
)
def test_ticks_are_json_numbers_in_their_canonical_spelling(tick: int, text: str) -> None:
    row = replica(5, tick=tick)
    assert f'"mts":{text},'.encode() in encode_json(compact_market(row))
    assert f'"minimum_tick_size":{text},'.encode() in encode_json(full_market(row))
    assert f'"orderPriceMinTickSize":{text},'.encode() in encode_json(gamma.market_object(row))


def test_simplified_markets_are_parts_of_full_ones() -> None:
    full = full_market(MARKETS[1])
    assert simplified_market(MARKETS[1]).items() <= full.items()


def test_price_history_is_thinned_and_mirrored() -> None:
    row = replica(7)
    for second in range(1, 8):
        state = BookState(
            row.market.condition_id, [(450_000, 1)], [(470_000 + second * 10_000, 1)], 10_000, 0, "",
            10**18 + second * 10**9,
        )  # fmt: skip
        row.replace(state)
    start = 10**9
    points = history(row, 0, start + 1, start + 6, 2)
    assert [point["t"] for point in points] == [start + 1, start + 3, start + 5]
    assert [str(point["p"]) for point in history(row, 1, start + 1, start + 1, 1)] == ["0.535"]
