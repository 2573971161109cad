"""A day's trading in small: what an executor is told when clients trade against a venue that answers.

In: a seed and how many inputs. Out: the journal record of each step, made by a real core through common/step.py. The
mix is that of life: each order is placed, answered, shown by the user channel, then filled in stages or cancelled.
Deterministic: the same seed makes the same bytes, whatever the hash seed.
"""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from common.effects import Effect, Now, Origin, Send
from common.instruments import Market
from common.messages import (
    BalancesResult,
    BookView,
    Cancel,
    CancelAll,
    CancelOrder,
    CancelResult,
    Configured,
    Judged,
    Mark,
    Marked,
    MarketListed,
    Message,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceOrder,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    TimerFired,
    TradesResult,
    UserFeedChanged,
    VenueFill,
    VenueOrder,
    VenueOrderChanged,
    WalletReady,
)
from common.reasons import Reason
from common.step import Step
from common.types import FeedState, OrderType, Outcome, Settlement, Side, TimeInForce
from services.executor.core import ExecutorCore

MS = 1_000_000
START_NS = 1_790_000_000_000 * MS
STEP_NS = MS
STEP_INPUTS = 8
"""Inputs of one step under load; the real number follows from how fast the disk syncs."""
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
CLIENT = Origin("cli")
RESULTS = Origin("gateway", "results")
EVENTS = Origin("user_data", "user_events")
LISTED = Origin("market_data", "instruments")
ITSELF = Origin("executor")
TIMER = Origin("executor", "timer")
PRICE, SIZE, TICK = 520_000, 10_000_000, 10_000
CASH = 10**15
MARKS_EVERY = 1_000
"""Steps between two valuations: a second."""
STAGES = (Settlement.MATCHED, Settlement.MINED, Settlement.CONFIRMED)
MARKETS = 18


class Due(NamedTuple):
    """A fact and the step at which it comes."""

    step: int
    number: int
    message: Message
    origin: Origin


def market(number: int) -> Market:
    return Market(
        "polymarket", f"0x{number:064x}", f"market-{number}", f"Question {number}?", ("Up", "Down"),
        (str(10**76 + 2 * number), str(10**76 + 2 * number + 1)), 10_000, 5_000_000, fee_rate=70_000,
    )  # fmt: skip


def settings_text() -> str:
    """Two accounts on one wallet; no policy that would refuse, because refusals are the cheap case."""
    return json.dumps(
        {
            "mode": "demo",
            "polymarket": {"chain_id": 137, "protocol_version": 2},
            "wallets": [{"name": "main", "venue": "polymarket", "signature_type": 0, "funder": ""}],
            "accounts": [{"name": "default", "wallet": "main"}, {"name": "other", "wallet": "main"}],
            "risk": {"policies": []},
        }
    )


