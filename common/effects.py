"""What a core may ask of its shell. A core never performs, a shell never decides.

In a heart all effects of a step are performed in order, after the step's inputs are durable.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Mark(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Set the durable halt marker to this reason, or clear it ("") (common/halt.py)."""

    reason: str


class Log(msgspec.Struct, frozen=True, gc=False, tag=True):
    """One canonical log line: an event name and its fields (spec 4's names where it has one)."""

    event: str
    fields: dict[str, str | int | bool]
    level: str = "info"


Effect: TypeAlias = Reply | Publish | Send | Settle | Mark | Log


class Sight(Protocol):
    """What a heart looks at without journaling it: conflated streams, of which single inputs take a bounded view along.

    Pure, and outside the core's state: a replay never needs it, as `attach` puts what was seen into the input.
    """

    def follows(self) -> frozenset[tuple[str, str]]:
        """The (owner, topic) streams to read now; the same object while they do not change."""
        ...

    def reads(self, topic: str) -> bool:
        """Whether events of this topic are for `observe` instead of being inputs."""
        ...

    def observe(self, topic: str, body: msgspec.Raw | None) -> None:
        """The newest message of a stream; None when it was lost."""
        ...

    def attach(self, message: Message, now: Now, heard_ns: Callable[[str], int]) -> Message:
        """The message to journal and handle instead. `heard_ns`: when (mono) a process was heard last."""
        ...

    def beat(self, now: Now, heard_ns: Callable[[str], int]) -> Message | None:
        """An input of its own that is due now."""
        ...


class WindDown(Protocol):
    """The end of a heart whose journal failed: only what makes things safer, nothing of it durable."""

    def start(self, now: Now) -> list[Effect]: ...

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]: ...

    def on_time(self, now: Now) -> list[Effect]:
        """Called often."""
        ...

    def verdict(self, now: Now) -> str:
        """What was achieved, when it is over; "" while it is not."""
        ...


class Core(Protocol):
    """A heart's pure half: a deterministic single writer of its state (architecture section 3).

    `handle` is called once per journaled input; the same inputs give the same state hash and the same effects.
    """

    queries: frozenset[type[Message]]
    """Message types answered by `query` from state, never journaled."""
    own: frozenset[type[Message]]
    """Message types only the core's own shell may say; from the bus they are refused."""

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

    def halted(self) -> str | None:
        """Why nothing may leave, as far as the journal knows; None when things may."""
        ...

    def wind_down(self, why: str, dropped: list[Effect]) -> WindDown | None:
        """How to end after the journal failed; None: at once. `dropped`: effects that were never performed."""
        ...

    def dump(self) -> bytes:
        """The whole state, canonical: equal states give equal bytes."""
        ...

    def load(self, state: bytes) -> None: ...
