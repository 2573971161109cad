"""Admission: limits, fences, and never the same action twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.effects import Origin
from common.errors import Refusal
from common.messages import (
    Cancel,
    CancelResult,
    CancelWallet,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceBatch,
    PlaceBatchResult,
    PlaceResult,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    TradesResult,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass
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
from services.gateway.core import SWEEP_FLIGHT_NS, SWEEP_FLYING_NS, SWEEP_HOLD_NS, Admission, Gate, Limit, Limiter
from services.gateway.modes import MS, Hold
from services.gateway.port import Prepared
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


def test_wallet_wide_cancels_have_a_limit_as_well() -> None:
    state = admission(waiting=1)
    state.accept(place(1), actions(1))
    take(state)
    assert state.accept(sweep("s1"), cancels(0)) == []
    (refused,) = state.accept(sweep("s2"), cancels(0, 2))
    assert (refused.action_id, refused.code) == ("s2", Reason.OVERLOADED)


def test_a_second_copy_that_finds_no_room_does_not_hide_the_one_in_flight() -> None:
    """A wallet-wide cancel still waits for it."""
    state = admission(waiting=1)
    state.accept(place(1), actions(1))
    take(state)
    state.accept(place(2), actions(2))
    (refused,) = state.accept(msgspec.structs.replace(place(1), action_id="again"), actions(3))
    assert refused.code is Reason.OVERLOADED
    state.accept(sweep(), cancels(0))
    assert state.take(Kind.CANCEL) is None


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
    fenced, answer = state.accept(cancel(wanted.venue_order_id), cancels(covers=2), False)
    assert (fenced.action_id, fenced.outcome, fenced.code) == ("a1", Outcome.REFUSED, Reason.FENCED)
    assert (answer.action_id, answer.canceled) == ("c1", [wanted.venue_order_id])
    assert take(state).action.action_id == "a2"


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
    while running:
        job = running.pop()
        state.done(job, result_without_venue(job.action, Outcome.UNKNOWN, Reason.OK, ""))
        running += [job for kind in Kind if (job := state.take(kind)) is not None]
    depth = state.state.depth()
    assert depth["places_in_flight"] == depth["cancels_in_flight"] == 0
    assert depth["places_waiting"] == depth["cancels_waiting"] == 0


# --- budgets ---


class Bucket:
    """A Limiter with one number of tokens; what is missing comes at one token a millisecond."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.taken: list[tuple[str, int]] = []
        self.cancelled_later = 0

    def take(self, action: Single, count: int, now: int, *, repeat: bool = False) -> int:
        if count > self.tokens:
            return (count - self.tokens) * MS
        self.tokens -= count
        self.taken.append((action.action_id, count))
        return 0

    def cancels_free(self, wallet: str, now: int) -> int:
        return max(self.tokens, 0)

    def cancelled(self, wallet: str, count: int, now: int) -> None:
        self.cancelled_later += count
        self.tokens -= count


def limited(tokens: int, batch: int = 1000) -> tuple[Desk, Bucket]:
    bucket = Bucket(tokens)
    return Desk({kind: Limit(8, 100) for kind in Kind}, bucket, batch=batch), bucket


def of_wallet(n: int, name: str) -> Place:
    return msgspec.structs.replace(place(n), wallet=name)


def test_a_place_waits_for_its_budget_and_says_when_to_look_again() -> None:
    state, bucket = limited(1)
    state.accept(place(1), actions(1))
    state.accept(place(2), actions(2))
    assert take(state).action.action_id == "a1"
    assert state.take() is None
    assert state.state.wake_ns(0, state.now) == MS
    bucket.tokens = 1
    assert take(state).action.action_id == "a2"


def test_a_wallet_without_budget_stops_no_other() -> None:
    class Starved(Bucket):
        def take(self, action: Single, count: int, now: int, *, repeat: bool = False) -> int:
            return MS if action.wallet == "poor" else 0

    state = Desk({kind: Limit(8, 100) for kind in Kind}, Starved(0))
    state.accept(of_wallet(1, "poor"), actions(1))
    state.accept(of_wallet(2, "rich"), actions(2))
    state.accept(of_wallet(3, "rich"), actions(3))
    assert [take(state).action.action_id, take(state).action.action_id] == ["a2", "a3"]


