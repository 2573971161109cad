"""What market_data knows: markets, and through feeds.py the book of each token. Pure.

In: discovered markets, connections opened and lost, raw frames, whole books fetched by REST, time. Out: what to
publish and what to ask of the shell. Frames are read here and go to the token they speak of; an event nobody knows is
counted, told once, and harms nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from common.effects import Log, Now, Publish
from common.errors import Refusal
from common.instruments import Market
from common.messages import MarketListed
from common.venues.polymarket.market import (
    BestBidAskEvent,
    BookEvent,
    LastTradeEvent,
    MarketEvent,
    MarketResolvedEvent,
    NewMarketEvent,
    PriceChangeEvent,
    PriceRows,
    TickSizeEvent,
    UnknownEvent,
    parse_market_frame,
    read_price_rows,
    unknown_fields,
)
from common.venues.polymarket.wire import MILLI_NS, UNREADABLE, BookObject
from services.market_data.effects import Effect, FetchBooks
from services.market_data.feeds import Feeds
from services.market_data.listing import INSTRUMENTS, Listing
from services.market_data.rules import Rules

TOLD_MAX = 1_000
STAMP_DIGITS = 13
WITHOUT_LEVELS = frozenset({"last_trade_price", "best_bid_ask", "new_market", "market_resolved"})
"""Events that change no book: one that cannot be read is no reason to doubt any."""


class Board(Listing[Feeds]):
    """All markets of Polymarket. Call `flush` after the frames of one turn of the loop, `on_time` as time passes."""

    def __init__(self, rules: Rules, epoch: int) -> None:
        counters: Counter[str] = Counter()
        super().__init__(Feeds(rules, epoch, counters), rules.markets_max, counters)
        self._tick_changed_ns: dict[str, int] = {}
        self._unreadable = 0
        self._told: set[str] = set()

    # --- markets ---

    def discovered(self, markets: Sequence[Market], began_mono_ns: int, now: Now) -> list[Effect]:
        """What a round of discovery found, that began at `began_mono_ns`: new markets and changes of known ones."""
        effects: list[Effect] = []
        for market in markets:
            known = self._markets.get(market.condition_id)
            if known is None and (not market.accepting or not self.has_room()):
                continue
            if known is not None and self._tick_changed_ns.get(market.condition_id, -1) >= began_mono_ns:
                # The channel told of a new tick while the round was reading.
                effects += self._list(msgspec.structs.replace(market, tick=known.tick), now)
            else:
                effects += self._list(market, now)
        self._forget_closed()
        return effects + self.feeds.take()

    def _forget(self, market: Market) -> None:
        super()._forget(market)
        self._tick_changed_ns.pop(market.condition_id, None)

    # --- connections ---

    def on_opened(self, connection: int, token_ids: Iterable[str], now: Now) -> list[Effect]:
        """A connection was asked for these tokens: a snapshot of each follows on it."""
        self.feeds.subscribed(connection, token_ids, now)
        return self.feeds.take()

    def on_removed(self, connection: int, token_ids: Iterable[str], now: Now) -> list[Effect]:
        """A connection was asked to say no more of these tokens."""
        self.feeds.removed(connection, token_ids, now)
        return self.feeds.take()

    def on_lost(self, connection: int, reason: str, now: Now) -> list[Effect]:
        self.feeds.lost(connection, reason, now)
        return self.feeds.take()

    def on_fetched(self, request: FetchBooks, books: Sequence[BookObject], now: Now) -> list[Effect]:
        """The answer to a request for books; no books when there was none that could be read."""
        effects: list[Effect] = []
        for book in books:
            token = self.feeds.get(book.token_id)
            changed_ns = self._tick_changed_ns.get(self._by_token.get(book.token_id, ""), -1)
            is_newer = token is not None and book.timestamp_ms * MILLI_NS > token.venue_ns
            if token is not None and is_newer and request.asked_mono_ns > changed_ns:
                effects += self._new_tick(token.source, book.token_id, book.tick_size, now)
        self.feeds.fetched(request, books, now)
        return effects + self.feeds.take()

    def on_time(self, now: Now) -> list[Effect]:
        self.feeds.on_time(now)
        return self.feeds.take()

    def flush(self, now: Now) -> list[Effect]:
        """What the frames since the last call came to."""
        self.feeds.flush(now)
        return self.feeds.take()

    # --- frames ---

    def on_frame(self, connection: int, raw: bytes, now: Now) -> list[Effect]:
        """One frame of a connection. Level changes are published by the next `flush`."""
        feeds = self.feeds
        try:
            rows = read_price_rows(raw)
        except UNREADABLE:
            return self._read(connection, raw, now)
        stamp = rows.timestamp
        if stamp != feeds.stamp and not (len(stamp) == STAMP_DIGITS and stamp.isdecimal()):
            return self._read(connection, raw, now)
        feeds.rows(connection, rows, now)
        return feeds.take() if feeds.news else []

    def sample(self, raw: bytes) -> list[Effect]:
        """Search a frame, now and then, for fields nobody knows: how a change of the venue announces itself."""
        return self._tell("unknown_field", unknown_fields(raw))

    def _read(self, connection: int, raw: bytes, now: Now) -> list[Effect]:
        try:
            events = parse_market_frame(raw)
        except Refusal as refusal:
            self.counters["frames_unreadable"] += 1
            # Whose book it was cannot be told: all books of this connection are fetched anew.
            self.feeds.unreadable(connection, f"an unreadable frame: {refusal.message}", now)
            return self._warn(connection, refusal.message) + self.feeds.take()
        effects: list[Effect] = []
        for event in events:
            effects += self._on_event(connection, event, now)
            effects += self.feeds.take()
        return effects

    def _on_event(self, connection: int, event: MarketEvent, now: Now) -> list[Effect]:
        match event:
            case PriceChangeEvent():
                self.feeds.rows(connection, PriceRows.of(event), now)
            case BookEvent():
                effects = self._new_tick(connection, event.token_id, event.tick_size, now)
                self.feeds.book(connection, event, now)
                return effects
            case LastTradeEvent():
                self.feeds.trade(connection, event, now)
            case BestBidAskEvent():
                self.feeds.best(connection, event, now)
            case TickSizeEvent():
                return self._new_tick(connection, event.token_id, event.new_tick, now)
            case MarketResolvedEvent():
                return self._close(event.market, now)
            case UnknownEvent():
                return self._on_unknown(connection, event, now)
            case NewMarketEvent():
                self.counters["markets_created_elsewhere"] += 1  # discovery's business
        return []

    def _new_tick(self, connection: int, token_id: str, tick: int, now: Now) -> list[Effect]:
        """A tick other than the one known voids the levels on the old grid."""
        condition_id = self._by_token.get(token_id)
        token = self.feeds.get(token_id)
        if condition_id is None or token is None or not tick or tick == token.tick:
            return []
        self.feeds.tick(connection, token_id, tick, now)
        market = self._markets[condition_id]
        if tick == market.tick:
            return []
        self.counters["tick_changes"] += 1
        self._tick_changed_ns[condition_id] = now.mono_ns
        changed = self._markets[condition_id] = msgspec.structs.replace(market, tick=tick)
        return [Publish(INSTRUMENTS, MarketListed(changed))]

    def _close(self, condition_id: str, now: Now) -> list[Effect]:
        market = self._markets.get(condition_id)
        if market is None:
            return []
        return self._list(msgspec.structs.replace(market, accepting=False), now, "the market is resolved")

    def _on_unknown(self, connection: int, event: UnknownEvent, now: Now) -> list[Effect]:
        if event.problem:
            what = f"an unreadable {event.event_type or 'event'}: {event.problem}"
            if event.event_type in WITHOUT_LEVELS:
                self.counters["events_unreadable"] += 1
            else:
                self.feeds.unreadable(connection, what, now, event.token_ids)
            return self._warn(connection, what)
        self.counters["events_of_unknown_type"] += 1
        return self._tell("unknown_event_type", [event.event_type[:60]])

    def _warn(self, connection: int, problem: str) -> list[Effect]:
        """A sample of what could not be read: the first, then every 1, 2, 4, 8... times as many."""
        count = self._unreadable = self._unreadable + 1
        if count & (count - 1):
            return []
        fields: dict[str, str | int | bool] = {"connection": connection, "problem": problem[:200], "so_far": count}
        return [Log("unreadable", fields, "warning")]

    def _tell(self, event: str, names: Sequence[str]) -> list[Effect]:
        """Each unknown word once."""
        effects: list[Effect] = []
        for name in names:
            self.counters[f"{event}s"] += 1
            if name not in self._told and len(self._told) < TOLD_MAX:
                self._told.add(name)
                effects.append(Log(event, {"name": name}, "warning"))
        return effects
