"""Cancels at the venue's limits: with its buckets enforced and nearly empty, no cancel is ever refused for rate."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter

import pytest

from common.messages import CancelAccepted, CancelAll, CancelOrder, PlaceAnswer, Refused
from common.reasons import Reason
from common.requester import Requester
from common.types import TimeInForce
from common.venues.polymarket.limits import TIERS
from tests.process.group import Group
from tests.process.judge import ACCOUNT, answered, cancelled_everything
from tests.process.test_venue_trouble import a_place, control, liquid, switch, trading

pytestmark = [pytest.mark.process]

SHARE = 0.9
SWEEP_EVERY_S = 7.0
ORDERS_PER_S = SHARE * TIERS["Standard"].orders_per_s


class Counted:
    """What the venue was asked, from its own list of order calls."""

    def __init__(self, processes: Group) -> None:
        self._processes = processes
        self._last = 0
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.cancelled_ids = 0

    def look(self) -> None:
        for row in control(self._processes, f"/requests?after={self._last}")["requests"]:
            if not row["status"]:
                return  # not answered yet: from here on the next time
            self._last = row["seq"]
            self.calls[row["method"]] += 1
            if row["method"] == "DELETE":
                self.cancelled_ids += len(row["order_ids"])
            if row["status"] == 429:
                self.refused[f"{row['method']} {row['path']}"] += 1


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [12, pytest.param(600, marks=pytest.mark.soak)])
def test_no_cancel_is_refused_for_rate_at_nine_tenths_of_the_budget(seconds: int) -> None:
    seconds = int(os.environ.get("CANCEL_BUDGET_S", "0")) or seconds
    with trading(execution__request_life_ms="5000") as (processes, bus):
        switch(processes, "rate_limits", enforce=1, tier="Standard")
        counted = Counted(processes)
        placed = _trade(processes, bus, counted, seconds)
        cancelled_everything(bus, 60)
        counted.look()
        print(f"{placed} placed, {counted.calls}, {counted.cancelled_ids} ids cancelled, refused {counted.refused}")
        assert placed > seconds * ORDERS_PER_S * 0.5, "too few orders to prove anything"
        assert not {call for call in counted.refused if call.startswith("DELETE")}, counted.refused


def _trade(processes: Group, bus: Requester, counted: Counted, seconds: int) -> int:
    """Place at nine tenths of the tier's rate, cancel most of it by id, sweep the rest now and then."""
    view = liquid(bus)[0]
    began = sweep_at = look_at = time.monotonic()
    placed: list[str] = []
    n = 0
    while (now := time.monotonic()) < began + seconds:
        if now >= look_at + 1:
            counted.look()
            look_at = now
        if now >= sweep_at + SWEEP_EVERY_S:
            assert isinstance(answered(bus, CancelAll(uuid.uuid4().hex), cancel=True), CancelAccepted)
            placed, sweep_at = [], now
        if n >= (now - began) * ORDERS_PER_S:
            time.sleep(0.002)
            continue
        n += 1
        answer = answered(bus, a_place(view, f"n-{n}", TimeInForce.GTC, post_only=True))
        if isinstance(answer, PlaceAnswer):
            placed.append(answer.order.order_id)
        if len(placed) > 20 and n % 3:
            gone = answered(bus, CancelOrder(uuid.uuid4().hex, ACCOUNT, placed.pop(0)), cancel=True)
            assert isinstance(gone, CancelAccepted) or _is_over(gone), gone
    return n


def _is_over(answer: object) -> bool:
    return isinstance(answer, Refused) and answer.code is Reason.INVALID_ORDER_STATE
