"""The running process group as supervisord tells it: its RPC over the unix socket in the run directory.

Out: what is alive, states and pids; verbs to start and stop one program and to end the group. Never waits inside a
call (`wait=False`): a waiting stop burns a whole core in supervisord. Decides nothing.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import socket
import xmlrpc.client
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import PolyexecError
from common.topology import ALL_PROCESSES, supervisor_socket

PID_FILE = "supervisord.pid"
RPC_TIMEOUT_S = 3.0

STOPPED_STATES = frozenset({"STOPPED", "EXITED", "FATAL", "BACKOFF", "UNKNOWN"})
DOWN_STATES = frozenset({"STOPPED", "EXITED", "FATAL"})


class GroupError(PolyexecError):
    """supervisord is there but does not do what it is asked; the text says what to do."""


class Program(NamedTuple):
    """One supervised program. `pid` is 0 while it does not run."""

    name: str
    state: str
    pid: int
    exit_status: int
    error: str


class _Connection(http.client.HTTPConnection):
    """HTTP over supervisord's unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("supervisord", timeout=RPC_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(RPC_TIMEOUT_S)
        try:
            made.connect(os.fspath(self._path))
        except OSError:
            made.close()
            raise
        self.sock = made


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> _Connection:
        return _Connection(self._path)


class Group:
    """The group of one run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._rpc = xmlrpc.client.ServerProxy("http://supervisord", transport=_Transport(supervisor_socket(run_dir)))

    def is_alive(self) -> bool:
        """Whether supervisord answers. Raises GroupError when it is there but hangs."""
        try:
            self._rpc.supervisor.getState()
        except TimeoutError:
            raise GroupError("supervisord is there but does not answer: scripts/stop_all.sh ends it") from None
        except (OSError, http.client.HTTPException):
            return False
        except xmlrpc.client.Fault as fault:
            raise GroupError(f"supervisord refused: {fault.faultString}") from None
        finally:
            self._rpc("close")()
        return True

    def programs(self) -> dict[str, Program]:
        """Every program by name."""
        found = self._call("getAllProcessInfo")
        return {row["name"]: _program(row) for row in found}

    def program(self, name: str) -> Program:
        return _program(self._call("getProcessInfo", name))

    def start(self, name: str) -> None:
        """Spawn a program that does not run; whether it becomes ready is told by its heartbeat."""
        self._call("startProcess", name, False, ignore=("ALREADY_STARTED", "SPAWN_ERROR"))

    def stop(self, name: str) -> None:
        """Ask a program to stop; supervisord kills it after its stopwaitsecs."""
        self._call("stopProcess", name, False, ignore=("NOT_RUNNING",))

    def shutdown(self) -> None:
        """End supervisord and whatever it still runs."""
        self._call("shutdown", ignore=("SHUTDOWN_STATE",))

    def _call(self, method: str, *arguments: object, ignore: tuple[str, ...] = ()) -> Any:
        try:
            return getattr(self._rpc.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if any(fault.faultString.startswith(word) for word in ignore):
                return None
            raise GroupError(f"supervisord refused {method}: {fault.faultString}") from None
        except (OSError, http.client.HTTPException) as error:
            raise GroupError(f"supervisord did not answer {method} ({error}): see logs/supervisord.log") from None
        finally:
            self._rpc("close")()

    # --- what the file system says, whoever answers ---

    def holders(self) -> dict[str, int]:
        """Processes whose singleton lock is held right now, with the pid written in the lock file."""
        held = {}
        for name in ALL_PROCESSES:
            pid = lock_holder(self._run_dir / f"{name}.lock")
            if pid is not None:
                held[name] = pid
        return held

    def supervisor_pid(self) -> int | None:
        """The pid supervisord wrote, if that process is a supervisord of ours; a pid file may outlive its writer."""
        try:
            pid = int((self._run_dir / PID_FILE).read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return pid if b"supervisord" in command and state != "Z" else None


def lock_holder(path: Path) -> int | None:
    """The pid in a lock file while somebody holds the lock (0 when the file names none); None when it is free.

    Looks with a shared lock for an instant, so it is for moments in which nobody starts.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(fd, 20)
        return int(text) if text.isdigit() else 0
    finally:
        os.close(fd)
    return None


def _program(row: dict[str, Any]) -> Program:
    return Program(row["name"], row["statename"], row["pid"], row["exitstatus"], row["spawnerr"])
