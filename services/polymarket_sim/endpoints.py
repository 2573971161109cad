"""The HTTP calls of the venue by name, and the groups in which faults and limits speak of them.

An endpoint is a method and a path template: "POST /order", "GET /data/order/{id}". Pure.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

POST_ORDER: Final = "POST /order"
POST_ORDERS: Final = "POST /orders"
DELETE_ORDER: Final = "DELETE /order"
DELETE_ORDERS: Final = "DELETE /orders"
CANCEL_ALL: Final = "DELETE /cancel-all"
CANCEL_MARKET: Final = "DELETE /cancel-market-orders"
HEARTBEAT: Final = "POST /v1/heartbeats"
LOOKUP: Final = "GET /data/order/{id}"
OTHER: Final = "other"
"""Whatever has no route here."""

PLACES: Final = frozenset({POST_ORDER, POST_ORDERS})
CANCELS: Final = frozenset({DELETE_ORDER, DELETE_ORDERS, CANCEL_ALL, CANCEL_MARKET})
ORDER_CALLS: Final = PLACES | CANCELS

GROUPS: Final[dict[str, frozenset[str]]] = {
    "places": PLACES,
    "cancels": CANCELS,
    "orders": ORDER_CALLS,
    "heartbeats": frozenset({HEARTBEAT}),
    "lookups": frozenset({LOOKUP}),
    "lists": frozenset({"GET /data/orders", "GET /data/trades"}),
    "balances": frozenset({"GET /balance-allowance", "GET /balance-allowance/update"}),
    "account": frozenset({"GET /auth/api-keys", "GET /auth/ban-status/closed-only", "GET /v1/user/rate-limit-tier"}),
    "keys": frozenset({"POST /auth/api-key", "GET /auth/derive-api-key", "DELETE /auth/api-key"}),
    "holdings": frozenset({"GET /data/positions", "GET /data/v2/positions"}),
    "public": frozenset({"GET /time", "GET /ok", "GET /version", "GET /api/geoblock"}),
}
"""What may be written for several endpoints at once."""
KNOWN: Final = frozenset().union(*GROUPS.values())


@lru_cache(maxsize=256)
def endpoints_in(text: str) -> frozenset[str]:
    """The endpoints a text names: groups and endpoints with commas between them. Unknown words are left out."""
    found: set[str] = set()
    for word in map(str.strip, text.split(",")):
        found |= GROUPS.get(word, frozenset({word} & KNOWN))
    return frozenset(found)


def unknown_endpoints(text: str) -> list[str]:
    """The words of a text that name no endpoint."""
    return [word for word in map(str.strip, text.split(",")) if word not in GROUPS and word not in KNOWN]
