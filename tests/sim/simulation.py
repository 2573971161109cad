"""One seed from beginning to end: build the world, let it go wrong for a while, calm it down, wait for rest, check.

In: a seed, and classes that a test may have broken. Out: a Result, or a Violation that names the seed. Many seeds run
in a few worker processes, within a bound of wall time.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from common.frames import Epoch
from common.messages import Cancel, Place
from common.types import Settlement
from services.executor.core import ExecutorCore
from tests.sim.checkers import LIFE_NS, Checker
from tests.sim.clients import Client
from tests.sim.clock import S
from tests.sim.faults import CLOCK_STEP_MAX_NS, KILLS
from tests.sim.processes import ACCOUNTS, Gateway, Heart, Network, Process, SimEdge, UserData
from tests.sim.venue import Venue
from tests.sim.world import Violation, World

WARM_UP_NS = S
REST_WITHIN_NS = 400 * S
QUIET_NS = 12 * S
"""Nothing that was said before takes longer than this to arrive."""
COLLECT_EVERY = 10
COMMAND = "python -m tests.sim --seed {seed} --trace"


class Result(NamedTuple):
    seed: int
    trace_hash: str
    state_hash: str
    orders: int
    trades: int
    deaths: int
    events: int
    seen: dict[str, int]


class Simulation:
    def __init__(
        self,
        seed: int,
        *,
        core_class: type[ExecutorCore] = ExecutorCore,
        heart_class: type[Heart] = Heart,
        keep_trace: bool = False,
    ) -> None:
        self.world = World(seed, keep_trace=keep_trace)
        self.checker = Checker(self.world)
        self.venue = Venue(self.world, self.checker.on_accept, self.checker.on_post)
        self.venue.on_cancel_wallet = self.checker.on_cancel_wallet
        self.checker.knows_of(self.venue)
        self.network = Network()
        self.heart = heart_class(self.world, self.network, self.checker, core_class)
        gateway = Gateway(self.world, self.network, self.venue)
        user_data = UserData(self.world, self.network, self.venue)
        self._processes: list[Process] = [self.heart, gateway, user_data]
        self._edges: list[SimEdge] = [gateway, user_data]
        self.network.processes = {process.name: process for process in self._processes}
        self.clients = [Client(self.world, self.heart, self.checker, number) for number in range(3)]
        by_name = {client.name: client for client in self.clients}
        self.heart.on_reply = lambda to, body: by_name[to].hear(body) if to in by_name else None
        self.heart.on_ack = lambda to, ack: by_name[to].on_ack(ack)
        self.heart.on_started = self._tell_clients

    def _tell_clients(self, epoch: Epoch) -> None:
        for client in self.clients:
            client.on_executor_started(epoch)

    def run(self) -> Result:
        """Raises Violation; whatever else is raised breaks a promise too."""
        try:
            return self._run()
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"seed {self.world.seed}: {type(error).__name__}: {error}") from error
        finally:
            tasks = [task for edge in self._edges for task in edge.tasks()]
            self.world.loop.finish(tasks)

    def _run(self) -> Result:
        world, loop = self.world, self.world.loop
        span_ns = world.rng.randrange(15, 35) * S
        for process in self._processes:
            loop.after(world.rng.randrange(S // 2), process.start)
        for client in self.clients:
            client.plan(world.rng.randrange(3, 9), span_ns)
        self.clients[0].plan_operator(span_ns)
        self._plan_faults()
        loop.run_until(span_ns)
        world.trace("world", "calms down")
        world.faults.calm()
        self._resume()
        loop.run_until(loop.now_ns + LIFE_NS + 15 * S)
        self.checker.covered_are_over(self.venue)
        self._wind_down()
        self._wait_for_rest()
        loop.run_until(loop.now_ns + QUIET_NS)
        self.clients[0].reconcile()
        loop.run_until(loop.now_ns + QUIET_NS)
        return self._judge()

    # --- what goes wrong by itself ---

    def _plan_faults(self) -> None:
        for name in KILLS:
            self._again_and_again(f"kill_{name}", self.network.processes[name].doom)
        self._again_and_again("venue_restart", self._restart_venue)
        self._again_and_again("clock_step", self._step_clock)
        self.world.loop.after(10 * S, self._keep_checkpoint)

    def _again_and_again(self, fault: str, what: Callable[[], None]) -> None:
        delay_ns = self.world.faults.next_in(fault)
        if delay_ns:
            self.world.loop.after(delay_ns, self._happen, fault, what)

    def _happen(self, fault: str, what: Callable[[], None]) -> None:
        if self.world.faults.on:
            what()
            self._again_and_again(fault, what)

    def _restart_venue(self) -> None:
        self.venue.restarting_until_ns = self.world.loop.now_ns + self.world.faults.between(S, 6 * S)

    def _step_clock(self) -> None:
        """The wall clock is corrected; the monotonic one goes on."""
        self.world.wall_offset_ns += self.world.faults.between(-CLOCK_STEP_MAX_NS, CLOCK_STEP_MAX_NS)
        self.world.seen["clock stepped"] += 1

    def _keep_checkpoint(self) -> None:
        self.heart.keep_checkpoint()
        if self.world.faults.on:
            self.world.loop.after(10 * S, self._keep_checkpoint)

    # --- the end ---

    def _resume(self) -> None:
        """Whatever the operator halted, and whatever marker a crash left behind."""
        for account in ("", *ACCOUNTS):
            self.clients[0].resume(account)

    def _wind_down(self) -> None:
        """Resting orders are cancelled; in half of the runs GTD orders are left to lapse."""
        by_all = self.world.rng.random() < 0.5
        for client in self.clients[:2]:
            if by_all:
                client.cancel_all()
            else:
                client.cancel_some()

    def _wait_for_rest(self) -> None:
        end_ns = self.world.loop.now_ns + REST_WITHIN_NS
        while (busy := self._busy()) != "":
            if self.world.loop.now_ns > end_ns:
                self.world.violate(f"it does not come to rest: {busy}")
            self.world.loop.run_until(self.world.loop.now_ns + S)

    def _busy(self) -> str:
        """What is still going on, in words; "" when nothing is."""
        if not all(process.alive for process in self._processes):
            return "a process is away"
        waiting = [client.name for client in self.clients if not client.idle()]
        if waiting:
            return f"{waiting[0]} waits for an answer"
        moving = [
            true for true in self.venue.trades if true.settlement not in (Settlement.CONFIRMED, Settlement.FAILED)
        ]
        if moving:
            return f"{moving[0].trade.trade_id} is {moving[0].settlement}"
        for order in self.venue.orders.values():
            if order.is_open:
                return f"{order.venue_id[:10]} is open at the venue"
        for row in self.heart.core.desk.oms.rows():
            if not row.settled:
                return f"{row.order_id} ({row.venue_order_id[:10]}) is {row.state}, {len(row.fills)} fills"
        for effect in self.heart.core.outstanding():
            if isinstance(getattr(effect, "body", None), Place | Cancel):
                return f"{effect} is outstanding"
        return ""

    def _judge(self) -> Result:
        heart = self.heart
        self.checker.at_rest(heart.core, self.venue)
        self.checker.money(heart.core, self.venue)
        again, digests = heart.replayed()
        self.checker.replays(heart.core, heart.journal.effects, again, digests)
        return Result(
            self.world.seed,
            self.world.trace_hash(),
            heart.core.state_hash(),
            len(self.venue.orders),
            len(self.venue.trades),
            sum(process.lives - 1 for process in self._processes),
            self.world.loop.events,
            {name: count for name, count in sorted(self.world.seen.items()) if count},
        )


def run_seed(seed: int) -> Result:
    return Simulation(seed).run()


class Summary(NamedTuple):
    seeds: int
    seconds: float
    orders: int
    trades: int
    deaths: int
    failures: list[str]
    seen: Counter[str]


def run_many(
    seeds: Sequence[int], *, workers: int, bound_s: float, say: Callable[[str], None] = print, failures_max: int = 5
) -> Summary:
    """Run seeds until all are done, the bound is reached or enough of them failed."""
    began = time.monotonic()
    done = orders = trades = deaths = 0
    failures: list[str] = []
    seen: Counter[str] = Counter()
    with multiprocessing.get_context("spawn").Pool(workers, _begin_worker) as pool:
        for outcome in pool.imap_unordered(_guarded, seeds, chunksize=8):
            done += 1
            if isinstance(outcome, str):
                failures.append(outcome)
                say(outcome)
            else:
                seen.update(outcome.seen)
                orders, trades, deaths = orders + outcome.orders, trades + outcome.trades, deaths + outcome.deaths
            seconds = time.monotonic() - began
            if done % 100 == 0:
                say(f"{done} seeds, {done / seconds:.1f} seeds/s, {orders} orders, {trades} trades, {deaths} deaths")
            if seconds > bound_s or len(failures) >= failures_max:
                pool.terminate()
                break
    return Summary(done, time.monotonic() - began, orders, trades, deaths, failures, seen)


def _begin_worker() -> None:
    """The cyclic collector would run every few milliseconds over worlds that are full of cycles: it runs by seed."""
    gc.freeze()
    gc.disable()


def _guarded(seed: int) -> Result | str:
    if seed % COLLECT_EVERY == 0:
        gc.collect()
    try:
        return run_seed(seed)
    except Violation as violation:
        return f"{violation}\n  see it again: {COMMAND.format(seed=seed)}"
