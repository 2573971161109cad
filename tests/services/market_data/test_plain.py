"""Books of venues that prove continuity by themselves: versions, states, what is published."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from common.effects import Publish
from common.messages import BookDelta, BookDepth, BookSnapshot, BookTop, GetBook, GetMarkets, Level, MarketListed
from common.types import FeedState
from services.market_data.effects import Effect
from services.market_data.plain import CROSSED, Levels, PlainBoard
from tests.services.market_data.markets import CENT, EPOCH, RULES, SHARE, at, bodies, market, states

BTC = "binance:BTC-USDT"
SPOT = market(
    1, venue="binance", condition_id=BTC, slug=BTC, outcomes=("BTC",), token_ids=(BTC,), kind="spot", tick=CENT,
    price_max=10**12,
)  # fmt: skip


def board() -> PlainBoard:
    made = PlainBoard(RULES, EPOCH)
    made.listed(SPOT, at(0))
    return made


def levels(bids: Sequence[Level], asks: Sequence[Level], at_ms: int = 1) -> Levels:
    return Levels(BTC, bids, asks, at(at_ms).wall_ns)


BID, ASK = (64_000 * 10**6, SHARE), (64_001 * 10**6, 2 * SHARE)


def live() -> PlainBoard:
    made = board()
    made.feeds.begin([BTC], at(0))
    made.feeds.whole(levels([BID], [ASK]), at(1))
    made.flush(at(1))
    made.on_time(at(1))
    return made


def book(made: PlainBoard) -> BookSnapshot:
    return made.book_report(GetBook("r", BTC)).book


def versions(effects: list[Effect]) -> list[tuple[int, int]]:
    said = bodies(effects, f"book.{BTC}")
    return [(body.epoch, body.seq) for body in said if isinstance(body, BookDelta | BookSnapshot)]


def test_a_whole_book_makes_a_token_live_in_a_new_epoch() -> None:
    made = board()
    made.feeds.begin([BTC], at(0))
    made.feeds.whole(levels([BID], [ASK]), at(1))
    effects = made.flush(at(1))
    assert [state for state, _ in states(effects, BTC)] == [FeedState.SYNCING, FeedState.LIVE]
    snapshot = book(made)
    assert (snapshot.bids, snapshot.asks, snapshot.epoch, snapshot.seq) == ([BID], [ASK], EPOCH + 1, 1)
    (top,) = bodies(effects, f"top.{BTC}")
    assert isinstance(top, BookTop)
    assert (top.bid, top.ask) == (BID[0], ASK[0])
    (depth,) = bodies(made.on_time(at(100)), f"depth.{BTC}")
    assert isinstance(depth, BookDepth)
    assert (depth.bids, depth.whole_bids) == ([BID], True)


def test_changes_of_one_turn_are_one_delta_of_the_next_version() -> None:
    made = live()
    better = (BID[0] + CENT, SHARE)
    assert made.feeds.changed(levels([better], []), at(2))
    assert made.feeds.changed(levels([(BID[0], 0)], []), at(2))
    (delta,) = bodies(made.flush(at(2)), f"book.{BTC}")
    assert isinstance(delta, BookDelta)
    assert (delta.epoch, delta.seq, dict(delta.bids)) == (EPOCH + 1, 2, {better[0]: SHARE, BID[0]: 0})
    assert book(made).bids == [better]


def test_another_whole_book_is_told_as_changes_and_the_same_one_as_a_confirmation() -> None:
    made = live()
    made.feeds.whole(levels([BID], [ASK], 2), at(2))
    (same,) = bodies(made.flush(at(2)), f"book.{BTC}")
    assert isinstance(same, BookDelta)
    assert (same.seq, same.bids, same.asks) == (2, [], [])
    assert book(made).confirmed_ns == at(2).wall_ns
    made.feeds.whole(levels([BID], [(ASK[0], SHARE)], 3), at(3))
    (changed,) = bodies(made.flush(at(3)), f"book.{BTC}")
    assert isinstance(changed, BookDelta)
    assert (changed.seq, changed.asks) == (3, [(ASK[0], SHARE)])


def test_a_loss_ends_trust_and_the_next_whole_book_begins_an_epoch() -> None:
    made = live()
    made.feeds.lost("cut", at(2))
    effects = made.flush(at(2))
    assert states(effects, BTC) == [(FeedState.CONNECTING, "cut")]
    (top,) = bodies(effects, f"top.{BTC}")
    assert isinstance(top, BookTop)
    assert (top.bid, top.state) == (0, FeedState.CONNECTING)
    assert not made.feeds.changed(levels([BID], []), at(3)), "a change behind a loss belongs to no book"
    made.feeds.whole(levels([BID], []), at(4))
    assert versions(made.flush(at(4)))[-1] == (EPOCH + 2, 1)


def test_a_crossed_book_is_suspect_until_a_whole_one_comes() -> None:
    made = live()
    assert not made.feeds.changed(levels([(ASK[0], SHARE)], []), at(2))
    assert states(made.flush(at(2)), BTC) == [(FeedState.SUSPECT, CROSSED)]
    made.feeds.whole(levels([ASK], [BID]), at(3))
    assert book(made).state is FeedState.SUSPECT
    made.feeds.whole(levels([BID], [ASK]), at(3))
    assert book(made).state is FeedState.LIVE


def test_an_instrument_of_one_token_is_answered_with_one_top() -> None:
    made = live()
    (view,) = made.report(GetMarkets("r", "btc")).markets
    assert (view.best_bids, view.best_asks, view.state) == ((BID[0], 0), (ASK[0], 0), FeedState.LIVE)
    assert made.book_report(GetBook("r", BTC)).outcome == "BTC"


def test_markets_above_the_limit_and_closed_ones_nobody_knew_are_left_out() -> None:
    made = PlainBoard(RULES, EPOCH)
    for number in range(RULES.markets_max + 2):
        made.listed(market(number), at(0))
    assert len(made.markets) == RULES.markets_max
    assert made.counters["markets_above_the_limit"] == 2
    assert made.listed(market(99, accepting=False), at(0)) == []
    made.feeds.whole(Levels("99001", [], [], 1), at(0))
    assert made.counters["events_of_unknown_tokens"] == 1


def test_a_market_that_closes_closes_its_books() -> None:
    made = live()
    effects = made.listed(msgspec.structs.replace(SPOT, accepting=False), at(2))
    assert states(effects, BTC) == [(FeedState.CLOSED, "the market closed")]
    assert any(isinstance(e.body, MarketListed) for e in effects if isinstance(e, Publish))
    made.feeds.whole(levels([BID], [ASK]), at(3))
    assert book(made).state is FeedState.CLOSED


def test_a_new_tick_voids_the_levels_until_a_whole_book() -> None:
    made = live()
    effects = made.listed(msgspec.structs.replace(SPOT, tick=1000), at(2))
    assert states(effects, BTC) == [(FeedState.SYNCING, "the tick changed")]
    assert (book(made).bids, book(made).tick) == ([], 1000)
    made.feeds.whole(levels([BID], [ASK]), at(3))
    assert book(made).state is FeedState.LIVE
