"""Whether a place can be taken at all, and what exactly would be signed. Pure.

In: a PlaceOrder, the market it means, the time. Out: a Ticket, or one Refusal with a stable code, the offending field,
the value and the rule. Checks run from the outside in: names, kind, price, size. Nothing in here knows orders.
"""

from __future__ import annotations

import re
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
)
from services.executor.config import Config, WalletConfig
from services.executor.markets import Markets

EXPIRY_MIN_NS = 180 * 1_000_000_000
EXPIRY_MAX_NS = 10 * 366 * 24 * 3600 * 1_000_000_000
NOTIONAL_MIN = ONE
"""A BUY that takes liquidity must be worth at least this much (protocol section 6, item 4)."""

_CLIENT_ID = re.compile(r"[!-~]{1,64}", re.ASCII)
_OUR_ID = re.compile(r"o-[0-9]+", re.ASCII)
_SHOWN = 48


class Ticket(NamedTuple):
    """A place that names real things and could be signed."""

    wallet: WalletConfig
    market: Market
    token_id: str
    outcome: str
    amounts: Amounts


def is_id(text: str) -> bool:
    """1 to 64 visible ASCII characters."""
    return _CLIENT_ID.fullmatch(text) is not None


def check_client_order_id(client_order_id: str) -> None:
    """ "" is fine: the executor then uses its own order id."""
    if not client_order_id:
        return
    if not is_id(client_order_id):
        text = f"{_shown(client_order_id)} is not 1 to 64 visible ASCII characters"
        raise Refusal(Reason.BAD_ID, text, "client_order_id")
    if _OUR_ID.fullmatch(client_order_id):
        text = f"{_shown(client_order_id)} looks like one of our order ids: choose another form"
        raise Refusal(Reason.BAD_ID, text, "client_order_id")


def is_client_order_id(text: str) -> bool:
    """Whether a client may choose this id."""
    return is_id(text) and _OUR_ID.fullmatch(text) is None


def wallet_for(command: PlaceOrder, config: Config) -> WalletConfig:
    """The wallet of the account, which must be on the venue that is asked for ("" is the wallet's own)."""
    wallet = config.wallet_of(command.account)
    if wallet is None:
        raise unknown_account(command.account, config)
    if command.venue not in ("", wallet.venue):
        text = f"account {command.account} trades on {wallet.venue}, not on {_shown(command.venue)}"
        raise Refusal(Reason.UNKNOWN_VENUE, text, "venue")
    return wallet


def unknown_account(account: str, config: Config) -> Refusal:
    known = ", ".join(row.name for row in config.accounts[:10]) or "none"
    return Refusal(Reason.UNKNOWN_ACCOUNT, f"no account {_shown(account)}; accounts: {known}", "account")


def unknown_market(word: str) -> Refusal:
    text = f"no market {_shown(word)}: `polyexec markets` lists slugs and condition ids"
    return Refusal(Reason.UNKNOWN_MARKET, text, "market")


def check_place(command: PlaceOrder, config: Config, markets: Markets, now: Now) -> Ticket:
    """Everything that can be said about the command by itself. Raises Refusal."""
    wallet = wallet_for(command, config)
    market = markets.find(wallet.venue, command.market)
    if market is None:
        raise unknown_market(command.market)
    index = market.outcome_index(command.outcome)
    _check_kind(command)
    _check_expiry(command, now)
    if not market.accepting:
        raise Refusal(Reason.MARKET_CLOSED, f"{market.slug} does not accept orders (any more)", "market")
    check_price(command.price, market.tick)
    _check_size(command, market)
    amounts = _amounts(command, market)
    return Ticket(wallet, market, market.token_ids[index], market.outcomes[index], amounts)


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


def _check_size(command: PlaceOrder, market: Market) -> None:
    size = command.size
    check_size(size)
    if size % SIZE_STEP:
        text = f"size {format_micros(size)} has more than two decimals, which is all that can be signed"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    if command.tif.rests and size < market.min_size:
        text = f"size {format_micros(size)} is below the minimum of {format_micros(market.min_size)} of {market.slug}"
        raise Refusal(Reason.SIZE_TOO_SMALL, text, "size")


def _amounts(command: PlaceOrder, market: Market) -> Amounts:
    if command.tif.rests:
        return limit_amounts(command.side, command.price, command.size, market.tick)
    amounts = immediate_amounts(command.side, command.price, command.size, market.tick)
    if command.side is Side.BUY and amounts.maker < NOTIONAL_MIN:
        text = f"a {command.tif} BUY worth ${format_micros(amounts.maker)} is below the venue's minimum of $1"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "size")
    return amounts


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
