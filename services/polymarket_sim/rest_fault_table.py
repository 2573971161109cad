"""The faults of the HTTP side: what each does and its parameters. A table; other modules ask and act."""

from __future__ import annotations

from typing import Final

from common.venues.polymarket.limits import DEFAULT_TIER, TIERS
from services.polymarket_sim.parameters import (
    PERCENT,
    SEED,
    TIMES,
    AnyParameter,
    ChoiceParameter,
    EndpointsParameter,
    Fault,
    Parameter,
    TextParameter,
    WordParameter,
)

_PLACES = EndpointsParameter("places")
_ORDERS = EndpointsParameter("orders")
_CHANCE: Final[dict[str, AnyParameter]] = {"percent": PERCENT, "seed": SEED, "times": TIMES}
_RETRY_AFTER = Parameter(1, 0, 3_600, "said in Retry-After")
_FOR_S = Parameter(0, 0, 86_400, "how long; 0 is until switched off")

MODES: Final = ("restart", "post_only_mode", "cancel_only", "trading_disabled")
"""Faults that are modes of the whole venue: one at a time, each ends the one before."""

_ACCEPTED: Final[dict[str, Fault]] = {
    "post_order_timeout": Fault("orders are accepted and the answer never comes", {"endpoints": _PLACES, **_CHANCE}),
    "post_order_reset": Fault(
        "orders are accepted and the connection is reset before the answer", {"endpoints": _PLACES, **_CHANCE}
    ),
    "error_after_accept": Fault(
        "orders are accepted and answered with an error",
        {
            "endpoints": _PLACES,
            "kind": WordParameter("execution", ("execution", "insert", "bad_gateway", "unavailable"), "which error"),
            **_CHANCE,
        },
    ),
    "truncated_body": Fault(
        "the call is carried out and its answer is cut off",
        {
            "endpoints": _ORDERS,
            "kind": WordParameter(
                "length", ("length", "json"), "length: fewer bytes than announced; json: half a JSON"
            ),
            "keep": Parameter(20, 0, 10_000, "how many bytes are sent"),
            **_CHANCE,
        },
    ),
    "wrong_content_type": Fault(
        "the call is carried out and its answer is called what it is not",
        {
            "endpoints": _ORDERS,
            "kind": WordParameter("json_as_html", ("json_as_html", "html_as_json"), "what is called what"),
            **_CHANCE,
        },
    ),
}

_REFUSED: Final[dict[str, Fault]] = {
    "error_400": Fault(
        "calls are refused 400 with any text, nothing is accepted",
        {"endpoints": _PLACES, "text": TextParameter("Invalid order payload", 1, 300, "the text"), **_CHANCE},
    ),
    "error_425": Fault("calls are refused 425: the matching engine restarts", {"endpoints": _ORDERS, **_CHANCE}),
    "error_429": Fault(
        "calls are refused 429, with the headers of the limit",
        {"endpoints": _ORDERS, "retry_after_s": _RETRY_AFTER, **_CHANCE},
    ),
    "error_500": Fault(
        "calls are answered 500 and nothing is accepted",
        {
            "endpoints": _PLACES,
            "kind": WordParameter(
                "insert", ("insert", "execution", "no_match", "rounding", "discrepancy"), "which of the venue's texts"
            ),
            **_CHANCE,
        },
    ),
    "error_502": Fault("a proxy answers 502 with a page, nothing is accepted", {"endpoints": _ORDERS, **_CHANCE}),
    "error_503": Fault(
        "calls are refused 503",
        {
            "endpoints": _ORDERS,
            "kind": WordParameter(
                "disabled", ("disabled", "cancel_only", "post_only", "unavailable"), "unavailable is a proxy's page"
            ),
            "retry_after_s": _RETRY_AFTER._replace(meaning="said with post_only and unavailable"),
            **_CHANCE,
        },
    ),
    "html_page": Fault(
        "a page stands in front of the venue, nothing is accepted",
        {"endpoints": _ORDERS, "status": ChoiceParameter(403, (200, 403), "the HTTP status"), **_CHANCE},
    ),
    "duplicate_refusal": Fault(
        'orders are refused "Duplicated." although there was no earlier copy', {"endpoints": _PLACES, **_CHANCE}
    ),
    "batch_partial": Fault(
        "legs of POST /orders are refused", {"every": Parameter(2, 1, 15, "each Nth leg of a batch"), "times": TIMES}
    ),
    "order_delay": Fault(
        "order calls take longer",
        {
            "endpoints": _ORDERS,
            "ms": Parameter(100, 0, 60_000, "at least"),
            "jitter_ms": Parameter(0, 0, 60_000, "uniform: at most this much more; exponential: on average"),
            "shape": WordParameter("uniform", ("uniform", "exponential"), "how the rest is spread"),
            "accepted": Parameter(0, 0, 1, "1: carried out first and answered late; 0: carried out late"),
            **_CHANCE,
        },
    ),
}

