"""Several venues behind one executor: plain orders, spot instruments, prices above 1, and each venue for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import (
    GetAccounts,
    GetPositions,
    Message,
    Place,
    PlaceAnswer,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Refused,
    encode,
)
from common.reasons import Reason
from common.types import FeedState, Lifecycle, Settlement, Side, Status, TimeInForce
from common.types import OrderType as Type
from common.venues.capabilities import CAPABILITIES, VenueKind
from common.venues.plain import PlainOrder, decode_plain
from common.venues.polymarket.pinned import decode_pinned
from services.executor.core import ExecutorCore
from services.executor.positions import unexplained
from tests.services.executor.driver import START, S
from tests.services.executor.several_venues import (
    ACCOUNTS,
    BTC,
    COIN,
    DOLLAR,
    OURS,
    SPOT_MARKET,
    Venues,
    spot_view,
    with_terms,
)

GTC, GTD, FOK, FAK = TimeInForce.GTC, TimeInForce.GTD, TimeInForce.FOK, TimeInForce.FAK
PRICE = 64_000 * DOLLAR


def _refused(answer: Message) -> Refused:
    assert isinstance(answer, Refused), answer
    return answer


def _spot(driver: Venues, **words: object) -> Message:
    terms: dict[str, object] = {"price": PRICE, "size": 1_000, **words}
    return driver.place(account="spot", venue="ccxt", market=BTC, outcome="", **terms)  # type: ignore[arg-type]


# --- what is sent ---


def test_a_plain_order_says_what_was_asked_for() -> None:
    driver = Venues()

    place = driver.spot(side=Side.SELL, price=64_000_010_000, size=12_340, post_only=True)

    assert (place.venue, place.wallet) == ("ccxt", "coins")
    assert decode_plain(place.pinned) == PlainOrder(
        place.venue_order_id, BTC, Side.SELL, Type.LIMIT, GTC, True, 64_000_010_000, 12_340, 0
    )
    order = driver.order()
    assert (order.venue, order.market, order.outcome, order.price, order.size) == (
        "ccxt",
        BTC,
        "BTC/USDT",
        64_000_010_000,
        12_340,
    )


def test_our_exchange_gets_the_same_terms_as_polymarket_without_its_roundings() -> None:
    """FAK amounts are cut to what can be signed on Polymarket; a plain order is said as it is."""
    driver = Venues()
    words: dict[str, Any] = {"price": 330_000, "size": 10_010_000, "tif": FAK}

    signed = decode_pinned(driver.placed(**words).pinned)
    plain = decode_plain(driver.ours(**words).pinned)

    assert (plain.price, plain.size) == (330_000, 10_010_000)
    assert (signed.maker_amount, signed.taker_amount) == (3_300_000, 10_000_000)
    assert [driver.order(f"o-{number}").size for number in (1, 2)] == [10_000_000, 10_010_000]


def test_an_expiry_goes_along_as_it_is() -> None:
    driver = Venues()
    ends = driver.now.wall_ns + 3600 * S

    place = driver.ours(tif=GTD, expire_ns=ends)

    assert decode_plain(place.pinned).expire_ns == ends


@pytest.mark.parametrize(("account", "venue"), [("spot", "polymarket"), ("default", "ccxt"), ("mine", "kraken")])
def test_an_account_trades_on_its_own_venue_only(account: str, venue: str) -> None:
    driver = Venues()

    answer = _refused(driver.place(account=account, venue=venue, market=BTC, outcome=""))

    assert (answer.code, answer.field) == (Reason.UNKNOWN_VENUE, "venue")


@pytest.mark.parametrize("venue", [None, ""])
def test_a_market_of_another_venue_is_unknown(venue: str | None) -> None:
    """The wallet's venue says where a word is looked up."""
    driver = Venues()

    answer = _refused(driver.place(account="spot", venue=venue or "ccxt", market="btc-up"))

    assert (answer.code, answer.field) == (Reason.UNKNOWN_MARKET, "market")


# --- what is refused ---


