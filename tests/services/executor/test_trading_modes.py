"""Halts, reduce-only, retries, timeouts, gaps and deadlines: when a place leaves, and when it never does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.effects import Mark, Origin, Send
from common.messages import (
    Accepted,
    Cancel,
    CancelAccepted,
    Halt,
    HaltFound,
    Place,
    PlaceAnswer,
    QueryOrder,
    Refused,
)
from common.reasons import Reason
from common.types import FeedState, Side, Status
from services.executor.trading import EVERYBODY, Mode, Standing, Trading
from tests.services.executor.driver import CLI, MS, Driver, S

TEN = 10_000_000
BUSY = Reason.VENUE_RATE_LIMIT


def refused(answer: object) -> Refused:
    assert isinstance(answer, Refused), answer
    return answer


def places(driver: Driver) -> list[Place]:
    return driver.of(Place, driver.all)


def outstanding(driver: Driver) -> list[object]:
    return [effect.body for effect in driver.core.outstanding() if isinstance(effect, Send)]


# --- the modes by themselves ---


@pytest.mark.parametrize(
    ("everybody", "own", "mode", "reason"),
    [
        (Mode.ACTIVE, Mode.ACTIVE, Mode.ACTIVE, ""),
        (Mode.HALTED, Mode.ACTIVE, Mode.HALTED, "all"),
        (Mode.ACTIVE, Mode.HALTED, Mode.HALTED, "own"),
        (Mode.HALTED, Mode.HALTED, Mode.HALTED, "all"),
        (Mode.REDUCE_ONLY, Mode.HALTED, Mode.HALTED, "own"),
        (Mode.HALTED, Mode.REDUCE_ONLY, Mode.HALTED, "all"),
        (Mode.REDUCE_ONLY, Mode.REDUCE_ONLY, Mode.REDUCE_ONLY, "all"),
        (Mode.ACTIVE, Mode.REDUCE_ONLY, Mode.REDUCE_ONLY, "own"),
    ],
)
def test_the_stricter_mode_is_in_force(everybody: Mode, own: Mode, mode: Mode, reason: str) -> None:
    trading = Trading([Standing(EVERYBODY, everybody, "all"), Standing("a", own, "own")])

    assert trading.mode("a") == (mode, reason)
    assert trading.halted == ("all" if everybody is Mode.HALTED else None)


def test_a_resume_ends_one_halt_and_not_the_other() -> None:
    trading = Trading()
    trading.halt(EVERYBODY, Mode.HALTED, "all")
    trading.halt("a", Mode.HALTED, "own")

    trading.resume(EVERYBODY)
    assert (trading.mode("a")[0], trading.mode("b")[0]) == (Mode.HALTED, Mode.ACTIVE)
    trading.resume("a")
    assert trading.mode("a") == (Mode.ACTIVE, "")


@given(st.lists(st.integers(0, 1_000), max_size=40), st.integers(1, 5), st.integers(1, 300))
def test_order_times_are_bounded_and_still_count_right(steps: list[int], kept: int, window: int) -> None:
    """Never more than the rate policies look at are needed: any count up to `kept` is exact."""
    trading, now, times = Trading(), 1_000, []
    trading.placed_kept = kept
    for step in steps:
        now += step
        trading.placed("a", now)
        times.append(now)
        exact = sum(at > now - window for at in times)
        assert min(kept, trading.of("a").placed_since(now - window)) == min(kept, exact)
        assert len(trading.of("a").placed) <= 2 * kept


# --- halt and resume ---


def test_a_halt_of_everybody_is_marked_refuses_places_and_lets_cancels_go() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)

    assert isinstance(driver.halt("fire"), Accepted)
    assert driver.of(Mark) == [Mark("fire")]
    assert driver.core.halted() == "fire"
    for account in ("default", "other"):
        answer = refused(driver.place(account=account))
        assert (answer.code, answer.field) == (Reason.HALTED, "account")
        assert "fire" in answer.text
    assert refused(driver.place(side=Side.SELL)).code is Reason.HALTED
    assert isinstance(driver.cancel(), CancelAccepted)
    assert driver.one(Cancel).venue_order_ids == [place.venue_order_id]
    assert [driver.account(name).trading for name in ("default", "other")] == ["HALTED", "HALTED"]

    assert isinstance(driver.resume(), Accepted)
    assert driver.of(Mark) == [Mark("")]
    assert driver.core.halted() is None
    assert isinstance(driver.place(), PlaceAnswer)


def test_a_halt_of_one_account_leaves_the_others_and_the_marker_alone() -> None:
    driver = Driver()

    driver.halt("loss", account="default")

    assert driver.of(Mark) == []
    assert driver.core.halted() is None
    assert refused(driver.place()).code is Reason.HALTED
    assert isinstance(driver.place(account="other"), PlaceAnswer)
    driver.resume()  # of everybody: not of the account
    assert driver.of(Mark) == []
    assert refused(driver.place()).code is Reason.HALTED
    driver.resume("default")
    assert isinstance(driver.place(), PlaceAnswer)


def test_reduce_only_takes_sells_of_what_is_held_and_free() -> None:
    driver = Driver()
    driver.fill(driver.placed())

    driver.halt(reduce_only=True)

    assert driver.of(Mark) == []
    answer = refused(driver.place())
    assert (answer.code, answer.field) == (Reason.REDUCE_ONLY, "side")
    assert refused(driver.place(side=Side.SELL, size=TEN + 10_000)).code is Reason.REDUCE_ONLY
    assert refused(driver.place(side=Side.SELL, outcome="Down")).code is Reason.REDUCE_ONLY
    assert refused(driver.place(side=Side.SELL, account="other")).code is Reason.REDUCE_ONLY
    assert isinstance(driver.place(side=Side.SELL, size=6_000_000), PlaceAnswer)
    assert refused(driver.place(side=Side.SELL, size=5_000_000)).code is Reason.REDUCE_ONLY  # 4 are free
    driver.resume()
    assert isinstance(driver.place(), PlaceAnswer)


def test_reduce_only_cannot_loosen_a_halt() -> None:
    driver = Driver()
    driver.halt()

    answer = driver.halt(reduce_only=True)

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.HALTED, "reduce_only")
    assert driver.of(Mark) == []
    assert driver.account().trading == "HALTED"


def test_a_halt_survives_a_restart() -> None:
    driver = Driver()
    driver.halt("fire")
    driver.halt("mine", account="other")
    driver = driver.restart()

    assert driver.core.halted() == "fire"
    driver.resume()
    assert isinstance(driver.place(), PlaceAnswer)
    assert refused(driver.place(account="other")).code is Reason.HALTED


def test_a_halt_says_who_it_is_for_and_is_bounded() -> None:
    driver = Driver()

    assert refused(driver.halt(account="nobody")).code is Reason.UNKNOWN_ACCOUNT
    assert refused(driver.resume("nobody")).code is Reason.UNKNOWN_ACCOUNT
    driver.halt("x" * 10_000)
    assert driver.of(Mark) == [Mark("x" * 200)]
    driver.halt("  ")
    assert driver.of(Mark) == [Mark("by an operator")]


def test_a_repeated_halt_command_is_answered_and_not_carried_out_again() -> None:
    driver = Driver()
    driver.do(Halt("h-1", "fire"), CLI)
    driver.resume()

    driver.do(Halt("h-1", "fire"), CLI)

    assert driver.answer() == Accepted("h-1")
    assert (driver.of(Mark), driver.core.halted()) == ([], None)


def test_what_was_in_doubt_when_the_halt_came_is_looked_up_and_never_resent() -> None:
    driver = Driver()
    driver.unknown(driver.placed(deadline_ns=driver.now.wall_ns + 500 * S))
    driver.halt()
    driver.resume()  # also not after it

    driver.wait(500)
    driver.not_found(driver.one(QueryOrder))
    driver.wait(1_000)

    assert len(places(driver)) == 1
    assert driver.order().status is Status.UNKNOWN


def test_a_halt_of_another_account_lets_a_resend_go() -> None:
    driver = Driver()
    driver.unknown(driver.placed(deadline_ns=driver.now.wall_ns + 500 * S))
    driver.halt(account="other")

    driver.wait(500)
    driver.not_found(driver.one(QueryOrder))

    first, second = places(driver)
    assert (first.venue_order_id, first.pinned) == (second.venue_order_id, second.pinned)


# --- a halt found at the start ---


@pytest.mark.parametrize("lookup", [False, True])
def test_a_halt_found_at_the_start_halts_everybody_and_marks_it_again(lookup: bool) -> None:
    driver = Driver()
    driver.do(HaltFound("disk full", lookup), Origin("executor"))

    assert driver.of(Mark) == [Mark("disk full")]
    assert "disk full" in refused(driver.place()).text


def test_after_an_end_without_a_full_journal_outstanding_places_are_looked_up_and_never_resent() -> None:
    driver = Driver()
    place = driver.placed(deadline_ns=driver.now.wall_ns + 500 * S)
    driver = driver.restart()
    assert outstanding(driver) == [place]

    driver.do(HaltFound("disk full"), Origin("executor"))

    assert driver.settled() == [place.action_id]
    assert outstanding(driver) == []
    assert driver.order().status is Status.UNKNOWN
    driver.resume()
    driver.wait(500)
    query = driver.one(QueryOrder)
    assert query.venue_order_id == place.venue_order_id
    driver.not_found(query)
    driver.wait(60_000)
    assert places(driver) == []


def test_one_that_is_found_after_all_is_adopted() -> None:
    driver = Driver()
    driver.placed()
    driver.do(HaltFound("disk full"), Origin("executor"))
    driver.wait(500)

    driver.found(driver.one(QueryOrder), "LIVE")

    assert driver.order().status is Status.WORKING


def test_the_result_of_a_withdrawn_place_still_counts() -> None:
    driver = Driver()
    place = driver.placed()
    driver.do(HaltFound("disk full"), Origin("executor"))

    driver.result(place)

    assert driver.order().status is Status.WORKING


# --- retries ---


def retrying(**words: Any) -> tuple[Driver, Place]:
    driver = Driver(max_retry_attempts=3, retry_base_delay_ms=100)
    return driver, driver.placed(deadline_ns=driver.now.wall_ns + 60 * S, **words)


@pytest.mark.parametrize("code", [Reason.VENUE_RATE_LIMIT, Reason.VENUE_UNAVAILABLE, Reason.OVERLOADED])
def test_not_now_is_asked_again_with_the_same_bytes_and_growing_pauses(code: Reason) -> None:
    driver, place = retrying()
    for attempt, pause_ms in enumerate((100, 200, 400), start=1):
        driver.refused(place, code)
        assert driver.order().status is Status.PENDING
        assert driver.wait(pause_ms - 1) == []
        driver.wait(1)
        again = driver.one(Place)
        assert (again.pinned, again.venue_order_id) == (place.pinned, place.venue_order_id)
        assert again.action_id != place.action_id
        place = again
        assert driver.core.desk.counts["places_retried"] == attempt

    driver.refused(place, code, "still busy")

    assert (driver.order().status, driver.order().reject_reason) == (Status.REJECTED, code)
    assert driver.core.due_ns() is None


def test_a_retry_that_is_taken_is_an_order_like_any_other() -> None:
    driver, place = retrying()
    driver.refused(place, BUSY)
    driver.wait(100)

    driver.result(driver.one(Place))

    assert driver.order().status is Status.WORKING
    assert driver.account().rejects_in_row == 0


def test_a_retry_that_is_refused_for_good_is_rejected_with_the_new_reason() -> None:
    driver, place = retrying()
    driver.refused(place, BUSY)
    driver.wait(100)

    driver.refused(driver.one(Place), Reason.INSUFFICIENT_BALANCE)

    assert driver.order().reject_reason == Reason.INSUFFICIENT_BALANCE


def test_retry_after_is_waited_for_when_it_is_longer() -> None:
    driver, place = retrying()
    driver.refused(place, BUSY, retry_after_ms=2_500)

    assert driver.wait(2_499) == []
    driver.wait(1)
    assert driver.one(Place).pinned == place.pinned


def test_there_is_no_retry_that_would_leave_at_its_deadline_or_later() -> None:
    for retry_after_ms, status in ((4_999, Status.PENDING), (5_000, Status.REJECTED)):
        driver = Driver(max_retry_attempts=3)
        driver.refused(driver.placed(), BUSY, retry_after_ms=retry_after_ms)
        assert driver.order().status is status


@pytest.mark.parametrize(
    "code",
    [Reason.INSUFFICIENT_BALANCE, Reason.VENUE_REFUSED, Reason.DEADLINE_PASSED, Reason.BAD_REQUEST, Reason.VENUE_AUTH],
)
def test_other_refusals_are_final(code: Reason) -> None:
    driver, place = retrying()
    driver.refused(place, code)

    assert driver.order().status is Status.REJECTED
    driver.wait(60_000)
    assert places(driver) == [place]


def test_no_attempts_means_no_retry() -> None:
    driver = Driver(max_retry_attempts=0)
    driver.refused(driver.placed(), BUSY)

    assert driver.order().status is Status.REJECTED


def test_a_refusal_of_a_second_copy_is_not_retried() -> None:
    """The first copy's outcome is unknown: the refusal does not speak for it."""
    driver, place = retrying()
    driver.unknown(place)
    driver.wait(500)
    driver.not_found(driver.one(QueryOrder))

    driver.refused(driver.one(Place), BUSY)

    assert driver.order().status is Status.UNKNOWN


