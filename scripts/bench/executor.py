"""Benchmark of the executor: deciding, journaling, and the way from a command to its action.

`commands_per_s` is a quoter's day: a place is cancelled CANCELLED_AFTER places later. `places_per_s` is places alone.
Both decode, judge (the demo's policies, funds), handle and journal on one core, with a real fdatasync for each group of
GROUP commands (group commit). `latency_*` is a real executor process with nothing else to do: from a client's send
until the gateway holds the Place, which is durable by then. The floor, paced alike in the same run, is one journal
append with its sync and two hops of our bus between two processes. Medians. For comparison only: NautilusTrader's
BacktestEngine was measured at 265-340 us an order on such a machine, in memory, with no journal and no bus: not like
for like. One JSON object on the last line.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.bus import ZmqBus
from common.effects import Now, Origin
from common.frames import Epoch
from common.instruments import Market
from common.journal import Journal
from common.messages import (
    BalancesResult,
    BookDepth,
    BookView,
    CancelOrder,
    Configured,
    Judged,
    MarketListed,
    Message,
    OpenOrdersResult,
    Place,
    PlaceOrder,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryPositions,
    QueryTrades,
    TradesResult,
    UserFeedChanged,
    WalletReady,
    decode,
    encode,
)
from common.peer import Peer, request_id_in
from common.reasons import Reason
from common.settings import ROOT, Settings, load_settings
from common.step import Step
from common.types import FeedState, OrderType, Outcome, Side, TimeInForce
from scripts.bench.bus import Ours, our_receiver
from services.executor import placing, validation
from services.executor.core import ExecutorCore

COMMANDS = 256 * 32
CANCELLED_AFTER = 64
"""A place is cancelled this many places later."""
GROUP = 256
"""Commands of one step under load: what one frame holds."""
CHECKS = 5_000
PINGS = 400
ROUNDS = 3
PAUSE_S = 0.003
"""Before each ping: nothing else is to be done, and every process sleeps. The floors pause as well."""
DEADLINE_S = 60
ADDRESS = "0x" + "1f" * 20
MARKET = Market(
    "polymarket", "0x" + "a" * 64, "btc-up", "Up or down?", ("Up", "Down"), (str(2**255 + 1), str(2**255 + 3)),
    10_000, 5_000_000, fee_rate=70_000,
)  # fmt: skip
BIDS = [(480_000 - 10_000 * row, 50_000_000) for row in range(20)]
ASKS = [(490_000 + 10_000 * row, 50_000_000) for row in range(20)]
VIEW = BookView(MARKET.token_ids[0], BIDS[:1], ASKS[:2], False, False, 10_000, FeedState.LIVE, "", 1, 1, 20)
POLICIES = (
    {"type": "PositionLimit", "max_size": "100000000"},
    {"type": "InventoryLimit", "max_value_usd": "100000000"},
    {"type": "OrderSizeLimit", "max_size": "1000"},
    {"type": "OrderNotionalLimit", "max_value_usd": "1000"},
    {"type": "OpenOrdersLimit", "max_orders": 100000},
    {"type": "PriceCollar", "max_bps": 2000},
    {"type": "EventExposureLimit", "max_value_usd": "100000000"},
    {"type": "DailyLossLimit", "max_value_usd": "100000"},
    {"type": "StaleData", "max_age_ms": 2000},
    {"type": "VenueMode"},
    {"type": "NearResolutionBan", "before_end_s": 60},
    {"type": "ConsecutiveRejects", "max_rejects": 10},
)
"""One of nearly every kind, so that `risk_us` is what a careful operator pays."""


def place(number: int) -> PlaceOrder:
    return PlaceOrder(
        f"c-{number}", "default", f"id-{number}", "polymarket", MARKET.slug, "Up", Side.BUY, OrderType.LIMIT,
        TimeInForce.GTC, False, 480_000, 5_000_000,
    )  # fmt: skip


def cancel(number: int) -> CancelOrder:
    return CancelOrder(f"x-{number}", "default", f"id-{number}")


def reply_to(request: Message, wall_ns: int) -> Message | None:
    """What a venue without any history answers."""
    match request:
        case QueryOpenOrders():
            return OpenOrdersResult(request.action_id, Outcome.DONE, Reason.OK, "", wall_ns, True, [])
        case QueryTrades():
            return TradesResult(request.action_id, Outcome.DONE, Reason.OK, "", wall_ns, True, [])
        case QueryPositions():
            return PositionsResult(request.action_id, Outcome.DONE, Reason.OK, "", wall_ns, True, [])
        case QueryBalances():
            return BalancesResult(request.action_id, Outcome.DONE, Reason.OK, "", wall_ns, 10**15, 10**15)
        case Place():
            # Refused, so that nothing stays open that this venue would have to list.
            return PlaceResult(request.action_id, request.venue_order_id, Outcome.REFUSED, Reason.VENUE_REFUSED, "no")
    return None


# --- in one process: deciding and journaling ---


def ready_core(settings: Settings, risk: dict[str, Any]) -> tuple[ExecutorCore, Now]:
    """A core that trades: configured, caught up, with a market."""
    core, now = ExecutorCore(), Now(time.time_ns(), 1_000_000_000)
    shown = settings.model_dump(mode="json") | {"risk": risk}
    core.handle(Configured(json.dumps(shown)), Origin("executor"), now)
    core.handle(MarketListed(MARKET), Origin("market_data", "instruments"), now)
    core.handle(WalletReady("polymarket", "main", ADDRESS, ADDRESS, 0, 137, "k"), Origin("gateway", "results", 1), now)
    live = UserFeedChanged("polymarket", "main", FeedState.LIVE, "", now.wall_ns)
    core.handle(live, Origin("user_data", "user_events", 1), now)
    for action in core.desk.actions.rows():
        answer = reply_to(action.request, now.wall_ns)
        assert answer is not None
        core.handle(answer, Origin("gateway", "results", 2), now)
    assert not core.missing(), core.missing()
    return core, now


def commands_per_s(settings: Settings, folder: Path, commands: Sequence[PlaceOrder | CancelOrder]) -> float:
    """Commands decided and journaled in one second, in groups that share a sync."""
    core, now = ready_core(settings, settings.risk.model_dump(mode="json"))
    bodies = [encode(command) for command in commands]
    journal = Journal.open(folder)
    gc.collect()
    gc.freeze()
    gc.disable()
    began = time.perf_counter()
    for start in range(0, len(bodies), GROUP):
        step = Step(core, now)
        for body in bodies[start : start + GROUP]:
            command = decode(body)
            if isinstance(command, PlaceOrder):
                step.take(Judged(command, VIEW), Origin("order_gateway"))
            else:
                step.take(command, Origin("order_gateway"))
        journal.append(step.record())
    taken_s = time.perf_counter() - began
    gc.enable()
    gc.unfreeze()
    journal.close()
    taken = core.desk.counts["places_accepted"], core.desk.counts.get("cancels_accepted", 0)
    assert taken == (len(commands) // 2, len(commands) // 2 - CANCELLED_AFTER) or taken == (len(commands), 0), taken
    return len(commands) / taken_s


def check_us(settings: Settings) -> dict[str, float]:
    """What one validation and one judgement (policies and funds) cost."""
    core, now = ready_core(settings, {"policies": POLICIES})
    desk, command = core.desk, place(0)
    desk.now = now
    named = validation.Named(desk.wallet_of_account["default"], MARKET, MARKET.token_ids[0], "Up")

    def validate() -> None:
        validation.check_place(command, named, now)
        validation.amounts_of(command, MARKET, command.price, command.size, 0)

    def risk() -> None:
        placing.allowed_proposal(
            desk, placing.proposal_of(command, named, command.price, command.size), named.wallet, VIEW
        )

    found = {}
    for name, call in (("validate_us", validate), ("risk_us", risk)):
        times = []
        for _ in range(9):
            began = time.perf_counter()
            for _ in range(CHECKS):
                call()
            times.append((time.perf_counter() - began) / CHECKS * 1e6)
        found[name] = statistics.median(times)
    return found


# --- a real executor process, and everybody it talks to ---


class Neighbours:
    """market_data, user_data, gateway and a client, as peers in this process."""

    def __init__(self, run_dir: Path) -> None:
        self._peers = {
            name: Peer(ZmqBus(name, run_dir), name, Epoch("", time.time_ns()))
            for name in ("market_data", "user_data", "gateway")
        }
        self._buses = {name: peer._bus for name, peer in self._peers.items()}
        bus = ZmqBus("bench", run_dir, binds=False)
        self._client = Peer(bus, "bench", Epoch("", time.time_ns()), streams=False)
        self._buses["bench"] = bus
        self._client.listen_to("executor")
        now = time.time_ns()
        wallet = WalletReady("polymarket", "main", ADDRESS, ADDRESS, 0, 137, "k")
        self._peers["gateway"].send("results", "wallet", wallet)
        self._peers["user_data"].send(
            "user_events", "feed", UserFeedChanged("polymarket", "main", FeedState.LIVE, "", now)
        )
        self._answers: list[Message] = []
        self._results = self._warmed = 0

    def turn(self) -> list[Place]:
        """Everybody hears and answers once; the places that reached the gateway."""
        now = time.monotonic_ns()
        places: list[Place] = []
        for item in self._peers["gateway"].receive(now):
            if item.kind != "lane":
                continue
            message = decode(item.body)
            self._peers["gateway"].handled(item.origin)
            if isinstance(message, Place):
                places.append(message)
            answer = reply_to(message, time.time_ns())
            if answer is not None:
                self._results += 1
                self._peers["gateway"].send("results", f"r-{self._results}", answer)
        market_data = self._peers["market_data"]
        market_data.receive(now)
        for topic in market_data.snapshots_wanted(now):
            market_data.publish_snapshot(topic, self._snapshot(topic), now)
        self._peers["user_data"].receive(now)
        for item in self._client.receive(now):
            if item.kind == "answer":
                self._answers.append(decode(item.body))
                self._client.forget(request_id_in(item.body))
        for peer in (*self._peers.values(), self._client):
            peer.flush(now)
        return places

    @staticmethod
    def _snapshot(topic: str) -> list[Message]:
        if topic == "instruments":
            return [MarketListed(MARKET)]
        token_id, wall_ns = topic.rpartition(".")[2], time.time_ns()
        depth = BookDepth(token_id, BIDS, ASKS, True, True, 10_000, FeedState.LIVE, "", 1, 1, wall_ns, wall_ns)
        return [depth] if topic.startswith("depth.") else []

    def latency_us(self, number: int) -> float:
        """One place, from the client's send until the gateway holds it."""
        command = place(number)
        began = time.monotonic_ns()
        self._client.request("executor", command.command_id, command)
        self._client.flush(began)
        gateway = self._peers["gateway"]
        end = began + DEADLINE_S * 10**9
        while True:
            self._buses["gateway"].poll(20)
            items = gateway.receive(time.monotonic_ns())
            arrived = time.monotonic_ns()
            found = [item for item in items if item.kind == "lane"]
            if found:
                break
            if arrived > end:
                raise SystemExit("the executor sent nothing")
        for item in found:
            message = decode(item.body)
            gateway.handled(item.origin)
            answer = reply_to(message, time.time_ns())
            assert answer is not None
            self._results += 1
            gateway.send("results", f"r-{self._results}", answer)
            if not isinstance(message, Place):
                return 0.0  # a question of the reconciler came in between
        self._settle()
        return (arrived - began) / 1000

    def _settle(self) -> None:
        """Let everything of the last order be over before the next begins."""
        self.turn()
        time.sleep(PAUSE_S)
        self.turn()

    def until_ready(self) -> None:
        """Until the executor takes a place."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            self._warmed += 1
            warm = place(-self._warmed)
            self._client.request("executor", warm.command_id, warm)
            wait = time.monotonic() + 0.1
            while time.monotonic() < wait:
                if self.turn():
                    self._settle()
                    return
        raise SystemExit(f"the executor takes no places: {self._answers[-1:]}")

    def close(self) -> None:
        for bus in self._buses.values():
            bus.close()


def latencies(settings: Settings, folder: Path) -> dict[str, float]:
    """p50 and p99 of a real executor, and of the floors, in interleaved rounds."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("POLYEXEC_")} | {
        f"POLYEXEC_PATHS__{name.upper()}_DIR": str(folder / name) for name in ("run", "data", "log", "secrets")
    }
    for name in ("run", "data", "log", "secrets"):
        (folder / name).mkdir(mode=0o700)
    neighbours = Neighbours(folder / "run")
    process = subprocess.Popen(
        [sys.executable, "-m", "services.executor"], cwd=ROOT, env=env, stdout=subprocess.DEVNULL
    )
    ours: list[float] = []
    floors: dict[str, list[float]] = {"sync": [], "hop": []}
    try:
        for number in range(ROUNDS):
            neighbours.until_ready()  # again: nobody was heard while the floor was measured
            ours += [neighbours.latency_us(number * PINGS + ping) for ping in range(PINGS)]
            floors["sync"].append(sync_us(settings, folder / f"floor-{number}"))
            floors["hop"].append(hop_us())
    finally:
        process.terminate()
        process.wait(20)
        neighbours.close()
    taken = sorted(value for value in ours if value)
    p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    sync, hop = (statistics.median(values) for values in floors.values())
    return {
        "latency_p50_us": round(p50, 1),
        "latency_p99_us": round(p99, 1),
        "sync_us": round(sync, 1),
        "hop_us": round(hop, 1),
        "floor_us": round(sync + 2 * hop, 1),
        "latency_ratio_to_floor": round(p50 / (sync + 2 * hop), 2),
    }


