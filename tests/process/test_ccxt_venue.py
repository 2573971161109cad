"""A centralised exchange as the only venue of a running group: orders, fills, cancels, a crash."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from common.secrets import write_secret
from common.venues.binance.seed import HOUSE, Quote, quote
from common.venues.binance.server import KEY, SECRET, BinanceServer, Fault, FaultKind
from common.venues.binance.weights import Weights
from common.venues.binance.wire import UNIT
from tests.process.demo import Demo, Json, until
from tests.process.group import group
from tests.services.ccxt_settings import BOUNDLESS

pytestmark = [pytest.mark.process, pytest.mark.timeout(150)]

SERVICES = ("executor", "market_data", "gateway", "user_data")
SLUG = "binance:BTC/USDT"


Made = TypeVar("Made")


class Venue:
    """The Binance-like server in a thread of its own; the test speaks to it between two requests."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self.call(self._made())
        self.call(self.server.start())

    @staticmethod
    async def _made() -> BinanceServer:
        return BinanceServer(weights=Weights(BOUNDLESS))

    def call(self, work: Coroutine[Any, Any, Made]) -> Made:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def house(self, side: str, price: int, quantity: int) -> None:
        """Somebody else's order."""

        async def placed() -> None:
            venue = self.server.venue
            quote(venue, venue.accounts[HOUSE], Quote("BTCUSDT", side, price * UNIT, quantity), time.time_ns() // 10**6)

        self.call(placed())

    def close(self) -> None:
        self.call(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def venue() -> Iterator[Venue]:
    found = Venue()
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Venue, Demo]]:
    with venue() as found:
        row = {"name": "binance", "url": found.server.url, "poll_ms": 100, "symbols": ["BTC/USDT", "PEPE/USDT"]}
        with group(
            wallets=json.dumps([{"name": "spot", "venue": "binance"}]),
            accounts=json.dumps([{"name": "default", "wallet": "spot"}]),
            ccxt=json.dumps([row]),
        ) as processes:
            keys = json.dumps({"apiKey": KEY, "secret": SECRET}).encode()
            for process in ("gateway", "user_data"):
                write_secret(processes.folder / "secrets" / f"spot.{process}.creds", keys)
            for name in SERVICES:
                processes.start(name)
            # market_data waits a while for Polymarket, which is not there.
            processes.wait_ready("executor", "gateway", "user_data", deadline_s=60)
            demo = Demo(processes)
            until(lambda: listed(demo), 30, "the instrument has no book")
            yield found, demo


def listed(demo: Demo) -> Json | None:
    return next((m for m in demo.cli("markets") if m["slug"] == SLUG and m["best_bid"] and m["best_ask"]), None)


def place(demo: Demo, side: str, price: str, size: str, *more: str) -> Json:
    return demo.cli("order", "place", "--market", SLUG, "--side", side, "--price", price, "--size", size, *more)


def until_status(demo: Demo, order: Json, word: str) -> Json:
    shown: list[Json] = []

    def found() -> Json | None:
        shown[:] = [demo.cli("order", "show", order["order_id"])]
        return shown[0] if shown[0]["status"] == word else None

    try:
        return until(found, 20, f"it did not become {word}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {shown}\n{demo.processes.log('executor')}") from None


def test_an_order_rests_is_filled_by_somebody_and_confirmed(running: tuple[Venue, Demo]) -> None:
    found, demo = running
    market = listed(demo)
    assert market is not None
    assert (market["tick_size"], market["venue"]) == ("0.01", "binance")
    order = place(demo, "BUY", "59996", "0.002")
    until_status(demo, order, "Working")
    found.house("SELL", 59_996, UNIT // 1000)
    partly = until_status(demo, order, "PartiallyFilled")
    assert partly["filled_size"] == "0.001"
    found.house("SELL", 59_996, UNIT // 1000)
    filled = until_status(demo, order, "Filled")
    assert [fill["settlement"] for fill in filled["fills"]] == ["CONFIRMED"] * 2
    assert (filled["avg_price"], filled["lifecycle"]) == ("59996", "CONFIRMED")


def test_a_lost_answer_and_a_killed_gateway_make_no_second_order(running: tuple[Venue, Demo]) -> None:
    found, demo = running
    before = found.server.requests["POST order"]
    found.server.fail("POST order", Fault(FaultKind.HANG))
    order = place(demo, "BUY", "50001", "0.001")
    until(lambda: found.server.requests["POST order"] > before or None, 10, "the place was not sent")
    demo.processes.kill9("gateway")
    demo.processes.start("gateway")
    demo.processes.wait_ready("gateway", deadline_s=60)
    shown = until_status(demo, order, "Working")
    orders = [o for o in found.server.venue.markets["BTCUSDT"].orders.values() if o.price == 50_001 * UNIT]
    assert [(o.client_order_id, o.status) for o in orders] == [(shown["venue_order_id"], "NEW")]
    assert found.server.requests["POST order"] == before + 1
    demo.cli("cancel-all")
    until_status(demo, order, "Cancelled")


def test_a_too_fine_instrument_is_refused_and_no_secret_is_in_any_file(running: tuple[Venue, Demo]) -> None:
    _, demo = running
    words = ("--market", "binance:PEPE/USDT", "--side", "BUY", "--price", "1", "--size", "1")
    assert demo.cli("order", "place", *words, ok=False)["error"]["code"] == "UNKNOWN_MARKET"
    assert '"code": "BAD_TICK"' in demo.processes.log("market_data")
    files = [path for name in ("logs", "data") for path in (demo.processes.folder / name).rglob("*") if path.is_file()]
    assert files
    secrets = (SECRET.encode(), KEY.encode())
    assert [path for path in files if any(secret in path.read_bytes() for secret in secrets)] == []
