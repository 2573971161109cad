"""What a case is, what it comes to, and how a whole check is summed up. Pure data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from common.errors import PolyexecError

if TYPE_CHECKING:
    from services.gateway.conformance.trial import Trial


class Verdict(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    NOT_APPLICABLE = "N/A"


class Broken(PolyexecError):
    """A rule does not hold; the sentence says what was expected and what came."""


class DoesNotApply(PolyexecError):
    """The case cannot be tried here; the sentence says why."""


class Case(NamedTuple):
    """`key` is stable: scripts and rigs name cases by it. `section` is where the rule comes from."""

    number: int
    key: str
    title: str
    rule: str
    section: str
    run: Callable[[Trial], Awaitable[str]]
    """Returns what was seen, in a few words. Raises Broken or DoesNotApply."""


class Row(msgspec.Struct, frozen=True):
    """One line of the answer."""

    number: int
    key: str
    title: str
    rule: str
    section: str
    verdict: Verdict
    detail: str
    took_ms: int


class Report(msgspec.Struct, frozen=True):
    """A whole check, as `--json` prints it."""

    venue: str
    wallet: str
    note: str
    instruments: list[str]
    passed: int
    failed: int
    not_applicable: int
    ok: bool
    cases: list[Row]


def report_of(venue: str, wallet: str, note: str, instruments: Sequence[str], rows: Sequence[Row]) -> Report:
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    return Report(
        venue,
        wallet,
        note,
        list(instruments),
        counts[Verdict.PASS],
        counts[Verdict.FAIL],
        counts[Verdict.NOT_APPLICABLE],
        counts[Verdict.PASS] > 0 and not counts[Verdict.FAIL],
        list(rows),
    )


def expect(holds: object, sentence: str) -> None:
    """Raises Broken unless it holds."""
    if not holds:
        raise Broken(sentence)
