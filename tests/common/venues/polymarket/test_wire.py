"""REST payloads: exact numbers, tolerant reading, the venue's own bytes on writing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.fixed import format_micros
from common.types import ONE, Settlement, Side
from common.venues.polymarket.wire import (
    END_CURSOR,
    START_CURSOR,
    Balance,
    BookObject,
    CancelResult,
    CompactMarket,
    MakerLeg,
    OpenOrder,
    OrderReply,
    Trade,
    VenueStatus,
    book_hash,
    decode_cursor,
    decode_json,
    encode_cursor,
    encode_json,
    micros_text,
    order_status,
    page_to_wire,
    parse_balance,
    parse_book,
    parse_cancel_result,
    parse_compact_market,
    parse_open_order,
    parse_order_lookup,
    parse_order_reply,
    parse_page,
    parse_trade,
    time_ns,
    trade_status,
)

from .vectors import CAPTURE, TOKEN, VECTORS, shared_fixture

# ---- readers -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**17))
def test_every_printed_number_is_read_back_exactly(micros: int) -> None:
    assert micros_text(format_micros(micros)) == micros
    assert micros_text(f"{micros // ONE}.{micros % ONE:06d}") == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [(".48", 480_000), ("100.0000", 100 * ONE), ("0", 0), ("1e-05", 10), ("2.5E+2", 250 * ONE), ("0.5000000", 500_000)],
)
def test_unusual_spellings_are_read_exactly(text: str, micros: int) -> None:
    assert micros_text(text) == micros


@pytest.mark.parametrize(
    "text", ["-1", "-1e-3", "0.0000001", "1e-7", "nan", "inf", "1e999", "", ".", "1,5", "٣", "1_0", "e", "0x1", " 1"]
)
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        micros_text(text)


def test_json_numbers_never_become_floats() -> None:
    assert decode_json(b'{"a":0.010,"b":7,"c":[1e-3]}') == {"a": "0.010", "b": 7, "c": ["1e-3"]}
    for broken in (b"", b"{", b"\xff"):
        with pytest.raises(Refusal):
            decode_json(broken)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("", 0),
        ("1790000000", 1_790_000_000 * 10**9),
        ("1790000000123", 1_790_000_000_123 * 10**6),
        ("2024-01-01T00:00:00Z", 1_704_067_200 * 10**9),
        ("2024-01-01T00:00:00.250+00:00", 1_704_067_200_250 * 10**6),
        ("2024-01-01", 1_704_067_200 * 10**9),
    ],
)
def test_seconds_milliseconds_and_iso_texts(text: str, ns: int) -> None:
    assert time_ns(text) == ns


# ---- words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("LIVE", VenueStatus.LIVE),
        ("ORDER_STATUS_LIVE", VenueStatus.LIVE),
        ("live", VenueStatus.LIVE),
        ("ORDER_STATUS_CANCELED_MARKET_RESOLVED", VenueStatus.CANCELED_MARKET_RESOLVED),
        ("CANCELLED", VenueStatus.CANCELED),
        ("CANCELED_order couldn't be fully filled. FOK orders are …", VenueStatus.CANCELED_OTHER),
        ("INVALID", VenueStatus.INVALID),
        ("SOMETHING_NEW", VenueStatus.UNKNOWN),
        ("", VenueStatus.UNKNOWN),
    ],
)
def test_order_status_words(text: str, status: VenueStatus) -> None:
    assert order_status(text) is status


def test_which_statuses_are_open_and_canceled() -> None:
    assert {s for s in VenueStatus if s.is_open} == {VenueStatus.LIVE, VenueStatus.DELAYED, VenueStatus.UNMATCHED}
    assert not any(status.is_open and status.is_canceled for status in VenueStatus)
    assert VenueStatus.INVALID.is_canceled
    assert not VenueStatus.UNKNOWN.is_canceled


@pytest.mark.parametrize(
    ("text", "settlement"),
    [
        ("MATCHED", Settlement.MATCHED),
        ("TRADE_STATUS_CONFIRMED", Settlement.CONFIRMED),
        ("MATCHED_NOT_BROADCASTED", Settlement.MATCHED),
        ("TRADE_STATUS_RETRYING", Settlement.RETRYING),
        ("FAILED", Settlement.FAILED),
        ("SETTLED_ON_MARS", Settlement.UNKNOWN),
    ],
)
def test_trade_status_words(text: str, settlement: Settlement) -> None:
    assert trade_status(text) is settlement


# ---- cursors and pages -------------------------------------------------------------------------------------------


def test_the_known_cursors() -> None:
    assert (encode_cursor(0), encode_cursor(-1)) == (START_CURSOR, END_CURSOR)
    assert (decode_cursor(START_CURSOR), decode_cursor(END_CURSOR), decode_cursor("")) == (0, -1, 0)


@given(st.integers(0, 10**11))
def test_cursors_survive_the_way_around(offset: int) -> None:
    assert decode_cursor(encode_cursor(offset)) == offset


@pytest.mark.parametrize("cursor", ["?", "MA", "LTI=", "YWJj", "MTIzNDU2Nzg5MDEyMzQ1", "ä"])
def test_foreign_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(Refusal) as refusal:
        decode_cursor(cursor)
    assert refusal.value.field == "next_cursor"


@given(st.integers(0, 250), st.integers(1, 100))
def test_following_the_cursors_reads_everything_once(total: int, limit: int) -> None:
    rows = [{"n": n} for n in range(total)]
    seen: list[Any] = []
    cursor = START_CURSOR
    for _ in range(total + 1):
        offset = decode_cursor(cursor)
        page = parse_page(encode_json(page_to_wire(rows[offset : offset + limit], offset, limit, total)))
        seen += page.data
        cursor = page.next_cursor
        if page.is_last:
            break
    assert seen == rows


def test_a_bare_array_is_a_page_and_an_empty_cursor_is_the_end() -> None:
    assert parse_page(b'[{"a":1}]').is_last
    assert parse_page(b'{"data":[],"next_cursor":""}').is_last
    assert parse_page(b'{"data":null}').data == []
    for broken in (b"3", b'{"data":[1]}', b'{"data":{}}'):
        with pytest.raises(Refusal):
            parse_page(broken)


# ---- books and markets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["orderbook_hash"], ids=lambda v: v["book"]["asset_id"][:6])
def test_the_book_hash_of_every_vector(vector: dict[str, Any]) -> None:
    book = vector["book"]
    assert book_hash(book) == vector["sha1_hex"]
    assert book_hash(dict(reversed(book.items())) | {"hash": "old"}) == vector["sha1_hex"]
    written = parse_book(json.dumps(book)).to_wire()
    assert written == book | {"hash": vector["sha1_hex"]}
    assert encode_json(written | {"hash": ""}).decode() == vector["preimage"]


def test_a_book_of_the_client_mock_is_read_exactly() -> None:
    reply = next(r["reply"] for r in CAPTURE["http"] if r["target"].startswith("/book?"))
    book = parse_book(json.dumps(reply))
    assert book.bids == ((10_000, 1000 * ONE), (450_000, 200_500_000))
    assert book.asks[-1] == (470_000, 300 * ONE)
    assert (book.tick_size, book.min_order_size, book.last_trade_price) == (10_000, 5 * ONE, 460_000)


def test_a_sparse_book_is_read() -> None:
    book = parse_book(shared_fixture("clob_book_response.json"))
    assert (len(book.bids), len(book.asks), book.last_trade_price, book.tick_size) == (3, 3, None, 0)
    assert book.timestamp_ms == 1_703_875_200_000


def test_the_official_client_computes_the_same_hash() -> None:
    from py_clob_client_v2.utilities import generate_orderbook_summary_hash, parse_raw_orderbook_summary

    book = BookObject("0xaa", TOKEN, 1_790_000_000_123, ((480_000, 30 * ONE),), (), 5 * ONE, 2_500, True, None)
    wire = book.to_wire()
    assert wire["hash"] == generate_orderbook_summary_hash(parse_raw_orderbook_summary(dict(wire)))


MARKET = CompactMarket(
    "0xc0", (TOKEN, "7"), ("Up", "Down"), 2_500, 5 * ONE, True, 70_000, 1, True, False, 3, True
)  # fmt: skip


def test_a_compact_market_survives_with_exact_numbers() -> None:
    raw = encode_json(MARKET.to_wire())
    assert b'"mts":0.0025,' in raw
    assert b'"r":0.07' in raw
    assert parse_compact_market(raw) == MARKET


def test_a_market_without_fees_and_flags_has_none() -> None:
    market = parse_compact_market(b'{"c":"0x1","t":[{"t":"5"}],"mts":0.01,"zz":{"new":1}}')
    assert (market.tick_size, market.fee_rate, market.neg_risk, market.accepting_orders) == (10_000, 0, False, True)
    assert b"fd" not in encode_json(market.to_wire())


@pytest.mark.parametrize(
    "raw", [b'{"t":[]}', b'{"mts":"x"}', b'{"mts":0.01,"t":[{}]}', b'{"mts":0.01,"nr":"yes"}', b"[]"]
)
def test_a_market_that_cannot_be_signed_for_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal):
        parse_compact_market(raw)


# ---- replies -----------------------------------------------------------------------------------------------------


def test_order_replies_of_the_venue() -> None:
    reply = parse_order_reply(
        b'{"success":true,"errorMsg":"","orderID":"0x1","status":"matched","makingAmount":"5.2",'
        b'"takingAmount":"10","tradeIDs":["t1"],"transactionsHashes":["0xh"],"new":[]}'
    )
    assert reply == OrderReply(True, "", "0x1", "matched", 5_200_000, 10 * ONE, ("t1",), ("0xh",))
    assert parse_order_reply(encode_json(reply.to_wire())) == reply
    resting = OrderReply(True, order_id="0x2", status="live")
    assert resting.to_wire() == {
        "success": True, "errorMsg": "", "orderID": "0x2", "status": "live", "makingAmount": "", "takingAmount": "",
    }  # fmt: skip
    assert parse_order_reply(resting.to_wire()) == resting


def test_order_replies_with_nulls() -> None:
    accepted = parse_order_reply(shared_fixture("http_order_response_ok.json"))
    assert (accepted.success, accepted.error, accepted.status) == (True, "", "")
    failed = parse_order_reply(shared_fixture("http_order_response_failed.json"))
    assert (failed.success, failed.error, failed.order_id) == (False, "Insufficient balance", "")


def test_cancel_results() -> None:
    result = parse_cancel_result(b'{"canceled":["0x1"],"not_canceled":{"0x2":"already canceled or matched"}}')
    assert result == CancelResult(("0x1",), {"0x2": "already canceled or matched"})
    assert parse_cancel_result(result.to_wire()) == result
    assert parse_cancel_result(shared_fixture("http_cancel_response_failed.json")).canceled == ()
    for broken in (b"{}", b'"OK"', b'{"canceled":"0x1"}', b'{"canceled":[],"not_canceled":[]}'):
        with pytest.raises(Refusal):
            parse_cancel_result(broken)


ORDER = OpenOrder(
    "0xid", VenueStatus.LIVE, "0xc", TOKEN, Side.SELL, 500_000, 100 * ONE, 25 * ONE, "GTC", "key", "0xmaker", "Yes",
    1_790_003_600, 1_790_000_000 * 10**9, ("t1",), "LIVE",
)  # fmt: skip


def test_open_orders() -> None:
    assert parse_open_order(encode_json(ORDER.to_wire())) == ORDER
    order = parse_open_order(shared_fixture("http_open_order.json"))
    assert (order.size_matched, order.price, order.expiration_s) == (25 * ONE, 500_000, 0)
    assert order.created_ns == 1_703_875_200 * 10**9
    page = parse_page(shared_fixture("http_open_orders_page.json"))
    assert [parse_open_order(row).side for row in page.data] == [Side.BUY, Side.SELL]


@pytest.mark.parametrize("raw", [b"", b" ", b"null", b'""', b"{}"])
def test_a_look_up_that_finds_nothing(raw: bytes) -> None:
    assert parse_order_lookup(raw) is None


def test_a_look_up_that_finds_an_order_or_nonsense() -> None:
    assert parse_order_lookup(encode_json(ORDER.to_wire())) == ORDER
    for raw in (b"[]", b"3", b'{"status":"LIVE"}'):
        with pytest.raises(Refusal):
            parse_order_lookup(raw)


LEG = MakerLeg("0xm", "owner-m", "0xaddr", TOKEN, Side.SELL, 10 * ONE, 450_000, 100_000, "Yes", 1)
TRADE = Trade(
    "t1", "0xt", "0xc", TOKEN, Side.BUY, 10 * ONE, 450_000, Settlement.MINED, (LEG,), "TAKER", "owner-t", "",
    "0xme", "0xhash", 100_000, "Yes", 3, 1_790_000_000 * 10**9, 1_790_000_001 * 10**9, 0, "MINED",
)  # fmt: skip


def test_trades_survive_the_way_around() -> None:
    raw = encode_json(TRADE.to_wire())
    assert b'"fee_rate_bps":"1000"' in raw
    assert parse_trade(raw) == TRADE


def test_a_leg_without_side_is_opposite_in_the_same_token_and_alike_across() -> None:
    wire: dict[str, Any] = TRADE.to_wire()
    legs = [{k: v for k, v in LEG.to_wire().items() if k != "side"} | {"asset_id": token} for token in (TOKEN, "99")]
    sides = [leg.side for leg in parse_trade(wire | {"maker_orders": legs}).maker_orders]
    assert sides == [Side.SELL, Side.BUY]


@pytest.mark.parametrize("name", ["id", "asset_id", "side", "size", "price"])
def test_a_trade_without_what_a_fill_needs_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        parse_trade(TRADE.to_wire() | {name: ""})
    assert refusal.value.field == name


def test_balances() -> None:
    assert parse_balance(shared_fixture("http_balance_allowance_collateral.json")) == Balance(
        1_000 * ONE, {"": 999_999_999_000_000}
    )
    full = Balance(5, {"0xs": 2**256 - 1})
    assert parse_balance(encode_json(full.to_wire())) == full
    assert parse_balance(b'{"balance":"7"}') == Balance(7)
    for broken in (b'{"balance":"1.5"}', b"{}", b'{"balance":"-1"}'):
        with pytest.raises(Refusal):
            parse_balance(broken)
