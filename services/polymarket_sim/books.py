"""Replicas of the exchange's books and what the market channel says about each step (protocol sections 4.2, 5.2).

In: the exchange's "market" stream: a snapshot, then events that belong together up to StepCompleted. Out: both tokens'
views of every book, prices, and broadcasts in the venue's order. One book per market is kept in outcome 0 terms; the
other token is its mirror. Pure; nothing here survives a restart, the stream's snapshot brings it back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from common.instruments import Market
from common.messages import (
    BookState,
    ExchangeTrade,
    Level,
    LevelsChanged,
    MarketOpened,
    Message,
    StepCompleted,
    TickChanged,
    TradeMade,
)
from common.types import ONE, Side
from common.venues.polymarket.market import (
    BestBidAskEvent,
    BookEvent,
    LastTradeEvent,
    LevelChange,
    MarketEvent,
    NewMarketEvent,
    PriceChangeEvent,
    TickSizeEvent,
)
from common.venues.polymarket.wire import MILLI_NS, SECOND_NS, BookObject

HISTORY_MAX: Final = 3_600
"""Price points kept per market, at most one a second; they begin when the process started."""


class Point(NamedTuple):
    second: int
    price: int


class BookReplica:
    """One market's book. Prices here are in outcome 0 terms unless a token index is asked for; 0 best means none."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.best_bid = 0
        self.best_ask = 0
        self.last_price = 0
        self.last_side = ""
        self.at_ns = 0
        self.history: deque[Point] = deque(maxlen=HISTORY_MAX)
        self._cached: list[BookObject | None] = [None, None]

    def replace(self, state: BookState) -> None:
        self.bids, self.asks = dict(state.bids), dict(state.asks)
        self.best_bid = max(self.bids, default=0)
        self.best_ask = min(self.asks, default=0)
        self.last_price, self.last_side = state.last_price, state.last_side
        self._set_tick(state.tick)
        self._changed(state.at_ns)

    def apply_levels(self, change: LevelsChanged) -> None:
        for side, levels in ((self.bids, change.bids), (self.asks, change.asks)):
            for price, size in levels:
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        self.best_bid, self.best_ask = change.best_bid, change.best_ask
        self._changed(change.at_ns)

    def apply_trade(self, trade: ExchangeTrade) -> None:
        """The last price is stated for outcome 0 whichever token was traded."""
        first = trade.token_id == self.market.token_ids[0]
        self.last_price = trade.price if first else ONE - trade.price
        self.last_side = (trade.side if first else trade.side.opposite).value
        self._changed(trade.matched_ns)

    def apply_tick(self, change: TickChanged) -> None:
        self._set_tick(change.new_tick)
        self._changed(change.at_ns)

    def best(self, index: int) -> tuple[int | None, int | None]:
        """(best bid, best ask) of a token; None where that side is empty."""
        bid, ask = self.best_bid or None, self.best_ask or None
        if index == 0:
            return bid, ask
        return (None if ask is None else ONE - ask), (None if bid is None else ONE - bid)

    def midpoint(self, index: int) -> int | None:
        bid, ask = self.best(index)
        return None if bid is None or ask is None else (bid + ask) // 2

    def last_trade(self, index: int) -> tuple[int, str] | None:
        """(price, taker side) of the last trade as this token sees it."""
        if not self.last_price:
            return None
        if index == 0:
            return self.last_price, self.last_side
        return ONE - self.last_price, Side(self.last_side).opposite.value

    def display_price(self, index: int) -> int:
        """What a market list shows: the midpoint, else the last price, else one half."""
        mid = self.midpoint(index)
        if mid is not None:
            return mid
        last = self.last_trade(index)
        return ONE // 2 if last is None else last[0]

    @property
    def is_two_sided(self) -> bool:
        return bool(self.best_bid and self.best_ask)

    def book(self, index: int) -> BookObject:
        """The venue's book object of one token, bids ascending and asks descending, with its hash."""
        cached = self._cached[index]
        if cached is None:
            cached = self._cached[index] = self._make_book(index)
        return cached

    def book_event(self, index: int) -> BookEvent:
        book = self.book(index)
        return BookEvent(
            market=book.market,
            token_id=book.token_id,
            bids=book.bids,
            asks=book.asks,
            timestamp_ns=book.timestamp_ms * MILLI_NS,
            hash=book.hash,
            tick_size=book.tick_size,
            last_trade_price=book.last_trade_price,
            min_order_size=book.min_order_size,
            neg_risk=book.neg_risk,
        )

    def _make_book(self, index: int) -> BookObject:
        if index == 0:
            bids, asks = self.bids, self.asks
        else:
            bids = {ONE - price: size for price, size in self.asks.items()}
            asks = {ONE - price: size for price, size in self.bids.items()}
        book = BookObject(
            market=self.market.condition_id,
            token_id=self.market.token_ids[index],
            timestamp_ms=self.at_ns // MILLI_NS,
            bids=tuple(sorted(bids.items())),
            asks=tuple(sorted(asks.items(), reverse=True)),
            min_order_size=self.market.min_size,
            tick_size=self.market.tick,
            neg_risk=self.market.neg_risk,
            last_trade_price=self.last_price or None,
        )
        return msgspec.structs.replace(book, hash=str(book.to_wire()["hash"]))

    def _set_tick(self, tick: int) -> None:
        if tick != self.market.tick:
            self.market = msgspec.structs.replace(self.market, tick=tick)

    def _changed(self, at_ns: int) -> None:
        self.at_ns = max(self.at_ns, at_ns)
        self._cached = [None, None]
        second = self.at_ns // SECOND_NS
        if not self.history or self.history[-1].second < second:
            self.history.append(Point(second, self.display_price(0)))


