"""How a place becomes an order: risk, slippage, signing data, and the way out. Pure.

In: a checked intent and the book view it is judged by. Out: an Order that is journaled with this step and its Place
action, or one Refusal that names every policy it breaks. The price that is signed is never worse than the limit that
was given or derived, and an order is signed once: whatever happens later, the same bytes are its only copy.
"""

from __future__ import annotations

from typing import NamedTuple

from common.errors import Refusal
from common.fixed import floor_to, format_micros, mul_ceil
from common.instruments import Market
from common.messages import BookView, OrderView, PlaceOrder, Violation
from common.reasons import Reason
from common.types import ONE, OrderType, Side
from common.venues.polymarket.amounts import Amounts
from services.executor import slippage, validation
from services.executor.catchup import MS, Wallet
from services.executor.config import WalletConfig
from services.executor.desk import Desk
from services.executor.idempotency import ClientId
from services.executor.order import Event, Order, State
from services.executor.pinning import pin, pin_plain
from services.executor.risk import Proposal
from services.executor.situation import AccountSituation
from services.executor.terms import cost_of, is_signed
from services.executor.trading import Mode, stops
from services.executor.validation import Named

DEADLINE_MAX_NS = 600 * 1_000_000_000


class RiskRefusal(Refusal):
    """A refusal by risk policies: all of them are named."""

    def __init__(self, violations: list[Violation]) -> None:
        first = violations[0]
        text = "; ".join(f"{row.policy}: {row.text}" for row in violations)
        super().__init__(first.code, text, first.field)
        self.violations = violations


class Draft(NamedTuple):
    """What will be signed, before it has a number."""

    market: Market
    token_id: str
    outcome: str
    price: int
    size: int
    quote: int
    amounts: Amounts
    asked_size: int
    """What was asked for, when a policy capped it; else 0."""
    cash: int
    """The most it can cost, of a BUY."""


# --- judging ---


def judge(desk: Desk, command: PlaceOrder, named: Named, view: BookView | None) -> Draft:
    """Whether this order may be placed, at which price and size. Raises Refusal or RiskRefusal."""
    market = named.market
    view = view if view is not None and view.token_id == named.token_id else None
    max_bps = command.max_slippage_bps or desk.config.execution.max_slippage_bps
    price = command.price  # checked already
    if not price:
        price = slippage.worst_price(command.side, view, market, max_bps)
        validation.check_price_of(price, market)
    size, money = command.size, command.quote
    if money:
        size, money = _bought(command, market, view, price)
    proposal = proposal_of(command, named, price, size, money)
    allowed = allowed_proposal(desk, proposal, named.wallet, view)
    size = allowed.size
    quote = command.quote if size == proposal.size else command.quote * size // proposal.size
    money = quote if money else 0
    amounts = validation.amounts_of(command, market, price, size, money)
    if command.order_type is OrderType.MARKET or command.max_slippage_bps:
        _check_slippage(desk, command, market, view, price, size if not money else 0, money, max_bps)
    asked_size = proposal.size if size < proposal.size else 0
    return Draft(market, named.token_id, named.outcome, price, size, quote, amounts, asked_size, allowed.cash)


