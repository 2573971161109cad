"""The cache of newest books: exact, immutable, and never LIVE when it should not be."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.effects import Now
from common.instruments import Market
from common.latest import RING_MAX, SILENT_AFTER_NS, LatestBook, MarketTop, Mid
from common.messages import BookDelta, BookSnapshot, Level, TradePrint
from common.types import FeedState, Side

MS = 1_000_000
UP, DOWN = "1001", "1002"
MARKET = Market("polymarket", "0xc1", "market-1", "Up?", ("Up", "Down"), (UP, DOWN), 10_000, 5_000_000)
LIVE, SYNCING, STALE = FeedState.LIVE, FeedState.SYNCING, FeedState.STALE
NOW = Now(50_000 * MS, 10_000 * MS)


def snapshot(
    bids: list[Level] | None = None,
    asks: list[Level] | None = None,
    *,
    token: str = UP,
    state: FeedState = LIVE,
    version: tuple[int, int] = (1, 1),
    at_ns: int = NOW.wall_ns,
    reason: str = "",
) -> BookSnapshot:
    sides = bids if bids is not None else [(45, 10)], asks if asks is not None else [(47, 10)]
    return BookSnapshot(token, *sides, 10_000, state, 7, at_ns, *version, reason)


def delta(
    bids: list[Level] | None = None,
    asks: list[Level] | None = None,
    version: tuple[int, int] = (1, 2),
    at_ns: int = NOW.wall_ns,
) -> BookDelta:
    return BookDelta(UP, bids or [], asks or [], 8, at_ns, *version)


def heard(*said: BookSnapshot | BookDelta) -> LatestBook:
    latest = LatestBook()
    latest.on_heard(NOW.mono_ns)
    for body in said:
        latest.on_snapshot(body) if isinstance(body, BookSnapshot) else latest.on_delta(body)
    return latest


def after(ms: float) -> Now:
    return Now(NOW.wall_ns + int(ms * MS), NOW.mono_ns + int(ms * MS))


@dataclass
class Shown:
    """What the test looks at of a view."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    state: FeedState


def shown(latest: LatestBook, now: Now = NOW) -> Shown:
    view = latest.book(UP, now)
    assert view is not None
    return Shown(view.bids, view.asks, view.state)


def test_before_the_first_book_nothing_is_known() -> None:
    latest = LatestBook()
    assert latest.book(UP, NOW) is None
    assert latest.age_ms(UP, NOW) is None
    assert latest.is_stale(UP, 1_000_000, NOW)
    assert (latest.mids(UP), latest.trades(UP)) == ((), ())
    latest.on_delta(delta())
    latest.on_gap(UP)
    assert latest.book(UP, NOW) is None


def test_every_field_of_a_whole_book_is_in_its_view() -> None:
    view = heard(snapshot([(45, 10), (44, 5)], [(47, 1)], reason="r", version=(3, 9))).book(UP, NOW)
    assert view is not None
    assert view._asdict() == {
        "token_id": UP, "bids": ((45, 10), (44, 5)), "asks": ((47, 1),), "tick": 10_000, "state": LIVE,
        "reason": "r", "epoch": 3, "seq": 9, "venue_ns": 7, "received_ns": NOW.wall_ns,
    }  # fmt: skip
    assert (view.best_bid, view.best_ask, view.mid) == ((45, 10), (47, 1), 46)


@pytest.mark.parametrize(
    ("bids", "asks", "expected_bids", "expected_asks"),
    [
        ([(46, 1)], [], ((46, 1), (45, 10)), ((47, 10),)),
        ([(44, 1)], [], ((45, 10), (44, 1)), ((47, 10),)),
        ([(45, 2)], [], ((45, 2),), ((47, 10),)),
        ([(45, 0)], [], (), ((47, 10),)),
        ([(30, 0)], [(60, 0)], ((45, 10),), ((47, 10),)),
        ([], [(48, 3), (46, 1)], ((45, 10),), ((46, 1), (47, 10), (48, 3))),
        ([], [(47, 0), (47, 5)], ((45, 10),), ((47, 5),)),
    ],
)
def test_a_delta_sets_totals_best_first(
    bids: list[Level], asks: list[Level], expected_bids: tuple[Level, ...], expected_asks: tuple[Level, ...]
) -> None:
    assert shown(heard(snapshot(), delta(bids, asks))) == Shown(expected_bids, expected_asks, LIVE)


