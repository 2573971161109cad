"""`python -m services.market_data.replay`: what it prints, how it paces, and what it refuses in one line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from common.errors import ExitCode
from services.market_data.replay import main
from tests.services.market_data.test_recorded import BEGINNING, moved, whole
from tests.services.recorder.rows import T0, Tapes, finished, frame

RUN = (*BEGINNING, whole(1), moved(2, 44, 7), whole(300, "1002"))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (path,) = finished(tmp_path / "recordings", RUN)
    return path


def replay(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


def test_json_names_every_token_and_the_totals(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = replay(capsys, str(recording), "--speed=max", "--json")
    shown = json.loads(out)
    assert (code, err) == (ExitCode.OK, "")
    assert (shown["frames"], shown["unreadable"], shown["gaps"]) == (3, 0, 0)
    up = shown["tokens"][0]
    assert (up["outcome"], up["state"], up["best_bid"], up["best_ask"]) == ("Up", "LIVE", "0.45", "0.47")
    assert (up["bid_levels"], up["deltas"], len(up["hash"])) == (2, 1, 32)


def test_text_is_a_table_with_the_totals(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = replay(capsys, str(recording), "--speed=max")
    lines = out.splitlines()
    assert code == ExitCode.OK
    assert lines[0].split()[:3] == ["MARKET", "OUTCOME", "STATE"]
    assert lines[1].split()[:5] == ["market-1", "Up", "LIVE", "0.45", "0.47"]
    assert "3 frames (0 unreadable), 0 gaps" in lines[3]


def test_the_speed_changes_the_time_and_nothing_else(recording: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last frame is 0.3 s behind the first, the last look 0.05 s behind that."""
    began = time.monotonic()
    paced = replay(capsys, str(recording), "--json")
    took_s = time.monotonic() - began
    assert took_s >= 0.34
    assert replay(capsys, str(recording), "--json", "--speed=max") == paced
    assert replay(capsys, str(recording.parent), "--json", "--speed", "5") == paced


def test_a_recording_in_two_files_comes_to_the_same_books(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path / "one", RUN)
    finished(tmp_path / "two", RUN[:3], RUN[3:])
    one, two = (json.loads(replay(capsys, str(tmp_path / name), "--json", "--speed=max")[1]) for name in ("one", "two"))
    assert (one["tokens"], one["frames"]) == (two["tokens"], two["frames"])
    assert two["gaps"] == 0


def test_one_market_can_be_picked_and_one_that_is_not_there_is_refused(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(capsys, str(recording), "--speed=max", "--market", "number 1")[0] == ExitCode.OK
    code, out, err = replay(capsys, str(recording), "--speed=max", "--market", "weather")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert err == "error: no market of the recording has 'weather' in its slug, question or ids [UNKNOWN_MARKET]\n"


def html(path: Path) -> None:
    path.write_text("<html>404</html>")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(("spoil", "said"), [(html, "not a Parquet file"), (cut, "truncated"), (gone, "is not there")])
def test_a_file_that_cannot_be_replayed_is_one_line(
    recording: Path, capsys: pytest.CaptureFixture[str], spoil: object, said: str
) -> None:
    assert callable(spoil)
    spoil(recording)
    code, out, err = replay(capsys, str(recording), "--speed=max")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert err.endswith("[BAD_RECORDING]\n")
    code, out, err = replay(capsys, str(recording), "--json")
    assert (code, err) == (ExitCode.REFUSED, "")
    assert json.loads(out)["error"]["code"] == "BAD_RECORDING"


def test_a_row_that_cannot_be_read_names_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tapes = Tapes(tmp_path)
    tapes.files.write(list, [*BEGINNING, frame(1)._replace(kind="LOST")], T0, 0)
    tapes.files.finish()
    code, out, err = replay(capsys, str(tmp_path), "--speed=max")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert str(tapes.names(".parquet")[0]) in err
    assert "row 3 (LOST)" in err


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "fast", "1e9", ""])
def test_a_speed_that_is_none_is_refused(recording: Path, capsys: pytest.CaptureFixture[str], speed: str) -> None:
    code, _, err = replay(capsys, str(recording), f"--speed={speed}")
    assert code == ExitCode.REFUSED
    assert "neither max nor a number" in err


def test_words_it_does_not_know_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = replay(capsys, "--loud")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert len(err.splitlines()) == 1
