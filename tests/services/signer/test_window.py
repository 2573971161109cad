"""In no 60 seconds more is signed than the limit; resends are free; a refusal says what is left and until when."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.reasons import Reason
from common.types import ONE
from services.signer.window import MINUTE_NS, Window

MS = 1_000_000
SECOND = 1_000_000_000
LIMIT = 100 * ONE

amounts = st.integers(1, 60 * ONE)
pauses = st.integers(0, 40 * SECOND)
orders = st.lists(st.tuples(st.integers(0, 12), amounts, pauses), max_size=60)


def refusal_of(window: Window, order_id: str, amount: int, now_ns: int) -> Refusal | None:
    try:
        window.take(order_id, amount, now_ns)
    except Refusal as refusal:
        return refusal
    return None


@given(orders)
def test_no_60_seconds_hold_more_than_the_limit(asked: list[tuple[int, int, int]]) -> None:
    window, now, taken = Window(LIMIT), 0, dict[str, tuple[int, int]]()
    for number, amount, pause in asked:
        now += pause
        order_id = f"o{number}"
        if refusal_of(window, order_id, amount, now) is None and order_id not in taken:
            taken[order_id] = (now, amount)
        inside = sum(one for at, one in taken.values() if at > now - MINUTE_NS)
        assert inside <= LIMIT
        assert window.left(now) == LIMIT - inside


@given(orders)
def test_what_fits_is_never_refused_and_a_refusal_counts_nothing(asked: list[tuple[int, int, int]]) -> None:
    window, now, taken = Window(LIMIT), 0, dict[str, tuple[int, int]]()
    for number, amount, pause in asked:
        now += pause
        order_id = f"o{number}"
        left = LIMIT - sum(one for at, one in taken.values() if at > now - MINUTE_NS)
        refusal = refusal_of(window, order_id, amount, now)
        assert (refusal is None) == (order_id in taken or amount <= left)
        if refusal is None:
            taken.setdefault(order_id, (now, amount))


@given(orders, amounts)
def test_a_refused_order_fits_after_the_time_it_was_told_and_not_a_millisecond_before(
    asked: list[tuple[int, int, int]], amount: int
) -> None:
    window, now = Window(LIMIT), 0
    for number, one, pause in asked:
        now += pause
        refusal_of(window, f"o{number}", one, now)
    refusal = refusal_of(window, "late", amount, now)
    if refusal is None:
        return
    found = re.search(r"room in (\d+) ms", refusal.message)
    assert found is not None, refusal.message
    wait_ns = int(found[1]) * MS
    assert refusal_of(window, "late", amount, now + wait_ns - MS) is not None
    assert refusal_of(window, "late", amount, now + wait_ns) is None


@given(st.lists(pauses, max_size=30))
def test_the_same_order_costs_once_however_often_it_is_asked_for(pause: list[int]) -> None:
    window, now = Window(LIMIT), 0
    window.take("o", LIMIT, now)
    for one in pause:
        now += one
        window.take("o", LIMIT, now)
    assert window.left(now + MINUTE_NS) == LIMIT


def test_a_refusal_says_what_is_left_and_when_there_is_room() -> None:
    window = Window(LIMIT)
    window.take("a", 60 * ONE, 0)
    window.take("b", 20 * ONE, 10 * SECOND)
    refusal = refusal_of(window, "c", 30_500_000, 15 * SECOND)
    assert refusal is not None
    assert (refusal.code, refusal.field) == (Reason.SIGNING_LIMIT, "signer.notional_per_minute")
    assert refusal.message == ("the order can give away 30.5, 20 of 100 per minute is left; there is room in 45000 ms")


def test_an_order_above_the_limit_is_told_that_waiting_does_not_help() -> None:
    refusal = refusal_of(Window(LIMIT), "a", LIMIT + 1, 0)
    assert refusal is not None
    assert "by itself" in refusal.message
    assert refusal_of(Window(LIMIT), "a", LIMIT, 0) is None


def test_without_a_limit_everything_is_signed() -> None:
    window = Window(0)
    for number in range(1_000):
        window.take(f"o{number}", 10**15, 0)


def test_the_number_of_orders_in_a_minute_is_bounded_too() -> None:
    window = Window(LIMIT, counted_max=2)
    window.take("a", 1, 0)
    window.take("b", 1, SECOND)
    with pytest.raises(Refusal, match="2 orders were signed") as refused:
        window.take("c", 1, 2 * SECOND)
    assert refused.value.code is Reason.SIGNING_LIMIT
    window.take("a", 1, 2 * SECOND)
    window.take("c", 1, MINUTE_NS)


def test_a_forgotten_order_costs_again() -> None:
    window = Window(LIMIT, remembered_max=1)
    window.take("a", ONE, 0)
    window.take("b", ONE, 0)
    window.take("a", ONE, 0)
    assert window.left(0) == LIMIT - 3 * ONE
