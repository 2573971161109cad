"""A gateway and venue that lose, delay, double and reorder, around a truth that can be compared with ours.

Rules kept from the real ones: an order id is refused for ever once seen; a request arrives within a request's life or
never; a cancel fences a place that was not sent yet; a repeat is looked up before it is sent.
"""

from __future__ import annotations

from random import Random

import msgspec

from common.effects import Origin, Send, Settle
from common.messages import (
    Cancel,
    CancelResult,
    CancelWallet,
    Message,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    SweepChanged,
    SweepView,
    TradesResult,
    VenueFill,
    VenueOrder,
    VenueOrderChanged,
)
from common.reasons import Reason
from common.types import FeedState, Outcome, Settlement, Side, TimeInForce
from common.venues.polymarket.pinned import PinnedOrder, decode_pinned
from tests.services.executor.driver import EVENTS, RESULTS, Driver, order_event, venue_fill

LIFE_MS = 30_000
NEXT_STAGE = {
    Settlement.MATCHED: (Settlement.MINED, Settlement.RETRYING, Settlement.FAILED),
    Settlement.RETRYING: (Settlement.MINED, Settlement.FAILED),
    Settlement.MINED: (Settlement.CONFIRMED, Settlement.CONFIRMED, Settlement.FAILED),
}


class TrueOrder(msgspec.Struct):
    venue_id: str
    pinned: PinnedOrder
    size: int
    arrived: int
    filled: int = 0
    status: str = "LIVE"