@pytest.mark.parametrize(
    ("words", "code", "field"),
    [
        ({"price": 0}, Reason.BAD_PRICE, "price"),
        ({"price": -10_000}, Reason.BAD_PRICE, "price"),
        ({"price": 1_000_000_010_000}, Reason.BAD_PRICE, "price"),
        ({"price": 64_000_001_000}, Reason.BAD_TICK, "price"),
        ({"size": 0}, Reason.BAD_SIZE, "size"),
        ({"size": -10}, Reason.BAD_SIZE, "size"),
        ({"size": 1_005}, Reason.BAD_SIZE, "size"),
        ({"size": 10}, Reason.SIZE_TOO_SMALL, "size"),
        ({"size": 10, "tif": FAK}, Reason.SIZE_TOO_SMALL, "size"),
        ({"size": 70}, Reason.NOTIONAL_TOO_SMALL, "size"),
        ({"size": 10**15 + 10}, Reason.BAD_SIZE, "size"),
        ({"size": 10**15}, Reason.BAD_SIZE, "size"),
        ({"tif": GTD, "expire_ns": START + 3600 * S}, Reason.UNSUPPORTED, "tif"),
        ({"tif": FAK, "post_only": True}, Reason.BAD_POST_ONLY, "post_only"),
        ({"order_type": Type.MARKET, "tif": GTC}, Reason.BAD_TIF, "tif"),
        ({"order_type": Type.MARKET, "tif": FAK, "size": 0, "quote": 4_000_000}, Reason.NOTIONAL_TOO_SMALL, "quote"),
    ],
)
@pytest.mark.parametrize("checked", [True, False])
def test_what_a_spot_venue_could_not_take_is_refused(
    words: dict[str, object], code: Reason, field: str, checked: bool
) -> None:
    """Each with a code and the field, and nothing is journaled as accepted; what 64 bits or the venue could not hold
    is refused even where validation is switched off."""
    driver = Venues(enable_validation=checked)

    answer = _spot(driver, **words)

    if not checked and isinstance(answer, PlaceAnswer):
        assert code in (Reason.BAD_POST_ONLY, Reason.BAD_TIF, Reason.BAD_SIZE)  # the venue may say so itself
        assert words.get("size", 0) in (0, 1_005)
        return
    assert isinstance(answer, Refused)
    if checked:
        assert (answer.code, answer.field) == (code, field)
    assert driver.core.desk.counts.get("places_accepted", 0) == 0


@pytest.mark.parametrize(
    ("lacking", "words", "field"),
    [
        ({"fok": False}, {"tif": FOK}, "tif"),
        ({"gtd": False}, {"tif": GTD, "expire_ns": START + 3600 * S}, "tif"),
        ({"post_only": False}, {"post_only": True}, "post_only"),
    ],
)
def test_what_a_kind_of_venue_cannot_do_is_refused_with_its_field(
    monkeypatch: pytest.MonkeyPatch, lacking: dict[str, bool], words: dict[str, object], field: str
) -> None:
    can = msgspec.structs.replace(CAPABILITIES[VenueKind.CCXT], gtd=True)
    monkeypatch.setitem(CAPABILITIES, VenueKind.CCXT, can)
    assert isinstance(_spot(Venues(), **words), PlaceAnswer)

    monkeypatch.setitem(CAPABILITIES, VenueKind.CCXT, msgspec.structs.replace(can, **lacking))
    answer = _refused(_spot(Venues(), **words))

    assert (answer.code, answer.field) == (Reason.UNSUPPORTED, field)


def test_the_nearest_price_and_size_are_named() -> None:
    driver = Venues()

    off_tick = _refused(_spot(driver, price=64_000_001_000))
    off_step = _refused(_spot(driver, size=1_005))

    assert "64000 or 64000.01" in off_tick.text
    assert "0.001 or 0.00101" in off_step.text


def test_our_exchange_has_polymarkets_minimums() -> None:
    driver = Venues()

    def refused(**words: object) -> Reason:
        return _refused(driver.place(account="mine", venue="", market=OURS.slug, **words)).code  # type: ignore[arg-type]

    assert refused(size=4_990_000) is Reason.SIZE_TOO_SMALL
    assert refused(size=1_000_000, tif=FAK) is Reason.NOTIONAL_TOO_SMALL
    assert refused(size=10_001_000) is Reason.BAD_SIZE
    assert refused(price=1_000_000) is Reason.BAD_PRICE
    assert refused(outcome="") is Reason.UNKNOWN_OUTCOME


