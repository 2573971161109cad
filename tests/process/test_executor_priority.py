"""A cancel never waits: the executor's real shell on real sockets, with ten thousand commands in its inbox."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from common.bus import ZmqBus
from common.frames import Epoch
from common.heart import Heart
from common.log import set_up_logging
from common.messages import (
    Cancel,
    CancelOrder,
    Message,
    OpenOrdersResult,
    Place,
    PlaceAnswer,
    PlaceOrder,
    PlaceResult,
    QueryOpenOrders,
    QueryTrades,
    TradesResult,
    UserFeedChanged,
    WalletReady,
    decode,
)
from common.peer import Item, Peer
from common.reasons import Reason
from common.types import FeedState, OrderType, Outcome, Side, TimeInForce
from services.executor.core import ExecutorCore
from tests.process.group import Group, group
from tests.services.executor.driver import ADDRESS, MARKET

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

QUEUED = 10_000
STEP_MAX = 1_024
"""Commands of one step at most: some tens of milliseconds."""
WAIT_S = 20.0


class Bench:
    """The executor as an object that is stepped by hand, and the peers around it."""

    def __init__(self, processes: Group) -> None:
        settings = processes.settings
        run_dir: Path = settings.paths.run_dir
        self.core = ExecutorCore()
        self.heart = Heart("executor", self.core, settings, set_up_logging("executor"))
        self._buses = [
            ZmqBus("gateway", run_dir),
            ZmqBus("user_data", run_dir),
            ZmqBus("client-1", run_dir, binds=False),
        ]
        self.gateway = Peer(self._buses[0], "gateway", Epoch("", 1))
        self.user_data = Peer(self._buses[1], "user_data", Epoch("", 1))
        self.client = Peer(self._buses[2], "client-1", Epoch("", 1), streams=False)
        self.client.listen_to("executor")
        self.answers: list[Message] = []
        self._sent = 0

    def close(self) -> None:
        self.heart._journal.close()
        for bus in (*self._buses, self.heart._bus):
            bus.close()

    def turn(self) -> list[Item]:
        """The peers send what they have and hear what came; lane items the gateway got."""
        now = time.monotonic_ns()
        self.user_data.receive(now)
        self.answers += [decode(item.body) for item in self.client.receive(now) if item.kind == "answer"]
        items = [item for item in self.gateway.receive(now) if item.kind == "lane"]
        for peer in (self.gateway, self.user_data, self.client):
            peer.flush(time.monotonic_ns())
        return items

    def result(self, body: Message) -> None:
        self._sent += 1
        self.gateway.send("results", f"r-{self._sent}", body)

    def answer_queries(self, items: list[Item]) -> None:
        for item in items:
            message = decode(item.body)
            self.gateway.handled(item.origin)
            if isinstance(message, QueryOpenOrders):
                self.result(OpenOrdersResult(message.action_id, Outcome.DONE, Reason.OK, "", time.time_ns(), True, []))
            elif isinstance(message, QueryTrades):
                self.result(TradesResult(message.action_id, Outcome.DONE, Reason.OK, "", time.time_ns(), True, []))

    def until_ready(self) -> None:
        self.heart._begin()
        self.core.desk.markets.take(MARKET)
        self.result(WalletReady("polymarket", "main", ADDRESS, ADDRESS, 0, 137, "k"))
        self.user_data.send(
            "user_events", "f", UserFeedChanged("polymarket", "main", FeedState.LIVE, "", time.time_ns())
        )
        end = time.monotonic() + WAIT_S
        while self.core.missing():
            self.heart.step()
            self.answer_queries(self.turn())
            assert time.monotonic() < end, self.core.missing()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with group(risk__policies="[]", execution__open_orders_max="90000") as processes:
        made = Bench(processes)
        try:
            made.until_ready()
            yield made
        finally:
            made.close()


def place(number: int) -> PlaceOrder:
    return PlaceOrder(
        f"c-{number}", "default", f"id-{number}", "", MARKET.slug, "Up", Side.BUY, OrderType.LIMIT, TimeInForce.GTC,
        False, 520_000, 5_000_000,
    )  # fmt: skip


def test_a_cancel_behind_ten_thousand_commands_leaves_within_one_step_and_results_before_commands(bench: Bench) -> None:
    first = place(0)
    bench.client.request("executor", first.command_id, first)
    sent = None
    end = time.monotonic() + WAIT_S
    while sent is None:
        bench.turn()
        bench.heart.step()
        items = bench.turn()
        found = [message for item in items if isinstance(message := decode(item.body), Place)]
        sent = found[0] if found else None
        bench.answer_queries(items)
        assert time.monotonic() < end, "the first order did not leave"
    bench.client.forget(first.command_id)

    for number in range(1, QUEUED + 1):
        command = place(number)
        bench.client.request("executor", command.command_id, command)
    bench.client.flush(time.monotonic_ns())
    bench.result(PlaceResult(sent.action_id, sent.venue_order_id, Outcome.DONE, Reason.OK, "", "live"))
    cancel = CancelOrder("x-1", "default", "id-0")
    bench.client.request("executor", cancel.command_id, cancel, cancel=True)
    bench.turn()
    wait_until_queued(bench)
    before = bench.core.desk.last_order

    bench.heart.step()

    order = bench.core.desk.oms.by_order_id("o-1")
    assert order is not None
    taken = bench.core.desk.last_order - before
    assert order.cancel_asked, "the cancel waited behind commands"
    assert order.placed_ns, "the result waited behind commands"
    assert 0 < taken <= STEP_MAX, f"one step took {taken} commands: it is not bounded"
    until = time.monotonic() + WAIT_S
    while not (left := [m for item in bench.turn() if isinstance(m := decode(item.body), Cancel)]):
        assert time.monotonic() < until, "the cancel did not leave"
    assert left[0].venue_order_ids == [sent.venue_order_id]
    accepted = [message for message in bench.answers if isinstance(message, PlaceAnswer)]
    assert len(accepted) <= taken + 1


def wait_until_queued(bench: Bench) -> None:
    """Until the operating system has everything at the executor's sockets: its poll names all three inboxes."""
    end = time.monotonic() + WAIT_S
    names = {"executor.cancel", "executor.facts", "executor.command"}
    bus = bench.heart._bus
    assert isinstance(bus, ZmqBus)
    while not names <= {name for name, pull in bus._pulls if int(pull.get(zmq.EVENTS)) & zmq.POLLIN}:
        assert time.monotonic() < end, "not everything arrived"
        bench.turn()
