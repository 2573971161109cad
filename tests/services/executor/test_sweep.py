"""A cancel-all from its command to FINAL: scopes, proofs, repeats, doubts, times, limits, crashes (ADR 26)."""

from __future__ import annotations

import json

import pytest

from common.effects import Now, Origin, Publish, Send
from common.messages import (
    Cancel,
    CancelAll,
    CancelResult,
    CancelWallet,
    Configured,
    GetSweep,
    Place,
    PlaceAnswer,
    QueryOpenOrders,
    QueryOrder,
    Refused,
    SweepChanged,
    SweepReport,
    SweepView,
    Timings,
    VenueOrder,
)
from common.reasons import Reason
from common.types import Outcome, Side, Status
from services.executor.core import ExecutorCore
from services.executor.order import State
from services.executor.sweep import RECENT_MAX, RUNNING_MAX, Phase
from tests.services.executor.driver import CLI, MARKET, MS, RESULTS, START, UP, Driver, settings
from tests.services.executor.test_desk import check_end, run_seed

LIFE_MS = 30_000
DEADLINE_MS = 5_000


def driver_of(**words: object) -> Driver:
    return Driver(wallet_cancel=True, **words)  # type: ignore[arg-type]


def narrow() -> Driver:
    """One that cancels by ids only."""
    return Driver()


def live(driver: Driver, **words: object) -> Place:
    place = driver.placed(**words)  # type: ignore[arg-type]
    driver.result(place)
    return place


def sweep(driver: Driver, command_id: str = "") -> SweepView:
    (report,) = driver.core.query(GetSweep("q", command_id), driver.now)
    assert isinstance(report, SweepReport)
    assert report.sweep is not None
    return report.sweep


def phases(driver: Driver) -> list[str]:
    return [body.sweep.phase for body in driver.of(SweepChanged, driver.all)]


def answered(driver: Driver, action: Cancel | CancelWallet, canceled: list[str], **words: object) -> None:
    driver.tick()
    outcome = words.pop("outcome", Outcome.DONE)
    assert isinstance(outcome, Outcome)
    code = Reason.OK if outcome is Outcome.DONE else Reason.VENUE_UNAVAILABLE
    driver.do(CancelResult(action.action_id, outcome, code, "", canceled, **words), RESULTS)  # type: ignore[arg-type]


def shown(*places: Place) -> list[VenueOrder]:
    return [VenueOrder(place.venue_order_id, "LIVE", UP, Side.BUY, 520_000, 10_000_000, 0, START) for place in places]


def verified(driver: Driver) -> None:
    """Answer the list that is asked for now: nothing is open."""
    driver.open_orders(asked(driver, QueryOpenOrders))


def asked(driver: Driver, kind: type[QueryOpenOrders]) -> QueryOpenOrders:
    """The one list the gateway was asked for and did not answer."""
    found = [row.body for row in driver.core.outstanding() if isinstance(row, Send) and isinstance(row.body, kind)]
    assert len(found) == 1, found
    return found[0]


# --- the course of things ---


def test_zero_needs_a_list_that_was_asked_for_after_the_last_cancel_was_answered() -> None:
    driver = narrow()
    first, second = live(driver), live(driver)

    driver.cancel_all()
    cancel = driver.one(Cancel)
    assert driver.of(QueryOpenOrders) == []
    answered(driver, cancel, [first.venue_order_id, second.venue_order_id])
    assert sweep(driver).phase == "CANCELLING"
    verified(driver)

    view = sweep(driver)
    assert phases(driver) == ["CANCELLING", "FINAL"]
    assert (view.known, view.cancelled, view.open_count, view.doubt_count) == (2, 2, 0, 0)
    assert driver.core.due_ns() is None


