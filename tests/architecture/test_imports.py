"""Pure is the default: a module touches the world only when the table here says why it may.

The contracts between packages stand in pyproject.toml (import-linter, run by scripts/test.sh).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import grimp
import pytest

from common.settings import ROOT

WORLD = [
    "aiohttp",
    "asyncio",
    "httpx",
    "logging",
    "os",
    "random",
    "requests",
    "secrets",
    "selectors",
    "signal",
    "socket",
    "sqlite3",
    "structlog",
    "subprocess",
    "tempfile",
    "threading",
    "time",
    "uvloop",
    "websockets",
    "zmq",
]

SHELL_NAMES = frozenset({"__main__", "server", "storage", "transport", "sockets"})
"""Module names that say "shell" wherever they stand."""

SHELLS = {
    "common.backoff": "its jitter comes from a Random that the caller seeds",
    "common.bus": "ZeroMQ",
    "common.checkpoint": "files",
    "common.durable": "files",
    "common.halt": "files",
    "common.edge": "the asyncio shell",
    "common.epochs": "files",
    "common.heart": "the synchronous shell",
    "common.http": "HTTP",
    "common.journal": "files",
    "common.journal_reader": "files",
    "common.market_reader": "the bus and the clocks",
    "common.log": "standard output",
    "common.memorybus": "has the port of common.bus",
    "common.peer": "has a bus",
    "common.prewrite": "a helper thread for files",
    "common.process": "signals and locks",
    "common.rerun": "files, the clock",
    "common.requester": "the bus and the clock of a short-lived process",
    "common.secrets": "files",
    "common.service": "start and end of a process",
    "common.settings": "files and the environment",
    "common.venues.ccxt.account": "asks the exchange",
    "common.venues.ccxt.client": "HTTP",
    "common.ws": "WebSockets",
    "services.cli.client": "waits, and looks for sockets",
    "services.cli.commands": "the terminal",
    "services.gateway.adapters.exchange": "the bus and the clock",
    "services.gateway.adapters.template.adapter": "asyncio and the clock",
    "services.gateway.adapters.template.rig": "an adapter, the clock",
    "services.gateway.conformance.cases": "two requests at once",
    "services.gateway.conformance.choose": "makes the rig that was named",
    "services.gateway.conformance.kit": "the clock",
    "services.gateway.conformance.rigs.ccxt": "ccxt, a test venue, random ids",
    "services.gateway.conformance.rigs.exchange": "the bus, random ids",
    "services.gateway.conformance.rigs.polymarket": "HTTP, random keys",
    "services.gateway.conformance.trial": "waits for the venue, the clock",
    "services.gateway.doctor.derive": "HTTP, secret files",
    "services.gateway.doctor.examine": "HTTP, the clock, a random salt",
    "services.gateway.doctor.local": "files",
    "services.gateway.doctor.others": "adapters, the clock",
    "services.gateway.visitors": "the bus, adapters",
    "services.gateway.adapters.ccxt": "asks the exchange, the clock",
    "services.gateway.adapters.polymarket": "HTTP",
    "services.gateway.desk": "asyncio, the clocks",
    "services.gateway.door": "asyncio, the bus",
    "services.gateway.signers": "asks the signer over the bus",
    "services.gateway.venues": "makes shells",
    "services.gateway.wallets": "reads secret files",
    "services.market_data.discovery": "HTTP",
    "services.cli.doctor": "starts a process, the terminal",
    "services.cli.journal": "files, the terminal",
    "services.cli.options": "the terminal",
    "services.cli.steering": "the terminal",
    "services.cli.replay": "starts a process",
    "services.cli.venue": "starts a process",
    "services.market_data.exchange_feed": "the bus and the clock",
    "services.market_data.feed": "WebSockets",
    "services.market_data.ccxt_feed": "asks the exchange, the clocks",
    "services.market_data.hub": "the bus and the clock",
    "services.market_data.openers": "makes shells",
    "services.market_data.replay": "the clock, the terminal, the bus",
    "services.mirror.follow": "asks the exchange over the bus",
    "services.mirror.paper": "the bus and the clock",
    "services.mirror.stepping": "asyncio and the clock",
    "services.polymarket_sim.channels": "WebSockets",
    "services.polymarket_sim.control": "HTTP",
    "services.polymarket_sim.streams": "feeds replicas and channels",
    "services.polymarket_sim.delivery": "HTTP",
    "services.polymarket_sim.discovery": "HTTP",
    "services.polymarket_sim.front": "HTTP",
    "services.polymarket_sim.playback": "HTTP",
    "services.polymarket_sim.private": "HTTP",
    "services.polymarket_sim.public": "HTTP",
    "services.polymarket_sim.registry": "files",
    "services.polymarket_sim.replies": "HTTP",
    "services.polymarket_sim.venue": "asks the exchange over the bus",
    "services.recorder.follow": "the bus and the clock",
    "services.recorder.writer": "a thread",
    "services.user_data.channel": "WebSockets",
    "services.user_data.ccxt_feed": "asks the exchange, the clocks",
    "services.user_data.exchange_feed": "the bus and the clock",
    "services.user_data.openers": "reads secret files",
    "services.user_data.outlet": "the bus and the clock",
}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "common", "services", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


def modules() -> list[str]:
    """Every module of common and services that is a file of its own."""
    files = [path for package in ("common", "services") for path in (ROOT / package).rglob("*.py")]
    return sorted(_dotted(path) for path in files if path.name != "__init__.py")


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def is_shell(module: str) -> bool:
    return module in SHELLS or module.rpartition(".")[2] in SHELL_NAMES


@pytest.mark.parametrize("module", [name for name in modules() if not is_shell(name)])
def test_a_module_that_is_not_a_shell_reaches_nothing_of_the_world(module: str) -> None:
    found = graph()
    for name in (name for name in WORLD if name in found.modules):
        chain = found.find_shortest_chain(importer=module, imported=name)
        assert chain is None, f"decides and touches {name}: " + " -> ".join(chain)


@pytest.mark.parametrize("module", [name for name in modules() if name in SHELLS])
def test_the_table_of_shells_lists_no_module_that_is_pure(module: str) -> None:
    found = graph()
    reached = [name for name in WORLD if name in found.modules and found.chain_exists(module, name)]
    assert reached, f"{module} is pure: take it out of SHELLS"
