"""Rounds of reconciliation: when they happen, what each kind of difference leads to, and what proves nothing."""

from __future__ import annotations

from typing import Any

import pytest

from common.effects import Now
from common.messages import (
    Accepted,
    Difference,
    Message,
    OpenOrdersResult,
    PlaceAnswer,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Refused,
    VenueFill,
    VenueOrder,
    VenuePosition,
)
from common.reasons import Reason
from common.types import FeedState, Outcome, Settlement, Side, Status
from services.executor.reconcile import FULL, HOLDINGS_QUIET_NS, INCREMENTAL, NOTED_MAX, RECENT_MAX, Question, Rounds
from tests.services.executor.driver import DOWN, RESULTS, START, UP, Driver, S, venue_fill

TEN = 10_000_000
CASH = 1_000_000_000
QUERIES = (QueryOpenOrders, QueryTrades, QueryPositions, QueryBalances)


class Reconciling:
    """A driver with its intervals on, and an honest venue to compare with."""

    def __init__(self, held: dict[str, int] | None = None, **execution: int | str) -> None:
        intervals: dict[str, Any] = {"reconcile_interval_sec": 60, "reconcile_incremental_sec": 5}
        self.driver = Driver(ready=False, **{**intervals, **execution})
        self.open: list[VenueOrder] = []
        self.trades: list[VenueFill] = []
        self.held = held or {}
        self.cash = CASH
        self.asked: list[Message] = []
        self.driver.wallet_ready()
        self.driver.feed(FeedState.LIVE)
        self.answer()
        self.wait(5_200)

    def answer(self, *, complete: bool = True) -> list[Message]:
        """Answer every question of the running round; what was asked."""
        asked = [body for body in self.driver.of(Message) if isinstance(body, QUERIES)]
        for query in asked:
            match query:
                case QueryOpenOrders():
                    self.driver.open_orders(query, self.open, complete=complete)
                case QueryTrades():
                    self.driver.trades(query, self.trades, complete=complete)
                case QueryPositions():
                    self.driver.holdings(query, self.held, complete=complete)
                case QueryBalances():
                    outcome = Outcome.DONE if complete else Outcome.UNKNOWN
                    self.driver.balances(query, self.cash, outcome=outcome)
        self.asked += asked
        return list(asked)

    def wait(self, ms: int, *, complete: bool = True) -> list[Message]:
        """Let time pass in small steps, answering whatever is asked; what was asked."""
        asked: list[Message] = []
        for _ in range(ms // 100):
            self.driver.wait(100)
            asked += self.answer(complete=complete)
        return asked

    def full(self) -> None:
        """Two full rounds, asked for by a person: what differs in both is proven."""
        for _ in range(2):
            self.driver.wait(5_100)
            self.answer()
            assert isinstance(self.driver.reconcile(), Accepted)
            self.driver.wait(1)
            self.answer()

    def differences(self) -> list[tuple[str, str, str]]:
        recent = self.driver.reconciliation().recent
        return [(row.kind, row.subject, row.resolution) for row in recent]

    def logged(self) -> list[dict[str, str | int | bool]]:
        return self.driver.logs("reconciliation_mismatch")


def kinds(asked: list[Message]) -> list[str]:
    return [type(body).__name__ for body in asked]


# --- when ---


def test_a_full_round_begins_when_the_wallet_trades_then_the_intervals_rule() -> None:
    world = Reconciling()

    assert [kind for kind in kinds(world.asked) if kind in ("QueryPositions", "QueryBalances")] == [
        "QueryPositions",
        "QueryBalances",
    ]
    rounds = world.driver.reconciliation()
    assert (rounds.running, rounds.differences, rounds.incomplete) == (False, 0, 0)
    assert rounds.last_full_ns >= START
    done = rounds.rounds

    asked = kinds(world.wait(55_000))
    assert asked.count("QueryOpenOrders") == asked.count("QueryTrades")
    assert "QueryPositions" not in asked
    after = world.driver.reconciliation()
    assert 10 <= after.rounds - done <= 11
    assert after.last_full_ns == rounds.last_full_ns
    assert "QueryPositions" in kinds(world.wait(6_000))


def test_due_says_full_or_incremental_and_never_overlaps() -> None:
    rounds = Rounds("polymarket", "main")
    rounds.plan(Now(0, 100 * S), 60, 5)

    assert rounds.due(Now(0, 100 * S), 60, 5) == FULL
    rounds.asked("a-1", Question.TRADES)
    assert rounds.due(Now(0, 900 * S), 60, 5) == ()
    assert rounds.next_due() is None
    rounds.answered("a-1", True, Now(7, 101 * S))
    assert (rounds.done, rounds.last_full_ns) == (1, 7)
    assert rounds.due(Now(0, 105 * S - 1), 60, 5) == ()
    assert rounds.due(Now(0, 105 * S), 60, 5) == INCREMENTAL
    assert rounds.due(Now(0, 160 * S), 60, 5) == FULL
    assert rounds.answered("a-1", True, Now(9, 160 * S)) is False


def test_intervals_of_nought_ask_nothing_until_a_person_does() -> None:
    world = Reconciling(reconcile_interval_sec=0, reconcile_incremental_sec=0)
    assert world.wait(120_000) == []

    world.driver.reconcile()
    world.driver.wait(1)

    assert kinds(world.answer()) == ["QueryOpenOrders", "QueryTrades", "QueryPositions", "QueryBalances"]
    assert world.wait(120_000) == []


def test_a_command_names_its_wallet_and_needs_one_that_can_be_asked() -> None:
    world = Reconciling()
    answer = world.driver.reconcile("nobody")
    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.UNKNOWN_ACCOUNT, "wallet")

    world.driver.feed(FeedState.STALE, "cut")
    answer = world.driver.reconcile("main")
    assert isinstance(answer, Refused)
    assert (answer.code, "cut" in answer.text) == (Reason.WALLET_NOT_READY, True)


