"""Peers over the memory bus: lanes, asks, answers and streams between processes that may die."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import Fenced
from common.frames import BODIES_MAX, Ask, Data, Epoch, encode_frame
from common.lanes import RESEND_NS
from common.memorybus import MemoryNetwork
from common.messages import Accepted, Cancel, GetBook, Message, PlaceResult, QueryOrder, TickChanged, decode, encode
from common.peer import ASK_AGAIN_NS, BLOCKED_NS, FRAMES_AT_ONCE, Item, Peer, streamed
from common.reasons import Reason
from common.types import Outcome

MS = 1_000_000


class World:
    """A few peers, one clock."""

    def __init__(self, network: MemoryNetwork | None = None) -> None:
        self.network = network or MemoryNetwork()
        self.peers: dict[str, Peer] = {}
        self.items: dict[str, list[Item]] = {}
        self.now = 1
        self.lives: dict[str, int] = {}

    def start(self, name: str) -> Peer:
        self.lives[name] = self.lives.get(name, 0) + 1
        streams = not name.startswith("cli")
        peer = Peer(self.network.bus(name), name, Epoch("", self.lives[name]), streams=streams)
        self.peers[name] = peer
        self.items.setdefault(name, [])
        return peer

    def kill(self, name: str) -> None:
        self.network.drop(name)
        del self.peers[name]

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.now += MS
            for name, peer in list(self.peers.items()):
                items = peer.receive(self.now)
                self.items[name] += items
                for item in items:
                    if item.kind == "lane":
                        peer.handled(item.origin)
                for topic in peer.snapshots_wanted(self.now):
                    peer.publish_snapshot(topic, [TickChanged("snapshot", 0, 0, 0)], self.now)
                peer.flush(self.now)

    def got(self, name: str, kind: str = "lane") -> list[Message]:
        return [decode(item.body) for item in self.items[name] if item.kind == kind]


def query(n: int) -> QueryOrder:
    return QueryOrder(f"a-{n}", "polymarket", "main", f"0x{n}")


def result(n: int) -> PlaceResult:
    return PlaceResult(f"a-{n}", "0x", Outcome.DONE, Reason.OK, "")


def test_a_lane_message_reaches_a_receiver_that_starts_later() -> None:
    world = World()
    executor = world.start("executor")
    executor.send("actions", "a-1", query(1))
    world.run(50)
    world.start("gateway")
    world.run(50)
    assert world.got("gateway") == [query(1)]


def test_outstanding_actions_are_repeated_to_a_restarted_gateway_and_marked() -> None:
    world = World()
    executor = world.start("executor")
    world.start("gateway")
    executor.send("actions", "a-1", query(1))
    executor.send("actions", "a-2", query(2))
    world.run(20)
    executor.settle("actions", "a-1")
    world.kill("gateway")
    world.items["gateway"].clear()
    world.run(20)
    world.start("gateway")
    world.run(700)
    executor.send("actions", "a-3", query(3))
    world.run(20)
    lane = [(decode(item.body), item.repeat) for item in world.items["gateway"] if item.kind == "lane"]
    assert lane == [(query(2), True), (query(3), False)]


def test_what_was_meant_for_the_dead_is_not_served_by_its_successor_twice() -> None:
    """ZeroMQ delivers to a successor what was queued for the dead; request frames name the epoch they are for."""
    world = World()
    executor = world.start("executor")
    gateway_bus = world.network
    world.start("gateway")
    world.run(20)
    executor.send("actions", "a-1", query(1))
    executor.flush(world.now)
    queue = gateway_bus._buses["gateway"].inboxes["gateway.action"]
    stray = list(queue)
    world.kill("gateway")
    world.start("gateway")
    gateway_bus._buses["gateway"].inboxes["gateway.action"].extend(stray)
    world.run(700)
    assert world.got("gateway") == [query(1)]
    assert world.peers["gateway"].counters["lane_dropped"] >= 1


def test_a_cancel_carries_what_it_covers() -> None:
    """Ordinals of the normal lane up to the moment the cancel was made."""
    world = World()
    executor = world.start("executor")
    world.start("gateway")
    executor.send("actions", "a-1", query(1))
    executor.send("cancels", "a-2", Cancel("a-2", "polymarket", "main", ["0x1"]))
    executor.send("actions", "a-3", query(3))
    world.run(20)
    lane = [item for item in world.items["gateway"] if item.kind == "lane"]
    seqs = {decode(item.body): item.origin.seq for item in lane if item.origin.lane == "actions"}
    covers = next(item.origin.covers for item in lane if item.origin.lane == "cancels")
    assert seqs[query(1)] == covers < seqs[query(3)]


def test_the_cancel_inbox_is_served_before_the_action_inbox() -> None:
    world = World()
    executor = world.start("executor")
    gateway = world.start("gateway")
    world.run(5)
    for n in range(50):
        executor.send("actions", f"a-{n}", query(n))
    executor.send("cancels", "c", Cancel("c", "polymarket", "main", ["0x1"]))
    executor.flush(world.now)
    first = gateway.receive(world.now)[0]
    assert isinstance(decode(first.body), Cancel)


def test_a_result_is_kept_until_it_is_acknowledged() -> None:
    world = World()
    gateway = world.start("gateway")
    gateway.send("results", "a-1", result(1))
    world.run(30)
    assert gateway.lane_length("results") == 1
    world.start("executor")
    world.run(700)
    assert world.got("executor") == [result(1)]
    assert gateway.lane_length("results") == 0


def test_an_ask_is_answered_through_the_addressed_topic_only() -> None:
    world = World()
    world.start("market_data")
    one, two = world.start("cli-1"), world.start("cli-2")
    one.request("market_data", "r-1", GetBook("r-1", "m"))
    two.listen_to("market_data")
    world.run(20)
    asked = next(item for item in world.items["market_data"] if item.kind == "ask")
    world.peers["market_data"].reply(asked.origin.sender, Accepted("r-1"))
    world.run(5)
    assert world.got("cli-1", "answer") == [Accepted("r-1")]
    assert world.got("cli-2", "answer") == []


def test_a_lost_answer_is_asked_for_again_under_the_same_id() -> None:
    world = World()
    world.start("market_data")
    cli = world.start("cli-1")
    cli.request("market_data", "r-1", GetBook("r-1", "m"))
    world.run(2 * ASK_AGAIN_NS // MS + 50)
    asks = world.got("market_data", "ask")
    assert len(asks) >= 2
    assert set(asks) == {GetBook("r-1", "m")}
    cli.forget("r-1")
    world.items["market_data"].clear()
    world.run(500)
    assert world.got("market_data", "ask") == []


def test_a_stream_starts_with_a_snapshot_and_survives_the_publishers_restart() -> None:
    world = World()
    owner = world.start("market_data")
    reader = world.start("executor")
    reader.follow("market_data", "instruments")
    world.run(20)
    owner.publish("instruments", TickChanged("e", 1, 0, 0))
    world.run(5)
    kinds = [item.kind for item in world.items["executor"] if item.origin.lane == "instruments"]
    assert kinds == ["snapshot", "event"]
    world.kill("market_data")
    world.start("market_data")
    world.run(800)
    kinds = [item.kind for item in world.items["executor"] if item.origin.lane == "instruments"]
    assert kinds == ["snapshot", "event", "gap", "snapshot"]


def test_snapshot_requests_of_many_readers_are_answered_once() -> None:
    world = World()
    world.start("market_data")
    for n in range(5):
        world.start(f"cli-{n}").follow("market_data", "instruments")
    world.run(3)
    sent: list[str] = []
    world.peers["market_data"].publish_snapshot = lambda topic, *_: sent.append(topic)  # type: ignore[method-assign]
    world.run(40)
    assert len(sent) <= 1


def test_a_zombie_learns_that_it_is_one() -> None:
    world = World()
    zombie = world.start("executor")
    world.start("gateway")
    zombie.send("actions", "a-1", query(1))
    world.run(20)
    zombie_bus = world.network._buses["executor"]
    new = world.start("executor")
    new.send("actions", "b-1", query(2))
    world.run(700)
    zombie.send("actions", "a-2", query(3))
    world.peers["executor-zombie"] = zombie
    world.items["executor-zombie"] = []
    world.network._buses["executor-zombie"] = zombie_bus
    with pytest.raises(Fenced):
        world.run(700)
    assert query(3) not in world.got("gateway")


def test_an_undecodable_frame_is_counted_and_the_rest_is_served() -> None:
    world = World()
    gateway = world.start("gateway")
    executor = world.start("executor")
    world.network.push("x", "gateway.action", b"\xc1garbage")
    executor.send("actions", "a-1", query(1))
    world.run(20)
    assert gateway.counters["frames_undecodable"] == 1
    assert world.got("gateway") == [query(1)]


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_with_loss_and_deaths_every_action_is_executed_and_every_result_known(seed: int) -> None:
    """A toy executor and a stateless toy gateway: each action's effect is deduped at the 'venue', none is lost."""
    rng = random.Random(seed)
    network = MemoryNetwork(lambda sender, to, frame: rng.random() < 0.2)
    world = World(network)
    executor = world.start("executor")
    world.start("gateway")
    venue: set[str] = set()
    results: set[str] = set()
    for step in range(400):
        if step < 60:
            executor.send("actions", f"a-{step}", query(step))
        if step < 150 and rng.random() < 0.03:
            world.kill("gateway")
            world.start("gateway")
        world.run(20)
        for item in world.items["gateway"]:
            if item.kind == "lane":
                message = decode(item.body)
                assert isinstance(message, QueryOrder)
                venue.add(message.action_id)
                world.peers["gateway"].send("results", message.action_id, result(int(message.action_id[2:])))
        world.items["gateway"].clear()
        for item in world.items["executor"]:
            if item.kind == "lane":
                found = decode(item.body)
                assert isinstance(found, PlaceResult)
                results.add(found.action_id)
                executor.settle("actions", found.action_id)
        world.items["executor"].clear()
        if step > 60 and len(results) == 60:
            break
    assert venue == results == {f"a-{n}" for n in range(60)}


