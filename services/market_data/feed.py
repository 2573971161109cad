"""The shell of market_data: discovery, market-channel connections and REST books in; streams and answers out.

Every decision is core.py's (books, trust) or shards.py's (which connection). This file moves bytes and keeps time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from random import Random

from common.edge import Edge
from common.effects import Now, Publish
from common.errors import Refusal
from common.http import HttpClient, HttpFailure, HttpReply
from common.messages import GetBook, GetMarkets, Message
from common.reasons import Reason
from common.types import FeedState
from common.venues.polymarket.market import add_frame, parse_market_frame, remove_frame, subscribe_frame
from common.venues.polymarket.wire import BookObject, parse_book
from common.ws import Loss, WsClient
from services.market_data.core import Board, Effect
from services.market_data.discovery import discover
from services.market_data.shards import Change, Shards

FETCHES_AT_ONCE = 4
REQUEST_TIMEOUT_S = 5.0
FIRST_REFRESH_S = 1.0
WATCH_S = 1.0


class Shard:
    """One market-channel connection and the tokens on it."""

    def __init__(self, feed: MarketFeed, number: int, rng: Random) -> None:
        self._feed = feed
        self._number = number
        settings = feed.edge.settings
        self.ws = WsClient(
            settings.polymarket.market_ws_url,
            self,
            ping_interval_s=settings.market_data.ping_interval_s,
            dead_after_s=settings.market_data.dead_after_s,
            rng=rng,
            counters=feed.edge.counters,
        )

    @property
    def tokens(self) -> list[str]:
        return self._feed.shards.tokens(self._number)

    def on_connected(self) -> Sequence[bytes]:
        board = self._feed.board
        self._feed.perform(board.on_subscribed(self.tokens, _now()))
        return [subscribe_frame(self.tokens, custom=False)]

    def on_frame(self, raw: bytes) -> None:
        self._feed.on_frame(raw, self.ws)

    def on_pong(self) -> None:
        """Nothing: a book is LIVE by its snapshot, and dead_after_s watches the silence."""

    def on_lost(self, loss: Loss) -> None:
        reason = f"{loss.kind.value}: {loss.text}"
        self._feed.edge.log.warning("market_feed_lost", shard=self._number, kind=loss.kind.value, text=loss.text)
        self._feed.perform(self._feed.board.on_lost(self.tokens, FeedState.CONNECTING, reason, _now()))


class MarketFeed:
    """Everything of one market_data process."""

    def __init__(self, edge: Edge, *, rng: Random) -> None:
        self.edge = edge
        self.board = Board(edge.settings.market_data.markets_max)
        self.shards = Shards()
        self._rng = rng
        self._connections: list[Shard] = []
        self._fetching: set[str] = set()
        self._fetch_again: set[str] = set()
        self._fetch_gate = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._trouble = ""
        self._was_live = False
        venue = edge.settings.polymarket
        self._gamma = self._client(venue.gamma_url)
        self._clob = self._client(venue.clob_url)

    def _client(self, url: str) -> HttpClient:
        return HttpClient(
            url,
            total_timeout_s=REQUEST_TIMEOUT_S,
            connect_timeout_s=REQUEST_TIMEOUT_S / 2,
            connections=16,
            counters=self.edge.counters,
        )

    def start(self) -> None:
        self.edge.serve_asks(self.answer)
        self.edge.serve_snapshots(lambda topic: self.board.snapshot(topic, time.time_ns()))
        self.edge.set_state("STARTING", "looking for markets")
        self.edge.spawn(self._keep_discovering(), "discovery")
        self.edge.spawn(self._keep_watching(), "watch")

    async def close(self) -> None:
        await self._gamma.close()
        await self._clob.close()

    # --- bus ---

    def answer(self, query: Message, sender: str) -> list[Message]:
        del sender
        if isinstance(query, GetMarkets):
            return [self.board.report(query)]
        if isinstance(query, GetBook):
            return [self.board.book_report(query)]
        raise Refusal(Reason.UNKNOWN_MESSAGE, f"market_data does not answer {type(query).__name__}")

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                self.edge.publish(effect.topic, effect.body)
            elif effect.token_id in self._fetching:
                self._fetch_again.add(effect.token_id)  # what is on its way may be older than the reason to ask
            else:
                self._fetching.add(effect.token_id)
                self.edge.spawn(self._fetch(effect.token_id), "fetch-book")

    # --- venue ---

    def on_frame(self, raw: bytes, ws: WsClient) -> None:
        try:
            events = parse_market_frame(raw)
        except Refusal as refusal:
            # Whose book it was cannot be told: all books of this connection come anew.
            self.edge.counters["frames_unreadable"] += 1
            ws.drop(f"unreadable frame: {refusal.message}"[:100])
            return
        now = _now()
        for event in events:
            self.perform(self.board.on_event(event, now))
        if not self._was_live:
            self._show_state()

    async def _fetch(self, token_id: str) -> None:
        """GET /book, again when it was wanted again meanwhile. When it fails, the watch asks again."""
        book: BookObject | None = None
        wanted = True
        while wanted:
            self._fetch_again.discard(token_id)
            async with self._fetch_gate:
                book = _book_of(await self._clob.request("GET", "/book", query=[("token_id", token_id)]))
            wanted = token_id in self._fetch_again
        self._fetching.discard(token_id)
        if book is None or book.token_id != token_id:
            self.edge.counters["book_fetches_failed"] += 1
            return
        self.perform(self.board.on_fetched(book, _now()))

    async def _keep_watching(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self.perform(self.board.overdue(_now()))
            self.edge.counters.update(self.board.counters)
            self.board.counters.clear()
            self._show_state()

    async def _keep_discovering(self) -> None:
        """Often while markets keep appearing (a venue that has just started), then every refresh_s."""
        settings = self.edge.settings.market_data
        delay_s = FIRST_REFRESH_S
        while True:
            began_ns = time.monotonic_ns()
            known = [market for market in self.board.markets if market.accepting]
            found = await discover(self._gamma, self._clob, known, settings.markets_max)
            if found.trouble != self._trouble:
                self._trouble = found.trouble
                if found.trouble:
                    self.edge.log.warning("discovery_trouble", text=found.trouble, found=len(found.markets))
                else:
                    self.edge.log.info("discovery_recovered", found=len(found.markets))
            self.perform(self.board.discovered(found.markets, began_ns))
            await self._follow(self.shards.follow(self.board.open_tokens()))
            self._show_state()
            grew = len(self.board.open_tokens()) > len(known)
            delay_s = FIRST_REFRESH_S if grew else min(delay_s * 2, float(settings.refresh_s))
            await asyncio.sleep(delay_s)

    async def _follow(self, changes: list[Change]) -> None:
        for change in changes:
            if change.shard == len(self._connections):
                shard = Shard(self, change.shard, self._rng)
                self._connections.append(shard)
                self.edge.spawn(shard.ws.run(), f"market-channel-{change.shard}")
                continue
            ws = self._connections[change.shard].ws
            if change.removed:
                await ws.send(remove_frame(change.removed))
                self.perform(self.board.on_lost(change.removed, FeedState.CLOSED, "the market closed", _now()))
            if change.added and await ws.send(add_frame(change.added, custom=False)):
                self.perform(self.board.on_subscribed(change.added, _now()))

    def _show_state(self) -> None:
        """READY once markets were found and a first book came; the detail says what is missing."""
        live = self.board.live_books
        self.edge.counters["books_live"] = live
        self._was_live = self._was_live or live > 0
        if self._was_live:
            detail = self._trouble or ("" if live else "no book is LIVE")
            self.edge.set_state("READY", detail)
        elif not self.board.markets:
            self.edge.set_state("STARTING", self._trouble or "no tradable market found yet")
        else:
            self.edge.set_state("STARTING", "waiting for the first book")


def _now() -> Now:
    return Now(time.time_ns(), time.monotonic_ns())


def _book_of(reply: HttpReply | HttpFailure) -> BookObject | None:
    """The book in an answer; None when there is none that can be read."""
    if isinstance(reply, HttpFailure) or reply.status != 200:
        return None
    try:
        return parse_book(reply.body)
    except Refusal:
        return None
