"""The thread that writes: entries from the loop in, files out; the loop never waits for the disk.

What waits is written `flush_s` after the last time, earlier when a quarter of the queue is full. Trouble with the disk
pauses writing: what was taken is kept and tried again after growing pauses; what comes meanwhile waits in the tape and
is dropped there when it is full. Any other error is a bug: it ends the process.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from common.backoff import ExponentialBackoff
from common.recording import FRAME, Entry
from common.settings import Recorder
from services.recorder.core import BYTES_MAX, Scene, Tape

if TYPE_CHECKING:
    from services.recorder.storage import Files

MB = 1 << 20
RETRY_MIN_S = 0.5
RETRY_MAX_S = 30.0
FIXES = {
    errno.ENOSPC: "free space, or lower recorder.total_mb",
    errno.EDQUOT: "raise the quota, or lower recorder.total_mb",
    errno.EACCES: "give the folder back to the user polyexec runs as",
    errno.EROFS: "mount the disk writable",
}


class Writer:
    """`run` belongs to the thread; everything public besides it is the loop's."""

    def __init__(self, keys: Recorder, folder: Path, run: int, rng: Random) -> None:
        self.trouble = ""
        """Why nothing is written at the moment; "" when it is."""
        self._keys = keys
        self._folder = folder
        self._run = run
        self._backoff = ExponentialBackoff(rng, RETRY_MIN_S, RETRY_MAX_S)
        self._changed = threading.Condition()
        self._tape = Tape(keys.queue_max)
        self._stopping = False
        self._give_up_ns = 0
        self._scene = Scene()
        """As of the last entry on disk."""
        self._taken: list[Entry] = []
        self._counters = {"frames_recorded": 0, "bytes_written": 0, "files": 0}

    # --- the loop's ---

    def put(self, add: Callable[[Tape], None]) -> None:
        """Let something be added to the tape; the thread is woken when much waits."""
        with self._changed:
            add(self._tape)
            if self._much_waits():
                self._changed.notify()

    @property
    def joined(self) -> bool:
        """Whether frames are recorded as they come."""
        return self._tape.joined

    def take_wish(self) -> bool:
        """Whether the frames stream is to be joined anew; said once. Something was dropped, and there is room again."""
        wish, self._tape.wants_anew = self._tape.wants_anew, False
        return wish

    def counters(self) -> dict[str, int]:
        """For the heartbeat."""
        return {"rows_waiting": self._tape.rows + len(self._taken), **self._counters, **self._tape.counters}

    def stop(self, within_s: float) -> None:
        """Write what waits and finish the file; what takes longer is left to the next start."""
        with self._changed:
            self._give_up_ns = time.monotonic_ns() + int(within_s * 1e9)
            self._stopping = True
            self._changed.notify()

    # --- the thread's ---

    def run(self) -> None:
        """Until `stop`."""
        from services.recorder import storage  # noqa: PLC0415 (pyarrow loads slowly: not before the process is ready)

        keys = self._keys
        limits = storage.Limits(keys.file_mb * MB, keys.total_mb * MB, keys.rotate_after_s * 1_000_000_000)
        files = storage.Files(self._folder, self._run, limits, self._is_out_of_time)
        with suppress(storage.Stopped):
            self._keep_writing(files)
        files.abandon()

    def _keep_writing(self, files: Files) -> None:
        well = self._try(files, files.recover)
        while not self._stopping:
            self._wait_well() if well else self._wait_in_trouble()
            well = self._try(files, lambda: self._write(files))
        for last in (lambda: self._write(files), lambda: self._write(files), files.finish):
            # The first write makes room for the gap that the second one may have to tell of.
            well = well and self._try(files, last)

    def _write(self, files: Files) -> None:
        """What was taken before and could not be written comes first, alone: it is what the scene belongs to."""
        if not self._taken:
            with self._changed:
                self._tape.resume(time.time_ns())
                self._taken = self._tape.take()
        if self._taken:
            files.write(lambda: self._scene.entries(time.time_ns()), self._taken, time.time_ns(), time.monotonic_ns())
            self._counters["frames_recorded"] += sum(entry.kind == FRAME for entry in self._taken)
            for entry in self._taken:
                self._scene.apply(entry)
            self._taken = []
        files.tidy(time.monotonic_ns())

    def _try(self, files: Files, work: Callable[[], None]) -> bool:
        """Whether it could be done; otherwise the reason stands in `trouble`."""
        try:
            work()
        except OSError as error:
            files.abandon()
            fix = FIXES.get(error.errno or 0, "mend it")
            said = error.strerror or " ".join(str(error).split())[:100]
            self.trouble = f"recording pauses: {self._folder}: {said}: {fix}; it goes on by itself"
            return False
        finally:
            self._counters |= {"bytes_written": files.written, "files": files.finished}
        self.trouble = ""
        self._backoff.reset()
        return True

    def _wait_well(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._much_waits(), self._keys.flush_s)

    def _wait_in_trouble(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, self._backoff.next_delay_s())

    def _much_waits(self) -> bool:
        return self._tape.rows >= self._keys.queue_max // 4 or self._tape.bytes >= BYTES_MAX // 4

    def _is_out_of_time(self) -> bool:
        return self._stopping and time.monotonic_ns() >= self._give_up_ns
