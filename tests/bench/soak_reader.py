"""A reader of the soak (soak_market_data.py) in a process of its own: follows tokens as a strategy would.

In: token ids, and through a pipe the questions REPORT, COMPARE and END. Out: a Report of what was seen since the start,
or the tokens whose book is not the venue's. It never asks the venue for a book to repair its own.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import uvloop

from common.edge import Edge
from common.fixed import parse_micros
from common.latest import Levels, TokenView
from common.log import set_up_logging
from common.market_reader import MarketReader
from common.process import freeze_collector
from common.settings import Settings
from common.types import FeedState
from scripts.bench.venue import PROBE, latency_us
from tests.bench.load_venue import HOST, PROBE_TOKEN

REPORT, COMPARE, END = "report", "compare", "end"
SETTLE_S = 10.0
"""After the venue was paused, what is on its way arrives within this."""
LOOK_S = 0.05

Books = dict[str, tuple[Levels, Levels]]


class Report(NamedTuple):
    """`changes`: new versions of books. `left_live`: how often a book left LIVE, by reason. Of the probes since the
    last report: how late they came here (`latencies_us`), and to market_data (`heard_us`)."""

    changes: int
    live: int
    frames_lost: int
    versions_missed: int
    left_live: dict[str, int]
    latencies_us: list[int]
    heard_us: list[int]
    cpu_s: float


class SoakReader:
    def __init__(self, edge: Edge, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._live: set[str] = set()
        self._changes = 0
        self._left_live: Counter[str] = Counter()
        self._latencies_us: list[int] = []
        self._heard_us: list[int] = []
        self._probe: TokenView | None = None
        self._reader = MarketReader(edge, self._on_change)
        self._reader.follow(tokens, trades=False)

    def _on_change(self, token_id: str) -> None:
        view = self._reader.book(token_id)
        assert view is not None
        self._changes += 1
        if view.state is FeedState.LIVE:
            self._live.add(token_id)
        elif token_id in self._live:
            self._live.discard(token_id)
            self._left_live[view.reason] += 1
        if token_id == PROBE_TOKEN:
            self._time(view)

    def _time(self, view: TokenView) -> None:
        """How late a probe is; only a change of the book says when it was made, a whole book shows an old one."""
        before, self._probe = self._probe, view
        if before is None or (view.epoch, view.seq) != (before.epoch, before.seq + 1):
            return
        price, size = view.bids[-1]
        if price == PROBE and before.bids[-1] != (price, size):
            late_us = latency_us(size)
            self._latencies_us.append(late_us)
            self._heard_us.append(late_us - (time.time_ns() - view.received_ns) // 1000)

    def report(self) -> Report:
        latest = self._reader.latest
        views = [self._reader.book(token_id) for token_id in self._tokens]
        live = sum(view is not None and view.state is FeedState.LIVE for view in views)
        latencies_us, self._latencies_us = self._latencies_us, []
        heard_us, self._heard_us = self._heard_us, []
        return Report(
            self._changes,
            live,
            latest.gaps,
            latest.discontinuities,
            dict(self._left_live),
            latencies_us,
            heard_us,
            time.process_time(),
        )

    async def differing(self, control_port: int) -> list[str]:
        """Tokens whose book is not LIVE or not the true one; the venue is paused."""
        true = await asyncio.to_thread(true_books, control_port, self._tokens)
        end = time.monotonic() + SETTLE_S
        while True:
            wrong = [token_id for token_id in self._tokens if not self._shows(token_id, true[token_id])]
            if not wrong or time.monotonic() > end:
                return wrong
            await asyncio.sleep(LOOK_S)

    def _shows(self, token_id: str, true: tuple[Levels, Levels]) -> bool:
        view = self._reader.book(token_id)
        return view is not None and view.state is FeedState.LIVE and (view.bids, view.asks) == true


def true_books(control_port: int, tokens: Sequence[str]) -> Books:
    """From the venue's control port, best level first."""
    connection = http.client.HTTPConnection(HOST, control_port, timeout=10)
    try:
        return {token_id: _true_book(ask(connection, "GET", f"/truth?token_id={token_id}")) for token_id in tokens}
    finally:
        connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str) -> Any:
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, f"{path}: HTTP {answer.status} {body[:200]!r}"
    return json.loads(body)


def _true_book(truth: dict[str, Any]) -> tuple[Levels, Levels]:
    bids, asks = (
        tuple((parse_micros(level["price"]), parse_micros(level["size"])) for level in truth[side])
        for side in ("bids", "asks")
    )
    return bids, asks


async def serve(settings: Settings, name: str, tokens: Sequence[str], control_port: int, pipe: Connection) -> None:
    edge = Edge(name, settings, set_up_logging(name))
    failed = asyncio.ensure_future(edge.failed())
    questions: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe.fileno(), lambda: questions.put_nowait(pipe.recv()))
    try:
        reader = SoakReader(edge, tokens)
        freeze_collector()
        while not failed.done():
            match await questions.get():
                case "report":
                    pipe.send(reader.report())
                case "compare":
                    pipe.send(await reader.differing(control_port))
                case _:
                    break
        if failed.done():
            failed.result()
    finally:
        failed.cancel()
        loop.remove_reader(pipe.fileno())
        await edge.close()


def run(settings: Settings, name: str, tokens: Sequence[str], control_port: int, pipe: Connection) -> None:
    """The body of the child process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, name, tokens, control_port, pipe))
