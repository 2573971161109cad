"""Findings of a hostile review: what an answer of the venue proves, and what it does not."""

from __future__ import annotations

import json

import pytest

from common.messages import CancelResult, QueryOpenOrders, QueryOrder
from common.reasons import Reason
from common.types import Outcome, RetryClass
from common.venues.polymarket.errors import classify_place, classify_place_entry
from services.gateway.actions import merged
from services.gateway.polymarket import Answer, Listing, lookup_result
from tests.common.venues.polymarket.test_errors import error
from tests.services.gateway.orders import place, wallet
from tests.services.gateway.test_polymarket import ID, entry, legs, refused

OPEN_TEXTS = ["could not run the execution", "could not insert order", "INVALID_ORDER_DUPLICATED"]
"""The venue's words for an order that may have entered."""


@pytest.mark.parametrize(
    "members",
    [
        *({"errorMsg": text, "orderID": "", "status": ""} for text in OPEN_TEXTS),
        {"errorMsg": "a new text", "status": "live"},
        {"errorMsg": "a new text", "status": "matched", "takingAmount": "5"},
        {"success": True, "errorMsg": "not enough balance / allowance", "status": "live"},
        {"orderID": "", "status": "matched", "takingAmount": "5"},
    ],
)
def test_a_leg_that_may_have_entered_is_unknown(members: dict[str, object]) -> None:
    assert classify_place_entry(entry(1) | {"success": False} | members).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("text", [*OPEN_TEXTS, "Order already exists"])
def test_a_text_that_leaves_an_order_open_does_so_with_any_status(status: int, text: str) -> None:
    assert classify_place(status, error(text)).outcome is Outcome.UNKNOWN


def test_a_batch_answered_in_another_order_refuses_no_leg_by_its_position() -> None:
    crosses = {"success": False, "errorMsg": f"order {ID} crosses the book", "orderID": "", "status": ""}
    assert [leg.outcome for leg in legs(entry(2), crosses)] == [Outcome.UNKNOWN] * 2, "the second order is live"


@pytest.mark.parametrize("body", [b"{}", error("internal server error"), b'{"message":"try again"}'])
def test_a_page_without_a_list_is_no_complete_list(body: bytes) -> None:
    listing = Listing(QueryOpenOrders("q", "polymarket", "main"), wallet())
    assert listing.next_request(0) is not None
    listing.take(Answer(200, body))
    assert not listing.result(1).complete


@pytest.mark.parametrize("text", ["Not Found", "market not found", "fee rate not found for market", "route not found"])
def test_a_404_about_something_else_proves_no_absence_of_the_order(text: str) -> None:
    question = QueryOrder("q", "polymarket", "main", place().venue_order_id)
    assert lookup_result(question, refused(text, 404), 1).outcome is not Outcome.DONE


def test_the_pause_of_a_merged_cancel_is_the_longest_of_its_parts() -> None:
    parts = [
        CancelResult("c", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "", retry=RetryClass.AFTER),
        CancelResult("c", Outcome.REFUSED, Reason.VENUE_RATE_LIMIT, "", retry=RetryClass.AFTER, retry_after_ms=7000),
    ]
    assert merged("c", parts).retry_after_ms == 7000


@pytest.mark.parametrize(
    ("members", "header", "least"), [({}, "1.5", 1), ({"retry_after_seconds": 12.5}, "30", 12)], ids=["header", "body"]
)
def test_a_pause_with_a_fraction_counts(members: dict[str, object], header: str, least: int) -> None:
    reply = {"error": "post-only mode: only post-only orders and cancels are allowed", "code": "post_only_mode"}
    verdict = classify_place(503, json.dumps(reply | members).encode(), header)
    assert verdict.retry_after_s >= least