def test_a_cancel_while_it_waits_for_its_next_try_ends_it_at_once() -> None:
    driver, place = retrying()
    driver.refused(place, BUSY)

    answer = driver.cancel()

    assert isinstance(answer, CancelAccepted)
    assert (answer.in_doubt, driver.of(Cancel)) == ([], [])
    assert driver.order().status is Status.CANCELLED
    driver.wait(60_000)
    assert places(driver) == [place]


@pytest.mark.parametrize("words", [{}, {"account": "default"}, {"reduce_only": True}])
def test_a_halt_while_it_waits_for_its_next_try_ends_it(words: dict[str, Any]) -> None:
    driver, place = retrying()
    driver.refused(place, BUSY)
    driver.halt(**words)

    driver.wait(60_000)

    assert (driver.order().status, driver.order().reject_reason) == (Status.REJECTED, Reason.HALTED)
    assert places(driver) == [place]


def test_a_gap_of_the_user_channel_while_it_waits_ends_it() -> None:
    driver, place = retrying()
    driver.refused(place, BUSY)
    driver.feed(FeedState.STALE, "cut")

    driver.wait(60_000)

    assert driver.order().reject_reason == Reason.FEED_GAP
    assert places(driver) == [place]


def test_a_retry_survives_a_restart() -> None:
    driver, place = retrying()
    driver.refused(place, BUSY)
    driver = driver.restart()
    assert outstanding(driver) == []

    driver.wait(100)

    assert driver.one(Place).pinned == place.pinned


