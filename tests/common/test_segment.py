"""The bytes of a journal segment: every flip is seen, and what stands behind damage is found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import JournalCorrupt, JournalError
from common.segment import (
    HEADER_BYTES,
    SegmentHeader,
    decode_header,
    encode_header,
    encode_record,
    first_chain,
    marker_of,
    next_chain,
    record_behind,
    stored_records,
    written_end,
)

ID = "00112233445566ff"
HEADER = SegmentHeader(ID, 1, 1 << 16, first_chain(ID))
payloads = st.lists(st.binary(max_size=200), max_size=8)


def _segment(contents: list[bytes], first: int = 1, chain: bytes = HEADER.chain_before) -> bytes:
    data = encode_header(HEADER._replace(first_index=first, chain_before=chain))
    for index, payload in enumerate(contents, first):
        chain = next_chain(chain, payload)
        data += encode_record(marker_of(ID), index, chain, payload)
    return data


@given(payloads)
def test_records_come_back_in_order_up_to_the_zeros(contents: list[bytes]) -> None:
    found = list(stored_records(_segment(contents) + bytes(100), HEADER, "a.seg"))
    assert [record.payload for record in found] == contents
    assert [record.number for record in found] == list(range(1, len(contents) + 1))


def test_a_header_comes_back() -> None:
    assert decode_header(encode_header(HEADER), "a.seg") == HEADER


@given(st.integers(0, HEADER_BYTES - 1), st.integers(1, 255))
def test_any_flipped_byte_of_a_header_makes_it_invalid(position: int, mask: int) -> None:
    block = bytearray(encode_header(HEADER))
    block[position] ^= mask
    assert decode_header(bytes(block), "a.seg") is None


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES - 1])
def test_a_header_cut_short_is_invalid(length: int) -> None:
    assert decode_header(encode_header(HEADER)[:length], "a.seg") is None


@given(st.binary(max_size=100), st.data())
def test_any_flipped_byte_of_a_record_ends_the_valid_part_before_it(payload: bytes, data: st.DataObject) -> None:
    segment = bytearray(_segment([b"first", payload]))
    start = len(_segment([b"first"]))
    position = data.draw(st.integers(start, len(segment) - 1))
    segment[position] ^= data.draw(st.integers(1, 255))
    assert [found.payload for found in stored_records(bytes(segment), HEADER, "a.seg")] == [b"first"]


def test_a_valid_record_in_the_wrong_place_is_named() -> None:
    swapped = _segment([]) + _segment([b"two"], first=2)[HEADER_BYTES:]
    with pytest.raises(JournalCorrupt, match=r"a\.seg: offset 4096: record 1 is missing: record 2 stands"):
        list(stored_records(swapped, HEADER, "a.seg"))


def test_a_record_of_another_history_is_named() -> None:
    forged = _segment([]) + encode_record(marker_of(ID), 1, bytes(16), b"forged")
    with pytest.raises(JournalCorrupt, match=r"a\.seg: offset 4096: record 1 does not continue the hash chain"):
        list(stored_records(forged, HEADER, "a.seg"))


@given(st.binary(max_size=300))
def test_a_record_is_found_behind_any_rubbish(rubbish: bytes) -> None:
    wanted = _segment([b"wanted"], first=7)[HEADER_BYTES:]
    found = record_behind(rubbish + wanted, 0, 5, ID)
    assert found is not None
    assert (found.number, found.payload) == (7, b"wanted")


@given(st.binary(max_size=2000))
def test_rubbish_is_not_taken_for_a_record(rubbish: bytes) -> None:
    assert record_behind(rubbish + marker_of(ID) * 20, 0, 1, ID) is None


def test_older_records_and_those_of_another_journal_do_not_count_as_following() -> None:
    older = _segment([b"old"], first=4)[HEADER_BYTES:]
    foreign = encode_record(marker_of("ffffffffffffffff"), 9, bytes(16), b"foreign")
    assert record_behind(older + foreign, 0, 5, ID) is None


@given(st.integers(0, 50), st.integers(0, 600_000))
def test_the_written_end_is_behind_the_last_byte_that_is_not_zero(offset: int, zeros: int) -> None:
    assert written_end(bytes(offset) + b"\1" + bytes(zeros), offset) == offset + 1
    assert written_end(b"\1" * offset + bytes(zeros), offset) == offset


def test_a_newer_version_is_refused_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.segment._VERSION", 2)
    newer = encode_header(HEADER)
    monkeypatch.undo()
    with pytest.raises(JournalError, match="version 2 is not one this program reads"):
        decode_header(newer, "a.seg")


@given(payloads, st.integers(0, 10))
def test_records_verified_earlier_are_stepped_over(contents: list[bytes], wanted: int) -> None:
    data = _segment(contents) + bytes(100)
    found = list(stored_records(data, HEADER, "a.seg", skip_to=wanted))
    assert found == [record for record in stored_records(data, HEADER, "a.seg") if record.number >= wanted]


def test_stepping_over_ends_at_damage() -> None:
    data = bytearray(_segment([b"one", b"two", b"three"]))
    second = data.index(b"two")
    data[second + len(b"two") + 4 : second + len(b"two") + 8] = bytes(4)  # the length of the third
    assert list(stored_records(bytes(data), HEADER, "a.seg", skip_to=9)) == []
