"""A process's eyes on the market: over real sockets, through losses, and the death of market_data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from common.book import Book
from common.edge import Edge
from common.frames import Epoch
from common.instruments import Market
from common.latest import EPOCH_SHIFT
from common.log import set_up_logging
from common.market_reader import MarketReader
from common.messages import BookDelta, BookSnapshot, MarketListed, Message, TradePrint
from common.settings import ROOT, load_settings
from common.types import FeedState, Side

EPOCH = 1 << EPOCH_SHIFT
"""The first of the first life of market_data."""
WAIT_S = 10.0
UP, DOWN = "1001", "1002"
MARKET = Market("polymarket", "0xc1", "market-1", "Up?", ("Up", "Down"), (UP, DOWN), 10_000, 5_000_000)
LIVE, SYNCING, STALE = FeedState.LIVE, FeedState.SYNCING, FeedState.STALE

Make = Callable[[str], Edge]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    found = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    paths = found.paths.model_copy(update={"run_dir": tmp_path, "data_dir": tmp_path})
    settings = found.model_copy(update={"paths": paths})
    edges: dict[str, Edge] = {}
    """The newest of each name: a test that starts another one has closed the one before."""

    def build(name: str) -> Edge:
        edges[name] = Edge(name, settings, set_up_logging(name))
        return edges[name]

    yield build
    for edge in edges.values():
        await edge.close()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not done():  # noqa: ASYNC110 (what is waited for is no event)
            await asyncio.sleep(0.01)


class Owner:
    """market_data as far as a reader sees it: one market, books of one level, changes on demand."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.books = {token: Book() for token in (UP, DOWN)}
        for book in self.books.values():
            book.replace([(45, 10)], [(47, 10)])
        self.versions = dict.fromkeys(self.books, (edge.epoch.n << EPOCH_SHIFT, 1))
        self.snapshots: list[str] = []
        edge.serve_snapshots(self.snapshot)

    def snapshot(self, topic: str) -> list[Message]:
        self.snapshots.append(topic)
        kind, _, token = topic.partition(".")
        if kind == "instruments":
            return [MarketListed(MARKET)]
        return [self.whole(token)] if kind == "book" else []

    def whole(self, token: str, state: FeedState = LIVE) -> BookSnapshot:
        book, now = self.books[token], time.time_ns()
        return BookSnapshot(token, book.bids(), book.asks(), 10_000, state, now, now, *self.versions[token])

    def change(self, token: str, price: int, size: int) -> None:
        self.books[token].apply(Side.BUY, price, size)
        epoch, seq = self.versions[token]
        self.versions[token] = epoch, seq + 1
        now = time.time_ns()
        self.edge.publish(f"book.{token}", BookDelta(token, [(price, size)], [], now, now, epoch, seq + 1))


def is_live(reader: MarketReader, token: str = UP) -> bool:
    view = reader.book(token)
    return view is not None and view.state is LIVE


async def test_a_reader_gets_the_book_its_changes_and_trades_and_the_market(make: Make) -> None:
    owner = Owner(make("market_data"))
    changed: list[str] = []
    reader = MarketReader(make("executor"), changed.append)
    reader.follow([UP, DOWN])
    reader.follow([UP])
    await until(lambda: is_live(reader) and is_live(reader, DOWN))
    owner.change(UP, 46, 3)
    owner.edge.publish(f"trades.{UP}", TradePrint(UP, Side.BUY, 46, 1, 0, 0))
    await until(lambda: reader.latest.trades(UP) != () and reader.book(UP).bids == ((46, 3), (45, 10)))  # type: ignore[union-attr]
    top = reader.latest.market("0xc1", reader.now())
    assert top is not None
    assert (top.bids, top.state) == (((46, 3), (45, 10)), LIVE)
    assert set(changed) == {UP, DOWN}


async def test_a_late_reader_gets_the_present_book(make: Make) -> None:
    owner = Owner(make("market_data"))
    for size in range(1, 50):
        owner.change(UP, 44, size)
    reader = MarketReader(make("executor"))
    reader.follow([UP], trades=False)
    await until(lambda: is_live(reader))
    owner.change(UP, 43, 1)
    await until(lambda: reader.book(UP).bids == ((45, 10), (44, 49), (43, 1)))  # type: ignore[union-attr]
    assert f"trades.{UP}" not in owner.snapshots


