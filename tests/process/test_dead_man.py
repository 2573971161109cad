"""The dead-man chain with real processes: who falls silent leaves no order behind; an orderly end does as told."""

from __future__ import annotations

import signal
import time
import uuid

import msgspec
import pytest

from common.messages import (
    ExchangeOrder,
    ExchangeOrdersReport,
    GetExchangeOrders,
    GetMarkets,
    MarketsReport,
    MarketView,
    PlaceAnswer,
    PlaceOrder,
)
from common.requester import Requester
from common.topology import PROCESSES
from common.types import OrderType, Side, Status, TimeInForce
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group
from tests.process.judge import ACCOUNT, answered, order_of, wallet_of

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

SILENT_S = 3 + 10
"""The executor's silence that ends the beats, and the beats' silence that ends the orders (protocol section 4.6)."""


def resting(bus: Requester, view: MarketView, name: str) -> str:
    """An order far below the market, open at the venue; its client order id."""
    market = view.market
    order = PlaceOrder(
        uuid.uuid4().hex, ACCOUNT, name, "polymarket", market.slug, "0", Side.BUY, OrderType.LIMIT,
        TimeInForce.GTC, False, market.tick, 20_000_000,
    )  # fmt: skip
    end = time.monotonic() + 30
    while not isinstance(answer := answered(bus, order), PlaceAnswer):
        assert time.monotonic() < end, answer
        order = msgspec.structs.replace(order, command_id=uuid.uuid4().hex)
        time.sleep(0.1)
    return name


def open_at_venue(bus: Requester, wallet: str) -> list[ExchangeOrder]:
    report = bus.request("exchange", GetExchangeOrders(uuid.uuid4().hex, wallet))
    assert isinstance(report, ExchangeOrdersReport)
    return report.orders


def until_open(bus: Requester, wallet: str, count: int, within_s: float) -> float:
    began = time.monotonic()
    while len(found := open_at_venue(bus, wallet)) != count:
        assert time.monotonic() < began + within_s, f"{len(found)} orders are open at the venue, not {count}"
        time.sleep(0.1)
    return time.monotonic() - began


def a_market(bus: Requester) -> MarketView:
    report = bus.request("market_data", GetMarkets(uuid.uuid4().hex))
    assert isinstance(report, MarketsReport)
    return next(view for view in report.markets if view.best_bids[0] and view.best_asks[0])


def started(processes: Group) -> None:
    provision(processes.settings, GivenSecrets())
    for name in PROCESSES:
        processes.start(name)
    processes.wait_ready(*PROCESSES, deadline_s=60)


def test_orders_end_with_a_silent_executor_or_gateway_and_not_before() -> None:
    with group(gateway__on_shutdown="cancel_all") as processes:
        started(processes)
        wallet = wallet_of(processes)
        with Requester(processes.settings) as bus:
            view = a_market(bus)
            name = resting(bus, view, "kept")
            until_open(bus, wallet, 1, 10)
            processes.processes["executor"].send_signal(signal.SIGSTOP)
            took_s = until_open(bus, wallet, 0, SILENT_S + 20)
            processes.processes["executor"].send_signal(signal.SIGCONT)
            assert took_s > 5, "an executor that hangs for a moment must not cost the orders"
            _until_status(bus, name, Status.CANCELLED)
            resting(bus, view, "again")
            until_open(bus, wallet, 1, 15)
            processes.processes["gateway"].send_signal(signal.SIGTERM)
            assert processes.processes["gateway"].wait(20) == 0
            assert open_at_venue(bus, wallet) == [], "the policy of an orderly end was not carried out"
            assert "shutdown_cancel_all" in processes.log("gateway")


def _until_status(bus: Requester, name: str, status: Status) -> None:
    end = time.monotonic() + 30
    while (order := order_of(bus, name)) is None or order.status is not status:
        assert time.monotonic() < end, f"not {status}: {order}"
        time.sleep(0.1)
