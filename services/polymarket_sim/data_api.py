"""Positions, value and trades as the Data service shows them (protocol section 8.2), computed exactly. Pure.

In: an account's balances and trades, and the books. Out: JSON members of both versions. Sizes are what is on chain:
a fill counts once it is mined. Average cost: a buy adds its cash (without fees), a sell takes its share of the cost
away and realises the difference. Amounts are fractions until they are printed with six decimals, rounded half even.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from common.messages import ExchangeTrade
from common.types import ONE, Settlement, Side
from common.venues.polymarket.wire import SECOND_NS, number
from services.polymarket_sim.books import BookReplica, market_id_of
from services.polymarket_sim.catalog import iso_time
from services.polymarket_sim.translate import shown_address

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1000

TokenLookup = Callable[[str], tuple[BookReplica, int] | None]


class Leg(NamedTuple):
    """What one account did in one trade: in its own token, side and price."""

    trade: ExchangeTrade
    token_id: str
    side: Side
    size: int
    price: int
    fee: int
    is_taker: bool


class Holding(NamedTuple):
    """One account's position in one token; money in micros."""

    token_id: str
    size: int
    bought: int
    cost: Fraction
    realised: Fraction
    fees: int
    first_ns: int
    last_ns: int

    @property
    def average(self) -> Fraction:
        return self.cost / self.size if self.size else Fraction(0)


def legs_of(trades: Iterable[ExchangeTrade], account: str) -> list[Leg]:
    """The account's legs in the order of `trades`; a match with itself gives two."""
    legs: list[Leg] = []
    for trade in trades:
        if trade.taker_account == account:
            legs.append(Leg(trade, trade.token_id, trade.side, trade.size, trade.price, trade.fee, True))
        legs += [
            Leg(trade, fill.token_id, fill.side, fill.size, fill.price, 0, False)
            for fill in trade.makers
            if fill.account == account
        ]
    return legs


def holdings(tokens: dict[str, int], oldest_first: Sequence[Leg]) -> list[Holding]:
    """Positions from balances and the known trades.

    Balances are the truth about size; tokens that came without a known trade (a deposit, a history cut at its
    bound) have the average price of the known ones, or none.
    """
    by_token: dict[str, list[Leg]] = {token_id: [] for token_id in tokens}
    for leg in oldest_first:
        by_token.setdefault(leg.token_id, []).append(leg)
    found = [_holding(token_id, tokens.get(token_id, 0), legs) for token_id, legs in by_token.items()]
    return [holding for holding in found if holding.size or holding.realised or holding.bought]


def _holding(token_id: str, balance: int, legs: Sequence[Leg]) -> Holding:
    size, bought, fees = 0, 0, 0
    cost, realised = Fraction(0), Fraction(0)
    unmined = 0
    for leg in legs:
        if not _is_mined(leg.trade):
            unmined += leg.size if leg.side is Side.BUY else -leg.size
            continue
        cash = Fraction(leg.size * leg.price, ONE)
        fees += leg.fee
        if leg.side is Side.BUY:
            size, bought, cost = size + leg.size, bought + leg.size, cost + cash
        else:
            sold = min(leg.size, size)
            part = cost * sold / size if size else Fraction(0)
            realised += cash * sold / leg.size - part
            size, cost = size - sold, cost - part
    held = max(balance - unmined, 0)
    if size:
        cost = cost * held / size
    times = [leg.trade.matched_ns for leg in legs]
    return Holding(token_id, held, bought, cost, realised, fees, min(times, default=0), max(times, default=0))


def _is_mined(trade: ExchangeTrade) -> bool:
    return trade.settlement in (Settlement.MINED, Settlement.CONFIRMED)


def position_v1(holding: Holding, account: str, lookup: TokenLookup) -> dict[str, object]:
    found = lookup(holding.token_id)
    price = _price(holding.token_id, lookup)
    value = Fraction(holding.size * price, ONE)
    members: dict[str, object] = {
        "proxyWallet": shown_address(account),
        "asset": holding.token_id,
        "conditionId": found[0].market.condition_id if found else "",
        "size": number(holding.size),
        "avgPrice": exact(holding.average * ONE),
        "initialValue": exact(holding.cost),
        "currentValue": exact(value),
        "cashPnl": exact(value - holding.cost),
        "percentPnl": exact(_percent(value - holding.cost, holding.cost)),
        "totalBought": number(holding.bought),
        "realizedPnl": exact(holding.realised),
        "percentRealizedPnl": exact(_percent(holding.realised, holding.cost)),
        "curPrice": number(price),
        "redeemable": False,
        "mergeable": False,
    }
    return members | _labels_v1(found)


