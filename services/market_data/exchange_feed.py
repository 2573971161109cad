"""Our own exchange's markets as a venue of their own: its "market" stream in, streams of market_data out.

Every decision is exchange_books.py's. This file reads the stream, keeps time, and watches whether the exchange is
heard: a silent one may have any book.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from common.edge import Edge
from common.effects import Now, Publish
from common.latest import EPOCH_SHIFT, SILENT_AFTER_NS
from common.messages import Message
from common.venues.exchange.names import VENUE
from services.market_data.effects import Effect
from services.market_data.exchange_books import ExchangeBooks
from services.market_data.feeds import CHECK_NS
from services.market_data.plain import PlainBoard
from services.market_data.rules import Rules
from services.market_data.source import Show, Source

OWNER = "exchange"
TOPIC = "market"
NS_PER_S = 1_000_000_000
WAITING = "waiting for the stream of the exchange"
SILENT = "the exchange is silent"


class ExchangeFeed:
    """The sink of the exchange's "market" stream, and the board of its markets."""

    venue = VENUE

    def __init__(self, edge: Edge) -> None:
        self.board = PlainBoard(Rules.of(edge.settings.market_data), edge.epoch.n << EPOCH_SHIFT)
        self._edge = edge
        self._books = ExchangeBooks(self.board)
        self._is_continuous = self._is_silent = self._flushing = False
        self._show: Show | None = None

    def start(self, show: Show) -> None:
        self._show = show
        show(False, WAITING)
        self._edge.subscribe(OWNER, TOPIC, self)
        self._edge.spawn(self._keep_time(), "exchange-time")

    def flush(self) -> None:
        self._perform(self._books.flush(_now()))

    async def close(self) -> None:
        """Nothing is open but the bus."""

    # --- StreamSink ---

    def on_snapshot(self, bodies: list[Message]) -> None:
        self._is_continuous, self._is_silent = True, False
        self._perform(self._books.snapshot(bodies, _now()))
        self._show_state()

    def on_event(self, body: Message) -> None:
        self._break_silence()
        self._perform(self._books.event(body, _now()))
        if self._books.contradicted:
            self._ask_anew()
        elif not self._flushing:
            # Behind everything this turn of the loop still brings: one delta a token, whatever came.
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush_later)

    def on_gap(self) -> None:
        self._is_continuous = False
        self._perform(self._books.lost("events of the exchange's stream were lost", _now()))
        self._show_state()

    def _ask_anew(self) -> None:
        self._edge.counters["exchange_books_contradicted"] += 1
        self._edge.log.warning("exchange_book_contradicted")
        self._edge.unsubscribe(OWNER, TOPIC)
        self.on_gap()
        self._edge.subscribe(OWNER, TOPIC, self)

    def _flush_later(self) -> None:
        self._flushing = False
        self.flush()

    # --- time ---

    async def _keep_time(self) -> None:
        pause_s = min(CHECK_NS, NS_PER_S // self._edge.settings.market_data.depth_updates_per_s) / NS_PER_S
        while True:
            await asyncio.sleep(pause_s)
            self.check_silence()
            self.flush()
            self._perform(self.board.on_time(_now()))

    def check_silence(self) -> None:
        """A healthy exchange is heard every 500 ms."""
        silent = time.monotonic_ns() - self._edge.heard_ns(OWNER) > SILENT_AFTER_NS
        if not silent:
            self._break_silence()
        elif self._is_continuous and not self._is_silent:
            self._is_silent = True
            self._perform(self._books.lost(SILENT, _now()))
            self._show_state()

    def _break_silence(self) -> None:
        """It is heard again, and no gap was seen: what it said before still holds."""
        if self._is_silent:
            self._is_silent = False
            if self._is_continuous:
                self._perform(self._books.restored(_now()))
            self._show_state()

    def _show_state(self) -> None:
        """Serving from the first snapshot on; later the detail says what is missing."""
        counters = self._edge.counters
        counters["exchange_books_live"] = self.board.live_books
        counters.update(self.board.counters)
        self.board.counters.clear()
        if self._show is not None:
            self._show(self._is_continuous, SILENT if self._is_silent else "" if self._is_continuous else WAITING)

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Publish), "a board of whole books asks nothing of its shell"
            self._edge.publish(effect.topic, effect.body)


def open_exchange(edge: Edge, venue: str) -> Source:
    assert venue == VENUE
    return ExchangeFeed(edge)


def _now() -> Now:
    return Now(time.time_ns(), time.monotonic_ns())
