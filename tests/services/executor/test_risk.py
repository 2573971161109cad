"""Risk policies at their limits, what they apply to, how they cap, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.errors import ConfigError
from common.fixed import format_micros
from common.messages import (
    BookView,
    Mark,
    OrderView,
    Place,
    PlaceAnswer,
    Refused,
    VenueModeChanged,
    Violation,
)
from common.policies import CAPPING, POLICY_LIMITS, read_policy_file
from common.reasons import Reason
from common.settings import load_settings
from common.types import FeedState, OrderType, Side, TimeInForce
from services.executor.config import PolicyConfig, read_config
from services.executor.risk import POLICIES, Policies, Proposal
from services.executor.situation import AccountSituation
from tests.services.executor.driver import DOWN, MARKET, RESULTS, START, UP, Driver, S, view
from tests.services.executor.several_venues import BTC, DOLLAR, SPOT_MARKET, Venues, spot_view

TEN = 10_000_000
CENT_SHARE = 10_000
BUY, SELL = Side.BUY, Side.SELL


@dataclass
class Seen:
    """A situation with its numbers written down."""

    now_wall_ns: int = START
    view: BookView | None = None
    shares: int = 0
    buys: int = 0
    sells: int = 0
    money: int = 0
    event: int = 0
    orders: int = 0
    placed: tuple[int, ...] = ()
    """How many nanoseconds ago each order was placed."""
    pnl: int = 0
    rejects: int = 0
    mode: tuple[str, str] = ("NORMAL", "")

    def held(self) -> int:
        return self.shares

    def open_buys(self) -> int:
        return self.buys

    def open_sells(self) -> int:
        return self.sells

    def inventory(self) -> int:
        return self.money

    def event_exposure(self) -> int:
        return self.event

    def open_orders(self) -> int:
        return self.orders

    def placed_within(self, window_ns: int) -> int:
        return sum(ago_ns < window_ns for ago_ns in self.placed)

    def day_pnl(self) -> int:
        return self.pnl

    def rejects_in_row(self) -> int:
        return self.rejects

    def venue_mode(self) -> tuple[str, str]:
        return self.mode


FREE = msgspec.structs.replace(MARKET, fee_rate=0)


def proposal(side: Side = BUY, size: int = TEN, price: int = 520_000, **words: object) -> Proposal:
    """In a market without fees, so that money is price x size."""
    asked = Proposal("default", FREE, UP, side, price, size, 0)._replace(**words)  # type: ignore[arg-type]
    return asked if "cash" in words else asked.resized(size)


def judge(row: PolicyConfig, asked: Proposal, seen: Seen) -> list[Violation]:
    return Policies([row]).evaluate(asked, seen)


POSITION = PolicyConfig("PositionLimit", max_size="100")
INVENTORY = PolicyConfig("InventoryLimit", max_value_usd="50")
SIZE = PolicyConfig("OrderSizeLimit", max_size="10")
NOTIONAL = PolicyConfig("OrderNotionalLimit", max_value_usd="5.2")
OPEN = PolicyConfig("OpenOrdersLimit", max_orders=3)
RATE = PolicyConfig("OrderRateLimit", max_orders=3, per_s=2)
COLLAR = PolicyConfig("PriceCollar", max_bps=500)
EVENT = PolicyConfig("EventExposureLimit", max_value_usd="50")
LOSS = PolicyConfig("DailyLossLimit", max_value_usd="100")
STALE = PolicyConfig("StaleData", max_age_ms=500)
MODE = PolicyConfig("VenueMode")
NEAR = PolicyConfig("NearResolutionBan", before_end_s=60)
REJECTS = PolicyConfig("ConsecutiveRejects", max_rejects=3)

BOOK = view([(500_000, TEN)], [(500_000, TEN)])
ONLY_BIDS, ONLY_ASKS = view([(500_000, TEN)], []), view([], [(500_000, TEN)])


def ends_in(seconds: int) -> Proposal:
    return proposal(market=msgspec.structs.replace(FREE, end_ns=START + seconds * S))


TAKEN: list[tuple[str, PolicyConfig, Proposal, Seen]] = [
    ("position at the limit", POSITION, proposal(), Seen(shares=80_000_000, buys=TEN)),
    ("position: a sell that reduces", POSITION, proposal(SELL), Seen(shares=500_000_000)),
    ("position: a short at the limit", POSITION, proposal(SELL), Seen(sells=90_000_000)),
    ("position: open sells do not count for a buy", POSITION, proposal(), Seen(shares=90_000_000, sells=TEN)),
    ("inventory at the limit", INVENTORY, proposal(), Seen(money=44_800_000)),
    ("inventory: a sell that reduces", INVENTORY, proposal(SELL), Seen(shares=TEN, money=900_000_000)),
    ("inventory: a short at what it could cost", INVENTORY, proposal(SELL), Seen(money=45_200_000)),
    ("size at the limit", SIZE, proposal(), Seen()),
    ("notional at the limit", NOTIONAL, proposal(), Seen()),
    ("open orders at the limit", OPEN, proposal(), Seen(orders=2)),
    ("rate at the limit", RATE, proposal(), Seen(placed=(1, S))),
    ("rate: older than the window", RATE, proposal(), Seen(placed=(1, S, 2 * S, 3 * S))),
    ("collar: a buy at the limit", COLLAR, proposal(price=525_000), Seen(view=BOOK)),
    ("collar: a sell at the limit", COLLAR, proposal(SELL, price=475_000), Seen(view=BOOK)),
    ("collar: a buy far below", COLLAR, proposal(price=10_000), Seen(view=BOOK)),
    ("collar: an empty book has no price to compare with", COLLAR, proposal(), Seen(view=view())),
    ("event at the limit", EVENT, proposal(), Seen(event=44_800_000)),
    ("event: a sell that reduces", EVENT, proposal(SELL), Seen(shares=TEN, event=900_000_000)),
    ("loss below the limit", LOSS, proposal(), Seen(pnl=-99_999_999)),
    ("loss: a sell that reduces", LOSS, proposal(SELL), Seen(shares=TEN, pnl=-900_000_000)),
    ("loss: a profit", LOSS, proposal(), Seen(pnl=900_000_000)),
    ("stale: as old as allowed", STALE, proposal(), Seen(view=view(age_ms=500))),
    ("stale: 0 asks for no age", PolicyConfig("StaleData"), proposal(), Seen(view=view(age_ms=9_000))),
    ("mode: degraded", MODE, proposal(), Seen(mode=("DEGRADED", "slow"))),
    ("mode: post-only orders only", MODE, proposal(post_only=True), Seen(mode=("POST_ONLY", ""))),
    ("near: exactly as long before", NEAR, ends_in(60), Seen()),
    ("near: no end is known", NEAR, proposal(), Seen()),
    ("near: a sell that reduces", NEAR, ends_in(1)._replace(side=SELL), Seen(shares=TEN)),
    ("rejects below the limit", REJECTS, proposal(), Seen(rejects=2)),
]  # fmt: skip

Row = tuple[str, PolicyConfig, Proposal, Seen, tuple[Reason, str, str, str]]
REFUSED: list[Row] = [
    ("kill switch", PolicyConfig("KillSwitch"), proposal(), Seen(), (Reason.KILL_SWITCH, "", "off", "on")),
    ("kill switch: a sell that reduces", PolicyConfig("KillSwitch"), proposal(SELL), Seen(shares=TEN),
     (Reason.KILL_SWITCH, "", "off", "on")),
    ("position above", POSITION, proposal(size=10_010_000), Seen(shares=80_000_000, buys=TEN),
     (Reason.POSITION_LIMIT, "size", "100", "100.01")),
    ("position: a short above", POSITION, proposal(SELL), Seen(sells=90_010_000),
     (Reason.POSITION_LIMIT, "size", "100", "100.01")),
    ("position: a sell of more than is held", POSITION, proposal(SELL, 210_000_000), Seen(shares=100_000_000),
     (Reason.POSITION_LIMIT, "size", "100", "110")),
    ("inventory above", INVENTORY, proposal(), Seen(money=44_800_001),
     (Reason.INVENTORY_LIMIT, "size", "50", "50.000001")),
    ("inventory: a short above", INVENTORY, proposal(SELL), Seen(money=45_200_001),
     (Reason.INVENTORY_LIMIT, "size", "50", "50.000001")),
    ("inventory: fees count", INVENTORY, proposal(cash=5_374_720), Seen(money=44_700_000),
     (Reason.INVENTORY_LIMIT, "size", "50", "50.07472")),
    ("size above", SIZE, proposal(size=10_010_000), Seen(), (Reason.ORDER_SIZE_LIMIT, "size", "10", "10.01")),
    ("size: one order is as dangerous when it sells", SIZE, proposal(SELL, 10_010_000), Seen(shares=900_000_000),
     (Reason.ORDER_SIZE_LIMIT, "size", "10", "10.01")),
    ("notional above", NOTIONAL, proposal(size=10_010_000), Seen(),
     (Reason.ORDER_NOTIONAL_LIMIT, "size", "5.2", "5.2052")),
    ("open orders above", OPEN, proposal(), Seen(orders=3), (Reason.OPEN_ORDERS_LIMIT, "", "3", "4")),
    ("rate above", RATE, proposal(), Seen(placed=(0, 1, 2 * S - 1)), (Reason.ORDER_RATE_LIMIT, "", "3", "4")),
    ("collar: a buy beyond", COLLAR, proposal(price=525_001), Seen(view=BOOK),
     (Reason.PRICE_COLLAR, "price", "0.525", "0.525001")),
    ("collar: a sell beyond", COLLAR, proposal(SELL, price=474_999), Seen(view=BOOK),
     (Reason.PRICE_COLLAR, "price", "0.475", "0.474999")),
    ("collar: a buy against bids alone", COLLAR, proposal(price=525_001), Seen(view=ONLY_BIDS),
     (Reason.PRICE_COLLAR, "price", "0.525", "0.525001")),
    ("collar: a sell against asks alone", COLLAR, proposal(SELL, price=474_999), Seen(view=ONLY_ASKS),
     (Reason.PRICE_COLLAR, "price", "0.475", "0.474999")),
    ("collar: no book", COLLAR, proposal(), Seen(), (Reason.PRICE_COLLAR, "price", "a live book", "none")),
    ("collar: a stale book", COLLAR, proposal(), Seen(view=view([(500_000, TEN)], state=FeedState.STALE)),
     (Reason.PRICE_COLLAR, "price", "a live book", "none")),
    ("event above", EVENT, proposal(), Seen(event=44_800_001),
     (Reason.EVENT_EXPOSURE_LIMIT, "size", "50", "50.000001")),
    ("loss at the limit", LOSS, proposal(), Seen(pnl=-100_000_000), (Reason.DAILY_LOSS_LIMIT, "", "100", "100")),
    ("loss: a sell of more than is free", LOSS, proposal(SELL), Seen(shares=TEN, sells=1, pnl=-100_000_001),
     (Reason.DAILY_LOSS_LIMIT, "", "100", "100.000001")),
    ("stale: too old", STALE, proposal(), Seen(view=view(age_ms=501)), (Reason.STALE_DATA, "outcome", "500", "501")),
    ("stale: not live", STALE, proposal(), Seen(view=view(state=FeedState.STALE)),
     (Reason.STALE_DATA, "outcome", "LIVE", FeedState.STALE.value)),
    ("stale: no book", STALE, proposal(), Seen(), (Reason.BOOK_MISSING, "outcome", "a live book", "none")),
    *(
        (f"mode: {mode}", MODE, proposal(), Seen(mode=(mode, "why")), (Reason.VENUE_MODE, "venue", "NORMAL", mode))
        for mode in ("POST_ONLY", "CANCEL_ONLY", "RESTARTING", "DISABLED", "BLOCKED", "a new word")
    ),
    ("mode: post-only does not help", MODE, proposal(post_only=True), Seen(mode=("CANCEL_ONLY", "")),
     (Reason.VENUE_MODE, "venue", "NORMAL", "CANCEL_ONLY")),
    ("near: a second too late", NEAR, ends_in(59), Seen(), (Reason.NEAR_RESOLUTION, "market", "60", "59")),
    ("near: after the end", NEAR, ends_in(-1), Seen(), (Reason.NEAR_RESOLUTION, "market", "60", "-1")),
    ("rejects at the limit", REJECTS, proposal(), Seen(rejects=3), (Reason.TOO_MANY_REJECTS, "", "3", "3")),
]  # fmt: skip


@pytest.mark.parametrize(("row", "asked", "seen"), [row[1:] for row in TAKEN], ids=[row[0] for row in TAKEN])
def test_at_the_limit_an_order_is_taken(row: PolicyConfig, asked: Proposal, seen: Seen) -> None:
    assert judge(row, asked, seen) == []


@pytest.mark.parametrize(
    ("row", "asked", "seen", "expected"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_above_the_limit_it_is_refused_with_code_field_limit_and_value(
    row: PolicyConfig, asked: Proposal, seen: Seen, expected: tuple[Reason, str, str, str]
) -> None:
    (violation,) = judge(row, asked, seen)

    assert violation.policy == row.type
    assert (violation.code, violation.field, violation.limit, violation.value) == expected
    assert violation.text


def test_both_tables_speak_of_every_policy() -> None:
    assert {row[1].type for row in REFUSED} == set(POLICIES) == set(POLICY_LIMITS)
    assert list(POLICIES) == list(POLICY_LIMITS)
    assert {row[1].type for row in TAKEN} == set(POLICIES) - {"KillSwitch"}


# --- which policies speak ---


@pytest.mark.parametrize(
    ("scope", "applies"),
    [
        ({}, True),
        ({"account": "default"}, True),
        ({"account": "other"}, False),
        ({"market_id": MARKET.slug}, True),
        ({"market_id": MARKET.condition_id}, True),
        ({"market_id": UP}, True),
        ({"market_id": DOWN}, False),
        ({"market_id": "btc-over"}, False),
        ({"account": "default", "market_id": MARKET.slug}, True),
        ({"account": "other", "market_id": MARKET.slug}, False),
        ({"enabled": False}, False),
    ],
)
def test_a_policy_speaks_of_its_account_and_market_only(scope: dict[str, object], applies: bool) -> None:
    row = PolicyConfig("OrderSizeLimit", max_size="9", **scope)  # type: ignore[arg-type]
    assert bool(judge(row, proposal(), Seen())) is applies


def test_the_policy_of_a_market_replaces_the_general_one_of_its_type_only() -> None:
    rows = [
        PolicyConfig("OrderSizeLimit", max_size="9"),
        PolicyConfig("OrderSizeLimit", max_size="20", market_id=MARKET.slug),
        PolicyConfig("OpenOrdersLimit", max_orders=1),
    ]
    policies = Policies(rows)
    elsewhere = proposal(market=msgspec.structs.replace(FREE, slug="eth-up"))

    assert policies.evaluate(proposal(), Seen()) == []
    assert [row.code for row in policies.evaluate(proposal(size=21_000_000), Seen())] == [Reason.ORDER_SIZE_LIMIT]
    assert [row.code for row in policies.evaluate(elsewhere, Seen())] == [Reason.ORDER_SIZE_LIMIT]
    assert [row.code for row in policies.evaluate(proposal(), Seen(orders=1))] == [Reason.OPEN_ORDERS_LIMIT]


def test_every_broken_policy_is_listed_in_the_order_of_evaluation_with_the_kill_switch_first() -> None:
    rows = [PolicyConfig("ConsecutiveRejects", max_rejects=1), SIZE, POSITION, PolicyConfig("KillSwitch"), OPEN]

    found = Policies(rows).evaluate(proposal(size=101_000_000), Seen(orders=9, rejects=9))

    assert [row.policy for row in found] == [
        "KillSwitch", "PositionLimit", "OrderSizeLimit", "OpenOrdersLimit", "ConsecutiveRejects",
    ]  # fmt: skip


# --- capping ---


@pytest.mark.parametrize(
    ("row", "asked", "seen", "size"),
    [
        (POSITION, proposal(size=50_000_000), Seen(shares=60_000_000, buys=TEN), 30_000_000),
        (POSITION, proposal(SELL, 150_000_000), Seen(shares=20_000_000), 120_000_000),
        (POSITION, proposal(), Seen(shares=200_000_000), 0),
        (SIZE, proposal(size=12_340_000), Seen(), TEN),
        (PolicyConfig("OrderSizeLimit", max_size="9.999"), proposal(), Seen(), 9_990_000),
        (PolicyConfig("OrderNotionalLimit", max_value_usd="5"), proposal(), Seen(), 9_610_000),
        (INVENTORY, proposal(), Seen(money=47_400_000), 5_000_000),
        (INVENTORY, proposal(), Seen(money=60_000_000), 0),
        (EVENT, proposal(), Seen(event=47_400_000), 5_000_000),
        (SIZE, proposal(), Seen(), TEN),
    ],
)
def test_a_policy_that_caps_makes_the_order_smaller(row: PolicyConfig, asked: Proposal, seen: Seen, size: int) -> None:
    assert Policies([msgspec.structs.replace(row, cap=True)]).capped(asked, seen) == size
    assert Policies([row]).capped(asked, seen) == asked.size


def test_a_capped_order_pays_its_own_rounded_fee_and_still_fits() -> None:
    """Its part of the whole order's cost would fit; what it costs by itself is 2 micros more."""
    row = PolicyConfig("InventoryLimit", max_value_usd="3.648378", cap=True)
    asked = proposal(size=18_090_000, price=500_000, market=MARKET)

    assert asked.resized(7_050_000).cash == 3_648_380
    assert Policies([row]).capped(asked, Seen()) == 7_040_000


