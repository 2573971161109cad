"""`polyexec venue check` typed at a running demo: every case passes, and nobody's orders are touched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process.demo import Demo, running_demo

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with running_demo() as found:
        found.two_sided()
        yield found


def test_polymarket_keeps_every_rule_and_leaves_other_orders_alone(demo: Demo) -> None:
    market = demo.two_sided()
    own = demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", market["outcomes"][0], "--side", "BUY",
        "--price", "0.02", "--size", "10",
    )  # fmt: skip

    report = demo.cli("venue", "check", "polymarket")

    assert {row["key"]: row["detail"] for row in report["cases"] if row["verdict"] != "PASS"} == {}
    assert [row["number"] for row in report["cases"]] == list(range(1, report["passed"] + 1))
    assert demo.cli("order", "show", own["order_id"])["status"] == "Working"


@pytest.mark.parametrize(
    ("name", "do_not_apply"),
    [
        ("exchange", {"batch", "lost_batch", "secrets"}),
        ("ccxt", {"gtd", "duplicate_over", "batch", "lost_batch", "cancel_batch", "cancel_wallet"}),
    ],
)
def test_the_other_venues_keep_every_rule_that_applies(demo: Demo, name: str, do_not_apply: set[str]) -> None:
    report = demo.cli("venue", "check", name)

    assert {row["key"]: row["detail"] for row in report["cases"] if row["verdict"] == "FAIL"} == {}
    assert {row["key"] for row in report["cases"] if row["verdict"] == "N/A"} == do_not_apply
    assert all(row["detail"] for row in report["cases"] if row["verdict"] == "N/A")


def test_a_venue_nobody_knows_is_refused_by_name(demo: Demo) -> None:
    error = demo.cli("venue", "check", "nowhere", ok=False)["error"]
    assert (error["code"], error["field"]) == ("UNKNOWN_VENUE", "name")
    assert "polymarket" in error["message"]
