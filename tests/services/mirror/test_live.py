"""Paper mode against the real exchange core: books equal the live ones, local orders have their place in the queue."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import Deposit, OpenMarket, QuoteLadder, Refused, SetTick, SubmitOrder
from common.reasons import Reason
from common.types import ONE, FeedState, TimeInForce
from services.mirror.live import HITS_MAX, LIQUIDITY, LiveMarket
from tests.services.mirror.paper_venue import (
    BUY,
    CENT,
    MARKET,
    MS,
    RULES,
    SELL,
    WINDOW_NS,
    WITHDRAW_NS,
    Paper,
)

BID, ASK = 46 * CENT, 48 * CENT
HUNDRED = 100 * ONE


def paper() -> Paper:
    made = Paper()
    made.begin({BID: HUNDRED, 45 * CENT: 50 * ONE}, {ASK: HUNDRED, 49 * CENT: 50 * ONE})
    return made


def test_the_exchange_shows_the_live_book_under_the_venues_own_ids() -> None:
    venue = paper()
    assert venue.mirrored() == venue.live
    opened = next(command for command in venue.said if isinstance(command, OpenMarket))
    assert opened.market == MARKET
    assert venue.settle() == []


def test_nothing_is_said_of_a_market_before_its_first_live_book() -> None:
    venue = Paper()
    venue.wait(10 * WITHDRAW_NS)
    venue.show(FeedState.SYNCING)
    venue.wait()
    assert venue.said == []


def test_every_change_of_the_live_book_is_followed() -> None:
    venue = paper()
    for price, size in ((BID, 70), (BID, 130), (47 * CENT, 5), (BID, 0), (44 * CENT, 9)):
        venue.level(BUY, price, size * ONE)
        venue.show()
        venue.settle()
        assert venue.mirrored() == venue.live


# --- prints and queue positions ---


def print_first(venue: Paper, size: int) -> None:
    venue.print_(SELL, BID, size)
    venue.settle()
    venue.level(BUY, BID, venue.live[BUY][BID] - size)
    venue.show()
    venue.settle()


def change_first(venue: Paper, size: int) -> None:
    venue.level(BUY, BID, venue.live[BUY][BID] - size)
    venue.show()
    venue.settle()
    traded_ns = venue.now_ns
    venue.now_ns += 20 * MS
    venue.print_(SELL, BID, size, at=traded_ns)
    venue.settle()


def both_before_anything_is_sent(venue: Paper, size: int) -> None:
    venue.level(BUY, BID, venue.live[BUY][BID] - size)
    venue.show()
    venue.print_(SELL, BID, size)
    venue.settle()


Traded = Callable[[Paper, int], None]
ORDERS = [print_first, change_first, both_before_anything_is_sent]


@pytest.mark.parametrize("trade", ORDERS)
def test_a_local_order_in_front_is_hit_by_a_print_and_the_rest_of_it_goes_on(trade: Traded) -> None:
    venue = Paper()
    venue.begin({45 * CENT: HUNDRED}, {ASK: HUNDRED})
    mine = venue.place("ann", BUY, BID, 10 * ONE)
    venue.level(BUY, BID, HUNDRED)
    venue.show()
    venue.settle()
    behind = venue.place("bob", BUY, BID, 5 * ONE)

    trade(venue, 30 * ONE)
    venue.wait()

    assert venue.filled(mine) == 10 * ONE
    assert venue.filled(behind) == 0
    assert venue.queue(BUY, BID) == [(LIQUIDITY, 70 * ONE), ("bob", 5 * ONE)]
    assert venue.mirrored() == venue.live


@pytest.mark.parametrize("trade", ORDERS)
def test_a_print_smaller_than_the_order_in_front_fills_it_in_part(trade: Traded) -> None:
    venue = Paper()
    venue.begin({}, {ASK: HUNDRED})
    mine = venue.place("ann", BUY, BID, 10 * ONE)
    venue.level(BUY, BID, HUNDRED)
    venue.show()
    venue.settle()
    trade(venue, 4 * ONE)
    venue.wait()
    assert venue.filled(mine) == 4 * ONE
    assert venue.mirrored() == venue.live


@pytest.mark.parametrize("trade", ORDERS)
def test_an_order_behind_is_hit_only_when_everything_in_front_of_it_traded(trade: Traded) -> None:
    venue = paper()
    mine = venue.place("ann", BUY, BID, 10 * ONE)
    trade(venue, 60 * ONE)
    venue.wait()
    assert venue.queue(BUY, BID) == [(LIQUIDITY, 40 * ONE), ("ann", 10 * ONE)]
    venue.level(BUY, BID, 65 * ONE)  # 25 queue up behind us
    venue.show()
    venue.settle()
    assert venue.queue(BUY, BID) == [(LIQUIDITY, 40 * ONE), ("ann", 10 * ONE), (LIQUIDITY, 25 * ONE)]
    trade(venue, 46 * ONE)
    venue.wait()
    assert venue.filled(mine) == 6 * ONE
    assert venue.mirrored() == venue.live
    assert venue.queue(BUY, BID) == [("ann", 4 * ONE), (LIQUIDITY, 19 * ONE)]


def test_what_was_cancelled_leaves_from_the_back_once_no_print_came_for_it() -> None:
    venue = paper()
    venue.place("ann", BUY, BID, 10 * ONE)
    venue.level(BUY, BID, 130 * ONE)
    venue.show()
    venue.settle()
    venue.level(BUY, BID, 90 * ONE)
    venue.show()
    venue.settle()
    assert venue.mirrored()[BUY][BID] == 130 * ONE  # it may have traded
    venue.wait()
    assert venue.queue(BUY, BID) == [(LIQUIDITY, 90 * ONE), ("ann", 10 * ONE)]
    assert venue.hits() == []


def test_a_level_behind_a_better_one_cannot_have_traded_so_it_shrinks_at_once() -> None:
    venue = paper()
    venue.place("ann", BUY, 45 * CENT, 10 * ONE)
    venue.level(BUY, 45 * CENT, 20 * ONE)
    venue.show()
    venue.settle()
    assert venue.mirrored() == venue.live


def test_without_local_orders_nothing_waits_and_no_print_is_sent() -> None:
    venue = paper()
    change_first(venue, 30 * ONE)
    assert venue.mirrored() == venue.live
    print_first(venue, 30 * ONE)
    assert venue.mirrored() == venue.live
    assert venue.hits() == []


def test_an_order_placed_between_a_trade_and_its_print_is_behind_that_trade() -> None:
    venue = paper()
    venue.level(BUY, BID, 70 * ONE)
    venue.show()
    venue.settle()
    mine = venue.place("ann", BUY, BID, 10 * ONE)
    venue.print_(SELL, BID, 30 * ONE)
    venue.settle()
    assert venue.filled(mine) == 0
    assert venue.queue(BUY, BID) == [(LIQUIDITY, 70 * ONE), ("ann", 10 * ONE)]


def test_a_print_is_not_mistaken_for_what_was_cancelled_before_it() -> None:
    """The cancels came without local orders there; then one joins in front, and a trade follows within the window."""
    venue = paper()
    venue.level(BUY, BID, 0)
    venue.show()
    venue.settle()
    venue.now_ns += 10 * MS
    mine = venue.place("ann", BUY, BID, 10 * ONE)
    venue.level(BUY, BID, HUNDRED)
    venue.show()
    venue.settle()
    venue.now_ns += 10 * MS
    print_first(venue, 8 * ONE)
    assert venue.filled(mine) == 8 * ONE


def test_a_print_is_shown_before_the_book_says_so() -> None:
    venue = paper()
    venue.print_(SELL, BID, 30 * ONE)
    venue.settle()
    assert venue.mirrored()[BUY][BID] == 70 * ONE


def test_what_was_added_while_it_traded_comes_back_when_the_window_is_over() -> None:
    """A trade of 30 and a new order of 30 in one version: the book did not move."""
    venue = paper()
    mine = venue.place("ann", BUY, BID, 10 * ONE)
    venue.print_(SELL, BID, 30 * ONE)
    venue.settle()
    assert venue.mirrored()[BUY][BID] == 70 * ONE
    venue.wait()
    assert venue.mirrored() == venue.live
    assert venue.queue(BUY, BID) == [(LIQUIDITY, 70 * ONE), ("ann", 10 * ONE), (LIQUIDITY, 30 * ONE)]
    assert venue.filled(mine) == 0


def test_a_sweep_over_two_levels_hits_the_local_order_of_the_second() -> None:
    """The first level's print reaches nobody local: it must not be eaten by what the ladder still shows of it."""
    venue = paper()
    venue.place("bob", BUY, 45 * CENT, 5 * ONE)
    venue.level(BUY, 45 * CENT, 0)
    venue.show()
    venue.settle()
    assert venue.queue(BUY, 45 * CENT) == [("bob", 5 * ONE)]
    venue.level(BUY, 45 * CENT, 50 * ONE)
    venue.show()
    venue.settle()
    venue.print_(SELL, BID, HUNDRED)
    venue.print_(SELL, 45 * CENT, 20 * ONE)
    venue.level(BUY, BID, 0)
    venue.level(BUY, 45 * CENT, 30 * ONE)
    venue.show()
    venue.settle()
    venue.wait()
    assert venue.queue(BUY, 45 * CENT) == [(LIQUIDITY, 30 * ONE)]
    assert venue.mirrored() == venue.live


