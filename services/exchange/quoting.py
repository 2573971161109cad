"""A mass quote as a plan: which of the account's orders go, which shrink, what is added. Changes nothing.

In: a QuoteLadder, the engine and the account. Out: the whole plan, checked for the grid, for crossing itself and for
funds including fees, or a Refusal; so the caller applies all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from common.errors import Refusal
from common.fixed import format_micros, mul_ceil
from common.instruments import Market
from common.messages import Level, QuoteLadder
from common.reasons import Reason
from common.types import ONE, Side
from common.venues.polymarket.fees import taker_fee
from services.exchange.accounts import CASH, Account, reserve_of
from services.exchange.admission import SIZE_MAX
from services.exchange.ladder import Order
from services.exchange.whistle import Match, Whistle

LEVELS_MAX = 1000
"""Most levels per side of one ladder."""


class Addition(NamedTuple):
    """Size to add at a level: first what it takes from others, the rest goes to the back of the queue."""

    side: Side
    price: int
    size: int
    matches: list[Match]


class QuotePlan(NamedTuple):
    cancels: list[Order]
    cuts: list[tuple[Order, int]]
    additions: list[Addition]


def plan_quotes(message: QuoteLadder, whistle: Whistle, account: Account, orders_max: int) -> QuotePlan:
    """Raises Refusal when any level is off the grid, the ladder crosses itself or cannot be funded."""
    tick = whistle.market.tick
    bids, asks = _checked(message.bids, tick, "bids"), _checked(message.asks, tick, "asks")
    if bids and asks and max(bids) >= min(asks):
        raise Refusal(Reason.BAD_PRICE, "the best bid is not below the best ask", "bids")
    plan = QuotePlan([], [], [])
    own = _by_level(account.open.get(message.condition_id, {}).values())
    taken: dict[int, int] = {}
    for side, wanted in ((Side.BUY, bids), (Side.SELL, asks)):
        additions = _changes(own.get(side, {}), wanted, plan)
        for price in sorted(additions, reverse=side is Side.BUY):
            size = additions[price]
            matches = whistle.plan(side, price, size, without=account.name, taken=taken)
            plan.additions.append(Addition(side, price, size, matches))
    if account.open_count - len(plan.cancels) + len(plan.additions) > orders_max:
        raise Refusal(Reason.TOO_MANY_ORDERS, f"more than {orders_max} open orders", "account")
    _check_funds(plan, account, whistle.market)
    return plan


def _checked(levels: list[Level], tick: int, field: str) -> dict[int, int]:
    if len(levels) > LEVELS_MAX:
        raise Refusal(Reason.BAD_REQUEST, f"more than {LEVELS_MAX} levels", field)
    for price, size in levels:
        if price % tick or not tick <= price <= ONE - tick:
            shown = f"Price ({format_micros(price)}) breaks minimum tick size rule: {format_micros(tick)}"
            raise Refusal(Reason.BAD_TICK, shown, field)
        if not 0 < size <= SIZE_MAX:
            raise Refusal(Reason.BAD_SIZE, f"size {format_micros(size)} at {format_micros(price)}", field)
    wanted = dict(levels)
    if len(wanted) != len(levels):
        raise Refusal(Reason.BAD_PRICE, "a price stands twice in the ladder", field)
    return wanted


def _by_level(orders: Iterable[Order]) -> dict[Side, dict[int, list[Order]]]:
    """The account's resting orders by side and price, oldest first."""
    own: dict[Side, dict[int, list[Order]]] = {Side.BUY: {}, Side.SELL: {}}
    for order in orders:
        own[order.book_side].setdefault(order.book_price, []).append(order)
    return own


def _changes(own: dict[int, list[Order]], wanted: dict[int, int], plan: QuotePlan) -> dict[int, int]:
    """Put removals of one side into the plan; returns the size to add by price."""
    for price, orders in own.items():
        if price not in wanted:
            plan.cancels.extend(orders)
    additions: dict[int, int] = {}
    for price, size in wanted.items():
        surplus = sum(order.remaining for order in own.get(price, ())) - size
        if surplus < 0:
            additions[price] = -surplus
        elif surplus > 0:
            _cut(own[price], surplus, plan)
    return additions


def _cut(orders: list[Order], surplus: int, plan: QuotePlan) -> None:
    """Newest first: whole orders go while they fit into the surplus, the next one shrinks."""
    for order in reversed(orders):
        if order.remaining > surplus:
            if surplus:
                plan.cuts.append((order, surplus))
            return
        plan.cancels.append(order)
        surplus -= order.remaining


def _check_funds(plan: QuotePlan, account: Account, market: Market) -> None:
    cash, tokens = account.room(CASH), list(map(account.room, market.token_ids))
    for order in plan.cancels:
        if order.side is Side.BUY:
            cash += reserve_of(order)
        else:
            tokens[order.outcome] += reserve_of(order)
    for order, surplus in plan.cuts:
        if order.side is Side.BUY:
            length = order.size - order.base
            cash += mul_ceil(order.price, length) - mul_ceil(order.price, length - surplus)
        else:
            tokens[order.outcome] += surplus
    for addition in plan.additions:
        if addition.side is Side.BUY:
            cash -= _spending(addition, market)
        else:
            tokens[0] -= addition.size
    if cash < 0:
        raise Refusal(Reason.INSUFFICIENT_BALANCE, f"the ladder is short of {-cash} base units of cash", "bids")
    if tokens[0] < 0:
        text = f"the ladder is short of {-tokens[0]} base units of {market.token_ids[0]}"
        raise Refusal(Reason.INSUFFICIENT_BALANCE, text, "asks")


def _spending(addition: Addition, market: Market) -> int:
    """What an added bid pays and holds back at most, fees included."""
    left, spent = addition.size, 0
    for match in addition.matches:
        left -= match.size
        spent += mul_ceil(match.price, match.size)
        spent += taker_fee(match.size, match.price, market.fee_rate, market.fee_exponent)
    return spent + mul_ceil(addition.price, left)
