from __future__ import annotations

import pytest

from common.messages import Fill
from common.types import Lifecycle, OrderType, Settlement, Side, Status, TimeInForce
from services.executor.order import (
    IN_DOUBT,
    RANK,
    TABLE,
    TERMINAL,
    Event,
    Order,
    State,
    average_price,
    lifecycle_of,
    merge_settlement,
    status_of,
    step,
    view_of,
)

# The machine once more, written by hand: one letter a cell, "." is illegal. The code must agree in every cell.
LETTERS = {
    "P": State.PENDING,
    "S": State.SUBMITTING,
    "U": State.UNKNOWN,
    "R": State.RECALLED,
    "W": State.WORKING,
    "C": State.CANCELLING,
    "x": State.REJECTED,
    "c": State.CANCELLED,
    "e": State.EXPIRED,
    "f": State.FILLED,
}
CELLS = """
    -  SUBMIT DOUBT RETRY RESEND LIVE FILL ALL_FILLED CANCEL GONE LAPSED REFUSED GIVE_UP
    PENDING     S . . . W W f c c e x .
    SUBMITTING  . U P . W W f R c e x .
    UNKNOWN     . U . S W W f R c e x x
    RECALLED    . R . . C C f R c e x x
    WORKING     . W . . W W f C c e W .
    CANCELLING  . C . . C C f C c e C .
    REJECTED    . x . . W W f . c e x .
    CANCELLED   . c . . c c f . c e c .
    EXPIRED     . e . . e e f . e e e .
    FILLED      . f . . f f f . f f f .
"""
HEAD, *ROWS = (row.split() for row in CELLS.strip().splitlines())
EXPECTED = [
    (State[row[0]], Event[column], None if cell == "." else LETTERS[cell])
    for row in ROWS
    for column, cell in zip(HEAD[1:], row[1:], strict=True)
]


@pytest.mark.parametrize(("state", "event", "after"), EXPECTED)
def test_every_cell_of_the_table(state: State, event: Event, after: State | None) -> None:
    assert step(state, event) is after


def test_the_expected_table_is_whole() -> None:
    """No state and no event is left out of the cells above."""
    assert {(state, event) for state, event, _ in EXPECTED} == {(s, e) for s in State for e in Event}
    assert set(TABLE) == set(State)


def test_nothing_the_venue_says_can_crash_or_be_illegal_once_an_order_was_sent() -> None:
    said = (Event.DOUBT, Event.LIVE, Event.FILL, Event.ALL_FILLED, Event.GONE, Event.LAPSED, Event.REFUSED)
    for state in set(State) - {State.PENDING}:
        assert all(step(state, event) is not None for event in said)


def test_filled_is_final_and_terminal_states_are_only_left_for_stronger_proof() -> None:
    strength = [State.REJECTED, State.CANCELLED, State.EXPIRED, State.FILLED]
    for state in TERMINAL:
        for event in Event:
            after = step(state, event)
            if after is None or (state is State.REJECTED and after is State.WORKING):
                continue
            assert strength.index(after) >= strength.index(state)


def test_a_recalled_order_can_never_be_sent_again() -> None:
    """No path from RECALLED leads to a state in which the place leaves."""
    reached, todo = set(), [State.RECALLED]
    while todo:
        state = todo.pop()
        if state in reached:
            continue
        reached.add(state)
        todo += TABLE[state].values()
    assert not reached & {State.PENDING, State.SUBMITTING, State.UNKNOWN}


# --- settlement ---


@pytest.mark.parametrize("known", list(Settlement))
@pytest.mark.parametrize("news", list(Settlement))
def test_settlement_merges_by_rank(known: Settlement, news: Settlement) -> None:
    merged = merge_settlement(_fill(settlement=known), news, "")

    if RANK[news] > RANK[known]:
        assert merged is not None
        assert merged.settlement is news
    else:
        assert merged is None


def test_failed_is_above_everything() -> None:
    assert max(RANK, key=lambda stage: RANK[stage]) is Settlement.FAILED


def test_a_hash_that_comes_later_is_added_and_one_of_a_higher_rank_replaces_it() -> None:
    fill = merge_settlement(_fill(), Settlement.MATCHED, "0x1")
    assert fill is not None
    assert fill.tx_hash == "0x1"

    fill = merge_settlement(fill, Settlement.MINED, "0x2")
    assert fill is not None
    assert fill.tx_hash == "0x2"

    assert merge_settlement(fill, Settlement.MINED, "0x3") is None


# --- projections ---

F, M, C, X = Settlement.MATCHED, Settlement.MINED, Settlement.CONFIRMED, Settlement.FAILED


