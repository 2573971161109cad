"""A venue that loses answers and restarts, under the real executor and gateway; the exchange's books are the judge."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from common.messages import (
    GetExchangeOrders,
    GetMarkets,
    GetOrders,
    MarketsReport,
    MarketView,
    OrdersReport,
    OrderView,
    PlaceAnswer,
    PlaceOrder,
)
from common.requester import Requester
from common.topology import PROCESSES
from common.types import OrderType, Side, Status, TimeInForce
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group
from tests.process.judge import (
    ACCOUNT,
    answered,
    cancelled_everything,
    check_positions,
    check_venue,
    final_orders,
    wallet_of,
)

pytestmark = [pytest.mark.process]

SIZE = 20_000_000
ASK_MIN = 60_000
CLIENTS = 4


@contextmanager
def trading(**settings: str) -> Iterator[tuple[Group, Requester]]:
    """The demo with an account that has enough, and answers that are waited for shortly."""
    given = {"polymarket_sim__grant_cash": "1000000", "polymarket_sim__enforce_limits": "false"} | settings
    with group(**given) as processes:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            processes.start(name)
        processes.wait_ready(*PROCESSES, deadline_s=60)
        with Requester(processes.settings) as bus:
            yield processes, bus


def switch(processes: Group, name: str, on: bool = True, **parameters: object) -> None:
    body = json.dumps({"name": name, "on": on, **parameters}).encode()
    control(processes, "/faults", body)


def control(processes: Group, path: str, body: bytes | None = None) -> Any:
    url = f"http://127.0.0.1:{processes.control_port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        return json.load(answer)


def liquid(bus: Requester) -> list[MarketView]:
    report = bus.request("market_data", GetMarkets(uuid.uuid4().hex))
    assert isinstance(report, MarketsReport)
    return [view for view in report.markets if view.best_asks[0] >= ASK_MIN and view.best_bids[0]]


def a_place(view: MarketView, client_order_id: str, tif: TimeInForce, *, post_only: bool = False) -> PlaceOrder:
    """A FAK takes at the ask; a GTC rests a tick above nothing."""
    market, ask = view.market, view.best_asks[0]
    price = market.tick if tif.rests else min(ask + market.tick, 1_000_000 - market.tick)
    return PlaceOrder(
        uuid.uuid4().hex, ACCOUNT, client_order_id, "polymarket", market.slug, "0", Side.BUY, OrderType.LIMIT,
        tif, post_only, price, SIZE,
    )  # fmt: skip


# --- one order, one request ---

ROUTINE = ("GET /time", "POST /v1/heartbeats", "GET /data/orders", "GET /data/trades", "GET /balance-allowance")
"""What the gateway asks from time to time, orders or not: warmth, beats, reconciliation."""
WITNESS = ("GET /book", "POST /books", "GET /gamma", "GET /data/v2", "GET /clob-markets", "GET /markets", "GET /v2/pos")


@pytest.mark.timeout(120)
def test_a_place_is_one_request_and_nothing_else_is_asked_for_it() -> None:
    with trading() as (processes, bus):
        view = liquid(bus)[0]
        _until_filled(bus, view, "warm", 20)
        before = Counter(control(processes, "/status")["requests"])
        names = [f"one-{n}" for n in range(10)]
        for name in names:
            assert isinstance(answered(bus, a_place(view, name, TimeInForce.FAK)), PlaceAnswer)
        final_orders(bus, names, 30)
        asked = Counter(control(processes, "/status")["requests"]) - before
        assert asked.pop("POST /order") == len(names)
        others = {name for name in asked if not name.startswith((*ROUTINE, *WITNESS))}
        assert not others, f"asked beside the orders: {asked}"


# --- answers that never come ---


class Placer(threading.Thread):
    """Places its share of the orders, half of which rest."""

    def __init__(self, processes: Group, number: int, count: int, views: list[MarketView]) -> None:
        super().__init__(name=f"placer-{number}")
        self.accepted: dict[str, PlaceAnswer] = {}
        self.refused: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._processes, self._number, self._count, self._views = processes, number, count, views

    def run(self) -> None:
        try:
            with Requester(self._processes.settings) as bus:
                for n in range(self._count):
                    self._place(bus, n)
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            self.failure = error

    def _place(self, bus: Requester, n: int) -> None:
        name = f"c{self._number}-{n}"
        tif = TimeInForce.GTC if n % 2 else TimeInForce.FAK
        end = time.monotonic() + 60
        while True:
            answer = answered(bus, a_place(self._views[n % len(self._views)], name, tif))
            if isinstance(answer, PlaceAnswer):
                self.accepted[name] = answer
                return
            self.refused[str(getattr(answer, "code", answer))] += 1
            assert time.monotonic() < end, f"{name} is refused for a minute: {answer}"
            time.sleep(0.05)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("orders", [400, pytest.param(2_000, marks=pytest.mark.soak)])
def test_orders_whose_answers_never_come_are_all_resolved_and_none_is_there_twice(orders: int) -> None:
    settings = {
        "gateway__request_timeout_ms": "400",
        "execution__request_life_ms": "5000",
        "execution__lookup_after_ms": "100",
        "limits__default_tier": "Elite",
    }
    with trading(**settings) as (processes, bus):
        switch(processes, "rate_limits", enforce=0, tier="Elite")
        views = liquid(bus)
        switch(processes, "post_order_timeout", percent=30, seed=7)
        placers = [Placer(processes, n, orders // CLIENTS, views) for n in range(CLIENTS)]
        for placer in placers:
            placer.start()
        for placer in placers:
            placer.join(400)
            assert placer.failure is None, placer.failure
        _until_nothing_is_on_its_way(bus, 120)
        lost = control(processes, "/status")["struck"]["post_order_timeout"]
        switch(processes, "post_order_timeout", on=False)
        assert lost > orders // 5, f"only {lost} answers were lost: the test proved little"
        accepted = {name: answer for placer in placers for name, answer in placer.accepted.items()}
        assert len(accepted) == orders
        cancelled_everything(bus, 60)
        found = final_orders(bus, list(accepted), 90)
        _check_resolved(processes, bus, accepted, found)


def _until_nothing_is_on_its_way(bus: Requester, within_s: float) -> None:
    end = time.monotonic() + within_s
    on_its_way = {Status.PENDING, Status.SUBMITTING, Status.UNKNOWN}
    while True:
        report = bus.request("executor", GetOrders(uuid.uuid4().hex, limit=1000), timeout_s=20)
        assert isinstance(report, OrdersReport)
        left = [order for order in report.orders if order.status in on_its_way]
        if not left:
            return
        assert time.monotonic() < end, f"{len(left)} orders are on their way for too long, such as {left[0]}"
        time.sleep(0.2)


def _check_resolved(processes: Group, bus: Requester, accepted: dict[str, PlaceAnswer], found: list[OrderView]) -> None:
    for order in found:
        first = accepted[order.client_order_id].order
        assert (order.order_id, order.venue_order_id) == (first.order_id, first.venue_order_id), "signed twice"
        assert order.status is not Status.UNKNOWN
    posts = control(processes, "/status")["order_posts"]
    assert not set(posts) - {order.venue_order_id for order in found}, "a post of nobody's order"
    wallet = wallet_of(processes)
    check_venue(bus, wallet, found)
    check_positions(bus, wallet)
    print(Counter(f"{order.status} {order.reject_reason}".strip() for order in found))


# --- a restart of the matching engine ---


def _venue_requests(processes: Group, after: int) -> list[Any]:
    rows: list[Any] = control(processes, f"/requests?after={after}")["requests"]
    return rows


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("down_s", "post_only_s"), [(4, 5), pytest.param(90, 120, marks=pytest.mark.soak)])
def test_through_a_restart_no_taker_leaves_and_trading_resumes_alone(down_s: int, post_only_s: int) -> None:
    with trading(gateway__post_only_s=str(post_only_s)) as (processes, bus):
        view = liquid(bus)[0]
        _until_filled(bus, view, "before", 20)
        switch(processes, "restart", down_s=down_s, post_only_s=post_only_s)
        began = time.monotonic()
        noticed = _trade_until_well(processes, bus, view, began + down_s + post_only_s)
        resumed_s = _until_filled(bus, view, "after", post_only_s + 60)
        print(f"taken again {resumed_s:.1f} s after the window; {noticed}")
        assert noticed["takers_refused"], "no taker was even tried"
        assert noticed["makers_taken"], "post-only orders were not taken in the post-only window"


def _trade_until_well(processes: Group, bus: Requester, view: MarketView, end: float) -> Counter[str]:
    """Takers and makers all the time; what came of them. Of the takers only the first may reach the venue."""
    seen: Counter[str] = Counter()
    after = max((row["seq"] for row in _venue_requests(processes, 0)), default=0)
    n = 0
    while time.monotonic() < end:
        n += 1
        taker = answered(bus, a_place(view, f"taker-{n}", TimeInForce.FAK))
        maker = answered(bus, a_place(view, f"maker-{n}", TimeInForce.GTC, post_only=True))
        seen["takers_refused" if not isinstance(taker, PlaceAnswer) else "takers_accepted"] += 1
        seen["makers_accepted"] += isinstance(maker, PlaceAnswer)
        time.sleep(0.1)
    posts = [row for row in _venue_requests(processes, after) if row["method"] == "POST"]
    takers = [order for row in posts for order in row["orders"] if not order["post_only"]]
    seen["takers_sent"] = len(takers)
    assert len(takers) <= 1, f"takers reached the venue in the window: {takers}"
    wallet = wallet_of(processes)
    report = bus.request("exchange", GetExchangeOrders(uuid.uuid4().hex, wallet))
    seen["makers_taken"] = len(getattr(report, "orders", []))
    return seen


def _until_filled(bus: Requester, view: MarketView, name: str, within_s: float) -> float:
    """Try to take until it fills, nobody helping; how long that took."""
    began = time.monotonic()
    n = 0
    while True:
        n += 1
        answer = answered(bus, a_place(view, f"{name}-{n}", TimeInForce.FAK))
        if isinstance(answer, PlaceAnswer):
            (order,) = final_orders(bus, [f"{name}-{n}"], 60)
            if order.filled_size:
                return time.monotonic() - began
        assert time.monotonic() < began + within_s, f"nothing fills: {answer}"
        time.sleep(0.2)
