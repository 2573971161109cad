"""Whole stories of orders, told to the core message by message."""

from __future__ import annotations

import json

import pytest

from common.effects import Origin, Publish, Reply, Send, Settle
from common.messages import (
    Cancel,
    CancelAccepted,
    CancelResult,
    Configured,
    OrderUpdated,
    Place,
    PlaceAnswer,
    PlaceResult,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    Refused,
)
from common.reasons import Reason
from common.topology import lane
from common.types import FeedState, Lifecycle, Outcome, Settlement, Side, Status, TimeInForce
from common.venues.polymarket.pinned import decode_pinned
from services.executor.actions import ACTIONS, CANCELS, OUTSTANDING_MAX
from services.executor.catchup import OVERLAP_NS
from services.executor.positions import unexplained
from tests.services.executor.driver import (
    DOWN,
    MARKET,
    RESULTS,
    START,
    UP,
    Driver,
    S,
    order_event,
    settings,
    venue_fill,
)

TEN = 10_000_000
FAK = TimeInForce.FAK
LANE = Origin("order_gateway", "commands", 100)


# --- happy paths ---


def test_a_place_goes_out_as_pinned_and_is_answered_with_what_was_signed() -> None:
    driver = Driver()

    answer = driver.place("mine", size=12_340_000)

    place = driver.one(Place)
    pinned = decode_pinned(place.pinned)
    assert isinstance(answer, PlaceAnswer)
    assert pinned.venue_order_id == place.venue_order_id == answer.order.venue_order_id
    assert (pinned.maker_amount, pinned.taker_amount) == (6_416_800, 12_340_000)
    assert pinned.timestamp == driver.now.wall_ns // 1_000_000
    assert answer.order.size == 12_340_000
    assert (answer.order.status, answer.order.lifecycle) == (Status.SUBMITTING, Lifecycle.PENDING)
    assert place.deadline_ns == driver.now.wall_ns + 5 * S
    assert [effect.key for effect in driver.of(Send)] == [place.action_id]


def test_happy_taker() -> None:
    """POST answers matched, the fill follows and settles: CONFIRMED, and each stage is published once."""
    driver = Driver()
    place = driver.placed(tif=FAK)
    driver.result(place, status="matched", making=5_200_000, taking=TEN)
    assert driver.settled() == [place.action_id]
    assert driver.order().lifecycle is Lifecycle.MATCHED

    for stage in (Settlement.MATCHED, Settlement.MINED, Settlement.CONFIRMED):
        driver.fill(place, settlement=stage, is_taker=True, tx_hash="0xabc")

    view = driver.order()
    assert (view.status, view.lifecycle, view.filled_size, view.avg_price) == (
        Status.FILLED,
        Lifecycle.CONFIRMED,
        TEN,
        520_000,
    )
    assert view.confirmed_ns == driver.now.wall_ns
    assert view.fills[0].fee == 174_720
    sequence = [update.account_seq for update in driver.of(OrderUpdated, driver.all)]
    assert sequence == list(range(1, len(sequence) + 1))
    assert [update.order.lifecycle.value for update in driver.of(OrderUpdated, driver.all)] == [
        "PENDING",
        "MATCHED",
        "MATCHED",
        "MINED",
        "CONFIRMED",
    ]
    driver.wait(1_000)
    assert driver.core.due_ns() is None
    assert driver.of(QueryTrades) == []


def test_log_lines_have_the_names_and_fields_of_spec_4() -> None:
    driver = Driver()
    place = driver.placed(tif=FAK)
    driver.result(place, status="matched", making=5_200_000, taking=TEN)
    driver.fill(place, settlement=Settlement.CONFIRMED, tx_hash="0xabc")
    gone = driver.placed()
    driver.result(gone)
    driver.cancel("o-2")
    driver.canceled(driver.one(Cancel), but={gone.venue_order_id: "already canceled or matched"})
    driver.event(gone, "CANCELLATION", "CANCELED")
    driver.refused(driver.placed())

    assert driver.logs("order_placed")[0] == {
        "order_id": "o-1",
        "market_id": MARKET.condition_id,
        "side": "BUY",
        "price": "0.52",
        "size": "10",
    }
    assert driver.logs("order_fill") == [
        {
            "order_id": "o-1",
            "fill_type": "FULL",
            "fill_size": "10",
            "fill_price": "0.52",
            "total_filled": "10",
            "avg_price": "0.52",
        }
    ]
    assert driver.logs("order_confirmed") == [{"order_id": "o-1", "tx_hash": "0xabc"}]
    assert driver.logs("cancel_failed") == [{"order_id": "o-2", "error": "already canceled or matched"}]
    assert driver.logs("order_cancelled") == [{"order_id": "o-2"}]
    assert driver.logs("order_rejected") == [{"order_id": "o-3", "reason": "INSUFFICIENT_BALANCE: no"}]


