"""`polyexec journal`: what a heart wrote down, verified, replayed or read. Needs no running process, disturbs none.

In: the process and options. Out: JSON or text, a named exit code. Files are read as they are, without a lock. A replay
runs in a child, because only the process's own program knows its core.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import ExitCode, JournalError
from common.journal_reader import Survey, Tail, audit, describe, journal_folder, survey
from common.process import exit_code_of
from common.settings import load_settings
from services.cli import journal_text
from services.cli.render import Json, error_text

FOLLOW_S = 0.1
"""Between two looks at a journal that is followed."""
ROWS_MAX = 1_000_000
INTERRUPTED = 128 + signal.SIGINT


class Process(StrEnum):
    """The processes that keep a journal."""

    executor = "executor"
    exchange = "exchange"


HELP = "What the executor or the exchange wrote down. Also works while it runs, and after a crash."
app = typer.Typer(no_args_is_help=True, help=HELP)

ProcessOption = Annotated[Process, typer.Option("--process", help="Whose journal.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command()
def verify(process: ProcessOption = Process.executor, as_json: JsonFlag = False) -> int:
    """Check every header, checksum, link of the hash chain, and the checkpoints. Exits 74 when something is damaged."""
    return _ended(as_json, lambda: _verify(process, as_json))


@app.command()
def replay(
    *,
    process: ProcessOption = Process.executor,
    from_checkpoint: Annotated[bool, typer.Option("--from-checkpoint", help="Begin with the newest one.")] = False,
    until: Annotated[int, typer.Option("--until", min=0, help="The last record to replay; 0: all.")] = 0,
    check: Annotated[bool, typer.Option("--check", help="Compare with the state in each checkpoint passed.")] = False,
    as_json: JsonFlag = False,
) -> int:
    """Run the journal through a fresh core: hashes of state and effects, events a second. Nothing leaves."""
    words = [word for word, wanted in (("--from-checkpoint", from_checkpoint), ("--check", check)) if wanted]
    if until:
        words.append(f"--until={until}")
    return _ended(as_json, lambda: _replay(process, words, as_json))


@app.command()
def tail(
    *,
    process: ProcessOption = Process.executor,
    count: Annotated[int, typer.Option("-n", "--lines", min=0, max=ROWS_MAX, help="The last so many inputs.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is appended.")] = False,
    grep: Annotated[str, typer.Option("--grep", help="Only message types that contain this.")] = "",
    as_json: JsonFlag = False,
) -> int:
    """The journaled inputs, one a line; with --json one object a line."""
    return _ended(as_json, lambda: _tail(process, count, grep, follow, as_json))


def _verify(process: Process, as_json: bool) -> int:
    found = audit(_folder(process))
    shown = journal_text.audit_json(process.value, found)
    if found.problems:
        raise _CheckpointTrouble("; ".join(found.problems))
    _print(json.dumps(shown) if as_json else journal_text.audit_text(shown))
    return ExitCode.OK


def _replay(process: Process, words: list[str], as_json: bool) -> int:
    command = [sys.executable, "-m", f"services.{process.value}", "replay", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            out, _ = child.communicate()
        except KeyboardInterrupt:
            child.wait()  # the terminal interrupted the child too
            return INTERRUPTED
    try:
        shown: Json = json.loads(out)
    except json.JSONDecodeError:
        return child.returncode or ExitCode.BUG  # its traceback stands on standard error
    if "error" in shown:
        return _fail(as_json, child.returncode, shown["error"])
    _print(json.dumps(shown) if as_json else journal_text.replay_text(shown))
    different = [row["index"] for row in shown["checked"] if not row["equal"]]
    if different and not as_json:
        text = f"the checkpoint of record {different[0]} holds another state than the journal leads to"
        print(error_text("STATE_DIFFERS", text), file=sys.stderr)
    return child.returncode


def _tail(process: Process, count: int, grep: str, follow: bool, as_json: bool) -> int:
    journal = journal_folder(_folder(process))
    seen = survey(journal, start=sys.maxsize)
    rows, reader = _last_rows(seen, count, grep)
    try:
        for row in rows:
            _print(json.dumps(row) if as_json else journal_text.input_text(row))
        while follow:
            for row in _matching(reader, grep):
                _print(json.dumps(row) if as_json else journal_text.input_text(row))
            time.sleep(FOLLOW_S)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        reader.close()
    return ExitCode.OK


def _last_rows(seen: Survey, count: int, grep: str) -> tuple[deque[Json], Tail]:
    """The last rows, from as few of the newest segments as hold them, and a reader that stands behind them."""
    rows: deque[Json] = deque(maxlen=count)
    for position in reversed(range(len(seen.segments))):
        rows.clear()
        reader = Tail(seen.segments[position])
        rows.extend(_matching(reader, grep))
        if len(rows) == count or not position:
            break
        reader.close()
    if reader.last_index < seen.last_index:
        survey(seen.segments[0].path.parent)  # names what stands in the way
    return rows, reader


def _matching(reader: Tail, grep: str) -> Iterator[Json]:
    for record in reader.news():
        for row in journal_text.inputs_json(record):
            if grep.lower() in row["type"].lower():
                yield row


def _folder(process: Process) -> Path:
    return load_settings().paths.data_dir / process.value


# --- ends ---


class _CheckpointTrouble(JournalError):
    """The journal is sound, a checkpoint is not."""


class _ReaderLeft(Exception):
    """Standard output was closed by its reader (`| head`): no error."""


def _ended(as_json: bool, command: Callable[[], int]) -> int:
    try:
        return command()
    except _CheckpointTrouble as error:
        return _fail(as_json, ExitCode.JOURNAL, {"code": "CHECKPOINT_UNSOUND", "message": str(error)})
    except JournalError as error:
        return _fail(as_json, exit_code_of(error), describe(error))
    except _ReaderLeft:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python must not try to flush at exit
        return ExitCode.OK


def _fail(as_json: bool, exit_code: int, error: dict[str, Any]) -> int:
    if as_json:
        _print(json.dumps({"error": error}))
    else:
        print(error_text(str(error["code"]), str(error["message"])), file=sys.stderr)
    return exit_code


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise _ReaderLeft from None
