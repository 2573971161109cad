"""The simulator's server over generated books: as many markets and messages a second as asked for.

Frames, REST answers and sockets are the simulator's own code; only the exchange behind it is replaced by a generator,
deterministic from its seed. `run` is the body of a child process. POST /load/pause stops the messages, GET /load/stats
says what was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from random import Random

import uvloop
from aiohttp import web

from common.instruments import Market
from common.messages import BookState, Level, LevelsChanged, MarketOpened, Message
from common.types import ONE, Side
from common.venues.polymarket.market import LevelChange, PriceChangeEvent
from services.polymarket_sim.books import BookReplica, Broadcast
from services.polymarket_sim.channels import MarketHub, UserHub
from services.polymarket_sim.registry import KeyRegistry
from services.polymarket_sim.replies import reply
from services.polymarket_sim.server import make_app
from services.polymarket_sim.venue import Terms, Venue

CENT = 10_000
LEVELS = 30
BUSY_SHARE = 0.1
"""So many of the markets get half of the messages."""
TURN_S = 0.002


def market(number: int) -> Market:
    condition = "0x" + sha256(f"load:{number}".encode()).hexdigest()
    first, second = (str(int.from_bytes(sha256(f"{condition}:{i}".encode()).digest()) | 1 << 255) for i in (0, 1))
    return Market(
        "polymarket", condition, f"load-{number}", f"Load {number}?", ("Up", "Down"), (first, second), CENT, 5 * ONE
    )


def book(number: int, random: Random) -> BookState:
    """Bids below 0.50, asks above; the best of both never go away, so the book is never crossed."""
    bids = [(price * CENT, random.randrange(1, 1000) * ONE) for price in range(49, 49 - LEVELS, -1)]
    asks = [(price * CENT, random.randrange(1, 1000) * ONE) for price in range(51, 51 + LEVELS)]
    return BookState(market(number).condition_id, bids, asks, CENT, 0, "", time.time_ns())


class Load:
    """`rate` messages a second over all markets."""

    def __init__(self, venue: Venue, hub: MarketHub, rate: int, seed: int) -> None:
        self._hub = hub
        self._rate = rate
        self._random = Random(seed)
        self._replicas = list(venue.books.by_condition.values())
        self._busy = self._replicas[: max(1, int(len(self._replicas) * BUSY_SHARE))]
        self.running = True
        self.sent = 0

    async def run(self) -> None:
        """At the rate on average, whatever single sleeps do."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.running:
            while self.sent < (loop.time() - began) * self._rate:
                self._send()
            await asyncio.sleep(TURN_S)
        await asyncio.Event().wait()  # paused: REST still answers

    def _send(self) -> None:
        """One level of one market gets a new total, sometimes none."""
        pool = self._busy if self._random.random() < 0.5 else self._replicas
        replica = self._random.choice(pool)
        side = Side.BUY if self._random.random() < 0.5 else Side.SELL
        depth = self._random.randrange(1, LEVELS)
        price = (49 - depth if side is Side.BUY else 51 + depth) * CENT
        size = 0 if self._random.random() < 0.2 else self._random.randrange(1, 1_000_000) * 10_000
        now_ns = time.time_ns()
        level: list[Level] = [(price, size)]
        bids, asks = (level, []) if side is Side.BUY else ([], level)
        best = (replica.best_bid, replica.best_ask)
        replica.apply_levels(LevelsChanged(replica.market.condition_id, bids, asks, *best, now_ns))
        self._hub.broadcast([Broadcast(replica.market.token_ids, _event(replica, side, price, size, now_ns))])
        self.sent += 1


def _event(replica: BookReplica, side: Side, price: int, size: int, now_ns: int) -> PriceChangeEvent:
    """As the simulator says it, with opaque hashes: hashing two whole books a message would be the generator's work."""
    up, down = replica.market.token_ids
    rows = (
        LevelChange(up, side, price, size, *replica.best(0), "0" * 40),
        LevelChange(down, side.opposite, ONE - price, size, *replica.best(1), "0" * 40),
    )
    return PriceChangeEvent(replica.market.condition_id, rows, now_ns)


async def serve(folder: Path, port: int, markets: int, rate: int, seed: int) -> None:
    async def ask(body: Message) -> Message:
        raise AssertionError(f"no exchange behind the load: {type(body).__name__}")

    terms = Terms(137, False, 0, 60, bytes(32))
    venue = Venue(terms, KeyRegistry(folder / "keys"), ask, time.time_ns, time.monotonic_ns)
    random = Random(seed)
    bodies: list[Message] = [MarketOpened(market(number)) for number in range(markets)]
    venue.books.replace([*bodies, *(book(number, random) for number in range(markets))])
    venue.books_synced = venue.account_synced = True
    counters: Counter[str] = Counter()
    hub = MarketHub(venue, counters)
    load = Load(venue, hub, rate, seed)
    app = make_app(venue, hub, UserHub(venue, counters), counters=counters, protocol_version=2, fail=_raise)

    async def pause(_request: web.Request) -> web.Response:
        load.running = False
        return reply({"sent": load.sent})

    async def stats(_request: web.Request) -> web.Response:
        return reply({"sent": load.sent, "connections": len(hub.connections), "cpu_s": time.process_time(), **counters})

    app.add_routes([web.post("/load/pause", pause), web.get("/load/stats", stats)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await load.run()


def _raise(error: BaseException) -> None:
    raise error


def run(folder: Path, port: int, markets: int, rate: int, seed: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(folder, port, markets, rate, seed))
