"""The `polyexec` command line: words and options in, one conversation, JSON or text out, a named exit code.

Every command takes --json. Errors are one object on standard output with --json and one line on standard error
without. What the words mean is decided by the executor and market_data; only numbers and enums are read here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, TypeVar

import typer
from typer.core import TyperGroup

from common.errors import ConfigError, ExitCode, PolyexecError, Refusal
from common.fixed import parse_micros
from common.messages import WatchedEntry
from common.reasons import Reason
from common.settings import Settings, load_settings
from common.topology import PROCESSES
from common.types import OrderType, Side, Status, TimeInForce
from services.cli import journal, render
from services.cli import replay as replaying
from services.cli.client import Bus, Client, PlaceArguments, Story, Unavailable, is_resolved, is_running

HEARTBEATS_S = 1.5
"""Three beats: a process that is silent for longer is shown as such."""
LIMIT_MAX = 1000
EXPIRES_MAX_S = 315_360_000
"""Ten years: what the executor takes, and far below what a message can carry."""
FIELD_WORDS = {"expire_ns": "expires"}
"""Fields of messages that have another name on the command line."""
HELP = "Trade on prediction markets from the terminal. Every command takes --json and exits non-zero on error."


class Session(NamedTuple):
    """What a command works with; `default_account` is used where --account is not given."""

    client: Client
    default_account: str


Connect = Callable[[str], AbstractContextManager[Session]]
Word = TypeVar("Word", bound=StrEnum)


@contextmanager
def connect(owner: str) -> Iterator[Session]:
    """A session on the running group; `owner` is the process the command will ask."""
    settings = load_settings()
    if not is_running(settings.paths.run_dir, owner):
        raise Unavailable("polyexec is not running: start it with scripts/start_all.sh")
    with _requester(settings) as bus:
        limits = settings.execution
        client = Client(bus, place_deadline_ms=limits.place_deadline_ms, request_life_ms=limits.request_life_ms)
        yield Session(client, settings.accounts[0].name)


class MarketsGroup(TyperGroup):
    """`polyexec markets`: a first word that is no command is what to look for, as is every word behind `--`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        words = [arg for arg in args if not arg.startswith("-")]
        if words and words[0] in self.commands and args[0] != "--":
            args = [words[0], *(arg for position, arg in enumerate(args) if position != args.index(words[0]))]
        elif "--help" not in args:
            args = ["find", *args]
        return super().parse_args(ctx, args)


MARKETS_HELP = """The markets that can be traded, and the watch list that says which are followed.

polyexec markets [QUERY] is short for polyexec markets find [QUERY].
"""
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)
order_app = typer.Typer(no_args_is_help=True, help="Place an order, or look at one.")
markets_app = typer.Typer(cls=MarketsGroup, help=MARKETS_HELP, subcommand_metavar="[QUERY] | COMMAND [ARGS]...")
app.add_typer(order_app, name="order")
app.add_typer(markets_app, name="markets")
app.add_typer(journal.app, name="journal")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
AccountOption = Annotated[str, typer.Option("--account", help="Our account; default: the first of the settings.")]
AccountFilter = Annotated[str, typer.Option("--account", help="Only this account; default: every account.")]
MarketFilter = Annotated[str, typer.Option("--market", help="Only this market: slug or condition id.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=LIMIT_MAX, help="At most this many, newest first.")]
Entries = Annotated[
    list[str],
    typer.Argument(metavar="ENTRY", help="Slug, condition id, token id, query:WORDS, or * (quoted) for the busiest."),
]
OrderId = Annotated[str, typer.Argument(help="Our order id, the client order id, or the venue's id.")]


# --- reading ---


@app.command()
def status(ctx: typer.Context, as_json: JsonFlag = False) -> int:
    """Every process: state, pid, uptime. Exits 4 unless all are ready."""
    with _session(ctx, "executor") as session:
        heard = session.client.heartbeats(HEARTBEATS_S)
    rows = render.status_json(PROCESSES, heard, time.time_ns())
    _print(rows, render.status_text(rows), as_json)
    return ExitCode.OK if all(row["ready"] for row in rows) else ExitCode.UNAVAILABLE


@markets_app.command("find")
def markets(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="Part of a slug, question or id; default: all.")] = "",
    as_json: JsonFlag = False,
) -> int:
    """The markets that can be traded, two-sided ones first."""
    with _session(ctx, "market_data") as session:
        views = session.client.markets(query)
    _print([render.market_json(view) for view in views], render.markets_text(views), as_json)
    return ExitCode.OK


