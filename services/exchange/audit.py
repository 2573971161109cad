"""The exchange's invariants, checked from scratch: nothing is created, nothing lost, the books are in order.

In: an engine. Out: one sentence for each broken rule, none when all hold. Slow and obvious on purpose; for tests and
for an operator's doubt, never on the hot path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from common.types import ONE, Side
from services.exchange.accounts import CASH, Account, reserve_of
from services.exchange.engine import Engine
from services.exchange.ladder import Order
from services.exchange.whistle import Whistle


def broken_rules(engine: Engine) -> list[str]:
    return [*_conservation(engine), *_accounts(engine), *_books(engine), *_histories(engine)]


def _conservation(engine: Engine) -> Iterator[str]:
    """Cash and complete sets: what was deposited is held by accounts, locked as collateral, or in a named pot."""
    pots, accounts = engine.accounts.pots, list(engine.accounts.by_name.values())
    held = sum(account.cash for account in accounts) + sum(pots.collateral.values()) + pots.fees + pots.rounding
    if held != pots.deposited.get(CASH, 0):
        yield f"cash: {held} held, {pots.deposited.get(CASH, 0)} deposited"
    if pots.rounding < 0 or pots.fees < 0:
        yield f"a pot is below zero: rounding {pots.rounding}, fees {pots.fees}"
    for whistle in engine.router.by_condition.values():
        sets = pots.collateral.get(whistle.market.condition_id, 0)
        for token in whistle.market.token_ids:
            held = sum(account.balance(token) for account in accounts)
            if held != sets + pots.deposited.get(token, 0):
                yield f"token {token}: {held} held, {sets} sets, {pots.deposited.get(token, 0)} deposited"


def _accounts(engine: Engine) -> Iterator[str]:
    for account in engine.accounts.by_name.values():
        reserved: Counter[str] = Counter()
        for order in account.orders():
            token = engine.router.condition(order.condition_id).market.token_ids[order.outcome]
            reserved[CASH if order.side is Side.BUY else token] += reserve_of(order)
        if reserved != Counter(account.reserved):
            yield f"account {account.name}: reserved {account.reserved}, its orders need {dict(reserved)}"
        if any(account.room(asset) < 0 for asset in (CASH, *account.tokens, *account.reserved)):
            yield f"account {account.name}: more reserved than held"
        if account.open_count != sum(1 for _ in account.orders()):
            yield f"account {account.name}: {account.open_count} open orders counted"


def _books(engine: Engine) -> Iterator[str]:
    for whistle in engine.router.by_condition.values():
        ladder, name = whistle.ladder, whistle.market.slug
        bid, ask = ladder.best(Side.BUY), ladder.best(Side.SELL)
        if bid and ask and bid >= ask:
            yield f"{name}: crossed, {bid} bid and {ask} asked"
        yield from _queues(engine, whistle)


def _queues(engine: Engine, whistle: Whistle) -> Iterator[str]:
    name, totals = whistle.market.slug, Counter[tuple[Side, int]]()
    last: dict[tuple[Side, int], int] = {}
    for order in whistle.ladder.orders():
        key = (order.book_side, order.book_price)
        totals[key] += order.remaining
        if order.sequence <= last.get(key, 0):
            yield f"{name}: order {order.sequence} queues behind a later one"
        last[key] = order.sequence
        if not _is_resting(engine, engine.accounts.by_name[order.account], order):
            yield f"{name}: order {order.sequence} stands in the book but is not known as resting"
    shown = {(side, price): size for side in Side for price, size in whistle.ladder.totals(side)}
    if shown != dict(totals):
        yield f"{name}: level totals {shown}, orders add up to {dict(totals)}"


def _is_resting(engine: Engine, account: Account, order: Order) -> bool:
    known = account.open.get(order.condition_id, {}).get(order.venue_order_id)
    on_book = 0 < order.price < ONE and order.remaining > 0 and order.resting
    return on_book and known is order and engine.orders.get(order.venue_order_id) is order


def _histories(engine: Engine) -> Iterator[str]:
    resting = sum(account.open_count for account in engine.accounts.by_name.values())
    in_books = sum(1 for whistle in engine.router.by_condition.values() for _ in whistle.ladder.orders())
    if resting != in_books:
        yield f"{resting} orders rest in accounts, {in_books} in books"
    holders: Counter[str] = Counter(key for _, _, key in engine.trades.timetable.entries)
    for account in engine.accounts.by_name.values():
        holders.update(account.trades)
    if holders != Counter({trade_id: record.holders for trade_id, record in engine.trades.records.items()}):
        yield "trades kept differ from trades that are held"
