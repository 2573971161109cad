"""The polymarket_sim process: a Polymarket-compatible venue over the exchange."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial

from common.edge import Edge
from common.messages import Message
from common.secrets import read_secret
from common.service import run_edge
from common.telemetry import READY, STARTING
from services.polymarket_sim.channels import MarketHub, UserHub
from services.polymarket_sim.control import Control
from services.polymarket_sim.keys import SECRET_FILE, parse_server_secret
from services.polymarket_sim.playback import PlaybackApi
from services.polymarket_sim.registry import FILE, KeyRegistry
from services.polymarket_sim.server import listen, make_app
from services.polymarket_sim.streams import WAITING, AccountSink, MarketSink
from services.polymarket_sim.venue import Terms, Venue

EXCHANGE = "exchange"
STEP_S = 30.0
"""A step of playback takes as long as the exchange takes for it."""


async def start(edge: Edge) -> Callable[[], Awaitable[None]]:
    settings = edge.settings
    section = settings.polymarket_sim
    secret_file = settings.paths.secrets_dir / SECRET_FILE
    secret = parse_server_secret(read_secret(secret_file, field="key of the simulated venue"), str(secret_file))
    chain_id = settings.polymarket.chain_id
    limits = (section.enforce_limits, section.limits_tier)
    terms = Terms(chain_id, section.accept_v1, section.grant_cash, section.clock_window_s, secret, *limits)
    registry = KeyRegistry(settings.paths.data_dir / FILE)

    async def ask(body: Message) -> Message:
        return await edge.request(EXCHANGE, body, timeout_s=section.request_timeout_ms / 1000)

    venue = Venue(terms, registry, ask, time.time_ns, time.monotonic_ns)
    market, user = MarketHub(venue, edge.counters), UserHub(venue, edge.counters)
    version = settings.polymarket.protocol_version
    app = make_app(venue, market, user, counters=edge.counters, protocol_version=version, fail=edge.fail)
    playback = PlaybackApi(venue, partial(edge.request, timeout_s=STEP_S))
    control = Control(venue, market, user, edge.counters, playback).app()
    runners = [
        await listen(app, section.host, section.port, "POLYEXEC_POLYMARKET_SIM__PORT"),
        await listen(control, section.host, section.control_port, "POLYEXEC_POLYMARKET_SIM__CONTROL_PORT"),
    ]

    def on_change() -> None:
        edge.set_state(READY if venue.ready else STARTING, "" if venue.ready else WAITING)

    on_change()
    edge.subscribe(EXCHANGE, "account", AccountSink(venue, user, on_change))
    edge.subscribe(EXCHANGE, "market", MarketSink(venue, market, on_change))
    edge.spawn(venue.watch_heartbeats(), "heartbeats")
    edge.spawn(venue.settle_as_usual(), "settlement")

    async def close() -> None:
        user.cut_all()
        market.cut_all()
        for runner in runners:
            await runner.cleanup()
        registry.close()

    return close


def main() -> int:
    return run_edge("polymarket_sim", start)


if __name__ == "__main__":
    sys.exit(main())
