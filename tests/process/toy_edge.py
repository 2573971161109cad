"""An edge that follows the toy heart's stream and answers with what it holds; run by test_shells.py."""

from __future__ import annotations

import sys

from common.edge import Edge
from common.errors import Refusal
from common.messages import BalancesReport, GetBalances, GetBook, Message, TickChanged
from common.reasons import Reason
from common.service import run_edge


class Total:
    """The heart's total as the stream tells it."""

    def __init__(self) -> None:
        self.value = -1
        self.synced = False

    def on_snapshot(self, bodies: list[Message]) -> None:
        self.synced = True
        for body in bodies:
            self.on_event(body)

    def on_event(self, body: Message) -> None:
        assert isinstance(body, TickChanged)
        self.value = body.new_tick

    def on_gap(self) -> None:
        self.synced = False


async def start(edge: Edge) -> None:
    total = Total()
    edge.subscribe("exchange", "market", total)

    async def answer(message: Message, sender: str) -> list[Message]:
        if isinstance(message, GetBook):
            raise Refusal(Reason.UNKNOWN_MARKET, "no such market", "market")
        assert isinstance(message, GetBalances)
        if message.account == "bug":
            raise ZeroDivisionError("a bug in a handler")
        return [BalancesReport(message.request_id, sender, total.synced, total.value, {}, {})]

    edge.serve_asks(answer)
    edge.set_state("READY")


if __name__ == "__main__":
    sys.exit(run_edge("mirror", start))
