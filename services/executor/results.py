"""What the gateway and the user channel say, applied to orders. Pure.

In: results of actions and private venue events. Out: news told to the orders they are about. Everything may come late,
twice or out of order: quantities merge by maximum, settlement by rank, states by the table. Absence is only believed
from a look-up by id that began after the last thing we knew of the order.
"""

from __future__ import annotations

from enum import StrEnum

from common.fixed import format_micros, mul_ceil
from common.messages import (
    ActionRefused,
    BalancesResult,
    CancelResult,
    Fill,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    TradesResult,
    UserFeedChanged,
    VenueFill,
    VenueModeChanged,
    VenueOrder,
    VenueOrderChanged,
    WalletReady,
)
from common.reasons import Reason
from common.types import ONE, FeedState, Outcome, RetryClass, Side
from common.venues.polymarket.amounts import FINEST_TICK
from services.executor import differences, sweeping
from services.executor.actions import Action
from services.executor.catchup import MS, Ask, Wallet
from services.executor.desk import Desk
from services.executor.external import account_of
from services.executor.idempotency import DAY_NS
from services.executor.order import IN_DOUBT, TERMINAL, Event, Order, State, merge_settlement, quantity_event
from services.executor.settling import finish
from services.executor.terms import dust_of, fee_of, is_signed, price_ceiling
from services.executor.wallets import ask_lists, wallet_known

KILLED = frozenset({Reason.FOK_NOT_FILLED, Reason.FAK_NOT_FILLED, Reason.FENCED})
"""Refusals that mean: taken note of and over. The user channel calls the first two a cancellation as well."""
NOT_NOW = frozenset(
    {
        Reason.VENUE_RATE_LIMIT,
        Reason.VENUE_UNAVAILABLE,
        Reason.VENUE_RESTARTING,
        Reason.OVERLOADED,
        Reason.BUDGET_EXHAUSTED,
        Reason.SIGNING_LIMIT,
        Reason.DEAD_MAN_UNHEALTHY,
    }
)
"""Refusals that say nothing about the order and pass by themselves: the same bytes may go out again."""
OURS = frozenset(
    {
        Reason.HALTED,
        Reason.DEADLINE_PASSED,
        Reason.DIGEST_MISMATCH,
        Reason.BAD_REQUEST,
        Reason.CLOCK_SKEW,
        Reason.VENUE_DISABLED,
        Reason.VENUE_BLOCKED,
        Reason.VENUE_CANCEL_ONLY,
        Reason.VENUE_POST_ONLY,
        *NOT_NOW,
    }
)
"""Refusals that are not the venue's judgement of the order: they do not count as rejects in a row."""
AWAY = frozenset({"RESTARTING", "DISABLED", "BLOCKED"})
"""Modes in which the venue did not serve us: afterwards everything is compared with it."""
FILL_MAX = 10**15
"""A fill of more than a billion shares or dollars is no fill, and sums of such would leave 64 bits."""


class Standing(StrEnum):
    """A venue's status word, as far as it matters here."""

    OPEN = "OPEN"
    MATCHED = "MATCHED"
    GONE = "GONE"
    LAPSED = "LAPSED"
    UNCLEAR = "UNCLEAR"


def standing_of(word: str) -> Standing:
    """Words as the venue codecs give them, in any case; a new word is UNCLEAR and leads to a look-up."""
    upper = word.upper()
    if upper in ("LIVE", "DELAYED", "UNMATCHED"):
        return Standing.OPEN
    if upper == "MATCHED":
        return Standing.MATCHED
    if upper in ("CANCELED_EXPIRED_ORDER", "EXPIRED"):
        return Standing.LAPSED
    if upper.startswith(("CANCELED", "CANCELLED", "INVALID", "KILLED")):
        return Standing.GONE
    return Standing.UNCLEAR


def take_standing(desk: Desk, order: Order, word: str, quantity: int, text: str = "", *, final: bool) -> None:
    """The venue showed where the order stands. `final`: the word is an answer about now, not one of many events."""
    if quantity > _most(order):
        desk.count("reports_unreadable")
        desk.log("unreadable_report", "error", order_id=order.order_id, filled_size=format_micros(quantity))
        quantity = 0
    changed = order.report(quantity)
    order.absences = 0
    standing = standing_of(word)
    turned_up = standing is Standing.OPEN and order.state in (State.CANCELLED, State.EXPIRED) and not order.placed_ns
    events = [quantity_event(order)]
    match standing:
        case Standing.GONE:
            events.append(Event.GONE)
        case Standing.LAPSED:
            events.append(Event.LAPSED)
        case Standing.OPEN if word.upper() == "UNMATCHED" and not order.tif.rests:
            events.append(Event.GONE)
        case Standing.MATCHED if order.matched and order.size - order.matched <= dust_of(order.venue):
            events.append(Event.ALL_FILLED)
        case Standing.MATCHED if final and order.matched and not order.tif.rests:
            events.append(Event.GONE)  # the rest of a FAK was killed
    desk.tell(order, *events, text=text, changed=changed)
    if turned_up:
        _cancel_again(desk, order)
    if standing is Standing.UNCLEAR or (standing is Standing.MATCHED and not order.complete):
        desk.check_soon(order)


