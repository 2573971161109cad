"""Questions about the exchange's state and their answers. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from common.messages import (
    BalancesReport,
    ExchangeMarketsReport,
    ExchangeOrdersReport,
    ExchangeTrade,
    ExchangeTradesReport,
    GetBalances,
    GetExchangeMarkets,
    GetExchangeOrder,
    GetExchangeOrders,
    GetExchangeTrades,
    Message,
)
from services.exchange.engine import Engine
from services.exchange.execution import order_view
from services.exchange.ladder import Order

QUERIES: frozenset[type[Message]] = frozenset(
    {GetExchangeMarkets, GetExchangeOrder, GetExchangeOrders, GetExchangeTrades, GetBalances}
)

TRADES_PER_REPORT = 1000
"""Most trades in one report, whatever `limit` asks for; `more` tells that there are others."""


def answer_query(engine: Engine, message: Message) -> list[Message]:
    match message:
        case GetExchangeMarkets():
            markets = [whistle.market for whistle in engine.router.by_condition.values()]
            return [ExchangeMarketsReport(message.request_id, markets)]
        case GetExchangeOrder():
            order = engine.orders.get(message.venue_order_id)
            return [_orders_report(engine, message.request_id, [order] if order else [])]
        case GetExchangeOrders():
            return [_open_orders(engine, message)]
        case GetExchangeTrades():
            return [_trades(engine, message)]
        case GetBalances():
            return [_balances(engine, message)]
    return []


def open_orders(engine: Engine, account_name: str, condition_id: str = "", token_id: str = "") -> list[Order]:
    """Resting orders of an account, oldest first; empty filters match all."""
    account = engine.accounts.by_name.get(account_name)
    if account is None:
        return []
    orders = account.open.get(condition_id, {}).values() if condition_id else account.orders()
    if token_id:
        orders = (o for o in orders if engine.router.condition(o.condition_id).market.token_ids[o.outcome] == token_id)
    return sorted(orders, key=lambda order: order.sequence)


def _open_orders(engine: Engine, message: GetExchangeOrders) -> ExchangeOrdersReport:
    orders = open_orders(engine, message.account, message.condition_id, message.token_id)
    return _orders_report(engine, message.request_id, orders)


def _orders_report(engine: Engine, request_id: str, orders: list[Order]) -> ExchangeOrdersReport:
    views = [order_view(order, engine.router.condition(order.condition_id).market) for order in orders]
    return ExchangeOrdersReport(request_id, views)


def _trades(engine: Engine, message: GetExchangeTrades) -> ExchangeTradesReport:
    limit = min(max(message.limit, 0), TRADES_PER_REPORT)
    start = max(message.offset, 0)
    found = list(islice(_matching_trades(engine, message), start, start + limit + 1))
    return ExchangeTradesReport(message.request_id, found[:limit], len(found) > limit)


def _matching_trades(engine: Engine, message: GetExchangeTrades) -> Iterator[ExchangeTrade]:
    """Newest first; both times are inclusive, and a token matches the taker's."""
    account = engine.accounts.by_name.get(message.account)
    for trade_id in reversed(account.trades) if account else ():
        trade = engine.trades.records[trade_id].trade
        if (
            message.trade_id in ("", trade_id)
            and message.condition_id in ("", trade.condition_id)
            and message.token_id in ("", trade.token_id)
            and message.after_ns <= trade.matched_ns
            and (not message.before_ns or trade.matched_ns <= message.before_ns)
        ):
            yield trade


def _balances(engine: Engine, message: GetBalances) -> BalancesReport:
    account = engine.accounts.by_name.get(message.account)
    if account is None:
        return BalancesReport(message.request_id, message.account, False, 0, {}, {})
    tokens = {token: amount for token, amount in account.tokens.items() if amount}
    reserved = {asset: amount for asset, amount in account.reserved.items() if amount}
    return BalancesReport(message.request_id, account.name, True, account.cash, tokens, reserved)
