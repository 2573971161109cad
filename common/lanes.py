"""Lanes: at-least-once, in-order delivery over a transport that loses, and over deaths on both sides. Pure.

Sender in: bodies to send, acks, nacks, the receiver's epoch. Out: Data frames. Receiver in: Data frames. Out: the
bodies to handle, once and in order per (sender epoch, receiver epoch), and what to answer. Neither reads a clock.

An *ordinal* numbers a lane's messages for the life of the sender and beyond: epoch.n << 32 | count, so ordinals of
a restarted sender are above all earlier ones. `after` chains the messages of one stream together, so settled
messages may be missing in between without being a gap.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import NamedTuple, TypeAlias

import msgspec

from common.frames import BODIES_MAX, BODY_BYTES_MAX, NO_EPOCH, Ack, Data, Epoch, FencedOff, Nack

RESEND_NS = 100_000_000
"""Unacknowledged this long: send again (reliability.md section 2, S2)."""

FLIGHT_MAX = 4 * BODIES_MAX
"""At most this many are on the way unacknowledged: a slow or dead receiver costs little, however long the lane is."""


def first_ordinal(epoch: Epoch) -> int:
    return (epoch.n & 0x7FFF_FFFF) << 32


_Kept: TypeAlias = tuple[str, bytes, int]
"""Key, body, covers. A tuple: this is the hottest allocation of the bus."""


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
        self._kept: dict[int, _Kept] = {}
        self._by_key: dict[str, int] = {}
        self._unsent: deque[int] = deque()
        self._sent_upto = 0
        self._repeat_upto = 0
        self._repeats: set[int] = set()
        self._in_flight: deque[int] = deque()
        self._acked = 0
        self._after = 0
        self._waiting_ns = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def unacknowledged(self) -> int:
        """How many messages the receiver has not said to be safe."""
        return len(self._unsent) + len(self._in_flight)

    def offer(self, key: str, body: bytes, *, covers: int = 0, repeat: bool = False) -> bool:
        """Take a message for delivery. False when the lane is full; a key that is already kept is not taken twice."""
        if key in self._by_key:
            return True
        if len(self._kept) >= self.limit:
            return False
        self.last = seq = self.last + 1
        self._kept[seq] = (key, body, covers)
        self._by_key[key] = seq
        self._unsent.append(seq)
        if repeat:
            self._repeats.add(seq)
        return True

    def settle(self, key: str) -> None:
        """The message has its result; an unknown key is fine (a duplicate result)."""
        seq = self._by_key.pop(key, None)
        if seq is not None:
            del self._kept[seq]
            self._repeats.discard(seq)

    def on_hello(self, receiver: Epoch) -> bool:
        """The receiver's epoch, as it says. True when it is new: everything kept goes out again, as repeats."""
        if receiver == self.receiver_epoch or receiver.is_older_than(self.receiver_epoch):
            return False
        self.receiver_epoch = receiver
        self._repeat_upto = self._sent_upto
        self._acked = self._after = self._waiting_ns = 0
        self._in_flight.clear()
        self._unsent = deque(self._kept)
        return True

    def on_ack(self, ack: Ack) -> None:
        if ack.epoch != self.epoch or ack.receiver_epoch != self.receiver_epoch or ack.seq <= self._acked:
            return
        self._acked = ack.seq
        for queue in (self._in_flight, self._unsent):
            while queue and queue[0] <= ack.seq:
                self._acknowledged(queue.popleft())
        self._waiting_ns = 0

    def _acknowledged(self, seq: int) -> None:
        if not self.by_result and (kept := self._kept.pop(seq, None)) is not None:
            del self._by_key[kept[0]]
            self._repeats.discard(seq)

    def on_nack(self, nack: Nack) -> None:
        """A gap behind nack.seq: what follows it goes out again at once."""
        if nack.epoch == self.epoch and nack.receiver_epoch == self.receiver_epoch and nack.seq >= self._acked:
            self._go_back(nack.seq)

    def take_back(self, frame: Data) -> None:
        """The transport had no room for `frame`: it and what follows it were not sent."""
        self._go_back(frame.after)

    def due(self, now_ns: int) -> list[Data]:
        """Frames to send now, in order: what was never sent, and what is unacknowledged once the oldest is overdue."""
        if self.receiver_epoch == NO_EPOCH:
            return []
        if self._in_flight:
            if not self._waiting_ns:
                self._waiting_ns = now_ns
            elif now_ns - self._waiting_ns >= RESEND_NS:
                self._go_back(self._acked)
        frames: list[Data] = []
        while self._unsent and len(self._in_flight) < FLIGHT_MAX:
            frame = self._next_frame()
            if frame is not None:
                frames.append(frame)
        if frames and not self._waiting_ns:
            self._waiting_ns = now_ns
        return frames

    def next_due_ns(self) -> int | None:
        """When `due` has work next, if nothing else happens; 0 is at once."""
        if self.receiver_epoch == NO_EPOCH:
            return None
        if self._unsent and len(self._in_flight) < FLIGHT_MAX:
            return 0
        return self._waiting_ns + RESEND_NS if self._in_flight else None

    def _go_back(self, seq: int) -> None:
        """What was sent after `seq` is unsent again."""
        while self._in_flight and self._in_flight[-1] > seq:
            self._unsent.appendleft(self._in_flight.pop())
        self._after = seq
        self._waiting_ns = 0

    def _next_frame(self) -> Data | None:
        """The next frame, all repeats or none; None when all that was left had been settled."""
        seqs: list[int] = []
        kept: list[_Kept] = []
        repeat, size = False, 0
        while self._unsent and len(seqs) < BODIES_MAX:
            seq = self._unsent[0]
            found = self._kept.get(seq)
            if found is None:
                self._unsent.popleft()
                continue
            again = seq <= self._repeat_upto or seq in self._repeats
            size += len(found[1])
            if seqs and (again != repeat or size > BODY_BYTES_MAX):
                break
            repeat = again
            seqs.append(self._unsent.popleft())
            kept.append(found)
        if not seqs:
            return None
        after, self._after = self._after, seqs[-1]
        self._sent_upto = max(self._sent_upto, seqs[-1])
        self._in_flight.extend(seqs)
        covers = [row[2] for row in kept]
        bodies = [msgspec.Raw(row[1]) for row in kept]
        return Data(self.name, self.sender, self.epoch, self.receiver_epoch, after, seqs, repeat, covers, bodies)


