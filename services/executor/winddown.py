"""The last act of an executor whose journal failed: cancel everything, prove it, say what is left. Pure.

In: the desk as the failed step left it, then what the lanes and clients bring; none of it is journaled. Out: cancels by
id for every order that could be open (those of the dropped step too: nothing of them was sent), lists of open orders
until the venue shows none of ours, refusals for places, answers for cancels. Places that were outstanding are taken off
their lane: none is sent again in this life, and the next one looks them up (architecture section 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from common.effects import Effect, Now, Origin, Reply, Send, Settle
from common.messages import (
    Cancel,
    CancelAccepted,
    CancelAll,
    CancelOrder,
    CancelResult,
    Message,
    OpenOrdersResult,
    PlaceResult,
    QueryOpenOrders,
    Refused,
)
from common.reasons import Reason
from common.types import Outcome
from services.executor.actions import ACTIONS, CANCELS
from services.executor.catchup import MS
from services.executor.desk import CANCEL_IDS_MAX, Desk
from services.executor.order import IN_DOUBT, Order

ASK_NS = 500 * MS
"""How often the venue is asked what is still open."""

Key = tuple[str, str]
"""(venue, wallet)."""


class CancelEverything:
    """One wind-down. It never changes the desk."""

    def __init__(self, desk: Desk, why: str, dropped: Iterable[Effect] = ()) -> None:
        self._desk = desk
        self._why = why
        self._orders = {order.venue_order_id.lower(): order for order in desk.oms.open_orders() if order.venue_order_id}
        self._wallets = sorted({(order.venue, order.wallet) for order in self._orders.values()})
        unsent = {effect.key for effect in dropped if isinstance(effect, Send)}
        self._unanswered = {
            order.place_action: order
            for order in self._orders.values()
            if order.place_action and order.place_action not in unsent
        }
        self._doubted = {
            order.order_id
            for order in self._orders.values()
            if order.state in IN_DOUBT and not (order.place_action in unsent and order.sends == 1)
        }
        """Whether the venue ever got these is not known, and may still not be when no order is listed any more."""
        self._listed: dict[Key, int | None] = dict.fromkeys(self._wallets)
        self._placed_ns: dict[Key, int] = {}
        """When a place was proven to have arrived last: an older list may miss it."""
        self._cancelling: dict[str, list[str]] = {}
        self._asking: dict[str, Key] = {}
        self._numbers = 0
        self._until = self._ask_at = self._started = 0

    def start(self, now: Now) -> list[Effect]:
        self._until = now.mono_ns + self._desk.config.execution.wind_down_ms * MS
        self._started = now.mono_ns
        self._ask_at = now.mono_ns
        effects: list[Effect] = [Settle(row.lane, row.key) for row in self._desk.actions.outstanding()]
        return effects + self._cancel(list(self._orders.values()), now)

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        match message:
            case CancelResult() if origin.lane:
                return self._on_canceled(message)
            case OpenOrdersResult() if origin.lane:
                return self._on_listed(message, now)
            case PlaceResult() if origin.lane:
                return self._on_placed(message, now)
            case CancelOrder():
                return [Reply(origin.sender, self._answer(message.command_id, message.account, message.order_id))]
            case CancelAll():
                return [Reply(origin.sender, self._answer(message.command_id, message.account, ""))]
            case _ if origin.lane:
                return []  # a fact: not acknowledged, so it comes again in the next life
        request_id = str(getattr(message, "command_id", getattr(message, "request_id", "")))
        text = f"only cancels are taken until the process has ended ({self._why})"
        return [Reply(origin.sender, Refused(request_id, Reason.HALTED, text))]

    def on_time(self, now: Now) -> list[Effect]:
        if now.mono_ns < self._ask_at:
            return []
        self._ask_at = now.mono_ns + ASK_NS
        effects: list[Effect] = []
        for key in self._wallets:
            if key not in self._asking.values():
                action_id = self._next_id(now)
                self._asking[action_id] = key
                effects.append(Send(ACTIONS, action_id, QueryOpenOrders(action_id, *key)))
        return effects

    def verdict(self, now: Now) -> str:
        """Over when every wallet was listed without an order of ours and no place is unanswered, or time is up."""
        left = sum(count or 0 for count in self._listed.values())
        unlisted = [key[1] for key, count in self._listed.items() if count is None]
        if not self._unanswered and not self._cancelling and not unlisted and not left:
            named = f"; still in doubt: {', '.join(sorted(self._doubted)[:20])}" if self._doubted else ""
            return f"zero of {len(self._orders)} known orders are open{named}"
        if now.mono_ns < self._until:
            return ""
        doubted = ", ".join(sorted(order.order_id for order in self._unanswered.values())[:20]) or "none"
        return (
            f"not proven within {(now.mono_ns - self._started) // MS} ms: {left} orders listed, wallets not "
            f"answered: {', '.join(unlisted) or 'none'}, places not answered: {doubted}"
        )

    # --- moves ---

    def _next_id(self, now: Now) -> str:
        """Of no life before or after: the ids of the journal all begin with a-."""
        self._numbers += 1
        return f"w-{now.wall_ns}-{self._numbers}"

    def _cancel(self, orders: list[Order], now: Now) -> list[Effect]:
        effects: list[Effect] = []
        for key in self._wallets:
            ids = [order.venue_order_id for order in orders if (order.venue, order.wallet) == key]
            for chunk in _chunks(ids):
                action_id = self._next_id(now)
                self._cancelling[action_id] = chunk
                effects.append(Send(CANCELS, action_id, Cancel(action_id, *key, chunk)))
        return effects

    def _on_canceled(self, result: CancelResult) -> list[Effect]:
        if self._cancelling.pop(result.action_id, None) is None:
            return []
        return [Settle(CANCELS, result.action_id)]

    def _on_listed(self, result: OpenOrdersResult, now: Now) -> list[Effect]:
        key = self._asking.pop(result.action_id, None)
        if key is None:
            return []
        effects: list[Effect] = [Settle(ACTIONS, result.action_id)]
        counts = result.asked_ns >= self._placed_ns.get(key, 0) and not self._cancelling
        if result.outcome is Outcome.DONE and result.complete and counts:
            ours = [order for row in result.orders if (order := self._orders.get(row.venue_order_id.lower()))]
            self._listed[key] = len(ours)
            effects += self._cancel(ours, now)
        return effects

    def _on_placed(self, result: PlaceResult, now: Now) -> list[Effect]:
        """A place that was under way ended: what the venue took is cancelled, and listed again."""
        order = self._unanswered.get(result.action_id)
        if order is None or result.outcome is Outcome.UNKNOWN:
            return []
        del self._unanswered[result.action_id]
        self._doubted.discard(order.order_id)
        if result.outcome is not Outcome.DONE:
            return []
        key = (order.venue, order.wallet)
        self._listed[key], self._placed_ns[key] = None, now.wall_ns
        return self._cancel([order], now)

    def _answer(self, command_id: str, account: str, order_id: str) -> Message:
        """Everything is being cancelled; which of it this command covers."""
        covered = [
            order
            for order in self._orders.values()
            if account in ("", order.account)
            and order_id in ("", order.order_id, order.client_order_id, order.venue_order_id)
        ]
        if order_id and not covered:
            text = f"no open order {order_id[:64]!r}; everything that is open is being cancelled"
            return Refused(command_id, Reason.ORDER_NOT_FOUND, text, "order_id")
        doubted = [order.order_id for order in covered if order.state in IN_DOUBT]
        return CancelAccepted(command_id, [order.order_id for order in covered], doubted)


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while chunk := list(islice(rest, CANCEL_IDS_MAX)):
        yield chunk
