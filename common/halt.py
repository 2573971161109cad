"""The halt marker: a durable flag, outside every journal, that stops places and resends until somebody resumes.

In: a reason. Out: the reason that stands, "" for none. The file is filled ahead, so that setting it needs no free
space: a full disk is one of the moments it exists for. One process writes (the executor, or an operator's tool while
that is down), others read; a half-written marker reads as set. Never decides anything.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path

from common.durable import replace_file, sync_folder, write_at

FILE = "halt"
SIZE = 4096
TEXT_MAX = SIZE - 64
UNREADABLE = "the halt marker is damaged"
_CLEAR = bytes(SIZE)


class HaltMarker:
    """An open marker in the data directory; made when it is missing. Raises OSError."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE
        if not self.path.exists():
            _make(self.path)
        self._fd = os.open(self.path, os.O_RDWR)

    def set(self, reason: str) -> None:
        """Durable when this returns. "" clears."""
        write_at(self._fd, _encoded(reason) if reason else _CLEAR, 0)
        os.fdatasync(self._fd)

    def read(self) -> str:
        """The reason that stands; "" when places may leave."""
        return _decoded(os.pread(self._fd, SIZE, 0))

    def close(self) -> None:
        os.close(self._fd)


def _make(path: Path) -> None:
    """Fill a new marker and put it in place, unless another process just did: both must hold the same file."""
    temporary = path.with_name(f"{FILE}.new")
    replace_file(temporary, [_CLEAR])
    with suppress(FileExistsError, FileNotFoundError):
        os.link(temporary, path)
    temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _encoded(reason: str) -> bytes:
    text = reason.encode()[:TEXT_MAX].decode(errors="ignore").encode()
    head = b"%08x %04d " % (zlib.crc32(text), len(text))
    return (head + text).ljust(SIZE, b"\0")


def _decoded(data: bytes) -> str:
    if not data.strip(b"\0"):
        return ""
    head, text = data[:14], data[14:]
    try:
        checksum, length = int(head[:8], 16), int(head[9:13])
        text = text[:length]
        return text.decode() if zlib.crc32(text) == checksum else UNREADABLE
    except ValueError:
        return UNREADABLE
