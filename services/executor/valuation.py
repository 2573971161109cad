"""What holdings are worth: marks from the live books, inventory in money, profit and loss. Pure.

In: marks once a second, holdings. Out: value, unrealised profit, the account's total profit. A token without a mark is
valued at what it cost. Sums are kept until a fill or a mark changes them.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.messages import Mark
from common.types import ONE
from services.executor.positions import Holding, Positions

WORTH_MAX = 10**17
"""A hundred billion: no mark makes one holding worth more, so that sums of them stay inside 64 bits."""


def mid(mark: Mark) -> int:
    """Between the best prices; the only one when a side is empty; 0 for none."""
    return (mark.bid + mark.ask) // 2 if mark.bid and mark.ask else mark.bid or mark.ask


class Valuation:
    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._marks = {mark.token_id: mark for mark in marks}
        self._sums: dict[str, tuple[int, int]] = {}

    def take(self, marks: Iterable[Mark]) -> None:
        """The newest marks; they replace all older ones."""
        self._marks = {mark.token_id: mark for mark in marks}
        self._sums.clear()

    def changed(self, account: str) -> None:
        self._sums.pop(account, None)

    def price(self, token_id: str) -> int:
        """The mark of a token; 0 when there is none."""
        mark = self._marks.get(token_id)
        return mid(mark) if mark else 0

    def value(self, token_id: str, holding: Holding) -> int:
        """What a holding is worth now; a short is a debt."""
        price = self.price(token_id)
        if not price:
            return holding.now.cost
        return max(-WORTH_MAX, min(holding.now.size * price // ONE, WORTH_MAX))

    def inventory(self, account: str, positions: Positions) -> int:
        """Money in all holdings of an account, shorts counted as well."""
        return self._sum(account, positions)[0]

    def profit(self, account: str, positions: Positions) -> int:
        """Realised and unrealised, after fees, since the account's first fill."""
        return self._sum(account, positions)[1]

    def _sum(self, account: str, positions: Positions) -> tuple[int, int]:
        known = self._sums.get(account)
        if known is None:
            worth = profit = 0
            for token_id, holding in positions.of_account(account).items():
                value, tally = self.value(token_id, holding), holding.now
                worth += abs(value)
                profit += tally.realised - tally.fees + value - tally.cost
            known = self._sums[account] = worth, profit
        return known

    def rows(self) -> list[Mark]:
        return [self._marks[token_id] for token_id in sorted(self._marks)]
