"""Whether an account may trade now, and what it did lately. Pure.

In: halts and resumes, accepted orders, what the venue made of them, the clock. Out: the mode in force, refusals in a
row, how many orders within a time, the day's start. The account "" is everybody: its halt is over all others and is
kept in the durable marker too (common/halt.py).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from common.types import Side

DAY_NS = 24 * 3600 * 1_000_000_000
EVERYBODY = ""


class Mode(StrEnum):
    ACTIVE = "ACTIVE"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"


def stops(mode: Mode, side: Side) -> bool:
    """Whether an order that was taken before may not leave (again) in this mode."""
    return mode is Mode.HALTED or (mode is Mode.REDUCE_ONLY and side is Side.BUY)


class Standing(msgspec.Struct, array_like=True, gc=False):
    """One account. Field order is the checkpoint format."""

    name: str
    mode: Mode = Mode.ACTIVE
    reason: str = ""
    rejects: int = 0
    """Refusals of the venue since the last order it took."""
    placed: list[int] = []
    """Monotonic times of accepted orders, as many as the rate policies look at."""
    day: int = -1
    day_equity: int = 0
    """The account's profit and loss when this UTC day began."""

    def placed_since(self, mono_ns: int) -> int:
        return len(self.placed) - bisect_right(self.placed, mono_ns)


class Trading:
    """The standings of all accounts; one that was never heard of is ACTIVE."""

    def __init__(self, rows: Iterable[Standing] = ()) -> None:
        self._rows = {row.name: row for row in rows}
        self._restricted = any(row.mode is not Mode.ACTIVE for row in self._rows.values())
        self.placed_kept = 0
        """How many order times the rate policies need; 0: none are kept."""

    def of(self, account: str) -> Standing:
        row = self._rows.get(account)
        if row is None:
            row = self._rows[account] = Standing(account)
        return row

    def peek(self, account: str) -> Standing:
        """For reading only: an account never heard of is not noted."""
        return self._rows.get(account) or Standing(account)

    def mode(self, account: str) -> tuple[Mode, str]:
        """The mode in force and why: a HALTED over a REDUCE_ONLY, everybody's before the account's own."""
        if not self._restricted:
            return Mode.ACTIVE, ""
        rows = [row for name in (EVERYBODY, account) if (row := self._rows.get(name)) is not None]
        for mode in (Mode.HALTED, Mode.REDUCE_ONLY):
            for row in rows:
                if row.mode is mode:
                    return mode, row.reason
        return Mode.ACTIVE, ""

    @property
    def halted(self) -> str | None:
        """Why everybody is halted; None when they are not."""
        row = self._rows.get(EVERYBODY)
        return row.reason if row is not None and row.mode is Mode.HALTED else None

    def halt(self, account: str, mode: Mode, reason: str) -> None:
        row = self.of(account)
        row.mode, row.reason = mode, reason
        self._restricted = True

    def resume(self, account: str) -> None:
        """Trade again; refusals are counted anew, for "" those of every account."""
        for row in self._rows.values() if account == EVERYBODY else [self.of(account)]:
            row.rejects = 0
        row = self.of(account)
        row.mode, row.reason = Mode.ACTIVE, ""
        self._restricted = any(other.mode is not Mode.ACTIVE for other in self._rows.values())

    def placed(self, account: str, mono_ns: int) -> None:
        if self.placed_kept:
            times = self.of(account).placed
            times.append(mono_ns)
            if len(times) > 2 * self.placed_kept:
                del times[: -self.placed_kept]

    def new_day(self, account: str, wall_ns: int, equity: int) -> None:
        """Note what the day began with, once a day."""
        row, day = self.of(account), wall_ns // DAY_NS
        if day > row.day:
            row.day, row.day_equity = day, equity

    def rows(self) -> list[Standing]:
        return [self._rows[name] for name in sorted(self._rows)]
