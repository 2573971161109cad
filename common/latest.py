"""The newest book of every token a reader follows: one writer, immutable views swapped whole (spec 1's cache). Pure.

In: what market_data publishes of a token, gaps, and every sign of life of market_data. Out: views that never change,
their age, and whether they can be traded on. A view is LIVE only while nothing was lost between the processes and
market_data itself is heard: a reader of a dead market_data sees STALE, not the last good book.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import NamedTuple

from common.effects import Now
from common.instruments import Market
from common.messages import BookDelta, BookSnapshot, Level, TradePrint
from common.types import FeedState

NS_PER_MS = 1_000_000
EPOCH_SHIFT = 20
"""A token's epoch is its process's, shifted by this, and how often continuity was lost: a million times in one life."""
SILENT_AFTER_NS = 900_000_000
"""market_data says hello every 500 ms; after this silence nothing it said is LIVE any more."""
RING_MAX = 256
"""Mids and trades remembered per token; the oldest go first."""

Levels = tuple[Level, ...]


class TokenView(NamedTuple):
    """One version of one token's book, best level first on both sides. Times in nanoseconds, 0: not yet.

    (`epoch`, `seq`) is the version: `epoch` grows when continuity was lost, `seq` with every change within it.
    `received_ns` is when the book was last changed or confirmed.
    """

    token_id: str
    bids: Levels
    asks: Levels
    tick: int
    state: FeedState
    reason: str
    epoch: int
    seq: int
    venue_ns: int
    received_ns: int

    @property
    def best_bid(self) -> Level | None:
        return self.bids[0] if self.bids else None

    @property
    def best_ask(self) -> Level | None:
        return self.asks[0] if self.asks else None

    @property
    def mid(self) -> int | None:
        """Micros, rounded down; None when a side is empty."""
        return (self.bids[0][0] + self.asks[0][0]) // 2 if self.bids and self.asks else None

    def age_ms(self, wall_ns: int) -> int:
        """Since the last change or confirmation."""
        return max(0, wall_ns - self.received_ns) // NS_PER_MS


class MarketTop(NamedTuple):
    """Both outcomes' best levels at one moment; an empty side is None. `state` is the worse one."""

    condition_id: str
    bids: tuple[Level | None, Level | None]
    asks: tuple[Level | None, Level | None]
    state: FeedState


class Mid(NamedTuple):
    at_ns: int
    mid: int


NOTHING_YET = "no book came yet"
_ORDER = (FeedState.LIVE, FeedState.SUSPECT, FeedState.SYNCING, FeedState.STALE, FeedState.CONNECTING, FeedState.CLOSED)


