"""What the exchange's market stream means for the books of its markets here. Pure.

In: snapshots, events and losses of the stream, the time. Out: effects of a PlainBoard. The stream proves continuity by
itself, so a book is LIVE from a snapshot until the stream is lost; the levels come once for both tokens of a market.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from common.effects import Now
from common.instruments import Market
from common.messages import (
    BookState,
    ExchangeTrade,
    Level,
    LevelsChanged,
    MarketOpened,
    Message,
    TickChanged,
    TradeMade,
    TradePrint,
)
from common.types import FeedState
from common.venues.exchange.market import both_tokens, on_grid
from common.venues.exchange.names import bus_id, listed
from services.market_data.effects import Effect
from services.market_data.plain import Levels, PlainBoard

GONE = "the exchange does not have it any more"


class ExchangeBooks:
    """`contradicted`: a book is not what the stream says, and only a snapshot mends it."""

    def __init__(self, board: PlainBoard) -> None:
        self.board = board
        self.contradicted = False
        self._trades: list[ExchangeTrade] = []

    # --- the stream ---

    def snapshot(self, bodies: Iterable[Message], now: Now) -> list[Effect]:
        """Everything the exchange has: what was known before is void, markets it no longer has end."""
        self.contradicted = False
        effects = self.lost("a snapshot replaced what was known", now)
        states: dict[str, BookState] = {}
        opened: dict[str, Market] = {}
        for body in bodies:
            if isinstance(body, MarketOpened):
                opened[bus_id(body.market.condition_id)] = listed(body.market)
            elif isinstance(body, BookState):
                states[bus_id(body.condition_id)] = body
        effects += self.board.unwatched(
            [m.condition_id for m in self._open() if m.condition_id not in opened], now, GONE
        )
        for condition_id, market in opened.items():
            effects += self.board.listed(market, now)
            if condition_id in states:
                state = states[condition_id]
                self._whole(condition_id, state.bids, state.asks, state.at_ns, now)
        return effects + self.board.feeds.take()

    def event(self, body: Message, now: Now) -> list[Effect]:
        """One event; levels and trades are published by the next `flush`."""
        match body:
            case MarketOpened():
                effects = self.board.listed(listed(body.market), now)
                self._whole(bus_id(body.market.condition_id), [], [], now.wall_ns, now)
                return effects + self.board.feeds.take()
            case TickChanged():
                return self._new_tick(body, now)
            case LevelsChanged():
                self._levels(body, now)
                return self.board.feeds.take()
            case TradeMade():
                self._trades.append(body.trade)
        return []

    def lost(self, reason: str, now: Now) -> list[Effect]:
        """What was heard up to here is told first."""
        effects = self.flush(now)
        self.board.feeds.lost(reason, now)
        return effects + self.board.feeds.take()

    def restored(self, now: Now) -> list[Effect]:
        """Nothing was missed while the exchange was not heard: the books are what they were, in a new epoch."""
        for token in list(self.board.feeds):
            if token.state is not FeedState.CLOSED:
                self.board.feeds.whole(
                    Levels(token.token_id, token.book.bids(), token.book.asks(), token.venue_ns), now
                )
        return self.board.feeds.take()

    def flush(self, now: Now) -> list[Effect]:
        """The changes of all books, then the trades that made some of them."""
        effects = self.board.flush(now)
        trades, self._trades = self._trades, []
        for trade in trades:
            token_id = bus_id(trade.token_id)
            shown = TradePrint(token_id, trade.side, trade.price, trade.size, trade.matched_ns, now.wall_ns)
            self.board.feeds.trade(shown)
        return effects + self.board.feeds.take()

    # --- books ---

    def _open(self) -> list[Market]:
        return [market for market in self.board.markets if market.accepting]

    def _whole(self, condition_id: str, bids: Iterable[Level], asks: Iterable[Level], at_ns: int, now: Now) -> None:
        market = self.board.find(condition_id)
        if market is None:
            return  # above the limit of markets: counted by the board
        for token_id, sides in zip(market.token_ids, both_tokens(bids, asks), strict=True):
            self.board.feeds.whole(Levels(token_id, *sides, at_ns), now)

    def _levels(self, change: LevelsChanged, now: Now) -> None:
        market = self.board.find(bus_id(change.condition_id))
        if market is None or not market.accepting:
            return
        for token_id, sides in zip(market.token_ids, both_tokens(change.bids, change.asks), strict=True):
            taken = self.board.feeds.changed(Levels(token_id, *sides, change.at_ns), now)
            self.contradicted = self.contradicted or not taken

    def _new_tick(self, change: TickChanged, now: Now) -> list[Effect]:
        """Orders off the new grid are cancelled in the same step: what is left of the book stands on it."""
        market = self.board.find(bus_id(change.condition_id))
        if market is None:
            return []
        effects = self.flush(now)
        book = self.board.feeds[market.token_ids[0]].book
        bids, asks = on_grid(book.bids(), change.new_tick), on_grid(book.asks(), change.new_tick)
        effects += self.board.listed(msgspec.structs.replace(market, tick=change.new_tick), now)
        self._whole(market.condition_id, bids, asks, change.at_ns, now)
        return effects + self.board.feeds.take()
