"""The mirror's conversations with the exchange over the bus.

In: MarketMirrors (which decide), a clock to follow, the edge. Out: their commands, one at a time per market, for ever;
counters, and one log line per market and kind of refusal. It never decides what to send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from common.edge import Edge
from common.messages import Message, OpenAccount, Refused
from services.mirror.core import MarketMirror, account_command

REFUSED_PAUSE_S = 0.2
"""After a refusal: never ask faster than this."""


class Clock(Protocol):
    """Where playback takes its time from (stepping.py)."""

    def now_ns(self) -> int: ...

    async def wait_until(self, at_ns: int) -> None:
        """Return when `at_ns` has come; may return earlier."""
        ...


async def open_account(edge: Edge) -> None:
    """Return when the exchange has the mirror's account."""
    await open_accounts(edge, [account_command()])


async def open_accounts(edge: Edge, commands: Sequence[OpenAccount]) -> None:
    """Return when the exchange has these accounts."""
    for command in commands:
        while isinstance(answer := await ask(edge, command), Refused):
            edge.counters["refused"] += 1
            edge.log.warning("refused", account=command.account, code=answer.code.value, text=answer.text)
            await asyncio.sleep(REFUSED_PAUSE_S)


async def follow(edge: Edge, mirror: MarketMirror, clock: Clock, has_book: asyncio.Event) -> None:
    """Keep one market up with its recording; `has_book` is set when the first ladder was acknowledged."""
    while True:
        now_ns = clock.now_ns()  # once: between two readings a change would go unnoticed
        command = mirror.next_command(now_ns)
        if command is None:
            await clock.wait_until(mirror.track.next_change_ns(now_ns))
            continue
        before = mirror.counters.copy()
        answer = await ask(edge, command)
        news = mirror.answered(command, answer)
        edge.counters.update(mirror.counters - before)
        if mirror.has_book:
            has_book.set()
        if news is not None:
            edge.log.warning("refused", market=mirror.market.slug, code=news.code.value, text=news.text)
        if isinstance(answer, Refused):
            await asyncio.sleep(REFUSED_PAUSE_S)


async def ask(edge: Edge, command: Message) -> Message:
    """The exchange's answer, however long it is away: a command may be repeated, it happens once."""
    while True:
        try:
            return await edge.request("exchange", command)
        except TimeoutError:
            edge.counters["exchange_timeouts"] += 1