def test_resting_order_fills_in_parts_and_the_rest_is_cancelled() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    assert (driver.order().status, driver.order().lifecycle) == (Status.WORKING, Lifecycle.PLACED)
    driver.fill(place, 4_000_000)
    assert (driver.order().status, driver.order().lifecycle) == (Status.PARTIALLY_FILLED, Lifecycle.PARTIAL_FILL)

    answer = driver.cancel()

    cancel = driver.one(Cancel)
    assert answer == CancelAccepted(answer.command_id, ["o-1"], [])  # type: ignore[attr-defined]
    assert cancel.venue_order_ids == [place.venue_order_id]
    assert [effect.lane for effect in driver.of(Send)] == [CANCELS]
    driver.canceled(cancel)
    assert driver.of(Settle) == [Settle(CANCELS, cancel.action_id)]
    assert (driver.order().status, driver.order().filled_size) == (Status.CANCELLED, 4_000_000)
    driver.fill(place, 4_000_000, settlement=Settlement.CONFIRMED)
    assert driver.order().lifecycle is Lifecycle.CONFIRMED


def test_a_partly_filled_fak_ends_confirmed() -> None:
    driver = Driver()
    place = driver.placed(tif=FAK)

    driver.result(place, status="matched", making=3_120_000, taking=6_000_000)
    assert (driver.order().status, driver.order().lifecycle) == (Status.CANCELLED, Lifecycle.PARTIAL_FILL)

    driver.fill(place, 6_000_000, settlement=Settlement.CONFIRMED)
    assert (driver.order().status, driver.order().lifecycle) == (Status.CANCELLED, Lifecycle.CONFIRMED)


def test_an_order_without_a_client_id_gets_its_own() -> None:
    driver = Driver()
    driver.placed()

    assert driver.order().client_order_id == "o-1"


# --- races only production teaches ---


def test_fill_before_ack() -> None:
    driver = Driver()
    place = driver.placed()
    driver.fill(place)
    assert driver.order().status is Status.FILLED

    driver.result(place, status="matched", making=5_200_000, taking=TEN)

    assert driver.order().status is Status.FILLED
    assert len(driver.order().fills) == 1
    assert driver.of(OrderUpdated) == []


def test_fill_after_cancel_counts() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    driver.cancel()
    driver.canceled(driver.one(Cancel))

    driver.fill(place, 4_000_000)

    assert (driver.order().status, driver.order().filled_size) == (Status.CANCELLED, 4_000_000)
    assert driver.core.desk.positions.views()[0].size == 4_000_000


def test_a_cancel_that_lost_the_race_ends_filled() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    driver.cancel()
    driver.canceled(driver.one(Cancel), but={place.venue_order_id: "already canceled or matched"})
    driver.wait(500)

    driver.found(driver.one(QueryOrder), "MATCHED", TEN)
    assert driver.order().status is Status.FILLED

    driver.wait(500)
    query = driver.one(QueryTrades)
    driver.trades(query, [venue_fill(place.venue_order_id, settlement=Settlement.CONFIRMED)])
    assert driver.order().lifecycle is Lifecycle.CONFIRMED
    assert driver.core.due_ns() is None


def test_a_cancel_that_was_not_done_is_repeated_while_the_order_is_still_open() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    driver.cancel()
    cancel = driver.one(Cancel)
    driver.do(CancelResult(cancel.action_id, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "timeout"), RESULTS)
    assert driver.order().status is Status.CANCELLING
    driver.wait(500)

    driver.found(driver.one(QueryOrder), "LIVE")

    again = driver.one(Cancel)
    assert again.action_id != cancel.action_id
    driver.canceled(again)
    assert driver.order().status is Status.CANCELLED


def test_fills_that_do_not_come_are_asked_for() -> None:
    driver = Driver()
    place = driver.placed(tif=FAK)
    driver.result(place, status="matched", making=5_200_000, taking=TEN)
    created = driver.order().created_ns
    driver.wait(500)
    query = driver.one(QueryTrades)
    assert query.after_ns <= created - OVERLAP_NS
    driver.trades(query)  # a lagging replica: still nothing
    driver.wait(1000)

    driver.trades(driver.one(QueryTrades), [venue_fill(place.venue_order_id, settlement=Settlement.CONFIRMED)])

    assert driver.order().lifecycle is Lifecycle.CONFIRMED


def test_missing_fills_of_an_old_order_are_asked_from_its_beginning() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    created = driver.order().created_ns
    driver.wait(3_600_000)
    driver.event(place, "UPDATE", "LIVE", 4_000_000)

    driver.wait(500)

    assert driver.one(QueryTrades).after_ns == created - OVERLAP_NS - 30 * S


