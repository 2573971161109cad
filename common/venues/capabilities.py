"""What each kind of venue can do, as executor, gateway and the conformance kit must agree on. Pure data.

A venue is `polymarket`, `exchange` (our own) or a name from the settings' `[[ccxt]]`; its kind decides what may be
asked of it. `duplicate_refused` says what the venue does with an order id it has seen: only where it is refused for
ever may the same bytes be sent again after an unknown outcome (architecture section 7).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class VenueKind(StrEnum):
    POLYMARKET = "polymarket"
    EXCHANGE = "exchange"
    CCXT = "ccxt"


class DuplicateRefused(StrEnum):
    FOREVER = "forever"
    WHILE_OPEN = "while_open"
    NEVER = "never"


class Capabilities(msgspec.Struct, frozen=True):
    """Limits are orders in one request; 1 means one by one."""

    duplicate_refused: DuplicateRefused
    place_batch_max: int = 1
    cancel_batch_max: int = 1
    cancel_wallet: bool = False
    """Whether one call cancels everything of a wallet (and of one market of it)."""
    post_only: bool = True
    gtd: bool = True
    fok: bool = True
    heartbeat: bool = False
    """Whether the venue cancels everything when our beats stop (protocol section 4.6)."""
    positions: bool = True


CAPABILITIES: Final[dict[VenueKind, Capabilities]] = {
    VenueKind.POLYMARKET: Capabilities(
        DuplicateRefused.FOREVER, place_batch_max=15, cancel_batch_max=1000, cancel_wallet=True, heartbeat=True
    ),
    VenueKind.EXCHANGE: Capabilities(DuplicateRefused.FOREVER, cancel_batch_max=1000, cancel_wallet=True),
    VenueKind.CCXT: Capabilities(DuplicateRefused.WHILE_OPEN, gtd=False),
}


def kind_of(venue: str) -> VenueKind:
    """The kind of a venue by its name; every name that is not one of ours is a ccxt venue."""
    if venue in (VenueKind.POLYMARKET, VenueKind.EXCHANGE):
        return VenueKind(venue)
    return VenueKind.CCXT


def capabilities_of(venue: str) -> Capabilities:
    return CAPABILITIES[kind_of(venue)]
