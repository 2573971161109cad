"""Repeats: what is remembered, for how long, and what happens when memory is full."""

from __future__ import annotations

import msgspec

from common.messages import Accepted, CancelAnswer, CancelOrders, Deposit, OpenAccount, OrderAnswer, Refused
from common.reasons import Reason
from services.exchange.idempotency import KEPT_NS, Answers, UsedIds
from tests.services.exchange.world import YES, World


def test_answers_are_kept_ten_minutes_and_then_dropped() -> None:
    """Ten minutes exactly are still kept."""
    answers = Answers()
    answers.keep("a", 0, Accepted("a"))
    answers.keep("b", 1, Accepted("b"))
    assert not answers.full(KEPT_NS)
    assert answers.find("a") == Accepted("a", duplicate=True)
    assert not answers.full(KEPT_NS + 1)
    assert answers.find("a") is None
    assert answers.find("b") is not None


def test_full_of_young_answers_refuses_commands_but_serves_cancels() -> None:
    """Nothing young is dropped: OVERLOADED, except for cancels, whose answers are then not kept."""
    world = World()
    world.account("alice")
    world.core.memory.answers = Answers(world.core.memory.answers.rows(), limit=len(world.core.memory.answers))
    code, _, _ = world.refusal(world.send(Deposit("late", "alice", "", 5)))
    assert code is Reason.OVERLOADED
    cancel = CancelOrders("c", "alice", ["x"])
    assert (
        world.send(cancel) == world.send(cancel) == CancelAnswer("c", [], {"x": "Order not found or already canceled"})
    )
    world.pass_time(601)
    assert world.send(Deposit("late", "alice", "", 5)) == Accepted("late")


def test_a_deposit_happens_once() -> None:
    """The same deposit again is answered and credits nothing."""
    world = World()
    world.send(OpenAccount("open", "alice", 100))
    deposit = Deposit("d", "alice", "", 5)
    assert world.send(deposit) == Accepted("d")
    assert world.send(deposit) == Accepted("d", duplicate=True)
    assert world.balances("alice").cash == 105


def test_used_ids_survive_packing() -> None:
    """Packed and unpacked they know the same ids, in the same order."""
    used = UsedIds()
    for number in range(50):
        used.add(f"0x{number:064x}")
    again = UsedIds(used.packed())
    assert len(again) == 50
    assert f"0x{7:064x}" in again
    assert f"0x{50:064x}" not in again
    assert again.packed() == used.packed()


def test_answers_survive_a_checkpoint() -> None:
    """A repeat after a restart is still a repeat."""
    world = World()
    world.send(OpenAccount("open", "alice", 100))
    world.core.load(world.core.dump())
    assert world.send(OpenAccount("open", "alice", 100)) == msgspec.structs.replace(Accepted("open"), duplicate=True)


def test_an_id_is_taken_again_only_when_asked_for_and_when_its_order_is_over() -> None:
    """A venue that forgets: the new order is whole, also after the history of the old one has gone."""
    world = World(trades_per_account_max=1)
    world.account("alice")
    world.account("bob")
    world.submit("alice", "x", "BUY", YES, "10", "0.40")
    assert world.refusal(world.submit("alice", "x", "BUY", YES, "10", "0.40", reuse=True))[0] is Reason.DUPLICATE_ORDER
    world.cancel("alice", "x")
    assert world.refusal(world.submit("alice", "x", "BUY", YES, "10", "0.40"))[0] is Reason.DUPLICATE_ORDER
    assert world.refusal(world.submit("bob", "x", "BUY", YES, "10", "0.40", reuse=True))[0] is Reason.DUPLICATE_ORDER
    assert isinstance(world.submit("alice", "x", "BUY", YES, "10", "0.40", reuse=True), OrderAnswer)
    for name in ("y", "z"):
        world.submit("alice", name, "BUY", YES, "10", "0.40")
        world.cancel("alice", name)
    assert world.order_now("x").status == "LIVE"
    assert world.cancel("alice", "x").canceled == ["x"]  # type: ignore[union-attr]


def test_a_forgotten_id_that_is_refused_keeps_its_old_order() -> None:
    """Nothing has changed before an order is admitted."""
    world = World()
    world.account("alice")
    world.submit("alice", "x", "BUY", YES, "10", "0.40")
    world.cancel("alice", "x")
    assert isinstance(world.submit("alice", "x", "BUY", YES, "1", "0.40", reuse=True), Refused)
    assert world.order_now("x").status == "CANCELED"