def test_news_that_it_was_taken_after_all_end_the_retry() -> None:
    driver, place = retrying()
    driver.refused(place, BUSY)

    driver.event(place)
    driver.wait(60_000)

    assert driver.order().status is Status.WORKING
    assert places(driver) == [place]


# --- timeouts ---


def test_a_place_without_an_answer_is_looked_up_after_order_timeout_ms() -> None:
    driver = Driver(order_timeout_ms=2_000)
    place = driver.placed()

    driver.wait(1_999)
    assert driver.order().status is Status.SUBMITTING
    driver.wait(1)
    assert driver.order().status is Status.UNKNOWN
    assert driver.core.desk.counts["places_timed_out"] == 1
    driver.wait(500)
    driver.not_found(driver.one(QueryOrder))
    # The gateway still has the first copy: nothing is sent beside it.
    assert places(driver) == [place]
    driver.result(place)
    assert driver.order().status is Status.WORKING


def test_an_answer_in_time_stops_the_timeout() -> None:
    driver = Driver(order_timeout_ms=2_000)
    driver.result(driver.placed())

    driver.wait(10_000)

    assert "places_timed_out" not in driver.core.desk.counts
    assert driver.order().status is Status.WORKING


def test_a_cancel_without_an_answer_is_looked_up_after_cancel_timeout_ms() -> None:
    driver = Driver(cancel_timeout_ms=1_000)
    driver.result(driver.placed())
    driver.cancel()

    driver.wait(999)
    assert driver.of(QueryOrder) == []
    driver.wait(1)
    query = driver.one(QueryOrder)
    driver.found(query, "CANCELED")
    assert driver.order().status is Status.CANCELLED


