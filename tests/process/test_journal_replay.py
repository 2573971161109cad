"""What an executor journaled leads to the same state and the same effects, in any process, fast enough to restart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from common.checkpoint import write_checkpoint
from common.effects import Now, Origin
from common.heart import Saved
from common.journal import Journal
from common.messages import Message
from common.rerun import encode_effects
from common.step import Step
from common.types import Side, TimeInForce
from scripts.bench.replay import make_journal, restart_s, run_replay
from services.executor.core import COMMANDS, FACTS, OWN, ExecutorCore
from tests.golden.messages import samples
from tests.services.executor.driver import Driver
from tests.services.executor.lying_venue import LyingVenue

pytestmark = pytest.mark.process

TAKEN = COMMANDS | FACTS.keys() | OWN
MOVES = ["client", "serve", "news", "match", "settle", "time", "cut", "reconnect"]
WEIGHTS = [20, 30, 40, 12, 12, 10, 1, 3]
STEPS = 400

Input = tuple[Message, Origin, Now]


def _client(venue: LyingVenue, rng: Random) -> None:
    driver, choice = venue.driver, rng.random()
    if choice < 0.7:
        client_order_id = "" if rng.random() < 0.5 else f"id-{rng.randrange(40)}"
        tif = rng.choice([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.FAK])
        account = rng.choice(["default", "other"])
        driver.place(client_order_id, account=account, side=rng.choice(list(Side)), tif=tif)
    elif choice < 0.95:
        driver.cancel(f"o-{rng.randrange(1, 1 + max(1, driver.core.desk.last_order))}")
    else:
        driver.cancel_all(rng.choice(["", "default", "other"]))
    venue.collect()


def lived(seed: int) -> list[Input]:
    """The inputs of a run against a venue that loses, doubles and reorders."""
    rng = Random(seed)
    venue = LyingVenue(Driver(), seed)
    does = {
        "client": lambda: _client(venue, rng),
        "serve": venue.serve,
        "news": venue.deliver_news,
        "match": venue.match_something,
        "settle": venue.settle_something,
        "time": lambda: venue.pass_time(rng.choice([1, 100, 600, 3_000])),
        "cut": venue.cut,
        "reconnect": venue.reconnect,
    }
    for move in rng.choices(MOVES, WEIGHTS, k=STEPS):
        does[move]()
    return venue.driver.inputs


def unlived(inputs: list[Input]) -> Iterator[Input]:
    """One of each message the core takes and the run did not bring: from a lane, and from a client."""
    now = inputs[-1][2]
    seen = {type(message) for message, _, _ in inputs}
    for message in samples().values():
        if type(message) in TAKEN and type(message) not in seen:
            for origin in (Origin("gateway", "results"), Origin("cli")):
                now = Now(now.wall_ns + 1_000, now.mono_ns + 1_000)
                yield message, origin, now


class Recorder:
    """Journals a run as the executor's shell does: one record for what shares a moment; hashes what it asked for."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "executor"
        self.folder.mkdir(mode=0o700, parents=True)
        self.core = ExecutorCore()
        self.journal = Journal.open(self.folder / "journal", segment_bytes=256 << 10, keep_segments=1_000)
        self._effects = hashlib.blake2b(digest_size=32)

    @property
    def effects_hash(self) -> str:
        return self._effects.hexdigest()

    def run(self, inputs: list[Input]) -> None:
        step = Step(self.core, inputs[0][2])
        for message, origin, now in inputs:
            if now != step.now:
                self.journal.append(step.record())
                step = Step(self.core, now)
            before = len(step.effects)
            step.take(message, origin)
            self._effects.update(encode_effects(step.effects[before:]))
        self.journal.append(step.record())

    def checkpoint(self, now: Now) -> None:
        payload = msgspec.msgpack.encode(Saved(*now, "", self.core.dump()))
        journal = self.journal
        write_checkpoint(self.folder, journal.last_index, journal.last_hash, journal.journal_id, payload)


@pytest.mark.parametrize("seed", range(3))
def test_two_processes_with_different_hashes_replay_to_the_state_and_effects_of_the_run(
    tmp_path: Path, seed: int
) -> None:
    """Every message the executor takes is among the inputs; the checkpoint in the middle holds the replayed state."""
    inputs = lived(seed)
    inputs += unlived(inputs)
    assert {type(message) for message, _, _ in inputs} >= TAKEN
    recorder = Recorder(tmp_path)
    half = len(inputs) // 2
    recorder.run(inputs[:half])
    recorder.checkpoint(inputs[half - 1][2])
    recorder.run(inputs[half:])
    first, second = (run_replay(tmp_path, "--check", hash_seed=hash_seed) for hash_seed in ("1", "2"))
    for shown in (first, second):
        assert shown["inputs"] == len(inputs)
        assert shown["effects"] > len(inputs)
        assert shown["state_hash"] == recorder.core.state_hash()
        assert shown["effects_hash"] == recorder.effects_hash
        assert [row["equal"] for row in shown["checked"]] == [True]
    later = run_replay(tmp_path, "--from-checkpoint", hash_seed="3")
    assert later["state_hash"] == first["state_hash"]
    recorder.journal.close()


def test_a_replay_of_trading_is_fast_enough_in_small(tmp_path: Path) -> None:
    """The soak test below in small, with room for a busy machine: a rate that collapses shows here first."""
    made = make_journal(tmp_path, 30_000, 5_000)
    shown = run_replay(tmp_path)
    assert shown["state_hash"] == made.state_hash
    assert shown["events_per_s"] > 5_000


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_million_events_replay_within_a_minute_and_from_a_checkpoint_within_two_seconds(tmp_path: Path) -> None:
    made = make_journal(tmp_path, 1_000_000, 10_000)
    assert made.inputs >= 1_000_000
    whole = run_replay(tmp_path)
    later = run_replay(tmp_path, "--from-checkpoint")
    print(f"{whole}\n{later}")
    assert whole["state_hash"] == later["state_hash"] == made.state_hash
    assert restart_s(whole) < 60
    assert later["inputs"] >= 10_000 - 20
    assert restart_s(later) < 2
