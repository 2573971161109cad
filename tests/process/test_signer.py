"""Keys in a process of their own: the gateway never sees one, and what the signer refuses is never sent.

The orders are of protocol version 1, which the simulator takes when it is told to: the whole way of a V1 order.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from common.messages import GetSigner, Refused
from common.reasons import Reason
from common.requester import Requester
from scripts.provision import GivenSecrets, provision
from tests.process.demo import Demo, Json
from tests.process.group import group

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

LIMIT = "20"


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """The demo with a signer, and a gateway whose folder of secrets has no wallet key."""
    overrides = {
        "gateway__signer": "process",
        "signer__notional_per_minute": LIMIT,
        "polymarket__protocol_version": "1",
        "polymarket_sim__accept_v1": "true",
        "mirror__market_count": "4",
    }
    with group(**overrides) as processes:
        provision(processes.settings, GivenSecrets())
        keyless = processes.folder / "keyless"
        shutil.copytree(processes.folder / "secrets", keyless, ignore=shutil.ignore_patterns("*.key"))
        names = [name for name in processes.settings.processes if name != "recorder"]
        for name in names:
            own = {"paths__secrets_dir": str(keyless)} if name == "gateway" else {}
            processes.start(name, **own)
        processes.wait_ready(*names, deadline_s=60)
        yield Demo(processes)


def place(demo: Demo, market: Json, price: str, size: str, *, ok: bool = True) -> Json:
    return demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", market["outcomes"][0], "--side", "BUY",
        "--price", price, "--size", size, ok=ok,
    )  # fmt: skip


def test_orders_are_signed_by_the_signer_within_its_limit_and_not_at_all_without_it(demo: Demo) -> None:
    market = demo.two_sided()
    filled = place(demo, market, "0.9", "10")
    demo.until_lifecycle(filled["order_id"], "CONFIRMED", 30)
    above = place(demo, market, "0.9", "20", ok=False)
    assert (above["lifecycle"], above["reject_reason"]) == ("REJECTED", Reason.SIGNING_LIMIT)
    assert f"11 of {LIMIT} per minute is left" in above["reject_text"]
    resting = place(demo, market, "0.01", "100")
    assert resting["lifecycle"] == "PLACED"

    demo.processes.kill9("signer")
    unsigned = place(demo, market, "0.01", "100", ok=False)
    assert (unsigned["lifecycle"], unsigned["reject_reason"]) == ("REJECTED", Reason.WALLET_NOT_READY)
    assert "nothing was sent" in unsigned["reject_text"]
    assert demo.cli("cancel", resting["order_id"])["lifecycle"] == "CANCELLED"

    demo.processes.start("signer")
    demo.processes.wait_ready("signer")
    demo.until_lifecycle(place(demo, market, "0.9", "10")["order_id"], "CONFIRMED", 30)


def test_nobody_but_the_gateway_is_answered(demo: Demo) -> None:
    with Requester(demo.processes.settings) as bus:
        answer = bus.request("signer", GetSigner("r1", "main"))
    assert isinstance(answer, Refused)
    assert (answer.code, answer.field) == (Reason.BAD_REQUEST, "sender")
