"""What goes wrong in one seed, and how often. Drawn once from the seed, so that seeds differ in kind, not only in luck.

A fault that a profile leaves out never happens in its run: rare combinations are found by switching most others off
(swarm testing). `calm()` ends all of them.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.sim.clock import MS, S

RATES: dict[str, float] = {
    "http_not_sent": 0.04,
    "http_lost": 0.06,
    "http_late": 0.06,
    "http_answer_lost": 0.08,
    "http_5xx_after": 0.06,
    "http_5xx_before": 0.04,
    "http_425": 0.04,
    "http_doubled": 0.04,
    "http_garbled": 0.03,
    "http_slow": 0.10,
    "venue_refuses": 0.06,
    "venue_delays": 0.05,
    "replica_lags": 0.40,
    "event_late": 0.25,
    "event_doubled": 0.15,
    "cancel_races": 0.25,
    "bus_lost": 0.03,
    "reply_lost": 0.08,
    "stall": 0.004,
}
"""Chance per occasion at full intensity."""

KILLS = ("executor", "gateway", "user_data")
PERIODS: dict[str, int] = {
    "kill_executor": 7 * S,
    "kill_gateway": 8 * S,
    "kill_user_data": 18 * S,
    "socket_cut": 14 * S,
    "socket_silent": 25 * S,
    "venue_restart": 30 * S,
    "client_crash": 15 * S,
    "clock_step": 12 * S,
}
"""Mean time between faults that happen by themselves."""

LATE_MAX_NS = 20 * S
"""A request that is late arrives within this: well inside request_life_ms, which is what that setting promises."""
REPLICA_LAG_MAX_NS = 2 * S
EVENT_LATE_MAX_NS = 8 * S
SILENT_MAX_NS = 20 * S
"""Shorter than user_data.dead_after_s: by then the channel has noticed."""
CLOCK_STEP_MAX_NS = 2 * S
"""How far the machine's wall clock is corrected at once; the venue's differs by up to this from the start."""
SUBSCRIBE_MAX_NS = 2 * S
"""With the replica's lag less than the pause before the second catch-up pass."""


class Faults:
    """The profile of one run. Every draw comes from the run's one generator."""

    def __init__(self, rng: Random, seen: Counter[str]) -> None:
        self._rng = rng
        self._seen = seen
        intensity = rng.choice((0.3, 1.0, 1.0, 2.0))
        keep = rng.choice((0.35, 0.7, 1.0))
        self._rates = {name: min(0.9, rate * intensity) if rng.random() < keep else 0.0 for name, rate in RATES.items()}
        self._periods = {name: period if rng.random() < keep else 0 for name, period in PERIODS.items()}
        self.on = True

    def happens(self, name: str) -> bool:
        if not self.on or self._rng.random() >= self._rates[name]:
            return False
        self._seen[name] += 1
        return True

    def next_in(self, name: str) -> int:
        """How long until this fault happens by itself; 0 is never."""
        period = self._periods[name] if self.on else 0
        return round(self._rng.expovariate(1 / period)) + 1 if period else 0

    def between(self, low_ns: int, high_ns: int) -> int:
        return self._rng.randrange(low_ns, high_ns)

    def hop(self) -> int:
        """How long a message inside the machine takes to be looked at."""
        return self.between(20_000, 2 * MS)

    def calm(self) -> None:
        self.on = False
