"""Asks the venue over HTTP what the doctor wants to know of it: one question after the other, none of them twice.

In: settings and what could be read of each wallet's files. Out: findings. Nothing that is asked changes anything: the
cancel names an order nobody can have, the order ended in 1970.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from common.errors import ConfigError, Refusal
from common.http import HttpClient
from common.messages import VenuePosition
from common.settings import Settings, is_loopback
from common.types import ONE, Outcome, TimeInForce
from common.venues.polymarket.auth import L2Credentials
from common.venues.polymarket.contracts import exchange_address, protocol_version
from common.venues.polymarket.errors import CancelVerdict, classify_cancel, classify_place
from common.venues.polymarket.holdings import parse_holdings
from common.venues.polymarket.orders import POLY_1271, SALT_MAX, recover_order_signer
from common.venues.polymarket.pinned import PinnedOrder
from common.venues.polymarket.signing import Signer
from common.venues.polymarket.wallets import wallets_of
from common.venues.polymarket.wire import (
    decode_json,
    need_text,
    parse_page,
    read_flag,
    read_micros,
    read_objects,
)
from services.gateway.adapters.polymarket import answer_of
from services.gateway.doctor import polymarket as judge
from services.gateway.doctor.findings import About, Code, Finding, Level
from services.gateway.doctor.local import Files
from services.gateway.polymarket import (
    NOBODYS_ID,
    Answer,
    Request,
    VenueWallet,
    cancel_request,
    place_body,
    place_request,
)
from services.gateway.signers import InsideSigner

GEOBLOCK_URL: Final = "https://polymarket.com"
GEOBLOCK_PATH: Final = "/api/geoblock"
OF_KEY: Final = (
    Code.CLOSED_ONLY,
    Code.RATE_TIER,
    Code.MONEY,
    Code.ALLOWANCE,
    Code.SELLING,
    Code.CANCEL,
    Code.ORDER,
)
"""What only valid API credentials can ask."""
LONG_AGO: Final = "1"
"""Unix seconds: the end of the order that must be refused."""
DEAD_MAN: Final = "the venue does not show who beats with this key, and asking would begin to beat"


class Market(NamedTuple):
    """Something that can be traded now."""

    token_id: str
    tick: int
    neg_risk: bool


class Venue:
    """Polymarket or its simulator, asked over HTTP."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reached = True
        urls = settings.polymarket
        self.http = self._client(urls.clob_url)
        self._data = self._client(urls.data_url)
        self._geoblock = self._client(geoblock_url(urls.clob_url) or urls.clob_url)

    def _client(self, url: str) -> HttpClient:
        gateway = self._settings.gateway
        return HttpClient(
            url,
            total_timeout_s=gateway.request_timeout_ms / 1000,
            connect_timeout_s=gateway.connect_timeout_ms / 1000,
            connections=2,
        )

    async def close(self) -> None:
        for http in (self.http, self._data, self._geoblock):
            await http.close()

    # --- what it says to anybody ---

    async def public(self) -> list[Finding]:
        """The first finding says whether it can be reached at all."""
        url = self._settings.polymarket.clob_url
        answer = await self._get("/ok")
        self._reached = bool(answer.status)
        first = judge.venue_finding(answer, url)
        if not self._reached:
            about = About()
            rest = (Code.CLOCK, Code.VERSION, Code.GEOBLOCK)
            return [first, *(about.skipped(code, "the venue cannot be reached") for code in rest)]
        version = judge.version_finding(await self._get("/version"), self._settings.polymarket.protocol_version)
        return [first, await self._clock(), version, await self._blocked()]

    async def _clock(self) -> Finding:
        before_ns = time.time_ns()
        answer = await self._get("/time")
        now_ns = time.time_ns()
        seconds = _seconds(answer)
        if seconds is None:
            return judge.unread(Code.CLOCK, "", "GET /time", answer)
        # Whole seconds: half of one on, and as of the middle of our question.
        return judge.clock_finding(seconds * 10**9 + 5 * 10**8, (before_ns + now_ns) // 2)

    async def _blocked(self) -> Finding:
        if not geoblock_url(self._settings.polymarket.clob_url):
            return About().skipped(Code.GEOBLOCK, "this venue has no page that tells")
        return judge.geoblock_finding(answer_of(await self._geoblock.request("GET", GEOBLOCK_PATH)))

    # --- what it says to one wallet ---

    async def private(self, files: Files) -> list[Finding]:
        """Everything about one wallet. What cannot be asked is SKIPPED with the reason."""
        about = About(files.row.name)
        own = _identity(files, self._settings)
        funder = [judge.funder_finding(own)] if own else [about.skipped(Code.FUNDER, "the key could not be read")]
        if files.signer is None or files.creds is None or own is None:
            missing = "the key or its API credentials could not be read"
            return [*funder, *(about.skipped(code, missing) for code in (Code.API_KEY, Code.SIGNATURE, *OF_KEY))]
        try:
            wallet = _wallet(files.signer, files.creds, own)
        except ConfigError as error:
            text = f"the wallet cannot be used: {error}"
            return [*funder, *(about.skipped(code, text) for code in (Code.API_KEY, Code.SIGNATURE, *OF_KEY))]
        return [*funder, *await self._asked(wallet, own), about.skipped(Code.DEAD_MAN, DEAD_MAN)]

    async def _asked(self, wallet: VenueWallet, own: judge.Identity) -> list[Finding]:
        name = own.name
        market = await self._market() if self._reached else None
        pinned = self._doomed(wallet, market)
        signature = await wallet.sign(pinned, pinned.venue_order_id)
        recovered = recover_order_signer(pinned.order, signature, pinned.chain_id, pinned.neg_risk, pinned.version)
        signed = judge.signature_finding(name, own.signer, recovered, own.signature_type)
        if not self._reached:
            text = "the venue cannot be reached"
            return [*(About(name).skipped(code, text) for code in (Code.API_KEY, *OF_KEY)), signed]
        key = judge.api_key_finding(name, await self._ask(wallet, "/auth/api-keys"), wallet.api_key)
        if key.level is Level.FAIL:
            text = "the venue has to accept the API credentials first"
            return [key, *(About(name).skipped(code, text) for code in OF_KEY), signed]
        return [
            key,
            judge.closed_only_finding(name, await self._ask(wallet, "/auth/ban-status/closed-only")),
            judge.tier_finding(name, await self._ask(wallet, "/v1/user/rate-limit-tier")),
            *await self._money(wallet, market),
            signed,
            judge.cancel_finding(name, await self._cancel(wallet)),
            await self._order(wallet, own, pinned if market else None, signature),
        ]

    async def _money(self, wallet: VenueWallet, market: Market | None) -> list[Finding]:
        venue = self._settings.polymarket
        spenders = judge.spenders_of(venue.protocol_version, venue.chain_id)
        held = await self._held(wallet)
        kind = ("signature_type", str(wallet.signature_type))
        answer = await self._ask(wallet, "/balance-allowance", ("asset_type", "COLLATERAL"), kind)
        found = judge.money_findings(wallet.name, answer, held, spenders, wallet.maker)
        if market is None:
            return [*found, About(wallet.name).skipped(Code.SELLING, "there is no market to ask about")]
        token = ("token_id", market.token_id)
        answer = await self._ask(wallet, "/balance-allowance", ("asset_type", "CONDITIONAL"), token, kind)
        version = max(venue.protocol_version, protocol_version(int(market.token_id)))
        spender = exchange_address(version, venue.chain_id, market.neg_risk)
        return [*found, judge.selling_finding(wallet.name, answer, spender)]

    async def _held(self, wallet: VenueWallet) -> Sequence[VenuePosition] | None:
        query = (("user", wallet.maker), ("limit", "100"))
        answer = answer_of(await self._data.request("GET", "/v2/positions", query=query))
        if answer.status != 200:
            return None
        try:
            rows = parse_holdings(answer.body).held
        except Refusal:
            return None
        return [VenuePosition(row.token_id, row.size) for row in rows if row.size]

    async def _cancel(self, wallet: VenueWallet) -> CancelVerdict:
        answer = await self._send(cancel_request([NOBODYS_ID], wallet, _now_s()))
        return classify_cancel(answer.status, answer.body, answer.retry_after)

    async def _order(
        self, wallet: VenueWallet, own: judge.Identity, pinned: PinnedOrder | None, signature: str
    ) -> Finding:
        if pinned is None:
            return About(own.name).skipped(Code.ORDER, "there is no market to sign an order for")
        request = place_request(place_body(pinned, signature, wallet), wallet, _now_s())
        answer = await self._send(request)
        verdict = classify_place(answer.status, answer.body, answer.retry_after)
        if verdict.outcome is not Outcome.REFUSED:
            # It must not be there, so nothing is lost by making sure.
            await self._send(cancel_request([pinned.venue_order_id], wallet, _now_s()))
        return judge.order_finding(own, verdict, deposit_wallet=wallets_of(own.signer)[POLY_1271][0])

    def _doomed(self, wallet: VenueWallet, market: Market | None) -> PinnedOrder:
        """An order no venue can take: it ended in 1970, and is for a hundredth of a share at the lowest price."""
        known = market or Market(str(2**255), ONE // 100, False)
        version = max(self._settings.polymarket.protocol_version, protocol_version(int(known.token_id)))
        own = wallet.identity
        return PinnedOrder(
            salt=secrets.randbelow(SALT_MAX),
            maker=own.maker,
            signer=own.order_signer,
            token_id=known.token_id,
            maker_amount=known.tick // 100,
            taker_amount=ONE // 100,
            side=0,
            signature_type=own.signature_type,
            timestamp=time.time_ns() // 1_000_000,
            version=version,
            chain_id=own.chain_id,
            neg_risk=known.neg_risk,
            order_type=TimeInForce.GTD,
            post_only=True,
            expiration=LONG_AGO,
        )

    async def _market(self) -> Market | None:
        """The first market that takes orders; None when there is none, or the list cannot be read."""
        answer = await self._get("/sampling-markets")
        try:
            rows = parse_page(answer.body).data if answer.status == 200 else []
            for row in rows:
                tokens = read_objects(row, "tokens")
                if read_flag(row, "accepting_orders") and tokens:
                    tick = read_micros(row, "minimum_tick_size")
                    return Market(need_text(tokens[0], "token_id"), tick, read_flag(row, "neg_risk"))
        except Refusal:
            pass
        return None

    # --- HTTP ---

    async def _get(self, path: str) -> Answer:
        return answer_of(await self.http.request("GET", path))

    async def _ask(self, wallet: VenueWallet, path: str, *query: tuple[str, str]) -> Answer:
        return await self._send(Request("GET", path, wallet.headers(_now_s(), "GET", path), None, query))

    async def _send(self, request: Request) -> Answer:
        outcome = await self.http.request(
            request.method, request.path, query=request.query, headers=request.headers, body=request.body
        )
        return answer_of(outcome)


def geoblock_url(clob_url: str) -> str:
    """Where a venue says whether it takes orders from here: the simulator itself; "" where nobody does."""
    host = urlsplit(clob_url).hostname or ""
    if is_loopback(host):
        return clob_url
    return GEOBLOCK_URL if host == "polymarket.com" or host.endswith(".polymarket.com") else ""


def _identity(files: Files, settings: Settings) -> judge.Identity | None:
    row = files.row
    if files.signer is None:
        return None
    return judge.Identity(row.name, files.signer.address, row.funder, row.signature_type, settings.polymarket.chain_id)


def _wallet(signer: Signer, creds: L2Credentials, own: judge.Identity) -> VenueWallet:
    return VenueWallet(
        own.name,
        InsideSigner(signer),
        creds,
        funder=own.funder,
        signature_type=own.signature_type,
        chain_id=own.chain_id,
    )


def _seconds(answer: Answer) -> int | None:
    try:
        value = decode_json(answer.body) if answer.status == 200 else None
    except Refusal:
        return None
    if isinstance(value, Mapping):
        value = value.get("time")
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _now_s() -> int:
    return time.time_ns() // 1_000_000_000
