"""Actions as requests of the Polymarket CLOB, and its answers as results. Pure.

In: an action, the wallet it is for, and the time; later the answer. Out: method, path, headers and exact body of one
request; then the result. An order is signed only as it was pinned, and refused when its digest is not the one that was
journaled. Everything that is not a documented refusal stays UNKNOWN (common/venues/polymarket/errors.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

from common.errors import ConfigError, Refusal
from common.fixed import MICROS_MAX
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
from common.types import Outcome, RetryClass
from common.venues.polymarket.auth import L2Credentials, L2Signer
from common.venues.polymarket.errors import (
    PlaceVerdict,
    Retry,
    classify_cancel,
    classify_place,
    classify_place_entry,
)
from common.venues.polymarket.holdings import parse_holdings
from common.venues.polymarket.orders import post_body
from common.venues.polymarket.pinned import PinnedOrder, checked_pinned, wallet_identity
from common.venues.polymarket.user import own_fills
from common.venues.polymarket.wire import (
    START_CURSOR,
    Members,
    OpenOrder,
    decode_json,
    encode_json,
    parse_balance,
    parse_open_order,
    parse_order_lookup,
    parse_page,
    parse_trade,
)
from services.gateway.port import OrderSigner

VENUE = "polymarket"
NOBODYS_ID = "0x" + "00" * 32
"""An order id no order can have: a cancel of it changes nothing."""
PAGES_MAX = 1000
HELD_PAGE = 500
_NOT_FOUND = re.compile(r"\border (not found|can.?t be found)", re.IGNORECASE)
"""Only of the order: a 404 of a router, a proxy or a market proves nothing."""
_TEXT_MAX = 300


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None
    query: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Without the headers: they hold the passphrase."""
        return f"Request({self.method} {self.path})"


class Answer(NamedTuple):
    """What came back. Status 0: nothing usable did, `text` says why; `sent` False proves that nothing went out."""

    status: int
    body: bytes = b""
    retry_after: str = ""
    text: str = ""
    sent: bool = True
    first_byte_ns: int = 0
    headers: Mapping[str, str] = {}


RETRY: Mapping[Retry, RetryClass] = {
    Retry.NONE: RetryClass.NEVER,
    Retry.FRESH: RetryClass.NEVER,
    Retry.REFRESH: RetryClass.NEVER,
    Retry.LATER: RetryClass.AFTER,
    Retry.LOOKUP: RetryClass.LOOK_UP,
}
"""What may be tried with the same bytes."""


class VenueWallet:
    """One wallet: its signer, its API credentials, its names. Never printed, never copied."""

    __slots__ = ("_l2", "api_key", "identity", "name", "signer")

    def __init__(
        self, name: str, signer: OrderSigner, creds: L2Credentials, *, funder: str, signature_type: int, chain_id: int
    ) -> None:
        if signature_type and not funder:
            raise ConfigError("wallets.funder", f"wallet {name!r} of signature type {signature_type} needs a funder")
        self.name = name
        self.signer = signer
        self.api_key = creds.key
        self.identity = wallet_identity(name, signer.address, funder, signature_type, chain_id)
        # The API key is bound to the signing EOA, also where a deposit wallet signs as itself.
        self._l2 = L2Signer(signer.address, creds)

    @property
    def maker(self) -> str:
        """The wallet's own address: whose money it is."""
        return self.identity.maker

    @property
    def signature_type(self) -> int:
        return self.identity.signature_type

    def headers(self, at_s: int, method: str, path: str, body: bytes | None = None) -> dict[str, str]:
        return self._l2.headers(at_s, method, path, body)

    def sign_now(self, pinned: PinnedOrder, venue_order_id: str) -> str:
        """The signature over exactly this order, "" when `sign` has to be awaited. Raises Refusal."""
        signature = self.signer.sign_now(pinned, venue_order_id)
        return "0x" + signature.hex() if signature is not None else ""

    async def sign(self, pinned: PinnedOrder, venue_order_id: str) -> str:
        """The same, wherever the key is. Raises Refusal when the signer will not."""
        found = self.sign_now(pinned, venue_order_id)
        return found or "0x" + (await self.signer.sign(pinned, venue_order_id)).hex()

    def ready(self) -> WalletReady:
        own = self.identity
        return WalletReady(
            VENUE, self.name, own.order_signer, own.maker, own.signature_type, own.chain_id, self.api_key
        )

    def __repr__(self) -> str:
        return f"VenueWallet({self.name}, {self.maker})"


