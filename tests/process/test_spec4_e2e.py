"""The four E2E boxes of spec 4 section 8.3, typed at the whole running group in demo mode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from tests.process.demo import Demo, Json, running_demo, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

ROOM = Decimal("0.15")
"""How far through the best price a marketable order may go: the recorded books move while a command starts."""


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with running_demo(mirror__speed="1") as found:
        yield found


def take(demo: Demo, market: Json, outcome: int, size: str, *more: str) -> Json:
    """Buy one outcome at what is offered now."""
    name = market["outcomes"][outcome]
    offered = until(lambda: demo.cli("book", market["slug"], name)["asks"] or None, 10, f"nothing offered of {name}")
    limit = min(Decimal("0.99"), Decimal(offered[0]["price"]) + ROOM)
    return demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", name, "--side", "BUY", "--price", str(limit),
        "--size", size, *more,
    )  # fmt: skip


def held(demo: Demo) -> dict[str, Decimal]:
    return {row["token_id"]: Decimal(row["size"]) for row in demo.cli("positions")}


def paid(order: Json) -> Decimal:
    return sum((Decimal(fill["cash"]) + Decimal(fill["fee"]) for fill in order["fills"]), Decimal(0))


def test_pair_arb_flow(demo: Demo) -> None:
    """Pair arb flow: intent → place → fill → confirm, for both outcomes of one market at once."""
    market, before = demo.two_sided(), held(demo)
    intents = [(outcome, f"pair-{outcome}") for outcome in (0, 1)]

    with ThreadPoolExecutor(2) as pool:
        legs = list(pool.map(lambda leg: take(demo, market, leg[0], "10", "--client-order-id", leg[1]), intents))
    done = [demo.until_lifecycle(leg["order_id"], "CONFIRMED") for leg in legs]

    assert [order["client_order_id"] for order in done] == ["pair-0", "pair-1"]
    assert [order["token_id"] for order in done] == market["token_ids"]
    assert [order["filled_size"] for order in done] == ["10", "10"]
    after = held(demo)
    for token_id in market["token_ids"]:
        assert after[token_id] - before.get(token_id, Decimal(0)) == 10
    # One of each pays 1 whatever happens: what both cost is what the arbitrage made or lost.
    assert Decimal(0) < sum(map(paid, done)) <= 10 * (1 + 2 * ROOM + Decimal("0.07"))
    # The same intents again are the same orders.
    again = [
        demo.cli(
            "order", "place", "--market", market["slug"], "--outcome", order["outcome"], "--side", "BUY", "--price",
            order["price"], "--size", "10", "--client-order-id", order["client_order_id"],
        )
        for order in done
    ]  # fmt: skip
    assert [order["order_id"] for order in again] == [order["order_id"] for order in done]
    assert held(demo) == after


def test_temporal_arb_flow(demo: Demo) -> None:
    """Temporal arb flow: signal → place → fill. The signal is a move of the book; the order follows it at once."""
    market = demo.two_sided()
    first = Decimal(demo.cli("book", market["slug"], market["outcomes"][0])["bids"][0]["price"])

    def moved() -> Json | None:
        bids = demo.cli("book", market["slug"], market["outcomes"][0])["bids"]
        return bids[0] if bids and Decimal(bids[0]["price"]) != first else None

    signal = Decimal(until(moved, 30, "the book did not move")["price"])
    outcome = market["outcomes"][0 if signal > first else 1]
    order = demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", outcome, "--side", "BUY", "--type", "market",
        "--size", "5", "--max-slippage-bps", "3000", "--deadline-ms", "2000",
    )  # fmt: skip

    assert (order["outcome"], order["tif"]) == (outcome, "FAK")
    assert order["fills"], order
    assert all(Decimal(fill["price"]) <= Decimal(order["price"]) for fill in order["fills"])
    done = demo.until_lifecycle(order["order_id"], "CONFIRMED")
    assert all(fill["settlement"] == "CONFIRMED" and fill["tx_hash"] for fill in done["fills"])


def test_cancel_flow(demo: Demo) -> None:
    """Cancel flow: place → cancel. Nothing fills, nothing stays reserved, and it cannot be cancelled twice."""
    market = demo.two_sided()
    (before,) = demo.cli("accounts")

    placed = demo.buy(market, "20", "0.01")
    (resting,) = demo.cli("accounts")
    cancelled = demo.cli("cancel", placed["order_id"])
    (after,) = demo.cli("accounts")

    assert (placed["status"], placed["lifecycle"]) == ("Working", "PLACED")
    assert resting["open_orders"] == before["open_orders"] + 1
    assert Decimal(resting["reserved"]) > Decimal(before["reserved"])
    assert (cancelled["lifecycle"], cancelled["fills"]) == ("CANCELLED", [])
    assert (after["open_orders"], after["reserved"]) == (before["open_orders"], before["reserved"])
    assert demo.cli("orders") == []
    error = demo.cli("cancel", placed["order_id"], ok=False)["error"]
    assert (error["code"], error["field"]) == ("INVALID_ORDER_STATE", "order_id")


def test_multiple_markets_concurrently(demo: Demo) -> None:
    """Multiple markets concurrently: each trades, rests and cancels by itself; the books of account agree with all."""

    def several() -> Json | None:
        found = [
            market
            for market in demo.cli("markets")
            if market["best_bid"]
            and market["best_ask"]
            and Decimal("0.1") < Decimal(market["best_bid"]) < Decimal(market["best_ask"]) < Decimal("0.9")
        ]
        return found[:4] if len(found) >= 3 else None

    markets, before = until(several, 30, "no three two-sided markets"), held(demo)

    def trade(market: Json) -> tuple[Json, Json]:
        rests = demo.buy(market, "10", "0.01")
        bought = take(demo, market, 0, "10")
        return bought, demo.cli("cancel", rests["order_id"])

    with ThreadPoolExecutor(len(markets)) as pool:
        ended = list(pool.map(trade, markets))
    done = [demo.until_lifecycle(bought["order_id"], "CONFIRMED") for bought, _ in ended]

    assert [order["condition_id"] for order in done] == [market["condition_id"] for market in markets]
    assert {cancelled["lifecycle"] for _, cancelled in ended} == {"CANCELLED"}
    grown: defaultdict[str, Decimal] = defaultdict(Decimal)
    for order in done:
        grown[order["token_id"]] += sum(Decimal(fill["size"]) for fill in order["fills"])
    after = held(demo)
    assert {token_id: after[token_id] - before.get(token_id, Decimal(0)) for token_id in grown} == grown
    assert demo.cli("orders") == []
    rows = demo.cli("reconcile")
    assert [row["recent"] for row in rows] == [[]]
