from __future__ import annotations

import msgspec
import pytest

from common.instruments import Market
from services.executor.markets import Markets
from tests.services.executor.driver import DOWN, MARKET, UP


def test_a_market_is_found_by_every_name() -> None:
    markets = Markets([MARKET])

    assert markets.find("polymarket", MARKET.slug) is MARKET
    assert markets.find("polymarket", MARKET.condition_id) is MARKET
    assert markets.of_token("polymarket", DOWN) is MARKET
    assert markets.find("kalshi", MARKET.slug) is None
    assert markets.find("polymarket", "") is None
    assert markets.condition_ids(MARKET.slug) == markets.condition_ids(MARKET.condition_id) == {MARKET.condition_id}
    assert markets.condition_ids("nothing") == set()


def test_the_newest_listing_counts() -> None:
    markets = Markets([MARKET])
    finer = msgspec.structs.replace(MARKET, tick=1_000)

    assert markets.take(finer)

    assert markets.find("polymarket", MARKET.slug) is finer
    assert len(markets) == 1


@pytest.mark.parametrize(
    "broken",
    [{"tick": 0}, {"tick": 30_000}, {"token_ids": (UP, UP)}, {"token_ids": (UP, "x")}, {"token_ids": (UP, "9" * 78)}],
)
def test_a_market_that_could_not_be_signed_for_is_not_taken(broken: dict[str, object]) -> None:
    markets = Markets()
    market: Market = msgspec.structs.replace(MARKET, **broken)

    assert not markets.take(market)
    assert len(markets) == 0
