"""Whether a place can be taken at all, and what exactly would be signed. Pure.

In: a PlaceOrder, the market it means, the time. Out: nothing, or one Refusal with a stable code, the offending field,
the value and the rule; then the amounts. Checks run from the outside in: names, kind, price, size. Nothing in here
knows orders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from common.effects import Now
from common.errors import Refusal
from common.fixed import format_micros
from common.instruments import Market
from common.messages import PlaceOrder
from common.reasons import Reason
from common.types import ONE, OrderType, Side, TimeInForce
from common.venues.polymarket.amounts import (
    SIZE_STEP,
    Amounts,
    check_size,
    immediate_amounts,
    limit_amounts,
    market_buy_amounts,
)
from services.executor.config import WalletConfig

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


def unknown_market(word: str) -> Refusal:
    text = f"no market {_shown(word)}: `polyexec markets` lists slugs and condition ids"
    return Refusal(Reason.UNKNOWN_MARKET, text, "market")


def check_bounds(command: PlaceOrder) -> None:
    """What must hold even where validation is switched off: numbers that sums can take, and what money may buy."""
    if not 0 <= command.size <= SIZE_MAX:
        text = f"size {format_micros(command.size)} is not between 0.01 and {format_micros(SIZE_MAX)}"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if not 0 <= command.price < ONE:
        raise Refusal(Reason.BAD_PRICE, f"price {format_micros(command.price)} is not between 0 and 1", "price")
    if command.quote:
        _check_quote(command)


def check_place(command: PlaceOrder, named: Named, now: Now) -> None:
    """What can be said about the command by itself. Raises Refusal."""
    market = named.market
    _check_kind(command)
    _check_expiry(command, now)
    if not market.accepting:
        raise Refusal(Reason.MARKET_CLOSED, f"{market.slug} does not accept orders (any more)", "market")
    if command.price or command.order_type is not OrderType.MARKET:
        check_price(command.price, market.tick)
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


def check_price(price: int, tick: int) -> None:
    """Inside (0, 1) and on the market's grid; off it, the nearest prices that would do are named."""
    if not 0 < price < ONE:
        raise Refusal(Reason.BAD_PRICE, f"price {format_micros(price)} is not between 0 and 1", "price")
    if price % tick == 0:
        return
    below, above = price - price % tick, price - price % tick + tick
    near = [format_micros(value) for value in (below, above) if tick <= value <= ONE - tick]
    text = f"price {format_micros(price)} is off the tick of {format_micros(tick)}; nearest: {' or '.join(near)}"
    raise Refusal(Reason.BAD_TICK, text, "price")


def _check_quote(command: PlaceOrder) -> None:
    if command.order_type is not OrderType.MARKET or command.side is not Side.BUY:
        raise Refusal(Reason.BAD_REQUEST, "an amount of money is for market BUY orders; others give a size", "quote")
    if command.size:
        raise Refusal(Reason.BAD_REQUEST, "give a size or an amount of money, not both", "quote")
    if not NOTIONAL_MIN <= command.quote <= SIZE_MAX:
        text = f"${format_micros(command.quote)} is not between the venue's minimum of $1 and {format_micros(SIZE_MAX)}"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "quote")


def _check_size(command: PlaceOrder, market: Market) -> None:
    size = command.size
    check_size(size)
    if size % SIZE_STEP:
        text = f"size {format_micros(size)} has more than two decimals, which is all that can be signed"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if command.tif.rests:
        check_resting_size(size, market)


def check_resting_size(size: int, market: Market) -> None:
    """The venue's minimum for an order that may rest. Raises Refusal."""
    if size < market.min_size:
        text = f"size {format_micros(size)} is below the minimum of {format_micros(market.min_size)} of {market.slug}"
        raise Refusal(Reason.SIZE_TOO_SMALL, text, "size")


def resting_amounts(side: Side, price: int, size: int, tick: int) -> Amounts:
    """What is signed for an order that may rest. Raises Refusal for a price off the grid or a size that is nothing."""
    return limit_amounts(side, price, size, tick)


def amounts_of(command: PlaceOrder, market: Market, price: int, size: int, quote: int) -> Amounts:
    """What is signed. Raises Refusal when it cannot be, or is worth less than the venue takes."""
    if command.tif.rests:
        check_resting_size(size, market)  # again: a policy may have capped it
        return resting_amounts(command.side, price, size, market.tick)
    if quote:
        amounts = market_buy_amounts(quote, price, market.tick)
    else:
        amounts = immediate_amounts(command.side, price, size, market.tick)
    if command.side is Side.BUY and amounts.maker < NOTIONAL_MIN:
        text = f"a {command.tif} BUY worth ${format_micros(amounts.maker)} is below the venue's minimum of $1"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "size")
    return amounts


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
