"""Everything that changes the exchange's state after admission: match, settle, rest, cancel, expire, finish.

In: orders and plans that were admitted, and the step that collects what happened. Out: the moved state. It refuses
nothing: whatever cannot be done here is a bug and asserts.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec

from common.messages import ExchangeTrade, MakerFill, OrderCanceled, OrderMatched, OrderPlaced
from common.types import Settlement, Side, TimeInForce
from services.exchange.accounts import CASH, Account, Accounts, reserve_of
from services.exchange.admission import fee_of
from services.exchange.execution import Counters, Step
from services.exchange.ladder import CANCELED, EXPIRED, KILLED, MATCHED, Order
from services.exchange.quoting import Addition, QuotePlan
from services.exchange.router import Router
from services.exchange.settlement import MS, Trades
from services.exchange.timetable import Timetable
from services.exchange.undo import take_back, undo_of
from services.exchange.whistle import Match, Whistle

TRADE_IDS_PER_ORDER = 256
"""An order names its newest trades; all of them are in its account's trade history."""

UNCOVERED = "not enough balance after a trade failed"
FAK_REST = "the rest of the FAK order found no match and was killed"


class ExchangeSettings(msgspec.Struct, frozen=True, gc=False):
    """The `[exchange]` section of the settings (common/settings.py) as journaled."""

    mined_delay_ms: int = 400
    confirmed_delay_ms: int = 1200
    orders_max: int = 2_000_000
    trades_per_account_max: int = 10_000
    open_orders_per_account_max: int = 10_000


class Executed(NamedTuple):
    """What a taker got at once: cash without fees, shares, and the trades in order."""

    cash: int
    shares: int
    trade_ids: list[str]


