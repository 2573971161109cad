"""Private calls of the CLOB (protocol sections 2.3, 3.6 and 4.4): keys, orders, cancels, own orders, trades, balances.

Every handler is authenticated before it runs; what it may see are the accounts of the key's address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from common.errors import Refusal
from common.venues.polymarket.limits import cancel_cost, cancel_wallet_cost, place_cost
from common.venues.polymarket.wire import Balance, decode_cursor, decode_json, page_to_wire
from services.polymarket_sim.account_faults import COLLATERAL, CONDITIONAL, NOT_ENOUGH, allowances
from services.polymarket_sim.auth_check import UNAUTHORIZED, check_l1, check_l2
from services.polymarket_sim.delivery import AnswerLost
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.endpoints import (
    CANCEL_ALL,
    CANCEL_MARKET,
    DELETE_ORDER,
    DELETE_ORDERS,
    POST_ORDER,
    POST_ORDERS,
)
from services.polymarket_sim.front import ENTRIES, LIMITS
from services.polymarket_sim.keys import ApiKey
from services.polymarket_sim.postings import Entry, WholeBatch, named
from services.polymarket_sim.replies import Handler, reply
from services.polymarket_sim.translate import (
    COULD_NOT_INSERT,
    batch_refusal,
    is_scoring,
    open_order,
    trade_view,
)
from services.polymarket_sim.venue import Venue
from services.polymarket_sim.wallets import account_of, wallets_of

PAGE: Final = 500
CANCELS_MAX: Final = 1000
ID_MAX: Final = 128
BAD_ORDER_ID: Final = "Invalid orderID"
BAD_CANCEL: Final = "invalid order params payload"
BAD_TRADES: Final = "Invalid trade params payload"
BAD_HEARTBEAT: Final = "Invalid Heartbeat ID"
ORDER_NOT_FOUND: Final = "Order not found"

Private = Callable[[web.Request, ApiKey, bytes], Awaitable[web.StreamResponse]]


class PrivateApi:
    """Handlers; `routes` lists them."""

    def __init__(self, venue: Venue, on_key_deleted: Callable[[ApiKey], None], data_trades: Handler) -> None:
        self.venue = venue
        self._on_key_deleted = on_key_deleted
        self._data_trades = data_trades

    def routes(self) -> list[web.RouteDef]:
        calls: tuple[tuple[str, str, Private], ...] = (
            ("GET", "/auth/api-keys", self.list_keys),
            ("DELETE", "/auth/api-key", self.delete_key),
            ("GET", "/auth/ban-status/closed-only", self.closed_only),
            ("GET", "/v1/user/rate-limit-tier", self.tier),
            ("POST", "/order", self.place),
            ("POST", "/orders", self.place_batch),
            ("DELETE", "/order", self.cancel),
            ("DELETE", "/orders", self.cancel_many),
            ("DELETE", "/cancel-all", self.cancel_all),
            ("DELETE", "/cancel-market-orders", self.cancel_market),
            ("GET", "/data/orders", self.orders),
            ("GET", "/data/pre-migration-orders", self.no_orders),
            ("GET", "/data/order/{id}", self.order),
            ("POST", "/v1/heartbeats", self.heartbeat),
            ("GET", "/balance-allowance", self.balance),
            ("GET", "/balance-allowance/update", self.refresh_balance),
            ("GET", "/notifications", self.notifications),
            ("DELETE", "/notifications", self.drop_notifications),
            ("GET", "/order-scoring", self.scoring),
            ("POST", "/orders-scoring", self.scoring_many),
        )
        routes = [web.route(method, path, self._private(handler)) for method, path, handler in calls]
        routes.append(web.get("/data/trades", self._either_trades(self._private(self.trades))))
        routes.append(web.post("/auth/api-key", self.create_key))
        routes.append(web.get("/auth/derive-api-key", self.derive_key))
        return routes

    def _private(self, handler: Private) -> Handler:
        async def checked(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            who = check_l2(
                request.headers,
                request.method,
                request.rel_url.raw_path,
                body,
                server_secret=self.venue.terms.server_secret,
                now_s=self.venue.now_s,
                window_s=self.venue.terms.clock_window_s,
            )
            if not self.venue.registry.is_live(who.name):
                raise Denied(401, UNAUTHORIZED)
            self.venue.registry.adopt(who.name)
            return await handler(request, who, body)

        return checked

    def _either_trades(self, own: Handler) -> Handler:
        """The CLOB and the Data service (which lives under /data here) both have this path.

        A call without a key that names a `user` is the Data service's.
        """

        async def chosen(request: web.Request) -> web.StreamResponse:
            is_data = "POLY_API_KEY" not in request.headers and "user" in request.query
            return await (self._data_trades if is_data else own)(request)

        return chosen

    # ---- keys ----

    async def create_key(self, request: web.Request) -> web.Response:
        return reply((await self.venue.create_key(*self._signed_by(request))).to_wire())

    async def derive_key(self, request: web.Request) -> web.Response:
        return reply((await self.venue.derived_key(*self._signed_by(request))).to_wire())

    def _signed_by(self, request: web.Request) -> tuple[str, int]:
        terms = self.venue.terms
        return check_l1(request.headers, self.venue.now_s, terms.clock_window_s, terms.chain_id)

    async def list_keys(self, _request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        return reply({"apiKeys": self.venue.key_texts(who.name.address)})

    async def delete_key(self, _request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        self.venue.delete_key(who)
        self._on_key_deleted(who)
        return reply("OK")

    async def closed_only(self, _request: web.Request, _who: ApiKey, _body: bytes) -> web.Response:
        return reply({"closed_only": self.venue.faults.use("closed_only") is not None})

    async def tier(self, _request: web.Request, _who: ApiKey, _body: bytes) -> web.Response:
        """The tier of protocol section 7.2 that every signer here has."""
        terms = self.venue.quotas.terms
        orders = {"rate": terms.orders_per_s, "burst": terms.orders_burst}
        cancels = {"rate": terms.cancels_per_s, "burst": terms.cancels_burst}
        return reply({"tier": self.venue.quotas.tier, "orders": orders, "cancels": cancels})

    # ---- orders ----

    async def place(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        (entry,) = request[ENTRIES]
        self.venue.check_mode(POST_ORDER, post_only=named(entry).post_only)
        self._admit(request, who, POST_ORDER, place_cost(1))
        try:
            placed = await self.venue.place(entry, who, POST_ORDER)
        except TimeoutError:
            raise Denied(500, COULD_NOT_INSERT) from None
        return reply(placed.to_wire())

    async def place_batch(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        """Entries run at the same time and are judged alone; a mode that refuses all of them refuses the call."""
        entries = request[ENTRIES]
        if isinstance(entries[0], WholeBatch):
            raise entries[0]
        self.venue.check_mode(POST_ORDERS, post_only=any(named(entry).post_only for entry in entries))
        self._admit(request, who, POST_ORDERS, place_cost(len(entries)))
        partial = self.venue.faults.use("batch_partial")
        every = int(partial["every"]) if partial is not None else len(entries) + 1
        legs = [self._leg(entry, who, refused=not number % every) for number, entry in enumerate(entries, 1)]
        return reply(await asyncio.gather(*legs))

    async def _leg(self, entry: Entry, who: ApiKey, *, refused: bool) -> dict[str, object]:
        try:
            self.venue.check_mode(POST_ORDERS, post_only=named(entry).post_only)
            if refused:
                raise Denied(400, NOT_ENOUGH)
            return (await self.venue.place(entry, who, POST_ORDERS)).to_wire()
        except Denied as denied:
            return batch_refusal(denied)
        except TimeoutError:
            return batch_refusal(Denied(500, COULD_NOT_INSERT))

    def _admit(self, request: web.Request, who: ApiKey, endpoint: str, cost: int) -> None:
        """Charge the signer; the answer says what is left, also when it is a refusal."""
        request[LIMITS] = self.venue.admit(who, endpoint, cost)

    # ---- cancels ----

    async def cancel(self, request: web.Request, who: ApiKey, body: bytes) -> web.Response:
        self.venue.check_mode(DELETE_ORDER)
        self._admit(request, who, DELETE_ORDER, cancel_cost(1))
        order_id = _members(body, BAD_ORDER_ID).get("orderID")
        if not _is_order_id(order_id):
            raise Denied(400, BAD_ORDER_ID)
        return reply(await self.venue.cancel_ids(who, [str(order_id)]))

    async def cancel_many(self, request: web.Request, who: ApiKey, body: bytes) -> web.Response:
        self.venue.check_mode(DELETE_ORDERS)
        order_ids = _order_ids(body)
        if len(order_ids) > CANCELS_MAX:
            raise Denied(400, f"Too many orders in payload, max allowed: {CANCELS_MAX}")
        self._admit(request, who, DELETE_ORDERS, cancel_cost(len(order_ids)))
        return reply(await self.venue.cancel_ids(who, order_ids))

    async def cancel_all(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        self.venue.check_mode(CANCEL_ALL)
        self._admit(request, who, CANCEL_ALL, cancel_wallet_cost(0))
        return self._cancelled(request, who, CANCEL_ALL, await self.venue.cancel_scope(who))

    async def cancel_market(self, request: web.Request, who: ApiKey, body: bytes) -> web.Response:
        """A market, a token or both; v1 sends "" for what it does not mean."""
        self.venue.check_mode(CANCEL_MARKET)
        members = _members(body, BAD_CANCEL)
        market, token = members.get("market") or "", members.get("asset_id") or ""
        if not isinstance(market, str) or not isinstance(token, str) or not (market or token):
            raise Denied(400, BAD_CANCEL)
        self._admit(request, who, CANCEL_MARKET, cancel_wallet_cost(0))
        return self._cancelled(request, who, CANCEL_MARKET, await self.venue.cancel_scope(who, market, token))

    def _cancelled(self, request: web.Request, who: ApiKey, endpoint: str, result: dict[str, object]) -> web.Response:
        """The answer of a wide cancel: what it cancelled is charged now that it is known."""
        canceled = result["canceled"]
        assert isinstance(canceled, list)
        request[LIMITS] |= self.venue.charge(who, endpoint, cancel_wallet_cost(len(canceled)) - 1)
        return reply(result)

    # ---- own orders and trades ----

    async def orders(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        query = request.query
        offset = _offset(query.get("next_cursor", ""), BAD_CANCEL)
        orders = await self.venue.open_orders(who, query.get("market", ""), query.get("asset_id", ""))
        wanted = query.get("id", "")
        found = [
            order
            for order in orders
            if wanted in ("", order.venue_order_id) and not self.venue.lags(order.venue_order_id, in_lists=True)
        ]
        rows = [open_order(order) for order in found[offset : offset + PAGE]] if offset >= 0 else []
        return reply(page_to_wire(rows, max(offset, 0), PAGE, len(found)))

    async def no_orders(self, _request: web.Request, _who: ApiKey, _body: bytes) -> web.Response:
        """Leftovers of the cutover to V2: this venue never had any."""
        return reply(page_to_wire([], 0, PAGE, 0))

    async def order(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        found = await self.venue.order(who, request.match_info["id"])
        if found is None or self.venue.lags(found.venue_order_id):
            raise Denied(404, ORDER_NOT_FOUND)
        values = self.venue.faults.use("dead_lookups") if found.status != "LIVE" else None
        if values is None:
            return reply(open_order(found))
        if values["kind"] == "not_found":
            raise Denied(404, ORDER_NOT_FOUND)
        return reply(None if values["kind"] == "null" else "")

    async def trades(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        query = request.query
        offset = _offset(query.get("next_cursor", ""), BAD_TRADES)
        accounts = await self.venue.accounts(who)
        wanted = account_of(query.get("maker_address", ""))
        accounts = [account for account in accounts if wanted in ("", account)]
        if offset < 0 or not accounts:
            return reply(page_to_wire([], 0, PAGE, 0))
        after, before = _seconds(query.get("after", "")), _seconds(query.get("before", ""))
        found, more = await self.venue.trades(
            accounts,
            offset=offset,
            limit=PAGE,
            trade_id=query.get("id", ""),
            condition_id=query.get("market", ""),
            token_id=query.get("asset_id", ""),
            after_ns=after * 1_000_000_000,
            before_ns=before * 1_000_000_000 + 999_999_999 if before else 0,
        )
        replicas = self.venue.books.by_condition
        rows: list[object] = []
        for trade in found:
            replica = replicas.get(trade.condition_id)
            market = replica.market if replica else None
            rows.append(trade_view(trade, accounts, who.key, market).to_wire())
        return reply(page_to_wire(rows, offset, PAGE, offset + len(rows) + int(more)))

    # ---- the rest ----

    async def heartbeat(self, _request: web.Request, who: ApiKey, body: bytes) -> web.Response:
        given = _members(body, BAD_HEARTBEAT).get("heartbeat_id")
        if given is not None and not isinstance(given, str):
            raise Denied(400, BAD_HEARTBEAT)
        values = self.venue.faults.use("heartbeat_errors")
        kind = values["kind"] if values is not None else ""
        if kind == "error":
            raise Denied(500, "Internal server error")
        accepted, next_id = self.venue.beat(who, given or "", refuse=kind == "wrong_id")
        if kind == "lost":
            raise AnswerLost
        if not accepted:
            raise Denied(400, BAD_HEARTBEAT, error_msg=BAD_HEARTBEAT, heartbeat_id=next_id)
        return reply({"heartbeat_id": next_id})

    async def balance(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        account = await self._account(request, who)
        report = await self.venue.balances(account)
        amount, asset = report.cash, COLLATERAL
        if request.query.get("asset_type", COLLATERAL) != COLLATERAL:
            asset = CONDITIONAL
            token_id = request.query.get("token_id", "")
            if self.venue.ready and self.venue.books.token(token_id) is None:
                raise Denied(400, "Invalid token id")
            amount = report.tokens.get(token_id, 0)
        if self.venue.faults.is_on("no_balance"):
            amount = 0
        return reply(Balance(amount, allowances(self.venue.faults, asset, self.venue.terms.chain_id)).to_wire())

    async def refresh_balance(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        """Balances are never stale here; the call makes sure the wallet has its account."""
        await self._account(request, who)
        return reply("")

    async def _account(self, request: web.Request, who: ApiKey) -> str:
        """The account of the wallet a signature type means; of two deposit wallets the one in use."""
        text = request.query.get("signature_type", "0") or "0"
        wallets = wallets_of(who.name.address).get(int(text) if text.isdecimal() and len(text) < 3 else -1)
        if wallets is None:
            raise Denied(400, "Invalid payload")
        known = await self.venue.accounts(who)
        candidates = [account_of(wallet) for wallet in wallets]
        account = next((row for row in candidates if row in known), candidates[0])
        await self.venue.ensure_account(account)
        return account

    async def notifications(self, _request: web.Request, _who: ApiKey, _body: bytes) -> web.Response:
        """This venue sends none: fills and cancels are told on the user channel."""
        return reply([])

    async def drop_notifications(self, _request: web.Request, _who: ApiKey, _body: bytes) -> web.Response:
        return reply("OK")

    async def scoring(self, request: web.Request, who: ApiKey, _body: bytes) -> web.Response:
        return reply({"scoring": await self._is_scoring(who, request.query.get("order_id", ""))})

    async def scoring_many(self, _request: web.Request, who: ApiKey, body: bytes) -> web.Response:
        order_ids = _order_ids(body)[:CANCELS_MAX]
        return reply({order_id: await self._is_scoring(who, order_id) for order_id in order_ids})

    async def _is_scoring(self, who: ApiKey, order_id: str) -> bool:
        order = await self.venue.order(who, order_id)
        found = self.venue.books.token(order.token_id) if order else None
        if order is None or found is None:
            return False
        replica, index = found
        return is_scoring(order, replica.midpoint(index), replica.market.min_size, self.venue.wall_ns())


def _json(body: bytes, text: str) -> object:
    try:
        return decode_json(body)
    except Refusal:
        raise Denied(400, text) from None


def _members(body: bytes, text: str) -> Mapping[str, object]:
    value = _json(body, text)
    if not isinstance(value, Mapping):
        raise Denied(400, text)
    return value


def _order_ids(body: bytes) -> list[str]:
    value = _json(body, BAD_CANCEL)
    if not isinstance(value, list) or not all(_is_order_id(row) for row in value):
        raise Denied(400, BAD_ORDER_ID)
    return value


def _is_order_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= ID_MAX


def _offset(cursor: str, text: str) -> int:
    try:
        return decode_cursor(cursor)
    except Refusal:
        raise Denied(400, text) from None


def _seconds(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 11:
        raise Denied(400, BAD_TRADES)
    return int(text)
