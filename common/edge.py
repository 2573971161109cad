"""The shell of an edge: the bus inside an asyncio loop, without blocking and without zmq.asyncio.

ZeroMQ's descriptors are watched and drained (measured 13 times the throughput of zmq.asyncio); everything a callback
produces leaves in one flush per loop iteration. A callback that raises is a bug and ends the process.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import msgspec
import structlog

from common.bus import ZmqBus
from common.effects import Origin
from common.epochs import load_peers, next_epoch, store_peers
from common.errors import Refusal
from common.frames import Epoch
from common.messages import Message, Refused, decode
from common.peer import Item, Peer, request_id_in, request_id_of
from common.reasons import Reason
from common.settings import Settings
from common.telemetry import STARTING, STOPPING, TOPIC, Vitals

ROUNDS_MAX = 16
"""Batches drained before other callbacks of the loop get their turn."""


ASKS_MAX = 1_000
"""Asks being answered at the same time; further ones are refused OVERLOADED."""


class _Waiting:
    """An answer that one or more callers of `request` wait for."""

    def __init__(self, answer: asyncio.Future[Message]) -> None:
        self.answer = answer
        self.callers = 0


class StreamSink(Protocol):
    """Who reads a stream."""

    def on_snapshot(self, bodies: list[Message]) -> None:
        """Replaces everything known of this topic."""
        ...

    def on_event(self, body: Message) -> None: ...

    def on_gap(self) -> None:
        """From here until the next snapshot what we hold is not continuous."""
        ...


AskHandler = Callable[[Message, str], Awaitable[list[Message]] | list[Message]]
LaneHandler = Callable[[Message, Origin, bool], None]
UnreadableHandler = Callable[[bytes, str, bool], None]
"""Told the body, what is wrong with it, and whether it came again."""


class Edge:
    """One process's face to the bus; made by `run_edge` (service.py)."""

    def __init__(self, name: str, settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
        self.name = name
        self.settings = settings
        self.log = log
        data_dir = settings.paths.data_dir
        self.epoch: Epoch = next_epoch(data_dir, name, int(time.time()))
        self._bus = ZmqBus(name, settings.paths.run_dir)
        self._peer = Peer(self._bus, name, self.epoch)
        self._known_peers = load_peers(data_dir, name)
        self._peer.restore_sender_epochs(self._known_peers)
        self._vitals = Vitals(name, os.getpid(), time.time_ns())
        self._loop = asyncio.get_running_loop()
        self._failed: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, _Waiting] = {}
        self._answering: set[tuple[str, str]] = set()
        self._sinks: dict[tuple[str, str], StreamSink] = {}
        self._lane_handlers: dict[str, LaneHandler] = {}
        self._unreadable_handlers: dict[str, UnreadableHandler] = {}
        self._reset_handlers: dict[str, Callable[[], None]] = {}
        self._ask_handler: AskHandler | None = None
        self._snapshot_handler: Callable[[str], list[Message]] = _no_snapshot
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False
        self._scheduled = False
        self._closed = False
        self._fds: list[int] = []
        for fd in self._bus.fds(self._watch):
            self._watch(fd)
        self._schedule()

    @property
    def counters(self) -> Counter[str]:
        """Shown in every heartbeat."""
        return self._vitals.counters

    # --- what a process says ---

    def set_state(self, state: str, detail: str = "") -> None:
        """STARTING, READY or STOPPING, and in words what is missing."""
        if self._vitals.set_state(state, detail):
            self.log.info("state", state=state, detail=detail)
            self._schedule()

    def publish(self, topic: str, body: Message) -> None:
        self._peer.publish(topic, body)
        self._schedule()

    def send(self, lane: str, key: str, body: Message) -> bool:
        """Put a message on a lane of ours; False when it is full (the policy stands in the topology)."""
        taken = self._peer.send(lane, key, body)
        self._schedule()
        return taken

    def settle(self, lane: str, key: str) -> None:
        self._peer.settle(lane, key)

    def lane_length(self, lane: str) -> int:
        return self._peer.lane_length(lane)

    async def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message:
        """Ask `owner` and wait for the answer; asked again under the same id until then.

        Raises TimeoutError. A Refused is an answer like any other and is returned. Whoever asks under an id that is
        being asked already waits for the same answer.
        """
        request_id = request_id_of(body)
        assert request_id, f"{type(body).__name__} has no id to know its answer by"
        waiting = self._waiting.get(request_id)
        if waiting is None:
            waiting = self._waiting[request_id] = _Waiting(self._loop.create_future())
            self._peer.request(owner, request_id, body, cancel=cancel)
            self._schedule()
        waiting.callers += 1
        try:
            return await asyncio.wait_for(asyncio.shield(waiting.answer), timeout_s)
        except TimeoutError:
            raise TimeoutError(f"{owner} did not answer {type(body).__name__} within {timeout_s:g} s") from None
        finally:
            waiting.callers -= 1
            if not waiting.callers:
                del self._waiting[request_id]
                self._peer.forget(request_id)

    # --- what a process serves ---

    def serve_asks(self, handler: AskHandler) -> None:
        self._ask_handler = handler

    def serve_snapshots(self, handler: Callable[[str], list[Message]]) -> None:
        self._snapshot_handler = handler

    def serve_lane(self, lane: str, handler: LaneHandler, unreadable: UnreadableHandler | None = None) -> None:
        """`unreadable` answers what cannot be decoded; without one it is only counted."""
        self._lane_handlers[lane] = handler
        if unreadable is not None:
            self._unreadable_handlers[lane] = unreadable

    def on_lane_reset(self, lane: str, handler: Callable[[], None]) -> None:
        """The receiver of a lane of ours has a new epoch: it restarted (or was heard for the first time)."""
        self._reset_handlers[lane] = handler

    def subscribe(self, owner: str, topic: str, sink: StreamSink) -> None:
        self._sinks[owner, topic] = sink
        self._peer.follow(owner, topic)
        self._schedule()

    def heard_ns(self, owner: str) -> int:
        """When (monotonic) anything came from a process we listen to; a healthy one is heard every 500 ms."""
        return self._peer.heard_ns(owner)

    def epoch_of(self, owner: str) -> Epoch:
        """The newest life of a process we listen to."""
        return self._peer.epoch_of(owner)

    def unsubscribe(self, owner: str, topic: str) -> None:
        self._sinks.pop((owner, topic), None)
        self._peer.unfollow(owner, topic)
        self._schedule()

    # --- tasks and the end ---

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a task for the life of the process; if it raises, the process ends with that error."""
        task = self._loop.create_task(work, name=f"{self.name}.{name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End the process with this error."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def failed(self) -> None:
        """Wait for ever, or raise what ended the process."""
        await asyncio.shield(self._failed)

    async def close(self) -> None:
        """Stop the tasks, say goodbye, close the bus."""
        self._vitals.set_state(STOPPING)
        try:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._announce()
            self._peer.flush(time.monotonic_ns())
        finally:
            self._close_bus()

    def _close_bus(self) -> None:
        self._closed = True
        for fd in self._fds:
            self._loop.remove_reader(fd)
        if self._timer is not None:
            self._timer.cancel()
        self._bus.close()

    # --- the pump ---

    def _watch(self, fd: int) -> None:
        self._fds.append(fd)
        self._loop.add_reader(fd, self._pump)

    def _schedule(self) -> None:
        """Flush once, after the callbacks of this iteration."""
        if not (self._pumping or self._scheduled):
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        if self._failed.done() or self._closed:
            return
        self._pumping = True
        self._scheduled = False
        try:
            for _ in range(ROUNDS_MAX):
                items = self._peer.receive(time.monotonic_ns())
                for item in items:
                    self._dispatch(item)
                self._remember_peers()
                self._announce()
                self._peer.flush(time.monotonic_ns())
                if not items and not self._bus.poll(0):
                    break
            else:
                self._loop.call_soon(self._pump)
        except Exception as error:  # noqa: BLE001 (a bug in a callback: fail() ends the process with it)
            self.fail(error)
            return
        finally:
            self._pumping = False
        self._arm()

    def _arm(self) -> None:
        now = time.monotonic_ns()
        due = min(self._peer.next_due_ns(now), self._vitals.next_due_ns())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.001, (due - now) / 1e9), self._pump)

    def _announce(self) -> None:
        now = time.monotonic_ns()
        for topic in self._peer.snapshots_wanted(now):
            bodies = [self._beat()] if topic == TOPIC else self._snapshot_handler(topic)
            self._peer.publish_snapshot(topic, bodies, now)
        if self._vitals.due(now):
            self._peer.publish(TOPIC, self._beat())
            for trouble in self._vitals.first_troubles(self._peer.counters):
                self.log.warning(trouble, detail="counted from now on, see the heartbeat's counters")

    def _beat(self) -> Message:
        return self._vitals.beat(time.time_ns(), dict(self._peer.counters))

    def _remember_peers(self) -> None:
        epochs = self._peer.sender_epochs()
        if epochs != self._known_peers:
            self._known_peers = epochs
            store_peers(self.settings.paths.data_dir, self.name, epochs)

    def _dispatch(self, item: Item) -> None:
        match item.kind:
            case "lane":
                self._take_lane(item)
            case "answer":
                self._take_answer(item)
            case "ask":
                self._take_ask(item)
            case "reset":
                self._reset_handlers.get(item.origin.lane, _nothing)()
            case "foreign":
                self._refuse_foreign(item)
            case _:
                self._take_stream(item)

    def _decode(self, body: msgspec.Raw) -> Message | None:
        try:
            return decode(body)
        except msgspec.DecodeError:
            self.counters["bodies_undecodable"] += 1
            return None

    def _take_lane(self, item: Item) -> None:
        try:
            message = decode(item.body)
        except msgspec.DecodeError as error:
            self.counters["bodies_undecodable"] += 1
            unreadable = self._unreadable_handlers.get(item.origin.lane)
            if unreadable is not None:
                unreadable(bytes(item.body), str(error), item.repeat)
        else:
            self._lane_handlers[item.origin.lane](message, item.origin, item.repeat)
        self._peer.handled(item.origin)

    def _take_answer(self, item: Item) -> None:
        message = self._decode(item.body)
        waiting = self._waiting.get(request_id_of(message)) if message is not None else None
        if waiting is None or message is None or waiting.answer.done():
            self.counters["answers_nobody_waits_for"] += 1
            return
        waiting.answer.set_result(message)

    def _take_stream(self, item: Item) -> None:
        sink = self._sinks.get((item.origin.sender, item.origin.lane))
        if sink is None:
            return
        if item.kind == "gap":
            sink.on_gap()
        elif item.kind == "snapshot":
            sink.on_snapshot([message for body in item.bodies if (message := self._decode(body)) is not None])
        elif (event := self._decode(item.body)) is not None:
            sink.on_event(event)

    def _take_ask(self, item: Item) -> None:
        sender, handler = item.origin.sender, self._ask_handler
        if handler is None and self._vitals.state == STARTING:
            self.counters["asks_before_start"] += 1  # they come again
            return
        message = self._decode(item.body)
        if message is None or handler is None:
            text = f"{self.name} does not understand this request"
            self._reply(sender, [Refused(request_id_in(item.body), Reason.UNKNOWN_MESSAGE, text)])
            return
        key = (sender, request_id_of(message))
        if key in self._answering:
            self.counters["asks_repeated"] += 1
            return
        if len(self._answering) >= ASKS_MAX:
            text = f"{self.name} is answering {ASKS_MAX} requests already"
            self._reply(sender, [Refused(key[1], Reason.OVERLOADED, text)])
            return
        try:
            answers = handler(message, sender)
        except Refusal as refusal:
            self._reply(sender, [_refused(message, refusal)])
            return
        if inspect.isawaitable(answers):
            self._answering.add(key)
            self.spawn(self._answer_later(message, key, answers), type(message).__name__)
        else:
            self._reply(sender, answers)

    async def _answer_later(self, message: Message, key: tuple[str, str], answers: Awaitable[list[Message]]) -> None:
        """Asks come again every 200 ms: until it is answered, one that is being answered is not begun anew."""
        try:
            self._reply(key[0], await answers)
        except Refusal as refusal:
            self._reply(key[0], [_refused(message, refusal)])
        finally:
            self._answering.discard(key)

    def _reply(self, to: str, answers: list[Message]) -> None:
        for answer in answers:
            self._peer.reply(to, answer)
        self._schedule()

    def _refuse_foreign(self, item: Item) -> None:
        self.counters["frames_of_a_foreign_journal"] += 1
        fix = (
            f"remove {self.settings.paths.data_dir / self.name}.peers and restart {self.name} to adopt the new journal"
        )
        self.set_state(self._vitals.state, f"{item.origin.sender} speaks from another journal: {fix}")


def new_request_id() -> str:
    return uuid.uuid4().hex


def _refused(message: Message, refusal: Refusal) -> Refused:
    return Refused(request_id_of(message), refusal.code, refusal.message, refusal.field)


def _no_snapshot(topic: str) -> list[Message]:
    del topic
    return []


def _nothing() -> None:
    pass
