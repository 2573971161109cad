"""HTTP answers as JSON, errors included, and the query strings the clients really send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from common.venues.polymarket.wire import encode_json
from services.polymarket_sim.denied import Denied

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Compact JSON with its content type, whatever the status: the clients read `error` only from JSON."""
    return web.Response(body=encode_json(value), status=status, content_type="application/json", headers=headers)


def denial(denied: Denied) -> web.Response:
    if denied.page:
        return web.Response(text=denied.page, status=denied.status, content_type="text/html", headers=denied.headers)
    return reply(denied.body, denied.status, denied.headers)


def query_lists(request: web.Request) -> dict[str, list[str]]:
    """Every value given for a name; commas separate values too, as the clients mix both."""
    out: dict[str, list[str]] = {}
    for name, value in request.query.items():
        out.setdefault(name, []).extend(part for part in value.split(",") if part)
    return out
