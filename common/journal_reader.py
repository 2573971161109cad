"""A journal seen from outside: of a process that runs, or that died. Looks, never touches.

In: the folder of a heart. Out: how far its journal and checkpoints are sound, its records, and what is appended from
now on. It takes no lock, writes nothing and syncs nothing, so the process never notices. A file is not read in one
moment while its process appends to it: damage is believed when a second look finds it at the same place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from common.checkpoint import Checkpoint, whole_checkpoints
from common.errors import ConfigError, JournalCorrupt, JournalError, PolyexecError, Refusal
from common.journal_files import (
    Record,
    Recovered,
    Segment,
    failure,
    read_file,
    read_starts,
    recover,
    replay_segments,
    segment_paths,
)
from common.segment import HEADER_BYTES, RECORD_OVERHEAD, StoredRecord, decode_header, next_record, record_length

LOOKS = 20
"""How often a journal that changes while it is read is looked at again."""

T = TypeVar("T")


class Survey(NamedTuple):
    """How far a journal was sound when it was looked at."""

    journal_id: str
    starts: int
    segments: list[Segment]
    first_index: int
    """The oldest record kept; one above `last_index` when there is none."""
    last_index: int
    record_bytes: int
    torn_bytes: int
    """An unfinished record at the end: of a process that died, or being written just now."""
    chains: dict[int, bytes]
    """The hash chain at the indexes that were asked for, as far as they are kept."""


class Audit(NamedTuple):
    """A survey, and the checkpoints beside it."""

    survey: Survey
    checkpoints: list[Checkpoint]
    """Whole ones, newest first."""
    problems: list[str]
    """One sentence for each checkpoint that is damaged or does not belong to this journal."""


def audit(folder: Path, *, from_checkpoint: bool = False, until: int = 0) -> Audit:
    """Verify everything a heart keeps in `folder`. Raises JournalError, or JournalCorrupt for a damaged journal.

    `from_checkpoint` verifies only what follows the newest checkpoint (the newest up to record `until`).
    """
    journal = journal_folder(folder)
    whole, problems = whole_checkpoints(folder)
    usable = [checkpoint.index for checkpoint in whole if checkpoint.index <= (until or checkpoint.index)]
    start = usable[0] if usable and from_checkpoint else 0
    seen = survey(journal, start, {checkpoint.index for checkpoint in whole})
    kept = [checkpoint for checkpoint in whole if checkpoint is whole[0] or checkpoint.index >= seen.first_index - 1]
    problems += [problem for checkpoint in kept if (problem := _problem_of(checkpoint, seen, start))]
    return Audit(seen, kept, problems)


def journal_folder(folder: Path) -> Path:
    """Where a heart that keeps its state in `folder` has its journal. Raises JournalError when there is none."""
    journal = folder / "journal"
    if not journal.is_dir():
        raise JournalError(f"{folder}: there is no journal yet: it is made when the process starts for the first time")
    return journal


def survey(folder: Path, start: int = 0, chains_at: Iterable[int] = ()) -> Survey:
    """Verify the journal behind record `start`: every header, checksum and place in the hash chain."""
    wanted = frozenset(chains_at)
    return _believed(lambda: _survey(folder, start, wanted))


def records(seen: Survey, after_index: int, last_index: int, chain_hash: bytes | None = None) -> Iterator[Record]:
    """Records behind `after_index` up to `last_index`. Raises JournalError for a range that is not there."""
    if not seen.first_index - 1 <= after_index <= last_index <= seen.last_index:
        raise JournalError(
            f"the journal holds records {seen.first_index} to {seen.last_index}, not {after_index + 1} to {last_index}"
        )
    return replay_segments(seen.segments, after_index, last_index, chain_hash)


class Tail:
    """Follows a journal from the beginning of one segment: what was appended since the last look."""

    def __init__(self, segment: Segment) -> None:
        self._open(segment)

    @property
    def last_index(self) -> int:
        """The last record read."""
        return self._index - 1

    def news(self) -> Iterator[Record]:
        """Every whole record there is now, oldest first."""
        while True:
            found = self._next()
            if found is not None:
                self._index, self._chain = found.number + 1, found.chain
                self._offset += RECORD_OVERHEAD + len(found.payload)
                yield Record(found.number, found.payload)
            elif not self._roll():
                return

    def close(self) -> None:
        os.close(self._fd)

    def _open(self, segment: Segment) -> None:
        try:
            self._fd = os.open(segment.path, os.O_RDONLY)
        except OSError as error:
            raise failure(segment.path, "cannot be read", error) from error
        self._segment = segment
        self._offset, self._index = HEADER_BYTES, segment.header.first_index
        self._chain = segment.header.chain_before

    def _next(self) -> StoredRecord | None:
        journal_id = self._segment.header.journal_id
        length = record_length(os.pread(self._fd, RECORD_OVERHEAD, self._offset), journal_id)
        if not 0 < length <= self._segment.header.segment_bytes:
            return None
        return next_record(os.pread(self._fd, length, self._offset), self._index, self._chain, journal_id)

    def _roll(self) -> bool:
        """Go on in the next segment, once the process has begun it."""
        path = self._segment.path
        following = path.with_name(f"{int(path.stem) + 1:010d}.seg")
        header = decode_header(read_file(following, HEADER_BYTES), following.name) if following.exists() else None
        if header is None or (header.first_index, header.chain_before) != (self._index, self._chain):
            return False
        before = self._fd
        self._open(Segment(following, header))
        os.close(before)
        return True


def describe(error: PolyexecError) -> dict[str, str | int]:
    """An error about a journal as an object: a stable code, the sentence, and the place where there is one."""
    if isinstance(error, JournalCorrupt):
        found: dict[str, str | int] = {"code": "JOURNAL_CORRUPT", "message": str(error)}
        return found | {"file": error.file, "offset": error.offset, "record": error.record}
    if isinstance(error, Refusal):
        return {"code": error.code.value, "message": error.message, "field": error.field}
    if isinstance(error, ConfigError):
        return {"code": "CONFIG", "message": str(error), "field": error.key}
    return {"code": "JOURNAL", "message": str(error)}


def _survey(folder: Path, start: int, wanted: frozenset[int]) -> Survey:
    try:
        starts, paths = read_starts(folder), segment_paths(folder)
    except OSError as error:
        raise failure(folder, "cannot be read", error) from error
    if starts is None or not paths:
        raise JournalError(f"{folder}: there is no journal in it, or the files of one are missing")
    chains: dict[int, bytes] = {}
    record_bytes = 0

    def visit(found: StoredRecord) -> None:
        nonlocal record_bytes
        record_bytes += RECORD_OVERHEAD + len(found.payload)
        if found.number in wanted:
            chains[found.number] = found.chain

    reached = recover(paths, starts.journal_id, start, visit)
    chains |= _chains_before(reached, wanted)
    first = reached.segments[0].header.first_index
    torn = reached.dirty_end - reached.offset
    return Survey(*starts, reached.segments, first, reached.last_index, record_bytes, torn, chains)


def _chains_before(reached: Recovered, wanted: frozenset[int]) -> dict[int, bytes]:
    """The chain where a segment begins, also when the record before it is no longer kept."""
    before = {segment.header.first_index - 1: segment.header.chain_before for segment in reached.segments}
    return {index: chain for index, chain in before.items() if index in wanted}


def _problem_of(checkpoint: Checkpoint, seen: Survey, start: int) -> str:
    name = f"the checkpoint of record {checkpoint.index}"
    if checkpoint.journal_id != seen.journal_id:
        return f"{name} belongs to journal {checkpoint.journal_id}, not to {seen.journal_id}"
    if checkpoint.index > seen.last_index:
        return f"{name} is ahead of the journal, which ends with {seen.last_index}"
    if checkpoint.index < seen.first_index - 1:
        return f"{name} is too old: the journal begins with {seen.first_index}"
    if checkpoint.index >= start and checkpoint.chain_hash != seen.chains[checkpoint.index]:
        return f"{name} was made on another chain than the journal's"
    return ""


def _believed(look: Callable[[], T]) -> T:
    """What a look finds. Trouble counts when the next look meets the same; while it moves, the process is writing."""
    before = ""
    for _ in range(LOOKS):
        try:
            return look()
        except JournalError as error:
            if str(error) == before:
                raise
            before, last = str(error), error
    raise JournalError(f"the journal changes faster than it can be read: {last}")
