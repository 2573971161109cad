"""How long to wait before the next attempt: exponential with jitter (spec 1). Pure.

In: a random source and the fact of another failure. Out: seconds. The delay before jitter doubles from `minimum_s` to
`maximum_s`; jitter multiplies it by a factor between one half and one, so that many clients do not return at once.
"""

from __future__ import annotations

from random import Random

_DOUBLINGS_MAX = 30


class ExponentialBackoff:
    """The delays of one thing that keeps failing; `reset` when it succeeded."""

    def __init__(self, rng: Random, minimum_s: float = 1.0, maximum_s: float = 60.0) -> None:
        self.minimum_s = minimum_s
        self.maximum_s = maximum_s
        self.attempts = 0
        self._rng = rng

    def next_delay_s(self) -> float:
        delay = min(self.minimum_s * 2.0 ** min(self.attempts, _DOUBLINGS_MAX), self.maximum_s)
        self.attempts += 1
        return delay * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self.attempts = 0
