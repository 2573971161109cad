"""The network between the processes and the venue: requests and frames arrive late, twice, out of order or not at all.

`SimHttp` stands where common/http.py's client stands and `SimSocket` where common/ws.py's does; the shells that use
them are the real ones. What was on the wire when a process died still arrives at the venue.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

from common.backoff import ExponentialBackoff
from common.http import FailureKind, HttpFailure, HttpReply
from common.venues.polymarket.wire import encode_json
from common.ws import Loss, LossKind, WsHandler
from tests.sim.clock import MS, S
from tests.sim.faults import EVENT_LATE_MAX_NS, LATE_MAX_NS, SILENT_MAX_NS, SUBSCRIBE_MAX_NS
from tests.sim.venue import NOT_TAKEN, Venue
from tests.sim.world import World

Outcome = HttpReply | HttpFailure
Pairs = Sequence[tuple[str, str]]


class SimHttp:
    """One pool of connections of one gateway."""

    def __init__(self, world: World, venue: Venue, total_timeout_s: float) -> None:
        self._world = world
        self._venue = venue
        self._timeout_ns = round(total_timeout_s * S)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Pairs = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Outcome:
        del headers
        future: asyncio.Future[Outcome] = self._world.loop.create_future()
        exchange = _Exchange(self._world, self._venue, future, (method, path, query, body))
        self._world.loop.after(self._timeout_ns, exchange.fail, FailureKind.TIMEOUT, "no answer")
        exchange.begin()
        return await future

    async def close(self) -> None:
        """Nothing is held open."""


class _Exchange:
    """One request and what becomes of it."""

    def __init__(
        self,
        world: World,
        venue: Venue,
        future: asyncio.Future[Outcome],
        request: tuple[str, str, Pairs, bytes | None],
    ) -> None:
        self._world = world
        self._venue = venue
        self._future = future
        self._request = request
        self._refusal: tuple[int, bytes] | None = None

    def begin(self) -> None:
        if self._request[0] == "POST":
            self._venue.on_post()
        faults, loop = self._world.faults, self._world.loop
        if faults.happens("http_not_sent"):
            loop.after(faults.between(MS, 50 * MS), self.fail, FailureKind.NOT_SENT, "no connection")
        elif faults.happens("http_lost"):
            self._reset_or_silence()
        elif faults.happens("http_late"):
            loop.after(faults.between(500 * MS, LATE_MAX_NS), self._arrive, "lost")
            self._reset_or_silence()
        elif faults.happens("http_5xx_before"):
            loop.after(self._hop(), self._answer, (502, b"<html>bad gateway</html>"))
        else:
            loop.after(self._hop(), self._arrive, self._fate())
            # A second copy of a wallet-wide cancel catches later orders, and nobody could tell (ADR 26).
            if not self._request[1].startswith("/cancel-") and faults.happens("http_doubled"):
                loop.after(self._hop(), self._arrive, "lost")

    def _fate(self) -> str:
        for name in ("http_answer_lost", "http_5xx_after", "http_garbled"):
            if self._world.faults.happens(name):
                return {"http_answer_lost": "lost", "http_5xx_after": "5xx", "http_garbled": "garbled"}[name]
        return "ok"

    def _hop(self) -> int:
        faults = self._world.faults
        return faults.between(300 * MS, 3 * S) if faults.happens("http_slow") else faults.between(2 * MS, 60 * MS)

    def _reset_or_silence(self) -> None:
        if self._world.rng.random() < 0.6:
            self._world.loop.after(self._hop(), self.fail, FailureKind.RESET, "connection reset")

    def _arrive(self, fate: str) -> None:
        method, path, query, body = self._request
        status, answer = self._refusal or self._venue.handle(method, path, query, body)
        if method == "POST" and answer in NOT_TAKEN:
            self._refusal = status, answer  # the second copy of one request is not judged anew
        if method != "GET":
            self._world.trace("http", f"{method} {path} -> {status} {answer[:60].decode()} ({fate})")
        if fate == "lost":
            return
        if fate == "5xx":
            status, answer = self._world.rng.choice((500, 502, 504)), b'{"error":"internal"}'
        elif fate == "garbled":
            answer = answer[: len(answer) // 2]
        self._world.loop.after(self._hop(), self._answer, (status, answer))

    def _answer(self, response: tuple[int, bytes]) -> None:
        if not self._future.done():
            self._future.set_result(HttpReply(response[0], {}, response[1]))

    def fail(self, kind: FailureKind, text: str) -> None:
        if not self._future.done():
            self._future.set_result(HttpFailure(kind, text))


class SimSocket:
    """The user channel of one user_data process: dials, subscribes, is cut, goes silent, dials again."""

    def __init__(
        self, world: World, venue: Venue, handler: WsHandler, rng: Random, backoff: ExponentialBackoff | None
    ) -> None:
        self._world = world
        self._venue = venue
        self._handler = handler
        self._backoff = backoff or ExponentialBackoff(rng)
        self._lost: asyncio.Future[Loss] | None = None
        self._subscribed = False
        self.counters: Counter[str] = Counter()

    async def run(self) -> None:
        try:
            while True:
                await self._one_connection()
                await asyncio.sleep(self._backoff.next_delay_s())
        finally:
            self._unsubscribe()
            self._lost = None

    async def _one_connection(self) -> None:
        faults, loop = self._world.faults, self._world.loop
        await asyncio.sleep(faults.between(MS, 100 * MS) / S)
        lost = self._lost = loop.create_future()
        self._handler.on_connected()
        loop.after(faults.between(MS, SUBSCRIBE_MAX_NS if faults.on else 50 * MS), self._subscribe, lost)
        loop.after(faults.between(MS, S), self._pong, lost)
        if cut_ns := faults.next_in("socket_cut"):
            loop.after(cut_ns, self._cut, lost)
        if silent_ns := faults.next_in("socket_silent"):
            loop.after(silent_ns, self._go_silent, lost)
        loss = await lost
        self._unsubscribe()
        self._lost = None
        self._world.trace("socket", f"lost: {loss.kind.value}")
        self._handler.on_lost(loss)

    def drop(self, text: str) -> None:
        self._end(self._lost, Loss(LossKind.DROPPED, text))

    # --- what the venue says ---

    def tell(self, event: Mapping[str, object]) -> None:
        faults, loop = self._world.faults, self._world.loop
        raw = encode_json([event])
        for _ in range(2 if faults.happens("event_doubled") else 1):
            most_ns = EVENT_LATE_MAX_NS if faults.happens("event_late") else 80 * MS
            loop.after(faults.between(2 * MS, most_ns), self._frame, self._lost, raw)

    def _frame(self, connection: asyncio.Future[Loss] | None, raw: bytes) -> None:
        if self._is_alive(connection):
            self._handler.on_frame(raw)

    def _pong(self, connection: asyncio.Future[Loss]) -> None:
        if self._is_alive(connection):
            self._backoff.reset()
            self._handler.on_pong()

    # --- the life of a connection ---

    def _is_alive(self, connection: asyncio.Future[Loss] | None) -> bool:
        return connection is not None and connection is self._lost and not connection.done()

    def _subscribe(self, connection: asyncio.Future[Loss]) -> None:
        if self._is_alive(connection):
            self._subscribed = True
            self._venue.listeners.append(self)

    def _unsubscribe(self) -> None:
        if self._subscribed:
            self._subscribed = False
            self._venue.listeners.remove(self)

    def _cut(self, connection: asyncio.Future[Loss]) -> None:
        if self._world.faults.on:
            self._end(connection, Loss(LossKind.CLOSED, "cut"))

    def _go_silent(self, connection: asyncio.Future[Loss]) -> None:
        """Nothing is said any more, and nobody notices for a while."""
        faults = self._world.faults
        if faults.on and self._is_alive(connection):
            self._world.trace("socket", "goes silent")
            self._unsubscribe()
            delay_ns = faults.between(S, SILENT_MAX_NS)
            self._world.loop.after(delay_ns, self._end, connection, Loss(LossKind.SILENT, "no PONG"))

    def _end(self, connection: asyncio.Future[Loss] | None, loss: Loss) -> None:
        if connection is not None and not connection.done():
            connection.set_result(loss)
