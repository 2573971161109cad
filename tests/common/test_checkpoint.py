"""Checkpoints: whole or passed over, newest first, never of another journal; written by a child that owns nothing."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.checkpoint import fork_checkpoint, load_checkpoint, reap, write_checkpoint
from common.errors import ExitCode, JournalCorrupt, JournalError
from common.journal import Journal

ID = "0123456789abcdef"
CHAIN = bytes(range(16))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_written_is_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, ID) is None


@given(st.binary(max_size=5000), st.integers(0, 2**63), st.binary(min_size=16, max_size=16))
def test_what_was_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes, index: int, chain: bytes
) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, index, chain, ID, payload)
    assert load_checkpoint(folder, ID) == (index, chain, ID, payload, ())


def test_the_two_newest_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    for index in (5, 90, 1000):
        write_checkpoint(tmp_path, index, CHAIN, ID, b"state %d" % index)
    assert _names(tmp_path) == [f"checkpoint-{index:020d}.ckpt" for index in (90, 1000)]
    found = load_checkpoint(tmp_path, ID)
    assert found is not None
    assert (found.index, found.payload, found.warnings) == (1000, b"state 1000", ())


def test_the_one_just_written_always_stays(tmp_path: Path) -> None:
    for index in (50, 60, 7):
        write_checkpoint(tmp_path, index, CHAIN, ID, b"")
    assert _names(tmp_path) == [f"checkpoint-{index:020d}.ckpt" for index in (7, 60)]


@given(st.data())
def test_any_flipped_byte_falls_back_to_the_one_before_and_says_so(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, 1, CHAIN, ID, b"older")
    path = write_checkpoint(folder, 2, CHAIN, ID, b"newer state")
    contents = bytearray(path.read_bytes())
    contents[data.draw(st.integers(0, len(contents) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(contents)
    found = load_checkpoint(folder, ID)
    assert found is not None
    assert (found.index, found.payload) == (1, b"older")
    assert len(found.warnings) == 1
    assert path.name in found.warnings[0]


def test_a_file_cut_short_anywhere_falls_back(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, CHAIN, ID, b"older")
    path = write_checkpoint(tmp_path, 2, CHAIN, ID, b"newer")
    contents = path.read_bytes()
    for length in range(len(contents)):
        path.write_bytes(contents[:length])
        found = load_checkpoint(tmp_path, ID)
        assert found is not None
        assert found.index == 1


def test_when_none_is_whole_the_start_is_refused(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, 3, CHAIN, ID, b"state")
    path.write_bytes(b"rubbish")
    with pytest.raises(JournalCorrupt, match=path.name):
        load_checkpoint(tmp_path, ID)


def test_one_of_another_journal_is_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 3, CHAIN, "ffffffffffffffff", b"state")
    with pytest.raises(JournalError, match=f"belongs to journal ffffffffffffffff, this one is {ID}"):
        load_checkpoint(tmp_path, ID)


def test_a_full_disk_leaves_the_older_ones_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, 1, CHAIN, ID, b"older")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(JournalError, match="no space"):
        write_checkpoint(tmp_path, 2, CHAIN, ID, b"newer")
    monkeypatch.undo()
    assert _names(tmp_path) == [f"checkpoint-{1:020d}.ckpt"]


def test_what_a_killed_writer_left_is_ignored_and_removed_by_the_next(tmp_path: Path) -> None:
    leftover = tmp_path / f"checkpoint-{9:020d}.ckpt.4242.tmp"
    leftover.write_bytes(b"half a check")
    assert load_checkpoint(tmp_path, ID) is None
    write_checkpoint(tmp_path, 1, CHAIN, ID, b"state")
    assert not leftover.exists()


def _wait(pid: int) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        code = reap(pid)
        if code is not None:
            return code
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the child did not end in 30 s")


def test_a_child_writes_while_the_parent_goes_on(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()

    def write() -> None:
        os.read(read_end, 1)
        write_checkpoint(tmp_path, 4, CHAIN, ID, b"from the child")

    pid = fork_checkpoint(write, [])
    assert reap(pid) is None
    os.write(write_end, b"x")
    assert _wait(pid) == ExitCode.OK
    found = load_checkpoint(tmp_path, ID)
    assert found is not None
    assert found.payload == b"from the child"
    os.close(read_end)
    os.close(write_end)


def test_a_running_child_does_not_hold_the_journal_lock(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", segment_bytes=8192)
    read_end, write_end = os.pipe()
    pid = fork_checkpoint(lambda: _wait_for_byte(read_end), [journal.lock_fd, write_end])
    os.close(read_end)
    journal.close()
    try:
        deadline = time.monotonic() + 10
        while _holds(pid, tmp_path / "journal"):
            assert time.monotonic() < deadline
        Journal.open(tmp_path / "journal", segment_bytes=8192).close()
        assert reap(pid) is None
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(write_end)
        code = _wait(pid)
    assert code == ExitCode.OK


def _wait_for_byte(fd: int) -> None:
    os.read(fd, 1)


def _holds(pid: int, folder: Path) -> bool:
    with suppress(FileNotFoundError):  # a descriptor closed while we look
        return any(os.readlink(entry) == str(folder) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return True


def _bug() -> None:
    raise ZeroDivisionError


def _refused() -> None:
    raise JournalError("no space")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("write", "code", "said"),
    [(_bug, ExitCode.BUG, "ZeroDivisionError"), (_refused, ExitCode.JOURNAL, "no space"), (_die, -9, "")],
)
def test_the_exit_code_says_how_the_child_ended(
    capfd: pytest.CaptureFixture[str], write: Callable[[], None], code: int, said: str
) -> None:
    assert _wait(fork_checkpoint(write, [])) == code
    assert said in capfd.readouterr().err


def test_the_child_runs_no_exit_handlers_and_dies_on_sigterm(tmp_path: Path) -> None:
    atexit.register(_leave_mark, tmp_path / "mark")
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert _wait(fork_checkpoint(lambda: None, [])) == 0
        assert not (tmp_path / "mark").exists()
        assert _wait(fork_checkpoint(lambda: os.kill(os.getpid(), signal.SIGTERM), [])) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
        atexit.unregister(_leave_mark)


def _leave_mark(path: Path) -> None:
    path.touch()