class Trading:
    """Clients, gateway and user channel around one core, in steps of virtual time."""

    def __init__(self, seed: int, core: ExecutorCore | None = None) -> None:
        self.core = core or ExecutorCore()
        self.now = Now(START_NS, 1)
        self.inputs = 0
        self.kinds: Counter[str] = Counter()
        self.effects: list[Effect] = []
        """Those of the last step."""
        self._rng = Random(seed)
        self._markets = [market(number) for number in range(1, MARKETS + 1)]
        self._tokens = [token_id for row in self._markets for token_id in row.token_ids]
        self._due: list[Due] = []
        self._steps = 0
        self._facts = 0
        self._orders = 0
        self._commands = 0

    def records(self, inputs: int) -> Iterator[bytes]:
        """Journal records with at least so many inputs in all."""
        yield self._begin()
        while self.inputs < inputs:
            yield self.step()

    def step(self) -> bytes:
        """One step of the executor's loop: what has come, then new commands as far as there is room."""
        self._steps += 1
        self.now = Now(self.now.wall_ns + STEP_NS, self.now.mono_ns + STEP_NS)
        step = Step(self.core, self.now)
        due = self.core.due_ns()
        if due is not None and due <= self.now.mono_ns:
            self._take(step, TimerFired(), TIMER)
        if self._steps % MARKS_EVERY == 0:
            self._take(step, Marked([Mark(token, PRICE - TICK, PRICE + TICK) for token in self._tokens]), ITSELF)
        while self._due and self._due[0].step <= self._steps and len(step.inputs) < STEP_INPUTS:
            fact = heapq.heappop(self._due)
            self._take(step, fact.message, fact.origin)
        if len(step.inputs) < STEP_INPUTS:
            self._command(step)
        self.effects = step.effects
        return step.record()

    def _begin(self) -> bytes:
        step = Step(self.core, self.now)
        self._take(step, Configured(settings_text()), ITSELF)
        for listed in self._markets:
            self._take(step, MarketListed(listed), LISTED)
        self._take(step, WalletReady("polymarket", "main", ADDRESS, ADDRESS, 0, 137, "key"), RESULTS)
        self._take(step, UserFeedChanged("polymarket", "main", FeedState.LIVE, "", self.now.wall_ns), EVENTS)
        return step.record()

    def _take(self, step: Step, message: Message, origin: Origin) -> None:
        before = len(step.effects)
        step.take(message, origin)
        self.inputs += 1
        self.kinds[type(message).__name__] += 1
        for effect in step.effects[before:]:
            if isinstance(effect, Send):
                self._serve(effect.body)

    def _later(self, message: Message, origin: Origin, steps: int = 1) -> None:
        self._facts += 1
        heapq.heappush(self._due, Due(self._steps + steps, self._facts, message, origin))

    # --- clients ---

    def _command(self, step: Step) -> None:
        if self._rng.random() < 0.0005:
            self._take(step, CancelAll(self._command_id(), "other"), CLIENT)
            return
        self._orders += 1
        traded = self._rng.choice(self._markets)
        command = PlaceOrder(
            self._command_id(), "default" if self._rng.random() < 0.8 else "other", f"client-{self._orders}",
            "polymarket", traded.slug, self._rng.choice(traded.outcomes), Side.BUY, OrderType.LIMIT, TimeInForce.GTC,
            False, PRICE, SIZE,
        )  # fmt: skip
        self._take(step, self._judged(command, traded), CLIENT)

    def _judged(self, command: PlaceOrder, traded: Market) -> Message:
        """As the shell journals it: with the book it is judged by."""
        levels = [(PRICE + TICK * number, 100 * SIZE) for number in range(1, 11)]
        token_id = traded.token_ids[traded.outcome_index(command.outcome)]
        bids = [(PRICE - TICK * number, 100 * SIZE) for number in range(1, 11)]
        return Judged(command, BookView(token_id, bids, levels, True, True, TICK, FeedState.LIVE, "", 1, 1, 5))

    def _command_id(self) -> str:
        self._commands += 1
        return f"command-{self._commands}"

    # --- the venue ---

    def _serve(self, action: Message) -> None:
        match action:
            case Place():
                self._place(action)
            case Cancel():
                done = list(action.venue_order_ids)
                self._later(CancelResult(action.action_id, Outcome.DONE, Reason.OK, "", done, {}), RESULTS)
                for venue_order_id in done:
                    self._event(venue_order_id, "CANCELLATION", "CANCELED", 0, 2)
            case QueryOpenOrders():
                answer = (action.action_id, Outcome.DONE, Reason.OK, "", self.now.wall_ns, True)
                self._later(OpenOrdersResult(*answer, self._open_orders()), RESULTS)
            case QueryTrades():
                answer = (action.action_id, Outcome.DONE, Reason.OK, "", self.now.wall_ns, True)
                self._later(TradesResult(*answer, []), RESULTS)
            case QueryOrder():
                venue_id, asked_ns = action.venue_order_id, self.now.wall_ns
                gone = (Outcome.DONE, Reason.ORDER_NOT_FOUND, "none", asked_ns)
                self._later(OrderLookup(action.action_id, venue_id, *gone), RESULTS)
            case QueryPositions():
                no_answer = (Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE, "busy", self.now.wall_ns, False)
                self._later(PositionsResult(action.action_id, *no_answer, []), RESULTS)
            case QueryBalances():
                done_ns = (Outcome.DONE, Reason.OK, "", self.now.wall_ns)
                self._later(BalancesResult(action.action_id, *done_ns, CASH, CASH), RESULTS)

    def _open_orders(self) -> list[VenueOrder]:
        return [
            VenueOrder(row.venue_order_id, "LIVE", row.token_id, row.side, row.price, row.size, row.matched, START_NS)
            for row in self.core.desk.oms.open_orders()
        ]

    def _place(self, place: Place) -> None:
        """Half of the orders are filled in up to three trades, the others are cancelled after a while."""
        venue_id = place.venue_order_id
        self._later(PlaceResult(place.action_id, venue_id, Outcome.DONE, Reason.OK, "", "live", 0, 0), RESULTS)
        self._event(venue_id, "PLACEMENT", "LIVE", 0, 2)
        order = self.core.desk.oms.by_venue_id(venue_id)
        assert order is not None, "a place leaves for an order that is known"
        if self._rng.random() < 0.5:
            self._later(CancelOrder(self._command_id(), order.account, order.order_id), CLIENT, 50)
            return
        parts = self._rng.choice([1, 1, 2])
        for part in range(parts):
            self._fill(venue_id, order.token_id, SIZE // parts, 20 + 10 * part)
            self._event(venue_id, "UPDATE", "LIVE", SIZE // parts * (part + 1), 20 + 10 * part)

    def _fill(self, venue_id: str, token_id: str, size: int, steps: int) -> None:
        trade_id = f"t-{self._facts}"
        for number, stage in enumerate(STAGES):
            fill = VenueFill(
                "polymarket", "main", trade_id, venue_id, token_id, Side.BUY, size, PRICE, size * PRICE // 1_000_000,
                False, stage, f"0x{self._facts:064x}" if number else "", self.now.wall_ns,
            )  # fmt: skip
            self._later(fill, EVENTS, steps + 40 * number)

    def _event(self, venue_id: str, kind: str, status: str, filled: int, steps: int) -> None:
        event = VenueOrderChanged("polymarket", "main", venue_id, kind, status, "", filled, self.now.wall_ns)
        self._later(event, EVENTS, steps)
