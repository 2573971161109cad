"""Why a request was refused: one enum of stable codes, in bands by the layer that refuses.

The word is the contract (clients script against it); the band number groups codes for the public API
(1xxx request, 2xxx limits, 3xxx risk, 4xxx orders, 5xxx venue, 6xxx matching, 9xxx internal).
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    # request: the message itself
    OK = "OK"
    BAD_REQUEST = "BAD_REQUEST"
    UNKNOWN_MESSAGE = "UNKNOWN_MESSAGE"
    BAD_NUMBER = "BAD_NUMBER"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    UNKNOWN_VENUE = "UNKNOWN_VENUE"
    UNKNOWN_MARKET = "UNKNOWN_MARKET"
    UNKNOWN_OUTCOME = "UNKNOWN_OUTCOME"
    BAD_PRICE = "BAD_PRICE"
    BAD_TICK = "BAD_TICK"
    BAD_SIZE = "BAD_SIZE"
    SIZE_TOO_SMALL = "SIZE_TOO_SMALL"
    NOTIONAL_TOO_SMALL = "NOTIONAL_TOO_SMALL"
    BAD_TIF = "BAD_TIF"
    BAD_EXPIRY = "BAD_EXPIRY"
    BAD_POST_ONLY = "BAD_POST_ONLY"
    BAD_ID = "BAD_ID"
    BAD_RECORDING = "BAD_RECORDING"
    # limits: everything has one
    OVERLOADED = "OVERLOADED"
    IDEMPOTENCY_FULL = "IDEMPOTENCY_FULL"
    TOO_MANY_ORDERS = "TOO_MANY_ORDERS"
    TIMEOUT = "TIMEOUT"
    # risk: may trading happen now
    HALTED = "HALTED"
    FENCED = "FENCED"
    WALLET_NOT_READY = "WALLET_NOT_READY"
    FEED_GAP = "FEED_GAP"
    # orders
    DUPLICATE_ID = "DUPLICATE_ID"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    INVALID_ORDER_STATE = "INVALID_ORDER_STATE"
    DEADLINE_PASSED = "DEADLINE_PASSED"
    NOT_ACCEPTED = "NOT_ACCEPTED"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    # venue
    VENUE_REFUSED = "VENUE_REFUSED"
    VENUE_AUTH = "VENUE_AUTH"
    VENUE_RATE_LIMIT = "VENUE_RATE_LIMIT"
    VENUE_UNAVAILABLE = "VENUE_UNAVAILABLE"
    VENUE_CANCEL_ONLY = "VENUE_CANCEL_ONLY"
    VENUE_POST_ONLY = "VENUE_POST_ONLY"
    VENUE_UNKNOWN_OUTCOME = "VENUE_UNKNOWN_OUTCOME"
    # matching
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    POST_ONLY_CROSSES = "POST_ONLY_CROSSES"
    FOK_NOT_FILLED = "FOK_NOT_FILLED"
    FAK_NOT_FILLED = "FAK_NOT_FILLED"
    DUPLICATE_ORDER = "DUPLICATE_ORDER"
    MARKET_CLOSED = "MARKET_CLOSED"
    SELF_MATCH = "SELF_MATCH"
    # internal
    INTERNAL = "INTERNAL"
