"""Lanes: whatever the transport loses, doubles or delays, each message is handled once and in order."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.frames import BODIES_MAX, BODY_BYTES_MAX, Ack, Data, Epoch, FencedOff, Nack
from common.lanes import FLIGHT_MAX, RESEND_NS, LaneReceiver, LaneSender, first_ordinal

ME, YOU = Epoch("", 10), Epoch("", 20)


def sender(epoch: Epoch = ME, *, limit: int = 1000, by_result: bool = False) -> LaneSender:
    return LaneSender("lane", "alice", epoch, limit=limit, by_result=by_result)


def receiver(epoch: Epoch = YOU, *, facts: bool = False) -> LaneReceiver:
    return LaneReceiver("lane", "bob", epoch, facts=facts)


def body(n: int) -> bytes:
    return msgspec.msgpack.encode(n)


def fresh(frame: Data, to: LaneReceiver) -> list[int]:
    """What of one frame is to be handled."""
    return [msgspec.msgpack.decode(raw) for raw in frame.bodies[to.accept(frame).start :]]


def handled(frames: list[Data], to: LaneReceiver) -> list[int]:
    return [n for frame in frames for n in fresh(frame, to)]


def ack(of: LaneReceiver) -> Ack:
    found = of.ack("alice")
    assert found is not None
    return found


def test_nothing_leaves_before_the_receiver_is_known() -> None:
    lane = sender()
    lane.offer("a", body(1))
    assert lane.due(0) == []
    assert lane.next_due_ns() is None
    lane.on_hello(YOU)
    assert handled(lane.due(0), receiver()) == [1]


def test_ordinals_of_a_later_life_are_above_all_earlier_ones() -> None:
    old, new = sender(Epoch("", 10)), sender(Epoch("", 11))
    for n in range(100):
        old.offer(str(n), body(n))
    assert first_ordinal(new.epoch) > old.last


def test_unacknowledged_messages_go_out_again_after_the_deadline_only() -> None:
    lane, bob = sender(), receiver()
    lane.on_hello(YOU)
    lane.offer("a", body(1))
    assert len(lane.due(1)) == 1
    assert lane.due(RESEND_NS) == []
    assert handled(lane.due(RESEND_NS + 1), bob) == [1]
    lane.on_ack(ack(bob))
    assert lane.due(10 * RESEND_NS) == []
    assert len(lane) == 0


def test_a_gap_is_answered_by_a_nack_and_repaired_at_once() -> None:
    lane, bob = sender(), receiver()
    lane.on_hello(YOU)
    lane.offer("a", body(1))
    lost = lane.due(1)
    lane.offer("b", body(2))
    verdict = bob.accept(lane.due(2)[0])
    assert lost
    assert verdict.start == 1, "nothing of the frame is handled"
    assert isinstance(verdict.answer, Nack)
    lane.on_nack(verdict.answer)
    assert handled(lane.due(3), bob) == [1, 2]


def test_a_duplicate_frame_delivers_nothing_and_is_acknowledged_again() -> None:
    lane, bob = sender(), receiver()
    lane.on_hello(YOU)
    lane.offer("a", body(1))
    frame = lane.due(1)[0]
    assert handled([frame], bob) == [1]
    assert bob.accept(frame) == (1, None, False)
    assert ack(bob).seq == lane.last


def test_a_message_that_waits_for_its_result_survives_the_receivers_death_as_a_repeat() -> None:
    """The gateway is stateless: acknowledged is not done."""
    lane, bob = sender(by_result=True), receiver()
    lane.on_hello(YOU)
    for n in (1, 2, 3):
        lane.offer(f"k{n}", body(n))
    handled(lane.due(1), bob)
    lane.on_ack(ack(bob))
    lane.settle("k2")
    assert lane.on_hello(Epoch("", 21))
    lane.offer("k4", body(4))
    frames = lane.due(2)
    assert [frame.repeat for frame in frames] == [True, False]
    assert handled(frames, receiver(Epoch("", 21))) == [1, 3, 4]


def test_a_settled_message_is_not_sent_again_and_leaves_no_gap() -> None:
    lane, bob = sender(by_result=True), receiver()
    lane.on_hello(YOU)
    for n in (1, 2, 3):
        lane.offer(f"k{n}", body(n))
    lane.settle("k2")
    assert handled(lane.due(1), bob) == [1, 3]


def test_a_full_lane_refuses_and_keeps_what_it_has() -> None:
    lane = sender(limit=2)
    assert lane.offer("a", body(1))
    assert lane.offer("b", body(2))
    assert not lane.offer("c", body(3))
    assert lane.offer("a", body(1)), "a key that is kept is not taken twice and not refused"
    assert len(lane) == 2


def test_requests_for_an_earlier_life_are_dropped_but_facts_are_not() -> None:
    """Epochs fence requests, never facts (architecture section 6)."""
    lane = sender()
    lane.on_hello(Epoch("", 19))
    lane.offer("a", body(1))
    frame = lane.due(1)[0]
    assert fresh(frame, receiver(YOU)) == []
    assert fresh(frame, receiver(YOU, facts=True)) == [1]


def test_a_zombie_sender_is_fenced_and_told() -> None:
    old, new, bob = sender(Epoch("", 10)), sender(Epoch("", 11)), receiver()
    for lane in (new, old):
        lane.on_hello(YOU)
        lane.offer("a", body(1))
    assert handled(new.due(1), bob) == [1]
    verdict = bob.accept(old.due(1)[0])
    assert verdict.start == 1, "nothing of the frame is handled"
    assert verdict.answer == FencedOff("lane", "bob", Epoch("", 11))


def test_a_zombies_facts_still_count() -> None:
    old, new, bob = sender(Epoch("", 10)), sender(Epoch("", 11)), receiver(facts=True)
    for lane in (new, old):
        lane.on_hello(YOU)
        lane.offer("a", body(1))
    handled(new.due(1), bob)
    verdict = bob.accept(old.due(1)[0])
    assert verdict.start == 0, "all of the frame is handled"
    assert verdict.answer == FencedOff("lane", "bob", Epoch("", 11)), "or it would send it for ever: it gets no ack"


def test_a_fence_outlives_the_receivers_restart() -> None:
    bob = receiver()
    bob.restore({"alice": Epoch("", 11)})
    old = sender(Epoch("", 10))
    old.on_hello(YOU)
    old.offer("a", body(1))
    assert isinstance(bob.accept(old.due(1)[0]).answer, FencedOff)


def test_a_fence_is_never_taken_back() -> None:
    bob = receiver()
    for epoch in (Epoch("", 11), Epoch("", 12), Epoch("", 11)):
        bob.restore({"alice": epoch})
    assert bob.epochs() == {"alice": Epoch("", 12)}


def test_a_sender_with_another_journal_is_refused_until_adopted() -> None:
    bob = receiver()
    bob.restore({"alice": Epoch("aaaa", 3)})
    stranger = sender(Epoch("bbbb", 1))
    stranger.on_hello(YOU)
    stranger.offer("a", body(1))
    verdict = bob.accept(stranger.due(1)[0])
    assert verdict.foreign
    assert verdict.start == 1, "nothing of the frame is handled"


def test_frames_carry_at_most_the_allowed_bodies() -> None:
    lane = sender(limit=10_000)
    lane.on_hello(YOU)
    for n in range(3 * BODIES_MAX + 1):
        lane.offer(str(n), body(n))
    frames = lane.due(1)
    assert [len(frame.bodies) for frame in frames] == [BODIES_MAX] * 3 + [1]
    assert handled(frames, receiver()) == list(range(3 * BODIES_MAX + 1))


@pytest.mark.parametrize("by_result", [False, True])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_any_loss_doubling_and_death_of_the_receiver_delivers_all_in_order(seed: int, by_result: bool) -> None:
    """Every message reaches the last receiver or an earlier one; within one life each once and in order."""
    rng = random.Random(seed)
    lane, bob = sender(by_result=by_result), receiver(Epoch("", 1))
    lane.on_hello(bob.epoch)
    seen: set[int] = set()
    life: list[int] = []
    now, offered, lives = 1, 0, 1
    for _ in range(400):
        now += rng.choice([1, RESEND_NS // 3, RESEND_NS])
        calm = offered >= 60
        if not calm and rng.random() < 0.4:
            lane.offer(str(offered), body(offered))
            offered += 1
        if not calm and rng.random() < 0.03:
            lives += 1
            bob, life = receiver(Epoch("", lives)), []
            lane.on_hello(bob.epoch)
        frames = lane.due(now)
        if not calm:
            frames = [f for f in frames for _ in range(rng.choice([0, 1, 1, 2]))]
        for frame in frames:
            verdict = bob.accept(frame)
            got = [msgspec.msgpack.decode(raw) for raw in frame.bodies[verdict.start :]]
            assert life + got == sorted(set(life + got)), "in order, none twice in one life"
            life += got
            seen.update(got)
            if isinstance(verdict.answer, Nack) and rng.random() < 0.7:
                lane.on_nack(verdict.answer)
        found = bob.ack("alice")
        if found is not None and (calm or rng.random() < 0.5):
            lane.on_ack(found)
        if by_result:
            for n in life:
                if calm or rng.random() < 0.1:
                    lane.settle(str(n))
    assert seen == set(range(offered))
    assert len(lane) == 0


def test_an_ack_that_follows_a_nack_in_one_batch_releases_the_lane() -> None:
    """What is acknowledged while it waits to be sent again is neither sent again nor kept for ever."""
    lane, bob = sender(), receiver()
    lane.on_hello(YOU)
    lane.offer("a", body(1))
    first = lane.due(1)
    lane.offer("b", body(2))
    nack = bob.accept(lane.due(2)[0]).answer
    assert isinstance(nack, Nack)
    assert handled(lane.due(2 + RESEND_NS), bob) == [1, 2]
    lane.on_nack(nack)
    lane.on_ack(ack(bob))
    assert first
    assert lane.due(3 + RESEND_NS) == []
    assert len(lane) == lane.unacknowledged == 0
    assert lane.next_due_ns() is None


def test_a_frame_the_transport_had_no_room_for_goes_first_when_there_is_room() -> None:
    lane, bob = sender(), receiver()
    lane.on_hello(YOU)
    for n in range(2 * BODIES_MAX):
        lane.offer(str(n), body(n))
    taken, refused = lane.due(1)
    lane.take_back(refused)
    assert lane.next_due_ns() == 0, "not only after the deadline for a resend"
    assert handled([taken, *lane.due(2)], bob) == list(range(2 * BODIES_MAX))


def test_only_so_much_is_on_the_way_however_long_the_lane_is() -> None:
    """A dead receiver must not cost the sender more, the more it owes it."""
    lane, bob = sender(limit=100_000), receiver()
    lane.on_hello(YOU)
    for n in range(10 * FLIGHT_MAX):
        lane.offer(str(n), body(n))
    first = lane.due(1)
    assert sum(len(frame.bodies) for frame in first) == FLIGHT_MAX
    assert lane.due(2) == []
    assert lane.next_due_ns() == 1 + RESEND_NS
    assert lane.due(1 + RESEND_NS) == first
    seen = handled(first, bob)
    for now in range(10):
        lane.on_ack(ack(bob))
        seen += handled(lane.due(now + 10), bob)
    assert seen == list(range(10 * FLIGHT_MAX))


def test_large_bodies_make_small_frames() -> None:
    """A frame above the socket's limit would make the receiver drop the connection, for ever."""
    lane = sender()
    lane.on_hello(YOU)
    for n in range(5):
        lane.offer(str(n), bytes(BODY_BYTES_MAX // 2))
    assert [len(frame.bodies) for frame in lane.due(1)] == [2, 2, 1]


@pytest.mark.parametrize("by_result", [False, True])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_late_answers_full_transports_and_the_senders_death_lose_nothing(seed: int, by_result: bool) -> None:
    """Frames and answers travel in order but late; the transport may be full; both sides may start anew.

    A sender that starts anew offers again, as repeats, what had no result (that is what its journal knows).
    """
    rng = random.Random(seed)
    lives = {"alice": 10, "bob": 20}
    lane, bob = sender(Epoch("", 10), by_result=by_result), receiver(Epoch("", 20))
    lane.on_hello(bob.epoch)
    wire: list[Data] = []
    answers: list[Ack | Nack] = []
    seen: set[int] = set()
    life: dict[Epoch, list[int]] = {}
    offered: set[int] = set()
    now = 1
    for step in range(600):
        calm = step >= 400
        now += rng.choice([1, RESEND_NS // 2])
        if not calm and rng.random() < 0.4:
            lane.offer(str(len(offered)), body(len(offered)))
            offered.add(len(offered))
        if not calm and rng.random() < 0.02:
            lives["bob"] += 1
            bob, life = receiver(Epoch("", lives["bob"])), {}
            bob.restore({"alice": lane.epoch})
            lane.on_hello(bob.epoch)
        if not calm and rng.random() < 0.02:
            lives["alice"] += 1
            unknown = offered - seen
            lane = sender(Epoch("", lives["alice"]), by_result=by_result)
            for n in sorted(unknown):
                lane.offer(str(n), body(n), repeat=True)
            lane.on_hello(bob.epoch)
        for frame in lane.due(now):
            if not calm and rng.random() < 0.2:
                lane.take_back(frame)
                break
            if calm or rng.random() < 0.8:
                wire.append(frame)
        for _ in range(len(wire) if calm else rng.randint(0, 3)):
            if wire:
                frame = wire.pop(0)
                verdict = bob.accept(frame)
                got = [msgspec.msgpack.decode(raw) for raw in frame.bodies[verdict.start :]]
                told = life.setdefault(frame.epoch, [])
                told += got
                assert told == sorted(set(told)), "in order, none twice between two lives"
                seen.update(got)
                if isinstance(verdict.answer, Nack):
                    answers.append(verdict.answer)
        found = bob.ack("alice")
        if found is not None and (calm or rng.random() < 0.5):
            answers.append(found)
        if calm or rng.random() < 0.3:
            for answer in answers:
                lane.on_ack(answer) if isinstance(answer, Ack) else lane.on_nack(answer)
            answers.clear()
        if by_result:
            for n in seen:
                if calm or rng.random() < 0.1:
                    lane.settle(str(n))
    assert seen == offered
    assert len(lane) == lane.unacknowledged == 0
    assert lane.next_due_ns() is None
