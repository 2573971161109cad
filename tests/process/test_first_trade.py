"""The main job, end to end, with real processes: typed order -> signed -> HTTP -> matched -> CONFIRMED, and restarts.

Everything runs as `scripts/start_all.sh demo` runs it, without supervisord: a death here is repaired by the test.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from common.topology import PROCESSES
from tests.process.demo import Demo, Json, running_demo, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with running_demo(mirror__speed="1") as found:
        yield found


def test_status_lists_every_process_as_ready(demo: Demo) -> None:
    rows = demo.cli("status")
    assert {row["process"] for row in rows} == set(PROCESSES)
    assert all(row["ready"] for row in rows)


def test_the_recorded_markets_are_listed_two_sided_first(demo: Demo) -> None:
    markets = demo.cli("markets")
    assert len(markets) == 18
    assert all(market["slug"].startswith("btc-updown-15m-") for market in markets)
    sided = [bool(market["best_bid"] and market["best_ask"]) for market in markets]
    assert sided == sorted(sided, reverse=True)


def test_the_book_moves_with_the_recording(demo: Demo) -> None:
    market = demo.two_sided()
    first = demo.cli("book", market["slug"], market["outcomes"][0])

    def moved() -> Json | None:
        now = demo.cli("book", market["slug"], market["outcomes"][0])
        return now if now["bids"] != first["bids"] else None

    until(moved, 20, f"the book stands still: {first}")


def test_a_marketable_order_fills_and_is_confirmed_within_three_seconds(demo: Demo) -> None:
    market = demo.two_sided()
    placed = demo.buy(market)
    start = time.monotonic()
    assert placed["fills"], placed
    assert Decimal(placed["filled_size"]) == sum(Decimal(fill["size"]) for fill in placed["fills"])
    order = demo.until_lifecycle(placed["order_id"], "CONFIRMED", 3)
    assert time.monotonic() - start < 3.5
    assert order["venue_order_id"] == placed["venue_order_id"]
    assert all(fill["settlement"] == "CONFIRMED" and fill["tx_hash"] for fill in order["fills"])
    assert order["placed_at"]
    assert order["confirmed_at"]
    assert Decimal(order["avg_price"]) <= Decimal(order["price"])


def test_positions_agree_with_the_venues_own_answer(demo: Demo) -> None:
    import urllib.request

    placed = demo.buy(demo.two_sided())
    demo.until_lifecycle(placed["order_id"], "CONFIRMED")
    wallet = json.loads((demo.processes.folder / "secrets" / "main.user_data.creds").read_text())["address"]
    url = f"http://127.0.0.1:{demo.processes.port}/data/positions?user={wallet}&sizeThreshold=0"
    with urllib.request.urlopen(url, timeout=5) as answer:
        venue = {row["asset"]: Decimal(str(row["size"])) for row in json.load(answer)}
    ours = {row["token_id"]: Decimal(row["size"]) for row in demo.cli("positions")}
    assert ours == venue


def test_a_resting_order_is_open_at_the_venue_until_it_is_cancelled(demo: Demo) -> None:
    market = demo.two_sided()
    placed = demo.buy(market, "10", "0.01")
    assert placed["lifecycle"] == "PLACED"
    assert placed["status"] == "Working"
    assert placed["venue_order_id"] in {order["venue_order_id"] for order in demo.cli("orders")}
    cancelled = demo.cli("cancel", placed["order_id"])
    assert cancelled["lifecycle"] == "CANCELLED"
    assert demo.cli("orders") == []


def test_cancel_all_leaves_nothing_open(demo: Demo) -> None:
    market = demo.two_sided()
    for price in ("0.01", "0.02", "0.03"):
        demo.buy(market, "10", price)
    assert len(demo.cli("orders")) == 3
    demo.cli("cancel-all")
    assert demo.cli("orders") == []


def test_the_same_client_order_id_gives_the_first_order_again(demo: Demo) -> None:
    market = demo.two_sided()
    first = demo.buy(market, "10", "0.01", "--client-order-id", "mine-1")
    again = demo.buy(market, "10", "0.01", "--client-order-id", "mine-1")
    assert again["order_id"] == first["order_id"]
    other = demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", "0", "--side", "BUY", "--price", "0.02",
        "--size", "10", "--client-order-id", "mine-1", ok=False,
    )  # fmt: skip
    assert other["error"]["code"] == "DUPLICATE_ID"
    demo.cli("cancel-all")


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"--price": "0.5255"}, "BAD_TICK", "price"),
        ({"--price": "1.5"}, "BAD_PRICE", "price"),
        ({"--price": "0"}, "BAD_PRICE", "price"),
        ({"--price": "cheap"}, "BAD_NUMBER", "price"),
        ({"--size": "1"}, "SIZE_TOO_SMALL", "size"),
        ({"--size": "10.001"}, "BAD_SIZE", "size"),
        ({"--market": "no-such-market"}, "UNKNOWN_MARKET", "market"),
        ({"--outcome": "Sideways"}, "UNKNOWN_OUTCOME", "outcome"),
        ({"--account": "nobody"}, "UNKNOWN_ACCOUNT", "account"),
    ],
)
def test_bad_input_is_refused_with_its_code_and_field(
    demo: Demo, change: dict[str, str], code: str, field: str
) -> None:
    market = next(row for row in demo.cli("markets") if row["tick_size"] == "0.01")
    words = {"--market": market["slug"], "--outcome": "Up", "--side": "BUY", "--price": "0.01", "--size": "10"} | change
    error = demo.cli("order", "place", *(word for pair in words.items() for word in pair), ok=False)["error"]
    assert (error["code"], error["field"]) == (code, field)
    assert demo.cli("orders") == []


@pytest.mark.parametrize("victim", PROCESSES)
def test_a_new_order_trades_after_kill_9_of_any_one_process(demo: Demo, victim: str) -> None:
    """The others are not touched: same pids before and after."""
    before = {row["process"]: row["pid"] for row in demo.cli("status")}
    demo.processes.kill9(victim)
    demo.processes.start(victim)
    demo.processes.wait_ready(*PROCESSES)
    after = {row["process"]: row["pid"] for row in demo.cli("status")}
    assert {name for name in before if before[name] != after[name]} == {victim}
    placed = demo.buy(demo.two_sided())
    demo.until_lifecycle(placed["order_id"], "CONFIRMED")


def test_a_restarted_executor_still_knows_its_orders(demo: Demo) -> None:
    placed = demo.buy(demo.two_sided(), "10", "0.01")
    positions = holdings(demo)
    demo.processes.kill9("executor")
    demo.processes.start("executor")
    demo.processes.wait_ready(*PROCESSES)
    assert placed["order_id"] in {order["order_id"] for order in demo.cli("orders")}
    assert holdings(demo) == positions
    demo.cli("cancel-all")


def holdings(demo: Demo) -> Json:
    """The positions without what the moving market says of them."""
    moving = ("mark", "unrealised_pnl")
    return [{key: value for key, value in row.items() if key not in moving} for row in demo.cli("positions")]
