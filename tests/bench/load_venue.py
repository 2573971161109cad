"""The simulator's server over generated books: as many markets and messages a second as asked for.

`python -m tests.bench.load_venue --port P --markets N --rate R [--seed S] [--seconds T] [--control-port C]`

Replicas, frames, REST answers and sockets are the simulator's own code; only the exchange's stream is replaced by a
generator, deterministic from its seed but for the times. The first market is the probe: the size of its level at PROBE
is when the message was made. The control port has GET /truth?token_id=, GET /stats and POST /pause.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from statistics import quantiles

import uvloop
from aiohttp import web

from common.errors import ConfigError, ExitCode
from common.instruments import Market
from common.messages import (
    BookState,
    ExchangeTrade,
    Level,
    LevelsChanged,
    MarketOpened,
    Message,
    StepCompleted,
    TradeMade,
)
from common.process import freeze_collector
from common.types import ONE, Settlement, Side
from common.venues.polymarket.wire import MILLI_NS, BookObject
from scripts.bench.venue import PROBE, send_time_us
from services.polymarket_sim.books import BookReplica, Books
from services.polymarket_sim.channels import MarketHub, UserHub
from services.polymarket_sim.playback import PlaybackApi
from services.polymarket_sim.registry import KeyRegistry
from services.polymarket_sim.replies import reply
from services.polymarket_sim.server import listen, make_app
from services.polymarket_sim.streams import MarketSink
from services.polymarket_sim.venue import Terms, Venue

HOST = "127.0.0.1"
CENT = 10_000
BIDS, ASKS = range(10, 50), range(51, 91)
"""Cents at which levels come and go; the sides can never meet."""
LEVELS, LEVELS_MIN = 30, 20
BUSY_SHARE = 0.1
"""So many of the markets get half of the messages."""
TRADE_EVERY = 100
PROBE_EVERY_S = 0.01
TURN_S = 0.002
SLOW_TURN_S = 0.05
"""A turn of the loop that took longer is counted: what was late then was late here already."""


def market(number: int) -> Market:
    condition = "0x" + sha256(f"load:{number}".encode()).hexdigest()
    first, second = (str(int.from_bytes(sha256(f"{condition}:{i}".encode()).digest()) | 1 << 255) for i in (0, 1))
    return Market(
        "polymarket", condition, f"load-{number}", f"Load {number}?", ("Up", "Down"), (first, second), CENT, 5 * ONE
    )


PROBE_TOKEN = market(0).token_ids[0]
"""A deep bid of this token, at the price PROBE, says when it was made."""


class LoadReplica(BookReplica):
    """With opaque hashes: hashing both whole books is most of the 109 us a message costs, and no client checks them."""

    def _make_book(self, index: int) -> BookObject:
        bids, asks = (self.bids, self.asks) if index == 0 else (_mirrored(self.asks), _mirrored(self.bids))
        return BookObject(
            market=self.market.condition_id,
            token_id=self.market.token_ids[index],
            timestamp_ms=self.at_ns // MILLI_NS,
            bids=tuple(sorted(bids.items())),
            asks=tuple(sorted(asks.items(), reverse=True)),
            hash=f"{self.at_ns:040x}",
            min_order_size=self.market.min_size,
            tick_size=self.market.tick,
            neg_risk=self.market.neg_risk,
            last_trade_price=self.last_price or None,
        )


def _mirrored(levels: dict[int, int]) -> dict[int, int]:
    return {ONE - price: size for price, size in levels.items()}


class LoadBooks(Books):
    def _open(self, market: Market) -> BookReplica:
        replica = self.by_condition[market.condition_id] = LoadReplica(market)
        for index, token_id in enumerate(market.token_ids):
            self._by_token[token_id] = (replica, index)
        return replica


class Generator:
    """The exchange's market stream. `made` counts the messages, `probes` the probes among them."""

    def __init__(self, markets: int, seed: int) -> None:
        self._random = Random(seed)
        self._markets = [market(number) for number in range(markets)]
        self._busy = max(1, int(markets * BUSY_SHARE))
        self._books: list[tuple[dict[int, int], dict[int, int]]] = [self._first_book() for _ in self._markets]
        self.made = self.probes = 0
        self.by_market: Counter[int] = Counter()

    def _first_book(self) -> tuple[dict[int, int], dict[int, int]]:
        bids = {cents * CENT: self._size() for cents in self._random.sample(BIDS, LEVELS)}
        asks = {cents * CENT: self._size() for cents in self._random.sample(ASKS, LEVELS)}
        return bids, asks

    def snapshot(self, at_ns: int) -> list[Message]:
        opened: list[Message] = [MarketOpened(one) for one in self._markets]
        return opened + [self._state(number, at_ns) for number in range(len(self._markets))]

    def _state(self, number: int, at_ns: int) -> BookState:
        bids, asks = self._books[number]
        condition_id = self._markets[number].condition_id
        return BookState(condition_id, sorted(bids.items(), reverse=True), sorted(asks.items()), CENT, 0, "", at_ns)

    def step(self, at_ns: int) -> list[Message]:
        """One price_change of one market: one or two levels, sometimes with a trade."""
        random = self._random
        number = random.randrange(self._busy if random.random() < 0.5 else len(self._markets))
        changes: tuple[list[Level], list[Level]] = ([], [])
        for _ in range(random.randrange(1, 3)):
            side = random.randrange(2)
            changes[side].append(self._change(number, side))
        trades = [self._trade(number, at_ns)] if self.made % TRADE_EVERY == 0 else []
        return [self._levels(number, *changes, at_ns), *trades, StepCompleted(self.made, at_ns)]

    def probe(self, at_ns: int) -> list[Message]:
        """The probe's level with the time it is made at."""
        size = send_time_us()
        self._books[0][0][PROBE] = size
        self.probes += 1
        return [self._levels(0, [(PROBE, size)], [], at_ns), StepCompleted(self.made, at_ns)]

    def _change(self, number: int, side: int) -> Level:
        """One level gets a new total, appears or disappears; the best ones too."""
        levels = self._books[number][side]
        price = self._random.choice((BIDS, ASKS)[side]) * CENT
        if price in levels and len(levels) > LEVELS_MIN and self._random.random() < 0.3:
            del levels[price]
            return price, 0
        levels[price] = self._size()
        return price, levels[price]

    def _size(self) -> int:
        return self._random.randrange(1, 1_000_000) * CENT

    def _levels(self, number: int, bids: list[Level], asks: list[Level], at_ns: int) -> LevelsChanged:
        self.made += 1
        self.by_market[number] += 1
        best = max(self._books[number][0]), min(self._books[number][1])
        return LevelsChanged(self._markets[number].condition_id, bids, asks, *best, at_ns)

    def _trade(self, number: int, at_ns: int) -> TradeMade:
        """Somebody bought the first outcome at the best ask."""
        one = self._markets[number]
        trade = ExchangeTrade(
            trade_id=f"load-{self.made}",
            condition_id=one.condition_id,
            taker_order_id="",
            taker_account="",
            taker_owner="",
            token_id=one.token_ids[0],
            outcome=one.outcomes[0],
            side=Side.BUY,
            size=5 * ONE,
            price=min(self._books[number][1]),
            fee=0,
            fee_rate=0,
            settlement=Settlement.MATCHED,
            tx_hash="",
            matched_ns=at_ns,
            updated_ns=at_ns,
            makers=(),
        )
        return TradeMade(self.made, trade)


