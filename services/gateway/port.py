"""The port between the gateway and its venues: what an adapter must be able to do, and what it must never do.

In: actions as they are on the bus. Out: results in the shapes of common/messages.py. An adapter turns one action into
the venue's requests, each sent once, and its answers into one typed result; it never retries, never queues, never
waits for budgets, and raises nothing for what a venue does or fails to do. Whether an action may run (queues, budgets,
modes, fences, deadlines) is decided before it is called (core.py); which of the three sides of a venue this is, in
docs/howto/add-a-venue.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from common.messages import (
    BalancesResult,
    Cancel,
    CancelResult,
    CancelWallet,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    TradesResult,
    WalletReady,
)
from common.venues.capabilities import Capabilities
from common.venues.polymarket.pinned import PinnedOrder


class OrderSigner(Protocol):
    """Signs Polymarket orders of one wallet, here or in the signer process (signers.py)."""

    @property
    def address(self) -> str:
        """Checksum address of the key."""
        ...

    @property
    def elsewhere(self) -> bool:
        """Whether the key is in another process: then signing takes time."""
        ...

    def sign_now(self, pinned: PinnedOrder, venue_order_id: str = "") -> bytes | None:
        """The signature at once, or None: then `sign` has to be awaited. Raises Refusal."""
        ...

    async def sign(self, pinned: PinnedOrder, venue_order_id: str) -> bytes:
        """The final signature, with the wrapping of a deposit wallet. Raises Refusal."""
        ...

    def close(self) -> None:
        """Forget the key."""
        ...


class Prepared(NamedTuple):
    """A pinned order that was read and belongs to the wallet. `maker_only`: it can never take liquidity."""

    place: Place
    maker_only: bool
    notional: int
    """What it can cost or bring at most, in micros."""
    payload: object = None
    """The adapter's own reading of the order."""
    ready: Callable[[], Awaitable[None]] | None = None
    """What takes time before the request can be written, as a signature from elsewhere. It is awaited before the last
    look at cancels, deadline and halt. Raises Refusal: then nothing was or will be sent."""


class Health(NamedTuple):
    """The answer of a venue to a cheap question. `clock_ns` is its wall clock then (0: it has none to show)."""

    ok: bool
    text: str = ""
    clock_ns: int = 0


class Adapter(Protocol):
    """One venue, with every wallet we have there; it is asked for these only."""

    @property
    def venue(self) -> str: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def wallets(self) -> Sequence[WalletReady]:
        """What the executor is told: it pins orders for these only."""
        ...

    async def start(self) -> None:
        """Open what must be open before the first action."""
        ...

    async def close(self) -> None: ...

    async def health(self) -> Health:
        """Ask the venue something cheap on the connections places and cancels use, which keeps them warm."""
        ...

    async def probe(self) -> PlaceResult | CancelResult:
        """Ask the order endpoints something that changes nothing: whether they serve again after a restart."""
        ...

    def prepare(self, place: Place) -> Prepared:
        """Read a pinned order. Raises Refusal: it is unreadable, another wallet's, or its id is not its own."""
        ...

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        """Send one order with exactly one request. `resent`: an earlier copy may be there, a refusal proves little."""
        ...

    async def place_batch(self, batch: Sequence[Prepared], received_ns: int) -> list[PlaceResult]:
        """Send up to `capabilities.place_batch_max` orders of one wallet with one request; one result for each."""
        ...

    async def cancel(self, action: Cancel, received_ns: int) -> CancelResult: ...

    async def cancel_wallet(self, action: CancelWallet, received_ns: int) -> CancelResult: ...

    async def look_up(self, action: QueryOrder) -> OrderLookup:
        """DONE with an order: it is there (open or over). DONE without: proven absent. Anything else: not known."""
        ...

    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult: ...

    async def trades(self, action: QueryTrades) -> TradesResult: ...

    async def positions(self, action: QueryPositions) -> PositionsResult: ...

    async def balances(self, action: QueryBalances) -> BalancesResult: ...
