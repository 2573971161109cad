"""Waiting until processes are ready, and saying in words why one is not.

Ready means: its heartbeat says READY and comes from the pid that supervisord runs now. In: the group, heartbeats, log
files. Out: one Ready per process, or NotReady naming who and why. Starts and stops nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from common.errors import ExitCode, PolyexecError
from common.messages import Heartbeat
from common.telemetry import READY
from scripts.group import Program

LISTEN_S = 0.2
"""One look at the heartbeats; processes announce READY at once and repeat it every half second."""
LOG_TAIL_BYTES = 65_536
LOG_LINES = 5
LINE_MAX = 300
PERMANENT = frozenset({ExitCode.CONFIG, ExitCode.ALREADY_RUNNING, ExitCode.JOURNAL})
"""Exit codes that another try cannot cure: no need to wait for the deadline."""


class Ready(NamedTuple):
    """A process that is ready: the table row of start_all.sh."""

    process: str
    state: str
    pid: int
    after_s: float | None
    """Seconds from the start it was asked for; None for a process that ran before."""


class SelfRefusal(NamedTuple):
    """Why a process refused to run, in its own words."""

    exit_code: int
    error: str


class NotReady(PolyexecError):
    """Some processes were not ready in time: what is known of each, and what ready ones remark, as one may wait for
    the other. `unexplained` are those that did not say themselves why they end: their logs may."""

    def __init__(self, reasons: dict[str, str], remarks: Mapping[str, str], unexplained: Sequence[str]) -> None:
        texts = [f"{name} is not ready: {reason}" for name, reason in reasons.items()]
        texts += [f"{name} says: {remark}" for name, remark in remarks.items()]
        super().__init__("; ".join(texts))
        self.reasons = reasons
        self.unexplained = unexplained


class Programs(Protocol):
    """What is needed of scripts.group.Group."""

    def programs(self) -> dict[str, Program]: ...


class Heartbeats(Protocol):
    """What is needed of common.requester.Requester."""

    def heartbeats(self, timeout_s: float = 1.0, processes: tuple[str, ...] = ()) -> dict[str, Heartbeat]: ...


def wait_ready(
    group: Programs,
    bus: Heartbeats,
    names: tuple[str, ...],
    deadline_s: float,
    *,
    log_dir: Path,
    since_ns: int,
    not_pids: Mapping[str, int] | None = None,
) -> list[Ready]:
    """Wait until every named process is ready under a pid that is not its old one. Raises NotReady.

    `since_ns` (wall) is when they were asked to start; older log lines and "ready after" are measured from it.
    """
    old = not_pids or {}
    ready: dict[str, Ready] = {}
    beats: dict[str, Heartbeat] = {}
    end = time.monotonic() + deadline_s
    while True:
        beats.update(bus.heartbeats(LISTEN_S, names))
        programs = group.programs()
        for name in names:
            beat = beats.get(name)
            if is_ready(beat, programs[name], old.get(name, 0)) and beat is not None:
                after_s = (beat.at_ns - since_ns) / 1e9 if beat.started_ns >= since_ns else None
                ready.setdefault(name, Ready(name, beat.state, beat.pid, after_s))
            else:
                ready.pop(name, None)
        missing = [name for name in names if name not in ready]
        if not missing:
            return [ready[name] for name in names]
        hopeless = [name for name in missing if is_hopeless(programs[name], log_dir / f"{name}.log", since_ns)]
        if hopeless or time.monotonic() >= end:
            said = {name: last_refusal(tail(log_dir / f"{name}.log", LOG_LINES), since_ns) for name in missing}
            guilty = hopeless or missing
            raise NotReady(
                {name: why_not(programs[name], beats.get(name), said[name]) for name in guilty},
                {name: beats[name].detail for name in ready if beats[name].detail},
                [name for name in guilty if said[name] is None],
            )


def is_ready(beat: Heartbeat | None, program: Program, old_pid: int) -> bool:
    """Whether the process that runs now has said that it is ready."""
    return beat is not None and beat.state == READY and beat.pid == program.pid and beat.pid != old_pid


def is_hopeless(program: Program, log: Path, since_ns: int) -> bool:
    """Whether waiting cannot help: supervisord gave up, or the process refused to run for a lasting reason."""
    if program.state == "FATAL":
        return True
    if program.state != "BACKOFF":
        return False
    refusal = last_refusal(tail(log, LOG_LINES), since_ns)
    return refusal is not None and refusal.exit_code in PERMANENT


def last_refusal(lines: Sequence[str], since_ns: int) -> SelfRefusal | None:
    """The newest "refused_to_run" log line that is not older than `since_ns`."""
    for line in reversed(recent(lines, since_ns)):
        row = _json_row(line)
        if row.get("event") == "refused_to_run":
            code = row.get("exit_code")
            return SelfRefusal(code if isinstance(code, int) else 0, str(row.get("error", "")))
    return None


def recent(lines: Sequence[str], since_ns: int) -> list[str]:
    """The lines that do not say they are older than `since_ns`."""
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_ns // 1_000_000_000))
    return [line for line in lines if str(_json_row(line).get("at", since)) >= since]


def why_not(program: Program, beat: Heartbeat | None, refusal: SelfRefusal | None = None) -> str:
    """What the process itself or supervisord says about a process that is not ready."""
    if refusal is not None and refusal.error:
        return refusal.error
    if beat is not None and beat.pid == program.pid:
        return f"{beat.state} ({beat.detail})" if beat.detail else beat.state
    if program.state in ("FATAL", "BACKOFF", "EXITED"):
        return f"it ends right after its start ({program.state})"
    return f"no heartbeat heard ({program.state})"


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log; [] when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


def readable(line: str) -> str:
    """A log line as a person reads it: JSON members as words, of a traceback only its last line."""
    row = _json_row(line)
    if not row:
        return line[:LINE_MAX]
    trace = str(row.pop("traceback", "")).strip().splitlines()
    head = " ".join(str(row.pop(key, "")) for key in ("at", "level", "event"))
    row.pop("process", None)
    rest = " ".join(f"{key}={value}" for key, value in row.items())
    return " ".join(part for part in (head, rest, *trace[-1:]) if part)[:LINE_MAX]


def _json_row(line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
