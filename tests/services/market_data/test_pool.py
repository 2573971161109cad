"""Which connection carries which tokens: any sequence of wishes and accidents, obeyed by a model of connections."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.market_data import pool as pool_module
from services.market_data.pool import Add, Close, Open, Order, Pool, Remove

HOUR_NS = 3_600_000_000_000


def pair(number: int) -> tuple[str, str]:
    return f"{number}a", f"{number}b"


def pairs(*numbers: int) -> list[tuple[str, str]]:
    return [pair(number) for number in numbers]


def serving(*connections: int) -> dict[int, set[str]]:
    """Connections whose events some token's book goes by."""
    return {connection: {"some token"} for connection in connections}


class Sockets:
    """What the shell does with orders. A connection that is not open has no tokens at the venue yet."""

    def __init__(self, pool: Pool, tokens_max: int) -> None:
        self.pool = pool
        self.tokens_max = tokens_max
        self.carried: dict[int, set[str]] = {}
        self.open: set[int] = set()
        self.used: set[int] = set()

    def obey(self, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case Open():
                    assert order.connection not in self.used, "a number came again"
                    assert order.token_ids, "a connection for nothing"
                    self.used.add(order.connection)
                    self.carried[order.connection] = set(order.token_ids)
                case Add():
                    assert order.token_ids
                    assert not self.carried[order.connection] & set(order.token_ids), "asked for twice"
                    self.carried[order.connection] |= set(order.token_ids)
                case Remove():
                    assert set(order.token_ids) <= self.carried[order.connection]
                    self.carried[order.connection] -= set(order.token_ids)
                    assert self.carried[order.connection], "what is empty is closed"
                case Close():
                    del self.carried[order.connection]
                    self.open.discard(order.connection)

    def check(self, wanted: set[str]) -> None:
        carried = [token for tokens in self.carried.values() for token in tokens]
        assert set(carried) == wanted
        assert len(self.pool) == len(self.carried)
        for connection, tokens in self.carried.items():
            assert 0 < len(tokens) <= self.tokens_max
            assert set(self.pool.tokens(connection)) == tokens
        for token in wanted:
            assert carried.count(token) <= 2, "one that serves and one that replaces it"

    @property
    def retiring(self) -> set[int]:
        """Connections all of whose tokens are on another one as well."""
        return {
            connection
            for connection, tokens in self.carried.items()
            if any(tokens & others for other, others in self.carried.items() if other > connection)
        }


wishes = st.lists(
    st.one_of(
        st.tuples(st.just("follow"), st.sets(st.integers(0, 7), max_size=6)),
        st.tuples(st.just("move"), st.integers(0, 15)),
        st.tuples(st.just("opened"), st.integers(0, 20)),
        st.tuples(st.just("lost"), st.integers(0, 20)),
        st.tuples(st.just("rotate"), st.integers(0, 5)),
        st.tuples(st.just("served"), st.booleans()),
    ),
    max_size=40,
)


@given(wishes, st.integers(2, 6))
@settings(max_examples=300, deadline=None)
def test_the_connections_carry_exactly_the_followed_tokens(script: list[tuple[str, Any]], tokens_max: int) -> None:
    pool = Pool(tokens_max, HOUR_NS)
    sockets = Sockets(pool, tokens_max)
    wanted: set[str] = set()
    now = 0
    sources: set[int] = set()
    for word, what in script:
        known = sorted(sockets.carried)
        match word:
            case "follow":
                wanted = {token for number in what for token in pair(number)}
                sockets.obey(pool.follow([pair(number) for number in sorted(what)]))
            case "move" if wanted:
                token = sorted(wanted)[what % len(wanted)]
                homes = [connection for connection in known if token in sockets.carried[connection]]
                sockets.obey(pool.move(token, homes[-1]))
                assert sum(token in tokens for tokens in sockets.carried.values()) == 1
                assert token not in sockets.carried.get(homes[-1], set()) or len(known) >= pool_module.CONNECTIONS_MAX
            case "opened" if known:
                connection = known[what % len(known)]
                pool.opened(connection, now)
                sockets.open.add(connection)
            case "lost" if known:
                connection = known[what % len(known)]
                was_retiring = connection in sockets.retiring
                sockets.obey(pool.lost(connection))
                sockets.open.discard(connection)
                assert connection in sockets.carried or was_retiring, "only a replaced one is not dialled again"
            case "rotate":
                now += what * HOUR_NS // 2
                before = {connection: set(tokens) for connection, tokens in sockets.carried.items()}
                orders = pool.rotate(now, serving(*sources))
                sockets.obey(orders)
                assert sum(isinstance(order, Open) for order in orders) <= 1
                for order in orders:
                    if isinstance(order, Close):
                        assert order.connection not in sources
                        others = set().union(*sockets.carried.values()) if sockets.carried else set()
                        assert before[order.connection] <= others, "broken before it was made"
            case "served":
                sources = set(sockets.carried) if what else sources & set(sockets.carried)
        sockets.check(wanted)
        assert len(sockets.retiring) <= 1, "one rotation at a time"


def test_both_tokens_of_a_market_begin_on_one_connection() -> None:
    pool = Pool(5, HOUR_NS)
    orders = pool.follow(pairs(1, 2, 3))
    assert orders == [Open(1, ["1a", "1b", "2a", "2b"]), Open(2, ["3a", "3b"])]


def test_more_tokens_go_where_there_is_room_and_go_on_the_same_connection() -> None:
    pool = Pool(6, HOUR_NS)
    pool.follow(pairs(1))
    assert pool.follow(pairs(1, 2)) == [Add(1, ["2a", "2b"])]
    assert pool.follow(pairs(1, 2)) == []


def test_what_nobody_wants_is_taken_off_and_an_empty_connection_is_closed_for_good() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1, 2))
    assert pool.follow(pairs(2)) == [Remove(1, ["1a", "1b"])]
    assert pool.follow([]) == [Close(1)]
    assert pool.follow(pairs(3)) == [Open(2, ["3a", "3b"])]