@pytest.mark.parametrize(("under", "taker", "price"), [(0, BUY, ASK), (1, SELL, ONE - ASK)])
def test_a_print_under_either_token_hits_asks(under: int, taker: str, price: int) -> None:
    venue = Paper()
    venue.begin({BID: HUNDRED}, {49 * CENT: HUNDRED})
    mine = venue.place("ann", BUY, ONE - ASK, 10 * ONE, outcome=1)  # stands as an ask of the first outcome
    assert venue.queue(SELL, ASK) == [("ann", 10 * ONE)]
    venue.print_(BUY if taker == "BUY" else SELL, price, 4 * ONE, under)
    venue.wait()
    assert venue.filled(mine) == 4 * ONE


def test_one_trade_printed_under_both_tokens_happens_once() -> None:
    venue = Paper()
    venue.begin({45 * CENT: HUNDRED}, {ASK: HUNDRED})
    mine = venue.place("ann", BUY, BID, 10 * ONE)
    venue.print_(SELL, BID, 3 * ONE, 0, at=7)
    venue.print_(BUY, ONE - BID, 3 * ONE, 1, at=7)
    venue.settle()
    assert venue.filled(mine) == 3 * ONE
    venue.print_(SELL, BID, 3 * ONE, 0, at=7)  # the second one of that moment
    venue.settle()
    assert venue.filled(mine) == 6 * ONE
    venue.print_(BUY, ONE - BID, 3 * ONE, 1, at=8)  # another moment
    venue.settle()
    assert venue.filled(mine) == 9 * ONE


