"""The conversation behind each command: ask a process over the bus, follow an order until its story is told.

In: parsed arguments. Out: bus structs. Raises Refusal for what was refused and Unavailable for a process that does
not answer. Keeps no state: every id it makes is in the message it sends, so a repeat is answered, not done again.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from common.errors import PolyexecError, Refusal
from common.messages import (
    Accepted,
    AccountsReport,
    AccountView,
    BookReport,
    CancelAccepted,
    CancelAll,
    CancelOrder,
    Fill,
    FillsReport,
    GetAccounts,
    GetBook,
    GetFills,
    GetMarkets,
    GetOrder,
    GetOrders,
    GetPositions,
    GetReconciliation,
    GetSweep,
    GetWatchList,
    Halt,
    Heartbeat,
    MarketsReport,
    MarketView,
    Message,
    OrdersReport,
    OrderView,
    PlaceAnswer,
    PlaceOrder,
    Position,
    PositionsReport,
    Reconcile,
    Reconciliation,
    ReconciliationReport,
    Refused,
    ReplaceOrder,
    Resume,
    SweepReport,
    SweepView,
    UnwatchMarkets,
    WatchedEntry,
    WatchMarkets,
    WatchReport,
)
from common.reasons import Reason
from common.topology import PROCESSES, out_address, supervisor_socket
from common.types import OrderType, Side, Status, TimeInForce
from services.cli.render import CancelAllOutcome, DoubtfulOrder
from services.cli.steering_text import ReconcileStory

ENDED: frozenset[Status] = frozenset({Status.FILLED, Status.CANCELLED, Status.REJECTED, Status.EXPIRED})
RESTING: frozenset[Status] = frozenset({Status.WORKING, Status.PARTIALLY_FILLED})

ANSWER_S = 5.0
POLL_S = 0.03
"""Between two looks at an order: below what a person notices, far above what a look costs."""
STORY_S = 3.0
"""How long `order place` follows an order; past it the order is shown as it is."""
CANCEL_S = 5.0
SWEEP_S = 10.0
"""How long `cancel-all` waits for its end."""
SWEPT = frozenset({"FINAL", "DROPPED"})
CATCHING_UP: frozenset[Reason] = frozenset(
    {Reason.FEED_GAP, Reason.WALLET_NOT_READY, Reason.BOOK_MISSING, Reason.STALE_DATA}
)
"""Refusals that pass by themselves, within seconds after a process or the venue came back."""
CATCH_UP_S = 10.0
CATCH_UP_PAUSE_S = 0.1
RESOLVE_S = 10.0
"""How long `markets watch` waits for its entries: a round of discovery that has just begun, and one more."""
RESOLVE_PAUSE_S = 0.1

Answer = TypeVar("Answer", bound=Message)


class Unavailable(PolyexecError):
    """A process that is needed is not there or does not answer."""


class Bus(Protocol):
    """What this module needs of common.requester.Requester."""

    def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message: ...

    def heartbeats(self, timeout_s: float = 1.0, processes: tuple[str, ...] = ()) -> dict[str, Heartbeat]: ...


class PlaceArguments(NamedTuple):
    """`order place` as parsed: micros, enums, and the client order id ("" makes one)."""

    account: str
    client_order_id: str
    venue: str
    market: str
    outcome: str
    side: Side
    order_type: OrderType
    tif: TimeInForce
    post_only: bool
    price: int
    size: int
    expires_s: int = 0
    quote: int = 0
    max_slippage_bps: int = 0
    deadline_ms: int = 0


class Unwatched(NamedTuple):
    """The watch list after entries were taken off, and those of them that were not on it."""

    left: list[WatchedEntry]
    absent: list[str]


class Story(NamedTuple):
    """An order, and whether what was waited for has happened."""

    order: OrderView
    told: bool


def booked(order: OrderView) -> int:
    """The size of an order's fills."""
    return sum(fill.size for fill in order.fills)


def is_placed(order: OrderView) -> bool:
    """Whether a placement's outcome is known: it rests or it ended, and every matched share is booked as a fill."""
    return order.status in ENDED | RESTING and booked(order) >= order.filled_size


