"""The exchange under mirrored flow: back in under two seconds after kill -9, with the same books, on a bounded disk."""

from __future__ import annotations

import json
import time

import pytest

from common.messages import ExchangeMarketsReport, GetExchangeMarkets, Heartbeat
from common.requester import Requester
from tests.process.group import Group, group

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

RESTART_MS_MAX = 2000
SPEED = 20


def beat(processes: Group, name: str) -> Heartbeat:
    with Requester(processes.settings) as bus:
        return bus.heartbeats(2.0, (name,))[name]


def run_flow(processes: Group, ladders: int) -> None:
    """Let the mirror play until that many snapshots were acknowledged."""
    processes.start("exchange")
    processes.start("mirror")
    processes.wait_ready("exchange", "mirror")
    end = time.monotonic() + 350
    while beat(processes, "mirror").counters.get("snapshots_played", 0) < ladders:
        assert time.monotonic() < end, "the mirror does not keep up"
        time.sleep(0.2)


def restart(processes: Group) -> dict[str, int]:
    """kill -9 and start again; what the exchange said about its recovery."""
    processes.kill9("exchange")
    processes.start("exchange")
    processes.wait_ready("exchange", "mirror")
    log = (processes.folder / "logs" / "exchange.log").read_text()
    found: dict[str, int] = [json.loads(line) for line in log.splitlines() if '"event": "restored"' in line][-1]
    return found


@pytest.mark.parametrize("ladders", [2_000, pytest.param(62_000, marks=pytest.mark.soak, id="an-hour")])
def test_after_mirrored_flow_the_exchange_is_back_in_two_seconds(ladders: int) -> None:
    """62,000 ladders are what 18 markets of one snapshot a second make in an hour."""
    with group(mirror__speed=str(SPEED), journal__checkpoint_every_s="10") as processes:
        run_flow(processes, ladders)
        restored = restart(processes)
        assert restored["ms"] < RESTART_MS_MAX
        assert restored["last_index"] > 1000
        with Requester(processes.settings) as bus:
            report = bus.request("exchange", GetExchangeMarkets("q"))
        assert isinstance(report, ExchangeMarketsReport)
        assert len(report.markets) == 18
        before = beat(processes, "mirror").counters["snapshots_played"]
        end = time.monotonic() + 20
        while beat(processes, "mirror").counters["snapshots_played"] < before + 100:
            assert time.monotonic() < end, "the flow did not resume"


def test_the_journal_of_mirrored_flow_stays_bounded() -> None:
    """Segments that a checkpoint covers are removed; what is kept is keep_segments and what is being filled ahead."""
    keep = 2
    with group(
        mirror__speed=str(SPEED),
        journal__segment_mb="1",
        journal__keep_segments=str(keep),
        journal__checkpoint_every_s="1",
    ) as processes:
        run_flow(processes, 6_000)
        segments = sorted((processes.folder / "data" / "exchange" / "journal").glob("*.seg"))
        assert int(segments[0].stem) > 1, "the first segment is gone"
        assert len(segments) <= keep + 3
        assert restart(processes)["checkpoint"] > 0
