"""What the executor makes of a venue's mode: which places pass, and what is asked when the venue serves again."""

from __future__ import annotations

import pytest

from common.messages import (
    PlaceAnswer,
    PlaceResult,
    QueryBalances,
    QueryOpenOrders,
    QueryPositions,
    QueryTrades,
    Refused,
    VenueModeChanged,
)
from common.reasons import Reason
from common.types import FeedState, Outcome, RetryClass, Status
from tests.services.executor.driver import RESULTS, Driver


def told(driver: Driver, mode: str) -> None:
    driver.do(VenueModeChanged("polymarket", mode, "said the venue", driver.now.wall_ns), RESULTS)


@pytest.mark.parametrize("away", ["RESTARTING", "DISABLED", "BLOCKED"])
@pytest.mark.parametrize("after", ["NORMAL", "POST_ONLY", "CANCEL_ONLY", "DEGRADED"])
def test_a_venue_that_serves_again_is_compared_with_at_once(away: str, after: str) -> None:
    driver = Driver()
    told(driver, away)
    assert driver.of(QueryOpenOrders, driver.wait(60_000)) == []

    told(driver, after)
    driver.wait(1)
    asked = driver.out
    driver.open_orders(driver.of(QueryOpenOrders, asked)[0])
    driver.trades(driver.of(QueryTrades, asked)[0])
    driver.holdings(driver.of(QueryPositions, asked)[0])
    driver.balances(driver.of(QueryBalances, asked)[0], 10**9)

    assert driver.reconciliation().last_full_ns == driver.now.wall_ns


def test_a_gateway_that_begins_anew_has_forgotten_the_mode() -> None:
    """Otherwise a mode that only its last life knew of would stop places for ever."""
    driver = Driver(policies=[{"type": "VenueMode"}])
    told(driver, "RESTARTING")

    driver.wallet_ready()

    assert isinstance(driver.place(), PlaceAnswer)
    assert len(driver.of(QueryPositions, driver.wait(1))) == 1


def test_a_gateway_that_begins_anew_says_a_mode_that_goes_on() -> None:
    driver = Driver(policies=[{"type": "VenueMode"}])
    told(driver, "RESTARTING")

    driver.wallet_ready()
    told(driver, "RESTARTING")

    assert isinstance(driver.place(), Refused)


def test_a_wallet_that_is_catching_up_is_compared_with_after_that() -> None:
    driver = Driver(reconcile_interval_sec=3600, ready=False)
    told(driver, "RESTARTING")
    told(driver, "NORMAL")
    driver.wallet_ready()
    driver.feed(FeedState.LIVE)
    driver.catch_up()

    driver.wait(5_000)

    assert len(driver.of(QueryPositions)) == 1


@pytest.mark.parametrize(
    ("before", "after"), [("NORMAL", "DEGRADED"), ("RESTARTING", "BLOCKED"), ("POST_ONLY", "NORMAL")]
)
def test_other_changes_of_the_mode_ask_for_nothing(before: str, after: str) -> None:
    driver = Driver()
    told(driver, before)
    told(driver, after)

    assert driver.of(QueryOpenOrders, driver.wait(60_000)) == []


@pytest.mark.parametrize(
    ("mode", "takers", "makers"),
    [
        ("NORMAL", True, True),
        ("DEGRADED", True, True),
        ("POST_ONLY", False, True),
        ("RESTARTING", False, False),
        ("CANCEL_ONLY", False, False),
        ("DISABLED", False, False),
        ("BLOCKED", False, False),
    ],
)
def test_what_a_mode_lets_through_and_that_it_ends(mode: str, takers: bool, makers: bool) -> None:
    driver = Driver(policies=[{"type": "VenueMode"}])
    told(driver, mode)

    taken = isinstance(driver.place(), PlaceAnswer), isinstance(driver.place(post_only=True), PlaceAnswer)
    assert taken == (takers, makers)

    told(driver, "NORMAL")
    assert isinstance(driver.place(), PlaceAnswer)


# --- refusals that come of a mode ---

PASSES = [
    Reason.VENUE_RATE_LIMIT,
    Reason.VENUE_UNAVAILABLE,
    Reason.VENUE_RESTARTING,
    Reason.OVERLOADED,
    Reason.BUDGET_EXHAUSTED,
    Reason.SIGNING_LIMIT,
    Reason.DEAD_MAN_UNHEALTHY,
]
STAYS = [
    Reason.CLOCK_SKEW,
    Reason.VENUE_DISABLED,
    Reason.VENUE_BLOCKED,
    Reason.VENUE_CANCEL_ONLY,
    Reason.VENUE_POST_ONLY,
]


@pytest.mark.parametrize("code", PASSES)
def test_what_passes_by_itself_is_tried_again_within_the_deadline(code: Reason) -> None:
    driver = Driver(max_retry_attempts=1)

    driver.refused(driver.placed(), code, retry_after_ms=700)

    assert driver.order().status is Status.PENDING
    driver.wait(700)
    assert driver.order().status is Status.SUBMITTING


@pytest.mark.parametrize("code", STAYS)
def test_what_stays_is_refused_at_once(code: Reason) -> None:
    driver = Driver(max_retry_attempts=1)

    driver.refused(driver.placed(), code)

    assert (driver.order().status, driver.order().reject_reason) == (Status.REJECTED, code)


@pytest.mark.parametrize("code", STAYS)
def test_the_gateway_may_say_that_it_is_worth_another_try(code: Reason) -> None:
    driver = Driver(max_retry_attempts=1)
    place = driver.placed()

    answered = refusal(place.action_id, place.venue_order_id, code, retry_after_ms=700)
    driver.do(answered, RESULTS)

    assert driver.order().status is Status.PENDING
    driver.wait(700)
    assert driver.order().status is Status.SUBMITTING


def test_a_pause_beyond_the_deadline_is_a_refusal() -> None:
    driver = Driver(max_retry_attempts=1)
    place = driver.placed()

    driver.do(refusal(place.action_id, place.venue_order_id, Reason.VENUE_POST_ONLY, retry_after_ms=120_000), RESULTS)

    assert driver.order().status is Status.REJECTED


def refusal(action_id: str, venue_order_id: str, code: Reason, *, retry_after_ms: int) -> PlaceResult:
    return PlaceResult(
        action_id,
        venue_order_id,
        Outcome.REFUSED,
        code,
        "not now",
        retry_after_ms=retry_after_ms,
        retry=RetryClass.AFTER,
    )


@pytest.mark.parametrize("code", [*PASSES, *STAYS])
def test_a_venue_out_of_service_is_no_reason_to_stop_an_account(code: Reason) -> None:
    """A restart of the venue must not leave accounts that only a person can resume."""
    driver = Driver(policies=[{"type": "ConsecutiveRejects", "max_rejects": 2}])
    for _ in range(3):
        driver.refused(driver.placed(), code)

    assert driver.account().rejects_in_row == 0
    assert isinstance(driver.place(), PlaceAnswer)
