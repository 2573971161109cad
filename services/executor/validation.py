"""Whether a place can be taken at all, and what exactly would be signed. Pure.

In: a PlaceOrder, the market it means, the time. Out: nothing, or one Refusal with a stable code, the offending field,
the value and the rule; then the amounts. Checks run from the outside in: names, kind, price, size. What a venue of this
kind cannot do is refused here too. Nothing in here knows orders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from common.effects import Now
from common.errors import Refusal
from common.fixed import format_micros, mul_ceil, mul_floor
from common.instruments import SPOT, Market
from common.messages import PlaceOrder
from common.reasons import Reason
from common.types import ONE, OrderType, Side, TimeInForce
from common.venues.capabilities import capabilities_of
from common.venues.polymarket.amounts import (
    SIZE_STEP,
    Amounts,
    check_size,
    immediate_amounts,
    limit_amounts,
    quoted_buy_amounts,
)
from services.executor.config import WalletConfig
from services.executor.terms import is_signed

EXPIRY_MIN_NS = 180 * 1_000_000_000
EXPIRY_MAX_NS = 10 * 366 * 24 * 3600 * 1_000_000_000
NOTIONAL_MIN = ONE
"""A BUY that takes liquidity must be worth at least this much (protocol section 6, item 4)."""

BPS_MAX = 10_000
SIZE_MAX = 10**15
"""A billion shares or dollars: sums of thousands of such orders stay inside 64 bits."""
ID_MAX = 64
_OUR_ID = re.compile(r"o-[0-9]+", re.ASCII)
_SHOWN = 48


class Named(NamedTuple):
    """A place that names real things."""

    wallet: WalletConfig
    market: Market
    token_id: str
    outcome: str


def is_id(text: str) -> bool:
    """1 to 64 visible ASCII characters."""
    return 0 < len(text) <= ID_MAX and text.isascii() and text.isprintable() and " " not in text


def check_client_order_id(client_order_id: str) -> None:
    """ "" is fine: the executor then uses its own order id."""
    if not client_order_id:
        return
    if not is_id(client_order_id):
        text = f"{_shown(client_order_id)} is not 1 to 64 visible ASCII characters"
        raise Refusal(Reason.BAD_ID, text, "client_order_id")
    if client_order_id.startswith("o-") and _OUR_ID.fullmatch(client_order_id):
        text = f"{_shown(client_order_id)} looks like one of our order ids: choose another form"
        raise Refusal(Reason.BAD_ID, text, "client_order_id")


def is_client_order_id(text: str) -> bool:
    """Whether a client may choose this id."""
    return is_id(text) and _OUR_ID.fullmatch(text) is None


def wallet_of(account: str, wallets: Mapping[str, WalletConfig]) -> WalletConfig:
    """The wallet of an account. Raises Refusal UNKNOWN_ACCOUNT."""
    wallet = wallets.get(account)
    if wallet is None:
        raise unknown_account(account, wallets)
    return wallet


def wallet_for(command: PlaceOrder, wallets: Mapping[str, WalletConfig]) -> WalletConfig:
    """The wallet of the account, which must be on the venue that is asked for ("" is the wallet's own)."""
    wallet = wallet_of(command.account, wallets)
    if command.venue not in ("", wallet.venue):
        text = f"account {command.account} trades on {wallet.venue}, not on {_shown(command.venue)}"
        raise Refusal(Reason.UNKNOWN_VENUE, text, "venue")
    return wallet


def unknown_account(account: str, known_accounts: Iterable[str]) -> Refusal:
    known = ", ".join(islice(known_accounts, 10)) or "none"
    return Refusal(Reason.UNKNOWN_ACCOUNT, f"no account {_shown(account)}; accounts: {known}", "account")


def unknown_market(word: str, venue: str = "") -> Refusal:
    """`venue`: where it was looked for; "" is everywhere."""
    where = f" on {venue}, where this account trades" if venue else ""
    text = f"no market {_shown(word)}{where}: `polyexec markets` lists slugs and condition ids"
    return Refusal(Reason.UNKNOWN_MARKET, text, "market")


def check_bounds(command: PlaceOrder, market: Market) -> None:
    """What must hold even where validation is switched off: numbers that sums can take, what money may buy, and what
    a venue of this kind can do at all."""
    if not 0 <= command.size <= SIZE_MAX:
        text = f"size {format_micros(command.size)} is not between 0.01 and {format_micros(SIZE_MAX)}"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if not 0 <= command.price < ONE and (market.kind != SPOT or not 0 <= command.price <= market.highest_price):
        raise _price_out_of_range(command.price, market)
    if command.quote:
        _check_quote(command, market)
    if not is_signed(market.venue):
        _check_supported(command, market.venue)


def _check_supported(command: PlaceOrder, venue: str) -> None:
    can = capabilities_of(venue)
    if (command.tif is TimeInForce.GTD and not can.gtd) or (command.tif is TimeInForce.FOK and not can.fok):
        raise Refusal(Reason.UNSUPPORTED, f"{venue} has no {command.tif} orders: choose another", "tif")
    if command.post_only and not can.post_only:
        raise Refusal(Reason.UNSUPPORTED, f"{venue} has no post-only orders: leave it out", "post_only")


def check_place(command: PlaceOrder, named: Named, now: Now) -> None:
    """What can be said about the command by itself. Raises Refusal."""
    market = named.market
    _check_kind(command)
    _check_expiry(command, now)
    if not market.accepting:
        raise Refusal(Reason.MARKET_CLOSED, f"{market.slug} does not accept orders (any more)", "market")
    if command.price or command.order_type is not OrderType.MARKET:
        check_price_of(command.price, market)
    if not 0 <= command.max_slippage_bps <= BPS_MAX:
        text = f"{command.max_slippage_bps} is not between 0 and {BPS_MAX} basis points"
        raise Refusal(Reason.BAD_NUMBER, text, "max_slippage_bps")
    if not command.quote:
        _check_size(command, market)


def _check_kind(command: PlaceOrder) -> None:
    if command.order_type is OrderType.MARKET and command.tif.rests:
        text = f"a market order is FAK or FOK with its worst price, not {command.tif}"
        raise Refusal(Reason.BAD_TIF, text, "tif")
    if command.post_only and not command.tif.rests:
        text = f"post-only is for orders that may rest (GTC, GTD), not for {command.tif}"
        raise Refusal(Reason.BAD_POST_ONLY, text, "post_only")


def _check_expiry(command: PlaceOrder, now: Now) -> None:
    if command.tif is not TimeInForce.GTD:
        if command.expire_ns:
            text = f"an expiry is for GTD orders, not for {command.tif}"
            raise Refusal(Reason.BAD_EXPIRY, text, "expire_ns")
        return
    if not now.wall_ns + EXPIRY_MIN_NS <= command.expire_ns <= now.wall_ns + EXPIRY_MAX_NS:
        left_s = (command.expire_ns - now.wall_ns) // 1_000_000_000
        text = f"a GTD order must live at least 180 s and at most ten years, not {left_s} s"
        raise Refusal(Reason.BAD_EXPIRY, text, "expire_ns")


def check_price_of(price: int, market: Market) -> None:
    """Inside the market's range and on its grid. Raises Refusal."""
    if market.kind != SPOT:
        check_price(price, market.tick)
    elif not 0 < price <= market.highest_price:
        raise _price_out_of_range(price, market)
    elif price % market.tick:
        raise _off_the_grid(price, market.tick, market.highest_price)


def check_price(price: int, tick: int) -> None:
    """Inside (0, 1) and on the market's grid; off it, the nearest prices that would do are named."""
    if not 0 < price < ONE:
        raise Refusal(Reason.BAD_PRICE, f"price {format_micros(price)} is not between 0 and 1", "price")
    if price % tick:
        raise _off_the_grid(price, tick, ONE - tick)


def _price_out_of_range(price: int, market: Market) -> Refusal:
    most = format_micros(market.highest_price) if market.is_spot else "1"
    return Refusal(Reason.BAD_PRICE, f"price {format_micros(price)} is not between 0 and {most}", "price")


def _off_the_grid(price: int, tick: int, highest: int) -> Refusal:
    below, above = price - price % tick, price - price % tick + tick
    near = [format_micros(value) for value in (below, above) if tick <= value <= highest]
    text = f"price {format_micros(price)} is off the tick of {format_micros(tick)}; nearest: {' or '.join(near)}"
    return Refusal(Reason.BAD_TICK, text, "price")


def _check_quote(command: PlaceOrder, market: Market) -> None:
    if command.order_type is not OrderType.MARKET or command.side is not Side.BUY:
        raise Refusal(Reason.BAD_REQUEST, "an amount of money is for market BUY orders; others give a size", "quote")
    if command.size:
        raise Refusal(Reason.BAD_REQUEST, "give a size or an amount of money, not both", "quote")
    least = max(1, market.min_notional) if market.is_spot else NOTIONAL_MIN
    if not least <= command.quote <= SIZE_MAX:
        shown = f"{format_micros(command.quote)} is not between the venue's minimum of"
        text = f"{shown} {format_micros(least)} and {format_micros(SIZE_MAX)}"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "quote")


