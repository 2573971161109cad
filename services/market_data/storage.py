"""The watch list's file, `<data_dir>/market_data.watch.json`: what commands changed, durable before they are answered.

In: a folder and the state to keep. Out: the state kept, and in words why a file could not be used. A file that
cannot be used is never written over: the settings' entries go on, and commands are refused until somebody looked.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from common.durable import replace_file
from common.errors import Refusal
from common.reasons import Reason
from services.market_data.watchlist import ENTRIES_MAX, ENTRY_LENGTH_MAX, Saved

NAME = "market_data.watch.json"
VERSION = 1
BYTES_MAX = 4 * ENTRIES_MAX * (ENTRY_LENGTH_MAX + 16)
"""Above what two full lists come to: larger is not ours."""
FIX = "mend it, or move it away to start an empty list, then scripts/restart.sh market_data"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    watched: tuple[str, ...]
    unwatched: tuple[str, ...]


class WatchFile:
    """The file of one market_data process. `problem` is one line, "" when the file can be used."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / NAME
        self.problem = ""

    def load(self) -> Saved:
        """What was stored; empty when there is no file, and when there is a `problem` with it."""
        try:
            if self.path.stat().st_size > BYTES_MAX:
                return self._unusable(f"is larger than {BYTES_MAX} bytes")
            read = msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return Saved()
        except OSError as error:
            return self._unusable(f"cannot be read ({error.strerror})")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._unusable(f"is not a watch list ({error})")
        if read.version != VERSION:
            return self._unusable(f"is of version {read.version}, not {VERSION}")
        if max(len(read.watched), len(read.unwatched)) > ENTRIES_MAX:
            return self._unusable(f"holds more than {ENTRIES_MAX} entries")
        return Saved(read.watched, read.unwatched)

    def store(self, saved: Saved) -> None:
        """Durable when it returns. Raises Refusal when it cannot be, or when a file to be looked at would be lost."""
        if self.problem and self.path.exists():
            raise Refusal(Reason.INTERNAL, self.problem)
        encoded = msgspec.json.encode(_File(VERSION, saved.watched, saved.unwatched))
        try:
            replace_file(self.path, [msgspec.json.format(encoded), b"\n"])
        except OSError as error:
            raise Refusal(
                Reason.INTERNAL, f"{self.path} cannot be written ({error.strerror}): nothing was changed"
            ) from None
        self.problem = ""

    def _unusable(self, what: str) -> Saved:
        self.problem = f"{self.path} {what}: only the settings' entries are followed; {FIX}"
        return Saved()