def test_the_report_has_the_times_of_every_stage() -> None:
    driver = narrow()
    places = [live(driver) for _ in range(501)]
    driver.wait(10)
    driver.cancel_all()
    accepted_ns = driver.now.wall_ns
    early, late = driver.of(Cancel)

    driver.wait(30)
    answered(driver, late, late.venue_order_ids, timings=Timings(sent_ns=accepted_ns + 7 * MS))
    answered(driver, early, early.venue_order_ids, timings=Timings(sent_ns=accepted_ns + 5 * MS))
    driver.wait(20)
    verified(driver)

    view = sweep(driver)
    assert len(places) == view.cancelled == 501
    assert (view.accepted_ns, view.first_sent_ns) == (accepted_ns, accepted_ns + 5 * MS)
    assert view.zero_ns == view.final_ns == driver.now.wall_ns


def test_a_time_that_was_not_told_stays_unknown() -> None:
    driver = narrow()
    place = live(driver)
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [place.venue_order_id])

    assert sweep(driver).first_sent_ns == 0


def test_an_empty_scope_is_verified_too() -> None:
    driver = narrow()

    driver.cancel_all()
    verified(driver)

    assert (sweep(driver).phase, sweep(driver).known) == ("FINAL", 0)


def test_an_order_the_list_still_shows_is_cancelled_again() -> None:
    """A venue that said cancelled, and shows the order as open afterwards: its second word counts."""
    driver = narrow()
    place = live(driver)
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [place.venue_order_id])

    driver.open_orders(asked(driver, QueryOpenOrders), shown(place))
    again = driver.one(Cancel)
    assert again.venue_order_ids == [place.venue_order_id]
    assert sweep(driver).phase == "CANCELLING"
    answered(driver, again, [], not_canceled={place.venue_order_id: "already canceled"})
    driver.wait(100)
    verified(driver)

    assert sweep(driver).phase == "FINAL"


def test_an_order_the_cancel_did_not_find_is_proven_over_before_zero() -> None:
    driver = narrow()
    place = live(driver)
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [], not_canceled={place.venue_order_id: "already canceled or matched"})

    verified(driver)
    look = driver.one(QueryOrder)
    assert (sweep(driver).phase, sweep(driver).open_orders) == ("CANCELLING", ["o-1"])
    driver.found(look, "MATCHED", 10_000_000)

    assert (sweep(driver).phase, sweep(driver).filled) == ("FINAL", 1)


def test_an_incomplete_list_proves_nothing_and_is_asked_for_again() -> None:
    driver = narrow()
    place = live(driver)
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [place.venue_order_id])

    driver.open_orders(asked(driver, QueryOpenOrders), complete=False)
    assert sweep(driver).phase == "CANCELLING"
    driver.wait(100)
    verified(driver)

    assert sweep(driver).phase == "FINAL"


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_cancel_that_failed_is_sent_again_after_a_pause(outcome: Outcome) -> None:
    driver = narrow()
    place = live(driver)
    driver.cancel_all()
    cancel = driver.one(Cancel)
    for pause_ms in (100, 200, 400):
        answered(driver, cancel, [], outcome=outcome)
        assert driver.of(Cancel, driver.wait(pause_ms - 1)) == []
        driver.wait(1)
        cancel = driver.one(Cancel)
        assert cancel.venue_order_ids == [place.venue_order_id]

    answered(driver, cancel, [place.venue_order_id])
    driver.wait(2_000)
    verified(driver)

    assert (sweep(driver).phase, sweep(driver).repeats) == ("FINAL", 3)


def test_a_refused_cancel_waits_as_long_as_it_is_told() -> None:
    driver = narrow()
    live(driver)
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [], outcome=Outcome.REFUSED, retry_after_ms=350)

    assert driver.of(Cancel, driver.wait(349)) == []
    assert len(driver.of(Cancel, driver.wait(1))) == 1


def test_the_same_command_gets_the_same_answer_and_no_second_sweep() -> None:
    driver = narrow()
    live(driver)
    command = CancelAll("mine", "", "")
    driver.do(command, CLI)
    first = driver.answer()

    driver.do(command, CLI)

    assert driver.answer() == first
    assert driver.of(Cancel) == []
    assert driver.core.counters()["sweeps_running"] == 1


# --- places in flight ---


