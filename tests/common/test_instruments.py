"""Markets: outcomes by word, index or token; impossible markets are refused."""

from __future__ import annotations

import msgspec
import pytest

from common.errors import Refusal
from common.instruments import PRICE_MAX, SPOT, Market, check_market
from common.reasons import Reason

MARKET = Market(
    venue="polymarket", condition_id="0x1", slug="btc-up", question="?", outcomes=("Up", "Down"),
    token_ids=("71", "52"), tick=10_000, min_size=5_000_000,
)  # fmt: skip


@pytest.mark.parametrize(("word", "index"), [("Up", 0), ("down", 1), (" UP ", 0), ("1", 1), ("71", 0), ("52", 1)])
def test_an_outcome_is_found_by_word_index_or_token(word: str, index: int) -> None:
    assert MARKET.outcome_index(word) == index


def test_an_unknown_outcome_is_refused_with_the_words_there_are() -> None:
    with pytest.raises(Refusal, match="Up or Down") as refused:
        MARKET.outcome_index("Yes")
    assert (refused.value.code, refused.value.field) == (Reason.UNKNOWN_OUTCOME, "outcome")


@pytest.mark.parametrize(
    ("change", "field"),
    [({"token_ids": ("7", "7")}, "token_ids"), ({"tick": 0}, "tick"), ({"tick": 300_000}, "tick"),
     ({"min_size": -1}, "min_size"), ({"fee_rate": -1}, "min_size")],
)  # fmt: skip
def test_an_impossible_market_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_market(msgspec.structs.replace(MARKET, **change))
    assert refused.value.field == field


def test_a_possible_market_passes() -> None:
    check_market(MARKET)


# --- spot instruments ---

BTC = Market(
    venue="ccxt", condition_id="ccxt:BTC/USDT", slug="ccxt:BTC/USDT", question="?", outcomes=("BTC/USDT",),
    token_ids=("ccxt:BTC/USDT",), tick=10_000, min_size=10, kind=SPOT, price_max=999_999_995_000, size_step=10,
)  # fmt: skip


@pytest.mark.parametrize("word", ["", " ", "BTC/USDT", "btc/usdt", "0", "ccxt:BTC/USDT"])
def test_the_only_outcome_of_a_spot_instrument_need_not_be_named(word: str) -> None:
    assert BTC.outcome_index(word) == 0
    assert BTC.token_of(word) == "ccxt:BTC/USDT"


@pytest.mark.parametrize(("market", "word"), [(BTC, "1"), (BTC, "Up"), (MARKET, "")])
def test_a_wrong_word_and_a_missing_one_name_what_there_is(market: Market, word: str) -> None:
    with pytest.raises(Refusal, match=market.outcomes[0]) as refused:
        market.outcome_index(word)
    assert (refused.value.code, refused.value.field) == (Reason.UNKNOWN_OUTCOME, "outcome")
    assert market.token_of(word) == ""


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"tick": 0}, Reason.BAD_TICK, "tick"),
        ({"tick": -1}, Reason.BAD_TICK, "tick"),
        ({"size_step": 0}, Reason.BAD_TICK, "size_step"),
        ({"price_max": -1}, Reason.BAD_PRICE, "price_max"),
        ({"price_max": 9_999}, Reason.BAD_PRICE, "price_max"),
        ({"price_max": PRICE_MAX + 1}, Reason.BAD_PRICE, "price_max"),
        ({"fee_rate": 1_000_001}, Reason.BAD_REQUEST, "fee_rate"),
        ({"fee_rate": -1}, Reason.BAD_REQUEST, "min_size"),
        ({"min_notional": -1}, Reason.BAD_REQUEST, "min_size"),
        ({"token_ids": ("a", "b"), "outcomes": ("A", "B")}, Reason.BAD_REQUEST, "token_ids"),
        ({"token_ids": ()}, Reason.BAD_REQUEST, "token_ids"),
        ({"kind": "binary"}, Reason.BAD_REQUEST, "kind"),
        ({"kind": "future"}, Reason.BAD_REQUEST, "kind"),
    ],
)
def test_an_impossible_spot_instrument_is_refused(change: dict[str, object], code: Reason, field: str) -> None:
    """Finer than 10^-6 is no grid of ours: who lists such an instrument hears BAD_TICK."""
    with pytest.raises(Refusal) as refused:
        check_market(msgspec.structs.replace(BTC, **change))
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_spot_instrument_may_have_any_whole_tick() -> None:
    for tick in (1, 7, 10_000, 25_000_000):
        check_market(msgspec.structs.replace(BTC, tick=tick))


@pytest.mark.parametrize(
    ("market", "change", "highest"),
    [
        (MARKET, {}, 990_000),
        (BTC, {}, 999_999_990_000),
        (BTC, {"price_max": 0, "tick": 1}, PRICE_MAX),
        (BTC, {"price_max": 0, "tick": 7}, PRICE_MAX // 7 * 7),
    ],
)
def test_the_highest_price_is_on_the_grid(market: Market, change: dict[str, object], highest: int) -> None:
    assert msgspec.structs.replace(market, **change).highest_price == highest
