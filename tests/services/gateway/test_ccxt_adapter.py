"""The ccxt adapter with ccxt's real client against the Binance-like server, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from common.errors import ConfigError, Refusal
from common.messages import (
    Cancel,
    CancelWallet,
    Place,
    PlaceResult,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryPositions,
    QueryTrades,
)
from common.reasons import Reason
from common.secrets import write_secret
from common.settings import ROOT, CcxtVenue, Wallet
from common.types import OrderType, Outcome, RetryClass, Settlement, Side, TimeInForce
from common.venues.binance.seed import HOUSE, Quote, quote
from common.venues.binance.server import KEY, SECRET, BinanceServer, Fault, FaultKind
from common.venues.binance.wire import UNIT
from common.venues.ccxt.credentials import ApiCredentials
from common.venues.plain import PlainOrder, encode_plain
from services.gateway.adapters.ccxt import CcxtAdapter, load_credentials, open_ccxt
from tests.services.fake_edge import FakeEdge, settings_for

VENUE, WALLET = "bn", "spot"
BTC = f"{VENUE}:BTC/USDT"
SYMBOLS = ("BTC/USDT", "ETH/USDT", "PEPE/USDT", "NOPE/USDT")
FAR = 1 << 62
NUMBERS = count(1)
LOST = (Outcome.UNKNOWN, Reason.VENUE_UNKNOWN_OUTCOME, RetryClass.LOOK_UP)


def adapter_for(url: str, *, timeout_ms: int = 3000, secret: str = SECRET, key: str = KEY) -> CcxtAdapter:
    settings = settings_for()
    settings = settings.model_copy(
        update={"gateway": settings.gateway.model_copy(update={"request_timeout_ms": timeout_ms})}
    )
    row = CcxtVenue(name=VENUE, url=url, symbols=SYMBOLS)
    return CcxtAdapter(row, settings, {WALLET: ApiCredentials(key, secret)})


@asynccontextmanager
async def started(url: str, **options: object) -> AsyncIterator[CcxtAdapter]:
    adapter = adapter_for(url, **options)  # type: ignore[arg-type]
    try:
        await adapter.start()
        yield adapter
    finally:
        await adapter.close()


@pytest.fixture
async def server() -> AsyncIterator[BinanceServer]:
    async with BinanceServer() as found:
        yield found


@pytest.fixture
async def adapter(server: BinanceServer) -> AsyncIterator[CcxtAdapter]:
    async with started(server.url) as found:
        yield found


def order(
    price: int = 50_000_000_000,
    size: int = 1_000,
    tif: TimeInForce = TimeInForce.GTC,
    *,
    side: Side = Side.BUY,
    post_only: bool = False,
    token: str = BTC,
) -> Place:
    """0.001 BTC at 50,000, which rests far below the seeded book of 60,000."""
    number = next(NUMBERS)
    plain = PlainOrder(f"pe-{number}", token, side, OrderType.LIMIT, tif, post_only, price, size)
    return Place(f"a-{number}", VENUE, WALLET, plain.venue_order_id, FAR, encode_plain(plain))


async def send(adapter: CcxtAdapter, place: Place, *, resent: bool = False) -> PlaceResult:
    return await adapter.place(adapter.prepare(place), 1, resent=resent)


async def look_up(adapter: CcxtAdapter, place: Place) -> tuple[Outcome, str]:
    found = await adapter.look_up(QueryOrder("q", VENUE, WALLET, place.venue_order_id))
    return found.outcome, found.order.status if found.order else "absent"


def verdict(result: PlaceResult) -> tuple[Outcome, Reason, RetryClass]:
    return result.outcome, result.code, result.retry


# --- places ---


async def test_a_place_is_one_request_and_rests_under_our_id(server: BinanceServer, adapter: CcxtAdapter) -> None:
    before = server.requests.total()
    place = order(price=50_000_010_000)
    result = await send(adapter, place)
    assert server.requests.total() == before + 1
    assert (result.outcome, result.status, result.venue_order_id) == (Outcome.DONE, "live", place.venue_order_id)
    assert 1 <= result.timings.sent_ns <= result.timings.first_byte_ns <= result.timings.answered_ns
    listed = await adapter.open_orders(QueryOpenOrders("q", VENUE, WALLET))
    assert listed.complete
    (seen,) = listed.orders
    assert (seen.venue_order_id, seen.status, seen.token_id) == (place.venue_order_id, "LIVE", BTC)
    assert (seen.side, seen.price, seen.size, seen.filled_size) == (Side.BUY, 50_000_010_000, 1_000, 0)


async def test_a_taker_is_told_exactly_what_it_gave_and_got_and_so_are_its_fills(adapter: CcxtAdapter) -> None:
    place = order(price=60_100_000_000, size=200_000, tif=TimeInForce.FAK)
    result = await send(adapter, place)
    # 0.16666 at 60,006 and 0.03334 at 60,012
    gave = 166_660 * 60_006 + 33_340 * 60_012
    assert (result.status, result.making, result.taking) == ("matched", gave, 200_000)
    trades = await adapter.trades(QueryTrades("q", VENUE, WALLET, result.timings.sent_ns - 10**9))
    assert trades.complete
    assert sum(fill.cash for fill in trades.fills) == gave
    assert {(f.venue_order_id, f.side, f.is_taker, f.settlement) for f in trades.fills} == {
        (place.venue_order_id, Side.BUY, True, Settlement.CONFIRMED)
    }
    assert [fill.trade_id for fill in trades.fills] == ["BTC/USDT:5001", "BTC/USDT:5002"]
    assert (await look_up(adapter, place)) == (Outcome.DONE, "MATCHED")


async def test_what_an_immediate_order_does_not_find_is_killed(adapter: CcxtAdapter) -> None:
    empty = [await send(adapter, order(tif=tif)) for tif in (TimeInForce.FAK, TimeInForce.FOK)]
    assert [(r.outcome, r.code) for r in empty] == [
        (Outcome.REFUSED, Reason.FAK_NOT_FILLED),
        (Outcome.REFUSED, Reason.FOK_NOT_FILLED),
    ]
    part = order(price=60_006_000_000, size=1_000_000, tif=TimeInForce.FAK)
    result = await send(adapter, part)
    assert (result.outcome, result.status, result.taking) == (Outcome.DONE, "matched", 166_660)
    assert (await look_up(adapter, part)) == (Outcome.DONE, "CANCELED")


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (order(price=60_100_000_000, post_only=True), Reason.POST_ONLY_CROSSES),
        (order(size=10_000_000), Reason.INSUFFICIENT_BALANCE),
        (order(size=50), Reason.NOTIONAL_TOO_SMALL),
        (order(price=50_000_005_000), Reason.BAD_TICK),
        (order(size=1_001), Reason.BAD_SIZE),
        (order(tif=TimeInForce.GTD), Reason.BAD_TIF),
        (order(token=f"{VENUE}:DOGE/USDT"), Reason.UNKNOWN_MARKET),
        (order(token=f"{VENUE}:PEPE/USDT"), Reason.BAD_TICK),
        (order(token="other:BTC/USDT"), Reason.UNKNOWN_MARKET),
        (order(tif=TimeInForce.FAK, post_only=True), Reason.BAD_POST_ONLY),
    ],
)
async def test_what_cannot_be_is_refused_by_its_own_code(adapter: CcxtAdapter, place: Place, code: Reason) -> None:
    try:
        result = await send(adapter, place)
        told = (result.outcome, result.code)
    except Refusal as refusal:
        told = (Outcome.REFUSED, refusal.code)
    assert told == (Outcome.REFUSED, code)
    assert (await look_up(adapter, place)) == (Outcome.DONE, "absent")


async def test_an_order_that_is_not_the_pinned_one_is_not_prepared(adapter: CcxtAdapter) -> None:
    one, other = order(), order()
    for place, code in (
        (Place("a", VENUE, WALLET, one.venue_order_id, FAR, other.pinned), Reason.DIGEST_MISMATCH),
        (Place("a", VENUE, "somebody", one.venue_order_id, FAR, one.pinned), Reason.WALLET_NOT_READY),
        (Place("a", VENUE, WALLET, one.venue_order_id, FAR, one.pinned[:-1]), Reason.BAD_REQUEST),
    ):
        with pytest.raises(Refusal) as refused:
            adapter.prepare(place)
        assert refused.value.code is code


async def test_the_same_order_twice_is_there_once_and_the_second_is_unknown(adapter: CcxtAdapter) -> None:
    place = order()
    assert (await send(adapter, place)).outcome is Outcome.DONE
    for resent in (False, True):
        assert verdict(await send(adapter, place, resent=resent)) == (
            Outcome.UNKNOWN,
            Reason.DUPLICATE_ORDER,
            RetryClass.LOOK_UP,
        )
    assert len((await adapter.open_orders(QueryOpenOrders("q", VENUE, WALLET))).orders) == 1


async def test_a_refusal_of_a_second_copy_says_nothing_of_the_first(adapter: CcxtAdapter) -> None:
    result = await send(adapter, order(size=10_000_000), resent=True)
    assert verdict(result) == (Outcome.UNKNOWN, Reason.INSUFFICIENT_BALANCE, RetryClass.LOOK_UP)


# --- what is not known ---


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.RESET),
        Fault(FaultKind.TRUNCATE),
        Fault(FaultKind.LATE_ANSWER),
        Fault(FaultKind.LATE_ANSWER, 502, "<html>Bad Gateway</html>"),
        Fault(FaultKind.LATE_ANSWER, 200, "<html>hello</html>"),
        Fault(FaultKind.LATE_ANSWER, 200, "[]"),
        Fault(FaultKind.LATE_ANSWER, 200, "{}"),
        Fault(FaultKind.LATE_ANSWER, 200, '{"clientOrderId":"another","orderId":1}'),
        Fault(FaultKind.LATE_ANSWER, 307, "", {"Location": "/api/v3/order"}),
        Fault(FaultKind.LATE_ANSWER, 408, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}'),
    ],
    ids=str,
)
async def test_a_lost_answer_is_unknown_and_the_order_is_found(
    server: BinanceServer, adapter: CcxtAdapter, fault: Fault
) -> None:
    server.fail("POST order", fault)
    place = order()
    assert verdict(await send(adapter, place)) == LOST
    assert server.requests["POST order"] == 1
    assert (await look_up(adapter, place)) == (Outcome.DONE, "LIVE")


async def test_a_timeout_is_unknown(server: BinanceServer) -> None:
    server.fail("POST order", Fault(FaultKind.HANG))
    async with started(server.url, timeout_ms=500) as adapter:
        place = order()
        assert verdict(await send(adapter, place)) == LOST
        assert (await look_up(adapter, place)) == (Outcome.DONE, "LIVE")


async def test_a_connection_cut_before_anything_happened_is_unknown_too(
    server: BinanceServer, adapter: CcxtAdapter
) -> None:
    server.fail("POST order", Fault(FaultKind.CUT))
    place = order()
    assert verdict(await send(adapter, place)) == LOST
    assert (await look_up(adapter, place)) == (Outcome.DONE, "absent")


async def test_a_venue_that_is_not_there_was_sent_nothing(server: BinanceServer, adapter: CcxtAdapter) -> None:
    place = order()
    prepared = adapter.prepare(place)
    await server.close()
    refused = await adapter.place(prepared, 1, resent=False)
    assert verdict(refused) == (Outcome.REFUSED, Reason.VENUE_UNAVAILABLE, RetryClass.AFTER)
    assert (await adapter.place(prepared, 1, resent=True)).outcome is Outcome.UNKNOWN
    assert not (await adapter.health()).ok
    found = await adapter.look_up(QueryOrder("q", VENUE, WALLET, place.venue_order_id))
    assert (found.outcome, found.found) == (Outcome.REFUSED, False)


async def test_before_the_instruments_are_known_nothing_is_sent(server: BinanceServer) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with started(f"http://127.0.0.1:{nobody.getsockname()[1]}") as adapter:
            refused = await send(adapter, order())
            assert verdict(refused) == (Outcome.REFUSED, Reason.VENUE_UNAVAILABLE, RetryClass.AFTER)
            listed = await adapter.open_orders(QueryOpenOrders("q", VENUE, WALLET))
            assert (listed.outcome, listed.complete) == (Outcome.REFUSED, False)


@pytest.mark.parametrize("body", ["{}", "null", '{"code":0}', '[{"id":1}]', "<html>", '["x"]'])
async def test_nonsense_is_never_an_empty_list(server: BinanceServer, adapter: CcxtAdapter, body: str) -> None:
    nonsense = Fault(FaultKind.ANSWER, 200, body)
    for endpoint in ("GET openOrders", "GET myTrades", "GET account"):
        server.fail(endpoint, nonsense, 2)
    orders = await adapter.open_orders(QueryOpenOrders("q", VENUE, WALLET))
    trades = await adapter.trades(QueryTrades("q", VENUE, WALLET, 0))
    held = await adapter.positions(QueryPositions("q", VENUE, WALLET))
    money = await adapter.balances(QueryBalances("q", VENUE, WALLET))
    assert [answer.outcome for answer in (orders, trades, held, money)] == [Outcome.UNKNOWN] * 4
    assert [answer.complete for answer in (orders, trades, held)] == [False] * 3


async def test_limits_and_keys_are_refusals_with_what_to_do(server: BinanceServer, adapter: CcxtAdapter) -> None:
    limited = Fault(FaultKind.ANSWER, 429, '{"code":-1003,"msg":"Too many requests."}', {"Retry-After": "4"})
    server.fail("POST order", limited)
    result = await send(adapter, order())
    assert verdict(result) == (Outcome.REFUSED, Reason.VENUE_RATE_LIMIT, RetryClass.AFTER)
    assert result.retry_after_ms == 4000
    for options in ({"secret": "wrong"}, {"key": "wrong"}):
        async with started(server.url, **options) as stranger:
            assert (await send(stranger, order())).code is Reason.VENUE_AUTH


async def test_requests_are_counted_by_the_venues_clock(server: BinanceServer) -> None:
    async with BinanceServer(wall_ms=lambda: 1_700_000_000_000) as elsewhere, started(elsewhere.url) as adapter:
        early = await send(adapter, order())
        assert verdict(early) == (Outcome.REFUSED, Reason.CLOCK_SKEW, RetryClass.AFTER)
        health = await adapter.health()
        assert health.ok
        assert health.clock_ns // 10**12 == 1_700_000  # the skew is for the gateway to judge
        assert (await send(adapter, order())).outcome is Outcome.DONE


# --- cancels ---


async def test_orders_are_cancelled_one_by_one_also_such_as_this_life_never_saw(server: BinanceServer) -> None:
    async with started(server.url) as first:
        places = [order(), order(price=2_000_000_000, size=10_000, token=f"{VENUE}:ETH/USDT")]
        for place in places:
            assert (await send(first, place)).outcome is Outcome.DONE
    async with started(server.url) as second:
        ids = [place.venue_order_id for place in places]
        result = await second.cancel(Cancel("c", VENUE, WALLET, [*ids, "never-was"]), 1)
        assert (result.outcome, sorted(result.canceled)) == (Outcome.DONE, sorted(ids))
        assert list(result.not_canceled) == ["never-was"]
        assert result.not_canceled["never-was"].startswith("ORDER_NOT_FOUND")
        assert not (await second.open_orders(QueryOpenOrders("q", VENUE, WALLET))).orders


async def test_a_cancel_without_an_answer_is_unknown_and_sent_once(server: BinanceServer, adapter: CcxtAdapter) -> None:
    place = order()
    await send(adapter, place)
    server.fail("DELETE order", Fault(FaultKind.RESET))
    result = await adapter.cancel(Cancel("c", VENUE, WALLET, [place.venue_order_id]), 1)
    assert (result.outcome, result.canceled, server.requests["DELETE order"]) == (Outcome.UNKNOWN, [], 1)
    assert (await look_up(adapter, place)) == (Outcome.DONE, "CANCELED")


async def test_a_cancel_of_a_filled_order_and_of_a_wallet_say_so(adapter: CcxtAdapter) -> None:
    place = order(price=60_100_000_000, tif=TimeInForce.FAK)
    await send(adapter, place)
    late = await adapter.cancel(Cancel("c", VENUE, WALLET, [place.venue_order_id]), 1)
    assert (late.outcome, late.canceled) == (Outcome.DONE, [])
    assert late.not_canceled[place.venue_order_id].startswith("ORDER_NOT_FOUND")
    assert (await adapter.cancel_wallet(CancelWallet("w", VENUE, WALLET), 1)).code is Reason.UNSUPPORTED
    probe = await adapter.probe()
    assert (probe.outcome, probe.retry) == (Outcome.DONE, RetryClass.NEVER)


# --- lists ---


@pytest.mark.parametrize("ago_h", [1, 24 * 60])
async def test_trades_are_read_to_the_end_in_pages_and_name_our_orders(server: BinanceServer, ago_h: int) -> None:
    since_ms = time.time_ns() // 10**6 - ago_h * 3_600_000
    book = server.venue.markets["BTCUSDT"]
    house = server.venue.accounts[HOUSE]
    for number in range(1_050):
        for account, side in (
            (server.trader, "SELL" if number % 2 else "BUY"),
            (house, "BUY" if number % 2 else "SELL"),
        ):
            wanted = Quote("BTCUSDT", side, 59_997 * UNIT, UNIT // 10_000)
            quote(server.venue, account, wanted, since_ms + number - 1)
    async with started(server.url) as adapter:
        orders = {own.client_order_id: own for own in book.orders.values()}
        for own in orders.values():
            adapter._accounts[WALLET].names.learn(own.client_order_id, "BTC/USDT", str(own.order_id))
        result = await adapter.trades(QueryTrades("q", VENUE, WALLET, since_ms * 10**6))
    assert result.complete, result.text
    assert len({fill.trade_id for fill in result.fills}) == len(result.fills) == 1_049
    assert all(orders[fill.venue_order_id].account is server.trader for fill in result.fills)


async def test_holdings_and_money_are_whole_and_rounded_down(adapter: CcxtAdapter) -> None:
    await send(adapter, order(price=60_100_000_000, size=1_230, tif=TimeInForce.FAK))
    await send(adapter, order())
    held = await adapter.positions(QueryPositions("q", VENUE, WALLET))
    # a BTC, and 0.00123 less the fee of a thousandth: 1.00122877
    assert {row.token_id: row.size for row in held.positions} == {BTC: 1_001_228, f"{VENUE}:ETH/USDT": 10_000_000}
    money = await adapter.balances(QueryBalances("q", VENUE, WALLET))
    assert money.cash == money.allowance == 100_000_000_000 - 1_230 * 60_006


# --- instruments ---


async def test_an_instrument_finer_than_a_millionth_is_refused_and_the_others_go_on(adapter: CcxtAdapter) -> None:
    assert list(adapter.listing.markets) == ["BTC/USDT", "ETH/USDT"]
    codes = {symbol: refusal.code for symbol, refusal in adapter.listing.refusals.items()}
    assert codes == {"PEPE/USDT": Reason.BAD_TICK, "NOPE/USDT": Reason.UNKNOWN_MARKET}
    assert "PEPE/USDT" in adapter.listing.refusals["PEPE/USDT"].message
    market = adapter.listing.markets["BTC/USDT"]
    assert (market.kind, market.venue, market.token_ids, market.slug) == ("spot", VENUE, (BTC,), BTC)
    assert (market.tick, market.size_step, market.min_size, market.min_notional) == (10_000, 10, 10, 5_000_000)
    assert (market.price_max, market.fee_rate) == (10**12, 1_000)


# --- secrets and start ---


async def test_wallets_are_announced_and_no_secret_is_in_a_repr(adapter: CcxtAdapter) -> None:
    (ready,) = adapter.wallets()
    assert (ready.venue, ready.wallet, ready.signer, ready.maker) == (VENUE, WALLET, WALLET, WALLET)
    results = [await send(adapter, order()), await send(adapter, order(size=10_000_000)), await adapter.health()]
    shown = f"{adapter!r} {vars(adapter)!r} {vars(adapter._accounts[WALLET])!r} {results!r}"
    shown += repr(vars(adapter._accounts[WALLET].client))
    assert SECRET not in shown
    assert KEY not in shown


def ccxt_settings(tmp_path: Path, **row: object) -> FakeEdge:
    settings = settings_for(secrets_dir=tmp_path)
    wallets = (*settings.wallets, Wallet(name=WALLET, venue=VENUE))
    rows = (CcxtVenue.model_validate({"name": VENUE, **row}),)
    return FakeEdge("gateway", settings.model_copy(update={"wallets": wallets, "ccxt": rows}))


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (None, 0o600, "create it, mode 0600"),
        (json.dumps({"apiKey": "k", "secret": "hush"}), 0o644, "chmod 600"),
        ("hush", 0o600, "holds no API credentials"),
        (json.dumps({"apiKey": "", "secret": "hush"}), 0o600, "is empty or has blanks"),
        (json.dumps({"apiKey": "k", "secret": "hush", "x": 1}), 0o600, "holds no API credentials"),
    ],
)
def test_credentials_that_cannot_be_used_name_the_file_and_the_fix(
    tmp_path: Path, content: str | None, mode: int, words: str
) -> None:
    edge = ccxt_settings(tmp_path)
    file = tmp_path / f"{WALLET}.gateway.creds"
    if content is not None:
        write_secret(file, content.encode())
        file.chmod(mode)
    with pytest.raises(ConfigError) as refused:
        open_ccxt(edge.as_edge(), edge.settings)
    assert refused.value.key == str(file)
    assert words in str(refused.value)
    assert "hush" not in str(refused.value)


async def test_an_adapter_is_opened_for_each_exchange_that_has_a_wallet(tmp_path: Path) -> None:
    write_secret(tmp_path / f"{WALLET}.gateway.creds", json.dumps({"apiKey": "k", "secret": "s"}).encode())
    edge = ccxt_settings(tmp_path)
    assert [adapter.venue for adapter in open_ccxt(edge.as_edge(), edge.settings)] == [VENUE]
    assert list(load_credentials(edge.settings, "elsewhere")) == []
    unspoken = ccxt_settings(tmp_path, exchange="kraken")
    with pytest.raises(ConfigError, match="no error table"):
        open_ccxt(unspoken.as_edge(), unspoken.settings)


def test_ccxt_is_not_imported_before_an_exchange_is_opened() -> None:
    mains = "services.gateway.__main__, services.user_data.__main__, services.market_data.__main__"
    modules = f"{mains}, services.gateway.adapters.ccxt, common.venues.binance.server"
    script = f"import sys, {modules}; sys.exit('ccxt' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False, timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


async def test_a_cancel_does_not_wait_behind_places(server: BinanceServer, adapter: CcxtAdapter) -> None:
    resting = order()
    await send(adapter, resting)
    server.fail("POST order", Fault(FaultKind.HANG), 5)
    stuck = [asyncio.ensure_future(send(adapter, order())) for _ in range(5)]
    async with asyncio.timeout(5):
        result = await adapter.cancel(Cancel("c", VENUE, WALLET, [resting.venue_order_id]), 1)
    assert result.canceled == [resting.venue_order_id]
    assert not any(place.done() for place in stuck)
    await adapter.reconnect()
    assert [verdict(await place) for place in stuck] == [LOST] * 5
