"""The books of all tokens against a hostile venue: properties that print a script to replay, and named deadlines.

`World` is a venue with a truth, connections that deliver it, REST that answers with it, and a reader of what the board
publishes. A LIVE book is compared with the truth by every property.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.effects import Now
from common.latest import LatestBook
from common.messages import BookDelta, BookDepth, BookSnapshot, BookTop
from common.types import FeedState, Side
from common.venues.polymarket.market import BookEvent, LevelChange, MarketEvent, PriceChangeEvent, market_frame
from common.venues.polymarket.wire import BookObject, encode_json
from services.market_data import feeds as feeds_module
from services.market_data.core import Board
from services.market_data.effects import Drop, Effect, FetchBooks, Move
from services.market_data.feeds import CHECK_NS
from services.market_data.rules import Rules
from tests.services.market_data.markets import (
    CENT,
    EPOCH,
    MS,
    RULES,
    SHARE,
    VENUE_MS,
    at,
    bodies,
    book,
    change,
    changes,
    drops,
    fetches,
    levels_of,
    market,
    moves,
    rest_book,
    say,
    snapshot_of,
    state_of,
    states,
    tick_change,
    trade,
)

UP, DOWN = TOKENS = market().token_ids
LIVE, SUSPECT, STALE, SYNCING = FeedState.LIVE, FeedState.SUSPECT, FeedState.STALE, FeedState.SYNCING
CHECK_MS = CHECK_NS // MS
Levels = tuple[dict[int, int], dict[int, int]]
Row = tuple[str, Side, int, int]


class Truth:
    """The venue's own books: bids below 50 cents, asks above, so that no row crosses them."""

    def __init__(self, skew_ms: int = 0) -> None:
        self.ms = VENUE_MS + skew_ms
        self.books: dict[str, Levels] = {token: ({45 * CENT: 10 * SHARE}, {55 * CENT: 10 * SHARE}) for token in TOKENS}
        self.changed_ms = dict.fromkeys(TOKENS, self.ms)

    def apply(self, rows: list[Row]) -> PriceChangeEvent:
        """New totals, and the message that says so, with the best prices after each row."""
        return PriceChangeEvent("0xc1", tuple(self._row(*row) for row in rows), self.ms * MS)

    def _row(self, token: str, side: Side, cents: int, shares: int) -> LevelChange:
        price = (cents if side is Side.BUY else 50 + cents) * CENT
        levels = self.books[token][side is Side.SELL]
        levels.pop(price, None)
        if shares:
            levels[price] = shares * SHARE
        self.changed_ms[token] = self.ms
        bids, asks = self.books[token]
        return LevelChange(token, side, price, shares * SHARE, max(bids, default=0), min(asks, default=0))

    def event(self, token: str) -> BookEvent:
        bids, asks = self.books[token]
        return BookEvent("0xc1", token, tuple(bids.items()), tuple(asks.items()), self.changed_ms[token] * MS)

    def rest(self, token: str) -> BookObject:
        bids, asks = self.books[token]
        return BookObject("0xc1", token, self.changed_ms[token], tuple(bids.items()), tuple(asks.items()))

    def copy(self, token: str) -> Levels:
        bids, asks = self.books[token]
        return dict(bids), dict(asks)


class Reader:
    """Whoever follows the books: applies what is published and checks that it is continuous."""

    def __init__(self) -> None:
        self.latest = LatestBook()
        self.versions: dict[str, tuple[int, int]] = {}

    def take(self, effects: list[Effect]) -> None:
        for token in TOKENS:
            for body in bodies(effects, f"book.{token}"):
                before = self.versions.get(token, (0, 0))
                if isinstance(body, BookDelta):
                    assert (body.epoch, body.seq) == (before[0], before[1] + 1)
                    self.latest.on_delta(body)
                elif isinstance(body, BookSnapshot):
                    assert (body.epoch, body.seq) >= before
                    assert body.epoch > before[0] or body.state is not LIVE, "LIVE begins with a new epoch"
                    self.latest.on_snapshot(body)
                assert isinstance(body, BookDelta | BookSnapshot)
                self.versions[token] = (body.epoch, body.seq)
        assert self.latest.discontinuities == 0

    def levels(self, token: str) -> tuple[FeedState, Levels]:
        self.latest.on_heard(1)
        view = self.latest.book(token, Now(1, 1))
        assert view is not None
        return view.state, (dict(view.bids), dict(view.asks))


