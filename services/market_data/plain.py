"""Markets and books of a venue whose source knows by itself whether what it brings is continuous. Pure.

In: markets, whole books, new totals of levels, public trades, losses. Out: effects, taken with `flush` and `on_time`:
what readers are told is the same as for Polymarket (tokens.py, listing.py). A book is LIVE from a whole one until its
source says that something was lost, or until it is crossed; witnesses, connections and requests are the source's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from common.book import Book
from common.effects import Now, Publish
from common.instruments import Market
from common.messages import Level, TradePrint
from common.types import FeedState
from services.market_data.effects import Effect
from services.market_data.listing import Listing
from services.market_data.rules import Rules
from services.market_data.token import TokenFeed
from services.market_data.tokens import LIVE, Tokens
from services.market_data.trust import Cause

CROSSED = "the book is crossed"


class Levels(NamedTuple):
    """Price levels of one token: a whole book, or the new totals of single levels (size 0 removes one)."""

    token_id: str
    bids: Sequence[Level]
    asks: Sequence[Level]
    venue_ns: int


class PlainFeeds(Tokens):
    """The books. Every method names tokens of listed markets; others are counted and left alone."""

    def __init__(self, rules: Rules, epoch: int, counters: Counter[str]) -> None:
        super().__init__(epoch, rules.depth_levels, rules.depth_every_ns)
        self._counters = counters

    def begin(self, token_ids: Iterable[str], now: Now) -> None:
        """The source asks for these books: the first whole one makes them LIVE."""
        for token in self._known(token_ids):
            self._step(token, Cause.SUBSCRIBED, "waiting for the first book", now)

    def whole(self, levels: Levels, now: Now) -> None:
        """A whole book. Of a LIVE token it is another version, told as changes (or as a confirmation)."""
        token = self._token(levels.token_id)
        if token is None or token.state is FeedState.CLOSED:
            return
        book = Book()
        book.replace(levels.bids, levels.asks)
        if book.is_crossed:
            self._contradict(token, now)
        elif token.state is LIVE:
            self._merge(token, book, levels.venue_ns, now)
        else:
            self._complete(token, book, levels.venue_ns, now)

    def changed(self, levels: Levels, now: Now) -> bool:
        """New totals of levels. False when the book cannot take them: the source brings a whole one."""
        token = self._token(levels.token_id)
        if token is None or token.state is not LIVE:
            return False
        token.book.apply_all(levels.bids, levels.asks)
        if token.book.is_crossed:
            self._contradict(token, now)
            return False
        token.changed_bids.update(levels.bids)
        token.changed_asks.update(levels.asks)
        token.venue_ns = levels.venue_ns
        self._touch(token)
        return True

    def regrid(self, token_id: str, tick: int, now: Now) -> None:
        """The tick changed: the levels on the old grid are void until a whole book comes."""
        token = self._token(token_id)
        if token is not None:
            token.tick = tick
            token.book = Book()
            self._step(token, Cause.TICK, "the tick changed", now)

    def trade(self, trade: TradePrint) -> None:
        token = self._token(trade.token_id)
        if token is not None:
            self._counters["trades"] += 1
            self.news.append(Publish(token.trades_topic, trade))

    def lost(self, reason: str, now: Now, token_ids: Iterable[str] | None = None) -> None:
        """From here on nothing is known of these tokens (None: of any) until their next whole books."""
        for token in list(self) if token_ids is None else self._known(token_ids):
            self._step(token, Cause.LOST, reason, now)

    def on_time(self, now: Now) -> None:
        self._publish_depth(now)

    def _token(self, token_id: str) -> TokenFeed | None:
        token = self._tokens.get(token_id)
        if token is None:
            self._counters["events_of_unknown_tokens"] += 1
        return token

    def _complete(self, token: TokenFeed, book: Book, venue_ns: int, now: Now) -> None:
        """A new epoch begins."""
        if token.state is FeedState.CONNECTING:
            self._step(token, Cause.SUBSCRIBED, "a whole book came", now)
        self._counters["whole_books"] += 1
        token.book, token.venue_ns = book, venue_ns
        token.received_ns = token.confirmed_ns = now.wall_ns
        token.epoch, token.seq = token.epoch + 1, 1
        self._step(token, Cause.BOOK, "", now)

    def _merge(self, token: TokenFeed, book: Book, venue_ns: int, now: Now) -> None:
        bids, asks = token.book.changes_to(book.bid_side.sizes.items(), book.ask_side.sizes.items())
        token.changed_bids.update(bids)
        token.changed_asks.update(asks)
        token.book, token.venue_ns, token.confirmed_ns = book, venue_ns, now.wall_ns
        if bids or asks:
            self._touch(token)
        else:
            self._confirm(token, now)

    def _contradict(self, token: TokenFeed, now: Now) -> None:
        self._counters["books_suspect"] += 1
        self._step(token, Cause.CONTRADICTED, CROSSED, now)


class PlainBoard(Listing[PlainFeeds]):
    """All markets of one such venue. Call `flush` after what one turn of the loop brought, `on_time` as time passes."""

    def __init__(self, rules: Rules, epoch: int) -> None:
        counters: Counter[str] = Counter()
        super().__init__(PlainFeeds(rules, epoch, counters), rules.markets_max, counters)

    def listed(self, market: Market, now: Now) -> list[Effect]:
        """A market that was found, or changed. A closed one that nobody knew is not worth a word."""
        known = self._markets.get(market.condition_id)
        if known is None and not market.accepting:
            return []
        if known is None and not self.has_room():
            self.counters["markets_above_the_limit"] += 1
            return []
        effects = self._list(market, now)
        if known is not None and known.tick != market.tick:
            for token_id in market.token_ids:
                self.feeds.regrid(token_id, market.tick, now)
        self._forget_closed()
        return effects + self.feeds.take()

    def flush(self, now: Now) -> list[Effect]:
        self.feeds.flush(now)
        return self.feeds.take()

    def on_time(self, now: Now) -> list[Effect]:
        self.feeds.flush(now)
        self.feeds.on_time(now)
        return self.feeds.take()
