"""The executor heart's pure half: the single writer of order state (common/effects.py, Core).

In: commands from clients, results from the gateway, events from the user channel, listed markets, settings, time. Out:
answers, actions, order updates, log lines. This file is the map: message type -> the function that takes it. Facts
(results, events, markets) are never refused; what cannot be used is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, cast

from common.effects import Effect, Now, Origin, Reply, WindDown
from common.instruments import Market
from common.messages import (
    ActionRefused,
    BalancesResult,
    CancelAll,
    CancelOrder,
    CancelResult,
    Configured,
    Halt,
    HaltFound,
    Judged,
    Marked,
    MarketListed,
    Message,
    OpenOrdersResult,
    OrderLookup,
    OrderUpdated,
    PlaceOrder,
    PlaceResult,
    PositionsResult,
    Reconcile,
    Refused,
    ReplaceOrder,
    Resume,
    TimerFired,
    TradesResult,
    UserFeedChanged,
    VenueFill,
    VenueModeChanged,
    VenueOrderChanged,
    WalletReady,
)
from common.reasons import Reason
from common.types import FeedState
from services.executor import differences, placing, results, sweeping
from services.executor.catchup import Wallet
from services.executor.commands import Command, halt, take_command
from services.executor.config import read_config
from services.executor.desk import TOPIC, Desk
from services.executor.order import IN_DOUBT, Order, view_of
from services.executor.queries import QUERIES, answer_query
from services.executor.state import dump_state, load_state
from services.executor.trading import EVERYBODY, Mode
from services.executor.wallets import configure, next_due, run_due
from services.executor.winddown import CancelEverything

COMMANDS: frozenset[type[Message]] = frozenset(
    {PlaceOrder, ReplaceOrder, CancelOrder, CancelAll, Halt, Resume, Reconcile}
)


def _on_configured(desk: Desk, message: Configured) -> None:
    configure(desk, read_config(message.settings))
    sweeping.may_be_repeated(desk)  # the first input of every life


def _on_halt_found(desk: Desk, message: HaltFound) -> None:
    halt(desk, EVERYBODY, Mode.HALTED, message.reason)
    if message.cancel:
        desk.cancel(desk.oms.open_orders())


def _on_marks(desk: Desk, message: Marked) -> None:
    desk.valuation.take(message.marks)
    for row in desk.config.accounts:
        profit = desk.valuation.profit(row.name, desk.positions)
        desk.trading.new_day(row.name, desk.now.wall_ns, profit)


def _on_market(desk: Desk, message: MarketListed) -> None:
    market = message.market
    known = desk.markets.find(market.venue, market.condition_id)
    if not desk.markets.take(market):
        desk.count("markets_not_taken")
    elif known is not None and (known.fee_rate, known.fee_exponent) != (market.fee_rate, market.fee_exponent):
        _recount_fees(desk, market)


def _recount_fees(desk: Desk, market: Market) -> None:
    """Open buys hold back the highest fee they could pay: another fee, another sum."""
    for order in desk.oms.open_orders():
        if (order.venue, order.condition_id) == (market.venue, market.condition_id):
            desk.commitments.drop(order)
            desk.commitments.put(order, desk.markets)


def _on_timer(desk: Desk, _message: TimerFired) -> None:
    run_due(desk)


FACTS: dict[type[Message], Callable[[Desk, Any], object]] = {
    Configured: _on_configured,
    MarketListed: _on_market,
    TimerFired: _on_timer,
    HaltFound: _on_halt_found,
    Marked: _on_marks,
    VenueModeChanged: results.on_venue_mode,
    WalletReady: results.on_wallet_ready,
    ActionRefused: results.on_action_refused,
    PlaceResult: results.on_place_result,
    CancelResult: results.on_cancel_result,
    OrderLookup: results.on_lookup,
    OpenOrdersResult: results.on_open_orders,
    TradesResult: results.on_trades,
    PositionsResult: differences.on_positions,
    BalancesResult: differences.on_balances,
    VenueOrderChanged: results.on_order_event,
    VenueFill: results.on_fill,
    UserFeedChanged: results.on_feed,
}
"""Only the group itself says these: never taken from an ask."""


OWN: frozenset[type[Message]] = frozenset({Configured, TimerFired, Judged, Marked, HaltFound})
"""Only our own shell says these."""


OTHERS_WAIT_NS = 10_000_000_000
"""How long a venue that trades waits for the others before the executor is ready without them."""


def _waits_for(wallet: Wallet) -> str:
    """What a wallet needs before its places are taken; "" is nothing."""
    if wallet.ready is None:
        return f"the gateway to say that it holds the key of wallet {wallet.name}"
    if wallet.feed is not FeedState.LIVE:
        return f"the user channel of wallet {wallet.name}: {wallet.reason}"
    if not wallet.caught_up:
        return f"orders and trades of wallet {wallet.name} since its user channel had a gap"
    return ""


class ExecutorCore:
    queries: frozenset[type[Message]] = QUERIES
    own: frozenset[type[Message]] = OWN

    def __init__(self) -> None:
        self.desk = Desk()
        self._begun_mono = 0
        """When this life had its first input; no decision reads it."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        desk = self.desk
        desk.now, desk.out = now, []
        self._begun_mono = self._begun_mono or now.mono_ns
        kind = type(message)
        if kind is Judged:
            assert isinstance(message, Judged)
            take_command(desk, message.command, origin, message.view)
        elif kind in COMMANDS:
            take_command(desk, cast(Command, message), origin)
        elif kind in FACTS and (origin.lane or kind in OWN):
            FACTS[kind](desk, message)
        else:
            self._refuse(message, origin)
        sweeping.advance(desk)
        while desk.gone:
            placing.release(desk, desk.gone.pop())
            sweeping.advance(desk)
        if desk.oms.done_count > desk.config.execution.order_history_max:
            desk.oms.trim(desk.config.execution.order_history_max, self._forget)
        out, desk.out = desk.out, []
        return out

    def query(self, message: Message, now: Now) -> list[Message]:
        return answer_query(self.desk, message)

    def snapshot(self, topic: str, now: Now) -> list[Message]:
        """The open orders, oldest first; what is over is asked for by queries. Or the sweeps of late."""
        desk = self.desk
        if topic == sweeping.TOPIC:
            return list(sweeping.snapshot(desk))
        if topic != TOPIC:
            return []
        return [OrderUpdated(desk.account_seq, view_of(order)) for order in desk.oms.open_orders()]

    def due_ns(self) -> int | None:
        dues = (next_due(self.desk), self.desk.sweeps.next_due())
        return min((due for due in dues if due is not None), default=None)

    def outstanding(self) -> list[Effect]:
        return list(self.desk.actions.outstanding())

    def missing(self) -> str:
        desk = self.desk
        if not desk.config.wallets:
            return "settings"
        # A wallet that left the settings is kept with its state, but nobody holds its key any more.
        waits: dict[str, str] = {}
        for wallet in (desk.wallets[row.venue, row.name] for row in desk.config.wallets):
            waits[wallet.venue] = waits.get(wallet.venue) or _waits_for(wallet)
        waiting = [why for why in waits.values() if why]
        patient = desk.now.mono_ns - self._begun_mono < OTHERS_WAIT_NS
        if waiting and (patient or len(waiting) == len(waits)):
            return waiting[0]  # later one venue is enough: places of the others are refused by wallet
        return "" if len(desk.markets) else "market_data to list a market"

    def counters(self) -> dict[str, int]:
        desk = self.desk
        if not desk.config.execution.enable_metrics:
            return {}
        states = desk.oms.states()
        return {
            **dict(sorted(desk.counts.items())),
            "markets": len(desk.markets),
            "orders_kept": len(desk.oms),
            "orders_open": desk.oms.open_count,
            "orders_in_doubt": sum(states.get(state, 0) for state in IN_DOUBT),
            "actions_outstanding": len(desk.actions),
            "client_ids": len(desk.ids),
            "answers_kept": len(desk.answers),
            "fences": len(desk.fences),
            "sweeps_running": len(desk.sweeps.running),
            "wallet_cancels_waiting": len(desk.sweeps.holds),
            "positions": len(desk.positions),
            "external_fills": len(desk.external),
            "halted": int(desk.trading.halted is not None),
            "reconcile_mismatch_count": sum(row.differences for row in desk.reconciler.rows()),
            "account_seq": desk.account_seq,
        }

    def halted(self) -> str | None:
        return self.desk.trading.halted

    def wind_down(self, why: str, dropped: list[Effect]) -> WindDown:
        return CancelEverything(self.desk, why, dropped)

    def dump(self) -> bytes:
        return dump_state(self.desk)

    def load(self, state: bytes) -> None:
        self.desk = load_state(state)

    def state_hash(self) -> str:
        return blake2b(self.dump(), digest_size=32).hexdigest()

    def _refuse(self, message: Message, origin: Origin) -> None:
        self.desk.count("messages_not_taken")
        if origin.lane:
            return
        name = type(message).__name__
        request_id = str(getattr(message, "command_id", getattr(message, "request_id", "")))
        answer = Refused(request_id, Reason.UNKNOWN_MESSAGE, f"the executor takes no {name} from clients")
        self.desk.out.append(Reply(origin.sender, answer))

    def _forget(self, order: Order) -> None:
        """History beyond its bound: its ids stay known; a place that is still unanswered is not waited for."""
        desk = self.desk
        if order.place_action:
            if settle := desk.actions.withdraw(order.place_action):
                desk.out.append(settle)
            desk.actions.finish(order.place_action)
