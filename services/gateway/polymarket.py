"""Actions as requests of the Polymarket CLOB, and its answers as results. Pure.

In: an action, the wallet it is for, and the time; later the answer. Out: method, path, headers and exact body of one
request; then the result. An order is signed only as it was pinned, and refused when its digest is not the one that was
journaled. Everything that is not a documented refusal stays UNKNOWN (common/venues/polymarket/errors.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from common.errors import ConfigError, Refusal
from common.fixed import MICROS_MAX
from common.messages import (
    BalancesResult,
    Cancel,
    CancelResult,
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
from common.types import Outcome
from common.venues.polymarket.auth import L2Credentials, L2Signer
from common.venues.polymarket.errors import CancelVerdict, classify_cancel, classify_place
from common.venues.polymarket.holdings import parse_holdings
from common.venues.polymarket.orders import POLY_1271, post_body, sign_order
from common.venues.polymarket.pinned import PinnedOrder, decode_pinned
from common.venues.polymarket.signing import Signer, checksum_address
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

VENUE = "polymarket"
CANCEL_CHUNK = 1000
PAGES_MAX = 1000
HELD_PAGE = 500
_NOT_FOUND = re.compile(r"not found|can.?t be found", re.IGNORECASE)
_TEXT_MAX = 300


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None
    query: tuple[tuple[str, str], ...] = ()


class Answer(NamedTuple):
    """What came back. Status 0: nothing usable did, `text` says why; `sent` False proves that nothing went out."""

    status: int
    body: bytes = b""
    retry_after: str = ""
    text: str = ""
    sent: bool = True


class VenueWallet:
    """One wallet's keys and names. Never printed, never copied."""

    __slots__ = ("_l2", "api_key", "chain_id", "maker", "name", "order_signer", "signature_type", "signer")

    def __init__(
        self, name: str, signer: Signer, creds: L2Credentials, *, funder: str, signature_type: int, chain_id: int
    ) -> None:
        if signature_type and not funder:
            raise ConfigError("wallets.funder", f"wallet {name!r} of signature type {signature_type} needs a funder")
        self.name = name
        self.signer = signer
        self.api_key = creds.key
        self.chain_id = chain_id
        self.signature_type = signature_type
        self.maker = checksum_address(funder) if funder else signer.address
        # A deposit wallet signs as itself (protocol section 3.2); the API key stays bound to the signing EOA.
        self.order_signer = self.maker if signature_type == POLY_1271 else signer.address
        self._l2 = L2Signer(signer.address, creds)

    def headers(self, at_s: int, method: str, path: str, body: bytes | None = None) -> dict[str, str]:
        return self._l2.headers(at_s, method, path, body)

    def ready(self) -> WalletReady:
        return WalletReady(
            VENUE, self.name, self.order_signer, self.maker, self.signature_type, self.chain_id, self.api_key
        )

    def __repr__(self) -> str:
        return f"VenueWallet({self.name}, {self.maker})"


# --- places ---


def checked_order(place: Place, wallet: VenueWallet) -> PinnedOrder:
    """The pinned order, which must be this wallet's and have the digest that was journaled. Raises Refusal."""
    pinned = decode_pinned(place.pinned)
    if (pinned.chain_id, pinned.signature_type) != (wallet.chain_id, wallet.signature_type):
        raise Refusal(Reason.BAD_REQUEST, "the order is pinned for another chain or signature type", "pinned")
    if (pinned.maker.lower(), pinned.signer.lower()) != (wallet.maker.lower(), wallet.order_signer.lower()):
        raise Refusal(Reason.BAD_REQUEST, f"the order is pinned for another wallet than {wallet.name}", "pinned")
    digest = pinned.venue_order_id
    if digest != place.venue_order_id:
        text = f"the pinned order has the digest {digest}, not {place.venue_order_id[:80]}"
        raise Refusal(Reason.DIGEST_MISMATCH, text, "venue_order_id")
    return pinned


def place_request(pinned: PinnedOrder, wallet: VenueWallet, at_s: int) -> Request:
    """POST /order with the signature over exactly the pinned struct; the same pinned order gives the same body."""
    order = pinned.order
    signature = sign_order(order, wallet.signer, pinned.chain_id, pinned.neg_risk, pinned.version)
    body = post_body(
        order, signature, wallet.api_key, pinned.order_type.value, pinned.post_only, expiration=pinned.expiration
    )
    return Request("POST", "/order", wallet.headers(at_s, "POST", "/order", body), body)


