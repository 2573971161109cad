"""What clients ask for: place, cancel, cancel all. Pure.

In: a command with where it came from. Out: one answer, kept for its repeats, and the effects of an accepted one. A
refusal changes nothing and does not use up the client order id. Cancels are taken in every state of the wallet.
"""

from __future__ import annotations

from typing import TypeAlias

from common.effects import Origin, Reply
from common.errors import Refusal
from common.messages import CancelAccepted, CancelAll, CancelOrder, Message, PlaceAnswer, PlaceOrder, Refused
from common.reasons import Reason
from common.types import FeedState
from services.executor import validation
from services.executor.catchup import MS, Wallet
from services.executor.desk import Desk
from services.executor.fences import Scope
from services.executor.idempotency import ClientId, fingerprint
from services.executor.order import IN_DOUBT, TERMINAL, Event, Order, status_of, view_of
from services.executor.pinning import DUPLICATE_REFUSED, pin
from services.executor.validation import Ticket

DEADLINE_MAX_NS = 600 * 1_000_000_000
_FENCED = "a cancel that covers this order was taken before it arrived"

Command: TypeAlias = PlaceOrder | CancelOrder | CancelAll
Answered: TypeAlias = PlaceAnswer | CancelAccepted | Refused


def take_command(desk: Desk, command: Command, origin: Origin) -> None:
    """Answer a command once; the same command id of the same sender gets the same answer again."""
    answer = _repeated(desk, command, origin.sender) or _first(desk, command, origin)
    if isinstance(command, PlaceOrder):
        desk.fences.arrived(origin.sender, origin.seq)
    desk.out.append(Reply(origin.sender, answer))


def _repeated(desk: Desk, command: Command, sender: str) -> Message | None:
    known = desk.answers.find(sender, command.command_id)
    if known is None:
        return None
    desk.count("commands_repeated")
    if not known.number:
        return known.refused or known.canceled
    order = desk.oms.get(known.number)
    return PlaceAnswer(command.command_id, view_of(order)) if order else _no_longer_kept(command, known.number)


def _first(desk: Desk, command: Command, origin: Origin) -> Answered:
    if not validation.is_id(command.command_id):
        text = "a command needs an id of 1 to 64 visible ASCII characters"
        return Refused(command.command_id[:64], Reason.BAD_ID, text, "command_id")
    try:
        match command:
            case PlaceOrder():
                return _place(desk, command, origin)
            case CancelOrder():
                answer: CancelAccepted | Refused = _cancel(desk, command, origin)
            case CancelAll():
                answer = _cancel_all(desk, command, origin)
    except Refusal as refusal:
        desk.count("commands_refused")
        answer = Refused(command.command_id, refusal.code, refusal.message, refusal.field)
    desk.answers.keep(origin.sender, command.command_id, answer, desk.now.mono_ns)
    return answer


# --- place ---


def _place(desk: Desk, command: PlaceOrder, origin: Origin) -> PlaceAnswer | Refused:
    validation.check_client_order_id(command.client_order_id)
    wallet = validation.wallet_for(command, desk.config)
    market = desk.markets.find(wallet.venue, command.market)
    condition_id = market.condition_id if market else command.market
    token_id = command.outcome
    if market is not None:
        token_id = market.token_ids[market.outcome_index(command.outcome)]
    content = fingerprint(command, wallet.venue, condition_id, token_id)
    known = desk.ids.find(command.account, command.client_order_id)
    if known is not None:
        return _duplicate(desk, command, known, content)
    scope = Scope(command.account, condition_id, command.client_order_id)
    if desk.fences.fenced(origin.sender, origin.seq, scope, desk.now.mono_ns):
        raise Refusal(Reason.FENCED, _FENCED, "client_order_id" if command.client_order_id else "")
    ticket = validation.check_place(command, desk.config, desk.markets, desk.now)
    _check_room(desk)
    ready = _check_trading(desk.wallets[wallet.venue, wallet.name])
    deadline_ns = _deadline(desk, command)
    order = _accept(desk, command, ticket, deadline_ns, ready)
    desk.ids.take(
        order.account,
        order.client_order_id,
        ClientId(order.number, content, desk.now.mono_ns, order.venue_order_id),
    )
    desk.answers.keep_place(origin.sender, command.command_id, order.number, desk.now.mono_ns)
    return PlaceAnswer(command.command_id, view_of(order))


