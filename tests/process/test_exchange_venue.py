"""Our own exchange as a second venue of the running demo: orders, fills, cancels, crashes, and Polymarket beside it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TypeVar

import pytest

from common.fixed import format_micros, parse_micros
from common.messages import (
    Accepted,
    BalancesReport,
    Deposit,
    GetBalances,
    HoldPlayback,
    Message,
    OpenAccount,
    OrderAnswer,
    SubmitOrder,
)
from common.requester import Requester
from common.types import ONE, Side, TimeInForce
from common.venues.exchange.names import account_of
from common.venues.plain import local_id
from tests.process.demo import Demo, Json, running_demo, until

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

WALLETS = [{"name": "main"}, {"name": "own", "venue": "exchange"}]
ACCOUNTS = [{"name": "default", "wallet": "main"}, {"name": "own", "wallet": "own"}]
ROOM = Decimal("0.05")
AnswerT = TypeVar("AnswerT", bound=Message)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """With held books: a recorded move of five ticks would fill what shall rest."""
    with running_demo(wallets=json.dumps(WALLETS), accounts=json.dumps(ACCOUNTS), mirror__speed="1") as found:
        two_sided(found)
        ask(found, HoldPlayback(uuid.uuid4().hex, True), Accepted, "mirror")
        yield found


def two_sided(demo: Demo) -> Json:
    """A market of the exchange with room on both sides."""

    def found() -> Json | None:
        for market in demo.cli("markets", "--venue", "exchange"):
            bid, ask = market["best_bid"], market["best_ask"]
            if bid and ask and Decimal("0.2") < Decimal(bid) < Decimal(ask) < Decimal("0.8"):
                return market
        return None

    return until(found, 30, "no two-sided market at the exchange")


def place(demo: Demo, market: Json, price: Decimal, *more: str) -> Json:
    """A BUY of 10 of the first outcome with our own wallet."""
    return demo.cli(
        "order", "place", "--market", market["slug"], "--outcome", market["outcomes"][0], "--side", "BUY", "--price",
        str(price), "--size", "10", "--account", "own", "--venue", "exchange", *more,
    )  # fmt: skip


def resting(demo: Demo, market: Json, *more: str) -> Json:
    """An order behind the best bid; the recorded books may move onto it, never far."""
    order = place(demo, market, Decimal(market["best_bid"]) - ROOM, *more)
    assert (order["venue"], order["status"]) == ("exchange", "Working"), order
    return order


def until_lifecycle(demo: Demo, order: Json, word: str) -> Json:
    shown: list[Json] = []

    def found() -> Json | None:
        shown[:] = [demo.cli("order", "show", order["order_id"], "--account", order["account"])]
        return shown[0] if shown[0]["lifecycle"] == word else None

    try:
        return until(found, 20, f"it did not become {word}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {shown}\n{demo.processes.log('executor')}") from None


def ask(demo: Demo, body: Message, kind: type[AnswerT], owner: str = "exchange") -> AnswerT:
    with Requester(demo.processes.settings) as bus:
        answer = bus.request(owner, body)
    assert isinstance(answer, kind), answer
    return answer


def sell_down_to(demo: Demo, order: Json) -> None:
    """Somebody at the exchange sells through every bid down to this order's price, and through the order."""
    account, token_id = uuid.uuid4().hex, local_id(order["token_id"])
    size = 10_000_000 * ONE
    ask(demo, OpenAccount(uuid.uuid4().hex, account, 0), Accepted)
    ask(demo, Deposit(uuid.uuid4().hex, account, token_id, size), Accepted)
    price = parse_micros(order["price"])
    sweep = SubmitOrder(uuid.uuid4().hex, account, uuid.uuid4().hex, token_id, Side.SELL, price, size, TimeInForce.FAK)
    ask(demo, sweep, OrderAnswer)