def test_prints_beyond_the_limit_are_dropped_oldest_first_and_counted() -> None:
    venue = paper()
    venue.place("ann", BUY, BID, 10 * ONE)
    for _ in range(HITS_MAX + 3):
        venue.print_(SELL, BID, 1)
    assert venue.mirror.counters["prints_dropped"] == 3


# --- what local orders take ---


def test_what_a_local_order_took_is_there_again_only_as_the_live_level_grows() -> None:
    venue = paper()
    venue.place("ann", BUY, ASK, 20 * ONE, tif=TimeInForce.FAK)
    venue.settle()
    assert venue.mirrored()[SELL][ASK] == 80 * ONE
    venue.level(SELL, ASK, 110 * ONE)
    venue.show()
    venue.settle()
    assert venue.mirrored()[SELL][ASK] == 90 * ONE
    venue.level(SELL, ASK, 0)
    venue.show()
    venue.settle()
    assert ASK not in venue.mirrored()[SELL]
    venue.level(SELL, ASK, 60 * ONE)
    venue.show()
    venue.settle()
    assert venue.mirrored() == venue.live


def test_a_live_level_that_reaches_a_local_order_fills_it_and_what_it_took_is_gone() -> None:
    venue = paper()
    mine = venue.place("ann", BUY, 47 * CENT, 10 * ONE)
    venue.level(SELL, 47 * CENT, 30 * ONE)
    venue.show()
    venue.settle()
    assert venue.filled(mine) == 10 * ONE
    assert venue.mirrored()[SELL][47 * CENT] == 20 * ONE
    venue.wait()
    assert venue.mirrored()[SELL][47 * CENT] == 20 * ONE