def test_an_answer_of_any_size_is_split_into_frames() -> None:
    world = World()
    owner = world.start("market_data")
    cli = world.start("cli-1")
    cli.request("market_data", "r", GetBook("r", "m"))
    world.run(10)
    for n in range(600):
        owner.reply("cli-1", Accepted(str(n)))
    world.run(5)
    assert [msgspec.to_builtins(m)[1] for m in world.got("cli-1", "answer")] == [str(n) for n in range(600)]


def test_what_found_no_room_is_tried_again_in_a_moment_not_after_the_resend_deadline() -> None:
    world = World()
    executor = world.start("executor")
    world.start("gateway")
    world.run(20)
    bus = world.network._buses["gateway"]
    world.network.drop("gateway")
    executor.send("actions", "a-1", query(1))
    world.run(1)
    assert BLOCKED_NS <= executor.next_due_ns(world.now) - world.now + MS < RESEND_NS
    world.network._buses["gateway"] = bus
    world.run(2)
    assert world.got("gateway") == [query(1)]


def test_a_fence_holds_for_every_lane_of_requests_and_survives_the_edges_restart() -> None:
    """The new executor has only sent on one lane yet; the zombie speaks on the other."""
    world = World()
    gateway = world.start("gateway")
    gateway.restore_sender_epochs({"executor": Epoch("", 1)})
    world.lives["executor"] = 1
    world.start("executor").send("actions", "a-1", query(1))
    world.run(20)
    assert gateway.sender_epochs() == {"executor": Epoch("", 2)}
    world.kill("executor")
    world.lives["executor"] = 0
    world.start("executor").send("cancels", "c-1", Cancel("c-1", "polymarket", "main", ["0x1"]))
    with pytest.raises(Fenced):
        world.run(700)
    assert world.got("gateway") == [query(1)]


