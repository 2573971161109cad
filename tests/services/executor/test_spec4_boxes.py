"""The unit and integration boxes of spec 4 section 8, one test each. The four of its E2E list: test_spec4_e2e.py."""

from __future__ import annotations

import msgspec

from common.messages import (
    Cancel,
    CancelAccepted,
    OrderUpdated,
    Place,
    PlaceAnswer,
    QueryOrder,
    QueryTrades,
    Refused,
    VenueOrder,
)
from common.reasons import Reason
from common.types import FeedState, Lifecycle, OrderType, Settlement, Side, Status, TimeInForce
from common.venues.polymarket.pinned import decode_pinned
from services.executor.order import State
from services.executor.positions import unexplained
from services.executor.slippage import effective_price, slippage_bps, walk
from tests.services.executor.driver import DOWN, EVENTS, MARKET, START, UP, Driver, venue_fill, view
from tests.services.executor.lying_venue import LyingVenue
from tests.services.executor.test_reconcile import Reconciling

TEN = 10_000_000
BUY, SELL = Side.BUY, Side.SELL


# --- 8.1 unit ---


def test_idempotency_prevents_duplicate_orders() -> None:
    """Idempotency prevents duplicate orders."""
    driver = Driver()
    place = driver.placed("mine")

    again = driver.place("mine")
    after_restart = (restarted := driver.restart()).place("mine")
    other = restarted.place("mine", price=530_000)

    for answer in (again, after_restart):
        assert isinstance(answer, PlaceAnswer)
        assert (answer.duplicate, answer.order.venue_order_id) == (True, place.venue_order_id)
    assert isinstance(other, Refused)
    assert (other.code, other.field) == (Reason.DUPLICATE_ID, "client_order_id")
    assert driver.of(Place, driver.all + restarted.all) == [place]
    assert len(restarted.core.desk.oms) == 1


def test_risk_check_rejects_invalid_orders() -> None:
    """Risk check rejects invalid orders."""
    driver = Driver(
        policies=[
            {"type": "PositionLimit", "max_size": "100"},
            {"type": "InventoryLimit", "max_value_usd": "60"},
            {"type": "OrderSizeLimit", "max_size": "100"},
        ]
    )

    refusals = {
        size: [row.policy for row in answer.violations]
        for size in (90_000_000, 110_000_000, 120_000_000)
        if isinstance(answer := driver.place(size=size), Refused)
    }

    assert refusals == {
        110_000_000: ["PositionLimit", "InventoryLimit", "OrderSizeLimit"],
        120_000_000: ["PositionLimit", "InventoryLimit", "OrderSizeLimit"],
    }
    assert driver.core.desk.oms.open_count == 1  # the one that was valid
    answer = driver.place(size=20_000_000)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.violations[0].value) == (Reason.POSITION_LIMIT, "110")


def test_slippage_guard_calculates_correctly() -> None:
    """Slippage guard calculates correctly."""
    book = view([(490_000, 50_000_000)], [(500_000, 10_000_000), (510_000, 20_000_000), (550_000, 100_000_000)])

    found = walk(BUY, book, MARKET, 0, size=40_000_000)

    # By hand: 10 at 0.50, 20 at 0.51, 10 at 0.55; fees 0.07 x shares x p x (1 - p), each to 0.00001.
    assert (found.size, found.cash, found.worst) == (40_000_000, 5_000_000 + 10_200_000 + 5_500_000, 550_000)
    assert found.fee == 175_000 + 349_860 + 173_250
    assert effective_price(BUY, found) == 534_953  # (20.7 + 0.69811) / 40 = 0.53495275
    # Best: 20 and a fee of 0.7 for 40 at 0.50. (21.39811 - 20.7) / 20.7 = 337.25... bps
    assert slippage_bps(BUY, found, MARKET) == "337.26"

    driver = Driver()
    words = {"order_type": OrderType.MARKET, "tif": TimeInForce.FAK, "size": 40_000_000, "price": 550_000}
    refused = driver.place(view=book, max_slippage_bps=337, **words)  # type: ignore[arg-type]
    taken = driver.place(view=book, max_slippage_bps=338, **words)  # type: ignore[arg-type]
    assert isinstance(refused, Refused)
    assert (refused.code, "337.26 bps is above 337" in refused.text) == (Reason.SLIPPAGE_LIMIT, True)
    assert isinstance(taken, PlaceAnswer)