def test_a_gtd_order_expires_at_the_venue() -> None:
    driver = Driver()
    place = driver.placed(tif=TimeInForce.GTD, expire_ns=START + 300 * S)
    assert decode_pinned(place.pinned).expiration == str(START // S + 360)
    driver.result(place)

    driver.event(place, "CANCELLATION", "CANCELED_EXPIRED_ORDER")

    assert (driver.order().status, driver.order().lifecycle) == (Status.EXPIRED, Lifecycle.EXPIRED)


def test_a_gtd_order_nobody_reported_expired_is_looked_up() -> None:
    driver = Driver()
    driver.result(driver.placed(tif=TimeInForce.GTD, expire_ns=driver.now.wall_ns + 300 * S))
    driver.wait(299_000)
    assert driver.of(QueryOrder) == []

    driver.wait(5_000)
    driver.found(driver.one(QueryOrder), "CANCELED_EXPIRED_ORDER")

    assert driver.order().status is Status.EXPIRED


@pytest.mark.parametrize(("code", "tif"), [(Reason.FOK_NOT_FILLED, TimeInForce.FOK), (Reason.FAK_NOT_FILLED, FAK)])
def test_a_killed_order_is_cancelled_with_its_reason_on_either_channel(code: Reason, tif: TimeInForce) -> None:
    text = "order couldn't be fully filled"
    for events_first in (False, True):
        driver = Driver()
        place = driver.placed(tif=tif)
        if events_first:
            driver.event(place, "CANCELLATION", f"CANCELED_{text}", text=text)
        driver.refused(place, code, text)
        if not events_first:
            driver.event(place, "CANCELLATION", f"CANCELED_{text}", text=text)
        view = driver.order()
        assert (view.status, view.reject_reason, view.reject_text) == (Status.CANCELLED, code.value, text)


def test_what_the_venue_shows_is_stronger_than_a_refusal() -> None:
    driver = Driver()
    place = driver.placed()
    driver.refused(place, Reason.VENUE_REFUSED)
    assert driver.order().status is Status.REJECTED

    driver.event(place)

    assert driver.order().status is Status.WORKING
    assert driver.order().reject_reason == ""


def test_a_cancelled_order_that_was_given_up_and_turns_up_is_cancelled_again() -> None:
    driver = Driver()
    place = driver.placed()
    driver.cancel()
    driver.canceled(driver.one(Cancel), but={place.venue_order_id: "not found"})
    driver.refused(place, Reason.VENUE_REFUSED)
    assert driver.order().status is Status.REJECTED

    driver.event(place)

    assert driver.order().status is Status.CANCELLING
    assert driver.one(Cancel).venue_order_ids == [place.venue_order_id]


def test_a_venue_word_nobody_knows_leads_to_a_look_up() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    driver.event(place, "UPDATE", "HALTED_FOR_TEA")

    driver.wait(500)

    assert driver.one(QueryOrder).venue_order_id == place.venue_order_id


# --- unknown outcomes ---


def test_unknown_then_found_is_adopted() -> None:
    driver = Driver()
    place = driver.placed()
    driver.unknown(place)
    assert (driver.order().status, driver.order().lifecycle) == (Status.UNKNOWN, Lifecycle.UNKNOWN)
    assert driver.of(QueryOrder) == []
    driver.wait(500)

    driver.found(driver.one(QueryOrder), "LIVE", 4_000_000)

    assert (driver.order().status, driver.order().filled_size) == (Status.PARTIALLY_FILLED, 4_000_000)
    assert driver.of(Place) == []


def test_unknown_then_absent_sends_the_same_bytes_again() -> None:
    driver = Driver()
    place = driver.placed()
    driver.unknown(place)
    driver.wait(500)

    driver.not_found(driver.one(QueryOrder))

    again = driver.one(Place)
    assert again.action_id != place.action_id
    assert (again.pinned, again.venue_order_id, again.deadline_ns) == (
        place.pinned,
        place.venue_order_id,
        place.deadline_ns,
    )
    assert driver.order().status is Status.SUBMITTING
    driver.result(again)
    assert driver.order().status is Status.WORKING


def test_look_ups_without_an_answer_are_repeated_with_growing_pauses_and_change_nothing() -> None:
    driver = Driver()
    driver.unknown(driver.placed())
    pauses = []
    for _ in range(7):
        due = driver.core.due_ns()
        assert due is not None
        pauses.append((due - driver.now.mono_ns) // 1_000_000)
        driver.wait(pauses[-1] + 1)
        driver.no_answer(driver.one(QueryOrder))

    assert pauses == [500, 1000, 2000, 4000, 8000, 10000, 10000]
    assert driver.order().status is Status.UNKNOWN


def test_past_its_deadline_an_absent_order_ends_not_accepted_only_after_a_requests_life() -> None:
    driver = Driver()
    driver.unknown(driver.placed())
    answered = driver.now.mono_ns
    driver.wait(500)
    driver.no_answer(driver.one(QueryOrder))
    while driver.order().status is Status.UNKNOWN:
        due = driver.core.due_ns()
        assert due is not None
        driver.wait((due - driver.now.mono_ns) // 1_000_000 + (0 if driver.now.mono_ns - answered > 5 * S else 5_000))
        for query in driver.of(QueryOrder):
            driver.not_found(query)
            assert driver.of(Place) == []

    assert driver.now.mono_ns - answered >= 30 * S
    view = driver.order()
    assert (view.status, view.reject_reason) == (Status.REJECTED, "NOT_ACCEPTED")
    assert driver.logs("order_failed")[0]["order_id"] == "o-1"
    assert driver.core.due_ns() is None


def test_a_look_up_says_nothing_about_an_order_heard_of_after_it_began() -> None:
    driver = Driver()
    place = driver.placed()
    driver.unknown(place)
    driver.wait(500)
    query = driver.one(QueryOrder)
    began = driver.now.wall_ns
    driver.tick()
    driver.event(place)

    driver.not_found(query, asked_ns=began)

    assert driver.order().status is Status.WORKING
    assert driver.core.desk.counts["lookups_outdated"] == 1


def test_a_refusal_of_a_second_copy_does_not_speak_for_the_first() -> None:
    """The first copy may have arrived meanwhile and hold the balance the second one lacked."""
    driver = Driver()
    place = driver.placed()
    driver.unknown(place)
    driver.wait(500)
    driver.not_found(driver.one(QueryOrder))

    driver.refused(driver.one(Place), Reason.INSUFFICIENT_BALANCE)

    assert driver.order().status is Status.UNKNOWN
    driver.wait(500)
    driver.not_found(driver.one(QueryOrder))
    assert driver.of(Place) == []
    driver.wait(1000)
    driver.found(driver.one(QueryOrder), "LIVE")
    assert driver.order().status is Status.WORKING


def test_a_duplicate_proves_an_earlier_copy_and_is_looked_up() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place, Outcome.UNKNOWN, status="", code=Reason.DUPLICATE_ORDER, text="Duplicated.")
    driver.wait(500)

    driver.not_found(driver.one(QueryOrder))

    assert driver.of(Place) == []
    driver.wait(1000)
    driver.found(driver.one(QueryOrder), "MATCHED", TEN)
    assert driver.order().status is Status.FILLED


def test_an_adopted_fak_without_amounts_is_looked_up() -> None:
    """A gateway that restarted answers what it found, without amounts."""
    driver = Driver()
    driver.result(driver.placed(tif=FAK), status="matched")
    assert driver.order().status is Status.WORKING

    driver.wait(500)
    driver.found(driver.one(QueryOrder), "MATCHED", 6_000_000)

    assert (driver.order().status, driver.order().filled_size) == (Status.CANCELLED, 6_000_000)


# --- cancels before the answer ---


def test_a_cancel_before_the_answer_withdraws_the_place_and_never_resends_it() -> None:
    driver = Driver()
    place = driver.placed()

    answer = driver.cancel()

    assert isinstance(answer, CancelAccepted)
    assert answer.in_doubt == ["o-1"]
    assert driver.of(Settle) == [Settle(ACTIONS, place.action_id)]
    assert driver.order().status is Status.CANCELLING
    outstanding = [effect.body for effect in driver.core.outstanding()]  # type: ignore[union-attr]
    assert [type(body) for body in outstanding] == [Cancel]
    driver.canceled(driver.one(Cancel), but={place.venue_order_id: "not found"})
    asked = 0
    for _ in range(100):
        due = driver.core.due_ns()
        if due is None:
            break
        driver.wait((due - driver.now.mono_ns) // 1_000_000 + 1)
        for query in driver.of(QueryOrder):
            asked += 1
            driver.not_found(query)
            assert driver.of(Place) == []
    assert asked > 3
    assert driver.order().reject_reason == "NOT_ACCEPTED"
    assert driver.now.wall_ns >= place.deadline_ns + 30 * S


def test_a_cancelled_place_is_never_resent_even_if_the_order_was_seen_before_its_result() -> None:
    """Found by tests/sim: the fill was faster than the answer to the POST, so the order was WORKING already."""
    driver = Driver()
    place = driver.placed()
    driver.fill(place, 1_000_000)

    driver.cancel()

    assert driver.of(Settle) == [Settle(ACTIONS, place.action_id)]
    outstanding = [effect.body for effect in driver.core.outstanding()]  # type: ignore[union-attr]
    assert not [body for body in outstanding if isinstance(body, Place)]


def test_a_recalled_order_that_is_found_is_cancelled_again() -> None:
    driver = Driver()
    place = driver.placed()
    driver.cancel()
    driver.canceled(driver.one(Cancel), but={place.venue_order_id: "not found"})

    driver.result(place, status="live")

    assert driver.one(Cancel).venue_order_ids == [place.venue_order_id]
    driver.canceled(driver.one(Cancel))
    assert driver.order().status is Status.CANCELLED


def test_a_fenced_place_is_cancelled_not_rejected() -> None:
    driver = Driver()
    place = driver.placed()
    driver.cancel()
    driver.refused(place, Reason.FENCED, "a cancel of this order came before it was sent")

    assert (driver.order().status, driver.order().reject_reason) == (Status.CANCELLED, "FENCED")
    assert driver.logs("order_placed") == []


def test_a_cancel_while_unknown_never_resends() -> None:
    driver = Driver()
    place = driver.placed()
    driver.unknown(place)
    driver.cancel()
    driver.canceled(driver.one(Cancel), but={place.venue_order_id: "not found"})
    driver.wait(500)

    driver.not_found(driver.one(QueryOrder))

    assert driver.of(Place) == []
    assert driver.order().status is Status.CANCELLING


def test_cancel_all_takes_ids_of_its_scope_only() -> None:
    driver = Driver()
    mine = driver.placed()
    driver.result(mine)
    unanswered = driver.placed(outcome="Down")
    theirs = driver.placed(account="other")

    answer = driver.cancel_all("default", MARKET.slug)

    cancel = driver.one(Cancel)
    assert isinstance(answer, CancelAccepted)
    assert (answer.order_ids, answer.in_doubt) == (["o-1", "o-2"], ["o-2"])
    assert cancel.venue_order_ids == [mine.venue_order_id, unanswered.venue_order_id]
    assert theirs.venue_order_id not in cancel.venue_order_ids
    assert driver.order("o-3").status is Status.SUBMITTING


def test_cancel_all_of_everything_is_sent_in_chunks() -> None:
    driver = Driver()
    for _ in range(501):
        driver.placed()

    driver.cancel_all()

    assert [len(cancel.venue_order_ids) for cancel in driver.of(Cancel)] == [500, 1]


def test_cancels_name_what_they_cannot_find() -> None:
    driver = Driver()
    for answer, code, field in (
        (driver.cancel("o-9"), Reason.ORDER_NOT_FOUND, "order_id"),
        (driver.cancel("o-9", account="nobody"), Reason.UNKNOWN_ACCOUNT, "account"),
        (driver.cancel_all("nobody"), Reason.UNKNOWN_ACCOUNT, "account"),
        (driver.cancel_all(market="nothing"), Reason.UNKNOWN_MARKET, "market"),
    ):
        assert isinstance(answer, Refused)
        assert (answer.code, answer.field) == (code, field)


def test_a_cancel_of_another_accounts_order_does_not_find_it() -> None:
    driver = Driver()
    driver.placed("mine")

    for order_id in ("o-1", "mine", driver.order().venue_order_id):
        answer = driver.cancel(order_id, account="other")
        assert isinstance(answer, Refused)
        assert answer.code is Reason.ORDER_NOT_FOUND


def test_an_order_is_cancelled_by_any_of_its_ids() -> None:
    for choose in ("order_id", "client_order_id", "venue_order_id"):
        driver = Driver()
        driver.placed("mine")
        answer = driver.cancel(getattr(driver.order(), choose))
        assert isinstance(answer, CancelAccepted)


def test_cancelling_what_is_over_is_refused() -> None:
    driver = Driver()
    driver.fill(driver.placed())

    answer = driver.cancel()

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.INVALID_ORDER_STATE, "order_id")
    assert "Filled" in answer.text


# --- fences ---


def test_a_place_that_a_cancel_all_overtook_is_fenced() -> None:
    driver = Driver()
    driver.cancel_all("default", origin=Origin("order_gateway", "cancels", 7, covers=101))

    first = driver.place(origin=LANE)
    second = driver.place(origin=Origin("order_gateway", "commands", 101), account="other")
    third = driver.place(origin=Origin("order_gateway", "commands", 102))

    assert isinstance(first, Refused)
    assert first.code is Reason.FENCED
    assert isinstance(second, PlaceAnswer)
    assert isinstance(third, PlaceAnswer)
    assert len(driver.core.desk.fences) == 0


def test_the_cancel_of_an_unknown_client_id_leaves_a_tombstone() -> None:
    driver = Driver()
    answer = driver.cancel("late")
    assert isinstance(answer, Refused)
    assert "within 30 s" in answer.text

    fenced = driver.place("late")
    driver.wait(30_000)
    later = driver.place("late")

    assert isinstance(fenced, Refused)
    assert (fenced.code, fenced.field) == (Reason.FENCED, "client_order_id")
    assert isinstance(later, PlaceAnswer)


# --- idempotency ---


def test_the_same_command_id_gets_the_same_answer_and_nothing_happens_twice() -> None:
    driver = Driver()
    first = driver.place("mine", command_id="c")
    second = driver.place("mine", command_id="c")

    assert second == first
    assert driver.of(Send) == []
    refused = driver.place("other", command_id="d", price=1)
    assert driver.place("other", command_id="d", price=1) == refused


def test_the_same_client_id_and_content_gets_the_order_as_it_is_now() -> None:
    driver = Driver()
    driver.result(driver.placed("mine"))

    again = driver.place("mine", market=MARKET.condition_id, outcome="0", deadline_ns=START + 1000 * S)

    assert isinstance(again, PlaceAnswer)
    assert (again.duplicate, again.order.order_id, again.order.status) == (True, "o-1", Status.WORKING)
    assert driver.of(Send) == []


@pytest.mark.parametrize(
    "other",
    [{"price": 530_000}, {"size": 11_000_000}, {"side": Side.SELL}, {"outcome": "Down"}, {"post_only": True}],
)
def test_the_same_client_id_with_other_content_is_refused(other: dict[str, object]) -> None:
    driver = Driver()
    driver.placed("mine")

    answer = driver.place("mine", **other)  # type: ignore[arg-type]

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.DUPLICATE_ID, "client_order_id")


def test_client_ids_belong_to_their_account() -> None:
    driver = Driver()
    driver.placed("mine")

    answer = driver.place("mine", account="other")

    assert isinstance(answer, PlaceAnswer)
    assert not answer.duplicate


def test_a_result_that_comes_twice_is_applied_once() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    before = driver.order()

    driver.result(place, status="matched", making=1, taking=1)

    assert driver.out == []
    assert driver.order() == before


# --- settlement and positions ---


def test_a_failed_settlement_is_taken_back() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place, status="matched", making=5_200_000, taking=TEN)
    driver.fill(place, 4_000_000, trade_id="t-1", settlement=Settlement.CONFIRMED)
    driver.fill(place, 6_000_000, trade_id="t-2", settlement=Settlement.MINED)
    assert driver.core.desk.positions.views()[0].size == TEN

    driver.fill(place, 6_000_000, trade_id="t-2", settlement=Settlement.FAILED)

    position = driver.core.desk.positions.views()[0]
    view = driver.order()
    assert (position.size, position.confirmed, position.cost) == (4_000_000, 4_000_000, 2_080_000)
    assert (view.filled_size, view.lifecycle, view.status) == (4_000_000, Lifecycle.FAILED, Status.FILLED)
    assert driver.logs("order_failed") == [
        {"order_id": "o-1", "error": "trade t-2 failed to settle and was taken back"}
    ]
    assert unexplained(driver.core.desk.positions, driver.fills()) == []


