"""Pinned orders survive the bus byte for byte and name the order the venue will know."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.reasons import Reason
from common.types import TimeInForce
from common.venues.polymarket.orders import OrderV2, order_id
from common.venues.polymarket.pinned import PinnedOrder, decode_pinned, encode_pinned

ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def pinned(**changes: object) -> PinnedOrder:
    base = PinnedOrder(
        salt=7,
        maker=ADDRESS,
        signer=ADDRESS,
        token_id=str(2**255 + 1),
        maker_amount=5_200_000,
        taker_amount=10_000_000,
        side=0,
        signature_type=0,
        timestamp=1_790_000_000_000,
        version=2,
        chain_id=137,
        neg_risk=False,
        order_type=TimeInForce.GTC,
    )
    return msgspec.structs.replace(base, **changes)


@given(st.integers(0, 2**53), st.integers(0, 2**256 - 1), st.integers(0, 2**63 - 1), st.sampled_from(TimeInForce))
def test_encoding_is_exact_and_canonical(salt: int, token: int, amount: int, tif: TimeInForce) -> None:
    order = pinned(salt=salt, token_id=str(token), maker_amount=amount, order_type=tif)
    raw = encode_pinned(order)
    assert decode_pinned(raw) == order
    assert encode_pinned(decode_pinned(raw)) == raw


def test_the_id_is_the_digest_of_the_order_it_carries() -> None:
    order = OrderV2(7, ADDRESS, ADDRESS, 2**255 + 1, 5_200_000, 10_000_000, 0, 0, 1_790_000_000_000)
    assert pinned().order == order
    assert pinned().venue_order_id == order_id(order, 137, False, 2)
    assert pinned(neg_risk=True).venue_order_id != pinned().venue_order_id


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        encode_pinned(pinned(token_id="12x")),
        encode_pinned(pinned(token_id=str(2**256))),
        encode_pinned(pinned(side=2)),
        encode_pinned(pinned(maker_amount=-1)),
    ],
)
def test_bytes_without_a_signable_order_are_refused(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode_pinned(raw)
    assert (caught.value.code, caught.value.field) == (Reason.BAD_REQUEST, "pinned")
