"""Replicas equal the exchange's books after any sequence of steps, and the channel says what changed."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.messages import (
    BookState,
    CancelScope,
    MarketOpened,
    Message,
    OpenAccount,
    OpenMarket,
    QuoteLadder,
    SetTick,
    SubmitOrder,
)
from common.types import ONE, Side, TimeInForce
from common.venues.polymarket.market import BestBidAskEvent, BookEvent, LastTradeEvent, PriceChangeEvent, TickSizeEvent
from common.venues.polymarket.wire import book_hash
from services.polymarket_sim.books import BookReplica, Books, Broadcast
from tests.services.polymarket_sim.house import CONDITION, DOWN, MARKET, UP, House

VECTORS = Path(__file__).parents[2] / "data" / "polymarket-vectors.json"


class Listening(House):
    """Keeps what the channel would broadcast, and a client's books built from it alone."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[Broadcast] = []
        self.client: dict[str, dict[Side, dict[int, int]]] = {}
        super().__init__(folder)
        self.market_sink.on_event = self._listen  # type: ignore[method-assign]

    def _listen(self, body: Message) -> None:
        for row in self.venue.books.apply(body):
            self.heard.append(row)
            self._follow(row.event)

    def _follow(self, event: Any) -> None:
        if isinstance(event, BookEvent):
            self.client[event.token_id] = {Side.BUY: dict(event.bids), Side.SELL: dict(event.asks)}
        if isinstance(event, PriceChangeEvent):
            for change in event.changes:
                levels = self.client.setdefault(change.token_id, {Side.BUY: {}, Side.SELL: {}})[change.side]
                levels[change.price] = change.size
                if not change.size:
                    del levels[change.price]


def submit(house: House, account: str, token: str, side: Side, *terms: Any) -> SubmitOrder:
    cents, shares, tif = terms
    house.ids += 1
    return SubmitOrder(
        house.next_id(), account, f"0x{house.ids:064x}", token, side, cents * 10_000, shares * 1_000_000, tif
    )