def test_one_receive_is_bounded_in_bodies_not_only_in_frames() -> None:
    """A heart journals what one receive brings as one step."""
    world = World()
    gateway = world.start("gateway")
    world.start("executor")
    world.run(5)
    bodies = [msgspec.Raw(encode(result(1)))] * BODIES_MAX
    for after in range(0, 100 * BODIES_MAX, BODIES_MAX):
        seqs = list(range(after + 1, after + 1 + BODIES_MAX))
        covers = [0] * BODIES_MAX
        frame = Data("results", "gateway", gateway.epoch, Epoch("", 1), after, seqs, False, covers, bodies)
        world.network.push("gateway", "executor.facts", encode_frame(frame))
    executor = world.peers["executor"]
    counts = []
    while items := executor.receive(world.now):
        counts.append(len(items))
    assert sum(counts) == 100 * BODIES_MAX
    assert max(counts) <= (FRAMES_AT_ONCE + 1) * BODIES_MAX


@pytest.mark.parametrize(
    "frame",
    [
        Data("actions", "executor", Epoch("", 1), Epoch("", 1), 0, [1], False, [], [msgspec.Raw(encode(query(1)))]),
        Data("actions", "executor", Epoch("", 1), Epoch("", 1), 0, [], False, [0], [msgspec.Raw(encode(query(1)))]),
        Data("actions", "executor", Epoch("", 1), Epoch("", 1), 0, [], False, [], []),
        Data("nowhere", "executor", Epoch("", 1), Epoch("", 1), 0, [1], False, [0], [msgspec.Raw(encode(query(1)))]),
    ],
)
def test_a_frame_that_makes_no_sense_is_counted(frame: Data) -> None:
    world = World()
    gateway = world.start("gateway")
    world.network.push("x", "gateway.action", encode_frame(frame))
    world.run(2)
    assert gateway.counters["frames_unexpected"] == 1
    assert world.items["gateway"] == []


