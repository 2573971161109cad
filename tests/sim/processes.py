"""The processes of the order path in one thread: how they are run, killed at any point, and started again.

The executor's core runs in a small mirror of common/heart.py over a journal in memory; gateway and user_data are the
real shells (Gateway, UserChannel) on a small mirror of common/edge.py. Peers, lanes and codecs are the real ones. A
dead process loses everything but its journal and its epochs; the bus may still hold frames that were meant for it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from functools import cache
from hashlib import blake2b
from typing import Any, cast
from unittest.mock import patch

import msgspec

from common.bus import Bus
from common.edge import Edge
from common.effects import Effect, Log, Mark, Now, Origin, Publish, Reply, Send, Settle
from common.frames import Ack, Data, Epoch, Nack
from common.lanes import LaneReceiver
from common.memorybus import MemoryBus
from common.messages import (
    BookView,
    Configured,
    HaltFound,
    Judged,
    MarketListed,
    Message,
    PlaceOrder,
    ReplaceOrder,
    TimerFired,
    decode,
)
from common.peer import Item, Peer
from common.settings import ROOT, Account, Settings, load_settings
from common.step import Step, decode_step, replay
from common.types import FeedState
from services.executor.core import ExecutorCore
from services.gateway.adapters import polymarket as venue_shell
from services.gateway.door import Gateway as Door
from services.user_data import channel
from services.user_data.channel import UserChannel
from services.user_data.core import UserFeed
from services.user_data.outlet import LANE
from tests.services.executor.driver import ADDRESS, MARKET
from tests.services.gateway.orders import API_KEY, CREDS
from tests.services.gateway.orders import wallet as venue_wallet
from tests.sim.checkers import Checker
from tests.sim.clock import MS, S
from tests.sim.venue import Venue
from tests.sim.wire import SimHttp, SimSocket
from tests.sim.world import Killed, World, brief

ACCOUNTS = ("default", "other")
MAY_HEAR: dict[str, tuple[str, ...]] = {
    "executor": ("gateway", "user_data"),
    "gateway": ("executor",),
    "user_data": ("executor",),
}
"""Who has a lane to or from whom."""
CRASH_POINTS = ("before append", "after append", "amid effects", "amid flush")
FEED = Origin("market_data", "instruments")


@cache
def settings() -> Settings:
    """The demo's settings with two accounts on one wallet. Funds are checked; policies have their own tests."""
    base = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    accounts = tuple(Account(name=name, wallet="main") for name in ACCOUNTS)
    risk = base.risk.model_copy(update={"policies": ()})
    execution = base.execution.model_copy(update={"reconcile_incremental_sec": 15})
    return base.model_copy(update={"accounts": accounts, "risk": risk, "execution": execution})


@cache
def settings_text() -> str:
    return settings().model_dump_json()


