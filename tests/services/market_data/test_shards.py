"""Tokens on connections."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.market_data.shards import Change, Shards


def pair(number: int) -> tuple[str, str]:
    return f"{number}u", f"{number}d"


def test_both_tokens_of_a_market_share_a_connection_and_a_full_one_is_followed_by_another() -> None:
    shards = Shards(tokens_max=5)
    assert shards.follow([pair(1), pair(2), pair(3)]) == [
        Change(0, ["1u", "1d", "2u", "2d"], []),
        Change(1, ["3u", "3d"], []),
    ]
    assert shards.follow([pair(1), pair(2), pair(3)]) == []


def test_a_place_that_became_free_is_used_again() -> None:
    shards = Shards(tokens_max=2)
    shards.follow([pair(1), pair(2)])
    assert shards.follow([pair(2), pair(3)]) == [Change(0, ["3u", "3d"], ["1u", "1d"])]
    assert len(shards) == 2


@given(st.lists(st.lists(st.integers(0, 30), unique=True, max_size=20), max_size=10))
def test_after_any_history_exactly_the_wanted_tokens_are_followed_within_the_limit(rounds: list[list[int]]) -> None:
    shards = Shards(tokens_max=6)
    on: dict[int, set[str]] = {}
    for numbers in rounds:
        for change in shards.follow([pair(number) for number in numbers]):
            tokens = on.setdefault(change.shard, set())
            assert set(change.removed) <= tokens
            tokens -= set(change.removed)
            assert not tokens & set(change.added)
            tokens |= set(change.added)
        assert sorted(token for tokens in on.values() for token in tokens) == sorted(
            token for number in numbers for token in pair(number)
        )
        assert all(len(tokens) <= 6 for tokens in on.values())
        assert all(set(shards.tokens(shard)) == tokens for shard, tokens in on.items())