def test_the_smallest_cap_counts() -> None:
    rows = [msgspec.structs.replace(row, cap=True) for row in (POSITION, SIZE)]

    assert Policies(rows).capped(proposal(size=50_000_000), Seen(shares=95_000_000)) == 5_000_000


MONEY = st.integers(0, 200_000_000)


@hypothesis_settings(deadline=None)
@given(
    type_=st.sampled_from(sorted(CAPPING)),
    limit=st.integers(0, 100_000_000),
    asked=st.builds(
        lambda side, ticks, hundredths: proposal(side, hundredths * CENT_SHARE, ticks * 10_000, market=MARKET),
        st.sampled_from([BUY, SELL]),
        st.integers(1, 99),
        st.integers(1, 20_000),
    ),
    seen=st.builds(Seen, shares=MONEY, buys=MONEY, sells=MONEY, money=MONEY, event=MONEY),
)
def test_the_capped_size_is_the_largest_that_fits(type_: str, limit: int, asked: Proposal, seen: Seen) -> None:
    text = format_micros(limit)
    policies = Policies([PolicyConfig(type_, max_size=text, max_value_usd=text, cap=True)])

    found = policies.capped(asked, seen)

    assert found % CENT_SHARE == 0
    assert 0 <= found <= asked.size
    assert found == 0 or policies.evaluate(asked.resized(found), seen) == []
    if found < asked.size:
        # A sell of what is held only reduces, so it would fit again: the cap is for the part that does not.
        next_larger = asked.resized(found + CENT_SHARE)
        assert policies.evaluate(next_larger, seen) or _reduces(next_larger, seen)


