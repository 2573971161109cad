"""Recording the demo's venue and replaying it: the same books, alone and as the market_data of the group."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.book import Book
from common.errors import ExitCode
from common.messages import BookReport, GetBook, GetMarkets, Heartbeat, MarketsReport
from common.requester import Requester
from common.settings import ROOT
from common.types import FeedState
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group

pytestmark = pytest.mark.process

PROCESSES = ("exchange", "polymarket_sim", "mirror", "market_data", "recorder")
DEADLINE_S = 30.0
FRAMES = 300
Books = dict[str, tuple[str, str]]
"""State and hash of the levels by token."""


class Recorded:
    """A recording, the books market_data held at its end, and the group without its market_data and recorder."""

    def __init__(self, group: Group, books: Books) -> None:
        self.group = group
        self.books = books
        self.folder = group.settings.paths.data_dir / "recordings"

    def replay(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), cwd=ROOT, env=self.group.env, capture_output=True, text=True,
                              timeout=60, check=False)  # fmt: skip

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "services.cli", "replay", str(self.folder), *words]


def books_of(group: Group) -> Books:
    """The books as market_data answers them now."""
    with Requester(group.settings) as bus:
        listed = bus.request("market_data", GetMarkets("m"))
        assert isinstance(listed, MarketsReport)
        found = {}
        for token_id in [token_id for view in listed.markets for token_id in view.market.token_ids]:
            report = bus.request("market_data", GetBook(f"b-{token_id}", token_id))
            assert isinstance(report, BookReport)
            book = Book()
            book.replace(report.book.bids, report.book.asks)
            found[token_id] = (report.book.state.value, book.state_hash())
        return found


def beat(group: Group, holds: Callable[[Heartbeat], bool], name: str = "recorder") -> Heartbeat:
    end = time.monotonic() + DEADLINE_S
    with Requester(group.settings) as bus:
        while True:
            heard = bus.heartbeats(0.5, (name,)).get(name)
            if heard is not None and holds(heard):
                return heard
            assert time.monotonic() < end, f"{heard}\n{group.log(name)}"


def settled(group: Group) -> Books:
    """The books once nothing moves any more and everything is on disk."""
    end = time.monotonic() + DEADLINE_S
    before: object = None
    while True:
        written = beat(group, lambda heard: not heard.counters["rows_waiting"]).counters["frames_recorded"]
        now = (written, books_of(group))
        if now == before:
            return now[1]
        before = now
        assert time.monotonic() < end, "the books do not come to rest"


@pytest.fixture(scope="module")
def recorded() -> Iterator[Recorded]:
    """The recorder joins a market_data that has its books already; the mirror stops, so that the books rest."""
    with group(recorder__flush_s="1", mirror__speed="5") as made:
        provision(made.settings, GivenSecrets())
        for name in PROCESSES[:-1]:
            made.start(name)
        made.wait_ready(*PROCESSES[:-1], deadline_s=60)
        made.start("recorder")
        made.wait_ready("recorder")
        beat(made, lambda heard: heard.counters.get("frames_recorded", 0) >= FRAMES)
        made.stop("mirror")
        books = settled(made)
        assert made.stop("recorder") == ExitCode.OK
        yield Recorded(made, books)


def test_a_replay_comes_to_the_books_of_the_run(recorded: Recorded) -> None:
    done = recorded.replay("--speed", "max", "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    shown = json.loads(done.stdout)
    live = {token: book for token, book in recorded.books.items() if book[0] == FeedState.LIVE}
    found = {token["token_id"]: (token["state"], token["hash"]) for token in shown["tokens"]}
    assert len(live) >= 2
    assert {token: found[token] for token in live} == live
    assert shown["frames"] >= FRAMES
    assert (shown["unreadable"], shown["gaps"], shown["unfinished"]) == (0, 0, [])


def test_two_replays_say_the_same_to_the_byte(recorded: Recorded) -> None:
    first, second = (recorded.replay("--speed", "max", "--json").stdout for _ in range(2))
    assert first == second


def test_a_replay_cannot_be_market_data_beside_market_data(recorded: Recorded) -> None:
    done = recorded.replay("--publish")
    assert done.returncode == ExitCode.ALREADY_RUNNING
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "market_data is running: stop it first: " in done.stderr


def test_in_the_place_of_market_data_it_serves_readers_from_the_recording(recorded: Recorded) -> None:
    made = recorded.group
    assert made.stop("market_data") == ExitCode.OK
    child = subprocess.Popen(
        recorded.command("--publish", "--json", "--speed", "1"), cwd=ROOT, env=made.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        beat(made, lambda heard: heard.detail == "replays a recording", "market_data")
        with Requester(made.settings) as bus:
            listed = bus.request("market_data", GetMarkets("m"))
        assert isinstance(listed, MarketsReport)
        assert listed.markets
        out, err = child.communicate(timeout=90)
    finally:
        child.kill()
        child.wait(10)
    assert child.returncode == ExitCode.OK, err
    shown: dict[str, Any] = json.loads(out)
    alone = json.loads(recorded.replay("--speed", "max", "--json").stdout)
    assert [(one["token_id"], one["hash"]) for one in shown["tokens"]] == [
        (one["token_id"], one["hash"]) for one in alone["tokens"]
    ]


def test_a_file_that_is_no_recording_is_one_line_of_the_command(recorded: Recorded, tmp_path: Path) -> None:
    page = tmp_path / "page.parquet"
    page.write_text("<html>not here</html>")
    command = [sys.executable, "-m", "services.cli", "replay", str(page)]
    done = subprocess.run(command, cwd=ROOT, env=recorded.group.env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.REFUSED, "")
    assert done.stderr.splitlines() == [
        f"error: {page}: is no recording (not a Parquet file): name a file that the recorder wrote [BAD_RECORDING]"
    ]


def test_a_reader_that_leaves_before_the_end_is_no_error(recorded: Recorded) -> None:
    """As in `polyexec replay ... | head -1`."""
    with subprocess.Popen(
        recorded.command("--speed", "max", "--json"), cwd=ROOT, env=recorded.group.env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        said = child.stderr.read().decode()
        assert (child.wait(60), said) == (ExitCode.OK, "")
