"""The durable log of a heart: what was appended is on disk when `append` returns, and is replayed after any crash.

In: opaque payloads, one per step of the loop. Out: the same payloads in order, index dense from 1. Every record has a
checksum and a hash chain. A torn tail is cut; damage with anything valid behind it stops the start and is named.
Nothing is retried after a failed write or sync: the journal then refuses every append. Never decodes a payload, never
logs, and only the filling of the next segment happens outside the caller's thread.

    0000000001.seg   header block | record | record | ... | zeros up to segment_bytes
    record           crc32 u32 | length u32 (of the whole record; 0 = end) | marker 4 | index u64 | chain 16 | payload
    starts           one line of text: journal id, number of openings, checksum

Segments are filled with zeros ahead of use (written, not only reserved), so a sync has no metadata to write. The
marker is derived from the random journal id: a search for it finds the next record behind damage, and nothing a
client sends can imitate it. Assumed of the disk: rewriting a sector does not harm the sectors beside it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, NoReturn

from common.durable import replace_file, sync_folder, write_at
from common.errors import AlreadyRunning, JournalCorrupt, JournalError

PAYLOAD_MAX = 16 << 20
"""Largest payload of one record; a segment too small for it lowers the limit."""

HEADER_BYTES = 4096
"""A segment's header has a block of its own, so no append ever rewrites it."""

SEGMENT_BYTES_MIN = 2 * HEADER_BYTES

_MAGIC = b"PXJRNL\0\0"
_VERSION = 1
_HEADER = struct.Struct("<8sI16sQQ16s")  # magic, version, journal id, first index, segment bytes, chain before
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<II4sQ16s")
_RECORD_REST = struct.Struct("<I4sQ16s")  # what the checksum covers, before the payload
_MARKER_OFFSET = 8
_CHAIN_BYTES = 16
_SEGMENT_NAME = re.compile(r"\d{10}\.seg")
_STARTS = "starts"
_STARTS_LINE = re.compile(rb"(polyexec-journal-starts 1 ([0-9a-f]{16}) (\d{1,18})) ([0-9a-f]{8})\n")
_SLICE_BYTES = 256 << 10
_SLICE_PAUSE_S = 0.002


class Record(NamedTuple):
    index: int
    payload: bytes


class _Header(NamedTuple):
    journal_id: str
    first_index: int
    segment_bytes: int
    chain_before: bytes


class _Starts(NamedTuple):
    journal_id: str
    count: int


class _Segment(NamedTuple):
    path: Path
    header: _Header


class _Found(NamedTuple):
    """One record as it stands in a segment."""

    index: int
    chain: bytes
    payload: bytes
    end: int


class _Recovered(NamedTuple):
    """What the files say after validation."""

    segments: list[_Segment]
    index: int
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
        starts = _read_starts(folder)
    except OSError as error:
        raise _failure(folder / _STARTS, "cannot be read", error) from error
    return starts.journal_id if starts else None


