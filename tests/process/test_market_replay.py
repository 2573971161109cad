"""All 18 recorded markets through simulator, WebSocket, market_data, bus and LatestBook: the very books, every one.

Playback is stepped through the simulator's control port: after each step every market that moved must show exactly its
recorded snapshot, both outcomes, every level, before the next step is taken.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from common.latest import Levels
from common.types import ONE, FeedState
from scripts.provision import GivenSecrets, provision
from services.mirror.playback import RecordedMarket
from services.mirror.recording import load_recording
from tests.process.group import Group, group
from tests.process.probe import Probe, probe

PROCESSES = ("exchange", "polymarket_sim", "mirror", "market_data")
SPEED = 20
PLAYED = 15_914
STEP_S = 10.0


def control(processes: Group, path: str, body: dict[str, object]) -> Any:
    url = f"http://127.0.0.1:{processes.control_port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=STEP_S) as answer:
        return json.loads(answer.read())


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Comparison:
    """Which recorded snapshots were seen exactly, and by which tokens."""

    def __init__(self, recorded: list[RecordedMarket]) -> None:
        self.by_condition = {market.condition_id: market for market in recorded}
        self.seen: dict[str, set[int]] = {market.condition_id: set() for market in recorded}

    def expected(self, condition_id: str, at: int, index: int) -> tuple[Levels, Levels]:
        snapshot = self.by_condition[condition_id].snapshots[at]
        if index == 0:
            return snapshot.bids, snapshot.asks
        return _mirrored(snapshot.asks), _mirrored(snapshot.bids)

    @property
    def compared(self) -> int:
        return sum(len(seen) for seen in self.seen.values())

    @property
    def missing(self) -> dict[str, int]:
        """Played snapshots not compared yet, by slug."""
        rows = {m.slug: len(m.snapshots) - len(self.seen[m.condition_id]) for m in self.by_condition.values()}
        return {slug: count for slug, count in rows.items() if count}


def _mirrored(levels: Levels) -> Levels:
    return tuple((ONE - price, size) for price, size in levels)


async def compare(reader: Probe, comparison: Comparison, shown: dict[str, Any]) -> None:
    """Playback is held: what is not exactly the recorded snapshot now, never will be.

    A step may take several versions of one millisecond (tick, then levels), so the time alone does not tell the last.
    """
    condition_id, at = shown["condition_id"], shown["at"]
    for index, token in enumerate(shown["tokens"]):
        expected, token_id = comparison.expected(condition_id, at, index), token["token_id"]

        def is_there(token_id: str = token_id, expected: tuple[Levels, Levels] = expected) -> bool:
            view = reader.reader.book(token_id)
            return view is not None and view.state is FeedState.LIVE and (view.bids, view.asks) == expected

        await reader.until(is_there, STEP_S, f"{shown['slug']} snapshot {at}: {reader.reader.book(token_id)}")
        view = reader.reader.book(token_id)
        assert view is not None
        assert view.venue_ns // 10**6 == int(token["timestamp"]), "of the venue's own millisecond"
    comparison.seen[condition_id].add(at)


@pytest.mark.timeout(300)
async def test_every_played_snapshot_of_every_market_arrives_exactly() -> None:
    recorded = load_recording(lead_in_s=30, market_count=18)
    comparison = Comparison(recorded)
    assert sum(len(market.snapshots) for market in recorded) == PLAYED
    with group(mirror__speed=str(SPEED), recorder__enabled="false") as processes:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            processes.start(name)
        await asyncio.to_thread(processes.wait_ready, *PROCESSES)
        async with probe(processes) as reader:
            tokens = [token_id for pair in (await reader.tokens()).values() for token_id in pair]
            assert len(tokens) == 36
            reader.reader.follow(tokens)
            await asyncio.to_thread(control, processes, "/playback", {"stepped": True})
            began, cpu = time.monotonic(), cpu_seconds(processes.processes["market_data"].pid)
            skipped_before: int | None = None
            steps = skipped = 0
            while comparison.missing:
                step = await asyncio.to_thread(control, processes, "/playback/step", {})
                steps, skipped = steps + 1, step["skipped"]
                skipped_before = skipped if skipped_before is None else skipped_before
                for shown in step["shown"]:
                    await compare(reader, comparison, shown)
            took_s = time.monotonic() - began
            share = (cpu_seconds(processes.processes["market_data"].pid) - cpu) / took_s
            assert skipped == skipped_before, "stepping skips nothing"
            assert reader.reader.latest.discontinuities == 0
    crossed = {market.slug: market.skipped for market in recorded if market.skipped}
    print(
        f"{comparison.compared} of {PLAYED} snapshots exact in 18 of 18 markets, {steps} steps in {took_s:.1f} s "
        f"({930 / took_s:.1f} x speed), market_data {share:.2f} cores; not played, crossed: {crossed}"
    )
    assert comparison.compared == PLAYED
    assert sum(crossed.values()) == 9
    assert share <= 1.0
