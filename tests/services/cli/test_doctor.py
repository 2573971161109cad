"""`polyexec doctor` and `polyexec venue check` as typed: what the child found, what the group adds, the exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import pytest

from services.cli import doctor, doctor_text, venue
from services.cli.client import Unavailable
from services.cli.commands import main
from services.cli.options import Session
from tests.services.cli.samples import heartbeat


def row(code: str, level: str, subject: str = "main", fix: str = "") -> dict[str, str]:
    return {"code": code, "level": level, "subject": subject, "text": f"about {code}", "fix": fix}


def away(_owner: str) -> AbstractContextManager[Session]:
    raise Unavailable("polyexec is not running: start it with scripts/start_all.sh")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What the gateway's doctor reports."""
    findings: list[dict[str, str]] = [row("KEY", "OK"), row("MONEY", "WARN", fix="send money")]
    monkeypatch.setattr(doctor, "ask", lambda words: {"mode": "demo", "ok": True, "findings": findings, "words": words})
    return findings


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words, away)
    return code, *capsys.readouterr()


def test_a_group_that_is_down_is_no_failure(found: list[dict[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(capsys, "doctor", "--json")
    report = json.loads(out)
    assert (code, report["ok"], err) == (0, True, "")
    assert next((r["code"], r["level"]) for r in report["findings"]) == ("PROCESSES", "SKIPPED")
    assert len(report["findings"]) == len(found) + 1


def test_one_failure_exits_one_and_the_text_tells_the_fix(
    found: list[dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    found.append(row("FUNDER", "FAIL", fix="set funder"))
    code, out, _ = typed(capsys, "doctor")
    assert code == 1
    assert "fix: set funder" in out
    assert "wallet main" in out
    assert out.strip().endswith("CANNOT TRADE: 1 to fix, 1 to look at")


@pytest.mark.parametrize(
    ("output", "code"), [("", 1), ("Traceback (most recent call last): secret", 1), ("[]", 0), ('{"error": 1}', 0)]
)
def test_a_doctor_that_breaks_down_is_told_without_its_words(
    output: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.CompletedProcess([], code, output, output)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_kwargs: done)
    exit_code, out, err = typed(capsys, "doctor")
    assert (exit_code, out) == (4, "")
    assert "secret" not in err


def test_options_reach_the_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess([], 0, '{"mode": "demo", "findings": []}', "")

    monkeypatch.setattr(subprocess, "run", run)
    typed(capsys, "doctor", "--wallet", "main", "--derive")
    assert asked == [[sys.executable, "-m", doctor.DOCTOR, "--wallet=main", "--derive"]]


# --- what the running group says ---


def test_a_ready_group_is_one_finding() -> None:
    heard = {name: heartbeat(name) for name in ("executor", "gateway")}
    rows = doctor_text.process_findings(("executor", "gateway"), heard)
    assert [(r["code"], r["level"]) for r in rows] == [("PROCESSES", "OK"), ("DEAD_MAN", "SKIPPED")]


def test_every_process_that_is_not_ready_is_named_with_its_log() -> None:
    starting = msgspec.structs.replace(heartbeat("gateway"), state="STARTING", detail="the key file is open to others")
    rows = doctor_text.process_findings(("executor", "gateway"), {"gateway": starting})
    assert [r["level"] for r in rows[:2]] == ["FAIL", "FAIL"]
    assert "executor" in rows[0]["text"]
    assert "open to others" in rows[1]["text"]
    assert "logs/gateway.log" in rows[1]["fix"]


@pytest.mark.parametrize(("accepted", "refused", "level"), [(9, 1, "OK"), (1, 9, "WARN"), (0, 3, "WARN")])
def test_a_key_that_others_beat_with_is_told(accepted: int, refused: int, level: str) -> None:
    beat = msgspec.structs.replace(
        heartbeat("gateway"), counters={"beats_accepted": accepted, "beats_refused": refused}
    )
    assert doctor_text.process_findings(("gateway",), {"gateway": beat})[-1]["level"] == level


def test_what_the_group_says_replaces_what_could_not_be_asked() -> None:
    rows = doctor_text.joined([row("DEAD_MAN", "SKIPPED"), row("KEY", "OK")], [row("DEAD_MAN", "OK", "")])
    assert [(r["code"], r["level"]) for r in rows] == [("DEAD_MAN", "OK"), ("KEY", "OK")]


def test_words_of_a_venue_cannot_steer_the_terminal() -> None:
    bad = row("MONEY", "WARN", fix="x") | {"text": "rich\x1b[2Jer"}
    assert "\x1b" not in doctor_text.text(doctor_text.whole("demo", [bad]))


# --- the conformance kit ---


class FakeKit:
    """A child that is interrupted once and then ends."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.command: Sequence[str] = ()
        self.interrupted = False

    def __call__(self, command: Sequence[str]) -> FakeKit:
        self.command = command
        return self

    def __enter__(self) -> FakeKit:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> int:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return self.code


@pytest.mark.parametrize(("code", "exit_code"), [(0, 0), (1, 1), (3, 3), (-9, 137)])
def test_a_check_is_followed_to_its_end_and_gives_its_exit_code(
    code: int, exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = FakeKit(code)
    monkeypatch.setattr(subprocess, "Popen", kit)
    assert typed(capsys, "venue", "check", "polymarket", "--market", "m", "--yes-spend-real-money")[0] == exit_code
    assert kit.command[:3] == [sys.executable, "-m", venue.KIT]
    assert kit.command[-2:] == ["--", "polymarket"]
    assert {"--market=m", "--wallet=", "--budget=0", "--yes-spend-real-money"} <= set(kit.command)
