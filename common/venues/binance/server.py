"""A Binance spot venue over HTTP on loopback, to try our ccxt side offline: its answers, its errors, faults on request.

In: requests signed as Binance wants them (key, HMAC-SHA256 over the exact text, timestamp, recvWindow), and faults
queued by whoever tests. Out: the venue's JSON. A fault strikes one endpoint a number of times and then is gone; those
that lose an answer do so after the request was carried out, which is the case that matters.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from common.errors import ConfigError
from common.settings import is_loopback
from common.venues.binance.seed import TRADER, seeded_venue
from common.venues.binance.spot import Account, SpotVenue
from common.venues.binance.weights import Weights
from common.venues.binance.wire import Denied, Params, integer

PREFIX: Final = "/api/v3/"
AHEAD_MS: Final = 1_000
RECV_WINDOW_MS: Final = 5_000
RECV_WINDOW_MAX_MS: Final = 60_000
BODY_MAX: Final = 100_000
_PUBLIC: Final = frozenset({"ping", "time", "exchangeInfo", "depth", "trades"})
_METHODS: Final = {"order": ("POST", "GET", "DELETE")}


class FaultKind(StrEnum):
    ANSWER = "ANSWER"
    """`status` and `body` instead of being carried out."""
    LATE_ANSWER = "LATE_ANSWER"
    """Carried out, and then `status` and `body` instead of the answer."""
    HANG = "HANG"
    """Carried out, and never answered."""
    RESET = "RESET"
    """Carried out, and the connection is cut."""
    CUT = "CUT"
    """The connection is cut before anything happens."""
    TRUNCATE = "TRUNCATE"
    """Carried out, and half of the answer."""
    DELAY = "DELAY"
    """Carried out after `delay_ms`."""


class Fault(NamedTuple):
    kind: FaultKind
    status: int = 500
    body: str = '{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}'
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)
    delay_ms: int = 0


class BinanceServer:
    """The venue, its keys and its faults."""

    def __init__(
        self,
        venue: SpotVenue | None = None,
        *,
        keys: dict[str, tuple[str, str]] | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        weights: Weights | None = None,
    ) -> None:
        """`keys`: API key to (secret, account name); without it there is the trader's of `KEY` and `SECRET`."""
        self.venue = seeded_venue(wall_ms()) if venue is None else venue
        self.requests: Counter[str] = Counter()
        """How often each `METHOD endpoint` was asked for."""
        self.url = ""
        self._keys = {KEY: (SECRET, TRADER)} if keys is None else keys
        self._wall_ms = wall_ms
        self._weights = weights or Weights()
        self._faults: dict[str, list[Fault]] = {}
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()

    @property
    def trader(self) -> Account:
        return self.venue.accounts[TRADER]

    def fail(self, endpoint: str, fault: Fault, times: int = 1) -> None:
        """Queue a fault for the next requests of, say, "POST order"."""
        self._faults.setdefault(endpoint, []).extend([fault] * times)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; the URL for `[[ccxt]] url`. Raises ConfigError off loopback."""
        if not is_loopback(host):
            raise ConfigError("host", f"{host!r} is not a loopback address: the test venue has no TLS")
        app = web.Application(client_max_size=BODY_MAX)
        app.router.add_route("*", PREFIX + "{endpoint}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://{host}:{port}"
        return self.url

    async def close(self) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> BinanceServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- one request ---

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.match_info["endpoint"]
        name = f"{request.method} {endpoint}"
        self.requests[name] += 1
        body = (await request.read()).decode("utf-8", "replace")
        queued = self._faults.get(name)
        fault = queued.pop(0) if queued else None
        match fault:
            case Fault(kind=FaultKind.CUT):
                return self._cut(request)
            case Fault(kind=FaultKind.ANSWER):
                return web.Response(text=fault.body, status=fault.status, headers=fault.headers)
            case Fault(kind=FaultKind.DELAY):
                await asyncio.sleep(fault.delay_ms / 1000)
        answer = self._carried_out(request, endpoint, body)
        return answer if fault is None else await self._spoiled(request, answer, fault)

    async def _spoiled(self, request: web.Request, answer: web.Response, fault: Fault) -> web.StreamResponse:
        match fault.kind:
            case FaultKind.LATE_ANSWER:
                return web.Response(text=fault.body, status=fault.status, headers=fault.headers)
            case FaultKind.HANG:
                await self._closing.wait()
                return self._cut(request)
            case FaultKind.RESET:
                return self._cut(request)
            case FaultKind.TRUNCATE:
                text = answer.text or ""
                return web.Response(text=text[: len(text) // 2], status=answer.status, content_type="application/json")
            case _:
                return answer

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _carried_out(self, request: web.Request, endpoint: str, body: str) -> web.Response:
        headers: dict[str, str] = {}
        try:
            self._weights.take(request.method, endpoint, self._wall_ms())
            value, status = self._answer(request, endpoint, body), 200
        except Denied as denied:
            value, status = denied.body(), denied.status
            headers |= denied.headers
        headers["X-MBX-USED-WEIGHT-1M"] = str(self._weights.used)
        if request.method == "POST":
            headers["X-MBX-ORDER-COUNT-10S"] = str(self._weights.orders)
        return web.Response(
            text=msgspec.json.encode(value).decode(), status=status, headers=headers, content_type="application/json"
        )

    def _answer(self, request: web.Request, endpoint: str, body: str) -> object:
        if request.method not in _METHODS.get(endpoint, ("GET",)):
            raise Denied(-1000, "Request method is not supported.", 405)
        text = request.rel_url.raw_query_string
        params = dict(parse_qsl(text + ("&" if text and body else "") + body, keep_blank_values=True))
        if endpoint in _PUBLIC:
            return self._public(endpoint, params)
        account = self._authenticated(request, text + body, params)
        return self._private(request.method, endpoint, account, params)

    def _public(self, endpoint: str, params: Params) -> object:
        now_ms = self._wall_ms()
        match endpoint:
            case "ping":
                return {}
            case "time":
                return {"serverTime": now_ms}
            case "depth":
                return self.venue.depth(params)
            case "trades":
                return self.venue.trades(params)
            case _:
                return self.venue.exchange_info(_names(params), now_ms)

    def _private(self, method: str, endpoint: str, account: Account, params: Params) -> object:
        now_ms = self._wall_ms()
        match method, endpoint:
            case "POST", "order":
                return self.venue.new_order(account, params, now_ms)
            case "GET", "order":
                return self.venue.get_order(account, params)
            case "DELETE", "order":
                return self.venue.cancel_order(account, params, now_ms)
            case "GET", "openOrders":
                return self.venue.open_orders(account, params)
            case "GET", "allOrders":
                return self.venue.all_orders(account, params)
            case "GET", "myTrades":
                return self.venue.my_trades(account, params)
            case "GET", "account":
                return self.venue.account_report(account, now_ms)
        raise Denied(-1000, "No such endpoint.", 404)

    def _authenticated(self, request: web.Request, signed: str, params: Params) -> Account:
        """The account of a request whose key, signature and time are right. Raises Denied as the venue does."""
        key = request.headers.get("X-MBX-APIKEY", "")
        if not key:
            raise Denied(-2014, "API-key format invalid.", 401)
        known = self._keys.get(key)
        if known is None:
            raise Denied(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        sent_ms, now_ms = integer(params, "timestamp"), self._wall_ms()
        window = integer(params, "recvWindow", RECV_WINDOW_MS)
        if window > RECV_WINDOW_MAX_MS:
            raise Denied(-1131, "recvWindow must be less than 60000")
        if sent_ms >= now_ms + AHEAD_MS:
            raise Denied(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now_ms - sent_ms > window:
            raise Denied(-1021, "Timestamp for this request is outside of the recvWindow.")
        text, _, signature = signed.rpartition("&signature=")
        right = hmac.new(known[0].encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode(), signature.encode()):
            raise Denied(-1022, "Signature for this request is not valid.")
        return self.venue.accounts[known[1]]


KEY: Final = "offline-key"
SECRET: Final = "offline-secret"


def _names(params: Params) -> list[str]:
    if params.get("symbol"):
        return [params["symbol"]]
    if not params.get("symbols"):
        return []
    try:
        return msgspec.json.decode(params["symbols"], type=list[str])
    except msgspec.DecodeError:
        pattern = r"^\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\]$"
        raise Denied(-1100, f"Illegal characters found in parameter 'symbols'; legal range is '{pattern}'.") from None
