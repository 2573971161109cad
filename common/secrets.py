"""Secrets live in 0600 files, one per process that needs them; settings and the environment hold paths only.

Out: the bytes of one file. A file that is missing, foreign or open to others is refused with its name and the fix.
Secrets are never logged, journaled, or part of a repr.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from common.durable import replace_file
from common.errors import ConfigError

SECRET_MAX = 65_536


def read_secret(path: Path, *, field: str) -> bytes:
    """The content of a secret file without surrounding white space; `field` says in words what it is.

    Raises ConfigError naming the file when it is missing, empty, not ours, or readable by others.
    """
    return bytes(read_secret_buffer(path, field=field).strip())


def read_secret_buffer(path: Path, *, field: str) -> bytearray:
    """The same as a buffer that can be overwritten, with the white space; nothing else keeps a copy."""
    try:
        with path.open("rb", buffering=0) as file:
            info = os.fstat(file.fileno())
            _check_private(path, info, field)
            content = bytearray(min(info.st_size, SECRET_MAX + 1))
            read = file.readinto(content)
    except OSError as error:
        raise ConfigError(str(path), f"the {field} is unreadable ({error.strerror}): create it, mode 0600") from None
    if len(content) > SECRET_MAX:
        raise ConfigError(str(path), f"the {field} is longer than {SECRET_MAX} bytes: this is another file")
    if read != len(content):
        raise ConfigError(str(path), f"the {field} changed while it was read: start again")
    if not content or content.isspace():
        raise ConfigError(str(path), f"the {field} is empty: write it into the file")
    return content


def _check_private(path: Path, info: os.stat_result, field: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError(str(path), f"the {field} is not a file: create it, mode 0600")
    if info.st_uid != os.geteuid():
        raise ConfigError(str(path), f"the {field} belongs to another user: chown it to the user that runs polyexec")
    if stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(str(path), f"the {field} can be read by others: chmod 600 {path}")


def write_secret(path: Path, content: bytes) -> None:
    """Create or replace a secret file, never readable by others at any moment."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, [content])
