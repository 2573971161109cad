"""One run of the kit on one rig: orders are placed, asked for and swept through here, and everything seen is kept.

In: a rig. Out: the adapter's own results; nothing is judged here beyond their shape. Waits are polls with a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import NamedTuple, TypeVar

from common.errors import Refusal
from common.messages import (
    Cancel,
    CancelResult,
    CancelWallet,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    VenueFill,
    VenueOrder,
)
from common.reasons import Reason
from common.types import Outcome, TimeInForce
from services.gateway.conformance.case import Broken, DoesNotApply, expect
from services.gateway.conformance.rig import BUDGET_SHARE, Instrument, NoQuote, Quote, Rig, Wanted
from services.gateway.port import Adapter

ATTEMPTS = 10
"""How often a case that needs the book to stand still tries again."""
SETTLE_S = 5.0
"""How long a venue may take until its lists show what its answers said."""
POLL_S = 0.05
LIVE = "LIVE"

Seen = TypeVar("Seen")


class Sent(NamedTuple):
    wanted: Wanted
    place: Place
    result: PlaceResult

    @property
    def order_id(self) -> str:
        return self.place.venue_order_id


class Trial:
    """The state of one run: ids, and what may still be open."""

    def __init__(self, rig: Rig, *, budget: int = 0, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self.rig = rig
        self.seen: list[object] = []
        """Every result and prepared order of the run, for the case that looks for secrets."""
        self.instruments: dict[str, Instrument] = {}
        self.began_ns = wall_ns()
        self._wall_ns = wall_ns
        self._budget = budget
        self._numbers = count(1)
        self._maybe_open: dict[str, None] = {}
        self._sent: set[str] = set()

    @property
    def adapter(self) -> Adapter:
        return self.rig.adapter

    @property
    def venue(self) -> str:
        return self.rig.adapter.venue

    def now_ns(self) -> int:
        return self._wall_ns()

    def next_id(self) -> str:
        return f"check-{next(self._numbers)}"

    # --- the market ---

    async def quote(self, *, takes: bool = False, without: str = "") -> Quote:
        """A live book; `takes`: one whose best offer this wallet can take whole; `without`: of another market."""
        try:
            quote = await self.rig.quote(await self.budget() if takes else 0, without)
        except NoQuote as error:
            raise DoesNotApply(str(error)) from None
        self.instruments[quote.instrument.token_id] = quote.instrument
        return quote

    def condition_of(self, sent: Sent) -> str:
        """The market of an order that was made from one of our quotes."""
        return self.instruments[sent.wanted.token_id].condition_id

    async def cash(self) -> int:
        answer = self._keep(await self.adapter.balances(QueryBalances(self.next_id(), self.venue, self.rig.wallet)))
        expect(answer.outcome is Outcome.DONE, f"the balance could not be read: {answer.code.value} {answer.text}")
        return answer.cash

    async def budget(self) -> int:
        cash = await self.cash()
        return min(self._budget or cash, cash // BUDGET_SHARE)

    async def resting(self, without: str = "") -> Wanted:
        """A small order that rests."""
        quote = await self.quote(without=without)
        price = quote.resting_price
        return Wanted(quote.instrument.token_id, price, quote.instrument.least_size(price))

    # --- orders ---

    async def place(self, wanted: Wanted) -> Sent:
        place = self.rig.order(wanted)
        return Sent(wanted, place, await self.send(place))

    async def send(self, place: Place, *, resent: bool = False) -> PlaceResult:
        """Prepare and send one pinned order."""
        prepared = self._keep(self.adapter.prepare(place))
        self._note(place)
        result = self._keep(await self.adapter.place(prepared, self._wall_ns(), resent=resent))
        _expect_same(place, result)
        return result

    async def send_batch(self, places: Sequence[Place]) -> list[PlaceResult]:
        prepared = [self._keep(self.adapter.prepare(place)) for place in places]
        for place in places:
            self._note(place)
        results = await self.adapter.place_batch(prepared, self._wall_ns())
        expect(len(results) == len(places), f"{len(places)} legs got {len(results)} results")
        for place, result in zip(places, results, strict=True):
            _expect_same(place, self._keep(result))
        return results

    async def rest(self, without: str = "") -> Sent:
        """A small order that rests and was acknowledged."""
        sent = await self.place(await self.resting(without))
        expect_done(sent.result, "a small resting order")
        return sent

    async def take(self) -> Sent:
        """A small order that was filled on arrival, wholly or partly."""
        for _ in range(ATTEMPTS):
            quote = await self.quote()
            price = quote.taking_price
            wanted = Wanted(quote.instrument.token_id, price, quote.instrument.least_size(price), TimeInForce.FAK)
            sent = await self.place(wanted)
            if sent.result.code is not Reason.FAK_NOT_FILLED:
                expect_done(sent.result, "a small marketable order")
                return sent
        raise DoesNotApply(f"the book moved away {ATTEMPTS} times")

    async def refusal(self, wanted: Wanted) -> tuple[Reason, str] | None:
        """Why an order is refused, by prepare() or by the venue; None when it was accepted."""
        try:
            sent = await self.place(wanted)
        except Refusal as refusal:
            return refusal.code, refusal.message
        result = sent.result
        if result.outcome is Outcome.DONE:
            return None
        told = f"{result.code.value}: {result.text}"
        expect(result.outcome is Outcome.REFUSED, f"a refusal of the venue was told as {result.outcome.value} ({told})")
        return result.code, result.text

    async def cancel(self, *order_ids: str) -> CancelResult:
        action = Cancel(self.next_id(), self.venue, self.rig.wallet, list(order_ids))
        result = self._keep(await self.adapter.cancel(action, self._wall_ns()))
        expect(result.action_id == action.action_id, "a cancel was answered under another action id")
        return result

    async def cancel_wallet(self, *, condition_id: str = "", token_id: str = "") -> CancelResult:
        action = CancelWallet(self.next_id(), self.venue, self.rig.wallet, condition_id, token_id)
        return self._keep(await self.adapter.cancel_wallet(action, self._wall_ns()))

    # --- looking ---

    async def look_up(self, order_id: str) -> OrderLookup:
        action = QueryOrder(self.next_id(), self.venue, self.rig.wallet, order_id)
        return self._keep(await self.adapter.look_up(action))

    async def order(self, order_id: str) -> VenueOrder | None:
        """What the venue says of an order; None when it proves that it has none."""
        found = await self.look_up(order_id)
        expect(
            found.outcome is Outcome.DONE, f"the look-up ended {found.outcome.value}: {found.code.value} {found.text}"
        )
        return found.order

    async def known_order(self, order_id: str) -> VenueOrder:
        """An order that was acknowledged: the venue must show it."""
        return await self.until(lambda: self.order(order_id), f"{order_id} was acknowledged and cannot be looked up")

    async def listed(self) -> dict[str, VenueOrder]:
        """Every open order of the wallet."""
        answer: OpenOrdersResult = self._keep(
            await self.adapter.open_orders(QueryOpenOrders(self.next_id(), self.venue, self.rig.wallet))
        )
        expect(answer.outcome is Outcome.DONE, f"the open orders could not be read: {answer.code.value} {answer.text}")
        expect(answer.complete, "the list of open orders is not complete")
        return {order.venue_order_id: order for order in answer.orders}

    async def fills(self, order_id: str) -> list[VenueFill]:
        """Every fill of one order that the venue lists."""
        after_ns = self.began_ns - 60_000_000_000
        answer = self._keep(
            await self.adapter.trades(QueryTrades(self.next_id(), self.venue, self.rig.wallet, after_ns))
        )
        expect(answer.outcome is Outcome.DONE, f"the trades could not be read: {answer.code.value} {answer.text}")
        expect(answer.complete, "the list of trades is not complete")
        return [fill for fill in answer.fills if fill.venue_order_id == order_id]

    async def until_filled(self, order_id: str, size: int) -> list[VenueFill]:
        """The fills of an order once they come to `size`; each trade is listed once."""

        async def found() -> list[VenueFill] | None:
            fills = await self.fills(order_id)
            trades = [fill.trade_id for fill in fills]
            expect(len(set(trades)) == len(trades), f"a trade is listed twice: {', '.join(trades)}")
            total = sum(fill.size for fill in fills)
            expect(total <= size, f"the fills come to {total} micros, the order says {size}")
            return fills if total == size else None

        return await self.until(found, f"the fills of {order_id} never came to {size} micros")

    async def until(self, found: Callable[[], Awaitable[Seen | None]], what: str) -> Seen:
        """Ask again until there is an answer. Raises Broken after SETTLE_S."""
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while True:
            value = await found()
            if value is not None:
                return value
            if asyncio.get_running_loop().time() >= deadline:
                raise Broken(what)
            await asyncio.sleep(POLL_S)

    async def until_unlisted(self, *order_ids: str) -> None:
        async def gone() -> bool | None:
            return True if not set(order_ids) & set(await self.listed()) else None

        await self.until(gone, "an order that is over is still listed open")

    # --- the end ---

    async def sweep(self) -> str:
        """Cancel what the cases may have left open; "" or what is still there."""
        self.rig.tap.stop()
        if not self._maybe_open:
            return ""
        open_now = await self.listed()
        left = [order_id for order_id in self._maybe_open if order_id in open_now]
        for order_id in left:
            await self.cancel(order_id)
        still = set(left) & set(await self.listed()) if left else set()
        self._maybe_open.clear()
        self._maybe_open.update(dict.fromkeys(still))
        return f"still open: {', '.join(still)}" if still else ""

    def _note(self, place: Place) -> None:
        self._sent.add(place.venue_order_id)
        self._maybe_open[place.venue_order_id] = None

    def was_sent(self, order_id: str) -> bool:
        """Whether it is an order of this run."""
        return order_id in self._sent

    def _keep(self, value: Seen) -> Seen:
        self.seen.append(value)
        return value


def _expect_same(place: Place, result: PlaceResult) -> None:
    expect(
        (result.action_id, result.venue_order_id) == (place.action_id, place.venue_order_id),
        f"the result is that of {result.action_id} {result.venue_order_id}",
    )


def expect_done(result: PlaceResult | CancelResult, what: str) -> None:
    told = f"{result.outcome.value} {result.code.value}: {result.text}"
    expect(result.outcome is Outcome.DONE, f"{what} ended {told}")
