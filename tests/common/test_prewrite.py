"""Helper threads of the journal: segments made ahead, removed in order, errors kept for the caller."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common import prewrite
from common.prewrite import Prewriter, Remover, fill_segment


def _never() -> bool:
    return False


def test_a_filled_segment_is_written_not_sparse(tmp_path: Path) -> None:
    fill_segment(tmp_path / "1.seg", 300_000, b"head")
    stat = (tmp_path / "1.seg").stat()
    assert stat.st_size == 300_000
    assert stat.st_blocks * 512 >= 300_000
    assert (tmp_path / "1.seg").read_bytes() == b"head" + bytes(299_996)


def test_filling_that_is_given_up_leaves_no_segment(tmp_path: Path) -> None:
    fill_segment(tmp_path / "1.seg", 300_000, b"", lambda: True)
    assert not (tmp_path / "1.seg").exists()


def test_finish_ends_the_pauses_and_reports_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prewrite, "_PAUSE_S", 3600.0)
    writer = Prewriter(300_000, _never)
    writer.order(tmp_path / "1.seg")
    assert writer.finish() is True
    assert (tmp_path / "1.seg").stat().st_size == 300_000
    assert writer.finish() is False


def test_an_urgent_segment_is_filled_without_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prewrite, "_PAUSE_S", 3600.0)
    writer = Prewriter(600_000, lambda: True)
    writer.order(tmp_path / "1.seg")
    assert writer._thread is not None
    writer._thread.join(timeout=30)
    assert (tmp_path / "1.seg").stat().st_size == 600_000


def test_stop_gives_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prewrite, "_PAUSE_S", 3600.0)
    writer = Prewriter(300_000, _never)
    writer.order(tmp_path / "1.seg")
    writer.stop()
    assert not (tmp_path / "1.seg").exists()


def test_a_full_disk_is_kept_as_error_and_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "pwrite", full)
    writer = Prewriter(300_000, _never)
    writer.order(tmp_path / "1.seg")
    with pytest.raises(OSError, match="no space"):
        writer.finish()
    assert "no space" in str(writer.error)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert writer.finish() is True
    assert writer.error is None
    assert (tmp_path / "1.seg").exists()


def test_removal_goes_in_order_and_stops_at_the_first_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{number}.seg" for number in range(4)]
    for path in paths:
        path.touch()
    real = Path.unlink

    def stubborn(self: Path, missing_ok: bool = False) -> None:
        if self == paths[1]:
            raise OSError(errno.EPERM, "not permitted")
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", stubborn)
    remover = Remover()
    remover.remove(paths[:2])
    remover.remove(paths[2:3])
    remover.finish()
    assert [path.exists() for path in paths] == [False, True, True, True]
    assert "not permitted" in str(remover.error)
    monkeypatch.undo()
    remover.remove(paths[3:])
    remover.finish()
    assert remover.error is None
    assert list(tmp_path.iterdir()) == []
