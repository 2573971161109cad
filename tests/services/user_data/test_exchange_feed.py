"""The exchange's account events as private feeds, against a real exchange core: continuity, silence, a full lane."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from common.messages import UserFeedChanged, VenueFill, VenueOrderChanged
from common.settings import Wallet
from common.types import FeedState, Settlement, Side
from services.user_data import exchange_feed
from services.user_data.exchange_feed import SILENT_NS, AccountStream
from services.user_data.outlet import LANE, LANE_FULL
from tests.services.exchange.world import NO, YES, World
from tests.services.exchange_edge import ExchangeEdge, with_wallets

CONNECTING, LIVE, STALE, CLOSED = FeedState.CONNECTING, FeedState.LIVE, FeedState.STALE, FeedState.CLOSED


class Room:
    """Two wallets of ours at one exchange, and somebody to trade with."""

    def __init__(self) -> None:
        self.world = World(mined_delay_ms=100, confirmed_delay_ms=200)
        for name in ("own:one", "own:two", "house"):
            self.world.account(name, yes="100", no="100")
        wallets = (Wallet(name="one", venue="exchange"), Wallet(name="two", venue="exchange"))
        self.edge = ExchangeEdge("user_data", with_wallets(*wallets), self.world)
        self.mono_ns = 10**12
        self.hear()
        self.stream = AccountStream(
            self.edge.as_edge(), wallets, self.edge.poke, wall_ns=lambda: 7, mono_ns=lambda: self.mono_ns
        )
        for feed in self.stream.feeds:
            self.edge.spawn(feed.run(), feed.feed.wallet)

    def hear(self) -> None:
        """The exchange says hello."""
        self.edge.heard_at_ns = self.mono_ns

    async def live(self) -> Room:
        await self.edge.until(lambda: "account" in self.edge.sinks)
        self.edge.show("account")
        return self

    def submit(self, account: str, order_id: str, side: str, price: str, token: str = YES) -> None:
        self.world.submit(account, order_id, side, token, "10", price)
        self.edge.hear()

    def states(self, wallet: str = "one") -> list[FeedState]:
        return [b.state for b in self.edge.bodies(LANE) if isinstance(b, UserFeedChanged) and b.wallet == wallet]

    def orders(self) -> list[tuple[str, str, str, int]]:
        said = [body for body in self.edge.bodies(LANE) if isinstance(body, VenueOrderChanged)]
        return [(body.wallet, body.venue_order_id, body.status, body.filled_size) for body in said]

    def fills(self) -> list[VenueFill]:
        return [body for body in self.edge.bodies(LANE) if isinstance(body, VenueFill)]


@pytest.fixture
async def room(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    monkeypatch.setattr(exchange_feed, "CHECK_S", 0.01)
    made = Room()
    yield made
    assert made.edge.errors == []
    await made.edge.close()


async def test_nothing_is_live_before_the_stream_was_heard(room: Room) -> None:
    await room.edge.until(lambda: room.states() == [CONNECTING] == room.states("two"))
    await room.live()
    assert room.states() == [CONNECTING, LIVE] == room.states("two")


async def test_each_wallet_hears_of_its_own_orders_and_fills_only(room: Room) -> None:
    await room.live()
    room.submit("own:one", "one-1", "BUY", "0.45")
    room.submit("house", "h-1", "BUY", "0.40")
    room.submit("own:two", "two-1", "BUY", "0.55", token=NO)
    assert room.orders()[0] == ("one", "one-1", "LIVE", 0)
    by_wallet = {fill.wallet: (fill.token_id, fill.side, fill.is_taker) for fill in room.fills()}
    assert by_wallet == {
        "one": ("exchange:1001", Side.BUY, False),
        "two": ("exchange:1002", Side.BUY, True),
    }
    assert {(wallet, order) for wallet, order, _, _ in room.orders()} == {("one", "one-1"), ("two", "two-1")}


async def test_a_fill_is_told_at_every_stage_of_its_settlement(room: Room) -> None:
    await room.live()
    room.submit("house", "h-1", "SELL", "0.45")
    room.submit("own:one", "one-1", "BUY", "0.45")
    room.edge.pass_time(0.1)
    room.edge.pass_time(0.1)
    assert [fill.settlement for fill in room.fills()] == [
        Settlement.MATCHED,
        Settlement.MINED,
        Settlement.CONFIRMED,
    ]
    assert len({(fill.trade_id, fill.venue_order_id) for fill in room.fills()}) == 1


async def test_a_gap_is_told_as_a_loss_and_then_live_again(room: Room) -> None:
    await room.live()
    room.edge.sinks["account"].on_gap()
    assert room.states()[-1] is CLOSED
    room.edge.show("account")
    assert room.states() == [CONNECTING, LIVE, CLOSED, LIVE] == room.states("two")


async def test_a_snapshot_while_live_means_that_something_was_missed(room: Room) -> None:
    """A reader takes a snapshot only when it is behind it: the events in between never came."""
    await room.live()
    room.edge.show("account")
    assert room.states() == [CONNECTING, LIVE, FeedState.SUSPECT, LIVE]


async def test_a_silent_exchange_is_stale_until_it_is_heard_again(room: Room) -> None:
    await room.live()
    room.mono_ns += SILENT_NS + 1
    await room.edge.until(lambda: room.states()[-1] is STALE)
    room.hear()
    await room.edge.until(lambda: room.states()[-1] is LIVE)
    assert room.states("two") == [CONNECTING, LIVE, STALE, LIVE]


async def test_an_exchange_that_comes_back_with_another_life_is_live_only_with_its_stream(room: Room) -> None:
    await room.live()
    room.mono_ns += SILENT_NS + 1
    await room.edge.until(lambda: room.states()[-1] is STALE)
    room.edge.sinks["account"].on_gap()
    room.hear()
    room.stream.check()
    assert room.states()[-1] is CLOSED
    room.edge.show("account")
    assert room.states()[-1] is LIVE


async def test_what_finds_no_room_on_the_lane_is_told_as_a_loss_once_there_is_room(room: Room) -> None:
    await room.live()
    room.edge.lane_room = False
    room.submit("own:one", "one-1", "BUY", "0.45")
    before = len(room.edge.sent)
    room.edge.lane_room = True
    await room.edge.until(lambda: len(room.edge.sent) == before + 2)
    told = [body for _, _, body in room.edge.sent[before:] if isinstance(body, UserFeedChanged)]
    assert [(body.wallet, body.state, body.reason) for body in told] == [
        ("one", CONNECTING, LANE_FULL),
        ("one", LIVE, ""),
    ]
    room.submit("own:one", "one-2", "BUY", "0.44")
    assert room.orders() == [("one", "one-2", "LIVE", 0)]


async def test_a_restarted_executor_is_told_to_catch_up(room: Room) -> None:
    await room.live()
    for feed in room.stream.feeds:
        feed.on_reader_restarted()
    assert room.states()[-2:] == [CONNECTING, LIVE] == room.states("two")[-2:]
