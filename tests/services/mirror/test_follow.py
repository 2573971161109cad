"""Following the recording over the bus: what the exchange's core answers, with a clock that only moves when told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from common.edge import Edge
from common.effects import Now, Origin, Reply
from common.messages import BookState, Configured, Message, OpenAccount, QuoteLadder, Refused
from common.reasons import Reason
from services.exchange.core import ExchangeCore
from services.mirror.core import MarketMirror
from services.mirror.follow import follow, open_account
from services.mirror.playback import tracks_of
from services.mirror.recording import load_recording
from tests.services.fake_edge import FakeEdge, settings_for

START_NS = 10**18


class SetClock:
    """Stands still until it is set; `waiting` is set while playback waits for it."""

    def __init__(self) -> None:
        self._now_ns = START_NS
        self._moved = asyncio.Event()
        self.waiting = asyncio.Event()

    def now_ns(self) -> int:
        return self._now_ns

    async def wait_until(self, at_ns: int) -> None:
        while self._now_ns < at_ns:
            self._moved.clear()
            self.waiting.set()
            await self._moved.wait()

    async def set(self, now_ns: int) -> None:
        """Move the clock; returns when everything due was said."""
        self.waiting.clear()
        self._now_ns = now_ns
        self._moved.set()
        await self.rest()

    async def rest(self) -> None:
        async with asyncio.timeout(10):
            await self.waiting.wait()


class ExchangeEdge(FakeEdge):
    """An edge whose requests the exchange's core answers; `before` may answer instead, or raise."""

    def __init__(self) -> None:
        super().__init__("mirror", settings_for())
        self.core = ExchangeCore()
        self.asked: list[Message] = []
        self.before: Callable[[Message], Message | None] = lambda _message: None
        self._handle(Configured(json.dumps({"exchange": {}})))

    def _handle(self, message: Message) -> Message | None:
        effects = self.core.handle(message, Origin("mirror"), Now(START_NS, START_NS))
        return next((effect.body for effect in effects if isinstance(effect, Reply)), None)

    async def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message:
        del timeout_s, cancel
        assert owner == "exchange"
        self.asked.append(body)
        instead = self.before(body)
        answer = instead or self._handle(body)
        assert answer is not None
        return answer

    def book(self) -> BookState:
        return next(body for body in self.core.snapshot("market", Now(0, 0)) if isinstance(body, BookState))


class Following:
    """One market followed by a running task."""

    def __init__(self) -> None:
        self.edge = ExchangeEdge()
        self.clock = SetClock()
        recorded = load_recording(lead_in_s=30, market_count=1)
        self.mirror = MarketMirror(tracks_of(recorded, lead_in_s=30, speed=1.0)[0], 70_000, "1")
        self.has_book = asyncio.Event()

    async def begin(self) -> None:
        edge: Edge = self.edge.as_edge()
        await open_account(edge)
        self.edge.spawn(follow(edge, self.mirror, self.clock, self.has_book), "market")

    def assert_shows_the_recording(self) -> None:
        track = self.mirror.track
        snapshot = track.snapshot(track.position(self.clock.now_ns()))
        book = self.edge.book()
        assert (book.bids, book.asks) == (list(snapshot.bids), list(snapshot.asks))


async def test_a_stepped_clock_plays_snapshot_after_snapshot() -> None:
    following = Following()
    await following.begin()
    await following.clock.rest()
    assert following.has_book.is_set()
    for _ in range(30):
        following.assert_shows_the_recording()
        await following.clock.set(following.mirror.track.next_change_ns(following.clock.now_ns()))
    assert following.edge.counters["snapshots_played"] == 31
    assert following.edge.counters["snapshots_skipped"] == 0
    await following.edge.close()


async def test_nothing_is_said_while_nothing_is_due() -> None:
    following = Following()
    await following.begin()
    await following.clock.rest()
    said = len(following.edge.asked)
    due = following.mirror.track.next_change_ns(following.clock.now_ns())
    for now_ns in (due - 2, due - 1):
        await following.clock.set(now_ns)
    assert len(following.edge.asked) == said
    await following.clock.set(due)
    assert isinstance(following.edge.asked[said], QuoteLadder)
    await following.edge.close()


async def test_an_exchange_that_is_away_is_asked_the_same_command_until_it_answers() -> None:
    following = Following()
    left = [3]

    def away(_message: Message) -> Message | None:
        left[0] -= 1
        if left[0] >= 0:
            raise TimeoutError
        return None

    following.edge.before = away
    await following.begin()
    await following.clock.rest()
    first = following.edge.asked[:4]
    assert first == [first[0]] * 4
    assert isinstance(first[0], OpenAccount)
    assert following.edge.counters["exchange_timeouts"] == 3
    following.assert_shows_the_recording()
    await following.edge.close()


async def test_a_refused_account_is_asked_for_again_and_a_refused_ladder_is_counted_and_left() -> None:
    following = Following()
    refusals: dict[type[Message], Reason] = {OpenAccount: Reason.OVERLOADED, QuoteLadder: Reason.BAD_PRICE}

    def refuse_the_first(message: Message) -> Message | None:
        code = refusals.pop(type(message), None)
        return Refused("x", code, "not now") if code else None

    following.edge.before = refuse_the_first
    await following.begin()
    await following.clock.rest()
    assert not following.has_book.is_set()
    await following.clock.set(following.mirror.track.next_change_ns(following.clock.now_ns()))
    assert following.has_book.is_set()
    following.assert_shows_the_recording()
    assert following.edge.counters["refused"] == 2
    assert following.edge.counters["snapshots_refused"] == 1
    await following.edge.close()


async def test_an_answer_that_answers_nothing_of_ours_is_a_bug_that_ends_the_process() -> None:
    following = Following()
    following.edge.before = lambda message: None if isinstance(message, OpenAccount) else Configured("{}")
    await following.begin()
    with pytest.raises(AssertionError, match="answers no command"):
        await following.edge.until(lambda: False)
    await following.edge.close()
