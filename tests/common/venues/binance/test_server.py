"""The offline venue over HTTP: who is let in, limits, and each way to lose an answer."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from common.errors import ConfigError
from common.venues.binance.server import KEY, SECRET, BinanceServer, Fault, FaultKind
from common.venues.binance.weights import MINUTE_MS, Weights
from common.venues.binance.wire import Denied

ORDER = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "price": "50000",
    "quantity": "0.001",
}


@pytest.fixture
async def server() -> AsyncIterator[BinanceServer]:
    async with BinanceServer() as found:
        yield found


def signed(secret: str = SECRET, **params: object) -> str:
    text = urlencode({"timestamp": time.time_ns() // 10**6, **params})
    return f"{text}&signature={hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}"


async def ask(
    server: BinanceServer, method: str, endpoint: str, query: str = "", key: str = KEY
) -> tuple[int, Any, dict[str, str]]:
    headers = {"X-MBX-APIKEY": key} if key else {}
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
        session.request(method, f"{server.url}/api/v3/{endpoint}?{query}", headers=headers) as answer,
    ):
        return answer.status, await answer.json(), dict(answer.headers)


async def test_what_is_public_needs_no_key(server: BinanceServer) -> None:
    assert (await ask(server, "GET", "ping", key=""))[:2] == (200, {})
    _, book, headers = await ask(server, "GET", "depth", "symbol=BTCUSDT&limit=2", key="")
    assert book["bids"][0] == ["59994.00000000", "0.16666000"]
    assert len(book["bids"]) == len(book["asks"]) == 2
    assert int(headers["X-MBX-USED-WEIGHT-1M"]) == 6
    _, info, _ = await ask(server, "GET", "exchangeInfo", 'symbols=["ETHUSDT"]', key="")
    assert [symbol["symbol"] for symbol in info["symbols"]] == ["ETHUSDT"]
    assert (await ask(server, "GET", "exchangeInfo", 'symbols=["NOPE"]', key=""))[1]["code"] == -1121


@pytest.mark.parametrize(
    ("key", "query", "status", "code"),
    [
        ("", {}, 401, -2014),
        ("stranger", {}, 401, -2015),
        (KEY, {"secret": "wrong"}, 400, -1022),
        (KEY, {"timestamp": 1}, 400, -1021),
        (KEY, {"timestamp": 10**15}, 400, -1021),
        (KEY, {"timestamp": ""}, 400, -1102),
        (KEY, {"recvWindow": 60_001}, 400, -1131),
    ],
)
async def test_who_is_not_let_in(
    server: BinanceServer, key: str, query: dict[str, Any], status: int, code: int
) -> None:
    told, body, _ = await ask(server, "GET", "account", signed(**query), key)
    assert (told, body["code"]) == (status, code)


async def test_an_order_is_placed_found_and_cancelled(server: BinanceServer) -> None:
    status, made, headers = await ask(server, "POST", "order", signed(**ORDER, newClientOrderId="one"))
    assert (status, made["status"], headers["X-MBX-ORDER-COUNT-10S"]) == (200, "NEW", "1")
    named = {"symbol": "BTCUSDT", "origClientOrderId": "one"}
    assert (await ask(server, "GET", "order", signed(**named)))[1]["orderId"] == made["orderId"]
    assert (await ask(server, "DELETE", "order", signed(**named)))[1]["status"] == "CANCELED"
    assert (await ask(server, "GET", "openOrders", signed()))[1] == []
    assert (await ask(server, "PUT", "order", signed()))[0] == 405


@pytest.mark.parametrize("kind", [FaultKind.RESET, FaultKind.CUT])
async def test_a_connection_is_cut_after_the_order_was_taken_or_before(server: BinanceServer, kind: FaultKind) -> None:
    server.fail("POST order", Fault(kind))
    with pytest.raises(aiohttp.ClientError):
        await ask(server, "POST", "order", signed(**ORDER))
    orders = (await ask(server, "GET", "openOrders", signed()))[1]
    assert len(orders) == (1 if kind is FaultKind.RESET else 0)


async def test_an_answer_can_be_late_another_or_cut_short(server: BinanceServer) -> None:
    server.fail("GET time", Fault(FaultKind.DELAY, delay_ms=20))
    server.fail("GET time", Fault(FaultKind.ANSWER, 418, '{"code":-1003}', {"Retry-After": "9"}))
    server.fail("GET account", Fault(FaultKind.TRUNCATE))
    began = time.monotonic()
    assert (await ask(server, "GET", "time"))[0] == 200
    assert time.monotonic() - began >= 0.02
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{server.url}/api/v3/time") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (418, "9")
        url = f"{server.url}/api/v3/account?{signed()}"
        async with session.get(url, headers={"X-MBX-APIKEY": KEY}) as answer:
            assert not (await answer.text()).endswith("}")
    assert (await ask(server, "GET", "account", signed()))[0] == 200


def test_a_minute_has_so_much_weight_and_says_when_the_next_begins() -> None:
    weights = Weights(10)
    weights.take("GET", "openOrders", 5_000)
    with pytest.raises(Denied) as refused:
        weights.take("GET", "openOrders", 5_000)
    assert (refused.value.status, refused.value.code, refused.value.headers) == (429, -1003, {"Retry-After": "55"})
    weights.take("GET", "openOrders", MINUTE_MS)
    assert weights.used == 6


async def test_it_is_not_served_to_other_machines() -> None:
    with pytest.raises(ConfigError, match="loopback"):
        await BinanceServer().start("0.0.0.0")
