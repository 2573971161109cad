"""The bounded view a place takes along, which books are followed, and marks once a second."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.effects import Now
from common.messages import (
    BookDepth,
    BookView,
    CancelOrder,
    Judged,
    Level,
    Mark,
    Marked,
    MarketListed,
    Message,
    PlaceOrder,
    ReplaceOrder,
    encode,
)
from common.types import FeedState, OrderType, Side, TimeInForce
from services.executor.sight import ASKED_MAX, LEVELS_MAX, MARK_NS, OWNER, SILENT_MS, DepthSight
from services.executor.slippage import walk, within
from tests.services.executor.driver import CLOSED, DOWN, FEED, MARKET, MS, UP, Driver

BUY, SELL = Side.BUY, Side.SELL
TEN = 10_000_000
NOW = Now(1_000 * MARK_NS, 500 * MARK_NS)


def depth(
    bids: list[Level], asks: list[Level], *, token_id: str = UP, whole: bool = True, state: FeedState = FeedState.LIVE
) -> BookDepth:
    return BookDepth(token_id, bids, asks, whole, whole, MARKET.tick, state, "", 3, 7, 1, 2)


class Looking:
    def __init__(self, driver: Driver | None = None, tokens_max: int = 100) -> None:
        self.driver = driver or Driver()
        self.sight = DepthSight(self.driver.core, tokens_max)
        self.ago_ms = 10
        self.now = NOW

    def heard(self, owner: str) -> int:
        assert owner == OWNER
        return self.now.mono_ns - self.ago_ms * MS

    def see(self, book: BookDepth) -> None:
        self.sight.follows()
        self.sight.observe(f"depth.{book.token_id}", msgspec.Raw(encode(book)))

    def attach(self, message: Message) -> Message:
        return self.sight.attach(message, self.now, self.heard)

    def view(self, side: Side, limit: int, token_id: str = UP) -> BookView:
        found = self.sight.view(token_id, side, limit, self.now, self.heard(OWNER))
        assert found is not None
        return found

    def beat(self) -> Message | None:
        return self.sight.beat(self.now, self.heard)

    def later(self, ms: int) -> None:
        self.now = Now(self.now.wall_ns + ms * MS, self.now.mono_ns + ms * MS)


def place(outcome: str = "Up", side: Side = BUY, price: int = 520_000, *, market: str = "btc-up") -> PlaceOrder:
    return PlaceOrder(
        "c", "default", "", "", market, outcome, side, OrderType.LIMIT, TimeInForce.GTC, False, price, TEN
    )


def judged(message: Message) -> Judged:
    assert isinstance(message, Judged), message
    return message


# --- the view ---

BIDS = [(500_000, 1), (490_000, 2), (480_000, 3), (470_000, 4)]
ASKS = [(510_000, 5), (520_000, 6), (530_000, 7), (540_000, 8)]


@pytest.mark.parametrize(
    ("side", "limit", "bids", "asks"),
    [
        (BUY, 520_000, BIDS[:1], ASKS[:3]),
        (BUY, 515_000, BIDS[:1], ASKS[:2]),
        (BUY, 500_000, BIDS[:1], ASKS[:1]),
        (BUY, 0, BIDS[:1], ASKS),
        (SELL, 490_000, BIDS[:3], ASKS[:1]),
        (SELL, 510_000, BIDS[:1], ASKS[:1]),
        (SELL, 0, BIDS, ASKS[:1]),
    ],
)
def test_one_side_goes_along_up_to_its_limit_and_one_level_beyond(
    side: Side, limit: int, bids: list[Level], asks: list[Level]
) -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS))

    found = looking.view(side, limit)

    assert (found.bids, found.asks) == (bids, asks)
    assert found.whole_bids is (len(bids) == len(BIDS))
    assert found.whole_asks is (len(asks) == len(ASKS))
    assert (found.epoch, found.seq, found.tick, found.age_ms) == (3, 7, MARKET.tick, 10)


def test_a_side_that_was_cut_before_is_never_called_whole() -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS, whole=False))

    assert looking.view(BUY, 0).whole_asks is False


@hypothesis_settings(deadline=None)
@given(
    side=st.sampled_from([BUY, SELL]),
    limit=st.integers(0, 99).map(lambda ticks: ticks * 10_000),
    prices=st.lists(st.integers(1, 99).map(lambda ticks: ticks * 10_000), unique=True, max_size=60),
    size=st.integers(1, 100).map(lambda shares: shares * TEN),
    whole=st.booleans(),
)
def test_the_bounded_view_answers_a_walk_as_the_whole_frame_would(
    side: Side, limit: int, prices: list[int], size: int, *, whole: bool
) -> None:
    """Or says that it was cut: it never shows less liquidity as if that were all."""
    levels = [(price, TEN) for price in sorted(prices, reverse=side is SELL)]
    book = depth([], levels, whole=whole) if side is BUY else depth(levels, [], whole=whole)
    looking = Looking()
    looking.see(book)
    every = BookView(UP, book.bids, book.asks, whole, whole, MARKET.tick, FeedState.LIVE, "", 1, 1, 0)

    found = looking.view(side, limit)
    taken = found.asks if side is BUY else found.bids

    assert len(taken) <= LEVELS_MAX
    assert sum(not within(side, price, limit) for price, _ in taken) <= 1
    seen, truth = (walk(side, shown, MARKET, limit, size=size) for shown in (found, every))
    assert seen == truth or (seen.truncated and len(taken) == LEVELS_MAX)


@pytest.mark.parametrize(("ago_ms", "state"), [(SILENT_MS, FeedState.LIVE), (SILENT_MS + 1, FeedState.STALE)])
def test_a_book_of_a_silent_market_data_is_stale(ago_ms: int, state: FeedState) -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS))
    looking.ago_ms = ago_ms

    found = looking.view(BUY, 520_000)

    assert (found.state, found.age_ms) == (state, ago_ms)
    assert (f"{ago_ms} ms" in found.reason) is (state is FeedState.STALE)


def test_a_book_that_is_not_live_stays_so_with_its_reason() -> None:
    looking = Looking()
    looking.see(msgspec.structs.replace(depth(BIDS, ASKS, state=FeedState.STALE), reason="cut"))

    assert (looking.view(BUY, 0).state, looking.view(BUY, 0).reason) == (FeedState.STALE, "cut")


# --- what is attached to ---


def test_a_place_takes_the_view_of_its_own_token_along() -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS))
    looking.see(depth([(100_000, 1)], [], token_id=DOWN))

    up, down = judged(looking.attach(place())), judged(looking.attach(place("1")))

    assert up.command == place()
    assert up.view is not None
    assert down.view is not None
    assert (up.view.token_id, down.view.token_id) == (UP, DOWN)


def test_a_replace_takes_the_view_of_the_order_it_replaces_along() -> None:
    driver = Driver()
    driver.result(driver.placed("first"))
    looking = Looking(driver)
    looking.see(depth(BIDS, ASKS))

    for name in ("first", "o-1"):
        found = judged(looking.attach(ReplaceOrder("r", "default", name, "", 510_000, TEN)))
        assert found.view is not None
        assert (found.view.token_id, len(found.view.asks)) == (UP, 2)


@pytest.mark.parametrize(
    "message",
    [
        place(market="no-such"),
        place("Sideways"),
        msgspec.structs.replace(place(), account="nobody"),
        ReplaceOrder("r", "default", "o-9", "", 510_000, TEN),
        CancelOrder("k", "default", "o-1"),
    ],
)
def test_what_means_no_token_goes_as_it_is(message: Message) -> None:
    assert Looking().attach(message) is message


def test_a_token_without_a_book_is_followed_from_its_first_order_on() -> None:
    looking = Looking(tokens_max=2)  # room for the listed markets only
    token_id = CLOSED.token_ids[0]
    topic = (OWNER, f"depth.{token_id}")
    assert topic not in looking.sight.follows()

    found = judged(looking.attach(place("Yes", market="btc-over")))

    assert found.view is None
    assert topic in looking.sight.follows()
    looking.see(depth(BIDS, ASKS, token_id=token_id))
    assert judged(looking.attach(place("Yes", market="btc-over"))).view is not None


def test_a_lost_stream_is_no_book_until_the_next_message() -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS))
    looking.sight.observe(f"depth.{UP}", None)
    assert judged(looking.attach(place())).view is None

    looking.see(depth(BIDS, ASKS))
    assert judged(looking.attach(place())).view is not None


def test_only_the_newest_depth_counts() -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS))
    looking.see(depth(BIDS[1:], ASKS))

    assert looking.view(BUY, 0).bids == BIDS[1:2]


def test_streams_that_are_not_followed_are_not_kept() -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS, token_id="123"))

    assert looking.sight.view("123", BUY, 0, NOW, NOW.mono_ns) is None
    assert looking.sight.reads("depth.123")
    assert not looking.sight.reads("instruments")


# --- following ---


def listed(driver: Driver, count: int) -> None:
    for number in range(count):
        market = msgspec.structs.replace(
            MARKET,
            condition_id=f"0x{number:064x}",
            slug=f"m-{number}",
            token_ids=(str(10_000 + 2 * number), str(10_001 + 2 * number)),
        )
        driver.do(MarketListed(market), FEED)


def test_both_tokens_of_markets_that_accept_orders_are_followed() -> None:
    assert Looking().sight.follows() == {(OWNER, f"depth.{UP}"), (OWNER, f"depth.{DOWN}")}


@pytest.mark.parametrize("tokens_max", [2, 7, 10])
def test_listed_markets_are_followed_as_long_as_there_is_room(tokens_max: int) -> None:
    driver = Driver()
    listed(driver, 50)

    followed = Looking(driver, tokens_max).sight.follows()

    assert tokens_max <= len(followed) <= tokens_max + 1  # markets are followed whole


def test_what_is_held_and_what_was_ordered_is_followed_beyond_the_room() -> None:
    driver = Driver()
    driver.fill(driver.placed())
    listed(driver, 5)
    looking = Looking(driver, tokens_max=1)
    looking.attach(place(market="m-3", outcome="Down"))

    assert looking.sight.follows() == {(OWNER, f"depth.{UP}"), (OWNER, "depth.10007")}


def test_tokens_that_orders_named_are_bounded() -> None:
    driver = Driver()
    listed(driver, ASKED_MAX + 5)
    looking = Looking(driver, tokens_max=0)
    looking.sight.follows()
    for number in range(ASKED_MAX + 5):
        looking.attach(place(market=f"m-{number}"))

    assert len(looking.sight.follows()) == ASKED_MAX


def test_the_plan_is_the_same_object_until_something_changes_it() -> None:
    looking = Looking()
    first = looking.sight.follows()
    assert looking.sight.follows() is first

    looking.driver.do(MarketListed(msgspec.structs.replace(MARKET, accepting=False)), FEED)
    assert looking.sight.follows() == frozenset()


def test_books_are_kept_when_the_plan_changes() -> None:
    looking = Looking()
    looking.see(depth(BIDS, ASKS))
    listed(looking.driver, 3)
    looking.sight.follows()

    assert looking.view(BUY, 0).asks == ASKS


# --- marks ---


def holding_up() -> Looking:
    driver = Driver()
    driver.fill(driver.placed())
    looking = Looking(driver)
    looking.see(depth(BIDS, ASKS))
    return looking


def test_what_is_held_is_marked_once_a_second_when_it_changed() -> None:
    looking = holding_up()

    assert looking.beat() == Marked([Mark(UP, 500_000, 510_000)])
    looking.see(depth(BIDS[1:], ASKS))
    looking.later(999)
    assert looking.beat() is None
    looking.later(1)
    assert looking.beat() == Marked([Mark(UP, 490_000, 510_000)])
    looking.later(1_000)
    assert looking.beat() is None  # the same again says nothing


def test_a_new_day_is_marked_even_if_nothing_moved() -> None:
    looking = holding_up()
    looking.beat()
    looking.later(24 * 3_600_000)

    assert looking.beat() == Marked([Mark(UP, 500_000, 510_000)])


def test_without_holdings_only_the_day_is_marked() -> None:
    empty = Looking()
    empty.see(depth(BIDS, ASKS))
    assert empty.beat() == Marked([])
    empty.later(1_000)
    assert empty.beat() is None
    empty.later(24 * 3_600_000)
    assert empty.beat() == Marked([])


def test_nothing_is_marked_while_market_data_is_silent() -> None:
    looking = holding_up()
    looking.ago_ms = SILENT_MS + 1
    assert looking.beat() is None


def test_a_book_that_is_not_live_keeps_its_last_mark() -> None:
    looking = holding_up()
    driver = looking.driver
    driver.fill(driver.placed(outcome="Down"), token_id=DOWN, trade_id="t-2")
    looking.see(depth([], [(600_000, 1)], token_id=DOWN))
    assert looking.beat() == Marked([Mark(DOWN, 0, 600_000), Mark(UP, 500_000, 510_000)])

    looking.see(depth(BIDS[2:], ASKS, state=FeedState.STALE))
    looking.see(depth([], [], token_id=DOWN))
    looking.later(1_000)

    assert looking.beat() == Marked([Mark(DOWN, 0, 0), Mark(UP, 500_000, 510_000)])
