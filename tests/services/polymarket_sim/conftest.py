"""A quoted market in memory, and the venue's server over it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.polymarket_sim.server import make_app
from tests.services.polymarket_sim.house import House


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    house.list_market()
    yield house
    house.registry.close()


@pytest.fixture
def bugs() -> Iterator[list[BaseException]]:
    """What the server reported as bugs: nothing may."""
    found: list[BaseException] = []
    yield found
    assert found == []


@pytest.fixture
async def http(house: House, bugs: list[BaseException]) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = make_app(
        house.venue, house.market_hub, house.user_hub,
        counters=house.counters, protocol_version=2, fail=bugs.append,
    )  # fmt: skip
    async with TestClient(TestServer(app)) as client:
        yield client
