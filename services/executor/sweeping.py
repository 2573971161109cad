"""Sweeps on the desk: a cancel-all begins, its cancels and lists are answered, it is driven on. Pure (ADR 26).

In: accepted cancel-alls, results that may concern a sweep, time. Out: cancels (for a whole wallet where the scope is
the whole wallet, else by id), lists of open orders, places that waited for a wallet-wide cancel, SweepChanged. What is
true of a single order stays with results.py and desk.py; this asks again until all of them are proven over.
"""

from __future__ import annotations

from itertools import islice

from common.effects import Publish
from common.messages import (
    CancelAll,
    CancelResult,
    CancelWallet,
    OpenOrdersResult,
    QueryOpenOrders,
    SweepChanged,
    SweepDoubt,
    SweepView,
    VenueOrder,
)
from common.types import Outcome
from common.venues.capabilities import capabilities_of
from services.executor import placing
from services.executor.actions import Action
from services.executor.catchup import MS
from services.executor.desk import Desk
from services.executor.order import Order, State
from services.executor.sweep import RUNNING_MAX, Hold, Key, Phase, Spot, Sweep, Wide

TOPIC = "sweeps"
NAMED_MAX = 200
"""Orders named in a report; all are counted."""


# --- beginning ---


def begin(desk: Desk, command: CancelAll, condition_ids: list[str], orders: list[Order]) -> None:
    """Cancel these orders, and see to it until nothing of the scope is open."""
    sweeps = desk.sweeps
    while len(sweeps.running) >= RUNNING_MAX:
        _end(desk, next(iter(sweeps.running.values())), Phase.DROPPED)
    sweeps.last += 1
    sweep = Sweep(
        sweeps.last,
        command.command_id,
        command.account,
        command.market,
        condition_ids,
        desk.last_order,
        desk.now.wall_ns,
        _spots(desk, command.account, condition_ids),
    )
    sweeps.running[sweep.number] = sweep
    for order in orders:
        sweep.note(order)
    wides = _wides(desk, sweep)
    sweep.wallet_cancels = len(wides)
    under_way = {hold.wide for hold in sweeps.holds.values() if not hold.until_mono}
    desk.cancel(orders, [wide for wide in wides if wide not in under_way])  # nothing of ours left since that one did
    for action_id, hold in sweeps.holds.items():
        if hold.wide in wides and not hold.until_mono:
            sweep.waits_for(action_id, (hold.wide.venue, hold.wide.wallet))
    for order in orders:
        if order.cancel_action:  # also one that was under way before
            sweep.waits_for(order.cancel_action, (order.venue, order.wallet))
    _publish(desk, sweep)


def _spots(desk: Desk, account: str, condition_ids: list[str]) -> list[Spot]:
    """Wallets that could have orders of this scope and can be asked; others are added with the orders they have."""
    found = []
    for row in desk.config.wallets:
        names = [name for name, wallet in desk.wallet_of_account.items() if wallet.name == row.name]
        listed = not condition_ids or any(desk.markets.find(row.venue, word) for word in condition_ids)
        if account in ("", *names) and listed and desk.wallets[row.venue, row.name].ready is not None:
            found.append(Spot(row.venue, row.name, whole=not account or names == [account]))
    return found


def _wides(desk: Desk, sweep: Sweep) -> list[Wide]:
    """The wallet-wide cancels this scope may use: every account of the wallet is in it, and the venue has the call."""
    if not desk.config.execution.wallet_cancel:
        return []
    found = []
    for spot in sweep.spots:
        if spot.whole and capabilities_of(spot.venue).cancel_wallet:
            words = [word for word in sweep.condition_ids if desk.markets.find(spot.venue, word)]
            found += [Wide(*spot.key, word) for word in words or [""]]
    return found


# --- answers ---


def on_canceled(desk: Desk, result: CancelResult, action: Action) -> None:
    """After every order of this cancel has taken the answer."""
    _release(desk, result)
    foreign = _foreign(desk, result) if isinstance(action.request, CancelWallet) else 0
    answered = frozenset(action.orders)
    for sweep in desk.sweeps.running.values():
        for spot in sweep.spots:
            if result.action_id not in spot.cancels:
                continue
            del spot.cancels[result.action_id]
            sent_ns = result.timings.sent_ns
            sweep.first_sent_ns = min(sweep.first_sent_ns or sent_ns, sent_ns or sweep.first_sent_ns)
            sweep.foreign += foreign
            if result.outcome is Outcome.DONE:
                spot.again = dict.fromkeys(number for number in spot.again if number not in answered)
            else:
                spot.again |= dict.fromkeys(number for number in action.orders if sweep.tracks(number))
                spot.pause(desk.now.mono_ns, result.retry_after_ms * MS)


