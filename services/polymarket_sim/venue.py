"""What the venue does with an authenticated request: asks the exchange, and says it in the venue's words.

In: parsed requests and who sent them. Out: payloads, or Denied. The exchange holds every order, trade and balance;
this object holds replicas and switches that a restart rebuilds, and the registry of keys, which is a file.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import uuid4

from common.errors import Refusal
from common.messages import (
    Accepted,
    BalancesReport,
    CancelAnswer,
    CancelOrders,
    CancelScope,
    ExchangeOrder,
    ExchangeOrdersReport,
    ExchangeTrade,
    ExchangeTradesReport,
    GetBalances,
    GetExchangeOrder,
    GetExchangeOrders,
    GetExchangeTrades,
    Message,
    OpenAccount,
    OrderAnswer,
    PlanSettlement,
    Refused,
)
from common.reasons import Reason
from common.types import ONE, Settlement
from common.venues.polymarket.limits import DEFAULT_TIER
from common.venues.polymarket.orders import PostedOrder
from common.venues.polymarket.wire import BookObject, OrderReply
from services.polymarket_sim.account_faults import check_account
from services.polymarket_sim.books import Books
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.faults import FaultSwitch
from services.polymarket_sim.heartbeats import Heartbeats
from services.polymarket_sim.keys import ApiKey, KeyName, derive_key
from services.polymarket_sim.modes import Phase, VenueModes, mode_refusal
from services.polymarket_sim.postings import Entry
from services.polymarket_sim.quotas import Quotas
from services.polymarket_sim.registry import KeyRegistry
from services.polymarket_sim.request_log import RequestLog
from services.polymarket_sim.rest_fault_table import MODES
from services.polymarket_sim.translate import (
    check_posted,
    merged_cancels,
    order_reply,
    refused_order,
    submit_order,
)
from services.polymarket_sim.wallets import account_of, accounts_of

Ask = Callable[[Message], Awaitable[Message]]
"""Ask the exchange; raises TimeoutError."""
AnswerT = TypeVar("AnswerT", bound=Message)

TRADES_PER_ASK = 1000
ACCOUNTS_REMEMBERED = 100_000
FRESH_MAX = 10_000
LIVES = {
    "FAILED": [Settlement.FAILED],
    "MINED_FAILED": [Settlement.MINED, Settlement.RETRYING, Settlement.FAILED],
    "RETRYING": [Settlement.RETRYING, Settlement.MINED, Settlement.CONFIRMED],
    "RETRYING_FAILED": [Settlement.RETRYING, Settlement.FAILED],
}
"""The stages after MATCHED, by the kind of the fault `settlement`."""
RETRY_S = 1.0
NOT_READY = "service not ready"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the settings say about this venue."""

    chain_id: int
    accept_v1: bool
    grant_cash: int
    clock_window_s: int
    server_secret: bytes = field(repr=False)
    enforce_limits: bool = False
    limits_tier: str = DEFAULT_TIER


