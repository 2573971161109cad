"""Verbs and words of the start scripts that need no running group."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from common.errors import ExitCode
from common.messages import MarketView
from common.settings import ROOT, Mode
from common.topology import PROCESSES
from scripts import launch
from scripts.group import Group, lock_holder
from scripts.preflight import make_folders
from scripts.provision import GivenSecrets
from tests.scripts.conftest import MakeSettings
from tests.services.cli.samples import market_view


def run_script(name: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A script of the project with an environment of its own."""
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / name), *argv],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("argv", [["restart"], ["restart", "a", "b"], [], ["begin"], ["start", "a", "b"]])
def test_a_verb_that_is_not_there_is_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.run_verb(argv, GivenSecrets()) == ExitCode.USAGE
    assert capsys.readouterr().err.startswith("usage: ")


def test_restarting_an_unknown_process_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.restart("gatway") == ExitCode.USAGE
    line = capsys.readouterr().err
    assert all(name in line for name in PROCESSES)
    assert line.count("\n") == 1


def test_the_group_inherits_settings_and_paths_and_no_secret(make_settings: MakeSettings) -> None:
    environ = {"PATH": "/bin", "POLYEXEC_MIRROR__SPEED": "5", "AWS_SECRET_ACCESS_KEY": "x", "POLYMARKET_API_KEY": "y"}

    env = launch.group_environment(make_settings(), environ)

    ours = {"PX_ROOT", "PX_PYTHON", "PX_RUN", "PX_LOGS", "PX_MINFDS", "PX_LOCAL_VENUE", "PX_SIGNER"}
    assert set(env) == {"PATH", "POLYEXEC_MIRROR__SPEED"} | ours
    assert env["PX_LOCAL_VENUE"] == "true"
    assert launch.group_environment(make_settings(mode=Mode.LIVE), environ)["PX_LOCAL_VENUE"] == "false"
    assert not {"x", "y"} & set(env.values())


def test_a_signer_is_started_when_the_settings_ask_for_one(make_settings: MakeSettings) -> None:
    settings = make_settings()
    asked = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"signer": "process"})})

    assert launch.group_environment(settings, {})["PX_SIGNER"] == "false"
    assert launch.group_environment(asked, {})["PX_SIGNER"] == "true"


def test_what_runs_is_decided_by_the_settings_of_the_start(make_settings: MakeSettings) -> None:
    settings = make_settings()

    assert "signer" not in launch.running_processes(settings, {})
    assert "signer" in launch.running_processes(settings, {"mode": "demo", "gateway": {"signer": "process"}})
    live = launch.running_processes(settings, {"mode": "live", "gateway": {"signer": "process"}})
    assert "signer" in live
    assert "exchange" not in live


def test_the_commands_to_try_name_a_real_market_and_its_price() -> None:
    view = market_view()
    two_sided = MarketView(view.market, (480_000, 480_000), (520_000, 520_000), view.state)

    lines = launch.next_commands(two_sided)

    assert len(lines) == 3
    assert lines[2].endswith("--market btc-15m-1 --outcome Up --side BUY --price 0.52 --size 10")


def test_the_order_to_try_is_worth_what_the_venue_takes() -> None:
    view = market_view()
    cheap = MarketView(view.market, (20_000, 0), (30_000, 0), view.state)

    assert launch.next_commands(cheap)[2].endswith("--price 0.03 --size 34")


def test_words_with_blanks_are_quoted_for_the_shell() -> None:
    view = market_view()
    market = msgspec.structs.replace(view.market, outcomes=("It's up", "Down"), min_size=25_000_000)

    line = launch.next_commands(MarketView(market, (480_000, 480_000), (520_000, 520_000), view.state))[2]

    assert "--outcome 'It'\"'\"'s up'" in line
    assert line.endswith("--size 25")


def test_without_a_market_there_are_still_three_commands() -> None:
    assert len(launch.next_commands(None)) == 3


