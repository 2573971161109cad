"""What a venue takes now: one table of modes, moved by its answers and by time. Pure.

In: what answers of order calls meant (a Reason and the pause the venue asked for), probes, and the time. Out: the mode,
whether a place may leave, and when to ask again. Resuming needs nobody: a mode ends when the venue serves again, found
by probes that change nothing (RESTARTING, DISABLED, BLOCKED) or by one order on trial after the announced time
(POST_ONLY, CANCEL_ONLY). Cancels always leave: they are what must get through, and each is a probe as well. After a
restart the venue takes only post-only orders for about two minutes without saying so first (protocol section 7.3), so
takers stay here for as long.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from common.reasons import Reason

MS: Final = 1_000_000
S: Final = 1_000 * MS
PROBE_FIRST_NS: Final = S
PROBE_MAX_NS: Final = 30 * S
POST_ONLY_NS: Final = 120 * S
"""How long a venue stays post-only after a restart, and when it does not say how long (a setting)."""
PAUSE_MAX_NS: Final = 600 * S
"""Nothing a venue says of itself keeps us from trying again for longer: resuming needs nobody."""
FAILURES_MAX: Final = 5
"""Answers in a row that told nothing (timeouts, 5xx, other people's pages) before the venue is called DEGRADED."""


class Mode(StrEnum):
    NORMAL = "NORMAL"
    RESTARTING = "RESTARTING"
    POST_ONLY = "POST_ONLY"
    CANCEL_ONLY = "CANCEL_ONLY"
    DISABLED = "DISABLED"
    DEGRADED = "DEGRADED"
    BLOCKED = "BLOCKED"


class Signal(StrEnum):
    """What was learned. The first five are the venue's own words."""

    RESTARTING = "RESTARTING"
    POST_ONLY = "POST_ONLY"
    CANCEL_ONLY = "CANCEL_ONLY"
    DISABLED = "DISABLED"
    BLOCKED = "BLOCKED"
    PLACED = "PLACED"
    """A place that may take was judged by the engine: taken, or refused for what it is."""
    MADE = "MADE"
    """The same of a post-only place: says nothing about takers."""
    SERVED = "SERVED"
    """A cancel or probe was answered as ever."""
    FAILING = "FAILING"
    """FAILURES_MAX answers in a row told nothing."""
    TIME = "TIME"
    """The pause of the mode is over."""


class Rule(NamedTuple):
    """`takers`, `makers`: which places may leave. `probes`: whether the venue is asked when the pause is over."""

    takers: bool
    makers: bool
    probes: bool
    reason: Reason
    meaning: str


RULES: Final[dict[Mode, Rule]] = {
    Mode.NORMAL: Rule(True, True, False, Reason.OK, "everything is taken"),
    Mode.RESTARTING: Rule(False, False, True, Reason.VENUE_RESTARTING, "the matching engine restarts"),
    Mode.POST_ONLY: Rule(False, True, False, Reason.VENUE_POST_ONLY, "only post-only orders and cancels are taken"),
    Mode.CANCEL_ONLY: Rule(False, False, False, Reason.VENUE_CANCEL_ONLY, "only cancels are taken"),
    Mode.DISABLED: Rule(False, False, True, Reason.VENUE_DISABLED, "trading is switched off, cancels too"),
    Mode.DEGRADED: Rule(True, True, False, Reason.OK, "answers are missing or useless; orders still leave"),
    Mode.BLOCKED: Rule(False, False, True, Reason.VENUE_BLOCKED, "somebody in between refuses us: proxy or geo-block"),
}

_SAID: Final = {
    Signal.RESTARTING: Mode.RESTARTING,
    Signal.POST_ONLY: Mode.POST_ONLY,
    Signal.CANCEL_ONLY: Mode.CANCEL_ONLY,
    Signal.DISABLED: Mode.DISABLED,
    Signal.BLOCKED: Mode.BLOCKED,
}
"""What the venue says of itself is believed from everywhere."""

TABLE: Final[dict[tuple[Mode, Signal], Mode]] = {
    **{(mode, signal): said for mode in Mode for signal, said in _SAID.items()},
    **{(mode, Signal.PLACED): Mode.NORMAL for mode in Mode},
    (Mode.RESTARTING, Signal.SERVED): Mode.POST_ONLY,
    (Mode.RESTARTING, Signal.MADE): Mode.POST_ONLY,
    (Mode.DISABLED, Signal.SERVED): Mode.NORMAL,
    (Mode.DISABLED, Signal.MADE): Mode.POST_ONLY,
    (Mode.BLOCKED, Signal.SERVED): Mode.NORMAL,
    (Mode.BLOCKED, Signal.MADE): Mode.NORMAL,
    (Mode.CANCEL_ONLY, Signal.MADE): Mode.POST_ONLY,
    (Mode.CANCEL_ONLY, Signal.TIME): Mode.NORMAL,
    (Mode.POST_ONLY, Signal.TIME): Mode.NORMAL,
    (Mode.NORMAL, Signal.FAILING): Mode.DEGRADED,
    (Mode.DEGRADED, Signal.SERVED): Mode.NORMAL,
    (Mode.DEGRADED, Signal.MADE): Mode.NORMAL,
}
"""What is not here changes nothing."""

SIGNAL_OF: Final[dict[Reason, Signal]] = {
    Reason.VENUE_RESTARTING: Signal.RESTARTING,
    Reason.VENUE_POST_ONLY: Signal.POST_ONLY,
    Reason.VENUE_CANCEL_ONLY: Signal.CANCEL_ONLY,
    Reason.VENUE_DISABLED: Signal.DISABLED,
    Reason.VENUE_BLOCKED: Signal.BLOCKED,
}
_TELLS_NOTHING: Final = frozenset(
    {Reason.VENUE_UNKNOWN_OUTCOME, Reason.VENUE_UNAVAILABLE, Reason.TIMEOUT, Reason.VENUE_RATE_LIMIT}
)
_FAILS: Final = _TELLS_NOTHING - {Reason.VENUE_RATE_LIMIT}


class Hold(NamedTuple):
    """Why a place may not leave now, and when it is worth another try."""

    reason: Reason
    text: str
    retry_after_ms: int


class VenueModes:
    """The mode of one venue. `now` is monotonic nanoseconds."""

    def __init__(self, post_only_ns: int = POST_ONLY_NS) -> None:
        self._post_only_ns = post_only_ns
        self.mode = Mode.NORMAL
        self.text = ""
        self._since = 0
        """When the mode began: answers to what left earlier end no mode."""
        self._until = 0
        self._pause = PROBE_FIRST_NS
        self._on_trial = False
        self._trying = False
        self._failures = 0

    def hold(self, maker_only: bool, now: int) -> Hold | None:
        """Why a place may not leave, or None."""
        rule = RULES[self.mode]
        if not (rule.makers if maker_only else rule.takers):
            pause_ms = max(0, self._until - now) // MS + 1
            again = f"it is looked at again in {pause_ms // 1000 + 1} s"
            text = f"the venue is {self.mode}: {rule.meaning}{self._said()}; {again}"
            return Hold(rule.reason, text, pause_ms)
        if self._on_trial and self._trying and not maker_only:
            text = "the venue may take orders again: one is tried, the others wait for it"
            return Hold(Reason.VENUE_POST_ONLY, text, PROBE_FIRST_NS // MS)
        return None

    def leaves(self, maker_only: bool) -> None:
        """A place leaves; its answer must come to `observe`. On trial it is the one that is tried."""
        if self._on_trial and not maker_only:
            self._trying = True

    def not_left(self) -> None:
        """A place that was let through did not leave after all."""
        self._trying = False

    def _said(self) -> str:
        return f" ({self.text})" if self.text else ""

    def due_ns(self) -> int:
        """When `tick` has something to do; 0 for never."""
        return 0 if self.mode in (Mode.NORMAL, Mode.DEGRADED) else self._until

    def tick(self, now: int) -> bool:
        """Time passed: True when the venue should be probed now."""
        if self.mode in (Mode.NORMAL, Mode.DEGRADED) or now < self._until:
            return False
        if RULES[self.mode].probes:
            self._longer(now)
            return True
        self._move(Signal.TIME, 0, "", now)
        self._on_trial, self._trying = True, False
        return False

    def observe(
        self, code: Reason, retry_after_ms: int, text: str, now: int, *, began: int, place: bool, maker_only: bool
    ) -> None:
        """An answer of an order call that `began` then: of a place, a cancel, or a probe."""
        if place and not maker_only:
            self._trying = False
        signal = SIGNAL_OF.get(code)
        if signal is None and code in _TELLS_NOTHING:
            self._failures += code in _FAILS
            if self._failures >= FAILURES_MAX:
                self._move(Signal.FAILING, 0, text, now)
            return
        self._failures = 0
        if signal is None:
            if not place:
                signal = Signal.SERVED
            else:
                signal = Signal.MADE if maker_only else Signal.PLACED
            if began < self._since:
                return  # it left before the venue said otherwise: no news of what it takes now
        if signal is Signal.PLACED:
            self._on_trial = False
        self._move(signal, retry_after_ms, text, now)

    def _move(self, signal: Signal, retry_after_ms: int, text: str, now: int) -> None:
        after = TABLE.get((self.mode, signal))
        if after is None:
            return
        said = _SAID.get(signal) is after
        if after is self.mode:
            if said and retry_after_ms:
                self._until = now + min(retry_after_ms * MS, PAUSE_MAX_NS)
            return
        self._since, before = now, self.mode
        self.mode, self.text = after, text if said or signal is Signal.FAILING else ""
        if signal is not Signal.TIME and not self._is_only_half_open(before, signal):
            # Of a trial that failed the next one waits longer.
            self._pause = min(2 * self._pause, PROBE_MAX_NS) if self._on_trial else PROBE_FIRST_NS
        self._on_trial, self._trying = self._is_only_half_open(before, signal), False
        pause = self._post_only_ns if after is Mode.POST_ONLY else self._pause
        self._until = now + (min(retry_after_ms * MS, PAUSE_MAX_NS) or pause)

    @staticmethod
    def _is_only_half_open(before: Mode, signal: Signal) -> bool:
        """A region may close places and serve cancels: after the block only a place shows whether places pass."""
        return before is Mode.BLOCKED and signal is Signal.SERVED

    def _longer(self, now: int) -> None:
        self._pause = min(2 * self._pause, PROBE_MAX_NS)
        self._until = now + self._pause
