"""The exchange's markets inside a market_data: its stream, its silence, and one answer with Polymarket's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from common.errors import Refusal
from common.latest import SILENT_AFTER_NS
from common.messages import (
    BookReport,
    BookSnapshot,
    FeedStatus,
    GetBook,
    GetMarkets,
    GetWatchList,
    LevelsChanged,
    MarketListed,
    MarketsReport,
    Message,
    WatchReport,
)
from common.settings import Wallet
from common.types import FeedState
from services.market_data.exchange_feed import SILENT, WAITING, ExchangeFeed
from services.market_data.feed import MarketFeed
from services.market_data.hub import Hub
from services.market_data.openers import open_hub
from tests.services.exchange.world import World
from tests.services.exchange_edge import OWN, ExchangeEdge, with_wallets
from tests.services.market_data.markets import at, market

YES = "exchange:1001"


class House:
    """A market_data with a Polymarket that is never started and our exchange."""

    def __init__(self, data_dir: Path) -> None:
        self.world = World()
        self.world.account("one", yes="100")
        settings = with_wallets(OWN)
        settings = settings.model_copy(update={"paths": settings.paths.model_copy(update={"data_dir": data_dir})})
        self.edge = ExchangeEdge("market_data", settings, self.world)
        self.edge.heard_at_ns = time.monotonic_ns()
        self.first = MarketFeed(self.edge.as_edge(), rng=Random(1))
        self.feed = ExchangeFeed(self.edge.as_edge())
        self.hub = Hub(self.edge.as_edge(), self.first, [self.feed])
        self.said: list[tuple[bool, str]] = []

    def start(self) -> None:
        """Only the exchange: Polymarket's discovery would ask its URLs."""
        self.feed.start(lambda ready, detail: self.said.append((ready, detail)))

    def submit(self, *order: str) -> None:
        self.world.submit("one", *order)
        self.edge.hear()

    def state(self) -> FeedState:
        (snapshot,) = self.hub.snapshot(f"book.{YES}")
        assert isinstance(snapshot, BookSnapshot)
        return snapshot.state

    def published(self, topic: str) -> Sequence[Message]:
        return [body for name, body in self.edge.published if name == topic]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    assert made.edge.errors == []
    await made.edge.close()
    await made.hub.close()


async def test_it_serves_from_the_first_snapshot_on(house: House) -> None:
    house.start()
    assert house.said == [(False, WAITING)]
    house.edge.show("market")
    assert house.said[-1] == (True, "")
    assert house.state() is FeedState.LIVE
    house.submit("o1", "BUY", "1001", "10", "0.45")
    await house.edge.until(lambda: len(house.published(f"depth.{YES}")) > 1)
    (report,) = house.hub.answer(GetBook("r", YES), "cli")
    assert isinstance(report, BookReport)
    assert report.book.bids == [(450_000, 10_000_000)]


async def test_a_silent_exchange_has_no_live_book(house: House) -> None:
    house.start()
    house.edge.show("market")
    house.edge.heard_at_ns = time.monotonic_ns() - SILENT_AFTER_NS - 1
    await house.edge.until(lambda: house.state() is not FeedState.LIVE)
    assert house.said[-1] == (True, SILENT)
    (status,) = house.hub.snapshot(f"feed.{YES}")
    assert isinstance(status, FeedStatus)
    assert status.reason == SILENT
    house.edge.heard_at_ns = time.monotonic_ns() + 3600 * 10**9
    house.submit("o1", "BUY", "1001", "10", "0.45")
    assert house.state() is FeedState.LIVE, "an event breaks the silence before it is applied"
    (report,) = house.hub.answer(GetBook("r", YES), "cli")
    assert isinstance(report, BookReport)
    assert report.book.bids == [(450_000, 10_000_000)]


async def test_a_gap_is_mended_by_a_snapshot(house: House) -> None:
    house.start()
    house.edge.show("market")
    house.edge.sinks["market"].on_gap()
    assert house.state() is FeedState.CONNECTING
    assert house.said[-1] == (False, WAITING)
    house.edge.show("market")
    assert house.state() is FeedState.LIVE


async def test_a_contradicted_book_is_asked_for_anew(house: House) -> None:
    house.start()
    house.edge.show("market")
    house.submit("o1", "BUY", "1001", "10", "0.45")
    change = LevelsChanged("0xc0", [], [(440_000, 1)], 450_000, 440_000, 1)
    house.edge.sinks["market"].on_event(change)
    assert house.edge.counters["exchange_books_contradicted"] == 1
    assert house.state() is FeedState.CONNECTING
    house.edge.show("market")
    assert house.state() is FeedState.LIVE


async def test_one_answer_and_one_snapshot_for_all_venues(house: House) -> None:
    house.start()
    house.edge.show("market")
    house.first.perform(house.first.board.discovered([market(1)], 0, at(0)))
    (report,) = house.hub.answer(GetMarkets("r"), "cli")
    assert isinstance(report, MarketsReport)
    assert [view.market.venue for view in report.markets] == ["polymarket", "exchange"]
    listed = [body.market.venue for body in house.hub.snapshot("instruments") if isinstance(body, MarketListed)]
    assert listed == ["polymarket", "exchange"]
    assert len(house.hub.snapshot("feeds")) == 4
    for name, token in (("market-1", "1001"), ("exchange:slug-0xc0", YES)):
        (book,) = house.hub.answer(GetBook("r", name), "cli")
        assert isinstance(book, BookReport)
        assert book.book.token_id == token
    (watched,) = house.hub.answer(GetWatchList("r"), "cli")
    assert isinstance(watched, WatchReport)
    with pytest.raises(Refusal, match="nowhere"):
        house.hub.answer(GetBook("r", "nowhere"), "cli")
    assert house.hub.snapshot("book.nothing") == []


async def test_a_venue_that_does_not_come_up_is_named_and_holds_nobody_up_for_long(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.market_data.hub.PATIENCE_S", 0)
    monkeypatch.setattr("common.readiness.PATIENCE_S", 0)
    hub = Hub(house.edge.as_edge(), house.first, [_Fixed("a", True, ""), _Fixed("b", False, "away")])
    monkeypatch.setattr(house.first, "start", lambda show: show(False, "looking"))
    hub.start()
    await house.edge.until(lambda: house.edge.state == ("READY", "polymarket: looking; b: away"))


class _Fixed(ExchangeFeed):
    """A source that says one thing of itself."""

    def __init__(self, venue: str, ready: bool, detail: str) -> None:
        self.venue = venue
        self._said = (ready, detail)

    def start(self, show: Callable[[bool, str], None]) -> None:
        show(*self._said)


async def test_only_venues_that_a_wallet_names_are_followed(tmp_path: Path) -> None:
    async def venues(*wallets: Wallet) -> list[str]:
        settings = with_wallets(*wallets)
        settings = settings.model_copy(update={"paths": settings.paths.model_copy(update={"data_dir": tmp_path})})
        hub = open_hub(ExchangeEdge("market_data", settings, World()).as_edge())
        await hub.close()
        return [source.venue for source in hub.sources]

    assert await venues(Wallet(name="main")) == ["polymarket"]
    assert await venues(Wallet(name="main"), OWN, Wallet(name="second", venue="exchange")) == ["polymarket", "exchange"]
    assert await venues(OWN) == ["polymarket", "exchange"]
