"""Halting, replacing, market orders, risk, funds and reconciliation, typed at a running demo."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.process.demo import Demo, Json, running_demo, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

POLICIES = """
policies:
  - type: PositionLimit
    max_size: 1000.0
  - type: InventoryLimit
    max_value_usd: 2000.0
  - type: KillSwitch
    enabled: false
  - type: OrderSizeLimit
    max_size: 300
    cap: true
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    path: Path = tmp_path_factory.mktemp("risk") / "risk.yaml"
    path.write_text(POLICIES)
    with running_demo(risk__policy_file=str(path)) as found:
        yield found


def resting(demo: Demo, market: Json, price: str = "0.02", size: str = "10", **words: Any) -> Json:
    more = [word for name, value in words.items() for word in (f"--{name.replace('_', '-')}", str(value)) if word]
    return demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", market["outcomes"][0], "--side", "BUY",
        "--price", price, "--size", size, *more,
    )  # fmt: skip


def refused(demo: Demo, *words: str) -> Json:
    return demo.cli(*words, ok=False)["error"]


def test_a_halt_outlives_the_executor_and_the_gateway_and_cancels_go_on(demo: Demo) -> None:
    market = demo.two_sided()
    order = resting(demo, market)

    demo.cli("halt", "--reason", "drill")
    for name in ("executor", "gateway"):
        demo.processes.kill9(name)
        demo.processes.start(name)
    demo.processes.wait_ready("executor", "gateway")
    error = refused(
        demo, "order", "place", "--market", market["slug"], "--outcome", "0", "--side", "BUY", "--price", "0.02",
        "--size", "10",
    )  # fmt: skip
    cancelled = demo.cli("cancel", order["order_id"])
    accounts = demo.cli("resume")

    assert error["code"] == "HALTED"
    assert "drill" in error["message"]
    assert cancelled["status"] == "Cancelled"
    assert [row["trading"] for row in accounts] == ["ACTIVE"]
    assert resting(demo, market)["status"] == "Working"


def test_an_order_is_replaced_by_one_that_waits_until_the_first_is_gone(demo: Demo) -> None:
    market = demo.two_sided()
    first = resting(demo, market)

    second = demo.cli("order", "replace", first["order_id"], "--price", "0.03", "--size", "12")

    assert second["status"] == "Working"
    assert (second["price"], second["size"], second["replaces"]) == ("0.03", "12", first["order_id"])
    assert demo.cli("order", "show", first["order_id"])["status"] == "Cancelled"
    error = refused(demo, "order", "replace", first["order_id"], "--price", "0.03", "--size", "12")
    assert error["code"] == "INVALID_ORDER_STATE"


def test_a_market_order_spends_an_amount_of_money_and_no_more(demo: Demo) -> None:
    market = demo.two_sided()

    order = demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", "0", "--side", "BUY", "--type", "market",
        "--quote", "5", "--max-slippage-bps", "2000",
    )  # fmt: skip

    spent = sum(Decimal(fill["cash"]) for fill in order["fills"])
    assert order["quote"] == "5"
    assert Decimal("0") < spent <= Decimal("5")
    assert all(Decimal(fill["price"]) <= Decimal(order["price"]) for fill in order["fills"])


def thin(demo: Demo) -> Json:
    """A market whose best ask is smaller than the order that is to slip."""

    def found() -> Json | None:
        for market in demo.cli("markets"):
            if market["best_bid"] and market["best_ask"]:
                asks = demo.cli("book", market["slug"], "0")["asks"]
                if asks and Decimal(asks[0]["size"]) < Decimal("150"):
                    return market
        return None

    return until(found, 40, "every best ask is large")


def test_a_market_order_that_would_slip_too_far_says_by_how_much(demo: Demo) -> None:
    market = thin(demo)

    error = refused(
        demo, "order", "place", "--market", market["slug"], "--outcome", "0", "--side", "BUY", "--type", "market",
        "--price", "0.99", "--size", "290", "--max-slippage-bps", "1",
    )  # fmt: skip

    assert error["code"] in ("SLIPPAGE_LIMIT", "DEPTH_TRUNCATED", "NO_LIQUIDITY")
    assert error["field"] == "size"


def test_the_policies_of_a_yaml_file_refuse_by_name_and_cap(demo: Demo) -> None:
    market = demo.two_sided()
    demo.cli("cancel-all")

    capped = resting(demo, market, size="400")
    for _ in range(2):
        resting(demo, market, price="0.01", size="300")
    error = refused(
        demo, "order", "place", "--market", market["slug"], "--outcome", "0", "--side", "BUY", "--price", "0.02",
        "--size", "300",
    )  # fmt: skip
    demo.cli("cancel-all")

    assert (capped["size"], capped["asked_size"]) == ("300", "400")
    assert error["code"] == "POSITION_LIMIT"
    assert "the limit is 1000" in error["message"]


def test_what_the_wallet_cannot_pay_or_does_not_hold_is_refused_before_it_is_sent(demo: Demo) -> None:
    market = demo.two_sided()
    demo.cli("reconcile")

    error = refused(
        demo, "order", "place", "--market", market["slug"], "--outcome", "1", "--side", "SELL", "--price", "0.99",
        "--size", "50",
    )  # fmt: skip

    assert error["code"] == "INSUFFICIENT_SHARES"


def test_reconciliation_agrees_with_the_venue_after_trading(demo: Demo) -> None:
    market = demo.two_sided()
    demo.until_lifecycle(demo.buy(market, "6")["order_id"], "CONFIRMED")

    rows = demo.cli("reconcile")

    assert [row["running"] for row in rows] == [False]
    assert rows[0]["last_full_at"]
    assert rows[0]["recent"] == []


def test_an_order_of_other_software_and_shares_from_outside_are_found_and_explained(demo: Demo) -> None:
    """Shares that no trade of ours explains are booked to the outside, so that they can be sold; nothing is hidden."""
    market = demo.two_sided()
    demo.cli("reconcile")
    demo.deposit(market["token_ids"][1], 40)

    def found() -> Json | None:
        recent = demo.cli("reconcile")[0]["recent"]
        return next((row for row in recent if row["subject"] == market["token_ids"][1]), None)

    difference = until(found, 40, "the deposit was not found")
    sold = demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", "1", "--side", "SELL", "--price", "0.99",
        "--size", "40",
    )  # fmt: skip

    assert (difference["kind"], difference["theirs"], difference["resolution"]) == ("POSITION", "40", "ADJUSTED")
    assert sold["status"] == "Working"
    demo.cli("cancel-all")


def test_accounts_show_what_is_reserved_and_spendable(demo: Demo) -> None:
    market = demo.two_sided()
    demo.cli("cancel-all")

    def known() -> Json | None:
        (account,) = demo.cli("accounts")
        return account if account["spendable"] else demo.cli("reconcile") and None

    before = until(known, 40, "the balance was never believed")

    resting(demo, market, price="0.10", size="100")

    (after,) = demo.cli("accounts")
    # 100 at 0.10, and the fee should all of it take at once: 100 x 0.07 x 0.10 x 0.90.
    assert Decimal(after["reserved"]) == Decimal("10.63")
    assert Decimal(before["spendable"]) - Decimal(after["spendable"]) == Decimal("10.63")
    assert after["open_orders"] == 1
    demo.cli("cancel-all")
