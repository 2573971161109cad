"""`polyexec venue check NAME`: the conformance kit in a process of its own; output and exit code are the child's.

In: options. Only the gateway's code may touch keys, so nothing of it is imported here.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from services.cli.options import JsonFlag

KIT = "services.gateway.conformance"

app = typer.Typer(no_args_is_help=True, help="Venues and their adapters.")


@app.callback()
def _venue() -> None:
    """Venues and their adapters."""


@app.command("check")
def venue_check(
    *,
    name: Annotated[
        str, typer.Argument(help="polymarket, exchange, ccxt, the name of a ccxt venue of the settings, or template.")
    ],
    market: Annotated[str, typer.Option("--market", help="Only this market: slug, condition id or token id.")] = "",
    wallet: Annotated[str, typer.Option("--wallet", help="Trade with this wallet of the settings.")] = "",
    budget: Annotated[
        str, typer.Option("--budget", help="Money one case may spend at most, e.g. 20; 0 is a part of the cash.")
    ] = "0",
    real_money: Annotated[
        bool, typer.Option("--yes-spend-real-money", help="Needed for a venue that is not on this machine.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Try every rule an adapter must keep on this venue, one numbered case after the other.

    Places, fills and cancels small orders. On the local venues a fresh wallet does it. Exits 1 when a case fails.
    """
    words = [f"--market={market}", f"--wallet={wallet}", f"--budget={budget}"]
    words += ["--yes-spend-real-money"] * real_money + ["--json"] * as_json + ["--", name]
    return follow(words)


def follow(words: Sequence[str]) -> int:
    """Run the kit to its end; every case of it has its own limit."""
    with subprocess.Popen([sys.executable, "-m", KIT, *words]) as child:
        while True:
            try:
                code = child.wait()
            except KeyboardInterrupt:
                continue  # the terminal interrupted the child too: it cancels what it has open and ends
            return code if code >= 0 else 128 + signal.Signals(-code)
