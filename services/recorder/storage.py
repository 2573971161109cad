"""Recording files on disk: one being written, those that are finished, and the oldest removed.

In: entries, their order is the file's. Out: durable rows when `write` returns, or the OSError that prevented it; then
nothing of that call is in the file. What is written first is an Arrow stream (.partial): each batch stands by itself,
so kill -9 and power cuts take only what was never written. A full or old file becomes Parquet, under its final name
only when it is whole and durable. Used by the writer's thread alone; loads pyarrow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from common.durable import sync_folder, write_at
from common.recording import (
    PARTIAL,
    SUFFIX,
    VERSION,
    Entry,
    Header,
    Recording,
    RecordingError,
    batch_of,
    header_metadata,
    schema_of,
)

NAME = re.compile(r"frames-\d{8}T\d{6}Z-(\d+)-(\d+)\.(parquet|partial)")
UNREADABLE = ".unreadable"
"""What a leftover is renamed to that holds no recording; it counts and is removed like the others."""
GROUP_ROWS = 65_536
GROUP_BYTES = 8 << 20
"""A row group of a finished file ends at so many rows or bytes: what a reader holds at a time."""


class Stopped(Exception):
    """Finishing a file was left to the next start."""


class Limits(NamedTuple):
    file_bytes: int
    total_bytes: int
    rotate_after_ns: int


class _Bytes:
    """What an Arrow writer says, to be written by us: short writes and errors are ours to see."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class _Partial:
    """The file being written: an Arrow stream whose length always ends a whole batch."""

    def __init__(self, path: Path, header: Header, opened_ns: int) -> None:
        self.path = path
        self.header = header
        self.opened_ns = opened_ns
        self.next_seq = header.first_seq
        self.size = 0
        self._schema = schema_of(header)
        self._said = _Bytes()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._stream = pa.ipc.new_stream(pa.PythonFile(self._said, mode="w"), self._schema, options=options)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def append(self, entries: Sequence[Entry]) -> None:
        """Durable when it returns. Raises OSError; the file then ends where it ended before."""
        self._stream.write_batch(batch_of(entries, self.next_seq, self._schema))
        data = self._said.take()
        try:
            write_at(self._fd, data, self.size)
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)
        self.next_seq += len(entries)

    def close(self) -> None:
        os.close(self._fd)


