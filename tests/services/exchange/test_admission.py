"""Who may enter: each refusal's code, field and the venue's exact sentence; and that a refusal changes nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from common.messages import OrderAnswer, SubmitOrder
from common.reasons import Reason
from tests.services.exchange.world import NO, SECOND, START, YES, World, market

CASES: list[tuple[str, tuple[str, str, str, str], dict[str, Any], Reason, str, str]] = [
    (
        "off the grid",
        ("BUY", YES, "10", "0.525"),
        {},
        Reason.BAD_TICK,
        "price",
        "order x is invalid. Price (0.525) breaks minimum tick size rule: 0.01",
    ),
    (
        "a price of one",
        ("BUY", YES, "10", "1"),
        {},
        Reason.BAD_PRICE,
        "price",
        "order x is invalid. Price (1) breaks minimum tick size rule: 0.01",
    ),
    (
        "a market price of nothing",
        ("SELL", YES, "10", "0"),
        {"tif": "FAK"},
        Reason.BAD_PRICE,
        "price",
        "order x is invalid. Price (0) breaks minimum tick size rule: 0.01",
    ),
    (
        "a negative price",
        ("SELL", YES, "10", "-0.5"),
        {"tif": "FOK"},
        Reason.BAD_PRICE,
        "price",
        "order x is invalid. Price (-0.5) breaks minimum tick size rule: 0.01",
    ),
    (
        "below the minimum",
        ("BUY", YES, "4.99", "0.52"),
        {},
        Reason.SIZE_TOO_SMALL,
        "size",
        "order x is invalid. Size (4.99) lower than the minimum: 5",
    ),
    (
        "no size",
        ("BUY", YES, "0", "0.52"),
        {"tif": "FAK"},
        Reason.BAD_SIZE,
        "size",
        "order x is invalid. Size (0) lower than the minimum: 5",
    ),
    (
        "a marketable BUY of less than a dollar",
        ("BUY", YES, "1.9", "0.52"),
        {"tif": "FAK"},
        Reason.NOTIONAL_TOO_SMALL,
        "size",
        "invalid amount for a marketable BUY order ($0.988), min size: $1",
    ),
    (
        "a crossing limit BUY of less than a dollar",
        ("BUY", NO, "5", "0.19"),
        {},
        Reason.NOTIONAL_TOO_SMALL,
        "size",
        "invalid amount for a marketable BUY order ($0.95), min size: $1",
    ),
    (
        "post-only that must not rest",
        ("BUY", YES, "10", "0.52"),
        {"tif": "FAK", "post_only": True},
        Reason.BAD_POST_ONLY,
        "post_only",
        "Invalid order payload",
    ),
    (
        "a GTD without a time",
        ("BUY", YES, "10", "0.52"),
        {"tif": "GTD"},
        Reason.BAD_EXPIRY,
        "expire_ns",
        "invalid expiration",
    ),
    (
        "a GTD whose time has come",
        ("BUY", YES, "10", "0.52"),
        {"tif": "GTD", "expire_ns": START},
        Reason.BAD_EXPIRY,
        "expire_ns",
        "invalid expiration",
    ),
    (
        "a GTC with a time",
        ("BUY", YES, "10", "0.52"),
        {"expire_ns": START + SECOND},
        Reason.BAD_EXPIRY,
        "expire_ns",
        "invalid expiration",
    ),
    ("an unknown token", ("BUY", "77", "10", "0.52"), {}, Reason.UNKNOWN_MARKET, "token_id", "Invalid token id"),
    (
        "short of cash",
        ("BUY", YES, "200", "0.52"),
        {},
        Reason.INSUFFICIENT_BALANCE,
        "size",
        "not enough balance / allowance: the balance is not enough -> balance: 100000000,"
        " order amount (inc. fees): 104000000",
    ),
    (
        "short of tokens",
        ("SELL", NO, "10", "0.95"),
        {},
        Reason.INSUFFICIENT_BALANCE,
        "size",
        "not enough balance / allowance: the balance is not enough -> balance: 0, order amount (inc. fees): 10000000",
    ),
    (
        "post-only that crosses",
        ("BUY", YES, "10", "0.85"),
        {"post_only": True},
        Reason.POST_ONLY_CROSSES,
        "post_only",
        "invalid post-only order: order crosses book",
    ),
    (
        "FOK",
        ("BUY", YES, "100", "0.85"),
        {"tif": "FOK"},
        Reason.FOK_NOT_FILLED,
        "tif",
        "order couldn't be fully filled. FOK orders are fully filled or killed.",
    ),
    (
        "FAK",
        ("BUY", YES, "10", "0.5"),
        {"tif": "FAK"},
        Reason.FAK_NOT_FILLED,
        "tif",
        "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
    ),
]


def quoted_world() -> World:
    """10 YES offered at 0.85, 10 YES wanted at 0.81; alice has 100 in cash and nothing else."""
    world = World()
    world.account("maker", "1000", "1000", "1000")
    world.account("alice", "100")
    assert isinstance(world.submit("maker", "ask", "SELL", YES, "10", "0.85"), OrderAnswer)
    assert isinstance(world.submit("maker", "bid", "BUY", YES, "10", "0.81"), OrderAnswer)
    return world


@pytest.mark.parametrize(
    ("terms", "more", "code", "field", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_refusal(terms: tuple[str, str, str, str], more: dict[str, Any], code: Reason, field: str, text: str) -> None:
    """A refusal says what the venue says, names the field, and leaves balances and book as they were."""
    world = quoted_world()
    before = world.balances("alice"), world.core.engine.router.condition("0xc0").state(0)
    answer = world.submit("alice", "x", *terms, **more)
    assert world.refusal(answer) == (code, text, field)
    assert (world.balances("alice"), world.core.engine.router.condition("0xc0").state(0)) == before


def test_unknown_account_is_named() -> None:
    """An order of an account that was never opened is refused with its name."""
    code, text, field = World().refusal(World().submit("nobody", "x", "BUY", YES, "10", "0.5"))
    assert (code, text, field) == (Reason.UNKNOWN_ACCOUNT, "account 'nobody' is not open", "account")


def test_closed_market_takes_no_orders() -> None:
    """A market that is not accepting refuses with the venue's sentence."""
    world = World(opened=market(accepting=False))
    world.account("alice")
    answer = world.submit("alice", "x", "BUY", YES, "10", "0.5")
    assert world.refusal(answer)[:2] == (Reason.MARKET_CLOSED, "the market is not yet ready to process new orders")


