"""All venues of one market_data process behind one face to the bus.

In: the sources, questions and snapshot requests. Out: one answer for all venues, snapshots of the shared topics made of
every source's part, and one state of the process. Commands of the watch list are Polymarket's: other venues name their
instruments in the settings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from common.edge import Edge
from common.messages import GetBook, GetMarkets, Message
from common.readiness import PATIENCE_S, Readiness
from services.market_data.feed import FRAMES, MarketFeed
from services.market_data.listing import INSTRUMENTS, markets_report
from services.market_data.source import Source
from services.market_data.tokens import FEEDS


class Hub:
    """`first` is Polymarket's feed, which is always there; `others` are the venues that wallets name."""

    def __init__(self, edge: Edge, first: MarketFeed, others: Sequence[Source] = ()) -> None:
        self._edge = edge
        self._first = first
        self.sources: tuple[Source, ...] = (first, *others)
        self._readiness = Readiness((source.venue for source in self.sources), time.monotonic_ns())

    def start(self) -> None:
        self._edge.serve_asks(self.answer)
        self._edge.serve_snapshots(self.snapshot)
        for source in self.sources:
            source.start(partial(self._show, source.venue))
        if len(self.sources) > 1:
            self._edge.spawn(self._lose_patience(), "patience")

    async def close(self) -> None:
        for source in self.sources:
            await source.close()

    # --- bus ---

    def answer(self, query: Message, sender: str) -> list[Message]:
        for source in self.sources:
            source.flush()
        if isinstance(query, GetMarkets):
            return [markets_report(query, (view for source in self.sources for view in source.board.views(query)))]
        if isinstance(query, GetBook):
            knows = next((source for source in self.sources if source.board.find(query.market)), self._first)
            return [knows.board.book_report(query)]
        return self._first.answer(query, sender)

    def snapshot(self, topic: str) -> list[Message]:
        """What every source has of a topic; a token's topic is one source's only."""
        if topic == FRAMES:
            return self._first.frames_snapshot()
        for source in self.sources:
            source.flush()  # the snapshot holds what was applied: it is published first
        wall_ns = time.time_ns()
        if topic in (INSTRUMENTS, FEEDS):
            return [body for source in self.sources for body in source.board.snapshot(topic, wall_ns)]
        token_id = topic.partition(".")[2]
        owner = next((source for source in self.sources if source.board.feeds.get(token_id) is not None), self._first)
        return owner.board.snapshot(topic, wall_ns)

    # --- the state of the process ---

    def _show(self, venue: str, ready: bool, detail: str) -> None:
        if detail and len(self.sources) > 1:
            detail = f"{venue}: {detail}"
        self._readiness.show(venue, ready=ready, detail=detail)
        self._edge.set_state(*self._readiness.state(time.monotonic_ns()))

    async def _lose_patience(self) -> None:
        await asyncio.sleep(PATIENCE_S)
        self._edge.set_state(*self._readiness.state(time.monotonic_ns()))
