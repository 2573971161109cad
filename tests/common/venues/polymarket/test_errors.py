"""Replies to places and cancels: nothing open is ever called refused, nothing refused is ever called open."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.reasons import Reason
from common.types import ONE, Outcome
from common.venues.polymarket.errors import (
    CancelVerdict,
    NotCanceled,
    PlaceVerdict,
    Retry,
    classify_cancel,
    classify_place,
    classify_place_entry,
)

from .vectors import shared_fixture

ID = "0x" + "ab" * 32


def error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


REFUSALS = [
    ("Invalid order payload", Reason.BAD_REQUEST),
    ("the order owner has to be the owner of the API KEY", Reason.VENUE_AUTH),
    ("the order signer address has to be the address of the API KEY", Reason.VENUE_AUTH),
    (f"'{ID}' address banned", Reason.VENUE_AUTH),
    (f"'{ID}' address in closed only mode", Reason.VENUE_AUTH),
    ("maker address not allowed, please use the deposit wallet flow", Reason.VENUE_AUTH),
    ("order_version_mismatch", Reason.VENUE_REFUSED),
    ("invalid signature", Reason.VENUE_AUTH),
    ("invalid nonce", Reason.VENUE_AUTH),
    ("invalid expiration", Reason.BAD_EXPIRY),
    (f"order {ID} is invalid. Price (0.555) breaks minimum tick size rule: 0.01", Reason.BAD_TICK),
    (f"order {ID} is invalid. Size (1) lower than the minimum: 5", Reason.SIZE_TOO_SMALL),
    (f"order {ID} crosses the book", Reason.POST_ONLY_CROSSES),
    ("invalid post-only order: order crosses book", Reason.POST_ONLY_CROSSES),
    ("not enough balance / allowance", Reason.INSUFFICIENT_BALANCE),
    (
        "not enough balance / allowance: the balance is not enough -> balance: 1, order amount (inc. fees): 5",
        Reason.INSUFFICIENT_BALANCE,
    ),
    (
        "not enough balance / allowance: the allowance is not enough -> spender: 0x1, allowance: 0",
        Reason.INSUFFICIENT_BALANCE,
    ),
    ("order couldn't be fully filled. FOK orders are fully filled or killed.", Reason.FOK_NOT_FILLED),
    (
        "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
        Reason.FAK_NOT_FILLED,
    ),
    ("the market is not yet ready to process new orders", Reason.VENUE_UNAVAILABLE),
    ("invalid amount for a marketable BUY order ($0.5), min size: $1", Reason.NOTIONAL_TOO_SMALL),
    (
        "invalid amounts, the market buy orders maker amount supports a max accuracy of 2 decimals, "
        "taker amount a max of 4 decimals",
        Reason.BAD_SIZE,
    ),
    ("order canceled in the CTF exchange contract", Reason.VENUE_REFUSED),
    ("Too many orders in payload: 16, max allowed: 15", Reason.BAD_REQUEST),
    ("Invalid token id", Reason.UNKNOWN_MARKET),
    ("Invalid side", Reason.BAD_REQUEST),
    ("Payload exceeds the limit", Reason.BAD_REQUEST),
    ("a text nobody has seen", Reason.VENUE_REFUSED),
]


@pytest.mark.parametrize(("text", "reason"), REFUSALS)
def test_every_documented_400_is_a_refusal_with_its_code(text: str, reason: Reason) -> None:
    verdict = classify_place(400, error(text))
    assert (verdict.outcome, verdict.reason) == (Outcome.REFUSED, reason)
    assert verdict.message == text[:300]
    assert verdict.retry is not Retry.LOOKUP


@pytest.mark.parametrize(
    "text", [f"order {ID} is invalid. Duplicated.", "order match delayed due to market conditions", "order timed out"]
)
@pytest.mark.parametrize("batch", [False, True])
def test_texts_that_leave_the_outcome_open(text: str, batch: bool) -> None:
    """A duplicate proves an earlier copy arrived; a delayed or late order may still match."""
    reply = {"success": True, "errorMsg": text, "orderID": "", "status": ""}
    verdict = classify_place_entry(reply) if batch else classify_place(400, error(text))
    assert (verdict.outcome, verdict.retry) == (Outcome.UNKNOWN, Retry.LOOKUP)


@pytest.mark.parametrize(
    ("status", "text", "reason", "retry"),
    [
        (401, "Unauthorized/Invalid api key", Reason.VENUE_AUTH, Retry.NONE),
        (403, "<html>blocked</html>", Reason.VENUE_AUTH, Retry.NONE),
        (404, "No orderbook exists for the requested token id", Reason.UNKNOWN_MARKET, Retry.REFRESH),
        (425, "", Reason.VENUE_RESTARTING, Retry.LATER),
        (429, "Too Many Requests", Reason.VENUE_RATE_LIMIT, Retry.LATER),
        (503, "Trading is currently disabled. Check polymarket.com for updates", Reason.VENUE_DISABLED, Retry.LATER),
        (
            503,
            "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed.",
            Reason.VENUE_CANCEL_ONLY,
            Retry.LATER,
        ),
        (400, f"order {ID} is invalid. Price (1) breaks minimum tick size rule: 0.01", Reason.BAD_TICK, Retry.REFRESH),
        (400, "order_version_mismatch", Reason.VENUE_REFUSED, Retry.REFRESH),
    ],
)
def test_documented_statuses(status: int, text: str, reason: Reason, retry: Retry) -> None:
    verdict = classify_place(status, error(text))
    assert (verdict.outcome, verdict.reason, verdict.retry) == (Outcome.REFUSED, reason, retry)


@pytest.mark.parametrize("status", [403, 451])
@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Attention</title>", b"\n <html>no</html>"])
def test_a_page_that_refuses_is_somebody_in_between(status: int, page: bytes) -> None:
    place, cancel = classify_place(status, page), classify_cancel(status, page)
    assert (place.outcome, place.reason, place.retry) == (Outcome.REFUSED, Reason.VENUE_BLOCKED, Retry.LATER)
    assert (cancel.outcome, cancel.reason, cancel.retry) == (Outcome.REFUSED, Reason.VENUE_BLOCKED, Retry.LATER)


@pytest.mark.parametrize("status", [200, 400, 500, 502, 503, 520])
def test_any_other_page_proves_nothing(status: int) -> None:
    assert classify_place(status, b"<html>sorry</html>").outcome is Outcome.UNKNOWN


def test_post_only_mode_says_how_long_to_wait() -> None:
    body = {
        "error": "post-only mode: only post-only orders and cancels are allowed",
        "code": "post_only_mode",
        "retry_after_seconds": 90,
    }
    verdict = classify_place(503, json.dumps(body).encode(), "120")
    assert (verdict.reason, verdict.retry, verdict.retry_after_s) == (Reason.VENUE_POST_ONLY, Retry.LATER, 90)
    assert classify_place(429, b"{}", "7").retry_after_s == 7
    assert classify_place(429, b"{}", "Wed, 21 Oct 2026 07:28:00 GMT").retry_after_s == 0


@pytest.mark.parametrize("status", [0, 100, 201, 204, 301, 408, 409, 499, 500, 502, 503, 504, 520, 524])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", error("could not insert order"), error("there are no matching orders")]
)
def test_everything_else_is_unknown(status: int, body: bytes) -> None:
    verdict = classify_place(status, body)
    assert (verdict.outcome, verdict.reason) == (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME)
    assert verdict.retry is Retry.LOOKUP
    assert verdict.message


@given(st.integers(500, 599), st.sampled_from([text for text, _ in REFUSALS]))
def test_a_5xx_never_refuses_but_by_the_503_texts(status: int, text: str) -> None:
    verdict = classify_place(status, error(text))
    safe = status == 503 and "not yet ready" in text
    assert verdict.outcome is (Outcome.REFUSED if safe else Outcome.UNKNOWN)


@pytest.mark.parametrize("status", ["live", "matched", "delayed"])
def test_an_accepted_order(status: str) -> None:
    body = {"success": True, "errorMsg": "", "orderID": ID, "status": status, "makingAmount": "5.2",
            "takingAmount": "10", "tradeIDs": ["t"], "transactionsHashes": ["0xh"]}  # fmt: skip
    assert classify_place(200, json.dumps(body).encode()) == PlaceVerdict(
        Outcome.DONE, Reason.OK, Retry.NONE, "", status, ID, 5_200_000, 10 * ONE, ("t",), ("0xh",)
    )


@pytest.mark.parametrize(
    ("reply", "outcome", "reason"),
    [
        ({"success": True, "errorMsg": None, "orderID": ID}, Outcome.DONE, Reason.OK),
        ({"success": True, "errorMsg": "", "orderID": ID, "status": "LIVE"}, Outcome.DONE, Reason.OK),
        ({"success": True, "orderID": ID, "status": "unmatched"}, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ({"success": True, "orderID": ID, "status": "quantum"}, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ({"success": True, "errorMsg": "", "orderID": ""}, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ({"success": False, "errorMsg": "", "orderID": ID}, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ({"success": True, "errorMsg": "new text", "orderID": ID}, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ({"success": True, "errorMsg": "new text", "orderID": ""}, Outcome.REFUSED, Reason.VENUE_REFUSED),
        ({"success": True, "errorMsg": "not enough balance / allowance"}, Outcome.REFUSED, Reason.INSUFFICIENT_BALANCE),
        ({"success": False, "errorMsg": None, "orderID": None}, Outcome.REFUSED, Reason.VENUE_REFUSED),
        ({"error": "order_version_mismatch"}, Outcome.REFUSED, Reason.VENUE_REFUSED),
        ({}, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ([], Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ("OK", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ({"success": "yes", "orderID": ID}, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
    ],
)
def test_replies_with_status_200(reply: object, outcome: Outcome, reason: Reason) -> None:
    verdict = classify_place(200, json.dumps(reply).encode())
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_public_order_replies() -> None:
    assert classify_place(200, shared_fixture("http_order_response_ok.json")).outcome is Outcome.DONE
    failed = classify_place(200, shared_fixture("http_order_response_failed.json"))
    assert (failed.outcome, failed.reason) == (Outcome.REFUSED, Reason.INSUFFICIENT_BALANCE)


def test_a_killed_order_keeps_its_id() -> None:
    body = {"error": REFUSALS[17][0], "orderID": ID}
    assert classify_place(400, json.dumps(body).encode()).venue_order_id == ID


def test_a_cancel_that_lost_the_race_is_still_an_answer() -> None:
    body = {
        "canceled": ["0x1"],
        "not_canceled": {"0x2": "already canceled or matched", "0x3": "order can't be found", "0x4": "because",
                         "0x5": "Order not found or already canceled"},
    }  # fmt: skip
    verdict = classify_cancel(200, json.dumps(body).encode())
    assert verdict == CancelVerdict(
        Outcome.DONE,
        Reason.OK,
        Retry.NONE,
        canceled=("0x1",),
        not_canceled={
            "0x2": NotCanceled(Reason.INVALID_ORDER_STATE, "already canceled or matched"),
            "0x3": NotCanceled(Reason.ORDER_NOT_FOUND, "order can't be found"),
            "0x4": NotCanceled(Reason.VENUE_REFUSED, "because"),
            "0x5": NotCanceled(Reason.ORDER_NOT_FOUND, "Order not found or already canceled"),
        },
    )


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason", "retry"),
    [
        (0, b"", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LATER),
        (500, b"", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LATER),
        (502, b"<html>", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LATER),
        (200, b"", Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LATER),
        (200, b'{"ok":1}', Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LATER),
        (425, b"", Outcome.REFUSED, Reason.VENUE_RESTARTING, Retry.LATER),
        (429, b"", Outcome.REFUSED, Reason.VENUE_RATE_LIMIT, Retry.LATER),
        (503, error("Trading is currently disabled."), Outcome.REFUSED, Reason.VENUE_DISABLED, Retry.LATER),
        (400, error("Invalid orderID"), Outcome.REFUSED, Reason.BAD_REQUEST, Retry.NONE),
        (401, error("Unauthorized/Invalid api key"), Outcome.REFUSED, Reason.VENUE_AUTH, Retry.NONE),
        (404, error("Order not found"), Outcome.REFUSED, Reason.ORDER_NOT_FOUND, Retry.NONE),
    ],
)
def test_other_replies_to_a_cancel(status: int, body: bytes, outcome: Outcome, reason: Reason, retry: Retry) -> None:
    verdict = classify_cancel(status, body)
    assert (verdict.outcome, verdict.reason, verdict.retry) == (outcome, reason, retry)


@given(st.integers(0, 599), st.binary(max_size=40))
def test_no_reply_crashes_a_verdict(status: int, body: bytes) -> None:
    assert classify_place(status, body).outcome is not Outcome.DONE
    assert classify_cancel(status, body).outcome is not Outcome.DONE


def test_a_400_that_is_cut_off_proves_nothing() -> None:
    """Found by tests/sim: it was "... is invalid. Duplicated." of an order that the venue had taken."""
    verdict = classify_place(400, b'{"error":"order 0xeafd86a7dd6b0cff808b86bc7e51a0b2c109')

    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.reason is Reason.VENUE_UNKNOWN_OUTCOME


@pytest.mark.parametrize("status", ["live", "LIVE", "matched", "delayed", "unmatched", "", "new"])
@pytest.mark.parametrize("amount", [None, "", "0", "5.2", "x"])
@pytest.mark.parametrize("success", [True, False, None])
@pytest.mark.parametrize("error", ["", "invalid expiration", None])
@pytest.mark.parametrize("order_id", [ID, "", None])
def test_the_short_way_for_resting_orders_comes_to_the_same_verdict(
    status: str, amount: str | None, success: bool | None, error: str | None, order_id: str | None
) -> None:
    members = {
        "success": success, "errorMsg": error, "orderID": order_id, "status": status,
        "makingAmount": amount, "takingAmount": amount,
    }  # fmt: skip
    given = {name: value for name, value in members.items() if value is not None}
    assert classify_place(200, json.dumps(given).encode()) == classify_place_entry(given)
