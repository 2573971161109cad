"""Whatever a venue sends, in whatever order things happen: no frame ends the process, no LIVE book is crossed.

Seeded and replayable: the seed is the test's parameter.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from common.types import FeedState
from services.market_data.core import Board
from services.market_data.effects import Effect, FetchBooks
from tests.services.market_data.markets import EPOCH, RULES, VENUE_MS, at, market, rest_book

TOKENS = market().token_ids
FRAMES = 300
STRANGE: list[Any] = [
    None, 0, -1, 1.5, True, [], {}, [[]], {"a": 1}, 10**30, "", "x", "0.5", ".48", "1e3", "-0.1", "NaN",
    "\uff11", "0.0000001",
    "9" * 21, "1790000000123", 1_790_000_000_123, "1790000000", "0",
]  # fmt: skip


def cents(rng: Random, low: int, high: int) -> str:
    return f"0.{rng.randrange(low, high):02d}"


def event(rng: Random, ms: int) -> dict[str, Any]:
    """An event of some type, more or less as the venue writes it."""
    kind = rng.choice(
        ["book", "price_change", "price_change", "last_trade_price", "tick_size_change", "best_bid_ask", "new_market",
         "market_resolved", "wormhole", None, 5]
    )  # fmt: skip
    made: dict[str, Any] = {
        "event_type": kind, "market": rng.choice(["0xc1", "0xzz"]), "asset_id": rng.choice([*TOKENS, "9", ""]),
        "timestamp": str(ms + rng.randrange(-5, 5)), "tick_size": rng.choice(["0.01", "0.001", ""]),
        "old_tick_size": "0.01", "new_tick_size": rng.choice(["0.001", "0.01", "0", "x"]), "price": "0.5", "size": "1",
        "side": "BUY", "best_bid": "0.45", "best_ask": "0.47", "winning_asset_id": TOKENS[0], "assets_ids": [*TOKENS],
    }  # fmt: skip
    if kind == "book":
        made["bids"] = [{"price": cents(rng, 1, 50), "size": str(rng.randrange(9))} for _ in range(rng.randrange(4))]
        made["asks"] = [{"price": cents(rng, 45, 99), "size": str(rng.randrange(9))} for _ in range(rng.randrange(4))]
    if kind == "price_change":
        made["price_changes"] = [
            {
                "asset_id": rng.choice([*TOKENS, "9"]), "price": cents(rng, 1, 99), "size": str(rng.randrange(9)),
                "side": rng.choice(["BUY", "SELL", "buy"]), "best_bid": rng.choice(["0.45", ""]),
                "best_ask": rng.choice(["0.47", "", "1"]),
            }
            for _ in range(rng.randrange(5))
        ]  # fmt: skip
    return made


def distort(rng: Random, made: dict[str, Any]) -> None:
    """Sometimes a member is strange or missing, here or in a row."""
    rows = made.get("price_changes")
    members = rng.choice([made, *(rows if isinstance(rows, list) else [])])
    if rng.random() < 0.3:
        members[rng.choice(list(members))] = rng.choice(STRANGE)
    if rng.random() < 0.2 and len(members) > 1:
        members.pop(rng.choice(list(members)))


def frame(rng: Random, ms: int) -> bytes:
    events = [event(rng, ms) for _ in range(rng.choice([1, 1, 1, 1, 0, 2, 3]))]
    for made in events:
        distort(rng, made)
    raw = json.dumps(events[0] if len(events) == 1 else events).encode()
    if rng.random() < 0.05:
        return raw[: rng.randrange(len(raw) + 1)]
    return rng.randbytes(20) if rng.random() < 0.02 else raw


def accident(rng: Random, board: Board, ms: int) -> list[Effect]:
    """Now and then something happens to a connection or a market."""
    happens = {
        0: lambda: board.on_opened(2, TOKENS, at(ms)),
        1: lambda: board.on_lost(rng.choice([1, 2]), "cut", at(ms)),
        2: lambda: board.on_opened(1, TOKENS, at(ms)),
        3: lambda: board.discovered([market()], 0, at(ms)),
        4: lambda: board.on_removed(1, TOKENS[:1], at(ms)),
    }
    return happens.get(rng.randrange(200), lambda: [])()


@pytest.mark.parametrize("seed", range(40))
def test_no_frame_ends_the_process_and_no_live_book_is_crossed(seed: int) -> None:
    rng = Random(seed)
    board = Board(RULES, EPOCH)
    board.discovered([market()], 0, at(0))
    board.on_opened(1, TOKENS, at(0))
    ms, asked = 0, list[FetchBooks]()
    for _ in range(FRAMES):
        ms += rng.randrange(200)
        effects = board.on_frame(rng.choice([1, 1, 1, 1, 2]), frame(rng, VENUE_MS + ms), at(ms))
        effects += accident(rng, board, ms) + board.flush(at(ms)) + board.on_time(at(ms))
        asked += [effect for effect in effects if isinstance(effect, FetchBooks)]
        if asked and rng.random() < 0.5:
            request = asked.pop(0)
            books = [rest_book(token, at_ms=VENUE_MS + ms + rng.randrange(-300, 10)) for token in request.token_ids]
            board.on_fetched(request, [book for book in books if rng.random() < 0.8], at(ms))
        for token in board.feeds:
            assert token.state is not FeedState.LIVE or not token.book.is_crossed
            assert token.book.bid_side.prices == sorted(token.book.bid_side.sizes)
            assert token.book.ask_side.prices == sorted(token.book.ask_side.sizes)
