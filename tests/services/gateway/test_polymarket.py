"""Requests and results of the Polymarket dialect, as tables."""

from __future__ import annotations

import json

import msgspec
import pytest

from common.errors import ConfigError, Refusal
from common.messages import (
    CancelWallet,
    OpenOrdersResult,
    Place,
    PlaceResult,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    Timings,
    TradesResult,
    VenueOrder,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass, Settlement, Side
from common.venues.polymarket.auth import l2_headers
from common.venues.polymarket.orders import parse_post_body, recover_order_signer
from common.venues.polymarket.signing import Signer
from services.gateway.polymarket import (
    Answer,
    Listing,
    VenueWallet,
    batch_request,
    batch_results,
    beat_answer,
    beat_request,
    cancel_request,
    cancel_result,
    cancel_wallet_request,
    checked_order,
    lookup_request,
    lookup_result,
    place_body,
    place_request,
    place_result,
)
from services.gateway.signers import InsideSigner
from tests.services.gateway.orders import ADDRESS, API_KEY, CREDS, KEY, TOKEN, cancel, pinned_order, place, wallet

OTHER = "0x" + "ab" * 20


def ok(order_id: str, **members: object) -> Answer:
    reply = {"success": True, "errorMsg": "", "orderID": order_id, "status": "live", "makingAmount": ""}
    return Answer(200, json.dumps(reply | {"takingAmount": ""} | members).encode())


def refused(text: str, status: int = 400) -> Answer:
    return Answer(status, json.dumps({"error": text}).encode())


# --- places ---


async def posted_body(action: Place) -> bytes:
    order = checked_order(action, wallet())
    return place_body(order, await wallet().sign(order, action.venue_order_id), wallet())


async def test_the_request_carries_exactly_the_pinned_order_signed_by_this_key() -> None:
    action, order = place(), pinned_order()
    request = place_request(await posted_body(action), wallet(), 1_790_000_000)
    assert (request.method, request.path) == ("POST", "/order")
    assert request.body is not None
    posted = parse_post_body(request.body)
    assert (posted.order, posted.owner, posted.order_type) == (order.order, API_KEY, order.order_type)
    assert recover_order_signer(posted.order, posted.signature, 137, False, 2) == ADDRESS
    signed = l2_headers(ADDRESS, CREDS, 1_790_000_000, "POST", "/order", request.body)
    assert request.headers == {**signed, "Content-Type": "application/json"}


async def test_the_same_pinned_order_gives_the_same_bytes_at_any_time() -> None:
    assert await posted_body(place()) == await posted_body(place())


async def test_a_batch_is_the_array_of_what_each_order_would_post() -> None:
    bodies = [await posted_body(place(1)), await posted_body(place(2))]
    request = batch_request(bodies, wallet(), 5)
    assert (request.method, request.path) == ("POST", "/orders")
    assert json.loads(request.body or b"") == [json.loads(body) for body in bodies]
    assert request.headers == l2_headers(ADDRESS, CREDS, 5, "POST", "/orders", request.body)


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (msgspec.structs.replace(place(), venue_order_id=place(2).venue_order_id), Reason.DIGEST_MISMATCH),
        (place(neg_risk=True), None),
        (msgspec.structs.replace(place(neg_risk=True), venue_order_id=place().venue_order_id), Reason.DIGEST_MISMATCH),
        (place(maker=OTHER), Reason.BAD_REQUEST),
        (place(signer=OTHER), Reason.BAD_REQUEST),
        (place(chain_id=80_002), Reason.BAD_REQUEST),
        (place(signature_type=1), Reason.BAD_REQUEST),
        (msgspec.structs.replace(place(), pinned=b"\x00"), Reason.BAD_REQUEST),
    ],
)
def test_only_an_order_of_this_wallet_with_the_journaled_digest_is_signed(action: object, code: Reason | None) -> None:
    assert isinstance(action, type(place()))
    if code is None:
        assert checked_order(action, wallet()).venue_order_id == action.venue_order_id
        return
    with pytest.raises(Refusal) as caught:
        checked_order(action, wallet())
    assert caught.value.code is code


ID = place().venue_order_id


