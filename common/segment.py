"""The bytes of one journal segment: pure encoding, decoding and the search behind damage.

In: bytes and a file name to complain with. Out: headers and records, or JournalCorrupt naming file, offset and index.
Never reads or writes a file.

    segment   header block | record | record | ... | zeros up to segment_bytes
    header    crc32 u32 | magic 8 | version u32 | journal id 16 | first index u64 | segment bytes u64 | chain before 16
    record    crc32 u32 | length u32 (of the whole record, 0 = end) | marker 4 | index u64 | chain 16 | payload

The marker is derived from the random journal id: a search for it finds the next record behind damage, and nothing a
client sends can imitate it. A record's chain hash covers the one before it, so no record can be left out or swapped.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from common.errors import JournalCorrupt, JournalError

HEADER_BYTES = 4096
"""The header has a block of its own, so no append ever rewrites it."""

_MAGIC = b"PXJRNL\0\0"
_VERSION = 1
_HEADER = struct.Struct("<8sI16sQQ16s")
_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<II4sQ16s")
_COVERED = struct.Struct("<I4sQ16s")  # what the checksum covers, before the payload
_MARKER_OFFSET = 8
_CHAIN_BYTES = 16
_ZEROS = bytes(256 << 10)

RECORD_OVERHEAD = _RECORD.size


class SegmentHeader(NamedTuple):
    journal_id: str
    first_index: int
    segment_bytes: int
    chain_before: bytes


class StoredRecord(NamedTuple):
    number: int
    """Its index in the journal."""
    chain: bytes
    payload: bytes
    end: int
    """The offset behind it."""


def next_chain(before: bytes, payload: bytes) -> bytes:
    digest = hashlib.blake2b(before, digest_size=_CHAIN_BYTES)
    digest.update(payload)
    return digest.digest()


def first_chain(journal_id: str) -> bytes:
    """What stands before record 1; different for every journal."""
    return next_chain(b"polyexec journal", journal_id.encode("ascii"))


def marker_of(journal_id: str) -> bytes:
    """Four bytes that stand in every record of this journal; the first is never zero, unlike unwritten space."""
    digest = next_chain(b"polyexec record", journal_id.encode("ascii"))
    return bytes((digest[0] | 1,)) + digest[1:4]


def encode_record(marker: bytes, index: int, chain: bytes, payload: bytes) -> bytes:
    covered = _COVERED.pack(_RECORD.size + len(payload), marker, index, chain) + payload
    return _CRC.pack(zlib.crc32(covered)) + covered


def encode_header(header: SegmentHeader) -> bytes:
    journal_id = header.journal_id.encode("ascii")
    fields = _HEADER.pack(_MAGIC, _VERSION, journal_id, header.first_index, header.segment_bytes, header.chain_before)
    covered = fields.ljust(HEADER_BYTES - _CRC.size, b"\0")
    return _CRC.pack(zlib.crc32(covered)) + covered


def decode_header(data: bytes, name: str) -> SegmentHeader | None:
    """The header of a segment in use; None for an unused, unfinished or damaged one."""
    block = data[:HEADER_BYTES]
    if len(block) < HEADER_BYTES or _CRC.unpack_from(block)[0] != zlib.crc32(block[_CRC.size :]):
        return None
    magic, version, journal_id, first_index, segment_bytes, chain = _HEADER.unpack_from(block, _CRC.size)
    if magic != _MAGIC:
        return None
    if version != _VERSION:
        raise JournalError(f"{name}: version {version} is not one this program reads ({_VERSION})")
    return SegmentHeader(journal_id.decode("ascii"), first_index, segment_bytes, chain)


def stored_records(data: bytes, header: SegmentHeader, name: str, *, skip_to: int = 0) -> Iterator[StoredRecord]:
    """The valid records of one segment in order; stops at the first thing that is none.

    A record with a right checksum but a wrong place in the chain cannot come from a torn write: JournalCorrupt.
    Records before `skip_to`, verified earlier, are stepped over.
    """
    view, marker = memoryview(data), marker_of(header.journal_id)
    index, chain, offset = header.first_index, header.chain_before, HEADER_BYTES
    while index < skip_to and offset + _RECORD.size <= len(data):
        _, length, mark, number, known = _RECORD.unpack_from(data, offset)
        if mark != marker or number != index or length < _RECORD.size:
            break
        index, chain, offset = index + 1, known, offset + length
    while found := _record_at(view, offset, marker):
        if found.number != index:
            refuse(name, offset, index, f"is missing: record {found.number} stands in its place")
        chain = next_chain(chain, found.payload)
        if found.chain != chain:
            refuse(name, offset, index, "does not continue the hash chain")
        yield found
        index, offset = index + 1, found.end


def record_behind(data: bytes, offset: int, index: int, journal_id: str) -> StoredRecord | None:
    """The first whole record of this journal from `offset` on whose index is not below `index`.

    Every place where the marker stands is tried, to the end of `data`. A false hit would need the journal's random
    marker, a plausible length and a matching checksum at once.
    """
    marker, view = marker_of(journal_id), memoryview(data)
    at = data.find(marker, offset + _MARKER_OFFSET)
    while at >= 0:
        found = _record_at(view, at - _MARKER_OFFSET, marker)
        if found and found.number >= index:
            return found
        at = data.find(marker, at + 1)
    return None


def written_end(data: bytes, offset: int) -> int:
    """Behind the last byte from `offset` on that is not zero; `offset` when there is none."""
    for start in reversed(range(offset, len(data), len(_ZEROS))):
        piece = data[start : start + len(_ZEROS)]
        if piece != _ZEROS[: len(piece)]:
            return start + len(piece.rstrip(b"\0"))
    return offset


def refuse(name: str, offset: int, index: int, what: str) -> NoReturn:
    """Damage that is not a torn tail: name it and stop."""
    raise JournalCorrupt(f"{name}: offset {offset}: record {index} {what}", file=name, offset=offset, record=index)


def record_length(head: bytes, journal_id: str) -> int:
    """How long the record that begins with these bytes says it is; 0 when none of this journal begins here."""
    if len(head) < _RECORD.size:
        return 0
    _, length, mark, _, _ = _RECORD.unpack_from(head)
    return length if mark == marker_of(journal_id) and length >= _RECORD.size else 0


def next_record(data: bytes, index: int, chain: bytes, journal_id: str) -> StoredRecord | None:
    """The record at the beginning of `data`, when it is whole and follows `chain` as record `index`."""
    found = _record_at(memoryview(data), 0, marker_of(journal_id))
    if found is None or found.number != index or found.chain != next_chain(chain, found.payload):
        return None
    return found


def _record_at(data: memoryview, offset: int, marker: bytes) -> StoredRecord | None:
    """The record that begins at `offset`, if there is a whole one with a right checksum."""
    if offset + _RECORD.size > len(data):
        return None
    crc, length, mark, index, chain = _RECORD.unpack_from(data, offset)
    end = offset + length
    if mark != marker or length < _RECORD.size or end > len(data):
        return None
    if zlib.crc32(data[offset + _CRC.size : end]) != crc:
        return None
    return StoredRecord(index, chain, bytes(data[offset + _RECORD.size : end]), end)
