"""Findings of a hostile review: an orderly end that cancels everything, while places and venues are slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from common.messages import CancelResult, CancelWallet, OpenOrdersResult, PlaceResult, QueryOpenOrders, VenueOrder
from common.reasons import Reason
from common.types import Outcome, Side
from services.gateway.port import Prepared
from tests.services.gateway.test_desks import NOW, Stub, at
from tests.services.gateway.test_review_desks import opened, soon


class Book(Stub):
    """A venue with open orders, which takes its time while one of the gates is shut."""

    def __init__(self, venue: str) -> None:
        super().__init__(venue)
        self.open: set[str] = set()
        self.place_gate, self.cancel_gate, self.list_gate = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.placing, self.cancelling, self.listed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for gate in (self.place_gate, self.cancel_gate, self.list_gate):
            gate.set()

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        self.placing.set()
        await self.place_gate.wait()
        self.open.add(prepared.place.venue_order_id)
        return await super().place(prepared, received_ns, resent=resent)

    async def cancel_wallet(self, action: CancelWallet, received_ns: int) -> CancelResult:
        gone = sorted(self.open)
        self.open.clear()
        self.cancelling.set()
        await self.cancel_gate.wait()
        return CancelResult(action.action_id, Outcome.DONE, Reason.OK, "", gone)

    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult:
        await self.list_gate.wait()
        rows = [VenueOrder(order_id, "LIVE", "1", Side.BUY, 1, 1, 0, 0) for order_id in self.open]
        if self.cancelling.is_set():
            self.listed.set()
        return OpenOrdersResult(action.action_id, Outcome.DONE, Reason.OK, "", NOW, True, rows)


async def test_no_place_leaves_while_the_end_cancels_everything() -> None:
    book = Book("one")
    async with opened(book, on_shutdown="cancel_all") as d:
        book.cancel_gate.clear()
        closing = asyncio.create_task(d.gateway.close())
        await soon(book.cancelling)
        d.act(at("one", 1))
        assert (await d.place_result("one-1")).outcome is Outcome.REFUSED
        book.cancel_gate.set()
        await closing
        assert not book.open


async def test_the_end_also_cancels_a_place_that_is_answered_late() -> None:
    book = Book("one")
    async with opened(book, on_shutdown="cancel_all") as d:
        book.place_gate.clear()
        d.act(at("one", 1))
        await soon(book.placing)
        closing = asyncio.create_task(d.gateway.close())
        await soon(book.listed)  # after the cancel, and it is not there
        book.place_gate.set()
        await closing
        assert (await d.place_result("one-1")).outcome is Outcome.DONE
        assert not book.open


@pytest.mark.parametrize("gates", [("list_gate",), ("list_gate", "cancel_gate")])
async def test_a_venue_that_hangs_at_the_end_keeps_no_venue_from_its_cancel(
    gates: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.door.STOP_S", 0.2)
    stuck, well = Book("stuck"), Book("well")
    async with opened(stuck, well, on_shutdown="cancel_all") as d:
        stuck.open, well.open = {"x"}, {"y"}
        for gate in gates:
            getattr(stuck, gate).clear()
        await d.gateway.close()
        assert not stuck.open | well.open
