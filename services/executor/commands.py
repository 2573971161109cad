"""What clients ask for: place, replace, cancel, cancel all, halt, resume, reconcile. Pure.

In: a command with where it came from, and for places the book view it is judged by. Out: one answer, kept for its
repeats, and the effects of an accepted one. A refusal changes nothing and does not use up the client order id. Cancels
are taken in every state of the wallet, and while trading is halted.
"""

from __future__ import annotations

from typing import TypeAlias

from common.effects import Mark, Origin, Reply
from common.errors import Refusal
from common.messages import (
    Accepted,
    BookView,
    CancelAccepted,
    CancelAll,
    CancelOrder,
    Halt,
    Message,
    PlaceAnswer,
    PlaceOrder,
    Reconcile,
    Refused,
    ReplaceOrder,
    Resume,
)
from common.reasons import Reason
from services.executor import placing, sweeping, validation
from services.executor.catchup import MS
from services.executor.desk import Desk
from services.executor.fences import Scope
from services.executor.idempotency import ClientId, fingerprint, replace_fingerprint
from services.executor.order import IN_DOUBT, TERMINAL, Event, Order, State, status_of, view_of
from services.executor.trading import Mode, stops

_FENCED = "a cancel that covers this order was taken before it arrived"
_REASON_MAX = 200

Command: TypeAlias = PlaceOrder | ReplaceOrder | CancelOrder | CancelAll | Halt | Resume | Reconcile
Answered: TypeAlias = PlaceAnswer | CancelAccepted | Accepted | Refused


def take_command(desk: Desk, command: Command, origin: Origin, view: BookView | None = None) -> None:
    """Answer a command once; the same command id of the same sender gets the same answer again."""
    answer = _repeated(desk, command, origin.sender) or _first(desk, command, origin, view)
    if isinstance(command, PlaceOrder | ReplaceOrder):
        desk.fences.arrived(origin.sender, origin.seq)
    desk.out.append(Reply(origin.sender, answer))


def _repeated(desk: Desk, command: Command, sender: str) -> Message | None:
    known = desk.answers.find(sender, command.command_id)
    if known is None:
        return None
    desk.count("commands_repeated")
    if not known.number:
        return known.message
    order = desk.oms.get(known.number)
    return PlaceAnswer(command.command_id, view_of(order)) if order else _no_longer_kept(command, known.number)


def _first(desk: Desk, command: Command, origin: Origin, view: BookView | None) -> Answered:
    if not validation.is_id(command.command_id):
        text = "a command needs an id of 1 to 64 visible ASCII characters"
        return Refused(command.command_id[:64], Reason.BAD_ID, text, "command_id")
    answer: CancelAccepted | Accepted | Refused
    try:
        match command:
            case PlaceOrder():
                return _place(desk, command, origin, view)
            case ReplaceOrder():
                return _replace(desk, command, origin, view)
            case CancelOrder():
                answer = _cancel(desk, command, origin)
            case CancelAll():
                answer = _cancel_all(desk, command, origin)
            case Halt():
                answer = _halt(desk, command)
            case Resume():
                answer = _resume(desk, command)
            case Reconcile():
                answer = _reconcile(desk, command)
    except Refusal as refusal:
        desk.count("commands_refused")
        violations = refusal.violations if isinstance(refusal, placing.RiskRefusal) else []
        answer = Refused(command.command_id, refusal.code, refusal.message, refusal.field, violations=violations)
    desk.answers.keep(origin.sender, command.command_id, answer, desk.now.mono_ns)
    return answer


# --- place ---


def _place(desk: Desk, command: PlaceOrder, origin: Origin, view: BookView | None) -> PlaceAnswer | Refused:
    validation.check_client_order_id(command.client_order_id)
    wallet = validation.wallet_for(command, desk.wallet_of_account)
    market = desk.markets.find(wallet.venue, command.market)
    index = market.outcome_index(command.outcome) if market else 0
    condition_id = market.condition_id if market else command.market
    token_id = market.token_ids[index] if market else command.outcome
    content = fingerprint(command, wallet.venue, condition_id, token_id)
    known = desk.ids.find(command.account, command.client_order_id)
    if known is not None:
        return _duplicate(desk, command, known, content)
    _check_fence(desk, origin, Scope(command.account, condition_id, command.client_order_id))
    if market is None:
        raise validation.unknown_market(command.market, wallet.venue)
    named = validation.Named(wallet, market, token_id, market.outcomes[index])
    validation.check_bounds(command, market)
    if desk.config.execution.enable_validation:
        validation.check_place(command, named, desk.now)
    placing.check_room(desk)
    placing.check_trading(desk.wallets[wallet.venue, wallet.name])
    deadline_ns = placing.deadline_of(desk, command.deadline_ns)
    draft = placing.judge(desk, command, named, view)
    order = placing.new_order(desk, command, draft, wallet, deadline_ns)
    placing.sign(desk, order, market, draft.amounts)
    if order.size == draft.size and not draft.asked_size:
        desk.commitments.begin(order, draft.size, draft.cash)
    desk.oms.add(order)
    placing.take(desk, order, content)
    view_now = placing.send(desk, order)
    desk.answers.keep_place(origin.sender, command.command_id, order.number, desk.now.mono_ns)
    return PlaceAnswer(command.command_id, view_now)


