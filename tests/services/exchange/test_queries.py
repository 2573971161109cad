"""Questions: filters, order and paging; reading never changes the state."""

from __future__ import annotations

from common.messages import (
    BalancesReport,
    ExchangeMarketsReport,
    GetBalances,
    GetExchangeMarkets,
    GetExchangeOrders,
    GetExchangeTrades,
    OpenMarket,
    TimerFired,
)
from tests.services.exchange.world import NO, YES, World, market, micros


def traded_world() -> World:
    world = World()
    world.account("alice", "1000", "100", "100")
    world.account("bob", "1000", "100", "100")
    for number in range(4):
        world.submit("alice", f"a{number}", "BUY", (YES, NO)[number % 2], "5", "0.30")
        world.pass_time(1)
        world.submit("bob", f"b{number}", "SELL", (YES, NO)[number % 2], "5", "0.30")
    return world


def test_trades_come_newest_first_in_pages() -> None:
    """Offset and limit cut the list; `more` tells of others; filters are the taker's token, time, market, id."""
    world = traded_world()
    everything = world.ask(GetExchangeTrades("q", "alice")).trades
    assert [trade.taker_order_id for trade in everything] == ["b3", "b2", "b1", "b0"]
    page = world.ask(GetExchangeTrades("q", "alice", offset=1, limit=2))
    assert ([trade.taker_order_id for trade in page.trades], page.more) == (["b2", "b1"], True)
    assert not world.ask(GetExchangeTrades("q", "alice", offset=2, limit=2)).more
    of_no = world.ask(GetExchangeTrades("q", "bob", token_id=NO)).trades
    assert [trade.taker_order_id for trade in of_no] == ["b3", "b1"]
    at = everything[1].matched_ns
    timed = world.ask(GetExchangeTrades("q", "bob", after_ns=at, before_ns=at)).trades
    assert [trade.taker_order_id for trade in timed] == ["b2"]
    assert world.ask(GetExchangeTrades("q", "bob", trade_id=everything[3].trade_id)).trades == everything[3:]
    assert world.ask(GetExchangeTrades("q", "bob", condition_id="0xother")).trades == []
    assert world.ask(GetExchangeTrades("q", "nobody")).trades == []


def test_open_orders_come_oldest_first_over_markets() -> None:
    """By arrival, not by market."""
    world = World()
    world.send(OpenMarket("m2", market("0xc1", ("2001", "2002"))))
    world.account("alice", "1000")
    for order_id, token in (("a", YES), ("b", "2001"), ("c", NO), ("d", "2002")):
        world.submit("alice", order_id, "BUY", token, "5", "0.30")

    def ids(**filters: str) -> list[str]:
        orders = world.ask(GetExchangeOrders("q", "alice", **filters)).orders
        return [order.venue_order_id for order in orders]

    assert ids() == ["a", "b", "c", "d"]
    assert ids(condition_id="0xc1") == ["b", "d"]
    assert ids(token_id=NO) == ["c"]
    assert ids(condition_id="0xc1", token_id=NO) == []


def test_an_order_is_told_as_it_was_given() -> None:
    """Owner and expiration text come back, with the market's words."""
    world = World()
    world.account("alice", "1000")
    until = world.wall_ns + 10**12
    world.submit(
        "alice", "a", "BUY", NO, "5", "0.30", tif="GTD", expire_ns=until, owner="key-1", expiration="1790001060"
    )
    order = world.order_now("a")
    assert (order.owner, order.expiration, order.token_id, order.outcome) == ("key-1", "1790001060", NO, "No")
    assert (order.price, order.size, order.created_ns) == (micros("0.30"), micros("5"), world.wall_ns)


def test_done_orders_stay_known_up_to_a_bound() -> None:
    """The oldest done order is forgotten, its id stays used."""
    world = World(trades_per_account_max=100)
    world.account("alice", "1000")
    for number in range(101):
        world.submit("alice", f"a{number}", "BUY", YES, "5", "0.30")
        world.cancel("alice", f"a{number}")
    assert world.order_now("a0") is None
    assert world.order_now("a1").status == "CANCELED"
    answer = world.submit("alice", "a0", "BUY", YES, "5", "0.30")
    assert world.refusal(answer)[1] == "order a0 is invalid. Duplicated."
    canceled = world.cancel("alice", "a0", "a1", "zz")
    assert canceled is not None
    assert canceled.not_canceled == {  # type: ignore[attr-defined]
        "a0": "already canceled or matched",
        "a1": "already canceled or matched",
        "zz": "Order not found or already canceled",
    }


def test_markets_and_unknown_accounts() -> None:
    """Markets carry the tick in force; an unknown account is said to be unknown."""
    world = World()
    assert world.ask(GetExchangeMarkets("q")) == ExchangeMarketsReport("q", [market(fee_rate=0)])
    assert world.ask(GetBalances("q", "nobody")) == BalancesReport("q", "nobody", False, 0, {}, {})


def test_questions_change_nothing() -> None:
    """The state hash is the same after every query; what is no query has no answer."""
    world = traded_world()
    before = world.core.state_hash()
    world.ask(GetExchangeTrades("q", "alice"))
    world.ask(GetExchangeOrders("q", "alice"))
    assert world.core.query(TimerFired(), (world.wall_ns, world.mono_ns)) == []  # type: ignore[arg-type]
    assert world.core.state_hash() == before
