"""The promises, checked while a world runs and when it has come to rest.

In: what the executor takes and lets out, what the venue accepts, what clients are told. A broken promise raises
Violation with the seed. It knows each client intent by (account, client order id), whatever ids others gave it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from common.effects import Effect, Log, Now, Origin, Publish, Reply, Send
from common.messages import (
    Accepted,
    CancelAccepted,
    CancelAll,
    Halt,
    Message,
    OrderUpdated,
    OrderView,
    Place,
    PlaceAnswer,
    PlaceOrder,
    Refused,
    ReplaceOrder,
    Resume,
    SweepChanged,
    SweepView,
    VenueFill,
)
from common.types import Settlement, Side, Status
from common.venues.polymarket.wire import VenueStatus
from services.executor.core import ExecutorCore
from services.executor.external import account_of
from services.executor.order import TERMINAL, Order, State
from services.executor.positions import unexplained
from tests.sim.clock import MS
from tests.sim.venue import START_SHARES, TrueOrder, TrueTrade, Venue
from tests.sim.world import World

Intent: TypeAlias = tuple[str, str]
"""(account, client order id), or (client, command id) of a place without one."""

LIFE_NS = 30_000 * MS
"""execution.request_life_ms."""
CONSERVED_EVERY = 8
OUTSIDE = account_of("main")
ENDS: dict[VenueStatus, frozenset[State]] = {
    VenueStatus.MATCHED: frozenset({State.FILLED}),
    VenueStatus.CANCELED: frozenset({State.CANCELLED}),
    VenueStatus.CANCELED_EXPIRED_ORDER: frozenset({State.EXPIRED, State.CANCELLED}),
}
NEVER_THERE = frozenset({State.REJECTED, State.CANCELLED})


def intent_of(command: PlaceOrder | ReplaceOrder, sender: str) -> Intent:
    if command.client_order_id:
        return command.account, command.client_order_id
    return sender, command.command_id


class Checker:
    def __init__(self, world: World) -> None:
        self._world = world
        self._intents: dict[str, Intent] = {}
        """By venue order id."""
        self._taken: set[Intent] = set()
        self._by_order_id: dict[str, Intent] = {}
        self._accepted: dict[Intent, str] = {}
        self._covered: dict[Intent, int] = {}
        """When a cancel of it was answered, by the executor."""
        self._banned: set[Intent] = set()
        self._replaces: dict[Intent, tuple[Intent, int]] = {}
        """The intent a successor replaces, and what both may fill."""
        self._numbers: dict[Intent, int] = {}
        """Our number of the order of an intent: what came first has the smaller one."""
        self._through: dict[str, int] = {}
        """The last order that cancel-alls of everybody are about, by command id."""
        self._halt: tuple[str, bool] = ("", False)
        """The last halt or resume of everybody that was handled, and whether it was a halt."""
        self._halt_answered = False
        self._published: dict[int, Message] = {}
        self._rejected: set[Intent] = set()
        self._is_killed: Callable[[str], bool] = lambda _venue_order_id: False
        self._is_open: Callable[[str], bool] = lambda _venue_order_id: False
        self._last_seq = 0
        self._steps = 0

    def knows_of(self, venue: Venue) -> None:
        """Where to look whether an order is open, or was killed at once (a FOK or FAK that found nothing)."""
        self._is_open = lambda venue_order_id: venue.orders[venue_order_id].is_open
        self._is_killed = lambda venue_order_id: not venue.orders[venue_order_id].shown

    # --- the executor ---

    def on_input(self, message: Message, origin: Origin, effects: list[Effect], core: ExecutorCore) -> None:
        """A command was handled (it may still be lost): what it led to belongs to its intent."""
        command = getattr(message, "command", message)
        if isinstance(message, Halt | Resume):
            self._note_halt(message, effects)
        if isinstance(message, VenueFill):
            self._note_fill(message, core)
        if isinstance(message, CancelAll) and not message.account:
            begun = [effect for effect in effects if isinstance(getattr(effect, "body", None), SweepChanged)]
            if begun:  # else it is answered again
                self._through[message.command_id] = core.desk.last_order
        if not isinstance(command, PlaceOrder | ReplaceOrder):
            return
        intent = intent_of(command, origin.sender)
        for effect in effects:
            body = getattr(effect, "body", None)
            if isinstance(body, Place):
                self._intents[body.venue_order_id] = intent
                self._taken.add(intent)
            elif isinstance(body, PlaceAnswer) and not body.duplicate:
                self._by_order_id[body.order.order_id] = intent
                self._numbers[intent] = int(body.order.order_id.removeprefix("o-"))
                self._world.seen["held by a wallet-wide cancel"] += bool(core.desk.sweeps.holds)
                self._taken.add(intent)
                if isinstance(command, ReplaceOrder):
                    self._note_replace(command, intent, body.order.replaces)

    def _note_halt(self, message: Halt | Resume, effects: list[Effect]) -> None:
        """Handled, and not just answered again."""
        if not message.account and any(isinstance(effect, Log) for effect in effects):
            self._halt = (message.command_id, isinstance(message, Halt) and not message.reduce_only)
            self._halt_answered = False

    def on_post(self) -> None:
        """A place leaves the gateway."""
        command_id, is_halt = self._halt
        if is_halt and self._halt_answered:
            self._world.violate(f"a place leaves after the halt {command_id} was answered")

    def _note_replace(self, command: ReplaceOrder, intent: Intent, old_id: str) -> None:
        old = self._by_order_id.get(old_id)
        if old is not None:
            self._replaces[intent] = (old, command.size)

    def _note_fill(self, fill: VenueFill, core: ExecutorCore) -> None:
        order = core.desk.oms.by_venue_id(fill.venue_order_id)
        if order is not None and order.state in (State.CANCELLED, State.CANCELLING):
            self._world.seen[f"fill while {order.state}"] += 1

    def on_step(self, core: ExecutorCore) -> None:
        self._steps += 1
        if self._steps % CONSERVED_EVERY == 0:
            self._conserved(core)

    def on_send(self, effect: Send, core: ExecutorCore) -> None:
        place = effect.body
        if not isinstance(place, Place):
            return
        intent = self._intent(place.venue_order_id, core)
        if intent in self._covered:
            self._world.violate(f"a place of {intent} leaves after its cancel was answered")
        if intent in self._banned:
            self._world.violate(f"a place of {intent} leaves though a cancel overtook it")

    def on_reply(self, effect: Reply, now: Now) -> None:
        answer = effect.body
        if isinstance(answer, Accepted):
            self._halt_answered = self._halt_answered or answer.command_id == self._halt[0]
            self._world.seen["operator answered"] += 1
        elif isinstance(answer, Refused):
            self._world.seen[f"refused {answer.code}"] += 1
        elif isinstance(answer, CancelAccepted):
            self._world.seen["cancel of an order in doubt"] += bool(answer.in_doubt)
            for order_id in answer.order_ids:
                intent = self._by_order_id.get(order_id)
                if intent is not None:
                    self._covered.setdefault(intent, now.mono_ns)

    def on_publish(self, effect: Publish) -> None:
        update = effect.body
        if isinstance(update, SweepChanged):
            self._check_sweep(update.sweep)
        if not isinstance(update, OrderUpdated):
            return
        if self._published.setdefault(update.account_seq, update) != update:
            self._world.violate(f"account event {update.account_seq} was told twice and differently")
        if update.account_seq <= self._last_seq:
            self._world.violate(f"account event {update.account_seq} comes after {self._last_seq}")
        self._last_seq = update.account_seq
        self._note_rejected(update.order)

    def _check_sweep(self, view: SweepView) -> None:
        """Told at ZERO: of what everybody had, only places in doubt may be open; at FINAL nothing is."""
        self._world.seen[f"sweep {view.phase}"] += 1
        if view.phase not in ("ZERO", "FINAL") or view.account:
            return
        doubted = {row.order_id for row in view.in_doubt} if view.phase == "ZERO" else set()
        through = self._through.get(view.command_id, 0)
        for intent, venue_order_id in self._accepted.items():
            number = self._numbers.get(intent, 0)
            if 0 < number <= through and f"o-{number}" not in doubted and self._is_open(venue_order_id):
                self._world.violate(f"{view.sweep_id} is {view.phase}, but o-{number} of {intent} is open")

    def _note_rejected(self, order: OrderView) -> None:
        """REJECTED is told only on proof: the venue does not have it, and never will."""
        if order.status is not Status.REJECTED:
            return
        intent = self._intents.get(order.venue_order_id)
        if intent is not None:
            self._rejected.add(intent)
            if self._accepted.get(intent) == order.venue_order_id and not self._is_killed(order.venue_order_id):
                self._world.violate(f"{order.order_id} of {intent} is told to be rejected, but the venue has it")

    def _intent(self, venue_order_id: str, core: ExecutorCore) -> Intent:
        """Also of an order that was not sent for by a command just taken."""
        known = self._intents.get(venue_order_id)
        if known is None:
            order = core.desk.oms.by_venue_id(venue_order_id)
            assert order is not None, f"nobody knows {venue_order_id}"
            known = self._intents[venue_order_id] = (order.account, order.client_order_id)
        return known

    # --- clients ---

    def ban(self, intent: Intent, *, unless_known: bool = False) -> None:
        """A cancel was answered before the executor knew of this intent: it must never happen."""
        if not (unless_known and intent in self._taken):
            self._banned.add(intent)

    # --- the venue ---

    def on_accept(self, venue_order_id: str) -> None:
        """A place reaches the venue and is taken."""
        intent = self._intents.get(venue_order_id)
        if intent is None:
            self._world.violate(f"the venue takes {venue_order_id}, which nobody sent")
            return
        other = self._accepted.setdefault(intent, venue_order_id)
        if other != venue_order_id:
            self._world.violate(f"two orders at the venue for {intent}: {other[:10]} and {venue_order_id[:10]}")
        if intent in self._rejected:
            self._world.violate(f"{intent} becomes live after it was told to be rejected")
        if intent in self._banned:
            self._world.violate(f"{intent} is live though a cancel overtook it")
        self._check_successor(intent)
        answered_ns = self._covered.get(intent)
        self._world.seen["live after its cancel was answered"] += answered_ns is not None
        if answered_ns is not None and self._world.now().mono_ns > answered_ns + LIFE_NS:
            self._world.violate(f"{intent} becomes live a request's life after its cancel was answered")

    def on_cancel_wallet(self, venue_order_ids: list[str]) -> None:
        """A wallet-wide cancel reaches the venue: of what is open, nothing came after the last command of that kind."""
        through = max(self._through.values(), default=0)
        for venue_order_id in venue_order_ids:
            number = self._numbers.get(self._intents[venue_order_id], 0)
            if number > through:
                self._world.violate(f"o-{number} is cancelled with its wallet, but it was placed after o-{through}")

    def _check_successor(self, intent: Intent) -> None:
        """A successor never rests beside what it replaces."""
        old, _ = self._replaces.get(intent, (None, 0))
        venue_order_id = self._accepted.get(old) if old is not None else None
        if venue_order_id is not None:
            self._world.seen["successor live"] += 1
            if self._is_open(venue_order_id):
                self._world.violate(f"{intent} is live while {old}, which it replaces, is open")

    # --- at rest ---

    def covered_are_over(self, venue: Venue) -> None:
        """A request's life after the last fault: whatever a cancel was answered for is not in the book."""
        for intent in self._covered:
            venue_order_id = self._accepted.get(intent)
            if venue_order_id is not None and venue.orders[venue_order_id].is_open:
                self._world.violate(f"{intent} is live long after its cancel was answered")

    def at_rest(self, core: ExecutorCore, venue: Venue) -> None:
        """The executor agrees with the venue's truth in everything."""
        unsent = [order for order in core.desk.oms.rows() if not order.venue_order_id]
        for order in unsent:
            if not order.settled:
                self._world.violate(f"{order.order_id} was never sent and never ends: {order.state}")
        rows = {order.venue_order_id: order for order in core.desk.oms.rows() if order.venue_order_id}
        for venue_id, true in venue.orders.items():
            if venue_id not in rows:
                self._world.violate(f"the executor forgot {venue_id[:10]} of {self._intents[venue_id]}")
            self._same_end(rows[venue_id], true)
        for venue_id, order in rows.items():
            self._world.seen[f"ends {order.state}"] += 1
            self._world.seen["same bytes sent again"] += order.sends > 1
            if not order.settled:
                self._world.violate(f"{order.order_id} never ends: {order.state}, {len(order.fills)} fills")
            if venue_id not in venue.orders and order.state not in NEVER_THERE:
                self._world.violate(f"{order.order_id} is {order.state}, but the venue never had it")
        self._no_more_than_wanted(venue)
        self._same_fills(rows, venue.trades)
        self._same_positions(core, rows, venue.trades)
        self._conserved(core)

    def _same_end(self, order: Order, true: TrueOrder) -> None:
        what = f"{order.order_id} ({order.venue_order_id[:10]})"
        if true.is_open:
            self._world.violate(f"{what} is still open at the venue, here it is {order.state}")
        if order.state not in TERMINAL:
            self._world.violate(f"{what} is {true.status} at the venue and {order.state} here")
        if order.matched != true.filled:
            self._world.violate(f"{what} matched {true.filled} at the venue and {order.matched} here")
        allowed = ENDS[true.status] | (frozenset({State.REJECTED}) if not (true.shown or true.filled) else frozenset())
        if order.state not in allowed:
            self._world.violate(f"{what} ended as {true.status} at the venue and as {order.state} here")

    def _no_more_than_wanted(self, venue: Venue) -> None:
        for intent, (old, size) in self._replaces.items():
            ids = [self._accepted[name] for name in (intent, old) if name in self._accepted]
            filled = sum(venue.orders[venue_id].filled for venue_id in ids)
            if self._accepted.get(intent) is not None and filled > size:
                self._world.violate(f"{old} and its successor {intent} filled {filled} of {size} together")

    def _same_fills(self, rows: dict[str, Order], trades: list[TrueTrade]) -> None:
        ours = {
            (fill.trade_id, venue_id): (fill.side, fill.size, fill.price, fill.cash, fill.settlement, fill.token_id)
            for venue_id, order in rows.items()
            for fill in order.fills.values()
        }
        theirs = {
            (true.trade.trade_id, true.venue_id): (
                true.side,
                true.size,
                true.price,
                true.cash,
                true.settlement,
                true.token_id,
            )
            for true in trades
        }
        for key in theirs.keys() | ours.keys():
            if theirs.get(key) != ours.get(key):
                self._world.violate(f"fill {key[0]} is {theirs.get(key)} at the venue and {ours.get(key)} here")

    def _same_positions(self, core: ExecutorCore, rows: dict[str, Order], trades: list[TrueTrade]) -> None:
        """Shares and money, counted from the venue's trades alone."""
        truth: dict[tuple[str, str], list[int]] = {}
        for true in trades:
            if true.settlement is Settlement.FAILED:
                continue
            row = truth.setdefault((rows[true.venue_id].account, true.token_id), [0, 0, 0])
            sign = 1 if true.side is Side.BUY else -1
            row[0] += sign * true.size
            row[1] += sign * true.cash
            row[2] += sign * true.size if true.settlement is Settlement.CONFIRMED else 0
        none = [0, 0, 0]
        # What the wallet held before anybody looked is nobody's trade; it counts once two quiet looks agreed on it.
        known = [name for name in core.desk.positions.views() if name.account == OUTSIDE]
        truth |= {(OUTSIDE, shown.token_id): [START_SHARES, 0, START_SHARES] for shown in known}
        held = {
            (shown.account, shown.token_id): [shown.size, shown.cost - shown.realised, shown.confirmed]
            for shown in core.desk.positions.views()
        }
        for key in truth.keys() | held.keys():
            if truth.get(key, none) != held.get(key, none):
                self._world.violate(f"{key[0]} holds {held.get(key)} here, {truth.get(key)} by the venue's trades")

    def money(self, core: ExecutorCore, venue: Venue) -> None:
        """After a last complete round of reconciliation the wallet's money is the venue's."""
        ours = core.desk.purses.of("polymarket", "main").cash
        theirs = venue.cash(venue.wall_ns())
        if ours is not None and ours != theirs:
            self._world.violate(f"the wallet has {theirs} at the venue and {ours} here")

    def _conserved(self, core: ExecutorCore) -> None:
        fills = [fill for order in core.desk.oms.rows() for fill in order.fills.values()]
        wrong = unexplained(core.desk.positions, [*fills, *core.desk.external.fills()])
        if wrong:
            self._world.violate(f"not conserved: {wrong[0]}")

    def replays(self, core: ExecutorCore, digests: list[bytes], again: ExecutorCore, other: list[bytes]) -> None:
        """The journal, replayed from its beginning, gives the same effects and the same state."""
        for index, (first, second) in enumerate(zip(digests, other, strict=True)):
            if first != second:
                self._world.violate(f"record {index} replays to other effects")
        if core.state_hash() != again.state_hash():
            self._world.violate("the whole journal replays to another state")
