"""The watch list: what is to be followed, where each entry came from, and what it came to. Pure.

In: the entries of the settings, what was stored, commands, and what a round of discovery found for each entry. Out:
the state to store before a command is answered, the markets wanted, and the report. A market an entry has led to
stays wanted through it until the entry is removed or the market has closed. Never decides by itself what exists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import msgspec

from common.errors import ConfigError, Refusal
from common.messages import UnwatchMarkets, WatchedEntry, WatchMarkets, WatchReport
from common.reasons import Reason

SETTING = "market_data.watch"
LIMIT = "market_data.markets_max"
ENTRIES_MAX = 1_000
QUERIES_MAX = 50
"""Each query costs searches in every round."""
ENTRY_LENGTH_MAX = 300
NAMED_MAX = 100
"""Slugs named for one entry in a report; all of them are counted."""
COMMANDS_KEPT = 1_000
"""Commands whose repeat is answered and not done again."""
FORMS = "a slug, a condition id (0x and 64 hex digits), a token id, query:WORDS, or * (the busiest markets)"

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""No dots: a `*` that the shell replaced by file names is refused as a whole."""
_CONDITION = re.compile(r"0x[0-9a-f]{64}")
_TOKEN = re.compile(r"[1-9][0-9]{19,77}")
_TOKEN_DIGITS = 20
"""Digits alone are a token id from here on; a shorter number is a slug."""
_TOKEN_MAX = 2**256 - 1


class Kind(Enum):
    """What an entry is; the value says who gets room first when not everything fits."""

    SLUG = (0, "slug")
    CONDITION = (0, "condition id")
    TOKEN = (0, "token id")
    QUERY = (1, "query")
    BUSIEST = (2, "busiest")
    UNUSABLE = (3, "unusable")

    @property
    def rank(self) -> int:
        return self.value[0]

    @property
    def word(self) -> str:
        return self.value[1]

    @property
    def is_explicit(self) -> bool:
        return self.rank == 0