def test_a_place_in_flight_is_named_with_its_time_until_it_is_final() -> None:
    driver = narrow()
    resting, flying = live(driver), driver.placed()
    sent_ns = driver.now.wall_ns
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [resting.venue_order_id], not_canceled={flying.venue_order_id: "not found"})
    verified(driver)

    view = sweep(driver)
    assert (view.phase, view.final_ns, view.cancelled) == ("ZERO", 0, 1)
    assert [(row.order_id, row.until_ns) for row in view.in_doubt] == [("o-2", sent_ns + (DEADLINE_MS + LIFE_MS) * MS)]


def test_a_place_that_wins_the_race_takes_zero_back_and_is_cancelled() -> None:
    driver = narrow()
    flying = driver.placed()
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [], not_canceled={flying.venue_order_id: "not found"})
    verified(driver)
    assert sweep(driver).phase == "ZERO"

    driver.result(flying)
    cancel = driver.one(Cancel)
    assert (sweep(driver).phase, sweep(driver).zero_ns, sweep(driver).turned_up) == ("CANCELLING", 0, 1)
    answered(driver, cancel, [flying.venue_order_id])
    verified(driver)

    assert phases(driver) == ["CANCELLING", "ZERO", "FINAL"]
    assert driver.order().status is Status.CANCELLED


def test_a_list_asked_for_before_a_place_turned_up_proves_nothing() -> None:
    driver = narrow()
    flying = driver.placed()
    driver.cancel_all()
    answered(driver, driver.one(Cancel), [], not_canceled={flying.venue_order_id: "not found"})
    early = asked(driver, QueryOpenOrders)

    driver.result(flying)
    cancel = driver.one(Cancel)
    driver.open_orders(early)
    answered(driver, cancel, [flying.venue_order_id])

    assert sweep(driver).phase == "CANCELLING"
    verified(driver)
    assert sweep(driver).phase == "FINAL"


def test_final_comes_with_the_last_requests_life_and_one_more_look() -> None:
    driver = narrow()
    flying = driver.placed()
    driver.cancel_all()
    cancel = driver.one(Cancel)
    driver.unknown(flying)
    until_ns = driver.now.wall_ns + LIFE_MS * MS
    answered(driver, cancel, [], not_canceled={flying.venue_order_id: "not found"})
    verified(driver)
    while driver.now.wall_ns < until_ns:
        assert sweep(driver).phase == "ZERO"
        _nobody_answers(driver)
        driver.wait(500)
    assert sweep(driver).phase == "ZERO"
    assert driver.of(QueryOrder) != []
    verified(driver)
    assert sweep(driver).phase == "ZERO"
    _nobody_answers(driver)

    view = sweep(driver)
    assert view.phase == "FINAL"
    assert [row.order_id for row in view.in_doubt] == ["o-1"]
    assert view.final_ns >= until_ns


def _nobody_answers(driver: Driver) -> None:
    for effect in driver.core.outstanding():
        if isinstance(effect, Send) and isinstance(effect.body, QueryOrder):
            driver.no_answer(effect.body)


def test_an_order_over_before_the_command_that_turns_up_is_cancelled_with_it() -> None:
    driver = narrow()
    refused = driver.placed()
    driver.refused(refused)
    driver.cancel_all()

    driver.event(refused)

    assert driver.one(Cancel).venue_order_ids == [refused.venue_order_id]
    assert driver.order().status is Status.CANCELLING


def test_an_order_placed_after_the_command_is_left_alone() -> None:
    driver = narrow()
    live(driver)
    driver.cancel_all()
    cancel = driver.one(Cancel)
    later = live(driver)
    answered(driver, cancel, cancel.venue_order_ids)

    driver.open_orders(asked(driver, QueryOpenOrders), shown(later))

    assert driver.of(Cancel) == []
    assert (sweep(driver).phase, driver.order("o-2").status) == ("FINAL", Status.WORKING)


def test_a_place_that_the_command_overtook_never_happens() -> None:
    driver = narrow()
    driver.cancel_all(origin=Origin("bot", "cancels", 1, covers=4))
    verified(driver)

    answer = driver.place(origin=Origin("bot", "commands", 4))

    assert isinstance(answer, Refused)
    assert answer.code is Reason.FENCED