# --- market orders ---


def test_a_market_order_carries_its_worst_price() -> None:
    driver = Venues()
    view = spot_view(asks=[(PRICE, COIN), (PRICE + 10_000, COIN)])

    place = driver.spot(order_type=Type.MARKET, tif=FAK, price=0, view=view)

    assert decode_plain(place.pinned).price == 64_320 * DOLLAR  # 50 bps above the best ask


def test_money_buys_what_it_can_pay_at_the_worst_price() -> None:
    """Only shares can be said: all of them at the worst price cost no more than the money."""
    driver = Venues()
    view = spot_view(asks=[(PRICE, COIN)])

    place = driver.spot(order_type=Type.MARKET, tif=FAK, price=0, size=0, quote=100 * DOLLAR, view=view)

    said = decode_plain(place.pinned)
    assert (said.price, said.size) == (64_320 * DOLLAR, 1_550)
    assert driver.order().quote == 100 * DOLLAR
    assert driver.account("spot").reserved <= 100 * DOLLAR + 100_000  # and the fee


@given(
    quote=st.integers(5_000_000, 10**12),
    tick=st.sampled_from([1, 10, 10_000, 37]),
    step=st.sampled_from([1, 10, 10_000, 1_000_000]),
    steps=st.integers(1, 10**7),
)
@settings(max_examples=60, deadline=None)
def test_an_order_given_in_money_never_costs_more(quote: int, tick: int, step: int, steps: int) -> None:
    market = with_terms(SPOT_MARKET, tick=tick, size_step=step, min_size=0, min_notional=0, price_max=0)
    driver = Venues(markets=[market])
    price = steps * tick
    view = spot_view(asks=[(price, 10**15)])

    answer = _spot(driver, order_type=Type.MARKET, tif=FAK, price=price, size=0, quote=quote, view=view)

    if isinstance(answer, Refused):
        assert answer.code is Reason.BAD_SIZE or price * step > quote * COIN
        return
    said = decode_plain(driver.one(Place).pinned)
    assert 0 < said.size * said.price <= quote * COIN
    assert (said.size + step) * said.price > quote * COIN
    assert (said.size % step, said.price % tick) == (0, 0)


# --- fills ---


def test_a_spot_order_ends_filled_and_confirmed_with_its_first_trade() -> None:
    driver = Venues()
    place = driver.spot()
    driver.result(place)

    driver.spot_fill(place, 1_000, PRICE, settlement=Settlement.CONFIRMED)

    order = driver.order()
    assert (order.status, order.lifecycle, order.avg_price) == (Status.FILLED, Lifecycle.CONFIRMED, PRICE)
    assert order.confirmed_ns == driver.now.wall_ns
    (fill,) = order.fills
    assert (fill.cash, fill.fee, fill.outcome) == (64 * DOLLAR, 64_000, "BTC/USDT")
    assert driver.core.desk.positions.size("spot", BTC) == 1_000


def test_an_order_of_our_exchange_settles_stage_by_stage() -> None:
    driver = Venues()
    place = driver.ours()
    token = OURS.token_ids[0]
    driver.result(place, status="matched", making=5_200_000, taking=10_000_000)

    seen = []
    for stage in (Settlement.MATCHED, Settlement.MINED, Settlement.CONFIRMED):
        driver.spot_fill(place, 10_000_000, 520_000, venue="exchange", token_id=token, settlement=stage)
        seen.append((driver.order().status, driver.order().lifecycle))

    assert seen == [
        (Status.FILLED, Lifecycle.MATCHED),
        (Status.FILLED, Lifecycle.MINED),
        (Status.FILLED, Lifecycle.CONFIRMED),
    ]


