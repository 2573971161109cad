"""The naive exchange: one list of orders per market, searched from the start every time. Obviously correct, slow.

It is the specification of matching: what trades, with whom, at what price, and what rests in which order. No money.
"""

from __future__ import annotations

from dataclasses import dataclass

ONE = 1_000_000
Leg = tuple[str, str, int, int]
"""(taker id, maker id, size, price in YES terms)."""


@dataclass
class Resting:
    order_id: str
    account: str
    is_bid: bool  # in YES terms
    price: int  # in YES terms
    left: int
    no: bool = False
    until: int = 0
    quote: bool = False


class ReferenceBook:
    """Orders in order of arrival; the best order is found by looking at all of them."""

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.resting: list[Resting] = []
        self.used: set[str] = set()

    def submit(self, order: Resting, tif: str, post_only: bool = False) -> tuple[str, list[Leg]]:
        """The word of the answer and the legs; nothing changes when it is neither live nor matched."""
        if order.order_id in self.used:
            return "DUPLICATE_ORDER", []
        meets = self._meets(order)
        if post_only and meets:
            return "POST_ONLY_CROSSES", []
        self.used.add(order.order_id)
        if tif == "FOK" and sum(maker.left for maker in meets) < order.left:
            return "FOK_NOT_FILLED", []
        if tif == "FAK" and not meets:
            return "FAK_NOT_FILLED", []
        legs = self._match(order, meets)
        if order.left and tif in ("GTC", "GTD"):
            self.resting.append(order)
        return "matched" if legs else "live", legs

    def _meets(self, order: Resting) -> list[Resting]:
        """Orders it would match: best price first, then oldest. A quote passes its own account by."""
        sign = 1 if order.is_bid else -1
        makers = [
            maker
            for maker in self.resting
            if maker.is_bid is not order.is_bid
            and sign * maker.price <= sign * order.price
            and not (order.quote and maker.account == order.account)
        ]
        return sorted(makers, key=lambda maker: sign * maker.price)  # sorted() keeps arrival order among equals

    def _match(self, order: Resting, makers: list[Resting]) -> list[Leg]:
        legs: list[Leg] = []
        for maker in makers:
            size = min(order.left, maker.left)
            if size:
                legs.append((order.order_id, maker.order_id, size, maker.price))
                order.left -= size
                maker.left -= size
        self.resting = [maker for maker in self.resting if maker.left]
        return legs

    def cancel(self, account: str, order_id: str) -> bool:
        before = len(self.resting)
        self.resting = [o for o in self.resting if (o.order_id, o.account) != (order_id, account)]
        return len(self.resting) < before

    def expire(self, now: int) -> None:
        self.resting = [o for o in self.resting if not 0 < o.until <= now]

    def set_tick(self, tick: int) -> None:
        self.tick = tick
        self.resting = [o for o in self.resting if o.price % tick == 0 and tick <= o.price <= ONE - tick]

    def quote(self, account: str, bids: dict[int, int], asks: dict[int, int]) -> list[Leg]:
        """A mass quote: take away (newest first), then add, bids before asks, best first."""
        for order in reversed(self.resting):
            if order.account == account:
                wanted = (bids if order.is_bid else asks).get(order.price, 0)
                order.left -= max(0, min(order.left, self._own(account, order.is_bid, order.price) - wanted))
        self.resting = [order for order in self.resting if order.left]
        legs: list[Leg] = []
        for is_bid, wanted_levels in ((True, bids), (False, asks)):
            for price in sorted(wanted_levels, reverse=is_bid):
                missing = wanted_levels[price] - self._own(account, is_bid, price)
                if missing > 0:
                    added = Resting("quote", account, is_bid, price, missing, quote=True)
                    legs += self._match(added, self._meets(added))
                    if added.left:
                        self.resting.append(added)
        return legs

    def _own(self, account: str, is_bid: bool, price: int) -> int:
        orders = [o for o in self.resting if (o.account, o.is_bid, o.price) == (account, is_bid, price)]
        return sum(order.left for order in orders)

    def book(self) -> dict[tuple[bool, int], list[tuple[str, int]]]:
        """(is_bid, price) -> [(order id, left)] in queue order."""
        levels: dict[tuple[bool, int], list[tuple[str, int]]] = {}
        for order in self.resting:
            levels.setdefault((order.is_bid, order.price), []).append((order.order_id, order.left))
        return levels
