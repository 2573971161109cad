"""Heartbeats: at once when something changed, regularly otherwise."""

from __future__ import annotations

from common.telemetry import BEAT_NS, READY, STARTING, Vitals


def test_a_change_of_state_is_told_at_once() -> None:
    vitals = Vitals("gateway", 7, 1)
    assert vitals.due(10)
    assert not vitals.due(11)
    assert vitals.set_state(READY)
    assert vitals.due(12)
    assert not vitals.set_state(READY)
    assert not vitals.due(13)


def test_without_a_change_it_beats_regularly() -> None:
    vitals = Vitals("gateway", 7, 1)
    assert vitals.due(0)
    assert not vitals.due(BEAT_NS - 1)
    assert vitals.due(BEAT_NS)


def test_a_beat_tells_state_and_counters() -> None:
    vitals = Vitals("gateway", 7, 1)
    vitals.counters["places"] += 2
    beat = vitals.beat(99, {"queue": 3})
    assert (beat.process, beat.pid, beat.state, beat.started_ns, beat.at_ns) == ("gateway", 7, STARTING, 1, 99)
    assert beat.counters == {"places": 2, "queue": 3}


def test_a_trouble_is_told_once_however_often_it_is_counted() -> None:
    vitals = Vitals("toy", 1, 0)
    vitals.counters["bodies_undecodable"] += 1

    assert vitals.first_troubles({"frames_undecodable": 2, "steps": 9}) == ["bodies_undecodable", "frames_undecodable"]
    assert vitals.first_troubles({"frames_undecodable": 3}) == []
