"""One simulated world: virtual time, one seed, the bus, the network to the venue, and who lives in it.

In: a seed and a core class. Out: a run that is the same every time, a readable trace and its hash. Everything random is
drawn from one generator, in the order in which things happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b
from random import Random

from common.effects import Now
from common.memorybus import MemoryBus, MemoryNetwork
from common.topology import inbox
from tests.sim.clock import VirtualLoop
from tests.sim.faults import Faults

START_NS = 1_790_000_000 * 1_000_000_000
"""The wall clock at virtual time zero."""


class Violation(AssertionError):
    """A promise was broken."""


class Killed(Exception):
    """A process died in the middle of what it was doing."""


class Bus(MemoryNetwork):
    """The bus of the run: wakes whoever has something to read; a process that is to die may die while it sends."""

    def __init__(self, world: World) -> None:
        super().__init__(self._is_lost)
        self._world = world
        self.deadly: dict[str, int] = {}
        """How many more frames a doomed process gets out."""

    def push(self, sender: str, inbox_name: str, frame: bytes) -> bool:
        taken = super().push(sender, inbox_name, frame)
        if taken:
            self._world.stir(inbox(inbox_name).owner)
        return taken

    def publish(self, sender: str, topic: bytes, frame: bytes) -> None:
        super().publish(sender, topic, frame)
        for name, bus in self._buses.items():
            if bus.heard:
                self._world.stir(name)

    def subscribed(self, process: str, topic: bytes) -> None:
        super().subscribed(process, topic)
        self._world.stir(process)

    def alive(self, name: str) -> MemoryBus | None:
        return self._buses.get(name)

    def _is_lost(self, sender: str, _to: str, _frame: bytes) -> bool:
        left = self.deadly.get(sender)
        if left is not None:
            if left <= 0:
                del self.deadly[sender]
                raise Killed(sender)
            self.deadly[sender] = left - 1
        return self._world.faults.happens("bus_lost")


class World:
    """Time, chance and the trace. Processes register how they are woken."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.loop = VirtualLoop()  # type: ignore[abstract]  # sockets, signals and the like are not simulated
        self.wall_offset_ns = START_NS
        self.marker = ""
        """The durable halt marker (common/halt.py): survives every process."""
        self.seen: Counter[str] = Counter()
        """What happened, by name: whether the runs reach what they are for."""
        self.faults = Faults(self.rng, self.seen)
        self.bus = Bus(self)
        self.wakers: dict[str, Callable[[], None]] = {}
        self.lines: list[str] = []
        self._keep_trace = keep_trace
        self._hash = blake2b(digest_size=16)

    def now(self) -> Now:
        """Both clocks of the one machine that all processes run on."""
        return Now(self.wall_ns(), self.loop.now_ns + 1)

    def wall_ns(self) -> int:
        return self.wall_offset_ns + self.loop.now_ns

    def stir(self, name: str) -> None:
        waker = self.wakers.get(name)
        if waker is not None:
            waker()

    def trace(self, who: str, text: str) -> None:
        line = f"{self.loop.now_ns / 1e9:11.6f} {who:10} {text}"
        self._hash.update(line.encode())
        if self._keep_trace:
            self.lines.append(line)

    def trace_hash(self) -> str:
        return self._hash.hexdigest()

    def violate(self, text: str) -> None:
        self.trace("VIOLATION", text)
        raise Violation(f"seed {self.seed}: {text}")


_BRIEF = (
    "command_id",
    "action_id",
    "client_order_id",
    "order_id",
    "venue_order_id",
    "trade_id",
    "kind",
    "outcome",
    "code",
    "status",
    "state",
    "settlement",
    "filled_size",
    "found",
    "complete",
)


def brief(message: object) -> str:
    """One line of a message for the trace."""
    told = [type(message).__name__]
    order = getattr(message, "order", None)
    for name in _BRIEF:
        value = getattr(message, name, None)
        if value not in (None, ""):
            text = str(value)
            told.append(f"{name}={text[:10] if text.startswith('0x') else text}")
    if order is not None:
        told.append(f"[{getattr(order, 'order_id', '')} {getattr(order, 'status', '')}]")
    return " ".join(told)
