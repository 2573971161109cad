"""How much Polymarket lets an address and a signer ask of it (protocol section 7), and what is left of that. Pure.

In: the request that is about to go, the headers of answers, monotonic `now_ns`. Out: charges for Budget.try_take, and
how long a refusal blocks. Both layers are bound: windows per address and endpoint, buckets per signer with orders and
cancels apart. The last part of what cancels need is kept for urgent ones. The tables serve the simulator as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from common.ratelimit import NS_PER_S, Budget, Charges, TokenBucket, charges


class Window(NamedTuple):
    """At most so many requests in any span of so many seconds."""

    requests: int
    per_s: int


class Scope(StrEnum):
    """What one address shares a limit over."""

    EVERYTHING = "everything"
    CLOB = "CLOB total"
    BOOK = "/book"
    PRICE = "/price"
    MIDPOINT = "/midpoint"
    BOOKS = "/books"
    PRICES = "/prices"
    MIDPOINTS = "/midpoints"
    TICK_SIZE = "/tick-size"
    PRICES_HISTORY = "/prices-history"
    LEDGER = "ledger reads total"
    DATA_ORDERS = "/data/orders"
    DATA_TRADES = "/data/trades"
    BALANCE = "GET /balance-allowance"
    BALANCE_UPDATE = "GET /balance-allowance/update"
    NOTIFICATIONS = "/notifications"
    API_KEYS = "API-key endpoints"
    OK = "/ok"
    POST_ORDER = "POST /order"
    POST_ORDERS = "POST /orders"
    DELETE_ORDER = "DELETE /order"
    DELETE_ORDERS = "DELETE /orders"
    CANCEL_ALL = "DELETE /cancel-all"
    CANCEL_MARKET = "DELETE /cancel-market-orders"
    GAMMA = "Gamma total"
    GAMMA_EVENTS = "Gamma /events"
    GAMMA_MARKETS = "Gamma /markets"
    GAMMA_LISTS = "Gamma /events and /markets"
    DATA_V1 = "Data v1 total"
    DATA_V1_TRADES = "Data v1 /trades"
    DATA_V1_POSITIONS = "Data v1 /positions"
    DATA_V2 = "Data v2 total"
    DATA_V2_TRADES = "Data v2 /trades"
    DATA_V2_POSITIONS = "Data v2 /positions"
    RELAYER_SUBMIT = "relayer submit"
    HEARTBEAT = "POST /v1/heartbeats"
    TIME = "GET /time"


def _per_10_s(requests: int) -> tuple[Window, ...]:
    return (Window(requests, 10),)


IP_LIMITS: Final[Mapping[Scope, tuple[Window, ...]]] = {
    Scope.EVERYTHING: _per_10_s(15_000),
    Scope.CLOB: _per_10_s(9_000),
    Scope.BOOK: _per_10_s(1_500),
    Scope.PRICE: _per_10_s(1_500),
    Scope.MIDPOINT: _per_10_s(1_500),
    Scope.BOOKS: _per_10_s(500),
    Scope.PRICES: _per_10_s(500),
    Scope.MIDPOINTS: _per_10_s(500),
    Scope.TICK_SIZE: _per_10_s(200),
    Scope.PRICES_HISTORY: _per_10_s(1_000),
    Scope.LEDGER: _per_10_s(900),
    Scope.DATA_ORDERS: _per_10_s(500),
    Scope.DATA_TRADES: _per_10_s(500),
    Scope.BALANCE: _per_10_s(200),
    Scope.BALANCE_UPDATE: _per_10_s(50),
    Scope.NOTIFICATIONS: _per_10_s(125),
    Scope.API_KEYS: _per_10_s(100),
    Scope.OK: _per_10_s(100),
    Scope.POST_ORDER: (Window(5_000, 10), Window(120_000, 600)),
    Scope.POST_ORDERS: (Window(2_000, 10), Window(21_000, 600)),
    Scope.DELETE_ORDER: (Window(5_000, 10), Window(120_000, 600)),
    Scope.DELETE_ORDERS: (Window(2_000, 10), Window(15_000, 600)),
    Scope.CANCEL_ALL: (Window(250, 10), Window(6_000, 600)),
    Scope.CANCEL_MARKET: (Window(1_500, 10), Window(21_000, 600)),
    Scope.GAMMA: _per_10_s(4_000),
    Scope.GAMMA_EVENTS: _per_10_s(500),
    Scope.GAMMA_MARKETS: _per_10_s(300),
    Scope.GAMMA_LISTS: _per_10_s(900),
    Scope.DATA_V1: _per_10_s(1_000),
    Scope.DATA_V1_TRADES: _per_10_s(200),
    Scope.DATA_V1_POSITIONS: _per_10_s(150),
    Scope.DATA_V2: _per_10_s(800),
    Scope.DATA_V2_TRADES: _per_10_s(300),
    Scope.DATA_V2_POSITIONS: _per_10_s(200),
    Scope.RELAYER_SUBMIT: (Window(25, 60),),
    # These two have no row of their own in the venue's table: the total bounds them. They have buckets so that a 429
    # there blocks only itself.
    Scope.HEARTBEAT: _per_10_s(9_000),
    Scope.TIME: _per_10_s(9_000),
}


class Tier(NamedTuple):
    """Tokens per second and at most, for orders and cancels. `may_owe`: a wallet-wide cancel may leave debt."""

    orders_per_s: int
    orders_burst: int
    cancels_per_s: int
    cancels_burst: int
    may_owe: bool


TIERS: Final[Mapping[str, Tier]] = {
    "Standard": Tier(40, 60, 80, 120, True),
    "Copper": Tier(60, 90, 120, 180, True),
    "Bronze": Tier(80, 120, 160, 240, True),
    "Silver": Tier(200, 300, 400, 600, True),
    "Gold": Tier(400, 600, 800, 1200, True),
    "Platinum": Tier(450, 675, 900, 1350, False),
    "Diamond": Tier(525, 787, 1050, 1575, False),
    "Elite": Tier(600, 900, 1200, 1800, False),
}
DEFAULT_TIER: Final = "Standard"


class Headers(NamedTuple):
    """Names of the headers that speak of limits; a mapping of headers must not mind their case."""

    remaining: str = "Poly-RateLimit-Remaining"
    """Tokens left in the bucket that the request was charged to; below 0 is debt."""
    reset: str = "Poly-RateLimit-Reset"
    """The Unix time in seconds when waiting ends: not when the bucket is full, and now when nothing has to wait."""
    tier: str = "Poly-RateLimit-Tier"
    warning: str = "Poly-RateLimit-Warning"
    """"true": it would have been refused if limits were enforced."""
    retry_after: str = "Retry-After"
    """Seconds or an HTTP date, with a 429."""
    date: str = "Date"


HEADERS: Final = Headers()


def place_cost(n: int) -> int:
    """Order tokens of a request with `n` orders; all of them or none are admitted."""
    return n


def cancel_cost(n: int) -> int:
    """Cancel tokens of a request with `n` ids; all of them or none are admitted."""
    return n


def cancel_wallet_cost(cancelled: int) -> int:
    """Cancel tokens of a wallet- or market-wide cancel: one to be admitted, the others when it is known how many."""
    return 1 + cancelled


class Call(StrEnum):
    """The gateway's requests, as method and path."""

    PLACE = "POST /order"
    PLACE_BATCH = "POST /orders"
    CANCEL = "DELETE /order"
    CANCEL_BATCH = "DELETE /orders"
    CANCEL_ALL = "DELETE /cancel-all"
    CANCEL_MARKET = "DELETE /cancel-market-orders"
    LOOKUP = "GET /data/order"
    OPEN_ORDERS = "GET /data/orders"
    TRADES = "GET /data/trades"
    BALANCES = "GET /balance-allowance"
    HEARTBEAT = "POST /v1/heartbeats"
    TIME = "GET /time"
    POSITIONS = "GET /v2/positions"


