"""Which opener makes the private feeds of which kind of venue: the one list a new kind of venue adds itself to.

In: settings through the edge. Out: one source for each wallet. A wallet whose credentials are missing is a ConfigError
naming the file and the fix; modules of venues that nobody configured are not imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import SystemRandom

from common.edge import Edge
from common.errors import ConfigError
from common.secrets import read_secret
from common.settings import Wallet
from common.venues.capabilities import VenueKind, kind_of
from common.venues.polymarket.credentials import parse_credentials
from services.user_data.ccxt_feed import open_ccxt
from services.user_data.channel import UserChannel
from services.user_data.core import UserFeed
from services.user_data.exchange_feed import open_exchange
from services.user_data.source import OnChange, Opener, Source


def open_polymarket(edge: Edge, wallets: Sequence[Wallet], on_change: OnChange) -> list[Source]:
    return [_open_channel(edge, wallet, on_change) for wallet in wallets]


def _open_channel(edge: Edge, wallet: Wallet, on_change: OnChange) -> UserChannel:
    file = edge.settings.paths.secrets_dir / f"{wallet.name}.user_data.creds"
    creds, address = parse_credentials(read_secret(file, field="file of API credentials"), str(file))
    addresses = frozenset(text.lower() for text in (address, wallet.funder) if text)
    feed = UserFeed(wallet.name, creds.key, addresses)
    return UserChannel(edge, feed, creds, rng=SystemRandom(), on_change=on_change)


OPENERS: dict[VenueKind, Opener] = {
    VenueKind.POLYMARKET: open_polymarket,
    VenueKind.EXCHANGE: open_exchange,
    VenueKind.CCXT: open_ccxt,
}


def open_sources(edge: Edge, on_change: OnChange) -> list[Source]:
    """The sources of every wallet in the settings. Raises ConfigError when there is none, or no way to follow one."""
    wallets = edge.settings.wallets
    if not wallets:
        raise ConfigError("wallets", "no wallet of any venue: user_data has nothing to do")
    sources: list[Source] = []
    for venue in dict.fromkeys(wallet.venue for wallet in wallets):
        opener = OPENERS.get(kind_of(venue))
        if opener is None:
            raise ConfigError("wallets", f"user_data cannot follow wallets of the venue {venue!r}")
        sources += opener(edge, _of(venue, wallets), on_change)
    return sources


def _of(venue: str, wallets: Iterable[Wallet]) -> list[Wallet]:
    return [wallet for wallet in wallets if wallet.venue == venue]
