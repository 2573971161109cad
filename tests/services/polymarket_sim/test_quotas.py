"""Limits of signers: costs, the two buckets, debt of wide cancels, warnings, and the headers of every answer."""

from __future__ import annotations

import pytest

from common.venues.polymarket.limits import TIERS
from services.polymarket_sim.denied import Denied
from services.polymarket_sim.endpoints import CANCEL_ALL, DELETE_ORDER, DELETE_ORDERS, POST_ORDER, POST_ORDERS
from services.polymarket_sim.quotas import SIGNERS_MAX, Quotas

SECOND = 10**9
NOW, WALL = 5 * SECOND, 1_790_000_000


def headers(remaining: int, reset: int = WALL, tier: str = "Standard") -> dict[str, str]:
    return {
        "Poly-RateLimit-Remaining": str(remaining), "Poly-RateLimit-Reset": str(reset), "Poly-RateLimit-Tier": tier,
    }  # fmt: skip


def refused(quotas: Quotas, endpoint: str, cost: int, now: int = NOW) -> Denied:
    with pytest.raises(Denied) as denied:
        quotas.admit("me", endpoint, cost, now, WALL)
    assert (denied.value.status, denied.value.text) == (429, "Too Many Requests")
    return denied.value


def test_orders_and_cancels_have_buckets_of_their_own_and_so_has_every_signer() -> None:
    quotas = Quotas(enforce=True)
    assert quotas.admit("me", POST_ORDER, 1, NOW, WALL) == headers(59)
    assert quotas.admit("me", POST_ORDERS, 15, NOW, WALL) == headers(44)
    assert quotas.admit("me", DELETE_ORDER, 1, NOW, WALL) == headers(119)
    assert quotas.admit("other", POST_ORDER, 1, NOW, WALL) == headers(59)


def test_a_batch_is_admitted_whole_or_not_at_all() -> None:
    quotas = Quotas(enforce=True)
    quotas.admit("me", POST_ORDERS, 50, NOW, WALL)
    denied = refused(quotas, POST_ORDERS, 15)
    assert denied.headers == headers(10, WALL + 1) | {"Retry-After": "1"}
    assert quotas.admit("me", POST_ORDERS, 10, NOW, WALL) == headers(0)
    assert quotas.admit("me", POST_ORDER, 1, NOW + SECOND, WALL + 1) == headers(39, WALL + 1)


def test_what_no_bucket_can_ever_hold_is_refused_without_a_time_to_try_again() -> None:
    assert refused(Quotas(enforce=True), DELETE_ORDERS, 121).headers == headers(120)


@pytest.mark.parametrize("tier", TIERS)
def test_a_wide_cancel_may_leave_debt_where_the_tier_allows_it(tier: str) -> None:
    quotas, terms = Quotas(enforce=True, tier=tier), TIERS[tier]
    quotas.admit("me", CANCEL_ALL, 1, NOW, WALL)
    left = terms.cancels_burst - 1 - 5_000 if terms.may_owe else 0
    assert quotas.charge("me", CANCEL_ALL, 5_000, NOW, WALL) == headers(left, tier=tier)
    denied = refused(quotas, DELETE_ORDER, 1)
    wait_s = -(-(1 - left) // terms.cancels_per_s)
    assert denied.headers == headers(left, WALL + wait_s, tier) | {"Retry-After": str(wait_s)}
    assert quotas.admit("me", POST_ORDER, 1, NOW, WALL)["Poly-RateLimit-Remaining"] == str(terms.orders_burst - 1)


def test_a_warned_request_is_carried_out_and_costs_nothing() -> None:
    quotas = Quotas()
    quotas.admit("me", POST_ORDERS, 60, NOW, WALL)
    for _ in range(3):
        assert quotas.admit("me", POST_ORDER, 1, NOW, WALL) == headers(0) | {"Poly-RateLimit-Warning": "true"}
    assert quotas.admit("me", POST_ORDER, 1, NOW + SECOND // 40, WALL) == headers(0)


def test_other_terms_give_everybody_full_buckets() -> None:
    quotas = Quotas(enforce=True)
    quotas.admit("me", POST_ORDERS, 60, NOW, WALL)
    quotas.configure(enforce=True, tier="Elite")
    assert quotas.admit("me", POST_ORDER, 1, NOW, WALL) == headers(899, tier="Elite")


def test_signers_are_bounded_and_the_one_unseen_for_longest_goes_first() -> None:
    quotas = Quotas(enforce=True)
    quotas.admit("me", POST_ORDERS, 60, NOW, WALL)
    for number in range(SIGNERS_MAX):
        quotas.admit(str(number), POST_ORDER, 1, NOW, WALL)
    assert quotas.admit("me", POST_ORDER, 1, NOW, WALL) == headers(59)
