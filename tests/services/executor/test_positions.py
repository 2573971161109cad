from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import Fill
from common.types import Settlement, Side
from services.executor.positions import Positions, Tally, unexplained

MATCHED, MINED, CONFIRMED, FAILED = (
    Settlement.MATCHED,
    Settlement.MINED,
    Settlement.CONFIRMED,
    Settlement.FAILED,
)


def fill(
    trade_id: str,
    side: Side,
    size: int,
    cash: int,
    *,
    fee: int = 0,
    settlement: Settlement = MATCHED,
    matched_ns: int = 1,
    account: str = "default",
    token: str = "1",
) -> Fill:
    return Fill(
        trade_id,
        "o-1",
        "0xa",
        account,
        "0xc",
        token,
        "Up",
        side,
        0,
        size,
        cash,
        fee,
        fee > 0,
        settlement,
        "",
        matched_ns,
    )


def test_buy_sell_and_what_was_realised() -> None:
    tally = Tally()
    tally.add(Side.BUY, 10, 5, 0)
    tally.add(Side.BUY, 10, 7, 0)
    assert (tally.size, tally.cost) == (20, 12)

    tally.add(Side.SELL, 5, 4, 1)

    assert (tally.size, tally.cost, tally.realised, tally.fees) == (15, 9, 1, 1)


def test_selling_more_than_is_held_opens_a_short_at_the_rest() -> None:
    tally = Tally()
    tally.add(Side.BUY, 10, 5, 0)

    tally.add(Side.SELL, 20, 12, 0)

    assert (tally.size, tally.cost, tally.realised) == (-10, -6, 1)


def test_a_round_trip_is_flat_and_keeps_its_profit_and_the_next_one_starts_clean() -> None:
    positions = Positions()
    for number, (side, cash) in enumerate([(Side.BUY, 4), (Side.SELL, 6), (Side.BUY, 9)]):
        positions.book(fill(f"t{number}", side, 10, cash, matched_ns=number), "v", "m")

    (view,) = positions.views()

    assert (view.size, view.cost, view.realised, view.avg_price) == (10, 9, 2, 900_000)


def test_a_late_fill_takes_its_place_in_the_sequence() -> None:
    """The result is that of the fills in match order, whenever they were heard of."""
    rows = [
        fill("a", Side.BUY, 10, 4, matched_ns=1),
        fill("b", Side.BUY, 10, 8, matched_ns=2),
        fill("c", Side.SELL, 10, 7, matched_ns=3),
    ]
    inorder, shuffled = Positions(), Positions()
    for row in rows:
        inorder.book(row, "v", "m")
    for row in (rows[2], rows[0], rows[1]):
        shuffled.book(row, "v", "m")

    assert inorder.views() == shuffled.views()


def test_confirmed_counts_only_what_is_final() -> None:
    positions = Positions()
    positions.book(fill("a", Side.BUY, 10, 4), "v", "m")
    positions.settle(fill("a", Side.BUY, 10, 4, settlement=MINED), MATCHED)
    assert positions.views()[0].confirmed == 0

    positions.settle(fill("a", Side.BUY, 10, 4, settlement=CONFIRMED), MINED)

    assert positions.views()[0].confirmed == 10


def test_a_fill_that_failed_after_it_was_final_is_traded_back() -> None:
    positions = Positions()
    positions.book(fill("a", Side.BUY, 10, 4, fee=2, settlement=CONFIRMED), "v", "m")

    positions.settle(fill("a", Side.BUY, 10, 4, fee=2, settlement=FAILED), CONFIRMED)

    (view,) = positions.views()
    assert (view.size, view.confirmed, view.cost, view.realised, view.fees) == (0, 0, 0, 0, 0)


def test_conservation_names_what_does_not_add_up() -> None:
    positions = Positions()
    positions.book(fill("a", Side.BUY, 10, 4), "v", "m")

    (sentence,) = unexplained(positions, [])

    assert "default" in sentence


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["default", "other"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(list(Side)),
        st.integers(1, 10**9),
        st.integers(0, 10**9),
        st.integers(0, 1000),
        st.integers(0, 5),
        st.sampled_from([MATCHED, MINED, CONFIRMED, FAILED]),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1000))
def test_positions_equal_their_fills_after_every_step(
    steps: list[tuple[str, str, Side, int, int, int, int, Settlement]], seed: int
) -> None:
    """Whatever sequence of fills and stages: size, cash, fees and confirmed size are conserved to the micro."""
    rng = random.Random(seed)
    positions = Positions()
    known: dict[str, Fill] = {}
    todo: list[Fill] = []
    for number, (account, token, side, size, cash, fee, at, end) in enumerate(steps):
        first = fill(f"t{number}", side, size, cash, fee=fee, matched_ns=at, account=account, token=token)
        todo.append(first)
        if end is not MATCHED:
            last = fill(
                f"t{number}", side, size, cash, fee=fee, settlement=end, matched_ns=at, account=account, token=token
            )
            todo.append(last)
    rng.shuffle(todo)
    for row in todo:
        before = known.get(row.trade_id)
        if before is None:
            positions.book(row, "v", "m")
        elif row.settlement is MATCHED:
            continue
        else:
            positions.settle(row, before.settlement)
        known[row.trade_id] = row
        assert unexplained(positions, known.values()) == []
    assert Positions(positions.rows()).views() == positions.views()