# --- doubt, ends, restarts ---


@pytest.mark.parametrize("state", [FeedState.STALE, FeedState.SUSPECT, FeedState.SYNCING, FeedState.CONNECTING])
def test_a_book_nobody_confirms_is_withdrawn_after_the_bound_and_not_before(state: FeedState) -> None:
    venue = paper()
    venue.show(state)
    venue.now_ns += WITHDRAW_NS - 1
    venue.show(state)
    venue.settle()
    assert venue.mirrored() == venue.live
    assert venue.mirror.due_ns(venue.now_ns) == venue.now_ns + 1
    venue.now_ns += 1
    venue.settle()
    assert venue.mirrored() == {BUY: {}, SELL: {}}
    assert venue.settle() == []
    venue.epoch += 1
    venue.show()
    venue.settle()
    assert venue.mirrored() == venue.live


def test_a_print_counts_while_its_book_is_in_doubt_and_not_once_it_is_withdrawn() -> None:
    venue = paper()
    mine = venue.place("ann", BUY, 47 * CENT, 10 * ONE)
    venue.show(FeedState.SUSPECT)
    venue.print_(SELL, 47 * CENT, 4 * ONE)
    venue.settle()
    assert venue.filled(mine) == 4 * ONE
    venue.wait(WITHDRAW_NS)
    venue.print_(SELL, 47 * CENT, 4 * ONE)
    venue.settle()
    assert venue.filled(mine) == 4 * ONE


def test_a_market_that_takes_no_orders_any_more_is_emptied_at_once() -> None:
    venue = paper()
    venue.place("ann", BUY, BID, 10 * ONE)
    venue.mirror.on_listed(msgspec.structs.replace(MARKET, accepting=False))
    venue.settle()
    assert venue.mirror.is_over
    assert venue.queue(BUY, BID) == [("ann", 10 * ONE)]


