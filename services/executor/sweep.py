"""One accepted cancel-all until nothing of it can come any more: a state machine. Pure (ADR 26).

In: the orders it covers and their moves, cancels as they are sent and answered, lists of open orders, time. Out: the
phase, and for each wallet what is to be done next. Belongs to it: orders of its scope with a number up to `through`, so
none that was placed after it. At most RUNNING_MAX run; one more drops the oldest one's report, never its cancels.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from common.effects import Now
from common.messages import SweepView
from services.executor.catchup import MS
from services.executor.order import IN_DOUBT, TERMINAL, Order, State

RUNNING_MAX = 16
RECENT_MAX = 50
"""Reports kept of sweeps that are over; then the oldest is forgotten."""
RETRY_FIRST_MS = 100
"""Pause before a cancel that failed is sent again, and before a list that showed something is asked again."""
RETRY_MAX_NS = 2_000 * MS

Key = tuple[str, str]
"""(venue, wallet)."""


class Phase(StrEnum):
    CANCELLING = "CANCELLING"
    ZERO = "ZERO"
    FINAL = "FINAL"
    DROPPED = "DROPPED"


class Wide(NamedTuple):
    """What one wallet-wide cancel is about; condition id "" is every market."""

    venue: str
    wallet: str
    condition_id: str = ""

    def holds(self, venue: str, wallet: str, condition_id: str) -> bool:
        return (self.venue, self.wallet) == (venue, wallet) and self.condition_id in ("", condition_id)


class Hold(msgspec.Struct, array_like=True, gc=False):
    """Places taken after a wallet-wide cancel: they must not reach the venue before it does."""

    wide: Wide
    orders: list[int] = []
    until_mono: int = 0
    """0: as long as the cancel has no result."""
    repeated: bool = False
    """Executor or gateway has restarted since: it may have been sent twice, and one result speaks for one copy."""


class Spot(msgspec.Struct, array_like=True, gc=False):
    """One wallet of a sweep."""

    venue: str
    wallet: str
    cancels: dict[str, None] = {}
    """Cancels without a result, by action id."""
    again: dict[int, None] = {}
    """Orders whose cancel was refused or has no known outcome."""
    asking: str = ""
    """The list of open orders that was asked for when nothing was under way; "" is none that still counts."""
    clean: bool = False
    """Such a list came without an order of this sweep."""
    next_mono: int = 0
    tries: int = 0
    whole: bool = False
    """The sweep covers every account of this wallet."""
    foreign_open: int = 0

    @property
    def key(self) -> Key:
        return self.venue, self.wallet

    def stir(self) -> None:
        """Something is open (again): only a list asked from now on proves anything."""
        self.clean, self.asking = False, ""

    def pause(self, now_mono: int, least_ns: int = 0) -> None:
        wait_ns = min(RETRY_FIRST_MS * MS << min(self.tries, 20), RETRY_MAX_NS)
        self.next_mono = now_mono + max(wait_ns, least_ns)
        self.tries += 1

    @property
    def lists(self) -> bool:
        """Whether a list of open orders is what comes next."""
        return not (self.cancels or self.again or self.asking or self.clean)

    def due(self, asking: Container[Key]) -> int | None:
        """When it wants to go on; None while it waits for an answer. `asking`: wallets with a list under way."""
        if self.cancels or not (self.again or (self.lists and self.key not in asking)):
            return None
        return self.next_mono


class Sweep(msgspec.Struct, array_like=True, gc=False):
    """One cancel-all. Field order is the checkpoint format. `_ns` times are wall, `_mono` ones the heart's clock."""

    number: int
    command_id: str
    account: str
    market: str
    condition_ids: list[str]
    through: int
    accepted_ns: int
    spots: list[Spot]
    resting: dict[int, None] = {}
    """Orders the venue has, or had when it was heard last."""
    doubted: dict[int, None] = {}
    ended: dict[int, State] = {}
    phase: Phase = Phase.CANCELLING
    first_sent_ns: int = 0
    zero_ns: int = 0
    final_ns: int = 0
    until_mono: int = 0
    """When the last place in doubt cannot be on its way any more, as far as known."""
    last_look: bool = False
    """That time has passed: one more list, then whatever is not proven stays so."""
    turned_up: int = 0
    repeats: int = 0
    wallet_cancels: int = 0
    foreign: int = 0

    def covers(self, order: Order) -> bool:
        return (
            order.number <= self.through
            and self.account in ("", order.account)
            and (not self.condition_ids or order.condition_id in self.condition_ids)
        )

    def tracks(self, number: int) -> bool:
        return number in self.resting or number in self.doubted or number in self.ended

    def spot(self, key: Key) -> Spot:
        for spot in self.spots:
            if spot.key == key:
                return spot
        spot = Spot(*key)
        self.spots.append(spot)
        return spot

    def note(self, order: Order) -> None:
        """Where an order of this sweep stands now."""
        number = order.number
        for rows in (self.resting, self.doubted, self.ended):
            rows.pop(number, None)
        if order.state in TERMINAL:
            self.ended[number] = order.state
        elif order.state in IN_DOUBT:
            self.doubted[number] = None
        else:
            self.resting[number] = None

    def moved(self, order: Order) -> None:
        """An order changed its state while the sweep runs."""
        was_resting = order.number in self.resting
        self.note(order)
        if order.number in self.resting and not was_resting:
            self.turned_up += 1
            self.spot((order.venue, order.wallet)).stir()
            self.revoke()

    def revoke(self) -> None:
        """Zero is not true (any more)."""
        self.phase, self.zero_ns, self.last_look = Phase.CANCELLING, 0, False

    def sent(self, action_id: str, key: Key, numbers: Iterable[int]) -> None:
        """A cancel left; it concerns this sweep when one of its orders does."""
        if any(self.tracks(number) for number in numbers):
            self.waits_for(action_id, key)

    def waits_for(self, action_id: str, key: Key) -> None:
        spot = self.spot(key)
        spot.cancels[action_id] = None
        spot.stir()
        self.revoke()

    @property
    def is_zero(self) -> bool:
        """Nothing known is open, and every wallet has said so since the last cancel was answered."""
        return not self.resting and all(spot.clean for spot in self.spots)

    def move(self, now: Now, until_mono: int, *, looking: bool) -> bool:
        """Step the phase; True when it changed. `looking`: places in doubt are being looked up."""
        before = self.phase
        if self.phase is Phase.CANCELLING and self.is_zero:
            self.phase, self.zero_ns = Phase.ZERO, now.wall_ns
        if self.phase is Phase.ZERO:
            self.until_mono = until_mono
            if not self.doubted or (self.last_look and self.is_zero and not looking):
                self.phase, self.final_ns = Phase.FINAL, now.wall_ns
        return self.phase is not before

    def begins_last_look(self, now: Now) -> bool:
        """No request of a place in doubt can be on its way any more: what the venue shows now is the end of it."""
        if self.phase is not Phase.ZERO or self.last_look or now.mono_ns < self.until_mono:
            return False
        self.last_look = True
        for spot in self.spots:
            spot.stir()
        return True

    def next_due(self, asking: Container[Key]) -> int | None:
        dues = [due for spot in self.spots if (due := spot.due(asking)) is not None]
        if self.phase is Phase.ZERO and self.doubted and not self.last_look:
            dues.append(self.until_mono)
        return min(dues, default=None)


