"""The recorder's face to the bus: market_data's streams into the writer, its state and counters into the heartbeat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from common.edge import Edge
from common.messages import Message
from common.telemetry import READY
from services.recorder.writer import Writer

OWNER = "market_data"
INSTRUMENTS = "instruments"
FRAMES = "frames"
REPORT_S = 0.5
FINISH_S = 5.0
"""Within this an orderly end finishes the file; what takes longer is left to the next start."""


class Instruments:
    """The markets frames speak of."""

    def __init__(self, writer: Writer, on_known: Callable[[], None]) -> None:
        self._writer = writer
        self._on_known = on_known

    def on_snapshot(self, bodies: Sequence[Message]) -> None:
        self._list(bodies)
        self._on_known()

    def on_event(self, body: Message) -> None:
        self._list([body])

    def _list(self, bodies: Sequence[Message]) -> None:
        now = time.time_ns()
        self._writer.put(lambda tape: tape.on_markets(bodies, now))

    def on_gap(self) -> None:
        """Nothing: the snapshot that follows holds every market."""


class Frames:
    """Raw frames and what happened to their connections."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def on_snapshot(self, bodies: Sequence[Message]) -> None:
        now = time.time_ns()
        self._writer.put(lambda tape: tape.on_frames_snapshot(bodies, now))

    def on_event(self, body: Message) -> None:
        now = time.time_ns()
        self._writer.put(lambda tape: tape.on_frames(body, now))

    def on_gap(self) -> None:
        now = time.time_ns()
        self._writer.put(lambda tape: tape.on_frames_gap(now))


class Following:
    """One recorder at work."""

    def __init__(self, edge: Edge, writer: Writer) -> None:
        self._edge = edge
        self._writer = writer
        self._frames = Frames(writer)
        self._following = False
        self._thread: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ready from now on: it waits for nobody and nobody waits for it."""
        self._show()
        self._edge.subscribe(OWNER, INSTRUMENTS, Instruments(self._writer, self._join))
        self._thread = self._edge.spawn(asyncio.to_thread(self._writer.run), "writer")
        self._edge.spawn(self._keep_showing(), "report")

    def _join(self) -> None:
        """The frames, once the markets they speak of are recorded."""
        if not self._following:
            self._following = True
            self._edge.subscribe(OWNER, FRAMES, self._frames)

    async def close(self) -> None:
        if self._thread is not None:
            self._writer.stop(FINISH_S)
            await asyncio.wait({self._thread})
            self._show()

    async def _keep_showing(self) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            if self._writer.take_wish():
                self._edge.unsubscribe(OWNER, FRAMES)
                self._edge.subscribe(OWNER, FRAMES, self._frames)
            self._show()

    def _show(self) -> None:
        waiting = "" if self._writer.joined else f"waiting for frames from {OWNER}"
        for name, value in self._writer.counters().items():
            self._edge.counters[name] = value
        self._edge.set_state(READY, self._writer.trouble or waiting)
