"""Writing that has reached the disk when the call returns.

In: file descriptors, paths, bytes. Out: nothing, or the OSError of the first system call that failed.
Short writes are continued; nothing is retried after an error; no sync is ever repeated.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`; the kernel may take less than asked without calling it an error."""
    written = os.pwrite(fd, data, offset)
    if written == len(data):
        return
    rest = memoryview(data)
    while len(rest) > written:
        if written <= 0:
            raise OSError(errno.EIO, "the file takes no more bytes")
        rest, offset = rest[written:], offset + written
        written = os.pwrite(fd, rest, offset)


def sync_folder(folder: Path) -> None:
    """Make creations, renames and removals in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, parts: Iterable[bytes]) -> None:
    """Put `parts` at `path` so that any later reader, even after a power cut, sees all of the old or all of the new.

    The temporary file carries the process id: two writers never share one. It is removed when writing fails.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            offset = 0
            for part in parts:
                write_at(fd, part, offset)
                offset += len(part)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
