"""Paper mode's eyes and hands: what market_data and the exchange say goes to LiveMarkets, their commands go out.

In: instruments, books and trades of market_data, the exchange's market stream, answers, the clock. Out: commands, one
at a time per market; the process's state and counters; one log line per market and kind of refusal. It never decides.
"""

from __future__ import annotations

import asyncio

from common.edge import Edge
from common.instruments import Market
from common.latest import TokenView
from common.market_reader import OWNER, MarketReader
from common.messages import BookState, LevelsChanged, MarketOpened, Message, Refused, TradeMade, TradePrint
from common.reasons import Reason
from services.mirror.follow import REFUSED_PAUSE_S, ask
from services.mirror.live import LiveMarket, LiveRules

EXCHANGE = "exchange"
SOURCE_VENUE = "polymarket"
NS_PER_MS = 1_000_000
AT_ONCE = frozenset({Reason.FAK_NOT_FILLED, Reason.INSUFFICIENT_BALANCE})
"""Refusals that are part of the conversation: what follows them need not wait."""
CHECK_S = 0.1
"""How often every book is looked at: a silent market_data says nothing that could wake anybody."""


class _Followed:
    """One market and whoever waits for news of it; `view` is the version its core saw last."""

    def __init__(self, live: LiveMarket) -> None:
        self.live = live
        self.news = asyncio.Event()
        self.view: TokenView | None = None


