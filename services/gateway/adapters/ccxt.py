"""Centralised exchanges as venues of the gateway, each row of `[[ccxt]]` one: the shell around common/venues/ccxt.

In: actions that may run. Out: each as its request (lists: one for each symbol and page; a cancel or look-up of an order
nobody here has seen: one for each symbol) and the answer as a result. Places, cancels and queries never share a
connection, and nothing is sent twice. The instruments are loaded at the start and read again once an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from common.edge import Edge
from common.errors import Refusal
from common.fixed import mul_ceil
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
    VenuePosition,
    WalletReady,
)
from common.reasons import Reason
from common.secrets import read_secret
from common.settings import CcxtVenue, Settings
from common.types import Outcome, RetryClass
from common.venues.capabilities import CAPABILITIES, Capabilities, VenueKind
from common.venues.ccxt.account import CcxtAccount, Failed
from common.venues.ccxt.answers import NoAnswer, Verdict, unknown
from common.venues.ccxt.client import Answer, CcxtClient, Lane, Limits, Tap
from common.venues.ccxt.credentials import ApiCredentials, parse_api_credentials
from common.venues.ccxt.markets import Listing, base_of, quote_of
from common.venues.ccxt.orders import Ticket, held_of, ticket_of
from common.venues.plain import PlainOrder, decode_plain, local_id
from services.gateway.adapters.ccxt_results import (
    looked_up,
    not_looked_up,
    not_placed,
    placed,
    refusal_verdict,
)
from services.gateway.port import Adapter, Health, Prepared

CANCELS_IN_FLIGHT: Final = 16
QUERIES_IN_FLIGHT: Final = 8
RELOAD_NS: Final = 3_600_000_000_000
NOBODYS_ID: Final = "polyexec-probe-of-nobody"
NOT_FOUND: Final = f"{Reason.ORDER_NOT_FOUND.value}: the venue has no open order of this id"

_DONE: Final = Verdict(Outcome.DONE, Reason.OK, RetryClass.NEVER)

OnListing = Callable[[str, Listing], None]
"""Told the venue and what of its symbols can be traded, after each load."""


class CcxtAdapter:
    """One centralised exchange, with every wallet we have there."""

    def __init__(
        self,
        row: CcxtVenue,
        settings: Settings,
        wallets: Mapping[str, ApiCredentials],
        *,
        counters: Counter[str] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        on_listing: OnListing | None = None,
        tap: Tap | None = None,
    ) -> None:
        """Raises ConfigError for an exchange that is not spoken."""
        gateway = settings.gateway
        limits = Limits(
            gateway.connect_timeout_ms,
            gateway.request_timeout_ms,
            {
                Lane.PLACE: gateway.in_flight_max + 1,
                Lane.CANCEL: CANCELS_IN_FLIGHT + 1,
                Lane.QUERY: QUERIES_IN_FLIGHT + 1,
            },
        )
        self._row = row
        self._wall_ns = wall_ns
        self._on_listing = on_listing
        self._loaded_ns = 0
        self._cancels = asyncio.Semaphore(CANCELS_IN_FLIGHT)
        self._accounts: dict[str, CcxtAccount] = {}
        for name, credentials in wallets.items():
            client = CcxtClient(row, limits, credentials=credentials, counters=counters or Counter())
            client.tap = tap
            self._accounts[name] = CcxtAccount(client, name)
        self._first = next(iter(self._accounts.values())).client

    @property
    def venue(self) -> str:
        return self._row.name

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES[VenueKind.CCXT]

    @property
    def listing(self) -> Listing:
        return self._first.listing

    def wallets(self) -> Sequence[WalletReady]:
        """Orders there are not signed for an address: the wallet's name stands for it."""
        return [WalletReady(self.venue, name, name, name, 0, 0, "") for name in self._accounts]

    async def start(self) -> None:
        """Import ccxt and load the instruments; a venue that does not answer now is asked again by `health`."""
        for client in self._clients():
            await client.open()
        await self._load()

    async def close(self) -> None:
        for client in self._clients():
            await client.close()

    async def reconnect(self) -> None:
        for client in self._clients():
            await client.drop()

    def renew(self) -> None:
        for client in self._clients():
            client.renew()

    def _clients(self) -> list[CcxtClient]:
        return [account.client for account in self._accounts.values()]

    async def _load(self) -> Verdict | None:
        """Every wallet's client needs the instruments. The verdict on the first failure."""
        for client in self._clients():
            failure = await client.load(self._row.symbols)
            if failure is not None:
                return client.judge(failure)
        self._loaded_ns = self._wall_ns()
        if self._on_listing is not None:
            self._on_listing(self.venue, self.listing)
        return None

    async def health(self) -> Health:
        """The venue's time, on the connections of places and cancels. Missing or old instruments are loaded."""
        for client in self._clients():
            await client.open()
        (answer, clock_ns), (other, _) = await asyncio.gather(
            self._first.clock(Lane.PLACE), self._first.clock(Lane.CANCEL)
        )
        failure = answer.failure or other.failure
        if failure is not None:
            return Health(False, self._first.judge(failure).text)
        for client in self._clients():
            client.count_by(self._first.difference_ms)
        if not self.listing.markets or self._wall_ns() - self._loaded_ns > RELOAD_NS:
            verdict = await self._load()
            if verdict is not None and not self.listing.markets:
                return Health(False, f"the instruments cannot be loaded: {verdict.text}")
        if not self.listing.markets:
            why = "; ".join(refusal.message for refusal in self.listing.refusals.values())
            return Health(False, f"no instrument of ccxt.symbols can be traded: {why}")
        middle_ns = (answer.sent_ns + answer.answered_ns) // 2
        return Health(True, clock_ns=clock_ns + self._wall_ns() - middle_ns)

    async def probe(self) -> PlaceResult | CancelResult:
        name = next(iter(self._accounts))
        symbol = next(iter(self.listing.markets), "")
        if symbol:
            self._accounts[name].names.learn(NOBODYS_ID, symbol)
        return await self.cancel(Cancel("probe", self.venue, name, [NOBODYS_ID]), self._wall_ns())

    # --- places ---

    def prepare(self, place: Place) -> Prepared:
        if place.wallet not in self._accounts:
            raise Refusal(Reason.WALLET_NOT_READY, f"there is no key of the wallet {place.wallet[:40]!r}", "wallet")
        order = decode_plain(place.pinned)
        if order.venue_order_id != place.venue_order_id:
            text = f"the pinned order has the id {order.venue_order_id[:80]}, not {place.venue_order_id[:80]}"
            raise Refusal(Reason.DIGEST_MISMATCH, text, "venue_order_id")
        if self.listing.markets:
            self._ticket(order)
        return Prepared(place, order.post_only, mul_ceil(order.price, order.size), order)

    def _ticket(self, order: PlainOrder) -> Ticket:
        """What ccxt is given. Raises Refusal for an instrument that is not traded here and numbers off its grid."""
        symbol = local_id(order.token_id)
        market = self.listing.markets.get(symbol)
        if market is None or order.token_id != market.token_ids[0]:
            refusal = self.listing.refusals.get(symbol)
            text = refusal.message if refusal else f"{order.token_id[:80]!r} is no instrument of {self.venue}"
            raise Refusal(refusal.code if refusal else Reason.UNKNOWN_MARKET, text, "token_id")
        return ticket_of(order, market)

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        place, order = prepared.place, prepared.payload
        assert isinstance(order, PlainOrder)
        account = self._accounts[place.wallet]
        if not account.markets:
            verdict = account.failed(account.client.not_loaded()).verdict
            return not_placed(place, verdict, Timings(received_ns), resent=resent)
        try:
            ticket = self._ticket(order)
        except Refusal as refusal:
            return not_placed(place, refusal_verdict(refusal), Timings(received_ns), resent=resent)
        account.names.learn(order.venue_order_id, ticket.symbol)
        answer = await account.client.ask(
            Lane.PLACE, "create_order", ticket.symbol, "limit", ticket.side, ticket.amount, ticket.price, ticket.params
        )
        timings = _timings(received_ns, answer)
        if answer.failure is not None:
            return not_placed(place, account.client.judge(answer.failure), timings, resent=resent)
        try:
            seen = account.learn(answer.value, ticket.symbol)
        except Refusal as refusal:
            verdict = account.failed(NoAnswer(f"unreadable answer: {refusal.message}")).verdict
            return not_placed(place, verdict, timings, resent=resent)
        return placed(place, order.tif, seen, timings)

    async def place_batch(self, batch: Sequence[Prepared], received_ns: int) -> list[PlaceResult]:
        """The venue takes one order in a request."""
        return list(await asyncio.gather(*(self.place(row, received_ns, resent=False) for row in batch)))

    # --- cancels ---

    async def cancel(self, action: Cancel, received_ns: int) -> CancelResult:
        account = self._accounts.get(action.wallet)
        if account is None:
            return self._no_wallet(action, received_ns)
        parts = [self._cancel_one(account, order_id, received_ns) for order_id in dict.fromkeys(action.venue_order_ids)]
        if not parts:
            text = "there was nothing to cancel"
            return CancelResult(action.action_id, Outcome.DONE, Reason.OK, text, timings=Timings(received_ns))
        return _merged(action.action_id, await asyncio.gather(*parts))

    async def _cancel_one(self, account: CcxtAccount, order_id: str, received_ns: int) -> CancelResult:
        """In the symbol that is remembered, else in each there is, until one has it."""
        timings = Timings(received_ns)
        try:
            symbols = account.symbols_of(order_id)
        except Failed as failed:
            return _not_cancelled(order_id, failed.verdict, timings)
        for symbol in symbols:
            async with self._cancels:
                answer = await account.client.ask(
                    Lane.CANCEL, "cancel_order", None, symbol, {"clientOrderId": order_id}
                )
            timings = _timings(received_ns, answer)
            if answer.failure is None:
                return _cancelled(order_id, answer, timings)
            verdict = account.client.judge(answer.failure)
            if verdict.code is not Reason.ORDER_NOT_FOUND:
                return _not_cancelled(order_id, verdict, timings)
        return CancelResult("", Outcome.DONE, Reason.OK, "", [], {order_id: NOT_FOUND}, timings)

    async def cancel_wallet(self, action: CancelWallet, received_ns: int) -> CancelResult:
        text = f"{self.venue} has no call that cancels everything of a wallet: name the orders"
        return CancelResult(action.action_id, Outcome.REFUSED, Reason.UNSUPPORTED, text, timings=Timings(received_ns))

    @staticmethod
    def _no_wallet(action: Cancel, received_ns: int) -> CancelResult:
        text = f"there is no key of the wallet {action.wallet[:40]!r}"
        timings = Timings(received_ns)
        return CancelResult(action.action_id, Outcome.REFUSED, Reason.WALLET_NOT_READY, text, timings=timings)

    # --- questions ---

    async def look_up(self, action: QueryOrder) -> OrderLookup:
        asked_ns = self._wall_ns()
        try:
            return looked_up(action, await self._account(action.wallet).find(action.venue_order_id), asked_ns)
        except Failed as failed:
            return not_looked_up(action, failed.verdict, asked_ns)

    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult:
        asked_ns, ended = self._wall_ns(), _DONE
        orders = []
        try:
            orders = [seen.order for seen in await self._account(action.wallet).open_orders()]
        except Failed as failed:
            ended = failed.verdict
        complete = ended.outcome is Outcome.DONE
        return OpenOrdersResult(action.action_id, ended.outcome, ended.code, ended.text, asked_ns, complete, orders)

    async def trades(self, action: QueryTrades) -> TradesResult:
        """Asked for by the venue's clock, rounded down to its milliseconds."""
        asked_ns, ended = self._wall_ns(), _DONE
        fills = []
        try:
            account = self._account(action.wallet)
            now_ms = asked_ns // 1_000_000 - account.client.difference_ms
            fills = await account.fills_since(action.after_ns // 1_000_000, now_ms)
        except Failed as failed:
            ended = failed.verdict
        complete = ended.outcome is Outcome.DONE
        return TradesResult(action.action_id, ended.outcome, ended.code, ended.text, asked_ns, complete, fills)

    async def positions(self, action: QueryPositions) -> PositionsResult:
        """What is held of each symbol's base currency; symbols paid in one money have each their own."""
        asked_ns, ended = self._wall_ns(), _DONE
        held: list[VenuePosition] = []
        try:
            account = self._account(action.wallet)
            balances = await account.balances()
            for symbol, market in account.markets.items():
                size = held_of(balances, base_of(symbol))
                held += [VenuePosition(market.token_ids[0], size)] if size else []
        except Failed as failed:
            ended = failed.verdict
        except Refusal as refusal:
            ended = self._unreadable(refusal)
        complete = ended.outcome is Outcome.DONE
        return PositionsResult(action.action_id, ended.outcome, ended.code, ended.text, asked_ns, complete, held)

    async def balances(self, action: QueryBalances) -> BalancesResult:
        """The money the symbols are paid in, free and held back together; nothing else bounds what may be spent."""
        asked_ns, ended, cash = self._wall_ns(), _DONE, 0
        try:
            account = self._account(action.wallet)
            balances = await account.balances()
            cash = held_of(balances, quote_of(next(iter(account.markets))))
        except Failed as failed:
            ended = failed.verdict
        except Refusal as refusal:
            ended = self._unreadable(refusal)
        return BalancesResult(action.action_id, ended.outcome, ended.code, ended.text, asked_ns, cash, cash)

    def _account(self, wallet: str) -> CcxtAccount:
        account = self._accounts.get(wallet)
        if account is None:
            text = f"there is no key of the wallet {wallet[:40]!r}"
            raise Failed(refusal_verdict(Refusal(Reason.WALLET_NOT_READY, text, "wallet")))
        return account

    def _unreadable(self, refusal: Refusal) -> Verdict:
        return self._first.judge(NoAnswer(f"unreadable answer: {refusal.message}"))


def _timings(received_ns: int, answer: Answer) -> Timings:
    """ccxt signs on its way to the socket: signed is when it was sent."""
    return Timings(received_ns, answer.sent_ns, answer.sent_ns, answer.answered_ns, answer.first_byte_ns)


def _cancelled(order_id: str, answer: Answer, timings: Timings) -> CancelResult:
    """An answer without an error that does not speak of a cancelled order proves nothing."""
    status = answer.value.get("status") if isinstance(answer.value, dict) else None
    if status != "canceled":
        text = f"the venue answered the cancel with an order that is {str(status)[:40]}"
        return _not_cancelled(order_id, Verdict(*unknown(), text), timings)
    return CancelResult("", Outcome.DONE, Reason.OK, "", [order_id], {}, timings)


def _not_cancelled(order_id: str, verdict: Verdict, timings: Timings) -> CancelResult:
    return CancelResult(
        "",
        verdict.outcome,
        verdict.code,
        verdict.text,
        [],
        {order_id: f"{verdict.code.value}: {verdict.text}"},
        timings,
        verdict.retry,
        verdict.retry_after_ms,
    )


def _merged(action_id: str, parts: Sequence[CancelResult]) -> CancelResult:
    """DONE only when each part was answered; the worst one gives code, text and pause."""
    rank = (Outcome.UNKNOWN, Outcome.REFUSED, Outcome.DONE)
    worst = min(parts, key=lambda part: rank.index(part.outcome))
    canceled = [order_id for part in parts for order_id in part.canceled]
    not_canceled = {order_id: text for part in parts for order_id, text in part.not_canceled.items()}
    return msgspec.structs.replace(worst, action_id=action_id, canceled=canceled, not_canceled=not_canceled)


def load_credentials(settings: Settings, venue: str) -> dict[str, ApiCredentials]:
    """The gateway's own API keys of every wallet there. Raises ConfigError naming the file and the fix."""
    found: dict[str, ApiCredentials] = {}
    for wallet in settings.wallets:
        if wallet.venue == venue:
            file = settings.paths.secrets_dir / f"{wallet.name}.gateway.creds"
            found[wallet.name] = parse_api_credentials(read_secret(file, field="file of API credentials"), str(file))
    return found


def open_ccxt(edge: Edge, settings: Settings) -> list[Adapter]:
    """An adapter for each row of `[[ccxt]]` that a wallet is at. Raises ConfigError naming the setting or file."""

    def on_listing(venue: str, listing: Listing) -> None:
        for symbol, refusal in listing.refusals.items():
            edge.log.warning(
                "instrument_refused", venue=venue, symbol=symbol, code=refusal.code.value, text=refusal.message
            )

    adapters: list[Adapter] = []
    for row in settings.ccxt:
        wallets = load_credentials(settings, row.name)
        if wallets:
            adapters.append(CcxtAdapter(row, settings, wallets, counters=edge.counters, on_listing=on_listing))
    return adapters
