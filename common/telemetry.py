"""What a process says about itself: heartbeats on its own stream, so that whoever asks hears it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from common.messages import Heartbeat

TOPIC = "telemetry"
BEAT_NS = 500_000_000

STARTING = "STARTING"
READY = "READY"
STOPPING = "STOPPING"
CANCEL_ONLY = "CANCEL_ONLY"


TROUBLES = frozenset(
    {
        "asks_for_another_epoch",
        "bodies_undecodable",
        "frames_of_a_foreign_journal",
        "frames_undecodable",
        "frames_unexpected",
        "own_messages_refused",
        "quarantined_inputs",
    }
)
"""Counters of what somebody else does wrong: the first time is logged, all are counted."""


class Vitals:
    """State, detail and counters of one process, as heartbeats."""

    def __init__(self, process: str, pid: int, started_ns: int) -> None:
        self.process = process
        self.pid = pid
        self.started_ns = started_ns
        self.state = STARTING
        self.detail = ""
        self.counters: Counter[str] = Counter()
        self._due_ns = 0
        self._told: set[str] = set()

    def first_troubles(self, *more: Mapping[str, int]) -> list[str]:
        """Troubles that were counted and not told yet."""
        counted = [name for name in TROUBLES - self._told if any(row.get(name) for row in (self.counters, *more))]
        self._told.update(counted)
        return sorted(counted)

    def set_state(self, state: str, detail: str = "") -> bool:
        """True when something changed: then the next beat is due at once."""
        if (state, detail) == (self.state, self.detail):
            return False
        self.state, self.detail = state, detail
        self._due_ns = 0
        return True

    def due(self, mono_ns: int) -> bool:
        if mono_ns < self._due_ns:
            return False
        self._due_ns = mono_ns + BEAT_NS
        return True

    def next_due_ns(self) -> int:
        return self._due_ns

    def beat(self, wall_ns: int, *more: dict[str, int]) -> Heartbeat:
        counters = dict(self.counters)
        for extra in more:
            counters.update(extra)
        return Heartbeat(self.process, self.pid, self.state, self.detail, self.started_ns, wall_ns, counters)
