"""Orders and trades between the venue's payloads and the exchange's messages, both ways (protocol section 3, 4.4, 5.3).

In: a posted order and who signed the request, or what the exchange knows. Out: a SubmitOrder after every check the
venue makes before matching, or the venue's refusal; REST objects and channel events for one viewer. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from common.errors import Refusal
from common.instruments import Market
from common.messages import CancelAnswer, ExchangeOrder, ExchangeTrade, MakerFill, OrderAnswer, Refused, SubmitOrder
from common.reasons import Reason
from common.types import Side, TimeInForce
from common.venues.polymarket.amounts import ROUNDING, signed_price_size
from common.venues.polymarket.contracts import ZERO_ADDRESS
from common.venues.polymarket.orders import POLY_1271, OrderV1, PostedOrder, recover_order_signer
from common.venues.polymarket.signing import checksum_address, keccak
from common.venues.polymarket.user import MAKER, TAKER, OrderEvent, OrderEventKind, trade_to_wire
from common.venues.polymarket.wire import (
    SECOND_NS,
    CancelResult,
    MakerLeg,
    OpenOrder,
    OrderReply,
    Trade,
    VenueStatus,
    encode_json,
)
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.keys import ApiKey
from services.polymarket_sim.wallets import account_of, wallets_of

GTD_MINIMUM_S: Final = 180
GTD_RETIRED_S: Final = 60
"""A GTD order leaves the book this long before its stated expiration."""
SIZE_DIGITS: Final = 2
IMMEDIATE_DIGITS: Final = 4
"""The wanted side of a FAK or FOK, on every tick."""

OWNER = "the order owner has to be the owner of the API KEY"
SIGNER = "the order signer address has to be the address of the API KEY"
VERSION_MISMATCH = "order_version_mismatch"
BAD_SIGNATURE = "invalid signature"
BAD_EXPIRATION = "invalid expiration"
BAD_PAYLOAD = "Invalid order payload"
COULD_NOT_INSERT = "could not insert order"

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


# ---- a posted order ----------------------------------------------------------------------------------------------


def check_posted(
    posted: PostedOrder, who: ApiKey, market: Market, *, chain_id: int, accept_v1: bool, wall_ns: int
) -> None:
    """Whether the venue would hand it to matching; Denied with its words when not."""
    if posted.owner != who.key:
        raise Denied(400, OWNER)
    if posted.version == 1 and not accept_v1:
        raise Denied(400, VERSION_MISMATCH)
    _check_parties(posted, who)
    _check_signature(posted, who, market, chain_id)
    _check_expiration(posted, wall_ns)
    _check_amounts(posted, market.tick)


def _check_parties(posted: PostedOrder, who: ApiKey) -> None:
    """The signer is the key's address (or the deposit wallet itself) and may trade for the maker."""
    order = posted.order
    signer = order.maker if order.signature_type == POLY_1271 else who.name.address
    if order.signer != signer:
        raise Denied(400, SIGNER)
    if order.maker not in wallets_of(who.name.address)[order.signature_type]:
        raise Denied(400, BAD_SIGNATURE)
    if isinstance(order, OrderV1) and order.taker != ZERO_ADDRESS:
        raise Denied(400, BAD_PAYLOAD)


def _check_signature(posted: PostedOrder, who: ApiKey, market: Market, chain_id: int) -> None:
    try:
        signer = recover_order_signer(posted.order, posted.signature, chain_id, market.neg_risk, posted.version)
    except Refusal:
        raise Denied(400, BAD_SIGNATURE) from None
    if signer != who.name.address:
        raise Denied(400, BAD_SIGNATURE)


def _check_expiration(posted: PostedOrder, wall_ns: int) -> None:
    if posted.order_type is TimeInForce.GTD:
        if posted.expiration < wall_ns // SECOND_NS + GTD_MINIMUM_S:
            raise Denied(400, BAD_EXPIRATION)
    elif posted.expiration:
        raise Denied(400, BAD_EXPIRATION)


