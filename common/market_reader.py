"""A process's eyes on the market: follows tokens on the bus and keeps a LatestBook.

In: the token ids to follow. Out: the cache, complete with gaps and the silence of market_data; a callback for whoever
must act on changes. Late joiners and readers that lost frames get a snapshot from market_data; the venue is not asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from common.edge import Edge, StreamSink
from common.effects import Now
from common.instruments import Market
from common.latest import LatestBook, TokenView
from common.messages import BookDelta, BookSnapshot, MarketListed, Message, TradePrint

OWNER = "market_data"
Changed = Callable[[str], None]
Listed = Callable[[Market], None]


class MarketReader:
    """Wire one per process. `on_change` is called with the token id after each change of its view, `on_listed` with
    each market that is new or changed."""

    def __init__(self, edge: Edge, on_change: Changed | None = None, on_listed: Listed | None = None) -> None:
        self.latest = LatestBook()
        self._edge = edge
        self._on_change = on_change or _ignore
        self._followed: set[str] = set()
        edge.subscribe(OWNER, "instruments", _Instruments(self.latest, on_listed or _ignore))

    def follow(self, token_ids: Iterable[str], *, trades: bool = True) -> None:
        for token_id in token_ids:
            if token_id not in self._followed:
                self._followed.add(token_id)
                self._edge.subscribe(OWNER, f"book.{token_id}", _Book(token_id, self))
                if trades:
                    self._edge.subscribe(OWNER, f"trades.{token_id}", _Trades(self.latest))

    def unfollow(self, token_ids: Iterable[str]) -> None:
        for token_id in self._followed.intersection(token_ids):
            self._followed.discard(token_id)
            self._edge.unsubscribe(OWNER, f"book.{token_id}")
            self._edge.unsubscribe(OWNER, f"trades.{token_id}")
            self.latest.forget(token_id)

    def book(self, token_id: str) -> TokenView | None:
        """The newest version as of now, and whether market_data still vouches for it."""
        return self.latest.book(token_id, self.now())

    def changed(self, token_id: str) -> None:
        self._on_change(token_id)

    def begin_anew(self, token_id: str, sink: StreamSink) -> None:
        """A version was missed that the bus did not miss: ask for the whole book."""
        self._edge.unsubscribe(OWNER, f"book.{token_id}")
        self._edge.subscribe(OWNER, f"book.{token_id}", sink)

    def now(self) -> Now:
        """The clocks; what was heard of market_data up to here is noted first."""
        self.latest.on_heard(self._edge.heard_ns(OWNER), self._edge.epoch_of(OWNER).n)
        return Now(time.time_ns(), time.monotonic_ns())


class _Instruments:
    def __init__(self, latest: LatestBook, on_listed: Listed) -> None:
        self._latest = latest
        self._on_listed = on_listed

    def on_snapshot(self, bodies: list[Message]) -> None:
        for body in bodies:
            self.on_event(body)

    def on_event(self, body: Message) -> None:
        if isinstance(body, MarketListed):
            self._latest.follow(body.market)
            self._on_listed(body.market)

    def on_gap(self) -> None:
        """Tokens of a market never change: what was listed stays right until the snapshot comes."""


class _Book:
    """The sink of one token's book."""

    def __init__(self, token_id: str, reader: MarketReader) -> None:
        self._token_id = token_id
        self._reader = reader
        self._latest = reader.latest

    def on_snapshot(self, bodies: list[Message]) -> None:
        for body in bodies:
            self.on_event(body)

    def on_event(self, body: Message) -> None:
        missed = self._latest.discontinuities
        if isinstance(body, BookDelta):
            self._latest.on_delta(body)
        elif isinstance(body, BookSnapshot):
            self._latest.on_snapshot(body)
        if self._latest.discontinuities != missed:
            self._reader.begin_anew(self._token_id, self)
        self._reader.changed(self._token_id)

    def on_gap(self) -> None:
        self._latest.on_gap(self._token_id)
        self._reader.changed(self._token_id)


class _Trades:
    """The sink of one token's trades."""

    def __init__(self, latest: LatestBook) -> None:
        self._latest = latest

    def on_snapshot(self, bodies: list[Message]) -> None:
        """Trades have no state: what was missed is missed."""

    def on_event(self, body: Message) -> None:
        if isinstance(body, TradePrint):
            self._latest.on_trade(body)

    def on_gap(self) -> None:
        """Nothing is known to be missing before the next one."""


def _ignore(news: object) -> None:
    del news
