"""What a request through ccxt that did not end well means: refused or unknown, and what may be tried next. Pure.

In: a venue's answer that ccxt took for an error (status, headers, body), or why there is none. Out: one verdict.
REFUSED is said only where the dialect's documents say that the request changed nothing; every timeout, 5xx, unreadable
answer and unlisted server error stays UNKNOWN. ccxt's own classes of errors are not asked: one of them may stand for
a refusal and for an accident.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import msgspec

from common.reasons import Reason
from common.types import Outcome, RetryClass

TEXT_MAX: Final = 300
PAUSE_MS: Final = 1_000
"""Before the same request again, where the venue does not say how long."""
BLOCKED_PAUSE_MS: Final = 60_000
SERVER_ERROR: Final = 500


class Reply(NamedTuple):
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: str


class NotSent(NamedTuple):
    """Proof that nothing reached the venue: ccxt refused it, or there was no connection."""

    text: str
    code: Reason = Reason.VENUE_UNAVAILABLE


class NoAnswer(NamedTuple):
    """The request may have reached the venue; nothing usable came back."""

    text: str


Failure = Reply | NotSent | NoAnswer


class Verdict(NamedTuple):
    outcome: Outcome
    code: Reason
    retry: RetryClass
    text: str = ""
    retry_after_ms: int = 0


class Meaning(NamedTuple):
    """What an error code says, whatever its text."""

    outcome: Outcome
    code: Reason
    retry: RetryClass


def refused(code: Reason, retry: RetryClass = RetryClass.NEVER) -> Meaning:
    return Meaning(Outcome.REFUSED, code, retry)


def unknown(code: Reason = Reason.VENUE_UNKNOWN_OUTCOME) -> Meaning:
    return Meaning(Outcome.UNKNOWN, code, RetryClass.LOOK_UP)


class ErrorTable(Protocol):
    """A dialect's documented errors."""

    def error_of(self, body: Mapping[str, object]) -> tuple[int, str] | None:
        """(code, text) of an error in the venue's words; None when the body is none."""
        ...

    def meaning_of(self, code: int, text: str) -> Meaning: ...


def judge(failure: Failure, table: ErrorTable) -> Verdict:
    match failure:
        case NotSent(text, code):
            retry = RetryClass.AFTER if code is Reason.VENUE_UNAVAILABLE else RetryClass.NEVER
            pause = PAUSE_MS if retry is RetryClass.AFTER else 0
            return Verdict(Outcome.REFUSED, code, retry, f"nothing was sent: {text}"[:TEXT_MAX], pause)
        case NoAnswer(text):
            return Verdict(*unknown(), text[:TEXT_MAX])
        case Reply():
            return _judge_reply(failure, table)


def _judge_reply(reply: Reply, table: ErrorTable) -> Verdict:
    error = _error_in(reply, table)
    text = f"{error[0]}: {error[1]}" if error else _excerpt(reply)
    meaning = _meaning(reply.status, error, table)
    return Verdict(*meaning, text[:TEXT_MAX], _pause_ms(reply, meaning))


def _meaning(status: int, error: tuple[int, str] | None, table: ErrorTable) -> Meaning:
    if status >= SERVER_ERROR:
        return unknown()  # whatever the body says, the request may have been carried out
    if status in (418, 429):
        return refused(Reason.VENUE_RATE_LIMIT, RetryClass.AFTER)
    if status == 451:
        return refused(Reason.VENUE_BLOCKED)
    if error is not None:
        return table.meaning_of(*error)
    if status == 403:
        return refused(Reason.VENUE_BLOCKED, RetryClass.AFTER)  # a firewall in front of the venue: its page has no code
    return unknown()


def _error_in(reply: Reply, table: ErrorTable) -> tuple[int, str] | None:
    try:
        value = msgspec.json.decode(reply.body)
    except msgspec.DecodeError:
        return None
    return table.error_of(value) if isinstance(value, dict) else None


def _excerpt(reply: Reply) -> str:
    words = " ".join(reply.body.split())[:120]
    return f"HTTP {reply.status} without an error of the venue: {words!r}"


def _pause_ms(reply: Reply, meaning: Meaning) -> int:
    """How long to wait: what the venue says in whole seconds, else our own idea."""
    if meaning.retry is not RetryClass.AFTER:
        return 0
    said = next((text for name, text in reply.headers.items() if name.lower() == "retry-after"), "")
    if said.isascii() and said.isdecimal() and len(said) <= 7:
        return max(1, int(said)) * 1000
    return BLOCKED_PAUSE_MS if meaning.code is Reason.VENUE_BLOCKED else PAUSE_MS
