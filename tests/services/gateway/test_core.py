"""Admission: limits, fences, and never the same action twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

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
from services.gateway.actions import (
    Action,
    Conditions,
    Job,
    Kind,
    Single,
    SingleResult,
    kind_of,
    may_send,
    not_sent_result,
    result_without_venue,
)
from services.gateway.core import Admission, Gate, Limit, Limiter
from tests.services.gateway.orders import cancel, place

FINE = Conditions()


class Desk:
    """An Admission with a clock of its own, asked one thing at a time."""

    def __init__(
        self, limits: dict[Kind, Limit], limiter: Limiter | None = None, gate: Gate | None = None, batch: int = 1000
    ) -> None:
        self.now = self.wall_ns = 0
        self.state = Admission(limits, limiter, gate, batch)

    @property
    def counters(self) -> Counter[str]:
        return self.state.counters

    def accept(self, action: Action, origin: Origin, repeat: bool = False) -> list[Any]:
        self.state.accept(action, origin, repeat, self.wall_ns, self.now)
        return self.out()

    def out(self) -> list[Any]:
        results = list(self.state.out)
        self.state.out.clear()
        return results

    def take_all(self, kind: Kind) -> list[Job]:
        return self.state.take(kind, self.wall_ns, self.now)

    def take(self, kind: Kind = Kind.PLACE) -> Job | None:
        jobs = self.take_all(kind)
        assert len(jobs) < 2
        return jobs[0] if jobs else None

    def done(self, job: Job, result: SingleResult) -> Any:
        self.state.freed(kind_of(job.action))
        self.state.done(job, result, self.now)
        results = self.out()
        return results[0] if results else None


def admission(in_flight: int = 8, waiting: int = 100) -> Desk:
    return Desk({kind: Limit(in_flight, waiting) for kind in Kind})


def actions(seq: int) -> Origin:
    return Origin("executor", "actions", seq)


def cancels(covers: int, seq: int = 1) -> Origin:
    return Origin("executor", "cancels", seq, covers)


def take(state: Desk, kind: Kind = Kind.PLACE) -> Job:
    job = state.take(kind)
    assert job is not None
    return job


def result_of(job: Job, outcome: Outcome, code: Reason = Reason.OK) -> PlaceResult:
    result = result_without_venue(job.action, outcome, code, "")
    assert isinstance(result, PlaceResult)
    return result


def test_jobs_of_a_kind_come_out_in_order_up_to_the_concurrency() -> None:
    state = admission(in_flight=2)
    for n in (1, 2, 3):
        assert state.accept(place(n), actions(n), False) == []
    first, second = take(state), take(state)
    assert (first.action.action_id, second.action.action_id) == ("a1", "a2")
    assert state.take(Kind.PLACE) is None
    state.done(first, result_of(first, Outcome.DONE))
    assert take(state).action.action_id == "a3"


def test_cancels_do_not_wait_for_places() -> None:
    state = admission(in_flight=1)
    state.accept(place(1), actions(1), False)
    take(state)
    state.accept(cancel("0x1"), cancels(0), False)
    assert state.take(Kind.PLACE) is None
    assert take(state, Kind.CANCEL).action.action_id == "c1"


@pytest.mark.parametrize(("repeat", "outcome"), [(False, Outcome.REFUSED), (True, Outcome.UNKNOWN)])
def test_a_full_queue_answers_overloaded_and_a_repeat_stays_unknown(repeat: bool, outcome: Outcome) -> None:
    state = admission(waiting=1)
    assert state.accept(place(1), actions(1), False) == []
    (refused,) = state.accept(place(2), actions(2), repeat)
    assert (refused.action_id, refused.outcome, refused.code) == ("a2", outcome, Reason.OVERLOADED)


def test_an_action_in_flight_is_not_executed_a_second_time() -> None:
    state = admission()
    state.accept(place(1), actions(1), False)
    take(state)
    assert state.accept(place(1), actions(2), True) == []
    assert state.take(Kind.PLACE) is None


@pytest.mark.parametrize("outcome", [Outcome.DONE, Outcome.REFUSED])
def test_a_finished_place_is_answered_from_memory(outcome: Outcome) -> None:
    state = admission()
    state.accept(place(1), actions(1), False)
    job = take(state)
    result = state.done(job, result_of(job, outcome))
    assert state.accept(place(1), actions(2), True) == [result]
    assert state.take(Kind.PLACE) is None


def test_a_place_that_stayed_unknown_runs_again_as_a_repeat() -> None:
    state = admission()
    state.accept(place(1), actions(1), False)
    job = take(state)
    state.done(job, result_of(job, Outcome.UNKNOWN))
    assert state.accept(place(1), actions(2), False) == []
    assert take(state).repeat


def test_finished_places_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "FINISHED_MAX", 2)
    state = admission()
    for n in (1, 2, 3):
        state.accept(place(n), actions(n), False)
        job = take(state)
        state.done(job, result_of(job, Outcome.DONE))
    assert len(state.accept(place(3), actions(4), False)) == 1
    assert state.accept(place(1), actions(5), False) == []


# --- fencing ---


def test_a_waiting_place_is_fenced_by_its_cancel_at_once() -> None:
    state = admission()
    wanted, other = place(1), place(2)
    state.accept(wanted, actions(1), False)
    state.accept(other, actions(2), False)
    (fenced,) = state.accept(cancel(wanted.venue_order_id), cancels(covers=2), False)
    assert (fenced.action_id, fenced.outcome, fenced.code) == ("a1", Outcome.REFUSED, Reason.FENCED)
    assert take(state).action.action_id == "a2"
    assert take(state, Kind.CANCEL).action.action_id == "c1"


def test_a_place_that_arrives_after_its_cancel_is_fenced() -> None:
    state = admission()
    wanted, other = place(1), place(2)
    assert state.accept(cancel(wanted.venue_order_id), cancels(covers=2), False) == []
    (fenced,) = state.accept(wanted, actions(1), False)
    assert fenced.code is Reason.FENCED
    assert state.accept(other, actions(2), False) == []


def test_a_place_sent_after_the_cancel_was_made_is_not_fenced() -> None:
    state = admission()
    wanted = place(1)
    state.accept(cancel(wanted.venue_order_id), cancels(covers=4), False)
    assert state.accept(wanted, actions(5), False) == []


def test_a_cancel_of_what_was_sent_before_leaves_no_tombstone() -> None:
    state = admission()
    state.accept(place(9), actions(9), False)
    state.accept(cancel(place(1).venue_order_id), cancels(covers=9), False)
    assert state.accept(place(1), actions(10), False) == []


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_repeat_is_looked_up_but_never_sent_after_its_cancel(cancel_first: bool) -> None:
    """An earlier life may have sent it: only the venue can say, so the job runs, with sending forbidden."""
    state = admission()
    if cancel_first:
        state.accept(cancel(place(1).venue_order_id), cancels(covers=1), False)
    assert state.accept(place(1), actions(1), True) == []
    if not cancel_first:
        assert state.accept(cancel(place(1).venue_order_id), cancels(covers=1), False) == []
    job = take(state)
    assert job.repeat
    why = may_send(job, 0, FINE)
    assert why is not None
    assert why[0] is Reason.FENCED
    assert not_sent_result(job, why).outcome is Outcome.UNKNOWN


def test_a_place_between_look_up_and_sending_is_fenced() -> None:
    state = admission()
    state.accept(place(1), actions(1), True)
    job = take(state)
    assert may_send(job, 0, FINE) is None
    state.accept(cancel(place(1).venue_order_id), cancels(covers=1), False)
    assert may_send(job, 0, FINE) is not None


def test_a_cancel_in_flight_still_fences_when_it_comes_again() -> None:
    state = admission()
    again = cancel(place(1).venue_order_id)
    state.accept(again, cancels(covers=0), False)
    take(state, Kind.CANCEL)
    state.accept(again, cancels(covers=3), True)
    (fenced,) = state.accept(place(1), actions(2), False)
    assert fenced.code is Reason.FENCED
    assert state.take(Kind.CANCEL) is None


def test_tombstones_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "TOMBSTONES_MAX", 2)
    state = admission()
    ids = [place(n).venue_order_id for n in (1, 2, 3)]
    state.accept(cancel(*ids), cancels(covers=9), False)
    assert state.counters["tombstones_forgotten"] == 1
    assert state.accept(place(1), actions(1), False) == []
    assert len(state.accept(place(2), actions(2), False)) == 1


# --- the last check before sending ---


@pytest.mark.parametrize(("now", "repeat", "outcome"), [(10, False, Outcome.REFUSED), (11, True, Outcome.UNKNOWN)])
def test_past_its_deadline_a_place_is_not_sent(now: int, repeat: bool, outcome: Outcome) -> None:
    job = Job(place(1, deadline_ns=10), 1, repeat, 5)
    assert may_send(job, 9, FINE) is None
    why = may_send(job, now, FINE)
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
def test_every_action_is_refused_in_the_shape_its_asker_waits_for(action: Single, shape: type) -> None:
    result = result_without_venue(action, Outcome.REFUSED, Reason.OVERLOADED, "text")
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
            state.accept(cancel(place(n).venue_order_id, action_id=f"c{n}"), cancels(seq), False)
        else:
            seq += 1
            state.accept(place(n), actions(seq), n % 2 == 0)
        for kind in (Kind.PLACE, Kind.CANCEL):
            while (job := state.take(kind)) is not None:
                running.append(job)
        ids = [job.action.action_id for job in running]
        assert len(ids) == len(set(ids))
        if ends and running:
            job = running.pop(0)
            state.done(job, result_without_venue(job.action, Outcome.UNKNOWN, Reason.OK, ""))
    for job in running:
        state.done(job, result_without_venue(job.action, Outcome.UNKNOWN, Reason.OK, ""))
    depth = state.state.depth()
    assert depth["places_in_flight"] == depth["cancels_in_flight"] == 0
