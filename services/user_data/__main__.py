"""user_data: the private channel of each wallet, as acknowledged events for the executor."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from common.edge import Edge
from common.readiness import PATIENCE_S, Readiness
from common.service import run_edge
from common.types import FeedState
from services.user_data.openers import open_sources
from services.user_data.outlet import LANE
from services.user_data.source import Source


async def start(edge: Edge) -> Callable[[], Awaitable[None]] | None:
    sources: list[Source] = []
    readiness = Readiness((wallet.name for wallet in edge.settings.wallets), time.monotonic_ns())

    def on_change() -> None:
        """READY once every feed was heard (readiness.py); later the detail says which one is not LIVE."""
        for feed in (source.feed for source in sources):
            is_live = feed.state is FeedState.LIVE
            readiness.show(feed.wallet, ready=is_live, detail="" if is_live else f"{feed.wallet}: {feed.reason}")
        edge.set_state(*readiness.state(time.monotonic_ns()))

    async def lose_patience() -> None:
        await asyncio.sleep(PATIENCE_S)
        on_change()

    def on_reset() -> None:
        for source in sources:
            source.on_reader_restarted()

    sources += open_sources(edge, on_change)
    edge.on_lane_reset(LANE, on_reset)
    on_change()
    for source in sources:
        edge.spawn(source.run(), f"feed-{source.feed.wallet}")
    edge.spawn(lose_patience(), "patience")
    return None


def main() -> int:
    return run_edge("user_data", start)


if __name__ == "__main__":
    sys.exit(main())
