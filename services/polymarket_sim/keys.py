"""API keys without a table of secrets: a keyed hash of (address, nonce, generation) with the server's secret.

In: the server's secret and who asks. Out: key, secret and passphrase, the same for ever. The passphrase carries its
(address, nonce, generation), so a key presented without an address (user channel) is verified by computing it again.
A deleted key comes back under the next generation. Pure; which keys exist is the registry's business.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

from common.errors import ConfigError
from common.venues.polymarket.signing import checksum_address

NONCE_MAX: Final = 2**64 - 1
GENERATION_MAX: Final = 2**16 - 1
SECRET_FILE: Final = "polymarket_sim.secret"
_IDENTITY_BYTES = 20 + 8 + 2
_TAG_BYTES = 18


class KeyName(NamedTuple):
    """What a key is derived from; `address` is the checksum address of the signer."""

    address: str
    nonce: int
    generation: int = 0


class ApiKey(NamedTuple):
    """One API key with its secrets: never log it."""

    name: KeyName
    key: str
    secret: str
    passphrase: str

    def to_wire(self) -> dict[str, str]:
        return {"apiKey": self.key, "secret": self.secret, "passphrase": self.passphrase}


def parse_server_secret(content: bytes, file: str) -> bytes:
    """The bytes of the server's secret file: at least 32 hex digits. Raises ConfigError naming the file."""
    try:
        secret = bytes.fromhex(content.decode("ascii").strip())
    except (UnicodeDecodeError, ValueError):
        raise ConfigError(file, "is not hexadecimal: write 64 hex digits") from None
    if len(secret) < 16:
        raise ConfigError(file, "is too short: write 64 hex digits")
    return secret


def derive_key(server_secret: bytes, name: KeyName) -> ApiKey:
    """The key of this name; scripts use it to provision wallets before the server starts."""
    identity = _identity(name)
    tag = _hash(server_secret, b"passphrase", identity)[:_TAG_BYTES]
    return ApiKey(
        name=KeyName(checksum_address(name.address), name.nonce, name.generation),
        key=str(UUID(bytes=_hash(server_secret, b"key", identity)[:16], version=4)),
        secret=urlsafe_b64encode(_hash(server_secret, b"secret", identity)).decode("ascii"),
        passphrase=(identity + tag).hex(),
    )


def open_key(server_secret: bytes, key: str, passphrase: str) -> ApiKey | None:
    """The key that a presented (key, passphrase) pair names; None when we never made it."""
    try:
        raw = bytes.fromhex(passphrase)
    except ValueError:
        return None
    if len(raw) != _IDENTITY_BYTES + _TAG_BYTES:
        return None
    found = derive_key(
        server_secret,
        KeyName("0x" + raw[:20].hex(), int.from_bytes(raw[20:28], "big"), int.from_bytes(raw[28:30], "big")),
    )
    same = hmac.compare_digest(found.passphrase.encode(), passphrase.lower().encode())
    return found if same and hmac.compare_digest(found.key.encode(), key.encode("utf-8", "replace")) else None


def _identity(name: KeyName) -> bytes:
    address = bytes.fromhex(name.address[2:])
    return address + name.nonce.to_bytes(8, "big") + name.generation.to_bytes(2, "big")


def _hash(server_secret: bytes, purpose: bytes, identity: bytes) -> bytes:
    return hmac.new(server_secret, purpose + b":" + identity, sha256).digest()
