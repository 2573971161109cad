"""What one wallet has at a centralised exchange, read through its client: orders, trades, balances.

In: questions. Out: rows in our words, complete or not at all: a page that is missing or cannot be read raises Failed.
The venue wants a symbol with every order id and tells trades by its own order keys: both are remembered, and asked for
where they are not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from common.errors import Refusal
from common.instruments import Market
from common.messages import VenueFill
from common.reasons import Reason
from common.venues.ccxt.answers import Failure, NoAnswer, Verdict
from common.venues.ccxt.client import Answer, CcxtClient, Lane
from common.venues.ccxt.markets import Fields
from common.venues.ccxt.names import OrderNames
from common.venues.ccxt.orders import OwnTrade, Seen, fill_of, own_trade, seen_order, trade_ms, trade_number
from common.venues.plain import id_tail

AT_ONCE: Final = 4
"""Questions of one list under way at the same time."""
WINDOWS_MAX: Final = 31
PAGES_MAX: Final = 100


class Failed(Exception):
    """A question that gave nothing, and the verdict on it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict


class CcxtAccount:
    def __init__(self, client: CcxtClient, wallet: str, names: OrderNames | None = None) -> None:
        self.client = client
        self.wallet = wallet
        self.names = names or OrderNames()
        self._gate = asyncio.Semaphore(AT_ONCE)

    def __repr__(self) -> str:
        return f"CcxtAccount({self.client.venue}, {self.wallet})"

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol; empty until the instruments were loaded."""
        return self.client.listing.markets

    # --- orders ---

    async def find(self, venue_order_id: str, lane: Lane = Lane.QUERY) -> Seen | None:
        """The order of this id of ours; None is the venue's word that it has none, in no symbol it could be in."""
        for symbol in self.symbols_of(venue_order_id):
            answer = await self.client.ask(lane, "fetch_order", None, symbol, {"clientOrderId": venue_order_id})
            found = self._order_in(answer, symbol)
            if found is not None and found.order.venue_order_id != venue_order_id:
                raise self.failed(NoAnswer("the venue answered for another order"))
            if found is not None:
                return found
        return None

    def symbols_of(self, venue_order_id: str) -> Sequence[str]:
        """Where to look for an order: the symbol that is remembered, else each there is, what its id says first."""
        known = self.names.symbol_of(venue_order_id)
        if known:
            return [known]
        tails = {symbol: id_tail(market.token_ids[0]) for symbol, market in self.markets.items()}
        return sorted(self._symbols(), key=lambda symbol: not venue_order_id.endswith(tails[symbol]))

    async def open_orders(self) -> list[Seen]:
        lists = await asyncio.gather(*(self._open_in(symbol) for symbol in self._symbols()))
        return [seen for orders in lists for seen in orders]

    async def _open_in(self, symbol: str) -> list[Seen]:
        async with self._gate:
            answer = await self.client.ask(Lane.QUERY, "fetch_open_orders", symbol)
        return [self._seen(fields, symbol) for fields in self._rows(answer)]

    def learn(self, fields: Fields, symbol: str) -> Seen:
        """An order the venue has shown. Raises Refusal when it cannot be read."""
        seen = seen_order(fields, self.client.venue, symbol)
        self.names.learn(seen.order.venue_order_id, symbol, seen.venue_key)
        return seen

    # --- trades ---

    async def fills_since(self, after_ms: int, now_ms: int) -> list[VenueFill]:
        """Every own trade at or after that time."""
        lists = await asyncio.gather(*(self._trades_since(symbol, after_ms, now_ms) for symbol in self._symbols()))
        return await self.fills(
            [(symbol, trade) for symbol, trades in zip(self.markets, lists, strict=True) for trade in trades]
        )

    async def trades_from(self, symbol: str, number: int) -> list[OwnTrade]:
        """Own trades with this number or a higher one, at most a page, in their order."""
        async with self._gate:
            answer = await self.client.ask(
                Lane.QUERY, "fetch_my_trades", symbol, None, self.client.dialect.page_max, {"fromId": number}
            )
        return self._trades_in(answer)

    async def newest_trade(self, symbol: str) -> int:
        """The number of the newest own trade; 0 when there is none."""
        async with self._gate:
            answer = await self.client.ask(Lane.QUERY, "fetch_my_trades", symbol, None, 1)
        return max((self.number_of(trade) for trade in self._trades_in(answer)), default=0)

    async def fills(self, trades: Sequence[tuple[str, OwnTrade]]) -> list[VenueFill]:
        """Trades with our ids of their orders, which are asked for where they are not known."""
        unknown = {(symbol, trade.order_key) for symbol, trade in trades}
        unknown = {key for key in unknown if not self.names.id_of(*key)}
        await asyncio.gather(*(self._learn_key(*key) for key in sorted(unknown)))
        return [self._fill(symbol, trade) for symbol, trade in trades]

    async def _trades_since(self, symbol: str, after_ms: int, now_ms: int) -> list[OwnTrade]:
        """Window by window, as the venue spans; a full page goes on by number until the newest.

        From very long ago all there are is read by number: empty windows would cost more.
        """
        window, found, start = self.client.dialect.window_ms, list[OwnTrade](), max(after_ms, 0)
        if now_ms - start > WINDOWS_MAX * window:
            everything = await self._rest(symbol, 1)
            return [trade for trade in everything if self._at_ms(trade) >= after_ms]
        while start <= now_ms:
            until = {"until": start + window} if now_ms - start > window else {}
            page_max = self.client.dialect.page_max
            async with self._gate:
                answer = await self.client.ask(Lane.QUERY, "fetch_my_trades", symbol, start, page_max, until)
            page = self._trades_in(answer)
            found += page
            if len(page) >= page_max:
                return _once(found + await self._rest(symbol, max(map(self.number_of, page)) + 1))
            start += window
        return _once(found)

    async def _rest(self, symbol: str, number: int) -> list[OwnTrade]:
        found: list[OwnTrade] = []
        for _ in range(PAGES_MAX):
            page = await self.trades_from(symbol, number)
            found += page
            if len(page) < self.client.dialect.page_max:
                return found
            number = max(map(self.number_of, page)) + 1
        raise self.failed(NoAnswer(f"there are more than {PAGES_MAX} pages of trades"))

    async def _learn_key(self, symbol: str, order_key: str) -> None:
        async with self._gate:
            answer = await self.client.ask(Lane.QUERY, "fetch_order", order_key, symbol)
        seen = self._order_in(answer, symbol)
        if seen is None or seen.venue_key != order_key:
            raise self.failed(NoAnswer(f"the venue does not show order {order_key} of a trade"))

    def _fill(self, symbol: str, trade: OwnTrade) -> VenueFill:
        order_id = self.names.id_of(symbol, trade.order_key)
        try:
            return fill_of(trade, self.client.venue, self.wallet, self.markets[symbol], order_id)
        except Refusal as refusal:
            raise self._unreadable(refusal) from None

    # --- balances ---

    async def balances(self) -> Fields:
        answer = await self.client.ask(Lane.QUERY, "fetch_balance")
        if answer.failure is not None:
            raise self.failed(answer.failure)
        if not isinstance(answer.value, dict) or not isinstance(answer.raw, dict) or "balances" not in answer.raw:
            raise self.failed(NoAnswer("the answer holds no balances"))
        return answer.value

    # --- reading ---

    def failed(self, failure: Failure) -> Failed:
        return Failed(self.client.judge(failure))

    def _symbols(self) -> list[str]:
        if not self.markets:
            raise self.failed(self._not_loaded())
        return list(self.markets)

    def _not_loaded(self) -> Failure:
        return self.client.not_loaded()

    def _rows(self, answer: Answer) -> list[Fields]:
        """A list is a list also in the venue's own words: ccxt makes an empty one of much else."""
        if answer.failure is not None:
            raise self.failed(answer.failure)
        if not isinstance(answer.raw, list) or not isinstance(answer.value, list):
            raise self.failed(NoAnswer("the answer is not a list"))
        if len(answer.raw) != len(answer.value) or not all(isinstance(row, dict) for row in answer.value):
            raise self.failed(NoAnswer("the list holds something else"))
        return answer.value

    def _trades_in(self, answer: Answer) -> list[OwnTrade]:
        try:
            return [own_trade(fields) for fields in self._rows(answer)]
        except Refusal as refusal:
            raise self._unreadable(refusal) from None

    def _order_in(self, answer: Answer, symbol: str) -> Seen | None:
        """None only where the venue says that there is no such order."""
        if answer.failure is not None:
            failed = self.failed(answer.failure)
            if failed.verdict.code is Reason.ORDER_NOT_FOUND:
                return None
            raise failed
        return self._seen(answer.value, symbol)

    def _seen(self, fields: object, symbol: str) -> Seen:
        try:
            if not isinstance(fields, dict):
                raise Refusal(Reason.BAD_REQUEST, "the answer is not an order")
            return self.learn(fields, symbol)
        except Refusal as refusal:
            raise self._unreadable(refusal) from None

    def number_of(self, trade: OwnTrade) -> int:
        """Trades of a symbol are read on from their number."""
        try:
            return trade_number(trade)
        except Refusal as refusal:
            raise self._unreadable(refusal) from None

    def _at_ms(self, trade: OwnTrade) -> int:
        try:
            return trade_ms(trade)
        except Refusal as refusal:
            raise self._unreadable(refusal) from None

    def _unreadable(self, refusal: Refusal) -> Failed:
        return self.failed(NoAnswer(f"unreadable answer: {refusal.message}"))


def _once(trades: Sequence[OwnTrade]) -> list[OwnTrade]:
    return list({(trade.trade_key, trade.order_key): trade for trade in trades}.values())
