"""The walk of the book against a share-by-share model, the guard at its boundary, and what market orders sign."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.errors import Refusal
from common.messages import BookView, Level, Place, PlaceAnswer, Refused
from common.reasons import Reason
from common.types import ONE, FeedState, OrderType, Side, TimeInForce
from common.venues.polymarket.fees import taker_fee
from common.venues.polymarket.pinned import decode_pinned
from services.executor.slippage import (
    Walk,
    bound_price,
    check,
    effective_price,
    levels_for,
    slippage_bps,
    slippage_exceeds,
    walk,
    within,
    worst_price,
)
from tests.services.executor.driver import DOWN, MARKET, Driver, view
from tests.services.executor.several_venues import BTC, SPOT_MARKET, Venues, spot_view

BUY, SELL = Side.BUY, Side.SELL
TEN = 10_000_000
SHARE = 1_000_000
BPS = 10_000
TICK = MARKET.tick
FREE = msgspec.structs.replace(MARKET, fee_rate=0)


def levels(prices: list[int], sizes: list[int], side: Side) -> list[Level]:
    ordered = sorted(set(prices), reverse=side is SELL)
    return list(zip(ordered, sizes, strict=False))


@st.composite
def books(draw: st.DrawFn, sides: tuple[Side, ...] = (BUY, SELL)) -> tuple[Side, BookView]:
    """A side and the levels it takes, of whole shares, so that a model can take them one by one."""
    side = draw(st.sampled_from(sides))
    prices = draw(st.lists(st.integers(1, 99).map(lambda ticks: ticks * TICK), max_size=6))
    sizes = draw(st.lists(st.integers(1, 20).map(lambda shares: shares * SHARE), min_size=6, max_size=6))
    offered = levels(prices, sizes, side)
    whole = draw(st.booleans())
    return side, view([], offered, whole=whole) if side is BUY else view(offered, [], whole=whole)


def by_share(side: Side, book: BookView, limit: int, shares: int) -> list[int]:
    """The price of each share that would trade, one after the other."""
    offered = [price for price, size in levels_for(side, book)[0] for _ in range(size // SHARE)]
    return [price for price in offered if within(side, price, limit)][:shares]


def fee_of(prices: list[int]) -> int:
    return sum(
        taker_fee(prices.count(price) * SHARE, price, MARKET.fee_rate, MARKET.fee_exponent) for price in set(prices)
    )


@hypothesis_settings(max_examples=300, deadline=None)
@given(books(), st.integers(1, 120), st.integers(0, 99).map(lambda ticks: ticks * TICK))
def test_a_walk_by_size_takes_what_a_share_by_share_model_takes(
    drawn: tuple[Side, BookView], shares: int, limit: int
) -> None:
    side, book = drawn

    found = walk(side, book, MARKET, limit, size=shares * SHARE)

    taken = by_share(side, book, limit, shares)
    assert (found.size, found.cash, found.fee) == (len(taken) * SHARE, sum(taken), fee_of(taken))
    assert found.worst == (taken[-1] if taken else 0)
    assert found.exhausted is (len(taken) < shares)
    seen, whole = levels_for(side, book)
    beyond = any(not within(side, price, limit) for price, _ in seen)
    assert found.truncated is (found.exhausted and not whole and not beyond)


@hypothesis_settings(max_examples=300, deadline=None)
@given(books((BUY,)), st.integers(1, 60 * ONE), st.integers(0, 99).map(lambda ticks: ticks * TICK))
def test_a_walk_by_money_spends_no_more_and_leaves_less_than_a_micro_of_a_share(
    drawn: tuple[Side, BookView], quote: int, limit: int
) -> None:
    _, book = drawn

    found = walk(BUY, book, MARKET, limit, quote=quote)

    assert found.cash <= quote
    by_size = walk(BUY, book, MARKET, limit, size=found.size) if found.size else Walk(0, 0, 0, 0, 0, True, False)
    assert (found.cash, found.fee) == (by_size.cash, by_size.fee)
    if not found.exhausted:
        one_more = walk(BUY, book, MARKET, limit, size=found.size + 1)
        assert one_more.exhausted or one_more.cash > quote or one_more.cash - found.cash <= 1


@pytest.mark.parametrize(
    ("quote", "shares", "cash"),
    [
        (5_000_000, 10_000_000, 5_000_000),  # exactly the first level: not a micro of the next
        (5_000_001, 10_000_001, 5_000_001),
        (7_550_000, 15_000_000, 7_550_000),
        (10_100_000, 20_000_000, 10_100_000),
        (99_000_000, 20_000_000, 10_100_000),
    ],
)
def test_money_goes_from_level_to_level(quote: int, shares: int, cash: int) -> None:
    found = walk(BUY, view([], [(500_000, TEN), (510_000, TEN)]), FREE, 0, quote=quote)

    assert (found.size, found.cash) == (shares, cash)
    assert found.exhausted is (quote > 10_100_000)  # the last micro may take the last share: nothing is missing


def test_money_that_is_spent_to_the_last_level_of_the_view_asks_for_no_more_of_the_book() -> None:
    cut = view([], [(500_000, TEN)], whole=False)

    assert check(BUY, cut, FREE, 500_000, 50, quote=5_000_000, whole_only=True).size == TEN


@hypothesis_settings(max_examples=200, deadline=None)
@given(books(), st.integers(1, 60))
def test_the_slippage_is_what_exact_fractions_say(drawn: tuple[Side, BookView], shares: int) -> None:
    side, book = drawn
    found = walk(side, book, FREE, 0, size=shares * SHARE)
    assume(found.size)

    paid, best = Fraction(found.cash), Fraction(found.best * (found.size // SHARE))
    bps = max(Fraction(0), (paid - best if side is BUY else best - paid) * BPS / best)

    for limit in (0, 1, int(bps), int(bps) + 1, BPS):
        assert slippage_exceeds(side, found, FREE, limit) is (bps > limit)
    shown = Fraction(slippage_bps(side, found, FREE))
    assert bps <= shown < bps + Fraction(1, 100)


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([BUY, SELL]),
    st.integers(0, BPS),
    st.sampled_from([100, 1_000, 10_000, 100_000]).flatmap(
        lambda tick: st.tuples(st.integers(1, ONE // tick - 1).map(lambda ticks: ticks * tick), st.just(tick))
    ),
)
def test_a_bound_price_is_on_the_grid_and_never_worse_than_the_limit(
    side: Side, max_bps: int, best_and_tick: tuple[int, int]
) -> None:
    best, tick = best_and_tick

    price = bound_price(side, best, max_bps, tick)

    assert price % tick == 0
    assert tick <= price <= ONE - tick
    worst = Fraction(best * (BPS + (max_bps if side is BUY else -max_bps)), BPS)
    if side is BUY:
        assert best <= price <= worst
        assert price + tick > worst or price + tick == ONE
    else:
        assert worst <= price <= best
        assert price - tick < worst or price == tick


# --- the five refusals ---

ASKS = [(500_000, TEN), (510_000, TEN)]
STALE = view([], ASKS, state=FeedState.STALE)


@pytest.mark.parametrize(
    ("book", "price", "size", "code", "field"),
    [
        (None, 510_000, TEN, Reason.BOOK_MISSING, "outcome"),
        (STALE, 510_000, TEN, Reason.STALE_DATA, "outcome"),
        (view([], []), 510_000, TEN, Reason.NO_LIQUIDITY, "price"),
        (view([], [], whole=False), 510_000, TEN, Reason.DEPTH_TRUNCATED, "size"),
        (view([], ASKS), 490_000, TEN, Reason.NO_LIQUIDITY, "price"),
        (view([], ASKS, whole=False), 490_000, TEN, Reason.NO_LIQUIDITY, "price"),
        (view([], ASKS, whole=False), 990_000, 2 * TEN + 1, Reason.DEPTH_TRUNCATED, "size"),
        (view([], ASKS), 990_000, 2 * TEN, Reason.SLIPPAGE_LIMIT, "size"),
    ],
)
def test_each_refusal_has_its_own_code(book: BookView | None, price: int, size: int, code: Reason, field: str) -> None:
    with pytest.raises(Refusal) as caught:
        check(BUY, book, FREE, price, 50, size=size)

    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_level_beyond_the_limit_proves_that_the_limit_ended_the_walk_and_not_the_view() -> None:
    cut = view([], ASKS, whole=False)

    assert walk(BUY, cut, FREE, 500_000, size=2 * TEN).truncated is False
    assert walk(BUY, cut, FREE, 510_000, size=3 * TEN).truncated is True


@pytest.mark.parametrize("whole_only", [True, False])
def test_an_order_for_more_than_stands_within_its_limit_is_refused_when_it_is_all_or_nothing(whole_only: bool) -> None:
    book = view([], ASKS)
    if whole_only:
        with pytest.raises(Refusal, match=r"only 10 shares stand at 0\.5 or better") as caught:
            check(BUY, book, FREE, 500_000, 50, size=TEN + 1, whole_only=True)
        assert caught.value.code is Reason.NO_LIQUIDITY
    else:
        assert check(BUY, book, FREE, 500_000, 50, size=TEN + 1).size == TEN


@pytest.mark.parametrize(
    ("side", "second", "code"),
    [
        # 10 at 0.5 and 10 one step further: the average is half the step away from the best.
        (BUY, 505_000, Reason.OK),
        (BUY, 505_001, Reason.SLIPPAGE_LIMIT),
        (SELL, 495_000, Reason.OK),
        (SELL, 494_999, Reason.SLIPPAGE_LIMIT),
    ],
)
def test_the_boundary_is_exact(side: Side, second: int, code: Reason) -> None:
    offered = [(500_000, TEN), (second, TEN)]
    book = view([], offered) if side is BUY else view(offered, [])
    if code is Reason.OK:
        found = check(side, book, FREE, second, 50, size=2 * TEN)
        assert slippage_bps(side, found, FREE) == "50.00"
        return
    with pytest.raises(Refusal, match=r"50\.01 bps is above 50.*reduce the size") as caught:
        check(side, book, FREE, second, 50, size=2 * TEN)
    assert caught.value.code is code


def test_fees_are_on_both_sides_of_the_comparison() -> None:
    """A fee alone is no slippage: at the best price the order slips by nothing, whatever the fee."""
    found = check(BUY, view([], ASKS), MARKET, 500_000, 1, size=TEN)

    assert found.fee == 175_000
    assert slippage_bps(BUY, found, MARKET) == "0.00"
    assert effective_price(BUY, found) == 517_500


def test_effective_prices_are_rounded_against_the_one_who_trades() -> None:
    assert effective_price(BUY, Walk(3, 1, 0, 1, 1, False, False)) == 333_334
    assert effective_price(SELL, Walk(3, 1, 0, 1, 1, False, False)) == 333_333
    assert effective_price(BUY, Walk(0, 0, 0, 0, 0, True, False)) == 0


def test_an_order_without_a_price_on_an_empty_side_says_whether_the_view_or_the_book_is_empty() -> None:
    for whole, code in ((True, Reason.NO_LIQUIDITY), (False, Reason.DEPTH_TRUNCATED)):
        with pytest.raises(Refusal) as caught:
            worst_price(BUY, view([], [], whole=whole), FREE, 50)
        assert caught.value.code is code


# --- market orders through the core ---


def market(driver: Driver, side: Side = BUY, *, book: BookView | None, **words: object) -> Place | Refused:
    words = {"order_type": OrderType.MARKET, "tif": TimeInForce.FAK, "price": 0, "size": 0, **words}
    answer = driver.place(side=side, view=book, **words)  # type: ignore[arg-type]
    assert isinstance(answer, PlaceAnswer | Refused)
    return answer if isinstance(answer, Refused) else driver.one(Place)


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    side=st.sampled_from([BUY, SELL]),
    best=st.integers(2, 98).map(lambda ticks: ticks * TICK),
    size=st.integers(500, 4_000).map(lambda hundredths: hundredths * 10_000),
    max_bps=st.integers(1, BPS),
    given_ticks=st.integers(0, 5),
)
def test_the_signed_price_of_a_market_order_is_never_worse_than_its_limit(
    side: Side, best: int, size: int, max_bps: int, given_ticks: int
) -> None:
    deep = [(best, 10**12)]
    book = view([], deep) if side is BUY else view(deep, [])
    away = given_ticks * TICK
    price = 0 if not given_ticks else best + away if side is BUY else best - away
    answer = market(Driver(), side, book=book, size=size, max_slippage_bps=max_bps, price=max(0, price))
    if isinstance(answer, Refused):
        assert answer.code in (Reason.BAD_PRICE, Reason.BAD_SIZE, Reason.NOTIONAL_TOO_SMALL)
        return

    signed = decode_pinned(answer.pinned)
    limit = price or bound_price(side, best, max_bps, TICK)
    if side is BUY:
        # A level at exactly the limit must still match, so the ratio may be a hair beyond: never a grid step.
        assert Fraction(signed.maker_amount, signed.taker_amount) < Fraction(limit + 100, ONE)
        assert signed.maker_amount <= limit * size // ONE
    else:
        assert Fraction(signed.taker_amount, signed.maker_amount) > Fraction(limit - 100, ONE)
        assert signed.maker_amount <= size


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    quote=st.integers(1_000_000, 50_000_000),
    best=st.integers(2, 98).map(lambda ticks: ticks * TICK),
    max_bps=st.integers(1, BPS),
)
def test_a_market_order_by_money_never_spends_more_than_that(quote: int, best: int, max_bps: int) -> None:
    answer = market(Driver(), book=view([], [(best, 10**12)]), quote=quote, max_slippage_bps=max_bps)

    assert isinstance(answer, Place), answer
    signed = decode_pinned(answer.pinned)
    assert signed.maker_amount <= quote
    assert quote - signed.maker_amount < 10_000  # money is signed in cents
    limit = bound_price(BUY, best, max_bps, TICK)
    assert Fraction(signed.maker_amount, signed.taker_amount) < Fraction(limit + 100, ONE)


def test_a_market_order_without_a_price_takes_the_settings_limit() -> None:
    driver = Driver(max_slippage_bps=250)
    market(driver, book=view([], [(400_000, 10**9)]), size=TEN)

    assert driver.order().price == 410_000


def test_a_given_price_is_the_limit_however_far_the_slippage_would_allow() -> None:
    driver = Driver()
    place = market(driver, book=view([], [(400_000, 10**9)]), size=TEN, price=400_000, max_slippage_bps=BPS)

    assert isinstance(place, Place)
    assert driver.order().price == 400_000


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_market_order_without_a_live_book_is_refused_and_its_client_id_stays_free(side: Side) -> None:
    driver = Driver()
    good = view([(500_000, 10**9)], [(500_000, 10**9)])
    for book, code in (
        (None, Reason.BOOK_MISSING),
        (view(token_id=DOWN), Reason.BOOK_MISSING),
        (msgspec.structs.replace(good, state=FeedState.STALE), Reason.STALE_DATA),
        (view(), Reason.NO_LIQUIDITY),
        (view(whole=False), Reason.DEPTH_TRUNCATED),
    ):
        answer = market(driver, side, book=book, size=TEN, client_order_id="mine")
        assert isinstance(answer, Refused)
        assert answer.code is code

    assert isinstance(market(driver, side, book=good, size=TEN, client_order_id="mine"), Place)


def test_a_limit_order_is_only_walked_when_it_names_a_slippage() -> None:
    book = view([], [(500_000, TEN), (520_000, TEN)])

    assert isinstance(Driver().place(size=2 * TEN, view=book), PlaceAnswer)
    answer = Driver().place(size=2 * TEN, view=book, max_slippage_bps=50)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.SLIPPAGE_LIMIT, "size")


def test_slippage_above_the_warning_is_logged_and_taken() -> None:
    driver = Driver()
    book = view([], [(500_000, TEN), (503_000, TEN)])
    for size, warnings in ((TEN, 0), (2 * TEN, 1)):
        place = market(driver, book=book, size=size, price=510_000)
        assert isinstance(place, Place)
        assert len(driver.logs("slippage_warning")) == warnings

    # 0.0015 on average on top of 0.5: 30 bps of the price alone, a little less of the price with its fee.
    assert driver.logs("slippage_warning")[0]["slippage_bps"] == "28.98"
    assert driver.core.desk.counts["slippage_warnings"] == 1


def test_what_is_refused_of_a_market_order_names_the_field_that_was_given() -> None:
    book = view([], [(500_000, TEN), (700_000, 10**9)])
    by_size = market(Driver(), book=book, size=5 * TEN, price=700_000)
    by_money = market(Driver(), book=book, quote=30_000_000, price=700_000)

    assert isinstance(by_size, Refused)
    assert isinstance(by_money, Refused)
    assert (by_size.code, by_size.field) == (Reason.SLIPPAGE_LIMIT, "size")
    assert (by_money.code, by_money.field) == (Reason.SLIPPAGE_LIMIT, "quote")


# --- prices above 1 ---


@st.composite
def spot_books(draw: st.DrawFn) -> tuple[Side, BookView]:
    side = draw(st.sampled_from([BUY, SELL]))
    prices = draw(st.lists(st.integers(1, 10**8).map(lambda ticks: ticks * SPOT_MARKET.tick), min_size=1, max_size=6))
    sizes = draw(st.lists(st.integers(1, 10**7).map(lambda steps: steps * 10), min_size=6, max_size=6))
    offered = levels(prices, sizes, side)
    return side, spot_view(asks=offered) if side is BUY else spot_view(bids=offered)


@hypothesis_settings(max_examples=200, deadline=None)
@given(spot_books(), st.integers(1, 6 * 10**7).map(lambda steps: steps * 10))
def test_a_walk_of_a_spot_book_is_exact(drawn: tuple[Side, BookView], size: int) -> None:
    """Each level against us to the micro: what is paid is rounded up, what is received down, and the rate is plain."""
    side, book = drawn

    found = walk(side, book, SPOT_MARKET, 0, size=size)

    left, cash, fee = size, 0, 0
    for price, offered in levels_for(side, book)[0]:
        taken = min(left, offered)
        exact = Fraction(price * taken, ONE)
        cash += -(-exact.numerator // exact.denominator) if side is BUY else exact.numerator // exact.denominator
        rate = exact * SPOT_MARKET.fee_rate / ONE
        fee += -(-rate.numerator // rate.denominator)
        left -= taken
    assert (found.size, found.cash, found.fee) == (size - left, cash, fee)


@hypothesis_settings(max_examples=200, deadline=None)
@given(spot_books(), st.integers(0, BPS))
def test_the_worst_price_of_a_spot_order_is_on_its_grid_and_within_the_limit(
    drawn: tuple[Side, BookView], max_bps: int
) -> None:
    side, book = drawn
    best = levels_for(side, book)[0][0][0]

    price = worst_price(side, book, SPOT_MARKET, max_bps)

    assert price % SPOT_MARKET.tick == 0
    assert 0 < price <= SPOT_MARKET.highest_price
    worst = Fraction(best * (BPS + (max_bps if side is BUY else -max_bps)), BPS)
    assert best <= price <= worst if side is BUY else worst <= price <= best or price == SPOT_MARKET.tick


@pytest.mark.parametrize(("offset", "taken"), [(640_000_000, True), (640_010_000, False)])
def test_the_guard_stands_at_its_boundary_above_1_too(offset: int, taken: bool) -> None:
    """Half of it 640 above 64,000 is 50 bps: one cent more is refused. Without a fee, so that prices alone count."""
    driver = Venues(markets=[msgspec.structs.replace(SPOT_MARKET, fee_rate=0)])
    best = 64_000 * ONE
    book = spot_view(asks=[(best, ONE), (best + offset, ONE)])

    answer = driver.place(
        account="spot",
        venue="",
        market=BTC,
        outcome="",
        price=65_000 * ONE,
        size=2 * ONE,
        max_slippage_bps=50,
        view=book,
    )

    assert isinstance(answer, PlaceAnswer) is taken
    assert taken or (isinstance(answer, Refused) and answer.code is Reason.SLIPPAGE_LIMIT)