@markets_app.command("watch")
def markets_watch(ctx: typer.Context, entries: Entries, as_json: JsonFlag = False) -> int:
    """Follow more markets, also after a restart, and wait until they are found.

    Exits 3 when an entry came to no market within seconds. It stays on the list and is looked for in every round.
    """
    with _session(ctx, "market_data") as session:
        found = session.client.watch(entries)
    lost = [entry for entry in found if not entry.slugs]
    if not lost:
        _print([render.watched_json(entry) for entry in found], render.watched_text(found), as_json)
        return ExitCode.OK
    error = render.error_json(Reason.UNKNOWN_MARKET, _unresolved(lost), "entries")
    shown = {**error, "entries": [render.watched_json(entry) for entry in found]}
    _print(shown, render.watched_text(found), as_json)
    if not as_json:
        print(render.error_text(Reason.UNKNOWN_MARKET, _unresolved(lost), "entries"), file=sys.stderr)
    return ExitCode.REFUSED


@markets_app.command("unwatch")
def markets_unwatch(ctx: typer.Context, entries: Entries, as_json: JsonFlag = False) -> int:
    """Take entries off the watch list, also those of the settings; shows what is left.

    A market that another entry leads to is followed on. Open orders are not touched.
    """
    with _session(ctx, "market_data") as session:
        outcome = session.client.unwatch(entries)
    _print([render.watched_json(entry) for entry in outcome.left], render.watched_text(outcome.left), as_json)
    if outcome.absent and not as_json:
        print(f"not on the watch list: {render.clean(', '.join(outcome.absent))}", file=sys.stderr)
    return ExitCode.OK


@markets_app.command("watched")
def markets_watched(ctx: typer.Context, as_json: JsonFlag = False) -> int:
    """The watch list: each entry, where it comes from, its markets, and what is wrong with it."""
    with _session(ctx, "market_data") as session:
        found = session.client.watched()
    _print([render.watched_json(entry) for entry in found], render.watched_text(found), as_json)
    return ExitCode.OK


@app.command()
def book(
    ctx: typer.Context,
    *,
    market: Annotated[str, typer.Argument(help="Slug, condition id or token id.")] = "",
    outcome: Annotated[str, typer.Argument(help="Outcome word, index or token id; default: the first.")] = "",
    market_option: Annotated[str, typer.Option("--market", help="The same as the first argument.")] = "",
    outcome_option: Annotated[str, typer.Option("--outcome", help="The same as the second argument.")] = "",
    depth: Annotated[int, typer.Option("--depth", min=1, max=LIMIT_MAX, help="Levels a side, in text.")] = 10,
    as_json: JsonFlag = False,
) -> int:
    """The order book of one outcome of a market."""
    wanted = market_option or market
    if not wanted:
        raise Refusal(Reason.BAD_REQUEST, "name a market: polyexec markets lists them", "market")
    with _session(ctx, "market_data") as session:
        report = session.client.book(wanted, outcome_option or outcome)
    _print(render.book_json(report), render.book_text(report, depth), as_json)
    return ExitCode.OK


@app.command()
def orders(
    ctx: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also orders that have ended.")] = False,
    market: MarketFilter = "",
    account: AccountFilter = "",
    limit: LimitOption = 200,
    as_json: JsonFlag = False,
) -> int:
    """Open orders, newest first."""
    with _session(ctx, "executor") as session:
        found = session.client.orders(account, open_only=not everything, market=market, limit=limit)
    _print([render.order_json(order) for order in found], render.orders_text(found), as_json)
    return ExitCode.OK


@app.command()
def fills(
    ctx: typer.Context,
    market: MarketFilter = "",
    account: AccountFilter = "",
    limit: LimitOption = 200,
    as_json: JsonFlag = False,
) -> int:
    """Fills, newest first, with how far each is settled."""
    with _session(ctx, "executor") as session:
        found = session.client.fills(account, market, limit)
    _print([render.fill_json(fill) for fill in found], render.fills_text(found), as_json)
    return ExitCode.OK


@app.command()
def positions(ctx: typer.Context, account: AccountFilter = "", as_json: JsonFlag = False) -> int:
    """What is held: size by fills, confirmed size, average price, profit taken, fees."""
    with _session(ctx, "executor") as session:
        found = session.client.positions(account)
    _print([render.position_json(position) for position in found], render.positions_text(found), as_json)
    return ExitCode.OK


