"""What the exchange's account events mean for one account of ours. Pure.

In: orders and trades as the exchange publishes them. Out: VenueOrderChanged and VenueFill for our legs only, in the
words of the bus. Other people's legs of a trade never leave here.
"""

from __future__ import annotations

from common.fixed import mul_ceil, mul_floor
from common.messages import (
    ExchangeTrade,
    Message,
    OrderCanceled,
    OrderMatched,
    OrderPlaced,
    TradeMade,
    TradeSettled,
    VenueFill,
    VenueOrderChanged,
)
from common.types import Side
from common.venues.exchange.names import VENUE, bus_id

_KINDS: dict[type[Message], str] = {OrderPlaced: "PLACEMENT", OrderMatched: "UPDATE", OrderCanceled: "CANCELLATION"}


def account_events(event: Message, account: str, wallet: str) -> list[Message]:
    """What one event of the stream says of this account; nothing when it is another's."""
    match event:
        case OrderPlaced() | OrderMatched() | OrderCanceled():
            return [_order_changed(event, wallet)] if event.order.account == account else []
        case TradeMade() | TradeSettled():
            return list(own_fills(event.trade, account, wallet))
        case _:
            return []


def _order_changed(event: OrderPlaced | OrderMatched | OrderCanceled, wallet: str) -> VenueOrderChanged:
    order = event.order
    return VenueOrderChanged(
        VENUE,
        wallet,
        order.venue_order_id,
        _KINDS[type(event)],
        order.status,
        order.reason,
        order.filled_size,
        order.updated_ns,
    )


def own_fills(trade: ExchangeTrade, account: str, wallet: str) -> list[VenueFill]:
    """Our legs of a trade, the taker's first. Who pays pays the ceiling, who receives gets the floor."""
    fills: list[VenueFill] = []
    if trade.taker_account == account:
        leg = (trade.taker_order_id, trade.token_id, trade.side, trade.size, trade.price)
        fills.append(_fill(trade, wallet, leg, is_taker=True))
    for maker in trade.makers:
        if maker.account == account:
            leg = (maker.venue_order_id, maker.token_id, maker.side, maker.size, maker.price)
            fills.append(_fill(trade, wallet, leg, is_taker=False))
    return fills


def _fill(trade: ExchangeTrade, wallet: str, leg: tuple[str, str, Side, int, int], *, is_taker: bool) -> VenueFill:
    order_id, token_id, side, size, price = leg
    return VenueFill(
        venue=VENUE,
        wallet=wallet,
        trade_id=trade.trade_id,
        venue_order_id=order_id,
        token_id=bus_id(token_id),
        side=side,
        size=size,
        price=price,
        cash=mul_ceil(price, size) if side is Side.BUY else mul_floor(price, size),
        is_taker=is_taker,
        settlement=trade.settlement,
        tx_hash=trade.tx_hash,
        matched_ns=trade.matched_ns,
    )
