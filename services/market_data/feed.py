"""Polymarket's market data: discovery, market-channel connections and REST books in; streams and answers out.

Every decision is core.py's (books, trust) or pool.py's (which connection). This file moves bytes and keeps time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random

from common.edge import Edge
from common.effects import Log, Now, Publish
from common.errors import Refusal
from common.http import HttpClient, HttpFailure, HttpReply
from common.latest import EPOCH_SHIFT
from common.messages import (
    BookSnapshot,
    FeedFrame,
    FeedMark,
    GetWatchList,
    Message,
    UnwatchMarkets,
    WatchMarkets,
)
from common.reasons import Reason
from common.types import FeedState
from common.venues.polymarket.market import add_frame, remove_frame, subscribe_frame
from common.venues.polymarket.wire import BookObject, encode_json, parse_book, parse_books
from common.ws import Loss, WsClient
from services.market_data.core import Board
from services.market_data.discovery import VENUE, Discovery
from services.market_data.effects import Drop, Effect, FetchBooks, Keep, Move
from services.market_data.feeds import CHECK_NS
from services.market_data.pool import Add, Close, Open, Order, Pool, Remove
from services.market_data.rules import Rules
from services.market_data.source import Show
from services.market_data.storage import WatchFile
from services.market_data.watchlist import WatchList

FRAMES = "frames"
NS_PER_S = 1_000_000_000
REQUEST_TIMEOUT_S = 5.0
RETRY_AFTER_MAX_S = 60
FIRST_REFRESH_S = 1.0
WATCH_S = 1.0


class Line:
    """One market-channel connection, of the pool's number."""

    def __init__(self, feed: MarketFeed, number: int, rng: Random) -> None:
        self._feed = feed
        self._number = number
        self._is_open = False
        settings = feed.edge.settings
        self.ws = WsClient(
            settings.polymarket.market_ws_url,
            self,
            ping_interval_s=settings.market_data.ping_interval_s,
            dead_after_s=settings.market_data.dead_after_s,
            rng=rng,
            counters=feed.edge.counters,
        )
        self.task = feed.edge.spawn(self.ws.run(), f"market-channel-{number}")

    @property
    def is_open(self) -> bool:
        return self._is_open

    def on_connected(self) -> Sequence[bytes]:
        self._is_open = True
        return self._feed.on_opened(self._number)

    def on_frame(self, raw: bytes) -> None:
        self._feed.on_frame(self._number, raw)

    def on_pong(self) -> None:
        """Nothing: a book is LIVE by its events and witnesses, and dead_after_s watches the silence."""

    def on_lost(self, loss: Loss) -> None:
        self._is_open = False
        self._feed.on_lost(self._number, loss)


