"""A venue that knows the truth: orders by digest, fills, settlement, expiry. What it says may be old, never invented.

In: HTTP requests as the gateway writes them. Out: HTTP answers and user-channel events as the real codecs read them,
and the truth for the checkers. An order id is refused for ever once seen. Matching is against strangers, by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from common.fixed import format_micros
from common.types import ONE, Settlement, Side, TimeInForce
from common.venues.polymarket.amounts import signed_price_size
from common.venues.polymarket.fees import taker_fee
from common.venues.polymarket.orders import PostedOrder, order_id, parse_post_body
from common.venues.polymarket.user import MAKER, TAKER, OrderEvent, OrderEventKind, trade_to_wire
from common.venues.polymarket.wire import (
    Balance,
    CancelResult,
    MakerLeg,
    OpenOrder,
    OrderReply,
    Trade,
    VenueStatus,
    decode_cursor,
    encode_json,
    page_to_wire,
)
from tests.services.executor.driver import ADDRESS, MARKET
from tests.services.gateway.orders import API_KEY
from tests.sim.clock import MS, S
from tests.sim.faults import CLOCK_STEP_MAX_NS, REPLICA_LAG_MAX_NS
from tests.sim.world import START_NS, World

CHAIN_ID = 137
TOKENS = MARKET.token_ids
STEP = 10_000
GTD_RETIRED_S = 60
STRANGER = "0x" + "57" * 20
MEAN_MATCH_NS = 9 * S
NEAR = 0.6
"""How many resting orders are near enough to the market to be matched as a maker, sooner or later."""
UNSOLICITED = 0.05
"""How often the venue takes a resting order off by itself instead of matching it."""
OVER = frozenset({VenueStatus.MATCHED, VenueStatus.CANCELED, VenueStatus.CANCELED_EXPIRED_ORDER})
Response = tuple[int, bytes]
REFUSALS: tuple[Response, ...] = (
    (400, b'{"error":"not enough balance / allowance"}'),
    (429, b'{"error":"Too Many Requests"}'),
    (503, b'{"error":"the venue is in post-only mode"}'),
    (200, b'{"success":false,"errorMsg":"not enough balance / allowance","orderID":"","status":""}'),
)
CROSSES: Response = (400, b'{"error":"order crosses book"}')
RESTARTING: Response = (425, b'{"error":"matching engine is restarting"}')
NOT_TAKEN = frozenset(body for _, body in (*REFUSALS, CROSSES, RESTARTING))
"""Documented: what is answered so has not entered the book."""
START_SHARES = 1_000 * ONE
START_CASH = 10_000 * ONE
ON_CHAIN = (Settlement.MINED, Settlement.CONFIRMED)


class Seen(msgspec.Struct, frozen=True):
    """What the venue's own books say of an order from a moment on."""

    at_ns: int
    status: VenueStatus
    filled: int


class TrueOrder(msgspec.Struct):
    venue_id: str
    token_id: str
    side: Side
    price: int
    size: int
    tif: TimeInForce
    created_ns: int
    seen: list[Seen]
    shown: bool = True
    """A killed order is not kept: look-ups do not find it."""

    @property
    def status(self) -> VenueStatus:
        return self.seen[-1].status

    @property
    def filled(self) -> int:
        return self.seen[-1].filled

    @property
    def is_open(self) -> bool:
        return self.status not in OVER

    def at(self, wall_ns: int) -> Seen | None:
        return next((seen for seen in reversed(self.seen) if seen.at_ns <= wall_ns), None)


