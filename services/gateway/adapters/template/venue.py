"""The far end of the template's line: a shop that buys and sells two things at fixed prices, with accounts. Pure.

In: the bytes of one request, and the time. Out: the bytes of one reply. It fills takers from the shop's levels, which
are always full again, keeps what is left of a resting order, and refuses an order id it has seen, for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from common.fixed import mul_ceil
from common.types import ONE, Side, TimeInForce
from services.gateway.adapters.template.wire import (
    AnyRequest,
    CancelAll,
    CancelOrders,
    GetBook,
    GetMoney,
    GetOpenOrders,
    GetOrder,
    GetTime,
    GetTrades,
    PlaceOrder,
    PlaceOrders,
    Reply,
    WireOrder,
    WireTrade,
    decode_request,
    encode,
)

TICK: Final = 10_000
PRICE_MAX: Final = 2 * ONE
MIN_SIZE: Final = 5 * ONE
GRANT: Final = 1_000 * ONE
LEVELS: Final = ((0, 30 * ONE), (1, 80 * ONE), (2, 500 * ONE))
"""The shop's levels: so many ticks behind its best price, so much."""
ITEMS: Final = {"clip": (480_000, 520_000), "pin": (900_000, 950_000)}
"""What is traded, with the shop's best bid and offer."""


class Rejected(Exception):
    """A request is refused with one of the venue's words."""


@dataclass
class Order:
    key: str
    request: PlaceOrder
    created_ns: int
    filled: int = 0
    paid: int = 0
    status: str = "LIVE"

    @property
    def remaining(self) -> int:
        return self.request.size - self.filled

    @property
    def reserved(self) -> int:
        """Money a live BUY holds back."""
        is_buy = self.status == "LIVE" and self.request.side is Side.BUY
        return mul_ceil(self.request.price, self.remaining) if is_buy else 0

    def to_wire(self) -> WireOrder:
        made = self.request
        return WireOrder(
            made.id,
            made.item,
            made.side,
            made.price,
            made.size,
            self.filled,
            self.paid,
            self.status,
            self.created_ns,
        )


@dataclass
class Account:
    cash: int = GRANT
    held: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ITEMS, 0))
    trades: list[WireTrade] = field(default_factory=list)


