"""A reader in the test's own process: the bus, a MarketReader, and waits with deadlines.

It is what a strategy process would be: it follows tokens and sees only what market_data publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from common.edge import Edge, new_request_id
from common.latest import TokenView
from common.log import set_up_logging
from common.market_reader import MarketReader
from common.messages import GetMarkets, MarketsReport
from common.types import FeedState
from tests.process.group import Group

LOOK_S = 0.01
"""Between two looks at the views of a silent owner: nothing arrives then that could wake a waiter."""


class Probe:
    """`seen` is called with every new view of a followed token."""

    def __init__(self, edge: Edge, seen: Callable[[TokenView], None] | None = None) -> None:
        self.edge = edge
        self.changed = asyncio.Event()
        self._seen = seen
        self.reader = MarketReader(edge, self._on_change)

    def _on_change(self, token_id: str) -> None:
        self.changed.set()
        view = self.reader.book(token_id)
        if view is not None and self._seen is not None:
            self._seen(view)

    async def tokens(self) -> dict[str, tuple[str, ...]]:
        """Token pairs of all markets by condition id."""
        report = await self.edge.request("market_data", GetMarkets(new_request_id()))
        assert isinstance(report, MarketsReport)
        return {view.market.condition_id: view.market.token_ids for view in report.markets}

    def states(self, token_ids: Iterable[str]) -> dict[str, FeedState | None]:
        views = {token_id: self.reader.book(token_id) for token_id in token_ids}
        return {token_id: view.state if view else None for token_id, view in views.items()}

    async def until(self, holds: Callable[[], bool], within_s: float, what: str) -> float:
        """Seconds until something was true of the views; fails after the deadline."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not holds():
            left_s = within_s - (loop.time() - began)
            assert left_s > 0, f"not within {within_s} s: {what}"
            self.changed.clear()
            try:
                async with asyncio.timeout(min(left_s, LOOK_S)):
                    await self.changed.wait()
            except TimeoutError:
                pass
        return loop.time() - began


@asynccontextmanager
async def probe(group: Group, seen: Callable[[TokenView], None] | None = None) -> AsyncIterator[Probe]:
    edge = Edge("probe", group.settings, set_up_logging("probe"))
    failed = asyncio.ensure_future(edge.failed())
    try:
        yield Probe(edge, seen)
        assert not failed.done(), failed.exception()
    finally:
        failed.cancel()
        await edge.close()
