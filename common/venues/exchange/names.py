"""The names of our own exchange on the bus: its venue, a wallet's account there, and its instruments. Pure.

The exchange says a token, condition or slug without a prefix (they are the mirrored market's own); on our bus they
are `exchange:<word>`, so that a mirrored market and the one it mirrors are two markets.
"""

from __future__ import annotations

from typing import Final

import msgspec

from common.instruments import Market

VENUE: Final = "exchange"
_PREFIX: Final = f"{VENUE}:"


def account_of(wallet: str) -> str:
    """The exchange account of a wallet of ours. Accounts of the simulator are addresses and hold no colon."""
    return f"own:{wallet}"


def bus_id(word: str) -> str:
    """Our word for a token, condition or slug of the exchange; `local_id` (common/venues/plain.py) is the way back."""
    return _PREFIX + word


def is_of_exchange(token_id: str) -> bool:
    return token_id.startswith(_PREFIX)


def listed(market: Market) -> Market:
    """A market of the exchange as one of this venue. Its event stays the same: exposure to it adds up."""
    return msgspec.structs.replace(
        market,
        venue=VENUE,
        condition_id=bus_id(market.condition_id),
        slug=bus_id(market.slug),
        token_ids=tuple(bus_id(token_id) for token_id in market.token_ids),
    )
