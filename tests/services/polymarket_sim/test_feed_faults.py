"""What the feed's faults do to the frames of one connection: each alone, counted, and nothing when all is well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.types import ONE, Side
from common.venues.polymarket.market import (
    BookEvent,
    LastTradeEvent,
    LevelChange,
    MarketEvent,
    PriceChangeEvent,
    UnknownEvent,
)
from common.venues.polymarket.wire import encode_json
from services.polymarket_sim.faults import FAULTS, TOKEN, FaultSwitch
from services.polymarket_sim.feed_faults import GARBAGE, MEGABYTE, ConnectionFaults

UP, DOWN, OTHER = "1", "2", "3"


def changes(market: str = "0xa", number: int = 0, tokens: tuple[str, ...] = (UP, DOWN)) -> PriceChangeEvent:
    rows = tuple(LevelChange(token, Side.BUY, 400_000, (number + 1) * ONE) for token in tokens)
    return PriceChangeEvent(market, rows, number * 10**6)


def frame(event: MarketEvent) -> bytes:
    assert not isinstance(event, UnknownEvent)
    return encode_json(event.to_wire())


def pass_through(switch: FaultSwitch, events: list[PriceChangeEvent], number: int = 1) -> list[bytes]:
    """The frames that leave on one connection."""
    faults = ConnectionFaults(number)
    return [left for event in events for left in faults.shape(switch, event, frame(event))]


def flow(count: int) -> list[PriceChangeEvent]:
    return [changes(number=number) for number in range(count)]


def switched(name: str, last_connection: int = 0, **parameters: Any) -> FaultSwitch:
    switch = FaultSwitch()
    switch.set(name, True, parameters, last_connection)
    return switch


def test_without_faults_every_frame_leaves_as_it_is() -> None:
    switch, events = FaultSwitch(), flow(20)
    assert not switch.feed_is_faulty
    assert pass_through(switch, events) == list(map(frame, events))


def test_every_nth_frame_is_lost_and_no_other() -> None:
    events = flow(9)
    left = pass_through(switched("drop_market_events", every=3), events)
    assert left == [frame(event) for number, event in enumerate(events, 1) if number % 3]


def test_every_nth_frame_is_sent_twice() -> None:
    events = flow(4)
    first, second, third, fourth = map(frame, events)
    left = pass_through(switched("duplicate_market_events", every=2), events)
    assert left == [first, second, second, third, fourth, fourth]


def test_a_frame_is_overtaken_by_the_next_one_of_its_market() -> None:
    events = [changes("0xa", 0), changes("0xb", 1), changes("0xa", 2)]
    first, elsewhere, next_one = map(frame, events)
    assert pass_through(switched("reorder_market_events", every=1, times=1), events) == [elsewhere, next_one, first]


def test_a_frame_kept_back_still_follows_when_the_fault_is_off_again() -> None:
    switch, connection = switched("reorder_market_events", every=1), ConnectionFaults(1)
    first, second, third = flow(3)
    assert connection.shape(switch, first, frame(first)) == []
    switch.set("reorder_market_events", False, {})
    assert connection.kept, "whoever looks at the flag of the switch alone would forget this frame"
    assert connection.shape(switch, second, frame(second)) == [frame(second), frame(first)]
    assert connection.shape(switch, third, frame(third)) == [frame(third)]
    assert not connection.kept


def test_a_frame_that_is_no_json_takes_the_place_of_an_event() -> None:
    events = flow(2)
    assert pass_through(switched("garbage_frames", every=2), events) == [frame(events[0]), GARBAGE]
    with pytest.raises(ValueError, match=r"utf|JSON|Expecting|decode"):
        json.loads(GARBAGE)


def test_half_a_frame_cannot_be_read() -> None:
    (half,) = pass_through(switched("half_json_frames", every=1), flow(1))
    assert frame(flow(1)[0]).startswith(half)
    with pytest.raises(json.JSONDecodeError):
        json.loads(half)


def test_a_huge_frame_follows_the_event() -> None:
    kept, huge = pass_through(switched("oversized_frames", mb=2, every=1), flow(1))
    assert kept == frame(flow(1)[0])
    assert len(huge) > 2 * MEGABYTE


def test_times_switches_a_fault_off() -> None:
    switch = switched("drop_market_events", every=1, times=2)
    assert len(pass_through(switch, flow(5))) == 3
    assert not switch.is_on("drop_market_events")
    assert not switch.feed_is_faulty


def test_each_connection_counts_for_itself_and_anew_when_the_fault_comes_back() -> None:
    switch = switched("drop_market_events", every=2)
    one, other = ConnectionFaults(1), ConnectionFaults(2)
    event = changes()
    assert one.shape(switch, event, frame(event)) == [frame(event)]
    assert other.shape(switch, event, frame(event)) == [frame(event)]
    switch.set("drop_market_events", False, {})
    switch.set("drop_market_events", True, {"every": 2})
    assert one.shape(switch, event, frame(event)) == [frame(event)]
    assert one.shape(switch, event, frame(event)) == []


# --- a frozen token ---


def test_a_frozen_token_goes_missing_and_its_sibling_does_not() -> None:
    switch = switched("freeze_token", last_connection=1, token=UP)
    (left,) = pass_through(switch, [changes()])
    assert [row["asset_id"] for row in json.loads(left)["price_changes"]] == [DOWN]


def test_of_a_market_that_is_frozen_whole_nothing_leaves() -> None:
    switch = switched("freeze_token", last_connection=1, token=f"{UP},{DOWN}")
    assert pass_through(switch, [changes(), changes(tokens=(OTHER,))]) == [frame(changes(tokens=(OTHER,)))]


@pytest.mark.parametrize(
    "event",
    [BookEvent("0xa", UP, (), (), 0), LastTradeEvent("0xa", UP, 400_000, ONE, Side.BUY, 0)],
)
def test_books_and_trades_of_a_frozen_token_do_not_leave(event: MarketEvent) -> None:
    switch = switched("freeze_token", last_connection=1, token=UP)
    assert ConnectionFaults(1).shape(switch, event, frame(event)) == []


def test_only_what_was_withheld_counts_as_a_strike_of_a_freeze() -> None:
    switch = switched("freeze_token", last_connection=1, token=UP, times=2)
    events = [changes(), changes(tokens=(OTHER,)), changes(tokens=(UP,)), changes(tokens=(UP,))]
    assert pass_through(switch, events)[1:] == [frame(events[1]), frame(events[3])]
    assert switch.struck["freeze_token"] == 2
    assert not switch.is_on("freeze_token")


def test_a_connection_made_afterwards_hears_a_frozen_token_unless_it_is_frozen_everywhere() -> None:
    here, everywhere = (switched("freeze_token", 5, token=UP, everywhere=flag) for flag in (0, 1))
    assert [ConnectionFaults(number).is_frozen(here, UP) for number in (5, 6)] == [True, False]
    assert [ConnectionFaults(number).is_frozen(everywhere, UP) for number in (5, 6)] == [True, True]
    assert ConnectionFaults(6).withholds(everywhere, UP), "its first book as well"


def test_first_books_are_withheld_of_one_token_or_of_all() -> None:
    one, every = switched("withhold_first_book", token=f"{UP},{OTHER}"), switched("withhold_first_book", times=1)
    assert [ConnectionFaults(1).withholds(one, token) for token in (UP, DOWN)] == [True, False]
    assert [ConnectionFaults(1).withholds(every, token) for token in (UP, DOWN)] == [True, False], "once"


# --- together ---

faults = st.lists(
    st.tuples(
        st.sampled_from(["drop_market_events", "duplicate_market_events", "reorder_market_events"]), st.integers(1, 4)
    ),
    max_size=3,
)


@given(faults, st.integers(0, 30))
def test_lost_doubled_and_swapped_frames_are_never_invented(on: list[tuple[str, int]], count: int) -> None:
    switch = FaultSwitch()
    for name, every in on:
        switch.set(name, True, {"every": every})
    events = flow(count)
    left = pass_through(switch, events)
    sent = [frame(event) for event in events]
    assert set(left) <= set(sent)
    names = {name for name, _ in on}
    if "duplicate_market_events" not in names:
        assert len(left) == len(set(left))
    if "drop_market_events" not in names:
        assert len(set(left)) >= len(sent) - 1, "at most one is still kept back"


# --- the switch ---


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_hot_path_is_told_of_every_fault_of_the_feed(name: str) -> None:
    parameters: dict[str, Any] = {TOKEN: UP} if TOKEN in FAULTS[name].parameters else {}
    switch = switched(name, **parameters)
    assert switch.feed_is_faulty == FAULTS[name].feed
    switch.set(name, False, {})
    assert not switch.feed_is_faulty
