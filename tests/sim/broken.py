"""Executors that break one promise each, as somebody could by mistake. The checkers must catch every one of them.

They are made by subclassing, in here only: the production code has no switch that could be left on.
"""

from __future__ import annotations

import msgspec

from common.effects import Effect, Now, Origin
from common.messages import (
    CancelAll,
    CancelOrder,
    Judged,
    Message,
    PlaceOrder,
    PlaceResult,
    TradesResult,
    VenueFill,
)
from common.reasons import Reason
from common.step import Step
from common.types import Outcome
from common.venues.polymarket.pinned import decode_pinned, encode_pinned
from services.executor.core import ExecutorCore
from services.executor.order import Event, State
from tests.sim.processes import Heart

Broken = tuple[type[ExecutorCore], type[Heart]]


class DedupeOff(ExecutorCore):
    """The client order id of a place is not looked up."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        command = message.command if isinstance(message, Judged) else message
        if isinstance(command, PlaceOrder):
            known = self.desk.ids.find(command.account, command.client_order_id)
            if known is not None:
                self.desk.ids.drop(command.account, command.client_order_id)
        return super().handle(message, origin, now)


class JournalAfterSend(Heart):
    """Effects leave first, the record is written after them: a crash in between forgets what was done."""

    def _commit(self, step: Step) -> None:
        self._perform_all(step)
        if step.effects:
            self.peer.flush(step.now.mono_ns)
        self._append(step)


class BlindRetry(ExecutorCore):
    """An open outcome is answered by a new signature over a new salt."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        effects = super().handle(message, origin, now)
        if isinstance(message, PlaceResult) and message.outcome is Outcome.UNKNOWN:
            effects += self._sign_again(message, now)
        return effects

    def _sign_again(self, result: PlaceResult, now: Now) -> list[Effect]:
        desk = self.desk
        order = desk.oms.by_venue_id(result.venue_order_id)
        if order is None or order.state is not State.UNKNOWN or now.wall_ns >= order.deadline_ns:
            return []
        pinned = decode_pinned(order.pinned)
        again = msgspec.structs.replace(pinned, salt=pinned.salt + 1)
        order.pinned, order.venue_order_id = encode_pinned(again), again.venue_order_id
        desk.oms._insert(order)
        desk.out = []
        desk.send_place(order)
        desk.tell(order, Event.RESEND)
        out, desk.out = desk.out, []
        return out


class FillDedupeOff(ExecutorCore):
    """Every telling of a fill is a fill of its own."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        if isinstance(message, VenueFill):
            known = sum(len(order.fills) for order in self.desk.oms.rows())
            message = msgspec.structs.replace(message, trade_id=f"{message.trade_id}.{known}")
        return super().handle(message, origin, now)


class NoFences(ExecutorCore):
    """A cancel that overtook its place is refused and forgotten."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        if isinstance(message, CancelOrder | CancelAll):
            effects = super().handle(message, origin, now)
            self.desk.fences._covers.clear()
            self.desk.fences._tombstones.clear()
            return effects
        return super().handle(message, origin, now)


class NoCatchUp(ExecutorCore):
    """Trades are only believed from the user channel: what is missed in a gap is missed for ever."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        if isinstance(message, TradesResult):
            message = msgspec.structs.replace(message, fills=[])
        return super().handle(message, origin, now)


class GuessedRefusal(ExecutorCore):
    """No answer is taken for a refusal."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        if isinstance(message, PlaceResult) and message.outcome is Outcome.UNKNOWN:
            message = msgspec.structs.replace(message, outcome=Outcome.REFUSED, code=Reason.VENUE_UNAVAILABLE)
        return super().handle(message, origin, now)


class ForgetfulRecall(ExecutorCore):
    """A cancelled place whose answer is open is sent again after all."""

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        effects = super().handle(message, origin, now)
        desk = self.desk
        desk.out = []
        for order in desk.oms.open_orders():
            if order.state is State.RECALLED and not order.place_action and order.sends < 2:
                desk.send_place(order)
        out, desk.out = desk.out, []
        return effects + out


VARIANTS: dict[str, Broken] = {
    "dedupe off": (DedupeOff, Heart),
    "journal after send": (ExecutorCore, JournalAfterSend),
    "blind retry": (BlindRetry, Heart),
    "fill dedupe off": (FillDedupeOff, Heart),
    "cancels do not fence": (NoFences, Heart),
    "no catch-up after a gap": (NoCatchUp, Heart),
    "no answer is a refusal": (GuessedRefusal, Heart),
    "cancelled places are resent": (ForgetfulRecall, Heart),
}
