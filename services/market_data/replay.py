"""`polyexec replay`: a recording through the board of market_data, alone or as the market_data of the group.

In: files or folders of recordings, options. Out: a table or JSON of what the books came to, a named exit code. Alone it
touches no bus; with --publish it takes market_data's lock and publishes what market_data would. Times in what it
publishes are the recording's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from common.edge import Edge
from common.effects import Log, Publish
from common.errors import AlreadyRunning, ConfigError, ExitCode, Refusal
from common.fixed import format_micros
from common.latest import EPOCH_SHIFT
from common.messages import GetBook, GetMarkets, Message
from common.process import SingletonLock, private_folder
from common.reasons import Reason
from common.recording import Recording, open_recordings, rows_of
from common.service import run_edge
from common.settings import Settings, load_settings
from common.telemetry import READY
from common.topology import supervisor_socket
from services.market_data.core import Board
from services.market_data.recorded import Moment, Rerun, TokenTally, moments
from services.market_data.rules import Rules

OWNER = "market_data"
SPEED_MAX = 10_000.0
PROGRESS_S = 0.5
TURN_NS = 20_000_000
"""Time one turn of the loop may take when a recording is published as fast as possible."""
EPOCH = 1
INTERRUPTED = 128 + signal.SIGINT


class Pace:
    """When a moment of the recording is due, in seconds of the monotonic clock. `speed` 0: at once."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began_s = time.monotonic()
        self._first_ns = 0

    def delay_s(self, at_ns: int) -> float:
        if not self._speed:
            return 0.0
        self._first_ns = self._first_ns or at_ns
        return self._began_s + (at_ns - self._first_ns) / 1e9 / self._speed - time.monotonic()


