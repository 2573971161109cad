"""gateway: the only process with wallet keys. Actions in, signed requests out, results back."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from random import SystemRandom

from common.edge import Edge
from common.halt import HaltMarker
from common.service import run_edge
from services.gateway.door import Gateway
from services.gateway.venues import open_venues


async def start(edge: Edge) -> Callable[[], Awaitable[None]] | None:
    marker = HaltMarker(edge.settings.paths.data_dir)
    venues = await open_venues(edge)
    gateway = Gateway(edge, venues.adapters, rng=SystemRandom(), halted=marker.read, beating=venues.beating)
    gateway.start()
    return gateway.close


def main() -> int:
    return run_edge("gateway", start)


if __name__ == "__main__":
    sys.exit(main())