def place_result(place: Place, answer: Answer, timings: Timings, *, resent: bool) -> PlaceResult:
    """The result of a sent place. A refusal of a copy that was sent again does not speak for the first copy."""
    if not answer.sent:
        outcome = Outcome.UNKNOWN if resent else Outcome.REFUSED
        text = f"nothing was sent: {answer.text}"
        return PlaceResult(
            place.action_id, place.venue_order_id, outcome, Reason.VENUE_UNAVAILABLE, text, timings=timings
        )
    verdict = classify_place(answer.status, answer.body, answer.retry_after)
    outcome, code, text = verdict.outcome, verdict.reason, verdict.message or answer.text
    if outcome is Outcome.DONE and verdict.venue_order_id.lower() != place.venue_order_id.lower():
        outcome, code = Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME
        text = f"the venue answered for another order: {verdict.venue_order_id[:80]!r}"
    if resent and outcome is Outcome.REFUSED:
        outcome, text = Outcome.UNKNOWN, f"refused when sent again: {text}"
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
    )


def adopted_result(place: Place, order: VenueOrder, timings: Timings) -> PlaceResult:
    """A repeat whose order the venue has: nothing is sent. What it filled comes as fills, never from here."""
    text = "the venue has this order"
    return PlaceResult(
        place.action_id, place.venue_order_id, Outcome.DONE, Reason.OK, text, order.status.lower(), timings=timings
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


def cancel_requests(cancel: Cancel, wallet: VenueWallet, at_s: int) -> list[Request]:
    """DELETE /order for one id, DELETE /orders for more, at most 1000 ids in each."""
    ids = list(dict.fromkeys(cancel.venue_order_ids))
    if len(ids) == 1:
        return [_delete("/order", encode_json({"orderID": ids[0]}), wallet, at_s)]
    chunks = [ids[start : start + CANCEL_CHUNK] for start in range(0, len(ids), CANCEL_CHUNK)]
    return [_delete("/orders", encode_json(chunk), wallet, at_s) for chunk in chunks]


def _delete(path: str, body: bytes, wallet: VenueWallet, at_s: int) -> Request:
    return Request("DELETE", path, wallet.headers(at_s, "DELETE", path, body), body)


def cancel_result(cancel: Cancel, answers: Sequence[Answer]) -> CancelResult:
    """All answers of one cancel as one result: DONE only when every chunk was answered; the worst one gives the code.

    `not_canceled` maps an id to a reason word and the venue's text, as in "ORDER_NOT_FOUND: order not found".
    """
    verdicts = [_cancel_verdict(answer) for answer in answers]
    canceled = [order_id for verdict in verdicts for order_id in verdict.canceled]
    not_canceled = {
        order_id: f"{why.reason.value}: {why.message}"
        for verdict in verdicts
        for order_id, why in verdict.not_canceled.items()
    }
    rank = (Outcome.UNKNOWN, Outcome.REFUSED, Outcome.DONE)
    worst = min(verdicts, key=lambda verdict: rank.index(verdict.outcome))
    return CancelResult(cancel.action_id, worst.outcome, worst.reason, worst.message, canceled, not_canceled)


def _cancel_verdict(answer: Answer) -> CancelVerdict:
    verdict = classify_cancel(answer.status, answer.body, answer.retry_after)
    if answer.sent and answer.status:
        return verdict
    outcome = verdict.outcome if answer.sent else Outcome.REFUSED
    code = verdict.reason if answer.sent else Reason.VENUE_UNAVAILABLE
    return msgspec.structs.replace(verdict, outcome=outcome, reason=code, message=f"{verdict.message}: {answer.text}")


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
        return [
            VenueFill(
                VENUE,
                self._wallet.name,
                fill.trade_id,
                fill.venue_order_id,
                fill.token_id,
                fill.side,
                fill.size,
                fill.price,
                fill.cash,
                fill.is_taker,
                fill.settlement,
                fill.tx_hash,
                fill.match_ns,
            )
            for fill in own_fills(trade, self._wallet.api_key, {self._wallet.maker})
        ]


def _read_failure(answer: Answer) -> tuple[Outcome, Reason, str]:
    """A read that gave nothing. Reads change nothing, so only the reason matters."""
    text = _error_text(answer) or answer.text or f"HTTP {answer.status}"
    if answer.status in (401, 403):
        return Outcome.REFUSED, Reason.VENUE_AUTH, text
    if answer.status == 429:
        return Outcome.REFUSED, Reason.VENUE_RATE_LIMIT, text
    if 400 <= answer.status < 500 and answer.status != 425:
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
