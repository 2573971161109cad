"""The end of an edge, however it comes: by signal, by a bug, in the middle of its start, or of its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from common import service
from common.bus import ZmqBus
from common.edge import Edge
from common.errors import ConfigError, Fenced
from common.log import set_up_logging
from common.messages import Accepted, GetBalances, Message
from common.settings import ROOT, Settings, load_settings

Close = Callable[[], Awaitable[None]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    paths = found.paths.model_copy(update={"run_dir": tmp_path, "data_dir": tmp_path})
    return found.model_copy(update={"paths": paths})


@pytest.fixture(autouse=True)
def manners(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a process does to itself is undone: signal handlers, the collector."""
    monkeypatch.setattr(service, "freeze_collector", lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(settings: Settings, start: service.Start) -> None:
    """One edge from start to end; afterwards its sockets must be free for its successor."""

    async def body() -> None:
        async with asyncio.timeout(20):
            await service._edge("mirror", settings, set_up_logging("mirror"), start)

    asyncio.run(body())
    ZmqBus("mirror", settings.paths.run_dir).close()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_settings_that_only_the_start_finds_wrong_keep_their_name(settings: Settings) -> None:
    async def start(edge: Edge) -> None:
        raise ConfigError("wallets", "none")

    with pytest.raises(ConfigError, match="wallets"):
        run(settings, start)


def test_a_signal_during_the_start_ends_it_and_lets_it_clean_up_on_a_living_bus(settings: Settings) -> None:
    left: list[str] = []

    async def start(edge: Edge) -> None:
        asyncio.get_running_loop().call_soon(stop)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            edge.unsubscribe("exchange", "market")
            left.append("clean")

    run(settings, start)
    assert left == ["clean"]


def test_the_bus_is_closed_when_closing_fails(settings: Settings) -> None:
    edges: list[Edge] = []

    async def start(edge: Edge) -> Close:
        edges.append(edge)
        asyncio.get_running_loop().call_soon(stop)

        async def close() -> None:
            raise ZeroDivisionError("a bug in close")

        return close

    with pytest.raises(ZeroDivisionError):
        run(settings, start)
    assert edges[0]._closed


def test_the_bus_is_alive_while_closing(settings: Settings) -> None:
    answers: list[Message] = []

    async def start(edge: Edge) -> Close:
        other = Edge("market_data", settings, edge.log)
        other.serve_asks(lambda message, sender: [Accepted("r-1")])
        asyncio.get_running_loop().call_soon(stop)

        async def close() -> None:
            answers.append(await edge.request("market_data", GetBalances("r-1", "a")))
            await other.close()

        return close

    run(settings, start)
    assert answers == [Accepted("r-1")]


def test_a_close_that_hangs_does_not_hide_why_it_began(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CLOSE_S", 0.1)

    async def start(edge: Edge) -> Close:
        edge.fail(Fenced("a newer one lives"))

        async def close() -> None:
            await asyncio.Event().wait()

        return close

    with pytest.raises(Fenced):
        run(settings, start)


def test_what_a_forgotten_callback_raises_ends_the_process(settings: Settings) -> None:
    async def start(edge: Edge) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        run(settings, start)


def test_a_remark_of_the_loop_is_no_reason_to_end(settings: Settings) -> None:
    """Such as a connection nobody closed: a leak is to be seen, not to stop the gateway."""
    edges: list[Edge] = []

    async def start(edge: Edge) -> None:
        edges.append(edge)
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "Unclosed connection"})
        loop.call_soon(stop)

    run(settings, start)
    assert edges[0].counters["loop_complaints"] == 1


def test_cycles_do_not_pile_up_although_the_collector_is_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    monkeypatch.setattr(service, "COLLECT_S", 0.01)
    watched: list[weakref.ref[Cycle]] = []

    async def start(edge: Edge) -> None:
        watched.append(weakref.ref(Cycle(), lambda _: stop()))

    gc.disable()
    try:
        run(settings, start)
    finally:
        gc.enable()