def _reduces(asked: Proposal, seen: Seen) -> bool:
    return asked.side is SELL and asked.size + seen.sells <= seen.shares


# --- through the core ---


def refused(answer: object) -> Refused:
    assert isinstance(answer, Refused), answer
    return answer


def test_a_refusal_lists_every_violation_and_its_code_is_the_first_ones() -> None:
    driver = Driver(
        policies=[
            {"type": "OrderSizeLimit", "max_size": "5"},
            {"type": "PositionLimit", "max_size": "8"},
            {"type": "StaleData", "max_age_ms": 500},
        ]
    )

    answer = refused(driver.place("mine"))

    assert (answer.code, answer.field) == (Reason.POSITION_LIMIT, "size")
    assert [row.code for row in answer.violations] == [
        Reason.POSITION_LIMIT,
        Reason.ORDER_SIZE_LIMIT,
        Reason.BOOK_MISSING,
    ]
    assert all(row.policy in answer.text for row in answer.violations)
    assert driver.core.desk.counts["risk_rejections"] == 1
    assert driver.of(Place) == []
    assert isinstance(driver.place("mine", size=5_000_000, view=view()), PlaceAnswer)  # the id was not used up


def test_a_capped_order_is_signed_smaller_and_shows_what_was_asked() -> None:
    driver = Driver(policies=[{"type": "OrderSizeLimit", "max_size": "7.777", "cap": True}])

    driver.placed(size=12_000_000)

    assert (driver.order().size, driver.order().asked_size) == (7_770_000, 12_000_000)
    assert driver.order("o-1").size == driver.core.desk.commitments.token("default", UP).buys


