"""user_data against a WebSocket server on loopback: subscription, events on the lane, losses, a full lane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from common.backoff import ExponentialBackoff
from common.messages import UserFeedChanged, VenueOrderChanged
from common.types import FeedState
from common.venues.polymarket.auth import L2Credentials
from services.user_data.channel import UserChannel
from services.user_data.core import UserFeed
from services.user_data.outlet import LANE, LANE_FULL
from tests.services.fake_edge import FakeEdge, settings_for
from tests.services.user_data.test_core import ADDRESS, KEY, ORDER

CREDS = L2Credentials(KEY, "c2VjcmV0", "phrase")


class Server:
    """The venue's side; `connections` are the open ones."""

    def __init__(self) -> None:
        self.firsts: list[object] = []
        self.connections: list[ServerConnection] = []

    async def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            async for frame in connection:
                if frame == "PING":
                    await connection.send("PONG")
                else:
                    self.firsts.append(json.loads(frame))
        except ConnectionClosed:
            return
        finally:
            self.connections.remove(connection)


class World:
    def __init__(self, edge: FakeEdge, server: Server, channel: UserChannel) -> None:
        self.edge = edge
        self.server = server
        self.channel = channel

    @property
    def states(self) -> list[FeedState]:
        return [body.state for body in self.edge.bodies(LANE) if isinstance(body, UserFeedChanged)]

    @property
    def events(self) -> list[VenueOrderChanged]:
        return [body for body in self.edge.bodies(LANE) if isinstance(body, VenueOrderChanged)]

    async def live(self, times: int = 1) -> None:
        await self.edge.until(lambda: self.states.count(FeedState.LIVE) >= times)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    server = Server()
    async with serve(server.handle, "127.0.0.1", 0, ping_interval=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        edge = FakeEdge("user_data", settings_for(user_ws_url=f"ws://127.0.0.1:{port}/ws/user"))
        feed = UserFeed("main", KEY, frozenset({ADDRESS.lower()}))
        channel = UserChannel(
            edge.as_edge(),
            feed,
            CREDS,
            rng=Random(1),
            on_change=edge.poke,
            backoff=ExponentialBackoff(Random(1), 0.01, 0.05),
        )
        edge.spawn(channel.run(), "channel")
        try:
            yield World(edge, server, channel)
            assert edge.errors == []
        finally:
            await edge.close()


async def test_it_subscribes_to_everything_with_its_own_credentials_and_becomes_live() -> None:
    async with world() as w:
        await w.live()
        auth = {"apiKey": KEY, "secret": "c2VjcmV0", "passphrase": "phrase"}
        assert w.server.firsts == [{"type": "user", "auth": auth, "markets": []}]
        assert w.states == [FeedState.CONNECTING, FeedState.LIVE]


async def test_events_reach_the_lane_under_keys_of_their_own() -> None:
    async with world() as w:
        await w.live()
        for _ in range(2):
            await w.server.connections[0].send(json.dumps([ORDER, ORDER]))
        await w.edge.until(lambda: len(w.events) == 4)
        keys = [key for _, key, _ in w.edge.sent]
        assert len(set(keys)) == len(keys)


async def test_a_cut_connection_is_told_as_closed_and_then_live_again() -> None:
    async with world() as w:
        await w.live()
        w.server.connections[0].transport.abort()
        await w.live(2)
        assert w.states == [
            FeedState.CONNECTING,
            FeedState.LIVE,
            FeedState.CLOSED,
            FeedState.CONNECTING,
            FeedState.LIVE,
        ]


async def test_a_restarted_executor_is_told_to_catch_up() -> None:
    async with world() as w:
        await w.live()
        w.channel.on_reader_restarted()
        assert w.states[-2:] == [FeedState.CONNECTING, FeedState.LIVE]


async def test_a_full_lane_drops_the_connection_and_the_loss_is_told_before_anything_newer() -> None:
    async with world() as w:
        await w.live()
        w.edge.lane_room = False
        await w.server.connections[0].send(json.dumps(ORDER))
        await w.edge.until(lambda: w.channel.feed.state is not FeedState.LIVE)
        before = len(w.edge.sent)
        assert w.events == []
        w.edge.lane_room = True
        await w.live(2)
        first = w.edge.sent[before][2]
        assert isinstance(first, UserFeedChanged)
        assert (first.state, first.reason) == (FeedState.CONNECTING, LANE_FULL)
        await w.server.connections[-1].send(json.dumps(ORDER))
        await w.edge.until(lambda: len(w.events) == 1)