def test_a_gap_stops_the_running_round_and_a_full_one_follows_the_catch_up() -> None:
    world = Reconciling()
    world.driver.wait(5_000)  # a round is asked for
    late = world.driver.of(QueryOpenOrders)
    assert world.driver.reconciliation().running
    world.driver.feed(FeedState.STALE, "cut")
    assert not world.driver.reconciliation().running
    rounds = world.driver.reconciliation().rounds

    for query in late:
        world.driver.open_orders(query)
    assert world.driver.reconciliation().rounds == rounds
    assert not world.driver.reconciliation().running

    world.driver.feed(FeedState.LIVE)
    world.answer()
    assert "QueryPositions" in kinds(world.wait(5_200))


# --- orders ---


def working(world: Reconciling) -> VenueOrder:
    place = world.driver.placed()
    world.driver.result(place)
    return VenueOrder(place.venue_order_id, "LIVE", UP, Side.BUY, 520_000, TEN, 0, START)


def test_an_order_the_venue_does_not_list_is_looked_up_by_id_before_anything_is_believed() -> None:
    world = Reconciling()
    working(world)

    world.wait(6_000)

    assert world.differences() == [("ORDER_MISSING", "o-1", "LOOKED_UP")]
    assert world.driver.order().status is Status.WORKING
    assert world.logged()[0] | {"explanation": ""} == {
        "mismatch_count": 1,
        "wallet": "main",
        "kind": "ORDER_MISSING",
        "subject": "o-1",
        "expected": "Working",
        "actual": "not listed",
        "explanation": "",
        "resolution": "LOOKED_UP",
    }
    (query,) = world.driver.of(QueryOrder, world.driver.all)
    world.driver.found(query, "CANCELED")
    assert world.driver.order().status is Status.CANCELLED


def test_an_order_that_is_listed_is_no_difference() -> None:
    world = Reconciling()
    world.open.append(working(world))

    world.wait(30_000)

    assert world.differences() == []
    assert world.driver.of(QueryOrder, world.driver.all) == []


def test_an_open_order_nobody_placed_is_an_alert_told_once() -> None:
    world = Reconciling()
    world.open.append(VenueOrder("0xabc", "LIVE", UP, Side.SELL, 700_000, TEN, 0, START))

    world.wait(30_000)

    assert world.differences() == [("ORDER_UNEXPECTED", "0xabc", "ALERT")]
    (line,) = world.logged()
    assert (line["expected"], line["actual"]) == ("unknown", "LIVE SELL 10 at 0.7")
    assert world.driver.core.desk.counts["foreign_open_orders"] > 1


@pytest.mark.parametrize("complete", [True, False])
def test_a_list_that_is_not_complete_changes_nothing(complete: bool) -> None:
    world = Reconciling()
    working(world)
    rounds = world.driver.reconciliation()

    world.wait(30_000, complete=complete)

    after = world.driver.reconciliation()
    if complete:
        assert after.differences == 1
    else:
        assert (after.differences, after.rounds, world.logged()) == (0, rounds.rounds, [])
        assert after.incomplete > 0
        assert world.driver.of(QueryOrder, world.driver.all) == []


def test_an_answer_that_is_a_failure_changes_nothing_however_it_looks() -> None:
    world = Reconciling()
    working(world)
    world.driver.wait(5_000)
    (query,) = world.driver.of(QueryOpenOrders)

    now_ns = world.driver.now.wall_ns
    failed = OpenOrdersResult(query.action_id, Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE, "", now_ns, True, [])
    world.driver.do(failed, RESULTS)

    assert world.differences() == []
    assert world.driver.reconciliation().incomplete == 1


