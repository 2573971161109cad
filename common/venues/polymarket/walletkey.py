"""The bytes of one private key: the only place that holds them, signs with them, and can forget them.

In: 32 bytes or their hex text. Out: the public key and recoverable signatures (RFC 6979, low s). The bytes live in one
buffer that `close` overwrites; libsecp256k1 reads them there, nothing keeps a copy. They are in no repr, error, copy
or pickle, and no method returns them.
"""

from __future__ import annotations

from typing import Final, NoReturn

from coincurve import PublicKey
from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

from common.errors import ConfigError, Refusal
from common.reasons import Reason

KEY_BYTES: Final = 32
_BLANK: Final = bytes(KEY_BYTES)
_SPACE: Final = b" \t\r\n\v\f"
_new = ffi.new
_NULL = ffi.NULL
_SIGNATURE = ffi.typeof("secp256k1_ecdsa_recoverable_signature *")
_COMPACT = ffi.typeof("unsigned char[65]")
_RECOVERY = ffi.typeof("int *")


class WalletKey:
    """One private key. `public` are the 64 bytes of the uncompressed point. After `close` every signature is refused.

    A bytearray that is given is overwritten: from then on the key is here only.
    """

    __slots__ = ("_buffer", "_secret", "public")

    public: bytes

    def __init__(self, key: bytes | bytearray) -> None:
        if len(key) != KEY_BYTES:
            wipe(key)
            raise ConfigError("wallet_key", "a private key has exactly 32 bytes")
        self._buffer = bytearray(key)
        wipe(key)
        # coincurve's own PrivateKey keeps the key as immutable bytes, which nobody can overwrite.
        self._secret = ffi.from_buffer("unsigned char[32]", self._buffer)
        try:
            self.public = PublicKey.from_valid_secret(self._secret).format(compressed=False)[1:]
        except ValueError:
            self.close()
            # `from None`: a library's error may quote the key.
            raise ConfigError("wallet_key", "not a valid secp256k1 private key") from None

    @classmethod
    def from_hex(cls, text: bytes | bytearray) -> WalletKey:
        """The key of 64 hex digits with or without 0x; white space around them is ignored, a bytearray is overwritten.

        Raises ConfigError without a word of the text.
        """
        try:
            return cls(_unhex(text))
        finally:
            wipe(text)

    def sign(self, digest: bytes) -> bytes:
        """r, s and v (27 or 28) over a 32-byte digest: 65 bytes."""
        if len(digest) != 32:
            raise ValueError("a digest has 32 bytes")
        made, compact, recovery = _new(_SIGNATURE), _new(_COMPACT), _new(_RECOVERY)
        context = GLOBAL_CONTEXT.ctx
        # An overwritten key is no valid key: libsecp256k1 refuses it, so nothing has to be asked before.
        if not lib.secp256k1_ecdsa_sign_recoverable(context, made, digest, self._secret, _NULL, _NULL):
            raise Refusal(Reason.WALLET_NOT_READY, "the wallet's key is closed: nothing can be signed", "wallet")
        lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(context, compact, recovery, made)
        compact[64] = 27 + recovery[0]
        return bytes(ffi.buffer(compact))

    def close(self) -> None:
        """Overwrite the key."""
        self._buffer[:] = _BLANK

    def __del__(self) -> None:
        buffer = getattr(self, "_buffer", None)
        if buffer is not None:
            buffer[:] = _BLANK

    def __repr__(self) -> str:
        return "WalletKey(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a WalletKey cannot be copied or pickled")


def wipe(content: bytes | bytearray) -> None:
    """Overwrite a buffer; immutable bytes cannot be."""
    if isinstance(content, bytearray):
        content[:] = bytes(len(content))


def _unhex(text: bytes | bytearray) -> bytearray:
    """The bytes of a hex text, digit by digit: the functions of the library would leave immutable copies behind."""
    start, end = 0, len(text)
    while start < end and text[start] in _SPACE:
        start += 1
    while end > start and text[end - 1] in _SPACE:
        end -= 1
    if end - start >= 2 and text[start] == ord("0") and text[start + 1] in b"xX":
        start += 2
    if (end - start) % 2:
        raise _not_hex()
    found = bytearray((end - start) // 2)
    for place in range(len(found)):
        high, low = _nibble(text[start + 2 * place]), _nibble(text[start + 2 * place + 1])
        if high < 0 or low < 0:
            wipe(found)
            raise _not_hex()
        found[place] = 16 * high + low
    return found


def _nibble(code: int) -> int:
    """The value of one hex digit, -1 for anything else."""
    if 48 <= code <= 57:
        return code - 48
    letter = code | 32
    return letter - 87 if 97 <= letter <= 102 else -1


def _not_hex() -> ConfigError:
    return ConfigError("wallet_key", "is not a private key: write its 64 hex digits")
