"""What the doctor says: findings with a stable code, a level, one sentence and the fix. Pure data.

Scripts read `code` and `level`; sentences are for people and may change. No finding ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Level(StrEnum):
    OK = "OK"
    WARN = "WARN"
    """It can trade, but not everything, or not for long."""
    FAIL = "FAIL"
    """It cannot trade."""
    SKIPPED = "SKIPPED"
    """It could not be asked, and the sentence says why."""


class Code(StrEnum):
    """One for each thing that is looked at, in the order of the report."""

    SETTINGS = "SETTINGS"
    FOLDERS = "FOLDERS"
    HALT = "HALT"
    DISK = "DISK"
    KEY = "KEY"
    CREDENTIALS = "CREDENTIALS"
    FUNDER = "FUNDER"
    VENUE = "VENUE"
    CLOCK = "CLOCK"
    VERSION = "VERSION"
    GEOBLOCK = "GEOBLOCK"
    API_KEY = "API_KEY"
    CLOSED_ONLY = "CLOSED_ONLY"
    RATE_TIER = "RATE_TIER"
    MONEY = "MONEY"
    ALLOWANCE = "ALLOWANCE"
    SELLING = "SELLING"
    SIGNATURE = "SIGNATURE"
    CANCEL = "CANCEL"
    ORDER = "ORDER"
    DEAD_MAN = "DEAD_MAN"
    ADAPTER = "ADAPTER"


class Finding(msgspec.Struct, frozen=True):
    """`subject` is a wallet's name, or "" for what concerns every wallet. `fix` is "" where nothing is wrong."""

    code: Code
    level: Level
    subject: str
    text: str
    fix: str = ""


class Report(msgspec.Struct, frozen=True):
    """As `--json` prints it. `ok`: nothing FAILs."""

    mode: str
    ok: bool
    findings: list[Finding]


def report_of(mode: str, findings: Iterable[Finding]) -> Report:
    rows = list(findings)
    return Report(mode, not any(row.level is Level.FAIL for row in rows), rows)


class About:
    """Makes findings about one subject."""

    def __init__(self, subject: str = "") -> None:
        self.subject = subject

    def ok(self, code: Code, text: str) -> Finding:
        return Finding(code, Level.OK, self.subject, text)

    def warn(self, code: Code, text: str, fix: str) -> Finding:
        return Finding(code, Level.WARN, self.subject, text, fix)

    def fail(self, code: Code, text: str, fix: str) -> Finding:
        return Finding(code, Level.FAIL, self.subject, text, fix)

    def skipped(self, code: Code, text: str) -> Finding:
        return Finding(code, Level.SKIPPED, self.subject, text)
