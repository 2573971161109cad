"""A live venue of levels and prints, the exchange's real core, and one LiveMarket between them.

Everything the exchange publishes reaches the mirror; what the live venue does reaches it when a test says so.
"""

from __future__ import annotations

import json

from common.effects import Now, Origin, Publish, Reply
from common.instruments import Market
from common.latest import TokenView
from common.messages import (
    BookState,
    Configured,
    ExchangeOrdersReport,
    GetExchangeOrder,
    GetExchangeOrders,
    LevelsChanged,
    MarketOpened,
    Message,
    OpenAccount,
    OrderAnswer,
    QuoteLadder,
    SubmitOrder,
    TradeMade,
    TradePrint,
)
from common.types import ONE, FeedState, Side, TimeInForce
from services.exchange.core import ExchangeCore
from services.exchange.ladder import Order
from services.mirror.live import LIQUIDITY, LiveMarket, LiveRules, account_commands
from services.mirror.shown import Sizes

MS = 1_000_000
WINDOW_NS = 250 * MS
WITHDRAW_NS = 1_000 * MS
RULES = LiveRules(WINDOW_NS, WITHDRAW_NS)
CENT = 10_000
MARKET = Market(
    venue="polymarket",
    condition_id="0x" + "5f" * 32,
    slug="will-it",
    question="Will it?",
    outcomes=("Yes", "No"),
    token_ids=("7" * 77, "8" * 77),
    tick=CENT,
    min_size=5 * ONE,
    fee_rate=70_000,
)
BUY, SELL = Side.BUY, Side.SELL


class Paper:
    """`live` are the real venue's levels; `said` is what the mirror asked of the exchange.

    `taken` is what local takers took of ours, `crossed` what our ladders took of local orders they met.
    """

    def __init__(self) -> None:
        self.core = ExchangeCore()
        self.now_ns = 10**15
        self.live: dict[Side, dict[int, int]] = {BUY: {}, SELL: {}}
        self.seq = 0
        self.epoch = 1
        self.tick = CENT
        self.orders = 0
        self.said: list[Message] = []
        self.taken: dict[tuple[Side, int], int] = {}
        self.crossed = {BUY: 0, SELL: 0}
        self.mirror = LiveMarket(MARKET, RULES, "1", self.now_ns)
        self.hears = True
        self.send(Configured(json.dumps({"exchange": {}})))
        for command in account_commands():
            self.send(command)
        for name in ("ann", "bob"):
            self.send(OpenAccount(f"{name}:open", name, 10**15))
        self.mirror.on_listed(MARKET)

    # --- the exchange ---

    def send(self, message: Message) -> Message | None:
        effects = self.core.handle(message, Origin("test"), Now(self.now_ns, self.now_ns))
        for effect in effects:
            if isinstance(effect, Publish) and effect.topic == "market":
                self._heard(effect.body)
        return next((effect.body for effect in effects if isinstance(effect, Reply)), None)

    def _heard(self, body: Message) -> None:
        if isinstance(body, TradeMade) and body.trade.taker_account == LIQUIDITY:
            self.crossed[body.trade.side] += body.trade.size
        if isinstance(body, TradeMade):
            for maker in body.trade.makers:
                if maker.account == LIQUIDITY and body.trade.taker_account in ("ann", "bob"):
                    key = (maker.side, maker.price)
                    self.taken[key] = self.taken.get(key, 0) + maker.size
        if not self.hears:
            return
        if isinstance(body, TradeMade):
            self.mirror.on_trade(body.trade)
        elif isinstance(body, LevelsChanged):
            self.mirror.on_levels(body)
        elif isinstance(body, MarketOpened):
            self.mirror.on_opened()

    def settle(self) -> list[Message]:
        """Let the mirror say everything that is due now."""
        said: list[Message] = []
        while (command := self.mirror.next_command(self.now_ns)) is not None:
            answer = self.send(command)
            assert answer is not None
            self.mirror.answered(command, answer)
            said.append(command)
            assert len(said) < 50, f"the mirror does not come to rest: {said[-1]} -> {answer}"
        self.said += said
        return said

    def wait(self, for_ns: int = WINDOW_NS) -> None:
        """Time passes, and everything that became due is done."""
        self.now_ns += for_ns
        self.settle()

    def book(self) -> BookState:
        return next(body for body in self.core.snapshot("market", Now(0, 0)) if isinstance(body, BookState))

    def mirrored(self) -> Sizes:
        """The sizes that are the mirror's own in the exchange."""
        [report] = self.core.query(GetExchangeOrders("q", LIQUIDITY), Now(0, 0))
        assert isinstance(report, ExchangeOrdersReport)
        sizes: Sizes = {BUY: {}, SELL: {}}
        for order in report.orders:
            levels = sizes[order.side]
            levels[order.price] = levels.get(order.price, 0) + order.size - order.filled_size
        return sizes

    def queue(self, side: Side, price: int) -> list[tuple[str, int]]:
        """(whose, how much) from the front of one level's queue."""
        whistle = self.core.engine.router.condition(MARKET.condition_id)
        orders: list[Order] = [order for order in whistle.ladder.orders() if order.book_side is side]
        return [(order.account, order.remaining) for order in orders if order.book_price == price]

    def place(
        self, account: str, side: Side, price: int, size: int, *, outcome: int = 0, tif: TimeInForce = TimeInForce.GTC
    ) -> str:
        """A local order; its id."""
        self.orders += 1
        key = f"{account}-{self.orders}"
        token = MARKET.token_ids[outcome]
        answer = self.send(SubmitOrder(key, account, key, token, side, price, size, tif))
        assert isinstance(answer, OrderAnswer), answer
        return key

    def filled(self, order_id: str) -> int:
        [report] = self.core.query(GetExchangeOrder("q", order_id), Now(0, 0))
        assert isinstance(report, ExchangeOrdersReport)
        return report.orders[0].filled_size

    # --- the live venue ---

    def view(self, state: FeedState = FeedState.LIVE) -> TokenView:
        bids, asks = tuple(sorted(self.live[BUY].items(), reverse=True)), tuple(sorted(self.live[SELL].items()))
        return TokenView(
            MARKET.token_ids[0], bids, asks, self.tick, state, "", self.epoch, self.seq, self.now_ns, self.now_ns
        )

    def show(self, state: FeedState = FeedState.LIVE) -> None:
        """market_data publishes the book as it is now."""
        self.seq += 1
        self.mirror.on_view(self.view(state), self.now_ns)

    def level(self, side: Side, price: int, size: int) -> None:
        """The live level has this size from now on (nobody is told yet)."""
        if size:
            self.live[side][price] = size
        else:
            self.live[side].pop(price, None)

    def begin(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        """The first live book, shown by the exchange."""
        self.live = {BUY: dict(bids), SELL: dict(asks)}
        self.show()
        self.settle()

    def print_(self, taker: Side, price: int, size: int, outcome: int = 0, *, at: int | None = None) -> None:
        """market_data publishes a trade: in the terms of the token it is printed under."""
        stamp = self.now_ns if at is None else at
        self.mirror.on_print(TradePrint(MARKET.token_ids[outcome], taker, price, size, stamp, self.now_ns))

    def ladders(self) -> list[QuoteLadder]:
        return [command for command in self.said if isinstance(command, QuoteLadder)]

    def hits(self) -> list[SubmitOrder]:
        return [command for command in self.said if isinstance(command, SubmitOrder)]
