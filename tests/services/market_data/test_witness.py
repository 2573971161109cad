"""The REST witness: what each comparison proves, how a fetched book is brought up to date, what requests cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.book import Book
from common.messages import Level
from common.types import Side
from common.venues.polymarket.wire import BookObject
from services.market_data.witness import (
    NS_PER_S,
    Budget,
    Held,
    Verdict,
    Witness,
    agrees,
    agrees_with_last,
    equal,
    judge,
    replay,
)
from tests.services.market_data.markets import CENT, MS, SHARE

ASKED = 50


def ours(bid: int = 45, ask: int = 55, *more_bids: int) -> Book:
    book = Book()
    book.replace([(cents * CENT, SHARE) for cents in (bid, *more_bids)], [(ask * CENT, SHARE)])
    return book


def fetched(at_ms: int, bid: int = 45, ask: int = 55, *more_bids: int) -> BookObject:
    bids = tuple((cents * CENT, SHARE) for cents in (bid, *more_bids))
    return BookObject("0xc1", "1001", at_ms, bids, ((ask * CENT, SHARE),))


def held(at_ms: int, cents: int, size: int, best: tuple[int, int] | None = None, side: Side = Side.BUY) -> Held:
    stated = (None, None) if best is None else (best[0] * CENT, best[1] * CENT)
    return Held(at_ms * MS, side, cents * CENT, size * SHARE, *stated)


# We are as of 100 ms, and were as of 90 ms when the question was asked.
@pytest.mark.parametrize(
    ("book", "answer", "since", "verdict"),
    [
        (ours(), fetched(100), [], Verdict.CONFIRMED),
        (ours(), fetched(20), [], Verdict.CONFIRMED),
        (ours(), fetched(500), [], Verdict.CONFIRMED),
        (ours(45, 55, 40), fetched(90), [held(100, 40, 1)], Verdict.CONFIRMED),
        (ours(46), fetched(89), [], Verdict.TOO_OLD),
        (ours(46), fetched(89), [held(95, 46, 1, (46, 55))], Verdict.TOO_OLD),
        (ours(46), fetched(90, 1, 99), [held(95, 46, 1, (46, 55))], Verdict.IMPLAUSIBLE),
        (ours(46), fetched(95, 1, 99), [held(95, 46, 1, (46, 55))], Verdict.IMPLAUSIBLE),
        (ours(), fetched(100, 46), [], Verdict.AHEAD),
        (ours(), fetched(101, 46), [], Verdict.AHEAD),
        (ours(), fetched(101, 1, 99), [held(100, 45, 1, (45, 55))], Verdict.AHEAD),
        (ours(), fetched(99, 45, 55, 40), [held(100, 45, 1, (45, 55))], Verdict.DIFFERENT),
        (ours(), fetched(90, 45, 55, 40), [], Verdict.DIFFERENT),
        (ours(), fetched(95, 46), [], Verdict.DIFFERENT),
        (ours(44), fetched(95, 46), [held(97, 30, 1, (46, 55))], Verdict.DIFFERENT),
    ],
)
def test_what_an_answer_proves(book: Book, answer: BookObject, since: list[Held], verdict: Verdict) -> None:
    assert judge(book, 100 * MS, Witness(ASKED, 90 * MS), answer, since) is verdict


def test_held_changes_are_replayed_in_the_venues_order_of_time_and_only_the_later_ones() -> None:
    changes = [held(103, 40, 3), held(99, 41, 9), held(101, 40, 1), held(102, 40, 2)]
    book = replay(fetched(100), changes)
    assert book.bids() == [(45 * CENT, SHARE), (40 * CENT, 3 * SHARE)]


def test_within_one_millisecond_the_order_of_arrival_counts_and_the_books_own_is_included() -> None:
    changes = [held(100, 40, 1), held(100, 40, 0), held(100, 41, 7)]
    assert replay(fetched(100), changes).bids() == [(45 * CENT, SHARE), (41 * CENT, 7 * SHARE)]


def test_a_replay_leaves_the_fetched_book_alone() -> None:
    answer = fetched(100)
    replay(answer, [held(101, 45, 0)])
    assert answer == fetched(100)


cents = st.integers(1, 99)
messages = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(Side), cents, st.integers(0, 3)), max_size=30)


@given(messages, st.integers(0, 30))
def test_a_book_fetched_at_any_moment_and_the_changes_since_the_question_are_the_newest_book(
    script: list[tuple[int, Side, int, int]], cut: int
) -> None:
    """Whether or not the changes held are in the fetched book already."""
    now_ms, truth, snapshot, changes = 100, Book(), fetched(100, 45, 55), []
    truth.replace(snapshot.bids, snapshot.asks)
    for count, (pause_ms, side, price, size) in enumerate(script):
        now_ms += pause_ms
        truth.apply(side, price * CENT, size * SHARE)
        changes.append(held(now_ms, price, size, side=side))
        if count < cut:
            snapshot = BookObject("0xc1", "1001", now_ms, tuple(truth.bids()), tuple(truth.asks()))
    assert equal(replay(snapshot, changes), truth)


@pytest.mark.parametrize(
    ("bids", "asks", "best_bid", "best_ask", "expected"),
    [
        ([(45, 1)], [(55, 1)], 45, 55, True),
        ([(45, 1)], [(55, 1)], None, None, True),
        ([(45, 1)], [(55, 1)], None, 55, True),
        ([(45, 1)], [(55, 1)], 44, None, False),
        ([(45, 1)], [(55, 1)], None, 56, False),
        ([], [], 0, 0, True),
        ([], [], 0, 100, True),
        ([(45, 1)], [], 45, 100, True),
        ([(45, 1)], [], 45, 0, True),
        ([(45, 1)], [], 45, 99, False),
        ([], [(55, 1)], 1, 55, False),
        ([(45, 1)], [(55, 1)], 0, 55, False),
    ],
)
def test_when_best_prices_agree(
    bids: list[Level], asks: list[Level], best_bid: int | None, best_ask: int | None, expected: bool
) -> None:
    book = Book()
    book.replace([(price * CENT, size) for price, size in bids], [(price * CENT, size) for price, size in asks])
    stated = [None if price is None else price * CENT for price in (best_bid, best_ask)]
    assert agrees(book, *stated) is expected


def test_only_the_last_statement_by_the_venues_time_counts_and_older_ones_than_the_book_do_not() -> None:
    changes = [held(103, 40, 1, (45, 55)), held(101, 40, 1, (99, 99)), held(90, 40, 1, (1, 99))]
    assert agrees_with_last(ours(), changes, 100 * MS)
    assert not agrees_with_last(ours(), changes[1:], 100 * MS)
    assert agrees_with_last(ours(), changes[2:], 100 * MS)


# --- budget ---


def paid(budget: Budget, at_ns: int) -> int:
    """How many requests can be paid at once."""
    count = 0
    while budget.take(at_ns):
        count += 1
    return count


def test_the_budget_begins_with_a_seconds_worth_and_fills_at_its_rate() -> None:
    budget = Budget(4)
    assert paid(budget, 10) == 4
    assert paid(budget, 10 + NS_PER_S // 4 - 1) == 0
    assert paid(budget, 10 + NS_PER_S // 4) == 1
    assert paid(budget, 10 + NS_PER_S) == 3


def test_the_budget_never_holds_more_than_a_second() -> None:
    budget = Budget(4)
    budget.take(0)
    assert paid(budget, 3_600 * NS_PER_S) == 4


def test_time_that_runs_backwards_gives_no_credit() -> None:
    budget = Budget(1)
    assert paid(budget, NS_PER_S) == 1
    assert paid(budget, 0) == 0
    assert paid(budget, NS_PER_S - 1) == 0


def test_a_pause_lasts_until_its_end_and_a_shorter_one_does_not_cut_it() -> None:
    budget = Budget(4)
    budget.pause(5 * NS_PER_S)
    budget.pause(NS_PER_S)
    assert paid(budget, 5 * NS_PER_S - 1) == 0
    assert paid(budget, 5 * NS_PER_S) == 4


@given(st.integers(1, 50), st.lists(st.integers(0, NS_PER_S), min_size=1, max_size=40))
def test_in_any_second_no_more_than_twice_the_rate_and_in_the_long_run_the_rate(per_s: int, pauses: list[int]) -> None:
    budget, now, times = Budget(per_s), 0, []
    for pause in pauses:
        now += pause
        times += [now] * paid(budget, now)
    assert len(times) <= per_s + now * per_s // NS_PER_S + 1
    for begin in times:
        assert sum(begin <= at < begin + NS_PER_S for at in times) <= 2 * per_s
