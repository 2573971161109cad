"""The journal: what append returned for is never lost, a torn tail is cut, damage is named, two openers never meet."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import journal_files, prewrite
from common.errors import AlreadyRunning, JournalCorrupt, JournalError
from common.journal import PAYLOAD_MAX, Journal, Record, journal_id_of
from common.segment import HEADER_BYTES, RECORD_OVERHEAD, first_chain, next_chain

SEGMENT = 12288
COUNT = 60
ROOT = Path(__file__).parents[2]


def _open(folder: Path, segment_bytes: int = SEGMENT, *, keep_segments: int = 4, start: int = 0) -> Journal:
    return Journal.open(folder, segment_bytes=segment_bytes, keep_segments=keep_segments, start=start)


def _payload(index: int) -> bytes:
    return b"step %06d " % index * (1 + index * 7 % 90)


def _fill(folder: Path, count: int, segment_bytes: int = SEGMENT) -> None:
    journal = _open(folder, segment_bytes)
    for _ in range(count):
        journal.append(_payload(journal.last_index + 1))
    journal._prewriter.finish()  # so that the segment made ahead is there in every test
    journal.close()


def _contents(folder: Path) -> list[Record]:
    journal = _open(folder)
    records = list(journal.replay(journal.first_index - 1))
    journal.close()
    return records


def _expected(count: int) -> list[Record]:
    return [Record(index, _payload(index)) for index in range(1, count + 1)]


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


# --- what is appended comes back ----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.binary(max_size=3000), max_size=8), max_size=4))
def test_appends_over_many_openings_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[list[bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    everything: list[bytes] = []
    for starts, session in enumerate(sessions, 1):
        journal = _open(folder)
        assert (journal.starts, journal.last_index) == (starts, len(everything))
        for payload in session:
            everything.append(payload)
            assert journal.append(payload) == len(everything)
        assert list(journal.replay()) == list(enumerate(everything, 1))
        journal.close()
    assert _contents(folder) == list(enumerate(everything, 1))


def test_a_new_journal_is_empty_and_has_an_id(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "journal"
    assert journal_id_of(folder) is None
    journal = _open(folder)
    assert re.fullmatch("[0-9a-f]{16}", journal.journal_id)
    assert (journal.starts, journal.last_index, journal.first_index) == (1, 0, 1)
    assert list(journal.replay()) == []
    journal.close()
    assert journal_id_of(folder) == journal.journal_id


def test_without_create_a_missing_journal_is_an_error_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file"):
        Journal.open(tmp_path / "none", create=False)
    with pytest.raises(JournalError, match="there is no journal"):
        Journal.open(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_the_hash_covers_every_payload_in_order(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    chain = first_chain(journal.journal_id)
    assert journal.last_hash == chain
    for payload in (b"one", b"", b"three"):
        journal.append(payload)
        chain = next_chain(chain, payload)
        assert journal.last_hash == chain
    journal.close()
    again = _open(tmp_path)
    assert again.last_hash == chain
    again.close()


def test_replay_begins_after_any_index(tmp_path: Path) -> None:
    _fill(tmp_path, 60)
    journal = _open(tmp_path)
    assert journal.segment_count > 2
    for after in range(61):
        assert list(journal.replay(after)) == _expected(60)[after:]
    with pytest.raises(JournalError, match="cannot replay after 61: the journal holds 1 to 60"):
        journal.replay(61)
    journal.close()


def test_replay_ends_at_the_last_record_of_its_call(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    journal.append(b"one")
    replay = journal.replay()
    for _ in range(20):
        journal.append(bytes(2000))
    assert list(replay) == [(1, b"one")]
    journal.close()


def test_replay_checks_the_chain_of_a_checkpoint(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    hashes = [journal.last_hash]
    for index in range(1, 41):
        journal.append(_payload(index))
        hashes.append(journal.last_hash)
    for index, chain in enumerate(hashes):
        assert len(list(journal.replay(index, chain_hash=chain))) == 40 - index
        with pytest.raises(JournalCorrupt, match=f"record {index}: the checkpoint was made on another chain"):
            list(journal.replay(index, chain_hash=bytes(16)))
    journal.close()


def test_segments_are_full_size_from_the_beginning(tmp_path: Path) -> None:
    _fill(tmp_path, 60)
    assert len(_segments(tmp_path)) > 3
    assert {path.stat().st_size for path in _segments(tmp_path)} == {SEGMENT}


def test_another_segment_size_applies_to_new_segments(tmp_path: Path) -> None:
    _fill(tmp_path, 20)
    _fill(tmp_path, 20, segment_bytes=2 * SEGMENT)
    _fill(tmp_path, 20)
    assert _contents(tmp_path) == _expected(60)


def test_a_segment_size_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="segment_bytes 8191 is below 8192"):
        _open(tmp_path, 8191)


def test_the_largest_payload_fits_and_one_byte_more_is_refused_before_writing(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    assert journal.payload_max == SEGMENT - HEADER_BYTES - RECORD_OVERHEAD
    journal.append(bytes(journal.payload_max))
    with pytest.raises(JournalError, match="above the limit"):
        journal.append(bytes(journal.payload_max + 1))
    assert (journal.failed, journal.last_index) == (False, 1)
    assert journal.append(b"small") == 2
    journal.close()
    assert [len(record.payload) for record in _contents(tmp_path)] == [journal.payload_max, 5]


def test_the_payload_limit_is_sixteen_mebibytes_in_large_segments(tmp_path: Path) -> None:
    journal = _open(tmp_path, 17 << 20)
    assert journal.payload_max == PAYLOAD_MAX == 16 << 20
    journal.close()


def test_a_closed_journal_takes_nothing_and_closes_again(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.append(b"late")


def test_no_descriptor_survives_an_exec(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    held = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if _points_into(entry, tmp_path)]
    assert len(held) >= 2
    assert not any(os.get_inheritable(fd) for fd in held)
    journal.close()


def _points_into(entry: Path, folder: Path) -> bool:
    return entry.is_symlink() and os.readlink(entry).startswith(str(folder))


# --- torn tails ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of 60 records in several segments, never changed by a test."""
    folder = tmp_path_factory.mktemp("filled")
    _fill(folder, COUNT)
    return folder


