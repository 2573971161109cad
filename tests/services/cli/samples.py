"""Bus structs as the executor and market_data answer them, for the tests of the command line."""

from __future__ import annotations

from typing import Any

import msgspec

from common.instruments import Market
from common.messages import (
    BookReport,
    BookSnapshot,
    Fill,
    Heartbeat,
    MarketView,
    OrderView,
    Position,
    SweepDoubt,
    SweepView,
    WatchedEntry,
)
from common.types import FeedState, Lifecycle, OrderType, Settlement, Side, Status, TimeInForce

T0_NS = 1_790_000_000_123_456_789
T0_TEXT = "2026-09-21T14:13:20.123456Z"

MARKET = Market(
    "polymarket", "0xc0", "btc-15m-1", "Bitcoin up or down?", ("Up", "Down"), ("11", "22"), 10_000, 5_000_000
)


def market_view() -> MarketView:
    return MarketView(MARKET, (480_000, 0), (0, 520_000), FeedState.LIVE)


SPOT_MARKET = Market(
    venue="ccxt",
    condition_id="ccxt:BTC/USDT",
    slug="ccxt:BTC/USDT",
    question="BTC paid in USDT",
    outcomes=("BTC/USDT",),
    token_ids=("ccxt:BTC/USDT",),
    tick=10_000,
    min_size=10,
    kind="spot",
    price_max=10**12,
    size_step=10,
    min_notional=5_000_000,
)


def spot_view() -> MarketView:
    """One instrument: the second place of the tops says nothing."""
    return MarketView(SPOT_MARKET, (64_000_000_000, 0), (64_000_010_000, 0), FeedState.LIVE)


def sweep_view(phase: str = "FINAL", **changes: Any) -> SweepView:
    """A cancel-all of one order: sent after 2 ms, verified after 80 ms; until FINAL its place is in doubt."""
    final, zero = phase == "FINAL", phase in ("ZERO", "FINAL")
    made = SweepView(
        sweep_id="s-1",
        command_id="c-1",
        account="",
        market="",
        phase=phase,
        accepted_ns=T0_NS,
        first_sent_ns=T0_NS + 2_000_000,
        zero_ns=T0_NS + 80_000_000 if zero else 0,
        final_ns=T0_NS + 90_000_000 if final else 0,
        known=1,
        cancelled=int(final),
        filled=0,
        rejected=0,
        open_count=0,
        doubt_count=int(not final),
        open_orders=[],
        in_doubt=[] if final else [SweepDoubt("o-1", T0_NS + 30_000_000_000)],
    )
    return msgspec.structs.replace(made, **changes)


def fill(size: int = 10_000_000, **changes: Any) -> Fill:
    """A fill of the sample order; `changes` replaces fields."""
    made = Fill(
        trade_id="t-1",
        order_id="o-1",
        venue_order_id="0xabc",
        account="default",
        condition_id="0xc0",
        token_id="11",
        outcome="Up",
        side=Side.BUY,
        price=520_000,
        size=size,
        cash=5_200_000,
        fee=17_470,
        is_taker=True,
        settlement=Settlement.MATCHED,
        tx_hash="",
        matched_ns=T0_NS,
    )
    return msgspec.structs.replace(made, **changes)


def order(status: Status = Status.WORKING, **changes: Any) -> OrderView:
    """An order of 10 at 0.52; `changes` replaces fields."""
    made = OrderView(
        order_id="o-1",
        client_order_id="mine-1",
        venue_order_id="0xabc",
        account="default",
        venue="polymarket",
        market="btc-15m-1",
        condition_id="0xc0",
        token_id="11",
        outcome="Up",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        tif=TimeInForce.GTC,
        post_only=False,
        price=520_000,
        size=10_000_000,
        filled_size=0,
        avg_price=0,
        status=status,
        lifecycle=Lifecycle.PLACED,
        reject_reason="",
        reject_text="",
        created_ns=T0_NS,
        placed_ns=0,
        matched_ns=0,
        confirmed_ns=0,
        fills=[],
    )
    return msgspec.structs.replace(made, **changes)


def filled_order() -> OrderView:
    return order(Status.FILLED, filled_size=10_000_000, avg_price=520_000, lifecycle=Lifecycle.MATCHED, fills=[fill()])


def position() -> Position:
    return Position(
        "default", "polymarket", "btc-15m-1", "0xc0", "11", "Up", 10_000_000, 0, 5_200_000, 520_000, -3, 17_470
    )


def book_report() -> BookReport:
    book = BookSnapshot("11", [(480_000, 7_500_000)], [(520_000, 1)], 10_000, FeedState.LIVE, T0_NS, 0)
    return BookReport("r", MARKET, "Up", book)


def watched(entry: str = "btc-15m-1", *slugs: str, problem: str = "", from_settings: bool = False) -> WatchedEntry:
    """An entry of the watch list; without slugs and problem one that was not looked for yet."""
    return WatchedEntry(entry, from_settings, list(slugs), problem, len(slugs))


def heartbeat(process: str, state: str = "READY", pid: int = 41) -> Heartbeat:
    return Heartbeat(process, pid, state, "", T0_NS, T0_NS, {"inputs": 3})
