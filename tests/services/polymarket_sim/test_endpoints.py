"""Names of endpoints: groups, single calls, and what names nothing."""

from __future__ import annotations

import pytest

from services.polymarket_sim.endpoints import GROUPS, KNOWN, OTHER, endpoints_in, unknown_endpoints
from tests.services.polymarket_sim.client import Http


@pytest.mark.parametrize(
    ("text", "found", "unknown"),
    [
        ("places", {"POST /order", "POST /orders"}, []),
        ("DELETE /order", {"DELETE /order"}, []),
        (" heartbeats , POST /order ", {"POST /v1/heartbeats", "POST /order"}, []),
        ("POST /order,nothing", {"POST /order"}, ["nothing"]),
        ("delete /order", set(), ["delete /order"]),
        ("", set(), [""]),
    ],
)
def test_what_a_text_names(text: str, found: set[str], unknown: list[str]) -> None:
    assert endpoints_in(text) == found
    assert unknown_endpoints(text) == unknown


def test_orders_are_places_and_cancels() -> None:
    assert GROUPS["orders"] == GROUPS["places"] | GROUPS["cancels"]


async def test_every_endpoint_that_can_have_faults_is_one_the_server_has(http: Http) -> None:
    """A name without a route would be a fault that never strikes."""
    app = http.app
    assert app is not None
    served = {f"{route.method} {route.resource.canonical}" for route in app.router.routes() if route.resource}
    assert served >= KNOWN
    assert OTHER not in served