def test_an_orphan_fill_is_booked_to_the_wallet_and_flagged() -> None:
    driver = Driver()

    for stage in (Settlement.MATCHED, Settlement.MATCHED, Settlement.CONFIRMED):
        driver.do(venue_fill("0xforeign", settlement=stage), RESULTS)

    (position,) = driver.core.desk.positions.views()
    assert (position.account, position.size, position.confirmed) == ("external:main", TEN, TEN)
    assert driver.logs("orphan_fill") == [{"fill_order_id": "0xforeign"}]
    assert [(fill.account, fill.order_id) for fill in driver.fills()] == [("external:main", "")]


def test_a_fill_of_an_unlisted_token_is_booked_too() -> None:
    driver = Driver()
    driver.do(venue_fill("0xforeign", token_id="1"), RESULTS)

    assert [position.token_id for position in driver.core.desk.positions.views()] == ["1"]


def test_a_fill_nobody_could_have_is_reported_and_not_booked() -> None:
    driver = Driver()
    driver.do(venue_fill("0xforeign", price=2_000_000), RESULTS)
    driver.do(venue_fill("0xforeign", size=0), RESULTS)

    assert driver.core.desk.counts["fills_unreadable"] == 2
    assert len(driver.core.desk.positions) == 0


# --- the user channel ---


