"""Which venues this gateway opens: every one that a wallet of the settings names, with its adapter and its budgets.

In: settings. Out: adapters with their limiters, and those that have a dead-man switch. A wallet whose files cannot be
used is a ConfigError naming the file: the process does not start with a part of what it was told to trade.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from common.edge import Edge
from common.errors import ConfigError
from common.ratelimit import PlainLimits
from common.settings import Settings
from common.venues.polymarket.limits import PolymarketLimits, call_of
from services.gateway.adapters.ccxt import open_ccxt
from services.gateway.adapters.exchange import open_exchange
from services.gateway.adapters.polymarket import PolymarketAdapter
from services.gateway.budgets import Budgets
from services.gateway.core import Limiter
from services.gateway.door import Beating
from services.gateway.polymarket import Request
from services.gateway.port import Adapter
from services.gateway.wallets import open_wallets


class Venues(NamedTuple):
    adapters: list[tuple[Adapter, Limiter | None]]
    beating: dict[str, Beating]


async def open_venues(edge: Edge) -> Venues:
    """Open every venue or none: what was opened before a ConfigError is closed again."""
    adapters: list[tuple[Adapter, Limiter | None]] = []
    try:
        await _open_all(edge, adapters)
    except ConfigError:
        for adapter, _ in adapters:
            await adapter.close()
        raise
    if not adapters:
        raise ConfigError("wallets", "no wallet of a venue this gateway knows: there is nothing to do")
    beating: dict[str, Beating] = {}
    if edge.settings.gateway.dead_man:
        beating = {adapter.venue: adapter for adapter, _ in adapters if isinstance(adapter, PolymarketAdapter)}
    return Venues(adapters, beating)


async def _open_all(edge: Edge, adapters: list[tuple[Adapter, Limiter | None]]) -> None:
    """Put down each as it is opened."""
    settings = edge.settings
    polymarket = await _open_polymarket(edge)
    if polymarket is not None:
        adapters.append(polymarket)
    exchange = open_exchange(edge, settings)
    if exchange is not None:
        # Its only bound is what is in flight: it is ours, and next door.
        adapters.append((exchange, None))
    for adapter in open_ccxt(edge, settings):
        batch_max = adapter.capabilities.cancel_batch_max
        adapters.append((adapter, Budgets(plain_limits(settings, batch_max))))


async def _open_polymarket(edge: Edge) -> tuple[Adapter, Limiter] | None:
    wallets = await open_wallets(edge)
    if not wallets:
        return None
    limits = polymarket_limits(edge.settings)

    def on_headers(wallet: str, request: Request, headers: Mapping[str, str], status: int) -> None:
        call = call_of(request.method, request.path)
        if call is not None:
            limits.on_headers(wallet, call, headers, status, time.monotonic_ns(), wall_ns=time.time_ns())
        edge.counters.update(limits.counters)
        limits.counters.clear()

    adapter = PolymarketAdapter(edge.settings, wallets, counters=edge.counters, on_headers=on_headers)
    return adapter, Budgets(limits)


def polymarket_limits(settings: Settings) -> PolymarketLimits:
    given = settings.limits
    return PolymarketLimits(
        share_percent=given.share_percent,
        signer_percent=given.signer_percent,
        reserve_percent=given.reserve_percent,
        default_tier=given.default_tier,
    )


def plain_limits(settings: Settings, cancel_batch_max: int) -> PlainLimits:
    """For a venue whose limits nobody told us."""
    given = settings.limits
    reserve = min(given.default_burst * given.reserve_percent // 100, given.default_burst - 1)
    return PlainLimits(
        given.default_rate_per_s, given.default_burst, reserve=reserve, cancel_batch_max=cancel_batch_max
    )
