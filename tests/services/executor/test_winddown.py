"""The last act after a journal failure: everything cancelled, proven, and clients told; nothing is placed."""

from __future__ import annotations

import pytest

from common.effects import Effect, Now, Origin, Reply, Send, Settle
from common.messages import (
    Cancel,
    CancelAccepted,
    CancelAll,
    CancelOrder,
    CancelResult,
    GetOrders,
    Message,
    OpenOrdersResult,
    Place,
    PlaceOrder,
    PlaceResult,
    QueryOpenOrders,
    Refused,
    VenueOrder,
)
from common.reasons import Reason
from common.types import FeedState, OrderType, Outcome, Side, TimeInForce
from services.executor.desk import CANCEL_IDS_MAX
from services.executor.winddown import ASK_NS, CancelEverything
from tests.services.executor.driver import CLI, EVENTS, MS, RESULTS, START, UP, Driver, order_event

TEN = 10_000_000
WHY = "disk full"


class Ending:
    """One wind-down with its own clock."""

    def __init__(self, driver: Driver, dropped: list[Effect] | None = None) -> None:
        self.before = driver.core.state_hash()
        self.core = driver.core
        end = driver.core.wind_down(WHY, dropped or [])
        assert isinstance(end, CancelEverything)
        self.end = end
        self.now = driver.now
        self.out: list[Effect] = self.end.start(self.now)

    def do(self, message: Message, origin: Origin = RESULTS) -> list[Effect]:
        self.out = self.end.handle(message, origin, self.now)
        return self.out

    def wait(self, ms: int) -> list[Effect]:
        self.now = Now(self.now.wall_ns + ms * MS, self.now.mono_ns + ms * MS)
        self.out = self.end.on_time(self.now)
        return self.out

    def sent(self) -> list[Message]:
        return [effect.body for effect in self.out if isinstance(effect, Send)]

    def cancels(self) -> list[Cancel]:
        return [body for body in self.sent() if isinstance(body, Cancel)]

    def questions(self) -> list[QueryOpenOrders]:
        return [body for body in self.sent() if isinstance(body, QueryOpenOrders)]

    def canceled(self, cancel: Cancel, outcome: Outcome = Outcome.DONE) -> list[Effect]:
        return self.do(CancelResult(cancel.action_id, outcome, Reason.OK, "", cancel.venue_order_ids))

    def listed(self, query: QueryOpenOrders, *venue_ids: str, complete: bool = True, asked_ns: int = 0) -> list[Effect]:
        asked_ns = asked_ns or self.now.wall_ns
        rows = [VenueOrder(venue_id, "LIVE", UP, Side.BUY, 520_000, TEN, 0, START) for venue_id in venue_ids]
        return self.do(OpenOrdersResult(query.action_id, Outcome.DONE, Reason.OK, "", asked_ns, complete, rows))

    def verdict(self) -> str:
        return self.end.verdict(self.now)


def resting_and_unanswered() -> tuple[Driver, Place, Place]:
    driver = Driver(wind_down_ms=10_000)
    resting = driver.placed("rests")
    driver.result(resting)
    return driver, resting, driver.placed("asked", account="other")


def test_every_order_that_could_be_open_is_cancelled_by_its_id() -> None:
    driver, resting, unanswered = resting_and_unanswered()
    over = driver.placed()
    driver.refused(over)

    ending = Ending(driver)

    (cancel,) = ending.cancels()
    assert cancel.venue_order_ids == [resting.venue_order_id, unanswered.venue_order_id]
    assert cancel.action_id.startswith("w-")


def test_what_was_on_the_lanes_is_taken_off_them_so_that_no_place_leaves() -> None:
    driver, _, unanswered = resting_and_unanswered()
    driver.cancel("rests")
    asked = driver.one(Cancel)

    ending = Ending(driver)

    settled = [effect.key for effect in ending.out if isinstance(effect, Settle)]
    assert sorted(settled) == sorted([unanswered.action_id, asked.action_id])
    assert not any(isinstance(body, Place) for body in ending.sent())


def test_an_order_that_was_never_signed_is_not_asked_for() -> None:
    driver = Driver()
    driver.result(driver.placed())
    driver.replace("waits")

    (cancel,) = Ending(driver).cancels()

    assert cancel.venue_order_ids == [driver.order("o-1").venue_order_id]


