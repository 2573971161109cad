"""`polyexec journal` on real files: what it says of sound, torn, damaged and growing ones, and its exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.checkpoint import write_checkpoint
from common.errors import ExitCode
from common.heart import Saved
from common.journal import Journal
from common.segment import HEADER_BYTES, RECORD_OVERHEAD
from common.settings import ROOT
from scripts.bench.trading import Trading
from services.cli.commands import main

SEGMENT_BYTES = 32 << 10
INPUTS = 600

Cli = Callable[..., tuple[int, Any]]


class Made:
    """An executor's folder with a journal of several segments and two checkpoints."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "executor"
        self.folder.mkdir(mode=0o700, parents=True)
        self.trading = Trading(3)
        self.journal = Journal.open(self.folder / "journal", segment_bytes=SEGMENT_BYTES)
        self.offsets = [0]
        """Where each record begins in its segment, by index."""
        for record in self.trading.records(INPUTS):
            self.append(record)
            if self.journal.last_index in (20, 40):
                self.checkpoint()

    def append(self, record: bytes) -> None:
        before = self.journal.segment_count
        at = self._end
        self.journal.append(record)
        self.offsets.append(at if self.journal.segment_count == before else HEADER_BYTES)

    @property
    def _end(self) -> int:
        return self.journal._offset

    def checkpoint(self, state: bytes = b"") -> Path:
        journal = self.journal
        saved = Saved(*self.trading.now, "", state or self.trading.core.dump())
        payload = msgspec.msgpack.encode(saved)
        return write_checkpoint(self.folder, journal.last_index, journal.last_hash, journal.journal_id, payload)

    def segment(self, number: int) -> Path:
        return self.folder / "journal" / f"{number:010d}.seg"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("POLYEXEC_PATHS__DATA_DIR", str(tmp_path))

    def run(*words: str) -> tuple[int, Any]:
        code = main(["journal", *words, "--json"])
        lines = capsys.readouterr().out.splitlines()
        return code, [json.loads(line) for line in lines] if words[0] == "tail" else json.loads(lines[0])

    return run


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- verify ---


def test_a_sound_journal_is_counted(made: Made, cli: Cli) -> None:
    code, shown = cli("verify")
    assert code == ExitCode.OK
    assert (shown["first_index"], shown["last_index"]) == (1, made.journal.last_index)
    assert (shown["records"], shown["segments"]) == (made.journal.last_index, made.journal.segment_count)
    assert shown["segments"] > 2
    assert (shown["torn_bytes"], shown["checkpoints"], shown["sound"]) == (0, [40, 20], True)


def test_nothing_is_locked_written_or_changed(made: Made, cli: Cli) -> None:
    """The journal is open, and so locked, in this process all the while."""
    before = _bytes_of(made.folder)
    assert [cli(word)[0] for word in ("verify", "tail", "replay")] == [ExitCode.OK] * 3
    assert _bytes_of(made.folder) == before
    made.append(made.trading.step())
    assert cli("verify")[1]["last_index"] == made.journal.last_index


# Where in a record: its checksum, length, marker, index, chain hash, and the first and a later byte of its payload.
PLACES = [0, 4, 8, 12, 20, RECORD_OVERHEAD, RECORD_OVERHEAD + 30]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("record", [1, 2, 35, -2])
def test_a_flipped_byte_of_a_record_is_named(made: Made, cli: Cli, record: int, place: int) -> None:
    index = record if record > 0 else made.journal.last_index + 1 + record
    path = next(
        segment.path for segment in reversed(made.journal._segments) if segment.header.first_index <= index
    )  # fmt: skip
    flip(path, made.offsets[index] + place)
    code, shown = cli("verify")
    error = shown["error"]
    assert (code, error["code"]) == (ExitCode.JOURNAL, "JOURNAL_CORRUPT")
    assert (error["file"], error["offset"], error["record"]) == (path.name, made.offsets[index], index)
    assert path.name in error["message"]


@pytest.mark.parametrize("place", [0, 4, 12, 16, 32, 40, 48, HEADER_BYTES - 1])
@pytest.mark.parametrize("number", [1, 2])
def test_a_flipped_byte_of_a_segment_header_is_named(made: Made, cli: Cli, number: int, place: int) -> None:
    flip(made.segment(number), place)
    code, shown = cli("verify")
    assert (code, shown["error"]["code"]) == (ExitCode.JOURNAL, "JOURNAL_CORRUPT")
    assert shown["error"]["file"] == made.segment(number).name


