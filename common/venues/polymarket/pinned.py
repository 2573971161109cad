"""A pinned order: everything the gateway needs to sign and post exactly what the executor journaled. Pure.

In: the whole signed struct with its domain (version, chain, neg-risk) and the unsigned members of the POST body. Out:
msgpack bytes for `Place.pinned`, and back. Equal orders give equal bytes. Token ids are texts, because msgpack
integers end at 64 bits; bytes that do not hold a signable order are refused.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from common.errors import Refusal
from common.reasons import Reason
from common.types import TimeInForce
from common.venues.polymarket.contracts import ORDER_V2_TYPEHASH, ZERO_BYTES32
from common.venues.polymarket.orders import OrderV2
from common.venues.polymarket.signing import address_word, bytes32_word, domain_separator, keccak

_TOKEN_ID = re.compile(r"[0-9]{1,78}", re.ASCII)
_UINT256_MAX = 2**256 - 1


class PinnedOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The fields of OrderV2, its domain, and what travels beside the signature. `expiration` is unix seconds."""

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
    def order(self) -> OrderV2:
        """The struct that is signed."""
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
    return pinned
