"""Polymarket (or its simulator) as a venue of the gateway: the shell around services/gateway/polymarket.py.

In: actions that may run. Out: each as its one HTTP request (lists: one for each page) and the answer as a result.
Places, cancels and queries have connections of their own, so a cancel never waits behind a place; a request is never
sent twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from common.errors import Refusal
from common.http import FailureKind, HttpClient, HttpFailure, HttpReply
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
    Timings,
    TradesResult,
    WalletReady,
)
from common.reasons import Reason
from common.settings import Settings
from common.types import Outcome, RetryClass
from common.venues.capabilities import Capabilities, DuplicateRefused, capabilities_of
from common.venues.polymarket.pinned import PinnedOrder
from common.venues.polymarket.wire import decode_json
from services.gateway.actions import Kind
from services.gateway.polymarket import (
    NOBODYS_ID,
    VENUE,
    Answer,
    BeatAnswer,
    HeldListing,
    Listing,
    Request,
    VenueWallet,
    balance_request,
    balance_result,
    batch_request,
    batch_results,
    beat_answer,
    beat_request,
    cancel_request,
    cancel_result,
    cancel_wallet_request,
    checked_order,
    lookup_request,
    lookup_result,
    place_body,
    place_request,
    place_result,
)
from services.gateway.port import Health, Prepared

CANCELS_IN_FLIGHT = 32
QUERIES_IN_FLIGHT = 8
WARM_CONNECTIONS = 2
"""Of places and of cancels each: open before they are needed."""
CONNECTION_AGE_S = 600.0
"""No connection gets older: a load balancer behind it may have moved on."""

OnHeaders = Callable[[str, Request, Mapping[str, str], int], None]
"""Told the wallet ("" for a public question), the request, and headers and status of every answer about orders."""


class PolymarketAdapter:
    """Every wallet we have at this venue. `tap` (tests, the conformance kit): True throws the answer away."""

    def __init__(
        self,
        settings: Settings,
        wallets: dict[str, VenueWallet],
        *,
        counters: Counter[str] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        on_headers: OnHeaders | None = None,
        tap: Callable[[str], bool] | None = None,
    ) -> None:
        self._wallets = wallets
        self._wall_ns = wall_ns
        self._on_headers = on_headers
        self._tap = tap
        believed = DuplicateRefused(settings.polymarket.duplicate_refused)
        self._capabilities = msgspec.structs.replace(capabilities_of(VENUE), duplicate_refused=believed)
        gateway, urls = settings.gateway, settings.polymarket
        counts = {
            Kind.PLACE: gateway.in_flight_max + 1,
            Kind.CANCEL: CANCELS_IN_FLIGHT + 1,
            Kind.QUERY: QUERIES_IN_FLIGHT + 1,
        }

        def client(url: str, connections: int) -> HttpClient:
            return HttpClient(
                url,
                total_timeout_s=gateway.request_timeout_ms / 1000,
                connect_timeout_s=gateway.connect_timeout_ms / 1000,
                connections=connections,
                counters=counters,
            )

        self._http = {kind: client(urls.clob_url, count) for kind, count in counts.items()}
        self._data = client(urls.data_url, QUERIES_IN_FLIGHT)
        self._opened = time.monotonic()

    @property
    def venue(self) -> str:
        return VENUE

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def wallets(self) -> Sequence[WalletReady]:
        return [wallet.ready() for wallet in self._wallets.values()]

    async def start(self) -> None:
        """Connections are opened by the first question (`health`)."""

    async def close(self) -> None:
        for http in (*self._http.values(), self._data):
            await http.close()
        for wallet in self._wallets.values():
            wallet.signer.close()

    async def reconnect(self) -> None:
        """Cut every connection; the next request opens its own."""
        for http in (*self._http.values(), self._data):
            await http.drop()

    def renew(self) -> None:
        """Fresh connections from here on, so that none gets old: `health` warms them."""
        for http in (*self._http.values(), self._data):
            http.renew()

    async def health(self) -> Health:
        """GET /time on the connections of places and cancels, several of each: it opens what is not open yet."""
        if time.monotonic() - self._opened > CONNECTION_AGE_S:
            self._opened = time.monotonic()
            self.renew()
        kinds = (Kind.PLACE, Kind.CANCEL) * WARM_CONNECTIONS
        answers = await asyncio.gather(*(self._time(kind) for kind in kinds))
        worst = next((answer for answer in answers if not answer.ok), answers[0])
        # The slowest question ended later than this one: its difference to our clock is what holds.
        return worst._replace(clock_ns=worst.clock_ns + self._wall_ns()) if worst.ok else worst

    async def _time(self, kind: Kind) -> Health:
        """`clock_ns` is the venue's clock minus ours."""
        asked_ns = self._wall_ns()
        answer = await self._ask(kind, Request("GET", "/time", {}))
        if answer.status != 200:
            return Health(False, answer.text or f"HTTP {answer.status}")
        try:
            seconds = decode_json(answer.body)
        except Refusal:
            return Health(False, "GET /time was answered, but not with a time")
        if isinstance(seconds, dict):
            seconds = seconds.get("time")
        if not isinstance(seconds, int) or isinstance(seconds, bool):
            return Health(False, "GET /time was answered, but not with a time")
        # It counts in whole seconds: half a second on, and to the moment in the middle of our question.
        middle_ns = (asked_ns + self._wall_ns()) // 2
        return Health(True, clock_ns=seconds * 10**9 + 500_000_000 - middle_ns)

    async def probe(self) -> PlaceResult | CancelResult:
        wallet = next(iter(self._wallets.values()))
        return await self.cancel(Cancel("probe", VENUE, wallet.name, [NOBODYS_ID]), self._wall_ns())

    # --- places ---

    def prepare(self, place: Place) -> Prepared:
        wallet = self._wallets.get(place.wallet)
        if wallet is None:
            raise Refusal(Reason.WALLET_NOT_READY, f"there is no key of the wallet {place.wallet[:40]!r}", "wallet")
        pinned = checked_order(place, wallet)
        notional = pinned.maker_amount if pinned.side == 0 else pinned.taker_amount
        order = _Order(pinned, wallet, place.venue_order_id)
        return Prepared(place, pinned.post_only, notional, order, order.sign if wallet.signer.elsewhere else None)

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        place = prepared.place
        wallet = self._wallets[place.wallet]
        try:
            body = _body(prepared, wallet)
        except Refusal as refusal:
            return _unsigned(place, refusal, received_ns, resent=resent)
        request = place_request(body, wallet, self._seconds())
        signed_ns = sent_ns = self._wall_ns()
        answer = await self._ask(Kind.PLACE, request, wallet.name)
        timings = Timings(received_ns, signed_ns, sent_ns, self._wall_ns(), answer.first_byte_ns)
        return place_result(place, answer, timings, resent=resent)

    async def place_batch(self, batch: Sequence[Prepared], received_ns: int) -> list[PlaceResult]:
        wallet = self._wallets[batch[0].place.wallet]
        unsigned: dict[str, PlaceResult] = {}
        leaving: list[tuple[Place, bytes]] = []
        for prepared in batch:
            try:
                leaving.append((prepared.place, _body(prepared, wallet)))
            except Refusal as refusal:
                place = prepared.place
                unsigned[place.action_id] = _unsigned(place, refusal, received_ns, resent=False)
        sent = await self._post_batch(leaving, wallet, received_ns) if leaving else []
        results = unsigned | {result.action_id: result for result in sent}
        return [results[prepared.place.action_id] for prepared in batch]

    async def _post_batch(
        self, legs: Sequence[tuple[Place, bytes]], wallet: VenueWallet, received_ns: int
    ) -> list[PlaceResult]:
        request = batch_request([body for _, body in legs], wallet, self._seconds())
        signed_ns = sent_ns = self._wall_ns()
        answer = await self._ask(Kind.PLACE, request, wallet.name)
        timings = Timings(received_ns, signed_ns, sent_ns, self._wall_ns(), answer.first_byte_ns)
        return batch_results([place for place, _ in legs], answer, timings)

    # --- cancels ---

    async def cancel(self, action: Cancel, received_ns: int) -> CancelResult:
        wallet = self._wallets[action.wallet]
        if not action.venue_order_ids:
            text = "there was nothing to cancel"
            return CancelResult(action.action_id, Outcome.DONE, Reason.OK, text, timings=Timings(received_ns))
        return await self._cancelled(
            action, cancel_request(action.venue_order_ids, wallet, self._seconds()), received_ns
        )

    async def cancel_wallet(self, action: CancelWallet, received_ns: int) -> CancelResult:
        wallet = self._wallets[action.wallet]
        return await self._cancelled(action, cancel_wallet_request(action, wallet, self._seconds()), received_ns)

    async def _cancelled(self, action: Cancel | CancelWallet, request: Request, received_ns: int) -> CancelResult:
        sent_ns = self._wall_ns()
        answer = await self._ask(Kind.CANCEL, request, action.wallet)
        timings = Timings(received_ns, sent_ns, sent_ns, self._wall_ns(), answer.first_byte_ns)
        return cancel_result(action, answer, timings)

    async def beat(self, wallet_name: str, heartbeat_id: str) -> BeatAnswer:
        """One beat of the dead-man switch, on the connections of cancels."""
        request = beat_request(heartbeat_id, self._wallets[wallet_name], self._seconds())
        return beat_answer(await self._ask(Kind.CANCEL, request, wallet_name))

    # --- questions ---

    async def look_up(self, action: QueryOrder) -> OrderLookup:
        wallet = self._wallets[action.wallet]
        asked_ns = self._wall_ns()
        request = lookup_request(action.venue_order_id, wallet, self._seconds())
        return lookup_result(action, await self._ask(Kind.QUERY, request, wallet.name), asked_ns)

    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult:
        result = await self._listed(action)
        assert isinstance(result, OpenOrdersResult)
        return result

    async def trades(self, action: QueryTrades) -> TradesResult:
        result = await self._listed(action)
        assert isinstance(result, TradesResult)
        return result

    async def _listed(self, action: QueryOpenOrders | QueryTrades) -> OpenOrdersResult | TradesResult:
        asked_ns = self._wall_ns()
        listing = Listing(action, self._wallets[action.wallet])
        while (request := listing.next_request(self._seconds())) is not None:
            listing.take(await self._ask(Kind.QUERY, request, action.wallet))
        return listing.result(asked_ns)

    async def positions(self, action: QueryPositions) -> PositionsResult:
        asked_ns = self._wall_ns()
        listing = HeldListing(action, self._wallets[action.wallet])
        while (request := listing.next_request()) is not None:
            answer = answer_of(await self._data.request(request.method, request.path, query=request.query))
            if self._on_headers is not None and answer.status:
                self._on_headers("", request, answer.headers, answer.status)
            listing.take(answer)
        return listing.result(asked_ns)

    async def balances(self, action: QueryBalances) -> BalancesResult:
        asked_ns = self._wall_ns()
        request = balance_request(self._wallets[action.wallet], self._seconds())
        return balance_result(action, await self._ask(Kind.QUERY, request, action.wallet), asked_ns)

    # --- HTTP ---

    async def _ask(self, kind: Kind, request: Request, wallet: str = "") -> Answer:
        """One request, one attempt."""
        outcome = await self._http[kind].request(
            request.method, request.path, query=request.query, headers=request.headers, body=request.body
        )
        answer = answer_of(outcome)
        if self._tap is not None and wallet and self._tap(kind.value):
            return Answer(0, text="RESET: the answer was thrown away")
        if self._on_headers is not None and wallet and answer.status:
            self._on_headers(wallet, request, answer.headers, answer.status)
        return answer

    def _seconds(self) -> int:
        return self._wall_ns() // 1_000_000_000


