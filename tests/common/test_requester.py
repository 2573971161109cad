"""A short-lived process's face to the bus: answers by id, whatever else is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from common.bus import ZmqBus
from common.frames import Answers, Epoch, encode_frame
from common.messages import Accepted, Configured, GetBook, encode
from common.peer import Peer, addressed
from common.requester import Requester
from common.settings import ROOT, Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    return found.model_copy(update={"paths": found.paths.model_copy(update={"run_dir": tmp_path})})


@pytest.fixture
def newer_owner(settings: Settings) -> Iterator[None]:
    """A market_data that says something unknown to us, and something meant for others, before each answer."""
    stop = threading.Event()
    bus = ZmqBus("market_data", settings.paths.run_dir)
    peer = Peer(bus, "market_data", Epoch("", 1))
    unknown = msgspec.Raw(msgspec.msgpack.encode(["OfALaterVersion", "r-1"]))

    def serve() -> None:
        while not stop.is_set():
            bus.poll(10)
            for item in peer.receive(time.monotonic_ns()):
                sender = item.origin.sender
                for body in (unknown, encode(Accepted("another")), encode(Accepted("r-1"))):
                    frame = Answers("market_data", peer.epoch, [msgspec.Raw(body)])
                    bus.publish(addressed(sender), encode_frame(frame))
            peer.flush(time.monotonic_ns())

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    stop.set()
    thread.join(10)
    bus.close()


@pytest.mark.usefixtures("newer_owner")
def test_what_a_newer_process_says_beside_the_answer_is_passed_over(settings: Settings) -> None:
    with Requester(settings) as bus:
        assert bus.request("market_data", GetBook("r-1", "m")) == Accepted("r-1")


def test_a_process_that_is_away_is_a_timeout(settings: Settings) -> None:
    with Requester(settings) as bus, pytest.raises(TimeoutError, match="market_data did not answer"):
        bus.request("market_data", GetBook("r-1", "m"), timeout_s=0.05)


def test_a_message_without_an_id_cannot_be_asked(settings: Settings) -> None:
    """Its answer could not be told from any other."""
    with Requester(settings) as bus, pytest.raises(AssertionError, match="no id"):
        bus.request("market_data", Configured("{}"))
