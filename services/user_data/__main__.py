"""user_data: the private channel of each wallet, as acknowledged events for the executor."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from random import SystemRandom

from common.edge import Edge
from common.errors import ConfigError
from common.secrets import read_secret
from common.service import run_edge
from common.settings import Wallet
from common.types import FeedState
from common.venues.polymarket.credentials import parse_credentials
from services.user_data.channel import LANE, UserChannel
from services.user_data.core import VENUE, UserFeed


def open_channel(edge: Edge, wallet: Wallet, on_change: Callable[[], None]) -> UserChannel:
    file = edge.settings.paths.secrets_dir / f"{wallet.name}.user_data.creds"
    creds, address = parse_credentials(read_secret(file, field="API credentials"), str(file))
    addresses = frozenset(text.lower() for text in (address, wallet.funder) if text)
    feed = UserFeed(wallet.name, creds.key, addresses)
    return UserChannel(edge, feed, creds, rng=SystemRandom(), on_change=on_change)


async def start(edge: Edge) -> Callable[[], Awaitable[None]] | None:
    wallets = [wallet for wallet in edge.settings.wallets if wallet.venue == VENUE]
    if not wallets:
        raise ConfigError("wallets", f"no wallet of the venue {VENUE}: user_data has nothing to do")
    channels: list[UserChannel] = []
    heard: set[str] = set()

    def on_change() -> None:
        """READY once every channel was heard; later the detail says which feed is not LIVE."""
        heard.update(channel.feed.wallet for channel in channels if channel.feed.state is FeedState.LIVE)
        lost = [f"{c.feed.wallet}: {c.feed.reason}" for c in channels if c.feed.state is not FeedState.LIVE]
        edge.set_state("READY" if len(heard) == len(channels) else "STARTING", "; ".join(lost))

    channels += [open_channel(edge, wallet, on_change) for wallet in wallets]

    def on_reset() -> None:
        for channel in channels:
            channel.on_reader_restarted()

    edge.on_lane_reset(LANE, on_reset)
    edge.set_state("STARTING", f"connecting to {edge.settings.polymarket.user_ws_url}")
    for channel in channels:
        edge.spawn(channel.run(), f"channel-{channel.feed.wallet}")
    return None


def main() -> int:
    return run_edge("user_data", start)


if __name__ == "__main__":
    sys.exit(main())
