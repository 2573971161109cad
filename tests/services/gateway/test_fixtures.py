"""Every recorded REST answer of the venue, as the gateway's adapter turns it into a result."""

from __future__ import annotations

import json

import msgspec
import pytest

from common.messages import (
    Cancel,
    OpenOrdersResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    Timings,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass
from services.gateway.polymarket import (
    Answer,
    HeldListing,
    Listing,
    balance_result,
    cancel_result,
    lookup_result,
    place_result,
)
from tests.common.venues.polymarket.vectors import shared_fixture
from tests.services.gateway.orders import place, wallet

CANCELLED = "0xb816482a1234567890abcdef1234567890abcdef1234567890abcdef12345678"


def recorded(name: str) -> Answer:
    return Answer(200, shared_fixture(f"{name}.json"))


@pytest.mark.parametrize(
    ("name", "outcome", "code", "retry"),
    [
        ("http_order_response_ok", Outcome.DONE, Reason.OK, RetryClass.NEVER),
        ("http_order_response_failed", Outcome.REFUSED, Reason.INSUFFICIENT_BALANCE, RetryClass.NEVER),
    ],
)
def test_answers_to_a_place(name: str, outcome: Outcome, code: Reason, retry: RetryClass) -> None:
    answer = recorded(name)
    named = json.loads(answer.body).get("orderID") or place().venue_order_id
    action = msgspec.structs.replace(place(), venue_order_id=named)
    result = place_result(action, answer, Timings(), resent=False)
    assert (result.outcome, result.code, result.retry) == (outcome, code, retry)
    assert result.text or outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("name", "canceled", "kind"),
    [("http_cancel_response_ok", [CANCELLED], ""), ("http_cancel_response_failed", [], "INVALID_ORDER_STATE")],
)
def test_answers_to_a_cancel(name: str, canceled: list[str], kind: str) -> None:
    result = cancel_result(Cancel("c", "polymarket", "main", [CANCELLED]), recorded(name), Timings())
    assert (result.outcome, result.canceled) == (Outcome.DONE, canceled)
    assert result.not_canceled.get(CANCELLED, "").split(":")[0] == kind


def test_the_answer_to_a_look_up() -> None:
    answer = recorded("http_open_order")
    order_id = str(json.loads(answer.body)["id"])
    found = lookup_result(QueryOrder("q", "polymarket", "main", order_id), answer, 1)
    assert (found.outcome, found.found, found.asked_ns) == (Outcome.DONE, True, 1)
    assert found.order is not None
    assert (found.order.venue_order_id, found.order.status) == (order_id, "LIVE")


def test_the_page_of_open_orders() -> None:
    answer = recorded("http_open_orders_page")
    listing = Listing(QueryOpenOrders("q", "polymarket", "main"), wallet())
    assert listing.next_request(1) is not None
    listing.take(answer)
    result = listing.result(1)
    assert isinstance(result, OpenOrdersResult)
    rows = json.loads(answer.body)["data"]
    assert [order.venue_order_id for order in result.orders] == [row["id"] for row in rows]


def test_what_the_data_service_says_is_held() -> None:
    listing = HeldListing(QueryPositions("q", "polymarket", "main"), wallet())
    listing.next_request()
    listing.take(recorded("data_api_positions_response"))
    result = listing.result(1)
    assert (result.outcome, result.complete) == (Outcome.DONE, True)
    assert [row.size for row in result.positions][:2] == [150_500_000, 0]


def test_the_balance() -> None:
    answer = recorded("http_balance_allowance_collateral")
    result = balance_result(QueryBalances("q", "polymarket", "main"), answer, 1)
    assert (result.outcome, result.cash) == (Outcome.DONE, int(json.loads(answer.body)["balance"]))