class World:
    """A board on one connection with LIVE books, its reader, and the truth."""

    def __init__(self, rules: Rules = RULES, skew_ms: int = 0) -> None:
        self.truth = Truth(skew_ms)
        self.reader = Reader()
        self.board = Board(rules, EPOCH)
        self.mono_ms = 0
        self.asked: deque[FetchBooks] = deque()
        self.moved: list[Move] = []
        self.dropped: list[Drop] = []
        self.do(self.board.discovered([market()], 0, self.now))
        self.open(1)

    @property
    def now(self) -> Now:
        return at(self.mono_ms)

    def open(self, connection: int, *tokens: str) -> None:
        self.do(self.board.on_opened(connection, tokens or TOKENS, self.now))
        self.hear(connection, *[self.truth.event(token) for token in tokens or TOKENS])

    def hear(self, connection: int, *events: MarketEvent) -> None:
        self.raw(connection, market_frame(events))

    def raw(self, connection: int, raw: bytes) -> None:
        self.do(self.board.on_frame(connection, raw, self.now))

    def flush(self) -> None:
        self.do(self.board.flush(self.now))

    def do(self, effects: list[Effect]) -> None:
        self.asked += fetches(effects)
        self.moved += moves(effects)
        self.dropped += drops(effects)
        self.reader.take(effects)

    def change(self, *rows: Row, pause_ms: int = 1) -> PriceChangeEvent:
        self.pass_time(pause_ms)
        return self.truth.apply(list(rows))

    def pass_time(self, ms: int) -> None:
        self.mono_ms += ms
        self.truth.ms += ms

    def tick(self, ms: int = CHECK_MS) -> None:
        """Time passes and is looked at."""
        self.pass_time(ms)
        self.flush()
        self.do(self.board.on_time(self.now))

    def answer(self, book_of: Callable[[str], BookObject] | None = None) -> None:
        """REST answers all that was asked, with the truth unless told otherwise."""
        while self.asked:
            request = self.asked.popleft()
            books = [(book_of or self.truth.rest)(token) for token in request.token_ids]
            self.do(self.board.on_fetched(request, books, self.now))

    def settle(self, ms: int) -> None:
        """An honest venue for so long: REST says the truth at once, a moved token gets a connection that works."""
        for _ in range(ms // CHECK_MS):
            self.tick()
            self.answer()
            while self.moved:
                move = self.moved.pop()
                self.do(self.board.on_removed(move.connection, [move.token_id], self.now))
                self.open(1_000 + self.mono_ms, move.token_id)
        self.flush()

    def state(self, token: str = UP) -> FeedState:
        return state_of(self.board, token)

    def check_live(self, *, all_live: bool = False) -> None:
        """Every LIVE book is the truth, and the reader has the board's book."""
        for token in TOKENS:
            state, levels = self.reader.levels(token)
            assert state is self.state(token)
            if state is LIVE:
                assert levels == levels_of(self.board, token) == self.truth.books[token]
            assert state is LIVE or not all_live


sizes = st.integers(0, 3)
rows = st.lists(
    st.tuples(st.sampled_from(TOKENS), st.sampled_from(Side), st.integers(1, 49), sizes), min_size=1, max_size=4
)
"""Few prices and many messages would collide too rarely with 49 prices: half of the rows are near the top."""
near = st.lists(
    st.tuples(st.sampled_from(TOKENS), st.sampled_from(Side), st.integers(43, 47), sizes), min_size=1, max_size=4
)
any_rows = st.one_of(rows, near)


# --- (a) our book is the naive one, the reader's book is ours ---


class Naive:
    """What a beginner would write: dictionaries, fed with the same frames."""

    def __init__(self) -> None:
        self.books: dict[str, Levels] = {token: ({}, {}) for token in TOKENS}

    def take(self, raw: bytes) -> None:
        value: Any = json.loads(raw)
        for event in value if isinstance(value, list) else [value]:
            if event["event_type"] == "book":
                self.books[event["asset_id"]] = (
                    {self.micros(row["price"]): self.micros(row["size"]) for row in event["bids"]},
                    {self.micros(row["price"]): self.micros(row["size"]) for row in event["asks"]},
                )
            for row in event.get("price_changes", ()):
                levels = self.books[row["asset_id"]][row["side"] == "SELL"]
                levels[self.micros(row["price"])] = self.micros(row["size"])
                levels_left = {price: size for price, size in levels.items() if size}
                levels.clear()
                levels.update(levels_left)

    @staticmethod
    def micros(text: str) -> int:
        return int(Decimal(text) * 1_000_000)


scripts = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), any_rows),
        st.tuples(st.just("two messages"), any_rows),
        st.tuples(st.just("book"), st.sampled_from(TOKENS)),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("time"), st.integers(1, 7_000)),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=40,
)


@given(scripts)
@settings(max_examples=150, deadline=None)
@example([("rows", [(UP, Side.BUY, 46, 1), (DOWN, Side.SELL, 1, 2), (UP, Side.BUY, 46, 0)]), ("flush", None)])
def test_a_live_book_is_the_naive_one_and_every_reader_has_it(script: list[tuple[str, Any]]) -> None:
    world, naive = World(), Naive()
    for token in TOKENS:
        naive.take(market_frame([world.truth.event(token)]))

    def hear(*events: MarketEvent) -> None:
        naive.take(market_frame(events))
        world.raw(1, market_frame(events))

    for word, what in script:
        match word:
            case "rows":
                hear(world.change(*what))
            case "two messages":
                hear(world.change(*what), world.change(*reversed(what), pause_ms=0))
            case "book":
                hear(world.truth.event(what))
            case "flush":
                world.flush()
                world.check_live(all_live=True)
            case "time":
                world.tick(what)
                world.answer()
            case _:
                world.flush()
                world.do(world.board.on_lost(1, "x", world.now))
                world.open(1)
        for token in TOKENS:
            assert world.state(token) is LIVE
            assert naive.books[token] == world.truth.books[token]
    world.flush()
    world.check_live(all_live=True)


# --- (b) a stream that lies is found out ---

lies = st.lists(
    st.tuples(st.sampled_from(["ok", "ok", "drop", "twice", "late", "late2"]), any_rows, st.integers(0, 2)),
    min_size=1,
    max_size=25,
)


