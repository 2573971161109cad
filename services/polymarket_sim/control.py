"""The control port: what the simulator is doing, its fault switch, and playback, as JSON.

GET /status, GET /requests, GET /faults, POST /faults {"name": …, "on": true, "times": 1, …}, and what playback.py adds.
For people and tests on this machine; no venue client ever calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from aiohttp import web

from common.errors import Refusal
from common.reasons import Reason
from common.venues.polymarket.wire import decode_json
from services.polymarket_sim.account_faults import spender_exists
from services.polymarket_sim.channels import MarketHub, UserHub
from services.polymarket_sim.faults import FAULTS, TOKEN, tokens_in
from services.polymarket_sim.playback import PlaybackApi, refused
from services.polymarket_sim.replies import reply
from services.polymarket_sim.rest_fault_table import MODES
from services.polymarket_sim.venue import Venue


class Control:
    def __init__(
        self, venue: Venue, market: MarketHub, user: UserHub, counters: Counter[str], playback: PlaybackApi
    ) -> None:
        self.venue = venue
        self.market = market
        self.user = user
        self.counters = counters
        self.playback = playback

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/status", self.status),
                web.get("/requests", self.requests),
                web.get("/faults", self.faults),
                web.post("/faults", self.switch),
                *self.playback.routes(),
            ]
        )
        return app

    async def status(self, _request: web.Request) -> web.Response:
        phase = self.venue.phase()
        return reply(
            {
                "ready": self.venue.ready,
                "mode": phase.to_wire(self.venue.mono_ns()),
                "markets": len(self.venue.books.by_condition),
                "market_connections": len(self.market.connections),
                "user_connections": len(self.user.connections),
                "faults": [row["name"] for row in self.venue.faults.to_wire() if row["on"]],
                "struck": {name: self.venue.faults.struck[name] for name in FAULTS},
                "counters": dict(self.counters),
                "limits": {"enforce": self.venue.quotas.enforce, "tier": self.venue.quotas.tier},
                **self.venue.log.to_wire(),
            }
        )

    async def requests(self, request: web.Request) -> web.Response:
        """The order calls that arrived after number `after`."""
        text = request.query.get("after", "0")
        if not text.isdecimal() or len(text) > 18:
            return refused(Refusal(Reason.BAD_NUMBER, "after is the number of a call", "after"))
        log = self.venue.log
        rows = [call.to_wire() for call in log.after(int(text))]
        return reply({"first": log.first, "last": log.last, "requests": rows})

    async def faults(self, _request: web.Request) -> web.Response:
        self.venue.phase()
        return reply(self.venue.faults.to_wire())

    async def switch(self, request: web.Request) -> web.Response:
        try:
            body = decode_json(await request.read())
            if not isinstance(body, Mapping):
                raise Refusal(Reason.BAD_REQUEST, "expected a JSON object")
            name, on = body.get("name"), body.get("on")
            if not isinstance(name, str) or not isinstance(on, bool):
                field = "on" if isinstance(name, str) else "name"
                raise Refusal(Reason.BAD_REQUEST, 'write {"name": "…", "on": true}', field)
            parameters = {key: value for key, value in body.items() if key not in ("name", "on")}
            self._check_tokens(parameters.get(TOKEN))
            self._check_spender(parameters.get("spender", "all"))
            self.venue.faults.set(name, on, parameters, self.market.last_connection)
            self._begin(name)
            if name == "settlement":
                await self.venue.plan_settlement()
        except Refusal as refusal:
            return refused(refusal)
        except TimeoutError:
            self.venue.faults.set("settlement", False, {})
            return refused(Refusal(Reason.VENUE_UNAVAILABLE, "the exchange did not answer: try again"), 503)
        return reply(self.venue.faults.to_wire())

    def _check_tokens(self, value: object) -> None:
        """A misspelt token would be a fault that never strikes."""
        unknown = [token_id for token_id in tokens_in(value) if self.venue.books.token(token_id) is None]
        if unknown:
            raise Refusal(
                Reason.UNKNOWN_MARKET, f"no token {unknown[0][:80]!r} here: `polyexec markets` lists them", TOKEN
            )

    def _check_spender(self, value: object) -> None:
        if not isinstance(value, str) or not spender_exists(value, self.venue.terms.chain_id):
            raise Refusal(Reason.BAD_REQUEST, 'no such spender: its address, its number, or "all"', "spender")

    def _begin(self, name: str) -> None:
        """What a fault does at the moment it is switched."""
        faults = self.venue.faults
        if name == "cut_market_connections" and faults.use(name) is not None:
            self.counters["market_connections_cut"] += len(self.market.connections)
            self.market.cut_all()
            faults.set(name, False, {})
        elif name == "cut_user_connections" and faults.use(name) is not None:
            self.user.cut_all()
            faults.set(name, False, {})
        elif name == "stale_books":
            self.venue.stale_books = self.venue.books.all_books() if faults.is_on(name) else {}
        elif name in MODES:
            self.venue.switch_mode(name)
        elif name == "rate_limits":
            self.venue.switch_limits()
