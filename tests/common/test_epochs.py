"""Edge epochs grow with every start, whatever the clock does."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.epochs import load_peers, next_epoch, store_peers
from common.errors import ConfigError
from common.frames import Epoch


def test_every_start_is_newer_than_the_one_before_also_when_the_clock_went_back(tmp_path: Path) -> None:
    first = next_epoch(tmp_path, "gateway", 1000)
    second = next_epoch(tmp_path, "gateway", 500)
    third = next_epoch(tmp_path, "gateway", 2000)
    assert [first.n, second.n, third.n] == [1000, 1001, 2000]
    assert first.is_older_than(second)


def test_epochs_of_different_journals_are_never_older() -> None:
    assert not Epoch("a", 1).is_older_than(Epoch("b", 2))


def test_a_damaged_epoch_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "gateway.epoch").write_text("soon")
    with pytest.raises(ConfigError, match=r"gateway\.epoch"):
        next_epoch(tmp_path, "gateway", 1)


def test_peers_are_remembered(tmp_path: Path) -> None:
    assert load_peers(tmp_path, "gateway") == {}
    store_peers(tmp_path, "gateway", {"executor": Epoch("j", 3)})
    assert load_peers(tmp_path, "gateway") == {"executor": Epoch("j", 3)}


def test_a_damaged_peers_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "gateway.peers").write_text("{")
    with pytest.raises(ConfigError, match=r"gateway\.peers"):
        load_peers(tmp_path, "gateway")