_VENUE: Final[dict[str, Fault]] = {
    "restart": Fault(
        "the matching engine restarts: 425 for a while, then post-only, then well again by itself",
        {
            "down_s": Parameter(90, 0, 3_600, "how long order calls are answered 425"),
            "post_only_s": Parameter(120, 0, 3_600, "how long only post-only orders and cancels follow"),
        },
    ),
    "post_only_mode": Fault("only post-only orders and cancels are allowed", {"for_s": _FOR_S}),
    "cancel_only": Fault("only cancels are allowed", {"for_s": _FOR_S}),
    "trading_disabled": Fault("neither orders nor cancels are allowed", {"for_s": _FOR_S}),
    "rate_limits": Fault(
        "the limits of each signer, instead of what the settings say",
        {
            "enforce": Parameter(1, 0, 1, "1: refused 429; 0: only warned by a header"),
            "tier": WordParameter(DEFAULT_TIER, tuple(TIERS), "the tier of every signer"),
        },
    ),
    "heartbeat_errors": Fault(
        "heartbeats go wrong",
        {
            "kind": WordParameter(
                "wrong_id", ("wrong_id", "error", "lost"), "refused with the right id; 500; accepted without an answer"
            ),
            **_CHANCE,
        },
    ),
    "settlement": Fault(
        "coming trades settle another way",
        {
            "kind": WordParameter(
                "FAILED",
                ("FAILED", "MINED_FAILED", "RETRYING", "RETRYING_FAILED"),
                "RETRYING ends well; FAILED takes the trade back",
            ),
            "times": Parameter(1, 0, 1_000_000, "how many trades; 0 is until switched off"),
            "percent": PERCENT,
            "seed": SEED,
        },
    ),
    "forget_dead_ids": Fault("an order that is over may be posted again under its id", {}),
    "lagging_lookups": Fault(
        "an order is not found for a while after it was placed",
        {
            "ms": Parameter(1_000, 1, 600_000, "how long"),
            "lists": Parameter(0, 0, 1, "1: it is missing among open orders too"),
        },
    ),
    "dead_lookups": Fault(
        "a look-up of an order that is over does not show it",
        {"kind": WordParameter("not_found", ("not_found", "null", "empty"), "404, null or an empty text")},
    ),
}

_ACCOUNT: Final[dict[str, Fault]] = {
    "closed_only": Fault("every account may only sell", {}),
    "address_banned": Fault("every address is banned", {}),
    "deposit_wallet_only": Fault("orders of plain addresses are refused: the deposit wallet flow is required", {}),
    "geoblocked": Fault(
        "the address this machine is seen with may not trade",
        {
            "country": TextParameter("US", 2, 2, "as the probe tells it"),
            "region": TextParameter("NY", 0, 8, "as the probe tells it"),
            "orders": Parameter(1, 0, 1, "1: orders are refused 403; 0: only the probe says so"),
        },
    ),
    "allowance": Fault(
        "wallets allow a spender only so much",
        {
            "spender": TextParameter("all", 1, 42, 'an address, its number in /balance-allowance from 0, or "all"'),
            "asset": WordParameter("all", ("all", "COLLATERAL", "CONDITIONAL"), "of what"),
            "amount": Parameter(0, 0, 10**15, "how much, in micros"),
        },
    ),
    "no_balance": Fault("every wallet is empty", {}),
}

REST_FAULTS: Final[dict[str, Fault]] = {**_ACCEPTED, **_REFUSED, **_VENUE, **_ACCOUNT}
