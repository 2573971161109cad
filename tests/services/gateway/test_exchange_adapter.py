"""The exchange adapter against a real exchange core: orders, cancels, lists, and answers that are lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count

import msgspec
import pytest

from common.errors import Refusal
from common.messages import (
    Cancel,
    CancelAnswer,
    CancelOrders,
    CancelWallet,
    GetBalances,
    GetExchangeTrades,
    OpenAccount,
    Place,
    PlaceResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
    Refused,
    SubmitOrder,
    VenuePosition,
    WalletReady,
)
from common.reasons import Reason
from common.types import OrderType, Outcome, RetryClass, Settlement, Side, TimeInForce
from common.venues.exchange.orders import ALREADY_DONE, NOT_FOUND
from common.venues.plain import PlainOrder, encode_plain
from services.gateway.adapters.exchange import CANCELS_MAX, ExchangeAdapter, open_exchange
from tests.services.exchange.world import NO, START, YES, World
from tests.services.exchange_edge import OWN, ExchangeEdge, with_wallets
from tests.services.fake_edge import settings_for

FAR = 2**62
QUERY = ("q", "exchange", "own")


class Desk:
    """An adapter, its exchange, and somebody to trade with who holds 1,000 of each token."""

    def __init__(self, trades_per_account_max: int = 10_000) -> None:
        exchange = {"mined_delay_ms": 100, "confirmed_delay_ms": 200, "trades_per_account_max": trades_per_account_max}
        self.world = World(**exchange)  # type: ignore[arg-type]
        self.world.account("house", yes="1000", no="1000")
        self.edge = ExchangeEdge("gateway", with_wallets(OWN, **exchange), self.world)
        self.now_ns = START
        self.adapter = ExchangeAdapter(self.edge.as_edge(), [OWN], wall_ns=lambda: self.now_ns)
        self._numbers = count(1)

    def order(self, token: str = YES, side: Side = Side.BUY, price: int = 450_000, **more: object) -> Place:
        number = next(self._numbers)
        plain = PlainOrder(
            f"own-{number}", f"exchange:{token}", side, OrderType.LIMIT, TimeInForce.GTC, False, price, 10_000_000
        )
        plain = msgspec.structs.replace(plain, **more)
        return Place(f"a{number}", "exchange", "own", plain.venue_order_id, FAR, encode_plain(plain))

    async def place(self, place: Place, *, resent: bool = False) -> PlaceResult:
        return await self.adapter.place(self.adapter.prepare(place), self.now_ns, resent=resent)

    async def resting(self, **more: object) -> str:
        result = await self.place(self.order(**more))  # type: ignore[arg-type]
        assert (result.outcome, result.status) == (Outcome.DONE, "live"), result
        return result.venue_order_id

    async def held(self) -> list[VenuePosition]:
        result = await self.adapter.positions(QueryPositions(*QUERY))
        assert result.complete, result
        return result.positions

    async def word(self, order_id: str) -> str:
        """What a look-up says of an order; "" when it is not there."""
        result = await self.adapter.look_up(QueryOrder(*QUERY, order_id))
        assert result.outcome is Outcome.DONE, result
        return result.order.status if result.order else ""


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    assert made.edge.errors == []
    await made.edge.close()


def test_without_a_wallet_there_is_no_adapter() -> None:
    settings = settings_for()
    world = World()
    assert open_exchange(ExchangeEdge("gateway", settings, world).as_edge(), settings) is None


def test_the_executor_is_told_the_account_as_signer(desk: Desk) -> None:
    assert desk.adapter.wallets() == [WalletReady("exchange", "own", "own:own", "own:own", 0, 0, "")]


# --- accounts ---


async def test_an_account_is_opened_with_a_first_deposit_and_never_topped_up(desk: Desk) -> None:
    await desk.adapter.start()
    await desk.edge.until(lambda: "own:own" in desk.world.core.engine.accounts.by_name)
    assert desk.world.balances("own:own").cash == 10_000 * 10**6
    again = open_exchange(desk.edge.as_edge(), desk.edge.settings)
    assert again is not None
    place = desk.order(price=450_000)
    await again.place(again.prepare(place), START, resent=False)
    assert desk.world.balances("own:own").cash == 10_000 * 10**6


async def test_an_order_waits_for_its_account(desk: Desk) -> None:
    await desk.resting()
    assert [type(body) for body in desk.edge.asked] == [OpenAccount, SubmitOrder]
    await desk.resting()
    assert len(desk.edge.asked_of(OpenAccount)) == 1


async def test_no_order_is_sent_while_the_account_cannot_be_opened(desk: Desk) -> None:
    desk.edge.away = True
    result = await desk.place(desk.order())
    assert (result.outcome, result.code, result.retry) == (
        Outcome.REFUSED,
        Reason.VENUE_UNAVAILABLE,
        RetryClass.AFTER,
    )
    assert desk.edge.asked_of(SubmitOrder) == []


async def test_an_exchange_that_began_anew_gets_the_account_before_the_next_attempt(desk: Desk) -> None:
    await desk.resting()
    desk.edge.world = desk.world = World()
    place = desk.order()
    first = await desk.place(place)
    assert (first.outcome, first.code, first.retry) == (Outcome.REFUSED, Reason.UNKNOWN_ACCOUNT, RetryClass.AFTER)
    second = await desk.place(place)
    assert (second.outcome, second.status) == (Outcome.DONE, "live")


# --- places ---


async def test_a_marketable_order_tells_what_it_gave_and_got(desk: Desk) -> None:
    desk.world.submit("house", "h1", "SELL", YES, "10", "0.45")
    result = await desk.place(desk.order(price=470_000))
    assert (result.outcome, result.status, result.making, result.taking) == (
        Outcome.DONE,
        "matched",
        4_500_000,
        10_000_000,
    )
    assert result.timings.received_ns == result.timings.sent_ns == result.timings.answered_ns == START


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"price": 455_000}, Reason.BAD_TICK),
        ({"size": 1_000_000}, Reason.SIZE_TOO_SMALL),
        ({"size": 10**12}, Reason.INSUFFICIENT_BALANCE),
        ({"tif": TimeInForce.FOK}, Reason.FOK_NOT_FILLED),
        ({"tif": TimeInForce.FAK}, Reason.FAK_NOT_FILLED),
        ({"token_id": "exchange:nothing"}, Reason.UNKNOWN_MARKET),
    ],
)
async def test_refusals_keep_their_reason(desk: Desk, more: dict[str, object], code: Reason) -> None:
    result = await desk.place(desk.order(**more))  # type: ignore[arg-type]
    assert (result.outcome, result.code) == (Outcome.REFUSED, code)
    assert result.text


async def test_a_lost_answer_leaves_the_outcome_open_and_the_same_order_never_enters_twice(desk: Desk) -> None:
    await desk.resting()
    desk.edge.deaf = True
    place = desk.order()
    lost = await desk.place(place)
    assert (lost.outcome, lost.retry) == (Outcome.UNKNOWN, RetryClass.LOOK_UP)
    desk.edge.deaf = False
    assert await desk.word(place.venue_order_id) == "LIVE"
    again = await desk.place(place, resent=True)
    assert (again.outcome, again.status) == (Outcome.DONE, "live"), "the exchange gives its first answer"
    opened = await desk.adapter.open_orders(QueryOpenOrders(*QUERY))
    assert [order.venue_order_id for order in opened.orders].count(place.venue_order_id) == 1


async def test_an_id_seen_before_under_another_action_is_open_not_refused(desk: Desk) -> None:
    place = desk.order()
    await desk.place(place)
    result = await desk.place(msgspec.structs.replace(place, action_id="other"))
    assert (result.outcome, result.code, result.retry) == (
        Outcome.UNKNOWN,
        Reason.DUPLICATE_ORDER,
        RetryClass.LOOK_UP,
    )


async def test_the_bus_asks_no_longer_than_the_deadline(desk: Desk) -> None:
    await desk.resting()
    late = msgspec.structs.replace(desk.order(), deadline_ns=START + 300_000_000)
    await desk.place(late)
    assert desk.edge.timeouts[-1] == pytest.approx(0.3)
    desk.now_ns = START + 300_000_000
    asked = len(desk.edge.asked)
    result = await desk.place(late)
    assert (result.outcome, result.code) == (Outcome.REFUSED, Reason.DEADLINE_PASSED)
    assert (await desk.place(late, resent=True)).outcome is Outcome.UNKNOWN
    assert len(desk.edge.asked) == asked


async def test_an_order_the_exchange_refused_for_now_is_another_command_the_next_time(desk: Desk) -> None:
    await desk.resting()
    place = desk.order()
    desk.edge.said = [Refused("c", Reason.OVERLOADED, "later")]
    assert (await desk.place(place)).retry is RetryClass.AFTER
    assert (await desk.place(place)).outcome is Outcome.DONE
    first, second = [body.command_id for body in desk.edge.asked if isinstance(body, SubmitOrder)][-2:]
    assert first != second


async def test_orders_of_other_wallets_and_venues_are_not_prepared(desk: Desk) -> None:
    place = desk.order()
    for wrong, code in (
        (msgspec.structs.replace(place, wallet="nobody"), Reason.WALLET_NOT_READY),
        (msgspec.structs.replace(place, venue_order_id="else"), Reason.DIGEST_MISMATCH),
        (desk.order(token_id="1001"), Reason.BAD_REQUEST),
    ):
        with pytest.raises(Refusal) as refusal:
            desk.adapter.prepare(wrong)
        assert refusal.value.code is code


def test_what_an_order_can_cost_is_known_before_it_is_sent(desk: Desk) -> None:
    prepared = desk.adapter.prepare(desk.order(price=333_333, size=10_000_001, post_only=True))
    assert (prepared.notional, prepared.maker_only) == (3_333_331, True)


async def test_a_batch_has_one_result_for_each_leg(desk: Desk) -> None:
    places = [desk.order(), desk.order(price=455_000), desk.order()]
    results = await desk.adapter.place_batch([desk.adapter.prepare(place) for place in places], START)
    assert [(r.venue_order_id, r.outcome) for r in results] == [
        (places[0].venue_order_id, Outcome.DONE),
        (places[1].venue_order_id, Outcome.REFUSED),
        (places[2].venue_order_id, Outcome.DONE),
    ]


# --- cancels ---


async def test_a_cancel_says_why_an_order_was_not_cancelled(desk: Desk) -> None:
    resting, over = await desk.resting(), await desk.resting()
    await desk.adapter.cancel(Cancel("c1", "exchange", "own", [over]), START)
    result = await desk.adapter.cancel(Cancel("c2", "exchange", "own", [resting, over, "never"]), START)
    assert (result.outcome, result.canceled) == (Outcome.DONE, [resting])
    assert result.not_canceled == {
        over: f"INVALID_ORDER_STATE: {ALREADY_DONE}",
        "never": f"ORDER_NOT_FOUND: {NOT_FOUND}",
    }
    assert await desk.word(resting) == "CANCELED"


async def test_the_same_cancel_is_judged_anew_each_time(desk: Desk) -> None:
    """It may have come before its place: an old answer would say for ever that there is nothing to cancel."""
    place = desk.order()
    cancel = Cancel("c1", "exchange", "own", [place.venue_order_id])
    await desk.resting()
    assert (await desk.adapter.cancel(cancel, START)).canceled == []
    await desk.place(place)
    assert (await desk.adapter.cancel(cancel, START)).canceled == [place.venue_order_id]


async def test_many_ids_are_cancelled_in_parts_and_a_lost_part_leaves_the_whole_open(desk: Desk) -> None:
    order_id = await desk.resting()
    ids = [order_id, *(f"x{number}" for number in range(CANCELS_MAX))]
    result = await desk.adapter.cancel(Cancel("c", "exchange", "own", ids), START)
    assert (result.outcome, result.canceled, len(result.not_canceled)) == (Outcome.DONE, [order_id], CANCELS_MAX)
    assert len(desk.edge.asked_of(CancelOrders)) == 2
    desk.edge.away = True
    lost = await desk.adapter.cancel(Cancel("c", "exchange", "own", [order_id]), START)
    assert (lost.outcome, lost.retry) == (Outcome.UNKNOWN, RetryClass.AFTER)


async def test_a_wallet_is_cancelled_whole_or_by_market_and_nobody_elses_orders_are(desk: Desk) -> None:
    desk.world.submit("house", "h1", "BUY", YES, "10", "0.10")
    yes, no = await desk.resting(), await desk.resting(token=NO)
    by_token = await desk.adapter.cancel_wallet(CancelWallet("c", "exchange", "own", token_id=f"exchange:{NO}"), START)
    assert by_token.canceled == [no]
    by_market = CancelWallet("c", "exchange", "own", condition_id="exchange:0xc0")
    assert (await desk.adapter.cancel_wallet(by_market, START)).canceled == [yes]
    assert (await desk.adapter.cancel_wallet(CancelWallet("c", "exchange", "own"), START)).canceled == []
    assert desk.world.order_now("h1").status == "LIVE"


# --- questions ---


async def test_a_look_up_finds_an_order_in_any_state_and_proves_absence(desk: Desk) -> None:
    order_id = await desk.resting()
    found = (await desk.adapter.look_up(QueryOrder(*QUERY, order_id))).order
    assert found is not None
    assert (found.token_id, found.price, found.size, found.status) == ("exchange:1001", 450_000, 10_000_000, "LIVE")
    assert await desk.word("never") == ""
    killed = desk.order(tif=TimeInForce.FOK)
    await desk.place(killed)
    assert await desk.word(killed.venue_order_id) == "KILLED"


async def test_an_order_of_another_account_is_not_ours(desk: Desk) -> None:
    desk.world.submit("house", "h1", "BUY", YES, "10", "0.10")
    assert await desk.word("h1") == ""


async def test_without_an_answer_nothing_is_proven(desk: Desk) -> None:
    await desk.resting()
    desk.edge.away = True
    looked_up = await desk.adapter.look_up(QueryOrder(*QUERY, "own-1"))
    opened = await desk.adapter.open_orders(QueryOpenOrders(*QUERY))
    trades = await desk.adapter.trades(QueryTrades(*QUERY, 0))
    positions = await desk.adapter.positions(QueryPositions(*QUERY))
    balances = await desk.adapter.balances(QueryBalances(*QUERY))
    assert {row.outcome for row in (looked_up, opened, trades, positions, balances)} == {Outcome.UNKNOWN}
    assert {row.complete for row in (opened, trades, positions)} == {False}


async def test_the_money_of_an_account_nobody_opened_is_not_known(desk: Desk) -> None:
    """Not 0: that would look like a loss."""
    result = await desk.adapter.balances(QueryBalances(*QUERY))
    assert (result.outcome, result.code) == (Outcome.UNKNOWN, Reason.UNKNOWN_ACCOUNT)


async def test_positions_follow_the_settlement_and_money_moves_at_the_match(desk: Desk) -> None:
    desk.world.submit("house", "h1", "SELL", YES, "10", "0.45")
    await desk.place(desk.order())
    assert await desk.held() == []
    balances = await desk.adapter.balances(QueryBalances(*QUERY))
    assert balances.cash == balances.allowance == 10_000 * 10**6 - 4_500_000
    desk.world.pass_time(1)
    assert await desk.held() == [VenuePosition("exchange:1001", 10_000_000)]


async def test_positions_that_move_while_they_are_read_are_not_told(desk: Desk) -> None:
    await desk.resting()
    real = desk.edge.perform

    def perform(body: object) -> object:
        if isinstance(body, GetBalances):
            number = len(desk.edge.asked)
            desk.world.submit("house", f"h{number}", "SELL", YES, "5", "0.45")
        return real(body)  # type: ignore[arg-type]

    desk.edge.perform = perform  # type: ignore[assignment, method-assign]
    await desk.resting(price=440_000)
    for price in (450_000, 450_000, 450_000):
        await desk.place(desk.order(price=price))
    result = await desk.adapter.positions(QueryPositions(*QUERY))
    assert (result.outcome, result.complete) == (Outcome.UNKNOWN, False)


async def test_all_trades_of_all_pages_come_in_the_words_of_the_bus(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.adapters.exchange.TRADES_PER_PAGE", 2)
    for number in range(5):
        desk.world.submit("house", f"h{number}", "SELL", YES, "10", "0.45")
        await desk.place(desk.order())
    result = await desk.adapter.trades(QueryTrades(*QUERY, 0))
    assert result.complete
    assert len({fill.trade_id for fill in result.fills}) == 5
    assert {(f.token_id, f.side, f.is_taker, f.settlement) for f in result.fills} == {
        ("exchange:1001", Side.BUY, True, Settlement.MATCHED)
    }
    assert len(desk.edge.asked_of(GetExchangeTrades)) == 3
    later = await desk.adapter.trades(QueryTrades(*QUERY, desk.world.wall_ns + 1))
    assert (later.complete, later.fills) == (True, [])


async def test_a_history_the_exchange_has_cut_is_not_complete() -> None:
    desk = Desk(trades_per_account_max=3)
    for number in range(4):
        desk.world.submit("house", f"h{number}", "SELL", YES, "10", "0.45")
        await desk.place(desk.order())
    result = await desk.adapter.trades(QueryTrades(*QUERY, 0))
    assert (result.complete, len(result.fills)) == (False, 3)
    await desk.edge.close()


# --- health ---


async def test_it_is_healthy_when_the_exchange_answers_and_has_the_account(desk: Desk) -> None:
    assert not (await desk.adapter.health()).ok
    await desk.resting()
    assert (await desk.adapter.health()).ok
    desk.edge.away = True
    health = await desk.adapter.health()
    assert not health.ok
    assert "did not answer" in health.text


async def test_the_probe_changes_nothing(desk: Desk) -> None:
    order_id = await desk.resting()
    probe = await desk.adapter.probe()
    assert (probe.outcome, probe.code) == (Outcome.DONE, Reason.OK)
    assert await desk.word(order_id) == "LIVE"


async def test_an_answer_to_something_else_is_no_answer(desk: Desk) -> None:
    await desk.resting()
    desk.edge.said = [CancelAnswer("c", [], {})]
    assert (await desk.adapter.look_up(QueryOrder(*QUERY, "own-1"))).outcome is Outcome.UNKNOWN
    desk.edge.said = [Refused("c", Reason.OVERLOADED, "busy")]
    refused = await desk.adapter.open_orders(QueryOpenOrders(*QUERY))
    assert (refused.outcome, refused.code, refused.complete) == (Outcome.REFUSED, Reason.OVERLOADED, False)
