"""Streams: a reader either holds exactly what the writer said, or knows that it does not."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.frames import BODY_BYTES_MAX, Epoch, Published, encode_event, encode_frame
from common.messages import Message, encode
from common.streams import ASK_AGAIN_NS, BEAT_NS, Heard, StreamReader, StreamWriter
from tests.strategies import messages

EPOCH = Epoch("", 7)


def body(n: int) -> bytes:
    return msgspec.msgpack.encode(n)


def values(heard: Heard) -> list[int]:
    return [msgspec.msgpack.decode(event) for event in heard.events]


def reader_at_start(writer: StreamWriter) -> StreamReader:
    reader = StreamReader("w", "t")
    reader.hear(writer.snapshot("t", [])[0])
    assert reader.synced
    return reader


def test_a_new_reader_wants_a_snapshot_first() -> None:
    reader = StreamReader("w", "t")
    assert reader.should_ask(ASK_AGAIN_NS)
    reader.asked(ASK_AGAIN_NS)
    assert not reader.should_ask(ASK_AGAIN_NS + 1)
    assert reader.should_ask(2 * ASK_AGAIN_NS)


def test_events_before_the_snapshot_are_kept_and_only_newer_ones_are_delivered() -> None:
    writer, reader = StreamWriter("w", EPOCH), StreamReader("w", "t")
    early = writer.frames("t", [body(1)], 0)
    snapshot = writer.snapshot("t", [body(100)])
    late = writer.frames("t", [body(2)], 0)
    assert reader.hear(early[0]).events == ()
    assert reader.hear(late[0]).events == ()
    heard = reader.hear(snapshot[0])
    assert heard.snapshot is not None
    assert values(heard) == [2]


def test_a_lost_frame_is_a_gap_until_the_next_snapshot() -> None:
    writer = StreamWriter("w", EPOCH)
    reader = reader_at_start(writer)
    writer.frames("t", [body(1)], 0)
    heard = reader.hear(writer.frames("t", [body(2)], 0)[0])
    assert heard.gap
    assert not reader.synced
    assert reader.hear(writer.snapshot("t", [body(9)])[0]).snapshot is not None
    assert values(reader.hear(writer.frames("t", [body(3)], 0)[0])) == [3]


def test_the_last_lost_frame_is_seen_by_the_beat() -> None:
    writer = StreamWriter("w", EPOCH)
    reader = reader_at_start(writer)
    writer.frames("t", [body(1)], 5)
    assert writer.beats(4 + BEAT_NS) == []
    beat = writer.beats(5 + BEAT_NS)
    assert writer.beats(5 + BEAT_NS) == [], "one beat at a time"
    assert reader.hear(beat[0]).gap


def test_a_lost_beat_is_followed_by_others_ever_more_rarely() -> None:
    """A reader that could take nothing for seconds loses the last event and its beat."""
    writer = StreamWriter("w", EPOCH)
    reader = reader_at_start(writer)
    writer.frames("t", [body(1)], 0)
    writer.frames("u", [body(1)], 0)
    beats = [now for now in range(0, 300 * BEAT_NS, BEAT_NS // 4) for beat in writer.beats(now) if beat.topic == "t"]
    assert [now // BEAT_NS for now in beats] == [1, 3, 7, 15, 31, 63, 127, 191, 255]
    assert reader.hear(writer.beats(319 * BEAT_NS)[0]).gap


def test_events_nobody_reads_count_and_a_late_reader_begins_behind_them() -> None:
    writer, reader = StreamWriter("w", EPOCH), StreamReader("w", "t")
    writer.skip("t", 3)
    (snapshot,) = writer.snapshot("t", [body(3)])
    assert snapshot.seq == 3
    assert reader.hear(snapshot).snapshot is not None
    (frame,) = writer.frames("t", [body(4)], 0)
    assert frame.seq == 4
    assert values(reader.hear(frame)) == [4]


def test_skipped_events_are_a_gap_for_a_reader_that_was_there_before() -> None:
    """Its subscription was away for a moment: the next frame shows that something is missing."""
    writer = StreamWriter("w", EPOCH)
    reader = reader_at_start(writer)
    writer.skip("t", 1)
    assert reader.hear(writer.frames("t", [body(2)], 0)[0]).gap


def test_a_topic_nobody_reads_gets_no_beats_until_it_is_written_to_for_somebody() -> None:
    writer = StreamWriter("w", EPOCH)
    writer.frames("t", [body(1)], 0)
    writer.skip("t", 1)
    assert writer.beats(100 * BEAT_NS) == []
    writer.frames("t", [body(3)], 100 * BEAT_NS)
    (beat,) = writer.beats(101 * BEAT_NS)
    assert (beat.seq, beat.bodies) == (3, [])


def test_large_bodies_make_small_frames() -> None:
    """A frame above the socket's limit would make the reader's socket drop the connection, for ever."""
    writer = StreamWriter("w", EPOCH)
    large = [bytes(BODY_BYTES_MAX // 2)] * 5
    assert [len(frame.bodies) for frame in writer.frames("t", large, 0)] == [2, 2, 1]
    assert [frame.seq for frame in writer.frames("t", large, 0)] == [7, 9, 10]
    assert [len(frame.bodies) for frame in writer.snapshot("t", large)] == [2, 2, 1]


def test_a_snapshot_others_asked_for_changes_nothing_for_a_reader_that_is_up_to_date() -> None:
    writer = StreamWriter("w", EPOCH)
    reader = reader_at_start(writer)
    reader.hear(writer.frames("t", [body(1)], 0)[0])
    assert reader.hear(writer.snapshot("t", [body(1)])[0]).snapshot is None


def test_a_writer_that_restarted_is_a_gap() -> None:
    writer = StreamWriter("w", EPOCH)
    reader = reader_at_start(writer)
    again = StreamWriter("w", Epoch("", 8))
    assert reader.hear(again.frames("t", [body(1)], 0)[0]).gap
    assert reader.hear(writer.frames("t", [body(1)], 0)[0]) == Heard(), "what the dead one said late is not heard"


def test_a_large_snapshot_comes_in_parts_and_is_whole_or_nothing() -> None:
    writer, reader = StreamWriter("w", EPOCH), StreamReader("w", "t")
    parts = writer.snapshot("t", [body(n) for n in range(600)])
    assert len(parts) == 3
    assert reader.hear(parts[0]).snapshot is None
    assert reader.hear(parts[2]).snapshot is None, "a part is missing"
    assert not reader.synced
    for part in parts[:2]:
        reader.hear(part)
    heard = reader.hear(parts[2])
    assert heard.snapshot is not None
    assert [msgspec.msgpack.decode(raw) for raw in heard.snapshot] == list(range(600))


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_whatever_is_lost_a_synced_reader_equals_the_writer(seed: int) -> None:
    """State is the list of all events; a snapshot carries it; loss hits any frame, doubling too."""
    rng = random.Random(seed)
    writer, reader = StreamWriter("w", EPOCH), StreamReader("w", "t")
    truth: list[int] = []
    held: list[int] = []
    for step in range(120):
        frames: list[Published] = []
        if rng.random() < 0.7:
            new = [step * 10 + i for i in range(rng.randint(1, 3))]
            truth += new
            frames += writer.frames("t", [body(n) for n in new], step)
        if rng.random() < 0.2:
            frames += writer.snapshot("t", [body(n) for n in truth])
        for frame in frames:
            for _ in range(rng.choice([0, 1, 1, 1, 2])):
                heard = reader.hear(frame)
                if heard.snapshot is not None:
                    held = [msgspec.msgpack.decode(raw) for raw in heard.snapshot]
                held += values(heard)
        if reader.synced:
            assert held == truth[: len(held)]
    for frame in writer.snapshot("t", [body(n) for n in truth]):
        heard = reader.hear(frame)
        if heard.snapshot is not None:
            held = [msgspec.msgpack.decode(raw) for raw in heard.snapshot]
        held += values(heard)
    assert reader.synced
    assert held == truth


@given(messages())
def test_an_event_encoded_with_its_frame_has_the_bytes_of_one_encoded_before(message: Message) -> None:
    published = Published("w", "t", EPOCH, 7, False, [msgspec.Raw(encode(message))])
    assert encode_event("w", "t", EPOCH, 7, message) == encode_frame(published)
