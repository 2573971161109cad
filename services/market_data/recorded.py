"""A recording fed to the board: the same calls in the same order as when it was live. Pure.

In: rows of a recording. Out: moments (a row, or just time that passed), for each the effects the board had, and a
tally of what a reader of the streams would hold. Time is the recording's own; requests to the venue cannot be answered
and are counted. It decides nothing about books.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from common.book import Book
from common.effects import Log, Now, Publish
from common.instruments import Market
from common.messages import BookDelta, BookSnapshot, FeedMark, FeedStatus, MarketListed, Message, TradePrint
from common.recording import FRAME, Gap, Row, message_of
from common.types import FeedState
from common.venues.polymarket.market import BookEvent
from common.venues.polymarket.wire import encode_json
from services.market_data.core import Board
from services.market_data.effects import Effect

CHECK_NS = 50_000_000
"""How often the board looks at recorded time."""
CHECKS_MAX = 200
"""Looks in one pause of the recording; in a long pause they are further apart."""


class Moment(NamedTuple):
    """Something at a time of the recording; no row: time passed."""

    at_ns: int
    row: Row | None


def moments(rows: Iterable[Row]) -> Iterator[Moment]:
    """Rows with looks at time between them and one behind the last. Time never runs backwards."""
    clock = due = 0
    for row in rows:
        at = max(clock, row.at_ns)
        clock = clock or at
        step = max(CHECK_NS, (at - clock) // CHECKS_MAX)
        due = min(due, clock + step) if due else at + step
        while due <= at:
            yield Moment(due, None)
            due += step
        yield Moment(at, row)
        clock = at
    if clock:
        yield Moment(clock + CHECK_NS, None)


class TokenTally:
    """One token as a reader of its topics knows it."""

    def __init__(self, token_id: str) -> None:
        self.token_id = token_id
        self.slug = self.outcome = ""
        self.book = Book()
        self.state = FeedState.CONNECTING
        self.reason = ""
        self.resets = self.deltas = self.trades = 0

    def take(self, body: BookSnapshot | BookDelta | TradePrint | FeedStatus) -> None:
        match body:
            case BookDelta():
                self.deltas += 1
                self.book.apply_all(body.bids, body.asks)
            case BookSnapshot():
                self.resets += 1
                self.book.replace(body.bids, body.asks)
                self.state, self.reason = body.state, body.reason
            case TradePrint():
                self.trades += 1
            case FeedStatus():
                self.state, self.reason = body.state, body.reason


class Totals:
    """What went in."""

    def __init__(self) -> None:
        self.frames = self.gaps = self.opened = self.lost = self.requests = self.published = self.remarks = 0
        self.first_ns = self.last_ns = 0


class Rerun:
    """One recording on its way through a board. `wanted` narrows to markets whose slug, question or ids hold it."""

    def __init__(self, board: Board, wanted: str = "") -> None:
        self.board = board
        self.totals = Totals()
        self._wanted = wanted.strip().lower()
        self._tokens: dict[str, TokenTally] = {}
        self._open: dict[int, set[str]] = {}
        self._market_of: dict[str, str] = {}

    def step(self, moment: Moment) -> list[Effect]:
        """Live one moment."""
        now = Now(moment.at_ns, moment.at_ns)
        if moment.row is None:
            effects = self.board.on_time(now)
        else:
            self.totals.first_ns = self.totals.first_ns or moment.at_ns
            self.totals.last_ns = moment.at_ns
            effects = self._take(moment.row, now)
        for effect in effects:
            self._count(effect)
        return effects

    def _take(self, row: Row, now: Now) -> list[Effect]:
        if row.kind == FRAME:
            self.totals.frames += 1
            return self.board.on_frame(row.connection, row.payload, now) + self.board.flush(now)
        message = message_of(row)
        if isinstance(message, Gap):
            self.totals.gaps += 1
            return self._lose_all(f"the recording has a gap: {message.reason}", now)
        if isinstance(message, MarketListed):
            return self._list(message.market, now)
        if isinstance(message, BookSnapshot):
            return self._whole(message, now)
        return self._mark(message, now) if isinstance(message, FeedMark) else []

    def _whole(self, book: BookSnapshot, now: Now) -> list[Effect]:
        """A whole book as if the venue had sent it on the connection the token is on."""
        token = self.board.feeds.get(book.token_id)
        market = self._market_of.get(book.token_id)
        if token is None or market is None or not token.source:
            return []
        bids, asks = tuple(book.bids), tuple(book.asks)
        event = BookEvent(market, book.token_id, bids, asks, book.venue_ns, tick_size=book.tick)
        raw = encode_json([event.to_wire()])
        return self.board.on_frame(token.source, raw, now) + self.board.flush(now)

    def _list(self, market: Market, now: Now) -> list[Effect]:
        """A market may be told of behind the connection that asks for it: they come on two topics."""
        if not self._wants(market):
            return []
        effects = self.board.discovered([market], now.mono_ns, now)
        fresh = [token_id for token_id in market.token_ids if token_id not in self._market_of]
        self._market_of |= dict.fromkeys(market.token_ids, market.condition_id)
        for connection, tokens in self._open.items():
            asked = [token_id for token_id in fresh if token_id in tokens]
            if asked:
                effects += self.board.on_opened(connection, asked, now)
        return effects

    def _mark(self, mark: FeedMark, now: Now) -> list[Effect]:
        match mark.kind:
            case "OPENED" | "ADDED":
                self.totals.opened += mark.kind == "OPENED"
                self._open.setdefault(mark.connection, set()).update(mark.token_ids)
                return self.board.on_opened(mark.connection, mark.token_ids, now)
            case "REMOVED":
                self._open.get(mark.connection, set()).difference_update(mark.token_ids)
                return self.board.on_removed(mark.connection, mark.token_ids, now)
            case _:
                self.totals.lost += 1
                self._open.pop(mark.connection, None)
                return self.board.on_lost(mark.connection, mark.text, now)

    def _lose_all(self, reason: str, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        for connection in self._open:
            effects += self.board.on_lost(connection, reason, now)
        self._open.clear()
        return effects

    def _wants(self, market: Market) -> bool:
        texts = (market.slug, market.question, market.condition_id, *market.token_ids)
        return not self._wanted or any(self._wanted in text.lower() for text in texts)

    # --- what came of it ---

    def _count(self, effect: Effect) -> None:
        if isinstance(effect, Publish):
            self.totals.published += 1
            self._tally(effect.body)
        elif isinstance(effect, Log):
            self.totals.remarks += 1
        else:
            self.totals.requests += 1

    def _tally(self, body: Message) -> None:
        if isinstance(body, MarketListed):
            for token_id, outcome in zip(body.market.token_ids, body.market.outcomes, strict=True):
                token = self._tokens.setdefault(token_id, TokenTally(token_id))
                token.slug, token.outcome = body.market.slug, outcome
        elif isinstance(body, BookSnapshot | BookDelta | TradePrint | FeedStatus):
            known = self._tokens.get(body.token_id)
            if known is not None:
                known.take(body)

    @property
    def tokens(self) -> list[TokenTally]:
        """In the order of the recording."""
        return list(self._tokens.values())