def _most(order: Order) -> int:
    """More than this cannot have matched. Signed money buys more shares than it says when the price is better."""
    if order.side is Side.SELL or order.tif.rests or not is_signed(order.venue):
        return order.size + dust_of(order.venue)
    return order.size * ONE // FINEST_TICK


def _cancel_again(desk: Desk, order: Order) -> None:
    """An order that is over for us is open at the venue: what cancelled it was not the last word."""
    if order.cancel_action:
        return
    desk.count("orders_cancelled_again")
    desk.log("cancelled_order_is_open", "warning", order_id=order.order_id)
    desk.send_cancels([order])


# --- results of places ---


def on_place_result(desk: Desk, result: PlaceResult) -> None:
    action = finish(desk, result.action_id)
    order = _order_of(desk, action)
    if order is None:
        return
    if order.place_action == result.action_id:
        order.place_action = ""
    order.heard_ns = desk.now.wall_ns
    match result.outcome:
        case Outcome.DONE:
            _placed(desk, order, result)
        case Outcome.REFUSED:
            _refused(desk, order, result)
        case Outcome.UNKNOWN:
            _doubted(desk, order, result.code, result.text)


def _placed(desk: Desk, order: Order, result: PlaceResult) -> None:
    shares = result.taking if order.side is Side.BUY else result.making
    if result.status.upper() == "UNMATCHED" and not order.tif.rests:
        text = "nothing matched, the order was killed"
        desk.tell(order, Event.GONE, code=Reason.FAK_NOT_FILLED.value, text=text)
        return
    take_standing(desk, order, result.status, shares, final=True)


def _refused(desk: Desk, order: Order, result: PlaceResult) -> None:
    code, text = result.code.value, result.text
    if result.code is Reason.DUPLICATE_ORDER or order.sends > 1:
        # The venue has an earlier copy, or may have: this refusal only speaks for the copy that was refused.
        order.may_resend = False
        _doubted(desk, order, result.code, text)
    elif result.code in KILLED:
        desk.tell(order, Event.GONE, code=code, text=text)
    elif not _try_later(desk, order, result):
        desk.trading.of(order.account).rejects += result.code not in OURS
        desk.tell(order, Event.REFUSED, code=code, text=text)


def _try_later(desk: Desk, order: Order, result: PlaceResult) -> bool:
    """A venue that says `not now` is asked again with the same bytes, within the order's deadline."""
    execution = desk.config.execution
    passes = result.code in NOT_NOW or result.retry is RetryClass.AFTER
    if not passes or order.state is not State.SUBMITTING or order.tries >= execution.max_retry_attempts:
        return False
    pause_ns = max(result.retry_after_ms * MS, execution.retry_base_delay_ms * MS << order.tries)
    if desk.now.mono_ns + pause_ns >= order.deadline_mono:
        return False
    order.tries += 1
    order.sends -= 1
    desk.count("places_retried")
    desk.tell(order, Event.RETRY)
    desk.oms.check_at(order, desk.now.mono_ns + pause_ns)
    return True


def _doubted(desk: Desk, order: Order, code: Reason, text: str) -> None:
    """Kept with its exposure and asked for. The request was made before its answer, so it ends a request's life on."""
    if order.state in IN_DOUBT:
        order.give_up_mono = desk.now.mono_ns + desk.config.execution.request_life_ms * MS
        desk.count("places_in_doubt")
        desk.log("place_in_doubt", "warning", order_id=order.order_id, code=code.value, error=text)
    if code is Reason.DUPLICATE_ORDER:
        order.may_resend = False
    desk.tell(order, Event.DOUBT)


# --- actions the gateway could not read ---


