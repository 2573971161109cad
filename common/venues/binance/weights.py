"""Binance's request weights: what each endpoint costs, and how much a minute allows. Pure.

In: requests and the time. Out: the weight used in the present minute, or Denied with the seconds to wait.
"""

from __future__ import annotations

from typing import Final

from common.venues.binance.wire import Denied

MINUTE_MS: Final = 60_000
WEIGHT_MAX: Final = 6_000
COSTS: Final = {
    ("GET", "ping"): 1,
    ("GET", "time"): 1,
    ("GET", "exchangeInfo"): 20,
    ("GET", "depth"): 5,
    ("GET", "trades"): 25,
    ("POST", "order"): 1,
    ("GET", "order"): 4,
    ("DELETE", "order"): 1,
    ("GET", "openOrders"): 6,
    ("GET", "allOrders"): 20,
    ("GET", "myTrades"): 20,
    ("GET", "account"): 20,
}


class Weights:
    """One client's use of the present minute."""

    def __init__(self, weight_max: int = WEIGHT_MAX) -> None:
        self.weight_max = weight_max
        self.used = 0
        self.orders = 0
        self._minute = 0

    def take(self, method: str, endpoint: str, now_ms: int) -> None:
        """Raises Denied when the minute is used up; a refused request counts too."""
        minute = now_ms // MINUTE_MS
        if minute != self._minute:
            self._minute, self.used, self.orders = minute, 0, 0
        self.used += COSTS.get((method, endpoint), 1)
        self.orders += (method, endpoint) == ("POST", "order")
        if self.used > self.weight_max:
            text = f"Too much request weight used; current limit is {self.weight_max} request weight per 1 MINUTE. "
            text += "Please use WebSocket Streams for live updates to avoid polling the API."
            left_s = (MINUTE_MS - now_ms % MINUTE_MS + 999) // 1000
            raise Denied(-1003, text, 429, {"Retry-After": str(left_s)})