def test_a_place_whose_deadline_passes_while_it_waits_is_refused_with_the_reason() -> None:
    state, bucket = limited(0)
    state.accept(place(1, deadline_ns=10), actions(1))
    state.accept(place(2), actions(2))
    assert state.take() is None
    bucket.tokens, state.wall_ns = 5, 10
    assert take(state).action.action_id == "a2"
    (late,) = state.out()
    assert (late.action_id, late.outcome, late.code) == ("a1", Outcome.REFUSED, Reason.DEADLINE_PASSED)


def test_a_cancel_of_more_orders_than_the_budget_has_goes_in_parts_and_ends_as_one() -> None:
    state, bucket = limited(3)
    state.accept(cancel(*[f"0x{n}" for n in range(5)]), cancels(0))
    first = take(state, Kind.CANCEL)
    assert isinstance(first.action, Cancel)
    assert first.action.venue_order_ids == ["0x0", "0x1", "0x2"]
    assert state.take(Kind.CANCEL) is None
    bucket.tokens = 9
    second = take(state, Kind.CANCEL)
    assert isinstance(second.action, Cancel)
    assert second.action.venue_order_ids == ["0x3", "0x4"]
    assert state.done(first, CancelResult("c1", Outcome.DONE, Reason.OK, "", ["0x0", "0x1", "0x2"])) is None
    whole = state.done(second, CancelResult("c1", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "lost"))
    assert (whole.action_id, whole.outcome, whole.canceled) == ("c1", Outcome.UNKNOWN, ["0x0", "0x1", "0x2"])
    assert state.take(Kind.CANCEL) is None


def sweep(action_id: str = "s1", wallet: str = "main", condition_id: str = "") -> CancelWallet:
    return CancelWallet(action_id, "polymarket", wallet, condition_id)


def test_a_wallet_wide_cancel_goes_before_the_ids_it_spares() -> None:
    state, bucket = limited(1)
    state.accept(cancel("0x1", "0x2", "0x3"), cancels(0))
    state.accept(sweep(), cancels(0, 2))
    job = take(state, Kind.CANCEL)
    assert job.action.action_id == "s1"
    state.state.freed(Kind.CANCEL)
    state.state.done(job, CancelResult("s1", Outcome.DONE, Reason.OK, "", ["0X1", "0x2", "0x3"]), 0)
    spared, whole = state.out()
    assert (spared.action_id, spared.outcome, spared.canceled) == ("c1", Outcome.DONE, ["0x1", "0x2", "0x3"])
    assert whole.action_id == "s1"
    assert bucket.cancelled_later == 3
    assert state.take(Kind.CANCEL) is None


def test_a_wallet_wide_cancel_waits_a_moment_for_places_in_flight_and_not_longer() -> None:
    state = admission()
    state.accept(place(1), actions(1))
    in_flight = take(state)
    state.accept(sweep(), cancels(1))
    assert state.take(Kind.CANCEL) is None
    assert state.state.wake_ns(0, 0) == SWEEP_HOLD_NS
    state.accept(msgspec.structs.replace(cancel("0x8"), wallet="other", action_id="c8"), cancels(1, 2))
    assert take(state, Kind.CANCEL).action.action_id == "c8", "other wallets do not wait"
    state.now = SWEEP_HOLD_NS
    assert take(state, Kind.CANCEL).action.action_id == "s1"
    state.done(in_flight, result_of(in_flight, Outcome.DONE))


