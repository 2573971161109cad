from __future__ import annotations

import msgspec
import pytest

from common.instruments import Market
from services.executor.markets import Markets
from tests.services.executor.driver import DOWN, MARKET, UP
from tests.services.executor.several_venues import BTC, OURS, SPOT_MARKET


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


def test_every_venue_has_markets_of_its_own() -> None:
    """The mirror of a market is another market, and a spot instrument has one token."""
    markets = Markets([MARKET, OURS, SPOT_MARKET])

    assert len(markets) == 3
    assert markets.find("exchange", f"exchange:{MARKET.slug}") is OURS
    assert markets.find("exchange", MARKET.slug) is None
    assert markets.of_token("exchange", f"exchange:{DOWN}") is OURS
    assert markets.of_token("polymarket", f"exchange:{DOWN}") is None
    assert markets.find("ccxt", BTC) is markets.of_token("ccxt", BTC) is SPOT_MARKET
    assert markets.condition_ids(BTC) == {BTC}


@pytest.mark.parametrize(
    ("market", "broken"),
    [
        (SPOT_MARKET, {"token_ids": ("kraken:BTC/USDT",)}),
        (SPOT_MARKET, {"token_ids": ("ccxt:",)}),
        (SPOT_MARKET, {"token_ids": ("ccxt:" + "B" * 200,)}),
        (SPOT_MARKET, {"token_ids": ("ccxt:BTC\n",)}),
        (SPOT_MARKET, {"condition_id": "BTC/USDT"}),
        (SPOT_MARKET, {"tick": 0}),
        (SPOT_MARKET, {"size_step": 0}),
        (SPOT_MARKET, {"venue": "polymarket"}),
        (OURS, {"token_ids": MARKET.token_ids}),
        (OURS, {"venue": "ccxt", "condition_id": "ccxt:x", "token_ids": ("ccxt:a", "ccxt:b")}),
        (MARKET, {"kind": "spot"}),
        (MARKET, {"kind": "perpetual"}),
    ],
)
def test_a_market_that_is_not_of_its_venue_is_not_taken(market: Market, broken: dict[str, object]) -> None:
    assert not Markets().take(msgspec.structs.replace(market, **broken))
