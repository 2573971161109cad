"""What makes a repeat harmless: the answers given by command id, and the order ids that were ever used.

In: ids and answers. Out: the first answer again, or "used". Answers are kept for at least ten minutes and then
dropped; full of younger ones, new commands are refused OVERLOADED (cancels are still served, their answer is then not
kept: a cancel does no harm twice). Used order ids are never dropped; full means IDEMPOTENCY_FULL.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TypeAlias

import msgspec

from common.messages import Accepted, CancelAnswer, OrderAnswer, Refused

Answer: TypeAlias = Accepted | CancelAnswer | OrderAnswer | Refused

ANSWERS_MAX = 200_000
KEPT_NS = 600 * 1_000_000_000
_DIGEST_BYTES = 16


class Answers:
    """Answers by command id in the order they were given."""

    def __init__(self, rows: list[tuple[str, int, Answer]] | None = None, limit: int = ANSWERS_MAX) -> None:
        # an OrderedDict: the oldest is found at once, however many were dropped before it
        self._rows: OrderedDict[str, tuple[int, Answer]] = OrderedDict()
        for key, at, answer in rows or ():
            self._rows[key] = (at, answer)
        self._limit = limit

    def find(self, command_id: str) -> Answer | None:
        row = self._rows.get(command_id)
        return msgspec.structs.replace(row[1], duplicate=True) if row else None

    def full(self, mono_ns: int) -> bool:
        """Whether no answer can be kept now; drops what is old enough first."""
        while self._rows and mono_ns - next(iter(self._rows.values()))[0] > KEPT_NS:
            self._rows.popitem(last=False)
        return len(self._rows) >= self._limit

    def keep(self, command_id: str, mono_ns: int, answer: Answer) -> None:
        self._rows[command_id] = (mono_ns, answer)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[tuple[str, int, Answer]]:
        return [(key, at, answer) for key, (at, answer) in self._rows.items()]


class UsedIds:
    """Order ids that were acknowledged once, as 16-byte digests (two million ids are a few hundred megabytes)."""

    def __init__(self, packed: bytes = b"") -> None:
        step = _DIGEST_BYTES
        self._digests = dict.fromkeys(packed[at : at + step] for at in range(0, len(packed), step))

    def __contains__(self, order_id: str) -> bool:
        return _digest(order_id) in self._digests

    def add(self, order_id: str) -> None:
        self._digests[_digest(order_id)] = None

    def __len__(self) -> int:
        return len(self._digests)

    def packed(self) -> bytes:
        return b"".join(self._digests)


def _digest(order_id: str) -> bytes:
    return blake2b(order_id.encode(), digest_size=_DIGEST_BYTES).digest()