def test_a_finer_tick_is_set_before_its_levels_are_shown() -> None:
    venue = paper()
    venue.tick, venue.epoch = CENT // 10, 2
    venue.level(BUY, BID + CENT // 10, 7 * ONE)
    venue.show()
    said = venue.settle()
    assert [type(command) for command in said[:2]] == [SetTick, QuoteLadder]
    assert venue.mirrored() == venue.live


def test_levels_off_the_grid_are_left_out() -> None:
    venue = paper()
    venue.level(BUY, BID + 1, 7 * ONE)
    venue.show()
    venue.settle()
    assert BID + 1 not in venue.mirrored()[BUY]
    assert venue.mirrored()[SELL] == venue.live[SELL]


def reborn(venue: Paper) -> None:
    """kill -9 of the mirror: its successor knows what the exchange's snapshot says."""
    venue.mirror = LiveMarket(MARKET, RULES, "2", venue.now_ns, is_open=True)
    venue.mirror.on_book(venue.book())


def test_a_reborn_mirror_leaves_queues_as_they_are() -> None:
    venue = paper()
    venue.place("ann", BUY, BID, 10 * ONE)
    before = venue.queue(BUY, BID)
    reborn(venue)
    venue.mirror.on_listed(MARKET)
    venue.settle()
    assert venue.queue(BUY, BID) == before  # no book has come yet
    venue.show()
    venue.settle()
    assert venue.queue(BUY, BID) == before
    assert venue.mirrored() == venue.live


def test_a_reborn_mirror_withdraws_what_is_not_confirmed_in_time() -> None:
    venue = paper()
    reborn(venue)
    venue.settle()
    assert venue.mirrored() == venue.live
    venue.wait(WITHDRAW_NS)
    assert venue.mirrored() == {BUY: {}, SELL: {}}
    assert venue.mirror.is_over  # nobody lists it


def test_after_a_gap_in_the_exchanges_stream_one_ladder_makes_everything_known_again() -> None:
    venue = paper()
    venue.hears = False
    venue.place("ann", BUY, ASK, 20 * ONE, tif=TimeInForce.FAK)
    venue.hears = True
    venue.mirror.on_gap()
    venue.mirror.on_book(venue.book())
    assert len(venue.settle()) == 1
    assert venue.mirrored() == venue.live


def test_money_is_deposited_when_a_ladder_or_a_print_needs_it() -> None:
    venue = paper()
    accounts = {command.account for command in venue.said if isinstance(command, Deposit)}
    assert accounts == {LIQUIDITY}
    venue.level(BUY, BID, 10**13)
    venue.place("ann", BUY, BID, 10 * ONE)
    venue.show()
    venue.settle()
    assert venue.mirrored() == venue.live
    print_first(venue, 10**12)
    venue.wait()
    assert venue.mirrored() == venue.live
    assert venue.mirror.counters["prints_refused"] == 0


def test_a_refused_print_is_given_up_and_the_book_is_followed() -> None:
    venue = paper()
    venue.place("ann", BUY, BID, 10 * ONE)
    venue.print_(SELL, BID, 5 * ONE)
    command = venue.mirror.next_command(venue.now_ns)
    assert isinstance(command, SubmitOrder)
    refused = Refused(command.command_id, Reason.OVERLOADED, "no")
    assert venue.mirror.answered(command, refused) is refused
    assert venue.mirror.answered(command, refused) is None  # told once
    venue.wait()
    assert venue.mirror.counters["prints_refused"] > 0
    assert venue.mirrored() == venue.live


def test_no_command_id_is_used_twice() -> None:
    venue = paper()
    venue.place("ann", BUY, BID, 500 * ONE)
    for trade in ORDERS:
        trade(venue, 10 * ONE)
    reborn(venue)
    venue.mirror.on_listed(MARKET)
    venue.show()
    venue.settle()
    ids = [command.command_id for command in venue.said]  # type: ignore[attr-defined]
    assert len(set(ids)) == len(ids)


# --- properties ---

PRICES = st.integers(40, 46).map(lambda cents: cents * CENT)
SIZES = st.integers(1, 60).map(lambda shares: shares * ONE)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.booleans(), PRICES, SIZES),
        st.tuples(st.just("cancel"), st.booleans(), PRICES, SIZES),
        st.tuples(st.just("trade"), st.booleans(), st.integers(0, 2), SIZES),
        st.tuples(st.just("show"), st.booleans(), st.just(0), st.just(0)),
        st.tuples(st.just("time"), st.booleans(), st.just(0), st.integers(1, 300).map(lambda ms: ms * MS)),
        st.tuples(st.just("doubt"), st.booleans(), st.just(0), st.just(0)),
    ),
    max_size=40,
)
LOCALS = st.lists(st.tuples(st.integers(0, 40), st.booleans(), PRICES, st.integers(5, 40)), max_size=8)


