"""Read-only answers from the executor's state. Pure; changes nothing, so nothing here is journaled.

In: a query. Out: one report, newest first and bounded, or a Refused that names the field that cannot be.
"""

from __future__ import annotations

from itertools import islice

import msgspec

from common.errors import Refusal
from common.messages import (
    AccountsReport,
    AccountView,
    Fill,
    FillsReport,
    GetAccounts,
    GetFills,
    GetOrder,
    GetOrders,
    GetPositions,
    GetReconciliation,
    GetSweep,
    Message,
    OrdersReport,
    Position,
    PositionsReport,
    ReconciliationReport,
    Refused,
    SweepReport,
)
from common.reasons import Reason
from services.executor import sweeping, validation
from services.executor.commands import find_order
from services.executor.desk import Desk
from services.executor.external import PREFIX
from services.executor.order import view_of

QUERIES: frozenset[type[Message]] = frozenset(
    {GetOrder, GetOrders, GetFills, GetPositions, GetAccounts, GetReconciliation, GetSweep}
)
ROWS_MAX = 1000
"""Rows in one report, whatever limit is asked for."""


def answer_query(desk: Desk, message: Message) -> list[Message]:
    request_id: str = getattr(message, "request_id", "")
    try:
        match message:
            case GetOrder():
                return [_order(desk, message)]
            case GetOrders():
                return [_orders(desk, message)]
            case GetFills():
                return [_fills(desk, message)]
            case GetPositions():
                _check_account(desk, message.account)
                return [PositionsReport(request_id, _positions(desk, message.account))]
            case GetAccounts():
                _check_account(desk, message.account)
                names = [row.name for row in desk.config.accounts if message.account in ("", row.name)]
                return [AccountsReport(request_id, [_account(desk, name) for name in names])]
            case GetReconciliation():
                rows = [desk.reconciler.peek(wallet.venue, wallet.name).view() for wallet in desk.wallets.values()]
                return [ReconciliationReport(request_id, rows)]
            case GetSweep():
                return [SweepReport(request_id, sweeping.report_of(desk, message.of_command))]
    except Refusal as refusal:
        return [Refused(request_id, refusal.code, refusal.message, refusal.field)]
    return []


def _order(desk: Desk, query: GetOrder) -> Message:
    _check_account(desk, query.account)
    order = find_order(desk, query.account, query.order_id)
    if order is None:
        of = f"account {query.account} has" if query.account else "there is"
        raise Refusal(Reason.ORDER_NOT_FOUND, f"{of} no order {query.order_id[:66]!r}", "order_id")
    return OrdersReport(query.request_id, [view_of(order)])


def _orders(desk: Desk, query: GetOrders) -> Message:
    condition_ids = _scope(desk, query.account, query.market)
    source = reversed(desk.oms.open_orders()) if query.open_only else desk.oms.newest_first()
    chosen = (
        order
        for order in source
        if query.account in ("", order.account) and (not query.market or order.condition_id in condition_ids)
    )
    return OrdersReport(query.request_id, [view_of(order) for order in islice(chosen, _rows(query.limit))])


def _fills(desk: Desk, query: GetFills) -> Message:
    condition_ids = _scope(desk, query.account, query.market)
    found: list[Fill] = []
    for trade_id, venue_order_id in desk.external.recent():
        order = desk.oms.by_venue_id(venue_order_id)
        fill = order.fills.get(trade_id) if order else desk.external.find(trade_id, venue_order_id)
        if fill is None or query.account not in ("", fill.account):
            continue
        if not query.market or fill.condition_id in condition_ids:
            found.append(fill)
            if len(found) == _rows(query.limit):
                break
    return FillsReport(query.request_id, found)


def _positions(desk: Desk, account: str) -> list[Position]:
    """Holdings with what is reserved, what can be sold now, and what they are worth."""
    found = []
    for view in desk.positions.views(account):
        holding = desk.positions.find(view.account, view.token_id)
        assert holding is not None, "views come from holdings"
        reserved = desk.commitments.token(view.account, view.token_id).sells
        mark = desk.valuation.price(view.token_id)
        found.append(
            msgspec.structs.replace(
                view,
                reserved=reserved,
                sellable=max(0, min(view.size, holding.mined) - reserved),
                mark=mark,
                unrealised=desk.valuation.value(view.token_id, holding) - holding.now.cost if mark else 0,
            )
        )
    return found


def _account(desk: Desk, name: str) -> AccountView:
    wallet = desk.wallet_of_account[name]
    purse = desk.purses.peek(wallet.venue, wallet.name)
    reserved = desk.commitments.account(name)
    mode, reason = desk.trading.mode(name)
    standing = desk.trading.peek(name)
    tallies = [holding.now for holding in desk.positions.of_account(name).values()]
    realised, fees = sum(tally.realised for tally in tallies), sum(tally.fees for tally in tallies)
    profit = desk.valuation.profit(name, desk.positions)
    return AccountView(
        account=name,
        wallet=wallet.name,
        venue=wallet.venue,
        trading=mode.value,
        reason=reason,
        cash=purse.cash,
        reserved=reserved.cash,
        spendable=purse.spendable(desk.commitments.wallet(wallet.venue, wallet.name).cash),
        inventory=desk.valuation.inventory(name, desk.positions),
        realised=realised,
        unrealised=profit - realised + fees,
        fees=fees,
        day_pnl=profit - standing.day_equity if standing.day >= 0 else profit,
        open_orders=reserved.orders,
        rejects_in_row=standing.rejects,
    )


def _rows(limit: int) -> int:
    return max(1, min(limit, ROWS_MAX))


def _scope(desk: Desk, account: str, market: str) -> set[str]:
    _check_account(desk, account)
    condition_ids = desk.markets.condition_ids(market) if market else set()
    if market and not condition_ids:
        raise validation.unknown_market(market)
    return condition_ids


def _check_account(desk: Desk, account: str) -> None:
    if account and not account.startswith(PREFIX) and account not in desk.wallet_of_account:
        raise validation.unknown_account(account, desk.wallet_of_account)
