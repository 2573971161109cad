"""Holding and stepping playback: time stands still, moves by steps, goes on without a jump; commands happen once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from common.errors import Refusal
from common.messages import (
    Accepted,
    GetMarkets,
    HoldPlayback,
    Message,
    PlaybackStepped,
    QuoteLadder,
    Refused,
    StepPlayback,
)
from common.reasons import Reason
from services.mirror.core import MarketMirror
from services.mirror.follow import follow, open_account
from services.mirror.playback import furthest_step, tracks_of
from services.mirror.recording import load_recording
from services.mirror.stepping import Playback, SteppedClock
from tests.services.mirror.test_follow import ExchangeEdge

DEADLINE_S = 10.0


class World:
    """Two recorded markets followed on the real clock, and whoever may hold it."""

    def __init__(self) -> None:
        self.edge = ExchangeEdge()
        self.clock = SteppedClock()
        recorded = load_recording(lead_in_s=30, market_count=2)
        tracks = tracks_of(recorded, lead_in_s=30, speed=1.0)
        self.mirrors = [MarketMirror(track, 70_000, "1") for track in tracks]
        self.playback = Playback(self.clock, self.mirrors)

    async def begin(self) -> None:
        edge = self.edge.as_edge()
        await open_account(edge)
        for mirror in self.mirrors:
            self.edge.spawn(follow(edge, mirror, self.clock, asyncio.Event()), mirror.market.slug)

    async def ask(self, command: Message) -> Message:
        async with asyncio.timeout(DEADLINE_S):
            (answer,) = await self.playback.answer(command, "test")
        return answer

    async def step(self, command_id: str) -> PlaybackStepped:
        answer = await self.ask(StepPlayback(command_id))
        assert isinstance(answer, PlaybackStepped)
        return answer


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.begin()
    yield made
    await made.edge.close()
    assert made.edge.errors == []


async def test_held_playback_stands_still_with_everything_acknowledged(world: World) -> None:
    assert await world.ask(HoldPlayback("h", True)) == Accepted("h")
    held_ns = world.clock.now_ns()
    assert [mirror.shown for mirror in world.mirrors] == [m.track.position(held_ns) for m in world.mirrors]
    assert world.clock.now_ns() == held_ns


async def test_each_step_shows_the_next_snapshots_and_skips_none(world: World) -> None:
    await world.ask(HoldPlayback("h", True))
    skipped = sum(mirror.counters["snapshots_skipped"] for mirror in world.mirrors)
    for number in range(20):
        before = {mirror.condition_id: mirror.shown for mirror in world.mirrors}
        stepped = await world.step(f"s{number}")
        assert stepped.shown
        assert stepped.skipped == skipped
        for row in stepped.shown:
            mirror = next(one for one in world.mirrors if one.condition_id == row.condition_id)
            was, position = before[row.condition_id], mirror.shown
            assert was is not None
            assert position is not None
            assert mirror.track.distance(was, position) == 1
            assert (row.loop, row.at) == position
            assert row.recorded_ms == mirror.track.snapshot(position).at_ms


async def test_a_repeated_step_is_answered_and_not_taken_again(world: World) -> None:
    await world.ask(HoldPlayback("h", True))
    first = await world.step("s")
    assert await world.step("s") == first
    assert world.clock.now_ns() == first.playback_ns


async def test_one_step_is_taken_for_a_command_that_is_repeated_while_it_is_under_way(world: World) -> None:
    await world.ask(HoldPlayback("h", True))
    before_ns = world.clock.now_ns()
    once_ns = furthest_step([mirror.track for mirror in world.mirrors], before_ns)
    answers = await asyncio.gather(*(world.step("s") for _ in range(3)))
    assert [answer.playback_ns for answer in answers] == [once_ns] * 3
    assert world.clock.now_ns() == once_ns


async def test_a_snapshot_the_exchange_refuses_is_not_said_to_be_shown(world: World) -> None:
    await world.ask(HoldPlayback("h", True))
    refused: list[str] = []

    def refuse_once(message: Message) -> Message | None:
        if isinstance(message, QuoteLadder) and not refused:
            refused.append(message.condition_id)
            return Refused(message.command_id, Reason.BAD_PRICE, "not this one")
        return None

    world.edge.before = refuse_once
    before = {mirror.condition_id: mirror.passed_over for mirror in world.mirrors}
    stepped = await world.step("s")
    assert refused
    assert refused[0] not in [row.condition_id for row in stepped.shown]
    assert stepped.skipped == sum(before.values()) + 1
    shown = set()
    for number in range(3):
        shown |= {row.condition_id for row in (await world.step(f"later-{number}")).shown}
    assert refused[0] in shown, "the ones after it are shown again"


async def test_a_step_is_answered_only_when_the_exchange_has_answered(world: World) -> None:
    """An exchange that is away for a while delays the answer; nothing is skipped for it."""
    await world.ask(HoldPlayback("h", True))
    away = [5]

    def timeouts(_message: Message) -> Message | None:
        away[0] -= 1
        if away[0] >= 0:
            raise TimeoutError
        return None

    world.edge.before = timeouts
    stepped = await world.step("s")
    assert world.edge.counters["exchange_timeouts"] == 5
    assert stepped.shown
    for row in stepped.shown:
        mirror = next(one for one in world.mirrors if one.condition_id == row.condition_id)
        assert (row.loop, row.at) == mirror.track.position(stepped.playback_ns)


async def test_running_playback_refuses_a_step(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        await world.ask(StepPlayback("s"))
    assert (refused.value.code, refused.value.field) == (Reason.BAD_REQUEST, "stepped")


async def test_released_playback_goes_on_from_where_it_stood(world: World) -> None:
    await world.ask(HoldPlayback("h", True))
    stepped = await world.step("s")
    await world.ask(HoldPlayback("r", False))
    assert 0 <= world.clock.now_ns() - stepped.playback_ns < DEADLINE_S * 1e9
    played = sum(mirror.counters["snapshots_played"] for mirror in world.mirrors)
    async with asyncio.timeout(DEADLINE_S):
        while sum(mirror.counters["snapshots_played"] for mirror in world.mirrors) == played:
            await world.clock.wait_until(world.clock.now_ns() + 10_000_000)


async def test_other_messages_are_refused(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        await world.ask(GetMarkets("r"))
    assert refused.value.code is Reason.UNKNOWN_MESSAGE


async def test_a_running_clock_waits_until_the_moment_and_not_much_longer() -> None:
    clock = SteppedClock()
    at_ns = clock.now_ns() + 20_000_000
    async with asyncio.timeout(5):
        while clock.now_ns() < at_ns:
            await clock.wait_until(at_ns)
        await clock.wait_until(0)