@order_app.command("show")
def order_show(ctx: typer.Context, order_id: OrderId, account: AccountOption = "", as_json: JsonFlag = False) -> int:
    """One order with its fills."""
    with _session(ctx, "executor") as session:
        order = session.client.order(account or session.default_account, order_id)
    _print(render.order_json(order), render.order_text(order), as_json)
    return ExitCode.OK


# --- acting ---


@order_app.command("place")
def order_place(
    ctx: typer.Context,
    *,
    market: Annotated[str, typer.Option("--market", help="Slug or condition id.")],
    outcome: Annotated[str, typer.Option("--outcome", help="Outcome word, index or token id.")],
    side: Annotated[str, typer.Option("--side", help="BUY or SELL.")],
    price: Annotated[str, typer.Option("--price", help="Worst price, e.g. 0.52.")],
    size: Annotated[str, typer.Option("--size", help="Shares, e.g. 10.")],
    tif: Annotated[str, typer.Option("--tif", help="GTC, GTD, FOK or FAK (IOC is FAK).")] = "GTC",
    order_type: Annotated[str, typer.Option("--type", help="limit or market.")] = "limit",
    post_only: Annotated[bool, typer.Option("--post-only", help="Refuse rather than match at once.")] = False,
    expires: Annotated[int, typer.Option("--expires", min=0, max=EXPIRES_MAX_S, help="GTD: seconds from now.")] = 0,
    client_order_id: Annotated[
        str, typer.Option("--client-order-id", help="Your id; the same id never trades twice.")
    ] = "",
    account: AccountOption = "",
    venue: Annotated[str, typer.Option("--venue", help="The venue.")] = "polymarket",
    as_json: JsonFlag = False,
) -> int:
    """Place an order and follow it until it rests, fills or is rejected."""
    wanted = PlaceArguments(
        account=account,
        client_order_id=client_order_id,
        venue=venue,
        market=market,
        outcome=outcome,
        side=parse_word(Side, side, "side"),
        order_type=parse_word(OrderType, order_type, "type"),
        tif=parse_tif(tif, expires),
        post_only=post_only,
        price=parse_micros(price, "price"),
        size=parse_micros(size, "size"),
        expires_s=expires,
    )
    with _session(ctx, "executor") as session:
        named = wanted._replace(account=account or session.default_account)
        story = session.client.place(named, time.time_ns())
    return _tell(story, as_json)


@app.command()
def cancel(ctx: typer.Context, order_id: OrderId, account: AccountOption = "", as_json: JsonFlag = False) -> int:
    """Cancel one order and wait until it has ended."""
    with _session(ctx, "executor") as session:
        story = session.client.cancel(account or session.default_account, order_id)
    return _tell(story, as_json)


@app.command("cancel-all")
def cancel_all(
    ctx: typer.Context, market: MarketFilter = "", account: AccountFilter = "", as_json: JsonFlag = False
) -> int:
    """Cancel every order of one account and market, or of all; says what is still in doubt and until when."""
    with _session(ctx, "executor") as session:
        outcome = session.client.cancel_all(account, market, time.time_ns())
    shown = render.cancel_all_json(outcome)
    _print(shown, render.cancel_all_text(outcome), as_json)
    return ExitCode.OK if shown["final"] else ExitCode.UNAVAILABLE


# --- recordings ---