@pytest.mark.parametrize(("size", "price"), [("1.923", "0.520020"), ("2.7027", "0.370000"), ("2", "0.5")])
def test_a_dollar_is_enough_whatever_the_ratio_was_cut_to(size: str, price: str) -> None:
    """A $1 market BUY whose price was rounded down to micros is not refused for the lost fraction."""
    world = World()
    world.account("maker", "100", "100")
    world.account("alice", "100")
    world.submit("maker", "m", "SELL", YES, "10", "0.37")
    assert isinstance(world.submit("alice", "a", "BUY", YES, size, price, tif="FAK"), OrderAnswer)


def test_minimum_size_is_not_for_market_orders_nor_liquidity() -> None:
    """FAK and FOK are judged by the dollar rule only; a liquidity account by neither minimum."""
    world = quoted_world()
    world.account("mm", "100", "100", liquidity=True)
    assert isinstance(world.submit("alice", "a", "BUY", YES, "2", "0.85", tif="FAK"), OrderAnswer)
    assert isinstance(world.submit("mm", "m", "BUY", YES, "1", "0.5"), OrderAnswer)


def test_refused_id_may_be_posted_again_but_a_killed_one_not() -> None:
    """Only an acknowledged id is used up."""
    world = quoted_world()
    assert world.refusal(world.submit("alice", "x", "BUY", YES, "200", "0.52"))[0] is Reason.INSUFFICIENT_BALANCE
    assert world.refusal(world.submit("alice", "x", "BUY", YES, "10", "0.5", tif="FAK"))[0] is Reason.FAK_NOT_FILLED
    code, text, field = world.refusal(world.submit("alice", "x", "BUY", YES, "10", "0.5"))
    assert (code, text, field) == (Reason.DUPLICATE_ORDER, "order x is invalid. Duplicated.", "venue_order_id")


