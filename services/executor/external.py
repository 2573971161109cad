"""Fills that belong to no order of ours, and the list of recent fills of everybody. Pure.

In: fills. Out: which external ones are known, and recent fills newest first. An external fill (made by other software
on the same wallet) is booked to the account `external:<wallet>`, never dropped. Beyond the bounds the oldest settled
external fills are forgotten and the list of recent fills ends; positions keep what they counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from common.messages import Fill
from services.executor.order import SETTLED

EXTERNAL_MAX = 100_000
RECENT_MAX = 10_000
PREFIX = "external:"

Key = tuple[str, str]
"""(trade id, venue order id)."""


def account_of(wallet: str) -> str:
    return PREFIX + wallet


class External:
    def __init__(self, fills: Iterable[Fill] = (), recent: Iterable[Key] = ()) -> None:
        self._fills: dict[Key, Fill] = {key_of(fill): fill for fill in fills}
        self._recent: deque[Key] = deque(recent, RECENT_MAX)

    def __len__(self) -> int:
        return len(self._fills)

    def find(self, trade_id: str, venue_order_id: str) -> Fill | None:
        return self._fills.get((trade_id, venue_order_id))

    def put(self, fill: Fill) -> None:
        """A new external fill or a new stage of a known one."""
        if key_of(fill) not in self._fills:
            self.list_fill(fill)
        self._fills[key_of(fill)] = fill
        if len(self._fills) > EXTERNAL_MAX:
            settled = next((key for key, known in self._fills.items() if known.settlement in SETTLED), None)
            if settled is not None:
                del self._fills[settled]

    def list_fill(self, fill: Fill) -> None:
        self._recent.append(key_of(fill))

    def recent(self) -> Iterator[Key]:
        """Newest first."""
        return reversed(self._recent)

    def unsettled_since(self, wallet: str) -> list[int]:
        """Match times of this wallet's external fills that are not final."""
        account = account_of(wallet)
        return [
            fill.matched_ns
            for fill in self._fills.values()
            if fill.account == account and fill.settlement not in SETTLED
        ]

    def fills(self) -> list[Fill]:
        return list(self._fills.values())

    def recent_keys(self) -> list[Key]:
        return list(self._recent)


def key_of(fill: Fill) -> Key:
    return fill.trade_id, fill.venue_order_id