@given(lies)
@settings(max_examples=200, deadline=None)
@example([("drop", [(UP, Side.BUY, 3, 1)], 1)])
@example([("late", [(UP, Side.BUY, 3, 1)], 0), ("ok", [(UP, Side.BUY, 3, 2)], 0)])
def test_whatever_is_dropped_doubled_or_reordered_no_wrong_book_stays_live(
    script: list[tuple[str, list[Row], int]],
) -> None:
    """The stated best prices are right. An honest round of the witness later every LIVE book is the truth."""
    world = World()
    held: list[tuple[int, PriceChangeEvent]] = []
    for lie, what, pause_ms in script:
        event = world.change(*what, pause_ms=pause_ms)
        if lie in ("ok", "twice"):
            world.hear(1, *[event] * (1 + (lie == "twice")))
        elif lie.startswith("late"):
            held.append((2 if lie == "late2" else 1, event))
            held = [(left + 1 if kept is event else left, kept) for left, kept in held]
        for _, kept in [each for each in held if each[0] <= 1]:
            world.hear(1, kept)
        held = [(left - 1, kept) for left, kept in held if left > 1]
        world.flush()
        state, levels = world.reader.levels(UP)
        assert (state, levels) == (world.state(), levels_of(world.board, UP))
    world.settle((RULES.quiet_ns + RULES.grace_ns) // MS + 8 * CHECK_MS)
    world.check_live()
    world.settle(30_000)
    world.check_live(all_live=True)


# --- (c) becoming whole again ---

answers = st.sampled_from(["truth", "earlier", "shell", "missing", "failure", "none yet", "none yet"])
resyncs = st.lists(st.tuples(any_rows, st.integers(0, 2), answers), min_size=1, max_size=20)


@given(resyncs)
@settings(max_examples=200, deadline=None)
@example([([(UP, Side.BUY, 46, 1)], 1, "none yet"), ([(UP, Side.BUY, 46, 0)], 1, "earlier")])
def test_a_book_that_is_fetched_while_changes_go_on_is_the_truth_when_it_is_live(
    script: list[tuple[list[Row], int, str]],
) -> None:
    world = World()
    world.change((UP, Side.BUY, 46, 7))  # lost
    world.hear(1, world.change((UP, Side.BUY, 3, 1)))
    world.flush()
    assert world.state() is SUSPECT
    earlier = world.truth.rest(UP), world.truth.rest(DOWN)
    for what, pause_ms, answer in script:
        world.hear(1, world.change(*what, pause_ms=pause_ms))
        world.tick(CHECK_MS * 6)
        world.check_live()
        match answer:
            case "truth":
                world.answer()
            case "earlier":
                world.answer(dict(zip(TOKENS, earlier, strict=True)).__getitem__)
            case "shell":
                world.answer(lambda token: rest_book(token, 1, 99, world.truth.changed_ms[token]))
            case "missing" | "failure":
                while world.asked:
                    world.do(world.board.on_fetched(world.asked.popleft(), [], world.now))
        world.flush()
        if answer != "shell":
            world.check_live()
            earlier = world.truth.rest(UP), world.truth.rest(DOWN)
    world.settle(15_000)
    world.check_live(all_live=True)


@given(near, near, near, st.booleans())
@settings(max_examples=100, deadline=None)
def test_changes_before_while_and_after_the_fetched_book_give_the_truth(
    before: list[Row], during: list[Row], after: list[Row], is_late: bool
) -> None:
    world = World()
    world.change((UP, Side.BUY, 47, 7))  # lost
    world.hear(1, world.change((UP, Side.BUY, 3, 1)))
    world.tick()
    assert world.state() is SUSPECT
    world.hear(1, world.change(*before))
    fetched = {token: world.truth.rest(token) for token in TOKENS}
    world.hear(1, world.change(*during))
    if is_late:
        world.hear(1, world.change(*after))
    world.answer(fetched.__getitem__)
    assert world.state() is LIVE
    if not is_late:
        world.hear(1, world.change(*after))
    world.flush()
    world.check_live()


def suspect_world() -> World:
    """Up is SUSPECT since a change was lost, and its book was asked for."""
    world = World()
    world.change((UP, Side.BUY, 46, 7))
    world.hear(1, world.change((UP, Side.BUY, 3, 1)))
    world.tick()
    assert (world.state(), [request.token_ids for request in world.asked]) == (SUSPECT, [(UP,)])
    return world


def test_a_fetched_book_that_is_older_than_the_contradiction_is_asked_for_again() -> None:
    world = suspect_world()
    world.answer(lambda token: rest_book(token, at_ms=VENUE_MS + 1))
    assert (world.state(), world.board.counters["books_too_old"]) == (SUSPECT, 1)
    world.settle(1_000)
    world.check_live(all_live=True)


def test_a_fetched_book_with_other_best_prices_than_stated_is_asked_for_again() -> None:
    """The venue's REST has answered 0.01/0.99 for books that were full (peers.md)."""
    world = suspect_world()
    world.answer(lambda token: rest_book(token, 1, 99, world.truth.changed_ms[token]))
    assert (world.state(), world.board.counters["books_implausible"]) == (SUSPECT, 1)
    world.settle(1_000)
    world.check_live(all_live=True)


def test_a_crossed_fetched_book_is_never_live() -> None:
    world = suspect_world()
    world.answer(lambda token: rest_book(token, 60, 40, world.truth.ms + 1))
    assert world.state() is SUSPECT
    world.settle(1_000)
    world.check_live(all_live=True)


def test_a_failing_rest_is_asked_again_ever_more_patiently_then_the_book_is_stale_and_moves() -> None:
    world = suspect_world()
    asked_ms = []
    for _ in range(0, 5_000, CHECK_MS):
        while world.asked:
            request = world.asked.popleft()
            asked_ms += [world.mono_ms] * (UP in request.token_ids)
            world.do(world.board.on_fetched(request, [], world.now))
        world.tick()
    pauses = [later - earlier for earlier, later in pairwise(asked_ms)]
    assert pauses == sorted(pauses)
    assert 2 < len(asked_ms) < 8
    assert (world.state(), [move.token_id for move in world.moved]) == (STALE, [UP])
    assert snapshot_of(world.board, UP).reason.endswith("no book could be had within 5000 ms")


def test_an_event_that_was_missed_while_the_book_was_on_its_way_makes_the_answer_useless() -> None:
    world = suspect_world()
    missed = world.change((UP, Side.BUY, 10, 9)).to_wire()
    missed["price_changes"][0]["size"] = "many"  # type: ignore[index]
    fetched = rest_book(UP, 46, 55, world.truth.ms)
    world.raw(1, encode_json(missed))
    world.answer(lambda _: fetched)
    assert world.state() is SUSPECT
    world.settle(1_000)
    world.check_live(all_live=True)


@pytest.mark.parametrize("state", ["SYNCING", "SUSPECT", "LIVE, compared", "second connection"])
@pytest.mark.parametrize("member", ["price", "size", "best_bid"])
def test_a_change_that_cannot_be_read_never_ends_the_process_whatever_the_state(state: str, member: str) -> None:
    world = World()
    connection = 1
    if state == "SYNCING":
        world.do(world.board.on_lost(1, "x", world.now))
        world.do(world.board.on_opened(1, TOKENS, world.now))
    elif state == "SUSPECT":
        world = suspect_world()
    elif state == "LIVE, compared":
        world.tick(6_000)
    else:
        connection = 2
        world.do(world.board.on_opened(2, TOKENS, world.now))
    wire: Any = world.change((UP, Side.BUY, 44, 9)).to_wire()
    wire["price_changes"][0][member] = "?"
    world.raw(connection, encode_json(wire))
    if state == "second connection":
        world.hear(2, *[world.truth.event(token) for token in TOKENS])
    world.settle(20_000)
    world.check_live(all_live=True)


def test_too_many_changes_while_a_book_is_fetched_have_it_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds_module, "HELD_MAX", 3)
    world = suspect_world()
    for price in range(10, 16):
        world.hear(1, world.change((UP, Side.BUY, price, 1)))
    world.answer()
    assert (world.state(), world.board.counters["books_outrun"]) == (SUSPECT, 1)
    world.settle(1_000)
    world.check_live(all_live=True)


