"""The mirror process: keeps the local exchange's books equal to the recorded ones. Wiring only."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter

from common.edge import Edge
from common.fixed import parse_micros
from common.messages import Message, Refused
from common.service import run_edge
from services.mirror.core import MarketMirror, account_command
from services.mirror.playback import Clock, tracks_of
from services.mirror.recording import load_recording

WAIT_S_MIN = 0.001
REFUSED_PAUSE_S = 0.2
"""After a refusal: never ask faster than this."""


class WallClock:
    def now_ns(self) -> int:
        return time.time_ns()


async def _ask(edge: Edge, command: Message) -> Message:
    """The exchange's answer, however long it is away: a command may be repeated, it happens once."""
    while True:
        try:
            return await edge.request("exchange", command)
        except TimeoutError:
            edge.counters["exchange_timeouts"] += 1


async def _follow(edge: Edge, mirror: MarketMirror, clock: Clock) -> None:
    """Keep one market up with its recording, for ever."""
    while True:
        now_ns = clock.now_ns()  # once: between two readings a change would go unnoticed
        command = mirror.next_command(now_ns)
        if command is None:
            await asyncio.sleep(max(WAIT_S_MIN, (mirror.track.next_change_ns(now_ns) - now_ns) / 1e9))
            continue
        before = mirror.counters.copy()
        answer = await _ask(edge, command)
        news = mirror.answered(command, answer)
        edge.counters.update(Counter({key: mirror.counters[key] - before[key] for key in mirror.counters}))
        if news is not None:
            edge.log.warning("refused", market=mirror.market.slug, code=news.code.value, text=news.text)
        if isinstance(answer, Refused):
            await asyncio.sleep(REFUSED_PAUSE_S)


async def start(edge: Edge) -> None:
    keys = edge.settings.mirror
    clock = WallClock()
    recorded = load_recording(lead_in_s=keys.lead_in_s, market_count=keys.market_count)
    fee_rate = parse_micros(keys.fee_rate, "mirror.fee_rate")
    mirrors = [
        MarketMirror(track, fee_rate) for track in tracks_of(recorded, lead_in_s=keys.lead_in_s, speed=keys.speed)
    ]
    for name in ("skipped", "mismatches", "unpaired"):
        edge.counters[f"recording_{name}"] = sum(getattr(market, name) for market in recorded)
    edge.set_state("STARTING", "the exchange has not answered yet")
    await _ask(edge, account_command())
    for mirror in mirrors:
        edge.spawn(_follow(edge, mirror, clock), mirror.market.slug)
    while missing := sum(not mirror.is_current(clock.now_ns()) and not mirror.counters for mirror in mirrors):
        edge.set_state("STARTING", f"{missing} of {len(mirrors)} markets have no book yet")
        await asyncio.sleep(0.02)
    edge.set_state("READY")


def main() -> int:
    return run_edge("mirror", start)


if __name__ == "__main__":
    sys.exit(main())
