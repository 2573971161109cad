"""The gateway's own cost of a place, from action in to result out, against a bare aiohttp POST loop.

Out: one JSON object as the last line. The gateway is the real one (admission, budgets, digest check, signature, HMAC,
one POST, result), with its bus replaced by decode and encode of the same frames. A child process answers POST /order.
`ratio_to_floor`: the floor is the loop anybody would write, `post(url, json=order)` and `answer.json()`, unsigned, as
many at a time. `ratio_to_bytes` is against posting bytes made beforehand and not reading the answer's JSON. Venue and
client share one core: a second is a second of one core. `limiter_ns`: one budget decision of one place.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any, ClassVar, NamedTuple, cast

import aiohttp
import structlog
import uvloop

from common.edge import Edge
from common.effects import Origin
from common.log import set_up_logging
from common.messages import Message, Place, PlaceResult, decode, encode
from common.ratelimit import PlainLimits
from common.settings import ROOT, Settings, load_settings
from common.types import Outcome, TimeInForce
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.limits import PolymarketLimits
from common.venues.polymarket.pinned import PinnedOrder, encode_pinned
from common.venues.polymarket.signing import Signer
from scripts.bench.official import KEY, TOKEN
from services.gateway.adapters.polymarket import PolymarketAdapter
from services.gateway.budgets import Budgets
from services.gateway.door import Gateway
from services.gateway.polymarket import VenueWallet, checked_order, place_body, place_request
from services.gateway.signers import InsideSigner

CONCURRENCY = 32
ROUNDS, PLACES = 5, 1_500
PACED, PACE_S = 1_000, 0.004
FAR = 2**62
CREDS = L2Credentials("11111111-2222-3333-4444-555555555555", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "ab" * 32)


# --- the venue, a child process ---


class _Venue(asyncio.Protocol):
    """HTTP/1.1 keep-alive, just enough: every POST is an accepted order, with the id its salt stands for."""

    ids: ClassVar[list[str]] = []
    arrived: ClassVar[dict[int, int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._answer(head, body, now)

    def _answer(self, head: bytes, body: bytes, now: int) -> None:
        if not head.startswith(b"post /order"):
            self._reply(b"%d" % time.time())
            return
        at = body.index(b'"salt":') + 7
        salt = int(body[at : body.index(b",", at)])
        self.arrived[salt] = now
        reply = b'{"success":true,"errorMsg":"","orderID":"%s","status":"live","makingAmount":"","takingAmount":""}'
        self._reply(reply % self.ids[salt].encode())

    def _reply(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self._transport.write(head + body)


def venue(pipe: Connection, ids: list[str]) -> None:
    """Serve until the parent sends something; then say when each order arrived."""

    async def serve() -> None:
        _Venue.ids = ids
        server = await asyncio.get_running_loop().create_server(_Venue, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(pipe.recv)
        pipe.send(_Venue.arrived)

    gc.disable()
    uvloop.run(serve())


# --- the gateway ---


class BusStub:
    """The part of Edge the gateway uses, with the cost of frames and without sockets."""

    def __init__(self, settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
        self.settings = settings
        self.log = log
        self.counters: Counter[str] = Counter()
        self.on_result: Callable[[PlaceResult], None] = lambda result: None
        self.act: Callable[[Message, Origin, bool], None] = lambda *_: None
        self._tasks: set[asyncio.Task[None]] = set()

    def set_state(self, state: str, detail: str = "") -> None: ...
    def publish(self, topic: str, body: Message) -> None: ...
    def on_lane_reset(self, lane: str, handler: Callable[[], None]) -> None: ...
    def serve_snapshots(self, handler: Callable[[str], list[Message]]) -> None: ...

    def serve_lane(
        self, lane: str, handler: Callable[[Message, Origin, bool], None], unreadable: object = None
    ) -> None:
        self.act = handler

    def send(self, lane: str, key: str, body: Message) -> bool:
        encode(body)
        if isinstance(body, PlaceResult):
            self.on_result(body)
        return True

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def places(count: int) -> list[Place]:
    address = Signer(bytes.fromhex(KEY[2:])).address
    made = []
    for salt in range(count):
        order = PinnedOrder(
            salt, address, address, TOKEN, 5_200_000, 10_000_000, 0, 0, 1_790_000_000_000, 2, 137, False,
            TimeInForce.GTC,
        )  # fmt: skip
        made.append(Place(f"a-{salt}", "polymarket", "main", order.venue_order_id, FAR, encode_pinned(order)))
    return made


class Rate(NamedTuple):
    """A second, by the clock on the wall and by the CPU time of this process alone."""

    wall: float
    cpu: float


class Clocks:
    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def per_s(self, count: int) -> Rate:
        return Rate(count / (time.perf_counter() - self._wall), count / (time.process_time() - self._cpu))


class Bench:
    def __init__(self, bus: BusStub, actions: list[Place]) -> None:
        self._bus = bus
        self._frames = [encode(action) for action in actions]
        self._next = 0
        self._left = 0
        self._all = asyncio.Event()
        self.failed: Counter[str] = Counter()
        self.given: dict[int, int] = {}
        bus.on_result = self._on_result

    def _give(self) -> None:
        salt, self._next = self._next, self._next + 1
        self.given[salt] = time.monotonic_ns()
        self._bus.act(decode(self._frames[salt]), Origin("executor", "actions", salt + 1), False)

    def _on_result(self, result: PlaceResult) -> None:
        if result.outcome is not Outcome.DONE:
            self.failed[f"{result.code}: {result.text}"] += 1
        self._left -= 1
        if not self._left:
            self._all.set()
        elif self._left >= CONCURRENCY:
            self._give()

    async def throughput(self, count: int) -> Rate:
        """Places a second, CONCURRENCY in flight."""
        self._left = count
        self._all.clear()
        clocks = Clocks()
        for _ in range(CONCURRENCY):
            self._give()
        await self._all.wait()
        return clocks.per_s(count)

    async def paced(self, count: int) -> range:
        """One at a time, from sleep; the salts that were used."""
        first = self._next
        for _ in range(count):
            self._left = 1
            self._all.clear()
            self._give()
            await self._all.wait()
            await asyncio.sleep(PACE_S)
        return range(first, self._next)


Post = Callable[[aiohttp.ClientSession, str], Coroutine[Any, Any, object]]


async def floor(port: int, post: Post, count: int) -> Rate:
    """POSTs a second with a bare aiohttp session."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        url = f"http://127.0.0.1:{port}/order"

        async def worker(part: range) -> None:
            for _ in part:
                await post(session, url)

        clocks = Clocks()
        await asyncio.gather(*(worker(range(count)[n::CONCURRENCY]) for n in range(CONCURRENCY)))
        return clocks.per_s(count)


