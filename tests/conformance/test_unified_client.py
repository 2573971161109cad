"""polymarket-client 0.14.0, synchronous and asynchronous, REST and streams, against the simulator."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.conformance.venue import (
    CONDITION,
    DEADLINE_S,
    DOWN,
    FINE_TOKENS,
    POSITION_TOKENS,
    UP,
    RunningVenue,
    new_key,
)

pytestmark = pytest.mark.conformance


def address_of(key: str) -> str:
    from common.venues.polymarket.signing import Signer

    return Signer(bytes.fromhex(key[2:])).address


@pytest.fixture
def client(venue: RunningVenue) -> Iterator[Any]:
    from polymarket import SecureClient

    key = new_key()
    client = SecureClient.create(private_key=key, wallet=address_of(key), environment=venue.environment())
    yield client
    client.close()


@pytest.fixture
async def async_client(venue: RunningVenue) -> AsyncIterator[Any]:
    from polymarket import AsyncSecureClient

    key = new_key()
    async with await AsyncSecureClient.create(
        private_key=key, wallet=address_of(key), environment=venue.environment()
    ) as client:
        yield client


def rest(client: Any, price: str = "0.30", token: str = UP) -> str:
    placed = client.place_limit_order(token_id=token, price=price, size=10, side="BUY")
    assert placed.ok, placed
    assert placed.status == "live"
    return str(placed.order_id)


class TestSync:
    def test_credentials_are_derived_again_and_can_be_deleted(self, venue: RunningVenue, client: Any) -> None:
        from polymarket import SecureClient

        key = new_key()
        first = SecureClient.create(private_key=key, wallet=address_of(key), environment=venue.environment())
        second = SecureClient.create(private_key=key, wallet=address_of(key), environment=venue.environment())
        assert first.credentials == second.credentials
        third = SecureClient.create(
            private_key=key, wallet=address_of(key), environment=venue.environment(), credentials=first.credentials
        )
        assert third.fetch_api_keys() == (first.credentials.key,)
        third.delete_api_key()
        with pytest.raises(Exception, match="Unauthorized"):
            first.fetch_api_keys()
        for one in (first, second, third):
            one.close()

    def test_public_reads(self, client: Any) -> None:
        book = client.get_order_book(token_id=UP)
        assert (book.bids[-1].price, book.asks[-1].price, book.tick_size) == (
            Decimal("0.45"), Decimal("0.47"), Decimal("0.01"),
        )  # fmt: skip
        assert [row.asset_id for row in client.get_order_books(token_ids=[UP, DOWN])] == [UP, DOWN]
        assert client.get_midpoint(token_id=DOWN) == Decimal("0.54")
        assert client.get_price(token_id=UP, side="BUY") == Decimal("0.45")
        assert client.get_spread(token_id=UP) == Decimal("0.02")
        last = client.get_last_trade_price(token_id=UP)
        assert last is None or 0 < last.price < 1
        assert client.estimate_market_price(token_id=UP, side="BUY", amount=100, order_type="FOK") == Decimal("0.48")

    def test_discovery_finds_the_markets_with_real_names(self, client: Any) -> None:
        page = client.list_markets().first_page()
        found = {market.condition_id: market for market in page.items}
        market = found[CONDITION]
        assert (market.question, market.slug) == ("Bitcoin up or down?", "btc-up-or-down")
        assert (market.outcomes.yes.label, market.outcomes.yes.token_id) == ("Up", UP)
        assert (market.outcomes.no.label, market.outcomes.no.token_id) == ("Down", DOWN)
        assert market.prices.best_bid == Decimal("0.45")
        assert market.trading.minimum_tick_size == Decimal("0.01")
        assert market.state.accepting_orders is True
        assert client.get_market(slug="btc-up-or-down").id == market.id
        assert client.get_market(id=market.id).condition_id == CONDITION
        filtered = client.list_markets(clob_token_ids=[DOWN]).first_page().items
        assert [row.condition_id for row in filtered] == [CONDITION]
        assert client.list_markets(closed=True).first_page().items == ()
        event = client.get_event(slug="btc-up-or-down")
        assert [row.condition_id for row in event.markets] == [CONDITION]
        assert [row.slug for row in client.list_events(slug="fine-tick").first_page().items] == ["fine-tick"]
        (hit,) = client.search(q="bitcoin UP").first_page().items
        assert [row.slug for row in hit.events] == ["btc-up-or-down"]
        small = client.list_markets(page_size=1)
        assert {row.condition_id for row in small.iter_items()} == set(found)

    def test_resting_orders_and_five_ways_to_cancel(self, client: Any) -> None:
        order_id = rest(client)
        (listed,) = list(client.list_open_orders().iter_items())
        assert (listed.id, listed.status, listed.price, listed.size_matched) == (
            order_id, "LIVE", Decimal("0.30"), Decimal(0),
        )  # fmt: skip
        assert client.get_order(order_id=order_id).owner == client.credentials.key
        assert client.get_order_scoring(order_id=order_id) is False
        assert client.get_orders_scoring(order_ids=[order_id]) == {order_id: False}
        assert client.cancel_order(order_id=order_id).canceled == (order_id,)
        two, unknown = rest(client, "0.21"), "0x" + "99" * 32
        result = client.cancel_orders(order_ids=[two, unknown])
        assert (result.canceled, list(result.not_canceled)) == ((two,), [unknown])
        by_market, by_token = rest(client, "0.23"), rest(client, "0.24", DOWN)
        assert client.cancel_market_orders(token_id=DOWN).canceled == (by_token,)
        assert client.cancel_market_orders(market=CONDITION).canceled == (by_market,)
        last = rest(client, "0.25")
        assert client.cancel_all().canceled == (last,)
        assert client.get_order(order_id=last).status == "CANCELED"

    def test_market_orders_settle_and_positions_follow(self, venue: RunningVenue, client: Any) -> None:
        bought = client.place_market_order(token_id=UP, side="BUY", amount="9.4", order_type="FOK")
        assert (bought.ok, bought.status, bought.taking_amount) == (True, "matched", Decimal(20))
        (tx_hash,) = client.wait_for_order_fill_settlement(bought, timeout_s=DEADLINE_S)
        assert tx_hash.startswith("0x")
        sold = client.place_market_order(token_id=UP, side="SELL", shares=5, order_type="FAK")
        assert (sold.status, sold.taking_amount) == ("matched", Decimal("2.25"))
        client.wait_for_order_fill_settlement(sold, timeout_s=DEADLINE_S)
        trades = list(client.list_account_trades().iter_items())
        assert [(row.side, row.status, row.trader_side) for row in trades] == [
            ("SELL", "CONFIRMED", "TAKER"), ("BUY", "CONFIRMED", "TAKER"),
        ]  # fmt: skip
        held = client.get_balance_allowance(asset_type="CONDITIONAL", token_id=UP).balance
        assert held == 15_000_000
        (position,) = client.list_positions(user=str(client.wallet)).first_page().items
        assert (position.current_size, position.avg_price, position.realized_pnl) == (
            Decimal(15), Decimal("0.47"), Decimal("-0.1"),
        )  # fmt: skip
        assert (position.title, position.outcome, position.opposite_asset_id) == ("Bitcoin up or down?", "Up", DOWN)
        assert client.get_portfolio_value(user=str(client.wallet)).value == 15 * Decimal("0.46")
        public = list(client.list_trades(user=str(client.wallet)).iter_items())
        assert [(row.side, row.size, row.price) for row in public] == [
            ("SELL", Decimal(5), Decimal("0.45")), ("BUY", Decimal(20), Decimal("0.47")),
        ]  # fmt: skip
        spent = 10_000_000_000 - client.get_balance_allowance(asset_type="COLLATERAL").balance
        fees = Decimal("20") * Decimal("0.07") * Decimal("0.47") * Decimal("0.53")
        fees += Decimal("5") * Decimal("0.07") * Decimal("0.45") * Decimal("0.55")
        assert abs(Decimal(spent) / 10**6 - (Decimal("9.4") - Decimal("2.25") + fees)) < Decimal("0.00002")

    def test_refusals_of_single_orders_are_rejections_with_the_venue_texts(self, client: Any) -> None:
        from polymarket.errors import RequestRejectedError

        with pytest.raises(RequestRejectedError, match="invalid post-only order: order crosses book") as crossing:
            client.place_limit_order(token_id=UP, price="0.47", size=10, side="BUY", post_only=True)
        assert crossing.value.status == 400
        with pytest.raises(RequestRejectedError, match="FOK orders are fully filled or killed"):
            client.place_market_order(token_id=UP, side="BUY", amount=9, max_price="0.46", order_type="FOK")
        with pytest.raises(RequestRejectedError, match="FAK orders are partially filled or killed"):
            client.place_market_order(token_id=UP, side="BUY", amount=9, max_price="0.46", order_type="FAK")
        with pytest.raises(RequestRejectedError, match="not enough balance / allowance"):
            client.place_limit_order(token_id=UP, price="0.60", size=10, side="SELL")

    def test_refused_batch_entries_have_machine_codes(self, client: Any) -> None:
        entries = [
            client.create_market_order(token_id=UP, side="BUY", amount=9, max_price="0.46", order_type="FOK"),
            client.create_market_order(token_id=UP, side="BUY", amount=9, max_price="0.46", order_type="FAK"),
            client.create_limit_order(token_id=UP, price="0.60", size=10, side="SELL"),
        ]
        codes = [row.code for row in client.post_orders(entries)]
        assert codes == ["fok_not_filled", "fak_not_filled", "not_enough_balance"]

    def test_batches_and_gtd(self, client: Any) -> None:
        later = int(time.time()) + 600
        timed = client.create_limit_order(token_id=UP, price="0.30", size=10, side="BUY", expiration=later)
        crossing = client.create_limit_order(token_id=UP, price="0.48", size=10, side="BUY", post_only=True)
        first, second = client.post_orders([timed, crossing])
        assert (first.ok, first.status) == (True, "live")
        assert (second.ok, second.code) == (False, "post_only_would_cross")
        order = client.get_order(order_id=first.order_id)
        assert (order.order_type, int(order.expires_at.timestamp())) == ("GTD", later)

    def test_fine_ticks_negative_risk_and_positions_are_signed_right(self, client: Any) -> None:
        for token, price in ((FINE_TOKENS[0], "0.301"), (POSITION_TOKENS[0], "0.30")):
            order_id = rest(client, price, token)
            assert client.get_order(order_id=order_id).price == Decimal(price)

    def test_heartbeats(self, client: Any) -> None:
        first = client.send_order_heartbeat()
        second = client.send_order_heartbeat(heartbeat_id=first.heartbeat_id)
        assert second.heartbeat_id != first.heartbeat_id

    def test_account_reads(self, client: Any) -> None:
        assert client.get_closed_only_mode() is False
        assert client.get_notifications() == ()
        client.drop_notifications(ids=["1"])
        allowance = client.get_balance_allowance(asset_type="COLLATERAL")
        assert min(allowance.allowances.values()) == 2**256 - 1


class Heard:
    """Collects a stream's events in the background."""

    def __init__(self, handle: Any) -> None:
        self.events: list[Any] = []
        self._handle = handle
        self._task = asyncio.create_task(self._listen())
        self._more = asyncio.Condition()

    async def _listen(self) -> None:
        async for event in self._handle:
            async with self._more:
                self.events.append(event)
                self._more.notify_all()

    async def until(self, found: Callable[[list[Any]], Any]) -> Any:
        """What `found` makes of the events, as soon as it is true."""
        async with asyncio.timeout(DEADLINE_S), self._more:
            await self._more.wait_for(lambda: found(self.events))
        return found(self.events)

    async def close(self) -> None:
        await self._handle.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def follow(client: Any, spec: Any) -> Heard:
    return Heard(await client.subscribe(spec))


