"""The lane "user_events" as one feed uses it: messages in order, and a loss told when there was no room.

In: the messages of one wallet's feed. Out: the same on the lane, each under a key of its own. When the lane is full
the messages are given up and `on_full` is told; the loss is said first as soon as there is room again, so that the
executor catches up instead of missing events in silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from common.edge import Edge
from common.messages import Message
from services.user_data.life import FeedLife

LANE = "user_events"
LANE_FULL = "the executor does not take events: the lane is full"


class Outlet:
    """One feed's part of the lane."""

    def __init__(
        self,
        edge: Edge,
        feed: FeedLife,
        *,
        on_change: Callable[[], None],
        on_full: Callable[[], None] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.owes_loss = False
        self._edge = edge
        self._feed = feed
        self._on_change = on_change
        self._on_full = on_full
        self._wall_ns = wall_ns
        self._sent = 0
        self._shown = feed.state

    def put(self, messages: Sequence[Message]) -> None:
        """Send in order. Call it with nothing to try again to tell a loss that is owed."""
        if self.owes_loss:
            self.owes_loss = not self._send_all(self._feed.on_reader_restarted(self._wall_ns(), LANE_FULL))
        if self.owes_loss or not self._send_all(messages):
            self.owes_loss = True
            self._edge.counters["lane_full"] += 1
            if self._on_full is not None:
                self._on_full()
        self._edge.counters.update(self._feed.counters)
        self._feed.counters.clear()
        if self._feed.state is not self._shown:
            self._shown = self._feed.state
            self._on_change()

    def on_reader_restarted(self) -> None:
        self.put(self._feed.on_reader_restarted(self._wall_ns(), "the reader restarted"))

    def _send_all(self, messages: Sequence[Message]) -> bool:
        for message in messages:
            if not self._edge.send(LANE, f"{self._feed.wallet}:{self._sent + 1}", message):
                return False
            self._sent += 1
        return True