def test_a_whole_book_on_the_channel_heals_and_the_answer_that_comes_later_is_ignored() -> None:
    world = suspect_world()
    late = world.asked.popleft()
    world.hear(1, world.truth.event(UP))
    world.check_live(all_live=True)
    version = world.reader.versions[UP]
    world.do(world.board.on_fetched(late, [rest_book(UP, 1, 99, world.truth.ms)], world.now))
    assert world.reader.versions[UP] == version
    world.check_live(all_live=True)


def test_a_whole_book_that_comes_behind_newer_changes_does_not_lose_them() -> None:
    """Reordered: the book was sent before the change that came first."""
    world = suspect_world()
    earlier = world.truth.event(UP)
    world.hear(1, world.change((UP, Side.BUY, 20, 1)))
    world.hear(1, earlier)
    world.flush()
    world.check_live(all_live=True)


# --- (c) the first book ---


def test_a_first_book_that_does_not_come_makes_the_token_stale_and_asks_for_another_connection() -> None:
    board = Board(RULES, EPOCH)
    board.discovered([market()], 0, at(0))
    board.on_opened(1, TOKENS, at(0))
    say(board, 1, at(1), book(UP))
    assert moves(board.on_time(at(4_999))) == []
    effects = board.on_time(at(5_050))
    assert states(effects, DOWN) == [(STALE, "no first book within 5000 ms")]
    assert moves(effects) == [Move(DOWN, 1)]
    again = [ms for ms in range(5_100, 120_000, CHECK_MS) if Move(DOWN, 1) in moves(board.on_time(at(ms)))]
    pauses = [later - earlier for earlier, later in zip([5_050, *again], again, strict=False)]
    assert pauses[:3] == [10_000, 20_000, 40_000]
    assert state_of(board, UP) is LIVE


def test_a_book_fetched_by_rest_does_not_make_a_token_live_that_its_connection_never_spoke_of() -> None:
    board = Board(RULES, EPOCH)
    board.discovered([market()], 0, at(0))
    board.on_opened(1, TOKENS, at(0))
    for ms in range(CHECK_MS, 20_000, CHECK_MS):
        for request in fetches(board.on_time(at(ms))):
            board.on_fetched(request, [rest_book(token) for token in request.token_ids], at(ms))
        assert state_of(board, UP) is not LIVE


# --- (d) from one connection to another ---

