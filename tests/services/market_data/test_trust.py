"""The state machine of a token's feed: every row, and nothing besides them."""

from __future__ import annotations

import pytest

from common.types import FeedState
from services.market_data.trust import CAUSES, MEANING, TABLE, Cause, after, diagram

CONNECTING, SYNCING, LIVE = FeedState.CONNECTING, FeedState.SYNCING, FeedState.LIVE
SUSPECT, STALE, CLOSED = FeedState.SUSPECT, FeedState.STALE, FeedState.CLOSED

ROWS = {
    Cause.SUBSCRIBED: {CONNECTING: SYNCING, SYNCING: SYNCING, SUSPECT: SYNCING},
    Cause.BOOK: {SYNCING: LIVE, LIVE: LIVE, SUSPECT: LIVE, STALE: LIVE},
    Cause.CONTRADICTED: {SYNCING: SUSPECT, LIVE: SUSPECT},
    Cause.TICK: {SYNCING: SYNCING, LIVE: SYNCING, SUSPECT: SYNCING},
    Cause.OVERDUE: {SYNCING: STALE, SUSPECT: STALE, STALE: STALE},
    Cause.FROZEN: {LIVE: STALE},
    Cause.SHOWN: {STALE: STALE},
    Cause.LOST: {SYNCING: CONNECTING, LIVE: CONNECTING, SUSPECT: CONNECTING, STALE: CONNECTING},
    Cause.ENDED: {CONNECTING: CLOSED, SYNCING: CLOSED, LIVE: CLOSED, SUSPECT: CLOSED, STALE: CLOSED},
    Cause.FOLLOWED: {CLOSED: CONNECTING},
}
"""Written by hand from what each cause means, not copied from the table."""


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("state", FeedState)
def test_each_state_and_cause_lead_where_they_must_and_nowhere_else(state: FeedState, cause: Cause) -> None:
    assert after(state, cause) is ROWS[cause].get(state)


def test_every_state_and_cause_is_explained() -> None:
    assert set(MEANING) == set(FeedState)
    assert set(CAUSES) == set(Cause)


def reachable(start: FeedState) -> set[FeedState]:
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        fresh = {following for (from_state, _), following in TABLE.items() if from_state is state} - seen
        seen |= fresh
        todo += fresh
    return seen


@pytest.mark.parametrize("state", FeedState)
def test_every_state_is_reached_and_live_can_be_had_again_from_it(state: FeedState) -> None:
    assert state in reachable(CONNECTING)
    assert LIVE in reachable(state)


@pytest.mark.parametrize("state", FeedState)
def test_only_a_whole_book_makes_a_feed_live(state: FeedState) -> None:
    causes = {cause for cause in Cause if after(state, cause) is LIVE}
    assert causes <= {Cause.BOOK}


@pytest.mark.parametrize("state", [state for state in FeedState if state is not CLOSED])
def test_every_open_feed_can_be_closed(state: FeedState) -> None:
    assert after(state, Cause.ENDED) is CLOSED


def test_the_diagram_shows_each_row_once() -> None:
    lines = diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> CONNECTING"]
    assert sorted(lines[2:]) == sorted(
        f"    {state} --> {following}: {cause}" for cause, ways in ROWS.items() for state, following in ways.items()
    )
