"""May this order enter? The rules of protocol sections 3.7 and 6, each refused with the venue's own sentence.

In: a SubmitOrder, its market, the account and the planned matches. Out: nothing, or a Refusal with code, text and
field. It changes nothing; the caller asks in the order of this file.
"""

from __future__ import annotations

from common.errors import Refusal
from common.fixed import format_micros, mul_ceil, mul_floor
from common.instruments import Market
from common.messages import SubmitOrder
from common.reasons import Reason
from common.types import ONE, Side, TimeInForce
from common.venues.polymarket.fees import taker_fee
from services.exchange.accounts import CASH, Account
from services.exchange.ladder import Order
from services.exchange.whistle import Match

MARKETABLE_BUY_MIN = ONE
SIZE_MAX = 10**15
"""A billion shares: everything computed from sizes stays far inside 64 bits on the wire."""
ID_LENGTH_MAX = 128

FOK_KILLED = "order couldn't be fully filled. FOK orders are fully filled or killed."
FAK_KILLED = "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found."
POST_ONLY_CROSSES = "invalid post-only order: order crosses book"
INVALID_PAYLOAD = "Invalid order payload"
NOT_READY = "the market is not yet ready to process new orders"


def check_terms(message: SubmitOrder, market: Market, wall_ns: int, *, liquidity: bool) -> None:
    """The order by itself: post-only, expiry, price and size against the market's grid and minimum."""
    if not market.accepting:
        raise Refusal(Reason.MARKET_CLOSED, NOT_READY, "token_id")
    rests = message.tif.rests
    if len(message.owner) > ID_LENGTH_MAX or len(message.expiration) > ID_LENGTH_MAX:
        raise Refusal(Reason.BAD_REQUEST, INVALID_PAYLOAD, "owner")
    if message.post_only and not rests:
        raise Refusal(Reason.BAD_POST_ONLY, INVALID_PAYLOAD, "post_only")
    expires = message.expire_ns > wall_ns if message.tif is TimeInForce.GTD else message.expire_ns == 0
    if not expires:
        raise Refusal(Reason.BAD_EXPIRY, "invalid expiration", "expire_ns")
    _check_price(message, market.tick)
    if not 0 < message.size <= SIZE_MAX:
        raise Refusal(Reason.BAD_SIZE, _too_small(message, market), "size")
    if rests and message.size < market.min_size and not liquidity:
        raise Refusal(Reason.SIZE_TOO_SMALL, _too_small(message, market), "size")


def _check_price(message: SubmitOrder, tick: int) -> None:
    """Resting orders stand on the grid; of FAK and FOK the exact signed ratio is the limit (protocol section 3.3)."""
    price = message.price
    on_grid = price % tick == 0
    in_range = tick <= price <= ONE - tick if message.tif.rests else 0 < price < ONE
    if in_range and (on_grid or not message.tif.rests):
        return
    shown = f"Price ({format_micros(price)}) breaks minimum tick size rule: {format_micros(tick)}"
    code = Reason.BAD_TICK if in_range else Reason.BAD_PRICE
    raise Refusal(code, f"order {message.venue_order_id} is invalid. {shown}", "price")


def _too_small(message: SubmitOrder, market: Market) -> str:
    shown = f"Size ({format_micros(message.size)}) lower than the minimum: {format_micros(market.min_size)}"
    return f"order {message.venue_order_id} is invalid. {shown}"


def check_matching(message: SubmitOrder, matches: list[Match]) -> None:
    """The order against the book: post-only must not match, a marketable BUY must be worth a dollar."""
    if message.post_only and matches:
        raise Refusal(Reason.POST_ONLY_CROSSES, POST_ONLY_CROSSES, "post_only")
    if message.side is Side.BUY and (matches or not message.tif.rests) and _spends_too_little(message):
        shown = format_micros(mul_floor(message.price, message.size))
        text = f"invalid amount for a marketable BUY order (${shown}), min size: ${MARKETABLE_BUY_MIN // ONE}"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "size")


def _spends_too_little(message: SubmitOrder) -> bool:
    """A market price is a ratio cut to micros: refuse only what no amount behind it could save."""
    if message.tif.rests:
        return message.price * message.size < MARKETABLE_BUY_MIN * ONE
    return (message.price + 1) * message.size <= MARKETABLE_BUY_MIN * ONE


def check_funds(account: Account, order: Order, matches: list[Match], market: Market) -> None:
    """Room for the whole order: a BUY needs its amount and the fees of what it would take now."""
    if order.side is Side.SELL:
        asset, need = market.token_ids[order.outcome], order.size
    else:
        left = order.size - sum(match.size for match in matches)
        spent = sum(mul_ceil(match.taker_price(order.outcome), match.size) for match in matches)
        amount = max(mul_ceil(order.price, order.size), spent + mul_ceil(order.price, left))
        asset, need = CASH, amount + sum(fee_of(match, order, market) for match in matches)
    room = account.room(asset)
    if need > room:
        shown = f"balance: {room}, order amount (inc. fees): {need}"
        text = f"not enough balance / allowance: the balance is not enough -> {shown}"
        raise Refusal(Reason.INSUFFICIENT_BALANCE, text, "size")


def fee_of(match: Match, order: Order, market: Market) -> int:
    """The taker's fee of one trade; a SELL never pays more than it receives."""
    price = match.taker_price(order.outcome)
    fee = taker_fee(match.size, price, market.fee_rate, market.fee_exponent)
    return fee if order.side is Side.BUY else min(fee, mul_floor(price, match.size))
