"""Answers that do not arrive as they should: the order is there all the same, and the client cannot know."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from common.venues.polymarket.auth import L2Credentials, l2_headers
from services.polymarket_sim import delivery
from tests.services.polymarket_sim.client import Http, open_ids, place, send
from tests.services.polymarket_sim.house import House, Person

DEADLINE_S = 5.0


async def unanswered(http: Http, house: House, person: Person) -> type[BaseException]:
    """What a client of the venue makes of one place."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            await place(http, house, person)
    except aiohttp.ClientError as error:
        return type(error)
    raise AssertionError("the place was answered")


async def test_an_accepted_order_may_get_no_answer_and_the_log_says_so(
    http: Http, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, for_ever = asyncio.Event(), asyncio.Event()

    async def silence() -> None:
        silent.set()
        await for_ever.wait()

    monkeypatch.setattr("services.polymarket_sim.front.silence", silence)
    person = Person()
    house.venue.faults.set("post_order_timeout", True, {"times": 1})
    waiting = asyncio.create_task(place(http, house, person))
    async with asyncio.timeout(DEADLINE_S):
        await silent.wait()
    assert house.venue.log.to_wire()["statuses"] == {"POST /order": {"lost": 1}}
    assert len(await open_ids(http, house, person)) == 1
    assert not waiting.done()
    waiting.cancel()
    assert (await place(http, house, person)).json["status"] == "live"


async def test_which_answers_are_lost_follows_from_the_seed(
    http: Http, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once() -> None:
        """Nobody waits in this test."""

    monkeypatch.setattr("services.polymarket_sim.front.silence", at_once)

    async def lost(person: Person, seed: int) -> list[bool]:
        house.venue.faults.set("post_order_timeout", True, {"percent": 30, "seed": seed})
        return [(await place(http, house, person)).status == 504 for _ in range(30)]

    first, again, other = [await lost(Person(number), seed) for number, seed in ((1, 7), (2, 7), (3, 8))]
    assert first == again != other
    assert 3 <= sum(first) <= 16
    assert len(await open_ids(http, house, Person(1))) == 30, "each of them was accepted"
    assert house.venue.faults.struck["post_order_timeout"] == sum(first + again + other)


async def test_an_accepted_order_may_end_in_a_reset(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("post_order_reset", True, {"times": 1})
    assert issubclass(await unanswered(http, house, person), aiohttp.ClientOSError | aiohttp.ServerDisconnectedError)
    assert len(await open_ids(http, house, person)) == 1
    assert house.venue.log.to_wire()["statuses"]["POST /order"] == {"reset": 1}  # type: ignore[index]


async def test_a_reset_is_a_reset_of_tcp(http: Http, house: House) -> None:
    """Not an end of stream: whoever reads gets ECONNRESET."""
    person = Person()
    house.venue.faults.set("post_order_reset", True, {"endpoints": "DELETE /cancel-all"})
    url = http.make_url("/cancel-all")
    reader, writer = await asyncio.open_connection(url.host, url.port)
    request = _signed(house, person, "DELETE", "/cancel-all")
    writer.write(request)
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(DEADLINE_S):
            await reader.read()
    writer.close()


def _signed(house: House, person: Person, method: str, path: str) -> bytes:
    creds = L2Credentials(person.key.key, person.key.secret, person.key.passphrase)
    headers = l2_headers(person.signer.address, creds, house.venue.now_s, method, path, b"")
    lines = [f"{method} {path} HTTP/1.1", "Host: venue", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "text"),
    [
        ("execution", 500, "application/json", '{"error":"could not run the execution"}'),
        ("insert", 500, "application/json", '{"error":"could not insert order"}'),
        ("bad_gateway", 502, "text/html", "502 Bad Gateway"),
        ("unavailable", 503, "text/html", "503 Service Temporarily Unavailable"),
    ],
)
async def test_an_accepted_order_may_be_answered_with_an_error(
    http: Http, house: House, *, kind: str, status: int, content_type: str, text: str
) -> None:
    person = Person()
    house.venue.faults.set("error_after_accept", True, {"kind": kind, "times": 1})
    answer = await place(http, house, person)
    assert (answer.status, answer.content_type, text in answer.body.decode()) == (status, content_type, True)
    assert len(await open_ids(http, house, person)) == 1


async def test_a_body_shorter_than_announced_ends_the_connection(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("truncated_body", True, {"times": 1, "keep": 10})
    assert await unanswered(http, house, person) is aiohttp.ClientPayloadError
    assert len(await open_ids(http, house, person)) == 1
    assert (await place(http, house, person)).status == 200, "the next one has another connection"


@pytest.mark.parametrize("keep", [0, 15, 10_000])
async def test_half_a_json_has_the_length_it_says(http: Http, house: House, keep: int) -> None:
    house.venue.faults.set("truncated_body", True, {"times": 1, "kind": "json", "keep": keep})
    answer = await place(http, house, Person())
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert len(answer.body) == int(answer.headers["Content-Length"]) >= min(keep, 15)
    with pytest.raises(ValueError, match="char"):
        _ = answer.json


@pytest.mark.parametrize(
    ("kind", "content_type", "begins"),
    [("json_as_html", "text/html", b'{"success":true'), ("html_as_json", "application/json", b"<html>")],
)
async def test_an_answer_may_be_called_what_it_is_not(
    http: Http, house: House, kind: str, content_type: str, begins: bytes
) -> None:
    person = Person()
    house.venue.faults.set("wrong_content_type", True, {"times": 1, "kind": kind})
    answer = await place(http, house, person)
    assert (answer.status, answer.content_type, answer.body[: len(begins)]) == (200, content_type, begins)
    assert len(await open_ids(http, house, person)) == 1


@pytest.mark.parametrize(
    "fault", ["post_order_timeout", "post_order_reset", "error_after_accept", "truncated_body", "wrong_content_type"]
)
async def test_what_the_venue_refuses_is_told_whatever_is_on(http: Http, house: House, fault: str) -> None:
    """These faults are about orders that were accepted; a refusal is never in doubt."""
    house.venue.faults.set(fault, True, {})
    answer = await place(http, house, Person(), cents=30, owner="nobody")
    assert answer.refusal == (400, "the order owner has to be the owner of the API KEY")
    assert house.venue.faults.struck[fault] == 0


async def test_faults_strike_only_the_endpoints_they_name(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("error_after_accept", True, {"endpoints": "cancels,POST /orders"})
    placed = await place(http, house, person)
    assert placed.status == 200
    calls: list[tuple[str, Any]] = [
        ("DELETE /order", {"orderID": placed.json["orderID"]}), ("DELETE /cancel-all", None),
        ("POST /orders", [person.buy(30, 10)]),
    ]  # fmt: skip
    for call, body in calls:
        assert (await send(http, house, person, call, body)).status == 500
    assert len(await open_ids(http, house, person)) == 1, "the cancels were carried out, and so was the batch"


def test_silence_outlasts_every_client() -> None:
    assert delivery.SILENCE_S > 60
