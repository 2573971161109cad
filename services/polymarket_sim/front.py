"""The front of the server, around every handler: counts and times requests, reads what order calls name, lets faults
strike before and after the venue has acted, and turns refusals into answers.

In: requests. Out: answers, or what a fault leaves of them. Whatever a handler raises that is not an answer of the venue
is a bug and ends the process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from aiohttp import web

from services.polymarket_sim.delivery import AnswerLost, AnswerReset, deliver, silence
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.endpoints import OTHER, PLACES
from services.polymarket_sim.modes import RESTARTING_TEXT
from services.polymarket_sim.postings import Entry, cancelled_ids, named, read_place
from services.polymarket_sim.replies import Handler, denial
from services.polymarket_sim.request_log import LOST, RESET, OrderCall
from services.polymarket_sim.rest_faults import early_refusal, order_delay
from services.polymarket_sim.venue import Venue

ENTRIES: Final = web.RequestKey("entries", list[Entry])
"""The orders of a place, read before its handler runs; of a batch that cannot be read, only the refusal."""
LIMITS: Final = web.RequestKey("limits", dict[str, str])
"""Headers that say what is left of the signer's limits."""
_REASONS: Final = {404: "not found", 405: "method not allowed", 413: "Payload exceeds the limit"}


class Front:
    """The middleware of the venue's application."""

    def __init__(self, venue: Venue, counters: Counter[str], fail: Callable[[BaseException], None]) -> None:
        self.venue = venue
        self.counters = counters
        self._fail = fail

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.counters["http_requests"] += 1
        endpoint = endpoint_of(request)
        log = self.venue.log
        call = log.arrived(endpoint, self.venue.wall_ns(), self.venue.mono_ns())
        try:
            answer = await self._answer(request, handler, endpoint, call)
        except AnswerLost:
            log.unanswered(endpoint, call, LOST)
            await silence()
            return denial(Denied(504, "no answer"))
        except AnswerReset:
            log.unanswered(endpoint, call, RESET)
            raise
        log.answered(endpoint, call, answer.status)
        if answer.status >= 400:
            self.counters[f"http_{answer.status}"] += 1
        return answer

    async def _answer(
        self, request: web.Request, handler: Handler, endpoint: str, call: OrderCall | None
    ) -> web.StreamResponse:
        """The answer of the venue as it leaves, refusals included."""
        try:
            return await self._carried_out(request, handler, endpoint, call)
        except Denied as denied:
            answer = denial(denied)
        except TimeoutError:
            answer = denial(Denied(503, RESTARTING_TEXT))
        except web.HTTPException as error:
            answer = denial(Denied(error.status, _REASONS.get(error.status, error.reason)))
        except (AnswerLost, ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            self._fail(error)
            raise
        for name, value in request.get(LIMITS, {}).items():
            answer.headers.setdefault(name, value)
        return answer

    async def _carried_out(
        self, request: web.Request, handler: Handler, endpoint: str, call: OrderCall | None
    ) -> web.StreamResponse:
        faults = self.venue.faults
        values = faults.use("http_delay_ms")
        if values is not None:
            await asyncio.sleep(int(values["ms"]) / 1000)
        await self._read(request, endpoint, call)
        before_s, after_s = order_delay(faults, endpoint)
        if before_s:
            await asyncio.sleep(before_s)
        self._refuse_early(request, endpoint)
        answer = await handler(request)
        if isinstance(answer, web.WebSocketResponse):
            return answer
        if after_s:
            await asyncio.sleep(after_s)
        answer.headers.update(request.get(LIMITS, {}))
        return await deliver(request, answer, faults, endpoint)

    async def _read(self, request: web.Request, endpoint: str, call: OrderCall | None) -> None:
        """Note what an order call names, before anything can refuse it."""
        if call is None:
            return
        body = await request.read()
        if endpoint not in PLACES:
            self.venue.log.names(call, cancelled_ids(endpoint, body))
            return
        entries = request[ENTRIES] = read_place(endpoint, body, self.venue.books, self.venue.terms.chain_id)
        self.venue.log.posts(call, [named(entry) for entry in entries])

    def _refuse_early(self, request: web.Request, endpoint: str) -> None:
        """Faults that strike before anybody has looked at the call."""
        refusal = early_refusal(self.venue.faults, endpoint)
        if refusal is not None:
            raise refusal
        values = self.venue.faults.use_at("error_429", endpoint)
        if values is not None:
            signer, wait_s = request.headers.get("POLY_ADDRESS", ""), int(values["retry_after_s"])
            venue = self.venue
            raise venue.quotas.refusal(signer, endpoint, wait_s, venue.mono_ns(), venue.now_s)


def endpoint_of(request: web.Request) -> str:
    """Method and path template of the route; one word for everything without one."""
    resource = request.match_info.route.resource
    return OTHER if resource is None else f"{request.method} {resource.canonical}"
