"""Virtual time: one thread, one queue of events, and an asyncio loop that runs on it.

In: callbacks with the nanosecond they are due. Out: the same callbacks in order of time, then of asking. Coroutines of
the processes' real shells run on it unchanged. It never sleeps and never reads a clock of the machine.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
S = 1_000_000_000
MS = 1_000_000
US = 1_000


class VirtualLoop(asyncio.AbstractEventLoop):
    """What asyncio needs of a loop, on virtual nanoseconds. Everything else of the interface is not there."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.events = 0
        self.failure: BaseException | None = None
        self._count = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []

    # --- the world's own events ---

    def at(self, due_ns: int, callback: Callable[..., object], *args: Any) -> None:
        """Call at that time, or now if it is past."""
        self._count += 1
        heappush(self._timers, (max(due_ns, self.now_ns), self._count, callback, args))

    def after(self, delay_ns: int, callback: Callable[..., object], *args: Any) -> None:
        self.at(self.now_ns + delay_ns, callback, *args)

    @property
    def next_ns(self) -> int | None:
        return self._timers[0][0] if self._timers else None

    def run_until(self, end_ns: int) -> None:
        """Run everything due up to `end_ns` and let time arrive there. Raises what a callback raised."""
        with self._running():
            while True:
                self._run_ready()
                if not self._timers or self._timers[0][0] > end_ns:
                    break
                due_ns, _, callback, args = heappop(self._timers)
                self.now_ns = due_ns
                self.events += 1
                callback(*args)
            self.now_ns = max(self.now_ns, end_ns)

    def finish(self, tasks: list[asyncio.Task[None]]) -> None:
        """Cancel these tasks and let them end."""
        with self._running():
            for task in tasks:
                task.cancel()
            self._run_ready()

    def _run_ready(self) -> None:
        ready = self._ready
        while ready:
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    @contextmanager
    def _running(self) -> Generator[None]:
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(outer)

    # --- asyncio ---

    def time(self) -> float:
        return self.now_ns / S

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self.at(round(when * S), self._fire, handle)
        return handle

    def _fire(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled():
            self._ready.append(handle)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is skipped when its time comes."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """The first error of a callback ends the run."""
        if self.failure is None:
            self.failure = context.get("exception") or RuntimeError(context["message"])
