"""What the user channel of one wallet means for the executor. Pure.

In: the life of the connection (opened, heard, lost) and its frames. Out: messages for the lane, in order: own fills,
changes of own orders, and whether the feed can be trusted. It keeps no orders: a loss is reported at once, and what
happened in between is the executor's to catch up. Other people's legs of a trade never leave here.
"""

from __future__ import annotations

from common.errors import Refusal
from common.messages import Message, VenueOrderChanged
from common.venues.polymarket.user import OrderEvent, TradeEvent, own_fills, parse_user_frame
from services.user_data.life import TEXT_MAX, FeedLife

VENUE = "polymarket"


class UserFeed(FeedLife):
    """One wallet's user channel."""

    def __init__(self, wallet: str, api_key: str, addresses: frozenset[str]) -> None:
        super().__init__(VENUE, wallet)
        self._api_key = api_key
        self._addresses = addresses

    def on_frame(self, raw: bytes, wall_ns: int) -> list[Message]:
        """The messages of one frame. What cannot be read ends trust in the feed: it may have been a fill."""
        messages = self.on_heard(wall_ns)
        try:
            events = parse_user_frame(raw)
        except Refusal as refusal:
            return messages + self._unreadable(refusal.message, wall_ns)
        for event in events:
            if isinstance(event, OrderEvent):
                messages += self._order(event, wall_ns)
            elif isinstance(event, TradeEvent):
                messages += self._trade(event)
            elif event.problem:
                messages += self._unreadable(f"{event.event_type}: {event.problem}", wall_ns)
            else:
                self.counters["events_of_unknown_type"] += 1
        return messages

    def _order(self, event: OrderEvent, wall_ns: int) -> list[Message]:
        if not self._is_ours(event):
            self.counters["events_of_others"] += 1
            return []
        self.counters["order_events"] += 1
        return [
            VenueOrderChanged(
                VENUE,
                self.wallet,
                event.venue_order_id,
                event.kind.value,
                event.status.value,
                event.status_text[:TEXT_MAX],
                event.size_matched,
                event.event_ns or wall_ns,
            )
        ]

    def _is_ours(self, event: OrderEvent) -> bool:
        named = (event.owner, event.order_owner, event.maker_address)
        if not any(named):
            return True  # the channel is private; some events name nobody
        return self._api_key in named[:2] or event.maker_address.lower() in self._addresses

    def _trade(self, trade: TradeEvent) -> list[Message]:
        fills = own_fills(trade, self._api_key, self._addresses)
        self.counters["own_fills"] += len(fills)
        if not fills:
            self.counters["events_of_others"] += 1
        return [fill.to_message(self.wallet) for fill in fills]

    def _unreadable(self, problem: str, wall_ns: int) -> list[Message]:
        self.counters["frames_unreadable"] += 1
        return self.on_missed(f"unreadable: {problem}", wall_ns)