class Entry(NamedTuple):
    """One line of the list: `text` as it is shown and stored, `value` as the venue is asked."""

    text: str
    kind: Kind
    value: str


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What commands changed, in their order: entries added, and entries of the settings taken off."""

    watched: tuple[str, ...] = ()
    unwatched: tuple[str, ...] = ()


class Change(NamedTuple):
    """What a command comes to: store `saved` when it is not what was saved, then commit."""

    saved: Saved
    command_id: str
    duplicate: bool


class Resolution(NamedTuple):
    """What a round found for an entry; `problem` is "" when that is all of it."""

    condition_ids: tuple[str, ...]
    problem: str = ""


class Admission(NamedTuple):
    """The markets of an entry there is room for, and how many did not fit."""

    condition_ids: tuple[str, ...]
    left_out: int = 0


def parse_entry(text: str) -> Entry:
    """An entry in its one spelling. Raises Refusal(BAD_REQUEST, field="entries") naming it and the forms allowed."""
    words = text.split()
    shown = " ".join(words)
    if len(shown) > ENTRY_LENGTH_MAX:
        raise _malformed(f"is longer than {ENTRY_LENGTH_MAX} characters", shown)
    lowered = shown.lower()
    if lowered.startswith("query:"):
        return _query(lowered.removeprefix("query:").strip(), shown)
    if shown == "*":
        return Entry("*", Kind.BUSIEST, "")
    if lowered.startswith("0x"):
        if not _CONDITION.fullmatch(lowered):
            raise _malformed("is not 0x and 64 hex digits", shown)
        return Entry(lowered, Kind.CONDITION, lowered)
    if shown.isascii() and shown.isdigit() and len(shown) >= _TOKEN_DIGITS:
        if not _TOKEN.fullmatch(shown) or int(shown) > _TOKEN_MAX:
            raise _malformed("is not a token id", shown)
        return Entry(shown, Kind.TOKEN, shown)
    if not _SLUG.fullmatch(shown):
        raise _malformed("cannot be read", shown)
    return Entry(shown, Kind.SLUG, shown)


def _query(words: str, shown: str) -> Entry:
    if not words or not words.isprintable():
        raise _malformed("has no words to search for", shown)
    return Entry(f"query:{words}", Kind.QUERY, words)


def _malformed(what: str, shown: str) -> Refusal:
    return Refusal(Reason.BAD_REQUEST, f"{shown[:80]!r} {what}: an entry is {FORMS}", "entries")


class Outcome(NamedTuple):
    """What became of the markets an entry found room for: followed, or in words why not (yet)."""

    followed: tuple[str, ...]
    pending: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


def explain(entry: Entry, outcome: Outcome, left_out: int, problem: str, markets_max: int) -> Resolution:
    """What an entry came to; `problem` is what stood in the way of looking.

    For an explicit entry anything but its market is a problem. That the busiest are cut off, or that some of many have
    closed, is none.
    """
    followed = outcome.followed
    if entry.kind.is_explicit and followed:
        return Resolution(followed)
    reasons = [problem] if problem else []
    if left_out and (entry.kind is not Kind.BUSIEST or not followed):
        reasons.append(f"{_counted(left_out)} not fit: {LIMIT} is {markets_max}")
    reasons += _first(outcome.pending)
    if not followed:
        reasons += _first(outcome.closed)
    if not followed and not reasons:
        reasons.append("no open market matches" if entry.kind is Kind.QUERY else "no market is open")
    return Resolution(followed, "; ".join(dict.fromkeys(reasons)))


def _first(texts: Sequence[str]) -> list[str]:
    different = list(dict.fromkeys(texts))
    return [f"{different[0]} (and {len(different) - 1} more)"] if len(different) > 1 else different


def _counted(markets: int) -> str:
    return "1 market does" if markets == 1 else f"{markets} markets do"


class _Line:
    """An entry and what became of it. Neither markets nor a problem: no round has dealt with it yet."""

    __slots__ = ("condition_ids", "entry", "from_settings", "problem")

    def __init__(self, entry: Entry, from_settings: bool, problem: str = "") -> None:
        self.entry = entry
        self.from_settings = from_settings
        self.condition_ids: tuple[str, ...] = ()
        self.problem = problem


class WatchList:
    """The list of one market_data process."""

    def __init__(self, configured: Sequence[str], saved: Saved, markets_max: int) -> None:
        self._configured = _read_all(configured)
        if len(self._configured) > ENTRIES_MAX:
            raise ConfigError(SETTING, f"has {len(self._configured)} entries, at most {ENTRIES_MAX} are followed")
        if _queries(self._configured) > QUERIES_MAX:
            raise ConfigError(SETTING, f"has {_queries(self._configured)} queries, at most {QUERIES_MAX} are followed")
        self._markets_max = markets_max
        self._slugs: dict[str, str] = {}
        self._done: dict[str, None] = {}
        self._lines: dict[str, _Line] = {}
        self._saved = saved
        self._rebuild()

    # --- commands ---

    @property
    def saved(self) -> Saved:
        return self._saved

    def plan(self, command: WatchMarkets | UnwatchMarkets) -> Change:
        """What the command comes to; nothing is changed yet. Raises Refusal when an entry or their number is wrong."""
        if command.command_id in self._done:
            return Change(self._saved, command.command_id, True)
        if not 0 < len(command.entries) <= ENTRIES_MAX:
            raise Refusal(Reason.BAD_REQUEST, f"name 1 to {ENTRIES_MAX} entries: {FORMS}", "entries")
        if isinstance(command, WatchMarkets):
            saved = self._with([parse_entry(text) for text in command.entries])
        else:
            saved = self._without([self._named(text) for text in command.entries])
        return Change(saved, command.command_id, False)

    def commit(self, change: Change) -> WatchReport:
        """Make a planned (and stored) change the list's state."""
        if not change.duplicate:
            self._saved = change.saved
            self._rebuild()
            self._done[change.command_id] = None
            if len(self._done) > COMMANDS_KEPT:
                del self._done[next(iter(self._done))]
        return msgspec.structs.replace(self.report(change.command_id), duplicate=change.duplicate)

    def _with(self, entries: Sequence[Entry]) -> Saved:
        added = {entry.text for entry in entries}
        watched = [*self._saved.watched]
        watched += [text for text in dict.fromkeys(e.text for e in entries) if text not in self._configured]
        saved = Saved(tuple(dict.fromkeys(watched)), tuple(text for text in self._saved.unwatched if text not in added))
        after = _merged(self._configured, saved)
        if len(after) > ENTRIES_MAX:
            raise _full(f"at most {ENTRIES_MAX} entries", len(after))
        if _queries(after) > QUERIES_MAX:
            raise _full(f"at most {QUERIES_MAX} queries", _queries(after))
        return saved

    def _without(self, texts: Sequence[str]) -> Saved:
        removed = set(texts)
        unwatched = [*self._saved.unwatched, *(text for text in dict.fromkeys(texts) if text in self._configured)]
        return Saved(
            tuple(text for text in self._saved.watched if text not in removed),
            tuple(text for text in dict.fromkeys(unwatched) if text in self._configured),
        )

    def _named(self, text: str) -> str:
        """The spelling of the list: what cannot be read can still be taken off."""
        shown = " ".join(text.split())
        return shown if shown in self._lines else parse_entry(text).text

    def _rebuild(self) -> None:
        known, self._lines = self._lines, _merged(self._configured, self._saved)
        self._lines.update({text: known[text] for text in self._lines if text in known})

    # --- what is followed ---

    @property
    def entries(self) -> list[Entry]:
        """What discovery has to look for."""
        return [line.entry for line in self._lines.values() if line.entry.kind is not Kind.UNUSABLE]

    def wanted(self) -> set[str]:
        """Condition ids of the markets to follow: what any entry has led to."""
        return {condition_id for line in self._lines.values() for condition_id in line.condition_ids}

    def held(self, text: str) -> tuple[str, ...]:
        """What an entry has led to so far; () for one that was removed."""
        line = self._lines.get(text)
        return line.condition_ids if line else ()

    def admit(self, found: Mapping[str, Sequence[str]]) -> dict[str, Admission]:
        """Which of the markets found for each entry fit: explicit entries first, then queries, then the busiest.

        Within a rank the order of the list decides; a market that several entries want takes room once.
        """
        taken: set[str] = set()
        admitted: dict[str, Admission] = {}
        for line in sorted(self._lines.values(), key=lambda line: line.entry.kind.rank):
            wanted = list(dict.fromkeys(found.get(line.entry.text, ())))
            fitting: list[str] = []
            for condition_id in wanted:
                if condition_id in taken or len(taken) < self._markets_max:
                    taken.add(condition_id)
                    fitting.append(condition_id)
            admitted[line.entry.text] = Admission(tuple(fitting), len(wanted) - len(fitting))
        return admitted

    def settle(self, resolutions: Mapping[str, Resolution], slugs: Mapping[str, str]) -> None:
        """What a round came to. Entries removed meanwhile are passed over, entries added meanwhile wait."""
        for text, resolution in resolutions.items():
            line = self._lines.get(text)
            if line is not None and line.entry.kind is not Kind.UNUSABLE:
                line.condition_ids, line.problem = resolution
        self._slugs.update(slugs)
        wanted = self.wanted()
        self._slugs = {condition_id: slug for condition_id, slug in self._slugs.items() if condition_id in wanted}

    def report(self, request_id: str) -> WatchReport:
        return WatchReport(request_id, [self._shown(line) for line in self._lines.values()])

    @property
    def problems(self) -> dict[str, str]:
        """For each entry that came to nothing, or not to everything, why."""
        return {text: line.problem for text, line in self._lines.items() if line.problem}

    def _shown(self, line: _Line) -> WatchedEntry:
        named = line.condition_ids[:NAMED_MAX]
        slugs = [self._slugs.get(condition_id, condition_id) for condition_id in named]
        return WatchedEntry(line.entry.text, line.from_settings, slugs, line.problem, len(line.condition_ids))


