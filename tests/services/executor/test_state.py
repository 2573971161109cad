from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from common.effects import Now
from common.messages import decode, encode
from common.step import Step, replay
from services.executor.core import ExecutorCore
from services.executor.state import VERSION, dump_state, load_state
from tests.services.executor.driver import Driver
from tests.services.executor.lying_venue import LyingVenue
from tests.services.executor.test_desk import run_seed

ROOT = Path(__file__).resolve().parents[3]

PROGRAM = """
import hashlib, msgspec
from tests.services.executor.test_desk import run_seed
for seed in (3, 11):
    venue = run_seed(seed)
    effects = hashlib.blake2b(msgspec.msgpack.encode(venue.driver.all)).hexdigest()
    print(venue.driver.core.state_hash(), effects, len(venue.driver.all))
"""


def _in_a_process(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_state_and_effects_do_not_depend_on_the_hash_seed() -> None:
    """Two processes with different string hashes handle the same inputs to the same bytes."""
    first = _in_a_process("1")

    assert len(first.split()) == 6
    assert first == _in_a_process("2")


def test_a_replay_of_the_journal_gives_the_same_state() -> None:
    driver = Driver()
    venue = LyingVenue(driver, 5)
    for number in range(30):
        driver.place(f"id-{number}")
        venue.collect()
        venue.serve()
        venue.deliver_news()
        venue.pass_time(100)
    records = []
    scratch = ExecutorCore()
    for message, origin, now in driver.inputs:
        step = Step(scratch, now)
        step.take(message, origin)
        records.append(step.record())

    core = ExecutorCore()
    last, inputs = replay(core, records)

    assert core.state_hash() == driver.core.state_hash()
    assert (last, inputs) == (Now(*driver.inputs[-1][2]), len(driver.inputs))


@pytest.mark.parametrize("seed", range(5))
def test_a_loaded_state_is_the_dumped_one_and_goes_on_alike(seed: int) -> None:
    """From a checkpoint anywhere in a run, the same later inputs give the same effects."""
    driver = run_seed(seed).driver
    cut = len(driver.inputs) // 2
    whole, loaded = ExecutorCore(), ExecutorCore()
    for message, origin, now in driver.inputs[:cut]:
        whole.handle(message, origin, now)

    loaded.load(whole.dump())

    assert loaded.dump() == whole.dump()
    for message, origin, now in driver.inputs[cut:]:
        assert loaded.handle(message, origin, now) == whole.handle(message, origin, now)
    assert loaded.dump() == whole.dump()
    assert loaded.due_ns() == whole.due_ns()
    assert loaded.counters() == whole.counters()


def test_messages_of_a_run_survive_the_journal_format() -> None:
    for message, _, _ in run_seed(2).driver.inputs:
        assert decode(encode(message)) == message


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", msgspec.msgpack.encode({"version": 1})])
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        load_state(data)


def test_a_state_of_another_version_is_refused() -> None:
    rows = msgspec.msgpack.decode(dump_state(Driver().core.desk))
    rows[0] = VERSION + 1

    with pytest.raises(msgspec.DecodeError, match="version"):
        load_state(msgspec.msgpack.encode(rows))
