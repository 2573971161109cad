"""What each account holds of each token, from its fills alone. Pure.

In: fills, then their settlement stages. Out: size, confirmed size, exact cost, average price, realised profit, fees.
A fill counts from MATCHED on and is taken back in full when it FAILS. The average-cost result depends on the order of
fills, so those not yet final are kept sorted by match time and a late or failed one recomputes only that tail.
Every step keeps: cost - realised = cash paid - cash received, and size = bought - sold, to the last micro.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

import msgspec

from common.messages import Fill, Position
from common.types import Settlement, Side
from services.executor.cash import ON_CHAIN
from services.executor.order import average_price

Key = tuple[str, str]
"""(account, token id)."""


class Tally(msgspec.Struct, array_like=True, gc=False):
    """A running average-cost account. A negative size is a short: sold more than we ever saw bought."""

    size: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0

    def add(self, side: Side, size: int, cash: int, fee: int) -> None:
        """Apply one fill: first it closes what stands on the other side, the rest opens."""
        sign = 1 if side is Side.BUY else -1
        self.fees += fee
        closing = min(size, -sign * self.size) if sign * self.size < 0 else 0
        if closing:
            closing_cash = cash * closing // size
            closed_cost = abs(self.cost) * closing // abs(self.size)
            self.realised += sign * (closed_cost - closing_cash)
            self.cost += sign * closed_cost
            cash -= closing_cash
        self.cost += sign * cash
        self.size += sign * size


class Entry(msgspec.Struct, array_like=True, gc=False):
    """A fill that is not folded into the base yet. The first three fields say which."""

    matched_ns: int
    trade_id: str
    venue_order_id: str
    side: Side
    size: int
    cash: int
    fee: int
    final: bool = False

    def place(self) -> tuple[int, str, str]:
        return self.matched_ns, self.trade_id, self.venue_order_id

    def time(self) -> int:
        """Venues count in seconds: among equals the order of arrival counts."""
        return self.matched_ns


class Holding(msgspec.Struct, array_like=True, gc=False):
    """One account's stake in one token: `now` is `base` plus every entry of `tail` in sequence."""

    venue: str
    market: str
    condition_id: str
    outcome: str
    base: Tally
    now: Tally
    tail: list[Entry]
    confirmed: int = 0
    mined: int = 0
    """Shares that are on chain: what the venue lets sell."""
    adjusted: int = 0
    """Shares that came or went without a fill of ours, as reconciliation found."""

    def add(self, entry: Entry) -> None:
        insort(self.tail, entry, key=Entry.time)
        if self.tail[-1] is entry:
            self.now.add(entry.side, entry.size, entry.cash, entry.fee)
        else:
            self._recompute()

    def confirm(self, place: tuple[int, str, str]) -> None:
        for entry in self.tail:
            if entry.place() == place:
                entry.final = True
                self.confirmed += entry.size if entry.side is Side.BUY else -entry.size
                break
        self._fold()

    def reverse(self, failed: Entry) -> None:
        """Take a fill back. One that was final and folded already (the venue broke its word) is traded back."""
        kept = [entry for entry in self.tail if entry.place() != failed.place()]
        folded = len(kept) == len(self.tail)
        if folded or any(entry.final for entry in self.tail if entry.place() == failed.place()):
            self.confirmed -= failed.size if failed.side is Side.BUY else -failed.size
        if folded:
            self.base.add(failed.side.opposite, failed.size, failed.cash, -failed.fee)
        self.tail = kept
        self._recompute()
        self._fold()

    def _fold(self) -> None:
        """Move the final head of the tail into the base; `now` is not touched by that."""
        count = 0
        for entry in self.tail:
            if not entry.final:
                break
            self.base.add(entry.side, entry.size, entry.cash, entry.fee)
            count += 1
        del self.tail[:count]

    def _recompute(self) -> None:
        tally = Tally(self.base.size, self.base.cost, self.base.realised, self.base.fees)
        for entry in self.tail:
            tally.add(entry.side, entry.size, entry.cash, entry.fee)
        self.now = tally