def test_cancels_are_sent_in_chunks() -> None:
    driver = Driver()
    for _ in range(CANCEL_IDS_MAX + 1):
        driver.placed()

    assert [len(cancel.venue_order_ids) for cancel in Ending(driver).cancels()] == [CANCEL_IDS_MAX, 1]


def test_with_nothing_open_it_is_over_at_once() -> None:
    ending = Ending(Driver())

    assert ending.sent() == []
    assert ending.verdict() == "zero of 0 known orders are open"
    assert ending.wait(1_000) == []


def test_it_is_over_when_a_complete_list_after_the_cancels_shows_none_of_ours() -> None:
    driver, _, unanswered = resting_and_unanswered()
    ending = Ending(driver)
    (cancel,) = ending.cancels()
    assert ending.verdict() == ""

    ending.wait(0)
    (query,) = ending.questions()
    ending.listed(query)  # asked before the cancel was answered: proves nothing
    ending.canceled(cancel)
    ending.do(PlaceResult(unanswered.action_id, unanswered.venue_order_id, Outcome.REFUSED, Reason.FENCED, ""))
    assert ending.verdict() == ""
    assert ending.wait(1) == []  # twice a second, not more
    ending.wait(ASK_NS // MS)
    (query,) = ending.questions()
    ending.listed(query, "0xforeign")

    assert ending.verdict() == "zero of 2 known orders are open"


def test_an_incomplete_list_proves_nothing() -> None:
    driver = Driver()
    driver.result(driver.placed())
    ending = Ending(driver)
    ending.canceled(ending.cancels()[0])
    ending.wait(500)

    ending.listed(ending.questions()[0], complete=False)

    assert ending.verdict() == ""


def test_one_that_is_still_listed_is_cancelled_again() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    ending = Ending(driver)
    ending.canceled(ending.cancels()[0], Outcome.UNKNOWN)
    ending.wait(500)

    ending.listed(ending.questions()[0], place.venue_order_id.upper().replace("0X", "0x"), "0xforeign")

    (again,) = ending.cancels()
    assert again.venue_order_ids == [place.venue_order_id]
    assert ending.verdict() == ""
    ending.canceled(again)
    ending.wait(500)
    ending.listed(ending.questions()[0])
    assert ending.verdict() == "zero of 1 known orders are open"


def test_a_place_that_arrives_late_is_cancelled_again_and_listed_again() -> None:
    driver, _, unanswered = resting_and_unanswered()
    ending = Ending(driver)
    ending.canceled(ending.cancels()[0])
    ending.wait(500)
    ending.listed(ending.questions()[0])
    assert ending.verdict() == ""  # the place is not answered yet

    done = PlaceResult(unanswered.action_id, unanswered.venue_order_id, Outcome.DONE, Reason.OK, "", "live")
    ending.do(done)

    (again,) = ending.cancels()
    assert again.venue_order_ids == [unanswered.venue_order_id]
    ending.do(done)
    assert ending.cancels() == []  # once
    ending.canceled(again)
    assert ending.verdict() == ""
    ending.wait(500)
    ending.listed(ending.questions()[0])
    assert ending.verdict() == "zero of 2 known orders are open"


def test_a_list_asked_for_before_a_late_place_arrived_does_not_speak_of_it() -> None:
    driver, _, unanswered = resting_and_unanswered()
    ending = Ending(driver)
    ending.canceled(ending.cancels()[0])
    ending.wait(500)
    (query,), asked_ns = ending.questions(), ending.now.wall_ns
    ending.wait(100)
    ending.do(PlaceResult(unanswered.action_id, unanswered.venue_order_id, Outcome.DONE, Reason.OK, "", "live"))
    ending.canceled(ending.cancels()[0], Outcome.UNKNOWN)

    ending.listed(query, asked_ns=asked_ns)

    assert ending.verdict() == ""


def test_a_place_of_the_dropped_step_was_never_sent_and_is_not_waited_for() -> None:
    driver = Driver()
    driver.placed()
    ending = Ending(driver, dropped=driver.out)
    ending.canceled(ending.cancels()[0])
    ending.wait(500)

    ending.listed(ending.questions()[0])

    assert ending.verdict() == "zero of 1 known orders are open"


def test_a_place_whose_outcome_stays_unknown_is_named_when_time_is_up() -> None:
    driver, _, unanswered = resting_and_unanswered()
    ending = Ending(driver)
    ending.canceled(ending.cancels()[0])
    unknown = PlaceResult(
        unanswered.action_id, unanswered.venue_order_id, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, ""
    )
    ending.do(unknown)
    ending.wait(500)
    ending.listed(ending.questions()[0])
    ending.wait(9_499)
    assert ending.verdict() == ""

    ending.wait(1)

    assert ending.verdict() == (
        "not proven within 10000 ms: 0 orders listed, wallets not answered: none, places not answered: o-2"
    )


def test_a_gateway_that_never_answers_is_named_when_time_is_up() -> None:
    driver = Driver(wind_down_ms=1_000)
    driver.result(driver.placed())
    ending = Ending(driver)
    ending.wait(500)
    assert len(ending.questions()) == 1
    assert ending.wait(499) == []  # one question at a time

    ending.wait(1)

    assert "wallets not answered: main" in ending.verdict()


@pytest.mark.parametrize(
    ("command", "covered"),
    [
        (CancelAll("k", "", ""), ["o-1", "o-2"]),
        (CancelAll("k", "default", ""), ["o-1"]),
        (CancelOrder("k", "default", "rests"), ["o-1"]),
        (CancelOrder("k", "other", "o-2"), ["o-2"]),
    ],
)
def test_cancels_are_answered_with_what_they_cover(command: Message, covered: list[str]) -> None:
    driver, _, _ = resting_and_unanswered()
    ending = Ending(driver)

    (reply,) = ending.do(command, CLI)

    assert isinstance(reply, Reply)
    assert (reply.to, reply.body) == (
        "cli",
        CancelAccepted("k", covered, [order_id for order_id in covered if order_id == "o-2"]),
    )


def test_the_cancel_of_what_is_not_open_says_so() -> None:
    driver, _, _ = resting_and_unanswered()

    (reply,) = Ending(driver).do(CancelOrder("k", "default", "asked"), CLI)

    assert isinstance(reply, Reply)
    assert isinstance(reply.body, Refused)
    assert (reply.body.code, reply.body.field) == (Reason.ORDER_NOT_FOUND, "order_id")


@pytest.mark.parametrize(
    "message",
    [
        PlaceOrder("p", "default", "", "", "btc-up", "Up", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, False, 1, 1),
        GetOrders("p"),
    ],
)
def test_everything_else_a_client_asks_is_refused_with_the_reason(message: Message) -> None:
    (reply,) = Ending(Driver()).do(message, CLI)

    assert isinstance(reply, Reply)
    assert isinstance(reply.body, Refused)
    assert (reply.body.command_id, reply.body.code, WHY in reply.body.text) == ("p", Reason.HALTED, True)


def test_facts_are_left_for_the_next_life_and_the_desk_is_never_touched() -> None:
    driver, resting, unanswered = resting_and_unanswered()
    ending = Ending(driver)

    assert ending.do(order_event(resting.venue_order_id, "CANCELLATION", "CANCELED"), EVENTS) == []
    ending.canceled(Cancel("w-0", "polymarket", "main", []))
    ending.do(PlaceResult(unanswered.action_id, unanswered.venue_order_id, Outcome.DONE, Reason.OK, "", "live"))
    ending.wait(500)

    assert driver.core.state_hash() == ending.before


def test_results_of_an_earlier_life_are_ignored() -> None:
    driver, _, _ = resting_and_unanswered()
    ending = Ending(driver)

    assert ending.do(CancelResult("a-1", Outcome.DONE, Reason.OK, "", [])) == []
    assert ending.do(OpenOrdersResult("a-2", Outcome.DONE, Reason.OK, "", START, True, [])) == []
    assert ending.do(PlaceResult("a-3", "0x", Outcome.DONE, Reason.OK, "")) == []
    assert ending.verdict() == ""


def test_ids_differ_between_lives() -> None:
    driver = Driver()
    driver.result(driver.placed())
    first = Ending(driver).cancels()[0].action_id
    driver.wait(1)

    assert Ending(driver).cancels()[0].action_id != first


def test_every_wallet_is_proven_by_itself() -> None:
    """A wallet without an open order is not asked about."""
    driver = Driver()
    driver.feed(FeedState.STALE, "cut")

    assert Ending(driver).verdict() == "zero of 0 known orders are open"
