"""Pre-trade risk: an ordered list of small pure policies, each a function of (limits, proposal, situation).

In: what an order would do, and the account's situation with it left out. Out: every policy it breaks, in the order of
`POLICIES`, each with its limit, the value the order would come to and one sentence; or the smaller size that policies
with `cap` allow. Money is money (shares at the mark, open buys and the order itself at their worst price), never a sum
of shares. An order that only reduces a holding is never refused by a limit on positions, inventory or loss; limits on
the size of one order are against slips of the hand and hold for it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from common.fixed import floor_to, format_micros, parse_micros
from common.instruments import Market
from common.messages import BookView, Violation
from common.reasons import Reason
from common.types import ONE, FeedState, Side
from services.executor.config import PolicyConfig
from services.executor.terms import cost_of, short_cost

BPS = 10_000
UNIT_NS = 1_000_000_000


class Proposal(NamedTuple):
    """What is asked for: `cash` is the most a BUY can cost, fee included."""

    account: str
    market: Market
    token_id: str
    side: Side
    price: int
    size: int
    cash: int
    post_only: bool = False
    worth: int = 0
    """The money of an order that is given in money; 0: price times size."""

    def resized(self, size: int) -> Proposal:
        if self.side is Side.SELL:
            return self._replace(size=size)
        cash = cost_of(self.market, self.price, size, post_only=self.post_only)
        return self._replace(size=size, cash=cash, worth=self.worth * size // self.size)


class Situation(Protocol):
    """The account as it stands without the order. Every number may be asked for at any time; costs are small."""

    now_wall_ns: int
    view: BookView | None

    def held(self) -> int:
        """Shares of the token the account has; negative is a short."""
        ...

    def open_buys(self) -> int:
        """Shares of the token its open buys may still add."""
        ...

    def open_sells(self) -> int: ...

    def inventory(self) -> int:
        """Money in all holdings at their marks, and in open buys."""
        ...

    def event_exposure(self) -> int:
        """The same for the markets of this event only."""
        ...

    def open_orders(self) -> int: ...

    def placed_within(self, window_ns: int) -> int:
        """Orders the account placed in the last `window_ns`."""
        ...

    def day_pnl(self) -> int: ...

    def rejects_in_row(self) -> int: ...

    def venue_mode(self) -> tuple[str, str]:
        """Mode word and reason."""
        ...


class Policy(NamedTuple):
    """A policy with its limits in micros."""

    config: PolicyConfig
    amount: int
    """`max_size` or `max_value_usd`."""

    def covers(self, account: str, market: Market, token_id: str) -> bool:
        row = self.config
        return row.account in ("", account) and row.market_id in ("", market.slug, market.condition_id, token_id)


Check = Callable[[Policy, Proposal, Situation], Violation | None]


def increases(proposal: Proposal, situation: Situation) -> bool:
    """Whether the order can make the account hold more risk: every buy, and a sell of what it does not hold."""
    return proposal.side is Side.BUY or proposal.size + situation.open_sells() > situation.held()


def _over(policy: Policy, code: Reason, value: int, what: str) -> Violation | None:
    """What the order would come to against the policy's amount."""
    if value <= policy.amount:
        return None
    shown, most = format_micros(value), format_micros(policy.amount)
    return Violation(policy.config.type, code, "size", most, shown, f"{what} would be {shown}, the limit is {most}")


def kill_switch(policy: Policy, _proposal: Proposal, _situation: Situation) -> Violation | None:
    return Violation(
        policy.config.type, Reason.KILL_SWITCH, "", "off", "on", "the kill switch is on: no order is taken"
    )


def position_limit(policy: Policy, proposal: Proposal, situation: Situation) -> Violation | None:
    if not increases(proposal, situation):
        return None
    after = _position_after(proposal, situation)
    return _over(policy, Reason.POSITION_LIMIT, after, "the position in this token")


def _position_after(proposal: Proposal, situation: Situation) -> int:
    """The largest absolute position once everything open on this side and the order have filled."""
    if proposal.side is Side.BUY:
        return situation.held() + situation.open_buys() + proposal.size
    return abs(situation.held() - situation.open_sells() - proposal.size)


def inventory_limit(policy: Policy, proposal: Proposal, situation: Situation) -> Violation | None:
    if not increases(proposal, situation):
        return None
    value = situation.inventory() + _adds(proposal)
    return _over(policy, Reason.INVENTORY_LIMIT, value, "the inventory in money")


def _adds(proposal: Proposal) -> int:
    """The money an order may add: what a buy costs, what a short could cost."""
    if proposal.side is Side.BUY:
        return proposal.cash
    return short_cost(proposal.market, proposal.price, proposal.size)