class Journal:
    """What survives a crash: whole records in order, and at most one checkpoint."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.effects: list[bytes] = []
        """A digest of the effects each record led to when it was made."""
        self.checkpoint: tuple[int, bytes] | None = None
        self.starts = 0

    def append(self, payload: bytes, effects: list[Effect]) -> None:
        self.records.append(payload)
        self.effects.append(effects_digest(effects))


def effects_digest(effects: list[Effect]) -> bytes:
    return blake2b(_encode(effects), digest_size=16).digest()


_encode = msgspec.msgpack.Encoder().encode


class Process:
    """One process: woken when something is there, at most once at a time; it may die in any step."""

    name = ""

    def __init__(self, world: World, network: Network) -> None:
        self.world = world
        self.network = network
        self.alive = False
        self.lives = 0
        self.epoch = Epoch("", 0)
        self.bus: MemoryBus | None = None
        self.peer: Peer
        self._wake_ns: int | None = None
        self._away_until_ns = 0
        self._left_over: dict[str, deque[bytes]] = {}
        world.wakers[self.name] = self.wake

    # --- life and death ---

    def start(self) -> None:
        self.lives += 1
        self.alive = True
        self._wake_ns = None
        self.epoch = self._next_epoch()
        self.bus = self.world.bus.bus(self.name)
        self.world.trace(self.name, f"starts, life {self.lives}")
        self.peer = Peer(cast(Bus, self.bus), self.name, self.epoch)
        for name, frames in self._left_over.items():
            # What was meant for the dead is delivered to the successor (architecture section 6).
            self.bus.inboxes[name].extend(frames)
        self._left_over = {}
        self._on_start()
        self.wake()

    def die(self, how: str) -> None:
        if not self.alive:
            return
        self.world.trace(self.name, f"dies {how}")
        self.world.seen[f"{self.name} dies {how}"] += 1
        self.alive = False
        self.world.bus.deadly.pop(self.name, None)
        if self.bus is not None and self.world.rng.random() < 0.5:
            self._left_over = self.bus.inboxes
        self.world.bus.drop(self.name)
        self._on_death()
        self.world.loop.after(self.world.faults.between(50 * MS, 2 * S), self.start)

    def doom(self) -> None:
        """To be killed now, or somewhere inside of one of the next steps."""
        if not self.alive:
            return
        if self.world.rng.random() < 0.3:
            self.die("between two steps")
        else:
            self.world.bus.deadly[self.name] = self.world.rng.randrange(3)

    def _next_epoch(self) -> Epoch:
        return Epoch("", self.lives)

    def _on_start(self) -> None: ...

    def _on_death(self) -> None: ...

    # --- steps ---

    def wake(self) -> None:
        """Something is there: it is looked at after a moment."""
        now_ns = self.world.loop.now_ns
        if self.alive and (self._wake_ns is None or self._wake_ns > now_ns + 2 * MS):
            self._wake_at(max(now_ns + self.world.faults.hop(), self._away_until_ns))

    def _wake_at(self, due_ns: int) -> None:
        if self._wake_ns is None or due_ns < self._wake_ns:
            self._wake_ns = due_ns
            self.world.loop.at(due_ns, self._run, due_ns, self.lives)

    def _run(self, due_ns: int, life: int) -> None:
        if not self.alive or life != self.lives or due_ns != self._wake_ns:
            return
        self._wake_ns = None
        if self.world.faults.happens("stall"):
            self._away_until_ns = due_ns + self.world.faults.between(50 * MS, 3 * S)
            self._wake_at(self._away_until_ns)
            return
        try:
            self.step()
        except Killed:
            self.die("amid flush")
            return
        self._arm()

    def _arm(self) -> None:
        due = self._next_due() if self.alive else None
        if due is not None:
            self._wake_at(max(due, self.world.loop.now_ns + 20_000))

    def step(self) -> None:
        raise NotImplementedError

    def _next_due(self) -> int | None:
        now_ns = self.world.loop.now_ns
        due = self.peer.next_due_ns(now_ns)
        return None if self._is_idle() else due

    def _is_idle(self) -> bool:
        """Nothing but hellos to say to those who know us: they are left out to save the machine's time."""
        return self.network.settled() and not any(self.peer.unacknowledged(name) for name in self._lanes())

    def _lanes(self) -> tuple[str, ...]:
        return {"executor": ("actions", "cancels"), "gateway": ("results",), "user_data": ("user_events",)}[self.name]


class Network:
    """All processes of the run."""

    def __init__(self) -> None:
        self.processes: dict[str, Process] = {}

    def settled(self) -> bool:
        """Whether everybody is alive and knows the present life of whoever it has a lane with."""
        processes = self.processes
        return all(
            process.alive and all(process.peer.epoch_of(other) == processes[other].epoch for other in MAY_HEAR[name])
            for name, process in processes.items()
        )


# --- the executor ---


class Port:
    """Where commands of clients come in: cancels first, asks and lanes alike."""

    def __init__(self, epoch: Epoch) -> None:
        self.cancels: deque[tuple[Message, Origin]] = deque()
        self.commands: deque[tuple[Message, Origin]] = deque()
        self._receivers = {
            name: LaneReceiver(name, "executor", epoch, facts=False) for name in ("client_cancels", "client_commands")
        }
        self._to_ack: dict[tuple[str, str], None] = {}

    def ask(self, message: Message, sender: str, *, cancel: bool) -> None:
        (self.cancels if cancel else self.commands).append((message, Origin(sender)))

    def take_frame(self, frame: Data) -> Nack | None:
        verdict = self._receivers[frame.lane].accept(frame)
        queue = self.cancels if frame.lane == "client_cancels" else self.commands
        for i in range(verdict.start, len(frame.bodies)):
            origin = Origin(frame.sender, frame.lane, frame.seqs[i], frame.covers[i])
            queue.append((decode(frame.bodies[i]), origin))
        if not isinstance(verdict.answer, Nack):
            self._to_ack[frame.lane, frame.sender] = None
            return None
        return verdict.answer

    def acks(self) -> list[tuple[str, Ack]]:
        """To send once everything taken so far is durable."""
        pairs = [(sender, self._receivers[name].ack(sender)) for name, sender in self._to_ack]
        self._to_ack = {}
        return [(sender, ack) for sender, ack in pairs if ack is not None]


