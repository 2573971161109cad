"""ccxt's markets as instruments: exact grids, one money, and what cannot be counted refused by name."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Refusal
from common.reasons import Reason
from common.venues.ccxt.markets import list_markets, market_of, micros_down, micros_up


def fields(symbol: str = "BTC/USDT", **changes: Any) -> dict[str, Any]:
    base, _, quote = symbol.partition("/")
    found: dict[str, Any] = {"symbol": symbol, "base": base, "quote": quote, "spot": True, "active": True}
    found["precision"] = {"price": "0.01000000", "amount": "0.00001000"}
    found["limits"] = {
        "price": {"min": "0.01000000", "max": "1000000.00000000"},
        "amount": {"min": "0.00001000", "max": "9000.00000000"},
        "cost": {"min": "5.00000000", "max": "9000000.00000000"},
    }
    return found | {"taker": "0.001"} | changes


def test_a_market_is_a_spot_instrument_with_the_venues_grid() -> None:
    market = market_of("bn", fields())
    assert (market.slug, market.condition_id, market.token_ids, market.outcomes) == (
        "bn:BTC/USDT",
        "bn:BTC/USDT",
        ("bn:BTC/USDT",),
        ("BTC/USDT",),
    )
    assert (market.tick, market.size_step, market.min_size, market.min_notional) == (10_000, 10, 10, 5_000_000)
    assert (market.price_max, market.fee_rate, market.accepting) == (10**12, 1_000, True)
    assert not market_of("bn", fields(active=False)).accepting


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"precision": {"price": "0.00000001", "amount": "1"}}, Reason.BAD_TICK),
        ({"precision": {"price": "0.01", "amount": "0.00000001"}}, Reason.BAD_TICK),
        ({"precision": {"price": "0.0000015", "amount": "1"}}, Reason.BAD_TICK),
        ({"precision": {"price": "0", "amount": "1"}}, Reason.BAD_TICK),
        ({"precision": {"price": None, "amount": "1"}}, Reason.BAD_TICK),
        ({"precision": {"price": 0.01, "amount": "1"}}, Reason.BAD_TICK),
        ({"precision": {}}, Reason.BAD_TICK),
        ({"spot": False}, Reason.UNSUPPORTED),
        ({"limits": {"cost": {"min": "five"}}}, Reason.BAD_NUMBER),
        ({"taker": "-0.001"}, Reason.BAD_NUMBER),
    ],
)
def test_what_cannot_be_counted_is_refused_and_named(changes: dict[str, Any], code: Reason) -> None:
    listing = list_markets(
        "bn", ["SHIB/USDT", "BTC/USDT"], {"SHIB/USDT": fields("SHIB/USDT", **changes), "BTC/USDT": fields()}
    )
    assert list(listing.markets) == ["BTC/USDT"]
    refusal = listing.refusals["SHIB/USDT"]
    assert refusal.code is code
    if code is not Reason.BAD_NUMBER:
        assert "SHIB/USDT" in refusal.message


def test_a_wallet_counts_one_money_and_unknown_symbols_are_named() -> None:
    found = {"BTC/USDT": fields(), "BTC/EUR": fields("BTC/EUR"), "ETH/USDT": fields("ETH/USDT")}
    listing = list_markets("bn", ["BTC/USDT", "BTC/EUR", "NO/SUCH", "ETH/USDT"], found)
    assert list(listing.markets) == ["BTC/USDT", "ETH/USDT"]
    codes = {symbol: refusal.code for symbol, refusal in listing.refusals.items()}
    assert codes == {"BTC/EUR": Reason.UNSUPPORTED, "NO/SUCH": Reason.UNKNOWN_MARKET}


def test_limits_that_are_not_stated_bound_nothing() -> None:
    market = market_of("bn", fields(limits={}, taker=None))
    assert (market.min_size, market.min_notional, market.price_max, market.fee_rate) == (10, 0, 0, 0)


@given(st.decimals(min_value=0, max_value=10**9, places=12))
def test_rounding_is_exact_downwards_and_upwards(value: Decimal) -> None:
    text = f"{value:f}"
    micros = value * 10**6
    assert micros_down(text, "x") == int(micros.to_integral_value(ROUND_FLOOR))
    assert micros_up(text, "x") == int(micros.to_integral_value(ROUND_CEILING))


@pytest.mark.parametrize("text", ["", "-1", "1e5", ".5", "1,0", "\u0661", "1.0000000x", " 1"])
def test_only_plain_decimals_are_numbers(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        micros_down(text, "x")
    assert (refused.value.code, refused.value.field) == (Reason.BAD_NUMBER, "x")