class Load:
    """`rate` messages a second over all markets, until paused."""

    def __init__(self, generator: Generator, sink: MarketSink, rate: int) -> None:
        self._generator = generator
        self._sink = sink
        self._rate = rate
        self.paused = asyncio.Event()
        self.slow_turns = 0

    async def run(self) -> None:
        """At the rate on average, whatever single sleeps do."""
        loop = asyncio.get_running_loop()
        began = probed = turned = loop.time()
        while not self.paused.is_set():
            now_s = loop.time()
            self.slow_turns += now_s - turned > SLOW_TURN_S
            turned = now_s
            if now_s - probed >= PROBE_EVERY_S:
                probed = now_s
                self._say(self._generator.probe(time.time_ns()))
            while self._generator.made < (now_s - began) * self._rate:
                self._say(self._generator.step(time.time_ns()))
            await asyncio.sleep(TURN_S)

    def _say(self, bodies: Sequence[Message]) -> None:
        for body in bodies:
            self._sink.on_event(body)


class Control:
    """What the generator did, and the true books."""

    def __init__(self, venue: Venue, hub: MarketHub, generator: Generator, load: Load) -> None:
        self._hub = hub
        self._generator = generator
        self._load = load
        self._truth = PlaybackApi(venue, _no_owner).truth

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/truth", self._truth), web.get("/stats", self.stats), web.post("/pause", self.pause)])
        return app

    async def pause(self, request: web.Request) -> web.Response:
        """No message is made after the answer."""
        self._load.paused.set()
        return await self.stats(request)

    async def stats(self, _request: web.Request) -> web.Response:
        made = self._generator
        busy = sorted(made.by_market.values())
        return reply(
            {
                "messages": made.made,
                "probes": made.probes,
                "messages_of_a_market": quantiles(busy, n=4) if len(busy) > 1 else busy,
                "connections": sorted(len(connection.tokens) for connection in self._hub.connections),
                "slow_turns": self._load.slow_turns,
                "cpu_s": time.process_time(),
                **self._hub.counters,
            }
        )


