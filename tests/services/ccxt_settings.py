"""Settings with one centralised exchange and one wallet there, whose API keys open the Binance-like server."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from common.secrets import write_secret
from common.settings import CcxtVenue, Settings, Wallet
from common.venues.binance.server import KEY, SECRET
from tests.services.fake_edge import DEADLINE_S, FakeEdge, settings_for

VENUE, WALLET = "bn", "spot"
BTC, ETH, PEPE = (f"{VENUE}:{base}/USDT" for base in ("BTC", "ETH", "PEPE"))
SYMBOLS = ("BTC/USDT", "ETH/USDT", "PEPE/USDT", "NOPE/USDT")
POLL_MS = 50
BOUNDLESS = 10**9
"""A request weight no test uses up, however often it polls."""


@cache
def import_ccxt() -> None:
    """It takes seconds: before a test whose waits have deadlines."""
    importlib.import_module("ccxt.async_support")


async def poll_until(edge: FakeEdge, holds: Callable[[], bool]) -> None:
    """Wait for something that changes without a word of the edge, as counts of a server do; with its deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            if edge.errors:
                raise edge.errors[0]
            await asyncio.sleep(0.005)


def ccxt_settings(
    secrets_dir: Path, url: str, *, process: str = "gateway", request_ms: int = 3000, **row: object
) -> Settings:
    """The demo's settings with the exchange at `url`, and the keys of one process in its file."""
    settings = settings_for(secrets_dir=secrets_dir)
    keys = json.dumps({"apiKey": KEY, "secret": SECRET}).encode()
    write_secret(secrets_dir / f"{WALLET}.{process}.creds", keys)
    entry = {"name": VENUE, "url": url, "symbols": SYMBOLS, "poll_ms": POLL_MS, **row}
    return settings.model_copy(
        update={
            "wallets": (Wallet(name=WALLET, venue=VENUE),),
            "ccxt": (CcxtVenue.model_validate(entry),),
            "gateway": settings.gateway.model_copy(update={"request_timeout_ms": request_ms}),
        }
    )
