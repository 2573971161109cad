"""A check as a table for eyes. Pure; the JSON form is the contract, this may change."""

from __future__ import annotations

from services.gateway.conformance.case import Report, Row, Verdict

DETAIL_MAX = 110
_WORDS = {Verdict.PASS: "pass", Verdict.FAIL: "FAIL", Verdict.NOT_APPLICABLE: "n/a"}


def report_text(report: Report) -> str:
    """One line for each case; of a case that failed also its rule."""
    lines = [f"{report.venue}: {report.note}"]
    width = max((len(row.title) for row in report.cases), default=0)
    for row in report.cases:
        lines.append(f"{row.number:>3}  {_WORDS[row.verdict]:<4}  {row.title:<{width}}  {_cut(row)}".rstrip())
        if row.verdict is Verdict.FAIL:
            lines.append(f"           rule: {row.rule} ({row.section})")
    counts = f"{report.passed} passed, {report.failed} failed, {report.not_applicable} do not apply"
    return "\n".join([*lines, counts])


def _cut(row: Row) -> str:
    """What passed needs no long words; what failed is told whole."""
    if row.verdict is Verdict.FAIL or len(row.detail) <= DETAIL_MAX:
        return row.detail
    return f"{row.detail[:DETAIL_MAX]}…"
