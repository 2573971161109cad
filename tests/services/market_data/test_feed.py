"""market_data against a venue on loopback: Gamma, CLOB books and the market channel in one small server."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Protocol

import pytest
from aiohttp import WSMsgType, web

from common.errors import Refusal
from common.instruments import Market
from common.messages import (
    BookDelta,
    BookReport,
    BookSnapshot,
    FeedStatus,
    GetBook,
    GetMarkets,
    MarketListed,
    MarketsReport,
    WalletReady,
)
from common.types import FeedState
from services.market_data import feed as feed_module
from services.market_data.feed import MarketFeed
from services.market_data.hub import Hub
from tests.services.fake_edge import FakeEdge, settings_for
from tests.services.market_data.markets import market

UP, DOWN = market().token_ids
T0_MS = 1_790_000_000_000


class Venue:
    """Lists `markets`, remembers subscriptions, sends what it is told to."""

    def __init__(self) -> None:
        self.markets: list[Market] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.heard: list[dict[str, object]] = []
        self.fetched: list[str] = []
        self.fetched_together: list[list[str]] = []
        self.asked_at_s: list[float] = []
        self.refusals: deque[tuple[int, dict[str, str], str]] = deque()
        self.rest_bid = "0.45"
        self.rest_ms = T0_MS
        self.mute: set[str] = set()
        self.broken: set[str] = set()
        self.dumps = True

    async def gamma(self, request: web.Request) -> web.Response:
        start = int(request.query.get("after_cursor", "0"))
        rows = [
            {
                "conditionId": m.condition_id,
                "slug": m.slug,
                "question": m.question,
                "outcomes": json.dumps(m.outcomes),
                "clobTokenIds": json.dumps(m.token_ids),
                "acceptingOrders": True,
                "orderPriceMinTickSize": 0.1,
            }
            for m in self.markets[start : start + 2]
        ]
        following = str(start + 2) if start + 2 < len(self.markets) else None
        return web.json_response({"markets": rows, "next_cursor": following})

    async def clob_market(self, request: web.Request) -> web.Response:
        condition_id = request.match_info["condition"]
        if condition_id in self.broken:
            return web.json_response({"error": "oops"}, status=500)
        found = [m for m in self.markets if m.condition_id == condition_id]
        if not found:
            return web.json_response({"error": "market not found"}, status=404)
        tokens = [{"t": token, "o": word} for token, word in zip(found[0].token_ids, found[0].outcomes, strict=True)]
        return web.json_response({"c": condition_id, "t": tokens, "mts": 0.01, "mos": 5, "ao": found[0].accepting})

    async def book(self, request: web.Request) -> web.Response:
        self.fetched.append(request.query["token_id"])
        return self.refusal() or web.json_response(self.book_of(request.query["token_id"], "0.40", self.rest_ms))

    async def books(self, request: web.Request) -> web.Response:
        token_ids = [row["token_id"] for row in await request.json()]
        self.fetched_together.append(token_ids)
        books = [self.book_of(token_id, self.rest_bid, self.rest_ms) for token_id in token_ids]
        return self.refusal() or web.json_response(books)

    def refusal(self) -> web.Response | None:
        """What REST says instead of a book, while it is told to."""
        self.asked_at_s.append(time.monotonic())
        if not self.refusals:
            return None
        status, headers, text = self.refusals.popleft()
        return web.Response(status=status, headers=headers, text=text, content_type="text/html")

    @staticmethod
    def book_of(token_id: str, bid: str, at_ms: int = T0_MS) -> dict[str, object]:
        return {
            "event_type": "book",
            "market": "0xc1",
            "asset_id": token_id,
            "timestamp": str(at_ms),
            "hash": "",
            "bids": [{"price": bid, "size": "10"}],
            "asks": [{"price": "0.60", "size": "10"}],
        }

    async def channel(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            if message.data == "PING":
                await socket.send_str("PONG")
                continue
            frame = json.loads(message.data)
            self.heard.append(frame)
            if self.dumps and frame.get("operation") != "unsubscribe":
                asked = [token_id for token_id in frame["assets_ids"] if token_id not in self.mute]
                await socket.send_json([self.book_of(token_id, "0.45") for token_id in asked])
        return socket


class World:
    def __init__(self, venue: Venue, edge: FakeEdge, feed: MarketFeed, hub: Hub) -> None:
        self.venue = venue
        self.edge = edge
        self.feed = feed
        self.hub = hub

    def state(self, token_id: str) -> FeedState | None:
        for message in self.feed.board.snapshot(f"book.{token_id}", 0):
            assert isinstance(message, BookSnapshot)
            return message.state
        return None

    async def until_state(self, token_id: str, state: FeedState) -> None:
        await self.edge.until(lambda: self.state(token_id) is state)

    async def send(self, *events: dict[str, object]) -> None:
        await self.venue.sockets[-1].send_str(json.dumps(events))


@asynccontextmanager
async def world(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, *markets: Market, refresh_s: float = 0.02, **rules: int
) -> AsyncIterator[World]:
    """`rules` are keys of [market_data]."""
    monkeypatch.setattr(feed_module, "FIRST_REFRESH_S", refresh_s)
    monkeypatch.setattr(feed_module, "WATCH_S", 0.02)
    venue = Venue()
    venue.markets = list(markets)
    app = web.Application()
    app.router.add_get("/gamma/markets/keyset", venue.gamma)
    app.router.add_get("/clob-markets/{condition}", venue.clob_market)
    app.router.add_get("/book", venue.book)
    app.router.add_post("/books", venue.books)
    app.router.add_get("/ws/market", venue.channel)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"127.0.0.1:{runner.addresses[0][1]}"
    settings = settings_for(
        clob_url=f"http://{host}", gamma_url=f"http://{host}/gamma", market_ws_url=f"ws://{host}/ws/market"
    )
    settings = settings.model_copy(
        update={
            "market_data": settings.market_data.model_copy(update=rules),
            "paths": settings.paths.model_copy(update={"data_dir": data_dir}),
        }
    )
    edge = FakeEdge("market_data", settings)
    try:
        feed = MarketFeed(edge.as_edge(), rng=Random(1))
        hub = Hub(edge.as_edge(), feed)
        hub.start()
        try:
            yield World(venue, edge, feed, hub)
            assert edge.errors == []
        finally:
            await edge.close()
            await hub.close()
    finally:
        for socket in venue.sockets:
            await socket.close()
        await runner.cleanup()


class Build(Protocol):
    def __call__(self, *markets: Market, **rules: int) -> AbstractAsyncContextManager[World]: ...


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Build:
    return partial(world, monkeypatch, tmp_path)


async def test_it_finds_the_markets_of_all_pages_subscribes_and_becomes_ready(build: Build) -> None:
    async with build(market(1), market(2), market(3)) as w:
        await w.edge.until(lambda: w.edge.state == ("READY", ""))
        await w.until_state("3002", FeedState.LIVE)
        listed = [body.market for topic, body in w.edge.published if isinstance(body, MarketListed)]
        assert [m.slug for m in listed] == ["market-1", "market-2", "market-3"]
        assert listed[0].tick == 10_000  # the CLOB's word, not Gamma's
        assert w.venue.heard == [
            {
                "type": "market",
                "assets_ids": ["1001", "1002", "2001", "2002", "3001", "3002"],
                "custom_feature_enabled": False,
            }
        ]


async def test_without_markets_it_says_so_and_follows_one_that_appears(build: Build) -> None:
    async with build() as w:
        await w.edge.until(lambda: w.edge.state[0] == "STARTING" and w.edge.state[1].startswith("*: no market is open"))
        w.venue.markets.append(market(1))
        await w.until_state(UP, FeedState.LIVE)
        w.venue.markets.append(market(2))
        await w.until_state("2001", FeedState.LIVE)
        assert w.venue.heard[-1] == {
            "operation": "subscribe",
            "assets_ids": ["2001", "2002"],
            "custom_feature_enabled": False,
        }


async def test_a_market_that_closes_is_unsubscribed(build: Build) -> None:
    async with build(market(1), market(2)) as w:
        await w.until_state("2001", FeedState.LIVE)
        w.venue.markets[:] = [market(1)]
        await w.until_state("2001", FeedState.CLOSED)
        await w.edge.until(lambda: w.venue.heard[-1].get("operation") == "unsubscribe")
        assert w.state(UP) is FeedState.LIVE


def moved(token_id: str, price: str, size: str, after_ms: int, best_bid: str = "0.45") -> dict[str, object]:
    row = {"asset_id": token_id, "price": price, "size": size, "side": "BUY", "best_bid": best_bid, "best_ask": "0.60"}
    return {
        "event_type": "price_change", "market": "0xc1", "timestamp": str(T0_MS + after_ms), "price_changes": [row]
    }  # fmt: skip


async def test_deltas_are_published_and_one_doubtful_book_is_asked_for_alone(build: Build) -> None:
    async with build(market(1)) as w:
        await w.until_state(UP, FeedState.LIVE)
        await w.send(moved(UP, "0.44", "5", 1))
        await w.edge.until(lambda: any(isinstance(body, BookDelta) for _, body in w.edge.published))
        w.venue.rest_ms = T0_MS + 2
        await w.send(moved(UP, "0.39", "5", 2, best_bid="0.40"))
        await w.edge.until(lambda: w.venue.fetched == [UP] and w.state(UP) is FeedState.LIVE)
        assert w.feed.board.book_report(GetBook("r", UP)).book.bids == [(400_000, 10_000_000), (390_000, 5_000_000)]
        assert w.venue.fetched_together == []


async def test_several_doubtful_books_are_asked_for_together(build: Build) -> None:
    async with build(market(1), market(2)) as w:
        await w.edge.until(lambda: w.feed.board.live_books == 4)
        await w.venue.sockets[-1].send_str("<html>")
        await w.edge.until(lambda: w.venue.fetched_together != [] and w.feed.board.live_books == 4)
        assert [sorted(asked) for asked in w.venue.fetched_together] == [["1001", "1002", "2001", "2002"]]
        assert w.venue.fetched == []
        assert len(w.venue.sockets) == 1, "the connection goes on"
        assert w.feed.board.counters["frames_unreadable"] + w.edge.counters["frames_unreadable"] == 1


@pytest.mark.parametrize(
    "refusal",
    [
        (200, {}, "<html>hello</html>"),
        (200, {}, "[]"),
        (200, {}, "[{"),
        (404, {}, "no such token"),
        (500, {}, ""),
        (301, {"Location": "/elsewhere"}, ""),
    ],
)
async def test_a_rest_that_answers_nonsense_is_asked_again(
    build: Build, refusal: tuple[int, dict[str, str], str]
) -> None:
    async with build(market(1)) as w:
        await w.edge.until(lambda: w.feed.board.live_books == 2)
        w.venue.refusals += [refusal, refusal]
        await w.venue.sockets[-1].send_str("<html>")
        await w.edge.until(lambda: len(w.venue.asked_at_s) == 3 and w.feed.board.live_books == 2)


async def test_a_429_pauses_all_requests_for_as_long_as_it_says(build: Build) -> None:
    async with build(market(1)) as w:
        await w.edge.until(lambda: w.feed.board.live_books == 2)
        w.venue.refusals += [(429, {"Retry-After": "2"}, "slow down")]
        await w.venue.sockets[-1].send_str("<html>")
        await w.edge.until(lambda: w.feed.board.live_books == 2 and len(w.venue.asked_at_s) == 2)
        first, second = w.venue.asked_at_s
        assert second - first >= 2.0


async def test_a_token_whose_first_book_does_not_come_gets_it_on_another_connection(build: Build) -> None:
    async with build(market(1), first_book_ms=200) as w:
        w.venue.mute = {DOWN}
        await w.until_state(DOWN, FeedState.STALE)
        w.venue.mute = set()
        await w.edge.until(lambda: w.feed.board.live_books == 2)
        assert len(w.feed.pool) == 2
        assert {"operation": "unsubscribe", "assets_ids": [DOWN]} in w.venue.heard
        assert w.venue.heard[-1]["assets_ids"] == [DOWN]
        assert w.venue.fetched == [], "no connection had spoken of it"


async def test_a_frozen_token_moves_and_is_live_only_where_a_connection_speaks_of_it(build: Build) -> None:
    async with build(market(1), quiet_ms=100, witness_grace_ms=50) as w:
        await w.edge.until(lambda: w.feed.board.live_books == 2)
        w.venue.rest_bid, w.venue.rest_ms = "0.46", T0_MS + 5
        w.venue.dumps = False
        await w.edge.until(lambda: w.feed.board.live_books == 0)
        await w.edge.until(lambda: len(w.venue.heard) >= 3)
        assert w.feed.board.live_books == 0
        w.venue.dumps = True
        socket = w.venue.sockets[-1]
        w.venue.rest_bid, w.venue.rest_ms = "0.45", T0_MS
        await socket.send_json([w.venue.book_of(token_id, "0.45") for token_id in (UP, DOWN)])
        await w.edge.until(lambda: w.feed.board.live_books == 2)


async def test_an_old_connection_is_replaced_without_a_pause(build: Build) -> None:
    async with build(market(1), rotate_after_s=1) as w:
        await w.edge.until(lambda: w.feed.board.live_books == 2)
        w.edge.published.clear()
        await w.edge.until(lambda: len(w.venue.sockets) == 2 and w.venue.sockets[0].closed)
        assert len(w.feed.pool) == 1
        states = {body.state for _, body in w.edge.published if isinstance(body, FeedStatus | BookSnapshot)}
        assert states <= {FeedState.LIVE}
        await w.send(moved(UP, "0.44", "5", 1))
        await w.edge.until(lambda: any(isinstance(body, BookDelta) and body.bids for _, body in w.edge.published))
        assert [frame["type"] for frame in w.venue.heard] == ["market", "market"]


async def test_events_that_come_late_drop_the_connection(build: Build) -> None:
    async with build(market(1), late_after_ms=1_000) as w:
        await w.until_state(UP, FeedState.LIVE)
        await w.send(moved(UP, "0.44", "5", 5_000))
        await w.send(moved(UP, "0.43", "5", 1))
        await w.edge.until(lambda: len(w.venue.sockets) == 2)
        await w.edge.until(lambda: w.feed.board.live_books == 2)
        assert w.edge.counters["ws_dropped"] == 1


async def test_a_cut_connection_is_made_again_and_the_books_come_anew(build: Build) -> None:
    async with build(market(1)) as w:
        await w.until_state(UP, FeedState.LIVE)
        await w.venue.sockets[-1].close()
        await w.edge.until(lambda: w.state(UP) is not FeedState.LIVE)
        await w.until_state(UP, FeedState.LIVE)
        assert len(w.venue.sockets) == 2


async def test_it_answers_and_refuses(build: Build) -> None:
    async with build(market(1)) as w:
        await w.until_state(UP, FeedState.LIVE)
        (markets,) = w.hub.answer(GetMarkets("r1"), "cli")
        assert isinstance(markets, MarketsReport)
        assert [view.market.slug for view in markets.markets] == ["market-1"]
        (book,) = w.hub.answer(GetBook("r2", "market-1", "Down"), "cli")
        assert isinstance(book, BookReport)
        assert book.book.token_id == DOWN
        with pytest.raises(Refusal):
            w.hub.answer(GetBook("r3", "nope"), "cli")
        with pytest.raises(Refusal):
            w.hub.answer(WalletReady("", "", "", "", 0, 0, ""), "cli")