SCOPES: Final[Mapping[Call, tuple[Scope, ...]]] = {
    Call.PLACE: (Scope.POST_ORDER, Scope.CLOB),
    Call.PLACE_BATCH: (Scope.POST_ORDERS, Scope.CLOB),
    Call.CANCEL: (Scope.DELETE_ORDER, Scope.CLOB),
    Call.CANCEL_BATCH: (Scope.DELETE_ORDERS, Scope.CLOB),
    Call.CANCEL_ALL: (Scope.CANCEL_ALL, Scope.CLOB),
    Call.CANCEL_MARKET: (Scope.CANCEL_MARKET, Scope.CLOB),
    Call.LOOKUP: (Scope.LEDGER, Scope.CLOB),
    Call.OPEN_ORDERS: (Scope.DATA_ORDERS, Scope.LEDGER, Scope.CLOB),
    Call.TRADES: (Scope.DATA_TRADES, Scope.LEDGER, Scope.CLOB),
    Call.BALANCES: (Scope.BALANCE, Scope.CLOB),
    Call.HEARTBEAT: (Scope.HEARTBEAT, Scope.CLOB),
    Call.TIME: (Scope.TIME, Scope.CLOB),
    Call.POSITIONS: (Scope.DATA_V2_POSITIONS, Scope.DATA_V2),
}
"""What each call counts against. The first is its own: a 429 that does not speak of the signer blocks only that.

`EVERYTHING` needs no bucket: the totals of all hosts together are below it.
"""