def _check_size(command: PlaceOrder, market: Market) -> None:
    size = command.size
    if not is_signed(market.venue):
        _check_step(size, market)
        return
    check_size(size)
    if size % SIZE_STEP:
        text = f"size {format_micros(size)} has more than two decimals, which is all that can be signed"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if command.tif.rests:
        check_resting_size(size, market)


def _check_step(size: int, market: Market) -> None:
    """On the market's steps; off them, the nearest sizes that would do are named."""
    step = market.size_step
    if size > 0 and size % step == 0:
        return
    near = [format_micros(value) for value in (size - size % step, size - size % step + step) if value > 0]
    text = f"size {format_micros(size)} is off the step of {format_micros(step)}; nearest: {' or '.join(near)}"
    raise Refusal(Reason.BAD_SIZE, text, "size")


def check_resting_size(size: int, market: Market) -> None:
    """The venue's minimum for an order that may rest. Raises Refusal."""
    if size < market.min_size:
        text = f"size {format_micros(size)} is below the minimum of {format_micros(market.min_size)} of {market.slug}"
        raise Refusal(Reason.SIZE_TOO_SMALL, text, "size")


def resting_amounts(side: Side, price: int, size: int, market: Market) -> Amounts:
    """What is sent for an order that may rest. Raises Refusal for a price off the grid or a size that is nothing."""
    check_resting_size(size, market)  # again: a policy may have capped it, or part of it has filled
    if not is_signed(market.venue):
        return plain_amounts(side, price, size, market)
    return limit_amounts(side, price, size, market.tick)


