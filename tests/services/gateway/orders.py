"""One wallet and its orders, for the gateway's tests. The key is the first of the well-known test mnemonic."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import msgspec

from common.messages import Cancel, Place
from common.types import TimeInForce
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.pinned import PinnedOrder, encode_pinned
from common.venues.polymarket.signing import Signer
from services.gateway.polymarket import VenueWallet
from services.gateway.signers import InsideSigner

KEY = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
API_KEY = "11111111-2222-3333-4444-555555555555"
CREDS = L2Credentials(API_KEY, urlsafe_b64encode(b"s" * 32).decode(), "ff" * 32)
TOKEN = str(2**255 + 12345)
FAR = 2**62


def wallet() -> VenueWallet:
    return VenueWallet("main", InsideSigner(Signer(KEY)), CREDS, funder="", signature_type=0, chain_id=137)


def pinned_order(salt: int = 1, **changes: object) -> PinnedOrder:
    order = PinnedOrder(
        salt=salt,
        maker=ADDRESS,
        signer=ADDRESS,
        token_id=TOKEN,
        maker_amount=5_200_000,
        taker_amount=10_000_000,
        side=0,
        signature_type=0,
        timestamp=1_790_000_000_000,
        version=2,
        chain_id=137,
        neg_risk=False,
        order_type=TimeInForce.GTC,
    )
    return msgspec.structs.replace(order, **changes)


def place(salt: int = 1, *, deadline_ns: int = FAR, **changes: object) -> Place:
    order = pinned_order(salt, **changes)
    return Place(f"a{salt}", "polymarket", "main", order.venue_order_id, deadline_ns, encode_pinned(order))


def cancel(*venue_order_ids: str, action_id: str = "c1") -> Cancel:
    return Cancel(action_id, "polymarket", "main", list(venue_order_ids))