# --- places ---


def checked_order(place: Place, wallet: VenueWallet) -> PinnedOrder:
    """The pinned order, which must be this wallet's and have the digest that was journaled. Raises Refusal."""
    return checked_pinned(place.pinned, place.venue_order_id, wallet.identity)


def place_body(pinned: PinnedOrder, signature: str, wallet: VenueWallet) -> bytes:
    """What is posted for one order; the same pinned order and signature give the same bytes."""
    return post_body(
        pinned.order,
        signature,
        wallet.api_key,
        pinned.order_type.value,
        pinned.post_only,
        expiration=pinned.expiration,
    )


def place_request(body: bytes, wallet: VenueWallet, at_s: int) -> Request:
    headers = wallet.headers(at_s, "POST", "/order", body)
    headers["Content-Type"] = "application/json"
    return Request("POST", "/order", headers, body)


def batch_request(bodies: Sequence[bytes], wallet: VenueWallet, at_s: int) -> Request:
    body = b"[" + b",".join(bodies) + b"]"
    return Request("POST", "/orders", wallet.headers(at_s, "POST", "/orders", body), body)


def place_result(place: Place, answer: Answer, timings: Timings, *, resent: bool) -> PlaceResult:
    """The result of a sent place. A refusal of a copy that was sent again does not speak for the first copy."""
    if not answer.sent:
        return _not_sent(place, answer, timings, resent=resent)
    verdict = classify_place(answer.status, answer.body, answer.retry_after)
    return _judged(place, verdict, answer, timings, resent=resent)


def batch_results(places: Sequence[Place], answer: Answer, timings: Timings) -> list[PlaceResult]:
    """One result for each leg, read by position. An answer of another length speaks of none of them."""
    if not answer.sent:
        return [_not_sent(place, answer, timings, resent=False) for place in places]
    if answer.status == 200:
        entries = _entries(answer.body)
        if len(entries) == len(places):
            verdicts = _by_position(places, [classify_place_entry(entry) for entry in entries])
        else:
            text = f"{len(entries)} answers for {len(places)} orders"
            verdicts = [_unreadable(text)] * len(places)
    else:
        verdicts = [classify_place(answer.status, answer.body, answer.retry_after)] * len(places)
    pairs = zip(places, verdicts, strict=True)
    return [_judged(place, verdict, answer, timings, resent=False) for place, verdict in pairs]


def _by_position(places: Sequence[Place], verdicts: list[PlaceVerdict]) -> list[PlaceVerdict]:
    """An entry that accepts another leg's order shows that positions say nothing: then only an id of its own does."""
    owns = [_is_of(place, verdict) for place, verdict in zip(places, verdicts, strict=True)]
    if all(own or verdict.outcome is not Outcome.DONE for own, verdict in zip(owns, verdicts, strict=True)):
        return verdicts
    other = _unreadable("the answers are not in the order of the orders")
    return [verdict if own else other for own, verdict in zip(owns, verdicts, strict=True)]


def _is_of(place: Place, verdict: PlaceVerdict) -> bool:
    return verdict.venue_order_id.lower() == place.venue_order_id.lower()


def _entries(body: bytes) -> list[object]:
    try:
        value = decode_json(body)
    except Refusal:
        return []
    return value if isinstance(value, list) else []


def _unreadable(text: str) -> PlaceVerdict:
    return PlaceVerdict(Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, Retry.LOOKUP, text)


def _not_sent(place: Place, answer: Answer, timings: Timings, *, resent: bool) -> PlaceResult:
    outcome = Outcome.UNKNOWN if resent else Outcome.REFUSED
    return PlaceResult(
        place.action_id,
        place.venue_order_id,
        outcome,
        Reason.VENUE_UNAVAILABLE,
        f"nothing was sent: {answer.text}",
        timings=timings,
        retry=RetryClass.LOOK_UP if resent else RetryClass.AFTER,
    )


