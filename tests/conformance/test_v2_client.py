"""py-clob-client-v2 1.2.1 against the simulator: signature types 0, 1, 2 and 3."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.polymarket_sim.wallets import wallets_of
from tests.conformance.venue import CONDITION, DOWN, FINE_TOKENS, POSITION_TOKENS, UP, RunningVenue, new_key

pytestmark = pytest.mark.conformance


def client_of(venue: RunningVenue, key: str, **more: Any) -> Any:
    from py_clob_client_v2.client import ClobClient

    client = ClobClient(venue.host, chain_id=137, key=key, **more)
    client.set_api_creds(client.create_or_derive_api_key())
    return client


@pytest.fixture
def client(venue: RunningVenue) -> Any:
    return client_of(venue, new_key())


def limit(client: Any, side: str, price: float, size: float, token: str = UP, **more: Any) -> Any:
    from py_clob_client_v2.clob_types import OrderArgs

    return client.create_order(OrderArgs(token_id=token, price=price, size=size, side=side, **more))


def rest(client: Any, price: float = 0.30, token: str = UP) -> str:
    posted = client.post_order(limit(client, "BUY", price, 10, token))
    assert posted["status"] == "live", posted
    return str(posted["orderID"])


def test_keys_and_service_reads(venue: RunningVenue) -> None:
    key = new_key()
    client = client_of(venue, key)
    assert client_of(venue, key).creds == client.creds
    assert client.get_api_keys()["apiKeys"] == [client.creds.api_key]
    assert client.get_ok() == "OK"
    assert client.get_version() == 2
    assert abs(client.get_server_time() - time.time()) < 5
    assert client.get_closed_only_mode() == {"closed_only": False}
    assert client.delete_api_key() == "OK"


def test_public_reads(client: Any) -> None:
    from py_clob_client_v2.clob_types import BookParams, PricesHistoryParams

    book = client.get_order_book(UP)
    assert book["asks"][-1] == {"price": "0.47", "size": "200"}
    assert len(client.get_order_books([BookParams(UP), BookParams(DOWN)])) == 2
    info = client.get_clob_market_info(CONDITION)
    assert (info["mts"], [row["o"] for row in info["t"]]) == (0.01, ["Up", "Down"])
    assert client.get_tick_size(UP) == "0.01"
    assert client.get_tick_size(FINE_TOKENS[0]) == "0.001"
    assert (client.get_neg_risk(UP), client.get_neg_risk(FINE_TOKENS[0])) == (False, True)
    assert client.get_midpoint(DOWN)["mid"] == "0.54"
    assert client.get_spread(UP) == {"spread": "0.02"}
    assert client.get_price(UP, "SELL") == {"price": "0.47"}
    assert client.get_prices([BookParams(UP, "BUY")]) == {UP: {"BUY": "0.45"}}
    assert set(client.get_last_trade_price(UP)) == {"price", "side"}
    assert client.get_market(CONDITION)["minimum_order_size"] == 5
    points = client.get_prices_history(PricesHistoryParams(market=UP, interval="1h"))["history"]
    assert points
    assert all(0 < point["p"] < 1 for point in points)
    assert client.calculate_market_price(UP, "BUY", 10, "FOK") == 0.47
    assert client.get_pre_migration_orders() == []


def test_resting_orders_and_gtd_expiry_rule(client: Any) -> None:
    from py_clob_client_v2.clob_types import OrderPayload, OrderType
    from py_clob_client_v2.exceptions import PolyApiException

    order_id = rest(client)
    (listed,) = client.get_open_orders()
    assert (listed["id"], listed["owner"]) == (order_id, client.creds.api_key)
    assert client.get_order(order_id)["size_matched"] == "0"
    soon, later = int(time.time()) + 100, int(time.time()) + 400
    with pytest.raises(PolyApiException) as too_soon:
        client.post_order(limit(client, "BUY", 0.30, 10, expiration=soon), OrderType.GTD)
    assert too_soon.value.error_msg == {"error": "invalid expiration"}
    timed = client.post_order(limit(client, "BUY", 0.30, 10, expiration=later), OrderType.GTD)
    shown = client.get_order(timed["orderID"])
    assert (shown["order_type"], shown["expiration"]) == ("GTD", str(later))
    assert client.cancel_order(OrderPayload(orderID=timed["orderID"]))["canceled"] == [timed["orderID"]]


def test_market_orders_settle_and_hashes_come_without_a_stall(client: Any) -> None:
    from py_clob_client_v2.clob_types import MarketOrderArgs, OrderType, TradeParams

    began = time.monotonic()
    bought = client.create_and_post_market_order(
        MarketOrderArgs(token_id=UP, amount=94, side="BUY"), order_type=OrderType.FOK
    )
    assert time.monotonic() - began < 5
    assert (bought["status"], bought["takingAmount"]) == ("matched", "200")
    assert [text[:2] for text in bought["transactionsHashes"]] == ["0x"]
    sold = client.create_and_post_market_order(
        MarketOrderArgs(token_id=UP, amount=50, side="SELL", order_type=OrderType.FAK), order_type=OrderType.FAK
    )
    assert (sold["status"], sold["takingAmount"]) == ("matched", "22.5")
    own = client.get_trades(TradeParams(maker_address=client.get_address()))
    assert [row["side"] for row in own] == ["SELL", "BUY"]
    assert client.get_trades(TradeParams(maker_address="0x" + "11" * 20)) == []


def test_a_limit_order_that_crosses_is_a_taker_and_rests_with_what_is_left(client: Any) -> None:
    posted = client.post_order(limit(client, "BUY", 0.47, 250))
    assert (posted["status"], posted["makingAmount"], posted["takingAmount"]) == ("matched", "94", "200")
    (left,) = client.get_open_orders()
    assert (left["original_size"], left["size_matched"]) == ("250", "200")
    assert left["associate_trades"] == posted["tradeIDs"]
    assert client.cancel_all()["canceled"] == [posted["orderID"]]


def test_two_users_match_by_minting(venue: RunningVenue, client: Any) -> None:
    """BUY Up at 0.46 and BUY Down at 0.54 make a pair; each sees its own side of the trade."""
    other = client_of(venue, new_key())
    resting = client.post_order(limit(client, "BUY", 0.46, 10))
    assert resting["status"] == "live"
    taken = other.post_order(limit(other, "BUY", 0.54, 10, DOWN))
    assert (taken["status"], taken["makingAmount"]) == ("matched", "5.4")
    (maker_view,), (taker_view,) = client.get_trades(), other.get_trades()
    assert (maker_view["trader_side"], taker_view["trader_side"]) == ("MAKER", "TAKER")
    leg = maker_view["maker_orders"][0]
    assert (leg["order_id"], leg["asset_id"], leg["side"], leg["price"]) == (resting["orderID"], UP, "BUY", "0.46")
    assert (taker_view["asset_id"], taker_view["price"]) == (DOWN, "0.54")
    assert client.get_order(resting["orderID"])["status"] == "MATCHED"
    with pytest.raises(Exception, match="404"):
        other.get_order(resting["orderID"])


def test_fine_ticks_take_limit_orders_and_refuse_five_decimals_of_a_market_order(client: Any) -> None:
    from py_clob_client_v2.clob_types import MarketOrderArgs, OrderType
    from py_clob_client_v2.exceptions import PolyApiException

    token = FINE_TOKENS[0]
    assert client.post_order(limit(client, "BUY", 0.301, 10, token))["status"] == "live"
    signed = client.create_market_order(MarketOrderArgs(token_id=token, amount=9.98, side="BUY", price=0.985))
    with pytest.raises(PolyApiException) as refused:
        client.post_order(signed, OrderType.FAK)
    assert "taker amount a max of 4 decimals" in refused.value.error_msg["error"]


def test_batches_and_post_only(client: Any) -> None:
    from py_clob_client_v2.clob_types import OrderType, PostOrdersV2Args

    args = [PostOrdersV2Args(order=limit(client, "BUY", price, 10), orderType=OrderType.GTC) for price in (0.30, 0.47)]
    resting, crossing = client.post_orders(args, post_only=True)
    assert resting["status"] == "live"
    assert crossing["errorMsg"] == "invalid post-only order: order crosses book"
    many = [PostOrdersV2Args(order=limit(client, "BUY", 0.30, 10), orderType=OrderType.GTC) for _ in range(16)]
    with pytest.raises(Exception, match="Too many orders in payload: 16, max allowed: 15"):
        client.post_orders(many)


def test_cancelling_in_all_five_ways(client: Any) -> None:
    from py_clob_client_v2.clob_types import OrderMarketCancelParams, OrderPayload

    one = rest(client, 0.20)
    assert client.cancel_order(OrderPayload(orderID=one))["canceled"] == [one]
    two, unknown = rest(client, 0.21), "0x" + "99" * 32
    result = client.cancel_orders([two, unknown])
    assert result["canceled"] == [two]
    assert list(result["not_canceled"]) == [unknown]
    by_market, by_token = rest(client, 0.23), rest(client, 0.24, DOWN)
    assert client.cancel_market_orders(OrderMarketCancelParams(asset_id=DOWN))["canceled"] == [by_token]
    assert client.cancel_market_orders(OrderMarketCancelParams(market=CONDITION))["canceled"] == [by_market]
    last = rest(client, 0.25)
    assert client.cancel_all()["canceled"] == [last]


def test_a_stopped_heartbeat_cancels_the_orders_of_its_key_only(venue: RunningVenue) -> None:
    key = new_key()
    first, second = client_of(venue, key), client_of(venue, key)
    second.set_api_creds(second.create_api_key(nonce=5))
    watched, kept = rest(first), rest(second)
    assert first.post_heartbeat("")["heartbeat_id"]

    def only_the_other() -> bool:
        return [row["id"] for row in second.get_open_orders()] == [kept]

    assert sorted(row["id"] for row in first.get_open_orders()) == sorted([watched, kept])
    venue.wait_for(only_the_other, "dead-man cancel", deadline_s=20)


@pytest.mark.parametrize("signature_type", [1, 2, 3])
def test_contract_wallets_trade_for_their_owner(venue: RunningVenue, signature_type: int) -> None:
    """The funder has balances of its own; a funder that is not derived from the signer is refused."""
    from py_clob_client_v2.clob_types import AssetType, BalanceAllowanceParams, MarketOrderArgs, OrderType
    from py_clob_client_v2.exceptions import PolyApiException

    key = new_key()
    owner = client_of(venue, key).get_address()
    funder = wallets_of(owner)[signature_type][0]
    client = client_of(venue, key, signature_type=signature_type, funder=funder)
    cash = client.get_balance_allowance(BalanceAllowanceParams(asset_type=AssetType.COLLATERAL))
    assert cash["balance"] == "10000000000"
    bought = client.create_and_post_market_order(
        MarketOrderArgs(token_id=UP, amount=9.4, side="BUY"), order_type=OrderType.FOK
    )
    assert bought["status"] == "matched"
    tokens = BalanceAllowanceParams(asset_type=AssetType.CONDITIONAL, token_id=UP)
    assert client.get_balance_allowance(tokens)["balance"] == "20000000"
    assert client.get_trades()[0]["maker_address"] == funder
    order_id = rest(client)
    assert [row["maker_address"] for row in client.get_open_orders()] == [funder]
    assert client.cancel_all()["canceled"] == [order_id]
    foreign = client_of(venue, key, signature_type=signature_type, funder="0x" + "22" * 20)
    with pytest.raises(PolyApiException) as refused:
        foreign.post_order(limit(foreign, "BUY", 0.30, 10))
    assert refused.value.error_msg == {"error": "invalid signature"}


def test_a_position_market_is_signed_for_the_third_exchange(client: Any) -> None:
    from py_clob_client_v2.clob_types import OrderArgs
    from py_clob_client_v2.exceptions import PolyApiException

    signed = client.create_order(OrderArgs(position_id=POSITION_TOKENS[0], price=0.30, size=10, side="BUY"))
    posted = client.post_order(signed)
    assert posted["status"] == "live"
    with pytest.raises(PolyApiException) as refused:
        client.post_order(limit(client, "BUY", 0.30, 10, POSITION_TOKENS[0]))
    assert refused.value.error_msg == {"error": "invalid signature"}
    assert client.cancel_all()["canceled"] == [posted["orderID"]]