def test_stopping_nothing_is_fine(make_settings: MakeSettings, capsys: pytest.CaptureFixture[str]) -> None:
    settings = make_settings()
    settings.paths.run_dir.mkdir(mode=0o700)

    launch.end_group(Group(settings.paths.run_dir), quiet=False)

    assert capsys.readouterr().out == "nothing is running\n"


def test_settings_that_changed_since_the_start_are_named(make_settings: MakeSettings) -> None:
    settings = make_settings()
    make_folders(settings)
    (settings.paths.run_dir / launch.STARTED_FILE).write_text(settings.model_dump_json())
    faster = settings.model_copy(update={"mirror": settings.mirror.model_copy(update={"speed": 5.0})})

    started = launch.read_started(settings)

    assert launch.changed_keys(started, settings.model_dump(mode="json")) == []
    assert launch.changed_keys(started, faster.model_dump(mode="json")) == ["mirror.speed"]


def test_a_group_that_does_not_say_how_it_was_started_is_no_trouble(make_settings: MakeSettings) -> None:
    settings = make_settings()
    make_folders(settings)

    assert launch.read_started(settings) == {}
    (settings.paths.run_dir / launch.STARTED_FILE).write_text("cut of")
    assert launch.read_started(settings) == {}


def test_a_lock_names_its_holder_only_while_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "exchange.lock"
    path.write_text("4711")
    assert lock_holder(path) is None

    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock_holder(path) == 4711
    assert lock_holder(path) is None
    assert lock_holder(tmp_path / "absent.lock") is None


def test_a_process_that_outlived_its_supervisor_is_ended(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, signal, sys, time\n"
        "file = open(sys.argv[1], 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "file.write(str(os.getpid())); file.flush()\n"
        "print('held', flush=True)\n"
        "signal.pause()\n"
    )
    orphan = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "exchange.lock")], stdout=subprocess.PIPE, text=True
    )
    assert orphan.stdout is not None
    assert orphan.stdout.readline() == "held\n"

    launch.wait_gone(Group(tmp_path), 0.2)

    assert orphan.wait(5) == -signal.SIGKILL
    orphan.stdout.close()


def test_a_second_start_waits_for_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(0.4)\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "start.lock")], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "held\n"
    began = time.monotonic()

    with launch.start_lock(tmp_path):
        assert time.monotonic() - began > 0.2

    assert capsys.readouterr().err.count("\n") == 1
    first.stdout.close()
    first.wait(5)


@pytest.mark.parametrize(
    ("script", "argv", "code"),
    [
        ("start_all.sh", ["prod"], 2),
        ("start_all.sh", ["demo", "twice"], 2),
        ("stop_all.sh", ["now"], 2),
        ("bench.sh", [], 2),
        ("bench.sh", ["nonesuch"], 2),
    ],
)
def test_a_script_refuses_what_it_does_not_know_in_one_line(script: str, argv: list[str], code: int) -> None:
    done = run_script(script, *argv)

    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_bench_lists_the_benchmarks() -> None:
    line = run_script("bench.sh", "nonesuch").stderr

    assert {"bus", "signing"} <= set(line.rpartition(": ")[2].split())


@pytest.mark.parametrize(
    ("stub", "text"),
    [
        ("exit 1", "needs Python 3.11 or newer"),
        ('case "$2" in *version_info*) exit 0;; *) exit 1;; esac', "has no venv module"),
    ],
)
def test_an_unusable_python_is_one_line(tmp_path: Path, stub: str, text: str) -> None:
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{stub}\n")
        (tmp_path / name).chmod(0o755)
    script = ROOT / "scripts" / "venv.sh"

    done = subprocess.run(
        ["/bin/bash", "-c", f". '{script}'; ensure_venv requirements.lock"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert text in done.stderr


def test_no_python_at_all_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", f". '{ROOT}/scripts/venv.sh'; ensure_venv requirements.lock"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 78
    assert "found none" in done.stderr
