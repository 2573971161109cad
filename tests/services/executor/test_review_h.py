"""Findings of a hostile review, each as the behaviour that closes it."""

from __future__ import annotations

import msgspec
import pytest

from common.effects import Now
from common.errors import Refusal
from common.messages import Judged, Mark, Marked, MarketListed, PlaceAnswer, PlaceOrder
from common.types import OrderType, Settlement, Side, TimeInForce
from common.venues.polymarket.holdings import parse_holdings
from services.executor.sight import ASKED_MAX, DepthSight
from tests.services.executor.driver import FEED, MARKET, UP, Driver, S

DAY_NS = 86_400 * S


def place_of(market: str) -> PlaceOrder:
    kind = (OrderType.LIMIT, TimeInForce.GTC, False, 520_000, 10_000_000)
    return PlaceOrder("c-1", "default", "x", "polymarket", market, "Up", Side.BUY, *kind)


def test_a_place_does_not_suffer_for_a_book_that_cannot_be_read() -> None:
    driver = Driver()
    sight = DepthSight(driver.core, 100)
    sight.follows()
    sight.observe(f"depth.{UP}", msgspec.Raw(msgspec.msgpack.encode(["OfAnotherVersion", 1])))
    judged = sight.attach(place_of("btc-up"), driver.now, lambda _: driver.now.mono_ns)
    assert isinstance(judged, Judged)
    assert judged.view is None


def test_the_newest_token_that_is_asked_for_is_followed_however_many_were_before() -> None:
    driver = Driver()
    sight = DepthSight(driver.core, 2)
    last = ""
    for number in range(ASKED_MAX + 5):
        tokens = (str(10**70 + 2 * number), str(10**70 + 2 * number + 1))
        market = msgspec.structs.replace(
            MARKET, condition_id=f"0x{number:064x}", slug=f"m{number}", token_ids=tokens, accepting=number > 0
        )
        driver.do(MarketListed(market), FEED)
        sight.attach(place_of(market.slug), driver.now, lambda _: driver.now.mono_ns)
        last = tokens[0]
    assert ("market_data", f"depth.{last}") in sight.follows()
    assert len(sight.follows()) <= ASKED_MAX


def test_a_day_that_begins_flat_begins_without_the_losses_of_the_day_before() -> None:
    driver = Driver(policies=[{"type": "DailyLossLimit", "max_value_usd": "1"}])
    driver.fill(driver.placed("a"), settlement=Settlement.CONFIRMED)
    driver.mark(Mark(UP, 520_000, 520_000))
    sell = driver.placed("b", side=Side.SELL, price=300_000)
    driver.fill(sell, side=Side.SELL, price=300_000, trade_id="t-2", settlement=Settlement.CONFIRMED)
    assert not isinstance(driver.place("c"), PlaceAnswer)
    sight = DepthSight(driver.core, 100)
    driver.now = Now(driver.now.wall_ns + DAY_NS, driver.now.mono_ns + DAY_NS)
    marked = sight.beat(driver.now, lambda _: driver.now.mono_ns)
    assert marked == Marked([])
    driver.mark()
    assert isinstance(driver.place("d"), PlaceAnswer)


@pytest.mark.parametrize("number", ['"1e9999999"', '"-1e9999999"', '"Infinity"'])
def test_a_holding_beyond_all_numbers_is_a_refusal(number: str) -> None:
    with pytest.raises(Refusal):
        parse_holdings(f'[{{"asset":"1","size":{number}}}]'.encode())
