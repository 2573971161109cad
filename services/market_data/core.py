"""What market_data knows: markets, the book of each token, and how far each can be trusted. Pure.

In: discovered markets, events of the market channel, whole books fetched by REST, connections opened and lost. Out:
what to publish, and which books to fetch. A book is LIVE only between a snapshot and the first contradiction; deltas
are applied to LIVE books only, and what arrives while a book is fetched is kept and applied behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from common.book import Book
from common.effects import Now, Publish
from common.errors import Refusal
from common.instruments import Market
from common.messages import (
    BookDelta,
    BookReport,
    BookSnapshot,
    FeedStatus,
    GetBook,
    GetMarkets,
    Level,
    MarketListed,
    MarketsReport,
    MarketView,
    Message,
    TradePrint,
)
from common.reasons import Reason
from common.types import ONE, FeedState, Side
from common.venues.polymarket.market import (
    BestBidAskEvent,
    BookEvent,
    LastTradeEvent,
    LevelChange,
    MarketEvent,
    MarketResolvedEvent,
    PriceChangeEvent,
    TickSizeEvent,
    UnknownEvent,
)
from common.venues.polymarket.wire import MILLI_NS, BookObject

INSTRUMENTS = "instruments"
FEEDS = "feeds"
BOOK = "book."
TRADES = "trades."
HELD_MAX = 5_000
"""Level changes kept for one token while its book is fetched; above it the fetched book is not enough."""
FETCH_AGAIN_NS = 1_000_000_000
"""A book that becomes suspect this soon after it was fetched waits until it is overdue."""
OVERDUE_NS = 5_000_000_000
"""A book that is not LIVE this long after it was asked for is asked for again."""


class Refetch(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Fetch the whole book of a token by REST."""

    token_id: str


Effect: TypeAlias = Publish | Refetch


class _Held(msgspec.Struct, frozen=True, gc=False):
    at_ns: int
    change: LevelChange


class _TokenBook:
    """One token: its levels, their age, and whether they can be trusted."""

    __slots__ = (
        "asked_mono_ns",
        "book",
        "fetched_mono_ns",
        "held",
        "held_lost",
        "received_ns",
        "state",
        "token_id",
        "venue_ns",
    )

    def __init__(self, token_id: str) -> None:
        self.token_id = token_id
        self.book = Book()
        self.state = FeedState.CONNECTING
        self.venue_ns = 0
        self.received_ns = 0
        self.asked_mono_ns = 0
        self.fetched_mono_ns = -FETCH_AGAIN_NS
        self.held: list[_Held] = []
        self.held_lost = False

    def forget_held(self) -> None:
        self.held.clear()
        self.held_lost = False

    def hold(self, change: LevelChange, at_ns: int) -> None:
        if len(self.held) >= HELD_MAX:
            self.held.clear()
            self.held_lost = True
        self.held.append(_Held(at_ns, change))