def test_an_order_that_fits_shows_no_asked_size() -> None:
    driver = Driver(policies=[{"type": "OrderSizeLimit", "max_size": "10", "cap": True}])

    driver.placed(size=TEN)

    assert driver.order().asked_size == 0


def test_a_cap_below_the_markets_minimum_refuses() -> None:
    driver = Driver(policies=[{"type": "OrderSizeLimit", "max_size": "4.99", "cap": True}])

    assert refused(driver.place()).code is Reason.SIZE_TOO_SMALL


def test_a_cap_with_no_room_left_refuses_by_its_policy() -> None:
    driver = Driver(policies=[{"type": "PositionLimit", "max_size": "10", "cap": True}])
    driver.placed(size=TEN)

    assert refused(driver.place(size=TEN)).code is Reason.POSITION_LIMIT


def test_a_cap_does_not_help_against_a_policy_that_does_not_cap() -> None:
    policies: list[dict[str, object]] = [
        {"type": "OrderSizeLimit", "max_size": "7", "cap": True},
        {"type": "KillSwitch"},
    ]

    answer = refused(Driver(policies=policies).place())

    assert [row.code for row in answer.violations] == [Reason.KILL_SWITCH]


def test_a_market_order_by_money_is_capped_in_money_too() -> None:
    driver = Driver(policies=[{"type": "OrderNotionalLimit", "max_value_usd": "3", "cap": True}])
    book = view([(510_000, TEN)], [(520_000, 100_000_000)])

    answer = driver.place(
        order_type=OrderType.MARKET, tif=TimeInForce.FAK, price=520_000, size=0, quote=5_200_000, view=book
    )

    assert isinstance(answer, PlaceAnswer), answer
    assert answer.order.asked_size == TEN
    assert answer.order.quote <= 3_000_000
    assert answer.order.size * answer.order.price <= 3_000_000 * 1_000_000


