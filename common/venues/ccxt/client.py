"""One exchange through ccxt's async client: each call one request on the connections of its lane.

In: a row of `[[ccxt]]`, API credentials or none, calls of ccxt's unified methods. Out: what ccxt made of the answer,
with every number as exact text, or the failure as it was: the raw answer, the proof that nothing was sent, or neither.
ccxt's rate limiter and retries, redirects, proxies of the environment and aiohttp's own resend are off. ccxt is
imported when an exchange is opened, in a thread: it takes seconds.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from common.errors import ConfigError
from common.http import FailureKind, HttpClient, HttpFailure, HttpReply
from common.reasons import Reason
from common.settings import CcxtVenue
from common.venues.ccxt.answers import Failure, NoAnswer, NotSent, Reply, Verdict, judge
from common.venues.ccxt.credentials import ApiCredentials
from common.venues.ccxt.dialects import RECV_WINDOW_MAX_MS, Dialect, dialect_of
from common.venues.ccxt.markets import Listing, list_markets

_MODULE: Final = "ccxt.async_support"
_UNREADABLE: Final = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What ccxt's parsers raise over an answer of another shape than they know."""
_WRONG_WORD: Final = (Reason.UNKNOWN_MARKET, Reason.BAD_REQUEST)
_ORIGIN: Final = re.compile(r"^https?://[^/]+")


class Lane(StrEnum):
    """Requests of different lanes never share a connection."""

    PLACE = "place"
    CANCEL = "cancel"
    QUERY = "query"


class Limits(NamedTuple):
    connect_ms: int
    request_ms: int
    connections: Mapping[Lane, int]


Tap = Callable[[str], bool]
"""Told the lane of every answer; True throws it away, as if the connection had broken (tests, conformance kit)."""


class Answer(NamedTuple):
    """What one call came to. `failure` is None when `value` is the venue's answer; times are 0 if not reached."""

    value: Any
    raw: object
    failure: Failure | None
    asked_ns: int
    sent_ns: int = 0
    first_byte_ns: int = 0
    answered_ns: int = 0


class _Call:
    """What happens to one call while ccxt works on it."""

    def __init__(self, lane: Lane, tap: Tap | None) -> None:
        self.lane = lane
        self.tap = tap
        self.requests = 0
        self.reply: Reply | None = None
        self.raw: object = None
        self.sent_ns = self.first_byte_ns = self.answered_ns = 0


_CALL: ContextVar[_Call] = ContextVar("ccxt_call")


class _Broken(Exception):
    """There is no answer that could be given to ccxt; passes through it unchanged."""

    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self.failure = failure


class _Response:
    """An answer as ccxt reads it from aiohttp."""

    def __init__(self, reply: HttpReply) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self.content = reply.body

    @property
    def reason(self) -> str:
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return ""

    async def text(self, errors: str = "replace") -> str:
        return self.content.decode("utf-8", errors)


