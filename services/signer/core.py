"""What is signed for whom. It signs pinned orders of its wallets and nothing else.

In: GetSigner and SignOrder as they are asked, who asks, and the time. Out: an address, a signature, or a Refused that
says why; then nothing was signed. It recomputes the digest from the pinned struct, checks whose order it is and the
wallet's limit per minute. No digest, text or transaction that somebody else made can be signed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from common.errors import Refusal
from common.messages import GetSigner, Message, SignedOrder, SignerReady, SignOrder
from common.reasons import Reason
from common.venues.polymarket.pinned import WalletIdentity, checked_pinned, pinned_signature
from common.venues.polymarket.signing import Signer
from services.signer.window import Window

CLIENT = "gateway"
"""The only process that may ask."""


class SigningWallet:
    """One key, whose orders it signs, and how much of them."""

    __slots__ = ("identity", "signer", "window")

    def __init__(self, identity: WalletIdentity, signer: Signer, limit: int) -> None:
        self.identity = identity
        self.signer = signer
        self.window = Window(limit)

    def __repr__(self) -> str:
        return f"SigningWallet({self.identity.name}, {self.signer.address})"


class SigningDesk:
    """The wallets and what was counted of them."""

    def __init__(self, wallets: Iterable[SigningWallet], counters: Counter[str]) -> None:
        self._wallets = {wallet.identity.name: wallet for wallet in wallets}
        self._counters = counters

    def answer(self, message: Message, sender: str, now_ns: int) -> Message:
        """The answer to one question. Raises Refusal; `now_ns` is monotonic."""
        if sender != CLIENT:
            self._counters["asks_of_strangers"] += 1
            raise Refusal(Reason.BAD_REQUEST, f"only the {CLIENT} may ask the signer, not {sender[:64]!r}", "sender")
        match message:
            case GetSigner():
                return SignerReady(message.request_id, message.wallet, self._wallet(message.wallet).signer.address)
            case SignOrder():
                return self._sign(message, now_ns)
        raise Refusal(Reason.UNKNOWN_MESSAGE, f"the signer does not serve {type(message).__name__}")

    def close(self) -> None:
        """Forget every key."""
        for wallet in self._wallets.values():
            wallet.signer.close()

    def _sign(self, ask: SignOrder, now_ns: int) -> SignedOrder:
        wallet = self._wallet(ask.wallet)
        try:
            pinned = checked_pinned(ask.pinned, ask.venue_order_id, wallet.identity)
            # What leaves the wallet at most: the dollars of a buy, or shares worth at most a dollar each.
            wallet.window.take(ask.venue_order_id, pinned.maker_amount, now_ns)
            signature = pinned_signature(pinned, ask.venue_order_id, wallet.signer)
        except Refusal as refusal:
            self._counters[f"refused_{refusal.code.value.lower()}"] += 1
            raise
        self._counters["orders_signed"] += 1
        return SignedOrder(ask.request_id, signature)

    def _wallet(self, name: str) -> SigningWallet:
        wallet = self._wallets.get(name)
        if wallet is None:
            raise Refusal(Reason.WALLET_NOT_READY, f"the signer holds no key of a wallet {name[:64]!r}", "wallet")
        return wallet