def _check_amounts(posted: PostedOrder, tick: int) -> None:
    """How many decimals may be signed: immediate orders the same on every tick, resting ones by the tick's table."""
    immediate = not posted.order_type.rests
    digits = IMMEDIATE_DIGITS if immediate else _amount_digits(tick)
    if posted.side is Side.BUY:
        maker, taker = (SIZE_DIGITS, digits) if immediate else (digits, SIZE_DIGITS)
    else:
        maker, taker = SIZE_DIGITS, digits
    if posted.order.maker_amount % 10 ** (6 - maker) or posted.order.taker_amount % 10 ** (6 - taker):
        kind = "sell" if posted.side is Side.SELL else "market buy" if immediate else "buy"
        text = f"invalid amounts, the {kind} orders maker amount supports a max accuracy of {maker} decimals"
        raise Denied(400, f"{text}, taker amount a max of {taker} decimals")


def _amount_digits(tick: int) -> int:
    rounding = ROUNDING.get(tick)
    step = rounding.amount if rounding else 1
    return 6 - (len(str(step)) - 1)


def submit_order(posted: PostedOrder, venue_order_id: str, command_id: str, *, reuse: bool = False) -> SubmitOrder:
    """The checked order as a command: price and size are what the signed amounts mean."""
    order = posted.order
    try:
        price, size = signed_price_size(posted.side, order.maker_amount, order.taker_amount)
    except Refusal:
        raise Denied(400, BAD_PAYLOAD) from None
    return SubmitOrder(
        command_id=command_id,
        account=account_of(order.maker),
        venue_order_id=venue_order_id,
        token_id=str(order.token_id),
        side=posted.side,
        price=min(price, 10**12),
        size=min(size, 10**16),
        tif=posted.order_type,
        post_only=posted.post_only,
        expire_ns=(posted.expiration - GTD_RETIRED_S) * SECOND_NS if posted.order_type is TimeInForce.GTD else 0,
        owner=posted.owner,
        expiration=str(posted.expiration),
        reuse=reuse,
    )


def order_reply(answer: OrderAnswer) -> OrderReply:
    matched = bool(answer.trade_ids)
    return OrderReply(
        success=True,
        order_id=answer.venue_order_id,
        status=answer.status,
        making=answer.making if matched else None,
        taking=answer.taking if matched else None,
        trade_ids=tuple(answer.trade_ids),
    )


def refused_order(answer: Refused, venue_order_id: str) -> Denied:
    """A refusal of the exchange in the venue's terms. Only what surely did not enter is a 4xx."""
    match answer.code:
        case Reason.OVERLOADED:
            return Denied(429, "Too Many Requests")
        case Reason.FOK_NOT_FILLED | Reason.FAK_NOT_FILLED:
            return Denied(400, answer.text, orderID=venue_order_id)
        case Reason.INTERNAL | Reason.UNKNOWN_MESSAGE:
            return Denied(500, COULD_NOT_INSERT)
    return Denied(400, answer.text)


def batch_refusal(denied: Denied) -> dict[str, object]:
    """A refused element of POST /orders; production says success here, only the text and the empty id tell."""
    order = str(denied.more.get("orderID", ""))
    return OrderReply(success=True, error=denied.text, order_id=order).to_wire()


def merged_cancels(answers: Collection[CancelAnswer]) -> dict[str, object]:
    """One result of the same cancel asked for several wallets: canceled anywhere is canceled."""
    canceled = tuple(order for answer in answers for order in answer.canceled)
    refused = {order: text for answer in answers for order, text in answer.not_canceled.items()}
    return CancelResult(canceled, {order: refused[order] for order in refused if order not in canceled}).to_wire()


# ---- orders and trades as REST shows them ------------------------------------------------------------------------


def shown_address(account: str) -> str:
    """The wallet of an account; accounts of the house have no wallet and get an address of their own."""
    if _ADDRESS.fullmatch(account):
        return checksum_address(account)
    return checksum_address("0x" + keccak(account.encode())[12:].hex())


def status_text(order: ExchangeOrder) -> str:
    """The venue's word; a killed order that never matched carries the reason in it."""
    match order.status:
        case "LIVE" | "MATCHED":
            return order.status
        case "EXPIRED":
            return VenueStatus.CANCELED_EXPIRED_ORDER.value
        case "KILLED" if not order.filled_size:
            return f"CANCELED_{order.reason}"
    return VenueStatus.CANCELED.value


