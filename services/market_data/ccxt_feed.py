"""A centralised exchange's instruments and books: asked for over REST every `poll_ms`, told as every venue's are.

In: answers of the exchange. Out: effects of a PlainBoard, which decides what readers are told. A book is LIVE as long
as whole ones keep coming; one that could not be had for `patience_ns`, or that cannot be read, is not. Books show the
best levels up to the depth that is asked for; instruments are read again once an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from random import Random, SystemRandom
from typing import Final

from common.backoff import ExponentialBackoff
from common.edge import Edge
from common.effects import Now, Publish
from common.errors import ConfigError, Refusal
from common.latest import EPOCH_SHIFT
from common.settings import CcxtVenue
from common.types import FeedState
from common.venues.ccxt.books import sides_of
from common.venues.ccxt.client import CcxtClient, Lane, Limits
from common.venues.plain import local_id
from services.market_data.effects import Effect
from services.market_data.plain import Levels, PlainBoard
from services.market_data.rules import Rules
from services.market_data.source import Show, Source

CONNECTIONS: Final = 8
LEVELS_MIN: Final = 100
PATIENCE_NS: Final = 2_000_000_000
PATIENCE_POLLS: Final = 3
RELOAD_NS: Final = 3_600_000_000_000
CHECK_S: Final = 0.25
_MS: Final = 1_000_000
WAITING: Final = "the instruments are not known yet"
GONE: Final = "the exchange does not list it any more"


class CcxtMarkets:
    """One row of `[[ccxt]]`."""

    def __init__(self, edge: Edge, row: CcxtVenue, client: CcxtClient, *, rng: Random) -> None:
        settings = edge.settings.market_data
        self.board = PlainBoard(Rules.of(settings), edge.epoch.n << EPOCH_SHIFT)
        self.patience_ns = max(PATIENCE_NS, PATIENCE_POLLS * row.poll_ms * _MS)
        self._edge = edge
        self._row = row
        self._client = client
        self._rng = rng
        self._depth = max(LEVELS_MIN, settings.depth_levels + 1)
        self._heard_mono: dict[str, int] = {}
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._show: Show | None = None
        self._trouble = WAITING

    @property
    def venue(self) -> str:
        return self._row.name

    def start(self, show: Show) -> None:
        self._show = show
        self._show_state()
        self._edge.spawn(self._keep_listing(), f"{self.venue}-instruments")
        self._edge.spawn(self._keep_time(), f"{self.venue}-time")

    def flush(self) -> None:
        self._perform(self.board.flush(_now()))

    async def close(self) -> None:
        await self._client.close()

    # --- instruments ---

    async def _keep_listing(self) -> None:
        await self._client.open()
        backoff = ExponentialBackoff(self._rng, 0.2, 10.0)
        while True:
            failure = await self._client.load(self._row.symbols)
            if failure is None:
                backoff.reset()
                self._listed()
                await asyncio.sleep(RELOAD_NS / 1e9)
            else:
                verdict = self._client.judge(failure)
                self._trouble = f"the instruments cannot be loaded: {verdict.text}"
                self._show_state()
                await asyncio.sleep(max(backoff.next_delay_s(), verdict.retry_after_ms / 1000))

    def _listed(self) -> None:
        now, listing = _now(), self._client.listing
        for symbol, refusal in listing.refusals.items():
            self._edge.log.warning(
                "instrument_refused", venue=self.venue, symbol=symbol, code=refusal.code.value, text=refusal.message
            )
        named = {market.condition_id for market in listing.markets.values()}
        gone = [market.condition_id for market in self.board.markets if market.condition_id not in named]
        self._perform(self.board.unwatched(gone, now, GONE))
        for condition_id in gone:
            poll = self._polls.pop(local_id(condition_id), None)
            if poll is not None:
                poll.cancel()
        for symbol, market in listing.markets.items():
            self._perform(self.board.listed(market, now))
            if symbol not in self._polls:
                self.board.feeds.begin(market.token_ids, now)
                self._polls[symbol] = self._edge.spawn(
                    self._poll(symbol, market.token_ids[0]), f"{self.venue}-{symbol}"
                )
        self._trouble = "" if listing.markets else "; ".join(r.message for r in listing.refusals.values())
        self._show_state()

    # --- books ---

    async def _poll(self, symbol: str, token_id: str) -> None:
        backoff = ExponentialBackoff(self._rng, 0.2, 10.0)
        while True:
            began = time.monotonic()
            trouble, pause_s = await self._ask(symbol, token_id)
            if trouble:
                self._edge.counters["books_failed"] += 1
                pause_s = max(pause_s, backoff.next_delay_s())
            else:
                backoff.reset()
                pause_s = self._row.poll_ms / 1000 - (time.monotonic() - began)
            await asyncio.sleep(max(0.0, pause_s))

    async def _ask(self, symbol: str, token_id: str) -> tuple[str, float]:
        """One book. What is wrong ("": nothing), and how long the venue wants us to wait."""
        answer = await self._client.ask(Lane.QUERY, "fetch_order_book", symbol, self._depth)
        if answer.failure is not None:
            verdict = self._client.judge(answer.failure)
            return f"{verdict.code.value}: {verdict.text}", verdict.retry_after_ms / 1000
        now = _now()
        try:
            bids, asks = sides_of(answer.raw)
        except Refusal as refusal:
            self.board.feeds.lost(f"unreadable book: {refusal.message}", now, [token_id])
            self._perform(self.board.flush(now))
            return refusal.message, 0.0
        self._heard_mono[token_id] = now.mono_ns
        self.board.feeds.whole(Levels(token_id, bids, asks, now.wall_ns), now)
        self._perform(self.board.flush(now))
        return "", 0.0

    # --- time ---

    async def _keep_time(self) -> None:
        pause_s = min(CHECK_S, 1 / self._edge.settings.market_data.depth_updates_per_s)
        while True:
            await asyncio.sleep(pause_s)
            self.check_silence()
            self._perform(self.board.on_time(_now()))
            self._count()

    def check_silence(self) -> None:
        """Books that were not had for too long are not believed."""
        now = _now()
        for token in list(self.board.feeds):
            silent_ns = now.mono_ns - self._heard_mono.get(token.token_id, now.mono_ns)
            if token.state is FeedState.LIVE and silent_ns > self.patience_ns:
                self.board.feeds.lost(f"no book for {silent_ns // _MS} ms", now, [token.token_id])
        self._perform(self.board.feeds.take())

    def _show_state(self) -> None:
        """Serving from the first listing on; later the detail says what is missing."""
        if self._show is not None:
            self._show(bool(self._polls), self._trouble)

    def _count(self) -> None:
        counters = self._edge.counters
        counters[f"{self.venue}_books_live"] = self.board.live_books
        counters.update(self.board.counters)
        self.board.counters.clear()

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Publish), "a board of whole books asks nothing of its shell"
            self._edge.publish(effect.topic, effect.body)


def open_ccxt(edge: Edge, venue: str) -> Source:
    """The instruments of one row of `[[ccxt]]`. Raises ConfigError naming what is missing."""
    row = next((row for row in edge.settings.ccxt if row.name == venue), None)
    if row is None:
        raise ConfigError("wallets", f"a wallet is at {venue!r}, which [[ccxt]] does not have")
    gateway = edge.settings.gateway
    limits = Limits(gateway.connect_timeout_ms, gateway.request_timeout_ms, dict.fromkeys(Lane, CONNECTIONS))
    return CcxtMarkets(edge, row, CcxtClient(row, limits, counters=edge.counters), rng=SystemRandom())


def _now() -> Now:
    return Now(time.time_ns(), time.monotonic_ns())
