"""The recorder as a real process: what was flushed survives kill -9, gaps are rows, disk trouble is no end."""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import ExitCode
from common.messages import Accepted, Heartbeat, UnwatchMarkets, WatchMarkets
from common.recording import FRAME, GAP, LOST, MARKET, OPENED, Gap, Row, message_of, open_recordings, rows_of
from common.requester import Requester
from tests.process.group import Group, group

pytestmark = pytest.mark.process

TOY = "tests.process.toy_market_data"
DEADLINE_S = 20.0


@pytest.fixture
def feed() -> Iterator[Group]:
    with group(recorder__flush_s="1") as made:
        made.start("market_data", TOY)
        made.start("recorder")
        made.wait_ready("market_data", "recorder")
        wait(made, lambda beat: beat.detail == "")
        yield made


def wait(feed: Group, holds: Callable[[Heartbeat], bool]) -> Heartbeat:
    """Until the recorder says so in a heartbeat of its present life."""
    end = time.monotonic() + DEADLINE_S
    with Requester(feed.settings) as bus:
        while True:
            beat = bus.heartbeats(0.5, ("recorder",)).get("recorder")
            if beat is not None and beat.pid == feed.processes["recorder"].pid and holds(beat):
                return beat
            assert time.monotonic() < end, f"{beat}\n{feed.log('recorder')}"


def send(feed: Group, *frames: str) -> None:
    with Requester(feed.settings) as bus:
        assert isinstance(bus.request("market_data", WatchMarkets(uuid.uuid4().hex, list(frames))), Accepted)


def folder(feed: Group) -> Path:
    return feed.settings.paths.data_dir / "recordings"


def rows(feed: Group) -> list[Row]:
    return list(rows_of(open_recordings([folder(feed)])))


def frames(feed: Group) -> list[bytes]:
    return [row.payload for row in rows(feed) if row.kind == FRAME]


def test_what_was_flushed_survives_kill_9_and_the_next_life_finishes_the_file(feed: Group) -> None:
    sent = [f"frame {number}" for number in range(200)]
    send(feed, *sent)
    wait(feed, lambda beat: beat.counters["frames_recorded"] == len(sent))
    feed.kill9("recorder")
    (left,) = folder(feed).iterdir()
    assert left.suffix == ".partial"
    assert frames(feed) == [text.encode() for text in sent]

    feed.start("recorder")
    wait(feed, lambda beat: beat.counters.get("files") == 1)
    (finished,) = open_recordings(path for path in folder(feed).iterdir() if path.suffix == ".parquet")
    assert finished.header.recovered
    assert [row.payload for row in finished.rows() if row.kind == FRAME] == [text.encode() for text in sent]


def test_an_orderly_end_writes_what_waits(feed: Group) -> None:
    send(feed, "last words")
    wait(feed, lambda beat: beat.counters["rows_waiting"] > 0 or beat.counters["frames_recorded"] == 1)
    assert feed.stop("recorder") == ExitCode.OK
    assert [path.suffix for path in folder(feed).iterdir()] == [".parquet"]
    assert [row.kind for row in rows(feed)] == [MARKET, OPENED, FRAME]


def test_a_restart_of_market_data_is_a_gap_and_recording_goes_on(feed: Group) -> None:
    send(feed, "before")
    wait(feed, lambda beat: beat.counters["frames_recorded"] == 1)
    feed.kill9("market_data")
    feed.start("market_data", TOY)
    wait(feed, lambda beat: beat.counters["gaps"] == 1 and beat.detail == "")
    send(feed, "after")
    wait(feed, lambda beat: beat.counters["frames_recorded"] == 2)
    assert [row.kind for row in rows(feed)] == [MARKET, OPENED, FRAME, GAP, OPENED, FRAME]


