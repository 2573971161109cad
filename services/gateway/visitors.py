"""Adapters opened for a moment, outside the gateway process: by the doctor and the conformance kit.

In: settings and a wallet. Out: a started adapter, closed at the end. An adapter that needs the bus gets a Face: it asks
like any short-lived process, serves nobody, and leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from common.errors import ConfigError
from common.messages import Message
from common.requester import Requester
from common.settings import Settings, Wallet
from common.venues.capabilities import VenueKind, kind_of
from services.gateway.port import Adapter


class Face:
    """The part of Edge (common/edge.py) that an adapter uses, for a process that is no part of the group."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self.log: Any = structlog.wrap_logger(structlog.WriteLogger(sys.stderr))
        self._free: list[Requester] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message:
        """Requests that run at the same time have connections of their own. Raises TimeoutError."""
        bus = self._free.pop() if self._free else await asyncio.to_thread(Requester, self.settings)
        try:
            return await asyncio.to_thread(bus.request, owner, body, timeout_s=timeout_s, cancel=cancel)
        finally:
            self._free.append(bus)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drop(self) -> None:
        """Close every connection; the next request opens its own."""
        while self._free:
            self._free.pop().close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.drop()


@asynccontextmanager
async def visit(settings: Settings, row: Wallet) -> AsyncIterator[Adapter]:
    """An adapter for one wallet that is not Polymarket's. Raises ConfigError naming what cannot be used."""
    if kind_of(row.venue) is VenueKind.EXCHANGE:
        async with _exchange(settings, row) as adapter:
            yield adapter
    else:
        async with _ccxt(settings, row) as adapter:
            yield adapter


@asynccontextmanager
async def _exchange(settings: Settings, row: Wallet) -> AsyncIterator[Adapter]:
    from services.gateway.adapters.exchange import ExchangeAdapter  # noqa: PLC0415 (only where it is wanted)

    face = Face(settings)
    try:
        yield ExchangeAdapter(face, [row])  # not started: a visitor opens no account
    finally:
        await face.close()


@asynccontextmanager
async def _ccxt(settings: Settings, row: Wallet) -> AsyncIterator[Adapter]:
    from services.gateway.adapters.ccxt import CcxtAdapter, load_credentials  # noqa: PLC0415 (ccxt is slow to load)

    venue = next((venue for venue in settings.ccxt if venue.name == row.venue), None)
    if venue is None:
        raise ConfigError("ccxt", f"there is no [[ccxt]] named {row.venue!r}")
    credentials = load_credentials(settings, row.venue)
    adapter = CcxtAdapter(venue, settings, {row.name: credentials[row.name]})
    try:
        await adapter.start()
        yield adapter
    finally:
        await adapter.close()
