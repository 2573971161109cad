"""What is signed for an order, fixed before anything is sent (architecture section 5). Pure.

In: a checked intent, the wallet's addresses, the order's number and the time. Out: the whole signed struct as bytes for
the gateway, and the venue's order id, which is its digest. The same inputs give the same order, so a replay or a resend
can never be a second one; another number, time or wallet gives another salt.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, Protocol

from common.effects import Now
from common.messages import WalletReady
from common.types import Side, TimeInForce
from common.venues.polymarket.amounts import Amounts, signed_price_size
from common.venues.polymarket.contracts import protocol_version
from common.venues.polymarket.orders import SIDE_CODE
from common.venues.polymarket.pinned import PinnedOrder, encode_pinned

EXPIRY_MARGIN_S = 60
"""The venue retires a GTD order this long before the time it was given (protocol section 3.4)."""

DUPLICATE_REFUSED: dict[str, str] = {"polymarket": "forever"}
"""What a venue does with an order id it has seen: only where it is refused for ever may the same bytes go out again."""


@lru_cache(maxsize=4096)
def _version_of(token_id: str) -> int:
    return protocol_version(int(token_id))


class Intent(Protocol):
    """What is read of an order to sign it."""

    @property
    def number(self) -> int: ...
    @property
    def side(self) -> Side: ...
    @property
    def tif(self) -> TimeInForce: ...
    @property
    def post_only(self) -> bool: ...
    @property
    def expire_ns(self) -> int: ...


class Pinned(NamedTuple):
    venue_order_id: str
    size: int
    pinned: bytes


def salt_of(signer: str, number: int, now: Now) -> int:
    """53 bits that no other order of this wallet has, also after a journal was started anew."""
    seed = f"{signer}:{number}:{now.wall_ns}:{now.mono_ns}".encode()
    return int.from_bytes(blake2b(seed, digest_size=8).digest(), "big") >> 11


def wire_expiration(intent: Intent) -> str:
    if intent.tif is not TimeInForce.GTD:
        return "0"
    return str(intent.expire_ns // 1_000_000_000 + EXPIRY_MARGIN_S)


def pin(
    intent: Intent,
    amounts: Amounts,
    token_id: str,
    neg_risk: bool,
    wallet: WalletReady,
    *,
    version: int,
    now: Now,
) -> Pinned:
    """The order as it will be signed. Positions of protocol V2 are always signed for exchange V3."""
    order = PinnedOrder(
        salt=salt_of(wallet.signer, intent.number, now),
        maker=wallet.maker,
        signer=wallet.signer,
        token_id=token_id,
        maker_amount=amounts.maker,
        taker_amount=amounts.taker,
        side=SIDE_CODE[intent.side],
        signature_type=wallet.signature_type,
        timestamp=now.wall_ns // 1_000_000,
        version=max(version, _version_of(token_id)),
        chain_id=wallet.chain_id,
        neg_risk=neg_risk,
        order_type=intent.tif,
        post_only=intent.post_only,
        expiration=wire_expiration(intent),
    )
    _, size = signed_price_size(intent.side, amounts.maker, amounts.taker)
    return Pinned(order.venue_order_id, size, encode_pinned(order))
