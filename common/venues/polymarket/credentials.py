"""The content of credential files: one API key of one address. Pure.

In: the bytes of `<wallet>.<process>.creds`. Out: L2Credentials and the checksum address they belong to. What cannot be
used is a ConfigError naming the file and the member, never a value.
"""

from __future__ import annotations

import msgspec

from common.errors import ConfigError, Refusal
from common.venues.polymarket.auth import L2Credentials, L2Signer
from common.venues.polymarket.signing import Signer, checksum_address
from common.venues.polymarket.walletkey import WalletKey

_FIX = 'write {"apiKey", "secret", "passphrase", "address"} as one JSON object'


class _File(msgspec.Struct):
    api_key: str = msgspec.field(name="apiKey")
    secret: str
    passphrase: str
    address: str


def parse_credentials(raw: bytes, file: str) -> tuple[L2Credentials, str]:
    """(credentials, checksum address) of a credentials file."""
    try:
        content = msgspec.json.decode(raw, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # `from None`: the decoder's error may quote the content.
        raise ConfigError(file, f"is not a credentials file: {_FIX}") from None
    if not (content.api_key and content.secret and content.passphrase):
        raise ConfigError(file, f"has an empty member: {_FIX}")
    try:
        address = checksum_address(content.address)
    except Refusal:
        raise ConfigError(file, "has an address that is not 0x and 40 hex digits") from None
    creds = L2Credentials(content.api_key, content.secret, content.passphrase)
    try:
        L2Signer(address, creds)
    except ConfigError as error:
        raise ConfigError(file, error.message) from None
    return creds, address


def parse_wallet_key(raw: bytes | bytearray, file: str) -> Signer:
    """The signer of a `<wallet>.key` file: 64 hex digits, with or without 0x. A bytearray is overwritten."""
    try:
        return Signer(WalletKey.from_hex(raw))
    except ConfigError as error:
        raise ConfigError(file, error.message) from None
