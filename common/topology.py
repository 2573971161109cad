"""Who binds what, who may connect, and what happens when it is full: the one table of addresses.

Every process binds `<name>.out` (XPUB: its streams, its addressed answers and acks, its telemetry) and the inboxes
listed here (PULL). Everybody else connects. Nothing else in the project spells an address.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from common.errors import ConfigError

SUN_PATH_MAX = 107
"""Longest path of a unix socket; longer run directories are refused at start (reliability.md section 1)."""


class Inbox(NamedTuple):
    """One PULL socket. Inboxes are drained in the order of the table: what stands first is served first."""

    name: str
    owner: str
    senders: tuple[str, ...]
    carries: str
    high_water: int
    when_full: str


class Lane(NamedTuple):
    """One at-least-once, in-order channel into an inbox. `kept_until` is what releases a sent message."""

    name: str
    sender: str
    inbox: str
    kept_until: str  # "ack" | "result"
    limit: int
    when_full: str
    normal: str = ""
    """On a cancel lane: the normal lane whose messages a cancel may overtake (it carries `covers` of it)."""


ANYONE = "*"

INBOXES: tuple[Inbox, ...] = (
    Inbox("executor.cancel", "executor", ("cli", "order_gateway"), "cancel commands", 10_000, "sender waits"),
    Inbox("executor.facts", "executor", ("gateway", "user_data"), "results, user events", 100_000, "sender keeps"),
    Inbox("executor.command", "executor", ("cli", "order_gateway"), "commands, queries", 10_000, "OVERLOADED"),
    Inbox("gateway.cancel", "gateway", ("executor",), "cancels", 10_000, "sender keeps"),
    Inbox("gateway.action", "gateway", ("executor",), "places, queries", 10_000, "sender keeps"),
    Inbox(
        "exchange.command",
        "exchange",
        ("polymarket_sim", "mirror", "gateway", "user_data", "market_data", "cli"),
        "commands, queries",
        10_000,
        "asked again",
    ),
    Inbox("market_data.ask", "market_data", (ANYONE,), "queries, snapshot requests", 1_000, "asked again"),
    Inbox("user_data.ask", "user_data", (ANYONE,), "snapshot requests", 1_000, "asked again"),
    Inbox("polymarket_sim.ask", "polymarket_sim", (ANYONE,), "snapshot requests", 1_000, "asked again"),
    Inbox("mirror.ask", "mirror", (ANYONE,), "snapshot requests", 1_000, "asked again"),
    Inbox("signer.ask", "signer", (ANYONE,), "orders to sign (gateway only), snapshot requests", 10_000, "asked again"),
    Inbox("recorder.ask", "recorder", (ANYONE,), "snapshot requests", 1_000, "asked again"),
)

LANES: tuple[Lane, ...] = (
    Lane("actions", "executor", "gateway.action", "result", 10_000, "places are refused OVERLOADED"),
    Lane("cancels", "executor", "gateway.cancel", "result", 100_000, "never: bounded by open orders", "actions"),
    Lane("results", "gateway", "executor.facts", "ack", 100_000, "the gateway stops reading actions"),
    Lane("user_events", "user_data", "executor.facts", "ack", 100_000, "the connection is dropped and caught up"),
)

PROCESSES: tuple[str, ...] = (
    "exchange",
    "polymarket_sim",
    "mirror",
    "market_data",
    "user_data",
    "gateway",
    "executor",
    "recorder",
)
"""In data-flow order, observers last: what always runs (in live mode without the local venue)."""

OPTIONAL: frozenset[str] = frozenset({"signer"})
"""Processes that run only when the settings ask for them (`Settings.processes`)."""

ALL_PROCESSES: tuple[str, ...] = (
    *PROCESSES[: PROCESSES.index("gateway")],
    "signer",
    *PROCESSES[PROCESSES.index("gateway") :],
)
"""With the optional ones, each before whoever asks it: the folders of services/ (cli apart) and supervisord's programs
are this list."""

LOCAL_VENUE: frozenset[str] = frozenset({"exchange", "polymarket_sim", "mirror"})
"""Processes that are the venue when no real one takes our orders: they do not run in live mode."""

HEARTS: frozenset[str] = frozenset({"executor", "exchange"})

ASK_INBOX: dict[str, str] = {
    "executor": "executor.command",
    "gateway": "gateway.action",
    "exchange": "exchange.command",
    "market_data": "market_data.ask",
    "user_data": "user_data.ask",
    "polymarket_sim": "polymarket_sim.ask",
    "mirror": "mirror.ask",
    "recorder": "recorder.ask",
    "signer": "signer.ask",
}
"""Where an Ask to a process goes; commands that cancel go to CANCEL_INBOX where there is one."""

CANCEL_INBOX: dict[str, str] = {"executor": "executor.cancel", "gateway": "gateway.cancel"}


def processes_of(mode: str, optional: Collection[str] = ()) -> tuple[str, ...]:
    """The processes that run in a mode, with those optional ones that were asked for, in the order of ALL_PROCESSES."""
    left_out = (OPTIONAL - set(optional)) | (LOCAL_VENUE if mode == "live" else frozenset())
    return tuple(name for name in ALL_PROCESSES if name not in left_out)


def inboxes_of(process: str) -> tuple[Inbox, ...]:
    """The inboxes a process binds, highest priority first."""
    return tuple(inbox for inbox in INBOXES if inbox.owner == process)


def lane(name: str) -> Lane:
    return next(row for row in LANES if row.name == name)


def inbox(name: str) -> Inbox:
    return next(row for row in INBOXES if row.name == name)


def out_address(run_dir: Path, process: str) -> str:
    """Address of a process's XPUB socket."""
    return _ipc(run_dir, f"{process}.out")


def inbox_address(run_dir: Path, name: str) -> str:
    """Address of one PULL inbox."""
    return _ipc(run_dir, name)


def supervisor_socket(run_dir: Path) -> Path:
    """Where supervisord listens; deploy/supervisord.conf says the same. Short, as it first binds a longer name."""
    return run_dir / "sv.sock"


def _ipc(run_dir: Path, endpoint: str) -> str:
    path = str(run_dir / endpoint)
    if len(path.encode()) > SUN_PATH_MAX:
        raise ConfigError(
            "paths.run_dir",
            f"too long for a socket ({len(path)} > {SUN_PATH_MAX} bytes): name a shorter folder",
        )
    return f"ipc://{path}"
