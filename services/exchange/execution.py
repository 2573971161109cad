"""What one step of the exchange tells the world: ids, order views, and events in one canonical order.

In: what the engine did, noted as it happens. Out: effects: trades, tick changes, levels, order events, settlements,
StepCompleted. Ids are derived from journaled counters and a seed (the first input's time), so a replay gives the same
and another journal gives others.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TypeAlias

import msgspec

from common.effects import Effect, Publish
from common.instruments import Market
from common.messages import (
    ExchangeOrder,
    ExchangeTrade,
    MarketOpened,
    OrderCanceled,
    OrderMatched,
    OrderPlaced,
    StepCompleted,
    TickChanged,
    TradeMade,
    TradeSettled,
)
from services.exchange.ladder import Order
from services.exchange.whistle import Whistle

MARKET = "market"
ACCOUNT = "account"

OrderEvent: TypeAlias = type[OrderPlaced] | type[OrderMatched] | type[OrderCanceled]


class Counters(msgspec.Struct, array_like=True, gc=False):
    """Journaled numbers: `sequence` counts arriving orders, `account_seq` account events; the clocks are the last
    step's. Numbers only grow.
    """

    seed: int = 0
    wall_ns: int = 0
    mono_ns: int = 0
    step: int = 0
    account_seq: int = 0
    sequence: int = 0
    trades: int = 0

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def next_account_seq(self) -> int:
        self.account_seq += 1
        return self.account_seq

    def next_trade_id(self) -> str:
        self.trades += 1
        text = _derived("trade", self.seed, self.trades)
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"

    def quote_id(self, sequence: int) -> str:
        """The id of an order a ladder made."""
        return "0x" + _derived("quote", self.seed, sequence)


def tx_hash_of(trade_id: str) -> str:
    return "0x" + _derived("tx", 0, trade_id)


def _derived(kind: str, seed: int, number: int | str) -> str:
    return blake2b(f"{kind}:{seed}:{number}".encode(), digest_size=32).hexdigest()


def order_view(order: Order, market: Market) -> ExchangeOrder:
    """An order as the world sees it, now."""
    return ExchangeOrder(
        order.venue_order_id,
        order.account,
        order.owner,
        order.condition_id,
        market.token_ids[order.outcome],
        market.outcomes[order.outcome],
        order.side,
        order.price,
        order.size,
        order.filled,
        order.tif,
        order.post_only,
        order.expiration,
        order.status,
        order.reason,
        order.created_ns,
        order.updated_ns,
        tuple(order.trade_ids),
    )


class Step:
    """Collects what one handled input did."""

    def __init__(self, at_ns: int, mono_ns: int) -> None:
        self.at_ns = at_ns
        self.mono_ns = mono_ns
        self.opened: list[Market] = []
        self.ticks: list[TickChanged] = []
        self.touched: dict[str, Whistle] = {}
        self.settled: list[ExchangeTrade] = []
        self.log: list[Effect] = []
        self._trades: list[tuple[ExchangeTrade, bool]] = []
        self._orders: list[tuple[OrderEvent, ExchangeOrder]] = []

    def touch(self, whistle: Whistle) -> None:
        self.touched[whistle.market.condition_id] = whistle

    def note_trade(self, trade: ExchangeTrade, *, is_account_event: bool) -> None:
        self._trades.append((trade, is_account_event))

    def note_order(self, event: OrderEvent, order: Order, market: Market) -> None:
        self._orders.append((event, order_view(order, market)))

    def effects(self, counters: Counters) -> list[Effect]:
        """Everything noted, in the canonical order; account events are numbered here."""
        effects: list[Effect] = list(self.log)
        effects += [Publish(MARKET, MarketOpened(market)) for market in self.opened]
        for trade, is_account_event in self._trades:
            made = TradeMade(counters.next_account_seq() if is_account_event else 0, trade)
            effects.append(Publish(MARKET, made))
            if is_account_event:
                effects.append(Publish(ACCOUNT, made))
        effects += [Publish(MARKET, tick) for tick in self.ticks]
        for whistle in self.touched.values():
            changes = whistle.take_changes(self.at_ns)
            if changes is not None:
                effects.append(Publish(MARKET, changes))
        quiet = not any(isinstance(effect, Publish) and effect.topic == MARKET for effect in effects)
        for event, order in self._orders:
            effects.append(Publish(ACCOUNT, event(counters.next_account_seq(), order)))
        for trade in self.settled:
            effects.append(Publish(ACCOUNT, TradeSettled(counters.next_account_seq(), trade)))
        if not quiet:
            counters.step += 1
            effects.append(Publish(MARKET, StepCompleted(counters.step, self.at_ns)))
        return effects