ORDERS = st.tuples(
    st.sampled_from(("a", "b")), st.sampled_from((UP, DOWN)), st.just(Side.BUY), st.integers(30, 70),
    st.integers(5, 40), st.sampled_from((TimeInForce.GTC, TimeInForce.FAK)),
)  # fmt: skip
LADDERS = st.tuples(
    st.dictionaries(st.integers(30, 49), st.integers(1, 50), max_size=4),
    st.dictionaries(st.integers(50, 70), st.integers(1, 50), max_size=4),
)
STEPS = st.lists(st.one_of(ORDERS, LADDERS, st.sampled_from(("cancel", "resync"))), max_size=25)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_replica_and_client_equal_the_exchange_after_every_step(steps: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        house = Listening(Path(folder))
        house.list_market()
        for name in ("a", "b"):
            house.send(OpenAccount(house.next_id(), name, 10**12))
        for step in steps:
            if step == "cancel":
                house.send(CancelScope(house.next_id(), "a"))
            elif step == "resync":
                house.market_sink.on_snapshot(house.core.snapshot("market", house.now))
            elif len(step) == 2:
                levels = [[(cents * 10_000, size * 1_000_000) for cents, size in side.items()] for side in step]
                house.send(QuoteLadder(house.next_id(), "mm", CONDITION, *levels))
            else:
                house.send(submit(house, *step))
            check_views(house)
        house.registry.close()


def check_views(house: Listening) -> None:
    (truth,) = [row for row in house.core.snapshot("market", house.now) if isinstance(row, BookState)]
    replica = house.venue.books.by_condition[CONDITION]
    up, down = replica.book(0), replica.book(1)
    assert (dict(up.bids), dict(up.asks)) == (dict(truth.bids), dict(truth.asks))
    assert (replica.last_price, replica.last_side) == (truth.last_price, truth.last_side)
    assert list(up.bids) == sorted(up.bids)
    assert list(up.asks) == sorted(up.asks, reverse=True)
    mirrored = tuple(sorted((ONE - price, size) for price, size in up.asks))
    assert down.bids == mirrored
    assert replica.best(0) == (max(dict(up.bids), default=None), min(dict(up.asks), default=None))
    assert replica.best(1) == (max(dict(down.bids), default=None), min(dict(down.asks), default=None))
    for book in (up, down):
        assert book.hash == book_hash(book.to_wire())
        followed = house.client.get(book.token_id, {Side.BUY: {}, Side.SELL: {}})
        assert (followed[Side.BUY], followed[Side.SELL]) == (dict(book.bids), dict(book.asks))


@pytest.fixture
def listening(tmp_path: Path) -> Listening:
    house = Listening(tmp_path)
    house.list_market()
    house.send(OpenAccount(house.next_id(), "a", 10**12))
    house.heard.clear()
    return house


def test_a_new_best_level_is_told_for_both_tokens(listening: Listening) -> None:
    listening.send(submit(listening, "a", UP, Side.BUY, 46, 10, TimeInForce.GTC))
    change, up, down = listening.heard
    assert change.tokens == (UP, DOWN)
    assert isinstance(change.event, PriceChangeEvent)
    rows = [(row.token_id, row.side, row.price, row.size, row.best_bid, row.best_ask) for row in change.event.changes]
    assert rows == [
        (UP, Side.BUY, 460_000, 10_000_000, 460_000, 470_000),
        (DOWN, Side.SELL, 540_000, 10_000_000, 530_000, 540_000),
    ]
    assert isinstance(up.event, BestBidAskEvent)
    assert isinstance(down.event, BestBidAskEvent)
    assert (up.custom_only, up.event.best_bid, down.event.best_ask) == (True, 460_000, 540_000)


def test_a_trade_comes_with_whole_books_and_a_print_of_the_takers_token(listening: Listening) -> None:
    listening.send(submit(listening, "a", DOWN, Side.BUY, 55, 10, TimeInForce.FAK))
    kinds = [type(row.event) for row in listening.heard]
    assert kinds == [PriceChangeEvent, BookEvent, BookEvent, LastTradeEvent]
    told = listening.heard[-1].event
    assert isinstance(told, LastTradeEvent)
    assert (told.token_id, told.side, told.price, told.size) == (DOWN, Side.BUY, 550_000, 10_000_000)
    replica = listening.venue.books.by_condition[CONDITION]
    assert replica.last_trade(1) == (550_000, "BUY")
    assert replica.last_trade(0) == (450_000, "SELL")
    assert replica.book(0).last_trade_price == replica.book(1).last_trade_price == 450_000


def test_a_tick_change_is_told_for_both_tokens_with_fresh_books(listening: Listening) -> None:
    listening.send(SetTick(listening.next_id(), CONDITION, 1_000))
    ticks = [row.event for row in listening.heard if isinstance(row.event, TickSizeEvent)]
    assert [(row.token_id, row.old_tick, row.new_tick) for row in ticks] == [(UP, 10_000, 1_000), (DOWN, 10_000, 1_000)]
    books = [row.event for row in listening.heard if isinstance(row.event, BookEvent)]
    assert [row.tick_size for row in books] == [1_000, 1_000]
    listening.send(OpenMarket(listening.next_id(), MARKET))
    assert listening.venue.books.by_condition[CONDITION].market.tick == 1_000


def test_the_hash_of_a_book_is_the_venues() -> None:
    for vector in json.loads(VECTORS.read_text())["orderbook_hash"]:
        assert book_hash(vector["book"]) == vector["sha1_hex"]


def test_an_empty_book_has_no_prices() -> None:
    replica = BookReplica(MARKET)
    assert replica.best(0) == replica.best(1) == (None, None)
    assert (replica.midpoint(0), replica.last_trade(1), replica.display_price(1)) == (None, None, 500_000)
    assert replica.book(0).to_wire()["last_trade_price"] == ""


def test_a_snapshot_forgets_markets_that_are_gone() -> None:
    books = Books()
    books.replace([MarketOpened(MARKET)])
    assert books.token(UP) is not None
    other = msgspec.structs.replace(MARKET, condition_id="0x" + "aa" * 32, token_ids=("1", "2"))
    books.replace([MarketOpened(other)])
    assert books.token(UP) is None
    assert list(books.by_condition) == [other.condition_id]
