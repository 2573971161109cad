"""What the executor says of orders against what the exchange's books say: the judge of tests with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid

from common.messages import (
    BalancesReport,
    CancelAccepted,
    CancelAll,
    ExchangeOrder,
    ExchangeOrdersReport,
    ExchangeTrade,
    ExchangeTradesReport,
    GetBalances,
    GetExchangeOrder,
    GetExchangeOrders,
    GetExchangeTrades,
    GetOrder,
    GetOrders,
    GetPositions,
    Message,
    OrdersReport,
    OrderView,
    PositionsReport,
    Refused,
)
from common.reasons import Reason
from common.requester import Requester
from common.settings import ROOT
from common.topology import HEARTS
from common.types import Lifecycle, Status
from tests.process.group import Group

ACCOUNT = "default"
ANSWER_S = 60.0
"""A command is repeated under its id for so long; the executor may be away meanwhile."""
OPEN = {Status.PENDING, Status.SUBMITTING, Status.UNKNOWN, Status.CANCELLING, Status.WORKING, Status.PARTIALLY_FILLED}
SETTLED = {Lifecycle.CONFIRMED, Lifecycle.REJECTED, Lifecycle.CANCELLED, Lifecycle.PLACED, Lifecycle.EXPIRED}


def answered(bus: Requester, command: Message, *, cancel: bool = False) -> Message:
    """The answer, however often the executor dies meanwhile."""
    end = time.monotonic() + ANSWER_S
    while True:
        try:
            return bus.request("executor", command, timeout_s=3, cancel=cancel)
        except TimeoutError:
            assert time.monotonic() < end, f"no answer within {ANSWER_S} s: {command}"


def order_of(bus: Requester, client_order_id: str) -> OrderView | None:
    answer = bus.request("executor", GetOrder(uuid.uuid4().hex, ACCOUNT, client_order_id), timeout_s=20)
    if isinstance(answer, Refused):
        assert answer.code is Reason.ORDER_NOT_FOUND, answer
        return None
    assert isinstance(answer, OrdersReport)
    return answer.orders[0]


def is_at_rest(order: OrderView) -> bool:
    return order.lifecycle in SETTLED and order.status not in OPEN


def final_orders(bus: Requester, client_order_ids: list[str], deadline_s: float) -> list[OrderView]:
    """Every order once it has ended and its fills are settled: what was cancelled last must be proven gone."""
    end = time.monotonic() + deadline_s
    done: dict[str, OrderView] = {}
    while len(done) < len(client_order_ids):
        for client_order_id in client_order_ids:
            if client_order_id not in done:
                order = order_of(bus, client_order_id)
                assert order is not None, f"the accepted order {client_order_id} is gone"
                if is_at_rest(order):
                    done[client_order_id] = order
                else:
                    assert time.monotonic() < end, f"did not come to rest: {order}"
                    time.sleep(0.2)
                    break
    return list(done.values())


def wallet_of(processes: Group) -> str:
    creds = json.loads((processes.folder / "secrets" / "main.user_data.creds").read_text())
    return str(creds["address"]).lower()


def venue_trades(bus: Requester, wallet: str) -> list[ExchangeTrade]:
    trades: list[ExchangeTrade] = []
    while True:
        report = bus.request("exchange", GetExchangeTrades(uuid.uuid4().hex, wallet, offset=len(trades)))
        assert isinstance(report, ExchangeTradesReport)
        trades += report.trades
        if not report.more:
            return trades


def venue_order(bus: Requester, venue_order_id: str) -> ExchangeOrder | None:
    report = bus.request("exchange", GetExchangeOrder(uuid.uuid4().hex, venue_order_id))
    assert isinstance(report, ExchangeOrdersReport)
    return report.orders[0] if report.orders else None


def check_venue(bus: Requester, wallet: str, orders: list[OrderView]) -> None:
    """Every order as the venue has it, and nothing at the venue that is not one of them."""
    ours = {order.venue_order_id: order for order in orders}
    assert len(ours) == len(orders), "two orders with one venue id"
    for venue_order_id, order in ours.items():
        venue = venue_order(bus, venue_order_id)
        if order.lifecycle is Lifecycle.REJECTED and not order.filled_size:
            assert venue is None or venue.filled_size == 0, f"rejected here, traded there: {order} {venue}"
            continue
        assert venue is not None or not order.filled_size, f"the venue does not know {order}"
        traded = venue.filled_size if venue else 0
        assert traded == order.filled_size == sum(fill.size for fill in order.fills), f"{order}\n{venue}"
    matched: set[str] = set()
    for trade in venue_trades(bus, wallet):
        matched |= {trade.taker_order_id} if trade.taker_account == wallet else set()
        matched |= {leg.venue_order_id for leg in trade.makers if leg.account == wallet}
    assert matched <= ours.keys(), "the venue traded an order we do not know"
    report = bus.request("exchange", GetExchangeOrders(uuid.uuid4().hex, wallet))
    assert isinstance(report, ExchangeOrdersReport)
    assert report.orders == [], "everything was cancelled, the venue has open orders"


def check_positions(bus: Requester, wallet: str) -> None:
    balances = bus.request("exchange", GetBalances(uuid.uuid4().hex, wallet))
    positions = bus.request("executor", GetPositions(uuid.uuid4().hex))
    assert isinstance(balances, BalancesReport)
    assert isinstance(positions, PositionsReport)
    held = {token: size for token, size in balances.tokens.items() if size}
    assert {row.token_id: row.size for row in positions.positions if row.size} == held


def check_journals(processes: Group) -> None:
    """After all the kills, and while both hearts run: sound files, and a replay comes to the checkpoints' states."""
    for heart in sorted(HEARTS):
        for words in (["verify"], ["replay", "--check"]):
            command = [sys.executable, "-m", "services.cli", "journal", *words, "--process", heart]
            done = subprocess.run(
                command, cwd=ROOT, env=processes.env, capture_output=True, text=True, timeout=120, check=False
            )
            assert done.returncode == 0, f"{heart} {words}: {done.stdout}{done.stderr}"


def cancelled_everything(bus: Requester, deadline_s: float) -> None:
    """Cancel all, again until nothing is open."""
    end = time.monotonic() + deadline_s
    while True:
        answer = answered(bus, CancelAll(uuid.uuid4().hex), cancel=True)
        assert isinstance(answer, CancelAccepted), answer
        report = bus.request("executor", GetOrders(uuid.uuid4().hex, open_only=True), timeout_s=20)
        assert isinstance(report, OrdersReport)
        if not report.orders:
            return
        assert time.monotonic() < end, f"still open: {report.orders[:3]}"
        time.sleep(0.2)
