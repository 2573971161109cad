"""API credentials of a centralised exchange: a JSON object with `apiKey` and `secret`. Pure.

In: the bytes of a secret file. Out: both words, never shown by repr. Anything else is a ConfigError naming the file and
the fix, without its content.
"""

from __future__ import annotations

import msgspec

from common.errors import ConfigError

FIX = 'write {"apiKey": "...", "secret": "..."} into it, mode 0600'


class ApiCredentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"api_key": "apiKey"}):
    api_key: str
    secret: str

    def __repr__(self) -> str:
        return "ApiCredentials(...)"


_decoder = msgspec.json.Decoder(ApiCredentials)


def parse_api_credentials(content: bytes, file: str) -> ApiCredentials:
    try:
        found = _decoder.decode(content)
    except msgspec.DecodeError:
        raise ConfigError(file, f"holds no API credentials: {FIX}") from None
    for word in (found.api_key, found.secret):
        if not word or not word.isascii() or not word.isprintable() or " " in word:
            raise ConfigError(file, f"an API key or secret is empty or has blanks in it: {FIX}")
    return found
