"""All orders by every id they have, and which of them need attention. Pure.

In: orders as they are made and after each change. Out: the order behind an id, the open ones, those whose next look-up
is due, those with fills that are not final. Orders that are over on both axes are history: beyond the bound the one
that was over first is dropped. Decides nothing about an order's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush

from services.executor.order import TERMINAL, Order, State

CHECKS_SLACK = 10_000
"""Times that no longer count are cleared out when there are this many more of them than open orders."""


class Oms:
    def __init__(self, orders: Iterable[Order] = (), done: Iterable[int] = ()) -> None:
        self._orders: dict[int, Order] = {}
        self._by_venue_id: dict[str, int] = {}
        self._open: dict[int, None] = {}
        self._unsettled: dict[int, None] = {}
        self._done: dict[int, None] = dict.fromkeys(done)
        self._checks: list[tuple[int, int]] = []
        for order in orders:
            self._insert(order)
            if order.number not in self._done:
                self.changed(order)
            if order.check_mono:
                self._checks.append((order.check_mono, order.number))
        heapify(self._checks)

    def __len__(self) -> int:
        return len(self._orders)

    @property
    def open_count(self) -> int:
        return len(self._open)

    @property
    def done_count(self) -> int:
        return len(self._done)

    # --- finding ---

    def get(self, number: int) -> Order | None:
        return self._orders.get(number)

    def by_order_id(self, order_id: str) -> Order | None:
        number = order_id.removeprefix("o-")
        if number == order_id or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        order = self._orders.get(int(number))
        return order if order is not None and order.order_id == order_id else None

    def by_venue_id(self, venue_order_id: str) -> Order | None:
        number = self._by_venue_id.get(venue_order_id.lower())
        return None if number is None else self._orders[number]

    def open_orders(self) -> list[Order]:
        """Oldest first."""
        return [self._orders[number] for number in sorted(self._open)]

    def newest_first(self) -> Iterable[Order]:
        return reversed(self._orders.values())

    def unsettled(self) -> list[Order]:
        """Orders with a fill that is not final, or that the venue says we lack."""
        return [self._orders[number] for number in self._unsettled]

    def states(self) -> dict[State, int]:
        found: dict[State, int] = {}
        for number in self._open:
            state = self._orders[number].state
            found[state] = found.get(state, 0) + 1
        return found

    # --- changing ---

    def add(self, order: Order) -> None:
        """A new order, open until `changed` says otherwise."""
        self._insert(order)
        self._open[order.number] = None

    def changed(self, order: Order) -> None:
        """Sort an order into the right lists after any change."""
        number = order.number
        if order.state not in TERMINAL:
            self._open.setdefault(number)
            self._done.pop(number, None)
            if order.matched:
                self._unsettled.setdefault(number)
            else:
                self._unsettled.pop(number, None)
            return
        self._open.pop(number, None)
        settled = order.settled
        _keep(self._unsettled, number, not settled and bool(order.matched))
        _keep(self._done, number, settled)

    def trim(self, history_max: int, forget: Callable[[Order], None]) -> None:
        """Drop what was over first, beyond the bound; `forget` is told of each."""
        while len(self._done) > history_max:
            number = next(iter(self._done))
            del self._done[number]
            order = self._orders.pop(number)
            self._by_venue_id.pop(order.venue_order_id.lower(), None)
            forget(order)

    def check_at(self, order: Order, mono_ns: int) -> None:
        """Look this order up at that time; 0 is never."""
        if order.check_mono != mono_ns:
            order.check_mono = mono_ns
            if mono_ns:
                heappush(self._checks, (mono_ns, order.number))
                if len(self._checks) > 4 * len(self._open) + CHECKS_SLACK:
                    self._checks = [(row.check_mono, row.number) for row in self._orders.values() if row.check_mono]
                    heapify(self._checks)

    def next_check(self) -> int | None:
        """When the first look-up is due."""
        while self._checks:
            mono_ns, number = self._checks[0]
            order = self._orders.get(number)
            if order is not None and order.check_mono == mono_ns:
                return mono_ns
            heappop(self._checks)
        return None

    def pop_due(self, now_mono: int) -> Order | None:
        """The next order whose look-up is due; its time is taken away."""
        due = self.next_check()
        if due is None or due > now_mono:
            return None
        _, number = heappop(self._checks)
        order = self._orders[number]
        order.check_mono = 0
        return order

    def rows(self) -> list[Order]:
        return list(self._orders.values())

    def done(self) -> list[int]:
        return list(self._done)

    def named(self, order: Order) -> None:
        """An order was signed: it has its venue's id from here on."""
        self._by_venue_id[order.venue_order_id.lower()] = order.number

    def _insert(self, order: Order) -> None:
        self._orders[order.number] = order
        if order.venue_order_id:
            self.named(order)


def _keep(numbers: dict[int, None], number: int, wanted: bool) -> None:
    if wanted:
        numbers.setdefault(number)
    else:
        numbers.pop(number, None)
