"""Read-only answers from the executor's state. Pure; changes nothing, so nothing here is journaled.

In: a query. Out: one report, newest first and bounded, or a Refused that names the field that cannot be.
"""

from __future__ import annotations

from itertools import islice

from common.errors import Refusal
from common.messages import (
    Fill,
    FillsReport,
    GetFills,
    GetOrder,
    GetOrders,
    GetPositions,
    Message,
    OrdersReport,
    PositionsReport,
    Refused,
)
from common.reasons import Reason
from services.executor import validation
from services.executor.commands import find_order
from services.executor.desk import Desk
from services.executor.external import PREFIX
from services.executor.order import view_of

QUERIES: frozenset[type[Message]] = frozenset({GetOrder, GetOrders, GetFills, GetPositions})
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
                return [PositionsReport(request_id, desk.positions.views(message.account))]
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


def _rows(limit: int) -> int:
    return max(1, min(limit, ROWS_MAX))


def _scope(desk: Desk, account: str, market: str) -> set[str]:
    _check_account(desk, account)
    condition_ids = desk.markets.condition_ids(market) if market else set()
    if market and not condition_ids:
        raise validation.unknown_market(market)
    return condition_ids


def _check_account(desk: Desk, account: str) -> None:
    if account and not account.startswith(PREFIX) and desk.config.wallet_of(account) is None:
        raise validation.unknown_account(account, desk.config)
