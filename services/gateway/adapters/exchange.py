"""Our own exchange as a venue of the gateway, over the bus: the shell around common/venues/exchange/orders.py.

In: actions that may run. Out: each as its one request (lists: one for each page) and the answer as a result. An account
for each wallet is opened before its first order. The bus asks again under one command id until there is an answer and
the exchange does a command once, so only a request without an answer leaves its outcome open.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

from common.edge import Edge, new_request_id
from common.errors import Refusal
from common.fixed import mul_ceil
from common.messages import (
    Accepted,
    BalancesReport,
    BalancesResult,
    Cancel,
    CancelAnswer,
    CancelOrders,
    CancelResult,
    CancelScope,
    CancelWallet,
    ExchangeOrdersReport,
    ExchangeTrade,
    ExchangeTradesReport,
    GetBalances,
    GetExchangeOrder,
    GetExchangeOrders,
    GetExchangeTrades,
    Message,
    OpenAccount,
    OpenOrdersResult,
    OrderLookup,
    Place,
    PlaceResult,
    PositionsResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Refused,
    Timings,
    TradesResult,
    WalletReady,
)
from common.reasons import Reason
from common.settings import Settings, Wallet
from common.types import ONE, Outcome, RetryClass
from common.venues.capabilities import Capabilities, capabilities_of
from common.venues.exchange.names import VENUE, account_of
from common.venues.exchange.orders import (
    Failure,
    checked_order,
    failure_of,
    not_canceled,
    place_result,
    settled_positions,
    submit_order,
    unknown_place,
    unsent_place,
    venue_order,
)
from common.venues.exchange.user import own_fills
from common.venues.plain import PlainOrder, local_id
from services.gateway.port import Adapter, Health, Prepared

OWNER: Final = "exchange"
CANCELS_MAX: Final = 1000
TRADES_PER_PAGE: Final = 1000
READS_MAX: Final = 3
"""Positions are read again when balances moved in between, this often."""
ATTEMPTS_MAX: Final = 10_000
"""Actions whose refusals are remembered; a forgotten one gets the known refusal once more."""
RETRY_S: Final = 1.0
HEALTH_TIMEOUT_S: Final = 2.0
NOBODYS_ID: Final = "nobody"
LOST: Final = "RESET: the answer was thrown away"
NO_WALLET: Final = "there is no wallet {name!r} at the exchange"

AnswerT = TypeVar("AnswerT", bound=Message)


class Bus(Protocol):
    """What the adapter needs of the bus: an Edge, or the Face of a short-lived process (visitors.py)."""

    @property
    def settings(self) -> Settings: ...

    @property
    def counters(self) -> Counter[str]: ...

    @property
    def log(self) -> Any: ...

    async def request(self, owner: str, body: Message, *, timeout_s: float = 5.0, cancel: bool = False) -> Message: ...

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> object: ...


class NoAnswer(Exception):
    """The exchange did not answer, or not what was asked. Never leaves this file."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure[2])
        self.failure = failure


