"""The bus over ZeroMQ: bytes in, bytes out, never blocking. The only importer of zmq.

A process binds its XPUB and its PULL inboxes; everything else it connects. What arrives comes out of `receive` in
the order of the topology's inboxes, so what has priority is served first. `MemoryBus` (memorybus.py) is the same
port without sockets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import zmq

from common.errors import ConfigError
from common.frames import FRAME_BYTES_MAX
from common.topology import LANES, inbox, inbox_address, inboxes_of, out_address

ROUND_BYTES = 64 << 10
"""One socket gives no more than this in a round (and one frame): a frame may hold 256 commands, and those that come
behind it must not hold up a cancel."""
LINGER_MS = 500
RECONNECT_MS = 10
RECONNECT_MAX_MS = 500
STREAM_HIGH_WATER = 100_000


class Received(NamedTuple):
    """One message off the bus. `source` is the inbox it came through, or the process whose stream it is.

    `subscription` is the topic of a new subscriber of ours, or with `ended` one that nobody reads any more; then
    `frame` is empty.
    """

    source: str
    frame: bytes
    subscription: bytes | None = None
    ended: bool = False


class Bus(Protocol):
    """What a process needs of a bus. No verb blocks but `poll`."""

    def push(self, inbox_name: str, frame: bytes) -> bool:
        """Send into an inbox; False when there is no peer or no room now."""
        ...

    def publish(self, topic: bytes, frame: bytes) -> None: ...

    def subscribe(self, process: str, topic: bytes) -> None: ...

    def unsubscribe(self, process: str, topic: bytes) -> None: ...

    def receive(self, limit: int) -> list[Received]:
        """At most `limit` messages of the inboxes, priority first, and at most `limit` of each stream owner.

        Fewer than `limit` in all: nothing more is there now. Owners have their own share because acks, answers and
        a restarted peer's hello come from them: a flood of commands must not hold those up.
        """
        ...

    def poll(self, timeout_ms: int) -> bool:
        """Wait until something can be received."""
        ...

    def close(self) -> None: ...


class ZmqBus:
    """The sockets of one process. `name` binds what the topology gives it; a name outside the table binds nothing."""

    def __init__(self, name: str, run_dir: Path, *, binds: bool = True) -> None:
        self.name = name
        self._run_dir = run_dir
        self._context = zmq.Context(1)
        self._context.set(zmq.MAX_SOCKETS, 1023)
        self._poller = zmq.Poller()
        self._pulls: list[tuple[str, zmq.Socket[bytes]]] = []
        self._subs: dict[str, zmq.Socket[bytes]] = {}
        self._pushes: dict[str, zmq.Socket[bytes]] = {}
        self._xpub: zmq.Socket[bytes] | None = None
        self._watch: Callable[[int], None] | None = None
        if binds:
            try:
                self._bind()
            except ConfigError:
                self.close()
                raise

    def _bind(self) -> None:
        self._xpub = self._socket(zmq.XPUB, STREAM_HIGH_WATER)
        self._xpub.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._bind_one(self._xpub, out_address(self._run_dir, self.name))
        self._poller.register(self._xpub, zmq.POLLIN)
        for row in inboxes_of(self.name):
            pull = self._socket(zmq.PULL, row.high_water)
            self._pulls.append((row.name, pull))
            self._bind_one(pull, inbox_address(self._run_dir, row.name))
            self._poller.register(pull, zmq.POLLIN)
        for lane in LANES:
            if lane.sender == self.name:
                self._open(lane.inbox)  # now: the first cancel shall not wait for a connection

    def _bind_one(self, socket: zmq.Socket[bytes], address: str) -> None:
        # The singleton lock is held by now, so a socket file that is still here belonged to a dead process.
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            raise ConfigError("paths.run_dir", f"cannot bind {address}: {os.strerror(error.errno or 0)}") from None

    def _socket(self, kind: int, high_water: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        return socket

    def push(self, inbox_name: str, frame: bytes) -> bool:
        socket = self._pushes.get(inbox_name) or self._open(inbox_name)
        try:
            socket.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _open(self, inbox_name: str) -> zmq.Socket[bytes]:
        socket = self._pushes[inbox_name] = self._socket(zmq.PUSH, inbox(inbox_name).high_water)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.connect(inbox_address(self._run_dir, inbox_name))
        return socket

    def publish(self, topic: bytes, frame: bytes) -> None:
        assert self._xpub is not None, f"{self.name} has no streams"
        self._xpub.send_multipart((topic, frame), zmq.NOBLOCK)

    def subscribe(self, process: str, topic: bytes) -> None:
        socket = self._subs.get(process)
        if socket is not None:
            socket.setsockopt(zmq.SUBSCRIBE, topic)
            return
        socket = self._socket(zmq.SUB, STREAM_HIGH_WATER)
        socket.setsockopt(zmq.SUBSCRIBE, topic)
        socket.connect(out_address(self._run_dir, process))
        self._subs[process] = socket
        self._poller.register(socket, zmq.POLLIN)
        if self._watch is not None:
            self._watch(_fd(socket))

    def unsubscribe(self, process: str, topic: bytes) -> None:
        socket = self._subs.get(process)
        if socket is not None:
            socket.setsockopt(zmq.UNSUBSCRIBE, topic)

    def receive(self, limit: int) -> list[Received]:
        got: list[Received] = []
        if self._xpub is not None:
            self._receive_subscriptions(self._xpub, got)
        for name, pull in self._pulls:
            self._drain(name, pull, got, limit)
        for process, sub in self._subs.items():
            self._drain(process, sub, got, len(got) + limit)
        return got

    @staticmethod
    def _receive_subscriptions(socket: zmq.Socket[bytes], got: list[Received]) -> None:
        while True:
            try:
                event = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            got.append(Received("", b"", event[1:], ended=event[:1] != b"\x01"))

    @staticmethod
    def _drain(source: str, socket: zmq.Socket[bytes], got: list[Received], limit: int) -> None:
        size = 0
        while len(got) < limit and size < ROUND_BYTES:
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            got.append(Received(source, parts[-1]))
            size += len(parts[-1])

    def poll(self, timeout_ms: int) -> bool:
        return bool(self._poller.poll(timeout_ms))

    def fds(self, watch: Callable[[int], None]) -> Iterable[int]:
        """File descriptors to watch for a loop that may not block; `watch` is told of later ones.

        They are edge-triggered: after each wake-up, receive until there is nothing, also after sending.
        """
        self._watch = watch
        sockets = [pull for _, pull in self._pulls] + list(self._subs.values())
        if self._xpub is not None:
            sockets.append(self._xpub)
        return [_fd(socket) for socket in sockets]

    def close(self) -> None:
        """Every socket of the context, also one an interrupt kept us from noting: it would hold the end up for ever."""
        self._context.destroy(LINGER_MS)


def _fd(socket: zmq.Socket[bytes]) -> int:
    fd = socket.getsockopt(zmq.FD)
    assert isinstance(fd, int)
    return fd
