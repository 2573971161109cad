"""Replaying records through a core: what is hashed, what is refused; the `replay` mode of a heart's program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from common.effects import Core, Now, Origin
from common.errors import ExitCode, JournalError
from common.journal import Journal
from common.journal_files import Record
from common.messages import Deposit, Message
from common.rerun import Rerun, main
from common.step import Step
from tests.process.toy_heart import ToyCore


def record(core: Core, index: int, *messages: Message) -> Record:
    step = Step(core, Now(index, index))
    for message in messages:
        step.take(message, Origin("cli"))
    return Record(index, step.record())


def replayed(*records: Record) -> Rerun:
    run = Rerun(ToyCore())
    for row in records:
        run.feed(row)
    return run


DEPOSIT = Deposit("c-1", "alice", "", 5)


def test_the_same_records_give_the_same_hashes() -> None:
    rows = [record(ToyCore(), 1, DEPOSIT), record(ToyCore(), 2, Deposit("c-2", "alice", "", 7))]
    first, second = replayed(*rows), replayed(*rows)
    assert (first.inputs, first.effects) == (2, 4)
    assert (first.state_hash(), first.effects_hash) == (second.state_hash(), second.effects_hash)


def test_other_effects_give_another_hash_although_the_state_is_the_same() -> None:
    once = replayed(record(ToyCore(), 1, DEPOSIT))
    twice = replayed(record(ToyCore(), 1, DEPOSIT), record(ToyCore(), 2, DEPOSIT))
    assert once.state_hash() == twice.state_hash()
    assert once.effects_hash != twice.effects_hash


def test_a_record_of_another_version_is_named() -> None:
    with pytest.raises(JournalError, match="record 7 is of another version"):
        replayed(Record(7, b"\xc1"))


@pytest.fixture
def heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The replay mode of a toy's program over a journal of two records."""
    monkeypatch.setenv("POLYEXEC_PATHS__DATA_DIR", str(tmp_path))
    monkeypatch.setattr("common.rerun.freeze_collector", lambda: None)  # this process lives on
    folder = tmp_path / "toy" / "journal"
    folder.parent.mkdir()
    journal = Journal.open(folder, segment_bytes=16 << 10)
    core = ToyCore()
    for index in (1, 2):
        journal.append(record(core, index, Deposit(f"c-{index}", "alice", "", 5)).payload)
    journal.close()

    def run(*words: str) -> tuple[int, Any]:
        code = main("toy", lambda _settings: ToyCore(), words)
        return code, json.loads(capsys.readouterr().out)

    return run


def test_one_line_of_json_says_what_it_came_to(heart: Any) -> None:
    code, shown = heart("--until", "1")
    assert (code, shown["process"], shown["inputs"], shown["records"]) == (ExitCode.OK, "toy", 1, 1)


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["--until", "3"], ExitCode.JOURNAL, "holds records 1 to 2"),
        (["--until", "x"], ExitCode.REFUSED, "--until"),
        (["--loudly"], ExitCode.REFUSED, "--loudly"),
        (["--check"], ExitCode.JOURNAL, "nothing to compare with"),
        (["--from-checkpoint"], ExitCode.JOURNAL, "there is no checkpoint"),
    ],
)
def test_what_cannot_be_done_is_an_error_object(heart: Any, words: list[str], code: ExitCode, named: str) -> None:
    ended, shown = heart(*words)
    assert ended == code
    assert named in shown["error"]["message"]