handovers = st.lists(
    st.one_of(
        st.tuples(st.just("change"), near, st.integers(0, 2)),
        st.tuples(st.just("old"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("new"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("time"), st.integers(1, 200), st.just(0)),
    ),
    max_size=40,
)


@given(handovers, st.integers(0, 10))
@settings(max_examples=200, deadline=None)
def test_a_handover_never_steps_back_misses_nothing_and_stays_live(
    script: list[tuple[str, Any, int]], begins: int
) -> None:
    """Both connections bring the same messages in order, each with a delay of its own."""
    world = World()
    old: deque[MarketEvent] = deque()
    new: deque[MarketEvent] = deque()
    history = {token: [world.truth.copy(token)] for token in TOKENS}
    shown = dict.fromkeys(TOKENS, 0)
    is_open = False
    epochs = {token: world.reader.versions[token][0] for token in TOKENS}

    def look() -> None:
        world.flush()
        for token in TOKENS:
            state, levels = world.reader.levels(token)
            assert state is LIVE
            later = [n for n, past in enumerate(history[token]) if past == levels and n >= shown[token]]
            assert later, "a book that never was, or one of the past"
            shown[token] = later[0]

    for count, (word, what, pause_ms) in enumerate([*script, *[("old", 99, 0), ("new", 99, 0), ("time", 50, 0)]]):
        if count == min(begins, len(script)):
            is_open = True
            world.do(world.board.on_opened(2, TOKENS, world.now))
            new += [world.truth.event(token) for token in TOKENS]
        if word == "change":
            event = world.change(*what, pause_ms=pause_ms)
            for row in event.changes:
                bids, asks = history[row.token_id][-1]
                sides = dict(bids), dict(asks)
                sides[row.side is Side.SELL].pop(row.price, None)
                if row.size:
                    sides[row.side is Side.SELL][row.price] = row.size
                history[row.token_id].append(sides)
            old.append(event)
            if is_open:
                new.append(event)
        elif word == "time":
            world.tick(what)
        else:
            queue, connection = (old, 1) if word == "old" else (new, 2)
            for _ in range(min(what, len(queue))):
                world.hear(connection, queue.popleft())
        look()
    world.tick()
    assert world.board.feeds.sources().keys() == {2}
    world.do(world.board.on_lost(1, "not needed any more", world.now))
    look()
    world.check_live(all_live=True)
    assert {token: world.reader.versions[token][0] for token in TOKENS} == epochs


def handing_over() -> World:
    """Asked for on a second connection that has not said anything."""
    world = World()
    world.do(world.board.on_opened(2, TOKENS, world.now))
    return world


def test_a_second_connection_whose_book_is_contradicted_by_its_own_stream_is_not_shown_live() -> None:
    world = handing_over()
    change_both = world.change((UP, Side.BUY, 44, 1))
    world.hear(2, *[world.truth.event(token) for token in TOKENS])
    world.flush()
    assert world.board.feeds.sources().keys() == {2}
    world = handing_over()
    world.hear(1, world.change((UP, Side.BUY, 44, 1)))
    world.flush()
    stale = BookEvent("0xc1", UP, ((45 * CENT, 10 * SHARE),), ((55 * CENT, 10 * SHARE),), VENUE_MS * MS)
    world.hear(2, stale)
    world.change((UP, Side.BUY, 46, 1))  # lost on both
    world.hear(2, world.change((UP, Side.BUY, 3, 1)))
    world.tick()
    assert world.state() is SUSPECT
    world.settle(2_000)
    world.check_live(all_live=True)
    assert change_both.changes


@pytest.mark.parametrize("trouble", ["garbage", "unreadable row", "reordered", "book behind changes"])
def test_a_second_connection_that_may_have_missed_something_is_not_believed(trouble: str) -> None:
    world = handing_over()
    world.hear(1, world.change((UP, Side.BUY, 44, 1)))
    world.flush()
    before = BookEvent("0xc1", UP, ((45 * CENT, 10 * SHARE),), ((55 * CENT, 10 * SHARE),), VENUE_MS * MS)
    if trouble != "book behind changes":
        world.hear(2, before)
    lost = world.change((UP, Side.BUY, 20, 1))
    world.hear(1, lost)
    last = world.change((UP, Side.BUY, 21, 1))
    if trouble == "garbage":
        world.raw(2, b"{")
        world.hear(2, last)
    elif trouble == "unreadable row":
        wire: Any = lost.to_wire()
        wire["price_changes"][0]["price"] = "?"
        world.raw(2, encode_json(wire))
        world.hear(2, last)
    elif trouble == "reordered":
        world.hear(2, last)
        world.hear(2, lost)
    else:
        world.hear(2, last)
        world.hear(2, before)
    world.hear(1, last)
    world.tick()
    for token in TOKENS:
        state, levels = world.reader.levels(token)
        assert state is not LIVE or levels == world.truth.books[token]
    world.settle(2_000)
    world.check_live()
    assert world.state() is LIVE


def test_a_token_whose_first_connection_breaks_goes_on_with_the_second_at_once() -> None:
    world = handing_over()
    world.hear(1, world.change((UP, Side.BUY, 44, 1)))
    world.flush()
    epoch = world.reader.versions[UP][0]
    older = BookEvent("0xc1", UP, ((45 * CENT, 10 * SHARE),), ((55 * CENT, 10 * SHARE),), VENUE_MS * MS)
    world.hear(2, older)
    world.do(world.board.on_lost(1, "CLOSED: x", world.now))
    assert (world.state(), world.state(DOWN)) == (LIVE, SYNCING)
    assert world.reader.versions[UP][0] == epoch + 1, "an older book is a new beginning"


def test_a_second_connection_that_breaks_changes_nothing() -> None:
    world = handing_over()
    versions = dict(world.reader.versions)
    world.do(world.board.on_lost(2, "CLOSED: x", world.now))
    world.hear(1, world.change((UP, Side.BUY, 44, 1)))
    world.flush()
    world.check_live(all_live=True)
    assert world.reader.versions == versions | {UP: (versions[UP][0], versions[UP][1] + 1)}


def test_a_token_that_freezes_while_a_silent_second_connection_is_awaited_is_noticed() -> None:
    world = handing_over()
    world.change((UP, Side.BUY, 46, 1))
    for _ in range(0, 6_500, CHECK_MS):
        world.tick()
        world.answer()
    assert world.state() is STALE


def test_a_tick_change_during_a_handover_shows_no_levels_of_the_old_grid_as_live() -> None:
    world = handing_over()
    world.hear(1, world.change((UP, Side.BUY, 44, 1)))
    world.hear(2, BookEvent("0xc1", UP, ((45 * CENT, SHARE),), ((55 * CENT, SHARE),), VENUE_MS * MS))
    world.hear(1, tick_change(UP, 1000, world.truth.ms))
    world.tick()
    assert world.state() is not LIVE


# --- (e) frozen, quiet ---


def test_a_silent_token_whose_book_moved_on_becomes_stale_in_time_and_is_moved() -> None:
    world = World()
    world.change((UP, Side.BUY, 46, 1))  # the connection says nothing
    began_ms = world.mono_ms
    while world.state() is LIVE:
        world.tick()
        world.answer()
    took_ms = world.mono_ms - began_ms
    assert took_ms <= (RULES.quiet_ns + RULES.grace_ns) // MS + 3 * CHECK_MS
    assert world.moved == [Move(UP, 1)]
    assert snapshot_of(world.board, UP).reason.startswith("frozen")
    assert world.state(DOWN) is LIVE


def test_a_frozen_token_is_not_made_live_by_rest_while_no_connection_speaks_of_it() -> None:
    world = World()
    world.change((UP, Side.BUY, 46, 1))
    while world.state() is LIVE:
        world.tick()
        world.answer()
    for n in range(100):
        world.change((UP, Side.BUY, 46, 1 + n % 3))
        world.tick()
        world.answer()
        assert world.state() is STALE
    world.do(world.board.on_removed(1, [UP], world.now))
    assert world.state() is STALE
    world.open(2, UP)
    assert world.state() is STALE, "the frozen connection began with a book, too"
    world.hear(2, world.change((UP, Side.BUY, 10, 1)))
    for _ in range(5):
        world.tick()
        world.answer()
    world.check_live(all_live=True)


def frozen_and_moved() -> World:
    """UP froze on connection 1 and has its first book on connection 2."""
    world = World()
    world.change((UP, Side.BUY, 46, 1))
    while world.state() is LIVE:
        world.tick()
        world.answer()
    world.do(world.board.on_removed(1, [UP], world.now))
    world.open(2, UP)
    world.moved.clear()
    return world


def test_a_moved_token_that_is_quiet_with_the_venue_is_live_after_a_while() -> None:
    world = frozen_and_moved()
    began_ms = world.mono_ms
    while world.state() is not LIVE:
        world.tick()
        world.answer()
    assert RULES.quiet_ns // MS <= world.mono_ms - began_ms <= RULES.quiet_ns // MS + 4 * CHECK_MS
    world.check_live(all_live=True)
    assert world.moved == []


def test_a_moved_token_whose_new_connection_is_silent_as_well_never_gets_live() -> None:
    world = frozen_and_moved()
    for n in range(400):
        if n % 20 == 0:
            world.change((UP, Side.BUY, 46, 2 + n))
        world.tick()
        world.answer()
        assert world.state() is STALE
    assert world.moved, "it is asked for elsewhere"


def test_a_frozen_token_that_thaws_where_it_is_becomes_whole_there() -> None:
    world = World()
    world.change((UP, Side.BUY, 46, 1))
    while world.state() is LIVE:
        world.tick()
        world.answer()
    world.hear(1, world.change((UP, Side.BUY, 10, 1)))
    for _ in range(10):
        world.tick()
        world.answer()
    world.check_live(all_live=True)


def test_a_quiet_book_that_is_equal_stays_live_and_says_so() -> None:
    world = World()
    before = snapshot_of(world.board, UP)
    world.tick(5_050)
    request = world.asked[0]
    assert set(request.token_ids) == set(TOKENS)
    effects = world.board.on_fetched(request, [world.truth.rest(token) for token in TOKENS], world.now)
    (delta,) = bodies(effects, f"book.{UP}")
    assert delta == BookDelta(UP, [], [], before.venue_ns, world.now.wall_ns, before.epoch, before.seq + 1)
    after = snapshot_of(world.board, UP)
    assert (after.state, after.received_ns, after.confirmed_ns) == (LIVE, world.now.wall_ns, world.now.wall_ns)


def test_a_book_that_moves_all_the_time_is_compared_as_well_only_more_rarely() -> None:
    world = World()
    asked: list[int] = []
    for n in range(0, 65_000, 500):
        world.hear(1, world.change((UP, Side.BUY, 40, 1 + n % 7), (DOWN, Side.BUY, 40, 1 + n % 7), pause_ms=500))
        world.tick(0)
        asked += [world.mono_ms // 1_000 for request in world.asked if UP in request.token_ids]
        world.answer()
    assert asked == [30, 60]
    world.check_live(all_live=True)


def test_a_witness_that_is_ahead_for_a_moment_is_forgiven_when_the_stream_follows() -> None:
    world = World()
    world.tick(5_050)
    late = world.change((UP, Side.BUY, 46, 1))
    world.answer()
    world.tick(500)
    assert world.state() is LIVE
    world.hear(1, late)
    world.tick(600)
    world.check_live(all_live=True)
    assert (world.board.counters["witness_confirmed"], world.moved) == (2, [])


def test_a_cached_answer_proves_nothing() -> None:
    world = World()
    old = {token: world.truth.rest(token) for token in TOKENS}
    world.hear(1, world.change((UP, Side.BUY, 46, 1), (DOWN, Side.BUY, 46, 1)))
    world.flush()
    world.tick(5_100)
    world.answer(old.__getitem__)
    world.check_live(all_live=True)
    assert world.board.counters["witness_too_old"] == 2


def test_a_lost_change_below_the_top_is_found_by_the_witness_and_repaired_in_one_step() -> None:
    world = World()
    world.change((UP, Side.BUY, 10, 1))  # lost
    world.hear(1, world.change((UP, Side.BUY, 11, 1)))
    world.flush()
    assert world.state() is LIVE
    versions = dict(world.reader.versions)
    world.settle(7_000)
    world.check_live()
    assert world.state() is STALE, "a token that froze looks like this"
    world.settle(6_000)
    world.check_live(all_live=True)
    assert world.reader.versions[UP][0] == versions[UP][0] + 1


# --- (f) late, budget, depth, tops ---


def test_events_that_come_late_drop_the_connection_once_and_its_books_are_not_live() -> None:
    world = World()
    world.hear(1, world.change((UP, Side.BUY, 44, 1)))
    late = world.change((UP, Side.BUY, 43, 1))
    world.mono_ms += 10_001
    world.hear(1, late, late)
    assert world.dropped == [Drop(1, "events come 10.0 s late")]
    assert world.state() is not LIVE


@pytest.mark.parametrize("skew_ms", [-3_600_000, -1, 1, 3_600_000])
def test_clocks_that_differ_are_not_lateness(skew_ms: int) -> None:
    world = World(skew_ms=skew_ms)
    for n in range(20):
        world.hear(1, world.change((UP, Side.BUY, 44, 1 + n % 2), pause_ms=9_000))
        world.tick()
        world.answer()
    assert world.dropped == []
    world.check_live(all_live=True)


def test_one_event_from_the_future_does_not_make_everything_late_for_ever() -> None:
    world = World()
    wrong = changes(change(UP, Side.BUY, 44, 1), at_ms=VENUE_MS + 3_600_000)
    world.hear(1, wrong)
    for connection in range(2, 12):
        world.hear(connection - 1, world.change((UP, Side.BUY, 44, 1), pause_ms=100))
        if not world.dropped:
            break
        world.dropped.clear()
        world.do(world.board.on_lost(connection - 1, "DROPPED: x", world.now))
        world.open(connection)
    assert connection <= 3
    world.settle(20_000)
    world.check_live(all_live=True)


def test_our_wall_clock_may_be_set_without_a_connection_being_dropped_for_ever() -> None:
    board = Board(RULES, EPOCH)
    board.discovered([market()], 0, at(0))
    dropped = 0
    board.on_opened(1, TOKENS, at(0))
    say(board, 1, at(0), book(UP), book(DOWN))
    for n in range(1, 40):
        now = Now(at(n * 100).wall_ns + (3_600_000 * MS if n > 10 else 0), at(n * 100).mono_ns)
        effects = say(board, 1, now, changes(change(UP, Side.BUY, 44, 1 + n % 2), at_ms=VENUE_MS + n * 100))
        for _ in drops(effects):
            dropped += 1
            board.on_lost(1, "DROPPED: x", now)
            board.on_opened(1, TOKENS, now)
            say(board, 1, now, book(UP, at_ms=VENUE_MS + n * 100), book(DOWN))
    assert dropped <= 1
    assert state_of(board, UP) is LIVE


def test_requests_for_books_keep_to_the_budget_and_doubtful_books_come_first() -> None:
    rules = RULES._replace(requests_per_s=2, batch=1, markets_max=100)
    board = Board(rules, EPOCH)
    numbers = range(1, 21)
    board.discovered([market(n) for n in numbers], 0, at(0))
    tokens = [token for n in numbers for token in market(n).token_ids]
    board.on_opened(1, tokens, at(0))
    say(board, 1, at(1), *[book(token) for token in tokens])
    say(board, 1, at(4_990), changes(change("20001", Side.BUY, 44, 1, (46, 47)), at_ms=VENUE_MS + 4_990))
    asked = [
        (ms, request.token_ids) for ms in range(5_050, 10_050, CHECK_MS) for request in fetches(board.on_time(at(ms)))
    ]
    assert asked[0][1] == ("20001",)
    assert 2 + 2 * 4 <= len(asked) <= 2 + 2 * 5
    assert board.counters["fetches_over_budget"] > 0
    board.feeds.pause_requests(at(20_000).mono_ns)
    later = [ms for ms in range(10_050, 21_000, CHECK_MS) if fetches(board.on_time(at(ms)))]
    assert later[0] == 20_000


def depths(effects: list[Effect]) -> list[BookDepth]:
    return [body for body in bodies(effects, f"depth.{UP}") if isinstance(body, BookDepth)]


def test_the_depth_is_sent_at_most_once_an_interval_and_only_when_it_changed() -> None:
    rules = RULES._replace(depth_levels=2)
    world = World(rules)
    shown: list[tuple[int, BookDepth]] = []
    for n in range(200):
        world.hear(1, world.change((UP, Side.BUY, 44, 1 + n), pause_ms=5))
        effects = world.board.flush(world.now) + world.board.on_time(world.now)
        world.do(effects)
        shown += [(world.mono_ms, depth) for depth in depths(effects)]
    pauses = [later[0] - earlier[0] for earlier, later in pairwise(shown)]
    assert min(pauses) >= 50
    assert len(shown) >= 18
    world.pass_time(50)
    (last,) = depths(world.board.on_time(world.now))
    assert last.bids == [(45 * CENT, 10 * SHARE), (44 * CENT, 200 * SHARE)]
    world.hear(1, world.change((UP, Side.BUY, 10, 1), pause_ms=500))  # below the shown levels
    world.do(world.board.flush(world.now))
    (deeper,) = depths(world.board.on_time(world.now))
    assert (deeper.bids, last.whole_bids, deeper.whole_bids) == (last.bids, True, False)
    world.hear(1, world.change((UP, Side.BUY, 9, 1), pause_ms=500))
    world.do(world.board.flush(world.now))
    assert depths(world.board.on_time(world.now)) == []


def test_the_depth_tells_at_once_that_a_book_is_not_to_be_trusted() -> None:
    world = World()
    world.tick(100)
    effects = world.board.on_lost(1, "x", world.now) + world.board.on_time(at(world.mono_ms + 50))
    (depth,) = depths(effects)
    assert (depth.state, depth.reason) == (FeedState.CONNECTING, "x")


def test_the_top_is_sent_only_when_it_changed() -> None:
    world = World()

    def tops(*what: Row) -> list[tuple[int, int]]:
        world.hear(1, world.change(*what))
        effects = world.board.flush(world.now)
        world.do(effects)
        return [(body.bid, body.bid_size) for body in bodies(effects, f"top.{UP}") if isinstance(body, BookTop)]

    assert tops((UP, Side.BUY, 40, 1)) == []
    assert tops((UP, Side.BUY, 46, 1)) == [(46 * CENT, SHARE)]
    assert tops((UP, Side.BUY, 46, 2)) == [(46 * CENT, 2 * SHARE)]
    assert tops((UP, Side.BUY, 47, 2), (UP, Side.BUY, 47, 0)) == []
    assert tops((UP, Side.BUY, 46, 0), (UP, Side.BUY, 45, 0), (UP, Side.BUY, 40, 0)) == [(0, 0)]


def test_a_trade_is_a_sign_of_life_of_its_token() -> None:
    world = World()
    for _ in range(12):
        world.pass_time(1_000)
        world.hear(1, trade(UP, world.truth.ms))
        world.tick()
        assert not any(UP in request.token_ids for request in world.asked)
        world.answer()


def test_epochs_of_a_token_that_was_forgotten_go_on() -> None:
    board = Board(RULES._replace(markets_max=1), EPOCH)
    board.discovered([market(1)], 0, at(0))
    board.on_opened(1, TOKENS, at(0))
    say(board, 1, at(1), book(UP))
    board.unwatched(["0xc1"], at(2))
    board.discovered([market(2)], 0, at(3))
    board.unwatched(["0xc2"], at(4))
    assert board.snapshot(f"book.{UP}", 0) == []
    board.discovered([market(1)], 0, at(5))
    board.on_opened(2, TOKENS, at(6))
    say(board, 2, at(7), book(UP))
    assert snapshot_of(board, UP).epoch > EPOCH + 1


# --- what can still lie ---


def test_the_shell_of_a_book_is_not_believed_at_once() -> None:
    world = suspect_world()
    world.answer(lambda token: rest_book(token, 1, 99, world.truth.ms))
    assert world.state() is not LIVE


def test_a_shell_that_is_shown_again_and_again_is_the_book() -> None:
    world = suspect_world()
    for _ in range(100):
        if world.state() is LIVE:
            break
        world.answer(lambda token: rest_book(token, 1, 99, world.truth.ms))
        world.tick()
    assert levels_of(world.board, UP) == ({1 * CENT: 10 * SHARE}, {99 * CENT: 10 * SHARE})


def test_a_second_connection_that_stays_silent_is_given_up() -> None:
    world = handing_over()
    for n in range(8):
        world.hear(1, world.change((UP, Side.BUY, 44, 1 + n % 3), (DOWN, Side.BUY, 44, 1 + n % 3), pause_ms=1_000))
        world.tick()
        world.answer()
    world.check_live(all_live=True)
    assert world.board.feeds.sources().keys() == {1}
    assert world.board.counters["handovers_given_up"] == 2
