"""What an operator steers trading with: halt, resume, reconcile, accounts. Wiring of words to one conversation each.

In: options. Out: JSON or text, a named exit code. `halt` and `resume` return when the executor has journaled them.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from common.errors import ExitCode
from services.cli import steering_text as shown
from services.cli.options import AccountFilter, JsonFlag, print_result, session

RECONCILE_S = 20.0
"""How long `reconcile` waits for a full round."""

app = typer.Typer()


@app.command()
def halt(
    ctx: typer.Context,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown with every refusal.")] = "",
    account: AccountFilter = "",
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="Take orders that reduce a holding.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Also cancel everything of this scope that is open.")
    ] = False,
    as_json: JsonFlag = False,
) -> int:
    """Take no more orders, over restarts of every process, until `polyexec resume`. Cancels go on working."""
    with session(ctx, "executor") as talk:
        talk.client.halt(reason, account, reduce_only=reduce_only)
        outcome = talk.client.cancel_all(account, "", time.time_ns()) if cancel else None
        rows = talk.client.accounts(account)
    print_result(shown.halted_json(rows, outcome), shown.halted_text(rows, outcome), as_json)
    return ExitCode.OK if outcome is None or outcome.verified else ExitCode.UNAVAILABLE


@app.command()
def resume(ctx: typer.Context, account: AccountFilter = "", as_json: JsonFlag = False) -> int:
    """Trade again. Without --account it ends the halt of everybody, not that of single accounts."""
    with session(ctx, "executor") as talk:
        talk.client.resume(account)
        rows = talk.client.accounts(account)
    print_result([shown.account_json(row) for row in rows], shown.accounts_text(rows), as_json)
    return ExitCode.OK


@app.command()
def accounts(ctx: typer.Context, account: AccountFilter = "", as_json: JsonFlag = False) -> int:
    """Every account: may it trade, what it can spend, what it holds and earned."""
    with session(ctx, "executor") as talk:
        rows = talk.client.accounts(account)
    print_result([shown.account_json(row) for row in rows], shown.accounts_text(rows), as_json)
    return ExitCode.OK


@app.command()
def reconcile(
    ctx: typer.Context,
    wallet: Annotated[str, typer.Option("--wallet", help="Only this wallet; default: every wallet.")] = "",
    as_json: JsonFlag = False,
) -> int:
    """Compare orders, trades, positions and balances with the venue now, and show every difference.

    Exits 4 when the venue's answers did not come complete within seconds: then nothing was changed.
    """
    with session(ctx, "executor") as talk:
        story = talk.client.reconcile(wallet, RECONCILE_S)
    print_result([shown.reconciliation_json(row) for row in story.rows], shown.reconciliation_text(story), as_json)
    return ExitCode.OK if story.complete else ExitCode.UNAVAILABLE
