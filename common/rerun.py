"""The `replay` mode of a heart's program: its journal through a fresh core, beside the process or after it.

In: `python -m services.<heart> replay [--from-checkpoint] [--until N] [--check]`. Out: one line of JSON, what the run
came to or an error object, and a named exit code. The core's effects are hashed and dropped: nothing leaves. Takes no
lock and writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import msgspec

from common.checkpoint import Checkpoint
from common.effects import Core, Effect, Now, Origin
from common.errors import ExitCode, JournalError, PolyexecError, Refusal
from common.heart import MakeCore, Saved
from common.journal_files import Record
from common.journal_reader import Audit, audit, describe, records
from common.messages import decode
from common.process import exit_code_of, freeze_collector
from common.reasons import Reason
from common.settings import load_settings
from common.step import decode_step

WORD = "replay"

_encoder = msgspec.msgpack.Encoder()
_saved_decoder = msgspec.msgpack.Decoder(Saved)


class Checked(NamedTuple):
    """The state at a checkpoint, and what the replay came to there."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    checkpoint_hash: str
    replayed_hash: str


class Outcome(NamedTuple):
    """What a replay came to. The hashes of two replays of the same records are equal."""

    after_index: int
    last_index: int
    inputs: int
    effects: int
    state_hash: str
    effects_hash: str
    load_s: float
    """To take over the checkpoint's state."""
    replay_s: float
    checked: list[Checked]


class Rerun:
    """A core fed from records: counts its inputs, hashes what it asks for."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._digest = hashlib.blake2b(digest_size=32)
        self.inputs = 0
        self.effects = 0

    @property
    def effects_hash(self) -> str:
        return self._digest.hexdigest()

    def state_hash(self) -> str:
        return state_hash(self._core.dump())

    def feed(self, record: Record) -> None:
        """Raises JournalError for what this version of the program cannot read."""
        try:
            step = decode_step(record.payload)
            inputs = [(decode(row.body), Origin(row.sender, row.lane, row.seq, row.covers)) for row in step.inputs]
        except msgspec.DecodeError as error:
            raise JournalError(f"record {record.index} is of another version of this program: {error}") from error
        now = Now(step.wall_ns, step.mono_ns)
        for message, origin in inputs:
            effects = self._core.handle(message, origin, now)
            self.inputs += 1
            self.effects += len(effects)
            self._digest.update(encode_effects(effects))


def encode_effects(effects: list[Effect]) -> bytes:
    return _encoder.encode(effects)


def state_hash(state: bytes) -> str:
    return hashlib.blake2b(state, digest_size=32).hexdigest()


def rerun(core: Core, found: Audit, *, from_checkpoint: bool = False, until: int = 0, check: bool = False) -> Outcome:
    """Replay what `found` holds, up to record `until` (0 is all). Raises JournalError for what it does not hold."""
    last = until or found.survey.last_index
    start = _start(found, last, from_checkpoint)
    after = start.index if start else 0
    stops = {row.index: row for row in found.checkpoints if after < row.index <= last} if check else {}
    if check and not stops:
        raise JournalError(
            f"there is no checkpoint behind record {after} and not behind {last}: nothing to compare with"
        )
    began = time.perf_counter()
    if start is not None:
        core.load(_saved_decoder.decode(start.payload).state)
    loaded = time.perf_counter()
    run = Rerun(core)
    checked: list[Checked] = []
    for record in records(found.survey, after, last, start.chain_hash if start else None):
        run.feed(record)
        stop = stops.get(record.index)
        if stop is not None:
            saved = _saved_decoder.decode(stop.payload).state
            checked.append(Checked(stop.index, state_hash(saved), run.state_hash()))
    load_s, replay_s = loaded - began, time.perf_counter() - loaded
    return Outcome(after, last, run.inputs, run.effects, run.state_hash(), run.effects_hash, load_s, replay_s, checked)


def _start(found: Audit, last: int, from_checkpoint: bool) -> Checkpoint | None:
    """The newest checkpoint that is wanted and allowed; the oldest where the beginning is no longer kept."""
    usable = [row for row in found.checkpoints if row.index <= last]
    if from_checkpoint:
        if not usable:
            raise JournalError(f"there is no checkpoint at or before record {last}: replay without --from-checkpoint")
        return usable[0]
    if found.survey.first_index == 1:
        return None
    if not usable:
        raise JournalError(
            f"records before {found.survey.first_index} are no longer kept, and no checkpoint at or before "
            f"record {last} stands for them"
        )
    return usable[-1]


def main(name: str, make_core: MakeCore, words: Sequence[str]) -> int:
    """Replay as the words say; prints one line of JSON and returns the exit code."""
    try:
        options = _parse(name, words)
        settings = load_settings()
        freeze_collector()
        began = time.perf_counter()
        found = audit(settings.paths.data_dir / name, from_checkpoint=options.from_checkpoint, until=options.until)
        verify_s = time.perf_counter() - began
        outcome = rerun(
            make_core(settings),
            found,
            from_checkpoint=options.from_checkpoint,
            until=options.until,
            check=options.check,
        )
    except PolyexecError as error:
        return _fail(error)
    print(json.dumps(_shown(name, found, verify_s, outcome)))
    return ExitCode.OK if all(row.checkpoint_hash == row.replayed_hash for row in outcome.checked) else ExitCode.JOURNAL


class _Words(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refusal(Reason.BAD_REQUEST, message)


def _parse(name: str, words: Sequence[str]) -> argparse.Namespace:
    parser = _Words(prog=f"python -m services.{name} {WORD}")
    parser.add_argument("--from-checkpoint", action="store_true")
    parser.add_argument("--until", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args(words)


def _fail(error: PolyexecError) -> int:
    code = ExitCode.REFUSED if isinstance(error, Refusal) else exit_code_of(error)
    print(json.dumps({"error": describe(error)}))
    return code


def _shown(name: str, found: Audit, verify_s: float, outcome: Outcome) -> dict[str, object]:
    return {
        "process": name,
        "journal_id": found.survey.journal_id,
        "after_index": outcome.after_index,
        "last_index": outcome.last_index,
        "records": outcome.last_index - outcome.after_index,
        "inputs": outcome.inputs,
        "effects": outcome.effects,
        "state_hash": outcome.state_hash,
        "effects_hash": outcome.effects_hash,
        "verify_s": round(verify_s, 3),
        "load_s": round(outcome.load_s, 3),
        "replay_s": round(outcome.replay_s, 3),
        "events_per_s": round(outcome.inputs / outcome.replay_s) if outcome.replay_s else 0,
        "checked": [{**row._asdict(), "equal": row.checkpoint_hash == row.replayed_hash} for row in outcome.checked],
    }
