"""The heart's contract: one answer per command, snapshots, due times, refusals of what it cannot do."""

from __future__ import annotations

from typing import Any

import pytest

from common.effects import Core, Now, Origin, Publish, Reply
from common.messages import (
    Accepted,
    BookState,
    CancelOrders,
    CancelScope,
    Deposit,
    Heartbeat,
    MarketOpened,
    Message,
    OpenAccount,
    PlaceOrder,
    QuoteLadder,
    Refused,
    SetTick,
    TimerFired,
)
from common.reasons import Reason
from common.types import OrderType, Side, TimeInForce
from services.exchange.core import ExchangeCore
from tests.services.exchange.world import SECOND, START, YES, World, market


def test_it_is_a_core() -> None:
    """The shell runs anything with these verbs."""
    core: Core = ExchangeCore()
    assert core.missing() == ""
    assert core.outstanding() == []
    assert core.due_ns() is None


def test_snapshot_brings_a_reader_to_the_current_state() -> None:
    """Every market with the tick in force, then every book; account events need none."""
    world = World()
    world.account("alice", "100", "100")
    world.submit("alice", "a", "BUY", YES, "5", "0.50")
    world.submit("alice", "b", "SELL", YES, "7", "0.60")
    world.submit("alice", "c", "SELL", YES, "1", "0.50", tif="FAK")
    now = Now(world.wall_ns, world.mono_ns)
    book = BookState("0xc0", [(500_000, 4_000_000)], [(600_000, 7_000_000)], 10_000, 500_000, "SELL", now.wall_ns)
    assert world.core.snapshot("market", now) == [MarketOpened(market(fee_rate=0)), book]
    assert world.core.snapshot("account", now) == []


def test_the_answer_goes_to_the_asker_after_the_events() -> None:
    """A reader of events is never behind the answer."""
    world = World()
    world.account("alice", "100")
    message = world.order("alice", "a", "BUY", YES, "5", "0.50")
    effects = world.core.handle(message, Origin("polymarket_sim"), Now(world.wall_ns, world.mono_ns))
    assert all(isinstance(effect, Publish) for effect in effects[:-1])
    assert isinstance(effects[-1], Reply)
    assert effects[-1].to == "polymarket_sim"


def test_due_time_follows_the_wall_clock_for_expiries() -> None:
    """An expiry is due on the monotonic clock after as much time as is left on the wall."""
    world = World()
    world.account("alice", "100")
    until = world.wall_ns + 30 * SECOND
    world.submit("alice", "a", "BUY", YES, "5", "0.50", tif="GTD", expire_ns=until)
    assert world.core.due_ns() == world.mono_ns + 30 * SECOND
    world.cancel("alice", "a")
    assert world.core.due_ns() is None


def test_any_input_expires_what_is_due() -> None:
    """An order that has expired does not trade, although no timer came in between."""
    world = World()
    world.account("alice", "100", "100")
    until = world.wall_ns + SECOND
    world.submit("alice", "a", "BUY", YES, "5", "0.50", tif="GTD", expire_ns=until)
    world.wall_ns += SECOND
    assert world.refusal(world.submit("alice", "b", "SELL", YES, "5", "0.50", tif="FAK"))[0] is Reason.FAK_NOT_FILLED
    assert world.order_now("a").status == "EXPIRED"


BAD: list[tuple[Message, Reason, str]] = [
    (OpenAccount("c", "", 5), Reason.BAD_ID, "account"),
    (OpenAccount("c", "x", -5), Reason.BAD_NUMBER, "cash"),
    (OpenAccount("", "x", 5), Reason.BAD_ID, "command_id"),
    (OpenAccount("c" * 200, "x", 5), Reason.BAD_ID, "command_id"),
    (Deposit("c", "nobody", "", 5), Reason.UNKNOWN_ACCOUNT, "account"),
    (Deposit("c", "alice", "77", 5), Reason.UNKNOWN_MARKET, "asset"),
    (Deposit("c", "alice", "", 0), Reason.BAD_NUMBER, "amount"),
    (Deposit("c", "alice", "", 10**18), Reason.BAD_NUMBER, "amount"),
    (SetTick("c", "0xnone", 1000), Reason.UNKNOWN_MARKET, "condition_id"),
    (SetTick("c", "0xc0", 0), Reason.BAD_TICK, "tick"),
    (SetTick("c", "0xc0", 3000), Reason.BAD_TICK, "tick"),
    (CancelOrders("c", "nobody", []), Reason.UNKNOWN_ACCOUNT, "account"),
    (CancelOrders("c", "alice", ["x"] * 1001), Reason.BAD_REQUEST, "venue_order_ids"),
    (CancelScope("c", "nobody"), Reason.UNKNOWN_ACCOUNT, "account"),
    (QuoteLadder("c", "nobody", "0xc0", [], []), Reason.UNKNOWN_ACCOUNT, "account"),
    (QuoteLadder("c", "mm", "0xnone", [], []), Reason.UNKNOWN_MARKET, "condition_id"),
    (
        PlaceOrder(
            "c", "a", "x", "polymarket", "m", "Yes", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, False, 500_000, 1
        ),
        Reason.UNKNOWN_MESSAGE,
        "",
    ),
    (Heartbeat("mirror", 1, "READY", "", 1, 1, {}), Reason.UNKNOWN_MESSAGE, ""),
]


@pytest.mark.parametrize(("message", "code", "field"), BAD, ids=[f"{type(m).__name__}-{f}" for m, _, f in BAD])
def test_bad_commands_are_refused_by_name(message: Message, code: Reason, field: str) -> None:
    """Code and field; and nothing is published."""
    world = World()
    world.account("alice", "100")
    world.account("mm", "100", liquidity=True)
    answer = world.send(message)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.field, world.events()) == (code, field, [])


def test_an_open_account_stays_as_it_is() -> None:
    """Opening it again credits nothing."""
    world = World()
    world.account("alice", "100")
    assert world.send(OpenAccount("again", "alice", 7)) == Accepted("again")
    assert world.balances("alice").cash == 100_000_000


def test_cancel_scope_narrows_to_an_owner() -> None:
    """Two keys of one account do not cancel each other's orders."""
    world = World()
    world.account("alice", "100")
    for order_id, owner in (("a", "k1"), ("b", "k2"), ("c", "k1")):
        world.submit("alice", order_id, "BUY", YES, "5", "0.50", owner=owner)
    answer: Any = world.send(CancelScope("x", "alice", owner="k1"))
    assert answer.canceled == ["a", "c"]
    other: Any = world.send(CancelScope("y", "alice", "0xnone"))
    assert other.canceled == []


def test_timers_and_settings_have_no_answer() -> None:
    """They come from the shell, which asks nothing."""
    core = ExchangeCore()
    assert core.handle(TimerFired(), Origin("exchange", "timer"), Now(START, 1)) == []
