"""Venue modes: what each takes, how it is left, and that resuming needs nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.reasons import Reason
from services.gateway.modes import (
    FAILURES_MAX,
    MS,
    POST_ONLY_NS,
    RULES,
    TABLE,
    Mode,
    S,
    Signal,
    VenueModes,
)


class Venue:
    """A VenueModes with a clock."""

    def __init__(self) -> None:
        self.modes = VenueModes()
        self.now = S

    def is_in(self, mode: Mode) -> bool:
        return self.modes.mode is mode

    def answers(
        self, code: Reason, *, place: bool = True, maker: bool = False, retry_ms: int = 0, took: int = 0
    ) -> None:
        began = self.now - took
        self.modes.observe(code, retry_ms, "text", self.now, began=began, place=place, maker_only=maker)

    def may_leave(self, *, maker: bool = False) -> bool:
        held = self.modes.hold(maker, self.now)
        if held is None:
            self.modes.leaves(maker)
        return held is None

    def passes(self, ns: int) -> bool:
        self.now += ns
        return self.modes.tick(self.now)


@pytest.mark.parametrize(
    ("code", "mode", "taker", "maker"),
    [
        (Reason.VENUE_RESTARTING, Mode.RESTARTING, False, False),
        (Reason.VENUE_POST_ONLY, Mode.POST_ONLY, False, True),
        (Reason.VENUE_CANCEL_ONLY, Mode.CANCEL_ONLY, False, False),
        (Reason.VENUE_DISABLED, Mode.DISABLED, False, False),
        (Reason.VENUE_BLOCKED, Mode.BLOCKED, False, False),
    ],
)
@pytest.mark.parametrize("start", list(Mode))
def test_what_the_venue_says_of_itself_is_believed_in_every_mode(
    start: Mode, code: Reason, mode: Mode, taker: bool, maker: bool
) -> None:
    venue = Venue()
    venue.modes.mode = start
    venue.answers(code, place=False)
    assert (venue.modes.mode, venue.may_leave(), venue.may_leave(maker=True)) == (mode, taker, maker)


def test_a_refusal_names_the_mode_and_when_to_try_again() -> None:
    venue = Venue()
    venue.answers(Reason.VENUE_POST_ONLY, retry_ms=30_000)
    venue.now += 10 * S
    held = venue.modes.hold(False, venue.now)
    assert held is not None
    assert held.reason is Reason.VENUE_POST_ONLY
    assert 20_000 <= held.retry_after_ms <= 20_001
    assert "POST_ONLY" in held.text


def test_a_restart_is_probed_with_growing_pauses_and_ends_in_post_only() -> None:
    venue = Venue()
    venue.answers(Reason.VENUE_RESTARTING)
    pauses: list[int] = []
    last = venue.now
    while len(pauses) < 7:
        venue.now = venue.modes.due_ns()
        assert venue.modes.tick(venue.now)
        pauses.append((venue.now - last) // S)
        last = venue.now
        venue.answers(Reason.VENUE_RESTARTING, place=False)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    venue.answers(Reason.OK, place=False)
    assert venue.is_in(Mode.POST_ONLY)
    assert not venue.may_leave()


def test_an_answer_to_what_left_before_the_restart_does_not_end_it() -> None:
    venue = Venue()
    venue.answers(Reason.VENUE_RESTARTING)
    venue.now += MS
    venue.answers(Reason.OK, took=2 * MS)
    venue.answers(Reason.OK, place=False, took=2 * MS)
    assert venue.is_in(Mode.RESTARTING)
    venue.answers(Reason.OK, place=False)
    assert venue.is_in(Mode.POST_ONLY)


def test_after_the_post_only_window_one_order_is_tried_before_the_others() -> None:
    venue = Venue()
    venue.answers(Reason.VENUE_RESTARTING)
    venue.answers(Reason.OK, place=False)
    assert not venue.passes(POST_ONLY_NS - 1)
    assert not venue.may_leave()
    assert not venue.passes(1)
    assert venue.is_in(Mode.NORMAL)
    assert venue.may_leave()
    assert not venue.may_leave()
    assert venue.may_leave(maker=True)
    venue.answers(Reason.OK)
    assert venue.may_leave()
    assert venue.may_leave()


def test_a_trial_that_is_refused_waits_longer_each_time() -> None:
    venue = Venue()
    venue.answers(Reason.VENUE_CANCEL_ONLY)
    waited = []
    for _ in range(4):
        due = venue.modes.due_ns()
        waited.append((due - venue.now) // S)
        venue.now = due
        venue.modes.tick(due)
        assert venue.may_leave()
        venue.answers(Reason.VENUE_CANCEL_ONLY)
    assert waited == [1, 2, 4, 8]


def test_a_trial_that_was_never_sent_lets_the_next_one_try() -> None:
    venue = Venue()
    venue.answers(Reason.VENUE_POST_ONLY, retry_ms=1)
    venue.passes(MS)
    assert venue.may_leave()
    assert not venue.may_leave()
    venue.modes.not_left()
    assert venue.may_leave()


def test_answers_that_tell_nothing_make_it_degraded_and_one_good_one_ends_that() -> None:
    venue = Venue()
    for _ in range(FAILURES_MAX - 1):
        venue.answers(Reason.VENUE_UNKNOWN_OUTCOME)
    assert venue.is_in(Mode.NORMAL)
    venue.answers(Reason.VENUE_UNKNOWN_OUTCOME, place=False)
    assert venue.is_in(Mode.DEGRADED)
    assert venue.may_leave()
    venue.answers(Reason.BAD_TICK)
    assert venue.is_in(Mode.NORMAL)


def test_a_rate_limit_says_nothing_about_the_venue() -> None:
    venue = Venue()
    for _ in range(2 * FAILURES_MAX):
        venue.answers(Reason.VENUE_RATE_LIMIT)
    assert venue.is_in(Mode.NORMAL)


def test_every_mode_but_normal_can_be_left_without_a_person() -> None:
    for mode in Mode:
        ways = {after for (before, signal), after in TABLE.items() if before is mode and signal is not Signal.PLACED}
        assert mode is Mode.NORMAL or ways - {mode}
        served = (mode, Signal.SERVED) in TABLE
        assert not RULES[mode].probes or served, f"a probe that is answered must end {mode}"


@given(st.lists(st.tuples(st.sampled_from(list(Reason)), st.booleans(), st.booleans(), st.integers(0, 200_000))))
def test_whatever_happens_a_venue_that_serves_again_is_traded_again(
    script: list[tuple[Reason, bool, bool, int]],
) -> None:
    venue = Venue()
    for code, place, maker, ms in script:
        venue.answers(code, place=place, maker=maker, retry_ms=ms)
        venue.passes(ms * MS)
    venue.modes.not_left()
    for _ in range(10):
        if venue.may_leave():
            break
        venue.now = max(venue.now, venue.modes.due_ns())
        if venue.modes.tick(venue.now):
            venue.answers(Reason.OK, place=False)
    else:
        raise AssertionError(f"stuck in {venue.modes.mode}")
