"""Our own exchange's account events as the private feeds of our wallets there.

In: the exchange's "account" stream: events, gaps, and whether it is heard at all. Out: on the lane of each wallet what
concerns it. A gap, a new life of the exchange or its silence is told as a loss and then LIVE again, so the executor
catches up; the stream has no state of its own to show.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from common.edge import Edge
from common.messages import Message
from common.settings import Wallet
from common.types import FeedState
from common.venues.exchange.names import VENUE, account_of
from common.venues.exchange.user import account_events
from services.user_data.life import FeedLife
from services.user_data.outlet import Outlet
from services.user_data.source import OnChange, Source

OWNER = "exchange"
TOPIC = "account"
CHECK_S = 0.25
SILENT_NS = 3_000_000_000
"""A healthy exchange is heard every 500 ms; a feed that is lost stops trading, so a busy machine is given time."""
MISSED = "events of the exchange's stream were lost"


class ExchangeFeed:
    """One wallet's part of the stream."""

    def __init__(
        self, edge: Edge, wallet: str, stream: AccountStream, on_change: OnChange, wall_ns: Callable[[], int]
    ) -> None:
        self.feed = FeedLife(VENUE, wallet)
        self._account = account_of(wallet)
        self.stream = stream
        self._wall_ns = wall_ns
        self._outlet = Outlet(edge, self.feed, on_change=on_change, wall_ns=wall_ns)

    async def run(self) -> None:
        """The stream brings everything; a loss that is owed is tried again, and silence is looked for."""
        self._outlet.put(self.feed.on_opened(self._wall_ns()))
        self.stream.begin()
        while True:
            await asyncio.sleep(CHECK_S)
            self.stream.check()
            if self._outlet.owes_loss:
                self._outlet.put(())

    def on_reader_restarted(self) -> None:
        self._outlet.on_reader_restarted()

    def on_event(self, event: Message) -> None:
        messages = account_events(event, self._account, self.feed.wallet)
        if messages:
            self.feed.counters["exchange_events"] += len(messages)
            self._outlet.put(messages)

    def on_continuous(self) -> None:
        """From here on nothing is missing. When that was believed already, something was."""
        at_ns = self._wall_ns()
        if self.feed.state is FeedState.LIVE:
            self._outlet.put(self.feed.on_missed(MISSED, at_ns))
        else:
            self._outlet.put(self.feed.on_heard(at_ns))

    def on_lost(self, state: FeedState, reason: str) -> None:
        self._outlet.put(self.feed.on_lost(state, reason, self._wall_ns()))


class AccountStream:
    """The sink of the exchange's "account" stream, shared by the wallets there."""

    def __init__(
        self,
        edge: Edge,
        wallets: Sequence[Wallet],
        on_change: OnChange,
        wall_ns: Callable[[], int] = time.time_ns,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._edge = edge
        self._mono_ns = mono_ns
        self._begun = self._is_continuous = self._is_silent = False
        self.feeds = [ExchangeFeed(edge, wallet.name, self, on_change, wall_ns) for wallet in wallets]

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._edge.subscribe(OWNER, TOPIC, self)

    def check(self) -> None:
        """Of a silent exchange nobody knows what is happening there."""
        silent_ns = self._mono_ns() - self._edge.heard_ns(OWNER)
        was_silent, self._is_silent = self._is_silent, silent_ns > SILENT_NS
        if not self._is_continuous or was_silent == self._is_silent:
            return
        for feed in self.feeds:
            if self._is_silent:
                feed.on_lost(FeedState.STALE, "the exchange is silent")
            else:
                feed.on_continuous()

    # --- StreamSink ---

    def on_snapshot(self, bodies: list[Message]) -> None:
        """The stream shows no state: what was missed is the executor's to catch up."""
        del bodies
        self._is_continuous, self._is_silent = True, False
        for feed in self.feeds:
            feed.on_continuous()

    def on_event(self, body: Message) -> None:
        for feed in self.feeds:
            feed.on_event(body)

    def on_gap(self) -> None:
        self._is_continuous = False
        for feed in self.feeds:
            feed.on_lost(FeedState.CLOSED, MISSED)


def open_exchange(edge: Edge, wallets: Sequence[Wallet], on_change: OnChange) -> Sequence[Source]:
    """One feed for each wallet, all fed by one stream."""
    return AccountStream(edge, wallets, on_change).feeds
