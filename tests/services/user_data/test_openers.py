"""Which feeds are opened for which wallets."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConfigError, PolyexecError
from common.settings import Settings, Wallet
from services.user_data.exchange_feed import ExchangeFeed
from services.user_data.openers import open_sources
from tests.services.exchange_edge import with_wallets
from tests.services.fake_edge import FakeEdge

POLYMARKET = Wallet(name="main")
OWN = Wallet(name="own", venue="exchange")
OTHER = Wallet(name="other", venue="exchange")


def opened(settings: Settings) -> list[tuple[str, str]]:
    edge = FakeEdge("user_data", settings)
    return [(source.feed.venue, source.feed.wallet) for source in open_sources(edge.as_edge(), edge.poke)]


def test_no_wallet_of_any_venue_is_refused() -> None:
    with pytest.raises(ConfigError, match="no wallet of any venue"):
        opened(with_wallets())


def test_a_group_without_a_polymarket_wallet_runs() -> None:
    assert opened(with_wallets(OWN, OTHER)) == [("exchange", "own"), ("exchange", "other")]


def test_wallets_of_one_venue_share_its_stream() -> None:
    edge = FakeEdge("user_data", with_wallets(OWN, OTHER))
    first, second = open_sources(edge.as_edge(), edge.poke)
    assert isinstance(first, ExchangeFeed)
    assert isinstance(second, ExchangeFeed)
    assert first.stream is second.stream


def test_a_wallet_without_its_credentials_names_their_file(tmp_path: Path) -> None:
    settings = with_wallets(OWN, POLYMARKET)
    settings = settings.model_copy(update={"paths": settings.paths.model_copy(update={"secrets_dir": tmp_path})})
    with pytest.raises(PolyexecError, match=r"main\.user_data\.creds"):
        opened(settings)