def test_the_venues_mode_is_told_and_ends() -> None:
    driver = Driver(policies=[{"type": "VenueMode"}])

    driver.do(VenueModeChanged("polymarket", "CANCEL_ONLY", "maintenance", START), RESULTS)
    answer = refused(driver.place())
    driver.do(VenueModeChanged("polymarket", "NORMAL", "", START), RESULTS)

    assert (answer.code, "maintenance" in answer.text) == (Reason.VENUE_MODE, True)
    assert isinstance(driver.place(), PlaceAnswer)


def test_refusals_of_the_venue_are_counted_until_it_takes_an_order_or_a_person_resumes() -> None:
    driver = Driver(policies=[{"type": "ConsecutiveRejects", "max_rejects": 2}])
    driver.refused(driver.placed())
    driver.result(driver.placed())
    for _ in range(2):
        driver.refused(driver.placed())

    assert refused(driver.place()).code is Reason.TOO_MANY_REJECTS
    assert isinstance(driver.place(account="other"), PlaceAnswer)
    driver.resume("default")
    assert isinstance(driver.place(), PlaceAnswer)


@pytest.mark.parametrize(
    "code", [Reason.HALTED, Reason.DEADLINE_PASSED, Reason.VENUE_RATE_LIMIT, Reason.DIGEST_MISMATCH]
)
def test_refusals_that_are_not_about_the_order_are_no_rejects_in_a_row(code: Reason) -> None:
    driver = Driver()
    driver.refused(driver.placed(), code)

    assert driver.account().rejects_in_row == 0


