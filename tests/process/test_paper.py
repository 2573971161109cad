"""Paper mode with real processes: one group plays the live venue, another one trades against it on paper.

The live venue is a demo whose playback is held, so that its books move only by what the test does there. Everything
between is real: its market channel, our market_data and mirror, our exchange, its simulator, gateway, executor.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import pytest

from common.fixed import parse_micros
from common.messages import (
    Accepted,
    BalancesReport,
    Deposit,
    FillsReport,
    GetBalances,
    GetExchangeMarkets,
    GetFills,
    GetMarkets,
    GetOrder,
    GetOrders,
    GetPositions,
    Level,
    MarketsReport,
    MarketView,
    Message,
    OpenAccount,
    OrderAnswer,
    OrdersReport,
    OrderView,
    PlaceAnswer,
    PlaceOrder,
    PositionsReport,
    SubmitOrder,
)
from common.requester import Requester
from common.settings import ROOT
from common.types import ONE, Lifecycle, OrderType, Settlement, Side, TimeInForce
from scripts.provision import GivenSecrets, provision
from services.exchange.accounts import CASH
from services.polymarket_sim.wallets import account_of
from tests.process.group import Group, group

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

LIVE = ("exchange", "polymarket_sim", "mirror")
PAPER = ("exchange", "polymarket_sim", "mirror", "market_data", "user_data", "gateway", "executor")
SOON_S = 10.0
POLL_S = 0.02
ACCOUNT = "default"
CENT = ONE // 100
Found = TypeVar("Found")
Book = tuple[tuple[Level, ...], tuple[Level, ...]]


class Venue:
    """One group, asked over its own bus and its simulator's control port."""

    def __init__(self, processes: Group, bus: Requester) -> None:
        self.processes = processes
        self._bus = bus

    def ask(self, owner: str, message: Message) -> Any:
        return self._bus.request(owner, message, timeout_s=SOON_S)

    def control(self, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.processes.control_port}{path}", data)
        with urllib.request.urlopen(request, timeout=SOON_S) as answer:
            return json.loads(answer.read())

    def book(self, token_id: str) -> Book | None:
        """The exchange's book as the simulator beside it has it; None before it knows the token."""
        try:
            found = self.control(f"/truth?token_id={token_id}")
        except urllib.error.HTTPError:
            return None
        bids, asks = (tuple((parse_micros(r["price"]), parse_micros(r["size"])) for r in found[s]) for s in SIDES)
        return bids, asks


SIDES = ("bids", "asks")


class LiveVenue(Venue):
    """Where other people trade."""

    def trade(self, side: Side, price: int, size: int, token_id: str, tif: TimeInForce) -> OrderAnswer:
        key = f"0x{uuid.uuid4().hex}"
        answer = self.ask("exchange", SubmitOrder(key, "somebody", key, token_id, side, price, size, tif))
        assert isinstance(answer, OrderAnswer), answer
        return answer

    def open_account(self, token_ids: list[str]) -> None:
        self.ask("exchange", OpenAccount("somebody:open", "somebody", 10**12))
        for token_id in token_ids:
            assert isinstance(self.ask("exchange", Deposit(uuid.uuid4().hex, "somebody", token_id, 10**12)), Accepted)


class PaperVenue(Venue):
    """Where we trade on paper."""

    def place(self, view: MarketView, side: Side, price: int, size: int, tif: TimeInForce) -> OrderView:
        key = uuid.uuid4().hex
        market = view.market
        command = PlaceOrder(
            key,
            ACCOUNT,
            key,
            "polymarket",
            market.slug,
            market.outcomes[0],
            side,
            OrderType.LIMIT,
            tif,
            False,
            price,
            size,
        )
        answer = self.ask("executor", command)
        assert isinstance(answer, PlaceAnswer), answer
        return answer.order

    def order(self, order_id: str) -> OrderView:
        answer = self.ask("executor", GetOrder(uuid.uuid4().hex, ACCOUNT, order_id))
        assert isinstance(answer, OrdersReport), answer
        return answer.orders[0]

    def until_order(self, order_id: str, holds: Callable[[OrderView], bool], what: str) -> OrderView:
        def found() -> OrderView | None:
            order = self.order(order_id)
            return order if holds(order) else None

        return until(found, what)

    def size_held(self, token_id: str) -> int:
        report = self.ask("executor", GetPositions(uuid.uuid4().hex, ACCOUNT))
        assert isinstance(report, PositionsReport)
        return sum(row.size for row in report.positions if row.token_id == token_id)

    def at_the_venue(self) -> BalancesReport:
        """Our wallet's account in the exchange."""
        creds = json.loads((self.processes.folder / "secrets" / "main.user_data.creds").read_text())
        report = self.ask("exchange", GetBalances(uuid.uuid4().hex, account_of(creds["address"])))
        assert isinstance(report, BalancesReport)
        return report

    def restart(self, name: str) -> None:
        self.processes.kill9(name)
        self.processes.start(name)
        self.processes.wait_ready(*PAPER)