def _duplicate(desk: Desk, command: PlaceOrder, known: ClientId, content: bytes) -> PlaceAnswer | Refused:
    """The same content gets the first order as it is now; other content under one id is a mistake of the client."""
    if known.fingerprint != content:
        text = f"{command.client_order_id} was used for another order (o-{known.number})"
        raise Refusal(Reason.DUPLICATE_ID, text, "client_order_id")
    desk.count("places_duplicate")
    order = desk.oms.get(known.number)
    if order is None:
        return _no_longer_kept(command, known.number)
    return PlaceAnswer(command.command_id, view_of(order), duplicate=True)


def _no_longer_kept(command: Command, number: int) -> Refused:
    text = f"order o-{number} is over and no longer kept"
    return Refused(command.command_id, Reason.DUPLICATE_ID, text, "client_order_id", duplicate=True)


def _check_room(desk: Desk) -> None:
    """Everything is bounded, and full is said before anything is journaled as accepted."""
    limit = desk.config.execution.open_orders_max
    if desk.oms.open_count >= limit:
        raise Refusal(Reason.TOO_MANY_ORDERS, f"{limit} orders are open, which is the limit")
    if desk.actions.full:
        raise Refusal(Reason.OVERLOADED, "too many orders wait for the gateway: ask again later")
    if desk.answers.full(desk.now.mono_ns):
        raise Refusal(Reason.OVERLOADED, "too many orders within ten minutes: ask again later")
    if desk.ids.full(desk.now.mono_ns, lambda number: _is_open(desk, number)):
        text = f"{desk.ids.limit} client order ids are in use; each is free again a day after its first use"
        raise Refusal(Reason.IDEMPOTENCY_FULL, text, "client_order_id")


def _is_open(desk: Desk, number: int) -> bool:
    order = desk.oms.get(number)
    return order is not None and order.open


def _check_trading(wallet: Wallet) -> Wallet:
    if wallet.ready is None:
        text = f"the gateway has not said that it holds the key of wallet {wallet.name}"
        raise Refusal(Reason.WALLET_NOT_READY, text, "account")
    if not wallet.caught_up:
        live = wallet.feed is FeedState.LIVE
        why = "orders and trades are being caught up" if live else f"{wallet.feed}: {wallet.reason}"
        text = f"the user channel of wallet {wallet.name} had a gap ({why}): places wait until it is closed"
        raise Refusal(Reason.FEED_GAP, text, "account")
    return wallet


def _deadline(desk: Desk, command: PlaceOrder) -> int:
    wall_ns = desk.now.wall_ns
    if not command.deadline_ns:
        return wall_ns + desk.config.execution.place_deadline_ms * MS
    if command.deadline_ns <= wall_ns:
        late_ms = (wall_ns - command.deadline_ns) // MS
        raise Refusal(Reason.DEADLINE_PASSED, f"its deadline passed {late_ms} ms ago", "deadline_ns")
    return min(command.deadline_ns, wall_ns + DEADLINE_MAX_NS)