def on_action_refused(desk: Desk, refused: ActionRefused) -> None:
    """The gateway speaks another version: the action ends as a result of its own kind would."""
    action = desk.actions.find(refused.action_id)
    if action is None:
        desk.count("results_repeated")
        return
    desk.log("action_unreadable", "error", action_id=refused.action_id, code=refused.code.value, error=refused.text)
    request, outcome, code, text = action.request, refused.outcome, refused.code, refused.text
    action_id, now_ns = refused.action_id, desk.now.wall_ns
    match request:
        case Place():
            on_place_result(desk, PlaceResult(action_id, request.venue_order_id, outcome, code, text))
        case QueryOrder():
            on_lookup(desk, OrderLookup(action_id, request.venue_order_id, Outcome.UNKNOWN, code, text, now_ns))
        case QueryOpenOrders():
            on_open_orders(desk, OpenOrdersResult(action_id, Outcome.UNKNOWN, code, text, now_ns, False, []))
        case QueryTrades():
            on_trades(desk, TradesResult(action_id, Outcome.UNKNOWN, code, text, now_ns, False, []))
        case QueryPositions():
            unknown = PositionsResult(action_id, Outcome.UNKNOWN, code, text, now_ns, False, [])
            differences.on_positions(desk, unknown)
        case QueryBalances():
            differences.on_balances(desk, BalancesResult(action_id, Outcome.UNKNOWN, code, text, now_ns))
        case _:
            on_cancel_result(desk, CancelResult(action_id, Outcome.UNKNOWN, code, text))


# --- results of cancels ---


def on_cancel_result(desk: Desk, result: CancelResult) -> None:
    action = finish(desk, result.action_id)
    if action is None:
        return
    canceled = {venue_order_id.lower() for venue_order_id in result.canceled}
    reasons = {venue_order_id.lower(): text for venue_order_id, text in result.not_canceled.items()}
    for number in action.orders:
        order = desk.oms.get(number)
        if order is None:
            continue
        if order.cancel_action == result.action_id:
            order.cancel_action = ""
        venue_order_id = order.venue_order_id.lower()
        if venue_order_id in canceled:  # said by the venue, whatever became of other parts of this cancel
            order.heard_ns = desk.now.wall_ns
            _canceled(desk, order)
        else:
            text = reasons.get(venue_order_id) or "the venue did not say what became of it"
            if result.outcome is not Outcome.DONE:
                text = f"{result.code}: {result.text}"
            _not_canceled(desk, order, text)
    sweeping.on_canceled(desk, result, action)


def _canceled(desk: Desk, order: Order) -> None:
    """It is gone. How much of it matched before is not said here, and a successor may only go for what is left: that
    is only proven by the look-up or event that shows the order over."""
    if order.successor and order.open:
        desk.tell(order)
        desk.look_up(order)
    else:
        desk.tell(order, Event.GONE)


def _not_canceled(desk: Desk, order: Order, text: str) -> None:
    """It may be over, on its way in, or still open: only a look-up can say; found open it is cancelled again."""
    if not order.open:
        return
    desk.log("cancel_failed", "warning", order_id=order.order_id, error=text)
    desk.count("cancels_failed")
    desk.tell(order)


# --- results of look-ups ---


def on_lookup(desk: Desk, result: OrderLookup) -> None:
    action = finish(desk, result.action_id)
    order = _order_of(desk, action)
    if order is None:
        return
    if order.lookup_action == result.action_id:
        order.lookup_action = ""
    if result.outcome is not Outcome.DONE:
        desk.tell(order)
    elif result.order is not None:
        _found(desk, order, result.order, result.asked_ns)
    elif result.asked_ns <= max(order.heard_ns, order.sent_ns):
        desk.count("lookups_outdated")
        desk.tell(order)
    else:
        desk.absent(order)


def _found(desk: Desk, order: Order, shown: VenueOrder, asked_ns: int) -> None:
    order.heard_ns = max(order.heard_ns, asked_ns)
    take_standing(desk, order, shown.status, shown.filled_size, final=True)
    if order.state is State.CANCELLING and standing_of(shown.status) is Standing.OPEN and not order.cancel_action:
        desk.oms.check_at(order, 0)
        desk.send_cancels([order])


# --- results of lists ---