class _Session:
    """Stands where ccxt expects aiohttp's session; it has the methods ccxt calls."""

    def __init__(self, limits: Limits, counters: Counter[str]) -> None:
        self.headers: dict[str, str] = {}
        self._limits = limits
        self._counters = counters
        self._clients: dict[tuple[Lane, str], HttpClient] = {}

    def get(self, url: object, **options: Any) -> Any:
        return self._exchange("GET", str(url), options)

    def post(self, url: object, **options: Any) -> Any:
        return self._exchange("POST", str(url), options)

    def put(self, url: object, **options: Any) -> Any:
        return self._exchange("PUT", str(url), options)

    def patch(self, url: object, **options: Any) -> Any:
        return self._exchange("PATCH", str(url), options)

    def delete(self, url: object, **options: Any) -> Any:
        return self._exchange("DELETE", str(url), options)

    @asynccontextmanager
    async def _exchange(self, method: str, url: str, options: Mapping[str, Any]) -> AsyncIterator[_Response]:
        """One request once. The timeout and the proxy ccxt names are not used: ours stand in the settings."""
        call = _CALL.get()
        match = _ORIGIN.match(url)
        if match is None:
            raise _Broken(NotSent(f"ccxt made the address {url[:100]!r}", Reason.BAD_REQUEST))
        client = self._client(call.lane, match[0])
        call.requests += 1
        call.sent_ns = time.time_ns()
        outcome = await client.request(
            method, url[match.end() :], headers=options.get("headers"), body=options.get("data")
        )
        call.answered_ns = time.time_ns()
        if isinstance(outcome, HttpFailure):
            raise _Broken(_failure_of(outcome))
        if call.tap is not None and call.tap(call.lane.value):
            raise _Broken(NoAnswer("RESET: the answer was thrown away"))
        call.first_byte_ns = outcome.first_byte_ns
        yield _Response(outcome)

    def _client(self, lane: Lane, origin: str) -> HttpClient:
        client = self._clients.get((lane, origin))
        if client is None:
            client = self._clients[lane, origin] = HttpClient(
                origin,
                total_timeout_s=self._limits.request_ms / 1000,
                connect_timeout_s=self._limits.connect_ms / 1000,
                connections=self._limits.connections[lane],
                counters=self._counters,
            )
        return client

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    async def drop(self) -> None:
        for client in self._clients.values():
            await client.drop()

    def renew(self) -> None:
        for client in self._clients.values():
            client.renew()


def _failure_of(failure: HttpFailure) -> Failure:
    if failure.kind is FailureKind.NOT_SENT:
        return NotSent(failure.text)
    return NoAnswer(failure.kind.value)  # its text may hold the address with the signature


