"""The venue's limits as tables, what each request charges, and what is learned from answers (protocol section 7)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from heapq import heappop, heappush
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.ratelimit import NS_PER_S, Charges, Limits, TokenBucket
from common.venues.polymarket.limits import (
    CANCEL_CALLS,
    HEADERS,
    IP_LIMITS,
    RETRY_AFTER_MAX_NS,
    SCOPES,
    TIERS,
    Call,
    PolymarketLimits,
    Scope,
    Tier,
    Window,
    call_of,
    cancel_cost,
    cancel_wallet_cost,
    place_cost,
    retry_after_ns,
)

START = 10**15
WALL = 1_795_262_400 * NS_PER_S
"""Sat, 21 Nov 2026 12:00:00 GMT."""

PER_10_S = [
    (Scope.EVERYTHING, 15_000),
    (Scope.CLOB, 9_000),
    (Scope.BOOK, 1_500),
    (Scope.PRICE, 1_500),
    (Scope.MIDPOINT, 1_500),
    (Scope.BOOKS, 500),
    (Scope.PRICES, 500),
    (Scope.MIDPOINTS, 500),
    (Scope.TICK_SIZE, 200),
    (Scope.PRICES_HISTORY, 1_000),
    (Scope.LEDGER, 900),
    (Scope.DATA_ORDERS, 500),
    (Scope.DATA_TRADES, 500),
    (Scope.BALANCE, 200),
    (Scope.BALANCE_UPDATE, 50),
    (Scope.NOTIFICATIONS, 125),
    (Scope.API_KEYS, 100),
    (Scope.OK, 100),
    (Scope.POST_ORDER, 5_000),
    (Scope.POST_ORDERS, 2_000),
    (Scope.DELETE_ORDER, 5_000),
    (Scope.DELETE_ORDERS, 2_000),
    (Scope.CANCEL_ALL, 250),
    (Scope.CANCEL_MARKET, 1_500),
    (Scope.GAMMA, 4_000),
    (Scope.GAMMA_EVENTS, 500),
    (Scope.GAMMA_MARKETS, 300),
    (Scope.GAMMA_LISTS, 900),
    (Scope.DATA_V1, 1_000),
    (Scope.DATA_V1_TRADES, 200),
    (Scope.DATA_V1_POSITIONS, 150),
    (Scope.DATA_V2, 800),
    (Scope.DATA_V2_TRADES, 300),
    (Scope.DATA_V2_POSITIONS, 200),
    (Scope.HEARTBEAT, 9_000),
    (Scope.TIME, 9_000),
]
PER_10_MIN = [
    (Scope.POST_ORDER, 120_000),
    (Scope.DELETE_ORDER, 120_000),
    (Scope.POST_ORDERS, 21_000),
    (Scope.DELETE_ORDERS, 15_000),
    (Scope.CANCEL_ALL, 6_000),
    (Scope.CANCEL_MARKET, 21_000),
]
TIER_ROWS = [
    ("Standard", Tier(40, 60, 80, 120, True)),
    ("Copper", Tier(60, 90, 120, 180, True)),
    ("Bronze", Tier(80, 120, 160, 240, True)),
    ("Silver", Tier(200, 300, 400, 600, True)),
    ("Gold", Tier(400, 600, 800, 1200, True)),
    ("Platinum", Tier(450, 675, 900, 1350, False)),
    ("Diamond", Tier(525, 787, 1050, 1575, False)),
    ("Elite", Tier(600, 900, 1200, 1800, False)),
]


@pytest.mark.parametrize(("scope", "requests"), PER_10_S)
def test_each_endpoint_has_its_row_of_ten_seconds(scope: Scope, requests: int) -> None:
    assert IP_LIMITS[scope][0] == Window(requests, 10)


@pytest.mark.parametrize(("scope", "requests"), PER_10_MIN)
def test_order_endpoints_have_a_row_of_ten_minutes_as_well(scope: Scope, requests: int) -> None:
    assert IP_LIMITS[scope][1] == Window(requests, 600)


def test_there_are_no_other_rows_than_these() -> None:
    assert IP_LIMITS[Scope.RELAYER_SUBMIT] == (Window(25, 60),)
    rows = len(PER_10_S) + len(PER_10_MIN) + 1
    assert rows == sum(len(windows) for windows in IP_LIMITS.values())
    assert set(Scope) == set(IP_LIMITS)


@pytest.mark.parametrize(("name", "tier"), TIER_ROWS)
def test_each_tier_has_its_row(name: str, tier: Tier) -> None:
    assert TIERS[name] == tier
    assert len(TIERS) == len(TIER_ROWS)


def test_costs() -> None:
    assert (place_cost(1), place_cost(15)) == (1, 15)
    assert (cancel_cost(1), cancel_cost(1000)) == (1, 1000)
    assert (cancel_wallet_cost(0), cancel_wallet_cost(500)) == (1, 501)


def test_the_totals_of_all_hosts_are_below_the_total_of_everything() -> None:
    """So no bucket is needed for everything."""
    totals = (Scope.CLOB, Scope.GAMMA, Scope.DATA_V1, Scope.DATA_V2)
    for scopes in SCOPES.values():
        assert set(scopes) & set(totals)
    assert sum(IP_LIMITS[scope][0].requests for scope in totals) <= IP_LIMITS[Scope.EVERYTHING][0].requests


def names(costs: Charges) -> dict[str, int]:
    return {bucket.name: cost for bucket, cost in costs}


TOTAL = {"CLOB total": 1}
CHARGED: list[tuple[Callable[[PolymarketLimits], Charges], dict[str, int]]] = [
    (
        lambda limits: limits.place("w"),
        {"orders of w": 1, "POST /order": 1} | TOTAL,
    ),
    (
        lambda limits: limits.place("w", 15),
        {"orders of w": 15, "POST /orders": 1} | TOTAL,
    ),
    (
        lambda limits: limits.cancel("w"),
        {"cancels of w": 1, "DELETE /order": 1} | TOTAL,
    ),
    (
        lambda limits: limits.cancel("w", 100),
        {"cancels of w": 100, "DELETE /orders": 1} | TOTAL,
    ),
    (
        lambda limits: limits.cancel_wallet("w"),
        {"cancels of w": 1, "DELETE /cancel-all": 1} | TOTAL,
    ),
    (
        lambda limits: limits.cancel_market("w"),
        {"cancels of w": 1, "DELETE /cancel-market-orders": 1} | TOTAL,
    ),
    (lambda limits: limits.lookup(), {"ledger reads total": 1} | TOTAL),
    (lambda limits: limits.open_orders(), {"/data/orders": 1, "ledger reads total": 1} | TOTAL),
    (lambda limits: limits.trades(), {"/data/trades": 1, "ledger reads total": 1} | TOTAL),
    (lambda limits: limits.balances(), {"GET /balance-allowance": 1} | TOTAL),
    (lambda limits: limits.heartbeat(), {"POST /v1/heartbeats": 1} | TOTAL),
    (lambda limits: limits.time(), {"GET /time": 1} | TOTAL),
    (lambda limits: limits.positions(), {"Data v2 /positions": 1, "Data v2 total": 1}),
]


@pytest.mark.parametrize(("ask", "charged"), CHARGED)
def test_what_each_request_charges(ask: Callable[[PolymarketLimits], Charges], charged: dict[str, int]) -> None:
    limits = PolymarketLimits()
    assert names(ask(limits)) == charged
    assert ask(limits) is ask(limits)  # made once


def test_it_is_what_the_gateway_asks_of_any_venue() -> None:
    limits: Limits = PolymarketLimits()
    assert limits.place("w")


@given(st.integers(10, 100))
def test_no_window_ever_has_more_than_our_share(share: int) -> None:
    """Burst + rate x window is at most the share of it, so no span of that length can hold more."""
    limits = PolymarketLimits(share_percent=share)
    for scope in {scope for scopes in SCOPES.values() for scope in scopes}:
        for window in IP_LIMITS[scope]:
            bucket = limits.buckets[scope.value]
            rate = Fraction(*bucket.rate)
            most = bucket.burst + rate * window.per_s * NS_PER_S
            assert bucket.burst >= 1
            assert most <= Fraction(window.requests * share, 100)


def spend(limits: PolymarketLimits, costs: Charges, now: int, *, urgent: bool = False) -> int:
    """How many of these go at once."""
    gone = 0
    while not limits.try_take(costs, now, urgent):
        gone += 1
    return gone


def test_wallets_have_budgets_of_their_own_and_cancels_are_apart_from_orders() -> None:
    limits = PolymarketLimits(signer_percent=100)
    assert spend(limits, limits.place("one"), START) == 60
    assert spend(limits, limits.place("two"), START) == 60
    assert spend(limits, limits.cancel("one"), START, urgent=True) == 120


def test_the_signers_percentage_is_of_rate_and_burst() -> None:
    limits = PolymarketLimits(signer_percent=90)
    assert spend(limits, limits.place("w"), START) == 54
    assert spend(limits, limits.place("w"), START + NS_PER_S) == 36


def test_urgent_cancels_go_when_ordinary_ones_have_spent_theirs() -> None:
    limits = PolymarketLimits(signer_percent=100, reserve_percent=25)
    assert spend(limits, limits.cancel("w"), START) == 90
    assert limits.try_take(limits.cancel_wallet("w"), START, urgent=True) == 0
    assert spend(limits, limits.cancel("w"), START, urgent=True) == 29


def test_urgent_cancels_go_when_places_of_other_wallets_have_spent_the_address() -> None:
    limits = PolymarketLimits(default_tier="Elite")
    for wallet in range(10):
        spend(limits, limits.place(str(wallet)), START)
    spend(limits, limits.heartbeat(), START)
    name, wait = limits.tightest(limits.cancel("last"), START)
    assert (name, wait > 0) == ("CLOB total", True)
    assert limits.try_take(limits.cancel("last"), START, urgent=True) == 0
    assert limits.try_take(limits.cancel_wallet("last"), START, urgent=True) == 0


def test_a_wallet_wide_cancel_is_paid_for_when_its_number_is_known() -> None:
    limits = PolymarketLimits(signer_percent=100)
    assert limits.try_take(limits.cancel_wallet("w"), START, urgent=True) == 0
    limits.on_cancelled("w", 500, START)
    assert limits.remaining(START)["cancels of w"] == 120 - 501
    limits.on_cancelled("w", 0, START)
    assert limits.remaining(START)["cancels of w"] == 120 - 501


@pytest.mark.parametrize(("name", "tier"), TIER_ROWS)
def test_debt_is_for_the_tiers_that_may_owe(name: str, tier: Tier) -> None:
    limits = PolymarketLimits(default_tier=name)
    limits.on_cancelled("w", 10_000, START)
    assert (limits.remaining(START)["cancels of w"] < 0) is tier.may_owe


def test_a_batch_is_never_larger_than_the_venue_could_admit() -> None:
    assert PolymarketLimits(signer_percent=100).cancel_batch_max("w") == 120
    assert PolymarketLimits(signer_percent=100).place_batch_max("w") == 60
    assert PolymarketLimits(default_tier="Elite").cancel_batch_max("w") == 1000


@pytest.mark.parametrize("spent", [0, 1, 50, 106, 107, 108])
def test_as_many_ids_as_are_free_go_in_one_urgent_cancel(spent: int) -> None:
    """That many go now, and not one more."""
    limits = PolymarketLimits()
    if spent:
        assert limits.try_take(limits.cancel("w", spent), START, urgent=True) == 0
    free = limits.cancels_free("w", START)
    assert free == 108 - spent
    if spent:
        assert limits.try_take(limits.cancel("w", free + 1), START, urgent=True) > 0
    if free:
        assert limits.try_take(limits.cancel("w", free), START, urgent=True) == 0


def test_none_are_free_in_debt_and_one_by_one_when_batches_are_blocked() -> None:
    limits = PolymarketLimits()
    limits.on_headers("w", Call.CANCEL_BATCH, {HEADERS.retry_after: "5"}, 429, START)
    assert limits.cancels_free("w", START) == 1
    limits.on_headers("w", Call.CANCEL, {HEADERS.retry_after: "5"}, 429, START)
    assert limits.cancels_free("w", START) == 0
    limits.on_cancelled("other", 500, START)
    assert limits.cancels_free("other", START) == 0


def test_many_sizes_of_batches_do_not_fill_the_memory() -> None:
    limits = PolymarketLimits()
    for wallet in range(6):
        for n in range(2, 1000):
            limits.cancel(str(wallet), n)
    assert len(limits._many) <= 4096
    assert names(limits.cancel("5", 7))["cancels of 5"] == 7


def test_an_unknown_default_tier_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'Gilded' is not a tier: one of Standard, Copper"):
        PolymarketLimits(default_tier="Gilded")


# --- what answers say ---


@pytest.mark.parametrize("word", ["Gold", "gold", " GOLD "])
def test_the_tier_is_learned_from_any_answer_of_the_wallet(word: str) -> None:
    limits = PolymarketLimits(signer_percent=100)
    assert limits.try_take(limits.place("w"), START) == 0
    limits.on_headers("w", Call.LOOKUP, {HEADERS.tier: word}, 200, START)
    assert (limits.tier("w"), limits.tier("other")) == ("Gold", "Standard")
    assert spend(limits, limits.place("w"), START) == 59
    assert spend(limits, limits.place("w"), START + NS_PER_S) == 400
    assert limits.cancel_batch_max("w") == 1000
    assert limits.counters["limit_tier_changes"] == 1


def test_an_unknown_tier_is_the_default_and_counted() -> None:
    limits = PolymarketLimits(default_tier="Copper")
    limits.on_headers("w", Call.PLACE, {HEADERS.tier: "Elite"}, 200, START)
    limits.on_headers("w", Call.PLACE, {HEADERS.tier: "Mithril"}, 200, START)
    assert limits.tier("w") == "Copper"
    assert limits.counters["limit_tiers_unknown"] == 1


def test_a_tier_that_may_not_owe_ends_at_nothing_left() -> None:
    limits = PolymarketLimits()
    limits.on_headers("w", Call.CANCEL, {HEADERS.tier: "Elite"}, 200, START)
    limits.on_cancelled("w", 5_000, START)
    assert limits.remaining(START)["cancels of w"] == 0


@pytest.mark.parametrize(
    ("text", "left"), [("7", 7), ("7.9", 7), ("0", 0), ("-40", -40), ("-40.5", -41), ("59", 54), ("1000", 54)]
)
def test_what_is_left_is_never_more_than_the_venue_says(text: str, left: int) -> None:
    limits = PolymarketLimits()
    limits.on_headers("w", Call.PLACE, {HEADERS.remaining: text}, 200, START)
    assert limits.remaining(START)["orders of w"] == left
    assert limits.remaining(START)["cancels of w"] == 108


def test_what_a_cancels_answer_says_is_about_cancels() -> None:
    limits = PolymarketLimits()
    for call, left in zip(sorted(CANCEL_CALLS), (40, 30, 20, 10), strict=True):
        limits.on_headers("w", call, {HEADERS.remaining: str(left)}, 200, START)
        assert limits.remaining(START)["cancels of w"] == left
    assert limits.remaining(START)["orders of w"] == 54


def test_a_reset_on_an_admitted_request_changes_nothing() -> None:
    """It may be the present moment, whatever is left."""
    limits = PolymarketLimits()
    limits.on_cancelled("w", 500, START)
    before = limits.remaining(START)
    headers = {HEADERS.remaining: "119", HEADERS.reset: str(WALL // NS_PER_S)}
    limits.on_headers("w", Call.CANCEL, headers, 200, START, wall_ns=WALL)
    assert limits.remaining(START) == before


GARBAGE = ["", "soon", "NaN", "inf", "1e9", "0x10", "9" * 400, "-9999999", "١٢", "1,5", "--1", "-"]


@pytest.mark.parametrize("text", GARBAGE)
def test_garbage_in_a_header_is_counted_and_changes_nothing(text: str) -> None:
    limits = PolymarketLimits()
    before = limits.place("w") and limits.remaining(START)
    limits.on_headers("w", Call.PLACE, {HEADERS.remaining: text, HEADERS.reset: text}, 200, START)
    assert limits.remaining(START) == before
    assert limits.counters["limit_headers_bad"] == 1


@given(st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=20)), st.sampled_from(Call), st.integers(100, 599))
def test_no_header_is_an_error(headers: dict[str, str], call: Call, status: int) -> None:
    limits = PolymarketLimits()
    wait = limits.on_headers("w", call, headers, status, START, wall_ns=WALL)
    assert 0 <= wait <= RETRY_AFTER_MAX_NS
    assert (wait > 0) <= (status == 429)


def test_warnings_are_counted() -> None:
    limits = PolymarketLimits()
    for text in ("true", "True", "false", ""):
        limits.on_headers("w", Call.PLACE, {HEADERS.warning: text}, 200, START)
    assert limits.counters["limit_warnings"] == 2


@pytest.mark.parametrize("call", list(Call))
def test_requests_are_told_by_method_and_path(call: Call) -> None:
    method, _, path = call.value.partition(" ")
    suffix = "/0xabc" if call is Call.LOOKUP else ""
    assert call_of(method, path + suffix) is call
    assert call_of("PATCH", path) is None


def wait_s(limits: PolymarketLimits, costs: Charges) -> float:
    return limits.wait_ns(costs, START, urgent=True) / NS_PER_S


def test_a_429_that_speaks_of_the_signer_blocks_its_bucket_alone() -> None:
    limits = PolymarketLimits()
    headers = {HEADERS.tier: "Standard", HEADERS.remaining: "0", HEADERS.retry_after: "3"}
    assert limits.on_headers("w", Call.PLACE, headers, 429, START) == 3 * NS_PER_S
    assert wait_s(limits, limits.place("w")) == 3
    assert wait_s(limits, limits.place("w", 2)) > 3
    assert wait_s(limits, limits.cancel("w")) == 0
    assert wait_s(limits, limits.place("other")) == 0
    assert (limits.counters["limit_429"], limits.counters["limit_429_cancels"]) == (1, 0)


@pytest.mark.parametrize("call", list(Call))
def test_a_429_that_does_not_blocks_that_endpoint_alone(call: Call) -> None:
    limits = PolymarketLimits()
    asks = {
        Call.PLACE: limits.place("w"),
        Call.PLACE_BATCH: limits.place("w", 2),
        Call.CANCEL: limits.cancel("w"),
        Call.CANCEL_BATCH: limits.cancel("w", 2),
        Call.CANCEL_ALL: limits.cancel_wallet("w"),
        Call.CANCEL_MARKET: limits.cancel_market("w"),
        Call.OPEN_ORDERS: limits.open_orders(),
        Call.TRADES: limits.trades(),
        Call.BALANCES: limits.balances(),
        Call.HEARTBEAT: limits.heartbeat(),
        Call.TIME: limits.time(),
        Call.POSITIONS: limits.positions(),
        Call.LOOKUP: limits.lookup(),
    }
    limits.on_headers("w", call, {HEADERS.retry_after: "5"}, 429, START)
    blocked = {asked for asked, costs in asks.items() if wait_s(limits, costs)}
    same_row = {Call.OPEN_ORDERS, Call.TRADES} if call is Call.LOOKUP else set()
    assert blocked == {call} | same_row
    assert wait_s(limits, asks[call]) == 5
    assert limits.counters["limit_429_cancels"] == (call in CANCEL_CALLS)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 1.0),
        ({HEADERS.retry_after: "soon"}, 1.0),
        ({HEADERS.retry_after: "-5"}, 1.0),
        ({HEADERS.reset: "1795262404"}, 4.0),
        ({HEADERS.retry_after: "soon", HEADERS.reset: "1795262404"}, 4.0),
        ({HEADERS.retry_after: "3", HEADERS.reset: "1795262404"}, 3.0),
        ({HEADERS.reset: "1795262404", HEADERS.date: "Sat, 21 Nov 2026 12:00:02 GMT"}, 2.0),
        ({HEADERS.reset: "1795262404", HEADERS.date: "yesterday"}, 4.0),
        ({HEADERS.reset: "1795262000"}, 1.0),
        ({HEADERS.reset: "4"}, 1.0),
        ({HEADERS.reset: "99999999999"}, 600.0),
        ({HEADERS.reset: "soon"}, 1.0),
        ({HEADERS.retry_after: "2.5"}, 2.5),
        ({HEADERS.retry_after: "86400"}, 600.0),
        ({HEADERS.retry_after: "Sat, 21 Nov 2026 12:00:07 GMT"}, 7.0),
        ({HEADERS.retry_after: "Sat, 21 Nov 2026 12:00:07 GMT", HEADERS.date: "Sat, 21 Nov 2026 12:00:02 GMT"}, 5.0),
        ({HEADERS.retry_after: "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({HEADERS.retry_after: "Sat, 99 Nov 2026 12:00:07 GMT"}, 1.0),
    ],
)
def test_a_429_blocks_for_what_it_says_else_for_a_second(headers: dict[str, str], seconds: float) -> None:
    limits = PolymarketLimits()
    assert limits.on_headers("w", Call.CANCEL, headers, 429, START, wall_ns=WALL) == seconds * NS_PER_S
    assert wait_s(limits, limits.cancel("w")) == seconds


def test_a_date_cannot_be_counted_from_nowhere() -> None:
    assert retry_after_ns("Sat, 21 Nov 2026 12:00:07 GMT") is None


# --- against the venue's own buckets ---


@pytest.mark.parametrize("seed", range(3))
def test_greedy_orders_and_cancels_never_meet_a_429(seed: int) -> None:
    """Two minutes at all of our budget, single and in batches; requests arrive up to 150 ms late and out of order.

    The venue has buckets of the whole tier and admits a batch only whole.
    """
    rng = Random(seed)
    limits = PolymarketLimits()
    tier = TIERS["Standard"]
    venue = {
        "orders": TokenBucket(tier.orders_per_s, tier.orders_burst),
        "cancels": TokenBucket(tier.cancels_per_s, tier.cancels_burst),
    }
    sent: list[tuple[int, str, int]] = []
    for kind, costs, most in (("orders", limits.place, 15), ("cancels", limits.cancel, 100)):
        now = START
        while now < START + 120 * NS_PER_S:
            n = rng.choice((1, 1, 1, rng.randint(2, most)))
            now += limits.wait_ns(costs("w", n), now, urgent=True)
            assert limits.try_take(costs("w", n), now, urgent=True) == 0
            heappush(sent, (now + rng.randint(1, 150_000_000), kind, n))
    tokens = dict.fromkeys(venue, 0)
    while sent:
        arrived, kind, n = heappop(sent)
        assert venue[kind].remaining(arrived) >= n, "429"
        venue[kind].take(n, arrived)
        tokens[kind] += n
    assert tokens["orders"] > 36 * 119
    assert tokens["cancels"] > 72 * 119
