"""market_data under load for minutes: is its memory flat, is every gap explained, are the books right at the end?

`python -m tests.bench.soak_market_data [--minutes 10] [--tokens 2000] [--connections 10] [--rate 5000]` starts a venue
(load_venue.py), a real market_data and a reader of a part of the tokens. Progress every ten seconds; one JSON object on
the last line. Exit code 1 when memory grew, a gap has no explanation, or a book differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.latest import TokenView
from common.messages import Heartbeat
from common.requester import Requester
from common.types import FeedState
from common.venues.polymarket.wire import encode_json, parse_books
from tests.bench.load_venue import market
from tests.bench.load_venue import run as run_venue
from tests.process.group import Group, free_ports, group
from tests.process.probe import Probe, probe

WARM_UP_S = 60
LOOK_S = 10.0
GROWTH_MAX = 1.05
READ = 200
"""Tokens the reader follows."""
BATCH = 500
TROUBLE = ("stream_gaps", "frames_undecodable", "events_elsewhere", "events_late", "events_unreadable", "tokens_moved")
QUIET_S = 3.0
"""After the venue went quiet everything on its way has arrived."""


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fetch(port: int, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, method="GET" if body is None else "POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def heartbeat(processes: Group) -> Heartbeat:
    with Requester(processes.settings) as bus:
        return bus.heartbeats(3.0, ("market_data",))["market_data"]


def differing(reader: Probe, port: int, tokens: Sequence[str]) -> list[str]:
    """Tokens whose book is not LIVE or not the venue's."""
    wrong: list[str] = []
    for start in range(0, len(tokens), BATCH):
        part = tokens[start : start + BATCH]
        books = parse_books(json.dumps(fetch(port, "/books", encode_json([{"token_id": token} for token in part]))))
        true = {book.token_id: (tuple(book.bids[::-1]), tuple(book.asks[::-1])) for book in books}
        wrong += [token for token in part if not _is(reader.reader.book(token), true[token])]
    return wrong


def _is(view: TokenView | None, true: tuple[object, object]) -> bool:
    return view is not None and view.state is FeedState.LIVE and (view.bids, view.asks) == true


class Samples:
    """Memory over time, from the end of the warm-up."""

    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.mb: list[float] = []

    def add(self, at_s: float, mb: float) -> None:
        self.at_s.append(at_s)
        self.mb.append(mb)

    @property
    def slope_mb_per_min(self) -> float:
        """Least squares."""
        if len(self.mb) < 2:
            return 0.0
        mean_s, mean_mb = sum(self.at_s) / len(self.at_s), sum(self.mb) / len(self.mb)
        spread = sum((at - mean_s) ** 2 for at in self.at_s)
        rise = sum((at - mean_s) * (mb - mean_mb) for at, mb in zip(self.at_s, self.mb, strict=True))
        return 60 * rise / spread


async def soak(processes: Group, port: int, options: argparse.Namespace) -> dict[str, object]:
    pid = processes.processes["market_data"].pid
    loop = asyncio.get_running_loop()
    async with probe(processes) as reader:
        tokens = [token for number in range(options.tokens // 2) for token in market(number).token_ids]
        read = tokens[:: max(1, len(tokens) // READ)]
        reader.reader.follow(read, trades=False)
        live = {FeedState.LIVE}
        await reader.until(lambda: set(reader.states(read).values()) == live, 120, "every book is LIVE")
        before = await asyncio.to_thread(fetch, port, "/load/stats")
        began, cpu, samples = loop.time(), cpu_s(pid), Samples()
        warm_up_s = min(WARM_UP_S, options.minutes * 60 / 4)
        first_mb = 0.0
        while (passed := loop.time() - began) < options.minutes * 60:
            await asyncio.sleep(LOOK_S)
            mb, stats = rss_mb(pid), await asyncio.to_thread(fetch, port, "/load/stats")
            if passed >= warm_up_s:
                first_mb = first_mb or mb
                samples.add(passed, mb)
            share = (cpu_s(pid) - cpu) / (loop.time() - began)
            sent = stats["sent"] - before["sent"]
            print(f"{passed:6.0f} s  {sent:9,} messages  {mb:6.1f} MB  {share:.2f} cores", file=sys.stderr, flush=True)
        took_s = loop.time() - began
        stats = await asyncio.to_thread(fetch, port, "/load/stats")
        share = (cpu_s(pid) - cpu) / took_s
        await asyncio.to_thread(fetch, port, "/load/pause", b"")
        await asyncio.sleep(QUIET_S)
        wrong = await asyncio.to_thread(differing, reader, port, read)
        counters = (await asyncio.to_thread(heartbeat, processes)).counters
        gaps = reader.reader.latest.gaps + reader.reader.latest.discontinuities
    return {
        "minutes": round(took_s / 60, 2),
        "tokens": len(tokens),
        "connections": counters["connections"],
        "messages_per_s": round((stats["sent"] - before["sent"]) / took_s),
        "rss_start_mb": round(first_mb, 1),
        "rss_end_mb": round(samples.mb[-1], 1) if samples.mb else 0.0,
        "rss_max_mb": round(max(samples.mb, default=0.0), 1),
        "rss_slope_mb_per_min": round(samples.slope_mb_per_min, 3),
        "cpu_share": round(share, 3),
        "venue_cpu_share": round((stats["cpu_s"] - before["cpu_s"]) / took_s, 3),
        "gaps": gaps,
        "slow_consumers_cut": stats.get("slow_consumers_cut", 0),
        "books_suspect": counters.get("books_suspect", 0),
        "books_live": counters.get("books_live", 0),
        "witness_confirmed": counters.get("witness_confirmed", 0),
        **{name: counters.get(name, 0) for name in TROUBLE},
        "books_compared": len(read),
        "books_different": len(wrong),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    port = free_ports(1)[0]
    host = f"127.0.0.1:{port}"
    with group(
        polymarket__clob_url=f"http://{host}",
        polymarket__gamma_url=f"http://{host}/gamma",
        polymarket__market_ws_url=f"ws://{host}/ws/market",
        market_data__tokens_per_connection=str(options.tokens // options.connections),
        market_data__markets_max=str(options.tokens // 2),
        recorder__enabled="false",
    ) as processes:
        arguments = (processes.folder, port, options.tokens // 2, options.rate, options.seed)
        venue = multiprocessing.get_context("spawn").Process(target=run_venue, args=arguments, daemon=True)
        venue.start()
        try:
            wait_for(port)
            processes.start("market_data")
            processes.wait_ready("market_data", deadline_s=120)
            result = asyncio.run(soak(processes, port, options))
        finally:
            venue.kill()
            venue.join()
    print(json.dumps(result))
    flat = result["rss_end_mb"] <= GROWTH_MAX * result["rss_start_mb"]  # type: ignore[operator]
    return 0 if flat and not result["gaps"] and not result["books_different"] else 1


def wait_for(port: int) -> None:
    """Until the venue answers."""
    end = time.monotonic() + 60
    while True:
        try:
            fetch(port, "/load/stats")
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