def test_a_snapshot_wish_that_cannot_be_read_is_an_ask_like_any_other() -> None:
    world = World()
    gateway = world.start("gateway")
    body = msgspec.Raw(msgspec.msgpack.encode(["SnapshotWanted", 7]))
    world.network.push("x", "gateway.action", encode_frame(Ask("cli", gateway.epoch, [body])))
    world.run(2)
    assert [item.kind for item in world.items["gateway"]] == ["ask"]


# --- topics nobody reads ---


def events_of(world: World, name: str, topic: str = "t") -> list[int]:
    """The ticks told by events of a stream."""
    bodies = [decode(item.body) for item in world.items[name] if item.kind == "event" and item.origin.lane == topic]
    return [body.old_tick for body in bodies if isinstance(body, TickChanged)]


def kinds_of(world: World, name: str, topic: str = "t") -> list[str]:
    return [item.kind for item in world.items[name] if item.origin.lane == topic]


def told(tick: int) -> TickChanged:
    return TickChanged("e", tick, 0, 0)


def test_a_topic_nobody_reads_is_not_sent_but_counted_and_a_late_reader_is_right() -> None:
    sent: list[bytes] = []
    world = World()
    owner = world.start("market_data")
    publish = world.network.publish
    world.network.publish = lambda sender, topic, frame: (sent.append(topic), publish(sender, topic, frame))[1]  # type: ignore[method-assign,func-returns-value]
    for tick in range(5):
        owner.publish("t", told(tick))
        world.run(1)
    assert streamed("t") not in sent
    reader = world.start("executor")
    reader.follow("market_data", "t")
    world.run(600)
    assert kinds_of(world, "executor") == ["snapshot"]
    owner.publish("t", told(7))
    world.run(5)
    assert events_of(world, "executor") == [7]
    assert owner.writer.snapshot("t", [])[0].seq == 6


