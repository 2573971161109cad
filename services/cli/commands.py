"""The `polyexec` command line: words and options in, one conversation, JSON or text out, a named exit code.

Every command takes --json. Errors are one object on standard output with --json and one line on standard error
without. What the words mean is decided by the executor and market_data; only numbers and enums are read here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from common.errors import ConfigError, ExitCode, Refusal
from common.fixed import parse_micros
from common.messages import WatchedEntry
from common.reasons import Reason
from common.settings import Settings, load_settings
from common.types import OrderType, Side, Status, TimeInForce
from services.cli import doctor, journal, render, steering, venue
from services.cli import replay as replaying
from services.cli.client import SWEEP_S, Bus, Client, PlaceArguments, Story, Unavailable, is_resolved, is_running
from services.cli.options import (
    AccountFilter,
    AccountOption,
    Connect,
    JsonFlag,
    MarketFilter,
    OutputLost,
    Session,
    print_result,
    session,
    write,
)

HEARTBEATS_S = 1.5
"""Three beats: a process that is silent for longer is shown as such."""
LIMIT_MAX = 1000
EXPIRES_MAX_S = 315_360_000
"""Ten years: what the executor takes, and far below what a message can carry."""
NEVER_EMPTY = frozenset({"--account", "--client-order-id", "--wallet", "--market"})
FIELD_WORDS = {"expire_ns": "expires"}
"""Fields of messages that have another name on the command line."""
HELP = "Trade on prediction markets from the terminal. Every command takes --json and exits non-zero on error."


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
        yield Session(client, settings.accounts[0].name, settings.processes, first_accounts(settings))


def first_accounts(settings: Settings) -> dict[str, str]:
    """The first account on each venue, by venue."""
    found: dict[str, str] = {}
    for account in settings.accounts:
        wallet = settings.wallet_of(account.name)
        if wallet is not None:
            found.setdefault(wallet.venue, account.name)
    return found


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
app.add_typer(venue.app, name="venue")
app.add_typer(steering.app)
app.add_typer(doctor.app)

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
    with session(ctx, "executor") as talk:
        heard = talk.client.heartbeats(HEARTBEATS_S, talk.processes)
        processes = talk.processes
    rows = render.status_json(processes, heard, time.time_ns())
    print_result(rows, render.status_text(rows), as_json)
    return ExitCode.OK if all(row["ready"] for row in rows) else ExitCode.UNAVAILABLE


@markets_app.command("find")
def markets(
    ctx: typer.Context,
    query: Annotated[str, typer.Argument(help="Part of a slug, question or id; default: all.")] = "",
    venue: Annotated[str, typer.Option("--venue", help="Only this venue; default: every venue with a wallet.")] = "",
    as_json: JsonFlag = False,
) -> int:
    """The markets that can be traded, two-sided ones first."""
    with session(ctx, "market_data") as talk:
        views = [view for view in talk.client.markets(query) if venue in ("", view.market.venue)]
    print_result([render.market_json(view) for view in views], render.markets_text(views), as_json)
    return ExitCode.OK


@markets_app.command("watch")
def markets_watch(ctx: typer.Context, entries: Entries, as_json: JsonFlag = False) -> int:
    """Follow more markets, also after a restart, and wait until they are found.

    Exits 3 when an entry came to no market within seconds. It stays on the list and is looked for in every round.
    """
    with session(ctx, "market_data") as talk:
        found = talk.client.watch(entries)
    lost = [entry for entry in found if not entry.slugs]
    if not lost:
        print_result([render.watched_json(entry) for entry in found], render.watched_text(found), as_json)
        return ExitCode.OK
    error = render.error_json(Reason.UNKNOWN_MARKET, _unresolved(lost), "entries")
    shown = {**error, "entries": [render.watched_json(entry) for entry in found]}
    print_result(shown, render.watched_text(found), as_json)
    if not as_json:
        print(render.error_text(Reason.UNKNOWN_MARKET, _unresolved(lost), "entries"), file=sys.stderr)
    return ExitCode.REFUSED


@markets_app.command("unwatch")
def markets_unwatch(ctx: typer.Context, entries: Entries, as_json: JsonFlag = False) -> int:
    """Take entries off the watch list, also those of the settings; shows what is left.

    A market that another entry leads to is followed on. Open orders are not touched.
    """
    with session(ctx, "market_data") as talk:
        outcome = talk.client.unwatch(entries)
    print_result([render.watched_json(entry) for entry in outcome.left], render.watched_text(outcome.left), as_json)
    if outcome.absent and not as_json:
        print(f"not on the watch list: {render.clean(', '.join(outcome.absent))}", file=sys.stderr)
    return ExitCode.OK


@markets_app.command("watched")
def markets_watched(ctx: typer.Context, as_json: JsonFlag = False) -> int:
    """The watch list: each entry, where it comes from, its markets, and what is wrong with it."""
    with session(ctx, "market_data") as talk:
        found = talk.client.watched()
    print_result([render.watched_json(entry) for entry in found], render.watched_text(found), as_json)
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
    with session(ctx, "market_data") as talk:
        report = talk.client.book(wanted, outcome_option or outcome)
    print_result(render.book_json(report), render.book_text(report, depth), as_json)
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
    with session(ctx, "executor") as talk:
        found = talk.client.orders(account, open_only=not everything, market=market, limit=limit)
    print_result([render.order_json(order) for order in found], render.orders_text(found), as_json)
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
    with session(ctx, "executor") as talk:
        found = talk.client.fills(account, market, limit)
    print_result([render.fill_json(fill) for fill in found], render.fills_text(found), as_json)
    return ExitCode.OK


@app.command()
def positions(ctx: typer.Context, account: AccountFilter = "", as_json: JsonFlag = False) -> int:
    """What is held: size by fills, confirmed size, average price, profit taken, fees."""
    with session(ctx, "executor") as talk:
        found = talk.client.positions(account)
    print_result([render.position_json(position) for position in found], render.positions_text(found), as_json)
    return ExitCode.OK


@order_app.command("show")
def order_show(ctx: typer.Context, order_id: OrderId, account: AccountOption = "", as_json: JsonFlag = False) -> int:
    """One order with its fills."""
    with session(ctx, "executor") as talk:
        order = talk.client.order(account or talk.default_account, order_id)
    print_result(render.order_json(order), render.order_text(order), as_json)
    return ExitCode.OK


# --- acting ---


@order_app.command("place")
def order_place(
    ctx: typer.Context,
    *,
    market: Annotated[str, typer.Option("--market", help="Slug or condition id.")],
    outcome: Annotated[
        str, typer.Option("--outcome", help="Outcome word, index or token id; a spot market needs none.")
    ] = "",
    side: Annotated[str, typer.Option("--side", help="BUY or SELL.")],
    price: Annotated[str, typer.Option("--price", help="Worst price, e.g. 0.52; market orders may leave it out.")] = "",
    size: Annotated[str, typer.Option("--size", help="Shares, e.g. 10.")] = "",
    quote: Annotated[str, typer.Option("--quote", help="Market BUY: money to spend instead of --size.")] = "",
    tif: Annotated[
        str, typer.Option("--tif", help="GTC, GTD, FOK or FAK (IOC is FAK); default: GTC, market: FAK.")
    ] = "",
    order_type: Annotated[str, typer.Option("--type", help="limit or market.")] = "limit",
    post_only: Annotated[bool, typer.Option("--post-only", help="Refuse rather than match at once.")] = False,
    expires: Annotated[int, typer.Option("--expires", min=0, max=EXPIRES_MAX_S, help="GTD: seconds from now.")] = 0,
    client_order_id: Annotated[
        str, typer.Option("--client-order-id", help="Your id; the same id never trades twice.")
    ] = "",
    max_slippage_bps: Annotated[
        int, typer.Option("--max-slippage-bps", min=0, max=10_000, help="Refuse above this; 0: the settings' limit.")
    ] = 0,
    deadline_ms: Annotated[
        int, typer.Option("--deadline-ms", min=0, max=600_000, help="Not sent later than this; 0: the settings'.")
    ] = 0,
    account: AccountOption = "",
    venue: Annotated[str, typer.Option("--venue", help="The venue; default: the account's.")] = "",
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
        order_type=(kind := parse_word(OrderType, order_type, "type")),
        tif=parse_tif(tif or ("FAK" if kind is OrderType.MARKET else "GTC"), expires),
        post_only=post_only,
        price=parse_wanted(price, "price", needed=kind is OrderType.LIMIT),
        size=parse_wanted(size, "size", needed=not quote),
        expires_s=expires,
        quote=parse_wanted(quote, "quote", needed=False),
        max_slippage_bps=max_slippage_bps,
        deadline_ms=deadline_ms,
    )
    with session(ctx, "executor") as talk:
        named = wanted._replace(account=account or talk.account_on(venue))
        story = talk.client.place(named, time.time_ns())
    return _tell(story, as_json)


@order_app.command("replace")
def order_replace(
    ctx: typer.Context,
    order_id: OrderId,
    *,
    price: Annotated[str, typer.Option("--price", help="The new limit, e.g. 0.53.")],
    size: Annotated[str, typer.Option("--size", help="Shares both orders together may fill.")],
    client_order_id: Annotated[str, typer.Option("--client-order-id", help="Id of the new order.")] = "",
    account: AccountOption = "",
    as_json: JsonFlag = False,
) -> int:
    """Cancel an open order and place its successor once that is proven; never both. Follows the new order."""
    wanted_price, wanted_size = parse_micros(price, "price"), parse_micros(size, "size")
    with session(ctx, "executor") as talk:
        named = account or talk.default_account
        story = talk.client.replace(named, order_id, client_order_id, price=wanted_price, size=wanted_size)
    return _tell(story, as_json)


@app.command()
def cancel(ctx: typer.Context, order_id: OrderId, account: AccountOption = "", as_json: JsonFlag = False) -> int:
    """Cancel one order and wait until it has ended."""
    with session(ctx, "executor") as talk:
        story = talk.client.cancel(account or talk.default_account, order_id)
    return _tell(story, as_json)


@app.command("cancel-all")
def cancel_all(
    ctx: typer.Context,
    *,
    market: MarketFilter = "",
    account: AccountFilter = "",
    wait_s: Annotated[float, typer.Option("--wait-s", min=0, max=600, help="Wait at most so long.")] = SWEEP_S,
    as_json: JsonFlag = False,
) -> int:
    """Cancel every order of one account and market, or of all; says what is still in doubt and until when.

    Exits 0 once the venue has shown that no known order is open, 4 when it had not within --wait-s: cancels go on.
    """
    with session(ctx, "executor") as talk:
        outcome = talk.client.cancel_all(account, market, time.time_ns(), wait_s)
    print_result(render.cancel_all_json(outcome), render.cancel_all_text(outcome), as_json)
    if outcome.verified:
        return ExitCode.OK
    text = (
        f"zero is not verified within {wait_s:g} s: cancels go on, scripts/polyexec cancel-all again tells how far,"
        " scripts/polyexec status whether a venue is away or restricted"
    )
    print(render.error_text("UNAVAILABLE", text), file=sys.stderr)
    return ExitCode.UNAVAILABLE


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


def parse_wanted(text: str, field: str, *, needed: bool) -> int:
    """Micros of an option that may be left out (0) unless it is needed."""
    if not text:
        if needed:
            raise Refusal(Reason.BAD_REQUEST, f"--{field} is missing", field)
        return 0
    return parse_micros(text, field)


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
    """Refuse arguments that are not valid text, and empty values where empty would mean another scope or no id."""
    for option, value in pairwise([*argv, "-"]):
        if option in NEVER_EMPTY and not value:
            text = f"{option} is empty: leave it out, or is a variable of your script not set?"
            raise Refusal(Reason.BAD_REQUEST, text, option.removeprefix("--").replace("-", "_"))
    for argument in argv:
        if not argument.isprintable():
            raise Refusal(Reason.BAD_REQUEST, f"the argument {ascii(argument)[:60]} holds unprintable characters")


# --- ends ---


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
        write("")
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


def _requester(settings: Settings) -> AbstractContextManager[Bus]:
    from common.requester import Requester  # noqa: PLC0415 (ZeroMQ is loaded only by commands that reach the bus)

    return Requester(settings)


def _tell(story: Story, as_json: bool) -> int:
    """Print an order that was placed or cancelled; the exit code says whether it came to a known, wanted end."""
    order = story.order
    print_result(render.order_json(order), render.order_text(order), as_json)
    if order.status is Status.REJECTED:
        return ExitCode.REFUSED
    if not story.told:
        hint = f"its outcome is not known yet: scripts/polyexec order show {order.order_id}"
        print(render.error_text("UNAVAILABLE", f"the order is {order.status.value}, {hint}"), file=sys.stderr)
        return ExitCode.UNAVAILABLE
    return ExitCode.OK


def _fail(as_json: bool, exit_code: ExitCode, code: str, message: str, field: str = "") -> int:
    message = " ".join(message.split())
    if as_json:
        print_result(render.error_json(code, message, field), "", as_json=True)
    else:
        print(render.error_text(code, message, field), file=sys.stderr)
    return exit_code
