"""A Binance-like spot exchange: accounts, filters, price-time matching, orders and trades. Pure.

In: checked-by-nobody parameters of a request, whose account it is, and the time in ms. Out: the answer as the venue
shapes it, or Denied. It is what our own client is tried against offline, so it takes nothing the venue would refuse
and says nothing the venue would not say. Fees are taken from what is received, as the venue does.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from common.venues.binance.wire import (
    ID_PATTERN,
    UNIT,
    Denied,
    Params,
    decimal,
    integer,
    matching,
    product,
    required,
    text_of,
    word,
)

BUY: Final = "BUY"
SELL: Final = "SELL"
_SIDES: Final = frozenset({BUY, SELL})
_TYPES: Final = frozenset({"LIMIT", "MARKET", "LIMIT_MAKER"})
_TIFS: Final = frozenset({"GTC", "IOC", "FOK"})
_OPEN: Final = frozenset({"NEW", "PARTIALLY_FILLED"})
_DAY_MS: Final = 24 * 3_600_000
PAGE: Final = 500
PAGE_MAX: Final = 1_000
FOREVER: Final = 1 << 62
KEPT_MAX: Final = 20_000
"""Orders and trades of one symbol."""


class Symbol(msgspec.Struct, frozen=True):
    """An instrument and its filters, in units of 10^-8."""

    base: str
    quote: str
    tick: int
    step: int
    price_max: int = 1_000_000 * UNIT
    quantity_min: int = 0
    quantity_max: int = 9_000 * UNIT
    notional_min: int = 5 * UNIT
    orders_max: int = 200
    trading: bool = True

    @property
    def name(self) -> str:
        return self.base + self.quote


class Balance(msgspec.Struct):
    free: int = 0
    locked: int = 0


class Account(msgspec.Struct):
    """`commission` in units of 10^-8 of what is received."""

    name: str
    commission: int = 0
    balances: dict[str, Balance] = {}

    def of(self, asset: str) -> Balance:
        return self.balances.setdefault(asset, Balance())


class Order(msgspec.Struct, eq=False):
    order_id: int
    client_order_id: str
    account: Account
    symbol: Symbol
    side: str
    type: str
    tif: str
    price: int
    quantity: int
    created_ms: int
    updated_ms: int
    quote_quantity: int = 0
    status: str = "NEW"
    executed: int = 0
    spent: int = 0
    locked: int = 0

    @property
    def remaining(self) -> int:
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        return self.status in _OPEN

    @property
    def rank(self) -> tuple[int, int]:
        """Best first: price, then time."""
        return (-self.price if self.side == BUY else self.price, self.order_id)


class Trade(msgspec.Struct, frozen=True):
    trade_id: int
    symbol: Symbol
    price: int
    quantity: int
    at_ms: int
    buyer: Order
    seller: Order
    buyer_is_maker: bool
    buyer_fee: int
    seller_fee: int

    @property
    def money(self) -> int:
        return product(self.price, self.quantity)


class Market:
    """One symbol's book, orders and trades."""

    def __init__(self, symbol: Symbol) -> None:
        self.symbol = symbol
        self.sides: dict[str, list[Order]] = {BUY: [], SELL: []}
        self.orders: dict[int, Order] = {}
        self.newest: dict[tuple[str, str], Order] = {}
        """By account and client order id: an id may be used again once its order is over."""
        self.trades: list[Trade] = []
        self.version = 1

    def forget(self) -> None:
        """The oldest of what is over goes when there is too much of it, as the venue archives it."""
        if len(self.trades) > KEPT_MAX:
            del self.trades[: KEPT_MAX // 2]
        if len(self.orders) > KEPT_MAX:
            over = [order for order in self.orders.values() if not order.is_open][: KEPT_MAX // 2]
            for order in over:
                del self.orders[order.order_id]
                if self.newest.get((order.account.name, order.client_order_id)) is order:
                    del self.newest[order.account.name, order.client_order_id]

    def against(self, side: str) -> list[Order]:
        return self.sides[SELL if side == BUY else BUY]

    def crossed(self, side: str, price: int) -> Iterator[Order]:
        """What an order of this side and price would meet, best first."""
        for maker in self.against(side):
            if (maker.price > price) if side == BUY else (maker.price < price):
                return
            yield maker


class SpotVenue:
    """Everything of the venue that is not HTTP."""

    def __init__(self, symbols: list[Symbol]) -> None:
        self.markets = {symbol.name: Market(symbol) for symbol in symbols}
        self.accounts: dict[str, Account] = {}
        self._order_id = 1_000
        self._trade_id = 5_000

    def open_account(self, name: str, holdings: Mapping[str, int], commission: int = 0) -> Account:
        balances = {asset: Balance(units) for asset, units in holdings.items()}
        self.accounts[name] = account = Account(name, commission, balances)
        return account

    # --- orders ---

    def new_order(self, account: Account, params: Params, now_ms: int) -> dict[str, object]:
        order = self._checked(account, params, now_ms)
        market = self.markets[order.symbol.name]
        self._admit(order, market)
        market.orders[order.order_id] = order
        market.newest[account.name, order.client_order_id] = order
        fills = self._match(order, market, now_ms)
        self._finish_or_rest(order, market, now_ms)
        market.version += 1
        market.forget()
        return order_shape(order, now_ms) | {"fills": [fill_shape(trade, order) for trade in fills]}

    def get_order(self, account: Account, params: Params) -> dict[str, object]:
        return order_report(self._named(account, params, Denied(-2013, "Order does not exist.")))

    def cancel_order(self, account: Account, params: Params, now_ms: int) -> dict[str, object]:
        unknown = Denied(-2011, "Unknown order sent.")
        order = self._named(account, params, unknown)
        if not order.is_open:
            raise unknown
        self._end(order, "CANCELED", now_ms)
        self.markets[order.symbol.name].version += 1
        named = {"origClientOrderId": order.client_order_id, "clientOrderId": f"cancel{order.order_id}"}
        return order_shape(order, now_ms) | named

    def open_orders(self, account: Account, params: Params) -> list[dict[str, object]]:
        markets = [self._market(params)] if params.get("symbol") else list(self.markets.values())
        orders = [order for market in markets for order in market.orders.values()]
        return [order_report(order) for order in orders if order.account is account and order.is_open]

    def all_orders(self, account: Account, params: Params) -> list[dict[str, object]]:
        """From `orderId` on, else the newest."""
        first, limit = integer(params, "orderId", 0), _limit(params)
        orders = [o for o in self._market(params).orders.values() if o.account is account and o.order_id >= first]
        return [order_report(order) for order in (orders[:limit] if first else orders[-limit:])]

    def my_trades(self, account: Account, params: Params) -> list[dict[str, object]]:
        """From `fromId` or `startTime` on, else the newest; oldest first."""
        market, limit = self._market(params), _limit(params)
        first, start = integer(params, "fromId", 0), integer(params, "startTime", 0)
        end = integer(params, "endTime", FOREVER)
        if start and end != FOREVER and end - start > _DAY_MS:
            raise Denied(-1127, "More than 24 hours between startTime and endTime.")
        found = [
            own_trade_shape(trade, order)
            for trade in market.trades
            for order in (trade.buyer, trade.seller)
            if order.account is account and trade.trade_id >= first and start <= trade.at_ms <= end
        ]
        return found[:limit] if first or start else found[-limit:]

    def account_report(self, account: Account, now_ms: int) -> dict[str, object]:
        rate = text_of(account.commission)
        return {
            "makerCommission": account.commission // (UNIT // 10_000),
            "takerCommission": account.commission // (UNIT // 10_000),
            "commissionRates": {"maker": rate, "taker": rate, "buyer": text_of(0), "seller": text_of(0)},
            "canTrade": True,
            "canWithdraw": True,
            "canDeposit": True,
            "updateTime": now_ms,
            "accountType": "SPOT",
            "balances": [
                {"asset": asset, "free": text_of(balance.free), "locked": text_of(balance.locked)}
                for asset, balance in sorted(account.balances.items())
            ],
            "permissions": ["SPOT"],
        }

    # --- what is public ---

    def depth(self, params: Params) -> dict[str, object]:
        market, limit = self._market(params), min(integer(params, "limit", 100), 5_000)
        return {
            "lastUpdateId": market.version,
            "bids": _levels(market.sides[BUY], limit),
            "asks": _levels(market.sides[SELL], limit),
        }

    def trades(self, params: Params) -> list[dict[str, object]]:
        return [public_trade_shape(trade) for trade in self._market(params).trades[-_limit(params) :]]

    def exchange_info(self, names: list[str], now_ms: int) -> dict[str, object]:
        """All symbols, or those named; one unknown name refuses the question."""
        for name in names:
            if name not in self.markets:
                raise Denied(-1121, "Invalid symbol.")
        chosen = names or list(self.markets)
        return {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
                {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
            ],
            "exchangeFilters": [],
            "symbols": [symbol_shape(self.markets[name].symbol) for name in chosen],
        }

    # --- inside ---

    def _market(self, params: Params) -> Market:
        found = self.markets.get(required(params, "symbol"))
        if found is None:
            raise Denied(-1121, "Invalid symbol.")
        return found

    def _named(self, account: Account, params: Params, missing: Denied) -> Order:
        market = self._market(params)
        if params.get("orderId"):
            found = market.orders.get(integer(params, "orderId"))
        elif params.get("origClientOrderId"):
            found = market.newest.get((account.name, params["origClientOrderId"]))
        else:
            raise Denied(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        if found is None or found.account is not account:
            raise missing
        return found

    def _checked(self, account: Account, params: Params, now_ms: int) -> Order:
        symbol = self._market(params).symbol
        side = word(params, "side", _SIDES, -1117, "Invalid side.")
        kind = word(params, "type", _TYPES, -1116, "Invalid orderType.")
        tif = "GTC"
        if kind == "LIMIT":
            tif = word(params, "timeInForce", _TIFS, -1115, "Invalid timeInForce.")
        elif params.get("timeInForce"):
            raise Denied(-1106, "Parameter 'timeInForce' sent when not required.")
        by_money = kind == "MARKET" and "quoteOrderQty" in params
        self._order_id += 1
        given = params.get("newClientOrderId") or f"venue{self._order_id}"
        return Order(
            order_id=self._order_id,
            client_order_id=matching("newClientOrderId", given, ID_PATTERN),
            account=account,
            symbol=symbol,
            side=side,
            type=kind,
            tif=tif,
            price=0 if kind == "MARKET" else decimal(params, "price"),
            quantity=0 if by_money else decimal(params, "quantity"),
            quote_quantity=decimal(params, "quoteOrderQty") if by_money else 0,
            created_ms=now_ms,
            updated_ms=now_ms,
        )

    def _admit(self, order: Order, market: Market) -> None:
        """Filters, id, maker-only, money; nothing is changed before all have passed. Raises Denied."""
        if not order.symbol.trading:
            raise Denied(-1013, "Market is closed.")
        check_filters(order, sum(1 for o in market.orders.values() if o.account is order.account and o.is_open))
        known = market.newest.get((order.account.name, order.client_order_id))
        if known is not None and known.is_open:
            raise Denied(-2010, "Duplicate order sent.")
        if order.type == "LIMIT_MAKER" and next(market.crossed(order.side, order.price), None) is not None:
            raise Denied(-2010, "Order would immediately match and take.")
        self._lock(order, market)

    def _lock(self, order: Order, market: Market) -> None:
        asset = order.symbol.quote if order.side == BUY else order.symbol.base
        if order.side == SELL:
            needed = order.quantity
        elif order.type == "MARKET":
            needed = order.quote_quantity or _cost_of(order.quantity, market.against(BUY))
        else:
            needed = product(order.price, order.quantity)
        balance = order.account.of(asset)
        if needed > balance.free:
            raise Denied(-2010, "Account has insufficient balance for requested action.")
        balance.free -= needed
        balance.locked += needed
        order.locked = needed

    def _match(self, order: Order, market: Market, now_ms: int) -> list[Trade]:
        limit = order.price if order.type != "MARKET" else (FOREVER if order.side == BUY else 0)
        makers = list(market.crossed(order.side, limit))
        if order.tif == "FOK" and sum(m.remaining for m in makers if m.account is not order.account) < order.quantity:
            return []
        trades: list[Trade] = []
        for maker in makers:
            quantity = min(_wanted(order, maker.price), maker.remaining)
            if not quantity:
                break
            if maker.account is order.account:
                self._end(maker, "EXPIRED_IN_MATCH", now_ms)  # self-trade prevention, as by default
                continue
            trades.append(self._trade(order, maker, quantity, market, now_ms))
        return trades

    def _trade(self, taker: Order, maker: Order, quantity: int, market: Market, now_ms: int) -> Trade:
        self._trade_id += 1
        buyer, seller = (taker, maker) if taker.side == BUY else (maker, taker)
        money = product(maker.price, quantity)
        fees = product(buyer.account.commission, quantity), product(seller.account.commission, money)
        trade = Trade(self._trade_id, taker.symbol, maker.price, quantity, now_ms, buyer, seller, maker is buyer, *fees)
        market.trades.append(trade)
        for order, paid in ((buyer, money), (seller, quantity)):
            order.executed += quantity
            order.spent += money
            order.updated_ms = now_ms
            order.status = "FILLED" if not order.remaining else "PARTIALLY_FILLED"
            _take(order, paid)
        buyer.account.of(taker.symbol.base).free += quantity - fees[0]
        seller.account.of(taker.symbol.quote).free += money - fees[1]
        if maker.status == "FILLED":
            self._end(maker, "FILLED", now_ms)
        else:
            _unlock_surplus(maker)
        return trade

    def _finish_or_rest(self, order: Order, market: Market, now_ms: int) -> None:
        if order.type == "MARKET" and order.quote_quantity:
            order.quantity = order.executed
        if order.executed and not order.remaining:
            self._end(order, "FILLED", now_ms)
        elif order.type == "MARKET" or order.tif != "GTC":
            self._end(order, "EXPIRED", now_ms)
        else:
            _unlock_surplus(order)
            insort(market.sides[order.side], order, key=lambda o: o.rank)

    def _end(self, order: Order, status: str, now_ms: int) -> None:
        order.status = status
        order.updated_ms = now_ms
        balance = order.account.of(order.symbol.quote if order.side == BUY else order.symbol.base)
        balance.free += order.locked
        balance.locked -= order.locked
        order.locked = 0
        side = self.markets[order.symbol.name].sides[order.side]
        if order in side:
            side.remove(order)


def check_filters(order: Order, open_orders: int) -> None:
    """Raises Denied naming the filter."""
    symbol = order.symbol
    if order.type != "MARKET":
        if not 0 < order.price <= symbol.price_max or order.price % symbol.tick:
            raise Denied(-1013, "Filter failure: PRICE_FILTER")
        if product(order.price, order.quantity) < symbol.notional_min:
            raise Denied(-1013, "Filter failure: NOTIONAL")
    if not order.quote_quantity:
        low = max(symbol.quantity_min, symbol.step)
        if not low <= order.quantity <= symbol.quantity_max or order.quantity % symbol.step:
            raise Denied(-1013, "Filter failure: LOT_SIZE")
    if order.type != "MARKET" and open_orders >= symbol.orders_max:
        raise Denied(-1013, "Filter failure: MAX_NUM_ORDERS")


def _wanted(order: Order, price: int) -> int:
    """How much more the order would take at this price."""
    if not order.quote_quantity:
        return order.remaining
    affordable = (order.quote_quantity - order.spent) * UNIT // price
    return affordable - affordable % order.symbol.step


def _cost_of(quantity: int, makers: list[Order]) -> int:
    """What a market buy would pay for as much of it as there is."""
    cost = 0
    for maker in makers:
        part = min(quantity, maker.remaining)
        cost += product(maker.price, part)
        quantity -= part
    return cost


def _take(order: Order, paid: int) -> None:
    """Pay from what the order holds back."""
    balance = order.account.of(order.symbol.quote if order.side == BUY else order.symbol.base)
    order.locked -= paid
    balance.locked -= paid


def _unlock_surplus(order: Order) -> None:
    """A buy that paid less than its price holds back what its rest needs, no more."""
    needed = product(order.price, order.remaining) if order.side == BUY else order.remaining
    balance = order.account.of(order.symbol.quote if order.side == BUY else order.symbol.base)
    balance.locked -= order.locked - needed
    balance.free += order.locked - needed
    order.locked = needed


def _levels(orders: list[Order], limit: int) -> list[list[str]]:
    levels: dict[int, int] = {}
    for order in orders:
        levels[order.price] = levels.get(order.price, 0) + order.remaining
    return [[text_of(price), text_of(quantity)] for price, quantity in list(levels.items())[:limit]]


def _limit(params: Params) -> int:
    return min(integer(params, "limit", PAGE), PAGE_MAX)


# --- shapes ---


def order_shape(order: Order, now_ms: int) -> dict[str, object]:
    """An order in the answer to a place or a cancel."""
    return {
        "symbol": order.symbol.name,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        "transactTime": now_ms,
        **_amounts(order),
        "workingTime": order.created_ms,
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def order_report(order: Order) -> dict[str, object]:
    """An order as it is looked up and listed."""
    return {
        "symbol": order.symbol.name,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_order_id,
        **_amounts(order),
        "stopPrice": text_of(0),
        "icebergQty": text_of(0),
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": True,
        "workingTime": order.created_ms,
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }


def _amounts(order: Order) -> dict[str, object]:
    return {
        "price": text_of(order.price),
        "origQty": text_of(order.quantity),
        "executedQty": text_of(order.executed),
        "origQuoteOrderQty": text_of(order.quote_quantity),
        "cummulativeQuoteQty": text_of(order.spent),
        "status": order.status,
        "timeInForce": order.tif,
        "type": order.type,
        "side": order.side,
    }


def _fee_of(trade: Trade, order: Order) -> tuple[int, str]:
    if order is trade.buyer:
        return trade.buyer_fee, trade.symbol.base
    return trade.seller_fee, trade.symbol.quote


def fill_shape(trade: Trade, order: Order) -> dict[str, object]:
    fee, asset = _fee_of(trade, order)
    return {
        "price": text_of(trade.price),
        "qty": text_of(trade.quantity),
        "commission": text_of(fee),
        "commissionAsset": asset,
        "tradeId": trade.trade_id,
    }


def own_trade_shape(trade: Trade, order: Order) -> dict[str, object]:
    fee, asset = _fee_of(trade, order)
    return {
        "symbol": trade.symbol.name,
        "id": trade.trade_id,
        "orderId": order.order_id,
        "orderListId": -1,
        "price": text_of(trade.price),
        "qty": text_of(trade.quantity),
        "quoteQty": text_of(trade.money),
        "commission": text_of(fee),
        "commissionAsset": asset,
        "time": trade.at_ms,
        "isBuyer": order is trade.buyer,
        "isMaker": trade.buyer_is_maker == (order is trade.buyer),
        "isBestMatch": True,
    }


def public_trade_shape(trade: Trade) -> dict[str, object]:
    return {
        "id": trade.trade_id,
        "price": text_of(trade.price),
        "qty": text_of(trade.quantity),
        "quoteQty": text_of(trade.money),
        "time": trade.at_ms,
        "isBuyerMaker": trade.buyer_is_maker,
        "isBestMatch": True,
    }


def symbol_shape(symbol: Symbol) -> dict[str, object]:
    return {
        "symbol": symbol.name,
        "status": "TRADING" if symbol.trading else "BREAK",
        "baseAsset": symbol.base,
        "baseAssetPrecision": 8,
        "quoteAsset": symbol.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": text_of(symbol.tick),
                "maxPrice": text_of(symbol.price_max),
                "tickSize": text_of(symbol.tick),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": text_of(max(symbol.quantity_min, symbol.step)),
                "maxQty": text_of(symbol.quantity_max),
                "stepSize": text_of(symbol.step),
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": text_of(symbol.notional_min),
                "applyMinToMarket": True,
                "maxNotional": text_of(9_000_000 * UNIT),
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": symbol.orders_max},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
    }
