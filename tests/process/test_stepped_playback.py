"""Stepped playback with real processes: after each step the simulator's true books are the recorded snapshots.

Only mirror, exchange and simulator: no market data in between (test_market_replay.py takes the whole way).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from common.fixed import parse_micros
from common.messages import Level
from common.types import ONE
from scripts.provision import GivenSecrets, provision
from services.mirror.playback import RecordedMarket, Snapshot
from services.mirror.recording import load_recording
from tests.process.group import Group, group

PROCESSES = ("exchange", "polymarket_sim", "mirror")
MARKETS = 6
STEPS = 30
ANSWER_S = 10.0

Book = tuple[tuple[Level, ...], tuple[Level, ...]]


class ControlPort:
    """The simulator's control port, and where each market stood when it was last heard of."""

    def __init__(self, processes: Group) -> None:
        self.processes = processes
        self.stood: dict[str, tuple[int, int]] = {}

    def ask(self, path: str, body: dict[str, object] | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.processes.control_port}{path}", data)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def done(self, path: str, body: dict[str, object] | None = None) -> Any:
        status, answer = self.ask(path, body)
        assert status == 200, answer
        return answer

    def truth(self, token_id: str) -> tuple[Book, Any]:
        answer = self.done(f"/truth?token_id={token_id}")
        return (levels(answer["bids"]), levels(answer["asks"])), answer


def levels(rows: list[dict[str, str]]) -> tuple[Level, ...]:
    return tuple((parse_micros(row["price"]), parse_micros(row["size"])) for row in rows)


def expected(snapshot: Snapshot, index: int) -> Book:
    """The recorded book of an outcome; the second is the mirror image of the first."""
    if index == 0:
        return snapshot.bids, snapshot.asks
    return tuple((ONE - p, size) for p, size in snapshot.asks), tuple((ONE - p, size) for p, size in snapshot.bids)


def follows(market: RecordedMarket, before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether one place is the very next one: in the same loop, or the beginning of the next loop."""
    loop, at = before
    return after == ((loop, at + 1) if at + 1 < len(market.snapshots) else (loop + 1, 0))


@pytest.fixture(scope="module")
def control() -> Iterator[ControlPort]:
    with group(mirror__market_count=str(MARKETS), mirror__speed="20") as processes:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            processes.start(name)
        processes.wait_ready(*PROCESSES)
        yield ControlPort(processes)


@pytest.fixture(scope="module")
def recorded(control: ControlPort) -> list[RecordedMarket]:
    lead_in_s = control.processes.settings.mirror.lead_in_s
    return load_recording(lead_in_s=lead_in_s, market_count=MARKETS)


pytestmark = pytest.mark.timeout(120)


def test_running_playback_is_not_stepped(control: ControlPort) -> None:
    control.done("/playback", {"stepped": False})
    status, answer = control.ask("/playback/step", {})
    assert (status, answer["error"]["field"]) == (400, "stepped")


def test_after_each_step_every_shown_market_is_its_recorded_snapshot_at_every_level(
    control: ControlPort, recorded: list[RecordedMarket]
) -> None:
    by_condition = {market.condition_id: market for market in recorded}
    order = [market.condition_id for market in recorded]
    assert control.done("/playback", {"stepped": True})["stepped"] is True
    compared, skipped, playback_ns = 0, set(), 0
    for _ in range(STEPS):
        step = control.done("/playback/step", {})
        shown = [row["condition_id"] for row in step["shown"]]
        assert shown, "a step moves something"
        assert shown == sorted(shown, key=order.index)
        assert step["playback_ns"] > playback_ns
        playback_ns = step["playback_ns"]
        skipped.add(step["skipped"])
        for row in step["shown"]:
            compare(control, by_condition[row["condition_id"]], row)
            compared += 1
    assert len(skipped) == 1, "stepping skips nothing"
    assert len(control.stood) >= MARKETS - 1, "all move in parallel (one was quiet for a third of a minute)"
    assert compared >= STEPS


def compare(control: ControlPort, market: RecordedMarket, row: dict[str, Any]) -> None:
    """One shown market: the next place of its recording, and both books exactly."""
    place = row["loop"], row["at"]
    assert market.condition_id not in control.stood or follows(market, control.stood[market.condition_id], place)
    control.stood[market.condition_id] = place
    snapshot = market.snapshots[row["at"]]
    assert (row["slug"], row["recorded_ms"]) == (market.slug, snapshot.at_ms)
    for index, token in enumerate(row["tokens"]):
        book, truth = control.truth(token["token_id"])
        assert book == expected(snapshot, index), f"{market.slug} {place} outcome {index}"
        assert (truth["timestamp"], truth["hash"]) == (token["timestamp"], token["hash"])


def test_held_playback_stands_still(control: ControlPort) -> None:
    control.done("/playback", {"stepped": True})
    before = [control.done("/playback/step", {}) for _ in range(2)][-1]["playback_ns"]
    control.done("/playback", {"stepped": True})  # again: nothing happens
    assert control.done("/playback") == {"stepped": True, "playback_ns": before}


def test_a_mirror_that_was_killed_is_not_held_any_more(control: ControlPort) -> None:
    control.done("/playback", {"stepped": True})
    control.processes.kill9("mirror")
    control.processes.start("mirror")
    control.processes.wait_ready("mirror")
    status, answer = control.ask("/playback/step", {})
    assert (status, answer["error"]["field"]) == (400, "stepped")
    assert control.done("/playback")["stepped"] is False
