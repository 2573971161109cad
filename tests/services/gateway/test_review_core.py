"""Findings of a hostile review, without I/O: queues and budgets, venue modes, the dead-man chain."""

from __future__ import annotations

import pytest

from common.effects import Origin
from common.errors import Refusal
from common.messages import CancelWallet, Place, PlaceBatch, PlaceBatchResult
from common.reasons import Reason
from common.types import Outcome
from common.venues.polymarket.limits import Call, PolymarketLimits
from services.gateway.actions import Kind
from services.gateway.budgets import Budgets
from services.gateway.core import Admission, Limit
from services.gateway.deadman import DeadMan
from services.gateway.modes import S
from services.gateway.port import Prepared
from tests.services.gateway.orders import cancel, place
from tests.services.gateway.test_core import actions, admission, cancels
from tests.services.gateway.test_modes import Venue

# --- admission ---


def test_a_repeat_whose_pinned_order_cannot_be_read_is_unknown() -> None:
    def unreadable(found: Place) -> Prepared:
        raise Refusal(Reason.DIGEST_MISMATCH, f"the settings of {found.wallet} changed", "pinned")

    desk = admission()
    desk.state._prepare = unreadable
    (result,) = desk.accept(place(1), actions(1), True)
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, Reason.DIGEST_MISMATCH)


def test_a_batch_without_orders_is_answered() -> None:
    assert admission().accept(PlaceBatch("b", "polymarket", "main", []), actions(1)) == [PlaceBatchResult("b", [])]


@pytest.mark.parametrize(
    ("call", "condition_id"), [(Call.CANCEL_ALL, ""), (Call.CANCEL_MARKET, "0xc")], ids=["wallet", "market"]
)
def test_cancels_by_id_do_not_wait_for_a_wide_one_that_has_no_budget(call: Call, condition_id: str) -> None:
    limits = PolymarketLimits()
    limits.cancel_wallet("main")
    limits.on_headers("main", call, {"Retry-After": "300"}, 429, 0)
    state = Admission({kind: Limit(32, 100) for kind in Kind}, Budgets(limits))
    state.accept(CancelWallet("w", "polymarket", "main", condition_id), cancels(0), False, 0, 0)
    state.accept(cancel("0x1"), Origin("executor", "cancels", 2), False, 0, 0)
    assert [job.action.action_id for job in state.take(Kind.CANCEL, 0, S)] == ["c1"]


# --- modes ---


@pytest.mark.parametrize("code", [Reason.VENUE_POST_ONLY, Reason.VENUE_CANCEL_ONLY, Reason.VENUE_RESTARTING])
def test_no_pause_a_venue_names_keeps_a_mode_for_longer_than_an_hour(code: Reason) -> None:
    venue = Venue()
    venue.answers(code, retry_ms=30 * 86_400_000)
    assert venue.modes.due_ns() - venue.now <= 3600 * S


def test_places_that_are_blocked_back_off_although_cancels_are_served() -> None:
    """As in a region that is close-only: cancels pass, places get somebody's page."""
    venue, sent = Venue(), 0
    for _ in range(4 * 120):
        if venue.passes(S // 4):
            venue.answers(Reason.OK, place=False)
        if venue.may_leave():
            sent += 1
            venue.answers(Reason.VENUE_BLOCKED)
    assert 2 <= sent <= 20, "places into the block within 120 s"


# --- the dead-man chain ---


class Key:
    """One API key at the venue: the id it wants next."""

    def __init__(self) -> None:
        self._wanted = ""
        self._accepted = 0

    def forget(self) -> None:
        """A restart: another id is wanted."""
        self._wanted = f"restarted-{self._accepted}"

    def beaten_by(self, owner: DeadMan, now: int) -> None:
        heartbeat_id = owner.next_beat(0, now)
        if heartbeat_id is None:
            return
        if heartbeat_id != self._wanted:
            owner.refused(self._wanted, "Invalid Heartbeat ID", now)
            return
        self._accepted += 1
        self._wanted = f"id-{self._accepted}"
        owner.accepted(self._wanted, now)


@pytest.mark.parametrize(("owners", "noticed"), [(1, False), (2, True)])
def test_owners_that_take_one_chain_from_each_other_notice(owners: int, noticed: bool) -> None:
    key, chains = Key(), [DeadMan() for _ in range(owners)]
    troubles = set()
    for now in range(S, 60 * S, S // 4):
        for chain in chains:
            key.beaten_by(chain, now)
        troubles |= {chain.trouble(0, now) for chain in chains}
    assert any("another process" in trouble for trouble in troubles) is noticed


def test_a_venue_that_forgets_the_chain_now_and_then_is_no_other_owner() -> None:
    """Each of its restarts makes one beat fail; places must not stop for that."""
    key, chain = Key(), DeadMan()
    for now in range(S, 200 * S, S // 4):
        if now % (11 * S) == 0:
            key.forget()
        key.beaten_by(chain, now)
        assert chain.trouble(0, now) == ""