def same_as_at_the_exchange(demo: Demo, *, cash: bool = False) -> None:
    """Holdings of our account are the exchange's; its `cash` as well, once the executor believes a balance."""

    def equal() -> Json | None:
        report = ask(demo, GetBalances(uuid.uuid4().hex, account_of("own")), BalancesReport)
        theirs = {f"exchange:{token}": format_micros(amount) for token, amount in report.tokens.items()}
        rows = demo.cli("positions", "--account", "own")
        ours = {row["token_id"]: row["size"] for row in rows if Decimal(row["size"])}
        if ours != theirs:
            return None
        (account,) = [row for row in demo.cli("accounts") if row["account"] == "own"] if cash else [None]
        return True if account is None or account["cash"] == format_micros(report.cash) else None

    until(equal, 20, "our books are not the exchange's")


def test_orders_fills_and_cancels_at_both_venues_at_once(demo: Demo) -> None:
    market, other = two_sided(demo), demo.two_sided()
    assert other["venue"] == "polymarket"
    assert market["token_ids"][0] == f"exchange:{local_id(market['token_ids'][0])}"
    rests = resting(demo, market)

    with ThreadPoolExecutor(2) as pool:
        ours = pool.submit(place, demo, market, Decimal(market["best_ask"]) + ROOM)
        theirs = pool.submit(demo.buy, other)
        filled, elsewhere = ours.result(), theirs.result()
    done = until_lifecycle(demo, filled, "CONFIRMED")
    assert done["filled_size"] == "10"
    assert {fill["settlement"] for fill in done["fills"]} == {"CONFIRMED"}
    assert until_lifecycle(demo, elsewhere, "CONFIRMED")["venue"] == "polymarket"

    demo.cli("cancel", rests["order_id"], "--account", "own")
    assert until_lifecycle(demo, rests, "CANCELLED")["filled_size"] == "0"
    same_as_at_the_exchange(demo)


def test_a_fill_while_user_data_is_dead_is_caught_up(demo: Demo) -> None:
    market = two_sided(demo)
    order = resting(demo, market)
    demo.processes.kill9("user_data")
    sell_down_to(demo, order)
    demo.processes.start("user_data")
    demo.processes.wait_ready("user_data")
    assert until_lifecycle(demo, order, "CONFIRMED")["filled_size"] == "10"
    same_as_at_the_exchange(demo)


def test_an_order_given_while_the_gateway_is_dead_enters_once(demo: Demo) -> None:
    market = two_sided(demo)
    before = resting(demo, market)
    demo.processes.kill9("gateway")
    with ThreadPoolExecutor(1) as pool:
        given = pool.submit(resting, demo, market, "--deadline-ms", "60000")
        demo.processes.start("gateway")
        demo.processes.wait_ready("gateway")
        order = given.result()
    at_exchange = {before["venue_order_id"], order["venue_order_id"]}
    opened = demo.cli("orders", "--account", "own")
    assert {row["venue_order_id"] for row in opened} == at_exchange
    demo.cli("cancel-all", "--account", "own")
    for row in (before, order):
        until_lifecycle(demo, row, "CANCELLED")
    same_as_at_the_exchange(demo, cash=True)


def test_no_book_is_live_while_the_exchange_is_dead_and_orders_outlive_it(demo: Demo) -> None:
    market = two_sided(demo)
    order = resting(demo, market)

    def state() -> str:
        found = demo.cli("markets", "--venue", "exchange", market["slug"])
        return str(found[0]["state"]) if found else "not listed"

    assert state() == "LIVE"
    demo.processes.kill9("exchange")
    until(lambda: state() != "LIVE" or None, 10, "a dead exchange has live books")
    demo.processes.start("exchange")
    demo.processes.wait_ready("exchange", "user_data", "market_data", "gateway")
    until(lambda: state() == "LIVE" or None, 20, "its books did not come back")
    until(lambda: demo.cli("cancel", order["order_id"], "--account", "own"), 10, "not cancelled")
    assert until_lifecycle(demo, order, "CANCELLED")["filled_size"] == "0"
    same_as_at_the_exchange(demo, cash=True)
