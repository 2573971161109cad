"""Pinned orders survive the bus byte for byte and name the order the venue will know."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.reasons import Reason
from common.types import TimeInForce
from common.venues.polymarket.orders import POLY_1271, OrderV1, OrderV2, order_id, parse_post_body, post_body
from common.venues.polymarket.pinned import (
    PinnedOrder,
    checked_pinned,
    decode_pinned,
    encode_pinned,
    pinned_signature,
    wallet_identity,
)
from common.venues.polymarket.signing import checksum_address

from .vectors import README, SIGNER, VECTORS, by_name, order_of

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
        encode_pinned(pinned(version=1, signature_type=3)),
        encode_pinned(pinned(version=1, expiration="soon")),
    ],
)
def test_bytes_without_a_signable_order_are_refused(raw: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        decode_pinned(raw)
    assert (caught.value.code, caught.value.field) == (Reason.BAD_REQUEST, "pinned")


# --- what the official clients signed ---

SIGNED = VECTORS["orders_v1"] + VECTORS["orders_v2"]
UNIFIED = VECTORS["orders_unified_sdk"]


def pinned_of(vector: dict[str, Any]) -> PinnedOrder:
    """The order of a vector as the executor would have pinned it."""
    order = order_of(vector) if "struct" in vector else parse_post_body(vector["post_body"]).order
    more = {} if isinstance(order, OrderV1) else {"metadata": order.metadata, "builder": order.builder}
    signed_expiration = str(order.expiration) if isinstance(order, OrderV1) else ""
    return PinnedOrder(
        **more,
        salt=order.salt,
        maker=order.maker,
        signer=order.signer,
        token_id=str(order.token_id),
        maker_amount=order.maker_amount,
        taker_amount=order.taker_amount,
        side=order.side,
        signature_type=order.signature_type,
        timestamp=0 if isinstance(order, OrderV1) else order.timestamp,
        version=int(vector["domain"]["version"]),
        chain_id=vector["domain"]["chainId"],
        neg_risk=vector["inputs"]["neg_risk"],
        order_type=TimeInForce(vector["inputs"]["order_type"]),
        post_only=vector["inputs"]["post_only"],
        expiration=signed_expiration or vector.get("wire_expiration", "0"),
    )


@by_name(SIGNED + UNIFIED)
def test_a_pinned_order_has_the_id_and_signature_of_the_official_client(vector: dict[str, Any]) -> None:
    order = decode_pinned(encode_pinned(pinned_of(vector)))
    assert order.venue_order_id == vector["order_hash"]
    signature = pinned_signature(order, order.venue_order_id, SIGNER)
    assert "0x" + signature.hex() == vector["signature"]


@by_name(SIGNED)
def test_a_pinned_order_is_posted_as_the_official_client_posts_it(vector: dict[str, Any]) -> None:
    order = pinned_of(vector)
    body = post_body(
        order.order,
        vector["signature"],
        vector["post_body"]["owner"],
        order.order_type.value,
        order.post_only,
        defer_exec=vector["inputs"].get("defer_exec", False),
        expiration=order.expiration,
    )
    assert body.decode() == vector["post_body_serialized"]


def test_the_vectors_cover_every_version_and_every_signature_type() -> None:
    orders = [pinned_of(vector) for vector in SIGNED + UNIFIED]
    assert {order.version for order in orders} == {1, 2, 3}
    # Type 2 is signed like type 1 (test_orders.py compares it with eth_account).
    assert {order.signature_type for order in orders} == {0, 1, 3}


def test_an_order_of_version_1_signs_its_expiration_and_not_its_timestamp() -> None:
    order = pinned(version=1, expiration="1790000060")
    expected = OrderV1(7, ADDRESS, ADDRESS, 2**255 + 1, 5_200_000, 10_000_000, 0, expiration=1_790_000_060)
    assert order.order == expected
    assert pinned(version=1, expiration="0").venue_order_id != order.venue_order_id
    assert pinned(version=1, expiration="1790000060", timestamp=1).venue_order_id == order.venue_order_id


# --- whose orders a key signs ---

OTHER = "0x" + "ab" * 20
EOA_WALLET = wallet_identity("main", ADDRESS, "", 0, 137)


def test_a_wallet_signs_its_own_orders() -> None:
    order = pinned()
    assert checked_pinned(encode_pinned(order), order.venue_order_id, EOA_WALLET) == order
    assert SIGNER.address == README["address"] == ADDRESS


def test_a_deposit_wallet_signs_as_itself() -> None:
    deposit = wallet_identity("main", ADDRESS, OTHER, POLY_1271, 137)
    assert deposit.order_signer == deposit.maker == checksum_address(OTHER)
    proxy = wallet_identity("main", ADDRESS, OTHER, 1, 137)
    assert (proxy.maker, proxy.order_signer) == (checksum_address(OTHER), ADDRESS)


@pytest.mark.parametrize(
    "changes", [{"maker": OTHER}, {"signer": OTHER}, {"chain_id": 80_002}, {"signature_type": 1}, {"signature_type": 3}]
)
def test_an_order_of_another_wallet_is_not_this_ones(changes: dict[str, object]) -> None:
    order = pinned(**changes)
    with pytest.raises(Refusal) as caught:
        checked_pinned(encode_pinned(order), order.venue_order_id, EOA_WALLET)
    assert (caught.value.code, caught.value.field) == (Reason.BAD_REQUEST, "pinned")


@pytest.mark.parametrize("claimed", ["", "0x", "0x" + "00" * 32, pinned(salt=8).venue_order_id])
def test_an_order_with_another_digest_than_was_journaled_is_refused(claimed: str) -> None:
    with pytest.raises(Refusal) as caught:
        checked_pinned(encode_pinned(pinned()), claimed, EOA_WALLET)
    assert (caught.value.code, caught.value.field) == (Reason.DIGEST_MISMATCH, "venue_order_id")
