"""What reconciliation brings to light, written down: one Difference, one canonical log line, one correction. Pure.

In: answers of the venue that belong to a round, beside what our own state says. Out: orders looked up, fills booked,
holdings and balances adjusted with the venue's answer as evidence, alerts for what only a person can explain. Adjusted
shares go to the account `external:<wallet>`: they came from, or left for, somewhere that is not us.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.fixed import format_micros, parse_micros
from common.messages import BalancesResult, Difference, PositionsResult, VenueFill, VenueOrder
from common.types import Outcome
from services.executor.catchup import Wallet
from services.executor.desk import Desk
from services.executor.external import account_of
from services.executor.order import Order, status_of
from services.executor.reconcile import QUIET_NS, Kind, Resolution
from services.executor.settling import finish
from services.executor.wallets import wallet_known

LATE_NS = 5_000_000_000
"""A fill that is younger than this may simply not have come over the user channel yet."""


def answered(desk: Desk, wallet: Wallet, action_id: str, complete: bool) -> bool:
    """Whether this answer belongs to a round of reconciliation."""
    return desk.reconciler.of(wallet.venue, wallet.name).answered(action_id, complete, desk.now)


def _note(desk: Desk, wallet: Wallet, kind: Kind, subject: str, resolution: Resolution, **said: str) -> None:
    difference = Difference(desk.now.wall_ns, wallet.name, kind.value, subject, **said, resolution=resolution.value)
    if not desk.reconciler.of(wallet.venue, wallet.name).note(difference):
        return
    level = "error" if resolution is Resolution.ALERT else "warning"
    desk.log(
        "reconciliation_mismatch",
        level,
        mismatch_count=1,
        wallet=wallet.name,
        kind=kind.value,
        subject=subject,
        expected=difference.ours,
        actual=difference.theirs,
        explanation=difference.explanation,
        resolution=resolution.value,
    )


def order_missing(desk: Desk, wallet: Wallet, order: Order) -> None:
    why = "it is not among the venue's open orders; asked for by its id, as only that proves anything"
    said = {"ours": status_of(order).value, "theirs": "not listed", "explanation": why}
    _note(desk, wallet, Kind.ORDER_MISSING, order.order_id, Resolution.LOOKED_UP, **said)


def order_unexpected(desk: Desk, wallet: Wallet, shown: VenueOrder) -> None:
    why = "an open order of this wallet that polyexec did not place: other software trades with it"
    what = f"{shown.status} {shown.side} {format_micros(shown.size)} at {format_micros(shown.price)}"
    said = {"ours": "unknown", "theirs": what, "explanation": why}
    _note(desk, wallet, Kind.ORDER_UNEXPECTED, shown.venue_order_id, Resolution.ALERT, **said)


def fill_missing(desk: Desk, wallet: Wallet, fill: VenueFill, asked_ns: int) -> None:
    """The user channel did not tell of a trade although it was up; it is booked from the list."""
    if asked_ns - fill.matched_ns < LATE_NS:
        return
    why = "the user channel did not tell of this trade; booked from the venue's list of trades"
    what = f"{fill.side} {format_micros(fill.size)} at {format_micros(fill.price)}"
    said = {"ours": "unknown", "theirs": what, "explanation": why}
    _note(desk, wallet, Kind.FILL_MISSING, fill.trade_id, Resolution.BOOKED, **said)


def on_positions(desk: Desk, result: PositionsResult) -> None:
    action = finish(desk, result.action_id)
    wallet = wallet_known(desk, action.request.venue, action.request.wallet) if action else None
    if wallet is None:
        return
    complete = result.outcome is Outcome.DONE and result.complete
    if not answered(desk, wallet, result.action_id, complete) or not complete:
        return
    rounds = desk.reconciler.of(wallet.venue, wallet.name)
    tolerance = parse_micros(desk.config.execution.position_tolerance)
    first = not rounds.positions_known
    ours = _settled_holdings(desk, wallet)
    finer = _finer_tolerances(desk, wallet, {*ours, *(row.token_id for row in result.positions)}, tolerance)
    for token_id, mine, its in rounds.compare_positions(ours, result.positions, result.asked_ns, tolerance, finer):
        _adjust_position(desk, wallet, token_id, mine, its, first)


def _finer_tolerances(desk: Desk, wallet: Wallet, token_ids: Iterable[str], tolerance: int) -> dict[str, int]:
    """A hundredth of a share is a cent; a hundredth of a coin may be a fortune: of spot less than a step is nothing."""
    found = {}
    for token_id in token_ids:
        market = desk.markets.of_token(wallet.venue, token_id)
        if market is not None and market.is_spot:
            found[token_id] = min(tolerance, market.size_step - 1)
    return found


def _settled_holdings(desk: Desk, wallet: Wallet) -> dict[str, int]:
    """Shares on chain per token, of every account that trades with this wallet and of the world outside."""
    names = [row.name for row in desk.config.accounts if row.wallet == wallet.name]
    found: dict[str, int] = {}
    for name in (*names, account_of(wallet.name)):
        for token_id, holding in desk.positions.of_account(name).items():
            if holding.venue == wallet.venue:
                found[token_id] = found.get(token_id, 0) + holding.mined
    return found


def _adjust_position(  # noqa: PLR0917 (one row of a comparison)
    desk: Desk, wallet: Wallet, token_id: str, mine: int, its: int, first: bool
) -> None:
    market = desk.markets.of_token(wallet.venue, token_id)
    slug, outcome, condition_id = "", "", ""
    if market is not None:
        slug, condition_id = market.slug, market.condition_id
        outcome = market.outcomes[market.index_of_token(token_id)]
    account = account_of(wallet.name)
    desk.positions.adjust(account, token_id, its - mine, (wallet.venue, slug, condition_id, outcome))
    desk.valuation.changed(account)
    why = "held before polyexec first looked" if first else "moved by something other than our trades, twice confirmed"
    said = {"ours": format_micros(mine), "theirs": format_micros(its), "explanation": f"{why}; booked to {account}"}
    if first:
        desk.log("holding_found", wallet=wallet.name, subject=token_id, **said)
    else:
        _note(desk, wallet, Kind.POSITION, token_id, Resolution.ADJUSTED, **said)


def on_balances(desk: Desk, result: BalancesResult) -> None:
    action = finish(desk, result.action_id)
    wallet = wallet_known(desk, action.request.venue, action.request.wallet) if action else None
    if wallet is None:
        return
    done = result.outcome is Outcome.DONE
    if not answered(desk, wallet, result.action_id, done) or not done:
        return
    purse = desk.purses.of(wallet.venue, wallet.name)
    if purse.unmined or result.asked_ns - purse.moved_ns < QUIET_NS:
        # Whether the number holds the fills that are on their way cannot be told: it is asked for again.
        desk.reconciler.of(wallet.venue, wallet.name).ask_soon()
        return
    expected = purse.cash
    purse.on_balance(result.cash, result.allowance, result.asked_ns)
    tolerance = parse_micros(desk.config.execution.position_tolerance)
    if expected is None or abs(expected - result.cash) <= tolerance:
        return
    why = "money came or went by something other than our trades, or a fee was estimated; the venue's number is used"
    said = {"ours": format_micros(expected), "theirs": format_micros(result.cash), "explanation": why}
    _note(desk, wallet, Kind.BALANCE, "cash", Resolution.ADJUSTED, **said)