class LatestBook:
    """The cache. The writer's methods are `follow` and `on_…`; every other one may be called from any thread."""

    def __init__(self, *, silent_after_ns: int = SILENT_AFTER_NS) -> None:
        self._silent_after_ns = silent_after_ns
        self._heard_mono_ns = 0
        self._life = 0
        self._views: dict[str, TokenView] = {}
        self._tokens_of: dict[str, tuple[str, ...]] = {}
        self._mids: dict[str, deque[Mid]] = {}
        self._trades: dict[str, deque[TradePrint]] = {}
        self.gaps = self.discontinuities = 0

    # --- the writer ---

    def follow(self, market: Market) -> None:
        """Know a market's tokens, so that `market` can show both."""
        self._tokens_of[market.condition_id] = market.token_ids

    def forget(self, token_id: str) -> None:
        for known in (self._views, self._mids, self._trades):
            known.pop(token_id, None)

    def on_heard(self, mono_ns: int, life: int = 0) -> None:
        """market_data gave a sign of life, whatever it was. `life` is the epoch of its process: what an earlier one
        said is over."""
        self._heard_mono_ns = max(self._heard_mono_ns, mono_ns)
        self._life = max(self._life, life)

    def on_snapshot(self, book: BookSnapshot) -> None:
        """A whole book, or a change of its state."""
        self._put(
            TokenView(
                book.token_id,
                tuple(book.bids),
                tuple(book.asks),
                book.tick,
                book.state,
                book.reason,
                book.epoch,
                book.seq,
                book.venue_ns,
                book.received_ns,
            )
        )

    def on_delta(self, delta: BookDelta) -> None:
        """Changes of a LIVE book. One that does not follow the version we have means that something was missed."""
        view = self._views.get(delta.token_id)
        if view is None or view.state is not FeedState.LIVE:
            return
        if (delta.epoch, delta.seq) != (view.epoch, view.seq + 1):
            if (delta.epoch, delta.seq) > (view.epoch, view.seq):
                self.discontinuities += 1
                self._doubt(view, f"version {delta.epoch}.{delta.seq} came after {view.epoch}.{view.seq}")
            return
        bids, asks = view.bids, view.asks
        for level in delta.bids:
            bids = _with_level(bids, level, -1)
        for level in delta.asks:
            asks = _with_level(asks, level, 1)
        self._put(
            view._replace(bids=bids, asks=asks, seq=delta.seq, venue_ns=delta.venue_ns, received_ns=delta.received_ns)
        )

    def on_gap(self, token_id: str) -> None:
        """Frames were lost between market_data and us; its snapshot is on the way."""
        self.gaps += 1
        view = self._views.get(token_id)
        if view is not None:
            self._doubt(view, "frames were lost on the bus")

    def on_trade(self, trade: TradePrint) -> None:
        self._trades.setdefault(trade.token_id, deque(maxlen=RING_MAX)).append(trade)

    def _doubt(self, view: TokenView, reason: str) -> None:
        self._put(view._replace(state=FeedState.SYNCING, reason=reason))

    def _put(self, view: TokenView) -> None:
        before = self._views.get(view.token_id)
        self._views[view.token_id] = view
        mid = view.mid
        if mid is not None and view.state is FeedState.LIVE and (before is None or before.mid != mid):
            self._mids.setdefault(view.token_id, deque(maxlen=RING_MAX)).append(Mid(view.received_ns, mid))

    # --- readers ---

    def book(self, token_id: str, now: Now) -> TokenView | None:
        """The newest version, STALE when market_data itself has fallen silent; None before the first one."""
        view = self._views.get(token_id)
        if view is None or view.state is FeedState.CLOSED:
            return view
        if view.epoch >> EPOCH_SHIFT < self._life:
            return view._replace(state=FeedState.STALE, reason="market_data restarted; its book has not come yet")
        if not self.is_silent(now):
            return view
        silent_ms = (now.mono_ns - self._heard_mono_ns) // NS_PER_MS
        return view._replace(state=FeedState.STALE, reason=f"market_data has been silent for {silent_ms} ms")

    def market(self, condition_id: str, now: Now) -> MarketTop | None:
        """Both tops in one piece; None for a market of which nothing is known."""
        tokens = self._tokens_of.get(condition_id)
        views = [self.book(token_id, now) for token_id in tokens or ()]
        if not views:
            return None
        first, second = views
        return MarketTop(
            condition_id,
            (first.best_bid if first else None, second.best_bid if second else None),
            (first.best_ask if first else None, second.best_ask if second else None),
            max((view.state if view else FeedState.CONNECTING for view in views), key=_ORDER.index),
        )

    def is_silent(self, now: Now) -> bool:
        """Whether market_data has not been heard for too long."""
        return now.mono_ns - self._heard_mono_ns > self._silent_after_ns

    def age_ms(self, token_id: str, now: Now) -> int | None:
        """Since the token's last change or confirmation; None before its first book."""
        view = self._views.get(token_id)
        return None if view is None else view.age_ms(now.wall_ns)

    def is_stale(self, token_id: str, threshold_ms: int, now: Now) -> bool:
        """Whether the book must not be traded on: not LIVE, or neither changed nor confirmed for too long."""
        view = self.book(token_id, now)
        return view is None or view.state is not FeedState.LIVE or view.age_ms(now.wall_ns) > threshold_ms

    def mids(self, token_id: str) -> tuple[Mid, ...]:
        """The latest mids, oldest first, one for each time the mid moved."""
        return tuple(self._mids.get(token_id, ()))

    def trades(self, token_id: str) -> tuple[TradePrint, ...]:
        """The latest public trades, oldest first."""
        return tuple(self._trades.get(token_id, ()))


def _with_level(levels: Levels, level: Level, direction: int) -> Levels:
    """The side with a new total at one price; `direction` 1 ascends (asks), -1 descends (bids)."""
    price, size = level
    at = bisect_left(levels, direction * price, key=lambda known: direction * known[0])
    known = at < len(levels) and levels[at][0] == price
    if size <= 0 and not known:
        return levels
    return levels[:at] + ((level,) if size > 0 else ()) + levels[at + known :]
