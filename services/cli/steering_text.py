"""Accounts and reconciliation as JSON and as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from common.fixed import format_micros
from common.messages import AccountView, Difference, Reconciliation
from services.cli.render import CancelAllOutcome, Json, cancel_all_json, cancel_all_text, clean, iso_time, table


class ReconcileStory(NamedTuple):
    """Where every wallet stands after a round was asked for, and whether that round ended complete."""

    rows: list[Reconciliation]
    complete: bool
    found: int
    """Differences this round brought to light."""


def _money(value: int | None) -> str | None:
    return None if value is None else format_micros(value)


def account_json(row: AccountView) -> Json:
    return {
        "account": row.account,
        "wallet": row.wallet,
        "venue": row.venue,
        "trading": row.trading,
        "reason": row.reason or None,
        "cash": _money(row.cash),
        "reserved": format_micros(row.reserved),
        "spendable": _money(row.spendable),
        "inventory": format_micros(row.inventory),
        "realised_pnl": format_micros(row.realised),
        "unrealised_pnl": format_micros(row.unrealised),
        "fees": format_micros(row.fees),
        "day_pnl": format_micros(row.day_pnl),
        "open_orders": row.open_orders,
        "rejects_in_row": row.rejects_in_row,
    }


def accounts_text(rows: Sequence[AccountView]) -> str:
    shown = [
        (
            row.account,
            row.trading + (f" ({row.reason})" if row.reason else ""),
            _money(row.cash) or "?",
            format_micros(row.reserved),
            _money(row.spendable) or "?",
            format_micros(row.inventory),
            format_micros(row.realised),
            format_micros(row.unrealised),
            format_micros(row.fees),
            str(row.open_orders),
        )
        for row in rows
    ]
    headers = (
        "account",
        "trading",
        "cash",
        "reserved",
        "spendable",
        "inventory",
        "realised",
        "unrealised",
        "fees",
        "open",
    )
    return table(headers, shown, right=headers[2:])


def halted_json(rows: Sequence[AccountView], outcome: CancelAllOutcome | None) -> Json:
    shown: Json = {"accounts": [account_json(row) for row in rows]}
    if outcome is not None:
        shown["cancel_all"] = cancel_all_json(outcome)
    return shown


def halted_text(rows: Sequence[AccountView], outcome: CancelAllOutcome | None) -> str:
    text = accounts_text(rows)
    return text if outcome is None else f"{text}\n{cancel_all_text(outcome)}"


def difference_json(row: Difference) -> Json:
    return {
        "at": iso_time(row.at_ns),
        "wallet": row.wallet,
        "kind": row.kind,
        "subject": row.subject,
        "ours": row.ours,
        "theirs": row.theirs,
        "explanation": row.explanation,
        "resolution": row.resolution,
    }


def reconciliation_json(row: Reconciliation) -> Json:
    return {
        "venue": row.venue,
        "wallet": row.wallet,
        "running": row.running,
        "last_full_at": iso_time(row.last_full_ns),
        "last_incremental_at": iso_time(row.last_incremental_ns),
        "rounds": row.rounds,
        "incomplete": row.incomplete,
        "mismatch_count": row.differences,
        "recent": [difference_json(difference) for difference in row.recent],
    }


def reconciliation_text(story: ReconcileStory) -> str:
    lines = []
    for row in story.rows:
        last = iso_time(row.last_full_ns) or "never"
        lines.append(f"{clean(row.wallet)}: last full round {last}, {row.differences} differences so far")
        lines += [f"  {_sentence(difference)}" for difference in row.recent[-10:]]
    if not story.complete:
        lines.append("the venue did not answer completely in time: nothing was changed")
    elif not story.found:
        lines.append("no new differences")
    return "\n".join(lines)


def _sentence(row: Difference) -> str:
    text = f"{row.kind} {row.subject}: ours {row.ours}, venue {row.theirs}: {row.explanation} [{row.resolution}]"
    return clean(text)
