"""start_all.sh, stop_all.sh and restart.sh: the group is started, ended and mended here; one line for every refusal.

In: `start [MODE]`, `stop` or `restart SERVICE`, settings, and secrets of the environment. Out: a running group in which
every process is ready, or nothing running and a line that says why. It never trades.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import ConfigError, ExitCode, PolyexecError
from common.fixed import ceil_to, div_ceil, format_micros
from common.messages import MarketView
from common.process import forbid_dumps
from common.requester import Requester
from common.settings import ROOT, Mode, Settings, load_settings
from common.topology import ALL_PROCESSES, OPTIONAL, processes_of
from common.types import ONE
from scripts.group import DOWN_STATES, STOPPED_STATES, Group, GroupError
from scripts.preflight import (
    check_mode,
    check_ports,
    check_run_dir,
    check_same_mode,
    check_secrets,
    check_venue_urls,
    file_limit,
    make_folders,
)
from scripts.provision import GivenSecrets, provision, take_secrets
from scripts.readiness import LOG_LINES, NotReady, Ready, readable, recent, tail, wait_ready
from services.cli.client import Client, Unavailable
from services.cli.render import table

READY_S = 30.0
STOP_ONE_S = 20.0
"""Above every stopwaitsecs of deploy/supervisord.conf: supervisord kills what does not stop before that."""
GONE_S = 20.0
START_LOCK_S = 90.0
QUOTE_S = 3.0
POLL_S = 0.02
STARTED_FILE = "settings.json"
"""In the run folder: what the running group was started with."""
EXAMPLE_SIZE = 10 * ONE
EXAMPLE_CASH = ONE
"""A marketable order for less than a dollar is refused by the venue."""
KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
"""What the group inherits of the environment, besides POLYEXEC_ settings."""


def start(mode: str, given: GivenSecrets) -> int:
    """Bring the group up, or find it up; returns when every process is ready."""
    os.environ["POLYEXEC_MODE"] = mode
    check_mode(mode)
    settings = load_settings()
    check_same_mode(settings, mode)
    check_venue_urls(settings)
    check_run_dir(settings)
    make_folders(settings)
    if os.geteuid() == 0:
        say("warning: running as root: an ordinary user is enough, and safer")
    with start_lock(settings.paths.run_dir), Requester(settings) as bus:
        group = Group(settings.paths.run_dir)
        if group.is_alive():
            rows = find_running(settings, group, bus, mode)
            say(f"polyexec is already running ({mode})")
        else:
            rows = start_group(settings, group, bus, given)
            say(f"polyexec is running ({mode})")
        print_started(settings, bus, rows)
    return ExitCode.OK


def find_running(settings: Settings, group: Group, bus: Requester, mode: str) -> list[Ready]:
    """A second start: what was stopped or given up is started again, nothing else is touched."""
    started = read_started(settings)
    running = started.get("mode", mode)
    if running != mode:
        raise ConfigError("mode", f"{running} is running: end it with scripts/stop_all.sh before starting {mode}")
    changed = changed_keys(started, settings.model_dump(mode="json")) if started else []
    if changed:
        say(f"warning: {', '.join(changed)} changed since the start: stop_all.sh and start_all.sh apply it")
    began = time.time_ns()
    names = running_processes(settings, started)
    for program in group.programs().values():
        if program.state in DOWN_STATES and (program.name in names or program.name not in ALL_PROCESSES):
            group.start(program.name)
    return wait_ready(group, bus, names, READY_S, log_dir=settings.paths.log_dir, since_ns=began)


def start_group(settings: Settings, group: Group, bus: Requester, given: GivenSecrets) -> list[Ready]:
    """Checks, secrets, supervisord, readiness; whatever fails after the spawn, nothing is left running."""
    wait_gone(group, GONE_S)
    check_ports(settings)
    for line in provision(settings, given):
        say(line)
    check_secrets(settings)
    (settings.paths.run_dir / STARTED_FILE).write_text(settings.model_dump_json())
    began = time.time_ns()
    try:
        spawn_supervisor(settings)
        return wait_ready(group, bus, settings.processes, READY_S, log_dir=settings.paths.log_dir, since_ns=began)
    except (PolyexecError, KeyboardInterrupt) as error:
        if isinstance(error, NotReady):
            print_logs(settings.paths.log_dir, error.unexplained, began)
        say("stopping everything that was started")
        end_group(group, quiet=True)
        raise


def spawn_supervisor(settings: Settings) -> None:
    """Start supervisord as a daemon; it answers on its socket when this returns."""
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(ROOT / "deploy" / "supervisord.conf")]
    env = group_environment(settings, os.environ)
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()
        raise GroupError(f"supervisord does not start: {lines[-1] if lines else f'exit {done.returncode}'}")


def group_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the group: settings, paths, and nothing that could be a secret."""
    kept = {name: value for name, value in environ.items() if name in KEPT or name.startswith("POLYEXEC_")}
    return kept | {
        "PX_ROOT": str(ROOT),
        "PX_PYTHON": sys.executable,
        "PX_RUN": str(settings.paths.run_dir),
        "PX_LOGS": str(settings.paths.log_dir),
        "PX_MINFDS": str(file_limit()),
        "PX_LOCAL_VENUE": "false" if settings.mode is Mode.LIVE else "true",
        "PX_SIGNER": "true" if settings.gateway.signer == "process" else "false",
    }