@app.command()
def replay(
    *,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files or folders the recorder wrote.")],
    speed: Annotated[str, typer.Option("--speed", help="Recorded seconds in a second, or max.")] = "1",
    market: Annotated[str, typer.Option("--market", help="Only markets whose slug, question or ids hold this.")] = "",
    publish: Annotated[bool, typer.Option("--publish", help="Be the market_data of the group meanwhile.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Feed recorded market data through the code that read it live, and show the books it comes to."""
    return replaying.replay(paths, speed, market, publish=publish, as_json=as_json)


# --- words ---


def _unresolved(entries: Sequence[WatchedEntry]) -> str:
    """The first of them with its reason, and how many there are."""
    first = entries[0]
    reason = first.problem if is_resolved(first) else "not found yet: polyexec markets watched tells when it is"
    more = f" (and {len(entries) - 1} more)" if len(entries) > 1 else ""
    return f"{first.entry}: {reason}{more}"


def parse_word(words: type[Word], text: str, field: str) -> Word:
    """An enum member by its word in any case. Raises Refusal naming the field and the words that exist."""
    try:
        return words(text.strip().upper())
    except ValueError:
        known = ", ".join(word.value for word in words)
        raise Refusal(Reason.BAD_REQUEST, f"{text[:40]!r} is none of {known}", field) from None


def parse_tif(text: str, expires_s: int) -> TimeInForce:
    """A time in force; IOC is another word for FAK. GTD and --expires need each other."""
    word = text.strip().upper()
    try:
        tif = TimeInForce("FAK" if word == "IOC" else word)
    except ValueError:
        raise Refusal(Reason.BAD_TIF, f"{text[:40]!r} is none of GTC, GTD, FOK, FAK", "tif") from None
    if (tif is TimeInForce.GTD) != bool(expires_s):
        wanted = "GTD needs --expires SECONDS" if tif is TimeInForce.GTD else "--expires is for --tif GTD"
        raise Refusal(Reason.BAD_EXPIRY, wanted, "expires")
    return tif


def check_text(argv: Sequence[str]) -> None:
    """Refuse arguments that are not valid text: nothing beyond this line could name or send them."""
    for argument in argv:
        if not argument.isprintable():
            raise Refusal(Reason.BAD_REQUEST, f"the argument {ascii(argument)[:60]} holds unprintable characters")


# --- ends ---


class OutputLost(PolyexecError):
    """Standard output cannot be written; "" when its reader left (`| head`), which is no error."""


def main(argv: Sequence[str], connection: Connect = connect) -> int:
    """Run one command line; returns the exit code."""
    try:
        return _run(argv, connection)
    except OutputLost as error:
        # Nothing more can be said there, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not str(error):
            return ExitCode.OK
        text = f"standard output cannot be written ({error})"
        return _fail(False, ExitCode.UNAVAILABLE, "OUTPUT_LOST", text)


def _run(argv: Sequence[str], connection: Connect) -> int:
    as_json = "--json" in argv
    try:
        check_text(argv)
        code = app(args=list(argv), prog_name="polyexec", standalone_mode=False, obj=connection)
        _write("")
        return int(code or 0)
    except Refusal as error:
        field = FIELD_WORDS.get(error.field, error.field)
        return _fail(as_json, ExitCode.REFUSED, error.code, error.message, field)
    except Unavailable as error:
        return _fail(as_json, ExitCode.UNAVAILABLE, "UNAVAILABLE", str(error))
    except ConfigError as error:
        return _fail(as_json, ExitCode.CONFIG, "CONFIG", str(error), error.key)
    except typer.TyperException as error:
        if not error.format_message():  # a bare `polyexec` or `polyexec order`: its help was printed
            return ExitCode.USAGE
        field = getattr(getattr(error, "param", None), "name", None) or ""
        return _fail(as_json, ExitCode.USAGE, Reason.BAD_REQUEST, error.format_message(), field)


def _session(ctx: typer.Context, owner: str) -> AbstractContextManager[Session]:
    connection: Connect = ctx.obj
    return connection(owner)


def _requester(settings: Settings) -> AbstractContextManager[Bus]:
    from common.requester import Requester  # noqa: PLC0415 (ZeroMQ is loaded only by commands that reach the bus)

    return Requester(settings)


def _tell(story: Story, as_json: bool) -> int:
    """Print an order that was placed or cancelled; the exit code says whether it came to a known, wanted end."""
    order = story.order
    _print(render.order_json(order), render.order_text(order), as_json)
    if order.status is Status.REJECTED:
        return ExitCode.REFUSED
    if not story.told:
        hint = f"its outcome is not known yet: scripts/polyexec order show {order.order_id}"
        print(render.error_text("UNAVAILABLE", f"the order is {order.status.value}, {hint}"), file=sys.stderr)
        return ExitCode.UNAVAILABLE
    return ExitCode.OK


def _print(shown: object, text: str, as_json: bool) -> None:
    _write((json.dumps(shown) if as_json else text) + "\n")


def _write(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise OutputLost from None
    except OSError as error:
        raise OutputLost(error.strerror) from None


def _fail(as_json: bool, exit_code: ExitCode, code: str, message: str, field: str = "") -> int:
    message = " ".join(message.split())
    if as_json:
        _print(render.error_json(code, message, field), "", as_json=True)
    else:
        print(render.error_text(code, message, field), file=sys.stderr)
    return exit_code
