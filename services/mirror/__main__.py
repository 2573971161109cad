"""The mirror process: keeps the local exchange's books equal to the recorded or the live ones. Wiring only."""

from __future__ import annotations

import asyncio
import sys

from common.edge import Edge
from common.service import run_edge
from services.mirror.core import MarketMirror, fee_rate_of
from services.mirror.follow import follow, open_account, open_accounts
from services.mirror.live import account_commands
from services.mirror.paper import PaperMirror
from services.mirror.playback import tracks_of
from services.mirror.recording import load_recording
from services.mirror.stepping import Playback, SteppedClock


async def start(edge: Edge) -> None:
    edge.set_state("STARTING", "the exchange has not answered yet")
    if edge.settings.mirror.source == "market_data":
        await start_live(edge)
    else:
        await start_recording(edge)


async def start_live(edge: Edge) -> None:
    await open_accounts(edge, account_commands())
    PaperMirror(edge)


async def start_recording(edge: Edge) -> None:
    keys = edge.settings.mirror
    fee_rate = fee_rate_of(keys.fee_rate)
    recorded = load_recording(lead_in_s=keys.lead_in_s, market_count=keys.market_count)
    for name in ("skipped", "mismatches", "unpaired"):
        edge.counters[f"recording_{name}"] = sum(getattr(market, name) for market in recorded)
    await open_account(edge)
    clock, life = SteppedClock(), str(edge.epoch.n)
    tracks = tracks_of(recorded, lead_in_s=keys.lead_in_s, speed=keys.speed)
    mirrors = [MarketMirror(track, fee_rate, life) for track in tracks]
    edge.serve_asks(Playback(clock, mirrors).answer)
    books: dict[str, asyncio.Event] = {}
    for mirror in mirrors:
        has_book = books[mirror.market.slug] = asyncio.Event()
        edge.spawn(follow(edge, mirror, clock, has_book), mirror.market.slug)
    for slug, has_book in books.items():
        if not has_book.is_set():
            edge.set_state("STARTING", f"{slug} has no book yet")
            await has_book.wait()
    edge.set_state("READY")


def main() -> int:
    return run_edge("mirror", start)


if __name__ == "__main__":
    sys.exit(main())
