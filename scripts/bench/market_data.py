"""price_change messages per second, from raw bytes to published frame in one process, and how late a reader hears.

Three programs read the same messages, made of the recorded real books: ours (exact full depth, every check, deltas,
tops and depth for every token, all of them read by somebody), the floor (typed msgspec decode and one dict write per
row), and the sample (orjson, floats and the best prices only, as spec 1 sketches it, its snapshot dumped as a frame).
Rounds are interleaved and CPU time is counted, so neighbours on the machine hurt all three alike; the ratios are of
medians. Ours is flushed every 64 messages, the most its WebSocket client reads in one turn of the loop; `one_by_one`
is the same with a flush after each message. The latencies are of real processes: from the write to the venue's socket,
through market_data's WebSocket and the bus, to the reader's callback.

Out: one JSON object as the last line.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, NamedTuple

import msgspec
import orjson

from common.bus import Received
from common.edge import Edge
from common.effects import Now, Publish
from common.frames import Epoch
from common.instruments import Market
from common.log import set_up_logging
from common.messages import BookDelta, Level, Message
from common.peer import Peer, streamed
from common.settings import MarketData, Settings
from common.types import ONE, FeedState, Side
from common.venues.polymarket.market import BookEvent, LevelChange, PriceChangeEvent, market_frame
from scripts.bench.venue import MARKET, PROBE, latency_us
from scripts.bench.venue import run as run_venue
from services.market_data.core import Board
from services.market_data.rules import Rules
from services.mirror.core import market_of
from services.mirror.playback import RecordedMarket, Snapshot
from services.mirror.recording import load_recording
from tests.process.group import free_ports, group

MESSAGES = 60_000
ROUNDS = 7
TURN = 64
"""Messages between two flushes: what common/ws.py reads at most before the loop goes on."""
RATE, LATENCIES = 1_000, 10_000
FEE_RATE = 70_000
MS = 1_000_000
CONNECTION = 1


class Flow(NamedTuple):
    """The messages, and the books they begin with by token."""

    markets: list[Market]
    books: dict[str, tuple[tuple[Level, ...], tuple[Level, ...]]]
    frames: list[bytes]


def recorded_flow(messages: int) -> Flow:
    """One message for each level that changes between two recorded snapshots, with a row for each outcome.

    The markets take turns, a snapshot's changes each, as if all had been recorded at once.
    """
    recorded = load_recording(lead_in_s=30, market_count=18)
    markets = [market_of(one, FEE_RATE) for one in recorded]
    books: dict[str, tuple[tuple[Level, ...], tuple[Level, ...]]] = {}
    for one, market in zip(recorded, markets, strict=True):
        first = one.snapshots[0]
        up, down = market.token_ids
        books[up] = (first.bids, first.asks)
        books[down] = (_mirrored(first.asks), _mirrored(first.bids))
    bursts = [_bursts(one, market) for one, market in zip(recorded, markets, strict=True)]
    frames: list[bytes] = []
    at_ms = 10**12
    while bursts and len(frames) < messages:
        for burst in list(bursts):
            changes = next(burst, None)
            if changes is None:
                bursts.remove(burst)
                continue
            at_ms += 1
            frames += [market_frame([msgspec.structs.replace(change, timestamp_ns=at_ms * MS)]) for change in changes]
    return Flow(markets, books, frames[:messages])


def _bursts(recorded: RecordedMarket, market: Market) -> Iterator[list[PriceChangeEvent]]:
    """The changes from each snapshot to the next."""
    bids, asks = dict(recorded.snapshots[0].bids), dict(recorded.snapshots[0].asks)
    for snapshot in recorded.snapshots[1:]:
        changes = []
        for side, price, size in _differences(bids, asks, snapshot):
            levels = bids if side is Side.BUY else asks
            if size:
                levels[price] = size
            else:
                del levels[price]
            best = (max(bids, default=None), min(asks, default=None))
            changes.append(_event(market, side, (price, size), best))
        yield changes


def _differences(bids: dict[int, int], asks: dict[int, int], then: Snapshot) -> list[tuple[Side, int, int]]:
    """Removals first, so that no book between is crossed."""
    changed: list[tuple[Side, int, int]] = []
    sides = ((Side.BUY, bids, dict(then.bids)), (Side.SELL, asks, dict(then.asks)))
    for side, now, wanted in sides:
        changed += [(side, price, 0) for price in now if price not in wanted]
    for side, now, wanted in sides:
        changed += [(side, price, size) for price, size in wanted.items() if now.get(price) != size]
    return changed


def _event(market: Market, side: Side, level: Level, best: tuple[int | None, int | None]) -> PriceChangeEvent:
    (price, size), (bid, ask) = level, best
    mirrored = (None if ask is None else ONE - ask, None if bid is None else ONE - bid)
    up, down = market.token_ids
    rows = (
        LevelChange(up, side, price, size, bid, ask, "b" * 40),
        LevelChange(down, side.opposite, ONE - price, size, *mirrored, "c" * 40),
    )
    return PriceChangeEvent(market.condition_id, rows, 0)


def _mirrored(levels: Iterable[Level]) -> tuple[Level, ...]:
    return tuple((ONE - price, size) for price, size in levels)


# --- ours ---


class Everybody:
    """A bus on which every topic has a reader, and which counts what would be sent."""

    def __init__(self) -> None:
        self.frames = 0
        self._news = [Received("", b"", b"t")]

    def publish(self, topic: bytes, frame: bytes) -> None:
        del topic
        self.frames += 1 if frame else 0

    def push(self, inbox_name: str, frame: bytes) -> bool:
        raise AssertionError(f"nothing is pushed to {inbox_name}: {len(frame)} bytes")

    def subscribe(self, process: str, topic: bytes) -> None:
        raise AssertionError(f"{topic!r} of {process} is not read here")

    unsubscribe = subscribe

    def receive(self, limit: int) -> list[Received]:
        news, self._news = self._news[:limit], []
        return news

    def poll(self, timeout_ms: int) -> bool:
        return bool(timeout_ms and self._news)

    def close(self) -> None:
        pass


def live_board(flow: Flow, now: Now) -> Board:
    board = Board(Rules.of(MarketData()), 1 << 20)
    board.discovered(flow.markets, 0, now)
    board.on_opened(CONNECTION, list(flow.books), now)
    for token_id, (bids, asks) in flow.books.items():
        board.on_frame(CONNECTION, market_frame([BookEvent("", token_id, bids, asks, 10**12 * MS)]), now)
    assert board.live_books == len(flow.books)
    return board


def read_all(peer: Peer, flow: Flow) -> None:
    """Every topic has its own reader, as on the real bus."""
    for token_id in flow.books:
        for kind in ("book", "top", "depth", "feed", "trades"):
            peer.note_reader(streamed(f"{kind}.{token_id}"))


def ours(flow: Flow, turn: int) -> float:
    """Seconds of CPU from the raw messages to the frames of the bus."""
    start = Now(2 * 10**18, 10**9)
    board, bus = live_board(flow, start), Everybody()
    peer = Peer(bus, "market_data", Epoch("", 1))
    read_all(peer, flow)
    now = Now(start.wall_ns + 100 * MS, start.mono_ns + 100 * MS)
    began = time.process_time()
    for first in range(0, len(flow.frames), turn):
        for raw in flow.frames[first : first + turn]:
            for effect in board.on_frame(CONNECTION, raw, now):
                raise AssertionError(f"a clean flow caused {effect}")
        for effect in board.flush(now):
            assert isinstance(effect, Publish)
            peer.publish(effect.topic, effect.body)
        peer.flush(now.mono_ns)
    for effect in board.on_time(now):
        if isinstance(effect, Publish):
            peer.publish(effect.topic, effect.body)
    peer.flush(now.mono_ns)
    took = time.process_time() - began
    assert board.live_books == len(flow.books), "a book was doubted: the flow or the board is wrong"
    assert all(token.state is FeedState.LIVE for token in board.feeds)
    assert bus.frames > len(flow.frames) // turn
    return took


# --- the floor ---


class Row(msgspec.Struct, gc=False):
    asset_id: str
    price: str
    size: str
    side: str
    best_bid: str = ""
    best_ask: str = ""


class Rows(msgspec.Struct, tag_field="event_type", tag="price_change"):
    price_changes: list[Row]
    timestamp: str


def floor(flow: Flow) -> float:
    decode = msgspec.json.Decoder(Rows).decode
    sizes: dict[tuple[str, str, str], str] = {}
    began = time.process_time()
    for raw in flow.frames:
        for row in decode(raw).price_changes:
            sizes[row.asset_id, row.side, row.price] = row.size
    return time.process_time() - began


# --- the sample ---

Best = tuple[int, int, int, int]


@dataclass(frozen=True)
class PairSnapshot:
    """What the sample's cache holds and publishes: best prices in whole cents, sizes it never updates."""

    market_id: str
    yes_token_id: str
    no_token_id: str
    yes: Best
    no: Best
    at: float


