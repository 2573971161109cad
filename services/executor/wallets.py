"""The wallets' part of every input and timer: catch-up passes, trade checks, due look-ups. Pure.

In: settings, and time. Out: list queries and look-ups for the gateway. A wallet that left the settings is kept with
its state, as its orders and fills still need it.
"""

from __future__ import annotations

from common.messages import QueryOpenOrders, QueryTrades
from services.executor.catchup import MS, OVERLAP_NS, Ask, Wallet
from services.executor.config import Config
from services.executor.desk import Desk
from services.executor.order import SETTLED


def configure(desk: Desk, config: Config) -> None:
    desk.config = config
    desk.ids.limit = config.execution.idempotency_max
    for row in config.wallets:
        key = (row.venue, row.name)
        if key not in desk.wallets:
            desk.wallets[key] = Wallet(row.venue, row.name, desk.now.wall_ns)


def wallet_known(desk: Desk, venue: str, name: str) -> Wallet | None:
    wallet = desk.wallets.get((venue, name))
    if wallet is None:
        desk.count("unknown_wallets")
    return wallet


def run_due(desk: Desk) -> None:
    """Everything whose time has come."""
    for wallet in desk.wallets.values():
        ask_lists(desk, wallet)
        if wallet.trades_due(desk.now.mono_ns):
            _ask_trades_again(desk, wallet)
    while (order := desk.oms.pop_due(desk.now.mono_ns)) is not None:
        if order.open:
            desk.look_up(order)
    desk.fences.expire(desk.now.mono_ns)


def next_due(desk: Desk) -> int | None:
    dues = [due for wallet in desk.wallets.values() if (due := wallet.next_due()) is not None]
    check = desk.oms.next_check()
    if check is not None:
        dues.append(check)
    return min(dues, default=None)


def ask_lists(desk: Desk, wallet: Wallet) -> None:
    """Send what the running catch-up pass wants now."""
    for ask in wallet.wanted(desk.now.mono_ns):
        if desk.actions.queries_full:
            wallet.next_mono = desk.now.mono_ns + desk.config.execution.lookup_after_ms * MS
            return
        action_id = desk.actions.next_id()
        request: QueryOpenOrders | QueryTrades
        if ask is Ask.OPEN_ORDERS:
            request = QueryOpenOrders(action_id, wallet.venue, wallet.name)
        else:
            request = QueryTrades(action_id, wallet.venue, wallet.name, _trades_after(desk, wallet))
        desk.out.append(desk.actions.send(request, []))
        wallet.asked(ask, action_id)


def _ask_trades_again(desk: Desk, wallet: Wallet) -> None:
    """Fills the venue spoke of did not come by themselves in time. Nothing to ask when they came meanwhile."""
    orders = [order for order in desk.oms.unsettled() if order.wallet == wallet.name and order.fills_missing]
    if not orders and not wallet.trades_since_ns:
        wallet.trades_mono, wallet.trades_tries = 0, 0
        return
    if desk.actions.queries_full:
        wallet.trades_mono = desk.now.mono_ns + desk.config.execution.lookup_after_ms * MS
        return
    action_id = desk.actions.next_id()
    request = QueryTrades(action_id, wallet.venue, wallet.name, _trades_after(desk, wallet))
    desk.out.append(desk.actions.send(request, []))
    wallet.trades_asked(action_id)


def _trades_after(desk: Desk, wallet: Wallet) -> int:
    """From before the oldest thing in doubt: the gap's start, a fill that is not final, an order that lacks fills."""
    since = min(wallet.gap_since_ns or desk.now.wall_ns, wallet.trades_since_ns or desk.now.wall_ns)
    for order in desk.oms.unsettled():
        if (order.venue, order.wallet) != (wallet.venue, wallet.name):
            continue
        if order.fills_missing:
            since = min(since, order.created_ns)
        matched = [fill.matched_ns for fill in order.fills.values() if fill.settlement not in SETTLED]
        since = min([since, *matched])
    since = min([since, *desk.external.unsettled_since(wallet.name)])
    return max(0, since - OVERLAP_NS - desk.config.user_data.dead_after_s * 1_000_000_000)
