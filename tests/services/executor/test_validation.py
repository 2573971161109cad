from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.effects import Origin, Send
from common.errors import Refusal
from common.messages import CancelAccepted, PlaceAnswer, Refused
from common.reasons import Reason
from common.types import FeedState, OrderType, Side, TimeInForce
from services.executor.validation import check_price
from tests.services.executor.driver import CLOSED, MARKET, START, Driver, view

GTD, FAK, FOK = TimeInForce.GTD, TimeInForce.FAK, TimeInForce.FOK

BAD: list[tuple[dict[str, Any], Reason, str, str]] = [
    ({"account": "nobody"}, Reason.UNKNOWN_ACCOUNT, "account", "accounts: default, other"),
    ({"venue": "kalshi"}, Reason.UNKNOWN_VENUE, "venue", "trades on polymarket"),
    ({"market": "nothing"}, Reason.UNKNOWN_MARKET, "market", "polyexec markets"),
    ({"outcome": "Sideways"}, Reason.UNKNOWN_OUTCOME, "outcome", "Up or Down"),
    ({"market": CLOSED.slug, "outcome": "0"}, Reason.MARKET_CLOSED, "market", "does not accept"),
    ({"price": 0}, Reason.BAD_PRICE, "price", "between 0 and 1"),
    ({"price": 1_000_000}, Reason.BAD_PRICE, "price", "between 0 and 1"),
    ({"price": -10_000}, Reason.BAD_PRICE, "price", "-0.01"),
    ({"price": 525_000}, Reason.BAD_TICK, "price", "tick of 0.01; nearest: 0.52 or 0.53"),
    ({"price": 5_000}, Reason.BAD_TICK, "price", "nearest: 0.01"),
    ({"price": 999_999}, Reason.BAD_TICK, "price", "nearest: 0.99"),
    ({"size": 0}, Reason.BAD_SIZE, "size", ""),
    ({"size": -5_000_000}, Reason.BAD_SIZE, "size", ""),
    ({"size": 2**63}, Reason.BAD_SIZE, "size", ""),
    ({"size": 10_001_000}, Reason.BAD_SIZE, "size", "two decimals"),
    ({"size": 4_990_000}, Reason.SIZE_TOO_SMALL, "size", "minimum of 5"),
    ({"size": 1_000_000, "tif": FAK}, Reason.NOTIONAL_TOO_SMALL, "size", "$1"),
    ({"size": 1_900_000, "tif": FOK}, Reason.NOTIONAL_TOO_SMALL, "size", "$0.98"),
    ({"post_only": True, "tif": FAK}, Reason.BAD_POST_ONLY, "post_only", "GTC, GTD"),
    ({"post_only": True, "tif": FOK}, Reason.BAD_POST_ONLY, "post_only", "FOK"),
    ({"order_type": OrderType.MARKET}, Reason.BAD_TIF, "tif", "FAK or FOK"),
    ({"tif": GTD}, Reason.BAD_EXPIRY, "expire_ns", "180 s"),
    ({"tif": GTD, "expire_ns": START + 184 * 10**9}, Reason.BAD_EXPIRY, "expire_ns", "not 178 s"),
    ({"tif": GTD, "expire_ns": 2**62}, Reason.BAD_EXPIRY, "expire_ns", "ten years"),
    ({"expire_ns": START + 10**12}, Reason.BAD_EXPIRY, "expire_ns", "GTD"),
    ({"client_order_id": "x" * 65}, Reason.BAD_ID, "client_order_id", "64"),
    ({"client_order_id": "a b"}, Reason.BAD_ID, "client_order_id", "visible ASCII"),
    ({"client_order_id": "é"}, Reason.BAD_ID, "client_order_id", "visible ASCII"),
    ({"client_order_id": "o-7"}, Reason.BAD_ID, "client_order_id", "looks like"),
    ({"client_order_id": "0x" + "ab" * 32}, Reason.BAD_ID, "client_order_id", "64"),
    ({"command_id": "x" * 65}, Reason.BAD_ID, "command_id", "64"),
    ({"deadline_ns": START}, Reason.DEADLINE_PASSED, "deadline_ns", "ago"),
]


@pytest.mark.parametrize(("words", "code", "field", "text"), BAD, ids=[f"{row[1]}-{row[0]}"[:60] for row in BAD])
def test_bad_input_is_refused_with_its_code_field_and_rule(
    words: dict[str, Any], code: Reason, field: str, text: str
) -> None:
    driver = Driver()

    answer = driver.place(**words)

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (code, field)
    assert text in answer.text
    assert not driver.of(Send)
    assert driver.core.desk.last_order == 0
    assert len(driver.core.desk.ids) == 0


