"""Plain orders as bytes, and the instrument in an order id."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.reasons import Reason
from common.types import OrderType, Side, TimeInForce
from common.venues.plain import PlainOrder, decode_plain, encode_plain, id_tail, local_id


@given(
    st.builds(
        PlainOrder,
        venue_order_id=st.text(max_size=36),
        token_id=st.text(max_size=80),
        side=st.sampled_from(Side),
        order_type=st.sampled_from(OrderType),
        tif=st.sampled_from(TimeInForce),
        post_only=st.booleans(),
        price=st.integers(1, 10**16),
        size=st.integers(1, 10**15),
        expire_ns=st.integers(0, 2**62),
    )
)
def test_what_is_pinned_is_what_is_read(order: PlainOrder) -> None:
    assert decode_plain(encode_plain(order)) == order


@pytest.mark.parametrize("raw", [b"", b"\xc1", msgspec.msgpack.encode(["px1"]), msgspec.msgpack.encode({"price": 1})])
def test_what_is_no_plain_order_is_refused(raw: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        decode_plain(raw)
    assert (refused.value.code, refused.value.field) == (Reason.BAD_REQUEST, "pinned")


@pytest.mark.parametrize(
    ("token_id", "tail"),
    [
        ("ccxt:BTC/USDT", "-btc-usdt"),
        ("kraken:1000SATS/USDT", "-1000sats-usdt"),
        ("ccxt:BTC/USDT:USDT", "-btc-usdt-usdt"),
        ("ccxt:A_/_B", "-a-b"),
        ("ccxt:ABCDEFGHIJKL/USDT", "-abcdefghijkl-usdt"),
        ("ccxt:ABCDEFGHIJKLM/USDT", ""),
        ("ccxt://", ""),
        ("ccxt:", ""),
        ("exchange:" + "7" * 77, ""),
    ],
)
def test_an_order_id_ends_with_the_instrument_where_there_is_room(token_id: str, tail: str) -> None:
    assert id_tail(token_id) == tail


def test_the_venues_own_word_is_behind_its_name() -> None:
    assert local_id("ccxt:BTC/USDT:USDT") == "BTC/USDT:USDT"