def test_while_it_waits_cancels_by_id_go_ahead_and_leave_it_what_it_needs() -> None:
    state, _ = limited(5)
    state.accept(place(1), actions(1))
    in_flight = take(state)
    state.accept(sweep(), cancels(1))
    state.accept(cancel(*[f"0x{n}" for n in range(9)]), cancels(1, 2))
    ahead = take(state, Kind.CANCEL)
    assert isinstance(ahead.action, Cancel)
    assert len(ahead.action.venue_order_ids) == 3, "one token was for the place, one is for the wallet-wide call"
    assert state.take(Kind.CANCEL) is None
    state.now = SWEEP_FLYING_NS - 1
    assert state.take(Kind.CANCEL) is None
    state.done(in_flight, result_of(in_flight, Outcome.DONE))
    assert state.take(Kind.CANCEL) is None, "the cancel that went ahead is not answered yet"
    state.done(ahead, CancelResult("c1", Outcome.DONE, Reason.OK, ""))
    assert take(state, Kind.CANCEL).action.action_id == "s1"


def test_it_does_not_wait_longer_for_places_than_its_patience() -> None:
    state, _ = limited(5)
    state.accept(place(1), actions(1))
    take(state)
    state.accept(cancel("0x1"), cancels(1, 1))
    ahead = take(state, Kind.CANCEL)
    state.accept(sweep(), cancels(1, 2))
    state.done(ahead, CancelResult("c1", Outcome.DONE, Reason.OK, ""))
    state.now = SWEEP_HOLD_NS
    assert state.take(Kind.CANCEL) is None
    state.now = SWEEP_FLYING_NS
    assert take(state, Kind.CANCEL).action.action_id == "s1"


def test_cancels_by_id_wait_for_the_wallet_wide_one_that_does_their_work_but_not_for_ever() -> None:
    """What it cancels leaves a debt at the venue that would refuse them; an answer that is lost must not hold them."""
    state = admission()
    state.accept(sweep(), cancels(1))
    job = take(state, Kind.CANCEL)
    state.accept(cancel("0x9"), cancels(1, 2))
    assert state.take(Kind.CANCEL) is None
    assert state.state.wake_ns(0, 0) == SWEEP_FLIGHT_NS
    state.now = SWEEP_FLIGHT_NS
    assert take(state, Kind.CANCEL).action.action_id == "c1"
    state.done(job, CancelResult("s1", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "lost"))


def test_a_wallet_wide_cancel_goes_at_once_when_nothing_is_in_flight() -> None:
    state = admission()
    state.accept(of_wallet(1, "other"), actions(1))
    take(state)
    state.accept(sweep(), cancels(1))
    assert take(state, Kind.CANCEL).action.action_id == "s1"


def test_a_wallet_wide_cancel_fences_every_place_of_the_wallet_that_it_overtook() -> None:
    state = admission()
    state.accept(place(1), actions(1))
    state.accept(of_wallet(2, "other"), actions(2))
    (waiting,) = state.accept(sweep(), cancels(covers=4))
    assert (waiting.action_id, waiting.code) == ("a1", Reason.FENCED)
    (arriving,) = state.accept(place(3), actions(3))
    assert (arriving.action_id, arriving.code) == ("a3", Reason.FENCED)
    assert state.accept(of_wallet(4, "other"), actions(4)) == []
    assert state.accept(place(5), actions(5)) == [], "placed after the cancel"


def test_an_order_stopped_before_it_was_sent_needs_no_cancel_at_the_venue() -> None:
    state, bucket = limited(5)
    stopped, resting = place(1).venue_order_id, "0x9"
    state.accept(place(1), actions(1))
    (fenced,) = state.accept(sweep(), cancels(covers=1))
    assert fenced.code is Reason.FENCED
    (answer,) = state.accept(cancel(stopped), cancels(1, 2))
    assert (answer.outcome, answer.canceled) == (Outcome.DONE, [stopped])
    take(state, Kind.CANCEL)
    assert state.accept(cancel(stopped, resting, action_id="c2"), cancels(1, 3)) == []
    state.now = SWEEP_FLIGHT_NS
    part = take(state, Kind.CANCEL)
    assert isinstance(part.action, Cancel)
    assert part.action.venue_order_ids == [resting]
    whole = state.done(part, CancelResult("c2", Outcome.DONE, Reason.OK, "", [resting]))
    assert sorted(whole.canceled) == sorted([stopped, resting])
    assert ("c1", 1) not in bucket.taken