def amounts_of(command: PlaceOrder, market: Market, price: int, size: int, quote: int) -> Amounts:
    """What is sent. Raises Refusal when it cannot be, or is worth less than the venue takes."""
    if command.tif.rests:
        return resting_amounts(command.side, price, size, market)
    if not is_signed(market.venue):
        amounts = plain_amounts(command.side, price, size, market)
        if market.kind == SPOT:
            return amounts
    elif quote:
        amounts = quoted_buy_amounts(quote, price, market.tick)
    else:
        amounts = immediate_amounts(command.side, price, size, market.tick)
    if command.side is Side.BUY and amounts.maker < NOTIONAL_MIN:
        text = f"a {command.tif} BUY worth ${format_micros(amounts.maker)} is below the venue's minimum of $1"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "size")
    return amounts


def plain_amounts(side: Side, price: int, size: int, market: Market) -> Amounts:
    """What an order of a venue without signed amounts gives and wants; nothing is rounded but the last micro of money.

    Raises Refusal for what is off the market's grid, below its minimums, or more than 64 bits of sums can hold.
    """
    check_price_of(price, market)
    shares = size - size % market.size_step
    if shares <= 0:
        text = f"size {format_micros(size)} is less than the step of {format_micros(market.size_step)}"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if market.kind == SPOT:
        check_resting_size(shares, market)  # a spot venue has one minimum for all orders
    worth = price * shares
    if worth > SIZE_MAX * ONE or shares > SIZE_MAX:
        text = f"the order is larger or worth more than {format_micros(SIZE_MAX)}"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if worth < market.min_notional * ONE:
        shown, least = format_micros(mul_floor(price, shares)), format_micros(market.min_notional)
        text = f"an order worth {shown} is below the minimum of {least} of {market.slug}"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "size")
    if side is Side.BUY:
        return Amounts(mul_ceil(price, shares), shares)
    return Amounts(shares, mul_floor(price, shares))


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