def test_only_the_topic_that_is_read_is_sent() -> None:
    """Topics are told apart to their end: book.1 is not book.10."""
    world = World()
    owner = world.start("market_data")
    world.start("executor").follow("market_data", "book.1")
    world.run(600)
    owner.publish("book.1", told(1))
    owner.publish("book.10", told(2))
    world.run(5)
    assert [events_of(world, "executor", topic) for topic in ("book.1", "book.10")] == [[1], []]
    assert world.items["executor"][-1].origin.lane == "book.1"


def test_a_topic_somebody_stopped_reading_is_skipped_and_read_again_from_a_snapshot() -> None:
    world = World()
    owner = world.start("market_data")
    reader = world.start("executor")
    reader.follow("market_data", "t")
    world.run(600)
    reader.unfollow("market_data", "t")
    assert not reader.is_synced("market_data", "t")
    world.run(5)
    owner.publish("t", told(1))
    world.run(5)
    world.items["executor"].clear()
    reader.follow("market_data", "t")
    world.run(600)
    owner.publish("t", told(2))
    world.run(5)
    assert kinds_of(world, "executor") == ["snapshot", "event"]
    assert events_of(world, "executor") == [2]


def test_readers_of_many_topics_ask_only_for_those_that_lack_a_snapshot() -> None:
    world = World()
    world.start("market_data")
    reader = world.start("executor")
    for n in range(20):
        reader.follow("market_data", f"book.{n}")
    world.run(600)
    assert all(reader.is_synced("market_data", f"book.{n}") for n in range(20))
    asked: list[str] = []
    wanted = world.peers["market_data"].publish_snapshot
    world.peers["market_data"].publish_snapshot = lambda topic, *rest: (asked.append(topic), wanted(topic, *rest))[1]  # type: ignore[method-assign,func-returns-value]
    reader.follow("market_data", "book.20")
    world.run(600)
    assert set(asked) == {"book.20"}


def test_a_reader_whose_first_snapshot_is_lost_asks_again_until_it_has_one() -> None:
    losing = [True]
    world = World(
        MemoryNetwork(lambda sender, to, frame: losing[0] and sender == "market_data" and b"snapshot" in frame)
    )
    world.start("market_data")
    reader = world.start("executor")
    reader.follow("market_data", "t")
    world.run(1_000)
    assert not reader.is_synced("market_data", "t")
    losing[0] = False
    world.run(ASK_AGAIN_NS // MS + 100)
    assert kinds_of(world, "executor") == ["snapshot"]


def test_when_a_process_was_heard_last() -> None:
    world = World()
    world.start("market_data")
    reader = world.start("executor")
    assert reader.heard_ns("market_data") == 0
    reader.follow("market_data", "t")
    world.run(600)
    heard = reader.heard_ns("market_data")
    assert world.now - heard < 520 * MS
    world.kill("market_data")
    world.run(900)
    assert reader.heard_ns("market_data") - heard < 520 * MS
    assert world.now - reader.heard_ns("market_data") > 800 * MS
    assert reader.heard_ns("gateway") == 0


def test_a_reader_whose_subscription_was_away_for_the_last_event_sees_the_loss() -> None:
    """As when a socket connects anew: its subscription ends and comes again, the reader knows nothing of it."""
    world = World()
    owner = world.start("market_data")
    world.start("executor").follow("market_data", "t")
    world.run(600)
    owner.note_reader(streamed("t"), ended=True)
    owner.publish("t", told(1))
    world.run(5)
    owner.note_reader(streamed("t"))
    world.run(5_000)
    assert kinds_of(world, "executor") == ["snapshot", "gap", "snapshot"]
