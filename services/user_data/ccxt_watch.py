"""What one poll after another says about a wallet's orders at a centralised exchange. Pure.

In: the open orders of each poll, and what a look-up showed of those that are gone. Out: VenueOrderChanged, each change
once. An order that came and went between two polls is not seen here: its place and its fills tell of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.messages import Message, VenueOrder, VenueOrderChanged

PLACEMENT = "PLACEMENT"
UPDATE = "UPDATE"
CANCELLATION = "CANCELLATION"


class OrderWatch:
    """The open orders of the last poll that succeeded."""

    def __init__(self, venue: str, wallet: str) -> None:
        self._venue = venue
        self._wallet = wallet
        self._open: dict[str, VenueOrder] = {}

    def listed(self, orders: Iterable[VenueOrder], at_ns: int) -> tuple[list[Message], list[str]]:
        """(what is new, ids of those that are not open any more); the latter are forgotten with `over`."""
        told: list[Message] = []
        now = {order.venue_order_id: order for order in orders}
        for order_id, order in now.items():
            known = self._open.get(order_id)
            self._open[order_id] = order
            if known is None:
                told.append(self._change(order, PLACEMENT, at_ns))
            elif (known.status, known.filled_size) != (order.status, order.filled_size):
                told.append(self._change(order, UPDATE, at_ns))
        return told, [order_id for order_id in self._open if order_id not in now]

    def over(self, order_id: str, shown: VenueOrder | None, at_ns: int) -> list[Message]:
        """A look-up after it was gone from the list: how it ended. None: the venue does not show it any more."""
        if shown is None:
            del self._open[order_id]
            return []  # nothing is claimed that nobody showed: the executor looks it up
        if shown.status == "LIVE":
            self._open[order_id] = shown  # the list was older than the order
            return []
        del self._open[order_id]
        kind = UPDATE if shown.status == "MATCHED" else CANCELLATION
        return [self._change(shown, kind, at_ns)]

    def _change(self, order: VenueOrder, kind: str, at_ns: int) -> Message:
        return VenueOrderChanged(
            self._venue, self._wallet, order.venue_order_id, kind, order.status, "", order.filled_size, at_ns
        )
