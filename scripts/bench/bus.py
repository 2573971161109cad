"""Benchmark of the bus: one hop between two processes, our lanes and streams against bare ZeroMQ sockets.

Same machine, same run, interleaved rounds, medians. `bare_*` is PUSH/PULL with one 200-byte message a frame and no
codec. Ours is the whole path: encode, keep, envelope, deliver in order, decode, acknowledge, settle. One JSON object
on the last line; `ratio_lane` and `ratio_stream` are throughputs against bare, `ratio` is the smaller of them, and
`latency_ratio` is p50 against bare.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import zmq

from common.bus import ZmqBus
from common.frames import Epoch
from common.messages import QueryOrder, decode
from common.peer import Peer

MESSAGES = 256 * 800
BURST = 256
ROUNDS = 5
PINGS = 3_000
BODY = QueryOrder("a-1234567890", "polymarket", "main", "0x" + "ab" * 64)
"""About 200 bytes encoded, as measurements.md section 1 uses."""


def bare_receiver(folder: Path, pipe: Connection) -> None:
    context = zmq.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    for socket in (pull, push):
        socket.set_hwm(100_000)
    pull.bind(f"ipc://{folder}/bare.in")
    push.bind(f"ipc://{folder}/bare.out")
    pipe.send("ready")
    while True:
        what, count = pipe.recv()
        if what == "stop":
            break
        if what == "ping":
            for _ in range(count):
                push.send(pull.recv())
            continue
        for _ in range(count):
            pull.recv()
        pipe.send(time.monotonic_ns())
    context.destroy(0)


def bare_rounds(folder: Path, pipe: Connection, context: zmq.Context[zmq.Socket[bytes]]) -> Callable[[str], float]:
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    for socket in (pull, push):
        socket.set_hwm(100_000)
    push.connect(f"ipc://{folder}/bare.in")
    pull.connect(f"ipc://{folder}/bare.out")
    message = b"x" * 200

    def throughput(what: str) -> float:
        if what == "latency":
            pipe.send(("ping", PINGS))
            times = []
            for _ in range(PINGS):
                start = time.monotonic_ns()
                push.send(message)
                pull.recv()
                times.append(time.monotonic_ns() - start)
            return statistics.median(times) / 2000
        pipe.send(("count", MESSAGES))
        start = time.monotonic_ns()
        for _ in range(MESSAGES):
            push.send(message)
        finished: int = pipe.recv()
        return MESSAGES / ((finished - start) / 1e9)

    return throughput


def our_receiver(folder: Path, pipe: Connection) -> None:
    peer = Peer(bus := ZmqBus("executor", folder), "executor", Epoch("", 2))
    peer.follow("gateway", "bench")
    peer.flush(time.monotonic_ns())
    pipe.send("ready")
    got = 0
    wanted = 0
    while True:
        if not bus.poll(1) and pipe.poll():
            what, wanted = pipe.recv()
            if what == "stop":
                break
        for item in peer.receive(time.monotonic_ns()):
            if item.kind not in ("lane", "event"):
                continue
            decode(item.body)
            got += 1
            if item.kind == "lane":
                peer.handled(item.origin)
        peer.flush(time.monotonic_ns())
        if wanted and got >= wanted:
            pipe.send(time.monotonic_ns())
            got = wanted = 0
    bus.close()


class Ours:
    """The sending side of our bus: the gateway's results lane and a stream."""

    def __init__(self, folder: Path, pipe: Connection) -> None:
        self._pipe = pipe
        self._bus = ZmqBus("gateway", folder)
        self._peer = Peer(self._bus, "gateway", Epoch("", 1))
        self._keys = 0
        self._until(lambda: "executor" in self._peer.peer_epochs)
        self.close = self._bus.close

    def measure(self, what: str) -> float:
        if what == "latency":
            return self._latency()
        self._pipe.send(("count", MESSAGES))
        start = time.monotonic_ns()
        for _ in range(0, MESSAGES, BURST):
            if what == "lane":
                self._send_burst()
            else:
                for _ in range(BURST):
                    self._peer.publish("bench", BODY)
            self._turn()
        self._until(self._pipe.poll)
        finished: int = self._pipe.recv()
        return MESSAGES / ((finished - start) / 1e9)

    def _send_burst(self) -> None:
        for _ in range(BURST):
            self._keys += 1
            while not self._peer.send("results", str(self._keys), BODY):
                self._turn()

    def _latency(self) -> float:
        """One message there, its acknowledgement back: two hops."""
        return self.hop_us(PINGS)

    def hop_us(self, pings: int, pause_s: float = 0.0) -> float:
        """The median hop; with a pause before each, both sides have gone to sleep."""
        times = []
        for _ in range(pings):
            if pause_s:
                time.sleep(pause_s)
            self._keys += 1
            start = time.monotonic_ns()
            self._peer.send("results", str(self._keys), BODY)
            self._peer.flush(start)
            while self._peer.unacknowledged("results"):
                if not self._bus.poll(50):
                    self._peer.flush(time.monotonic_ns())  # the acknowledgement was lost: ask for it
                self._peer.receive(time.monotonic_ns())
            times.append(time.monotonic_ns() - start)
        return statistics.median(times) / 2000

    def _turn(self) -> None:
        now = time.monotonic_ns()
        self._peer.receive(now)
        for topic in self._peer.snapshots_wanted(now):
            self._peer.publish_snapshot(topic, [], now)
        self._peer.flush(now)

    def _until(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not done():
            self._turn()
            self._bus.poll(1)
            assert time.monotonic() < end, "the other side is gone"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="px-") as name:
        folder = Path(name)
        spawn = multiprocessing.get_context("spawn")
        pipes, processes = [], []
        for target in (bare_receiver, our_receiver):
            here, there = spawn.Pipe()
            process = spawn.Process(target=target, args=(folder, there), daemon=True)
            process.start()
            pipes.append(here)
            processes.append(process)
        for pipe in pipes:
            assert pipe.recv() == "ready"
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        bare = bare_rounds(folder, pipes[0], context)
        ours = Ours(folder, pipes[1])
        rounds: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for key, measure, what in (
                ("bare_msgs_per_s", bare, "throughput"),
                ("lane_msgs_per_s", ours.measure, "lane"),
                ("stream_msgs_per_s", ours.measure, "stream"),
                ("bare_hop_us", bare, "latency"),
                ("lane_hop_us", ours.measure, "latency"),
            ):
                rounds.setdefault(key, []).append(measure(what))
        for pipe in pipes:
            pipe.send(("stop", 0))
        for process in processes:
            process.join(10)
        ours.close()
        context.destroy(0)
    found = {key: statistics.median(values) for key, values in rounds.items()}
    report = {key: round(value, 1) for key, value in found.items()} | {
        "ratio": round(min(found["lane_msgs_per_s"], found["stream_msgs_per_s"]) / found["bare_msgs_per_s"], 3),
        "ratio_lane": round(found["lane_msgs_per_s"] / found["bare_msgs_per_s"], 3),
        "ratio_stream": round(found["stream_msgs_per_s"] / found["bare_msgs_per_s"], 3),
        "latency_ratio": round(found["lane_hop_us"] / found["bare_hop_us"], 2),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
