"""Opening markets and finding them."""

from __future__ import annotations

import pytest

from common.messages import Accepted, MarketOpened, OpenMarket, StepCompleted
from common.reasons import Reason
from tests.services.exchange.world import NO, World, market


def test_a_market_is_opened_once() -> None:
    """The same market again is accepted and shows nothing, also after its tick moved on."""
    world = World()
    other = market("0xc1", ("2001", "2002"))
    assert world.send(OpenMarket("1", other)) == Accepted("1")
    assert world.events("market") == [MarketOpened(other), StepCompleted(2, world.wall_ns)]
    assert world.send(OpenMarket("2", market("0xc1", ("2001", "2002"), tick=1_000))) == Accepted("2")
    assert world.events() == []


@pytest.mark.parametrize(
    ("condition", "tokens", "tick", "code", "field"),
    [
        ("0xc0", ("1001", "9"), 10_000, Reason.BAD_REQUEST, "condition_id"),
        ("0xc9", ("9", NO), 10_000, Reason.BAD_REQUEST, "token_ids"),
        ("0xc9", ("", "9"), 10_000, Reason.BAD_REQUEST, "token_ids"),
        ("0xc9", ("9", "9"), 10_000, Reason.BAD_REQUEST, "token_ids"),
        ("0xc9", ("8", "9"), 30_000, Reason.BAD_TICK, "tick"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(
    condition: str, tokens: tuple[str, str], tick: int, code: Reason, field: str
) -> None:
    """Tokens belong to one market, a condition to one pair of tokens, a tick divides one."""
    world = World()
    answer = world.send(OpenMarket("x", market(condition, tokens, tick=tick)))
    refused, _, named = world.refusal(answer)
    assert (refused, named) == (code, field)
    assert len(world.core.engine.router.by_condition) == 1
