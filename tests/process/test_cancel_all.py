"""Cancel-all with real processes: two accounts on one wallet, 200 orders, places that go on meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.messages import (
    ExchangeOrdersReport,
    GetExchangeOrders,
    GetOrders,
    Message,
    OrdersReport,
    OrderView,
    PlaceAnswer,
    PlaceOrder,
)
from common.requester import Requester
from common.settings import ROOT
from common.types import OrderType, Side, Status, TimeInForce
from tests.process.demo import Demo, Json, running_demo, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

ACCOUNTS = [{"name": "default", "wallet": "main"}, {"name": "other", "wallet": "main"}]
EACH = 100
CENTS = (10_000, 20_000, 30_000)
DEADLINE_S = 60


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with running_demo(accounts=json.dumps(ACCOUNTS), risk__policies="[]") as found:
        yield found


def ask(bus: Requester, body: Message) -> Message:
    return bus.request("executor", body, timeout_s=20)


def place(bus: Requester, account: str, market: Json, number: int) -> int:
    """Far from the market; returns its number once it is journaled."""
    command = PlaceOrder(
        command_id=uuid.uuid4().hex,
        account=account,
        client_order_id="",
        venue="polymarket",
        market=market["condition_id"],
        outcome="0",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        tif=TimeInForce.GTC,
        post_only=False,
        price=CENTS[number % len(CENTS)],
        size=10_000_000,
        deadline_ns=time.time_ns() + DEADLINE_S * 1_000_000_000,
    )
    answer = ask(bus, command)
    assert isinstance(answer, PlaceAnswer), answer
    return number_of(answer.order)


def number_of(order: OrderView) -> int:
    return int(order.order_id.removeprefix("o-"))


def orders(bus: Requester, account: str = "", *, open_only: bool = True) -> list[OrderView]:
    report = ask(bus, GetOrders(uuid.uuid4().hex, account, open_only, "", 1000))
    assert isinstance(report, OrdersReport), report
    return report.orders


def at_the_venue(bus: Requester, demo: Demo) -> set[str]:
    """What really rests."""
    report = bus.request("exchange", GetExchangeOrders(uuid.uuid4().hex, demo.wallet_address()), timeout_s=20)
    assert isinstance(report, ExchangeOrdersReport), report
    return {order.venue_order_id.lower() for order in report.orders}


def test_an_account_is_cancelled_by_ids_and_the_whole_wallet_with_one_call(demo: Demo) -> None:
    market = demo.two_sided()
    with Requester(demo.processes.settings) as bus:
        for number in range(EACH):
            place(bus, "default", market, number)
            place(bus, "other", market, number)
        until(lambda: True if _all_rest(bus) else None, DEADLINE_S, "the orders do not rest")

        shown = demo.cli("cancel-all", "--account", "default", "--wait-s", "20")

        sweep = shown["sweep"]
        assert (sweep["phase"], sweep["known"], sweep["cancelled"], sweep["wallet_cancels"]) == ("FINAL", EACH, EACH, 0)
        assert 0 < sweep["first_cancel_ms"] < sweep["zero_ms"] <= sweep["final_ms"]
        others = orders(bus)
        assert ({order.account for order in others}, len(others)) == ({"other"}, EACH)
        assert at_the_venue(bus, demo) == {order.venue_order_id.lower() for order in others}

        last, shown = _places_go_on(demo, bus, market)

        sweep = shown["sweep"]
        assert (sweep["phase"], sweep["wallet_cancels"], sweep["open"], sweep["doubted"]) == ("FINAL", 1, 0, 0)
        covered = {int(row["order_id"].removeprefix("o-")) for row in (*shown["cancelled"], *shown["ended"])}
        assert sweep["known"] == len(covered) >= EACH
        later = [order for order in orders(bus, open_only=False) if number_of(order) > max(covered)]
        assert later[0].order_id == f"o-{last}"
        until(lambda: True if _all_rest(bus) else None, DEADLINE_S, "the later orders do not rest")
        assert {order.order_id for order in orders(bus)} == {order.order_id for order in later}
        assert at_the_venue(bus, demo) == {order.venue_order_id.lower() for order in later}


def _all_rest(bus: Requester) -> bool:
    return {order.status for order in orders(bus)} == {Status.WORKING}


def _places_go_on(demo: Demo, bus: Requester, market: Json) -> tuple[int, Json]:
    """A cancel-all of everybody while one account goes on placing; the last order's number, and what it said."""
    command = [sys.executable, "-m", "services.cli", "cancel-all", "--wait-s", "20", "--json"]
    with ThreadPoolExecutor(max_workers=1) as pool:
        cancelling = pool.submit(
            subprocess.run, command, cwd=ROOT, env=demo.processes.env, capture_output=True, text=True, timeout=60
        )
        number = 0
        while not cancelling.done():
            place(bus, "other", market, number)
            number += 1
            time.sleep(0.02)  # 50 a second, as a strategy would
        done = cancelling.result()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return place(bus, "other", market, number), json.loads(done.stdout)
