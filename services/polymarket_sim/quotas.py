"""The token buckets of each signer (protocol section 7.2): what an order call costs, and whether it is admitted.

In: a signer, an endpoint, a cost and the clocks. Out: the headers of the answer, or the venue's 429 with them. A batch
is admitted whole or not at all; what a wide cancel cancelled is charged afterwards. In warning mode everything passes
and what would have been refused is said in a header. Pure.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from common.ratelimit import NS_PER_S, TokenBucket
from common.venues.polymarket.limits import DEBT_MAX, DEFAULT_TIER, HEADERS, TIERS, Tier
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.endpoints import PLACES

SIGNERS_MAX: Final = 10_000
TOO_MANY: Final = "Too Many Requests"


class _Buckets(NamedTuple):
    orders: TokenBucket
    cancels: TokenBucket


class Quotas:
    """Buckets by signer address; the signer unseen for longest is forgotten first, which gives it full buckets."""

    def __init__(self, *, enforce: bool = False, tier: str = DEFAULT_TIER) -> None:
        self.enforce = enforce
        self.tier = tier
        self._signers: OrderedDict[str, _Buckets] = OrderedDict()

    def configure(self, *, enforce: bool, tier: str) -> None:
        """Other terms for everybody from now on; all buckets are full again."""
        self.enforce, self.tier = enforce, tier
        self._signers.clear()

    @property
    def terms(self) -> Tier:
        return TIERS[self.tier]

    def admit(self, signer: str, endpoint: str, cost: int, mono_ns: int, wall_s: int) -> dict[str, str]:
        """Charge an order call: the headers of its answer. Raises Denied with them when it is refused."""
        bucket = self._bucket(signer, endpoint)
        wait_ns = bucket.wait_ns(cost, mono_ns)
        if cost <= bucket.burst and not wait_ns:
            bucket.take(cost, mono_ns)
            return self._headers(bucket, mono_ns, wall_s)
        if not self.enforce:
            return self._headers(bucket, mono_ns, wall_s) | {HEADERS.warning: "true"}
        if cost > bucket.burst:
            raise Denied(429, TOO_MANY, headers=self._headers(bucket, mono_ns, wall_s))
        raise Denied(429, TOO_MANY, headers=self._refusal(bucket, -(-wait_ns // NS_PER_S), mono_ns, wall_s))

    def charge(self, signer: str, endpoint: str, cancelled: int, mono_ns: int, wall_s: int) -> dict[str, str]:
        """What a wide cancel cancelled: may leave debt where the tier allows that."""
        bucket = self._bucket(signer, endpoint)
        if cancelled:
            bucket.take(cancelled, mono_ns)
        return self._headers(bucket, mono_ns, wall_s)

    def refusal(self, signer: str, endpoint: str, retry_after_s: int, mono_ns: int, wall_s: int) -> Denied:
        """A 429 that no bucket asked for."""
        bucket = self._bucket(signer, endpoint)
        headers = self._refusal(bucket, retry_after_s, mono_ns, wall_s) | {HEADERS.remaining: "0"}
        return Denied(429, TOO_MANY, headers=headers)

    def _refusal(self, bucket: TokenBucket, wait_s: int, mono_ns: int, wall_s: int) -> dict[str, str]:
        headers = self._headers(bucket, mono_ns, wall_s)
        return headers | {HEADERS.reset: str(wall_s + wait_s), HEADERS.retry_after: str(wait_s)}

    def _headers(self, bucket: TokenBucket, mono_ns: int, wall_s: int) -> dict[str, str]:
        """`reset` is the Unix time at which the waiting ends: now, when there is nothing to wait for."""
        return {
            HEADERS.remaining: str(bucket.remaining(mono_ns)),
            HEADERS.reset: str(wall_s),
            HEADERS.tier: self.tier,
        }

    def _bucket(self, signer: str, endpoint: str) -> TokenBucket:
        buckets = self._signers.get(signer)
        if buckets is None:
            buckets = self._signers[signer] = _buckets_of(self.terms)
            if len(self._signers) > SIGNERS_MAX:
                self._signers.popitem(last=False)
        else:
            self._signers.move_to_end(signer)
        return buckets.orders if endpoint in PLACES else buckets.cancels


def _buckets_of(tier: Tier) -> _Buckets:
    return _Buckets(
        TokenBucket(tier.orders_per_s, tier.orders_burst, name="orders"),
        TokenBucket(tier.cancels_per_s, tier.cancels_burst, debt_max=DEBT_MAX if tier.may_owe else 0, name="cancels"),
    )
