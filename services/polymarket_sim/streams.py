"""Joins a venue to the exchange's streams: replicas, broadcasts, user events, readiness.

In: snapshots, events and gaps of the "market" and "account" streams. Out: a Venue that is ready exactly while its
replicas are continuous. A gap of the market stream ends in whole books for every follower, a gap of the account
stream in cut user sockets: clients reconnect and read again what they may have missed.
"""

from __future__ import annotations

from collections.abc import Callable

from common.messages import Message, TradeSettled
from services.polymarket_sim.channels import MarketHub, UserHub
from services.polymarket_sim.venue import Venue

WAITING = "waiting for the streams of the exchange"


class MarketSink:
    """Reads the exchange's "market" stream."""

    def __init__(self, venue: Venue, hub: MarketHub, on_change: Callable[[], None]) -> None:
        self.venue = venue
        self.hub = hub
        self._on_change = on_change

    def on_snapshot(self, bodies: list[Message]) -> None:
        self.venue.books.replace(bodies)
        self.venue.books_synced = True
        self.hub.redraw()
        self._on_change()

    def on_event(self, body: Message) -> None:
        self.hub.broadcast(self.venue.books.apply(body))

    def on_gap(self) -> None:
        self.venue.books_synced = False
        self._on_change()


class AccountSink:
    """Reads the exchange's "account" stream; it has no state, only events."""

    def __init__(self, venue: Venue, hub: UserHub, on_change: Callable[[], None]) -> None:
        self.venue = venue
        self.hub = hub
        self._on_change = on_change

    def on_snapshot(self, bodies: list[Message]) -> None:
        """Nothing to show: what was missed was answered by cutting the sockets."""
        self.venue.account_synced = True
        self._on_change()

    def on_event(self, body: Message) -> None:
        if isinstance(body, TradeSettled):
            self.venue.note_settled(body.trade.settlement)
        self.hub.account_event(body)

    def on_gap(self) -> None:
        self.venue.account_synced = False
        self.venue.forget_accounts()
        self.hub.cut_all()
        self._on_change()
