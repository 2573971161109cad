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
        ("book_errors", {"status": 404}, "status"),
        ("book_errors", {"status": "503"}, "status"),
        ("freeze_token", {}, "token"),
        ("freeze_token", {"token": ""}, "token"),
        ("freeze_token", {"token": 7}, "token"),
        ("freeze_token", {"token": "x" * 2_001}, "token"),
    ],
)
def test_unknown_names_and_values_out_of_range_are_refused(name: str, parameters: dict[str, Any], field: str) -> None:
    switch = FaultSwitch()
    with pytest.raises(Refusal) as refused:
        switch.set(name, True, parameters)
    assert refused.value.field == field
    assert not any(row["on"] for row in switch.to_wire())


def test_what_must_be_given_need_not_be_given_to_switch_a_fault_off() -> None:
    switch = FaultSwitch()
    switch.set("freeze_token", True, {"token": "1"})
    switch.set("freeze_token", False, {})
    assert not switch.is_on("freeze_token")


def test_every_strike_is_counted_and_nothing_else() -> None:
    switch = FaultSwitch()
    switch.use("no_pong")
    switch.set("no_pong", True, {})
    switch.values("no_pong")
    switch.is_on("no_pong")
    assert switch.struck == {}
    for _ in range(3):
        switch.use("no_pong")
    switch.set("no_pong", False, {})
    assert switch.struck == {"no_pong": 3}
    assert {row["name"]: row["struck"] for row in switch.to_wire()} == dict.fromkeys(FAULTS, 0) | {"no_pong": 3}


@pytest.mark.parametrize(("name", "parameter"), [(n, p) for n, fault in FAULTS.items() for p in fault.parameters])
def test_the_defaults_may_be_given_too(name: str, parameter: str) -> None:
    row = FAULTS[name].parameters[parameter]
    assert row.refusal_of(row.default) == "" or (name, parameter) == ("freeze_token", "token")


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_page_of_the_simulator_has_a_row_for_each_fault_and_parameter(name: str) -> None:
    page = (ROOT / "docs" / "simulator.md").read_text().splitlines()
    (row,) = [line for line in page if line.startswith(f"| `{name}` |")]
    assert FAULTS[name].meaning in row
    for key, parameter in FAULTS[name].parameters.items():
        assert f"`{key}` {parameter.default}" in row or parameter.default == ""
