"""Findings of a hostile review: what one part of a cancel proved holds, whatever became of the others."""

from __future__ import annotations

from common.messages import Cancel, CancelResult
from common.reasons import Reason
from common.types import Outcome, Status
from tests.services.executor.driver import RESULTS, Driver


def test_an_order_named_as_canceled_is_canceled_although_the_outcome_of_others_is_unknown() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    driver.cancel()
    action_id, text = driver.one(Cancel).action_id, "another part got no answer"
    partly = CancelResult(action_id, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text, [place.venue_order_id])
    driver.do(partly, RESULTS)
    assert driver.order().status is Status.CANCELLED