# --- whole wallets ---


def test_the_scope_of_everybody_is_one_call_and_ids_for_what_is_in_flight() -> None:
    driver = driver_of()
    resting, flying = live(driver), driver.placed(account="other")

    driver.cancel_all()

    first, second = [effect.body for effect in driver.out if isinstance(effect, Send)]
    assert isinstance(first, CancelWallet)
    assert (first.venue, first.wallet, first.condition_id) == ("polymarket", "main", "")
    assert isinstance(second, Cancel)
    assert second.venue_order_ids == [flying.venue_order_id]
    answered(driver, first, [resting.venue_order_id])
    assert driver.order("o-1").status is Status.CANCELLED


@pytest.mark.parametrize("account", ["default", "other"])
def test_one_of_two_accounts_is_cancelled_by_ids_only(account: str) -> None:
    driver = driver_of()
    mine, theirs = live(driver, account=account), live(driver, account="other" if account == "default" else "default")

    driver.cancel_all(account)

    assert driver.of(CancelWallet) == []
    assert driver.one(Cancel).venue_order_ids == [mine.venue_order_id]
    assert theirs.venue_order_id not in driver.one(Cancel).venue_order_ids


def test_an_account_alone_on_its_wallet_is_the_whole_wallet() -> None:
    driver = driver_of()
    alone = json.loads(settings(wallet_cancel=True))
    alone["accounts"] = alone["accounts"][:1]
    driver.do(Configured(json.dumps(alone)), Origin("executor"))

    driver.cancel_all("default")

    assert driver.one(CancelWallet).wallet == "main"


def test_a_market_of_the_whole_wallet_is_named_in_the_call() -> None:
    driver = driver_of()
    live(driver)

    driver.cancel_all("", MARKET.slug)
    everybody = driver.one(CancelWallet)
    driver.cancel_all("other", MARKET.slug)

    assert everybody.condition_id == MARKET.condition_id
    assert driver.of(CancelWallet) == []


def test_a_venue_without_the_call_is_asked_by_ids() -> None:
    driver = driver_of()
    known = json.loads(settings(wallet_cancel=True))
    known["wallets"].append({"name": "spot", "venue": "binance"})
    known["accounts"].append({"name": "third", "wallet": "spot"})
    driver.do(Configured(json.dumps(known)), Origin("executor"))

    driver.cancel_all()

    assert [action.wallet for action in driver.of(CancelWallet)] == ["main"]


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.UNKNOWN])
def test_a_wallet_wide_call_that_failed_is_followed_by_ids(outcome: Outcome) -> None:
    driver = driver_of()
    place = live(driver)
    driver.cancel_all()

    answered(driver, driver.one(CancelWallet), [], outcome=outcome)
    driver.wait(100)

    assert driver.one(Cancel).venue_order_ids == [place.venue_order_id]


def test_orders_of_others_are_counted() -> None:
    driver = driver_of()
    place = live(driver)
    driver.cancel_all()

    answered(driver, driver.one(CancelWallet), [place.venue_order_id, "0xaa", "0xbb"])
    stranger = VenueOrder("0xcc", "LIVE", UP, Side.BUY, 500_000, 10_000_000, 0, START)
    driver.open_orders(asked(driver, QueryOpenOrders), [stranger])

    view = sweep(driver)
    assert (view.phase, view.foreign, view.foreign_open, view.wallet_cancels) == ("FINAL", 2, 1, 1)


def test_a_second_command_waits_for_the_wallet_wide_call_under_way() -> None:
    driver = driver_of()
    place = live(driver)
    driver.cancel_all()
    wide = driver.one(CancelWallet)

    driver.cancel_all()
    assert driver.of(CancelWallet) == []
    answered(driver, wide, [place.venue_order_id])
    verified(driver)

    assert [view.phase for view in driver.core.desk.sweeps.recent.values()] == ["FINAL", "FINAL"]


