"""The recording format: raw market-channel frames with what is needed to replay them, as rows in Parquet files.

In: entries (what happened, when, on which connection) or a path. Out: Arrow batches to write, or the entries of a
file in order. A file begins with the markets and connections of its moment, so each can be replayed alone. A finished
file is Parquet; one being written is an Arrow stream, readable up to its last whole batch. What cannot be read is one
RecordingError that names the file and what to do. pyarrow is loaded by the first use, never by an import of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common.errors import Refusal
from common.messages import BookSnapshot, FeedMark, MarketListed, Message, decode, encode
from common.reasons import Reason

VERSION = 1
KEY = b"polyexec.recording"
"""Where the header stands in the key-value metadata of the file (JSON)."""

SUFFIX = ".parquet"
PARTIAL = ".partial"
"""Suffix of a file being written, or left behind by a process that was killed."""

MARKET, OPENED, ADDED, REMOVED, LOST = "MARKET", "OPENED", "ADDED", "REMOVED", "LOST"
FRAME, GAP, BOOK = "FRAME", "GAP", "BOOK"
KINDS: tuple[str, ...] = (MARKET, OPENED, ADDED, REMOVED, LOST, FRAME, GAP, BOOK)
MARKS = frozenset((OPENED, ADDED, REMOVED, LOST))
COLUMNS: tuple[str, ...] = ("seq", "at_ns", "connection", "kind", "payload")

ROWS_AT_ONCE = 4096
"""Rows that become Python objects at the same time when a file is read."""

_MAGIC = b"PAR1"


class RecordingError(Refusal):
    """A file that cannot be replayed: which, why, and what to do."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(Reason.BAD_RECORDING, f"{path}: {problem}", "path")


class Header(msgspec.Struct, frozen=True, gc=False):
    """Who wrote a file and where it belongs. `seq` counts the rows of one `run` over all its files.

    The first `preamble` rows say what was known when the file began; a reader that comes from the file before (same
    run, `first_seq` follows) skips them. `recovered`: its writer was killed, a later one finished the file.
    """

    version: int
    run: int
    number: int
    first_seq: int
    preamble: int
    created_ns: int
    recovered: bool = False


class Gap(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """Something was not recorded here: `lost` entries (0: nobody knows how many). All connections begin anew."""

    lost: int
    reason: str


class Entry(NamedTuple):
    """One row before it is numbered. `payload`: raw frame, or msgpack of a MarketListed, FeedMark, Gap or BookSnapshot.

    A BOOK is a whole book that no frame of the recording brings: known when recording began, or fetched by REST.
    """

    at_ns: int
    connection: int
    kind: str
    payload: bytes


class Row(NamedTuple):
    seq: int
    at_ns: int
    connection: int
    kind: str
    payload: bytes


_gap_decoder = msgspec.msgpack.Decoder(Gap)
_header_decoder = msgspec.json.Decoder(Header)


# --- entries ---


def market_entry(listed: MarketListed, at_ns: int) -> Entry:
    return Entry(at_ns, 0, MARKET, encode(listed))


def mark_entry(mark: FeedMark, at_ns: int) -> Entry:
    return Entry(at_ns, mark.connection, mark.kind, encode(mark))


def book_entry(book: BookSnapshot, at_ns: int) -> Entry:
    return Entry(at_ns, 0, BOOK, encode(book))


def gap_entry(gap: Gap, at_ns: int) -> Entry:
    return Entry(at_ns, 0, GAP, msgspec.msgpack.encode(gap))


def message_of(entry: Entry | Row) -> Message | Gap:
    """What an entry that is no FRAME says. Raises msgspec.DecodeError."""
    return _gap_decoder.decode(entry.payload) if entry.kind == GAP else decode(entry.payload)


# --- writing ---


def header_metadata(header: Header) -> dict[bytes, bytes]:
    return {KEY: msgspec.json.encode(header)}


def schema_of(header: Header) -> Any:
    """The Arrow schema of a file, with its header as metadata."""
    import pyarrow as pa  # noqa: PLC0415 (a slow import: only where rows are written or read)

    fields = [
        ("seq", pa.int64()),
        ("at_ns", pa.int64()),
        ("connection", pa.int32()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("payload", pa.binary()),
    ]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields], header_metadata(header))


def batch_of(entries: Sequence[Entry], first_seq: int, schema: Any) -> Any:
    """Entries as one Arrow batch, numbered from `first_seq` on."""
    import pyarrow as pa  # noqa: PLC0415

    codes = {kind: code for code, kind in enumerate(KINDS)}
    kinds = pa.DictionaryArray.from_arrays(
        pa.array([codes[entry.kind] for entry in entries], pa.int8()), pa.array(KINDS, pa.string())
    )
    columns = [
        pa.array(range(first_seq, first_seq + len(entries)), pa.int64()),
        pa.array([entry.at_ns for entry in entries], pa.int64()),
        pa.array([entry.connection for entry in entries], pa.int32()),
        kinds,
        pa.array([entry.payload for entry in entries], pa.binary()),
    ]
    return pa.record_batch(columns, schema=schema)


# --- reading ---


