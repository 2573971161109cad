"""One market's matching engine: what an order would match, by price then time, and its book.

In: a side, a limit and a size in outcome 0 terms. Out: a plan of matches that changes nothing; executing it is the
caller's, leg by leg. BUY YES meets BUY NO here as a mint and SELL NO as a transfer: the pair of the two own sides
decides. It never touches balances.
"""

from __future__ import annotations

from typing import NamedTuple

from common.instruments import Market
from common.messages import BookState, LevelsChanged
from common.types import ONE, Side
from services.exchange.ladder import Ladder, Order


class Match(NamedTuple):
    """One price level a taker meets: the price in outcome 0 terms and (maker, quantity) in time order."""

    price: int
    legs: list[tuple[Order, int]]
    size: int

    def taker_price(self, outcome: int) -> int:
        return self.price if outcome == 0 else ONE - self.price


class Whistle:
    """The engine of one market."""

    def __init__(self, market: Market, last_price: int = 0, last_side: str = "") -> None:
        self.market = market
        self.ladder = Ladder()
        self.last_price = last_price
        self.last_side = last_side

    def plan(
        self, side: Side, limit: int, size: int, *, without: str = "", taken: dict[int, int] | None = None
    ) -> list[Match]:
        """Matches of an incoming order at the makers' prices, best price first, oldest maker first.

        `without` names an account whose orders are passed over; `taken` holds what earlier plans of the same batch
        use up (by maker sequence) and is added to.
        """
        matches: list[Match] = []
        left = size
        for level in self.ladder.reachable(side, limit):
            legs: list[tuple[Order, int]] = []
            before = left
            for maker in level.queue.values():
                if not left:
                    break
                if maker.account == without:
                    continue
                quantity = min(left, maker.remaining - (taken.get(maker.sequence, 0) if taken else 0))
                if quantity:
                    legs.append((maker, quantity))
                    left -= quantity
            if legs:
                matches.append(Match(level.price, legs, before - left))
            if not left:
                break
        if taken is not None:
            for match in matches:
                for maker, quantity in match.legs:
                    taken[maker.sequence] = taken.get(maker.sequence, 0) + quantity
        return matches

    def print_trade(self, price: int, side: Side) -> None:
        """Remember the last trade: price and taker side in outcome 0 terms."""
        self.last_price = price
        self.last_side = side.value

    def off_grid(self, tick: int) -> list[Order]:
        """Resting orders a new tick leaves no place for, in book order."""
        return [o for o in self.ladder.orders() if o.price % tick or not tick <= o.price <= ONE - tick]

    def state(self, at_ns: int) -> BookState:
        bids, asks = self.ladder.totals(Side.BUY), self.ladder.totals(Side.SELL)
        market = self.market
        return BookState(market.condition_id, bids, asks, market.tick, self.last_price, self.last_side, at_ns)

    def take_changes(self, at_ns: int) -> LevelsChanged | None:
        """The levels changed since the last call, None when no total differs."""
        bids, asks = self.ladder.take_changes()
        if not bids and not asks:
            return None
        best_bid, best_ask = self.ladder.best(Side.BUY), self.ladder.best(Side.SELL)
        return LevelsChanged(self.market.condition_id, bids, asks, best_bid, best_ask, at_ns)
