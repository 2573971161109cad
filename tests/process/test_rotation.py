"""Connections are replaced before they grow old, under load: every book stays LIVE, true and of one epoch."""

from __future__ import annotations

import asyncio

import pytest

from common.latest import TokenView
from common.requester import Requester
from common.types import FeedState
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group
from tests.process.probe import probe
from tests.process.truth import Truth, Watch

PROCESSES = ("exchange", "polymarket_sim", "mirror", "market_data")
ROTATE_S = 5
ROTATIONS = 3
TICK = "the tick changed"
"""The one thing in this recording that ends an epoch."""
DEADLINE_S = 60.0


def connections_made(processes: Group) -> int:
    with Requester(processes.settings) as bus:
        return bus.heartbeats(3.0, ("market_data",))["market_data"].counters["ws_connected"]


@pytest.mark.timeout(150)
async def test_a_replaced_connection_is_not_noticed_by_any_reader() -> None:
    settings = {
        "mirror__speed": "10",
        "mirror__market_count": "6",
        "market_data__rotate_after_s": str(ROTATE_S),
        "market_data__custom_features": "true",
        "market_data__tokens_per_connection": "6",
        "recorder__enabled": "false",
    }
    with group(**settings) as processes:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            processes.start(name)
        await asyncio.to_thread(processes.wait_ready, *PROCESSES)
        doubts: dict[str, set[str]] = {}

        def note(view: TokenView) -> None:
            if view.state is not FeedState.LIVE:
                doubts.setdefault(view.token_id, set()).add(view.reason)

        async with probe(processes, note) as reader:
            truth = Truth()
            reader.edge.subscribe("exchange", "market", truth)
            tokens = [token_id for pair in (await reader.tokens()).values() for token_id in pair]
            reader.reader.follow(tokens)
            watch = Watch(truth, reader.reader, tokens)
            await reader.until(watch.all_live_and_true, 15, "every book is LIVE and true")
            watch.begin()
            doubts.clear()
            epochs = {token_id: reader.reader.book(token_id) for token_id in tokens}
            before = await asyncio.to_thread(connections_made, processes)
            loop = asyncio.get_running_loop()
            end = loop.time() + DEADLINE_S
            while await asyncio.to_thread(connections_made, processes) < before + ROTATIONS:
                assert loop.time() < end, "connections were not replaced"
                watch.look()
            await reader.until(watch.all_live_and_true, 15, "every book is LIVE and true")
            assert set().union(*doubts.values()) <= {TICK}, doubts
            assert watch.longest_ns == 0
            for token_id, first in epochs.items():
                now = reader.reader.book(token_id)
                assert first is not None
                assert now is not None
                assert now.epoch == first.epoch or token_id in doubts
            assert reader.reader.latest.discontinuities == 0
            assert truth.gaps == 0
