"""Drives an executor core by message lists: one clock, one wallet, two accounts, answers written in one line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

from common.effects import Effect, Log, Now, Origin, Publish, Reply, Send, Settle
from common.instruments import Market
from common.messages import (
    AccountView,
    BalancesResult,
    BookView,
    Cancel,
    CancelAll,
    CancelOrder,
    CancelResult,
    Configured,
    Fill,
    GetAccounts,
    GetFills,
    GetOrder,
    GetReconciliation,
    Halt,
    Judged,
    Level,
    Mark,
    Marked,
    MarketListed,
    Message,
    OpenOrdersResult,
    OrderLookup,
    OrderView,
    Place,
    PlaceAnswer,
    PlaceOrder,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Reconcile,
    Reconciliation,
    ReplaceOrder,
    Resume,
    TimerFired,
    TradesResult,
    UserFeedChanged,
    VenueFill,
    VenueOrder,
    VenueOrderChanged,
    VenuePosition,
    WalletReady,
)
from common.reasons import Reason
from common.types import FeedState, OrderType, Outcome, Settlement, Side, TimeInForce
from services.executor.core import ExecutorCore

MS = 1_000_000
S = 1_000_000_000
START = 1_790_000_000 * S
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
UP, DOWN = "7" * 77, "5" * 77
MARKET = Market(
    venue="polymarket",
    condition_id="0x" + "5f" * 32,
    slug="btc-up",
    question="Up or down?",
    outcomes=("Up", "Down"),
    token_ids=(UP, DOWN),
    tick=10_000,
    min_size=5_000_000,
    fee_rate=70_000,
)
CLOSED = Market(
    venue="polymarket",
    condition_id="0x" + "6e" * 32,
    slug="btc-over",
    question="Over?",
    outcomes=("Yes", "No"),
    token_ids=("8" * 77, "9" * 77),
    tick=1_000,
    min_size=5_000_000,
    accepting=False,
)
CLI = Origin("cli")
RESULTS = Origin("gateway", "results")
EVENTS = Origin("user_data", "user_events")
FEED = Origin("market_data", "instruments")

T = TypeVar("T")


UNTIMED = {
    "order_timeout_ms": 0,
    "cancel_timeout_ms": 0,
    "max_retry_attempts": 0,
    "reconcile_interval_sec": 0,
    "reconcile_incremental_sec": 0,
    "wallet_cancel": False,
}
"""Timers most tests are not about, and the cancel of a whole wallet; a test that is names its own."""


def settings(*, policies: Sequence[dict[str, object]] = (), **execution: int | str) -> str:
    return json.dumps(
        {
            "mode": "demo",
            "polymarket": {"chain_id": 137, "protocol_version": 2, "clob_url": "http://127.0.0.1:1"},
            "wallets": [{"name": "main", "venue": "polymarket", "signature_type": 0, "funder": ""}],
            "accounts": [{"name": "default", "wallet": "main"}, {"name": "other", "wallet": "main"}],
            "execution": {**UNTIMED, **execution},
            "risk": {"policies": list(policies)},
        }
    )


def view(
    bids: Sequence[Level] = (),
    asks: Sequence[Level] = (),
    *,
    token_id: str = UP,
    whole: bool = True,
    state: FeedState = FeedState.LIVE,
    age_ms: int = 10,
) -> BookView:
    """A book view, levels best first."""
    return BookView(token_id, list(bids), list(asks), whole, whole, MARKET.tick, state, "", 1, 1, age_ms)


class Driver:
    """`out` holds the effects of the last input, `all` of every input; `inputs` can be replayed."""

    def __init__(
        self,
        core: ExecutorCore | None = None,
        *,
        ready: bool = True,
        policies: Sequence[dict[str, object]] = (),
        **execution: int | str,
    ) -> None:
        self.core = core or ExecutorCore()
        self.now = Now(START, 1)
        self.out: list[Effect] = []
        self.all: list[Effect] = []
        self.inputs: list[tuple[Message, Origin, Now]] = []
        self._commands = 0
        if core is None:
            self.do(Configured(settings(policies=policies, **execution)), Origin("executor"))
            self.do(MarketListed(MARKET), FEED)
            self.do(MarketListed(CLOSED), FEED)
        if core is None and ready:
            self.wallet_ready()
            self.feed(FeedState.LIVE)
            self.catch_up()
            self.wait(5_000)
            self.catch_up()

    # --- time and inputs ---

    def do(self, message: Message, origin: Origin) -> list[Effect]:
        self.inputs.append((message, origin, self.now))
        self.out = self.core.handle(message, origin, self.now)
        self.all += self.out
        return self.out

    def wait(self, ms: int) -> list[Effect]:
        """Let time pass; every timer that falls due meanwhile is fed at its own time."""
        end = self.now.mono_ns + ms * MS
        collected: list[Effect] = []
        while (due := self.core.due_ns()) is not None and due <= end:
            step = max(0, due - self.now.mono_ns)
            self.now = Now(self.now.wall_ns + step, self.now.mono_ns + step)
            collected += self.do(TimerFired(), Origin("executor", "timer"))
        rest = end - self.now.mono_ns
        self.now = Now(self.now.wall_ns + rest, end)
        self.out = collected
        return collected

    def restart(self) -> Driver:
        """The same state in a new process, as from a checkpoint."""
        core = ExecutorCore()
        core.load(self.core.dump())
        driver = Driver(core)
        driver.now, driver._commands = self.now, self._commands
        return driver

    # --- what came out ---

    def of(self, kind: type[T], effects: list[Effect] | None = None) -> list[T]:
        """Bodies or effects of one kind among the last input's effects."""
        found: list[T] = []
        for effect in self.out if effects is None else effects:
            body = effect.body if isinstance(effect, Reply | Publish | Send) else effect
            if isinstance(body, kind):
                found.append(body)
            elif isinstance(effect, kind):
                found.append(effect)
        return found

    def one(self, kind: type[T]) -> T:
        found = self.of(kind)
        assert len(found) == 1, f"{len(found)} {kind.__name__} in {self.out}"
        return found[0]

    def answer(self) -> Message:
        replies = [effect.body for effect in self.out if isinstance(effect, Reply)]
        assert len(replies) == 1, self.out
        return replies[0]

    def logs(self, event: str) -> list[dict[str, str | int | bool]]:
        return [effect.fields for effect in self.all if isinstance(effect, Log) and effect.event == event]

    def settled(self) -> list[str]:
        return [effect.key for effect in self.out if isinstance(effect, Settle)]

    def order(self, order_id: str = "o-1") -> OrderView:
        (report,) = self.core.query(GetOrder("q", "", order_id), self.now)
        return report.orders[0]  # type: ignore[attr-defined, no-any-return]

    def fills(self) -> list[Fill]:
        (report,) = self.core.query(GetFills("q", limit=1000), self.now)
        return report.fills  # type: ignore[attr-defined, no-any-return]

    def account(self, name: str = "default") -> AccountView:
        (report,) = self.core.query(GetAccounts("q", name), self.now)
        return report.accounts[0]  # type: ignore[attr-defined, no-any-return]

    def reconciliation(self) -> Reconciliation:
        (report,) = self.core.query(GetReconciliation("q"), self.now)
        return report.wallets[0]  # type: ignore[attr-defined, no-any-return]

    # --- commands ---

    def place(
        self,
        client_order_id: str = "",
        *,
        command_id: str = "",
        account: str = "default",
        venue: str = "polymarket",
        market: str = "btc-up",
        outcome: str = "Up",
        side: Side = Side.BUY,
        order_type: OrderType = OrderType.LIMIT,
        tif: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        price: int = 520_000,
        size: int = 10_000_000,
        expire_ns: int = 0,
        deadline_ns: int = 0,
        quote: int = 0,
        max_slippage_bps: int = 0,
        view: BookView | None = None,
        origin: Origin = CLI,
    ) -> Message:
        """A place; with `view` as the executor's shell journals it."""
        self._commands += 1
        command = PlaceOrder(
            command_id or f"c-{self._commands}",
            account,
            client_order_id,
            venue,
            market,
            outcome,
            side,
            order_type,
            tif,
            post_only,
            price,
            size,
            expire_ns,
            deadline_ns,
            quote,
            max_slippage_bps,
        )
        self.do(Judged(command, view) if view else command, origin)
        return self.answer()

    def placed(self, client_order_id: str = "", **words: object) -> Place:
        """A place that must be taken; what went to the gateway."""
        answer = self.place(client_order_id, **words)  # type: ignore[arg-type]
        assert isinstance(answer, PlaceAnswer), answer
        return self.one(Place)

    def cancel(self, order_id: str = "o-1", *, account: str = "default", origin: Origin = CLI) -> Message:
        self._commands += 1
        self.do(CancelOrder(f"c-{self._commands}", account, order_id), origin)
        return self.answer()

    def cancel_all(self, account: str = "", market: str = "", *, origin: Origin = CLI) -> Message:
        self._commands += 1
        self.do(CancelAll(f"c-{self._commands}", account, market), origin)
        return self.answer()

    def replace(
        self,
        client_order_id: str = "",
        *,
        order_id: str = "o-1",
        command_id: str = "",
        account: str = "default",
        price: int = 530_000,
        size: int = 10_000_000,
        deadline_ns: int = 0,
        view: BookView | None = None,
        origin: Origin = CLI,
    ) -> Message:
        self._commands += 1
        command_id = command_id or f"c-{self._commands}"
        command = ReplaceOrder(command_id, account, order_id, client_order_id, price, size, deadline_ns)
        self.do(Judged(command, view) if view else command, origin)
        return self.answer()

    def halt(self, reason: str = "drill", *, account: str = "", reduce_only: bool = False) -> Message:
        self._commands += 1
        self.do(Halt(f"c-{self._commands}", reason, account, reduce_only), CLI)
        return self.answer()

    def resume(self, account: str = "") -> Message:
        self._commands += 1
        self.do(Resume(f"c-{self._commands}", account), CLI)
        return self.answer()

    def reconcile(self, wallet: str = "") -> Message:
        self._commands += 1
        self.do(Reconcile(f"c-{self._commands}", wallet), CLI)
        return self.answer()

    def mark(self, *marks: Mark) -> list[Effect]:
        """The shell's marks of what is held."""
        return self.do(Marked(list(marks)), Origin("executor"))

    # --- the gateway ---

    def wallet_ready(self) -> None:
        self.do(WalletReady("polymarket", "main", ADDRESS, ADDRESS, 0, 137, "key"), RESULTS)

    def result(
        self,
        place: Place,
        outcome: Outcome = Outcome.DONE,
        *,
        status: str = "live",
        code: Reason = Reason.OK,
        text: str = "",
        making: int = 0,
        taking: int = 0,
        retry_after_ms: int = 0,
    ) -> list[Effect]:
        amounts = (making, taking, retry_after_ms)
        return self.do(
            PlaceResult(place.action_id, place.venue_order_id, outcome, code, text, status, *amounts), RESULTS
        )

    def unknown(self, place: Place) -> list[Effect]:
        return self.result(
            place, Outcome.UNKNOWN, status="", code=Reason.VENUE_UNKNOWN_OUTCOME, text="no answer from the venue"
        )

    def refused(
        self, place: Place, code: Reason = Reason.INSUFFICIENT_BALANCE, text: str = "no", *, retry_after_ms: int = 0
    ) -> list[Effect]:
        return self.result(place, Outcome.REFUSED, status="", code=code, text=text, retry_after_ms=retry_after_ms)

    def found(self, query: QueryOrder, status: str = "LIVE", filled: int = 0, size: int = 10_000_000) -> list[Effect]:
        shown = VenueOrder(query.venue_order_id, status, UP, Side.BUY, 520_000, size, filled, START)
        asked_ns = self.now.wall_ns
        self.tick()
        lookup = OrderLookup(query.action_id, query.venue_order_id, Outcome.DONE, Reason.OK, "", asked_ns, True, shown)
        return self.do(lookup, RESULTS)

    def not_found(self, query: QueryOrder, *, asked_ns: int = 0) -> list[Effect]:
        asked_ns = asked_ns or self.now.wall_ns
        self.tick()
        return self.do(
            OrderLookup(query.action_id, query.venue_order_id, Outcome.DONE, Reason.ORDER_NOT_FOUND, "none", asked_ns),
            RESULTS,
        )

    def no_answer(self, query: QueryOrder) -> list[Effect]:
        code = Reason.VENUE_UNAVAILABLE
        return self.do(OrderLookup(query.action_id, query.venue_order_id, Outcome.UNKNOWN, code, "timeout", 0), RESULTS)

    def canceled(self, cancel: Cancel, *, but: dict[str, str] | None = None) -> list[Effect]:
        but = but or {}
        done = [venue_id for venue_id in cancel.venue_order_ids if venue_id not in but]
        return self.do(CancelResult(cancel.action_id, Outcome.DONE, Reason.OK, "", done, but), RESULTS)

    def open_orders(
        self, query: QueryOpenOrders, orders: list[VenueOrder] | None = None, *, complete: bool = True
    ) -> list[Effect]:
        asked_ns = self.now.wall_ns
        self.tick()
        return self.do(
            OpenOrdersResult(query.action_id, Outcome.DONE, Reason.OK, "", asked_ns, complete, orders or []), RESULTS
        )

    def trades(
        self, query: QueryTrades, fills: list[VenueFill] | None = None, *, complete: bool = True
    ) -> list[Effect]:
        asked_ns = self.now.wall_ns
        self.tick()
        return self.do(
            TradesResult(query.action_id, Outcome.DONE, Reason.OK, "", asked_ns, complete, fills or []), RESULTS
        )

    def balances(
        self, query: QueryBalances, cash: int, allowance: int = 10**15, *, outcome: Outcome = Outcome.DONE
    ) -> list[Effect]:
        asked_ns = self.now.wall_ns
        self.tick()
        code = Reason.OK if outcome is Outcome.DONE else Reason.VENUE_UNAVAILABLE
        return self.do(BalancesResult(query.action_id, outcome, code, "", asked_ns, cash, allowance), RESULTS)

    def holdings(
        self, query: QueryPositions, held: dict[str, int] | None = None, *, complete: bool = True
    ) -> list[Effect]:
        """What the venue says the wallet holds on chain."""
        asked_ns = self.now.wall_ns
        self.tick()
        rows = [VenuePosition(token_id, size) for token_id, size in (held or {}).items()]
        return self.do(PositionsResult(query.action_id, Outcome.DONE, Reason.OK, "", asked_ns, complete, rows), RESULTS)

    def catch_up(self) -> None:
        """Answer the running pass with empty, complete lists."""
        opened, traded = self.one(QueryOpenOrders), self.one(QueryTrades)
        self.open_orders(opened)
        self.trades(traded)

    def tick(self) -> None:
        """A microsecond passes, so that what follows is later."""
        self.now = Now(self.now.wall_ns + 1000, self.now.mono_ns + 1000)

    # --- the user channel ---

    def feed(self, state: FeedState, reason: str = "") -> list[Effect]:
        return self.do(UserFeedChanged("polymarket", "main", state, reason, self.now.wall_ns), EVENTS)

    def event(
        self, place: Place, kind: str = "PLACEMENT", status: str = "LIVE", filled: int = 0, text: str = ""
    ) -> list[Effect]:
        return self.do(
            order_event(place.venue_order_id, kind, status, filled, text=text, at_ns=self.now.wall_ns), EVENTS
        )

    def fill(self, place: Place, size: int = 10_000_000, **words: object) -> list[Effect]:
        return self.do(venue_fill(place.venue_order_id, size=size, **words), EVENTS)  # type: ignore[arg-type]


def order_event(
    venue_order_id: str, kind: str, status: str, filled: int = 0, *, text: str = "", at_ns: int = START
) -> VenueOrderChanged:
    return VenueOrderChanged("polymarket", "main", venue_order_id, kind, status, text, filled, at_ns)


def venue_fill(
    venue_order_id: str,
    *,
    size: int = 10_000_000,
    trade_id: str = "t-1",
    price: int = 520_000,
    side: Side = Side.BUY,
    settlement: Settlement = Settlement.MATCHED,
    is_taker: bool = False,
    token_id: str = UP,
    tx_hash: str = "",
    matched_ns: int = START,
) -> VenueFill:
    return VenueFill(
        "polymarket",
        "main",
        trade_id,
        venue_order_id,
        token_id,
        side,
        size,
        price,
        size * price // 1_000_000,
        is_taker,
        settlement,
        tx_hash,
        matched_ns,
    )
