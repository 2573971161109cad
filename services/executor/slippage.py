"""What an order that takes liquidity would pay: an exact walk of the book, and the guard that judges it (spec 4 s.4).

In: the bounded view of one book, side, size or money, the worst price. Out: shares, cash, fee and the worst level
reached; the slippage in basis points against the best price, fees on both sides of the comparison; or a refusal that
says whether the book is missing, empty, or only longer than the view (DEPTH_TRUNCATED). All of it in integers: what is
shown as refused at 50.01 bps is never let through as 50.
"""

from __future__ import annotations

from typing import NamedTuple

from common.errors import Refusal
from common.fixed import ceil_to, div_ceil, div_floor, floor_to, format_micros, mul_ceil, mul_floor
from common.instruments import Market
from common.messages import BookView, Level
from common.reasons import Reason
from common.types import ONE, FeedState, Side
from services.executor.terms import fee_of

BPS = 10_000


class Walk(NamedTuple):
    """What `size` shares would come to. `exhausted`: the levels ended first; `truncated`: the book may go on."""

    size: int
    cash: int
    fee: int
    best: int
    worst: int
    exhausted: bool
    truncated: bool


def effective_price(side: Side, found: Walk) -> int:
    """What one share comes to, fee included, rounded against the one who trades; 0 when nothing trades."""
    if not found.size:
        return 0
    if side is Side.BUY:
        return div_ceil(found.cash + found.fee, found.size)
    return div_floor(found.cash - found.fee, found.size)


def levels_for(side: Side, view: BookView) -> tuple[list[Level], bool]:
    """The levels an order of this side takes, best first, and whether they are the whole side."""
    return (view.asks, view.whole_asks) if side is Side.BUY else (view.bids, view.whole_bids)


def within(side: Side, price: int, limit: int) -> bool:
    """Whether a level at `price` is not worse than `limit` (0: any price) for an order of this side."""
    return not limit or (price <= limit if side is Side.BUY else price >= limit)


