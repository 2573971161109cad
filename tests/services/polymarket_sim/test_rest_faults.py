"""Refusals before anything is accepted: status, exact text and headers of each, and nothing at the venue afterwards."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from services.polymarket_sim.endpoints import DELETE_ORDER, POST_ORDER
from services.polymarket_sim.faults import FaultSwitch
from services.polymarket_sim.rest_faults import order_delay
from tests.services.polymarket_sim.client import Http, open_ids, place, send
from tests.services.polymarket_sim.house import House, Person

DISCREPANCY = "the price of the taker's order has a discrepancy greater than allowed with the worst maker order"
POST_ONLY = "post-only mode: only post-only orders and cancels are allowed"
REGION = (
    "Trading restricted in your region, please refer to available regions - "
    "https://docs.polymarket.com/developers/CLOB/geoblock"
)


@pytest.mark.parametrize(
    ("fault", "more", "status", "body"),
    [
        ("error_400", {}, 400, {"error": "Invalid order payload"}),
        ("error_400", {"text": "order timed out"}, 400, {"error": "order timed out"}),
        ("error_425", {}, 425, {"error": "service not ready"}),
        ("error_429", {}, 429, {"error": "Too Many Requests"}),
        ("error_500", {}, 500, {"error": "could not insert order"}),
        ("error_500", {"kind": "execution"}, 500, {"error": "could not run the execution"}),
        ("error_500", {"kind": "no_match"}, 500, {"error": "there are no matching orders"}),
        ("error_500", {"kind": "rounding"}, 500, {"error": "the trade contains rounding issues"}),
        ("error_500", {"kind": "discrepancy"}, 500, {"error": DISCREPANCY}),
        ("error_503", {}, 503, {"error": "Trading is currently disabled. Check polymarket.com for updates"}),
        (
            "error_503",
            {"kind": "cancel_only"},
            503,
            {"error": "Trading is currently cancel-only. New orders are not accepted, but cancels are allowed."},
        ),
        (
            "error_503",
            {"kind": "post_only", "retry_after_s": 30},
            503,
            {"error": POST_ONLY, "code": "post_only_mode", "retry_after_seconds": 30},
        ),
        ("geoblocked", {}, 403, {"error": REGION}),
    ],
)
async def test_a_place_is_refused_in_the_words_of_production(
    http: Http, house: House, *, fault: str, more: dict[str, Any], status: int, body: dict[str, Any]
) -> None:
    person = Person()
    house.venue.faults.set(fault, True, more)
    answer = await place(http, house, person)
    assert (answer.status, answer.content_type, answer.json) == (status, "application/json", body)
    assert answer.headers.get("Retry-After") == ("30" if "retry_after_s" in more else "1" if status == 429 else None)
    house.venue.faults.set(fault, False, {})
    assert await open_ids(http, house, person) == []
    assert house.venue.faults.struck[fault] == 1


@pytest.mark.parametrize(
    ("fault", "more", "status", "begins"),
    [
        ("error_502", {}, 502, "<html><head><title>502 Bad Gateway</title>"),
        ("error_503", {"kind": "unavailable", "retry_after_s": 5}, 503, "<html><head><title>503 Service Temporarily"),
        ("html_page", {}, 403, '<!DOCTYPE html>\n<html class="no-js" lang="en-US"><head><title>Attention Required!'),
        ("html_page", {"status": 200}, 200, '<!DOCTYPE html>\n<html lang="en-US"><head><title>Just a moment...'),
    ],
)
async def test_what_stands_in_front_of_the_venue_answers_with_pages(
    http: Http, house: House, *, fault: str, more: dict[str, Any], status: int, begins: str
) -> None:
    person = Person()
    house.venue.faults.set(fault, True, more)
    answer = await place(http, house, person)
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert answer.body.decode().startswith(begins)
    assert await open_ids(http, house, person) == []


async def test_a_429_says_when_to_try_again_and_what_is_left(http: Http, house: House) -> None:
    house.venue.faults.set("error_429", True, {"retry_after_s": 2, "endpoints": "cancels", "times": 1})
    answer = await send(http, house, Person(), "DELETE /cancel-all")
    assert answer.status == 429
    assert {name: value for name, value in answer.headers.items() if "R" in name} == {
        "Retry-After": "2", "Poly-RateLimit-Remaining": "0",
        "Poly-RateLimit-Reset": str(house.venue.now_s + 2), "Poly-RateLimit-Tier": "Standard",
    }  # fmt: skip
    assert (await send(http, house, Person(), "DELETE /cancel-all")).status == 200


async def test_reads_and_heartbeats_can_be_refused_too(http: Http, house: House) -> None:
    house.venue.faults.set("error_500", True, {"endpoints": "lookups,heartbeats,GET /time,balances"})
    for call in ("GET /data/order/0x1", "POST /v1/heartbeats", "GET /time", "GET /balance-allowance?asset_type=X"):
        assert (await send(http, house, Person(), call)).refusal == (500, "could not insert order")
    assert (await place(http, house, Person())).status == 200


async def test_a_geoblock_comes_before_the_key_and_does_not_stop_cancels(http: Http, house: House) -> None:
    house.venue.faults.set("geoblocked", True, {"country": "FR", "region": ""})
    async with http.post("/order", data=b"{}") as answer:
        assert (answer.status, await answer.json()) == (403, {"error": REGION})
    assert (await send(http, house, Person(), "DELETE /cancel-all")).status == 200
    async with http.get("/api/geoblock") as answer:
        assert await answer.json() == {"blocked": True, "ip": "127.0.0.1", "country": "FR", "region": ""}


async def test_the_probe_may_say_so_while_orders_are_let_through(http: Http, house: House) -> None:
    async with http.get("/api/geoblock") as answer:
        assert await answer.json() == {"blocked": False, "ip": "127.0.0.1", "country": "IE", "region": ""}
    house.venue.faults.set("geoblocked", True, {"orders": 0})
    assert (await place(http, house, Person())).status == 200
    async with http.get("/api/geoblock") as answer:
        assert (await answer.json())["blocked"] is True


async def test_an_order_can_be_called_a_duplicate_that_never_was(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("duplicate_refusal", True, {"times": 1})
    entry = person.buy(30, 10)
    status, text = (await send(http, house, person, "POST /order", entry)).refusal
    order_id = text.split()[1]
    assert (status, text) == (400, f"order {order_id} is invalid. Duplicated.")
    assert await open_ids(http, house, person) == []
    assert (await send(http, house, person, "POST /order", entry)).json["orderID"] == order_id


async def test_each_nth_leg_of_a_batch_is_refused(http: Http, house: House) -> None:
    person = Person()
    house.venue.faults.set("batch_partial", True, {"every": 3, "times": 1})
    for refused in ([3, 6], []):
        legs = (await send(http, house, person, "POST /orders", [person.buy(30, 10) for _ in range(7)])).json
        assert [number for number, leg in enumerate(legs, 1) if not leg["orderID"]] == refused
        assert {leg["errorMsg"] for leg in legs} == {"", *(["not enough balance / allowance"] if refused else [])}
    assert len(await open_ids(http, house, person)) == 12


# ---- delays ----


def delays(**parameters: Any) -> list[tuple[float, float]]:
    faults = FaultSwitch()
    faults.set("order_delay", True, parameters)
    return [order_delay(faults, POST_ORDER) for _ in range(200)]


def test_a_delay_is_fixed_unless_it_is_spread() -> None:
    assert set(delays(ms=20)) == {(0.02, 0.0)}
    assert set(delays(ms=20, accepted=1)) == {(0.0, 0.02)}
    assert set(delays(ms=20, endpoints="DELETE /order")) == {(0.0, 0.0)}
    faults = FaultSwitch()
    assert order_delay(faults, DELETE_ORDER) == (0.0, 0.0)


def test_a_spread_delay_follows_from_its_seed() -> None:
    uniform = [before for before, _ in delays(ms=20, jitter_ms=80, seed=3)]
    assert uniform == [before for before, _ in delays(ms=20, jitter_ms=80, seed=3)]
    assert uniform != [before for before, _ in delays(ms=20, jitter_ms=80, seed=4)]
    assert min(uniform) >= 0.02
    assert max(uniform) <= 0.1
    assert 0.05 < sum(uniform) / 200 < 0.07
    assert len(set(uniform)) == 200


def test_an_exponential_delay_has_its_mean_and_a_tail() -> None:
    drawn = sorted(before for before, _ in delays(ms=0, jitter_ms=100, shape="exponential", seed=5))
    assert 0.08 < sum(drawn) / 200 < 0.12
    assert drawn[100] < 0.09
    assert drawn[-1] > 0.3
    assert all(a <= b for a, b in pairwise(drawn))


async def test_a_late_call_is_carried_out_and_answered(http: Http, house: House) -> None:
    person = Person()
    for accepted in (0, 1):
        house.venue.faults.set("order_delay", True, {"ms": 1, "accepted": accepted})
        assert (await place(http, house, person)).status == 200
    assert house.venue.faults.struck["order_delay"] == 2
