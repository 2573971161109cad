"""Modes of the whole venue: a restart runs its course by itself, each refuses what it must in production's words."""

from __future__ import annotations

from typing import Any

import pytest

from services.polymarket_sim.endpoints import CANCELS, HEARTBEAT, LOOKUP, ORDER_CALLS, POST_ORDER, POST_ORDERS
from services.polymarket_sim.modes import SECOND_NS, Mode, Phase, VenueModes, mode_refusal

NOW = 7 * SECOND_NS
DISABLED = "Trading is currently disabled. Check polymarket.com for updates"
CANCEL_ONLY = "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed."
POST_ONLY = "post-only mode: only post-only orders and cancels are allowed"


def refused(mode: Mode, endpoint: str, **more: Any) -> tuple[int, str] | None:
    found = mode_refusal(Phase(mode, NOW + 3 * SECOND_NS), endpoint, NOW, **more)
    return (found.status, found.text) if found is not None else None


def test_a_restart_is_down_then_post_only_then_over() -> None:
    modes = VenueModes()
    modes.begin("restart", {"down_s": 90, "post_only_s": 120}, NOW)
    seen = [modes.phase(NOW + at * SECOND_NS).mode for at in (0, 89, 90, 209, 210)]
    assert seen == [Mode.RESTARTING, Mode.RESTARTING, Mode.POST_ONLY, Mode.POST_ONLY, Mode.NORMAL]
    assert modes.fault == ""


def test_a_restart_nobody_looked_at_is_over_too() -> None:
    modes = VenueModes()
    modes.begin("restart", {"down_s": 1, "post_only_s": 0}, NOW)
    assert modes.phase(NOW + SECOND_NS).mode is Mode.NORMAL


@pytest.mark.parametrize(
    ("fault", "mode"),
    [
        ("post_only_mode", Mode.POST_ONLY),
        ("cancel_only", Mode.CANCEL_ONLY),
        ("trading_disabled", Mode.DISABLED),
    ],
)
def test_a_mode_lasts_as_long_as_it_was_given_or_until_it_is_ended(fault: str, mode: Mode) -> None:
    modes = VenueModes()
    modes.begin(fault, {"for_s": 5}, NOW)
    assert [modes.phase(NOW + at * SECOND_NS).mode for at in (4, 5)] == [mode, Mode.NORMAL]
    modes.begin(fault, {"for_s": 0}, NOW)
    assert modes.phase(NOW + 10**6 * SECOND_NS).mode is mode
    modes.end()
    assert modes.phase(NOW).mode is Mode.NORMAL


@pytest.mark.parametrize("endpoint", sorted(ORDER_CALLS))
def test_which_order_calls_each_mode_refuses(endpoint: str) -> None:
    is_place = endpoint in (POST_ORDER, POST_ORDERS)
    assert (endpoint in CANCELS) is not is_place
    assert refused(Mode.NORMAL, endpoint) is None
    assert refused(Mode.RESTARTING, endpoint, post_only=True) == (425, "service not ready")
    assert refused(Mode.DISABLED, endpoint, post_only=True) == (503, DISABLED)
    assert refused(Mode.CANCEL_ONLY, endpoint, post_only=True) == ((503, CANCEL_ONLY) if is_place else None)
    assert refused(Mode.POST_ONLY, endpoint) == ((503, POST_ONLY) if is_place else None)
    assert refused(Mode.POST_ONLY, endpoint, post_only=True) is None


@pytest.mark.parametrize("mode", list(Mode))
def test_heartbeats_and_reads_go_on_in_every_mode(mode: Mode) -> None:
    assert {refused(mode, endpoint) for endpoint in (HEARTBEAT, LOOKUP, "GET /data/orders")} == {None}


def test_post_only_says_how_long_it_still_lasts() -> None:
    denied = mode_refusal(Phase(Mode.POST_ONLY, NOW + 90 * SECOND_NS + 1), POST_ORDER, NOW)
    assert denied is not None
    assert denied.body == {"error": POST_ONLY, "code": "post_only_mode", "retry_after_seconds": 91}
    assert denied.headers == {"Retry-After": "91"}
    assert Phase(Mode.POST_ONLY).remaining_s(NOW) == 60
    assert Phase(Mode.POST_ONLY, NOW).remaining_s(NOW) == 1
