"""The mirror against the real exchange core: its orders equal the recorded book at every played snapshot."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.effects import Now, Origin, Reply
from common.errors import ConfigError
from common.messages import (
    Accepted,
    BookState,
    Configured,
    Deposit,
    ExchangeOrdersReport,
    GetBalances,
    GetExchangeOrders,
    Message,
    OpenAccount,
    OpenMarket,
    OrderAnswer,
    QuoteLadder,
    Refused,
    SetTick,
    SubmitOrder,
)
from common.reasons import Reason
from common.types import Side, TimeInForce
from common.venues.polymarket.contracts import is_position_id
from services.exchange.core import ExchangeCore
from services.mirror.core import REPAIRS_MAX, MarketMirror, account_command, fee_rate_of, token_id
from services.mirror.playback import Snapshot, Track, needs_fine_tick, tracks_of
from services.mirror.recording import load_recording

RECORDED = load_recording(lead_in_s=30, market_count=18)


class Venue:
    """The exchange's core, driven like a process, and one mirror."""

    def __init__(self, track: Track, now_ns: int = 10**18) -> None:
        self.core = ExchangeCore()
        self.mirror = MarketMirror(track, 70_000, "1")
        self.now_ns = now_ns
        self.bought = 0
        self.send(Configured(json.dumps({"exchange": {}})))
        self.send(account_command())

    def send(self, message: Message) -> Message | None:
        effects = self.core.handle(message, Origin("test"), Now(self.now_ns, self.now_ns))
        return next((effect.body for effect in effects if isinstance(effect, Reply)), None)

    def settle(self) -> list[Message]:
        """Let the mirror say everything that is due now."""
        said: list[Message] = []
        while (command := self.mirror.next_command(self.now_ns)) is not None:
            answer = self.send(command)
            assert answer is not None
            self.mirror.answered(command, answer)
            said.append(command)
            assert len(said) < 20, f"the mirror does not come to rest: {said[-1]} -> {answer}"
        return said

    def to_next_change(self) -> None:
        self.now_ns = self.mirror.track.next_change_ns(self.now_ns)

    def book(self) -> BookState:
        return next(body for body in self.core.snapshot("market", Now(0, 0)) if isinstance(body, BookState))

    def shown(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        book = self.book()
        return book.bids, book.asks

    def best_ask_taken(self) -> list[tuple[int, int]]:
        """A user takes the whole best ask; returns the asks that are left."""
        price, size = self.book().asks[0]
        self.buy(price, size, TimeInForce.FAK)
        return self.book().asks

    def buy(self, price: int, size: int, tif: TimeInForce) -> OrderAnswer:
        self.bought += 1
        self.send(OpenAccount("user:open", "user", 10**17))
        key = f"0x{self.bought}"
        token = self.mirror.market.token_ids[0]
        answer = self.send(SubmitOrder(key, "user", key, token, Side.BUY, price, size, tif))
        assert isinstance(answer, OrderAnswer), answer
        return answer

    def snapshot(self) -> Snapshot:
        return self.mirror.track.snapshot(self.mirror.track.position(self.now_ns))

    def recorded(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        snapshot = self.snapshot()
        return list(snapshot.bids), list(snapshot.asks)


def to_first_snapshot(venue: Venue) -> None:
    """From wherever the clock stands to the first snapshot of the next loop."""
    loop = venue.mirror.track.position(venue.now_ns).loop
    while venue.mirror.track.position(venue.now_ns) != (loop + 1, 0):
        venue.to_next_change()
    venue.settle()


def play_a_loop_and_a_bit(track: Track) -> int:
    """Compare the exchange's book with the recording at every snapshot of a loop and the start of the next one."""
    venue = Venue(track)
    to_first_snapshot(venue)
    played = 0
    for _ in range(len(track.market.snapshots) + 20):
        venue.settle()
        assert venue.shown() == venue.recorded()
        played += 1
        venue.to_next_change()
    assert venue.mirror.counters["refused"] == 0
    assert venue.mirror.counters["snapshots_skipped"] == 0
    return played


def _tracks() -> list[Track]:
    return tracks_of(RECORDED, lead_in_s=30, speed=1.0)


@pytest.mark.parametrize("number", [0, 1, 7])
def test_the_book_equals_the_recording_at_every_snapshot_and_over_the_loop(number: int) -> None:
    track = _tracks()[number]
    assert play_a_loop_and_a_bit(track) >= len(track.market.snapshots)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(18))
def test_all_markets_equal_their_recording(number: int) -> None:
    track = _tracks()[number]
    assert play_a_loop_and_a_bit(track) >= len(track.market.snapshots)


def to_a_two_sided_book(venue: Venue) -> None:
    to_first_snapshot(venue)
    while not all(venue.recorded()) or len(venue.recorded()[1]) < 3:
        venue.to_next_change()
        venue.settle()


def test_what_a_user_took_is_gone_until_the_next_snapshot_and_back_after_it() -> None:
    venue = Venue(_tracks()[0])
    to_a_two_sided_book(venue)
    bids, asks = venue.recorded()
    assert venue.best_ask_taken() == asks[1:]
    assert venue.settle() == [], "nothing is put back before the recording moves"
    assert venue.shown() == (bids, asks[1:])
    venue.to_next_change()
    venue.settle()
    assert venue.shown() == venue.recorded()


def test_what_a_user_took_stays_gone_when_the_mirror_restarts_within_the_snapshot() -> None:
    venue = Venue(_tracks()[0])
    to_a_two_sided_book(venue)
    left = venue.best_ask_taken()
    venue.mirror = MarketMirror(venue.mirror.track, 70_000, "2")
    said = venue.settle()
    assert [type(command) for command in said] == [OpenMarket, Deposit, Deposit, SetTick, QuoteLadder]
    assert venue.book().asks == left
    assert venue.mirror.has_book


def test_a_restarted_mirror_pays_in_nothing_twice() -> None:
    venue = Venue(_tracks()[0])
    to_first_snapshot(venue)

    def balances() -> Message:
        return venue.core.query(GetBalances("q", "mirror"), Now(0, 0))[0]

    before = balances()
    venue.mirror = MarketMirror(venue.mirror.track, 70_000, "2")
    venue.settle()
    assert balances() == before


def test_a_users_resting_order_is_hit_by_the_ladder_that_crosses_it() -> None:
    venue = Venue(_tracks()[0])
    to_a_two_sided_book(venue)
    price = venue.book().asks[0][0] - venue.book().tick
    venue.buy(price, 5_000_000, TimeInForce.GTC)
    for _ in range(len(venue.mirror.track.market.snapshots)):
        venue.to_next_change()
        venue.settle()
        if venue.recorded()[1] and venue.recorded()[1][0][0] <= price:
            break
    report = venue.core.query(GetExchangeOrders("q", "user"), Now(0, 0))[0]
    assert isinstance(report, ExchangeOrdersReport)
    assert report.orders == [], "the order was filled"


def test_every_loop_is_funded_again_and_the_tick_goes_back() -> None:
    number = next(n for n, track in enumerate(_tracks()) if track.tick(track.position(0)._replace(at=900)) == 1_000)
    venue = Venue(_tracks()[number])
    to_first_snapshot(venue)
    said: list[Message] = []
    for _ in range(len(venue.mirror.track.market.snapshots) + 2):
        venue.to_next_change()
        said += venue.settle()
    ticks = [command.tick for command in said if isinstance(command, SetTick)]
    assert ticks == [1_000, 10_000]
    deposits = [command for command in said if isinstance(command, Deposit)]
    assert len(deposits) == 2


def test_a_mirror_that_users_bought_empty_pays_in_more_and_shows_the_same_snapshot() -> None:
    venue = Venue(_tracks()[0])
    to_a_two_sided_book(venue)
    said: list[Message] = []
    for _ in range(400):
        for price, size in venue.book().asks:
            venue.buy(price, size, TimeInForce.FAK)
        assert venue.book().asks == []
        venue.to_next_change()
        said = venue.settle()
        assert venue.shown() == venue.recorded()
        if venue.mirror.counters["refused"]:
            break
    assert [type(command) for command in said] == [QuoteLadder, Deposit, Deposit, QuoteLadder]
    assert venue.mirror.counters["snapshots_refused"] == 0


def test_a_tick_that_somebody_else_set_back_is_set_again_for_the_same_snapshot() -> None:
    venue = Venue(_tracks()[0])
    to_first_snapshot(venue)
    while venue.book().tick != 1_000 or not needs_fine_tick(venue.snapshot()):
        venue.to_next_change()
        venue.settle()
    venue.send(SetTick("other", venue.mirror.condition_id, 10_000))
    venue.to_next_change()
    said = venue.settle()
    assert [type(command) for command in said] == [QuoteLadder, SetTick, QuoteLadder]
    assert venue.shown() == venue.recorded()


def to_the_ladder(venue: Venue) -> QuoteLadder:
    """Accept everything up to the next ladder."""
    while not isinstance(command := venue.mirror.next_command(venue.now_ns), QuoteLadder):
        assert command is not None
        venue.mirror.answered(command, Accepted("x"))
    return command


@pytest.mark.parametrize("code", [Reason.BAD_PRICE, Reason.OVERLOADED, Reason.UNKNOWN_MARKET])
def test_a_snapshot_the_exchange_refuses_is_given_up_and_the_next_one_is_sent(code: Reason) -> None:
    venue = Venue(_tracks()[0])
    news = venue.mirror.answered(to_the_ladder(venue), Refused("x", code, "no", "bids"))
    assert news is not None
    assert news.code is code
    assert venue.mirror.next_command(venue.now_ns) is None
    assert not venue.mirror.has_book
    venue.to_next_change()
    assert venue.mirror.answered(to_the_ladder(venue), Refused("y", code, "no", "bids")) is None, "told once"
    assert venue.mirror.counters["snapshots_refused"] == 2
    assert not venue.mirror.has_book


@pytest.mark.parametrize("code", [Reason.INSUFFICIENT_BALANCE, Reason.BAD_TICK])
def test_repairs_of_one_snapshot_are_bounded_and_every_attempt_has_its_own_id(code: Reason) -> None:
    venue = Venue(_tracks()[0])
    ids = []
    while venue.mirror.next_command(venue.now_ns) is not None:
        ladder = to_the_ladder(venue)
        ids.append(ladder.command_id)
        venue.mirror.answered(ladder, Refused("x", code, "still not"))
    assert len(ids) == len(set(ids)) == 1 + REPAIRS_MAX


def test_a_deposit_refused_for_good_does_not_stop_the_ladders() -> None:
    venue = Venue(_tracks()[0])
    venue.mirror.answered(OpenMarket("o", venue.mirror.market), Accepted("o"))
    for _ in range(2):
        command = venue.mirror.next_command(venue.now_ns)
        assert isinstance(command, Deposit)
        venue.mirror.answered(command, Refused("x", Reason.BAD_NUMBER, "the amount is out of range"))
    assert isinstance(to_the_ladder(venue), QuoteLadder)


def test_a_deposit_refused_for_now_is_asked_again() -> None:
    venue = Venue(_tracks()[0])
    venue.mirror.answered(OpenMarket("o", venue.mirror.market), Accepted("o"))
    command = venue.mirror.next_command(venue.now_ns)
    assert command is not None
    venue.mirror.answered(command, Refused("x", Reason.OVERLOADED, "later"))
    assert venue.mirror.next_command(venue.now_ns) == command


def test_a_mirror_that_fell_behind_shows_the_newest_snapshot_and_counts_the_skipped() -> None:
    venue = Venue(_tracks()[0])
    to_first_snapshot(venue)
    for _ in range(5):
        venue.to_next_change()
    assert [type(command) for command in venue.settle()] == [QuoteLadder]
    assert venue.shown() == venue.recorded()
    assert venue.mirror.counters["snapshots_skipped"] == 4


@given(st.lists(st.integers(-3_000, 3_000), max_size=30))
@settings(max_examples=20, deadline=None)
def test_wherever_the_clock_jumps_the_exchange_shows_what_is_recorded_there(jumps_s: list[int]) -> None:
    venue = Venue(_tracks()[2])
    for jump_s in jumps_s:
        venue.now_ns += jump_s * 10**9
        venue.settle()
        assert venue.shown() == venue.recorded()
    assert venue.mirror.counters["refused"] == 0


@pytest.mark.parametrize("text", ["abc", "-0.01", "1.5", ""])
def test_a_fee_rate_that_is_none_is_refused_with_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"mirror\.fee_rate"):
        fee_rate_of(text)
    assert fee_rate_of("0.07") == 70_000


def test_token_ids_are_full_size_and_distinct() -> None:
    ids = [token_id(market.condition_id, index) for market, index in itertools.product(RECORDED, (0, 1))]
    assert len(set(ids)) == 36
    assert all(2**255 <= int(token) < 2**256 and not is_position_id(int(token)) for token in ids)
