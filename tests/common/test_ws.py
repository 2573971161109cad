"""The WebSocket client against real servers on loopback. Every wait has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from common.backoff import ExponentialBackoff
from common.errors import ConfigError
from common.ws import Loss, LossKind, WsClient, checked_ws_url

Script = Callable[[ServerConnection], Awaitable[None]]


class Recorder:
    """A handler that keeps what it was told and can be waited for."""

    def __init__(self, first: Sequence[bytes] = ()) -> None:
        self.first = first
        self.told: asyncio.Queue[tuple[str, object]] = asyncio.Queue()

    def on_connected(self) -> Sequence[bytes]:
        self.told.put_nowait(("connected", None))
        return self.first

    def on_frame(self, raw: bytes) -> None:
        self.told.put_nowait(("frame", raw))

    def on_pong(self) -> None:
        self.told.put_nowait(("pong", None))

    def on_lost(self, loss: Loss) -> None:
        self.told.put_nowait(("lost", loss))

    async def until(self, word: str) -> object:
        async with asyncio.timeout(5):
            while True:
                said, what = await self.told.get()
                if said == word:
                    return what

    async def loss(self) -> Loss:
        what = await self.until("lost")
        assert isinstance(what, Loss)
        return what


@asynccontextmanager
async def running(handler: Recorder, script: Script, **options: float) -> AsyncIterator[WsClient]:
    async def serve_one(connection: ServerConnection) -> None:
        try:
            await script(connection)
        except ConnectionClosed:
            return

    async with serve(serve_one, "127.0.0.1", 0, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = WsClient(
            f"ws://127.0.0.1:{port}/ws",
            handler,
            ping_interval_s=options.get("ping_interval_s", 0.02),
            dead_after_s=options.get("dead_after_s", 5.0),
            rng=Random(1),
            backoff=ExponentialBackoff(Random(1), 0.01, 0.05),
            frame_max=int(options.get("frame_max", 1 << 20)),
        )
        task = asyncio.create_task(client.run())
        try:
            yield client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def answer_pings(connection: ServerConnection) -> None:
    async for frame in connection:
        if frame == "PING":
            await connection.send("PONG")
        else:
            await connection.send(f"got {frame!s}")


async def test_the_first_frames_are_sent_before_anything_else_and_as_text() -> None:
    seen: list[str | bytes] = []

    async def script(connection: ServerConnection) -> None:
        async for frame in connection:
            seen.append(frame)
            if frame == "PING":
                await connection.send("PONG")

    handler = Recorder([b'{"type":"market"}'])
    async with running(handler, script):
        await handler.until("pong")
    assert seen[:2] == ['{"type":"market"}', "PING"]


async def test_pongs_are_not_frames_and_keep_the_connection_alive() -> None:
    handler = Recorder()
    async with running(handler, answer_pings, dead_after_s=0.2) as client:
        for _ in range(15):
            await handler.until("pong")
        assert await client.send(b"hello")
        assert await handler.until("frame") == b"got hello"
        assert client.counters["ws_connected"] == 1


async def test_a_server_that_never_answers_pings_is_dead_and_dialled_again() -> None:
    async def script(connection: ServerConnection) -> None:
        while True:
            await connection.recv()

    handler = Recorder()
    async with running(handler, script, dead_after_s=0.1):
        assert (await handler.loss()).kind is LossKind.SILENT
        await handler.until("connected")


async def test_frames_alone_do_not_keep_a_connection_alive() -> None:
    async def script(connection: ServerConnection) -> None:
        while True:
            await connection.send("{}")
            await connection.recv()

    handler = Recorder()
    async with running(handler, script, dead_after_s=0.15):
        assert (await handler.loss()).kind is LossKind.SILENT


async def test_a_close_by_the_server_says_its_code_and_the_client_comes_back() -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.close(4001, "bad auth")

    handler = Recorder()
    async with running(handler, script):
        assert await handler.loss() == Loss(LossKind.CLOSED, "closed by the server: 4001 bad auth")
        await handler.until("connected")


async def test_a_connection_cut_without_a_close_frame_is_lost() -> None:
    async def script(connection: ServerConnection) -> None:
        connection.transport.abort()

    handler = Recorder()
    async with running(handler, script):
        assert await handler.loss() == Loss(LossKind.CLOSED, "the connection broke")


async def test_an_oversized_frame_ends_the_connection() -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send("x" * 2000)
        await connection.wait_closed()

    handler = Recorder()
    async with running(handler, script, frame_max=1000):
        assert (await handler.loss()).kind is LossKind.TOO_LARGE


async def test_a_dropped_connection_gives_its_reason_once_and_is_made_again() -> None:
    handler = Recorder()
    async with running(handler, answer_pings) as client:
        await handler.until("connected")
        client.drop("the lane is full")
        client.drop("again")
        assert await handler.loss() == Loss(LossKind.DROPPED, "the lane is full")
        await handler.until("connected")
        await handler.until("pong")
        assert client.counters["ws_dropped"] == 1


async def test_nothing_is_sent_without_a_connection() -> None:
    client = WsClient("ws://127.0.0.1:1/ws", Recorder(), ping_interval_s=1, dead_after_s=2, rng=Random(1))
    assert not await client.send(b"hello")


async def test_a_dial_that_fails_is_a_loss_and_tried_again() -> None:
    refused: list[int] = []

    def refuse(_connection: ServerConnection, request: Request) -> Response | None:
        del request
        refused.append(1)
        return _connection.respond(503, "no") if len(refused) < 3 else None

    handler = Recorder()
    async with serve(answer_pings, "127.0.0.1", 0, process_request=refuse) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = WsClient(
            f"ws://127.0.0.1:{port}",
            handler,
            ping_interval_s=1,
            dead_after_s=5,
            rng=Random(1),
            backoff=ExponentialBackoff(Random(1), 0.01, 0.02),
        )
        task = asyncio.create_task(client.run())
        assert (await handler.loss()).kind is LossKind.REFUSED
        await handler.until("pong")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert len(refused) == 3


async def test_redirects_are_not_followed() -> None:
    asked: list[str] = []

    def redirect(connection: ServerConnection, request: Request) -> Response | None:
        asked.append(request.path)
        response = connection.respond(302, "elsewhere")
        response.headers["Location"] = "/other"
        return response

    handler = Recorder()
    async with serve(answer_pings, "127.0.0.1", 0, process_request=redirect) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = WsClient(f"ws://127.0.0.1:{port}/first", handler, ping_interval_s=1, dead_after_s=5, rng=Random(1))
        task = asyncio.create_task(client.run())
        assert (await handler.loss()).kind is LossKind.REFUSED
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert asked == ["/first"]


@pytest.mark.parametrize("url", ["ws://example.org/ws", "http://127.0.0.1", "wss://"])
def test_urls_without_tls_off_loopback_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        checked_ws_url(url)
