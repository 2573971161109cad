"""The Gamma endpoints under /gamma and the Data endpoints under /data (protocol section 8), as HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from aiohttp import web

from common.venues.polymarket.wire import encode_cursor
from services.polymarket_sim import data_api, gamma
from services.polymarket_sim.books import BookReplica
from services.polymarket_sim.data_api import Holding, Leg
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.gamma import Query
from services.polymarket_sim.replies import Handler, query_lists, reply
from services.polymarket_sim.translate import shown_address
from services.polymarket_sim.venue import NOT_READY, Venue
from services.polymarket_sim.wallets import account_of

View = Callable[[BookReplica], dict[str, object]]
RowT = TypeVar("RowT")
SEARCH_PAGE: Final = 5


class Discovery:
    """Handlers; `routes` lists them."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue

    def routes(self) -> list[web.RouteDef]:
        routes: list[web.RouteDef] = []
        kinds: tuple[tuple[str, View], ...] = (("markets", gamma.market_object), ("events", gamma.event_object))
        for kind, view in kinds:
            routes += [
                web.get(f"/gamma/{kind}", self._bare(view)),
                web.get(f"/gamma/{kind}/keyset", self._keyset(kind, view)),
                web.get(f"/gamma/{kind}/slug/{{slug}}", self._one(view)),
                web.get(f"/gamma/{kind}/{{id}}", self._one(view)),
            ]
        return [
            *routes,
            web.get("/gamma/public-search", self.search),
            web.get("/data/positions", self.positions_v1),
            web.get("/data/value", self.value_v1),
            web.get("/data/v1/positions", self.positions_v1),
            web.get("/data/v1/value", self.value_v1),
            web.get("/data/v1/trades", self.trades_v1),
            web.get("/data/v2/positions", self.positions_v2),
            web.get("/data/v2/value", self.value_v2),
            web.get("/data/v2/trades", self.trades_v2),
        ]

    # ---- Gamma ----

    def _bare(self, view: View) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            query = query_lists(request)
            return reply([view(row) for row in gamma.offset_page(gamma.listed(self._replicas(), query), query)])

        return handler

    def _keyset(self, kind: str, view: View) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            query = query_lists(request)
            rows, cursor = gamma.keyset_page(gamma.listed(self._replicas(), query), query)
            page: dict[str, object] = {kind: [view(row) for row in rows]}
            if cursor is not None:
                page["next_cursor"] = cursor
            return reply(page)

        return handler

    def _one(self, view: View) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            slug, market_id = request.match_info.get("slug", ""), request.match_info.get("id", "")
            return reply(view(gamma.found_by(self._replicas(), slug=slug, market_id=market_id)))

        return handler

    async def search(self, request: web.Request) -> web.Response:
        query = query_lists(request)
        found = gamma.searched(self._replicas(), request.query.get("q", ""))
        size = min(max(_whole(query, "limit_per_type", SEARCH_PAGE), 1), gamma.PAGE_MAX)
        start = (max(_whole(query, "page", 1), 1) - 1) * size
        rows = [gamma.event_object(row) for row in found[start : start + size]]
        pagination = {"hasMore": start + size < len(found), "totalResults": len(found)}
        return reply({"events": rows, "tags": [], "profiles": [], "pagination": pagination})

    def _replicas(self) -> list[BookReplica]:
        if not self.venue.ready:
            raise Denied(503, NOT_READY)
        return list(self.venue.books.by_condition.values())

    # ---- Data ----

    async def positions_v1(self, request: web.Request) -> web.Response:
        query = query_lists(request)
        user = _user(query)
        rows = [row for row in await self._positions(user, query.get("market", [])) if row.size]
        return reply([data_api.position_v1(row, user, self.venue.books.token) for row in _slice(rows, query)])

    async def positions_v2(self, request: web.Request) -> web.Response:
        query = query_lists(request)
        user, status = _user(query), (query.get("status") or [""])[0]
        rows = await self._positions(user, query.get("condition_id", []))
        if status in ("OPEN", "CLOSED"):
            rows = [row for row in rows if bool(row.size) is (status == "OPEN")]
        return reply(_enveloped(rows, query, lambda row: data_api.position_v2(row, user, self.venue.books.token)))

    async def value_v1(self, request: web.Request) -> web.Response:
        query = query_lists(request)
        user = _user(query)
        held = await self._positions(user, query.get("market", []))
        return reply([{"user": user, "value": data_api.total_value(held, self.venue.books.token)}])

    async def value_v2(self, request: web.Request) -> web.Response:
        query = query_lists(request)
        user = _user(query)
        held = await self._positions(user, query.get("condition_id", []))
        value = data_api.total_value(held, self.venue.books.token)
        return reply({"data": {"proxy_wallet": shown_address(user), "value": value}})

    async def trades_v1(self, request: web.Request) -> web.Response:
        query = query_lists(request)
        user = _user(query)
        legs = await self._trades(user, query, query.get("market", []), default_taker_only=True)
        return reply([data_api.trade_v1(leg, user, self.venue.books.token) for leg in _slice(legs, query)])

    async def trades_v2(self, request: web.Request) -> web.Response:
        query = query_lists(request)
        user = _user(query)
        legs = await self._trades(user, query, query.get("condition_id", []), default_taker_only=False)
        return reply(_enveloped(legs, query, lambda leg: data_api.trade_v2(leg, user, self.venue.books.token)))

    async def _positions(self, user: str, conditions: list[str]) -> list[Holding]:
        report = await self.venue.balances(user)
        trades = await self.venue.all_trades(user)
        legs = data_api.legs_of(reversed(trades), user)
        return [row for row in data_api.holdings(report.tokens, legs) if self._is_wanted(row.token_id, conditions)]

    async def _trades(self, user: str, query: Query, conditions: list[str], *, default_taker_only: bool) -> list[Leg]:
        legs = data_api.on_chain(data_api.legs_of(await self.venue.all_trades(user), user))
        words = query.get("takerOnly") or query.get("taker_only") or [str(default_taker_only)]
        taker_only = words[0].lower() == "true"
        sides = query.get("side") or ["BUY", "SELL"]
        return [
            leg
            for leg in legs
            if (leg.is_taker or not taker_only)
            and leg.side.value in sides
            and (not conditions or leg.trade.condition_id in conditions)
        ]

    def _is_wanted(self, token_id: str, conditions: list[str]) -> bool:
        found = self.venue.books.token(token_id)
        return not conditions or (found is not None and found[0].market.condition_id in conditions)


def _user(query: Query) -> str:
    """The account of the wallet (not the signer) that is asked about."""
    values = query.get("user")
    if not values or not values[0]:
        raise Denied(400, "required query param 'user' not provided")
    return account_of(values[0])


def _slice(rows: Sequence[RowT], query: Query) -> Sequence[RowT]:
    start = _whole(query, "offset", 0)
    return rows[start : start + _limit(query)]


def _enveloped(rows: Sequence[RowT], query: Query, view: Callable[[RowT], object]) -> dict[str, object]:
    """A page of version 2: `has_more` is true exactly when there is a cursor."""
    start = gamma.cursor_offset((query.get("cursor") or [""])[0])
    end = start + _limit(query)
    cursor = encode_cursor(end) if end < len(rows) else None
    pagination = {"has_more": cursor is not None, "next_cursor": cursor}
    return {"data": [view(row) for row in rows[start:end]], "pagination": pagination}


def _limit(query: Query) -> int:
    return min(max(_whole(query, "limit", data_api.PAGE_DEFAULT), 1), data_api.PAGE_MAX)


def _whole(query: Query, name: str, default: int) -> int:
    text = (query.get(name) or [""])[0]
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise Denied(400, f"{name} is not a whole number")
    return int(text)
