"""Who signs: this process, or a signer process that alone holds the keys. One port for both.

In: a pinned order whose digest was checked, and its venue order id. Out: the bytes of the signature as it is posted,
or a Refusal: then nothing was signed, so nothing can have been sent. Nothing here keeps or logs a signature.
"""

from __future__ import annotations

from common.edge import Edge, new_request_id
from common.errors import ConfigError, Refusal
from common.messages import GetSigner, Refused, SignedOrder, SignerReady, SignOrder
from common.reasons import Reason
from common.venues.polymarket.pinned import PinnedOrder, encode_pinned, pinned_signature
from common.venues.polymarket.signing import Signer

SIGN_TIMEOUT_S = 2.0
"""A signer that does not answer within this is away; the place is refused, nothing was sent."""
HELLO_TIMEOUT_S = 5.0


class InsideSigner:
    """The key is here."""

    __slots__ = ("_signer", "address")
    elsewhere = False

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.address = signer.address

    def sign_now(self, pinned: PinnedOrder, venue_order_id: str = "") -> bytes | None:
        return pinned_signature(pinned, venue_order_id or pinned.venue_order_id, self._signer)

    async def sign(self, pinned: PinnedOrder, venue_order_id: str) -> bytes:
        return pinned_signature(pinned, venue_order_id, self._signer)

    def close(self) -> None:
        self._signer.close()

    def __repr__(self) -> str:
        return f"InsideSigner({self.address})"


class ProcessSigner:
    """The key is in the signer process, which is asked over the bus; this process knows the address only."""

    __slots__ = ("_edge", "_wallet", "address")
    elsewhere = True

    def __init__(self, edge: Edge, wallet: str, address: str) -> None:
        self._edge = edge
        self._wallet = wallet
        self.address = address

    def sign_now(self, pinned: PinnedOrder, venue_order_id: str = "") -> bytes | None:
        del pinned, venue_order_id
        return None

    async def sign(self, pinned: PinnedOrder, venue_order_id: str) -> bytes:
        # The id of the order is the id of the question: the same order has one signature, however often it is asked.
        ask = SignOrder(venue_order_id, self._wallet, encode_pinned(pinned), venue_order_id)
        try:
            answer = await self._edge.request("signer", ask, timeout_s=SIGN_TIMEOUT_S)
        except TimeoutError:
            self._edge.counters["signer_timeouts"] += 1
            text = f"the signer process did not answer within {SIGN_TIMEOUT_S:g} s; nothing was sent"
            raise Refusal(Reason.WALLET_NOT_READY, text, "wallet") from None
        match answer:
            case SignedOrder():
                return answer.signature
            case Refused():
                raise Refusal(answer.code, answer.text, answer.field)
        text = f"the signer answered with a {type(answer).__name__}; nothing was sent"
        raise Refusal(Reason.INTERNAL, text)

    def close(self) -> None:
        """There is no key here."""

    def __repr__(self) -> str:
        return f"ProcessSigner({self._wallet}, {self.address})"


async def ask_address(edge: Edge, wallet: str) -> str:
    """The address of the key the signer holds for a wallet; waits until there is a signer.

    Raises ConfigError when it holds none: it reads every key file when it starts.
    """
    while True:
        try:
            answer = await edge.request("signer", GetSigner(new_request_id(), wallet), timeout_s=HELLO_TIMEOUT_S)
        except TimeoutError:
            edge.set_state("STARTING", f"waiting for the signer process (wallet {wallet})")
            continue
        if isinstance(answer, SignerReady):
            return answer.address
        if isinstance(answer, Refused):
            raise ConfigError("gateway.signer", f"the signer refuses wallet {wallet}: {answer.text}")
        raise ConfigError("gateway.signer", f"the signer answered with a {type(answer).__name__}")