def open_order(order: ExchangeOrder) -> dict[str, object]:
    return OpenOrder(
        order_id=order.venue_order_id,
        status=VenueStatus.UNKNOWN,
        market=order.condition_id,
        token_id=order.token_id,
        side=order.side,
        price=order.price,
        original_size=order.size,
        size_matched=order.filled_size,
        order_type=order.tif.value,
        owner=order.owner,
        maker_address=shown_address(order.account),
        outcome=order.outcome,
        expiration_s=int(order.expiration),
        created_ns=order.created_ns,
        associate_trades=order.trade_ids,
        status_text=status_text(order),
    ).to_wire()


def trade_view(trade: ExchangeTrade, accounts: Collection[str], viewer_key: str, market: Market | None) -> Trade:
    """The trade as one party sees it: top level is the taker's, `trader_side` and `trade_owner` the viewer's."""
    return Trade(
        trade_id=trade.trade_id,
        taker_order_id=trade.taker_order_id,
        market=trade.condition_id,
        token_id=trade.token_id,
        side=trade.side,
        size=trade.size,
        price=trade.price,
        settlement=trade.settlement,
        maker_orders=tuple(_leg(fill, trade, market) for fill in trade.makers),
        trader_side=TAKER if trade.taker_account in accounts else MAKER,
        owner=trade.taker_owner,
        trade_owner=viewer_key,
        maker_address=shown_address(trade.taker_account),
        tx_hash=trade.tx_hash,
        fee_rate=trade.fee_rate,
        outcome=trade.outcome,
        match_ns=trade.matched_ns,
        last_update_ns=trade.updated_ns,
        event_ns=trade.updated_ns,
    )


def _leg(fill: MakerFill, trade: ExchangeTrade, market: Market | None) -> MakerLeg:
    return MakerLeg(
        order_id=fill.venue_order_id,
        owner=fill.owner,
        maker_address=shown_address(fill.account),
        token_id=fill.token_id,
        side=fill.side,
        size=fill.size,
        price=fill.price,
        fee_rate=trade.fee_rate,
        outcome=fill.outcome,
        outcome_index=market.token_ids.index(fill.token_id) if market else 0,
    )


# ---- user channel events -----------------------------------------------------------------------------------------


def order_frame(kind: OrderEventKind, order: ExchangeOrder) -> bytes:
    """An order event. A killed order that never matched has empty texts where the venue leaves them empty."""
    text = status_text(order)
    event = OrderEvent(
        kind=kind,
        venue_order_id=order.venue_order_id,
        status=VenueStatus.UNKNOWN,
        market=order.condition_id,
        token_id=order.token_id,
        side=order.side,
        price=order.price,
        original_size=order.size,
        size_matched=order.filled_size,
        owner=order.owner,
        order_owner=order.owner,
        maker_address=shown_address(order.account),
        outcome=order.outcome,
        order_type=order.tif.value,
        expiration_s=int(order.expiration),
        created_ns=order.created_ns,
        event_ns=order.updated_ns,
        associate_trades=order.trade_ids,
        status_text=text,
    ).to_wire()
    if order.status == "KILLED" and not order.filled_size:
        event |= {"size_matched": "", "outcome": "", "created_at": ""}
    return encode_json(event)


def trade_frame(trade: Trade) -> bytes:
    return encode_json(trade_to_wire(trade))


# ---- scoring -----------------------------------------------------------------------------------------------------

SCORING_AGE_NS: Final = 3_500_000_000
SCORING_SPREAD: Final = 30_000
"""A resting order earns when it is old enough, large enough and within three cents of the midpoint."""


def is_scoring(order: ExchangeOrder, midpoint: int | None, min_size: int, wall_ns: int) -> bool:
    return (
        order.status == "LIVE"
        and midpoint is not None
        and order.size - order.filled_size >= min_size
        and wall_ns - order.created_ns >= SCORING_AGE_NS
        and abs(order.price - midpoint) <= SCORING_SPREAD
    )
