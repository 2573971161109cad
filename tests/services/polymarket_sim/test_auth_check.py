"""L1 and L2 checks accept exactly what the clients sign, inside the window."""

from __future__ import annotations

import pytest

from common.venues.polymarket.auth import L2Credentials, l1_headers, l2_headers
from common.venues.polymarket.signing import Signer
from services.polymarket_sim.auth_check import check_l1, check_l2
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.keys import ApiKey, KeyName, derive_key

SECRET = bytes(range(32))
NOW = 1_790_000_000
SIGNER = Signer((7).to_bytes(32, "big"))
KEY = derive_key(SECRET, KeyName(SIGNER.address, 0))
CREDS = L2Credentials(KEY.key, KEY.secret, KEY.passphrase)


def l2(headers: dict[str, str], method: str = "POST", path: str = "/order", body: bytes = b"{}") -> ApiKey:
    return check_l2(headers, method, path, body, server_secret=SECRET, now_s=NOW, window_s=60)


def signed(**changes: str) -> dict[str, str]:
    return l2_headers(SIGNER.address, CREDS, NOW, "POST", "/order", b"{}") | changes


def test_l1_names_address_and_nonce() -> None:
    assert check_l1(l1_headers(SIGNER, NOW, 5, 137), NOW, 60, 137) == (SIGNER.address, 5)


@pytest.mark.parametrize(
    "changes",
    [
        {"POLY_TIMESTAMP": str(NOW - 61)},
        {"POLY_TIMESTAMP": "soon"},
        {"POLY_NONCE": "6"},
        {"POLY_NONCE": "-1"},
        {"POLY_NONCE": str(2**64)},
        {"POLY_ADDRESS": "0x" + "22" * 20},
        {"POLY_ADDRESS": "me"},
        {"POLY_SIGNATURE": "0x00"},
        {"POLY_SIGNATURE": ""},
    ],
)
def test_l1_refuses_whatever_differs(changes: dict[str, str]) -> None:
    with pytest.raises(Denied) as denied:
        check_l1(l1_headers(SIGNER, NOW, 5, 137) | changes, NOW, 60, 137)
    assert (denied.value.status, denied.value.body) == (401, {"error": "Invalid L1 Request headers"})


def test_l1_of_another_chain_is_refused() -> None:
    with pytest.raises(Denied):
        check_l1(l1_headers(SIGNER, NOW, 5, 80_002), NOW, 60, 137)


def test_l2_names_the_key_and_accepts_a_repeat() -> None:
    headers = signed()
    assert l2(headers) == KEY
    assert l2(headers) == KEY
    assert l2(signed(POLY_ADDRESS=SIGNER.address.lower())) == KEY


@pytest.mark.parametrize("age", [-60, 60])
def test_l2_at_the_edges_of_the_window(age: int) -> None:
    assert l2(l2_headers(SIGNER.address, CREDS, NOW - age, "POST", "/order", b"{}")) == KEY
    late = l2_headers(SIGNER.address, CREDS, NOW - age - (1 if age > 0 else -1), "POST", "/order", b"{}")
    with pytest.raises(Denied):
        l2(late)


@pytest.mark.parametrize(
    "name", ["POLY_ADDRESS", "POLY_SIGNATURE", "POLY_TIMESTAMP", "POLY_API_KEY", "POLY_PASSPHRASE"]
)
def test_l2_without_a_header_or_with_another_value_is_unauthorized(name: str) -> None:
    without = {key: value for key, value in signed().items() if key != name}
    for headers in (without, signed(**{name: "x"}), signed(**{name: ""}), signed(**{name: "ü"})):
        with pytest.raises(Denied) as denied:
            l2(headers)
        assert (denied.value.status, denied.value.text) == (401, "Unauthorized/Invalid api key")


def test_l2_covers_method_path_and_body() -> None:
    for method, path, body in (("DELETE", "/order", b"{}"), ("POST", "/orders", b"{}"), ("POST", "/order", b"{ }")):
        with pytest.raises(Denied):
            l2(signed(), method, path, body)
