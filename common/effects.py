"""What a core may ask of its shell. A core never performs, a shell never decides.

In a heart all effects of a step are performed in order, after the step's inputs are durable.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from common.messages import Message


class Now(NamedTuple):
    """Both clocks of one step. `mono_ns` never runs backwards, also over restarts (a heart journals it)."""

    wall_ns: int
    mono_ns: int


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where an input came from. `seq` and `covers` are lane ordinals (common/lanes.py), 0 for asks and timers.

    `lane` is "" for asks, "timer" for TimerFired, the stream's topic for stream events.
    """

    sender: str
    lane: str = ""
    seq: int = 0
    covers: int = 0


class Reply(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Answer the requester `to`."""

    to: str
    body: Message


class Publish(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Publish an event on one of our streams."""

    topic: str
    body: Message


class Send(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Put a message on a lane; the shell keeps and resends it until Settle names its key."""

    lane: str
    key: str
    body: Message


class Settle(msgspec.Struct, frozen=True, gc=False, tag=True):
    """What was sent under `key` has its result: the lane need not keep it any longer."""

    lane: str
    key: str


class Log(msgspec.Struct, frozen=True, gc=False, tag=True):
    """One canonical log line: an event name and its fields (spec 4's names where it has one)."""

    event: str
    fields: dict[str, str | int | bool]
    level: str = "info"


Effect: TypeAlias = Reply | Publish | Send | Settle | Log


class Core(Protocol):
    """A heart's pure half: a deterministic single writer of its state (architecture section 3).

    `handle` is called once per journaled input; the same inputs give the same state hash and the same effects.
    """

    queries: frozenset[type[Message]]
    """Message types answered by `query` from state, never journaled."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]: ...

    def query(self, message: Message, now: Now) -> list[Message]:
        """Answer a read-only request; [] when the message is not one of `queries`."""
        ...

    def snapshot(self, topic: str, now: Now) -> list[Message]:
        """The messages that bring a new reader of `topic` to the current state."""
        ...

    def due_ns(self) -> int | None:
        """When (mono_ns) the core wants a TimerFired input next; None for never."""
        ...

    def outstanding(self) -> list[Effect]:
        """Effects to perform again after a restart: sends whose result is not known. Changes nothing."""
        ...

    def missing(self) -> str:
        """What the core still waits for before it can serve, in words; "" when it is ready."""
        ...

    def counters(self) -> dict[str, int]:
        """Gauges and counters for the heartbeat."""
        ...

    def dump(self) -> bytes:
        """The whole state, canonical: equal states give equal bytes."""
        ...

    def load(self, state: bytes) -> None: ...
