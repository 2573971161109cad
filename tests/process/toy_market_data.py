"""A market_data that publishes the frames it is asked to; run by test_recorder.py.

WatchMarkets: each entry becomes a frame of connection 1. UnwatchMarkets: the connection is lost, for the entry named.
"""

from __future__ import annotations

import sys
import time

from common.edge import Edge
from common.messages import (
    Accepted,
    FeedFrame,
    FeedMark,
    MarketListed,
    Message,
    UnwatchMarkets,
    WatchMarkets,
)
from common.service import run_edge
from tests.services.market_data.markets import market

MARKET = market()


async def start(edge: Edge) -> None:
    tokens = list(MARKET.token_ids)

    def snapshot(topic: str) -> list[Message]:
        if topic == "instruments":
            return [MarketListed(MARKET)]
        return [FeedMark(1, time.time_ns(), "OPENED", tokens)] if topic == "frames" else []

    def answer(message: Message, sender: str) -> list[Message]:
        del sender
        now = time.time_ns()
        if isinstance(message, WatchMarkets):
            for entry in message.entries:
                edge.publish("frames", FeedFrame(1, now, entry.encode()))
            return [Accepted(message.command_id)]
        assert isinstance(message, UnwatchMarkets)
        edge.publish("frames", FeedMark(1, now, "LOST", [], message.entries[0]))
        return [Accepted(message.command_id)]

    edge.serve_snapshots(snapshot)
    edge.serve_asks(answer)
    edge.set_state("READY")


if __name__ == "__main__":
    sys.exit(run_edge("market_data", start))
