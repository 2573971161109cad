"""Markets as Gamma lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.errors import Refusal
from common.venues.polymarket.gamma import GammaMarket, parse_gamma_market, parse_gamma_page, parse_search_page

FIXTURE = Path(__file__).parents[5] / "shared" / "fixtures" / "polymarket" / "gamma_market.json"
ROW: dict[str, object] = {
    "conditionId": "0xc1",
    "slug": "btc-up",
    "question": "Up?",
    "outcomes": '["Up","Down"]',
    "clobTokenIds": '["11","22"]',
    "orderPriceMinTickSize": 0.001,
    "orderMinSize": 5,
    "endDate": "2026-03-12T09:25:00Z",
}


def test_outcomes_and_tokens_are_lists_inside_a_text_and_numbers_are_exact() -> None:
    market = parse_gamma_market(json.loads(json.dumps(ROW), parse_float=str))
    assert (market.outcomes, market.token_ids) == (("Up", "Down"), ("11", "22"))
    assert (market.tick, market.min_size, market.end_ns) == (1000, 5_000_000, 1_773_307_500 * 10**9)
    assert market.is_tradable


@pytest.mark.skipif(not FIXTURE.exists(), reason="the shared fixtures are not beside the repository")
def test_a_recorded_market_is_read() -> None:
    page = parse_gamma_page(b"[" + FIXTURE.read_bytes() + b"]")
    (market,) = page.markets
    assert (market.slug, market.outcomes, market.tick) == ("btc-updown-5m-1773307200", ("Up", "Down"), 10_000)
    assert market.is_tradable


@pytest.mark.parametrize(
    "changes",
    [
        {"active": False},
        {"closed": True},
        {"accepting": False},
        {"order_book": False},
        {"placeholder": True},
        {"token_ids": ("11",)},
        {"token_ids": ("11", "11")},
        {"outcomes": ("Up", "Down", "Same"), "token_ids": ("1", "2", "3")},
    ],
)
def test_what_cannot_be_traded_now_is_told_apart(changes: dict[str, object]) -> None:
    market = GammaMarket("0xc1", "s", "q", ("Up", "Down"), ("11", "22"))
    assert not msgspec.structs.replace(market, **changes).is_tradable


def test_a_market_that_cannot_be_read_is_named_and_the_others_stay() -> None:
    page = parse_gamma_page(json.dumps({"markets": [ROW, ROW | {"outcomes": "["}, {}], "next_cursor": "MQ=="}))
    assert ([market.slug for market in page.markets], page.next_cursor) == (["btc-up"], "MQ==")
    assert len(page.unreadable) == 2
    assert page.unreadable[0].startswith("btc-up: ")


@pytest.mark.parametrize("raw", ["<html>", "{}", '{"markets":1}', "3"])
def test_what_is_no_page_is_refused(raw: str) -> None:
    with pytest.raises(Refusal):
        parse_gamma_page(raw)


def test_the_last_page_has_no_cursor() -> None:
    assert parse_gamma_page('{"markets":[],"next_cursor":null}').next_cursor == ""
    assert parse_gamma_page("[]").next_cursor == ""


@pytest.mark.parametrize("condition_id", ["0xc1/../x", "0xc1?y", "0x\u00fc", "../book"])
def test_an_id_that_would_lead_elsewhere_as_part_of_a_path_is_refused(condition_id: str) -> None:
    with pytest.raises(Refusal, match="conditionId"):
        parse_gamma_market(ROW | {"conditionId": condition_id})


def test_the_placeholder_of_outcomes_to_come_is_told() -> None:
    (market,) = parse_gamma_page(json.dumps([ROW | {"negRiskOther": True}])).markets
    assert market.placeholder


def test_a_search_gives_the_ids_of_the_open_markets_of_its_events() -> None:
    events = [
        {"title": "one", "markets": [{"conditionId": "0xc1"}, {"conditionId": "0xc2", "closed": True}]},
        {"title": "two", "markets": [{"conditionId": "0xc3", "closed": False}, {"slug": "no id"}]},
        {"title": "three"},
    ]
    page = parse_search_page(json.dumps({"events": events, "pagination": {"hasMore": True, "totalResults": 9}}))
    assert (page.condition_ids, page.has_more) == (("0xc1", "0xc3"), True)
    assert parse_search_page('{"events":null}') == parse_search_page('{"events":[]}')


@pytest.mark.parametrize("raw", ["[]", "{}", "<html>", '{"events":[1]}', '{"events":[{"markets":{}}]}'])
def test_what_is_no_page_of_search_results_is_refused(raw: str) -> None:
    with pytest.raises(Refusal):
        parse_search_page(raw)


@pytest.mark.parametrize(
    ("members", "event_id"),
    [
        ({"negRiskMarketID": "0xgroup", "events": [{"id": "7"}]}, "0xgroup"),
        ({"events": [{"id": "7"}]}, "7"),
        ({"events": [{"id": 7}]}, "7"),
        ({"events": []}, ""),
        ({}, ""),
    ],
)
def test_a_market_belongs_to_its_neg_risk_group_or_else_to_its_event(members: dict[str, Any], event_id: str) -> None:
    row = json.loads(json.dumps(ROW), parse_float=str)
    for name in ("events", "negRiskMarketID"):
        row.pop(name, None)

    assert parse_gamma_market(row | members).event_id == event_id