async def test_what_is_unfollowed_is_forgotten_and_can_be_followed_again(make: Make) -> None:
    owner = Owner(make("market_data"))
    reader = MarketReader(make("executor"))
    reader.follow([UP, DOWN])
    await until(lambda: is_live(reader) and is_live(reader, DOWN))
    reader.unfollow([UP, "unknown"])
    assert reader.book(UP) is None
    owner.change(UP, 44, 1)
    owner.change(DOWN, 44, 1)
    await until(lambda: reader.book(DOWN).seq == 2)  # type: ignore[union-attr]
    assert reader.book(UP) is None
    reader.follow([UP])
    await until(lambda: is_live(reader))
    assert reader.book(UP).bids == ((45, 10), (44, 1))  # type: ignore[union-attr]


async def test_a_market_data_that_dies_is_stale_within_a_second_and_right_again_when_it_is_back(make: Make) -> None:
    owner = Owner(make("market_data"))
    reader = MarketReader(make("executor"))
    reader.follow([UP])
    await until(lambda: is_live(reader))
    died_s = time.monotonic()
    await owner.edge.close()
    await until(lambda: not is_live(reader))
    assert time.monotonic() - died_s < 1.2
    view = reader.book(UP)
    assert view is not None
    assert view.state is STALE
    again = Owner(make("market_data"))
    again.change(UP, 30, 1)
    await until(lambda: is_live(reader))
    assert reader.book(UP).bids == ((45, 10), (30, 1))  # type: ignore[union-attr]


class Wire:
    """The part of Edge that a reader uses: who listens, and when market_data was heard."""

    def __init__(self) -> None:
        self.sinks: dict[str, Any] = {}
        self.heard = time.monotonic_ns()
        self.life = 1
        self.subscribed: list[str] = []

    def subscribe(self, owner: str, topic: str, sink: Any) -> None:
        self.sinks[topic] = sink
        self.subscribed.append(topic)

    def unsubscribe(self, owner: str, topic: str) -> None:
        del self.sinks[topic]

    def heard_ns(self, owner: str) -> int:
        return self.heard

    def epoch_of(self, owner: str) -> Epoch:
        return Epoch("", self.life)


def whole(token: str) -> BookSnapshot:
    return BookSnapshot(token, [(45, 10)], [(47, 10)], 10_000, LIVE, 0, time.time_ns(), EPOCH, 1)


def test_a_gap_is_seen_by_whoever_is_called_back() -> None:
    wire = Wire()
    seen: list[FeedState] = []
    reader = MarketReader(cast(Edge, wire), lambda token: seen.append(reader.book(token).state))  # type: ignore[union-attr]
    reader.follow([UP])
    sink = wire.sinks[f"book.{UP}"]
    sink.on_snapshot([whole(UP)])
    sink.on_gap()
    sink.on_snapshot([whole(UP)])
    assert seen == [LIVE, SYNCING, LIVE]


def test_when_market_data_is_back_no_book_of_before_is_live_for_a_moment() -> None:
    """All topics have a gap, but the first callback looks at another token, whose gap comes next in the same batch."""
    wire = Wire()
    seen: list[FeedState] = []
    reader = MarketReader(cast(Edge, wire), lambda _: seen.append(reader.book(DOWN).state))  # type: ignore[union-attr]
    reader.follow([UP, DOWN], trades=False)
    for token in (UP, DOWN):
        reader.latest.on_snapshot(whole(token))
    wire.heard = time.monotonic_ns() - 5_000_000_000
    assert not is_live(reader, DOWN)
    wire.heard, wire.life = time.monotonic_ns(), 2  # the hello of its successor
    for token in (UP, DOWN):
        wire.sinks[f"book.{token}"].on_gap()
    assert LIVE not in seen


def test_a_version_that_was_missed_is_asked_for_whole() -> None:
    wire = Wire()
    reader = MarketReader(cast(Edge, wire))
    reader.follow([UP], trades=False)
    topic = f"book.{UP}"
    wire.sinks[topic].on_snapshot([whole(UP)])
    wire.sinks[topic].on_event(BookDelta(UP, [(44, 1)], [], 0, time.time_ns(), EPOCH, 3))
    assert not is_live(reader, UP)
    assert wire.subscribed.count(topic) == 2
    wire.sinks[topic].on_snapshot([whole(UP)])
    assert is_live(reader, UP)
