"""gateway: the only process with wallet keys. Actions in, signed requests out, results back."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from random import SystemRandom

from common.edge import Edge
from common.halt import HaltMarker
from common.service import run_edge
from services.gateway.transport import VenueDesk
from services.gateway.wallets import load_wallets


async def start(edge: Edge) -> Callable[[], Awaitable[None]] | None:
    marker = HaltMarker(edge.settings.paths.data_dir)
    desk = VenueDesk(edge, load_wallets(edge.settings), rng=SystemRandom(), halted=marker.read)
    desk.start()
    return desk.close


def main() -> int:
    return run_edge("gateway", start)


if __name__ == "__main__":
    sys.exit(main())