class Verdict(NamedTuple):
    """What a Data frame comes to: its bodies from `start` on are to be handled in order, none when it is `dropped`
    whole; and an answer to send at once (acks come later)."""

    start: int
    answer: Nack | FencedOff | None = None
    foreign: bool = False
    """The sender speaks from another journal than the one known: an operator must adopt it first."""


class _Stream(msgspec.Struct):
    epoch: Epoch
    last: int = 0


class LaneReceiver:
    """The receiving half of one lane, for all its senders.

    `facts`: results and events of an old epoch, or meant for an earlier life of ours, are still delivered (they
    happened; the core dedupes them by their natural keys). Requests are not: epochs fence requests, never facts. The
    old sender is told to stop in both cases: nothing it says is acknowledged, so it would say it for ever.
    """

    def __init__(self, name: str, receiver: str, epoch: Epoch, *, facts: bool) -> None:
        self.name = name
        self.receiver = receiver
        self.epoch = epoch
        self.facts = facts
        self._streams: dict[str, _Stream] = {}

    def accept(self, frame: Data) -> Verdict:
        stream = self._streams.get(frame.sender)
        whole = len(frame.bodies)
        if stream is not None and frame.epoch.is_older_than(stream.epoch):
            return Verdict(0 if self.facts else whole, FencedOff(self.name, self.receiver, stream.epoch))
        if stream is not None and stream.epoch.origin != frame.epoch.origin and not self.facts:
            return Verdict(whole, foreign=True)
        if frame.to != self.epoch:
            return Verdict(0 if self.facts else whole)
        if stream is None or stream.epoch != frame.epoch:
            stream = self._streams[frame.sender] = _Stream(frame.epoch)
        if frame.after > stream.last:
            nack = Nack(self.name, self.receiver, self.epoch, frame.epoch, stream.last)
            return Verdict(whole, nack)
        start = bisect_right(frame.seqs, stream.last)
        if start < whole:
            stream.last = frame.seqs[-1]
        return Verdict(start)

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
        """Know of these lives of senders: what is older is fenced from now on."""
        for sender, epoch in epochs.items():
            stream = self._streams.get(sender)
            if stream is None or stream.epoch.is_older_than(epoch):
                self._streams[sender] = _Stream(epoch)
