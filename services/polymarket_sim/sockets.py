"""One WebSocket of a client: a bounded queue, a writer, and the reading loop of both channels (protocol section 5.1).

In: frames to send, and handlers for the first and the later frames. Out: text frames, PONG for PING, and an end. A
client that does not read is cut off, never waited for; one that says nothing is closed. It knows no event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from aiohttp import ClientConnectionResetError, WSCloseCode, WSMsgType, web

from common.errors import Refusal
from common.venues.polymarket.market import PING, PONG
from common.venues.polymarket.wire import Members, members_of

QUEUE_FRAMES: Final = 4_000
QUEUE_BYTES: Final = 16_000_000
FRAME_MAX: Final = 1_000_000
FIRST_FRAME_S: Final = 10.0
IDLE_S: Final = 120.0
"""A client pings every ten seconds; one that says nothing this long is gone."""

Socket = web.WebSocketResponse[Any]
ConnectionT = TypeVar("ConnectionT", bound="Connection")


def new_socket() -> Socket:
    """Ping frames are answered in our own loop, so that they count as signs of life."""
    return web.WebSocketResponse(autoping=False, compress=False, max_msg_size=FRAME_MAX, timeout=1.0)


class Connection:
    """One client: its queue, and the task that writes it."""

    def __init__(self, ws: Socket, request: web.Request) -> None:
        self.ws = ws
        self._transport = request.transport
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self.lost = False

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False when the client is too slow: then the connection is cut."""
        if self.lost:
            return False
        if len(self._queue) >= QUEUE_FRAMES or self._bytes + len(frame) > QUEUE_BYTES:
            self.cut()
            return False
        self._queue.append(frame)
        self._bytes += len(frame)
        self._filled.set()
        return True

    def cut(self) -> None:
        """End without a goodbye; the reader sees the end of the connection."""
        self.lost = True
        self._queue.clear()
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        while not self.lost:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                frame = self._queue.popleft()
                self._bytes -= len(frame)
                await self.before_frame()
                try:
                    await self.ws.send_frame(frame, WSMsgType.TEXT)
                except ClientConnectionResetError:
                    self.lost = True
                    return

    async def before_frame(self) -> None:
        """Where a fault may hold a frame up."""

    def answers_ping(self) -> bool:
        """Whether PING gets its PONG, and a ping frame its pong frame."""
        return True

    def text(self, text: str) -> None:
        self.send(text.encode())


async def first_frame(ws: Socket, answers_ping: Callable[[], bool]) -> Members | None:
    """The subscription a client must send at once; None when it does not, or it cannot be read."""
    try:
        async with asyncio.timeout(FIRST_FRAME_S):
            while True:
                message = await ws.receive()
                if message.type is WSMsgType.PING:
                    if answers_ping():
                        await ws.pong(message.data)
                elif message.type is not WSMsgType.TEXT:
                    return None
                elif message.data == PING:
                    if answers_ping():
                        await ws.send_str(PONG)
                else:
                    return members_of(message.data)
    except (TimeoutError, Refusal, ClientConnectionResetError):
        return None


async def serve(
    connection: ConnectionT,
    frame: Members,
    first: Callable[[ConnectionT, Members], bool],
    later: Callable[[ConnectionT, Members], bool],
) -> None:
    """Write and read until the end. Handlers return False (or refuse) when the client must go."""
    writer = asyncio.create_task(connection.write())
    try:
        goes_on = _handled(connection, frame, first)
        while goes_on and not connection.lost:
            goes_on = await _read_one(connection, later)
    finally:
        writer.cancel()
        with suppress(asyncio.CancelledError):
            await writer
        if not connection.lost:
            await connection.ws.close(code=WSCloseCode.GOING_AWAY)


async def _read_one(connection: ConnectionT, later: Callable[[ConnectionT, Members], bool]) -> bool:
    try:
        message = await connection.ws.receive(timeout=IDLE_S)
    except TimeoutError:
        return False
    if message.type is WSMsgType.PING:
        if connection.answers_ping():
            await connection.ws.pong(message.data)
        return True
    if message.type is WSMsgType.PONG:
        return True
    if message.type is not WSMsgType.TEXT:
        return False
    if message.data == PING:
        if connection.answers_ping():
            connection.text(PONG)
        return True
    try:
        return _handled(connection, members_of(message.data), later)
    except Refusal:
        return False


def _handled(connection: ConnectionT, frame: Members, handler: Callable[[ConnectionT, Members], bool]) -> bool:
    try:
        return handler(connection, frame)
    except Refusal:
        return False
