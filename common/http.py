"""Outbound HTTP: one request, one attempt, one typed outcome. The shell around aiohttp's client.

In: method, path, headers and exact body bytes. Out: status, headers and body of the answer, or why there is none.
A request is never sent twice (aiohttp's own resend after a dropped keep-alive connection is off), redirects are not
followed, cookies and proxies of the environment are ignored, and off loopback only TLS is spoken.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from common.errors import ConfigError
from common.settings import is_loopback

BODY_MAX = 16 << 20
KEEP_ALIVE_S = 30.0
USER_AGENT = "polyexec"
_CHUNK = 1 << 16
URLS_MAX = 256


class FailureKind(StrEnum):
    """Why there is no answer. Only NOT_SENT proves that the server did not get the request."""

    NOT_SENT = "NOT_SENT"
    TIMEOUT = "TIMEOUT"
    RESET = "RESET"
    UNREADABLE = "UNREADABLE"
    TOO_LARGE = "TOO_LARGE"


class HttpReply(NamedTuple):
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    first_byte_ns: int = 0
    """When the head of the answer was there, wall clock."""


class HttpFailure(NamedTuple):
    """No answer that can be used."""

    kind: FailureKind
    text: str


Pairs = Sequence[tuple[str, str]]


class HttpClient:
    """A pool of kept-alive connections to one server. Concurrency beyond `connections` is the caller's to limit."""

    def __init__(
        self,
        base_url: str,
        *,
        total_timeout_s: float,
        connect_timeout_s: float,
        connections: int,
        body_max: int = BODY_MAX,
        counters: Counter[str] | None = None,
    ) -> None:
        self.base_url = checked_base_url(base_url)
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._body_max = body_max
        self._connections = connections
        # No `connect` limit beside `sock_connect`: it would arm a timer for every request, also on an open connection.
        self._timeout = aiohttp.ClientTimeout(
            total=total_timeout_s, sock_connect=connect_timeout_s, ceil_threshold=3600
        )
        self._session = self._opened()
        self._urls: dict[str, URL] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def _opened(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEP_ALIVE_S),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
            trust_env=False,
        )
        # aiohttp sends GET, PUT and DELETE again by itself when a kept-alive connection turns out to be closed. What
        # is sent again is the caller's decision; there is no public switch (a test counts what the server receives).
        session._retry_connection = False
        return session

    def renew(self) -> None:
        """New connections from here on; those in use end with their request, at most its timeout from now."""
        old, self._session = self._session, self._opened()
        task = asyncio.ensure_future(self._retire(old))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, session: aiohttp.ClientSession) -> None:
        try:
            await asyncio.sleep(self._timeout.total or 0)
        finally:
            await session.close()

    async def drop(self) -> None:
        """Cut every connection now; requests on them end as RESET."""
        old, self._session = self._session, self._opened()
        await old.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Pairs = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HttpReply | HttpFailure:
        """Send one request once. A body is JSON unless `headers` say otherwise."""
        self.counters["http_requests"] += 1
        url = self._url(path)  # a path may bring its query: a signature covers its exact text
        if query:
            url = url.with_query(list(query))
        if body is not None and (headers is None or "Content-Type" not in headers):
            headers = {**(headers or {}), "Content-Type": "application/json"}
        try:
            answer = await self._session.request(method, url, headers=headers, data=body, allow_redirects=False)
            try:
                first_byte_ns = time.time_ns()
                content = await self._read(answer)
            finally:
                answer.release()
        except (aiohttp.ClientError, OSError) as error:
            failure = _failure_of(error)
        else:
            if content is not None:
                return HttpReply(answer.status, answer.headers, content, first_byte_ns)
            failure = HttpFailure(FailureKind.TOO_LARGE, f"the answer is above {self._body_max} bytes")
        self.counters[f"http_{failure.kind.value.lower()}"] += 1
        return failure

    async def close(self) -> None:
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self._session.close()

    def _url(self, path: str) -> URL:
        """Paths are few, except those with an id in them."""
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= URLS_MAX:
                self._urls.clear()
            url = self._urls[path] = URL(self.base_url + path, encoded=True)
        return url

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes | None:
        """The whole body, or None when it is larger than allowed (the connection is closed then)."""
        if answer.content_length is not None and answer.content_length <= self._body_max:
            return await answer.read()
        parts: list[bytes] = []
        size = 0
        async for chunk in answer.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > self._body_max:
                answer.close()
                return None
            parts.append(chunk)
        return b"".join(parts)


def checked_base_url(url: str) -> str:
    """The URL without a trailing slash. Raises ConfigError for plain HTTP to another machine."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(url, "is not an http(s) URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(url, "is off loopback without TLS: use https://")
    return url.rstrip("/")


def _failure_of(error: BaseException) -> HttpFailure:
    """Why there is no answer; only a connection that never stood proves that nothing was sent."""
    match error:
        case aiohttp.ClientConnectorError() | aiohttp.ClientConnectorCertificateError():
            return HttpFailure(FailureKind.NOT_SENT, _text(error))
        case aiohttp.ConnectionTimeoutError():
            return HttpFailure(FailureKind.NOT_SENT, "no connection within the connect timeout")
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return HttpFailure(FailureKind.UNREADABLE, _text(error))
        case TimeoutError():
            return HttpFailure(FailureKind.TIMEOUT, "no answer within the request timeout")
    return HttpFailure(FailureKind.RESET, _text(error))


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
