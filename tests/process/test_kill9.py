"""Random kill -9s of every process while clients trade: no order lost, none twice, positions equal the venue's."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import uuid

import msgspec
import pytest

from common.instruments import Market
from common.messages import (
    BalancesReport,
    ExchangeOrdersReport,
    GetBalances,
    GetExchangeOrder,
    GetExchangeTrades,
    GetMarkets,
    GetOrders,
    GetPositions,
    MarketsReport,
    Message,
    OrdersReport,
    OrderView,
    PlaceAnswer,
    PlaceOrder,
    PositionsReport,
    Refused,
)
from common.reasons import Reason
from common.requester import Requester
from common.topology import PROCESSES
from common.types import Lifecycle, OrderType, Settlement, Side, Status, TimeInForce
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group

pytestmark = [pytest.mark.process]

PAUSE_PER_KILL_S = 0.0025
"""Between two orders of a client, for each kill of the schedule: trading goes on until its end."""
ORDERS_PER_CLIENT = 450
"""A report has at most 1,000 rows."""

OPEN = {Status.PENDING, Status.SUBMITTING, Status.UNKNOWN, Status.CANCELLING}
SETTLED = {Lifecycle.CONFIRMED, Lifecycle.REJECTED, Lifecycle.CANCELLED, Lifecycle.PLACED, Lifecycle.EXPIRED}


class Client(threading.Thread):
    """Places orders as fast as they are answered; a command without an answer is repeated under its id."""

    def __init__(
        self, processes: Group, number: int, seed: int, *, stop: threading.Event, markets: list[Market], pause_s: float
    ) -> None:
        super().__init__(name=f"client-{number}")
        self.accepted: dict[str, PlaceAnswer] = {}
        self.refused: dict[str, Reason] = {}
        self.failure: BaseException | None = None
        self._processes = processes
        self._number = number
        self._rng = random.Random(seed)
        self._ended = stop
        self._markets = markets
        self._pause_s = pause_s

    def run(self) -> None:
        try:
            with Requester(self._processes.settings) as bus:
                count = 0
                while not self._ended.is_set() and count < ORDERS_PER_CLIENT:
                    count += 1
                    self._place(bus, f"c{self._number}-{count}")
                    time.sleep(self._pause_s)
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            self.failure = error

    def _place(self, bus: Requester, client_order_id: str) -> None:
        market = self._rng.choice(self._markets)
        resting = self._rng.random() < 0.3
        price = market.tick if resting else 1_000_000 - market.tick
        order = PlaceOrder(
            uuid.uuid4().hex, "default", client_order_id, "polymarket", market.slug, "0", Side.BUY, OrderType.LIMIT,
            TimeInForce.GTC if resting else TimeInForce.FAK, False, price, 5_000_000,
        )  # fmt: skip
        end = time.monotonic() + 60
        while True:
            answer = _answered(bus, order)
            if isinstance(answer, PlaceAnswer):
                self.accepted[client_order_id] = answer
                return
            if isinstance(answer, Refused) and answer.code not in (Reason.FEED_GAP, Reason.WALLET_NOT_READY):
                self.refused[client_order_id] = answer.code
                return
            assert time.monotonic() < end, f"{client_order_id} got no answer: {answer}"
            order = msgspec.structs.replace(order, command_id=uuid.uuid4().hex)
            time.sleep(0.01)


def _answered(bus: Requester, order: PlaceOrder) -> Message | None:
    try:
        return bus.request("executor", order, timeout_s=3)
    except TimeoutError:
        return None


def _orders(bus: Requester, *, open_only: bool = False) -> list[OrderView]:
    report = bus.request("executor", GetOrders(uuid.uuid4().hex, open_only=open_only, limit=100_000), timeout_s=20)
    assert isinstance(report, OrdersReport)
    return report.orders


def _quiet(bus: Requester, deadline_s: float) -> list[OrderView]:
    """Wait until every order rests or is settled."""
    end = time.monotonic() + deadline_s
    while True:
        orders = _orders(bus)
        restless = [order for order in orders if order.lifecycle not in SETTLED or order.status in OPEN]
        if not restless:
            return orders
        assert time.monotonic() < end, f"{len(restless)} orders did not come to rest, first {restless[0]}"
        time.sleep(0.2)


def _story(bus: Requester, processes: Group) -> str:
    """What the processes say about themselves, for a failure's report."""
    beats = bus.heartbeats(2.0)
    states = [f"{name}: {beats[name].state} {beats[name].detail}" if name in beats else name for name in PROCESSES]
    return "\n".join([*states, processes.log("executor"), processes.log("user_data"), processes.log("gateway")])