class Sight:
    """Stands for services/executor/sight.py: with each place goes a view of a book, which is now and then not there."""

    def __init__(self, world: World) -> None:
        self._rng = world.rng

    def attach(self, message: Message) -> Message:
        if not isinstance(message, PlaceOrder | ReplaceOrder):
            return message
        named = message.outcome if isinstance(message, PlaceOrder) else MARKET.outcomes[0]
        token_id = MARKET.token_of(named)
        return Judged(message, self._view(token_id) if self._rng.random() < 0.9 else None)

    def _view(self, token_id: str) -> BookView:
        middle = self._rng.randrange(40, 60) * MARKET.tick
        bids = [(middle - step * MARKET.tick, 50_000_000) for step in range(1, 6)]
        asks = [(middle + step * MARKET.tick, 50_000_000) for step in range(1, 6)]
        return BookView(token_id, bids, asks, True, True, MARKET.tick, FeedState.LIVE, "", 1, 1, 5)


class Heart(Process):
    """The executor. `core_class` is a parameter, so that tests can break it."""

    name = "executor"

    def __init__(
        self, world: World, network: Network, checker: Checker, core_class: type[ExecutorCore] = ExecutorCore
    ) -> None:
        super().__init__(world, network)
        self.journal = Journal()
        self.core_class = core_class
        self.core = core_class()
        self.port = Port(Epoch("", 0))
        self.on_started: Callable[[Epoch], None] = _nothing
        self.on_reply: Callable[[str, Message], None] = _nothing
        self.on_ack: Callable[[str, Ack], None] = _nothing
        self._checker = checker
        self._sight = Sight(world)
        self._doomed_at = ""
        self._is_clean = True
        """Whether everything the core has taken is in the journal."""
        self._hash_at_death = ""

    # --- life and death ---

    def _next_epoch(self) -> Epoch:
        self.journal.starts += 1
        return Epoch("sim", self.journal.starts)

    def _on_start(self) -> None:
        """As Heart does: restore, configure when that changed, resend what is outstanding."""
        self.core = self.core_class()
        start = 0
        if self.journal.checkpoint is not None and self.world.rng.random() < 0.5:
            start, state = self.journal.checkpoint
            self.core.load(state)
        replay(self.core, self.journal.records[start:])
        if self._hash_at_death and self._is_clean and self.core.state_hash() != self._hash_at_death:
            self.world.violate("the journal does not replay to the state that was lost")
        self._is_clean, self._doomed_at = True, ""
        self.port = Port(self.epoch)
        step = Step(self.core, self.world.now())
        if not self.journal.records:
            step.take(Configured(settings_text()), Origin("executor"))
        step.take(MarketListed(MARKET), FEED)
        self._commit(step)
        self._adopt_halt()
        for effect in self.core.outstanding():
            assert isinstance(effect, Send), "only sends can be outstanding"
            self._checker.on_send(effect, self.core)
            self.world.seen[f"{type(effect.body).__name__} sent again after a restart"] += 1
            assert self.peer.send(effect.lane, effect.key, effect.body, repeat=True)
        self.on_started(self.epoch)

    def _adopt_halt(self) -> None:
        if self.world.marker and self.core.halted() is None:
            step = Step(self.core, self.world.now())
            step.take(HaltFound(self.world.marker), Origin("executor"))
            self._commit(step)
        elif not self.world.marker and (halted := self.core.halted()) is not None:
            self.world.marker = halted

    def _on_death(self) -> None:
        self._hash_at_death = self.core.state_hash() if self._is_clean else ""

    def doom(self) -> None:
        point = self.world.rng.choice(("", *CRASH_POINTS))
        if point in ("", "amid flush"):
            super().doom()
        else:
            self._doomed_at = point

    def _point(self, name: str) -> None:
        if self._doomed_at == name and (name != "amid effects" or self.world.rng.random() < 0.4):
            self._doomed_at = ""
            self.die(name)
            raise Killed(name)

    def keep_checkpoint(self) -> None:
        if self.alive and self._is_clean:
            self.journal.checkpoint = (len(self.journal.records), self.core.dump())

    # --- the step ---

    def step(self) -> None:
        now = self.world.now()
        step = Step(self.core, now)
        due = self.core.due_ns()
        if due is not None and due <= now.mono_ns:
            self._take(step, TimerFired(), Origin(self.name, "timer"))
        self._take_all(step, self.port.cancels)
        lanes: list[Origin] = []
        for item in self.peer.receive(now.mono_ns):
            if item.kind in ("lane", "event", "ask"):
                self._take(step, decode(item.body), item.origin, item.body)
            if item.kind == "lane":
                lanes.append(item.origin)
        self._take_all(step, self.port.commands)
        self._commit(step)
        for origin in lanes:
            self.peer.handled(origin)
        for sender, ack in self.port.acks():
            self.on_ack(sender, ack)
        self.peer.flush(now.mono_ns)

    def _take_all(self, step: Step, queue: deque[tuple[Message, Origin]]) -> None:
        while queue:
            message, origin = queue.popleft()
            self._take(step, message, origin)

    def _take(self, step: Step, message: Message, origin: Origin, body: msgspec.Raw | None = None) -> None:
        self._is_clean = False
        before = len(step.effects)
        attached = self._sight.attach(message)
        step.take(attached, origin, body if attached is message else None)
        if not isinstance(message, TimerFired):
            self.world.trace(self.name, f"<- {brief(message)}")
        self._checker.on_input(message, origin, step.effects[before:], self.core)

    def _commit(self, step: Step) -> None:
        self._append(step)
        self._perform_all(step)

    def _append(self, step: Step) -> None:
        if step.inputs:
            self._point("before append")
            self.journal.append(step.record(), step.effects)
            self._is_clean = True
            self._checker.on_step(self.core)
            self._point("after append")

    def _perform_all(self, step: Step) -> None:
        for effect in step.effects:
            self._perform(effect, step.now)
            self._point("amid effects")

    def _perform(self, effect: Effect, now: Now) -> None:
        match effect:
            case Publish():
                self._checker.on_publish(effect)
                self.peer.publish(effect.topic, effect.body)
            case Reply():
                self.world.trace(self.name, f"-> {effect.to}: {brief(effect.body)}")
                self._checker.on_reply(effect, now)
                self.on_reply(effect.to, effect.body)
            case Send():
                self.world.trace(self.name, f"-> {effect.lane}: {brief(effect.body)}")
                self._checker.on_send(effect, self.core)
                assert self.peer.send(effect.lane, effect.key, effect.body), f"lane {effect.lane} is full"
            case Mark():
                self.world.trace(self.name, f"halt marker: {effect.reason!r}")
                self.world.marker = effect.reason
            case Settle():
                self.peer.settle(effect.lane, effect.key)
            case Log():
                if effect.level != "info":
                    self.world.trace(self.name, f"log {effect.event} {effect.fields}")

    def _next_due(self) -> int | None:
        due = self.core.due_ns()
        dues = [due - 1 for due in (due,) if due is not None]
        bus_due = super()._next_due()
        if bus_due is not None:
            dues.append(bus_due)
        return min(dues, default=None)

    # --- for the checkers ---

    def replayed(self) -> tuple[ExecutorCore, list[bytes]]:
        """A new core after the whole journal, and the effects of each record."""
        core = self.core_class()
        digests = []
        for payload in self.journal.records:
            record = decode_step(payload)
            now = Now(record.wall_ns, record.mono_ns)
            effects: list[Effect] = []
            for row in record.inputs:
                effects += core.handle(decode(row.body), Origin(row.sender, row.lane, row.seq, row.covers), now)
            digests.append(effects_digest(effects))
        return core, digests


