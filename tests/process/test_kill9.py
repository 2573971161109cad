"""Random kill -9s of running processes while clients trade: no order lost, none twice, positions equal the venue's.

Also cut: the connections of the market and the user channel. Nothing is done by hand, and the exchange's books are the
judge.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter

import msgspec
import pytest

from common.messages import (
    CancelAccepted,
    CancelAll,
    CancelOrder,
    GetMarkets,
    GetOrders,
    MarketsReport,
    MarketView,
    OrdersReport,
    PlaceAnswer,
    PlaceOrder,
    Refused,
)
from common.reasons import Reason
from common.requester import Requester
from common.topology import PROCESSES
from common.types import OrderType, Settlement, Side, TimeInForce
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group
from tests.process.judge import (
    ACCOUNT,
    ANSWER_S,
    answered,
    check_journals,
    check_positions,
    check_venue,
    final_orders,
    order_of,
    wallet_of,
)

pytestmark = [pytest.mark.process]

CLIENTS = 4
PAUSE_S = 0.03
"""Between two commands of a client."""
SIZE = 20_000_000
ASK_MIN = 60_000
"""Below it a marketable order would be too small for the venue."""
REQUEST_LIFE_MS = 10_000
"""Above what the gateway's and the simulator's timeouts leave of a request, below what a test can wait for."""

VICTIMS = {
    "executor": 5, "gateway": 4, "user_data": 4, "market_data": 3, "polymarket_sim": 4,
    "exchange": 2, "mirror": 1, "recorder": 1,
}  # fmt: skip
"""How often each is chosen."""
CUTS = ("cut_user_connections", "cut_market_connections")
MOMENT_S = 0.8
"""A process that runs is killed within so long."""
READY_EVERY = 0.25
"""How often everything is awaited, so that trading goes on in between; otherwise the next one falls at once."""


class Client(threading.Thread):
    """Places and cancels as fast as it is answered; a command without an answer is repeated under its id."""

    def __init__(
        self, processes: Group, number: int, seed: int, stop: threading.Event, views: list[MarketView]
    ) -> None:
        super().__init__(name=f"client-{number}")
        self.accepted: dict[str, PlaceAnswer] = {}
        self.refused: dict[str, Reason] = {}
        self.cancels: Counter[str] = Counter()
        self._resting: list[str] = []
        self.failure: BaseException | None = None
        self._processes = processes
        self._number = number
        self._rng = random.Random(seed)
        self._ended = stop
        self._markets = [(view.market, view.best_asks[0]) for view in views if view.best_asks[0] >= ASK_MIN]
        self._count = 0

    def run(self) -> None:
        try:
            with Requester(self._processes.settings) as bus:
                while not self._ended.is_set():
                    self._act(bus)
                    time.sleep(PAUSE_S)
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            self.failure = error

    def _act(self, bus: Requester) -> None:
        choice = self._rng.random()
        if choice < 0.8 or not self._resting:
            self._place(bus)
        elif choice < 0.994:
            self._cancel(bus)
        else:
            self._cancel_all(bus)

    def _place(self, bus: Requester) -> None:
        """Mostly at the market; the others rest. The price follows what was listed at the start."""
        self._count += 1
        client_order_id = f"c{self._number}-{self._count}"
        market, ask = self._rng.choice(self._markets)
        resting = self._rng.random() < 0.4
        price = market.tick if resting else min(ask + market.tick, 1_000_000 - market.tick)
        order = PlaceOrder(
            uuid.uuid4().hex, ACCOUNT, client_order_id, "polymarket", market.slug, "0", Side.BUY, OrderType.LIMIT,
            TimeInForce.GTC if resting else TimeInForce.FAK, False, price, SIZE,
        )  # fmt: skip
        answer = answered(bus, order)
        if isinstance(answer, PlaceAnswer):
            assert answer.order.client_order_id == client_order_id
            self.accepted[client_order_id] = answer
            if resting:
                self._resting.append(answer.order.order_id)
        else:
            assert isinstance(answer, Refused), answer
            self.refused[client_order_id] = answer.code
        if self._rng.random() < 0.05:
            self._place_again(bus, order)

    def _place_again(self, bus: Requester, order: PlaceOrder) -> None:
        """The same intent under a new command: it must be the order there is already."""
        known = self.accepted.get(order.client_order_id)
        if known is None:
            return
        answer = answered(bus, msgspec.structs.replace(order, command_id=uuid.uuid4().hex))
        assert isinstance(answer, PlaceAnswer), answer
        assert (answer.order.order_id, answer.duplicate) == (known.order.order_id, True)

    def _cancel(self, bus: Requester) -> None:
        """One of its own; that it has ended already is a fine answer."""
        order_id = self._resting.pop(self._rng.randrange(len(self._resting)))
        answer = answered(bus, CancelOrder(uuid.uuid4().hex, ACCOUNT, order_id), cancel=True)
        assert isinstance(answer, CancelAccepted | Refused), answer
        self.cancels["one" if isinstance(answer, CancelAccepted) else "refused"] += 1

    def _cancel_all(self, bus: Requester) -> None:
        answer = answered(bus, CancelAll(uuid.uuid4().hex, ACCOUNT), cancel=True)
        assert isinstance(answer, CancelAccepted), answer
        self.cancels["all"] += 1


class Killer:
    """Ends running processes and connections at random moments; supervisord's part, starting anew, is done here."""

    def __init__(self, processes: Group, bus: Requester, rng: random.Random) -> None:
        self.killed: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self._processes = processes
        self._bus = bus
        self._rng = rng

    def strike(self) -> None:
        """One kill, and sometimes a cut connection before it."""
        if self._rng.random() < 0.4:
            self._cut(self._rng.choice(CUTS))
        victim = self._rng.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        self._wait_running(victim)
        time.sleep(self._rng.uniform(0.0, MOMENT_S))
        self._processes.kill9(victim)
        self.killed[victim] += 1
        self._processes.start(victim)
        if self._rng.random() < READY_EVERY:
            self._processes.wait_ready(*PROCESSES, deadline_s=60)

    def _wait_running(self, name: str) -> None:
        """Until the process that was started last is heard: killing an interpreter that starts proves nothing."""
        process = self._processes.processes[name]
        end = time.monotonic() + 60
        while True:
            assert process.poll() is None, f"{name} ended with {process.poll()}:\n{self._processes.log(name)}"
            beat = self._bus.heartbeats(0.2, (name,)).get(name)
            if beat is not None and beat.pid == process.pid:
                return
            assert time.monotonic() < end, f"{name} is not heard:\n{self._processes.log(name)}"

    def _cut(self, fault: str) -> None:
        """Through the simulator's control port; it may be down just now, then there is nothing to cut."""
        url = f"http://127.0.0.1:{self._processes.control_port}/faults"
        body = json.dumps({"name": fault, "on": True}).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=2):
                self.cut[fault] += 1
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            self.cut["missed"] += 1


