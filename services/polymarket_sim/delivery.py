"""How an answer leaves, or does not: silence, resets, errors in its place, bodies cut off or called what they are not.

In: the answer of a call that was carried out, and the fault switch. Out: what is sent instead. A call that was refused
is never disturbed here, so each of these leaves the client in doubt about something that did happen.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from aiohttp import web

from services.polymarket_sim.faults import FaultSwitch
from services.polymarket_sim.replies import denial
from services.polymarket_sim.rest_faults import PROXY_PAGE, late_error

SILENCE_S: Final = 120.0
"""How long a request without an answer stays open."""
_LINGER_NOT: Final = struct.pack("ii", 1, 0)


class AnswerLost(Exception):
    """The call was carried out; its answer never leaves."""


class AnswerReset(ConnectionResetError):
    """The call was carried out; its connection was reset before an answer."""


async def silence() -> None:
    """What a client hears for an answer that was lost: nothing, until it gives up."""
    await asyncio.sleep(SILENCE_S)


async def deliver(
    request: web.Request, answer: web.StreamResponse, faults: FaultSwitch, endpoint: str
) -> web.StreamResponse:
    """The answer as it leaves. Raises AnswerLost or AnswerReset when none does."""
    if faults.use_at("post_order_timeout", endpoint) is not None:
        raise AnswerLost
    if faults.use_at("post_order_reset", endpoint) is not None:
        reset(request)
        raise AnswerReset
    values = faults.use_at("error_after_accept", endpoint)
    if values is not None:
        return denial(late_error(str(values["kind"])))
    if not isinstance(answer, web.Response):
        return answer
    values = faults.use_at("truncated_body", endpoint)
    if values is not None:
        return await _cut_off(request, answer, str(values["kind"]), int(values["keep"]))
    values = faults.use_at("wrong_content_type", endpoint)
    if values is not None:
        return _misnamed(answer, str(values["kind"]))
    return answer


def reset(request: web.Request) -> None:
    """End the connection with a TCP reset: not even a goodbye of the protocol below."""
    transport = request.transport
    if transport is None:
        return
    tcp = transport.get_extra_info("socket")
    if tcp is not None:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


async def _cut_off(request: web.Request, answer: web.Response, kind: str, keep: int) -> web.StreamResponse:
    body = _body(answer)
    kept = body[: max(0, min(keep, len(body) - 1))]
    if kind == "json":
        return web.Response(body=kept, status=answer.status, content_type=answer.content_type)
    cut = web.StreamResponse(status=answer.status)
    cut.content_type = answer.content_type
    cut.content_length = len(body)
    cut.force_close()
    await cut.prepare(request)
    await cut.write(kept)
    return cut


def _misnamed(answer: web.Response, kind: str) -> web.Response:
    if kind == "json_as_html":
        return web.Response(body=_body(answer), status=answer.status, content_type="text/html")
    return web.Response(text=PROXY_PAGE, status=answer.status, content_type="application/json")


def _body(answer: web.Response) -> bytes:
    body = answer.body
    return bytes(body) if isinstance(body, bytes | bytearray) else b""
