"""The fault switch: named faults with parameters, off at every start, switched at run time by the control port.

In: a name, on or off, and parameters. Out: what the server asks before it acts, and how often each fault has struck.
Pure. Later parts add rows to FAULTS and the one question that reads them; a fault nobody asks about does not exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeGuard

from common.errors import Refusal
from common.reasons import Reason


class Parameter(NamedTuple):
    """A whole number between two limits."""

    default: int
    minimum: int
    maximum: int
    meaning: str

    def refusal_of(self, value: object) -> str:
        """What a value should be, when it is not; empty when it may be used."""
        if _is_number(value) and self.minimum <= value <= self.maximum:
            return ""
        return f"is a whole number from {self.minimum} to {self.maximum}"


class ChoiceParameter(NamedTuple):
    """One of a few whole numbers."""

    default: int
    choices: tuple[int, ...]
    meaning: str

    def refusal_of(self, value: object) -> str:
        if _is_number(value) and value in self.choices:
            return ""
        return f"is one of {', '.join(map(str, self.choices))}"


class TextParameter(NamedTuple):
    """A short text; it must be given when it has no default of `length_min`."""

    default: str
    length_min: int
    length_max: int
    meaning: str

    def refusal_of(self, value: object) -> str:
        if isinstance(value, str) and self.length_min <= len(value) <= self.length_max:
            return ""
        return f"is a text of {self.length_min} to {self.length_max} characters"


AnyParameter = Parameter | ChoiceParameter | TextParameter


class Fault(NamedTuple):
    """`feed`: changes what leaves on the market channel, so the hot path must look at it."""

    meaning: str
    parameters: Mapping[str, AnyParameter]
    feed: bool = False


Values = dict[str, int | str]

_TIMES = Parameter(0, 0, 1_000_000, "how often before it switches itself off; 0 is until switched off")
_EVERY = Parameter(10, 1, 1_000_000, "each Nth event frame of a connection")
TOKEN: Final = "token"
"""The parameter that holds token ids, with commas between them."""
_TOKENS = TextParameter("", 1, 2_000, "token ids, with commas between them")

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
            TOKEN: _TOKENS,
            "everywhere": Parameter(0, 0, 1, "1: on every connection; 0: on those that are open now"),
            "times": _TIMES,
        },
        feed=True,
    ),
    "withhold_first_book": Fault(
        "a subscription gets no first book",
        {TOKEN: _TOKENS._replace(length_min=0, meaning="of these tokens; empty is of every one"), "times": _TIMES},
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
    "cut_user_connections": Fault("every connection of the user channel is cut now, without a goodbye", {}),
    "no_pong": Fault("PING is not answered, nor is a ping frame", {}),
    "book_errors": Fault(
        "GET /book and POST /books are refused",
        {
            "status": ChoiceParameter(503, (429, 500, 502, 503), "the HTTP status"),
            "retry_after_s": Parameter(1, 0, 3_600, "said with a 429"),
            "times": _TIMES,
        },
    ),
    "stale_books": Fault(
        "GET /book and POST /books answer the books of the moment this was switched on", {"times": _TIMES}
    ),
}


class FaultSwitch:
    """Which faults are on, and with what."""

    def __init__(self) -> None:
        self.feed_is_faulty = False
        """Whether the market channel must ask about any fault: one look when all is well."""
        self.struck: Counter[str] = Counter()
        """How often each fault has done something since the start."""
        self._on: dict[str, Values] = {}
        self._last_connection: dict[str, int] = {}
        self._switched_on: Counter[str] = Counter()

    def set(self, name: str, on: bool, parameters: Mapping[str, object], last_connection: int = 0) -> None:
        """Switch a fault. Raises Refusal naming the fault or parameter that does not exist or is out of range.

        `last_connection` is the number of the newest market connection: some faults strike only those there are.
        """
        fault = FAULTS.get(name)
        if fault is None:
            raise Refusal(Reason.BAD_REQUEST, f"no fault {name[:60]!r}: {', '.join(FAULTS)}", "name")
        given: Values = {key: _checked(name, fault, key, value) for key, value in parameters.items()}
        if on:
            defaults = {key: parameter.default for key, parameter in fault.parameters.items() if key not in given}
            self._on[name] = given | {key: _checked(name, fault, key, value) for key, value in defaults.items()}
            self._last_connection[name] = last_connection
            self._switched_on[name] += 1
        else:
            self._on.pop(name, None)
        self._look()

    def is_on(self, name: str) -> bool:
        return name in self._on

    def values(self, name: str) -> Values | None:
        """The parameters of a fault that is on; nothing is counted."""
        return self._on.get(name)

    def switched_on(self, name: str) -> int:
        """How often the fault has been switched on: who counts begins anew with each."""
        return self._switched_on[name]

    def last_connection(self, name: str) -> int:
        """The newest connection there was when the fault was switched on."""
        return self._last_connection.get(name, 0)

    def use(self, name: str) -> Values | None:
        """The parameters of a fault that strikes now: it is counted, and its `times` count down."""
        values = self._on.get(name)
        if values is None:
            return None
        self.struck[name] += 1
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
                "struck": self.struck[name],
                "parameters": self._on.get(name, {key: row.default for key, row in fault.parameters.items()}),
            }
            for name, fault in FAULTS.items()
        ]


def _checked(name: str, fault: Fault, key: str, value: object) -> int | str:
    parameter = fault.parameters.get(key)
    if parameter is None:
        raise Refusal(Reason.BAD_REQUEST, f"{name} has no parameter {key[:60]!r}", key[:60])
    problem = parameter.refusal_of(value)
    if problem:
        reason = Reason.BAD_REQUEST if isinstance(parameter, TextParameter) else Reason.BAD_NUMBER
        raise Refusal(reason, f"{key} {problem}", key)
    assert isinstance(value, int | str)
    return value


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def tokens_in(value: object) -> list[str]:
    """The token ids of a `token` parameter."""
    return [token_id for token_id in value.split(",") if token_id] if isinstance(value, str) else []
