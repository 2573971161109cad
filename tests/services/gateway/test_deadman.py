"""The dead-man chain: ids in a chain, no beat while the executor is silent, no place while the chain is broken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.deadman import EXECUTOR_SILENT_NS, INTERVAL_NS, LIFE_NS, MS, RETRY_NS, DeadMan

S = 1000 * MS
ALIVE = 100 * MS


def begun(now: int = S) -> DeadMan:
    chain = DeadMan()
    assert chain.next_beat(ALIVE, now) == ""
    chain.accepted("id-1", now)
    return chain


def test_every_beat_carries_the_id_of_the_last_answer_and_comes_every_five_seconds() -> None:
    chain = begun()
    assert chain.next_beat(ALIVE, S + INTERVAL_NS - 1) is None
    assert chain.next_beat(ALIVE, S + INTERVAL_NS) == "id-1"
    assert chain.next_beat(ALIVE, S + 2 * INTERVAL_NS) is None, "one at a time"
    chain.accepted("id-2", S + INTERVAL_NS + MS)
    assert chain.next_beat(ALIVE, S + 2 * INTERVAL_NS) == "id-2"


def test_no_beat_and_no_place_while_the_executor_is_silent() -> None:
    chain = begun()
    silent = EXECUTOR_SILENT_NS + 1
    assert chain.next_beat(silent, S + INTERVAL_NS) is None
    assert "executor" in chain.trouble(silent, S + INTERVAL_NS)
    assert chain.next_beat(EXECUTOR_SILENT_NS, S + INTERVAL_NS) == "id-1"


def test_an_id_the_venue_expects_is_taken_over_at_once() -> None:
    chain = DeadMan()
    assert chain.next_beat(ALIVE, S) == ""
    chain.refused("theirs", "Invalid Heartbeat ID", S)
    assert chain.trouble(ALIVE, S) == ""
    assert chain.next_beat(ALIVE, S) == "theirs"


def test_the_same_wrong_id_again_is_not_tried_in_a_tight_loop() -> None:
    chain = DeadMan()
    chain.next_beat(ALIVE, S)
    chain.refused("theirs", "no", S)
    assert chain.next_beat(ALIVE, S) == "theirs"
    chain.refused("theirs", "no", S)
    assert chain.trouble(ALIVE, S) == "no"
    assert chain.next_beat(ALIVE, S + RETRY_NS - 1) is None
    assert chain.next_beat(ALIVE, S + RETRY_NS) == "theirs"


def test_a_beat_without_an_answer_is_tried_again_soon_and_places_stop_before_the_venue_would() -> None:
    chain = begun()
    now = S + INTERVAL_NS
    while not chain.trouble(ALIVE, now):
        if chain.next_beat(ALIVE, now) is not None:
            chain.failed("TIMEOUT", now)
        now += 100 * MS
    assert now < S + LIFE_NS
    assert "TIMEOUT" in chain.trouble(ALIVE, now)
    assert chain.next_beat(ALIVE, now + RETRY_NS) == "id-1"
    chain.accepted("id-2", now + RETRY_NS)
    assert chain.trouble(ALIVE, now + RETRY_NS) == ""


def test_before_the_first_beat_nothing_is_wrong_and_a_first_beat_that_fails_stops_places() -> None:
    chain = DeadMan()
    assert chain.trouble(ALIVE, S) == ""
    chain.next_beat(ALIVE, S)
    chain.failed("no route", S)
    assert chain.trouble(ALIVE, S) == "no route"


@given(st.lists(st.tuples(st.sampled_from(["accepted", "refused", "failed"]), st.integers(0, 4_000)), max_size=60))
def test_places_never_leave_later_than_the_last_accepted_beat_lives(script: list[tuple[str, int]]) -> None:
    """Whatever the venue answers: when no trouble is seen, a beat was accepted less than its life ago (or none yet)."""
    chain = DeadMan()
    now, last = S, 0
    for answer, ms in script:
        now += ms * MS
        sent = chain.next_beat(ALIVE, now)
        if sent is not None:
            if answer == "accepted":
                chain.accepted(f"id-{now}", now)
                last = now
            elif answer == "refused":
                chain.refused("theirs", "no", now)
            else:
                chain.failed("lost", now)
        if last and not chain.trouble(ALIVE, now):
            assert now - last < LIFE_NS
