"""The envelopes around message bodies: what the bus needs to deliver them, and nothing about their meaning.

A frame is one ZeroMQ message: a typed envelope with a list of at most 256 raw bodies. Epochs and sequences live
here only, never in a body, so that a replay of bodies gives the same effects whatever the epochs were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

BODIES_MAX = 256
"""At most this many bodies in one frame; a sender with more makes more frames."""

FRAME_BYTES_MAX = 8 << 20
"""ZMQ_MAXMSGSIZE of every socket: a larger frame makes it drop the connection."""

BODY_BYTES_MAX = 1 << 20
"""A frame takes no further body once its bodies would come to more than this."""


class Epoch(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """Which life of a process speaks. `origin` is a heart's journal id, "" for edges; `n` grows with each start."""

    origin: str
    n: int

    def is_older_than(self, other: Epoch) -> bool:
        """Whether `other` is a later life of the same process. Different origins are never older."""
        return self.origin == other.origin and self.n < other.n


NO_EPOCH = Epoch("", 0)


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=True):
    """Base of all envelopes."""


class Data(Frame, frozen=True):
    """Lane messages. `seqs[i]` belongs to `bodies[i]`; `after` is the seq that precedes the first one in this stream
    of (sender epoch, receiver epoch), 0 for the first. `repeat`: may have reached an earlier receiver already.
    `covers`: on a cancel lane, the sender's last seq on the normal lane when the cancel was made."""

    lane: str
    sender: str
    epoch: Epoch
    to: Epoch
    after: int
    seqs: list[int]
    repeat: bool
    covers: list[int]
    bodies: list[msgspec.Raw]


class Ask(Frame, frozen=True):
    """Requests without a lane: queries, and commands whose answer is asked for again under the same id."""

    sender: str
    to: Epoch
    bodies: list[msgspec.Raw]


class Hello(Frame, frozen=True):
    """A process says who it is: on subscription to its addressed topic, and every 500 ms."""

    process: str
    epoch: Epoch


class Ack(Frame, frozen=True):
    """Receiver -> sender: every seq up to `seq` of the sender's `epoch` is safe here."""

    lane: str
    receiver: str
    receiver_epoch: Epoch
    epoch: Epoch
    seq: int


class Nack(Frame, frozen=True):
    """Receiver -> sender: there is a gap; send again what follows `seq`."""

    lane: str
    receiver: str
    receiver_epoch: Epoch
    epoch: Epoch
    seq: int


class FencedOff(Frame, frozen=True):
    """Receiver -> sender: a newer epoch of you exists; stop."""

    lane: str
    receiver: str
    newest: Epoch


class Answers(Frame, frozen=True):
    """Addressed answers to asks."""

    process: str
    epoch: Epoch
    bodies: list[msgspec.Raw]


class Published(Frame, frozen=True):
    """Stream messages of one topic. `seq` belongs to the last body; a snapshot says which seq it is valid at.

    No bodies: a beat that only says what the last seq is. A snapshot of more than BODIES_MAX comes in `parts`.
    """

    process: str
    topic: str
    epoch: Epoch
    seq: int
    snapshot: bool
    bodies: list[msgspec.Raw]
    part: int = 0
    parts: int = 1


class _Event(msgspec.Struct, frozen=True, array_like=True, gc=False, tag="Published"):
    """A Published frame with one event that is not encoded yet: what nearly every frame of a stream is."""

    process: str
    topic: str
    epoch: Epoch
    seq: int
    snapshot: bool
    bodies: tuple[msgspec.Struct]
    part: int = 0
    parts: int = 1


AnyFrame: TypeAlias = Data | Ask | Hello | Ack | Nack | FencedOff | Answers | Published

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyFrame] = msgspec.msgpack.Decoder(AnyFrame)


def batches(bodies: Iterable[bytes]) -> Iterator[list[msgspec.Raw]]:
    """Bodies in order, as many at a time as one frame may carry."""
    batch: list[msgspec.Raw] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) == BODIES_MAX or size + len(body) > BODY_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(msgspec.Raw(body))
        size += len(body)
    if batch:
        yield batch


def encode_frame(frame: Frame) -> bytes:
    return _encoder.encode(frame)


def encode_event(process: str, topic: str, epoch: Epoch, seq: int, body: msgspec.Struct) -> bytes:
    """The same bytes as a Published frame with this one body, encoded in one go."""
    return _encoder.encode(_Event(process, topic, epoch, seq, False, (body,)))


def decode_frame(raw: bytes | memoryview) -> AnyFrame:
    """The envelope in one ZeroMQ message. Raises msgspec.DecodeError when it cannot be read."""
    return _decoder.decode(raw)