def test_fill_handling_updates_order_state() -> None:
    """Fill handling updates order state."""
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    seen = [driver.order().lifecycle]

    driver.fill(place, 4_000_000, trade_id="t-1", price=510_000)
    seen.append(driver.order().lifecycle)
    assert (driver.order().filled_size, driver.order().avg_price) == (4_000_000, 510_000)
    driver.fill(place, 6_000_000, trade_id="t-2")
    seen.append(driver.order().lifecycle)
    for stage in (Settlement.MINED, Settlement.CONFIRMED):
        driver.fill(place, 4_000_000, trade_id="t-1", price=510_000, settlement=stage, tx_hash="0x1")
        driver.fill(place, 6_000_000, trade_id="t-2", settlement=stage, tx_hash="0x2")
        seen.append(driver.order().lifecycle)

    assert seen == [
        Lifecycle.PLACED,
        Lifecycle.PARTIAL_FILL,
        Lifecycle.MATCHED,
        Lifecycle.MINED,
        Lifecycle.CONFIRMED,
    ]
    order = driver.order()
    assert (order.status, order.filled_size, order.avg_price) == (Status.FILLED, TEN, 516_000)
    assert [fill.tx_hash for fill in order.fills] == ["0x1", "0x2"]
    assert driver.core.desk.positions.size("default", UP) == TEN


def test_cancel_operations_work_correctly() -> None:
    """Cancel operations work correctly."""
    driver = Driver()
    placed = [driver.placed(account=account, outcome=outcome) for account, outcome in CANCELLED]
    for place in placed:
        driver.result(place)
    ids = [place.venue_order_id for place in placed]

    one = driver.cancel("o-1")
    assert driver.one(Cancel).venue_order_ids == ids[:1]
    driver.canceled(driver.one(Cancel))
    of_account = driver.cancel_all("other")
    assert driver.one(Cancel).venue_order_ids == ids[2:3]
    driver.canceled(driver.one(Cancel))
    rest = driver.cancel_all("", "btc-up")
    assert driver.one(Cancel).venue_order_ids == [ids[1], ids[3]]
    driver.canceled(driver.one(Cancel))
    again = driver.cancel("o-1")

    for answer, covered in ((one, ["o-1"]), (of_account, ["o-3"]), (rest, ["o-2", "o-4"])):
        assert isinstance(answer, CancelAccepted)
        assert (answer.order_ids, answer.in_doubt) == (covered, [])
    assert {driver.order(f"o-{number}").status for number in range(1, 5)} == {Status.CANCELLED}
    assert isinstance(again, Refused)
    assert again.code is Reason.INVALID_ORDER_STATE
    assert isinstance(driver.cancel("o-9"), Refused)


CANCELLED = [("default", "Up"), ("default", "Up"), ("other", "Up"), ("default", "Down")]


# --- 8.2 integration ---


def test_full_order_flow_with_paper_executor() -> None:
    """Full order flow with paper executor. (That path with real processes: tests/process/test_paper.py.)"""
    venue = LyingVenue(Driver(), seed=4)
    venue.driver.place("mine", tif=TimeInForce.GTC)
    venue.collect()
    venue.serve(honest=True)  # the gateway takes the place
    _deliver(venue)
    assert venue.driver.order().status is Status.WORKING

    while venue.driver.order().status is not Status.FILLED:
        venue.match_something()
        _deliver(venue)
    for stage in (Settlement.MINED, Settlement.CONFIRMED):
        for fill in venue.fills.values():
            venue.driver.do(msgspec.structs.replace(fill, settlement=stage, tx_hash="0x1"), EVENTS)

    order, (truth,) = venue.driver.order(), venue.orders.values()
    assert (order.lifecycle, order.filled_size) == (Lifecycle.CONFIRMED, truth.filled)
    assert venue.driver.core.desk.positions.size("default", UP) == TEN
    assert unexplained(venue.driver.core.desk.positions, venue.driver.fills()) == []
    words = [update.order.lifecycle for update in venue.driver.of(OrderUpdated, venue.driver.all)]
    assert words[0] is Lifecycle.PENDING
    assert words[-1] is Lifecycle.CONFIRMED
    ranks = [FLOW.index(word) for word in words]
    assert ranks == sorted(ranks)  # never back