class Sweeps(msgspec.Struct, array_like=True, gc=False):
    """All of them. Field order is the checkpoint format."""

    last: int = 0
    running: dict[int, Sweep] = {}
    recent: dict[int, SweepView] = {}
    asking: dict[str, Key] = {}
    """Lists of open orders under way: one for each wallet, whoever waits for it."""
    holds: dict[str, Hold] = {}
    """By the action id of the wallet-wide cancel."""

    def moved(self, order: Order) -> Order | None:
        """An order changed its state. Returns it when it turned up and nothing has cancelled it yet."""
        covered = False
        for sweep in self.running.values():
            if sweep.tracks(order.number) or (order.state not in TERMINAL and sweep.covers(order)):
                sweep.moved(order)
                covered = True
        return order if covered and order.state not in TERMINAL and not order.cancel_asked else None

    def sent(self, action_id: str, key: Key, numbers: list[int]) -> None:
        for sweep in self.running.values():
            sweep.sent(action_id, key, numbers)

    def hold_of(self, order: Order) -> Hold | None:
        """The wallet-wide cancel this place has to wait for."""
        for hold in self.holds.values():
            if hold.wide.holds(order.venue, order.wallet, order.condition_id):
                return hold
        return None

    def keep(self, number: int, view: SweepView) -> None:
        """A sweep is over: only its report is left."""
        del self.running[number]
        self.recent[number] = view
        if len(self.recent) > RECENT_MAX:
            del self.recent[next(iter(self.recent))]

    def next_due(self) -> int | None:
        asking = frozenset(self.asking.values())
        dues = [due for sweep in self.running.values() if (due := sweep.next_due(asking)) is not None]
        dues += [hold.until_mono for hold in self.holds.values() if hold.until_mono]
        return min(dues, default=None)
