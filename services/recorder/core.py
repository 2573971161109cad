"""What is recorded, and what is left out when there is no room. Pure.

In: market_data's "instruments" and "frames" streams, their gaps, the times of arrival. Out: entries for the writer, in
order, bounded. When it is full the newest entries are dropped and counted; once half of it is free again a GAP says
how many. What was lost makes every book worthless, so the streams are joined anew: connections and books come again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from common.instruments import Market
from common.messages import BookSnapshot, FeedFrame, FeedMark, MarketListed, Message
from common.recording import (
    BOOK,
    FRAME,
    GAP,
    MARKS,
    OPENED,
    Entry,
    Gap,
    book_entry,
    gap_entry,
    mark_entry,
    market_entry,
    message_of,
)

BYTES_MAX = 64 << 20
"""Payload bytes that wait for the writer at the same time."""

FRAMES_OF = "polymarket"
"""The venue whose market channel is recorded."""


class Scene:
    """The markets known and the connections open at one moment of the recording: how a file begins."""

    def __init__(self) -> None:
        self._markets: dict[str, Market] = {}
        self._connections: dict[int, dict[str, None]] = {}

    def apply(self, entry: Entry) -> None:
        """What an entry changes; frames and books change nothing."""
        if entry.kind in (FRAME, BOOK):
            return
        if entry.kind == GAP:
            self._connections.clear()
            return
        message = message_of(entry)
        if isinstance(message, MarketListed):
            self._markets[message.market.condition_id] = message.market
        elif isinstance(message, FeedMark):
            self._mark(message)

    def _mark(self, mark: FeedMark) -> None:
        match mark.kind:
            case "OPENED":
                self._connections[mark.connection] = dict.fromkeys(mark.token_ids)
            case "ADDED":
                self._connections.setdefault(mark.connection, {}).update(dict.fromkeys(mark.token_ids))
            case "REMOVED":
                for token_id in mark.token_ids:
                    self._connections.get(mark.connection, {}).pop(token_id, None)
            case _:
                self._connections.pop(mark.connection, None)

    def knows(self, market: Market) -> bool:
        return self._markets.get(market.condition_id) == market

    def entries(self, at_ns: int) -> list[Entry]:
        """MARKET and OPENED entries that bring a reader here. Closed markets nobody listens to are forgotten."""
        heard = {token_id for tokens in self._connections.values() for token_id in tokens}
        self._markets = {
            condition_id: market
            for condition_id, market in self._markets.items()
            if market.accepting or not heard.isdisjoint(market.token_ids)
        }
        listed = [market_entry(MarketListed(market), at_ns) for market in self._markets.values()]
        opened = [
            mark_entry(FeedMark(connection, at_ns, OPENED, list(tokens)), at_ns)
            for connection, tokens in self._connections.items()
        ]
        return listed + opened


class Tape:
    """Entries between the streams and the writer, at most `rows_max` and `bytes_max`; a gap's markets come on top."""

    def __init__(self, rows_max: int, bytes_max: int = BYTES_MAX) -> None:
        self.counters: Counter[str] = Counter(frames_lost=0, gaps=0, marks_unknown=0)
        self.rows = 0
        self.bytes = 0
        self.lost = 0
        """Entries dropped since it was full; 0 when nothing is missing."""
        self.joined = False
        """Whether the connections are known; frames that come before are of no use."""
        self.wants_anew = False
        """Ask for a snapshot of the frames stream: there is room again."""
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._entries: list[Entry] = []
        self._scene = Scene()

    # --- from the streams ---

    def on_markets(self, bodies: Iterable[Message], now_ns: int) -> None:
        """Markets that were listed, changed, or stand in a snapshot; what is known already is not repeated.

        Of other venues there are no frames, so their markets would be nothing but names.
        """
        for body in bodies:
            if not isinstance(body, MarketListed) or body.market.venue != FRAMES_OF:
                continue
            if not self._scene.knows(body.market):
                self._add(market_entry(body, now_ns))

    def on_frames_snapshot(self, bodies: Iterable[Message], now_ns: int) -> None:
        """The connections that are open and the books on them: from here on nothing is missing."""
        self.joined, self.wants_anew = True, False
        for body in bodies:
            if isinstance(body, FeedMark) and body.kind == OPENED:
                self._add(mark_entry(body, now_ns))
            elif isinstance(body, BookSnapshot):
                self._add(book_entry(body, now_ns))

    def on_frames(self, body: Message, now_ns: int) -> None:
        if isinstance(body, FeedFrame):
            self._add(Entry(body.received_ns, body.connection, FRAME, body.raw))
        elif isinstance(body, FeedMark) and body.kind in MARKS:
            self._add(mark_entry(body, body.at_ns))
        elif isinstance(body, BookSnapshot):
            self._add(book_entry(body, now_ns))
        else:
            self.counters["marks_unknown"] += 1

    def on_frames_gap(self, now_ns: int) -> None:
        """The stream lost something: nothing is known of any connection until the next snapshot."""
        self.counters["gaps"] += 1
        self._add(gap_entry(Gap(0, "the stream of frames was interrupted"), now_ns))
        self.joined = False

    # --- to the writer ---

    def take(self) -> list[Entry]:
        """Everything that waits, oldest first; it is the caller's from now on."""
        taken, self._entries = self._entries, []
        self.rows = self.bytes = 0
        return taken

    def resume(self, now_ns: int) -> None:
        """Once there is room again: say what was dropped, repeat the markets, want the rest anew."""
        if self.lost and self.rows <= self._rows_max // 2 and self.bytes <= self._bytes_max // 2:
            gap = gap_entry(Gap(self.lost, "the recorder could not write fast enough"), now_ns)
            self.lost = 0
            self.counters["gaps"] += 1
            self._scene.apply(gap)
            for entry in [gap, *self._scene.entries(now_ns)]:
                self._append(entry)
            self.joined, self.wants_anew = False, True

    def _add(self, entry: Entry) -> None:
        self._scene.apply(entry)
        useless = not self.joined and entry.kind in (FRAME, BOOK)
        full = self.rows >= self._rows_max or self.bytes + len(entry.payload) > self._bytes_max
        if self.lost or full:
            self.lost += 1
        elif not useless:
            self._append(entry)
            return
        self.counters["frames_lost"] += entry.kind == FRAME

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.rows += 1
        self.bytes += len(entry.payload)
