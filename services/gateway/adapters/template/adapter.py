"""The template's adapter: actions as requests of the paperclip venue, its replies as results.

In: actions. Out: results. Each request is sent once. What a reply means is decided here: only a listed word is a
refusal, and no answer is UNKNOWN unless it is proven that nothing was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from common.errors import Refusal
from common.fixed import mul_ceil
from common.messages import (
    BalancesResult,
    Cancel,
    CancelResult,
    CancelWallet,
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
    Timings,
    TradesResult,
    VenueFill,
    VenueOrder,
    VenuePosition,
    WalletReady,
)
from common.reasons import Reason
from common.types import ONE, Outcome, RetryClass, Settlement
from common.venues.capabilities import Capabilities, DuplicateRefused
from common.venues.plain import PlainOrder, decode_plain, local_id
from services.gateway.adapters.template.wire import (
    ERRORS,
    CancelAll,
    CancelOrders,
    GetMoney,
    GetOpenOrders,
    GetOrder,
    GetTime,
    GetTrades,
    PlaceOrder,
    PlaceOrders,
    Reply,
    Request,
    WireOrder,
    decode_reply,
    encode,
)
from services.gateway.port import Health, Prepared

VENUE = "paperclip"
CAPABILITIES = Capabilities(DuplicateRefused.FOREVER, place_batch_max=5, cancel_batch_max=100, cancel_wallet=True)
RETRY_MS = 250
NEVER_AN_ORDER = "no-order"


class NotSent(Exception):
    """Nobody is at the other end: nothing left."""


class Line:
    """A connection to the venue: the place of an HTTP client. `answer` None is a venue that is not there."""

    def __init__(self, answer: Callable[[bytes], bytes] | None) -> None:
        self._answer = answer
        self._connected = False
        self.connects = 0

    async def ask(self, raw: bytes) -> bytes:
        """One request, one answer. Raises NotSent."""
        if self._answer is None:
            raise NotSent("nobody listens there")
        if not self._connected:
            self._connected = True
            self.connects += 1
        await asyncio.sleep(0)  # other requests get their turn, as they would on a socket
        return self._answer(raw)

    def drop(self) -> None:
        self._connected = False


class Wallet(NamedTuple):
    """A name of ours and the key the venue knows it by."""

    name: str
    key: str

    def __repr__(self) -> str:
        return f"Wallet({self.name})"


class Answer(NamedTuple):
    """What came of one request. Without a reply, `sent` False proves that the venue got nothing."""

    reply: Reply | None
    text: str
    timings: Timings
    sent: bool = True


class PaperclipAdapter:
    """Every wallet we have at the paperclip venue."""

    def __init__(
        self,
        line: Line,
        wallets: Sequence[Wallet],
        *,
        tap: Callable[[str], bool] | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._line = line
        self._wallets = {wallet.name: wallet for wallet in wallets}
        self._tap = tap
        self._wall_ns = wall_ns

    @property
    def venue(self) -> str:
        return VENUE

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def wallets(self) -> Sequence[WalletReady]:
        return [WalletReady(VENUE, name, "", "", 0, 0, "") for name in self._wallets]

    async def start(self) -> None:
        """Nothing must be open before the first request."""

    async def close(self) -> None:
        self._line.drop()

    async def reconnect(self) -> None:
        self._line.drop()

    async def health(self) -> Health:
        wallet = next(iter(self._wallets))
        answer = await self._ask("query", GetTime(self._key(wallet)))
        return Health(True, "", answer.reply.now_ns) if answer.reply else Health(False, answer.text)

    async def probe(self) -> CancelResult:
        """A cancel of an order that cannot be: the order endpoint answers, and nothing changes."""
        action = Cancel("probe", VENUE, next(iter(self._wallets)), [NEVER_AN_ORDER])
        return await self.cancel(action, self._wall_ns())

    # --- places ---

    def prepare(self, place: Place) -> Prepared:
        if place.venue != VENUE or place.wallet not in self._wallets:
            raise Refusal(Reason.WALLET_NOT_READY, f"there is no key of the wallet {place.wallet[:40]!r}", "wallet")
        order = decode_plain(place.pinned)
        if order.venue_order_id != place.venue_order_id:
            raise Refusal(Reason.DIGEST_MISMATCH, "the pinned order has another id", "venue_order_id")
        return Prepared(place, order.post_only, mul_ceil(order.price, order.size), order)

    async def place(self, prepared: Prepared, received_ns: int, *, resent: bool) -> PlaceResult:
        answer = await self._ask("place", self._request(prepared), received_ns)
        error = answer.reply.error if answer.reply else ""
        order = answer.reply.orders[0] if answer.reply and answer.reply.orders else None
        return _place_result(prepared.place, answer, error, order, resent=resent)

    async def place_batch(self, batch: Sequence[Prepared], received_ns: int) -> list[PlaceResult]:
        """One reply for all legs: a leg's own word, else the word for the whole."""
        key = self._key(batch[0].place.wallet)
        answer = await self._ask("place", PlaceOrders(key, [self._request(leg) for leg in batch]), received_ns)
        reply = answer.reply
        if reply is None or len(reply.orders) != len(batch):
            error = reply.error if reply else ""
            return [_place_result(leg.place, answer, error, None, resent=False) for leg in batch]
        legs = zip(batch, reply.errors, reply.orders, strict=True)
        return [_place_result(leg.place, answer, error, order, resent=False) for leg, error, order in legs]

    def _request(self, prepared: Prepared) -> PlaceOrder:
        order = prepared.payload
        assert isinstance(order, PlainOrder)
        return PlaceOrder(
            self._key(prepared.place.wallet),
            order.venue_order_id,
            local_id(order.token_id),
            order.side,
            order.price,
            order.size,
            order.tif,
            order.post_only,
            order.expire_ns,
        )

    # --- cancels ---

    async def cancel(self, action: Cancel, received_ns: int) -> CancelResult:
        request = CancelOrders(self._key(action.wallet), action.venue_order_ids)
        return _cancel_result(action.action_id, await self._ask("cancel", request, received_ns))

    async def cancel_wallet(self, action: CancelWallet, received_ns: int) -> CancelResult:
        request = CancelAll(self._key(action.wallet), local_id(action.token_id or action.condition_id))
        return _cancel_result(action.action_id, await self._ask("cancel", request, received_ns))

    # --- queries ---

    async def look_up(self, action: QueryOrder) -> OrderLookup:
        asked_ns = self._wall_ns()
        answer = await self._ask("query", GetOrder(self._key(action.wallet), action.venue_order_id))
        outcome, code, text = _read(answer)
        orders = answer.reply.orders if answer.reply and outcome is Outcome.DONE else []
        order = _venue_order(orders[0]) if orders else None
        if outcome is Outcome.DONE and order is None:
            code, text = Reason.ORDER_NOT_FOUND, "the venue does not have this order"
        return OrderLookup(
            action.action_id, action.venue_order_id, outcome, code, text, asked_ns, order is not None, order
        )

    async def open_orders(self, action: QueryOpenOrders) -> OpenOrdersResult:
        asked_ns = self._wall_ns()
        answer = await self._ask("query", GetOpenOrders(self._key(action.wallet)))
        outcome, code, text = _read(answer)
        orders = [_venue_order(order) for order in answer.reply.orders] if answer.reply else []
        return OpenOrdersResult(action.action_id, outcome, code, text, asked_ns, outcome is Outcome.DONE, orders)

    async def trades(self, action: QueryTrades) -> TradesResult:
        asked_ns = self._wall_ns()
        answer = await self._ask("query", GetTrades(self._key(action.wallet), action.after_ns))
        outcome, code, text = _read(answer)
        fills = [
            VenueFill(
                VENUE,
                action.wallet,
                trade.id,
                trade.order_id,
                f"{VENUE}:{trade.item}",
                trade.side,
                trade.size,
                trade.price,
                trade.price * trade.size // ONE,
                True,
                Settlement.CONFIRMED,
                "",
                trade.at_ns,
            )
            for trade in (answer.reply.trades if answer.reply else ())
        ]
        return TradesResult(action.action_id, outcome, code, text, asked_ns, outcome is Outcome.DONE, fills)

    async def positions(self, action: QueryPositions) -> PositionsResult:
        asked_ns = self._wall_ns()
        answer = await self._ask("query", GetMoney(self._key(action.wallet)))
        outcome, code, text = _read(answer)
        held = answer.reply.held if answer.reply else {}
        rows = [VenuePosition(f"{VENUE}:{item}", size) for item, size in held.items() if size]
        return PositionsResult(action.action_id, outcome, code, text, asked_ns, outcome is Outcome.DONE, rows)

    async def balances(self, action: QueryBalances) -> BalancesResult:
        asked_ns = self._wall_ns()
        answer = await self._ask("query", GetMoney(self._key(action.wallet)))
        cash = answer.reply.cash if answer.reply else 0
        return BalancesResult(action.action_id, *_read(answer), asked_ns, cash, cash)

    # --- the line ---

    def _key(self, wallet: str) -> str:
        return self._wallets[wallet].key

    async def _ask(self, kind: str, request: Request, received_ns: int = 0) -> Answer:
        """One request, one attempt. A tap may lose the answer after the venue gave it."""
        raw = encode(request)
        signed_ns = sent_ns = self._wall_ns()
        try:
            answer = await self._line.ask(raw)
        except NotSent as error:
            return Answer(None, f"nothing was sent: {error}", Timings(received_ns, signed_ns), sent=False)
        now_ns = self._wall_ns()
        timings = Timings(received_ns, signed_ns, sent_ns, now_ns, now_ns)
        if self._tap is not None and self._tap(kind):
            lost = msgspec.structs.replace(timings, answered_ns=0, first_byte_ns=0)
            return Answer(None, "the connection broke before the answer", lost)
        try:
            return Answer(decode_reply(answer), "", timings)
        except Refusal as refusal:
            return Answer(None, refusal.message, timings)