def _wallet(processes: Group) -> str:
    creds = json.loads((processes.folder / "secrets" / "main.user_data.creds").read_text())
    return str(creds["address"]).lower()


def _check_venue(bus: Requester, processes: Group, orders: list[OrderView]) -> None:
    """The exchange's own books are the judge."""
    wallet = _wallet(processes)
    ours = {order.venue_order_id: order for order in orders}
    assert len(ours) == len(orders), "two orders with one venue id"
    for venue_order_id, order in ours.items():
        report = bus.request("exchange", GetExchangeOrder(uuid.uuid4().hex, venue_order_id))
        assert isinstance(report, ExchangeOrdersReport)
        venue = report.orders[0] if report.orders else None
        if order.lifecycle is Lifecycle.REJECTED and not order.filled_size:
            assert venue is None or venue.filled_size == 0, f"rejected here, traded there: {order} {venue}"
            continue
        assert venue is not None, f"the venue does not know {order}"
        assert venue.filled_size == order.filled_size == sum(fill.size for fill in order.fills), f"{order}\n{venue}"
    trades = bus.request("exchange", GetExchangeTrades(uuid.uuid4().hex, wallet, limit=1000))
    mine = {trade.taker_order_id for trade in trades.trades if trade.taker_account == wallet}  # type: ignore[attr-defined]
    assert mine <= ours.keys(), "the venue traded an order we do not know"
    balances = bus.request("exchange", GetBalances(uuid.uuid4().hex, wallet))
    positions = bus.request("executor", GetPositions(uuid.uuid4().hex))
    assert isinstance(balances, BalancesReport)
    assert isinstance(positions, PositionsReport)
    held = {token: size for token, size in balances.tokens.items() if size}
    assert {row.token_id: row.size for row in positions.positions if row.size} == held


@pytest.mark.timeout(420)
@pytest.mark.parametrize("kills", [14, pytest.param(100, marks=pytest.mark.soak)])
def test_nothing_is_lost_and_nothing_happens_twice(kills: int) -> None:
    seed = int(os.environ.get("KILL9_SEED", "0")) or random.SystemRandom().randrange(2**32)
    print(f"seed {seed} (KILL9_SEED={seed} chooses the same victims again)")
    rng = random.Random(seed)
    with group(polymarket_sim__grant_cash="1000000") as processes:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            processes.start(name)
        processes.wait_ready(*PROCESSES, deadline_s=60)
        with Requester(processes.settings) as bus:
            report = bus.request("market_data", GetMarkets(uuid.uuid4().hex))
            assert isinstance(report, MarketsReport)
            stop = threading.Event()
            markets = [view.market for view in report.markets]
            pause_s = PAUSE_PER_KILL_S * kills
            clients = [Client(processes, n, seed + n, stop=stop, markets=markets, pause_s=pause_s) for n in range(2)]
            for client in clients:
                client.start()
            for _ in range(kills):
                time.sleep(rng.uniform(0.1, 1.2))
                victim = rng.choice(PROCESSES)
                processes.kill9(victim)
                processes.start(victim)
                if rng.random() < 0.5:
                    processes.wait_ready(victim, deadline_s=60)
            time.sleep(rng.uniform(0.0, 1.0))
            stop.set()
            for client in clients:
                client.join(90)
                assert client.failure is None, f"seed {seed}: {client.failure}\n{_story(bus, processes)}"
            processes.wait_ready(*PROCESSES, deadline_s=60)
            orders = _quiet(bus, 90)
            by_client_id = {order.client_order_id: order for order in orders}
            for client in clients:
                assert client.accepted, f"seed {seed}: nothing was accepted, refused: {client.refused}"
                assert client.accepted.keys() <= by_client_id.keys(), f"seed {seed}: an accepted order is gone"
            _check_venue(bus, processes, orders)
            traded = sum(fill.settlement is Settlement.CONFIRMED for order in orders for fill in order.fills)
            print(f"{len(orders)} orders, {traded} confirmed fills, {kills} kills")
            assert traded
