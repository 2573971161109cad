"""The watch list's file: what survives, and what is never written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import Refusal
from services.market_data import storage
from services.market_data.storage import BYTES_MAX, NAME, WatchFile
from services.market_data.watchlist import ENTRIES_MAX, Saved

SAVED = Saved(watched=("btc-15m-1", "query:eth up", "ü"), unwatched=("*",))


def test_what_was_stored_is_loaded_after_a_restart(tmp_path: Path) -> None:
    WatchFile(tmp_path).store(SAVED)

    again = WatchFile(tmp_path)

    assert again.load() == SAVED
    assert again.problem == ""
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_no_file_is_an_empty_list(tmp_path: Path) -> None:
    file = WatchFile(tmp_path)

    assert file.load() == Saved()
    assert file.problem == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not a watch list"),
        (b"\x00\xff", "is not a watch list"),
        (b"<html>", "is not a watch list"),
        (b'{"version":1,"watched":["a"]', "is not a watch list"),
        (b"[]", "is not a watch list"),
        (b'{"version":1,"watched":["a"],"unwatched":[7]}', "is not a watch list"),
        (b'{"version":1,"watched":["\xff"],"unwatched":[]}', "is not a watch list"),
        (b'{"version":1,"watched":[],"unwatched":[],"more":1}', "is not a watch list"),
        (b'{"version":2,"watched":[],"unwatched":[]}', "is of version 2, not 1"),
        (b'{"version":1,"watched":[%s"x"],"unwatched":[]}' % (b'"x",' * ENTRIES_MAX), "more than 1000 entries"),
        (b" " * (BYTES_MAX + 1), "is larger than"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line_and_left_as_it_is(
    tmp_path: Path, content: bytes, why: str
) -> None:
    (tmp_path / NAME).write_bytes(content)
    file = WatchFile(tmp_path)

    assert file.load() == Saved()
    assert why in file.problem
    assert str(tmp_path / NAME) in file.problem
    assert "scripts/restart.sh market_data" in file.problem
    assert "\n" not in file.problem
    with pytest.raises(Refusal, match="only the settings' entries are followed"):
        file.store(SAVED)
    assert (tmp_path / NAME).read_bytes() == content


def test_a_folder_in_its_place_is_told_too(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    file = WatchFile(tmp_path)

    file.load()

    assert "cannot be read (Is a directory)" in file.problem


def test_a_bad_file_that_was_moved_away_can_be_stored_anew(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"?")
    file = WatchFile(tmp_path)
    file.load()
    (tmp_path / NAME).rename(tmp_path / "aside")

    file.store(SAVED)

    assert file.problem == ""
    assert WatchFile(tmp_path).load() == SAVED


def test_a_disk_that_takes_nothing_refuses_the_command_and_keeps_the_old_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = WatchFile(tmp_path)
    file.store(SAVED)

    def full(_path: Path, _parts: list[bytes]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "replace_file", full)
    with pytest.raises(Refusal, match=r"cannot be written \(No space left on device\): nothing was changed"):
        file.store(Saved())
    assert file.load() == SAVED
