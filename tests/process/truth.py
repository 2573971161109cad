"""What the venue's books really were, from the exchange's own stream, and whether a reader's LIVE books keep up.

The simulator's faults strike between it and its clients; this reads what the simulator itself reads.
"""

from __future__ import annotations

import time
from collections import deque

from common.latest import Levels, TokenView
from common.market_reader import MarketReader
from common.messages import Message
from common.types import FeedState
from services.polymarket_sim.books import BookReplica, Books

PIPELINE_NS = 1_000_000_000
"""A LIVE book may be this far behind the exchange: two sockets, three processes, a machine with other work."""
KEPT = 5_000

Version = tuple[Levels, Levels]


class Truth:
    """Every version of every token's book with the time it was replaced; a sink of the exchange's "market" stream."""

    def __init__(self) -> None:
        self._books = Books()
        self._now: dict[str, Version] = {}
        self._before: dict[str, deque[tuple[int, Version]]] = {}
        self.gaps = 0

    def on_snapshot(self, bodies: list[Message]) -> None:
        self._books.replace(bodies)
        for replica in self._books.by_condition.values():
            self._note(replica)

    def on_event(self, body: Message) -> None:
        changed = {row.event.market for row in self._books.apply(body) if hasattr(row.event, "market")}
        for condition_id in changed:
            self._note(self._books.by_condition[condition_id])

    def on_gap(self) -> None:
        self.gaps += 1

    def _note(self, replica: BookReplica) -> None:
        for index, token_id in enumerate(replica.market.token_ids):
            book = replica.book(index)
            version = (tuple(reversed(book.bids)), tuple(reversed(book.asks)))
            before = self._now.get(token_id)
            if before is not None and before != version:
                self._before.setdefault(token_id, deque(maxlen=KEPT)).append((time.monotonic_ns(), before))
            self._now[token_id] = version

    @property
    def tokens(self) -> list[str]:
        return list(self._now)

    def is_true(self, view: TokenView, now_ns: int) -> bool:
        """Whether the view is the book now, or was until a moment ago."""
        shown = (view.bids, view.asks)
        if shown == self._now.get(view.token_id):
            return True
        recent = self._before.get(view.token_id, ())
        return any(shown == version for until_ns, version in recent if now_ns - until_ns <= PIPELINE_NS)


TICK_CHANGED = "the tick changed"


class Watch:
    """Looks at the LIVE books of a reader again and again: how long has each been wrong?"""

    def __init__(self, truth: Truth, reader: MarketReader, tokens: list[str]) -> None:
        self._truth = truth
        self._reader = reader
        self._tokens = tokens
        self._wrong_since: dict[str, int] = {}
        self.longest_ns = 0
        self.states: set[FeedState] = set()
        self.reasons: set[str] = set()

    def begin(self) -> None:
        """Forget what was measured so far."""
        self.longest_ns = 0
        self.states, self.reasons = set(), set()

    def look(self) -> None:
        now_ns = time.monotonic_ns()
        for token_id in self._tokens:
            view = self._reader.book(token_id)
            if view is None:
                continue
            if view.reason == TICK_CHANGED:
                self._wrong_since.pop(token_id, None)
                continue  # the recorded market changed its grid: no fault, and the book says so
            self.states.add(view.state)
            if view.state is not FeedState.LIVE:
                self.reasons.add(view.reason)
            if view.state is not FeedState.LIVE or self._truth.is_true(view, now_ns):
                self._wrong_since.pop(token_id, None)
                continue
            since = self._wrong_since.setdefault(token_id, now_ns)
            self.longest_ns = max(self.longest_ns, now_ns - since)

    def all_live_and_true(self) -> bool:
        now_ns = time.monotonic_ns()
        views = [self._reader.book(token_id) for token_id in self._tokens]
        return all(
            view is not None and view.state is FeedState.LIVE and self._truth.is_true(view, now_ns) for view in views
        )
