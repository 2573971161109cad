"""The market channel: every event type to exact values, both frame shapes, old shapes, and broken events."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Refusal
from common.types import ONE, Side
from common.venues.polymarket.market import (
    BestBidAskEvent,
    BookEvent,
    LastTradeEvent,
    LevelChange,
    MarketEvent,
    MarketResolvedEvent,
    NewMarketEvent,
    PriceChangeEvent,
    PriceRow,
    PriceRows,
    TickSizeEvent,
    UnknownEvent,
    add_frame,
    market_frame,
    parse_market_frame,
    read_price_rows,
    remove_frame,
    subscribe_frame,
    unknown_fields,
)
from common.venues.polymarket.wire import UNREADABLE, BookObject, parse_book

from .vectors import CAPTURE, OTHER_TOKEN, SHARED, TOKEN, shared_fixture

COND = "0x" + "5f" * 32
MS = 1_790_000_000_123
NS = MS * 10**6


def only(raw: bytes | str) -> MarketEvent:
    (event,) = parse_market_frame(raw)
    return event


def test_subscription_frames_are_those_of_the_official_client() -> None:
    sent = [frame["text"] for frame in CAPTURE["websocket_frames_sent_by_unified_client"]]
    tokens = [OTHER_TOKEN, TOKEN]
    third = "5" * 77
    assert subscribe_frame(tokens).decode() == sent[0]
    assert add_frame([third]).decode() == sent[2]
    assert remove_frame([third]).decode() == sent[3]
    assert json.loads(subscribe_frame(tokens, custom=False, initial_dump=False)) == {
        "type": "market", "assets_ids": tokens, "custom_feature_enabled": False, "initial_dump": False,
    }  # fmt: skip


def test_a_book_in_an_array() -> None:
    raw = (
        f'[{{"event_type":"book","market":"{COND}","asset_id":"{TOKEN}","timestamp":"{MS}","hash":"79",'
        '"bids":[{"price":"0.01","size":"1000"},{"price":"0.45","size":"200.5"}],'
        '"asks":[{"price":".99","size":"1000.000001"},{"price":"0.47","size":"300"}],'
        '"tick_size":"0.01","last_trade_price":"0.46","new_member":{}}]'
    )
    assert only(raw) == BookEvent(
        COND, TOKEN, ((10_000, 1000 * ONE), (450_000, 200_500_000)), ((990_000, 1_000_000_001), (470_000, 300 * ONE)),
        NS, "79", 10_000, 460_000,
    )  # fmt: skip


def test_a_price_change_of_both_tokens() -> None:
    raw = (
        f'{{"event_type":"price_change","market":"{COND}","timestamp":"{MS}","price_changes":['
        f'{{"asset_id":"{TOKEN}","price":"0.44","size":"50","side":"BUY","hash":"b1","best_bid":"0.45","best_ask":""}},'
        f'{{"asset_id":"{OTHER_TOKEN}","price":"0.56","size":"0","side":"SELL","hash":"c2"}}]}}'
    )
    assert only(raw) == PriceChangeEvent(
        COND,
        (
            LevelChange(TOKEN, Side.BUY, 440_000, 50 * ONE, 450_000, None, "b1"),
            LevelChange(OTHER_TOKEN, Side.SELL, 560_000, 0, None, None, "c2"),
        ),
        NS,
    )


def test_the_shape_before_2025_09_15_with_changes_of_one_token() -> None:
    raw = (
        f'{{"asset_id":"{TOKEN}","changes":[{{"price":"0.4","side":"SELL","size":"3300"}},'
        f'{{"price":"0.5","side":"BUY","size":"0"}}],"event_type":"price_change","market":"{COND}","timestamp":"{MS}"}}'
    )
    changes = (LevelChange(TOKEN, Side.SELL, 400_000, 3300 * ONE), LevelChange(TOKEN, Side.BUY, 500_000, 0))
    assert only(raw) == PriceChangeEvent(COND, changes, NS)


# --- every public payload, every field ---

MARKET = "0xdd22472e552920b8438158ea7238bfadfa4f736aa4cee91a6b86c39ead110917"
ASSET = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
NVDA = "0x311d0c4b6671ab54af4970c06fcf58662516f5168997bdda209ec3db5aa6b0c1"
NVDA_TOKENS = (
    "76043073756653678226373981964075571318267289248134717369284518995922789326425",
    "31690934263385727664202099278545688007799199447969475608906331829650099442770",
)

PAYLOADS: dict[str, MarketEvent] = {
    "ws_market_book_msg.json": BookEvent(
        MARKET,
        ASSET,
        ((500_000, 200 * ONE), (490_000, 350 * ONE)),
        ((510_000, 150 * ONE), (520_000, 250 * ONE)),
        1_703_875_200_000 * 10**6,
    ),
    "ws_market_price_change_msg.json": PriceChangeEvent(
        MARKET,
        (LevelChange(ASSET, Side.BUY, 510_000, 150 * ONE, 510_000, 520_000, "0xhash001"),),
        1_703_875_201_000 * 10**6,
    ),
    "ws_market_last_trade_msg.json": LastTradeEvent(
        MARKET, ASSET, 510_000, 25 * ONE, Side.BUY, 1_703_875_202_000 * 10**6, 0, ""
    ),
    "ws_market_tick_size_msg.json": TickSizeEvent(MARKET, ASSET, 100_000, 10_000, 1_703_875_210_000 * 10**6),
    "ws_market_best_bid_ask_msg.json": BestBidAskEvent(
        "0x0005c0d312de0be897668695bae9f32b624b4a1ae8b140c49f08447fcc74f442",
        "85354956062430465315924116860125388538595433819574542752031640332592237464430",
        730_000,
        770_000,
        1_766_789_469_958 * 10**6,
    ),
    "ws_market_new_market_msg.json": NewMarketEvent(
        NVDA,
        "1031769",
        "Will NVIDIA (NVDA) close above $240 end of January?",
        "nvda-above-240-on-january-30-2026",
        NVDA_TOKENS,
        ("Yes", "No"),
        1_766_790_415_550 * 10**6,
        10_000,
        True,
    ),
    "ws_market_resolved_msg.json": MarketResolvedEvent(
        NVDA, "1031769", NVDA_TOKENS, NVDA_TOKENS[0], "Yes", 1_766_790_415_550 * 10**6
    ),
    "recorded_price_change.json": PriceChangeEvent(
        MARKET,
        (
            LevelChange(
                "48331043336612883890938759509493159234755048973500640148014422747788308965732",
                Side.SELL,
                514_000,
                21_574_080_000,
                None,
                None,
                "bf32b3746fff40c76c98021b7f3f07261169dd26",
            ),
        ),
        1_723_967_931_411 * 10**6,
    ),
    "recorded_last_trade_price.json": LastTradeEvent(
        MARKET,
        "21742633143463906290569050155826241533067272736897614950488156847949938836455",
        491_000,
        85_360_000,
        Side.SELL,
        1_724_564_136_087 * 10**6,
        0,
        "",
    ),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_public_payload_is_read_to_the_last_field(name: str) -> None:
    assert only(shared_fixture(name)) == PAYLOADS[name]


def test_every_public_payload_of_the_channel_is_in_the_table() -> None:
    names = {path.name for path in SHARED.glob("ws_market_*.json")}
    assert names <= set(PAYLOADS), "a payload nobody looks at"


SNAPSHOT_LEVELS = (
    ((480_000, 500 * ONE), (490_000, 350 * ONE), (500_000, 200 * ONE)),
    ((530_000, 400 * ONE), (520_000, 250 * ONE), (510_000, 150 * ONE)),
)


def test_the_book_without_a_type_is_a_book_once_its_type_is_said() -> None:
    """Its shape is that of the channel, from before `event_type` was sent."""
    body = json.loads(shared_fixture("ws_book_snapshot.json"))
    assert only(json.dumps(body)) == UnknownEvent("", "", (ASSET,))
    event = only(json.dumps([{"event_type": "book", **body}]))
    assert event == BookEvent(MARKET, ASSET, *SNAPSHOT_LEVELS, 1_703_875_200_000 * 10**6)
    assert parse_book(json.dumps(body)) == BookObject(MARKET, ASSET, 1_703_875_200_000, *SNAPSHOT_LEVELS)


def test_the_rest_answer_is_read_to_the_last_field() -> None:
    book = parse_book(shared_fixture("clob_book_response.json"))
    assert book == BookObject(
        "0xc8f1cf5d4f26e0fd9c8fe89f2a7b3263b902cf14fde7bfccef525753bb492e47",
        "12345678901234567890",
        1_703_875_200_000,
        ((480_000, 100 * ONE), (490_000, 200 * ONE), (500_000, 150 * ONE)),
        ((510_000, 120 * ONE), (520_000, 180 * ONE), (530_000, 90 * ONE)),
        min_order_size=0,
        tick_size=0,
        neg_risk=False,
        last_trade_price=None,
        hash="0xabc123",
    )


def test_the_recorded_book_is_read_to_the_last_level() -> None:
    """Each level against exact decimal arithmetic, and a few written out by hand."""
    body: dict[str, Any] = json.loads(shared_fixture("recorded_book.json"))

    def exact(side: str) -> tuple[tuple[int, int], ...]:
        return tuple((int(Decimal(row["price"]) * ONE), int(Decimal(row["size"]) * ONE)) for row in body[side])

    event = only(shared_fixture("recorded_book.json"))
    assert isinstance(event, BookEvent)
    assert (event.bids, event.asks) == (exact("bids"), exact("asks"))
    assert event == BookEvent(
        body["market"], body["asset_id"], exact("bids"), exact("asks"), int(body["timestamp"]) * 10**6, body["hash"]
    )
    assert event.asks[0] == (999_000, 10_500_100 * ONE)
    assert (900_000, 199_310_000) in event.asks
    assert max(price for price, _ in event.bids) < min(price for price, _ in event.asks)


# --- the fast path ---


def test_the_fast_path_reads_what_a_book_needs_as_the_venue_wrote_it() -> None:
    rows = read_price_rows(shared_fixture("ws_market_price_change_msg.json"))
    assert rows == PriceRows([PriceRow(ASSET, "0.51", "150.0", Side.BUY, "0.51", "0.52")], "1703875201000")


@pytest.mark.parametrize(
    "name", [name for name in (*PAYLOADS, "recorded_book.json") if name != "ws_market_price_change_msg.json"]
)
def test_the_fast_path_refuses_every_other_shape(name: str) -> None:
    with pytest.raises(UNREADABLE):
        read_price_rows(shared_fixture(name))


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"PONG", b"{", b"\xff", b'{"event_type":"price_change"}',
        b'{"event_type":"price_change","price_changes":[],"timestamp":1790000000000}',
        b'{"event_type":"price_change","timestamp":"1","price_changes":[{"asset_id":"1","price":0.5,"size":"1","side":"BUY"}]}',
        b'{"event_type":"price_change","timestamp":"1","price_changes":[{"asset_id":"1","price":"0.5","side":"BUY"}]}',
        b'{"event_type":"price_change","timestamp":"1","price_changes":[{"asset_id":"1","price":"1","size":"1","side":"buy"}]}',
        b'[{"event_type":"price_change","timestamp":"1","price_changes":[]}]',
        b'{"price_changes":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_the_fast_path_refuses_unusual_spellings(raw: bytes) -> None:
    with pytest.raises(UNREADABLE):
        read_price_rows(raw)


@pytest.mark.parametrize("raw", [b"[]", b"PONG", "PONG", " PONG\n", "[ ]"])
def test_frames_without_events(raw: bytes | str) -> None:
    assert parse_market_frame(raw) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"PING",
        b"[" * 100_000,
        b'{"event_type":"book","x":' + b"[" * 100_000,
        "\ud800",
        b"\xff\xff",
        '{"event_type":"book"',
    ],
)
def test_a_frame_that_is_not_json_is_refused(raw: bytes | str) -> None:
    with pytest.raises(Refusal):
        parse_market_frame(raw)


def test_an_unknown_type_does_not_hide_its_neighbours() -> None:
    tick = TickSizeEvent(COND, TOKEN, 10_000, 1_000, NS)
    raw = json.dumps([{"event_type": "wormhole", "asset_id": "7"}, tick.to_wire(), 5, {"no": "type"}])
    assert parse_market_frame(raw) == [
        UnknownEvent("wormhole", "", ("7",)),
        tick,
        UnknownEvent("", "not an object"),
        UnknownEvent(""),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"price": "abc"},
        {"price": "-0.5"},
        {"size": "0.0000001"},
        {"size": None},
        {"side": "HOLD"},
        {"side": None},
        {"best_bid": "x"},
    ],
)
def test_a_known_event_that_cannot_be_read_names_its_tokens(broken: dict[str, object]) -> None:
    """So the reader can distrust those books: a lost change is a wrong book."""
    good: dict[str, Any] = {
        "asset_id": TOKEN,
        "price": "0.5",
        "size": "1",
        "side": "BUY",
        "hash": "",
        "best_bid": "0.4",
    }
    rows = [good | {"asset_id": OTHER_TOKEN}, good | broken]
    event = only(
        json.dumps({"event_type": "price_change", "market": COND, "timestamp": str(MS), "price_changes": rows})
    )
    assert isinstance(event, UnknownEvent)
    assert event.event_type == "price_change"
    assert event.problem
    assert event.token_ids == (OTHER_TOKEN, TOKEN)


def test_numbers_instead_of_texts_are_read_exactly() -> None:
    raw = (
        f'{{"event_type":"book","market":"{COND}","asset_id":"{TOKEN}","timestamp":{MS},'
        '"bids":[{"price":0.10,"size":5}],"asks":[],"tick_size":0.001,"last_trade_price":"","neg_risk":false}'
    )
    event = only(raw)
    assert isinstance(event, BookEvent)
    assert (event.bids, event.tick_size, event.last_trade_price) == (((100_000, 5 * ONE),), 1_000, None)
    assert (event.timestamp_ns, event.neg_risk) == (NS, False)


@pytest.mark.parametrize(
    ("frame", "names"),
    [
        ([{"event_type": "book", "asset_id": "1", "level": 2}], ["book.level"]),
        ({"event_type": "price_change", "price_changes": [{"asset_id": "1", "seq": 1}, {"seq": 2}], "zone": 1},
         ["price_change.zone", "price_change.seq"]),
        ({"event_type": "last_trade_price", "x" * 100: 1}, ["last_trade_price." + "x" * 60]),
        ({"event_type": "wormhole", "anything": 1}, []),
        ({"event_type": 5, "anything": 1}, []),
        ([5, "book", None, {"event_type": "price_change", "price_changes": 5}], []),
        ("PONG", []),
    ],
)  # fmt: skip
def test_fields_nobody_knows_are_named_once_a_frame(frame: object, names: list[str]) -> None:
    assert unknown_fields(json.dumps(frame).encode()) == names


@pytest.mark.parametrize("raw", [b"", b"<html>", b"PONG", b"\xff", b"[" * 100_000])
def test_a_frame_that_is_not_json_has_no_unknown_fields(raw: bytes) -> None:
    assert unknown_fields(raw) == []


@pytest.mark.parametrize("name", [*PAYLOADS, "recorded_book.json"])
def test_every_field_of_the_public_payloads_is_known(name: str) -> None:
    assert unknown_fields(shared_fixture(name)) == []


prices = st.integers(1, 9_999).map(lambda n: n * 100)
amounts = st.integers(0, 10**15)
levels = st.lists(st.tuples(prices, amounts), max_size=8).map(tuple)
times = st.integers(10**11, 10**13).map(lambda ms: ms * 10**6)
tokens = st.integers(2**200, 2**256 - 1).map(str)
tops = st.one_of(st.none(), prices)
changes = st.builds(LevelChange, tokens, st.sampled_from(Side), prices, amounts, tops, tops, st.just("h"))
events = st.one_of(
    st.builds(BookEvent, st.just(COND), tokens, levels, levels, times, st.just("h"), prices, tops, amounts),
    st.builds(PriceChangeEvent, st.just(COND), st.lists(changes, max_size=4).map(tuple), times),
    st.builds(LastTradeEvent, st.just(COND), tokens, prices, amounts, st.sampled_from(Side), times, st.just(70_000)),
    st.builds(TickSizeEvent, st.just(COND), tokens, prices, prices, times),
    st.builds(BestBidAskEvent, st.just(COND), tokens, tops, tops, times),
    st.builds(
        NewMarketEvent, st.just(COND), st.just("9"), st.just("Q?"), st.just("q"),
        st.tuples(tokens, tokens), st.just(("Up", "Down")), times, prices, st.booleans(),
    ),
    st.builds(
        MarketResolvedEvent, st.just(COND), st.just("9"), st.tuples(tokens, tokens), tokens, st.just("Up"), times
    ),
)  # fmt: skip


@given(st.builds(PriceChangeEvent, st.just(COND), st.lists(changes, max_size=4).map(tuple), times))
def test_rows_of_an_event_are_those_of_its_frame(event: PriceChangeEvent) -> None:
    """Both ways to a PriceRows agree, so a frame of an old shape is treated like one of today's."""
    assert PriceRows.of(event) == read_price_rows(market_frame([event]))


@given(st.lists(events, max_size=4))
def test_what_the_simulator_writes_is_read_back(sent: list[MarketEvent]) -> None:
    assert parse_market_frame(market_frame(sent)) == sent


@settings(deadline=None)  # the first call imports the SDK
@given(events)
def test_the_official_client_reads_what_the_simulator_writes(event: MarketEvent) -> None:
    from polymarket.models.clob.market_events import parse_market_event

    assert not isinstance(event, UnknownEvent)
    wire = event.to_wire()
    theirs = parse_market_event(wire)
    assert theirs.type == wire["event_type"]
    if isinstance(event, BookEvent):
        assert tuple((int(level.price * ONE), int(level.size * ONE)) for level in theirs.payload.bids) == event.bids
    if isinstance(event, PriceChangeEvent):
        rows = theirs.payload.price_changes
        assert [int(row.size * ONE) for row in rows] == [change.size for change in event.changes]
        assert [row.best_bid is None for row in rows] == [change.best_bid is None for change in event.changes]


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
def test_garbage_is_refused_or_unknown_but_never_crashes(raw: bytes | str) -> None:
    try:
        events_read = parse_market_frame(raw)
    except Refusal:
        return
    assert all(isinstance(event, UnknownEvent) for event in events_read)
