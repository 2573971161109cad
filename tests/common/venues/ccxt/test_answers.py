"""What a failed request means, over answers as Binance sends them: UNKNOWN is never REFUSED, nor the reverse."""

from __future__ import annotations

import pytest

from common.reasons import Reason
from common.types import Outcome, RetryClass
from common.venues.binance.errors import BinanceErrors
from common.venues.ccxt.answers import Failure, NoAnswer, NotSent, Reply, judge

TABLE = BinanceErrors()
REFUSED, UNKNOWN = Outcome.REFUSED, Outcome.UNKNOWN
NEVER, AFTER, LOOK_UP = RetryClass.NEVER, RetryClass.AFTER, RetryClass.LOOK_UP


def error(code: int, text: str, status: int = 400, **headers: str) -> Reply:
    return Reply(status, {"Content-Type": "application/json"} | headers, f'{{"code":{code},"msg":"{text}"}}')


LIMITED = "Too much request weight used; current limit is 6000 request weight per 1 MINUTE."
BUS = "An unexpected response was received from the message bus. Execution status unknown."
BACKEND = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
ROWS: list[tuple[Failure, Outcome, Reason, RetryClass]] = [
    # refused by the filters
    (error(-1013, "Filter failure: PRICE_FILTER"), REFUSED, Reason.BAD_TICK, NEVER),
    (error(-1013, "Filter failure: PERCENT_PRICE_BY_SIDE"), REFUSED, Reason.BAD_PRICE, NEVER),
    (error(-1013, "Filter failure: LOT_SIZE"), REFUSED, Reason.BAD_SIZE, NEVER),
    (error(-1013, "Filter failure: MARKET_LOT_SIZE"), REFUSED, Reason.BAD_SIZE, NEVER),
    (error(-1013, "Filter failure: NOTIONAL"), REFUSED, Reason.NOTIONAL_TOO_SMALL, NEVER),
    (error(-1013, "Filter failure: MIN_NOTIONAL"), REFUSED, Reason.NOTIONAL_TOO_SMALL, NEVER),
    (error(-1013, "Filter failure: MAX_NUM_ORDERS"), REFUSED, Reason.TOO_MANY_ORDERS, NEVER),
    (error(-1013, "Filter failure: MAX_POSITION"), REFUSED, Reason.POSITION_LIMIT, NEVER),
    (error(-1013, "Invalid quantity."), REFUSED, Reason.BAD_SIZE, NEVER),
    (error(-1013, "Market is closed."), REFUSED, Reason.MARKET_CLOSED, NEVER),
    (error(-1013, "Filter failure: SOMETHING_NEW"), REFUSED, Reason.VENUE_REFUSED, NEVER),
    # refused by the engine
    (
        error(-2010, "Account has insufficient balance for requested action."),
        REFUSED,
        Reason.INSUFFICIENT_BALANCE,
        NEVER,
    ),
    (error(-2010, "Order would immediately match and take."), REFUSED, Reason.POST_ONLY_CROSSES, NEVER),
    (error(-2010, "Market is closed."), REFUSED, Reason.MARKET_CLOSED, NEVER),
    (error(-2010, "This action is disabled on this account."), REFUSED, Reason.VENUE_AUTH, NEVER),
    (error(-2010, "This symbol is not permitted for this account."), REFUSED, Reason.VENUE_AUTH, NEVER),
    (error(-2010, "Stop loss orders are not supported for this symbol."), REFUSED, Reason.UNSUPPORTED, NEVER),
    (
        error(-2010, "Order book liquidity is less than `LOT_SIZE` filter minimum quantity."),
        REFUSED,
        Reason.NO_LIQUIDITY,
        NEVER,
    ),
    (error(-2010, "A sentence nobody has seen."), REFUSED, Reason.VENUE_REFUSED, NEVER),
    (
        error(-1010, "Account has insufficient balance for requested action."),
        REFUSED,
        Reason.INSUFFICIENT_BALANCE,
        NEVER,
    ),
    # an order of this id is there: which copy, nobody says
    (error(-2010, "Duplicate order sent."), UNKNOWN, Reason.DUPLICATE_ORDER, LOOK_UP),
    (error(-1010, "Duplicate order sent."), UNKNOWN, Reason.DUPLICATE_ORDER, LOOK_UP),
    # refused before it came to the engine
    (error(-1021, "Timestamp for this request is outside of the recvWindow."), REFUSED, Reason.CLOCK_SKEW, AFTER),
    (
        error(-1021, "Timestamp for this request was 1000ms ahead of the server's time."),
        REFUSED,
        Reason.CLOCK_SKEW,
        AFTER,
    ),
    (error(-1022, "Signature for this request is not valid."), REFUSED, Reason.VENUE_AUTH, NEVER),
    (error(-2014, "API-key format invalid.", 401), REFUSED, Reason.VENUE_AUTH, NEVER),
    (error(-2015, "Invalid API-key, IP, or permissions for action.", 401), REFUSED, Reason.VENUE_AUTH, NEVER),
    (error(-1002, "You are not authorized to execute this request.", 401), REFUSED, Reason.VENUE_AUTH, NEVER),
    (error(-1121, "Invalid symbol."), REFUSED, Reason.UNKNOWN_MARKET, NEVER),
    (error(-1111, "Parameter 'price' has too much precision."), REFUSED, Reason.BAD_TICK, NEVER),
    (error(-1111, "Parameter 'quantity' has too much precision."), REFUSED, Reason.BAD_SIZE, NEVER),
    (error(-1100, "Illegal characters found in parameter 'price'."), REFUSED, Reason.BAD_REQUEST, NEVER),
    (
        error(-1102, "Mandatory parameter 'side' was not sent, was empty/null, or malformed."),
        REFUSED,
        Reason.BAD_REQUEST,
        NEVER,
    ),
    (error(-1106, "Parameter 'timeInForce' sent when not required."), REFUSED, Reason.BAD_REQUEST, NEVER),
    (error(-1115, "Invalid timeInForce."), REFUSED, Reason.BAD_REQUEST, NEVER),
    (error(-1199, "A request code nobody has seen."), REFUSED, Reason.BAD_REQUEST, NEVER),
    (error(-2999, "An engine code nobody has seen."), REFUSED, Reason.VENUE_REFUSED, NEVER),
    (error(-1014, "Unsupported order combination."), REFUSED, Reason.UNSUPPORTED, NEVER),
    (error(-1016, "This service is no longer available."), REFUSED, Reason.VENUE_DISABLED, AFTER),
    # limits
    (error(-1003, LIMITED, 429), REFUSED, Reason.VENUE_RATE_LIMIT, AFTER),
    (
        error(-1003, "Way too much request weight used; IP banned until 1790000000000.", 418),
        REFUSED,
        Reason.VENUE_RATE_LIMIT,
        AFTER,
    ),
    (
        error(-1015, "Too many new orders; current limit is 100 orders per 10 SECOND.", 429),
        REFUSED,
        Reason.VENUE_RATE_LIMIT,
        AFTER,
    ),
    (error(-1015, "Too many new orders."), REFUSED, Reason.VENUE_RATE_LIMIT, AFTER),
    # not there
    (error(-2013, "Order does not exist."), REFUSED, Reason.ORDER_NOT_FOUND, NEVER),
    (error(-2011, "Unknown order sent."), REFUSED, Reason.ORDER_NOT_FOUND, NEVER),
    # the venue does not know what it did
    (
        error(-1000, "An unknown error occurred while processing the request."),
        UNKNOWN,
        Reason.VENUE_UNKNOWN_OUTCOME,
        LOOK_UP,
    ),
    (
        error(-1001, "Internal error; unable to process your request. Please try again."),
        UNKNOWN,
        Reason.VENUE_UNKNOWN_OUTCOME,
        LOOK_UP,
    ),
    (error(-1006, BUS), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (error(-1007, BACKEND), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (error(-1007, BACKEND, 408), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (
        error(-1008, "Server is currently overloaded with other requests."),
        UNKNOWN,
        Reason.VENUE_UNKNOWN_OUTCOME,
        LOOK_UP,
    ),
    (error(-1098, "A server code nobody has seen."), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (error(-9000, "A band nobody has seen."), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    # a 5xx was perhaps carried out, whatever it says
    (
        error(-1001, "Internal error; unable to process your request. Please try again.", 500),
        UNKNOWN,
        Reason.VENUE_UNKNOWN_OUTCOME,
        LOOK_UP,
    ),
    (
        error(-2010, "Account has insufficient balance for requested action.", 503),
        UNKNOWN,
        Reason.VENUE_UNKNOWN_OUTCOME,
        LOOK_UP,
    ),
    (Reply(502, {}, "<html><body>Bad Gateway</body></html>"), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (Reply(504, {}, ""), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    # not the venue's words
    (Reply(403, {}, "<html><body>Request blocked</body></html>"), REFUSED, Reason.VENUE_BLOCKED, AFTER),
    (
        Reply(451, {}, '{"code":0,"msg":"Service unavailable from a restricted location."}'),
        REFUSED,
        Reason.VENUE_BLOCKED,
        NEVER,
    ),
    (Reply(400, {}, "<html>Bad Request</html>"), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (Reply(400, {}, '{"code":-2010,"msg":"Acc'), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (Reply(400, {}, "[]"), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (Reply(400, {}, '{"code":"-2010","msg":"as text"}'), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (Reply(302, {"Location": "/"}, ""), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (Reply(200, {}, "null"), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    # no answer
    (NotSent("no connection within the connect timeout"), REFUSED, Reason.VENUE_UNAVAILABLE, AFTER),
    (NotSent("InvalidOrder: binance", Reason.BAD_REQUEST), REFUSED, Reason.BAD_REQUEST, NEVER),
    (NoAnswer("TIMEOUT"), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
    (NoAnswer("RESET"), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
]


@pytest.mark.parametrize(("failure", "outcome", "code", "retry"), ROWS, ids=[str(row[0])[:90] for row in ROWS])
def test_a_failure_means(failure: Failure, outcome: Outcome, code: Reason, retry: RetryClass) -> None:
    verdict = judge(failure, TABLE)
    assert (verdict.outcome, verdict.code, verdict.retry) == (outcome, code, retry)
    assert bool(verdict.retry_after_ms) == (retry is AFTER)
    assert 0 < len(verdict.text) <= 300


@pytest.mark.parametrize(
    ("headers", "pause_ms"),
    [({"Retry-After": "7"}, 7_000), ({"retry-after": "0"}, 1_000), ({"Retry-After": "soon"}, 1_000), ({}, 1_000)],
)
def test_a_pause_is_the_venues_own_where_it_names_one(headers: dict[str, str], pause_ms: int) -> None:
    assert judge(error(-1003, LIMITED, 429, **headers), TABLE).retry_after_ms == pause_ms
