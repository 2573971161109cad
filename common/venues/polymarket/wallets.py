"""Which wallets belong to a key: the signer itself and the contract wallets derived from it (protocol section 3.2).

In: the address of a signer. Out: checksum addresses by signature type, computed offline the way the factories do
(CREATE2). Pure; it does not know whether a wallet was ever used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from common.venues.polymarket.orders import EOA, POLY_1271, POLY_GNOSIS_SAFE, POLY_PROXY
from common.venues.polymarket.signing import address_word, checksum_address, keccak

PROXY_FACTORY: Final = "0xaB45c5A4B0c941a2F231C04C3f49182e1A254052"
PROXY_IMPLEMENTATION: Final = "0x44e999d5c2F66Ef0861317f9A4805AC2e90aEB4f"
SAFE_FACTORY: Final = "0xaacFeEa03eb1561C4e67d661e40682Bd20E3541b"
SAFE_INIT_HASH: Final = bytes.fromhex("2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf")
DEPOSIT_FACTORY: Final = "0x00000000000Fb5C9ADea0298D729A0CB3823Cc07"
DEPOSIT_IMPLEMENTATION: Final = "0x58CA52ebe0DadfdF531Cde7062e76746de4Db1eB"
DEPOSIT_BEACON: Final = "0x7A18EDfe055488A3128f01F563e5B479D92ffc3a"

# Creation code of the wallet contracts around their changing parts.
_PROXY_HEAD = bytes.fromhex("3d3d606380380380913d393d73")
_PROXY_MIDDLE = bytes.fromhex("5af4602a57600080fd5b602d8060366000396000f3363d3d373d3d3d363d73")
_PROXY_TAIL = bytes.fromhex("5af43d82803e903d91602b57fd5bf352e831dd") + (32).to_bytes(32, "big") + bytes(32)
_CLONE_HEAD = 0x61003D3D8160233D3973
_CLONE_TAIL = bytes.fromhex(
    "6009"
    "5155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
    "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
)
_BEACON_HEAD = 0x6100523D8160233D3973
_BEACON_TAIL = bytes.fromhex(
    "60195155f3363d3d373d3d363d602036600436635c60da"
    "1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
    "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"
)


@lru_cache(maxsize=4096)
def wallets_of(signer: str) -> dict[int, tuple[str, ...]]:
    """Checksum addresses a signer may trade for, by signature type; the current deposit wallet comes first."""
    return {
        EOA: (checksum_address(signer),),
        POLY_PROXY: (proxy_wallet(signer),),
        POLY_GNOSIS_SAFE: (safe_wallet(signer),),
        POLY_1271: (beacon_deposit_wallet(signer), deposit_wallet(signer)),
    }


def proxy_wallet(signer: str) -> str:
    code = _PROXY_HEAD + _raw(PROXY_FACTORY) + _PROXY_MIDDLE + _raw(PROXY_IMPLEMENTATION) + _PROXY_TAIL
    return _create2(PROXY_FACTORY, keccak(_raw(signer)), keccak(code))


def safe_wallet(signer: str) -> str:
    return _create2(SAFE_FACTORY, keccak(address_word(signer)), SAFE_INIT_HASH)


def deposit_wallet(signer: str) -> str:
    """The deposit wallet of the first factory version."""
    arguments = _deposit_arguments(signer)
    code = _head(_CLONE_HEAD, arguments) + _raw(DEPOSIT_IMPLEMENTATION) + _CLONE_TAIL + arguments
    return _create2(DEPOSIT_FACTORY, keccak(arguments), keccak(code))


def beacon_deposit_wallet(signer: str) -> str:
    """The deposit wallet of today."""
    arguments = _deposit_arguments(signer)
    code = _head(_BEACON_HEAD, arguments) + _raw(DEPOSIT_BEACON) + _BEACON_TAIL + arguments
    return _create2(DEPOSIT_FACTORY, keccak(arguments), keccak(code))


def _deposit_arguments(signer: str) -> bytes:
    return address_word(DEPOSIT_FACTORY) + address_word(signer)


def _head(base: int, arguments: bytes) -> bytes:
    """The first ten bytes hold the length of what follows the code."""
    return (base + (len(arguments) << 56)).to_bytes(10, "big")


def _raw(address: str) -> bytes:
    return address_word(address)[12:]


def _create2(factory: str, salt: bytes, code_hash: bytes) -> str:
    return checksum_address("0x" + keccak(b"\xff" + _raw(factory) + salt + code_hash)[12:].hex())
