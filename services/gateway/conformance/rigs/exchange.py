"""Our own exchange for the kit: over the bus of the running group, with an account of this run alone.

In: settings. Out: quotes, read from the books market_data has of the same markets, and plain orders. The exchange must
run: nothing here starts it.
"""

from __future__ import annotations

import secrets as randomness
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from common.edge import new_request_id
from common.errors import PolyexecError
from common.fixed import mul_ceil
from common.instruments import Market
from common.messages import (
    BookReport,
    ExchangeMarketsReport,
    GetBook,
    GetExchangeMarkets,
    GetMarkets,
    MarketsReport,
    MarketView,
    Message,
    Place,
    QueryBalances,
)
from common.settings import Settings, Wallet
from common.types import ONE, FeedState, Outcome
from common.venues.exchange.names import VENUE, bus_id, listed
from services.gateway.adapters.exchange import ExchangeAdapter
from services.gateway.conformance.rig import Instrument, NoQuote, Quote, Tap, Wanted
from services.gateway.conformance.rigs.plain import instrument_of, plain_place
from services.gateway.port import Adapter
from services.gateway.visitors import Face

ANSWER_S: Final = 3.0
DEADLINE_NS: Final = 30_000_000_000
LIFE_NS: Final = 60_000_000_000
AWAY_MS: Final = 300
"""How long the adapter whose exchange is not there waits for an answer."""
BOOKS_MAX: Final = 12
"""Whole books read for one quote."""
TAKER_WORTH: Final = ONE
MIDDLE: Final = (ONE // 10, ONE - ONE // 10)
NOT_RUNNING: Final = "the exchange does not answer: start the group with scripts/start_all.sh (demo or paper)"

AnswerT = TypeVar("AnswerT", bound=Message)


class ExchangeRig:
    def __init__(self, settings: Settings, *, market: str = "") -> None:
        self.tap = Tap()
        self.wallet = f"check-{randomness.token_hex(4)}"
        self.note = f"a fresh account own:{self.wallet} on our exchange, over the bus"
        self.exempt: Mapping[str, str] = {}
        self.secrets: Sequence[str] = ()
        self.gtd_life_ns = LIFE_NS
        self._settings = settings
        self._market = market
        self._face = Face(settings)
        self._adapter = ExchangeAdapter(self._face, [self._row()], tap=self.tap)
        self._markets: dict[str, Market] = {}
        """By the exchange's own token ids."""
        self._away: list[tuple[Face, Path]] = []

    def _row(self) -> Wallet:
        return Wallet(name=self.wallet, venue=VENUE)

    @property
    def adapter(self) -> Adapter:
        return self._adapter

    async def open(self) -> None:
        report = await self._asked("exchange", GetExchangeMarkets(new_request_id()), ExchangeMarketsReport)
        found = [market for market in report.markets if self._is_wanted(market)]
        if not found:
            wanted = f" named {self._market}" if self._market else ""
            raise PolyexecError(f"the exchange lists no market{wanted} that takes orders")
        self._markets = {token: market for market in found for token in market.token_ids}
        await self._adapter.start()
        health = await self._adapter.health()
        deadline = time.monotonic() + ANSWER_S
        while not health.ok and time.monotonic() < deadline:
            health = await self._adapter.health()
        money = await self._adapter.balances(QueryBalances("check-money", VENUE, self.wallet))
        if money.outcome is not Outcome.DONE or not money.cash:
            raise PolyexecError(f"the account has no money ({money.text or 'exchange.grant_cash is 0'})")

    def _is_wanted(self, market: Market) -> bool:
        words = (market.slug, bus_id(market.slug), market.condition_id, *market.token_ids)
        return market.accepting and (not self._market or self._market in words)

    async def close(self) -> None:
        await self._face.close()
        for face, folder in self._away:
            await face.close()
            shutil.rmtree(folder, ignore_errors=True)

    async def reconnect(self) -> None:
        self._face.drop()

    async def unreachable(self) -> Adapter:
        """A bus of its own, in an empty folder: nobody is there."""
        folder = Path(tempfile.mkdtemp(prefix="px-"))
        paths = self._settings.paths.model_copy(update={"run_dir": folder})
        gateway = self._settings.gateway.model_copy(update={"request_timeout_ms": AWAY_MS})
        face = Face(self._settings.model_copy(update={"paths": paths, "gateway": gateway}))
        self._away.append((face, folder))
        return ExchangeAdapter(face, [self._row()])

    # --- the market ---

    async def quote(self, budget: int = 0, without: str = "") -> Quote:
        """Of the two-sided books the one whose best offer is the cheapest to take, among the first BOOKS_MAX."""
        report = await self._asked("market_data", GetMarkets(new_request_id(), ""), MarketsReport)
        tokens = [token for view in report.markets for token in self._two_sided(view, without)]
        quotes = [quote for token in tokens[:BOOKS_MAX] if (quote := await self._quote_of(token)) is not None]
        if not quotes:
            raise NoQuote("no market of the exchange has a book with both sides now")
        cheapest = min(quotes, key=lambda quote: mul_ceil(quote.ask, quote.ask_size))
        cost = mul_ceil(cheapest.ask, cheapest.ask_size)
        if budget and cost > budget:
            raise NoQuote(f"the smallest best offer costs {cost // ONE}, more than the budget of {budget // ONE}")
        return cheapest

    def _two_sided(self, view: MarketView, without: str) -> list[str]:
        """The mirrored market's tokens are the exchange's own; their books are the same."""
        if view.market.venue == VENUE or without == bus_id(view.market.condition_id):
            return []
        rows = zip(view.market.token_ids, view.best_bids, view.best_asks, strict=True)
        return [token for token, bid, ask in rows if token in self._markets and MIDDLE[0] < bid < ask < MIDDLE[1]]

    async def _quote_of(self, token: str) -> Quote | None:
        book = (await self._asked("market_data", GetBook(new_request_id(), token), BookReport)).book
        if book.token_id != token or book.state is not FeedState.LIVE or not book.bids or not book.asks:
            return None
        return Quote(self._instrument(token, book.tick), book.bids, book.asks)

    def _instrument(self, token: str, tick: int) -> Instrument:
        market = listed(msgspec.structs.replace(self._markets[token], tick=tick))
        return instrument_of(market, market.token_ids.index(bus_id(token)), TAKER_WORTH)

    def order(self, wanted: Wanted) -> Place:
        return plain_place(VENUE, self.wallet, wanted, randomness.token_bytes(10), time.time_ns() + DEADLINE_NS)

    def unknown_token(self) -> str:
        return bus_id(str(2**255 + randomness.randbelow(2**200)))

    async def _asked(self, owner: str, body: Message, kind: type[AnswerT]) -> AnswerT:
        try:
            answer = await self._face.request(owner, body, timeout_s=ANSWER_S)
        except TimeoutError:
            raise PolyexecError(NOT_RUNNING) from None
        if not isinstance(answer, kind):
            raise PolyexecError(f"{owner} answered {type(answer).__name__}")
        return answer
