from __future__ import annotations

import msgspec

from common.types import OrderType, Side, TimeInForce
from services.executor.oms import CHECKS_SLACK, Oms
from services.executor.order import Order, State


def _order(number: int, state: State = State.WORKING) -> Order:
    return Order(
        number=number,
        account="default",
        client_order_id="a",
        venue="polymarket",
        wallet="main",
        market="m",
        condition_id="0xc",
        token_id="1",
        outcome="Up",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        tif=TimeInForce.GTC,
        post_only=False,
        price=1,
        size=1_000,
        expire_ns=0,
        deadline_ns=0,
        deadline_mono=0,
        venue_order_id=f"0xAB{number}",
        pinned=b"",
        created_ns=1,
        state=state,
        fills={},
    )


def test_an_order_is_found_by_both_ids() -> None:
    oms = Oms()
    order = _order(7)
    oms.add(order)

    assert oms.by_order_id("o-7") is order
    assert oms.by_venue_id("0xab7") is order
    assert [oms.by_order_id(text) for text in ("7", "o-", "o-07", "o-8", "o-x", "o-" + "9" * 40, "")] == [None] * 7


def test_open_and_done_follow_the_state() -> None:
    oms = Oms()
    order = _order(1)
    oms.add(order)
    assert oms.open_orders() == [order]

    order.state = State.CANCELLED
    oms.changed(order)
    assert (oms.open_count, oms.done()) == (0, [1])

    order.report(500)
    oms.changed(order)
    assert (oms.done(), oms.unsettled()) == ([], [order])


def test_times_that_no_longer_count_are_cleared_out() -> None:
    oms = Oms()
    order = _order(1)
    oms.add(order)
    for at in range(1, 4 * CHECKS_SLACK):
        oms.check_at(order, at)

    assert len(oms._checks) < 2 * CHECKS_SLACK
    assert oms.next_check() == 4 * CHECKS_SLACK - 1


def test_history_drops_what_was_over_first() -> None:
    oms = Oms()
    orders = [_order(number) for number in (1, 2, 3)]
    for order in orders:
        oms.add(order)
    for order in (orders[1], orders[0]):
        order.state = State.FILLED
        oms.changed(order)
    dropped: list[int] = []

    oms.trim(1, lambda order: dropped.append(order.number))

    assert dropped == [2]
    assert oms.get(2) is None
    assert oms.by_venue_id("0xab2") is None
    assert len(oms) == 2


def test_the_next_check_is_the_earliest_one_in_force() -> None:
    oms = Oms()
    first, second = _order(1), _order(2)
    for order in (first, second):
        oms.add(order)
    oms.check_at(first, 10)
    oms.check_at(second, 20)
    oms.check_at(first, 30)
    assert oms.next_check() == 20

    assert oms.pop_due(19) is None
    assert oms.pop_due(20) is second
    assert second.check_mono == 0
    oms.check_at(first, 0)
    assert oms.next_check() is None


def test_indexes_are_built_again_from_rows() -> None:
    oms = Oms()
    for order in (_order(1), _order(2, State.FILLED)):
        oms.add(order)
    oms.check_at(oms.open_orders()[0], 10)
    rows = msgspec.msgpack.decode(msgspec.msgpack.encode(oms.rows()), type=list[Order])

    again = Oms(rows, oms.done())

    assert (again.next_check(), again.open_count, again.done()) == (10, 1, [2])