def test_a_flipped_byte_in_the_file_of_starts_is_named(made: Made, cli: Cli) -> None:
    flip(made.folder / "journal" / "starts", 30)
    code, shown = cli("verify")
    assert (code, shown["error"]["file"]) == (ExitCode.JOURNAL, "starts")


def test_a_missing_segment_is_named(made: Made, cli: Cli) -> None:
    made.segment(2).unlink()
    code, shown = cli("verify")
    assert code == ExitCode.JOURNAL
    assert "0000000003.seg" in shown["error"]["message"]


def test_two_swapped_segments_are_damage(made: Made, cli: Cli, tmp_path: Path) -> None:
    shutil.copy(made.segment(1), tmp_path / "aside")
    shutil.copy(made.segment(2), made.segment(1))
    shutil.copy(tmp_path / "aside", made.segment(2))
    assert cli("verify")[0] == ExitCode.JOURNAL


def test_a_record_that_is_being_written_is_no_error(made: Made, cli: Cli) -> None:
    path, at = made.segment(made.journal.segment_count), made._end
    data = bytearray(path.read_bytes())
    data[at : at + 10] = b"unfinished"
    path.write_bytes(data)
    code, shown = cli("verify")
    assert (code, shown["torn_bytes"], shown["last_index"]) == (ExitCode.OK, 10, made.journal.last_index)
    assert cli("tail")[0] == cli("replay")[0] == ExitCode.OK


def test_a_damaged_checkpoint_is_named(made: Made, cli: Cli) -> None:
    flip(made.folder / f"checkpoint-{40:020d}.ckpt", 200)
    code, shown = cli("verify")
    assert (code, shown["error"]["code"]) == (ExitCode.JOURNAL, "CHECKPOINT_UNSOUND")
    assert f"checkpoint-{40:020d}.ckpt" in shown["error"]["message"]


def test_a_checkpoint_of_another_chain_is_named(made: Made, cli: Cli) -> None:
    write_checkpoint(made.folder, 40, bytes(16), made.journal.journal_id, b"")
    code, shown = cli("verify")
    assert code == ExitCode.JOURNAL
    assert "record 40 was made on another chain" in shown["error"]["message"]


def test_a_checkpoint_ahead_of_the_journal_is_named(made: Made, cli: Cli) -> None:
    write_checkpoint(made.folder, 10_000, bytes(16), made.journal.journal_id, b"")
    assert "ahead of the journal" in cli("verify")[1]["error"]["message"]


def test_no_journal_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLYEXEC_PATHS__DATA_DIR", str(tmp_path))
    assert main(["journal", "verify", "--process", "exchange"]) == ExitCode.JOURNAL
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "there is no journal yet" in said.err


