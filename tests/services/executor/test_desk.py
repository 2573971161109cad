"""A lying venue and a crashing executor, seeded: whatever happens, the end is the venue's truth."""

from __future__ import annotations

from random import Random

import pytest

from common.messages import CancelAccepted, Fill
from common.types import Settlement, Side, Status, TimeInForce
from services.executor.order import TERMINAL, State
from services.executor.positions import unexplained
from tests.services.executor.driver import Driver
from tests.services.executor.lying_venue import LyingVenue

STEPS = 120
SEEDS = 150


def _client(venue: LyingVenue, rng: Random, cancel_alls: float) -> None:
    driver = venue.driver
    choice = rng.random() - 0.05 + cancel_alls
    if choice < 0.7:
        driver.place(
            "" if rng.random() < 0.5 else f"id-{rng.randrange(40)}",
            account=rng.choice(["default", "other"]),
            side=rng.choice(list(Side)),
            tif=rng.choice([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.FAK]),
        )
    elif choice < 0.95:
        driver.cancel(f"o-{rng.randrange(1, 1 + max(1, driver.core.desk.last_order))}", account="default")
    else:
        driver.cancel_all(rng.choice(["", "default", "other"]))
    _note_covered(venue)
    venue.collect()


def _note_covered(venue: LyingVenue) -> None:
    for effect in venue.driver.of(CancelAccepted):
        for order_id in effect.order_ids:
            venue.covered.add(venue.driver.order(order_id).venue_order_id)


def run_seed(seed: int, cancel_alls: float = 0.05, *, wallet_cancel: bool = False) -> LyingVenue:
    """`cancel_alls`: which part of what clients do are such."""
    rng = Random(seed)
    venue = LyingVenue(Driver(wallet_cancel=wallet_cancel), seed)
    for _ in range(STEPS):
        move = rng.choices(
            ["client", "serve", "news", "match", "settle", "time", "crash", "cut", "reconnect"],
            [20, 30, 40, 12, 12, 10, 1, 1, 3],
        )[0]
        match move:
            case "client":
                _client(venue, rng, cancel_alls)
            case "serve":
                venue.serve()
            case "news":
                venue.deliver_news()
            case "match":
                venue.match_something()
            case "settle":
                venue.settle_something()
            case "time":
                venue.pass_time(rng.choice([1, 100, 600, 3_000]))
            case "crash":
                venue.crash()
            case "cut":
                venue.cut()
            case "reconnect":
                venue.reconnect()
        assert unexplained(venue.driver.core.desk.positions, venue.driver.fills()) == []
    venue.make_honest()
    return venue


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_end_is_the_venues_truth(seed: int) -> None:
    """Every order is resolved, every fill counted once at its true stage, nothing exists twice or unseen."""
    check_end(run_seed(seed))


def check_end(venue: LyingVenue) -> None:
    desk = venue.driver.core.desk
    orders = {order.venue_order_id: order for order in desk.oms.rows()}

    assert len(desk.actions.outstanding()) == 0
    for venue_id, order in orders.items():
        truth = venue.orders.get(venue_id)
        assert order.state not in (State.SUBMITTING, State.UNKNOWN, State.RECALLED, State.CANCELLING)
        if order.cancel_asked and venue_id not in venue.covered:
            scopes = venue.scopes.values()
            assert any(account in ("", order.account) and order.number <= through for account, through in scopes)
        if truth is None:
            assert order.state in (State.REJECTED, State.CANCELLED)
            assert order.matched == 0
            continue
        expected = {"LIVE": State.WORKING, "MATCHED": State.FILLED, "CANCELED": State.CANCELLED}[truth.status]
        assert order.state is expected
        assert order.matched == order.told == truth.filled
        if truth.status == "LIVE":
            assert not order.cancel_asked
    assert set(venue.orders) <= set(orders)
    assert _stages(venue.driver.fills()) == {
        (fill.trade_id, fill.venue_order_id, fill.size, fill.cash, fill.settlement) for fill in venue.fills.values()
    }
    assert unexplained(desk.positions, venue.driver.fills()) == []
    assert {view.phase for view in venue.sweeps.values()} <= {"FINAL", "DROPPED"}
    assert not desk.sweeps.running
    assert not desk.sweeps.holds
    assert not desk.sweeps.asking


def test_the_runs_reach_what_they_are_meant_to_reach() -> None:
    """The seeds above are not all calm: every kind of trouble occurs in some of them."""
    seen: set[str] = set()
    for seed in range(25):
        venue = run_seed(seed)
        seen |= {name for name, count in venue.driver.core.desk.counts.items() if count}
        seen |= {order.state.value for order in venue.driver.core.desk.oms.rows()}
        seen |= {fill.settlement.value for fill in venue.driver.fills()}
        seen |= {"resent" for order in venue.driver.core.desk.oms.rows() if order.sends > 1}

    assert {state.value for state in TERMINAL if state is not State.EXPIRED} <= seen
    assert {"resent", "places_in_doubt", "lookups_outdated", "results_repeated", "fills_repeated"} <= seen
    assert {"cancels_failed", "places_duplicate", "commands_refused"} <= seen
    assert {Settlement.CONFIRMED.value, Settlement.FAILED.value} <= seen
    assert "illegal_transitions" not in seen


def _stages(fills: list[Fill]) -> set[tuple[str, str, int, int, Settlement]]:
    return {(fill.trade_id, fill.venue_order_id, fill.size, fill.cash, fill.settlement) for fill in fills}


def test_status_words_follow_the_states_of_arun_seed() -> None:
    venue = run_seed(1)

    shown = {venue.driver.order(order.order_id).status for order in venue.driver.core.desk.oms.rows()}

    assert shown <= {Status.WORKING, Status.PARTIALLY_FILLED, Status.FILLED, Status.CANCELLED, Status.REJECTED}