def test_the_rate_counts_orders_of_the_account_and_forgets_them() -> None:
    driver = Driver(policies=[{"type": "OrderRateLimit", "max_orders": 2, "per_s": 3}])
    driver.placed()
    driver.wait(1_000)
    driver.placed()

    assert refused(driver.place()).code is Reason.ORDER_RATE_LIMIT
    assert isinstance(driver.place(account="other"), PlaceAnswer)
    driver.wait(2_000)
    assert isinstance(driver.place(), PlaceAnswer)
    assert refused(driver.place()).code is Reason.ORDER_RATE_LIMIT


def test_the_rate_survives_a_restart() -> None:
    driver = Driver(policies=[{"type": "OrderRateLimit", "max_orders": 1, "per_s": 60}])
    driver.placed()

    assert refused(driver.restart().place()).code is Reason.ORDER_RATE_LIMIT


def test_the_daily_loss_is_counted_from_midnight_at_the_marks() -> None:
    driver = Driver(policies=[{"type": "DailyLossLimit", "max_value_usd": "2"}])
    driver.fill(driver.placed())  # 10 at 0.52
    driver.mark(Mark(UP, 320_000, 320_000))  # the first marks of the day: -2 is where it begins
    assert driver.account().day_pnl == 0

    driver.mark(Mark(UP, 120_001, 120_001))
    assert isinstance(driver.place(), PlaceAnswer)
    driver.mark(Mark(UP, 120_000, 120_000))
    assert refused(driver.place()).code is Reason.DAILY_LOSS_LIMIT
    assert isinstance(driver.place(side=SELL, price=100_000), PlaceAnswer)
    driver.wait(24 * 3_600_000)
    driver.mark(Mark(UP, 120_000, 120_000))
    assert isinstance(driver.place(), PlaceAnswer)


def test_risk_checks_can_be_switched_off_but_not_a_halt() -> None:
    driver = Driver(policies=[{"type": "KillSwitch"}], enable_risk_checks=False)

    assert isinstance(driver.place(), PlaceAnswer)
    driver.halt()
    assert refused(driver.place()).code is Reason.HALTED


