"""Cancels that overtook their places: what may not be placed any more. Pure (architecture section 6).

In: cancels with the lane position they cover, or the client order id they did not find; then places. Out: whether a
place is fenced. A covered place is refused whenever it arrives; since lanes are in order, a fence is over once its
sender's later messages arrive; full means one fence of wider scope. Asks have no order: a tombstone names the client
order id for a while; full means that the oldest of 100,000 is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import msgspec

FENCES_PER_SENDER = 1000
TOMBSTONES_MAX = 100_000


class Scope(NamedTuple):
    """What a cancel is about; "" is any."""

    account: str = ""
    condition_id: str = ""
    client_order_id: str = ""

    def holds(self, account: str, condition_id: str, client_order_id: str) -> bool:
        return (
            self.account in ("", account)
            and self.condition_id in ("", condition_id)
            and self.client_order_id in ("", client_order_id)
        )


class Fence(msgspec.Struct, array_like=True, gc=False, frozen=True):
    sender: str
    covers: int
    account: str
    condition_id: str
    client_order_id: str


class Tombstone(msgspec.Struct, array_like=True, gc=False, frozen=True):
    account: str
    client_order_id: str
    until_mono: int


class Fences:
    def __init__(self, fences: list[Fence] | None = None, tombstones: list[Tombstone] | None = None) -> None:
        self._covers: dict[str, dict[Scope, int]] = {}
        for row in fences or ():
            scope = Scope(row.account, row.condition_id, row.client_order_id)
            self._covers.setdefault(row.sender, {})[scope] = row.covers
        self._tombstones: OrderedDict[tuple[str, str], int] = OrderedDict()
        for stone in tombstones or ():
            self._tombstones[stone.account, stone.client_order_id] = stone.until_mono

    def __len__(self) -> int:
        return sum(map(len, self._covers.values())) + len(self._tombstones)

    def raise_for(self, sender: str, covers: int, scope: Scope) -> None:
        """A cancel of `sender` covers everything up to `covers` in this scope."""
        if covers <= 0:
            return
        rows = self._covers.setdefault(sender, {})
        if scope not in rows and len(rows) >= FENCES_PER_SENDER:
            scope, covers = Scope(), max(covers, *rows.values())
            rows.clear()
        rows[scope] = max(covers, rows.get(scope, 0))

    def bury(self, account: str, client_order_id: str, until_mono: int) -> None:
        """A cancel did not find this client order id: a place of it that is still on its way must not happen."""
        self._tombstones[account, client_order_id] = until_mono
        self._tombstones.move_to_end((account, client_order_id))
        if len(self._tombstones) > TOMBSTONES_MAX:
            self._tombstones.popitem(last=False)

    def arrived(self, sender: str, seq: int) -> None:
        """A message at this lane position arrived: nothing before it can arrive any more."""
        rows = self._covers.get(sender)
        if not rows or seq <= 0:
            return
        for scope in [scope for scope, covers in rows.items() if covers < seq]:
            del rows[scope]
        if not rows:
            del self._covers[sender]

    def fenced(self, sender: str, seq: int, place: Scope, now_mono: int) -> bool:
        """Whether a place from this lane position may not happen. `place` names account, market and client id."""
        until = self._tombstones.get((place.account, place.client_order_id), 0)
        if place.client_order_id and now_mono < until:
            return True
        if seq <= 0:
            return False
        return any(seq <= covers and scope.holds(*place) for scope, covers in self._covers.get(sender, {}).items())

    def expire(self, now_mono: int) -> None:
        while self._tombstones and next(iter(self._tombstones.values())) <= now_mono:
            self._tombstones.popitem(last=False)

    def fences(self) -> list[Fence]:
        return [
            Fence(sender, covers, *scope) for sender, rows in self._covers.items() for scope, covers in rows.items()
        ]

    def tombstones(self) -> list[Tombstone]:
        return [Tombstone(*key, until) for key, until in self._tombstones.items()]