def _story(bus: Requester, processes: Group) -> str:
    """What the processes say about themselves, for a failure's report."""
    beats = bus.heartbeats(2.0)
    states = [f"{name}: {beats[name].state} {beats[name].detail}" if name in beats else name for name in PROCESSES]
    return "\n".join([*states, processes.log("executor"), processes.log("user_data"), processes.log("gateway")])


def _trade_and_kill(processes: Group, bus: Requester, seed: int, kills: int) -> list[Client]:
    """Four clients trade until the last process was killed and all are ready again."""
    report = bus.request("market_data", GetMarkets(uuid.uuid4().hex))
    assert isinstance(report, MarketsReport)
    stop = threading.Event()
    clients = [Client(processes, number, seed + number, stop, report.markets) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    killer = Killer(processes, bus, random.Random(seed))
    try:
        for _ in range(kills):
            killer.strike()
        processes.wait_ready(*PROCESSES, deadline_s=60)
    finally:
        stop.set()
        for client in clients:
            client.join(ANSWER_S + 30)
    print(f"killed {dict(killer.killed)}, cut {dict(killer.cut)}")
    assert killer.killed.total() == kills
    return clients


def _check(processes: Group, bus: Requester, clients: list[Client]) -> None:
    accepted = [client_order_id for client in clients for client_order_id in client.accepted]
    refused = Counter(code for client in clients for code in client.refused.values())
    assert len(accepted) > 20 * CLIENTS, f"hardly anything was accepted, refused: {refused}"
    assert isinstance(answered(bus, CancelAll(uuid.uuid4().hex), cancel=True), CancelAccepted)
    orders = final_orders(bus, accepted, 90)
    for client in clients:
        for client_order_id, answer in client.accepted.items():
            order = order_of(bus, client_order_id)
            assert order is not None
            assert order.order_id == answer.order.order_id, "one id, two orders"
            assert order.venue_order_id == answer.order.venue_order_id, "signed twice"
        for client_order_id in client.refused:
            assert order_of(bus, client_order_id) is None, f"{client_order_id} was refused and is there"
    newest = bus.request("executor", GetOrders(uuid.uuid4().hex, open_only=False, limit=1000), timeout_s=20)
    assert isinstance(newest, OrdersReport)
    assert {row.client_order_id for row in newest.orders} <= set(accepted), "an order nobody was told of"
    wallet = wallet_of(processes)
    check_venue(bus, wallet, orders)
    check_positions(bus, wallet)
    check_journals(processes)
    confirmed = sum(fill.settlement is Settlement.CONFIRMED for order in orders for fill in order.fills)
    cancels = sum((client.cancels for client in clients), Counter[str]())
    print(f"{len(orders)} orders, {confirmed} confirmed fills, cancels {dict(cancels)}, refused {dict(refused)}")
    assert confirmed
    assert cancels["one"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [30, pytest.param(200, marks=pytest.mark.soak)])
def test_nothing_is_lost_and_nothing_happens_twice(kills: int) -> None:
    seed = int(os.environ.get("KILL9_SEED", "0")) or random.SystemRandom().randrange(2**32)
    print(f"seed {seed} (KILL9_SEED={seed} chooses the same victims again)")
    with group(polymarket_sim__grant_cash="1000000", execution__request_life_ms=str(REQUEST_LIFE_MS)) as processes:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            processes.start(name)
        processes.wait_ready(*PROCESSES, deadline_s=60)
        with Requester(processes.settings) as bus:
            clients = _trade_and_kill(processes, bus, seed, kills)
            for client in clients:
                assert client.failure is None, f"seed {seed}: {client.failure}\n{_story(bus, processes)}"
            try:
                _check(processes, bus, clients)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}\n{_story(bus, processes)}") from error
