"""The engine's details that tables do not show: what an order remembers, and mixed chains of outcomes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exchange.engine import TRADE_IDS_PER_ORDER
from tests.services.exchange.world import NO, YES, World, market, micros


def test_an_order_names_its_newest_trades() -> None:
    """Its list is bounded; the account's history has all."""
    world = World(audit=False)
    world.account("alice", "10000")
    world.account("bob", "10000", "10000")
    world.submit("alice", "a", "BUY", YES, "5000", "0.50")
    ids: list[str] = []
    for number in range(TRADE_IDS_PER_ORDER + 3):
        answer: Any = world.submit("bob", f"b{number}", "SELL", YES, "1", "0.50", tif="FAK")
        ids += answer.trade_ids
    order = world.order_now("a")
    assert list(order.trade_ids) == ids[3:]
    assert order.filled_size == micros(str(TRADE_IDS_PER_ORDER + 3))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["al", "bo"]),
            st.sampled_from(["BUY", "SELL"]),
            st.sampled_from([YES, NO]),
            st.integers(1, 9_999_999),
            st.integers(1, 999),
            st.sampled_from(["GTC", "FAK", "FOK"]),
        ),
        max_size=30,
    )
)
def test_money_is_conserved_at_every_odd_size_and_price(rows: list[tuple[str, str, str, int, int, str]]) -> None:
    """Sizes to the micro at tenth-of-a-cent prices: every split has a remainder, none is lost or created."""
    world = World(opened=market(tick=1_000, min_size=0, fee_rate=70_000))
    for name in ("al", "bo"):
        world.account(name, "15", "10", "10")
    for number, (account, side, token, size, price, tif) in enumerate(rows):
        order = world.order(account, f"o{number}", side, token, "1", "0.5", tif=tif)
        world.send(type(order)(*_changed(order, price=price * 1_000, size=size)))


def _changed(order: Any, **changes: Any) -> list[Any]:
    return [changes.get(name, getattr(order, name)) for name in order.__struct_fields__]