def _place_result(place: Place, answer: Answer, error: str, order: WireOrder | None, *, resent: bool) -> PlaceResult:
    """A refusal of a copy that was sent again does not speak for the first copy."""

    def result(outcome: Outcome, code: Reason, text: str, retry: RetryClass) -> PlaceResult:
        if resent and outcome is Outcome.REFUSED:
            outcome, retry, text = Outcome.UNKNOWN, RetryClass.LOOK_UP, f"refused when sent again: {text}"
        return PlaceResult(
            place.action_id,
            place.venue_order_id,
            outcome,
            code,
            text,
            timings=answer.timings,
            retry=retry,
            retry_after_ms=RETRY_MS if retry is RetryClass.AFTER else 0,
        )

    if not answer.sent:
        return result(Outcome.REFUSED, Reason.VENUE_UNAVAILABLE, answer.text, RetryClass.AFTER)
    if error in ERRORS:
        # An earlier copy is there: this one was refused, the order was not.
        is_there = ERRORS[error] is Reason.DUPLICATE_ORDER
        outcome = Outcome.UNKNOWN if is_there else Outcome.REFUSED
        return result(outcome, ERRORS[error], error, RetryClass.LOOK_UP if is_there else RetryClass.NEVER)
    if order is None or order.id != place.venue_order_id or error:
        text = error or answer.text or "the reply has no order"
        return result(Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text, RetryClass.LOOK_UP)
    done = result(Outcome.DONE, Reason.OK, "", RetryClass.NEVER)
    return msgspec.structs.replace(done, status=order.status.lower(), making=order.paid, taking=order.filled)


