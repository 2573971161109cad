"""A process's manners: locks, private folders, exit codes, signals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import AlreadyRunning, ConfigError, ExitCode, Fenced, JournalCorrupt, PolyexecError
from common.process import SingletonLock, StopSignal, exit_code_of, private_folder
from common.settings import ROOT


def test_a_lock_is_held_once_and_free_after_release(tmp_path: Path) -> None:
    lock = SingletonLock(tmp_path, "gateway")
    with pytest.raises(AlreadyRunning, match="gateway"):
        SingletonLock(tmp_path, "gateway")
    assert lock.path.read_text() == str(os.getpid())
    lock.release()
    SingletonLock(tmp_path, "gateway").release()


def test_a_folder_is_made_private(tmp_path: Path) -> None:
    assert private_folder(tmp_path / "a" / "run", "paths.run_dir").stat().st_mode & 0o777 == 0o700


def test_a_folder_open_to_others_is_refused_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o750)
    with pytest.raises(ConfigError, match="chmod 700") as refused:
        private_folder(tmp_path / "run", "paths.run_dir")
    assert refused.value.key == "paths.run_dir"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError):
        private_folder(tmp_path / "file" / "run", "paths.run_dir")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("k", "m"), ExitCode.CONFIG),
        (AlreadyRunning("x"), ExitCode.ALREADY_RUNNING),
        (JournalCorrupt("x"), ExitCode.JOURNAL),
        (Fenced("x"), ExitCode.FENCED),
        (PolyexecError("x"), ExitCode.BUG),
    ],
)
def test_every_expected_error_has_a_named_exit_code(error: PolyexecError, code: ExitCode) -> None:
    assert exit_code_of(error) is code


def test_the_first_signal_asks_and_tells() -> None:
    stop, told = StopSignal(), []
    stop.on_ask = lambda: told.append(True)
    stop._handle(15, None)
    assert stop.asked
    assert told == [True]


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_a_process_that_holds_secrets_cannot_be_dumped_or_read() -> None:
    program = (
        "import ctypes, resource\n"
        "from common.process import forbid_dumps\n"
        "forbid_dumps()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))"  # PR_GET_DUMPABLE
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["0", "0", "0"]