class ExchangeAdapter:
    """Every wallet we have at our own exchange. `tap` (tests, the conformance kit): True throws the answer away."""

    def __init__(
        self,
        edge: Bus,
        wallets: Sequence[Wallet],
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        tap: Callable[[str], bool] | None = None,
    ) -> None:
        self._edge = edge
        self._tap = tap
        self._wallets = {wallet.name: account_of(wallet.name) for wallet in wallets}
        self._wall_ns = wall_ns
        self._timeout_s = edge.settings.gateway.request_timeout_ms / 1000
        self._grant = edge.settings.exchange.grant_cash * ONE
        self._trades_max = edge.settings.exchange.trades_per_account_max
        self._opened: set[str] = set()
        self._attempts: OrderedDict[str, int] = OrderedDict()
        """By action: how often the exchange refused it for now. The next attempt is another command."""

    @property
    def venue(self) -> str:
        return VENUE

    @property
    def capabilities(self) -> Capabilities:
        return capabilities_of(VENUE)

    def wallets(self) -> Sequence[WalletReady]:
        return [WalletReady(VENUE, name, account, account, 0, 0, "") for name, account in self._wallets.items()]

    async def start(self) -> None:
        """The accounts are opened as soon as the exchange is there; nobody waits for it."""
        self._edge.spawn(self._open_accounts(), "exchange-accounts")

    async def close(self) -> None:
        """Nothing is open but the bus."""

    async def health(self) -> Health:
        """Whether the exchange answers and has our account."""
        account = next(iter(self._wallets.values()))
        try:
            report = await self._asked(GetBalances(new_request_id(), account), BalancesReport, HEALTH_TIMEOUT_S)
        except NoAnswer as problem:
            return Health(False, str(problem))
        return Health(report.known, "" if report.known else f"the account {account} is not open yet")

    async def probe(self) -> PlaceResult | CancelResult:
        wallet = next(iter(self._wallets))
        return await self.cancel(Cancel("probe", VENUE, wallet, [NOBODYS_ID]), self._wall_ns())

    # --- accounts ---

    async def _open_accounts(self) -> None:
        for account in self._wallets.values():
            while account not in self._opened:
                try:
                    await self._ensure(account, self._timeout_s)
                except NoAnswer as problem:
                    self._edge.counters["exchange_accounts_not_open"] += 1
                    self._edge.log.warning("exchange_account_not_open", account=account, text=str(problem))
                    await asyncio.sleep(RETRY_S)

    async def _ensure(self, account: str, timeout_s: float) -> None:
        """An account that exists is left as it is, with what it holds. Raises NoAnswer."""
        if account not in self._opened:
            await self._asked(OpenAccount(new_request_id(), account, self._grant), Accepted, timeout_s)
            self._opened.add(account)

    # --- places ---

    def prepare(self, place: Place) -> Prepared:
        if place.wallet not in self._wallets:
            raise Refusal(Reason.WALLET_NOT_READY, NO_WALLET.format(name=place.wallet[:40]), "wallet")
        order = checked_order(place)
        return Prepared(place, order.post_only, mul_ceil(order.price, order.size), order)

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        """The bus asks again only until the order's deadline: later it must not be sent."""
        place, order = prepared.place, prepared.payload
        assert isinstance(order, PlainOrder)
        account = self._wallets[place.wallet]
        try:
            await self._ensure(account, self._left_s(place))
        except NoAnswer as problem:
            code, text = Reason.VENUE_UNAVAILABLE, f"the account {account} is not open: {problem}"
            return unsent_place(place, code, text, Timings(received_ns), resent=resent)
        sent_ns, left_s = self._wall_ns(), self._left_s(place)
        if left_s <= 0:
            text = "its deadline passed"
            return unsent_place(place, Reason.DEADLINE_PASSED, text, Timings(received_ns), resent=resent)
        attempt = self._attempts.get(place.action_id, 0)
        try:
            answer = await self._edge.request(OWNER, submit_order(place, order, attempt), timeout_s=left_s)
        except TimeoutError as error:
            return unknown_place(place, str(error), Timings(received_ns, sent_ns, sent_ns))
        if self._is_lost("place"):
            return unknown_place(place, LOST, Timings(received_ns, sent_ns, sent_ns))
        if isinstance(answer, Refused) and answer.code is Reason.UNKNOWN_ACCOUNT:
            self._opened.discard(account)  # the exchange began anew: it is opened before the next order
        answered_ns = self._wall_ns()
        result = place_result(place, answer, Timings(received_ns, sent_ns, sent_ns, answered_ns, answered_ns))
        if result.retry is RetryClass.AFTER:
            self._note_attempt(place.action_id, attempt + 1)
        return result

    def _note_attempt(self, action_id: str, attempt: int) -> None:
        """The exchange answers a known command as before: what it refused for now must be asked anew."""
        self._attempts[action_id] = attempt
        if len(self._attempts) > ATTEMPTS_MAX:
            self._attempts.popitem(last=False)

    async def place_batch(self, batch: Sequence[Prepared], received_ns: int) -> list[PlaceResult]:
        """The exchange takes orders one by one; together they cost one turn of the bus."""
        return list(await asyncio.gather(*(self.place(row, received_ns, resent=False) for row in batch)))

    def _left_s(self, place: Place) -> float:
        return min(self._timeout_s, (place.deadline_ns - self._wall_ns()) / 1e9)

    # --- cancels ---

    async def cancel(self, action: Cancel, received_ns: int) -> CancelResult:
        ids = list(dict.fromkeys(action.venue_order_ids))
        account = self._wallets.get(action.wallet, "")
        requests = [
            CancelOrders(new_request_id(), account, ids[start : start + CANCELS_MAX])
            for start in range(0, len(ids), CANCELS_MAX)
        ]
        return await self._cancelled(action, requests, received_ns)

    async def cancel_wallet(self, action: CancelWallet, received_ns: int) -> CancelResult:
        account = self._wallets.get(action.wallet, "")
        scope = CancelScope(new_request_id(), account, local_id(action.condition_id), local_id(action.token_id))
        return await self._cancelled(action, [scope], received_ns)

    async def _cancelled(
        self, action: Cancel | CancelWallet, requests: Sequence[Message], received_ns: int
    ) -> CancelResult:
        """DONE only when every part was answered. A cancel changes nothing twice, so each is asked under a new id."""
        if action.wallet not in self._wallets:
            text = NO_WALLET.format(name=action.wallet[:40])
            return _not_cancelled(action, (Outcome.REFUSED, Reason.WALLET_NOT_READY, text), [], Timings(received_ns))
        sent_ns = self._wall_ns()
        answers: list[CancelAnswer] = []
        failure: Failure | None = None
        for request in requests:
            try:
                answers.append(await self._asked(request, CancelAnswer))
            except NoAnswer as problem:
                failure = problem.failure
                break
        answered_ns = 0 if failure is not None and not answers else self._wall_ns()
        timings = Timings(received_ns, sent_ns, sent_ns, answered_ns, answered_ns)
        if failure is not None:
            return _not_cancelled(action, failure, answers, timings)
        canceled = [order_id for answer in answers for order_id in answer.canceled]
        return CancelResult(action.action_id, Outcome.DONE, Reason.OK, "", canceled, not_canceled(answers), timings)

    # --- questions ---

    async def look_up(self, action: QueryOrder) -> OrderLookup:
        asked_ns = self._wall_ns()
        try:
            account = self._account(action.wallet)
            report = await self._asked(GetExchangeOrder(new_request_id(), action.venue_order_id), ExchangeOrdersReport)
        except NoAnswer as problem:
            return OrderLookup(action.action_id, action.venue_order_id, *problem.failure, asked_ns)
        order = next((row for row in report.orders if row.account == account), None)
        if order is None:
            text = "the exchange does not have this order"
            return OrderLookup(
                action.action_id, action.venue_order_id, Outcome.DONE, Reason.ORDER_NOT_FOUND, text, asked_ns
            )
        return OrderLookup(
            action.action_id, action.venue_order_id, Outcome.DONE, Reason.OK, "", asked_ns, True, venue_order(order)
        )

    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult:
        asked_ns = self._wall_ns()
        try:
            account = self._account(action.wallet)
            report = await self._asked(GetExchangeOrders(new_request_id(), account), ExchangeOrdersReport)
        except NoAnswer as problem:
            return OpenOrdersResult(action.action_id, *problem.failure, asked_ns, False, [])
        orders = [venue_order(order) for order in report.orders]
        return OpenOrdersResult(action.action_id, Outcome.DONE, Reason.OK, "", asked_ns, True, orders)

    async def trades(self, action: QueryTrades) -> TradesResult:
        asked_ns = self._wall_ns()
        try:
            account = self._account(action.wallet)
            trades = await self._trades(account, action.after_ns)
        except NoAnswer as problem:
            return TradesResult(action.action_id, *problem.failure, asked_ns, False, [])
        fills = [fill for trade in trades for fill in own_fills(trade, account, action.wallet)]
        complete = len(trades) < self._trades_max
        text = "" if complete else f"the exchange keeps {self._trades_max} trades of an account: older ones are gone"
        return TradesResult(action.action_id, Outcome.DONE, Reason.OK, text, asked_ns, complete, fills)

    async def positions(self, action: QueryPositions) -> PositionsResult:
        """Balances without what is on its way to the chain; read again when they moved meanwhile."""
        asked_ns = self._wall_ns()
        try:
            account = self._account(action.wallet)
            before = await self._balances(account)
            for _ in range(READS_MAX):
                trades = await self._trades(account, 0)
                after = await self._balances(account)
                if after.tokens == before.tokens:
                    held = settled_positions(after, trades)
                    return PositionsResult(action.action_id, Outcome.DONE, Reason.OK, "", asked_ns, True, held)
                before = after
        except NoAnswer as problem:
            return PositionsResult(action.action_id, *problem.failure, asked_ns, False, [])
        text = "the account traded while its balances were read"
        code = Reason.VENUE_UNKNOWN_OUTCOME
        return PositionsResult(action.action_id, Outcome.UNKNOWN, code, text, asked_ns, False, [])

    async def balances(self, action: QueryBalances) -> BalancesResult:
        asked_ns = self._wall_ns()
        try:
            report = await self._balances(self._account(action.wallet))
        except NoAnswer as problem:
            return BalancesResult(action.action_id, *problem.failure, asked_ns)
        return BalancesResult(action.action_id, Outcome.DONE, Reason.OK, "", asked_ns, report.cash, report.cash)

    async def _balances(self, account: str) -> BalancesReport:
        report = await self._asked(GetBalances(new_request_id(), account), BalancesReport)
        if not report.known:
            text = f"the account {account} is not open yet"
            raise NoAnswer((Outcome.UNKNOWN, Reason.UNKNOWN_ACCOUNT, text))
        return report

    async def _trades(self, account: str, after_ns: int) -> list[ExchangeTrade]:
        """Newest first: what is traded meanwhile moves known trades to later pages, so they come twice and none is
        missed."""
        found: dict[str, ExchangeTrade] = {}
        offset, more = 0, True
        while more and offset < 2 * self._trades_max:
            query = GetExchangeTrades(
                new_request_id(), account, after_ns=after_ns, offset=offset, limit=TRADES_PER_PAGE
            )
            report = await self._asked(query, ExchangeTradesReport)
            for trade in report.trades:
                found.setdefault(trade.trade_id, trade)
            offset, more = offset + len(report.trades), report.more
        return list(found.values())

    # --- the bus ---

    def _account(self, wallet: str) -> str:
        account = self._wallets.get(wallet)
        if account is None:
            text = NO_WALLET.format(name=wallet[:40])
            raise NoAnswer((Outcome.REFUSED, Reason.WALLET_NOT_READY, text))
        return account

    async def _asked(self, body: Message, kind: type[AnswerT], timeout_s: float = 0.0) -> AnswerT:
        """Raises NoAnswer with the outcome for the asker: without an answer it is UNKNOWN."""
        try:
            answer = await self._edge.request(OWNER, body, timeout_s=timeout_s or self._timeout_s)
        except TimeoutError as error:
            raise NoAnswer((Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE, str(error))) from None
        if kind is not Accepted and self._is_lost("cancel" if kind is CancelAnswer else "query"):
            raise NoAnswer((Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE, LOST))
        if not isinstance(answer, kind):
            raise NoAnswer(failure_of(answer))
        return answer

    def _is_lost(self, kind: str) -> bool:
        return self._tap is not None and self._tap(kind)


def _not_cancelled(
    action: Cancel | CancelWallet, failure: Failure, answers: Sequence[CancelAnswer], timings: Timings
) -> CancelResult:
    """Cancels may always be repeated."""
    outcome, code, text = failure
    canceled = [order_id for answer in answers for order_id in answer.canceled]
    return CancelResult(
        action.action_id,
        outcome,
        code,
        text,
        canceled,
        not_canceled(answers),
        timings,
        RetryClass.NEVER if outcome is Outcome.REFUSED else RetryClass.AFTER,
    )


def open_exchange(edge: Edge, settings: Settings) -> Adapter | None:
    """The adapter for the wallets of our own exchange; None when there are none."""
    wallets = [wallet for wallet in settings.wallets if wallet.venue == VENUE]
    return ExchangeAdapter(edge, wallets) if wallets else None
