"""The board: which markets there are, what each frame of the channel does, what it answers. Driven by raw frames."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from common.effects import Log, Publish
from common.errors import Refusal
from common.messages import (
    BookDelta,
    BookDepth,
    BookSnapshot,
    BookTop,
    FeedStatus,
    GetBook,
    GetMarkets,
    MarketListed,
    TradePrint,
)
from common.reasons import Reason
from common.types import FeedState, Side
from common.venues.polymarket.market import (
    BestBidAskEvent,
    BookEvent,
    LevelChange,
    MarketEvent,
    MarketResolvedEvent,
    NewMarketEvent,
    PriceChangeEvent,
    market_frame,
)
from common.venues.polymarket.wire import encode_json
from services.market_data import core
from services.market_data.core import Board
from services.market_data.effects import FetchBooks
from tests.services.market_data.markets import (
    CENT,
    EPOCH,
    MS,
    RULES,
    SHARE,
    VENUE_MS,
    at,
    bodies,
    book,
    change,
    changes,
    drops,
    fetches,
    levels_of,
    market,
    rest_book,
    say,
    snapshot_of,
    state_of,
    states,
    tick_change,
    trade,
)

UP, DOWN = market().token_ids
LINE = 1
LIVE, SUSPECT, SYNCING = FeedState.LIVE, FeedState.SUSPECT, FeedState.SYNCING


def board(*numbers: int, markets_max: int = 10) -> Board:
    fresh = Board(RULES._replace(markets_max=markets_max), EPOCH)
    fresh.discovered([market(number) for number in numbers or (1,)], 0, at(0))
    return fresh


def open_board() -> Board:
    """Both tokens asked for on connection 1, nothing heard."""
    fresh = board()
    fresh.on_opened(LINE, [UP, DOWN], at(0))
    return fresh


def live_board() -> Board:
    """Both books LIVE: Up at 45/47, Down at 53/55."""
    live = open_board()
    say(live, LINE, at(1), book(UP), book(DOWN, 53, 55))
    return live


# --- markets ---


def test_a_market_is_listed_once_and_again_when_it_changes() -> None:
    fresh = Board(RULES, EPOCH)
    assert bodies(fresh.discovered([market()], 0, at(0)), "instruments") == [MarketListed(market())]
    assert fresh.discovered([market()], 0, at(1)) == []
    changed = market(min_size=SHARE)
    assert bodies(fresh.discovered([changed], 0, at(2)), "instruments") == [MarketListed(changed)]
    assert fresh.snapshot("instruments", 0) == [MarketListed(changed)]


def test_a_closed_market_is_not_followed_but_still_known() -> None:
    known = board(1, 2)
    effects = known.discovered([market(1, accepting=False)], 0, at(1))
    assert known.open_tokens() == [market(2).token_ids]
    assert states(effects, UP) == [(FeedState.CLOSED, "the market closed")]
    assert known.book_report(GetBook("r", "market-1")).market.accepting is False


def test_no_more_markets_than_the_limit_are_followed_and_closed_ones_are_forgotten_in_time() -> None:
    full = board(*range(5), markets_max=2)
    assert [known.slug for known in full.markets] == ["market-0", "market-1"]
    full.discovered([market(n, accepting=False) for n in (0, 1)], 0, at(1))
    full.discovered([market(2), market(3)], 0, at(2))
    full.discovered([market(2, accepting=False)], 0, at(3))
    assert [known.slug for known in full.markets] == ["market-1", "market-2", "market-3"]
    assert full.snapshot("book.0001", 0) == []
    with pytest.raises(Refusal):
        full.book_report(GetBook("r", "market-0"))


def test_a_token_belongs_to_one_market_only() -> None:
    known = board()
    assert known.discovered([market(2, token_ids=(UP, "77"))], 0, at(1)) == []
    assert known.counters["markets_with_a_taken_token"] == 1


def test_a_market_nobody_wants_any_more_is_closed_and_opens_again_when_it_is_wanted() -> None:
    live = live_board()
    effects = live.unwatched(["0xc1", "0xnone"], at(2))
    assert states(effects, UP) == [(FeedState.CLOSED, "not watched any more")]
    assert live.unwatched(["0xc1"], at(3)) == []
    say(live, LINE, at(4), book(UP, 30, 31))
    assert state_of(live, UP) is FeedState.CLOSED
    effects = live.discovered([market()], 0, at(5))
    assert states(effects, UP) == [(FeedState.CONNECTING, "not asked for yet")]
    live.on_opened(2, [UP, DOWN], at(6))
    say(live, 2, at(7), book(UP, 30, 31))
    assert (state_of(live, UP), levels_of(live, UP)[0]) == (LIVE, {30 * CENT: 10 * SHARE})


# --- whole books and changes ---


def test_a_book_is_live_from_its_first_snapshot_in_a_new_epoch() -> None:
    fresh = board()
    assert state_of(fresh, UP) is FeedState.CONNECTING
    fresh.on_opened(LINE, [UP, DOWN], at(0))
    assert state_of(fresh, UP) is SYNCING
    effects = fresh.on_frame(LINE, market_frame([book(UP)]), at(1))
    levels = [(45 * CENT, 10 * SHARE)], [(47 * CENT, 10 * SHARE)]
    snapshot = BookSnapshot(UP, *levels, CENT, LIVE, VENUE_MS * MS, at(1).wall_ns, EPOCH + 1, 1, "", at(1).wall_ns)
    status = FeedStatus(UP, LIVE, "", at(1).wall_ns, EPOCH + 1, 1, VENUE_MS * MS, at(1).wall_ns)
    assert bodies(effects, f"book.{UP}") == [snapshot]
    assert bodies(effects, f"feed.{UP}") == bodies(effects, "feeds") == [status]
    assert bodies(effects, f"top.{UP}") == [
        BookTop(UP, 45 * CENT, 10 * SHARE, 47 * CENT, 10 * SHARE, EPOCH + 1, 1, VENUE_MS * MS, at(1).wall_ns)
    ]
    assert (state_of(fresh, DOWN), fresh.live_books) == (SYNCING, 1)
    assert fresh.live_snapshots() == [snapshot]


def test_changes_of_several_messages_before_a_flush_are_one_delta_per_token() -> None:
    live = live_board()
    first = changes(
        change(UP, Side.BUY, 44, 5, (45, 47)),
        change(DOWN, Side.SELL, 56, 5, (53, 55)),
        change(UP, Side.SELL, 47, 0, (45, None)),
        at_ms=VENUE_MS + 1,
    )
    second = changes(change(UP, Side.BUY, 44, 6, (45, 0)), at_ms=VENUE_MS + 2)
    assert live.on_frame(LINE, market_frame([first]), at(2)) == []
    assert live.on_frame(LINE, market_frame([second]), at(3)) == []
    effects = live.flush(at(4))
    assert bodies(effects, f"book.{UP}") == [
        BookDelta(UP, [(44 * CENT, 6 * SHARE)], [(47 * CENT, 0)], (VENUE_MS + 2) * MS, at(4).wall_ns, EPOCH + 1, 2)
    ]
    assert len(bodies(effects, f"book.{DOWN}")) == 1
    assert levels_of(live, UP) == ({45 * CENT: 10 * SHARE, 44 * CENT: 6 * SHARE}, {})
    assert live.flush(at(5)) == []


def test_another_whole_book_of_a_live_token_is_published_as_its_difference() -> None:
    live = live_board()
    assert bodies(say(live, LINE, at(2), book(UP)), f"book.{UP}") == []
    (delta,) = bodies(say(live, LINE, at(3), book(UP, 46, 47, VENUE_MS + 5)), f"book.{UP}")
    assert delta == BookDelta(
        UP, [(46 * CENT, 10 * SHARE), (45 * CENT, 0)], [], (VENUE_MS + 5) * MS, at(3).wall_ns, EPOCH + 1, 2
    )


def test_changes_of_before_the_first_whole_book_do_nothing() -> None:
    fresh = open_board()
    assert say(fresh, LINE, at(1), changes(change(UP, Side.BUY, 44, 5))) == []
    say(fresh, LINE, at(2), book(UP, at_ms=VENUE_MS + 1))
    assert levels_of(fresh, UP)[0] == {45 * CENT: 10 * SHARE}


@pytest.mark.parametrize("event", [book("9"), changes(change("9", Side.BUY, 1, 1)), trade("9"), tick_change("9", 1000)])
def test_events_of_unknown_tokens_harm_nothing(event: MarketEvent) -> None:
    live = live_board()
    assert say(live, LINE, at(1), event) == []
    assert live.counters["events_of_unknown_tokens"] == (event != tick_change("9", 1000))


def test_events_on_a_connection_that_was_not_asked_are_counted_and_do_nothing() -> None:
    live = live_board()
    for event in (book(UP, 1, 2), changes(change(UP, Side.BUY, 46, 1)), trade(UP), tick_change(UP, 1000)):
        effects = say(live, 9, at(2), event)
        assert bodies(effects, f"book.{UP}") == bodies(effects, f"trades.{UP}") == []
    assert live.counters["events_elsewhere"] == 3
    assert levels_of(live, UP)[0] == {45 * CENT: 10 * SHARE}


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
        ([change(UP, Side.BUY, 47, 5)], "the book is crossed"),
    ],
)
def test_a_contradiction_makes_a_book_suspect_and_has_it_fetched(rows: list[LevelChange], reason: str) -> None:
    live = live_board()
    effects = say(live, LINE, at(2), changes(*rows, at_ms=VENUE_MS + 1))
    assert states(effects, UP) == [(SUSPECT, reason)]
    assert [type(body) for body in bodies(effects, f"book.{UP}")] == [BookSnapshot]
    assert state_of(live, UP) is SUSPECT
    assert fetches(live.on_time(at(100))) == [FetchBooks((UP,), at(100).mono_ns)]
    assert (state_of(live, DOWN), live.counters["books_suspect"]) == (LIVE, 1)


@pytest.mark.parametrize("best", [(45, 47), (None, None), (45, None), (None, 47)])
def test_stated_best_prices_that_agree_or_are_missing_are_fine(best: tuple[int | None, int | None]) -> None:
    live = live_board()
    say(live, LINE, at(2), changes(change(UP, Side.BUY, 44, 5, best), at_ms=VENUE_MS + 1))
    assert state_of(live, UP) is LIVE


@pytest.mark.parametrize("empty_ask", [0, 100])
def test_an_empty_side_may_be_stated_as_nought_or_as_one(empty_ask: int) -> None:
    live = live_board()
    say(live, LINE, at(2), changes(change(UP, Side.SELL, 47, 0, (45, empty_ask)), at_ms=VENUE_MS + 1))
    assert (state_of(live, UP), levels_of(live, UP)[1]) == (LIVE, {})


def test_only_the_last_change_before_a_flush_states_the_best_prices_after_it() -> None:
    live = live_board()
    rows = change(UP, Side.BUY, 46, 5, (46, 47)), change(UP, Side.BUY, 46, 0, (45, 47))
    say(live, LINE, at(2), changes(*rows, at_ms=VENUE_MS + 1))
    assert state_of(live, UP) is LIVE


def test_a_best_bid_ask_event_is_a_check_as_well_unless_it_is_older_than_the_book() -> None:
    live = live_board()
    later, earlier = (VENUE_MS + 1) * MS, (VENUE_MS - 1) * MS
    assert say(live, LINE, at(2), BestBidAskEvent("0xc1", UP, 45 * CENT, 47 * CENT, later)) == []
    assert say(live, LINE, at(3), BestBidAskEvent("0xc1", UP, 40 * CENT, 47 * CENT, earlier)) == []
    effects = say(live, LINE, at(4), BestBidAskEvent("0xc1", UP, 46 * CENT, 47 * CENT, later))
    assert states(effects, UP) == [(SUSPECT, WRONG)]


def test_a_crossed_whole_book_is_never_live() -> None:
    fresh = open_board()
    effects = say(fresh, LINE, at(1), book(UP, 50, 50))
    assert states(effects, UP) == [(SUSPECT, "the book is crossed")]
    live = live_board()
    effects = say(live, LINE, at(2), book(UP, 50, 50))
    (top,) = bodies(effects, f"top.{UP}")
    assert isinstance(top, BookTop)
    assert states(effects, UP) == [(SUSPECT, "the book is crossed")]
    assert (top.bid, top.ask, top.state) == (0, 0, SUSPECT)


@pytest.mark.parametrize("row", [{"price": "abc"}, {"size": "-1"}, {"side": "HOLD"}, {"size": "1.0000001"}])
def test_a_change_that_cannot_be_read_makes_the_tokens_it_names_suspect(row: dict[str, str]) -> None:
    live = live_board()
    good = {"asset_id": UP, "price": "0.44", "size": "5", "side": "BUY", "best_bid": "0.45", "best_ask": "0.47"}
    raw = encode_json(
        {"event_type": "price_change", "timestamp": str(VENUE_MS + 1), "price_changes": [good | row], "market": "0xc1"}
    )
    live.on_frame(LINE, raw, at(2))
    live.flush(at(2))
    assert (state_of(live, UP), state_of(live, DOWN)) == (SUSPECT, LIVE)


@pytest.mark.parametrize("raw", [b"<html>", b'{"event_type":"book"', b"\xff", b"[" * 5_000])
def test_a_frame_that_is_not_json_makes_every_book_of_its_connection_suspect(raw: bytes) -> None:
    live = live_board()
    live.discovered([market(2)], 0, at(2))
    live.on_opened(2, market(2).token_ids, at(2))
    say(live, 2, at(3), book("2001"))
    effects = live.on_frame(LINE, raw, at(4))
    assert (state_of(live, UP), state_of(live, DOWN), state_of(live, "2001")) == (SUSPECT, SUSPECT, LIVE)
    assert [effect.event for effect in effects if isinstance(effect, Log)] == ["unreadable"]
    assert live.counters["frames_unreadable"] == 1


def test_of_many_unreadable_frames_only_a_sample_is_told() -> None:
    live = live_board()
    told = [live.on_frame(LINE, b"<html>", at(2 + n)) for n in range(20)]
    counts = [effect.fields["so_far"] for effects in told for effect in effects if isinstance(effect, Log)]
    assert counts == [1, 2, 4, 8, 16]
    assert live.counters["frames_unreadable"] == 20


@pytest.mark.parametrize(
    "broken",
    [
        {"event_type": "new_market", "id": {}, "assets_ids": 5},
        {"event_type": "market_resolved", "assets_ids": 5},
        {"event_type": "last_trade_price", "asset_id": "1001", "price": "?"},
        {"event_type": "best_bid_ask", "asset_id": "1001", "best_bid": "?"},
    ],
)
def test_a_broken_event_that_says_nothing_about_levels_doubts_no_book(broken: dict[str, Any]) -> None:
    """new_market is sent to everybody: one the venue got wrong must not make 200 books suspect."""
    live = live_board()
    live.on_frame(LINE, encode_json([broken]), at(2))
    assert (state_of(live, UP), state_of(live, DOWN)) == (LIVE, LIVE)
    assert live.counters["events_unreadable"] == 1


def test_a_broken_event_of_a_token_nobody_follows_doubts_no_book() -> None:
    live = live_board()
    live.on_frame(LINE, encode_json([{"event_type": "book", "asset_id": "9", "bids": 5}]), at(2))
    assert (state_of(live, UP), state_of(live, DOWN)) == (LIVE, LIVE)


# --- what nobody knows ---


def test_an_unknown_type_is_counted_told_once_and_harms_nothing() -> None:
    live = live_board()
    raw = encode_json([{"event_type": "wormhole", "asset_id": UP}, {"no": "type"}])
    logs = live.on_frame(LINE, raw, at(2)) + live.on_frame(LINE, raw, at(3))
    told = [effect.fields["name"] for effect in logs if isinstance(effect, Log)]
    assert told == ["wormhole", ""]
    assert (live.counters["events_of_unknown_type"], live.counters["unknown_event_types"]) == (4, 4)
    assert state_of(live, UP) is LIVE


def test_unknown_fields_are_told_once_and_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    live = live_board()
    members = json.loads(market_frame([book(UP)])) | {"brand_new": 1}
    assert live.sample(encode_json(members)) == [Log("unknown_field", {"name": "book.brand_new"}, "warning")]
    assert live.sample(encode_json(members)) == []
    assert live.counters["unknown_fields"] == 2
    monkeypatch.setattr(core, "TOLD_MAX", 1)
    assert live.sample(encode_json(members | {"newer": 1})) == []


# --- a late first book, connections ---


def test_a_lost_connection_makes_its_books_connecting_until_their_next_whole_book() -> None:
    live = live_board()
    effects = live.on_lost(LINE, "SILENT: x", at(2))
    assert states(effects, UP) == states(effects, DOWN) == [(FeedState.CONNECTING, "SILENT: x")]
    assert say(live, LINE, at(3), changes(change(UP, Side.BUY, 44, 5))) == []
    assert fetches(live.on_time(at(60_000))) == []
    live.on_opened(2, [UP, DOWN], at(61_000))
    say(live, 2, at(62_000), book(UP, 30, 31))
    assert (state_of(live, UP), state_of(live, DOWN)) == (LIVE, SYNCING)
    assert levels_of(live, UP) == ({30 * CENT: 10 * SHARE}, {31 * CENT: 10 * SHARE})
    assert (snapshot_of(live, UP).epoch, snapshot_of(live, UP).seq) == (EPOCH + 2, 1)


def test_a_connection_that_fails_to_open_again_and_again_changes_nothing() -> None:
    fresh = board()
    assert [fresh.on_lost(LINE, "REFUSED: x", at(n)) for n in range(3)] == [[], [], []]


# --- ticks ---


def test_a_tick_change_lists_the_market_again_and_voids_the_book_until_a_whole_one() -> None:
    live = live_board()
    effects = say(live, LINE, at(2), tick_change(UP, 1000))
    assert bodies(effects, "instruments") == [MarketListed(market(tick=1000))]
    assert (states(effects, UP), levels_of(live, UP)) == ([(SYNCING, "the tick changed")], ({}, {}))
    assert bodies(say(live, LINE, at(3), tick_change(DOWN, 1000)), "instruments") == []
    assert say(live, LINE, at(4), changes(change(UP, Side.BUY, 44, 5))) == []
    assert fetches(live.on_time(at(100))) == [FetchBooks((UP, DOWN), at(100).mono_ns)]
    say(live, LINE, at(101), book(UP, at_ms=VENUE_MS + 1, tick_size=1000))
    assert (state_of(live, UP), snapshot_of(live, UP).tick) == (LIVE, 1000)
    assert live.counters["tick_changes"] == 1


def test_a_tick_that_is_told_again_is_nothing_new() -> None:
    live = live_board()
    assert say(live, LINE, at(2), tick_change(UP, CENT), tick_change(DOWN, CENT)) == []
    assert state_of(live, UP) is LIVE


def test_a_whole_book_that_states_another_tick_changes_the_market() -> None:
    live = live_board()
    effects = say(live, LINE, at(2), book(UP, at_ms=VENUE_MS + 1, tick_size=1000))
    assert bodies(effects, "instruments") == [MarketListed(market(tick=1000))]
    assert (state_of(live, UP), snapshot_of(live, UP).tick) == (LIVE, 1000)


def test_a_fetched_book_that_states_another_tick_changes_the_market() -> None:
    live = live_board()
    say(live, LINE, at(2), changes(change(UP, Side.BUY, 44, 5, (46, 47))))
    (request,) = fetches(live.on_time(at(100)))
    effects = live.on_fetched(request, [rest_book(UP, at_ms=VENUE_MS + 50, tick=1000)], at(110))
    assert bodies(effects, "instruments") == [MarketListed(market(tick=1000))]


def test_a_fetched_book_that_was_asked_for_before_the_tick_changed_does_not_undo_it() -> None:
    live = live_board()
    say(live, LINE, at(2), changes(change(UP, Side.BUY, 44, 5, (46, 47))))
    (request,) = fetches(live.on_time(at(100)))
    say(live, LINE, at(105), tick_change(UP, 1000, VENUE_MS + 105))
    effects = live.on_fetched(request, [rest_book(UP, tick=CENT)], at(110))
    assert bodies(effects, "instruments") == []
    assert (live.markets[0].tick, snapshot_of(live, UP).tick) == (1000, 1000)


def test_discovery_that_began_before_a_tick_change_does_not_undo_it() -> None:
    live = live_board()
    say(live, LINE, at(5_000), tick_change(UP, 1000, VENUE_MS + 5_000))
    assert live.discovered([market(min_size=SHARE)], at(4_000).mono_ns, at(5_001)) == [
        Publish("instruments", MarketListed(market(tick=1000, min_size=SHARE)))
    ]
    live.discovered([market()], at(6_000).mono_ns, at(6_001))
    assert live.markets == [market()]


def test_a_resolved_market_closes_and_other_peoples_markets_are_left_alone() -> None:
    live = live_board()
    resolved = MarketResolvedEvent("0xc1", "1", (UP, DOWN), UP, "Up", VENUE_MS * MS)
    effects = say(live, LINE, at(2), resolved)
    assert bodies(effects, "instruments") == [MarketListed(market(accepting=False))]
    assert states(effects, DOWN) == [(FeedState.CLOSED, "the market is resolved")]
    assert live.open_tokens() == []
    assert say(live, LINE, at(3), MarketResolvedEvent("0x?", "1", (), UP, "Up", VENUE_MS * MS)) == []
    assert say(live, LINE, at(4), NewMarketEvent("0x?", "1", "q", "s", (), (), VENUE_MS * MS)) == []
    assert live.counters["markets_created_elsewhere"] == 1


# --- trades ---


def test_a_trade_is_printed_with_the_takers_side_and_both_times() -> None:
    effects = say(live_board(), LINE, at(2), trade(UP, VENUE_MS + 1))
    printed = TradePrint(UP, Side.BUY, 46 * CENT, 3 * SHARE, (VENUE_MS + 1) * MS, at(2).wall_ns)
    assert effects == [Publish(f"trades.{UP}", printed)]


# --- shapes of frames ---


def test_old_shapes_of_price_changes_are_applied_like_the_new_one() -> None:
    live = live_board()
    old = {
        "event_type": "price_change",
        "asset_id": UP,
        "market": "0xc1",
        "timestamp": str(VENUE_MS + 1),
        "changes": [{"price": "0.44", "side": "BUY", "size": "5"}, {"price": "0.47", "side": "SELL", "size": "0"}],
    }
    flat = {
        "event_type": "price_change", "asset_id": UP, "market": "0xc1", "timestamp": str(VENUE_MS + 2),
        "price": ".48", "side": "SELL", "size": "7",
    }  # fmt: skip
    live.on_frame(LINE, encode_json(old), at(2))
    live.on_frame(LINE, encode_json([flat]), at(3))
    live.flush(at(3))
    assert levels_of(live, UP) == ({45 * CENT: 10 * SHARE, 44 * CENT: 5 * SHARE}, {48 * CENT: 7 * SHARE})


@pytest.mark.parametrize("as_array", [False, True])
def test_a_change_as_an_object_and_in_an_array_is_the_same(as_array: bool) -> None:
    live = live_board()
    wire = changes(change(UP, Side.BUY, 44, 5, (45, 47)), at_ms=VENUE_MS + 1).to_wire()
    live.on_frame(LINE, encode_json([wire] if as_array else wire), at(2))
    assert len(bodies(live.flush(at(2)), f"book.{UP}")) == 1
    assert levels_of(live, UP)[0] == {45 * CENT: 10 * SHARE, 44 * CENT: 5 * SHARE}


def test_an_event_of_an_array_sees_the_changes_before_it() -> None:
    live = live_board()
    say(live, LINE, at(2), changes(change(UP, Side.BUY, 46, 5, (46, 47)), at_ms=VENUE_MS + 1),
        BestBidAskEvent("0xc1", UP, 46 * CENT, 47 * CENT, (VENUE_MS + 1) * MS))  # fmt: skip
    assert state_of(live, UP) is LIVE


@pytest.mark.parametrize("timestamp", ["", "soon", "12", "17900000000000000000000", None])
def test_a_change_without_a_usable_time_leaves_no_live_book_without_it(timestamp: str | None) -> None:
    """Either the connection is dropped, or the book is doubted, or the change is in it: never silently missed."""
    live = live_board()
    wire: dict[str, Any] = changes(change(UP, Side.BUY, 44, 5, (45, 47))).to_wire() | {"timestamp": timestamp}
    effects = live.on_frame(LINE, encode_json(wire), at(2)) + live.flush(at(2))
    applied = 44 * CENT in levels_of(live, UP)[0]
    assert state_of(live, UP) is not LIVE or applied or drops(effects)


# --- answers ---


def test_two_sided_markets_are_reported_first_with_the_tops_of_both_books() -> None:
    known = board(1, 2)
    known.on_opened(LINE, ["2001", "2002"], at(0))
    say(known, LINE, at(1), book("2001", 45, 47), book("2002", 53, 55))
    views = known.report(GetMarkets("r")).markets
    assert [view.market.slug for view in views] == ["market-2", "market-1"]
    assert (views[0].best_bids, views[0].best_asks) == ((45 * CENT, 53 * CENT), (47 * CENT, 55 * CENT))
    assert [view.state for view in views] == [LIVE, FeedState.CONNECTING]
    assert views[1].best_bids == (0, 0)


def test_a_market_is_shown_live_only_when_both_of_its_books_are() -> None:
    known = open_board()
    say(known, LINE, at(1), book(UP))
    assert known.report(GetMarkets("r")).markets[0].state is SYNCING
    say(known, LINE, at(2), book(DOWN, 53, 55))
    assert known.report(GetMarkets("r")).markets[0].state is LIVE


def test_a_market_where_only_the_outcomes_together_have_both_sides_is_one_sided() -> None:
    """Near its end nobody bids for the loser: Up has an ask only, and so Down, its mirror image, has a bid only."""
    known = board(1, 2)
    known.on_opened(LINE, [UP, DOWN, "2001"], at(0))
    one_sided = replace(book(UP, 45, 47), bids=()), replace(book(DOWN, 53, 55), asks=())
    say(known, LINE, at(1), *one_sided, book("2001", 45, 47))
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


def test_snapshots_bring_a_new_reader_of_each_topic_to_the_present() -> None:
    live = live_board()
    (top,) = live.snapshot(f"top.{UP}", 1)
    assert isinstance(top, BookTop)
    assert (top.bid, top.ask, top.epoch, top.seq) == (45 * CENT, 47 * CENT, EPOCH + 1, 1)
    (depth,) = live.snapshot(f"depth.{UP}", 1)
    assert isinstance(depth, BookDepth)
    assert (depth.bids, depth.state, depth.whole_bids) == ([(45 * CENT, 10 * SHARE)], LIVE, True)
    assert [type(message) for message in live.snapshot("feeds", 1)] == [FeedStatus, FeedStatus]
    assert live.snapshot(f"feed.{UP}", 1) == live.snapshot("feeds", 1)[:1]
    for topic in (f"trades.{UP}", "book.9", "nonsense", "", "book."):
        assert live.snapshot(topic, 1) == []


def test_a_book_that_is_not_live_shows_no_top() -> None:
    live = live_board()
    live.on_lost(LINE, "x", at(2))
    (top,) = live.snapshot(f"top.{UP}", 1)
    assert isinstance(top, BookTop)
    assert (top.bid, top.bid_size, top.ask, top.ask_size, top.state) == (0, 0, 0, 0, FeedState.CONNECTING)
    assert live.live_snapshots() == []


# --- the kinds of events are all there is ---


def test_the_events_above_are_all_of_the_channel() -> None:
    tested = {BookEvent, PriceChangeEvent, BestBidAskEvent, MarketResolvedEvent, NewMarketEvent}
    tested |= {type(trade(UP)), type(tick_change(UP, 1))}
    assert {kind.__name__ for kind in tested} | {"UnknownEvent"} == {kind.__name__ for kind in MarketEvent.__args__}
