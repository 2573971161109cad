"""The soak of market_data, short; the long one is run by hand (docs/development.md). And what it decides by."""

from __future__ import annotations

import pytest

from tests.bench.soak_market_data import Gaps, Memory, main
from tests.bench.soak_reader import Report


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_minute_of_load_leaves_memory_flat_books_right_and_no_gap() -> None:
    assert main(["--minutes", "1", "--tokens", "2000", "--connections", "10", "--rate", "3000"]) == 0


def memory(*mb: float) -> Memory:
    """One sample a minute."""
    made = Memory()
    for minute, value in enumerate(mb):
        made.add(60.0 * minute, value)
    return made


def test_the_slope_of_memory_is_per_minute() -> None:
    assert memory(100, 102, 104, 106, 108).slope_mb_per_min == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("mb", "is_flat"),
    [((100, 100, 150, 104, 106), True), ((100, 100, 104, 105, 106), False), ((100, 98, 90, 80), True)],
)
def test_memory_is_flat_when_its_last_minute_is_at_most_5_percent_above_its_first(
    mb: tuple[float, ...], is_flat: bool
) -> None:
    assert memory(*mb).is_flat is is_flat


def report(frames_lost: int = 0, versions_missed: int = 0, **left_live: int) -> Report:
    return Report(0, 0, frames_lost, versions_missed, left_live, [], [], 0.0)


@pytest.mark.parametrize(
    ("reports", "total", "unexplained"),
    [
        ([report(), report()], 0, 0),
        ([report(frames_lost=1), report(versions_missed=2)], 3, 3),
        ([report(**{"CLOSED: the connection broke": 200})], 200, 0),
        ([report(**{"the book is crossed": 1}), report(**{"SILENT: no answer to PING for 30 s": 2})], 3, 1),
        ([report(**{"DROPPED: too many unreadable frames": 1})], 1, 1),
    ],
)
def test_only_a_lost_connection_explains_a_gap(reports: list[Report], total: int, unexplained: int) -> None:
    gaps = Gaps.of(reports)
    assert (gaps.total, gaps.unexplained) == (total, unexplained)