class Shop:
    """One venue. `wall_ns` is its clock."""

    def __init__(self, keys: set[str], wall_ns: Callable[[], int]) -> None:
        self._accounts = {key: Account() for key in keys}
        self._orders: dict[str, Order] = {}
        self._wall_ns = wall_ns

    def answer(self, raw: bytes) -> bytes:
        try:
            return encode(self._answer(decode_request(raw)))
        except msgspec.DecodeError:
            return encode(Reply("bad request"))
        except Rejected as refused:
            return encode(Reply(str(refused)))

    def _answer(self, request: AnyRequest) -> Reply:
        if request.key not in self._accounts:
            raise Rejected("bad key")
        match request:
            case PlaceOrder():
                return Reply(orders=[self._place(request).to_wire()])
            case PlaceOrders():
                return self._place_all(request)
            case CancelOrders():
                return self._cancel(request.key, request.ids)
            case CancelAll():
                live = self._live(request.key)
                return self._cancel(request.key, [o.request.id for o in live if request.item in ("", o.request.item)])
            case _:
                return self._read(request)

    def _read(self, request: AnyRequest) -> Reply:
        account = self._accounts[request.key]
        match request:
            case GetOrder():
                found = self._of(request.key, request.id)
                return Reply(orders=[found.to_wire()] if found else [])
            case GetOpenOrders():
                return Reply(orders=[order.to_wire() for order in self._live(request.key)])
            case GetTrades():
                return Reply(trades=[trade for trade in account.trades if trade.at_ns >= request.after_ns])
            case GetMoney():
                return Reply(cash=account.cash, held=dict(account.held))
            case GetBook():
                return Reply(bids=_levels(request.item, Side.SELL), asks=_levels(request.item, Side.BUY))
            case GetTime():
                return Reply(now_ns=self._wall_ns())
        raise Rejected("bad request")

    # --- orders ---

    def _place_all(self, batch: PlaceOrders) -> Reply:
        orders, errors = [], []
        for request in batch.orders:
            try:
                orders.append(self._place(request).to_wire())
                errors.append("")
            except Rejected as refused:
                orders.append(Order(request.key, request, 0, status="CANCELED").to_wire())
                errors.append(str(refused))
        return Reply(orders=orders, errors=errors)

    def _place(self, request: PlaceOrder) -> Order:
        if request.id in self._orders:
            raise Rejected("duplicate id")
        self._check(request)
        order = Order(request.key, request, self._wall_ns())
        taken = _taken(request)
        self._check_matching(request, sum(size for _, size in taken))
        self._check_funds(order)
        self._orders[request.id] = order
        for price, size in taken:
            self._fill(order, price, size)
        if not order.remaining:
            order.status = "MATCHED"
        elif not request.tif.rests:
            order.status = "CANCELED"
        return order

    def _check(self, request: PlaceOrder) -> None:
        if request.item not in ITEMS:
            raise Rejected("no such item")
        if request.price % TICK or not 0 < request.price <= PRICE_MAX:
            raise Rejected("off the grid")
        if request.size < MIN_SIZE:
            raise Rejected("too small")
        if (request.tif is TimeInForce.GTD) != (request.ends_ns > self._wall_ns()):
            raise Rejected("bad end")

    @staticmethod
    def _check_matching(request: PlaceOrder, size: int) -> None:
        if request.maker_only and size:
            raise Rejected("would take")
        if request.tif is TimeInForce.FOK and size < request.size:
            raise Rejected("not filled whole")
        if request.tif is TimeInForce.FAK and not size:
            raise Rejected("not filled")

    def _check_funds(self, order: Order) -> None:
        account = self._accounts[order.key]
        if order.request.side is Side.SELL:
            selling = [o for o in self._live(order.key) if o.request.side is Side.SELL]
            reserved = sum(o.remaining for o in selling if o.request.item == order.request.item)
            enough = order.request.size + reserved <= account.held[order.request.item]
        else:
            enough = order.reserved + sum(o.reserved for o in self._live(order.key)) <= account.cash
        if not enough:
            raise Rejected("not enough money")

    def _fill(self, order: Order, price: int, size: int) -> None:
        account, made = self._accounts[order.key], order.request
        cash = price * size // ONE
        sign = 1 if made.side is Side.BUY else -1
        account.cash -= sign * cash
        account.held[made.item] += sign * size
        order.filled += size
        order.paid += cash
        number = len(account.trades) + 1
        account.trades.append(WireTrade(f"t{number}", made.id, made.item, made.side, price, size, self._wall_ns()))

    # --- cancels ---

    def _cancel(self, key: str, ids: list[str]) -> Reply:
        canceled, not_canceled = [], {}
        for order_id in ids:
            order = self._of(key, order_id)
            if order is None:
                not_canceled[order_id] = "no such order"
            elif order.status != "LIVE":
                not_canceled[order_id] = "order is over"
            else:
                order.status = "CANCELED"
                canceled.append(order_id)
        return Reply(canceled=canceled, not_canceled=not_canceled)

    def _of(self, key: str, order_id: str) -> Order | None:
        order = self._orders.get(order_id)
        return order if order is not None and order.key == key else None

    def _live(self, key: str) -> list[Order]:
        return [order for order in self._orders.values() if order.key == key and order.status == "LIVE"]


def _levels(item: str, taker: Side) -> list[tuple[int, int]]:
    """What the shop offers a taker of this side, best first."""
    if item not in ITEMS:
        raise Rejected("no such item")
    bid, ask = ITEMS[item]
    if taker is Side.BUY:
        return [(ask + ticks * TICK, size) for ticks, size in LEVELS]
    return [(bid - ticks * TICK, size) for ticks, size in LEVELS]


def _taken(request: PlaceOrder) -> list[tuple[int, int]]:
    """(price, size) of each level an order meets, at the shop's prices."""
    left, taken = request.size, []
    for price, size in _levels(request.item, request.side):
        reached = price <= request.price if request.side is Side.BUY else price >= request.price
        if reached and left:
            taken.append((price, min(size, left)))
            left -= taken[-1][1]
    return taken