def is_ended(order: OrderView) -> bool:
    """Whether nothing of the order can match any more, and what matched is booked."""
    return order.status in ENDED and booked(order) >= order.filled_size


def entry_key(entry: str) -> str:
    """By this an entry as typed is known again in the spelling of the watch list."""
    return " ".join(entry.lower().replace("query:", "query: ", 1).split())


def is_resolved(entry: WatchedEntry) -> bool:
    """Whether a round of discovery has dealt with the entry, for better or worse."""
    return bool(entry.slugs or entry.problem)


def _among(listed: Sequence[WatchedEntry], keys: set[str]) -> list[WatchedEntry]:
    return [entry for entry in listed if entry_key(entry.entry) in keys]


def is_running(run_dir: Path, owner: str) -> bool:
    """Whether anybody listens: the supervisor of the group (the process may be restarting) or the process itself."""
    return _accepts(supervisor_socket(run_dir)) or _accepts(Path(out_address(run_dir, owner).partition("://")[2]))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
    return True


class Client:
    """One command's conversation. `clock` and `pause` are the waiting, so that tests need not wait."""

    def __init__(
        self,
        bus: Bus,
        *,
        place_deadline_ms: int = 5_000,
        request_life_ms: int = 30_000,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bus = bus
        self._place_deadline_ns = place_deadline_ms * 1_000_000
        self._request_life_ns = request_life_ms * 1_000_000
        self._clock = clock
        self._pause = pause

    # --- asking ---

    def ask(self, owner: str, body: Message, expected: type[Answer], *, cancel: bool = False) -> Answer:
        """The answer of the expected kind. Raises Refusal or Unavailable."""
        try:
            answer = self._bus.request(owner, body, timeout_s=ANSWER_S, cancel=cancel)
        except TimeoutError as error:
            raise Unavailable(f"{error}: see scripts/polyexec status and logs/{owner}.log") from None
        if isinstance(answer, Refused):
            raise Refusal(answer.code, answer.text, answer.field)
        if not isinstance(answer, expected):
            raise Unavailable(f"{owner} answered {type(answer).__name__}: is it of another version? restart it")
        return answer

    # --- reading ---

    def heartbeats(self, timeout_s: float, processes: tuple[str, ...] = PROCESSES) -> dict[str, Heartbeat]:
        heard = self._bus.heartbeats(timeout_s, processes)
        return {process: heard[process] for process in processes if process in heard}

    def markets(self, query: str) -> list[MarketView]:
        return self.ask("market_data", GetMarkets(_new_id(), query), MarketsReport).markets

    def book(self, market: str, outcome: str) -> BookReport:
        return self.ask("market_data", GetBook(_new_id(), market, outcome), BookReport)

    def order(self, account: str, order_id: str) -> OrderView:
        """One order by any of its ids. Raises Refusal(ORDER_NOT_FOUND)."""
        orders = self.ask("executor", GetOrder(_new_id(), account, order_id), OrdersReport).orders
        if not orders:
            raise Refusal(Reason.ORDER_NOT_FOUND, f"{account} has no order {order_id[:70]!r}", "order_id")
        return orders[0]

    def orders(self, account: str, *, open_only: bool, market: str, limit: int) -> list[OrderView]:
        query = GetOrders(_new_id(), account, open_only, market, limit)
        return self.ask("executor", query, OrdersReport).orders

    def fills(self, account: str, market: str, limit: int) -> list[Fill]:
        return self.ask("executor", GetFills(_new_id(), account, market, limit), FillsReport).fills

    def positions(self, account: str) -> list[Position]:
        return self.ask("executor", GetPositions(_new_id(), account), PositionsReport).positions

    # --- the watch list ---

    def watched(self) -> list[WatchedEntry]:
        return self.ask("market_data", GetWatchList(_new_id()), WatchReport).entries

    def watch(self, entries: Sequence[str]) -> list[WatchedEntry]:
        """Put entries on the watch list, and follow them until each has markets or a problem, or for RESOLVE_S.

        Entries are taken once market_data has answered: what goes wrong afterwards does not take them off again.
        """
        wanted = {entry_key(entry) for entry in entries}
        deadline = self._clock() + RESOLVE_S
        listed = self.ask("market_data", WatchMarkets(_new_id(), list(entries)), WatchReport).entries
        found = _among(listed, wanted)
        try:
            while not all(is_resolved(entry) for entry in found) and self._clock() < deadline:
                self._pause(RESOLVE_PAUSE_S)
                found = _among(self.watched(), wanted)
        except (Unavailable, KeyboardInterrupt):
            pass
        return found

    def unwatch(self, entries: Sequence[str]) -> Unwatched:
        """Take entries off the watch list; one that is not on it is no error, but told."""
        before = {entry_key(entry.entry) for entry in self.watched()}
        left = self.ask("market_data", UnwatchMarkets(_new_id(), list(entries)), WatchReport).entries
        return Unwatched(left, [entry for entry in entries if entry_key(entry) not in before])

    # --- acting ---

    def place(self, wanted: PlaceArguments, now_ns: int) -> Story:
        """Send an order and follow it until it rests, ends, or STORY_S has passed."""
        command = PlaceOrder(
            command_id=_new_id(),
            account=wanted.account,
            client_order_id=wanted.client_order_id or f"cli-{uuid.uuid4().hex}",
            venue=wanted.venue,
            market=wanted.market,
            outcome=wanted.outcome,
            side=wanted.side,
            order_type=wanted.order_type,
            tif=wanted.tif,
            post_only=wanted.post_only,
            price=wanted.price,
            size=wanted.size,
            expire_ns=now_ns + wanted.expires_s * 1_000_000_000 if wanted.expires_s else 0,
            deadline_ns=now_ns + wanted.deadline_ms * 1_000_000 if wanted.deadline_ms else 0,
            quote=wanted.quote,
            max_slippage_bps=wanted.max_slippage_bps,
        )
        try:
            order = self._place_when_caught_up(command)
        except (Unavailable, KeyboardInterrupt) as error:
            hint = f"scripts/polyexec order show {command.client_order_id}"
            why = str(error) or "interrupted"
            raise Unavailable(f"{why}; whether the order was taken is not known: {hint} tells") from None
        return self.follow(order, is_placed, STORY_S)

    def replace(self, account: str, order_id: str, client_order_id: str, *, price: int, size: int) -> Story:
        """Replace an open order and follow its successor until it rests, ends, or STORY_S has passed."""
        named = client_order_id or f"cli-{uuid.uuid4().hex}"
        command = ReplaceOrder(_new_id(), account, order_id, named, price, size)
        return self.follow(self._place_when_caught_up(command), is_placed, STORY_S)

    # --- steering ---

    def halt(self, reason: str, account: str, *, reduce_only: bool) -> None:
        try:
            self.ask("executor", Halt(_new_id(), reason, account, reduce_only), Accepted, cancel=True)
        except Unavailable as error:
            hint = "scripts/polyexec accounts tells; scripts/stop_all.sh stops everything"
            raise Unavailable(f"{error}; whether the halt was taken is not known: {hint}") from None

    def resume(self, account: str) -> None:
        self.ask("executor", Resume(_new_id(), account), Accepted)

    def accounts(self, account: str) -> list[AccountView]:
        return self.ask("executor", GetAccounts(_new_id(), account), AccountsReport).accounts

    def reconciliation(self, wallet: str) -> list[Reconciliation]:
        rows = self.ask("executor", GetReconciliation(_new_id()), ReconciliationReport).wallets
        return [row for row in rows if wallet in ("", row.wallet)]

    def reconcile(self, wallet: str, within_s: float) -> ReconcileStory:
        """Ask for a full round, and wait for one that began after that to end complete."""
        before = {(row.venue, row.wallet): row for row in self.reconciliation(wallet)}
        self.ask("executor", Reconcile(_new_id(), wallet), Accepted)
        deadline = self._clock() + within_s
        while True:
            rows = self.reconciliation(wallet)
            known = [(row, before.get((row.venue, row.wallet), row)) for row in rows]
            complete = all(row.last_full_ns > old.last_full_ns for row, old in known)
            if complete or self._clock() >= deadline:
                found = sum(row.differences - old.differences for row, old in known)
                return ReconcileStory(rows, complete, found)
            self._pause(POLL_S)

    def _place_when_caught_up(self, command: PlaceOrder | ReplaceOrder) -> OrderView:
        """Ask again, for a while, where the refusal only says that the executor is catching up with the venue.

        Such a refusal consumes no client order id; only the command id has to be new to be judged again.
        """
        deadline = self._clock() + CATCH_UP_S
        while True:
            try:
                return self.ask("executor", command, PlaceAnswer).order
            except Refusal as refusal:
                if refusal.code not in CATCHING_UP or self._clock() >= deadline:
                    raise
            self._pause(CATCH_UP_PAUSE_S)
            command = msgspec.structs.replace(command, command_id=_new_id())

    def cancel(self, account: str, order_id: str) -> Story:
        """Cancel one order and follow it to its end. An order that ended already is shown as it ended."""
        accepted = self.ask("executor", CancelOrder(_new_id(), account, order_id), CancelAccepted, cancel=True)
        known = [*accepted.order_ids, *accepted.in_doubt]
        return self.follow(self.order(account, known[0] if known else order_id), is_ended, CANCEL_S)

    def cancel_all(self, account: str, market: str, now_ns: int, wait_s: float = SWEEP_S) -> CancelAllOutcome:
        """Cancel everything of an account ("" is every one) or market, and follow it to its end, at most `wait_s`."""
        deadline = self._clock() + wait_s
        command = CancelAll(_new_id(), account, market)
        accepted = self.ask("executor", command, CancelAccepted, cancel=True)
        sweep = self._follow_sweep(command.command_id, deadline)
        stories = self._follow_all(account, accepted.order_ids, deadline)
        ended = [story.order for story in stories if story.told]
        waiting = [story.order for story in stories if not story.told]
        doubtful = set(accepted.in_doubt)
        return CancelAllOutcome(
            cancelled=[order for order in ended if order.status is Status.CANCELLED],
            ended=[order for order in ended if order.status is not Status.CANCELLED],
            still_open=[order for order in waiting if order.order_id not in doubtful],
            in_doubt=[self._doubt(order, sweep, now_ns) for order in waiting if order.order_id in doubtful],
            sweep=sweep,
        )

    def _follow_sweep(self, command_id: str, deadline: float) -> SweepView | None:
        """Look at a sweep until nothing of it can come any more, or the time has passed."""
        found: SweepView | None = None
        try:
            while True:
                found = self.ask("executor", GetSweep(_new_id(), command_id), SweepReport).sweep
                if found is None or found.phase in SWEPT or self._clock() >= deadline:
                    return found
                self._pause(POLL_S)
        except (Unavailable, KeyboardInterrupt):
            return found

    def _doubt(self, order: OrderView, sweep: SweepView | None, now_ns: int) -> DoubtfulOrder:
        """The executor looks for it until a request of its place's last moment, or of this cancel's, has died."""
        for row in sweep.in_doubt if sweep is not None else ():
            if row.order_id == order.order_id:
                return DoubtfulOrder(row.order_id, row.until_ns)
        last_ns = max(order.created_ns + self._place_deadline_ns, now_ns)
        return DoubtfulOrder(order.order_id, last_ns + self._request_life_ns)

    def follow(self, order: OrderView, told: Callable[[OrderView], bool], within_s: float) -> Story:
        """Look at an order until `told` says yes or the time has passed; what is known of it is never lost."""
        deadline = self._clock() + within_s
        try:
            while not told(order) and self._clock() < deadline:
                self._pause(POLL_S)
                order = self.order(order.account, order.order_id)
        except (Unavailable, KeyboardInterrupt):
            pass
        return Story(order, told(order))

    def _follow_all(self, account: str, order_ids: Sequence[str], deadline: float) -> list[Story]:
        """Every order of a cancel-all, however many they are."""
        stories = []
        for order_id in order_ids:
            try:
                order = self.order(account, order_id)
            except Refusal as refusal:
                if refusal.code is not Reason.ORDER_NOT_FOUND:
                    raise
                continue  # of an account that left the settings: the sweep counts it
            stories.append(self.follow(order, is_ended, max(0.0, deadline - self._clock())))
        return stories


def _new_id() -> str:
    return uuid.uuid4().hex