class Engine:
    """The exchange's state and the moves on it."""

    def __init__(self) -> None:
        self.settings = ExchangeSettings()
        self.counters = Counters()
        self.router = Router()
        self.accounts = Accounts()
        self.orders: dict[str, Order] = {}
        self.expiries = Timetable()
        self.trades = Trades([], [], 0)

    # --- a taker ---

    def execute(self, order: Order, matches: list[Match], whistle: Whistle, step: Step) -> Executed:
        """Match an admitted order, rest or kill what is left, and note every event of it."""
        account = self.accounts.by_name[order.account]
        makers = [maker for match in matches for maker, _ in match.legs]
        traded = [self._trade(order, match, whistle, step) for match in matches]
        executed = Executed(sum(cash for cash, _ in traded), order.filled, [trade_id for _, trade_id in traded])
        if not order.remaining:
            self._finish(order, MATCHED, "", step)
        elif order.tif.rests:
            self._rest(order, whistle, step)
        if order.filled and not account.liquidity:
            step.note_order(OrderMatched, order, whistle.market)
        for maker in makers:
            self._after_fill(maker, whistle, step)
        if order.remaining and not order.tif.rests:
            self.kill(order, FAK_REST, whistle, step)
        return executed

    def _trade(self, order: Order, match: Match, whistle: Whistle, step: Step) -> tuple[int, str]:
        """One taker against one price level: every leg moves balances now; returns the taker's cash and the id."""
        market = whistle.market
        trade_id = self.counters.next_trade_id()
        paid, minted = 0, 0
        makers: list[MakerFill] = []
        for maker, quantity in match.legs:
            token = market.token_ids[maker.outcome]
            paid += self.accounts.settle_maker(maker, quantity, token)
            if maker.side is order.side:
                minted += quantity if order.side is Side.BUY else -quantity
            whistle.ladder.fill(maker, quantity)
            makers.append(_maker_fill(maker, quantity, token, market.outcomes[maker.outcome]))
        fee = fee_of(match, order, market)
        price, token = match.taker_price(order.outcome), market.token_ids[order.outcome]
        cash = self.accounts.settle_taker(order, match.size, price, fee, token)
        self.accounts.close_trade(market.condition_id, paid + cash, minted)
        order.filled += match.size
        whistle.print_trade(match.price, order.book_side)
        step.touch(whistle)
        trade = ExchangeTrade(
            trade_id,
            market.condition_id,
            order.venue_order_id,
            order.account,
            order.owner,
            token,
            market.outcomes[order.outcome],
            order.side,
            match.size,
            price,
            fee,
            market.fee_rate,
            Settlement.MATCHED,
            "",
            step.at_ns,
            step.at_ns,
            tuple(makers),
        )
        self._record(trade, [order, *(maker for maker, _ in match.legs)], step)
        return abs(cash), trade_id

    def _record(self, trade: ExchangeTrade, orders: list[Order], step: Step) -> None:
        """Keep the trade for every party that has a history; between liquidity accounts it is only a print."""
        parties: dict[str, Account] = {}
        for order in orders:
            account = self.accounts.by_name[order.account]
            order.updated_ns = step.at_ns
            if not account.liquidity:
                parties[account.name] = account
                order.trade_ids.append(trade.trade_id)
                del order.trade_ids[:-TRADE_IDS_PER_ORDER]
        step.note_trade(trade, is_account_event=bool(parties))
        if parties:
            keys = self.settings
            stages = (step.mono_ns + keys.mined_delay_ms * MS, step.mono_ns + keys.confirmed_delay_ms * MS)
            self.trades.add(trade, list(parties.values()), keys.trades_per_account_max, stages)

    def _rest(self, order: Order, whistle: Whistle, step: Step) -> None:
        self.accounts.hold(order, whistle.market.token_ids[order.outcome])
        whistle.ladder.add(order)
        self.orders[order.venue_order_id] = order
        if order.tif is TimeInForce.GTD:
            self.expiries.add(order.expire_ns, order.sequence, order.venue_order_id)
        step.touch(whistle)
        if not self.accounts.by_name[order.account].liquidity:
            step.note_order(OrderPlaced, order, whistle.market)

    def _after_fill(self, maker: Order, whistle: Whistle, step: Step) -> None:
        if not maker.remaining:
            self._unhold(maker, whistle)
            self._finish(maker, MATCHED, "", step)
        if not self.accounts.by_name[maker.account].liquidity:
            step.note_order(OrderMatched, maker, whistle.market)

    # --- an end ---

    def cancel(self, order: Order, reason: str, step: Step, status: str = CANCELED) -> None:
        """Take a resting order out of its book."""
        whistle = self.router.condition(order.condition_id)
        whistle.ladder.remove(order)
        step.touch(whistle)
        self._unhold(order, whistle)
        self._end(order, status, reason, whistle, step)

    def kill(self, order: Order, reason: str, whistle: Whistle, step: Step) -> None:
        """End a FAK or FOK order that could not (fully) match."""
        self._end(order, KILLED, reason, whistle, step)

    def expire(self, step: Step) -> None:
        """Retire GTD orders whose time has come."""
        for _, _, order_id in self.expiries.take_due(step.at_ns):
            self.cancel(self.orders[order_id], "expired", step, EXPIRED)

    def settle(self, step: Step) -> None:
        """Move trades to the stages that are due."""
        step.settled += self.trades.advance(step.mono_ns, step.at_ns, partial(self._take_back, step))

    def _take_back(self, step: Step, trade: ExchangeTrade) -> bool:
        """Undo what a failed trade moved. False when somebody has spent it; resting orders give way."""
        undo = undo_of(trade)
        accounts = self.accounts.by_name
        if any(accounts[name].balance(asset) + change < 0 for (name, asset), change in undo.changes.items()):
            return False
        for (name, asset), change in undo.changes.items():
            self._make_room(accounts[name], asset, -change, step)
        take_back(undo, trade.condition_id, self.accounts)
        return True

    def _make_room(self, account: Account, asset: str, need: int, step: Step) -> None:
        """Cancel the newest orders that hold back an asset until `need` of it is free."""
        if account.room(asset) >= need:
            return
        for order in sorted(account.orders(), key=lambda order: -order.sequence):
            if (CASH if order.side is Side.BUY else self._token_of(order)) == asset:
                self.cancel(order, UNCOVERED, step)
                if account.room(asset) >= need:
                    return

    def _token_of(self, order: Order) -> str:
        return self.router.condition(order.condition_id).market.token_ids[order.outcome]

    def _unhold(self, order: Order, whistle: Whistle) -> None:
        self.accounts.release(order, whistle.market.token_ids[order.outcome])
        if order.tif is TimeInForce.GTD:
            self.expiries.discard(order.expire_ns, order.sequence)

    def _end(self, order: Order, status: str, reason: str, whistle: Whistle, step: Step) -> None:
        self._finish(order, status, reason, step)
        if not self.accounts.by_name[order.account].liquidity:
            step.note_order(OrderCanceled, order, whistle.market)

    def _finish(self, order: Order, status: str, reason: str, step: Step) -> None:
        """The order is final: it moves to its account's bounded history, or is forgotten for liquidity accounts."""
        order.status, order.reason, order.updated_ns = status, reason, step.at_ns
        account = self.accounts.by_name[order.account]
        if account.liquidity:
            self.orders.pop(order.venue_order_id, None)
            return
        self.orders[order.venue_order_id] = order
        account.done[order.venue_order_id] = order
        if len(account.done) > self.settings.trades_per_account_max:
            oldest, _ = account.done.popitem(last=False)
            del self.orders[oldest]

    def forget(self, order_id: str) -> None:
        """An order that is over gives its id to a new one; its trades stay."""
        over = self.orders.pop(order_id, None)
        if over is not None:
            del self.accounts.by_name[over.account].done[order_id]

    # --- quotes ---

    def apply_quotes(self, plan: QuotePlan, account: Account, whistle: Whistle, step: Step) -> None:
        """Carry out a checked mass quote: removals, then additions."""
        token = whistle.market.token_ids
        for order in plan.cancels:
            self.cancel(order, "", step)
        for order, surplus in plan.cuts:
            self._resize(order, -surplus, whistle, token[order.outcome], step)
        for addition in plan.additions:
            if not addition.matches:
                last = whistle.ladder.last_in_queue(addition.side, addition.price)
                # growing the account's own last order and queueing a new one behind it are the same to everybody else
                if last is not None and last.quote and last.account == account.name:
                    self._resize(last, addition.size, whistle, token[0], step)
                    continue
            order = self._quote(addition, account, whistle, step)
            self.execute(order, addition.matches, whistle, step)

    def _resize(self, order: Order, change: int, whistle: Whistle, token: str, step: Step) -> None:
        before = reserve_of(order)
        whistle.ladder.resize(order, change)
        self.accounts.change_reserve(order, token, reserve_of(order) - before)
        order.updated_ns = step.at_ns
        step.touch(whistle)

    def _quote(self, addition: Addition, account: Account, whistle: Whistle, step: Step) -> Order:
        sequence = self.counters.next_sequence()
        return Order(
            sequence,
            self.counters.quote_id(sequence),
            account.name,
            "",
            whistle.market.condition_id,
            0,
            addition.side,
            addition.price,
            addition.size,
            TimeInForce.GTC,
            False,
            0,
            "0",
            step.at_ns,
            step.at_ns,
            quote=True,
        )


def _maker_fill(maker: Order, quantity: int, token: str, outcome: str) -> MakerFill:
    return MakerFill(
        maker.venue_order_id, maker.account, maker.owner, token, outcome, maker.side, quantity, maker.price
    )
