"""A venue for measuring: one market whose price_changes carry the microsecond at which they were sent.

`run` is the body of a child process. It answers what market_data asks of Gamma and the CLOB, and sends `rate` messages
a second on the market channel. The size of the level at PROBE is the send time in microseconds,
cut to twelve digits: whoever reads the delta on the same machine knows how long it took.
"""

from __future__ import annotations

import asyncio
import json
import time

from aiohttp import ClientConnectionResetError, WSMsgType, web

from common.instruments import Market
from common.types import ONE, Side
from common.venues.polymarket.market import PING, PONG, BookEvent, LevelChange, PriceChangeEvent, market_frame
from common.venues.polymarket.wire import BookObject

MARKET = Market(
    "polymarket", "0x" + "be" * 32, "bench", "How late?", ("Up", "Down"), ("7" * 77, "8" * 77), 10_000, 5_000_000
)
PROBE = 10_000
BEST_BID, BEST_ASK = 400_000, 600_000
DIGITS = 10**12
MS = 1_000_000


def send_time_us() -> int:
    return time.time_ns() // 1000 % DIGITS


def latency_us(size: int) -> int:
    """Since the message whose probe level has this size was sent."""
    return (time.time_ns() // 1000 - size) % DIGITS


class Venue:
    """`rate` messages a second to everybody who is connected."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._sockets: set[web.WebSocketResponse] = set()
        self._probe = ONE

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/gamma/markets/keyset", self.gamma),
                web.get("/clob-markets/{condition}", self.clob_market),
                web.get("/book", self.book),
                web.post("/books", self.books),
                web.get("/ws/market", self.channel),
            ]
        )
        return app

    async def gamma(self, _request: web.Request) -> web.Response:
        row = {
            "conditionId": MARKET.condition_id,
            "slug": MARKET.slug,
            "question": MARKET.question,
            "outcomes": json.dumps(MARKET.outcomes),
            "clobTokenIds": json.dumps(MARKET.token_ids),
            "acceptingOrders": True,
        }
        return web.json_response({"markets": [row]})

    async def clob_market(self, _request: web.Request) -> web.Response:
        tokens = [{"t": token, "o": word} for token, word in zip(MARKET.token_ids, MARKET.outcomes, strict=True)]
        return web.json_response({"c": MARKET.condition_id, "t": tokens, "mts": 0.01, "mos": 5, "ao": True})

    async def book(self, request: web.Request) -> web.Response:
        return web.json_response(self._book(request.query["token_id"]).to_wire())

    async def books(self, request: web.Request) -> web.Response:
        return web.json_response([self._book(row["token_id"]).to_wire() for row in await request.json()])

    def _book(self, token_id: str) -> BookObject:
        bids, asks = ((PROBE, self._probe), (BEST_BID, ONE)), ((BEST_ASK, ONE),)
        return BookObject(MARKET.condition_id, token_id, time.time_ns() // MS, bids, asks)

    async def channel(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            if message.data == PING:
                await socket.send_str(PONG)
            elif json.loads(message.data).get("operation") != "unsubscribe":
                now_ns = time.time_ns()
                books = [self._book(token_id) for token_id in MARKET.token_ids]
                events = [BookEvent(one.market, one.token_id, one.bids, one.asks, now_ns) for one in books]
                await socket.send_str(market_frame(events).decode())
                self._sockets.add(socket)
        self._sockets.discard(socket)
        return socket

    async def keep_sending(self) -> None:
        """At the rate on average, whatever single sleeps do."""
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while True:
            while sent < (loop.time() - began) * self._rate:
                sent += 1
                await self._send()
            await asyncio.sleep(0.5 / self._rate)

    async def _send(self) -> None:
        self._probe = send_time_us()
        rows = tuple(
            LevelChange(token_id, Side.BUY, PROBE, self._probe, BEST_BID, BEST_ASK) for token_id in MARKET.token_ids
        )
        frame = market_frame([PriceChangeEvent(MARKET.condition_id, rows, time.time_ns())]).decode()
        for socket in list(self._sockets):
            try:
                await socket.send_str(frame)
            except ClientConnectionResetError:
                self._sockets.discard(socket)


async def serve(port: int, rate: int) -> None:
    venue = Venue(rate)
    runner = web.AppRunner(venue.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await venue.keep_sending()


def run(port: int, rate: int) -> None:
    """Serve until killed; the body of the child process."""
    asyncio.run(serve(port, rate))
