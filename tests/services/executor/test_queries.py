from __future__ import annotations

import pytest

from common.messages import (
    FillsReport,
    GetBook,
    GetFills,
    GetOrder,
    GetOrders,
    GetPositions,
    Message,
    OrdersReport,
    PositionsReport,
    Refused,
)
from common.reasons import Reason
from common.types import Settlement
from tests.services.executor.driver import CLOSED, MARKET, RESULTS, Driver, venue_fill


@pytest.fixture
def driver() -> Driver:
    """o-1 filled, o-2 open on Down, o-3 open for the other account, one external fill."""
    driver = Driver()
    driver.fill(driver.placed("first"), settlement=Settlement.CONFIRMED)
    driver.placed("second", outcome="Down")
    driver.placed("first", account="other")
    driver.do(venue_fill("0xforeign", trade_id="t-9"), RESULTS)
    return driver


def _ask(driver: Driver, query: Message) -> Message:
    before = driver.core.dump()
    (answer,) = driver.core.query(query, driver.now)
    assert driver.core.dump() == before
    return answer


def _orders(driver: Driver, query: Message) -> list[str]:
    report = _ask(driver, query)
    assert isinstance(report, OrdersReport)
    return [order.order_id for order in report.orders]


def test_orders_are_newest_first_and_filtered(driver: Driver) -> None:
    assert _orders(driver, GetOrders("q")) == ["o-3", "o-2"]
    assert _orders(driver, GetOrders("q", open_only=False)) == ["o-3", "o-2", "o-1"]
    assert _orders(driver, GetOrders("q", "default", open_only=False)) == ["o-2", "o-1"]
    assert _orders(driver, GetOrders("q", market=MARKET.slug)) == ["o-3", "o-2"]
    assert _orders(driver, GetOrders("q", market=MARKET.condition_id)) == ["o-3", "o-2"]
    assert _orders(driver, GetOrders("q", market=CLOSED.slug)) == []
    assert _orders(driver, GetOrders("q", open_only=False, limit=1)) == ["o-3"]
    assert _orders(driver, GetOrders("q", open_only=False, limit=-5)) == ["o-3"]


def test_an_order_is_found_by_any_id_of_its_account(driver: Driver) -> None:
    venue_order_id = driver.order("o-2").venue_order_id
    for order_id in ("o-2", "second", venue_order_id, venue_order_id.upper().replace("0X", "0x")):
        assert _orders(driver, GetOrder("q", "default", order_id)) == ["o-2"]
    assert _orders(driver, GetOrder("q", "other", "first")) == ["o-3"]
    assert _orders(driver, GetOrder("q", "", "first")) == ["o-1"]


def test_fills_are_newest_first_with_external_ones(driver: Driver) -> None:
    report = _ask(driver, GetFills("q"))
    assert isinstance(report, FillsReport)
    assert [(fill.trade_id, fill.account) for fill in report.fills] == [("t-9", "external:main"), ("t-1", "default")]

    mine = _ask(driver, GetFills("q", "default", MARKET.slug))
    assert isinstance(mine, FillsReport)
    assert [fill.settlement for fill in mine.fills] == [Settlement.CONFIRMED]


def test_positions_of_one_account_or_of_all(driver: Driver) -> None:
    everything = _ask(driver, GetPositions("q"))
    mine = _ask(driver, GetPositions("q", "default"))
    external = _ask(driver, GetPositions("q", "external:main"))

    assert isinstance(everything, PositionsReport)
    assert isinstance(mine, PositionsReport)
    assert isinstance(external, PositionsReport)
    assert everything.positions == mine.positions + external.positions
    assert [(row.account, row.market, row.size) for row in mine.positions] == [("default", "btc-up", 10_000_000)]


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        (GetOrder("q", "default", "o-99"), Reason.ORDER_NOT_FOUND, "order_id"),
        (GetOrder("q", "default", "first-of-others"), Reason.ORDER_NOT_FOUND, "order_id"),
        (GetOrder("q", "nobody", "o-1"), Reason.UNKNOWN_ACCOUNT, "account"),
        (GetOrders("q", "nobody"), Reason.UNKNOWN_ACCOUNT, "account"),
        (GetOrders("q", market="nothing"), Reason.UNKNOWN_MARKET, "market"),
        (GetFills("q", market="nothing"), Reason.UNKNOWN_MARKET, "market"),
        (GetPositions("q", "nobody"), Reason.UNKNOWN_ACCOUNT, "account"),
    ],
)
def test_what_cannot_be_is_refused_by_name(driver: Driver, query: Message, code: Reason, field: str) -> None:
    answer = _ask(driver, query)

    assert isinstance(answer, Refused)
    assert (answer.command_id, answer.code, answer.field) == ("q", code, field)


def test_only_queries_are_answered(driver: Driver) -> None:
    assert driver.core.query(GetBook("q", "m"), driver.now) == []