def _foreign(desk: Desk, result: CancelResult) -> int:
    return sum(
        desk.oms.by_venue_id(venue_id) is None and desk.ids.number_of(venue_id) is None for venue_id in result.canceled
    )


def on_listed(desk: Desk, result: OpenOrdersResult, *, complete: bool) -> None:
    """After every listed order has taken the news. What is listed and not being cancelled is cancelled again."""
    if desk.sweeps.asking.pop(result.action_id, None) is None:
        return
    shown = [(row, desk.oms.by_venue_id(row.venue_order_id)) for row in result.orders]
    ours = [order for _, order in shown if order is not None]
    foreign = [row for row, order in shown if order is None]
    for sweep in desk.sweeps.running.values():
        for spot in sweep.spots:
            if spot.asking != result.action_id:
                continue
            spot.asking = ""
            left = [order for order in ours if sweep.covers(order)]
            spot.clean = complete and not left
            spot.foreign_open = _foreign_open(desk, sweep, spot, foreign)
            if spot.clean:
                spot.tries = 0
            else:
                spot.pause(desk.now.mono_ns)
            if left:
                sweep.revoke()
                _cancel_again(desk, sweep, left)


def _foreign_open(desk: Desk, sweep: Sweep, spot: Spot, rows: list[VenueOrder]) -> int:
    """Whose they are is not known, so only a sweep of the whole wallet is about them."""
    if not spot.whole or not sweep.condition_ids:
        return len(rows) if spot.whole else 0
    markets = [desk.markets.of_token(spot.venue, row.token_id) for row in rows]
    return sum(market is not None and market.condition_id in sweep.condition_ids for market in markets)


def _cancel_again(desk: Desk, sweep: Sweep, orders: list[Order]) -> None:
    idle = [order for order in orders if not order.cancel_action]
    for order in idle:
        order.cancel_asked = True
    sweep.repeats += len(idle)
    desk.send_cancels(idle)


# --- driving ---


def advance(desk: Desk) -> None:
    """What the last input or the time leads to. Called after every input; costs nothing while no sweep runs."""
    if desk.turned_up:
        orders, desk.turned_up = desk.turned_up, []
        desk.cancel(orders)
    for action_id in [key for key, hold in desk.sweeps.holds.items() if 0 < hold.until_mono <= desk.now.mono_ns]:
        _let_go(desk, desk.sweeps.holds.pop(action_id))
    for sweep in list(desk.sweeps.running.values()):
        for spot in sweep.spots:
            due = spot.due(desk.sweeps.asking.values())
            if due is not None and due <= desk.now.mono_ns:
                _next(desk, sweep, spot)
        _move(desk, sweep)


def _move(desk: Desk, sweep: Sweep) -> None:
    looking = sweep.last_look and any(order.lookup_action for order in _orders(desk, sweep.doubted))
    if sweep.move(desk.now, _until_mono(desk, sweep), looking=looking):
        if sweep.phase is Phase.FINAL:
            _end(desk, sweep, Phase.FINAL)
            return
        _publish(desk, sweep)
    if sweep.begins_last_look(desk.now):
        for order in _orders(desk, sweep.doubted):
            desk.look_up(order)


def _until_mono(desk: Desk, sweep: Sweep) -> int:
    """When the last request of a place in doubt has died; counted anew only where it matters."""
    if not sweep.is_zero or (sweep.phase is Phase.ZERO and desk.now.mono_ns < sweep.until_mono):
        return sweep.until_mono
    return max((order.give_up_mono for order in _orders(desk, sweep.doubted)), default=0)


def _orders(desk: Desk, numbers: dict[int, None]) -> list[Order]:
    return [order for number in numbers if (order := desk.oms.get(number)) is not None]


def _next(desk: Desk, sweep: Sweep, spot: Spot) -> None:
    if spot.again:
        orders = [order for order in _orders(desk, spot.again) if order.open]
        spot.again = {}
        _cancel_again(desk, sweep, orders)
    if spot.lists and spot.key not in desk.sweeps.asking.values():
        _ask(desk, spot.key)


