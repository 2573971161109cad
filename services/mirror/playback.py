"""Where every market's recording stands, as a function of the clock. Pure.

In: the recorded markets, a speed, a wall time. Out: per market the loop, the snapshot that is current and the tick it
needs. Nothing is remembered, so a mirror that was killed resumes where the recording should be (ADR 5).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from common.messages import Level

TICK = 10_000
FINE_TICK = 1_000
NS_PER_MS = 1_000_000


class Snapshot(NamedTuple):
    """One recorded book, best first on both sides."""

    at_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class RecordedMarket(NamedTuple):
    """One market and everything of it that is played."""

    condition_id: str
    slug: str
    question: str
    category: str
    outcomes: tuple[str, str]
    start_ms: int
    end_ms: int
    snapshots: tuple[Snapshot, ...]
    skipped: int
    """Crossed or locked snapshots."""
    mismatches: int
    """Snapshots whose DOWN book is not the mirror image of UP."""
    unpaired: int
    """UP snapshots without a DOWN one, and the reverse (which are not played)."""


class Position(NamedTuple):
    """What is current in one market: snapshot number `at` of a loop. It stays until the next one is due."""

    loop: int
    at: int


class Track:
    """One market's recording (never empty) on the common clock."""

    def __init__(
        self, market: RecordedMarket, *, length_ms: int, offset_ms: int, lead_in_ms: int, speed: Fraction
    ) -> None:
        self.market = market
        self._length_ms = length_ms
        self._offset_ms = offset_ms
        self._first_ms = market.start_ms - lead_in_ms
        self._speed = speed
        self._times = [snapshot.at_ms for snapshot in market.snapshots]
        self._fine_from = next(
            (i for i, found in enumerate(market.snapshots) if needs_fine_tick(found)), len(self._times)
        )

    def position(self, now_ns: int) -> Position:
        loop, at_ms = divmod(self._elapsed_ms(now_ns), self._length_ms)
        at = bisect_right(self._times, self._first_ms + at_ms) - 1
        return Position(loop, at) if at >= 0 else Position(loop - 1, len(self._times) - 1)

    def snapshot(self, position: Position) -> Snapshot:
        return self.market.snapshots[position.at]

    def tick(self, position: Position) -> int:
        """The tick in force: the first sub-cent price of a loop switches to the fine one, the next loop back."""
        return FINE_TICK if position.at >= self._fine_from else TICK

    def distance(self, earlier: Position, later: Position) -> int:
        """How many snapshots lie from one position to another (1: the next one); negative when it is before."""
        return (later.loop - earlier.loop) * len(self._times) + later.at - earlier.at

    def next_change_ns(self, now_ns: int) -> int:
        """When the position changes next."""
        loop, at = self.position(now_ns)
        if at + 1 < len(self._times):
            at += 1
        else:
            loop, at = loop + 1, 0
        elapsed_ms = loop * self._length_ms + self._times[at] - self._first_ms - self._offset_ms
        return -(-elapsed_ms * NS_PER_MS * self._speed.denominator // self._speed.numerator)

    def _elapsed_ms(self, now_ns: int) -> int:
        return now_ns * self._speed.numerator // (self._speed.denominator * NS_PER_MS) + self._offset_ms


def needs_fine_tick(snapshot: Snapshot) -> bool:
    return any(price % TICK for levels in (snapshot.bids, snapshot.asks) for price, _ in levels)


def furthest_step(tracks: Sequence[Track], now_ns: int) -> int:
    """The last moment up to which no market changes twice, so that going there at once skips nothing."""
    return min(track.next_change_ns(track.next_change_ns(now_ns)) for track in tracks) - 1


def tracks_of(markets: list[RecordedMarket], *, lead_in_s: int, speed: float) -> list[Track]:
    """All markets in one loop of the longest market's length, staggered evenly over it."""
    lead_in_ms = lead_in_s * 1000
    length_ms = max(market.end_ms - market.start_ms for market in markets) + lead_in_ms + 1  # the end is played too
    exact_speed = Fraction(speed).limit_denominator(1000)
    return [
        Track(
            market,
            length_ms=length_ms,
            offset_ms=number * length_ms // len(markets),
            lead_in_ms=lead_in_ms,
            speed=exact_speed,
        )
        for number, market in enumerate(markets)
    ]