def order_size_limit(policy: Policy, proposal: Proposal, _situation: Situation) -> Violation | None:
    return _over(policy, Reason.ORDER_SIZE_LIMIT, proposal.size, "the size of the order")


def order_notional_limit(policy: Policy, proposal: Proposal, _situation: Situation) -> Violation | None:
    value = proposal.worth or -(-proposal.price * proposal.size // ONE)
    return _over(policy, Reason.ORDER_NOTIONAL_LIMIT, value, "the worth of the order")


def open_orders_limit(policy: Policy, _proposal: Proposal, situation: Situation) -> Violation | None:
    limit, count = policy.config.max_orders, situation.open_orders() + 1
    if count <= limit:
        return None
    text = f"{count - 1} orders are open, the limit is {limit}"
    return Violation(policy.config.type, Reason.OPEN_ORDERS_LIMIT, "", str(limit), str(count), text)


def order_rate_limit(policy: Policy, _proposal: Proposal, situation: Situation) -> Violation | None:
    row = policy.config
    count = situation.placed_within(row.per_s * UNIT_NS) + 1
    if count <= row.max_orders:
        return None
    text = f"this would be order {count} within {row.per_s} s, the limit is {row.max_orders}"
    return Violation(policy.config.type, Reason.ORDER_RATE_LIMIT, "", str(row.max_orders), str(count), text)


def price_collar(policy: Policy, proposal: Proposal, situation: Situation) -> Violation | None:
    """A buy far above the best ask, or a sell far below the best bid, is a slip of the finger."""
    view = situation.view
    if view is None or view.state is not FeedState.LIVE:
        text = "there is no live book to compare the price with"
        return Violation(policy.config.type, Reason.PRICE_COLLAR, "price", "a live book", "none", text)
    buys = proposal.side is Side.BUY
    touched, own = (view.asks, view.bids) if buys else (view.bids, view.asks)
    levels = touched or own
    if not levels:
        return None
    best, bps = levels[0][0], policy.config.max_bps
    limit = best * (BPS + bps) // BPS if buys else -(-best * (BPS - bps) // BPS)
    if proposal.price <= limit if buys else proposal.price >= limit:
        return None
    shown, most = format_micros(proposal.price), format_micros(limit)
    text = f"price {shown} is beyond {most}, {bps} bps from the best price {format_micros(best)}"
    return Violation(policy.config.type, Reason.PRICE_COLLAR, "price", most, shown, text)


def event_exposure_limit(policy: Policy, proposal: Proposal, situation: Situation) -> Violation | None:
    if not increases(proposal, situation):
        return None
    value = situation.event_exposure() + _adds(proposal)
    what = "the money in all markets of this event"
    return _over(policy, Reason.EVENT_EXPOSURE_LIMIT, value, what)


def daily_loss_limit(policy: Policy, proposal: Proposal, situation: Situation) -> Violation | None:
    if not increases(proposal, situation):
        return None
    loss = -situation.day_pnl()
    if loss < policy.amount:
        return None
    shown, most = format_micros(loss), format_micros(policy.amount)
    text = f"{shown} were lost since midnight UTC, the limit is {most}: only orders that reduce are taken"
    return Violation(policy.config.type, Reason.DAILY_LOSS_LIMIT, "", most, shown, text)


def stale_data(policy: Policy, _proposal: Proposal, situation: Situation) -> Violation | None:
    view, limit = situation.view, policy.config.max_age_ms
    if view is None:
        text = "no book of this token is known (yet): it is followed from now on, ask again"
        return Violation(policy.config.type, Reason.BOOK_MISSING, "outcome", "a live book", "none", text)
    if view.state is not FeedState.LIVE:
        text = f"the book of this token is {view.state}{': ' if view.reason else ''}{view.reason}"
        return Violation(policy.config.type, Reason.STALE_DATA, "outcome", "LIVE", view.state.value, text)
    if limit and view.age_ms > limit:
        text = f"market_data was last heard {view.age_ms} ms ago, the limit is {limit} ms"
        return Violation(policy.config.type, Reason.STALE_DATA, "outcome", str(limit), str(view.age_ms), text)
    return None


def venue_mode(policy: Policy, proposal: Proposal, situation: Situation) -> Violation | None:
    mode, reason = situation.venue_mode()
    if mode in ("NORMAL", "DEGRADED") or (mode == "POST_ONLY" and proposal.post_only):
        return None
    text = f"{proposal.market.venue} is {mode}{': ' if reason else ''}{reason}"
    return Violation(policy.config.type, Reason.VENUE_MODE, "venue", "NORMAL", mode, text)


def near_resolution(policy: Policy, proposal: Proposal, situation: Situation) -> Violation | None:
    end_ns, before_s = proposal.market.end_ns, policy.config.before_end_s
    left_s = (end_ns - situation.now_wall_ns) // UNIT_NS
    if not end_ns or left_s >= before_s or not increases(proposal, situation):
        return None
    text = f"the market ends in {left_s} s, orders that add risk are banned {before_s} s before"
    return Violation(policy.config.type, Reason.NEAR_RESOLUTION, "market", str(before_s), str(left_s), text)


def consecutive_rejects(policy: Policy, _proposal: Proposal, situation: Situation) -> Violation | None:
    count, limit = situation.rejects_in_row(), policy.config.max_rejects
    if count < limit:
        return None
    text = f"the venue refused the last {count} orders of this account: find out why, then `polyexec resume`"
    return Violation(policy.config.type, Reason.TOO_MANY_REJECTS, "", str(limit), str(count), text)


POLICIES: dict[str, Check] = {
    "KillSwitch": kill_switch,
    "PositionLimit": position_limit,
    "InventoryLimit": inventory_limit,
    "OrderSizeLimit": order_size_limit,
    "OrderNotionalLimit": order_notional_limit,
    "OpenOrdersLimit": open_orders_limit,
    "OrderRateLimit": order_rate_limit,
    "PriceCollar": price_collar,
    "EventExposureLimit": event_exposure_limit,
    "DailyLossLimit": daily_loss_limit,
    "StaleData": stale_data,
    "VenueMode": venue_mode,
    "NearResolutionBan": near_resolution,
    "ConsecutiveRejects": consecutive_rejects,
}
"""In the order of evaluation."""


class Policies:
    """The enabled policies of the settings, in the order of evaluation."""

    def __init__(self, rows: Iterable[PolicyConfig]) -> None:
        order = list(POLICIES)
        enabled = sorted((row for row in rows if row.enabled), key=lambda row: order.index(row.type))
        self._all = [Policy(row, parse_micros(row.max_size or row.max_value_usd or "0")) for row in enabled]
        self._checks = [(POLICIES[policy.config.type], policy) for policy in self._all]
        self._scoped = any(row.account or row.market_id for row in enabled)
        self.most_orders = max((row.max_orders for row in enabled if row.type == "OrderRateLimit"), default=0)

    def in_force(self, proposal: Proposal) -> list[Policy]:
        """Those that speak about this order. One that names the market replaces the general one of its type."""
        if not self._scoped:
            return self._all
        found = [policy for policy in self._all if policy.covers(proposal.account, proposal.market, proposal.token_id)]
        narrowed = {policy.config.type for policy in found if policy.config.market_id}
        return [policy for policy in found if policy.config.market_id or policy.config.type not in narrowed]

    def evaluate(self, proposal: Proposal, situation: Situation) -> list[Violation]:
        """Every policy the order breaks; none when it may be placed."""
        checks = self._checks
        if self._scoped:
            checks = [(POLICIES[policy.config.type], policy) for policy in self.in_force(proposal)]
        broken = []
        for check, policy in checks:
            violation = check(policy, proposal, situation)
            if violation is not None:
                broken.append(violation)
        return broken

    def capped(self, proposal: Proposal, situation: Situation) -> int:
        """The largest size the policies with `cap` allow, cut to what can be signed; 0 when they allow nothing."""
        size = proposal.size
        for policy in self.in_force(proposal):
            if policy.config.cap and POLICIES[policy.config.type](policy, proposal, situation) is not None:
                size = min(size, _fitting(policy, proposal, situation))
        return size


def _fitting(policy: Policy, proposal: Proposal, situation: Situation) -> int:
    """The largest size that can be signed and keeps one policy."""
    step = proposal.market.size_step
    size = max(0, floor_to(_room(policy, proposal, situation), step))
    if size and POLICIES[policy.config.type](policy, proposal.resized(size), situation) is not None:
        return size - step  # fees are rounded: a part may cost a hair more than its part of the whole
    return size


def _room(policy: Policy, proposal: Proposal, situation: Situation) -> int:
    """Shares that still fit under one policy's limit."""
    match policy.config.type:
        case "PositionLimit":
            return policy.amount - (_position_after(proposal, situation) - proposal.size)
        case "OrderSizeLimit":
            return policy.amount
        case "OrderNotionalLimit":
            return policy.amount * ONE // proposal.price
        case "InventoryLimit":
            money = policy.amount - situation.inventory()
        case _:
            money = policy.amount - situation.event_exposure()
    added = _adds(proposal)
    return max(0, money) * proposal.size // added if added else proposal.size