def posts_of(body: bytes, headers: dict[str, str]) -> tuple[Post, Post]:
    """The same order as a loop would post it: as JSON with the answer read, and as bytes with the answer left alone."""
    order = json.loads(body)
    signed = {name: value for name, value in headers.items() if name != "Content-Type"}

    async def as_json(session: aiohttp.ClientSession, url: str) -> object:
        async with session.post(url, json=order, headers=signed) as answer:
            return await answer.json()

    async def as_bytes(session: aiohttp.ClientSession, url: str) -> object:
        async with session.post(url, data=body, headers=headers) as answer:
            return await answer.read()

    return as_json, as_bytes


def limiter_ns() -> float:
    """One decision for one place, when it may go."""
    limits, wall = PolymarketLimits(), 10**15
    calls = 20_000
    times = []
    for _ in range(9):
        started = time.perf_counter_ns()
        for _ in range(calls):
            wall += 50_000_000
            limits.try_take(limits.place("main"), wall)
        times.append((time.perf_counter_ns() - started) / calls)
    return median(times)


async def measure(port: int, actions: list[Place], rounds: int, count: int) -> dict[str, float | int | str]:
    base = load_settings(ROOT / "deploy" / "config" / "demo.toml")
    urls = base.polymarket.model_copy(update={"clob_url": f"http://127.0.0.1:{port}"})
    gateway = base.gateway.model_copy(update={"in_flight_max": CONCURRENCY, "queue_max": 10_000, "dead_man": False})
    settings = base.model_copy(update={"polymarket": urls, "gateway": gateway})
    bus = BusStub(settings, set_up_logging("bench"))
    wallet = VenueWallet(
        "main", InsideSigner(Signer(bytes.fromhex(KEY[2:]))), CREDS, funder="", signature_type=0, chain_id=137
    )
    adapter = PolymarketAdapter(settings, {"main": wallet}, counters=bus.counters)
    unlimited = Budgets(PlainLimits(1_000_000, 1_000_000))
    door = Gateway(cast(Edge, bus), [(adapter, unlimited)], rng=Random(1), halted=str)
    door.start()
    bench = Bench(bus, actions)
    await bench.throughput(200)  # connections and caches are warm from here on
    posted, headers = await _request_of(wallet, actions[0])
    gc.collect()
    gc.freeze()
    gc.disable()  # as service.py does for every process
    as_json, as_bytes = posts_of(posted, headers)
    ours, theirs, raw = [], [], []
    for _ in range(rounds):
        ours.append(await bench.throughput(count))
        theirs.append(await floor(port, as_json, count))
        raw.append(await floor(port, as_bytes, count))
    salts = await bench.paced(PACED)
    await bus.close()
    await adapter.close()
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "places_per_s": round(median(rate.wall for rate in ours)),
        "floor_posts_per_s": round(median(rate.wall for rate in theirs)),
        "ratio_to_floor": round(median(a.wall / b.wall for a, b in pairs), 3),
        "client_cpu_ratio": round(median(a.cpu / b.cpu for a, b in pairs), 3),
        "ratio_to_bytes": round(median(a.wall / b.wall for a, b in zip(ours, raw, strict=True)), 3),
        "limiter_ns": round(limiter_ns()),
        "failed": sum(bench.failed.values()),
        "first_failure": next(iter(bench.failed), ""),
        "first_salt": salts.start,
        "given": json.dumps({salt: bench.given[salt] for salt in salts}),
    }


