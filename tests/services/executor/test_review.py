"""What two hostile reviews found: each once more, as it would have lost money."""

from __future__ import annotations

from msgspec import structs

from common.effects import Origin
from common.messages import (
    Cancel,
    HaltFound,
    Place,
    PlaceAnswer,
    QueryBalances,
    QueryOpenOrders,
    Refused,
    VenueFill,
    VenueOrder,
)
from common.reasons import Reason
from common.types import OrderType, Outcome, Settlement, Side, Status, TimeInForce
from services.executor.idempotency import DAY_NS
from services.executor.markets import Markets
from services.executor.order import State
from tests.services.executor.driver import EVENTS, MARKET, START, UP, Driver, view


def test_a_sell_that_filled_in_part_can_be_replaced_by_its_rest() -> None:
    """Judged with the whole size it would be refused for shares that are not there any more."""
    driver = Driver(policies=[{"type": "PositionLimit", "max_size": "10"}])
    bought = driver.placed(size=10_000_000)
    driver.result(bought, status="matched", taking=10_000_000, making=5_200_000)
    driver.fill(bought, trade_id="t-1", settlement=Settlement.CONFIRMED)
    sell = driver.placed(side=Side.SELL, size=10_000_000, price=600_000)
    driver.result(sell, status="live")
    driver.fill(sell, 4_000_000, trade_id="t-2", side=Side.SELL, price=600_000, settlement=Settlement.CONFIRMED)
    driver.halt("only reduce", reduce_only=True)

    answer = driver.replace(order_id="o-2", price=590_000, size=10_000_000)

    assert isinstance(answer, PlaceAnswer), answer
    assert answer.order.size == 10_000_000


def test_an_order_that_is_over_for_us_and_listed_open_is_cancelled_again() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place, status="live")
    driver.cancel()
    driver.canceled(driver.one(Cancel))
    assert driver.order().status is Status.CANCELLED

    driver.reconcile()
    driver.wait(1_000)
    shown = VenueOrder(place.venue_order_id, "LIVE", UP, Side.BUY, 520_000, 10_000_000, 0, START)
    driver.open_orders(driver.one(QueryOpenOrders), [shown])

    assert [cancel.venue_order_ids for cancel in driver.of(Cancel)] == [[place.venue_order_id]]


def test_a_total_that_no_order_can_reach_is_not_believed() -> None:
    driver = Driver()
    place = driver.placed(size=10_000_000)
    driver.result(place, status="live")

    driver.event(place, "UPDATE", filled=10**15)

    assert driver.order().status is Status.WORKING
    assert driver.core.desk.counts["reports_unreadable"] == 1


def test_a_position_limit_counts_the_shares_money_can_buy_at_the_best_price() -> None:
    driver = Driver(policies=[{"type": "PositionLimit", "max_size": "15"}])

    answer = driver.place(
        order_type=OrderType.MARKET,
        tif=TimeInForce.FAK,
        price=500_000,
        size=0,
        quote=5_000_000,
        max_slippage_bps=10_000,
        view=view(asks=[(250_000, 100_000_000)]),
    )

    assert isinstance(answer, Refused)
    assert answer.code is Reason.POSITION_LIMIT


def test_money_is_counted_as_given_whatever_it_buys() -> None:
    """Not at the limit price times the shares that a better price would give."""
    driver = Driver()
    driver.reconcile()
    driver.wait(1)
    driver.balances(driver.one(QueryBalances), 5_500_000)

    answer = driver.place(
        order_type=OrderType.MARKET,
        tif=TimeInForce.FAK,
        price=500_000,
        size=0,
        quote=5_000_000,
        max_slippage_bps=10_000,
        view=view(asks=[(400_000, 100_000_000)]),
    )

    assert isinstance(answer, PlaceAnswer), answer


def test_an_order_waiting_for_its_next_try_ends_with_a_halt() -> None:
    driver = Driver(max_retry_attempts=3, retry_base_delay_ms=100)
    place = driver.placed()
    driver.result(place, Outcome.REFUSED, status="", code=Reason.VENUE_RATE_LIMIT, text="not now")
    driver.halt()
    driver.resume()

    driver.wait(1_000)

    assert driver.order().reject_reason == Reason.HALTED
    assert driver.of(Place) == []


def test_numbers_no_sum_could_take_are_refused_also_without_validation() -> None:
    driver = Driver(enable_validation=False)

    for words in ({"size": 2**62}, {"size": -1}, {"price": -1}, {"quote": 1_000_000}):
        assert isinstance(driver.place(**words), Refused), words  # type: ignore[arg-type]


def test_money_within_the_notional_limit_is_taken_whatever_the_limit_price() -> None:
    driver = Driver(policies=[{"type": "OrderNotionalLimit", "max_value_usd": "5"}])

    answer = driver.place(
        order_type=OrderType.MARKET,
        tif=TimeInForce.FAK,
        price=520_000,
        size=0,
        quote=5_000_000,
        max_slippage_bps=10_000,
        view=view(asks=[(500_000, 100_000_000)]),
    )

    assert isinstance(answer, PlaceAnswer), answer


def test_a_renamed_market_is_not_found_under_its_old_slug() -> None:
    markets = Markets([MARKET])
    markets.take(structs.replace(MARKET, slug="renamed"))

    assert markets.find(MARKET.venue, MARKET.slug) is None
    assert Markets(markets.all()).find(MARKET.venue, "renamed") == markets.find(MARKET.venue, "renamed")


def test_a_fill_older_than_any_id_we_keep_is_not_booked_a_second_time() -> None:
    driver = Driver()
    at_ns = driver.now.wall_ns - DAY_NS - 1
    driver.do(
        VenueFill(
            "polymarket", "main", "t-old", "0xforgotten", UP, Side.BUY, 5_000_000, 500_000, 2_500_000, False,
            Settlement.CONFIRMED, "", at_ns,
        ),
        EVENTS,
    )  # fmt: skip

    assert driver.core.desk.positions.views() == []
    assert driver.core.desk.counts["fills_of_old"] == 1


def test_of_two_markets_with_one_slug_the_same_is_meant_after_a_restart() -> None:
    first, second = (structs.replace(MARKET, condition_id=condition_id) for condition_id in ("0x01", "0x02"))
    markets = Markets([first, second])
    markets.take(first)

    again = Markets(markets.all())

    assert again.find(MARKET.venue, MARKET.slug) == markets.find(MARKET.venue, MARKET.slug) == first


def test_after_a_journal_failure_everything_is_cancelled_again_also_what_is_in_doubt() -> None:
    driver = Driver()
    live = driver.placed()
    driver.result(live, status="live")
    driver.placed()

    driver.do(HaltFound("journal failure: no space", cancel=True), Origin("executor"))

    cancelled = [order_id for cancel in driver.of(Cancel) for order_id in cancel.venue_order_ids]
    states = [order.state for order in driver.core.desk.oms.open_orders()]
    assert len(cancelled) == 2
    assert states == [State.CANCELLING, State.RECALLED]
