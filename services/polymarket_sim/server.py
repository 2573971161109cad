"""The HTTP and WebSocket server of the venue: its routes behind one front (front.py).

In: a Venue and the two hubs. Out: an aiohttp application, and listening sockets that say which setting to change when
a port is taken.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from common.errors import ConfigError
from common.settings import is_loopback
from services.polymarket_sim.channels import MarketHub, UserHub
from services.polymarket_sim.discovery import Discovery
from services.polymarket_sim.front import Front
from services.polymarket_sim.private import PrivateApi
from services.polymarket_sim.public import PublicApi
from services.polymarket_sim.replies import Handler
from services.polymarket_sim.venue import Venue

BODY_MAX: Final = 1_000_000
SHUTDOWN_S: Final = 1.0


def make_app(
    venue: Venue,
    market: MarketHub,
    user: UserHub,
    *,
    counters: Counter[str],
    protocol_version: int,
    fail: Callable[[BaseException], None],
) -> web.Application:
    app = web.Application(client_max_size=BODY_MAX, middlewares=[_around(Front(venue, counters, fail))])
    discovery = Discovery(venue)
    app.add_routes(PublicApi(venue, protocol_version).routes())
    app.add_routes(PrivateApi(venue, user.cut_key, discovery.trades_v1).routes())
    app.add_routes(discovery.routes())
    app.add_routes([web.get("/ws/market", market.handle), web.get("/ws/user", user.handle)])
    return app


def _around(front: Front) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await front.handle(request, handler)

    return middleware


async def listen(app: web.Application, host: str, port: int, setting: str) -> web.AppRunner:
    """Serve on (host, port); `setting` is named when that cannot be. Raises ConfigError."""
    if not is_loopback(host):
        raise ConfigError("polymarket_sim.host", f"{host!r} is not a loopback address: the simulator has no TLS")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(setting, f"port {port} is taken: stop what listens there or choose another") from None
        raise ConfigError(setting, f"cannot listen on {host}:{port} ({error.strerror})") from None
    return runner