class Progress:
    """How far it is, on a terminal, for whoever waits."""

    def __init__(self, rerun: Rerun) -> None:
        self._rerun = rerun
        self._shown = False
        self._next_s = time.monotonic() + PROGRESS_S

    def show(self) -> None:
        if time.monotonic() < self._next_s or not sys.stderr.isatty():
            return
        self._next_s = time.monotonic() + PROGRESS_S
        self._shown = True
        totals = self._rerun.totals
        print(f"\r{_clock(totals.last_ns)}  {totals.frames} frames", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print(file=sys.stderr)


def play(rerun: Rerun, recordings: Iterable[Recording], speed: float) -> None:
    """Live the recording through, alone."""
    pace, progress = Pace(speed), Progress(rerun)
    try:
        for moment in moments(rows_of(recordings)):
            delay_s = pace.delay_s(moment.at_ns)
            if delay_s > 0:
                progress.show()
                time.sleep(delay_s)
            rerun.step(moment)
            progress.show()
    finally:
        progress.end()


class Published:
    """The recording as the market_data of the group."""

    def __init__(self, recordings: Sequence[Recording], wanted: str, speed: float) -> None:
        self.rerun: Rerun | None = None
        self.refusal: Refusal | None = None
        self.is_through = False
        self._recordings = recordings
        self._wanted = wanted
        self._speed = speed

    async def start(self, edge: Edge) -> Callable[[], Awaitable[None]] | None:
        board = Board(Rules.of(edge.settings.market_data), edge.epoch.n << EPOCH_SHIFT)
        rerun = self.rerun = Rerun(board, self._wanted)
        edge.serve_asks(lambda query, sender: _answer(board, query, sender))
        edge.serve_snapshots(lambda topic: board.snapshot(topic, rerun.totals.last_ns))
        edge.set_state(READY, "replays a recording")
        edge.spawn(self._play(edge, rerun), "replay")
        return None

    async def _play(self, edge: Edge, rerun: Rerun) -> None:
        """Ends the process when it is through, in the ordinary way."""
        try:
            await self._publish(edge, rerun)
            self.is_through = True
        except Refusal as refusal:
            self.refusal = refusal
        signal.raise_signal(signal.SIGTERM)

    async def _publish(self, edge: Edge, rerun: Rerun) -> None:
        pace, progress = Pace(self._speed), Progress(rerun)
        turn_ends_ns = time.monotonic_ns() + TURN_NS
        for moment in moments(rows_of(self._recordings)):
            delay_s = pace.delay_s(moment.at_ns)
            if delay_s > 0 or time.monotonic_ns() >= turn_ends_ns:
                progress.show()
                await asyncio.sleep(max(0.0, delay_s))
                turn_ends_ns = time.monotonic_ns() + TURN_NS
            _perform(edge, rerun, moment)
        progress.end()


def _perform(edge: Edge, rerun: Rerun, moment: Moment) -> None:
    for effect in rerun.step(moment):
        if isinstance(effect, Publish):
            edge.publish(effect.topic, effect.body)
        elif isinstance(effect, Log):
            getattr(edge.log, effect.level)(effect.event, **effect.fields)


def _answer(board: Board, query: Message, sender: str) -> list[Message]:
    del sender
    if isinstance(query, GetMarkets):
        return [board.report(query)]
    if isinstance(query, GetBook):
        return [board.book_report(query)]
    raise Refusal(Reason.UNKNOWN_MESSAGE, f"a replay does not answer {type(query).__name__}")


# --- what it says ---


def result_json(rerun: Rerun, recordings: Sequence[Recording]) -> dict[str, Any]:
    """The same for the same files and settings, whatever the speed."""
    totals = rerun.totals
    return {
        "files": [recording.path.name for recording in recordings],
        "unfinished": [recording.path.name for recording in recordings if recording.torn],
        "first_ns": totals.first_ns,
        "last_ns": totals.last_ns,
        "frames": totals.frames,
        "unreadable": rerun.board.counters["frames_unreadable"],
        "gaps": totals.gaps,
        "connections_opened": totals.opened,
        "connections_lost": totals.lost,
        "requests_not_made": totals.requests,
        "published": totals.published,
        "tokens": [_token_json(token) for token in rerun.tokens],
    }


def _token_json(token: TokenTally) -> dict[str, Any]:
    bid, ask = token.book.best_bid(), token.book.best_ask()
    return {
        "market": token.slug,
        "outcome": token.outcome,
        "token_id": token.token_id,
        "state": token.state.value,
        "reason": token.reason,
        "best_bid": format_micros(bid[0]) if bid else None,
        "best_ask": format_micros(ask[0]) if ask else None,
        "bid_levels": len(token.book.bids()),
        "ask_levels": len(token.book.asks()),
        "resets": token.resets,
        "deltas": token.deltas,
        "trades": token.trades,
        "hash": token.book.state_hash(),
    }


def result_text(shown: dict[str, Any]) -> str:
    """A line for each token, the totals last."""
    heads = ("MARKET", "OUTCOME", "STATE", "BID", "ASK", "LEVELS", "RESETS", "DELTAS", "TRADES", "HASH")
    lines = [heads, *(_line(token) for token in shown["tokens"])]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    table = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    unfinished = f", unfinished: {', '.join(shown['unfinished'])}" if shown["unfinished"] else ""
    totals = (
        f"{shown['frames']} frames ({shown['unreadable']} unreadable), {shown['gaps']} gaps, "
        f"{shown['connections_opened']} connections opened, {shown['connections_lost']} lost, "
        f"{shown['requests_not_made']} requests to the venue not made"
    )
    files = "1 file" if len(shown["files"]) == 1 else f"{len(shown['files'])} files"
    times = f"{_clock(shown['first_ns'])} to {_clock(shown['last_ns'])}, {files}{unfinished}"
    return "\n".join([*table, totals, times])


def _line(token: dict[str, Any]) -> tuple[str, ...]:
    levels = f"{token['bid_levels']}/{token['ask_levels']}"
    counts = (str(token[name]) for name in ("resets", "deltas", "trades"))
    best = (token["best_bid"] or "-", token["best_ask"] or "-")
    return (_clean(token["market"]), _clean(token["outcome"]), token["state"], *best, levels, *counts, token["hash"])


def _clock(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


# --- start and end ---


def speed_of(text: str) -> float:
    """How many recorded seconds pass in one; 0 for `max`. Raises Refusal naming the field."""
    if text.strip().lower() == "max":
        return 0.0
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= SPEED_MAX:
        raise Refusal(Reason.BAD_REQUEST, f"{text[:40]!r} is neither max nor a number up to {SPEED_MAX:g}", "speed")
    return speed


def run(arguments: argparse.Namespace) -> int:
    """Play what was asked for and print what came of it; returns the exit code."""
    speed = speed_of(arguments.speed)
    settings = load_settings()
    recordings = open_recordings(Path(path) for path in arguments.paths)
    if arguments.publish:
        rerun = _run_published(settings, recordings, arguments.market, speed)
    else:
        rerun = Rerun(Board(Rules.of(settings.market_data), EPOCH), arguments.market)
        play(rerun, recordings, speed)
    if not rerun.tokens:
        named = f" has {arguments.market[:40]!r} in its slug, question or ids" if arguments.market else ""
        raise Refusal(Reason.UNKNOWN_MARKET, f"no market of the recording{named}", "market")
    shown = result_json(rerun, recordings)
    print(json.dumps(shown) if arguments.json else result_text(shown), flush=True)
    return ExitCode.OK


def _run_published(settings: Settings, recordings: Sequence[Recording], wanted: str, speed: float) -> Rerun:
    _check_alone(settings.paths.run_dir)
    published = Published(recordings, wanted, speed)
    with redirect_stdout(sys.stderr):  # its log; what it comes to is alone on standard output
        code = run_edge(OWNER, published.start)
    if published.refusal is not None:
        raise published.refusal
    if published.rerun is None or code != ExitCode.OK:
        sys.exit(code)
    if not published.is_through:
        raise KeyboardInterrupt
    return published.rerun


def _check_alone(run_dir: Path) -> None:
    """Two market_data would speak against each other. Raises AlreadyRunning with what to type."""
    try:
        SingletonLock(private_folder(run_dir, "paths.run_dir"), OWNER).release()
    except AlreadyRunning:
        control = Path(sys.executable).with_name("supervisorctl")
        how = f"{control} -s unix://{supervisor_socket(run_dir)} stop {OWNER}"
        raise AlreadyRunning(f"{OWNER} is running: stop it first: {how}") from None


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every other command."""

    def error(self, message: str) -> NoReturn:
        raise Refusal(Reason.BAD_REQUEST, message)


def parser() -> argparse.ArgumentParser:
    made = _Parser(prog="polyexec replay", add_help=False)
    made.add_argument("paths", nargs="+")
    made.add_argument("--speed", default="1")
    made.add_argument("--market", default="")
    made.add_argument("--json", action="store_true")
    made.add_argument("--publish", action="store_true")
    return made


def main(argv: Sequence[str]) -> int:
    as_json = "--json" in argv
    try:
        return run(parser().parse_args(argv))
    except Refusal as error:
        return _fail(as_json, ExitCode.REFUSED, error.code, error.message, error.field)
    except ConfigError as error:
        return _fail(as_json, ExitCode.CONFIG, "CONFIG", str(error), error.key)
    except AlreadyRunning as error:
        return _fail(as_json, ExitCode.ALREADY_RUNNING, "ALREADY_RUNNING", str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Its reader left (`| head`), which is no error; nothing more can be said, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def _fail(as_json: bool, exit_code: ExitCode, code: str, message: str, field: str = "") -> int:
    """The shape of every error of the command line (services/cli)."""
    text = _clean(" ".join(message.split()))
    if as_json:
        print(json.dumps({"error": {"code": code, "message": text} | ({"field": field} if field else {})}), flush=True)
    else:
        print(f"error: {text} [{code}]", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
