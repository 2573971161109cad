"""The fault switch refuses what it does not know and counts down."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import Refusal
from common.settings import ROOT
from services.polymarket_sim.faults import FAULTS, FaultSwitch


def test_everything_is_off_at_the_start() -> None:
    switch = FaultSwitch()
    assert [row["on"] for row in switch.to_wire()] == [False] * len(FAULTS)
    assert all(switch.use(name) is None for name in FAULTS)


def test_times_counts_down_and_zero_is_for_ever() -> None:
    switch = FaultSwitch()
    switch.set("post_order_timeout", True, {"times": 2})
    assert [switch.use("post_order_timeout") is not None for _ in range(3)] == [True, True, False]
    switch.set("http_delay_ms", True, {"ms": 5})
    assert [switch.use("http_delay_ms") for _ in range(3)] == [{"ms": 5, "times": 0}] * 3
    switch.set("http_delay_ms", False, {})
    assert switch.use("http_delay_ms") is None


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        ("no_such_fault", {}, "name"),
        ("http_delay_ms", {"seconds": 1}, "seconds"),
        ("http_delay_ms", {"ms": -1}, "ms"),
        ("http_delay_ms", {"ms": "10"}, "ms"),
        ("http_delay_ms", {"ms": True}, "ms"),
        ("freeze_market_feed", {"times": 1}, "times"),
    ],
)
def test_unknown_names_and_values_out_of_range_are_refused(name: str, parameters: dict[str, Any], field: str) -> None:
    switch = FaultSwitch()
    with pytest.raises(Refusal) as refused:
        switch.set(name, True, parameters)
    assert refused.value.field == field
    assert not any(row["on"] for row in switch.to_wire())


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_runbook_says_what_each_fault_looks_like(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs" / "runbook.md").read_text()