LIMITS = {"PositionLimit": "25", "InventoryLimit": "11", "EventExposureLimit": "9.5", "OrderNotionalLimit": "8"}


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_order_that_is_taken_never_breaks_a_limit_afterwards(data: st.DataObject) -> None:
    """Whatever mixture of orders, fills and cancels came before, with and without capping."""
    cap = data.draw(st.booleans(), "cap")
    rows: list[dict[str, object]] = [
        {"type": type_, "max_size" if type_ == "PositionLimit" else "max_value_usd": limit, "cap": cap}
        for type_, limit in LIMITS.items()
    ]
    driver = Driver(policies=[*rows, {"type": "OpenOrdersLimit", "max_orders": 4}])
    for _ in range(data.draw(st.integers(1, 12), "steps")):
        driver.tick()
        outcome = data.draw(st.sampled_from(["Up", "Down"]))
        price = data.draw(st.integers(1, 99)) * 10_000
        size = data.draw(st.integers(500, 3_000)) * CENT_SHARE
        answer = driver.place(outcome=outcome, price=price, size=size)
        if isinstance(answer, PlaceAnswer):
            _check_limits(driver, answer.order.token_id)
            _go_on(driver, answer.order, data.draw(st.sampled_from(["rest", "fill", "part", "refuse", "cancel"])))


def _check_limits(driver: Driver, token_id: str) -> None:
    desk = driver.core.desk
    now = AccountSituation(desk, "default", MARKET, token_id, None)
    assert now.held() + now.open_buys() <= 25_000_000
    assert now.inventory() <= 11_000_000
    assert now.event_exposure() <= 9_500_000
    assert now.open_orders() <= 4


def _go_on(driver: Driver, order: OrderView, fate: str) -> None:
    place = driver.one(Place)
    bought = {"token_id": order.token_id, "price": order.price, "trade_id": place.action_id}
    match fate:
        case "rest":
            driver.result(place)
        case "fill":
            driver.fill(place, order.size, **bought)
        case "part":
            driver.fill(place, order.size // 2, **bought)
        case "refuse":
            driver.refused(place)
        case _:
            driver.event(place, "CANCELLATION", "CANCELED")


# --- as settings ---

SPEC_3 = """
policies:
  - type: PositionLimit
    max_size: 1000.0
  - type: InventoryLimit
    max_value_usd: 10000.0
"""


def test_the_yaml_of_spec_3_is_read_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "risk.yaml"
    path.write_text(SPEC_3)
    monkeypatch.setenv("POLYEXEC_RISK__POLICY_FILE", str(path))

    found = load_settings()
    policies = Policies(read_config(found.model_dump_json()).risk.policies)

    added = [(row.type, row.max_size, row.max_value_usd) for row in found.risk.policies[-2:]]
    assert added == [("PositionLimit", "1000.0", ""), ("InventoryLimit", "", "10000.0")]
    seen = Seen(shares=1_000_000_000, money=10_000_000_000, view=BOOK)
    codes = {row.code for row in policies.evaluate(proposal(price=500_000), seen)}
    assert {Reason.POSITION_LIMIT, Reason.INVENTORY_LIMIT} <= codes


def test_numbers_in_yaml_never_pass_through_a_float(tmp_path: Path) -> None:
    path = tmp_path / "risk.yaml"
    path.write_text("policies:\n  - type: PositionLimit\n    max_size: 0.100000\n")

    assert read_policy_file(path) == [{"type": "PositionLimit", "max_size": "0.100000"}]


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("policies:\n  - type: PositionLimits\n    max_size: 1\n", "risk.policies", "known: KillSwitch"),
        ("policies:\n  - type: PositionLimit\n", "risk.policies", "needs max_size"),
        ("policies:\n  - type: PositionLimit\n    max_size: lots\n", "risk.policies", "lots"),
        ("policies:\n  - type: PositionLimit\n    max_size: 1e3\n", "risk.policies", "1e3"),
        ("policies:\n  - type: PositionLimit\n    max_size: -1\n", "risk.policies", "negative"),
        ("policies:\n  - type: PositionLimit\n    max_size: 1\n    max_bps: 5\n", "risk.policies", "has no max_bps"),
        ("policies:\n  - type: PositionLimit\n    maxsize: 1\n", "risk.policies", "maxsize"),
        ("policies:\n  - type: KillSwitch\n    cap: true\n", "risk.policies", "cannot cap"),
        ("policies:\n  - type: OpenOrdersLimit\n    max_orders: some\n", "risk.policies", "max_orders"),
        ("policies:\n  - type: KillSwitch\n    account: nobody\n", "risk.policies", "nobody"),
        ("policies:\n  - PositionLimit\n", "risk.policy_file", "needs a list"),
        ("policies: 5\n", "risk.policy_file", "needs a list"),
        ("limits: []\n", "risk.policy_file", "needs a list"),
        ("policies: [\n", "risk.policy_file", "not valid YAML"),
        ("policies:\n  - 5: 6\n    type: KillSwitch\n", "risk.policies", "5"),
    ],
)
def test_a_mistake_in_the_yaml_is_refused_by_name(
    text: str, key: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "risk.yaml"
    path.write_text(text)
    monkeypatch.setenv("POLYEXEC_RISK__POLICY_FILE", str(path))

    with pytest.raises(ConfigError) as caught:
        load_settings()

    assert key in str(caught.value)
    assert says in str(caught.value)


def test_a_policy_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"risk\.policy_file.*missing\.yaml"):
        read_policy_file(tmp_path / "missing.yaml")


