"""The mirror against the real exchange core: its orders equal the recorded book at every played snapshot."""

from __future__ import annotations

import itertools
import json

import pytest

from common.effects import Now, Origin, Reply
from common.messages import (
    Accepted,
    BookState,
    Configured,
    Deposit,
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
from services.mirror.core import MarketMirror, account_command, token_id
from services.mirror.playback import Track, tracks_of
from services.mirror.recording import load_recording

RECORDED = load_recording(lead_in_s=30, market_count=18)


class Venue:
    """The exchange's core, driven like a process, and one mirror."""

    def __init__(self, track: Track, now_ns: int = 10**18) -> None:
        self.core = ExchangeCore()
        self.mirror = MarketMirror(track, 70_000)
        self.now_ns = now_ns
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

    def recorded(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        snapshot = self.mirror.track.snapshot(self.mirror.track.position(self.now_ns))
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
        if venue.mirror.track.position(venue.now_ns).at >= 0:
            book = venue.book()
            assert (book.bids, book.asks) == venue.recorded()
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


def test_what_a_user_took_is_gone_until_the_next_snapshot_and_back_after_it() -> None:
    venue = Venue(_tracks()[0])
    to_first_snapshot(venue)
    while not all(venue.recorded()) or len(venue.recorded()[1]) < 3:
        venue.to_next_change()
        venue.settle()
    venue.send(OpenAccount("u", "user", 10**12))
    best, size = venue.book().asks[0]
    answer = venue.send(
        SubmitOrder("s", "user", "0xu", venue.mirror.market.token_ids[0], Side.BUY, best, size, TimeInForce.FAK)
    )
    assert isinstance(answer, OrderAnswer)
    assert venue.settle() == [], "nothing is put back before the recording moves"
    assert venue.book().asks[0][0] > best
    venue.to_next_change()
    venue.settle()
    assert (venue.book().bids, venue.book().asks) == venue.recorded()


def test_a_users_resting_order_is_hit_by_the_ladder_that_crosses_it() -> None:
    venue = Venue(_tracks()[0])
    to_first_snapshot(venue)
    while not all(venue.recorded()):
        venue.to_next_change()
        venue.settle()
    venue.send(OpenAccount("u", "user", 10**12))
    token = venue.mirror.market.token_ids[0]
    price = venue.book().asks[0][0] - venue.mirror.market.tick
    venue.send(SubmitOrder("s", "user", "0xu", token, Side.BUY, price, 5_000_000, TimeInForce.GTC))
    for _ in range(len(venue.mirror.track.market.snapshots)):
        venue.to_next_change()
        venue.settle()
        if venue.recorded()[1] and venue.recorded()[1][0][0] <= price:
            break
    report = venue.core.query(GetExchangeOrders("q", "user"), Now(0, 0))[0]
    assert report.orders == [], "the order was filled"  # type: ignore[attr-defined]


def test_a_restarted_mirror_repeats_itself_without_effect() -> None:
    venue = Venue(_tracks()[0])
    to_first_snapshot(venue)
    before = venue.core.dump()
    venue.mirror = MarketMirror(venue.mirror.track, 70_000)
    said = venue.settle()
    assert [type(command) for command in said] == [OpenMarket, Deposit, Deposit, SetTick, QuoteLadder]
    assert venue.book().bids == venue.recorded()[0]
    fresh = ExchangeCore()
    fresh.load(before)
    assert fresh.counters()["open_orders"] == venue.core.counters()["open_orders"]


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


def test_a_ladder_that_cannot_be_funded_is_topped_up_and_sent_again() -> None:
    venue = Venue(_tracks()[0])
    mirror = venue.mirror
    commands = []
    for _ in range(8):
        command = mirror.next_command(venue.now_ns)
        if command is None:
            break
        commands.append(type(command))
        refuse = isinstance(command, QuoteLadder) and commands.count(QuoteLadder) == 1
        answer: Message = Accepted("c")
        if refuse:
            answer = Refused("c", Reason.INSUFFICIENT_BALANCE, "short", "asks")
        news = mirror.answered(command, answer)
        assert (news is not None) is refuse
    assert commands == [OpenMarket, Deposit, Deposit, SetTick, QuoteLadder, Deposit, Deposit, QuoteLadder]


def test_a_snapshot_the_exchange_refuses_is_given_up_not_repeated_for_ever() -> None:
    venue = Venue(_tracks()[0])
    while not isinstance(command := venue.mirror.next_command(venue.now_ns), QuoteLadder):
        assert command is not None
        venue.mirror.answered(command, Accepted("x"))
    venue.mirror.answered(command, Refused("x", Reason.BAD_PRICE, "odd", "bids"))
    assert venue.mirror.next_command(venue.now_ns) is None


def test_token_ids_are_full_size_and_distinct() -> None:
    ids = [token_id(market.condition_id, index) for market, index in itertools.product(RECORDED, (0, 1))]
    assert len(set(ids)) == 36
    assert all(2**255 <= int(token) < 2**256 and not is_position_id(int(token)) for token in ids)
