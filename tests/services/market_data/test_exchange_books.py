"""The exchange's market stream as books of two tokens, against a real exchange core."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from common.book import Book
from common.effects import Now, Publish
from common.messages import (
    BookDelta,
    BookSnapshot,
    GetBook,
    GetMarkets,
    MarketListed,
    Message,
    OpenMarket,
    SetTick,
    TradePrint,
)
from common.types import FeedState, Side
from services.market_data.effects import Effect
from services.market_data.exchange_books import GONE, ExchangeBooks
from services.market_data.plain import PlainBoard
from tests.services.exchange.world import World, market
from tests.services.market_data.markets import EPOCH, RULES, at, bodies, states

YES, NO = "exchange:1001", "exchange:1002"


class Reader:
    """Whoever reads the topics of one token: its book from snapshots and deltas, without a hole in the versions."""

    def __init__(self) -> None:
        self.book = Book()
        self.version = (0, 0)
        self.state = FeedState.CONNECTING

    def read(self, body: Message) -> None:
        if isinstance(body, BookSnapshot):
            assert (body.epoch, body.seq) >= self.version
            self.book.replace(body.bids, body.asks)
            self.state = body.state
        else:
            assert isinstance(body, BookDelta)
            assert (body.epoch, body.seq) == (self.version[0], self.version[1] + 1)
            self.book.apply_all(body.bids, body.asks)
        self.version = (body.epoch, body.seq)


class Venue:
    """An exchange, what market_data makes of its stream, and readers of both tokens."""

    def __init__(self, audit: bool = True) -> None:
        self.world = World(audit=audit)
        for name in ("one", "two"):
            self.world.account(name, cash="100000", yes="10000", no="10000")
        self.books = ExchangeBooks(PlainBoard(RULES, EPOCH))
        self.readers = {YES: Reader(), NO: Reader()}
        self.said: list[Effect] = []

    @property
    def now(self) -> Now:
        return Now(self.world.wall_ns, self.world.mono_ns)

    def show(self) -> list[Effect]:
        return self.take(self.books.snapshot(self.world.core.snapshot("market", self.now), self.now))

    def hear(self) -> list[Effect]:
        """The stream of the exchange's last step, and the end of the loop's turn."""
        effects: list[Effect] = []
        for event in self.world.events("market"):
            effects += self.books.event(event, self.now)
        return self.take(effects + self.books.flush(self.now))

    def take(self, effects: list[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, Publish) and effect.topic.startswith("book."):
                self.readers[effect.topic.removeprefix("book.")].read(effect.body)
        self.said += effects
        return effects

    def submit(self, *args: Any, **more: Any) -> list[Effect]:
        self.world.submit(*args, **more)
        return self.hear()

    def check(self) -> None:
        """Readers hold what the exchange holds, each token in its own terms."""
        whistle = self.world.core.engine.router.by_condition["0xc0"]
        state = whistle.state(0)
        assert (self.readers[YES].book.bids(), self.readers[YES].book.asks()) == (state.bids, state.asks)
        assert self.readers[NO].book.bids() == [(1_000_000 - price, size) for price, size in state.asks]
        assert self.readers[NO].book.asks() == [(1_000_000 - price, size) for price, size in state.bids]
        assert {reader.state for reader in self.readers.values()} == {FeedState.LIVE}


def shown() -> Venue:
    venue = Venue()
    venue.submit("one", "o1", "BUY", "1001", "10", "0.45")
    venue.submit("one", "o2", "SELL", "1001", "10", "0.47")
    assert venue.said == [], "nothing is published before a snapshot"
    venue.show()
    return venue


def test_a_snapshot_lists_the_markets_and_makes_both_books_live() -> None:
    venue = shown()
    (listed,) = bodies(venue.said, "instruments")
    assert isinstance(listed, MarketListed)
    assert (listed.market.venue, listed.market.slug) == ("exchange", "exchange:slug-0xc0")
    venue.check()
    (view,) = venue.books.board.report(GetMarkets("r")).markets
    assert view.best_bids == (450_000, 530_000)
    report = venue.books.board.book_report(GetBook("r", "exchange:slug-0xc0", "No"))
    assert report.book.asks == [(550_000, 10_000_000)]


def test_changes_arrive_as_one_delta_a_token_and_trades_behind_them() -> None:
    venue = shown()
    effects = venue.submit("two", "t1", "SELL", "1001", "5", "0.45")
    venue.check()
    topics = [
        effect.topic for effect in effects if isinstance(effect, Publish) and effect.topic[:5] in ("book.", "trade")
    ]
    assert topics == [f"book.{YES}", f"book.{NO}", f"trades.{YES}"]
    (trade,) = bodies(effects, f"trades.{YES}")
    assert isinstance(trade, TradePrint)
    assert (trade.side, trade.price, trade.size) == (Side.SELL, 450_000, 5_000_000)


def test_a_lost_stream_ends_trust_and_a_snapshot_brings_the_books_back_in_a_new_epoch() -> None:
    venue = shown()
    before = venue.readers[YES].version
    venue.take(venue.books.lost("gone", venue.now))
    assert {reader.state for reader in venue.readers.values()} == {FeedState.CONNECTING}
    venue.world.submit("two", "t1", "BUY", "1001", "5", "0.40")
    venue.show()
    venue.check()
    assert venue.readers[YES].version == (before[0] + 1, 1)


def test_a_snapshot_over_live_books_is_a_new_epoch_too() -> None:
    """A reader takes one only when it is behind it: something was missed."""
    venue = shown()
    before = venue.readers[YES].version[0]
    venue.world.submit("two", "t1", "BUY", "1001", "5", "0.40")
    venue.show()
    venue.check()
    assert venue.readers[YES].version == (before + 1, 1)


def test_books_are_what_they_were_when_a_silent_exchange_is_heard_again() -> None:
    venue = shown()
    venue.take(venue.books.lost("silent", venue.now))
    venue.take(venue.books.restored(venue.now))
    venue.check()


def test_a_market_that_is_opened_later_begins_live_and_empty() -> None:
    venue = shown()
    for token in ("exchange:1", "exchange:2"):
        venue.readers[token] = Reader()
    venue.world.send(OpenMarket("open", market("0xc1", ("1", "2"))))
    venue.hear()
    assert venue.readers["exchange:1"].state is FeedState.LIVE
    venue.submit("one", "n1", "BUY", "1", "10", "0.30")
    assert venue.readers["exchange:2"].book.asks() == [(700_000, 10_000_000)]


def test_a_new_tick_begins_an_epoch_on_the_new_grid() -> None:
    venue = shown()
    venue.world.send(SetTick("finer", "0xc0", 1_000))
    venue.hear()
    venue.submit("one", "o3", "BUY", "1001", "10", "0.455")
    venue.check()
    before = venue.readers[YES].version[0]
    venue.world.send(SetTick("coarser", "0xc0", 10_000))
    effects = venue.hear()
    venue.check()
    assert venue.readers[YES].version[0] == before + 1
    assert venue.books.board.markets[0].tick == 10_000
    assert not [price for price, _ in venue.readers[YES].book.bids() if price % 10_000]
    assert len(bodies(effects, "instruments")) == 1


def test_markets_that_are_gone_from_a_snapshot_are_closed() -> None:
    venue = shown()
    effects = venue.take(venue.books.snapshot([], venue.now))
    assert states(effects, YES)[-1] == (FeedState.CLOSED, GONE)
    venue.show()
    assert venue.readers[YES].state is FeedState.LIVE


def test_a_book_that_the_stream_contradicts_asks_for_a_snapshot() -> None:
    venue = shown()
    venue.world.submit("one", "o3", "BUY", "1001", "10", "0.46")
    (change,) = [event for event in venue.world.events("market") if hasattr(event, "best_bid")]
    crossed = msgspec.structs.replace(change, bids=[(480_000, 1)])
    contradicted = [venue.books.contradicted]
    venue.take(venue.books.event(crossed, venue.now))
    contradicted.append(venue.books.contradicted)
    venue.show()
    assert [*contradicted, venue.books.contradicted] == [False, True, False]
    venue.check()


def test_markets_above_the_limit_are_left_alone() -> None:
    world = World()
    for number in range(RULES.markets_max + 1):
        world.send(OpenMarket(f"m{number}", market(f"0xd{number}", (f"{number}1", f"{number}2"))))
    books = ExchangeBooks(PlainBoard(RULES, EPOCH))
    books.snapshot(world.core.snapshot("market", at(0)), at(0))
    assert len(books.board.markets) == RULES.markets_max
    world.account("one")
    world.submit("one", "o1", "BUY", f"{RULES.markets_max}1", "10", "0.30")
    for event in world.events("market"):
        books.event(event, at(0))
    assert not books.contradicted


ORDERS = st.tuples(
    st.sampled_from(("one", "two")),
    st.sampled_from(("BUY", "SELL")),
    st.sampled_from(("1001", "1002")),
    st.integers(5, 40),
    st.integers(30, 70),
    st.sampled_from(("GTC", "FAK")),
)
MOVES = st.one_of(ORDERS, st.sampled_from(("cancel", "lose", "show", "silence")))


@settings(max_examples=60, deadline=None)
@given(st.lists(MOVES, max_size=25))
def test_readers_always_hold_the_exchanges_book_or_know_that_they_do_not(moves: list[Any]) -> None:
    venue = Venue(audit=False)
    venue.show()
    is_followed = True
    for number, move in enumerate(moves):
        if move == "lose":
            is_followed = False
            venue.take(venue.books.lost("lost", venue.now))
        elif move == "show":
            is_followed = True
            venue.show()
        elif move == "silence":
            if is_followed:
                venue.take(venue.books.lost("silent", venue.now))
                venue.take(venue.books.restored(venue.now))
        else:
            if move == "cancel":
                venue.world.cancel("one", *(f"n{earlier}" for earlier in range(number)))
            else:
                account, side, token, size, price, tif = move
                venue.world.submit(account, f"n{number}", side, token, str(size), f"0.{price}", tif=tif)
            if is_followed:
                venue.hear()
        if is_followed:
            venue.check()
        else:
            assert {reader.state for reader in venue.readers.values()} == {FeedState.CONNECTING}
