"""The dead-man switch of each API key (protocol section 4.6). Pure.

In: beats with their ids, and the monotonic clock. Out: accepted or the id that was expected, and the keys whose time
ran out. A refused beat moves no deadline. After a restart every armed key must beat again within one life.
"""

from __future__ import annotations

from typing import NamedTuple

from services.polymarket_sim.keys import KeyName

LIFE_NS = 10_000_000_000


class Beat(NamedTuple):
    """The id the next beat must carry, and when it is due at the latest."""

    heartbeat_id: str
    due_ns: int


class Heartbeats:
    """Armed keys; bounded by the number of keys."""

    def __init__(self, armed: list[KeyName], now_ns: int) -> None:
        self._beats: dict[KeyName, Beat] = {name: Beat("", now_ns + LIFE_NS) for name in armed}

    def is_armed(self, name: KeyName) -> bool:
        return name in self._beats

    def beat(self, name: KeyName, given_id: str, fresh_id: str, now_ns: int) -> str | None:
        """None when accepted (`fresh_id` is the id of the next beat), else the id that was expected.

        A key armed before a restart expects an id nobody remembers: it is refused once and told the next one.
        """
        known = self._beats.get(name)
        if known is None or (given_id and given_id == known.heartbeat_id):
            self._beats[name] = Beat(fresh_id, now_ns + LIFE_NS)
            return None
        if not known.heartbeat_id:
            known = self._beats[name] = Beat(fresh_id, known.due_ns)
        return known.heartbeat_id

    def expected(self, name: KeyName) -> str:
        """The id the next beat must carry; empty when any will do."""
        known = self._beats.get(name)
        return known.heartbeat_id if known is not None else ""

    def disarm(self, name: KeyName) -> None:
        self._beats.pop(name, None)

    def expired(self, now_ns: int) -> list[KeyName]:
        """Keys whose deadline has passed; they are disarmed."""
        late = [name for name, beat in self._beats.items() if beat.due_ns <= now_ns]
        for name in late:
            del self._beats[name]
        return late

    def next_due_ns(self) -> int | None:
        return min((beat.due_ns for beat in self._beats.values()), default=None)
