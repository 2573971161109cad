"""Account events of the exchange as messages for the executor."""

from __future__ import annotations

import msgspec
import pytest

from common.messages import (
    ExchangeOrder,
    MakerFill,
    OrderCanceled,
    OrderMatched,
    OrderPlaced,
    StepCompleted,
    TradeMade,
    TradeSettled,
    VenueFill,
    VenueOrderChanged,
)
from common.types import Settlement, Side, TimeInForce
from common.venues.exchange.names import account_of
from common.venues.exchange.user import account_events
from tests.common.venues.exchange.test_orders import trade

ORDER = ExchangeOrder(
    "own-1", "own:own", "", "0xc0", "1001", "Yes", Side.BUY, 450_000, 10_000_000, 4_000_000, TimeInForce.FAK, False,
    "0", "KILLED", "the rest was killed", 5, 9,
)  # fmt: skip


def test_each_order_event_has_its_word() -> None:
    kinds = {OrderPlaced: "PLACEMENT", OrderMatched: "UPDATE", OrderCanceled: "CANCELLATION"}
    for event, kind in kinds.items():
        assert account_events(event(1, ORDER), "own:own", "own") == [
            VenueOrderChanged("exchange", "own", "own-1", kind, "KILLED", "the rest was killed", 4_000_000, 9)
        ]


def test_events_of_others_and_steps_say_nothing() -> None:
    assert account_events(OrderPlaced(1, ORDER), "own:two", "two") == []
    assert account_events(TradeMade(1, trade(Settlement.MATCHED)), "own:two", "two") == []
    assert account_events(StepCompleted(1, 1), "own:own", "own") == []


def test_a_taker_pays_the_ceiling_and_sees_no_legs_of_others() -> None:
    odd = msgspec.structs.replace(trade(Settlement.MATCHED), size=1_000_001, price=333_333)
    assert account_events(TradeMade(1, odd), "own:own", "own") == [
        VenueFill(
            "exchange", "own", "t-1", "own-1", "exchange:1001", Side.BUY, 1_000_001, 333_333, 333_334, True,
            Settlement.MATCHED, "", 5,
        )
    ]  # fmt: skip


def test_a_maker_sees_its_own_token_side_and_price() -> None:
    """A BUY of one outcome meets a BUY of the other: each leg is in its own terms."""
    leg = MakerFill("own-7", "own:own", "", "1002", "No", Side.BUY, 1_000_001, 666_667)
    made = msgspec.structs.replace(trade(Settlement.MINED, taker="other"), makers=(leg,), tx_hash="0xf")
    (fill,) = account_events(TradeSettled(1, made), "own:own", "own")
    assert isinstance(fill, VenueFill)
    assert (fill.venue_order_id, fill.token_id, fill.side, fill.price) == ("own-7", "exchange:1002", Side.BUY, 666_667)
    assert (fill.cash, fill.is_taker, fill.settlement, fill.tx_hash) == (666_668, False, Settlement.MINED, "0xf")


def test_a_trade_with_ourselves_is_two_fills() -> None:
    both = trade(Settlement.MATCHED, maker="own:own")
    fills = account_events(TradeMade(1, both), "own:own", "own")
    assert [fill.venue_order_id for fill in fills if isinstance(fill, VenueFill)] == ["own-1", "m-1"]


@pytest.mark.parametrize("wallet", ["main", "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "mirror"])
def test_an_account_is_no_name_of_the_simulator_or_the_mirror(wallet: str) -> None:
    """Theirs are addresses and `mirror`: none has a colon."""
    assert account_of(wallet) == f"own:{wallet}"