class LyingVenue:
    def __init__(self, driver: Driver, seed: int) -> None:
        self.driver = driver
        self.rng = Random(seed)
        self.orders: dict[str, TrueOrder] = {}
        self.fills: dict[str, VenueFill] = {}
        self.arrivals = 0
        self.covered: set[str] = set()
        """Orders whose cancel was answered to the client: no place of them may leave any more."""
        self.sweeps: dict[str, SweepView] = {}
        """The last word about each sweep."""
        self._through: dict[str, int] = {}
        """The last order a wallet-wide cancel is about, by action id."""
        self.scopes: dict[str, tuple[str, int]] = {}
        """Account and last order of each cancel-all, by its sweep's id."""
        self._inbox: list[tuple[Message, bool]] = []
        self._news: list[tuple[Message, Origin]] = []
        self._late: list[tuple[int, Place | CancelWallet]] = []
        self._fenced: set[str] = set()
        self._live = True
        self._places = 0

    # --- what the executor sends ---

    def collect(self) -> None:
        for effect in self.driver.out:
            if isinstance(effect, Send):
                if isinstance(effect.body, Place):
                    assert effect.body.venue_order_id not in self.covered, "a place after its cancel"
                if isinstance(effect.body, CancelWallet):
                    self._through[effect.body.action_id] = self.driver.core.desk.last_order
                self._inbox.append((effect.body, False))
            elif isinstance(effect, Settle):
                self._inbox = [row for row in self._inbox if getattr(row[0], "action_id", "") != effect.key]
        for change in self.driver.of(SweepChanged):
            self._check_sweep(change.sweep)

    def do(self, message: Message, origin: Origin) -> None:
        self.driver.do(message, origin)
        self.collect()

    def crash(self) -> None:
        """The executor dies: the lane's copies die with it, the outstanding ones are sent again as repeats."""
        self.driver = self.driver.restart()
        sent = [effect.body for effect in self.driver.core.outstanding() if isinstance(effect, Send)]
        assert not {place.venue_order_id for place in sent if isinstance(place, Place)} & self.covered
        self._inbox = [(body, True) for body in sent]

    def pass_time(self, ms: int) -> None:
        """In steps short enough for late requests to arrive in time."""
        while ms > 0:
            step = min(ms, 500)
            ms -= step
            self.driver.wait(step)
            self.collect()
            due = [request for at, request in self._late if at <= self.driver.now.mono_ns]
            self._late = [row for row in self._late if row[0] > self.driver.now.mono_ns]
            for request in due:
                if isinstance(request, Place):
                    self._arrive(request)
                else:
                    self._sweep_wallet(request)

    def _check_sweep(self, view: SweepView) -> None:
        """What it says is true when it says it: at ZERO only orders it names may be open, at FINAL none."""
        self.sweeps[view.sweep_id] = view
        _, through = self.scopes.setdefault(view.sweep_id, (view.account, self.driver.core.desk.last_order))
        if view.phase not in ("ZERO", "FINAL"):
            return
        doubted = {row.order_id for row in view.in_doubt} if view.phase == "ZERO" else set()
        for true in self.orders.values():
            order = self.driver.core.desk.oms.by_venue_id(true.venue_id)
            assert order is not None
            covered = order.number <= through and view.account in ("", order.account)
            if true.status == "LIVE" and covered:
                assert order.order_id in doubted, f"{view.sweep_id} says {view.phase}, {order.order_id} is open"

    # --- the truth ---

    def _arrive(self, place: Place) -> str:
        """A place reaches the venue. The venue's answer: its status, or DUPLICATE."""
        if place.venue_order_id in self.orders:
            return "DUPLICATE"
        pinned = decode_pinned(place.pinned)
        size = pinned.taker_amount if pinned.side == 0 else pinned.maker_amount
        order = TrueOrder(place.venue_order_id, pinned, size, self.arrivals)
        self.arrivals += 1
        self.orders[place.venue_order_id] = order
        if pinned.order_type is TimeInForce.FAK:
            self._match(order, self.rng.choice([0, size // 20_000 * 10_000, size]))
            if order.status == "LIVE":
                order.status = "CANCELED"
                self._tell(order, "CANCELLATION")
            return "matched" if order.filled else "KILLED"
        self._tell(order, "PLACEMENT")
        return "live"

    def _match(self, order: TrueOrder, size: int) -> None:
        if not size or order.status != "LIVE":
            return
        order.filled += size
        if order.filled == order.size:
            order.status = "MATCHED"
        trade_id = f"t-{len(self.fills) + 1}"
        side = Side.BUY if order.pinned.side == 0 else Side.SELL
        fill = venue_fill(order.venue_id, trade_id=trade_id, size=size, side=side, matched_ns=self.driver.now.wall_ns)
        self.fills[trade_id] = fill
        self._say(fill)
        self._tell(order, "UPDATE")

    def match_something(self) -> None:
        live = [order for order in self.orders.values() if order.status == "LIVE"]
        if live:
            order = self.rng.choice(live)
            left = order.size - order.filled
            self._match(order, self.rng.choice([left, max(10_000, left // 20_000 * 10_000)]))

    def settle_something(self) -> None:
        moving = [fill for fill in self.fills.values() if fill.settlement in NEXT_STAGE]
        if moving:
            fill = self.rng.choice(moving)
            stage = self.rng.choice(NEXT_STAGE[fill.settlement])
            self.fills[fill.trade_id] = msgspec.structs.replace(fill, settlement=stage, tx_hash="0x1")
            self._say(self.fills[fill.trade_id])

    def _tell(self, order: TrueOrder, kind: str) -> None:
        self._say(order_event(order.venue_id, kind, order.status, order.filled, at_ns=self.driver.now.wall_ns))

    def _say(self, message: VenueFill | VenueOrderChanged) -> None:
        if self._live:
            self._news += [(message, EVENTS)] * self.rng.choice([1, 1, 2])

    # --- what comes back ---

    def deliver_news(self) -> None:
        if self._news:
            self.do(*self._news.pop(self.rng.randrange(len(self._news))))

    def cut(self) -> None:
        """The user channel drops: what is not delivered yet was said before and still comes."""
        if self._live:
            self._live = False
            self.driver.feed(FeedState.STALE, "cut")
            self.collect()

    def reconnect(self) -> None:
        self._live = True
        self.driver.tick()
        self.driver.feed(FeedState.LIVE)
        self.collect()

    def serve(self, *, honest: bool = False) -> None:
        """The gateway takes one thing from its inbox: cancels first, as in life."""
        if not self._inbox:
            return
        cancels = [index for index, (body, _) in enumerate(self._inbox) if isinstance(body, Cancel | CancelWallet)]
        body, repeat = self._inbox.pop(cancels[0] if cancels else self.rng.randrange(len(self._inbox)))
        match body:
            case Place():
                self._serve_place(body, repeat, honest)
            case Cancel():
                self._serve_cancel(body, honest)
            case CancelWallet():
                self._serve_cancel_wallet(body, honest)
            case QueryOrder():
                self._serve_lookup(body, honest)
            case QueryOpenOrders() | QueryTrades():
                self._serve_list(body, honest)

    def _serve_place(self, place: Place, repeat: bool, honest: bool) -> None:
        order = self.orders.get(place.venue_order_id)
        if repeat and order is not None:
            self._answer(place, Outcome.DONE, Reason.OK, order.status.lower())
        elif place.venue_order_id in self._fenced:
            outcome = Outcome.UNKNOWN if repeat else Outcome.REFUSED
            self._answer(place, outcome, Reason.FENCED)
        elif self.driver.now.wall_ns >= place.deadline_ns:
            outcome = Outcome.UNKNOWN if repeat else Outcome.REFUSED
            self._answer(place, outcome, Reason.DEADLINE_PASSED)
        else:
            self._send_place(place, repeat, "ok" if honest else self._fate())

    def _fate(self) -> str:
        return self.rng.choice(["ok", "ok", "ok", "lost answer", "lost request", "late", "refused"])

    def _send_place(self, place: Place, repeat: bool, fate: str) -> None:
        open_end = (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME)
        if fate == "refused" and place.venue_order_id not in self.orders:
            self._answer(place, Outcome.UNKNOWN if repeat else Outcome.REFUSED, Reason.INSUFFICIENT_BALANCE)
        elif fate == "lost request":
            self._answer(place, *open_end)
        elif fate == "late":
            at = self.driver.now.mono_ns + self.rng.randrange(LIFE_MS - 1_000) * 1_000_000
            self._late.append((at, place))
            self._answer(place, *open_end)
        elif fate == "lost answer":
            self._arrive(place)
            self._answer(place, *open_end)
        else:
            self._answer_arrival(place, self._arrive(place), repeat)

    def _answer_arrival(self, place: Place, status: str, repeat: bool) -> None:
        order = self.orders[place.venue_order_id]
        if status == "DUPLICATE":
            self._answer(place, Outcome.UNKNOWN, Reason.DUPLICATE_ORDER)
        elif status == "KILLED":
            self._answer(place, Outcome.UNKNOWN if repeat else Outcome.REFUSED, Reason.FAK_NOT_FILLED)
        else:
            cash = order.filled * 520_000 // 1_000_000
            amounts = (cash, order.filled) if order.pinned.side == 0 else (order.filled, cash)
            self._answer(place, Outcome.DONE, Reason.OK, status, amounts)

    def _answer(
        self, place: Place, outcome: Outcome, code: Reason, status: str = "", amounts: tuple[int, int] = (0, 0)
    ) -> None:
        text = "" if outcome is Outcome.DONE else "said the gateway"
        result = PlaceResult(place.action_id, place.venue_order_id, outcome, code, text, status, *amounts)
        self._news += [(result, RESULTS)] * self.rng.choice([1, 1, 2])

    def _serve_cancel(self, cancel: Cancel, honest: bool) -> None:
        self._fenced.update(cancel.venue_order_ids)
        fate = "ok" if honest else self.rng.choice(["ok", "ok", "lost answer", "lost request"])
        canceled: list[str] = []
        refused: dict[str, str] = {}
        for venue_id in cancel.venue_order_ids:
            order = self.orders.get(venue_id)
            if order is None or order.status != "LIVE":
                refused[venue_id] = "already canceled or matched"
            elif fate != "lost request":
                order.status = "CANCELED"
                self._tell(order, "CANCELLATION")
                canceled.append(venue_id)
        result = CancelResult(cancel.action_id, Outcome.DONE, Reason.OK, "", canceled, refused)
        if fate != "ok":
            result = CancelResult(cancel.action_id, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "reset")
        self._news.append((result, RESULTS))

    def _serve_cancel_wallet(self, action: CancelWallet, honest: bool) -> None:
        fate = "ok" if honest else self.rng.choice(["ok", "ok", "ok", "lost answer", "lost request", "late", "busy"])
        canceled = self._sweep_wallet(action) if fate in ("ok", "lost answer") else []
        result = CancelResult(action.action_id, Outcome.DONE, Reason.OK, "", canceled)
        if fate == "late":
            at = self.driver.now.mono_ns + self.rng.randrange(LIFE_MS - 1_000) * 1_000_000
            self._late.append((at, action))
        if fate == "busy":
            code = Reason.BUDGET_EXHAUSTED
            result = CancelResult(action.action_id, Outcome.REFUSED, code, "busy", retry_after_ms=300)
        elif fate != "ok":
            result = CancelResult(action.action_id, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "reset")
        self._news.append((result, RESULTS))

    def _sweep_wallet(self, action: CancelWallet) -> list[str]:
        """Everything that rests goes; none of it was placed after the command."""
        canceled = []
        for true in self.orders.values():
            if true.status != "LIVE":
                continue
            order = self.driver.core.desk.oms.by_venue_id(true.venue_id)
            assert order is not None
            assert order.number <= self._through[action.action_id], f"{order.order_id} came after the cancel-all"
            true.status = "CANCELED"
            self._tell(true, "CANCELLATION")
            canceled.append(true.venue_id)
        return canceled

    def _serve_lookup(self, query: QueryOrder, honest: bool) -> None:
        now_ns = self.driver.now.wall_ns
        self.driver.tick()
        order = self.orders.get(query.venue_order_id)
        if not honest and self.rng.random() < 0.3:
            outcome, code = Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE
            self._news.append((OrderLookup(query.action_id, query.venue_order_id, outcome, code, "", 0), RESULTS))
            return
        found = None if order is None else self._shown(order)
        lookup = OrderLookup(
            query.action_id, query.venue_order_id, Outcome.DONE, Reason.OK, "", now_ns, found is not None, found
        )
        self._news.append((lookup, RESULTS))

    def _serve_list(self, query: QueryOpenOrders | QueryTrades, honest: bool) -> None:
        now_ns = self.driver.now.wall_ns
        self.driver.tick()
        complete = honest or self.rng.random() < 0.7
        head = (query.action_id, Outcome.DONE, Reason.OK, "", now_ns, complete)
        if isinstance(query, QueryOpenOrders):
            orders = [self._shown(order) for order in self.orders.values() if order.status == "LIVE"]
            self._news.append((OpenOrdersResult(*head, orders if complete else orders[:1]), RESULTS))
            return
        fills = [fill for fill in self.fills.values() if fill.matched_ns >= query.after_ns]
        self._news.append((TradesResult(*head, fills if complete else fills[:1]), RESULTS))

    def _shown(self, order: TrueOrder) -> VenueOrder:
        side = Side.BUY if order.pinned.side == 0 else Side.SELL
        return VenueOrder(
            order.venue_id, order.status, order.pinned.token_id, side, 520_000, order.size, order.filled, 0
        )

    # --- the end of a run ---

    def make_honest(self, rounds: int = 200) -> None:
        """No more lies: everything is answered until nothing is outstanding and nothing is due."""
        self.reconnect()
        for _ in range(rounds):
            while self._inbox or self._news:
                self.serve(honest=True)
                self.deliver_news()
            if not self._late and self.driver.core.due_ns() is None:
                return
            self.pass_time(1_000)
        raise AssertionError(f"still busy: due {self.driver.core.due_ns()}, {self.driver.core.counters()}")
