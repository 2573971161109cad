"""The first result of an action releases its lane. Pure."""

from __future__ import annotations

from common.effects import Settle
from services.executor.actions import Action
from services.executor.desk import Desk


def finish(desk: Desk, action_id: str) -> Action | None:
    """The action, when this is its first result; its lane need not keep it."""
    action = desk.actions.finish(action_id)
    if action is None:
        desk.count("results_repeated")
    else:
        desk.out.append(Settle(action.lane, action_id))
    return action