class Both(NamedTuple):
    live: LiveVenue
    paper: PaperVenue

    def books_are_equal(self, token_id: str) -> bool:
        live = self.live.book(token_id)
        return live is not None and live == self.paper.book(token_id)

    def until_equal(self, token_id: str) -> None:
        until(lambda: self.books_are_equal(token_id) or None, f"the paper book is not the live one: {token_id}")


def until(found: Callable[[], Found | None], what: str, deadline_s: float = SOON_S) -> Found:
    end = time.monotonic() + deadline_s
    while (value := found()) is None:
        assert time.monotonic() < end, what
        time.sleep(POLL_S)
    return value


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with group(mirror__market_count="4", mirror__speed="1") as live:
        provision(live.settings, GivenSecrets())
        for name in LIVE:
            live.start(name)
        with group(
            config=str(ROOT / "deploy" / "config" / "paper.toml"),
            polymarket__market_ws_url=f"ws://127.0.0.1:{live.port}/ws/market",
            polymarket__gamma_url=f"http://127.0.0.1:{live.port}/gamma",
            polymarket__feed_clob_url=f"http://127.0.0.1:{live.port}",
            market_data__quiet_ms="500",
        ) as paper:
            provision(paper.settings, GivenSecrets())
            live.wait_ready(*LIVE)
            for name in PAPER:
                paper.start(name)
            with Requester(live.settings) as live_bus, Requester(paper.settings) as paper_bus:
                venue = LiveVenue(live, live_bus)
                venue.control("/playback", {"stepped": True})
                paper.wait_ready(*PAPER, deadline_s=60)
                yield Both(venue, PaperVenue(paper, paper_bus))


@pytest.fixture(scope="module")
def view(both: Both) -> MarketView:
    """A market with both sides and room around them, on a whole-cent grid; somebody has money and shares there."""

    def found() -> MarketView | None:
        report = both.paper.ask("market_data", GetMarkets(uuid.uuid4().hex))
        assert isinstance(report, MarketsReport)
        for one in report.markets:
            bid, ask = one.best_bids[0], one.best_asks[0]
            if one.market.tick == CENT and 20 * CENT < bid < ask < 80 * CENT:
                return one
        both.live.control("/playback/step", {})
        return None

    chosen = until(found, "no two-sided market", 30)
    both.live.open_account(list(chosen.market.token_ids))
    return chosen


def best(both: Both, token_id: str, side: Side) -> Level:
    book = both.live.book(token_id)
    assert book is not None
    return book[0 if side is Side.BUY else 1][0]


def free_level(both: Both, token_id: str) -> int:
    """Sell the whole best bid at the live venue: its price is now a level where nobody stands."""
    price, size = best(both, token_id, Side.BUY)
    both.live.trade(Side.SELL, price, size, token_id, TimeInForce.FAK)
    both.until_equal(token_id)
    return price


def test_every_book_becomes_equal_to_the_live_one_and_follows_it(both: Both) -> None:
    live_markets = both.live.ask("exchange", GetExchangeMarkets(uuid.uuid4().hex)).markets
    for market in live_markets:
        both.until_equal(market.token_ids[0])
        both.until_equal(market.token_ids[1])
    before = [both.live.book(market.token_ids[0]) for market in live_markets]
    for _ in range(5):
        both.live.control("/playback/step", {})
    for market in live_markets:
        both.until_equal(market.token_ids[0])
    assert [both.live.book(market.token_ids[0]) for market in live_markets] != before
    until(lambda: terms(both.live) == terms(both.paper) or None, "ids, ticks, minimum sizes or fees differ")


