"""Secrets live in 0600 files, one per process that needs them; settings and the environment hold paths only.

Out: the bytes of one file, stripped. A file that is missing, foreign or open to others is refused with its name and
the fix. Secrets are never logged, journaled, or part of a repr.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from common.durable import replace_file
from common.errors import ConfigError


def read_secret(path: Path, *, field: str) -> bytes:
    """The content of a secret file without surrounding white space; `field` says in words what it is.

    Raises ConfigError naming the file when it is missing, empty, not ours, or readable by others.
    """
    try:
        info = path.stat()
        content = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(str(path), f"the {field} is unreadable ({error.strerror}): create it, mode 0600") from None
    if info.st_uid != os.geteuid():
        raise ConfigError(str(path), f"the {field} belongs to another user: chown it to the user that runs polyexec")
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(str(path), f"the {field} can be read by others: chmod 600 {path.name}")
    if not content:
        raise ConfigError(str(path), f"the {field} is empty: write it into the file")
    return content


def write_secret(path: Path, content: bytes) -> None:
    """Create or replace a secret file, never readable by others at any moment."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, [content])