def _bought(command: PlaceOrder, market: Market, view: BookView | None, price: int) -> tuple[int, int]:
    """(shares, money) of an order given in money. Where money is signed it buys what it can; elsewhere only shares can
    be said, so many that even all of them at the worst price cost no more."""
    if is_signed(market.venue):
        return command.quote * ONE // _cheapest(command.side, view, price), command.quote
    size = floor_to(command.quote * ONE // price, market.size_step)
    if not size:
        least = format_micros(mul_ceil(price, market.size_step))
        text = f"{format_micros(command.quote)} buys less than the smallest size, which costs {least}"
        raise Refusal(Reason.NOTIONAL_TOO_SMALL, text, "quote")
    return size, 0


def _cheapest(side: Side, view: BookView | None, price: int) -> int:
    """The price at which money buys the most shares: the best of the book, else the limit."""
    levels = slippage.levels_for(side, view)[0] if view is not None else []
    best = levels[0][0] if levels else price
    return best if 0 < best < price else price


def proposal_of(command: PlaceOrder, named: Named, price: int, size: int, money: int = 0) -> Proposal:
    """What the order would do; `money` of one that is signed in money."""
    market = named.market
    cash = 0
    if command.side is Side.BUY:
        cash = cost_of(market, price, size, post_only=command.post_only)
        if money:  # the money is given; only the fee follows from the shares
            cash += money - mul_ceil(price, size)
    names = (command.account, market, named.token_id)
    return Proposal(*names, command.side, price, size, cash, command.post_only, money)


def allowed_proposal(desk: Desk, proposal: Proposal, wallet: WalletConfig, view: BookView | None) -> Proposal:
    """What risk allows: all of it, less where a policy caps, or a refusal."""
    situation = AccountSituation(desk, proposal.account, proposal.market, proposal.token_id, view)
    _check_mode(desk, proposal, situation)
    if desk.config.execution.enable_risk_checks:
        proposal = _checked(desk, proposal, situation)
        _check_funds(desk, proposal, wallet, situation)
    return proposal


def _checked(desk: Desk, proposal: Proposal, situation: AccountSituation) -> Proposal:
    violations = desk.policies.evaluate(proposal, situation)
    if violations:
        size = desk.policies.capped(proposal, situation)
        if 0 < size < proposal.size:
            proposal = proposal.resized(size)
            violations = desk.policies.evaluate(proposal, situation)
    if violations:
        desk.count("risk_rejections")
        raise RiskRefusal(violations)
    return proposal


def _check_mode(desk: Desk, proposal: Proposal, situation: AccountSituation) -> None:
    mode, reason = desk.trading.mode(proposal.account)
    if mode is Mode.ACTIVE:
        return
    if mode is Mode.HALTED:
        raise _halted(reason)
    reduces = proposal.side is Side.SELL and proposal.size <= situation.held() - situation.open_sells()
    if mode is Mode.REDUCE_ONLY and not reduces:
        text = f"only orders that reduce a holding are taken ({reason}); `polyexec resume` ends that"
        raise Refusal(Reason.REDUCE_ONLY, text, "side")


def _halted(reason: str) -> Refusal:
    return Refusal(Reason.HALTED, f"trading is halted ({reason}); `polyexec resume` ends that", "account")


def _check_funds(desk: Desk, proposal: Proposal, wallet: WalletConfig, situation: AccountSituation) -> None:
    """Refuse what the venue would certainly refuse. What we do not know, the venue decides."""
    if proposal.side is Side.BUY:
        reserved = desk.commitments.wallet(wallet.venue, wallet.name).cash
        spendable = desk.purses.of(wallet.venue, wallet.name).spendable(reserved)
        if spendable is not None and proposal.cash > spendable:
            text = (
                f"the order can cost {format_micros(proposal.cash)} with fees, wallet {wallet.name} "
                f"can spend {format_micros(spendable)}"
            )
            raise Refusal(Reason.INSUFFICIENT_CASH, text, "size")
    elif desk.reconciler.of(wallet.venue, wallet.name).positions_known:
        sellable = situation.sellable(wallet.name)
        if proposal.size > sellable:
            text = (
                f"{format_micros(proposal.size)} shares are offered, {format_micros(sellable)} are held and free; "
                "shares that came from elsewhere count after `polyexec reconcile`"
            )
            raise Refusal(Reason.INSUFFICIENT_SHARES, text, "size")


def _check_slippage(  # noqa: PLR0917 (one walk, all of whose terms are the order's)
    desk: Desk,
    command: PlaceOrder,
    market: Market,
    view: BookView | None,
    price: int,
    size: int,
    quote: int,
    max_bps: int,
) -> None:
    whole_only = command.tif.value == "FOK"
    found = slippage.check(command.side, view, market, price, max_bps, size=size, quote=quote, whole_only=whole_only)
    if slippage.slippage_exceeds(command.side, found, market, desk.config.execution.warn_slippage_bps):
        desk.count("slippage_warnings")
        bps = slippage.slippage_bps(command.side, found, market)
        desk.log("slippage_warning", "warning", market_id=market.condition_id, slippage_bps=bps)


# --- taking ---


def check_room(desk: Desk) -> None:
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


def check_trading(wallet: Wallet) -> None:
    """Whether orders of this wallet can leave now. Raises Refusal."""
    if wallet.ready is None:
        text = f"the gateway has not said that it holds the key of wallet {wallet.name}"
        raise Refusal(Reason.WALLET_NOT_READY, text, "account")
    if not wallet.caught_up:
        live = wallet.feed.value == "LIVE"
        why = "orders and trades are being caught up" if live else f"{wallet.feed}: {wallet.reason}"
        text = f"the user channel of wallet {wallet.name} had a gap ({why}): places wait until it is closed"
        raise Refusal(Reason.FEED_GAP, text, "account")


def deadline_of(desk: Desk, deadline_ns: int) -> int:
    """The wall time after which the order must not be sent."""
    wall_ns = desk.now.wall_ns
    if not deadline_ns:
        return wall_ns + desk.config.execution.place_deadline_ms * MS
    if deadline_ns <= wall_ns:
        late_ms = (wall_ns - deadline_ns) // MS
        raise Refusal(Reason.DEADLINE_PASSED, f"its deadline passed {late_ms} ms ago", "deadline_ns")
    return min(deadline_ns, wall_ns + DEADLINE_MAX_NS)


def new_order(desk: Desk, command: PlaceOrder, draft: Draft, wallet: WalletConfig, deadline_ns: int) -> Order:
    """A numbered PENDING order; nothing is signed or sent yet."""
    now, number = desk.now, desk.last_order + 1
    desk.last_order = number
    return Order(
        number=number,
        account=command.account,
        client_order_id=command.client_order_id or f"o-{number}",
        venue=wallet.venue,
        wallet=wallet.name,
        market=draft.market.slug,
        condition_id=draft.market.condition_id,
        token_id=draft.token_id,
        outcome=draft.outcome,
        side=command.side,
        order_type=command.order_type,
        tif=command.tif,
        post_only=command.post_only,
        price=draft.price,
        size=draft.size,
        expire_ns=command.expire_ns,
        deadline_ns=deadline_ns,
        deadline_mono=now.mono_ns + deadline_ns - now.wall_ns,
        venue_order_id="",
        pinned=b"",
        created_ns=now.wall_ns,
        may_resend=desk.config.may_resend(wallet.venue),
        asked_size=draft.asked_size,
        quote=draft.quote,
    )


def take(desk: Desk, order: Order, content: bytes) -> None:
    """The order is ours from here on: its idempotency key is taken with it."""
    row = ClientId(order.number, content, desk.now.mono_ns, order.venue_order_id)
    desk.ids.take(order.account, order.client_order_id, row)
    desk.trading.placed(order.account, desk.now.mono_ns)
    desk.count("places_accepted")


def sign(desk: Desk, order: Order, market: Market, amounts: Amounts) -> None:
    """Fix the bytes that will be sent, and with them the venue's id of the order."""
    ready = desk.wallets[order.venue, order.wallet].ready
    assert ready is not None, "checked before"
    if is_signed(order.venue):
        version = desk.config.polymarket.protocol_version
        pinned = pin(order, amounts, order.token_id, market.neg_risk, ready, version=version, now=desk.now)
    else:
        size = amounts.taker if order.side is Side.BUY else amounts.maker
        pinned = pin_plain(order, order.price, size, order.token_id, ready, now=desk.now)
    order.size, order.venue_order_id, order.pinned = pinned.size, pinned.venue_order_id, pinned.pinned


def send(desk: Desk, order: Order) -> OrderView:
    """A copy leaves, unless a wallet-wide cancel under way would catch it; the order as it then is."""
    hold = desk.sweeps.hold_of(order)
    if hold is not None:
        return desk.hold(order, hold)
    desk.send_place(order)
    view = desk.tell(order, Event.SUBMIT)
    assert view is not None, "SUBMIT always changes the state"
    return view


# --- waiting orders ---


def release(desk: Desk, old: Order) -> None:
    """The order that was to be replaced is gone for certain: its successor may go, for what is left."""
    order = desk.oms.get(old.successor)
    old.successor = 0
    if order is None or not order.replaces or order.state is not State.PENDING:
        return  # cancelled while it waited
    order.replaces = 0
    left = order.size - old.matched
    try:
        if left <= 0:
            text = f"order {old.order_id} filled {format_micros(old.matched)} before its cancel: nothing is left"
            raise Refusal(Reason.REPLACED_FILLED, text, "size")
        market = _may_leave(desk, order)
        sign(desk, order, market, validation.resting_amounts(order.side, order.price, left, market))
    except Refusal as refusal:
        desk.tell(order, Event.REFUSED, code=refusal.code.value, text=refusal.message)
        return
    desk.oms.named(order)
    desk.ids.named(order.account, order.client_order_id, order.venue_order_id)
    send(desk, order)


def run_pending(desk: Desk, order: Order) -> None:
    """A waiting order's time has come: its next try, or the end of its patience."""
    try:
        if order.replaces:
            text = f"the order it replaces ({order.predecessor}) was not proven gone before its deadline"
            raise Refusal(Reason.DEADLINE_PASSED, text, "deadline_ns")
        _may_leave(desk, order)
    except Refusal as refusal:
        desk.tell(order, Event.REFUSED, code=refusal.code.value, text=refusal.message)
        return
    send(desk, order)


def _may_leave(desk: Desk, order: Order) -> Market:
    """What must hold whenever a copy leaves later than its command. Raises Refusal."""
    mode, reason = desk.trading.mode(order.account)
    if stops(mode, order.side):
        raise _halted(reason)
    if desk.now.wall_ns >= order.deadline_ns or desk.now.mono_ns >= order.deadline_mono:
        raise Refusal(Reason.DEADLINE_PASSED, "its deadline passed before it could be sent (again)", "deadline_ns")
    check_trading(desk.wallets[order.venue, order.wallet])
    market = desk.markets.find(order.venue, order.condition_id)
    if market is None or not market.accepting:
        raise Refusal(Reason.MARKET_CLOSED, f"{order.market} does not accept orders any more", "market")
    return market
