from __future__ import annotations

import re
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from common.effects import Now
from common.messages import WalletReady
from common.types import OrderType, Side, TimeInForce
from common.venues.plain import PlainOrder, decode_plain
from common.venues.polymarket.amounts import Amounts
from common.venues.polymarket.orders import SALT_MAX, OrderV1, order_id
from common.venues.polymarket.pinned import PinnedOrder, decode_pinned
from services.executor.pinning import Pinned, pin, pin_plain, plain_id, salt_of
from tests.services.executor.driver import ADDRESS, UP

NOW = Now(1_790_000_000_123_456_789, 42)
WALLET = WalletReady("polymarket", "main", ADDRESS, ADDRESS, 1, 137, "key")
COINS = WalletReady("ccxt", "coins", "key-1", "key-1", 0, 0, "")
BTC = "ccxt:BTC/USDT"


class Ordered(NamedTuple):
    """What is read of an order to sign it."""

    number: int = 1
    side: Side = Side.SELL
    order_type: OrderType = OrderType.LIMIT
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = True
    expire_ns: int = 0


def _pin(number: int = 1, now: Now = NOW, token: str = UP, version: int = 2, **words: Any) -> Pinned:
    amounts = Amounts(10_000_000, 5_200_000)
    return pin(Ordered(number, **words), amounts, token, True, WALLET, version=version, now=now)


def test_the_whole_struct_is_pinned() -> None:
    pinned = _pin()
    order = decode_pinned(pinned.pinned)

    assert order == PinnedOrder(
        salt=salt_of(ADDRESS, 1, NOW),
        maker=ADDRESS,
        signer=ADDRESS,
        token_id=UP,
        maker_amount=10_000_000,
        taker_amount=5_200_000,
        side=1,
        signature_type=1,
        timestamp=1_790_000_000_123,
        version=2,
        chain_id=137,
        neg_risk=True,
        order_type=TimeInForce.GTC,
        post_only=True,
        expiration="0",
    )
    assert pinned.venue_order_id == order.venue_order_id
    assert pinned.size == 10_000_000


def test_the_same_inputs_give_the_same_order_and_others_another() -> None:
    assert _pin() == _pin()
    ids = {_pin(number).venue_order_id for number in range(100)} | {_pin(1, Now(NOW.wall_ns + 1, 42)).venue_order_id}
    assert len(ids) == 101


@given(number=st.integers(1, 2**40), wall=st.integers(0, 2**62), mono=st.integers(0, 2**62))
def test_a_salt_fits_a_json_number(number: int, wall: int, mono: int) -> None:
    assert 0 <= salt_of(ADDRESS, number, Now(wall, mono)) < SALT_MAX


def test_the_venue_retires_a_gtd_order_a_minute_early() -> None:
    pinned = _pin(tif=TimeInForce.GTD, expire_ns=1_790_000_300_900_000_000)

    assert decode_pinned(pinned.pinned).expiration == "1790000360"


def test_positions_of_protocol_v2_are_signed_for_exchange_v3() -> None:
    assert decode_pinned(_pin(token="12").pinned).version == 3
    assert decode_pinned(_pin(version=3).pinned).version == 3


def test_orders_of_version_1_are_pinned_when_the_settings_say_so_and_positions_still_for_v3() -> None:
    pinned = _pin(version=1, tif=TimeInForce.GTD, expire_ns=1_790_000_300_900_000_000)
    order = decode_pinned(pinned.pinned)

    assert isinstance(order.order, OrderV1)
    assert order.order.expiration == 1_790_000_360
    assert pinned.venue_order_id == order_id(order.order, 137, True, 1)
    assert decode_pinned(_pin(version=1, token="12").pinned).version == 3


# --- plain orders ---


def _plain(number: int = 1, now: Now = NOW, wallet: WalletReady = COINS, **words: Any) -> Pinned:
    return pin_plain(Ordered(number, **words), 64_000_010_000, 1_230, BTC, wallet, now=now)


def test_a_plain_order_is_pinned_as_it_was_asked_for() -> None:
    pinned = _plain(tif=TimeInForce.GTD, expire_ns=1_790_000_300_900_000_000)

    assert decode_plain(pinned.pinned) == PlainOrder(
        venue_order_id=pinned.venue_order_id,
        token_id=BTC,
        side=Side.SELL,
        order_type=OrderType.LIMIT,
        tif=TimeInForce.GTD,
        post_only=True,
        price=64_000_010_000,
        size=1_230,
        expire_ns=1_790_000_300_900_000_000,
    )
    assert pinned.size == 1_230


def test_only_a_gtd_order_ends_by_itself() -> None:
    assert decode_plain(_plain(expire_ns=7).pinned).expire_ns == 0


def test_a_plain_order_is_the_same_for_the_same_inputs_and_another_for_others() -> None:
    assert _plain() == _plain()
    others = [
        _plain(wallet=WalletReady("ccxt", "coins", "key-2", "key-2", 0, 0, "")),
        _plain(wallet=WalletReady("ccxt", "more", "key-1", "key-1", 0, 0, "")),
        _plain(wallet=WalletReady("kraken", "coins", "key-1", "key-1", 0, 0, "")),
        _plain(now=Now(NOW.wall_ns + 1, NOW.mono_ns)),
        _plain(now=Now(NOW.wall_ns, NOW.mono_ns + 1)),
    ]
    ids = [_plain(number).venue_order_id for number in range(100)] + [other.venue_order_id for other in others]
    assert len(set(ids)) == 105


@given(
    word=st.one_of(
        st.from_regex(r"[A-Za-z0-9]{1,20}/[A-Z0-9]{1,10}", fullmatch=True), st.text(min_size=1, max_size=80)
    ),
    number=st.integers(1, 2**40),
    wall=st.integers(0, 2**62),
)
def test_an_id_of_ours_is_one_that_every_venue_takes(word: str, number: int, wall: int) -> None:
    """At most 36 letters of Binance's alphabet, told apart however the venue spells case."""
    found = plain_id(COINS, f"ccxt:{word}", number, Now(wall, 1))

    assert re.fullmatch(r"px[a-z2-7]{16}(-[a-z0-9-]{1,17})?", found, re.ASCII)
    assert len(found) <= 36


def test_an_id_ends_with_its_instrument_where_there_is_room() -> None:
    assert plain_id(COINS, BTC, 1, NOW).endswith("-btc-usdt")
    assert len(plain_id(COINS, f"exchange:{UP}", 1, NOW)) == 18
