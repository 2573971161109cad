"""A step is a record, and records replayed through a core give the same state and the same effects."""

from __future__ import annotations

from common.effects import Core, Effect, Now, Origin, Reply
from common.messages import Accepted, Message, OpenAccount, TimerFired
from common.step import Step, decode_step, replay


class Counting:
    """A core that counts what it is given."""

    queries: frozenset[type[Message]] = frozenset()
    own: frozenset[type[Message]] = frozenset()

    def __init__(self) -> None:
        self.seen: list[tuple[Message, Origin, Now]] = []

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        self.seen.append((message, origin, now))
        return [Reply(origin.sender, Accepted(str(len(self.seen))))]

    def query(self, message: Message, now: Now) -> list[Message]:
        return []

    def snapshot(self, topic: str, now: Now) -> list[Message]:
        return []

    def due_ns(self) -> int | None:
        return None

    def outstanding(self) -> list[Effect]:
        return []

    def halted(self) -> None:
        """Never."""

    def wind_down(self, why: str, dropped: list[Effect]) -> None:
        """At once."""

    def missing(self) -> str:
        return ""

    def counters(self) -> dict[str, int]:
        return {}

    def dump(self) -> bytes:
        return b""

    def load(self, state: bytes) -> None: ...


def test_a_record_holds_everything_handle_read() -> None:
    core: Core = Counting()
    step = Step(core, Now(5, 6))
    step.take(OpenAccount("c-1", "alice", 7), Origin("cli", "commands", 3, 2))
    step.take(TimerFired(), Origin("exchange", "timer"))
    again = Counting()
    now, count = replay(again, [step.record()])
    assert (now, count) == (Now(5, 6), 2)
    assert isinstance(core, Counting)
    assert again.seen == core.seen


def test_effects_come_out_in_the_order_of_the_inputs() -> None:
    step = Step(Counting(), Now(1, 1))
    for n in range(3):
        step.take(TimerFired(), Origin(str(n)))
    assert [effect.to for effect in step.effects if isinstance(effect, Reply)] == ["0", "1", "2"]


def test_epochs_are_not_part_of_a_record() -> None:
    step = Step(Counting(), Now(1, 2))
    step.take(TimerFired(), Origin("a"))
    assert decode_step(step.record()).inputs[0].sender == "a"
    assert set(decode_step(step.record()).inputs[0].__struct_fields__) == {"sender", "lane", "seq", "covers", "body"}
