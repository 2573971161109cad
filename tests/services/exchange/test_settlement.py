"""The life of trades: stages, hashes, bounded histories."""

from __future__ import annotations

from typing import Any

import pytest

from common.messages import GetExchangeTrades, PlanSettlement, TradeMade, TradeSettled
from common.types import Settlement
from services.exchange.core import ExchangeCore
from tests.services.exchange.world import SECOND, YES, World


def matched(world: World, count: int = 1) -> list[str]:
    """Make trades between alice and bob; their ids."""
    ids = []
    for number in range(count):
        tag = f"{world.commands}-{number}"
        world.submit("alice", f"a{tag}", "BUY", YES, "5", "0.50")
        answer = world.submit("bob", f"b{tag}", "SELL", YES, "5", "0.50")
        ids += answer.trade_ids  # type: ignore[attr-defined]
    return ids


def traders(**settings: Any) -> World:
    world = World(**settings)
    world.account("alice", "10000", "10000")
    world.account("bob", "10000", "10000")
    return world


def test_hash_is_empty_until_mined_and_stays() -> None:
    """MATCHED has none; MINED and CONFIRMED the same 32 bytes; both delays count from the match."""
    world = traders(mined_delay_ms=400, confirmed_delay_ms=1200)
    (trade_id,) = matched(world)
    made = next(event.trade for event in world.events("account") if isinstance(event, TradeMade))
    assert (made.trade_id, made.settlement, made.tx_hash) == (trade_id, Settlement.MATCHED, "")
    start = world.mono_ns
    seen = []
    while world.core.due_ns() is not None:
        due = world.core.due_ns()
        assert due is not None
        world.pass_time((due - world.mono_ns) / SECOND)
        seen += [(e.trade, world.mono_ns - start) for e in world.events() if isinstance(e, TradeSettled)]
    assert [(t.settlement, at) for t, at in seen] == [
        (Settlement.MINED, 400_000_000),
        (Settlement.CONFIRMED, 1_200_000_000),
    ]
    hashes = {trade.tx_hash for trade, _ in seen}
    assert len(hashes) == 1
    (tx_hash,) = hashes
    assert len(bytes.fromhex(tx_hash.removeprefix("0x"))) == 32


def test_equal_delays_still_pass_both_stages() -> None:
    """With no delay at all a trade is mined and confirmed by the next input, in that order."""
    world = traders(mined_delay_ms=0, confirmed_delay_ms=0)
    matched(world)
    world.pass_time(0)
    stages = [event.trade.settlement for event in world.events("account") if isinstance(event, TradeSettled)]
    assert stages == [Settlement.MINED, Settlement.CONFIRMED]


def test_history_is_bounded_and_coming_stages_still_happen() -> None:
    """The oldest trade leaves the history at once and the memory after its last stage."""
    world = traders(trades_per_account_max=100)
    ids = matched(world, 103)
    report = world.ask(GetExchangeTrades("q", "alice", limit=1000))
    assert [trade.trade_id for trade in report.trades] == ids[:2:-1]
    assert set(ids) <= set(world.core.engine.trades.records)
    world.pass_time(2)
    assert len([e for e in world.events("account") if isinstance(e, TradeSettled)]) == 206
    assert list(world.core.engine.trades.records) == ids[3:]


def test_liquidity_between_itself_is_only_a_print() -> None:
    """No history, no settlement, no account event; the market still sees the trade."""
    world = World()
    world.account("mm", "100", "100", liquidity=True)
    world.ladder("mm", [], [("0.50", "10")])
    world.submit("mm", "aggressor", "BUY", YES, "2", "0.50", tif="FAK")
    printed = world.events("market")[0]
    assert isinstance(printed, TradeMade)
    assert (printed.account_seq, world.core.counters()["account_seq"]) == (0, 0)
    assert world.events("account") == []
    assert world.core.due_ns() is None
    assert world.order_now("aggressor") is None
    assert world.ask(GetExchangeTrades("q", "mm")).trades == []


@pytest.mark.parametrize(
    "life",
    [
        [Settlement.FAILED],
        [Settlement.RETRYING, Settlement.MINED, Settlement.CONFIRMED],
        [Settlement.RETRYING, Settlement.FAILED],
        [Settlement.MINED, Settlement.RETRYING, Settlement.FAILED],
    ],
)
def test_a_planned_life_is_lived_in_steps_of_the_usual_time(life: list[Settlement]) -> None:
    world = traders(mined_delay_ms=400, confirmed_delay_ms=1200)
    world.send(PlanSettlement(world.next_id(), life, times=1))
    matched(world, 2)
    start, seen = world.mono_ns, []
    while world.core.due_ns() is not None:
        world.pass_time(((world.core.due_ns() or 0) - world.mono_ns) / SECOND)
        seen += [(e.trade.settlement, world.mono_ns - start) for e in world.events() if isinstance(e, TradeSettled)]
    usual = [(Settlement.MINED, 400_000_000), (Settlement.CONFIRMED, 1_200_000_000)]
    planned = [(stage, 400_000_000 + number * 800_000_000) for number, stage in enumerate(life)]
    assert sorted(seen) == sorted(planned + usual)


def test_which_of_a_hundred_follows_from_the_seed_and_survives_a_restart() -> None:
    def failed(seed: int, restart_after: int = 0) -> list[int]:
        world = traders()
        world.send(PlanSettlement(world.next_id(), [Settlement.FAILED], 0, 30, seed))
        chosen = []
        for number in range(40):
            if number and number == restart_after:
                core = ExchangeCore()
                core.load(world.core.dump())
                world.core = core
            (trade_id,) = matched(world)
            chosen += [number] if world.core.engine.trades.records[trade_id].life else []
        return chosen

    assert failed(1) == failed(1, restart_after=20) != failed(2)
    assert 4 <= len(failed(1)) <= 20


@pytest.mark.parametrize(
    ("life", "more", "field"),
    [
        ([Settlement.CONFIRMED], {}, "life"),
        ([Settlement.MINED], {}, "life"),
        ([Settlement.FAILED, Settlement.MINED], {}, "life"),
        ([Settlement.RETRYING, Settlement.MINED] * 6 + [Settlement.FAILED], {}, "life"),
        ([Settlement.FAILED], {"percent": 101}, "times"),
        ([Settlement.FAILED], {"times": -1}, "times"),
    ],
)
def test_a_life_no_trade_can_have_is_refused(life: list[Settlement], more: dict[str, int], field: str) -> None:
    world = traders()
    assert world.refusal(world.send(PlanSettlement(world.next_id(), life, **more)))[2] == field
    matched(world)
    assert not any(record.life for record in world.core.engine.trades.records.values())


def test_an_empty_life_ends_the_plan() -> None:
    world = traders()
    world.send(PlanSettlement(world.next_id(), [Settlement.FAILED]))
    world.send(PlanSettlement(world.next_id(), []))
    (trade_id,) = matched(world)
    assert world.core.engine.trades.records[trade_id].life == ()
