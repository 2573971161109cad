"""The money of each wallet: the venue's balance, and what our fills do to it until the venue's next word. Pure.

In: balances as the venue told them, fills at every stage. Out: cash now, and what is spoken for. The venue moves money
when a trade is mined, not when it is matched: until then a buy's cash is still in the balance but no longer ours to
spend, and a sell's is not in it yet. A fill that FAILS gives back what it took.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from common.messages import Fill
from common.types import Settlement, Side

ON_CHAIN = frozenset({Settlement.MINED, Settlement.CONFIRMED})
Key = tuple[str, str]
"""(trade id, venue order id)."""


def cash_delta(fill: Fill) -> int:
    """What a fill adds to the wallet's money once it is mined."""
    return fill.cash - fill.fee if fill.side is Side.SELL else -(fill.cash + fill.fee)


class Purse(msgspec.Struct, array_like=True, gc=False):
    """One wallet. Field order is the checkpoint format. `cash` None: the venue was not heard yet."""

    venue: str
    wallet: str
    cash: int | None = None
    allowance: int | None = None
    asked_ns: int = 0
    moved_ns: int = 0
    """Wall time of the last news of our fills."""
    unmined: dict[str, int] = {}
    """Cash deltas of fills that are not on chain, by trade and order."""

    def on_balance(self, cash: int, allowance: int, asked_ns: int) -> None:
        """The venue's word. An answer to an older question than the last one changes nothing."""
        if asked_ns > self.asked_ns:
            self.cash, self.allowance, self.asked_ns = cash, allowance, asked_ns

    def on_fill(self, fill: Fill, before: Settlement | None, wall_ns: int) -> None:
        """A new fill (`before` None) or a new stage of a known one."""
        was, now = before in ON_CHAIN, fill.settlement in ON_CHAIN
        delta, key = cash_delta(fill), f"{fill.trade_id} {fill.venue_order_id}"
        if now or fill.settlement is Settlement.FAILED:
            self.unmined.pop(key, None)
        else:
            self.unmined[key] = delta
        self.moved_ns = wall_ns
        if was != now and self.cash is not None:
            self.cash += delta if now else -delta

    @property
    def spoken_for(self) -> int:
        """Money of matched buys that is still in the balance."""
        return -sum(delta for delta in self.unmined.values() if delta < 0)

    def spendable(self, reserved: int) -> int | None:
        """What may be spent now, after `reserved` for open orders; None when the balance is not known."""
        if self.cash is None:
            return None
        most = self.cash if self.allowance is None else min(self.cash, self.allowance)
        return max(0, most - self.spoken_for - reserved)


class Purses:
    def __init__(self, rows: Iterable[Purse] = ()) -> None:
        self._rows = {(row.venue, row.wallet): row for row in rows}

    def of(self, venue: str, wallet: str) -> Purse:
        row = self._rows.get((venue, wallet))
        if row is None:
            row = self._rows[venue, wallet] = Purse(venue, wallet)
        return row

    def peek(self, venue: str, wallet: str) -> Purse:
        """For reading only: a wallet never heard of is not noted."""
        return self._rows.get((venue, wallet)) or Purse(venue, wallet)

    def rows(self) -> list[Purse]:
        return list(self._rows.values())