class _Order:
    """A pinned order and, once asked for, its signature."""

    __slots__ = ("_id", "_wallet", "pinned", "signature")

    def __init__(self, pinned: PinnedOrder, wallet: VenueWallet, venue_order_id: str) -> None:
        self.pinned = pinned
        self.signature = ""
        self._wallet = wallet
        self._id = venue_order_id

    async def sign(self) -> None:
        """Raises Refusal."""
        self.signature = self._wallet.sign_now(self.pinned, self._id) or await self._wallet.sign(self.pinned, self._id)


def _order(prepared: Prepared) -> _Order:
    assert isinstance(prepared.payload, _Order)
    return prepared.payload


def _body(prepared: Prepared, wallet: VenueWallet) -> bytes:
    """What is posted; a key that is here signs now, one that is elsewhere has signed before (`Prepared.ready`)."""
    order = _order(prepared)
    signature = order.signature or wallet.sign_now(order.pinned, prepared.place.venue_order_id)
    assert signature, "signed elsewhere before it may leave"
    return place_body(order.pinned, signature, wallet)


def _unsigned(place: Place, refusal: Refusal, received_ns: int, *, resent: bool) -> PlaceResult:
    """The signer would not sign. Of a copy that went out before, that says nothing."""
    return PlaceResult(
        place.action_id,
        place.venue_order_id,
        Outcome.UNKNOWN if resent else Outcome.REFUSED,
        refusal.code,
        refusal.message,
        timings=Timings(received_ns),
        retry=RetryClass.LOOK_UP if resent else RetryClass.NEVER,
    )


def answer_of(outcome: HttpReply | HttpFailure) -> Answer:
    if isinstance(outcome, HttpReply):
        retry_after = outcome.headers.get("Retry-After", "")
        return Answer(
            outcome.status,
            outcome.body,
            retry_after,
            first_byte_ns=outcome.first_byte_ns,
            headers=outcome.headers,
        )
    sent = outcome.kind is not FailureKind.NOT_SENT
    return Answer(0, text=f"{outcome.kind.value}: {outcome.text}", sent=sent)
