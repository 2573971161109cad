"""How far the private feed of one wallet can be trusted, in the words the executor reads. Pure.

In: what happens to the feed (opened, heard, lost) and when. Out: UserFeedChanged messages, each change once. It is the
same for every venue; what a venue's own events mean stands in the feed of that venue, which is built on this.
"""

from __future__ import annotations

from collections import Counter

from common.messages import Message, UserFeedChanged
from common.types import FeedState

TEXT_MAX = 200


class FeedLife:
    """One wallet's private feed at one venue."""

    def __init__(self, venue: str, wallet: str) -> None:
        self.venue = venue
        self.wallet = wallet
        self.state = FeedState.CONNECTING
        self.reason = "not connected yet"
        self.counters: Counter[str] = Counter()

    def on_opened(self, wall_ns: int) -> list[Message]:
        """Connected or asked for; nothing is known before it is heard."""
        return self.change(FeedState.CONNECTING, "subscribing", wall_ns)

    def on_heard(self, wall_ns: int) -> list[Message]:
        """Events arrive from here on. Anything earlier must be caught up."""
        if self.state is FeedState.LIVE:
            return []
        return self.change(FeedState.LIVE, "", wall_ns)

    def on_lost(self, state: FeedState, reason: str, wall_ns: int) -> list[Message]:
        """`state`: STALE when the venue went silent, CLOSED when the connection ended or could not be made."""
        return self.change(state, reason[:TEXT_MAX], wall_ns)

    def on_missed(self, reason: str, wall_ns: int) -> list[Message]:
        """Something was missed, and what follows is heard again: the executor catches up in between."""
        return self.change(FeedState.SUSPECT, reason[:TEXT_MAX], wall_ns) + self.on_heard(wall_ns)

    def on_reader_restarted(self, wall_ns: int, reason: str) -> list[Message]:
        """The reader may have missed something and must catch up: it is told a loss, and then the present state."""
        told: list[Message] = [self._told(FeedState.CONNECTING, reason, wall_ns)]
        if self.state is not FeedState.CONNECTING:
            told.append(self._told(self.state, self.reason, wall_ns))
        return told

    def change(self, state: FeedState, reason: str, wall_ns: int) -> list[Message]:
        if (state, reason) == (self.state, self.reason):
            return []
        self.state, self.reason = state, reason
        return [self._told(state, reason, wall_ns)]

    def _told(self, state: FeedState, reason: str, wall_ns: int) -> Message:
        return UserFeedChanged(self.venue, self.wallet, state, reason, wall_ns)
