"""A short-lived process's face to the bus: ask, wait, hear heartbeats. Synchronous, binds nothing.

Used by the CLI and the start scripts. It never keeps state and never decides.
"""

from __future__ import annotations

import os
import time
from types import TracebackType

import msgspec

from common.bus import ZmqBus
from common.frames import Epoch
from common.messages import Heartbeat, Message, decode
from common.peer import Item, Peer, request_id_of
from common.settings import Settings
from common.telemetry import READY, TOPIC
from common.topology import PROCESSES

POLL_MS = 10


class Requester:
    """`with Requester(settings) as bus: answer = bus.request("executor", command)`."""

    def __init__(self, settings: Settings, name: str = "") -> None:
        self.name = name or f"cli-{os.getpid()}-{os.urandom(4).hex()}"
        self._bus = ZmqBus(self.name, settings.paths.run_dir, binds=False)
        self._peer = Peer(self._bus, self.name, Epoch("", time.time_ns()), streams=False)

    def __enter__(self) -> Requester:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._bus.close()

    def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message:
        """The answer to a command or query; asked again under the same id until it comes. Raises TimeoutError."""
        request_id = request_id_of(body)
        assert request_id, f"{type(body).__name__} has no id to know its answer by"
        self._peer.request(owner, request_id, body, cancel=cancel)
        deadline = time.monotonic() + timeout_s
        try:
            while time.monotonic() < deadline:
                for item in self._exchange(deadline):
                    answer = _answer(item, request_id)
                    if answer is not None:
                        return answer
        finally:
            self._peer.forget(request_id)
        raise TimeoutError(f"{owner} did not answer within {timeout_s:g} s")

    def heartbeats(self, timeout_s: float = 1.0, processes: tuple[str, ...] = PROCESSES) -> dict[str, Heartbeat]:
        """The latest heartbeat of each process heard within the time; returns early once all are READY."""
        for process in processes:
            self._peer.follow(process, TOPIC)
        heard: dict[str, Heartbeat] = {}
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for item in self._exchange(deadline):
                for body in (*item.bodies, item.body):
                    beat = _heartbeat(body)
                    if beat is not None:
                        heard[beat.process] = beat
            if all(process in heard and heard[process].state == READY for process in processes):
                break
        return heard

    def _exchange(self, deadline: float) -> list[Item]:
        """One turn: send what is due, wait a little, take what came."""
        self._peer.flush(time.monotonic_ns())
        left_ms = int((deadline - time.monotonic()) * 1000)
        self._bus.poll(max(1, min(POLL_MS, left_ms)))
        items = self._peer.receive(time.monotonic_ns())
        self._peer.flush(time.monotonic_ns())
        return items


def _answer(item: Item, request_id: str) -> Message | None:
    if item.kind != "answer":
        return None
    message = _decoded(item.body)
    return message if message is not None and request_id_of(message) == request_id else None


def _heartbeat(body: msgspec.Raw) -> Heartbeat | None:
    message = _decoded(body)
    return message if isinstance(message, Heartbeat) else None


def _decoded(body: msgspec.Raw) -> Message | None:
    """None for no body, and for what a newer version says."""
    try:
        return decode(body)
    except msgspec.DecodeError:
        return None
