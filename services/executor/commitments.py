"""What open orders hold back: money of buys, shares of sells, counts. Pure.

In: an order after each change. Out: running totals per account, per wallet and per (account, token), so that a risk
check costs the same with one open order or ten thousand. A buy holds back its worst price and the highest fee it could
pay; what was told as a fill is a holding, not a commitment. Kept beside the checkpoint: built again from the orders.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from common.types import Side
from services.executor.markets import Markets
from services.executor.order import TERMINAL, Order
from services.executor.terms import cost_of


class Commitment(NamedTuple):
    """One open order's part."""

    account: str
    wallet: tuple[str, str]
    token_id: str
    side: Side
    size: int
    cash: int


class Reserved:
    """Totals of one key."""

    __slots__ = ("buys", "cash", "orders", "sells")

    def __init__(self) -> None:
        self.orders = self.buys = self.sells = self.cash = 0


NOTHING = Reserved()
"""For reading: the totals of a key that nothing is held back under."""


def _uncounted(order: Order) -> int:
    """Shares in no holding yet: what may still match, and what the venue says matched before it tells the fill.

    Left out, the same money and the same room under a limit could be used again in between.
    """
    if order.state in TERMINAL:
        return order.reported - order.told if order.fills_missing else 0
    return max(0, order.size - order.told)


class Commitments:
    def __init__(self) -> None:
        self._parts: dict[int, Commitment] = {}
        self._accounts: defaultdict[str, Reserved] = defaultdict(Reserved)
        self._wallets: defaultdict[tuple[str, str], Reserved] = defaultdict(Reserved)
        self._tokens: defaultdict[tuple[str, str], Reserved] = defaultdict(Reserved)

    def account(self, name: str) -> Reserved:
        return self._accounts.get(name, NOTHING)

    def wallet(self, venue: str, name: str) -> Reserved:
        return self._wallets.get((venue, name), NOTHING)

    def token(self, account: str, token_id: str) -> Reserved:
        return self._tokens.get((account, token_id), NOTHING)

    def tokens(self, account: str) -> list[tuple[str, Reserved]]:
        """Every token the account holds something back in."""
        return [(token, held) for (name, token), held in self._tokens.items() if name == account and held.orders]

    def drop(self, order: Order) -> None:
        """Leave this order out until it is `put` again."""
        part = self._parts.pop(order.number, None)
        if part is not None:
            self._apply(part, -1)

    def put(self, order: Order, markets: Markets) -> None:
        """Count an order as it is now."""
        known = self._parts.get(order.number)
        size = _uncounted(order)
        if not size and order.state in TERMINAL:
            if known is not None:
                self.drop(order)
            return
        if known is not None:
            if known.size == size:
                return
            self._apply(known, -1)
        cash = 0
        if order.side is Side.BUY:
            market = markets.of_token(order.venue, order.token_id)
            cash = cost_of(market, order.price, size, post_only=order.post_only)
        self.begin(order, size, cash)

    def begin(self, order: Order, size: int, cash: int) -> None:
        """Count an order that is not counted yet, with the money that `put` would come to."""
        wallet = (order.venue, order.wallet)
        part = Commitment(order.account, wallet, order.token_id, order.side, size, cash)
        self._parts[order.number] = part
        self._apply(part, 1)

    def _apply(self, part: Commitment, sign: int) -> None:
        size, cash = sign * part.size, sign * part.cash
        buys, sells = (size, 0) if part.side is Side.BUY else (0, size)
        for held in (
            self._accounts[part.account],
            self._wallets[part.wallet],
            self._tokens[part.account, part.token_id],
        ):
            held.orders += sign
            held.cash += cash
            held.buys += buys
            held.sells += sells
        if sign < 0 and not held.orders:
            del self._tokens[part.account, part.token_id]
