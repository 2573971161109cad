"""The life of trades after the match: MATCHED -> MINED -> CONFIRMED on delays, and who may still ask for them.

In: new trades and the monotonic clock. Out: trades that moved on. A trade is kept while an account's bounded history
or a coming stage holds it. Balances moved at match time; nothing here touches them.
"""

from __future__ import annotations

import msgspec

from common.messages import ExchangeTrade
from common.types import Settlement
from services.exchange.accounts import Account
from services.exchange.execution import tx_hash_of
from services.exchange.timetable import Entry, Timetable

MS = 1_000_000

NEXT: dict[Settlement, Settlement] = {
    Settlement.MATCHED: Settlement.MINED,
    Settlement.MINED: Settlement.CONFIRMED,
}
"""What a due stage turns a trade into. Injected RETRYING and FAILED lives (a later part) are rows of this table."""

PENDING_MAX = 500_000
"""Most stages outstanding; beyond it new orders are refused OVERLOADED."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """A trade and how many histories and stages hold it."""

    trade: ExchangeTrade
    holders: int


class Trades:
    """Trades by id in the order they were made, and the timetable of their stages."""

    def __init__(self, records: list[Record], entries: list[Entry], scheduled: int) -> None:
        self.records: dict[str, Record] = {record.trade.trade_id: record for record in records}
        self.timetable = Timetable(entries)
        self.scheduled = scheduled

    def add(self, trade: ExchangeTrade, parties: list[Account], history_max: int, stages_ns: tuple[int, ...]) -> None:
        """Keep a new trade for its parties and schedule its stages."""
        self.records[trade.trade_id] = Record(trade, len(parties) + len(stages_ns))
        for account in parties:
            account.trades.append(trade.trade_id)
            while len(account.trades) > history_max:
                self._release(account.trades.popleft())
        for due_ns in stages_ns:
            self.scheduled += 1
            self.timetable.add(due_ns, self.scheduled, trade.trade_id)

    def advance(self, mono_ns: int, wall_ns: int) -> list[ExchangeTrade]:
        """Trades whose next stage is due, moved on."""
        moved: list[ExchangeTrade] = []
        for _, _, trade_id in self.timetable.take_due(mono_ns):
            record = self.records[trade_id]
            record.trade = msgspec.structs.replace(
                record.trade,
                settlement=NEXT[record.trade.settlement],
                tx_hash=tx_hash_of(trade_id),
                updated_ns=wall_ns,
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