# --- places behind a wallet-wide call ---


def test_a_place_after_the_command_waits_until_the_call_is_over() -> None:
    """On its way with the call it would be cancelled too, though it was placed later."""
    driver = driver_of()
    driver.cancel_all()
    wide = driver.one(CancelWallet)

    answer = driver.place()
    assert isinstance(answer, PlaceAnswer)
    assert answer.order.status is Status.PENDING
    assert driver.of(Place) == []
    answered(driver, wide, [])

    assert driver.one(Place).venue_order_id == answer.order.venue_order_id
    assert driver.order().status is Status.SUBMITTING


def test_without_a_known_end_of_the_call_places_wait_a_requests_life() -> None:
    driver = driver_of()
    driver.cancel_all()
    answered(driver, driver.one(CancelWallet), [], outcome=Outcome.UNKNOWN)
    deadline_ns = driver.now.wall_ns + 60_000 * MS

    driver.place(deadline_ns=deadline_ns)
    driver.wait(100)
    verified(driver)
    assert driver.of(Place, driver.wait(LIFE_MS - 101)) == []
    driver.wait(1)

    assert len(driver.of(Place)) == 1


@pytest.mark.parametrize("restart", ["gateway", "executor"])
def test_after_a_restart_one_result_does_not_speak_for_every_copy_of_the_call(restart: str) -> None:
    """The first copy may still be on its way when the second one is answered."""
    driver = driver_of()
    driver.cancel_all()
    wide = driver.one(CancelWallet)
    if restart == "gateway":
        driver.wallet_ready()
    else:
        driver = driver.restart()
        driver.do(Configured(settings(wallet_cancel=True)), Origin("executor"))
    driver.place(deadline_ns=driver.now.wall_ns + 60_000 * MS)

    answered(driver, wide, [])
    assert driver.of(Place, driver.wait(LIFE_MS - 1)) == []
    driver.wait(1)

    assert len(driver.of(Place)) == 1


def test_a_place_that_waits_past_its_deadline_is_refused() -> None:
    driver = driver_of()
    driver.cancel_all()
    wide = driver.one(CancelWallet)
    driver.place()

    driver.wait(DEADLINE_MS)
    order = driver.order()
    answered(driver, wide, [])

    assert (order.status, order.reject_reason) == (Status.REJECTED, Reason.DEADLINE_PASSED)
    assert driver.of(Place) == []


def test_a_waiting_place_can_be_cancelled_and_never_leaves() -> None:
    driver = driver_of()
    driver.cancel_all()
    wide = driver.one(CancelWallet)
    driver.place()

    driver.cancel()
    answered(driver, wide, [])

    assert driver.order().status is Status.CANCELLED
    assert driver.of(Place) == []


def test_other_markets_do_not_wait_for_the_call_of_one_market() -> None:
    driver = driver_of()
    driver.cancel_all("", "btc-over")

    assert isinstance(driver.place(), PlaceAnswer)
    assert len(driver.of(Place)) == 1


# --- several, and their limits ---


def test_sweeps_of_one_wallet_share_a_list() -> None:
    driver = narrow()
    driver.cancel_all("default")
    driver.cancel_all("other")  # asked for after this one's list was: it does not count
    first = asked(driver, QueryOpenOrders)
    driver.cancel_all("")

    driver.open_orders(first)
    verified(driver)

    assert [view.phase for view in driver.core.desk.sweeps.recent.values()] == ["FINAL"] * 3


def test_one_more_than_can_run_drops_the_oldest_report_and_none_of_its_cancels() -> None:
    driver = narrow()
    place = live(driver)
    driver.do(CancelAll("first", "", ""), CLI)
    cancel = driver.one(Cancel)
    for number in range(RUNNING_MAX):
        driver.do(CancelAll(f"more-{number}", "", ""), CLI)

    assert (sweep(driver, "first").phase, sweep(driver, "more-0").phase) == (Phase.DROPPED, Phase.CANCELLING)
    answered(driver, cancel, [], not_canceled={place.venue_order_id: "not found"})
    assert driver.core.desk.counts["sweeps_dropped"] == 1
    assert driver.core.counters()["sweeps_running"] == RUNNING_MAX
    assert driver.order().status is Status.CANCELLING


