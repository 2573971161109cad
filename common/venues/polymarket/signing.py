"""Keccak, addresses, EIP-712 words and domains, and secp256k1 signatures, all in C underneath.

In: bytes to hash, digests to sign, signatures to check. Out: digests, 0x texts, checksum addresses. Deterministic
(RFC 6979, low s). The key itself is in walletkey.py alone; a Signer adds its address. Bad signatures are refusals.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple, NoReturn

from coincurve import PublicKey

from common.errors import Refusal
from common.reasons import Reason
from common.venues.polymarket.contracts import (
    DOMAIN_TYPE,
    EXCHANGE_NAME,
    ORDER_V2_TYPE,
    WALLET_NAME,
    WALLET_SIGN_TYPE,
    WALLET_VERSION,
    exchange_address,
)
from common.venues.polymarket.walletkey import WalletKey

try:
    from sha3 import keccak_256

    def keccak(data: bytes) -> bytes:
        """Keccak-256, the hash of Ethereum (not NIST SHA3-256)."""
        digest: bytes = keccak_256(data).digest()
        return digest

except ImportError:  # safe-pysha3 is built for Linux only
    from Crypto.Hash import keccak as _pycryptodome

    def keccak(data: bytes) -> bytes:
        """Keccak-256, the hash of Ethereum (not NIST SHA3-256)."""
        return _pycryptodome.new(digest_bits=256, data=data).digest()


_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
_WALLET_SIGN_TYPEHASH = keccak(WALLET_SIGN_TYPE.encode())
_WALLET_NAME_HASH = keccak(WALLET_NAME.encode())
_WALLET_VERSION_HASH = keccak(WALLET_VERSION.encode())
_DOMAIN_TYPEHASH = keccak(DOMAIN_TYPE.encode())
_ORDER_TYPE_BYTES: Final = ORDER_V2_TYPE.encode("ascii")
_WRAPPED_LENGTH = 65 + 32 + 32 + len(_ORDER_TYPE_BYTES) + 2


class Signer:
    """One wallet key and its address. Only the gateway or the signer process (and tests) should ever hold one."""

    __slots__ = ("_key", "address", "sign")

    address: str

    def __init__(self, key: bytes | bytearray | WalletKey) -> None:
        self._key = key if isinstance(key, WalletKey) else WalletKey(key)
        self.sign = self._key.sign
        """The 65 bytes r, s, v (27 or 28) over a 32-byte digest."""
        self.address = _address_of(self._key.public)

    def sign_digest(self, digest: bytes) -> str:
        """The same as a 0x text."""
        return "0x" + self.sign(digest).hex()

    def close(self) -> None:
        """Overwrite the key: whatever is asked to be signed later is refused."""
        self._key.close()

    def __repr__(self) -> str:
        return f"Signer({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Signer cannot be copied or pickled")


def recover_address(digest: bytes, signature: str | bytes) -> str:
    """Checksum address of whoever signed the digest; malformed, malleable or impossible signatures are refused."""
    raw = signature_bytes(signature)
    if len(raw) != 65 or raw[64] not in (0, 1, 27, 28):
        raise _bad_signature()
    if int.from_bytes(raw[32:64], "big") > _HALF_ORDER:
        raise _bad_signature()
    recovery = raw[64] - 27 if raw[64] >= 27 else raw[64]
    try:
        public = PublicKey.from_signature_and_message(raw[:64] + bytes((recovery,)), digest, hasher=None)
    except ValueError as error:
        raise _bad_signature() from error
    return _address_of(public.format(compressed=False)[1:])


def signature_bytes(signature: str | bytes) -> bytes:
    """Bytes of a 0x signature text."""
    if isinstance(signature, bytes):
        return signature
    if _HEX.fullmatch(signature) is None:
        raise _bad_signature()
    return bytes.fromhex(signature[2:])


@lru_cache(maxsize=4096)
def checksum_address(address: str) -> str:
    """The EIP-55 spelling of a 0x address in any letter case."""
    lower = address_word(address)[12:].hex()
    nibbles = keccak(lower.encode("ascii")).hex()
    letters = (c.upper() if n >= "8" else c for c, n in zip(lower, nibbles, strict=False))
    return "0x" + "".join(letters)


@lru_cache(maxsize=4096)
def address_word(address: str) -> bytes:
    """The 32-byte ABI word of a 0x address."""
    if len(address) != 42 or _HEX.fullmatch(address) is None:
        raise Refusal(Reason.BAD_REQUEST, f"{address[:50]!r} is not an address", "address")
    return bytes(12) + bytes.fromhex(address[2:])


@lru_cache(maxsize=4096)
def bytes32_word(text: str) -> bytes:
    """The 32 bytes of a 0x text with exactly 64 hex digits."""
    if len(text) != 66 or _HEX.fullmatch(text) is None:
        raise Refusal(Reason.BAD_REQUEST, f"{text[:80]!r} is not 32 bytes of hex", "bytes32")
    return bytes.fromhex(text[2:])


@lru_cache(maxsize=64)
def domain_separator(version: int, chain_id: int, neg_risk: bool) -> bytes:
    """EIP-712 domain separator of the exchange an order is signed for."""
    return keccak(
        _DOMAIN_TYPEHASH
        + keccak(EXCHANGE_NAME.encode())
        + keccak(str(version).encode())
        + chain_id.to_bytes(32, "big")
        + address_word(exchange_address(version, chain_id, neg_risk))
    )


class DepositWalletSignature(NamedTuple):
    """The parts of an ERC-7739 signature of a deposit wallet (signature type 3)."""

    inner: bytes
    domain: bytes
    contents_hash: bytes


def deposit_wallet_digest(contents_hash: bytes, domain: bytes, chain_id: int, wallet: str) -> bytes:
    """What the wallet's owner signs: the order wrapped in TypedDataSign, under the exchange's domain."""
    wrapped = keccak(
        _WALLET_SIGN_TYPEHASH
        + contents_hash
        + _WALLET_NAME_HASH
        + _WALLET_VERSION_HASH
        + chain_id.to_bytes(32, "big")
        + address_word(wallet)
        + bytes(32)
    )
    return keccak(b"\x19\x01" + domain + wrapped)


def wrap_deposit_wallet(inner: bytes, domain: bytes, contents_hash: bytes) -> bytes:
    """The signature a deposit wallet verifies: inner, domain, order hash, order type text and its length."""
    length = len(_ORDER_TYPE_BYTES).to_bytes(2, "big")
    return inner + domain + contents_hash + _ORDER_TYPE_BYTES + length


def unwrap_deposit_wallet(signature: str | bytes) -> DepositWalletSignature:
    """The inverse of `wrap_deposit_wallet`; anything but the order type of today is refused."""
    raw = signature_bytes(signature)
    tail = _ORDER_TYPE_BYTES + len(_ORDER_TYPE_BYTES).to_bytes(2, "big")
    if len(raw) != _WRAPPED_LENGTH or not raw.endswith(tail):
        raise _bad_signature()
    return DepositWalletSignature(raw[:65], raw[65:97], raw[97:129])


def _address_of(public: bytes) -> str:
    return checksum_address("0x" + keccak(public)[12:].hex())


def _bad_signature() -> Refusal:
    return Refusal(Reason.BAD_REQUEST, "invalid signature", "signature")
