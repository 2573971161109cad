"""The executor's state and the moves on one order that commands, results, events and timers share. Pure.

In: an order and what became known about it. Out: the order's next state, and the effects that follow from it: one
OrderUpdated, canonical log lines, places, cancels and look-ups for the gateway, bookings. Every move goes through
`tell`, so that nothing changes an order silently.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from common.effects import Effect, Log, Now, Publish
from common.fixed import format_micros
from common.messages import Cancel, CancelWallet, Fill, OrderUpdated, OrderView, Place, QueryOrder
from common.reasons import Reason
from common.types import Lifecycle, Settlement, TimeInForce
from services.executor.actions import Actions
from services.executor.cash import Purses
from services.executor.catchup import MS, Wallet, backoff_ns
from services.executor.commitments import Commitments
from services.executor.config import Config, WalletConfig
from services.executor.external import External
from services.executor.fences import Fences
from services.executor.idempotency import Answers, ClientIds
from services.executor.markets import Markets
from services.executor.oms import Oms
from services.executor.order import (
    IN_DOUBT,
    TERMINAL,
    Event,
    Order,
    State,
    average_price,
    lifecycle_of,
    quantity_event,
    step,
    view_of,
)
from services.executor.positions import Positions
from services.executor.reconcile import Reconciler
from services.executor.risk import Policies
from services.executor.sweep import Hold, Sweeps, Wide
from services.executor.trading import Trading, stops
from services.executor.valuation import Valuation

TOPIC = "orders"
CANCEL_IDS_MAX = 500
"""Orders in one Cancel action."""
EXPIRY_GRACE_NS = 2_000_000_000
"""A GTD order that nobody reported expired is looked up this long after its time."""
ABSENCES_MIN = 3
"""An order the venue once had is gone after this many look-ups in a row without it: one may hit a lagging replica."""
GONE_TEXT = "the venue does not know the order any more"
_PROOF = frozenset({Event.LIVE, Event.FILL, Event.ALL_FILLED, Event.LAPSED})


class Desk:
    """State (everything a checkpoint holds), the clocks of this input, and the effects it led to so far."""

    def __init__(self) -> None:
        self.config = Config()
        self.oms = Oms()
        self.markets = Markets()
        self.ids = ClientIds(self.config.execution.idempotency_max)
        self.answers = Answers()
        self.fences = Fences()
        self.actions = Actions()
        self.positions = Positions()
        self.external = External()
        self.wallets: dict[tuple[str, str], Wallet] = {}
        self.trading = Trading()
        self.purses = Purses()
        self.valuation = Valuation()
        self.reconciler = Reconciler()
        self.venue_modes: dict[str, tuple[str, str]] = {}
        self.sweeps = Sweeps()
        self.policies = Policies(())
        self.wallet_of_account: dict[str, WalletConfig] = {}
        self.commitments = Commitments()
        self.counts: dict[str, int] = {}
        self.account_seq = 0
        self.last_order = 0
        self.now = Now(0, 0)
        self.out: list[Effect] = []
        self.gone: list[Order] = []
        """Orders with a successor that are over since this input: the core lets the successors go."""
        self.turned_up: list[Order] = []
        """Orders that a sweep covers and that turned out to be open since this input: they are cancelled with it."""

    # --- small things ---

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by

    def log(self, event: str, level: str = "info", **fields: str | int | bool) -> None:
        self.out.append(Log(event, fields, level))

    def wallet_of(self, order: Order) -> Wallet:
        return self.wallets[order.venue, order.wallet]

    def publish(self, order: Order) -> OrderView:
        self.account_seq += 1
        view = view_of(order)
        self.out.append(Publish(TOPIC, OrderUpdated(self.account_seq, view)))
        return view

    # --- news about an order ---

    def tell(
        self, order: Order, *events: Event, code: str = "", text: str = "", changed: bool = False
    ) -> OrderView | None:
        """Something became known: move the table, do what follows, publish (and return) the order when it changed."""
        before = order.state
        for event in events:
            changed = self._apply(order, event, code, text) or changed
        if order.state is State.WORKING and order.cancel_asked:
            # A refused or forgotten order turned up after all: the client's cancel still stands.
            self._apply(order, Event.CANCEL, "", "")
        if before is not order.state:
            self._moved(order, before)
        self._plan_check(order)
        if order.fills:
            self._note_confirmed(order)
        self.oms.changed(order)
        self.commitments.put(order, self.markets)
        if order.successor and order.state in TERMINAL and not order.fills_missing:
            self.gone.append(order)
        return self.publish(order) if changed else None

    def _apply(self, order: Order, event: Event, code: str, text: str) -> bool:
        after = step(order.state, event)
        if after is None:
            self.count("illegal_transitions")
            return False
        if event in (Event.REFUSED, Event.GIVE_UP) and not order.refused_code:
            order.refused_code, order.refused_text = code, text
        if event in (Event.GONE, Event.LAPSED) or (event is Event.CANCEL and after is State.CANCELLED):
            order.gone_code = order.gone_code or code
            order.gone_text = max(order.gone_text, text, key=lambda said: (len(said), said))
        if not order.placed_ns and (event in _PROOF or (event is Event.GONE and not code)):
            order.placed_ns = self.now.wall_ns
            self.trading.of(order.account).rejects = 0
            self._log_placed(order)
        changed = after is not order.state
        order.state = after
        return changed

    def _log_placed(self, order: Order) -> None:
        self.log(
            "order_placed",
            order_id=order.order_id,
            market_id=order.condition_id,
            side=order.side.value,
            price=format_micros(order.price),
            size=format_micros(order.size),
        )

    def _moved(self, order: Order, before: State) -> None:
        if (late := self.sweeps.moved(order)) is not None:
            self.turned_up.append(late)
        order.checks = order.absences = 0
        self.oms.check_at(order, 0)
        state = order.state
        if state is State.SUBMITTING:
            return
        if state is State.CANCELLING and before is not State.WORKING and not order.cancel_action:
            # The place won the race against our cancel, or an order given up turned up: cancel it now.
            self.send_cancels([order])
        if state in TERMINAL:
            order.pinned = b""
            if order.place_action and (settle := self.actions.withdraw(order.place_action)):
                self.out.append(settle)
        if state is State.REJECTED and order.refused_code == Reason.NOT_ACCEPTED:
            self.log("order_failed", "error", order_id=order.order_id, error=order.refused_text)
        elif state is State.REJECTED:
            reason = f"{order.refused_code}: {order.refused_text}"
            self.log("order_rejected", "warning", order_id=order.order_id, reason=reason)
        elif state in (State.CANCELLED, State.EXPIRED) and before not in (State.CANCELLED, State.EXPIRED):
            self.log("order_cancelled", order_id=order.order_id)

    def _note_confirmed(self, order: Order) -> None:
        if order.confirmed_ns or lifecycle_of(order) is not Lifecycle.CONFIRMED:
            return
        order.confirmed_ns = self.now.wall_ns
        tx_hash = max(order.fills.values(), key=lambda fill: (fill.matched_ns, fill.trade_id)).tx_hash
        self.log("order_confirmed", order_id=order.order_id, tx_hash=tx_hash)

    # --- fills ---

    def add_fill(self, order: Order, fill: Fill) -> None:
        """A fill of this order that was not known."""
        order.add_fill(fill)
        order.matched_ns = min(order.matched_ns or fill.matched_ns, fill.matched_ns)
        self.book(fill, None, order.venue, order.wallet, order.market)
        self.external.list_fill(fill)
        counted = [known for known in order.fills.values() if known.settlement is not Settlement.FAILED]
        size = sum(known.size for known in counted)
        self.log(
            "order_fill",
            order_id=order.order_id,
            fill_type="FULL" if order.complete else "PARTIAL",
            fill_size=format_micros(fill.size),
            fill_price=format_micros(fill.price),
            total_filled=format_micros(size),
            avg_price=format_micros(average_price(sum(known.cash for known in counted), size)),
        )
        self._log_failed(order, fill)
        self.tell(order, quantity_event(order), changed=True)

    def settle_fill(self, order: Order, known: Fill, merged: Fill) -> None:
        """A known fill reached another stage or got its hash."""
        order.fills[merged.trade_id] = merged
        if merged.settlement is not known.settlement:
            self.book(merged, known.settlement, order.venue, order.wallet, order.market)
            self._log_failed(order, merged)
        self.tell(order, changed=True)

    def book(self, fill: Fill, before: Settlement | None, venue: str, wallet: str, market: str) -> None:
        """Everything that is counted from fills: a new one (`before` None), or a new stage of a booked one."""
        if before is None:
            self.positions.book(fill, venue, market)
        else:
            self.positions.settle(fill, before)
        self.purses.of(venue, wallet).on_fill(fill, before, self.now.wall_ns)
        self.reconciler.of(venue, wallet).moved_at(fill.token_id, self.now.wall_ns)
        self.valuation.changed(fill.account)

    def _log_failed(self, order: Order, fill: Fill) -> None:
        if fill.settlement is Settlement.FAILED:
            error = f"trade {fill.trade_id} failed to settle and was taken back"
            self.log("order_failed", "error", order_id=order.order_id, error=error)

    # --- to the gateway ---

    def send_place(self, order: Order) -> None:
        """The pinned bytes leave; whatever happens, after its deadline plus a request's life none can arrive."""
        execution = self.config.execution
        order.place_action = self.actions.next_id()
        order.sends += 1
        order.sent_ns = self.now.wall_ns
        order.give_up_mono = max(order.deadline_mono, self.now.mono_ns) + execution.request_life_ms * MS
        place = Place(
            order.place_action, order.venue, order.wallet, order.venue_order_id, order.deadline_ns, order.pinned
        )
        self.out.append(self.actions.send(place, [order.number]))

    def cancel(self, orders: Iterable[Order], wides: Iterable[Wide] = ()) -> list[Order]:
        """Journal the cancel of open orders and send it; returns those whose place is not answered yet.

        `wides`: wallets of which everything is to be cancelled; a place in flight needs its id even then.
        """
        unsent: list[Order] = []
        doubted: list[Order] = []
        for order in orders:
            order.cancel_asked = True
            if order.state is State.PENDING:
                self.tell(order, Event.CANCEL, text="cancelled before it was sent")
                continue
            if not order.cancel_action:
                unsent.append(order)
            if order.state in IN_DOUBT:
                doubted.append(order)
            # Also of an order that is proven to be there while its place has no result: a restart would resend it.
            if order.place_action and (settle := self.actions.withdraw(order.place_action)):
                self.out.append(settle)
        for wide in wides:
            self._cancel_wide(wide, unsent)
        self.send_cancels([order for order in unsent if not order.cancel_action])
        for order in unsent:
            self.tell(order, Event.CANCEL)
        return doubted

    def _cancel_wide(self, wide: Wide, orders: list[Order]) -> None:
        """One call for whatever rests; later places wait for its end, as it would catch them too."""
        action_id = self.actions.next_id()
        resting = [
            order
            for order in orders
            if not order.cancel_action
            and order.state not in IN_DOUBT
            and wide.holds(order.venue, order.wallet, order.condition_id)
        ]
        for order in resting:
            order.cancel_action = action_id
        self.sweeps.holds[action_id] = Hold(wide)
        self._send_cancel(CancelWallet(action_id, *wide), resting)

    def _send_cancel(self, request: Cancel | CancelWallet, orders: list[Order]) -> None:
        numbers = [order.number for order in orders]
        self.out.append(self.actions.send(request, numbers))
        self.sweeps.sent(request.action_id, (request.venue, request.wallet), numbers)

    def send_cancels(self, orders: list[Order]) -> None:
        by_wallet: dict[tuple[str, str], list[Order]] = {}
        for order in orders:
            by_wallet.setdefault((order.venue, order.wallet), []).append(order)
        for (venue, wallet), group in by_wallet.items():
            rest = iter(group)
            while chunk := list(islice(rest, CANCEL_IDS_MAX)):
                action_id = self.actions.next_id()
                for order in chunk:
                    order.cancel_action = action_id
                self._send_cancel(Cancel(action_id, venue, wallet, [order.venue_order_id for order in chunk]), chunk)

    def hold(self, order: Order, hold: Hold) -> OrderView:
        """A taken order waits for a wallet-wide cancel to be over, at most until its deadline."""
        hold.orders.append(order.number)
        self.count("places_held")
        self.oms.check_at(order, order.deadline_mono)
        view = self.tell(order, changed=True)
        assert view is not None, "told as changed"
        return view

    def look_up(self, order: Order) -> None:
        """Ask the venue for this order; one question at a time."""
        if order.lookup_action:
            return
        if self.actions.queries_full:
            self.oms.check_at(order, self.now.mono_ns + self.config.execution.lookup_after_ms * MS)
            return
        order.lookup_action = self.actions.next_id()
        order.checks += 1
        self.oms.check_at(order, 0)
        request = QueryOrder(order.lookup_action, order.venue, order.wallet, order.venue_order_id)
        self.out.append(self.actions.send(request, [order.number]))

    def look_up_outstanding(self, orders: Iterable[Order]) -> None:
        """No copy of these goes out any more, also not by a restart of the gateway; what was sent is asked for."""
        for order in orders:
            if order.place_action and (settle := self.actions.withdraw(order.place_action)):
                self.out.append(settle)
            if order.state in IN_DOUBT:
                order.may_resend = False
                self.tell(order, Event.DOUBT)

    def check_soon(self, order: Order) -> None:
        """Look the order up after the usual pause, whatever its state says."""
        if order.open and not order.lookup_action and not order.check_mono:
            self.oms.check_at(order, self.now.mono_ns + self._pause(order))

    def _pause(self, order: Order) -> int:
        return backoff_ns(self.config.execution.lookup_after_ms, order.checks)

    def _plan_check(self, order: Order) -> None:
        """When to ask the venue next, unless asked already."""
        if order.fills_missing:
            self.wallet_of(order).want_trades(self.now.mono_ns, self.config.execution.lookup_after_ms)
        if order.lookup_action or order.check_mono or not order.open:
            return
        execution, state = self.config.execution, order.state
        working = state is State.WORKING
        if state is State.SUBMITTING:
            if execution.order_timeout_ms:
                self.oms.check_at(order, self.now.mono_ns + execution.order_timeout_ms * MS)
        elif state is State.PENDING:
            if order.replaces:
                self.oms.check_at(order, order.deadline_mono)
        elif state is State.CANCELLING and order.cancel_action:
            if execution.cancel_timeout_ms:
                self.oms.check_at(order, self.now.mono_ns + execution.cancel_timeout_ms * MS)
        elif (
            order.state in (State.UNKNOWN, State.RECALLED)
            or (order.state is State.CANCELLING and not order.cancel_action)
            or (working and not order.tif.rests)
        ):
            self.oms.check_at(order, self.now.mono_ns + self._pause(order))
        elif working and order.tif is TimeInForce.GTD:
            left = max(0, order.expire_ns - self.now.wall_ns) + EXPIRY_GRACE_NS
            self.oms.check_at(order, self.now.mono_ns + left + self._pause(order))

    def absent(self, order: Order) -> None:
        """The venue says by id that it does not have this order, and nothing we know is newer than that."""
        if order.state is State.UNKNOWN and self._may_resend(order):
            self.tell(order, Event.RESEND)
            self.send_place(order)
        elif order.state in (State.UNKNOWN, State.RECALLED) and self.now.mono_ns >= order.give_up_mono:
            code = order.refused_code or Reason.NOT_ACCEPTED.value
            text = order.refused_text or "the venue never had it, and no request of it can be on its way any more"
            self.tell(order, Event.GIVE_UP, code=code, text=text)
        elif order.state in (State.WORKING, State.CANCELLING):
            order.absences += 1
            if order.absences >= ABSENCES_MIN:
                self._end_successor(order)
                self.tell(order, Event.GONE, text=GONE_TEXT)
                first_ms = self.config.execution.lookup_after_ms
                self.wallet_of(order).want_trades_since(order.created_ns, self.now.mono_ns, first_ms)
            else:
                self.check_soon(order)
        else:
            self.tell(order)

    def _end_successor(self, order: Order) -> None:
        """How much matched of an order the venue forgot is not known yet, so neither is what may be placed instead."""
        successor = self.oms.get(order.successor)
        order.successor = 0
        if successor is not None and successor.state is State.PENDING and successor.replaces == order.number:
            text = f"{GONE_TEXT} that this one replaces ({order.order_id}): look at its fills, then place anew"
            self.tell(successor, Event.REFUSED, code=Reason.INVALID_ORDER_STATE.value, text=text)

    def _may_resend(self, order: Order) -> bool:
        """Only in UNKNOWN: a cancelled order is RECALLED, and no way leads from there to a place."""
        return (
            order.may_resend
            and not order.place_action
            and self.now.wall_ns < order.deadline_ns
            and self.now.mono_ns < order.deadline_mono
            and not stops(self.trading.mode(order.account)[0], order.side)
        )
