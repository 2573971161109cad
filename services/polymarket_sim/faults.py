"""The fault switch: named faults with parameters, off at every start, switched at run time by the control port.

In: a name, on or off, and parameters. Out: what the server asks before it acts. Pure. Later parts add rows to FAULTS
and the one question that reads them; a fault nobody asks about does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from common.errors import Refusal
from common.reasons import Reason


class Parameter(NamedTuple):
    """A whole number with its limits."""

    default: int
    minimum: int
    maximum: int
    meaning: str


class Fault(NamedTuple):
    meaning: str
    parameters: dict[str, Parameter]


_TIMES = Parameter(0, 0, 1_000_000, "how often before it switches itself off; 0 is until switched off")

FAULTS: Final[dict[str, Fault]] = {
    "http_delay_ms": Fault(
        "every HTTP answer of the venue comes later",
        {"ms": Parameter(250, 0, 60_000, "how much later"), "times": _TIMES},
    ),
    "post_order_timeout": Fault("orders are accepted and the answer never comes", {"times": _TIMES}),
    "drop_user_events": Fault("events of the user channel are lost", {"times": _TIMES}),
    "freeze_market_feed": Fault("the market channel stays open and says nothing", {}),
}


class FaultSwitch:
    """Which faults are on, and with what."""

    def __init__(self) -> None:
        self._on: dict[str, dict[str, int]] = {}

    def set(self, name: str, on: bool, parameters: Mapping[str, object]) -> None:
        """Switch a fault. Raises Refusal naming the fault or parameter that does not exist or is out of range."""
        fault = FAULTS.get(name)
        if fault is None:
            raise Refusal(Reason.BAD_REQUEST, f"no fault {name[:60]!r}: {', '.join(FAULTS)}", "name")
        values = {key: parameter.default for key, parameter in fault.parameters.items()}
        for key, value in parameters.items():
            values[key] = _checked(name, fault, key, value)
        if on:
            self._on[name] = values
        else:
            self._on.pop(name, None)

    def is_on(self, name: str) -> bool:
        return name in self._on

    def use(self, name: str) -> dict[str, int] | None:
        """The parameters of a fault that applies now; counts down its `times`."""
        values = self._on.get(name)
        if values is None:
            return None
        if values.get("times") == 1:
            del self._on[name]
        elif values.get("times"):
            self._on[name] = {**values, "times": values["times"] - 1}
        return values

    def to_wire(self) -> list[dict[str, object]]:
        return [
            {
                "name": name,
                "meaning": fault.meaning,
                "on": name in self._on,
                "parameters": self._on.get(name, {key: row.default for key, row in fault.parameters.items()}),
            }
            for name, fault in FAULTS.items()
        ]


def _checked(name: str, fault: Fault, key: str, value: object) -> int:
    parameter = fault.parameters.get(key)
    if parameter is None:
        raise Refusal(Reason.BAD_REQUEST, f"{name} has no parameter {key[:60]!r}", key[:60])
    if not isinstance(value, int) or isinstance(value, bool) or not parameter.minimum <= value <= parameter.maximum:
        text = f"{key} is a whole number from {parameter.minimum} to {parameter.maximum}"
        raise Refusal(Reason.BAD_NUMBER, text, key)
    return value
