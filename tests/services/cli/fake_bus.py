"""A bus that answers from a script, and a clock that only moves when somebody waits."""

from __future__ import annotations

from collections.abc import Callable

from common.messages import Heartbeat, Message

Answer = Message | Exception
Script = Callable[[Message], Answer]


class FakeBus:
    """Records what was asked of whom; `script` gives the answers, `beats` the heartbeats."""

    def __init__(self, script: Script, beats: dict[str, Heartbeat] | None = None) -> None:
        self._script = script
        self._beats = beats or {}
        self.asked: list[tuple[str, Message, bool]] = []

    def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message:
        self.asked.append((owner, body, cancel))
        answer = self._script(body)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def heartbeats(self, timeout_s: float = 1.0, processes: tuple[str, ...] = ()) -> dict[str, Heartbeat]:
        return self._beats


class FakeClock:
    """Seconds that pass only in `pause`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
