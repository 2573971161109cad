"""market_data under load for minutes: is its memory flat, is every gap explained, are the books right at the end?

`python -m tests.bench.soak_market_data [--minutes 10] [--tokens 2000] [--connections 10] [--rate 5000]` starts a venue
(load_venue.py), a real market_data, and two readers that share the tokens (soak_reader.py). Progress every ten seconds;
one JSON object on the last line. Exit code 1 when memory grew, a gap has no explanation, or a book differs.

A gap is what a reader could not look through: frames lost on the bus, a version missed, a book that left LIVE. The
venue has no fault switched on, so only a connection that really was lost explains one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from common.messages import Heartbeat
from common.requester import Requester
from common.settings import ROOT
from tests.bench.load_venue import HOST, market
from tests.bench.soak_reader import COMPARE, END, REPORT, Report, ask
from tests.bench.soak_reader import run as run_reader
from tests.process.group import Group, free_ports, group

WARM_UP_S = 60.0
WINDOW_S = 60.0
"""Memory at the start and at the end is the median of so long."""
LOOK_S = 10.0
SAMPLE_S = 1.0
GROWTH_MAX = 1.05
READERS = 2
START_S = 120.0
ANSWER_S = 60.0
LOST = ("CLOSED: ", "SILENT: ", "REFUSED: ")
"""How the reason begins that a book gives when its connection was lost."""
TROUBLE = (
    "books_suspect",
    "whole_books_that_differed",
    "book_fetches_failed",
    "events_late",
    "events_elsewhere",
    "events_unreadable",
    "tokens_moved",
    "ws_closed",
    "ws_silent",
    "ws_refused",
    "ws_dropped",
    "ws_too_large",
)


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Memory:
    """Samples of a process's memory, from the end of the warm-up."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self.at_s: list[float] = []
        self.mb: list[float] = []

    def add(self, at_s: float, mb: float) -> None:
        self.at_s.append(at_s)
        self.mb.append(mb)

    @property
    def start_mb(self) -> float:
        return median(mb for at, mb in zip(self.at_s, self.mb, strict=True) if at <= self.at_s[0] + self._window_s)

    @property
    def end_mb(self) -> float:
        return median(mb for at, mb in zip(self.at_s, self.mb, strict=True) if at >= self.at_s[-1] - self._window_s)

    @property
    def is_flat(self) -> bool:
        return self.end_mb <= GROWTH_MAX * self.start_mb

    @property
    def slope_mb_per_min(self) -> float:
        """Least squares."""
        mean_s, mean_mb = sum(self.at_s) / len(self.at_s), sum(self.mb) / len(self.mb)
        spread = sum((at - mean_s) ** 2 for at in self.at_s)
        rise = sum((at - mean_s) * (mb - mean_mb) for at, mb in zip(self.at_s, self.mb, strict=True))
        return 60 * rise / spread if spread else 0.0


class Gaps(NamedTuple):
    """`reasons` are those of books that left LIVE."""

    frames_lost: int
    versions_missed: int
    reasons: dict[str, int]

    @classmethod
    def of(cls, reports: Sequence[Report]) -> Gaps:
        reasons: Counter[str] = Counter()
        for report in reports:
            reasons.update(report.left_live)
        return cls(sum(row.frames_lost for row in reports), sum(row.versions_missed for row in reports), dict(reasons))

    @property
    def total(self) -> int:
        return self.frames_lost + self.versions_missed + sum(self.reasons.values())

    @property
    def unexplained(self) -> int:
        return self.total - sum(count for reason, count in self.reasons.items() if reason.startswith(LOST))


class LoadVenue:
    """The venue's process and its control port."""

    def __init__(self, port: int, options: argparse.Namespace, log: Path) -> None:
        self.control_port = free_ports(1)[0]
        arguments = {
            "--port": port,
            "--control-port": self.control_port,
            "--markets": options.tokens // 2,
            "--rate": options.rate,
            "--seed": options.seed,
        }
        words = [str(word) for pair in arguments.items() for word in pair]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.load_venue", *words], cwd=ROOT, stdout=output, stderr=output
            )

    def ask(self, method: str, path: str) -> Any:
        connection = http.client.HTTPConnection(HOST, self.control_port, timeout=10)
        try:
            return ask(connection, method, path)
        finally:
            connection.close()

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + START_S
        while True:
            try:
                self.ask("GET", "/stats")
                return
            except OSError:
                assert self.process.poll() is None, "the venue ended"
                assert time.monotonic() < end, "the venue does not answer"
                time.sleep(0.1)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