def on_open_orders(desk: Desk, result: OpenOrdersResult) -> None:
    """What is listed is open; what we think open and is not listed needs a look-up by id."""
    action = finish(desk, result.action_id)
    wallet = wallet_known(desk, action.request.venue, action.request.wallet) if action else None
    if wallet is None:
        return
    complete = result.outcome is Outcome.DONE and result.complete
    wallet.answered(Ask.OPEN_ORDERS, result.action_id, complete, desk.now, desk.config.execution.lookup_after_ms)
    reconciling = differences.answered(desk, wallet, result.action_id, complete)
    listed = set()
    for shown in result.orders:
        listed.add(shown.venue_order_id.lower())
        order = desk.oms.by_venue_id(shown.venue_order_id)
        if order is None:
            desk.count("foreign_open_orders")
            if desk.ids.number_of(shown.venue_order_id) is None:
                differences.order_unexpected(desk, wallet, shown)
        else:
            take_standing(desk, order, shown.status, shown.filled_size, final=False)
            over = order.state in TERMINAL and standing_of(shown.status) is Standing.OPEN
            if over and result.asked_ns > max(order.heard_ns, order.sent_ns):
                _cancel_again(desk, order)
    if complete:
        _look_up_unlisted(desk, wallet, listed, result.asked_ns, reconciling=reconciling)
    sweeping.on_listed(desk, result, complete=complete)


def _look_up_unlisted(desk: Desk, wallet: Wallet, listed: set[str], asked_ns: int, *, reconciling: bool) -> None:
    for order in desk.oms.open_orders():
        if (
            (order.venue, order.wallet) == (wallet.venue, wallet.name)
            and order.state in (State.WORKING, State.CANCELLING)
            and order.venue_order_id.lower() not in listed
            and asked_ns > max(order.heard_ns, order.sent_ns)
        ):
            if reconciling:
                differences.order_missing(desk, wallet, order)
            desk.look_up(order)


def on_trades(desk: Desk, result: TradesResult) -> None:
    action = finish(desk, result.action_id)
    wallet = wallet_known(desk, action.request.venue, action.request.wallet) if action else None
    if wallet is None:
        return
    complete = result.outcome is Outcome.DONE and result.complete
    wallet.answered(Ask.TRADES, result.action_id, complete, desk.now, desk.config.execution.lookup_after_ms)
    reconciling = differences.answered(desk, wallet, result.action_id, complete)
    for fill in result.fills:
        if on_fill(desk, fill) and reconciling:
            differences.fill_missing(desk, wallet, fill, result.asked_ns)
    missing = [order for order in desk.oms.unsettled() if order.fills_missing and order.wallet == wallet.name]
    if missing:
        wallet.want_trades(desk.now.mono_ns, desk.config.execution.lookup_after_ms)
    elif complete:
        wallet.trades_tries = 0


# --- the user channel and the gateway's readiness ---


def on_order_event(desk: Desk, event: VenueOrderChanged) -> None:
    wallet = wallet_known(desk, event.venue, event.wallet)
    if wallet is None:
        return
    wallet.heard_ns = max(wallet.heard_ns, min(event.at_ns, desk.now.wall_ns))
    order = desk.oms.by_venue_id(event.venue_order_id)
    if order is None:
        desk.count("foreign_order_events")
        return
    order.heard_ns = desk.now.wall_ns
    word = event.status
    if event.kind.upper() == "CANCELLATION" and standing_of(word) not in (Standing.GONE, Standing.LAPSED):
        word = "CANCELED"
    take_standing(desk, order, word, event.filled_size, event.text, final=False)


def on_fill(desk: Desk, event: VenueFill) -> bool:
    """One own leg of a trade at one stage; identity is (trade id, own order id). True when it was not known."""
    if wallet_known(desk, event.venue, event.wallet) is None:
        return False
    if not _readable(desk, event):
        desk.count("fills_unreadable")
        desk.log("unreadable_fill", "error", trade_id=event.trade_id, fill_order_id=event.venue_order_id)
        return False
    order = desk.oms.by_venue_id(event.venue_order_id)
    if order is None:
        return _foreign_fill(desk, event)
    order.heard_ns = desk.now.wall_ns
    known = order.fills.get(event.trade_id)
    if known is None:
        fill = _fill(desk, event, order.account, order.order_id)
        desk.add_fill(order, fill)
        return True
    merged = merge_settlement(known, event.settlement, event.tx_hash)
    if merged is None:
        desk.count("fills_repeated")
    else:
        desk.settle_fill(order, known, merged)
    return False


def _readable(desk: Desk, event: VenueFill) -> bool:
    """Whether this can be a trade: sums of such must stay inside 64 bits, and nothing trades above its ceiling."""
    size, price = event.size, event.price
    ceiling = price_ceiling(event.venue, desk.markets.of_token(event.venue, event.token_id))
    if not 0 < size <= FILL_MAX or not 0 <= price <= ceiling or mul_ceil(price, size) > FILL_MAX:
        return False
    return 0 <= event.cash <= min(FILL_MAX, mul_ceil(ceiling, size))