def sync_us(settings: Settings, folder: Path) -> float:
    """The median of appending one record of a place to a journal, durably."""
    core, now = ready_core(settings, settings.risk.model_dump(mode="json"))
    journal = Journal.open(folder)
    times = []
    for number in range(PINGS):
        step = Step(core, now)
        step.take(Judged(place(number), VIEW), Origin("bench"))
        record = step.record()
        time.sleep(PAUSE_S)
        began = time.monotonic_ns()
        journal.append(record)
        times.append((time.monotonic_ns() - began) / 1000)
    journal.close()
    return statistics.median(times)


def hop_us() -> float:
    """One hop of our bus between two processes that sleep in between."""
    with tempfile.TemporaryDirectory(prefix="px-") as name:
        pipe, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=our_receiver, args=(Path(name), theirs), daemon=True
        )
        process.start()
        pipe.recv()
        sender = Ours(Path(name), pipe)
        try:
            return sender.hop_us(PINGS, PAUSE_S)
        finally:
            pipe.send(("stop", 0))
            process.join(10)
            sender.close()


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="px-") as home:
        folder = Path(home)
        places = [place(number) for number in range(COMMANDS)]
        quoting = [
            command for number in range(COMMANDS // 2) for command in (place(number), cancel(number - CANCELLED_AFTER))
        ]
        rates: dict[str, list[float]] = {"commands_per_s": [], "places_per_s": []}
        mixes: tuple[Sequence[PlaceOrder | CancelOrder], ...] = (quoting, places)
        for number in range(ROUNDS):
            for name, commands in zip(rates, mixes, strict=True):
                rates[name].append(commands_per_s(settings, folder / f"{name}-{number}", commands))
        shown: dict[str, float] = {
            **{name: round(statistics.median(values)) for name, values in rates.items()},
            **{name: round(value, 2) for name, value in check_us(settings).items()},
            **latencies(settings, folder),
        }
    print(json.dumps({**shown, "nautilus_backtest_us_per_order": "265-340, not like for like"}))


if __name__ == "__main__":
    main()