def test_a_gap_stops_places_until_a_complete_catch_up_and_cancels_go_on() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    driver.feed(FeedState.STALE, "no pong for 30 s")
    refused = driver.place()
    assert isinstance(refused, Refused)
    assert (refused.code, refused.field) == (Reason.FEED_GAP, "account")
    assert "no pong" in refused.text
    assert isinstance(driver.cancel(), CancelAccepted)

    driver.feed(FeedState.LIVE)
    opened, traded = driver.one(QueryOpenOrders), driver.one(QueryTrades)
    assert isinstance(driver.place(), Refused)
    driver.open_orders(opened, complete=False)
    driver.trades(traded)
    assert isinstance(driver.place(), Refused)
    driver.wait(500)
    assert driver.of(QueryTrades) == []
    driver.open_orders(driver.one(QueryOpenOrders))

    assert isinstance(driver.place(), PlaceAnswer)
    driver.wait(5_000)
    assert len(driver.of(QueryOpenOrders)) == len(driver.of(QueryTrades)) == 1


def test_an_answer_from_before_the_second_gap_does_not_count() -> None:
    driver = Driver()
    driver.feed(FeedState.LIVE)
    opened, traded = driver.one(QueryOpenOrders), driver.one(QueryTrades)
    driver.feed(FeedState.LIVE)

    driver.open_orders(opened)
    driver.trades(traded)

    assert isinstance(driver.place(), Refused)


