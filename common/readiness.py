"""One state of a process with several parts (venues, wallets): READY, STARTING, and in words what is missing. Pure.

In: the parts by name, what each says of itself, the time. Out: the process's state. It is READY once every part was
ready; a part that does not come up keeps the others waiting for PATIENCE_S only, as one failing venue may not slow
another. READY is never taken back: what became of a part later stands in the detail.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.telemetry import READY, STARTING

PATIENCE_S = 10
_NS_PER_S = 1_000_000_000


class Readiness:
    """The parts of one process."""

    def __init__(self, parts: Iterable[str], began_mono_ns: int) -> None:
        self._details = dict.fromkeys(parts, "")
        self._never_ready = set(self._details)
        self._patient_until_ns = began_mono_ns + PATIENCE_S * _NS_PER_S
        self._was_ready = False

    def show(self, part: str, *, ready: bool, detail: str) -> None:
        """What a part says of itself; one that was ready once stays so."""
        self._details[part] = detail
        if ready:
            self._never_ready.discard(part)

    def state(self, mono_ns: int) -> tuple[str, str]:
        """(state, detail) for the heartbeat."""
        some = len(self._never_ready) < len(self._details)
        if not self._never_ready or (some and mono_ns >= self._patient_until_ns):
            self._was_ready = True
        detail = "; ".join(text for text in self._details.values() if text)
        return (READY if self._was_ready else STARTING), detail
