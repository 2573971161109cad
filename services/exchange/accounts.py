"""Balances and reservations: what every account holds, what its open orders hold back, and where each micro goes.

In: deposits and the legs of matches. Out: room, cash flows and a conservation check. Rounding rule: who pays pays the
ceiling, who receives receives the floor, and the difference goes to the named `rounding` pot; a maker's payments are
differences of the ceiling of the whole, so they add up to exactly what was reserved. It knows no book and no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

import msgspec

from common.fixed import mul_ceil, mul_floor
from common.types import Side
from services.exchange.ladder import Order

CASH = ""
"""The asset name of collateral; every other asset is a token id."""


def reserve_of(order: Order) -> int:
    """What a resting order holds back: cash for a BUY, tokens for a SELL."""
    if order.side is Side.SELL:
        return order.remaining
    return mul_ceil(order.price, order.size - order.base) - mul_ceil(order.price, order.filled - order.base)


class Account:
    """One account. `open` is by market, each in order of arrival; `done` and `trades` are bounded histories."""

    __slots__ = ("cash", "done", "liquidity", "name", "open", "open_count", "reserved", "tokens", "trades")

    def __init__(self, name: str, liquidity: bool, cash: int) -> None:
        self.name = name
        self.liquidity = liquidity
        self.cash = cash
        self.tokens: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        self.open: dict[str, dict[str, Order]] = {}
        self.open_count = 0
        self.done: OrderedDict[str, Order] = OrderedDict()
        self.trades: deque[str] = deque()

    def balance(self, asset: str) -> int:
        return self.tokens.get(asset, 0) if asset else self.cash

    def room(self, asset: str) -> int:
        """Balance minus what open orders hold back."""
        return self.balance(asset) - self.reserved.get(asset, 0)

    def credit(self, asset: str, amount: int) -> None:
        """Add `amount` (negative takes away). A balance below zero is a bug: reservations rule it out."""
        after = self.balance(asset) + amount
        assert after >= 0, f"account {self.name} is short of {asset or 'cash'}"
        if asset:
            self.tokens[asset] = after
        else:
            self.cash = after

    def reserve(self, asset: str, change: int) -> None:
        after = self.reserved.get(asset, 0) + change
        assert after >= 0, "more was released than reserved"
        self.reserved[asset] = after

    def orders(self) -> Iterator[Order]:
        for orders in self.open.values():
            yield from orders.values()


class Pots(msgspec.Struct, array_like=True, gc=False):
    """Where value is that no account holds. `collateral` by market may go below zero only by deposited tokens."""

    deposited: dict[str, int] = {}
    collateral: dict[str, int] = {}
    fees: int = 0
    rounding: int = 0


class Accounts:
    """All accounts and the pots; every movement of value goes through here."""

    def __init__(self) -> None:
        self.by_name: dict[str, Account] = {}
        self.pots = Pots()

    def open(self, name: str, cash: int, liquidity: bool) -> Account:
        account = self.by_name[name] = Account(name, liquidity, cash)
        self._deposited(CASH, cash)
        return account

    def deposit(self, account: Account, asset: str, amount: int) -> None:
        account.credit(asset, amount)
        self._deposited(asset, amount)

    def _deposited(self, asset: str, amount: int) -> None:
        self.pots.deposited[asset] = self.pots.deposited.get(asset, 0) + amount

    def hold(self, order: Order, token_id: str) -> None:
        """An order begins to rest: hold back what it may need."""
        order.base = order.filled
        self.adopt(order, token_id)

    def adopt(self, order: Order, token_id: str) -> None:
        """Hold back what a resting order needs, whenever it began to rest."""
        account = self.by_name[order.account]
        account.reserve(CASH if order.side is Side.BUY else token_id, reserve_of(order))
        account.open.setdefault(order.condition_id, {})[order.venue_order_id] = order
        account.open_count += 1

    def release(self, order: Order, token_id: str) -> None:
        """An order no longer rests: give back what it still holds."""
        account = self.by_name[order.account]
        account.reserve(CASH if order.side is Side.BUY else token_id, -reserve_of(order))
        orders = account.open[order.condition_id]
        del orders[order.venue_order_id]
        if not orders:
            del account.open[order.condition_id]
        account.open_count -= 1

    def change_reserve(self, order: Order, token_id: str, change: int) -> None:
        self.by_name[order.account].reserve(CASH if order.side is Side.BUY else token_id, change)

    def settle_maker(self, order: Order, quantity: int, token_id: str) -> int:
        """Move a maker's side of a match, before its `filled` grows; returns the cash it paid (negative: received)."""
        account = self.by_name[order.account]
        if order.side is Side.SELL:
            cash = mul_floor(order.price, quantity)
            account.reserve(token_id, -quantity)
            account.credit(token_id, -quantity)
            account.credit(CASH, cash)
            return -cash
        done = order.filled - order.base
        cash = mul_ceil(order.price, done + quantity) - mul_ceil(order.price, done)
        account.reserve(CASH, -cash)
        account.credit(CASH, -cash)
        account.credit(token_id, quantity)
        return cash

    def settle_taker(self, order: Order, quantity: int, price: int, fee: int, token_id: str) -> int:
        """Move a taker's side of one trade with its fee; returns the cash paid without it (negative: received)."""
        account = self.by_name[order.account]
        self.pots.fees += fee
        if order.side is Side.SELL:
            cash = mul_floor(price, quantity)
            account.credit(token_id, -quantity)
            account.credit(CASH, cash - fee)
            return -cash
        cash = mul_ceil(price, quantity)
        account.credit(CASH, -cash - fee)
        account.credit(token_id, quantity)
        return cash

    def close_trade(self, condition_id: str, paid: int, minted: int) -> None:
        """Book what one trade leaves: `minted` sets' collateral (negative: merged) and the rounding rest."""
        collateral = self.pots.collateral
        collateral[condition_id] = collateral.get(condition_id, 0) + minted
        self.pots.rounding += paid - minted