class Positions:
    """All holdings. The caller sees to it that each fill is booked once and each stage of it is told once."""

    def __init__(self, rows: Iterable[tuple[str, str, Holding]] = ()) -> None:
        self._holdings: dict[Key, Holding] = {}
        self._accounts: dict[str, dict[str, Holding]] = {}
        for account, token_id, holding in rows:
            self._insert(account, token_id, holding)

    def __len__(self) -> int:
        return len(self._holdings)

    def find(self, account: str, token_id: str) -> Holding | None:
        return self._holdings.get((account, token_id))

    def size(self, account: str, token_id: str) -> int:
        holding = self._holdings.get((account, token_id))
        return holding.now.size if holding else 0

    def of_account(self, account: str) -> dict[str, Holding]:
        """Every holding the account ever had, by token."""
        return self._accounts.get(account, {})

    def tokens(self) -> list[str]:
        """Tokens somebody holds now."""
        return sorted({token_id for (_, token_id), holding in self._holdings.items() if holding.now.size})

    def _insert(self, account: str, token_id: str, holding: Holding) -> None:
        self._holdings[account, token_id] = holding
        self._accounts.setdefault(account, {})[token_id] = holding

    def book(self, fill: Fill, venue: str, market: str) -> None:
        """A new fill, at whatever stage it is first seen."""
        if fill.settlement is Settlement.FAILED:
            return
        holding = self._holdings.get((fill.account, fill.token_id))
        if holding is None:
            holding = Holding(venue, market, fill.condition_id, fill.outcome, Tally(), Tally(), [])
            self._insert(fill.account, fill.token_id, holding)
        entry = _entry(fill)
        holding.add(entry)
        if fill.settlement in ON_CHAIN:
            holding.mined += _signed(fill)
        if fill.settlement is Settlement.CONFIRMED:
            holding.confirm(entry.place())

    def settle(self, fill: Fill, before: Settlement) -> None:
        """A booked fill reached a new stage."""
        holding = self._holdings.get((fill.account, fill.token_id))
        if holding is None:
            return
        holding.mined += _signed(fill) * ((fill.settlement in ON_CHAIN) - (before in ON_CHAIN))
        if fill.settlement is Settlement.CONFIRMED:
            holding.confirm(_entry(fill).place())
        elif fill.settlement is Settlement.FAILED:
            holding.reverse(_entry(fill))

    def adjust(self, account: str, token_id: str, size: int, names: tuple[str, str, str, str]) -> None:
        """Shares moved without a fill (a deposit, a split, a redemption): no money of ours did. `names`: venue, market,
        condition id, outcome."""
        holding = self._holdings.get((account, token_id))
        if holding is None:
            holding = Holding(*names, Tally(), Tally(), [])
            self._insert(account, token_id, holding)
        holding.base.size += size
        holding.now.size += size
        holding.confirmed += size
        holding.mined += size
        holding.adjusted += size

    def views(self, account: str = "") -> list[Position]:
        """Of one account or of all, in the order they were opened; flat ones show what they realised."""
        return [
            _view(name, token, holding) for (name, token), holding in self._holdings.items() if account in ("", name)
        ]

    def rows(self) -> list[tuple[str, str, Holding]]:
        return [(account, token, holding) for (account, token), holding in self._holdings.items()]


def _signed(fill: Fill) -> int:
    return fill.size if fill.side is Side.BUY else -fill.size


def _entry(fill: Fill) -> Entry:
    return Entry(fill.matched_ns, fill.trade_id, fill.venue_order_id, fill.side, fill.size, fill.cash, fill.fee)


def _view(account: str, token_id: str, holding: Holding) -> Position:
    tally = holding.now
    return Position(
        account=account,
        venue=holding.venue,
        market=holding.market,
        condition_id=holding.condition_id,
        token_id=token_id,
        outcome=holding.outcome,
        size=tally.size,
        confirmed=holding.confirmed,
        cost=tally.cost,
        avg_price=average_price(abs(tally.cost), abs(tally.size)),
        realised=tally.realised,
        fees=tally.fees,
    )


def unexplained(positions: Positions, fills: Iterable[Fill]) -> list[str]:
    """Where the holdings are not exactly what these fills say; empty when everything is conserved."""
    expected: dict[Key, list[int]] = {}
    for fill in fills:
        row = expected.setdefault((fill.account, fill.token_id), [0, 0, 0, 0, 0])
        sign = 1 if fill.side is Side.BUY else -1
        if fill.settlement is not Settlement.FAILED:
            row[0] += sign * fill.size
            row[1] += sign * fill.cash
            row[2] += fill.fee
        if fill.settlement is Settlement.CONFIRMED:
            row[3] += sign * fill.size
        if fill.settlement in ON_CHAIN:
            row[4] += sign * fill.size
    shown = {
        (name, token_id): [
            holding.now.size - holding.adjusted,
            holding.now.cost - holding.now.realised,
            holding.now.fees,
            holding.confirmed - holding.adjusted,
            holding.mined - holding.adjusted,
        ]
        for name, token_id, holding in positions.rows()
    }
    keys = sorted(expected.keys() | shown.keys())
    none = [0, 0, 0, 0, 0]
    return [
        f"{key}: holds {shown.get(key, none)}, fills say {expected.get(key, none)}"
        for key in keys
        if shown.get(key, none) != expected.get(key, none)
    ]
