"""Comparing one wallet with its venue: when to ask, what differs, what each difference means. Pure (spec 4 section 6).

In: time, complete answers about positions and balances, what other answers brought to light. Out: what to ask for next,
and Differences, each explained and either corrected with evidence or raised as an alert. An incomplete answer changes
nothing. A number that moved around the time of the question is asked for again before it is believed: positions differ
only when two rounds say the same while nothing of ours moved in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from common.effects import Now
from common.messages import Difference, Reconciliation, VenuePosition

RECENT_MAX = 50
"""Differences kept for reports; all are counted and logged."""
NOTED_MAX = 1_000
"""Things reported once are remembered up to this; then the oldest may be reported again."""
QUIET_NS = 5_000_000_000
"""Money must not have moved this long before a question for its answer to be compared."""
HOLDINGS_QUIET_NS = 60_000_000_000
"""The same for a token: the Data API lags what is mined by seconds or more (protocol section 8.2)."""
S = 1_000_000_000


class Question(StrEnum):
    OPEN_ORDERS = "OPEN_ORDERS"
    TRADES = "TRADES"
    POSITIONS = "POSITIONS"
    BALANCES = "BALANCES"


INCREMENTAL = (Question.OPEN_ORDERS, Question.TRADES)
FULL = (*INCREMENTAL, Question.POSITIONS, Question.BALANCES)


class Kind(StrEnum):
    ORDER_MISSING = "ORDER_MISSING"
    ORDER_UNEXPECTED = "ORDER_UNEXPECTED"
    FILL_MISSING = "FILL_MISSING"
    POSITION = "POSITION"
    BALANCE = "BALANCE"


class Resolution(StrEnum):
    LOOKED_UP = "LOOKED_UP"
    """An event with evidence followed: the venue said by id what became of the order."""
    BOOKED = "BOOKED"
    ADJUSTED = "ADJUSTED"
    ALERT = "ALERT"


class Rounds(msgspec.Struct, array_like=True, gc=False):
    """One wallet's rounds. Field order is the checkpoint format."""

    venue: str
    wallet: str
    full_mono: int = 0
    """When the next full round is due; 0: not planned (the wallet does not trade yet)."""
    incremental_mono: int = 0
    waiting: dict[str, Question] = {}
    """Questions of the running round by action id."""
    full: bool = False
    spoiled: bool = False
    last_full_ns: int = 0
    last_incremental_ns: int = 0
    done: int = 0
    incomplete: int = 0
    differences: int = 0
    recent: list[Difference] = []
    noted: dict[str, int] = {}
    doubted: dict[str, int] = {}
    """Positions that differed in the last full round, by token: what the venue said."""
    moved: dict[str, int] = {}
    """When (wall) our number of a token moved last."""
    positions_known: bool = False

    # --- when ---

    def plan(self, now: Now, full_s: int, incremental_s: int) -> None:
        """Begin with a full round at once, then follow the intervals; 0 seconds is never."""
        if full_s and not self.full_mono:
            self.full_mono = now.mono_ns
        if incremental_s and not self.incremental_mono:
            self.incremental_mono = now.mono_ns + incremental_s * S

    def next_due(self) -> int | None:
        if self.waiting:
            return None
        return min((mono for mono in (self.full_mono, self.incremental_mono) if mono), default=None)

    def due(self, now: Now, full_s: int, incremental_s: int) -> tuple[Question, ...]:
        """What to ask now; plans the next round."""
        due = self.next_due()
        if due is None or due > now.mono_ns:
            return ()
        self.full = bool(self.full_mono) and self.full_mono <= now.mono_ns
        self.spoiled = False
        if self.full:
            self.full_mono = now.mono_ns + full_s * S if full_s else 0
        self.incremental_mono = now.mono_ns + incremental_s * S if incremental_s else 0
        return FULL if self.full else INCREMENTAL

    def ask_now(self, now: Now) -> None:
        """An operator wants a full round."""
        self.full_mono = now.mono_ns

    def ask_soon(self) -> None:
        """What was just answered could not be used: the next round is a full one."""
        self.full_mono = min(self.full_mono, self.incremental_mono or self.full_mono)

    def stop(self) -> None:
        """The wallet cannot be asked: what is under way does not count."""
        self.full_mono = self.incremental_mono = 0
        self.waiting.clear()

    def asked(self, action_id: str, question: Question) -> None:
        self.waiting[action_id] = question

    def answered(self, action_id: str, complete: bool, now: Now) -> bool:
        """Whether this answer belongs to the running round; notes the end of the round with its last answer."""
        if self.waiting.pop(action_id, None) is None:
            return False
        if not complete:
            self.incomplete += 1
            self.spoiled = True
        if not self.waiting and not self.spoiled:
            self.done += 1
            self.last_incremental_ns = now.wall_ns
            if self.full:
                self.last_full_ns = now.wall_ns
        return True

    # --- what ---

    def note(self, difference: Difference) -> bool:
        """Count and keep a difference; False when the same one was reported before."""
        key = f"{difference.kind} {difference.subject} {difference.theirs}"
        if key in self.noted:
            return False
        if len(self.noted) >= NOTED_MAX:
            del self.noted[next(iter(self.noted))]
        self.noted[key] = difference.at_ns
        self.differences += 1
        self.recent.append(difference)
        del self.recent[:-RECENT_MAX]
        return True

    def moved_at(self, token_id: str, wall_ns: int) -> None:
        self.moved[token_id] = wall_ns

    def compare_positions(
        self,
        ours: dict[str, int],
        theirs: Iterable[VenuePosition],
        asked_ns: int,
        tolerance: int,
        finer: Mapping[str, int] = MappingProxyType({}),
    ) -> list[tuple[str, int, int]]:
        """(token, ours, theirs) of what differs in two full rounds in a row while nothing of ours moved.

        So also at the first look: what the venue then has too much may be a fill that we are yet to be told of.
        """
        told: dict[str, int] = {}
        for row in theirs:
            told[row.token_id] = told.get(row.token_id, 0) + row.size
        proven: list[tuple[str, int, int]] = []
        doubted: dict[str, int] = {}
        moving = False
        for token_id in sorted(ours.keys() | told.keys()):
            mine, its = ours.get(token_id, 0), told.get(token_id, 0)
            if abs(mine - its) <= finer.get(token_id, tolerance):
                continue
            if asked_ns - self.moved.get(token_id, 0) < HOLDINGS_QUIET_NS:
                moving = True
            elif self.doubted.get(token_id) == its:
                proven.append((token_id, mine, its))
            else:
                doubted[token_id] = its
        self.doubted = doubted
        self.positions_known = self.positions_known or not (doubted or moving)
        quiet_since = asked_ns - HOLDINGS_QUIET_NS
        self.moved = {token_id: at_ns for token_id, at_ns in self.moved.items() if at_ns > quiet_since}
        if doubted or not self.positions_known:
            self.ask_soon()
        return proven

    def view(self) -> Reconciliation:
        return Reconciliation(
            self.venue,
            self.wallet,
            bool(self.waiting),
            self.last_full_ns,
            self.last_incremental_ns,
            self.done,
            self.incomplete,
            self.differences,
            list(self.recent),
        )


class Reconciler:
    """The rounds of every wallet."""

    def __init__(self, rows: Iterable[Rounds] = ()) -> None:
        self._rows = {(row.venue, row.wallet): row for row in rows}

    def of(self, venue: str, wallet: str) -> Rounds:
        row = self._rows.get((venue, wallet))
        if row is None:
            row = self._rows[venue, wallet] = Rounds(venue, wallet)
        return row

    def peek(self, venue: str, wallet: str) -> Rounds:
        """For reading only: a wallet never heard of is not noted."""
        return self._rows.get((venue, wallet)) or Rounds(venue, wallet)

    def rows(self) -> list[Rounds]:
        return list(self._rows.values())