class PairCache:
    """The sample's cache: one snapshot, swapped."""

    def __init__(self) -> None:
        self.snapshot: PairSnapshot | None = None
        self.frame = b""

    def update(self, market_id: str, yes_token_id: str, no_token_id: str, yes: Best, no: Best) -> None:
        snapshot = PairSnapshot(market_id, yes_token_id, no_token_id, yes, no, time.time())
        self.snapshot = snapshot
        self.frame = orjson.dumps(snapshot)


class SampleClient:
    """One market's handler: JSON to dicts, floats to cents, best prices out of the message."""

    def __init__(self, market: Market) -> None:
        self._market_id = market.condition_id
        self._yes_id, self._no_id = market.token_ids
        self._yes: Best = (0, 0, 100, 0)
        self._no: Best = (0, 0, 100, 0)
        self.cache = PairCache()

    def handle(self, data: dict[str, Any]) -> None:
        kind = data.get("event_type")
        if kind == "price_change":
            self._on_changes(data)

    def _on_changes(self, data: dict[str, Any]) -> None:
        for change in data.get("price_changes", []):
            asset_id = change.get("asset_id", "")
            bid, ask = cents(change.get("best_bid")), cents(change.get("best_ask"))
            if asset_id == self._yes_id:
                self._yes = (bid, self._yes[1], ask, self._yes[3])
            elif asset_id == self._no_id:
                self._no = (bid, self._no[1], ask, self._no[3])
        self.cache.update(self._market_id, self._yes_id, self._no_id, self._yes, self._no)


