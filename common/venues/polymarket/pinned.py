"""A pinned order: everything the gateway needs to sign and post exactly what the executor journaled. Pure.

In: the whole signed struct with its domain (version, chain, neg-risk) and the unsigned members of the POST body. Out:
msgpack bytes for `Place.pinned`, and back; the signature of a pinned order. Equal orders give equal bytes. Token ids
are texts, because msgpack integers end at 64 bits; bytes that do not hold a signable order are refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import msgspec

from common.errors import Refusal
from common.reasons import Reason
from common.types import TimeInForce
from common.venues.polymarket.contracts import ORDER_V2_TYPEHASH, ZERO_BYTES32
from common.venues.polymarket.orders import POLY_1271, Order, OrderV1, OrderV2, order_id, order_signature
from common.venues.polymarket.signing import (
    Signer,
    address_word,
    bytes32_word,
    checksum_address,
    domain_separator,
    keccak,
)

_TOKEN_ID = re.compile(r"[0-9]{1,78}", re.ASCII)
_EXPIRATION = re.compile(r"[0-9]{1,20}", re.ASCII)
_UINT256_MAX = 2**256 - 1


class PinnedOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The fields of OrderV2, its domain, and what travels beside the signature. `expiration` is unix seconds.

    With version 1 it is an OrderV1 for anybody, of nonce 0 and without a fee: `expiration` is signed then, and
    `timestamp`, `metadata` and `builder` say nothing.
    """

    salt: int
    maker: str
    signer: str
    token_id: str
    maker_amount: int
    taker_amount: int
    side: int
    signature_type: int
    timestamp: int
    version: int
    chain_id: int
    neg_risk: bool
    order_type: TimeInForce
    post_only: bool = False
    expiration: str = "0"
    metadata: str = ZERO_BYTES32
    builder: str = ZERO_BYTES32

    @property
    def order(self) -> Order:
        """The struct that is signed."""
        if self.version == 1:
            return self._order_v1()
        return OrderV2(
            salt=self.salt,
            maker=self.maker,
            signer=self.signer,
            token_id=int(self.token_id),
            maker_amount=self.maker_amount,
            taker_amount=self.taker_amount,
            side=self.side,
            signature_type=self.signature_type,
            timestamp=self.timestamp,
            metadata=self.metadata,
            builder=self.builder,
        )

    @property
    def venue_order_id(self) -> str:
        """The venue's id of this order: its EIP-712 digest."""
        if self.version == 1:
            return order_id(self._order_v1(), self.chain_id, self.neg_risk, 1)
        # The words of `struct_hash`, joined here: this is done for every order before it is journaled.
        words = b"".join(
            (
                ORDER_V2_TYPEHASH,
                self.salt.to_bytes(32, "big"),
                address_word(self.maker),
                address_word(self.signer),
                token_word(self.token_id),
                self.maker_amount.to_bytes(32, "big"),
                self.taker_amount.to_bytes(32, "big"),
                self.side.to_bytes(32, "big"),
                self.signature_type.to_bytes(32, "big"),
                self.timestamp.to_bytes(32, "big"),
                bytes32_word(self.metadata),
                bytes32_word(self.builder),
            )
        )
        domain = domain_separator(self.version, self.chain_id, self.neg_risk)
        return "0x" + keccak(b"\x19\x01" + domain + keccak(words)).hex()

    def _order_v1(self) -> OrderV1:
        return OrderV1(
            salt=self.salt,
            maker=self.maker,
            signer=self.signer,
            token_id=int(self.token_id),
            maker_amount=self.maker_amount,
            taker_amount=self.taker_amount,
            side=self.side,
            signature_type=self.signature_type,
            expiration=int(self.expiration),
        )


class WalletIdentity(NamedTuple):
    """Whose orders a key may sign: the parties and the signature type they must be pinned for."""

    name: str
    maker: str
    order_signer: str
    signature_type: int
    chain_id: int


def wallet_identity(name: str, address: str, funder: str, signature_type: int, chain_id: int) -> WalletIdentity:
    """The identity that follows from a wallet's settings and the address of its key.

    A deposit wallet signs as itself (protocol section 3.2).
    """
    maker = checksum_address(funder) if funder else address
    return WalletIdentity(name, maker, maker if signature_type == POLY_1271 else address, signature_type, chain_id)


def checked_pinned(raw: bytes, venue_order_id: str, wallet: WalletIdentity) -> PinnedOrder:
    """The pinned order, which must be this wallet's and have the digest that was journaled. Raises Refusal."""
    pinned = decode_pinned(raw)
    if (pinned.chain_id, pinned.signature_type) != (wallet.chain_id, wallet.signature_type):
        raise Refusal(Reason.BAD_REQUEST, "the order is pinned for another chain or signature type", "pinned")
    if (pinned.maker.lower(), pinned.signer.lower()) != (wallet.maker.lower(), wallet.order_signer.lower()):
        raise Refusal(Reason.BAD_REQUEST, f"the order is pinned for another wallet than {wallet.name}", "pinned")
    digest = pinned.venue_order_id
    if digest != venue_order_id:
        text = f"the pinned order has the digest {digest}, not {venue_order_id[:80]}"
        raise Refusal(Reason.DIGEST_MISMATCH, text, "venue_order_id")
    return pinned


def pinned_signature(pinned: PinnedOrder, venue_order_id: str, signer: Signer) -> bytes:
    """The signature to post, wrapped for a deposit wallet. `venue_order_id` is the order's own (already computed)."""
    if pinned.signature_type != POLY_1271:
        return signer.sign(bytes.fromhex(venue_order_id[2:]))
    return order_signature(pinned.order, signer, pinned.chain_id, pinned.neg_risk, pinned.version)


@lru_cache(maxsize=4096)
def token_word(token_id: str) -> bytes:
    """The 32-byte ABI word of a token id."""
    return int(token_id).to_bytes(32, "big")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PinnedOrder)


def encode_pinned(pinned: PinnedOrder) -> bytes:
    return _encoder.encode(pinned)


def decode_pinned(raw: bytes) -> PinnedOrder:
    """The pinned order in a Place. Raises Refusal(BAD_REQUEST, field="pinned") for anything else."""
    try:
        pinned = _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise Refusal(Reason.BAD_REQUEST, f"the pinned order cannot be read: {error}", "pinned") from error
    if _TOKEN_ID.fullmatch(pinned.token_id) is None or int(pinned.token_id) > _UINT256_MAX:
        raise Refusal(Reason.BAD_REQUEST, "the pinned token id is not a uint256", "pinned")
    if pinned.side not in (0, 1) or min(pinned.maker_amount, pinned.taker_amount, pinned.salt, pinned.timestamp) < 0:
        raise Refusal(Reason.BAD_REQUEST, "the pinned order has a number out of range", "pinned")
    if pinned.version == 1:
        _check_v1(pinned)
    return pinned


def _check_v1(pinned: PinnedOrder) -> None:
    if pinned.signature_type == POLY_1271:
        raise Refusal(Reason.BAD_REQUEST, "a deposit wallet has no orders of version 1", "pinned")
    if _EXPIRATION.fullmatch(pinned.expiration) is None:
        raise Refusal(Reason.BAD_REQUEST, "the pinned expiration is not a number of seconds", "pinned")