def _check_fence(desk: Desk, origin: Origin, scope: Scope) -> None:
    if desk.fences.fenced(origin.sender, origin.seq, scope, desk.now.mono_ns):
        raise Refusal(Reason.FENCED, _FENCED, "client_order_id" if scope.client_order_id else "")


def _duplicate(
    desk: Desk, command: PlaceOrder | ReplaceOrder, known: ClientId, content: bytes
) -> PlaceAnswer | Refused:
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


# --- replace: cancel, and only when that is proven, place ---


def _replace(desk: Desk, command: ReplaceOrder, origin: Origin, view: BookView | None) -> PlaceAnswer | Refused:
    validation.check_client_order_id(command.client_order_id)
    wallet = validation.wallet_of(command.account, desk.wallet_of_account)
    old = find_order(desk, command.account, command.order_id)
    if old is None:
        text = f"account {command.account} has no order {command.order_id[:64]!r}"
        raise Refusal(Reason.ORDER_NOT_FOUND, text, "order_id")
    content = replace_fingerprint(command, old.number)
    known = desk.ids.find(command.account, command.client_order_id)
    if known is not None:
        return _duplicate(desk, command, known, content)
    _check_fence(desk, origin, Scope(command.account, old.condition_id, command.client_order_id))
    place = _successor_of(command, old)
    market = desk.markets.find(old.venue, old.condition_id)
    if market is None:
        raise validation.unknown_market(old.condition_id)
    named = validation.Named(wallet, market, old.token_id, old.outcome)
    validation.check_bounds(place, market)
    if desk.config.execution.enable_validation:
        validation.check_place(place, named, desk.now)
    placing.check_room(desk)
    placing.check_trading(desk.wallets[wallet.venue, wallet.name])
    deadline_ns = placing.deadline_of(desk, command.deadline_ns)
    draft = _judged_without(desk, place, named, view, old)
    order = placing.new_order(desk, place, draft, wallet, deadline_ns)
    order.size += old.matched  # as long as it waits: what both may fill
    order.replaces, order.predecessor, old.successor = old.number, old.order_id, order.number
    desk.oms.add(order)
    placing.take(desk, order, content)
    desk.answers.keep_place(origin.sender, command.command_id, order.number, desk.now.mono_ns)
    desk.cancel([old])
    desk.tell(order, changed=True)
    return PlaceAnswer(command.command_id, view_of(order))


def _successor_of(command: ReplaceOrder, old: Order) -> PlaceOrder:
    """The replace as a place of what is left to fill. Raises Refusal for an order that cannot be replaced."""
    if old.state in TERMINAL or old.cancel_asked or old.successor:
        what = f"is {status_of(old)}" if old.state in TERMINAL else "is being cancelled or replaced"
        raise Refusal(Reason.INVALID_ORDER_STATE, f"order {old.order_id} {what} already", "order_id")
    if old.replaces:
        # Cancelling it proves nothing of the order it waits for: its own successor would leave beside that one.
        text = f"order {old.order_id} waits for {old.predecessor} to be gone: replace it then, or cancel it"
        raise Refusal(Reason.INVALID_ORDER_STATE, text, "order_id")
    if not old.tif.rests:
        raise Refusal(Reason.INVALID_ORDER_STATE, f"a {old.tif} order cannot be replaced: it never rests", "order_id")
    if command.size <= old.matched:
        text = "`size` is what both orders together may fill, and the first has filled that much already"
        raise Refusal(Reason.BAD_SIZE, text, "size")
    return PlaceOrder(
        command.command_id,
        command.account,
        command.client_order_id,
        old.venue,
        old.condition_id,
        old.token_id,
        old.side,
        old.order_type,
        old.tif,
        old.post_only,
        command.price,
        command.size - old.matched,
        old.expire_ns,
        command.deadline_ns,
    )


