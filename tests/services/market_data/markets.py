"""Markets, rules, channel events and what a board says, for the tests of market_data."""

from __future__ import annotations

from collections.abc import Iterable

from common.effects import Now, Publish
from common.instruments import Market
from common.messages import BookSnapshot, FeedStatus, Message
from common.types import FeedState, Side
from common.venues.polymarket.market import (
    BookEvent,
    LastTradeEvent,
    LevelChange,
    MarketEvent,
    PriceChangeEvent,
    TickSizeEvent,
    market_frame,
)
from common.venues.polymarket.wire import BookObject
from services.market_data.core import Board
from services.market_data.effects import Drop, Effect, FetchBooks, Move
from services.market_data.rules import Rules

CENT = 10_000
SHARE = 1_000_000
MS = 1_000_000
S = 1_000_000_000
VENUE_MS = 1_790_000_000_000
"""The venue's clock when a test begins."""
EPOCH = 7_000
RULES = Rules(
    first_book_ns=5 * S,
    quiet_ns=5 * S,
    audit_ns=30 * S,
    grace_ns=S,
    late_after_ns=10 * S,
    requests_per_s=5,
    batch=100,
    depth_levels=20,
    depth_every_ns=50 * MS,
    markets_max=10,
)


def market(number: int = 1, **changes: object) -> Market:
    members: dict[str, object] = {
        "venue": "polymarket",
        "condition_id": f"0xc{number}",
        "slug": f"market-{number}",
        "question": f"Will number {number} be Up?",
        "outcomes": ("Up", "Down"),
        "token_ids": (f"{number}001", f"{number}002"),
        "tick": CENT,
        "min_size": 5 * SHARE,
    }
    return Market(**(members | changes))  # type: ignore[arg-type]


def at(ms: float) -> Now:
    """So many milliseconds after the beginning, on both clocks."""
    return Now(int((VENUE_MS + ms) * MS), int(100 * S + ms * MS))


def book(token_id: str, bid: int = 45, ask: int = 47, at_ms: int = VENUE_MS, **more: int) -> BookEvent:
    """One level a side, prices in cents."""
    bids, asks = ((bid * CENT, 10 * SHARE),), ((ask * CENT, 10 * SHARE),)
    return BookEvent("0xc1", token_id, bids, asks, at_ms * MS, **more)  # type: ignore[arg-type]


def change(
    token_id: str, side: Side, price: int, size: int, best: tuple[int | None, int | None] = (None, None)
) -> LevelChange:
    """Prices and best prices in cents, size in shares."""
    best_bid, best_ask = (None if cents is None else cents * CENT for cents in best)
    return LevelChange(token_id, side, price * CENT, size * SHARE, best_bid, best_ask)


def changes(*rows: LevelChange, at_ms: int = VENUE_MS) -> PriceChangeEvent:
    return PriceChangeEvent("0xc1", rows, at_ms * MS)


def tick_change(token_id: str, new_tick: int, at_ms: int = VENUE_MS) -> TickSizeEvent:
    return TickSizeEvent("0xc1", token_id, CENT, new_tick, at_ms * MS)


def trade(token_id: str, at_ms: int = VENUE_MS) -> LastTradeEvent:
    return LastTradeEvent("0xc1", token_id, 46 * CENT, 3 * SHARE, Side.BUY, at_ms * MS)


def rest_book(token_id: str, bid: int = 45, ask: int = 47, at_ms: int = VENUE_MS, tick: int = CENT) -> BookObject:
    """What GET /book says: one level a side, like `book`."""
    return BookObject("0xc1", token_id, at_ms, ((bid * CENT, 10 * SHARE),), ((ask * CENT, 10 * SHARE),), tick_size=tick)


# --- a board, driven with what the venue sends ---


def say(board: Board, connection: int, now: Now, *events: MarketEvent) -> list[Effect]:
    """One frame, and the end of the loop's turn."""
    return board.on_frame(connection, market_frame(events), now) + board.flush(now)


def bodies(effects: Iterable[Effect], topic: str) -> list[Message]:
    return [effect.body for effect in effects if isinstance(effect, Publish) and effect.topic == topic]


def states(effects: Iterable[Effect], token_id: str) -> list[tuple[FeedState, str]]:
    """The states a token went through, with their reasons."""
    said = bodies(effects, f"feed.{token_id}")
    return [(body.state, body.reason) for body in said if isinstance(body, FeedStatus)]


def fetches(effects: Iterable[Effect]) -> list[FetchBooks]:
    return [effect for effect in effects if isinstance(effect, FetchBooks)]


def moves(effects: Iterable[Effect]) -> list[Move]:
    return [effect for effect in effects if isinstance(effect, Move)]


def drops(effects: Iterable[Effect]) -> list[Drop]:
    return [effect for effect in effects if isinstance(effect, Drop)]


def snapshot_of(board: Board, token_id: str) -> BookSnapshot:
    (snapshot,) = board.snapshot(f"book.{token_id}", 0)
    assert isinstance(snapshot, BookSnapshot)
    return snapshot


def state_of(board: Board, token_id: str) -> FeedState:
    return snapshot_of(board, token_id).state


def levels_of(board: Board, token_id: str) -> tuple[dict[int, int], dict[int, int]]:
    snapshot = snapshot_of(board, token_id)
    return dict(snapshot.bids), dict(snapshot.asks)
