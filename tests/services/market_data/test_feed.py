"""market_data against a venue on loopback: Gamma, CLOB books and the market channel in one small server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from aiohttp import WSMsgType, web

from common.errors import Refusal
from common.http import HttpClient
from common.instruments import Market
from common.messages import (
    BookDelta,
    BookReport,
    BookSnapshot,
    GetBook,
    GetMarkets,
    MarketListed,
    MarketsReport,
    WalletReady,
)
from common.types import FeedState
from services.market_data import feed as feed_module
from services.market_data.discovery import discover
from services.market_data.feed import MarketFeed
from tests.services.fake_edge import FakeEdge, settings_for
from tests.services.market_data.markets import market

UP, DOWN = market().token_ids


class Venue:
    """Lists `markets`, remembers subscriptions, sends what it is told to."""

    def __init__(self) -> None:
        self.markets: list[Market] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.heard: list[dict[str, object]] = []
        self.fetched: list[str] = []
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
        token_id = request.query["token_id"]
        self.fetched.append(token_id)
        return web.json_response(self.book_of(token_id, "0.40"))

    @staticmethod
    def book_of(token_id: str, bid: str) -> dict[str, object]:
        return {
            "event_type": "book",
            "market": "0xc1",
            "asset_id": token_id,
            "timestamp": "1790000000000",
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
                await socket.send_json([self.book_of(token_id, "0.45") for token_id in frame["assets_ids"]])
        return socket


class World:
    def __init__(self, venue: Venue, edge: FakeEdge, feed: MarketFeed) -> None:
        self.venue = venue
        self.edge = edge
        self.feed = feed

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
async def world(monkeypatch: pytest.MonkeyPatch, *markets: Market, refresh_s: float = 0.02) -> AsyncIterator[World]:
    monkeypatch.setattr(feed_module, "FIRST_REFRESH_S", refresh_s)
    monkeypatch.setattr(feed_module, "WATCH_S", 0.02)
    venue = Venue()
    venue.markets = list(markets)
    app = web.Application()
    app.router.add_get("/gamma/markets/keyset", venue.gamma)
    app.router.add_get("/clob-markets/{condition}", venue.clob_market)
    app.router.add_get("/book", venue.book)
    app.router.add_get("/ws/market", venue.channel)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"127.0.0.1:{runner.addresses[0][1]}"
    settings = settings_for(
        clob_url=f"http://{host}", gamma_url=f"http://{host}/gamma", market_ws_url=f"ws://{host}/ws/market"
    )
    edge = FakeEdge("market_data", settings)
    feed = MarketFeed(edge.as_edge(), rng=Random(1))
    feed.start()
    try:
        yield World(venue, edge, feed)
        assert edge.errors == []
    finally:
        await edge.close()
        await feed.close()
        for socket in venue.sockets:
            await socket.close()
        await runner.cleanup()


async def test_it_finds_the_markets_of_all_pages_subscribes_and_becomes_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, market(1), market(2), market(3)) as w:
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


async def test_without_markets_it_says_so_and_follows_one_that_appears(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as w:
        await w.edge.until(lambda: w.edge.state == ("STARTING", "no tradable market found yet"))
        w.venue.markets.append(market(1))
        await w.until_state(UP, FeedState.LIVE)
        w.venue.markets.append(market(2))
        await w.until_state("2001", FeedState.LIVE)
        assert w.venue.heard[-1] == {
            "operation": "subscribe",
            "assets_ids": ["2001", "2002"],
            "custom_feature_enabled": False,
        }


async def test_a_market_that_closes_is_unsubscribed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, market(1), market(2)) as w:
        await w.until_state("2001", FeedState.LIVE)
        w.venue.markets[:] = [market(1)]
        await w.until_state("2001", FeedState.CLOSED)
        await w.edge.until(lambda: w.venue.heard[-1].get("operation") == "unsubscribe")
        assert w.state(UP) is FeedState.LIVE


async def test_deltas_are_published_and_a_wrong_best_price_fetches_the_book(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, market(1)) as w:
        await w.until_state(UP, FeedState.LIVE)
        row = {"asset_id": UP, "price": "0.44", "size": "5", "side": "BUY", "best_bid": "0.45", "best_ask": "0.60"}
        event: dict[str, object] = {"event_type": "price_change", "market": "0xc1", "timestamp": "1790000000001"}
        await w.send(event | {"price_changes": [row]})
        await w.edge.until(lambda: any(isinstance(body, BookDelta) for _, body in w.edge.published))
        await w.send(event | {"price_changes": [row | {"best_bid": "0.46"}]})
        await w.edge.until(lambda: w.venue.fetched == [UP] and w.state(UP) is FeedState.LIVE)
        assert w.feed.board.book_report(GetBook("r", UP)).book.bids[0] == (400_000, 10_000_000)


async def test_a_cut_connection_is_made_again_and_the_books_come_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, market(1)) as w:
        await w.until_state(UP, FeedState.LIVE)
        await w.venue.sockets[-1].close()
        await w.edge.until(lambda: w.state(UP) is not FeedState.LIVE)
        await w.until_state(UP, FeedState.LIVE)
        assert len(w.venue.sockets) == 2


async def test_a_frame_that_cannot_be_read_drops_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, market(1)) as w:
        await w.until_state(UP, FeedState.LIVE)
        await w.venue.sockets[-1].send_str("<html>")
        await w.edge.until(lambda: w.state(UP) is not FeedState.LIVE)
        await w.until_state(UP, FeedState.LIVE)
        assert w.edge.counters["frames_unreadable"] == 1


async def test_it_answers_and_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, market(1)) as w:
        await w.until_state(UP, FeedState.LIVE)
        (markets,) = w.feed.answer(GetMarkets("r1"), "cli")
        assert isinstance(markets, MarketsReport)
        assert [view.market.slug for view in markets.markets] == ["market-1"]
        (book,) = w.feed.answer(GetBook("r2", "market-1", "Down"), "cli")
        assert isinstance(book, BookReport)
        assert book.book.token_id == DOWN
        with pytest.raises(Refusal):
            w.feed.answer(GetBook("r3", "nope"), "cli")
        with pytest.raises(Refusal):
            w.feed.answer(WalletReady("", "", "", "", 0, 0, ""), "cli")


# --- one round of discovery ---


async def found_by(venue: Venue, known: list[Market], markets_max: int = 10) -> tuple[list[Market], str]:
    app = web.Application()
    app.router.add_get("/gamma/markets/keyset", venue.gamma)
    app.router.add_get("/clob-markets/{condition}", venue.clob_market)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    clients = [
        HttpClient(base, total_timeout_s=5, connect_timeout_s=5, connections=8) for base in (f"{url}/gamma", url)
    ]
    try:
        found = await discover(clients[0], clients[1], known, markets_max)
    finally:
        for http in clients:
            await http.close()
        await runner.cleanup()
    return found.markets, found.trouble


async def test_a_known_market_the_venue_no_longer_has_is_closed() -> None:
    venue = Venue()
    venue.markets = [market(1)]
    markets, trouble = await found_by(venue, [market(7)])
    assert [(m.slug, m.accepting) for m in markets] == [("market-1", True), ("market-7", False)]
    assert trouble == ""


async def test_a_known_market_beyond_the_limit_is_asked_for_by_itself_and_stays_open() -> None:
    venue = Venue()
    venue.markets = [market(1), market(2)]
    markets, _ = await found_by(venue, [market(2)], markets_max=1)
    assert [(m.slug, m.accepting) for m in markets] == [("market-1", True), ("market-2", True)]


async def test_a_market_that_cannot_be_read_is_trouble_and_neither_new_nor_closed() -> None:
    venue = Venue()
    venue.markets = [market(1), market(2)]
    venue.broken = {"0xc2"}
    markets, trouble = await found_by(venue, [market(2)])
    assert [m.slug for m in markets] == ["market-1"]
    assert trouble == "market-2: HTTP 500"


async def test_contradicting_token_ids_are_trouble() -> None:
    class Liar(Venue):
        async def clob_market(self, request: web.Request) -> web.Response:
            del request
            return web.json_response({"t": [{"t": "1"}, {"t": "2"}], "mts": 0.01})

    venue = Liar()
    venue.markets = [market(1)]
    assert await found_by(venue, []) == ([], "market-1: Gamma and the CLOB name different tokens")


async def test_a_dead_gamma_is_trouble_and_finds_nothing() -> None:
    clients = [
        HttpClient("http://127.0.0.1:1", total_timeout_s=5, connect_timeout_s=5, connections=1) for _ in range(2)
    ]
    found = await discover(clients[0], clients[1], [market(1)], 10)
    for http in clients:
        await http.close()
    assert found.markets == []
    assert found.trouble.startswith("Gamma: NOT_SENT")