class MarketFeed:
    """Everything of Polymarket in one market_data process (a Source, source.py)."""

    venue = VENUE

    def __init__(self, edge: Edge, *, rng: Random) -> None:
        self.edge = edge
        settings = edge.settings.market_data
        self.board = Board(Rules.of(settings), edge.epoch.n << EPOCH_SHIFT)
        self.pool = Pool(settings.tokens_per_connection, settings.rotate_after_s * NS_PER_S)
        self._rng = rng
        self._lines: dict[int, Line] = {}
        self._flushing = False
        self._last_frame = b""
        self._records = edge.settings.recorder.enabled
        self._custom = settings.custom_features
        self._rest_trouble = self._trouble = ""
        self._was_live = False
        self._show: Show = _unshown
        venue = edge.settings.polymarket
        self._gamma = self._client(venue.gamma_url)
        self._clob_setting = "polymarket.feed_clob_url" if venue.feed_clob_url else "polymarket.clob_url"
        self._clob = self._client(venue.feed_clob_url or venue.clob_url)
        self._file = WatchFile(edge.settings.paths.data_dir)
        self.watch = WatchList(settings.watch, self._file.load(), settings.markets_max)
        self._discovery = Discovery(self._gamma, self._clob, self.watch, settings.markets_max, self._clob_setting)
        self._look = asyncio.Event()
        self._orders: deque[Order] = deque()
        self._obeying = asyncio.Lock()

    def _client(self, url: str) -> HttpClient:
        return HttpClient(
            url,
            total_timeout_s=REQUEST_TIMEOUT_S,
            connect_timeout_s=REQUEST_TIMEOUT_S / 2,
            connections=16,
            counters=self.edge.counters,
        )

    def start(self, show: Show) -> None:
        self._show = show
        show(False, "looking for markets")
        self.edge.spawn(self._keep_discovering(), "discovery")
        self.edge.spawn(self._keep_time(), "time")
        self.edge.spawn(self._keep_watching(), "watch")

    async def close(self) -> None:
        await self._gamma.close()
        await self._clob.close()

    # --- bus ---

    def answer(self, query: Message, sender: str) -> list[Message]:
        """The watch list's commands; what is asked of every venue is answered by hub.py."""
        del sender
        if isinstance(query, GetWatchList):
            return [self.watch.report(query.request_id)]
        if isinstance(query, WatchMarkets | UnwatchMarkets):
            return [self._watch(query)]
        raise Refusal(Reason.UNKNOWN_MESSAGE, f"market_data does not answer {type(query).__name__}")

    def _watch(self, command: WatchMarkets | UnwatchMarkets) -> Message:
        """Stored before it is answered; followed as soon as the next look at the venue knows the markets."""
        change = self.watch.plan(command)
        if change.saved != self.watch.saved:
            self._file.store(change.saved)
            self._look.set()
        return self.watch.commit(change)

    def flush(self) -> None:
        self.perform(self.board.flush(_now()))

    def frames_snapshot(self) -> list[Message]:
        """How a recording begins: the open connections and every book that can be trusted."""
        now = _now()
        opened = [self._mark(number, "OPENED", now) for number, line in self._lines.items() if line.is_open]
        return [*opened, *self.board.live_snapshots()]

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish():
                    self.edge.publish(effect.topic, effect.body)
                case FetchBooks():
                    self.edge.spawn(self._fetch(effect), "fetch-books")
                case Move():
                    self.edge.log.warning("token_moved", token=effect.token_id, away_from=effect.connection)
                    self._orders += self.pool.move(effect.token_id, effect.connection)
                    self.edge.spawn(self._obey(), "move")
                case Keep():
                    self._orders += self.pool.keep(effect.token_id, effect.connection)
                    self.edge.spawn(self._obey(), "keep")
                case Drop():
                    if (line := self._lines.get(effect.connection)) is not None:
                        line.ws.drop(effect.reason)
                case Log():
                    getattr(self.edge.log, effect.level)(effect.event, **effect.fields)

    # --- connections ---

    def on_opened(self, connection: int) -> Sequence[bytes]:
        """The frames to send first. A connection that lost its last token meanwhile is about to be closed."""
        tokens, now = self.pool.tokens(connection), _now()
        if not tokens:
            return []
        self.pool.opened(connection, now.mono_ns)
        self._record(self._mark(connection, "OPENED", now))
        self.perform(self.board.on_opened(connection, tokens, now))
        return [subscribe_frame(tokens, custom=self._custom)]

    def on_lost(self, connection: int, loss: Loss) -> None:
        now, reason = _now(), f"{loss.kind.value}: {loss.text}"
        self.edge.log.warning("market_feed_lost", connection=connection, kind=loss.kind.value, text=loss.text)
        self._record(self._mark(connection, "LOST", now, text=reason))
        self.perform(self.board.on_lost(connection, reason, now))
        for order in self.pool.lost(connection):
            assert isinstance(order, Close)
            self._close_line(order.connection)

    def on_frame(self, connection: int, raw: bytes) -> None:
        now = _now()
        if self._records:
            self.edge.publish(FRAMES, FeedFrame(connection, now.wall_ns, raw))
        self._last_frame = raw
        effects = self.board.on_frame(connection, raw, now)
        if effects:
            self.perform(effects)
        if not self._flushing:
            # Behind everything this turn of the loop still brings: one delta a token, whatever came.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.flush()
        if not self._was_live:
            self._show_state()

    async def _obey(self, orders: Sequence[Order] = ()) -> None:
        """Orders are obeyed in the order in which the pool gave them, whoever waits for it."""
        self._orders += orders
        async with self._obeying:
            while self._orders:
                await self._obey_one(self._orders.popleft())

    async def _obey_one(self, order: Order) -> None:
        match order:
            case Open():
                self._lines[order.connection] = Line(self, order.connection, self._rng)
            case Close():
                self._close_line(order.connection)
            case Remove():
                await self._send(order.connection, remove_frame(order.token_ids))
                now = _now()
                self._record(self._mark(order.connection, "REMOVED", now, order.token_ids))
                self.perform(self.board.on_removed(order.connection, order.token_ids, now))
            case Add():
                frame = add_frame(order.token_ids, custom=self._custom)
                if await self._send(order.connection, frame):
                    now = _now()
                    self._record(self._mark(order.connection, "ADDED", now, order.token_ids))
                    self.perform(self.board.on_opened(order.connection, order.token_ids, now))

    async def _send(self, connection: int, frame: bytes) -> bool:
        """False when it is not open: then on_opened names all its tokens."""
        line = self._lines.get(connection)
        return line is not None and line.is_open and await line.ws.send(frame)

    def _close_line(self, connection: int) -> None:
        line = self._lines.pop(connection)
        line.task.cancel()
        now = _now()
        if line.is_open:
            self._record(self._mark(connection, "LOST", now, text="not needed any more"))
        self.perform(self.board.on_lost(connection, "the connection is not needed any more", now))

    # --- recording ---

    def _mark(
        self, connection: int, kind: str, now: Now, token_ids: Sequence[str] | None = None, text: str = ""
    ) -> FeedMark:
        tokens = self.pool.tokens(connection) if token_ids is None else list(token_ids)
        return FeedMark(connection, now.wall_ns, kind, tokens, text)

    def _record(self, said: FeedMark | BookSnapshot) -> None:
        if self._records:
            self.edge.publish(FRAMES, said)

    def _perform_recorded(self, effects: Sequence[Effect]) -> None:
        """Effects of something that is no frame: a book made whole by it is recorded, a replay cannot fetch it."""
        self.perform(effects)
        for effect in effects:
            body = effect.body if isinstance(effect, Publish) else None
            if isinstance(body, BookSnapshot) and body.state is FeedState.LIVE:
                self._record(body)

    # --- REST ---

    async def _fetch(self, request: FetchBooks) -> None:
        """GET /book or POST /books. Whatever came of it, the board hears of it and asks again when it must."""
        books: Sequence[BookObject] = ()
        try:
            books = await self._books(request.token_ids)
            trouble = ""
        except Refusal as refusal:
            trouble = refusal.message
        if trouble != self._rest_trouble:
            self._rest_trouble = trouble
            self.edge.log.warning("books_unavailable" if trouble else "books_available", text=trouble)
        self._perform_recorded(self.board.on_fetched(request, books, _now()))

    async def _books(self, token_ids: Sequence[str]) -> list[BookObject]:
        """Raises Refusal when there is no answer that can be read."""
        if len(token_ids) == 1:
            reply = await self._clob.request("GET", "/book", query=[("token_id", token_ids[0])])
            if isinstance(reply, HttpReply) and reply.status == 404:
                return []
            return [parse_book(self._body(reply))]
        wanted = encode_json([{"token_id": token_id} for token_id in token_ids])
        return parse_books(self._body(await self._clob.request("POST", "/books", body=wanted)))

    def _body(self, reply: HttpReply | HttpFailure) -> bytes:
        if isinstance(reply, HttpFailure):
            raise Refusal(Reason.VENUE_UNAVAILABLE, f"{self._clob_setting}: {reply.kind.value}: {reply.text}")
        if reply.status == 429:
            asked = reply.headers.get("Retry-After", "")
            pause_s = min(int(asked), RETRY_AFTER_MAX_S) if asked.isdecimal() else 1
            self.board.feeds.pause_requests(time.monotonic_ns() + pause_s * NS_PER_S)
        if reply.status != 200:
            raise Refusal(Reason.VENUE_UNAVAILABLE, f"{self._clob_setting}: HTTP {reply.status}")
        return reply.body

    # --- time ---

    async def _keep_time(self) -> None:
        pause_s = min(CHECK_NS, NS_PER_S // self.edge.settings.market_data.depth_updates_per_s) / NS_PER_S
        while True:
            await asyncio.sleep(pause_s)
            now = _now()
            self.perform(self.board.flush(now))
            self._perform_recorded(self.board.on_time(now))

    async def _keep_watching(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await self._obey(self.pool.rotate(time.monotonic_ns(), self.board.feeds.sources()))
            self.perform(self.board.sample(self._last_frame))
            self.edge.counters.update(self.board.counters)
            self.board.counters.clear()
            self._show_state()

    async def _keep_discovering(self) -> None:
        """Often while markets keep appearing (a venue that has just started), then every refresh_s; at once when the
        watch list changed."""
        refresh_s = self.edge.settings.market_data.refresh_s
        delay_s = FIRST_REFRESH_S
        while True:
            self._look.clear()
            before = len(self.board.open_tokens())
            await self._discover()
            grew = len(self.board.open_tokens()) > before
            delay_s = FIRST_REFRESH_S if grew else min(delay_s * 2, float(refresh_s))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), delay_s)

    async def _discover(self) -> None:
        """One round: what the watch list leads to is followed, what it no longer wants is let go first."""
        began_ns = time.monotonic_ns()
        found = await self._discovery.round([market for market in self.board.markets if market.accepting])
        trouble = self._file.problem or found.trouble
        if trouble != self._trouble:
            self._trouble = trouble
            self.edge.log.warning("discovery_trouble" if trouble else "discovery_recovered", text=trouble)
        wanted = self.watch.wanted() | {market.condition_id for market in found.markets if not market.accepting}
        unwanted = [market.condition_id for market in self.board.markets if market.condition_id not in wanted]
        self.perform(self.board.unwatched(unwanted, _now()))
        self.perform(self.board.discovered(found.markets, began_ns, _now()))
        await self._obey(self.pool.follow(self.board.open_tokens()))
        self._show_state()

    def _show_state(self) -> None:
        """READY once markets were found and a first book came; the detail says what is missing."""
        live, open_tokens = self.board.live_books, 2 * len(self.board.open_tokens())
        self.edge.counters["books_live"] = live
        self.edge.counters["connections"] = len(self.pool)
        self.edge.counters["lag_ms"] = self.board.feeds.lag_ms
        self._was_live = self._was_live or live > 0
        if self._was_live:
            doubtful = f"{open_tokens - live} of {open_tokens} books are not LIVE" if live < open_tokens else ""
            self._show(True, self._trouble or doubtful)
        elif not self.board.markets:
            self._show(False, self._trouble or "no tradable market found yet")
        else:
            self._show(False, "waiting for the first book")


def _unshown(ready: bool, detail: str) -> None:
    """Before it is started a feed has nothing to say of itself."""


def _now() -> Now:
    return Now(time.time_ns(), time.monotonic_ns())
