"""Races of a replace against cancels and fills, as tests/sim found them."""

from __future__ import annotations

from common.messages import Cancel, Place, PlaceAnswer, QueryOrder, ReplaceOrder
from common.types import Status
from common.venues.polymarket.pinned import decode_pinned
from tests.services.executor.driver import CLI, Driver


def _replaced(driver: Driver) -> tuple[Place, Cancel]:
    """o-1 rests and is being replaced by o-2."""
    place = driver.placed("first")
    driver.result(place)
    driver.do(ReplaceOrder("r-1", "default", "o-1", "second", 530_000, 10_000_000), CLI)
    assert isinstance(driver.answer(), PlaceAnswer)
    return place, driver.one(Cancel)


def test_a_successor_that_was_cancelled_while_it_waited_never_leaves() -> None:
    driver = Driver()
    place, cancel = _replaced(driver)

    driver.cancel_all("default")
    driver.canceled(cancel)
    driver.event(place, "CANCELLATION", "CANCELED")

    assert driver.order("o-1").status is Status.CANCELLED
    assert driver.order("o-2").status is Status.CANCELLED
    assert driver.of(Place, driver.all) == [place]


def test_a_successor_waits_for_the_word_on_how_much_of_the_first_matched() -> None:
    """The answer to a cancel does not say it, and the fill may still be on its way over the user channel."""
    driver = Driver()
    place, cancel = _replaced(driver)

    driver.canceled(cancel)

    assert driver.of(Place) == []
    query = driver.one(QueryOrder)
    driver.found(query, "CANCELED", 4_000_000)
    assert driver.of(Place) == []  # the fill itself is still missing: its word alone is not a price
    driver.fill(place, 4_000_000)
    successor = driver.one(Place)
    assert decode_pinned(successor.pinned).taker_amount == 6_000_000


def test_a_cancellation_event_with_its_quantity_lets_the_successor_go_at_once() -> None:
    driver = Driver()
    place, cancel = _replaced(driver)
    driver.canceled(cancel)

    driver.event(place, "CANCELLATION", "CANCELED")

    assert decode_pinned(driver.one(Place).pinned).taker_amount == 10_000_000
