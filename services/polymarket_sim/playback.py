"""The control port's view of playback: hold it, step it, and look at the true books whatever faults are on.

GET /playback, POST /playback {"stepped": true}, POST /playback/step {}, GET /truth?token_id=. A step is answered when
the simulator's own books hold everything it caused and the frames are queued to the sockets.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from common.errors import Refusal
from common.fixed import format_micros
from common.messages import GetBalances, HoldPlayback, Level, Message, PlaybackStepped, Refused, ShownBook, StepPlayback
from common.reasons import Reason
from common.venues.polymarket.wire import decode_json
from services.polymarket_sim.replies import reply
from services.polymarket_sim.venue import Venue

Ask = Callable[[str, Message], Awaitable[Message]]
MIRROR, EXCHANGE = "mirror", "exchange"
SYNCED_S = 10.0
"""A gap of the exchange's stream is mended within this, or a step is not answered."""


class PlaybackApi:
    """`ask` sends a message to a process of the group and gives its answer; raises TimeoutError."""

    def __init__(self, venue: Venue, ask: Ask, synced_s: float = SYNCED_S) -> None:
        self._venue = venue
        self._ask = ask
        self._synced_s = synced_s
        self._stepped = False
        self._playback_ns = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/playback", self.show),
            web.post("/playback", self.hold),
            web.post("/playback/step", self.step),
            web.get("/truth", self.truth),
        ]

    async def show(self, _request: web.Request) -> web.Response:
        """What was last asked for here."""
        return reply({"stepped": self._stepped, "playback_ns": self._playback_ns})

    async def hold(self, request: web.Request) -> web.Response:
        try:
            body = decode_json(await request.read())
            stepped = body.get("stepped") if isinstance(body, Mapping) else None
            if not isinstance(stepped, bool):
                raise Refusal(Reason.BAD_REQUEST, 'write {"stepped": true}', "stepped")
            await self._asked(MIRROR, HoldPlayback(uuid.uuid4().hex, stepped))
        except Refusal as refusal:
            return _refused(refusal)
        self._stepped = stepped
        return await self.show(request)

    async def step(self, _request: web.Request) -> web.Response:
        try:
            answer = await self._asked(MIRROR, StepPlayback(uuid.uuid4().hex))
            await self._catch_up()
        except Refusal as refusal:
            self._stepped = self._stepped and refusal.field != "stepped"  # the mirror has restarted: it runs
            return _refused(refusal)
        assert isinstance(answer, PlaybackStepped)
        self._playback_ns = answer.playback_ns
        return reply(
            {
                "playback_ns": answer.playback_ns,
                "skipped": answer.skipped,
                "shown": [self._shown(row) for row in answer.shown],
            }
        )

    async def _catch_up(self) -> None:
        """Return when the replicas hold everything the exchange has acknowledged so far.

        Its stream and its answers leave through one socket, in order: behind an answer every event has been read, or
        its loss was seen and the books are on their way.
        """
        await self._asked(EXCHANGE, GetBalances(uuid.uuid4().hex, MIRROR))
        try:
            async with asyncio.timeout(self._synced_s):
                await self._venue.until_books_synced()
        except TimeoutError:
            text = f"the exchange's stream has a gap that was not mended within {self._synced_s:g} s"
            raise Refusal(Reason.VENUE_UNAVAILABLE, text) from None

    async def _asked(self, owner: str, body: Message) -> Message:
        try:
            answer = await self._ask(owner, body)
        except TimeoutError as error:
            raise Refusal(Reason.VENUE_UNAVAILABLE, f"{error}: see `polyexec status`") from None
        if isinstance(answer, Refused):
            raise Refusal(answer.code, answer.text, answer.field)
        return answer

    def _shown(self, row: ShownBook) -> dict[str, object]:
        replica = self._venue.books.by_condition[row.condition_id]
        books = [replica.book(index) for index in (0, 1)]
        return {
            "slug": row.slug,
            "condition_id": row.condition_id,
            "loop": row.loop,
            "at": row.at,
            "recorded_ms": row.recorded_ms,
            "tokens": [
                {"token_id": book.token_id, "timestamp": str(book.timestamp_ms), "hash": book.hash} for book in books
            ],
        }

    async def truth(self, request: web.Request) -> web.Response:
        token_id = request.query.get("token_id", "")
        found = self._venue.books.token(token_id)
        if found is None:
            return refused(Refusal(Reason.UNKNOWN_MARKET, f"no token {token_id[:80]!r}", "token_id"), 404)
        book = found[0].book(found[1])
        return reply(
            {
                "token_id": book.token_id,
                "timestamp": str(book.timestamp_ms),
                "hash": book.hash,
                "tick_size": format_micros(book.tick_size),
                "bids": _levels(book.bids[::-1]),
                "asks": _levels(book.asks[::-1]),
            }
        )


def _refused(refusal: Refusal) -> web.Response:
    """Whoever stepped may try again when somebody was away."""
    return refused(refusal, 503 if refusal.code is Reason.VENUE_UNAVAILABLE else 400)


def refused(refusal: Refusal, status: int = 400) -> web.Response:
    error = {"code": refusal.code.value, "message": refusal.message, "field": refusal.field}
    return reply({"error": error}, status)


def _levels(levels: tuple[Level, ...]) -> list[dict[str, str]]:
    """Best first, as exact decimals."""
    return [{"price": format_micros(price), "size": format_micros(size)} for price, size in levels]
