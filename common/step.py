"""One step of a heart, without its I/O: handle inputs, make the journal record, replay records. Pure.

A record is one step: both clocks and the inputs in order. Replaying records through a core gives the same state hash
and the same effects, byte for byte; nothing else is needed to restart.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from common.effects import Core, Effect, Now, Origin
from common.messages import Message, decode, encode


class InputRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One journaled input: where it came from and its body. Epochs are not part of it."""

    sender: str
    lane: str
    seq: int
    covers: int
    body: msgspec.Raw


class StepRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One journal record. Field order is the format; new fields go at the end with a default."""

    wall_ns: int
    mono_ns: int
    inputs: list[InputRecord]


_ROW_BYTES = 64
"""More than what an input's record takes beside its names and its body."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StepRecord)


def encode_step(record: StepRecord) -> bytes:
    return _encoder.encode(record)


def decode_step(payload: bytes) -> StepRecord:
    return _decoder.decode(payload)


class Step:
    """Collects what one step of a heart does: inputs to journal and effects to perform after the sync."""

    def __init__(self, core: Core, now: Now) -> None:
        self.core = core
        self.now = now
        self.inputs: list[InputRecord] = []
        self.effects: list[Effect] = []
        self.size = 0
        """Not less than what the inputs take in the record."""

    def take(self, message: Message, origin: Origin, body: msgspec.Raw | None = None) -> None:
        """Handle one input; `body` is its encoding when it came over the bus."""
        self.effects += self.core.handle(message, origin, self.now)
        encoded = encode(message) if body is None else bytes(body)
        row = InputRecord(origin.sender, origin.lane, origin.seq, origin.covers, msgspec.Raw(encoded))
        self.inputs.append(row)
        self.size += _ROW_BYTES + 4 * (len(origin.sender) + len(origin.lane)) + len(encoded)

    def clear(self) -> None:
        """Begin the next record of the same moment."""
        self.inputs, self.effects, self.size = [], [], 0

    def record(self) -> bytes:
        return encode_step(StepRecord(self.now.wall_ns, self.now.mono_ns, self.inputs))


def replay(core: Core, payloads: Iterable[bytes]) -> tuple[Now, int]:
    """Run journal records through a core and drop the effects; the clocks of the last step and the inputs run."""
    now, count = Now(0, 0), 0
    for payload in payloads:
        record = decode_step(payload)
        now = Now(record.wall_ns, record.mono_ns)
        for row in record.inputs:
            core.handle(decode(row.body), Origin(row.sender, row.lane, row.seq, row.covers), now)
            count += 1
    return now, count