_LOOKUP_PREFIX = "/data/order/"


def call_of(method: str, path: str) -> Call | None:
    """Which of these calls a request is; None for one the gateway does not budget."""
    if path.startswith(_LOOKUP_PREFIX):
        return Call.LOOKUP
    return _CALLS.get(f"{method} {path}")


_CALLS: Final = {call.value: call for call in Call}

ORDER_CALLS: Final = frozenset({Call.PLACE, Call.PLACE_BATCH})
CANCEL_CALLS: Final = frozenset({Call.CANCEL, Call.CANCEL_BATCH, Call.CANCEL_ALL, Call.CANCEL_MARKET})

CANCEL_BATCH_MAX: Final = 1000
DEBT_MAX: Final = 100_000
"""How much a wallet-wide cancel may owe at most in our books."""
RETRY_AFTER_DEFAULT_NS: Final = NS_PER_S
"""A 429 that does not say how long."""
RETRY_AFTER_MAX_NS: Final = 600 * NS_PER_S
"""Nothing that the venue says keeps cancels away for longer than this."""
_CACHE_MAX = 4096
_URGENT = frozenset({Scope.CLOB, *(SCOPES[call][0] for call in CANCEL_CALLS)})
_NUMBER = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,9})[0-9]*)?")


class _Signer:
    """The two buckets of one API key, and the charges that are asked for all the time."""

    __slots__ = ("cancel_all", "cancel_market", "cancel_one", "cancels", "orders", "place_one", "tier")

    def __init__(self, tier: str, orders: TokenBucket, cancels: TokenBucket) -> None:
        self.tier = tier
        self.orders = orders
        self.cancels = cancels
        self.place_one: Charges = ()
        self.cancel_one: Charges = ()
        self.cancel_all: Charges = ()
        self.cancel_market: Charges = ()


