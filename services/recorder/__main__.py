"""recorder: market_data's raw frames into files that can be replayed. Wiring only."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from random import SystemRandom

from common.edge import Edge
from common.service import run_edge
from common.telemetry import READY
from services.recorder.follow import Following
from services.recorder.writer import Writer

FOLDER = "recordings"


async def start(edge: Edge) -> Callable[[], Awaitable[None]] | None:
    keys = edge.settings.recorder
    if not keys.enabled:
        edge.set_state(READY, "recording is off")
        return None
    writer = Writer(keys, edge.settings.paths.data_dir / FOLDER, edge.epoch.n, SystemRandom())
    following = Following(edge, writer)
    following.start()
    return following.close


def main() -> int:
    return run_edge("recorder", start)


if __name__ == "__main__":
    sys.exit(main())
