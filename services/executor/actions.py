"""What was asked of the gateway and has no result yet. Pure.

In: actions as they are sent, results as they come. Out: whether a result is the first one of its action, and what must
be sent again after a restart. An action has one result; later ones with its id are repeats. A withdrawn place (its
cancel is journaled) is never sent again, but its result still counts.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from common.effects import Send, Settle
from common.messages import (
    Cancel,
    CancelWallet,
    Place,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
)

ACTIONS = "actions"
CANCELS = "cancels"

OUTSTANDING_MAX = 9_000
"""New places are refused OVERLOADED above this; the lane takes 10,000 and the rest is kept for look-ups."""
QUERIES_MAX = 500
"""Look-ups in flight; more wait for their turn."""

Cancelling: TypeAlias = Cancel | CancelWallet
Request: TypeAlias = Place | Cancelling | QueryOrder | QueryOpenOrders | QueryTrades | QueryPositions | QueryBalances


class Action(msgspec.Struct, array_like=True, gc=False):
    """`orders`: the numbers of the orders it is about."""

    request: Request
    orders: list[int]
    withdrawn: bool = False

    @property
    def lane(self) -> str:
        return CANCELS if isinstance(self.request, Cancel | CancelWallet) else ACTIONS

    @property
    def is_query(self) -> bool:
        return not isinstance(self.request, Place | Cancel | CancelWallet)


class Actions:
    def __init__(self, last: int = 0, rows: list[Action] | None = None) -> None:
        self.last = last
        self._open: dict[str, Action] = {row.request.action_id: row for row in rows or ()}
        self._queries = sum(row.is_query for row in self._open.values())
        self._on_lane = sum(row.lane == ACTIONS and not row.withdrawn for row in self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """Whether no more places can be taken."""
        return self._on_lane >= OUTSTANDING_MAX

    @property
    def queries_full(self) -> bool:
        return self._queries >= QUERIES_MAX

    def next_id(self) -> str:
        self.last += 1
        return f"a-{self.last}"

    def send(self, request: Request, orders: list[int]) -> Send:
        action = Action(request, orders)
        self._open[request.action_id] = action
        if type(request) is Place:
            self._on_lane += 1
            return Send(ACTIONS, request.action_id, request)
        self._count(action, 1)
        return Send(action.lane, request.action_id, request)

    def withdraw(self, action_id: str) -> Settle | None:
        """A place that must not be sent (again). None when its result is known already."""
        action = self._open.get(action_id)
        if action is None or action.withdrawn:
            return None
        self._count(action, -1)
        action.withdrawn = True
        return Settle(action.lane, action_id)

    def find(self, action_id: str) -> Action | None:
        """An action that has no result yet."""
        return self._open.get(action_id)

    def finish(self, action_id: str) -> Action | None:
        """The action this is the first result of; None for a repeat."""
        action = self._open.pop(action_id, None)
        if action is not None and not action.withdrawn:
            self._count(action, -1)
        return action

    def outstanding(self) -> list[Send]:
        """Cancels first: they may be late already."""
        alive = [action for action in self._open.values() if not action.withdrawn]
        alive.sort(key=lambda action: action.lane != CANCELS)
        return [Send(action.lane, action.request.action_id, action.request) for action in alive]

    def rows(self) -> list[Action]:
        return list(self._open.values())

    def _count(self, action: Action, change: int) -> None:
        self._queries += change * action.is_query
        self._on_lane += change * (action.lane == ACTIONS)
