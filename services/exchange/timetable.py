"""What falls due when: entries ordered by time, then by number; used for expiries and for settlement stages.

In: (due_ns, number) with a key. Out: the next due time and the keys that are due. Which clock is meant is the
caller's business; it reads none.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TypeAlias

Entry: TypeAlias = tuple[int, int, str]
"""(due_ns, number, key); the number is unique, so the order never depends on the key."""


class Timetable:
    def __init__(self, entries: list[Entry] | None = None) -> None:
        self.entries: list[Entry] = entries or []

    def add(self, due_ns: int, number: int, key: str) -> None:
        insort(self.entries, (due_ns, number, key))

    def discard(self, due_ns: int, number: int) -> None:
        """Forget an entry; nothing happens when it is not there."""
        at = bisect_left(self.entries, (due_ns, number, ""))
        if at < len(self.entries) and self.entries[at][:2] == (due_ns, number):
            del self.entries[at]

    def next_ns(self) -> int | None:
        return self.entries[0][0] if self.entries else None

    def take_due(self, now_ns: int) -> list[Entry]:
        """Remove and return what is due, earliest first."""
        end = bisect_left(self.entries, (now_ns + 1, 0, ""))
        due = self.entries[:end]
        del self.entries[:end]
        return due
