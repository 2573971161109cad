"""The private feed of a ccxt venue: ccxt's real client polling the Binance-like server over real HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.messages import Message, UserFeedChanged, VenueFill, VenueOrderChanged
from common.settings import Wallet
from common.types import FeedState, Settlement, Side
from common.venues.binance.seed import HOUSE, Quote, quote
from common.venues.binance.server import BinanceServer, Fault, FaultKind
from common.venues.binance.weights import Weights
from common.venues.binance.wire import UNIT
from services.user_data.ccxt_feed import CcxtFeed
from services.user_data.openers import open_sources
from services.user_data.outlet import LANE
from tests.services.ccxt_settings import BOUNDLESS, BTC, VENUE, WALLET, ccxt_settings, import_ccxt, poll_until
from tests.services.fake_edge import FakeEdge

LIVE, CLOSED = FeedState.LIVE, FeedState.CLOSED
LOST = Fault(FaultKind.ANSWER, 503, "<html>away</html>")


class Room:
    """The venue, a wallet's feed, and what it said."""

    def __init__(self, server: BinanceServer, tmp_path: Path) -> None:
        self.server = server
        self.edge = FakeEdge("user_data", ccxt_settings(tmp_path, server.url, process="user_data"))
        (source,) = open_sources(self.edge.as_edge(), self.edge.poke)
        assert isinstance(source, CcxtFeed)
        self.source = source

    def start(self) -> None:
        self.edge.spawn(self.source.run(), "feed")

    async def live(self) -> None:
        self.start()
        await self.edge.until(lambda: self.source.feed.state is LIVE)

    def trade(self, side: str, *, price: int = 59_997, account: str = HOUSE, size: int = UNIT // 1000) -> int:
        """An order of somebody at a price inside the seeded spread; the venue's own key of it."""
        venue = self.server.venue
        made = quote(
            venue, venue.accounts[account], Quote("BTCUSDT", side, price * UNIT, size), time.time_ns() // 10**6
        )
        return int(str(made["orderId"]))

    def own(self, side: str, order_id: str, **more: int) -> None:
        """The same by the wallet, under an id of ours."""
        key = self.trade(side, account="trader", **more)
        market = self.server.venue.markets["BTCUSDT"]
        order = market.orders[key]
        del market.newest["trader", order.client_order_id]
        order.client_order_id = order_id
        market.newest["trader", order_id] = order

    def cancel(self, order_id: str) -> None:
        params = {"symbol": "BTCUSDT", "origClientOrderId": order_id}
        self.server.venue.cancel_order(self.server.trader, params, time.time_ns() // 10**6)

    def of(self, kind: type[Message]) -> list[Message]:
        return [body for body in self.edge.bodies(LANE) if isinstance(body, kind)]

    def fills(self) -> list[VenueFill]:
        return [body for body in self.of(VenueFill) if isinstance(body, VenueFill)]

    def orders(self) -> list[tuple[str, str, str, int]]:
        said = [body for body in self.of(VenueOrderChanged) if isinstance(body, VenueOrderChanged)]
        return [(body.venue_order_id, body.kind, body.status, body.filled_size) for body in said]

    def states(self) -> list[FeedState]:
        return [body.state for body in self.of(UserFeedChanged) if isinstance(body, UserFeedChanged)]

    async def polls(self, number: int) -> None:
        """So many whole polls from now."""
        endpoint = "GET openOrders"
        wanted = self.server.requests[endpoint] + 2 * (number + 1)
        await self.until(lambda: self.server.requests[endpoint] >= wanted)

    async def until(self, holds: Callable[[], bool]) -> None:
        await poll_until(self.edge, holds)


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    import_ccxt()
    async with BinanceServer(weights=Weights(BOUNDLESS)) as server:
        found = Room(server, tmp_path)
        yield found
        await found.edge.close()


async def test_what_was_before_the_start_is_not_told_and_what_comes_is_told_once(room: Room) -> None:
    room.own("SELL", "before")
    room.trade("BUY")
    await room.live()
    room.own("SELL", "pe-1")
    room.trade("BUY")
    await room.until(lambda: bool(room.fills()))
    await room.polls(2)
    (fill,) = room.fills()
    assert (fill.venue, fill.wallet, fill.venue_order_id, fill.token_id) == (VENUE, WALLET, "pe-1", BTC)
    assert (fill.side, fill.size, fill.price, fill.cash) == (Side.SELL, 1_000, 59_997_000_000, 59_997_000)
    assert (fill.is_taker, fill.settlement, fill.trade_id.partition(":")[0]) == (
        False,
        Settlement.CONFIRMED,
        "BTC/USDT",
    )
    assert room.states() == [FeedState.CONNECTING, LIVE]


async def test_an_order_is_told_when_it_comes_when_it_fills_and_when_it_ends(room: Room) -> None:
    await room.live()
    room.own("SELL", "pe-1", size=UNIT // 500)
    room.own("BUY", "pe-2", price=50_000)
    await room.until(lambda: len(room.orders()) == 2)
    room.trade("BUY")
    await room.until(lambda: len(room.orders()) == 3)
    room.trade("BUY")
    room.cancel("pe-2")
    await room.until(lambda: len(room.orders()) == 5)
    await room.polls(2)
    told = room.orders()
    assert sorted(told[:2]) == [("pe-1", "PLACEMENT", "LIVE", 0), ("pe-2", "PLACEMENT", "LIVE", 0)]
    assert told[2] == ("pe-1", "UPDATE", "LIVE", 1_000)
    assert sorted(told[3:]) == [("pe-1", "UPDATE", "MATCHED", 2_000), ("pe-2", "CANCELLATION", "CANCELED", 0)]
    assert sum(fill.size for fill in room.fills()) == 2_000


async def test_a_poll_that_fails_delays_a_fill_and_loses_nothing(room: Room) -> None:
    await room.live()
    room.source.patience_ns = 10**12
    for endpoint in ("GET myTrades", "GET openOrders", "GET order"):
        room.server.fail(endpoint, LOST)
    room.own("SELL", "pe-1")
    room.trade("BUY")
    await room.until(lambda: bool(room.fills()))
    await room.polls(1)
    assert [fill.venue_order_id for fill in room.fills()] == ["pe-1"]
    assert room.states() == [FeedState.CONNECTING, LIVE]
    assert room.edge.counters["polls_failed"] >= 2


async def test_polls_that_go_on_failing_are_a_loss_and_live_again_after_it(room: Room) -> None:
    await room.live()
    room.source.patience_ns = 0
    room.server.fail("GET myTrades", LOST)
    await room.until(lambda: room.states()[-2:] == [CLOSED, LIVE])


async def test_refused_keys_are_a_loss_at_once(room: Room) -> None:
    await room.live()
    refused = Fault(FaultKind.ANSWER, 401, '{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}')
    room.server.fail("GET myTrades", refused)
    await room.until(lambda: CLOSED in room.states())
    lost = next(b for b in room.of(UserFeedChanged) if isinstance(b, UserFeedChanged) and b.state is CLOSED)
    assert lost.reason.startswith("VENUE_AUTH: -2015")


async def test_a_clock_that_was_set_is_compared_again(room: Room) -> None:
    await room.live()
    skewed = Fault(
        FaultKind.ANSWER, 400, '{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}'
    )
    asked = room.server.requests["GET time"]
    room.server.fail("GET openOrders", skewed)
    await room.until(lambda: room.server.requests["GET time"] > asked)
    await room.polls(1)
    assert room.states() == [FeedState.CONNECTING, LIVE]


async def test_a_venue_that_is_not_there_at_the_start_is_waited_for(room: Room) -> None:
    room.server.fail("GET exchangeInfo", LOST, 3)
    room.start()
    await room.until(lambda: room.source.feed.state is LIVE)


async def test_a_reader_that_restarted_is_told_a_loss_and_the_present_state(room: Room) -> None:
    await room.live()
    room.source.on_reader_restarted()
    assert room.states()[-2:] == [FeedState.CONNECTING, LIVE]


def test_a_wallet_without_its_file_or_its_row_is_refused(tmp_path: Path) -> None:
    settings = ccxt_settings(tmp_path, "")
    edge = FakeEdge("user_data", settings)
    with pytest.raises(ConfigError, match=r"spot\.user_data\.creds"):
        open_sources(edge.as_edge(), edge.poke)
    stray = FakeEdge("user_data", settings.model_copy(update={"wallets": (Wallet(name="x", venue="nowhere"),)}))
    with pytest.raises(ConfigError, match="does not have"):
        open_sources(stray.as_edge(), stray.poke)
