"""The whole demo as real processes, and its CLI: what the end-to-end tests type."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from common.messages import Accepted, Deposit
from common.requester import Requester
from common.settings import ROOT
from common.topology import PROCESSES
from common.types import ONE
from scripts.provision import GivenSecrets, provision
from tests.process.group import Group, group

Json = Any


class Demo:
    """The running demo and its CLI."""

    def __init__(self, processes: Group) -> None:
        self.processes = processes

    def cli(self, *words: str, ok: bool = True) -> Json:
        """Run one CLI command with --json; its parsed output. `ok` False expects a refusal."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *words, "--json"],
            cwd=ROOT, env=self.processes.env, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is ok, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def two_sided(self) -> Json:
        """A market with both sides, and room between the extremes."""

        def found() -> Json | None:
            for market in self.cli("markets"):
                bid, ask = market["best_bid"], market["best_ask"]
                if bid and ask and Decimal("0.1") < Decimal(bid) < Decimal(ask) < Decimal("0.9"):
                    return market
            return None

        return until(found, 30, "no two-sided market")

    def buy(self, market: Json, size: str = "10", price: str = "", *more: str) -> Json:
        """A marketable BUY of the first outcome, five ticks through the ask."""
        limit = price or str(Decimal(market["best_ask"]) + Decimal("0.05"))
        return self.cli(
            "order", "place", "--market", market["slug"], "--outcome", market["outcomes"][0], "--side", "BUY",
            "--price", limit, "--size", size, *more,
        )  # fmt: skip

    def deposit(self, token_id: str, shares: int) -> None:
        """Shares for the trading wallet out of nowhere, at our own exchange."""
        with Requester(self.processes.settings) as bus:
            wallet = self.wallet_address()
            answer = bus.request("exchange", Deposit(uuid.uuid4().hex, wallet, token_id, shares * ONE))
        assert isinstance(answer, Accepted), answer

    def wallet_address(self) -> str:
        """The account of the trading wallet at the exchange."""
        path = self.processes.folder / "secrets" / "main.user_data.creds"
        return str(json.loads(path.read_text())["address"]).lower()

    def until_lifecycle(self, order_id: str, word: str, deadline_s: float = 10.0) -> Json:
        def found() -> Json | None:
            order = self.cli("order", "show", order_id)
            return order if order["lifecycle"] == word else None

        return until(found, deadline_s, f"{order_id} did not become {word}")


def until(found: Callable[[], Json | None], deadline_s: float, what: str) -> Json:
    end = time.monotonic() + deadline_s
    while (value := found()) is None:
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return value


@contextmanager
def running_demo(**overrides: str) -> Iterator[Demo]:
    """Every process of the demo, ready."""
    with group(**overrides) as processes:
        provision(processes.settings, GivenSecrets())
        for name in PROCESSES:
            processes.start(name)
        processes.wait_ready(*PROCESSES, deadline_s=60)
        yield Demo(processes)