def terms(venue: Venue) -> set[tuple[str, tuple[str, str], int, int, int]]:
    """What decides about orders of each market of an exchange."""
    markets = venue.ask("exchange", GetExchangeMarkets(uuid.uuid4().hex)).markets
    return {(one.condition_id, one.token_ids, one.tick, one.min_size, one.fee_rate) for one in markets}


def test_a_resting_order_in_front_is_filled_by_what_trades_at_the_live_venue(both: Both, view: MarketView) -> None:
    token = view.market.token_ids[0]
    price = free_level(both, token)
    held = both.paper.size_held(token)
    placed = both.paper.place(view, Side.BUY, price, 20 * ONE, TimeInForce.GTC)
    both.paper.until_order(placed.order_id, lambda order: order.lifecycle is Lifecycle.PLACED, "it does not rest")
    both.live.trade(Side.BUY, price, 100 * ONE, token, TimeInForce.GTC)  # others queue up behind us

    def behind() -> bool | None:
        book = both.paper.book(token)
        return (book is not None and book[0][0] == (price, 120 * ONE)) or None

    until(behind, "the live bid is not mirrored behind ours")
    both.live.trade(Side.SELL, price, 8 * ONE, token, TimeInForce.FAK)
    order = both.paper.until_order(placed.order_id, lambda order: order.filled_size > 0, "the print did not fill it")
    assert order.filled_size == 8 * ONE
    assert order.lifecycle is not Lifecycle.CANCELLED
    both.live.trade(Side.SELL, price, 30 * ONE, token, TimeInForce.FAK)
    order = both.paper.until_order(
        placed.order_id, lambda order: order.lifecycle is Lifecycle.CONFIRMED, "it was not filled and settled"
    )
    assert order.filled_size == 20 * ONE
    assert {fill.price for fill in order.fills} == {price}
    assert all(fill.settlement is Settlement.CONFIRMED and fill.tx_hash and not fill.is_taker for fill in order.fills)
    assert sum(fill.fee for fill in order.fills) == 0
    both.until_equal(token)
    assert both.paper.size_held(token) == held + 20 * ONE
    assert both.paper.at_the_venue().tokens[token] == held + 20 * ONE


def test_an_order_behind_waits_until_those_in_front_have_traded(both: Both, view: MarketView) -> None:
    token = view.market.token_ids[0]
    price = free_level(both, token)
    both.live.trade(Side.BUY, price, 60 * ONE, token, TimeInForce.GTC)
    both.until_equal(token)
    placed = both.paper.place(view, Side.BUY, price, 10 * ONE, TimeInForce.GTC)
    both.paper.until_order(placed.order_id, lambda order: order.lifecycle is Lifecycle.PLACED, "it does not rest")
    both.live.trade(Side.SELL, price, 55 * ONE, token, TimeInForce.FAK)

    def left(size: int) -> bool | None:
        book = both.paper.book(token)
        return (book is not None and book[0][0] == (price, size)) or None

    until(lambda: left(15 * ONE), "the level did not shrink to 5 in front and our 10")
    assert both.paper.order(placed.order_id).filled_size == 0
    both.live.trade(Side.BUY, price, 40 * ONE, token, TimeInForce.GTC)  # behind us
    until(lambda: left(55 * ONE), "the new bid is not mirrored")
    both.live.trade(Side.SELL, price, 12 * ONE, token, TimeInForce.FAK)  # 5 in front of us, then 7 of ours
    order = both.paper.until_order(placed.order_id, lambda order: order.filled_size > 0, "our turn did not come")
    assert order.filled_size == 7 * ONE
    until(lambda: left(36 * ONE), "33 live ones and 3 of ours")
    both.live.trade(Side.SELL, price, 3 * ONE, token, TimeInForce.FAK)
    both.paper.until_order(placed.order_id, lambda order: order.filled_size == 10 * ONE, "the rest was not filled")
    both.until_equal(token)


