"""Frames between two processes get lost: a reader never holds a wrong LIVE book, and soon has the right one.

The real board, the real mechanism of the bus on both sides (common/peer.py), a network that loses what it is told to.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from common.effects import Now, Publish
from common.frames import Epoch
from common.latest import LatestBook, Levels
from common.memorybus import MemoryNetwork
from common.messages import BookDelta, BookSnapshot, decode
from common.peer import Item, Peer
from common.settings import MarketData
from common.types import FeedState
from common.venues.polymarket.market import BookEvent, market_frame
from services.market_data.core import Board
from services.market_data.effects import Effect
from services.market_data.rules import Rules
from tests.services.market_data.markets import CENT, MS, SHARE, market

UP, DOWN = market().token_ids
TOPIC = f"book.{UP}"
STEP_NS = 60 * MS
Version = tuple[int, int]

moves = st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(0, 5), st.integers(0, 3))
turns = st.lists(st.tuples(st.lists(moves, max_size=3), st.booleans()), min_size=1, max_size=40)


class World:
    """market_data and one reader, in one thread, with every frame in the test's hands."""

    def __init__(self) -> None:
        self.now = Now(10**18, 10**12)
        self.network = MemoryNetwork()
        self.losing = False
        self.lost = 0
        self.network.lose = self._lose
        self.owner = Peer(self.network.bus("market_data"), "market_data", Epoch("", 1))
        self.reader = Peer(self.network.bus("reader"), "reader", Epoch("", 1))
        self.reader.follow("market_data", TOPIC)
        self.latest = LatestBook()
        self.board = Board(Rules.of(MarketData()), 1 << 20)
        self.versions: dict[Version, tuple[Levels, Levels]] = {}
        self.perform(self.board.discovered([market()], 0, self.now))
        self.perform(self.board.on_opened(1, [UP, DOWN], self.now))
        first = BookEvent("0xc1", UP, ((40 * CENT, SHARE),), ((60 * CENT, SHARE),), self.now.wall_ns)
        self.perform(self.board.on_frame(1, market_frame([first]), self.now))

    def _lose(self, sender: str, to: str, frame: bytes) -> bool:
        del sender, to, frame
        self.lost += self.losing
        return self.losing

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Publish):
                self.owner.publish(effect.topic, effect.body)
                if effect.topic == TOPIC:
                    self.remember()

    def remember(self) -> None:
        """What every version of the book really was."""
        (snapshot,) = self.board.snapshot(TOPIC, self.now.wall_ns)
        assert isinstance(snapshot, BookSnapshot)
        self.versions[snapshot.epoch, snapshot.seq] = (tuple(snapshot.bids), tuple(snapshot.asks))

    def change(self, rows: list[tuple[str, int, int]]) -> None:
        """A price_change as the venue writes it, deep enough that the best prices stay."""
        if not rows:
            return
        changes = ",".join(
            f'{{"asset_id":"{UP}","price":"{_price(side, depth)}","size":"{size}","side":"{side}"}}'
            for side, depth, size in rows
        )
        stamp = self.now.wall_ns // MS
        raw = f'{{"event_type":"price_change","timestamp":"{stamp}","price_changes":[{changes}]}}'
        self.perform(self.board.on_frame(1, raw.encode(), self.now))
        self.perform(self.board.flush(self.now))

    def turn(self) -> None:
        """Both processes run once; a little time passes."""
        for peer in (self.owner, self.reader, self.owner, self.reader):
            for item in peer.receive(self.now.mono_ns):
                if peer is self.reader:
                    self.hear(item)
            if peer is self.owner:
                for topic in peer.snapshots_wanted(self.now.mono_ns):
                    peer.publish_snapshot(topic, self.board.snapshot(topic, self.now.wall_ns), self.now.mono_ns)
            peer.flush(self.now.mono_ns)
        self.now = Now(self.now.wall_ns + STEP_NS, self.now.mono_ns + STEP_NS)

    def hear(self, item: Item) -> None:
        if item.kind == "gap":
            self.latest.on_gap(UP)
        for body in [*item.bodies, item.body] if item.kind in ("snapshot", "event") else []:
            message = decode(body) if bytes(body) else None
            if isinstance(message, BookSnapshot):
                self.latest.on_snapshot(message)
            elif isinstance(message, BookDelta):
                self.latest.on_delta(message)
        self.look()

    def look(self) -> None:
        """A LIVE view is exactly the version it says it is."""
        self.latest.on_heard(self.now.mono_ns)
        view = self.latest.book(UP, self.now)
        if view is not None and view.state is FeedState.LIVE:
            assert (view.bids, view.asks) == self.versions[view.epoch, view.seq]

    @property
    def is_current(self) -> bool:
        view = self.latest.book(UP, self.now)
        newest = max(self.versions)
        return view is not None and view.state is FeedState.LIVE and (view.epoch, view.seq) == newest


def _price(side: str, depth: int) -> str:
    return f"0.{39 - depth}" if side == "BUY" else f"0.{61 + depth}"


@settings(deadline=None, max_examples=200)
@given(turns)
def test_any_lost_frame_is_seen_and_repaired(script: list[tuple[list[tuple[str, int, int]], bool]]) -> None:
    world = World()
    for rows, losing in script:
        world.losing = losing
        world.change(rows)
        world.turn()
    world.losing = False
    for _ in range(100):  # six seconds: a beat after one, asking again every 0.2
        if world.is_current:
            break
        world.turn()
    assert world.is_current, f"{world.lost} frames lost and not repaired"


def test_a_reader_that_lost_nothing_saw_every_version() -> None:
    world = World()
    seen = set()
    for number in range(20):
        world.change([("BUY", number % 6, number % 4)])
        world.turn()
        view = world.latest.book(UP, world.now)
        assert view is not None
        seen.add((view.epoch, view.seq))
    assert world.latest.gaps == 0
    assert len(seen) >= 19
