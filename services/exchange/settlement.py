"""The life of trades after the match: MATCHED -> MINED -> CONFIRMED on delays, and who may still ask for them.

In: new trades, a plan for those that shall settle another way, and the monotonic clock. Out: trades that moved on. A
trade is kept while an account's bounded history or a coming stage holds it. Balances moved at match time; taking them
back when a trade fails is undo.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from itertools import pairwise

import msgspec

from common.errors import Refusal
from common.messages import ExchangeTrade, PlanSettlement
from common.reasons import Reason
from common.types import Settlement
from services.exchange.accounts import Account
from services.exchange.execution import tx_hash_of
from services.exchange.timetable import Entry, Timetable

MS = 1_000_000

NEXT: dict[Settlement, Settlement] = {
    Settlement.MATCHED: Settlement.MINED,
    Settlement.MINED: Settlement.CONFIRMED,
}
"""What a due stage turns a trade into, unless it has a life of its own."""

MAY_FOLLOW: dict[Settlement, frozenset[Settlement]] = {
    Settlement.MATCHED: frozenset({Settlement.MINED, Settlement.RETRYING, Settlement.FAILED}),
    Settlement.MINED: frozenset({Settlement.CONFIRMED, Settlement.RETRYING, Settlement.FAILED}),
    Settlement.RETRYING: frozenset({Settlement.MINED, Settlement.FAILED}),
}
"""Protocol section 6, item 11, and a FAILED whose RETRYING nobody saw."""
LIFE_MAX = 10

PENDING_MAX = 500_000
"""Most stages outstanding; beyond it new orders are refused OVERLOADED."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """A trade and how many histories and stages hold it."""

    trade: ExchangeTrade
    holders: int
    life: tuple[Settlement, ...] = ()
    """The stages to come when they are not the usual ones."""


class Plan(msgspec.Struct, array_like=True, gc=False):
    """How coming trades settle: `left` of them (-1: all), `percent` of a hundred, chosen by `seed` and `asked`."""

    life: tuple[Settlement, ...] = ()
    left: int = -1
    percent: int = 100
    seed: int = 0
    asked: int = 0

    def next_life(self) -> tuple[Settlement, ...]:
        """The life of the next trade; empty is the usual one."""
        if not self.life or not self.left:
            return ()
        self.asked += 1
        if _draw(self.seed, self.asked) % 100 >= self.percent:
            return ()
        self.left -= self.left > 0
        return self.life


def plan_of(message: PlanSettlement) -> Plan:
    """Raises Refusal for a life no trade can have."""
    life = tuple(message.life)
    stages = (Settlement.MATCHED, *life)
    follows = all(after in MAY_FOLLOW.get(before, ()) for before, after in pairwise(stages))
    if len(life) > LIFE_MAX or not follows or (life and stages[-1] in MAY_FOLLOW):
        raise Refusal(Reason.BAD_REQUEST, "no trade goes these ways to CONFIRMED or FAILED", "life")
    if message.times < 0 or not 0 <= message.percent <= 100:
        raise Refusal(Reason.BAD_NUMBER, "times is not negative, percent is from 0 to 100", "times")
    return Plan(life, message.times or -1, message.percent, message.seed)


def _draw(seed: int, number: int) -> int:
    return int.from_bytes(blake2b(f"{seed}:{number}".encode(), digest_size=8).digest(), "big")


class Trades:
    """Trades by id in the order they were made, and the timetable of their stages."""

    def __init__(self, records: list[Record], entries: list[Entry], scheduled: int, plan: Plan | None = None) -> None:
        self.records: dict[str, Record] = {record.trade.trade_id: record for record in records}
        self.timetable = Timetable(entries)
        self.scheduled = scheduled
        self.plan = plan or Plan()

    def add(self, trade: ExchangeTrade, parties: list[Account], history_max: int, delays: tuple[int, int]) -> None:
        """Keep a new trade for its parties and schedule its stages; `delays`: when it is mined and confirmed.

        A longer life goes on in steps of the time between the two.
        """
        life = self.plan.next_life()
        mined_ns, confirmed_ns = delays
        stages_ns = [mined_ns + number * (confirmed_ns - mined_ns) for number in range(len(life) or 2)]
        self.records[trade.trade_id] = Record(trade, len(parties) + len(stages_ns), life)
        for account in parties:
            account.trades.append(trade.trade_id)
            while len(account.trades) > history_max:
                self._release(account.trades.popleft())
        for due_ns in stages_ns:
            self.scheduled += 1
            self.timetable.add(due_ns, self.scheduled, trade.trade_id)

    def advance(self, mono_ns: int, wall_ns: int, take_back: Callable[[ExchangeTrade], bool]) -> list[ExchangeTrade]:
        """Trades whose next stage is due, moved on; one that fails is taken back, or confirmed when that cannot be."""
        moved: list[ExchangeTrade] = []
        for _, _, trade_id in self.timetable.take_due(mono_ns):
            record = self.records[trade_id]
            stage = _next_stage(record)
            if stage is Settlement.FAILED and not take_back(record.trade):
                stage = Settlement.CONFIRMED
            record.trade = msgspec.structs.replace(
                record.trade, settlement=stage, tx_hash=tx_hash_of(trade_id), updated_ns=wall_ns
            )
            moved.append(record.trade)
            self._release(trade_id)
        return moved

    @property
    def full(self) -> bool:
        return len(self.timetable.entries) >= PENDING_MAX

    def _release(self, trade_id: str) -> None:
        record = self.records[trade_id]
        record.holders -= 1
        if not record.holders:
            del self.records[trade_id]


def _next_stage(record: Record) -> Settlement:
    if not record.life:
        return NEXT[record.trade.settlement]
    stage, *rest = record.life
    record.life = tuple(rest)
    return stage
