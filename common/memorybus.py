"""The bus without sockets, for tests and simulation: the same port, one thread, deterministic.

A `MemoryNetwork` joins the buses of many processes. `drop(process)` takes one away with everything in its queues,
as kill -9 does. It never reorders; a test that wants loss passes a `lose` predicate.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from common.bus import Received
from common.topology import inboxes_of

Lose = Callable[[str, str, bytes], bool]
"""(from, to inbox or process, frame) -> whether the frame gets lost."""


class MemoryNetwork:
    """All buses of one test."""

    def __init__(self, lose: Lose | None = None) -> None:
        self.lose = lose
        self._buses: dict[str, MemoryBus] = {}
        self._owner_of: dict[str, str] = {}

    def bus(self, name: str) -> MemoryBus:
        """A new bus for a process; it replaces one that was dropped."""
        bus = MemoryBus(name, self)
        self._buses[name] = bus
        for row in inboxes_of(name):
            self._owner_of[row.name] = name
        for other in self._buses.values():
            for process, topic in other.subscriptions:
                if process == name:
                    bus.subscribed(topic)
        return bus

    def drop(self, name: str) -> None:
        """The process is gone, and what was on its way to it with it."""
        del self._buses[name]

    def push(self, sender: str, inbox_name: str, frame: bytes) -> bool:
        bus = self._buses.get(self._owner_of.get(inbox_name, ""))
        if bus is None:
            return False
        if not self._lost(sender, inbox_name, frame):
            bus.inboxes[inbox_name].append(frame)
        return True

    def publish(self, sender: str, topic: bytes, frame: bytes) -> None:
        for bus in self._buses.values():
            hears = any(process == sender and topic.startswith(wanted) for process, wanted in bus.subscriptions)
            if hears and not self._lost(sender, bus.name, frame):
                bus.heard.append((sender, frame))

    def subscribed(self, process: str, topic: bytes) -> None:
        bus = self._buses.get(process)
        if bus is not None:
            bus.subscribed(topic)

    def unsubscribed(self, process: str, topic: bytes) -> None:
        bus = self._buses.get(process)
        if bus is not None and not any((process, topic) in other.subscriptions for other in self._buses.values()):
            bus.subscribed(topic, ended=True)

    def _lost(self, sender: str, to: str, frame: bytes) -> bool:
        return self.lose is not None and self.lose(sender, to, frame)


class MemoryBus:
    """One process's face to a MemoryNetwork."""

    def __init__(self, name: str, network: MemoryNetwork) -> None:
        self.name = name
        self.inboxes: dict[str, deque[bytes]] = {row.name: deque() for row in inboxes_of(name)}
        self.heard: deque[tuple[str, bytes]] = deque()
        self.subscriptions: list[tuple[str, bytes]] = []
        self._network = network
        self._news: deque[Received] = deque()

    def push(self, inbox_name: str, frame: bytes) -> bool:
        return self._network.push(self.name, inbox_name, frame)

    def publish(self, topic: bytes, frame: bytes) -> None:
        self._network.publish(self.name, topic, frame)

    def subscribe(self, process: str, topic: bytes) -> None:
        self.subscriptions.append((process, topic))
        self._network.subscribed(process, topic)

    def unsubscribe(self, process: str, topic: bytes) -> None:
        if (process, topic) in self.subscriptions:
            self.subscriptions.remove((process, topic))
            self._network.unsubscribed(process, topic)

    def subscribed(self, topic: bytes, *, ended: bool = False) -> None:
        self._news.append(Received("", b"", topic, ended))

    def receive(self, limit: int) -> list[Received]:
        got = list(self._news)
        self._news.clear()
        for name, queue in self.inboxes.items():
            while queue and len(got) < limit:
                got.append(Received(name, queue.popleft()))
        shares = Counter[str]()
        while self.heard and shares[self.heard[0][0]] < limit:
            process, frame = self.heard.popleft()
            shares[process] += 1
            got.append(Received(process, frame))
        return got

    def poll(self, timeout_ms: int) -> bool:
        """Whether something is there; a memory bus has nobody to wait for."""
        del timeout_ms
        return bool(self.heard or self._news or any(self.inboxes.values()))

    def close(self) -> None:
        """Nothing to release."""
