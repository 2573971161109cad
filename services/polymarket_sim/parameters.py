"""What a fault is and what parameters it may have: limits, choices, and what is said of any other value. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeGuard

from services.polymarket_sim.endpoints import unknown_endpoints


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


class WordParameter(NamedTuple):
    """One of a few words."""

    default: str
    choices: tuple[str, ...]
    meaning: str

    def refusal_of(self, value: object) -> str:
        return "" if value in self.choices else f"is one of {', '.join(self.choices)}"


class EndpointsParameter(NamedTuple):
    """Endpoints and groups of them, with commas in between (endpoints.py)."""

    default: str
    meaning: str = "which calls: groups or endpoints, with commas between them"

    def refusal_of(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > 1000:
            return "is a text of endpoints"
        unknown = unknown_endpoints(value)
        return f"names no endpoint {unknown[0][:60]!r} that can have faults" if unknown else ""


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


AnyParameter = Parameter | ChoiceParameter | WordParameter | EndpointsParameter | TextParameter


class Fault(NamedTuple):
    """`feed`: changes what leaves on the market channel, so the hot path must look at it."""

    meaning: str
    parameters: Mapping[str, AnyParameter]
    feed: bool = False


Values = dict[str, int | str]

TIMES: Final = Parameter(0, 0, 1_000_000, "how often before it switches itself off; 0 is until switched off")
PERCENT: Final = Parameter(100, 0, 100, "how many of a hundred it strikes")
SEED: Final = Parameter(1, 0, 2**53, "which ones: the same seed strikes the same again")


def _is_number(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
