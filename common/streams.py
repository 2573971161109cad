"""Streams: lossy PUB/SUB topics on which every loss is seen. Pure.

A writer stamps (epoch, seq) per topic. A reader takes Published frames and yields what to do: events in order, a
snapshot that replaces everything, or a gap from which on nothing is known until the next snapshot.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from common.frames import NO_EPOCH, Epoch, Published, batches

BUFFER_MAX = 20_000
"""Events kept while a snapshot is awaited; beyond it they are dropped and the next snapshot is asked for."""

ASK_AGAIN_NS = 200_000_000
NEVER_ASKED = -ASK_AGAIN_NS
NEVER_NS = 1 << 63
BEAT_NS = 1_000_000_000
"""A topic that was written to gets a beat this long after, so that losing its last message is seen too."""

BEAT_CHECK_NS = BEAT_NS // 10
"""Looking for beats that are due goes through all topics, so it is done this often and not with every flush."""

BEAT_MAX_NS = 64 * BEAT_NS
"""A topic that stays quiet gets further beats, each after twice the time, up to this: a beat can get lost as well."""


class _Topic:
    """How far one topic is, when its next beat is due (NEVER_NS: none is), and how long the pause after it is."""

    __slots__ = ("beat_ns", "pause_ns", "seq")

    def __init__(self) -> None:
        self.seq = 0
        self.beat_ns = NEVER_NS
        self.pause_ns = 0


class StreamWriter:
    """All topics of one process."""

    def __init__(self, process: str, epoch: Epoch) -> None:
        self.process = process
        self.epoch = epoch
        self._topics: dict[str, _Topic] = {}
        self._beats_due_ns = NEVER_NS
        """Not looked for before."""

    def stamp(self, topic: str, count: int, now_ns: int) -> int:
        """The seq of the last of so many new events."""
        state = self._advanced(topic, count)
        state.beat_ns, state.pause_ns = now_ns + BEAT_NS, 2 * BEAT_NS
        self._beats_due_ns = min(self._beats_due_ns, state.beat_ns)
        return state.seq

    def frames(self, topic: str, bodies: list[bytes], now_ns: int) -> list[Published]:
        """Stamp events of one topic, in order."""
        return [
            Published(self.process, topic, self.epoch, self.stamp(topic, len(part), now_ns), False, part)
            for part in batches(bodies)
        ]

    def skip(self, topic: str, count: int) -> None:
        """Events that nobody reads: whoever comes later begins with a snapshot behind them."""
        self._advanced(topic, count).beat_ns = NEVER_NS

    def beat_soon(self, topic: str) -> None:
        """Somebody reads the topic (again): with the next beats it learns how far the topic is."""
        state = self._topics.get(topic)
        if state is not None:
            state.beat_ns, state.pause_ns = 0, BEAT_NS
            self._beats_due_ns = 0

    def _advanced(self, topic: str, count: int) -> _Topic:
        state = self._topics.get(topic)
        if state is None:
            state = self._topics[topic] = _Topic()
        state.seq += count
        return state

    def snapshot(self, topic: str, bodies: list[bytes]) -> list[Published]:
        """A snapshot valid at the topic's present seq."""
        seq = self._topics[topic].seq if topic in self._topics else 0
        chunks = list(batches(bodies)) or [[]]
        return [
            Published(self.process, topic, self.epoch, seq, True, chunk, part=i, parts=len(chunks))
            for i, chunk in enumerate(chunks)
        ]

    def beats(self, now_ns: int) -> list[Published]:
        """Frames without bodies for topics that went quiet."""
        if now_ns < self._beats_due_ns:
            return []
        due = [(topic, state) for topic, state in self._topics.items() if state.beat_ns <= now_ns]
        for _, state in due:
            state.beat_ns = now_ns + state.pause_ns
            state.pause_ns = min(2 * state.pause_ns, BEAT_MAX_NS)
        next_due = min((state.beat_ns for state in self._topics.values()), default=NEVER_NS)
        self._beats_due_ns = max(next_due, now_ns + BEAT_CHECK_NS)
        return [Published(self.process, topic, self.epoch, state.seq, False, []) for topic, state in due]


class Heard(NamedTuple):
    """What one frame comes to, to be done in this order: gap, snapshot, events."""

    gap: bool = False
    snapshot: list[msgspec.Raw] | None = None
    events: list[msgspec.Raw] | tuple[msgspec.Raw, ...] = ()


NOTHING = Heard()


class StreamReader:
    """One topic of one owner, as one reader sees it. Starts without a snapshot."""

    def __init__(self, owner: str, topic: str) -> None:
        self.owner = owner
        self.topic = topic
        self.synced = False
        self.gaps = 0
        self._epoch = NO_EPOCH
        self._seq = 0
        self._buffer: list[Published] = []
        self._buffered = 0
        self._parts: list[Published] = []
        self._asked_ns = NEVER_ASKED

    def should_ask(self, now_ns: int) -> bool:
        """Whether a snapshot is needed and was not asked for a moment ago."""
        return not self.synced and now_ns - self._asked_ns >= ASK_AGAIN_NS

    def asked(self, now_ns: int) -> None:
        """A snapshot was asked for."""
        self._asked_ns = now_ns

    def owner_is(self, epoch: Epoch) -> bool:
        """The owner's epoch, as it says. True when that ends what we knew: a gap."""
        if epoch == self._epoch or epoch.is_older_than(self._epoch):
            return False
        self._epoch = epoch
        self._seq = 0
        return self._lose()

    def hear(self, frame: Published) -> Heard:
        if frame.epoch.is_older_than(self._epoch):
            return NOTHING
        gap = self.owner_is(frame.epoch)
        if frame.snapshot:
            return self._hear_snapshot(frame, gap)
        if not self.synced:
            self._keep(frame)
            return Heard(gap)
        first = frame.seq - len(frame.bodies) + 1
        if first > self._seq + 1:
            gap = self._lose() or gap
            self._keep(frame)
            return Heard(gap)
        fresh = frame.bodies[max(0, self._seq + 1 - first) :]
        self._seq = max(self._seq, frame.seq)
        return Heard(gap, None, fresh)

    def _hear_snapshot(self, frame: Published, gap: bool) -> Heard:
        if self.synced and frame.seq <= self._seq:
            return Heard(gap)
        if frame.part != len(self._parts) or (self._parts and self._parts[0].seq != frame.seq):
            self._parts = []
            if frame.part:
                return Heard(gap)
        self._parts.append(frame)
        if len(self._parts) < frame.parts:
            return Heard(gap)
        bodies = [body for part in self._parts for body in part.bodies]
        self._parts = []
        self._seq = frame.seq
        self.synced = True
        events: list[msgspec.Raw] = []
        buffer, self._buffer, self._buffered = self._buffer, [], 0
        for later in buffer:
            heard = self.hear(later)
            events.extend(heard.events)
            gap = gap or heard.gap
        return Heard(gap, bodies, events) if self.synced else Heard(True)

    def _keep(self, frame: Published) -> None:
        self._buffered += len(frame.bodies)
        if self._buffered > BUFFER_MAX:
            self._buffer, self._buffered = [], 0
            return
        self._buffer.append(frame)

    def _lose(self) -> bool:
        """From here on nothing is known. True when something was known."""
        was = self.synced
        self.synced = False
        self._parts = []
        self._buffer, self._buffered = [], 0
        self._asked_ns = NEVER_ASKED
        if was:
            self.gaps += 1
        return was
