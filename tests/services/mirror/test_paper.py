"""Which markets of market_data are mirrored in paper mode."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common.edge import StreamSink
from common.messages import MarketListed
from services.mirror.paper import PaperMirror
from tests.services.exchange.world import World
from tests.services.exchange_edge import ExchangeEdge
from tests.services.fake_edge import settings_for
from tests.services.market_data.markets import market


class MirrorEdge(ExchangeEdge):
    """Also hears market_data."""

    def subscribe(self, owner: str, topic: str, sink: StreamSink) -> None:
        del owner
        self.sinks[topic] = sink

    def heard_ns(self, owner: str) -> int:
        del owner
        return self.heard_at_ns


@pytest.fixture
async def edge() -> AsyncIterator[MirrorEdge]:
    made = MirrorEdge("mirror", settings_for(), World())
    yield made
    await made.close()


async def test_markets_of_the_exchange_itself_and_of_other_venues_are_not_mirrored(edge: MirrorEdge) -> None:
    """What is mirrored at the exchange comes back through market_data when a wallet of ours trades there."""
    PaperMirror(edge.as_edge())
    instruments = edge.sinks["instruments"]
    for number, venue in enumerate(("exchange", "binance", "polymarket")):
        instruments.on_event(MarketListed(market(number, venue=venue)))
    assert [topic for topic in edge.sinks if topic.startswith("book.")] == ["book.2001"]