def cents(text: str | None) -> int:
    return int(float(text) * 100) if text else 0


def sample(flow: Flow) -> float:
    clients = {market.condition_id: SampleClient(market) for market in flow.markets}
    began = time.process_time()
    for raw in flow.frames:
        data = orjson.loads(raw)
        clients[data["market"]].handle(data)
    took = time.process_time() - began
    assert all(client.cache.frame for client in clients.values())
    return took


# --- one run ---


def measure(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each, the rounds interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            gc.collect()
            seconds[name].append(run())
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return {name: median(took) for name, took in seconds.items()}


# --- how late a reader hears ---


class Latencies:
    """A sink of one token's book: microseconds from the venue's send to here, until there are enough."""

    def __init__(self, count: int) -> None:
        self.us: list[int] = []
        self.enough = asyncio.Event()
        self._count = count

    def on_snapshot(self, bodies: list[Message]) -> None:
        """Older than its sending: not counted."""

    def on_event(self, body: Message) -> None:
        if isinstance(body, BookDelta):
            self.us += [latency_us(size) for price, size in body.bids if price == PROBE]
            if len(self.us) >= self._count:
                self.enough.set()

    def on_gap(self) -> None:
        self.us.clear()


async def read_latencies(settings: Settings, count: int) -> list[int]:
    edge = Edge("bench", settings, set_up_logging("bench"))
    try:
        sink = Latencies(count)
        edge.subscribe("market_data", f"book.{MARKET.token_ids[0]}", sink)
        async with asyncio.timeout(60):
            await sink.enough.wait()
        return sink.us
    finally:
        await edge.close()


def latencies_us(rate: int, count: int) -> list[int]:
    """Of real processes: a venue, market_data, and this one reading the bus."""
    port = free_ports(1)[0]
    venue = multiprocessing.get_context("spawn").Process(target=run_venue, args=(port, rate), daemon=True)
    venue.start()
    host = f"127.0.0.1:{port}"
    try:
        with group(
            polymarket__clob_url=f"http://{host}",
            polymarket__gamma_url=f"http://{host}/gamma",
            polymarket__market_ws_url=f"ws://{host}/ws/market",
            recorder__enabled="false",
        ) as processes:
            processes.start("market_data")
            processes.wait_ready("market_data")
            return asyncio.run(read_latencies(processes.settings, count))
    finally:
        venue.kill()
        venue.join()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--rate", type=int, default=RATE, help="messages a second while latency is measured")
    options = parser.parse_args(argv)
    flow = recorded_flow(options.messages)
    count = len(flow.frames)
    print(f"{count:,} messages, {len(flow.books)} tokens, {len(flow.frames[0])} bytes the first", file=sys.stderr)
    gc.disable()
    took = measure(
        {
            "ours": lambda: ours(flow, TURN),
            "one_by_one": lambda: ours(flow, 1),
            "floor": lambda: floor(flow),
            "sample": lambda: sample(flow),
        },
        options.rounds,
    )
    late = quantiles(latencies_us(options.rate, LATENCIES), n=100)
    per_message = {f"{name}_us": round(seconds / count * 1e6, 2) for name, seconds in took.items()}
    result = {
        "messages": count,
        "messages_per_s": round(count / took["ours"]),
        **per_message,
        "ratio_to_floor": round(took["floor"] / took["ours"], 3),
        "ratio_to_sample": round(took["sample"] / took["ours"], 3),
        "latency_us_p50": round(late[49]),
        "latency_us_p99": round(late[98]),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