class Board:
    """All markets of one venue."""

    def __init__(self, markets_max: int) -> None:
        self.counters: Counter[str] = Counter()
        self._markets_max = markets_max
        self._markets: dict[str, Market] = {}
        self._by_slug: dict[str, str] = {}
        self._by_token: dict[str, str] = {}
        self._books: dict[str, _TokenBook] = {}
        self._tick_changed_ns: dict[str, int] = {}

    # --- markets ---

    @property
    def markets(self) -> list[Market]:
        return list(self._markets.values())

    def discovered(self, markets: Sequence[Market], began_mono_ns: int) -> list[Effect]:
        """What a round of discovery found, that began at `began_mono_ns`: new markets and changes of known ones."""
        effects: list[Effect] = []
        for market in markets:
            known = self._markets.get(market.condition_id)
            if known is None and (not market.accepting or len(self.open_tokens()) >= self._markets_max):
                continue
            if known is not None and self._tick_changed_ns.get(market.condition_id, -1) >= began_mono_ns:
                # The channel told of a new tick while the round was reading.
                effects += self._list(msgspec.structs.replace(market, tick=known.tick))
            else:
                effects += self._list(market)
        self._forget_closed()
        return effects

    def open_tokens(self) -> list[tuple[str, str]]:
        """Token pairs of the markets to follow."""
        return [market.token_ids for market in self._markets.values() if market.accepting]

    def _list(self, market: Market) -> list[Effect]:
        known = self._markets.get(market.condition_id)
        if known == market:
            return []
        if known is None and any(token_id in self._by_token for token_id in market.token_ids):
            self.counters["markets_with_a_taken_token"] += 1
            return []
        self._markets[market.condition_id] = market
        self._by_slug[market.slug] = market.condition_id
        for token_id in market.token_ids:
            self._by_token[token_id] = market.condition_id
            self._books.setdefault(token_id, _TokenBook(token_id))
        return [Publish(INSTRUMENTS, MarketListed(market))]

    def _forget_closed(self) -> None:
        """Closed markets are kept for questions, as long as there are no more of them than may be open."""
        closed = [market for market in self._markets.values() if not market.accepting]
        for market in closed[: max(0, len(closed) - self._markets_max)]:
            del self._markets[market.condition_id]
            self._by_slug.pop(market.slug, None)
            self._tick_changed_ns.pop(market.condition_id, None)
            for token_id in market.token_ids:
                self._by_token.pop(token_id, None)
                self._books.pop(token_id, None)

    # --- connections ---

    def on_subscribed(self, token_ids: Iterable[str], now: Now) -> list[Effect]:
        """A connection asked for these tokens: a snapshot of each follows on it."""
        effects: list[Effect] = []
        for book in self._known(token_ids):
            book.forget_held()
            book.asked_mono_ns = now.mono_ns
            effects += self._distrust(book, FeedState.SYNCING, "waiting for a snapshot", now)
        return effects

    def on_lost(self, token_ids: Iterable[str], state: FeedState, reason: str, now: Now) -> list[Effect]:
        """Nothing is heard of these tokens: CONNECTING when they will be asked for again, CLOSED when not."""
        effects: list[Effect] = []
        for book in self._known(token_ids):
            effects += self._distrust(book, state, reason, now)
        return effects

    def overdue(self, now: Now) -> list[Effect]:
        """Books that should have come by now are asked for again."""
        effects: list[Effect] = []
        for book in self._books.values():
            waits = book.state in (FeedState.SYNCING, FeedState.SUSPECT) and self._market_of(book).accepting
            if waits and now.mono_ns - book.asked_mono_ns >= OVERDUE_NS:
                effects += self._ask(book, now)
        return effects

    @property
    def live_books(self) -> int:
        return sum(book.state is FeedState.LIVE for book in self._books.values())

    def _known(self, token_ids: Iterable[str]) -> list[_TokenBook]:
        return [self._books[token_id] for token_id in token_ids if token_id in self._books]

    def _market_of(self, book: _TokenBook) -> Market:
        return self._markets[self._by_token[book.token_id]]

    # --- events ---

    def on_event(self, event: MarketEvent, now: Now) -> list[Effect]:
        match event:
            case PriceChangeEvent():
                return self._on_changes(event, now)
            case BookEvent():
                return self._on_book(event, now)
            case LastTradeEvent():
                return self._on_trade(event, now)
            case TickSizeEvent():
                return self._on_tick(event, now)
            case BestBidAskEvent():
                return self._on_best(event, now)
            case MarketResolvedEvent():
                return self._close(event.market)
            case UnknownEvent():
                return self._on_unknown(event, now)
            case _:
                return []  # a market elsewhere was created: discovery's business

    def on_fetched(self, fetched: BookObject, now: Now) -> list[Effect]:
        """A whole book by REST. Changes that came meanwhile and are not older are applied behind it."""
        book = self._books.get(fetched.token_id)
        if book is None or book.state not in (FeedState.SYNCING, FeedState.SUSPECT):
            return []
        held, lost = list(book.held), book.held_lost
        book.forget_held()
        if lost:
            return self._ask(book, now)
        venue_ns = fetched.timestamp_ms * MILLI_NS
        effects = self._new_tick(book, fetched.tick_size, now)
        book.book.replace(fetched.bids, fetched.asks)
        for later in held:
            if later.at_ns >= venue_ns:
                book.book.apply(later.change.side, later.change.price, later.change.size)
                venue_ns = later.at_ns
        return effects + self._complete(book, venue_ns, now)

    def _on_book(self, event: BookEvent, now: Now) -> list[Effect]:
        book = self._books.get(event.token_id)
        if book is None:
            self.counters["events_of_unknown_tokens"] += 1
            return []
        book.forget_held()
        effects = self._new_tick(book, event.tick_size, now)
        if book.state is not FeedState.LIVE or effects:
            book.book.replace(event.bids, event.asks)
            return effects + self._complete(book, event.timestamp_ns, now)
        bids, asks = book.book.changes_to(event.bids, event.asks)
        if bids or asks:
            self.counters["snapshots_that_differed"] += 1
        return self._apply(book, bids, asks, event.timestamp_ns, now)

    def _complete(self, book: _TokenBook, venue_ns: int, now: Now) -> list[Effect]:
        """A whole book was set: trust it, unless it contradicts itself."""
        book.venue_ns, book.received_ns = venue_ns, now.wall_ns
        self.counters["book_snapshots"] += 1
        if book.book.is_crossed:
            return self._suspect(book, "the book is crossed", now)
        book.state = FeedState.LIVE
        return [
            Publish(BOOK + book.token_id, self._snapshot(book)),
            Publish(FEEDS, FeedStatus(book.token_id, FeedState.LIVE, "", now.wall_ns)),
        ]

    def _on_changes(self, event: PriceChangeEvent, now: Now) -> list[Effect]:
        by_token: dict[str, list[LevelChange]] = {}
        for change in event.changes:
            by_token.setdefault(change.token_id, []).append(change)
        effects: list[Effect] = []
        for token_id, changes in by_token.items():
            book = self._books.get(token_id)
            if book is None:
                self.counters["events_of_unknown_tokens"] += 1
            elif book.state is FeedState.LIVE:
                effects += self._change(book, changes, event.timestamp_ns, now)
            else:
                for change in changes:
                    book.hold(change, event.timestamp_ns)
        return effects

    def _change(self, book: _TokenBook, changes: list[LevelChange], venue_ns: int, now: Now) -> list[Effect]:
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        for change in changes:
            (bids if change.side is Side.BUY else asks)[change.price] = change.size
        effects = self._apply(book, list(bids.items()), list(asks.items()), venue_ns, now)
        last = changes[-1]
        if book.state is FeedState.LIVE and not _agrees(book.book, last.best_bid, last.best_ask):
            effects += self._suspect(book, "the best prices are not the venue's", now)
        return effects

    def _apply(self, book: _TokenBook, bids: list[Level], asks: list[Level], venue_ns: int, now: Now) -> list[Effect]:
        book.venue_ns, book.received_ns = venue_ns, now.wall_ns
        if not bids and not asks:
            return []
        book.book.apply_all(bids, asks)
        self.counters["book_deltas"] += 1
        if book.book.is_crossed:
            return self._suspect(book, "the book is crossed", now)
        return [Publish(BOOK + book.token_id, BookDelta(book.token_id, bids, asks, venue_ns, now.wall_ns))]

    def _on_trade(self, event: LastTradeEvent, now: Now) -> list[Effect]:
        if event.token_id not in self._books:
            self.counters["events_of_unknown_tokens"] += 1
            return []
        self.counters["trades"] += 1
        trade = TradePrint(event.token_id, event.side, event.price, event.size, event.timestamp_ns, now.wall_ns)
        return [Publish(TRADES + event.token_id, trade)]

    def _on_tick(self, event: TickSizeEvent, now: Now) -> list[Effect]:
        """The book on the old grid is void until a whole new one comes."""
        book = self._books.get(event.token_id)
        if book is None:
            self.counters["events_of_unknown_tokens"] += 1
            return []
        effects = self._new_tick(book, event.new_tick, now)
        book.forget_held()
        effects += self._distrust(book, FeedState.SYNCING, "the tick changed", now)
        return effects + self._ask(book, now)

    def _new_tick(self, book: _TokenBook, tick: int, now: Now) -> list[Effect]:
        market = self._market_of(book)
        if not tick or tick == market.tick:
            return []
        self.counters["tick_changes"] += 1
        self._tick_changed_ns[market.condition_id] = now.mono_ns
        return self._list(msgspec.structs.replace(market, tick=tick))

    def _on_best(self, event: BestBidAskEvent, now: Now) -> list[Effect]:
        book = self._books.get(event.token_id)
        if book is None or book.state is not FeedState.LIVE or _agrees(book.book, event.best_bid, event.best_ask):
            return []
        return self._suspect(book, "the best prices are not the venue's", now)

    def _on_unknown(self, event: UnknownEvent, now: Now) -> list[Effect]:
        self.counters["events_unreadable" if event.problem else "events_of_unknown_type"] += 1
        if not event.problem:
            return []
        effects: list[Effect] = []
        for book in self._known(event.token_ids):
            effects += self._suspect(book, f"an unreadable {event.event_type}", now)
        return effects

    def _close(self, condition_id: str) -> list[Effect]:
        market = self._markets.get(condition_id)
        return self._list(msgspec.structs.replace(market, accepting=False)) if market is not None else []

    # --- trust ---

    def _suspect(self, book: _TokenBook, reason: str, now: Now) -> list[Effect]:
        """A contradiction: fetch the book, but not again and again while the venue itself is inconsistent."""
        self.counters["books_suspect"] += 1
        book.forget_held()
        effects = self._distrust(book, FeedState.SUSPECT, reason, now)
        if now.mono_ns - book.fetched_mono_ns < FETCH_AGAIN_NS:
            return effects
        return effects + self._ask(book, now)

    def _ask(self, book: _TokenBook, now: Now) -> list[Effect]:
        book.asked_mono_ns = book.fetched_mono_ns = now.mono_ns
        return [Refetch(book.token_id)]

    def _distrust(self, book: _TokenBook, state: FeedState, reason: str, now: Now) -> list[Effect]:
        """Readers of the book and of the feeds learn that the levels are the last known ones, no more."""
        book.state = state
        return [
            Publish(BOOK + book.token_id, self._snapshot(book)),
            Publish(FEEDS, FeedStatus(book.token_id, state, reason[:200], now.wall_ns)),
        ]

    # --- answers ---

    def snapshot(self, topic: str, wall_ns: int) -> list[Message]:
        """The messages that bring a new reader of a topic to the current state."""
        if topic == INSTRUMENTS:
            return [MarketListed(market) for market in self._markets.values()]
        if topic == FEEDS:
            return [FeedStatus(book.token_id, book.state, "", wall_ns) for book in self._books.values()]
        book = self._books.get(topic.removeprefix(BOOK)) if topic.startswith(BOOK) else None
        return [self._snapshot(book)] if book is not None else []

    def report(self, query: GetMarkets) -> MarketsReport:
        """Markets that match, two-sided ones first, otherwise in the order of discovery."""
        wanted = query.query.strip().lower()
        views = [self._view(market) for market in self._markets.values() if _matches(market, wanted)]
        views.sort(key=lambda view: not (view.best_bids[0] and view.best_asks[0] and view.market.accepting))
        return MarketsReport(query.request_id, views)

    def book_report(self, query: GetBook) -> BookReport:
        """The book of one outcome; outcome 0 when none is named. Raises Refusal naming the field."""
        name = query.market.strip()
        market = self._markets.get(self._by_slug.get(name) or self._by_token.get(name) or name)
        if market is None:
            text = f"no market has the slug, condition id or token id {name[:80]!r}"
            raise Refusal(Reason.UNKNOWN_MARKET, text, "market")
        if query.outcome:
            index = market.outcome_index(query.outcome)
        else:
            index = market.index_of_token(name) if name in market.token_ids else 0
        book = self._snapshot(self._books[market.token_ids[index]])
        return BookReport(query.request_id, market, market.outcomes[index], book)

    def _snapshot(self, book: _TokenBook) -> BookSnapshot:
        tick = self._market_of(book).tick
        return BookSnapshot(
            book.token_id, book.book.bids(), book.book.asks(), tick, book.state, book.venue_ns, book.received_ns
        )

    def _view(self, market: Market) -> MarketView:
        first, second = (self._books[token_id] for token_id in market.token_ids)
        tops = (first.book.best_prices, second.book.best_prices)
        state = first.state if first.state is not FeedState.LIVE else second.state
        return MarketView(market, (tops[0][0], tops[1][0]), (tops[0][1], tops[1][1]), state)


def _agrees(book: Book, best_bid: int | None, best_ask: int | None) -> bool:
    """Whether the venue's best prices are ours. None: not stated. An empty side is stated as 0, for asks also as 1."""
    bid, ask = book.best_prices
    if best_bid is not None and best_bid != bid:
        return False
    return best_ask is None or (0 if best_ask >= ONE else best_ask) == ask


def _matches(market: Market, wanted: str) -> bool:
    texts = (market.slug, market.question, market.condition_id, *market.token_ids)
    return not wanted or any(wanted in text.lower() for text in texts)
