"""The doctor's findings as they are shown, and those the CLI adds about the running group. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from common.messages import Heartbeat
from services.cli.render import READY, clean

Finding = dict[str, Any]
LEVELS = ("OK", "WARN", "FAIL", "SKIPPED")


def finding(code: str, level: str, text: str, fix: str = "") -> Finding:
    return {"code": code, "level": level, "subject": "", "text": text, "fix": fix}


def report_in(output: str) -> dict[str, Any] | None:
    """The report a doctor printed; None when it is none."""
    try:
        report = json.loads(output)
    except ValueError:
        return None
    return report if isinstance(report, dict) and isinstance(report.get("findings"), list) else None


def joined(found: Sequence[Finding], of_group: Sequence[Finding]) -> list[Finding]:
    """What the group says takes the place of what could not be asked without it."""
    told = {row["code"] for row in of_group}
    return [*of_group, *(row for row in found if not (row["level"] == "SKIPPED" and row["code"] in told))]


def process_findings(processes: Sequence[str], heard: Mapping[str, Heartbeat]) -> list[Finding]:
    """One for each process that is not ready, or one for all; then who beats for the venue's dead-man switch."""
    troubles = [_trouble(name, heard.get(name)) for name in processes]
    found = [row for row in troubles if row is not None]
    if not found:
        found = [finding("PROCESSES", "OK", f"all {len(processes)} processes of the group are ready")]
    gateway = heard.get("gateway")
    return [*found, *([_dead_man(gateway.counters)] if gateway is not None else [])]


def _trouble(name: str, beat: Heartbeat | None) -> Finding | None:
    if beat is None:
        text = f"{name} is not heard while the group runs"
        return finding("PROCESSES", "FAIL", text, f"scripts/restart.sh {name}; its log: logs/{name}.log")
    if beat.state == READY:
        return None
    text = f"{name} is {beat.state}: {beat.detail or 'it says no reason'}"
    return finding("PROCESSES", "FAIL", text, f"see logs/{name}.log; scripts/restart.sh {name}")


def _dead_man(counters: Mapping[str, int]) -> Finding:
    """Whether the gateway's beats are the ones the venue wants."""
    accepted, refused = counters.get("beats_accepted", 0), counters.get("beats_refused", 0)
    told = f"{accepted} beats were accepted, {refused} refused"
    if not accepted and not refused:
        return finding("DEAD_MAN", "SKIPPED", "the gateway has not beaten for the venue's dead-man switch")
    if refused > accepted:
        text = f"{told}: another program seems to beat with this API key"
        return finding("DEAD_MAN", "WARN", text, "stop the other program, or give it an API key of its own")
    return finding("DEAD_MAN", "OK", f"the gateway owns the venue's dead-man switch ({told})")


def not_running(why: str) -> Finding:
    return finding("PROCESSES", "SKIPPED", f"the group was not asked: {why}")


def whole(mode: str, findings: Sequence[Finding]) -> dict[str, Any]:
    ok = not any(row["level"] == "FAIL" for row in findings)
    return {"mode": mode, "ok": ok, "findings": list(findings)}


def text(report: Mapping[str, Any]) -> str:
    """Grouped by wallet; the fix below what is wrong."""
    lines: list[str] = []
    rows = report["findings"]
    for subject in dict.fromkeys(row["subject"] for row in rows):
        lines.append(f"wallet {clean(subject)}" if subject else "this machine and the venue")
        for row in rows:
            if row["subject"] == subject:
                lines += _lines(row)
    failed = sum(row["level"] == "FAIL" for row in rows)
    warned = sum(row["level"] == "WARN" for row in rows)
    return "\n".join([*lines, _end(failed, warned)])


def _lines(row: Finding) -> list[str]:
    line = f"  {row['level']:<7}  {row['code']:<11}  {clean(row['text'])}"
    return [line, f"{'':24}fix: {clean(row['fix'])}"] if row["fix"] else [line]


def _end(failed: int, warned: int) -> str:
    noted = f", {warned} to look at" if warned else ""
    return f"CANNOT TRADE: {failed} to fix{noted}" if failed else f"can trade{noted}"
