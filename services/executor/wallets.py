"""The wallets' part of every input and timer: catch-up passes, trade checks, due look-ups. Pure.

In: settings, and time. Out: list queries and look-ups for the gateway. A wallet that left the settings is kept with
its state, as its orders and fills still need it.
"""

from __future__ import annotations

from common.messages import QueryBalances, QueryOpenOrders, QueryPositions, QueryTrades
from common.venues.capabilities import capabilities_of
from services.executor import placing
from services.executor.actions import Request
from services.executor.catchup import MS, OVERLAP_NS, Ask, Wallet
from services.executor.config import Config
from services.executor.desk import Desk
from services.executor.order import SETTLED, Event, State
from services.executor.reconcile import Question
from services.executor.risk import Policies


def configure(desk: Desk, config: Config) -> None:
    desk.config = config
    desk.ids.limit = config.execution.idempotency_max
    apply_settings(desk)
    for row in config.wallets:
        key = (row.venue, row.name)
        if key not in desk.wallets:
            desk.wallets[key] = Wallet(row.venue, row.name, desk.now.wall_ns)


def apply_settings(desk: Desk) -> None:
    """What is derived from the settings in force, so that no order has to look for it."""
    config = desk.config
    desk.policies = Policies(config.risk.policies)
    desk.trading.placed_kept = desk.policies.most_orders
    found = {row.name: config.wallet_of(row.name) for row in config.accounts}
    desk.wallet_of_account = {name: wallet for name, wallet in found.items() if wallet is not None}


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
        _ask_differences(desk, wallet)
    while (order := desk.oms.pop_due(desk.now.mono_ns)) is not None:
        if order.state is State.PENDING:
            placing.run_pending(desk, order)
        elif order.state is State.SUBMITTING:
            desk.count("places_timed_out")
            desk.tell(order, Event.DOUBT)  # order_timeout_ms: the gateway did not answer in time
        elif order.open:
            desk.look_up(order)
    desk.fences.expire(desk.now.mono_ns)


def next_due(desk: Desk) -> int | None:
    dues = [due for wallet in desk.wallets.values() if (due := wallet.next_due()) is not None]
    dues += [due for rounds in desk.reconciler.rows() if (due := rounds.next_due()) is not None]
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


def _ask_differences(desk: Desk, wallet: Wallet) -> None:
    """Begin a round of reconciliation when one is due and the wallet can be asked."""
    execution = desk.config.execution
    rounds = desk.reconciler.of(wallet.venue, wallet.name)
    if not wallet.caught_up:
        rounds.stop()
        return
    rounds.plan(desk.now, execution.reconcile_interval_sec, execution.reconcile_incremental_sec)
    for question in rounds.due(desk.now, execution.reconcile_interval_sec, execution.reconcile_incremental_sec):
        if question is Question.POSITIONS and not capabilities_of(wallet.venue).positions:
            continue
        action_id = desk.actions.next_id()
        desk.out.append(desk.actions.send(_request(desk, wallet, question, action_id), []))
        rounds.asked(action_id, question)


def _request(desk: Desk, wallet: Wallet, question: Question, action_id: str) -> Request:
    match question:
        case Question.OPEN_ORDERS:
            return QueryOpenOrders(action_id, wallet.venue, wallet.name)
        case Question.TRADES:
            return QueryTrades(action_id, wallet.venue, wallet.name, _trades_after(desk, wallet))
        case Question.POSITIONS:
            return QueryPositions(action_id, wallet.venue, wallet.name)
        case Question.BALANCES:
            return QueryBalances(action_id, wallet.venue, wallet.name)


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