def _ask(desk: Desk, key: Key) -> None:
    """One list for every sweep that wants one of this wallet now."""
    action_id = desk.actions.next_id()
    desk.sweeps.asking[action_id] = key
    for sweep in desk.sweeps.running.values():
        for spot in sweep.spots:
            if spot.key == key and spot.lists and spot.next_mono <= desk.now.mono_ns:
                spot.asking = action_id
    desk.out.append(desk.actions.send(QueryOpenOrders(action_id, *key), []))


# --- places behind a wallet-wide cancel ---


def _release(desk: Desk, result: CancelResult) -> None:
    """The wallet-wide cancel is over, so what waited for it may go. Unless a copy of it may still be on its way."""
    hold = desk.sweeps.holds.get(result.action_id)
    if hold is None:
        return
    if result.outcome is Outcome.UNKNOWN or hold.repeated:
        hold.until_mono = desk.now.mono_ns + desk.config.execution.request_life_ms * MS
        return
    del desk.sweeps.holds[result.action_id]
    _let_go(desk, hold)


def may_be_repeated(desk: Desk, key: Key | None = None) -> None:
    """Executor or gateway (of one wallet) has restarted, so what was outstanding was sent again."""
    for hold in desk.sweeps.holds.values():
        hold.repeated = hold.repeated or key in (None, (hold.wide.venue, hold.wide.wallet))


def _let_go(desk: Desk, hold: Hold) -> None:
    for number in hold.orders:
        order = desk.oms.get(number)
        if order is not None and order.state is State.PENDING:
            desk.oms.check_at(order, 0)
            placing.run_pending(desk, order)


# --- reports ---


def _end(desk: Desk, sweep: Sweep, phase: Phase) -> None:
    sweep.phase = phase
    if phase is Phase.DROPPED:
        desk.count("sweeps_dropped")
    view = _publish(desk, sweep)
    desk.sweeps.keep(sweep.number, view)


def _publish(desk: Desk, sweep: Sweep) -> SweepView:
    view = view_of_sweep(desk, sweep)
    desk.out.append(Publish(TOPIC, SweepChanged(view)))
    desk.log(
        "sweep",
        command_id=sweep.command_id,
        phase=sweep.phase.value,
        known=view.known,
        open=view.open_count,
        in_doubt=view.doubt_count,
    )
    return view


def view_of_sweep(desk: Desk, sweep: Sweep) -> SweepView:
    ends = list(sweep.ended.values())
    doubted = _orders(desk, dict.fromkeys(islice(sweep.doubted, NAMED_MAX)))
    offset = desk.now.wall_ns - desk.now.mono_ns
    return SweepView(
        sweep_id=f"s-{sweep.number}",
        command_id=sweep.command_id,
        account=sweep.account,
        market=sweep.market,
        phase=sweep.phase.value,
        accepted_ns=sweep.accepted_ns,
        first_sent_ns=sweep.first_sent_ns,
        zero_ns=sweep.zero_ns,
        final_ns=sweep.final_ns,
        known=len(ends) + len(sweep.resting) + len(sweep.doubted),
        cancelled=ends.count(State.CANCELLED) + ends.count(State.EXPIRED),
        filled=ends.count(State.FILLED),
        rejected=ends.count(State.REJECTED),
        open_count=len(sweep.resting),
        doubt_count=len(sweep.doubted),
        open_orders=[f"o-{number}" for number in islice(sweep.resting, NAMED_MAX)],
        in_doubt=[SweepDoubt(order.order_id, order.give_up_mono + offset) for order in doubted],
        turned_up=sweep.turned_up,
        repeats=sweep.repeats,
        wallet_cancels=sweep.wallet_cancels,
        foreign=sweep.foreign,
        foreign_open=sum(spot.foreign_open for spot in sweep.spots),
    )


def report_of(desk: Desk, command_id: str) -> SweepView | None:
    """The sweep of this command, the newest for ""; None when none is kept."""
    running = reversed(desk.sweeps.running.values())
    found = next((sweep for sweep in running if command_id in ("", sweep.command_id)), None)
    kept = reversed(desk.sweeps.recent.items())
    number, over = next((row for row in kept if command_id in ("", row[1].command_id)), (0, None))
    if found is None or number > found.number:
        return over
    return view_of_sweep(desk, found)


def snapshot(desk: Desk) -> list[SweepChanged]:
    """Every sweep that is known, those that are over first."""
    running = [view_of_sweep(desk, sweep) for sweep in desk.sweeps.running.values()]
    return [SweepChanged(view) for view in (*desk.sweeps.recent.values(), *running)]