side_levels = st.lists(st.tuples(st.integers(1, 99), st.integers(0, 3)), max_size=4)
script = st.lists(
    st.one_of(
        st.tuples(st.just("delta"), side_levels, side_levels), st.tuples(st.just("whole"), side_levels, side_levels)
    ),
    max_size=40,
)


@given(script)
@settings(max_examples=200, deadline=None)
def test_a_view_is_the_dictionary_model_and_never_changes(steps: list[tuple[str, list[Level], list[Level]]]) -> None:
    latest = heard(snapshot([], []))
    model: tuple[dict[int, int], dict[int, int]] = {}, {}
    epoch, seq = 1, 1
    views = []
    for word, bids, asks in steps:
        if word == "delta":
            seq += 1
            for levels, changed in zip(model, (bids, asks), strict=True):
                levels.update(changed)
            latest.on_delta(delta(bids, asks, (epoch, seq)))
        else:
            epoch, seq = epoch + 1, 1
            model = dict(bids), dict(asks)
            whole = [
                sorted((each for each in levels.items() if each[1]), reverse=side)
                for levels, side in zip(model, (True, False), strict=True)
            ]
            latest.on_snapshot(snapshot(*whole, version=(epoch, seq)))
        for levels in model:
            for price in [price for price, size in levels.items() if not size]:
                del levels[price]
        view = latest.book(UP, NOW)
        assert view is not None
        assert view.bids == tuple(sorted(model[0].items(), reverse=True))
        assert view.asks == tuple(sorted(model[1].items()))
        assert (view.epoch, view.seq, view.state) == (epoch, seq, LIVE)
        views.append((view, (view.bids, view.asks, view.seq)))
    assert all((view.bids, view.asks, view.seq) == then for view, then in views)
    hash(tuple(view for view, _ in views))


def test_a_view_does_not_hold_the_lists_of_the_message() -> None:
    message = snapshot()
    latest = heard(message)
    message.bids.clear()
    assert shown(latest).bids == ((45, 10),)


# --- losses ---


@pytest.mark.parametrize("version", [(1, 3), (2, 1), (2, 2)])
def test_a_delta_that_does_not_follow_ends_trust_until_the_next_whole_book(version: tuple[int, int]) -> None:
    latest = heard(snapshot(), delta([(46, 1)], version=version))
    assert shown(latest) == Shown(((45, 10),), ((47, 10),), SYNCING)
    assert latest.discontinuities == 1
    latest.on_delta(delta([(46, 1)], version=(1, 2)))
    assert shown(latest).state is SYNCING, "a late one repairs nothing"
    latest.on_snapshot(snapshot(version=(2, 1)))
    assert shown(latest).state is LIVE


@pytest.mark.parametrize("version", [(1, 5), (1, 1), (0, 9)])
def test_a_delta_that_is_known_already_does_nothing(version: tuple[int, int]) -> None:
    latest = heard(snapshot(version=(1, 5)), delta([(46, 1)], version=version))
    assert shown(latest) == Shown(((45, 10),), ((47, 10),), LIVE)
    assert latest.discontinuities == 0


def test_lost_frames_end_trust_until_the_next_whole_book() -> None:
    latest = heard(snapshot())
    latest.on_gap(UP)
    latest.on_gap("unknown")
    view = latest.book(UP, NOW)
    assert view is not None
    assert (view.state, view.reason) == (SYNCING, "frames were lost on the bus")
    latest.on_delta(delta())
    assert shown(latest).state is SYNCING
    latest.on_snapshot(snapshot(version=(1, 4)))
    latest.on_delta(delta(version=(1, 5)))
    assert shown(latest).state is LIVE


@pytest.mark.parametrize("state", [state for state in FeedState if state is not LIVE])
def test_a_book_that_is_not_live_is_not_changed_by_deltas(state: FeedState) -> None:
    latest = heard(snapshot(state=state), delta([(46, 1)]))
    assert shown(latest) == Shown(((45, 10),), ((47, 10),), state)
    assert latest.is_stale(UP, 1_000_000, NOW)


# --- silence and age ---