class _Layout:
    """Where everything stands in a journal folder: (start, end, index) per record and segment."""

    def __init__(self, folder: Path) -> None:
        self.used: list[Path] = []
        self.records: list[tuple[Path, int, int, int]] = []
        journal = _open(folder)
        for segment, following in zip(journal._segments, [*journal._segments[1:], None], strict=True):
            self.used.append(segment.path)
            last = following.header.first_index - 1 if following else journal.last_index
            offset = HEADER_BYTES
            for index in range(segment.header.first_index, last + 1):
                end = offset + RECORD_OVERHEAD + len(_payload(index))
                self.records.append((segment.path, offset, end, index))
                offset = end
        journal.close()

    def expected_fault(self, path: Path, position: int) -> tuple[int, int] | None:
        """Offset and index that must be named for damage at `position`; None where there is nothing of value."""
        here = [record for record in self.records if record[0] == path]
        if position < HEADER_BYTES:
            return 0, here[0][3]
        for _, start, end, index in here:
            if start <= position < end:
                return start, index
        if path == self.used[-1]:
            return None
        return here[-1][2], here[-1][3] + 1


def _copy(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("copy") / "journal"
    shutil.copytree(folder, copy)
    return copy


@pytest.mark.parametrize("missing", ["zeros", "cut off"])
def test_a_last_record_torn_at_any_byte_is_cut_and_the_rest_kept(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, missing: str
) -> None:
    path, start, end, index = _Layout(_copy(filled, tmp_path_factory)).records[-1]
    for length in range(start, end):
        folder = _copy(filled, tmp_path_factory)
        torn = folder / path.name
        os.truncate(torn, length)
        if missing == "zeros":
            os.truncate(torn, SEGMENT)
        journal = _open(folder)
        assert journal.last_index == index - 1
        assert 0 <= journal.torn_bytes <= length - start
        assert journal.append(_payload(index)) == index
        journal.close()
        assert torn.stat().st_size == SEGMENT
        assert _contents(folder) == _expected(COUNT)


@settings(max_examples=80, deadline=None)
@given(st.binary(min_size=1, max_size=2000))
def test_any_rubbish_behind_the_last_record_is_cut(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, rubbish: bytes
) -> None:
    folder = _copy(filled, tmp_path_factory)
    path, _, end, _ = _Layout(folder).records[-1]
    with (folder / path.name).open("r+b") as file:
        file.seek(end)
        file.write(rubbish[: SEGMENT - end])
    journal = _open(folder)
    assert journal.last_index == COUNT
    assert journal.torn_bytes == len(rubbish[: SEGMENT - end].rstrip(b"\0"))
    journal.close()
    again = _open(folder)
    assert again.torn_bytes == 0
    again.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_byte_in_the_last_record_is_taken_for_a_torn_tail(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = _copy(filled, tmp_path_factory)
    path, start, end, _ = _Layout(folder).records[-1]
    _flip(folder / path.name, data.draw(st.integers(start, end - 1)), data.draw(st.integers(1, 255)))
    assert _contents(folder) == _expected(COUNT - 1)


def test_a_torn_record_that_carries_older_records_is_still_a_torn_tail(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    journal.append(b"first")
    inside = _segments(tmp_path)[0].read_bytes()[HEADER_BYTES : HEADER_BYTES + RECORD_OVERHEAD + 5]
    journal.append(bytes(10) + inside + b"end")
    journal.close()
    with _segments(tmp_path)[0].open("r+b") as file:
        file.seek(HEADER_BYTES + RECORD_OVERHEAD + 5 + RECORD_OVERHEAD + 10 + len(inside))
        file.write(bytes(3))
    assert _contents(tmp_path) == [(1, b"first")]


def test_a_header_torn_while_rolling_is_cut(tmp_path: Path) -> None:
    _fill(tmp_path, 5)
    spare = _segments(tmp_path)[-1]
    with spare.open("r+b") as file:
        file.write(b"half a header")
    _fill(tmp_path, 35)
    assert _contents(tmp_path) == _expected(40)


# --- damage -------------------------------------------------------------------------------------------------------


def _flip(path: Path, position: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes((byte ^ mask,)))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_flipped_byte_anywhere_before_the_last_record_is_named(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = _copy(filled, tmp_path_factory)
    layout = _Layout(folder)
    last_path, last_start, _, _ = layout.records[-1]
    path = data.draw(st.sampled_from(layout.used))
    highest = last_start - 1 if path == last_path else SEGMENT - 1
    position = data.draw(st.integers(0, highest))
    _flip(path, position, data.draw(st.integers(1, 255)))
    with pytest.raises(JournalCorrupt) as caught:
        _open(folder)
    fault = layout.expected_fault(path, position)
    assert fault is not None
    if path == layout.used[0] and position < HEADER_BYTES:
        assert str(caught.value).startswith(f"{path.name}: offset 0: the header of the oldest segment is invalid")
    else:
        assert str(caught.value).startswith(f"{path.name}: offset {fault[0]}: record {fault[1]} ")


def test_a_damaged_header_in_front_of_the_only_record_of_its_segment_is_named(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    journal.append(b"first")
    journal.append(bytes(journal.payload_max))
    journal.close()
    _flip(tmp_path / "0000000002.seg", 30, 4)
    with pytest.raises(JournalCorrupt, match=r"0000000002\.seg: offset 0: record 2 is behind an invalid segment"):
        _open(tmp_path)


def test_a_last_segment_that_grew_gets_its_size_back(tmp_path: Path) -> None:
    _fill(tmp_path, 3)
    os.truncate(_segments(tmp_path)[0], SEGMENT + 500)
    assert _contents(tmp_path) == _expected(3)
    assert _segments(tmp_path)[0].stat().st_size == SEGMENT


@pytest.mark.parametrize("size", [SEGMENT - 1, SEGMENT + 1])
def test_a_finished_segment_of_another_size_is_named(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, size: int
) -> None:
    folder = _copy(filled, tmp_path_factory)
    layout = _Layout(folder)
    os.truncate(layout.used[0], size)
    _, _, end, index = [record for record in layout.records if record[0] == layout.used[0]][-1]
    with pytest.raises(JournalCorrupt, match=f"{layout.used[0].name}: offset {end}: record {index + 1} is invalid"):
        _open(folder)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_segment_is_named(filled: Path, tmp_path_factory: pytest.TempPathFactory, lost: int) -> None:
    folder = _copy(filled, tmp_path_factory)
    used = _Layout(folder).used
    assert len(used) > 3
    used[lost].unlink()
    if lost == 0:
        assert _contents(folder)[-1].index == COUNT  # like a pruned one: what is kept is whole
    else:
        with pytest.raises(JournalCorrupt, match=f"{used[lost + 1].name}: the segment before it is missing"):
            _open(folder)


@pytest.mark.parametrize("lost", [1, 2])
def test_a_segment_turned_to_zeros_is_named(filled: Path, tmp_path_factory: pytest.TempPathFactory, lost: int) -> None:
    folder = _copy(filled, tmp_path_factory)
    used = _Layout(folder).used
    used[lost].write_bytes(bytes(SEGMENT))
    with pytest.raises(JournalCorrupt, match=f"{used[lost].name}: offset 0: record .* behind an invalid segment"):
        _open(folder)


def test_records_turned_to_zeros_are_named_by_the_segment_behind_them(
    filled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _copy(filled, tmp_path_factory)
    layout = _Layout(folder)
    path, start, _, index = [record for record in layout.records if record[0] == layout.used[1]][-1]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(SEGMENT - start))
    with pytest.raises(JournalCorrupt, match=f"{path.name}: offset {start}: record {index} is missing, although"):
        _open(folder)


def test_a_segment_of_another_journal_is_refused(
    filled: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _fill(tmp_path, 40)
    folder = _copy(filled, tmp_path_factory)
    name = _Layout(folder).used[1].name
    shutil.copy(tmp_path / name, folder / name)
    with pytest.raises(JournalError, match=f"{name}: belongs to journal"):
        _open(folder)


def test_damage_does_not_count_as_a_start_and_keeps_no_lock(
    filled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _copy(filled, tmp_path_factory)
    line = (folder / "starts").read_bytes()
    used = _segments(folder)[0]
    _flip(used, HEADER_BYTES + 20, 1)
    for _ in range(2):
        with pytest.raises(JournalCorrupt):
            _open(folder)
    _flip(used, HEADER_BYTES + 20, 1)
    assert (folder / "starts").read_bytes() == line
    assert _contents(folder) == _expected(COUNT)


# --- the count of starts ------------------------------------------------------------------------------------------


def test_every_opening_counts_once(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        journal = _open(tmp_path)
        assert journal.starts == expected
        journal.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_flipped_byte_in_the_count_is_named(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = _copy(filled, tmp_path_factory)
    size = (folder / "starts").stat().st_size
    _flip(folder / "starts", data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 255)))
    with pytest.raises(JournalCorrupt, match="starts: offset 0: its checksum does not match"):
        _open(folder)


def test_a_lost_count_is_refused_once_there_are_records(tmp_path: Path) -> None:
    _fill(tmp_path, 1)
    (tmp_path / "starts").unlink()
    with pytest.raises(JournalError, match="'starts' is missing"):
        _open(tmp_path)


def test_lost_segments_are_refused_not_begun_anew(tmp_path: Path) -> None:
    _fill(tmp_path, 1)
    for path in _segments(tmp_path):
        path.unlink()
    with pytest.raises(JournalError, match="its segments are gone"):
        _open(tmp_path)


def test_a_journal_whose_making_was_interrupted_is_finished(tmp_path: Path) -> None:
    _open(tmp_path).close()
    (tmp_path / "starts").unlink()
    for path in _segments(tmp_path)[1:]:
        path.unlink()
    (tmp_path / "0000000002.seg.tmp").write_bytes(b"half")
    journal = _open(tmp_path)
    assert (journal.starts, journal.append(b"one")) == (1, 1)
    journal.close()
    assert not list(tmp_path.glob("*.tmp"))


# --- pruning and checkpoints --------------------------------------------------------------------------------------


def test_pruning_keeps_what_no_checkpoint_covers_and_the_newest_segments(tmp_path: Path) -> None:
    _fill(tmp_path, 120)
    journal = _open(tmp_path, keep_segments=3)
    total = journal.segment_count
    second = journal._segments[1].header.first_index
    assert journal.prune(second - 2) == 0
    assert journal.prune(second - 1) == 1
    assert journal.first_index == second
    assert journal.prune(120) == total - 1 - 3
    assert journal.segment_count == 3
    first = journal.first_index
    assert list(journal.replay(first - 1)) == _expected(120)[first - 1 :]
    with pytest.raises(JournalError, match=f"the journal holds {first} to 120"):
        journal.replay(first - 2)
    journal._prewriter.finish()
    journal.close()
    assert len(_segments(tmp_path)) == 4
    assert _contents(tmp_path) == _expected(120)[first - 1 :]


def test_pruning_after_every_checkpoint_bounds_the_disk(tmp_path: Path) -> None:
    journal = _open(tmp_path, keep_segments=2)
    largest = 0
    for index in range(1, 601):
        journal.append(_payload(index))
        if index % 20 == 0:
            journal.prune(index)
            largest = max(largest, journal.segment_count)
    journal._prewriter.finish()
    journal.close()
    assert largest == 2
    assert len(_segments(tmp_path)) == 3
    assert _contents(tmp_path)[-1] == (600, _payload(600))


def test_segments_a_trusted_checkpoint_covers_are_not_read_at_start(
    filled: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _copy(filled, tmp_path_factory)
    layout = _Layout(folder)
    covered = [index for path, _, _, index in layout.records if path == layout.used[1]][-1]
    _flip(layout.used[1], HEADER_BYTES + 20, 1)
    journal = _open(folder, start=covered)
    assert list(journal.replay(covered)) == _expected(COUNT)[covered:]
    with pytest.raises(JournalCorrupt, match=f"{layout.used[1].name}: offset {HEADER_BYTES}: record"):
        list(journal.replay())
    journal.close()
    with pytest.raises(JournalCorrupt):
        _open(folder, start=covered - 1)


# --- segments made ahead ------------------------------------------------------------------------------------------


def test_an_append_that_must_wait_for_the_next_segment_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prewrite, "_PAUSE_S", 3600.0)
    journal = _open(tmp_path)
    journal.append(bytes(100))
    assert journal.prewrite_waits == 0
    journal.append(bytes(journal.payload_max))
    assert journal.prewrite_waits == 1
    journal.close()


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * SEGMENT)])
def test_a_segment_made_ahead_is_used_again_or_made_anew(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    _fill(tmp_path, 5)
    spare = _segments(tmp_path)[-1]
    inode = spare.stat().st_ino
    _fill(tmp_path, 1)
    assert spare.stat().st_ino == inode
    spoil(spare)
    _fill(tmp_path, 34)
    assert _contents(tmp_path) == _expected(40)


# --- failing disks ------------------------------------------------------------------------------------------------


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:97], offset))
    _fill(tmp_path, 30)
    monkeypatch.undo()
    assert _contents(tmp_path) == _expected(30)


def _no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "no space")


def test_a_failed_write_is_undone_and_every_later_append_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = _open(tmp_path)
    journal._prewriter.finish()
    journal.append(b"kept")
    real, calls = os.pwrite, []

    def half_then_full(fd: int, data: bytes, offset: int) -> int:
        calls.append(bytes(data))
        if len(calls) == 1:
            return real(fd, data[: len(data) // 2], offset)
        if len(calls) == 2:
            _no_space()
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", half_then_full)
    with pytest.raises(JournalError, match=r"0000000001\.seg: cannot be written: no space"):
        journal.append(b"torn record")
    assert (journal.failed, journal.last_index) == (True, 1)
    written = len(calls)
    with pytest.raises(JournalError, match="failed earlier"):
        journal.append(b"after")
    assert len(calls) == written
    monkeypatch.undo()
    journal.close()
    again = _open(tmp_path)
    assert (again.torn_bytes, list(again.replay())) == (0, [(1, b"kept")])
    again.close()


def test_an_append_is_one_write_and_then_one_sync_in_the_callers_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = _open(tmp_path)
    journal._prewriter.finish()
    calls: list[tuple[str, int]] = []
    real_write, real_sync = os.pwrite, os.fdatasync

    def write(fd: int, data: bytes, offset: int) -> int:
        calls.append(("write", threading.get_ident()))
        return real_write(fd, data, offset)

    def sync(fd: int) -> None:
        calls.append(("sync", threading.get_ident()))
        real_sync(fd)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fdatasync", sync)
    journal.append(b"one")
    me = threading.get_ident()
    assert calls == [("write", me), ("sync", me)]
    journal.close()


def test_everything_found_is_synced_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path, 60)
    used = [path.name for path in _segments(tmp_path)]
    events: list[tuple[str, str]] = []
    real_sync, real_read = os.fsync, journal_files.read_file

    def sync(fd: int) -> None:
        events.append(("sync", Path(os.readlink(f"/proc/self/fd/{fd}")).name))
        real_sync(fd)

    def read(path: Path, limit: int = -1) -> bytes:
        events.append(("read", path.name))
        return real_read(path, limit)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(journal_files, "read_file", read)
    _open(tmp_path).close()
    first_read = [kind for kind, _ in events].index("read")
    assert [name for _, name in events[:first_read]] == [*used, tmp_path.name]


def test_a_failed_sync_is_never_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = _open(tmp_path)
    journal._prewriter.finish()
    journal.append(b"kept")
    syncs: list[str] = []

    def broken(fd: int) -> None:
        syncs.append("sync")
        raise OSError(errno.EIO, "input/output error")

    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, broken)
    with pytest.raises(JournalError, match="cannot be synced: input/output error"):
        journal.append(b"in doubt")
    with pytest.raises(JournalError, match="failed earlier"):
        journal.append(b"after")
    journal.close()
    assert syncs == ["sync"]
    monkeypatch.undo()
    assert _contents(tmp_path) == [(1, b"kept")]


def test_a_full_disk_found_ahead_is_told_early_and_fails_only_when_the_room_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite

    def full_for_helpers(fd: int, data: bytes, offset: int) -> int:
        if threading.current_thread() is threading.main_thread() and journal is not None:
            return real(fd, data, offset)
        return _no_space()

    journal: Journal | None = None
    _fill(tmp_path, 1)
    for path in _segments(tmp_path)[1:]:
        path.unlink()
    journal = _open(tmp_path)
    journal._prewriter.finish()
    journal.append(bytes(journal.payload_max - 200))
    monkeypatch.setattr(os, "pwrite", full_for_helpers)
    journal.append(bytes(300))
    assert journal._prewriter._thread is not None
    journal._prewriter._thread.join()
    assert "no space" in journal.helper_error
    journal.append(b"there is still room")
    monkeypatch.setattr(os, "pwrite", _no_space)
    with pytest.raises(JournalError, match="has no next segment: no space"):
        journal.append(bytes(journal.payload_max))
    assert journal.failed
    monkeypatch.undo()
    journal.close()
    assert _contents(tmp_path)[-1].payload == b"there is still room"


def test_a_sync_that_fails_at_start_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill(tmp_path, 3)

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(JournalError, match="input/output error"):
        _open(tmp_path)
    monkeypatch.undo()
    assert _contents(tmp_path) == _expected(3)


# --- real processes, real disks -----------------------------------------------------------------------------------


def _run(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


APPEND_UNTIL_IT_FAILS = """
import resource, sys
from pathlib import Path
from common.errors import JournalError
from common.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=65536)
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    while True:
        index = journal.last_index + 1
        journal.append(b"record %d " % index * 50)
        print(index, flush=True)
except JournalError as error:
    print(error)
try:
    journal.append(b"after")
except JournalError as error:
    print(error)
"""


def _acknowledged(output: str) -> int:
    numbers = [int(line) for line in output.splitlines() if line.isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)


def _check_holds(folder: Path, acknowledged: int) -> None:
    journal = _open(folder, 65536)
    found = [record.payload for record in journal.replay()]
    journal.close()
    assert found == [b"record %d " % index * 50 for index in range(1, acknowledged + 1)]


@pytest.mark.process
@pytest.mark.parametrize("limit", [20_000, 40_001, 65_535])
def test_a_file_size_limit_loses_nothing_acknowledged(tmp_path: Path, limit: int) -> None:
    output = _run(APPEND_UNTIL_IT_FAILS, str(tmp_path), str(limit)).communicate(timeout=60)[0]
    assert "File too large" in output.splitlines()[-2]
    assert "failed earlier" in output.splitlines()[-1]
    acknowledged = _acknowledged(output)
    assert acknowledged > 10
    _check_holds(tmp_path, acknowledged)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a tiny tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.process
def test_a_full_disk_loses_nothing_acknowledged(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(150_000))
    folder = tiny_disk / "journal"
    output = _run(APPEND_UNTIL_IT_FAILS, str(folder)).communicate(timeout=60)[0]
    assert "No space left" in output.splitlines()[-2]
    assert "failed earlier" in output.splitlines()[-1]
    acknowledged = _acknowledged(output)
    assert acknowledged > 100
    ballast.unlink()
    _check_holds(folder, acknowledged)


HOLD = """
import sys
from pathlib import Path
from common.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=12288)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.process
def test_a_second_opener_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    holder = _run(HOLD, str(tmp_path))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(AlreadyRunning, match="another process has this journal open"):
        _open(tmp_path)
    holder.kill()
    holder.communicate(timeout=30)
    journal = _open(tmp_path)
    assert journal.starts == 2
    journal.close()


def test_a_second_opener_in_the_same_process_is_refused(tmp_path: Path) -> None:
    journal = _open(tmp_path)
    with pytest.raises(AlreadyRunning):
        _open(tmp_path)
    journal.close()


APPEND_FOR_EVER = """
import sys
from pathlib import Path
from common.journal import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=12288)
while True:
    index = journal.last_index + 1
    journal.append(b"step %06d " % index * (1 + index * 7 % 90))
    print(index, flush=True)
"""


@pytest.mark.process
def test_kill_in_the_middle_of_appends_loses_no_acknowledged_record(tmp_path: Path) -> None:
    acknowledged = 0
    for kill in range(8):
        writer = _run(APPEND_FOR_EVER, str(tmp_path))
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(20 + 13 * kill)]
        writer.send_signal(signal.SIGKILL)
        lines += writer.communicate(timeout=30)[0].splitlines(keepends=True)
        whole = [int(line) for line in lines if line.endswith("\n")]
        assert whole[0] > acknowledged
        acknowledged = whole[-1]
        records = _contents(tmp_path)
        assert len(records) >= acknowledged
        assert records == _expected(len(records))
        acknowledged = len(records)