def live_event(venue: Paper, event: tuple[str, bool, int, int]) -> None:
    """Bids live at 0.40-0.46, asks at their complements: the live book never crosses."""
    kind, is_bid, price, size = event
    side = BUY if is_bid else SELL
    at = price if is_bid else ONE - price
    match kind:
        case "grow":
            venue.level(side, at, venue.live[side].get(at, 0) + size)
        case "cancel":
            venue.level(side, at, max(0, venue.live[side].get(at, 0) - size))
        case "trade":
            live_trade(venue, is_bid, price, size)
        case "show":
            venue.show()
        case "time":
            venue.now_ns += size
        case "doubt":
            venue.show(FeedState.SUSPECT)
            venue.epoch += 1


def live_trade(venue: Paper, is_bid: bool, order: int, size: int) -> None:
    """A taker sweeps from the best level: one print a level, before, after or without the version that shows it."""
    side = BUY if is_bid else SELL
    prints: list[tuple[int, int]] = []
    for price in sorted(venue.live[side], reverse=is_bid):
        traded = min(size, venue.live[side][price])
        if traded:
            prints.append((price, traded))
            venue.level(side, price, venue.live[side][price] - traded)
            size -= traded
    if order == 1:
        venue.show()
        venue.settle()
    for price, traded in prints:
        venue.print_(SELL if is_bid else BUY, price, traded)
    if order == 0:
        venue.settle()
        venue.show()


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_whatever_happens_the_books_are_equal_again_when_the_window_is_over(
    events: list[tuple[str, bool, int, int]],
) -> None:
    venue = Paper()
    venue.show()
    for event in events:
        live_event(venue, event)
        venue.settle()
    venue.show()
    venue.settle()
    venue.wait()
    if venue.mirror.is_showing or any(venue.live.values()):
        assert venue.mirrored() == venue.live


@settings(max_examples=200, deadline=None)
@given(EVENTS, LOCALS)
def test_with_local_orders_only_what_they_took_is_missing(
    events: list[tuple[str, bool, int, int]], local: list[tuple[int, bool, int, int]]
) -> None:
    venue = Paper()
    venue.begin({45 * CENT: HUNDRED}, {55 * CENT: HUNDRED})
    for position, event in enumerate(events):
        for number, (at, is_bid, price, shares) in enumerate(local):
            if at == position:
                account = "ann" if number % 2 else "bob"
                # also through the middle, into the other side
                outcome = 0 if is_bid else 1
                venue.place(account, BUY, price + 10 * CENT * (number % 2), shares * ONE, outcome=outcome)
                venue.settle()
        live_event(venue, event)
        venue.settle()
    venue.show()
    venue.settle()
    venue.wait()
    mirrored = venue.mirrored()
    for side in (BUY, SELL):
        owed = venue.mirror.book[side].taken
        for price in venue.live[side].keys() | mirrored[side].keys():
            missing = venue.live[side].get(price, 0) - mirrored[side].get(price, 0)
            assert missing == owed.get(price, 0)
            assert missing <= venue.taken.get((side, price), 0) + venue.crossed[side]
    assert venue.mirror.shown.own == mirrored


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(5, 60),
    st.lists(st.tuples(st.integers(1, 30), st.sampled_from(ORDERS), st.integers(0, 30), st.booleans()), max_size=8),
)
def test_a_resting_order_fills_by_exactly_what_traded_beyond_its_place(
    ahead: int, wanted: int, steps: list[tuple[int, Traded, int, bool]]
) -> None:
    """Others stand `ahead` of it; between the trades more join behind it."""
    venue = Paper()
    venue.begin({BID: ahead * ONE} if ahead else {}, {ASK: HUNDRED})
    mine = venue.place("ann", BUY, BID, wanted * ONE)
    printed = 0
    for size, trade, joining, waits in steps:
        venue.level(BUY, BID, venue.live[BUY].get(BID, 0) + (size + joining) * ONE)
        venue.show()
        venue.settle()
        trade(venue, size * ONE)
        printed += size
        venue.wait(WINDOW_NS if waits else 20 * MS)
        assert venue.filled(mine) == max(0, min(wanted, printed - ahead)) * ONE
    venue.wait()
    assert venue.mirrored() == venue.live
