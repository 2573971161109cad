"""What the user channel's frames and losses become for the executor."""

from __future__ import annotations

import json

import pytest

from common.messages import Message, UserFeedChanged, VenueFill, VenueOrderChanged
from common.types import FeedState, Settlement, Side
from services.user_data.core import UserFeed

KEY = "our-key"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
OTHER = "0x" + "ab" * 20
TOKEN = str(2**255 + 1)

ORDER: dict[str, object] = {
    "event_type": "order",
    "type": "UPDATE",
    "id": "0x12",
    "owner": KEY,
    "market": "0xc",
    "asset_id": TOKEN,
    "side": "BUY",
    "price": "0.45",
    "original_size": "100",
    "size_matched": "10",
    "status": "LIVE",
    "maker_address": ADDRESS,
    "timestamp": "1790000000456",
}
TRADE: dict[str, object] = {
    "event_type": "trade",
    "type": "TRADE",
    "id": "t1",
    "taker_order_id": "0x34",
    "market": "0xc",
    "asset_id": TOKEN,
    "side": "SELL",
    "size": "10",
    "price": "0.45",
    "status": "MATCHED",
    "match_time": "1790000000",
    "owner": "taker",
    "trade_owner": KEY,
    "maker_address": OTHER,
    "trader_side": "MAKER",
    "maker_orders": [
        {
            "order_id": "0x12",
            "owner": KEY,
            "maker_address": ADDRESS,
            "matched_amount": "4",
            "price": "0.45",
            "asset_id": TOKEN,
            "side": "BUY",
        },
        {
            "order_id": "0x99",
            "owner": "x",
            "maker_address": OTHER,
            "matched_amount": "6",
            "price": "0.45",
            "asset_id": TOKEN,
            "side": "BUY",
        },
    ],
}


def feed() -> UserFeed:
    return UserFeed("main", KEY, frozenset({ADDRESS.lower()}))


def live_feed() -> UserFeed:
    live = feed()
    live.on_opened(1)
    live.on_heard(2)
    return live


def frame(*events: dict[str, object]) -> bytes:
    return json.dumps(events).encode()


def states(messages: list[Message]) -> list[tuple[FeedState, str]]:
    return [(m.state, m.reason) for m in messages if isinstance(m, UserFeedChanged)]


def test_a_feed_is_live_after_the_first_pong_and_says_so_once() -> None:
    fresh = feed()
    assert states(fresh.on_opened(1)) == [(FeedState.CONNECTING, "subscribing")]
    assert states(fresh.on_heard(2)) == [(FeedState.LIVE, "")]
    assert fresh.on_heard(3) == []


def test_a_first_frame_makes_a_feed_live_before_its_events() -> None:
    fresh = feed()
    fresh.on_opened(1)
    first, second = fresh.on_frame(frame(ORDER), 2)
    assert isinstance(first, UserFeedChanged)
    assert first.state is FeedState.LIVE
    assert isinstance(second, VenueOrderChanged)


@pytest.mark.parametrize("state", [FeedState.STALE, FeedState.CLOSED])
def test_a_loss_is_told_at_once_and_the_way_back_in_full(state: FeedState) -> None:
    live = live_feed()
    assert states(live.on_lost(state, "why", 5)) == [(state, "why")]
    assert states(live.on_opened(6)) == [(FeedState.CONNECTING, "subscribing")]
    assert states(live.on_heard(7)) == [(FeedState.LIVE, "")]


def test_failing_to_connect_again_for_the_same_reason_is_told_once() -> None:
    lost = live_feed()
    lost.on_lost(FeedState.CLOSED, "refused", 5)
    assert lost.on_lost(FeedState.CLOSED, "refused", 6) == []


@pytest.mark.parametrize("is_live", [True, False])
def test_a_new_reader_is_told_a_loss_and_then_the_present_state(is_live: bool) -> None:
    known = live_feed() if is_live else feed()
    told = states(known.on_reader_restarted(9, "the reader restarted"))
    assert told[0] == (FeedState.CONNECTING, "the reader restarted")
    assert told[1:] == ([(FeedState.LIVE, "")] if is_live else [])


def test_an_order_event_becomes_one_message_with_exact_numbers() -> None:
    (message,) = live_feed().on_frame(frame(ORDER), 5)
    assert message == VenueOrderChanged(
        "polymarket", "main", "0x12", "UPDATE", "LIVE", "LIVE", 10_000_000, 1_790_000_000_456_000_000
    )


def test_a_killed_order_with_empty_strings_is_not_lost() -> None:
    text = "CANCELED_order couldn't be fully filled."
    killed = ORDER | {"type": "CANCELLATION", "status": text, "size_matched": "", "outcome": "", "created_at": ""}
    (message,) = live_feed().on_frame(frame(killed), 5)
    assert isinstance(message, VenueOrderChanged)
    assert (message.kind, message.status, message.text) == ("CANCELLATION", "CANCELED_OTHER", text)


def test_only_our_legs_of_a_trade_leave() -> None:
    (fill,) = live_feed().on_frame(frame(TRADE), 5)
    assert isinstance(fill, VenueFill)
    assert (fill.trade_id, fill.venue_order_id, fill.side, fill.size) == ("t1", "0x12", Side.BUY, 4_000_000)
    assert (fill.cash, fill.is_taker, fill.settlement) == (1_800_000, False, Settlement.MATCHED)


def test_events_of_others_are_counted_and_not_passed_on() -> None:
    live = live_feed()
    foreign = ORDER | {"owner": "x", "maker_address": OTHER}
    assert live.on_frame(frame(foreign, TRADE | {"maker_orders": [], "trade_owner": "x"}), 5) == []
    assert live.counters["events_of_others"] == 2


def test_the_order_of_a_frame_is_kept() -> None:
    kinds = [type(message) for message in live_feed().on_frame(frame(TRADE, ORDER, TRADE), 5)]
    assert kinds == [VenueFill, VenueOrderChanged, VenueFill]


@pytest.mark.parametrize("raw", [b"<html>", frame({"event_type": "trade", "id": "t1"}), frame(ORDER | {"price": "x"})])
def test_what_cannot_be_read_makes_the_executor_catch_up(raw: bytes) -> None:
    """It may have been a fill, so trust is lost and found again, which is what starts a catch-up."""
    told = states(live_feed().on_frame(raw, 5))
    assert [state for state, _ in told] == [FeedState.SUSPECT, FeedState.LIVE]


@pytest.mark.parametrize("raw", [b"[]", b"PONG", frame({"event_type": "brand_new"})])
def test_frames_that_mean_nothing_say_nothing(raw: bytes) -> None:
    assert live_feed().on_frame(raw, 5) == []
