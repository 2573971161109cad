"""The exchange heart's pure half: commands in, one answer and canonical events out (common/effects.py, Core).

Numbered pipeline of an order: 1 route it to its market, 2 judge it by itself, 3 plan its matches, 4 judge it against
book and balance, 5 match and settle, 6 rest or kill the rest, 7 emit. Up to 4 nothing has changed. Every command is
answered once; a repeat of its id gets the same answer and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import msgspec

from common.effects import Effect, Log, Now, Origin, Reply
from common.errors import Refusal
from common.messages import (
    Accepted,
    CancelAnswer,
    CancelOrders,
    CancelScope,
    Configured,
    Deposit,
    MarketOpened,
    Message,
    OpenAccount,
    OpenMarket,
    OrderAnswer,
    PlanSettlement,
    QuoteLadder,
    Refused,
    SetTick,
    SubmitOrder,
    TickChanged,
    TimerFired,
)
from common.reasons import Reason
from common.types import ONE, Side, TimeInForce
from services.exchange import admission
from services.exchange.accounts import CASH, Account
from services.exchange.engine import Engine, ExchangeSettings
from services.exchange.execution import MARKET, Step
from services.exchange.idempotency import Answer
from services.exchange.ladder import Order
from services.exchange.queries import QUERIES, answer_query, open_orders
from services.exchange.quoting import plan_quotes
from services.exchange.settlement import plan_of
from services.exchange.state import Memory, dump_state, load_state
from services.exchange.whistle import Match, Whistle

ACCOUNTS_MAX = 100_000
BALANCE_MAX = 10**18
"""Largest balance of one asset and account: a trillion, well inside 64 bits."""
CANCELS_MAX = 1000

NOT_FOUND = "Order not found or already canceled"
ALREADY_DONE = "already canceled or matched"


class ExchangeCore:
    """State of our own exchange and the moves on it."""

    queries: frozenset[type[Message]] = QUERIES
    own: frozenset[type[Message]] = frozenset({Configured, TimerFired})

    def __init__(self) -> None:
        self.engine = Engine()
        self.memory = Memory()
        self._commands: dict[type[Message], Callable[..., Answer]] = {
            OpenMarket: self._open_market,
            OpenAccount: self._open_account,
            Deposit: self._deposit,
            SetTick: self._set_tick,
            SubmitOrder: self._submit,
            CancelOrders: self._cancel_orders,
            CancelScope: self._cancel_scope,
            QuoteLadder: self._quote,
            PlanSettlement: self._plan_settlement,
        }

    # --- the Core protocol ---

    def handle(self, message: Message, origin: Origin, now: Now) -> list[Effect]:
        counters = self.engine.counters
        counters.seed = counters.seed or now.wall_ns
        counters.wall_ns, counters.mono_ns = now
        step = Step(now.wall_ns, now.mono_ns)
        self.engine.expire(step)
        self.engine.settle(step)
        answer = self._answer(message, step)
        effects = step.effects(counters)
        if answer is not None:
            effects.append(Reply(origin.sender, answer))
        return effects

    def query(self, message: Message, now: Now) -> list[Message]:
        return answer_query(self.engine, message)

    def snapshot(self, topic: str, now: Now) -> list[Message]:
        """All markets, then all books; account events have no state to show (queries do)."""
        if topic != MARKET:
            return []
        whistles = self.engine.router.by_condition.values()
        opened: list[Message] = [MarketOpened(whistle.market) for whistle in whistles]
        return opened + [whistle.state(now.wall_ns) for whistle in whistles]

    def due_ns(self) -> int | None:
        """The next settlement stage, or the next expiry translated to the monotonic clock by the last step's clocks."""
        counters = self.engine.counters
        stage, expiry = self.engine.trades.timetable.next_ns(), self.engine.expiries.next_ns()
        dues = [] if stage is None else [stage]
        if expiry is not None:
            dues.append(counters.mono_ns + max(0, expiry - counters.wall_ns))
        return min(dues, default=None)

    def outstanding(self) -> list[Effect]:
        return []

    def missing(self) -> str:
        return ""

    def counters(self) -> dict[str, int]:
        engine, memory = self.engine, self.memory
        return {
            "markets": len(engine.router.by_condition),
            "accounts": len(engine.accounts.by_name),
            "open_orders": sum(account.open_count for account in engine.accounts.by_name.values()),
            "trades": engine.counters.trades,
            "stages_pending": len(engine.trades.timetable.entries),
            "account_seq": engine.counters.account_seq,
            "answers_kept": len(memory.answers),
            "order_ids_used": len(memory.used_ids),
            "fees_micros": engine.accounts.pots.fees,
            "rounding_micros": engine.accounts.pots.rounding,
        }

    def halted(self) -> str | None:
        return None

    def wind_down(self, why: str, dropped: list[Effect]) -> None:
        """Books without a journal are worth nothing: the process ends at once."""

    def dump(self) -> bytes:
        return dump_state(self.engine, self.memory)

    def load(self, state: bytes) -> None:
        self.engine, self.memory = load_state(state)

    def state_hash(self) -> str:
        return blake2b(self.dump(), digest_size=32).hexdigest()

    # --- answers ---

    def _answer(self, message: Message, step: Step) -> Answer | None:
        if isinstance(message, TimerFired):
            return None
        if isinstance(message, Configured):
            self.engine.settings = _settings_decoder.decode(message.settings).exchange
            return None
        command = self._commands.get(type(message))
        if command is None:
            text = f"the exchange takes no {type(message).__name__}"
            return Refused(getattr(message, "command_id", ""), Reason.UNKNOWN_MESSAGE, text)
        command_id: str = message.command_id  # type: ignore[attr-defined]
        if not 0 < len(command_id) <= admission.ID_LENGTH_MAX:
            return Refused(command_id[: admission.ID_LENGTH_MAX], Reason.BAD_ID, "a command needs an id", "command_id")
        return self._once(command, message, command_id, step)

    def _once(self, command: Callable[..., Answer], message: Message, command_id: str, step: Step) -> Answer:
        """The first answer to this command id; of ladders only the last of each market is remembered."""
        if isinstance(message, QuoteLadder):
            last_id, last = self.memory.quotes.get(message.condition_id, ("", None))
            if last is not None and last_id == command_id:
                return msgspec.structs.replace(last, duplicate=True)
            answer = self._judged(command, message, command_id, step)
            if message.condition_id in self.engine.router.by_condition:
                self.memory.quotes[message.condition_id] = (command_id, answer)
            return answer
        known = self.memory.answers.find(command_id)
        if known is not None:
            return known
        full = self.memory.answers.full(step.mono_ns)
        if full and not isinstance(message, CancelOrders | CancelScope):
            return Refused(command_id, Reason.OVERLOADED, "too many commands in ten minutes: ask again later")
        answer = self._judged(command, message, command_id, step)
        if not full:
            self.memory.answers.keep(command_id, step.mono_ns, answer)
        return answer

    def _judged(self, command: Callable[..., Answer], message: Message, command_id: str, step: Step) -> Answer:
        try:
            return command(message, step)
        except Refusal as refusal:
            return Refused(command_id, refusal.code, refusal.message, refusal.field)

    # --- markets and accounts ---

    def _open_market(self, message: OpenMarket, step: Step) -> Answer:
        if self.engine.router.open(message.market) is not None:
            step.opened.append(message.market)
            step.log.append(Log("market_opened", {"condition_id": message.market.condition_id}))
        return Accepted(message.command_id)

    def _open_account(self, message: OpenAccount, step: Step) -> Answer:
        accounts = self.engine.accounts
        if message.account not in accounts.by_name:
            if not 0 < len(message.account) <= admission.ID_LENGTH_MAX:
                raise Refusal(Reason.BAD_ID, "an account needs a name", "account")
            if not 0 <= message.cash <= BALANCE_MAX:
                raise Refusal(Reason.BAD_NUMBER, "the first deposit is out of range", "cash")
            if len(accounts.by_name) >= ACCOUNTS_MAX:
                raise Refusal(Reason.OVERLOADED, f"{ACCOUNTS_MAX} accounts are open", "account")
            accounts.open(message.account, message.cash, message.liquidity)
            step.log.append(Log("account_opened", {"account": message.account, "cash": message.cash}))
        return Accepted(message.command_id)

    def _deposit(self, message: Deposit, step: Step) -> Answer:
        account = self._account(message.account)
        if message.asset != CASH:
            self.engine.router.token(message.asset, "asset")
        if message.amount <= 0 or account.balance(message.asset) + message.amount > BALANCE_MAX:
            raise Refusal(Reason.BAD_NUMBER, "the amount is out of range", "amount")
        self.engine.accounts.deposit(account, message.asset, message.amount)
        return Accepted(message.command_id)

    def _set_tick(self, message: SetTick, step: Step) -> Answer:
        whistle = self.engine.router.condition(message.condition_id)
        if message.tick <= 0 or ONE % message.tick or message.tick > ONE // 2:
            raise Refusal(Reason.BAD_TICK, f"a tick of {message.tick} micros does not divide 1", "tick")
        old = whistle.market.tick
        if message.tick != old:
            for order in whistle.off_grid(message.tick):
                self.engine.cancel(order, "tick size changed", step)
            whistle.market = msgspec.structs.replace(whistle.market, tick=message.tick)
            step.ticks.append(TickChanged(message.condition_id, old, message.tick, step.at_ns))
        return Accepted(message.command_id)

    def _plan_settlement(self, message: PlanSettlement, step: Step) -> Answer:
        self.engine.trades.plan = plan_of(message)
        step.log.append(Log("settlement_planned", {"life": " ".join(message.life), "times": message.times}))
        return Accepted(message.command_id)

    def _account(self, name: str) -> Account:
        account = self.engine.accounts.by_name.get(name)
        if account is None:
            raise Refusal(Reason.UNKNOWN_ACCOUNT, f"account {name[:64]!r} is not open", "account")
        return account

    # --- orders ---

    def _submit(self, message: SubmitOrder, step: Step) -> Answer:
        account = self._account(message.account)
        whistle, outcome = self.engine.router.token(message.token_id)
        self._check_id(message)
        admission.check_terms(message, whistle.market, step.at_ns, liquidity=account.liquidity)
        self._check_capacity(message, account)
        order = _new_order(message, whistle, outcome, step.at_ns)
        matches = whistle.plan(order.book_side, order.book_price, order.size)
        admission.check_matching(message, matches)
        admission.check_funds(account, order, matches, whistle.market)
        order.sequence = self.engine.counters.next_sequence()
        self.engine.forget(order.venue_order_id)
        self.memory.used_ids.add(order.venue_order_id)
        killed = _killed_at_once(order, matches)
        if killed is not None:
            self.engine.kill(order, killed[1], whistle, step)
            return Refused(message.command_id, killed[0], killed[1], "tif")
        return self._executed(message, order, matches, whistle, step)

    def _executed(
        self, message: SubmitOrder, order: Order, matches: list[Match], whistle: Whistle, step: Step
    ) -> OrderAnswer:
        cash, shares, trade_ids = self.engine.execute(order, matches, whistle, step)
        making, taking = (cash, shares) if order.side is Side.BUY else (shares, cash)
        status = "matched" if trade_ids else "live"
        return OrderAnswer(message.command_id, order.venue_order_id, status, making, taking, trade_ids)

    def _check_id(self, message: SubmitOrder) -> None:
        order_id = message.venue_order_id
        if not 0 < len(order_id) <= admission.ID_LENGTH_MAX:
            raise Refusal(Reason.BAD_ID, "Invalid orderID", "venue_order_id")
        known = self.engine.orders.get(order_id)
        if message.reuse and (known is None or (not known.resting and known.account == message.account)):
            return
        if known is not None or order_id in self.memory.used_ids:
            raise Refusal(Reason.DUPLICATE_ORDER, f"order {order_id} is invalid. Duplicated.", "venue_order_id")

    def _check_capacity(self, message: SubmitOrder, account: Account) -> None:
        keys = self.engine.settings
        if len(self.memory.used_ids) >= keys.orders_max:
            raise Refusal(Reason.IDEMPOTENCY_FULL, f"{keys.orders_max} order ids are used", "venue_order_id")
        if message.tif.rests and account.open_count >= keys.open_orders_per_account_max:
            text = f"{keys.open_orders_per_account_max} orders of the account are open"
            raise Refusal(Reason.TOO_MANY_ORDERS, text, "account")
        if self.engine.trades.full:
            raise Refusal(Reason.OVERLOADED, "too many trades wait for settlement: ask again later")

    def _cancel_orders(self, message: CancelOrders, step: Step) -> Answer:
        self._account(message.account)
        if len(message.venue_order_ids) > CANCELS_MAX:
            text = f"Too many orders in payload, max allowed: {CANCELS_MAX}"
            raise Refusal(Reason.BAD_REQUEST, text, "venue_order_ids")
        canceled: list[str] = []
        not_canceled: dict[str, str] = {}
        for order_id in dict.fromkeys(message.venue_order_ids):
            order = self.engine.orders.get(order_id)
            if order is not None and order.account != message.account:
                not_canceled[order_id] = NOT_FOUND
            elif order is not None and order.resting:
                self.engine.cancel(order, "", step)
                canceled.append(order_id)
            else:
                not_canceled[order_id] = ALREADY_DONE if order_id in self.memory.used_ids else NOT_FOUND
        return CancelAnswer(message.command_id, canceled, not_canceled)

    def _cancel_scope(self, message: CancelScope, step: Step) -> Answer:
        self._account(message.account)
        canceled: list[str] = []
        for order in open_orders(self.engine, message.account, message.condition_id, message.token_id):
            if message.owner in ("", order.owner):
                self.engine.cancel(order, "", step)
                canceled.append(order.venue_order_id)
        return CancelAnswer(message.command_id, canceled, {})

    def _quote(self, message: QuoteLadder, step: Step) -> Answer:
        account = self._account(message.account)
        if not account.liquidity:
            raise Refusal(Reason.BAD_REQUEST, "only a liquidity account quotes ladders", "account")
        whistle = self.engine.router.condition(message.condition_id)
        if self.engine.trades.full:
            raise Refusal(Reason.OVERLOADED, "too many trades wait for settlement: ask again later")
        plan = plan_quotes(message, whistle, account, self.engine.settings.open_orders_per_account_max)
        self.engine.apply_quotes(plan, account, whistle, step)
        return Accepted(message.command_id)


def _new_order(message: SubmitOrder, whistle: Whistle, outcome: int, at_ns: int) -> Order:
    """The order of a submit; its arrival number is given when it is admitted."""
    return Order(
        0,
        message.venue_order_id,
        message.account,
        message.owner,
        whistle.market.condition_id,
        outcome,
        message.side,
        message.price,
        message.size,
        message.tif,
        message.post_only,
        message.expire_ns,
        message.expiration,
        at_ns,
        at_ns,
    )


def _killed_at_once(order: Order, matches: list[Match]) -> tuple[Reason, str] | None:
    """Why an admitted FOK or FAK order cannot match now; None when it can or may rest."""
    if order.tif is TimeInForce.FOK and sum(match.size for match in matches) < order.size:
        return Reason.FOK_NOT_FILLED, admission.FOK_KILLED
    if order.tif is TimeInForce.FAK and not matches:
        return Reason.FAK_NOT_FILLED, admission.FAK_KILLED
    return None


class _Settings(msgspec.Struct):
    """The part of all settings that the exchange reads."""

    exchange: ExchangeSettings = ExchangeSettings()


_settings_decoder = msgspec.json.Decoder(_Settings)