def test_a_marketable_order_takes_live_liquidity_once(both: Both, view: MarketView) -> None:
    token = view.market.token_ids[0]
    price, _ = best(both, token, Side.SELL)
    both.live.trade(Side.SELL, price, 50 * ONE, token, TimeInForce.GTC)
    both.until_equal(token)
    _, size = best(both, token, Side.SELL)
    taken = 10 * ONE
    before = both.paper.at_the_venue()
    placed = both.paper.place(view, Side.BUY, price, taken, TimeInForce.FAK)
    order = both.paper.until_order(
        placed.order_id, lambda order: order.lifecycle is Lifecycle.CONFIRMED, "it was not filled and settled"
    )
    assert order.filled_size == taken
    fee = sum(fill.fee for fill in order.fills)
    assert fee > 0
    after = both.paper.at_the_venue()
    assert after.cash == before.cash - price * taken // ONE - fee
    assert after.tokens[token] == before.tokens.get(token, 0) + taken

    def asks(size_there: int) -> bool | None:
        book = both.paper.book(token)
        return (book is not None and book[1][0] == (price, size_there)) or None

    until(lambda: asks(size - taken), "what was taken is shown again")
    both.live.trade(Side.SELL, price, 25 * ONE, token, TimeInForce.GTC)
    until(lambda: asks(size - taken + 25 * ONE), "the live level grew by 25, the paper level did not")
    both.live.trade(Side.BUY, price, size + 25 * ONE, token, TimeInForce.FAK)
    both.until_equal(token)  # with the live level what was taken of it is forgotten


@pytest.mark.parametrize("victim", ["exchange", "mirror", "market_data"])
def test_the_paper_account_and_its_place_in_the_queue_survive_kill_9(both: Both, view: MarketView, victim: str) -> None:
    token = view.market.token_ids[0]
    price = free_level(both, token)
    placed = both.paper.place(view, Side.BUY, price, 10 * ONE, TimeInForce.GTC)
    both.paper.until_order(placed.order_id, lambda order: order.lifecycle is Lifecycle.PLACED, "it does not rest")
    both.live.trade(Side.BUY, price, 50 * ONE, token, TimeInForce.GTC)
    until(lambda: _bid_is(both, token, (price, 60 * ONE)), "the live bid is not mirrored")
    before, held = both.paper.at_the_venue(), both.paper.size_held(token)

    both.paper.restart(victim)

    after = both.paper.at_the_venue()
    assert (after.cash, after.tokens, after.reserved) == (before.cash, before.tokens, before.reserved)
    assert after.reserved[CASH] >= price * 10
    assert both.paper.size_held(token) == held
    open_orders = both.paper.ask("executor", GetOrders(uuid.uuid4().hex, ACCOUNT))
    assert placed.order_id in {order.order_id for order in open_orders.orders}
    until(lambda: _bid_is(both, token, (price, 60 * ONE)), "after the restart the level is another one")
    both.live.trade(Side.SELL, price, 10 * ONE, token, TimeInForce.FAK)
    both.paper.until_order(
        placed.order_id, lambda order: order.lifecycle is Lifecycle.CONFIRMED, f"not filled after kill -9 of {victim}"
    )
    both.until_equal(view.market.token_ids[1])
    fills = both.paper.ask("executor", GetFills(uuid.uuid4().hex, ACCOUNT))
    assert isinstance(fills, FillsReport)
    assert len({(fill.trade_id, fill.order_id) for fill in fills.fills}) == len(fills.fills)
    assert both.paper.size_held(token) == held + 10 * ONE


def _bid_is(both: Both, token_id: str, level: Level) -> bool | None:
    book = both.paper.book(token_id)
    return (book is not None and bool(book[0]) and book[0][0] == level) or None


def test_liquidity_is_withdrawn_when_the_live_venue_falls_silent(both: Both, view: MarketView) -> None:
    token = view.market.token_ids[0]
    both.until_equal(token)
    both.live.processes.kill9("polymarket_sim")
    until(lambda: both.paper.book(token) == ((), ()) or None, "a book nobody confirms is still shown")
    both.live.processes.start("polymarket_sim")
    both.live.processes.wait_ready("polymarket_sim")
    until(lambda: both.books_are_equal(token) or None, "the book did not come back", 20)
