"""Which opener makes the market data of which kind of venue: the one list a new kind of venue adds itself to.

In: settings through the edge. Out: Polymarket's feed, and a source for every other venue that a wallet names: without
such a wallet nothing is followed there. Modules of venues that nobody configured are not imported.
"""

from __future__ import annotations

from random import SystemRandom

from common.edge import Edge
from common.errors import ConfigError
from common.venues.capabilities import VenueKind, kind_of
from services.market_data.ccxt_feed import open_ccxt
from services.market_data.exchange_feed import open_exchange
from services.market_data.feed import MarketFeed
from services.market_data.hub import Hub
from services.market_data.source import Opener, Source

OPENERS: dict[VenueKind, Opener] = {
    VenueKind.EXCHANGE: open_exchange,
    VenueKind.CCXT: open_ccxt,
}


def open_hub(edge: Edge) -> Hub:
    """Everything of one market_data process. Raises ConfigError for a venue nobody can follow."""
    return Hub(edge, MarketFeed(edge, rng=SystemRandom()), _others(edge))


def _others(edge: Edge) -> list[Source]:
    sources: list[Source] = []
    for venue in dict.fromkeys(wallet.venue for wallet in edge.settings.wallets):
        kind = kind_of(venue)
        if kind is VenueKind.POLYMARKET:
            continue
        opener = OPENERS.get(kind)
        if opener is None:
            raise ConfigError("wallets", f"market_data cannot follow the venue {venue!r}")
        sources.append(opener(edge, venue))
    return sources
