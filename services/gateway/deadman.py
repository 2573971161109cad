"""The dead-man chain of one API key: our beats keep its orders alive, their end cancels them. Pure.

In: how old the executor's last sign of life is, and how the venue took each beat (protocol section 4.6). Out: the id to
beat with now, if it is time and the executor lives, and whether places may leave. A beat is never sent while the
executor is silent: then the venue cancels everything of the key, as it must. One chain has one owner; the id another
owner left behind is taken over.
"""

from __future__ import annotations

from typing import Final

MS: Final = 1_000_000
INTERVAL_NS: Final = 5_000 * MS
RETRY_NS: Final = 500 * MS
"""After a beat that was refused or not answered: ten seconds hold many tries."""
LIFE_NS: Final = 10_000 * MS
MARGIN_NS: Final = 1_000 * MS
"""Whether a beat counts is decided at the venue: for us its life ends this much earlier."""
EXECUTOR_SILENT_NS: Final = 3_000 * MS
RIVAL_NS: Final = 3 * LIFE_NS
"""Another owner's beats keep our orders alive when our executor is dead: no places until it was quiet so long."""
TAKEOVERS_MAX: Final = 4
"""A chain taken from us at so many beats in a row has another owner; a venue that restarts forgets it only once."""


class DeadMan:
    """One chain. `now` is monotonic nanoseconds."""

    def __init__(self) -> None:
        self._id = ""
        self._accepted = 0
        """When the last accepted beat was sent; 0 before the first."""
        self._due = 0
        self._sent = 0
        self._waiting = False
        self._trouble = ""
        self._certain = False
        """The venue's last word on the chain reached us: nobody but another owner can have moved it on since."""
        self._takeovers = 0
        """At how many beats in a row the chain we had was not ours any more."""
        self._rival = 0
        """When another owner was met last; 0 for never."""

    def next_beat(self, executor_age_ns: int, now: int) -> str | None:
        """The id to beat with now ("" begins a chain), or None. Every beat needs one of the three answers below."""
        if self._waiting or now < self._due or executor_age_ns > EXECUTOR_SILENT_NS:
            return None
        self._waiting, self._sent = True, now
        return self._id

    def accepted(self, next_id: str, now: int) -> None:
        self._waiting, self._trouble = False, ""
        if self._certain:
            self._takeovers = 0
        self._id, self._accepted, self._certain = next_id, self._sent, True
        self._due = max(now, self._sent + INTERVAL_NS)

    def refused(self, expected_id: str, text: str, now: int) -> None:
        """`expected_id`: the id the venue wants instead, "" when it did not say."""
        self._waiting = False
        if self._certain and expected_id and now - self._accepted < LIFE_NS:
            self._takeovers += 1
            if self._takeovers >= TAKEOVERS_MAX:
                self._rival = now
        self._certain = False
        fresh = bool(expected_id) and expected_id != self._id
        self._trouble = "" if fresh else text
        self._id = expected_id
        self._due = now if fresh else now + RETRY_NS

    def failed(self, text: str, now: int) -> None:
        """No answer: it may have been accepted, then the next refusal names the id to go on with."""
        self._waiting = self._certain = False
        self._trouble = text
        self._due = now + RETRY_NS

    def trouble(self, executor_age_ns: int, now: int) -> str:
        """Why no place may leave, "" when one may. Before the first beat there is nothing to be wrong yet."""
        if executor_age_ns > EXECUTOR_SILENT_NS:
            return f"the executor was not heard for {executor_age_ns // MS} ms"
        if self._rival and now - self._rival < RIVAL_NS:
            return "another process beats for this API key: only one may, end the other"
        if self._accepted and now - self._accepted > LIFE_NS - MARGIN_NS:
            return (
                f"the venue took no heartbeat for {(now - self._accepted) // MS} ms: {self._trouble or 'none was due'}"
            )
        return self._trouble if not self._accepted else ""

    def due_ns(self) -> int:
        return self._due
