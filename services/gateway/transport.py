"""The gateway's shell: lanes in, HTTP out, results back. Every decision is core.py's or polymarket.py's.

Places, cancels and queries each have their own connections. A place is one request; a repeat is one look-up and, only
when the venue does not have the order and the deadline allows, one more. Results go to the executor on lane "results".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random

from common.backoff import ExponentialBackoff
from common.edge import Edge
from common.effects import Origin
from common.errors import PolyexecError, Refusal
from common.http import FailureKind, HttpClient, HttpFailure, HttpReply
from common.messages import (
    Cancel,
    Message,
    OrderLookup,
    Place,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Timings,
)
from common.reasons import Reason
from common.types import Outcome
from services.gateway.core import (
    Action,
    Admission,
    Job,
    Kind,
    Limit,
    Result,
    kind_of,
    may_send,
    not_sent_result,
    result_without_venue,
)
from services.gateway.polymarket import (
    VENUE,
    Answer,
    HeldListing,
    Listing,
    Request,
    VenueWallet,
    adopted_result,
    balance_request,
    balance_result,
    cancel_requests,
    cancel_result,
    checked_order,
    lookup_request,
    lookup_result,
    place_request,
    place_result,
)

CANCELS_IN_FLIGHT = 32
QUERIES_IN_FLIGHT = 8
CANCELS_WAITING = 10_000
WARM_S = 20.0
"""Idle connections are used this often, so that an order does not pay for a handshake."""


def limits_of(in_flight_max: int, queue_max: int) -> dict[Kind, Limit]:
    return {
        Kind.PLACE: Limit(in_flight_max, queue_max),
        Kind.CANCEL: Limit(CANCELS_IN_FLIGHT, CANCELS_WAITING),
        Kind.QUERY: Limit(QUERIES_IN_FLIGHT, queue_max),
    }


class VenueDesk:
    """Everything of one gateway process."""

    def __init__(
        self,
        edge: Edge,
        wallets: dict[str, VenueWallet],
        *,
        rng: Random,
        halted: Callable[[], str],
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`halted`: why no place may leave now, "" when it may (common/halt.py)."""
        settings = edge.settings.gateway
        self._edge = edge
        self._wallets = wallets
        self._wall_ns = wall_ns
        self._backoff = ExponentialBackoff(rng, 0.2, 5.0)
        self._admission = Admission(limits_of(settings.in_flight_max, settings.queue_max))
        connections = {
            Kind.PLACE: settings.in_flight_max,
            Kind.CANCEL: CANCELS_IN_FLIGHT,
            Kind.QUERY: QUERIES_IN_FLIGHT,
        }
        self._http = {
            kind: HttpClient(
                edge.settings.polymarket.clob_url,
                total_timeout_s=settings.request_timeout_ms / 1000,
                connect_timeout_s=settings.connect_timeout_ms / 1000,
                connections=count + 1,
                counters=edge.counters,
            )
            for kind, count in connections.items()
        }
        self._data = HttpClient(
            edge.settings.polymarket.data_url,
            total_timeout_s=settings.request_timeout_ms / 1000,
            connect_timeout_s=settings.connect_timeout_ms / 1000,
            connections=QUERIES_IN_FLIGHT,
            counters=edge.counters,
        )
        self._halted = halted

    def start(self) -> None:
        """Serve the lanes, announce the wallets, and become ready once the venue answers."""
        self._edge.serve_lane("cancels", self.on_action)
        self._edge.serve_lane("actions", self.on_action)
        self._edge.on_lane_reset("results", self.announce)
        self.announce()
        self._edge.spawn(self.keep_warm(), "keep-warm")

    async def close(self) -> None:
        for http in (*self._http.values(), self._data):
            await http.close()

    def announce(self) -> None:
        """Tell the executor (again) which wallets it may pin orders for."""
        for wallet in self._wallets.values():
            self._send(f"wallet:{wallet.name}", wallet.ready())

    async def keep_warm(self) -> None:
        """GET /time on the hot connections, for ever; the first answer makes the process READY."""
        self._edge.set_state("STARTING", "waiting for the venue's first answer")
        while True:
            trouble = await self._warm(Kind.PLACE) or await self._warm(Kind.CANCEL)
            if trouble:
                self._edge.counters["venue_unreachable"] += 1
                state = "READY" if self._edge.counters["venue_answered"] else "STARTING"
                self._edge.set_state(state, f"the venue does not answer GET /time: {trouble}")
                await asyncio.sleep(self._backoff.next_delay_s())
                continue
            self._edge.counters["venue_answered"] += 1
            self._backoff.reset()
            self._edge.set_state("READY")
            await asyncio.sleep(WARM_S)

    async def _warm(self, kind: Kind) -> str:
        """What is wrong with the venue, "" for nothing."""
        answer = await self._ask(kind, Request("GET", "/time", {}))
        if answer.status == 200:
            return ""
        return answer.text or f"HTTP {answer.status}"

    # --- in and out ---

    def on_action(self, message: Message, origin: Origin, repeat: bool) -> None:
        if not isinstance(message, Action):
            self._edge.counters["actions_unknown"] += 1
            self._edge.log.error("unknown_action", action=type(message).__name__, lane=origin.lane)
            return
        for result in self._admission.accept(message, origin, repeat, self._wall_ns()):
            self._send(result.action_id, result)
        self._start_what_may(kind_of(message))

    def _start_what_may(self, kind: Kind) -> None:
        while (job := self._admission.take(kind)) is not None:
            self._edge.spawn(self._run(job), f"{kind.value}-{job.action.action_id}")
        for name, value in (self._admission.depth() | self._admission.counters).items():
            self._edge.counters[name] = value

    def _send(self, key: str, body: Message) -> None:
        if not self._edge.send("results", key, body):
            # The executor keeps every action until its result: a new life of ours looks all of them up.
            raise PolyexecError("the results lane is full: the executor takes no results")

    async def _run(self, job: Job) -> None:
        result = self._admission.done(job, await self._result_of(job))
        self._edge.log.info(
            "action",
            kind=kind_of(job.action).value,
            action_id=result.action_id,
            outcome=result.outcome.value,
            code=result.code.value,
            text=result.text,
            repeat=job.repeat,
            took_us=(self._wall_ns() - job.received_ns) // 1000,
        )
        self._send(result.action_id, result)
        self._start_what_may(kind_of(job.action))

    async def _result_of(self, job: Job) -> Result:
        action = job.action
        if action.venue != VENUE:
            return self._refuse(job, Reason.UNKNOWN_VENUE, f"this gateway does not trade on {action.venue[:40]!r}")
        wallet = self._wallets.get(action.wallet)
        if wallet is None:
            return self._refuse(job, Reason.WALLET_NOT_READY, f"there is no key of the wallet {action.wallet[:40]!r}")
        match action:
            case Place():
                return await self._place(job, action, wallet)
            case Cancel():
                return await self._cancel(action, wallet)
            case QueryOrder():
                return await self._look_up(action, wallet, Kind.QUERY)
            case QueryOpenOrders() | QueryTrades():
                return await self._list(action, wallet)
            case QueryPositions():
                return await self._positions(action, wallet)
            case QueryBalances():
                return await self._balances(action, wallet)

    @staticmethod
    def _refuse(job: Job, code: Reason, text: str) -> Result:
        return result_without_venue(job.action, Outcome.REFUSED, code, text, job.received_ns)

    # --- the actions ---

    async def _place(self, job: Job, place: Place, wallet: VenueWallet) -> Result:
        try:
            pinned = checked_order(place, wallet)
        except Refusal as refusal:
            return self._refuse(job, refusal.code, refusal.message)
        if job.repeat:
            known = await self._before_repeat(job, place, wallet)
            if known is not None:
                return known
        forbidden = may_send(job, self._wall_ns(), self._halted())
        if forbidden is not None:
            return not_sent_result(job, forbidden)
        request = place_request(pinned, wallet, self._seconds())
        signed_ns = self._wall_ns()
        self._edge.counters["places_sent"] += 1
        answer = await self._ask(Kind.PLACE, request)
        timings = Timings(job.received_ns, signed_ns, signed_ns, self._wall_ns())
        return place_result(place, answer, timings, resent=job.repeat)

    async def _before_repeat(self, job: Job, place: Place, wallet: VenueWallet) -> Result | None:
        """A place that may have been sent before: its result, or None when the venue proved it does not have it."""
        query = QueryOrder(place.action_id, place.venue, place.wallet, place.venue_order_id)
        lookup = await self._look_up(query, wallet, Kind.PLACE)
        if lookup.order is not None:
            return adopted_result(place, lookup.order, Timings(job.received_ns, answered_ns=self._wall_ns()))
        if lookup.outcome is not Outcome.DONE:
            text = f"the look-up before sending again failed: {lookup.text}"
            return result_without_venue(place, Outcome.UNKNOWN, lookup.code, text, job.received_ns)
        return None

    async def _look_up(self, query: QueryOrder, wallet: VenueWallet, kind: Kind) -> OrderLookup:
        asked_ns = self._wall_ns()
        answer = await self._ask(kind, lookup_request(query.venue_order_id, wallet, self._seconds()))
        return lookup_result(query, answer, asked_ns)

    async def _cancel(self, cancel: Cancel, wallet: VenueWallet) -> Result:
        requests = cancel_requests(cancel, wallet, self._seconds())
        if not requests:
            return result_without_venue(cancel, Outcome.DONE, Reason.OK, "there was nothing to cancel")
        answers = await asyncio.gather(*(self._ask(Kind.CANCEL, request) for request in requests))
        return cancel_result(cancel, answers)

    async def _list(self, action: QueryOpenOrders | QueryTrades, wallet: VenueWallet) -> Result:
        asked_ns = self._wall_ns()
        listing = Listing(action, wallet)
        while (request := listing.next_request(self._seconds())) is not None:
            listing.take(await self._ask(Kind.QUERY, request))
        return listing.result(asked_ns)

    async def _positions(self, action: QueryPositions, wallet: VenueWallet) -> Result:
        asked_ns = self._wall_ns()
        listing = HeldListing(action, wallet)
        while (request := listing.next_request()) is not None:
            outcome = await self._data.request(request.method, request.path, query=request.query)
            listing.take(answer_of(outcome))
        return listing.result(asked_ns)

    async def _balances(self, action: QueryBalances, wallet: VenueWallet) -> Result:
        asked_ns = self._wall_ns()
        answer = await self._ask(Kind.QUERY, balance_request(wallet, self._seconds()))
        return balance_result(action, answer, asked_ns)

    # --- HTTP ---

    async def _ask(self, kind: Kind, request: Request) -> Answer:
        """One request, one attempt."""
        outcome = await self._http[kind].request(
            request.method, request.path, query=request.query, headers=request.headers, body=request.body
        )
        return answer_of(outcome)

    def _seconds(self) -> int:
        return self._wall_ns() // 1_000_000_000


def answer_of(outcome: HttpReply | HttpFailure) -> Answer:
    if isinstance(outcome, HttpReply):
        return Answer(outcome.status, outcome.body, outcome.headers.get("Retry-After", ""))
    sent = outcome.kind is not FailureKind.NOT_SENT
    return Answer(0, text=f"{outcome.kind.value}: {outcome.text}", sent=sent)
