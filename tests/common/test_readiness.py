"""One state of a process with several parts."""

from __future__ import annotations

from common.readiness import PATIENCE_S, Readiness

S = 1_000_000_000


def test_it_is_ready_when_every_part_was() -> None:
    both = Readiness(("a", "b"), 0)
    both.show("a", ready=True, detail="")
    both.show("b", ready=False, detail="b: connecting")
    assert both.state(S) == ("STARTING", "b: connecting")
    both.show("b", ready=True, detail="")
    assert both.state(S) == ("READY", "")


def test_a_part_that_does_not_come_up_holds_the_others_for_so_long_only() -> None:
    both = Readiness(("a", "b"), 0)
    both.show("a", ready=True, detail="")
    both.show("b", ready=False, detail="b: away")
    assert both.state(PATIENCE_S * S - 1)[0] == "STARTING"
    assert both.state(PATIENCE_S * S) == ("READY", "b: away")


def test_nothing_is_ready_however_long_it_takes_when_no_part_was() -> None:
    one = Readiness(("a",), 0)
    one.show("a", ready=False, detail="away")
    assert one.state(3600 * S) == ("STARTING", "away")


def test_ready_is_never_taken_back() -> None:
    one = Readiness(("a",), 0)
    one.show("a", ready=True, detail="")
    assert one.state(S) == ("READY", "")
    one.show("a", ready=False, detail="lost")
    assert one.state(S) == ("READY", "lost")
