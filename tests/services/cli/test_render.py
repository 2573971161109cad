"""The JSON contract of architecture section 9, object by object, and what the text must not do."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from common.types import FeedState, Status
from services.cli import render
from services.cli.render import CancelAllOutcome, DoubtfulOrder
from tests.services.cli.samples import (
    T0_NS,
    T0_TEXT,
    book_report,
    fill,
    filled_order,
    heartbeat,
    market_view,
    order,
    position,
    spot_view,
    sweep_view,
    watched,
)

ORDER_KEYS = [
    "order_id",
    "client_order_id",
    "venue_order_id",
    "account",
    "venue",
    "market",
    "token_id",
    "outcome",
    "side",
    "type",
    "tif",
    "post_only",
    "price",
    "size",
    "filled_size",
    "avg_price",
    "status",
    "lifecycle",
    "reject_reason",
    "created_at",
    "placed_at",
    "matched_at",
    "confirmed_at",
    "fills",
]
FILL_KEYS = ["trade_id", "price", "size", "fee", "settlement", "tx_hash"]
MARKET_KEYS = [
    "slug",
    "condition_id",
    "question",
    "outcomes",
    "token_ids",
    "tick_size",
    "min_size",
    "venue",
    "best_bid",
    "best_ask",
]


def test_every_time_has_the_same_shape() -> None:
    """A reader with one format for all times must not fail at a whole second."""
    assert render.iso_time(T0_NS) == T0_TEXT
    assert render.iso_time(T0_NS // 10**9 * 10**9) == "2026-09-21T14:13:20.000000Z"


def test_an_order_has_every_member_of_the_contract() -> None:
    assert set(ORDER_KEYS) <= set(render.order_json(order()))


def test_an_order_that_rests_prints_exact_decimals_and_nulls() -> None:
    shown = render.order_json(order())

    assert (shown["price"], shown["size"], shown["filled_size"]) == ("0.52", "10", "0")
    assert shown["avg_price"] is None
    assert shown["reject_reason"] is None
    assert (shown["created_at"], shown["placed_at"]) == (T0_TEXT, None)
    assert (shown["status"], shown["lifecycle"], shown["type"], shown["tif"]) == ("Working", "PLACED", "LIMIT", "GTC")


def test_a_filled_order_carries_its_fills() -> None:
    shown = render.order_json(filled_order())

    assert shown["avg_price"] == "0.52"
    [only] = shown["fills"]
    assert set(FILL_KEYS) <= set(only)
    assert (only["price"], only["size"], only["fee"]) == ("0.52", "10", "0.01747")
    assert (only["settlement"], only["tx_hash"]) == ("MATCHED", None)


def test_a_fill_with_a_transaction_names_it() -> None:
    assert render.fill_json(fill(tx_hash="0xfeed"))["tx_hash"] == "0xfeed"


def test_a_market_has_every_member_of_the_contract_and_null_for_an_empty_side() -> None:
    shown = render.market_json(market_view())

    assert set(MARKET_KEYS) <= set(shown)
    assert (shown["best_bid"], shown["best_ask"]) == ("0.48", None)
    assert (shown["best_bids"], shown["best_asks"]) == (["0.48", None], [None, "0.52"])
    assert (shown["tick_size"], shown["min_size"]) == ("0.01", "5")
    assert (shown["kind"], shown["size_step"], shown["min_notional"]) == ("binary", "0.01", None)
    assert shown["outcomes"] == ["Up", "Down"]


def test_a_spot_market_has_one_of_everything() -> None:
    shown = render.market_json(spot_view())

    assert (shown["venue"], shown["kind"], shown["outcomes"]) == ("ccxt", "spot", ["BTC/USDT"])
    assert (shown["best_bid"], shown["best_bids"], shown["best_asks"]) == ("64000", ["64000"], ["64000.01"])
    assert (shown["tick_size"], shown["size_step"], shown["min_size"]) == ("0.01", "0.00001", "0.00001")
    assert shown["min_notional"] == "5"


def test_the_list_of_markets_names_the_venue_of_each() -> None:
    _, first, second = render.markets_text([market_view(), spot_view()]).splitlines()

    assert (first.split()[:2], second.split()[:2]) == (["btc-15m-1", "polymarket"], ["ccxt:BTC/USDT", "ccxt"])


def test_a_book_shows_levels_as_exact_decimals() -> None:
    shown = render.book_json(book_report())

    assert shown["bids"] == [{"price": "0.48", "size": "7.5"}]
    assert shown["asks"] == [{"price": "0.52", "size": "0.000001"}]
    assert (shown["outcome"], shown["state"], shown["venue_at"]) == ("Up", "LIVE", T0_TEXT)


def test_a_doubted_book_says_its_state_its_reason_and_its_version() -> None:
    report = book_report()
    doubted = replace(report.book, state=FeedState.STALE, reason="frozen", epoch=7, seq=3, confirmed_ns=T0_NS)
    shown = render.book_json(replace(report, book=doubted))

    assert (shown["state"], shown["reason"], shown["epoch"], shown["seq"]) == ("STALE", "frozen", 7, 3)
    assert shown["confirmed_at"] == T0_TEXT
    assert "STALE (frozen)" in render.book_text(replace(report, book=doubted), 5)


def test_a_position_separates_size_and_confirmed_size() -> None:
    shown = render.position_json(position())

    assert (shown["size"], shown["confirmed_size"], shown["realised_pnl"]) == ("10", "0", "-0.000003")


def test_status_lists_every_process_heard_or_not() -> None:
    rows = render.status_json(("exchange", "gateway"), {"exchange": heartbeat("exchange")}, T0_NS + 3_000_000_000)

    assert [(row["process"], row["state"], row["ready"], row["pid"], row["uptime_s"]) for row in rows] == [
        ("exchange", "READY", True, 41, 3),
        ("gateway", "SILENT", False, None, None),
    ]


def test_a_process_that_starts_is_not_ready() -> None:
    [row] = render.status_json(("exchange",), {"exchange": heartbeat("exchange", "STARTING")}, T0_NS)

    assert row["ready"] is False


@pytest.mark.parametrize(
    ("outcome", "final"),
    [
        (CancelAllOutcome([order(Status.CANCELLED)], [], [], []), True),
        (CancelAllOutcome([], [filled_order()], [], []), True),
        (CancelAllOutcome([], [], [order()], []), False),
        (CancelAllOutcome([], [], [], [DoubtfulOrder("o-1", T0_NS)]), False),
    ],
)
def test_a_cancel_all_is_final_only_when_nothing_is_open_or_in_doubt(outcome: CancelAllOutcome, final: bool) -> None:
    assert render.cancel_all_json(outcome)["final"] is final


def test_times_of_a_sweep_that_have_not_happened_are_null() -> None:
    shown = render.sweep_json(sweep_view("CANCELLING", first_sent_ns=0))

    assert (shown["first_cancel_ms"], shown["zero_ms"], shown["final_ms"]) == (None, None, None)
    assert shown["zero_verified"] is False


def test_a_cancel_that_was_under_way_before_the_command_took_no_time() -> None:
    assert render.sweep_json(sweep_view(first_sent_ns=T0_NS - 1))["first_cancel_ms"] == 0


def test_orders_of_others_are_told() -> None:
    text = render.cancel_all_text(CancelAllOutcome([], [], [], [], sweep_view(foreign=2, foreign_open=1)))

    assert "2 orders that polyexec did not place were cancelled too" in text
    assert "1 orders that polyexec did not place are open" in text


def test_a_cancel_all_says_until_when_an_order_is_in_doubt() -> None:
    shown = render.cancel_all_json(CancelAllOutcome([], [], [], [DoubtfulOrder("o-9", T0_NS)]))

    assert shown["in_doubt"] == [{"order_id": "o-9", "until": T0_TEXT}]
    assert "o-9 is in doubt until" in render.cancel_all_text(
        CancelAllOutcome([], [], [], [DoubtfulOrder("o-9", T0_NS)])
    )


@pytest.mark.parametrize(("field", "expected"), [("price", True), ("", False)])
def test_an_error_object_has_a_field_only_when_there_is_one(field: str, expected: bool) -> None:
    shown = render.error_json("BAD_TICK", "off the grid", field)

    assert ("field" in shown["error"]) is expected
    assert shown["error"]["code"] == "BAD_TICK"


@given(st.text(), st.text(max_size=10))
def test_an_error_is_one_printable_line(message: str, field: str) -> None:
    line = render.error_text("BAD_REQUEST", message, "".join(c for c in field if c.isprintable()))

    assert line.isprintable()
    assert line.startswith("error:")


@given(st.integers(min_value=1, max_value=2**62))
def test_money_in_json_is_the_exact_decimal(micros: int) -> None:
    shown = render.order_json(order(price=micros, size=micros))

    assert Decimal(shown["price"]) * 1_000_000 == micros
    assert json.loads(json.dumps(shown))["size"] == shown["size"]


@given(st.text(max_size=30))
def test_a_venue_cannot_send_control_characters_to_the_terminal(text: str) -> None:
    assert render.clean(text).isprintable()
    assert len(render.clean(text)) == len(text)


def test_a_table_aligns_numbers_to_the_right() -> None:
    assert render.table(("name", "size"), [("a", "10"), ("bcdef", "7.5")], right=("size",)) == (
        "name   size\na        10\nbcdef   7.5"
    )


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (75, "1m15s"), (7300, "2h01m")])
def test_durations_are_short(seconds: int, text: str) -> None:
    assert render.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (render.orders_text([filled_order()]), ("o-1", "10/10", "Filled", "MATCHED")),
        (render.orders_text([]), ("no orders",)),
        (render.order_text(filled_order()), ("mine-1", "average 0.52", "t-1")),
        (
            render.order_text(order(Status.REJECTED, reject_reason="BAD_TICK", reject_text="off")),
            ("BAD_TICK", "off", "Rejected"),
        ),
        (render.fills_text([]), ("no fills",)),
        (render.positions_text([position()]), ("default", "10", "0.01747")),
        (render.positions_text([]), ("no positions",)),
        (render.markets_text([market_view()]), ("btc-15m-1", "Up/Down", "0.48", "-")),
        (render.markets_text([]), ("no markets",)),
        (render.watched_text([]), ("nothing is watched", "markets watch")),
        (render.watched_text([watched("*", "a", "b", "c", "d", from_settings=True)]), ("settings", "4: a, b, c, ...")),
        (render.watched_text([watched("*", "a", problem="2 do not fit")]), ("command", "a", "2 do not fit")),
        (render.watched_text([watched("btc")]), ("btc", "not looked for yet")),
        (render.book_text(book_report(), 5), ("0.52", "0.48", "LIVE")),
        (render.status_text(render.status_json(("x",), {}, 0)), ("x", "SILENT", "no heartbeat heard")),
    ],
)
def test_text_holds_what_a_person_looks_for(text: str, words: tuple[str, ...]) -> None:
    assert all(word in text for word in words), text
