"""Public reads of the CLOB (protocol sections 4.1 to 4.3): books, prices, markets, time. Answers from replicas only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from aiohttp import web

from common.errors import Refusal
from common.fixed import format_micros
from common.types import Side
from common.venues.polymarket.wire import BookObject, decode_cursor, decode_json, number, page_to_wire
from services.polymarket_sim import catalog
from services.polymarket_sim.books import BookReplica
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.replies import Handler, reply
from services.polymarket_sim.rest_faults import PROXY_PAGE
from services.polymarket_sim.venue import NOT_READY, Venue

TOKENS_MAX: Final = 500
MARKETS_PAGE: Final = 1000
TOO_MANY: Final = 429
BAD_GATEWAY: Final = 502
BOOK_ERRORS: Final = {
    429: "Too Many Requests",
    500: "Internal server error",
    502: "Bad gateway",
    503: "Service unavailable",
}
NO_BOOK: Final = "No orderbook exists for the requested token id"
NO_MARKET: Final = "market not found"
BAD_TOKEN: Final = "Invalid token id"
INTERVALS_S: Final = {"1m": 2_592_000, "1w": 604_800, "1d": 86_400, "6h": 21_600, "1h": 3_600}

HOME: Final = "IE"
"""Where clients are seen unless a fault says otherwise."""

Row = tuple[BookReplica, int]


class PublicApi:
    """Handlers; `routes` lists them."""

    def __init__(self, venue: Venue, protocol_version: int) -> None:
        self.venue = venue
        self.protocol_version = protocol_version

    def routes(self) -> list[web.RouteDef]:
        one: dict[str, Callable[[Row], object]] = {
            "tick-size": lambda row: {"minimum_tick_size": number(row[0].market.tick)},
            "neg-risk": lambda row: {"neg_risk": row[0].market.neg_risk},
            "fee-rate": lambda row: {"base_fee": catalog.base_fee(row[0])},
            "midpoint": _midpoint,
            "spread": _spread,
            "last-trade-price": _last_trade,
        }
        routes = [web.get(f"/{name}", self._of_token(view)) for name, view in one.items()]
        routes += [
            web.get(f"/{name}/{{token}}", self._of_token(one[name])) for name in ("tick-size", "neg-risk", "fee-rate")
        ]
        for name, view in (
            ("markets", catalog.full_market),
            ("sampling-markets", catalog.full_market),
            ("simplified-markets", catalog.simplified_market),
            ("sampling-simplified-markets", catalog.simplified_market),
        ):
            routes.append(web.get(f"/{name}", self._market_page(view)))
        return [
            *routes,
            web.get("/", self.ok),
            web.get("/ok", self.ok),
            web.get("/time", self.time),
            web.get("/api/geoblock", self.geoblock),
            web.get("/version", self.version),
            web.get("/price", self.price),
            web.get("/book", self.book),
            web.post("/books", self.books),
            web.post("/prices", self.prices),
            web.post("/midpoints", self.midpoints),
            web.post("/spreads", self.spreads),
            web.post("/last-trades-prices", self.last_trades),
            web.get("/markets/{condition}", self.market),
            web.get("/clob-markets/{condition}", self.compact_market),
            web.get("/markets-by-token/{token}", self.market_by_token),
            web.get("/prices-history", self.history),
        ]

    async def geoblock(self, request: web.Request) -> web.Response:
        """The probe of the website's host: where this client is seen, and whether it may trade from there."""
        values = self.venue.faults.use("geoblocked")
        country, region = (values["country"], values["region"]) if values is not None else (HOME, "")
        return reply({"blocked": values is not None, "ip": request.remote, "country": country, "region": region})

    # ---- one token ----

    def _of_token(self, view: Callable[[Row], object]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            token_id = request.match_info.get("token") or request.query.get("token_id", "")
            return reply(view(self._row(token_id)))

        return handler

    async def book(self, request: web.Request) -> web.Response:
        self._fail_books()
        (book,) = self._books([self._row(request.query.get("token_id", ""))])
        return reply(book.to_wire())

    def _books(self, rows: Iterable[Row]) -> list[BookObject]:
        """The books of one answer, or old ones while the fault `stale_books` is on."""
        stale = {} if self.venue.faults.use("stale_books") is None else self.venue.stale_books
        return [stale.get(replica.market.token_ids[index]) or replica.book(index) for replica, index in rows]

    def _fail_books(self) -> None:
        """Where the fault `book_errors` strikes."""
        values = self.venue.faults.use("book_errors")
        if values is not None:
            status = int(values["status"])
            retry_after = {"Retry-After": str(values["retry_after_s"])} if status == TOO_MANY else {}
            page = PROXY_PAGE if status == BAD_GATEWAY else ""
            raise Denied(status, BOOK_ERRORS[status], headers=retry_after, page=page)

    async def price(self, request: web.Request) -> web.Response:
        replica, index = self._row(request.query.get("token_id", ""))
        price = catalog.quoted_price(replica, index, _side(request.query.get("side", "")))
        if price is None:
            raise Denied(404, NO_BOOK)
        return reply({"price": format_micros(price)})

    async def market_by_token(self, request: web.Request) -> web.Response:
        market = self._row(request.match_info["token"])[0].market
        first, second = market.token_ids
        return reply({"condition_id": market.condition_id, "primary_token_id": first, "secondary_token_id": second})

    async def history(self, request: web.Request) -> web.Response:
        query = request.query
        replica, index = self._row(query.get("market", ""))
        now_s = self.venue.now_s
        start = now_s - INTERVALS_S.get(query.get("interval", ""), now_s)
        start, end = _whole(query.get("startTs", ""), start), _whole(query.get("endTs", ""), now_s)
        step = max(1, _whole(query.get("fidelity", ""), 1)) * 60
        return reply({"history": catalog.history(replica, index, start, end, step)})

    # ---- many tokens ----

    async def books(self, request: web.Request) -> web.Response:
        self._fail_books()
        rows = [row for _, row in await self._rows(request)]
        return reply([book.to_wire() for book in self._books(rows)])

    async def prices(self, request: web.Request) -> web.Response:
        out: dict[str, dict[str, str]] = {}
        for members, (replica, index) in await self._rows(request):
            side = _side(str(members.get("side", "")))
            price = catalog.quoted_price(replica, index, side)
            if price is not None:
                out.setdefault(replica.market.token_ids[index], {})[side.value] = format_micros(price)
        return reply(out)

    async def midpoints(self, request: web.Request) -> web.Response:
        return reply(await self._map(request, lambda row: row[0].midpoint(row[1])))

    async def spreads(self, request: web.Request) -> web.Response:
        return reply(await self._map(request, lambda row: catalog.spread(*row)))

    async def last_trades(self, request: web.Request) -> web.Response:
        rows = await self._rows(request)
        return reply([{"token_id": row[0].market.token_ids[row[1]], **_last_trade(row)} for _, row in rows])

    async def _map(self, request: web.Request, view: Callable[[Row], int | None]) -> dict[str, str]:
        """Tokens without a value are missing, as unknown ones are."""
        shown = [(row, view(row)) for _, row in await self._rows(request)]
        return {row[0].market.token_ids[row[1]]: format_micros(value) for row, value in shown if value is not None}

    async def _rows(self, request: web.Request) -> list[tuple[Mapping[str, object], Row]]:
        self._need_books()
        try:
            body = decode_json(await request.read())
        except Refusal:
            raise Denied(400, "Invalid payload") from None
        if not isinstance(body, list) or not all(isinstance(row, Mapping) for row in body):
            raise Denied(400, "Invalid payload")
        if len(body) > TOKENS_MAX:
            raise Denied(400, "Payload exceeds the limit")
        found = [(row, self.venue.books.token(str(row.get("token_id", "")))) for row in body]
        return [(row, known) for row, known in found if known is not None]

    # ---- markets ----

    def _market_page(self, view: Callable[[BookReplica], dict[str, object]]) -> Handler:
        async def handler(request: web.Request) -> web.Response:
            self._need_books()
            replicas = list(self.venue.books.by_condition.values())
            try:
                offset = decode_cursor(request.query.get("next_cursor", ""))
            except Refusal as refusal:
                raise Denied(400, refusal.message) from None
            rows = replicas[offset : offset + MARKETS_PAGE] if offset >= 0 else []
            return reply(page_to_wire([view(row) for row in rows], max(offset, 0), MARKETS_PAGE, len(replicas)))

        return handler

    async def market(self, request: web.Request) -> web.Response:
        return reply(catalog.full_market(self._market(request)))

    async def compact_market(self, request: web.Request) -> web.Response:
        return reply(catalog.compact_market(self._market(request)))

    def _market(self, request: web.Request) -> BookReplica:
        self._need_books()
        found = self.venue.books.by_condition.get(request.match_info["condition"])
        if found is None:
            raise Denied(404, NO_MARKET)
        return found

    # ---- the service itself ----

    async def ok(self, _request: web.Request) -> web.Response:
        return reply("OK")

    async def time(self, _request: web.Request) -> web.Response:
        return reply(self.venue.now_s)

    async def version(self, _request: web.Request) -> web.Response:
        return reply({"version": self.protocol_version})

    def _row(self, token_id: str) -> Row:
        self._need_books()
        if not token_id.isdecimal() or not token_id.isascii():
            raise Denied(400, BAD_TOKEN)
        found = self.venue.books.token(token_id)
        if found is None:
            raise Denied(404, NO_BOOK)
        return found

    def _need_books(self) -> None:
        if not self.venue.ready:
            raise Denied(503, NOT_READY)


def _midpoint(row: Row) -> dict[str, str]:
    """Both member names: the documents and the clients disagree."""
    mid = row[0].midpoint(row[1])
    if mid is None:
        raise Denied(404, NO_BOOK)
    return {"mid": format_micros(mid), "mid_price": format_micros(mid)}


def _spread(row: Row) -> dict[str, str]:
    spread = catalog.spread(*row)
    if spread is None:
        raise Denied(404, NO_BOOK)
    return {"spread": format_micros(spread)}


def _last_trade(row: Row) -> dict[str, str]:
    last = row[0].last_trade(row[1])
    if last is None:
        return {"price": catalog.HALF, "side": ""}
    return {"price": format_micros(last[0]), "side": last[1]}


def _side(text: str) -> Side:
    if text.upper() not in Side.__members__:
        raise Denied(400, "Invalid side")
    return Side[text.upper()]


def _whole(text: str, default: int) -> int:
    if not text:
        return default
    if not text.isdecimal() or len(text) > 12:
        raise Denied(400, "Invalid payload")
    return int(text)
