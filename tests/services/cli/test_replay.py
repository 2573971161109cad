"""`polyexec replay` hands its words to the child and its output and exit code on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import ExitCode
from common.settings import ROOT
from services.cli import replay as module
from services.cli.commands import main
from services.cli.replay import replay


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Another module in the place of market_data's replay."""
    (tmp_path / "stand_in.py").write_text(code)
    monkeypatch.setattr(module, "MODULE", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_every_word_reaches_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(tmp_path, monkeypatch, "import sys; print(*sys.argv[1:], sep='|'); sys.exit(7)")
    argv = ["replay", "a", "b", "--speed", "max", "--market", "btc", "--publish", "--json"]
    assert main(argv) == 7
    assert capfd.readouterr().out == "--speed=max|--market=btc|--publish|--json|--|a|b\n"


def test_a_child_that_was_killed_ends_us_as_a_shell_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert replay(["a"], "1", "", publish=False, as_json=False) == 128 + 9


def test_the_words_reach_the_real_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.cli", "replay", str(tmp_path), "--speed=max"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.REFUSED
    assert done.stderr == (
        f"error: {tmp_path}: holds no recording: name a file or the folder the recorder writes to [BAD_RECORDING]\n"
    )


def test_a_replay_without_a_path_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["replay"]) == ExitCode.USAGE
    assert len(capfd.readouterr().err.splitlines()) == 1
