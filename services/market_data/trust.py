"""How far a token's book can be trusted: the state machine, as one table. Pure.

In: a state and a cause. Out: the next state, or None where the cause says nothing in that state. The diagram in
docs/feed-states.md is generated from this table. It decides nothing else: what a cause is, core.py finds out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from common.types import FeedState

CONNECTING, SYNCING, LIVE = FeedState.CONNECTING, FeedState.SYNCING, FeedState.LIVE
SUSPECT, STALE, CLOSED = FeedState.SUSPECT, FeedState.STALE, FeedState.CLOSED


class Cause(StrEnum):
    """What can happen to the feed of one token."""

    SUBSCRIBED = "subscribed"
    BOOK = "whole book"
    CONTRADICTED = "contradicted"
    TICK = "tick changed"
    OVERDUE = "overdue"
    FROZEN = "frozen"
    SHOWN = "first book after a freeze"
    LOST = "connection lost"
    ENDED = "ended"
    FOLLOWED = "followed again"


MEANING: Final[dict[FeedState, str]] = {
    CONNECTING: "no open connection carries the token",
    SYNCING: "a connection was asked for it; the first whole book has not come",
    LIVE: "continuous since its last whole book, and nothing contradicts it",
    SUSPECT: "something contradicts the book; a whole one is being fetched",
    STALE: "the venue goes on without us: the token is silent on its connection, or no book could be had in time",
    CLOSED: "the market ended, or nobody wants it any more",
}

CAUSES: Final[dict[Cause, str]] = {
    Cause.SUBSCRIBED: "a connection was asked for the token",
    Cause.BOOK: "a whole sane book came, on which the connection's events continue",
    Cause.CONTRADICTED: "crossed, other best prices than stated, out of order, unreadable, or another witness",
    Cause.TICK: "the price grid changed: the levels are void",
    Cause.OVERDUE: "no whole book within first_book_ms",
    Cause.FROZEN: "the REST witness has a newer book and the connection said nothing",
    Cause.SHOWN: "a new connection shows its first book; it must say more, or be quiet with the venue, to be trusted",
    Cause.LOST: "the connection broke, fell silent or was dropped",
    Cause.ENDED: "the market closed or was taken off the watch list",
    Cause.FOLLOWED: "the market is wanted again",
}

TABLE: Final[dict[tuple[FeedState, Cause], FeedState]] = {
    (CONNECTING, Cause.SUBSCRIBED): SYNCING,
    (CONNECTING, Cause.ENDED): CLOSED,
    (SYNCING, Cause.SUBSCRIBED): SYNCING,
    (SYNCING, Cause.BOOK): LIVE,
    (SYNCING, Cause.CONTRADICTED): SUSPECT,
    (SYNCING, Cause.TICK): SYNCING,
    (SYNCING, Cause.OVERDUE): STALE,
    (SYNCING, Cause.LOST): CONNECTING,
    (SYNCING, Cause.ENDED): CLOSED,
    # Its connection broke while a second one had a book already, an older one: a new epoch without a pause.
    (LIVE, Cause.BOOK): LIVE,
    (LIVE, Cause.CONTRADICTED): SUSPECT,
    (LIVE, Cause.TICK): SYNCING,
    (LIVE, Cause.FROZEN): STALE,
    (LIVE, Cause.LOST): CONNECTING,
    (LIVE, Cause.ENDED): CLOSED,
    (SUSPECT, Cause.SUBSCRIBED): SYNCING,
    (SUSPECT, Cause.BOOK): LIVE,
    (SUSPECT, Cause.TICK): SYNCING,
    (SUSPECT, Cause.OVERDUE): STALE,
    (SUSPECT, Cause.LOST): CONNECTING,
    (SUSPECT, Cause.ENDED): CLOSED,
    # A frozen token stays STALE while another connection is asked for it: only a book makes it better.
    (STALE, Cause.SHOWN): STALE,
    (STALE, Cause.BOOK): LIVE,
    (STALE, Cause.OVERDUE): STALE,
    (STALE, Cause.LOST): CONNECTING,
    (STALE, Cause.ENDED): CLOSED,
    (CLOSED, Cause.FOLLOWED): CONNECTING,
}


def after(state: FeedState, cause: Cause) -> FeedState | None:
    """The next state; None where the table has no row: then nothing happens."""
    return TABLE.get((state, cause))


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> CONNECTING"]
    for (state, cause), following in TABLE.items():
        lines.append(f"    {state.value} --> {following.value}: {cause.value}")
    return "\n".join(lines) + "\n"
