"""What clients asked is counted for ever and kept in bounds."""

from __future__ import annotations

import pytest

from services.polymarket_sim import request_log
from services.polymarket_sim.endpoints import DELETE_ORDER, DELETE_ORDERS, LOOKUP, POST_ORDER
from services.polymarket_sim.request_log import LOST, NamedOrder, RequestLog


def posted(log: RequestLog, *order_ids: str) -> int:
    call = log.arrived(POST_ORDER, 10, 20)
    assert call is not None
    log.posts(call, [NamedOrder(order_id, "GTC", True) for order_id in order_ids])
    return call.seq


def test_every_request_is_counted_and_order_calls_are_kept() -> None:
    log = RequestLog()
    assert log.arrived(LOOKUP, 1, 2) is None
    log.answered(LOOKUP, None, 404)
    call = log.arrived(POST_ORDER, 10, 20)
    assert call is not None
    log.posts(call, [NamedOrder("0x1", "GTC", True), NamedOrder("", "FAK", False)])
    log.answered(POST_ORDER, call, 200)
    lost = log.arrived(DELETE_ORDER, 11, 21)
    log.unanswered(DELETE_ORDER, lost, LOST)
    assert log.to_wire() == {
        "requests": {LOOKUP: 1, POST_ORDER: 1, DELETE_ORDER: 1},
        "statuses": {LOOKUP: {"404": 1}, POST_ORDER: {"200": 1}, DELETE_ORDER: {"lost": 1}},
        "order_posts": {"0x1": 1},
    }
    assert [row.to_wire() for row in log.after(0)] == [
        {
            "seq": 1, "at_ns": 10, "mono_ns": 20, "method": "POST", "path": "/order", "order_ids": ["0x1"],
            "status": 200, "outcome": "",
            "orders": [
                {"id": "0x1", "order_type": "GTC", "post_only": True},
                {"id": "", "order_type": "FAK", "post_only": False},
            ],
        },
        {
            "seq": 2, "at_ns": 11, "mono_ns": 21, "method": "DELETE", "path": "/order", "order_ids": [],
            "status": 0, "outcome": "lost",
        },
    ]  # fmt: skip
    assert [row.seq for row in log.after(1)] == [2]


def test_posts_count_by_order_and_the_one_posted_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "ORDERS_MAX", 2)
    log = RequestLog()
    for order_id in ("a", "b", "a", "c"):
        posted(log, order_id)
    assert log.to_wire()["order_posts"] == {"a": 2, "c": 1}


def test_calls_are_bounded_by_number_and_by_the_ids_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "CALLS_MAX", 3)
    monkeypatch.setattr(request_log, "IDS_MAX", 4)
    log = RequestLog()
    assert log.first == 0
    for number in range(5):
        posted(log, f"0x{number}")
    assert (log.first, log.last) == (3, 5)
    call = log.arrived(DELETE_ORDERS, 1, 2)
    assert call is not None
    log.names(call, ["a", "b", "c", "d"])
    assert (log.first, [len(row.order_ids) for row in log.after(0)]) == (6, [4])
    posted(log, "x")
    assert [row.seq for row in log.after(0)] == [7]


def test_a_call_that_was_dropped_meanwhile_does_not_count_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "CALLS_MAX", 1)
    log = RequestLog()
    slow = log.arrived(DELETE_ORDERS, 1, 2)
    posted(log, "x")
    assert slow is not None
    log.names(slow, ["a"] * 1000)
    for number in range(200):
        posted(log, f"0x{number}")
    assert (log.first, log.last) == (202, 202)
