"""Both kinds of authentication: L1 (wallet signature, for API keys) and L2 (HMAC, every private call).

In: who, when (unix seconds), and the request. Out: header dictionaries, signatures, or whether a signature fits.
Nothing here reads a clock. Secrets never appear in repr or errors (protocol section 2).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn

from common.errors import ConfigError
from common.venues.polymarket.contracts import (
    AUTH_DOMAIN_TYPE,
    AUTH_MESSAGE,
    AUTH_NAME,
    AUTH_VERSION,
    CLOB_AUTH_TYPEHASH,
)
from common.venues.polymarket.signing import Signer, address_word, keccak

_AUTH_MESSAGE_HASH = keccak(AUTH_MESSAGE.encode())


@lru_cache(maxsize=16)
def auth_domain_separator(chain_id: int) -> bytes:
    """The L1 domain has no contract."""
    return keccak(
        keccak(AUTH_DOMAIN_TYPE.encode())
        + keccak(AUTH_NAME.encode())
        + keccak(AUTH_VERSION.encode())
        + chain_id.to_bytes(32, "big")
    )


def clob_auth_digest(address: str, timestamp: int | str, nonce: int, chain_id: int) -> bytes:
    """What a wallet signs to make or derive its API key."""
    struct = keccak(
        CLOB_AUTH_TYPEHASH
        + address_word(address)
        + keccak(str(timestamp).encode())
        + nonce.to_bytes(32, "big")
        + _AUTH_MESSAGE_HASH
    )
    return keccak(b"\x19\x01" + auth_domain_separator(chain_id) + struct)


def l1_headers(signer: Signer, timestamp: int | str, nonce: int, chain_id: int) -> dict[str, str]:
    """The four headers of an L1 call."""
    return {
        "POLY_ADDRESS": signer.address,
        "POLY_SIGNATURE": signer.sign_digest(clob_auth_digest(signer.address, timestamp, nonce, chain_id)),
        "POLY_TIMESTAMP": str(timestamp),
        "POLY_NONCE": str(nonce),
    }


@dataclass(frozen=True, slots=True)
class L2Credentials:
    """One API key. `secret` is URL-safe base64."""

    key: str
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)

    def __repr__(self) -> str:
        return "L2Credentials(***)"


def l2_signature(secret: str, timestamp: int | str, method: str, path: str, body: str | bytes | None = None) -> str:
    """HMAC of timestamp, method, bare path (no query) and the exact body, as v1 and v2 clients make it."""
    return _finish(_keyed(secret), timestamp, method, path, _quoted(body))


def l2_matches(secret: str, timestamp: str, method: str, path: str, body: bytes, *, signature: str) -> bool:
    """Whether a received signature fits, with or without the quote replacement of the v1 and v2 clients."""
    if not signature.isascii():
        return False
    keyed = _keyed(secret)
    plain = _finish(keyed, timestamp, method, path, body)
    fits = hmac.compare_digest(plain, signature)
    if b"'" in body:
        fits |= hmac.compare_digest(_finish(keyed, timestamp, method, path, _quoted(body)), signature)
    return fits


def l2_headers(  # noqa: PLR0917 - the order of a request line
    address: str,
    creds: L2Credentials,
    timestamp: int | str,
    method: str,
    path: str,
    body: str | bytes | None = None,
) -> dict[str, str]:
    """The five headers of a private call; `address` is the signing EOA, not the funder."""
    return L2Signer(address, creds).headers(timestamp, method, path, body)


class L2Signer:
    """Headers for many calls of one key: the HMAC key schedule is computed once."""

    __slots__ = ("_address", "_creds", "_keyed")

    def __init__(self, address: str, creds: L2Credentials) -> None:
        self._address = address
        self._creds = creds
        self._keyed = _keyed(creds.secret)

    def headers(self, timestamp: int | str, method: str, path: str, body: str | bytes | None = None) -> dict[str, str]:
        return {
            "POLY_ADDRESS": self._address,
            "POLY_SIGNATURE": _finish(self._keyed, timestamp, method, path, _quoted(body)),
            "POLY_TIMESTAMP": str(timestamp),
            "POLY_API_KEY": self._creds.key,
            "POLY_PASSPHRASE": self._creds.passphrase,
        }

    def __repr__(self) -> str:
        return f"L2Signer({self._address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an L2Signer cannot be copied or pickled")


def _keyed(secret: str) -> hmac.HMAC:
    try:
        key = urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    except (binascii.Error, ValueError):
        # `from None`: the library's error must not travel with parts of the secret.
        raise ConfigError("api_secret", "the API secret is not URL-safe base64") from None
    return hmac.new(key, digestmod=hashlib.sha256)


def _quoted(body: str | bytes | None) -> bytes:
    if not body:
        return b""
    raw = body.encode() if isinstance(body, str) else body
    return raw.replace(b"'", b'"')


def _finish(keyed: hmac.HMAC, timestamp: int | str, method: str, path: str, body: bytes) -> str:
    mac = keyed.copy()
    mac.update(f"{timestamp}{method}{path}".encode() + body)
    return urlsafe_b64encode(mac.digest()).decode("ascii")
