"""What the risk policies are told of an account, read from the desk when they ask. Pure.

In: the desk, an account, a market, the book view of the order. Out: services/executor/risk.py's Situation. Nothing is
computed that no policy asks for; nothing is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.instruments import Market
from common.messages import BookView
from services.executor.external import account_of

if TYPE_CHECKING:
    from services.executor.desk import Desk


class AccountSituation:
    def __init__(self, desk: Desk, account: str, market: Market, token_id: str, view: BookView | None) -> None:
        self._desk = desk
        self._account = account
        self._market = market
        self._token_id = token_id
        self.view = view
        self.now_wall_ns = desk.now.wall_ns

    def held(self) -> int:
        return self._desk.positions.size(self._account, self._token_id)

    def open_buys(self) -> int:
        return self._desk.commitments.token(self._account, self._token_id).buys

    def open_sells(self) -> int:
        return self._desk.commitments.token(self._account, self._token_id).sells

    def inventory(self) -> int:
        desk = self._desk
        return desk.valuation.inventory(self._account, desk.positions) + desk.commitments.account(self._account).cash

    def event_exposure(self) -> int:
        desk, venue = self._desk, self._market.venue
        held = desk.positions.of_account(self._account)
        worth = sum(
            abs(desk.valuation.value(token_id, holding))
            for token_id, holding in held.items()
            if holding.now.size and self._is_same_event(venue, token_id)
        )
        open_cash = sum(
            reserved.cash
            for token_id, reserved in desk.commitments.tokens(self._account)
            if self._is_same_event(venue, token_id)
        )
        return worth + open_cash

    def _is_same_event(self, venue: str, token_id: str) -> bool:
        market = self._desk.markets.of_token(venue, token_id)
        if market is None:
            return False
        if self._market.event_id:
            return market.event_id == self._market.event_id
        return market.condition_id == self._market.condition_id

    def open_orders(self) -> int:
        return self._desk.commitments.account(self._account).orders

    def placed_within(self, window_ns: int) -> int:
        return self._desk.trading.of(self._account).placed_since(self._desk.now.mono_ns - window_ns)

    def day_pnl(self) -> int:
        desk, row = self._desk, self._desk.trading.of(self._account)
        profit = desk.valuation.profit(self._account, desk.positions)
        return profit - row.day_equity if row.day >= 0 else profit

    def rejects_in_row(self) -> int:
        return self._desk.trading.of(self._account).rejects

    def venue_mode(self) -> tuple[str, str]:
        return self._desk.venue_modes.get(self._market.venue, ("NORMAL", ""))

    def sellable(self, wallet: str) -> int:
        """Shares the account may offer: its own, and what the wallet holds that no account of ours bought."""
        outside = self._desk.positions.size(account_of(wallet), self._token_id)
        return max(0, self.held() + outside - self.open_sells())
