"""A centralised exchange for the kit: a row of `[[ccxt]]`, or a Binance-dialect test venue started in this process.

In: settings, and which row and wallet. Out: quotes read through ccxt, and plain orders. What the test venue is said to
be stands in the note, so that nobody takes it for Binance.
"""

from __future__ import annotations

import secrets as randomness
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.errors import ConfigError, PolyexecError, Refusal
from common.fixed import mul_ceil, parse_micros
from common.instruments import Market
from common.messages import Level, Place
from common.settings import CcxtVenue, Settings
from common.types import ONE
from common.venues.binance.seed import HOUSE
from common.venues.binance.seed import Quote as HouseQuote
from common.venues.binance.seed import quote as house_quote
from common.venues.binance.server import KEY, SECRET, BinanceServer
from common.venues.binance.wire import UNIT
from common.venues.ccxt.client import CcxtClient, Lane, Limits
from common.venues.ccxt.credentials import ApiCredentials
from services.gateway.adapters.ccxt import CcxtAdapter, load_credentials
from services.gateway.conformance.rig import NoQuote, Quote, Tap, Wanted
from services.gateway.conformance.rigs.plain import instrument_of, plain_place
from services.gateway.port import Adapter

WALLET: Final = "check"
OFFLINE: Final = CcxtVenue(name="ccxt", exchange="binance", symbols=("BTC/USDT", "ETH/USDT"))
DEADLINE_NS: Final = 30_000_000_000
DEPTH: Final = 20
SMALL: Final = 100 * UNIT
"""What the house of the test venue offers at a better price, so that a small wallet can take a whole level."""


class CcxtRig:
    """`row` None: the test venue."""

    def __init__(self, settings: Settings, row: CcxtVenue | None, *, wallet: str = "", market: str = "") -> None:
        self.tap = Tap()
        self.wallet = wallet or WALLET
        self.note = ""
        self.exempt: Mapping[str, str] = {}
        self.secrets: Sequence[str] = ()
        self.gtd_life_ns = 0
        self._settings = settings
        self._row = row or OFFLINE
        self._market = market
        self._server = BinanceServer() if row is None else None
        self._credentials: ApiCredentials | None = None
        self._adapter: CcxtAdapter | None = None
        self._books: CcxtClient | None = None
        self._closed_ports: list[socket.socket] = []

    @property
    def adapter(self) -> Adapter:
        assert self._adapter is not None
        return self._adapter

    async def open(self) -> None:
        if self._server is not None:
            self._row = self._row.model_copy(update={"url": await self._server.start()})
            self._credentials = ApiCredentials(KEY, SECRET)
            self.note = f"a test venue with Binance's protocol in this process ({self._row.url}), not Binance"
        else:
            self._credentials = self._own_credentials()
            self.note = f"the wallet {self.wallet} at {self._row.exchange} ({self._row.url or 'its own address'})"
        self.secrets = [self._credentials.secret]
        self._adapter = self._make(self._row, self.tap)
        await self._adapter.start()
        health = await self._adapter.health()
        if not health.ok:
            raise PolyexecError(f"{self._row.name} does not answer: {health.text}")
        gateway = self._settings.gateway
        limits = Limits(gateway.connect_timeout_ms, gateway.request_timeout_ms, dict.fromkeys(Lane, 2))
        self._books = CcxtClient(self._row, limits, counters=Counter())
        await self._books.open()
        await self._books.load(self._row.symbols)

    def _own_credentials(self) -> ApiCredentials:
        found = load_credentials(self._settings, self._row.name)
        if self.wallet not in found:
            raise ConfigError(
                "wallet", f"{self.wallet!r} is no wallet at {self._row.name}: {', '.join(found) or 'none'}"
            )
        return found[self.wallet]

    def _make(self, row: CcxtVenue, tap: Tap | None) -> CcxtAdapter:
        assert self._credentials is not None
        return CcxtAdapter(row, self._settings, {self.wallet: self._credentials}, tap=tap)

    async def close(self) -> None:
        for one in (self._adapter, self._books, self._server):
            if one is not None:
                await one.close()
        for port in self._closed_ports:
            port.close()

    async def reconnect(self) -> None:
        assert self._adapter is not None
        await self._adapter.reconnect()

    async def unreachable(self) -> Adapter:
        """Another test venue that ends once its instruments are known; of a real one nothing is known to begin with."""
        if self._server is not None:
            other = BinanceServer()
            adapter = self._make(self._row.model_copy(update={"url": await other.start()}), None)
            await adapter.start()
            await other.close()
            return adapter
        port = socket.socket()
        self._closed_ports.append(port)  # ours, and nobody listens on it
        port.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{port.getsockname()[1]}"
        adapter = self._make(self._row.model_copy(update={"url": url}), None)
        await adapter.start()
        return adapter

    # --- the market ---

    async def quote(self, budget: int = 0, without: str = "") -> Quote:
        assert self._adapter is not None
        markets = [market for market in self._adapter.listing.markets.values() if self._is_wanted(market, without)]
        if self._server is not None and budget:
            self._offer_little(self._server)
        quotes = [await self._quote_of(market) for market in markets]
        found = [quote for quote in quotes if quote is not None]
        if not found:
            raise NoQuote(f"none of {len(markets)} instruments has a book with both sides")
        cheapest = min(found, key=lambda quote: mul_ceil(quote.ask, quote.ask_size))
        cost = mul_ceil(cheapest.ask, cheapest.ask_size)
        if budget and cost > budget:
            raise NoQuote(f"the smallest best offer costs {cost // ONE}, more than the budget of {budget // ONE}")
        return cheapest

    def _is_wanted(self, market: Market, without: str) -> bool:
        words = (market.slug, market.outcomes[0])
        return market.condition_id != without and (not self._market or self._market in words)

    async def _quote_of(self, market: Market) -> Quote | None:
        assert self._books is not None
        answer = await self._books.ask(Lane.QUERY, "fetch_order_book", market.outcomes[0], DEPTH)
        if answer.failure is not None:
            raise PolyexecError(f"the book of {market.outcomes[0]} cannot be read")
        bids, asks = _levels(answer.value, "bids"), _levels(answer.value, "asks")
        return Quote(instrument_of(market, 0), bids, asks) if bids and asks else None

    @staticmethod
    def _offer_little(server: BinanceServer) -> None:
        """The house sells a little ETH one tick below its best offer, as somebody would on a real venue."""
        venue = server.venue
        market = venue.markets["ETHUSDT"]
        best = min(order.price for order in market.against("BUY"))
        step = market.symbol.step
        quantity = SMALL * UNIT // best // step * step
        wanted = HouseQuote("ETHUSDT", "SELL", best - market.symbol.tick, quantity)
        house_quote(venue, venue.accounts[HOUSE], wanted, time.time_ns() // 1_000_000)

    def order(self, wanted: Wanted) -> Place:
        deadline_ns = time.time_ns() + DEADLINE_NS
        return plain_place(self._row.name, self.wallet, wanted, randomness.token_bytes(10), deadline_ns)

    def unknown_token(self) -> str:
        return f"{self._row.name}:NONE/SUCH"


def _levels(book: Any, side: str) -> list[Level]:
    """Exact micros; a level finer than that cannot be an order of ours and is left out."""
    levels = []
    for price, size, *_ in book[side]:
        try:
            levels.append((parse_micros(str(price)), parse_micros(str(size))))
        except Refusal:
            continue
    return levels