def _foreign_fill(desk: Desk, event: VenueFill) -> bool:
    """Of an order that is history (then it is known), or of one that is not ours: booked, flagged, never dropped."""
    if desk.ids.number_of(event.venue_order_id) is not None:
        desk.count("fills_of_history")
        return False
    known = desk.external.find(event.trade_id, event.venue_order_id)
    if known is None and event.matched_ns < desk.now.wall_ns - DAY_NS:
        desk.count("fills_of_old")  # its order may be forgotten history: reconciliation finds what is held
        return False
    if known is None:
        desk.count("orphan_fills")
        desk.log("orphan_fill", "warning", fill_order_id=event.venue_order_id)
        fill = _fill(desk, event, account_of(event.wallet), "")
        desk.external.put(fill)
        market = desk.markets.of_token(event.venue, event.token_id)
        desk.book(fill, None, event.venue, event.wallet, market.slug if market else "")
        return True
    merged = merge_settlement(known, event.settlement, event.tx_hash)
    if merged is not None:
        desk.external.put(merged)
        if merged.settlement is not known.settlement:
            desk.book(merged, known.settlement, event.venue, event.wallet, "")
    return False


def _fill(desk: Desk, event: VenueFill, account: str, order_id: str) -> Fill:
    market = desk.markets.of_token(event.venue, event.token_id)
    fee = 0
    if event.is_taker and market is not None:
        fee = fee_of(market, event.size, event.price)
    return Fill(
        trade_id=event.trade_id,
        order_id=order_id,
        venue_order_id=event.venue_order_id,
        account=account,
        condition_id=market.condition_id if market else "",
        token_id=event.token_id,
        outcome=market.outcomes[market.index_of_token(event.token_id)] if market else "",
        side=event.side,
        price=event.price,
        size=event.size,
        cash=event.cash,
        fee=fee,
        is_taker=event.is_taker,
        settlement=event.settlement,
        tx_hash=event.tx_hash,
        matched_ns=event.matched_ns,
    )


def on_feed(desk: Desk, event: UserFeedChanged) -> None:
    wallet = wallet_known(desk, event.venue, event.wallet)
    if wallet is not None:
        was_live = wallet.feed is FeedState.LIVE
        wallet.on_feed(event, desk.now)
        desk.reconciler.of(wallet.venue, wallet.name).stop()
        ask_lists(desk, wallet)
        if was_live and event.state is not FeedState.LIVE and desk.config.execution.on_gap == "cancel_all":
            _cancel_on_gap(desk, wallet)
        level = "info" if event.state is FeedState.LIVE else "warning"
        desk.log("user_feed", level, wallet=wallet.name, state=event.state.value, reason=event.reason)


def _cancel_on_gap(desk: Desk, wallet: Wallet) -> None:
    """The policy of [execution] on_gap: what rests unwatched is taken out."""
    orders = [order for order in desk.oms.open_orders() if (order.venue, order.wallet) == (wallet.venue, wallet.name)]
    desk.cancel(orders)
    desk.count("cancelled_on_gap", len(orders))
    desk.log("cancel_on_gap", "warning", wallet=wallet.name, orders=len(orders))


def on_wallet_ready(desk: Desk, event: WalletReady) -> None:
    wallet = wallet_known(desk, event.venue, event.wallet)
    if wallet is None:
        return
    wallet.ready = event
    sweeping.may_be_repeated(desk, (event.venue, event.wallet))
    # The gateway begins anew: a mode other than NORMAL is said after this, and the one we know may be of its last life.
    if event.venue in desk.venue_modes:
        _set_mode(desk, event.venue, "NORMAL", "")


def on_venue_mode(desk: Desk, event: VenueModeChanged) -> None:
    _set_mode(desk, event.venue, event.mode, event.reason)
    desk.log("venue_mode", "warning", venue=event.venue, mode=event.mode, reason=event.reason)


def _set_mode(desk: Desk, venue: str, mode: str, reason: str) -> None:
    before, _ = desk.venue_modes.get(venue, ("NORMAL", ""))
    desk.venue_modes[venue] = (mode, reason)
    if before in AWAY and mode not in AWAY:
        for wallet in desk.wallets.values():
            if wallet.venue == venue:
                desk.reconciler.of(wallet.venue, wallet.name).ask_now(desk.now)


def _order_of(desk: Desk, action: Action | None) -> Order | None:
    return desk.oms.get(action.orders[0]) if action is not None else None
