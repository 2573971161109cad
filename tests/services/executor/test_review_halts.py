"""Findings of a hostile review: what was on its way when a halt came."""

from __future__ import annotations

import pytest

from common.effects import Send
from common.messages import Place, QueryOrder
from common.types import Side
from tests.services.executor.driver import Driver, S


@pytest.mark.parametrize("account", ["", "default"])
@pytest.mark.parametrize("reduce_only", [False, True])
def test_a_halt_takes_an_unanswered_buy_off_its_lane(account: str, reduce_only: bool) -> None:
    """A gateway that starts again after the halt is not handed the place."""
    driver = Driver()
    place = driver.placed("a")
    driver.halt(account=account, reduce_only=reduce_only)
    assert place.action_id in driver.settled()
    assert not driver.core.outstanding()
    assert not driver.restart().core.outstanding()
    driver.wait(600)
    driver.found(driver.one(QueryOrder))
    assert driver.order().status == "Working"


def test_reduce_only_leaves_sells_on_their_lane() -> None:
    driver = Driver()
    driver.placed("a", side=Side.SELL)
    driver.halt(reduce_only=True)
    assert [type(effect.body) for effect in driver.core.outstanding() if isinstance(effect, Send)] == [Place]


def test_a_buy_in_doubt_is_not_sent_again_in_reduce_only() -> None:
    driver = Driver()
    driver.unknown(driver.placed("a", deadline_ns=driver.now.wall_ns + 60 * S))
    driver.halt(reduce_only=True)
    driver.wait(600)
    driver.not_found(driver.one(QueryOrder))
    assert not driver.of(Place)
