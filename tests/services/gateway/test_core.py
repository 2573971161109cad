"""Admission: limits, fences, and never the same action twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.effects import Origin
from common.messages import (
    CancelResult,
    OpenOrdersResult,
    OrderLookup,
    PlaceResult,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    TradesResult,
)
from common.reasons import Reason
from common.types import Outcome
from services.gateway import core
from services.gateway.core import Admission, Job, Kind, Limit, may_send, not_sent_result
from tests.services.gateway.orders import cancel, place


def admission(in_flight: int = 8, waiting: int = 100) -> Admission:
    return Admission({kind: Limit(in_flight, waiting) for kind in Kind})


def actions(seq: int) -> Origin:
    return Origin("executor", "actions", seq)


def cancels(covers: int, seq: int = 1) -> Origin:
    return Origin("executor", "cancels", seq, covers)


def take(state: Admission, kind: Kind = Kind.PLACE) -> Job:
    job = state.take(kind)
    assert job is not None
    return job


def result_of(job: Job, outcome: Outcome, code: Reason = Reason.OK) -> PlaceResult:
    result = core.result_without_venue(job.action, outcome, code, "")
    assert isinstance(result, PlaceResult)
    return result


def test_jobs_of_a_kind_come_out_in_order_up_to_the_concurrency() -> None:
    state = admission(in_flight=2)
    for n in (1, 2, 3):
        assert state.accept(place(n), actions(n), False, 0) == []
    first, second = take(state), take(state)
    assert (first.action.action_id, second.action.action_id) == ("a1", "a2")
    assert state.take(Kind.PLACE) is None
    state.done(first, result_of(first, Outcome.DONE))
    assert take(state).action.action_id == "a3"


def test_cancels_do_not_wait_for_places() -> None:
    state = admission(in_flight=1)
    state.accept(place(1), actions(1), False, 0)
    take(state)
    state.accept(cancel("0x1"), cancels(0), False, 0)
    assert state.take(Kind.PLACE) is None
    assert take(state, Kind.CANCEL).action.action_id == "c1"


@pytest.mark.parametrize(("repeat", "outcome"), [(False, Outcome.REFUSED), (True, Outcome.UNKNOWN)])
def test_a_full_queue_answers_overloaded_and_a_repeat_stays_unknown(repeat: bool, outcome: Outcome) -> None:
    state = admission(waiting=1)
    assert state.accept(place(1), actions(1), False, 0) == []
    (refused,) = state.accept(place(2), actions(2), repeat, 0)
    assert (refused.action_id, refused.outcome, refused.code) == ("a2", outcome, Reason.OVERLOADED)


def test_an_action_in_flight_is_not_executed_a_second_time() -> None:
    state = admission()
    state.accept(place(1), actions(1), False, 0)
    take(state)
    assert state.accept(place(1), actions(2), True, 0) == []
    assert state.take(Kind.PLACE) is None


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.REFUSED])
def test_a_finished_place_is_answered_from_memory(outcome: Outcome) -> None:
    state = admission()
    state.accept(place(1), actions(1), False, 0)
    job = take(state)
    result = state.done(job, result_of(job, outcome))
    assert state.accept(place(1), actions(2), True, 0) == [result]
    assert state.take(Kind.PLACE) is None


def test_a_place_that_stayed_unknown_runs_again_as_a_repeat() -> None:
    state = admission()
    state.accept(place(1), actions(1), False, 0)
    job = take(state)
    state.done(job, result_of(job, Outcome.UNKNOWN))
    assert state.accept(place(1), actions(2), False, 0) == []
    assert take(state).repeat


def test_finished_places_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "FINISHED_MAX", 2)
    state = admission()
    for n in (1, 2, 3):
        state.accept(place(n), actions(n), False, 0)
        job = take(state)
        state.done(job, result_of(job, Outcome.DONE))
    assert len(state.accept(place(3), actions(4), False, 0)) == 1
    assert state.accept(place(1), actions(5), False, 0) == []


# --- fencing ---


def test_a_waiting_place_is_fenced_by_its_cancel_at_once() -> None:
    state = admission()
    wanted, other = place(1), place(2)
    state.accept(wanted, actions(1), False, 0)
    state.accept(other, actions(2), False, 0)
    (fenced,) = state.accept(cancel(wanted.venue_order_id), cancels(covers=2), False, 0)
    assert (fenced.action_id, fenced.outcome, fenced.code) == ("a1", Outcome.REFUSED, Reason.FENCED)
    assert take(state).action.action_id == "a2"
    assert take(state, Kind.CANCEL).action.action_id == "c1"


def test_a_place_that_arrives_after_its_cancel_is_fenced() -> None:
    state = admission()
    wanted, other = place(1), place(2)
    assert state.accept(cancel(wanted.venue_order_id), cancels(covers=2), False, 0) == []
    (fenced,) = state.accept(wanted, actions(1), False, 0)
    assert fenced.code is Reason.FENCED
    assert state.accept(other, actions(2), False, 0) == []


def test_a_place_sent_after_the_cancel_was_made_is_not_fenced() -> None:
    state = admission()
    wanted = place(1)
    state.accept(cancel(wanted.venue_order_id), cancels(covers=4), False, 0)
    assert state.accept(wanted, actions(5), False, 0) == []


def test_a_cancel_of_what_was_sent_before_leaves_no_tombstone() -> None:
    state = admission()
    state.accept(place(9), actions(9), False, 0)
    state.accept(cancel(place(1).venue_order_id), cancels(covers=9), False, 0)
    assert state.accept(place(1), actions(10), False, 0) == []


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_repeat_is_looked_up_but_never_sent_after_its_cancel(cancel_first: bool) -> None:
    """An earlier life may have sent it: only the venue can say, so the job runs, with sending forbidden."""
    state = admission()
    if cancel_first:
        state.accept(cancel(place(1).venue_order_id), cancels(covers=1), False, 0)
    assert state.accept(place(1), actions(1), True, 0) == []
    if not cancel_first:
        assert state.accept(cancel(place(1).venue_order_id), cancels(covers=1), False, 0) == []
    job = take(state)
    assert job.repeat
    why = may_send(job, 0)
    assert why is not None
    assert why[0] is Reason.FENCED
    assert not_sent_result(job, why).outcome is Outcome.UNKNOWN


def test_a_place_between_look_up_and_sending_is_fenced() -> None:
    state = admission()
    state.accept(place(1), actions(1), True, 0)
    job = take(state)
    assert may_send(job, 0) is None
    state.accept(cancel(place(1).venue_order_id), cancels(covers=1), False, 0)
    assert may_send(job, 0) is not None


def test_a_cancel_in_flight_still_fences_when_it_comes_again() -> None:
    state = admission()
    again = cancel(place(1).venue_order_id)
    state.accept(again, cancels(covers=0), False, 0)
    take(state, Kind.CANCEL)
    state.accept(again, cancels(covers=3), True, 0)
    (fenced,) = state.accept(place(1), actions(2), False, 0)
    assert fenced.code is Reason.FENCED
    assert state.take(Kind.CANCEL) is None


def test_tombstones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "TOMBSTONES_MAX", 2)
    state = admission()
    ids = [place(n).venue_order_id for n in (1, 2, 3)]
    state.accept(cancel(*ids), cancels(covers=9), False, 0)
    assert state.counters["tombstones_forgotten"] == 1
    assert state.accept(place(1), actions(1), False, 0) == []
    assert len(state.accept(place(2), actions(2), False, 0)) == 1


# --- the last check before sending ---


@pytest.mark.parametrize(("now", "repeat", "outcome"), [(10, False, Outcome.REFUSED), (11, True, Outcome.UNKNOWN)])
def test_past_its_deadline_a_place_is_not_sent(now: int, repeat: bool, outcome: Outcome) -> None:
    job = Job(place(1, deadline_ns=10), 1, repeat, 5)
    assert may_send(job, 9) is None
    why = may_send(job, now)
    assert why is not None
    result = not_sent_result(job, why)
    assert isinstance(result, PlaceResult)
    assert (result.outcome, result.code, result.timings.received_ns) == (outcome, Reason.DEADLINE_PASSED, 5)


@pytest.mark.parametrize(
    ("action", "shape"),
    [
        (place(1), PlaceResult),
        (cancel("0x1"), CancelResult),
        (QueryOrder("q", "polymarket", "main", "0x1"), OrderLookup),
        (QueryOpenOrders("q", "polymarket", "main"), OpenOrdersResult),
        (QueryTrades("q", "polymarket", "main", 0), TradesResult),
    ],
)
def test_every_action_is_refused_in_the_shape_its_asker_waits_for(action: core.Action, shape: type) -> None:
    result = core.result_without_venue(action, Outcome.REFUSED, Reason.OVERLOADED, "text")
    assert isinstance(result, shape)
    assert (result.action_id, result.outcome, result.code) == (action.action_id, Outcome.REFUSED, Reason.OVERLOADED)
    assert not getattr(result, "complete", False)


@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), max_size=40))
def test_whatever_arrives_every_action_runs_at_most_once_at_a_time(script: list[tuple[int, bool, bool]]) -> None:
    """Arrivals, repeats, cancels and ends in any order: one job per action, gauges add up, all slots come back."""
    state = admission(in_flight=3, waiting=4)
    running: list[Job] = []
    seq = 0
    for n, is_cancel, ends in script:
        if is_cancel:
            state.accept(cancel(place(n).venue_order_id, action_id=f"c{n}"), cancels(seq), False, 0)
        else:
            seq += 1
            state.accept(place(n), actions(seq), n % 2 == 0, 0)
        for kind in (Kind.PLACE, Kind.CANCEL):
            while (job := state.take(kind)) is not None:
                running.append(job)
        ids = [job.action.action_id for job in running]
        assert len(ids) == len(set(ids))
        if ends and running:
            job = running.pop(0)
            state.done(job, core.result_without_venue(job.action, Outcome.UNKNOWN, Reason.OK, ""))
    for job in running:
        state.done(job, core.result_without_venue(job.action, Outcome.UNKNOWN, Reason.OK, ""))
    depth = state.depth()
    assert depth["places_in_flight"] == depth["cancels_in_flight"] == 0
