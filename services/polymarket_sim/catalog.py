"""Markets and prices as the CLOB's public reads show them (protocol sections 4.1 and 4.3). Pure.

In: book replicas. Out: JSON members; numbers that the venue sends as JSON numbers keep their exact digits.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from common.types import Side
from common.venues.polymarket.wire import SECOND_NS, CompactMarket, number
from services.polymarket_sim.books import BookReplica

LEGACY_FEE_BPS: Final = 1000
"""What the legacy fee fields say where fees are on; never a fee to compute with."""
HALF: Final = "0.5"


def iso_time(at_ns: int) -> str | None:
    """UTC with whole seconds; None for a time that was never set."""
    if not at_ns:
        return None
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def base_fee(replica: BookReplica) -> int:
    return LEGACY_FEE_BPS if replica.market.fee_rate else 0


def compact_market(replica: BookReplica) -> dict[str, object]:
    market = replica.market
    return CompactMarket(
        condition_id=market.condition_id,
        token_ids=market.token_ids,
        outcomes=market.outcomes,
        tick_size=market.tick,
        min_order_size=market.min_size,
        neg_risk=market.neg_risk,
        fee_rate=market.fee_rate,
        fee_exponent=market.fee_exponent,
        accepting_orders=market.accepting,
    ).to_wire()


def full_market(replica: BookReplica) -> dict[str, object]:
    market = replica.market
    return {
        "condition_id": market.condition_id,
        "question_id": market.condition_id,
        "question": market.question,
        "market_slug": market.slug,
        "description": market.description,
        "tokens": _tokens(replica),
        "rewards": {"rates": None, "min_size": 0, "max_spread": 0},
        "minimum_order_size": number(market.min_size),
        "minimum_tick_size": number(market.tick),
        "neg_risk": market.neg_risk,
        "neg_risk_market_id": "",
        "neg_risk_request_id": "",
        "enable_order_book": True,
        "active": True,
        "closed": False,
        "archived": False,
        "accepting_orders": market.accepting,
        "accepting_order_timestamp": iso_time(market.start_ns),
        "end_date_iso": iso_time(market.end_ns),
        "game_start_time": None,
        "seconds_delay": 0,
        "maker_base_fee": base_fee(replica),
        "taker_base_fee": base_fee(replica),
        "fpmm": "",
        "icon": "",
        "image": "",
        "is_50_50_outcome": False,
        "notifications_enabled": False,
        "tags": [market.category] if market.category else [],
    }


def simplified_market(replica: BookReplica) -> dict[str, object]:
    members = full_market(replica)
    kept = ("condition_id", "tokens", "rewards", "active", "closed", "archived", "accepting_orders")
    return {name: members[name] for name in kept}


def _tokens(replica: BookReplica) -> list[dict[str, object]]:
    market = replica.market
    return [
        {
            "token_id": token_id,
            "outcome": outcome,
            "price": number(replica.display_price(index)),
            "winner": False,
        }
        for index, (token_id, outcome) in enumerate(zip(market.token_ids, market.outcomes, strict=True))
    ]


def quoted_price(replica: BookReplica, index: int, side: Side) -> int | None:
    """BUY names the best bid and SELL the best ask, as production answers."""
    bid, ask = replica.best(index)
    return bid if side is Side.BUY else ask


def spread(replica: BookReplica, index: int) -> int | None:
    bid, ask = replica.best(index)
    return None if bid is None or ask is None else ask - bid


def history(replica: BookReplica, index: int, start_s: int, end_s: int, step_s: int) -> list[dict[str, object]]:
    """Points of [start, end], at most one per `step_s`; they begin when this process started."""
    out: list[dict[str, object]] = []
    due = 0
    for second, price in replica.history:
        if start_s <= second <= end_s and second >= due:
            shown = price if index == 0 else 1_000_000 - price
            out.append({"t": second, "p": number(shown)})
            due = second + step_s
    return out
