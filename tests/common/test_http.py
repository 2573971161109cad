"""The HTTP client against real servers on loopback: every way not to get an answer, and never a second request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from common.errors import ConfigError
from common.http import FailureKind, HttpClient, HttpFailure, HttpReply, checked_base_url

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(script: Script) -> AsyncIterator[str]:
    """A TCP server that does exactly what the script does to each connection."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await script(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client(url: str, total_s: float = 5.0, body_max: int = 1 << 20) -> AsyncIterator[HttpClient]:
    http = HttpClient(url, total_timeout_s=total_s, connect_timeout_s=2.0, connections=8, body_max=body_max)
    try:
        yield http
    finally:
        await http.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            head += await reader.readexactly(int(line.split(b":")[1]))
    return head


def answer(body: bytes, status: str = "200 OK", content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def test_an_answer_carries_status_headers_and_body_and_the_request_is_exact() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(answer(b'{"ok":1}'))

    async with raw_server(script) as url, client(url + "/gamma") as http:
        reply = await http.request("POST", "/order", query=[("a", "b c")], headers={"POLY_X": "1"}, body=b'{"x":1}')
    assert isinstance(reply, HttpReply)
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b'{"ok":1}', "application/json")
    assert seen[0].startswith(b"POST /gamma/order?a=b+c HTTP/1.1\r\n")
    assert b"\r\nPOLY_X: 1\r\n" in seen[0]
    assert seen[0].endswith(b'\r\n\r\n{"x":1}')


async def test_an_html_error_page_is_an_answer_like_any_other() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer(b"<html>bad gateway</html>", "502 Bad Gateway", "text/html"))

    async with raw_server(script) as url, client(url) as http:
        reply = await http.request("GET", "/time")
    assert isinstance(reply, HttpReply)
    assert (reply.status, reply.body) == (502, b"<html>bad gateway</html>")


async def test_a_silent_server_is_a_timeout() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await read_request(reader)

    async with raw_server(script) as url, client(url, total_s=0.1) as http:
        outcome = await http.request("POST", "/order", body=b"{}")
    assert isinstance(outcome, HttpFailure)
    assert outcome.kind is FailureKind.TIMEOUT
    assert http.counters["http_timeout"] == 1


async def test_a_refused_connection_proves_that_nothing_was_sent() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with client(f"http://127.0.0.1:{port}") as http:
        outcome = await http.request("POST", "/order", body=b"{}")
    assert isinstance(outcome, HttpFailure)
    assert outcome.kind is FailureKind.NOT_SENT


async def test_a_connection_cut_after_the_request_is_a_reset() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.transport.abort()

    async with raw_server(script) as url, client(url) as http:
        outcome = await http.request("POST", "/order", body=b"{}")
    assert isinstance(outcome, HttpFailure)
    assert outcome.kind is FailureKind.RESET


async def test_a_body_cut_short_is_unreadable() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with raw_server(script) as url, client(url) as http:
        outcome = await http.request("POST", "/order", body=b"{}")
    assert isinstance(outcome, HttpFailure)
    assert outcome.kind is FailureKind.UNREADABLE


async def test_an_answer_that_is_not_http_is_unreadable() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    async with raw_server(script) as url, client(url) as http:
        outcome = await http.request("GET", "/time")
    assert isinstance(outcome, HttpFailure)
    assert outcome.kind is FailureKind.UNREADABLE


async def test_a_body_above_the_limit_is_refused() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer(b"x" * 5000))

    async with raw_server(script) as url, client(url, body_max=4999) as http:
        outcome = await http.request("GET", "/book")
    assert isinstance(outcome, HttpFailure)
    assert outcome.kind is FailureKind.TOO_LARGE


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_dropped_keep_alive_connection_is_not_asked_again(method: str) -> None:
    """aiohttp would send GET and DELETE a second time by itself; the server must count each request once."""
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        if len(seen) == 1:
            writer.write(answer(b"1"))
            seen.append(await read_request(reader))
        writer.transport.abort()

    async with raw_server(script) as url, client(url) as http:
        first = await http.request("GET", "/time")
        second = await http.request(method, "/order", body=b"{}" if method != "GET" else None)
    assert isinstance(first, HttpReply)
    assert isinstance(second, HttpFailure)
    assert second.kind is FailureKind.RESET
    assert len(seen) == 2


async def test_connections_are_kept_alive() -> None:
    connections: set[object] = set()

    async def handle(request: web.Request) -> web.Response:
        connections.add(request.transport)
        return web.json_response(1)

    app = web.Application()
    app.router.add_get("/time", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with client(f"http://127.0.0.1:{port}") as http:
        for _ in range(3):
            assert isinstance(await http.request("GET", "/time"), HttpReply)
    await runner.cleanup()
    assert len(connections) == 1


async def test_renewed_connections_are_others_and_what_was_under_way_still_ends() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    connections: list[asyncio.StreamWriter] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        while await read_request(reader):
            if len(connections) == 1:
                asked.set()
                await go_on.wait()
            writer.write(answer(b"1"))

    async with raw_server(script) as url, client(url) as http:
        slow = asyncio.ensure_future(http.request("GET", "/slow"))
        await asyncio.wait_for(asked.wait(), 5)
        http.renew()
        assert isinstance(await http.request("GET", "/new"), HttpReply)
        go_on.set()
        assert isinstance(await slow, HttpReply)
        assert len(connections) == 2


async def test_dropped_connections_end_what_was_under_way_as_reset() -> None:
    asked = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) and b"/slow" not in request:
            writer.write(answer(b"1"))
        asked.set()

    async with raw_server(script) as url, client(url) as http:
        slow = asyncio.ensure_future(http.request("POST", "/slow", body=b"{}"))
        await asyncio.wait_for(asked.wait(), 5)
        await http.drop()
        cut = await slow
        assert isinstance(cut, HttpFailure)
        assert cut.kind is FailureKind.RESET
        assert isinstance(await http.request("GET", "/new"), HttpReply)


async def test_redirects_are_not_followed() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(script) as url, client(url) as http:
        reply = await http.request("POST", "/order", body=b"{}")
    assert isinstance(reply, HttpReply)
    assert (reply.status, len(seen)) == (307, 1)


@pytest.mark.parametrize("url", ["http://example.org", "ftp://127.0.0.1", "127.0.0.1:80"])
def test_urls_without_tls_off_loopback_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        checked_base_url(url)