# --- the user channel's gap ---


@pytest.mark.parametrize(("policy", "cancelled"), [("keep", []), ("cancel_all", ["o-1", "o-2"])])
def test_what_happens_to_open_orders_on_a_gap_is_a_setting(policy: str, cancelled: list[str]) -> None:
    driver = Driver(on_gap=policy)
    resting, unanswered = driver.placed(), driver.placed(account="other")
    driver.result(resting)

    driver.feed(FeedState.STALE, "cut")

    ids = [venue_id for cancel in driver.of(Cancel) for venue_id in cancel.venue_order_ids]
    wanted = [driver.order(order_id).venue_order_id for order_id in cancelled]
    assert sorted(ids) == sorted(wanted)
    assert driver.logs("cancel_on_gap") == ([{"wallet": "main", "orders": 2}] if cancelled else [])
    if cancelled:
        assert driver.settled() == [unanswered.action_id]  # never sent again
    driver.feed(FeedState.STALE, "still cut")
    assert driver.of(Cancel) == []


# --- deadlines ---


def test_a_deadline_is_the_clients_or_the_settings_and_never_beyond_ten_minutes() -> None:
    driver = Driver(place_deadline_ms=3_000)
    now_ns = driver.now.wall_ns

    assert driver.placed().deadline_ns == now_ns + 3 * S
    assert driver.placed(deadline_ns=now_ns + 7 * S).deadline_ns == now_ns + 7 * S
    assert driver.placed(deadline_ns=now_ns + 7_000 * S).deadline_ns == now_ns + 600 * S


@pytest.mark.parametrize("late_ms", [0, 1, 70_000])
def test_a_deadline_that_has_passed_is_refused(late_ms: int) -> None:
    driver = Driver()

    answer = refused(driver.place("mine", deadline_ns=driver.now.wall_ns - late_ms * MS))

    assert (answer.code, answer.field) == (Reason.DEADLINE_PASSED, "deadline_ns")
    assert isinstance(driver.place("mine"), PlaceAnswer)


def test_past_its_deadline_an_absent_order_is_not_sent_again() -> None:
    driver = Driver()
    driver.unknown(driver.placed(deadline_ns=driver.now.wall_ns + 1 * S))
    driver.wait(500)
    driver.no_answer(driver.one(QueryOrder))
    driver.wait(1_000)

    driver.not_found(driver.one(QueryOrder))

    assert len(places(driver)) == 1
    assert driver.order().status is Status.UNKNOWN  # only a request's life later nothing can arrive any more
