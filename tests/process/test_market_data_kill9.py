"""kill -9 of market_data while books move: readers know at once, and have the right books again soon after."""

from __future__ import annotations

import asyncio
import json
import urllib.request

import pytest

from common.latest import TokenView
from common.types import FeedState
from common.venues.polymarket.wire import parse_book
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group
from tests.process.probe import Probe, probe

KILLS = 3
STALE_WITHIN_S = 1.0
LIVE_WITHIN_S = 3.0
SETTLED_S = 5.0


def truth(processes: Group, token_id: str) -> TokenView:
    """The venue's book now, as levels best first."""
    url = f"http://127.0.0.1:{processes.port}/book?token_id={token_id}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        book = parse_book(json.loads(answer.read()))
    bids, asks = tuple(sorted(book.bids, reverse=True)), tuple(sorted(book.asks))
    return TokenView(token_id, bids, asks, book.tick_size, FeedState.LIVE, "", 0, 0, book.timestamp_ms * 10**6, 0)


async def is_true(processes: Group, reader: Probe, token_id: str) -> bool:
    """Whether our LIVE book is the venue's of the same millisecond, read before and after ours."""
    before = await asyncio.to_thread(truth, processes, token_id)
    view = reader.reader.book(token_id)
    after = await asyncio.to_thread(truth, processes, token_id)
    if view is None or before.venue_ns != after.venue_ns or view.state is not FeedState.LIVE:
        return False  # it moved between: look again
    return (view.bids, view.asks) == (before.bids, before.asks)


@pytest.mark.timeout(180)
async def test_readers_see_stale_within_a_second_and_a_true_live_book_soon_after_the_return() -> None:
    with group(mirror__speed="5") as processes:
        provision(processes.settings, GivenSecrets())
        for name in ("exchange", "polymarket_sim", "mirror", "market_data"):
            processes.start(name)
        await asyncio.to_thread(processes.wait_ready, "exchange", "polymarket_sim", "mirror", "market_data")
        async with probe(processes) as reader:
            tokens = [token_id for pair in (await reader.tokens()).values() for token_id in pair]
            reader.reader.follow(tokens)
            await reader.until(lambda: all_are(reader, tokens, FeedState.LIVE), SETTLED_S, "every book is LIVE")
            for _ in range(KILLS):
                epochs = {token_id: version(reader, token_id) for token_id in tokens}
                processes.kill9("market_data")
                await reader.until(lambda: all_are(reader, tokens, FeedState.STALE), STALE_WITHIN_S, "STALE")
                processes.start("market_data")
                await asyncio.to_thread(processes.wait_ready, "market_data")
                await reader.until(lambda: all_are(reader, tokens, FeedState.LIVE), LIVE_WITHIN_S, "LIVE again")
                assert all(version(reader, token_id) > epochs[token_id] for token_id in tokens)
                for token_id in tokens:
                    await true_within(processes, reader, token_id, SETTLED_S)


async def true_within(processes: Group, reader: Probe, token_id: str, deadline_s: float) -> None:
    async with asyncio.timeout(deadline_s):
        while not await is_true(processes, reader, token_id):
            reader.changed.clear()
            try:
                async with asyncio.timeout(0.05):
                    await reader.changed.wait()
            except TimeoutError:
                pass


def all_are(reader: Probe, tokens: list[str], state: FeedState) -> bool:
    return set(reader.states(tokens).values()) == {state}


def version(reader: Probe, token_id: str) -> int:
    view = reader.reader.book(token_id)
    assert view is not None
    return view.epoch
