"""Random lives of many orders as a hypothesis state machine; tests add what must hold after every message."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from common.effects import Send
from common.messages import (
    Cancel,
    Mark,
    Message,
    Place,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    VenueFill,
)
from common.reasons import Reason
from common.types import Outcome, Settlement, Side, TimeInForce
from services.executor.order import Order
from tests.services.executor.driver import DOWN, UP, Driver, view

T = TypeVar("T", bound=Message)

TICKS = st.integers(1, 99).map(lambda ticks: ticks * 10_000)
SIZES = st.integers(500, 4_000).map(lambda hundredths: hundredths * 10_000)
PICK = st.integers(0, 1_000)
STAGES = st.sampled_from([stage for stage in Settlement if stage is not Settlement.UNKNOWN])
BOOK = view([(500_000, 10**9)], [(500_000, 10**9)])


class OrderLives(RuleBasedStateMachine):
    """Two accounts on one wallet, two tokens. The venue never fills more than an order's size; all else may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(max_retry_attempts=2)
        self.places: dict[str, Place] = {}
        self.told: dict[str, VenueFill] = {}

    # --- helpers ---

    def _after(self) -> None:
        for place in self.driver.of(Place):
            self.places[place.venue_order_id] = place

    def _pick(self, pick: int) -> tuple[Place, Order]:
        place = list(self.places.values())[pick % len(self.places)]
        order = self.driver.core.desk.oms.by_venue_id(place.venue_order_id)
        assert order is not None
        return place, order

    def _asked(self, *kinds: type[T]) -> list[T]:
        """What the gateway was asked and did not answer."""
        sent = [effect.body for effect in self.driver.core.outstanding() if isinstance(effect, Send)]
        return [body for body in sent if isinstance(body, kinds)]

    # --- clients ---

    @rule(
        account=st.sampled_from(["default", "other"]),
        side=st.sampled_from(Side),
        outcome=st.sampled_from(["Up", "Down"]),
        price=TICKS,
        size=SIZES,
    )
    def place(self, account: str, side: Side, outcome: str, price: int, size: int) -> None:
        self.driver.tick()
        self.driver.place(account=account, side=side, outcome=outcome, price=price, size=size)
        self._after()

    @rule(side=st.sampled_from(Side), price=TICKS, size=SIZES, post_only=st.booleans())
    def place_of_another_kind(self, side: Side, price: int, size: int, post_only: bool) -> None:
        self.driver.tick()
        tif = TimeInForce.GTC if post_only else TimeInForce.FAK
        self.driver.place(side=side, price=price, size=size, tif=tif, post_only=post_only)
        self._after()

    @precondition(lambda self: self.places)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        self.driver.cancel(self._pick(pick)[1].order_id, account="default")
        self._after()

    @precondition(lambda self: self.places)
    @rule(pick=PICK, price=TICKS, size=SIZES)
    def replace(self, pick: int, price: int, size: int) -> None:
        order = self._pick(pick)[1]
        self.driver.replace(order_id=order.order_id, account=order.account, price=price, size=size)
        self._after()

    # --- the gateway and the venue ---

    @precondition(lambda self: self.places)
    @rule(pick=PICK, how=st.sampled_from(["live", "live", "unknown", "refused", "busy"]))
    def answer_place(self, pick: int, how: str) -> None:
        place, _ = self._pick(pick)
        match how:
            case "live":
                self.driver.result(place)
            case "unknown":
                self.driver.unknown(place)
            case "refused":
                self.driver.refused(place)
            case _:
                self.driver.refused(place, Reason.VENUE_RATE_LIMIT, retry_after_ms=50)
        self._after()

    @rule(pick=PICK, done=st.booleans())
    def answer_cancel(self, pick: int, done: bool) -> None:
        for cancel in self._asked(Cancel)[:1]:
            but = {} if done else dict.fromkeys(cancel.venue_order_ids, "already canceled or matched")
            self.driver.canceled(cancel, but=but)
            self._after()

    @rule(word=st.sampled_from(["", "LIVE", "CANCELED"]))
    def answer_lookup(self, word: str) -> None:
        for query in self._asked(QueryOrder)[:1]:
            order = self.driver.core.desk.oms.by_venue_id(query.venue_order_id)
            if word and order is not None:
                self.driver.found(query, word, order.matched, order.size)
            else:
                self.driver.not_found(query)
            self._after()

    @precondition(lambda self: self.places)
    @rule(pick=PICK, part=st.integers(1, 4), better=st.integers(0, 3), is_taker=st.booleans(), stage=STAGES)
    def fill(self, pick: int, part: int, better: int, is_taker: bool, stage: Settlement) -> None:
        place, order = self._pick(pick)
        size = (order.size - order.told) * part // 4
        if size <= 0:
            return
        trade_id = f"t-{len(self.told) + 1}"
        away = better * 10_000 * (-1 if order.side is Side.BUY else 1)
        price = min(990_000, max(10_000, order.price + away))
        words = {"trade_id": trade_id, "side": order.side, "token_id": order.token_id, "price": price}
        self.driver.fill(place, size, is_taker=is_taker, settlement=stage, matched_ns=self.driver.now.wall_ns, **words)
        self.told[trade_id] = self.driver.inputs[-1][0]  # type: ignore[assignment]
        self._after()

    @precondition(lambda self: self.told)
    @rule(pick=PICK, stage=STAGES)
    def settle(self, pick: int, stage: Settlement) -> None:
        fill = list(self.told.values())[pick % len(self.told)]
        words = {name: getattr(fill, name) for name in ("side", "token_id", "price", "trade_id", "is_taker")}
        place = self.places[fill.venue_order_id]
        self.driver.fill(place, fill.size, settlement=stage, matched_ns=fill.matched_ns, tx_hash="0x1", **words)
        self._after()

    @precondition(lambda self: self.places)
    @rule(pick=PICK, kind=st.sampled_from(["PLACEMENT", "UPDATE", "CANCELLATION"]), ahead=st.integers(0, 2))
    def tell(self, pick: int, kind: str, ahead: int) -> None:
        """The user channel; `ahead`: of the fills it will tell of."""
        place, order = self._pick(pick)
        filled = order.told + (order.size - order.told) * ahead // 4
        status = "CANCELED" if kind == "CANCELLATION" else "LIVE"
        self.driver.event(place, kind, status, filled)
        self._after()

    # --- everything else ---

    @rule(ms=st.sampled_from([1, 100, 600, 6_000, 40_000]))
    def wait(self, ms: int) -> None:
        self.driver.wait(ms)
        self._after()

    @rule(up=st.integers(0, 99), down=st.integers(0, 99))
    def mark(self, up: int, down: int) -> None:
        self.driver.mark(Mark(UP, up * 10_000, up * 10_000), Mark(DOWN, down * 10_000, min(99, down + 1) * 10_000))

    @rule(cash=st.integers(0, 10**9), allowance=st.integers(0, 10**10), told=st.booleans())
    def balance(self, cash: int, allowance: int, told: bool) -> None:
        """A round of reconciliation of which only the balance is answered, or nothing."""
        self.driver.reconcile()
        self.driver.wait(1)
        self._after()
        for query in self._asked(QueryBalances, QueryOpenOrders, QueryTrades, QueryPositions):
            match query:
                case QueryBalances():
                    self.driver.balances(query, cash, allowance, outcome=Outcome.DONE if told else Outcome.UNKNOWN)
                case QueryOpenOrders():
                    self.driver.open_orders(query, complete=False)
                case QueryTrades():
                    self.driver.trades(query, complete=False)
                case QueryPositions():
                    self.driver.holdings(query, complete=False)
        if told:
            self.on_balance(cash, allowance)

    def on_balance(self, cash: int, allowance: int) -> None:
        """The venue's number was taken over."""

    @rule()
    def restart(self) -> None:
        self.driver = self.driver.restart()
