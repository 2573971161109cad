"""Replace is cancel, proof, place: the successor waits for the proof, and both together never fill more than asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.effects import Origin, Send
from common.messages import (
    Cancel,
    CancelAccepted,
    CancelResult,
    MarketListed,
    OrderView,
    Place,
    PlaceAnswer,
    QueryOrder,
    Refused,
)
from common.reasons import Reason
from common.types import Outcome, Settlement, Status, TimeInForce
from common.venues.polymarket.pinned import decode_pinned
from services.executor.order import State
from tests.services.executor.driver import FEED, MARKET, RESULTS, START, Driver, S, view

TEN = 10_000_000
T = TypeVar("T")


def replaced(driver: Driver, size: int = TEN, **words: object) -> tuple[Place, Cancel]:
    """o-1 rests for ten and is being replaced by o-2 ("second")."""
    place = driver.placed("first")
    driver.result(place)
    answer = driver.replace("second", size=size, **words)  # type: ignore[arg-type]
    assert isinstance(answer, PlaceAnswer), answer
    return place, driver.one(Cancel)


def refused(answer: object) -> Refused:
    assert isinstance(answer, Refused), answer
    return answer


def places(driver: Driver) -> list[Place]:
    return driver.of(Place, driver.all)


# --- waiting ---


def test_the_successor_has_its_ids_at_once_and_waits_for_proof() -> None:
    driver = Driver()
    place, _ = replaced(driver, size=12_000_000)

    second = driver.order("second")
    assert (second.order_id, second.status, second.replaces) == ("o-2", Status.PENDING, "o-1")
    assert (second.price, second.size, second.venue_order_id) == (530_000, 12_000_000, "")
    assert driver.order("o-1").status is Status.CANCELLING
    assert places(driver) == [place]


def test_it_keeps_side_kind_and_expiry_of_the_order_it_replaces() -> None:
    driver = Driver()
    expire_ns = START + 900 * S
    driver.result(driver.placed(tif=TimeInForce.GTD, expire_ns=expire_ns, post_only=True))
    driver.replace()
    driver.event(driver.of(Place, driver.all)[0], "CANCELLATION", "CANCELED")

    pinned = decode_pinned(driver.one(Place).pinned)
    assert (pinned.side, pinned.post_only, pinned.order_type) == (0, True, TimeInForce.GTD)
    assert driver.order("o-2").tif is TimeInForce.GTD


Proof = Callable[[Driver, Place, Cancel], None]


def proven_by_event(driver: Driver, place: Place, _cancel: Cancel) -> None:
    driver.event(place, "CANCELLATION", "CANCELED")


def proven_by_look_up(driver: Driver, _place: Place, cancel: Cancel) -> None:
    driver.canceled(cancel)
    driver.found(driver.one(QueryOrder), "CANCELED")


def proven_by_expiry(driver: Driver, place: Place, _cancel: Cancel) -> None:
    driver.event(place, "CANCELLATION", "CANCELED_EXPIRED_ORDER")


@pytest.mark.parametrize(
    "prove",
    [proven_by_event, proven_by_look_up, proven_by_expiry],
    ids=lambda prove: prove.__name__,
)
def test_it_leaves_once_the_first_is_proven_gone_and_only_once(prove: Proof) -> None:
    driver = Driver()
    place, cancel = replaced(driver, deadline_ns=driver.now.wall_ns + 300 * S)

    prove(driver, place, cancel)

    successor = driver.one(Place)
    assert driver.order("o-2").status is Status.SUBMITTING
    driver.event(place, "CANCELLATION", "CANCELED")
    driver.canceled(cancel)
    driver.wait(20_000)
    assert [row.venue_order_id for row in places(driver)] == [place.venue_order_id, successor.venue_order_id]


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.REFUSED])
def test_a_cancel_without_an_answer_proves_nothing(outcome: Outcome) -> None:
    driver = Driver()
    place, cancel = replaced(driver)

    driver.do(CancelResult(cancel.action_id, outcome, Reason.VENUE_UNKNOWN_OUTCOME, "reset"), RESULTS)
    driver.wait(500)
    driver.found(driver.one(QueryOrder), "LIVE")

    assert places(driver) == [place]
    again = driver.one(Cancel)  # still there: cancelled again
    driver.canceled(again)
    driver.found(driver.one(QueryOrder), "CANCELED")
    assert len(places(driver)) == 2


# --- what is left ---


@pytest.mark.parametrize(
    ("filled", "size", "left"), [(0, TEN, TEN), (4_000_000, TEN, 6_000_000), (4_000_000, 30_000_000, 26_000_000)]
)
def test_its_size_is_what_both_may_fill_less_what_the_first_did(filled: int, size: int, left: int) -> None:
    driver = Driver()
    place, _ = replaced(driver, size=size)
    if filled:
        driver.fill(place, filled)

    driver.event(place, "CANCELLATION", "CANCELED", filled)

    assert decode_pinned(driver.one(Place).pinned).taker_amount == left
    assert driver.order("o-2").size == left


def test_a_first_order_that_filled_leaves_nothing_to_place() -> None:
    driver = Driver()
    place, cancel = replaced(driver)
    driver.canceled(cancel, but={place.venue_order_id: "already matched"})

    driver.fill(place, TEN)

    second = driver.order("o-2")
    assert (second.status, second.reject_reason) == (Status.REJECTED, Reason.REPLACED_FILLED)
    assert places(driver) == [place]


def test_a_rest_below_the_markets_minimum_is_refused() -> None:
    driver = Driver()
    place, _ = replaced(driver)
    driver.fill(place, 5_010_000)

    driver.event(place, "CANCELLATION", "CANCELED", 5_010_000)

    assert driver.order("o-2").reject_reason == Reason.SIZE_TOO_SMALL
    assert places(driver) == [place]


def test_a_fill_told_after_the_cancel_is_known_before_the_successor_leaves() -> None:
    """The cancellation says that four matched; the fill itself comes later. The size of the second counts it."""
    driver = Driver()
    place, _ = replaced(driver)

    driver.event(place, "CANCELLATION", "CANCELED", 4_000_000)
    assert places(driver) == [place]
    driver.fill(place, 4_000_000)

    assert driver.order("o-2").size == 6_000_000


def test_a_fill_of_the_first_that_failed_on_chain_is_not_bought_again() -> None:
    """It had left the book; what became of it on chain is for the client to judge."""
    driver = Driver()
    place, _ = replaced(driver)
    driver.fill(place, 4_000_000)
    driver.event(place, "CANCELLATION", "CANCELED", 4_000_000)
    driver.fill(place, 4_000_000, settlement=Settlement.FAILED)

    assert driver.order("o-2").size == 6_000_000


# --- what may stop it meanwhile ---


def test_a_first_order_the_venue_forgot_ends_it_because_nobody_knows_how_much_of_that_matched() -> None:
    driver = Driver()
    place, cancel = replaced(driver, deadline_ns=driver.now.wall_ns + 300 * S)
    driver.canceled(cancel, but={place.venue_order_id: "not found"})
    for _ in range(3):
        driver.wait(10_000)
        driver.not_found(driver.one(QueryOrder))

    second = driver.order("o-2")
    assert (driver.order("o-1").status, second.status) == (Status.CANCELLED, Status.REJECTED)
    assert (second.reject_reason, "o-1" in second.reject_text) == (Reason.INVALID_ORDER_STATE, True)
    driver.fill(place, TEN)  # it had filled after all
    driver.wait(60_000)
    assert places(driver) == [place]


def test_a_deadline_that_passes_while_it_waits_ends_it() -> None:
    driver = Driver()
    place, _ = replaced(driver, deadline_ns=driver.now.wall_ns + 3 * S)

    driver.wait(2_999)
    assert driver.order("o-2").status is Status.PENDING
    driver.wait(1)
    assert (driver.order("o-2").status, driver.order("o-2").reject_reason) == (
        Status.REJECTED,
        Reason.DEADLINE_PASSED,
    )
    driver.event(place, "CANCELLATION", "CANCELED")
    assert places(driver) == [place]
    assert driver.order("o-1").status is Status.CANCELLED  # the cancel stands


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({}, Reason.HALTED),
        ({"account": "default"}, Reason.HALTED),
        ({"reduce_only": True}, Reason.HALTED),
        ({"account": "other"}, None),
    ],
)
def test_a_halt_meanwhile_stops_it(words: dict[str, object], code: Reason | None) -> None:
    driver = Driver()
    place, _ = replaced(driver)
    driver.halt(**words)  # type: ignore[arg-type]

    driver.event(place, "CANCELLATION", "CANCELED")

    if code is None:
        assert len(places(driver)) == 2
    else:
        assert (driver.order("o-2").status, driver.order("o-2").reject_reason) == (Status.REJECTED, code)
        assert places(driver) == [place]


def test_a_halt_ends_a_waiting_successor_also_when_it_is_over_again() -> None:
    driver = Driver()
    place, _ = replaced(driver)
    driver.halt()
    driver.resume()

    driver.event(place, "CANCELLATION", "CANCELED")

    assert driver.order("o-2").reject_reason == Reason.HALTED
    assert len(places(driver)) == 1


def test_a_market_that_closed_meanwhile_stops_it() -> None:
    driver = Driver()
    place, _ = replaced(driver)
    driver.do(MarketListed(msgspec.structs.replace(MARKET, accepting=False)), FEED)

    driver.event(place, "CANCELLATION", "CANCELED")

    assert driver.order("o-2").reject_reason == Reason.MARKET_CLOSED


def test_a_tick_that_changed_meanwhile_stops_a_price_off_the_grid() -> None:
    driver = Driver()
    place, _ = replaced(driver)
    driver.do(MarketListed(msgspec.structs.replace(MARKET, tick=100_000)), FEED)

    driver.event(place, "CANCELLATION", "CANCELED")

    assert (driver.order("o-2").status, driver.order("o-2").reject_reason) == (Status.REJECTED, Reason.BAD_TICK)


def test_a_cancel_of_the_waiting_successor_ends_it_without_asking_the_venue() -> None:
    driver = Driver()
    place, _ = replaced(driver)

    answer = driver.cancel("second")

    assert isinstance(answer, CancelAccepted)
    assert (answer.order_ids, answer.in_doubt, driver.of(Cancel)) == (["o-2"], [], [])
    assert driver.order("o-2").status is Status.CANCELLED
    driver.event(place, "CANCELLATION", "CANCELED")
    assert places(driver) == [place]


@pytest.mark.parametrize("scope", [("", ""), ("default", ""), ("", "btc-up")])
def test_cancel_all_takes_the_first_and_the_waiting_one(scope: tuple[str, str]) -> None:
    driver = Driver()
    place, _ = replaced(driver)

    answer = driver.cancel_all(*scope)

    assert isinstance(answer, CancelAccepted)
    assert answer.order_ids == ["o-1", "o-2"]
    driver.event(place, "CANCELLATION", "CANCELED")
    assert places(driver) == [place]


# --- refusals and repeats ---


def test_what_cannot_be_replaced_is_named() -> None:
    driver = Driver()
    first = driver.placed("first")
    driver.result(first)
    driver.fill(first, 4_000_000)
    driver.placed("kill", tif=TimeInForce.FAK)

    cases = [
        ({"order_id": "o-9"}, Reason.ORDER_NOT_FOUND, "order_id"),
        ({"account": "other"}, Reason.ORDER_NOT_FOUND, "order_id"),
        ({"account": "nobody"}, Reason.UNKNOWN_ACCOUNT, "account"),
        ({"order_id": "kill"}, Reason.INVALID_ORDER_STATE, "order_id"),
        ({"size": 4_000_000}, Reason.BAD_SIZE, "size"),
        ({"price": 535_000}, Reason.BAD_TICK, "price"),
        ({"price": 0}, Reason.BAD_PRICE, "price"),
        ({"client_order_id": "o-7"}, Reason.BAD_ID, "client_order_id"),
        ({"deadline_ns": START}, Reason.DEADLINE_PASSED, "deadline_ns"),
        ({"client_order_id": "first"}, Reason.DUPLICATE_ID, "client_order_id"),
    ]
    for words, code, field in cases:
        answer = refused(driver.replace(**words))  # type: ignore[arg-type]
        assert (answer.code, answer.field) == (code, field), words
    assert driver.order("o-1").status is Status.PARTIALLY_FILLED
    assert driver.core.desk.last_order == 2


def test_an_order_that_is_over_or_being_replaced_cannot_be_replaced_again() -> None:
    driver = Driver()
    place, _ = replaced(driver)
    assert refused(driver.replace("third")).code is Reason.INVALID_ORDER_STATE
    driver.event(place, "CANCELLATION", "CANCELED")
    assert refused(driver.replace("third")).code is Reason.INVALID_ORDER_STATE


def test_a_waiting_successor_cannot_be_replaced_because_its_own_successor_would_not_wait_for_the_first() -> None:
    driver = Driver()
    place, _ = replaced(driver)

    answer = refused(driver.replace("third", order_id="second"))

    assert (answer.code, answer.field) == (Reason.INVALID_ORDER_STATE, "order_id")
    assert "waits for o-1" in answer.text
    assert places(driver) == [place]
    driver.event(place, "CANCELLATION", "CANCELED")
    assert isinstance(driver.replace("third", order_id="second"), PlaceAnswer)


def test_a_refused_replace_cancels_nothing() -> None:
    driver = Driver(policies=[{"type": "OrderSizeLimit", "max_size": "10"}])
    driver.result(driver.placed())

    assert refused(driver.replace(size=TEN + 10_000)).code is Reason.ORDER_SIZE_LIMIT
    assert driver.order("o-1").status is Status.WORKING
    assert driver.of(Cancel) == []


def test_a_replace_while_halted_is_refused_and_the_first_rests_on() -> None:
    driver = Driver()
    driver.result(driver.placed())
    driver.halt()

    assert refused(driver.replace()).code is Reason.HALTED
    assert driver.order("o-1").status is Status.WORKING


def test_the_same_command_gets_the_same_answer_and_nothing_happens_twice() -> None:
    driver = Driver()
    driver.result(driver.placed())
    first = driver.replace("second", command_id="r-1")
    again = driver.replace("second", command_id="r-1")

    assert first == again
    assert driver.of(Cancel) == []
    assert driver.core.desk.last_order == 2


def test_the_same_client_id_gets_the_successor_as_it_is_now() -> None:
    driver = Driver()
    place, _ = replaced(driver)
    driver.event(place, "CANCELLATION", "CANCELED")

    again = driver.replace("second", size=TEN)

    assert isinstance(again, PlaceAnswer)
    assert (again.duplicate, again.order.order_id, again.order.status) == (True, "o-2", Status.SUBMITTING)
    assert refused(driver.replace("second", size=TEN, price=540_000)).code is Reason.DUPLICATE_ID
    assert refused(driver.place("second", size=TEN, price=530_000)).code is Reason.DUPLICATE_ID


def test_a_successor_can_be_replaced_in_turn() -> None:
    driver = Driver()
    place, _ = replaced(driver)
    driver.event(place, "CANCELLATION", "CANCELED")
    second = driver.one(Place)
    driver.result(second)
    driver.fill(second, 3_000_000, trade_id="t-2")
    driver.replace("third", order_id="second", price=540_000)
    driver.event(second, "CANCELLATION", "CANCELED", 3_000_000)

    third = driver.order("third")
    assert (third.replaces, third.size, third.price) == ("o-2", 7_000_000, 540_000)


# --- restarts ---


def _answered(driver: Driver, cancel: Cancel, place: Place) -> Driver:
    driver = driver.restart()
    driver.canceled(cancel)
    query = driver.one(QueryOrder)
    driver = driver.restart()
    driver.found(query, "CANCELED", 4_000_000)
    driver = driver.restart()
    driver.fill(place, 4_000_000)
    return driver


def test_a_restart_in_every_phase_changes_nothing() -> None:
    driver = Driver()
    place, cancel = replaced(driver)

    driver = _answered(driver, cancel, place)

    successor = driver.one(Place)
    assert driver.order("second").size == 6_000_000
    driver = driver.restart()
    sent = [effect.body for effect in driver.core.outstanding() if isinstance(effect, Send)]
    assert [body for body in sent if isinstance(body, Place)] == [successor]
    driver.result(successor)
    assert driver.order("o-2").status is Status.WORKING
    assert driver.core.desk.oms.by_venue_id(successor.venue_order_id) is not None


def test_a_deadline_of_a_waiting_successor_survives_a_restart() -> None:
    driver = Driver()
    replaced(driver, deadline_ns=driver.now.wall_ns + 3 * S)
    driver = driver.restart()

    driver.wait(3_000)

    assert driver.order("o-2").reject_reason == Reason.DEADLINE_PASSED


# --- never more than asked ---


class ReplaceLives(RuleBasedStateMachine):
    """One order replaced again and again at an honest venue with a slow and lossy line: sizes are all the same, so
    everything that ever fills together is at most that size."""

    SIZE = 20_000_000

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.live: dict[str, int] = {}
        """What is left of each order in the venue's book."""
        self.filled: dict[str, int] = {}
        self.sent: list[Place] = []
        self.queue: list[Callable[[], object]] = []

    @initialize()
    def first(self) -> None:
        self.driver.place(size=self.SIZE)
        self._collect()

    def _collect(self) -> None:
        self.sent += self.driver.of(Place)

    def _do(self, action: Callable[[], object]) -> None:
        action()
        self._collect()

    @precondition(lambda self: self.sent)
    @rule(answered=st.booleans(), told=st.booleans())
    def arrive(self, answered: bool, told: bool) -> None:
        place = self.sent.pop(0)
        if place.venue_order_id not in self.filled:
            pinned = decode_pinned(place.pinned)
            self.live[place.venue_order_id], self.filled[place.venue_order_id] = pinned.taker_amount, 0
        if answered:
            self._do(partial(self.driver.result, place))
        else:
            self._do(partial(self.driver.unknown, place))
        if told:
            self._do(lambda: self.driver.event(place, filled=self.filled[place.venue_order_id]))

    @precondition(lambda self: self.live)
    @rule(quarter=st.integers(1, 4), late=st.booleans())
    def match(self, quarter: int, late: bool) -> None:
        venue_id = list(self.live)[-1]
        size = self.live[venue_id] * quarter // 4
        self.live[venue_id] -= size
        if not self.live[venue_id]:
            del self.live[venue_id]
        if not size:
            return
        self.filled[venue_id] += size
        place = Place("", "polymarket", "main", venue_id, 0, b"")
        trade_id = f"t-{sum(self.filled.values())}"
        self._tell(lambda: self.driver.fill(place, size, trade_id=trade_id), late)

    def _tell(self, news: Callable[[], object], late: bool) -> None:
        if late:
            self.queue.append(news)
        else:
            self._do(news)

    @precondition(lambda self: self.queue)
    @rule(pick=st.integers(0, 100))
    def hear(self, pick: int) -> None:
        self._do(self.queue.pop(pick % len(self.queue)))

    @rule(price=st.integers(1, 99), by=st.sampled_from(["newest", "first"]))
    def replace(self, price: int, by: str) -> None:
        order_id = f"o-{self.driver.core.desk.last_order}" if by == "newest" else "o-1"
        order = self.driver.order(order_id)
        if order.filled_size or any(row.filled_size for row in self._orders()):
            return  # `size` is counted from the order that is replaced: earlier fills are the client's to subtract
        self._do(lambda: self.driver.replace(order_id=order_id, price=price * 10_000, size=self.SIZE))

    def _orders(self) -> list[OrderView]:
        return [self.driver.order(f"o-{number}") for number in range(1, self.driver.core.desk.last_order + 1)]

    @rule(fate=st.sampled_from(["done", "refused", "lost"]), told=st.booleans(), late=st.booleans())
    def answer_cancel(self, fate: str, told: bool, late: bool) -> None:
        for cancel in self._asked(Cancel):
            if fate == "lost":
                result = CancelResult(cancel.action_id, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "reset")
                self._do(partial(self.driver.do, result, RESULTS))
                continue
            there = [venue_id for venue_id in cancel.venue_order_ids if venue_id in self.live]
            but = {venue_id: "no such order" for venue_id in cancel.venue_order_ids if venue_id not in there}
            for venue_id in there:
                del self.live[venue_id]
                self.sent = [place for place in self.sent if place.venue_order_id != venue_id]
                if told:
                    self._tell(partial(self._say_canceled, venue_id), late)
            self._do(partial(self.driver.canceled, cancel, but=but))

    def _say_canceled(self, venue_id: str) -> None:
        place = Place("", "polymarket", "main", venue_id, 0, b"")
        self.driver.event(place, "CANCELLATION", "CANCELED", self.filled[venue_id])

    @rule()
    def answer_lookups(self) -> None:
        for query in self._asked(QueryOrder):
            venue_id = query.venue_order_id
            if venue_id not in self.filled:
                self._do(partial(self.driver.not_found, query))
                continue
            word = "LIVE" if venue_id in self.live else "CANCELED"
            done = self.filled[venue_id]
            self._do(partial(self.driver.found, query, word, done, self.SIZE))

    def _asked(self, kind: type[T]) -> list[T]:
        sent = [effect.body for effect in self.driver.core.outstanding() if isinstance(effect, Send)]
        return [body for body in sent if isinstance(body, kind)]

    @rule(ms=st.sampled_from([1, 600, 6_000, 40_000]))
    def wait(self, ms: int) -> None:
        self._do(lambda: self.driver.wait(ms))

    @rule()
    def restart(self) -> None:
        """The lanes' copies die with the process; what is outstanding is sent again."""
        self.driver = self.driver.restart()
        self.sent = self._asked(Place)

    @invariant()
    def never_more_than_asked_for_is_filled_or_in_the_book(self) -> None:
        assert sum(self.filled.values()) + sum(self.live.values()) <= self.SIZE

    @invariant()
    def at_most_one_of_them_can_be_in_the_book(self) -> None:
        assert len(self.live) <= 1


TestReplaceLives = ReplaceLives.TestCase
TestReplaceLives.settings = hypothesis_settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_a_replaced_order_is_judged_by_the_book_it_brings() -> None:
    driver = Driver(policies=[{"type": "StaleData", "max_age_ms": 500}])
    driver.result(driver.placed(view=view()))

    assert refused(driver.replace()).code is Reason.BOOK_MISSING
    assert isinstance(driver.replace(view=view()), PlaceAnswer)


def test_the_states_of_both_while_one_waits_for_the_other() -> None:
    driver = Driver()
    replaced(driver)

    assert driver.core.desk.oms.states() == {State.CANCELLING: 1, State.PENDING: 1}
    assert [row.order_id for row in driver.core.desk.oms.open_orders()] == ["o-1", "o-2"]


def test_a_cancel_all_that_overtook_the_replace_fences_it() -> None:
    driver = Driver()
    driver.result(driver.placed())
    driver.cancel_all(origin=Origin("bot", "cancels", 1, covers=5))

    assert refused(driver.replace("second", origin=Origin("bot", "commands", 4))).code is Reason.FENCED
    assert driver.core.desk.last_order == 1
