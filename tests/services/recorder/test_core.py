"""What is recorded and what is left out: order, bounds, gaps, and the scene a file begins with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.messages import BookSnapshot, FeedMark, MarketListed
from common.recording import BOOK, FRAME, GAP, LOST, MARKET, OPENED, Entry, Gap, mark_entry, market_entry, message_of
from common.types import FeedState
from services.recorder.core import Scene, Tape
from tests.services.recorder.rows import T0, feed_frame, frame, listed, opened

BOOK_1 = BookSnapshot("1001", [(450_000, 1)], [], 10_000, FeedState.LIVE, T0, T0)


def joined(rows_max: int = 100, bytes_max: int = 1 << 20) -> Tape:
    tape = Tape(rows_max, bytes_max)
    tape.on_markets([listed()], T0)
    tape.on_frames_snapshot([opened()], T0)
    tape.take()
    return tape


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


def test_everything_leaves_in_the_order_it_came() -> None:
    tape = Tape(100)
    tape.on_markets([listed()], T0)
    tape.on_frames_snapshot([opened(), BOOK_1], T0)
    tape.on_frames(feed_frame(1), T0)
    tape.on_frames(FeedMark(1, T0 + 2, LOST, [], "cut"), T0)
    taken = tape.take()
    assert kinds(taken) == [MARKET, OPENED, BOOK, FRAME, LOST]
    assert [entry.at_ns for entry in taken] == [T0, T0, T0, T0 + 1, T0 + 2]
    assert tape.take() == []


def test_a_market_that_is_known_is_not_repeated_and_a_changed_one_is() -> None:
    tape = joined()
    tape.on_markets([listed()], T0)
    tape.on_markets([listed(tick=1000)], T0)
    assert kinds(tape.take()) == [MARKET]


def test_a_mark_of_another_kind_is_counted_and_harmless() -> None:
    tape = joined()
    tape.on_frames(FeedMark(1, T0, "PAINTED", []), T0)
    assert tape.take() == []
    assert tape.counters["marks_unknown"] == 1


def test_a_stream_gap_is_a_row_and_frames_count_again_after_the_snapshot() -> None:
    tape = joined()
    tape.on_frames_gap(T0 + 1)
    assert not tape.joined
    tape.on_frames_snapshot([opened()], T0 + 2)
    tape.on_frames(feed_frame(3), T0)
    assert kinds(tape.take()) == [GAP, OPENED, FRAME]
    assert tape.counters["gaps"] == 1


def test_when_it_is_full_the_newest_are_dropped_and_a_gap_says_how_many() -> None:
    tape = joined(rows_max=4)
    for number in range(10):
        tape.on_frames(feed_frame(number), T0)
    assert [entry.payload for entry in tape.take()] == [b"frame 0", b"frame 1", b"frame 2", b"frame 3"]
    tape.resume(T0 + 20)
    told = tape.take()
    assert kinds(told) == [GAP, MARKET]
    gap = message_of(told[0])
    assert isinstance(gap, Gap)
    assert gap.lost == 6
    assert tape.counters["frames_lost"] == 6


def test_nothing_is_told_before_half_of_it_is_free() -> None:
    tape = joined(rows_max=4)
    for number in range(5):
        tape.on_frames(feed_frame(number), T0)
    tape.resume(T0)
    assert tape.lost == 1
    assert not tape.wants_anew


def test_after_a_drop_the_stream_is_joined_anew() -> None:
    """A frame behind a hole would be applied to a book that misses changes."""
    tape = joined(rows_max=4)
    for number in range(5):
        tape.on_frames(feed_frame(number), T0)
    tape.take()
    tape.resume(T0)
    tape.on_frames(feed_frame(6), T0)
    wanted = [tape.wants_anew]
    assert kinds(tape.take()) == [GAP, MARKET]
    tape.on_frames_snapshot([opened()], T0)
    tape.on_frames(feed_frame(7), T0)
    assert kinds(tape.take()) == [OPENED, FRAME]
    assert [*wanted, tape.wants_anew] == [True, False]
    assert tape.counters["frames_lost"] == 2


def test_a_market_dropped_while_it_was_full_is_told_with_the_gap() -> None:
    tape = joined(rows_max=1)
    tape.on_frames(feed_frame(0), T0)
    tape.on_markets([listed(2)], T0)
    tape.take()
    tape.resume(T0)
    told = [message_of(entry) for entry in tape.take()]
    assert [one.market.slug for one in told if isinstance(one, MarketListed)] == ["market-1", "market-2"]


def test_bytes_are_bounded_too() -> None:
    tape = joined(bytes_max=1000)
    for number in range(3):
        tape.on_frames(feed_frame(number, b"x" * 400), T0)
    assert tape.bytes == 800
    assert tape.lost == 1


@given(st.lists(st.integers(1, 30), max_size=20))
def test_every_frame_is_either_taken_or_counted(bursts: list[int]) -> None:
    tape = joined(rows_max=20)
    put = taken = 0
    for burst in bursts:
        for _ in range(burst):
            tape.on_frames(feed_frame(put), T0)
            put += 1
        taken += kinds(tape.take()).count(FRAME)
        tape.resume(T0)
        if tape.wants_anew:
            tape.on_frames_snapshot([opened()], T0)
    taken += kinds(tape.take()).count(FRAME)
    assert taken + tape.counters["frames_lost"] == put


def scene_after(*entries: Entry) -> list[object]:
    scene = Scene()
    for entry in entries:
        scene.apply(entry)
    return [message_of(entry) for entry in scene.entries(T0)]


def mark(kind: str, *token_ids: str, connection: int = 1) -> Entry:
    return mark_entry(FeedMark(connection, T0, kind, list(token_ids)), T0)


def test_a_scene_holds_the_tokens_of_each_connection() -> None:
    found = scene_after(
        mark("OPENED", "a", "b"), mark("ADDED", "c"), mark("REMOVED", "a"), mark("OPENED", "d", connection=2)
    )
    assert found == [FeedMark(1, T0, OPENED, ["b", "c"]), FeedMark(2, T0, OPENED, ["d"])]


def test_a_lost_connection_and_a_gap_leave_the_scene() -> None:
    assert scene_after(mark("OPENED", "a"), mark("LOST")) == []
    assert scene_after(mark("OPENED", "a"), Entry(T0, 0, GAP, b"")) == []


def test_a_closed_market_stays_while_a_connection_asks_for_it() -> None:
    closed = market_entry(listed(accepting=False), T0)
    assert scene_after(closed) == []
    assert [type(one) for one in scene_after(closed, mark_entry(opened(), T0))] == [MarketListed, FeedMark]


def test_frames_change_no_scene() -> None:
    assert scene_after(frame(1)) == []


def test_markets_of_venues_without_recorded_frames_are_left_out() -> None:
    tape = joined()
    tape.on_markets([listed(2, venue="exchange"), listed(3, venue="binance"), listed(4)], T0)
    (entry,) = tape.take()
    assert message_of(entry) == listed(4)
