"""What is sent for an order, fixed before anything is sent (architecture section 5). Pure.

In: a checked intent, the wallet, the order's number and the time. Out: the whole order as bytes for the gateway, and
the venue's order id: for Polymarket the signed struct and its digest, for every other venue the plain fields and an id
of our choice. The same inputs give the same order, so a replay or a resend can never be a second one; another number,
time or wallet gives another salt or id.
"""

from __future__ import annotations

from base64 import b32encode
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple, Protocol

from common.effects import Now
from common.messages import WalletReady
from common.types import OrderType, Side, TimeInForce
from common.venues.plain import PlainOrder, encode_plain, id_tail
from common.venues.polymarket.amounts import Amounts, signed_price_size
from common.venues.polymarket.contracts import is_position_id
from common.venues.polymarket.orders import SIDE_CODE
from common.venues.polymarket.pinned import PinnedOrder, encode_pinned

EXPIRY_MARGIN_S = 60
"""The venue retires a GTD order this long before the time it was given (protocol section 3.4)."""

ID_BYTES = 10
"""80 bits, 16 letters: a million orders meet by chance once in 10**12 wallets."""


@lru_cache(maxsize=4096)
def _version_of(token_id: str, configured: int) -> int:
    return 3 if is_position_id(int(token_id)) else configured


class Intent(Protocol):
    """What is read of an order to fix it."""

    @property
    def number(self) -> int: ...
    @property
    def side(self) -> Side: ...
    @property
    def order_type(self) -> OrderType: ...
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


def plain_id(wallet: WalletReady, token_id: str, number: int, now: Now) -> str:
    """The id we give an order on a venue that files it under ours: at most 36 of `[A-Za-z0-9-]`, in one case.

    As unique as a salt. It ends with the instrument where there is room, so that whoever cancels or asks by this id
    alone can tell which instrument the venue wants to hear named (common/venues/plain.py).
    """
    seed = f"{wallet.venue}:{wallet.wallet}:{wallet.signer}:{number}:{now.wall_ns}:{now.mono_ns}".encode()
    letters = b32encode(blake2b(seed, digest_size=ID_BYTES).digest()).decode().lower()
    return f"px{letters}{id_tail(token_id)}"


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
        version=_version_of(token_id, version),
        chain_id=wallet.chain_id,
        neg_risk=neg_risk,
        order_type=intent.tif,
        post_only=intent.post_only,
        expiration=wire_expiration(intent),
    )
    _, size = signed_price_size(intent.side, amounts.maker, amounts.taker)
    return Pinned(order.venue_order_id, size, encode_pinned(order))


def pin_plain(intent: Intent, price: int, size: int, token_id: str, wallet: WalletReady, *, now: Now) -> Pinned:
    """The order as it will be said. A market order is said with its worst price."""
    order = PlainOrder(
        venue_order_id=plain_id(wallet, token_id, intent.number, now),
        token_id=token_id,
        side=intent.side,
        order_type=intent.order_type,
        tif=intent.tif,
        post_only=intent.post_only,
        price=price,
        size=size,
        expire_ns=intent.expire_ns if intent.tif is TimeInForce.GTD else 0,
    )
    return Pinned(order.venue_order_id, size, encode_plain(order))
