"""The bytes of a key are in one buffer: signed with there, overwritten at the end, shown nowhere."""

from __future__ import annotations

import copy
import gc
import pickle
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ConfigError, Refusal
from common.reasons import Reason
from common.venues.polymarket.signing import Signer, keccak
from common.venues.polymarket.walletkey import WalletKey, wipe

from .vectors import KEY, README

DIGEST = keccak(b"order")
HEX = KEY.hex()


def shown(error: BaseException) -> str:
    """Everything a log could make of an error, with what caused it."""
    return repr(error) + str(error) + "".join(traceback.format_exception(error))


def test_a_key_signs_until_it_is_closed() -> None:
    key = WalletKey(KEY)
    first = key.sign(DIGEST)
    assert len(first) == 65
    assert first[64] in (27, 28)
    assert key.sign(DIGEST) == first
    key.close()
    with pytest.raises(Refusal) as refused:
        key.sign(DIGEST)
    assert refused.value.code is Reason.WALLET_NOT_READY
    key.close()


def test_closing_a_signer_overwrites_the_bytes_libsecp256k1_reads() -> None:
    key = WalletKey(KEY)
    signer = Signer(key)
    assert bytes(key._buffer) == KEY
    signer.close()
    assert bytes(key._buffer) == bytes(32)
    with pytest.raises(Refusal):
        signer.sign_digest(DIGEST)


def test_a_forgotten_key_is_overwritten() -> None:
    key = WalletKey(KEY)
    buffer = key._buffer
    del key
    gc.collect()
    assert bytes(buffer) == bytes(32)


@pytest.mark.parametrize("text", [HEX, "0x" + HEX, "0X" + HEX.upper(), f"\n {HEX}\r\n"])
def test_a_key_file_is_read_in_every_spelling_and_its_buffer_overwritten(text: str) -> None:
    raw = bytearray(text.encode())
    assert Signer(WalletKey.from_hex(raw)).address == README["address"]
    assert raw == bytes(len(text))


def test_a_buffer_that_was_given_is_overwritten() -> None:
    raw = bytearray(KEY)
    assert Signer(raw).address == README["address"]
    assert raw == bytes(32)


@pytest.mark.parametrize(
    "text", ["", "0x", HEX[:-1], HEX[:-2], HEX + "00", HEX[:-1] + "g", "0x0x" + HEX, "00" * 32, "ff" * 32, "é" * 32]
)
def test_what_is_no_key_is_refused_without_a_word_of_it(text: str) -> None:
    raw = bytearray(text.encode())
    with pytest.raises(ConfigError) as refused:
        WalletKey.from_hex(raw)
    assert refused.value.key == "wallet_key"
    assert not text or len(text) < 8 or text[:8] not in shown(refused.value)
    assert raw == bytes(len(raw))


@given(st.binary(max_size=80))
@settings(max_examples=200)
def test_any_bytes_are_a_key_or_a_named_refusal_and_always_overwritten(content: bytes) -> None:
    raw = bytearray(content)
    error = ""
    try:
        WalletKey.from_hex(raw)
    except ConfigError as refused:
        error = shown(refused)
    assert raw == bytes(len(content))
    assert len(content) < 8 or (content.hex() not in error and repr(content) not in error)


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=50)
def test_hex_digits_are_read_exactly(key: bytes) -> None:
    try:
        expected = WalletKey(key)
    except ConfigError:
        return
    assert WalletKey.from_hex(key.hex().encode()).public == expected.public


def test_a_key_is_in_no_repr_copy_pickle_or_attribute_that_is_shown() -> None:
    key = WalletKey(KEY)
    assert repr(key) == str(key) == "WalletKey(***)"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)
    with pytest.raises(TypeError):
        vars(key)


def test_an_error_while_signing_does_not_show_the_key() -> None:
    key = WalletKey(KEY)
    with pytest.raises(ValueError, match="32 bytes") as refused:
        key.sign(b"short")
    assert HEX not in shown(refused.value)
    assert repr(KEY) not in shown(refused.value)


def test_immutable_bytes_are_left_alone() -> None:
    content = b"kept"
    wipe(content)
    assert content == b"kept"