def test_an_order_that_may_have_been_sent_by_an_earlier_life_is_cancelled_at_the_venue() -> None:
    state = admission()
    order_id = place(1).venue_order_id
    state.accept(place(1), actions(1), True)
    assert state.accept(cancel(order_id), cancels(covers=1)) == []
    assert take(state, Kind.CANCEL).action.action_id == "c1"


def test_a_cancel_of_one_market_fences_nothing_by_itself() -> None:
    state = admission()
    state.accept(place(1), actions(1))
    assert state.accept(sweep(condition_id="0xc"), cancels(covers=4)) == []
    assert take(state).action.action_id == "a1"


# --- modes ---


class Closed:
    """A Gate that holds takers."""

    def hold(self, maker_only: bool, now: int) -> Hold | None:
        return None if maker_only else Hold(Reason.VENUE_POST_ONLY, "post-only", 700)

    def leaves(self, maker_only: bool) -> None:
        assert maker_only


def test_what_the_mode_does_not_allow_is_refused_with_a_pause_and_the_next_one_goes() -> None:
    desk = Desk({kind: Limit(8, 100) for kind in Kind}, gate=Closed())
    desk.state._prepare = lambda found: Prepared(found, found.action_id == "a2", 0)
    desk.accept(place(1), actions(1))
    desk.accept(place(2), actions(2))
    assert take(desk).action.action_id == "a2"
    (held,) = desk.out()
    assert (held.code, held.retry, held.retry_after_ms) == (Reason.VENUE_POST_ONLY, RetryClass.AFTER, 700)
    desk.accept(cancel("0x1"), cancels(0))
    assert take(desk, Kind.CANCEL).action.action_id == "c1"


def test_an_order_that_cannot_be_read_never_waits() -> None:
    def unreadable(found: Place) -> Prepared:
        raise Refusal(Reason.DIGEST_MISMATCH, f"{found.action_id} is not itself", "venue_order_id")

    desk = admission()
    desk.state._prepare = unreadable
    (refused,) = desk.accept(place(1), actions(1))
    assert (refused.outcome, refused.code) == (Outcome.REFUSED, Reason.DIGEST_MISMATCH)
    assert desk.take() is None
    assert desk.state.depth()["places_waiting"] == 0


# --- batches ---


def batch(*numbers: int) -> PlaceBatch:
    return PlaceBatch("b1", "polymarket", "main", [place(n) for n in numbers])


def test_the_legs_of_a_batch_leave_together_and_end_in_their_order() -> None:
    state, bucket = limited(3)
    state.accept(batch(1, 2, 3), actions(1))
    jobs = state.take_all(Kind.PLACE)
    assert [job.action.action_id for job in jobs] == ["a1", "a2", "a3"]
    assert bucket.taken == [("a1", 3)]
    state.state.freed(Kind.PLACE)
    for job in reversed(jobs):
        state.state.done(job, result_of(job, Outcome.DONE), 0)
    (whole,) = state.out()
    assert isinstance(whole, PlaceBatchResult)
    assert [leg.action_id for leg in whole.results] == ["a1", "a2", "a3"]
    assert state.accept(batch(1, 2, 3), actions(2), True) == [whole]


def test_a_fenced_leg_is_left_behind() -> None:
    state = admission()
    state.accept(batch(1, 2, 3), actions(1))
    (answer,) = state.accept(cancel(place(2).venue_order_id), cancels(covers=1))
    assert isinstance(answer, CancelResult)
    jobs = state.take_all(Kind.PLACE)
    assert [job.action.action_id for job in jobs] == ["a1", "a3"]
    for job in jobs:
        state.state.done(job, result_of(job, Outcome.DONE), 0)
    (whole,) = state.out()
    assert [leg.code for leg in whole.results] == [Reason.OK, Reason.FENCED, Reason.OK]


def test_a_repeated_batch_is_looked_up_leg_by_leg() -> None:
    state = admission()
    state.accept(batch(1, 2), actions(1), True)
    assert [len(state.take_all(Kind.PLACE)), len(state.take_all(Kind.PLACE))] == [1, 1]
