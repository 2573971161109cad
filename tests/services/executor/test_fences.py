from __future__ import annotations

import pytest

from services.executor.fences import FENCES_PER_SENDER, Fences, Scope

PLACE = Scope("default", "0xc", "id")


@pytest.mark.parametrize(
    ("scope", "holds"),
    [
        (Scope(), True),
        (Scope("default"), True),
        (Scope("other"), False),
        (Scope("", "0xc"), True),
        (Scope("default", "0xd"), False),
        (Scope("default", "", "id"), True),
        (Scope("default", "", "ie"), False),
    ],
)
def test_a_fence_holds_what_is_in_its_scope(scope: Scope, holds: bool) -> None:
    fences = Fences()
    fences.raise_for("gw", 10, scope)

    assert fences.fenced("gw", 10, PLACE, 0) is holds


def test_a_fence_is_of_one_sender_and_ends_with_what_it_covers() -> None:
    fences = Fences()
    fences.raise_for("gw", 10, Scope())

    assert fences.fenced("gw", 1, PLACE, 0)
    assert not fences.fenced("gw", 11, PLACE, 0)
    assert not fences.fenced("other", 1, PLACE, 0)
    assert not fences.fenced("gw", 0, PLACE, 0)


def test_later_messages_of_the_sender_end_a_fence() -> None:
    fences = Fences()
    fences.raise_for("gw", 10, Scope())
    fences.arrived("gw", 10)
    assert len(fences) == 1

    fences.arrived("gw", 11)

    assert len(fences) == 0


def test_too_many_fences_become_one_of_the_widest_scope() -> None:
    """Full never forgets: it refuses more places instead, until the sender's next message."""
    fences = Fences()
    for number in range(FENCES_PER_SENDER + 1):
        fences.raise_for("gw", 10 + number, Scope("default", "", f"id-{number}"))

    assert len(fences) == 1
    assert fences.fenced("gw", 10 + FENCES_PER_SENDER, PLACE, 0)


def test_asks_leave_no_fence() -> None:
    fences = Fences()
    fences.raise_for("cli", 0, Scope())

    assert len(fences) == 0


def test_tombstones_end_by_time_and_hold_for_every_sender() -> None:
    fences = Fences()
    fences.bury("default", "id", 100)

    assert fences.fenced("cli", 0, PLACE, 99)
    assert not fences.fenced("cli", 0, PLACE, 100)
    assert not fences.fenced("cli", 0, Scope("other", "0xc", "id"), 99)
    fences.expire(100)
    assert len(fences) == 0


def test_an_order_without_a_client_id_has_no_tombstone() -> None:
    fences = Fences()
    fences.bury("default", "", 100)

    assert not fences.fenced("cli", 0, Scope("default", "0xc", ""), 1)


def test_fences_survive_their_rows() -> None:
    fences = Fences()
    fences.raise_for("gw", 10, Scope("default"))
    fences.bury("default", "id", 100)

    again = Fences(fences.fences(), fences.tombstones())

    assert again.fences() == fences.fences()
    assert again.tombstones() == fences.tombstones()
