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


class TextParameter(NamedTuple):
    """A short text."""

    default: str
    length_max: int
    meaning: str


class Fault(NamedTuple):
    """`feed`: changes what leaves on the market channel, so the hot path must look at it."""

    meaning: str
    parameters: Mapping[str, Parameter | TextParameter]
    feed: bool = False


Values = dict[str, int | str]

_TIMES = Parameter(0, 0, 1_000_000, "how often before it switches itself off; 0 is until switched off")
_EVERY = Parameter(10, 1, 1_000_000, "each Nth event frame of a connection")
_TOKENS = TextParameter("", 2_000, "token ids, with commas between them")

FAULTS: Final[dict[str, Fault]] = {
    "http_delay_ms": Fault(
        "every HTTP answer of the venue comes later",
        {"ms": Parameter(250, 0, 60_000, "how much later"), "times": _TIMES},
    ),
    "post_order_timeout": Fault("orders are accepted and the answer never comes", {"times": _TIMES}),
    "drop_user_events": Fault("events of the user channel are lost", {"times": _TIMES}),
    "freeze_market_feed": Fault("the market channel stays open and says nothing", {}, feed=True),
    "freeze_token": Fault(
        "nothing more is said about some tokens, while everything else goes on",
        {
            "token": _TOKENS,
            "everywhere": Parameter(0, 0, 1, "1: on every connection; 0: on those that are open now"),
        },
        feed=True,
    ),
    "withhold_first_book": Fault(
        "a subscription gets no first book",
        {"token": TextParameter("", 100, "of this token; empty is of every one"), "times": _TIMES},
    ),
    "drop_market_events": Fault(
        "event frames of the market channel are lost", {"every": _EVERY, "times": _TIMES}, feed=True
    ),
    "duplicate_market_events": Fault("event frames are sent twice", {"every": _EVERY, "times": _TIMES}, feed=True),
    "reorder_market_events": Fault(
        "an event frame follows the next one of its market", {"every": _EVERY, "times": _TIMES}, feed=True
    ),
    "garbage_frames": Fault("an event frame is no JSON", {"every": _EVERY, "times": _TIMES}, feed=True),
    "half_json_frames": Fault("an event frame is cut in the middle", {"every": _EVERY, "times": _TIMES}, feed=True),
    "oversized_frames": Fault(
        "a huge frame follows an event frame",
        {"mb": Parameter(9, 1, 15, "how huge"), "every": _EVERY, "times": _TIMES},
        feed=True,
    ),
    "slow_drip": Fault(
        "every frame of the market channel waits before it leaves, those behind it too",
        {"ms": Parameter(200, 1, 60_000, "how long each waits")},
    ),
    "cut_market_connections": Fault("every market connection is cut now, without a goodbye", {}),
    "no_pong": Fault("PING is not answered", {}),
    "book_errors": Fault(
        "GET /book and POST /books are refused",
        {
            "status": Parameter(503, 400, 599, "the HTTP status: 429, 500, 502, 503"),
            "retry_after_s": Parameter(1, 0, 3_600, "said with a 429"),
            "times": _TIMES,
        },
    ),
    "stale_books": Fault("GET /book and POST /books answer the books of the moment this was switched on", {}),
}


class FaultSwitch:
    """Which faults are on, and with what."""

    def __init__(self) -> None:
        self.feed_is_faulty = False
        """Whether the market channel must ask about any fault: one look when all is well."""
        self._on: dict[str, Values] = {}
        self._last_connection: dict[str, int] = {}

    def set(self, name: str, on: bool, parameters: Mapping[str, object], last_connection: int = 0) -> None:
        """Switch a fault. Raises Refusal naming the fault or parameter that does not exist or is out of range.

        `last_connection` is the number of the newest market connection: some faults strike only those there are.
        """
        fault = FAULTS.get(name)
        if fault is None:
            raise Refusal(Reason.BAD_REQUEST, f"no fault {name[:60]!r}: {', '.join(FAULTS)}", "name")
        values: Values = {key: parameter.default for key, parameter in fault.parameters.items()}
        for key, value in parameters.items():
            values[key] = _checked(name, fault, key, value)
        if on:
            self._on[name] = values
            self._last_connection[name] = last_connection
        else:
            self._on.pop(name, None)
        self._look()

    def is_on(self, name: str) -> bool:
        return name in self._on

    def values(self, name: str) -> Values | None:
        """The parameters of a fault that is on; nothing is counted."""
        return self._on.get(name)

    def last_connection(self, name: str) -> int:
        """The newest connection there was when the fault was switched on."""
        return self._last_connection.get(name, 0)

    def use(self, name: str) -> Values | None:
        """The parameters of a fault that applies now; counts down its `times`."""
        values = self._on.get(name)
        if values is None:
            return None
        times = values.get("times")
        if times == 1:
            del self._on[name]
            self._look()
        elif isinstance(times, int) and times:
            self._on[name] = {**values, "times": times - 1}
        return values

    def _look(self) -> None:
        self.feed_is_faulty = any(FAULTS[name].feed for name in self._on)

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


def _checked(name: str, fault: Fault, key: str, value: object) -> int | str:
    parameter = fault.parameters.get(key)
    if parameter is None:
        raise Refusal(Reason.BAD_REQUEST, f"{name} has no parameter {key[:60]!r}", key[:60])
    if isinstance(parameter, TextParameter):
        if not isinstance(value, str) or len(value) > parameter.length_max:
            raise Refusal(Reason.BAD_REQUEST, f"{key} is a text of at most {parameter.length_max} characters", key)
        return value
    if not isinstance(value, int) or isinstance(value, bool) or not parameter.minimum <= value <= parameter.maximum:
        text = f"{key} is a whole number from {parameter.minimum} to {parameter.maximum}"
        raise Refusal(Reason.BAD_NUMBER, text, key)
    return value
