"""A heart with the smallest possible core, under the name of the exchange; run by test_shells.py."""

from __future__ import annotations

import sys

from common.effects import Effect, Now, Origin, Publish, Reply
from common.messages import Accepted, BalancesReport, Deposit, GetBalances, Message, TickChanged
from common.service import run_heart


class ToyCore:
    """Adds deposits up, each command id once."""

    queries: frozenset[type[Message]] = frozenset({GetBalances})
    own: frozenset[type[Message]] = frozenset()

    def __init__(self) -> None:
        self.total = 0
        self.done: list[str] = []

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        if not isinstance(message, Deposit):
            return []
        if message.asset == "poison":
            raise AssertionError("poisoned")
        duplicate = message.command_id in self.done
        if duplicate:
            return [Reply(origin.sender, Accepted(message.command_id, True))]
        self.done.append(message.command_id)
        self.total += message.amount
        event = TickChanged("total", self.total - message.amount, self.total, now.wall_ns)
        return [Reply(origin.sender, Accepted(message.command_id)), Publish("market", event)]

    def query(self, message: Message, now: Now) -> list[Message]:
        assert isinstance(message, GetBalances)
        if message.account == "poison":
            raise AssertionError("poisoned")
        return [BalancesReport(message.request_id, message.account, True, self.total, {}, {})]

    def snapshot(self, topic: str, now: Now) -> list[Message]:
        return [TickChanged("total", 0, self.total, 0)]

    def due_ns(self) -> int | None:
        return None

    def outstanding(self) -> list[Effect]:
        return []

    def halted(self) -> None:
        """Never."""

    def wind_down(self, why: str, dropped: list[Effect]) -> None:
        """At once."""

    def missing(self) -> str:
        return ""

    def counters(self) -> dict[str, int]:
        return {"total": self.total}

    def dump(self) -> bytes:
        return f"{self.total}:{','.join(self.done)}".encode()

    def load(self, state: bytes) -> None:
        total, _, done = state.decode().partition(":")
        self.total, self.done = int(total), done.split(",") if done else []


if __name__ == "__main__":
    sys.exit(run_heart("exchange", lambda settings: ToyCore()))
