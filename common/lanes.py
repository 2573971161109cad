"""Lanes: at-least-once, in-order delivery over a transport that loses, and over deaths on both sides. Pure.

Sender in: bodies to send, acks, nacks, the receiver's epoch. Out: Data frames. Receiver in: Data frames. Out: the
bodies to handle, once and in order per (sender epoch, receiver epoch), and what to answer. Neither reads a clock.

An *ordinal* numbers a lane's messages for the life of the sender and beyond: epoch.n << 32 | count, so ordinals of
a restarted sender are above all earlier ones. `after` chains the messages of one stream together, so settled
messages may be missing in between without being a gap.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import msgspec

from common.frames import BODIES_MAX, NO_EPOCH, Ack, Data, Epoch, FencedOff, Nack

RESEND_NS = 100_000_000
"""Unacknowledged this long: send again (reliability.md section 2, S2)."""


def first_ordinal(epoch: Epoch) -> int:
    return (epoch.n & 0x7FFF_FFFF) << 32


class _Kept(msgspec.Struct):
    key: str
    body: msgspec.Raw
    covers: int
    repeat: bool
    sent_ns: int = 0


class LaneSender:
    """The sending half of one lane. `by_result` keeps acknowledged messages until `settle` names their key."""

    def __init__(self, name: str, sender: str, epoch: Epoch, *, limit: int, by_result: bool) -> None:
        self.name = name
        self.sender = sender
        self.epoch = epoch
        self.limit = limit
        self.by_result = by_result
        self.receiver_epoch = NO_EPOCH
        self.last = first_ordinal(epoch)
        self._acked = 0
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._by_key: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def offer(self, key: str, body: bytes, *, covers: int = 0, repeat: bool = False) -> bool:
        """Take a message for delivery. False when the lane is full; a key that is already kept is not taken twice."""
        if key in self._by_key:
            return True
        if len(self._kept) >= self.limit:
            return False
        self.last += 1
        self._kept[self.last] = _Kept(key, msgspec.Raw(body), covers, repeat)
        self._by_key[key] = self.last
        return True

    def settle(self, key: str) -> None:
        """The message has its result; an unknown key is fine (a duplicate result)."""
        seq = self._by_key.pop(key, None)
        if seq is not None:
            del self._kept[seq]

    def on_hello(self, receiver: Epoch) -> bool:
        """The receiver's epoch, as it says. True when it is new: everything kept goes out again, as repeats."""
        if receiver == self.receiver_epoch or receiver.is_older_than(self.receiver_epoch):
            return False
        self.receiver_epoch = receiver
        self._acked = 0
        for kept in self._kept.values():
            kept.repeat = kept.repeat or kept.sent_ns > 0
            kept.sent_ns = 0
        return True

    def on_ack(self, ack: Ack) -> None:
        if ack.epoch != self.epoch or ack.receiver_epoch != self.receiver_epoch or ack.seq <= self._acked:
            return
        self._acked = ack.seq
        if self.by_result:
            return
        while self._kept and next(iter(self._kept)) <= ack.seq:
            _, kept = self._kept.popitem(last=False)
            del self._by_key[kept.key]

    def on_nack(self, nack: Nack) -> None:
        """A gap behind nack.seq: what follows it goes out again at once."""
        if nack.epoch != self.epoch or nack.receiver_epoch != self.receiver_epoch:
            return
        self._acked = nack.seq
        for seq, kept in self._kept.items():
            if seq > nack.seq:
                kept.sent_ns = 0

    def due(self, now_ns: int) -> list[Data]:
        """Frames to send now: what was never sent, and everything unacknowledged once the oldest is overdue."""
        if self.receiver_epoch == NO_EPOCH or not self._kept:
            return []
        waiting = [(seq, kept) for seq, kept in self._kept.items() if seq > self._acked]
        if not waiting:
            return []
        sent_ns = waiting[0][1].sent_ns
        overdue = 0 < sent_ns <= now_ns - RESEND_NS
        frames: list[Data] = []
        after = self._acked
        batch: list[tuple[int, _Kept]] = []
        for seq, kept in waiting:
            if kept.sent_ns and not overdue:
                after = seq
                continue
            if batch and (len(batch) == BODIES_MAX or kept.repeat != batch[0][1].repeat):
                frames.append(self._frame(batch, after, now_ns))
                after = batch[-1][0]
                batch = []
            batch.append((seq, kept))
        if batch:
            frames.append(self._frame(batch, after, now_ns))
        return frames

    def next_due_ns(self) -> int | None:
        """When `due` has work next, if nothing else happens; 0 is at once."""
        if self.receiver_epoch == NO_EPOCH:
            return None
        for seq, kept in self._kept.items():
            if seq > self._acked:
                return kept.sent_ns + RESEND_NS if kept.sent_ns else 0
        return None

    def _frame(self, batch: list[tuple[int, _Kept]], after: int, now_ns: int) -> Data:
        for _, kept in batch:
            kept.sent_ns = now_ns
        return Data(
            lane=self.name,
            sender=self.sender,
            epoch=self.epoch,
            to=self.receiver_epoch,
            after=after,
            seqs=[seq for seq, _ in batch],
            repeat=batch[0][1].repeat,
            covers=[kept.covers for _, kept in batch],
            bodies=[kept.body for _, kept in batch],
        )


