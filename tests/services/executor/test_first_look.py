"""The first look at a wallet's holdings, as tests/sim found it: it may see fills that we are yet to be told of."""

from __future__ import annotations

from common.effects import Now
from common.messages import VenuePosition
from services.executor.reconcile import Rounds, S

TOKEN = "7" * 77
TOLERANCE = 10_000


def _rounds() -> Rounds:
    rounds = Rounds("polymarket", "main")
    rounds.plan(Now(100 * S, 100 * S), 60, 5)
    rounds.due(Now(100 * S, 100 * S), 60, 5)
    return rounds


def test_what_was_held_before_counts_once_two_looks_agree() -> None:
    rounds, held = _rounds(), [VenuePosition(TOKEN, 1_000_000_000)]

    assert rounds.compare_positions({}, held, 100 * S, TOLERANCE) == []
    assert not rounds.positions_known
    assert rounds.next_due() == 105 * S  # and it is asked again with the next round, not a minute later

    assert rounds.compare_positions({}, held, 105 * S, TOLERANCE) == [(TOKEN, 0, 1_000_000_000)]
    assert rounds.positions_known


def test_a_fill_told_after_the_first_look_is_not_taken_for_an_old_holding() -> None:
    rounds, held = _rounds(), [VenuePosition(TOKEN, 5_000_000)]
    rounds.compare_positions({}, held, 100 * S, TOLERANCE)
    rounds.moved_at(TOKEN, 101 * S)  # now the user channel tells of it

    assert rounds.compare_positions({TOKEN: 5_000_000}, held, 107 * S, TOLERANCE) == []
    assert rounds.positions_known


def test_an_empty_wallet_is_known_at_the_first_look() -> None:
    rounds = _rounds()

    assert rounds.compare_positions({}, [], 100 * S, TOLERANCE) == []
    assert rounds.positions_known
