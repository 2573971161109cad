"""What every request meets: it is counted with what it names, admitted by mode and limits, and told what is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from common.types import TimeInForce
from tests.services.polymarket_sim.client import Answer, Http, open_ids, place, send
from tests.services.polymarket_sim.house import UP, House, Person

CALLS: list[tuple[str, Any]] = [
    ("DELETE /order", {"orderID": "0x12"}),
    ("DELETE /orders", ["0x12"]),
    ("DELETE /cancel-all", None),
    ("DELETE /cancel-market-orders", {"market": "", "asset_id": UP}),
]
POST_ONLY = "post-only mode: only post-only orders and cancels are allowed"


def limits(answer: Answer) -> tuple[str, ...]:
    return tuple(answer.headers.get(f"Poly-RateLimit-{name}", "") for name in ("Remaining", "Reset", "Tier", "Warning"))


# ---- counting ----


async def test_requests_are_counted_by_template_and_status(http: Http, house: House) -> None:
    person = Person()
    await place(http, house, person)
    for target in ("/data/order/0x1", "/data/order/0x2", "/nothing", "/gamma/markets/slug/none"):
        await send(http, house, person, f"GET {target}")
    await send(http, house, person, "PUT /order")
    seen = house.venue.log.to_wire()
    assert seen["requests"] == {
        "POST /order": 1, "GET /data/order/{id}": 2, "GET /gamma/markets/slug/{slug}": 1, "other": 2,
    }  # fmt: skip
    assert seen["statuses"] == {
        "POST /order": {"200": 1}, "GET /data/order/{id}": {"404": 2}, "GET /gamma/markets/slug/{slug}": {"404": 1},
        "other": {"404": 1, "405": 1},
    }  # fmt: skip


async def test_order_calls_are_kept_with_what_they_name_and_when_they_came(http: Http, house: House) -> None:
    person = Person()
    first = person.buy(30, 10, post_only=True)
    posted = (await send(http, house, person, "POST /order", first)).json["orderID"]
    house.pass_time(1)
    legs = (await send(http, house, person, "POST /orders", [person.buy(31, 10, TimeInForce.FAK), first])).json
    await send(http, house, person, "DELETE /orders", [posted, "0x9"])
    await send(http, house, person, "DELETE /order", {"orderID": posted})
    await send(http, house, person, "DELETE /cancel-all")
    rows = [call.to_wire() for call in house.venue.log.after(0)]
    assert [(row["method"], row["path"], row["status"]) for row in rows] == [
        ("POST", "/order", 200), ("POST", "/orders", 200), ("DELETE", "/orders", 200), ("DELETE", "/order", 200),
        ("DELETE", "/cancel-all", 200),
    ]  # fmt: skip
    fak = legs[0]["orderID"]
    assert [row["order_ids"] for row in rows] == [[posted], [fak, posted], [posted, "0x9"], [posted], []]
    assert rows[0]["orders"] == [{"id": posted, "order_type": "GTC", "post_only": True}]
    assert rows[1]["orders"][0] == {"id": fak, "order_type": "FAK", "post_only": False}  # type: ignore[index]
    assert rows[1]["mono_ns"] - rows[0]["mono_ns"] == rows[1]["at_ns"] - rows[0]["at_ns"] == 10**9  # type: ignore[operator]
    assert house.venue.log.to_wire()["order_posts"] == {posted: 2, fak: 1}


async def test_an_order_is_counted_whatever_becomes_of_it(http: Http, house: House) -> None:
    """Refused by a fault, by a mode, without a key: the id is the digest, so it is known."""
    person = Person()
    entry = person.buy(30, 10)
    for fault in ("error_425", "restart", "trading_disabled"):
        house.venue.faults.set(fault, True, {})
        if fault != "error_425":
            house.venue.switch_mode(fault)
        assert (await send(http, house, person, "POST /order", entry)).status in (425, 503)
        house.venue.faults.set(fault, False, {})
    house.venue.modes.end()
    async with http.post("/order", json=entry) as answer:
        assert answer.status == 401
    order_id = (await send(http, house, person, "POST /order", entry)).json["orderID"]
    assert house.venue.log.to_wire()["order_posts"] == {order_id: 5}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"order": {}}', b'"text"', b"\xff"])
async def test_what_cannot_be_read_is_counted_and_refused_as_before(http: Http, house: House, body: bytes) -> None:
    for method, path in (("POST", "/order"), ("POST", "/orders"), ("DELETE", "/order"), ("DELETE", "/orders")):
        async with http.request(method, path, data=body) as answer:
            assert answer.status in (400, 401)
    assert sum(house.venue.log.requests.values()) == 4
    assert [call.order_ids for call in house.venue.log.after(0) if call.order_ids] == []


# ---- modes ----


async def test_a_restart_runs_its_course_and_trading_resumes_alone(http: Http, house: House) -> None:
    person, faults = Person(), house.venue.faults
    resting = (await place(http, house, person)).json["orderID"]
    faults.set("restart", True, {"down_s": 90, "post_only_s": 120})
    house.venue.switch_mode("restart")
    answers = [await place(http, house, person), *[await send(http, house, person, *call) for call in CALLS]]
    assert {answer.refusal for answer in answers} == {(425, "service not ready")}
    assert await open_ids(http, house, person) == [resting]
    assert (await send(http, house, person, "POST /v1/heartbeats", {"heartbeat_id": ""})).status == 200
    house.pass_time(90)
    taker = await place(http, house, person, cents=47)
    assert taker.json == {"error": POST_ONLY, "code": "post_only_mode", "retry_after_seconds": 120}
    assert (taker.status, taker.headers["Retry-After"]) == (503, "120")
    assert (await place(http, house, person, cents=31, post_only=True)).json["status"] == "live"
    assert (await send(http, house, person, "DELETE /order", {"orderID": resting})).json["canceled"] == [resting]
    house.pass_time(119.5)
    assert (await place(http, house, person, cents=47)).headers["Retry-After"] == "1"
    house.pass_time(0.5)
    assert (await place(http, house, person, cents=47)).json["status"] == "matched"
    assert not faults.is_on("restart")
    assert faults.struck["restart"] == 7


async def test_a_batch_in_post_only_mode_is_judged_leg_by_leg(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("post_only_mode", True, {})
    house.venue.switch_mode("post_only_mode")
    legs = [person.buy(30, 10), person.buy(30, 10, post_only=True)]
    answer = await send(http, house, person, "POST /orders", legs)
    assert [(leg["errorMsg"], bool(leg["orderID"])) for leg in answer.json] == [(POST_ONLY, False), ("", True)]
    assert (await send(http, house, person, "POST /orders", [person.buy(30, 10)])).status == 503


@pytest.mark.parametrize(
    ("mode", "place_status", "cancel_status"), [("cancel_only", 503, 200), ("trading_disabled", 503, 503)]
)
async def test_cancel_only_takes_cancels_and_disabled_takes_nothing(
    http: Http, house: House, mode: str, place_status: int, cancel_status: int
) -> None:
    person = Person()
    house.venue.faults.set(mode, True, {"for_s": 5})
    house.venue.switch_mode(mode)
    assert (await place(http, house, person, post_only=True)).status == place_status
    assert [(await send(http, house, person, *call)).status for call in CALLS] == [cancel_status] * 4
    house.pass_time(5)
    assert (await place(http, house, person)).status == 200


# ---- limits ----


async def test_every_order_call_says_what_is_left_and_reads_do_not(http: Http, house: House) -> None:
    person, now = Person(), str(house.venue.now_s)
    assert limits(await place(http, house, person)) == ("59", now, "Standard", "")
    assert limits(await place(http, house, person, owner="nobody")) == ("58", now, "Standard", "")
    batch = await send(http, house, person, "POST /orders", [person.buy(30, 10) for _ in range(3)])
    assert limits(batch) == ("55", now, "Standard", "")
    left = [limits(await send(http, house, person, *call))[0] for call in CALLS]
    assert left == ["119", "118", "113", "112"], "cancel-all cancelled four"
    assert limits(await send(http, house, person, "GET /data/orders")) == ("", "", "", "")
    assert limits(await send(http, house, person, "GET /time")) == ("", "", "", "")


async def test_above_the_limit_is_a_warning_unless_it_is_enforced(http: Http, house: House) -> None:
    person = Person()
    house.venue.admit(person.key, "POST /order", 60)
    assert limits(await place(http, house, person))[3] == "true"
    house.venue.faults.set("rate_limits", True, {})
    house.venue.switch_limits()
    house.venue.admit(person.key, "POST /order", 60)
    refused = await place(http, house, person)
    assert refused.refusal == (429, "Too Many Requests")
    assert (refused.headers["Retry-After"], limits(refused)[0]) == ("1", "0")
    assert (await send(http, house, person, "DELETE /cancel-all")).status == 200
    house.pass_time(1)
    assert (await place(http, house, person)).status == 200


async def test_the_tier_is_told_with_its_numbers(http: Http, house: House) -> None:
    house.venue.faults.set("rate_limits", True, {"tier": "Gold"})
    house.venue.switch_limits()
    assert (await send(http, house, Person(), "GET /v1/user/rate-limit-tier")).json == {
        "tier": "Gold", "orders": {"rate": 400, "burst": 600}, "cancels": {"rate": 800, "burst": 1200},
    }  # fmt: skip


async def test_many_at_once_are_admitted_as_far_as_the_bucket_goes(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("rate_limits", True, {})
    house.venue.switch_limits()
    answers = await asyncio.gather(*(place(http, house, person) for _ in range(70)))
    assert sorted(answer.status for answer in answers) == [200] * 60 + [429] * 10
    assert len(await open_ids(http, house, person)) == 60


async def test_a_batch_that_cannot_be_read_needs_a_key_first_and_costs_nothing(http: Http, house: House) -> None:
    person = Person()
    for body, error in (
        ([], "Invalid order payload"),
        ({}, "Invalid order payload"),
        ([person.buy(30, 10)] * 16, "Too many orders in payload: 16, max allowed: 15"),
    ):
        async with http.post("/orders", json=body) as answer:
            assert answer.status == 401
        refused = await send(http, house, person, "POST /orders", body)
        assert (refused.refusal, limits(refused)[0]) == ((400, error), "")
    assert [call.order_ids for call in house.venue.log.after(0) if call.order_ids] == []