@pytest.mark.parametrize("order_id", ["", "x" * 129])
def test_order_ids_have_a_length(order_id: str) -> None:
    """No id and an endless id are refused."""
    world = quoted_world()
    code, text, field = world.refusal(world.submit("alice", order_id, "BUY", YES, "10", "0.5"))
    assert (code, text, field) == (Reason.BAD_ID, "Invalid orderID", "venue_order_id")


def test_oversized_texts_and_sizes_are_refused() -> None:
    """Nothing a caller sends grows the state without bound."""
    world = quoted_world()
    assert world.refusal(world.submit("alice", "x", "BUY", YES, "10", "0.5", owner="o" * 200))[0] is Reason.BAD_REQUEST
    assert world.refusal(world.submit("alice", "x", "BUY", YES, "2000000000", "0.5"))[0] is Reason.BAD_SIZE


def test_limits_of_orders_and_ids() -> None:
    """Open orders per account and used ids have a limit, each with its own code."""
    world = World(open_orders_per_account_max=2, orders_max=4)
    world.account("alice")
    for order_id in ("a", "b"):
        world.submit("alice", order_id, "BUY", YES, "10", "0.5")
    assert world.refusal(world.submit("alice", "c", "BUY", YES, "10", "0.5"))[0] is Reason.TOO_MANY_ORDERS
    assert world.refusal(world.submit("alice", "c", "BUY", YES, "10", "0.5", tif="FAK"))[0] is Reason.FAK_NOT_FILLED
    world.cancel("alice", "a")
    assert isinstance(world.submit("alice", "d", "BUY", YES, "10", "0.5"), OrderAnswer)
    assert world.refusal(world.submit("alice", "e", "BUY", YES, "10", "0.5"))[0] is Reason.IDEMPOTENCY_FULL


def test_a_repeated_command_gets_its_first_answer() -> None:
    """The same command id is answered, flagged, and does nothing; that holds for refusals too."""
    world = quoted_world()
    order = world.order("alice", "x", "BUY", YES, "5", "0.85")
    first = world.send(order)
    assert isinstance(first, OrderAnswer)
    again = world.send(order)
    assert again == msgspec.structs.replace(first, duplicate=True)
    assert world.events() == []
    bad = SubmitOrder("same", "alice", "y", YES, order.side, 1, 1, order.tif)
    assert world.refusal(world.send(bad)) == world.refusal(world.send(bad))


def test_a_buy_over_several_levels_needs_what_it_will_really_pay() -> None:
    """Each level's cost is rounded up, which can exceed the rounded cost of the whole by a micro."""
    world = World(opened=market(tick=1_000))
    world.account("mm", "0", "100", liquidity=True)
    world.account("alice", "5.010000")
    world.ladder("mm", [], [("0.500", "0.000001"), ("0.501", "10")])
    code, text, _ = world.refusal(world.submit("alice", "a", "BUY", YES, "10", "0.501", tif="FAK"))
    assert code is Reason.INSUFFICIENT_BALANCE
    assert text.endswith("balance: 5010000, order amount (inc. fees): 5010001")


def test_a_fee_never_exceeds_what_a_sell_receives() -> None:
    """A flat fee above the price takes the proceeds and nothing more."""
    world = World(opened=market(fee_rate=500_000, fee_exponent=0))
    world.account("alice", "10")
    world.account("bob", "0", "10")
    world.submit("alice", "a", "BUY", YES, "10", "0.10")
    assert isinstance(world.submit("bob", "b", "SELL", YES, "10", "0.10"), OrderAnswer)
    assert world.balances("bob").cash == 0
    assert world.core.engine.accounts.pots.fees == 1_000_000


def test_the_id_of_a_quote_is_taken() -> None:
    """Nobody can post under the id of a resting quote."""
    world = World()
    world.account("mm", "100", liquidity=True)
    world.account("alice", "100")
    world.ladder("mm", [("0.50", "10")], [])
    (quote,) = world.core.engine.router.condition("0xc0").ladder.orders()
    answer = world.submit("alice", quote.venue_order_id, "BUY", YES, "10", "0.50")
    assert world.refusal(answer)[0] is Reason.DUPLICATE_ORDER