def test_an_open_order_that_is_not_listed_is_looked_up_and_gone_only_after_three_absences() -> None:
    driver = Driver()
    place = driver.placed()
    driver.result(place)
    driver.tick()
    driver.feed(FeedState.LIVE)
    driver.tick()
    opened = driver.one(QueryOpenOrders)

    driver.open_orders(opened)

    for attempt in range(3):
        assert driver.order().status is Status.WORKING
        if attempt:
            driver.wait(10_000)
        (query,) = driver.of(QueryOrder)
        driver.not_found(query)
    assert driver.order().status is Status.CANCELLED
    driver.wait(1_000)
    traded = driver.of(QueryTrades)
    assert traded
    assert traded[0].after_ns <= driver.order().created_ns - OVERLAP_NS


def test_an_order_placed_after_the_list_was_asked_for_is_not_doubted() -> None:
    driver = Driver()
    driver.feed(FeedState.LIVE)
    opened, traded = driver.one(QueryOpenOrders), driver.one(QueryTrades)
    driver.trades(traded)
    driver.open_orders(opened)
    driver.wait(5_000)
    opened = driver.one(QueryOpenOrders)
    began = driver.now
    driver.tick()
    driver.result(driver.placed())
    late, driver.now = driver.now, began

    driver.open_orders(opened)

    assert driver.of(QueryOrder) == []
    assert late.wall_ns > began.wall_ns