def test_a_journal_that_grows_and_rolls_is_never_called_damaged(made: Made, tmp_path: Path) -> None:
    """A child verifies over and over while records are appended through a dozen segments."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom common.journal_reader import audit\nlast = 0\n"
        "for line in sys.stdin:\n    found = audit(Path(sys.argv[1])).survey.last_index\n"
        "    assert found >= last, (found, last)\n    last = found\n    print(last, flush=True)\n"
    )
    command = [sys.executable, "-c", script, str(made.folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        wanted = made.journal.segment_count + 12
        while made.journal.segment_count < wanted:
            child.stdin.write("look\n")
            child.stdin.flush()
            for _ in range(40):
                made.append(made.trading.step())
            assert int(child.stdout.readline()) <= made.journal.last_index
        child.stdin.close()
        assert child.wait(30) == 0


# --- replay ---


def test_a_replay_comes_to_the_state_of_the_run(made: Made, cli: Cli) -> None:
    code, shown = cli("replay", "--check")
    assert code == ExitCode.OK
    assert shown["state_hash"] == made.trading.core.state_hash()
    assert (shown["after_index"], shown["last_index"]) == (0, made.journal.last_index)
    assert shown["inputs"] == made.trading.inputs
    assert [(row["index"], row["equal"]) for row in shown["checked"]] == [(20, True), (40, True)]


def test_a_replay_from_the_checkpoint_comes_to_the_same_state(made: Made, cli: Cli) -> None:
    code, shown = cli("replay", "--from-checkpoint")
    assert (code, shown["after_index"]) == (ExitCode.OK, 40)
    assert shown["state_hash"] == made.trading.core.state_hash()


def test_a_replay_can_stop_early_and_begin_at_an_older_checkpoint(made: Made, cli: Cli) -> None:
    whole = cli("replay", "--until", "30")[1]
    later = cli("replay", "--from-checkpoint", "--until", "30")[1]
    assert (whole["after_index"], later["after_index"]) == (0, 20)
    assert whole["state_hash"] == later["state_hash"] != made.trading.core.state_hash()


def test_a_replay_without_the_first_records_begins_at_the_oldest_checkpoint(made: Made, cli: Cli) -> None:
    first = made.journal._segments[1].header.first_index
    assert first - 1 <= 40
    while made.journal._segments[1].header.first_index - 1 <= 20:
        made.segment(int(made.journal._segments.pop(0).path.stem)).unlink()
    made.segment(1).unlink(missing_ok=True)
    code, shown = cli("replay")
    assert code == ExitCode.OK
    assert shown["after_index"] in (20, 40)
    assert shown["state_hash"] == made.trading.core.state_hash()


def test_another_state_in_a_checkpoint_is_found(made: Made, cli: Cli) -> None:
    made.checkpoint(Trading(4).core.dump())
    code, shown = cli("replay", "--check")
    assert code == ExitCode.JOURNAL
    assert [row["equal"] for row in shown["checked"]] == [True, False]


@pytest.mark.parametrize("words", [["--until", "100000"], ["--check", "--until", "10"]])
def test_what_the_journal_does_not_hold_is_refused(made: Made, cli: Cli, words: list[str]) -> None:
    code, shown = cli("replay", *words)
    assert code == ExitCode.JOURNAL
    assert shown["error"]["code"] == "JOURNAL"


def test_a_damaged_journal_is_not_replayed(made: Made, cli: Cli) -> None:
    flip(made.segment(1), made.offsets[5] + RECORD_OVERHEAD)
    code, shown = cli("replay")
    assert (code, shown["error"]["record"]) == (ExitCode.JOURNAL, 5)


# --- tail ---


def test_the_last_inputs_in_order(made: Made, cli: Cli) -> None:
    code, rows = cli("tail", "-n", "7")
    assert (code, len(rows)) == (ExitCode.OK, 7)
    assert [row["index"] for row in rows] == sorted(row["index"] for row in rows)
    assert rows[-1]["index"] == made.journal.last_index


def test_all_inputs_reach_over_every_segment(made: Made, cli: Cli) -> None:
    rows = cli("tail", "-n", "100000")[1]
    assert len(rows) == made.trading.inputs
    assert rows[0]["type"] == "Configured"


def test_amounts_are_exact_decimals_and_moments_iso(made: Made, cli: Cli) -> None:
    row = cli("tail", "-n", "1", "--grep", "venuefill")[1][0]
    assert (row["sender"], row["lane"], row["type"]) == ("user_data", "user_events", "VenueFill")
    assert row["fields"]["price"] == "0.52"
    assert row["fields"]["matched_at"].endswith("Z")


def test_a_line_of_text_names_time_sender_lane_and_type(
    made: Made, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["journal", "tail", "-n", "1", "--grep", "PlaceResult"]) == ExitCode.OK
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    for word in ("2026-", "gateway/results", "PlaceResult", "status=live"):
        assert word in line


def test_a_judged_place_is_shown_as_the_place_with_its_book(
    made: Made, cli: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    row = cli("tail", "-n", "1", "--grep", "PlaceOrder")[1][0]
    assert (row["type"], row["fields"]["price"], row["fields"]["size"]) == ("PlaceOrder", "0.52", "10")
    assert row["fields"]["judged_by"]["asks"][0] == {"price": "0.53", "size": "1000"}
    assert main(["journal", "tail", "-n", "1", "--grep", "PlaceOrder"]) == ExitCode.OK
    assert "judged_by=0.51/0.53,LIVE,seq:1" in capsys.readouterr().out


def test_damage_in_the_way_is_named(made: Made, cli: Cli) -> None:
    flip(made.segment(1), made.offsets[5] + RECORD_OVERHEAD)
    code, shown = cli("tail", "-n", "100000")
    assert (code, shown[0]["error"]["record"]) == (ExitCode.JOURNAL, 5)


def test_following_shows_what_is_appended_over_segments(made: Made, cli: Cli) -> None:
    command = [sys.executable, "-m", "services.cli", "journal", "tail", "-n", "1", "--follow", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["index"] == made.journal.last_index
        first, wanted = made.journal.last_index + 1, made.journal.segment_count + 2
        while made.journal.segment_count < wanted:
            made.append(made.trading.step())
        seen = 0
        while seen < made.journal.last_index:
            row = json.loads(child.stdout.readline())
            assert row["index"] in (max(seen, first), max(seen, first - 1) + 1)
            seen = row["index"]
        child.terminate()
        child.wait(10)
