"""Operating trouble as exceptions, and the exit codes a process ends with.

    PolyexecError
    +-- Refusal            a request that cannot be served; carries code, message and field
    +-- ConfigError        settings or secrets that cannot be used; the process does not start
    +-- JournalError       the journal cannot be written or trusted
    |   +-- JournalCorrupt a bad record with valid records after it
    +-- AlreadyRunning     another process of this name holds the lock
    +-- Fenced             a newer instance of this process exists

A reject is a value (a message), these are for what the shell must handle. Bugs are neither: they crash.
"""

from __future__ import annotations

from enum import IntEnum

from common.reasons import Reason


class ExitCode(IntEnum):
    """Named exit codes of every polyexec process; supervisord and operators read them."""

    OK = 0
    BUG = 1
    """An uncaught exception: look for the traceback in the log; the journal brings the state back."""
    USAGE = 2
    """The command line cannot be understood."""
    REFUSED = 3
    """The CLI asked for something that was refused; the error names the code."""
    UNAVAILABLE = 4
    """The CLI got no answer in time from the process it needs."""
    ALREADY_RUNNING = 75
    """The singleton lock of this service is held."""
    CONFIG = 78
    """Settings, secrets or the environment cannot be used; the message names the key."""
    JOURNAL = 74
    """The journal could not be written or trusted; nothing unjournaled was sent."""
    FENCED = 76
    """A newer instance is alive; this one must not act."""


class PolyexecError(Exception):
    """Base of every expected error."""


class Refusal(PolyexecError):
    """A request that is refused: stable code, one sentence, and the offending field when there is one."""

    def __init__(self, code: Reason, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class ConfigError(PolyexecError):
    """Settings or secrets that cannot be used; `key` is the setting, file or port."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


class JournalError(PolyexecError):
    """The journal cannot be written."""


class JournalCorrupt(JournalError):
    """A record is invalid although valid records follow it: refusing to start is the only safe answer.

    `file`, `offset` and `record` name the place, as the message does.
    """

    def __init__(self, message: str, *, file: str = "", offset: int = 0, record: int = 0) -> None:
        super().__init__(message)
        self.file = file
        self.offset = offset
        self.record = record


class AlreadyRunning(PolyexecError):
    """Another process holds the singleton lock."""


class Fenced(PolyexecError):
    """A newer instance of this process exists; this one must stop."""
