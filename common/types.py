"""The words every part shares: sides, order kinds, states, and the integer units.

Prices, sizes and money are integers of 10**-6 ("micros"); times are integer nanoseconds since the epoch unless
a name says otherwise. Nothing in here computes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

Price = NewType("Price", int)
"""Collateral per share in micros: 0.52 is 520_000."""
Size = NewType("Size", int)
"""Shares in micros: 10 shares are 10_000_000."""
Cash = NewType("Cash", int)
"""Collateral in micros."""

ONE = 1_000_000
"""One unit (a share, a dollar, a price of 1) in micros."""


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class TimeInForce(StrEnum):
    GTC = "GTC"
    GTD = "GTD"
    FOK = "FOK"
    FAK = "FAK"

    @property
    def rests(self) -> bool:
        """Whether what does not match at once stays in the book."""
        return self in (TimeInForce.GTC, TimeInForce.GTD)


class OrderType(StrEnum):
    LIMIT = "LIMIT"
    MARKET = "MARKET"


class Settlement(StrEnum):
    """The life of one fill on the venue's chain (protocol section 6, item 11)."""

    MATCHED = "MATCHED"
    MINED = "MINED"
    RETRYING = "RETRYING"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


class Status(StrEnum):
    """The order vocabulary of spec 3; a projection of the order's two axes."""

    PENDING = "Pending"
    SUBMITTING = "Submitting"
    WORKING = "Working"
    PARTIALLY_FILLED = "PartiallyFilled"
    FILLED = "Filled"
    CANCELLING = "Cancelling"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"
    EXPIRED = "Expired"
    UNKNOWN = "Unknown"


class Lifecycle(StrEnum):
    """The order vocabulary of spec 4; a projection of the order's two axes."""

    PENDING = "PENDING"
    PLACED = "PLACED"
    MATCHED = "MATCHED"
    PARTIAL_FILL = "PARTIAL_FILL"
    MINED = "MINED"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


class Outcome(StrEnum):
    """What one request to a venue came to. UNKNOWN is never reported as REFUSED, nor the reverse."""

    DONE = "DONE"
    REFUSED = "REFUSED"
    UNKNOWN = "UNKNOWN"


class RetryClass(StrEnum):
    """What may be tried next with a request that did not end DONE."""

    NEVER = "NEVER"
    AFTER = "AFTER"
    """The same request, after `retry_after_ms`."""
    LOOK_UP = "LOOK_UP"
    """Nothing before the venue was asked what became of it."""


class FeedState(StrEnum):
    """How far one feed can be trusted."""

    CONNECTING = "CONNECTING"
    SYNCING = "SYNCING"
    LIVE = "LIVE"
    SUSPECT = "SUSPECT"
    STALE = "STALE"
    CLOSED = "CLOSED"
