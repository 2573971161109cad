"""Making journal segments ahead of use and removing old ones, in helper threads that appends do not notice.

In: the path of the next segment; paths of segments nobody needs. Out: a durable file of full size there; no files
there; or the OSError that prevented it. Never touches a segment in use.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from common.durable import sync_folder, write_at

_SLICE = bytes(256 << 10)
_PAUSE_S = 0.002


def write_zeros(fd: int, start: int, end: int) -> None:
    zeros = memoryview(_SLICE)
    for offset in range(start, end, len(_SLICE)):
        write_at(fd, zeros[: end - offset], offset)


def fill_segment(path: Path, segment_bytes: int, first_block: bytes, pause: Callable[[], bool] = bool) -> None:
    """Make a segment of full size appear at `path`, durably. `pause` is called after each slice; True gives up.

    Every slice is synced by itself: appends to the running segment never queue behind megabytes.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for start in range(0, segment_bytes, len(_SLICE)):
                write_zeros(fd, start, min(start + len(_SLICE), segment_bytes))
                os.fdatasync(fd)
                if pause():
                    temporary.unlink()
                    return
            write_at(fd, first_block, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


class Prewriter:
    """Fills the next segment in a thread that lives only as long as that takes."""

    def __init__(self, segment_bytes: int, urgent: Callable[[], bool]) -> None:
        self.error: OSError | None = None
        """Why the ordered segment could not be filled so far."""
        self._segment_bytes = segment_bytes
        self._urgent = urgent
        self._path: Path | None = None
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        self._stopped = False

    def order(self, path: Path) -> None:
        """Begin to fill the segment at `path`."""
        self._path = path
        self._hurry.clear()
        self._thread = threading.Thread(target=self._run, args=(path,), name="journal-prewrite", daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """Return when the ordered segment is there; True when that had to be waited for.

        A failure while there was time (a full disk) is tried once more with a new file, then raised.
        """
        if self._thread is None or self._path is None:
            return False
        waited = self._thread.is_alive()
        self._hurry.set()
        self._thread.join()
        if self.error is not None:
            waited = True
            self._run(self._path)
        if self.error is not None:
            raise self.error
        return waited

    def stop(self) -> None:
        """Give up what is not finished; the next start begins it again."""
        self._stopped = True
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, path: Path) -> None:
        try:
            fill_segment(path, self._segment_bytes, b"", self._pause)
            self.error = None
        except OSError as error:
            self.error = error

    def _pause(self) -> bool:
        """Leave the disk to the appends for a moment, unless the running segment is nearly used up."""
        if not self._urgent():
            self._hurry.wait(_PAUSE_S)
        return self._stopped


class Remover:
    """Removes segments in the order given, so that a crash never leaves a hole between those that stay."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        """Why the oldest doomed segment could not be removed; tried again with the next batch."""
        self._doomed: list[Path] = []
        self._thread: threading.Thread | None = None

    def remove(self, paths: list[Path]) -> None:
        """Begin to remove `paths` after what was given before; returns at once."""
        self._doomed += paths
        before = self._thread
        self._thread = threading.Thread(target=self._run, args=(before,), name="journal-remove", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Return when everything given was tried."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        self.error = None
        try:
            while self._doomed:
                self._doomed[0].unlink(missing_ok=True)
                del self._doomed[0]
        except OSError as error:
            self.error = error
