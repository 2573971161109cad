"""A process's eyes on the market: follows tokens on the bus and keeps a LatestBook.

In: the token ids to follow. Out: the cache, complete with gaps and the silence of market_data; a callback for whoever
must act on changes. Late joiners and readers that lost frames get a snapshot from market_data; the venue is not asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from common.edge import Edge
from common.effects import Now
from common.latest import LatestBook, TokenView
from common.messages import BookDelta, BookSnapshot, MarketListed, Message, TradePrint

OWNER = "market_data"
Changed = Callable[[str], None]


class MarketReader:
    """Wire one per process. `on_change` is called with the token id after each change of its view."""

    def __init__(self, edge: Edge, on_change: Changed | None = None) -> None:
        self.latest = LatestBook()
        self._edge = edge
        self._on_change = on_change or _ignore
        self._followed: set[str] = set()
        edge.subscribe(OWNER, "instruments", _Instruments(self.latest))

    def follow(self, token_ids: Iterable[str], *, trades: bool = True) -> None:
        for token_id in token_ids:
            if token_id not in self._followed:
                self._followed.add(token_id)
                self._edge.subscribe(OWNER, f"book.{token_id}", _Token(token_id, self.latest, self._on_change))
                if trades:
                    self._edge.subscribe(OWNER, f"trades.{token_id}", _Token(token_id, self.latest, _ignore))

    def unfollow(self, token_ids: Iterable[str]) -> None:
        for token_id in self._followed.intersection(token_ids):
            self._followed.discard(token_id)
            self._edge.unsubscribe(OWNER, f"book.{token_id}")
            self._edge.unsubscribe(OWNER, f"trades.{token_id}")
            self.latest.forget(token_id)

    def book(self, token_id: str) -> TokenView | None:
        """The newest version as of now, and whether market_data still vouches for it."""
        return self.latest.book(token_id, self.now())

    def now(self) -> Now:
        """The clocks; what was heard of market_data up to here is noted first."""
        self.latest.on_heard(self._edge.heard_ns(OWNER))
        return Now(time.time_ns(), time.monotonic_ns())


class _Instruments:
    def __init__(self, latest: LatestBook) -> None:
        self._latest = latest

    def on_snapshot(self, bodies: list[Message]) -> None:
        for body in bodies:
            self.on_event(body)

    def on_event(self, body: Message) -> None:
        if isinstance(body, MarketListed):
            self._latest.follow(body.market)

    def on_gap(self) -> None:
        """Tokens of a market never change: what was listed stays right until the snapshot comes."""


class _Token:
    """The sink of one token's book and of its trades."""

    def __init__(self, token_id: str, latest: LatestBook, on_change: Changed) -> None:
        self._token_id = token_id
        self._latest = latest
        self._on_change = on_change

    def on_snapshot(self, bodies: list[Message]) -> None:
        for body in bodies:
            self.on_event(body)

    def on_event(self, body: Message) -> None:
        match body:
            case BookDelta():
                self._latest.on_delta(body)
            case BookSnapshot():
                self._latest.on_snapshot(body)
            case TradePrint():
                self._latest.on_trade(body)
        self._on_change(self._token_id)

    def on_gap(self) -> None:
        self._latest.on_gap(self._token_id)
        self._on_change(self._token_id)


def _ignore(token_id: str) -> None:
    del token_id