def _judged_without(
    desk: Desk, place: PlaceOrder, named: validation.Named, view: BookView | None, old: Order
) -> placing.Draft:
    """Risk sees the successor instead of the order it replaces, not beside it."""
    desk.commitments.drop(old)
    try:
        return placing.judge(desk, place, named, view)
    finally:
        desk.commitments.put(old, desk.markets)


# --- cancel ---


def _cancel(desk: Desk, command: CancelOrder, origin: Origin) -> CancelAccepted:
    validation.wallet_of(command.account, desk.wallet_of_account)
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
    if command.account:
        validation.wallet_of(command.account, desk.wallet_of_account)
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
    sweeping.begin(desk, command, sorted(condition_ids - {""}), orders)
    return _accepted(desk, command.command_id, orders)


def _canceled(desk: Desk, command_id: str, orders: list[Order]) -> CancelAccepted:
    desk.cancel(orders)
    return _accepted(desk, command_id, orders)


def _accepted(desk: Desk, command_id: str, orders: list[Order]) -> CancelAccepted:
    desk.count("cancels_accepted", len(orders))
    doubted = [order.order_id for order in orders if order.state in IN_DOUBT]
    return CancelAccepted(command_id, [order.order_id for order in orders], doubted)


# --- halt, resume, reconcile ---


def _halt(desk: Desk, command: Halt) -> Accepted:
    if command.account:
        validation.wallet_of(command.account, desk.wallet_of_account)
    reason = command.reason.strip()[:_REASON_MAX] or "by an operator"
    mode = Mode.REDUCE_ONLY if command.reduce_only else Mode.HALTED
    known = desk.trading.peek(command.account)
    if command.reduce_only and known.mode is Mode.HALTED:
        text = f"trading is halted ({known.reason}): resume first, as this would loosen it"
        raise Refusal(Reason.HALTED, text, "reduce_only")
    halt(desk, command.account, mode, reason)
    return Accepted(command.command_id)


def halt(desk: Desk, account: str, mode: Mode, reason: str) -> None:
    """From here on no place of this scope leaves, and none that is in doubt is sent again."""
    was_halted = desk.trading.halted is not None
    desk.trading.halt(account, mode, reason)
    covered = [order for order in desk.oms.open_orders() if account in ("", order.account) and stops(mode, order.side)]
    for order in covered:
        if order.state is State.PENDING:  # no copy of it is anywhere
            text = f"trading was halted ({reason}) before it could be sent"
            desk.tell(order, Event.REFUSED, code=Reason.HALTED.value, text=text)
    desk.look_up_outstanding(covered)
    if mode is Mode.HALTED and not account:
        desk.out.append(Mark(reason))
    elif was_halted and not account:
        desk.out.append(Mark(""))
    desk.log("halted", "warning", account=account, mode=mode.value, reason=reason)


def _resume(desk: Desk, command: Resume) -> Accepted:
    if command.account:
        validation.wallet_of(command.account, desk.wallet_of_account)
    if not command.account and desk.trading.halted is not None:
        desk.out.append(Mark(""))
    desk.trading.resume(command.account)
    desk.log("resumed", "warning", account=command.account)
    return Accepted(command.command_id)


def _reconcile(desk: Desk, command: Reconcile) -> Accepted:
    wallets = [wallet for wallet in desk.wallets.values() if command.wallet in ("", wallet.name)]
    if not wallets:
        known = ", ".join(wallet.name for wallet in desk.wallets.values())
        raise Refusal(Reason.UNKNOWN_ACCOUNT, f"no wallet {command.wallet[:40]!r}; wallets: {known}", "wallet")
    for wallet in wallets:
        if not wallet.caught_up:
            text = f"wallet {wallet.name} cannot be asked now: {wallet.feed}: {wallet.reason or 'catching up'}"
            raise Refusal(Reason.WALLET_NOT_READY, text, "wallet")
        desk.reconciler.of(wallet.venue, wallet.name).ask_now(desk.now)
    return Accepted(command.command_id)


def find_order(desk: Desk, account: str, text: str) -> Order | None:
    """By our id, the client's or the venue's; of one account, or of any when the account is ""."""
    accounts = [account] if account else [row.name for row in desk.config.accounts]
    order = desk.oms.by_order_id(text) or desk.oms.by_venue_id(text)
    if order is not None:
        return order if account in ("", order.account) else None  # also of an account that left the settings
    for name in accounts:
        known = desk.ids.find(name, text)
        if known is not None:
            return desk.oms.get(known.number)
    return None
