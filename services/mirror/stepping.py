"""Playback that can be held and stepped: the clock every market follows, and who may move it.

In: HoldPlayback and StepPlayback (asked of the mirror over the bus). Out: their answers, when every market's
conversation with the exchange has come to rest. Running, playback is the wall clock less what holding has cost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from common.errors import Refusal
from common.messages import Accepted, HoldPlayback, Message, PlaybackStepped, ShownBook, StepPlayback
from common.reasons import Reason
from services.mirror.core import MarketMirror
from services.mirror.playback import Position, furthest_step

ANSWERS_KEPT = 1_000
"""Commands whose repeat is answered and not done again; the oldest go first."""


class SteppedClock:
    """The wall clock until it is held; then it stands still but for `step`."""

    def __init__(self) -> None:
        self._behind_ns = 0
        self._held_ns: int | None = None
        self._moved = asyncio.Event()
        self._waiting = 0
        self._changed_waiting = asyncio.Event()

    @property
    def is_held(self) -> bool:
        return self._held_ns is not None

    def now_ns(self) -> int:
        return time.time_ns() - self._behind_ns if self._held_ns is None else self._held_ns

    async def wait_until(self, at_ns: int) -> None:
        """Return when the time has come, or when the clock was held, released or stepped."""
        moved = self._moved
        left_s = None if self.is_held else max(0.001, (at_ns - self.now_ns()) / 1e9)
        self._waiting += 1
        self._changed_waiting.set()
        try:
            async with asyncio.timeout(left_s):
                await moved.wait()
        except TimeoutError:
            pass
        finally:
            if moved is self._moved:
                self._waiting -= 1

    def hold(self) -> None:
        if self._held_ns is None:
            self._held_ns = self.now_ns()
            self._wake()

    def release(self) -> None:
        """Go on from here at the usual speed: no jump."""
        if self._held_ns is not None:
            self._behind_ns = time.time_ns() - self._held_ns
            self._held_ns = None
            self._wake()

    def step(self, to_ns: int) -> None:
        assert self.is_held, "only while held"
        self._held_ns = to_ns
        self._wake()

    def _wake(self) -> None:
        """Whoever waits looks at the new time; until it waits again it is not at rest."""
        moved, self._moved = self._moved, asyncio.Event()
        self._waiting = 0
        moved.set()

    async def until_waiting(self, count: int) -> None:
        """Return when so many wait for a later time: what was due at this one is done."""
        while self._waiting < count:
            self._changed_waiting.clear()
            await self._changed_waiting.wait()


class Playback:
    """The commands, one after the other."""

    def __init__(self, clock: SteppedClock, mirrors: Sequence[MarketMirror]) -> None:
        self._clock = clock
        self._mirrors = mirrors
        self._answers: dict[str, Message] = {}
        self._turn = asyncio.Lock()

    async def answer(self, command: Message, sender: str) -> list[Message]:
        """Raises Refusal; a refused command may be asked again."""
        del sender
        if not isinstance(command, HoldPlayback | StepPlayback):
            raise Refusal(Reason.UNKNOWN_MESSAGE, f"the mirror does not answer {type(command).__name__}")
        async with self._turn:
            if command.command_id not in self._answers:
                done = await (self._hold(command) if isinstance(command, HoldPlayback) else self._step(command))
                self._answers[command.command_id] = done
                while len(self._answers) > ANSWERS_KEPT:
                    del self._answers[next(iter(self._answers))]
            return [self._answers[command.command_id]]

    async def _hold(self, command: HoldPlayback) -> Message:
        if command.stepped:
            self._clock.hold()
            await self._clock.until_waiting(len(self._mirrors))
        else:
            self._clock.release()
        return Accepted(command.command_id)

    async def _step(self, command: StepPlayback) -> Message:
        if not self._clock.is_held:
            raise Refusal(Reason.BAD_REQUEST, "playback is running: hold it first", "stepped")
        before = [mirror.shown for mirror in self._mirrors]
        self._clock.step(furthest_step([mirror.track for mirror in self._mirrors], self._clock.now_ns()))
        await self._clock.until_waiting(len(self._mirrors))
        moved = [
            _shown(mirror, mirror.shown)
            for mirror, was in zip(self._mirrors, before, strict=True)
            if mirror.shown is not None and mirror.shown != was and mirror.is_true
        ]
        passed_over = sum(mirror.passed_over for mirror in self._mirrors)
        return PlaybackStepped(command.command_id, self._clock.now_ns(), moved, passed_over)


def _shown(mirror: MarketMirror, position: Position) -> ShownBook:
    recorded_ms = mirror.track.snapshot(position).at_ms
    return ShownBook(mirror.condition_id, mirror.market.slug, position.loop, position.at, recorded_ms)
