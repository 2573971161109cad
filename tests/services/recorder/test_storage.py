"""Files of a recorder: rotation, the limit of all, what is left behind, and trouble with the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common.durable import write_at
from common.recording import FRAME, Recording, open_recordings, rows_of
from services.recorder.storage import Files, Limits, Stopped
from tests.services.recorder.rows import HOUR_NS, LIMITS, T0, Tapes, beginning, frame


def noise(number: int, size: int = 40_000) -> bytes:
    """Bytes that do not compress."""
    return os.urandom(size - 8) + number.to_bytes(8, "big")


def payloads(folder: Path) -> list[bytes]:
    return [row.payload for row in rows_of(open_recordings([folder])) if row.kind == FRAME]


def test_the_file_being_written_says_so_by_its_name(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.write([frame(1)])
    (partial,) = tapes.names(".partial")
    assert partial.name == "frames-20231114T221320Z-1-000001.partial"
    tapes.files.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["frames-20231114T221320Z-1-000001.parquet"]


def test_a_large_file_is_finished_and_the_next_begins_with_the_scene(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path, Limits(100_000, 1 << 30, HOUR_NS))
    tapes.write(beginning())
    sent = [noise(number) for number in range(9)]
    for raw in sent:
        tapes.write([frame(1, raw)])
    tapes.files.finish()
    paths = tapes.names(".parquet")
    assert len(paths) == 3
    assert [Recording(path).header.preamble for path in paths] == [0, 2, 2]
    assert all(path.stat().st_size < 200_000 for path in paths)
    assert payloads(tmp_path) == sent


def test_an_old_file_is_finished_also_when_nothing_comes(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.write([frame(1)], mono_ns=5)
    tapes.files.tidy(5 + HOUR_NS - 1)
    assert tapes.files.finished == 0
    tapes.files.tidy(5 + HOUR_NS)
    assert tapes.files.finished == 1
    assert tapes.names(".partial") == []


def test_above_the_limit_the_oldest_go_and_never_the_one_being_written(tmp_path: Path) -> None:
    total = 300_000
    tapes = Tapes(tmp_path, Limits(100_000, total, HOUR_NS))
    for number in range(40):
        tapes.write([frame(number, noise(number))])
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= total
    last = tapes.names(".partial") or tapes.names(".parquet")[-1:]
    assert last[0] == max(tmp_path.iterdir())
    numbers = [int.from_bytes(raw[-8:], "big") for raw in payloads(tmp_path)]
    assert numbers == list(range(numbers[0], 40)), "the newest, without a hole"
    assert len(numbers) >= 3


def test_files_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_bytes(noise(1, 400_000))
    tapes = Tapes(tmp_path, Limits(50_000, 100_000, HOUR_NS))
    for number in range(10):
        tapes.write([frame(number, noise(number))])
    assert (tmp_path / "notes.parquet").exists()


def test_what_a_killed_writer_left_is_finished_by_the_next(tmp_path: Path) -> None:
    killed = Tapes(tmp_path)
    killed.write([*beginning(), frame(1)])
    (tmp_path / "frames-20231114T221320Z-1-000001.tmp").write_bytes(b"half a Parquet file")
    Tapes(tmp_path, run=2)
    (path,) = tmp_path.iterdir()
    recording = Recording(path)
    assert recording.header.recovered
    assert [row.payload for row in recording.rows() if row.kind == FRAME] == [b"frame 1"]


def test_a_leftover_without_rows_goes_and_garbage_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "frames-20231114T221320Z-1-000001.partial").write_bytes(b"")
    (tmp_path / "frames-20231114T221320Z-1-000002.partial").write_bytes(b"garbage" * 100)
    tapes = Tapes(tmp_path, run=2)
    assert [path.name for path in tmp_path.iterdir()] == ["frames-20231114T221320Z-1-000002.unreadable"]
    assert tapes.files.unreadable == 1


def test_a_failed_write_leaves_nothing_and_the_same_rows_go_into_the_next_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tapes = Tapes(tmp_path)
    tapes.write([*beginning(), frame(1)])
    full = True

    def half_then_full(fd: int, data: bytes, offset: int) -> None:
        if full:
            write_at(fd, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        write_at(fd, data, offset)

    monkeypatch.setattr("services.recorder.storage.write_at", half_then_full)
    with pytest.raises(OSError, match="No space"):
        tapes.write([frame(2)])
    tapes.files.abandon()
    full = False
    tapes.write([frame(2)])
    tapes.write([frame(3)])
    tapes.files.finish()
    assert payloads(tmp_path) == [b"frame 1", b"frame 2", b"frame 3"]
    assert [Recording(path).header.preamble for path in tapes.names(".parquet")] == [0, 2]


def test_finishing_that_takes_too_long_is_left_to_the_next_start(tmp_path: Path) -> None:
    stopping = Files(tmp_path, 1, LIMITS, lambda: True)
    stopping.recover()
    stopping.write(list, [frame(1)], T0, 0)
    with pytest.raises(Stopped):
        stopping.finish()
    assert [path.suffix for path in tmp_path.iterdir()] == [".partial"]
    Tapes(tmp_path, run=2)
    assert payloads(tmp_path) == [b"frame 1"]


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path / "recordings")
    tapes.write([frame(1)])
    assert (tmp_path / "recordings").stat().st_mode & 0o077 == 0
    assert tapes.names(".partial")[0].stat().st_mode & 0o077 == 0