def _judged(place: Place, verdict: PlaceVerdict, answer: Answer, timings: Timings, *, resent: bool) -> PlaceResult:
    outcome, code, text = verdict.outcome, verdict.reason, verdict.message or answer.text
    retry = RETRY[verdict.retry]
    if outcome is Outcome.DONE and verdict.venue_order_id.lower() != place.venue_order_id.lower():
        outcome, code, retry = Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, RetryClass.LOOK_UP
        text = f"the venue answered for another order: {verdict.venue_order_id[:80]!r}"
    if resent and outcome is Outcome.REFUSED:
        outcome, retry, text = Outcome.UNKNOWN, RetryClass.LOOK_UP, f"refused when sent again: {text}"
    return PlaceResult(
        place.action_id,
        place.venue_order_id,
        outcome,
        code,
        text if answer.status else f"{text}: {answer.text}",
        status=verdict.status,
        making=verdict.making or 0,
        taking=verdict.taking or 0,
        retry_after_ms=verdict.retry_after_s * 1000,
        timings=timings,
        retry=retry,
    )


# --- look-ups ---


def lookup_request(venue_order_id: str, wallet: VenueWallet, at_s: int) -> Request:
    path = f"/data/order/{quote(venue_order_id, safe='')}"
    return Request("GET", path, wallet.headers(at_s, "GET", path))


def lookup_result(action: QueryOrder, answer: Answer, asked_ns: int) -> OrderLookup:
    """Found, proven absent, or not known. Only an answer of the venue itself proves absence."""

    def result(outcome: Outcome, code: Reason, text: str, order: VenueOrder | None = None) -> OrderLookup:
        return OrderLookup(
            action.action_id, action.venue_order_id, outcome, code, text, asked_ns, order is not None, order
        )

    if answer.status == 404 and _NOT_FOUND.search(_error_text(answer)):
        return result(Outcome.DONE, Reason.ORDER_NOT_FOUND, "the venue does not have this order")
    if answer.status != 200:
        return result(*_read_failure(answer))
    try:
        found = parse_order_lookup(answer.body)
    except Refusal as refusal:
        return result(Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, f"unreadable answer: {refusal.message}")
    if found is None:
        return result(Outcome.DONE, Reason.ORDER_NOT_FOUND, "the venue does not have this order")
    if found.order_id.lower() != action.venue_order_id.lower():
        return result(Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, "the venue answered for another order")
    return result(Outcome.DONE, Reason.OK, "", venue_order(found))


def venue_order(order: OpenOrder) -> VenueOrder:
    return VenueOrder(
        order.order_id,
        order.status.value,
        order.token_id,
        order.side,
        order.price,
        order.original_size,
        order.size_matched,
        order.created_ns,
    )


# --- cancels ---


def cancel_request(venue_order_ids: Sequence[str], wallet: VenueWallet, at_s: int) -> Request:
    """DELETE /order for one id, DELETE /orders for more (at most 1000, which is the caller's to hold)."""
    if len(venue_order_ids) == 1:
        return _delete("/order", encode_json({"orderID": venue_order_ids[0]}), wallet, at_s)
    return _delete("/orders", encode_json(list(venue_order_ids)), wallet, at_s)


def cancel_wallet_request(action: CancelWallet, wallet: VenueWallet, at_s: int) -> Request:
    """DELETE /cancel-all, or /cancel-market-orders for one market or token (protocol section 4.4)."""
    scope = {"market": action.condition_id, "asset_id": action.token_id}
    given = {name: value for name, value in scope.items() if value}
    if given:
        return _delete("/cancel-market-orders", encode_json(given), wallet, at_s)
    return _delete("/cancel-all", None, wallet, at_s)


def _delete(path: str, body: bytes | None, wallet: VenueWallet, at_s: int) -> Request:
    return Request("DELETE", path, wallet.headers(at_s, "DELETE", path, body), body)


