"""Markets and channel events for the tests of market_data."""

from __future__ import annotations

from common.instruments import Market
from common.types import Side
from common.venues.polymarket.market import BookEvent, LevelChange, PriceChangeEvent, TickSizeEvent

CENT = 10_000
SHARE = 1_000_000
MS = 1_000_000


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


def book(token_id: str, bid: int = 45, ask: int = 47, at_ms: int = 1000, **more: int) -> BookEvent:
    """One level a side, prices in cents."""
    bids, asks = ((bid * CENT, 10 * SHARE),), ((ask * CENT, 10 * SHARE),)
    return BookEvent("0xc1", token_id, bids, asks, at_ms * MS, **more)  # type: ignore[arg-type]


def change(
    token_id: str, side: Side, price: int, size: int, best: tuple[int | None, int | None] = (None, None)
) -> LevelChange:
    """Prices and best prices in cents, size in shares."""
    best_bid, best_ask = (None if cents is None else cents * CENT for cents in best)
    return LevelChange(token_id, side, price * CENT, size * SHARE, best_bid, best_ask)


def changes(*rows: LevelChange, at_ms: int = 2000) -> PriceChangeEvent:
    return PriceChangeEvent("0xc1", rows, at_ms * MS)


def tick_change(token_id: str, new_tick: int) -> TickSizeEvent:
    return TickSizeEvent("0xc1", token_id, CENT, new_tick, 3000 * MS)
