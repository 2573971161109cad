"""Books in outcome 0 terms as both tokens see them; markets under names of their own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.instruments import Market
from common.venues.exchange.market import both_tokens, on_grid
from common.venues.exchange.names import listed
from common.venues.plain import local_id

LEVELS = st.lists(st.tuples(st.integers(1, 999_999), st.integers(0, 10**9)), max_size=8)


@given(LEVELS, LEVELS)
def test_the_second_token_of_the_second_token_is_the_first(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]]
) -> None:
    first, second = both_tokens(bids, asks)
    assert first == (bids, asks)
    assert both_tokens(*second)[1] == first


def test_a_bid_for_one_is_an_offer_of_the_other() -> None:
    assert both_tokens([(450_000, 7)], [(470_000, 9)])[1] == ([(530_000, 9)], [(550_000, 7)])


def test_what_is_off_the_new_grid_or_at_its_ends_is_gone() -> None:
    levels = [(450_000, 1), (455_000, 1), (990_000, 1), (1_000, 1)]
    assert on_grid(levels, 10_000) == [(450_000, 1), (990_000, 1)]
    assert on_grid(levels, 1_000) == levels


def test_a_market_gets_names_of_its_own_and_keeps_its_event() -> None:
    market = Market("polymarket", "0xc0", "slug", "Up?", ("Yes", "No"), ("1", "2"), 10_000, 5_000_000, event_id="e")
    own = listed(market)
    assert (own.venue, own.condition_id, own.slug) == ("exchange", "exchange:0xc0", "exchange:slug")
    assert own.token_ids == ("exchange:1", "exchange:2")
    assert own.event_id == "e"
    assert [local_id(token_id) for token_id in own.token_ids] == ["1", "2"]