def walk(side: Side, view: BookView, market: Market, limit: int, *, size: int = 0, quote: int = 0) -> Walk:
    """Take `size` shares, or as many as `quote` money buys, from the levels not worse than `limit`."""
    levels, whole = levels_for(side, view)
    got = cash = fee = best = worst = 0
    left, money = size, quote
    for price, offered in levels:
        if not within(side, price, limit):
            return Walk(got, cash, fee, best, worst, exhausted=True, truncated=False)
        best = best or price
        taken = min(offered, left) if size else min(offered, money * ONE // max(price, 1))
        if taken:
            paid = mul_ceil(price, taken) if side is Side.BUY else mul_floor(price, taken)
            got, cash, worst = got + taken, cash + paid, price
            fee += fee_of(market, taken, price)
            left, money = left - taken, money - paid
        if (size and not left) or (quote and (taken < offered or not money)):
            return Walk(got, cash, fee, best, worst, exhausted=False, truncated=False)
    return Walk(got, cash, fee, best, worst, exhausted=True, truncated=not whole)


def slippage_exceeds(side: Side, found: Walk, market: Market, max_bps: int) -> bool:
    """Whether the walk is worse than the best price by more than `max_bps`, by exact comparison."""
    return _loss(side, found, market) * BPS > max_bps * _reference(side, found, market)


def slippage_bps(side: Side, found: Walk, market: Market) -> str:
    """The slippage as text with two decimals, rounded up: for people, never for a decision."""
    reference = _reference(side, found, market)
    hundredths = -(-_loss(side, found, market) * BPS * 100 // reference) if reference else 0
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def _reference(side: Side, found: Walk, market: Market) -> int:
    """What all of it would come to at the best price, fee included."""
    fee = fee_of(market, found.size, found.best)
    if side is Side.BUY:
        return mul_ceil(found.best, found.size) + fee
    return max(1, mul_floor(found.best, found.size) - fee)


def _loss(side: Side, found: Walk, market: Market) -> int:
    reference = _reference(side, found, market)
    paid = found.cash + found.fee if side is Side.BUY else found.cash - found.fee
    return max(0, paid - reference if side is Side.BUY else reference - paid)


def bound_price(side: Side, best: int, max_bps: int, tick: int, highest: int = 0) -> int:
    """The worst grid price that is not worse than `best` by more than `max_bps`: what an unpriced order signs.

    `highest` is the highest price of the grid; 0 that of a binary market.
    """
    if side is Side.BUY:
        return max(best, min(highest or ONE - tick, floor_to(best * (BPS + max_bps) // BPS, tick)))
    return min(best, max(tick, ceil_to(-(-best * (BPS - max_bps) // BPS), tick)))


def readable(view: BookView | None) -> BookView:
    """A view that can be walked. Raises Refusal BOOK_MISSING or STALE_DATA."""
    if view is None:
        text = "no book of this token is known (yet): it is followed from now on, ask again"
        raise Refusal(Reason.BOOK_MISSING, text, "outcome")
    if view.state is not FeedState.LIVE:
        text = f"the book of this token is {view.state}{': ' if view.reason else ''}{view.reason}"
        raise Refusal(Reason.STALE_DATA, text, "outcome")
    return view


def worst_price(side: Side, view: BookView | None, market: Market, max_bps: int) -> int:
    """The price an order without one is signed at. Raises Refusal when there is no book or nothing to take."""
    levels, whole = levels_for(side, readable(view))
    if not levels:
        raise _nothing(side, whole)
    return bound_price(side, levels[0][0], max_bps, market.tick, market.highest_price)


def check(
    side: Side,
    view: BookView | None,
    market: Market,
    price: int,
    max_bps: int,
    *,
    size: int = 0,
    quote: int = 0,
    whole_only: bool = False,
) -> Walk:
    """The walk of an order that may slip by `max_bps` at most; `whole_only` is all of it or nothing (FOK).

    Raises Refusal: BOOK_MISSING, STALE_DATA, NO_LIQUIDITY (nothing at this price), DEPTH_TRUNCATED (the view ended
    before the order did), SLIPPAGE_LIMIT with what it would cost and what would do.
    """
    found = walk(side, readable(view), market, price, size=size, quote=quote)
    if found.truncated:
        text = (
            f"the order reaches past the {len(levels_for(side, readable(view))[0])} levels the executor sees "
            f"({format_micros(found.size)} shares): reduce the size or give a price"
        )
        raise Refusal(Reason.DEPTH_TRUNCATED, text, "quote" if quote else "size")
    if not found.size:
        raise _nothing(side, whole=True, limit=price)
    if whole_only and found.exhausted:
        text = f"only {format_micros(found.size)} shares stand at {format_micros(price)} or better: reduce the size"
        raise Refusal(Reason.NO_LIQUIDITY, text, "quote" if quote else "size")
    if slippage_exceeds(side, found, market, max_bps):
        better = "increase the price limit" if side is Side.BUY else "lower the price limit"
        effective = format_micros(effective_price(side, found))
        text = (
            f"expected slippage {slippage_bps(side, found, market)} bps is above {max_bps}: "
            f"{format_micros(found.size)} shares would trade at {effective} with fees, "
            f"best is {format_micros(found.best)}; reduce the size or {better} (max_slippage_bps)"
        )
        raise Refusal(Reason.SLIPPAGE_LIMIT, text, "quote" if quote else "size")
    return found


def _nothing(side: Side, whole: bool, limit: int = 0) -> Refusal:
    what = "asks" if side is Side.BUY else "bids"
    if not whole:
        return Refusal(Reason.DEPTH_TRUNCATED, f"the view of the book has no {what}, the book may have", "outcome")
    at = f" at {format_micros(limit)} or better" if limit else ""
    return Refusal(Reason.NO_LIQUIDITY, f"the book has no {what}{at}", "price" if limit else "outcome")
