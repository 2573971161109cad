"""An outbound WebSocket that stays connected: dial, read raw frames, application-level PING, reconnect with backoff.

In: a URL and a WsHandler. Out: the handler's calls, in order, always on the loop's thread: on_connected (its frames are
sent first), on_frame and on_pong, and exactly one on_lost for every on_connected. Frame size and queue are bounded;
redirects are not followed (frames may carry credentials); off loopback only TLS. It knows no venue.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from random import Random
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from common.backoff import ExponentialBackoff
from common.errors import ConfigError
from common.settings import is_loopback

FRAME_MAX = 8 << 20
QUEUE_MAX = 256
"""Frames read ahead of the handler; beyond it the socket is not read, which slows the server down."""
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
_FAIR_AFTER = 64
"""Frames handled before other callbacks of the loop get their turn."""


class LossKind(StrEnum):
    """Why a connection ended, or could not be made."""

    REFUSED = "REFUSED"
    CLOSED = "CLOSED"
    SILENT = "SILENT"
    TOO_LARGE = "TOO_LARGE"
    DROPPED = "DROPPED"


class Loss(NamedTuple):
    kind: LossKind
    text: str


class WsHandler(Protocol):
    """Who a connection is for. A handler that raises is a bug and ends `run`."""

    def on_connected(self) -> Sequence[bytes]:
        """The connection is open; the returned frames are sent at once."""
        ...

    def on_frame(self, raw: bytes) -> None: ...

    def on_pong(self) -> None: ...

    def on_lost(self, loss: Loss) -> None:
        """Called once for every on_connected; also for a dial that failed."""
        ...


class _Dial(connect):
    """`connect` without redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WsClient:
    """One connection that is made again whenever it is lost, until `run` is cancelled."""

    def __init__(
        self,
        url: str,
        handler: WsHandler,
        *,
        ping_interval_s: float,
        dead_after_s: float,
        rng: Random,
        backoff: ExponentialBackoff | None = None,
        ping: str = "PING",
        pong: bytes = b"PONG",
        frame_max: int = FRAME_MAX,
        counters: Counter[str] | None = None,
    ) -> None:
        self.url = checked_ws_url(url)
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._handler = handler
        self._ping_interval_s = ping_interval_s
        self._dead_after_s = dead_after_s
        self._ping = ping
        self._pong = pong
        self._frame_max = frame_max
        self._backoff = backoff or ExponentialBackoff(rng)
        self._connection: ClientConnection | None = None
        self._dropped_for: str | None = None
        self._was_connected = False

    async def run(self) -> None:
        """Dial, serve and dial again until cancelled."""
        while True:
            loss = await self._one_connection()
            self.counters[f"ws_{loss.kind.value.lower()}"] += 1
            await asyncio.sleep(self._backoff.next_delay_s())

    async def send(self, frame: bytes) -> bool:
        """Send a text frame on the open connection; False when there is none (the next on_connected must cover it)."""
        connection = self._connection
        if connection is None:
            return False
        with contextlib.suppress(ConnectionClosed):
            await connection.send(frame, text=True)
            return True
        return False

    def drop(self, reason: str) -> None:
        """Cut the open connection now; on_lost follows with this reason, then a new dial."""
        if self._connection is not None and self._dropped_for is None:
            self._dropped_for = reason
            self._connection.transport.abort()

    async def _one_connection(self) -> Loss:
        try:
            connection = await _Dial(
                self.url,
                compression=None,
                proxy=None,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,
                max_size=self._frame_max,
                max_queue=QUEUE_MAX,
            )
        except (OSError, InvalidHandshake, TimeoutError) as error:
            loss = Loss(LossKind.REFUSED, f"{type(error).__name__}: {error}"[:200])
            self._handler.on_lost(loss)
            return loss
        self.counters["ws_connected"] += 1
        self.counters["ws_reconnected"] += self._was_connected
        self._was_connected = True
        self._dropped_for = None
        self._connection = connection
        try:
            loss = await self._serve(connection)
        finally:
            self._connection = None
            connection.transport.abort()
        self._handler.on_lost(loss)
        return loss

    async def _serve(self, connection: ClientConnection) -> Loss:
        pinging: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self._dead_after_s) as life:
                for frame in self._handler.on_connected():
                    await connection.send(frame, text=True)
                pinging = asyncio.create_task(self._keep_pinging(connection), name="ws-ping")
                await self._read(connection, life)
        except TimeoutError:
            return Loss(LossKind.SILENT, f"no answer to PING for {self._dead_after_s:g} s")
        except ConnectionClosed as error:
            return self._loss_of(error)
        finally:
            if pinging is not None:
                pinging.cancel()
                await asyncio.gather(pinging, return_exceptions=True)
        raise AssertionError("the reader only ends by an exception")

    async def _read(self, connection: ClientConnection, life: asyncio.Timeout) -> None:
        loop = asyncio.get_running_loop()
        handled = 0
        while True:
            raw = await connection.recv(decode=False)
            if self._backoff.attempts:
                self._backoff.reset()
            if raw == self._pong:
                life.reschedule(loop.time() + self._dead_after_s)
                self._handler.on_pong()
            else:
                self.counters["ws_frames"] += 1
                self._handler.on_frame(raw)
            handled += 1
            if handled % _FAIR_AFTER == 0:
                await asyncio.sleep(0)

    async def _keep_pinging(self, connection: ClientConnection) -> None:
        """PING at once and then every interval. A write that hangs ends with the reader's deadline."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send(self._ping)
                await asyncio.sleep(self._ping_interval_s)

    def _loss_of(self, error: ConnectionClosed) -> Loss:
        if self._dropped_for is not None:
            return Loss(LossKind.DROPPED, self._dropped_for)
        if error.sent is not None and error.sent.code == 1009:
            return Loss(LossKind.TOO_LARGE, f"a frame above {self._frame_max} bytes")
        if error.rcvd is not None:
            return Loss(LossKind.CLOSED, f"closed by the server: {error.rcvd.code} {error.rcvd.reason}"[:200])
        return Loss(LossKind.CLOSED, "the connection broke")


def checked_ws_url(url: str) -> str:
    """The URL itself. Raises ConfigError when it is not ws(s), or plain ws to another machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(url, "is not a ws(s) URL")
    if parts.scheme == "ws" and not is_loopback(parts.hostname):
        raise ConfigError(url, "is off loopback without TLS: use wss://")
    return url