def _nothing(*_args: object, **_fields: object) -> None:
    pass


# --- edges ---


class _Quiet:
    """A logger that says nothing: the trace says it."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return _nothing


class SimEdge(Process):
    """What common/edge.py is to the shell of an asyncio edge."""

    def __init__(self, world: World, network: Network) -> None:
        super().__init__(world, network)
        self.settings = settings()
        self.log = _Quiet()
        self.counters: Counter[str] = Counter()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._lane_handlers: dict[str, Callable[[Message, Origin, bool], None]] = {}
        self._reset_handlers: dict[str, Callable[[], None]] = {}
        self._known_peers: dict[str, Epoch] = {}

    def _on_start(self) -> None:
        self._lane_handlers, self._reset_handlers = {}, {}
        self.counters = Counter()
        self.peer.restore_sender_epochs(self._known_peers)
        self._serve()

    def _serve(self) -> None:
        raise NotImplementedError

    def _on_death(self) -> None:
        self._known_peers = self.peer.sender_epochs()
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            task.cancel()

    def tasks(self) -> list[asyncio.Task[None]]:
        return list(self._tasks)

    def step(self) -> None:
        now_ns = self.world.loop.now_ns
        for item in self.peer.receive(now_ns):
            self._dispatch(item)
        self.peer.flush(now_ns)

    def _dispatch(self, item: Item) -> None:
        if item.kind == "lane":
            message = decode(item.body)
            self.world.trace(self.name, f"<- {brief(message)}{' again' if item.repeat else ''}")
            self._lane_handlers[item.origin.lane](message, item.origin, item.repeat)
            self.peer.handled(item.origin)
        elif item.kind == "reset" and item.origin.lane in self._reset_handlers:
            self._reset_handlers[item.origin.lane]()

    # --- what the shells use of Edge ---

    def as_edge(self) -> Edge:
        return cast(Edge, self)

    def set_state(self, state: str, detail: str = "") -> None:
        self.world.trace(self.name, f"{state} {detail}")

    def publish(self, topic: str, body: Message) -> None:
        self.peer.publish(topic, body)
        self.wake()

    def send(self, lane: str, key: str, body: Message) -> bool:
        if not self.alive:
            return True
        self.world.trace(self.name, f"-> {lane}: {brief(body)}")
        taken = self.peer.send(lane, key, body)
        self.wake()
        return taken

    def settle(self, lane: str, key: str) -> None:
        self.peer.settle(lane, key)

    def lane_length(self, lane: str) -> int:
        return self.peer.lane_length(lane)

    def serve_lane(
        self,
        lane: str,
        handler: Callable[[Message, Origin, bool], None],
        unreadable: Callable[[bytes, str, bool], None] | None = None,
    ) -> None:
        del unreadable  # everybody is of one version in here
        self._lane_handlers[lane] = handler

    def on_lane_reset(self, lane: str, handler: Callable[[], None]) -> None:
        self._reset_handlers[lane] = handler

    def heard_ns(self, owner: str) -> int:
        return self.peer.heard_ns(owner)

    def epoch_of(self, owner: str) -> Epoch:
        return self.peer.epoch_of(owner)

    def serve_snapshots(self, handler: Callable[[str], list[Message]]) -> None:
        """Nobody follows the streams of an edge in here."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = self.world.loop.create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.loop.failure = self.world.loop.failure or error


