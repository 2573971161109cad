"""Is this request from whom it says? L1 (wallet signature) and L2 (HMAC) checks of the venue (protocol section 2).

In: headers, request line, body, the time and the server's secret. Out: who it is, or Denied with the venue's words.
A repeated timestamp and signature is fine inside the window: the clients sign once for all pages of a read. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import Refusal
from common.venues.polymarket.auth import clob_auth_digest, l2_matches
from common.venues.polymarket.signing import checksum_address, recover_address
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.keys import NONCE_MAX, ApiKey, open_key

UNAUTHORIZED = "Unauthorized/Invalid api key"
BAD_L1 = "Invalid L1 Request headers"


def check_l1(headers: Mapping[str, str], now_s: int, window_s: int, chain_id: int) -> tuple[str, int]:
    """(checksum address, nonce) of a wallet-signed request."""
    timestamp = headers.get("POLY_TIMESTAMP", "")
    nonce_text = headers.get("POLY_NONCE", "0") or "0"
    if not is_timely(timestamp, now_s, window_s) or not _is_whole(nonce_text) or int(nonce_text) > NONCE_MAX:
        raise Denied(401, BAD_L1)
    try:
        address = checksum_address(headers.get("POLY_ADDRESS", ""))
        digest = clob_auth_digest(address, timestamp, int(nonce_text), chain_id)
        signer = recover_address(digest, headers.get("POLY_SIGNATURE", ""))
    except Refusal:
        raise Denied(401, BAD_L1) from None
    if signer != address:
        raise Denied(401, BAD_L1)
    return address, int(nonce_text)


def check_l2(
    headers: Mapping[str, str],
    method: str,
    path: str,
    body: bytes,
    *,
    server_secret: bytes,
    now_s: int,
    window_s: int,
) -> ApiKey:
    """The key a private request was signed with; whether it still exists is the registry's to say."""
    timestamp = headers.get("POLY_TIMESTAMP", "")
    found = open_key(server_secret, headers.get("POLY_API_KEY", ""), headers.get("POLY_PASSPHRASE", ""))
    if found is None or not is_timely(timestamp, now_s, window_s):
        raise Denied(401, UNAUTHORIZED)
    if headers.get("POLY_ADDRESS", "").lower() != found.name.address.lower():
        raise Denied(401, UNAUTHORIZED)
    signature = headers.get("POLY_SIGNATURE", "")
    if not l2_matches(found.secret, timestamp, method, path, body, signature=signature):
        raise Denied(401, UNAUTHORIZED)
    return found


def is_timely(timestamp: str, now_s: int, window_s: int) -> bool:
    return _is_whole(timestamp) and abs(int(timestamp) - now_s) <= window_s


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 20
