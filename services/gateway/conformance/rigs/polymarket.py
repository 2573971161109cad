"""Polymarket or its simulator for the kit. On the simulator a fresh random wallet trades: nobody's orders are touched.

In: settings; against the real venue also the name of a wallet of theirs. Out: quotes read over REST, and orders pinned
as the executor pins them.
"""

from __future__ import annotations

import secrets as randomness
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from common.errors import ConfigError, PolyexecError, Refusal
from common.fixed import mul_ceil
from common.http import HttpClient, HttpReply
from common.messages import Level, Place, QueryBalances
from common.settings import Settings
from common.types import ONE, Outcome, Side
from common.venues.polymarket.amounts import SIZE_STEP, Amounts, immediate_amounts
from common.venues.polymarket.auth import L2Credentials, l1_headers
from common.venues.polymarket.contracts import protocol_version
from common.venues.polymarket.orders import SALT_MAX, SIDE_CODE
from common.venues.polymarket.pinned import PinnedOrder, encode_pinned
from common.venues.polymarket.signing import Signer
from common.venues.polymarket.wire import (
    BookObject,
    Members,
    decode_json,
    encode_json,
    need_text,
    parse_books,
    parse_page,
    read_flag,
    read_micros,
    read_objects,
    read_text,
)
from services.gateway.adapters.polymarket import PolymarketAdapter
from services.gateway.conformance.rig import Instrument, NoQuote, Quote, Tap, Wanted
from services.gateway.polymarket import VENUE, VenueWallet
from services.gateway.port import Adapter
from services.gateway.signers import InsideSigner
from services.gateway.wallets import load_wallets

