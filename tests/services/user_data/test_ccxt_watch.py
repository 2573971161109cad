"""What polls of open orders say, one after another."""

from __future__ import annotations

from common.messages import Message, VenueOrder, VenueOrderChanged
from common.types import Side
from services.user_data.ccxt_watch import OrderWatch


def order(order_id: str, filled: int = 0, status: str = "LIVE") -> VenueOrder:
    return VenueOrder(order_id, status, "bn:BTC/USDT", Side.BUY, 50_000_000_000, 1_000, filled, 1)


def told(messages: list[Message]) -> list[tuple[str, str, str, int]]:
    said = [message for message in messages if isinstance(message, VenueOrderChanged)]
    assert len(said) == len(messages)
    return [(row.venue_order_id, row.kind, row.status, row.filled_size) for row in said]


def test_each_change_is_told_once() -> None:
    watch = OrderWatch("bn", "spot")
    assert told(watch.listed([order("a"), order("b")], 1)[0]) == [
        ("a", "PLACEMENT", "LIVE", 0),
        ("b", "PLACEMENT", "LIVE", 0),
    ]
    assert watch.listed([order("a"), order("b")], 2) == ([], [])
    messages, gone = watch.listed([order("a", filled=400)], 3)
    assert (told(messages), gone) == ([("a", "UPDATE", "LIVE", 400)], ["b"])


def test_how_an_order_ended_is_told_by_its_look_up_and_asked_until_there_is_one() -> None:
    watch = OrderWatch("bn", "spot")
    watch.listed([order("a"), order("b"), order("c")], 1)
    assert watch.listed([], 2)[1] == ["a", "b", "c"]
    assert told(watch.over("a", order("a", 1_000, "MATCHED"), 2)) == [("a", "UPDATE", "MATCHED", 1_000)]
    assert told(watch.over("b", order("b", 0, "CANCELED"), 2)) == [("b", "CANCELLATION", "CANCELED", 0)]
    assert watch.listed([], 3) == ([], ["c"])
    assert watch.over("c", None, 3) == []
    assert watch.listed([], 4) == ([], [])


def test_a_list_that_was_older_than_the_order_ends_nothing() -> None:
    watch = OrderWatch("bn", "spot")
    watch.listed([order("a")], 1)
    watch.listed([], 2)
    assert watch.over("a", order("a"), 2) == []
    assert watch.listed([order("a")], 3) == ([], [])
