"""Instruments and books of a ccxt venue: ccxt's real client polling the Binance-like server over real HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from common.errors import ConfigError
from common.messages import BookDelta, BookSnapshot, BookTop, MarketListed
from common.settings import Wallet
from common.types import FeedState
from common.venues.binance.seed import HOUSE, Quote, quote
from common.venues.binance.server import BinanceServer, Fault, FaultKind
from common.venues.binance.weights import Weights
from common.venues.binance.wire import UNIT
from services.market_data.ccxt_feed import WAITING, CcxtMarkets, open_ccxt
from tests.services.ccxt_settings import BOUNDLESS, BTC, ETH, VENUE, ccxt_settings, import_ccxt, poll_until
from tests.services.fake_edge import FakeEdge

LOST = Fault(FaultKind.ANSWER, 503, "<html>away</html>")
LIVE = FeedState.LIVE


Body = TypeVar("Body", BookSnapshot, BookDelta, BookTop)


class Room:
    def __init__(self, server: BinanceServer, tmp_path: Path) -> None:
        self.server = server
        self.edge = FakeEdge("market_data", ccxt_settings(tmp_path, server.url))
        self.said: list[tuple[bool, str]] = []
        source = open_ccxt(self.edge.as_edge(), VENUE)
        assert isinstance(source, CcxtMarkets)
        self.source = source

    def start(self) -> None:
        self.source.start(lambda ready, detail: self.said.append((ready, detail)))

    async def live(self) -> None:
        self.start()
        await self.until(lambda: self.source.board.live_books == 2)

    async def until(self, holds: Callable[[], bool]) -> None:
        await poll_until(self.edge, holds)

    def of(self, token_id: str, kind: type[Body]) -> list[Body]:
        found = [body for _, body in self.edge.published if isinstance(body, kind)]
        return [body for body in found if body.token_id == token_id]

    def state(self, token_id: str) -> FeedState:
        return self.source.board.feeds[token_id].state


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    import_ccxt()
    async with BinanceServer(weights=Weights(BOUNDLESS)) as server:
        found = Room(server, tmp_path)
        yield found
        await found.edge.close()
        await found.source.close()


async def test_instruments_are_listed_and_their_books_are_exact(room: Room) -> None:
    await room.live()
    listed = [body.market for _, body in room.edge.published if isinstance(body, MarketListed)]
    assert [market.token_ids[0] for market in listed] == [BTC, ETH]
    assert all(market.kind == "spot" and market.venue == VENUE for market in listed)
    book = room.of(BTC, BookSnapshot)[-1]
    assert (book.state, book.tick, len(book.bids), len(book.asks)) == (LIVE, 10_000, 20, 20)
    assert (book.bids[0], book.asks[0]) == ((59_994_000_000, 166_660), (60_006_000_000, 166_660))
    assert room.said[0] == (False, WAITING)
    assert room.said[-1] == (True, "")
    assert room.source.board.find(BTC) == listed[0]


async def test_changes_come_as_deltas_and_a_book_that_did_not_change_is_confirmed(room: Room) -> None:
    await room.live()
    house = room.server.venue.accounts[HOUSE]
    quote(room.server.venue, house, Quote("BTCUSDT", "BUY", 59_995 * UNIT, UNIT), time.time_ns() // 10**6)
    await room.until(lambda: any(b.bids for b in room.of(BTC, BookDelta)))
    delta = next(b for b in room.of(BTC, BookDelta) if b.bids)
    assert (delta.bids, delta.asks) == ([(59_995_000_000, 1_000_000)], [])
    tops = room.of(BTC, BookTop)
    assert (tops[-1].bid, tops[-1].bid_size) == (59_995_000_000, 1_000_000)
    assert not [b for b in room.of(ETH, BookDelta) if b.bids or b.asks]


async def test_a_book_that_is_not_had_for_too_long_is_not_believed_and_the_other_is(room: Room) -> None:
    await room.live()
    room.source.patience_ns = 0
    room.source.check_silence()
    assert room.state(BTC) is not LIVE
    assert room.of(BTC, BookTop)
    room.source.patience_ns = 10**10
    await room.until(lambda: room.source.board.live_books == 2)


@pytest.mark.parametrize("body", ["{}", '{"bids":[["1","1"]],"asks":[["x","1"]]}', '{"bids":[[1.5,1]],"asks":[]}'])
async def test_an_unreadable_book_is_not_live(room: Room, body: str) -> None:
    await room.live()
    epochs = {token: room.source.board.feeds[token].epoch for token in (BTC, ETH)}
    room.server.fail("GET depth", Fault(FaultKind.ANSWER, 200, body), 2)
    await room.until(lambda: room.edge.counters["books_failed"] >= 2)
    await room.until(lambda: room.source.board.live_books == 2)
    assert any(room.source.board.feeds[token].epoch > epoch for token, epoch in epochs.items())


async def test_one_failed_poll_is_not_a_loss(room: Room) -> None:
    await room.live()
    room.server.fail("GET depth", LOST, 2)
    await room.until(lambda: room.edge.counters["books_failed"] >= 2)
    assert room.source.board.live_books == 2


async def test_instruments_that_cannot_be_loaded_are_asked_for_again_and_it_is_said(room: Room) -> None:
    room.server.fail("GET exchangeInfo", LOST, 3)
    await room.live()
    assert any(not ready and "cannot be loaded" in detail for ready, detail in room.said)
    assert room.said[-1] == (True, "")


def test_a_venue_without_a_row_is_refused(tmp_path: Path) -> None:
    settings = ccxt_settings(tmp_path, "").model_copy(update={"wallets": (Wallet(name="x", venue="nowhere"),)})
    with pytest.raises(ConfigError, match="does not have"):
        open_ccxt(FakeEdge("market_data", settings).as_edge(), "nowhere")
