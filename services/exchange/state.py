"""The exchange's whole state as canonical bytes, and back. Pure.

In: an engine with its idempotency memory. Out: msgpack of plain structs; equal states give equal bytes, and a state
loaded from bytes behaves as the one that was dumped. What can be derived (books, reservations, indexes) is not stored
but built again; queue order is arrival order, so sorting resting orders by arrival rebuilds every queue.
"""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

from common.instruments import Market
from common.types import TimeInForce
from services.exchange.accounts import Account, Pots
from services.exchange.engine import Engine, ExchangeSettings
from services.exchange.execution import Counters
from services.exchange.idempotency import Answer, Answers, UsedIds
from services.exchange.ladder import Order
from services.exchange.settlement import Plan, Record, Trades
from services.exchange.timetable import Entry
from services.exchange.whistle import Whistle

VERSION = 1


class MarketState(msgspec.Struct, array_like=True, gc=False):
    market: Market
    last_price: int
    last_side: str


class AccountState(msgspec.Struct, array_like=True, gc=False):
    name: str
    liquidity: bool
    cash: int
    tokens: dict[str, int]
    done: list[Order]
    trades: list[str]


class ExchangeState(msgspec.Struct, array_like=True, gc=False):
    """Field order is the format; new fields go at the end with a default."""

    version: int
    settings: ExchangeSettings
    counters: Counters
    markets: list[MarketState]
    accounts: list[AccountState]
    pots: Pots
    resting: list[Order]
    trades: list[Record]
    stages: list[Entry]
    scheduled: int
    answers: list[tuple[str, int, Answer]]
    quote_answers: list[tuple[str, str, Answer]]
    used_ids: bytes
    plan: Plan = msgspec.field(default_factory=Plan)


class Memory:
    """What makes repeats harmless; `quotes` holds the last ladder's (command id, answer) of each market."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.used_ids = UsedIds()
        self.quotes: dict[str, tuple[str, Answer]] = {}


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(ExchangeState)


def dump_state(engine: Engine, memory: Memory) -> bytes:
    resting = [order for order in engine.orders.values() if order.resting]
    resting.sort(key=lambda order: order.sequence)
    state = ExchangeState(
        VERSION,
        engine.settings,
        engine.counters,
        [MarketState(w.market, w.last_price, w.last_side) for w in engine.router.by_condition.values()],
        [_account_state(account) for account in engine.accounts.by_name.values()],
        engine.accounts.pots,
        resting,
        list(engine.trades.records.values()),
        engine.trades.timetable.entries,
        engine.trades.scheduled,
        memory.answers.rows(),
        [(key, command_id, answer) for key, (command_id, answer) in memory.quotes.items()],
        memory.used_ids.packed(),
        engine.trades.plan,
    )
    return _encoder.encode(state)


def _account_state(account: Account) -> AccountState:
    done, trades = list(account.done.values()), list(account.trades)
    return AccountState(account.name, account.liquidity, account.cash, account.tokens, done, trades)


def load_state(data: bytes) -> tuple[Engine, Memory]:
    """Raises msgspec.DecodeError for bytes that are no such state."""
    state = _decoder.decode(data)
    if state.version != VERSION:
        raise msgspec.DecodeError(f"exchange state of version {state.version}, not {VERSION}")
    engine, memory = Engine(), Memory()
    engine.settings, engine.counters = state.settings, state.counters
    for row in state.markets:
        engine.router.add(Whistle(row.market, row.last_price, row.last_side))
    engine.accounts.pots = state.pots
    for account in state.accounts:
        _restore_account(engine, account)
    for order in state.resting:
        _restore_order(engine, order)
    engine.trades = Trades(state.trades, state.stages, state.scheduled, state.plan)
    memory.answers = Answers(state.answers)
    memory.used_ids = UsedIds(state.used_ids)
    memory.quotes = {key: (command_id, answer) for key, command_id, answer in state.quote_answers}
    return engine, memory


def _restore_account(engine: Engine, row: AccountState) -> None:
    account = engine.accounts.by_name[row.name] = Account(row.name, row.liquidity, row.cash)
    account.tokens = row.tokens
    account.done = OrderedDict((order.venue_order_id, order) for order in row.done)
    account.trades = deque(row.trades)
    engine.orders.update(account.done)


def _restore_order(engine: Engine, order: Order) -> None:
    whistle = engine.router.condition(order.condition_id)
    whistle.ladder.add(order)
    whistle.ladder.take_changes()
    engine.orders[order.venue_order_id] = order
    engine.accounts.adopt(order, whistle.market.token_ids[order.outcome])
    if order.tif is TimeInForce.GTD:
        engine.expiries.add(order.expire_ns, order.sequence, order.venue_order_id)
