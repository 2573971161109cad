"""Signatures, addresses and hashes equal eth_account's; secrets stay inside; bad signatures are refusals."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak as eth_keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ConfigError, Refusal
from common.venues.polymarket.contracts import CHAIN_ID_POLYGON
from common.venues.polymarket.signing import (
    Signer,
    address_word,
    bytes32_word,
    checksum_address,
    domain_separator,
    keccak,
    recover_address,
    signature_bytes,
    unwrap_deposit_wallet,
)

from .vectors import KEY, README, SIGNER, VECTORS

GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
digests = st.binary(min_size=32, max_size=32)
keys = st.integers(1, GROUP_ORDER - 1).map(lambda number: number.to_bytes(32, "big"))


@given(st.binary(max_size=600))
def test_keccak_equals_eth_utils_and_pycryptodome(data: bytes) -> None:
    from Crypto.Hash import keccak as pycryptodome

    assert keccak(data) == eth_keccak(data) == pycryptodome.new(digest_bits=256, data=data).digest()


def test_where_the_c_keccak_is_not_built_pycryptodome_gives_the_same_order_id() -> None:
    program = (
        "import sys; sys.modules['sha3'] = None\n"
        "from tests.common.venues.polymarket.vectors import VECTORS, order_of\n"
        "from common.venues.polymarket.orders import order_id\n"
        "print(order_id(order_of(VECTORS['orders_v2'][0]), 137, False, 2))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.strip() == VECTORS["orders_v2"][0]["order_hash"]


@settings(max_examples=40, deadline=None)
@given(keys, digests)
def test_address_and_signature_equal_eth_account(key: bytes, digest: bytes) -> None:
    ours, theirs = Signer(key), Account.from_key(key)
    assert ours.address == theirs.address
    signature = ours.sign_digest(digest)
    assert signature == "0x" + theirs.unsafe_sign_hash(digest).signature.hex().removeprefix("0x")
    assert recover_address(digest, signature) == ours.address


def test_the_address_of_the_test_key() -> None:
    assert SIGNER.address == README["address"]


def test_a_signer_never_shows_its_key() -> None:
    shown = [repr(SIGNER), str(SIGNER), f"{SIGNER!r:>80}"]
    assert not any(KEY.hex() in text.lower() or repr(KEY) in text for text in shown)
    assert repr(SIGNER) == f"Signer({README['address']})"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(SIGNER)


@pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, bytes(31), bytes(33)])
def test_a_bad_key_is_a_settings_error_without_the_key(key: bytes) -> None:
    with pytest.raises(ConfigError) as error:
        Signer(key)
    assert error.value.key == "wallet_key"
    assert key.hex() not in str(error.value) or not key


@given(st.binary(min_size=20, max_size=20))
def test_checksum_addresses_equal_eth_utils(raw: bytes) -> None:
    text = "0x" + raw.hex()
    assert checksum_address(text) == checksum_address("0x" + raw.hex().upper()) == to_checksum_address(text)
    assert address_word(text) == bytes(12) + raw


@pytest.mark.parametrize(
    "text", ["", "0x", "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x" + "0" * 39, "0x" + "g" * 40]
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    for reader in (checksum_address, address_word):
        with pytest.raises(Refusal):
            reader(text)


@pytest.mark.parametrize("text", ["0x" + " " * 64, "0x" + "0" * 63, "0" * 66, "0x" + "zz" * 32])
def test_what_is_not_32_bytes_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        bytes32_word(text)


def test_a_foreign_key_recovers_to_another_address() -> None:
    digest = keccak(b"order")
    assert recover_address(digest, Signer(keccak(b"other")).sign_digest(digest)) != SIGNER.address


def test_recovery_accepts_both_spellings_of_v_and_bytes() -> None:
    digest = keccak(b"order")
    raw = signature_bytes(SIGNER.sign_digest(digest))
    assert recover_address(digest, raw) == SIGNER.address
    assert recover_address(digest, raw[:64] + bytes((raw[64] - 27,))) == SIGNER.address


def test_malformed_malleable_and_impossible_signatures_are_refused() -> None:
    digest = keccak(b"order")
    raw = signature_bytes(SIGNER.sign_digest(digest))
    high_s = (GROUP_ORDER - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
    flipped = bytes((55 - raw[64],))
    bad: list[str | bytes] = [
        "",
        "0x",
        "0xzz",
        raw.hex(),
        raw[:64],
        raw + b"\0",
        raw[:64] + b"\x1d",
        raw[:32] + high_s + flipped,
        bytes(64) + b"\x1b",
        b"\xff" * 64 + b"\x1b",
    ]
    for signature in bad:
        with pytest.raises(Refusal) as refusal:
            recover_address(digest, signature)
        assert refusal.value.field == "signature"


def test_a_tampered_digest_does_not_recover_to_the_signer() -> None:
    signature = SIGNER.sign_digest(keccak(b"order"))
    assert recover_address(keccak(b"another order"), signature) != SIGNER.address


def test_domain_separator_of_the_vectors() -> None:
    layout = next(v for v in VECTORS["orders_v2"] if "poly1271_layout" in v)["poly1271_layout"]
    assert "0x" + domain_separator(2, CHAIN_ID_POLYGON, False).hex() == layout["app_domain_separator_32"]


def test_a_wrapped_signature_comes_apart_into_its_documented_parts() -> None:
    vector = next(v for v in VECTORS["orders_v2"] if "poly1271_layout" in v)
    layout = vector["poly1271_layout"]
    parts = unwrap_deposit_wallet(vector["signature"])
    assert "0x" + parts.inner.hex() == layout["inner_ecdsa_65"]
    assert "0x" + parts.domain.hex() == layout["app_domain_separator_32"]
    assert "0x" + parts.contents_hash.hex() == layout["contents_hash_32"]
    assert len(signature_bytes(vector["signature"])) == layout["total_len"]


def test_a_wrapper_with_another_type_text_is_refused() -> None:
    vector = next(v for v in VECTORS["orders_v2"] if "poly1271_layout" in v)
    raw = signature_bytes(vector["signature"])
    for broken in (raw[:-1], raw[:-2] + b"\0\xbb", raw[:129] + b"o" + raw[130:], raw[:65], b""):
        with pytest.raises(Refusal):
            unwrap_deposit_wallet(broken)