def test_trades_are_asked_from_before_the_oldest_fill_that_is_not_final() -> None:
    driver = Driver()
    place = driver.placed()
    driver.wait(3_600_000)
    driver.event(place, "UPDATE", "LIVE", 0)
    driver.fill(place, matched_ns=START + S)
    driver.feed(FeedState.STALE)
    driver.feed(FeedState.LIVE)

    assert driver.one(QueryTrades).after_ns == START + S - OVERLAP_NS - 30 * S


def test_fills_of_a_catch_up_are_applied_once() -> None:
    driver = Driver()
    place = driver.placed()
    driver.fill(place, 4_000_000)
    driver.feed(FeedState.LIVE)
    fills = [
        venue_fill(place.venue_order_id, size=4_000_000, settlement=Settlement.MINED),
        venue_fill(place.venue_order_id, size=6_000_000, trade_id="t-2"),
    ]

    driver.trades(driver.one(QueryTrades), fills)

    assert driver.order().filled_size == TEN
    assert driver.core.desk.positions.views()[0].size == TEN


# --- restarts ---


def test_restart_mid_flight_resends_what_is_outstanding() -> None:
    driver = Driver()
    answered = driver.placed()
    driver.result(answered)
    unanswered = driver.placed()
    driver.cancel("o-1")
    cancel = driver.one(Cancel)

    again = driver.restart()

    assert again.core.dump() == driver.core.dump()
    assert again.core.outstanding() == [
        Send(CANCELS, cancel.action_id, cancel),
        Send(ACTIONS, unanswered.action_id, unanswered),
    ]
    again.result(unanswered)
    again.canceled(cancel)
    assert (again.order("o-1").status, again.order("o-2").status) == (Status.CANCELLED, Status.WORKING)


def test_look_ups_and_timers_survive_a_restart() -> None:
    driver = Driver()
    place = driver.placed()
    driver.unknown(place)

    again = driver.restart()

    assert again.core.due_ns() == driver.core.due_ns()
    again.wait(500)
    again.found(again.one(QueryOrder))
    assert again.order().status is Status.WORKING


def test_answers_and_ids_survive_a_restart() -> None:
    driver = Driver()
    first = driver.place("mine", command_id="c")

    again = driver.restart()

    assert again.place("mine", command_id="c") == first
    duplicate = again.place("mine", command_id="d")
    assert isinstance(duplicate, PlaceAnswer)
    assert duplicate.duplicate


