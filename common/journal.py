"""The durable log of a heart: what was appended is on disk when `append` returns, and is replayed after any crash.

In: opaque payloads, one per step of the loop. Out: the same payloads in order, index dense from 1. A torn tail is
cut; damage with anything valid behind it stops the start and is named. Nothing is retried after a failed write or
sync: the journal then refuses every append. Never decodes a payload, never logs; one thread appends, and only the
filling of the next segment happens outside it.

    0000000001.seg ...   segments (common/segment.py), written full of zeros before use: a sync has no metadata to write
    starts               one line of text: journal id, number of openings, checksum

Assumed of the disk: rewriting a sector does not harm the sectors beside it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from common.durable import replace_file, sync_folder, write_at
from common.errors import AlreadyRunning, JournalError
from common.journal_files import (
    STARTS,
    Record,
    Recovered,
    Segment,
    Starts,
    failure,
    journal_id_of,
    read_file,
    read_starts,
    recover,
    replay_segments,
    segment_paths,
)
from common.prewrite import Prewriter, Remover, fill_segment, write_zeros
from common.segment import (
    HEADER_BYTES,
    RECORD_OVERHEAD,
    SegmentHeader,
    decode_header,
    encode_header,
    encode_record,
    first_chain,
    marker_of,
    next_chain,
    written_end,
)

__all__ = ["PAYLOAD_MAX", "SEGMENT_BYTES_MIN", "Journal", "Record", "journal_id_of"]

PAYLOAD_MAX = 16 << 20
"""Largest payload of one record; a segment too small for it lowers the limit."""

SEGMENT_BYTES_MIN = 2 * HEADER_BYTES


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
                recovered = recover(segment_paths(folder), starts.journal_id, start)
                fd = os.open(recovered.segments[-1].path, os.O_RDWR)
                undo.callback(os.close, fd)
                _clear_tail(fd, recovered)
                starts = Starts(starts.journal_id, starts.openings + 1)
                _write_starts(folder, starts)
                fds = (lock_fd, fd)
                journal = cls(folder, fds, starts, recovered, segment_bytes=segment_bytes, keep_segments=keep_segments)
                undo.pop_all()
                return journal
        except OSError as error:
            raise failure(folder, "the journal cannot be opened", error) from error

    def __init__(
        self,
        folder: Path,
        fds: tuple[int, int],
        starts: Starts,
        recovered: Recovered,
        *,
        segment_bytes: int,
        keep_segments: int,
    ) -> None:
        """Use `open`."""
        self.folder = folder
        self.lock_fd, self._fd = fds
        """Holds the lock; a forked child closes its copy first."""
        self.journal_id, self.starts = starts
        self.last_index, self.last_hash = recovered.last_index, recovered.chain
        self.failed = False
        self.prewrite_waits = 0
        """How often an append had to wait for the next segment to be filled."""
        self.torn_bytes = recovered.dirty_end - recovered.offset
        """How many bytes of an unfinished record were cut when opening."""
        self._offset = recovered.offset
        self._segments = recovered.segments
        self._segment_bytes = segment_bytes
        self._keep_segments = max(keep_segments, 1)
        self._marker = marker_of(self.journal_id)
        self._prewriter = Prewriter(segment_bytes, self._half_full)
        self._remover = Remover()
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
    def helper_error(self) -> str:
        """Why a helper thread could not fill the next segment (a full disk, most likely) or remove an old one.

        Empty while all is well. Appends go on until the running segment is full, so this is the early warning.
        """
        error = self._prewriter.error or self._remover.error
        return str(error) if error else ""

    @property
    def payload_max(self) -> int:
        return min(PAYLOAD_MAX, self._segment_bytes - HEADER_BYTES - RECORD_OVERHEAD)

    def append(self, payload: bytes) -> int:
        """Make `payload` the next record, durably, and return its index.

        Raises JournalError when nothing was kept: too large (the journal stays usable), or any failure of the disk
        (it does not: what could be written of the record is zeroed, and every later append raises).
        """
        if self.failed or self._fd < 0:
            why = "failed earlier and takes no more records" if self.failed else "is closed"
            raise JournalError(f"{self.folder}: the journal {why}")
        if len(payload) > self.payload_max:
            raise JournalError(f"a payload of {len(payload)} bytes is above the limit of {self.payload_max}")
        index = self.last_index + 1
        chain = next_chain(self.last_hash, payload)
        record = encode_record(self._marker, index, chain, payload)
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
        return replay_segments(self._segments, after_index, self.last_index, chain_hash)

    def prune(self, upto_index: int) -> int:
        """Remove the oldest segments whose records are all <= `upto_index`; the newest `keep_segments` stay.

        The files go in a helper thread (tens of milliseconds each). A removal that a crash prevents or undoes only
        leaves older valid records behind, so nothing is synced.
        """
        doomed: list[Path] = []
        while len(self._segments) > self._keep_segments and self._segments[1].header.first_index - 1 <= upto_index:
            doomed.append(self._segments.pop(0).path)
        if doomed:
            self._remover.remove(doomed)
        return len(doomed)

    def close(self) -> None:
        """Stop filling ahead and give the lock back; nothing is left to be written."""
        if self._fd < 0:
            return
        self._prewriter.stop()
        self._remover.finish()
        os.close(self._fd)
        os.close(self.lock_fd)
        self._fd = self.lock_fd = -1

    def _half_full(self) -> bool:
        return self._offset > self._segment_bytes // 2

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
        """Zero a record that was not kept.

        Should this fail too, the next start may find the record whole and replay it. That is safe: nothing was done
        because of it, and after this exit outstanding places are looked up, never resent.
        """
        with suppress(OSError):
            write_at(self._fd, bytes(length), self._offset)
            if sync:
                os.fdatasync(self._fd)

    def _fail(self, what: str, error: OSError) -> JournalError:
        self.failed = True
        return failure(self._segments[-1].path, what, error)

    def _roll(self) -> None:
        """Go on in the next segment; its header is durable before its first record is written."""
        header = SegmentHeader(self.journal_id, self.last_index + 1, self._segment_bytes, self.last_hash)
        try:
            self.prewrite_waits += self._prewriter.finish()
            path = self._next_path()
            fd = os.open(path, os.O_RDWR)
            try:
                write_at(fd, encode_header(header), 0)
                os.fdatasync(fd)
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            raise self._fail("has no next segment", error) from error
        os.close(self._fd)
        self._fd, self._offset = fd, HEADER_BYTES
        self._segments.append(Segment(path, header))
        self._prewriter.order(self._next_path())


# --- recovery -----------------------------------------------------------------------------------------------------


def _clear_tail(fd: int, recovered: Recovered) -> None:
    """Zero what a torn record left and give a file that was cut short its full size back, durably."""
    size = os.fstat(fd).st_size
    full = recovered.segments[-1].header.segment_bytes
    if recovered.dirty_end == recovered.offset and size == full:
        return
    write_zeros(fd, recovered.offset, recovered.dirty_end)
    if size < full:
        write_zeros(fd, size, full)
    elif size > full:
        os.ftruncate(fd, full)
    os.fsync(fd)


def _keep_spare(spares: list[Path], wanted: Path, segment_bytes: int) -> bool:
    """Whether the next segment is already filled; any other file after the last segment is removed."""
    kept = False
    for path in spares:
        if path == wanted and path.stat().st_size == segment_bytes and not written_end(read_file(path), 0):
            kept = True
        else:
            path.unlink()
    return kept


# --- making, locking, counting ------------------------------------------------------------------------------------


def _lock(folder: Path, create: bool) -> int:
    """Lock the folder itself; the kernel lets go when the last copy of the descriptor is closed, however we die."""
    if create and not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder.parent)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise AlreadyRunning(f"{folder}: another process has this journal open") from error
    return fd


def _identify(folder: Path, segment_bytes: int, create: bool) -> Starts:
    """Whose journal this is and how often it was opened; makes a new one in an empty folder.

    Everything found is synced before anything is believed: what a killed process wrote but did not sync must not be
    acted on while a power cut could still take it.
    """
    for leftover in (*folder.glob("*.seg.tmp"), *folder.glob(f"{STARTS}.*.tmp")):
        leftover.unlink()
    starts, paths = read_starts(folder), segment_paths(folder)
    if paths:
        _sync_all(folder, paths)
        return starts or _identify_unstarted(paths)
    if starts:
        raise JournalError(
            f"{folder}: journal {starts.journal_id} was started {starts.openings} times, its segments are gone"
        )
    if not create:
        raise JournalError(f"{folder}: there is no journal")
    journal_id = secrets.token_hex(8)
    header = SegmentHeader(journal_id, 1, segment_bytes, first_chain(journal_id))
    fill_segment(folder / "0000000001.seg", segment_bytes, encode_header(header))
    return Starts(journal_id, 0)


def _identify_unstarted(paths: list[Path]) -> Starts:
    """A process that died while making the journal leaves one empty segment; anything more means a lost file."""
    data = read_file(paths[0])
    header = decode_header(data, paths[0].name)
    if header is None or len(paths) > 1 or header.first_index != 1 or written_end(data, HEADER_BYTES) > HEADER_BYTES:
        raise JournalError(f"{paths[0].parent}: the file {STARTS!r} is missing, the number of starts is unknown")
    return Starts(header.journal_id, 0)


def _sync_all(folder: Path, paths: list[Path]) -> None:
    for path in paths:
        fd = os.open(path, os.O_RDWR)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    sync_folder(folder)


def _write_starts(folder: Path, starts: Starts) -> None:
    text = f"polyexec-journal-starts 1 {starts.journal_id} {starts.openings}".encode("ascii")
    replace_file(folder / STARTS, (text, b" %08x\n" % zlib.crc32(text)))
