"""The signed order structs, their EIP-712 digests and ids, and the POST body in both directions.

In: integers and 0x texts of one order, or a body some client posted. Out: digest, order id, signature, body bytes, or a
PostedOrder. The digest is the venue's order id, so it is known before anything is sent. Bodies that do not have the
venue's exact types are refused with the offending field; nothing here decides whether an order is acceptable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

import msgspec

from common.errors import Refusal
from common.reasons import Reason
from common.types import Side, TimeInForce
from common.venues.polymarket.contracts import (
    ORDER_V1_TYPEHASH,
    ORDER_V2_TYPEHASH,
    ZERO_ADDRESS,
    ZERO_BYTES32,
    is_position_id,
)
from common.venues.polymarket.signing import (
    Signer,
    address_word,
    bytes32_word,
    checksum_address,
    deposit_wallet_digest,
    domain_separator,
    keccak,
    recover_address,
    unwrap_deposit_wallet,
    wrap_deposit_wallet,
)
from common.venues.polymarket.wire import UNREADABLE

SALT_MAX: Final = 2**53
BATCH_MAX: Final = 15
SIDE_CODE: Final = {Side.BUY: 0, Side.SELL: 1}
SIDES: Final = (Side.BUY, Side.SELL)
EOA, POLY_PROXY, POLY_GNOSIS_SAFE, POLY_1271 = 0, 1, 2, 3
"""Signature types; type 3 (deposit wallet) is signed with a wrapper and only exists from V2 on."""

_UINT256_MAX = 2**256 - 1
_TEXT_MAX = 256
_SIGNATURE_MAX = 8192
_DIGITS = re.compile(r"[0-9]{1,78}", re.ASCII)
_HEX32 = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)
_json_decode = msgspec.json.Decoder().decode
_json_encode = msgspec.json.Encoder().encode


class OrderV1(msgspec.Struct, frozen=True, gc=False):
    """The order struct of exchange V1 (off on production since 2026-04-28)."""

    salt: int
    maker: str
    signer: str
    token_id: int
    maker_amount: int
    taker_amount: int
    side: int
    signature_type: int = EOA
    taker: str = ZERO_ADDRESS
    expiration: int = 0
    nonce: int = 0
    fee_rate_bps: int = 0


class OrderV2(msgspec.Struct, frozen=True, gc=False):
    """The order struct of exchanges V2 and V3; `timestamp` is the creation time in milliseconds."""

    salt: int
    maker: str
    signer: str
    token_id: int
    maker_amount: int
    taker_amount: int
    side: int
    signature_type: int = EOA
    timestamp: int = 0
    metadata: str = ZERO_BYTES32
    builder: str = ZERO_BYTES32


Order = OrderV1 | OrderV2


class PostedOrder(msgspec.Struct, frozen=True):
    """One order as a client posted it. `version` follows from its shape and token, the signature was not checked."""

    version: int
    order: OrderV1 | OrderV2
    owner: str
    order_type: TimeInForce
    post_only: bool
    defer_exec: bool
    expiration: int
    signature: str

    @property
    def signature_type(self) -> int:
        return self.order.signature_type

    @property
    def side(self) -> Side:
        return SIDES[self.order.side]


def struct_hash(order: Order) -> bytes:
    """EIP-712 hash of the order struct, without a domain."""
    if isinstance(order, OrderV2):
        return keccak(
            b"".join(
                (
                    ORDER_V2_TYPEHASH,
                    order.salt.to_bytes(32, "big"),
                    address_word(order.maker),
                    address_word(order.signer),
                    order.token_id.to_bytes(32, "big"),
                    order.maker_amount.to_bytes(32, "big"),
                    order.taker_amount.to_bytes(32, "big"),
                    order.side.to_bytes(32, "big"),
                    order.signature_type.to_bytes(32, "big"),
                    order.timestamp.to_bytes(32, "big"),
                    bytes32_word(order.metadata),
                    bytes32_word(order.builder),
                )
            )
        )
    return keccak(
        b"".join(
            (
                ORDER_V1_TYPEHASH,
                order.salt.to_bytes(32, "big"),
                address_word(order.maker),
                address_word(order.signer),
                address_word(order.taker),
                order.token_id.to_bytes(32, "big"),
                order.maker_amount.to_bytes(32, "big"),
                order.taker_amount.to_bytes(32, "big"),
                order.expiration.to_bytes(32, "big"),
                order.nonce.to_bytes(32, "big"),
                order.fee_rate_bps.to_bytes(32, "big"),
                order.side.to_bytes(32, "big"),
                order.signature_type.to_bytes(32, "big"),
            )
        )
    )


def order_digest(order: Order, domain: bytes) -> bytes:
    """The 32 bytes that are signed and that name the order; `domain` comes from `domain_separator`."""
    return keccak(b"\x19\x01" + domain + struct_hash(order))


def order_id(order: Order, chain_id: int, neg_risk: bool, version: int) -> str:
    """The venue's id of this order, known before it is sent."""
    return "0x" + order_digest(order, domain_separator(version, chain_id, neg_risk)).hex()