def test_a_maker_pays_no_fee_and_a_taker_the_plain_rate_rounded_up() -> None:
    driver = Venues()
    place = driver.spot(size=100)

    driver.spot_fill(place, 80, PRICE, trade_id="t-1", is_taker=False)
    driver.spot_fill(place, 20, PRICE + 10_000, trade_id="t-2", is_taker=True)

    by_trade = {fill.trade_id: fill.fee for fill in driver.order().fills}
    assert by_trade == {"t-1": 0, "t-2": 1_281}  # 1.2800002 at 0.1 % is 0.0012800002


def test_on_a_spot_venue_every_micro_counts() -> None:
    """Polymarket leaves a hundredth of a share of an order it calls matched: of a coin that would be a fortune."""
    driver = Venues()
    place = driver.spot()
    driver.result(place)
    driver.spot_fill(place, 990, PRICE)

    driver.event(place, "UPDATE", "MATCHED", 990)
    assert driver.order().status is Status.PARTIALLY_FILLED

    driver.event(place, "UPDATE", "MATCHED", 1_000)
    assert driver.order().status is Status.FILLED
    assert driver.core.desk.oms.unsettled()[0].fills_missing, "ten micros were not told yet"
    driver.wait(1_000)
    assert driver.one(QueryTrades).venue == "ccxt"


@pytest.mark.parametrize(
    ("venue", "price", "cash", "taken"),
    [
        ("ccxt", PRICE, None, True),
        ("ccxt", 10**16, 1, True),
        ("ccxt", 10**16 + 1, 1, False),
        ("ccxt", PRICE, 10**15 + 1, False),
        ("ccxt", -1, 1, False),
        ("exchange", 1_000_000, None, True),
        ("exchange", 1_000_001, None, False),
        ("exchange", 500_000, 1_001, False),
    ],
)
def test_what_cannot_be_a_trade_is_not_booked(venue: str, price: int, cash: int | None, taken: bool) -> None:
    """Of binary markets nothing costs more than 1; of others nothing that sums of 64 bits could not hold."""
    driver = Venues()
    place = driver.spot() if venue == "ccxt" else driver.ours()
    token = BTC if venue == "ccxt" else OURS.token_ids[0]

    driver.spot_fill(place, 1_000 if price <= PRICE else 10, price, cash=cash, venue=venue, token_id=token)

    assert len(driver.order().fills) == taken
    assert driver.core.desk.counts.get("fills_unreadable", 0) == (not taken)
    driver.core.dump()
    encode(driver.core.query(GetPositions("q"), driver.now)[0])


# --- money and coins ---


def _reconciled(driver: Venues, cash: int, coins: int = 0) -> None:
    """A full round of the spot wallet in which its venue has this much of both."""
    driver.reconcile("coins")
    driver.wait(1)
    (held,), (money,) = driver.of(QueryPositions), driver.of(QueryBalances)
    (opened,), (traded,) = driver.of(QueryOpenOrders), driver.of(QueryTrades)
    driver.balances(money, cash)
    driver.holdings(held, {BTC: coins})
    driver.open_orders(opened)
    driver.trades(traded)


