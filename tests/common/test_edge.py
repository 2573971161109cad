"""The shell of an edge: two of them in one loop ask each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec
import pytest

from common.bus import ZmqBus
from common.edge import ASKS_MAX, Edge
from common.frames import Ask, Epoch, encode_frame
from common.log import set_up_logging
from common.messages import Accepted, BalancesReport, GetBalances, Message, Refused, decode
from common.peer import Peer, request_id_of
from common.reasons import Reason
from common.settings import ROOT, Settings, load_settings

WAIT_S = 10.0

Make = Callable[[str], Edge]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    paths = found.paths.model_copy(update={"run_dir": tmp_path, "data_dir": tmp_path})
    return found.model_copy(update={"paths": paths})


@pytest.fixture
async def make(settings: Settings) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def build(name: str) -> Edge:
            edge = Edge(name, settings, set_up_logging(name))
            stack.push_async_callback(edge.close)
            return edge

        yield build


class Slow:
    """Answers when it is told to, and counts how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()

    async def answer(self, message: Message, sender: str) -> list[Message]:
        assert isinstance(message, GetBalances)
        self.begun += 1
        await self.go.wait()
        return [BalancesReport(message.request_id, sender, True, self.begun, {}, {})]


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not done():  # noqa: ASYNC110 (what is waited for is no event)
            await asyncio.sleep(0.01)


async def test_a_request_that_takes_long_is_carried_out_once_however_often_it_is_asked_again(make: Make) -> None:
    slow, owner, client = Slow(), make("market_data"), make("mirror")
    owner.serve_asks(slow.answer)
    asking = asyncio.ensure_future(client.request("market_data", GetBalances("r-1", "a"), timeout_s=WAIT_S))
    await until(lambda: owner.counters["asks_repeated"] >= 2)
    slow.go.set()
    answer = await asking
    assert isinstance(answer, BalancesReport)
    assert answer.cash == slow.begun == 1


async def test_the_same_request_twice_has_one_answer_and_each_caller_its_own_patience(make: Make) -> None:
    slow, owner, client = Slow(), make("market_data"), make("mirror")
    owner.serve_asks(slow.answer)
    patient = asyncio.ensure_future(client.request("market_data", GetBalances("r-1", "a"), timeout_s=WAIT_S))
    with pytest.raises(TimeoutError):
        await client.request("market_data", GetBalances("r-1", "a"), timeout_s=0.05)
    slow.go.set()
    assert isinstance(await patient, BalancesReport)
    assert client._waiting == {}


async def test_a_request_nobody_waits_for_any_more_is_forgotten(make: Make) -> None:
    owner, client = make("market_data"), make("mirror")
    owner.serve_asks(Slow().answer)
    with pytest.raises(TimeoutError):
        await client.request("market_data", GetBalances("r-1", "a"), timeout_s=0.05)
    assert not client._waiting
    assert not client._peer._asked


async def test_requests_before_the_start_is_over_are_neither_refused_nor_lost(make: Make) -> None:
    owner, client = make("market_data"), make("mirror")
    asking = asyncio.ensure_future(client.request("market_data", GetBalances("r-1", "a"), timeout_s=WAIT_S))
    await until(lambda: owner.counters["asks_before_start"] >= 1)
    owner.serve_asks(lambda message, _: [Accepted(request_id_of(message))])
    assert await asking == Accepted("r-1")


async def test_a_request_that_is_not_understood_is_refused_under_its_id(make: Make, settings: Settings) -> None:
    owner = make("market_data")
    owner.serve_asks(lambda message, _: [Accepted(request_id_of(message))])
    with closing(ZmqBus("cli-1", settings.paths.run_dir, binds=False)) as bus:
        client = Peer(bus, "cli-1", Epoch("", 1), streams=False)
        client.listen_to("market_data")
        heard: list[Message] = []

        def listen() -> bool:
            heard.extend(decode(item.body) for item in client.receive(0) if item.kind == "answer")
            return "market_data" in client.peer_epochs

        await until(listen)
        body = msgspec.Raw(msgspec.msgpack.encode(["OfALaterVersion", "r-2"]))
        frame = encode_frame(Ask("cli-1", owner.epoch, [body]))
        await until(lambda: bus.push("market_data.ask", frame))
        await until(lambda: listen() and bool(heard))
    assert isinstance(heard[0], Refused)
    assert (heard[0].command_id, heard[0].code) == ("r-2", Reason.UNKNOWN_MESSAGE)


async def test_only_so_many_requests_are_answered_at_the_same_time(make: Make) -> None:
    slow, owner, client = Slow(), make("market_data"), make("mirror")
    owner.serve_asks(slow.answer)
    asking = [
        asyncio.ensure_future(client.request("market_data", GetBalances(f"r-{n}", "a"), timeout_s=WAIT_S))
        for n in range(ASKS_MAX)
    ]
    await until(lambda: slow.begun == ASKS_MAX)
    refused = await client.request("market_data", GetBalances("one-more", "a"), timeout_s=WAIT_S)
    assert isinstance(refused, Refused)
    assert refused.code is Reason.OVERLOADED
    slow.go.set()
    assert all(isinstance(answer, BalancesReport) for answer in await asyncio.gather(*asking))