def sign_order(order: Order, signer: Signer, chain_id: int, neg_risk: bool, version: int) -> str:
    """The signature text to post, wrapped when the order belongs to a deposit wallet."""
    return "0x" + order_signature(order, signer, chain_id, neg_risk, version).hex()


def order_signature(order: Order, signer: Signer, chain_id: int, neg_risk: bool, version: int) -> bytes:
    """The same as bytes."""
    domain = domain_separator(version, chain_id, neg_risk)
    if order.signature_type != POLY_1271:
        return signer.sign(order_digest(order, domain))
    contents = struct_hash(order)
    inner = signer.sign(deposit_wallet_digest(contents, domain, chain_id, order.signer))
    return wrap_deposit_wallet(inner, domain, contents)


def recover_order_signer(order: Order, signature: str, chain_id: int, neg_risk: bool, version: int) -> str:
    """Checksum address of the key that signed the order; for a deposit wallet that is its owner, not the wallet."""
    domain = domain_separator(version, chain_id, neg_risk)
    if order.signature_type != POLY_1271:
        return recover_address(order_digest(order, domain), signature)
    contents = struct_hash(order)
    parts = unwrap_deposit_wallet(signature)
    if parts.domain != domain or parts.contents_hash != contents:
        raise Refusal(Reason.BAD_REQUEST, "invalid signature", "signature")
    return recover_address(deposit_wallet_digest(contents, domain, chain_id, order.signer), parts.inner)


def post_entry(
    order: Order,
    signature: str,
    owner: str,
    order_type: str,
    post_only: bool,
    *,
    defer_exec: bool = False,
    expiration: str = "0",
) -> dict[str, object]:
    """One order as a JSON object, in the member order of the official clients.

    A V1 order carries its signed expiration; for V2 the argument travels beside the signed fields.
    """
    if not 0 <= order.salt <= SALT_MAX:
        raise Refusal(Reason.BAD_REQUEST, "a salt must fit a JSON number: 0 to 2**53", "salt")
    if isinstance(order, OrderV1):
        return {
            "order": _v1_members(order, signature),
            "owner": owner,
            "orderType": order_type,
            "postOnly": post_only,
        }
    return {
        "order": _v2_members(order, signature, expiration),
        "owner": owner,
        "orderType": order_type,
        "deferExec": defer_exec,
        "postOnly": post_only,
    }


def post_body(
    order: Order,
    signature: str,
    owner: str,
    order_type: str,
    post_only: bool,
    *,
    defer_exec: bool = False,
    expiration: str = "0",
) -> bytes:
    """The exact bytes of POST /order (and what L2 authentication signs)."""
    return _json_encode(
        post_entry(order, signature, owner, order_type, post_only, defer_exec=defer_exec, expiration=expiration)
    )


def post_batch_body(entries: Sequence[Mapping[str, object]]) -> bytes:
    """The exact bytes of POST /orders, from 1 to 15 results of `post_entry`."""
    if not 1 <= len(entries) <= BATCH_MAX:
        raise Refusal(Reason.BAD_REQUEST, f"a batch has 1 to {BATCH_MAX} orders, not {len(entries)}", "orders")
    return _json_encode(entries)


def parse_post_body(raw: bytes | str | Mapping[str, object]) -> PostedOrder:
    """Read one POST /order body (or one decoded entry of a batch), as any of the official clients sends it."""
    body = raw if isinstance(raw, Mapping) else _decode(raw)
    if not isinstance(body, Mapping):
        _invalid("")
    members = body.get("order")
    if not isinstance(members, Mapping):
        _invalid("order")
    is_v1 = any(name in members for name in ("taker", "nonce", "feeRateBps"))
    order = _read_v1(members) if is_v1 else _read_v2(members)
    order_type = body.get("orderType")
    if not isinstance(order_type, str) or order_type not in TimeInForce.__members__:
        _invalid("orderType")
    return PostedOrder(
        version=1 if is_v1 else 3 if is_position_id(order.token_id) else 2,
        order=order,
        owner=_text(body, "owner"),
        order_type=TimeInForce[order_type],
        post_only=_flag(body, "postOnly"),
        defer_exec=_flag(body, "deferExec"),
        expiration=order.expiration if isinstance(order, OrderV1) else _uint(members, "expiration", optional=True),
        signature=_signature(members),
    )