def test_a_lost_connection_is_a_row_of_its_own(feed: Group) -> None:
    with Requester(feed.settings) as bus:
        bus.request("market_data", UnwatchMarkets("u-1", ["closed by peer"]))
    send(feed, "x")
    wait(feed, lambda beat: beat.counters["frames_recorded"] == 1)
    assert [row.kind for row in rows(feed)] == [MARKET, OPENED, LOST, FRAME]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_it_may_not_write_to_pauses_recording_until_it_may(feed: Group) -> None:
    send(feed, "one")
    wait(feed, lambda beat: beat.counters["frames_recorded"] == 1)
    assert feed.stop("recorder") == ExitCode.OK
    folder(feed).chmod(0o500)
    feed.start("recorder")
    send(feed, "two")
    beat = wait(feed, lambda beat: "recording pauses" in beat.detail)
    assert beat.state == "READY"
    assert str(folder(feed)) in beat.detail
    folder(feed).chmod(0o700)
    wait(feed, lambda beat: beat.detail == "")


def test_a_file_in_the_place_of_the_folder_pauses_recording_until_it_is_gone() -> None:
    with group(recorder__flush_s="1") as feed:
        folder(feed).write_text("in the way")
        feed.start("market_data", TOY)
        feed.start("recorder")
        feed.wait_ready("market_data", "recorder")
        wait(feed, lambda beat: "recording pauses" in beat.detail and str(folder(feed)) in beat.detail)
        send(feed, "kept meanwhile")
        folder(feed).unlink()
        wait(feed, lambda beat: beat.detail == "" and beat.counters["frames_recorded"] == 1)
        assert frames(feed) == [b"kept meanwhile"]


def test_what_did_not_fit_is_a_gap_and_the_stream_is_joined_anew() -> None:
    with group(recorder__flush_s="1", recorder__queue_max="100") as feed:
        folder(feed).write_text("in the way")
        feed.start("market_data", TOY)
        feed.start("recorder")
        feed.wait_ready("market_data", "recorder")
        wait(feed, lambda beat: "recording pauses" in beat.detail)
        send(feed, *(f"frame {number}" for number in range(1000)))
        folder(feed).unlink()
        beat = wait(feed, lambda beat: beat.counters["gaps"] == 1 and beat.detail == "")
        send(feed, "after")
        wait(feed, lambda beat: frames(feed)[-1:] == [b"after"])
        found = rows(feed)
    kinds = [row.kind for row in found]
    gap = message_of(found[kinds.index(GAP)])
    assert isinstance(gap, Gap)
    assert gap.lost == beat.counters["frames_lost"] == 1000 - (kinds.count(FRAME) - 1)
    assert kinds[kinds.index(GAP) :] == [GAP, MARKET, OPENED, FRAME]


def test_whenever_it_is_killed_what_it_said_to_have_recorded_is_there(feed: Group) -> None:
    """Frames flow while it is killed again and again; each life's file holds an unbroken part of them."""
    rng, stop, sent = random.Random(11), threading.Event(), [0]

    def flow() -> None:
        while not stop.is_set():
            send(feed, *(f"{number}" for number in range(sent[0], sent[0] + 200)))
            sent[0] += 200

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        for life in range(1, 4):
            said = wait(feed, lambda beat: beat.counters.get("frames_recorded", 0) > 0).counters["frames_recorded"]
            time.sleep(rng.uniform(0, 1.5))  # the moment of the kill
            feed.kill9("recorder")
            kept = [int(row.payload) for row in open_recordings([folder(feed)])[-1].rows() if row.kind == FRAME]
            assert kept == list(range(kept[0], kept[0] + len(kept))), f"life {life}"
            assert len(kept) >= said
            feed.start("recorder")
    finally:
        stop.set()
        thread.join()
    wait(feed, lambda beat: beat.counters.get("files", 0) == 3)


def test_recording_that_is_off_is_ready_and_writes_nothing() -> None:
    with group(recorder__enabled="false") as feed:
        feed.start("recorder")
        feed.wait_ready("recorder")
        assert wait(feed, lambda beat: beat.detail != "").detail == "recording is off"
        assert feed.stop("recorder") == ExitCode.OK
        assert not folder(feed).exists()
