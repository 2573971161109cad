"""The codec of our exchange's orders: commands, verdicts on places, words of cancels, what is settled."""

from __future__ import annotations

import msgspec
import pytest

from common.errors import Refusal
from common.messages import (
    BalancesReport,
    CancelAnswer,
    ExchangeTrade,
    MakerFill,
    Message,
    OrderAnswer,
    Place,
    PlaceResult,
    Refused,
    SubmitOrder,
    Timings,
    VenuePosition,
)
from common.reasons import Reason
from common.types import OrderType, Outcome, RetryClass, Settlement, Side, TimeInForce
from common.venues.exchange.orders import (
    ALREADY_DONE,
    NOT_FOUND,
    checked_order,
    not_canceled,
    place_result,
    settled_positions,
    submit_order,
    unsent_place,
)
from common.venues.plain import PlainOrder, encode_plain
from services.exchange import core as exchange_core

ORDER = PlainOrder(
    "own-1", "exchange:1001", Side.BUY, OrderType.LIMIT, TimeInForce.GTD, True, 450_000, 10_000_000, 7_000_000_000
)


def place(order: PlainOrder = ORDER, action_id: str = "a1", **changes: object) -> Place:
    made = Place(action_id, "exchange", "own", order.venue_order_id, 2**62, encode_plain(order))
    return msgspec.structs.replace(made, **changes)


def test_an_order_becomes_a_command_in_the_exchanges_own_words() -> None:
    assert submit_order(place(), ORDER) == SubmitOrder(
        submit_order(place(), ORDER).command_id,
        "own:own",
        "own-1",
        "1001",
        Side.BUY,
        450_000,
        10_000_000,
        TimeInForce.GTD,
        post_only=True,
        expire_ns=7_000_000_000,
        expiration="7",
    )