def cancel_result(action: Cancel | CancelWallet, answer: Answer, timings: Timings) -> CancelResult:
    """DONE when the venue answered, whatever it says of each order.

    `not_canceled` maps an id to a reason word and the venue's text, as in "ORDER_NOT_FOUND: order not found".
    """
    verdict = classify_cancel(answer.status, answer.body, answer.retry_after)
    outcome, code, text, retry = verdict.outcome, verdict.reason, verdict.message, RETRY[verdict.retry]
    if not answer.sent:
        outcome, code, retry = Outcome.REFUSED, Reason.VENUE_UNAVAILABLE, RetryClass.AFTER
    if not (answer.sent and answer.status):
        text = f"{text}: {answer.text}"
    not_canceled = {order_id: f"{why.reason.value}: {why.message}" for order_id, why in verdict.not_canceled.items()}
    return CancelResult(
        action.action_id,
        outcome,
        code,
        text,
        list(verdict.canceled),
        not_canceled,
        timings,
        retry,
        verdict.retry_after_s * 1000,
    )


# --- the dead-man switch ---


class BeatAnswer(NamedTuple):
    """`accepted`: `next_id` is for the next beat. Otherwise `next_id` is what the venue expects, "" when not said."""

    accepted: bool
    next_id: str
    text: str
    answered: bool


def beat_request(heartbeat_id: str, wallet: VenueWallet, at_s: int) -> Request:
    body = encode_json({"heartbeat_id": heartbeat_id})
    return Request("POST", "/v1/heartbeats", wallet.headers(at_s, "POST", "/v1/heartbeats", body), body)


def beat_answer(answer: Answer) -> BeatAnswer:
    """Protocol section 4.6: 200 with the next id, 400 with the id it expects; anything else may have counted or not."""
    try:
        members = decode_json(answer.body) if answer.status else None
    except Refusal:
        members = None
    found = members.get("heartbeat_id") if isinstance(members, dict) else None
    next_id = found if isinstance(found, str) else ""
    if answer.status == 200 and next_id:
        return BeatAnswer(True, next_id, "", True)
    text = _error_text(answer) or answer.text or f"HTTP {answer.status}"
    return BeatAnswer(False, next_id, text, answer.status == 400)


# --- money and holdings ---


def balance_request(wallet: VenueWallet, at_s: int) -> Request:
    path = "/balance-allowance"
    query = (("asset_type", "COLLATERAL"), ("signature_type", str(wallet.signature_type)))
    return Request("GET", path, wallet.headers(at_s, "GET", path), None, query)


def balance_result(action: QueryBalances, answer: Answer, asked_ns: int) -> BalancesResult:
    """The wallet's money; `allowance` is the largest any exchange contract may take."""
    if answer.status != 200:
        return BalancesResult(action.action_id, *_read_failure(answer), asked_ns)
    try:
        balance = parse_balance(answer.body)
    except Refusal as refusal:
        text = f"unreadable balance: {refusal.message}"
        return BalancesResult(action.action_id, Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text, asked_ns)
    cash = min(balance.balance, MICROS_MAX)
    allowance = min(max(balance.allowances.values(), default=cash), MICROS_MAX)
    return BalancesResult(action.action_id, Outcome.DONE, Reason.OK, "", asked_ns, cash, allowance)


class HeldListing:
    """One paged read of the Data API: asks until the last page, and knows whether it saw everything."""

    def __init__(self, action: QueryPositions, wallet: VenueWallet) -> None:
        self._action = action
        self._wallet = wallet
        self._cursor: str | None = ""
        self._seen: set[str] = set()
        self._held: list[VenuePosition] = []
        self._failure: tuple[Outcome, Reason, str] | None = None

    def next_request(self) -> Request | None:
        """The request for the next page; None when there is nothing more to ask."""
        if self._cursor is None:
            return None
        query = [("user", self._wallet.maker), ("limit", str(HELD_PAGE))]
        if self._cursor:
            query.append(("cursor", self._cursor))
        return Request("GET", "/v2/positions", {}, None, tuple(query))

    def take(self, answer: Answer) -> None:
        cursor, self._cursor = self._cursor, None
        if answer.status != 200:
            self._failure = _read_failure(answer)
            return
        try:
            page = parse_holdings(answer.body)
        except Refusal as refusal:
            self._failure = (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, f"unreadable page: {refusal.message}")
            return
        self._held += [VenuePosition(row.token_id, row.size) for row in page.held]
        self._seen.add(cursor or "")
        if page.next_cursor in self._seen or len(self._seen) >= PAGES_MAX:
            if page.next_cursor:
                text = f"the pages do not end ({len(self._seen)} read)"
                self._failure = (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text)
        else:
            self._cursor = page.next_cursor or None

    def result(self, asked_ns: int) -> PositionsResult:
        outcome, code, text = self._failure or (Outcome.DONE, Reason.OK, "")
        complete = self._failure is None
        return PositionsResult(self._action.action_id, outcome, code, text, asked_ns, complete, self._held)