class CcxtClient:
    """An exchange with the credentials of one wallet, or with none for what is public."""

    def __init__(
        self, row: CcxtVenue, limits: Limits, *, credentials: ApiCredentials | None = None, counters: Counter[str]
    ) -> None:
        """Raises ConfigError for an exchange that is not spoken. Nothing is imported or asked yet."""
        self.venue = row.name
        self.dialect: Dialect = dialect_of(row.exchange)
        self.listing = Listing({}, {})
        self.tap: Tap | None = None
        self.difference_ms = 0
        self._row = row
        self._limits = limits
        self._credentials = credentials
        self._session = _Session(limits, counters)
        self._exchange: Any = None
        self._ccxt_error: type[Exception] = Exception

    def __repr__(self) -> str:
        return f"CcxtClient({self.venue})"

    async def open(self) -> None:
        """Import ccxt and make its client; no request. Raises ConfigError when ccxt does not have the exchange."""
        if self._exchange is not None:
            return
        module = await asyncio.to_thread(importlib.import_module, _MODULE)
        logging.getLogger("ccxt").setLevel(logging.WARNING)  # below that it writes whole requests, with their keys
        base = getattr(module, self._row.exchange, None)
        if base is None:
            raise ConfigError("ccxt.exchange", f"this version of ccxt has no {self._row.exchange!r}")
        self._ccxt_error = module.BaseError
        self._exchange = _exact(base)(self._configuration())
        if self._row.url:
            self._exchange.urls["api"] = _moved(self._exchange.urls["api"], self._row.url)

    def _configuration(self) -> dict[str, object]:
        window = min(self._limits.request_ms, RECV_WINDOW_MAX_MS)
        found: dict[str, object] = {
            "session": self._session,
            "enableRateLimit": False,
            "aiohttp_trust_env": False,
            "options": {**self.dialect.options, self.dialect.recv_window: window, "maxRetriesOnFailure": 0},
        }
        if self._credentials is not None:
            found |= {"apiKey": self._credentials.api_key, "secret": self._credentials.secret}
        return found

    async def close(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.timeout_on_exit = 0
            await exchange.close()
        await self._session.close()

    async def drop(self) -> None:
        """Cut every connection; the next request opens its own."""
        await self._session.drop()

    def renew(self) -> None:
        """Fresh connections from here on."""
        self._session.renew()

    # --- calls ---

    async def ask(self, lane: Lane, method: str, *arguments: object) -> Answer:
        """Call one unified method of ccxt. Instruments must have been loaded: ccxt would ask for them otherwise."""
        asked_ns = time.time_ns()
        if self._exchange is None or not self.listing.markets:
            return Answer(None, None, self.not_loaded(), asked_ns)
        return await self._ask(lane, method, *arguments, tap=self.tap)

    def not_loaded(self) -> NotSent:
        return NotSent(f"the instruments of {self.venue} are not known yet")

    async def _ask(self, lane: Lane, method: str, *arguments: object, tap: Tap | None = None) -> Answer:
        call = _Call(lane, tap)
        asked_ns = time.time_ns()
        token = _CALL.set(call)
        value: Any = None
        failure: Failure | None = None
        try:
            value = await getattr(self._exchange, method)(*arguments)
        except _Broken as broken:
            failure = broken.failure
        except self._ccxt_error as error:
            failure = _failure_in(call, error)
        except _UNREADABLE as error:
            if not call.requests:
                raise  # not the venue's doing
            failure = NoAnswer(f"the answer cannot be read ({type(error).__name__})")
        finally:
            _CALL.reset(token)
        return Answer(value, call.raw, failure, asked_ns, call.sent_ns, call.first_byte_ns, call.answered_ns)

    def judge(self, failure: Failure) -> Verdict:
        return judge(failure, self.dialect.errors)

    # --- what every side needs ---

    async def load(self, symbols: Sequence[str]) -> Failure | None:
        """Ask for the instruments and read the configured ones into `listing`; a failure leaves it as it was."""
        answer = await self._ask(Lane.QUERY, "load_markets", True, self.dialect.only(symbols))
        if answer.failure is not None and self.judge(answer.failure).code in _WRONG_WORD:
            # One word the venue does not know refuses the whole question: ask for everything it has.
            answer = await self._ask(Lane.QUERY, "load_markets", True)
        if answer.failure is not None:
            return answer.failure
        self.listing = list_markets(self.venue, symbols, answer.value)
        return None

    async def clock(self, lane: Lane = Lane.QUERY) -> tuple[Answer, int]:
        """Ask for the venue's time, in nanoseconds, and count requests by its clock from then on."""
        answer = await self._ask(lane, "fetch_time")
        if answer.failure is None and not isinstance(answer.value, int):
            answer = answer._replace(failure=NoAnswer("the answer holds no time"))
        if answer.failure is not None:
            return answer, 0
        middle_ms = (answer.sent_ns + answer.answered_ns) // 2_000_000
        self.count_by(middle_ms - answer.value)
        return answer, answer.value * 1_000_000

    def count_by(self, difference_ms: int) -> None:
        """Our clock is so much ahead of the venue's: requests carry the venue's time."""
        self.difference_ms = difference_ms
        if self._exchange is not None:
            self._exchange.options["timeDifference"] = difference_ms


def _failure_in(call: _Call, error: Exception) -> Failure:
    """ccxt raised its own error: over an answer, or without having asked."""
    if call.reply is not None:
        return call.reply
    if not call.requests:
        return NotSent(f"{type(error).__name__}: {error}", Reason.BAD_REQUEST)
    return NoAnswer(type(error).__name__)


def _exact(base: Any) -> Any:
    """The exchange's class with numbers as text and the raw answer kept with the call it belongs to."""

    def handle_errors(self: Any, *answer: Any) -> object:
        code, _reason, _url, _method, headers, body, parsed = answer[:7]
        call = _CALL.get()
        call.reply = Reply(code, headers, body)
        call.raw = parsed
        if parsed is None or not 200 <= code < 300:
            raise _Broken(call.reply)
        return base.handle_errors(self, *answer)

    return type(base.__name__, (base,), {"number": str, "handle_errors": handle_errors})


def _moved(urls: object, to: str) -> object:
    """Every address of the exchange at another host: nothing may leave for the exchange's own by mistake."""
    if isinstance(urls, dict):
        return {name: _moved(value, to) for name, value in urls.items()}
    return _ORIGIN.sub(to, urls) if isinstance(urls, str) else urls
