"""Start and end of every process: settings, manners, shell, exit code. The only place that catches everything.

An expected error is one JSON log line and a named exit code; anything else is a bug: traceback, exit 1, and
supervisord brings the process back.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable

import structlog
import uvloop

from common import rerun
from common.edge import Edge
from common.effects import Core, Sight
from common.errors import ExitCode, PolyexecError
from common.halt import HaltMarker
from common.heart import Heart, MakeCore
from common.log import set_up_logging
from common.process import SingletonLock, StopSignal, exit_code_of, freeze_collector, harden, private_folder
from common.settings import Settings, load_settings

Close = Callable[[], Awaitable[None]]
MakeSight = Callable[[Core, Settings], Sight]
Start = Callable[[Edge], Awaitable[Close | None]]

CLOSE_S = 8.0
"""An orderly end may take this long (supervisord's stopwaitsecs is above it)."""


COLLECT_S = 10.0
"""With the collector off, edges still look through what they made lately, this often: a refused connection leaves a
cycle of 79 objects behind (measured), and a venue may be away for a day."""


def run_heart(
    name: str,
    make_core: MakeCore,
    *,
    follows: Iterable[tuple[str, str]] = (),
    make_sight: MakeSight | None = None,
    halts: bool = False,
) -> int:
    """Run a heart until SIGTERM, or what its journal holds (`replay`, common/rerun.py); returns the exit code.

    `halts`: its core may set the durable halt marker.
    """
    if sys.argv[1:2] == [rerun.WORD]:
        return rerun.main(name, make_core, sys.argv[2:])

    def body(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
        core = make_core(settings)
        sight = make_sight(core, settings) if make_sight else None
        marker = HaltMarker(settings.paths.data_dir) if halts else None
        gc.disable()  # a state of 140,000 orders loads in 0.8 s instead of 1.9 s; once running it stays off
        heart = Heart(name, core, settings, log, sight=sight, marker=marker)
        heart.follow(follows)
        heart.run()

    return _run(name, body)


def run_edge(name: str, start: Start) -> int:
    """Run an edge on uvloop until SIGTERM; returns the exit code."""

    def body(settings: Settings, log: structlog.typing.FilteringBoundLogger) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_edge(name, settings, log, start))

    return _run(name, body)


async def _edge(name: str, settings: Settings, log: structlog.typing.FilteringBoundLogger, start: Start) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    stop = StopSignal()
    stop.install()

    def ask_to_stop() -> None:
        loop.call_soon_threadsafe(stopping.set)

    stop.on_ask = ask_to_stop
    edge = Edge(name, settings, log)
    loop.set_exception_handler(lambda _loop, context: _complain(edge, log, context))
    close: Close | None = None
    failed = asyncio.ensure_future(edge.failed())
    stopped = asyncio.ensure_future(stopping.wait())
    started = asyncio.ensure_future(start(edge))
    try:
        await asyncio.wait({started, failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            close = started.result()
            freeze_collector()
            edge.spawn(_collect_young(), "collector")
            await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
    finally:
        for task in (failed, stopped, started):
            task.cancel()
        try:
            await asyncio.wait_for(_close(edge, started, close), CLOSE_S)
        except TimeoutError:
            log.error("close_took_too_long", limit_s=CLOSE_S)
    log.info("stopped")


async def _collect_young() -> None:
    while True:
        await asyncio.sleep(COLLECT_S)
        gc.collect(1)


async def _close(edge: Edge, started: asyncio.Future[Close | None], close: Close | None) -> None:
    await asyncio.gather(started, return_exceptions=True)
    try:
        if close is not None:
            await close()
    finally:
        await edge.close()


def _complain(edge: Edge, log: structlog.typing.FilteringBoundLogger, context: dict[str, object]) -> None:
    """What a callback or a forgotten task raised ends the process; a remark (a connection nobody closed) is logged."""
    error = context.get("exception")
    if isinstance(error, BaseException):
        edge.fail(error)
    else:
        edge.counters["loop_complaints"] += 1
        log.warning("loop_complaint", detail=str(context.get("message")))


def _run(name: str, body: Callable[[Settings, structlog.typing.FilteringBoundLogger], None]) -> int:
    log = set_up_logging(name)
    try:
        harden()
        settings = load_settings()
        run_dir = private_folder(settings.paths.run_dir, "paths.run_dir")
        private_folder(settings.paths.data_dir, "paths.data_dir")
        lock = SingletonLock(run_dir, name)
        log.info("starting", mode=settings.mode.value)
        body(settings, log)
        lock.release()
    except PolyexecError as error:
        code = exit_code_of(error)
        log.error("refused_to_run", error=str(error), exit_code=int(code), exit_name=code.name)
        return int(code)
    except Exception:  # noqa: BLE001 (the one place where a bug becomes an exit code)
        log.critical("bug", traceback=traceback.format_exc(), exit_code=int(ExitCode.BUG))
        return int(ExitCode.BUG)
    return int(ExitCode.OK)