async def _request_of(wallet: VenueWallet, action: Place) -> tuple[bytes, dict[str, str]]:
    """The very bytes and headers the gateway posts for this order."""
    pinned = checked_order(action, wallet)
    body = place_body(pinned, await wallet.sign(pinned, action.venue_order_id), wallet)
    request = place_request(body, wallet, int(time.time()))
    return body, {**request.headers, "Content-Type": "application/json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--places", type=int, default=PLACES)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        # One core for venue and client: waking a process on another core costs its waker up to 100 us on a virtual
        # machine, and whoever leaves longer pauses between requests would pay it more often.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    actions = places(200 + options.rounds * options.places + PACED)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(
        target=venue, args=(theirs, [action.venue_order_id for action in actions]), daemon=True
    )
    child.start()
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # the gateway's log
            found = uvloop.run(measure(ours.recv(), actions, options.rounds, options.places))
        ours.send("stop")
        arrived = ours.recv()
    finally:
        child.terminate()
    given = {int(salt): at for salt, at in json.loads(str(found.pop("given"))).items()}
    found.pop("first_salt")
    delays = sorted((arrived[salt] - at) / 1000 for salt, at in given.items())
    found["action_to_socket_p50_us"] = round(median(delays))
    found["action_to_socket_p99_us"] = round(quantiles(delays, n=100)[98])
    if found["failed"]:
        raise SystemExit(f"{found['failed']} places failed, the first with {found['first_failure']}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