def _labels_v1(found: tuple[BookReplica, int] | None) -> dict[str, object]:
    if found is None:
        return {}
    market, index = found[0].market, found[1]
    return {
        "title": market.question,
        "slug": market.slug,
        "icon": "",
        "eventSlug": market.slug,
        "outcome": market.outcomes[index],
        "outcomeIndex": index,
        "oppositeOutcome": market.outcomes[1 - index],
        "oppositeAsset": market.token_ids[1 - index],
        "endDate": (iso_time(market.end_ns) or "")[:10],
        "negativeRisk": market.neg_risk,
    }


def position_v2(holding: Holding, account: str, lookup: TokenLookup) -> dict[str, object]:
    found = lookup(holding.token_id)
    price = _price(holding.token_id, lookup)
    value = Fraction(holding.size * price, ONE)
    unrealised = value - holding.cost
    members: dict[str, object] = {
        "proxy_wallet": shown_address(account),
        "token_id": holding.token_id,
        "condition_id": found[0].market.condition_id if found else "",
        "current_size": number(holding.size),
        "avg_price": exact(holding.average * ONE),
        "entry_cost_usdc": exact(holding.cost),
        "entry_fees_usdc": number(holding.fees),
        "total_cost_usdc": exact(holding.cost + holding.fees),
        "current_price": number(price),
        "current_value": exact(value),
        "total_size": number(holding.bought),
        "realized_pnl": exact(holding.realised),
        "unrealized_pnl": exact(unrealised),
        "total_pnl": exact(unrealised + holding.realised),
        "percent_pnl": exact(_percent(unrealised, holding.cost)),
        "percent_realized_pnl": exact(_percent(holding.realised, holding.cost)),
        "status": "OPEN" if holding.size else "CLOSED",
        "redeemable": False,
        "mergeable": False,
        "negative_risk": bool(found and found[0].market.neg_risk),
        "archived": False,
        "verified": True,
        "first_entry_at": holding.first_ns // SECOND_NS or None,
        "last_event_at": holding.last_ns // SECOND_NS or None,
    }
    if found:
        market, index = found[0].market, found[1]
        members |= {
            "title": market.question,
            "slug": market.slug,
            "event_slug": market.slug,
            "event_id": market_id_of(market.condition_id),
            "outcome": market.outcomes[index],
            "outcome_index": index,
            "opposite_outcome": market.outcomes[1 - index],
            "opposite_token_id": market.token_ids[1 - index],
            "end_date": (iso_time(market.end_ns) or "")[:10],
        }
    return members


def trade_v1(leg: Leg, account: str, lookup: TokenLookup) -> dict[str, object]:
    found = lookup(leg.token_id)
    members: dict[str, object] = {
        "proxyWallet": shown_address(account),
        "side": leg.side.value,
        "asset": leg.token_id,
        "conditionId": leg.trade.condition_id,
        "size": number(leg.size),
        "price": number(leg.price),
        "timestamp": leg.trade.matched_ns // SECOND_NS,
        "transactionHash": leg.trade.tx_hash,
    }
    if found:
        market, index = found[0].market, found[1]
        members |= {
            "title": market.question,
            "slug": market.slug,
            "icon": "",
            "eventSlug": market.slug,
            "outcome": market.outcomes[index],
            "outcomeIndex": index,
        }
    return members


def trade_v2(leg: Leg, account: str, lookup: TokenLookup) -> dict[str, object]:
    found = lookup(leg.token_id)
    members: dict[str, object] = {
        "proxy_wallet": shown_address(account),
        "token_id": leg.token_id,
        "condition_id": leg.trade.condition_id,
        "side": leg.side.value,
        "size": number(leg.size),
        "price": number(leg.price),
        "timestamp": leg.trade.matched_ns // SECOND_NS,
        "transaction_hash": leg.trade.tx_hash,
    }
    if found:
        market, index = found[0].market, found[1]
        members |= {
            "title": market.question,
            "slug": market.slug,
            "event_slug": market.slug,
            "outcome": market.outcomes[index],
            "outcome_index": index,
        }
    return members


def on_chain(legs: Iterable[Leg]) -> list[Leg]:
    """Legs the Data service can know: those with a transaction."""
    return [leg for leg in legs if _is_mined(leg.trade)]


def total_value(found: Collection[Holding], lookup: TokenLookup) -> Decimal:
    return exact(sum((Fraction(row.size * _price(row.token_id, lookup), ONE) for row in found), Fraction(0)))


def exact(micros: Fraction) -> Decimal:
    """A JSON number of a fraction of micros, rounded half even to whole micros."""
    return number(round(micros))


def _price(token_id: str, lookup: TokenLookup) -> int:
    found = lookup(token_id)
    return found[0].display_price(found[1]) if found else 0


def _percent(part: Fraction, whole: Fraction) -> Fraction:
    """Percent in micros; of nothing it is nothing."""
    return part * 100 * ONE / whole if whole else Fraction(0)