class Delivery(NamedTuple):
    """One body to handle."""

    seq: int
    covers: int
    body: msgspec.Raw


class Verdict(NamedTuple):
    """What a Data frame comes to: bodies to handle in order, and an answer to send at once (acks come later)."""

    deliveries: list[Delivery]
    answer: Nack | FencedOff | None = None
    dropped: int = 0
    foreign: bool = False
    """The sender speaks from another journal than the one known: an operator must adopt it first."""


class _Stream(msgspec.Struct):
    epoch: Epoch
    last: int = 0


class LaneReceiver:
    """The receiving half of one lane, for all its senders.

    `facts`: results and events of an old epoch, or meant for an earlier life of ours, are still delivered (they
    happened; the core dedupes them by their natural keys). Requests are not: epochs fence requests, never facts.
    """

    def __init__(self, name: str, receiver: str, epoch: Epoch, *, facts: bool) -> None:
        self.name = name
        self.receiver = receiver
        self.epoch = epoch
        self.facts = facts
        self._streams: dict[str, _Stream] = {}

    def accept(self, frame: Data) -> Verdict:
        stream = self._streams.get(frame.sender)
        if stream is not None and frame.epoch.is_older_than(stream.epoch):
            if self.facts:
                return Verdict(_all(frame))
            return Verdict([], FencedOff(self.name, self.receiver, stream.epoch), len(frame.bodies))
        if stream is not None and stream.epoch.origin != frame.epoch.origin and not self.facts:
            return Verdict([], None, len(frame.bodies), foreign=True)
        if frame.to != self.epoch:
            return Verdict(_all(frame) if self.facts else [], None, 0 if self.facts else len(frame.bodies))
        if stream is None or stream.epoch != frame.epoch:
            stream = self._streams[frame.sender] = _Stream(frame.epoch)
        if frame.after > stream.last:
            nack = Nack(self.name, self.receiver, self.epoch, frame.epoch, stream.last)
            return Verdict([], nack, len(frame.bodies))
        fresh = [delivery for delivery in _all(frame) if delivery.seq > stream.last]
        if fresh:
            stream.last = fresh[-1].seq
        return Verdict(fresh, None, len(frame.bodies) - len(fresh))

    def ack(self, sender: str) -> Ack | None:
        """The cumulative acknowledgement to send once everything delivered from `sender` is safe."""
        stream = self._streams.get(sender)
        if stream is None:
            return None
        return Ack(self.name, self.receiver, self.epoch, stream.epoch, stream.last)

    def epochs(self) -> dict[str, Epoch]:
        """The newest epoch seen of every sender: the only thing an edge persists of its peers."""
        return {sender: stream.epoch for sender, stream in self._streams.items()}

    def restore(self, epochs: dict[str, Epoch]) -> None:
        for sender, epoch in epochs.items():
            self._streams.setdefault(sender, _Stream(epoch))


def _all(frame: Data) -> list[Delivery]:
    return [Delivery(*row) for row in zip(frame.seqs, frame.covers, frame.bodies, strict=True)]
