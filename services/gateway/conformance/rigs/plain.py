"""For venues that take plain fields: orders as the executor pins them, instruments from markets of ours. Pure.

In: a wanted order and random bytes, or a market. Out: a Place with an id of its own, or an Instrument. Checks nothing.
"""

from __future__ import annotations

from base64 import b32encode

from common.instruments import Market
from common.messages import Place
from common.types import OrderType
from common.venues.plain import PlainOrder, encode_plain, id_tail
from services.gateway.conformance.rig import Instrument, Wanted


def plain_place(venue: str, wallet: str, wanted: Wanted, seed: bytes, deadline_ns: int) -> Place:
    """`seed`: ten random bytes, so that no two orders have one id."""
    word = b32encode(seed).decode().lower()
    order = PlainOrder(
        f"px{word}{id_tail(wanted.token_id)}",
        wanted.token_id,
        wanted.side,
        OrderType.LIMIT,
        wanted.tif,
        wanted.post_only,
        wanted.price,
        wanted.size,
        wanted.expire_ns,
    )
    return Place(f"place-{word}", venue, wallet, order.venue_order_id, deadline_ns, encode_plain(order))


def instrument_of(market: Market, index: int, taker_notional: int = 0) -> Instrument:
    outcome = market.outcomes[index] if len(market.outcomes) > 1 else ""
    return Instrument(
        f"{market.slug} {outcome}".strip(),
        market.token_ids[index],
        market.condition_id,
        market.tick,
        market.tick,
        market.highest_price,
        market.size_step,
        market.min_size,
        market.min_notional,
        taker_notional,
    )