FLOW = [
    Lifecycle.PENDING,
    Lifecycle.PLACED,
    Lifecycle.PARTIAL_FILL,
    Lifecycle.MATCHED,
    Lifecycle.MINED,
    Lifecycle.CONFIRMED,
]


def _deliver(venue: LyingVenue) -> None:
    for _ in range(20):
        venue.deliver_news()


def test_partial_fill_handling() -> None:
    """Partial fill handling: in parts, over a restart, out of order and doubled; the rest is cancelled."""
    driver = Driver()
    place = driver.placed()
    driver.fill(place, 3_000_000, trade_id="t-1", price=500_000)  # before the answer to the place
    driver.result(place)
    driver = driver.restart()
    driver.fill(place, 2_000_000, trade_id="t-2", settlement=Settlement.CONFIRMED)
    driver.fill(place, 2_000_000, trade_id="t-2")
    driver.event(place, "UPDATE", "LIVE", 6_000_000)  # one is still to be told
    assert (driver.order().status, driver.order().filled_size) == (Status.PARTIALLY_FILLED, 6_000_000)

    driver.wait(500)
    missing = venue_fill(place.venue_order_id, trade_id="t-3", size=1_000_000)
    driver.trades(driver.one(QueryTrades), [missing])
    driver.cancel()
    driver.canceled(driver.one(Cancel))

    order = driver.order()
    assert (order.status, order.filled_size, len(order.fills)) == (Status.CANCELLED, 6_000_000, 3)
    assert order.avg_price == (3 * 500_000 + 3 * 520_000) // 6
    assert driver.core.desk.commitments.account("default").orders == 0
    assert unexplained(driver.core.desk.positions, driver.fills()) == []


def test_reconciliation_detects_mismatches() -> None:
    """Reconciliation detects mismatches, and explains each: orders, a trade, shares, money."""
    world = Reconciling()
    place = world.driver.placed()
    world.driver.result(place)
    world.wait(10_000)
    world.open.append(VenueOrder("0xforeign", "LIVE", UP, SELL, 900_000, TEN, 0, START))
    missed = venue_fill(place.venue_order_id, settlement=Settlement.CONFIRMED, matched_ns=START)
    world.trades.append(missed)
    world.held = {UP: TEN, DOWN: 3_000_000}
    world.cash -= missed.cash
    world.full()
    world.cash += 7_000_000
    world.full()

    found = {kind: resolution for kind, _, resolution in world.differences()}
    assert found == {
        "ORDER_MISSING": "LOOKED_UP",
        "ORDER_UNEXPECTED": "ALERT",
        "FILL_MISSING": "BOOKED",
        "POSITION": "ADJUSTED",
        "BALANCE": "ADJUSTED",
    }
    assert all(line["explanation"] for line in world.logged())
    assert world.driver.core.counters()["reconcile_mismatch_count"] == len(world.logged()) == 5


def test_error_handling_and_retries() -> None:
    """Error handling and retries: `not now` is tried again, a refusal is final, silence is looked up, never guessed."""
    driver = Driver(max_retry_attempts=2, retry_base_delay_ms=100, order_timeout_ms=2_000)
    busy, refused, silent = driver.placed("busy"), driver.placed("refused"), driver.placed("silent")

    driver.refused(busy, Reason.VENUE_UNAVAILABLE)
    driver.refused(refused, Reason.INSUFFICIENT_BALANCE, "not enough balance")
    driver.wait(100)
    driver.result(driver.one(Place))
    driver.wait(2_600)
    driver.found(driver.one(QueryOrder), "LIVE")

    shown = {name: driver.order(name) for name in ("busy", "refused", "silent")}
    assert [row.status for row in shown.values()] == [Status.WORKING, Status.REJECTED, Status.WORKING]
    assert (shown["refused"].reject_reason, shown["refused"].reject_text) == (
        "INSUFFICIENT_BALANCE",
        "not enough balance",
    )
    sent = driver.of(Place, driver.all)
    assert [row.venue_order_id for row in sent].count(silent.venue_order_id) == 1
    assert {decode_pinned(row.pinned).salt for row in sent if row.venue_order_id == busy.venue_order_id} == {
        decode_pinned(busy.pinned).salt
    }
    driver.feed(FeedState.STALE, "cut")
    answer = driver.place()
    assert isinstance(answer, Refused)
    assert answer.code is Reason.FEED_GAP
    assert State.UNKNOWN not in driver.core.desk.oms.states()
