"""The files of a journal, read: which there are, how far they are valid, what stands in them.

In: a folder. Out: its segments in order, where the valid part ends, records verified again, or JournalError and
JournalCorrupt naming file, offset and index. Takes no lock, writes and syncs nothing: the running process
(common/journal.py) uses it under its lock, anybody else may use it meanwhile (common/journal_reader.py).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from common.errors import JournalCorrupt, JournalError
from common.segment import (
    HEADER_BYTES,
    SegmentHeader,
    StoredRecord,
    decode_header,
    record_behind,
    refuse,
    stored_records,
    written_end,
)

STARTS = "starts"

_SEGMENT_NAME = re.compile(r"\d{10}\.seg")
_STARTS_LINE = re.compile(rb"(polyexec-journal-starts 1 ([0-9a-f]{16}) (\d{1,18})) ([0-9a-f]{8})\n")


class Record(NamedTuple):
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    payload: bytes


class Starts(NamedTuple):
    journal_id: str
    openings: int


class Segment(NamedTuple):
    path: Path
    header: SegmentHeader


class Recovered(NamedTuple):
    """How far the files are valid."""

    segments: list[Segment]
    last_index: int
    chain: bytes
    offset: int
    """Where the next record goes in the last segment."""
    dirty_end: int
    """Everything from here on is zeros (or missing, when the file is too short)."""
    spares: list[Path]
    """Files after the last segment in use: filled ahead, or left behind by an unfinished roll."""


def journal_id_of(folder: Path) -> str | None:
    """The id of the journal in `folder`, None when there is none yet; finds its checkpoint before `open`."""
    try:
        starts = read_starts(folder)
    except OSError as error:
        raise failure(folder / STARTS, "cannot be read", error) from error
    return starts.journal_id if starts else None


def read_starts(folder: Path) -> Starts | None:
    path = folder / STARTS
    try:
        line = path.read_bytes()
    except FileNotFoundError:
        return None
    match = _STARTS_LINE.fullmatch(line)
    if match is None or int(match[4], 16) != zlib.crc32(match[1]):
        what = "its checksum does not match, the number of starts is unknown"
        raise JournalCorrupt(f"{path.name}: offset 0: {what}", file=path.name)
    return Starts(match[2].decode("ascii"), int(match[3]))


def segment_paths(folder: Path) -> list[Path]:
    """The segments in order; a hole in their numbers is a lost file."""
    paths = sorted(path for path in folder.iterdir() if _SEGMENT_NAME.fullmatch(path.name))
    for before, path in pairwise(paths):
        if int(path.stem) != int(before.stem) + 1:
            what = f"the segment before it is missing, {before.name} is the last one found"
            raise JournalCorrupt(f"{path.name}: {what}", file=path.name)
    return paths


def read_file(path: Path, limit: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise failure(path, "cannot be read", error) from error


def failure(path: Path, what: str, error: OSError) -> JournalError:
    return JournalError(f"{path}: {what}: {error.strerror or error}")


def _not_visited(_found: StoredRecord) -> None: ...


def recover(
    paths: list[Path], journal_id: str, start: int, visit: Callable[[StoredRecord], None] = _not_visited
) -> Recovered:
    """Follow the chain through the kept segments; raises JournalCorrupt for damage that is not a torn tail.

    Segments that end at or before `start` are not read. `visit` is shown every record that was.
    """
    headers = [decode_header(read_file(path, HEADER_BYTES), path.name) for path in paths]
    first = headers[0]
    if first is None:
        what = "the header of the oldest segment is invalid"
        raise JournalCorrupt(f"{paths[0].name}: offset 0: {what}", file=paths[0].name)
    segments: list[Segment] = []
    reached = Recovered(segments, first.first_index - 1, first.chain_before, 0, 0, [])
    for position, (path, header) in enumerate(zip(paths, headers, strict=True)):
        later = paths[position + 1 :]
        if header is None:
            data = read_file(path)
            if later or written_end(data, 0):
                _refuse_if_followed(path, reached._replace(offset=0), data, later)
            break
        _check_header(path, header, journal_id, reached)
        segments.append(Segment(path, header))
        following = headers[position + 1] if later else None
        if following is not None and following.first_index - 1 <= start:
            size = header.segment_bytes
            reached = Recovered(segments, following.first_index - 1, following.chain_before, size, size, [])
        else:
            reached = _follow(segments, reached, later, visit)
    return reached._replace(spares=paths[len(segments) :])


def _check_header(path: Path, header: SegmentHeader, journal_id: str, reached: Recovered) -> None:
    """A valid header proves that everything before its first record was written and synced."""
    if header.journal_id != journal_id:
        raise JournalError(f"{path.name}: belongs to journal {header.journal_id}, this one is {journal_id}")
    if header.first_index == reached.last_index + 1 and header.chain_before == reached.chain:
        return
    before = reached.segments[-1].path if reached.segments else path
    what = f"should be followed by segment {path.name}, which begins with record {header.first_index} of another chain"
    if header.first_index != reached.last_index + 1:
        what = f"is missing, although segment {path.name} begins with record {header.first_index}"
    refuse(before.name, reached.offset, reached.last_index + 1, what)


def _follow(
    segments: list[Segment], before: Recovered, later: list[Path], visit: Callable[[StoredRecord], None]
) -> Recovered:
    """Verify the last of `segments`. After its records come zeros up to the full size, or else a torn tail."""
    path, header = segments[-1]
    data = read_file(path)
    index, chain, offset = before.last_index, before.chain, HEADER_BYTES
    for found in stored_records(data, header, path.name):
        index, chain, _, offset = found
        visit(found)
    dirty_end = written_end(data, offset)
    reached = Recovered(segments, index, chain, offset, dirty_end, [])
    if dirty_end > offset or len(data) != header.segment_bytes:
        _refuse_if_followed(path, reached, data, later)
    return reached


def _refuse_if_followed(path: Path, reached: Recovered, data: bytes, later: list[Path]) -> None:
    """What is wrong at `reached.offset` of `path` is a torn tail only if nothing valid comes after it."""
    number, journal_id = reached.last_index + 1, reached.segments[-1].header.journal_id
    what = "is invalid" if reached.offset else "is behind an invalid segment header"
    found = record_behind(data, reached.offset, number, journal_id)
    if found:
        refuse(path.name, reached.offset, number, f"{what}, but a valid record {found.number} follows in this file")
    for other in later:
        contents = read_file(other)
        found = record_behind(contents, 0, number, journal_id)
        if found or decode_header(contents, other.name) is not None:
            refuse(path.name, reached.offset, number, f"{what}, but segment {other.name} follows with valid contents")


def replay_segments(
    segments: Sequence[Segment], after_index: int, last_index: int, chain_hash: bytes | None
) -> Iterator[Record]:
    """Records behind `after_index` up to `last_index`, each verified again; `chain_hash` is the chain there."""
    kept = list(segments)
    for segment, following in zip(kept, [*kept[1:], None], strict=True):
        last_here = min(following.header.first_index - 1, last_index) if following else last_index
        if following and last_here <= after_index:
            continue
        if chain_hash is not None and segment.header.first_index - 1 == after_index:
            _check_chain(segment.path, after_index, segment.header.chain_before, chain_hash)
        if last_here >= segment.header.first_index:
            yield from _replay_segment(segment, after_index, last_here, chain_hash)
        if last_here == last_index:
            return


def _replay_segment(segment: Segment, after_index: int, last_here: int, chain_hash: bytes | None) -> Iterator[Record]:
    data = read_file(segment.path)
    offset, expected = HEADER_BYTES, segment.header.first_index
    for found in stored_records(data, segment.header, segment.path.name, skip_to=after_index):
        offset, expected = found.end, found.number + 1
        if found.number > after_index:
            yield Record(found.number, found.payload)
        elif found.number == after_index and chain_hash is not None:
            _check_chain(segment.path, after_index, found.chain, chain_hash)
        if found.number == last_here:
            return
    refuse(segment.path.name, offset, expected, "is invalid although it was valid when the journal was opened")


def _check_chain(path: Path, index: int, chain: bytes, expected: bytes) -> None:
    if chain != expected:
        raise JournalCorrupt(
            f"{path.name}: record {index}: the checkpoint was made on another chain "
            f"({expected.hex()}, here {chain.hex()})",
            file=path.name,
            record=index,
        )
