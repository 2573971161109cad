"""A client that signs as the official ones do and shows an answer as it came: status, headers, bytes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestClient

from common.venues.polymarket.auth import L2Credentials, l2_headers
from tests.services.polymarket_sim.house import House, Person

Http = TestClient[web.Request, web.Application]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    content_type: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, Any]:
        return self.status, self.json.get("error")


async def send(http: Http, house: House, person: Person, call: str, body: Any = None) -> Answer:
    """One private request ("POST /order"), signed over the bare path."""
    method, _, target = call.partition(" ")
    raw = json.dumps(body, separators=(",", ":")).encode() if body is not None else b""
    creds = L2Credentials(person.key.key, person.key.secret, person.key.passphrase)
    headers = l2_headers(person.signer.address, creds, house.venue.now_s, method, target.partition("?")[0], raw)
    async with http.request(method, target, data=raw or None, headers=headers) as response:
        return Answer(response.status, dict(response.headers), await response.read(), response.content_type)


async def place(http: Http, house: House, person: Person, cents: int = 30, **more: Any) -> Answer:
    """A new order of ten shares."""
    return await send(http, house, person, "POST /order", person.buy(cents, 10, **more))


async def open_ids(http: Http, house: House, person: Person) -> list[str]:
    """What rests at the venue, oldest first."""
    answer = await send(http, house, person, "GET /data/orders")
    return [row["id"] for row in answer.json["data"]]
