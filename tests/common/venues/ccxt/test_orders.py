"""Orders, trades, balances and books between ccxt's words and ours: exact, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import ConfigError, Refusal
from common.reasons import Reason
from common.types import OrderType, Settlement, Side, TimeInForce
from common.venues.ccxt.books import sides_of
from common.venues.ccxt.credentials import parse_api_credentials
from common.venues.ccxt.dialects import dialect_of
from common.venues.ccxt.markets import market_of
from common.venues.ccxt.names import OrderNames
from common.venues.ccxt.orders import fill_of, held_of, own_trade, seen_order, ticket_of, trade_number
from common.venues.plain import PlainOrder
from tests.common.venues.ccxt.test_markets import fields

MARKET = market_of("bn", fields())


def plain(**changes: Any) -> PlainOrder:
    given: dict[str, Any] = {
        "venue_order_id": "pe-1",
        "token_id": "bn:BTC/USDT",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "tif": TimeInForce.GTC,
        "post_only": False,
        "price": 60_000_010_000,
        "size": 12_340,
    }
    return PlainOrder(**given | changes)


def shown(**changes: Any) -> dict[str, Any]:
    order = {"id": "7", "clientOrderId": "pe-1", "timestamp": 1_700_000_000_123, "status": "open", "side": "buy"}
    amounts = {"price": "60000.01000000", "amount": "0.01234000", "filled": "0.00000000", "cost": "0.00000000"}
    return order | {"timeInForce": "GTC", "trades": []} | amounts | changes


def test_a_ticket_has_exact_text_and_our_id() -> None:
    ticket = ticket_of(plain(), MARKET)
    assert ticket[:4] == ("BTC/USDT", "buy", "0.01234", "60000.01")
    assert ticket.params == {"clientOrderId": "pe-1", "timeInForce": "GTC"}


@pytest.mark.parametrize(
    ("changes", "params"),
    [
        ({"tif": TimeInForce.FAK}, {"timeInForce": "IOC"}),
        ({"tif": TimeInForce.FOK}, {"timeInForce": "FOK"}),
        ({"post_only": True}, {"postOnly": True}),
        ({"order_type": OrderType.MARKET, "tif": TimeInForce.FAK}, {"timeInForce": "IOC"}),
    ],
)
def test_how_long_an_order_lives_is_said_in_the_venues_words(changes: dict[str, Any], params: dict[str, Any]) -> None:
    assert ticket_of(plain(**changes), MARKET).params == {"clientOrderId": "pe-1"} | params


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"price": 60_000_015_000}, Reason.BAD_TICK, "price"),
        ({"price": 0}, Reason.BAD_TICK, "price"),
        ({"size": 12_345}, Reason.BAD_SIZE, "size"),
        ({"size": 0}, Reason.BAD_SIZE, "size"),
        ({"tif": TimeInForce.GTD}, Reason.BAD_TIF, "tif"),
        ({"tif": TimeInForce.FOK, "post_only": True}, Reason.BAD_POST_ONLY, "post_only"),
    ],
)
def test_nothing_is_rounded_on_the_way(changes: dict[str, Any], code: Reason, field: str) -> None:
    with pytest.raises(Refusal) as refused:
        ticket_of(plain(**changes), MARKET)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize(
    ("word", "tif", "status"),
    [
        ("open", "GTC", "LIVE"),
        ("canceling", "GTC", "LIVE"),
        ("closed", "IOC", "MATCHED"),
        ("canceled", "GTC", "CANCELED"),
        ("expired", "GTC", "EXPIRED"),
        ("expired", "IOC", "CANCELED"),
        ("expired", "FOK", "CANCELED"),
        ("rejected", "GTC", "INVALID"),
        ("PENDING_NEW", "GTC", "PENDING_NEW"),
    ],
)
def test_where_an_order_stands(word: str, tif: str, status: str) -> None:
    seen = seen_order(shown(status=word, timeInForce=tif), "bn", "BTC/USDT")
    assert (seen.order.status, seen.venue_key, seen.order.created_ns) == (status, "7", 1_700_000_000_123_000_000)


@pytest.mark.parametrize(
    ("side", "trades", "cost", "executed"),
    [
        # 0.00003 at 60000.01 is 1.8000003: paid up, received down, trade by trade
        ("buy", [("60000.01", "0.00001"), ("60000.01", "0.00002")], "1.8000003", (600_001 + 1_200_001, 30)),
        ("sell", [("60000.01", "0.00001"), ("60000.01", "0.00002")], "1.8000003", (30, 600_000 + 1_200_000)),
        ("buy", [], "1.8000003", (1_800_001, 30)),
        ("sell", [], "1.8000003", (30, 1_800_000)),
        ("buy", [("60000.01", "0.00001")], "1.8000003", (1_800_001, 30)),
    ],
)
def test_what_was_given_and_got_is_rounded_against_us(
    side: str, trades: list[tuple[str, str]], cost: str, executed: tuple[int, int]
) -> None:
    rows = [{"price": price, "amount": amount} for price, amount in trades]
    seen = seen_order(shown(side=side, filled="0.00003000", cost=cost, trades=rows), "bn", "BTC/USDT")
    assert tuple(seen.executed) == executed


@pytest.mark.parametrize(
    "changes",
    [
        {"filled": None},
        {"filled": 0.5},
        {"filled": "1e-5"},
        {"amount": "0.0000001"},
        {"side": "both"},
        {"side": None},
        {"clientOrderId": None},
        {"id": ""},
        {"status": None},
        {"timestamp": "today"},
    ],
)
def test_an_order_that_cannot_be_read_is_refused_by_its_field(changes: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refused:
        seen_order(shown(**changes), "bn", "BTC/USDT")
    assert refused.value.field in changes


def test_a_fill_is_settled_and_its_money_rounded_against_us() -> None:
    trade = {"id": "5", "order": "7", "side": "sell", "price": "60000.01", "amount": "0.00001", "takerOrMaker": "maker"}
    row = own_trade(trade | {"timestamp": 1_700_000_000_123})
    fill = fill_of(row, "bn", "spot", MARKET, "pe-1")
    assert (fill.trade_id, fill.venue_order_id, fill.token_id) == ("BTC/USDT:5", "pe-1", "bn:BTC/USDT")
    assert (fill.price, fill.size, fill.cash, fill.is_taker) == (60_000_010_000, 10, 600_000, False)
    assert (fill.settlement, fill.matched_ns) == (Settlement.CONFIRMED, 1_700_000_000_123_000_000)
    bought = own_trade(trade | {"side": "buy", "timestamp": 1})
    assert fill_of(bought, "bn", "spot", MARKET, "pe-1").cash == 600_001


def test_trades_are_numbered() -> None:
    assert trade_number(own_trade({"id": "12", "order": "7"})) == 12
    for bad in ("x", "-1", "1.5"):
        with pytest.raises(Refusal):
            trade_number(own_trade({"id": bad, "order": "7"}))


def test_holdings_are_rounded_down_and_what_is_not_listed_is_not_held() -> None:
    assert held_of({"BTC": {"total": "1.00122877"}}, "BTC") == 1_001_228
    assert held_of({}, "BTC") == 0
    for row in ("1", {"total": None}, {"total": 1.5}):
        with pytest.raises(Refusal):
            held_of({"BTC": row}, "BTC")


def test_a_book_is_read_from_text_only() -> None:
    book = sides_of({"bids": [["59994.00", "0.16666"]], "asks": []})
    assert book == ([(59_994_000_000, 166_660)], [])
    unreadable: list[object] = [[], {"bids": []}, {"bids": [[1.5, 2]], "asks": []}, {"bids": [["1"]], "asks": []}]
    for raw in unreadable:
        with pytest.raises(Refusal):
            sides_of(raw)
    with pytest.raises(Refusal):
        sides_of({"bids": [["1", "0"]], "asks": []})


def test_names_are_remembered_within_their_bound() -> None:
    names = OrderNames(limit=2)
    for number in range(3):
        names.learn(f"pe-{number}", "BTC/USDT", str(number))
    assert [names.symbol_of(f"pe-{number}") for number in range(3)] == ["", "BTC/USDT", "BTC/USDT"]
    assert [names.id_of("BTC/USDT", str(number)) for number in range(3)] == ["", "pe-1", "pe-2"]
    assert names.id_of("ETH/USDT", "1") == ""


def test_credentials_never_show_and_only_known_exchanges_are_spoken() -> None:
    found = parse_api_credentials(b'{"apiKey":"k1","secret":"hush"}', "file")
    assert (found.api_key, found.secret) == ("k1", "hush")
    assert "hush" not in repr(found)
    with pytest.raises(ConfigError, match=r"spoken are binance"):
        dialect_of("kraken")