@pytest.mark.parametrize(
    ("answer", "outcome", "code"),
    [
        (ok(ID), Outcome.DONE, Reason.OK),
        (ok(ID.upper().replace("0X", "0x")), Outcome.DONE, Reason.OK),
        (ok(place(2).venue_order_id), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        (refused("not enough balance / allowance"), Outcome.REFUSED, Reason.INSUFFICIENT_BALANCE),
        (refused("order 0x1 is invalid. Duplicated."), Outcome.UNKNOWN, Reason.DUPLICATE_ORDER),
        (refused("could not insert order", 500), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        (Answer(502, b"<html>bad gateway</html>"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        (Answer(200, b"<html>hello</html>"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        (Answer(200, b""), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        (Answer(0, text="TIMEOUT: x"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        (Answer(0, text="RESET: x"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        (Answer(0, text="NOT_SENT: x", sent=False), Outcome.REFUSED, Reason.VENUE_UNAVAILABLE),
        (Answer(429, b"{}", "3"), Outcome.REFUSED, Reason.VENUE_RATE_LIMIT),
        (refused("restarting", 425), Outcome.REFUSED, Reason.VENUE_RESTARTING),
        (refused("Unauthorized/Invalid api key", 401), Outcome.REFUSED, Reason.VENUE_AUTH),
    ],
)
def test_what_an_answer_means_for_a_first_copy_and_for_a_second(answer: Answer, outcome: Outcome, code: Reason) -> None:
    first = place_result(place(), answer, Timings(), resent=False)
    assert (first.outcome, first.code, first.venue_order_id) == (outcome, code, ID)
    second = place_result(place(), answer, Timings(), resent=True)
    assert second.code is code
    assert second.outcome is (Outcome.DONE if outcome is Outcome.DONE else Outcome.UNKNOWN)


@pytest.mark.parametrize(
    ("answer", "retry"),
    [
        (refused("invalid expiration"), RetryClass.NEVER),
        (refused("order crosses the book"), RetryClass.NEVER),
        (refused("restarting", 425), RetryClass.AFTER),
        (Answer(429, b"{}", "3"), RetryClass.AFTER),
        (Answer(0, text="NOT_SENT: x", sent=False), RetryClass.AFTER),
        (Answer(0, text="TIMEOUT: x"), RetryClass.LOOK_UP),
        (refused("order 0x1 is invalid. Duplicated."), RetryClass.LOOK_UP),
    ],
)
def test_a_result_says_what_may_be_tried_next(answer: Answer, retry: RetryClass) -> None:
    assert place_result(place(), answer, Timings(), resent=False).retry is retry
    assert place_result(place(), answer, Timings(), resent=True).retry is RetryClass.LOOK_UP


def legs(*entries: object) -> list[PlaceResult]:
    answer = Answer(200, json.dumps(entries).encode())
    return batch_results([place(1), place(2)], answer, Timings())


def entry(n: int, **members: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(ok(place(n).venue_order_id, **members).body)
    return found


def test_every_leg_of_a_batch_is_judged_alone_by_its_position() -> None:
    good, bad = legs(entry(1), {"success": True, "errorMsg": "invalid expiration", "orderID": ""})
    assert (good.outcome, good.venue_order_id) == (Outcome.DONE, place(1).venue_order_id)
    assert (bad.outcome, bad.code, bad.action_id) == (Outcome.REFUSED, Reason.BAD_EXPIRY, "a2")
    swapped = legs(entry(2), entry(1))
    assert [leg.outcome for leg in swapped] == [Outcome.UNKNOWN] * 2


@pytest.mark.parametrize(
    "answer", [Answer(200, b"[]"), Answer(200, b"{}"), Answer(502, b"<html>"), Answer(0, text="x")]
)
def test_a_batch_answered_without_its_legs_leaves_every_leg_open(answer: Answer) -> None:
    results = batch_results([place(1), place(2)], answer, Timings())
    assert [(leg.outcome, leg.retry) for leg in results] == [(Outcome.UNKNOWN, RetryClass.LOOK_UP)] * 2


def test_a_batch_that_was_not_sent_or_refused_whole_is_refused_leg_by_leg() -> None:
    for answer in (Answer(0, text="NOT_SENT: x", sent=False), refused("restarting", 425)):
        results = batch_results([place(1), place(2)], answer, Timings())
        assert [leg.outcome for leg in results] == [Outcome.REFUSED] * 2


def test_amounts_status_and_pauses_come_through() -> None:
    matched = place_result(
        place(), ok(ID, status="matched", makingAmount="5.2", takingAmount="10"), Timings(1), resent=False
    )
    assert (matched.status, matched.making, matched.taking) == ("matched", 5_200_000, 10_000_000)
    assert matched.timings.received_ns == 1
    assert place_result(place(), Answer(429, b"{}", "3"), Timings(), resent=False).retry_after_ms == 3000


# --- look-ups ---

OPEN = {
    "id": ID,
    "status": "ORDER_STATUS_LIVE",
    "asset_id": TOKEN,
    "side": "BUY",
    "price": "0.52",
    "original_size": "10",
    "size_matched": "2.5",
    "created_at": 1_790_000_000,
}


@pytest.mark.parametrize(
    ("answer", "outcome", "code", "found"),
    [
        (Answer(200, json.dumps(OPEN).encode()), Outcome.DONE, Reason.OK, True),
        (Answer(200, b"null"), Outcome.DONE, Reason.ORDER_NOT_FOUND, False),
        (Answer(200, b'""'), Outcome.DONE, Reason.ORDER_NOT_FOUND, False),
        (refused("Order not found", 404), Outcome.DONE, Reason.ORDER_NOT_FOUND, False),
        (Answer(404, b"<html>not found</html>"), Outcome.REFUSED, Reason.VENUE_REFUSED, False),
        (Answer(200, json.dumps(OPEN | {"id": "0x1"}).encode()), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, False),
        (Answer(200, b"{not json"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, False),
        (Answer(200, b'{"id":"x"}'), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, False),
        (refused("nope", 401), Outcome.REFUSED, Reason.VENUE_AUTH, False),
        (refused("slow", 429), Outcome.REFUSED, Reason.VENUE_RATE_LIMIT, False),
        (refused("restarting", 425), Outcome.UNKNOWN, Reason.VENUE_RESTARTING, False),
        (Answer(503, b"x"), Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE, False),
        (Answer(0, text="TIMEOUT: x"), Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE, False),
    ],
)
def test_only_the_venues_own_word_proves_absence(answer: Answer, outcome: Outcome, code: Reason, found: bool) -> None:
    result = lookup_result(QueryOrder("q", "polymarket", "main", ID), answer, 7)
    assert (result.outcome, result.code, result.found, result.asked_ns) == (outcome, code, found, 7)
    assert (result.order is not None) == found


def test_a_found_order_has_exact_numbers_and_no_prefix() -> None:
    result = lookup_result(QueryOrder("q", "polymarket", "main", ID), Answer(200, json.dumps(OPEN).encode()), 7)
    assert result.order == VenueOrder(
        ID, "LIVE", TOKEN, Side.BUY, 520_000, 10_000_000, 2_500_000, 1_790_000_000 * 10**9
    )


def test_a_look_up_signs_the_path_it_asks() -> None:
    request = lookup_request("0x/../?", wallet(), 5)
    assert request.path == "/data/order/0x%2F..%2F%3F"
    assert request.headers == l2_headers(ADDRESS, CREDS, 5, "GET", request.path)


# --- cancels ---


def test_one_id_is_cancelled_by_delete_order_and_more_by_a_bare_array() -> None:
    one = cancel_request(["0x1"], wallet(), 5)
    assert (one.method, one.path, one.body) == ("DELETE", "/order", b'{"orderID":"0x1"}')
    more = cancel_request(["0x1", "0x2"], wallet(), 5)
    assert (more.path, more.body) == ("/orders", b'["0x1","0x2"]')
    assert more.headers == l2_headers(ADDRESS, CREDS, 5, "DELETE", "/orders", more.body)


@pytest.mark.parametrize(
    ("condition_id", "token_id", "path", "body"),
    [
        ("", "", "/cancel-all", None),
        ("0xc", "", "/cancel-market-orders", b'{"market":"0xc"}'),
        ("0xc", "7", "/cancel-market-orders", b'{"market":"0xc","asset_id":"7"}'),
    ],
)
def test_everything_of_a_wallet_is_one_call_with_its_scope(
    condition_id: str, token_id: str, path: str, body: bytes | None
) -> None:
    action = CancelWallet("c", "polymarket", "main", condition_id, token_id)
    request = cancel_wallet_request(action, wallet(), 5)
    assert (request.method, request.path, request.body) == ("DELETE", path, body)


def canceled(*ids: str, **not_canceled: str) -> Answer:
    return Answer(200, json.dumps({"canceled": ids, "not_canceled": not_canceled}).encode())


@pytest.mark.parametrize(
    ("answer", "outcome", "code", "ids"),
    [
        (canceled("0x1"), Outcome.DONE, Reason.OK, ["0x1"]),
        (Answer(0, text="TIMEOUT: x"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, []),
        (Answer(0, text="x", sent=False), Outcome.REFUSED, Reason.VENUE_UNAVAILABLE, []),
        (refused("nope", 401), Outcome.REFUSED, Reason.VENUE_AUTH, []),
        (refused("restarting", 425), Outcome.REFUSED, Reason.VENUE_RESTARTING, []),
        (Answer(403, b"<html>no</html>"), Outcome.REFUSED, Reason.VENUE_BLOCKED, []),
        (Answer(200, b"<html>"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, []),
        (Answer(502, b"<html>"), Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, []),
    ],
)
def test_what_an_answer_to_a_cancel_means(answer: Answer, outcome: Outcome, code: Reason, ids: list[str]) -> None:
    result = cancel_result(cancel("0x1", "0x2"), answer, Timings(7))
    assert (result.outcome, result.code, result.canceled, result.timings.received_ns) == (outcome, code, ids, 7)


def test_an_order_that_was_not_cancelled_says_why_in_our_word_and_the_venues() -> None:
    answer = canceled(**{"0x1": "already canceled or matched", "0x2": "order not found"})
    result = cancel_result(cancel("0x1"), answer, Timings())
    assert result.not_canceled == {
        "0x1": "INVALID_ORDER_STATE: already canceled or matched",
        "0x2": "ORDER_NOT_FOUND: order not found",
    }


# --- lists ---


def page(rows: list[object], cursor: str) -> Answer:
    return Answer(200, json.dumps({"data": rows, "next_cursor": cursor, "limit": 2, "count": len(rows)}).encode())


def read(action: QueryOpenOrders | QueryTrades, answers: list[Answer]) -> tuple[list[object], Listing]:
    listing = Listing(action, wallet())
    queries: list[object] = []
    while (request := listing.next_request(5)) is not None:
        queries.append(dict(request.query))
        listing.take(answers.pop(0))
    assert not answers
    return queries, listing


def test_all_pages_are_read_and_only_then_the_list_is_complete() -> None:
    queries, listing = read(QueryOpenOrders("q", "p", "main"), [page([OPEN], "MQ=="), page([OPEN], "LTE=")])
    assert queries == [{"next_cursor": "MA=="}, {"next_cursor": "MQ=="}]
    result = listing.result(9)
    assert isinstance(result, OpenOrdersResult)
    assert (result.outcome, result.complete, len(result.orders), result.asked_ns) == (Outcome.DONE, True, 2, 9)


@pytest.mark.parametrize(
    ("answers", "outcome", "code"),
    [
        ([page([OPEN], "MQ=="), Answer(0, text="TIMEOUT: x")], Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE),
        ([page([OPEN], "MQ=="), Answer(200, b"<html>")], Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ([page([OPEN], "MA==")], Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ([page([OPEN], "MQ=="), page([OPEN], "MQ==")], Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ([page([OPEN, {"id": "x"}], "LTE=")], Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME),
        ([refused("nope", 401)], Outcome.REFUSED, Reason.VENUE_AUTH),
    ],
)
def test_a_list_with_anything_missing_is_incomplete(answers: list[Answer], outcome: Outcome, code: Reason) -> None:
    _, listing = read(QueryOpenOrders("q", "p", "main"), list(answers))
    result = listing.result(9)
    assert (result.outcome, result.code, result.complete) == (outcome, code, False)


TRADE = {
    "id": "t1",
    "taker_order_id": "0xtaker",
    "market": "0xc",
    "asset_id": TOKEN,
    "side": "SELL",
    "size": "10",
    "price": "0.45",
    "status": "TRADE_STATUS_MINED",
    "match_time": "1790000000",
    "owner": "someone",
    "maker_address": OTHER,
    "trader_side": "MAKER",
    "transaction_hash": "0xhash",
    "maker_orders": [
        {
            "order_id": "0xours",
            "owner": API_KEY,
            "maker_address": ADDRESS,
            "matched_amount": "4",
            "price": "0.45",
            "asset_id": TOKEN,
            "side": "BUY",
        },
        {
            "order_id": "0xtheirs",
            "owner": "x",
            "maker_address": OTHER,
            "matched_amount": "6",
            "price": "0.45",
            "asset_id": TOKEN,
            "side": "BUY",
        },
    ],
}


def test_trades_give_only_our_own_legs_and_ask_from_the_second_before() -> None:
    action = QueryTrades("q", "polymarket", "main", 1_789_999_999_999_999_999)
    queries, listing = read(action, [page([TRADE], "LTE=")])
    assert queries == [{"next_cursor": "MA==", "after": "1789999999"}]
    result = listing.result(9)
    assert isinstance(result, TradesResult)
    assert result.complete
    (fill,) = result.fills
    assert (fill.trade_id, fill.venue_order_id, fill.side, fill.size) == ("t1", "0xours", Side.BUY, 4_000_000)
    assert (fill.cash, fill.is_taker, fill.settlement) == (1_800_000, False, Settlement.MINED)
    assert (fill.venue, fill.wallet) == ("polymarket", "main")


# --- wallets ---


def test_a_wallet_says_which_addresses_orders_are_pinned_for() -> None:
    ready = wallet().ready()
    assert (ready.signer, ready.maker, ready.signature_type, ready.api_key) == (ADDRESS, ADDRESS, 0, API_KEY)
    deposit = VenueWallet("d", InsideSigner(Signer(KEY)), CREDS, funder=OTHER, signature_type=3, chain_id=137).ready()
    assert deposit.signer == deposit.maker
    assert deposit.maker.lower() == OTHER
    proxy = VenueWallet("p", InsideSigner(Signer(KEY)), CREDS, funder=OTHER, signature_type=1, chain_id=137).ready()
    assert (proxy.signer, proxy.maker.lower()) == (ADDRESS, OTHER)


def test_a_wallet_that_is_not_its_signer_needs_a_funder() -> None:
    with pytest.raises(ConfigError, match=r"wallets\.funder"):
        VenueWallet("p", InsideSigner(Signer(KEY)), CREDS, funder="", signature_type=1, chain_id=137)


def test_a_wallet_never_shows_its_secrets() -> None:
    shown = repr(wallet())
    assert KEY.hex() not in shown
    assert CREDS.secret not in shown


# --- the dead-man switch ---


def test_a_beat_carries_the_id_of_the_last_answer() -> None:
    request = beat_request("id-1", wallet(), 5)
    assert (request.method, request.path, request.body) == ("POST", "/v1/heartbeats", b'{"heartbeat_id":"id-1"}')


@pytest.mark.parametrize(
    ("answer", "accepted", "next_id", "answered"),
    [
        (Answer(200, b'{"heartbeat_id":"id-2"}'), True, "id-2", True),
        (Answer(400, b'{"error":"Invalid Heartbeat ID","heartbeat_id":"id-9"}'), False, "id-9", True),
        (Answer(400, b'{"error_msg":"Invalid Heartbeat ID"}'), False, "", True),
        (Answer(200, b'{"heartbeat_id":""}'), False, "", False),
        (Answer(200, b"<html>"), False, "", False),
        (Answer(500, b"{}"), False, "", False),
        (Answer(0, text="TIMEOUT: x"), False, "", False),
    ],
)
def test_what_an_answer_to_a_beat_means(answer: Answer, accepted: bool, next_id: str, answered: bool) -> None:
    got = beat_answer(answer)
    assert (got.accepted, got.next_id, got.answered) == (accepted, next_id, answered)
