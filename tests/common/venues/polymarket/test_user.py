"""The user channel: tolerant events, and exactly which fills of a trade are ours, at which exact cash."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Refusal
from common.types import ONE, Settlement, Side
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.market import UnknownEvent
from common.venues.polymarket.user import (
    OrderEvent,
    OrderEventKind,
    OwnFill,
    TradeEvent,
    UserEvent,
    add_frame,
    own_fills,
    parse_user_frame,
    remove_frame,
    subscribe_frame,
    trade_to_wire,
)
from common.venues.polymarket.wire import MakerLeg, Trade, VenueStatus

from .vectors import CAPTURE, CREDS, OTHER_TOKEN, TOKEN, shared_fixture

KEY = "11111111-2222-3333-4444-555555555555"
OURS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
SECONDS = 1_790_000_000
NS = SECONDS * 10**9


def only(raw: bytes | str) -> UserEvent:
    (event,) = parse_user_frame(raw)
    return event


def test_subscription_frames_are_those_of_the_official_client() -> None:
    sent = [frame["text"] for frame in CAPTURE["websocket_frames_sent_by_unified_client"]]
    markets = json.loads(sent[1])["markets"]
    assert subscribe_frame(L2Credentials(**CREDS), markets).decode() == sent[1]
    assert json.loads(add_frame(["0xc"])) == {"operation": "subscribe", "markets": ["0xc"]}
    assert json.loads(remove_frame(["0xc"])) == {"operation": "unsubscribe", "markets": ["0xc"]}


# ---- order events ------------------------------------------------------------------------------------------------


def test_the_recorded_placement() -> None:
    event = only(shared_fixture("recorded_order_placement.json"))
    assert isinstance(event, OrderEvent)
    assert (event.kind, event.status) == (OrderEventKind.PLACEMENT, VenueStatus.LIVE)
    assert (event.price, event.original_size, event.size_matched) == (513_000, 5 * ONE, 0)
    assert event.created_ns == 1_725_842_520 * 10**9
    assert event.event_ns == 1_725_842_520_990 * 10**6


@pytest.mark.parametrize(
    ("name", "kind", "status", "matched"),
    [
        ("ws_user_order_placement.json", OrderEventKind.PLACEMENT, VenueStatus.LIVE, 0),
        ("ws_user_order_update.json", OrderEventKind.UPDATE, VenueStatus.LIVE, 25 * ONE),
        ("ws_user_order_matched.json", OrderEventKind.UPDATE, VenueStatus.MATCHED, 100 * ONE),
        ("ws_user_order_cancellation.json", OrderEventKind.CANCELLATION, VenueStatus.CANCELED, 0),
        ("ws_user_order_msg.json", OrderEventKind.PLACEMENT, VenueStatus.LIVE, 0),
    ],
)
def test_public_order_payloads_also_without_event_type_and_in_milliseconds(
    name: str, kind: OrderEventKind, status: VenueStatus, matched: int
) -> None:
    event = only(shared_fixture(name))
    assert isinstance(event, OrderEvent)
    assert (event.kind, event.status, event.size_matched) == (kind, status, matched)
    assert event.created_ns == 1_703_875_200 * 10**9
    assert event.expiration_s == 0


ORDER = OrderEvent(
    OrderEventKind.UPDATE, "0x12", VenueStatus.LIVE, "0x5f", TOKEN, Side.BUY, 450_000, 100 * ONE, 10 * ONE, KEY, KEY,
    OURS, "Yes", "GTC", 0, NS, NS + 456 * 10**6, ("aaaa",), "LIVE",
)  # fmt: skip


def test_order_events_survive_the_way_around() -> None:
    raw = json.dumps(ORDER.to_wire())
    assert only(raw) == ORDER
    assert parse_user_frame(f"[{raw},{raw}]") == [ORDER, ORDER]


def test_a_killed_fok_with_empty_texts_and_free_text_status() -> None:
    wire = ORDER.to_wire() | {
        "type": "CANCELLATION",
        "status": "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed.",
        "size_matched": "",
        "outcome": "",
        "created_at": "",
        "expiration": "",
        "associate_trades": None,
    }
    event = only(json.dumps(wire))
    assert isinstance(event, OrderEvent)
    assert event.status is VenueStatus.CANCELED_OTHER
    assert "fully filled or killed" in event.status_text
    assert (event.size_matched, event.created_ns, event.associate_trades) == (0, 0, ())


@pytest.mark.parametrize(
    ("change", "kind", "status"),
    [
        ({"status": "ORDER_STATUS_MATCHED"}, OrderEventKind.UPDATE, VenueStatus.MATCHED),
        ({"status": "TELEPORTED"}, OrderEventKind.UPDATE, VenueStatus.UNKNOWN),
        ({"type": "EXPIRY"}, OrderEventKind.UNKNOWN, VenueStatus.LIVE),
    ],
)
def test_new_words_become_typed_unknowns(change: dict[str, str], kind: OrderEventKind, status: VenueStatus) -> None:
    event = only(json.dumps(ORDER.to_wire() | change))
    assert isinstance(event, OrderEvent)
    assert (event.kind, event.status) == (kind, status)


@pytest.mark.parametrize(
    "change", [{"id": ""}, {"asset_id": None}, {"side": "?"}, {"price": "x"}, {"created_at": "soon"}]
)
def test_an_order_event_that_cannot_be_read_is_unknown_with_its_problem(change: dict[str, object]) -> None:
    event = only(json.dumps(ORDER.to_wire() | change))
    assert isinstance(event, UnknownEvent)
    assert event.event_type == "order"
    assert event.problem


def test_frames_without_known_events() -> None:
    assert parse_user_frame("[]") == parse_user_frame(b"PONG") == []
    assert parse_user_frame('[{"event_type":"gift","asset_id":"5"},7]') == [
        UnknownEvent("gift", "", ("5",)),
        UnknownEvent("", "not an object"),
    ]
    for raw in (b"", b"{", b"PING", b"[" * 100_000):
        with pytest.raises(Refusal):
            parse_user_frame(raw)


# ---- trade events and own fills ----------------------------------------------------------------------------------


def leg(order_id: str, size: int, price: int, **changes: Any) -> MakerLeg:
    values: dict[str, Any] = {"owner": "2222", "maker_address": STRANGER, "token_id": TOKEN, "side": Side.SELL}
    return MakerLeg(order_id, size=size, price=price, **(values | changes))


def trade(*legs: MakerLeg, **changes: Any) -> TradeEvent:
    values: dict[str, Any] = {
        "trade_id": "t1", "taker_order_id": "0xtaker", "market": "0x5f", "token_id": TOKEN, "side": Side.BUY,
        "size": 10 * ONE, "price": 450_000, "settlement": Settlement.MATCHED, "maker_orders": legs,
        "trader_side": "TAKER", "owner": KEY, "trade_owner": KEY, "maker_address": OURS, "match_ns": NS,
    }  # fmt: skip
    return Trade(**(values | changes))


def test_public_trade_payloads() -> None:
    event = only(shared_fixture("ws_user_trade.json"))
    assert isinstance(event, Trade)
    assert event.settlement is Settlement.CONFIRMED
    assert event.match_ns == 1_704_067_200 * 10**9
    assert event.maker_orders[0].side is Side.SELL
    (fill,) = own_fills(event, "00000000-0000-0000-0000-000000000001", set())
    assert (fill.is_taker, fill.size, fill.price, fill.cash) == (True, 25 * ONE, 500_000, 12_500_000)
    bare = only(shared_fixture("ws_user_trade_msg.json"))
    assert isinstance(bare, Trade)
    (fill,) = own_fills(bare, "00000000-0000-0000-0000-000000000001", set())
    assert (fill.size, fill.cash) == (25 * ONE, 12_500_000)


def test_trade_events_survive_the_way_around() -> None:
    event = trade(leg("0xm", 10 * ONE, 450_000), event_ns=NS + 10**6, last_update_ns=NS, status_text="MATCHED")
    assert only(json.dumps(trade_to_wire(event))) == event


def test_a_maker_fill_uses_its_own_leg_and_ignores_strangers() -> None:
    mine = leg("0xmine", 4 * ONE, 550_000, owner=KEY, token_id=OTHER_TOKEN, side=Side.BUY, fee_rate=7)
    event = trade(leg("0xs", 6 * ONE, 450_000), mine, trader_side="MAKER", owner="2222", maker_address=STRANGER,
                  tx_hash="0xh", settlement=Settlement.MINED)  # fmt: skip
    assert own_fills(event, KEY, set()) == [
        OwnFill(
            "t1", "0xmine", OTHER_TOKEN, Side.BUY, 4 * ONE, 550_000, 7, Settlement.MINED, "0xh", NS, False, 2_200_000
        )
    ]


def test_several_legs_are_ours_by_key_or_address_and_one_order_is_one_fill() -> None:
    event = trade(
        leg("0xa", 2 * ONE, 450_000, owner=KEY),
        leg("0xb", 3 * ONE, 460_000, maker_address=OURS.lower(), owner=""),
        leg("0xa", ONE, 440_000, owner=KEY),
        leg("0xc", ONE, 440_000),
        trader_side="MAKER", owner="2222", maker_address=STRANGER,
    )  # fmt: skip
    fills = own_fills(event, KEY, {OURS})
    assert [(fill.venue_order_id, fill.size, fill.cash) for fill in fills] == [
        ("0xa", 3 * ONE, 1_340_000),
        ("0xb", 3 * ONE, 1_380_000),
    ]
    assert fills[0].price == 446_666  # a seller's price is rounded down


def test_a_taker_gets_the_sum_of_the_makers_with_complements_across_tokens() -> None:
    """Top-level size and price are only a summary: 2 at 0.45, and 1 minted against a NO bid of 0.52, so at 0.48."""
    event = trade(
        leg("0x1", 2 * ONE, 450_000),
        leg("0x2", ONE, 520_000, token_id=OTHER_TOKEN, side=Side.BUY),
        size=2_990_000,
        price=999_999,
    )
    (fill,) = own_fills(event, KEY, {OURS})
    assert (fill.size, fill.cash, fill.price) == (3 * ONE, 1_380_000, 460_000)
    assert (fill.venue_order_id, fill.token_id, fill.side, fill.is_taker) == ("0xtaker", TOKEN, Side.BUY, True)


def test_a_trade_with_ourselves_is_two_fills() -> None:
    fills = own_fills(trade(leg("0xm", 10 * ONE, 450_000, owner=KEY)), KEY, set())
    assert [(fill.venue_order_id, fill.side, fill.is_taker) for fill in fills] == [
        ("0xtaker", Side.BUY, True),
        ("0xm", Side.SELL, False),
    ]


@pytest.mark.parametrize(
    ("changes", "taker"),
    [
        ({}, True),
        ({"owner": "", "trade_owner": "", "maker_address": ""}, True),  # a private stream names the viewer's role
        ({"owner": "x", "trade_owner": "x", "maker_address": OURS.upper().replace("0X", "0x")}, True),
        ({"owner": "x", "trade_owner": KEY, "maker_address": STRANGER}, True),
        ({"owner": "x", "trade_owner": "x", "maker_address": STRANGER}, False),
        ({"trader_side": "MAKER"}, False),
        ({"trader_side": ""}, True),
        ({"trader_side": "", "owner": "x", "trade_owner": "", "maker_address": STRANGER}, False),
    ],
)
def test_when_the_taker_is_us(changes: dict[str, Any], taker: bool) -> None:
    assert bool(own_fills(trade(leg("0xm", ONE, 450_000), **changes), KEY, {OURS})) is taker


def test_an_empty_key_matches_nobody() -> None:
    event = trade(leg("0xm", ONE, 450_000, owner=""), trader_side="MAKER")
    assert own_fills(event, "", set()) == []


legs = st.lists(
    st.tuples(st.integers(1, 10**10), st.integers(1, 9_999).map(lambda n: n * 100), st.booleans()),
    min_size=1,
    max_size=6,
)


@given(legs, st.sampled_from(Side))
def test_taker_cash_and_price_are_exact_or_rounded_against_us(rows: list[tuple[int, int, bool]], side: Side) -> None:
    makers = [
        leg(f"0x{n}", size, price, token_id=OTHER_TOKEN if across else TOKEN)
        for n, (size, price, across) in enumerate(rows)
    ]
    (fill,) = own_fills(trade(*makers, side=side), KEY, set())
    exact = sum((Fraction(s * (ONE - p if across else p), ONE) for s, p, across in rows), Fraction())
    assert fill.size == sum(size for size, _, _ in rows)
    assert 0 <= (fill.cash - exact if side is Side.BUY else exact - fill.cash) < 1
    average = exact * ONE / fill.size
    assert 0 <= (fill.price - average if side is Side.BUY else average - fill.price) < 1


@settings(deadline=None)  # the first call imports the SDK
@given(legs)
def test_the_official_client_reads_what_the_simulator_writes(rows: list[tuple[int, int, bool]]) -> None:
    from polymarket.models.clob.user_events import parse_user_event

    condition = "0x" + "5f" * 32
    makers = [leg(f"0x{n}", size, price) for n, (size, price, _) in enumerate(rows)]
    theirs = parse_user_event(trade_to_wire(trade(*makers, market=condition, event_ns=NS)))
    assert [int(row.matched_amount * ONE) for row in theirs.payload.maker_orders] == [maker.size for maker in makers]
    order = parse_user_event({**ORDER.to_wire(), "market": condition})
    assert order.payload.size_matched == 10


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
def test_garbage_is_refused_or_unknown_but_never_crashes(raw: bytes | str) -> None:
    try:
        events = parse_user_frame(raw)
    except Refusal:
        return
    assert all(isinstance(event, UnknownEvent) for event in events)