WALLET: Final = "check"
MARKETS_MAX: Final = 200
BOOKS_MAX: Final = 400
LIFE_NS: Final = 180_000_000_000
"""The venue takes no order that ends sooner (protocol section 3.4)."""
EXPIRY_MARGIN_S: Final = 60
DEADLINE_NS: Final = 30_000_000_000
TAKER_WORTH: Final = ONE
"""A marketable BUY is worth a dollar at least (protocol section 6, item 4)."""
MIDDLE: Final = (ONE // 10, ONE - ONE // 10)
"""Only books with room on both sides: half of the best bid must still be on the grid."""


class Listed(NamedTuple):
    """A token that can be traded."""

    instrument: Instrument
    neg_risk: bool


class Fresh:
    """A wallet of this run alone. Its key is kept here: an adapter that is closed has overwritten its own copy."""

    __slots__ = ("_chain_id", "_creds", "_key", "address")

    def __init__(self, key: bytes, address: str, creds: L2Credentials, chain_id: int) -> None:
        self.address = address
        self._key = key
        self._creds = creds
        self._chain_id = chain_id

    def wallet(self) -> VenueWallet:
        signer = InsideSigner(Signer(self._key))
        return VenueWallet(WALLET, signer, self._creds, funder="", signature_type=0, chain_id=self._chain_id)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that must never be shown."""
        return self._key.hex(), self._creds.secret, self._creds.passphrase

    def __repr__(self) -> str:
        return f"Fresh({self.address})"


class PolymarketRig:
    """`wallet` "" makes a fresh one, which only the simulator funds."""

    def __init__(self, settings: Settings, *, wallet: str = "", market: str = "") -> None:
        self.tap = Tap()
        self.wallet = wallet or WALLET
        self.note = ""
        self.exempt: Mapping[str, str] = {}
        self.gtd_life_ns = LIFE_NS + 20_000_000_000
        self.secrets: Sequence[str] = ()
        self._settings = settings
        self._is_fresh = not wallet
        self._market = market
        self._http = client_of(settings)
        self._adapter: PolymarketAdapter | None = None
        self._open_wallet: Callable[[], VenueWallet] = lambda: _own_wallet(settings, wallet)
        self._of_wallet: VenueWallet | None = None
        self._listed: dict[str, Listed] = {}
        self._closed_ports: list[socket.socket] = []

    @property
    def adapter(self) -> Adapter:
        assert self._adapter is not None
        return self._adapter

    async def open(self) -> None:
        venue = self._settings.polymarket.clob_url
        if self._is_fresh:
            fresh = await fresh_wallet(self._settings, self._http)
            self._open_wallet, self.secrets = fresh.wallet, fresh.secrets
        self._of_wallet = self._open_wallet()
        kind = "a fresh wallet" if self._is_fresh else f"the wallet {self.wallet},"
        self.note = f"{kind} {self._of_wallet.maker} on {venue}"
        self._adapter = self._make(self._settings, self._of_wallet, self.tap)
        await self._adapter.start()
        await self._check_money()
        self._listed = await self._list()

    def _make(self, settings: Settings, wallet: VenueWallet, tap: Tap | None) -> PolymarketAdapter:
        return PolymarketAdapter(settings, {self.wallet: wallet}, tap=tap)

    async def close(self) -> None:
        if self._adapter is not None:
            await self._adapter.close()
        await self._http.close()
        for one in self._closed_ports:
            one.close()

    async def reconnect(self) -> None:
        assert self._adapter is not None
        await self._adapter.reconnect()

    async def unreachable(self) -> Adapter:
        """The port is ours and nobody listens on it: connections are refused."""
        port = socket.socket()
        self._closed_ports.append(port)
        port.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{port.getsockname()[1]}"
        elsewhere = self._settings.polymarket.model_copy(update={"clob_url": url, "data_url": url})
        moved = self._settings.model_copy(update={"polymarket": elsewhere})
        return self._make(moved, self._open_wallet(), None)

    # --- the market ---

    async def quote(self, budget: int = 0, without: str = "") -> Quote:
        """Of the books with room on both sides the one whose best offer is the cheapest to take."""
        tokens = [row for row in self._listed.values() if row.instrument.condition_id != without]
        body = encode_json([{"token_id": row.instrument.token_id} for row in tokens[:BOOKS_MAX]])
        answer = await self._http.request("POST", "/books", body=body)
        books = parse_books(_body_of(answer, "POST /books"))
        quotes = [self._quote_of(book) for book in books if book.bids and book.asks and book.token_id in self._listed]
        found = [quote for quote in quotes if MIDDLE[0] < quote.bid < quote.ask < MIDDLE[1]]
        if not found:
            raise NoQuote(f"of {len(tokens)} books none has both sides between {MIDDLE[0] / ONE} and {MIDDLE[1] / ONE}")
        cheapest = min(found, key=lambda quote: mul_ceil(quote.ask, quote.ask_size))
        cost = mul_ceil(cheapest.ask, cheapest.ask_size)
        if budget and cost > budget:
            raise NoQuote(f"the smallest best offer costs {cost // ONE}, more than the budget of {budget // ONE}")
        return cheapest

    def _quote_of(self, book: BookObject) -> Quote:
        """The venue's lists end with the best level (protocol section 4.2), but nothing relies on the order."""
        instrument = self._listed[book.token_id].instrument
        if book.tick_size and book.tick_size != instrument.tick:
            instrument = _with_tick(instrument, book.tick_size)
            self._listed[book.token_id] = Listed(instrument, self._listed[book.token_id].neg_risk)
        bids: list[Level] = sorted(book.bids, reverse=True)
        return Quote(instrument, bids, sorted(book.asks))

    async def _list(self) -> dict[str, Listed]:
        answer = await self._http.request("GET", "/sampling-markets")
        rows = parse_page(_body_of(answer, "GET /sampling-markets")).data
        markets = [row for row in rows if read_flag(row, "accepting_orders") and self._is_wanted(row)]
        if not markets:
            wanted = f" named {self._market}" if self._market else ""
            raise PolyexecError(f"{self._settings.polymarket.clob_url} lists no market{wanted} that takes orders")
        return {row.instrument.token_id: row for market in markets[:MARKETS_MAX] for row in _tokens_of(market)}

    def _is_wanted(self, row: Members) -> bool:
        tokens = [read_text(token, "token_id") for token in read_objects(row, "tokens")]
        return self._market in ("", read_text(row, "condition_id"), read_text(row, "market_slug"), *tokens)

    # --- orders ---

    def order(self, wanted: Wanted) -> Place:
        """As the executor pins it (services/executor/pinning.py), with a random salt and no check of the grid."""
        assert self._of_wallet is not None
        own, listed = self._of_wallet.identity, self._listed.get(wanted.token_id)
        amounts = _amounts(wanted, listed.instrument.tick if listed else 0)
        ends_s = wanted.expire_ns // 1_000_000_000 + EXPIRY_MARGIN_S if wanted.expire_ns else 0
        pinned = PinnedOrder(
            salt=randomness.randbelow(SALT_MAX),
            maker=own.maker,
            signer=own.order_signer,
            token_id=wanted.token_id,
            maker_amount=amounts.maker,
            taker_amount=amounts.taker,
            side=SIDE_CODE[wanted.side],
            signature_type=own.signature_type,
            timestamp=time.time_ns() // 1_000_000,
            version=max(self._settings.polymarket.protocol_version, protocol_version(int(wanted.token_id))),
            chain_id=own.chain_id,
            neg_risk=listed.neg_risk if listed else False,
            order_type=wanted.tif,
            post_only=wanted.post_only,
            expiration=str(ends_s),
        )
        order_id = pinned.venue_order_id
        action_id = f"place-{order_id[2:18]}"
        return Place(action_id, VENUE, self.wallet, order_id, time.time_ns() + DEADLINE_NS, encode_pinned(pinned))

    def unknown_token(self) -> str:
        """Full-size, as all token ids are: small ones would be another kind of asset (protocol section 3.1)."""
        return str(2**255 + randomness.randbelow(2**200))

    # --- the wallet ---

    async def _check_money(self) -> None:
        """Against the simulator the grant of a new address; against the venue whatever the wallet has."""
        answer = await self.adapter.balances(QueryBalances("check-money", VENUE, self.wallet))
        if answer.outcome is not Outcome.DONE:
            raise PolyexecError(f"the balance cannot be read ({answer.code.value}: {answer.text})")
        if not answer.cash:
            hint = "polymarket_sim.grant_cash is 0" if self._is_fresh else f"fund {self.wallet}"
            raise PolyexecError(f"the wallet has no money: {hint}")


def client_of(settings: Settings) -> HttpClient:
    gateway = settings.gateway
    return HttpClient(
        settings.polymarket.clob_url,
        total_timeout_s=gateway.request_timeout_ms / 1000,
        connect_timeout_s=gateway.connect_timeout_ms / 1000,
        connections=4,
    )


async def fresh_wallet(settings: Settings, http: HttpClient) -> Fresh:
    """A random key and the API key the venue makes for its address."""
    key = randomness.token_bytes(32)
    signer = Signer(key)
    chain_id = settings.polymarket.chain_id
    headers = l1_headers(signer, int(time.time()), 0, chain_id)
    members = decode_json(_body_of(await http.request("POST", "/auth/api-key", headers=headers), "POST /auth/api-key"))
    if not isinstance(members, dict):
        raise PolyexecError("POST /auth/api-key was answered with something else than an API key")
    creds = L2Credentials(need_text(members, "apiKey"), need_text(members, "secret"), need_text(members, "passphrase"))
    return Fresh(key, signer.address, creds, chain_id)


def _own_wallet(settings: Settings, name: str) -> VenueWallet:
    found = load_wallets(settings).get(name)
    if found is None:
        raise ConfigError("wallet", f"{name!r} is no wallet of polymarket in the settings")
    return found


def _body_of(answer: object, what: str) -> bytes:
    if isinstance(answer, HttpReply) and answer.status == 200:
        return answer.body
    why = f"HTTP {answer.status}" if isinstance(answer, HttpReply) else getattr(answer, "text", "")
    raise PolyexecError(f"the venue does not answer {what}: {why}")


def _tokens_of(market: Members) -> list[Listed]:
    tick = read_micros(market, "minimum_tick_size")
    slug, condition_id = read_text(market, "market_slug"), read_text(market, "condition_id")
    found = []
    for token in read_objects(market, "tokens"):
        name = f"{slug} {read_text(token, 'outcome')}"
        instrument = Instrument(
            name,
            need_text(token, "token_id"),
            condition_id,
            tick,
            tick,
            ONE - tick,
            SIZE_STEP,
            read_micros(market, "minimum_order_size"),
            taker_notional=TAKER_WORTH,
        )
        found.append(Listed(instrument, read_flag(market, "neg_risk")))
    return found


def _with_tick(instrument: Instrument, tick: int) -> Instrument:
    return instrument._replace(tick=tick, price_min=tick, price_max=ONE - tick)


def _amounts(wanted: Wanted, tick: int) -> Amounts:
    """Exact products for resting orders, also off the grid; the venue's own rounding for immediate ones."""
    if not wanted.tif.rests and tick:
        try:
            return immediate_amounts(wanted.side, wanted.price, wanted.size, tick)
        except Refusal:
            pass  # off the grid: the venue is to say so
    cash = wanted.price * wanted.size // ONE
    return Amounts(cash, wanted.size) if wanted.side is Side.BUY else Amounts(wanted.size, cash)
