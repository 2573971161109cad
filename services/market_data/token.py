"""One token's feed: its levels, its version, where its events come from, and what is being done about doubts. Pure.

In: what core.py heard. Out: the messages that describe the token. It holds state and says it; it never decides what
to trust.
"""

from __future__ import annotations

from typing import NamedTuple

from common.book import Book
from common.messages import BookDelta, BookDepth, BookSnapshot, BookTop, FeedStatus, Level
from common.types import FeedState
from common.venues.polymarket.market import PriceRow
from common.venues.polymarket.wire import MILLI_NS, BookObject
from services.market_data.witness import Held, Witness

BOOK, TOP, DEPTH, TRADES, FEED = "book.", "top.", "depth.", "trades.", "feed."
NOBODY = 0
"""No connection: their numbers begin at 1."""
NO_STAMP = "0000000000000"
UNHEARD = "?"
"""No best price is ever stated like this."""


class Candidate:
    """The same token on a second connection, until it can take over without going back in time.

    `last` is its last change, `doubt` why its book is not to be believed ("": it is), `since_mono_ns`
    when it was asked for.
    """

    __slots__ = ("book", "connection", "doubt", "last", "since_mono_ns", "stamp")

    def __init__(self, connection: int, since_mono_ns: int) -> None:
        self.connection = connection
        self.since_mono_ns = since_mono_ns
        self.book: Book | None = None
        self.stamp = NO_STAMP
        self.last: Held | None = None
        self.doubt = ""


class Pending(NamedTuple):
    """A witness that was ahead of us: judged again until the grace time is over."""

    fetched: BookObject
    until_mono_ns: int


class TokenFeed:
    """`stamp` is the venue's time of the last event in milliseconds, as text: 13 digits compare like numbers.

    `plain_on` is the connection whose changes need no second look (LIVE, nothing held, no handover), else NOBODY.
    `bid`, `ask` and their texts are the best prices as last found to agree with the venue's words.
    """

    __slots__ = (
        "ask",
        "ask_text",
        "asked_mono_ns",
        "bid",
        "bid_text",
        "book",
        "book_topic",
        "candidate",
        "changed_asks",
        "changed_bids",
        "compared_mono_ns",
        "confirmed_mono_ns",
        "confirmed_ns",
        "depth_topic",
        "epoch",
        "feed_topic",
        "fetching",
        "heard_here",
        "heard_mono_ns",
        "held",
        "held_lost",
        "is_dirty",
        "last_depth",
        "last_top",
        "moved_mono_ns",
        "moves",
        "pending",
        "plain_on",
        "probation",
        "reason",
        "received_ns",
        "retries",
        "retry_mono_ns",
        "rows",
        "seq",
        "shells",
        "shown_mono_ns",
        "since_mono_ns",
        "source",
        "stamp",
        "state",
        "tick",
        "token_id",
        "top_topic",
        "trades_topic",
        "witness",
    )

    def __init__(self, token_id: str, tick: int, epoch: int) -> None:
        self.token_id = token_id
        self.book_topic, self.top_topic, self.depth_topic = BOOK + token_id, TOP + token_id, DEPTH + token_id
        self.trades_topic, self.feed_topic = TRADES + token_id, FEED + token_id
        self.tick = tick
        self.book = Book()
        self.state = FeedState.CONNECTING
        self.reason = ""
        self.epoch = epoch
        self.seq = 0
        self.stamp = NO_STAMP
        self.received_ns = self.confirmed_ns = 0
        self.source = self.plain_on = NOBODY
        self.heard_here = False
        self.since_mono_ns = self.heard_mono_ns = self.compared_mono_ns = self.confirmed_mono_ns = 0
        self.candidate: Candidate | None = None
        # What was heard and not yet applied; what was applied and not yet published.
        self.rows: list[PriceRow] = []
        self.changed_bids: dict[int, int] = {}
        self.changed_asks: dict[int, int] = {}
        self.is_dirty = False
        self.last_top: tuple[int, int, int, int] | None = None
        self.last_depth: tuple[object, ...] | None = None
        self.disagree()
        # A whole book that was asked for: by a doubt (fetching) or by the witness.
        self.held: list[Held] | None = None
        self.held_lost = False
        self.fetching = False
        self.asked_mono_ns = 0
        self.retry_mono_ns = self.retries = self.shells = 0
        self.witness: Witness | None = None
        self.pending: Pending | None = None
        self.moved_mono_ns = self.moves = 0
        # After a freeze a first book is not enough: shown_mono_ns is when the present connection brought it.
        self.probation = False
        self.shown_mono_ns = 0

    @property
    def venue_ns(self) -> int:
        return int(self.stamp) * MILLI_NS

    @venue_ns.setter
    def venue_ns(self, at_ns: int) -> None:
        self.stamp = stamp_of(at_ns)

    def disagree(self) -> None:
        """The next statement of best prices is looked at, whatever it is."""
        self.bid = self.ask = 0
        self.bid_text = self.ask_text = UNHEARD

    def settle_plain(self) -> None:
        """Call when state, source, held or candidate changed."""
        plain = self.state is FeedState.LIVE and self.held is None and self.candidate is None
        self.plain_on = self.source if plain else NOBODY

    def forget_changes(self) -> None:
        """What was heard or applied and not yet published."""
        self.rows = []
        self.changed_bids, self.changed_asks = {}, {}

    def forget_witness(self) -> None:
        self.witness = self.pending = None
        if not self.fetching:
            self.held, self.held_lost = None, False

    # --- what it says of itself ---

    def delta(self, received_ns: int) -> BookDelta:
        bids, asks = list(self.changed_bids.items()), list(self.changed_asks.items())
        return BookDelta(self.token_id, bids, asks, self.venue_ns, received_ns, self.epoch, self.seq)

    def best(self) -> tuple[int, int, int, int]:
        """(bid, its size, ask, its size); zeros for an empty side."""
        bids, asks = self.book.bid_side, self.book.ask_side
        bid = bids.prices[-1] if bids.prices else 0
        ask = asks.prices[0] if asks.prices else 0
        return bid, bids.sizes.get(bid, 0), ask, asks.sizes.get(ask, 0)

    def top(self) -> BookTop:
        best = self.best() if self.state is FeedState.LIVE else (0, 0, 0, 0)
        return BookTop(self.token_id, *best, self.epoch, self.seq, self.venue_ns, self.received_ns, self.state)

    def snapshot(self) -> BookSnapshot:
        return BookSnapshot(
            self.token_id,
            self.book.bids(),
            self.book.asks(),
            self.tick,
            self.state,
            self.venue_ns,
            self.received_ns,
            self.epoch,
            self.seq,
            self.reason,
            self.confirmed_ns,
        )

    def depth(self, levels: int) -> BookDepth:
        bids: list[Level] = self.book.bids(levels)
        asks: list[Level] = self.book.asks(levels)
        return BookDepth(
            self.token_id,
            bids,
            asks,
            len(bids) == len(self.book.bid_side.prices),
            len(asks) == len(self.book.ask_side.prices),
            self.tick,
            self.state,
            self.reason,
            self.epoch,
            self.seq,
            self.venue_ns,
            self.received_ns,
        )

    def status(self, at_ns: int) -> FeedStatus:
        return FeedStatus(
            self.token_id, self.state, self.reason, at_ns, self.epoch, self.seq, self.venue_ns, self.received_ns
        )


def stamp_of(at_ns: int) -> str:
    return f"{at_ns // MILLI_NS:013d}"