class Journal:
    """An open journal: one per folder, guarded by a lock on the folder, appended to by one thread."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        segment_bytes: int = 64 << 20,
        keep_segments: int = 4,
        create: bool = True,
        start: int = 0,
    ) -> Journal:
        """Lock, sync, validate, cut a torn tail, count the start.

        `start` is the record a trusted checkpoint stands for: segments that end at or before it are not read.
        Raises AlreadyRunning, JournalError, or JournalCorrupt naming file, offset and index.
        """
        if segment_bytes < SEGMENT_BYTES_MIN:
            raise JournalError(f"segment_bytes {segment_bytes} is below {SEGMENT_BYTES_MIN}")
        try:
            with ExitStack() as undo:
                lock_fd = _lock(folder, create)
                undo.callback(os.close, lock_fd)
                starts = _identify(folder, segment_bytes, create)
                recovered = _recover(_segment_paths(folder), starts.journal_id, start)
                fd = os.open(recovered.segments[-1].path, os.O_RDWR)
                undo.callback(os.close, fd)
                _clear_tail(fd, recovered)
                starts = _Starts(starts.journal_id, starts.count + 1)
                _write_starts(folder, starts)
                journal = cls(folder, lock_fd, fd, starts, recovered, segment_bytes, keep_segments)
                undo.pop_all()
                return journal
        except OSError as error:
            raise _failure(folder, "the journal cannot be opened", error) from error

    def __init__(
        self,
        folder: Path,
        lock_fd: int,
        fd: int,
        starts: _Starts,
        recovered: _Recovered,
        segment_bytes: int,
        keep_segments: int,
    ) -> None:
        """Use `open`."""
        self.folder = folder
        self.lock_fd = lock_fd
        """Holds the lock; a forked child closes its copy first."""
        self.journal_id, self.starts = starts
        self.last_index, self.last_hash = recovered.index, recovered.chain
        self.failed = False
        self.prewrite_waits = 0
        """How often an append had to wait for the next segment to be filled."""
        self.torn_bytes = recovered.dirty_end - recovered.offset
        """How many bytes of an unfinished record were cut when opening."""
        self._fd, self._offset = fd, recovered.offset
        self._segments = recovered.segments
        self._segment_bytes = segment_bytes
        self._keep_segments = max(keep_segments, 1)
        self._marker = _marker(self.journal_id)
        self._prewriter = _Prewriter(segment_bytes)
        if not _keep_spare(recovered.spares, self._next_path(), segment_bytes):
            self._prewriter.order(self._next_path())

    @property
    def first_index(self) -> int:
        """The oldest record still kept (or the next to be written when there is none)."""
        return self._segments[0].header.first_index

    @property
    def segment_count(self) -> int:
        """Segments in use, without the one filled ahead."""
        return len(self._segments)

    @property
    def prewrite_error(self) -> str:
        """Why the next segment could not be filled ahead (a full disk, most likely); empty while all is well."""
        error = self._prewriter.error
        return str(error) if error else ""

    @property
    def payload_max(self) -> int:
        return min(PAYLOAD_MAX, self._segment_bytes - HEADER_BYTES - _RECORD.size)

    def append(self, payload: bytes) -> int:
        """Make `payload` the next record, durably, and return its index.

        Raises JournalError when nothing was kept: too large (the journal stays usable), or any failure of the disk
        (it does not: what could be written of the record is zeroed, and every later append raises).
        """
        if self.failed:
            raise JournalError(f"{self.folder}: the journal failed earlier and takes no more records")
        if len(payload) > self.payload_max:
            raise JournalError(f"a payload of {len(payload)} bytes is above the limit of {self.payload_max}")
        index = self.last_index + 1
        chain = _chain(self.last_hash, payload)
        record = _encode(self._marker, index, chain, payload)
        if self._offset + len(record) > self._segments[-1].header.segment_bytes:
            self._roll()
        self._write(record)
        self.last_index, self.last_hash = index, chain
        self._offset += len(record)
        return index

    def replay(self, after_index: int = 0, *, chain_hash: bytes | None = None) -> Iterator[Record]:
        """Records after `after_index` up to the last one at the time of the call, each verified again.

        `chain_hash` is what a checkpoint says the chain was at `after_index`. Raises JournalError at once when the
        record after `after_index` is no longer kept or not there yet, and JournalCorrupt when the chain differs.
        """
        if not self.first_index - 1 <= after_index <= self.last_index:
            raise JournalError(
                f"{self.folder}: cannot replay after {after_index}: "
                f"the journal holds {self.first_index} to {self.last_index}"
            )
        return self._replay(after_index, self.last_index, chain_hash)

    def prune(self, upto_index: int) -> int:
        """Remove the oldest segments whose records are all <= `upto_index`; the newest `keep_segments` stay.

        A removal undone by a power cut only brings older valid records back, so nothing is synced.
        """
        removed = 0
        while len(self._segments) > self._keep_segments:
            oldest, second = self._segments[0], self._segments[1]
            if second.header.first_index - 1 > upto_index:
                break
            try:
                oldest.path.unlink()
            except OSError as error:
                raise _failure(oldest.path, "cannot be removed", error) from error
            del self._segments[0]
            removed += 1
        return removed

    def close(self) -> None:
        """Stop filling ahead and give the lock back; nothing is left to be written."""
        if self._fd < 0:
            return
        self.failed = True
        self._prewriter.stop()
        os.close(self._fd)
        os.close(self.lock_fd)
        self._fd = self.lock_fd = -1

    def _next_path(self) -> Path:
        number = int(self._segments[-1].path.stem) + 1
        return self.folder / f"{number:010d}.seg"

    def _write(self, record: bytes) -> None:
        try:
            write_at(self._fd, record, self._offset)
        except OSError as error:
            self._undo(len(record), sync=True)
            raise self._fail("cannot be written", error) from error
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._undo(len(record), sync=False)
            raise self._fail("cannot be synced", error) from error

    def _undo(self, length: int, *, sync: bool) -> None:
        """Zero a record that was not kept. When this fails too, the next start may find it whole and replay it:

        it was never acted on, and after this exit outstanding places are looked up, not resent."""
        try:
            write_at(self._fd, bytes(length), self._offset)
            if sync:
                os.fdatasync(self._fd)
        except OSError:
            self.failed = True

    def _fail(self, what: str, error: OSError) -> JournalError:
        self.failed = True
        return _failure(self._segments[-1].path, what, error)

    def _roll(self) -> None:
        """Go on in the next segment; its header is durable before its first record is written."""
        header = _Header(self.journal_id, self.last_index + 1, self._segment_bytes, self.last_hash)
        try:
            self.prewrite_waits += self._prewriter.finish()
            path = self._next_path()
            fd = os.open(path, os.O_RDWR)
            try:
                write_at(fd, _encode_header(header), 0)
                os.fdatasync(fd)
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            raise self._fail("has no next segment", error) from error
        os.close(self._fd)
        self._fd, self._offset = fd, HEADER_BYTES
        self._segments.append(_Segment(path, header))
        self._prewriter.order(self._next_path())

    def _replay(self, after_index: int, last_index: int, chain_hash: bytes | None) -> Iterator[Record]:
        segments = list(self._segments)
        if chain_hash is not None and after_index == segments[0].header.first_index - 1:
            _check_chain(segments[0].path, after_index, segments[0].header.chain_before, chain_hash)
        for segment, following in zip(segments, [*segments[1:], None], strict=True):
            last_here = min(following.header.first_index - 1, last_index) if following else last_index
            if last_here < after_index or last_here < segment.header.first_index:
                continue
            yield from _replay_segment(segment, after_index, last_here, chain_hash)


def _replay_segment(segment: _Segment, after_index: int, last_here: int, chain_hash: bytes | None) -> Iterator[Record]:
    offset = HEADER_BYTES
    index = segment.header.first_index - 1
    for index, chain, payload, offset in _records(_read(segment.path), segment.header, segment.path):
        if index > after_index:
            yield Record(index, payload)
        elif index == after_index and chain_hash is not None:
            _check_chain(segment.path, index, chain, chain_hash)
        if index == last_here:
            return
    _corrupt(segment.path, offset, index + 1, "is invalid although it was valid when the journal was opened")


def _check_chain(path: Path, index: int, chain: bytes, expected: bytes) -> None:
    if chain != expected:
        raise JournalCorrupt(
            f"{path.name}: record {index}: the checkpoint was made on another chain "
            f"({expected.hex()}, here {chain.hex()})"
        )


# --- the format ---------------------------------------------------------------------------------------------------


def _chain(before: bytes, payload: bytes) -> bytes:
    digest = hashlib.blake2b(before, digest_size=_CHAIN_BYTES)
    digest.update(payload)
    return digest.digest()


def _genesis(journal_id: str) -> bytes:
    return _chain(b"polyexec journal", journal_id.encode("ascii"))


def _marker(journal_id: str) -> bytes:
    """Four bytes that stand in every record of this journal; the first is never zero, so zeros are never searched."""
    digest = _chain(b"polyexec record", journal_id.encode("ascii"))
    return bytes((digest[0] | 1,)) + digest[1:4]


def _encode(marker: bytes, index: int, chain: bytes, payload: bytes) -> bytes:
    body = _RECORD_REST.pack(_RECORD.size + len(payload), marker, index, chain) + payload
    return _CRC.pack(zlib.crc32(body)) + body


def _record_at(data: memoryview, offset: int, marker: bytes) -> _Found | None:
    """The record that begins at `offset`, if there is a whole one with a right checksum."""
    if offset + _RECORD.size > len(data):
        return None
    crc, length, mark, index, chain = _RECORD.unpack_from(data, offset)
    end = offset + length
    if mark != marker or length < _RECORD.size or end > len(data):
        return None
    if zlib.crc32(data[offset + _CRC.size : end]) != crc:
        return None
    return _Found(index, chain, bytes(data[offset + _RECORD.size : end]), end)


def _records(data: bytes, header: _Header, path: Path) -> Iterator[_Found]:
    """The valid records of one segment in order; stops at the first thing that is none.

    A record with a right checksum but a wrong place in the chain cannot come from a torn write: JournalCorrupt.
    """
    view, marker = memoryview(data), _marker(header.journal_id)
    index, chain, offset = header.first_index, header.chain_before, HEADER_BYTES
    while found := _record_at(view, offset, marker):
        if found.index != index:
            _corrupt(path, offset, index, f"is missing: record {found.index} stands in its place")
        chain = _chain(chain, found.payload)
        if found.chain != chain:
            _corrupt(path, offset, index, "does not continue the hash chain")
        yield found
        index, offset = index + 1, found.end


def _encode_header(header: _Header) -> bytes:
    body = _HEADER.pack(
        _MAGIC,
        _VERSION,
        header.journal_id.encode("ascii"),
        header.first_index,
        header.segment_bytes,
        header.chain_before,
    ).ljust(HEADER_BYTES - _CRC.size, b"\0")
    return _CRC.pack(zlib.crc32(body)) + body


def _decode_header(data: bytes, path: Path) -> _Header | None:
    """The header of a segment in use; None for an unused, unfinished or damaged one."""
    block = data[:HEADER_BYTES]
    if len(block) < HEADER_BYTES or _CRC.unpack_from(block)[0] != zlib.crc32(block[_CRC.size :]):
        return None
    magic, version, journal_id, first_index, segment_bytes, chain = _HEADER.unpack_from(block, _CRC.size)
    if magic != _MAGIC:
        return None
    if version != _VERSION:
        raise JournalError(f"{path.name}: version {version} is not one this program reads ({_VERSION})")
    return _Header(journal_id.decode("ascii"), first_index, segment_bytes, chain)


# --- recovery -----------------------------------------------------------------------------------------------------


def _recover(paths: list[Path], journal_id: str, start: int) -> _Recovered:
    """Follow the chain through the kept segments; raises JournalCorrupt for damage that is not a torn tail."""
    headers = [_decode_header(_read(path, HEADER_BYTES), path) for path in paths]
    first = headers[0]
    if first is None:
        raise JournalCorrupt(f"{paths[0].name}: offset 0: the header of the oldest segment is invalid")
    segments: list[_Segment] = []
    reached = _Recovered(segments, first.first_index - 1, first.chain_before, 0, 0, [])
    for position, (path, header) in enumerate(zip(paths, headers, strict=True)):
        later = paths[position + 1 :]
        if header is None:
            _refuse_if_followed(path, 0, reached.index + 1, b"", paths[position:], journal_id)
            break
        _check_header(path, header, journal_id, reached)
        segments.append(_Segment(path, header))
        following = headers[position + 1] if later else None
        if following is not None and following.first_index - 1 <= start:
            size = header.segment_bytes
            reached = _Recovered(segments, following.first_index - 1, following.chain_before, size, size, [])
        else:
            reached = _follow(segments, reached, later)
    return reached._replace(spares=paths[len(segments) :])


def _check_header(path: Path, header: _Header, journal_id: str, reached: _Recovered) -> None:
    """A valid header proves that everything before its first record was written and synced."""
    if header.journal_id != journal_id:
        raise JournalError(f"{path.name}: belongs to journal {header.journal_id}, this one is {journal_id}")
    if header.first_index == reached.index + 1 and header.chain_before == reached.chain:
        return
    before = reached.segments[-1].path if reached.segments else path
    what = f"should be followed by segment {path.name}, which begins with record {header.first_index} of another chain"
    if header.first_index != reached.index + 1:
        what = f"is missing, although segment {path.name} begins with record {header.first_index}"
    _corrupt(before, reached.offset, reached.index + 1, what)


def _follow(segments: list[_Segment], before: _Recovered, later: list[Path]) -> _Recovered:
    """Verify the last of `segments`. After its records come zeros up to the full size, or else a torn tail."""
    path, header = segments[-1]
    data = _read(path)
    index, chain, offset = before.index, before.chain, HEADER_BYTES
    for index, chain, _, offset in _records(data, header, path):
        pass
    dirty_end = offset + len(data[offset:].rstrip(b"\0"))
    if dirty_end > offset or len(data) != header.segment_bytes:
        _refuse_if_followed(path, offset, index + 1, data, later, header.journal_id)
    return _Recovered(segments, index, chain, offset, dirty_end, [])


def _refuse_if_followed(path: Path, offset: int, index: int, data: bytes, later: list[Path], journal_id: str) -> None:
    """Damage at `offset` of `path` is a torn tail only if nothing valid comes after it, here or in later files."""
    found = _valid_record_after(data, offset, index, journal_id)
    if found:
        _corrupt(path, offset, index, f"is invalid, but a valid record {found.index} follows in the same file")
    for other in later:
        contents = _read(other)
        if other != path and _decode_header(contents, other) is not None:
            _corrupt(path, offset, index, f"is invalid, but segment {other.name} follows")
        found = _valid_record_after(contents, 0, index, journal_id)
        if found:
            _corrupt(path, offset, index, f"is invalid, but a valid record {found.index} follows in {other.name}")


def _valid_record_after(data: bytes, offset: int, index: int, journal_id: str) -> _Found | None:
    """The first whole record of this journal from `offset` on whose index is not below `index`.

    Searches for the marker, so zeros cost nothing and the work is bounded by the file: a false hit needs the
    journal's random marker, a plausible length and a matching checksum.
    """
    marker, view = _marker(journal_id), memoryview(data)
    at = data.find(marker, offset + _MARKER_OFFSET)
    while at >= 0:
        found = _record_at(view, at - _MARKER_OFFSET, marker)
        if found and found.index >= index:
            return found
        at = data.find(marker, at + 1)
    return None


def _clear_tail(fd: int, recovered: _Recovered) -> None:
    """Zero what a torn record left and give a file that was cut short its full size back, durably."""
    size = os.fstat(fd).st_size
    full = recovered.segments[-1].header.segment_bytes
    if recovered.dirty_end == recovered.offset and size == full:
        return
    _write_zeros(fd, recovered.offset, recovered.dirty_end)
    if size < full:
        _write_zeros(fd, size, full)
    elif size > full:
        os.ftruncate(fd, full)
    os.fsync(fd)


def _write_zeros(fd: int, start: int, end: int) -> None:
    zeros = memoryview(bytes(_SLICE_BYTES))
    for offset in range(start, end, _SLICE_BYTES):
        write_at(fd, zeros[: end - offset], offset)


def _keep_spare(spares: list[Path], wanted: Path, segment_bytes: int) -> bool:
    """Whether the next segment is already filled; any other file after the last segment is removed."""
    kept = False
    for path in spares:
        if path == wanted and path.stat().st_size == segment_bytes and not _read(path).strip(b"\0"):
            kept = True
        else:
            path.unlink()
    return kept


def _segment_paths(folder: Path) -> list[Path]:
    """The segments in order; a hole in their numbers is a lost file."""
    paths = sorted(path for path in folder.iterdir() if _SEGMENT_NAME.fullmatch(path.name))
    for before, path in pairwise(paths):
        if int(path.stem) != int(before.stem) + 1:
            raise JournalCorrupt(f"{path.name}: the segment before it is missing, {before.name} is the last one found")
    return paths


def _read(path: Path, limit: int = -1) -> bytes:
    with path.open("rb") as file:
        return file.read(limit)


def _corrupt(path: Path, offset: int, index: int, what: str) -> NoReturn:
    raise JournalCorrupt(f"{path.name}: offset {offset}: record {index} {what}")


def _failure(path: Path, what: str, error: OSError) -> JournalError:
    return JournalError(f"{path}: {what}: {error.strerror or error}")


# --- making, locking, counting ------------------------------------------------------------------------------------


def _lock(folder: Path, create: bool) -> int:
    """Lock the folder itself; the kernel lets go when the last copy of the descriptor is closed, however we die."""
    if create and not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        sync_folder(folder.parent)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise AlreadyRunning(f"{folder}: another process has this journal open") from error
    return fd


def _identify(folder: Path, segment_bytes: int, create: bool) -> _Starts:
    """Whose journal this is and how often it was opened; makes a new one in an empty folder.

    Everything found is synced before anything is believed: what a killed process wrote but did not sync must not be
    acted on while a power cut could still take it.
    """
    for leftover in (*folder.glob("*.seg.tmp"), *folder.glob(f"{_STARTS}.*.tmp")):
        leftover.unlink()
    starts, paths = _read_starts(folder), _segment_paths(folder)
    if paths:
        _sync_all(folder, paths)
        return starts or _identify_unstarted(paths)
    if starts:
        raise JournalError(
            f"{folder}: journal {starts.journal_id} was started {starts.count} times, its segments are gone"
        )
    if not create:
        raise JournalError(f"{folder}: there is no journal")
    journal_id = secrets.token_hex(8)
    header = _Header(journal_id, 1, segment_bytes, _genesis(journal_id))
    _fill(folder / "0000000001.seg", segment_bytes, _encode_header(header))
    return _Starts(journal_id, 0)


def _identify_unstarted(paths: list[Path]) -> _Starts:
    """A process that died while making the journal leaves one empty segment; anything more means a lost file."""
    data = _read(paths[0])
    header = _decode_header(data, paths[0])
    if header is None or len(paths) > 1 or header.first_index != 1 or data[HEADER_BYTES:].strip(b"\0"):
        raise JournalError(f"{paths[0].parent}: the file {_STARTS!r} is missing, the number of starts is unknown")
    return _Starts(header.journal_id, 0)


def _sync_all(folder: Path, paths: list[Path]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDWR)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    sync_folder(folder)


def _read_starts(folder: Path) -> _Starts | None:
    path = folder / _STARTS
    try:
        line = path.read_bytes()
    except FileNotFoundError:
        return None
    match = _STARTS_LINE.fullmatch(line)
    if match is None or int(match[4], 16) != zlib.crc32(match[1]):
        raise JournalCorrupt(f"{path.name}: offset 0: its checksum does not match, the number of starts is unknown")
    return _Starts(match[2].decode("ascii"), int(match[3]))


def _write_starts(folder: Path, starts: _Starts) -> None:
    text = f"polyexec-journal-starts 1 {starts.journal_id} {starts.count}".encode("ascii")
    replace_file(folder / _STARTS, (text, b" %08x\n" % zlib.crc32(text)))


# --- filling ahead ------------------------------------------------------------------------------------------------


def _fill(path: Path, segment_bytes: int, first_block: bytes, pause: Callable[[], bool] = bool) -> None:
    """Make a full-size segment appear at `path`, durably. `pause` is called between slices; True gives up.

    Each slice is synced by itself, so the appends of the running segment never queue behind megabytes.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for start in range(0, segment_bytes, _SLICE_BYTES):
                _write_zeros(fd, start, min(start + _SLICE_BYTES, segment_bytes))
                os.fdatasync(fd)
                if pause():
                    break
            else:
                write_at(fd, first_block, 0)
                os.fsync(fd)
                temporary.rename(path)
                sync_folder(path.parent)
        finally:
            os.close(fd)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class _Prewriter:
    """Fills the next segment in a thread that lives only as long as that takes."""

    def __init__(self, segment_bytes: int) -> None:
        self.error: OSError | None = None
        self._segment_bytes = segment_bytes
        self._path: Path | None = None
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        self._stopped = False

    def order(self, path: Path) -> None:
        self._path = path
        self._hurry.clear()
        self._thread = threading.Thread(target=self._run, args=(path,), name="journal-prewrite", daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """Return when the ordered segment is there; True when that had to be waited for.

        What failed while there was time (a full disk) is tried once more from the beginning, then raised.
        """
        if self._thread is None or self._path is None:
            return False
        waited = self._thread.is_alive()
        self._hurry.set()
        self._thread.join()
        if self.error is not None:
            waited = True
            self._run(self._path)
        if self.error is not None:
            raise self.error
        return waited

    def stop(self) -> None:
        self._stopped = True
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, path: Path) -> None:
        try:
            _fill(path, self._segment_bytes, bytes(HEADER_BYTES), self._pause)
            self.error = None
        except OSError as error:
            self.error = error

    def _pause(self) -> bool:
        """Give the disk to the appends for a moment, unless one is waiting for us."""
        self._hurry.wait(_SLICE_PAUSE_S)
        return self._stopped
