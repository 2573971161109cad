"""An Edge without a bus: remembers what a process says, and lets a test say what the bus would."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from common.edge import Edge, StreamSink
from common.effects import Origin
from common.frames import Epoch
from common.log import set_up_logging
from common.messages import Message
from common.settings import ROOT, Settings, load_settings

DEADLINE_S = 10.0


def settings_for(secrets_dir: Path | None = None, **venue: str) -> Settings:
    """The demo settings with other venue URLs, faster pings and a secrets folder of the test's own."""
    base = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    changes: dict[str, Any] = {"polymarket": base.polymarket.model_copy(update=venue)}
    if secrets_dir is not None:
        changes["paths"] = base.paths.model_copy(update={"secrets_dir": secrets_dir})
    return base.model_copy(update=changes)


class FakeEdge:
    """The part of Edge that processes use. `lane_room` False makes every lane full."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.epoch = Epoch("", 1)
        self.counters: Counter[str] = Counter()
        self.log = set_up_logging(name)
        self.state = ("STARTING", "")
        self.lane_room = True
        self.sent: list[tuple[str, str, Message]] = []
        self.published: list[tuple[str, Message]] = []
        self.lanes: dict[str, Callable[[Message, Origin, bool], None]] = {}
        self.unreadable: dict[str, Callable[[bytes, str, bool], None]] = {}
        self.resets: dict[str, Callable[[], None]] = {}
        self.ask_handler: Callable[[Message, str], list[Message] | Awaitable[list[Message]]] | None = None
        self.snapshot_handler: Callable[[str], list[Message]] | None = None
        self.followed: dict[tuple[str, str], StreamSink] = {}
        self.heard = 0
        """When (monotonic) every other process was heard."""
        self.errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def as_edge(self) -> Edge:
        return cast(Edge, self)

    def set_state(self, state: str, detail: str = "") -> None:
        self.state = (state, detail)
        self._changed.set()

    def publish(self, topic: str, body: Message) -> None:
        self.published.append((topic, body))
        self._changed.set()

    def send(self, lane: str, key: str, body: Message) -> bool:
        if self.lane_room:
            self.sent.append((lane, key, body))
            self._changed.set()
        return self.lane_room

    def serve_lane(
        self,
        lane: str,
        handler: Callable[[Message, Origin, bool], None],
        unreadable: Callable[[bytes, str, bool], None] | None = None,
    ) -> None:
        self.lanes[lane] = handler
        if unreadable is not None:
            self.unreadable[lane] = unreadable

    def on_lane_reset(self, lane: str, handler: Callable[[], None]) -> None:
        self.resets[lane] = handler

    def serve_asks(self, handler: Callable[[Message, str], list[Message] | Awaitable[list[Message]]]) -> None:
        self.ask_handler = handler

    def serve_snapshots(self, handler: Callable[[str], list[Message]]) -> None:
        self.snapshot_handler = handler

    def subscribe(self, owner: str, topic: str, sink: StreamSink) -> None:
        self.followed[owner, topic] = sink

    def heard_ns(self, owner: str) -> int:
        del owner
        return self.heard

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)
            self._changed.set()

    # --- for tests ---

    def poke(self) -> None:
        """Something outside changed that an `until` may wait for."""
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is true of what was said; fails after the deadline, or when a task failed."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                if self.errors:
                    raise self.errors[0]
                self._changed.clear()
                await self._changed.wait()

    def bodies(self, lane: str) -> list[Message]:
        return [body for name, _, body in self.sent if name == lane]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
