"""Drives one executor core with a wallet on each kind of venue: Polymarket, our exchange, a spot exchange."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from common.effects import Effect, Origin
from common.instruments import SPOT, Market
from common.messages import (
    BookView,
    Configured,
    Level,
    MarketListed,
    Place,
    QueryOpenOrders,
    QueryTrades,
    UserFeedChanged,
    VenueFill,
    WalletReady,
)
from common.types import FeedState, Settlement, Side
from common.venues.exchange.names import listed
from services.executor.core import ExecutorCore
from tests.services.executor.driver import ADDRESS, EVENTS, FEED, MARKET, RESULTS, UNTIMED, Driver

BTC = "ccxt:BTC/USDT"
SPOT_MARKET = Market(
    venue="ccxt",
    condition_id=BTC,
    slug=BTC,
    question="BTC paid in USDT",
    outcomes=("BTC/USDT",),
    token_ids=(BTC,),
    tick=10_000,
    min_size=20,
    fee_rate=1_000,
    kind=SPOT,
    price_max=1_000_000_000_000,
    size_step=10,
    min_notional=5_000_000,
)
"""Prices in cents up to a million, sizes in steps of 0.00001, a taker fee of 0.1 %."""
OURS = listed(MARKET)
WALLETS = {"polymarket": "main", "exchange": "own", "ccxt": "coins"}
ACCOUNTS = {"polymarket": "default", "exchange": "mine", "ccxt": "spot"}
COIN = 1_000_000
DOLLAR = 1_000_000


def spot_view(bids: Sequence[Level] = (), asks: Sequence[Level] = (), *, token_id: str = BTC) -> BookView:
    """A book whose every level is seen, best first."""
    return BookView(token_id, list(bids), list(asks), True, True, 10_000, FeedState.LIVE, "", 1, 1, 10)


class Venues(Driver):
    """Every wallet is ready, live and caught up; `polymarket` overrides that section of the settings."""

    def __init__(
        self,
        *,
        policies: Sequence[dict[str, object]] = (),
        polymarket: dict[str, object] | None = None,
        markets: Sequence[Market] = (MARKET, OURS, SPOT_MARKET),
        **execution: int | str,
    ) -> None:
        super().__init__(ExecutorCore())
        rows = {
            "polymarket": {"chain_id": 137, "protocol_version": 2, **(polymarket or {})},
            "wallets": [{"name": name, "venue": venue} for venue, name in WALLETS.items()],
            "accounts": [{"name": name, "wallet": WALLETS[venue]} for venue, name in ACCOUNTS.items()],
            "execution": {**UNTIMED, **execution},
            "risk": {"policies": list(policies)},
        }
        self.do(Configured(json.dumps(rows)), Origin("executor"))
        for market in markets:
            self.do(MarketListed(market), FEED)
        for venue, name in WALLETS.items():
            signer = ADDRESS if venue == "polymarket" else name
            self.do(WalletReady(venue, name, signer, signer, 0, 137, "key"), RESULTS)
            self.feed_of(venue, FeedState.LIVE)
            self.catch_up()
        self.wait(5_000)
        opened, traded = self.of(QueryOpenOrders), self.of(QueryTrades)
        for asked in opened:
            self.open_orders(asked)
        for wanted in traded:
            self.trades(wanted)

    # --- what a venue says ---

    def feed_of(self, venue: str, state: FeedState) -> list[Effect]:
        return self.do(UserFeedChanged(venue, WALLETS[venue], state, "", self.now.wall_ns), EVENTS)

    def spot_fill(
        self,
        place: Place,
        size: int,
        price: int,
        *,
        side: Side = Side.BUY,
        trade_id: str = "t-1",
        is_taker: bool = True,
        cash: int | None = None,
        venue: str = "ccxt",
        token_id: str = BTC,
        settlement: Settlement = Settlement.CONFIRMED,
    ) -> list[Effect]:
        """A trade of a spot exchange: final at once. Who pays pays the ceiling, who receives gets the floor."""
        exact = price * size
        if cash is None:
            cash = -(-exact // DOLLAR) if side is Side.BUY else exact // DOLLAR
        fill = VenueFill(
            venue,
            WALLETS[venue],
            trade_id,
            place.venue_order_id,
            token_id,
            side,
            size,
            price,
            cash,
            is_taker,
            settlement,
            "",
            self.now.wall_ns,
        )
        return self.do(fill, EVENTS)

    # --- orders ---

    def spot(self, client_order_id: str = "", **words: object) -> Place:
        """A place of 0.001 BTC at 64,000 that must be taken."""
        terms: dict[str, object] = {"price": 64_000 * DOLLAR, "size": 1_000, **words}
        return self.placed(client_order_id, account="spot", venue="", market=BTC, outcome="", **terms)

    def ours(self, client_order_id: str = "", **words: object) -> Place:
        return self.placed(client_order_id, account="mine", venue="exchange", market=OURS.slug, **words)


def with_terms(market: Market, **changes: object) -> Market:
    return msgspec.structs.replace(market, **changes)
