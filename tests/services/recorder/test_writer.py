"""The writer's thread: flushing by time and by size, trouble with the disk, the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Thread

from common.recording import FRAME, GAP, open_recordings, rows_of
from common.settings import Recorder
from services.recorder.writer import Writer
from tests.services.recorder.rows import T0, feed_frame, listed, opened

DEADLINE_S = 10.0


@contextmanager
def running(folder: Path, **keys: int) -> Iterator[Writer]:
    writer = Writer(Recorder(**keys), folder, 1, Random(1))  # type: ignore[arg-type]
    thread = Thread(target=writer.run)
    thread.start()
    try:
        writer.put(lambda tape: tape.on_markets([listed()], T0))
        writer.put(lambda tape: tape.on_frames_snapshot([opened()], T0))
        yield writer
    finally:
        writer.stop(DEADLINE_S)
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def send(writer: Writer, *numbers: int) -> None:
    for number in numbers:
        message = feed_frame(number)
        writer.put(lambda tape, message=message: tape.on_frames(message, T0))  # type: ignore[misc]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def recorded(folder: Path) -> list[bytes]:
    return [row.payload for row in rows_of(open_recordings([folder])) if row.kind == FRAME]


def test_what_waits_is_on_disk_after_flush_s(tmp_path: Path) -> None:
    with running(tmp_path / "r", flush_s=1) as writer:
        send(writer, 1, 2)
        until(lambda: writer.counters()["frames_recorded"] == 2)
        assert recorded(tmp_path / "r") == [b"frame 1", b"frame 2"]
        assert writer.counters()["bytes_written"] > 0


def test_a_quarter_of_the_queue_is_written_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "r", flush_s=300, queue_max=100) as writer:
        send(writer, *range(40))
        until(lambda: writer.counters()["frames_recorded"] >= 25)


def test_the_end_writes_what_waits_and_finishes_the_file(tmp_path: Path) -> None:
    with running(tmp_path / "r", flush_s=300) as writer:
        send(writer, 1, 2, 3)
    assert [path.suffix for path in (tmp_path / "r").iterdir()] == [".parquet"]
    assert recorded(tmp_path / "r") == [b"frame 1", b"frame 2", b"frame 3"]
    assert writer.counters()["files"] == 1


def test_trouble_is_told_and_mended_trouble_costs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.write_text("a file where the folder should be")
    with running(folder, flush_s=1) as writer:
        until(lambda: writer.trouble != "")
        assert str(folder) in writer.trouble
        assert "recording pauses" in writer.trouble
        send(writer, 1, 2)
        folder.unlink()
        until(lambda: writer.counters()["frames_recorded"] == 2)
        assert writer.trouble == ""
    assert recorded(folder) == [b"frame 1", b"frame 2"]


def test_what_does_not_fit_while_the_disk_is_away_becomes_a_gap(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.write_text("a file where the folder should be")
    with running(folder, flush_s=1, queue_max=100) as writer:
        until(lambda: writer.trouble != "")
        send(writer, *range(500))
        assert writer.counters()["rows_waiting"] <= 201, "the queue, and one queue taken to be written"
        folder.unlink()
        until(writer.take_wish)
        writer.put(lambda tape: tape.on_frames_snapshot([opened()], T0))
        send(writer, 1000)
        until(lambda: writer.counters()["rows_waiting"] == 0)
    kinds = [row.kind for row in rows_of(open_recordings([folder]))]
    lost = writer.counters()["frames_lost"]
    assert kinds.count(GAP) == writer.counters()["gaps"] == 1
    assert kinds.count(FRAME) == 501 - lost
    assert recorded(folder)[-1] == b"frame 1000"