class Broadcast(NamedTuple):
    """One event for every connection that follows one of `tokens`; none means all connections."""

    tokens: tuple[str, ...]
    event: MarketEvent
    custom_only: bool = False


class Books:
    """All replicas, and the step that is being collected."""

    def __init__(self) -> None:
        self.by_condition: dict[str, BookReplica] = {}
        self._by_token: dict[str, tuple[BookReplica, int]] = {}
        self._trades: list[ExchangeTrade] = []
        self._ticks: list[TickChanged] = []
        self._levels: list[LevelsChanged] = []
        self._opened: list[Market] = []

    def token(self, token_id: str) -> tuple[BookReplica, int] | None:
        return self._by_token.get(token_id)

    def all_books(self) -> dict[str, BookObject]:
        """Every token's book as it is now."""
        return {token_id: replica.book(index) for token_id, (replica, index) in self._by_token.items()}

    def replace(self, bodies: Sequence[Message]) -> None:
        """A snapshot: everything known before is void, but the price history of known markets goes on."""
        before = self.by_condition
        self.by_condition, self._by_token = {}, {}
        self._clear()
        for body in bodies:
            if isinstance(body, MarketOpened):
                replica = self._open(body.market)
                if body.market.condition_id in before:
                    replica.history = before[body.market.condition_id].history
            elif isinstance(body, BookState):
                self.by_condition[body.condition_id].replace(body)

    def apply(self, body: Message) -> list[Broadcast]:
        """One event; the broadcasts of a whole step come with its StepCompleted."""
        match body:
            case MarketOpened():
                self._open(body.market)
                self._opened.append(body.market)
            case TradeMade():
                self._trades.append(body.trade)
            case TickChanged():
                self._ticks.append(body)
            case LevelsChanged():
                self._levels.append(body)
            case StepCompleted():
                return self._finish(body)
        return []

    def _open(self, market: Market) -> BookReplica:
        replica = self.by_condition[market.condition_id] = BookReplica(market)
        for index, token_id in enumerate(market.token_ids):
            self._by_token[token_id] = (replica, index)
        return replica

    def _clear(self) -> None:
        self._trades, self._ticks, self._levels, self._opened = [], [], [], []

    def _finish(self, step: StepCompleted) -> list[Broadcast]:
        """Apply what the step collected. Order: new markets, ticks, levels, then trades with whole books."""
        out = [Broadcast((), _new_market(market, step.at_ns), custom_only=True) for market in self._opened]
        redraw: dict[str, BookReplica] = {}
        for tick in self._ticks:
            replica = self.by_condition[tick.condition_id]
            replica.apply_tick(tick)
            redraw[tick.condition_id] = replica
            out += _tick_broadcasts(replica, tick)
        for trade in self._trades:
            replica = self.by_condition[trade.condition_id]
            replica.apply_trade(trade)
            redraw[trade.condition_id] = replica
        for change in self._levels:
            out += _apply_levels(self.by_condition[change.condition_id], change)
        for replica in redraw.values():
            out += [Broadcast((token,), replica.book_event(i)) for i, token in enumerate(replica.market.token_ids)]
        out += [Broadcast((trade.token_id,), _print(trade)) for trade in self._trades]
        self._clear()
        return out


def _apply_levels(replica: BookReplica, change: LevelsChanged) -> list[Broadcast]:
    before = (replica.best_bid, replica.best_ask)
    replica.apply_levels(change)
    tokens = replica.market.token_ids
    rows = [
        _level_change(replica, index, side, level)
        for side, levels in ((Side.BUY, change.bids), (Side.SELL, change.asks))
        for level in levels
        for index in (0, 1)
    ]
    out = [Broadcast(tokens, PriceChangeEvent(change.condition_id, tuple(rows), change.at_ns))]
    if before != (replica.best_bid, replica.best_ask):
        for index, token in enumerate(tokens):
            event = BestBidAskEvent(change.condition_id, token, *replica.best(index), change.at_ns)
            out.append(Broadcast((token,), event, custom_only=True))
    return out


def _level_change(replica: BookReplica, index: int, side: Side, level: Level) -> LevelChange:
    price, size = level
    bid, ask = replica.best(index)
    return LevelChange(
        token_id=replica.market.token_ids[index],
        side=side if index == 0 else side.opposite,
        price=price if index == 0 else ONE - price,
        size=size,
        best_bid=bid,
        best_ask=ask,
        hash=replica.book(index).hash,
    )


def _tick_broadcasts(replica: BookReplica, change: TickChanged) -> list[Broadcast]:
    return [
        Broadcast((token,), TickSizeEvent(change.condition_id, token, change.old_tick, change.new_tick, change.at_ns))
        for token in replica.market.token_ids
    ]


def _print(trade: ExchangeTrade) -> LastTradeEvent:
    return LastTradeEvent(
        market=trade.condition_id,
        token_id=trade.token_id,
        price=trade.price,
        size=trade.size,
        side=trade.side,
        timestamp_ns=trade.matched_ns,
        fee_rate=trade.fee_rate,
    )


def _new_market(market: Market, at_ns: int) -> NewMarketEvent:
    return NewMarketEvent(
        market=market.condition_id,
        market_id=market_id_of(market.condition_id),
        question=market.question,
        slug=market.slug,
        token_ids=market.token_ids,
        outcomes=market.outcomes,
        timestamp_ns=at_ns,
        tick_size=market.tick,
        active=market.accepting,
    )


def market_id_of(condition_id: str) -> str:
    """A short decimal id that is the same after every restart; conditions may share long parts, so it is a hash."""
    return str(int.from_bytes(sha256(condition_id.encode()).digest()[:6], "big"))
