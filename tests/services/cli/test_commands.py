"""The command line: exit codes, one line on standard error, one object on standard output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError, ExitCode, Refusal
from common.messages import (
    BookReport,
    CancelAccepted,
    CancelAll,
    CancelOrder,
    FillsReport,
    GetBook,
    GetFills,
    GetMarkets,
    GetOrder,
    GetOrders,
    GetPositions,
    GetSweep,
    GetWatchList,
    MarketsReport,
    Message,
    OrdersReport,
    PlaceAnswer,
    PlaceOrder,
    PositionsReport,
    Refused,
    SweepReport,
    UnwatchMarkets,
    WatchMarkets,
    WatchReport,
)
from common.reasons import Reason
from common.settings import ROOT, Account, Wallet, load_settings
from common.topology import PROCESSES
from common.types import OrderType, Side, Status, TimeInForce
from services.cli.client import Client, Unavailable
from services.cli.commands import first_accounts, main, parse_tif, parse_word
from services.cli.options import Session
from tests.services.cli.fake_bus import Answer, FakeBus, FakeClock, Script
from tests.services.cli.samples import (
    book_report,
    fill,
    filled_order,
    heartbeat,
    market_view,
    order,
    position,
    spot_view,
    sweep_view,
    watched,
)

PLACE = [
    "order",
    "place",
    "--market",
    "btc-15m-1",
    "--outcome",
    "Up",
    "--side",
    "buy",
    "--price",
    "0.52",
    "--size",
    "10",
]


def healthy(body: Message) -> Answer:
    """A group in which everything goes well."""
    match body:
        case GetMarkets():
            return MarketsReport(body.request_id, [market_view()])
        case GetBook():
            return BookReport(body.request_id, book_report().market, "Up", book_report().book)
        case WatchMarkets() | UnwatchMarkets():
            return WatchReport(body.command_id, [watched("*", "btc-15m-1", from_settings=True)])
        case GetWatchList():
            return WatchReport(body.request_id, [watched("*", "btc-15m-1", from_settings=True)])
        case PlaceOrder():
            return PlaceAnswer(body.command_id, filled_order())
        case GetOrder() | GetOrders():
            return OrdersReport(body.request_id, [filled_order()])
        case GetFills():
            return FillsReport(body.request_id, [fill()])
        case GetPositions():
            return PositionsReport(body.request_id, [position()])
        case CancelOrder() | CancelAll():
            return CancelAccepted(body.command_id, ["o-1"], [])
        case GetSweep():
            return SweepReport(body.request_id, sweep_view())
    raise AssertionError(body)


class Typed:
    """One command line typed at a fake group."""

    def __init__(self, capsys: pytest.CaptureFixture[str], script: Script = healthy) -> None:
        self._capsys = capsys
        self.bus = FakeBus(script, {name: heartbeat(name) for name in PROCESSES})

    @contextmanager
    def connect(self, _owner: str) -> Iterator[Session]:
        clock = FakeClock()
        accounts = {"polymarket": "default", "ccxt": "spot"}
        yield Session(Client(self.bus, clock=clock, pause=clock.pause), "default", venue_accounts=accounts)

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        code = main(argv, self.connect)
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *argv: str) -> tuple[int, Any]:
        code, out, err = self(*argv, "--json")
        assert err == ""
        assert out.count("\n") == 1
        return code, json.loads(out)


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(capsys)


@pytest.mark.parametrize(
    "argv",
    [
        ["status"],
        ["markets"],
        ["markets", "btc"],
        ["markets", "watch", "*"],
        ["markets", "unwatch", "*"],
        ["markets", "watched"],
        ["book", "btc-15m-1", "Up"],
        ["book", "--market", "btc-15m-1", "--outcome", "Up"],
        PLACE,
        ["order", "show", "o-1"],
        ["orders"],
        ["fills"],
        ["positions"],
        ["cancel", "o-1"],
        ["cancel-all"],
    ],
)
def test_every_command_speaks_text_and_json(typed: Typed, argv: list[str]) -> None:
    text_code, text, err = typed(*argv)
    json_code, shown = typed.json(*argv)

    assert (text_code, json_code, err) == (0, 0, "")
    assert text.strip()
    assert isinstance(shown, list | dict)


def test_status_lists_every_process_as_ready(typed: Typed) -> None:
    code, rows = typed.json("status")

    assert code == 0
    assert [row["process"] for row in rows] == list(PROCESSES)
    assert all(row["ready"] is True for row in rows)


def test_status_fails_when_one_process_is_silent(typed: Typed) -> None:
    typed.bus = FakeBus(healthy, {name: heartbeat(name) for name in PROCESSES[:-1]})

    code, rows = typed.json("status")

    assert code == ExitCode.UNAVAILABLE
    assert rows[-1]["ready"] is False


@pytest.mark.parametrize(
    ("argv", "query"),
    [
        ([], ""),
        (["btc"], "btc"),
        (["--json", "btc"], "btc"),
        (["btc", "--json"], "btc"),
        (["find", "watch"], "watch"),
        (["--", "watched"], "watched"),
        (["--", "-5"], "-5"),
        ([""], ""),
    ],
)
def test_a_first_word_that_is_no_command_is_what_to_look_for(typed: Typed, argv: list[str], query: str) -> None:
    code, _, err = typed("markets", *argv)

    [(_, body, _)] = typed.bus.asked
    assert (code, err) == (0, "")
    assert isinstance(body, GetMarkets)
    assert body.query == query


@pytest.mark.parametrize("argv", [["btc", "eth"], ["--bogus"], ["watch"], ["unwatch"], ["watched", "btc"]])
def test_words_too_many_or_too_few_are_usage(typed: Typed, argv: list[str]) -> None:
    code, shown = typed.json("markets", *argv)

    assert code == ExitCode.USAGE
    assert shown["error"]["code"] == "BAD_REQUEST"
    assert typed.bus.asked == []


def test_help_of_markets_tells_of_the_query_and_the_commands(typed: Typed) -> None:
    code, out, err = typed("markets", "--help")

    assert (code, err) == (0, "")
    assert all(word in out for word in ("[QUERY]", "watch", "unwatch", "watched"))


def test_watch_sends_the_entries_and_shows_what_they_came_to(typed: Typed) -> None:
    def script(body: Message) -> Answer:
        assert isinstance(body, WatchMarkets)
        return WatchReport(body.command_id, [watched("*", "a", from_settings=True), watched("btc", "btc-15m-1")])

    typed.bus = FakeBus(script)
    code, shown = typed.json("markets", "--json", "watch", "btc")

    [(owner, body, _)] = typed.bus.asked
    assert isinstance(body, WatchMarkets)
    assert (owner, body.entries) == ("market_data", ["btc"])
    assert code == ExitCode.OK
    assert shown == [
        {"entry": "btc", "from": "command", "markets": 1, "slugs": ["btc-15m-1"], "problem": None},
    ]


NO_ETH = "no market has the slug eth: see polyexec markets"


def half_found(body: Message) -> Answer:
    entries = [watched("btc", "btc-15m-1"), watched("eth", problem=NO_ETH)]
    assert isinstance(body, WatchMarkets)
    return WatchReport(body.command_id, entries)


def test_an_entry_that_came_to_nothing_is_one_line_and_a_refusal(typed: Typed) -> None:
    typed.bus = FakeBus(half_found)

    code, out, err = typed("markets", "watch", "btc", "eth")

    assert code == ExitCode.REFUSED
    assert err == f"error: entries: eth: {NO_ETH} [UNKNOWN_MARKET]\n"
    assert "btc-15m-1" in out


def test_an_entry_that_came_to_nothing_is_an_error_object_beside_the_entries(typed: Typed) -> None:
    typed.bus = FakeBus(half_found)

    code, shown = typed.json("markets", "watch", "btc", "eth")

    assert code == ExitCode.REFUSED
    assert shown["error"] == {"code": "UNKNOWN_MARKET", "message": f"eth: {NO_ETH}", "field": "entries"}
    assert [(entry["entry"], entry["problem"]) for entry in shown["entries"]] == [("btc", None), ("eth", NO_ETH)]


def test_an_entry_nobody_has_looked_for_in_time_says_where_to_look(typed: Typed) -> None:
    typed.bus = FakeBus(
        lambda body: WatchReport(getattr(body, "command_id", "") or getattr(body, "request_id", ""), [watched("btc")])
    )

    code, out, err = typed("markets", "watch", "btc")

    assert code == ExitCode.REFUSED
    assert "not looked for yet" in out
    assert "btc: not found yet: polyexec markets watched tells when it is" in err


def test_a_malformed_entry_is_refused_with_its_field(typed: Typed) -> None:
    typed.bus = FakeBus(
        lambda body: Refused(getattr(body, "command_id", ""), Reason.BAD_REQUEST, "'0x1' is not one", "entries")
    )

    code, shown = typed.json("markets", "watch", "0x1")

    assert code == ExitCode.REFUSED
    assert shown == {"error": {"code": "BAD_REQUEST", "message": "'0x1' is not one", "field": "entries"}}


def test_unwatch_of_what_is_not_on_the_list_is_said_and_no_error(typed: Typed) -> None:
    code, out, err = typed("markets", "unwatch", "*", "btc")

    assert code == ExitCode.OK
    assert "settings" in out
    assert err == "not on the watch list: btc\n"


def test_place_passes_words_on_and_returns_the_fill(typed: Typed) -> None:
    code, shown = typed.json(*PLACE, "--tif", "ioc", "--client-order-id", "mine-1", "--account", "other")

    body = typed.bus.asked[0][1]
    assert isinstance(body, PlaceOrder)
    assert (body.side, body.tif, body.account, body.client_order_id) == (
        Side.BUY,
        TimeInForce.FAK,
        "other",
        "mine-1",
    )
    assert code == 0
    assert shown["fills"][0]["size"] == "10"


def test_the_default_account_is_the_first_of_the_settings(typed: Typed) -> None:
    typed(*PLACE)

    body = typed.bus.asked[0][1]
    assert isinstance(body, PlaceOrder)
    assert body.account == "default"


@pytest.mark.parametrize(
    ("options", "account", "venue"),
    [
        ([], "default", ""),
        (["--venue", "ccxt"], "spot", "ccxt"),
        (["--venue", "nowhere"], "default", "nowhere"),
        (["--venue", "ccxt", "--account", "default"], "default", "ccxt"),
    ],
)
def test_the_venue_names_the_account_unless_one_is_given(
    typed: Typed, options: list[str], account: str, venue: str
) -> None:
    """Without either it is the first account, on whichever venue that trades."""
    typed(*PLACE, *options)

    [command] = [body for _, body, _ in typed.bus.asked if isinstance(body, PlaceOrder)]
    assert (command.account, command.venue) == (account, venue)


def test_a_spot_market_needs_no_outcome(typed: Typed) -> None:
    typed("order", "place", "--market", "ccxt:BTC/USDT", "--side", "buy", "--price", "64000.5", "--size", "0.001")

    [command] = [body for _, body, _ in typed.bus.asked if isinstance(body, PlaceOrder)]
    assert (command.outcome, command.price, command.size) == ("", 64_000_500_000, 1_000)


def test_markets_of_one_venue(typed: Typed) -> None:
    """Every venue by default; the demo has one, as no other has a wallet."""

    def two_venues(body: Message) -> Answer:
        return MarketsReport(body.request_id, [market_view(), spot_view()]) if isinstance(body, GetMarkets) else body

    typed.bus = FakeBus(two_venues)

    assert [row["venue"] for row in typed.json("markets")[1]] == ["polymarket", "ccxt"]
    [spot] = typed.json("markets", "--venue", "ccxt")[1]
    assert (spot["slug"], spot["outcomes"], spot["kind"]) == ("ccxt:BTC/USDT", ["BTC/USDT"], "spot")
    assert typed.json("markets", "--venue", "exchange") == (ExitCode.OK, [])


def test_cancel_all_without_account_is_every_account(typed: Typed) -> None:
    typed("cancel-all")

    body = typed.bus.asked[0][1]
    assert isinstance(body, CancelAll)
    assert (body.account, body.market) == ("", "")


def test_cancel_all_tells_its_times_and_its_end(typed: Typed) -> None:
    code, shown = typed.json("cancel-all")
    text_code, out, _ = typed("cancel-all")

    assert (code, text_code) == (ExitCode.OK, ExitCode.OK)
    assert (shown["sweep"]["first_cancel_ms"], shown["sweep"]["zero_ms"]) == (2.0, 80.0)
    assert "first cancel on the wire after 2.0 ms, zero verified after 80.0 ms" in out
    assert out.endswith("FINAL: nothing is open\n")


def test_a_cancel_all_that_is_not_verified_in_time_exits_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def slow(body: Message) -> Answer:
        return SweepReport(body.request_id, sweep_view("CANCELLING")) if isinstance(body, GetSweep) else healthy(body)

    code, out, err = Typed(capsys, slow)("cancel-all", "--wait-s", "1.5")

    assert code == ExitCode.UNAVAILABLE
    assert "not final yet" in out
    assert err.count("\n") == 1
    assert "zero is not verified within 1.5 s" in err


def test_places_in_doubt_do_not_make_a_verified_zero_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def zero(body: Message) -> Answer:
        return SweepReport(body.request_id, sweep_view("ZERO")) if isinstance(body, GetSweep) else healthy(body)

    code, shown = Typed(capsys, zero).json("cancel-all")

    assert (code, shown["final"]) == (ExitCode.OK, False)
    assert shown["sweep"]["in_doubt"][0]["order_id"] == "o-1"


@pytest.mark.parametrize(
    ("argv", "field", "code"),
    [
        (["--price", "0.5x"], "price", "BAD_NUMBER"),
        (["--price", "0.0000001"], "price", "BAD_NUMBER"),
        (["--size", "1e3"], "size", "BAD_NUMBER"),
        (["--side", "LONG"], "side", "BAD_REQUEST"),
        (["--type", "stop"], "type", "BAD_REQUEST"),
        (["--tif", "DAY"], "tif", "BAD_TIF"),
        (["--tif", "GTD"], "expires", "BAD_EXPIRY"),
        (["--expires", "60"], "expires", "BAD_EXPIRY"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_asked(
    typed: Typed, argv: list[str], field: str, code: str
) -> None:
    exit_code, shown = typed.json(*PLACE, *argv)
    text_code, out, err = typed(*PLACE, *argv)

    assert exit_code == text_code == ExitCode.REFUSED
    assert (shown["error"]["code"], shown["error"]["field"]) == (code, field)
    assert out == ""
    assert err.count("\n") == 1
    assert field in err
    assert typed.bus.asked == []


@pytest.mark.parametrize(
    "argv",
    [
        ["order", "place", "--json"],
        ["nonsense", "--json"],
        ["orders", "--limit", "0", "--json"],
        ["orders", "--limit", "many", "--json"],
        ["order", "show", "--json"],
        ["markets", "a", "b", "--json"],
        [*PLACE, "--tif", "GTD", "--expires", "99999999999999", "--json"],
    ],
)
def test_a_command_line_that_cannot_be_understood_is_a_usage_error(typed: Typed, argv: list[str]) -> None:
    code, out, err = typed(*argv)

    assert code == ExitCode.USAGE
    assert json.loads(out)["error"]["code"] == "BAD_REQUEST"
    assert err == ""


def test_a_refusal_of_the_executor_is_one_line_or_one_object(typed: Typed) -> None:
    typed.bus = FakeBus(lambda _body: Refused("c", Reason.BAD_TICK, "0.523 is not a multiple of 0.01", "price"))

    code, out, err = typed(*PLACE)
    _, shown = typed.json(*PLACE)

    assert (code, out, err) == (3, "", "error: price: 0.523 is not a multiple of 0.01 [BAD_TICK]\n")
    assert shown == {"error": {"code": "BAD_TICK", "message": "0.523 is not a multiple of 0.01", "field": "price"}}


def test_a_refused_field_is_named_as_it_was_typed(typed: Typed) -> None:
    typed.bus = FakeBus(lambda _body: Refused("c", Reason.BAD_EXPIRY, "too soon", "expire_ns"))

    _code, shown = typed.json(*PLACE, "--tif", "GTD", "--expires", "1")

    assert shown["error"]["field"] == "expires"


def test_an_interrupted_place_says_how_to_learn_what_became_of_it(typed: Typed) -> None:
    def interrupted(_body: Message) -> Answer:
        raise KeyboardInterrupt

    typed.bus = FakeBus(interrupted)

    code, _out, err = typed(*PLACE, "--client-order-id", "mine-9")

    assert code == ExitCode.UNAVAILABLE
    assert err.startswith("error: interrupted; whether the order was taken is not known:")
    assert "order show mine-9" in err


def test_an_order_that_ends_rejected_is_shown_and_exits_refused(typed: Typed) -> None:
    rejected = order(Status.REJECTED, reject_reason="INSUFFICIENT_BALANCE", reject_text="not enough")
    typed.bus = FakeBus(lambda body: PlaceAnswer(getattr(body, "command_id", ""), rejected))

    code, shown = typed.json(*PLACE)

    assert code == ExitCode.REFUSED
    assert (shown["status"], shown["reject_reason"]) == ("Rejected", "INSUFFICIENT_BALANCE")


def test_an_order_of_unknown_outcome_is_shown_and_exits_unavailable(typed: Typed) -> None:
    def script(body: Message) -> Answer:
        lost = order(Status.UNKNOWN)
        return PlaceAnswer(body.command_id, lost) if isinstance(body, PlaceOrder) else OrdersReport("r", [lost])

    typed.bus = FakeBus(script)

    code, out, err = typed(*PLACE, "--json")

    assert code == ExitCode.UNAVAILABLE
    assert json.loads(out)["status"] == "Unknown"
    assert "order show o-1" in err


def test_silence_is_one_line_that_says_where_to_look(typed: Typed) -> None:
    typed.bus = FakeBus(lambda _body: TimeoutError("executor did not answer within 5 s"))

    code, out, err = typed("positions")

    assert (code, out) == (ExitCode.UNAVAILABLE, "")
    assert err.count("\n") == 1
    assert "scripts/polyexec status" in err


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (ConfigError("mirror.speed", "must be above 0"), ExitCode.CONFIG, "CONFIG"),
        (
            Unavailable("polyexec is not running: start it with scripts/start_all.sh"),
            ExitCode.UNAVAILABLE,
            "UNAVAILABLE",
        ),
    ],
)
def test_what_stops_a_command_before_it_begins_is_one_object(
    capsys: pytest.CaptureFixture[str], error: Exception, exit_code: int, code: str
) -> None:
    def broken(_owner: str) -> AbstractContextManager[Session]:
        raise error

    assert main(["markets", "--json"], broken) == exit_code
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code


def test_arguments_with_unprintable_characters_are_refused(typed: Typed) -> None:
    code, _, err = typed("markets", "a\udcff\x1b[2J")

    assert code == ExitCode.REFUSED
    assert err.isprintable() or err.rstrip("\n").isprintable()
    assert typed.bus.asked == []


def test_help_is_not_an_error(typed: Typed) -> None:
    code, out, err = typed("--help")

    assert (code, err) == (0, "")
    assert "cancel-all" in out


@pytest.mark.parametrize("argv", [[], ["order"]])
def test_a_bare_command_shows_its_help_and_fails(typed: Typed, argv: list[str]) -> None:
    code, out, err = typed(*argv)

    assert code == ExitCode.USAGE
    assert "Usage" in out + err


def test_words_are_read_in_any_case() -> None:
    assert parse_word(OrderType, " Limit", "type") is OrderType.LIMIT
    assert parse_tif("ioc", 0) is TimeInForce.FAK
    assert parse_tif("gtd", 5) is TimeInForce.GTD


def test_an_unknown_word_names_the_known_ones() -> None:
    with pytest.raises(Refusal, match="BUY, SELL"):
        parse_word(Side, "hold", "side")


def run_cli(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.cli", *argv]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, timeout=30, check=False
    )


def test_without_a_group_the_real_command_says_how_to_start_one(tmp_path: Path) -> None:
    done = run_cli("status", POLYEXEC_PATHS__RUN_DIR=str(tmp_path / "absent"))

    assert (done.returncode, done.stdout) == (ExitCode.UNAVAILABLE, "")
    assert done.stderr == "error: polyexec is not running: start it with scripts/start_all.sh [UNAVAILABLE]\n"


def test_unreadable_settings_are_one_line(tmp_path: Path) -> None:
    done = run_cli("status", POLYEXEC_CONFIG=str(tmp_path / "absent.toml"))

    assert done.returncode == ExitCode.CONFIG
    assert done.stderr.count("\n") == 1
    assert "absent.toml" in done.stderr


def test_json_is_readable_where_the_terminal_knows_only_ascii() -> None:
    done = run_cli("börse", "--json", PYTHONIOENCODING="ascii", PYTHONUTF8="1")

    assert (done.returncode, done.stderr) == (ExitCode.USAGE, "")
    assert "börse" in json.loads(done.stdout)["error"]["message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "nonsense", "--json"],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
        )  # fmt: skip

    assert done.returncode == ExitCode.UNAVAILABLE
    assert done.stderr.count("\n") == 1
    assert "cannot be written (No space left on device)" in done.stderr


def test_starting_the_command_loads_no_slow_library() -> None:
    code = (
        "import sys, services.cli.commands;"
        "slow = ('aiohttp', 'ccxt', 'eth_account', 'pyarrow', 'polymarket', 'coincurve', 'rich', 'zmq', 'structlog');"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("option", ["--account", "--client-order-id"])
def test_an_empty_value_is_a_mistake_and_not_another_scope(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*PLACE, option, "", "--json"])

    error = json.loads(capsys.readouterr().out)["error"]
    assert (code, error["code"]) == (ExitCode.REFUSED, Reason.BAD_REQUEST)
    assert error["field"] == option.removeprefix("--").replace("-", "_")


def test_the_first_account_on_each_venue() -> None:
    wallets = (Wallet(name="main"), Wallet(name="coins", venue="exchange"))
    accounts = tuple(
        Account(name=name, wallet=wallet) for name, wallet in [("b", "main"), ("a", "main"), ("c", "coins")]
    )
    settings = load_settings(ROOT / "deploy" / "config" / "demo.toml").model_copy(
        update={"wallets": wallets, "accounts": accounts}
    )

    assert first_accounts(settings) == {"polymarket": "b", "exchange": "c"}
