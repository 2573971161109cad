"""The ZeroMQ bus: the same port as the memory bus, on real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from common.bus import Bus, Received, ZmqBus
from common.errors import ConfigError
from common.memorybus import MemoryNetwork
from common.topology import SUN_PATH_MAX

Make = Callable[[str], Bus]


@pytest.fixture(params=["zmq", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Both implementations pass the same cases."""
    with ExitStack() as stack:
        network = MemoryNetwork()

        def build(name: str) -> Bus:
            bus: Bus = ZmqBus(name, tmp_path) if request.param == "zmq" else network.bus(name)
            stack.callback(bus.close)
            return bus

        yield build


def collect(bus: Bus, count: int, deadline_s: float = 5.0) -> list[Received]:
    """Receive until `count` messages are there."""
    got: list[Received] = []
    end = time.monotonic() + deadline_s
    while len(got) < count and time.monotonic() < end:
        bus.poll(50)
        got += bus.receive(1000)
    assert len(got) >= count, f"only {len(got)} of {count} messages"
    return got


def push(bus: Bus, inbox: str, frame: bytes, deadline_s: float = 5.0) -> None:
    """Push as soon as the receiver is connected."""
    end = time.monotonic() + deadline_s
    while not bus.push(inbox, frame):
        assert time.monotonic() < end, f"no receiver behind {inbox}"
        bus.poll(5)


def test_a_push_without_a_receiver_is_refused_not_queued(make: Make) -> None:
    executor = make("executor")
    assert not executor.push("gateway.action", b"x")


def test_what_is_pushed_arrives_in_order(make: Make) -> None:
    gateway, executor = make("gateway"), make("executor")
    for n in range(100):
        push(executor, "gateway.action", b"%d" % n)
    assert [m.frame for m in collect(gateway, 100)] == [b"%d" % n for n in range(100)]


def test_the_first_inbox_of_the_topology_is_drained_first(make: Make) -> None:
    gateway, executor = make("gateway"), make("executor")
    for n in range(20):
        push(executor, "gateway.action", b"%d" % n)
    push(executor, "gateway.cancel", b"cancel")
    end = time.monotonic() + 5
    first: list[Received] = []
    while not first and time.monotonic() < end:
        # Wait until the cancel is readable too: the last one pushed is the last one to arrive.
        gateway.poll(50)
        time.sleep(0.05)
        first = gateway.receive(1)
    assert first[0].frame == b"cancel"


def test_a_publisher_sees_each_new_subscription(make: Make) -> None:
    owner, reader = make("exchange"), make("mirror")
    reader.subscribe("exchange", b"@mirror\0")
    assert collect(owner, 1)[0].subscription == b"@mirror\0"


def test_published_messages_reach_subscribers_of_the_topic_only(make: Make) -> None:
    owner, one, two = make("exchange"), make("mirror"), make("polymarket_sim")
    one.subscribe("exchange", b"ta\0")
    two.subscribe("exchange", b"tb\0")
    collect(owner, 2)
    owner.publish(b"ta\0", b"for one")
    owner.publish(b"tb\0", b"for two")
    assert [m.frame for m in collect(one, 1)] == [b"for one"]
    assert [m.frame for m in collect(two, 1)] == [b"for two"]


def test_a_run_folder_too_long_for_a_socket_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"paths\.run_dir"):
        ZmqBus("exchange", tmp_path / ("x" * 120))


def test_a_socket_that_cannot_be_bound_is_refused_at_once(tmp_path: Path) -> None:
    """The name of an inbox is longer than that of the streams: what was opened before is closed again."""
    fits_streams_only = tmp_path / ("x" * (SUN_PATH_MAX - len(f"{tmp_path}/") - len("/executor.out")))
    fits_streams_only.mkdir()
    with pytest.raises(ConfigError, match=r"paths\.run_dir"):
        ZmqBus("executor", fits_streams_only)


def test_a_full_inbox_does_not_hold_up_what_is_heard(make: Make) -> None:
    """Acks and hellos come over streams; a flood of commands must not starve them."""
    executor, gateway = make("executor"), make("gateway")
    executor.subscribe("gateway", b"a\0")
    collect(gateway, 1)
    gateway.publish(b"a\0", b"hello")
    assert executor.poll(5000), "the stream's message is there"
    for n in range(50):
        push(gateway, "executor.facts", b"%d" % n)
    heard: list[Received] = []
    for _ in range(20):
        heard += [m for m in executor.receive(1) if m.source == "gateway"]
    assert [m.frame for m in heard] == [b"hello"]
    assert executor.poll(5000), "the inbox still holds something"


@pytest.mark.timeout(20)
def test_closing_ends_a_socket_nobody_noted(tmp_path: Path) -> None:
    """An interrupt between making and noting a socket must not leave a process that never ends."""
    bus = ZmqBus("cli-1", tmp_path, binds=False)
    forgotten = bus._socket(zmq.PUSH, 10)

    bus.close()

    assert forgotten.closed
