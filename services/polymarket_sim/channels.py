"""The market and user WebSocket channels (protocol section 5).

In: subscriptions of clients; broadcasts and account events of the exchange. Out: frames, encoded once per event and
sent to everybody who follows it. Subscribing and the first books happen in one turn of the loop, so no event can fall
between them. After a discontinuity followers of the market channel get whole books, user sockets are cut.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from itertools import filterfalse
from typing import Final

from aiohttp import WSCloseCode, web

from common.messages import (
    ExchangeOrder,
    ExchangeTrade,
    Message,
    OrderCanceled,
    OrderMatched,
    OrderPlaced,
    TradeMade,
    TradeSettled,
)
from common.venues.polymarket.market import MarketEvent, UnknownEvent
from common.venues.polymarket.user import OrderEventKind
from common.venues.polymarket.wire import Members, encode_json, read_flag, read_texts
from services.polymarket_sim.books import Broadcast
from services.polymarket_sim.faults import FaultSwitch
from services.polymarket_sim.feed_faults import ConnectionFaults
from services.polymarket_sim.keys import ApiKey, open_key
from services.polymarket_sim.sockets import Connection, Socket, first_frame, new_socket, serve
from services.polymarket_sim.translate import order_frame, trade_frame, trade_view
from services.polymarket_sim.venue import Venue
from services.polymarket_sim.wallets import accounts_of

SUBSCRIPTIONS_MAX: Final = 10_000


def answers_ping(switch: FaultSwitch) -> bool:
    """Whether a ping gets its answer now."""
    return switch.use("no_pong") is None


class MarketConnection(Connection):
    def __init__(self, ws: Socket, request: web.Request, number: int, switch: FaultSwitch) -> None:
        super().__init__(ws, request)
        self.tokens: set[str] = set()
        self.custom = False
        self.faults = ConnectionFaults(number)
        self._switch = switch

    async def before_frame(self) -> None:
        drip = self._switch.use("slow_drip")
        if drip is not None:
            await asyncio.sleep(int(drip["ms"]) / 1000)

    def answers_ping(self) -> bool:
        return answers_ping(self._switch)


class UserConnection(Connection):
    """`markets` None means all."""

    def __init__(self, ws: Socket, request: web.Request, who: ApiKey, switch: FaultSwitch) -> None:
        super().__init__(ws, request)
        self._switch = switch
        self.who = who
        self.accounts = accounts_of(who.name.address)
        self.markets: set[str] | None = None

    def answers_ping(self) -> bool:
        return answers_ping(self._switch)


class MarketHub:
    """All connections of the market channel, by token."""

    def __init__(self, venue: Venue, counters: Counter[str]) -> None:
        self.venue = venue
        self.counters = counters
        self.connections: set[MarketConnection] = set()
        self.last_connection = 0
        self._by_token: dict[str, set[MarketConnection]] = {}

    async def handle(self, request: web.Request) -> Socket:
        ws = new_socket()
        await ws.prepare(request)
        frame = await first_frame(ws, partial(answers_ping, self.venue.faults))
        if frame is None:
            await ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"subscribe first")
            return ws
        self.last_connection += 1
        connection = MarketConnection(ws, request, self.last_connection, self.venue.faults)
        self.connections.add(connection)
        try:
            await serve(connection, frame, self._first, self._later)
        finally:
            self.connections.discard(connection)
            self._unsubscribe(connection, list(connection.tokens))
        return ws

    def broadcast(self, broadcasts: Iterable[Broadcast]) -> None:
        faults = self.venue.faults
        for row in broadcasts:
            followers = self._followers(row)
            if followers and not isinstance(row.event, UnknownEvent):
                frame = encode_json(row.event.to_wire())
                for connection in followers:
                    if faults.feed_is_faulty or connection.faults.kept:
                        self._send_shaped(connection, row.event, frame)
                    else:
                        self._send(connection, frame)

    def _send_shaped(self, connection: MarketConnection, event: MarketEvent, frame: bytes) -> None:
        """Whatever the faults leave of the frame."""
        if self.venue.faults.use("freeze_market_feed") is None:
            for shaped in connection.faults.shape(self.venue.faults, event, frame):
                self._send(connection, shaped)

    def redraw(self) -> None:
        """After a discontinuity: every follower gets whole books again."""
        for connection in list(self.connections):
            frozen = partial(connection.faults.freezes, self.venue.faults)
            self._send_books(connection, filterfalse(frozen, sorted(connection.tokens)))

    def cut_all(self) -> None:
        for connection in list(self.connections):
            connection.cut()

    def _followers(self, row: Broadcast) -> Collection[MarketConnection]:
        if not row.tokens:
            followers: set[MarketConnection] = self.connections
        elif len(row.tokens) == 1:
            followers = self._by_token.get(row.tokens[0], set())
        else:
            followers = set().union(*(self._by_token.get(token, set()) for token in row.tokens))
        return [c for c in followers if c.custom] if row.custom_only else list(followers)

    def _first(self, connection: MarketConnection, frame: Members) -> bool:
        if frame.get("type") not in ("market", "MARKET", None):
            return False
        connection.custom = read_flag(frame, "custom_feature_enabled")
        added = self._subscribe(connection, read_texts(frame, "assets_ids"))
        if read_flag(frame, "initial_dump", True):
            self._first_books(connection, added, even_empty=True)
        return len(connection.tokens) <= SUBSCRIPTIONS_MAX

    def _later(self, connection: MarketConnection, frame: Members) -> bool:
        """The custom flag applies even when the tokens are subscribed already (that is how it is changed)."""
        tokens = read_texts(frame, "assets_ids")
        if frame.get("operation") == "unsubscribe":
            self._unsubscribe(connection, tokens)
            return True
        if frame.get("operation") != "subscribe":
            return frame.get("type") is None or self._first(connection, frame)
        connection.custom = read_flag(frame, "custom_feature_enabled", connection.custom)
        self._first_books(connection, self._subscribe(connection, tokens))
        return len(connection.tokens) <= SUBSCRIPTIONS_MAX

    def _subscribe(self, connection: MarketConnection, tokens: Iterable[str]) -> list[str]:
        added = [token for token in dict.fromkeys(tokens) if token not in connection.tokens]
        for token in added[: SUBSCRIPTIONS_MAX + 1]:
            connection.tokens.add(token)
            self._by_token.setdefault(token, set()).add(connection)
        return added

    def _unsubscribe(self, connection: MarketConnection, tokens: Iterable[str]) -> None:
        for token in tokens:
            connection.tokens.discard(token)
            followers = self._by_token.get(token)
            if followers is not None:
                followers.discard(connection)
                if not followers:
                    del self._by_token[token]

    def _first_books(self, connection: MarketConnection, tokens: Iterable[str], *, even_empty: bool = False) -> None:
        withheld = partial(connection.faults.withholds, self.venue.faults)
        self._send_books(connection, filterfalse(withheld, tokens), even_empty=even_empty)

    def _send_books(self, connection: MarketConnection, tokens: Iterable[str], *, even_empty: bool = False) -> None:
        found = [self.venue.books.token(token) for token in tokens]
        books = [row[0].book_event(row[1]).to_wire() for row in found if row is not None]
        if books or even_empty:
            self._send(connection, encode_json(books))

    def _send(self, connection: MarketConnection, frame: bytes) -> None:
        self.counters["market_frames"] += 1
        if not connection.send(frame):
            self.counters["slow_consumers_cut"] += 1


class UserHub:
    """All connections of the user channel, by account."""

    def __init__(self, venue: Venue, counters: Counter[str]) -> None:
        self.venue = venue
        self.counters = counters
        self.connections: set[UserConnection] = set()
        self._by_account: dict[str, set[UserConnection]] = {}

    async def handle(self, request: web.Request) -> Socket:
        ws = new_socket()
        await ws.prepare(request)
        frame = await first_frame(ws, partial(answers_ping, self.venue.faults))
        who = self._authenticated(frame) if frame is not None else None
        if frame is None or who is None:
            await ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"auth failed")
            return ws
        connection = UserConnection(ws, request, who, self.venue.faults)
        self.connections.add(connection)
        for account in connection.accounts:
            self._by_account.setdefault(account, set()).add(connection)
        try:
            await serve(connection, frame, self._first, self._later)
        finally:
            self._forget(connection)
        return ws

    def _authenticated(self, frame: Members) -> ApiKey | None:
        """The raw credentials stand in the first frame; there is no HMAC on this channel."""
        auth = frame.get("auth")
        if not isinstance(auth, Mapping):
            return None
        key, secret, passphrase = (auth.get(name) for name in ("apiKey", "secret", "passphrase"))
        if not (isinstance(key, str) and isinstance(secret, str) and isinstance(passphrase, str)):
            return None
        found = open_key(self.venue.terms.server_secret, key, passphrase)
        if found is None or found.secret != secret or not self.venue.registry.is_live(found.name):
            return None
        return found

    def _first(self, connection: UserConnection, frame: Members) -> bool:
        markets = read_texts(frame, "markets")
        connection.markets = set(markets) if markets else None
        return len(markets) <= SUBSCRIPTIONS_MAX

    def _later(self, connection: UserConnection, frame: Members) -> bool:
        markets = read_texts(frame, "markets")
        if frame.get("operation") == "subscribe" and connection.markets is not None:
            connection.markets.update(markets)
        elif frame.get("operation") == "unsubscribe" and connection.markets is not None:
            connection.markets.difference_update(markets)
        return len(connection.markets or ()) <= SUBSCRIPTIONS_MAX

    def _forget(self, connection: UserConnection) -> None:
        self.connections.discard(connection)
        for account in connection.accounts:
            followers = self._by_account.get(account, set())
            followers.discard(connection)
            if not followers:
                self._by_account.pop(account, None)

    def account_event(self, body: Message) -> None:
        match body:
            case OrderPlaced():
                self._order(OrderEventKind.PLACEMENT, body.order)
            case OrderMatched():
                self._order(OrderEventKind.UPDATE, body.order)
            case OrderCanceled():
                self._order(OrderEventKind.CANCELLATION, body.order)
            case TradeMade() | TradeSettled():
                self._trade(body.trade)

    def cut_all(self) -> None:
        """Events may have been missed: clients reconnect and read again over REST."""
        self.counters["user_sockets_cut"] += len(self.connections)
        for connection in list(self.connections):
            connection.cut()

    def cut_key(self, who: ApiKey) -> None:
        for connection in [row for row in self.connections if row.who.name == who.name]:
            connection.cut()

    def _order(self, kind: OrderEventKind, order: ExchangeOrder) -> None:
        followers = self._followers((order.account,), order.condition_id)
        if followers:
            frame = order_frame(kind, order)
            for connection in followers:
                self._send(connection, frame)

    def _trade(self, trade: ExchangeTrade) -> None:
        """Each party sees its own role; the frame of one role and key is made once."""
        parties = {trade.taker_account, *(fill.account for fill in trade.makers)}
        replica = self.venue.books.by_condition.get(trade.condition_id)
        frames: dict[tuple[bool, str], bytes] = {}
        for connection in self._followers(parties, trade.condition_id):
            role = (trade.taker_account in connection.accounts, connection.who.key)
            if role not in frames:
                market = replica.market if replica else None
                frames[role] = trade_frame(trade_view(trade, connection.accounts, connection.who.key, market))
            self._send(connection, frames[role])

    def _followers(self, accounts: Iterable[str], condition_id: str) -> set[UserConnection]:
        found: set[UserConnection] = set().union(*(self._by_account.get(account, set()) for account in accounts))
        return {row for row in found if row.markets is None or condition_id in row.markets}

    def _send(self, connection: UserConnection, frame: bytes) -> None:
        if self.venue.faults.use("drop_user_events") is not None:
            self.counters["user_events_dropped"] += 1
            return
        self.counters["user_frames"] += 1
        if not connection.send(frame):
            self.counters["slow_consumers_cut"] += 1
