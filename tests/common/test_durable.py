"""Writing that has reached the disk: short writes are continued, a failed replacement leaves the old file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common.durable import replace_file, write_at


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write_at(fd, b"eleven bytes", 5)
    os.close(fd)
    assert (tmp_path / "file").read_bytes() == bytes(5) + b"eleven bytes"


def test_a_file_that_takes_nothing_is_an_error_not_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: 0)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    with pytest.raises(OSError, match="takes no more"):
        write_at(fd, b"x", 0)
    os.close(fd)


def test_a_replaced_file_holds_all_parts(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", (b"one ", b"", b"two"))
    replace_file(tmp_path / "file", (b"three ", b"four"))
    assert (tmp_path / "file").read_bytes() == b"three four"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_failed_replacement_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    replace_file(tmp_path / "file", (b"old",))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="no space"):
        replace_file(tmp_path / "file", (b"new",))
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
