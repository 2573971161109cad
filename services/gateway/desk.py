"""One venue's desk: actions in, the adapter's requests out, results back. The shell around core.py and modes.py.

A place is one request; a repeat is one look-up and, only when the venue proved that it does not have the order and
everything still allows it, one more. Every desk has its own queues, budgets and tasks, so a venue that fails or stalls
slows no other. What a venue does never raises here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random

from common.backoff import ExponentialBackoff
from common.edge import Edge
from common.effects import Origin
from common.errors import Refusal
from common.messages import (
    Cancel,
    CancelResult,
    CancelWallet,
    Message,
    Place,
    PlaceBatch,
    PlaceBatchResult,
    PlaceResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Timings,
    VenueModeChanged,
)
from common.reasons import Reason
from common.types import Outcome, RetryClass
from common.venues.capabilities import DuplicateRefused
from services.gateway.actions import (
    Action,
    Conditions,
    Job,
    Kind,
    SingleResult,
    kind_of,
    may_send,
    not_sent_result,
    refused,
    result_without_venue,
)
from services.gateway.core import Admission, Limit, Limiter
from services.gateway.modes import RULES, Mode, VenueModes
from services.gateway.port import Adapter, Health, Prepared

CANCELS_IN_FLIGHT = 32
QUERIES_IN_FLIGHT = 8
CANCELS_WAITING = 10_000
STOP_AGAIN_S = 0.2
"""Between two rounds of the cancel at an orderly end."""
WARM_S = 20.0
"""Idle connections are used this often, so that an order does not pay for a handshake."""
SKEW_WARN_NS = 2_000_000_000
SKEW_MAX_NS = 10_000_000_000


def limits_of(in_flight_max: int, queue_max: int) -> dict[Kind, Limit]:
    return {
        Kind.PLACE: Limit(in_flight_max, queue_max),
        Kind.CANCEL: Limit(CANCELS_IN_FLIGHT, CANCELS_WAITING),
        Kind.QUERY: Limit(QUERIES_IN_FLIGHT, queue_max),
    }


class VenueDesk:
    """Everything of one venue. `tell` puts a message on the results lane; `conditions` of a wallet are the door's."""

    def __init__(
        self,
        edge: Edge,
        adapter: Adapter,
        *,
        tell: Callable[[str, Message], None],
        conditions: Callable[[str], Conditions],
        rng: Random,
        limiter: Limiter | None = None,
        on_change: Callable[[], None] = lambda: None,
        wall_ns: Callable[[], int] = time.time_ns,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        settings = edge.settings.gateway
        self.adapter = adapter
        self.venue = adapter.venue
        self.modes = VenueModes(settings.post_only_s * 1_000_000_000)
        self.trouble = "not answered yet"
        """Why the venue cannot be reached, "" when it can."""
        self.answered = False
        """Whether it was reached at least once."""
        self.skew_ns = 0
        """The venue's clock minus ours, when last asked."""
        self._edge = edge
        self._tell = tell
        self._conditions = conditions
        self._on_change = on_change
        self._wall_ns = wall_ns
        self._mono_ns = mono_ns
        self._backoff = ExponentialBackoff(rng, 0.2, 5.0)
        self._wallets = {ready.wallet for ready in adapter.wallets()}
        self._admission = Admission(
            limits_of(settings.in_flight_max, settings.queue_max),
            limiter,
            self.modes,
            adapter.capabilities.cancel_batch_max,
            adapter.prepare,
            place_batch_max=adapter.capabilities.place_batch_max,
        )
        self._told = Mode.NORMAL
        self._mode_count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._probing = False

    async def run(self) -> None:
        """Keep connections warm and the clock compared, for ever; the first answer makes the venue reached."""
        await self.adapter.start()
        while True:
            self._heard(await self.adapter.health())
            if self.trouble:
                self._edge.counters["venue_unreachable"] += 1
                await asyncio.sleep(self._backoff.next_delay_s())
                continue
            self._edge.counters["venue_answered"] += 1
            self._backoff.reset()
            await asyncio.sleep(WARM_S)

    def _heard(self, health: Health) -> None:
        self.trouble = "" if health.ok else health.text
        self.answered = self.answered or health.ok
        if health.ok and health.clock_ns:
            self.skew_ns = health.clock_ns - self._wall_ns()
            if abs(self.skew_ns) >= SKEW_WARN_NS:
                self._edge.counters["clock_skewed"] += 1
                self._edge.log.warning("clock_skew", venue=self.venue, skew_ms=self.skew_ns // 1_000_000)
        self._on_change()

    @property
    def clock_trouble(self) -> str:
        """Why our clock forbids places: the venue refuses what is signed too far from its time."""
        if abs(self.skew_ns) < SKEW_MAX_NS:
            return ""
        return f"our clock is {-self.skew_ns / 1e9:+.1f} s from the venue's: set it (NTP), 10 s is the limit"

    # --- in ---

    def on_action(self, action: Action, origin: Origin, repeat: bool) -> None:
        if action.wallet not in self._wallets:
            self._refuse_wallet(action, repeat)
            return
        self._admission.accept(action, origin, repeat, self._wall_ns(), self._mono_ns())
        self._flush()
        self._start(kind_of(action))

    def _refuse_wallet(self, action: Action, repeat: bool) -> None:
        text = f"the gateway holds no key of the wallet {action.wallet[:40]!r} of {self.venue}"
        self._tell(action.action_id, refusal_of(action, Reason.WALLET_NOT_READY, text, repeat))

    def announce(self) -> None:
        """Tell the executor (again) which wallets it may pin orders for, and what the venue takes."""
        for ready in self.adapter.wallets():
            self._tell(f"wallet:{self.venue}:{ready.wallet}", ready)
        if self._told is not Mode.NORMAL:
            self._tell_mode()

    def mode_message(self) -> VenueModeChanged:
        reason = self.modes.text or RULES[self.modes.mode].meaning
        return VenueModeChanged(self.venue, self.modes.mode.value, reason, self._wall_ns())

    # --- out ---

    def _start(self, *kinds: Kind) -> None:
        for kind in kinds:
            while jobs := self._admission.take(kind, self._wall_ns(), self._mono_ns()):
                self._edge.spawn(self._run(kind, jobs), jobs[0].action.action_id)
        self._flush()
        if self._timer is not None or self._admission.waits or self.modes.mode is not Mode.NORMAL:
            self._arm()

    def _flush(self) -> None:
        if self._admission.out:
            results, self._admission.out = self._admission.out, []
            for result in results:
                self._tell(result.action_id, result)

    def show_counts(self) -> None:
        """Counters and queue depths for the heartbeat."""
        self._edge.counters.update(self._admission.counters)
        self._admission.counters.clear()
        for name, value in self._admission.depth().items():
            self._edge.counters[f"{self.venue}_{name}"] = value

    def _arm(self) -> None:
        """Look again when time alone changes something: a budget, a deadline, the end of a mode's pause."""
        now = self._mono_ns()
        wake, due = self._admission.wake_ns(self._wall_ns(), now), self.modes.due_ns()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wake or due:
            at = min(wake or due, due or wake)
            self._timer = asyncio.get_running_loop().call_later(max(0.001, (at - now) / 1e9), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self.modes.tick(self._mono_ns()) and not self._probing:
            self._probing = True
            self._edge.spawn(self._probe(), f"probe-{self.venue}")
        self._mode_may_have_changed()
        self._start(*Kind)

    async def _probe(self) -> None:
        """Ask whether the venue serves orders again, with something that changes nothing."""
        self._edge.counters["venue_probes"] += 1
        began = self._mono_ns()
        self._observe(Kind.CANCEL, await self.adapter.probe(), began, maker_only=True)
        self._probing = False
        self._start(*Kind)

    async def _run(self, kind: Kind, jobs: Sequence[Job]) -> None:
        if kind is Kind.PLACE:
            results = await self._placed(jobs)
        else:
            results = [await self._result_of(jobs[0])]
        self._admission.freed(kind)
        for job, result in zip(jobs, results, strict=True):
            self._log(job, result)
            self._admission.done(job, result, self._mono_ns())
        self._start(kind)
        if kind is Kind.PLACE and self._admission.sweeps_wait:
            self._start(Kind.CANCEL)  # it may have waited for this place

    def _log(self, job: Job, result: SingleResult) -> None:
        self._edge.counters["actions_processed"] += 1
        self._edge.counters["errors"] += result.outcome is not Outcome.DONE
        if result.outcome is Outcome.DONE and not job.repeat:
            return  # the executor's journal has it, and the counters; what went wrong is worth a line
        self._edge.log.info(
            "action",
            kind=kind_of(job.action).value,
            venue=self.venue,
            action_id=result.action_id,
            outcome=result.outcome.value,
            code=result.code.value,
            text=result.text,
            repeat=job.repeat,
            took_us=(self._wall_ns() - job.received_ns) // 1000,
        )

    def _observe(self, kind: Kind, result: PlaceResult | CancelResult, began: int, *, maker_only: bool) -> None:
        """What an answer says about the venue itself; its request left at `began`."""
        self.modes.observe(
            result.code,
            result.retry_after_ms,
            result.text,
            self._mono_ns(),
            began=began,
            place=kind is Kind.PLACE,
            maker_only=maker_only,
        )
        self._mode_may_have_changed()

    def _mode_may_have_changed(self) -> None:
        if self.modes.mode is not self._told:
            self._told = self.modes.mode
            self._edge.log.warning("venue_mode", venue=self.venue, mode=self._told.value, text=self.modes.text)
            self._tell_mode()
            self._on_change()

    def _tell_mode(self) -> None:
        message = self.mode_message()
        self._mode_count += 1
        self._tell(f"mode:{self.venue}:{self._mode_count}", message)
        self._edge.publish("venues", message)

    # --- the actions ---

    async def _result_of(self, job: Job) -> SingleResult:
        action = job.action
        match action:
            case Cancel():
                began = self._mono_ns()
                cancelled = await self.adapter.cancel(action, job.received_ns)
                self._observe(Kind.CANCEL, cancelled, began, maker_only=True)
                return cancelled
            case CancelWallet():
                return await self._cancel_wallet(action, job)
            case QueryOrder():
                return await self.adapter.look_up(action)
            case QueryOpenOrders():
                return await self.adapter.open_orders(action)
            case QueryTrades():
                return await self.adapter.trades(action)
            case QueryPositions():
                return await self._positions(action, job)
            case QueryBalances():
                return await self.adapter.balances(action)
        raise TypeError(type(action).__name__)

    async def _cancel_wallet(self, action: CancelWallet, job: Job) -> SingleResult:
        if not self.adapter.capabilities.cancel_wallet:
            return self._unsupported(job, "cancel everything of a wallet with one call: cancel by ids")
        began = self._mono_ns()
        result = await self.adapter.cancel_wallet(action, job.received_ns)
        self._observe(Kind.CANCEL, result, began, maker_only=True)
        return result

    async def _positions(self, action: QueryPositions, job: Job) -> SingleResult:
        if not self.adapter.capabilities.positions:
            return self._unsupported(job, "say what a wallet holds")
        return await self.adapter.positions(action)

    def _unsupported(self, job: Job, what: str) -> SingleResult:
        text = f"{self.venue} cannot {what}"
        return result_without_venue(job.action, Outcome.REFUSED, Reason.UNSUPPORTED, text, job.received_ns)

    async def _placed(self, jobs: Sequence[Job]) -> list[SingleResult]:
        """The legs that may go, as one request; the others have their results already."""
        results: dict[str, SingleResult] = {}
        leaving: list[tuple[Job, Prepared]] = []
        if len(jobs) == 1:
            readied = [await self._readied(jobs[0])]
        else:
            readied = await asyncio.gather(*(self._readied(job) for job in jobs))
        # Nothing is awaited from here until the request is written: what came meanwhile still counts.
        for job, ended in zip(jobs, readied, strict=True):
            known = ended or self._forbidden(job)
            if known is not None:
                results[job.action.action_id] = known
            else:
                assert job.prepared is not None, "read when it was accepted"
                leaving.append((job, job.prepared))
        if leaving:
            for result in await self._send(leaving):
                results[result.action_id] = result
        if _takers(jobs) and all(row.maker_only for _, row in leaving):
            self.modes.not_left()  # let through as one that may take, but nothing that may take left
        return [results[job.action.action_id] for job in jobs]

    async def _readied(self, job: Job) -> SingleResult | None:
        """Everything that takes time: a repeat's look-up, the signature. Its end, if that is one."""
        known: SingleResult | None = await self._before_repeat(job) if job.repeat else None
        if known is None and job.prepared is not None and job.prepared.ready is not None:
            if (known := self._forbidden(job)) is not None:
                return known
            try:
                await job.prepared.ready()
            except Refusal as refusal:
                return refused(job, refusal)
        return known

    def _forbidden(self, job: Job) -> SingleResult | None:
        """The end of a place that may not leave (any more), None when it may."""
        forbidden = may_send(job, self._wall_ns(), self._conditions(job.wallet))
        if forbidden is None and job.repeat:
            maker_only = job.prepared is not None and job.prepared.maker_only
            hold = self.modes.hold(maker_only, self._mono_ns())
            forbidden = (hold.reason, hold.text) if hold else None
        return not_sent_result(job, forbidden) if forbidden else None

    async def _send(self, leaving: Sequence[tuple[Job, Prepared]]) -> Sequence[PlaceResult]:
        job, prepared = leaving[0]
        self._edge.counters["places_sent"] += len(leaving)
        began = self._mono_ns()
        if len(leaving) == 1:
            results = [await self.adapter.place(prepared, job.received_ns, resent=job.repeat)]
        else:
            results = await self.adapter.place_batch([row for _, row in leaving], job.received_ns)
        for result, (_, row) in zip(results, leaving, strict=True):
            self._observe(Kind.PLACE, result, began, maker_only=row.maker_only)
        return results

    async def _before_repeat(self, job: Job) -> PlaceResult | None:
        """A place that may have been sent before: its result, or None when it may go (again).

        It may when the venue proved that it does not have it, and would refuse the second of two copies for ever.
        """
        place = job.action
        assert isinstance(place, Place)
        lookup = await self.adapter.look_up(
            QueryOrder(place.action_id, place.venue, place.wallet, place.venue_order_id)
        )
        timings = Timings(job.received_ns, answered_ns=self._wall_ns())
        if lookup.order is not None:
            # What it filled comes as fills, never from here.
            text, status = "the venue has this order", lookup.order.status.lower()
            return PlaceResult(
                place.action_id, place.venue_order_id, Outcome.DONE, Reason.OK, text, status, timings=timings
            )
        text = f"the look-up before sending again failed: {lookup.text}"
        if lookup.outcome is Outcome.DONE:
            if self.adapter.capabilities.duplicate_refused is DuplicateRefused.FOREVER:
                return None
            text = f"{self.venue} may take an id twice: it is not sent again while an earlier copy may still arrive"
        return PlaceResult(
            place.action_id,
            place.venue_order_id,
            Outcome.UNKNOWN,
            lookup.code,
            text,
            timings=timings,
            retry=RetryClass.LOOK_UP,
        )

    # --- the end ---

    async def cancel_everything(self, until_ns: int) -> str:
        """Cancel all orders of all wallets until none is listed and no place is in flight any more, or until then
        (monotonic); what is left, "" for nothing. Whoever calls sees to it that no more places leave."""
        wallets = [ready.wallet for ready in self.adapter.wallets()]
        left = await asyncio.gather(*(self._cancel_all_of(wallet, until_ns) for wallet in wallets))
        return "; ".join(f"{wallet}: {text}" for wallet, text in zip(wallets, left, strict=True) if text)

    async def _cancel_all_of(self, wallet: str, until_ns: int) -> str:
        """Again and again: a cancel does not catch a place that is on its way."""
        while True:
            in_flight = self._admission.depth()[f"{Kind.PLACE.value}s_in_flight"]
            left = await self._cancel_once(wallet)
            if not (left or in_flight) or self._mono_ns() >= until_ns:
                return left or (f"{in_flight} places have no answer" if in_flight else "")
            await asyncio.sleep(STOP_AGAIN_S)

    async def _cancel_once(self, wallet: str) -> str:
        """One call, and what is listed after it. Without a call for everything the list comes first."""
        at, ask = f"stop:{self._wall_ns()}", self.adapter.open_orders
        if self.adapter.capabilities.cancel_wallet:
            await self.adapter.cancel_wallet(CancelWallet(at, self.venue, wallet), self._wall_ns())
        else:
            listed = await ask(QueryOpenOrders(at, self.venue, wallet))
            ids = [order.venue_order_id for order in listed.orders]
            await self.adapter.cancel(Cancel(at, self.venue, wallet, ids), self._wall_ns())
        after = await ask(QueryOpenOrders(at, self.venue, wallet))
        if after.outcome is not Outcome.DONE or not after.complete:
            return after.text or "the list is incomplete"
        return f"{len(after.orders)} orders still listed" if after.orders else ""


def _takers(jobs: Sequence[Job]) -> bool:
    """Whether these were let through as a place that may take (repeats are not: they meet the mode later)."""
    return any(not (job.repeat or (job.prepared is not None and job.prepared.maker_only)) for job in jobs)


def refusal_of(action: Action, code: Reason, text: str, repeat: bool) -> Message:
    """The refusal of any action, in the shape its asker waits for. A repeated place may have been sent before."""
    outcome = Outcome.UNKNOWN if repeat and isinstance(action, Place | PlaceBatch) else Outcome.REFUSED
    if isinstance(action, PlaceBatch):
        results = [result_without_venue(place, outcome, code, text) for place in action.places]
        return PlaceBatchResult(action.action_id, [row for row in results if isinstance(row, PlaceResult)])
    return result_without_venue(action, outcome, code, text)
