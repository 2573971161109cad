"""Polymarket's user channel: one WebSocket of one wallet on one side, the lane "user_events" on the other.

Every message is core.py's. When the lane is full the connection is dropped and nothing more is taken until there is
room (outlet.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random

from common.backoff import ExponentialBackoff
from common.edge import Edge
from common.types import FeedState
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.user import subscribe_frame
from common.ws import Loss, LossKind, WsClient
from services.user_data.core import UserFeed
from services.user_data.outlet import LANE_FULL, Outlet


class UserChannel:
    """One wallet's connection."""

    def __init__(
        self,
        edge: Edge,
        feed: UserFeed,
        creds: L2Credentials,
        *,
        rng: Random,
        on_change: Callable[[], None],
        wall_ns: Callable[[], int] = time.time_ns,
        backoff: ExponentialBackoff | None = None,
    ) -> None:
        self.feed = feed
        self._edge = edge
        self._creds = creds
        self._wall_ns = wall_ns
        self._outlet = Outlet(edge, feed, on_change=on_change, on_full=self._drop, wall_ns=wall_ns)
        settings = edge.settings.user_data
        self._ws = WsClient(
            edge.settings.polymarket.user_ws_url,
            self,
            ping_interval_s=settings.ping_interval_s,
            dead_after_s=settings.dead_after_s,
            rng=rng,
            backoff=backoff,
            counters=edge.counters,
        )

    async def run(self) -> None:
        await self._ws.run()

    def on_reader_restarted(self) -> None:
        self._outlet.on_reader_restarted()

    def _drop(self) -> None:
        self._ws.drop(LANE_FULL)

    # --- WsHandler ---

    def on_connected(self) -> Sequence[bytes]:
        self._outlet.put(self.feed.on_opened(self._wall_ns()))
        return [subscribe_frame(self._creds)]

    def on_pong(self) -> None:
        self._outlet.put(self.feed.on_heard(self._wall_ns()))

    def on_frame(self, raw: bytes) -> None:
        self._outlet.put(self.feed.on_frame(raw, self._wall_ns()))

    def on_lost(self, loss: Loss) -> None:
        state = FeedState.STALE if loss.kind is LossKind.SILENT else FeedState.CLOSED
        self._edge.log.warning("user_feed_lost", wallet=self.feed.wallet, kind=loss.kind.value, text=loss.text)
        self._outlet.put(self.feed.on_lost(state, f"{loss.kind.value}: {loss.text}", self._wall_ns()))
