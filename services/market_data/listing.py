"""The markets of one venue and what is answered about them and their books. Pure.

In: markets as they are found and as they end, questions by slug, condition id or token id. Out: MarketListed for every
change, snapshots of the topics, reports. Which markets exist and what happens to their books is decided by whoever is
built on this (core.py for Polymarket's channel, plain.py for venues that show whole books).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Generic, TypeVar

import msgspec

from common.effects import Now, Publish
from common.errors import Refusal
from common.instruments import Market
from common.messages import (
    BookReport,
    BookSnapshot,
    GetBook,
    GetMarkets,
    MarketListed,
    MarketsReport,
    MarketView,
    Message,
)
from common.reasons import Reason
from common.types import FeedState
from services.market_data import token as topics
from services.market_data.effects import Effect
from services.market_data.tokens import FEEDS, Tokens

INSTRUMENTS = "instruments"

FeedsT = TypeVar("FeedsT", bound=Tokens)


class Listing(Generic[FeedsT]):
    """At most `markets_max` open markets are kept, and as many closed ones."""

    def __init__(self, feeds: FeedsT, markets_max: int, counters: Counter[str]) -> None:
        self.counters = counters
        self.feeds = feeds
        self._markets_max = markets_max
        self._markets: dict[str, Market] = {}
        self._by_slug: dict[str, str] = {}
        self._by_token: dict[str, str] = {}

    @property
    def markets(self) -> list[Market]:
        return list(self._markets.values())

    def open_tokens(self) -> list[tuple[str, ...]]:
        """The tokens of the markets to follow."""
        return [market.token_ids for market in self._markets.values() if market.accepting]

    def has_room(self) -> bool:
        return len(self.open_tokens()) < self._markets_max

    def unwatched(self, condition_ids: Iterable[str], now: Now, why: str = "not watched any more") -> list[Effect]:
        """Nobody wants these markets any more."""
        effects: list[Effect] = []
        for condition_id in condition_ids:
            market = self._markets.get(condition_id)
            if market is not None and market.accepting:
                effects += self._list(msgspec.structs.replace(market, accepting=False), now, why)
        self._forget_closed()
        return effects + self.feeds.take()

    def _list(self, market: Market, now: Now, why_closed: str = "the market closed") -> list[Effect]:
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
            if market.accepting:
                self.feeds.follow(token_id, market.tick, now)
        if not market.accepting:
            self.feeds.end(market.token_ids, why_closed, now)
        return [Publish(INSTRUMENTS, MarketListed(market))]

    def _forget_closed(self) -> None:
        """Closed markets are kept for questions, as long as there are no more of them than may be open."""
        closed = [market for market in self._markets.values() if not market.accepting]
        for market in closed[: max(0, len(closed) - self._markets_max)]:
            self._forget(market)

    def _forget(self, market: Market) -> None:
        del self._markets[market.condition_id]
        self._by_slug.pop(market.slug, None)
        for token_id in market.token_ids:
            self._by_token.pop(token_id, None)
        self.feeds.forget(market.token_ids)

    # --- answers ---

    @property
    def live_books(self) -> int:
        return sum(token.state is FeedState.LIVE for token in self.feeds)

    def live_snapshots(self) -> list[BookSnapshot]:
        """Every book that can be trusted: how a recording begins."""
        return [token.snapshot() for token in self.feeds if token.state is FeedState.LIVE]

    def snapshot(self, topic: str, wall_ns: int) -> list[Message]:
        """The messages that bring a new reader of a topic to the current state."""
        if topic == INSTRUMENTS:
            return [MarketListed(market) for market in self._markets.values()]
        if topic == FEEDS:
            return [token.status(wall_ns) for token in self.feeds]
        kind, _, token_id = topic.partition(".")
        token = self.feeds.get(token_id)
        if token is None:
            return []
        match f"{kind}.":
            case topics.BOOK:
                return [token.snapshot()]
            case topics.TOP:
                return [token.top()]
            case topics.DEPTH:
                return [token.depth(self.feeds.depth_levels)]
            case topics.FEED:
                return [token.status(wall_ns)]
            case _:
                return []  # trades have no state

    def find(self, name: str) -> Market | None:
        """The market with this slug, token id or condition id."""
        name = name.strip()
        return self._markets.get(self._by_slug.get(name) or self._by_token.get(name) or name)

    def views(self, query: GetMarkets) -> list[MarketView]:
        """Markets that match, in the order of discovery."""
        wanted = query.query.strip().lower()
        return [self._view(market) for market in self._markets.values() if _matches(market, wanted)]

    def report(self, query: GetMarkets) -> MarketsReport:
        return markets_report(query, self.views(query))

    def book_report(self, query: GetBook) -> BookReport:
        """The book of one outcome; outcome 0 when none is named. Raises Refusal naming the field."""
        name = query.market.strip()
        market = self.find(name)
        if market is None:
            text = f"no market has the slug, condition id or token id {name[:80]!r}"
            raise Refusal(Reason.UNKNOWN_MARKET, text, "market")
        if query.outcome:
            index = market.outcome_index(query.outcome)
        else:
            index = market.index_of_token(name) if name in market.token_ids else 0
        book = self.feeds[market.token_ids[index]].snapshot()
        return BookReport(query.request_id, market, market.outcomes[index], book)

    def _view(self, market: Market) -> MarketView:
        """A market of one instrument has nothing to show as its second outcome."""
        tokens = [self.feeds[token_id] for token_id in market.token_ids]
        tops = [token.book.best_prices for token in tokens]
        second = tops[1] if len(tops) > 1 else (0, 0)
        state = next((token.state for token in tokens if token.state is not FeedState.LIVE), FeedState.LIVE)
        return MarketView(market, (tops[0][0], second[0]), (tops[0][1], second[1]), state)


def markets_report(query: GetMarkets, views: Iterable[MarketView]) -> MarketsReport:
    """Two-sided markets first, otherwise as they come; an instrument that is alone needs its own two sides only."""
    return MarketsReport(query.request_id, sorted(views, key=lambda view: not _is_two_sided(view)))


def _is_two_sided(view: MarketView) -> bool:
    return bool(view.best_bids[0] and view.best_asks[0] and view.market.accepting)


def _matches(market: Market, wanted: str) -> bool:
    texts = (market.slug, market.question, market.condition_id, *market.token_ids)
    return not wanted or any(wanted in text.lower() for text in texts)
