"""Delays before another attempt."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from common.backoff import ExponentialBackoff


class _Highest(Random):
    def uniform(self, a: float, b: float) -> float:
        del a
        return b


def test_delays_double_up_to_the_maximum() -> None:
    backoff = ExponentialBackoff(_Highest())
    assert [backoff.next_delay_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_success_starts_again_at_the_minimum() -> None:
    backoff = ExponentialBackoff(_Highest(), 0.5, 10)
    backoff.next_delay_s()
    backoff.next_delay_s()
    backoff.reset()
    assert backoff.next_delay_s() == 0.5


@given(st.integers(0, 2000), st.integers())
def test_jitter_keeps_between_half_and_the_whole(failures: int, seed: int) -> None:
    backoff = ExponentialBackoff(Random(seed))
    backoff.attempts = failures
    whole = min(2.0 ** min(failures, 30), 60.0)
    assert whole / 2 <= backoff.next_delay_s() <= whole


def test_the_same_seed_gives_the_same_delays() -> None:
    first, second = ExponentialBackoff(Random(7)), ExponentialBackoff(Random(7))
    assert [first.next_delay_s() for _ in range(5)] == [second.next_delay_s() for _ in range(5)]