def _cancel_result(action_id: str, answer: Answer) -> CancelResult:
    outcome, code, text = _read(answer)
    if outcome is not Outcome.DONE or answer.reply is None:
        return CancelResult(action_id, outcome, code, text, timings=answer.timings, retry=RetryClass.AFTER)
    not_canceled = {
        order_id: f"{ERRORS.get(word, Reason.VENUE_REFUSED).value}: {word}"
        for order_id, word in answer.reply.not_canceled.items()
    }
    return CancelResult(action_id, outcome, code, text, answer.reply.canceled, not_canceled, answer.timings)


def _read(answer: Answer) -> tuple[Outcome, Reason, str]:
    """What a request that changes nothing (or can be repeated) came to."""
    if answer.reply is None:
        outcome = Outcome.UNKNOWN if answer.sent else Outcome.REFUSED
        return outcome, Reason.VENUE_UNAVAILABLE, answer.text
    if answer.reply.error:
        return Outcome.REFUSED, ERRORS.get(answer.reply.error, Reason.VENUE_REFUSED), answer.reply.error
    return Outcome.DONE, Reason.OK, ""


def _venue_order(order: WireOrder) -> VenueOrder:
    return VenueOrder(
        order.id,
        order.status,
        f"{VENUE}:{order.item}",
        order.side,
        order.price,
        order.size,
        order.filled,
        order.created_ns,
    )
