"""py-clob-client 0.34.6 (V1 signatures) against the simulator with `accept_v1` on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.venue import CONDITION, DOWN, UP, RunningVenue, new_key

pytestmark = pytest.mark.conformance


def client_of(venue: RunningVenue, key: str) -> Any:
    from py_clob_client.client import ClobClient

    client = ClobClient(venue.host, chain_id=137, key=key)
    client.set_api_creds(client.create_or_derive_api_creds())
    return client


@pytest.fixture
def client(venue: RunningVenue) -> Any:
    return client_of(venue, new_key())


def limit(client: Any, side: str, price: float, size: float, token: str = UP) -> Any:
    from py_clob_client.clob_types import OrderArgs

    return client.create_order(OrderArgs(token_id=token, price=price, size=size, side=side))


def rest(client: Any, price: float = 0.30, token: str = UP) -> str:
    posted = client.post_order(limit(client, "BUY", price, 10, token))
    assert posted["status"] == "live", posted
    return str(posted["orderID"])


def test_a_key_is_created_once_and_derived_again(venue: RunningVenue) -> None:
    from py_clob_client.client import ClobClient
    from py_clob_client.exceptions import PolyApiException

    client = ClobClient(venue.host, chain_id=137, key=new_key())
    with pytest.raises(PolyApiException) as none_yet:
        client.derive_api_key()
    assert none_yet.value.status_code == 400
    created = client.create_api_key()
    with pytest.raises(PolyApiException) as again:
        client.create_api_key()
    assert (again.value.status_code, again.value.error_msg) == (400, {"error": "Could not create api key"})
    assert client.derive_api_key() == created
    other = client.create_api_key(nonce=7)
    assert other.api_key != created.api_key
    client.set_api_creds(created)
    assert sorted(client.get_api_keys()["apiKeys"]) == sorted([created.api_key, other.api_key])
    assert client.delete_api_key() == "OK"
    with pytest.raises(PolyApiException) as revoked:
        client.get_api_keys()
    assert revoked.value.status_code == 401


def test_wrong_credentials_are_unauthorized(venue: RunningVenue, client: Any) -> None:
    from py_clob_client.client import ClobClient
    from py_clob_client.exceptions import PolyApiException

    stranger = ClobClient(venue.host, chain_id=137, key=new_key(), creds=client.creds)
    with pytest.raises(PolyApiException) as refused:
        stranger.get_orders()
    assert (refused.value.status_code, refused.value.error_msg) == (401, {"error": "Unauthorized/Invalid api key"})


def test_public_reads(client: Any) -> None:
    from py_clob_client.clob_types import BookParams

    assert client.get_ok() == "OK"
    assert isinstance(client.get_server_time(), int)
    book = client.get_order_book(UP)
    assert (book.bids[-1].price, book.asks[-1].price) == ("0.45", "0.47")
    assert book.hash == client.get_order_book_hash(book)
    mirrored = client.get_order_books([BookParams(DOWN)])[0]
    assert (mirrored.bids[-1].price, mirrored.bids[-1].size, mirrored.asks[-1].price) == ("0.53", "200", "0.55")
    assert client.get_midpoint(UP)["mid"] == "0.46"
    assert client.get_midpoints([BookParams(UP)]) == {UP: "0.46"}
    assert client.get_price(UP, "BUY") == {"price": "0.45"}
    assert client.get_price(UP, "SELL") == {"price": "0.47"}
    assert client.get_prices([BookParams(UP, "BUY"), BookParams(UP, "SELL")]) == {UP: {"BUY": "0.45", "SELL": "0.47"}}
    assert client.get_spread(DOWN) == {"spread": "0.02"}
    assert client.get_spreads([BookParams(UP)]) == {UP: "0.02"}
    assert client.get_tick_size(UP) == "0.01"
    assert client.get_neg_risk(UP) is False
    assert client.get_fee_rate_bps(UP) == 1000
    assert client.get_last_trades_prices([BookParams(UP)])[0]["token_id"] == UP
    for page in (client.get_markets(), client.get_simplified_markets(), client.get_sampling_markets(),
                 client.get_sampling_simplified_markets()):  # fmt: skip
        assert CONDITION in [row["condition_id"] for row in page["data"]]
        assert page["next_cursor"] == "LTE="
    assert client.get_market(CONDITION)["question"] == "Bitcoin up or down?"


def test_private_reads_of_a_new_wallet(client: Any) -> None:
    from py_clob_client.clob_types import AssetType, BalanceAllowanceParams

    assert client.get_closed_only_mode() == {"closed_only": False}
    assert client.get_orders() == []
    assert client.get_trades() == []
    assert client.get_notifications() == []
    cash = client.get_balance_allowance(BalanceAllowanceParams(asset_type=AssetType.COLLATERAL))
    assert cash["balance"] == "10000000000"
    tokens = BalanceAllowanceParams(asset_type=AssetType.CONDITIONAL, token_id=UP)
    assert client.get_balance_allowance(tokens)["balance"] == "0"
    client.update_balance_allowance(tokens)


def test_a_resting_order_is_listed_and_cancelled(client: Any) -> None:
    order_id = rest(client)
    (listed,) = client.get_orders()
    assert (listed["id"], listed["status"], listed["price"], listed["original_size"]) == (order_id, "LIVE", "0.3", "10")
    assert client.get_order(order_id) == listed
    assert client.is_order_scoring(_scoring(order_id)) == {"scoring": False}
    assert client.cancel(order_id) == {"canceled": [order_id], "not_canceled": {}}
    assert client.get_orders() == []
    assert client.get_order(order_id)["status"] == "CANCELED"
    assert client.cancel(order_id)["not_canceled"] == {order_id: "already canceled or matched"}


def _scoring(order_id: str) -> Any:
    from py_clob_client.clob_types import OrderScoringParams

    return OrderScoringParams(orderId=order_id)


def test_market_buy_and_sell_and_their_trades(venue: RunningVenue, client: Any) -> None:
    from py_clob_client.clob_types import (
        AssetType,
        BalanceAllowanceParams,
        MarketOrderArgs,
        OrderType,
        TradeParams,
    )

    buy = client.create_market_order(MarketOrderArgs(token_id=UP, amount=9.4, side="BUY"))
    bought = client.post_order(buy, OrderType.FOK)
    assert (bought["status"], bought["takingAmount"], bought["makingAmount"]) == ("matched", "20", "9.4")
    tokens = BalanceAllowanceParams(asset_type=AssetType.CONDITIONAL, token_id=UP)
    assert client.get_balance_allowance(tokens)["balance"] == "20000000"
    sell = client.create_market_order(MarketOrderArgs(token_id=UP, amount=5, side="SELL", order_type=OrderType.FAK))
    sold = client.post_order(sell, OrderType.FAK)
    assert (sold["status"], sold["makingAmount"], sold["takingAmount"]) == ("matched", "5", "2.25")
    trades = client.get_trades(TradeParams(market=CONDITION))
    assert [trade["side"] for trade in trades] == ["SELL", "BUY"]
    assert trades[1]["id"] == bought["tradeIDs"][0]
    assert (trades[1]["trader_side"], trades[1]["price"], trades[1]["size"]) == ("TAKER", "0.47", "20")
    assert sum(float(leg["matched_amount"]) for leg in trades[1]["maker_orders"]) == 20

    def confirmed() -> bool:
        rows = client.get_trades(TradeParams(id=bought["tradeIDs"][0]))
        return [row["status"] for row in rows] == ["CONFIRMED"] and rows[0]["transaction_hash"].startswith("0x")

    venue.wait_for(confirmed, "CONFIRMED trade")
    assert client.get_trades(TradeParams(after=4_000_000_000)) == []


def test_post_only_and_killed_orders_are_refused_with_the_venue_texts(client: Any) -> None:
    from py_clob_client.clob_types import OrderType
    from py_clob_client.exceptions import PolyApiException

    with pytest.raises(PolyApiException) as crossing:
        client.post_order(limit(client, "BUY", 0.47, 10), post_only=True)
    assert crossing.value.error_msg == {"error": "invalid post-only order: order crosses book"}
    with pytest.raises(PolyApiException) as killed:
        client.post_order(limit(client, "BUY", 0.46, 10), OrderType.FOK)
    assert killed.value.status_code == 400
    text = "order couldn't be fully filled. FOK orders are fully filled or killed."
    assert killed.value.error_msg["error"] == text
    assert client.get_order(killed.value.error_msg["orderID"])["status"] == "CANCELED_" + text
    with pytest.raises(PolyApiException) as small:
        client.post_order(limit(client, "BUY", 0.30, 4))
    assert "Size (4) lower than the minimum: 5" in small.value.error_msg["error"]
    with pytest.raises(PolyApiException) as poor:
        client.post_order(limit(client, "SELL", 0.60, 10))
    assert "not enough balance / allowance" in poor.value.error_msg["error"]


def test_the_same_bytes_are_refused_as_duplicates(client: Any) -> None:
    from py_clob_client.exceptions import PolyApiException

    signed = limit(client, "BUY", 0.30, 10)
    posted = client.post_order(signed)
    client.cancel(posted["orderID"])
    with pytest.raises(PolyApiException) as again:
        client.post_order(signed)
    assert again.value.error_msg == {"error": f"order {posted['orderID']} is invalid. Duplicated."}


def test_a_batch_is_judged_order_by_order(client: Any) -> None:
    from py_clob_client.clob_types import OrderType, PostOrdersArgs

    args = [
        PostOrdersArgs(order=limit(client, "BUY", 0.30, 10), orderType=OrderType.GTC),
        PostOrdersArgs(order=limit(client, "BUY", 0.47, 10), orderType=OrderType.GTC, postOnly=True),
        PostOrdersArgs(order=limit(client, "BUY", 0.31, 10), orderType=OrderType.GTC),
    ]
    first, second, third = client.post_orders(args)
    assert (first["status"], third["status"]) == ("live", "live")
    assert (second["errorMsg"], second["orderID"]) == ("invalid post-only order: order crosses book", "")
    assert sorted(row["id"] for row in client.get_orders()) == sorted([first["orderID"], third["orderID"]])


def test_cancelling_in_all_five_ways(client: Any) -> None:
    one = rest(client, 0.20)
    assert client.cancel(one)["canceled"] == [one]
    two, three = rest(client, 0.21), rest(client, 0.22)
    assert sorted(client.cancel_orders([two, three])["canceled"]) == sorted([two, three])
    by_market, by_token = rest(client, 0.23), rest(client, 0.24, DOWN)
    assert client.cancel_market_orders(asset_id=DOWN)["canceled"] == [by_token]
    assert client.cancel_market_orders(market=CONDITION)["canceled"] == [by_market]
    last = [rest(client, 0.25), rest(client, 0.26)]
    assert sorted(client.cancel_all()["canceled"]) == sorted(last)
    assert client.get_orders() == []


def test_heartbeats_with_a_null_first_id_and_a_wrong_one(client: Any) -> None:
    from py_clob_client.exceptions import PolyApiException

    first = client.post_heartbeat(None)["heartbeat_id"]
    with pytest.raises(PolyApiException) as wrong:
        client.post_heartbeat("wrong")
    assert (wrong.value.error_msg["error"], wrong.value.error_msg["heartbeat_id"]) == ("Invalid Heartbeat ID", first)
    assert client.post_heartbeat(first)["heartbeat_id"] != first
