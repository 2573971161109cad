"""Real processes in folders and on ports of their own: start, wait until ready, kill -9, stop.

Every wait has a deadline.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from common.requester import Requester
from common.settings import ROOT, Settings, load_settings
from common.telemetry import READY

READY_S = 30.0


class Group:
    """Some services of one polyexec, without supervisord."""

    def __init__(self, folder: Path, **overrides: str) -> None:
        self.folder = folder
        port, control = free_ports(2)
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("POLYEXEC_")} | {
            "POLYEXEC_PATHS__RUN_DIR": str(folder / "run"),
            "POLYEXEC_PATHS__DATA_DIR": str(folder / "data"),
            "POLYEXEC_PATHS__LOG_DIR": str(folder / "logs"),
            "POLYEXEC_PATHS__SECRETS_DIR": str(folder / "secrets"),
            "POLYEXEC_JOURNAL__SEGMENT_MB": "4",
            "POLYEXEC_POLYMARKET_SIM__PORT": str(port),
            "POLYEXEC_POLYMARKET_SIM__CONTROL_PORT": str(control),
            "POLYEXEC_POLYMARKET__CLOB_URL": f"http://127.0.0.1:{port}",
            "POLYEXEC_POLYMARKET__MARKET_WS_URL": f"ws://127.0.0.1:{port}/ws/market",
            "POLYEXEC_POLYMARKET__USER_WS_URL": f"ws://127.0.0.1:{port}/ws/user",
            "POLYEXEC_POLYMARKET__GAMMA_URL": f"http://127.0.0.1:{port}/gamma",
            "POLYEXEC_POLYMARKET__DATA_URL": f"http://127.0.0.1:{port}/data",
            "PYTHONUNBUFFERED": "1",
            **{f"POLYEXEC_{key.upper()}": value for key, value in overrides.items()},
        }
        self.port = port
        self.control_port = control
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("run", "data", "logs", "secrets"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        assert self.settings.polymarket_sim.port == port

    @cached_property
    def settings(self) -> Settings:
        """The settings these processes read. Read once, because the environment is changed for a moment."""
        before = dict(os.environ)
        os.environ.update({key: value for key, value in self.env.items() if key.startswith("POLYEXEC_")})
        try:
            return load_settings(ROOT / "deploy" / "config" / "demo.toml")
        finally:
            os.environ.clear()
            os.environ.update(before)

    def start(self, name: str, module: str = "", **own: str) -> subprocess.Popen[bytes]:
        """Start a service; its output is appended to logs/<name>.log. `own`: settings that only it reads."""
        env = self.env | {f"POLYEXEC_{key.upper()}": value for key, value in own.items()}
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module or f"services.{name}"],
                cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.processes[name] = process
        return process

    def wait_ready(self, *names: str, deadline_s: float = READY_S) -> None:
        """Wait until these processes, with the pids started here, say READY."""
        end = time.monotonic() + deadline_s
        missing: list[str] = list(names)
        with Requester(self.settings) as bus:
            while missing and time.monotonic() < end:
                for name in missing:
                    code = self.processes[name].poll()
                    assert code is None, f"{name} ended with {code}:\n{self.log(name)}"
                beats = bus.heartbeats(0.5, tuple(missing))
                missing = [
                    name
                    for name in missing
                    if name not in beats or beats[name].state != READY or beats[name].pid != self.processes[name].pid
                ]
        details = "\n".join(self.log(name) for name in missing)
        assert not missing, f"not ready after {deadline_s} s: {missing}\n{details}"

    def kill9(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(10)

    def stop(self, name: str, deadline_s: float = 15.0) -> int:
        """SIGTERM and the exit code."""
        self.processes[name].send_signal(signal.SIGTERM)
        return self.processes[name].wait(deadline_s)

    def log(self, name: str) -> str:
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text()[-4000:] if path.exists() else ""

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        for process in self.processes.values():
            process.wait(10)


@contextmanager
def group(**overrides: str) -> Iterator[Group]:
    """A group in a short folder (socket paths are limited), gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="px-"))
    made = Group(folder, **overrides)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; distinct."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
