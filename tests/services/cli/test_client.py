"""The conversations: which message goes where, how long an order is followed, what silence means."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import Refusal
from common.messages import (
    CancelAccepted,
    CancelAll,
    CancelOrder,
    GetOrder,
    GetSweep,
    GetWatchList,
    MarketsReport,
    Message,
    OrdersReport,
    OrderView,
    PlaceAnswer,
    PlaceOrder,
    Refused,
    SweepReport,
    UnwatchMarkets,
    WatchedEntry,
    WatchMarkets,
    WatchReport,
)
from common.reasons import Reason
from common.topology import supervisor_socket
from common.types import OrderType, Side, Status, TimeInForce
from services.cli.client import (
    CATCH_UP_S,
    RESOLVE_S,
    STORY_S,
    SWEEP_S,
    Client,
    PlaceArguments,
    Unavailable,
    entry_key,
    is_ended,
    is_placed,
    is_running,
)
from tests.services.cli.fake_bus import Answer, FakeBus, FakeClock, Script
from tests.services.cli.samples import fill, filled_order, market_view, order, sweep_view, watched

WANTED = PlaceArguments(
    "default",
    "",
    "polymarket",
    "btc-15m-1",
    "Up",
    Side.BUY,
    OrderType.LIMIT,
    TimeInForce.GTC,
    False,
    520_000,
    10_000_000,
)
NOW_NS = 1_790_000_000_000_000_000


def client_of(script: Script) -> tuple[Client, FakeBus, FakeClock]:
    bus, clock = FakeBus(script), FakeClock()
    return Client(bus, request_life_ms=30_000, clock=clock, pause=clock.pause), bus, clock


def executor(placed: OrderView, *later: OrderView) -> Script:
    """An executor that answers a place with `placed` and each look with the next of `later`, the last for ever."""
    looks: Iterator[OrderView] = iter(later)
    last = [placed]

    def script(body: Message) -> Answer:
        if isinstance(body, PlaceOrder):
            return PlaceAnswer(body.command_id, placed)
        assert isinstance(body, GetOrder)
        last[0] = next(looks, last[0])
        return OrdersReport(body.request_id, [last[0]])

    return script


@pytest.mark.parametrize(
    ("seen", "placed", "ended"),
    [
        (order(Status.PENDING), False, False),
        (order(Status.SUBMITTING), False, False),
        (order(Status.UNKNOWN), False, False),
        (order(Status.WORKING), True, False),
        (order(Status.CANCELLING), False, False),
        (order(Status.REJECTED), True, True),
        (order(Status.CANCELLED), True, True),
        (order(Status.EXPIRED), True, True),
        (filled_order(), True, True),
        (order(Status.FILLED, filled_size=10_000_000), False, False),
        (order(Status.PARTIALLY_FILLED, filled_size=4_000_000), False, False),
        (order(Status.PARTIALLY_FILLED, filled_size=4_000_000, fills=[fill(4_000_000)]), True, False),
        (order(Status.CANCELLED, filled_size=4_000_000), False, False),
    ],
)
def test_an_order_is_told_when_its_state_is_known_and_its_fills_are_booked(
    seen: OrderView, placed: bool, ended: bool
) -> None:
    assert (is_placed(seen), is_ended(seen)) == (placed, ended)


def test_place_follows_the_order_until_its_fills_are_booked() -> None:
    matched = order(Status.FILLED, filled_size=10_000_000)
    client, bus, _ = client_of(executor(order(Status.PENDING), order(Status.SUBMITTING), matched, filled_order()))

    story = client.place(WANTED, NOW_NS)

    assert story.told
    assert story.order == filled_order()
    assert [type(body) for _, body, _ in bus.asked] == [PlaceOrder, GetOrder, GetOrder, GetOrder]


def test_place_sends_what_was_typed_and_makes_a_client_order_id() -> None:
    client, bus, _ = client_of(executor(filled_order()))

    client.place(WANTED, NOW_NS)

    [(owner, body, cancel)] = bus.asked
    assert isinstance(body, PlaceOrder)
    assert (owner, cancel) == ("executor", False)
    assert (body.market, body.price, body.size, body.expire_ns) == ("btc-15m-1", 520_000, 10_000_000, 0)
    assert body.client_order_id.startswith("cli-")
    assert len(body.client_order_id) <= 64


def test_two_places_have_different_ids() -> None:
    client, bus, _ = client_of(executor(filled_order()))

    client.place(WANTED, NOW_NS)
    client.place(WANTED, NOW_NS)

    first, second = (body for _, body, _ in bus.asked)
    assert isinstance(first, PlaceOrder)
    assert isinstance(second, PlaceOrder)
    assert first.client_order_id != second.client_order_id
    assert first.command_id != second.command_id


def test_expires_becomes_a_wall_time() -> None:
    client, bus, _ = client_of(executor(filled_order()))

    client.place(WANTED._replace(tif=TimeInForce.GTD, expires_s=90), NOW_NS)

    body = bus.asked[0][1]
    assert isinstance(body, PlaceOrder)
    assert body.expire_ns == NOW_NS + 90_000_000_000


@pytest.mark.parametrize("code", [Reason.FEED_GAP, Reason.WALLET_NOT_READY])
def test_place_waits_while_the_executor_catches_up_and_asks_under_a_new_command_id(code: Reason) -> None:
    commands: list[PlaceOrder] = []

    def script(body: Message) -> Answer:
        assert isinstance(body, PlaceOrder)
        commands.append(body)
        if len(commands) < 4:
            return Refused(body.command_id, code, "catching up", "account")
        return PlaceAnswer(body.command_id, filled_order())

    client, _, clock = client_of(script)

    assert client.place(WANTED, NOW_NS).told
    assert len({command.command_id for command in commands}) == 4
    assert len({command.client_order_id for command in commands}) == 1
    assert clock() < CATCH_UP_S


def test_place_gives_up_when_catching_up_takes_too_long() -> None:
    client, _, clock = client_of(
        lambda body: Refused(getattr(body, "command_id", ""), Reason.FEED_GAP, "catching up", "account")
    )

    with pytest.raises(Refusal) as refused:
        client.place(WANTED, NOW_NS)

    assert refused.value.code is Reason.FEED_GAP
    assert CATCH_UP_S <= clock() < CATCH_UP_S + 1


def test_a_lasting_refusal_is_not_asked_again() -> None:
    client, bus, _ = client_of(lambda body: Refused(getattr(body, "command_id", ""), Reason.BAD_TICK, "off", "price"))

    with pytest.raises(Refusal):
        client.place(WANTED, NOW_NS)

    assert len(bus.asked) == 1


def test_an_order_that_stays_unknown_is_shown_as_it_is_after_the_time() -> None:
    client, _, clock = client_of(executor(order(Status.UNKNOWN)))

    story = client.place(WANTED, NOW_NS)

    assert not story.told
    assert story.order.status is Status.UNKNOWN
    assert STORY_S <= clock.now < STORY_S + 0.1


def test_an_executor_that_dies_while_an_order_is_followed_does_not_lose_the_order() -> None:
    def script(body: Message) -> Answer:
        if isinstance(body, PlaceOrder):
            return PlaceAnswer(body.command_id, order(Status.SUBMITTING))
        return TimeoutError("executor did not answer within 5 s")

    client, _, _ = client_of(script)

    story = client.place(WANTED, NOW_NS)

    assert not story.told
    assert story.order.order_id == "o-1"


def test_silence_to_a_place_names_the_id_to_look_for() -> None:
    client, _, _ = client_of(lambda _body: TimeoutError("executor did not answer within 5 s"))

    with pytest.raises(Unavailable, match=r"whether the order was taken is not known: .* order show mine-7"):
        client.place(WANTED._replace(client_order_id="mine-7"), NOW_NS)


def test_a_refused_answer_is_raised_with_code_and_field() -> None:
    client, _, _ = client_of(lambda _body: Refused("c", Reason.UNKNOWN_MARKET, "no such market", "market"))

    with pytest.raises(Refusal, match="no such market") as caught:
        client.place(WANTED, NOW_NS)

    assert (caught.value.code, caught.value.field) == (Reason.UNKNOWN_MARKET, "market")


def test_an_answer_of_another_kind_is_not_taken_for_one() -> None:
    client, _, _ = client_of(lambda _body: MarketsReport("r", [market_view()]))

    with pytest.raises(Unavailable, match="MarketsReport"):
        client.positions("")


def test_an_order_nobody_knows_is_refused() -> None:
    client, _, _ = client_of(lambda _body: OrdersReport("r", []))

    with pytest.raises(Refusal) as caught:
        client.order("default", "o-404")

    assert caught.value.code is Reason.ORDER_NOT_FOUND


def test_cancel_uses_the_cancel_lane_and_waits_for_the_end() -> None:
    looks = iter([order(), order(Status.CANCELLING), order(Status.CANCELLED)])

    def script(body: Message) -> Answer:
        if isinstance(body, CancelOrder):
            return CancelAccepted(body.command_id, ["o-1"], [])
        return OrdersReport("r", [next(looks)])

    client, bus, _ = client_of(script)

    story = client.cancel("default", "mine-1")

    assert story.told
    assert story.order.status is Status.CANCELLED
    assert bus.asked[0][2] is True
    look = bus.asked[1][1]
    assert isinstance(look, GetOrder)
    assert look.order_id == "o-1"


def test_cancel_all_sorts_orders_by_how_they_ended() -> None:
    book = {
        "o-1": order(Status.CANCELLED, order_id="o-1"),
        "o-2": order(Status.FILLED, order_id="o-2", filled_size=10_000_000, fills=[fill()]),
        "o-3": order(Status.WORKING, order_id="o-3"),
        "o-4": order(Status.UNKNOWN, order_id="o-4", created_ns=NOW_NS),
    }

    def script(body: Message) -> Answer:
        if isinstance(body, CancelAll):
            return CancelAccepted(body.command_id, ["o-1", "o-2", "o-3", "o-4"], ["o-4"])
        if isinstance(body, GetSweep):
            return SweepReport(body.request_id, None)
        assert isinstance(body, GetOrder)
        return OrdersReport(body.request_id, [book[body.order_id]])

    client, _, clock = client_of(script)

    outcome = client.cancel_all("", "", NOW_NS + 1)

    assert [row.order_id for row in outcome.cancelled] == ["o-1"]
    assert [row.order_id for row in outcome.ended] == ["o-2"]
    assert [row.order_id for row in outcome.still_open] == ["o-3"]
    assert outcome.in_doubt == [("o-4", NOW_NS + 5_000_000_000 + 30_000_000_000)]
    assert clock.now < SWEEP_S + 0.1


def test_an_order_that_is_not_shown_does_not_hide_what_became_of_the_others() -> None:
    def script(body: Message) -> Answer:
        if isinstance(body, CancelAll):
            return CancelAccepted(body.command_id, ["o-1", "o-2"], [])
        if isinstance(body, GetSweep):
            return SweepReport(body.request_id, sweep_view("CANCELLING", command_id=body.of_command))
        assert isinstance(body, GetOrder)
        if body.order_id == "o-1":  # of an account that left the settings
            raise Refusal(Reason.ORDER_NOT_FOUND, "there is no order 'o-1'", "order_id")
        return OrdersReport(body.request_id, [order(Status.CANCELLED, order_id="o-2")])

    client, _, _ = client_of(script)

    outcome = client.cancel_all("", "", NOW_NS, 0.0)

    assert [row.order_id for row in outcome.cancelled] == ["o-2"]
    assert not outcome.verified


def sweeps(*phases: str) -> Script:
    """An executor whose cancel-all of o-1 goes through these phases, the last for ever."""
    left = list(phases)

    def script(body: Message) -> Answer:
        if isinstance(body, CancelAll):
            return CancelAccepted(body.command_id, ["o-1"], ["o-1"])
        if isinstance(body, GetSweep):
            phase = left.pop(0) if len(left) > 1 else left[0]
            return SweepReport(body.request_id, sweep_view(phase, command_id=body.of_command))
        assert isinstance(body, GetOrder)
        ended = left == ["FINAL"]
        return OrdersReport(body.request_id, [order(Status.CANCELLED if ended else Status.CANCELLING)])

    return script


def test_cancel_all_follows_its_own_sweep_until_it_is_final() -> None:
    client, bus, _ = client_of(sweeps("CANCELLING", "ZERO", "FINAL"))

    outcome = client.cancel_all("", "", NOW_NS)

    command = bus.asked[0][1]
    assert isinstance(command, CancelAll)
    looks = [body for _, body, _ in bus.asked if isinstance(body, GetSweep)]
    assert {look.of_command for look in looks} == {command.command_id}
    assert (outcome.verified, outcome.final, len(outcome.cancelled)) == (True, True, 1)


@pytest.mark.parametrize(("phase", "verified"), [("CANCELLING", False), ("ZERO", True)])
def test_cancel_all_waits_no_longer_than_it_is_told(phase: str, verified: bool) -> None:
    client, _, clock = client_of(sweeps(phase))

    outcome = client.cancel_all("", "", NOW_NS, 2.0)

    assert 2.0 <= clock.now < 2.1
    assert (outcome.verified, outcome.final) == (verified, False)
    assert outcome.in_doubt == [("o-1", sweep_view(phase).in_doubt[0].until_ns)]


def test_cancel_all_without_a_wait_looks_once() -> None:
    client, bus, clock = client_of(sweeps("CANCELLING"))

    client.cancel_all("", "", NOW_NS, 0.0)

    assert clock.now == 0.0
    assert [type(body) for _, body, _ in bus.asked] == [CancelAll, GetSweep, GetOrder]


def test_an_executor_that_dies_after_it_took_a_cancel_all_does_not_lose_what_is_known() -> None:
    def script(body: Message) -> Answer:
        if isinstance(body, CancelAll):
            return CancelAccepted(body.command_id, [], [])
        return TimeoutError("executor does not answer")

    client, _, _ = client_of(script)

    outcome = client.cancel_all("", "", NOW_NS)

    assert (outcome.sweep, outcome.verified) == (None, False)


def lists(*looks: list[WatchedEntry]) -> Script:
    """A market_data that answers with each list in turn, the last for ever."""
    left = iter(looks)
    last = [looks[-1]]

    def script(body: Message) -> Answer:
        assert isinstance(body, WatchMarkets | UnwatchMarkets | GetWatchList)
        last[0] = next(left, last[0])
        return WatchReport(getattr(body, "command_id", "") or getattr(body, "request_id", ""), last[0])

    return script


def test_watch_follows_its_entries_until_each_has_markets_or_a_problem() -> None:
    other, new, bad = watched("*"), watched("btc"), watched("eth")
    found, lost = watched("btc", "btc-15m"), watched("eth", problem="no market has the slug eth")
    client, bus, _ = client_of(lists([other, new, bad], [other, found, bad], [other, found, lost]))

    assert client.watch(["btc", "ETH"]) == [found, lost]
    assert [type(body) for _, body, _ in bus.asked] == [WatchMarkets, GetWatchList, GetWatchList]
    assert {owner for owner, _, _ in bus.asked} == {"market_data"}


def test_watch_shows_what_is_known_when_the_time_has_passed() -> None:
    client, _, clock = client_of(lists([watched("btc")]))

    assert client.watch(["btc"]) == [watched("btc")]
    assert RESOLVE_S <= clock.now < RESOLVE_S + 0.2


def test_a_market_data_that_dies_after_it_took_the_entries_does_not_lose_them() -> None:
    def script(body: Message) -> Answer:
        if isinstance(body, WatchMarkets):
            return WatchReport(body.command_id, [watched("btc")])
        return TimeoutError("market_data did not answer within 5 s")

    client, _, _ = client_of(script)

    assert client.watch(["btc"]) == [watched("btc")]


def test_unwatch_tells_what_was_not_on_the_list() -> None:
    client, bus, _ = client_of(lists([watched("*"), watched("query:btc up")], [watched("*")]))

    outcome = client.unwatch(["Query: btc  up", "eth"])

    assert outcome == ([watched("*")], ["eth"])
    assert [type(body) for _, body, _ in bus.asked] == [GetWatchList, UnwatchMarkets]


@pytest.mark.parametrize(
    ("typed", "listed"),
    [
        (" BTC-15m ", "btc-15m"),
        ("0XAB", "0xab"),
        ("QUERY:Btc   Up", "query:btc up"),
        ("query: btc up", "query:btc up"),
        ("*", "*"),
    ],
)
def test_an_entry_as_typed_is_known_again_in_the_list(typed: str, listed: str) -> None:
    assert entry_key(typed) == entry_key(listed)


def test_nothing_listening_is_not_running(tmp_path: Path) -> None:
    assert not is_running(tmp_path / "absent", "executor")


def test_a_stale_socket_file_is_not_running(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(supervisor_socket(tmp_path)))

    assert not is_running(tmp_path, "executor")


def test_a_supervisor_that_listens_is_running(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(supervisor_socket(tmp_path)))
        server.listen()

        assert is_running(tmp_path, "executor")
