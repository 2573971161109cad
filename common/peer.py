"""One process's conversation with the others, above a bus: hellos, lanes, asks and answers, streams. Sans-IO.

In: bus messages (`receive`) and wishes (send, reply, publish, request). Out: `Item`s to handle, in order, and frames
into the bus on `flush`, batched: what one loop iteration produced for one peer is one frame. The bus is a port and
time is an argument, so the simulator runs the same class without sockets. It never decides about orders.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

import msgspec

from common.bus import Bus, Received
from common.effects import Origin
from common.errors import Fenced
from common.frames import (
    BODIES_MAX,
    NO_EPOCH,
    Ack,
    Answers,
    Ask,
    Data,
    Epoch,
    FencedOff,
    Frame,
    Hello,
    Nack,
    Published,
    batches,
    decode_frame,
    encode_event,
    encode_frame,
)
from common.lanes import LaneReceiver, LaneSender
from common.messages import Message, SnapshotWanted, encode
from common.streams import StreamReader, StreamWriter
from common.topology import ASK_INBOX, CANCEL_INBOX, LANES, inbox, lane

HELLO_NS = 500_000_000
ASK_AGAIN_NS = 200_000_000
NEVER_ASKED = -ASK_AGAIN_NS
SNAPSHOT_COALESCE_NS = 50_000_000
FRAMES_AT_ONCE = 16
"""Frames taken off the bus before counting the bodies in them and looking at the first inboxes again."""
BLOCKED_NS = 10_000_000
"""Wait this long before trying again to push to a receiver that is away (ZeroMQ reconnects every 10 ms)."""


class Item(msgspec.Struct, gc=False):
    """Something to handle.

    `kind`: lane, ask, event, snapshot, gap, answer, reset (a lane's receiver restarted), foreign (a lane's sender
    speaks from an unknown journal).
    """

    kind: str
    origin: Origin
    body: msgspec.Raw
    repeat: bool = False
    bodies: list[msgspec.Raw] = []


_EMPTY = msgspec.Raw(b"")


class _Asked(msgspec.Struct):
    owner: str
    inbox: str
    body: bytes
    sent_ns: int = NEVER_ASKED


def addressed(peer: str) -> bytes:
    """Topic of what a process says to one peer only. NUL ends it: subscriptions match by prefix."""
    return b"@" + peer.encode() + b"\0"


def request_id_of(body: Message) -> str:
    """The id a request and its answer share: `command_id` or `request_id`."""
    request_id = getattr(body, "command_id", None) or getattr(body, "request_id", None)
    return request_id if isinstance(request_id, str) else ""


def request_id_in(body: msgspec.Raw) -> str:
    """The request id of a body that cannot be decoded: by convention the first field."""
    try:
        parts = msgspec.msgpack.decode(body)
    except msgspec.DecodeError:
        return ""
    return parts[1] if isinstance(parts, list) and len(parts) > 1 and isinstance(parts[1], str) else ""


@lru_cache(maxsize=65_536)
def streamed(topic: str) -> bytes:
    """Topic of a stream and of its snapshots."""
    return b"t" + topic.encode() + b"\0"


HELLOS = b"hello\0"


class Peer:
    """The mechanism; one per process. Single-threaded: everything happens inside the caller's loop."""

    def __init__(self, bus: Bus, name: str, epoch: Epoch, *, streams: bool = True) -> None:
        self.name = name
        self.epoch = epoch
        self.counters: Counter[str] = Counter()
        self.writer = StreamWriter(name, epoch)
        self.peer_epochs: dict[str, Epoch] = {}
        self._bus = bus
        self._speaks = streams
        self._lane_senders = {row.name: self._lane_sender(row.name) for row in LANES if row.sender == name}
        self._normal_lanes = {row.name: row.normal for row in LANES}
        self._lane_receivers = {
            row.name: LaneReceiver(row.name, name, epoch, facts=row.inbox.endswith(".facts"))
            for row in LANES
            if inbox(row.inbox).owner == name
        }
        self._request_receivers = [receiver for receiver in self._lane_receivers.values() if not receiver.facts]
        self._readers: dict[tuple[str, str], StreamReader] = {}
        self._unsynced: dict[tuple[str, str], StreamReader] = {}
        """The readers that need a snapshot: few, where all of them may be thousands."""
        self._heard_ns: dict[str, int] = {}
        self._topics_read: set[bytes] = set()
        self._prefixes_read: set[bytes] = set()
        self._asked: dict[str, _Asked] = {}
        self._heard_of: set[str] = set()
        self._to_ack: set[tuple[str, str]] = set()
        self._out_events: dict[str, list[Message]] = {}
        self._out_answers: dict[str, list[bytes]] = {}
        self._wanted: set[str] = set()
        self._snapshot_due_ns = 0
        self._hello_due_ns = 0
        self._blocked = False
        for row in LANES:
            if row.sender == name:
                self.listen_to(inbox(row.inbox).owner)

    def _lane_sender(self, name: str) -> LaneSender:
        row = lane(name)
        return LaneSender(name, self.name, self.epoch, limit=row.limit, by_result=row.kept_until == "result")

    # --- wishes ---

    def listen_to(self, owner: str) -> None:
        """Hear what `owner` says to us alone: hellos, acks, answers."""
        if owner not in self._heard_of:
            self._heard_of.add(owner)
            self._bus.subscribe(owner, addressed(self.name))
            self._bus.subscribe(owner, HELLOS)

    def send(self, lane_name: str, key: str, body: Message, *, repeat: bool = False) -> bool:
        """Put a message on a lane; False when it is full."""
        normal = self._normal_lanes[lane_name]
        covers = self._lane_senders[normal].last if normal else 0
        return self._lane_senders[lane_name].offer(key, encode(body), covers=covers, repeat=repeat)

    def settle(self, lane_name: str, key: str) -> None:
        self._lane_senders[lane_name].settle(key)

    def lane_length(self, lane_name: str) -> int:
        return len(self._lane_senders[lane_name])

    def unacknowledged(self, lane_name: str) -> int:
        """How many messages of a lane the receiver has not said to be safe."""
        return self._lane_senders[lane_name].unacknowledged

    def reply(self, to: str, body: Message) -> None:
        self._out_answers.setdefault(to, []).append(encode(body))

    def publish(self, topic: str, body: Message) -> None:
        """Stamped and encoded on flush, and only when somebody reads the topic."""
        events = self._out_events.get(topic)
        if events is None:
            self._out_events[topic] = [body]
        else:
            events.append(body)

    def request(self, owner: str, request_id: str, body: Message, *, cancel: bool = False) -> None:
        """Ask `owner`, again every 200 ms, until an answer with this id comes or `forget` is called."""
        self.listen_to(owner)
        target = CANCEL_INBOX.get(owner, ASK_INBOX[owner]) if cancel else ASK_INBOX[owner]
        self._asked[request_id] = _Asked(owner, target, encode(body))

    def forget(self, request_id: str) -> None:
        self._asked.pop(request_id, None)

    def follow(self, owner: str, topic: str) -> None:
        """Read a stream of `owner`: a snapshot first, then events, gaps seen."""
        if (owner, topic) in self._readers:
            return
        self._readers[owner, topic] = self._unsynced[owner, topic] = StreamReader(owner, topic)
        self.listen_to(owner)
        self._bus.subscribe(owner, streamed(topic))

    def unfollow(self, owner: str, topic: str) -> None:
        self._unsynced.pop((owner, topic), None)
        if self._readers.pop((owner, topic), None) is not None:
            self._bus.unsubscribe(owner, streamed(topic))

    def heard_ns(self, process: str) -> int:
        """When (monotonic) anything came from a process we listen to; it says hello every HELLO_NS. 0: never."""
        return self._heard_ns.get(process, 0)

    def epoch_of(self, process: str) -> Epoch:
        """The newest epoch a process has spoken with; NO_EPOCH before it was heard."""
        return self.peer_epochs.get(process, NO_EPOCH)

    def is_synced(self, owner: str, topic: str) -> bool:
        reader = self._readers.get((owner, topic))
        return reader is not None and reader.synced

    # --- the loop's two verbs ---

    def receive(self, now_ns: int, limit: int = BODIES_MAX) -> list[Item]:
        """Drain the bus, bounded, and say what there is to handle. Raises Fenced when a newer self exists.

        It stops behind the frame round that brings `limit` items or frames: a frame may hold BODIES_MAX items.
        """
        items: list[Item] = []
        taken = 0
        while taken < limit and len(items) < limit:
            received = self._bus.receive(FRAMES_AT_ONCE)
            for message in received:
                self._take_message(message, items, now_ns)
            taken += len(received)
            if len(received) < FRAMES_AT_ONCE:
                break
        return items

    def flush(self, now_ns: int) -> None:
        """Put everything that was wished for, acknowledged or became due into the bus."""
        self._blocked = False
        if self._speaks:
            self._flush_streams(now_ns)
            self._flush_acks()
            if now_ns >= self._hello_due_ns:
                self._hello_due_ns = now_ns + HELLO_NS
                self._bus.publish(HELLOS, encode_frame(Hello(self.name, self.epoch)))
        for sender in self._lane_senders.values():
            target = lane(sender.name).inbox
            for frame in sender.due(now_ns):
                if not self._push(target, frame):
                    sender.take_back(frame)
                    break
        self._flush_asks(now_ns)

    def handled(self, origin: Origin) -> None:
        """A lane message is safe here (durable in a heart, done in an edge): it is acknowledged on flush."""
        self._to_ack.add((origin.lane, origin.sender))

    def snapshots_wanted(self, now_ns: int) -> list[str]:
        """Topics whose snapshot is to be published now; requests are coalesced."""
        if not self._wanted or now_ns < self._snapshot_due_ns:
            return []
        wanted = sorted(self._wanted)
        self._wanted.clear()
        self._snapshot_due_ns = now_ns + SNAPSHOT_COALESCE_NS
        return wanted

    def publish_snapshot(self, topic: str, bodies: list[Message], now_ns: int) -> None:
        """A snapshot of the state after every event published so far."""
        self._flush_events(topic, now_ns)
        for frame in self.writer.snapshot(topic, [encode(body) for body in bodies]):
            self._bus.publish(streamed(topic), encode_frame(frame))

    def next_due_ns(self, now_ns: int) -> int:
        """When `flush` has something to do next if nothing arrives."""
        due = self._hello_due_ns if self._speaks else now_ns + HELLO_NS
        for sender in self._lane_senders.values():
            at = sender.next_due_ns()
            if at is not None:
                due = min(due, at)
        for asked in self._asked.values():
            if asked.owner in self.peer_epochs:
                due = min(due, asked.sent_ns + ASK_AGAIN_NS)
        if self._unsynced:
            due = min(due, now_ns + ASK_AGAIN_NS)
        if self._wanted:
            due = min(due, self._snapshot_due_ns)
        return max(due, now_ns + BLOCKED_NS) if self._blocked else due

    def sender_epochs(self) -> dict[str, Epoch]:
        """The newest epoch of every peer that sent us requests: what an edge persists."""
        newest: dict[str, Epoch] = {}
        for receiver in self._request_receivers:
            for sender, epoch in receiver.epochs().items():
                if sender not in newest or newest[sender].is_older_than(epoch):
                    newest[sender] = epoch
        return newest

    def restore_sender_epochs(self, epochs: dict[str, Epoch]) -> None:
        """A fence known to one lane holds for all lanes of requests."""
        for receiver in self._request_receivers:
            receiver.restore(epochs)

    # --- receiving ---

    def _take_message(self, message: Received, items: list[Item], now_ns: int) -> None:
        if message.subscription is not None:
            self.note_reader(message.subscription, ended=message.ended)
            return
        self._heard_ns[message.source] = now_ns
        try:
            frame = decode_frame(message.frame)
        except msgspec.DecodeError:
            self.counters["frames_undecodable"] += 1
            return
        self._take(frame, message, items, now_ns)

    def _take(self, frame: Frame, message: Received, items: list[Item], now_ns: int) -> None:
        match frame:
            case Data():
                self._take_data(frame, items)
            case Ask():
                self._take_ask(frame, items, now_ns)
            case Hello():
                self._learn(frame.process, frame.epoch, items)
            case Ack() | Nack():
                self._learn(frame.receiver, frame.receiver_epoch, items)
                sender = self._lane_senders.get(frame.lane)
                if sender is not None:
                    sender.on_ack(frame) if isinstance(frame, Ack) else sender.on_nack(frame)
            case FencedOff():
                if self.epoch.is_older_than(frame.newest):
                    raise Fenced(f"{frame.receiver} knows a newer {self.name} (epoch {frame.newest.n})")
            case Answers():
                self._learn(frame.process, frame.epoch, items)
                items += [Item("answer", Origin(frame.process), body) for body in frame.bodies]
            case Published():
                self._take_published(frame, items)
            case _:
                raise AssertionError(f"no rule for {type(frame).__name__} from {message.source}")

    def _take_data(self, frame: Data, items: list[Item]) -> None:
        receiver = self._lane_receivers.get(frame.lane)
        if receiver is None or not len(frame.bodies) == len(frame.seqs) == len(frame.covers) > 0:
            self.counters["frames_unexpected"] += 1
            return
        verdict = receiver.accept(frame)
        if not (receiver.facts or verdict.foreign):
            self.restore_sender_epochs({frame.sender: frame.epoch})
        self.counters["lane_dropped"] += verdict.start
        if verdict.foreign:
            items.append(Item("foreign", Origin(frame.sender, frame.lane), _EMPTY))
        elif verdict.answer is not None:
            self._say(frame.sender, verdict.answer)
        elif verdict.start == len(frame.bodies):
            self._to_ack.add((frame.lane, frame.sender))
        for i in range(verdict.start, len(frame.bodies)):
            origin = Origin(frame.sender, frame.lane, frame.seqs[i], frame.covers[i])
            items.append(Item("lane", origin, frame.bodies[i], frame.repeat))

    def _take_ask(self, frame: Ask, items: list[Item], now_ns: int) -> None:
        if frame.to != self.epoch:
            self.counters["asks_for_another_epoch"] += 1
            self._say(frame.sender, Hello(self.name, self.epoch))
            return
        for body in frame.bodies:
            topic = _snapshot_topic(body)
            if topic is None:
                items.append(Item("ask", Origin(frame.sender), body))
                continue
            if not self._wanted:
                self._snapshot_due_ns = max(self._snapshot_due_ns, now_ns)
            self._wanted.add(topic)

    def _take_published(self, frame: Published, items: list[Item]) -> None:
        reader = self._readers.get((frame.process, frame.topic))
        if reader is None:
            return
        if frame.epoch != self.peer_epochs.get(frame.process):
            self._learn(frame.process, frame.epoch, items)
        heard = reader.hear(frame)
        self._note_synced(reader)
        origin = Origin(frame.process, frame.topic)
        if heard.gap:
            self.counters["stream_gaps"] += 1
            items.append(Item("gap", origin, _EMPTY))
        if heard.snapshot is not None:
            items.append(Item("snapshot", origin, _EMPTY, bodies=heard.snapshot))
        items += [Item("event", origin, body) for body in heard.events]

    def _learn(self, process: str, epoch: Epoch, items: list[Item]) -> None:
        known = self.peer_epochs.get(process, NO_EPOCH)
        if known == epoch or epoch.is_older_than(known):
            return
        self.peer_epochs[process] = epoch
        for asked in self._asked.values():
            if asked.owner == process:
                asked.sent_ns = NEVER_ASKED
        for (owner, topic), reader in self._readers.items():
            if owner == process and reader.owner_is(epoch):
                self._note_synced(reader)
                self.counters["stream_gaps"] += 1
                items.append(Item("gap", Origin(owner, topic), _EMPTY))
        for name, sender in self._lane_senders.items():
            if inbox(lane(name).inbox).owner == process and sender.on_hello(epoch):
                items.append(Item("reset", Origin(process, name), _EMPTY))

    def _note_synced(self, reader: StreamReader) -> None:
        if reader.synced:
            self._unsynced.pop((reader.owner, reader.topic), None)
        else:
            self._unsynced[reader.owner, reader.topic] = reader

    def note_reader(self, topic: bytes, *, ended: bool = False) -> None:
        """Somebody reads a topic of ours, or nobody does any more."""
        read = self._topics_read if topic.endswith(b"\0") else self._prefixes_read
        if ended:
            read.discard(topic)
            return
        read.add(topic)
        if topic.startswith(b"t"):
            self.writer.beat_soon(topic[1:-1].decode())
        if topic.startswith(b"@"):  # what we say to it alone: now it hears us, so tell it who we are
            self._bus.publish(topic, encode_frame(Hello(self.name, self.epoch)))

    def _is_read(self, topic: bytes) -> bool:
        if topic in self._topics_read:
            return True
        return bool(self._prefixes_read) and any(map(topic.startswith, self._prefixes_read))

    # --- sending ---

    def _say(self, to: str, frame: Frame) -> None:
        self._bus.publish(addressed(to), encode_frame(frame))

    def _flush_streams(self, now_ns: int) -> None:
        out, self._out_events = self._out_events, {}
        for topic, events in out.items():
            self._publish_events(topic, events, now_ns)
        for beat in self.writer.beats(now_ns):
            self._bus.publish(streamed(beat.topic), encode_frame(beat))
        for to, bodies in self._out_answers.items():
            for part in batches(bodies):
                self._say(to, Answers(self.name, self.epoch, part))
        self._out_answers.clear()

    def _flush_events(self, topic: str, now_ns: int) -> None:
        events = self._out_events.pop(topic, None)
        if events:
            self._publish_events(topic, events, now_ns)

    def _publish_events(self, topic: str, events: list[Message], now_ns: int) -> None:
        address = streamed(topic)
        if not self._is_read(address):
            self.writer.skip(topic, len(events))
        elif len(events) == 1:
            seq = self.writer.stamp(topic, 1, now_ns)
            self._bus.publish(address, encode_event(self.name, topic, self.epoch, seq, events[0]))
        else:
            for frame in self.writer.frames(topic, [encode(event) for event in events], now_ns):
                self._bus.publish(address, encode_frame(frame))

    def _flush_acks(self) -> None:
        for lane_name, sender in sorted(self._to_ack):
            ack = self._lane_receivers[lane_name].ack(sender)
            if ack is not None:
                self._say(sender, ack)
        self._to_ack.clear()

    def _flush_asks(self, now_ns: int) -> None:
        for asked in self._asked.values():
            epoch = self.peer_epochs.get(asked.owner)
            if epoch is None or now_ns - asked.sent_ns < ASK_AGAIN_NS:
                continue
            if self._push(asked.inbox, Ask(self.name, epoch, [msgspec.Raw(asked.body)])):
                asked.sent_ns = now_ns
        for reader in self._unsynced.values():
            epoch = self.peer_epochs.get(reader.owner)
            if epoch is not None and reader.should_ask(now_ns):
                wish = msgspec.Raw(encode(SnapshotWanted(reader.topic)))
                if self._push(ASK_INBOX[reader.owner], Ask(self.name, epoch, [wish])):
                    reader.asked(now_ns)

    def _push(self, inbox_name: str, frame: Frame) -> bool:
        """False when the receiver is away or full: then `next_due_ns` waits a moment instead of spinning."""
        taken = self._bus.push(inbox_name, encode_frame(frame))
        if not taken:
            self._blocked = True
            self.counters["pushes_blocked"] += 1
        return taken


_SNAPSHOT_WANTED = encode(SnapshotWanted(""))[:-1]
_decoder_wanted = msgspec.msgpack.Decoder(SnapshotWanted)


def _snapshot_topic(body: msgspec.Raw) -> str | None:
    """The topic of a SnapshotWanted, None for any other body."""
    if not bytes(body).startswith(_SNAPSHOT_WANTED):
        return None
    try:
        return _decoder_wanted.decode(body).topic
    except msgspec.DecodeError:
        return None