@pytest.mark.parametrize(
    ("state", "fills", "reported", "status", "lifecycle"),
    [
        ("PENDING", [], 0, "PENDING", "PENDING"),
        ("SUBMITTING", [], 0, "SUBMITTING", "PENDING"),
        ("UNKNOWN", [], 0, "UNKNOWN", "UNKNOWN"),
        ("RECALLED", [], 0, "CANCELLING", "UNKNOWN"),
        ("WORKING", [], 0, "WORKING", "PLACED"),
        ("WORKING", [(4, F)], 0, "PARTIALLY_FILLED", "PARTIAL_FILL"),
        ("WORKING", [(4, C)], 0, "PARTIALLY_FILLED", "PARTIAL_FILL"),
        ("WORKING", [], 4, "PARTIALLY_FILLED", "PARTIAL_FILL"),
        ("CANCELLING", [], 0, "CANCELLING", "PLACED"),
        ("CANCELLING", [(4, M)], 0, "CANCELLING", "PARTIAL_FILL"),
        ("REJECTED", [], 0, "REJECTED", "REJECTED"),
        ("CANCELLED", [], 0, "CANCELLED", "CANCELLED"),
        ("CANCELLED", [(4, F)], 0, "CANCELLED", "PARTIAL_FILL"),
        ("CANCELLED", [(4, M)], 0, "CANCELLED", "MINED"),
        ("CANCELLED", [(4, C)], 0, "CANCELLED", "CONFIRMED"),
        ("CANCELLED", [(4, X)], 0, "CANCELLED", "FAILED"),
        ("CANCELLED", [(4, C)], 6, "CANCELLED", "PARTIAL_FILL"),
        ("EXPIRED", [], 0, "EXPIRED", "EXPIRED"),
        ("EXPIRED", [(4, C)], 0, "EXPIRED", "CONFIRMED"),
        ("FILLED", [(10, F)], 0, "FILLED", "MATCHED"),
        ("FILLED", [], 10, "FILLED", "MATCHED"),
        ("FILLED", [(4, M), (6, F)], 0, "FILLED", "MATCHED"),
        ("FILLED", [(4, M), (6, C)], 0, "FILLED", "MINED"),
        ("FILLED", [(4, C), (6, C)], 0, "FILLED", "CONFIRMED"),
        ("FILLED", [(4, X), (6, F)], 0, "FILLED", "MATCHED"),
        ("FILLED", [(4, X), (6, C)], 0, "FILLED", "FAILED"),
        ("FILLED", [(10, X)], 0, "FILLED", "FAILED"),
    ],
)
def test_projections_to_the_words_of_specs_3_and_4(
    state: str, fills: list[tuple[int, Settlement]], reported: int, status: str, lifecycle: str
) -> None:
    order = _order(State[state], reported=reported)
    for index, (size, settlement) in enumerate(fills):
        _give(order, {**order.fills, f"t-{index}": _fill(f"t-{index}", size, settlement)})

    assert status_of(order) is Status[status]
    assert lifecycle_of(order) is Lifecycle[lifecycle]


def test_every_word_of_both_vocabularies_can_be_reached() -> None:
    """The projections leave no word of the specs unused."""
    shown = {status_of(_order(state)) for state in State} | {Status.PARTIALLY_FILLED}
    assert shown == set(Status)


def test_a_failed_fill_is_shown_but_not_counted() -> None:
    order = _order(State.FILLED)
    _give(order, {"t-0": _fill("t-0", 4, X, cash=1), "t-1": _fill("t-1", 6, C, cash=3 * K)})

    view = view_of(order)

    assert view.filled_size == 6 * K
    assert view.avg_price == 500_000
    assert [fill.trade_id for fill in view.fills] == ["t-0", "t-1"]


def test_the_venues_word_and_our_fills_merge_by_maximum() -> None:
    order = _order(State.WORKING, reported=7)
    _give(order, {"t-0": _fill("t-0", 4, F)})

    assert order.matched == 7 * K
    assert order.fills_missing
    assert not order.complete


def test_a_difference_of_the_venues_rounding_is_no_missing_fill() -> None:
    """Or the order would never be settled, and its trades be asked for for ever."""
    order = _order(State.FILLED)
    _give(order, {"t-0": _fill("t-0", 10, C)})

    assert order.report(10 * K + 2)
    assert order.settled
    assert lifecycle_of(order) is Lifecycle.CONFIRMED


def test_states_in_doubt_are_not_terminal() -> None:
    assert not IN_DOUBT & TERMINAL


@pytest.mark.parametrize(
    ("cash", "size", "price"), [(0, 0, 0), (3, 6, 500_000), (1, 3, 333_333), (2, 3, 666_667), (0, 5, 0)]
)
def test_average_price_rounds_to_the_nearest_micro(cash: int, size: int, price: int) -> None:
    assert average_price(cash, size) == price


K = 1_000
"""Sizes below are thousands of micros: a difference of a few micros is a venue's rounding."""


def _order(state: State, *, reported: int = 0) -> Order:
    return Order(
        number=1,
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
        price=500_000,
        size=10 * K,
        expire_ns=0,
        deadline_ns=0,
        deadline_mono=0,
        venue_order_id="0xa",
        pinned=b"",
        created_ns=1,
        state=state,
        reported=reported * K,
        matched=reported * K,
        fills={},
    )


def _give(order: Order, fills: dict[str, Fill]) -> None:
    """As the desk adds them, one after the other."""
    for fill in fills.values():
        if fill.trade_id not in order.fills:
            order.add_fill(fill)


def _fill(trade_id: str = "t", size: int = 1, settlement: Settlement = F, cash: int = 0) -> Fill:
    return Fill(
        trade_id, "o-1", "0xa", "default", "0xc", "1", "Up", Side.BUY, 1, size * K, cash, 0, True, settlement, "", 1
    )
