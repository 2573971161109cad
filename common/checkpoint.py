"""Checkpoints: the state of a heart after journal record `index`, so that a restart replays only what came later.

In: opaque payload bytes and the journal position they stand for. Out: the newest file that is whole and belongs to
this journal. Written atomically, checksummed, the two newest are kept. `fork_checkpoint` writes from a child process
so that the loop is held up only by the fork. Never decodes a payload, never touches the journal's own files.
"""

from __future__ import annotations

import gc
import hashlib
import os
import re
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn

from common.durable import replace_file
from common.errors import ExitCode, JournalCorrupt, JournalError, PolyexecError

KEPT = 2
"""How many checkpoints stay: the newest and, should it turn out damaged, the one before."""

_MAGIC = b"PXCHKPT\0"
_VERSION = 1
_HEAD = struct.Struct("<8sI16sQ16sQ")  # magic, version, journal id, index, chain hash, payload length
_DIGEST_BYTES = 32
_NAME = re.compile(r"checkpoint-(\d{20})\.ckpt")
_CHILD_NICENESS = 10


class Checkpoint(NamedTuple):
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    chain_hash: bytes
    journal_id: str
    payload: bytes
    warnings: tuple[str, ...] = ()
    """One sentence for each newer file that had to be passed over."""


class _Damaged(Exception):
    """This file is not a whole checkpoint."""


def write_checkpoint(folder: Path, index: int, chain_hash: bytes, journal_id: str, payload: bytes) -> Path:
    """Write the checkpoint of record `index` durably, then drop all but the newest other one.

    Raises JournalError when it cannot be written; the older ones are then untouched.
    """
    head = _HEAD.pack(_MAGIC, _VERSION, journal_id.encode("ascii"), index, chain_hash, len(payload))
    path = folder / f"checkpoint-{index:020d}.ckpt"
    try:
        _drop_leftovers(folder)
        replace_file(path, (head, _digest(head, payload), payload))
        others = [other for other in _newest_first(folder) if other != path]
        for old in others[KEPT - 1 :]:
            old.unlink()
    except OSError as error:
        raise JournalError(f"{path.name}: cannot be written: {error.strerror}") from error
    return path


def load_checkpoint(folder: Path, journal_id: str) -> Checkpoint | None:
    """The newest whole checkpoint of this journal, or None when there is no file at all.

    Raises JournalError for one that belongs to another journal, JournalCorrupt when files exist but none is whole:
    starting without them could silently forget what the journal no longer holds.
    """
    warnings: list[str] = []
    for path in _newest_first(folder):
        try:
            found = _read(path)
        except _Damaged as damage:
            warnings.append(f"{path.name}: passed over: {damage}")
            continue
        if found.journal_id != journal_id:
            raise JournalError(f"{path.name}: belongs to journal {found.journal_id}, this one is {journal_id}")
        return found._replace(warnings=tuple(warnings))
    if warnings:
        raise JournalCorrupt("no checkpoint is whole: " + "; ".join(warnings))
    return None


def whole_checkpoints(folder: Path) -> tuple[list[Checkpoint], list[str]]:
    """Every whole checkpoint, newest first, of whatever journal; and one sentence for each file that is none.

    Looks only; the process may write and drop checkpoints meanwhile.
    """
    whole: list[Checkpoint] = []
    damaged: list[str] = []
    for path in _newest_first(folder):
        try:
            whole.append(_read(path))
        except _Damaged as damage:
            if path.exists():
                damaged.append(f"{path.name}: {damage}")
    return whole, damaged


def fork_checkpoint(write: Callable[[], None], close_fds: Iterable[int]) -> int:
    """Run `write` in a forked child and return its pid at once; the caller reaps it.

    The child first closes `close_fds` (lock descriptors: a lock lives as long as any copy of its descriptor), then
    writes and leaves by os._exit, so no destructor, exit handler or ZeroMQ socket of the parent runs in it.
    `write` must only compute and write files.
    """
    fds = tuple(close_fds)
    pid = os.fork()
    if pid == 0:
        _child(write, fds)
    return pid


def reap(pid: int) -> int | None:
    """Exit code of the child (negative: the signal that ended it), or None while it still runs. Never blocks."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def _child(write: Callable[[], None], close_fds: tuple[int, ...]) -> NoReturn:
    code = ExitCode.BUG
    try:
        for fd in close_fds:
            os.close(fd)
        gc.disable()
        _forget_signal_handlers()
        os.nice(_CHILD_NICENESS)
        write()
        code = ExitCode.OK
    except (OSError, PolyexecError) as error:
        code = ExitCode.JOURNAL
        os.write(2, f"checkpoint: {error}\n".encode())
    finally:
        try:
            if code is ExitCode.BUG:
                os.write(2, "".join(traceback.format_exception(sys.exception())).encode())
        finally:
            os._exit(code)


def _forget_signal_handlers() -> None:
    """The parent's handlers would only set flags nobody reads here, and its wake-up pipe is not ours."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _digest(head: bytes, payload: bytes) -> bytes:
    digest = hashlib.blake2b(head, digest_size=_DIGEST_BYTES)
    digest.update(payload)
    return digest.digest()


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _drop_leftovers(folder: Path) -> None:
    """Temporary files of writers that were killed; one that is still writing then fails its rename and says so."""
    for path in folder.glob("checkpoint-*.tmp"):
        path.unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint:
    try:
        with path.open("rb") as file:
            head, digest, payload = file.read(_HEAD.size), file.read(_DIGEST_BYTES), file.read()
    except OSError as error:
        raise _Damaged(f"cannot be read: {error.strerror}") from error
    if len(digest) < _DIGEST_BYTES:
        raise _Damaged(f"{len(head) + len(digest)} bytes are too short")
    magic, version, journal_id, index, chain_hash, length = _HEAD.unpack(head)
    if magic != _MAGIC:
        raise _Damaged("it does not begin like a checkpoint")
    if length != len(payload) or digest != _digest(head, payload):
        raise _Damaged("its checksum does not match")
    if version != _VERSION:
        raise JournalError(f"{path.name}: version {version} is not one this program reads ({_VERSION})")
    return Checkpoint(index, chain_hash, journal_id.decode("ascii"), payload)
