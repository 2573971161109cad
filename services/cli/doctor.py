"""`polyexec doctor`: what the gateway's doctor finds, and what the running group says of itself.

In: options. Out: findings as text or JSON; exit 0 when this account can trade, 1 when not. Only the gateway's code may
touch keys, so the doctor runs as a process of its own; it works while the group is down.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from common.errors import ConfigError, PolyexecError
from services.cli import doctor_text as shown
from services.cli.client import Unavailable
from services.cli.options import JsonFlag, print_result, session

DOCTOR = "services.gateway.doctor"
CANNOT_TRADE = 1
HEARTBEATS_S = 1.5
EXAMINE_S = 300.0
"""Each of its questions has a limit of its own, far below; this ends a doctor that hangs."""

app = typer.Typer()


@app.command()
def doctor(
    ctx: typer.Context,
    *,
    wallet: Annotated[str, typer.Option("--wallet", help="Only this wallet; default: every wallet.")] = "",
    derive: Annotated[
        bool, typer.Option("--derive", help="First get the API credentials of the wallet's key anew, and store them.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Can this account trade, and if not, why and what to do. Changes nothing. Exits 1 when something FAILs."""
    report = ask([f"--wallet={wallet}", *["--derive"] * derive])
    whole = shown.whole(report["mode"], shown.joined(report["findings"], group_findings(ctx)))
    print_result(whole, shown.text(whole), as_json)
    return 0 if whole["ok"] else CANNOT_TRADE


def ask(words: Sequence[str]) -> dict[str, Any]:
    """The report of the gateway's doctor. Raises Unavailable when it could not make one."""
    command = [sys.executable, "-m", DOCTOR, *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXAMINE_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"the doctor did not end within {EXAMINE_S:g} s") from None
    report = shown.report_in(done.stdout)
    if report is None:
        # Its error output may quote what it was reading: it is not shown.
        raise Unavailable(f"the doctor broke down (exit {done.returncode}): run python -m {DOCTOR} to see where")
    return report


def group_findings(ctx: typer.Context) -> list[dict[str, Any]]:
    """Each process of the running group, and who beats; a group that is down is no failure."""
    try:
        with session(ctx, "executor") as talk:
            heard = talk.client.heartbeats(HEARTBEATS_S)
            return shown.process_findings(talk.processes, heard)
    except ConfigError:
        return []  # SETTINGS says so
    except PolyexecError as error:
        return [shown.not_running(str(error))]
