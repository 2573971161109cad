"""The shell of user_data: one WebSocket of one wallet on one side, the lane "user_events" on the other.

Every message is core.py's. When the lane is full the connection is dropped and nothing more is taken until there is
room: the loss is then told first, so that the executor catches up instead of missing events in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random

from common.backoff import ExponentialBackoff
from common.edge import Edge
from common.messages import Message
from common.types import FeedState
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.user import subscribe_frame
from common.ws import Loss, LossKind, WsClient
from services.user_data.core import UserFeed

LANE = "user_events"
LANE_FULL = "the executor does not take events: the lane is full"


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
        self._on_change = on_change
        self._wall_ns = wall_ns
        self._sent = 0
        self._owes_loss = False
        self._shown = feed.state
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
        self._put(self.feed.on_reader_restarted(self._wall_ns(), "the reader restarted"))

    # --- WsHandler ---

    def on_connected(self) -> Sequence[bytes]:
        self._put(self.feed.on_opened(self._wall_ns()))
        return [subscribe_frame(self._creds)]

    def on_pong(self) -> None:
        self._put(self.feed.on_heard(self._wall_ns()))

    def on_frame(self, raw: bytes) -> None:
        self._put(self.feed.on_frame(raw, self._wall_ns()))

    def on_lost(self, loss: Loss) -> None:
        state = FeedState.STALE if loss.kind is LossKind.SILENT else FeedState.CLOSED
        self._edge.log.warning("user_feed_lost", wallet=self.feed.wallet, kind=loss.kind.value, text=loss.text)
        self._put(self.feed.on_lost(state, f"{loss.kind.value}: {loss.text}", self._wall_ns()))

    # --- the lane ---

    def _put(self, messages: Sequence[Message]) -> None:
        """Send in order. What finds no room is given up together with the connection; the loss is told once there is
        room again, before anything newer."""
        if self._owes_loss:
            self._owes_loss = not self._send_all(self.feed.on_reader_restarted(self._wall_ns(), LANE_FULL))
        if self._owes_loss or not self._send_all(messages):
            self._owes_loss = True
            self._edge.counters["lane_full"] += 1
            self._ws.drop(LANE_FULL)
        self._edge.counters.update(self.feed.counters)
        self.feed.counters.clear()
        if self.feed.state is not self._shown:
            self._shown = self.feed.state
            self._on_change()

    def _send_all(self, messages: Sequence[Message]) -> bool:
        for message in messages:
            if not self._edge.send(LANE, f"{self.feed.wallet}:{self._sent + 1}", message):
                return False
            self._sent += 1
        return True
