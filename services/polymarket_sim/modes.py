"""The modes of the whole venue (protocol section 7.3): which one holds now, until when, and what it refuses.

In: the fault that began a mode with its parameters, and the monotonic clock. Out: the phase of the moment, or the
refusal of the venue. A mode ends by itself when its time is over. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from services.polymarket_sim.denied import Denied
from services.polymarket_sim.endpoints import ORDER_CALLS, PLACES
from services.polymarket_sim.parameters import Values

SECOND_NS: Final = 1_000_000_000
RESTARTING_TEXT: Final = "service not ready"
DISABLED_TEXT: Final = "Trading is currently disabled. Check polymarket.com for updates"
CANCEL_ONLY_TEXT: Final = "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed."
POST_ONLY_TEXT: Final = "post-only mode: only post-only orders and cancels are allowed"
POST_ONLY_CODE: Final = "post_only_mode"
ENDLESS_S: Final = 60
"""What a mode without an end tells clients to wait."""


class Mode(StrEnum):
    NORMAL = "NORMAL"
    RESTARTING = "RESTARTING"
    POST_ONLY = "POST_ONLY"
    CANCEL_ONLY = "CANCEL_ONLY"
    DISABLED = "DISABLED"


class Phase(NamedTuple):
    """A mode until a moment of the monotonic clock; 0 is without an end."""

    mode: Mode
    until_ns: int = 0

    def remaining_s(self, now_ns: int) -> int:
        """Whole seconds to wait, never less than one."""
        return max(1, -(-(self.until_ns - now_ns) // SECOND_NS)) if self.until_ns else ENDLESS_S

    def to_wire(self, now_ns: int) -> dict[str, object]:
        return {"mode": self.mode.value, "remaining_s": self.remaining_s(now_ns) if self.until_ns else None}


NORMAL: Final = Phase(Mode.NORMAL)
_ONE: Final = {
    "post_only_mode": Mode.POST_ONLY,
    "cancel_only": Mode.CANCEL_ONLY,
    "trading_disabled": Mode.DISABLED,
}


class VenueModes:
    """The phases to come; `fault` is the fault they belong to."""

    def __init__(self) -> None:
        self.fault = ""
        self._phases: list[Phase] = []

    def begin(self, fault: str, values: Values, now_ns: int) -> None:
        """Instead of whatever held before."""
        self.fault = fault
        if fault == "restart":
            up_ns = now_ns + int(values["down_s"]) * SECOND_NS
            normal_ns = up_ns + int(values["post_only_s"]) * SECOND_NS
            self._phases = [Phase(Mode.RESTARTING, up_ns), Phase(Mode.POST_ONLY, normal_ns)]
        else:
            for_ns = int(values["for_s"]) * SECOND_NS
            self._phases = [Phase(_ONE[fault], now_ns + for_ns if for_ns else 0)]

    def end(self) -> None:
        self.fault = ""
        self._phases = []

    def phase(self, now_ns: int) -> Phase:
        """What holds now; phases whose time is over are forgotten, with the last one the fault."""
        while self._phases and 0 < self._phases[0].until_ns <= now_ns:
            del self._phases[0]
        if not self._phases:
            self.fault = ""
            return NORMAL
        return self._phases[0]


def mode_refusal(phase: Phase, endpoint: str, now_ns: int, *, post_only: bool = False) -> Denied | None:
    """The venue's refusal of an order call in this phase; None when it may go on."""
    match phase.mode:
        case Mode.RESTARTING if endpoint in ORDER_CALLS:
            return Denied(425, RESTARTING_TEXT)
        case Mode.DISABLED if endpoint in ORDER_CALLS:
            return Denied(503, DISABLED_TEXT)
        case Mode.CANCEL_ONLY if endpoint in PLACES:
            return Denied(503, CANCEL_ONLY_TEXT)
        case Mode.POST_ONLY if endpoint in PLACES and not post_only:
            return post_only_refusal(phase.remaining_s(now_ns))
    return None


def post_only_refusal(retry_after_s: int) -> Denied:
    return Denied(
        503,
        POST_ONLY_TEXT,
        headers={"Retry-After": str(retry_after_s)},
        code=POST_ONLY_CODE,
        retry_after_seconds=retry_after_s,
    )
