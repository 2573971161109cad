"""The books of all tokens: what events do to them, when they are doubted, how they become whole again. Pure.

In: rows and events by connection, whole books fetched by REST, time. Out: effects, taken with `take`: what to publish
and what to ask of the shell. A book is LIVE only between a whole book and the first contradiction; what arrives while
a book is fetched is held and applied behind it. Every published version passed the checks of its last change.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence

from common.book import Book
from common.effects import Now, Publish
from common.errors import Refusal
from common.messages import TradePrint
from common.types import FeedState, Side
from common.venues.polymarket.market import BestBidAskEvent, BookEvent, LastTradeEvent, PriceRow, PriceRows
from common.venues.polymarket.wire import KNOWN_MICROS, MILLI_NS, BookObject, micros_text
from services.market_data.effects import Drop, FetchBooks, Keep, Move
from services.market_data.rules import Rules
from services.market_data.token import NO_STAMP, NOBODY, Candidate, Pending, TokenFeed, stamp_of
from services.market_data.tokens import LIVE, Tokens
from services.market_data.trust import Cause
from services.market_data.witness import (
    Budget,
    Held,
    Verdict,
    Witness,
    agrees,
    agrees_with_last,
    equal,
    is_shell,
    judge,
    replay,
)

HELD_MAX = 5_000
"""Changes kept for one token while its book is fetched; above it the book is fetched again."""
RETRY_NS = 250_000_000
RETRY_MAX_NS = 5_000_000_000
SHELLS_BELIEVED = 4
"""So many answers in a row must show the shell of a book before it replaces another one."""
CHECK_NS = 50_000_000
"""How often time is looked at: deadlines and witnesses are met within one of these."""
FORGIVEN_NS = 600_000_000_000
"""A token that behaved this long may be moved again without a pause."""
BUY = Side.BUY


class Feeds(Tokens):
    """All tokens of one venue.

    `stamp` is the time of the last event that was in time, `lag_ms` how long the last one took from the venue's clock
    to ours.
    """

    def __init__(self, rules: Rules, epoch: int, counters: Counter[str]) -> None:
        super().__init__(epoch, rules.depth_levels, rules.depth_every_ns)
        self.counters = counters
        self._rules = rules
        self._pending: list[TokenFeed] = []
        """Tokens with rows to be applied."""
        self._checked_mono_ns = 0
        self.stamp = NO_STAMP
        self.lag_ms = 0
        self._least_lag_ms: int | None = None
        self._dropped: set[int] = set()
        self._budget = Budget(rules.requests_per_s)

    def sources(self) -> dict[int, set[str]]:
        """The tokens whose books go by each connection's events."""
        tokens: dict[int, set[str]] = {}
        for token in self._tokens.values():
            tokens.setdefault(token.source, set()).add(token.token_id)
        return tokens

    def pause_requests(self, until_mono_ns: int) -> None:
        self._budget.pause(until_mono_ns)

    # --- which tokens, on which connections ---

    def end(self, token_ids: Sequence[str], reason: str, now: Now) -> None:
        for token in self._known(token_ids):
            token.source, token.candidate = NOBODY, None
            self._stop_asking(token)
        super().end(token_ids, reason, now)

    def subscribed(self, connection: int, token_ids: Iterable[str], now: Now) -> None:
        """A connection was asked for these tokens. A LIVE token stays with its own until the new one has its book."""
        self._apply(now)
        for token in self._known(token_ids):
            if token.state is LIVE and token.source not in (NOBODY, connection):
                token.candidate = Candidate(connection, now.mono_ns)
                token.settle_plain()
            elif token.state is not FeedState.CLOSED:
                self._begin(token, connection, now)

    def _begin(self, token: TokenFeed, connection: int, now: Now) -> None:
        self._stop_asking(token)
        token.source, token.candidate, token.heard_here = connection, None, False
        token.stamp = NO_STAMP  # what this connection says is the beginning; the venue may have restarted
        token.since_mono_ns = now.mono_ns
        token.held, token.shown_mono_ns = [], 0
        self._step(token, Cause.SUBSCRIBED, "waiting for the first book", now)
        token.settle_plain()

    def lost(self, connection: int, reason: str, now: Now) -> None:
        """Nothing more comes from this connection; a token that had a second one goes on there."""
        self._apply(now)
        self._dropped.discard(connection)
        for token in self._tokens.values():
            candidate = token.candidate
            if candidate is not None and candidate.connection == connection:
                token.candidate = None
                token.settle_plain()
            elif token.source == connection and candidate is not None and candidate.book is not None:
                self._adopt(token, candidate, now)
            elif token.source == connection:
                token.source, token.probation = NOBODY, False
                self._stop_asking(token)
                self._step(token, Cause.LOST, reason, now)
                if candidate is not None:
                    self._begin(token, candidate.connection, now)

    def removed(self, connection: int, token_ids: Iterable[str], now: Now) -> None:
        """A connection was asked to say no more of these tokens: no book goes on there."""
        self._apply(now)
        for token in self._known(token_ids):
            if token.source == connection:
                token.source = NOBODY
                self._stop_asking(token)
                token.settle_plain()
                if token.state is not FeedState.STALE:
                    self._step(token, Cause.LOST, "moves to another connection", now)

    # --- level changes ---

    def rows(self, connection: int, rows: PriceRows, now: Now) -> None:
        """Note the rows of a price_change with their tokens. They are applied together (`_apply`) before anything else
        looks at the books: a burst costs one look at each token, not one at each row (scripts/bench.sh market_data)."""
        stamp = rows.timestamp
        if stamp != self.stamp and not self._is_in_time(connection, stamp, now):
            return
        tokens, pending = self._tokens, self._pending
        try:
            for row in rows.price_changes:
                token = tokens.get(row.asset_id)
                if token is None:
                    self.counters["events_of_unknown_tokens"] += 1
                    continue
                if (token.plain_on != connection or stamp < token.stamp) and not self._may_apply(
                    token, connection, row, stamp, now
                ):
                    continue
                token.stamp = stamp
                noted = token.rows
                if not noted:
                    pending.append(token)
                noted.append(row)
        except Refusal as refusal:
            named = [row.asset_id for row in rows.price_changes]
            self.unreadable(connection, f"an unreadable price_change: {refusal.message}", now, named)

    def _apply(self, now: Now) -> None:
        """Bring all books up to what was heard, and check each against the best prices stated last."""
        for token in self._pending:
            rows, token.rows = token.rows, []
            if not rows:
                continue  # its state changed behind them
            self._touch(token)
            try:
                try:
                    self._apply_rows(token, rows)
                except KeyError:
                    _learn(rows)
                    self._apply_rows(token, rows)  # sizes are totals: some of them twice is no harm
                self._check_best(token, rows[-1], now)
            except Refusal as refusal:
                self.counters["events_unreadable"] += 1
                self._contradict(token, f"an unreadable price_change: {refusal.message}", now)
        self._pending.clear()

    @staticmethod
    def _apply_rows(token: TokenFeed, rows: Sequence[PriceRow]) -> None:
        """New totals at single prices. Raises KeyError for a text not read before. This is the hot path."""
        micros, changed_bids, changed_asks = KNOWN_MICROS, token.changed_bids, token.changed_asks
        bid_sizes, bid_prices = token.book.bid_side.sizes, token.book.bid_side.prices
        ask_sizes, ask_prices = token.book.ask_side.sizes, token.book.ask_side.prices
        for row in rows:
            price, size = micros[row.price], micros[row.size]
            if row.side is BUY:
                sizes, prices = bid_sizes, bid_prices
                changed_bids[price] = size
            else:
                sizes, prices = ask_sizes, ask_prices
                changed_asks[price] = size
            if size:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = size
            elif sizes.pop(price, 0):
                del prices[bisect_left(prices, price)]

    def _check_best(self, token: TokenFeed, row: PriceRow, now: Now) -> None:
        """Whether the book has the best prices that were stated with its last change. The same prices and the same
        words as last time need no second look."""
        bid, ask = token.book.best_prices
        if bid == token.bid and ask == token.ask and row.best_bid == token.bid_text and row.best_ask == token.ask_text:
            return
        if bid and ask and bid >= ask:
            self._contradict(token, "the book is crossed", now)
        elif not _states(row.best_bid, row.best_ask, bid, ask):
            self._contradict(token, "the best prices are not the venue's", now)
        else:
            token.bid, token.ask, token.bid_text, token.ask_text = bid, ask, row.best_bid, row.best_ask
            return
        self._hold(token, row, token.stamp)  # the fetched book may be of this very millisecond

    def _may_apply(self, token: TokenFeed, connection: int, row: PriceRow, stamp: str, now: Now) -> bool:
        """Whether a change that needs a second look belongs into the book now; otherwise it is put where it belongs."""
        candidate = token.candidate
        if candidate is not None and candidate.connection == connection:
            self._shadow(token, candidate, row, stamp)
            return False
        if token.source != connection:
            self.counters["events_elsewhere"] += 1
            return False
        token.heard_here, token.heard_mono_ns = True, now.mono_ns
        if token.held is not None:
            self._hold(token, row, stamp)
        if token.state is not LIVE:
            return False
        if stamp < token.stamp:
            self._contradict(token, "an event came out of order", now)
            self._hold(token, row, stamp)
            return False
        return True

    def _hold(self, token: TokenFeed, row: PriceRow, stamp: str) -> None:
        assert token.held is not None
        if len(token.held) >= HELD_MAX:
            token.held.clear()
            token.held_lost = True
        try:
            token.held.append(_held(row, stamp))
        except Refusal:
            self.counters["events_unreadable"] += 1
            token.held.clear()
            token.held_lost = True

    def _is_in_time(self, connection: int, stamp: str, now: Now) -> bool:
        """Whether events come about as quickly as they did. The least lag seen is the difference of the clocks."""
        lag_ms = self.lag_ms = now.wall_ns // MILLI_NS - int(stamp)
        if self._least_lag_ms is None or lag_ms < self._least_lag_ms:
            self._least_lag_ms = lag_ms
        late_ms = lag_ms - self._least_lag_ms
        if late_ms * MILLI_NS <= self._rules.late_after_ns:
            self.stamp = stamp
            return True
        self.counters["events_late"] += 1
        if connection not in self._dropped:
            self._dropped.add(connection)
            self._least_lag_ms = None  # a clock that was set looks like this too: measure anew
            reason = f"events come {late_ms / 1000:.1f} s late"
            for token in self._tokens.values():
                if token.source == connection:
                    self._contradict(token, reason, now)
            self.news.append(Drop(connection, reason))
        return False

    # --- whole books and other events ---

    def book(self, connection: int, event: BookEvent, now: Now) -> None:
        """A whole book on a connection: the first one makes the token LIVE, later ones confirm or correct it."""
        self._apply(now)
        token = self._tokens.get(event.token_id)
        if token is None:
            self.counters["events_of_unknown_tokens"] += 1
            return
        whole = Book()
        whole.replace(event.bids, event.asks)
        stamp = stamp_of(event.timestamp_ns)
        candidate = token.candidate
        if candidate is not None and candidate.connection == connection:
            early = stamp < candidate.stamp
            candidate.doubt = "a book came out of order" if early else ""
            candidate.book, candidate.stamp, candidate.last = whole, max(stamp, candidate.stamp), None
            self._take_over(token, candidate, now)
        elif token.source != connection:
            self.counters["events_elsewhere"] += 1
        elif stamp < token.stamp:
            self._contradict(token, "a book came out of order", now)
        elif token.state is LIVE:
            self._correct(token, whole, stamp, now)
        elif token.probation and not token.shown_mono_ns:
            self._show(token, whole, stamp, now)
        else:
            token.heard_here = True
            later = sorted((change for change in token.held or () if change.at_ns > event.timestamp_ns), key=_at_ns)
            for change in later:
                whole.apply(change.side, change.price, change.size)
            if later:
                stamp = stamp_of(later[-1].at_ns)
            if agrees_with_last(whole, later, 0):
                self._complete(token, whole, stamp, now)
            else:
                self._contradict(token, "the best prices are not the venue's", now)

    def _show(self, token: TokenFeed, whole: Book, stamp: str, now: Now) -> None:
        """The first book on a new connection of a token that was frozen. The last one began like this, too."""
        token.book, token.stamp = whole, stamp
        token.received_ns, token.shown_mono_ns = now.wall_ns, now.mono_ns
        self._step(token, Cause.SHOWN, "was frozen: waits until the new connection proves that it speaks", now)

    def _correct(self, token: TokenFeed, whole: Book, stamp: str, now: Now) -> None:
        """The venue shows a LIVE book whole, as it does after trades."""
        token.forget_witness()
        self._merge(token, whole, stamp)
        token.confirmed_ns, token.confirmed_mono_ns = now.wall_ns, now.mono_ns
        if token.book.is_crossed:
            self._contradict(token, "the book is crossed", now)

    def _merge(self, token: TokenFeed, whole: Book, stamp: str) -> None:
        """Become another version of the same book, as changes."""
        bids, asks = token.book.changes_to(whole.bid_side.sizes.items(), whole.ask_side.sizes.items())
        if bids or asks:
            self.counters["whole_books_that_differed"] += 1
        token.changed_bids.update(bids)
        token.changed_asks.update(asks)
        token.book = whole
        token.stamp = stamp
        token.disagree()
        token.settle_plain()
        self._touch(token)

    def best(self, connection: int, event: BestBidAskEvent, now: Now) -> None:
        """The same check as with every change, for a venue that was asked to say it by itself."""
        self._apply(now)
        token = self._tokens.get(event.token_id)
        if token is None or token.source != connection or token.state is not LIVE or token.held is not None:
            return
        if stamp_of(event.timestamp_ns) >= token.stamp and not agrees(token.book, event.best_bid, event.best_ask):
            self._contradict(token, "the best prices are not the venue's", now)

    def trade(self, connection: int, event: LastTradeEvent, now: Now) -> None:
        token = self._tokens.get(event.token_id)
        if token is None:
            self.counters["events_of_unknown_tokens"] += 1
        elif token.source != connection:
            self.counters["events_elsewhere"] += 1
        elif self._is_in_time(connection, stamp_of(event.timestamp_ns), now):
            self.counters["trades"] += 1
            token.heard_here, token.heard_mono_ns = True, now.mono_ns
            trade = TradePrint(event.token_id, event.side, event.price, event.size, event.timestamp_ns, now.wall_ns)
            self.news.append(Publish(token.trades_topic, trade))

    def tick(self, connection: int, token_id: str, tick: int, now: Now) -> None:
        """The levels on the old grid are void until a whole book on the new one comes."""
        self._apply(now)
        token = self._tokens.get(token_id)
        if token is None:
            return
        if token.candidate is not None:
            token.candidate.doubt = "the tick changed"
        if token.source != connection:
            return
        token.tick = tick
        token.heard_here = True
        token.book = Book()
        self._stop_asking(token)
        if self._step(token, Cause.TICK, "the tick changed", now):
            token.since_mono_ns = now.mono_ns
            self._fetch(token, now)

    def unreadable(self, connection: int, reason: str, now: Now, token_ids: Sequence[str] = ()) -> None:
        """A frame or event that cannot be read: the tokens it names, or all of its connection, may have missed it."""
        self._apply(now)
        self.counters["events_unreadable"] += 1
        for token in self._known(token_ids) if token_ids else list(self._tokens.values()):
            if token.source == connection:
                self._contradict(token, reason, now)
            elif token.candidate is not None and token.candidate.connection == connection:
                token.candidate.doubt = reason

    # --- doubt, and what ends it ---

    def _contradict(self, token: TokenFeed, reason: str, now: Now) -> None:
        """Something is wrong with the book, or was missed: what was held up to here is no good either."""
        if token.held is not None:
            token.held, token.held_lost = [], False
        if self._step(token, Cause.CONTRADICTED, reason, now):
            self.counters["books_suspect"] += 1
            token.forget_witness()
            token.since_mono_ns = now.mono_ns
            self._fetch(token, now)
        elif token.fetching:
            token.asked_mono_ns = 0  # an answer on its way may be older than what was missed
            self._retry(token, now)

    def _fetch(self, token: TokenFeed, now: Now) -> None:
        """Hold what comes from here on and have the whole book asked for (on_time), patiently while that goes on."""
        if not token.fetching:
            token.fetching = True
            token.asked_mono_ns = 0
            if token.held is None:
                token.held, token.held_lost = [], False
            token.retry_mono_ns = max(token.retry_mono_ns, now.mono_ns)
            token.settle_plain()

    def _retry(self, token: TokenFeed, now: Now) -> None:
        token.retry_mono_ns = now.mono_ns + min(RETRY_NS << min(token.retries, 8), RETRY_MAX_NS)
        token.retries += 1

    def _stop_asking(self, token: TokenFeed) -> None:
        token.fetching = False
        token.asked_mono_ns = 0
        token.forget_witness()

    def fetched(self, request: FetchBooks, books: Sequence[BookObject], now: Now) -> None:
        """The answer to a request, nothing when there was none. A token that is not in it has no book at the venue."""
        self._apply(now)
        found = {book.token_id: book for book in books}
        for token in self._known(request.token_ids):
            if token.asked_mono_ns != request.asked_mono_ns:
                continue  # its book came meanwhile, or what was missed is newer than this answer
            token.asked_mono_ns = 0
            fetched = found.get(token.token_id)
            if fetched is None:
                self.counters["book_fetches_failed"] += 1
                token.compared_mono_ns = now.mono_ns
                token.forget_witness()
                self._retry(token, now)
                token.settle_plain()
            elif token.witness is not None:
                token.compared_mono_ns = now.mono_ns
                self._weigh(token, fetched, now)
            elif token.fetching:
                self._restore(token, fetched, now)

    def _restore(self, token: TokenFeed, fetched: BookObject, now: Now) -> None:
        """The fetched book and what was held make a whole one, unless either is not good enough: then again."""
        fetched_ns = fetched.timestamp_ms * MILLI_NS
        held = token.held or []
        if token.held_lost:
            token.held, token.held_lost = [], False
            self.counters["books_outrun"] += 1
        elif fetched_ns < max(token.venue_ns, held[0].at_ns if held else 0):
            self.counters["books_too_old"] += 1
        elif fetched.tick_size not in (0, token.tick):
            self.counters["books_on_another_grid"] += 1
        elif self._is_shell(token, fetched) or not agrees_with_last(
            restored := replay(fetched, held), held, fetched_ns
        ):
            self.counters["books_implausible"] += 1
        elif token.heard_here or (token.shown_mono_ns and equal(restored, token.book)):
            stamp = stamp_of(max([fetched_ns, *(change.at_ns for change in held)]))
            self._complete(token, restored, stamp, now)
        elif token.shown_mono_ns:
            self._stop_asking(token)  # the venue moved on and this connection said nothing either: look again
            token.held, token.shown_mono_ns = [], now.mono_ns
            self._move_again(token, now)
        self._retry(token, now)

    @staticmethod
    def _is_shell(token: TokenFeed, fetched: BookObject) -> bool:
        """Whether REST shows the empty shell of a book (0.01 against 0.99) that it has been seen to show by mistake.

        It is believed when it is shown again and again, or when our own book was one.
        """
        if not is_shell(fetched) or is_shell(token.book):
            token.shells = 0
            return False
        token.shells += 1
        return token.shells < SHELLS_BELIEVED

    def _complete(self, token: TokenFeed, whole: Book, stamp: str, now: Now) -> None:
        """A whole book was set: a new epoch begins, unless the book contradicts itself."""
        self.counters["whole_books"] += 1
        if whole.is_crossed:
            self._contradict(token, "the book is crossed", now)
            return
        token.book = whole
        token.stamp = stamp
        token.received_ns = token.confirmed_ns = now.wall_ns
        token.heard_mono_ns = token.compared_mono_ns = token.confirmed_mono_ns = now.mono_ns
        self._stop_asking(token)
        token.probation, token.shown_mono_ns = False, 0
        if now.mono_ns - token.moved_mono_ns > FORGIVEN_NS:
            token.moves = 0
        if token.retry_mono_ns + RETRY_MAX_NS < now.mono_ns:
            token.retries = 0
        token.epoch, token.seq = token.epoch + 1, 1
        token.disagree()
        self._step(token, Cause.BOOK, "", now)

    def _weigh(self, token: TokenFeed, fetched: BookObject, now: Now) -> None:
        """What a witness says of a LIVE book."""
        if token.witness is None or token.held is None or token.held_lost:
            token.forget_witness()
            token.settle_plain()
            return
        verdict = judge(token.book, token.venue_ns, token.witness, fetched, token.held)
        pending = token.pending or Pending(fetched, now.mono_ns + self._rules.grace_ns)
        if verdict is Verdict.AHEAD and now.mono_ns < pending.until_mono_ns:
            token.pending = pending
            return
        restored = replay(fetched, token.held)
        if verdict in (Verdict.AHEAD, Verdict.DIFFERENT) and self._is_shell(token, fetched):
            verdict = Verdict.IMPLAUSIBLE
        self.counters[f"witness_{verdict.value.lower()}"] += 1
        silent = token.heard_mono_ns <= token.witness.asked_mono_ns
        stamp = max(stamp_of(fetched.timestamp_ms * MILLI_NS), token.stamp)
        token.forget_witness()
        token.settle_plain()
        if verdict is Verdict.CONFIRMED:
            token.confirmed_ns, token.confirmed_mono_ns = now.wall_ns, now.mono_ns
            self._confirm(token, now)
        elif verdict is Verdict.AHEAD and silent:
            self._step(token, Cause.FROZEN, "frozen: the venue has a newer book and the connection is silent", now)
            token.heard_here = False  # a book by REST would be right for a moment only
            token.probation = True
            self._move(token, now)
        elif verdict in (Verdict.AHEAD, Verdict.DIFFERENT):
            self._contradict(token, "the venue has another book than we", now)
            self._complete(token, restored, stamp, now)

    def _move(self, token: TokenFeed, now: Now) -> None:
        self.counters["tokens_moved"] += 1
        token.moved_mono_ns, token.moves = now.mono_ns, token.moves + 1
        self.news.append(Move(token.token_id, token.source))

    def _move_again(self, token: TokenFeed, now: Now) -> None:
        """Another connection, after pauses that double."""
        if now.mono_ns - token.moved_mono_ns >= self._rules.first_book_ns << min(token.moves, 6):
            self._move(token, now)

    # --- handover between two connections ---

    def _shadow(self, token: TokenFeed, candidate: Candidate, row: PriceRow, stamp: str) -> None:
        """A change on the second connection; on_time looks whether it has caught up."""
        if stamp < candidate.stamp:
            candidate.doubt = "an event came out of order"
        candidate.stamp = max(candidate.stamp, stamp)
        try:
            change = candidate.last = _held(row, stamp)
        except Refusal as refusal:
            self.counters["events_unreadable"] += 1
            candidate.doubt = f"an unreadable price_change: {refusal.message}"
            return
        if candidate.book is not None:
            candidate.book.apply(change.side, change.price, change.size)

    def _look_at_second(self, token: TokenFeed, candidate: Candidate, now: Now) -> None:
        """Take over, or give it up when it brings no book: the first connection serves well."""
        if candidate.book is not None:
            self._take_over(token, candidate, now)
        elif now.mono_ns - candidate.since_mono_ns >= self._rules.first_book_ns:
            self.counters["handovers_given_up"] += 1
            token.candidate = None
            token.settle_plain()
            self.news.append(Keep(token.token_id, token.source))

    def _take_over(self, token: TokenFeed, candidate: Candidate, now: Now) -> None:
        """Go on with the second connection as soon as that is no step back in time. Within one millisecond only equal
        books tell that it is none."""
        assert candidate.book is not None
        if token.state is LIVE and candidate.stamp == token.stamp and not equal(candidate.book, token.book):
            return
        if token.state is not LIVE or candidate.stamp >= token.stamp:
            self._adopt(token, candidate, now)

    def _adopt(self, token: TokenFeed, candidate: Candidate, now: Now) -> None:
        assert candidate.book is not None
        token.source, token.candidate = candidate.connection, None
        token.heard_here = True
        trouble, last = candidate.doubt, candidate.last
        if not trouble and last is not None and not agrees(candidate.book, last.best_bid, last.best_ask):
            trouble = "the best prices are not the venue's"
        if trouble:
            token.stamp = max(token.stamp, candidate.stamp)
            token.settle_plain()
            self._contradict(token, trouble, now)
        elif token.state is not LIVE or candidate.stamp < token.stamp:
            self._complete(token, candidate.book, candidate.stamp, now)
        else:
            self._correct(token, candidate.book, candidate.stamp, now)

    # --- time ---

    def on_time(self, now: Now) -> None:
        """Deadlines, witnesses and the conflated depth; call it every CHECK_NS or so."""
        self._apply(now)
        self._publish_depth(now)
        if now.mono_ns - self._checked_mono_ns < CHECK_NS:
            return
        self._checked_mono_ns = now.mono_ns
        wanted: list[TokenFeed] = []
        for token in self._tokens.values():
            if token.source == NOBODY:
                continue
            if token.candidate is not None:
                self._look_at_second(token, token.candidate, now)
            if token.state is not LIVE:
                self._look_at_doubtful(token, wanted, now)
            elif token.pending is not None:
                self._weigh(token, token.pending.fetched, now)
            elif token.asked_mono_ns == 0 and self._should_compare(token, now):
                wanted.append(token)
        wanted.sort(key=lambda token: (not token.fetching, token.compared_mono_ns))
        self._ask_for(wanted, now)

    def _look_at_doubtful(self, token: TokenFeed, wanted: list[TokenFeed], now: Now) -> None:
        waited = now.mono_ns - token.since_mono_ns
        if waited >= self._rules.first_book_ns and token.state is not FeedState.STALE:
            what = "no first book" if token.state is FeedState.SYNCING else f"{token.reason}; no book could be had"
            self._step(token, Cause.OVERDUE, f"{what} within {self._rules.first_book_ns // MILLI_NS} ms", now)
            self._move(token, now)
        elif token.state is FeedState.STALE and not token.shown_mono_ns:
            self._move_again(token, now)
        was_quiet = token.shown_mono_ns and now.mono_ns - token.shown_mono_ns >= self._rules.quiet_ns
        if (token.heard_here or was_quiet) and not token.fetching and token.state is not FeedState.SYNCING:
            self._fetch(token, now)
        if token.fetching and token.asked_mono_ns == 0 and now.mono_ns >= token.retry_mono_ns:
            wanted.append(token)

    def _should_compare(self, token: TokenFeed, now: Now) -> bool:
        """A quiet token is compared every quiet_ns, any token at least every audit_ns."""
        since_compared = now.mono_ns - token.compared_mono_ns
        if now.mono_ns - token.heard_mono_ns >= self._rules.quiet_ns:
            return since_compared >= self._rules.quiet_ns
        since_confirmed = now.mono_ns - token.confirmed_mono_ns
        return min(since_compared, since_confirmed) >= self._rules.audit_ns

    def _ask_for(self, wanted: list[TokenFeed], now: Now) -> None:
        """As many requests as the budget has; who is left is asked for next time."""
        for start in range(0, len(wanted), self._rules.batch):
            if not self._budget.take(now.mono_ns):
                self.counters["fetches_over_budget"] += 1
                return
            batch = wanted[start : start + self._rules.batch]
            for token in batch:
                token.asked_mono_ns = now.mono_ns
                if not token.fetching:
                    token.witness = Witness(now.mono_ns, token.venue_ns)
                    token.held, token.held_lost = [], False
                    token.settle_plain()
            self.news.append(FetchBooks(tuple(token.token_id for token in batch), now.mono_ns))

    # --- publishing ---

    def flush(self, now: Now) -> None:
        """Publish what came since the last call: one delta a token, and its top when that changed."""
        self._apply(now)
        super().flush(now)


def _held(row: PriceRow, stamp: str) -> Held:
    """Raises Refusal for a number that cannot be read."""
    best = [micros_text(text) if text else None for text in (row.best_bid, row.best_ask)]
    return Held(int(stamp) * MILLI_NS, row.side, micros_text(row.price), micros_text(row.size), *best)


def _at_ns(change: Held) -> int:
    return change.at_ns


def _learn(rows: Sequence[PriceRow]) -> None:
    """Read every number of these rows. Raises Refusal for one that cannot be read.

    Twice, as the first time may have been when the memory was full and began anew.
    """
    for _ in range(2):
        for row in rows:
            micros_text(row.price)
            micros_text(row.size)


def _states(best_bid: str, best_ask: str, bid: int, ask: int) -> bool:
    """Whether the stated best prices are ours; "" states nothing."""
    if best_bid and micros_text(best_bid) != bid:
        return False
    if not best_ask:
        return True
    stated = micros_text(best_ask)
    return (0 if stated >= 1_000_000 else stated) == ask