def test_a_silent_token_moves_to_another_connection_with_room_or_to_one_of_its_own() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1, 2, 3))
    assert pool.move("1a", 1) == [Remove(1, ["1a"]), Add(2, ["1a"])]
    assert pool.move("1a", 1) == [], "it is elsewhere already"
    assert pool.move("unknown", 1) == []
    pool = Pool(2, HOUR_NS)
    pool.follow(pairs(1))
    assert pool.move("1a", 1) == [Remove(1, ["1a"]), Open(2, ["1a"])]
    assert pool.move("1b", 1) == [Close(1), Add(2, ["1b"])]


def test_there_is_a_limit_to_connections_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "CONNECTIONS_MAX", 1)
    pool = Pool(2, HOUR_NS)
    pool.follow(pairs(1))
    assert pool.move("1a", 1) == []
    assert pool.tokens(1) == ["1a", "1b"]


def test_an_old_connection_is_replaced_before_it_is_closed() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1, 2, 3))
    pool.opened(1, 0)
    pool.opened(2, 0)
    assert pool.rotate(HOUR_NS - 1, serving(1, 2)) == []
    assert pool.rotate(HOUR_NS, serving(1, 2)) == [Open(3, ["1a", "1b", "2a", "2b"])]
    assert pool.rotate(HOUR_NS + 1, serving(1, 2)) == [], "while the old one serves"
    pool.opened(3, HOUR_NS + 1)
    assert pool.rotate(HOUR_NS + 2, serving(1, 2, 3)) == [], "while one token is served by it"
    assert pool.rotate(HOUR_NS + 3, serving(2, 3)) == [Close(1)]
    assert pool.rotate(HOUR_NS + 4, serving(2, 3)) == [Open(4, ["3a", "3b"])]


def test_a_connection_that_is_down_is_not_old() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1))
    assert pool.rotate(9 * HOUR_NS, serving(1)) == []
    pool.opened(1, 0)
    assert pool.lost(1) == [], "it is dialled again"
    assert pool.rotate(9 * HOUR_NS, serving()) == []
    pool.opened(1, 9 * HOUR_NS)
    assert pool.rotate(9 * HOUR_NS, serving(1)) == []


def test_a_connection_that_is_lost_while_it_is_replaced_is_not_dialled_again() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1))
    pool.opened(1, 0)
    pool.rotate(HOUR_NS, serving(1))
    assert pool.lost(1) == [Close(1)]
    assert pool.lost(1) == [], "what is closed is lost no more"
    assert pool.lost(2) == [], "the heir is dialled again"
    assert (pool.tokens(1), pool.tokens(2), len(pool)) == ([], ["1a", "1b"], 1)


def test_new_tokens_are_not_given_to_a_connection_that_is_being_replaced() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1))
    pool.opened(1, 0)
    pool.rotate(HOUR_NS, serving(1))
    assert pool.follow(pairs(1, 2)) == [Add(2, ["2a", "2b"])]
    assert pool.follow(pairs(2)) == [Close(1), Remove(2, ["1a", "1b"])]


def test_a_token_the_new_connection_does_not_bring_stays_with_the_old_one() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1, 2))
    pool.opened(1, 0)
    assert pool.rotate(HOUR_NS, serving(1)) == [Open(2, ["1a", "1b", "2a", "2b"])]
    assert pool.keep("1a", 1) == [Remove(2, ["1a"])]
    assert pool.keep("1a", 1) == []
    assert pool.rotate(HOUR_NS + 1, {1: {"1a", "1b"}, 2: {"2a", "2b"}}) == [], "one more is to come"
    assert pool.rotate(HOUR_NS + 2, {1: {"1a"}, 2: {"1b", "2a", "2b"}}) == [Remove(1, ["1b", "2a", "2b"])]
    assert (pool.tokens(1), pool.tokens(2)) == (["1a"], ["1b", "2a", "2b"])
    assert pool.lost(1) == [], "it is dialled again"


def test_a_new_connection_that_brings_nothing_is_closed_and_the_old_one_goes_on() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1))
    pool.opened(1, 0)
    pool.rotate(HOUR_NS, serving(1))
    assert pool.keep("1a", 1) == [Remove(2, ["1a"])]
    assert pool.keep("1b", 1) == [Close(2)]
    assert pool.rotate(HOUR_NS + 1, {1: {"1a", "1b"}}) == []
    assert pool.rotate(2 * HOUR_NS + 2, {1: {"1a", "1b"}}) == [Open(3, ["1a", "1b"])], "tried again when it is due"


def test_a_kept_token_survives_the_loss_of_its_old_connection() -> None:
    pool = Pool(4, HOUR_NS)
    pool.follow(pairs(1))
    pool.opened(1, 0)
    pool.rotate(HOUR_NS, serving(1))
    pool.keep("1a", 1)
    assert pool.lost(1) == []
    assert (pool.tokens(1), pool.tokens(2)) == (["1a"], ["1b"])
