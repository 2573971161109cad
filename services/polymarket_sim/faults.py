"""The fault switch: named faults with parameters, off at every start, switched at run time by the control port.

In: a name, on or off, and parameters. Out: what the server asks before it acts, and how often each fault has struck.
Pure: which of a hundred a fault strikes follows from its seed alone. A fault nobody asks about does not exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from common.errors import Refusal
from common.reasons import Reason
from services.polymarket_sim.endpoints import endpoints_in
from services.polymarket_sim.parameters import TIMES, ChoiceParameter, Fault, Parameter, TextParameter, Values
from services.polymarket_sim.rest_fault_table import REST_FAULTS

_EVERY = Parameter(10, 1, 1_000_000, "each Nth event frame of a connection")
TOKEN: Final = "token"
"""The parameter that holds token ids, with commas between them."""
_TOKENS = TextParameter("", 1, 2_000, "token ids, with commas between them")

FAULTS: Final[dict[str, Fault]] = {
    "http_delay_ms": Fault(
        "every HTTP answer of the venue comes later",
        {"ms": Parameter(250, 0, 60_000, "how much later"), "times": TIMES},
    ),
    "drop_user_events": Fault("events of the user channel are lost", {"times": TIMES}),
    "freeze_market_feed": Fault("the market channel stays open and says nothing", {}, feed=True),
    "freeze_token": Fault(
        "nothing more is said about some tokens, while everything else goes on",
        {
            TOKEN: _TOKENS,
            "everywhere": Parameter(0, 0, 1, "1: on every connection; 0: on those that are open now"),
            "times": TIMES,
        },
        feed=True,
    ),
    "withhold_first_book": Fault(
        "a subscription gets no first book",
        {TOKEN: _TOKENS._replace(length_min=0, meaning="of these tokens; empty is of every one"), "times": TIMES},
    ),
    "drop_market_events": Fault(
        "event frames of the market channel are lost", {"every": _EVERY, "times": TIMES}, feed=True
    ),
    "duplicate_market_events": Fault("event frames are sent twice", {"every": _EVERY, "times": TIMES}, feed=True),
    "reorder_market_events": Fault(
        "an event frame follows the next one of its market", {"every": _EVERY, "times": TIMES}, feed=True
    ),
    "garbage_frames": Fault("an event frame is no JSON", {"every": _EVERY, "times": TIMES}, feed=True),
    "half_json_frames": Fault("an event frame is cut in the middle", {"every": _EVERY, "times": TIMES}, feed=True),
    "oversized_frames": Fault(
        "a huge frame follows an event frame",
        {"mb": Parameter(9, 1, 15, "how huge"), "every": _EVERY, "times": TIMES},
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
            "times": TIMES,
        },
    ),
    "stale_books": Fault(
        "GET /book and POST /books answer the books of the moment this was switched on", {"times": TIMES}
    ),
    **REST_FAULTS,
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
        self._asked: Counter[str] = Counter()
        """How often each fault with a percentage was asked about since it was switched on."""

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
            self._asked[name] = 0
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
        if values is None or not self._chosen(name, values):
            return None
        return self.strike(name)

    def strike(self, name: str) -> Values:
        """Count a strike of a fault that is on, whoever chose it."""
        values = self._on[name]
        self.struck[name] += 1
        times = values.get("times")
        if times == 1:
            del self._on[name]
            self._look()
        elif isinstance(times, int) and times:
            self._on[name] = {**values, "times": times - 1}
        return values

    def use_at(self, name: str, endpoint: str) -> Values | None:
        """The same for a fault of some endpoints only."""
        values = self._on.get(name)
        if values is None or endpoint not in endpoints_in(str(values["endpoints"])):
            return None
        return self.use(name)

    def _chosen(self, name: str, values: Values) -> bool:
        percent = values.get("percent")
        if percent is None:
            return True
        self._asked[name] += 1
        return draw(int(values["seed"]), self._asked[name]) % 100 < int(percent)

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


def draw(seed: int, number: int) -> int:
    """A number of 64 bits that follows from both and looks like chance."""
    return int.from_bytes(blake2b(f"{seed}:{number}".encode(), digest_size=8).digest(), "big")


def _checked(name: str, fault: Fault, key: str, value: object) -> int | str:
    parameter = fault.parameters.get(key)
    if parameter is None:
        raise Refusal(Reason.BAD_REQUEST, f"{name} has no parameter {key[:60]!r}", key[:60])
    problem = parameter.refusal_of(value)
    if problem:
        reason = Reason.BAD_REQUEST if isinstance(parameter.default, str) else Reason.BAD_NUMBER
        raise Refusal(reason, f"{key} {problem}", key)
    assert isinstance(value, int | str)
    return value


def tokens_in(value: object) -> list[str]:
    """The token ids of a `token` parameter."""
    return [token_id for token_id in value.split(",") if token_id] if isinstance(value, str) else []
