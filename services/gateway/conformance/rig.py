"""What the cases need of a venue beside its adapter: orders in its own words, a live book, and a way to break the line.

A new venue implements Adapter (services/gateway/port.py) and this. The cases know nothing else, so whatever they prove
holds for every venue in the same words. Pure: types, and the switch that loses answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from common.errors import PolyexecError
from common.fixed import ceil_to, floor_to
from common.messages import Level, Place
from common.types import ONE, Side, TimeInForce
from services.gateway.port import Adapter

BUDGET_SHARE = 20
"""A case spends at most this part (a twentieth) of the wallet's money, unless --budget says less."""


class Kind(StrEnum):
    """What an adapter tells its tap after each answer of the venue."""

    PLACE = "place"
    CANCEL = "cancel"
    QUERY = "query"


class Tap:
    """Sits between the venue's answer and the adapter's reading of it: whether this answer is lost.

    The venue has got the request and acted on it; to the adapter the connection broke before the answer came.
    """

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._losing: Counter[str] = Counter()

    def lose(self, kind: Kind, times: int = 1) -> None:
        """Lose the next answers of this kind."""
        self._losing[kind.value] = times

    def stop(self) -> None:
        self._losing.clear()

    def __call__(self, kind: str) -> bool:
        if not self._losing[kind]:
            self.passed[kind] += 1
            return False
        self._losing[kind] -= 1
        self.lost[kind] += 1
        return True


class Instrument(NamedTuple):
    """One thing that can be traded there. Micros; 0 for a bound the venue does not have."""

    name: str
    token_id: str
    condition_id: str
    tick: int
    price_min: int
    price_max: int
    size_step: int
    min_size: int
    min_notional: int = 0
    """What every order must be worth."""
    taker_notional: int = 0
    """What an order that takes must be worth."""

    def price_near(self, price: int) -> int:
        """The highest price of the grid that is not above `price`, inside the bounds."""
        bounded = max(self.price_min, min(price, self.price_max or price))
        return max(floor_to(bounded, self.tick), self.price_min)

    def least_size(self, price: int) -> int:
        """The smallest size that may be ordered at this price, resting or taking."""
        worth = max(self.min_notional, self.taker_notional)
        # A fifth above the minimum: what is signed may be rounded down, and a taker's price improves.
        wanted = -(-worth * ONE * 6 // (price * 5)) if worth else 0
        return ceil_to(max(self.min_size, wanted, self.size_step), self.size_step)


class Quote(NamedTuple):
    """A live book with both sides, best level first."""

    instrument: Instrument
    bids: Sequence[Level]
    asks: Sequence[Level]

    @property
    def bid(self) -> int:
        return self.bids[0][0]

    @property
    def ask(self) -> int:
        return self.asks[0][0]

    @property
    def ask_size(self) -> int:
        return self.asks[0][1]

    @property
    def resting_price(self) -> int:
        """A BUY there meets nobody, and the market would have to fall by half before somebody meets it."""
        return self.instrument.price_near(self.bid // 2)

    @property
    def taking_price(self) -> int:
        """A BUY there meets the best offer also when that has moved up by a tenth."""
        return self.instrument.price_near(self.ask + max(self.ask // 10, 2 * self.instrument.tick))


class Wanted(NamedTuple):
    """An order as a case wants it; on the grid or not, as the case wants it."""

    token_id: str
    price: int
    size: int
    tif: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    side: Side = Side.BUY
    expire_ns: int = 0


class NoQuote(PolyexecError):
    """There is no book now that a case could use; the sentence says what is missing."""


class Rig(Protocol):
    """One venue made ready for the cases, with a wallet of its own wherever that is possible."""

    @property
    def adapter(self) -> Adapter: ...

    @property
    def wallet(self) -> str: ...

    @property
    def tap(self) -> Tap:
        """The tap the adapter was constructed with."""
        ...

    @property
    def note(self) -> str:
        """What was set up, in a sentence for the user."""
        ...

    @property
    def secrets(self) -> Sequence[str]:
        """Texts that must appear nowhere."""
        ...

    @property
    def exempt(self) -> Mapping[str, str]:
        """Cases (by key) that cannot be tried on this venue, with the reason the user is shown."""
        ...

    @property
    def gtd_life_ns(self) -> int:
        """How far ahead a GTD order must end at least."""
        ...

    async def open(self) -> None:
        """Make the wallet, fund it, start the adapter. Raises PolyexecError with the sentence that helps."""
        ...

    async def close(self) -> None: ...

    async def quote(self, budget: int = 0, without: str = "") -> Quote:
        """A live book with both sides. Raises NoQuote.

        With a budget: one whose whole best offer costs no more. `without`: not of the market with this condition id.
        """
        ...

    def order(self, wanted: Wanted) -> Place:
        """A pinned order as the executor would make it, with an id of its own. Checks nothing."""
        ...

    def unknown_token(self) -> str:
        """A token id as this venue spells them, of nothing it trades."""
        ...

    async def reconnect(self) -> None:
        """Drop every connection to the venue."""
        ...

    async def unreachable(self) -> Adapter:
        """An adapter of the same wallet whose venue is not there."""
        ...
