"""A process's manners: one instance, private files, no core dumps, death with the parent, orderly signals.

Used by hearts (heart.py) and edges (edge.py) before anything else happens. It knows no message.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from common.errors import AlreadyRunning, ConfigError, ExitCode, Fenced, JournalError, PolyexecError

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


class SingletonLock:
    """`run/<name>.lock`, held for the life of the process; the kernel frees it at any death."""

    def __init__(self, run_dir: Path, name: str) -> None:
        self.path = run_dir / f"{name}.lock"
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.fd)
            raise AlreadyRunning(f"{name} is already running: {self.path} is locked") from None
        os.ftruncate(self.fd, 0)
        os.write(self.fd, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self.fd)


def private_folder(path: Path, key: str) -> Path:
    """Make a folder only we can enter, or check that it is one. Raises ConfigError naming `key`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.stat()
    except OSError as error:
        raise ConfigError(key, f"{path} cannot be used ({error.strerror})") from None
    if info.st_uid != os.geteuid() or info.st_mode & 0o077:
        raise ConfigError(key, f"{path} must be a folder of ours alone: chown it and chmod 700")
    return path


def harden() -> None:
    """No core dumps, nothing readable by others, and SIGTERM when the parent dies (reliability.md section 1.3)."""
    os.umask(0o077)
    forbid_dumps()
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call: the signal will never come
            raise PolyexecError("the parent process died during start")


def forbid_dumps() -> None:
    """No core dump of this process, and nobody else of our user reads its memory or environment: it holds secrets."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def freeze_collector() -> None:
    """After start: no cyclic collection on the hot path (message structs are gc=False)."""
    gc.collect()
    gc.freeze()
    gc.disable()


class StopSignal:
    """First SIGTERM or SIGINT asks to stop after the current step, the second one ends the process."""

    def __init__(self) -> None:
        self.asked = False
        self.on_ask: Callable[[], None] = lambda: None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: object) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True
        self.on_ask()


_EXIT_CODES: tuple[tuple[type[PolyexecError], ExitCode], ...] = (
    (AlreadyRunning, ExitCode.ALREADY_RUNNING),
    (ConfigError, ExitCode.CONFIG),
    (JournalError, ExitCode.JOURNAL),
    (Fenced, ExitCode.FENCED),
)


def exit_code_of(error: PolyexecError) -> ExitCode:
    """The named exit code of an expected error; anything else is a bug and crashes with its traceback."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), ExitCode.BUG)
