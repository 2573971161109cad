"""Positions are exact: sizes from balances, costs and profits from trades, fills only once they are mined."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from common.messages import ExchangeTrade, MakerFill
from common.types import ONE, Settlement, Side
from services.polymarket_sim.books import BookReplica
from services.polymarket_sim.data_api import (
    Holding,
    exact,
    holdings,
    legs_of,
    on_chain,
    position_v1,
    position_v2,
    total_value,
)
from tests.services.polymarket_sim.house import CONDITION, DOWN, MARKET, UP

ME = "0x" + "11" * 20
REPLICA = BookReplica(MARKET)


def lookup(token: str) -> tuple[BookReplica, int] | None:
    return (REPLICA, MARKET.token_ids.index(token)) if token in MARKET.token_ids else None


def trade(
    number: int, side: Side, size: int, price: int, *, fee: int = 0, stage: Settlement = Settlement.CONFIRMED
) -> ExchangeTrade:
    maker = MakerFill("0xm", "mm", "", UP, "Up", side.opposite, size, price)
    return ExchangeTrade(
        f"t-{number}", CONDITION, "0xt", ME, "key", UP, "Up", side, size, price, fee, 0, stage, "0xhash",
        number * 10**9, number * 10**9, (maker,),
    )  # fmt: skip


def held(tokens: dict[str, int], *trades: ExchangeTrade) -> Holding:
    (row,) = holdings(tokens, legs_of(trades, ME))
    return row


def test_average_cost_and_realised_profit() -> None:
    row = held(
        {UP: 15_000_000},
        trade(1, Side.BUY, 10_000_000, 400_000, fee=100),
        trade(2, Side.BUY, 10_000_000, 500_000, fee=200),
        trade(3, Side.SELL, 5_000_000, 600_000, fee=300),
    )
    assert (row.size, row.bought, row.fees) == (15_000_000, 20_000_000, 600)
    assert row.average == Fraction(45, 100)
    assert (row.cost, row.realised) == (Fraction(6_750_000), Fraction(750_000))
    shown = position_v1(row, ME, lookup)
    assert (shown["avgPrice"], shown["initialValue"], shown["realizedPnl"]) == (
        Decimal("0.45"), Decimal("6.75"), Decimal("0.75"),
    )  # fmt: skip
    assert (shown["currentValue"], shown["cashPnl"], shown["outcome"]) == (Decimal("7.5"), Decimal("0.75"), "Up")


def test_a_fill_that_is_not_mined_is_not_in_the_position() -> None:
    row = held(
        {UP: 20_000_000},
        trade(1, Side.BUY, 10_000_000, 400_000),
        trade(2, Side.BUY, 10_000_000, 500_000, stage=Settlement.MATCHED),
    )
    assert (row.size, row.average) == (10_000_000, Fraction(4, 10))
    assert len(on_chain(legs_of([trade(2, Side.BUY, 1, 1, stage=Settlement.MATCHED)], ME))) == 0


def test_tokens_without_a_known_trade_have_no_cost() -> None:
    row = held({DOWN: 3_000_000})
    assert (row.size, row.cost, row.average) == (3_000_000, Fraction(0), Fraction(0))
    assert position_v2(row, ME, lookup)["percent_pnl"] == 0


def test_a_closed_position_is_kept_for_its_profit() -> None:
    row = held({}, trade(1, Side.BUY, 10_000_000, 400_000), trade(2, Side.SELL, 10_000_000, 300_000))
    assert (row.size, row.cost, row.realised) == (0, Fraction(0), Fraction(-1_000_000))
    shown = position_v2(row, ME, lookup)
    assert (shown["status"], shown["realized_pnl"], shown["total_size"]) == ("CLOSED", Decimal(-1), Decimal(10))


def test_a_makers_leg_is_its_own_token_side_and_price() -> None:
    other = MakerFill("0xm", ME, "key", DOWN, "Down", Side.BUY, 4_000_000, 530_000)
    taken = ExchangeTrade(
        "t", CONDITION, "0xt", "0xother", "k", UP, "Up", Side.BUY, 4_000_000, 470_000, 50, 0, Settlement.MINED, "0x",
        1, 1, (other,),
    )  # fmt: skip
    (leg,) = legs_of([taken], ME)
    assert (leg.token_id, leg.side, leg.price, leg.fee, leg.is_taker) == (DOWN, Side.BUY, 530_000, 0, False)


def test_value_is_the_sum_of_sizes_at_shown_prices() -> None:
    rows = holdings({UP: 3_000_000, DOWN: 1_500_000, "unknown": 9}, [])
    assert total_value(rows, lookup) == Decimal("2.25")
    assert exact(Fraction(1, 3) * ONE) == Decimal("0.333333")


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**9), st.integers(1, ONE - 1)), max_size=30))
def test_cost_profit_and_cash_always_add_up(rows: list[tuple[bool, int, int]]) -> None:
    """Cost left plus what was spent on sold shares equals all cash paid; profit is proceeds minus that."""
    trades: list[ExchangeTrade] = []
    size, paid, received = 0, Fraction(0), Fraction(0)
    for number, (is_buy, wanted, price) in enumerate(rows, 1):
        quantity = wanted if is_buy else min(wanted, size)
        if not quantity:
            continue
        size += quantity if is_buy else -quantity
        cash = Fraction(quantity * price, ONE)
        paid, received = (paid + cash, received) if is_buy else (paid, received + cash)
        trades.append(trade(number, Side.BUY if is_buy else Side.SELL, quantity, price))
    found = holdings({UP: size}, legs_of(trades, ME))
    if not trades:
        assert found == []
        return
    (row,) = found
    assert row.size == size
    assert row.realised == received - (paid - row.cost)
    assert row.cost >= 0
    assert size or row.cost == 0