async def _no_exchange(body: Message) -> Message:
    raise AssertionError(f"no exchange behind the load: {type(body).__name__}")


async def _no_owner(_owner: str, body: Message) -> Message:
    return await _no_exchange(body)


def _raise(error: BaseException) -> None:
    raise error


async def serve(folder: Path, options: argparse.Namespace) -> None:
    """Returns after `seconds` of messages; without them it serves until it is killed, also when paused."""
    terms = Terms(137, False, 0, 60, bytes(32))
    venue = Venue(terms, KeyRegistry(folder / "keys"), _no_exchange, time.time_ns, time.monotonic_ns)
    venue.books = LoadBooks()
    venue.account_synced = True
    counters: Counter[str] = Counter()
    hub = MarketHub(venue, counters)
    sink = MarketSink(venue, hub, lambda: None)
    generator = Generator(options.markets, options.seed)
    sink.on_snapshot(generator.snapshot(time.time_ns()))
    load = Load(generator, sink, options.rate)
    app = make_app(venue, hub, UserHub(venue, counters), counters=counters, protocol_version=2, fail=_raise)
    runners = [
        await listen(app, HOST, options.port, "--port"),
        await listen(Control(venue, hub, generator, load).app(), HOST, options.control_port, "--control-port"),
    ]
    freeze_collector()  # it stopped the loop for up to 280 ms
    try:
        async with asyncio.timeout(options.seconds):
            await load.run()
            await asyncio.Event().wait()  # paused: REST still answers
    except TimeoutError:
        pass
    finally:
        for runner in runners:
            await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--control-port", type=int, help="the next one unless given")
    parser.add_argument("--markets", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=5_000, help="messages a second over all markets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="then it ends; for ever unless given")
    options = parser.parse_args(argv)
    options.control_port = options.control_port or options.port + 1
    if options.markets < 1 or options.rate < 1:
        parser.error("--markets and --rate are at least 1")
    with (
        tempfile.TemporaryDirectory(prefix="px-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        try:
            runner.run(serve(Path(folder), options))
        except ConfigError as error:
            print(f"error: {error}", file=sys.stderr)
            return ExitCode.CONFIG
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
