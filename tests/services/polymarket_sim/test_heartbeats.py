"""The dead-man switch: who must beat, with which id, and when it is too late."""

from __future__ import annotations

from services.polymarket_sim.heartbeats import LIFE_NS, Heartbeats
from services.polymarket_sim.keys import KeyName

KEY = KeyName("0x" + "11" * 20, 0)


def test_the_first_beat_arms_and_later_ones_need_the_last_id() -> None:
    beats = Heartbeats([], 0)
    assert beats.next_due_ns() is None
    assert beats.beat(KEY, "", "id-1", 0) is None
    assert beats.beat(KEY, "", "id-2", 5) == "id-1"
    assert beats.beat(KEY, "wrong", "id-2", 5) == "id-1"
    assert beats.beat(KEY, "id-1", "id-2", 5) is None
    assert beats.next_due_ns() == 5 + LIFE_NS


def test_a_refused_beat_moves_no_deadline() -> None:
    beats = Heartbeats([], 0)
    beats.beat(KEY, "", "id-1", 0)
    beats.beat(KEY, "wrong", "id-2", LIFE_NS - 1)
    assert beats.expired(LIFE_NS - 1) == []
    assert beats.expired(LIFE_NS) == [KEY]
    assert not beats.is_armed(KEY)
    assert beats.expired(LIFE_NS) == []


def test_a_key_armed_before_a_restart_must_beat_within_one_life() -> None:
    beats = Heartbeats([KEY], 100)
    assert beats.expired(99 + LIFE_NS) == []
    assert beats.beat(KEY, "forgotten", "id-9", 200) == "id-9"
    assert beats.next_due_ns() == 100 + LIFE_NS
    assert beats.beat(KEY, "id-9", "id-10", 300) is None
    assert beats.next_due_ns() == 300 + LIFE_NS


def test_disarming_ends_it() -> None:
    beats = Heartbeats([KEY], 0)
    beats.disarm(KEY)
    assert beats.expired(10 * LIFE_NS) == []


def test_what_is_expected_is_the_last_id_or_anything() -> None:
    beats = Heartbeats([KEY], 0)
    assert beats.expected(KEY) == ""
    beats.disarm(KEY)
    assert beats.expected(KEY) == ""
    beats.beat(KEY, "", "id-1", 0)
    assert beats.expected(KEY) == "id-1"
