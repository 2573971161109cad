"""The recording format: what is written is read, file by file and over files; what cannot be read is one clear line."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import FeedMark, MarketListed
from common.recording import (
    FRAME,
    GAP,
    KEY,
    MARKET,
    MARKS,
    OPENED,
    Entry,
    Gap,
    Header,
    Recording,
    RecordingError,
    batch_of,
    find_recordings,
    gap_entry,
    header_metadata,
    mark_entry,
    message_of,
    open_recordings,
    rows_of,
    schema_of,
)
from common.settings import ROOT
from tests.services.recorder.rows import T0, Tapes, beginning, finished, frame

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
TOKENS = st.lists(st.text(max_size=8), max_size=3)
ENTRY = st.one_of(
    st.builds(Entry, INT64, INT32, st.just(FRAME), st.binary(max_size=200)),
    st.builds(gap_entry, st.builds(Gap, st.integers(0, 2**40), st.text(max_size=20)), INT64),
    st.builds(
        mark_entry,
        st.builds(FeedMark, INT32, INT64, st.sampled_from(sorted(MARKS)), TOKENS, st.text(max_size=9)),
        INT64,
    ),
)
ENTRIES = st.lists(ENTRY, min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(ENTRIES, min_size=1, max_size=4), finish=st.booleans())
def test_what_is_written_is_read_finished_or_not(parts: list[list[Entry]], finish: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tapes = Tapes(Path(folder))
        for part in parts:
            tapes.write(part)
        if finish:
            tapes.files.finish()
        (recording,) = open_recordings([tapes.folder])
        rows = list(recording.rows())
        tapes.files.abandon()
    assert [Entry(*row[1:]) for row in rows] == [entry for part in parts for entry in part]
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert recording.torn is not finish


def test_marks_markets_and_gaps_come_back_as_messages(tmp_path: Path) -> None:
    paths = finished(tmp_path, [*beginning(), gap_entry(Gap(7, "full"), T0)])
    said = [message_of(row) for row in Recording(paths[0]).rows()]
    assert isinstance(said[0], MarketListed)
    assert isinstance(said[1], FeedMark)
    assert said[2] == Gap(7, "full")


def test_any_parquet_reader_finds_the_columns_and_the_header(tmp_path: Path) -> None:
    (path,) = finished(tmp_path, [frame(1)])
    table = pq.read_table(path)
    assert table.column_names == ["seq", "at_ns", "connection", "kind", "payload"]
    assert table.to_pylist() == [
        {"seq": 1, "at_ns": T0 + 1, "connection": 1, "kind": "FRAME", "payload": b"frame 1"},
    ]
    metadata = pq.ParquetFile(path).metadata
    assert b'"version":1' in metadata.metadata[KEY]
    assert metadata.row_group(0).column(4).compression == "ZSTD"


def test_files_that_follow_each_other_read_like_one(tmp_path: Path) -> None:
    """The second begins with the market and the connection again; they are not lived twice."""
    paths = finished(tmp_path, [*beginning(), frame(1)], [frame(2)], [frame(3)])
    rows = list(rows_of(open_recordings(reversed(paths))))
    assert [row.kind for row in rows] == [MARKET, OPENED, FRAME, FRAME, FRAME]
    assert [row.payload for row in rows[2:]] == [b"frame 1", b"frame 2", b"frame 3"]


def test_each_file_can_be_read_alone(tmp_path: Path) -> None:
    paths = finished(tmp_path, [*beginning(), frame(1)], [frame(2)])
    recording = Recording(paths[1])
    assert [row.kind for row in rows_of([recording])] == [MARKET, OPENED, FRAME]
    assert recording.header.preamble == 2


def test_a_missing_file_between_two_is_a_gap(tmp_path: Path) -> None:
    first, _, third = finished(tmp_path, [*beginning(), frame(1)], [frame(2)], [frame(3)])
    kinds = [row.kind for row in rows_of(open_recordings([first, third]))]
    assert kinds == [MARKET, OPENED, FRAME, GAP, MARKET, OPENED, FRAME]


def test_another_run_of_the_recorder_is_a_gap(tmp_path: Path) -> None:
    finished(tmp_path, [*beginning(), frame(1)])
    finished(tmp_path, [*beginning(), frame(2)], run=2)
    kinds = [row.kind for row in rows_of(open_recordings([tmp_path]))]
    assert kinds == [MARKET, OPENED, FRAME, GAP, MARKET, OPENED, FRAME]


def test_a_file_that_is_just_being_finished_counts_once(tmp_path: Path) -> None:
    tapes = Tapes(tmp_path)
    tapes.write([*beginning(), frame(1)])
    (partial,) = tapes.names(".partial")
    kept = partial.read_bytes()
    tapes.files.finish()
    partial.write_bytes(kept)
    (recording,) = open_recordings([tmp_path])
    assert recording.path.suffix == ".parquet"


@pytest.mark.parametrize("cut", [0.999, 0.9, 0.7, 0.5, 0.3])
def test_a_torn_file_is_read_up_to_its_last_whole_batch(tmp_path: Path, cut: float) -> None:
    tapes = Tapes(tmp_path)
    sizes = []
    for number in range(10):
        tapes.write([frame(number)])
        sizes.append(tapes.names(".partial")[0].stat().st_size)
    tapes.files.abandon()
    (path,) = tapes.names(".partial")
    length = int(sizes[-1] * cut)
    path.write_bytes(path.read_bytes()[:length])
    recording = Recording(path)
    whole = sum(size <= length for size in sizes)
    assert [row.payload for row in recording.rows()] == [b"frame %d" % number for number in range(whole)]
    assert recording.torn


def _html(path: Path) -> None:
    path.write_text("<html><body>502 Bad Gateway</body></html>")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _magic_only(path: Path) -> None:
    path.write_bytes(b"PAR1")


def _damaged_footer(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-40] + b"\xff" * 30 + data[-10:])


def _foreign(path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}), path)


def _of_version_2(path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}).replace_schema_metadata({KEY: b'{"version":2,"tracks":[]}'}), path)


def _of_no_version(path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}).replace_schema_metadata({KEY: b"[]"}), path)


def _half_header(path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}).replace_schema_metadata({KEY: b'{"version":1}'}), path)


def _other_columns(path: Path) -> None:
    pq.write_table(pa.table({"price": [1]}).replace_schema_metadata(header_metadata(Header(1, 1, 1, 1, 0, 0))), path)


REFUSALS = [
    (_html, "not a Parquet file"),
    (_empty, "not a Parquet file"),
    (_truncated, "is truncated"),
    (_magic_only, "is truncated"),
    (_damaged_footer, "is damaged"),
    (_foreign, "no polyexec recording"),
    (_of_version_2, "of version 2, this polyexec reads 1"),
    (_of_no_version, "of version unknown"),
    (_half_header, "header cannot be read"),
    (_other_columns, "columns"),
]


@pytest.mark.parametrize(("spoil", "said"), REFUSALS, ids=[spoil.__name__ for spoil, _ in REFUSALS])
def test_what_cannot_be_replayed_is_one_line_with_the_file(tmp_path: Path, spoil: object, said: str) -> None:
    (path,) = finished(tmp_path, [frame(number) for number in range(50)])
    assert callable(spoil)
    spoil(path)
    with pytest.raises(RecordingError) as caught:
        Recording(path)
    text = str(caught.value)
    assert said in text
    assert str(path) in text
    assert len(text.splitlines()) == 1


def test_a_flipped_byte_inside_the_rows_is_refused(tmp_path: Path) -> None:
    (path,) = finished(tmp_path, [frame(number, bytes([number]) * 500) for number in range(200)])
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(4)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RecordingError, match="is damaged"):
        list(Recording(path).rows())


def test_a_partial_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.partial"
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match="remove it"):
        Recording(path)


def test_a_missing_path_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is not there"):
        find_recordings([tmp_path / "nowhere"])
    with pytest.raises(RecordingError, match="holds no recording"):
        find_recordings([tmp_path])


def test_a_batch_of_our_own_has_the_schema_of_its_header() -> None:
    schema = schema_of(Header(1, 1, 1, 1, 0, 0))
    assert batch_of([frame(1)], 5, schema).schema.equals(schema, check_metadata=True)


@pytest.mark.parametrize("module", ["common.recording", "services.recorder.__main__", "services.market_data.__main__"])
def test_pyarrow_is_not_loaded_by_importing(module: str) -> None:
    code = f"import sys, {module}; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
