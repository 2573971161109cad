"""How much may be asked of a venue now: token buckets, and decisions that charge several of them at once. Pure.

In: costs in tokens and `now_ns`, nanoseconds of one clock that does not step (the monotonic one). Out: 0 (it may go and
is charged) or the nanoseconds to wait. It never sleeps, queues or reads a clock, and it never refuses for ever: a cost
above the burst goes when its bucket is full and leaves debt. All arithmetic is exact integers, so nothing drifts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import gcd
from typing import Final, Protocol

NS_PER_S: Final = 1_000_000_000


class TokenBucket:
    """`burst` tokens at most, refilled at `rate`; the last `reserve` of them are for urgent requests only.

    The state is one number: when the bucket will be full again. Times inside are nanoseconds multiplied by `_scale`,
    the numerator of the reduced rate; so one token takes exactly `_each` of them and no refill is ever rounded.
    """

    __slots__ = (
        "_blocked_ns",
        "_deep",
        "_each",
        "_full",
        "_reach",
        "_room",
        "_scale",
        "burst",
        "debt_max",
        "name",
        "reserve",
    )
    _reach: int
    """How far `_full` can be ahead of now; further means that the clock stepped back."""

    def __init__(
        self, rate: int | tuple[int, int], burst: int, *, debt_max: int = 0, reserve: int = 0, name: str = ""
    ) -> None:
        """`rate`: tokens per second, or (tokens, nanoseconds). It starts full. Raises ValueError for what cannot be."""
        if debt_max < 0:
            raise ValueError(f"debt_max {debt_max} is below 0")
        self.name = name
        self.debt_max = debt_max
        self._full = 0
        self._blocked_ns = 0
        self._shape(rate, burst, reserve)

    def wait_ns(self, cost: int, now_ns: int, urgent: bool = False) -> int:
        """0: `cost` may be taken now; otherwise after how many nanoseconds, if nobody else takes any until then."""
        now = now_ns * self._scale
        if self._full - now > self._reach:
            self._full = now + self._reach  # the clock stepped back: believe the least, but do not wait for it
        missing = cost * self._each - (self._deep if urgent else self._room)
        due = self._full + missing if missing < 0 else self._full
        return max(0, -(-due // self._scale) - now_ns)

    def take(self, cost: int, now_ns: int) -> None:
        """Charge what already happened, whether or not it is there; debt ends at `debt_max`."""
        now = now_ns * self._scale
        owed = max(self._full, now) + cost * self._each
        self._full = max(self._full, min(owed, now + self._deep + self.debt_max * self._each))

    def learn(self, remaining: int, now_ns: int) -> None:
        """The venue says how many are left: ours are never more. Nor are they raised: requests are on their way."""
        now = now_ns * self._scale
        self._full = max(self._full, now + (self.burst - remaining) * self._each)
        self._reach = max(self._reach, self._full - now)

    def block_until(self, until_ns: int, now_ns: int) -> None:
        """Nothing, urgent or not, before `until_ns`; then one token, refilled as usual. A shorter block is no news."""
        self._blocked_ns = max(self._blocked_ns, until_ns)
        self._apply_block()
        self._reach = max(self._reach, self._full - now_ns * self._scale)

    def resize(self, rate: int | tuple[int, int], burst: int, now_ns: int, *, reserve: int = -1) -> None:
        """Another rate and burst from now on. What is left stays what it was; a block stays (reserve -1: as before)."""
        blocked = self._blocked_ns > now_ns
        left = 1 if blocked else self.remaining(now_ns)
        self._shape(rate, burst, min(self.reserve, burst - 1) if reserve < 0 else reserve)
        now = now_ns * self._scale
        self._full = now + max(0, burst - left) * self._each
        if blocked:
            self._apply_block()
        self._reach = max(self._reach, self._full - now)

    def remaining(self, now_ns: int) -> int:
        """Whole tokens left, reserve included; below 0 is debt, or a block in tokens that must come first."""
        used = max(0, self._full - now_ns * self._scale)
        return self.burst - -(-used // self._each)

    @property
    def rate(self) -> tuple[int, int]:
        """(tokens, nanoseconds), reduced."""
        return self._scale, self._each

    def _shape(self, rate: int | tuple[int, int], burst: int, reserve: int) -> None:
        tokens, per_ns = rate if isinstance(rate, tuple) else (rate, NS_PER_S)
        if tokens < 1 or per_ns < 1:
            raise ValueError(f"the rate of {tokens} tokens in {per_ns} ns is not above 0")
        if not 0 <= reserve < burst:
            raise ValueError(f"the reserve {reserve} is not below the burst {burst}")
        common = gcd(tokens, per_ns)
        self._scale = tokens // common
        self._each = per_ns // common
        self.burst = burst
        self.reserve = reserve
        self._deep = burst * self._each
        self._room = (burst - reserve) * self._each
        self._reach = self._deep + self.debt_max * self._each

    def _apply_block(self) -> None:
        self._full = max(self._full, self._blocked_ns * self._scale + self._deep - self._each)

    def __repr__(self) -> str:
        return f"TokenBucket({self.name!r}, rate={self.rate}, burst={self.burst})"


Charges = tuple[tuple[TokenBucket, int], ...]
"""What one request costs, made once by `charges()` and used for every request of its kind."""


def charges(*costs: tuple[TokenBucket, int]) -> Charges:
    """Several buckets (two windows of one limit are two buckets) and the tokens each loses. () is always allowed."""
    merged: dict[TokenBucket, int] = {}
    for bucket, cost in costs:
        if cost < 1:
            raise ValueError(f"a cost of {cost} tokens of {bucket.name!r} is not above 0")
        merged[bucket] = merged.get(bucket, 0) + cost
    return tuple(merged.items())


class Budget:
    """The buckets of one venue, by name, and the decision over several of them."""

    __slots__ = ("buckets", "counters")

    def __init__(self, buckets: Iterable[TokenBucket] = ()) -> None:
        self.buckets: dict[str, TokenBucket] = {}
        self.counters: Counter[str] = Counter()
        for bucket in buckets:
            self.add(bucket)

    def add(self, bucket: TokenBucket) -> TokenBucket:
        if bucket.name in self.buckets:
            raise ValueError(f"two buckets have the name {bucket.name!r}")
        self.buckets[bucket.name] = bucket
        return bucket

    def try_take(self, costs: Charges, now_ns: int, urgent: bool = False) -> int:
        """0: every bucket allowed it and is charged. Otherwise nothing is charged and this is the wait in ns.

        Who waits asks again: tokens are not kept for it. Fairness is the order in which waiting requests ask.
        """
        # The hot path: charged as it goes, given back when a later bucket says no.
        rest = iter(costs)
        for bucket, cost in rest:
            now = now_ns * bucket._scale
            spent = cost * bucket._each
            full = bucket._full
            if full <= now:
                if spent > bucket._reach:  # noqa: PLR1730 (max() would cost more than the rest)
                    bucket._reach = spent
                bucket._full = now + spent
                continue
            full += spent
            if full - now > (bucket._deep if urgent else bucket._room):
                return self._refused(costs, len(costs) - 1 - len(tuple(rest)), now_ns, urgent)
            bucket._full = full
        return 0

    def take(self, costs: Charges, now_ns: int) -> None:
        """Charge what was asked anyway, such as further pages of a list: what comes next waits for it."""
        for bucket, cost in costs:
            bucket.take(cost, now_ns)

    def wait_ns(self, costs: Charges, now_ns: int, urgent: bool = False) -> int:
        """The same decision, charging nothing."""
        return max((bucket.wait_ns(cost, now_ns, urgent) for bucket, cost in costs), default=0)

    def tightest(self, costs: Charges, now_ns: int, urgent: bool = False) -> tuple[str, int]:
        """The name of the bucket that makes these wait longest, and how long; ("", 0) when none does."""
        waits = ((bucket.wait_ns(cost, now_ns, urgent), bucket.name) for bucket, cost in costs)
        wait, name = max(waits, default=(0, ""))
        return (name, wait) if wait else ("", 0)

    def remaining(self, now_ns: int) -> dict[str, int]:
        """Gauges: tokens left by bucket."""
        return {name: bucket.remaining(now_ns) for name, bucket in self.buckets.items()}

    def _refused(self, costs: Charges, charged: int, now_ns: int, urgent: bool) -> int:
        """The first `charged` of them get their tokens back."""
        for bucket, cost in costs[:charged]:
            bucket._full -= cost * bucket._each
        self.counters["limit_waits"] += 1
        return self.wait_ns(charges(*costs), now_ns, urgent)  # merged: twice the same bucket waits for the sum


class Limits(Protocol):
    """What the gateway asks of any venue's limits. Charges are cached: asking for them costs a look-up.

    `n` is the number of orders in one request. Cancels and beats are asked for with urgent=True when they must not
    wait behind anything.
    """

    def try_take(self, costs: Charges, now_ns: int, urgent: bool = False) -> int: ...
    def wait_ns(self, costs: Charges, now_ns: int, urgent: bool = False) -> int: ...
    def take(self, costs: Charges, now_ns: int) -> None: ...
    def tightest(self, costs: Charges, now_ns: int, urgent: bool = False) -> tuple[str, int]: ...
    def remaining(self, now_ns: int) -> dict[str, int]: ...
    def place(self, wallet: str, n: int = 1) -> Charges: ...
    def cancel(self, wallet: str, n: int = 1) -> Charges: ...
    def cancel_wallet(self, wallet: str) -> Charges: ...
    def cancel_market(self, wallet: str) -> Charges: ...
    def lookup(self) -> Charges: ...
    def open_orders(self) -> Charges: ...
    def trades(self) -> Charges: ...
    def positions(self) -> Charges: ...
    def balances(self) -> Charges: ...
    def heartbeat(self) -> Charges: ...
    def time(self) -> Charges: ...

    def cancel_batch_max(self, wallet: str) -> int:
        """How many ids one cancel may carry so that the venue can ever admit it."""
        ...

    def cancels_free(self, wallet: str, now_ns: int) -> int:
        """How many ids one urgent cancel may carry now without waiting; 0 when not even one."""
        ...

    def on_cancelled(self, wallet: str, n: int, now_ns: int) -> None:
        """A wallet-wide cancel was answered: it cancelled `n` orders, which costs afterwards."""
        ...


class PlainLimits(Budget):
    """One bucket for a venue whose limits are not known. Rate 0: no limit (our own exchange, bounded in flight)."""

    __slots__ = ("_any", "_batch_max")

    def __init__(self, rate_per_s: int, burst: int, *, reserve: int = 0, cancel_batch_max: int = 1) -> None:
        super().__init__()
        self._batch_max = cancel_batch_max
        self._any: Charges = ()
        if rate_per_s:
            self._any = charges((self.add(TokenBucket(rate_per_s, burst, reserve=reserve, name="requests")), 1))

    def place(self, wallet: str, n: int = 1) -> Charges:
        return self._any

    def cancel(self, wallet: str, n: int = 1) -> Charges:
        return self._any

    def cancel_wallet(self, wallet: str) -> Charges:
        return self._any

    def cancel_market(self, wallet: str) -> Charges:
        return self._any

    def lookup(self) -> Charges:
        return self._any

    def open_orders(self) -> Charges:
        return self._any

    def trades(self) -> Charges:
        return self._any

    def positions(self) -> Charges:
        return self._any

    def balances(self) -> Charges:
        return self._any

    def heartbeat(self) -> Charges:
        return self._any

    def time(self) -> Charges:
        return self._any

    def cancel_batch_max(self, wallet: str) -> int:
        return self._batch_max

    def cancels_free(self, wallet: str, now_ns: int) -> int:
        return 0 if self.wait_ns(self._any, now_ns, urgent=True) else self._batch_max

    def on_cancelled(self, wallet: str, n: int, now_ns: int) -> None:
        """Costs nothing more."""

    def retry_after(self, after_ns: int, now_ns: int) -> None:
        """The venue refused for rate: nothing for `after_ns`."""
        for bucket in self.buckets.values():
            bucket.block_until(now_ns + after_ns, now_ns)
