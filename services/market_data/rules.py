"""The settings of market_data that its core decides by. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from common.venues.polymarket.wire import MILLI_NS

if TYPE_CHECKING:
    from common.settings import MarketData


class Rules(NamedTuple):
    """The settings of [market_data] that decide, in nanoseconds."""

    first_book_ns: int
    quiet_ns: int
    audit_ns: int
    grace_ns: int
    late_after_ns: int
    requests_per_s: int
    batch: int
    depth_levels: int
    depth_every_ns: int
    markets_max: int

    @classmethod
    def of(cls, settings: MarketData) -> Rules:
        return cls(
            first_book_ns=settings.first_book_ms * MILLI_NS,
            quiet_ns=settings.quiet_ms * MILLI_NS,
            audit_ns=settings.audit_ms * MILLI_NS,
            grace_ns=settings.witness_grace_ms * MILLI_NS,
            late_after_ns=settings.late_after_ms * MILLI_NS,
            requests_per_s=settings.witness_requests_per_s,
            batch=settings.witness_batch,
            depth_levels=settings.depth_levels,
            depth_every_ns=1_000_000_000 // settings.depth_updates_per_s,
            markets_max=settings.markets_max,
        )