class PolymarketLimits(Budget):
    """The budgets of one address: every endpoint it uses, and every wallet that was ever named (settings name them).

    `share_percent` of what the venue allows an address is ours (other programs may share it), `signer_percent` of what
    it allows a signer (requests sent evenly arrive bunched). `reserve_percent` of what cancels need is for urgent ones.
    Raises ValueError for an unknown default tier.
    """

    __slots__ = ("_default_tier", "_ip", "_many", "_reserve_percent", "_signer_percent", "_signers", "_walletless")

    def __init__(
        self,
        *,
        share_percent: int = 80,
        signer_percent: int = 90,
        reserve_percent: int = 25,
        default_tier: str = DEFAULT_TIER,
    ) -> None:
        super().__init__()
        if default_tier not in TIERS:
            raise ValueError(f"{default_tier!r} is not a tier: one of {', '.join(TIERS)}")
        self._default_tier = default_tier
        self._signer_percent = signer_percent
        self._reserve_percent = reserve_percent
        self._signers: dict[str, _Signer] = {}
        self._many: dict[tuple[Call, str, int], Charges] = {}
        used = {scope for scopes in SCOPES.values() for scope in scopes}
        self._ip = {
            scope: self.add(_address_bucket(scope, share_percent, reserve_percent)) for scope in Scope if scope in used
        }
        self._walletless = {call: charges(*self._of_address(call)) for call in Call}

    # --- charges ---

    def place(self, wallet: str, n: int = 1) -> Charges:
        """One request that places `n` orders: POST /order for one, POST /orders for more."""
        signer = self._signers.get(wallet) or self._meet(wallet)
        return signer.place_one if n == 1 else self._several(Call.PLACE_BATCH, wallet, signer.orders, place_cost(n))

    def cancel(self, wallet: str, n: int = 1) -> Charges:
        """One request that cancels `n` ids (DELETE /order for one, /orders for more), at most `cancel_batch_max`."""
        signer = self._signers.get(wallet) or self._meet(wallet)
        return signer.cancel_one if n == 1 else self._several(Call.CANCEL_BATCH, wallet, signer.cancels, cancel_cost(n))

    def cancel_wallet(self, wallet: str) -> Charges:
        """Its admission; what it cancelled is charged by `on_cancelled`."""
        return self._signer(wallet).cancel_all

    def cancel_market(self, wallet: str) -> Charges:
        """As `cancel_wallet`, for one market of it."""
        return self._signer(wallet).cancel_market

    def lookup(self) -> Charges:
        return self._walletless[Call.LOOKUP]

    def open_orders(self) -> Charges:
        """One page."""
        return self._walletless[Call.OPEN_ORDERS]

    def trades(self) -> Charges:
        """One page."""
        return self._walletless[Call.TRADES]

    def positions(self) -> Charges:
        """One page."""
        return self._walletless[Call.POSITIONS]

    def balances(self) -> Charges:
        return self._walletless[Call.BALANCES]

    def heartbeat(self) -> Charges:
        return self._walletless[Call.HEARTBEAT]

    def time(self) -> Charges:
        return self._walletless[Call.TIME]

    def cancel_batch_max(self, wallet: str) -> int:
        """Ids in one request: a batch above the signer's burst would be refused for ever."""
        return min(CANCEL_BATCH_MAX, self._signer(wallet).cancels.burst)

    def cancels_free(self, wallet: str, now_ns: int) -> int:
        """Ids that one urgent cancel may carry now: what is left of the signer's, if the endpoint takes a batch."""
        cancels = self._signer(wallet).cancels
        free = min(CANCEL_BATCH_MAX, cancels.remaining(now_ns))
        if free > 1 and self.wait_ns(self.cancel(wallet, 2), now_ns, urgent=True):
            free = 1
        return 0 if free < 1 or (free == 1 and self.wait_ns(self.cancel(wallet), now_ns, urgent=True)) else free

    def place_batch_max(self, wallet: str) -> int:
        """Orders in one request that the signer's bucket can ever admit; the venue has a limit of its own."""
        return self._signer(wallet).orders.burst

    def tier(self, wallet: str) -> str:
        return self._signer(wallet).tier

    # --- what answers say ---

    def on_cancelled(self, wallet: str, n: int, now_ns: int) -> None:
        """A wallet- or market-wide cancel was answered with `n` cancelled orders."""
        if n > 0:
            self._signer(wallet).cancels.take(cancel_wallet_cost(n) - 1, now_ns)

    def on_headers(
        self, wallet: str, call: Call, headers: Mapping[str, str], status: int, now_ns: int, *, wall_ns: int = 0
    ) -> int:
        """Learn from an answer: tier, tokens left and, for a 429, for how many ns this call is blocked now (else 0).

        `wallet` "" for a call without one. `wall_ns` is needed only for a Retry-After date of an answer without Date.
        """
        signer = self._signer(wallet) if wallet else None
        tier = headers.get(HEADERS.tier)
        remaining = headers.get(HEADERS.remaining)
        if signer is not None and tier is not None:
            self._learn_tier(signer, tier, now_ns)
        bucket = _charged(signer, call)
        if bucket is not None and remaining is not None:
            self._learn_remaining(bucket, remaining, now_ns)
        if headers.get(HEADERS.warning, "").strip().lower() == "true":
            self.counters["limit_warnings"] += 1
        if status != 429:
            return 0
        by_signer = bucket is not None and (tier is not None or remaining is not None)
        return self._refused_by_venue(bucket if by_signer else None, call, headers, now_ns, wall_ns)

    def _learn_tier(self, signer: _Signer, word: str, now_ns: int) -> None:
        tier = _TIER_WORDS.get(word.strip().lower())
        if tier is None:
            self.counters["limit_tiers_unknown"] += 1
            tier = self._default_tier
        if tier == signer.tier:
            return
        self.counters["limit_tier_changes"] += 1
        signer.tier = tier
        for bucket, shape in ((signer.orders, self._orders_of(tier)), (signer.cancels, self._cancels_of(tier))):
            bucket.debt_max = shape.debt_max
            bucket.resize(shape.rate, shape.burst, now_ns, reserve=shape.reserve)

    def _learn_remaining(self, bucket: TokenBucket, text: str, now_ns: int) -> None:
        remaining = _number_ns(text)
        if remaining is None or remaining < -DEBT_MAX * NS_PER_S:
            self.counters["limit_headers_bad"] += 1
            return
        bucket.learn(remaining // NS_PER_S, now_ns)

    def _refused_by_venue(
        self, signers: TokenBucket | None, call: Call, headers: Mapping[str, str], now_ns: int, wall_ns: int
    ) -> int:
        self.counters["limit_429"] += 1
        if call in CANCEL_CALLS:
            self.counters["limit_429_cancels"] += 1
        wait_ns = self._pause(headers, wall_ns)
        bucket = signers or self._ip[SCOPES[call][0]]
        bucket.block_until(now_ns + wait_ns, now_ns)
        return wait_ns

    def _pause(self, headers: Mapping[str, str], wall_ns: int) -> int:
        """What Retry-After says, else until the reset, else a second; never longer than RETRY_AFTER_MAX_NS."""
        date = headers.get(HEADERS.date)
        retry_after, reset = headers.get(HEADERS.retry_after), headers.get(HEADERS.reset)
        said = None if retry_after is None else retry_after_ns(retry_after, date, wall_ns)
        if retry_after is not None and said is None:
            self.counters["limit_headers_bad"] += 1
        if said is None and reset is not None:
            said = _until_reset_ns(reset, date, wall_ns)
        return RETRY_AFTER_DEFAULT_NS if said is None else min(said, RETRY_AFTER_MAX_NS)

    # --- making them ---

    def _signer(self, wallet: str) -> _Signer:
        return self._signers.get(wallet) or self._meet(wallet)

    def _meet(self, wallet: str) -> _Signer:
        """The signer's buckets, made when it is first named."""
        tier = self._default_tier
        orders = self.add(self._orders_of(tier).bucket(f"orders of {wallet}"))
        cancels = self.add(self._cancels_of(tier).bucket(f"cancels of {wallet}"))
        signer = self._signers[wallet] = _Signer(tier, orders, cancels)
        signer.place_one = charges((orders, place_cost(1)), *self._of_address(Call.PLACE))
        signer.cancel_one = charges((cancels, cancel_cost(1)), *self._of_address(Call.CANCEL))
        signer.cancel_all = charges((cancels, cancel_wallet_cost(0)), *self._of_address(Call.CANCEL_ALL))
        signer.cancel_market = charges((cancels, cancel_wallet_cost(0)), *self._of_address(Call.CANCEL_MARKET))
        return signer

    def _several(self, call: Call, wallet: str, bucket: TokenBucket, cost: int) -> Charges:
        known = self._many.get((call, wallet, cost))
        if known is None:
            if len(self._many) >= _CACHE_MAX:
                self._many.clear()
            known = self._many[call, wallet, cost] = charges((bucket, cost), *self._of_address(call))
        return known

    def _of_address(self, call: Call) -> list[tuple[TokenBucket, int]]:
        return [(self._ip[scope], 1) for scope in SCOPES[call]]

    def _orders_of(self, tier: str) -> _Shape:
        row = TIERS[tier]
        return self._shape(row.orders_per_s, row.orders_burst, 0, 0)

    def _cancels_of(self, tier: str) -> _Shape:
        row = TIERS[tier]
        return self._shape(row.cancels_per_s, row.cancels_burst, self._reserve_percent, DEBT_MAX if row.may_owe else 0)

    def _shape(self, per_s: int, burst: int, reserve_percent: int, debt_max: int) -> _Shape:
        ours = burst * self._signer_percent // 100
        rate = (per_s * self._signer_percent, 100 * NS_PER_S)
        return _Shape(rate, ours, ours * reserve_percent // 100, debt_max)


class _Shape(NamedTuple):
    rate: tuple[int, int]
    burst: int
    reserve: int
    debt_max: int

    def bucket(self, name: str) -> TokenBucket:
        return TokenBucket(self.rate, self.burst, reserve=self.reserve, debt_max=self.debt_max, name=name)


_TIER_WORDS: Final = {name.lower(): name for name in TIERS}
_BURST_PART = 5


def _address_bucket(scope: Scope, share_percent: int, reserve_percent: int) -> TokenBucket:
    """One bucket for all windows of a scope: none ever has more than our share, burst + rate x window at most.

    The burst is a part of the shortest window; the rate is what the tightest window leaves.
    """
    ours = [(window.requests * share_percent // 100, window.per_s * NS_PER_S) for window in IP_LIMITS[scope]]
    burst = max(1, ours[0][0] // _BURST_PART)
    reserve = burst * reserve_percent // 100 if scope in _URGENT else 0
    rate = min(((most - burst, per_ns) for most, per_ns in ours), key=lambda found: Fraction(*found))
    return TokenBucket(rate, burst, reserve=reserve, name=scope.value)


def _charged(signer: _Signer | None, call: Call) -> TokenBucket | None:
    if signer is None:
        return None
    if call in ORDER_CALLS:
        return signer.orders
    return signer.cancels if call in CANCEL_CALLS else None


def _number_ns(text: str) -> int | None:
    """A decimal number times 10^9; None when it is none, or absurdly long."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    whole, part = match.groups()
    fraction = int((part or "").ljust(9, "0"))
    return int(whole) * NS_PER_S + (-fraction if whole.startswith("-") else fraction)


def retry_after_ns(text: str, date: str | None = None, wall_ns: int = 0) -> int | None:
    """A Retry-After header (seconds, or an HTTP date counted from `date`, else from `wall_ns`); None: garbage."""
    seconds = _number_ns(text)
    if seconds is not None:
        return seconds if seconds >= 0 else None
    until_ns, from_ns = _date_ns(text), _said_at_ns(date, wall_ns)
    return max(0, until_ns - from_ns) if until_ns and from_ns else None


def _until_reset_ns(reset: str, date: str | None, wall_ns: int) -> int | None:
    """None: garbage, or a time that is over."""
    until_ns, from_ns = _number_ns(reset), _said_at_ns(date, wall_ns)
    return until_ns - from_ns if until_ns and from_ns and until_ns > from_ns else None


def _said_at_ns(date: str | None, wall_ns: int) -> int | None:
    """When an answer was given, by the venue's clock if it says."""
    return (_date_ns(date) if date else None) or wall_ns or None


def _date_ns(text: str) -> int | None:
    try:
        moment = parsedate_to_datetime(text.strip())
        return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * NS_PER_S
    except (ValueError, OverflowError):
        return None