# --- bounds ---


def test_history_is_bounded_and_its_ids_stay_known() -> None:
    driver = Driver(order_history_max=2)
    places = [driver.placed(f"id-{number}") for number in range(4)]
    for place in places:
        driver.fill(place, trade_id=f"t-{place.action_id}", settlement=Settlement.CONFIRMED)

    assert [order.order_id for order in driver.core.desk.oms.newest_first()] == ["o-4", "o-3"]
    gone = driver.place("id-0")
    assert isinstance(gone, Refused)
    assert (gone.code, gone.duplicate) == (Reason.DUPLICATE_ID, True)
    driver.fill(places[0], trade_id=f"t-{places[0].action_id}", settlement=Settlement.CONFIRMED)
    assert driver.core.desk.counts["fills_of_history"] == 1
    assert driver.core.desk.positions.views()[0].size == 4 * TEN


def test_the_lane_to_the_gateway_can_never_be_overfilled_by_places() -> None:
    assert lane(ACTIONS).limit > OUTSTANDING_MAX + 500
    driver = Driver(open_orders_max=100_000)
    driver.core.desk.actions._on_lane = OUTSTANDING_MAX

    answer = driver.place()

    assert isinstance(answer, Refused)
    assert answer.code is Reason.OVERLOADED


def test_answers_to_every_command_go_to_its_sender() -> None:
    driver = Driver()
    driver.place(origin=LANE)

    assert [effect.to for effect in driver.out if isinstance(effect, Reply)] == ["order_gateway"]
    assert [effect.topic for effect in driver.out if isinstance(effect, Publish)] == ["orders"]


def test_the_snapshot_of_orders_shows_the_open_ones() -> None:
    driver = Driver()
    driver.fill(driver.placed())
    driver.placed(outcome="Down")

    (update,) = driver.core.snapshot("orders", driver.now)

    assert isinstance(update, OrderUpdated)
    assert (update.order.order_id, update.order.token_id) == ("o-2", DOWN)
    assert update.account_seq == driver.core.desk.account_seq
    assert driver.core.snapshot("other", driver.now) == []


def test_events_of_orders_that_are_not_ours_are_counted() -> None:
    driver = Driver()
    driver.do(order_event("0xforeign", "PLACEMENT", "LIVE"), RESULTS)

    assert driver.core.desk.counts["foreign_order_events"] == 1


def test_a_result_of_an_unknown_action_changes_nothing() -> None:
    driver = Driver()
    driver.do(PlaceResult("a-999", "0x1", Outcome.DONE, Reason.OK, "", "live"), RESULTS)

    assert driver.out == []
    assert driver.core.desk.counts["results_repeated"] == 1


def test_ready_says_what_is_missing() -> None:
    driver = Driver(ready=False)
    assert "gateway" in driver.core.missing()
    driver.wallet_ready()
    assert "user channel" in driver.core.missing()
    driver.feed(FeedState.LIVE)
    assert "gap" in driver.core.missing()
    driver.catch_up()
    assert driver.core.missing() == ""


def test_a_venue_that_stays_away_is_waited_for_but_not_for_ever() -> None:
    """One that trades must not be taken down because another cannot be reached."""
    driver = Driver()
    both = json.loads(settings())
    both["wallets"].append({"name": "second", "venue": "exchange"})
    both["accounts"].append({"name": "second", "wallet": "second"})
    driver.do(Configured(json.dumps(both)), Origin("executor"))
    begun = Driver(ready=False)
    begun.do(Configured(json.dumps(both)), Origin("executor"))
    for message in (driver.core.missing, begun.core.missing):
        assert message()
    driver.wait(11_000)
    driver.mark()
    begun.wait(11_000)
    begun.mark()
    assert driver.core.missing() == ""
    assert begun.core.missing(), "no venue is ready at all"


def test_a_wallet_that_left_the_settings_is_not_waited_for() -> None:
    driver = Driver()
    other = json.loads(settings())
    other["wallets"].append({"name": "second", "venue": "polymarket"})
    driver.do(Configured(json.dumps(other)), Origin("executor"))
    assert "second" in driver.core.missing()

    driver.do(Configured(settings()), Origin("executor"))

    assert driver.core.missing() == ""


def test_up_and_down_are_two_positions() -> None:
    driver = Driver()
    driver.fill(driver.placed(), token_id=UP)
    driver.fill(driver.placed(outcome="Down"), token_id=DOWN, trade_id="t-2")

    assert [(p.outcome, p.size) for p in driver.core.desk.positions.views()] == [("Up", TEN), ("Down", TEN)]
