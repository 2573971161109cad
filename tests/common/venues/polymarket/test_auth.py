"""L1 and L2 headers equal the vectors and eth_account; secrets are not shown."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.venues.polymarket.auth import (
    L2Credentials,
    L2Signer,
    clob_auth_digest,
    l1_headers,
    l2_headers,
    l2_matches,
    l2_signature,
)
from common.venues.polymarket.contracts import AUTH_MESSAGE
from common.venues.polymarket.signing import keccak, recover_address

from .vectors import CREDS, README, SIGNER, VECTORS

CREDENTIALS = L2Credentials(**CREDS)
SIGNED = [vector for vector in VECTORS["l2_hmac"] if "signature" in vector]
QUIRK = next(vector for vector in VECTORS["l2_hmac"] if "signature_v1_v2" in vector)


@pytest.mark.parametrize("vector", VECTORS["l1_auth"], ids=lambda v: f"{v['chain_id']}-nonce{v['nonce']}")
def test_l1_headers_of_every_vector(vector: dict[str, Any]) -> None:
    headers = l1_headers(SIGNER, vector["timestamp"], vector["nonce"], vector["chain_id"])
    assert headers == vector["headers"]
    digest = clob_auth_digest(vector["address"], str(vector["timestamp"]), vector["nonce"], vector["chain_id"])
    assert recover_address(digest, vector["signature"]) == vector["address"]


@given(st.integers(0, 2**40), st.integers(0, 2**256 - 1), st.sampled_from([137, 80_002, 1]))
def test_l1_digests_equal_eth_account(timestamp: int, nonce: int, chain_id: int) -> None:
    kinds = {"address": "address", "timestamp": "string", "nonce": "uint256", "message": "string"}
    signable = encode_typed_data(
        {"name": "ClobAuthDomain", "version": "1", "chainId": chain_id},
        {"ClobAuth": [{"name": name, "type": kind} for name, kind in kinds.items()]},
        {"address": README["address"], "timestamp": str(timestamp), "nonce": nonce, "message": AUTH_MESSAGE},
    )
    expected = keccak(b"\x19\x01" + signable.header + signable.body)
    assert clob_auth_digest(README["address"], timestamp, nonce, chain_id) == expected


@pytest.mark.parametrize("vector", SIGNED, ids=lambda v: str(v["path"]))
def test_l2_headers_of_every_vector(vector: dict[str, Any]) -> None:
    request = (vector["timestamp"], vector["method"], vector["path"], vector["body"])
    assert l2_signature(vector["secret"], *request) == vector["signature"]
    assert l2_headers(README["address"], CREDENTIALS, *request) == vector["headers"]
    signer = L2Signer(README["address"], CREDENTIALS)
    body = (vector["body"] or "").encode()
    for _ in range(2):
        assert signer.headers(*request[:3], body) == vector["headers"]
    assert l2_matches(vector["secret"], str(request[0]), *request[1:3], body, signature=vector["signature"])


def test_quotes_are_replaced_as_v1_and_v2_do_and_both_spellings_are_accepted() -> None:
    request = (QUIRK["secret"], str(QUIRK["timestamp"]), QUIRK["method"], QUIRK["path"])
    assert l2_signature(*request, QUIRK["body"]) == QUIRK["signature_v1_v2"]
    for signature in (QUIRK["signature_v1_v2"], QUIRK["signature_unified"]):
        assert l2_matches(*request, QUIRK["body"].encode(), signature=signature)


@pytest.mark.parametrize("change", ["secret", "timestamp", "method", "path", "body", "signature"])
def test_any_changed_part_fails(change: str) -> None:
    parts = {"secret": CREDS["secret"], "timestamp": "1790000000", "method": "POST", "path": "/order", "body": b"{}"}
    signature = l2_signature(parts["secret"], parts["timestamp"], "POST", "/order", "{}")
    assert l2_matches(**parts, signature=signature)
    if change == "signature":
        assert not l2_matches(**parts, signature=signature[:-2] + "A=")
        assert not l2_matches(**parts, signature="ü" * 44)
        return
    parts[change] = b"{ }" if change == "body" else "AA==" if change == "secret" else parts[change] + "1"
    assert not l2_matches(**parts, signature=signature)


@pytest.mark.parametrize("secret", ["x", "ä", "AAAAA"])
def test_an_unusable_secret_is_a_settings_error_that_does_not_show_it(secret: str) -> None:
    with pytest.raises(ConfigError) as error:
        L2Signer(README["address"], L2Credentials("k", secret, "p"))
    assert error.value.key == "api_secret"
    assert secret not in str(error.value).split(": ", 1)[1].replace("API", "").split()


def test_secrets_are_in_no_repr() -> None:
    from rich.pretty import pretty_repr

    signer = L2Signer(README["address"], CREDENTIALS)
    for text in (repr(CREDENTIALS), str(CREDENTIALS), pretty_repr(CREDENTIALS), repr(signer), repr([CREDENTIALS])):
        assert CREDS["secret"] not in text
        assert CREDS["passphrase"] not in text
    with pytest.raises(TypeError):
        pickle.dumps(signer)
