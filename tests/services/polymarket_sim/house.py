"""A venue over an exchange core in the same process: every command is one step, its events reach the venue at once."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.effects import Now, Origin, Publish, Reply
from common.instruments import Market
from common.messages import Configured, Deposit, Message, OpenAccount, OpenMarket, QuoteLadder, TimerFired
from common.types import Side, TimeInForce
from common.venues.polymarket.orders import OrderV2, post_entry, sign_order
from common.venues.polymarket.signing import Signer
from services.exchange.core import ExchangeCore
from services.polymarket_sim.channels import MarketHub, UserHub
from services.polymarket_sim.keys import ApiKey, KeyName, derive_key
from services.polymarket_sim.registry import KeyRegistry
from services.polymarket_sim.streams import AccountSink, MarketSink
from services.polymarket_sim.venue import Terms, Venue

SECRET = bytes(range(32))
START_NS = 1_790_000_000 * 10**9
CONDITION = "0x" + "5f" * 32
UP = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
DOWN = "52114319501245915516055106046884209969926127482827954674443846427813813222426"
MARKET = Market("polymarket", CONDITION, "up-or-down", "Up or down?", ("Up", "Down"), (UP, DOWN), 10_000, 5_000_000)
CHAIN = 137


class House:
    """Time stands still unless a test moves it."""

    def __init__(self, folder: Path, *, accept_v1: bool = False, grant_cash: int = 1000) -> None:
        self.core = ExchangeCore()
        self.wall_ns, self.mono_ns = START_NS, 10**9
        self.silent = False
        self.refused_ask = asyncio.Event()
        self.asked = asyncio.Event()
        self.registry = KeyRegistry(folder / "keys")
        terms = Terms(CHAIN, accept_v1, grant_cash, 60, SECRET)
        self.venue = Venue(terms, self.registry, self.ask, lambda: self.wall_ns, lambda: self.mono_ns)
        self.counters: Counter[str] = Counter()
        self.market_hub = MarketHub(self.venue, self.counters)
        self.user_hub = UserHub(self.venue, self.counters)
        self.market_sink = MarketSink(self.venue, self.market_hub, lambda: None)
        self.account_sink = AccountSink(self.venue, self.user_hub, lambda: None)
        self.ids = 0
        self.send(Configured(json.dumps({"exchange": {"mined_delay_ms": 100, "confirmed_delay_ms": 200}})))
        self.market_sink.on_snapshot(self.core.snapshot("market", self.now))
        self.account_sink.on_snapshot([])

    @property
    def now(self) -> Now:
        return Now(self.wall_ns, self.mono_ns)

    def next_id(self) -> str:
        self.ids += 1
        return f"house-{self.ids}"

    def send(self, message: Message) -> Message | None:
        """One step of the exchange; its events are delivered."""
        effects = self.core.handle(message, Origin("test"), self.now)
        for effect in effects:
            if isinstance(effect, Publish):
                sink = self.market_sink if effect.topic == "market" else self.account_sink
                sink.on_event(effect.body)
        replies = [effect.body for effect in effects if isinstance(effect, Reply)]
        return replies[0] if replies else None

    async def ask(self, body: Message) -> Message:
        if self.silent:
            self.refused_ask.set()
            raise TimeoutError
        self.asked.set()
        if type(body) in self.core.queries:
            return self.core.query(body, self.now)[0]
        answer = self.send(body)
        assert answer is not None
        return answer

    async def until(self, found: Callable[[], bool]) -> None:
        """Wait until something the venue does after asking the exchange has happened."""
        while not found():
            self.asked.clear()
            await self.asked.wait()
            await asyncio.sleep(0)

    def pass_time(self, seconds: float) -> None:
        self.wall_ns += int(seconds * 1e9)
        self.mono_ns += int(seconds * 1e9)
        self.send(TimerFired())

    def list_market(self, market: Market = MARKET, *, quoted: bool = True) -> None:
        """A market, with 100 bid at 0.45 and 100 offered at 0.47 of its first token."""
        self.send(OpenMarket(self.next_id(), market))
        self.send(OpenAccount(self.next_id(), "mm", 10**13, liquidity=True))
        for token in market.token_ids:
            self.send(Deposit(self.next_id(), "mm", token, 10**12))
        if quoted:
            bids, asks = [(450_000, 100_000_000)], [(470_000, 100_000_000)]
            self.send(QuoteLadder(self.next_id(), "mm", market.condition_id, bids, asks))


class Person:
    """A wallet with an API key, able to sign orders."""

    def __init__(self, number: int = 1, nonce: int = 0) -> None:
        self.signer = Signer(number.to_bytes(32, "big"))
        self.key: ApiKey = derive_key(SECRET, KeyName(self.signer.address, nonce))
        self.salt = 0

    @property
    def account(self) -> str:
        return self.signer.address.lower()

    def order(self, side: Side, given: int, wanted: int, **changes: Any) -> OrderV2:
        self.salt += 1
        fields: dict[str, Any] = {
            "salt": self.salt, "maker": self.signer.address, "signer": self.signer.address, "token_id": int(UP),
            "maker_amount": given, "taker_amount": wanted, "side": 0 if side is Side.BUY else 1,
            "timestamp": START_NS // 10**6,
        } | changes  # fmt: skip
        return OrderV2(**fields)

    def entry(
        self,
        order: OrderV2,
        tif: TimeInForce = TimeInForce.GTC,
        *,
        version: int = 2,
        neg_risk: bool = False,
        **more: Any,
    ) -> dict[str, Any]:
        """The body a client would post; `more` replaces members."""
        signature = more.pop("signature", None) or sign_order(order, self.signer, CHAIN, neg_risk, version)
        owner = more.pop("owner", self.key.key)
        return post_entry(order, signature, owner, tif.value, more.pop("post_only", False), **more)

    def buy(self, cents: int, shares: int, tif: TimeInForce = TimeInForce.GTC, **more: Any) -> dict[str, Any]:
        return self.entry(self.order(Side.BUY, cents * shares * 10_000, shares * 1_000_000), tif, **more)

    def sell(self, cents: int, shares: int, tif: TimeInForce = TimeInForce.GTC, **more: Any) -> dict[str, Any]:
        return self.entry(self.order(Side.SELL, shares * 1_000_000, cents * shares * 10_000), tif, **more)