class Files:
    """The folder of one recorder. After an OSError call `abandon`, and write again later."""

    def __init__(self, folder: Path, run: int, limits: Limits, stopping: Callable[[], bool]) -> None:
        self.folder = folder
        self.finished = 0
        """Files in the folder that can be replayed, without the one being written."""
        self.written = 0
        """Bytes written since the start, as they stand in the files."""
        self.unreadable = 0
        self._run = run
        self._limits = limits
        self._stopping = stopping
        self._number = 0
        self._next_seq = 1
        self._partial: _Partial | None = None

    def write(self, scene: Callable[[], list[Entry]], entries: Sequence[Entry], wall_ns: int, mono_ns: int) -> None:
        """Put entries, at least one, on disk. A new file begins with what `scene` says was known before them."""
        if self._partial is None:
            self._begin(scene(), wall_ns, mono_ns)
        assert self._partial is not None
        self._append(self._partial, entries)

    def tidy(self, mono_ns: int) -> None:
        """Finish the file when it is large or old enough, and keep below the limit of all."""
        partial = self._partial
        if partial is None:
            return
        self._remove_oldest(partial.size)
        old = mono_ns - partial.opened_ns >= self._limits.rotate_after_ns
        if old or partial.size >= self._limits.file_bytes:
            self.finish()

    def finish(self) -> None:
        """Turn the file being written, if any, into Parquet. Raises Stopped when there is no time for it."""
        if self._partial is None:
            return
        path = self._partial.path
        self.abandon()
        self._finish(path, recovered=False)

    def abandon(self) -> None:
        """Write no more into the present file; what stands in it is found by `recover`."""
        if self._partial is not None:
            self._partial.close()
            self._partial = None

    def recover(self) -> None:
        """Finish what an earlier life, or a full disk, left unfinished."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for temporary in self.folder.glob("*.tmp"):
            temporary.unlink()
        for path in self._named(PARTIAL):
            self._finish(path, recovered=True)
        self._remove_oldest(0)

    def _begin(self, scene: list[Entry], wall_ns: int, mono_ns: int) -> None:
        self.recover()
        self._number += 1
        header = Header(VERSION, self._run, self._number, self._next_seq, len(scene), wall_ns)
        path = self.folder / f"frames-{_stamp(wall_ns)}-{self._run}-{self._number:06d}{PARTIAL}"
        self._partial = _Partial(path, header, mono_ns)
        sync_folder(self.folder)
        if scene:
            self._append(self._partial, scene)

    def _append(self, partial: _Partial, entries: Sequence[Entry]) -> None:
        before = partial.size
        partial.append(entries)
        self._next_seq = partial.next_seq
        self.written += partial.size - before

    def _finish(self, path: Path, *, recovered: bool) -> None:
        try:
            recording = Recording(path)
        except RecordingError:
            self._put_aside(path)
            return
        self._remove_oldest(2 * path.stat().st_size)
        header = msgspec.structs.replace(recording.header, recovered=recovered)
        final = path.with_suffix(SUFFIX)
        temporary = path.with_suffix(".tmp")
        if _to_parquet(recording.batches(), header, temporary, self._stopping):
            temporary.rename(final)
        path.unlink()
        sync_folder(self.folder)
        self._count()

    def _put_aside(self, path: Path) -> None:
        """A leftover without one whole batch: nothing of it was ever safe."""
        if path.stat().st_size:
            self.unreadable += 1
            path.rename(path.with_suffix(UNREADABLE))
        else:
            path.unlink()

    def _remove_oldest(self, unfinished: int) -> None:
        """Keep everything together below the limit; never the file being written."""
        files = [(path, path.stat().st_size) for path in self._named(SUFFIX, UNREADABLE)]
        total = unfinished + sum(size for _, size in files)
        for path, size in files:
            if total <= self._limits.total_bytes:
                break
            path.unlink()
            total -= size
        self._count()

    def _count(self) -> None:
        self.finished = len(self._named(SUFFIX))

    def _named(self, *suffixes: str) -> list[Path]:
        """Our files of these kinds, oldest first."""
        found = []
        for path in self.folder.iterdir():
            match = NAME.fullmatch(path.with_suffix(SUFFIX).name) if path.suffix in suffixes else None
            if match is not None and (self._partial is None or path != self._partial.path):
                found.append((int(match[1]), int(match[2]), path))
        return [path for _, _, path in sorted(found)]


def _to_parquet(batches: Iterable[Any], header: Header, path: Path, stopping: Callable[[], bool]) -> bool:
    """Write one durable Parquet file; False when there was no row. Raises Stopped, leaving nothing behind."""
    rows = 0
    try:
        with pq.ParquetWriter(
            path, schema_of(header), compression="zstd", use_dictionary=["kind"],
            write_statistics=["seq", "at_ns"], write_page_checksum=True,
        ) as writer:  # fmt: skip
            for table in _groups(batches, header_metadata(header)):
                if stopping():
                    raise Stopped
                writer.write_table(table, row_group_size=GROUP_ROWS)
                rows += table.num_rows
        _sync_file(path)
    except (OSError, Stopped):
        path.unlink(missing_ok=True)
        raise
    if not rows:
        path.unlink()
    return rows > 0


def _groups(batches: Iterable[Any], metadata: dict[bytes, bytes]) -> Iterator[Any]:
    """Batches put together until they make a row group."""
    waiting: list[Any] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch.replace_schema_metadata(metadata))
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= GROUP_ROWS or size >= GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _stamp(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
