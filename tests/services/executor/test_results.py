"""Everything may come late, twice and in any order: what an order ends as must not depend on it."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.effects import Origin
from common.messages import (
    ActionRefused,
    Cancel,
    CancelResult,
    Message,
    OrderView,
    Place,
    PlaceResult,
    Position,
    QueryOrder,
)
from common.reasons import Reason
from common.types import Lifecycle, Outcome, Settlement, Status, TimeInForce
from services.executor.positions import unexplained
from services.executor.results import Standing, standing_of
from tests.services.executor.driver import RESULTS, START, Driver, S, order_event, venue_fill

TEN = 10_000_000
MATCHED, MINED, CONFIRMED, FAILED, RETRYING = (
    Settlement.MATCHED,
    Settlement.MINED,
    Settlement.CONFIRMED,
    Settlement.FAILED,
    Settlement.RETRYING,
)

Story = Callable[[Driver], tuple[Place, list[Message]]]


def _result(place: Place, outcome: Outcome, code: Reason = Reason.OK, **words: object) -> PlaceResult:
    return PlaceResult(place.action_id, place.venue_order_id, outcome, code, **words)  # type: ignore[arg-type]


def _stages(place: Place, trade_id: str, size: int, *stages: Settlement) -> list[Message]:
    return [
        venue_fill(place.venue_order_id, trade_id=trade_id, size=size, settlement=stage, tx_hash=f"0x{trade_id}")
        for stage in stages
    ]


def maker_filled_in_two(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed()
    venue_id = place.venue_order_id
    return place, [
        _result(place, Outcome.DONE, text="", status="live"),
        order_event(venue_id, "PLACEMENT", "LIVE"),
        order_event(venue_id, "UPDATE", "LIVE", 4_000_000),
        order_event(venue_id, "UPDATE", "MATCHED", TEN),
        *_stages(place, "t-1", 4_000_000, MATCHED, MINED, CONFIRMED),
        *_stages(place, "t-2", 6_000_000, MATCHED, RETRYING, MINED, CONFIRMED),
    ]


def cancelled_in_part(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed()
    driver.cancel()
    cancel = driver.one(Cancel)
    venue_id = place.venue_order_id
    return place, [
        _result(place, Outcome.DONE, text="", status="live"),
        order_event(venue_id, "PLACEMENT", "LIVE"),
        order_event(venue_id, "UPDATE", "LIVE", 4_000_000),
        order_event(venue_id, "CANCELLATION", "CANCELED", 4_000_000),
        CancelResult(cancel.action_id, Outcome.DONE, Reason.OK, "", [venue_id]),
        *_stages(place, "t-1", 4_000_000, MATCHED, MINED, CONFIRMED),
    ]


def cancel_that_lost(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed()
    driver.cancel()
    cancel = driver.one(Cancel)
    venue_id = place.venue_order_id
    return place, [
        _result(place, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text="reset"),
        CancelResult(cancel.action_id, Outcome.DONE, Reason.OK, "", [], {venue_id: "already matched"}),
        order_event(venue_id, "UPDATE", "MATCHED", TEN),
        *_stages(place, "t-1", TEN, MATCHED, CONFIRMED),
    ]


def killed(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed(tif=TimeInForce.FOK)
    text = "order couldn't be fully filled. FOK orders are fully filled or killed."
    return place, [
        _result(place, Outcome.REFUSED, Reason.FOK_NOT_FILLED, text=text),
        order_event(place.venue_order_id, "CANCELLATION", f"CANCELED_{text}", text=text),
    ]


def taken_in_part(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed(tif=TimeInForce.FAK)
    return place, [
        _result(place, Outcome.DONE, text="", status="matched", making=3_120_000, taking=6_000_000),
        order_event(place.venue_order_id, "CANCELLATION", "CANCELED", 6_000_000),
        *_stages(place, "t-1", 2_000_000, MATCHED, MINED, CONFIRMED),
        *_stages(place, "t-2", 4_000_000, MATCHED, MINED, CONFIRMED),
    ]


def failed_on_chain(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed(tif=TimeInForce.FAK)
    return place, [
        _result(place, Outcome.DONE, text="", status="matched", making=5_200_000, taking=TEN),
        *_stages(place, "t-1", 4_000_000, MATCHED, MINED, FAILED),
        *_stages(place, "t-2", 6_000_000, MATCHED, MINED, CONFIRMED),
    ]


def expired(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed(tif=TimeInForce.GTD, expire_ns=START + 300 * S)
    return place, [
        _result(place, Outcome.DONE, text="", status="live"),
        order_event(place.venue_order_id, "PLACEMENT", "LIVE"),
        order_event(place.venue_order_id, "CANCELLATION", "CANCELED_EXPIRED_ORDER", 4_000_000),
        *_stages(place, "t-1", 4_000_000, MATCHED, CONFIRMED),
    ]


def unknown_but_live(driver: Driver) -> tuple[Place, list[Message]]:
    place = driver.placed()
    return place, [
        _result(place, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text="timeout"),
        order_event(place.venue_order_id, "PLACEMENT", "LIVE"),
    ]


STORIES: dict[Story, tuple[Status, Lifecycle, int]] = {
    maker_filled_in_two: (Status.FILLED, Lifecycle.CONFIRMED, TEN),
    cancelled_in_part: (Status.CANCELLED, Lifecycle.CONFIRMED, 4_000_000),
    cancel_that_lost: (Status.FILLED, Lifecycle.CONFIRMED, TEN),
    killed: (Status.CANCELLED, Lifecycle.CANCELLED, 0),
    taken_in_part: (Status.CANCELLED, Lifecycle.CONFIRMED, 6_000_000),
    failed_on_chain: (Status.FILLED, Lifecycle.FAILED, 6_000_000),
    expired: (Status.EXPIRED, Lifecycle.CONFIRMED, 4_000_000),
    unknown_but_live: (Status.WORKING, Lifecycle.PLACED, 0),
}


def _told(story: Story, shuffle: Callable[[list[Message]], list[Message]]) -> tuple[OrderView, list[Position]]:
    driver = Driver()
    _, messages = story(driver)
    for message in shuffle(messages):
        driver.do(message, RESULTS)
    assert unexplained(driver.core.desk.positions, driver.fills()) == []
    return driver.order(), driver.core.desk.positions.views()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_each_story_ends_as_it_should(story: Story) -> None:
    view, _ = _told(story, lambda messages: messages)

    assert (view.status, view.lifecycle, view.filled_size) == STORIES[story]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_order_and_any_repetition_ends_the_same(story: Story, seed: int) -> None:
    """The final view and position are a function of what was said, not of when or how often."""
    rng = random.Random(seed)

    def shuffled(messages: list[Message]) -> list[Message]:
        told = messages + rng.choices(messages, k=rng.randrange(2 * len(messages)))
        rng.shuffle(told)
        return told

    assert _told(story, shuffled) == _told(story, lambda messages: messages)


@pytest.mark.parametrize(
    ("word", "standing"),
    [
        ("LIVE", Standing.OPEN),
        ("live", Standing.OPEN),
        ("delayed", Standing.OPEN),
        ("matched", Standing.MATCHED),
        ("CANCELED", Standing.GONE),
        ("canceled_not_enough_balance", Standing.GONE),
        ("CANCELED_order couldn't be fully filled.", Standing.GONE),
        ("INVALID", Standing.GONE),
        ("CANCELED_EXPIRED_ORDER", Standing.LAPSED),
        ("UNKNOWN", Standing.UNCLEAR),
        ("", Standing.UNCLEAR),
        ("HALTED", Standing.UNCLEAR),
    ],
)
def test_venue_words(word: str, standing: Standing) -> None:
    assert standing_of(word) is standing


def test_facts_of_wallets_that_are_not_configured_are_counted_and_left() -> None:
    driver = Driver()
    fill = msgspec.structs.replace(venue_fill("0x1"), wallet="stranger")
    driver.do(fill, Origin("user_data", "user_events"))

    assert driver.out == []
    assert driver.core.desk.counts["unknown_wallets"] == 1


@pytest.mark.parametrize(("outcome", "status"), [(Outcome.REFUSED, Status.REJECTED), (Outcome.UNKNOWN, Status.UNKNOWN)])
def test_a_place_the_gateway_cannot_read_ends_or_stays_in_doubt(outcome: Outcome, status: Status) -> None:
    driver = Driver()
    place = driver.placed()
    driver.do(ActionRefused(place.action_id, outcome, Reason.UNKNOWN_MESSAGE, "another version"), RESULTS)
    assert driver.order().status is status


def test_a_query_the_gateway_cannot_read_proves_nothing() -> None:
    driver = Driver()
    place = driver.placed()
    driver.do(ActionRefused(place.action_id, Outcome.UNKNOWN, Reason.UNKNOWN_MESSAGE, "another version"), RESULTS)
    driver.wait(1_000)
    query = driver.of(QueryOrder, driver.all)[-1]
    driver.do(ActionRefused(query.action_id, Outcome.REFUSED, Reason.UNKNOWN_MESSAGE, "another version"), RESULTS)
    assert driver.order().status is Status.UNKNOWN
