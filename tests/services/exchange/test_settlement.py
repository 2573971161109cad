"""The life of trades: stages, hashes, bounded histories."""

from __future__ import annotations

from typing import Any

from common.messages import GetExchangeTrades, TradeMade, TradeSettled
from common.types import Settlement
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
