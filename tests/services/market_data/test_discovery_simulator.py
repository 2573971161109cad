"""Discovery against polymarket_sim itself: the filters and the search that it relies on are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from common.http import HttpClient
from services.market_data.discovery import Discovery
from services.market_data.watchlist import Saved, WatchList
from services.polymarket_sim.server import make_app
from tests.services.polymarket_sim.house import MARKET, House


@pytest.mark.parametrize("entry", [MARKET.slug, MARKET.condition_id, *MARKET.token_ids, "query:DOWN up", "*"])
async def test_every_form_of_entry_finds_the_simulators_market(tmp_path: Path, entry: str) -> None:
    house = House(tmp_path)
    house.list_market()
    bugs: list[BaseException] = []
    app = make_app(
        house.venue, house.market_hub, house.user_hub,
        counters=house.counters, protocol_version=2, fail=bugs.append,
    )  # fmt: skip
    watch = WatchList((entry, "absent", str(2**255)), Saved(), 10)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        clients = [
            HttpClient(base, total_timeout_s=5, connect_timeout_s=5, connections=4) for base in (url + "/gamma", url)
        ]
        found = await Discovery(clients[0], clients[1], watch, 10).round([])
        for client in clients:
            await client.close()
    house.registry.close()

    assert bugs == []
    [market] = found.markets
    assert (market.slug, market.token_ids, market.outcomes) == (MARKET.slug, MARKET.token_ids, MARKET.outcomes)
    assert market.accepting
    assert sorted(watch.problems) == sorted(["absent", str(2**255)])
