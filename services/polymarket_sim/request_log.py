"""What clients asked of the venue: counts by endpoint, posts by order id, and the last order calls with their times.

In: each request as it arrives, what it names, and how it was answered. Out: what GET /status and GET /requests of the
control port show. Everything is bounded, the oldest goes first. Pure.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from services.polymarket_sim.endpoints import ORDER_CALLS

CALLS_MAX: Final = 5_000
IDS_MAX: Final = 100_000
"""Order ids in all calls that are kept."""
ORDERS_MAX: Final = 10_000
LOST: Final = "lost"
RESET: Final = "reset"


class NamedOrder(NamedTuple):
    """An order as a call posted it; the id is empty when it could not be computed."""

    order_id: str
    order_type: str
    post_only: bool

    def to_wire(self) -> dict[str, object]:
        return {"id": self.order_id, "order_type": self.order_type, "post_only": self.post_only}


@dataclass(slots=True)
class OrderCall:
    """One order call. `outcome` is "lost" or "reset" when no answer left."""

    seq: int
    at_ns: int
    mono_ns: int
    endpoint: str
    order_ids: Sequence[str] = ()
    orders: Sequence[NamedOrder] = ()
    status: int = 0
    outcome: str = ""

    def to_wire(self) -> dict[str, object]:
        method, _, path = self.endpoint.partition(" ")
        row: dict[str, object] = {
            "seq": self.seq,
            "at_ns": self.at_ns,
            "mono_ns": self.mono_ns,
            "method": method,
            "path": path,
            "order_ids": list(self.order_ids),
            "status": self.status,
            "outcome": self.outcome,
        }
        if self.orders:
            row["orders"] = [order.to_wire() for order in self.orders]
        return row


class RequestLog:
    """Counts since the start, and a window of order calls."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._statuses: dict[str, Counter[str]] = {}
        self._posts: OrderedDict[str, int] = OrderedDict()
        self._calls: deque[OrderCall] = deque()
        self._ids = 0
        self.last = 0

    def arrived(self, endpoint: str, at_ns: int, mono_ns: int) -> OrderCall | None:
        """Count a request; order calls are kept and returned."""
        self.requests[endpoint] += 1
        if endpoint not in ORDER_CALLS:
            return None
        self.last += 1
        call = OrderCall(self.last, at_ns, mono_ns, endpoint)
        self._calls.append(call)
        self._trim()
        return call

    def posts(self, call: OrderCall, orders: Sequence[NamedOrder]) -> None:
        """What a place posted."""
        call.orders = orders
        order_ids = [order.order_id for order in orders if order.order_id]
        self.names(call, order_ids)
        for order_id in order_ids:
            self._posts[order_id] = self._posts.pop(order_id, 0) + 1
            if len(self._posts) > ORDERS_MAX:
                self._posts.popitem(last=False)

    def names(self, call: OrderCall, order_ids: Sequence[str]) -> None:
        """Which orders a call is about."""
        if self._calls and call.seq >= self._calls[0].seq:
            call.order_ids = order_ids
            self._ids += len(order_ids)
            self._trim()

    def answered(self, endpoint: str, call: OrderCall | None, status: int) -> None:
        self._count(endpoint, str(status))
        if call is not None:
            call.status = status

    def unanswered(self, endpoint: str, call: OrderCall | None, outcome: str) -> None:
        """No answer leaves: LOST or RESET."""
        self._count(endpoint, outcome)
        if call is not None:
            call.outcome = outcome

    def after(self, seq: int) -> Iterable[OrderCall]:
        """The calls that are kept with a number above `seq`, oldest first."""
        return (call for call in self._calls if call.seq > seq)

    @property
    def first(self) -> int:
        """The number of the oldest call that is kept; 0 when there is none."""
        return self._calls[0].seq if self._calls else 0

    def to_wire(self) -> dict[str, object]:
        return {
            "requests": dict(self.requests),
            "statuses": {endpoint: dict(counts) for endpoint, counts in self._statuses.items()},
            "order_posts": dict(self._posts),
        }

    def _count(self, endpoint: str, word: str) -> None:
        self._statuses.setdefault(endpoint, Counter())[word] += 1

    def _trim(self) -> None:
        while len(self._calls) > CALLS_MAX or (self._ids > IDS_MAX and len(self._calls) > 1):
            self._ids -= len(self._calls.popleft().order_ids)