class PaperMirror:
    """Every market that market_data lists, and every one the exchange still has from before."""

    def __init__(self, edge: Edge) -> None:
        keys = edge.settings.mirror
        self._edge = edge
        self._rules = LiveRules(keys.match_window_ms * NS_PER_MS, keys.withdraw_after_ms * NS_PER_MS)
        self._markets: dict[str, _Followed] = {}
        self._by_token: dict[str, _Followed] = {}
        self._has_shown = False
        self._reader = MarketReader(edge, self._on_change, self._on_listed)
        edge.subscribe(EXCHANGE, "market", self)
        edge.spawn(self._keep_watching(), "watch")

    # --- market_data ---

    def _on_listed(self, market: Market) -> None:
        if market.venue != SOURCE_VENUE:
            return  # a market of the exchange itself, or of a venue whose prices it cannot take
        followed = self._markets.get(market.condition_id)
        if followed is None:
            if not market.accepting:
                return
            followed = self._begin(market, is_open=False)
        followed.live.on_listed(market)
        if market.accepting:
            self._follow(followed, market)
        followed.news.set()

    def _follow(self, followed: _Followed, market: Market) -> None:
        """The first outcome's book stands for both; a print may come under either token."""
        if market.token_ids[0] in self._by_token:
            return
        self._by_token[market.token_ids[0]] = followed
        self._reader.follow(market.token_ids[:1], trades=False)
        for token_id in market.token_ids:
            self._edge.subscribe(OWNER, f"trades.{token_id}", _Prints(followed))

    def _on_change(self, token_id: str) -> None:
        followed = self._by_token.get(token_id)
        if followed is not None:
            self._look(followed)

    def _look(self, followed: _Followed) -> None:
        """Show the market its book, when there is a version it has not seen."""
        view = self._reader.book(followed.live.market.token_ids[0])
        if view is not followed.view:
            followed.view = view
            followed.live.on_view(view, self._reader.now().mono_ns)
            followed.news.set()

    # --- the exchange's stream ---

    def on_snapshot(self, bodies: list[Message]) -> None:
        """Every market and book. What is not listed any more is withdrawn when the bound is over."""
        for body in bodies:
            if isinstance(body, BookState):
                followed = self._markets.get(body.condition_id)
                if followed is not None:
                    followed.live.on_book(body)
            elif isinstance(body, MarketOpened) and body.market.condition_id not in self._markets:
                self._begin(body.market, is_open=True)

    def on_event(self, body: Message) -> None:
        match body:
            case LevelsChanged() if followed := self._markets.get(body.condition_id):
                followed.live.on_levels(body)
            case TradeMade() if followed := self._markets.get(body.trade.condition_id):
                followed.live.on_trade(body.trade)
                followed.news.set()
            case MarketOpened() if followed := self._markets.get(body.market.condition_id):
                followed.live.on_opened()
            case _:
                pass  # ticks are ours, account events are not on this topic

    def on_gap(self) -> None:
        self._edge.counters["exchange_gaps"] += 1
        for followed in self._markets.values():
            followed.live.on_gap()
            followed.news.set()

    # --- one conversation per market ---

    def _begin(self, market: Market, *, is_open: bool) -> _Followed:
        now_ns = self._reader.now().mono_ns
        life = str(self._edge.epoch.n)
        followed = _Followed(LiveMarket(market, self._rules, life, now_ns, is_open=is_open))
        self._markets[market.condition_id] = followed
        self._edge.spawn(self._converse(followed), market.slug)
        return followed

    async def _converse(self, followed: _Followed) -> None:
        """Say what is due until the market is over."""
        live = followed.live
        while not live.is_over:
            followed.news.clear()
            now_ns = self._reader.now().mono_ns
            before = live.counters.copy()
            command = live.next_command(now_ns)
            if command is None:
                await _news_or(followed.news, live.due_ns(now_ns), now_ns)
            else:
                await self._say(live, command)
            self._edge.counters.update(live.counters - before)
        self._end(live.market)

    async def _say(self, live: LiveMarket, command: Message) -> None:
        answer = await ask(self._edge, command)
        news = live.answered(command, answer)
        if live.is_showing and not self._has_shown:
            self._has_shown = True
            self._show_state()
        if news is not None:
            self._edge.log.warning("refused", market=live.market.slug, code=news.code.value, text=news.text)
        if isinstance(answer, Refused) and answer.code not in AT_ONCE:
            await asyncio.sleep(REFUSED_PAUSE_S)

    def _end(self, market: Market) -> None:
        del self._markets[market.condition_id]
        if self._by_token.pop(market.token_ids[0], None) is not None:
            self._reader.unfollow(market.token_ids[:1])
            for token_id in market.token_ids:
                self._edge.unsubscribe(OWNER, f"trades.{token_id}")

    # --- time ---

    async def _keep_watching(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            for followed in list(self._by_token.values()):
                self._look(followed)
            self._show_state()

    def _show_state(self) -> None:
        """READY once a live book was shown; the detail says how many are not."""
        now_ns = self._reader.now().mono_ns
        lives = [followed.live for followed in self._by_token.values()]
        withdrawn = sum(not live.is_trusted(now_ns) for live in lives)
        self._edge.counters["markets"] = len(lives)
        self._edge.counters["markets_withdrawn"] = withdrawn
        if self._has_shown:
            said = f"{withdrawn} of {len(lives)} books are withdrawn: they are not LIVE" if withdrawn else ""
            self._edge.set_state("READY", said)
        elif lives:
            self._edge.set_state("STARTING", "no LIVE book has come from market_data yet")
        else:
            self._edge.set_state("STARTING", "market_data has listed no market yet")


class _Prints:
    """The sink of one token's trades."""

    def __init__(self, followed: _Followed) -> None:
        self._followed = followed

    def on_snapshot(self, bodies: list[Message]) -> None:
        """Trades have no state: what was missed is missed."""

    def on_event(self, body: Message) -> None:
        if isinstance(body, TradePrint):
            self._followed.live.on_print(body)
            self._followed.news.set()

    def on_gap(self) -> None:
        """A missed print leaves its level by a cancel."""


async def _news_or(news: asyncio.Event, due_ns: int | None, now_ns: int) -> None:
    """Return when there is news, or when it is time."""
    left_s = None if due_ns is None else max(0.001, (due_ns - now_ns) / 1e9)
    try:
        async with asyncio.timeout(left_s):
            await news.wait()
    except TimeoutError:
        pass