class TrueTrade(msgspec.Struct):
    """One trade of one order of ours. `stages`: (since, settlement, hash)."""

    trade: Trade
    venue_id: str
    token_id: str
    side: Side
    size: int
    price: int
    is_taker: bool
    stages: list[tuple[int, Settlement, str]]

    @property
    def settlement(self) -> Settlement:
        return self.stages[-1][1]

    @property
    def cash(self) -> int:
        """Rounded against us."""
        exact = self.size * self.price
        return -(-exact // ONE) if self.side is Side.BUY else exact // ONE

    def at(self, wall_ns: int) -> Trade | None:
        for since_ns, settlement, tx_hash in reversed(self.stages):
            if since_ns <= wall_ns:
                return msgspec.structs.replace(
                    self.trade, settlement=settlement, tx_hash=tx_hash, last_update_ns=since_ns
                )
        return None

    def on_chain(self, wall_ns: int) -> bool:
        trade = self.at(wall_ns)
        return trade is not None and trade.settlement in ON_CHAIN

    @property
    def fee(self) -> int:
        return taker_fee(self.size, self.price, MARKET.fee_rate, MARKET.fee_exponent) if self.is_taker else 0


class Listener(Protocol):
    """A connection of the user channel."""

    def tell(self, event: Mapping[str, object]) -> None: ...


class Venue:
    def __init__(self, world: World, on_accept: Callable[[str], None], on_post: Callable[[], None]) -> None:
        self.orders: dict[str, TrueOrder] = {}
        self.trades: list[TrueTrade] = []
        self.listeners: list[Listener] = []
        self.restarting_until_ns = 0
        self.matching = True
        self._world = world
        self._rng = world.rng
        self._faults = world.faults
        self._on_accept = on_accept
        self.on_post = on_post
        self.on_cancel_wallet: Callable[[list[str]], None] = lambda _venue_ids: None
        self._offset_ns = START_NS + self._rng.randrange(-CLOCK_STEP_MAX_NS, CLOCK_STEP_MAX_NS)

    def wall_ns(self) -> int:
        """The venue's own clock, which nobody steps."""
        return self._offset_ns + self._world.loop.now_ns

    # --- HTTP ---

    def handle(self, method: str, path: str, query: Sequence[tuple[str, str]], body: bytes | None) -> Response:
        """One request reaches the venue."""
        if method == "GET":
            return self._read(path, dict(query), self.wall_ns() - self._lag())
        if method == "POST":
            assert body is not None
            return self._post(body)
        if self._is_restarting():
            return RESTARTING
        if path in ("/cancel-all", "/cancel-market-orders"):
            return self._cancel_wallet(body)
        assert body is not None
        value = msgspec.json.decode(body)
        return self._cancel([value["orderID"]] if isinstance(value, dict) else value)

    def _lag(self) -> int:
        return self._faults.between(0, REPLICA_LAG_MAX_NS) if self._faults.happens("replica_lags") else 0

    # --- places ---

    def _post(self, body: bytes) -> Response:
        posted = parse_post_body(body)
        assert posted.owner == API_KEY, "signed for another key"
        venue_id = order_id(posted.order, CHAIN_ID, MARKET.neg_risk, posted.version)
        if venue_id in self.orders:
            self._world.seen["second copy refused"] += 1
            return _error(400, f"order {venue_id} is invalid. Duplicated.")
        refusal = self._refusal(posted)
        if refusal is not None:
            return refusal
        self._on_accept(venue_id)
        return self._take_in(posted, venue_id)

    def _is_restarting(self) -> bool:
        return self._world.loop.now_ns < self.restarting_until_ns or self._faults.happens("http_425")

    def _refusal(self, posted: PostedOrder) -> Response | None:
        if self._is_restarting():
            return RESTARTING
        if self._faults.happens("venue_refuses"):
            return CROSSES if posted.post_only else self._rng.choice(REFUSALS)
        return None

    def _take_in(self, posted: PostedOrder, venue_id: str) -> Response:
        order = posted.order
        price, size = signed_price_size(posted.side, order.maker_amount, order.taker_amount)
        now_ns = self.wall_ns()
        true = TrueOrder(
            venue_id,
            str(order.token_id),
            posted.side,
            price,
            size,
            posted.order_type,
            now_ns,
            [Seen(now_ns, VenueStatus.LIVE, 0)],
        )
        self.orders[venue_id] = true
        self._world.trace("venue", f"accepts {posted.order_type} {posted.side} {venue_id[:10]} {size}@{price}")
        if not posted.order_type.rests:
            return self._immediate(true)
        self._tell(true, OrderEventKind.PLACEMENT)
        if posted.expiration:
            retired_ns = (posted.expiration - GTD_RETIRED_S) * S - self._offset_ns
            self._world.loop.at(retired_ns, self._expire, true)
        return self._resting(true, posted.post_only)

    def _resting(self, order: TrueOrder, post_only: bool) -> Response:
        chance = self._rng.random()
        if not post_only and self._faults.happens("venue_delays"):
            self._world.loop.after(self._faults.between(S, 3 * S), self._take, order, chance)
            return self._accepted(order, "delayed", 0)
        if self._rng.random() < NEAR:
            self._match_later(order)
        if post_only or chance >= 0.4:
            return self._accepted(order, "live", 0)
        size = self._take(order, chance)
        return self._accepted(order, "matched", size)

    def _take(self, order: TrueOrder, chance: float) -> int:
        """It crosses the book: some or all of it matches as a taker."""
        size = order.size if chance < 0.2 else _part(order.size, chance)
        return self._match(order, size, is_taker=True)

    def _immediate(self, order: TrueOrder) -> Response:
        chance = self._rng.random()
        share = 0 if chance < 0.3 else _part(order.size, chance) if chance < 0.6 else order.size
        if order.tif is TimeInForce.FOK and share < order.size:
            share = 0
        self._match(order, share, is_taker=True)
        if share == order.size:
            return self._accepted(order, "matched", share)
        order.shown = share > 0
        self._end(order, VenueStatus.CANCELED)
        if share:
            return self._accepted(order, "matched", share)
        if order.tif is TimeInForce.FOK:
            return _error(400, "order couldn't be fully filled. FOK orders are fully filled or killed.")
        return _error(400, "no orders found to match with FAK order. FAK orders are partially filled or killed.")

    def _accepted(self, order: TrueOrder, status: str, size: int) -> Response:
        cash = size * order.price // ONE
        making, taking = (cash, size) if order.side is Side.BUY else (size, cash)
        reply = OrderReply(True, "", order.venue_id, status, making if size else None, taking if size else None)
        return 200, encode_json(reply.to_wire())

    # --- matching ---

    def _match_later(self, order: TrueOrder) -> None:
        delay_ns = round(self._rng.expovariate(1 / MEAN_MATCH_NS)) + 50 * MS
        self._world.loop.after(delay_ns, self._match_some, order)

    def _match_some(self, order: TrueOrder) -> None:
        if not (order.is_open and self.matching):
            return
        if self._rng.random() < UNSOLICITED:
            self._end(order, VenueStatus.CANCELED)
            return
        left = order.size - order.filled
        self._match(order, left if self._rng.random() < 0.5 else _part(left, self._rng.random()), is_taker=False)
        self._match_later(order)

    def _match(self, order: TrueOrder, size: int, *, is_taker: bool) -> int:
        size = min(size, order.size - order.filled)
        if size <= 0 or not order.is_open:
            return 0
        now_ns = self.wall_ns()
        trade_id = f"t-{len(self.trades) + 1}"
        price = self._price(order) if is_taker else order.price
        trade = _trade(order, trade_id, size, price, now_ns, is_taker=is_taker)
        true = TrueTrade(
            trade,
            order.venue_id,
            order.token_id,
            order.side,
            size,
            price,
            is_taker,
            [(now_ns, Settlement.MATCHED, "")],
        )
        self.trades.append(true)
        filled = order.filled + size
        status = VenueStatus.MATCHED if filled == order.size else order.status
        order.seen.append(Seen(now_ns, status, filled))
        self._world.trace("venue", f"{trade_id} fills {order.venue_id[:10]} {size}@{price}, {filled} in all")
        self._tell_trade(true)
        self._tell(order, OrderEventKind.UPDATE)
        self._settle_later(true)
        return size

    def _price(self, order: TrueOrder) -> int:
        """Never worse than the limit, sometimes better, on the market's tick."""
        better = self._rng.randrange(3) * MARKET.tick
        if order.side is Side.BUY:
            return max(MARKET.tick, order.price // MARKET.tick * MARKET.tick - better)
        return min(ONE - MARKET.tick, -(-order.price // MARKET.tick) * MARKET.tick + better)

    # --- settlement ---

    def _settle_later(self, true: TrueTrade) -> None:
        self._world.loop.after(self._faults.between(300 * MS, 4 * S), self._settle, true)

    def _settle(self, true: TrueTrade) -> None:
        chance = self._rng.random()
        before = true.settlement
        if before is Settlement.MATCHED:
            after = Settlement.RETRYING if chance < 0.15 else Settlement.FAILED if chance < 0.2 else Settlement.MINED
        elif before is Settlement.RETRYING:
            after = Settlement.FAILED if chance < 0.3 else Settlement.MINED
        else:
            after = Settlement.FAILED if chance < 0.1 else Settlement.CONFIRMED
        tx_hash = "" if after is Settlement.RETRYING else f"0x{len(true.stages)}{true.trade.trade_id[2:]}"
        self._world.seen[f"{before} {after}"] += 1
        true.stages.append((self.wall_ns(), after, tx_hash))
        self._world.trace("venue", f"{true.trade.trade_id} is {after}")
        self._tell_trade(true)
        if after not in (Settlement.CONFIRMED, Settlement.FAILED):
            self._settle_later(true)

    # --- ends ---

    def _cancel(self, venue_ids: list[str]) -> Response:
        canceled: list[str] = []
        not_canceled: dict[str, str] = {}
        for venue_id in venue_ids:
            order = self.orders.get(venue_id)
            if order is None:
                not_canceled[venue_id] = "order can't be found"
                continue
            if order.is_open and self._faults.happens("cancel_races"):
                left = order.size - order.filled
                self._match(order, left if self._rng.random() < 0.5 else _part(left, 0.5), is_taker=False)
                if self._rng.random() < 0.5 and order.filled == order.size:
                    canceled.append(venue_id)  # said before the match was noticed: the trade tells the truth later
                    continue
            if order.is_open:
                self._end(order, VenueStatus.CANCELED)
                canceled.append(venue_id)
            else:
                not_canceled[venue_id] = "order can't be found - already canceled or matched"
        return 200, encode_json(CancelResult(tuple(canceled), not_canceled).to_wire())

    def _cancel_wallet(self, body: bytes | None) -> Response:
        assert body is None or msgspec.json.decode(body) == {"market": MARKET.condition_id}
        open_ids = [venue_id for venue_id, order in self.orders.items() if order.is_open]
        self._world.seen["wallet-wide cancel"] += 1
        self.on_cancel_wallet(open_ids)
        return self._cancel(open_ids)

    def _expire(self, order: TrueOrder) -> None:
        if order.is_open:
            self._end(order, VenueStatus.CANCELED_EXPIRED_ORDER)

    def _end(self, order: TrueOrder, status: VenueStatus) -> None:
        order.seen.append(Seen(self.wall_ns(), status, order.filled))
        self._world.trace("venue", f"{order.venue_id[:10]} is {status}, {order.filled} of {order.size} filled")
        self._tell(order, OrderEventKind.CANCELLATION)

    # --- reads ---

    def _read(self, path: str, query: dict[str, str], as_of_ns: int) -> Response:
        if path == "/time":
            return 200, str(self.wall_ns() // S).encode()
        if path.startswith("/data/order/"):
            order = self.orders.get(path.removeprefix("/data/order/"))
            shown = _shown(order, as_of_ns) if order is not None else None
            if shown is None:
                return (200, b"null") if self._rng.random() < 0.3 else _error(404, "order not found")
            return 200, encode_json(shown.to_wire())
        if path == "/data/orders":
            open_orders = [
                shown
                for order in self.orders.values()
                if (shown := _shown(order, as_of_ns)) and shown.status not in OVER
            ]
            return self._page([shown.to_wire() for shown in open_orders], query)
        if path == "/data/trades":
            after_s = int(query.get("after", "0"))
            trades = [trade for true in self.trades if (trade := true.at(as_of_ns)) and trade.match_ns // S >= after_s]
            return self._page([trade.to_wire() for trade in trades], query)
        if path == "/v2/positions":
            held = [
                {"token_id": token, "current_size": format_micros(self.shares(token, as_of_ns))} for token in TOKENS
            ]
            return 200, encode_json({"data": held, "pagination": {"has_more": False, "next_cursor": ""}})
        if path == "/balance-allowance":
            return 200, encode_json(Balance(self.cash(as_of_ns), {"exchange": 2**256 - 1}).to_wire())
        return _error(404, "no such page")

    def shares(self, token_id: str, as_of_ns: int) -> int:
        """On chain."""
        moved = [true for true in self.trades if true.token_id == token_id and true.on_chain(as_of_ns)]
        return START_SHARES + sum(true.size if true.side is Side.BUY else -true.size for true in moved)

    def cash(self, as_of_ns: int) -> int:
        moved = [true for true in self.trades if true.on_chain(as_of_ns)]
        return START_CASH + sum((-true.cash if true.side is Side.BUY else true.cash) - true.fee for true in moved)

    def _page(self, rows: list[dict[str, object]], query: dict[str, str]) -> Response:
        start = decode_cursor(query.get("next_cursor", ""))
        limit = 8
        page = page_to_wire(rows[start : start + limit], start, limit, len(rows))
        return 200, encode_json(page)

    # --- the user channel ---

    def _tell(self, order: TrueOrder, kind: OrderEventKind) -> None:
        self._say(
            OrderEvent(
                kind=kind,
                venue_order_id=order.venue_id,
                status=order.status,
                market=MARKET.condition_id,
                token_id=order.token_id,
                side=order.side,
                price=order.price,
                original_size=order.size,
                size_matched=order.filled,
                owner=API_KEY,
                maker_address=ADDRESS,
                order_type=order.tif.value,
                created_ns=order.created_ns,
                event_ns=self.wall_ns(),
            ).to_wire()
        )

    def _tell_trade(self, true: TrueTrade) -> None:
        trade = true.at(self.wall_ns())
        assert trade is not None
        self._say(trade_to_wire(trade))

    def _say(self, event: Mapping[str, object]) -> None:
        for listener in self.listeners:
            listener.tell(event)


def _part(size: int, chance: float) -> int:
    """Some of it, at least one step."""
    return max(STEP, int(size * chance) // STEP * STEP)


def _error(status: int, text: str) -> Response:
    return status, encode_json({"error": text})


def _shown(order: TrueOrder, as_of_ns: int) -> OpenOrder | None:
    seen = order.at(as_of_ns)
    if seen is None or not order.shown:
        return None
    return OpenOrder(
        order.venue_id,
        seen.status,
        MARKET.condition_id,
        order.token_id,
        order.side,
        order.price,
        order.size,
        seen.filled,
        order_type=order.tif.value,
        owner=API_KEY,
        maker_address=ADDRESS,
        created_ns=order.created_ns,
    )


def _trade(order: TrueOrder, trade_id: str, size: int, price: int, now_ns: int, *, is_taker: bool) -> Trade:
    stranger_id = "0x" + f"{int(trade_id[2:]):064x}"
    if is_taker:
        first = size if size < 2 * STEP else size // 2 // STEP * STEP
        sizes = [first] if first == size else [first, size - first]
        legs = tuple(
            MakerLeg(stranger_id, "stranger", STRANGER, order.token_id, order.side.opposite, part, price)
            for part in sizes
        )
    else:
        legs = (MakerLeg(order.venue_id, API_KEY, ADDRESS, order.token_id, order.side, size, price),)
    return Trade(
        trade_id=trade_id,
        taker_order_id=order.venue_id if is_taker else stranger_id,
        market=MARKET.condition_id,
        token_id=order.token_id,
        side=order.side if is_taker else order.side.opposite,
        size=size,
        price=price,
        settlement=Settlement.MATCHED,
        maker_orders=legs,
        trader_side=TAKER if is_taker else MAKER,
        owner=API_KEY if is_taker else "stranger",
        maker_address=ADDRESS if is_taker else STRANGER,
        match_ns=now_ns,
        event_ns=now_ns,
    )
