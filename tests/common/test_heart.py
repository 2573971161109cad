"""The shell of a heart in this process: what one step may hold, and what its checkpoints leave behind."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest

from common.bus import ZmqBus
from common.checkpoint import load_checkpoint
from common.effects import Effect, Now, Origin, Reply
from common.frames import Epoch
from common.halt import HaltMarker
from common.heart import Heart
from common.log import set_up_logging
from common.messages import Accepted, Deposit, Message, TimerFired
from common.peer import ASK_AGAIN_NS, Item, Peer
from common.settings import ROOT, Settings, load_settings
from common.step import Step

REQUESTS = 40
"""Of 100 kB each, to a journal whose records hold less than 1 MiB."""


class Toy:
    """Answers every deposit; its state is the descriptors that are open when it is asked for."""

    queries: frozenset[type[Message]] = frozenset()
    own: frozenset[type[Message]] = frozenset()

    def __init__(self) -> None:
        self.count = 0

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        self.count += 1
        return [Reply(origin.sender, Accepted(message.command_id))] if isinstance(message, Deposit) else []

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
        return " ".join(os.listdir("/proc/self/fd")).encode()

    def load(self, state: bytes) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    paths = found.paths.model_copy(update={"run_dir": tmp_path, "data_dir": tmp_path})
    journal = found.journal.model_copy(update={"segment_mb": 1, "checkpoint_every_s": 3600})
    return found.model_copy(update={"paths": paths, "journal": journal})


@pytest.fixture
def heart(settings: Settings) -> Iterator[Heart]:
    with ExitStack() as stack:
        made = Heart("exchange", Toy(), settings, set_up_logging("exchange"))
        stack.callback(made._journal.close)
        stack.callback(made._bus.close)
        yield made


def step_until(heart: Heart, done: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        heart.step()


def test_more_than_a_record_holds_becomes_several_records(heart: Heart, settings: Settings) -> None:
    """A backlog that comes in one step must not end the process: it would come again after every restart."""
    heart._begin()
    with closing(ZmqBus("cli-1", settings.paths.run_dir, binds=False)) as bus:
        client = Peer(bus, "cli-1", Epoch("", 1), streams=False)
        answered: set[bytes] = set()

        def learned() -> bool:
            client.receive(time.monotonic_ns())
            return "exchange" in client.peer_epochs

        def exchanged() -> bool:
            client.flush(time.monotonic_ns())
            answers = client.receive(time.monotonic_ns())
            answered.update(bytes(item.body) for item in answers if item.kind == "answer")
            return len(answered) == REQUESTS

        client.listen_to("exchange")
        step_until(heart, learned)
        for n in range(REQUESTS):
            client.request("exchange", f"c-{n}", Deposit(f"c-{n}", "a" * 100_000, "", 1))
        end = time.monotonic() + 10
        while client.next_due_ns(0) < ASK_AGAIN_NS:
            assert time.monotonic() < end, "the requests found no room"
            client.flush(time.monotonic_ns())
            bus.poll(10)
        step_until(heart, exchanged)


def test_a_checkpoints_child_holds_no_lock_or_socket_of_its_parent(heart: Heart, settings: Settings) -> None:
    """Else a kill -9 of the parent is noticed by peers, and its successor can start, only when the child is done."""
    heart._begin()
    folder = settings.paths.data_dir / "exchange"
    step_until(heart, lambda: load_checkpoint(folder, heart._journal.journal_id) is not None)
    found = load_checkpoint(folder, heart._journal.journal_id)
    assert found is not None
    descriptors = found.payload.rsplit(b"\xc4", 1)[-1][1:].split()
    assert {int(fd) for fd in descriptors} <= {0, 1, 2, 3}, "the last is the listing's own"


def test_a_fork_the_system_refuses_is_no_reason_to_stop(heart: Heart, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr("common.heart.fork_checkpoint", refuse)
    heart._begin()
    heart.step()
    heart.step()


def test_the_journal_is_kept_back_to_the_checkpoint_before_the_newest(
    heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one is there for the day the newer is damaged, and then what followed it must still be replayed."""
    pruned: list[int] = []
    monkeypatch.setattr(heart._journal, "prune", pruned.append)
    first = heart._journal.last_index
    for wanted in (1, 2):
        step = Step(heart._core, heart._clock.now())
        step.take(TimerFired(), Origin("exchange", "timer"))
        heart._commit(step)
        heart._checkpoint_due_ns = 0
        step_until(heart, lambda: len(pruned) == wanted)  # noqa: B023 (called before the loop goes on)
    assert pruned == [0, first + 1]


class Watching:
    """A sight that keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, msgspec.Raw | None]] = []

    def follows(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def reads(self, topic: str) -> bool:
        return topic == "depth.1"

    def observe(self, topic: str, body: msgspec.Raw | None) -> None:
        self.seen.append((topic, body))

    def attach(self, message: Message, now: Now, heard_ns: Callable[[str], int]) -> Message:
        return message

    def beat(self, now: Now, heard_ns: Callable[[str], int]) -> Message | None:
        return None


NOTHING, OLD, NEW = msgspec.Raw(b""), msgspec.Raw(b"\x01"), msgspec.Raw(b"\x02")


@pytest.mark.parametrize(
    ("kind", "body", "bodies", "shown"),
    [
        ("event", NEW, [], NEW),
        ("snapshot", NOTHING, [OLD, NEW], NEW),
        ("snapshot", NOTHING, [], None),
        ("gap", NOTHING, [], None),
    ],
)
def test_a_sight_is_shown_the_newest_message_or_that_there_is_none(
    heart: Heart, kind: str, body: msgspec.Raw, bodies: list[msgspec.Raw], shown: msgspec.Raw | None
) -> None:
    """A publisher that has just started answers with an empty snapshot: that is no message to decode."""
    heart._sight = sight = Watching()
    item = Item(kind, Origin("market_data", "depth.1"), body, bodies=bodies)
    heart._sort(item, Step(heart._core, Now(1, 1)), [])
    assert sight.seen == [("depth.1", shown)]


class HaltedToy(Toy):
    """Its journal says that it is halted."""

    def halted(self) -> str:  # type: ignore[override]
        return "the operator wants quiet"


def test_a_halt_whose_marker_was_not_written_any_more_is_marked_at_the_start(settings: Settings) -> None:
    """Killed between the journal's record and the marker: others only read the marker."""
    with closing(HaltMarker(settings.paths.data_dir)) as marker, ExitStack() as stack:
        made = Heart("exchange", HaltedToy(), settings, set_up_logging("exchange"), marker=marker)
        stack.callback(made._journal.close)
        stack.callback(made._bus.close)

        made._begin()

        assert marker.read() == "the operator wants quiet"