def test_only_the_same_action_with_the_same_bytes_and_no_refusal_in_between_is_the_same_command() -> None:
    first = submit_order(place(), ORDER).command_id
    other = msgspec.structs.replace(ORDER, size=20_000_000)
    assert submit_order(place(deadline_ns=1), ORDER).command_id == first
    others = [
        submit_order(place(action_id="a2"), ORDER),
        submit_order(place(wallet="two"), ORDER),
        submit_order(place(other), other),
        submit_order(place(), ORDER, attempt=1),
    ]
    assert len({first, *(command.command_id for command in others)}) == 5


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        (place(venue_order_id="own-2"), Reason.DIGEST_MISMATCH, "venue_order_id"),
        (place(msgspec.structs.replace(ORDER, token_id="1001")), Reason.BAD_REQUEST, "pinned"),
        (place(msgspec.structs.replace(ORDER, token_id="binance:BTC")), Reason.BAD_REQUEST, "pinned"),
        (place(pinned=b"\xc1"), Reason.BAD_REQUEST, "pinned"),
    ],
)
def test_an_order_that_is_not_what_was_journaled_or_of_another_venue_is_refused(
    changed: Place, code: Reason, field: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        checked_order(changed)
    assert (refusal.value.code, refusal.value.field) == (code, field)


REFUSED, UNKNOWN = Outcome.REFUSED, Outcome.UNKNOWN
NEVER, AFTER, LOOK_UP = RetryClass.NEVER, RetryClass.AFTER, RetryClass.LOOK_UP


@pytest.mark.parametrize(
    ("answer", "outcome", "code", "retry"),
    [
        (OrderAnswer("c", "own-1", "live", 0, 0, []), Outcome.DONE, Reason.OK, NEVER),
        (OrderAnswer("c", "own-1", "live", 0, 0, [], duplicate=True), Outcome.DONE, Reason.OK, NEVER),
        (OrderAnswer("c", "own-9", "live", 0, 0, []), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
        (CancelAnswer("c", [], {}), UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, LOOK_UP),
        (Refused("c", Reason.DUPLICATE_ORDER, ""), UNKNOWN, Reason.DUPLICATE_ORDER, LOOK_UP),
        (Refused("c", Reason.INTERNAL, ""), UNKNOWN, Reason.INTERNAL, LOOK_UP),
        (Refused("c", Reason.UNKNOWN_MESSAGE, ""), UNKNOWN, Reason.UNKNOWN_MESSAGE, LOOK_UP),
        (Refused("c", Reason.OVERLOADED, ""), REFUSED, Reason.OVERLOADED, AFTER),
        (Refused("c", Reason.UNKNOWN_ACCOUNT, ""), REFUSED, Reason.UNKNOWN_ACCOUNT, AFTER),
        (Refused("c", Reason.INSUFFICIENT_BALANCE, ""), REFUSED, Reason.INSUFFICIENT_BALANCE, NEVER),
        (Refused("c", Reason.POST_ONLY_CROSSES, ""), REFUSED, Reason.POST_ONLY_CROSSES, NEVER),
        (Refused("c", Reason.FOK_NOT_FILLED, ""), REFUSED, Reason.FOK_NOT_FILLED, NEVER),
        (Refused("c", Reason.BAD_TICK, ""), REFUSED, Reason.BAD_TICK, NEVER),
    ],
)
def test_what_the_exchange_says_of_a_place(answer: Message, outcome: Outcome, code: Reason, retry: RetryClass) -> None:
    result = place_result(place(), answer, Timings())
    assert (result.outcome, result.code, result.retry) == (outcome, code, retry)
    assert (result.retry_after_ms > 0) is (retry is AFTER)
    assert (result.action_id, result.venue_order_id) == ("a1", "own-1")


def test_what_a_matched_order_gave_and_got_is_in_the_result() -> None:
    result = place_result(place(), OrderAnswer("c", "own-1", "matched", 4_500_000, 10_000_000, ["t"]), Timings())
    assert (result.status, result.making, result.taking) == ("matched", 4_500_000, 10_000_000)


@pytest.mark.parametrize(("resent", "outcome", "retry"), [(False, REFUSED, AFTER), (True, UNKNOWN, LOOK_UP)])
def test_what_was_not_sent_is_refused_unless_an_earlier_copy_was(
    resent: bool, outcome: Outcome, retry: RetryClass
) -> None:
    result: PlaceResult = unsent_place(place(), Reason.VENUE_UNAVAILABLE, "away", Timings(), resent=resent)
    assert (result.outcome, result.retry) == (outcome, retry)


def test_the_words_of_cancels_are_the_ones_the_executor_reads() -> None:
    assert (exchange_core.NOT_FOUND, exchange_core.ALREADY_DONE) == (NOT_FOUND, ALREADY_DONE)
    said = not_canceled([CancelAnswer("c", [], {"a": NOT_FOUND, "b": ALREADY_DONE}), CancelAnswer("c", [], {"x": "?"})])
    assert said == {
        "a": f"ORDER_NOT_FOUND: {NOT_FOUND}",
        "b": f"INVALID_ORDER_STATE: {ALREADY_DONE}",
        "x": "VENUE_REFUSED: ?",
    }


def trade(settlement: Settlement, taker: str = "own:own", maker: str = "mirror") -> ExchangeTrade:
    """The taker buys 10 of 1001, the maker sells them."""
    leg = MakerFill("m-1", maker, "", "1001", "Yes", Side.SELL, 10_000_000, 450_000)
    return ExchangeTrade(
        "t-1", "0xc0", "own-1", taker, "", "1001", "Yes", Side.BUY, 10_000_000, 450_000, 0, 0,
        settlement, "", 5, 5, (leg,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settlement", "taker_holds"),
    [
        (Settlement.MATCHED, 20_000_000),
        (Settlement.RETRYING, 20_000_000),
        (Settlement.MINED, 30_000_000),
        (Settlement.CONFIRMED, 30_000_000),
        (Settlement.FAILED, 30_000_000),
    ],
)
def test_what_is_on_its_way_to_the_chain_is_not_held_yet(settlement: Settlement, taker_holds: int) -> None:
    balances = BalancesReport("r", "own:own", True, 0, {"1001": 30_000_000}, {})
    assert settled_positions(balances, [trade(settlement)]) == [VenuePosition("exchange:1001", taker_holds)]


def test_what_a_maker_sold_is_held_until_it_is_mined() -> None:
    balances = BalancesReport("r", "own:own", True, 0, {}, {})
    sold = trade(Settlement.MATCHED, taker="other", maker="own:own")
    assert settled_positions(balances, [sold]) == [VenuePosition("exchange:1001", 10_000_000)]
    assert settled_positions(balances, [trade(Settlement.MINED, taker="other", maker="own:own")]) == []
