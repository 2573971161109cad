from __future__ import annotations

from common.effects import Now
from common.messages import UserFeedChanged
from common.types import FeedState
from services.executor.catchup import BACKOFF_MAX_NS, MS, SECOND_PASS_NS, Ask, Wallet, backoff_ns


def _live(wallet: Wallet, mono_ns: int, state: FeedState = FeedState.LIVE) -> None:
    event = UserFeedChanged("polymarket", "main", state, "", 50 + mono_ns)
    wallet.on_feed(event, Now(100 + mono_ns, mono_ns))


def _answer_all(wallet: Wallet, mono_ns: int, name: str) -> None:
    for ask in wallet.wanted(mono_ns):
        wallet.asked(ask, f"{name}-{ask}")
    for ask in Ask:
        wallet.answered(ask, f"{name}-{ask}", True, Now(0, mono_ns), 500)


def test_two_passes_and_trading_after_the_first() -> None:
    wallet = Wallet("polymarket", "main", 7)
    _live(wallet, 10)
    assert wallet.gap_since_ns == 7
    assert wallet.wanted(10) == [Ask.OPEN_ORDERS, Ask.TRADES]

    _answer_all(wallet, 10, "first")
    assert wallet.caught_up
    assert wallet.wanted(10 + SECOND_PASS_NS - 1) == []
    assert wallet.next_due() == 10 + SECOND_PASS_NS

    _answer_all(wallet, 10 + SECOND_PASS_NS, "second")
    assert wallet.caught_up
    assert wallet.gap_since_ns == 0
    assert wallet.next_due() is None


def test_an_incomplete_list_is_asked_for_again_alone() -> None:
    wallet = Wallet("polymarket", "main", 7)
    _live(wallet, 10)
    for ask in Ask:
        wallet.asked(ask, ask.value)
    wallet.answered(Ask.TRADES, "TRADES", True, Now(0, 10), 500)

    wallet.answered(Ask.OPEN_ORDERS, "OPEN_ORDERS", False, Now(0, 10), 500)

    assert not wallet.caught_up
    assert wallet.wanted(10 + 500 * MS - 1) == []
    assert wallet.wanted(10 + 500 * MS) == [Ask.OPEN_ORDERS]


def test_losing_the_channel_ends_the_pass_and_keeps_where_the_gap_began() -> None:
    wallet = Wallet("polymarket", "main", 7)
    _live(wallet, 10)
    _live(wallet, 20, FeedState.STALE)

    assert not wallet.caught_up
    assert wallet.wanted(1000) == []
    _live(wallet, 30)
    assert wallet.gap_since_ns == 7


def test_fills_that_are_missing_are_asked_for_once_at_a_time() -> None:
    wallet = Wallet("polymarket", "main", 7)
    wallet.want_trades(0, 500)
    wallet.want_trades(100, 500)
    assert wallet.next_due() == 500 * MS
    assert not wallet.trades_due(500 * MS - 1)

    wallet.trades_asked("a")
    wallet.want_trades(500 * MS, 500)
    assert wallet.next_due() is None

    wallet.answered(Ask.TRADES, "a", True, Now(0, 600 * MS), 500)
    wallet.want_trades(600 * MS, 500)
    assert wallet.next_due() == 1600 * MS


def test_pauses_grow_to_ten_seconds() -> None:
    assert [backoff_ns(500, tries) // MS for tries in (0, 1, 2, 3, 4, 5, 100)] == [
        500,
        1000,
        2000,
        4000,
        8000,
        10_000,
        10_000,
    ]
    assert backoff_ns(60_000, 0) == BACKOFF_MAX_NS
