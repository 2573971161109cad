"""Books and how far they can be trusted: every event of the channel, gaps, contradictions, refetches, answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from common.book import Book
from common.effects import Now, Publish
from common.errors import Refusal
from common.messages import (
    BookDelta,
    BookSnapshot,
    FeedStatus,
    GetBook,
    GetMarkets,
    MarketListed,
    Message,
    TradePrint,
)
from common.reasons import Reason
from common.types import ONE, FeedState, Side
from common.venues.polymarket.market import (
    BestBidAskEvent,
    BookEvent,
    LastTradeEvent,
    LevelChange,
    MarketResolvedEvent,
    NewMarketEvent,
    UnknownEvent,
)
from common.venues.polymarket.wire import BookObject
from services.market_data import core
from services.market_data.core import Board, Effect, Refetch
from tests.services.market_data.markets import CENT, MS, SHARE, book, change, changes, market, tick_change

UP, DOWN = market().token_ids
S = 1_000_000_000
T0 = Now(10 * S, 10 * S)


def at(seconds: float) -> Now:
    return Now(int((10 + seconds) * S), int((10 + seconds) * S))


def board(*numbers: int) -> Board:
    fresh = Board(markets_max=10)
    fresh.discovered([market(number) for number in numbers or (1,)], 0)
    return fresh


def live_board() -> Board:
    live = board()
    live.on_subscribed([UP, DOWN], T0)
    live.on_event(book(UP), T0)
    return live


def bodies(effects: list[Effect], topic: str) -> list[Message]:
    return [effect.body for effect in effects if isinstance(effect, Publish) and effect.topic == topic]


def fetches(effects: list[Effect]) -> list[str]:
    return [effect.token_id for effect in effects if isinstance(effect, Refetch)]


def state_of(known: Board, token_id: str = UP) -> FeedState:
    (snapshot,) = known.snapshot(f"book.{token_id}", 0)
    assert isinstance(snapshot, BookSnapshot)
    return snapshot.state


def levels_of(known: Board, token_id: str = UP) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    (snapshot,) = known.snapshot(f"book.{token_id}", 0)
    assert isinstance(snapshot, BookSnapshot)
    return snapshot.bids, snapshot.asks


# --- markets ---


def test_a_market_is_listed_once_and_again_when_it_changes() -> None:
    fresh = Board(markets_max=10)
    assert bodies(fresh.discovered([market()], 0), "instruments") == [MarketListed(market())]
    assert fresh.discovered([market()], 0) == []
    assert bodies(fresh.discovered([market(min_size=SHARE)], 0), "instruments") == [
        MarketListed(market(min_size=SHARE))
    ]
    assert fresh.snapshot("instruments", 0) == [MarketListed(market(min_size=SHARE))]


def test_a_closed_market_is_not_followed_but_still_known() -> None:
    known = board(1, 2)
    known.discovered([market(1, accepting=False)], 0)
    assert known.open_tokens() == [market(2).token_ids]
    assert known.book_report(GetBook("r", "market-1")).market.accepting is False


def test_no_more_markets_than_the_limit_are_followed_and_closed_ones_are_forgotten_in_time() -> None:
    full = Board(markets_max=2)
    full.discovered([market(n) for n in range(5)], 0)
    assert [known.slug for known in full.markets] == ["market-0", "market-1"]
    full.discovered([market(n, accepting=False) for n in (0, 1)], 0)
    full.discovered([market(2), market(3)], 0)
    full.discovered([market(2, accepting=False)], 0)
    assert [known.slug for known in full.markets] == ["market-1", "market-2", "market-3"]
    assert full.snapshot("book.0001", 0) == []
    with pytest.raises(Refusal):
        full.book_report(GetBook("r", "market-0"))


def test_a_token_belongs_to_one_market_only() -> None:
    known = board()
    assert known.discovered([market(2, token_ids=(UP, "77"))], 0) == []
    assert known.counters["markets_with_a_taken_token"] == 1


# --- snapshots and deltas ---


def test_a_book_is_live_from_its_first_snapshot() -> None:
    fresh = board()
    assert state_of(fresh) is FeedState.CONNECTING
    fresh.on_subscribed([UP, DOWN], T0)
    assert state_of(fresh) is FeedState.SYNCING
    effects = fresh.on_event(book(UP), T0)
    snapshot = BookSnapshot(
        UP, [(45 * CENT, 10 * SHARE)], [(47 * CENT, 10 * SHARE)], CENT, FeedState.LIVE, 1000 * MS, T0.wall_ns
    )
    assert bodies(effects, f"book.{UP}") == [snapshot]
    assert bodies(effects, "feeds") == [FeedStatus(UP, FeedState.LIVE, "", T0.wall_ns)]
    assert (state_of(fresh, DOWN), fresh.live_books) == (FeedState.SYNCING, 1)


def test_changes_of_one_message_are_one_delta_per_token() -> None:
    live = live_board()
    live.on_event(book(DOWN, 53, 55), T0)
    effects = live.on_event(
        changes(
            change(UP, Side.BUY, 44, 5, (45, 47)),
            change(DOWN, Side.SELL, 56, 5, (53, 55)),
            change(UP, Side.SELL, 47, 0, (45, None)),
        ),
        at(1),
    )
    assert bodies(effects, f"book.{UP}") == [
        BookDelta(UP, [(44 * CENT, 5 * SHARE)], [(47 * CENT, 0)], 2000 * MS, at(1).wall_ns)
    ]
    assert len(bodies(effects, f"book.{DOWN}")) == 1
    assert levels_of(live) == ([(45 * CENT, 10 * SHARE), (44 * CENT, 5 * SHARE)], [])


def test_another_snapshot_of_a_live_book_is_published_as_its_difference() -> None:
    live = live_board()
    assert bodies(live.on_event(book(UP), at(1)), f"book.{UP}") == []
    (delta,) = bodies(live.on_event(book(UP, 46, 47), at(2)), f"book.{UP}")
    assert delta == BookDelta(UP, [(46 * CENT, 10 * SHARE), (45 * CENT, 0)], [], 1000 * MS, at(2).wall_ns)


def test_changes_before_the_first_snapshot_do_nothing() -> None:
    fresh = board()
    fresh.on_subscribed([UP, DOWN], T0)
    assert fresh.on_event(changes(change(UP, Side.BUY, 44, 5)), T0) == []
    fresh.on_event(book(UP), T0)
    assert levels_of(fresh)[0] == [(45 * CENT, 10 * SHARE)]


def test_events_of_unknown_tokens_are_counted() -> None:
    live = live_board()
    for event in (book("9"), changes(change("9", Side.BUY, 1, 1)), tick_change("9", 1000), trade("9")):
        assert live.on_event(event, T0) == []
    assert live.counters["events_of_unknown_tokens"] == 4


# --- contradictions ---

WRONG = "the best prices are not the venue's"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([change(UP, Side.BUY, 44, 5, (46, 47))], WRONG),
        ([change(UP, Side.BUY, 44, 5, (45, 48))], WRONG),
        ([change(UP, Side.SELL, 47, 0, (45, 50))], WRONG),
        ([change(UP, Side.BUY, 44, 5, (0, 47))], WRONG),
        ([change(UP, Side.BUY, 47, 5, (47, 47))], "the book is crossed"),
    ],
)
def test_a_contradiction_makes_a_book_suspect_and_fetches_it(rows: list[LevelChange], reason: str) -> None:
    live = live_board()
    effects = live.on_event(changes(*rows), at(1))
    assert (state_of(live), fetches(effects)) == (FeedState.SUSPECT, [UP])
    assert bodies(effects, "feeds") == [FeedStatus(UP, FeedState.SUSPECT, reason, at(1).wall_ns)]
    last = bodies(effects, f"book.{UP}")[-1]
    assert isinstance(last, BookSnapshot)
    assert last.state is FeedState.SUSPECT


@pytest.mark.parametrize("best", [(45, 47), (None, None), (45, None), (None, 47)])
def test_stated_best_prices_that_agree_or_are_missing_are_fine(best: tuple[int | None, int | None]) -> None:
    live = live_board()
    live.on_event(changes(change(UP, Side.BUY, 44, 5, best)), at(1))
    assert state_of(live) is FeedState.LIVE


@pytest.mark.parametrize("empty_ask", [0, 100])
def test_an_empty_side_may_be_stated_as_nought_or_as_one(empty_ask: int) -> None:
    live = live_board()
    live.on_event(changes(change(UP, Side.SELL, 47, 0, (45, empty_ask))), at(1))
    assert state_of(live) is FeedState.LIVE
    assert levels_of(live)[1] == []


def test_only_the_last_change_of_a_message_states_the_best_prices_after_it() -> None:
    live = live_board()
    live.on_event(changes(change(UP, Side.BUY, 46, 5, (46, 47)), change(UP, Side.BUY, 46, 0, (45, 47))), at(1))
    assert state_of(live) is FeedState.LIVE


def test_a_best_bid_ask_event_is_a_check_as_well() -> None:
    live = live_board()
    assert live.on_event(BestBidAskEvent("0xc1", UP, 45 * CENT, 47 * CENT, 0), at(1)) == []
    assert fetches(live.on_event(BestBidAskEvent("0xc1", UP, 46 * CENT, 47 * CENT, 0), at(1))) == [UP]


def test_a_crossed_snapshot_is_not_trusted() -> None:
    fresh = board()
    fresh.on_subscribed([UP], T0)
    assert fetches(fresh.on_event(book(UP, 50, 50), T0)) == [UP]
    assert state_of(fresh) is FeedState.SUSPECT


def test_an_event_that_cannot_be_read_makes_its_tokens_suspect() -> None:
    live = live_board()
    assert fetches(live.on_event(UnknownEvent("price_change", "broken", (UP, "9")), at(1))) == [UP]
    assert live.on_event(UnknownEvent("brand_new", "", (UP,)), at(1)) == []


def test_a_book_that_keeps_contradicting_itself_is_not_fetched_again_and_again() -> None:
    live = live_board()
    wrong = changes(change(UP, Side.BUY, 44, 5, (46, 47)))
    assert fetches(live.on_event(wrong, at(1))) == [UP]
    live.on_fetched(fetched(), at(1.2))
    assert fetches(live.on_event(wrong, at(1.4))) == []
    assert UP not in fetches(live.overdue(at(5.9)))
    assert UP in fetches(live.overdue(at(6)))


# --- refetches ---


def fetched(bid: int = 40, ask: int = 60, at_ms: int = 5000, tick: int = CENT) -> BookObject:
    return BookObject("0xc1", UP, at_ms, ((bid * CENT, SHARE),), ((ask * CENT, SHARE),), tick_size=tick)


def suspect_board() -> Board:
    suspect = live_board()
    suspect.on_event(changes(change(UP, Side.BUY, 44, 5, (46, 47))), at(1))
    return suspect


def test_a_fetched_book_replaces_a_suspect_one() -> None:
    suspect = suspect_board()
    effects = suspect.on_fetched(fetched(), at(2))
    assert (state_of(suspect), levels_of(suspect)) == (FeedState.LIVE, ([(40 * CENT, SHARE)], [(60 * CENT, SHARE)]))
    assert len(bodies(effects, f"book.{UP}")) == 1


def test_changes_that_came_while_fetching_are_applied_unless_the_fetched_book_is_newer() -> None:
    suspect = suspect_board()
    suspect.on_event(changes(change(UP, Side.BUY, 41, 7), at_ms=4999), at(1.1))
    suspect.on_event(changes(change(UP, Side.BUY, 42, 8), at_ms=5000), at(1.2))
    suspect.on_event(changes(change(UP, Side.SELL, 60, 0), at_ms=5001), at(1.3))
    suspect.on_fetched(fetched(), at(2))
    assert levels_of(suspect) == ([(42 * CENT, 8 * SHARE), (40 * CENT, SHARE)], [])


def test_a_fetched_book_is_not_enough_when_too_many_changes_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "HELD_MAX", 3)
    suspect = suspect_board()
    for price in range(4):
        suspect.on_event(changes(change(UP, Side.BUY, 30 + price, 1), at_ms=6000), at(1.1))
    assert fetches(suspect.on_fetched(fetched(), at(2))) == [UP]
    assert state_of(suspect) is FeedState.SUSPECT
    suspect.on_fetched(fetched(), at(3))
    assert state_of(suspect) is FeedState.LIVE


def test_a_snapshot_on_the_channel_heals_a_book_and_a_late_fetch_is_ignored() -> None:
    suspect = suspect_board()
    suspect.on_event(book(UP), at(1.5))
    assert suspect.on_fetched(fetched(), at(2)) == []
    assert levels_of(suspect)[0] == [(45 * CENT, 10 * SHARE)]


def test_a_snapshot_that_does_not_come_is_fetched() -> None:
    fresh = board()
    fresh.on_subscribed([UP, DOWN], T0)
    fresh.on_event(book(UP), T0)
    assert fresh.overdue(at(4.9)) == []
    assert fetches(fresh.overdue(at(5))) == [DOWN]
    assert fresh.overdue(at(6)) == []


# --- connections ---


def test_a_lost_connection_makes_its_books_connecting_until_their_next_snapshot() -> None:
    live = live_board()
    effects = live.on_lost([UP, DOWN, "9"], FeedState.CONNECTING, "SILENT: x", at(1))
    assert [body.state for body in bodies(effects, "feeds") if isinstance(body, FeedStatus)] == [
        FeedState.CONNECTING
    ] * 2
    assert live.on_event(changes(change(UP, Side.BUY, 44, 5)), at(2)) == []
    assert fetches(live.overdue(at(60))) == []
    live.on_subscribed([UP, DOWN], at(61))
    live.on_event(book(UP, 30, 31), at(62))
    assert (state_of(live), state_of(live, DOWN)) == (FeedState.LIVE, FeedState.SYNCING)
    assert levels_of(live) == ([(30 * CENT, 10 * SHARE)], [(31 * CENT, 10 * SHARE)])


# --- ticks ---


def test_a_tick_change_lists_the_market_again_and_voids_the_book() -> None:
    live = live_board()
    effects = live.on_event(tick_change(UP, 1000), at(1))
    assert bodies(effects, "instruments") == [MarketListed(market(tick=1000))]
    assert (state_of(live), fetches(effects)) == (FeedState.SYNCING, [UP])
    second = live.on_event(tick_change(DOWN, 1000), at(1))
    assert bodies(second, "instruments") == []
    assert live.on_event(changes(change(UP, Side.BUY, 44, 5)), at(1)) == []
    live.on_event(book(UP, tick_size=1000), at(2))
    (snapshot,) = live.snapshot(f"book.{UP}", 0)
    assert isinstance(snapshot, BookSnapshot)
    assert (snapshot.state, snapshot.tick) == (FeedState.LIVE, 1000)


@pytest.mark.parametrize("event", [book(UP, tick_size=1000), None])
def test_a_book_that_states_another_tick_changes_the_market(event: BookEvent | None) -> None:
    known = live_board()
    if event is None:
        known = suspect_board()
        effects = known.on_fetched(fetched(tick=1000), at(2))
    else:
        effects = known.on_event(event, at(2))
    assert bodies(effects, "instruments") == [MarketListed(market(tick=1000))]
    assert state_of(known) is FeedState.LIVE


def test_discovery_that_began_before_a_tick_change_does_not_undo_it() -> None:
    live = live_board()
    live.on_event(tick_change(UP, 1000), at(5))
    assert live.discovered([market(min_size=SHARE)], at(4).mono_ns) == [
        Publish("instruments", MarketListed(market(tick=1000, min_size=SHARE)))
    ]
    live.discovered([market()], at(6).mono_ns)
    assert live.markets == [market()]


def test_a_resolved_market_stops_accepting() -> None:
    live = live_board()
    resolved = MarketResolvedEvent("0xc1", "1", (UP, DOWN), UP, "Up", 0)
    assert bodies(live.on_event(resolved, at(1)), "instruments") == [MarketListed(market(accepting=False))]
    assert live.open_tokens() == []
    assert live.on_event(MarketResolvedEvent("0x?", "1", (), UP, "Up", 0), at(1)) == []
    assert live.on_event(NewMarketEvent("0x?", "1", "q", "s", (), (), 0), at(1)) == []


# --- trades ---


def trade(token_id: str) -> LastTradeEvent:
    return LastTradeEvent("0xc1", token_id, 46 * CENT, 3 * SHARE, Side.BUY, 2000 * MS)


def test_a_trade_is_printed_with_the_takers_side() -> None:
    effects = live_board().on_event(trade(UP), at(1))
    assert effects == [
        Publish(f"trades.{UP}", TradePrint(UP, Side.BUY, 46 * CENT, 3 * SHARE, 2000 * MS, at(1).wall_ns))
    ]


# --- answers ---


def test_two_sided_markets_are_reported_first_with_the_tops_of_both_books() -> None:
    known = board(1, 2)
    tokens = market(2).token_ids
    known.on_event(book(tokens[0], 45, 47), T0)
    known.on_event(book(tokens[1], 53, 55), T0)
    views = known.report(GetMarkets("r")).markets
    assert [view.market.slug for view in views] == ["market-2", "market-1"]
    assert (views[0].best_bids, views[0].best_asks, views[0].state) == (
        (45 * CENT, 53 * CENT),
        (47 * CENT, 55 * CENT),
        FeedState.LIVE,
    )
    assert (views[1].best_bids, views[1].state) == ((0, 0), FeedState.CONNECTING)


def test_a_market_where_only_the_outcomes_together_have_both_sides_is_one_sided() -> None:
    """Near its end nobody bids for the loser: Up has an ask only, and so Down, its mirror image, has a bid only."""
    known = board(1, 2)
    one, two = market(1).token_ids, market(2).token_ids
    known.on_event(replace(book(one[0], 45, 47), bids=()), T0)
    known.on_event(replace(book(one[1], 53, 55), asks=()), T0)
    known.on_event(book(two[0], 45, 47), T0)
    assert [view.market.slug for view in known.report(GetMarkets("r")).markets] == ["market-2", "market-1"]


@pytest.mark.parametrize("query", ["MARKET-2", "number 2", "0xC2", "2001", " market-2 "])
def test_markets_are_found_by_slug_question_or_id(query: str) -> None:
    assert [view.market.slug for view in board(1, 2).report(GetMarkets("r", query)).markets] == ["market-2"]


@pytest.mark.parametrize(
    ("name", "outcome", "token_id"),
    [
        ("market-1", "", UP),
        ("market-1", "down", DOWN),
        ("market-1", "1", DOWN),
        ("0xc1", "Up", UP),
        (DOWN, "", DOWN),
        (DOWN, "Up", UP),
        (f" {UP} ", "", UP),
    ],
)
def test_a_book_is_found_by_slug_condition_or_token(name: str, outcome: str, token_id: str) -> None:
    report = live_board().book_report(GetBook("r", name, outcome))
    assert (report.book.token_id, report.request_id) == (token_id, "r")
    assert report.outcome == market().outcomes[market().token_ids.index(token_id)]


@pytest.mark.parametrize(
    ("name", "outcome", "code", "field"),
    [
        ("nope", "", Reason.UNKNOWN_MARKET, "market"),
        ("", "", Reason.UNKNOWN_MARKET, "market"),
        ("market-1", "Sideways", Reason.UNKNOWN_OUTCOME, "outcome"),
    ],
)
def test_what_is_unknown_is_refused_with_the_field(name: str, outcome: str, code: Reason, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        live_board().book_report(GetBook("r", name, outcome))
    assert (caught.value.code, caught.value.field) == (code, field)


def test_snapshots_of_topics() -> None:
    live = live_board()
    assert [type(message) for message in live.snapshot("feeds", 1)] == [FeedStatus, FeedStatus]
    assert live.snapshot(f"trades.{UP}", 1) == live.snapshot("book.9", 1) == live.snapshot("nonsense", 1) == []


# --- a reader that applies what is published has our book ---

steps = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(Side), st.integers(1, 99), st.integers(0, 3)),
        st.tuples(st.just("book"), st.sampled_from(Side), st.integers(2, 50), st.integers(0, 3)),
        st.tuples(st.just("lost"), st.sampled_from(Side), st.integers(1, 9), st.integers(0, 3)),
        st.tuples(st.just("fetched"), st.sampled_from(Side), st.integers(2, 50), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(steps)
def test_whoever_applies_what_is_published_always_has_the_same_book(script: list[tuple[str, Side, int, int]]) -> None:
    known = board()
    known.on_subscribed([UP, DOWN], T0)
    reader = Book()
    state = FeedState.CONNECTING
    for count, (word, side, price, size) in enumerate(script):
        now = at(count)
        if word == "change":
            effects = known.on_event(changes(change(UP, side, price, size), at_ms=1000 + count), now)
        elif word == "book":
            effects = known.on_event(book(UP, price - 1, price + 1, at_ms=1000 + count), now)
        elif word == "fetched":
            effects = known.on_fetched(fetched(price - 1, price + 1, at_ms=1000 + count), now)
        else:
            effects = known.on_lost([UP], FeedState.CONNECTING, "x", now) + known.on_subscribed([UP], now)
        for body in bodies(effects, f"book.{UP}"):
            if isinstance(body, BookSnapshot):
                reader.replace(body.bids, body.asks)
                state = body.state
            elif isinstance(body, BookDelta):
                reader.apply_all(body.bids, body.asks)
        assert (reader.bids(), reader.asks()) == levels_of(known)
        assert state is state_of(known) or state is FeedState.CONNECTING
        if state_of(known) is FeedState.LIVE:
            assert not reader.is_crossed
            assert reader.best_prices[1] <= ONE