def stop() -> int:
    """End the group in drain order and verify it; nothing running is fine."""
    settings = load_settings()
    if not settings.paths.run_dir.is_dir():
        print("nothing is running")
        return ExitCode.OK
    with start_lock(settings.paths.run_dir):
        group = Group(settings.paths.run_dir)
        end_group(group, quiet=False)
    return ExitCode.OK


def end_group(group: Group, *, quiet: bool) -> None:
    """Stop every program, order entry first and the exchange last, then supervisord. Raises GroupError if one stays."""
    tell = _silent if quiet else print
    try:
        alive = group.is_alive()
    except GroupError as error:
        pid = group.supervisor_pid()
        if pid is None:
            raise
        say(f"{error.args[0].split(':')[0]}: killing it (pid {pid})")
        os.kill(pid, signal.SIGKILL)
        alive = False
    if alive:
        for name in reversed(ALL_PROCESSES):
            group.stop(name)
            wait_stopped(group, name)
            tell(f"{name} stopped")
        group.shutdown()
    elif not group.holders():
        tell("nothing is running")
        return
    wait_gone(group, GONE_S)
    tell("everything has stopped")


def wait_stopped(group: Group, name: str) -> None:
    end = time.monotonic() + STOP_ONE_S
    while group.program(name).state not in STOPPED_STATES:
        if time.monotonic() > end:
            raise GroupError(f"{name} does not stop: see logs/{name}.log and logs/supervisord.log")
        time.sleep(POLL_S)


def wait_gone(group: Group, within_s: float) -> None:
    """Until no supervisord and no process of the group is left; what survives its parent is killed at the end."""
    end = time.monotonic() + within_s
    killed = False
    while group.supervisor_pid() is not None or group.holders():
        if time.monotonic() > end:
            holders = group.holders()
            if killed or not holders:
                names = ", ".join(f"{name} (pid {pid})" for name, pid in holders.items()) or "supervisord"
                raise GroupError(f"{names} is still running and cannot be ended: end it by hand")
            for name, pid in holders.items():
                say(f"{name} (pid {pid}) outlived its supervisor: killing it")
                if pid:
                    os.kill(pid, signal.SIGKILL)
            killed, end = True, time.monotonic() + within_s
        time.sleep(POLL_S)


def restart(service: str) -> int:
    """Restart one process under a new pid and wait until it is ready; the others go on."""
    if service not in ALL_PROCESSES:
        say(f"error: no process {service!r}: {', '.join(ALL_PROCESSES)}")
        return ExitCode.USAGE
    settings = load_settings()
    group = Group(settings.paths.run_dir)
    if not group.is_alive():
        raise GroupError("nothing is running: start it with scripts/start_all.sh")
    started = read_started(settings)
    if service not in running_processes(settings, started):
        if service in OPTIONAL:
            raise GroupError(f"{service} does not run: this group was started without it")
        mode = started.get("mode", settings.mode)
        raise GroupError(f"{service} does not run in {mode} mode: it is part of the local venue")
    with Requester(settings) as bus:
        before = group.program(service).pid
        group.stop(service)
        wait_stopped(group, service)
        began = time.time_ns()
        group.start(service)
        try:
            [row] = wait_ready(
                group,
                bus,
                (service,),
                READY_S,
                log_dir=settings.paths.log_dir,
                since_ns=began,
                not_pids={service: before},
            )
        except NotReady as error:
            print_logs(settings.paths.log_dir, error.unexplained, began)
            raise
    print(f"{service} restarted: pid {before or '-'} -> {row.pid}, ready after {after_text(row)}")
    return ExitCode.OK