class Reader:
    """The parent's side of one reader."""

    def __init__(self, processes: Group, number: int, tokens: Sequence[str], control_port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.tokens = tokens
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        arguments = (processes.settings, f"reader-{number}", tokens, control_port, theirs)
        self._process: BaseProcess = context.Process(target=run_reader, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, question: str) -> Any:
        self._pipe.send(question)
        assert self._pipe.poll(ANSWER_S), f"a reader did not answer {question!r}"
        return self._pipe.recv()

    def report(self) -> Report:
        report: Report = self.ask(REPORT)
        return report

    def close(self) -> None:
        if self._process.is_alive():
            self._pipe.send(END)
        self._process.join(10)
        self._process.kill()


class Look(NamedTuple):
    """Everything counted so far, at one moment."""

    at_s: float
    stats: dict[str, Any]
    reports: list[Report]
    cpu_s: float

    def cores(self, before: Look) -> dict[str, float]:
        passed_s = self.at_s - before.at_s
        readers = sum(row.cpu_s for row in self.reports) - sum(row.cpu_s for row in before.reports)
        spent = {
            "cpu_share": self.cpu_s - before.cpu_s,
            "cpu_share_venue": self.stats["cpu_s"] - before.stats["cpu_s"],
            "cpu_share_readers": readers,
        }
        return {name: round(seconds / passed_s, 3) for name, seconds in spent.items()}

    def rate(self, before: Look) -> int:
        messages: int = self.stats["messages"] - before.stats["messages"]
        return round(messages / (self.at_s - before.at_s))


class Soak:
    def __init__(self, processes: Group, venue: LoadVenue, readers: Sequence[Reader], minutes: float) -> None:
        self._processes = processes
        self._venue = venue
        self._readers = readers
        self._seconds = minutes * 60
        self._pid = processes.processes["market_data"].pid
        self._latencies_us: list[int] = []
        self._heard_us: list[int] = []
        self.memory = Memory(min(WINDOW_S, self._seconds / 4))

    def run(self) -> dict[str, Any]:
        self._wait_live()
        first = last = self._look()
        self._latencies_us.clear()
        self._heard_us.clear()
        warm_s = first.at_s + min(WARM_UP_S, self._seconds / 4)
        while (now_s := time.monotonic()) < first.at_s + self._seconds:
            if now_s >= warm_s:
                self.memory.add(now_s, rss_mb(self._pid))
            if now_s >= last.at_s + LOOK_S:
                last = self._tell(first, last)
            time.sleep(SAMPLE_S)
        last = self._look()
        self._venue.ask("POST", "/pause")
        return self._result(first, last)

    def _wait_live(self) -> None:
        end = time.monotonic() + START_S
        while True:
            live = sum(reader.report().live for reader in self._readers)
            if live == sum(len(reader.tokens) for reader in self._readers):
                return
            assert time.monotonic() < end, f"only {live} books are LIVE:\n{self._processes.log('market_data')}"
            time.sleep(SAMPLE_S)

    def _look(self) -> Look:
        reports = [reader.report() for reader in self._readers]
        self._latencies_us += [one for report in reports for one in report.latencies_us]
        self._heard_us += [one for report in reports for one in report.heard_us]
        return Look(time.monotonic(), self._venue.ask("GET", "/stats"), reports, cpu_s(self._pid))

    def _tell(self, first: Look, before: Look) -> Look:
        look = self._look()
        share = look.cores(before)
        gaps, live = Gaps.of(look.reports).total, sum(report.live for report in look.reports)
        print(
            f"{look.at_s - first.at_s:5.0f} s  {look.rate(before):5} messages/s  {rss_mb(self._pid):6.1f} MB  "
            f"{live} LIVE  {gaps} gaps  cores: market_data {share['cpu_share']:.2f}, "
            f"venue {share['cpu_share_venue']:.2f}, readers {share['cpu_share_readers']:.2f}",
            file=sys.stderr,
            flush=True,
        )
        return look

    def _result(self, first: Look, last: Look) -> dict[str, Any]:
        differing = [token for reader in self._readers for token in reader.ask(COMPARE)]
        gaps = Gaps.of([reader.report() for reader in self._readers])
        counters = heartbeat(self._processes).counters
        compared = sum(len(reader.tokens) for reader in self._readers)
        late_ms = [round(one / 1000, 2) for one in quantiles(self._latencies_us, n=1000)]
        heard_ms = [round(one / 1000, 2) for one in quantiles(self._heard_us, n=1000)]
        return {
            "minutes": round((last.at_s - first.at_s) / 60, 2),
            "tokens": compared,
            "connections": len(last.stats["connections"]),
            "messages_per_s": last.rate(first),
            "rss_start_mb": round(self.memory.start_mb, 1),
            "rss_end_mb": round(self.memory.end_mb, 1),
            "rss_max_mb": round(max(self.memory.mb), 1),
            "rss_slope_mb_per_min": round(self.memory.slope_mb_per_min, 3),
            **last.cores(first),
            "gaps": gaps.total,
            "gaps_unexplained": gaps.unexplained,
            "gap_reasons": gaps.reasons,
            "books_suspect": counters.get("books_suspect", 0),
            "books_equal": compared - len(differing),
            "books_compared": compared,
            "latency_ms_p50": late_ms[499],
            "latency_ms_p99": late_ms[989],
            "latency_ms_p999": late_ms[998],
            "latency_ms_max": round(max(self._latencies_us) / 1000, 2),
            "heard_ms_p50": heard_ms[499],
            "heard_ms_p99": heard_ms[989],
            "probes_sent": last.stats["probes"] - first.stats["probes"],
            "probes_seen": len(self._latencies_us),
            "versions_read": sum(row.changes for row in last.reports) - sum(row.changes for row in first.reports),
            "venue_slow_turns": last.stats["slow_turns"] - first.stats["slow_turns"],
            "slow_consumers_cut": last.stats.get("slow_consumers_cut", 0),
            **{name: counters[name] for name in sorted(counters) if name.startswith("witness_") or name in TROUBLE},
        }


def heartbeat(processes: Group) -> Heartbeat:
    with Requester(processes.settings) as bus:
        return bus.heartbeats(5.0, ("market_data",))["market_data"]


@contextmanager
def followed(processes: Group, tokens: Sequence[str], control_port: int) -> Iterator[list[Reader]]:
    """Readers that share the tokens, a market's both tokens with the same one."""
    share = -(-len(tokens) // READERS // 2) * 2
    readers = [
        Reader(processes, number, tokens[number * share : (number + 1) * share], control_port)
        for number in range(READERS)
    ]
    try:
        yield readers
    finally:
        for reader in readers:
            reader.close()


def soak(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """The result, and whether memory was flat."""
    port = free_ports(1)[0]
    host = f"{HOST}:{port}"
    with group(
        polymarket__clob_url=f"http://{host}",
        polymarket__gamma_url=f"http://{host}/gamma",
        polymarket__market_ws_url=f"ws://{host}/ws/market",
        market_data__tokens_per_connection=str(options.tokens // options.connections),
        market_data__markets_max=str(options.tokens // 2),
        recorder__enabled="false",
    ) as processes:
        venue = LoadVenue(port, options, processes.folder / "logs" / "venue.log")
        try:
            venue.wait()
            processes.start("market_data")
            processes.wait_ready("market_data", deadline_s=START_S)
            tokens = [token for number in range(options.tokens // 2) for token in market(number).token_ids]
            with followed(processes, tokens, venue.control_port) as readers:
                run = Soak(processes, venue, readers, options.minutes)
                return run.run(), run.memory.is_flat
        finally:
            venue.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--tokens", type=int, default=2_000)
    parser.add_argument("--connections", type=int, default=10)
    parser.add_argument("--rate", type=int, default=5_000, help="price_change messages a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    if options.minutes < 0.5 or options.connections < 1 or options.tokens < 2 * max(READERS, options.connections):
        parser.error("at least half a minute, one connection, two markets, and a market for each connection")
    result, is_flat = soak(options)
    print(json.dumps(result))
    return 0 if is_flat and not result["gaps_unexplained"] and result["books_equal"] == result["books_compared"] else 1


if __name__ == "__main__":
    sys.exit(main())