class Venue:
    """One simulated venue."""

    def __init__(
        self, terms: Terms, registry: KeyRegistry, ask: Ask, wall_ns: Callable[[], int], mono_ns: Callable[[], int]
    ) -> None:
        self.terms = terms
        self.registry = registry
        self.wall_ns = wall_ns
        self.mono_ns = mono_ns
        self.books = Books()
        self.faults = FaultSwitch()
        self.modes = VenueModes()
        self.quotas = Quotas(enforce=terms.enforce_limits, tier=terms.limits_tier)
        self.log = RequestLog()
        self.stale_books: dict[str, BookObject] = {}
        """What the fault `stale_books` shows: the books of the moment it was switched on."""
        self._continuous = asyncio.Event()
        self.account_synced = False
        self._ask = ask
        self._heartbeats = Heartbeats(registry.armed_keys(), mono_ns())
        self.beaten = asyncio.Event()
        self._opened: set[str] = set()
        self._looked_up: set[str] = set()
        self._fresh: OrderedDict[str, int] = OrderedDict()
        """Orders placed while look-ups lag, and when."""

    @property
    def books_synced(self) -> bool:
        """Whether the replicas hold everything the exchange has said so far."""
        return self._continuous.is_set()

    @books_synced.setter
    def books_synced(self, synced: bool) -> None:
        if synced:
            self._continuous.set()
        else:
            self._continuous.clear()

    async def until_books_synced(self) -> None:
        await self._continuous.wait()

    @property
    def ready(self) -> bool:
        """Whether both streams of the exchange are continuous."""
        return self.books_synced and self.account_synced

    @property
    def now_s(self) -> int:
        return self.wall_ns() // 1_000_000_000

    # ---- mode and limits ----

    def phase(self) -> Phase:
        """The mode of the venue now; a fault whose time is over is switched off."""
        fault = self.modes.fault
        phase = self.modes.phase(self.mono_ns())
        if fault and not self.modes.fault:
            self.faults.set(fault, False, {})
        return phase

    def switch_mode(self, fault: str) -> None:
        """A mode was switched on, and ends the one before; or it was switched off."""
        values = self.faults.values(fault)
        if values is not None:
            for other in MODES:
                if other != fault:
                    self.faults.set(other, False, {})
            self.modes.begin(fault, values, self.mono_ns())
        elif self.modes.fault == fault:
            self.modes.end()

    def switch_limits(self) -> None:
        """The limits as the fault says, or as the settings do."""
        values = self.faults.values("rate_limits")
        if values is not None:
            self.quotas.configure(enforce=bool(values["enforce"]), tier=str(values["tier"]))
        else:
            self.quotas.configure(enforce=self.terms.enforce_limits, tier=self.terms.limits_tier)

    def check_mode(self, endpoint: str, *, post_only: bool = False) -> None:
        """Raises Denied when the venue's mode refuses this call."""
        refusal = mode_refusal(self.phase(), endpoint, self.mono_ns(), post_only=post_only)
        if refusal is not None:
            self.faults.use(self.modes.fault)
            raise refusal

    def admit(self, who: ApiKey, endpoint: str, cost: int) -> dict[str, str]:
        """Charge an order call; the headers of its answer. Raises Denied when it is too much."""
        return self.quotas.admit(who.name.address, endpoint, cost, self.mono_ns(), self.now_s)

    def charge(self, who: ApiKey, endpoint: str, cancelled: int) -> dict[str, str]:
        """Charge what a wide cancel cancelled."""
        return self.quotas.charge(who.name.address, endpoint, cancelled, self.mono_ns(), self.now_s)

    # ---- keys and accounts ----

    async def create_key(self, address: str, nonce: int) -> ApiKey:
        await self.ensure_account(account_of(address))
        try:
            name = self.registry.create(address, nonce)
        except Refusal:
            raise Denied(400, "Could not create api key") from None
        return derive_key(self.terms.server_secret, name)

    async def derived_key(self, address: str, nonce: int) -> ApiKey:
        entry = self.registry.find(address, nonce)
        if entry is None or not entry.live:
            raise Denied(400, "Could not derive api key!")
        await self.ensure_account(account_of(address))
        return derive_key(self.terms.server_secret, entry.name)

    def key_texts(self, address: str) -> list[str]:
        return [derive_key(self.terms.server_secret, name).key for name in self.registry.live_keys(address)]

    def delete_key(self, who: ApiKey) -> None:
        self._heartbeats.disarm(who.name)
        self.registry.delete(who.name)

    async def ensure_account(self, account: str) -> None:
        """A new address gets its account and the grant; the exchange does it once, however often we ask."""
        if account in self._opened:
            return
        grant = self.terms.grant_cash * ONE
        await self._asked(OpenAccount(_new_id(), account, grant), Accepted)
        if len(self._opened) >= ACCOUNTS_REMEMBERED:
            self.forget_accounts()
        self._opened.add(account)

    def forget_accounts(self) -> None:
        """What the exchange told us about accounts may no longer hold (it has another life)."""
        self._opened.clear()
        self._looked_up.clear()

    async def accounts(self, who: ApiKey) -> list[str]:
        """The accounts of a key's address: its own, and those of its contract wallets that have been used."""
        signer = who.name.address
        candidates = accounts_of(signer)
        await self.ensure_account(candidates[0])
        if signer not in self._looked_up:
            for account in candidates[1:]:
                if (await self._asked(GetBalances(_new_id(), account), BalancesReport)).known:
                    self._opened.add(account)
            self._looked_up.add(signer)
        return [account for account in candidates if account in self._opened]

    # ---- orders ----

    async def place(self, entry: Entry, who: ApiKey, endpoint: str) -> OrderReply:
        """One posted order, judged alone. Raises Denied, or TimeoutError when its fate is unknown."""
        if not self.ready:
            raise Denied(425, NOT_READY)
        if isinstance(entry, Denied):
            raise entry
        posted, market, order_id = entry
        if market is None:
            raise Denied(400, "Invalid token id")
        terms = self.terms
        check_account(self.faults, posted, terms.chain_id, market.neg_risk)
        check_posted(posted, who, market, chain_id=terms.chain_id, accept_v1=terms.accept_v1, wall_ns=self.wall_ns())
        if self.faults.use_at("duplicate_refusal", endpoint) is not None:
            raise Denied(400, f"order {order_id} is invalid. Duplicated.")
        placed = await self._submit(posted, order_id)
        self._note_fresh(order_id)
        return placed

    async def _submit(self, posted: PostedOrder, order_id: str) -> OrderReply:
        account = account_of(posted.order.maker)
        await self.ensure_account(account)
        reuse = self.faults.is_on("forget_dead_ids")
        answer = await self._ask(submit_order(posted, order_id, _new_id(), reuse=reuse))
        if isinstance(answer, Refused) and answer.code is Reason.UNKNOWN_ACCOUNT:
            self.forget_accounts()
            await self.ensure_account(account)
            answer = await self._ask(submit_order(posted, order_id, _new_id(), reuse=reuse))
        if isinstance(answer, Refused):
            raise refused_order(answer, order_id)
        return order_reply(_expect(answer, OrderAnswer))

    def _note_fresh(self, order_id: str) -> None:
        if self.faults.is_on("lagging_lookups"):
            self._fresh[order_id] = self.mono_ns()
            if len(self._fresh) > FRESH_MAX:
                self._fresh.popitem(last=False)

    def lags(self, order_id: str, *, in_lists: bool = False) -> bool:
        """Whether reads do not show this order yet."""
        values = self.faults.values("lagging_lookups")
        placed_ns = self._fresh.get(order_id)
        if values is None or placed_ns is None or (in_lists and not values["lists"]):
            return False
        if self.mono_ns() - placed_ns >= int(values["ms"]) * 1_000_000:
            return False
        self.faults.use("lagging_lookups")
        return True

    async def cancel_ids(self, who: ApiKey, order_ids: list[str]) -> dict[str, object]:
        answers = [
            await self._asked(CancelOrders(_new_id(), account, order_ids), CancelAnswer)
            for account in await self.accounts(who)
        ]
        return merged_cancels(answers)

    async def cancel_scope(self, who: ApiKey, condition_id: str = "", token_id: str = "") -> dict[str, object]:
        answers = [
            await self._asked(CancelScope(_new_id(), account, condition_id, token_id), CancelAnswer)
            for account in await self.accounts(who)
        ]
        return merged_cancels(answers)

    async def open_orders(self, who: ApiKey, condition_id: str = "", token_id: str = "") -> list[ExchangeOrder]:
        """Resting orders of all accounts of the key's address, oldest first in each."""
        orders: list[ExchangeOrder] = []
        for account in await self.accounts(who):
            ask = GetExchangeOrders(_new_id(), account, condition_id, token_id)
            orders += (await self._asked(ask, ExchangeOrdersReport)).orders
        return orders

    async def order(self, who: ApiKey, order_id: str) -> ExchangeOrder | None:
        """An order of this address in any state."""
        report = await self._asked(GetExchangeOrder(_new_id(), order_id), ExchangeOrdersReport)
        accounts = await self.accounts(who)
        return next((order for order in report.orders if order.account in accounts), None)

    # ---- trades and balances ----

    async def trades(
        self,
        accounts: list[str],
        *,
        offset: int,
        limit: int,
        trade_id: str = "",
        condition_id: str = "",
        token_id: str = "",
        after_ns: int = 0,
        before_ns: int = 0,
    ) -> tuple[list[ExchangeTrade], bool]:
        """Newest first, and whether there are more. Several accounts are merged, a common trade counts once."""

        def query(account: str, start: int, count: int) -> GetExchangeTrades:
            return GetExchangeTrades(
                _new_id(), account, trade_id, condition_id, token_id, after_ns, before_ns, start, count
            )

        if len(accounts) == 1:
            report = await self._asked(query(accounts[0], offset, limit), ExchangeTradesReport)
            return report.trades, report.more
        merged: dict[str, ExchangeTrade] = {}
        for account in accounts:
            start, more = 0, True
            while more:
                report = await self._asked(query(account, start, TRADES_PER_ASK), ExchangeTradesReport)
                merged |= {trade.trade_id: trade for trade in report.trades}
                start, more = start + len(report.trades), report.more
        ordered = sorted(merged.values(), key=lambda trade: (trade.matched_ns, trade.trade_id), reverse=True)
        return ordered[offset : offset + limit], len(ordered) > offset + limit

    async def all_trades(self, account: str) -> list[ExchangeTrade]:
        """The whole kept history of one account, newest first."""
        out: list[ExchangeTrade] = []
        more = True
        while more:
            found, more = await self.trades([account], offset=len(out), limit=TRADES_PER_ASK)
            out += found
        return out

    # ---- settlement ----

    async def plan_settlement(self) -> None:
        """Tell the exchange how coming trades settle: as the fault says, or as usual. Raises TimeoutError."""
        values = self.faults.values("settlement")
        life, times, percent, seed = [], 0, 100, 0
        if values is not None:
            life = LIVES[str(values["kind"])]
            times, percent, seed = int(values["times"]), int(values["percent"]), int(values["seed"])
        await self._asked(PlanSettlement(_new_id(), life, times, percent, seed), Accepted)

    async def settle_as_usual(self) -> None:
        """Faults are off at the start, the exchange's plan may not be: asked until it has heard."""
        while not self.faults.is_on("settlement"):
            try:
                await self.plan_settlement()
            except TimeoutError:
                continue
            return

    def note_settled(self, settlement: Settlement) -> None:
        """Count a trade that settled as the fault wants: at the first stage that no usual life has."""
        values = self.faults.values("settlement")
        if values is not None and settlement is _first_unusual(LIVES[str(values["kind"])]):
            self.faults.strike("settlement")

    async def balances(self, account: str) -> BalancesReport:
        return await self._asked(GetBalances(_new_id(), account), BalancesReport)

    # ---- the dead-man switch ----

    def beat(self, who: ApiKey, given_id: str, *, refuse: bool = False) -> tuple[bool, str]:
        """(accepted, the id the next beat must carry); a fault may want a right id `refuse`d."""
        fresh = str(uuid4())
        if refuse:
            return False, self._heartbeats.expected(who.name) or fresh
        expected = self._heartbeats.beat(who.name, given_id, fresh, self.mono_ns())
        if expected is not None:
            return False, expected
        self.registry.arm(who.name, armed=True)
        self.beaten.set()
        return True, fresh

    async def watch_heartbeats(self) -> None:
        """Cancel all orders of every key whose beats stopped; tried again until the exchange has done it."""
        overdue: list[KeyName] = []
        while True:
            due = self._heartbeats.next_due_ns()
            wait_s = None if due is None else max(0.0, (due - self.mono_ns()) / 1e9)
            if overdue:
                wait_s = RETRY_S if wait_s is None else min(wait_s, RETRY_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.beaten.wait(), wait_s)
            self.beaten.clear()
            overdue += self._heartbeats.expired(self.mono_ns())
            overdue = [name for name in overdue if not await self._cancel_for_silence(name)]

    async def _cancel_for_silence(self, name: KeyName) -> bool:
        """True when nothing is left to do for this key."""
        key = derive_key(self.terms.server_secret, name)
        try:
            for account in await self.accounts(key):
                await self._asked(CancelScope(_new_id(), account, owner=key.key), CancelAnswer)
        except (TimeoutError, Denied):
            return False
        if not self._heartbeats.is_armed(name):
            self.registry.arm(name, armed=False)
        return True

    # ---- the exchange ----

    async def _asked(self, body: Message, kind: type[AnswerT]) -> AnswerT:
        answer = await self._ask(body)
        if isinstance(answer, Refused):
            raise Denied(429 if answer.code is Reason.OVERLOADED else 400, answer.text)
        return _expect(answer, kind)


def _expect(answer: Message, kind: type[AnswerT]) -> AnswerT:
    if not isinstance(answer, kind):
        raise TypeError(f"the exchange answered {type(answer).__name__} where {kind.__name__} belongs")
    return answer


def _first_unusual(life: list[Settlement]) -> Settlement:
    return next(stage for stage in life if stage in (Settlement.RETRYING, Settlement.FAILED))


def _new_id() -> str:
    return uuid4().hex
