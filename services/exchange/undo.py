"""What a trade that fails on the chain must give back: the reverse of every flow of its match, from the trade alone.

In: a trade. Out: changes by account and asset, and what the pots get back. A resting BUY gets back the floor of what
it paid, everybody else exactly what they gave. Whether the parties still have it is the engine's to ask.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from common.fixed import mul_ceil, mul_floor
from common.messages import ExchangeTrade
from common.types import Side
from services.exchange.accounts import CASH, Accounts


class Undo(NamedTuple):
    """`changes` by (account, asset); `paid` is the cash that goes back without the fee, as a negative payment."""

    changes: Counter[tuple[str, str]]
    paid: int
    fee: int
    minted: int


def undo_of(trade: ExchangeTrade) -> Undo:
    changes: Counter[tuple[str, str]] = Counter()
    taken = mul_ceil if trade.side is Side.BUY else mul_floor
    paid = _reverse(
        changes, trade.taker_account, trade.token_id, trade.side, trade.size, taken(trade.price, trade.size)
    )
    changes[trade.taker_account, CASH] += trade.fee
    minted = 0
    for fill in trade.makers:
        paid += _reverse(changes, fill.account, fill.token_id, fill.side, fill.size, mul_floor(fill.price, fill.size))
        if fill.side is trade.side:
            minted += fill.size if trade.side is Side.BUY else -fill.size
    return Undo(changes, paid, trade.fee, minted)


def take_back(undo: Undo, condition_id: str, accounts: Accounts) -> None:
    """Reverse what a failed trade moved; the dust a resting BUY paid too much stays in the rounding pot."""
    for (name, asset), change in undo.changes.items():
        accounts.by_name[name].credit(asset, change)
    accounts.pots.fees -= undo.fee
    accounts.close_trade(condition_id, undo.paid, -undo.minted)


def _reverse(changes: Counter[tuple[str, str]], account: str, token: str, side: Side, size: int, cash: int) -> int:  # noqa: PLR0917
    """One party gets back what it gave and gives what it got; returns its payment (negative: it is paid)."""
    sign = 1 if side is Side.BUY else -1
    changes[account, token] -= sign * size
    changes[account, CASH] += sign * cash
    return -sign * cash