def test_when_market_data_falls_silent_every_book_is_stale_until_it_is_heard_again() -> None:
    latest = heard(snapshot())
    limit = SILENT_AFTER_NS / MS
    assert shown(latest, after(limit)).state is LIVE
    view = latest.book(UP, after(limit + 1))
    assert view is not None
    assert (view.state, view.reason) == (STALE, "market_data has been silent for 901 ms")
    assert view.bids == ((45, 10),)
    latest.on_heard(after(limit + 1).mono_ns)
    assert shown(latest, after(limit + 1)).state is LIVE


def test_a_clock_that_runs_backwards_makes_no_sign_of_life_older() -> None:
    latest = heard(snapshot())
    latest.on_heard(1)
    assert shown(latest).state is LIVE


def test_a_closed_book_stays_closed_in_silence() -> None:
    assert shown(heard(snapshot(state=FeedState.CLOSED)), after(60_000)).state is FeedState.CLOSED


def test_age_counts_from_the_last_change_or_confirmation() -> None:
    latest = heard(snapshot(), delta(at_ns=after(100).wall_ns))
    assert latest.age_ms(UP, after(350)) == 250
    assert latest.age_ms(UP, after(50)) == 0
    assert not latest.is_stale(UP, 250, after(350))
    assert latest.is_stale(UP, 249, after(350))
    assert latest.is_stale(UP, 1_000_000, after(5_000)), "silence outweighs any threshold"


# --- markets ---


def both(**down: object) -> LatestBook:
    latest = heard(snapshot([(45, 10), (44, 1)], [(47, 2)]), snapshot([(53, 1)], [], token=DOWN, **down))  # type: ignore[arg-type]
    latest.follow(MARKET)
    return latest


def test_a_market_shows_both_tops_and_an_empty_side_as_none() -> None:
    assert both().market("0xc1", NOW) == MarketTop("0xc1", ((45, 10), (53, 1)), ((47, 2), None), LIVE)


@pytest.mark.parametrize("state", FeedState)
def test_a_market_is_as_good_as_its_worse_book(state: FeedState) -> None:
    top = both(state=state).market("0xc1", NOW)
    assert top is not None
    assert top.state is state


def test_a_market_without_one_of_its_books_is_not_live() -> None:
    latest = heard(snapshot())
    latest.follow(MARKET)
    assert latest.market("0xc1", NOW) == MarketTop("0xc1", ((45, 10), None), ((47, 10), None), FeedState.CONNECTING)
    assert latest.market("0xnone", NOW) is None


def test_a_silent_market_is_stale() -> None:
    top = both().market("0xc1", after(1_000))
    assert top is not None
    assert top.state is STALE


# --- rings ---


def test_mids_are_kept_when_they_moved_while_live_and_both_sides_were_there() -> None:
    latest = heard(snapshot())
    latest.on_delta(delta([(45, 9)], version=(1, 2), at_ns=2))
    latest.on_delta(delta([(46, 1)], version=(1, 3), at_ns=3))
    latest.on_delta(delta([], [(47, 0)], version=(1, 4), at_ns=4))
    latest.on_delta(delta([], [(50, 1)], version=(1, 5), at_ns=5))
    latest.on_snapshot(snapshot([(10, 1)], [(20, 1)], state=FeedState.SUSPECT, version=(1, 5), at_ns=6))
    assert latest.mids(UP) == (Mid(NOW.wall_ns, 46), Mid(5, 48))


def test_the_rings_are_bounded_and_the_oldest_go_first() -> None:
    latest = heard(snapshot())
    for n in range(RING_MAX + 10):
        latest.on_snapshot(snapshot([(10 + 2 * n, 1)], [(1_000, 1)], version=(2 + n, 1), at_ns=n))
        latest.on_trade(TradePrint(UP, Side.BUY, 46, n, 0, 0))
    assert [mid.at_ns for mid in latest.mids(UP)] == list(range(10, RING_MAX + 10))
    assert [trade.size for trade in latest.trades(UP)] == list(range(10, RING_MAX + 10))


def test_what_is_forgotten_is_gone() -> None:
    latest = heard(snapshot())
    latest.on_trade(TradePrint(UP, Side.BUY, 46, 1, 0, 0))
    latest.forget(UP)
    latest.forget("unknown")
    assert (latest.book(UP, NOW), latest.mids(UP), latest.trades(UP)) == (None, (), ())
