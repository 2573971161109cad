"""market_data: public market channels in, books, trades and instruments out."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from common.edge import Edge
from common.service import run_edge
from services.market_data.openers import open_hub


async def start(edge: Edge) -> Callable[[], Awaitable[None]] | None:
    hub = open_hub(edge)
    hub.start()
    return hub.close


def main() -> int:
    return run_edge("market_data", start)


if __name__ == "__main__":
    sys.exit(main())
