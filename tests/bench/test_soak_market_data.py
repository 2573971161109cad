"""The soak of market_data, short; the long one is run by hand (docs/development.md)."""

from __future__ import annotations

import pytest

from tests.bench.soak_market_data import Samples, main


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_minute_of_load_leaves_memory_flat_books_right_and_no_gap() -> None:
    assert main(["--minutes", "1.5", "--tokens", "2000", "--connections", "10", "--rate", "3000"]) == 0


def test_the_slope_of_memory_is_per_minute() -> None:
    samples = Samples()
    for minute in range(5):
        samples.add(60.0 * minute, 100.0 + 2.0 * minute)
    assert samples.slope_mb_per_min == pytest.approx(2.0)
