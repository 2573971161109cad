"""The market channel: every event type to exact values, both frame shapes, old shapes, and broken events."""

from __future__ import annotations

import json
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
    TickSizeEvent,
    UnknownEvent,
    add_frame,
    market_frame,
    parse_market_frame,
    remove_frame,
    subscribe_frame,
)

from .vectors import CAPTURE, OTHER_TOKEN, TOKEN, shared_fixture

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


def test_the_recorded_flat_change() -> None:
    event = only(shared_fixture("recorded_price_change.json"))
    assert isinstance(event, PriceChangeEvent)
    (change,) = event.changes
    assert (change.side, change.price, change.size) == (Side.SELL, 514_000, 21_574_080_000)
    assert event.timestamp_ns == 1_723_967_931_411 * 10**6


@pytest.mark.parametrize("name", ["ws_market_book_msg.json", "recorded_book.json"])
def test_public_book_payloads(name: str) -> None:
    body: dict[str, Any] = json.loads(shared_fixture(name))
    event = only(json.dumps({"event_type": "book", **body}))
    assert isinstance(event, BookEvent)
    assert len(event.bids) == len(body["bids"])
    assert len(event.asks) == len(body["asks"])
    assert max(price for price, _ in event.bids) < min(price for price, _ in event.asks)


def test_other_public_payloads() -> None:
    trade = only(shared_fixture("recorded_last_trade_price.json"))
    assert isinstance(trade, LastTradeEvent)
    assert (trade.price, trade.size, trade.side) == (491_000, 85_360_000, Side.SELL)
    tick = only(shared_fixture("ws_market_tick_size_msg.json"))
    assert isinstance(tick, TickSizeEvent)
    assert (tick.old_tick, tick.new_tick) == (100_000, 10_000)
    best = only(shared_fixture("ws_market_best_bid_ask_msg.json"))
    assert isinstance(best, BestBidAskEvent)
    assert (best.best_bid, best.best_ask) == (730_000, 770_000)
    new = only(shared_fixture("ws_market_new_market_msg.json"))
    assert isinstance(new, NewMarketEvent)
    assert (new.outcomes, len(new.token_ids), new.market_id) == (("Yes", "No"), 2, "1031769")
    resolved = only(shared_fixture("ws_market_resolved_msg.json"))
    assert isinstance(resolved, MarketResolvedEvent)
    assert resolved.winning_outcome == "Yes"
    change = only(shared_fixture("ws_market_price_change_msg.json"))
    assert isinstance(change, PriceChangeEvent)
    assert change.changes[0].best_ask == 520_000


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
