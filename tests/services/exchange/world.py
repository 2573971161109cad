"""An exchange core with a clock, for tests: sends commands, keeps effects, checks every invariant after each step."""

from __future__ import annotations

import json
from typing import Any

from common.effects import Effect, Now, Origin, Publish, Reply
from common.fixed import parse_micros
from common.instruments import Market
from common.messages import (
    BalancesReport,
    CancelOrders,
    Configured,
    Deposit,
    GetBalances,
    GetExchangeOrder,
    Message,
    OpenAccount,
    OpenMarket,
    QuoteLadder,
    Refused,
    SubmitOrder,
    TimerFired,
)
from common.reasons import Reason
from common.types import Side, TimeInForce
from services.exchange.audit import broken_rules
from services.exchange.core import ExchangeCore

YES, NO = "1001", "1002"
SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND


def micros(text: str) -> int:
    return parse_micros(text)


def market(condition: str = "0xc0", tokens: tuple[str, str] = (YES, NO), **changes: Any) -> Market:
    fields: dict[str, Any] = {"tick": 10_000, "min_size": 5_000_000, **changes}
    return Market("polymarket", condition, f"slug-{condition}", "Up or down?", ("Yes", "No"), tokens, **fields)


class World:
    """One market "0xc0" unless more are opened. `audit` off makes long streams fast."""

    def __init__(self, *, fee_rate: int = 0, audit: bool = True, opened: Market | None = None, **settings: int) -> None:
        self.core = ExchangeCore()
        self.audit = audit
        self.wall_ns, self.mono_ns = START, SECOND
        self.effects: list[Effect] = []
        self.commands = 0
        self.send(Configured(json.dumps({"mode": "demo", "exchange": settings})))
        self.send(OpenMarket(self.next_id(), opened or market(fee_rate=fee_rate)))

    def next_id(self) -> str:
        self.commands += 1
        return f"command-{self.commands}"

    def send(self, message: Message) -> Message | None:
        """Handle one input; returns the answer."""
        self.effects = self.core.handle(message, Origin("test"), Now(self.wall_ns, self.mono_ns))
        if self.audit:
            assert broken_rules(self.core.engine) == []
        answers = [effect.body for effect in self.effects if isinstance(effect, Reply)]
        assert len(answers) <= 1
        return answers[0] if answers else None

    def events(self, topic: str = "") -> list[Message]:
        """Events of the last step, of one topic or of both in order."""
        return [e.body for e in self.effects if isinstance(e, Publish) and topic in ("", e.topic)]

    def pass_time(self, seconds: float) -> None:
        """Let time go by; the core gets its timer when it asked for one."""
        self.wall_ns += int(seconds * SECOND)
        self.mono_ns += int(seconds * SECOND)
        due = self.core.due_ns()
        if due is not None and due <= self.mono_ns:
            self.send(TimerFired())
        else:
            self.effects = []

    def account(self, name: str, cash: str = "1000", yes: str = "0", no: str = "0", *, liquidity: bool = False) -> None:
        self.send(OpenAccount(self.next_id(), name, micros(cash), liquidity))
        for token, amount in ((YES, yes), (NO, no)):
            if micros(amount):
                self.send(Deposit(self.next_id(), name, token, micros(amount)))

    def order(  # noqa: PLR0917 (as in the tables: who, id, side, outcome, size, price)
        self, account: str, order_id: str, side: str, token: str, size: str, price: str, **more: Any
    ) -> SubmitOrder:
        tif = TimeInForce(more.pop("tif", "GTC"))
        command = more.pop("command_id", "") or self.next_id()
        return SubmitOrder(command, account, order_id, token, Side(side), micros(price), micros(size), tif, **more)

    def submit(  # noqa: PLR0917 (as order)
        self, account: str, order_id: str, side: str, token: str, size: str, price: str, **more: Any
    ) -> Message:
        answer = self.send(self.order(account, order_id, side, token, size, price, **more))
        assert answer is not None
        return answer

    def refusal(self, answer: Message | None) -> tuple[Reason, str, str]:
        assert isinstance(answer, Refused), answer
        return answer.code, answer.text, answer.field

    def cancel(self, account: str, *order_ids: str) -> Message | None:
        return self.send(CancelOrders(self.next_id(), account, list(order_ids)))

    def ladder(self, account: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> Message | None:
        """Levels are (price, size)."""
        levels = [[(micros(price), micros(size)) for price, size in side] for side in (bids, asks)]
        return self.send(QuoteLadder(self.next_id(), account, "0xc0", *levels))

    def ask(self, query: Message) -> Any:
        answers = self.core.query(query, Now(self.wall_ns, self.mono_ns))
        assert len(answers) == 1
        return answers[0]

    def balances(self, account: str) -> BalancesReport:
        report = self.ask(GetBalances("q", account))
        assert isinstance(report, BalancesReport)
        return report

    def order_now(self, order_id: str) -> Any:
        orders = self.ask(GetExchangeOrder("q", order_id)).orders
        return orders[0] if orders else None
