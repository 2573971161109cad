"""Binance spot's error codes and texts, and what each says about the request. Pure.

The numbers are the venue's documented codes. Of -1010, -2010 and -2011 the text decides, of -1013 the filter it names.
Unlisted codes: of the server's band (-10xx) nothing is certain, requests (-11xx) and refusals of the venue (-2xxx) are
refused. `Duplicate order sent.` means that an order of this id is open: it says nothing of the copy sent first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from common.reasons import Reason
from common.types import RetryClass
from common.venues.ccxt.answers import Meaning, refused, unknown

UNKNOWN_ORDER: Final = -2011
NO_SUCH_ORDER: Final = -2013

_LATER = RetryClass.AFTER
_CODES: Final[Mapping[int, Meaning]] = {
    -1000: unknown(),  # an unknown error while processing
    -1001: unknown(),  # internal error
    -1002: refused(Reason.VENUE_AUTH),
    -1003: refused(Reason.VENUE_RATE_LIMIT, _LATER),
    -1006: unknown(),  # execution status unknown
    -1007: unknown(),  # timeout of the backend: execution status unknown
    -1008: unknown(),  # overloaded
    -1014: refused(Reason.UNSUPPORTED),
    -1015: refused(Reason.VENUE_RATE_LIMIT, _LATER),
    -1016: refused(Reason.VENUE_DISABLED, _LATER),
    -1020: refused(Reason.UNSUPPORTED),
    -1021: refused(Reason.CLOCK_SKEW, _LATER),
    -1022: refused(Reason.VENUE_AUTH),
    -1099: refused(Reason.VENUE_AUTH),
    -1121: refused(Reason.UNKNOWN_MARKET),
    -2008: refused(Reason.VENUE_AUTH),
    -2011: refused(Reason.ORDER_NOT_FOUND),
    -2013: refused(Reason.ORDER_NOT_FOUND),
    -2014: refused(Reason.VENUE_AUTH),
    -2015: refused(Reason.VENUE_AUTH),
}
_BY_TEXT: Final = (-1010, -1013, -2010)
# First match wins.
_TEXTS: Final[tuple[tuple[re.Pattern[str], Meaning], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (r"duplicate order", unknown(Reason.DUPLICATE_ORDER)),
        (r"insufficient balance", refused(Reason.INSUFFICIENT_BALANCE)),
        (r"immediately match and take", refused(Reason.POST_ONLY_CROSSES)),
        (r"market is closed", refused(Reason.MARKET_CLOSED)),
        (r"order book liquidity is less than", refused(Reason.NO_LIQUIDITY)),
        (r"not enabled|disabled on this account|not permitted|restricted for this account", refused(Reason.VENUE_AUTH)),
        (r"not supported|unsupported", refused(Reason.UNSUPPORTED)),
        (r"too many new orders", refused(Reason.VENUE_RATE_LIMIT, _LATER)),
        (r"MAX_NUM_\w*ORDERS|EXCHANGE_MAX_", refused(Reason.TOO_MANY_ORDERS)),
        (r"MAX_POSITION", refused(Reason.POSITION_LIMIT)),
        (r"PERCENT_PRICE", refused(Reason.BAD_PRICE)),
        (r"PRICE_FILTER", refused(Reason.BAD_TICK)),
        (r"LOT_SIZE|invalid quantity", refused(Reason.BAD_SIZE)),
        (r"NOTIONAL", refused(Reason.NOTIONAL_TOO_SMALL)),
        (r"invalid price|price is too", refused(Reason.BAD_PRICE)),
    )
)


class BinanceErrors:
    """`{"code": -2010, "msg": "..."}`; answers that are no errors have no negative code."""

    def error_of(self, body: Mapping[str, object]) -> tuple[int, str] | None:
        code, text = body.get("code"), body.get("msg")
        if isinstance(code, int) and code < 0 and isinstance(text, str):
            return code, text
        return None

    def meaning_of(self, code: int, text: str) -> Meaning:
        known = _CODES.get(code)
        if known is not None:
            return known
        if code in _BY_TEXT:
            return next((meaning for pattern, meaning in _TEXTS if pattern.search(text)), refused(Reason.VENUE_REFUSED))
        if code == -1111:  # too many decimals
            return refused(Reason.BAD_TICK if "price" in text.lower() else Reason.BAD_SIZE)
        if -1200 < code <= -1100:
            return refused(Reason.BAD_REQUEST)
        return refused(Reason.VENUE_REFUSED) if -3000 < code <= -2000 else unknown()
