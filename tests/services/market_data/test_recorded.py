"""A recording through the board: the books of the run, time between the rows, and what a gap does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.messages import BookSnapshot, FeedMark
from common.recording import FRAME, LOST, Entry, Gap, Row, book_entry, gap_entry, mark_entry, market_entry
from common.settings import MarketData
from common.types import FeedState, Side
from common.venues.polymarket.wire import encode_json
from services.market_data.core import Board
from services.market_data.recorded import CHECK_NS, CHECKS_MAX, Moment, Rerun, TokenTally, moments
from services.market_data.rules import Rules
from tests.services.market_data.markets import CENT, MS, SHARE, book, change, changes
from tests.services.recorder.rows import T0, listed, opened

UP, DOWN = "1001", "1002"
T0_MS = T0 // MS


def rows(*entries: Entry) -> list[Row]:
    return [Row(seq, *entry) for seq, entry in enumerate(entries, 1)]


def at(ms: int, raw: bytes, connection: int = 1) -> Entry:
    return Entry(T0 + ms * MS, connection, FRAME, raw)


def whole(ms: int, token_id: str = UP, bid: int = 45, ask: int = 47) -> Entry:
    return at(ms, encode_json([book(token_id, bid, ask, T0_MS + ms).to_wire()]))


def moved(ms: int, price: int, size: int, side: Side = Side.BUY) -> Entry:
    return at(ms, encode_json(changes(change(UP, side, price, size), at_ms=T0_MS + ms).to_wire()))


BEGINNING = (market_entry(listed(), T0), mark_entry(opened(), T0))


def replayed(*entries: Entry, wanted: str = "") -> Rerun:
    rerun = Rerun(Board(Rules.of(MarketData()), 1), wanted)
    for moment in moments(rows(*entries)):
        rerun.step(moment)
    return rerun


def token(rerun: Rerun, token_id: str = UP) -> TokenTally:
    return next(one for one in rerun.tokens if one.token_id == token_id)


def test_frames_come_to_the_book_they_came_to_when_they_were_live() -> None:
    up = token(replayed(*BEGINNING, whole(1), moved(2, 44, 7), moved(3, 45, 0), moved(4, 46, 3)))
    assert up.state is FeedState.LIVE
    assert up.book.bids() == [(46 * CENT, 3 * SHARE), (44 * CENT, 7 * SHARE)]
    assert up.book.asks() == [(47 * CENT, 10 * SHARE)]
    assert (up.slug, up.outcome) == ("market-1", "Up")
    assert up.deltas == 3


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=30))
def test_a_reader_of_what_is_published_holds_the_boards_own_book(moves: list[tuple[int, int]]) -> None:
    rerun = replayed(*BEGINNING, whole(1), *(moved(2 + i, price, size) for i, (price, size) in enumerate(moves)))
    model = {45: 10} | dict(moves)
    assert token(rerun).book.bids() == sorted(((p * CENT, s * SHARE) for p, s in model.items() if s), reverse=True)
    assert token(rerun).book.state_hash() == rerun.board.feeds[UP].book.state_hash()


def test_a_market_that_comes_behind_its_connection_is_asked_for_all_the_same() -> None:
    listing, opening = BEGINNING
    assert token(replayed(opening, listing, whole(1))).state is FeedState.LIVE


def test_a_lost_connection_leaves_no_book_live() -> None:
    lost = mark_entry(FeedMark(1, T0 + 5 * MS, LOST, [], "peer closed"), T0 + 5 * MS)
    rerun = replayed(*BEGINNING, whole(1), lost)
    assert token(rerun).state is FeedState.CONNECTING
    assert rerun.totals.lost == 1


def test_behind_a_gap_nothing_is_live_until_it_is_opened_again() -> None:
    gap = gap_entry(Gap(3, "full"), T0 + 5 * MS)
    rerun = replayed(*BEGINNING, whole(1), gap, moved(6, 44, 7))
    assert token(rerun).state is not FeedState.LIVE
    assert "gap" in token(rerun).reason
    again = replayed(*BEGINNING, whole(1), gap, *BEGINNING, whole(7))
    assert token(again).state is FeedState.LIVE
    assert again.totals.gaps == 1


def test_a_recorded_book_stands_for_what_no_frame_brought() -> None:
    """The recorder joined late: the book came before the first recorded frame."""
    known = BookSnapshot(UP, [(45 * CENT, SHARE)], [(47 * CENT, SHARE)], CENT, FeedState.LIVE, T0, T0)
    up = token(replayed(*BEGINNING, book_entry(known, T0), moved(2, 44, 7)))
    assert up.state is FeedState.LIVE
    assert up.book.bids() == [(45 * CENT, SHARE), (44 * CENT, 7 * SHARE)]


def test_a_token_taken_off_its_connection_is_not_live_until_it_is_asked_for_again() -> None:
    removed = mark_entry(FeedMark(1, T0 + 2 * MS, "REMOVED", [DOWN]), T0 + 2 * MS)
    assert token(replayed(*BEGINNING, whole(1), whole(1, DOWN), removed), DOWN).state is FeedState.CONNECTING


def test_an_unreadable_frame_is_counted_and_doubts_its_books() -> None:
    rerun = replayed(*BEGINNING, whole(1), at(2, b"<html>"))
    assert rerun.board.counters["frames_unreadable"] == 1
    assert token(rerun).state is FeedState.SUSPECT
    assert rerun.totals.requests > 0, "the book it would ask the venue for"


def test_only_the_wanted_markets_are_shown() -> None:
    rerun = replayed(market_entry(listed(2), T0), *BEGINNING, whole(1), wanted="MARKET-1")
    assert [one.token_id for one in rerun.tokens] == [UP, DOWN]


def times(*at_ns: int) -> list[Moment]:
    return list(moments(rows(*(Entry(one, 1, FRAME, b"") for one in at_ns))))


def test_time_is_looked_at_between_the_rows_and_once_behind_the_last() -> None:
    found = times(T0, T0 + 2 * CHECK_NS)
    assert [(one.at_ns - T0, one.row is not None) for one in found] == [
        (0, True), (CHECK_NS, False), (2 * CHECK_NS, False), (2 * CHECK_NS, True), (3 * CHECK_NS, False),
    ]  # fmt: skip


@given(st.lists(st.integers(T0, T0 + 10**13), min_size=1, max_size=20))
def test_time_never_runs_back_and_a_pause_has_few_looks(at_ns: list[int]) -> None:
    found = times(*at_ns)
    assert [one.at_ns for one in found] == sorted(one.at_ns for one in found)
    assert sum(one.row is None for one in found) <= len(at_ns) * (CHECKS_MAX + 2)
    assert [one.row.at_ns for one in found if one.row is not None] == at_ns


def test_no_rows_are_no_moments() -> None:
    assert times() == []
