"""What the faults of the HTTP side do to one call before it reaches the venue: refusals, pages and delays.

In: the fault switch and an endpoint. Out: the refusal as production or what stands in front of it says it, or how long
to wait. Exact texts where they are known (protocol sections 3.7 and 7.3). Pure.
"""

from __future__ import annotations

from math import log
from typing import Final

from services.polymarket_sim.denied import Denied
from services.polymarket_sim.endpoints import PLACES
from services.polymarket_sim.faults import FaultSwitch, draw
from services.polymarket_sim.modes import CANCEL_ONLY_TEXT, DISABLED_TEXT, RESTARTING_TEXT, post_only_refusal
from services.polymarket_sim.parameters import Values

SERVER_TEXTS: Final = {
    "insert": "could not insert order",
    "execution": "could not run the execution",
    "no_match": "there are no matching orders",
    "rounding": "the trade contains rounding issues",
    "discrepancy": ("the price of the taker's order has a discrepancy greater than allowed with the worst maker order"),
}
"""What the venue says with a 500."""
GEOBLOCKED: Final = (
    "Trading restricted in your region, please refer to available regions - "
    "https://docs.polymarket.com/developers/CLOB/geoblock"
)
DELAY_MAX_S: Final = 60.0

PROXY_PAGE: Final = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
"""What stands in front of a venue that is away says it as a page, not as JSON."""
UNAVAILABLE_PAGE: Final = PROXY_PAGE.replace("502 Bad Gateway", "503 Service Temporarily Unavailable")
BLOCK_PAGE: Final = """<!DOCTYPE html>
<html class="no-js" lang="en-US"><head><title>Attention Required! | Cloudflare</title></head>
<body><div id="cf-wrapper"><div id="cf-error-details"><h1>Sorry, you have been blocked</h1>
<h2>You are unable to access polymarket.com</h2><p>Cloudflare Ray ID: <strong>9caa18bc6a0e45f1</strong></p></div></div>
</body></html>
"""
CHALLENGE_PAGE: Final = """<!DOCTYPE html>
<html lang="en-US"><head><title>Just a moment...</title></head>
<body><div class="main-wrapper"><h1>clob.polymarket.com</h1><p>Checking your connection.</p></div></body></html>
"""


def early_refusal(faults: FaultSwitch, endpoint: str) -> Denied | None:
    """The refusal of a call that nobody has looked at yet. A 429 is quotas.py's: it needs the headers of a limit."""
    values = faults.values("geoblocked")
    if values is not None and values["orders"] and endpoint in PLACES:
        faults.use("geoblocked")
        return Denied(403, GEOBLOCKED)
    values = faults.use_at("error_400", endpoint)
    if values is not None:
        return Denied(400, str(values["text"]))
    if faults.use_at("error_425", endpoint) is not None:
        return Denied(425, RESTARTING_TEXT)
    values = faults.use_at("error_500", endpoint)
    if values is not None:
        return Denied(500, SERVER_TEXTS[str(values["kind"])])
    if faults.use_at("error_502", endpoint) is not None:
        return Denied(502, "", page=PROXY_PAGE)
    values = faults.use_at("error_503", endpoint)
    if values is not None:
        return unavailable(values)
    values = faults.use_at("html_page", endpoint)
    if values is not None:
        return Denied(int(values["status"]), "", page=BLOCK_PAGE if values["status"] == 403 else CHALLENGE_PAGE)
    return None


def unavailable(values: Values) -> Denied:
    """A 503 of its kind."""
    retry_after_s = int(values["retry_after_s"])
    match values["kind"]:
        case "disabled":
            return Denied(503, DISABLED_TEXT)
        case "cancel_only":
            return Denied(503, CANCEL_ONLY_TEXT)
        case "post_only":
            return post_only_refusal(retry_after_s)
    return Denied(503, "", headers={"Retry-After": str(retry_after_s)}, page=UNAVAILABLE_PAGE)


def late_error(kind: str) -> Denied:
    """What is answered for an order that was accepted."""
    match kind:
        case "bad_gateway":
            return Denied(502, "", page=PROXY_PAGE)
        case "unavailable":
            return Denied(503, "", page=UNAVAILABLE_PAGE)
    return Denied(500, SERVER_TEXTS[kind])


def order_delay(faults: FaultSwitch, endpoint: str) -> tuple[float, float]:
    """Seconds to wait before a call is carried out, and before its answer leaves."""
    values = faults.use_at("order_delay", endpoint)
    if values is None:
        return 0.0, 0.0
    delay_s = _spread_s(values, faults.struck["order_delay"])
    return (0.0, delay_s) if values["accepted"] else (delay_s, 0.0)


def _spread_s(values: Values, number: int) -> float:
    """The Nth delay; the spread follows from the seed alone, apart from which calls are chosen."""
    share = draw(int(values["seed"]), -number) / 2**64
    spread = share if values["shape"] == "uniform" else -log(1 - share)
    return min((int(values["ms"]) + int(values["jitter_ms"]) * spread) / 1000, DELAY_MAX_S)