@contextmanager
def start_lock(run_dir: Path) -> Iterator[None]:
    """One start or stop at a time; the others say so and wait."""
    fd = os.open(run_dir / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + START_LOCK_S
        told = False
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    say("another start or stop of this group is at work: waiting for it")
                told = True
                if time.monotonic() > end:
                    raise GroupError(f"another start or stop has not ended for {START_LOCK_S:.0f} s") from None
                time.sleep(POLL_S)
        yield
    finally:
        os.close(fd)


def read_started(settings: Settings) -> dict[str, Any]:
    """The settings the running group was started with; empty when it does not say."""
    try:
        started = json.loads((settings.paths.run_dir / STARTED_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return started if isinstance(started, dict) else {}


def running_processes(settings: Settings, started: Mapping[str, Any]) -> tuple[str, ...]:
    """What the running group consists of: that is decided when it starts, not by what the settings say since."""
    gateway = started.get("gateway")
    placed = gateway.get("signer") if isinstance(gateway, dict) else settings.gateway.signer
    return processes_of(started.get("mode", settings.mode), ("signer",) if placed == "process" else ())


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Which settings differ, as section.key."""
    old, new = _by_key(before), _by_key(now)
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _by_key(settings: Mapping[str, Any]) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for section, value in settings.items():
        rows |= {f"{section}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {section: value}
    return rows


# --- what a person reads ---


def print_started(settings: Settings, bus: Requester, rows: Sequence[Ready]) -> None:
    """The table of processes, where things are, and what to try next."""
    cells = [(row.process, row.state, str(row.pid), after_text(row)) for row in rows]
    print(table(("process", "state", "pid", "ready after"), cells, right=("pid", "ready after")))
    sim, venue = settings.polymarket_sim, settings.polymarket
    if settings.mode is Mode.LIVE:
        print(f"\nvenue                        {venue.clob_url}: orders are real")
    else:
        print(f"\nPolymarket-compatible venue  {venue.clob_url}")
        print(f"its fault switch             http://{sim.host}:{sim.control_port}")
    if settings.mode is Mode.PAPER:
        print(f"live market data             {venue.market_ws_url}")
    print(f"logs                         {settings.paths.log_dir}")
    print("\nTry next:")
    for line in next_commands(quoted_market(bus)):
        print(f"  {line}")


def after_text(row: Ready) -> str:
    return "was running" if row.after_s is None else f"{row.after_s:.1f} s"


def quoted_market(bus: Requester) -> MarketView | None:
    """A market that can be bought right now; None when no book has come within QUOTE_S."""
    client = Client(bus)
    end = time.monotonic() + QUOTE_S
    while time.monotonic() < end:
        try:
            views = client.markets("")
        except Unavailable:
            return None
        for view in views:
            if view.best_asks[0] and view.best_bids[0]:
                return view
        time.sleep(POLL_S)
    return None


def next_commands(view: MarketView | None) -> list[str]:
    """Three commands to type, with a real market, outcome and price when there is one."""
    if view is None:
        return ["scripts/polyexec status", "scripts/polyexec markets", "scripts/polyexec order place --help"]
    slug, outcome = shlex.quote(view.market.slug), shlex.quote(view.market.outcomes[0])
    price = format_micros(view.best_asks[0])
    worth = ceil_to(div_ceil(EXAMPLE_CASH, view.best_asks[0]), ONE)
    size = format_micros(max(EXAMPLE_SIZE, view.market.min_size, worth))
    return [
        "scripts/polyexec markets",
        f"scripts/polyexec book {slug} {outcome}",
        f"scripts/polyexec order place --market {slug} --outcome {outcome} --side BUY --price {price} --size {size}",
    ]


def print_logs(log_dir: Path, names: Sequence[str], since_ns: int) -> None:
    for name in names:
        say(f"last lines of {log_dir / name}.log:")
        for line in recent(tail(log_dir / f"{name}.log", LOG_LINES), since_ns):
            say(f"  {readable(line)}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(_text: str) -> None:
    """For an end that is only the tail of a failed start: its own line says enough."""


# --- ends ---


def main(argv: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    forbid_dumps()
    given = take_secrets(os.environ)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    os.umask(0o077)
    try:
        code = run_verb(argv, given)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        say(f"error: {error}")
        return ExitCode.CONFIG
    except PolyexecError as error:
        say(f"error: {error}")
        return ExitCode.UNAVAILABLE
    except BrokenPipeError:
        # Our reader left (`| head`); the group is as it should be, and Python must not try to print at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        say("interrupted")
        return 128 + signal.SIGINT


def run_verb(argv: Sequence[str], given: GivenSecrets) -> int:
    match list(argv):
        case ["start"]:
            return start(os.environ.get("POLYEXEC_MODE", "demo"), given)
        case ["start", mode]:
            return start(mode, given)
        case ["stop"]:
            return stop()
        case ["restart", service]:
            return restart(service)
        case ["restart", *_]:
            say(f"usage: scripts/restart.sh SERVICE, where SERVICE is one of: {', '.join(ALL_PROCESSES)}")
        case _:
            say("usage: scripts/start_all.sh [demo|paper|live], scripts/stop_all.sh, scripts/restart.sh SERVICE")
    return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