def test_a_refused_place_does_not_use_up_its_client_order_id() -> None:
    driver = Driver()
    assert isinstance(driver.place("mine", price=525_000), Refused)

    assert isinstance(driver.place("mine", price=520_000), PlaceAnswer)


GOOD: list[dict[str, Any]] = [
    {},
    {"venue": ""},
    {"market": MARKET.condition_id, "outcome": "1"},
    {"outcome": "down"},
    {"outcome": MARKET.token_ids[1]},
    {"price": 10_000},
    {"price": 990_000},
    {"size": 5_000_000},
    {"size": 5_010_000},
    {"side": Side.SELL, "size": 10_000, "tif": FAK},
    {"size": 2_000_000, "tif": FAK},
    {"tif": FOK, "order_type": OrderType.MARKET, "view": view(asks=[(520_000, 10_000_000)])},
    {"tif": GTD, "expire_ns": START + 200 * 10**9},
    {"tif": GTD, "expire_ns": START + 200 * 10**9, "post_only": True},
    {"post_only": True},
    {"client_order_id": "~!x" * 21},
    {"client_order_id": "o-7a"},
    {"deadline_ns": START + 60 * 10**9},
]


@pytest.mark.parametrize("words", GOOD)
def test_good_input_is_taken(words: dict[str, Any]) -> None:
    driver = Driver()

    assert isinstance(driver.place(**words), PlaceAnswer)


@given(price=st.integers(-(10**7), 10**7), tick=st.sampled_from([100_000, 10_000, 5_000, 2_500, 1_000, 100]))
def test_a_price_is_taken_exactly_when_it_is_on_the_grid_inside_the_unit(price: int, tick: int) -> None:
    if tick <= price <= 1_000_000 - tick and price % tick == 0:
        check_price(price, tick)
    else:
        with pytest.raises(Refusal) as refused:
            check_price(price, tick)
        assert refused.value.code is (Reason.BAD_TICK if 0 < price < 1_000_000 else Reason.BAD_PRICE)


# --- whether trading may happen now ---


def test_places_wait_for_the_wallets_key() -> None:
    driver = Driver(ready=False)
    driver.feed(FeedState.LIVE)
    driver.catch_up()

    answer = driver.place()

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.WALLET_NOT_READY, "account")
    assert "gateway" in driver.core.missing()


def test_places_wait_for_the_user_channel() -> None:
    driver = Driver(ready=False)
    driver.wallet_ready()

    answer = driver.place()

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.FEED_GAP, "account")
    assert "user channel" in driver.core.missing()


def test_too_many_open_orders() -> None:
    driver = Driver(open_orders_max=2)
    driver.placed()
    driver.placed()

    answer = driver.place()

    assert isinstance(answer, Refused)
    assert answer.code is Reason.TOO_MANY_ORDERS
    assert isinstance(driver.cancel("o-1"), CancelAccepted)


def test_full_idempotency_refuses_new_ids_and_evicts_none() -> None:
    driver = Driver(idempotency_max=2)
    driver.placed("a")
    driver.placed("b")

    answer = driver.place("c")

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.IDEMPOTENCY_FULL, "client_order_id")
    again = driver.place("a")
    assert isinstance(again, PlaceAnswer)
    assert again.duplicate


def test_a_client_cannot_send_facts_or_unknown_messages() -> None:
    driver = Driver()
    before = driver.core.state_hash()

    for message, _, _ in driver.inputs[1:4]:
        driver.do(message, Origin("cli"))
        assert isinstance(driver.answer(), Refused)

    assert driver.core.desk.counts.pop("messages_not_taken") == 3
    assert driver.core.state_hash() == before


def test_without_validation_only_what_cannot_be_signed_is_refused() -> None:
    driver = Driver(enable_validation=False)

    below_minimum = driver.place(size=1_000_000, tif=FAK)
    off_the_grid = driver.place(price=525_001)

    assert isinstance(below_minimum, Refused)
    assert below_minimum.code is Reason.NOTIONAL_TOO_SMALL
    assert isinstance(off_the_grid, Refused)
    assert off_the_grid.code is Reason.BAD_TICK
    assert isinstance(driver.place(market=CLOSED.slug, outcome="Yes"), PlaceAnswer), (
        "whether it is closed, the venue says"
    )


def test_metrics_can_be_switched_off() -> None:
    assert Driver().core.counters()
    assert Driver(enable_metrics=False).core.counters() == {}
