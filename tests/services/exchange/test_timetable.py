"""Due entries: by time, then by number; discarding is exact."""

from __future__ import annotations

from services.exchange.timetable import Timetable


def test_due_entries_come_in_order() -> None:
    """Due now is due; later is not; ties go by number."""
    table = Timetable()
    for due, number in ((20, 3), (10, 2), (20, 1), (21, 4)):
        table.add(due, number, f"k{number}")
    assert table.next_ns() == 10
    assert [key for _, _, key in table.take_due(20)] == ["k2", "k1", "k3"]
    assert table.take_due(20) == []
    assert table.next_ns() == 21


def test_discard_takes_one_entry_only() -> None:
    """An unknown entry is no error."""
    table = Timetable([(10, 1, "a"), (10, 2, "b")])
    table.discard(10, 1)
    table.discard(10, 7)
    assert table.entries == [(10, 2, "b")]
    table.discard(10, 2)
    assert table.next_ns() is None