@given(
    trades=st.lists(
        st.tuples(
            st.sampled_from(Side),
            st.integers(1, 10_000_000).map(lambda ticks: ticks * 10_000),
            st.integers(1, 100_000).map(lambda steps: steps * 10),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_money_and_coins_are_conserved_to_the_last_micro(trades: list[tuple[Side, int, int, bool]]) -> None:
    """However it is bought and sold: cash moved by exactly what was paid and received, fees included, and closing
    everything turns all of it into realised profit."""
    market = with_terms(SPOT_MARKET, min_size=0, min_notional=0)
    driver = Venues(markets=[market], enable_risk_checks=False)
    start = 10**14
    _reconciled(driver, start)
    held = sum(size if side is Side.BUY else -size for side, _, size, _ in trades)
    if held:
        trades = [*trades, (Side.SELL if held > 0 else Side.BUY, PRICE, abs(held), True)]

    for number, (side, price, size, is_taker) in enumerate(trades):
        place = driver.spot(side=side, price=price, size=size)
        driver.spot_fill(place, size, price, side=side, trade_id=f"t-{number}", is_taker=is_taker)

    (position,) = driver.core.desk.positions.views("spot")
    account = driver.account("spot")
    assert (position.size, position.cost) == (0, 0)
    assert account.cash is not None
    assert account.cash - start == account.realised - account.fees
    assert account.reserved == 0
    assert unexplained(driver.core.desk.positions, driver.fills()) == []
    assert all(fill.fee == (0 if not fill.is_taker else -(-fill.price * fill.size // 10**9)) for fill in driver.fills())


def test_a_buy_reserves_its_worst_price_and_fee_and_a_sell_its_coins() -> None:
    driver = Venues()
    _reconciled(driver, 1_000 * DOLLAR)

    driver.spot("buy")
    assert driver.account("spot").reserved == 64_064_000
    driver.spot("maker", post_only=True)
    assert driver.account("spot").reserved == 64_064_000 + 64_000_000

    answer = _refused(_spot(driver, size=14_000))
    assert (answer.code, answer.field) == (Reason.INSUFFICIENT_CASH, "size")


def test_coins_that_are_not_there_cannot_be_offered() -> None:
    """Where the venue tells holdings, those from before count too: they are booked to the wallet, to the last step."""
    driver = Venues()
    _reconciled(driver, 10**12, coins=5_000)  # less than the tolerance of 0.01, and yet 320 dollars
    assert driver.core.desk.positions.size("external:coins", BTC) == 0
    driver.wait(61_000)
    _reconciled(driver, 10**12, coins=5_000)  # said twice, it is believed
    driver.wait(61_000)
    _reconciled(driver, 10**12, coins=5_000)

    assert driver.core.desk.positions.size("external:coins", BTC) == 5_000
    answer = _refused(_spot(driver, side=Side.SELL, size=5_010))
    assert (answer.code, answer.field) == (Reason.INSUFFICIENT_SHARES, "size")
    assert isinstance(_spot(driver, side=Side.SELL, size=5_000), PlaceAnswer)


def test_a_venue_without_positions_is_not_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the venue decides about sells; all the others are asked as ever."""
    without = msgspec.structs.replace(CAPABILITIES[VenueKind.CCXT], positions=False)
    monkeypatch.setitem(CAPABILITIES, VenueKind.CCXT, without)
    driver = Venues()

    driver.reconcile()
    driver.wait(1)

    assert sorted(query.venue for query in driver.of(QueryPositions)) == ["exchange", "polymarket"]
    assert sorted(query.venue for query in driver.of(QueryBalances)) == ["ccxt", "exchange", "polymarket"]
    assert isinstance(_spot(driver, side=Side.SELL), PlaceAnswer)


# --- unknown outcomes ---


@pytest.mark.parametrize(
    ("place", "believed", "resent"),
    [
        (Venues.placed, "forever", True),
        (Venues.placed, "while_open", False),
        (Venues.placed, "never", False),
        (Venues.ours, "forever", True),
        (Venues.ours, "never", True),
        (Venues.spot, "forever", False),
    ],
)
def test_only_a_venue_that_refuses_an_id_for_ever_is_sent_the_same_bytes_again(
    place: Callable[[Venues], Place], believed: str, resent: bool
) -> None:
    driver = Venues(polymarket={"duplicate_refused": believed})
    first = place(driver)
    driver.unknown(first)
    driver.wait(500)

    driver.not_found(driver.one(QueryOrder))

    again = driver.of(Place)
    assert [row.pinned for row in again] == ([first.pinned] if resent else [])
    if resent:
        return
    for _ in range(20):
        driver.wait(10_000)
        for query in driver.of(QueryOrder):
            driver.not_found(query)
    order = driver.order()
    assert (order.status, order.reject_reason) == (Status.REJECTED, Reason.NOT_ACCEPTED.value)
    assert len(driver.of(Place, driver.all)) == 1


# --- each venue for itself ---


def test_a_gap_at_one_venue_holds_up_no_other() -> None:
    driver = Venues()

    driver.feed_of("ccxt", FeedState.STALE)

    answer = _refused(_spot(driver))
    assert answer.code is Reason.FEED_GAP
    assert driver.placed().venue == "polymarket"
    assert driver.ours().venue == "exchange"
    driver.feed_of("ccxt", FeedState.LIVE)
    driver.catch_up()
    assert driver.spot().venue == "ccxt"


def test_orders_on_several_venues_do_not_touch_each_other() -> None:
    """Interleaved: ids, numbers, cancels, news and money each stay with their venue, also over a restart."""
    driver = Venues()
    places = [(driver.placed, driver.ours, driver.spot)[turn % 3]() for turn in range(9)]
    for place in places:
        driver.result(place)
    assert [place.venue for place in places] == ["polymarket", "exchange", "ccxt"] * 3
    assert len({place.venue_order_id for place in places}) == 9

    driver.spot_fill(places[2], 1_000, PRICE)
    driver.cancel_all(account="mine")

    statuses = [driver.order(f"o-{number}").status for number in range(1, 10)]
    spot = [Status.FILLED, Status.WORKING, Status.WORKING]
    assert statuses == [status for last in spot for status in (Status.WORKING, Status.CANCELLING, last)]
    assert {driver.account(name).open_orders for name in ("default", "mine")} == {3}
    assert driver.account("spot").open_orders == 2

    core = ExecutorCore()
    core.load(driver.core.dump())
    assert core.state_hash() == driver.core.state_hash()
    assert [core.desk.commitments.account(name).cash for name in ACCOUNTS.values()] == [
        driver.core.desk.commitments.account(name).cash for name in ACCOUNTS.values()
    ]


def test_the_same_inputs_give_the_same_state_and_effects() -> None:
    driver = Venues()
    for turn in range(6):
        place = (driver.placed, driver.ours, driver.spot)[turn % 3]()
        driver.result(place)
        driver.wait(10)

    core = ExecutorCore()
    effects = [effect for message, origin, now in driver.inputs for effect in core.handle(message, origin, now)]

    assert effects == driver.all
    assert core.state_hash() == driver.core.state_hash()


def test_a_checkpoint_from_before_there_were_other_venues_loads() -> None:
    """It lacks the setting; markets, orders and wallets are as they were."""
    driver = Venues()
    driver.placed()
    state = msgspec.msgpack.decode(driver.core.dump())
    config = next(part for part in state if isinstance(part, dict) and "polymarket" in part)
    del config["polymarket"]["duplicate_refused"]

    core = ExecutorCore()
    core.load(msgspec.msgpack.encode(state))

    assert core.state_hash() == driver.core.state_hash()
    assert core.desk.config.may_resend("polymarket")


# --- 64 bits ---


@given(
    price=st.one_of(st.integers(1, 10**16), st.integers(10**15, 10**16)),
    size=st.integers(1, 10**15),
    side=st.sampled_from(Side),
    tif=st.sampled_from([GTC, FAK]),
)
@settings(max_examples=80, deadline=None)
def test_whatever_is_taken_can_be_kept_and_shown(price: int, size: int, side: Side, tif: TimeInForce) -> None:
    """The largest orders and their fills fit the journal, the checkpoint and every answer."""
    market = with_terms(SPOT_MARKET, tick=1, size_step=1, min_size=0, min_notional=0, price_max=0, fee_rate=1_000_000)
    driver = Venues(markets=[market], policies=[{"type": "InventoryLimit", "max_value_usd": "9000000000"}])

    answer = _spot(driver, price=price, size=size, side=side, tif=tif)

    encode(answer)
    if price * size > 10**21:
        assert _refused(answer).code in (Reason.BAD_SIZE, Reason.INVENTORY_LIMIT)
    if isinstance(answer, PlaceAnswer):
        driver.spot_fill(driver.one(Place), size, price, side=side)
        driver.core.load(driver.core.dump())
        encode(driver.core.query(GetPositions("q"), driver.now)[0])
        encode(driver.core.query(GetAccounts("q"), driver.now)[0])


def test_the_ids_of_two_journals_differ_although_both_begin_with_order_1() -> None:
    first, second = Venues(), Venues()
    second.wait(1)

    ids = {first.spot().venue_order_id, second.spot().venue_order_id}

    assert len(ids) == 2