def _read_all(texts: Iterable[str]) -> dict[str, _Line]:
    """Entries nobody can be told about at once: one that cannot be read keeps its place and says why."""
    lines: dict[str, _Line] = {}
    for text in texts:
        try:
            entry, problem = parse_entry(text), ""
        except Refusal as refusal:
            shown = " ".join(text.split())[:ENTRY_LENGTH_MAX]
            entry, problem = Entry(shown, Kind.UNUSABLE, ""), refusal.message
        lines.setdefault(entry.text, _Line(entry, from_settings=False, problem=problem))
    return lines


def _merged(configured: Mapping[str, _Line], saved: Saved) -> dict[str, _Line]:
    """The list: the settings' entries that were not taken off, then what commands added."""
    removed = set(saved.unwatched)
    lines = {text: _Line(line.entry, True, line.problem) for text, line in configured.items() if text not in removed}
    for text, line in _read_all(saved.watched).items():
        lines.setdefault(text, line)
    return lines


def _queries(lines: Mapping[str, _Line]) -> int:
    return sum(line.entry.kind is Kind.QUERY for line in lines.values())


def _full(limit: str, wanted: int) -> Refusal:
    text = f"the watch list holds {limit}, this would make {wanted}: polyexec markets unwatch takes some off"
    return Refusal(Reason.OVERLOADED, text, "entries")
