"""Markets: outcomes by word, index or token; impossible markets are refused."""

from __future__ import annotations

import msgspec
import pytest

from common.errors import Refusal
from common.instruments import Market, check_market
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