# --- trades ---


def test_a_trade_the_user_channel_did_not_tell_of_is_booked_and_told() -> None:
    world = Reconciling()
    shown = working(world)
    world.wait(10_000)
    fill = venue_fill(shown.venue_order_id, size=4_000_000, matched_ns=world.driver.now.wall_ns - 6 * S)
    world.trades.append(fill)
    world.open.append(shown)

    world.wait(6_000)

    assert ("FILL_MISSING", "t-1", "BOOKED") in world.differences()
    assert world.driver.order().filled_size == 4_000_000
    line = next(line for line in world.logged() if line["kind"] == "FILL_MISSING")
    assert (line["expected"], line["actual"]) == ("unknown", "BUY 4 at 0.52")


def test_a_young_trade_may_simply_still_be_on_its_way() -> None:
    world = Reconciling()
    shown = working(world)
    world.open.append(shown)
    world.driver.wait(5_000)
    fresh = world.driver.now.wall_ns - 1 * S
    world.trades.append(venue_fill(shown.venue_order_id, size=4_000_000, matched_ns=fresh))

    world.answer()

    assert world.driver.order().filled_size == 4_000_000
    assert world.differences() == []


# --- positions ---


def bought(world: Reconciling, settlement: Settlement = Settlement.CONFIRMED) -> None:
    place = world.driver.placed()
    fill = venue_fill(place.venue_order_id, settlement=settlement, matched_ns=world.driver.now.wall_ns)
    world.driver.do(fill, RESULTS)
    world.trades.append(fill)
    world.cash -= fill.cash


@pytest.mark.parametrize(
    ("settlement", "held"), [(Settlement.MATCHED, 0), (Settlement.MINED, TEN), (Settlement.CONFIRMED, TEN)]
)
def test_only_what_is_mined_is_expected_in_the_wallet(settlement: Settlement, held: int) -> None:
    world = Reconciling()
    bought(world, settlement)
    world.held[UP] = held

    world.full()

    assert [row for row in world.differences() if row[0] == "POSITION"] == []


def test_shares_that_came_from_elsewhere_are_adjusted_after_two_rounds_and_can_be_sold() -> None:
    world = Reconciling()
    world.wait(5_000)
    world.held[UP] = 40_000_000
    assert isinstance(world.driver.place(side=Side.SELL), Refused)

    world.driver.reconcile()
    world.driver.wait(1)
    world.answer()
    assert world.differences() == []  # once is not enough
    world.driver.reconcile()
    world.driver.wait(1)
    world.answer()

    assert world.differences() == [("POSITION", UP, "ADJUSTED")]
    (line,) = world.logged()
    assert (line["expected"], line["actual"]) == ("0", "40")
    positions = {row.account: row for row in world.driver.core.desk.positions.views()}
    assert (positions["external:main"].size, positions["external:main"].cost) == (40_000_000, 0)
    assert isinstance(world.driver.place(side=Side.SELL, size=40_000_000), PlaceAnswer)
    answer = world.driver.place(side=Side.SELL)
    assert isinstance(answer, Refused)
    assert answer.code is Reason.INSUFFICIENT_SHARES
    world.full()
    assert len(world.differences()) == 1  # the same is not told again


def test_shares_that_left_are_adjusted_too() -> None:
    world = Reconciling()
    bought(world)
    world.wait(60_000)  # the venue's list may lag what was mined by that much

    world.full()

    assert ("POSITION", UP, "ADJUSTED") in world.differences()
    positions = {row.account: row.size for row in world.driver.core.desk.positions.views()}
    assert positions == {"default": TEN, "external:main": -TEN}


@pytest.mark.parametrize(("off", "told"), [(10_000, False), (10_001, True)])
def test_a_difference_within_the_tolerance_is_none(off: int, told: bool) -> None:
    world = Reconciling(position_tolerance="0.01")
    world.held[UP] = off

    world.full()

    assert bool(world.differences()) is told


def test_what_was_held_before_the_first_look_is_found_and_is_no_mismatch() -> None:
    world = Reconciling(held={DOWN: 7_000_000})

    world.wait(20_000)

    assert world.differences() == []
    assert [line["theirs"] for line in world.driver.logs("holding_found")] == ["7"]
    assert isinstance(world.driver.place(side=Side.SELL, outcome="Down", size=7_000_000), PlaceAnswer)


