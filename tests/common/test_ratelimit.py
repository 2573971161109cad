"""Token buckets against a naive model in fractions, and the decision over several of them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.ratelimit import NS_PER_S, Budget, Charges, PlainLimits, TokenBucket, charges

START = 10**15
"""Some time of the monotonic clock."""


class Model:
    """The same bucket as anyone would write it first: tokens as a fraction, refilled at every look."""

    def __init__(self, tokens_per: tuple[int, int], burst: int, reserve: int, debt_max: int) -> None:
        self.rate = Fraction(*tokens_per)
        self.burst = burst
        self.reserve = reserve
        self.debt_max = debt_max
        self.tokens = Fraction(burst)
        self.now_ns = START

    def refill(self, now_ns: int) -> None:
        self.tokens = min(Fraction(self.burst), self.tokens + self.rate * (now_ns - self.now_ns))
        self.now_ns = now_ns

    def wait_ns(self, cost: int, urgent: bool) -> int:
        needed = min(cost + (0 if urgent else self.reserve), self.burst)
        return max(0, ceil((needed - self.tokens) / self.rate))

    def take(self, cost: int) -> None:
        self.tokens = min(self.tokens, max(self.tokens - cost, Fraction(-self.debt_max)))

    def learn(self, remaining: int) -> None:
        self.tokens = min(self.tokens, Fraction(remaining))

    def block(self, for_ns: int) -> None:
        self.tokens = min(self.tokens, 1 - self.rate * for_ns)


rates = st.tuples(st.integers(1, 5_000), st.sampled_from([1, 1_000, NS_PER_S, 10 * NS_PER_S, 7_777_777]))
gaps = st.one_of(st.integers(0, 50), st.integers(0, 3 * NS_PER_S), st.integers(0, 700 * NS_PER_S))
steps = st.one_of(
    st.tuples(st.just("try"), gaps, st.integers(1, 40), st.booleans()),
    st.tuples(st.just("take"), gaps, st.integers(1, 200), st.booleans()),
    st.tuples(st.just("learn"), gaps, st.integers(-50, 60), st.booleans()),
    st.tuples(st.just("block"), gaps, st.integers(0, 5 * NS_PER_S), st.booleans()),
)


@given(rates, st.integers(1, 30), st.data())
@settings(max_examples=200, deadline=None)
def test_it_is_exactly_the_naive_model(rate: tuple[int, int], burst: int, data: st.DataObject) -> None:
    """Every decision, every wait and every count of tokens, after any history: the integers lose nothing."""
    reserve = data.draw(st.integers(0, burst - 1))
    debt_max = data.draw(st.sampled_from([0, 7, 1_000]))
    bucket = TokenBucket(rate, burst, reserve=reserve, debt_max=debt_max)
    model = Model(rate, burst, reserve, debt_max)
    now = START
    for kind, gap, amount, urgent in data.draw(st.lists(steps, max_size=40)):
        now += gap
        model.refill(now)
        match kind:
            case "try":
                wait = model.wait_ns(amount, urgent)
                assert bucket.wait_ns(amount, now, urgent) == wait
                assert Budget().try_take(charges((bucket, amount)), now, urgent) == wait
                model.tokens -= 0 if wait else amount
            case "take":
                bucket.take(amount, now)
                model.take(amount)
            case "learn":
                bucket.learn(amount, now)
                model.learn(amount)
            case _:
                bucket.block_until(now + amount, now)
                model.block(amount)
        assert bucket.remaining(now) == floor(model.tokens)


@given(st.integers(1, 50), st.integers(1, 30), st.lists(st.tuples(gaps, st.integers(1, 30)), max_size=60))
@settings(max_examples=150, deadline=None)
def test_no_span_of_time_lets_more_through_than_burst_and_rate(
    rate: int, burst: int, asked: list[tuple[int, int]]
) -> None:
    bucket, now = TokenBucket(rate, burst), START
    passed: list[tuple[int, int]] = []
    for gap, cost in asked:
        now += gap
        if cost <= burst and not Budget().try_take(charges((bucket, cost)), now):
            passed.append((now, cost))
    for first, (since, _) in enumerate(passed):
        total = 0
        for at, cost in passed[first:]:
            total += cost
            assert total <= burst + Fraction(rate * (at - since), NS_PER_S)


@given(st.integers(2, 40), st.data())
@settings(max_examples=100, deadline=None)
def test_the_reserve_is_for_urgent_requests_only(burst: int, data: st.DataObject) -> None:
    reserve = data.draw(st.integers(1, burst - 1))
    bucket, now = TokenBucket(13, burst, reserve=reserve), START
    budget = Budget([bucket])
    asked = st.tuples(st.integers(0, NS_PER_S // 10), st.integers(1, burst - reserve), st.booleans())
    for gap, cost, urgent in data.draw(st.lists(asked, max_size=40)):
        now += gap
        before = bucket.remaining(now)
        waits = budget.try_take(charges((bucket, cost)), now, urgent)
        if not urgent and not waits:
            assert bucket.remaining(now) >= reserve
        if urgent:
            assert (waits == 0) == (before >= cost)


@given(
    st.lists(st.tuples(rates, st.integers(1, 20), st.integers(1, 60)), min_size=1, max_size=4),
    st.integers(1, 60),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_after_exactly_the_wait_it_may_go_and_not_a_nanosecond_before(
    rows: list[tuple[tuple[int, int], int, int]], cost: int, urgent: bool
) -> None:
    """Whatever was taken, blocked or owed before: nothing waits for ever and no wait is too long."""
    budget = Budget(TokenBucket(rate, burst, name=str(at), debt_max=50) for at, (rate, burst, _) in enumerate(rows))
    for bucket, (_, _, taken) in zip(budget.buckets.values(), rows, strict=True):
        bucket.take(taken, START)
    all_of_them = charges(*((bucket, cost) for bucket in budget.buckets.values()))
    wait = budget.try_take(all_of_them, START, urgent)
    if wait:
        assert budget.wait_ns(all_of_them, START + wait - 1, urgent) == 1
        assert budget.try_take(all_of_them, START + wait, urgent) == 0


@given(st.lists(st.integers(0, 40), min_size=3, max_size=3), st.lists(st.integers(1, 15), min_size=3, max_size=3))
def test_a_refused_request_charges_no_bucket(taken: list[int], costs: list[int]) -> None:
    budget = Budget(TokenBucket(rate, 20, name=str(rate), debt_max=20) for rate in (3, 7, 11))
    buckets = list(budget.buckets.values())
    for bucket, amount in zip(buckets, taken, strict=True):
        bucket.take(amount, START)
    before = budget.remaining(START), [bucket.wait_ns(20, START) for bucket in buckets]
    asked = charges(*zip(buckets, costs, strict=True))
    if budget.try_take(asked, START):
        assert (budget.remaining(START), [bucket.wait_ns(20, START) for bucket in buckets]) == before
        assert budget.counters["limit_waits"] == 1
    else:
        left = [had - cost for had, cost in zip(before[0].values(), costs, strict=True)]
        assert list(budget.remaining(START).values()) == left


@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.integers(-(10**13), 10**13), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_a_clock_that_steps_back_gives_nothing_away_and_stalls_nobody(rate: int, burst: int, moves: list[int]) -> None:
    """No more passes than for the time that went forward, and no wait is longer than filling it from empty."""
    bucket, now = TokenBucket(rate, burst), START
    one = charges((bucket, 1))
    passed = forward = 0
    for move in moves:
        now += move
        forward += max(0, move)
        wait = Budget().try_take(one, now)
        assert wait <= ceil(Fraction(burst * NS_PER_S, rate)) + 1
        passed += wait == 0
        assert passed <= burst + Fraction(forward * rate, NS_PER_S)


def test_a_cost_above_the_burst_goes_when_the_bucket_is_full_and_is_paid_back() -> None:
    bucket = TokenBucket(10, 20)
    budget, big = Budget([bucket]), charges((bucket, 50))
    bucket.take(1, START)
    assert budget.try_take(big, START) == NS_PER_S // 10
    assert budget.try_take(big, START + NS_PER_S // 10) == 0
    assert bucket.remaining(START + NS_PER_S // 10) == -30
    assert bucket.wait_ns(1, START + NS_PER_S // 10) == 3_100_000_000


def test_a_cost_known_afterwards_is_owed_and_repaid_at_the_rate() -> None:
    bucket = TokenBucket(80, 120, debt_max=100_000)
    bucket.take(501, START)
    assert bucket.remaining(START) == -381
    assert bucket.wait_ns(1, START) == 382 * NS_PER_S // 80
    assert bucket.remaining(START + 501 * NS_PER_S // 80) == 120


def test_debt_ends_at_its_limit_however_often_it_is_charged() -> None:
    bucket = TokenBucket(1, 10, debt_max=5)
    for _ in range(3):
        bucket.take(100, START)
    assert bucket.remaining(START) == -5


def test_what_the_venue_says_lowers_and_never_raises() -> None:
    bucket = TokenBucket(1, 10)
    bucket.learn(3, START)
    assert bucket.remaining(START) == 3
    bucket.learn(9, START)
    assert bucket.remaining(START) == 3


def test_a_block_holds_urgent_requests_too_and_then_lets_one_go() -> None:
    bucket = TokenBucket(10, 20, reserve=5)
    bucket.block_until(START + 2 * NS_PER_S, START)
    bucket.block_until(START + NS_PER_S, START)
    assert bucket.wait_ns(1, START, urgent=True) == 2 * NS_PER_S
    assert bucket.wait_ns(1, START) == 2 * NS_PER_S + 5 * NS_PER_S // 10
    assert bucket.remaining(START + 2 * NS_PER_S) == 1


def test_another_size_keeps_what_is_left() -> None:
    bucket = TokenBucket(40, 60)
    bucket.take(50, START)
    bucket.resize(400, 600, START)
    assert bucket.remaining(START) == 10
    assert bucket.remaining(START + NS_PER_S) == 410
    bucket.resize(40, 60, START + NS_PER_S)
    assert bucket.remaining(START + NS_PER_S) == 60


@pytest.mark.parametrize("rates_before_and_after", list(pairwise([40, 800, 3, 40])))
def test_another_size_keeps_a_block(rates_before_and_after: tuple[int, int]) -> None:
    before, after = rates_before_and_after
    bucket = TokenBucket(before, 60, debt_max=10)
    bucket.block_until(START + 10 * NS_PER_S, START)
    bucket.resize(after, 30, START + NS_PER_S)
    assert bucket.wait_ns(1, START + NS_PER_S) == 9 * NS_PER_S


def test_a_bucket_named_twice_is_charged_the_sum() -> None:
    bucket = TokenBucket(1, 10)
    assert charges((bucket, 2), (bucket, 3)) == ((bucket, 5),)


def test_costs_put_together_by_hand_are_given_back_too() -> None:
    """A bucket may occur twice: refused the second time, it is as it was before the first."""
    budget = Budget([TokenBucket(1, 5, name="one"), TokenBucket(1, 3, name="two")])
    one, two = budget.buckets.values()
    budget.take(charges((one, 1), (two, 1)), START)
    before = budget.remaining(START)
    for costs in (((one, 2), (two, 1), (one, 3)), ((one, 2), (two, 3), (one, 1)), ((one, 4), (one, 1))):
        assert budget.try_take(costs, START) == NS_PER_S
        assert budget.remaining(START) == before


def test_what_was_asked_anyway_is_charged_and_waited_for() -> None:
    budget = Budget([TokenBucket(1, 5, name="one")])
    page = charges((budget.buckets["one"], 1))
    for _ in range(10):
        budget.take(page, START)
    assert budget.try_take(page, START) == NS_PER_S


def test_the_tightest_bucket_is_named() -> None:
    budget = Budget([TokenBucket(1, 1, name="slow"), TokenBucket(10, 1, name="fast")])
    both = charges(*((bucket, 1) for bucket in budget.buckets.values()))
    assert budget.tightest(both, START) == ("", 0)
    assert budget.try_take(both, START) == 0
    assert budget.tightest(both, START) == ("slow", NS_PER_S)


@pytest.mark.parametrize(
    ("rate", "burst", "reserve", "debt_max"),
    [(0, 1, 0, 0), ((1, 0), 1, 0, 0), (-1, 1, 0, 0), (1, 0, 0, 0), (1, 5, 5, 0), (1, 5, -1, 0), (1, 5, 0, -1)],
)
def test_a_bucket_that_cannot_be_is_refused(
    rate: int | tuple[int, int], burst: int, reserve: int, debt_max: int
) -> None:
    with pytest.raises(ValueError, match=r"rate|reserve|debt_max"):
        TokenBucket(rate, burst, reserve=reserve, debt_max=debt_max)


def test_a_cost_of_nothing_and_a_name_given_twice_are_refused() -> None:
    bucket = TokenBucket(1, 1, name="one")
    with pytest.raises(ValueError, match="not above 0"):
        charges((bucket, 0))
    with pytest.raises(ValueError, match="'one'"):
        Budget([bucket, TokenBucket(1, 1, name="one")])


def all_charges(limits: PlainLimits) -> list[Charges]:
    of_wallets = [limits.place("w"), limits.place("w", 3), limits.cancel("w", 2), limits.cancel_wallet("w")]
    of_wallets.append(limits.cancel_market("w"))
    reads = [limits.lookup(), limits.open_orders(), limits.trades(), limits.positions(), limits.balances()]
    return [*of_wallets, *reads, limits.heartbeat(), limits.time()]


def test_a_venue_of_unknown_limits_has_one_bucket_for_everything() -> None:
    limits = PlainLimits(10, 20, reserve=5)
    one = limits.place("main")
    assert [limits.try_take(one, START) for _ in range(15)] == [0] * 15
    assert limits.try_take(limits.lookup(), START) == NS_PER_S // 10
    assert limits.try_take(limits.cancel("main"), START, urgent=True) == 0
    assert limits.cancels_free("main", START) == 1
    limits.retry_after(NS_PER_S, START)
    assert limits.cancels_free("main", START) == 0
    assert set(all_charges(limits)) == {one}


def test_rate_0_is_no_limit() -> None:
    limits = PlainLimits(0, 20, cancel_batch_max=1000)
    assert set(all_charges(limits)) == {()}
    assert limits.try_take(limits.place("main"), START) == 0
    assert limits.cancel_batch_max("main") == limits.cancels_free("main", START) == 1000
    limits.retry_after(NS_PER_S, START)
    assert limits.remaining(START) == {}


def test_a_plain_venue_that_refuses_for_rate_is_left_alone() -> None:
    limits = PlainLimits(10, 20)
    limits.retry_after(3 * NS_PER_S, START)
    assert limits.try_take(limits.place("main"), START) == 3 * NS_PER_S