class Gateway(SimEdge):
    """The real Gateway; only its HTTP clients are ours."""

    name = "gateway"

    def __init__(self, world: World, network: Network, venue: Venue) -> None:
        super().__init__(world, network)
        self._venue = venue

    def _serve(self) -> None:
        def http(_base_url: str, *, total_timeout_s: float, **_rest: object) -> SimHttp:
            return SimHttp(self.world, self._venue, total_timeout_s)

        with patch.object(venue_shell, "HttpClient", http):
            adapter = venue_shell.PolymarketAdapter(
                self.settings, {"main": venue_wallet()}, counters=self.counters, wall_ns=self.world.wall_ns
            )
        door = Door(
            self.as_edge(),
            [(adapter, None)],
            rng=self.world.rng,
            halted=lambda: self.world.marker,
            wall_ns=self.world.wall_ns,
            mono_ns=lambda: self.world.loop.now_ns,
        )
        door.start()


class UserData(SimEdge):
    """The real UserChannel; only its socket is ours."""

    name = "user_data"

    def __init__(self, world: World, network: Network, venue: Venue) -> None:
        super().__init__(world, network)
        self._venue = venue

    def _serve(self) -> None:
        def socket(_url: str, handler: UserChannel, **options: Any) -> SimSocket:
            return SimSocket(self.world, self._venue, handler, options["rng"], options.get("backoff"))

        feed = UserFeed("main", API_KEY, frozenset({ADDRESS.lower()}))
        with patch.object(channel, "WsClient", socket):
            user = UserChannel(
                self.as_edge(), feed, CREDS, rng=self.world.rng, on_change=_nothing, wall_ns=self.world.wall_ns
            )
        self.on_lane_reset(LANE, user.on_reader_restarted)
        self.spawn(user.run(), "channel-main")