class TestAsync:
    async def test_rest_end_to_end(self, async_client: Any) -> None:
        client = async_client
        assert await client.fetch_api_keys() == (client.credentials.key,)
        placed = await client.place_limit_order(token_id=UP, price="0.30", size=10, side="BUY")
        assert (placed.ok, placed.status) == (True, "live")
        orders = [row async for row in client.list_open_orders().iter_items()]
        assert [row.id for row in orders] == [placed.order_id]
        result = await client.cancel_orders(order_ids=[placed.order_id])
        assert result.canceled == (placed.order_id,)
        bought = await client.place_market_order(token_id=DOWN, side="BUY", amount=11, order_type="FAK")
        assert (bought.status, bought.taking_amount) == ("matched", Decimal(20))
        assert len(await client.wait_for_order_fill_settlement(bought, timeout_s=DEADLINE_S)) == 1
        signed = [
            await client.create_limit_order(token_id=UP, price=price, size=10, side="BUY") for price in ("0.2", "0.3")
        ]
        assert [row.status for row in await client.post_orders(signed)] == ["live", "live"]
        assert len((await client.cancel_all()).canceled) == 2
        assert (await client.send_order_heartbeat()).heartbeat_id
        assert (await client.get_balance_allowance(asset_type="CONDITIONAL", token_id=DOWN)).balance == 20_000_000

    async def test_user_channel_tells_the_life_of_own_orders(self, async_client: Any) -> None:
        from polymarket.streams import UserSpec

        client = async_client
        heard = await follow(client, UserSpec(markets=[CONDITION]))
        await self._until_connected(client, heard)
        placed = await client.place_limit_order(token_id=UP, price="0.47", size=250, side="BUY")
        assert placed.taking_amount == Decimal(200)

        def own(events: list[Any], kind: str) -> list[Any]:
            orders = [event.payload for event in events if event.type == "order"]
            return [row for row in orders if row.id == placed.order_id and row.order_event_type == kind]

        (placement,) = await heard.until(lambda events: own(events, "PLACEMENT"))
        assert (placement.status, placement.original_size, placement.side) == ("LIVE", Decimal(250), "BUY")
        (update,) = await heard.until(lambda events: own(events, "UPDATE"))
        assert (update.size_matched, update.associate_trades) == (Decimal(200), placed.trade_ids)

        def stages(events: list[Any]) -> list[str]:
            trades = [event.payload for event in events if event.type == "trade"]
            return [row.status for row in trades if row.id == placed.trade_ids[0]]

        def settled(events: list[Any]) -> list[str]:
            seen = stages(events)
            return seen if "CONFIRMED" in seen else []

        assert await heard.until(settled) == ["MATCHED", "MINED", "CONFIRMED"]
        trades = [event.payload for event in heard.events if event.type == "trade"]
        assert (trades[0].trader_side, trades[0].transaction_hash or "") == ("TAKER", "")
        assert (trades[-1].transaction_hash or "")[:2] == "0x"
        await client.cancel_order(order_id=placed.order_id)
        (gone,) = await heard.until(lambda events: own(events, "CANCELLATION"))
        assert (gone.status, gone.size_matched) == ("CANCELED", Decimal(200))
        await heard.close()

    async def test_a_maker_sees_its_fill_with_its_own_role(self, venue: RunningVenue, async_client: Any) -> None:
        from polymarket import SecureClient
        from polymarket.streams import UserSpec

        maker = async_client
        heard = await follow(maker, UserSpec())
        await self._until_connected(maker, heard)
        resting = await maker.place_limit_order(token_id=UP, price="0.46", size=10, side="BUY")
        key = new_key()
        taker = SecureClient.create(private_key=key, wallet=address_of(key), environment=venue.environment())
        taken = taker.place_market_order(token_id=DOWN, side="BUY", amount="5.4", order_type="FOK")
        taker.close()
        assert taken.status == "matched"

        def fills(events: list[Any]) -> list[Any]:
            return [event.payload for event in events if event.type == "trade"]

        first = (await heard.until(fills))[0]
        assert (first.trader_side, first.trade_owner) == ("MAKER", maker.credentials.key)
        (leg,) = [row for row in first.maker_orders if row.order_id == resting.order_id]
        assert (leg.asset_id, leg.side, leg.price, leg.matched_amount) == (UP, "BUY", Decimal("0.46"), Decimal(10))
        await heard.until(
            lambda events: [
                event
                for event in events
                if event.type == "order" and event.payload.id == resting.order_id and event.payload.status == "MATCHED"
            ]
        )
        await heard.close()

    async def test_market_channel_books_changes_trades_and_tops(self, venue: RunningVenue, async_client: Any) -> None:
        from polymarket.streams import MarketSpec

        client = async_client
        heard = await follow(client, MarketSpec(token_ids=[UP, DOWN], custom_feature_enabled=True))

        def of(kind: str, token: str = "") -> Callable[[list[Any]], list[Any]]:
            def found(events: list[Any]) -> list[Any]:
                rows = [event.payload for event in events if event.type == kind]
                return [row for row in rows if token in ("", getattr(row, "asset_id", ""))]

            return found

        first_up, first_down = (await heard.until(of("book", UP)))[0], (await heard.until(of("book", DOWN)))[0]
        assert (first_up.bids[-1].price, first_down.asks[-1].price) == (Decimal("0.45"), Decimal("0.55"))
        placed = await client.place_limit_order(token_id=UP, price="0.46", size=10, side="BUY")
        change = (await heard.until(of("price_change")))[0]
        rows = {(row.asset_id, row.side): row for row in change.price_changes}
        assert (rows[UP, "BUY"].price, rows[UP, "BUY"].size, rows[UP, "BUY"].best_bid) == (
            Decimal("0.46"), Decimal(10), Decimal("0.46"),
        )  # fmt: skip
        assert (rows[DOWN, "SELL"].price, rows[DOWN, "SELL"].best_ask) == (Decimal("0.54"), Decimal("0.54"))
        top = (await heard.until(of("best_bid_ask", UP)))[0]
        assert (top.best_bid, top.best_ask, top.spread) == (Decimal("0.46"), Decimal("0.47"), Decimal("0.01"))
        await client.cancel_order(order_id=placed.order_id)
        await heard.until(
            lambda events: [
                row for payload in of("price_change")(events) for row in payload.price_changes
                if (row.asset_id, row.price, row.size) == (UP, Decimal("0.46"), Decimal(0))
            ]
        )  # fmt: skip
        books = len(of("book", UP)(heard.events))
        await client.place_market_order(token_id=UP, side="BUY", amount="9.4", order_type="FOK")
        trade = (await heard.until(of("last_trade_price", UP)))[0]
        assert (trade.price, trade.size, trade.side) == (Decimal("0.47"), Decimal(20), "BUY")
        after = (await heard.until(lambda events: of("book", UP)(events)[books:]))[0]
        assert (after.asks[-1].price, after.asks[-1].size) == (Decimal("0.47"), Decimal(180))
        assert after.last_trade_price == Decimal("0.47")
        await heard.close()

    async def test_new_markets_and_tick_changes_are_told(self, venue: RunningVenue, async_client: Any) -> None:
        import secrets

        from msgspec.structs import replace
        from polymarket.streams import MarketSpec

        from common.messages import OpenMarket, SetTick

        heard = await follow(async_client, MarketSpec(token_ids=[UP], custom_feature_enabled=True))
        await heard.until(lambda events: [event for event in events if event.type == "book"])
        tokens = (str(int("d1" + secrets.token_hex(31), 16)), str(int("d2" + secrets.token_hex(31), 16)))
        market = replace(venue.market, condition_id="0x" + secrets.token_hex(32), slug="fresh", token_ids=tokens)
        await asyncio.to_thread(venue.command, OpenMarket(venue.next_id(), market))
        told = (await heard.until(lambda events: [event for event in events if event.type == "new_market"]))[0]
        assert (told.payload.condition_id, told.payload.slug) == (market.condition_id, "fresh")
        other = await follow(async_client, MarketSpec(token_ids=[tokens[0]]))
        await asyncio.to_thread(venue.command, SetTick(venue.next_id(), market.condition_id, 1_000))
        tick = (await other.until(lambda events: [event for event in events if event.type == "tick_size_change"]))[0]
        assert (tick.payload.asset_id, tick.payload.new_tick_size) == (tokens[0], Decimal("0.001"))
        await heard.close()
        await other.close()

    async def _until_connected(self, client: Any, heard: Heard) -> None:
        """The user channel does not acknowledge: place and cancel until the first event arrives."""
        async with asyncio.timeout(DEADLINE_S):
            while not heard.events:
                probe = await client.place_limit_order(token_id=UP, price="0.05", size=10, side="BUY")
                await client.cancel_order(order_id=probe.order_id)
                await asyncio.sleep(0.05)
