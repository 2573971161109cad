"""What an action costs at its venue, in the words of the venue's limits (common/ratelimit.py). Pure.

In: an action and monotonic time. Out: 0 when it may go (and is charged), else how long to wait. Cancels are urgent: a
part of every budget is theirs alone. A repeat of a place costs its look-up as well.
"""

from __future__ import annotations

from common.messages import (
    Cancel,
    CancelWallet,
    Place,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
)
from common.ratelimit import Charges, Limits, charges
from services.gateway.actions import Single

REPEATS_MAX = 1_000
"""Charges of repeats that are remembered: one for each wallet and size."""


class Budgets:
    """A Limiter (core.py) over the limits of one venue."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._repeats: dict[Charges, Charges] = {}

    def take(self, action: Single, count: int, now: int, *, repeat: bool = False) -> int:
        match action:
            case Place():
                costs = self._limits.place(action.wallet, count)
                return self._limits.try_take(self._with_lookup(costs) if repeat else costs, now)
            case Cancel():
                return self._limits.try_take(self._limits.cancel(action.wallet, count), now, urgent=True)
            case CancelWallet():
                narrow = action.condition_id or action.token_id
                name = self._limits.cancel_market if narrow else self._limits.cancel_wallet
                return self._limits.try_take(name(action.wallet), now, urgent=True)
        return self._limits.try_take(self._question(action), now)

    def _question(self, action: Single) -> Charges:
        match action:
            case QueryOrder():
                return self._limits.lookup()
            case QueryOpenOrders():
                return self._limits.open_orders()
            case QueryTrades():
                return self._limits.trades()
            case QueryPositions():
                return self._limits.positions()
            case QueryBalances():
                return self._limits.balances()
        raise TypeError(type(action).__name__)

    def cancelled(self, wallet: str, count: int, now: int) -> None:
        self._limits.on_cancelled(wallet, count, now)

    def cancels_free(self, wallet: str, now: int) -> int:
        return self._limits.cancels_free(wallet, now)

    def _with_lookup(self, costs: Charges) -> Charges:
        """A repeat is looked up before it is sent."""
        known = self._repeats.get(costs)
        if known is None:
            if len(self._repeats) >= REPEATS_MAX:
                self._repeats.clear()
            known = self._repeats[costs] = charges(*costs, *self._limits.lookup())
        return known
