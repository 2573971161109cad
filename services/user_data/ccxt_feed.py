"""The private feed of a wallet at a centralised exchange: its own trades and open orders, asked for again and again.

In: answers of the exchange every `poll_ms`. Out: fills and changes of orders on the lane, each once, and whether the
feed is LIVE. Trades are read by their numbers, so a poll that fails delays them and loses nothing; the feed is told
lost when polls have failed for longer than `patience_ns`, or when the keys are refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Final

from common.backoff import ExponentialBackoff
from common.edge import Edge
from common.errors import ConfigError
from common.messages import Message
from common.reasons import Reason
from common.secrets import read_secret
from common.settings import CcxtVenue, Wallet
from common.types import FeedState
from common.venues.ccxt.account import CcxtAccount, Failed
from common.venues.ccxt.answers import Verdict
from common.venues.ccxt.client import CcxtClient, Lane, Limits
from common.venues.ccxt.credentials import parse_api_credentials
from services.user_data.ccxt_watch import OrderWatch
from services.user_data.life import FeedLife
from services.user_data.outlet import Outlet
from services.user_data.source import OnChange, Source

CONNECTIONS: Final = 4
PATIENCE_NS: Final = 2_000_000_000
PATIENCE_POLLS: Final = 3
_MS: Final = 1_000_000


class CcxtFeed:
    """One wallet's polls."""

    def __init__(
        self,
        edge: Edge,
        row: CcxtVenue,
        account: CcxtAccount,
        on_change: OnChange,
        *,
        rng: Random,
        wall_ns: Callable[[], int] = time.time_ns,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.feed = FeedLife(row.name, account.wallet)
        self.patience_ns = max(PATIENCE_NS, PATIENCE_POLLS * row.poll_ms * _MS)
        self._edge = edge
        self._row = row
        self._account = account
        self._wall_ns = wall_ns
        self._mono_ns = mono_ns
        self._watch = OrderWatch(row.name, account.wallet)
        self._outlet = Outlet(edge, self.feed, on_change=on_change, wall_ns=wall_ns)
        self._backoff = ExponentialBackoff(rng, 0.2, 10.0)
        self._next_trade: dict[str, int] = {}
        self._good_mono = mono_ns()
        self._clock_wanted = True

    async def run(self) -> None:
        try:
            await self._account.client.open()
            self._put(self.feed.on_opened(self._wall_ns()))
            while True:
                pause_s = await self._turn()
                await asyncio.sleep(pause_s)
        finally:
            await self._account.client.close()

    def on_reader_restarted(self) -> None:
        self._outlet.on_reader_restarted()

    # --- one poll ---

    async def _turn(self) -> float:
        """Seconds until the next poll."""
        began = self._mono_ns()
        try:
            if not self._account.markets:
                await self._load()
            if self._clock_wanted:
                self._clock_wanted = (await self._account.client.clock())[0].failure is not None
            await self._poll()
        except Failed as failed:
            return self._failed(failed.verdict)
        self._good_mono = self._mono_ns()
        self._backoff.reset()
        self._put(self.feed.on_heard(self._wall_ns()))
        return max(0.0, self._row.poll_ms / 1000 - (self._mono_ns() - began) / 1e9)

    async def _load(self) -> None:
        client = self._account.client
        failure = await client.load(self._row.symbols)
        if failure is None and not client.listing.markets:
            failure = client.not_loaded()
        if failure is not None:
            raise self._account.failed(failure)

    async def _poll(self) -> None:
        """The first one finds how far own trades go: what was before is the executor's to catch up."""
        asked_ns = self._wall_ns()
        fresh = [symbol for symbol in self._account.markets if symbol not in self._next_trade]
        for symbol in fresh:
            self._next_trade[symbol] = await self._account.newest_trade(symbol) + 1
        for symbol in self._account.markets:
            await self._tell_trades(symbol)
        orders = [seen.order for seen in await self._account.open_orders()]
        told, gone = self._watch.listed(orders, asked_ns)
        self.feed.counters["order_events"] += len(told)
        self._put(told)
        for order_id in gone:
            await self._look_after(order_id)

    async def _tell_trades(self, symbol: str) -> None:
        """What is new there, page by page to its end; what was told is not asked for again."""
        while trades := await self._account.trades_from(symbol, self._next_trade[symbol]):
            fills = await self._account.fills([(symbol, trade) for trade in trades])
            next_trade = max(map(self._account.number_of, trades)) + 1
            self._put(fills)
            self.feed.counters["own_fills"] += len(fills)
            self._next_trade[symbol] = next_trade
            if len(trades) < self._account.client.dialect.page_max:
                return

    async def _look_after(self, order_id: str) -> None:
        asked_ns = self._wall_ns()
        seen = await self._account.find(order_id)
        self._put(self._watch.over(order_id, seen.order if seen else None, asked_ns))

    # --- failures ---

    def _failed(self, verdict: Verdict) -> float:
        """A poll gave nothing. Seconds until the next one."""
        self._edge.counters["polls_failed"] += 1
        reason = f"{verdict.code.value}: {verdict.text}"
        self._clock_wanted = self._clock_wanted or verdict.code is Reason.CLOCK_SKEW
        silent_ns = self._mono_ns() - self._good_mono
        if verdict.code is Reason.VENUE_AUTH or silent_ns > self.patience_ns:
            if self.feed.state is FeedState.LIVE:
                self._edge.log.warning("user_feed_lost", wallet=self.feed.wallet, text=reason)
            self._put(self.feed.on_lost(FeedState.CLOSED, reason, self._wall_ns()))
        elif self._outlet.owes_loss:
            self._outlet.put(())
        return max(self._backoff.next_delay_s(), verdict.retry_after_ms / 1000)

    def _put(self, messages: Sequence[Message]) -> None:
        if messages or self._outlet.owes_loss:
            self._outlet.put(messages)


def open_ccxt(edge: Edge, wallets: Sequence[Wallet], on_change: OnChange) -> Sequence[Source]:
    """A feed for each wallet, with API keys of its own file. Raises ConfigError naming what is missing."""
    rows = {row.name: row for row in edge.settings.ccxt}
    gateway = edge.settings.gateway
    limits = Limits(gateway.connect_timeout_ms, gateway.request_timeout_ms, dict.fromkeys(Lane, CONNECTIONS))
    sources: list[Source] = []
    for wallet in wallets:
        row = rows.get(wallet.venue)
        if row is None:
            raise ConfigError("wallets", f"wallet {wallet.name!r} is at {wallet.venue!r}, which [[ccxt]] does not have")
        file = edge.settings.paths.secrets_dir / f"{wallet.name}.user_data.creds"
        credentials = parse_api_credentials(read_secret(file, field="file of API credentials"), str(file))
        client = CcxtClient(row, limits, credentials=credentials, counters=edge.counters)
        sources.append(CcxtFeed(edge, row, CcxtAccount(client, wallet.name), on_change, rng=SystemRandom()))
    return sources