def _accept(desk: Desk, command: PlaceOrder, ticket: Ticket, deadline_ns: int, wallet: Wallet) -> Order:
    assert wallet.ready is not None
    number, now = desk.last_order + 1, desk.now
    pinned = pin(
        command,
        ticket.amounts,
        ticket.token_id,
        ticket.market.neg_risk,
        wallet.ready,
        number=number,
        version=desk.config.polymarket.protocol_version,
        now=now,
    )
    desk.last_order = number
    order = Order(
        number=number,
        account=command.account,
        client_order_id=command.client_order_id or f"o-{number}",
        venue=wallet.venue,
        wallet=wallet.name,
        market=ticket.market.slug,
        condition_id=ticket.market.condition_id,
        token_id=ticket.token_id,
        outcome=ticket.outcome,
        side=command.side,
        order_type=command.order_type,
        tif=command.tif,
        post_only=command.post_only,
        price=command.price,
        size=pinned.size,
        expire_ns=command.expire_ns,
        deadline_ns=deadline_ns,
        deadline_mono=now.mono_ns + deadline_ns - now.wall_ns,
        venue_order_id=pinned.venue_order_id,
        pinned=pinned.pinned,
        created_ns=now.wall_ns,
        may_resend=DUPLICATE_REFUSED.get(wallet.venue) == "forever",
    )
    desk.oms.add(order)
    desk.send_place(order)
    desk.tell(order, Event.SUBMIT)
    desk.count("places_accepted")
    return order


# --- cancel ---


def _cancel(desk: Desk, command: CancelOrder, origin: Origin) -> CancelAccepted:
    if desk.config.wallet_of(command.account) is None:
        raise validation.unknown_account(command.account, desk.config)
    order = find_order(desk, command.account, command.order_id)
    if order is None:
        raise _unknown_order(desk, command, origin)
    if order.state in TERMINAL:
        text = f"order {order.order_id} is {status_of(order)} already"
        raise Refusal(Reason.INVALID_ORDER_STATE, text, "order_id")
    return _canceled(desk, command.command_id, [order])


def _unknown_order(desk: Desk, command: CancelOrder, origin: Origin) -> Refusal:
    """Its place may still be on its way, as cancels overtake places: then it must not happen."""
    text = f"account {command.account} has no order {command.order_id[:64]!r}"
    if validation.is_client_order_id(command.order_id):
        if origin.covers:
            scope = Scope(command.account, "", command.order_id)
            desk.fences.raise_for(origin.sender, origin.covers, scope)
        else:
            life_ms = desk.config.execution.request_life_ms
            desk.fences.bury(command.account, command.order_id, desk.now.mono_ns + life_ms * MS)
            text += f"; one that arrives under this id within {life_ms // 1000} s is refused"
    return Refusal(Reason.ORDER_NOT_FOUND, text, "order_id")


def _cancel_all(desk: Desk, command: CancelAll, origin: Origin) -> CancelAccepted:
    if command.account and desk.config.wallet_of(command.account) is None:
        raise validation.unknown_account(command.account, desk.config)
    condition_ids = desk.markets.condition_ids(command.market) if command.market else {""}
    if not condition_ids:
        raise validation.unknown_market(command.market)
    for condition_id in sorted(condition_ids):
        desk.fences.raise_for(origin.sender, origin.covers, Scope(command.account, condition_id))
    orders = [
        order
        for order in desk.oms.open_orders()
        if command.account in ("", order.account) and (not command.market or order.condition_id in condition_ids)
    ]
    return _canceled(desk, command.command_id, orders)


def _canceled(desk: Desk, command_id: str, orders: list[Order]) -> CancelAccepted:
    desk.cancel(orders)
    desk.count("cancels_accepted", len(orders))
    doubted = [order.order_id for order in orders if order.state in IN_DOUBT]
    return CancelAccepted(command_id, [order.order_id for order in orders], doubted)


def find_order(desk: Desk, account: str, text: str) -> Order | None:
    """By our id, the client's or the venue's; of one account, or of any when the account is ""."""
    accounts = [account] if account else [row.name for row in desk.config.accounts]
    order = desk.oms.by_order_id(text) or desk.oms.by_venue_id(text)
    if order is not None:
        return order if order.account in accounts else None
    for name in accounts:
        known = desk.ids.find(name, text)
        if known is not None:
            return desk.oms.get(known.number)
    return None