def parse_post_batch(raw: bytes | str) -> list[object]:
    """The undecided entries of a POST /orders body; hand each to `parse_post_body`, they are judged alone."""
    body = _decode(raw)
    if not isinstance(body, list) or not body:
        _invalid("")
    if len(body) > BATCH_MAX:
        text = f"Too many orders in payload: {len(body)}, max allowed: {BATCH_MAX}"
        raise Refusal(Reason.BAD_REQUEST, text, "orders")
    return body


def _v1_members(order: OrderV1, signature: str) -> dict[str, object]:
    return {
        "salt": order.salt,
        "maker": order.maker,
        "signer": order.signer,
        "taker": order.taker,
        "tokenId": str(order.token_id),
        "makerAmount": str(order.maker_amount),
        "takerAmount": str(order.taker_amount),
        "expiration": str(order.expiration),
        "nonce": str(order.nonce),
        "feeRateBps": str(order.fee_rate_bps),
        "side": SIDES[order.side].value,
        "signatureType": order.signature_type,
        "signature": signature,
    }


def _v2_members(order: OrderV2, signature: str, expiration: str) -> dict[str, object]:
    return {
        "salt": order.salt,
        "maker": order.maker,
        "signer": order.signer,
        "tokenId": str(order.token_id),
        "makerAmount": str(order.maker_amount),
        "takerAmount": str(order.taker_amount),
        "side": SIDES[order.side].value,
        "expiration": expiration,
        "signatureType": order.signature_type,
        "timestamp": str(order.timestamp),
        "metadata": order.metadata,
        "builder": order.builder,
        "signature": signature,
    }


def _read_v1(members: Mapping[str, object]) -> OrderV1:
    return OrderV1(
        salt=_number(members, "salt", SALT_MAX),
        maker=_address(members, "maker"),
        signer=_address(members, "signer"),
        taker=_address(members, "taker"),
        token_id=_uint(members, "tokenId"),
        maker_amount=_uint(members, "makerAmount"),
        taker_amount=_uint(members, "takerAmount"),
        expiration=_uint(members, "expiration"),
        nonce=_uint(members, "nonce"),
        fee_rate_bps=_uint(members, "feeRateBps"),
        side=_side(members),
        signature_type=_number(members, "signatureType", POLY_GNOSIS_SAFE),
    )


def _read_v2(members: Mapping[str, object]) -> OrderV2:
    return OrderV2(
        salt=_number(members, "salt", SALT_MAX),
        maker=_address(members, "maker"),
        signer=_address(members, "signer"),
        token_id=_uint(members, "tokenId"),
        maker_amount=_uint(members, "makerAmount"),
        taker_amount=_uint(members, "takerAmount"),
        side=_side(members),
        signature_type=_number(members, "signatureType", POLY_1271),
        timestamp=_uint(members, "timestamp"),
        metadata=_bytes32(members, "metadata"),
        builder=_bytes32(members, "builder"),
    )


def _decode(raw: bytes | str) -> object:
    try:
        return _json_decode(raw)
    except UNREADABLE:
        _invalid("")


def _invalid(field: str) -> NoReturn:
    raise Refusal(Reason.BAD_REQUEST, "Invalid order payload", field)


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_MAX:
        _invalid(name)
    return value


def _number(members: Mapping[str, object], name: str, maximum: int) -> int:
    value = members.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        _invalid(name)
    return value


def _uint(members: Mapping[str, object], name: str, *, optional: bool = False) -> int:
    if optional and name not in members:
        return 0
    value = members.get(name)
    if not isinstance(value, str) or _DIGITS.fullmatch(value) is None:
        _invalid(name)
    number = int(value)
    if number > _UINT256_MAX:
        _invalid(name)
    return number


def _flag(members: Mapping[str, object], name: str) -> bool:
    value = members.get(name, False)
    if not isinstance(value, bool):
        _invalid(name)
    return value


def _side(members: Mapping[str, object]) -> int:
    word = members.get("side")
    if word not in ("BUY", "SELL"):
        _invalid("side")
    return 0 if word == "BUY" else 1


def _address(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        _invalid(name)
    try:
        return checksum_address(value)
    except Refusal:
        _invalid(name)


def _bytes32(members: Mapping[str, object], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or _HEX32.fullmatch(value) is None:
        _invalid(name)
    return value


def _signature(members: Mapping[str, object]) -> str:
    value = members.get("signature")
    if not isinstance(value, str) or len(value) > _SIGNATURE_MAX or _HEX.fullmatch(value) is None:
        _invalid("signature")
    return value
