"""The offline venue's matching: price, time, filters, money. What it would say wrong, our client would believe."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.venues.binance.seed import BTC, TRADER, seeded_venue
from common.venues.binance.spot import Account, SpotVenue, Symbol
from common.venues.binance.wire import UNIT, Denied, decimal, product, text_of

RICH = {"USDT": 1_000_000 * UNIT, "BTC": 1_000 * UNIT}
Step = tuple[bool, str, int, int, str, bool]
ILLEGAL = r"Illegal characters found in parameter 'price'; legal range is '^([0-9]{1,20})(\.[0-9]{1,20})?$'."


class House:
    """Two accounts and an empty book."""

    def __init__(self, commission: int = 0, orders_max: int = 200) -> None:
        self.venue = SpotVenue([Symbol("BTC", "USDT", UNIT // 100, UNIT // 100_000, orders_max=orders_max)])
        self.ann = self.venue.open_account("ann", RICH, commission)
        self.bob = self.venue.open_account("bob", RICH, commission)
        self.now_ms = 1_000

    def order(self, account: Account, side: str, price: str, quantity: str, **more: str) -> dict[str, object]:
        self.now_ms += 1
        params = {"symbol": "BTCUSDT", "side": side, "type": "LIMIT", "timeInForce": "GTC"}
        params |= {"price": price, "quantity": quantity} | more
        return self.venue.new_order(account, {name: text for name, text in params.items() if text}, self.now_ms)

    def denied(self, account: Account, side: str, price: str, quantity: str, **more: str) -> tuple[int, str]:
        with pytest.raises(Denied) as refused:
            self.order(account, side, price, quantity, **more)
        return refused.value.code, refused.value.text

    def depth(self) -> tuple[object, object]:
        book = self.venue.depth({"symbol": "BTCUSDT"})
        return book["bids"], book["asks"]

    def ids(self, account: Account) -> list[object]:
        return [row["clientOrderId"] for row in self.venue.open_orders(account, {})]


def test_the_best_price_is_met_first_and_at_one_price_the_oldest() -> None:
    house = House()
    for name, price in (("late-best", "99"), ("first", "100"), ("second", "100")):
        house.order(house.bob, "SELL", price, "1", newClientOrderId=name)
    made = house.order(house.ann, "BUY", "100", "2.5")
    fills = made["fills"]
    assert isinstance(fills, list)
    assert [(fill["price"], fill["qty"]) for fill in fills] == [
        ("99.00000000", "1.00000000"),
        ("100.00000000", "1.00000000"),
        ("100.00000000", "0.50000000"),
    ]
    assert (made["status"], made["cummulativeQuoteQty"]) == ("FILLED", "249.00000000")
    assert house.ids(house.bob) == ["second"]
    assert house.depth() == ([], [["100.00000000", "0.50000000"]])


@pytest.mark.parametrize(
    ("tif", "status", "executed", "rests"),
    [
        ("GTC", "PARTIALLY_FILLED", "1.00000000", 1),
        ("IOC", "EXPIRED", "1.00000000", 0),
        ("FOK", "EXPIRED", "0.00000000", 0),
    ],
)
def test_what_is_left_of_an_order(tif: str, status: str, executed: str, rests: int) -> None:
    house = House()
    house.order(house.bob, "SELL", "100", "1")
    made = house.order(house.ann, "BUY", "100", "3", timeInForce=tif)
    assert (made["status"], made["executedQty"]) == (status, executed)
    assert len(house.ids(house.ann)) == rests
    locked = 200 * UNIT if rests else 0
    assert house.ann.of("USDT").locked == locked


def test_a_maker_only_order_never_takes_and_a_market_order_never_rests() -> None:
    house = House()
    house.order(house.bob, "SELL", "100", "1")
    told = house.denied(house.ann, "BUY", "100", "1", type="LIMIT_MAKER", timeInForce="")
    assert told == (-2010, "Order would immediately match and take.")
    rests = house.order(house.ann, "BUY", "99", "1", type="LIMIT_MAKER", timeInForce="")
    assert rests["status"] == "NEW"
    market = house.order(house.ann, "BUY", "", "2", type="MARKET", timeInForce="")
    assert (market["status"], market["executedQty"]) == ("EXPIRED", "1.00000000")
    house.order(house.bob, "SELL", "100", "1")
    spent = house.order(house.ann, "BUY", "", "", type="MARKET", timeInForce="", quoteOrderQty="50.001")
    assert (spent["status"], spent["executedQty"]) == ("FILLED", "0.50001000")


def test_an_order_never_meets_its_owner() -> None:
    house = House()
    house.order(house.ann, "SELL", "100", "1", newClientOrderId="own")
    house.order(house.bob, "SELL", "100", "1")
    made = house.order(house.ann, "BUY", "100", "1")
    assert made["status"] == "FILLED"
    own = house.venue.get_order(house.ann, {"symbol": "BTCUSDT", "origClientOrderId": "own"})
    assert (own["status"], house.ann.of("BTC").locked) == ("EXPIRED_IN_MATCH", 0)


def test_an_id_is_refused_while_its_order_is_open_and_taken_again_after_that() -> None:
    house = House()
    house.order(house.ann, "BUY", "100", "1", newClientOrderId="one")
    assert house.denied(house.ann, "BUY", "100", "1", newClientOrderId="one") == (-2010, "Duplicate order sent.")
    house.order(house.bob, "BUY", "100", "1", newClientOrderId="one")
    house.venue.cancel_order(house.ann, {"symbol": "BTCUSDT", "origClientOrderId": "one"}, 2_000)
    assert house.order(house.ann, "BUY", "90", "1", newClientOrderId="one")["status"] == "NEW"


def test_the_filters_refuse_before_anything_is_reserved() -> None:
    house = House(orders_max=1)
    rows = [
        (("BUY", "100.001", "1"), (-1013, "Filter failure: PRICE_FILTER")),
        (("BUY", "2000000", "1"), (-1013, "Filter failure: PRICE_FILTER")),
        (("BUY", "100", "0.000001"), (-1013, "Filter failure: NOTIONAL")),
        (("BUY", "100", "1.000001"), (-1013, "Filter failure: LOT_SIZE")),
        (("BUY", "100", "10000"), (-1013, "Filter failure: LOT_SIZE")),
        (("BUY", "100", "0.04"), (-1013, "Filter failure: NOTIONAL")),
        (("BUY", "90000", "1000"), (-2010, "Account has insufficient balance for requested action.")),
        (("SELL", "100", "1001"), (-2010, "Account has insufficient balance for requested action.")),
        (("HOLD", "100", "1"), (-1117, "Invalid side.")),
        (("BUY", "1e2", "1"), (-1100, ILLEGAL)),
        (("BUY", "100.000000001", "1"), (-1111, "Parameter 'price' has too much precision.")),
        (("BUY", "", "1"), (-1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed.")),
    ]  # fmt: skip
    for (side, price, quantity), told in rows:
        assert house.denied(house.ann, side, price, quantity) == told
    assert (house.ann.of("USDT").locked, house.ids(house.ann)) == (0, [])
    assert house.denied(house.ann, "BUY", "100", "1", symbol="NOPE") == (-1121, "Invalid symbol.")
    assert house.denied(house.ann, "BUY", "100", "1", timeInForce="DAY") == (-1115, "Invalid timeInForce.")
    assert house.denied(house.ann, "BUY", "100", "1", type="STOP") == (-1116, "Invalid orderType.")
    assert house.denied(house.ann, "BUY", "100", "1", newClientOrderId="a b")[0] == -1100
    house.order(house.ann, "BUY", "100", "1")
    assert house.denied(house.ann, "BUY", "100", "1") == (-1013, "Filter failure: MAX_NUM_ORDERS")


def test_what_is_not_there_or_over_or_somebody_elses_is_unknown() -> None:
    house = House()
    house.order(house.ann, "BUY", "100", "1", newClientOrderId="one")
    named = {"symbol": "BTCUSDT", "origClientOrderId": "one"}
    order_id = str(house.venue.get_order(house.ann, named)["orderId"])
    by_key = {"symbol": "BTCUSDT", "orderId": order_id}
    for params in (named, by_key):
        with pytest.raises(Denied, match="-2013: Order does not exist"):
            house.venue.get_order(house.bob, params)
    house.venue.cancel_order(house.ann, by_key, 2_000)
    with pytest.raises(Denied, match="-2011: Unknown order sent"):
        house.venue.cancel_order(house.ann, named, 2_000)
    assert house.venue.get_order(house.ann, named)["status"] == "CANCELED"
    with pytest.raises(Denied, match="-1102"):
        house.venue.get_order(house.ann, {"symbol": "BTCUSDT"})


def test_own_trades_page_by_number_and_by_time() -> None:
    house = House()
    for _ in range(5):
        house.order(house.bob, "SELL", "100", "1")
        house.order(house.ann, "BUY", "100", "1")
    every = house.venue.my_trades(house.ann, {"symbol": "BTCUSDT"})
    numbers = [int(str(row["id"])) for row in every]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 5

    def page(**params: object) -> list[int]:
        asked = {"symbol": "BTCUSDT"} | {name: str(value) for name, value in params.items()}
        return [int(str(row["id"])) for row in house.venue.my_trades(house.ann, asked)]

    assert page(limit=2) == numbers[-2:]
    assert page(fromId=numbers[1], limit=2) == numbers[1:3]
    assert page(startTime=every[3]["time"]) == numbers[3:]
    assert page(startTime=every[1]["time"], endTime=every[2]["time"]) == numbers[1:3]
    with pytest.raises(Denied, match="-1127"):
        page(startTime=1, endTime=100_000_000)
    assert {(row["isBuyer"], row["isMaker"]) for row in every} == {(True, False)}


orders = st.tuples(
    st.booleans(),
    st.sampled_from(["BUY", "SELL"]),
    st.integers(95, 105),
    st.integers(10, 30_000),
    st.sampled_from(["GTC", "IOC", "FOK"]),
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(orders, max_size=40))
def test_nothing_is_made_or_lost_and_what_is_locked_is_what_is_open(steps: list[Step]) -> None:
    house = House(commission=UNIT // 1000)
    refusals: set[str] = set()
    for is_ann, side, price, centi, tif, cancels in steps:
        account = house.ann if is_ann else house.bob
        try:
            house.order(account, side, str(price), f"{centi / 100:.2f}", timeInForce=tif)
        except Denied as denied:
            refusals.add(denied.text)
        mine = house.ids(account)
        if cancels and mine:
            house.venue.cancel_order(account, {"symbol": "BTCUSDT", "origClientOrderId": str(mine[0])}, house.now_ms)
    assert refusals <= {"Account has insufficient balance for requested action."}
    market = house.venue.markets["BTCUSDT"]
    fees = {"BTC": sum(t.buyer_fee for t in market.trades), "USDT": sum(t.seller_fee for t in market.trades)}
    for asset, given_each in RICH.items():
        held = sum(account.of(asset).free + account.of(asset).locked for account in (house.ann, house.bob))
        assert held + fees[asset] == 2 * given_each
    for account in (house.ann, house.bob):
        open_now = [o for o in market.orders.values() if o.account is account and o.is_open]
        bids = sum(product(o.price, o.remaining) for o in open_now if o.side == "BUY")
        asks = sum(o.remaining for o in open_now if o.side == "SELL")
        assert (account.of("USDT").locked, account.of("BTC").locked) == (bids, asks)
        assert min(b.free for b in account.balances.values()) >= 0
    assert not (market.sides["BUY"] and market.sides["SELL"]) or (
        market.sides["BUY"][0].price < market.sides["SELL"][0].price
    )


@given(st.integers(0, 10**16))
def test_numbers_are_written_as_they_are_read(units: int) -> None:
    assert decimal({"price": text_of(units)}, "price") == units


def test_the_seeded_venue_has_two_sided_books_and_a_trader_with_money() -> None:
    venue = seeded_venue(1_000)
    assert all(market.sides["BUY"] and market.sides["SELL"] for market in venue.markets.values())
    assert venue.accounts[TRADER].of("USDT").free == 100_000 * UNIT
    assert venue.markets["BTCUSDT"].symbol is BTC
