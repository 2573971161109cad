"""The REST witness: which books to compare with the venue's own, and what the comparison proves. Pure.

In: our levels, the venue's whole book, and the changes heard since it was asked for. Out: a verdict. A witness that is
older than what the stream already said proves nothing; one that is newer proves a freeze only when the stream stayed
silent for a grace time. Requests are paid from a budget, so watching never becomes a flood.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from common.book import Book
from common.types import Side
from common.venues.polymarket.wire import MILLI_NS, BookObject

NS_PER_S = 1_000_000_000
SHELL = 10_000


class Held(msgspec.Struct, frozen=True, gc=False):
    """A level change kept while a whole book is fetched. `best_*` as stated with it; None is not stated."""

    at_ns: int
    side: Side
    price: int
    size: int
    best_bid: int | None = None
    best_ask: int | None = None


class Verdict(StrEnum):
    CONFIRMED = "CONFIRMED"
    """The venue has the book that we have."""
    TOO_OLD = "TOO_OLD"
    """The answer is older than the stream: a cached book. It proves nothing."""
    IMPLAUSIBLE = "IMPLAUSIBLE"
    """The answer contradicts what the stream states at least as late: the answer is wrong, not we."""
    AHEAD = "AHEAD"
    """The answer is not older and differs; the stream may still bring the rest."""
    DIFFERENT = "DIFFERENT"
    """The stream went on past it and has another book: something was lost."""


class Witness(NamedTuple):
    """A comparison that was asked for: when, and how far the stream had come then."""

    asked_mono_ns: int
    venue_ns: int


def replay(fetched: BookObject, held: Sequence[Held]) -> Book:
    """The fetched book with the later changes applied, in the venue's order of time.

    Sizes are totals, so it is harmless to apply a change that is in the book already.
    """
    book = Book()
    book.replace(fetched.bids, fetched.asks)
    for change in _since(held, fetched.timestamp_ms * MILLI_NS):
        book.apply(change.side, change.price, change.size)
    return book


def _since(held: Sequence[Held], at_ns: int) -> list[Held]:
    return sorted((change for change in held if change.at_ns >= at_ns), key=lambda change: change.at_ns)


def judge(ours: Book, venue_ns: int, witness: Witness, fetched: BookObject, held: Sequence[Held]) -> Verdict:
    """What the fetched book says about ours, which is as of `venue_ns`; `held` is everything since the question."""
    theirs = replay(fetched, held)
    if equal(ours, theirs):
        return Verdict.CONFIRMED
    fetched_ns = fetched.timestamp_ms * MILLI_NS
    if fetched_ns < witness.venue_ns:
        return Verdict.TOO_OLD
    if not agrees_with_last(theirs, held, fetched_ns) and agrees_with_last(ours, held, fetched_ns):
        return Verdict.IMPLAUSIBLE
    # Within one millisecond more may be on its way.
    return Verdict.AHEAD if fetched_ns >= venue_ns else Verdict.DIFFERENT


def equal(one: Book, other: Book) -> bool:
    return one.bid_side.sizes == other.bid_side.sizes and one.ask_side.sizes == other.ask_side.sizes


def agrees_with_last(book: Book, held: Sequence[Held], since_ns: int) -> bool:
    """Whether a book has the best prices that were stated last, at or after a time."""
    later = _since(held, since_ns)
    return not later or agrees(book, later[-1].best_bid, later[-1].best_ask)


def agrees(book: Book, best_bid: int | None, best_ask: int | None) -> bool:
    """Whether the venue's best prices are ours. None: not stated. An empty side is stated as 0, for asks also as 1."""
    bid, ask = book.best_prices
    if best_bid is not None and best_bid != bid:
        return False
    return best_ask is None or (0 if best_ask >= 1_000_000 else best_ask) == ask


def is_shell(book: Book | BookObject) -> bool:
    """Whether only the outermost cents are bid and asked."""
    if isinstance(book, BookObject):
        bid, ask = max(dict(book.bids), default=0), min(dict(book.asks), default=0)
    else:
        bid, ask = book.best_prices
    return 0 < bid <= SHELL and ask >= 1_000_000 - SHELL


class Budget:
    """Requests a second: a bucket that holds one second's worth and is full at the start."""

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._credit_ns = NS_PER_S
        self._at_ns: int | None = None
        self._paused_until_ns = 0

    def pause(self, until_mono_ns: int) -> None:
        """The venue asked for patience."""
        self._paused_until_ns = max(self._paused_until_ns, until_mono_ns)

    def take(self, mono_ns: int) -> bool:
        """Pay for one request; False when there is nothing left."""
        if self._at_ns is not None:
            self._credit_ns = min(NS_PER_S, self._credit_ns + max(0, mono_ns - self._at_ns))
        self._at_ns = mono_ns
        cost = NS_PER_S // self._per_s
        if self._credit_ns < cost or mono_ns < self._paused_until_ns:
            return False
        self._credit_ns -= cost
        return True