class Recording:
    """One file of a recording, opened and checked; its rows are read as they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = False
        """Whether the file has no proper end: it is still written, or its writer was killed."""
        self.header = self._read_header()

    def rows(self) -> Iterator[Row]:
        """All rows in order. Raises RecordingError where the file is damaged."""
        for batch in self.batches():
            columns = batch.to_pydict()
            for row in map(Row._make, zip(*(columns[name] for name in COLUMNS), strict=True)):
                if row.kind != FRAME:
                    self._check(row)
                yield row

    def _check(self, row: Row) -> None:
        try:
            message_of(row)
        except msgspec.DecodeError:
            problem = f"its row {row.seq} ({row.kind}) cannot be read: take another copy of the file"
            raise RecordingError(self.path, problem) from None

    def batches(self) -> Iterator[Any]:
        return self._stream_batches() if self.path.suffix == PARTIAL else self._parquet_batches()

    def _read_header(self) -> Header:
        with _trouble_as_refusal(self.path):
            schema = self._schema()
        header = _header_of(self.path, schema.metadata or {})
        if tuple(schema.names) != COLUMNS or not schema.equals(schema_of(header)):
            raise RecordingError(self.path, "its columns are not those of a recording: use the file as it was written")
        return header

    def _schema(self) -> Any:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415

        if self.path.suffix != PARTIAL:
            _check_ends(self.path)
            return pq.read_schema(self.path)
        try:
            with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
                return reader.schema
        except pa.ArrowInvalid:
            raise RecordingError(self.path, "nothing of it reached the disk: remove it") from None

    def _parquet_batches(self) -> Iterator[Any]:
        import pyarrow.parquet as pq  # noqa: PLC0415

        with _trouble_as_refusal(self.path), pq.ParquetFile(self.path, page_checksum_verification=True) as file:
            yield from file.iter_batches(batch_size=ROWS_AT_ONCE)

    def _stream_batches(self) -> Iterator[Any]:
        """The whole batches of a stream; where it is torn, it ends."""
        import pyarrow as pa  # noqa: PLC0415

        with _trouble_as_refusal(self.path), pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as reader:
            self.torn = True
            while True:
                try:
                    batch = reader.read_next_batch()
                except (StopIteration, OSError, pa.ArrowException):
                    return
                for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                    yield batch.slice(start, ROWS_AT_ONCE)


def find_recordings(paths: Iterable[Path]) -> list[Path]:
    """The files that are named, and those inside folders that are named. Raises RecordingError for a missing one."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix in (SUFFIX, PARTIAL) and file.is_file())
            if not inside:
                raise RecordingError(path, "holds no recording: name a file or the folder the recorder writes to")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise RecordingError(path, "is not there: recordings are in recordings/ of the data folder")
    return list(dict.fromkeys(found))


def open_recordings(paths: Iterable[Path]) -> list[Recording]:
    """Recordings in the order they were written. Raises RecordingError for the first that cannot be used.

    A file that was just being finished is there twice; the finished one counts.
    """
    opened = {}
    for path in sorted(find_recordings(paths), key=lambda path: path.suffix != PARTIAL):
        recording = Recording(path)
        opened[recording.header.run, recording.header.number] = recording
    return [opened[place] for place in sorted(opened)]


def rows_of(recordings: Iterable[Recording]) -> Iterator[Row]:
    """The rows of recordings one after another.

    What a file repeats of the one before it is left out; between files that do not follow each other stands a GAP.
    """
    before: tuple[int, int] | None = None
    for recording in recordings:
        header = recording.header
        follows = before == (header.run, header.first_seq)
        if before is not None and not follows:
            yield Row(
                header.first_seq, *gap_entry(Gap(0, "a file is missing, or recording began anew"), header.created_ns)
            )
        for row in recording.rows():
            before = (header.run, row.seq + 1)
            if not (follows and row.seq < header.first_seq + header.preamble):
                yield row


def _header_of(path: Path, metadata: dict[bytes, bytes]) -> Header:
    text = metadata.get(KEY)
    if text is None:
        raise RecordingError(path, "is a Parquet file, but no polyexec recording: name one that the recorder wrote")
    version = _version_in(text)
    if version != VERSION:
        raise RecordingError(path, f"is a recording of version {version}, this polyexec reads {VERSION}: use its own")
    try:
        return _header_decoder.decode(text)
    except msgspec.DecodeError:
        raise RecordingError(path, "its header cannot be read: take another copy of the file") from None


def _version_in(text: bytes) -> str | int:
    try:
        version = msgspec.json.decode(text)["version"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unknown"
    return version if isinstance(version, int) else str(version)[:20]


def _check_ends(path: Path) -> None:
    """Say of a file that is no whole Parquet file what it is instead."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        first = file.read(len(_MAGIC))
        file.seek(max(0, size - len(_MAGIC)))
        last = file.read()
    if first != _MAGIC:
        raise RecordingError(path, "is no recording (not a Parquet file): name a file that the recorder wrote")
    if last != _MAGIC or size < 3 * len(_MAGIC):
        raise RecordingError(path, "is truncated, its end is missing: copy the whole file again")


@contextmanager
def _trouble_as_refusal(path: Path) -> Iterator[None]:
    import pyarrow as pa  # noqa: PLC0415

    try:
        yield
    except PermissionError:
        raise RecordingError(path, "may not be read by you: change its owner or mode") from None
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:120]
        raise RecordingError(path, f"is damaged ({said}): take another copy of the file") from None
