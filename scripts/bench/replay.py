"""Replaying the executor's journal: from zero, and from a checkpoint with a tail behind it.

Out: one JSON object as the last line. The journal is made first, by a real core through real files, with the mix of
scripts/bench/trading.py. Then the executor's own program replays it, each time in a fresh process: verifying, loading,
replaying (with the effects hashed), as a restart does. The floor is decoding the same records without handling them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common.checkpoint import write_checkpoint
from common.heart import Saved
from common.journal import Journal
from common.messages import decode
from common.settings import ROOT
from common.step import decode_step
from scripts.bench.trading import Trading

EVENTS = 1_000_000
TAIL = 10_000
"""How old the checkpoint is, in events."""


class Made(NamedTuple):
    """A journal as an executor would have left it."""

    inputs: int
    records: int
    checkpoint: int
    state_hash: str
    journal_bytes: int


def make_journal(data_dir: Path, events: int, tail: int, *, seed: int = 1, segment_bytes: int = 64 << 20) -> Made:
    """Trade until there are so many events; the checkpoint is written when `tail` of them are still to come."""
    folder = data_dir / "executor"
    folder.mkdir(mode=0o700, parents=True)
    trading = Trading(seed)
    journal = Journal.open(folder / "journal", segment_bytes=segment_bytes, keep_segments=1_000_000)
    checkpoint = size = 0
    for record in trading.records(events):
        journal.append(record)
        size += len(record)
        if not checkpoint and trading.inputs >= events - tail:
            checkpoint = journal.last_index
            saved = Saved(*trading.now, "", trading.core.dump())
            payload = msgspec.msgpack.encode(saved)
            write_checkpoint(folder, checkpoint, journal.last_hash, journal.journal_id, payload)
    made = Made(trading.inputs, journal.last_index, checkpoint, trading.core.state_hash(), size)
    journal.close()
    return made


def run_replay(data_dir: Path, *words: str, hash_seed: str = "0") -> dict[str, Any]:
    """The executor's program replays in a process of its own; what it says."""
    env = {**os.environ, "POLYEXEC_PATHS__DATA_DIR": str(data_dir), "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-m", "services.executor", "replay", *words],
        cwd=ROOT, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the replay ended with {done.returncode}: {done.stdout}{done.stderr}")
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def restart_s(shown: dict[str, Any]) -> float:
    """Until the state is there: files verified, checkpoint loaded, records replayed."""
    return round(float(shown["verify_s"] + shown["load_s"] + shown["replay_s"]), 3)


def decode_s(payloads: Iterable[bytes]) -> float:
    """The floor: the same records, decoded and dropped."""
    began = time.perf_counter()
    for payload in payloads:
        for row in decode_step(payload).inputs:
            decode(row.body)
    return time.perf_counter() - began


def measure(folder: Path, events: int, tail: int) -> dict[str, float]:
    made = make_journal(folder, events, tail)
    journal = Journal.open(folder / "executor" / "journal", keep_segments=1_000_000)
    floor_s = decode_s(record.payload for record in journal.replay())
    journal.close()
    zero = run_replay(folder)
    later = run_replay(folder, "--from-checkpoint")
    if {zero["state_hash"], later["state_hash"]} != {made.state_hash}:
        raise SystemExit("a replay came to another state than the run: nothing to measure")
    return {
        "events": made.inputs,
        "journal_mb": made.journal_bytes >> 20,
        "events_per_s": zero["events_per_s"],
        "from_zero_s": restart_s(zero),
        "tail_events": later["inputs"],
        "from_checkpoint_s": restart_s(later),
        "load_s": later["load_s"],
        "decode_events_per_s": round(made.inputs / floor_s),
        "ratio_to_decoding": round(zero["replay_s"] / floor_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="replay the executor's journal from zero and from a checkpoint")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--tail", type=int, default=TAIL)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="px-replay-") as folder:
        print(json.dumps(measure(Path(folder), options.events, options.tail)))


if __name__ == "__main__":
    main()
