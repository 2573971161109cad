from __future__ import annotations

import pytest

from common.effects import Send, Settle
from common.messages import Cancel, Place, QueryOrder
from services.executor import actions
from services.executor.actions import ACTIONS, CANCELS, Actions


def _place(action_id: str) -> Place:
    return Place(action_id, "polymarket", "main", "0xa", 1, b"")


def _query(action_id: str) -> QueryOrder:
    return QueryOrder(action_id, "polymarket", "main", "0xa")


def test_an_action_has_one_result() -> None:
    open_actions = Actions()
    assert open_actions.next_id() == "a-1"
    assert open_actions.send(_place("a-1"), [1]) == Send(ACTIONS, "a-1", _place("a-1"))

    action = open_actions.finish("a-1")

    assert action is not None
    assert action.orders == [1]
    assert open_actions.finish("a-1") is None


def test_cancels_are_sent_again_first_and_withdrawn_places_never() -> None:
    open_actions = Actions()
    cancel = Cancel("a-3", "polymarket", "main", ["0xa"])
    for request in (_place("a-1"), _place("a-2"), cancel):
        open_actions.send(request, [1])

    assert open_actions.withdraw("a-1") == Settle(ACTIONS, "a-1")
    assert open_actions.withdraw("a-1") is None
    assert open_actions.withdraw("a-9") is None

    assert open_actions.outstanding() == [Send(CANCELS, "a-3", cancel), Send(ACTIONS, "a-2", _place("a-2"))]
    assert open_actions.finish("a-1") is not None


def test_what_is_full_is_counted_back_from_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "OUTSTANDING_MAX", 2)
    monkeypatch.setattr(actions, "QUERIES_MAX", 1)
    open_actions = Actions()
    open_actions.send(_place("a-1"), [1])
    assert (open_actions.full, open_actions.queries_full) == (False, False)
    open_actions.send(_query("a-2"), [1])
    assert (open_actions.full, open_actions.queries_full) == (True, True)

    again = Actions(2, open_actions.rows())
    assert (again.full, again.queries_full) == (True, True)
    assert again.next_id() == "a-3"

    again.withdraw("a-1")
    again.finish("a-2")
    assert (again.full, again.queries_full) == (False, False)