def test_reports_of_the_past_are_bounded() -> None:
    driver = narrow()
    for number in range(RECENT_MAX + 3):
        driver.do(CancelAll(f"c{number}", "", ""), CLI)
        verified(driver)

    (gone,) = driver.core.query(GetSweep("q", "c2"), driver.now)
    assert isinstance(gone, SweepReport)
    assert gone.sweep is None
    assert sweep(driver, "c3").phase == "FINAL"
    assert sweep(driver).command_id == f"c{RECENT_MAX + 2}"


def test_the_stream_begins_with_every_sweep_that_is_known() -> None:
    driver = narrow()
    driver.do(CancelAll("done", "", ""), CLI)
    verified(driver)
    driver.do(CancelAll("running", "", ""), CLI)

    changes = driver.core.snapshot("sweeps", driver.now)
    assert [body.sweep.command_id for body in changes if isinstance(body, SweepChanged)] == ["done", "running"]
    assert {effect.topic for effect in driver.out if isinstance(effect, Publish)} == {"sweeps"}


# --- crashes, and random lives ---


@pytest.mark.parametrize("wallet_cancel", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_whatever_goes_wrong_what_a_sweep_says_is_true(seed: int, wallet_cancel: bool) -> None:
    """Lost answers, late requests, crashes: no covered order is open at FINAL, no later or other one was cancelled."""
    venue = run_seed(1_000 + seed, 0.25, wallet_cancel=wallet_cancel)

    check_end(venue)
    assert not venue.driver.core.desk.sweeps.running
    assert not venue.driver.core.desk.sweeps.holds
    assert not venue.driver.core.desk.sweeps.asking
    assert {view.phase for view in venue.sweeps.values()} <= {"FINAL", "DROPPED"}


def test_the_random_lives_reach_what_they_are_meant_to_reach() -> None:
    venues = [run_seed(1_000 + seed, 0.25, wallet_cancel=True) for seed in range(25)]
    views = [view for venue in venues for view in venue.sweeps.values()]

    assert sum(view.wallet_cancels for view in views) > 5
    assert sum(view.turned_up for view in views) > 5
    assert sum(view.repeats for view in views) > 20
    assert sum(venue.driver.core.desk.counts.get("places_held", 0) for venue in venues) > 5


def test_a_crash_after_any_input_changes_nothing() -> None:
    """From a checkpoint after each input of a busy run, the next inputs give the same effects and the same state."""
    inputs = run_seed(1_003, 0.25, wallet_cancel=True).driver.inputs[-150:]
    whole = _restored(run_seed(1_003, 0.25, wallet_cancel=True).driver, len(inputs))
    for message, origin, now in inputs:
        loaded = ExecutorCore()
        loaded.load(whole.dump())
        assert loaded.due_ns() == whole.due_ns()
        assert loaded.handle(message, origin, Now(*now)) == whole.handle(message, origin, Now(*now))
        assert loaded.state_hash() == whole.state_hash()


def _restored(driver: Driver, without: int) -> ExecutorCore:
    core = ExecutorCore()
    for message, origin, now in driver.inputs[:-without]:
        core.handle(message, origin, now)
    return core


def test_states_of_a_sweep_are_those_of_its_orders() -> None:
    """Known orders are counted where they ended."""
    driver = narrow()
    filled, expired, refused, rested = live(driver), live(driver), driver.placed(), live(driver)
    driver.cancel_all()
    driver.fill(filled)
    driver.event(expired, "CANCELLATION", "CANCELED")
    driver.refused(refused)

    view = sweep(driver)
    assert (view.known, view.filled, view.cancelled, view.rejected, view.open_count) == (4, 1, 1, 1, 1)
    assert driver.core.desk.oms.by_venue_id(rested.venue_order_id).state is State.CANCELLING  # type: ignore[union-attr]
