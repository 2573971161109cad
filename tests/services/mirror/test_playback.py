"""Playback is a function of the clock: monotone, complete, and the same after a restart."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.mirror.playback import (
    FINE_TICK,
    TICK,
    Position,
    RecordedMarket,
    Snapshot,
    Track,
    furthest_step,
    tracks_of,
)

NS_PER_MS = 1_000_000


def market(start_ms: int, times: list[int], fine_at: int = -1) -> RecordedMarket:
    snapshots = tuple(
        Snapshot(start_ms + at, ((501_000 if number == fine_at else 500_000, 1),), ())
        for number, at in enumerate(times)
    )
    return RecordedMarket("0x1", "slug", "?", "crypto", ("Up", "Down"), start_ms, start_ms + 1000, snapshots, 0, 0, 0)


TIMES = [-200, 0, 150, 151, 900, 1000]
SPEEDS = st.sampled_from([0.5, 1.0, 3.0, 20.0, 1000.0])
NOWS = st.integers(min_value=10**18, max_value=2 * 10**18)


def track(speed: float = 1.0, number: int = 0) -> Track:
    return tracks_of([market(5_000, TIMES), market(99_000, TIMES, 3)], lead_in_s=1, speed=speed)[number]


@given(NOWS, SPEEDS)
def test_following_the_changes_plays_every_snapshot_of_a_loop_once_and_in_order(now: int, speed: float) -> None:
    playing = track(speed)
    first = playing.position(now)
    played: list[Position] = []
    while (position := playing.position(now)).loop < first.loop + 2:
        played.append(position)
        later = playing.next_change_ns(now)
        assert later > now
        assert playing.position(later - 1) == position, "nothing changes before the announced moment"
        now = later
    whole = [position.at for position in played if position.loop == first.loop + 1]
    assert whole == list(range(len(TIMES)))
    assert played == sorted(played)
    assert all(playing.distance(one, two) == 1 for one, two in pairwise(played)), "none is left out"


@given(NOWS, st.integers(0, 10**12), SPEEDS)
def test_time_never_moves_playback_back(now: int, passed: int, speed: float) -> None:
    assert track(speed).position(now) <= track(speed).position(now + passed)


@given(NOWS)
def test_a_restarted_mirror_resumes_where_the_recording_should_be(now: int) -> None:
    """One that has followed the clock step by step and one that has just begun agree, also between two loops."""
    following = track()
    at = now - 5_000 * NS_PER_MS
    while (later := following.next_change_ns(at)) <= now:
        at = later
    assert following.position(at) == track().position(now)


def test_the_last_book_of_a_loop_stays_until_the_next_one_begins() -> None:
    playing = track()
    before_first = (2001 + 799) * NS_PER_MS
    assert playing.position(before_first) == Position(0, len(TIMES) - 1)
    assert playing.position(before_first + NS_PER_MS) == Position(1, 0)


def test_speed_scales_time() -> None:
    slow, fast = track(1.0), track(20.0)
    assert slow.position(40_000 * NS_PER_MS) == fast.position(2_000 * NS_PER_MS)


def test_markets_are_staggered_evenly() -> None:
    one, two = track(number=0), track(number=1)
    half_ms = 2001 // 2
    for now_ms in range(0, 9000, 7):
        later = one.position((now_ms + half_ms) * NS_PER_MS)
        assert later == two.position(now_ms * NS_PER_MS)


def test_the_first_sub_cent_price_of_a_loop_switches_the_tick_and_the_next_loop_back() -> None:
    playing = track(number=1)
    assert [playing.tick(Position(0, at)) for at in range(6)] == [TICK] * 3 + [FINE_TICK] * 3
    assert playing.tick(Position(1, 0)) == TICK
    assert {track().tick(Position(0, at)) for at in range(6)} == {TICK}


@given(NOWS, SPEEDS)
def test_a_step_moves_some_market_and_none_twice(now: int, speed: float) -> None:
    playing = [track(speed, number) for number in (0, 1)]
    for _ in range(20):
        then = furthest_step(playing, now)
        moved = [one.distance(one.position(now), one.position(then)) for one in playing]
        assert then > now
        assert max(moved) == 1
        assert min(moved) >= 0
        after = [one.distance(one.position(now), one.position(then + 1)) for one in playing]
        assert max(after) == 2, "it is the furthest such moment"
        now = then