# --- lists, page by page ---


class Listing:
    """One paged read: asks until the end marker, and knows whether it saw everything."""

    def __init__(self, action: QueryOpenOrders | QueryTrades, wallet: VenueWallet) -> None:
        self.action = action
        self.path = "/data/orders" if isinstance(action, QueryOpenOrders) else "/data/trades"
        self.complete = False
        self._wallet = wallet
        self._cursor: str | None = START_CURSOR
        self._seen: set[str] = set()
        self._rows: list[Members] = []
        self._failure: tuple[Outcome, Reason, str] | None = None

    def next_request(self, at_s: int) -> Request | None:
        """The request for the next page; None when there is nothing more to ask."""
        if self._cursor is None:
            return None
        query = [("next_cursor", self._cursor)]
        if isinstance(self.action, QueryTrades):
            # The venue counts in seconds: rounded down, so that nothing of the first second is missed.
            query.append(("after", str(self.action.after_ns // 1_000_000_000)))
        return Request("GET", self.path, self._wallet.headers(at_s, "GET", self.path), None, tuple(query))

    def take(self, answer: Answer) -> None:
        cursor, self._cursor = self._cursor, None
        if answer.status != 200:
            self._failure = _read_failure(answer)
            return
        try:
            page = parse_page(answer.body)
        except Refusal as refusal:
            self._failure = (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, f"unreadable page: {refusal.message}")
            return
        self._rows += page.data
        self._seen.add(cursor or "")
        if page.is_last:
            self.complete = True
        elif page.next_cursor in self._seen or len(self._seen) >= PAGES_MAX:
            text = f"the pages do not end ({len(self._seen)} read)"
            self._failure = (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, text)
        else:
            self._cursor = page.next_cursor

    def result(self, asked_ns: int) -> OpenOrdersResult | TradesResult:
        """What was read. A row that cannot be read makes the list incomplete, it is never just left out."""
        orders: list[VenueOrder] = []
        fills: list[VenueFill] = []
        failure = self._failure
        for row in self._rows:
            try:
                if isinstance(self.action, QueryOpenOrders):
                    orders.append(venue_order(parse_open_order(row)))
                else:
                    fills += self._fills(row)
            except Refusal as refusal:
                failure = (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, f"unreadable row: {refusal.message}")
        complete = self.complete and failure is None
        outcome, code, text = failure or (Outcome.DONE, Reason.OK, "")
        if isinstance(self.action, QueryOpenOrders):
            return OpenOrdersResult(self.action.action_id, outcome, code, text, asked_ns, complete, orders)
        return TradesResult(self.action.action_id, outcome, code, text, asked_ns, complete, fills)

    def _fills(self, row: Members) -> list[VenueFill]:
        trade = parse_trade(row)
        fills = own_fills(trade, self._wallet.api_key, {self._wallet.maker})
        return [fill.to_message(self._wallet.name) for fill in fills]


def _read_failure(answer: Answer) -> tuple[Outcome, Reason, str]:
    """A read that gave nothing. Reads change nothing, so only the reason matters."""
    text = _error_text(answer) or answer.text or f"HTTP {answer.status}"
    if answer.status in (401, 403):
        return Outcome.REFUSED, Reason.VENUE_AUTH, text
    if answer.status == 429:
        return Outcome.REFUSED, Reason.VENUE_RATE_LIMIT, text
    if answer.status == 425:
        return Outcome.UNKNOWN, Reason.VENUE_RESTARTING, text
    if 400 <= answer.status < 500:
        return Outcome.REFUSED, Reason.VENUE_REFUSED, text
    return Outcome.UNKNOWN, Reason.VENUE_UNAVAILABLE, text


def _error_text(answer: Answer) -> str:
    """The venue's own error text; "" when the body is not the venue's JSON (a proxy's page proves nothing)."""
    try:
        value = decode_json(answer.body)
    except Refusal:
        return ""
    error = value.get("error") if isinstance(value, dict) else value
    return error[:_TEXT_MAX] if isinstance(error, str) else ""
