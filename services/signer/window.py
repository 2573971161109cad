"""How much was signed lately: a limit on the money that leaves one wallet in any 60 seconds. Pure.

In: an order's id and what it can give away, and the time. Out: it is counted, or a Refusal with what is left and when
there is room. The same order again (a resend has the same bytes) costs nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from common.errors import Refusal
from common.fixed import format_micros
from common.reasons import Reason

MINUTE_NS = 60_000_000_000
COUNTED_MAX = 100_000
"""Orders counted in one minute; more are refused, so that the window stays exact."""
REMEMBERED_MAX = 100_000
"""Orders known to have been counted; above it the oldest is forgotten, and would cost again when it is resent."""
_MS = 1_000_000


class Window:
    """The orders of the last 60 seconds of one wallet. `limit` in micros, 0 for none."""

    def __init__(self, limit: int, *, counted_max: int = COUNTED_MAX, remembered_max: int = REMEMBERED_MAX) -> None:
        self.limit = limit
        self._counted_max = counted_max
        self._remembered_max = remembered_max
        self._counted: deque[tuple[int, int]] = deque()
        self._sum = 0
        self._remembered: OrderedDict[str, None] = OrderedDict()

    def take(self, order_id: str, amount: int, now_ns: int) -> None:
        """Count an order. Raises Refusal(SIGNING_LIMIT): then nothing was counted."""
        if not self.limit:
            return
        self._forget(now_ns)
        if order_id in self._remembered:
            self._remembered.move_to_end(order_id)
            return
        if self._sum + amount > self.limit:
            raise self._refusal(amount, now_ns)
        if len(self._counted) >= self._counted_max:
            wait_ms = self._wait_ms(self._counted[0][0], now_ns)
            text = f"{self._counted_max} orders were signed within 60 s: the next one in {wait_ms} ms"
            raise Refusal(Reason.SIGNING_LIMIT, text, "signer.notional_per_minute")
        self._counted.append((now_ns, amount))
        self._sum += amount
        self._remembered[order_id] = None
        if len(self._remembered) > self._remembered_max:
            self._remembered.popitem(last=False)

    def left(self, now_ns: int) -> int:
        """What may still be signed now, in micros."""
        self._forget(now_ns)
        return self.limit - self._sum

    def _forget(self, now_ns: int) -> None:
        while self._counted and self._counted[0][0] <= now_ns - MINUTE_NS:
            self._sum -= self._counted.popleft()[1]

    def _refusal(self, amount: int, now_ns: int) -> Refusal:
        left = self.limit - self._sum
        text = (
            f"the order can give away {format_micros(amount)}, "
            f"{format_micros(left)} of {format_micros(self.limit)} per minute is left"
        )
        if amount > self.limit:
            text = f"{text}: it is above the limit by itself"
        else:
            text = f"{text}; there is room in {self._wait_ms(self._room_since(amount), now_ns)} ms"
        return Refusal(Reason.SIGNING_LIMIT, text, "signer.notional_per_minute")

    def _room_since(self, amount: int) -> int:
        """When the order was counted with whose end there is room for `amount`."""
        found = self._sum
        for at_ns, counted in self._counted:
            found -= counted
            if found + amount <= self.limit:
                return at_ns
        raise AssertionError("an empty window has room for every amount up to the limit")

    @staticmethod
    def _wait_ms(at_ns: int, now_ns: int) -> int:
        return -(-(at_ns + MINUTE_NS - now_ns) // _MS)