def rounds_at(*looks: tuple[int, int, int]) -> list[list[tuple[str, int, int]]]:
    """Each look: when (s), ours, theirs; what was proven by it."""
    rounds = Rounds("polymarket", "main", positions_known=True)
    return [
        rounds.compare_positions({UP: ours}, [VenuePosition(UP, theirs)], at_s * S, 10_000)
        for at_s, ours, theirs in looks
    ]


def test_positions_are_believed_only_when_two_rounds_say_the_same() -> None:
    assert rounds_at((100, 0, TEN), (105, 0, TEN)) == [[], [(UP, 0, TEN)]]
    assert rounds_at((100, 0, TEN), (105, 0, 2 * TEN), (110, 0, TEN)) == [[], [], []]
    assert rounds_at((100, 0, TEN), (105, TEN, TEN), (110, 0, TEN)) == [[], [], []]


def test_nothing_is_compared_while_our_own_number_moves() -> None:
    rounds = Rounds("polymarket", "main", positions_known=True)
    theirs = [VenuePosition(UP, TEN)]
    rounds.compare_positions({}, theirs, 100 * S, 0)
    rounds.moved_at(UP, 103 * S)

    assert rounds.compare_positions({}, theirs, 103 * S + HOLDINGS_QUIET_NS - 1, 0) == []
    assert rounds.compare_positions({}, theirs, 103 * S + HOLDINGS_QUIET_NS, 0) == []  # from here it counts again
    assert rounds.compare_positions({}, theirs, 103 * S + HOLDINGS_QUIET_NS + 1, 0) == [(UP, 0, TEN)]


def test_an_incomplete_list_of_positions_adjusts_nothing_however_often_it_comes() -> None:
    world = Reconciling()
    bought(world)  # and the list, cut short, does not show it
    for _ in range(4):
        world.driver.wait(5_100)
        world.answer(complete=False)
        world.driver.reconcile()
        world.driver.wait(1)
        world.answer(complete=False)

    assert world.differences() == []
    assert {row.account for row in world.driver.core.desk.positions.views()} == {"default"}


def test_several_rows_of_one_token_are_added() -> None:
    rounds = Rounds("polymarket", "main")

    assert rounds.compare_positions({UP: TEN}, [VenuePosition(UP, 4_000_000), VenuePosition(UP, 6_000_000)], S, 0) == []
    assert rounds.doubted == {}


# --- balances ---


def test_the_first_balance_is_taken_and_later_ones_are_compared_with_what_our_fills_made_of_it() -> None:
    world = Reconciling()
    assert world.driver.account().cash == CASH
    bought(world)
    world.held[UP] = TEN
    assert world.driver.account().cash == CASH - 5_200_000

    world.full()

    assert world.differences() == []
    assert world.driver.account().cash == CASH - 5_200_000


def test_money_that_came_from_elsewhere_is_adopted_and_told() -> None:
    world = Reconciling()
    world.cash += 5_000_000

    world.full()

    assert world.differences() == [("BALANCE", "cash", "ADJUSTED")]
    assert world.driver.account().cash == CASH + 5_000_000
    (line,) = world.logged()
    assert (line["expected"], line["actual"]) == ("1000", "1005")


def test_a_balance_asked_for_while_money_moves_is_not_believed() -> None:
    """Nobody can tell whether it holds the fill that is on its way."""
    world = Reconciling()
    bought(world)
    before = world.driver.account().cash
    world.cash -= 1_000_000

    world.driver.reconcile()
    world.driver.wait(1)
    world.answer()

    assert [row for row in world.differences() if row[0] == "BALANCE"] == []
    assert world.driver.account().cash == before


# --- bounds and restarts ---


def difference(subject: str, theirs: str = "1") -> Difference:
    return Difference(1, "main", "POSITION", subject, "0", theirs, "", "ADJUSTED")


def test_reports_and_what_was_told_are_bounded() -> None:
    rounds = Rounds("polymarket", "main")
    for number in range(NOTED_MAX + 5):
        assert rounds.note(difference(str(number)))

    assert (rounds.differences, len(rounds.recent), len(rounds.noted)) == (NOTED_MAX + 5, RECENT_MAX, NOTED_MAX)
    assert not rounds.note(difference(str(NOTED_MAX)))
    assert rounds.note(difference(str(NOTED_MAX), "2"))
    assert rounds.note(difference("0"))  # forgotten: told again rather than never


def test_rounds_survive_a_restart() -> None:
    world = Reconciling()
    world.cash += 5_000_000
    world.full()
    before = world.driver.reconciliation()

    world.driver = world.driver.restart()

    assert world.driver.reconciliation() == before
    world.wait(10_000)
    assert world.driver.reconciliation().rounds > before.rounds
    assert world.driver.core.counters()["reconcile_mismatch_count"] == 1