# --- spot instruments: any price, money instead of 1 - price ---


def spot_proposal(side: Side = BUY, size: int = 1_000, price: int = 64_000 * DOLLAR, **words: object) -> Proposal:
    """0.001 BTC at 64,000 with its taker fee of 0.1 %: 64.064 dollars."""
    asked = Proposal("spot", SPOT_MARKET, BTC, side, price, size, 0)._replace(**words)  # type: ignore[arg-type]
    return asked.resized(size)


@pytest.mark.parametrize(
    ("row", "seen", "kept"),
    [
        (PolicyConfig("OrderNotionalLimit", max_value_usd="64"), Seen(), True),
        (PolicyConfig("OrderNotionalLimit", max_value_usd="63.999999"), Seen(), False),
        (PolicyConfig("InventoryLimit", max_value_usd="100"), Seen(money=100 * DOLLAR - 64_064_000), True),
        (PolicyConfig("InventoryLimit", max_value_usd="100"), Seen(money=100 * DOLLAR - 64_063_999), False),
        (PolicyConfig("PriceCollar", max_bps=100), Seen(view=spot_view(asks=[(63_367 * DOLLAR, 10)])), True),
        (PolicyConfig("PriceCollar", max_bps=100), Seen(view=spot_view(asks=[(63_366 * DOLLAR, 10)])), False),
        (PolicyConfig("PositionLimit", max_size="0.005"), Seen(shares=4_000), True),
        (PolicyConfig("PositionLimit", max_size="0.005"), Seen(shares=4_010), False),
    ],
)
def test_limits_count_the_money_of_a_spot_order(row: PolicyConfig, seen: Seen, kept: bool) -> None:
    assert bool(judge(row, spot_proposal(), seen)) is not kept


def test_what_is_sold_short_of_spot_counts_with_all_its_money() -> None:
    """Of a binary market it would be 1 - price, which above 1 would be less than nothing."""
    limit = PolicyConfig("InventoryLimit", max_value_usd="64")

    assert judge(limit, spot_proposal(SELL), Seen()) == []
    (broken,) = judge(limit, spot_proposal(SELL, size=1_010), Seen())
    assert broken.value == "64.64"


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    limit=st.integers(1, 1_000),
    money=st.integers(0, 2_000 * DOLLAR),
    steps=st.integers(1, 10_000),
    price=st.integers(1, 10**7).map(lambda ticks: ticks * SPOT_MARKET.tick),
    kind=st.sampled_from(["OrderNotionalLimit", "InventoryLimit"]),
)
def test_a_cap_leaves_the_largest_size_on_the_step_of_the_market(
    limit: int, money: int, steps: int, price: int, kind: str
) -> None:
    row = PolicyConfig(kind, max_value_usd=str(limit), cap=True)
    asked, seen = spot_proposal(size=steps * 10, price=price), Seen(money=money)

    size = Policies([row]).capped(asked, seen)

    assert size % SPOT_MARKET.size_step == 0
    assert 0 <= size <= asked.size
    assert size == 0 or judge(row, asked.resized(size), seen) == []
    larger = size + 2 * SPOT_MARKET.size_step  # fees are rounded: one step less than the most is allowed
    assert larger > asked.size or judge(row, asked.resized(larger), seen)


def test_a_capped_spot_order_that_is_worth_too_little_is_refused() -> None:
    driver = Venues(policies=[{"type": "OrderSizeLimit", "max_size": "0.00007", "cap": True}])

    answer = driver.place(account="spot", venue="", market=BTC, outcome="", price=64_000 * DOLLAR, size=1_000)

    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.NOTIONAL_TOO_SMALL, "size")
